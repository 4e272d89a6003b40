#!/usr/bin/env python3
"""Where corsac's CPU goes beyond bare Pingora's, by groups that one can name.

`make loadtest-profile` runs it. Each program serves a preflight and a GET, pinned as in the
load test, with corsac's access log on, while perf takes a sample at every so-manieth
instruction, and cycle. llvm-symbolizer says which function a sampled address is from, and into
which it was inlined; the innermost one that belongs to a group (cpu_groups.py) decides.
Where the machine does not count, time is sampled instead.

Usage: cpu_profile.py --corsac PROGRAM --bare-pingora PROGRAM [--update-docs]
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import re
import subprocess
import tempfile

import environment
import report
from cpu_groups import GROUPS, Frame, group_of
from measure import Bench
from proxies import BARE, CORSAC, Proxy, Tools, prepare_process, start_origin
from scenarios import GET, PREFLIGHTS

# In turns, so that what else runs on the machine meets both.
TURNS, SECONDS = 5, 2
# A prime, so that no loop of the program keeps step with it; so large that the kernel throttles nothing,
# which it does silently.
PERIOD = 1_000_003
# Where nothing is counted: samples of CPU time for each second.
CLOCK_HZ = 2_000
PROFILED = {"preflight": PREFLIGHTS, "GET": GET}
PROGRAMS = [CORSAC, BARE]
# Addresses of the kernel have their highest bit set.
KERNEL = 1 << 63
SAMPLE = re.compile(r"\s*(\S+?):?\s+([0-9a-f]+) (.*) \(([^()]*)\)\s*$")


def events():
    """What perf can sample here, and how: in units of each, for one sample."""
    ran = subprocess.run(["perf", "stat", "-e", "instructions,cycles", "true"], capture_output=True, text=True)
    if ran.returncode == 0 and "not supported" not in ran.stderr and "not counted" not in ran.stderr:
        return {"instructions": PERIOD, "cycles": PERIOD}, [f"-c{PERIOD}"]
    return {"cpu-clock": 1e9 / CLOCK_HZ}, [f"-F{CLOCK_HZ}"]


class Profiler:
    """Who asks, and what is sampled meanwhile."""

    def __init__(self, folder, tools):
        cores = sorted(os.sched_getaffinity(0))
        self.folder = pathlib.Path(folder)
        self.tools = tools
        self.core, self.other = str(cores[0]), str(cores[-1])
        self.bench = Bench(tools, self.other)
        self.units, self.how = events()

    def profile(self, name, scenario, origin):
        """Of each program, units for all its requests: by event, by group and by place in the source."""
        found = {kind.name: self.nothing() for kind in PROGRAMS}
        with contextlib.ExitStack() as held:
            proxies = []
            for kind in PROGRAMS:
                folder = self.folder / f"{name}-{kind.slug}"
                proxies.append(Proxy(kind, folder, self.tools, self.core, origin, scenario.settings))
                held.callback(proxies[-1].stop)
                self.bench.warm_up(scenario.ask, proxies[-1])
            for _ in range(TURNS):
                for proxy in proxies:
                    self.sample(proxy, scenario.ask, found[proxy.kind.name])
        return found

    def nothing(self):
        return {"requests": 0} | {
            event: {"groups": collections.Counter(), "places": collections.Counter()} for event in self.units
        }

    def sample(self, proxy, ask, found):
        """One turn of one program, added to what was found of it."""
        data = self.folder / "perf.data"
        [pid] = proxy.pids()
        record = ["perf", "record", "-q", "-e", ",".join(self.units), *self.how, "-o", data, "-p", str(pid), "--"]
        found["requests"] += self.bench.load(ask, proxy, SECONDS, record)["requests"]
        base, binary = load_address(pid, proxy.binary), proxy.binary
        counts = collections.Counter(samples(data))
        frames = symbolised(binary, sorted({ip - base for _, ip, _, dso in counts if dso == binary}))
        for (event, ip, symbol, dso), count in counts.items():
            stack = frames[ip - base] if dso == binary else [Frame(symbol, dso)]
            group, frame = group_of(stack, in_kernel=ip >= KERNEL)
            found[event]["groups"][group] += count * self.units[event]
            found[event]["places"][f"{group}: {frame.place}"] += count * self.units[event]


def load_address(pid, binary):
    """Where the program lies: its first segment, for it is position-independent."""
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        if line.endswith(binary):
            return int(line.partition("-")[0], 16)
    raise SystemExit(f"{binary} is not in its own process")


def samples(data):
    """Of each sample: the event, the address, the symbol and the file that it is in."""
    command = ["perf", "script", "-i", data, "--no-inline", "-F", "event,ip,sym,dso"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in printed.splitlines():
        if found := SAMPLE.match(line):
            event, ip, symbol, dso = found.groups()
            yield event, int(ip, 16), symbol, dso


def symbolised(binary, addresses):
    """The functions that an address is in, the innermost first."""
    asked = "".join(f"{address:#x}\n" for address in addresses)
    command = ["llvm-symbolizer-19", f"--obj={binary}", "--output-style=JSON"]
    printed = subprocess.run(command, input=asked, capture_output=True, text=True, check=True).stdout
    answers = (json.loads(line) for line in printed.splitlines())
    return {
        address: [Frame(symbol["FunctionName"], symbol["FileName"]) for symbol in answer.get("Symbol", [])]
        for address, answer in zip(addresses, answers, strict=True)
    }


def tables(found, units):
    """A table for each event: groups down, programs across."""
    for event in units:
        unit = "ns of CPU" if event == "cpu-clock" else event
        head = [unit, *(f"{title}: {column}" for title in PROFILED for column in ("corsac", "bare", "more"))]
        rows = [
            [group, *cells(found, event, lambda counted, g=group: counted["groups"].get(g, 0))] for group in GROUPS
        ]
        rows.append(["**all**", *cells(found, event, lambda counted: sum(counted["groups"].values()))])
        ratios = (
            f"{title} {total(found, event, title, CORSAC) / total(found, event, title, BARE):.3f}" for title in PROFILED
        )
        yield report.table(head, [row for row in rows if set(row[1:]) != {"0"}]) + (
            "\n\ncorsac / bare Pingora: " + ", ".join(ratios)
        )


def total(found, event, title, kind):
    of = found[title][kind.name]
    return sum(of[event]["groups"].values()) / of["requests"]


def cells(found, event, figure):
    for title in PROFILED:
        corsac, bare = (figure(found[title][k.name][event]) / found[title][k.name]["requests"] for k in PROGRAMS)
        yield from (f"{corsac:,.0f}", f"{bare:,.0f}", f"{corsac - bare:,.0f}")


def places(found, event, most):
    """Of each scenario, the places in the source with the greatest differences."""
    for title in PROFILED:
        corsac, bare = (
            collections.Counter({
                place: units / found[title][kind.name]["requests"]
                for place, units in found[title][kind.name][event]["places"].items()
            })
            for kind in PROGRAMS
        )
        differences = sorted(((corsac[p] - bare[p], p) for p in corsac.keys() | bare.keys()), reverse=True)
        yield f"\n{title}: {event} for each request, corsac, bare, more"
        shown = [*differences[:most], *differences[-5:]]
        yield from (f"{corsac[p]:9,.0f} {bare[p]:9,.0f} {more:+9,.0f}  {p}" for more, p in shown)


def main():
    parser = argparse.ArgumentParser(description="where corsac's CPU goes beyond bare Pingora's")
    environment.add_programs(parser)
    parser.add_argument("--places", type=int, default=0, metavar="N", help="also the N places that differ most")
    parser.add_argument("--update-docs", action="store_true", help="write docs/performance.md")
    args = parser.parse_args()
    prepare_process()
    tools = Tools(environment.programs(args))
    with tempfile.TemporaryDirectory(prefix="corsac-profile-") as folder, contextlib.ExitStack() as held:
        # nginx's workers have another user.
        os.chmod(folder, 0o755)
        profiler = Profiler(folder, tools)
        origin = start_origin(pathlib.Path(folder) / "origin", tools, profiler.other)
        held.callback(origin.stop)
        found = {title: profiler.profile(title, scenario, origin) for title, scenario in PROFILED.items()}
        described = environment.describe(tools, PROGRAMS)
    builds = ", ".join(f"{name}: `{build}`" for name, build in described["builds"].items())
    text = (
        f"Measured on {described['date']}: {described['cpu']}, Linux {described['kernel']}. corsac of commit "
        f"{described['commit']}. Builds: {builds}. For each request, the kernel's part included.\n\n"
        + "\n\n".join(tables(found, profiler.units))
    )
    print(text)
    for event in profiler.units if args.places else ():
        print("\n".join(places(found, event, args.places)))
    if args.update_docs:
        report.write_between_markers("profile", text)


if __name__ == "__main__":
    main()
