#!/usr/bin/env python3
"""Do real clients read an answer that comes before they have sent their whole upload?

`make test-clients` runs it: Chromium, Firefox, Node, curl and Python send 4 MiB, and corsac, or the
upstream behind it, answers at once (uploads.json). A server that closes such a connection with
bytes unread resets it, and then the client throws the answer away: a page reads "network
error" where a 413 was sent. Browsers need no driver: they open a page that sends, and
reports to this program what it got.

Prints a table; exits with 1 if an answer was not read. Nothing leaves the loopback.
"""

import argparse
import collections
import contextlib
import http.client
import http.server
import json
import pathlib
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import common
from common import HERE, Failed, browse, free_port, program

CASES = json.loads((HERE / "uploads.json").read_text())
BYTES = 4 << 20
ACROSS, SAME = "another origin", "the same origin"
PATIENCE_S = 20
# Of an upload that is slow: two thirds of a second in all.
PIECE, PAUSE_S = 64 << 10, 0.01
CONFIGURATION = """
version = 1

[listeners.http]
address = "127.0.0.1:{corsac}"

[access_log]
output = "off"

[upstreams.origin]
nodes = "127.0.0.1:{origin}"

[upstreams.dead]
nodes = "127.0.0.1:{dead}"

[policies.cors.page]
allow_origins = "http://127.0.0.1:{page}"

[policies.cors.strict]
allow_origins = "http://127.0.0.1:{page}"
reject_actual = true

[services.uploads]
upstream = "origin"
cors     = "page"

[services.uploads.routes.through]
paths = ["/read", "/early", "/uploads.html"]

[services.uploads.routes.small]
paths  = "/small"
limits = {{ body = "1KiB" }}

[services.uploads.routes.dead]
paths    = "/dead"
upstream = "dead"

[services.uploads.routes.respond-200]
paths   = "/respond-200"
respond = {{ body = "early" }}

[services.uploads.routes.respond-403]
paths   = "/respond-403"
respond = {{ status = 403, body = "early" }}

[services.uploads.routes.redirect]
paths    = "/redirect"
redirect = {{ to = "/read", status = 307 }}

[services.uploads.routes.refused]
paths = "/refused"
cors  = "strict"
"""


class Handler(http.server.BaseHTTPRequestHandler):
    """The origin behind corsac, and the one that pages come from: both have the same paths."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        if urllib.parse.urlsplit(self.path).path == "/uploads.html":
            self.answer(200, (HERE / "uploads.html").read_bytes(), "text/html")
        else:
            self.answer(404, b"")

    def do_POST(self):
        if self.path == "/early":
            self.answer_early()
            return
        body = self.chunks() if "chunked" in self.headers.get("Transfer-Encoding", "") else \
            self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/report":
            self.server.reports.put(json.loads(body))
            self.answer(204, b"")
        else:
            self.answer(200, f"read {len(body)}".encode())

    def answer(self, status, body, content_type="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_early(self):
        """As an upstream should: it half-closes, and takes what still comes for a while."""
        self.close_connection = True
        self.connection.sendall(
            b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much")
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(2)
            while self.connection.recv(65536):
                pass

    def chunks(self):
        body = b""
        while length := int(self.rfile.readline(), 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body


class Origin(http.server.ThreadingHTTPServer):
    """A server on a port of its own, with the reports of pages."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.reports = queue.Queue()
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        """A client that goes is no error here."""


class Bench:
    """corsac, between a page's origin and its own."""

    def __init__(self, held, corsac, folder, times):
        self.folder, self.times = folder, times
        self.origin, self.page = Origin(), Origin()
        for server in (self.origin, self.page):
            held.callback(server.server_close)
            held.callback(server.shutdown)
        # Bound, and not listening: nobody else gets the port, and who connects is refused.
        dead = held.enter_context(socket.socket())
        dead.bind(("127.0.0.1", 0))
        self.port = free_port()
        self.target = f"http://127.0.0.1:{self.port}"
        configuration = CONFIGURATION.format(
            corsac=self.port, origin=self.origin.port, page=self.page.port, dead=dead.getsockname()[1])
        self.body = folder / "body"
        self.body.write_bytes(bytes(BYTES))
        common.start(held, corsac, folder, configuration, self.port)

    def page_options(self, client):
        """The address of the page for a browser: first of another origin, then of corsac's."""
        def address(base, kind, cases, following):
            options = {
                "client": f"{client}, {kind}", "bytes": BYTES, "times": self.times, "target": self.target,
                "report": f"http://127.0.0.1:{self.page.port}/report", "next": following,
                "cases": [{"name": case["name"], "path": case["path"]} for case in cases],
            }
            return f"{base}/uploads.html?options={urllib.parse.quote(json.dumps(options), safe='')}"

        same = [case for case in CASES if sent_by_page(case)]
        across = [case for case in same if case.get("cors", True)]
        last = address(self.target, SAME, same, None)
        return address(f"http://127.0.0.1:{self.page.port}", ACROSS, across, last)


def chromium(bench):
    command = [*common.chromium(bench.folder, "127.0.0.1"), bench.page_options("Chromium")]
    yield from browse("Chromium", command, bench.folder, bench.page.reports)


FIREFOX_PREFERENCES = {
    "network.proxy.type": 1, "network.proxy.http": "127.0.0.1", "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1", "network.proxy.ssl_port": 9, "network.proxy.no_proxies_on": "127.0.0.1",
    "network.captive-portal-service.enabled": False, "network.connectivity-service.enabled": False,
    "network.dns.disabled": True, "network.trr.mode": 5, "app.update.enabled": False,
    "app.normandy.enabled": False, "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False, "browser.shell.checkDefaultBrowser": False,
    "browser.aboutwelcome.enabled": False, "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.server": "", "extensions.systemAddon.update.enabled": False,
    "services.settings.server": "http://127.0.0.1:9",
}


def firefox(bench):
    profile = bench.folder / "firefox"
    profile.mkdir()
    lines = (f'user_pref("{name}", {json.dumps(value)});\n' for name, value in FIREFOX_PREFERENCES.items())
    (profile / "user.js").write_text("".join(lines))
    command = [
        program("firefox-esr", "firefox"), "--headless", "--no-remote", "--profile", profile,
        bench.page_options("Firefox"),
    ]
    yield from browse("Firefox", command, bench.folder, bench.page.reports)


def node(bench):
    options = {"target": bench.target, "cases": CASES, "times": bench.times, "bytes": BYTES}
    limit = 60 + 2 * 25 * bench.times * len(CASES)
    command = [program("node"), HERE / "uploads.mjs", json.dumps(options)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    if ran.returncode:
        raise Failed(f"node: {ran.stderr[-1000:]}")
    yield from map(json.loads, ran.stdout.splitlines())


CURL_VARIANTS = {
    "curl --data-binary": (["--data-binary", "@body"], []),
    "curl --data-binary, no Expect": (["--data-binary", "@body"], ["-H", "Expect:"]),
    "curl --data-binary, Expect": (["--data-binary", "@body"], ["-H", "Expect: 100-continue"]),
    "curl -F": (["-F", "file=@body"], []),
    "curl -F, no Expect": (["-F", "file=@body"], ["-H", "Expect:"]),
}


def curl(bench):
    for client, (upload, fields) in CURL_VARIANTS.items():
        for case in CASES:
            for _ in range(bench.times):
                yield {"client": client, "case": case["name"]} | curl_once(bench, case, upload, fields)


def curl_once(bench, case, upload, fields):
    more = ["-H", "Transfer-Encoding: chunked"] if case.get("chunked") else []
    more += ["-H", f"Origin: {case['origin']}"] if "origin" in case else []
    ran = subprocess.run(
        [program("curl"), "-q", "--silent", "--show-error", "--http1.1", "--noproxy", "*", "--location",
         "--max-time", str(PATIENCE_S), "--write-out", "\n%{http_code} %{num_redirects}",
         *upload, *fields, *more, bench.target + case["path"]],
        cwd=bench.folder, capture_output=True, text=True)
    body, _, last = ran.stdout.rpartition("\n")
    if ran.returncode:
        return {"error": ran.stderr.strip() or f"exit code {ran.returncode}"}
    status, redirects = map(int, last.split())
    return {"status": status, "body": body, "followed": redirects > 0}


def python(bench):
    """A client that reads when it has sent everything, and takes its time for that."""
    for case in CASES:
        for _ in range(bench.times):
            yield {"client": "Python, reads last", "case": case["name"]} | python_once(bench, case)


def python_once(bench, case):
    fields = {"Origin": case["origin"]} if "origin" in case else {}
    if not case.get("chunked"):
        fields["Content-Length"] = str(BYTES)
    connection = http.client.HTTPConnection("127.0.0.1", bench.port, timeout=PATIENCE_S)
    try:
        connection.request("POST", case["path"], slow_pieces(), fields, encode_chunked="chunked" in case)
        answer = connection.getresponse()
        return {"status": answer.status, "body": answer.read().decode()}
    except (OSError, http.client.HTTPException) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        connection.close()


def slow_pieces():
    for _ in range(BYTES // PIECE):
        yield bytes(PIECE)
        time.sleep(PAUSE_S)


CLIENTS = {"chromium": chromium, "firefox": firefox, "node": node, "curl": curl, "python": python}


def sent_by_page(case):
    """A page cannot send chunks over HTTP/1.1, nor name another origin than its own."""
    return not case.get("chunked") and "origin" not in case


def wrong(case, report):
    """Why this is not the answer that was sent; nothing: it is."""
    if "error" in report:
        return report["error"].splitlines()[0][:90]
    due = case
    if report.get("followed"):
        due = case.get("followed", {})
    if report["status"] != due.get("status"):
        return f"status {report['status']}"
    # With multipart/form-data, more than the file is read.
    body = due.get("body", "").split(" ")[0]
    return "" if body in report["body"] else f"body {report['body'][:30]!r}"


def table(reports):
    """A line for each client, a column for each case; and how many answers were not read."""
    cases = {case["name"]: case for case in CASES}
    cells = collections.defaultdict(lambda: collections.defaultdict(list))
    for report in reports:
        cells[report["client"]][report["case"]].append(wrong(cases[report["case"]], report))
    lines = [["", *cases], ["---"] * (1 + len(cases))]
    for client, of_client in cells.items():
        lines.append([client, *(cell(of_client.get(name)) for name in cases)])
    notes = [
        f"- {client}, {name}: {', '.join(sorted({each for each in found if each}))}"
        for client, of_client in cells.items() for name, found in of_client.items() if any(found)
    ]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    unread = sum(bool(each) for of_client in cells.values() for found in of_client.values() for each in found)
    return "\n\n".join([text, *(["Not read:\n" + "\n".join(notes)] if notes else [])]), unread


def cell(found):
    if found is None:
        return "–"
    read = found.count("")
    return f"{read}/{len(found)}" if read == len(found) else f"**{read}/{len(found)}**"


def main():
    parser = argparse.ArgumentParser(description="uploads of real clients that are answered early")
    parser.add_argument("corsac", type=pathlib.Path, help="the program")
    parser.add_argument("--times", type=int, default=5, help="how often each case is run (5)")
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS), help="instead of all")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    reports, failed = [], []
    with tempfile.TemporaryDirectory(prefix="corsac-clients-", ignore_cleanup_errors=True) as folder, \
            contextlib.ExitStack() as held:
        bench = Bench(held, args.corsac.resolve(), pathlib.Path(folder), args.times)
        for name in args.clients:
            print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
            try:
                # Those before a failure count, too.
                for report in CLIENTS[name](bench):
                    reports.append(report)
            except (Failed, subprocess.TimeoutExpired) as trouble:
                failed.append(str(trouble))
    text, unread = table(reports)
    print(text)
    if unread:
        failed.append(f"{unread} of {len(reports)} answers were not read")
    sys.exit("\n".join(failed) or 0)


if __name__ == "__main__":
    main()
