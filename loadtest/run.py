#!/usr/bin/env python3
"""The load test: corsac side by side with others, and with itself.

`make loadtest` runs it whole, `make loadtest-quick` a part of it in under five minutes;
both install what it needs. Each proxy has one core and one thread, wrk and the origin
have the other core. Rounds are interleaved: every proxy once, then every proxy again.

Results go to a JSON file; `--update-docs` writes the tables of docs/performance.md and
the chart docs/loadtest.svg from it.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
import time

import agreement
import environment
import report
from measure import Bench, idle_connections, ratio, ratios, reload_under_load, summary
from proxies import CORSAC, KINDS, OTHER, Proxy, Tools, prepare_process, start_origin
from scenarios import GET, IDLE_CONNECTIONS, PAIRS, ROUTES, SCENARIOS, Settings


@dataclasses.dataclass(frozen=True)
class Plan:
    rounds: int = 7
    seconds: int = 3
    pair_rounds: int = 15
    pair_seconds: int = 2
    reloads: int = 5
    quick: bool = False


QUICK = Plan(rounds=3, seconds=1, pair_rounds=5, pair_seconds=1, reloads=0, quick=True)


class Test:
    """One run: where it works, with what, and what it has found."""

    def __init__(self, folder, tools, plan, names):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise SystemExit("it needs two cores: one for the proxy, one for wrk and the origin")
        self.folder = pathlib.Path(folder)
        self.tools = tools
        self.plan = plan
        self.kinds = [kind for kind in KINDS if kind.name in names]
        self.core, self.other = str(cores[0]), str(cores[1])
        self.all_cores = f"{self.core},{self.other}"
        self.bench = Bench(tools.path("wrk"), self.other)
        self.origin = start_origin(self.folder / "origin", tools, self.other)
        self.started = 0

    def start(self, held, kind, settings, cores=None):
        """A proxy that ends with `held`."""
        self.started += 1
        folder = self.folder / f"{self.started}-{kind.name.replace(' ', '-').lower()}"
        proxy = Proxy(kind, folder, self.tools, cores or self.core, self.origin, settings)
        held.callback(proxy.stop)
        return proxy

    def side_by_side(self, scenarios):
        """Scenarios of the same settings: every proxy starts once for all of them."""
        found = {}
        with contextlib.ExitStack() as held:
            proxies = [self.start(held, kind, scenarios[0].settings) for kind in self.kinds]
            for scenario in scenarios:
                for proxy in proxies:
                    agreement.check(proxy, scenario)
            for scenario in scenarios:
                say(f"{scenario.title}: {len(proxies)} proxies, {self.plan.rounds} rounds")
                found[scenario.name] = self.rounds(scenario, proxies)
        return found

    def rounds(self, scenario, proxies):
        ask = (scenario.script, scenario.arguments, scenario.path, scenario.connections)
        samples = {proxy.kind.name: [] for proxy in proxies}
        for proxy in proxies:
            self.bench.warm_up(proxy, scenario.settings.routes, *ask)
        for turn in range(self.plan.rounds):
            # In turns, so that none has always the same before it.
            for proxy in proxies if turn % 2 else reversed(proxies):
                samples[proxy.kind.name].append(self.bench.load(proxy, self.plan.seconds, *ask))
        return {name: summary(of_proxy) for name, of_proxy in samples.items()}

    def pair(self, pair):
        """Two corsacs in turns; which is first changes with each round."""
        say(f"{pair.title}: {self.plan.pair_rounds} rounds")
        cores = self.core if pair.pinned else self.all_cores
        # Where the proxy is on all cores, so are the others.
        bench = self.bench if pair.pinned else Bench(self.tools.path("wrk"), self.all_cores)
        with contextlib.ExitStack() as held:
            sides = []
            for settings, arguments in ((pair.over, pair.over_arguments), (pair.under, pair.under_arguments)):
                proxy = self.start(held, CORSAC, settings, cores)
                bench.warm_up(proxy, settings.routes, pair.script, arguments)
                sides.append((proxy, arguments, []))
            for turn in range(self.plan.pair_rounds):
                for proxy, arguments, samples in sides if turn % 2 else reversed(sides):
                    samples.append(bench.load_counted(proxy, self.plan.pair_seconds, pair.script, arguments))
        over, under = sides[0][2], sides[1][2]
        return {
            "over": summary(over), "under": summary(under), "ratio": ratio(over, under),
            "ratios": ratios(over, under), "instructions": ratios(over, under, "instructions"),
        }

    def idle(self, kind):
        say(f"{IDLE_CONNECTIONS:,} idle connections: {kind.name}")
        with contextlib.ExitStack() as held:
            proxy = self.start(held, kind, Settings())
            # What a busy proxy has anyway is not the connections' memory.
            self.bench.warm_up(proxy, 0, GET.script, GET.arguments)
            return idle_connections(proxy, IDLE_CONNECTIONS)

    def reload(self, kind):
        say(f"{self.plan.reloads} reloads of {ROUTES:,} routes under load: {kind.name}")
        with contextlib.ExitStack() as held:
            proxy = self.start(held, kind, Settings(routes=ROUTES))
            self.bench.warm_up(proxy, 0, GET.script, GET.arguments, "/api/r1/7")
            return [
                reload_under_load(
                    self.bench, proxy, Settings(routes=ROUTES, max_age=601 + turn), self.plan.seconds
                )
                for turn in range(self.plan.reloads)
            ]


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def groups(scenarios):
    """The scenarios by their settings."""
    found = {}
    for scenario in scenarios:
        found.setdefault(scenario.settings, []).append(scenario)
    return list(found.values())


def measure(test, chosen):
    plan = test.plan

    def wanted(name, quick):
        return name in chosen if chosen else quick or not plan.quick

    results = {"scenarios": {}, "pairs": {}, "idle": {}, "reload": {}}
    for scenarios in groups([s for s in SCENARIOS if wanted(s.name, s.quick) or "scenarios" in chosen]):
        results["scenarios"] |= test.side_by_side(scenarios)
    for pair in PAIRS:
        if wanted(f"pair-{pair.name}", pair.quick):
            results["pairs"][pair.name] = test.pair(pair)
    for kind in test.kinds:
        if wanted("idle", quick=kind is CORSAC):
            results["idle"][kind.name] = test.idle(kind)
        if plan.reloads and kind.reloads and wanted("reload", quick=False):
            results["reload"][kind.name] = test.reload(kind)
    return results


def arguments():
    names = ["scenarios", *(s.name for s in SCENARIOS), *(f"pair-{p.name}" for p in PAIRS), "idle", "reload"]
    parser = argparse.ArgumentParser(description="corsac under load, beside others")
    parser.add_argument("--corsac", default="target/release/corsac")
    parser.add_argument("--bare-pingora", default="target/release/bare-pingora")
    parser.add_argument("--venv", help="the virtual environment with Envoy, Traefik and Caddy")
    parser.add_argument("--out", default="target/loadtest/results.json", type=pathlib.Path)
    parser.add_argument("--other", metavar="CORSAC", help="another build, to be compared with corsac")
    parser.add_argument("--quick", action="store_true", help="fewer scenarios, fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each scenario")
    parser.add_argument("--proxies", nargs="+", metavar="NAME", help="instead of all")
    parser.add_argument("--only", nargs="+", choices=names, default=[], metavar="NAME", help=", ".join(names))
    parser.add_argument("--update-docs", action="store_true", help="write docs/ from the results")
    parser.add_argument("--from", dest="saved", type=pathlib.Path, help="report these results; measure nothing")
    return parser.parse_args()


def run(args):
    plan = QUICK if args.quick else Plan()
    if args.rounds:
        plan = dataclasses.replace(plan, rounds=args.rounds, pair_rounds=args.rounds)
    prepare_process()
    tools = Tools(args.corsac, args.bare_pingora, args.venv, args.other)
    names = args.proxies or [kind.name for kind in KINDS if kind is not OTHER or args.other]
    with tempfile.TemporaryDirectory(prefix="corsac-loadtest-") as folder:
        # nginx's workers have another user.
        os.chmod(folder, 0o755)
        described = environment.describe(tools, names)
        test = Test(folder, tools, plan, names)
        try:
            results = measure(test, args.only)
        finally:
            test.origin.stop()
    return {"environment": described, "plan": dataclasses.asdict(plan), **results}


def main():
    args = arguments()
    if args.saved:
        results = json.loads(args.saved.read_text())
    else:
        results = run(args)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(results, indent=1) + "\n")
        say(f"results are in {args.out}")
    print(report.markdown(results))
    if args.update_docs:
        report.update_docs(results)
    failed = report.void(results)
    sys.exit(f"void, since requests failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
