"""Who asks: the programs that load a proxy, how each is run, and what it has said."""

import dataclasses
import json
import re

from honest import percentile
from proxies import HERE, Failed

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclasses.dataclass(frozen=True)
class Wrk:
    """HTTP/1.1 over connections that stay open, in the clear or over TLS: a closed loop."""

    script: str
    arguments: tuple[str, ...] = ()
    path: str = "/"
    connections: int = 64
    program: str = "wrk"
    http2: bool = False

    def command(self, program, base, seconds, _log):
        return [
            program, "-t1", "--latency", f"-c{self.connections}", f"-d{max(1, round(seconds))}s",
            "-s", HERE / "wrk" / self.script, f"{base}{self.path}", "--", *self.arguments,
        ]

    def figures(self, said, _log):
        return parse_wrk(said)


@dataclasses.dataclass(frozen=True)
class H2load:
    """HTTP/2: so many requests at a time on each connection, a closed loop."""

    headers: tuple[str, ...] = ()
    path: str = "/"
    connections: int = 16
    streams: int = 32
    program: str = "h2load"
    http2: bool = True

    def command(self, program, base, seconds, log):
        return [
            program, "-t1", f"-c{self.connections}", f"-m{self.streams}", f"-D{max(1, round(seconds))}",
            *(f"-H{header}" for header in self.headers), f"--log-file={log}", f"{base}{self.path}",
        ]

    def figures(self, said, log):
        return parse_h2load(said, log)


@dataclasses.dataclass(frozen=True)
class Handshakes:
    """A connection for each request over TLS, and for each a full handshake or a resumed one.

    By `handshakes.py`, which knows of each handshake what it was. wrk resumes without being asked;
    h2load, which never does, has no connection for each request; and `openssl s_time` speaks no
    request of a chosen kind. A handshake of the other kind is a request that failed.
    """

    resumed: bool = False
    program: str = "python3"
    http2: bool = False

    def command(self, program, base, seconds, _log):
        kind = "resumed" if self.resumed else "full"
        return [program, HERE / "handshakes.py", base.rpartition(":")[2], str(max(1, round(seconds))), kind]

    def figures(self, said, _log):
        return json.loads(said)


def parse_wrk(text):
    """What wrk has printed: requests, seconds, percentiles in ms, and how many failed."""
    done = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", text)
    if not done:
        raise Failed(f"wrk says no figures:\n{text}")
    percentiles = {
        f"p{percent}_ms": float(number) * _UNITS[unit]
        for percent, number, unit in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)\b", text, re.M)
    }
    failed = [int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text)]
    for line in re.findall(r"Socket errors: (.*)", text):
        failed += map(int, re.findall(r"\d+", line))
    return {
        "requests": int(done[1]),
        "seconds": float(done[2]) * _UNITS[done[3]] / 1e3,
        **percentiles,
        "failed": sum(failed),
    }


def parse_h2load(text, log):
    """What h2load has printed, and its log: a line for each request, of its start, status and µs."""
    done = re.search(r"finished in ([\d.]+)(us|ms|s|m)\b", text)
    counts = re.search(r"^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text, re.M)
    # Where HTTP/2 is not agreed on, it goes on with HTTP/1.1.
    spoken = re.search(r"^Application protocol: (\S+)", text, re.M)
    if not done or not counts or not spoken or not spoken[1].startswith("h2"):
        raise Failed(f"h2load says no figures of HTTP/2:\n{text}")
    succeeded, *failed = map(int, counts.groups())
    times = sorted(int(line.split("\t")[2]) / 1e3 for line in log.splitlines())
    return {
        "requests": succeeded,
        "seconds": float(done[1]) * _UNITS[done[2]] / 1e3,
        "p50_ms": percentile(times, 50),
        "p99_ms": percentile(times, 99),
        # What failed by its status did not err; what erred has failed, too. A round without a request is none.
        "failed": max(*failed, not succeeded),
    }
