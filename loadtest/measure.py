"""One measurement: who asks, the kernel's clocks for CPU, and what is made of many."""

import concurrent.futures
import contextlib
import http.client
import math
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import tempfile
import time

import frames
from asking import Wrk
from proxies import APP, Failed, trusting

RELOAD_LIMIT_S = 30
# What who asks may take beyond its time.
LATE_S = 30
# For each route. Of routes asked for at random, e^-5 = 0.7 % are left out by five times their number.
WARM_UP_REQUESTS = 5


class Bench:
    """Where who asks is run: on these cores."""

    def __init__(self, tools, cores):
        self.tools = tools
        self.command = ["taskset", "-c", cores]

    def run(self, ask, proxy, seconds, under=()):
        """`seconds` of `ask`, a closed loop, against `proxy`; `under` is what runs who asks."""
        with tempfile.NamedTemporaryFile("r") as log:
            command = ask.command(self.tools.path(ask.program), proxy.base(), seconds, log.name)
            ran = subprocess.run(
                [*under, *self.command, *command],
                capture_output=True, text=True, check=True, timeout=seconds + LATE_S,
            )
            return ask.figures(ran.stdout, log.read())

    def load(self, ask, proxy, seconds, under=()):
        """The same, with what it cost the proxy."""
        proxy.forget_log()
        cpu = proxy.cpu_ns()
        sample = self.run(ask, proxy, seconds, under)
        cpu = proxy.cpu_ns() - cpu
        logged = proxy.logged_bytes()
        proxy.forget_log()
        requests = max(1, sample["requests"])
        return sample | {
            "rps": sample["requests"] / sample["seconds"],
            "cpu_us": cpu / 1e3 / requests,
            # Of one core: below 1, the proxy has waited for the origin or for who asks.
            "busy": cpu / 1e9 / sample["seconds"],
            "memory_kib": proxy.memory_kib(),
            "logged_bytes": logged / requests,
        }

    def load_counted(self, ask, proxy, seconds):
        """The same, with the proxy's instructions for each request, the kernel's included, if there is perf.

        Other work on the machine changes them less than time. Counting costs a little itself, so this
        is for comparing a proxy with itself.
        """
        if not shutil.which("perf"):
            return self.load(ask, proxy, seconds)
        with tempfile.NamedTemporaryFile("r") as counts:
            pids = ",".join(map(str, proxy.pids()))
            perf = ["perf", "stat", "-x,", "-o", counts.name, "-e", "instructions", "-p", pids, "--"]
            sample = self.load(ask, proxy, seconds, under=perf)
            # Where the machine does not count, it says so instead of a number.
            found = re.search(r"^(\d+),,instructions", counts.read(), re.M)
        return sample | ({"instructions": int(found[1]) / max(1, sample["requests"])} if found else {})

    def warm_up(self, ask, proxy, routes=0):
        """At least 1 s, and until nearly every route was asked for: its first request costs more."""
        requests = 0
        while requests <= WARM_UP_REQUESTS * routes:
            requests += self.run(ask, proxy, 1)["requests"]


def idle_connections(proxy, count, http2=False):
    """Resident memory before and with `count` connections, each of which has had one answer."""
    tls = trusting("h2" if http2 else "http/1.1")
    before = proxy.memory_kib()
    with contextlib.ExitStack() as held:
        streams = []
        for _ in range(count):
            stream = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
            if proxy.tls:
                stream = tls.wrap_socket(stream)
            held.callback(stream.close)
            if not (frames.Http2(stream).ask(origin=APP) if http2 else _ask(stream)):
                break
            streams.append(stream)
        after = proxy.memory_kib()
        for stream in streams:
            stream.setblocking(False)
        open_still = sum(_is_open(stream) for stream in streams)
    return {
        "connections": open_still,
        "failed": count - open_still,
        "before_kib": before,
        "after_kib": after,
        "kib_each": (after - before) / max(1, open_still),
    }


def _ask(stream):
    """Whether a whole answer came: of the origin's, all arrives within a few reads."""
    stream.sendall(b"GET / HTTP/1.1\r\nHost: idle.example\r\nOrigin: https://app.example.com\r\n\r\n")
    answer = b""
    while not answer.endswith(b"hello, hello, hello\n"):
        more = stream.recv(4096)
        if not more:
            return False
        answer += more
    return True


def _is_open(stream):
    try:
        # Frames may wait that nobody was to answer.
        while stream.recv(4096):
            pass
        return False
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False


def summary(samples):
    """The medians of all figures, the spread of CPU, and the sum of failures."""
    numbers = {
        name: statistics.median(sample[name] for sample in samples)
        for name in ("rps", "cpu_us", "p50_ms", "p99_ms", "busy", "memory_kib", "logged_bytes")
    }
    return numbers | {
        "cpu_spread": spread([sample["cpu_us"] for sample in samples]),
        "failed": sum(sample["failed"] for sample in samples),
        "requests": sum(sample["requests"] for sample in samples),
        "rounds": samples,
    }


def spread(values):
    """Half the range, as a part of the median."""
    return (max(values) - min(values)) / 2 / statistics.median(values)


def ratios(over, under, figure="cpu_us"):
    """The ratios of rounds that both were in, sorted: what changes between rounds falls out.

    None, if the figure was not measured.
    """
    of_under = {sample["round"]: sample for sample in under}
    both = [(sample, of_under[sample["round"]]) for sample in over if sample["round"] in of_under]
    if not all(figure in sample for pair in both for sample in pair):
        return []
    return sorted(round(a[figure] / b[figure], 4) for a, b in both)


def interval(ordered):
    """Where the median of what was sampled lies, with 95 % certainty, whatever its distribution.

    By ranks: the median is below the n-th smallest of N with the chance that fewer than n of N coins
    fall to one side. Fewer than six values give no such certainty; then it is their range.
    """
    count, rank, chance = len(ordered), 0, 0.0
    while 2 * (chance := chance + math.comb(count, rank) / 2**count) <= 0.05:
        rank += 1
    rank = max(rank, 1)
    return ordered[rank - 1], ordered[-rank]


def reload_under_load(bench, proxy, settings, seconds, connections=64):
    """A time without a reload, then as long a time with one after its first third.

    `settings` are the new ones; they must have another `max_age`, by which it is seen that
    they are served.
    """
    ask = Wrk("get.lua", (APP,), "/api/r1/7", connections)
    before = bench.run(ask, proxy, seconds)
    with concurrent.futures.ThreadPoolExecutor() as aside:
        during = aside.submit(bench.run, ask, proxy, seconds)
        time.sleep(seconds / 3)
        start = time.monotonic()
        proxy.reload(settings)
        took = _await_max_age(proxy, settings.max_age, start)
        return {"before": before, "during": during.result(), "seconds_to_effect": took}


def _await_max_age(proxy, max_age, start):
    preflight = {"Origin": APP, "Access-Control-Request-Method": "PUT"}
    while time.monotonic() < start + RELOAD_LIMIT_S:
        try:
            fields = proxy.ask("OPTIONS", "/api/r1/7", preflight)[1]
        except (OSError, http.client.HTTPException):
            continue
        if ("access-control-max-age", str(max_age)) in fields:
            return time.monotonic() - start
        time.sleep(0.02)
    raise Failed(f"{proxy.kind.name} does not serve what it was to reload")
