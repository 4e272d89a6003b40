#!/usr/bin/env python3
"""What renewals of a certificate and upgrades cost those who are served over TLS: nothing, or this fails.

`make loadtest-renewals` runs it; it needs wrk, h2load, openssl and a build of corsac, in which a
debug build is as good as a release.

Under wrk, with connections that are kept and with a handshake for each request, and under HTTP/2, the
certificate on disk is renewed 50 times, each waited for until it is shown, with an upgrade after every
fifth. A ticket from before each upgrade must resume after it, over TLS 1.2 and 1.3.

h2load does not come back after a GOAWAY, and calls failed what it then never sends, also what it has
begun and not yet written. So it is run again and again, as load, and fails here if it gets no answer,
or another status than 200. What HTTP/2 loses is told by a client that notes what it has sent: each of
these requests must be answered, since corsac ends a connection in two steps (RFC 9113, section 6.8).

Prints a table; exits with 1 if anything failed.
"""

import contextlib
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

CORSAC = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/corsac").resolve()
CERTIFICATES = pathlib.Path(__file__).resolve().parents[1] / "scripts" / "certificates"
RENEWALS, RENEWALS_FOR_AN_UPGRADE = 50, 5
PATIENCE_S = 30
# More than all of it takes; the load is ended before.
LOAD_S = 1800
CONFIGURATION = """
version = 1
[listeners.https]
address = "127.0.0.1:{port}"
tls = {{ cert = "pair.pem", key = "pair.key" }}
[admin]
listen = "unix:admin.sock"
[access_log]
output = "off"
[services.s.routes.r]
paths   = "/*"
respond = {{ body = "hello" }}
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
STATUSES = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
# Frames of HTTP/2, and a GET of https://localhost/ in HPACK, by the static table (RFC 7541, appendix A).
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = b"\x82\x87\x84\x01\x09localhost"
STATUS_200 = 0x88
SIDE_BY_SIDE, FOR_A_CONNECTION = 8, 400


class Corsac:
    def __init__(self, held, folder):
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.renew()
        (folder / "corsac.toml").write_text(CONFIGURATION.format(port=self.port))
        self.trust = ssl.create_default_context(cafile=folder / "ca.pem")
        log = held.enter_context((folder / "log").open("w"))
        process = subprocess.Popen([CORSAC, "run", "-c", "corsac.toml"], cwd=folder, stdout=log, stderr=log)
        held.callback(self.stop)
        # Once replaced, it ends before this program does, which takes note.
        threading.Thread(target=process.wait, daemon=True).start()
        self.await_shown()

    def ask(self, command, *more):
        return subprocess.run(
            [CORSAC, command, "--socket", "admin.sock", *more], cwd=self.folder, capture_output=True, text=True)

    def stop(self):
        found = re.search(r'"pid": ?(\d+)', self.ask("status", "--format", "json").stdout)
        if found:
            subprocess.run(["kill", found[1]], check=True)

    def renew(self):
        subprocess.run([CERTIFICATES, self.folder, "pair", "ec", "localhost", "127.0.0.1"], check=True)

    def await_shown(self):
        """Waits until the certificate on disk is the one that clients see; the seconds that takes."""
        due = ssl.PEM_cert_to_DER_cert((self.folder / "pair.pem").read_text())
        began = time.monotonic()
        while time.monotonic() < began + PATIENCE_S:
            with contextlib.suppress(ConnectionRefusedError), \
                    socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as tcp, \
                    self.trust.wrap_socket(tcp, server_hostname="localhost") as tls:
                if tls.getpeercert(binary_form=True) == due:
                    return time.monotonic() - began
            time.sleep(0.02)
        sys.exit(f"a renewed certificate is not shown:\n{(self.folder / 'log').read_text()[-2000:]}")

    def session(self, version, *more):
        """What openssl says of one connection; nothing if it got no good answer."""
        said = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", "localhost", "-CAfile", "ca.pem",
             "-verify_return_error", "-ign_eof", version, *more],
            cwd=self.folder, input=REQUEST, capture_output=True, timeout=PATIENCE_S).stdout.decode(errors="replace")
        return said if "HTTP/1.1 200 OK" in said else ""

    def upgrade(self):
        """Whether another process took over, and takes the tickets of the one before."""
        good = all("New, TLS" in self.session(each, "-sess_out", each[1:]) for each in ("-tls1_2", "-tls1_3"))
        good &= self.ask("upgrade", "--wait").returncode == 0
        return good and all("Reused, TLS" in self.session(each, "-sess_in", each[1:]) for each in ("-tls1_2", "-tls1_3"))


def wrk(url, *more):
    return subprocess.Popen(
        ["wrk", "-t1", "-c8", f"-d{LOAD_S}s", "--timeout", f"{PATIENCE_S}s", *more, url], stdout=subprocess.PIPE, text=True)


def of_wrk(process):
    """Requests made, and those that failed: refused connections, resets, statuses."""
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate()
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    failed = sum(map(int, errors.groups())) if errors else 0
    return int(re.search(r"(\d+) requests in", text)[1]), failed + (int(statuses[1]) if statuses else 0)


class Load(threading.Thread):
    """A load of many connections, some after the other, until it is told to stop."""

    def __init__(self, name, target):
        super().__init__(daemon=True, name=name)
        self.target, self.over = target, threading.Event()
        self.requests = self.failed = 0
        self.trouble = []
        self.start()

    def run(self):
        while not self.over.is_set():
            try:
                self.once()
            except (OSError, subprocess.SubprocessError) as error:
                self.fail(1, repr(error))

    def fail(self, count, why):
        self.failed += count
        self.trouble.append(f"{self.name}: {why}")

    def end(self):
        self.over.set()
        self.join()


class H2load(Load):
    """h2load, run after run; `target` is a URL."""

    def once(self):
        text = subprocess.run(["h2load", "-n4000", "-c8", "-m8", self.target], capture_output=True, text=True).stdout
        found = STATUSES.search(text)
        good, *bad = map(int, found.groups()) if found else (0, 1)
        self.requests += good
        if sum(bad) or not good:
            self.fail(max(1, sum(bad)), text[-900:])


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


class Noted(Load):
    """Requests of HTTP/2 whose fate is known; `target` is a `Corsac`."""

    def once(self):
        trust = ssl.create_default_context(cafile=self.target.folder / "ca.pem")
        trust.set_alpn_protocols(["h2"])
        with socket.create_connection(("127.0.0.1", self.target.port), PATIENCE_S) as tcp, \
                trust.wrap_socket(tcp, server_hostname="localhost") as tls:
            self.open, self.next, self.leaving = set(), 1, False
            seen = b""
            try:
                tls.sendall(PREFACE + frame(SETTINGS, 0, 0) + self.more())
                while self.open and (part := tls.recv(65536)):
                    seen += part
                    while len(seen) >= 9 and len(seen) >= (end := 9 + int.from_bytes(seen[:3], "big")):
                        self.take(tls, seen[3], seen[4], int.from_bytes(seen[5:9], "big"), seen[9:end])
                        seen = seen[end:]
                    if more := self.more():
                        tls.sendall(more)
            finally:
                if self.open:
                    self.fail(len(self.open), f"{len(self.open)} of {self.next // 2} requests have no answer, "
                                              f"{'after' if self.leaving else 'without'} a GOAWAY")

    def more(self):
        """As many requests as there is room for."""
        sent = b""
        while not self.leaving and len(self.open) < SIDE_BY_SIDE and self.next < 2 * FOR_A_CONNECTION:
            sent += frame(HEADERS, END_STREAM | END_HEADERS, self.next, GET)
            self.open.add(self.next)
            self.next += 2
        return sent

    def take(self, tls, kind, flags, stream, payload):
        if kind in (SETTINGS, PING) and not flags & ACK:
            tls.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind == GOAWAY:
            self.leaving = True
        elif kind == HEADERS and payload[0] != STATUS_200:
            self.fail(1, f"another status: {payload[:8].hex()}")
        elif kind == RST_STREAM:
            self.fail(1, f"stream {stream} is reset: {payload.hex()}")
            self.open.discard(stream)
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self.open.discard(stream)
            self.requests += 1


def main():
    with tempfile.TemporaryDirectory(prefix="corsac-renewals-") as folder, contextlib.ExitStack() as held:
        corsac = Corsac(held, pathlib.Path(folder))
        url = f"https://127.0.0.1:{corsac.port}/"
        kept, fresh = wrk(url), wrk(url, "-H", "Connection: close")
        for process in (kept, fresh):
            held.callback(process.kill)
        loads = [H2load("h2load", url), *(Noted("HTTP/2, each request noted", corsac) for _ in range(4))]
        upgraded, waits = [], []
        for number in range(1, RENEWALS + 1):
            corsac.renew()
            waits.append(corsac.await_shown())
            if number % RENEWALS_FOR_AN_UPGRADE == 0:
                upgraded.append(corsac.upgrade())
                print(f"{number} renewals, {len(upgraded)} upgrades", file=sys.stderr, flush=True)
        rows = [("wrk, kept connections", *of_wrk(kept)), ("wrk, a handshake for each request", *of_wrk(fresh))]
        for load in loads:
            load.end()
        rows += [(load.name, load.requests, load.failed) for load in loads]
    print("| load | requests | failed |\n|---|---|---|")
    for what, requests, failed in rows:
        print(f"| {what} | {requests:,} | {failed} |")
    print(f"\n{RENEWALS} renewals, each shown after {sorted(waits)[RENEWALS // 2]:.2f} s (median; the longest {max(waits):.2f} s).")
    print(f"{sum(upgraded)} of {len(upgraded)} upgrades worked, and took the tickets from before.")
    for trouble in [each for load in loads for each in load.trouble][:5]:
        print(trouble, file=sys.stderr)
    return 0 if all(upgraded) and all(requests and not failed for _, requests, failed in rows) else 1


sys.exit(main())
