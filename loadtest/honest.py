"""The honest client beside the hostile ones: a steady stream over kept connections.

It has a process of its own, so that it does not wait for what the others do.
"""

import concurrent.futures
import contextlib
import functools
import http.client
import multiprocessing
import os
import socket
import threading
import time

import frames
from proxies import trusting

CONNECTIONS = 8
REQUESTS_A_SECOND = 200
PATIENCE_S = 10


class Honest:
    """One that asks from its making to `stop`, which tells (begun, latency in ms, whether answered) of each.

    `protocol` is what it speaks over TLS, "http/1.1" or "h2"; none: HTTP/1.1 in the clear. A connection is
    left after `requests`; none: never.
    """

    def __init__(self, port, core, protocol=None, requests=None):
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        connect = functools.partial(connection, port, protocol)
        self.process = context.Process(target=_ask_on, args=(connect, requests, core, theirs), daemon=True)
        self.process.start()

    def stop(self):
        self.pipe.send("stop")
        asked = self.pipe.recv() if self.pipe.poll(2 * PATIENCE_S) else []
        self.process.join(1)
        self.process.kill()
        return asked


def _ask_on(connect, requests, core, pipe):
    os.sched_setaffinity(0, {core})
    with contextlib.suppress(PermissionError):
        # The hostile ones share its core; what is measured is the proxy.
        os.nice(-5)
    stop, begin = threading.Event(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        # Each connection for itself: one that waits keeps no other from asking.
        streams = [
            pool.submit(_stream, connect, requests, begin + turn / REQUESTS_A_SECOND, stop)
            for turn in range(CONNECTIONS)
        ]
        pipe.recv()
        stop.set()
        pipe.send(sorted(one for stream in streams for one in stream.result()))


def _stream(connect, requests, due, stop):
    held, left, asked = None, None, []
    while not stop.wait(max(0, due - time.monotonic())):
        answered = False
        with contextlib.suppress(OSError, http.client.HTTPException):
            if held is None:
                held, left = connect(), requests
            answered = held.ask()
        # From when it was due: a request that had to wait for the one before it is late, too.
        asked.append((due, (time.monotonic() - due) * 1e3, answered))
        left = left and left - 1
        if held and (not answered or left == 0):
            held.close()
            held = None
        due += CONNECTIONS / REQUESTS_A_SECOND
    if held:
        held.close()
    return asked


def connection(port, protocol):
    """A connection with `ask`, whether it was answered as it must be, and `close`."""
    if protocol is None:
        return Http1(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S))
    tls = trusting(protocol)
    if protocol != "h2":
        return Http1(http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE_S, context=tls))
    stream = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    try:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return frames.Http2(tls.wrap_socket(stream))
    except OSError:
        stream.close()
        raise


class Http1:
    def __init__(self, held):
        self.held = held

    def ask(self):
        self.held.request("GET", "/")
        answer = self.held.getresponse()
        answer.read()
        return answer.status == 200

    def close(self):
        self.held.close()


def latency(asked, begin, end):
    """Percentiles of what was due in that time, and how many failed."""
    part = [(ms, answered) for due, ms, answered in asked if begin <= due < end]
    times = sorted(ms for ms, _ in part)
    return {
        "requests": len(part),
        "failed": sum(not answered for _, answered in part),
        "p50_ms": percentile(times, 50),
        "p99_ms": percentile(times, 99),
    }


def percentile(ordered, percent):
    """The nearest rank; None of nothing."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else None
