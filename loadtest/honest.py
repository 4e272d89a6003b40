"""The honest client beside the hostile ones: a steady stream over kept connections.

It has a process of its own, so that it does not wait for what the others do.
"""

import concurrent.futures
import contextlib
import http.client
import multiprocessing
import os
import threading
import time

CONNECTIONS = 8
REQUESTS_A_SECOND = 200
PATIENCE_S = 10


class Honest:
    """One that asks from its making to `stop`, which tells (begun, latency in ms, whether answered) of each."""

    def __init__(self, port, core):
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_ask_on, args=(port, core, theirs), daemon=True)
        self.process.start()

    def stop(self):
        self.pipe.send("stop")
        asked = self.pipe.recv() if self.pipe.poll(2 * PATIENCE_S) else []
        self.process.join(1)
        self.process.kill()
        return asked


def _ask_on(port, core, pipe):
    os.sched_setaffinity(0, {core})
    with contextlib.suppress(PermissionError):
        # The hostile ones share its core; what is measured is the proxy.
        os.nice(-5)
    stop, begin = threading.Event(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        # Each connection for itself: one that waits keeps no other from asking.
        streams = [
            pool.submit(_stream, port, begin + turn / REQUESTS_A_SECOND, stop) for turn in range(CONNECTIONS)
        ]
        pipe.recv()
        stop.set()
        pipe.send(sorted(one for stream in streams for one in stream.result()))


def _stream(port, due, stop):
    connection, asked = _connection(port), []
    while not stop.wait(max(0, due - time.monotonic())):
        answered = _ask(connection)
        # From when it was due: a request that had to wait for the one before it is late, too.
        asked.append((due, (time.monotonic() - due) * 1e3, answered))
        if not answered:
            connection.close()
            connection = _connection(port)
        due += CONNECTIONS / REQUESTS_A_SECOND
    connection.close()
    return asked


def _connection(port):
    return http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)


def _ask(connection):
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False


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
