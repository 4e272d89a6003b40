#!/usr/bin/env python3
"""A soak: every attack that is known, for a long time, beside honest clients.

`make loadtest-soak` runs it for SOAK_SECONDS. One corsac has a core; the attackers, the
honest clients and the origin share the other one. Floods come one connection after another,
each kind in a thread of its own; sieges are many connections that wait for their end.
Honest clients speak HTTP/1.1 in the clear, HTTP/1.1 over TLS, and HTTP/2.

Every lap it is asked what honest requests have failed, what memory and how many descriptors
corsac has. Prints tables; exits with 1 if something is not as it must be.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import multiprocessing
import os
import pathlib
import re
import socket
import ssl
import statistics
import sys
import tempfile
import threading
import time

import environment
from attacks import FLOODS, SIEGES
from crowd import Crowd, ends, held_connections
from hold import HOLD_ORIGIN, LARGE_BYTES, say
from honest import Honest
from proxies import APP, CORSAC, Proxy, Settings, Tools, free_port, prepare_process, trusting
from report import table, write_between_markers

# Of every limit of time: what hangs is ended, and comes again.
LIMIT_S = 5
LIMITS = ("handshake", "head", "idle", "body_idle", "send")
# What is compared: a time after as long a time of warming up, and as long a time at the end.
COMPARED_S = 60
# The allocator keeps what it once had, and what is held at a moment differs.
MEMORY_RATIO, MEMORY_KIB = 1.10, 16 << 10
DESCRIPTORS_RATIO, DESCRIPTORS = 1.10, 64
# Of what is left once all attackers are gone: connections to the origin are kept.
LEFT_DESCRIPTORS = 128
# In which a client that floods must be ended. What it sends is read for 30 s, or a gibibyte of it, after
# corsac has said that it ends, so that the client can read why; before, a limit is reached.
PATIENCE_S = 30 + 3 * LIMIT_S
# Between two connections of a flood: so that all of them have their turn on one core.
PAUSE_S = 0.05
# Requests of an honest connection: so that there are honest handshakes all the time, too.
HONEST_REQUESTS = 20
HONEST = {"HTTP/1.1": None, "HTTP/1.1 over TLS": "http/1.1", "HTTP/2": "h2"}


@dataclasses.dataclass(frozen=True)
class SoakSettings(Settings):
    clear_port: int = 0


class SoakProxy(Proxy):
    def values(self, settings):
        limits = "\n".join(f'{key} = "{LIMIT_S}s"' for key in LIMITS)
        return super().values(settings) | {"CLEAR_PORT": settings.clear_port, "LIMITS": limits, "APP": APP}


SOAK_CORSAC = dataclasses.replace(
    CORSAC, arguments=["run", "--config", "soak-corsac.toml"], templates=["soak-corsac.toml"])


class Attackers:
    """All floods and sieges, in a process of their own; `stop` tells what became of them."""

    def __init__(self, ports, core):
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_attack, args=(ports, core, theirs), daemon=True)
        self.process.start()

    def stop(self):
        self.pipe.send("stop")
        found = self.pipe.recv() if self.pipe.poll(2 * PATIENCE_S) else {}
        # With it ends what still waits to be ended.
        self.process.kill()
        self.process.join()
        return found


def _attack(ports, core, pipe):
    os.sched_setaffinity(0, {core})
    stop = threading.Event()
    found = {attack.name: collections.Counter() for attack in (*FLOODS, *SIEGES)}
    threads = [threading.Thread(target=_flood_on, args=(f, ports, stop, found[f.name]), daemon=True) for f in FLOODS]
    threads.append(threading.Thread(target=_besiege, args=(ports, stop, found), daemon=True))
    for thread in threads:
        thread.start()
    pipe.recv()
    stop.set()
    for thread in threads:
        thread.join(1)
    pipe.send({name: dict(counted) for name, counted in found.items()})


def _flood_on(flood, ports, stop, counted):
    while not stop.wait(PAUSE_S):
        counted[flooded(flood, ports[flood.port], stop)] += 1


def flooded(flood, port, stop):
    """One connection, and how it ended: "ended", "left", "stopped", or "held" if nobody ended it."""
    end = time.monotonic() + PATIENCE_S
    try:
        stream = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    except OSError:
        return "not connected"
    with contextlib.closing(stream):
        try:
            if flood.protocol:
                stream = trusting(flood.protocol).wrap_socket(stream)
            stream.sendall(flood.opening)
            if flood.leaves:
                return "left"
            # Who floods does not read: an answer that fills its buffers is the proxy's own trouble.
            while flood.more and time.monotonic() < end and not stop.is_set():
                stream.sendall(flood.more)
            stream.settimeout(0.5)
            while time.monotonic() < end:
                with contextlib.suppress(TimeoutError, ssl.SSLWantReadError):
                    if not stream.recv(65_536):
                        return "ended"
                if stop.is_set():
                    return "stopped"
        except TimeoutError:
            # It takes no more, and does not end: until its limit.
            return "stopped" if stop.is_set() else "held"
        except OSError:
            return "ended"
        finally:
            stream.close()
    return "held"


def _besiege(ports, stop, found):
    """Every siege at once, each begun anew when its last client is gone."""
    crowds, look = {}, 0
    while not stop.is_set():
        for siege in SIEGES:
            crowd = crowds.get(siege.name)
            if crowd and time.monotonic() > crowd.start + 2 * PATIENCE_S:
                found[siege.name]["held"] += crowd.open()
                crowd.close()
                crowd = None
            elif crowd and crowd.all_begun() and not crowd.open():
                found[siege.name]["ended"] += ends(crowd.clients)["ended"]
                crowd.close()
                crowd = None
            crowds[siege.name] = crowd or Crowd(siege.behaviour, ports[siege.port], siege.clients)
            crowds[siege.name].turn(0.005)
            if not siege.behaviour.reads and time.monotonic() >= look:
                crowds[siege.name].note_closed(held_connections(ports[siege.port]))
                look = time.monotonic() + 1
    for crowd in crowds.values():
        crowd.close()


def descriptors(proxy):
    with contextlib.suppress(FileNotFoundError):
        return len(os.listdir(f"/proc/{proxy.process.pid}/fd"))
    return 0


def counter(text, name, reason):
    """The sum of a counter's series with this reason, on all listeners."""
    found = re.findall(rf'^{name}{{[^}}]*reason="{reason}"[^}}]*}} (\d+)', text, re.M)
    return sum(map(int, found))


class Soak:
    """One run against one corsac."""

    def __init__(self, folder, tools, seconds):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise SystemExit("it needs two cores: one for corsac, one for all others")
        self.other = cores[1]
        self.seconds = seconds
        # A short soak compares shorter times.
        self.compared = min(COMPARED_S, seconds / 4)
        folder = pathlib.Path(folder)
        self.origin = Proxy(HOLD_ORIGIN, folder / "origin", tools, str(self.other))
        with (self.origin.dir / "large").open("wb") as large:
            large.truncate(LARGE_BYTES)
        settings = SoakSettings(log=True, tls=True, clear_port=free_port())
        self.proxy = SoakProxy(SOAK_CORSAC, folder / "corsac", tools, str(cores[0]), self.origin, settings)
        self.ports = {"clear": settings.clear_port, "tls": self.proxy.port}

    def stop(self):
        self.proxy.stop()
        self.origin.stop()

    def run(self):
        before = descriptors(self.proxy)
        attackers = Attackers(self.ports, self.other)
        laps, begun = [], time.monotonic()
        try:
            while (left := begun + self.seconds - time.monotonic()) > 0:
                laps.append(self.lap(min(self.compared, left)))
                say(lap_text(laps[-1]))
                if self.proxy.process.poll() is not None:
                    break
            metrics = self.proxy.admin("/metrics") if self.proxy.process.poll() is None else ""
        finally:
            attacked = attackers.stop()
        return {
            "seconds": time.monotonic() - begun, "compared_s": self.compared, "laps": laps, "attacks": attacked,
            "counters": {
                attack.name: counter(metrics, *attack.counted) for attack in (*FLOODS, *SIEGES) if attack.counted
            },
            "descriptors_before": before, "descriptors_left": self.descriptors_left(before),
            "alive": self.proxy.process.poll() is None,
        }

    def lap(self, seconds):
        """Honest clients for a while, and what corsac had meanwhile: medians."""
        honest = {name: Honest(self.ports["tls" if protocol else "clear"], self.other, protocol, HONEST_REQUESTS)
                  for name, protocol in HONEST.items()}
        end, memory, open_files = time.monotonic() + seconds, [], []
        while time.monotonic() < end and self.proxy.process.poll() is None:
            time.sleep(min(1, seconds / 5))
            memory.append(self.proxy.memory_kib())
            open_files.append(descriptors(self.proxy))
            self.proxy.forget_log()
        asked = {name: one.stop() for name, one in honest.items()}
        return {
            "memory_kib": statistics.median(memory), "descriptors": statistics.median(open_files),
            "requests": {name: len(each) for name, each in asked.items()},
            "failed": {name: sum(not answered for *_, answered in each) for name, each in asked.items()},
        }

    def descriptors_left(self, before):
        """Once limits have ended what attackers have left behind, or after a while."""
        end = time.monotonic() + 2 * PATIENCE_S
        while (left := descriptors(self.proxy)) > before + LEFT_DESCRIPTORS and time.monotonic() < end:
            time.sleep(0.2)
        return left


def lap_text(lap):
    return (f"{sum(lap['requests'].values()):,} honest requests, {sum(lap['failed'].values())} failed, "
            f"{lap['memory_kib'] / 1024:.0f} MiB, {lap['descriptors']:.0f} descriptors")


def judged(found):
    """Every target: what, figure, target, whether it is met."""
    laps = found["laps"]
    # The first warms up; what is left of the time may be a lap that is too short to be compared.
    first, last = laps[min(1, len(laps) - 1)], laps[-1]
    yield "corsac", "runs" if found["alive"] else "has ended", "runs", found["alive"]
    for name in HONEST:
        requests, failed = (sum(lap[of][name] for lap in laps) for of in ("requests", "failed"))
        yield f"honest requests, {name}", f"{failed} of {requests:,} failed", "none", requests > 0 and not failed
    most = first["memory_kib"] * MEMORY_RATIO + MEMORY_KIB
    yield ("resident memory at the end", f"{last['memory_kib'] / 1024:.0f} MiB, {first['memory_kib'] / 1024:.0f} at first",
           f"≤ {most / 1024:.0f} MiB", last["memory_kib"] <= most)
    most = first["descriptors"] * DESCRIPTORS_RATIO + DESCRIPTORS
    yield ("open descriptors at the end", f"{last['descriptors']:.0f}, {first['descriptors']:.0f} at first",
           f"≤ {most:.0f}", last["descriptors"] <= most)
    most = found["descriptors_before"] + LEFT_DESCRIPTORS
    yield ("open descriptors once all are gone", str(found["descriptors_left"]), f"≤ {most}",
           found["descriptors_left"] <= most)
    for attack in (*FLOODS, *SIEGES):
        ended = found["attacks"].get(attack.name, {})
        held = {how: count for how, count in ended.items() if how in ("held", "not connected")}
        if held or not ended:
            yield f"attack: {attack.name}", str(held or "none was tried"), "each is ended", False
        if attack.counted:
            count = found["counters"][attack.name]
            if not count:
                yield f"attack: {attack.name}", "is not counted", "counted", False
    counted = sum(map(bool, found["counters"].values()))
    yield "attacks whose counter has grown", str(counted), str(len(found["counters"])), counted == len(found["counters"])


def markdown(results):
    env, found = results["environment"], results["found"]
    rows = [[what, figure, target, "met" if met else "**missed**"] for what, figure, target, met in judged(found)]
    attacks = []
    for attack in (*FLOODS, *SIEGES):
        ended = found["attacks"].get(attack.name, {})
        named = "`{}`, `{}`: {:,}".format(*attack.counted, found["counters"][attack.name]) if attack.counted else ""
        ways = ", ".join(f"{how}: {count:,}" for how, count in sorted(ended.items()))
        attacks.append([attack.name, ways, named])
    return "\n\n".join([
        f"Measured on {env['date']}: {env['cpu']}, {env['cores']} cores, Linux {env['kernel']}, corsac "
        f"{env['versions']['corsac']} of commit {env['commit']}, a `{env['builds']['corsac']}` build; "
        f"{found['seconds']:.0f} s, of which {found['compared_s']:.0f} s at a time are compared.",
        table(["what", "figure", "target", ""], rows),
        table(["attack", "connections", "counted, with all of the same reason"], attacks),
    ])


def arguments():
    parser = argparse.ArgumentParser(description="every attack, for a long time, beside honest clients")
    parser.add_argument("--corsac", default="target/release/corsac", help="the program")
    parser.add_argument("--seconds", type=int, default=600, help="how long (600)")
    parser.add_argument("--out", default="target/loadtest/soak.json", type=pathlib.Path)
    parser.add_argument("--update-docs", action="store_true", help="write docs/performance.md from the results")
    parser.add_argument("--from", dest="saved", type=pathlib.Path, help="report these results; run nothing")
    return parser.parse_args()


def run(args):
    prepare_process()
    tools = Tools({"corsac": args.corsac})
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="corsac-soak-") as folder, contextlib.ExitStack() as held:
        # nginx's workers have another user.
        os.chmod(folder, 0o755)
        described = environment.describe(tools, [CORSAC], ["nginx"])
        soak = Soak(folder, tools, args.seconds)
        held.callback(soak.stop)
        results = {"environment": described, "found": soak.run()}
    args.out.write_text(json.dumps(results, indent=1) + "\n")
    say(f"results are in {args.out}")
    return results


def main():
    args = arguments()
    results = json.loads(args.saved.read_text()) if args.saved else run(args)
    print(markdown(results))
    if args.update_docs:
        write_between_markers("soak", markdown(results))
    wrong = [f"{what}: {figure}" for what, figure, _, met in judged(results["found"]) if not met]
    sys.exit("missed:\n  " + "\n  ".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
