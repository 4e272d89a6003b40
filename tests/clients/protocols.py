#!/usr/bin/env python3
"""Do real clients speak TLS and HTTP/2 with corsac as they mean to?

`make test-clients` runs it, with the Python that has requirements.txt. Each check names the protocol
that must come of it, as the client says it: a client that falls back to another has failed. The
certificate is by an authority that clients are told of for this run alone.

Prints a line for each check; exits with 1 if one failed. Nothing leaves the loopback.
"""

import argparse
import asyncio
import base64
import contextlib
import http.server
import json
import os
import pathlib
import queue
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import httpx
import websockets.sync.client
import websockets.sync.server

import common
from common import CERTIFICATES, HERE, Failed, browse, free_port, program

BYTES = 4 << 20
PATIENCE_S = 20
PAGE, OTHER_PAGE, API = "app.test", "other.test", "api.test"
CONFIGURATION = """
version = 1

[listeners.https]
address = "127.0.0.1:{tls}"
tls     = {{ cert = "leaf.pem", key = "leaf.key" }}

[listeners.clear]
address   = "127.0.0.1:{clear}"
protocols = ["h2", "http/1.1"]

[access_log]
output = "off"

[upstreams.origin]
nodes = "127.0.0.1:{origin}"

[upstreams.sockets]
nodes = "127.0.0.1:{sockets}"

[policies.cors.api]
allow_origins        = "https://app.test:{tls}"
allow_methods        = ["PUT"]
allow_headers        = ["x-asked"]
timing_allow_origins = ["https://app.test:{tls}"]

[services.pages]
hosts    = ["app.test", "other.test"]
upstream = "origin"
routes.all.paths = "/*"

[services.api]
upstream = "origin"
cors     = "api"

[services.api.routes.hello]
paths   = "/hello"
respond = {{ body = "hello" }}

[services.api.routes.echo]
paths = "/echo"

[services.api.routes.small]
paths  = "/small"
limits = {{ body = "1KiB" }}

[services.api.routes.socket]
paths    = "/socket"
upstream = "sockets"
"""


class Handler(http.server.BaseHTTPRequestHandler):
    """The origin behind corsac: pages, their reports, and an echo."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer((HERE / "protocols.html").read_bytes(), "text/html")

    def do_POST(self):
        body = self.body()
        if self.path == "/report":
            self.server.reports.put(json.loads(body))
        self.answer(body, "application/octet-stream")

    do_PUT = do_POST

    def body(self):
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while length := int(self.rfile.readline(), 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, body, content_type):
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Origin(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # Many connections at once, as requests of HTTP/2 become; socketserver's own five would refuse them.
    request_queue_size = 512

    def handle_error(self, *_):
        """An upload that is answered early ends in its midst."""


def echo(connection):
    for message in connection:
        connection.send(message)


class Bench:
    """corsac in front of an origin and of a server of WebSockets."""

    def __init__(self, held, corsac, folder):
        self.folder, self.reports = folder, queue.Queue()
        origin = Origin(("127.0.0.1", 0), Handler)
        origin.reports = self.reports
        sockets = websockets.sync.server.serve(echo, "127.0.0.1", 0)
        for server in (origin, sockets):
            held.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
        subprocess.run([CERTIFICATES, folder, "leaf", "ec", "localhost", "127.0.0.1", PAGE, OTHER_PAGE, API], check=True)
        self.authority = folder / "ca.pem"
        (folder / "body").write_bytes(os.urandom(BYTES))
        self.tls, self.clear = free_port(), free_port()
        self.over_tls, self.in_clear = f"https://localhost:{self.tls}", f"http://localhost:{self.clear}"
        configuration = CONFIGURATION.format(
            tls=self.tls, clear=self.clear, origin=origin.server_address[1], sockets=sockets.socket.getsockname()[1])
        common.start(held, corsac, folder, configuration, self.tls)

    def run(self, *command, fed=b"", fails=False):
        """What a program printed, both its streams; it must end as it is expected to."""
        ran = subprocess.run(
            command, cwd=self.folder, input=fed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=4 * PATIENCE_S)
        text = ran.stdout.decode(errors="replace")
        if bool(ran.returncode) != fails:
            raise Failed(f"exit code {ran.returncode}: {text[-300:]}")
        return text


def same(what, found, due):
    if found != due:
        raise Failed(f"{what}: {found!r}, not {due!r}")


def holds(what, text):
    """The part of a text that a pattern finds."""
    found = re.search(what, text)
    if not found:
        raise Failed(f"no {what!r} in: {text[-300:]}")
    return found[0]


def curl(bench):
    def ask(url, *options):
        """The protocol, the status, and the body's bytes."""
        (bench.folder / "got").unlink(missing_ok=True)
        said = bench.run(
            program("curl"), "-q", "--silent", "--show-error", "--noproxy", "*", "--cacert", "ca.pem",
            "--max-time", str(PATIENCE_S), "--output", "got", "--write-out", "%{http_version} %{http_code}", *options, url)
        return (*said.split(), (bench.folder / "got").read_bytes())

    body = (bench.folder / "body").read_bytes()
    upload = ("--data-binary", "@body")
    for what, base, options, version in (
        ("ALPN", bench.over_tls, ["--http2"], "2"),
        ("ALPN, TLS 1.2", bench.over_tls, ["--http2", "--tls-max", "1.2"], "2"),
        ("HTTP/1.1 over TLS", bench.over_tls, ["--http1.1"], "1.1"),
        ("no ALPN", bench.over_tls, ["--no-alpn"], "1.1"),
        ("prior knowledge", bench.in_clear, ["--http2-prior-knowledge"], "2"),
        ("an offer to upgrade, declined", bench.in_clear, ["--http2"], "1.1"),
    ):
        yield what, lambda: same("answer", ask(f"{base}/hello", *options), (version, "200", b"hello"))
        yield f"{what}: 4 MiB both ways", lambda: same(
            "answer", ask(f"{base}/echo", *options, *upload), (version, "200", body))
        # Over HTTP/2, curl 7.88 takes the RST_STREAM of RFC 9113 8.1 for an error, of nginx too.
        if version == "1.1":
            yield f"{what}: an answer before the upload's end", lambda: same(
                "answer", ask(f"{base}/small", *options, *upload)[:2], (version, "413"))


def python(bench):
    trust = ssl.create_default_context(cafile=bench.authority)

    async def side_by_side():
        async with httpx.AsyncClient(http2=True, verify=trust, trust_env=False, timeout=PATIENCE_S) as client:
            # The first alone, so that the others find its connection.
            await client.get(f"{bench.over_tls}/hello")
            bodies = [bytes([number]) * 50_000 for number in range(50)]
            answers = await asyncio.gather(*(client.post(f"{bench.over_tls}/echo", content=each) for each in bodies))
            same("protocols", {answer.http_version for answer in answers}, {"HTTP/2"})
            same("all bodies as sent", [answer.content for answer in answers] == bodies, True)

    def plain():
        with httpx.Client(verify=trust, trust_env=False, timeout=PATIENCE_S) as client:
            answer = client.get(f"{bench.over_tls}/hello")
            same("answer", (answer.http_version, answer.text), ("HTTP/1.1", "hello"))

    def socket():
        url = f"wss://localhost:{bench.tls}/socket"
        with websockets.sync.client.connect(url, ssl=trust, proxy=None, open_timeout=PATIENCE_S) as connection:
            for message in ("there and back", bytes(1 << 20)):
                connection.send(message)
                same("message", connection.recv(PATIENCE_S), message)

    yield "50 requests side by side", lambda: asyncio.run(side_by_side())
    yield "HTTP/1.1", plain
    yield "WebSocket", socket


REQUEST = b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def openssl(bench):
    def client(*options, fed=REQUEST, fails=False):
        return bench.run(
            program("openssl"), "s_client", "-connect", f"127.0.0.1:{bench.tls}", "-servername", "localhost",
            "-CAfile", "ca.pem", "-verify_return_error", "-verify_hostname", "localhost",
            # Until corsac closes: tickets of TLS 1.3 come after the handshake.
            *(["-ign_eof"] if fed else []), *options, fed=fed, fails=fails)

    def agrees(offered, chosen, version):
        text = client(version, "-alpn", offered, fed=b"")
        holds(f"ALPN protocol: {re.escape(chosen)}\n", text)
        holds(r"Verify return code: 0 \(ok\)", text)

    def resumes(option, version):
        first = client(option, "-sess_out", "session")
        holds(f"New, {re.escape(version)}, Cipher is", first)
        holds("HTTP/1.1 200 OK", first)
        again = client(option, "-sess_in", "session")
        holds(f"Reused, {re.escape(version)}, Cipher is", again)
        holds("HTTP/1.1 200 OK", again)

    def declined(*options, alert):
        holds(alert, client(*options, fed=b"", fails=True))

    for option, version in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
        yield f"{version}: ALPN prefers h2", lambda: agrees("http/1.1,h2", "h2", option)
        yield f"{version}: ALPN of HTTP/1.1 alone", lambda: agrees("http/1.1", "http/1.1", option)
        yield f"{version}: resumed", lambda: resumes(option, version)
        yield f"{version}: no protocol in common", lambda: declined(
            option, "-alpn", "spdy/3", alert="alert no application protocol")
    yield "TLSv1.1: refused", lambda: declined("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", alert="alert (protocol version|handshake failure)")


def h2load(bench):
    def load(url, protocol, *options):
        text = bench.run(program("h2load"), "--clients=20", "--requests=2000", *options, url)
        if protocol:
            holds(f"Application protocol: {re.escape(protocol)}\n", text)
        holds("2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout", text)
        holds("status codes: 2000 2xx", text)

    upload = bench.folder / "piece"
    upload.write_bytes(bytes(10_000))
    # Names of hosts would lead it to IPv6 first.
    over_tls, in_clear = f"https://127.0.0.1:{bench.tls}", f"http://127.0.0.1:{bench.clear}"
    yield "ALPN", lambda: load(f"{over_tls}/hello", "h2", "--max-concurrent-streams=32")
    yield "ALPN, uploads", lambda: load(f"{over_tls}/echo", "h2", "--max-concurrent-streams=8", f"--data={upload}")
    yield "HTTP/1.1 over TLS", lambda: load(f"{over_tls}/hello", "http/1.1", "--h1")
    yield "prior knowledge", lambda: load(f"{in_clear}/hello", None, "--max-concurrent-streams=32")


def reported(reports, due):
    """Checks of what another program or a page reports, by name; each must be among them."""
    found = {report["check"]: report for report in reports}
    for name in due:
        def check():
            if name not in found:
                raise Failed("not reported")
            if "error" in found[name]:
                raise Failed(found[name]["error"])
        yield name, check


NODE = ("http2: 100 requests side by side", "http2: 4 MiB both ways", "http2: an answer before the upload's end",
        "fetch", "https")


def node(bench):
    text = subprocess.run(
        [program("node"), HERE / "protocols.mjs", bench.over_tls, bench.folder / "body"],
        env=os.environ | {"NODE_EXTRA_CA_CERTS": str(bench.authority)}, capture_output=True, text=True,
        timeout=10 * PATIENCE_S)
    if text.returncode:
        raise Failed(text.stderr[-1000:])
    yield from reported(map(json.loads, text.stdout.splitlines()), NODE)


CHROMIUM = (
    "the page comes by HTTP/2", "a preflight lets it read", "what it reads comes by HTTP/2",
    "an answer before the upload's end", "a method that is not allowed", "WebSocket", "an origin that is not allowed",
)


def chromium(bench):
    key = subprocess.run(
        "openssl x509 -in leaf.pem -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary",
        shell=True, cwd=bench.folder, check=True, capture_output=True).stdout

    def address(host, following):
        options = {
            "api": f"https://{API}:{bench.tls}", "socket": f"wss://{API}:{bench.tls}/socket", "bytes": BYTES,
            "allowed": host == PAGE, "next": following,
        }
        return f"https://{host}:{bench.tls}/?options={urllib.parse.quote(json.dumps(options), safe='')}"

    command = [
        *common.chromium(bench.folder, "*.test"), "--host-resolver-rules=MAP *.test 127.0.0.1",
        # This certificate alone, and only in a profile of its own.
        f"--ignore-certificate-errors-spki-list={base64.b64encode(key).decode()}",
        address(PAGE, address(OTHER_PAGE, None)),
    ]
    yield from reported(browse("Chromium", command, bench.folder, bench.reports), CHROMIUM)


CLIENTS = {"curl": curl, "python": python, "openssl": openssl, "h2load": h2load, "node": node, "chromium": chromium}


def checked(bench, clients):
    """How many checks there were, and how many failed; each is printed as it ends."""
    count = failed = 0

    def tell(client, name, trouble):
        nonlocal count, failed
        count, failed = count + 1, failed + bool(trouble)
        print(f"{'FAILED' if trouble else 'ok':7}{client}: {name}{f': {trouble}' if trouble else ''}", flush=True)

    for client in clients:
        try:
            for name, check in CLIENTS[client](bench):
                try:
                    check()
                    tell(client, name, None)
                except Exception as trouble:
                    # Libraries of clients have errors of their own; each is a check that failed.
                    tell(client, name, f"{type(trouble).__name__}: {trouble}")
        except (Failed, subprocess.SubprocessError) as trouble:
            tell(client, "starts", trouble)
    return count, failed


def main():
    parser = argparse.ArgumentParser(description="real clients over TLS and HTTP/2")
    parser.add_argument("corsac", type=pathlib.Path, help="the program")
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS), help="instead of all")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="corsac-protocols-", ignore_cleanup_errors=True) as folder, \
            contextlib.ExitStack() as held:
        count, failed = checked(Bench(held, args.corsac.resolve(), pathlib.Path(folder)), args.clients)
    print(f"{count - failed} of {count} checks hold, in {time.monotonic() - began:.0f} s")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
