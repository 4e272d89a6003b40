// Node's clients over TLS: http2, fetch and https. Prints a line of JSON for each check.
// NODE_EXTRA_CA_CERTS names the authority. Usage: protocols.mjs BASE BODY
import { strict as assert } from "node:assert";
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import https from "node:https";

const [, , base, bodyFile] = process.argv;
const PATIENCE_MS = 20_000;
const body = readFileSync(bodyFile);

async function check(name, run) {
  let error;
  try {
    await run();
  } catch (found) {
    error = String(found.cause ?? found).slice(0, 300);
  }
  process.stdout.write(JSON.stringify({ check: name, error }) + "\n");
}

// One request over a session: its status, and the bytes of its answer.
function ask(session, path, sent) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":path": path, ":method": sent ? "POST" : "GET" });
    const parts = [];
    let status;
    stream.setTimeout(PATIENCE_MS, () => reject(new Error("timeout")));
    stream.on("response", headers => { status = headers[":status"]; });
    stream.on("data", part => parts.push(part));
    stream.on("error", reject);
    // Not "close": Node 20 may leave a stream open whose answer it has read, until its upload is taken.
    stream.on("end", () => resolve({ status, body: Buffer.concat(parts) }));
    stream.end(sent);
  });
}

async function withSession(run) {
  const session = http2.connect(base);
  const broken = new Promise((_, reject) => session.on("error", reject));
  await Promise.race([broken, new Promise(resolve => session.on("connect", resolve))]);
  assert.equal(session.alpnProtocol, "h2");
  try {
    await Promise.race([broken, run(session)]);
  } finally {
    session.destroy();
  }
}

await check("http2: 100 requests side by side", () => withSession(async session => {
  const answers = await Promise.all(Array.from({ length: 100 }, () => ask(session, "/hello")));
  for (const answer of answers) assert.deepEqual([answer.status, answer.body.toString()], [200, "hello"]);
}));
await check("http2: 4 MiB both ways", () => withSession(async session => {
  const answer = await ask(session, "/echo", body);
  assert.equal(answer.status, 200);
  assert.ok(answer.body.equals(body), "the body has changed");
}));
await check("http2: an answer before the upload's end", () => withSession(async session => {
  const answer = await ask(session, "/small", body);
  assert.equal(answer.status, 413);
  // The connection is as good as before.
  assert.equal((await ask(session, "/hello")).status, 200);
}));
await check("fetch", async () => {
  const answer = await fetch(`${base}/echo`, { method: "POST", body, signal: AbortSignal.timeout(PATIENCE_MS) });
  assert.ok(Buffer.from(await answer.arrayBuffer()).equals(body), "the body has changed");
});
await check("https", () => new Promise((resolve, reject) => {
  https.get(`${base}/hello`, { agent: false, timeout: PATIENCE_MS }, answer => {
    answer.on("data", () => {}).on("end", resolve).on("error", reject);
    if (answer.statusCode !== 200) reject(new Error(`status ${answer.statusCode}`));
  }).on("error", reject).on("timeout", () => reject(new Error("timeout")));
}));
process.exit(0);
