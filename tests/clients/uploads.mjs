// Uploads by Node's two clients: fetch, and the module http. Prints a line of JSON for each answer.
import http from "node:http";

const { target, cases, times, bytes } = JSON.parse(process.argv[2]);
const PATIENCE_MS = 20_000;
const body = Buffer.alloc(bytes);
// What fetch can send twice, for a redirect: it takes the memory of a buffer away.
const blob = new Blob([body]);
const PIECE = 64 * 1024;

function* pieces() {
  for (let at = 0; at < body.length; at += PIECE) yield body.subarray(at, at + PIECE);
}

async function byFetch(url, { chunked, origin }) {
  const answer = await fetch(url, {
    method: "POST",
    headers: origin ? { origin } : {},
    body: chunked ? ReadableStream.from(pieces()) : blob,
    // A stream cannot be sent twice.
    redirect: chunked ? "manual" : "follow",
    duplex: "half",
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  return { status: answer.status, body: await answer.text(), followed: answer.redirected };
}

function byHttp(url, { chunked, origin }) {
  return new Promise((resolve, reject) => {
    // Its own, so that no request meets the connection of the one before.
    const agent = new http.Agent({ keepAlive: true });
    const headers = { ...(origin && { origin }), ...(!chunked && { "content-length": body.length }) };
    const request = http.request(url, { method: "POST", headers, agent, timeout: PATIENCE_MS }, answer => {
      let text = "";
      answer.setEncoding("utf8").on("data", part => { text += part; });
      answer.on("error", reject);
      answer.on("end", () => {
        resolve({ status: answer.statusCode, body: text, followed: false });
        agent.destroy();
        request.destroy();
      });
    });
    request.on("timeout", () => request.destroy(new Error("timeout"))).on("error", reject);
    (async () => {
      for (const piece of pieces()) {
        if (request.destroyed) return;
        if (!request.write(piece)) await new Promise(drained => request.once("drain", drained));
      }
      request.end();
    })();
  });
}

const tell = message => process.stdout.write(JSON.stringify(message) + "\n");

for (const [client, upload] of [["Node fetch", byFetch], ["Node http", byHttp]]) {
  for (const each of cases) {
    for (let turn = 0; turn < times; turn++) {
      try {
        tell({ client, case: each.name, ...await upload(target + each.path, each) });
      } catch (error) {
        tell({ client, case: each.name, error: String(error.cause ?? error) });
      }
    }
  }
}
process.exit(0);
