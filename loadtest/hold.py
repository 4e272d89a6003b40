#!/usr/bin/env python3
"""Hostile clients beside an honest one, against corsac and its peers under the same limits.

`make loadtest-hold` runs it. Thousands of clients do not read, send a head or a body a byte
a second, or send nothing. Measured are whether and when they are ended, what they cost the
proxy, and what an honest client beside them notices. The limits are shorter than the
defaults, so that a run takes minutes. Each measurement has a fresh proxy, since an allocator
keeps what it once had.

Prints tables; exits with 1 if corsac misses a target.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import descriptors
import environment
import frames
import hold_report
from crowd import Behaviour, Crowd, client_hello, ends, held_connections, status_of
from honest import Honest, latency
from proxies import APP, CORSAC, KINDS, ORIGIN, Failed, Proxy, Settings, Tools, free_port, prepare_process
from report import write_between_markers

LARGE_BYTES = 64 << 20
# A good part of a head, and of a body.
HEAD_BYTES = 1 << 10
BODY_BYTES = 16 << 10
HEAD = b"GET / HTTP/1.1\r\nHost: edge.example\r\nX-Filler: "
UPLOAD = b"POST /upload HTTP/1.1\r\nHost: edge.example\r\nContent-Length: 1000000\r\n\r\n"
CHUNKED = b"POST /upload HTTP/1.1\r\nHost: edge.example\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
HTTP2 = frames.PREFACE + frames.settings()
# A frame of a head's first part: of 16,000 bytes, of which most are one value's that comes later.
HTTP2_HEAD = frames.frame(
    frames.HEADERS, frames.END_STREAM, 1, (frames.request() + b"\0" + frames.text("x-filler")
    + frames.number(15_000, 7)).ljust(16_000, b"x"))
HTTP2_SHUT = frames.PREFACE + frames.settings(INITIAL_WINDOW_SIZE=0) + frames.get(1, "/large")
CHUNKS = 1_000_000
CHUNK_ROUNDS = 3
CHUNKS_LIMIT_S = 60
# How long clients that should have been ended are waited for, beyond when that is late.
PATIENCE_S = 5
# What a proxy takes until it has read what the last client sent.
SETTLE_S = 1
# Over how long a rate is taken: after that, a client that is too slow must be gone.
RATE_WINDOW_S = 60


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    behaviour: Behaviour
    clients: int
    key: str  # of corsac, whose limit ends them
    status: int | None  # what they are told before
    kib_each: float  # at the most, of the proxy's own memory
    peers: bool = True  # whether they have such a limit
    protocol: str | None = None  # of the honest client over TLS; none: in the clear

    def limit_s(self, limit):
        """What ends them, in s, where limits of time are `limit`: over TLS a crowd takes longer to come."""
        return RATE_WINDOW_S if self.key == "body_rate" else limit * (2 if self.protocol else 1)


SCENARIOS = [
    Scenario("unread", "ask for 64 MiB and do not read", Behaviour(
        b"GET /large HTTP/1.1\r\nHost: edge.example\r\n\r\n", reads=False), 3_000, "send", None, 128),
    Scenario("head", "send 1 KiB of a head, then a byte a second", Behaviour(
        HEAD.ljust(HEAD_BYTES, b"x"), b"x"), 9_000, "head", 408, HEAD_BYTES / 1024 + 8),
    Scenario("silent", "connect and send nothing", Behaviour(), 9_000, "idle", None, 8),
    Scenario("body", "send 16 KiB of a body, then nothing", Behaviour(
        UPLOAD + BODY_BYTES * b"x"), 3_000, "body_idle", 408, 32),
    Scenario("rate", "send 16 KiB of a body, then a byte a second", Behaviour(
        UPLOAD + BODY_BYTES * b"x", b"x"), 3_000, "body_rate", 408, 32, peers=False),
    Scenario("tls-handshake", "send a part of a handshake, then a byte a second", Behaviour(
        client_hello()[:100], b"\0"), 10_000, "handshake", None, 24, protocol="http/1.1"),
    Scenario("tls-head", "send 1 KiB of a head over TLS, then a byte a second", Behaviour(
        HEAD.ljust(HEAD_BYTES, b"x"), b"x", protocol="http/1.1"),
        10_000, "head", 408, 24 + HEAD_BYTES / 1024 + 8, protocol="http/1.1"),
    Scenario("tls-unread", "ask for 64 MiB over TLS and do not read", Behaviour(
        b"GET /large HTTP/1.1\r\nHost: edge.example\r\n\r\n", reads=False, protocol="http/1.1"),
        1_000, "send", None, 24 + 128, protocol="http/1.1"),
    Scenario("h2-handshake", "agree on HTTP/2 and send nothing", Behaviour(
        protocol="h2", from_connected=True), 10_000, "handshake", None, 40, protocol="h2"),
    Scenario("h2-head", "send 1 KiB of a head of HTTP/2, then a byte a second", Behaviour(
        HTTP2 + HTTP2_HEAD[:HEAD_BYTES], b"x", protocol="h2"),
        10_000, "head", None, 40 + HEAD_BYTES / 1024 + 8, protocol="h2"),
    Scenario("h2-window", "ask for 64 MiB by HTTP/2 and keep the window shut", Behaviour(
        HTTP2_SHUT, protocol="h2"), 1_000, "send", None, 40 + 128, protocol="h2"),
]
HOLD_CORSAC = dataclasses.replace(
    CORSAC, arguments=["run", "--config", "hold-corsac.toml"], templates=["hold-corsac.toml"])
_BY_NAME = {kind.name: kind for kind in KINDS}
HOLD_KINDS = [
    HOLD_CORSAC,
    dataclasses.replace(
        _BY_NAME["nginx"], templates=["hold-nginx.conf"],
        arguments=["-p", "@DIR@", "-e", "@DIR@/error.log", "-c", "@DIR@/hold-nginx.conf"]),
    dataclasses.replace(
        _BY_NAME["HAProxy"], templates=["hold-haproxy.cfg"], arguments=["-W", "-db", "-f", "hold-haproxy.cfg"]),
]
HOLD_ORIGIN = dataclasses.replace(
    ORIGIN, templates=["hold-origin.conf"],
    arguments=["-p", "@DIR@", "-e", "@DIR@/error.log", "-c", "@DIR@/hold-origin.conf"])


@dataclasses.dataclass(frozen=True)
class HoldSettings(Settings):
    limit_s: int = 10
    limits: tuple[str, ...] = ()  # lines of corsac's table
    admin_port: int = 0


class HoldProxy(Proxy):
    def values(self, settings):
        return super().values(settings) | {
            "LIMIT_S": settings.limit_s, "LIMITS": "\n".join(settings.limits),
            "ADMIN_PORT": settings.admin_port, "APP": APP,
        }


def limit_lines(seconds):
    """The limits of a run, as keys of corsac's `[limits]`."""
    times = {key: f'{key} = "{seconds}s"' for key in ("handshake", "head", "idle", "body_idle", "send")}
    return times | {"body_rate": 'body_rate = "1KiB"'}


def known_limits(corsac, folder, lines):
    """Those that this corsac has: an older one is measured without them."""
    known = {}
    for key, line in lines.items():
        file = pathlib.Path(folder) / f"{key}.toml"
        file.write_text(
            f'version = 1\nlisteners.http.address = "127.0.0.1:80"\n[limits]\n{line}\n'
            '[services.s.routes.r]\npaths = "/*"\nrespond = { body = "" }\n'
        )
        checked = subprocess.run([corsac, "check", file], capture_output=True, text=True, timeout=60)
        if checked.returncode == 0:
            known[key] = line
        elif "E001" not in checked.stdout + checked.stderr:
            raise SystemExit(f"corsac takes no {line}:\n{checked.stdout}{checked.stderr}")
    return known


def anonymous_kib(proxy):
    """Memory of its own of all its processes: no files, and what they share once."""
    return sum(anonymous_of(pid) for pid in proxy.pids())


def anonymous_of(pid):
    try:
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"^Pss_Anon:\s+(\d+)", rollup, re.M) or re.search(r"^Anonymous:\s+(\d+)", rollup, re.M)
    return int(found[1]) if found else 0


def socket_kib():
    """What the kernel holds for all TCP sockets of the machine."""
    found = re.search(r"^TCP:.* mem (\d+)", pathlib.Path("/proc/net/sockstat").read_text(), re.M)
    return int(found[1]) * os.sysconf("SC_PAGE_SIZE") // 1024 if found else 0


class Hold:
    """One run: its folder, its origin, the proxies that it starts."""

    def __init__(self, folder, tools, args, known):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise SystemExit("it needs two cores: one for the proxy, one for its clients and the origin")
        self.core, self.other = cores[0], cores[1]
        self.folder = pathlib.Path(folder)
        self.tools, self.args, self.known = tools, args, known
        self.started = 0
        self.origin = Proxy(HOLD_ORIGIN, self.folder / "origin", tools, str(self.other))
        with (self.origin.dir / "large").open("wb") as large:
            large.truncate(LARGE_BYTES)

    @contextlib.contextmanager
    def proxy(self, kind, **changed):
        """A fresh one, whose log is on: that is how proxies run."""
        self.started += 1
        settings = HoldSettings(
            log=True, limit_s=self.args.limit, limits=tuple(self.known.values()), admin_port=free_port())
        settings = dataclasses.replace(settings, **changed)
        folder = self.folder / f"{self.started}-{kind.slug}"
        proxy = HoldProxy(kind, folder, self.tools, str(self.core), self.origin, settings)
        try:
            yield proxy, settings
        finally:
            proxy.stop()

    def scenario(self, scenario, kind):
        count = max(1, round(scenario.clients * self.args.share))
        limit = scenario.limit_s(self.args.limit)
        # A least rate has its own time: the other limits are those of the run.
        time_limit = self.args.limit if scenario.key == "body_rate" else limit
        lines = {key: line for key, line in limit_lines(time_limit).items() if key in self.known}
        changed = {"limit_s": time_limit, "limits": tuple(lines.values()), "tls": bool(scenario.protocol)}
        with self.proxy(kind, **changed) as (proxy, _):
            honest = Honest(proxy.port, self.other, scenario.protocol)
            crowd = None
            try:
                time.sleep(self.args.before)
                memory, sockets, cpu = anonymous_kib(proxy), socket_kib(), proxy.cpu_ns()
                crowd = Crowd(scenario.behaviour, proxy.port, count)
                peak = self._hold(scenario, kind, proxy, crowd)
                end, cpu = time.monotonic(), proxy.cpu_ns() - cpu
            finally:
                asked = honest.stop()
                if crowd:
                    crowd.close()
        most = max(1, peak["connections"])
        # The first second is the proxy's and the client's own start.
        before = latency(asked, crowd.start - self.args.before + 1, crowd.start)
        return ends(crowd.clients) | {
            "clients": count,
            "limit_s": limit,
            "kib_each": (peak["memory"] - memory) / most,
            "socket_kib_each": (peak["sockets"] - sockets) / most,
            "cpu": cpu / 1e9 / (end - crowd.start),
            "before": before,
            # Thousands that come at once are an attack of another kind, which keeps this machine busy, too.
            "arriving": latency(asked, crowd.start, peak["settled"]),
            "during": latency(asked, peak["settled"], end),
        }

    def _hold(self, scenario, kind, proxy, crowd):
        """Until all are ended, or a good while after they should be.

        Tells when all had come, the most memory meanwhile, and of how many connections that is.
        """
        peak = {"memory": 0, "sockets": 0, "connections": 0, "settled": None}
        # Who cannot be ended for want of a key is not waited for as long.
        lasts = scenario.limit_s(self.args.limit) if kind is not HOLD_CORSAC or scenario.key in self.known else self.args.limit
        end = crowd.start + max(2 * lasts, hold_report.latest_s(lasts)) + PATIENCE_S
        look = crowd.start + 1
        while time.monotonic() < end and not (crowd.all_begun() and not crowd.open()):
            crowd.turn()
            if time.monotonic() < look:
                continue
            if crowd.all_begun():
                peak["settled"] = peak["settled"] or time.monotonic() + SETTLE_S
                # What an ended one had is given back late, and would count for fewer.
                if crowd.open() >= peak["connections"]:
                    peak["connections"] = crowd.open()
                    peak["memory"] = max(peak["memory"], anonymous_kib(proxy))
                    peak["sockets"] = max(peak["sockets"], socket_kib())
                if not crowd.behaviour.reads:
                    crowd.note_closed(held_connections(proxy.port))
            look = time.monotonic() + 0.5
        peak["settled"] = peak["settled"] or time.monotonic()
        return peak

    def chunks(self, kind):
        """CPU of a body of 1 MB in chunks of one byte, and how it was answered."""
        rounds = []
        with self.proxy(kind) as (proxy, _):
            for _ in range(CHUNK_ROUNDS):
                cpu = proxy.cpu_ns()
                status = one_byte_chunks(proxy.port)
                rounds.append({"status": status, "cpu_s": (proxy.cpu_ns() - cpu) / 1e9})
        return {
            "cpu_s": statistics.median(each["cpu_s"] for each in rounds),
            "statuses": [each["status"] for each in rounds],
        }

    def descriptors(self):
        """Whether corsac can be asked, reloaded and upgraded while its clients have all descriptors."""
        kind = dataclasses.replace(
            HOLD_CORSAC, under=("prlimit", f"--nofile={descriptors.FILES}:{descriptors.FILES}"))
        # Long limits: nobody is to go by himself.
        lines = {key: line for key, line in limit_lines(600).items() if key in self.known}
        with self.proxy(kind, limits=tuple(lines.values())) as (proxy, settings):
            return descriptors.checks(proxy, settings)


def one_byte_chunks(port):
    """The status of the answer; none: there was none."""
    with socket.create_connection(("127.0.0.1", port), timeout=CHUNKS_LIMIT_S) as stream:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stream.sendall(CHUNKED + CHUNKS * b"1\r\nx\r\n" + b"0\r\n\r\n")
        try:
            return status_of(stream.recv(4096)) or None
        except OSError:
            return None


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def arguments():
    names = [*(scenario.name for scenario in SCENARIOS), "chunks", "descriptors"]
    parser = argparse.ArgumentParser(description="hostile clients beside an honest one")
    parser.add_argument("--corsac", default="target/release/corsac", help="the program")
    parser.add_argument("--out", default="target/loadtest/hold.json", type=pathlib.Path)
    parser.add_argument("--limit", type=int, default=10, help="seconds of every limit of time (10)")
    parser.add_argument("--before", type=int, default=6, help="seconds of the honest client alone (6)")
    parser.add_argument("--share", type=float, default=1, help="of the hostile clients, such as 0.1 (1)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--proxies", nargs="+", choices=[kind.slug for kind in HOLD_KINDS], metavar="NAME",
        default=[kind.slug for kind in HOLD_KINDS], help="instead of all",
    )
    parser.add_argument("--update-docs", action="store_true", help="write docs/performance.md from the results")
    parser.add_argument("--from", dest="saved", type=pathlib.Path, help="report these results; measure nothing")
    return parser.parse_args()


def measure(hold, kinds, only, results):
    """Everything that was asked for; what fails is noted, and the rest goes on."""
    def attempt(what, act):
        say(what)
        try:
            return act()
        except (Failed, OSError, subprocess.SubprocessError) as trouble:
            say(f"FAILED: {trouble}")
            results["failures"].append(f"{what}: {trouble}")
            return None

    for scenario in SCENARIOS:
        for kind in kinds:
            if scenario.name in only and (scenario.peers or kind is HOLD_CORSAC):
                found = attempt(f"{scenario.title}: {kind.name}", lambda s=scenario, k=kind: hold.scenario(s, k))
                if found:
                    results["scenarios"].setdefault(scenario.name, {})[kind.name] = found
    for kind in kinds:
        if "chunks" in only and (found := attempt(f"chunks of one byte: {kind.name}", lambda k=kind: hold.chunks(k))):
            results["chunks"][kind.name] = found
    if "descriptors" in only and HOLD_CORSAC in kinds:
        results["descriptors"] = attempt("no descriptor is left: corsac", hold.descriptors) or []


def run(args):
    prepare_process()
    with contextlib.suppress(PermissionError):
        # Before what else runs on the machine, all of it: who waits for a core is late by no proxy's fault.
        os.nice(-10)
    tools = Tools({"corsac": args.corsac})
    kinds = [kind for kind in HOLD_KINDS if kind.slug in args.proxies]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="corsac-hold-") as folder, contextlib.ExitStack() as held:
        # nginx's workers have another user.
        os.chmod(folder, 0o755)
        lines = limit_lines(args.limit)
        known = known_limits(tools.path("corsac"), folder, lines)
        results = {
            "environment": environment.describe(tools, [_BY_NAME[kind.name] for kind in kinds], ["nginx"]),
            "limit_s": args.limit,
            "unknown": sorted(set(lines) - set(known)),
            "targets": {
                s.name: {"title": s.title, "clients": round(s.clients * args.share), "status": s.status,
                         "kib_each": s.kib_each}
                for s in SCENARIOS
            },
            "scenarios": {}, "chunks": {}, "descriptors": [], "failures": [],
        }
        hold = Hold(folder, tools, args, known)
        held.callback(hold.origin.stop)
        measure(hold, kinds, args.only, results)
    results["judged"] = [
        dict(zip(("clients", "proxy", "what", "figure", "target", "met"), row, strict=True))
        for row in hold_report.judged(results)
    ]
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    say(f"results are in {args.out}")
    return results


def main():
    args = arguments()
    results = json.loads(args.saved.read_text()) if args.saved else run(args)
    print(hold_report.markdown(results))
    if args.update_docs:
        write_between_markers("hold", hold_report.markdown(results))
    wrong = [" | ".join(row[:-1]) for row in hold_report.missed(results)] + results["failures"]
    sys.exit("missed:\n  " + "\n  ".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
