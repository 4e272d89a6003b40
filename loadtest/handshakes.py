#!/usr/bin/env python3
"""A connection over TLS for each GET, and for each a handshake that is full, or resumed.

Usage: handshakes.py PORT SECONDS full|resumed

Prints figures as JSON. Eight connections at a time, a closed loop. All speak TLS 1.3; a
handshake of the other kind has failed, as has an answer that is not 200.
"""

import concurrent.futures
import contextlib
import json
import re
import socket
import ssl
import sys
import threading
import time

from honest import percentile
from proxies import trusting

CONNECTIONS = 8
PATIENCE_S = 10
HOST = "edge.example"
REQUEST = b"GET / HTTP/1.1\r\nHost: edge.example\r\nOrigin: https://app.example.com\r\nConnection: close\r\n\r\n"


def ask(tls, port, session=None):
    """One connection: whether 200 came, whether it was resumed, and the session to resume next."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with tls.wrap_socket(raw, server_hostname=HOST, session=session) as stream:
            stream.sendall(REQUEST)
            answer = b""
            while more := stream.recv(65536):
                answer += more
            # What a session is resumed by comes after the handshake.
            return bool(re.match(rb"HTTP/1\.1 200\b", answer)), stream.session_reused, stream.session


def ask_on(tls, port, resumed, end, start):
    """Times in ms of all that went well, and how many did not."""
    session = None
    with contextlib.suppress(OSError):
        # Each has a session of its own, which is renewed with each connection.
        session = ask(tls, port)[2] if resumed else None
    start.wait()
    times, failed = [], 0
    while (begun := time.monotonic()) < end():
        try:
            answered, was_resumed, fresh = ask(tls, port, session)
        except OSError:
            answered, was_resumed, fresh = False, False, session
        if answered and was_resumed == resumed:
            times.append((time.monotonic() - begun) * 1e3)
        else:
            failed += 1
        session = fresh if resumed else None
    return times, failed


def main():
    port, seconds, resumed = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "resumed"
    tls, begun = trusting(), []
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    start = threading.Barrier(CONNECTIONS, action=lambda: begun.append(time.monotonic()))
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        running = [
            pool.submit(ask_on, tls, port, resumed, lambda: begun[0] + seconds, start) for _ in range(CONNECTIONS)
        ]
        found = [each.result() for each in running]
    times = sorted(ms for each, _ in found for ms in each)
    print(json.dumps({
        "requests": len(times), "seconds": time.monotonic() - begun[0], "failed": sum(n for _, n in found),
        "p50_ms": percentile(times, 50), "p99_ms": percentile(times, 99),
    }))


if __name__ == "__main__":
    main()
