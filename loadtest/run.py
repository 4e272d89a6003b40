#!/usr/bin/env python3
"""The load test: corsac side by side with others, and with itself.

`make loadtest` runs it whole, `make loadtest-quick` a part of it in a few minutes; both
build and install what it needs. Each proxy has one core and one thread, who asks and the
origin have the other core. Rounds are interleaved: every proxy once, then every proxy again.

Results go to a JSON file after each step; `--resume` goes on with one that was cut short,
or tries again what failed. `--update-docs` writes the tables of docs/performance.md and the
chart docs/loadtest.svg from it.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import agreement
import environment
import report
from measure import Bench, idle_connections, ratios, reload_under_load, summary
from proxies import (
    BARE, CORSAC, KINDS, OWN, PLAIN, PLAIN_BARE, Failed, Proxy, Tools, prepare_process, start_origin,
)
from scenarios import EDGE, GET, IDLE, PAIRS, ROUTES, SCENARIOS, Settings

# Who has no access log.
UNLOGGED = [BARE.name, PLAIN_BARE.name]
# What may go wrong in a step without an end to the others.
TROUBLE = (Failed, OSError, subprocess.SubprocessError)
# The start and end of who asks, as a part of a round of 1 s.
ROUND_OVERHEAD_S = 0.2


@dataclasses.dataclass(frozen=True)
class Plan:
    """How often and how long. Short rounds, since what differs between rounds falls out of their ratios."""

    seconds: int = 1
    rounds: int = 11
    counted_rounds: int = 2
    pair_rounds: int = 15
    reloads: int = 3
    reload_seconds: int = 2
    quick: bool = False


QUICK = Plan(rounds=5, counted_rounds=1, pair_rounds=7, reloads=0, quick=True)


@dataclasses.dataclass(frozen=True)
class Step:
    """What is measured in one go, and then written."""

    section: str
    name: str
    title: str
    seconds: float  # about
    run: Callable[[], dict]


class Test:
    """One run: where it works, with what, and what went wrong."""

    def __init__(self, folder, tools, plan, kinds, plain_everywhere):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            raise SystemExit("it needs two cores: one for the proxy, one for who asks and the origin")
        self.folder = pathlib.Path(folder)
        self.tools = tools
        self.plan = plan
        self.kinds = kinds
        self.plain_everywhere = plain_everywhere
        self.core, self.other = str(cores[0]), str(cores[1])
        self.all_cores = f"{self.core},{self.other}"
        self.bench = Bench(tools, self.other)
        self.origin = start_origin(self.folder / "origin", tools, self.other)
        self.started = 0
        # Those that run for scenarios of these settings.
        self.side_by_side = contextlib.ExitStack()
        self.settings, self.proxies, self.absent = None, [], []
        # What failed in the step that is being run.
        self.failed = []

    def stop(self):
        self.side_by_side.close()
        self.origin.stop()

    def start(self, held, kind, settings, cores=None):
        """A proxy that ends with `held`."""
        self.started += 1
        folder = self.folder / f"{self.started}-{kind.slug}"
        proxy = Proxy(kind, folder, self.tools, cores or self.core, self.origin, settings)
        held.callback(proxy.stop)
        return proxy

    @contextlib.contextmanager
    def attempt(self, failed):
        """What fails in here is noted in `failed`, and the run goes on."""
        try:
            yield
        except TROUBLE as trouble:
            failed.append(str(trouble))
            say(f"FAILED: {trouble}")

    def taking_part(self, scenario):
        """Plain builds say what the build gives, for which the main scenarios do."""
        return [
            kind for kind in self.kinds
            if kind not in PLAIN or self.plain_everywhere or scenario.main
        ]

    def start_side_by_side(self, settings):
        """Scenarios of the same settings follow each other: every proxy starts once for all of them."""
        if settings == self.settings:
            return
        self.side_by_side.close()
        self.settings, self.proxies, self.absent = settings, [], []
        for kind in {k.name: k for s in SCENARIOS if s.settings == settings for k in self.taking_part(s)}.values():
            with self.attempt(self.absent):
                proxy = self.start(self.side_by_side, kind, settings)
                if not settings.routes:
                    agreement.check_forwarding(proxy)
                self.proxies.append(proxy)

    def scenario(self, scenario):
        """The rounds of those who answer as they must."""
        self.start_side_by_side(scenario.settings)
        self.failed += self.absent
        proxies = []
        for proxy in self.proxies:
            if proxy.kind in self.taking_part(scenario):
                with self.attempt(self.failed):
                    agreement.check(proxy, scenario)
                    proxies.append(proxy)
        return self.rounds(scenario, proxies)

    def rounds(self, scenario, proxies):
        samples = {proxy.kind.name: [] for proxy in proxies}
        counted = {proxy.kind.name: [] for proxy in proxies if proxy.kind in OWN}
        for proxy in proxies:
            # The others make all of a route when they start.
            self.bench.warm_up(scenario.ask, proxy, scenario.settings.routes if proxy.kind in OWN else 0)
        for turn in range(self.plan.rounds):
            for proxy in in_turns(proxies, turn):
                # The others are far from their limits: half as many rounds will do.
                if proxy.kind in OWN or turn % 2 == 0:
                    sample = self.bench.load(scenario.ask, proxy, self.plan.seconds)
                    samples[proxy.kind.name].append(sample | {"round": turn})
        for turn in range(self.plan.counted_rounds):
            for proxy in proxies:
                if proxy.kind in OWN:
                    sample = self.bench.load_counted(scenario.ask, proxy, self.plan.seconds)
                    counted[proxy.kind.name].append(sample | {"round": turn})
        if scenario.settings.log:
            silent = [p.kind.name for p in proxies if not sum(s["logged_bytes"] for s in samples[p.kind.name])]
            self.failed += [f"{name} writes no access log" for name in silent if name not in UNLOGGED]
        return {
            name: summary(of_proxy) | {"counted": counted.get(name, [])} for name, of_proxy in samples.items()
        }

    def pair(self, pair):
        """Two corsacs in turns; which is first changes with each round."""
        cores = self.core if pair.pinned else self.all_cores
        # Where the proxy is on all cores, so are the others.
        bench = self.bench if pair.pinned else Bench(self.tools, self.all_cores)
        with contextlib.ExitStack() as held:
            sides = []
            for settings, ask in ((pair.over, pair.over_ask), (pair.under, pair.under_ask)):
                proxy = self.start(held, CORSAC, settings, cores)
                bench.warm_up(ask, proxy, settings.routes)
                sides.append((proxy, ask, []))
            for turn in range(self.plan.pair_rounds):
                for proxy, ask, samples in in_turns(sides, turn):
                    sample = bench.load_counted(ask, proxy, self.plan.seconds)
                    samples.append(sample | {"round": turn})
        over, under = sides[0][2], sides[1][2]
        return {
            "over": summary(over), "under": summary(under),
            "ratios": ratios(over, under), "instructions": ratios(over, under, "instructions"),
        }

    def idle(self, idle, kind):
        with contextlib.ExitStack() as held:
            proxy = self.start(held, kind, idle.settings)
            # What a busy proxy has anyway is not the connections' memory.
            self.bench.warm_up(GET.ask, proxy)
            return idle_connections(proxy, idle.connections, idle.http2)

    def reload(self, kind):
        with contextlib.ExitStack() as held:
            proxy = self.start(held, kind, Settings(routes=ROUTES))
            self.bench.warm_up(dataclasses.replace(GET.ask, path="/api/r1/7"), proxy)
            return [
                reload_under_load(
                    self.bench, proxy, Settings(routes=ROUTES, max_age=601 + turn), self.plan.reload_seconds
                )
                for turn in range(self.plan.reloads)
            ]


def in_turns(all_of_them, turn):
    """Forth, forth, back, back: so that none has always the same before it, even in every second turn."""
    return all_of_them if turn % 4 < 2 else list(reversed(all_of_them))


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def steps(test, chosen):
    """All that is to be measured, and about how long each takes."""
    plan, kinds = test.plan, [kind for kind in test.kinds if kind not in PLAIN]

    def wanted(name, quick, thing=None):
        if "edge" in chosen and thing and EDGE.tells(thing):
            return True
        return name in chosen if chosen else quick or not plan.quick

    def rounds(count):
        return count * (plan.seconds + ROUND_OVERHEAD_S)

    for s in sorted(SCENARIOS, key=lambda s: [t.settings for t in SCENARIOS].index(s.settings)):
        if wanted(s.name, s.main, s) or "scenarios" in chosen:
            part = test.taking_part(s)
            own = sum(kind in OWN for kind in part)
            count = own * (1 + plan.rounds + plan.counted_rounds) + (len(part) - own) * (1 + (plan.rounds + 1) // 2)
            title = f"{s.title}: {len(part)} proxies, {plan.rounds} rounds"
            yield Step("scenarios", s.name, title, rounds(count), lambda s=s: test.scenario(s))
    for p in PAIRS:
        if wanted(f"pair-{p.name}", p.quick, p):
            title = f"{p.title}: {plan.pair_rounds} rounds"
            yield Step("pairs", p.name, title, rounds(2 * plan.pair_rounds + 4), lambda p=p: test.pair(p))
    for i in IDLE:
        for k in kinds:
            if wanted(i.name, k is CORSAC and i is IDLE[0], i):
                title = f"{i.connections:,} {i.title}: {k.name}"
                seconds = 18 if i.settings.tls else 6
                yield Step(i.name, k.name, title, seconds, lambda i=i, k=k: test.idle(i, k))
    for k in kinds:
        if plan.reloads and k.reloads and wanted("reload", False):
            title = f"{plan.reloads} reloads of {ROUTES:,} routes under load: {k.name}"
            seconds = 5 + plan.reloads * (2 * plan.reload_seconds + 1)
            yield Step("reload", k.name, title, seconds, lambda k=k: test.reload(k))


def measure(test, chosen, results, write):
    """Every step that `results` does not have yet, or not whole; `write` is called after each."""
    failures = results["failures"]
    due = [s for s in steps(test, chosen) if s.name not in results[s.section] or s.title in failures]
    begun, total, done = time.monotonic(), sum(step.seconds for step in due), 0
    for number, step in enumerate(due, 1):
        spent = time.monotonic() - begun
        # As long as steps were announced, until some of them show how long they take here.
        left = (total - done) * (spent / done if done > 60 else 1)
        say(f"[{number}/{len(due)}, {spent / 60:.0f} min, about {left / 60:.0f} left] {step.title}")
        test.failed = []
        with test.attempt(test.failed):
            results[step.section][step.name] = step.run()
        failures.pop(step.title, None)
        if test.failed:
            failures[step.title] = test.failed
        done += step.seconds
        write(results)


def arguments():
    # `edge`: all that is over TLS.
    names = ["scenarios", *(s.name for s in SCENARIOS), *(f"pair-{p.name}" for p in PAIRS)]
    names += [*(i.name for i in IDLE), "reload", "edge"]
    parser = argparse.ArgumentParser(description="corsac under load, beside others")
    environment.add_programs(parser)
    parser.add_argument("--out", default="target/loadtest/results.json", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="fewer scenarios, fewer rounds")
    parser.add_argument("--rounds", type=int, help="rounds of each scenario and pair")
    parser.add_argument("--seconds", type=int, help="of each round")
    parser.add_argument(
        "--proxies", nargs="+", choices=[kind.slug for kind in KINDS], metavar="NAME",
        help="instead of all: " + ", ".join(kind.slug for kind in KINDS),
    )
    parser.add_argument("--only", nargs="+", choices=names, default=[], metavar="NAME", help=", ".join(names))
    parser.add_argument("--update-docs", action="store_true", help="write docs/ from the results")
    parser.add_argument("--resume", action="store_true", help="keep what --out has, measure what it lacks")
    parser.add_argument("--from", dest="saved", type=pathlib.Path, help="report these results; measure nothing")
    return parser.parse_args()


def planned(args):
    plan = QUICK if args.quick else Plan()
    if args.rounds:
        counted = min(plan.counted_rounds, args.rounds - 1)
        plan = dataclasses.replace(plan, rounds=args.rounds, counted_rounds=counted, pair_rounds=args.rounds)
    return dataclasses.replace(plan, seconds=args.seconds) if args.seconds else plan


def begun(args, described, plan):
    """Results without any, or those to go on with: of the same programs, by the same plan."""
    fresh = {
        "environment": described, "plan": dataclasses.asdict(plan), "failures": {},
        "scenarios": {}, "pairs": {}, "reload": {}, **{idle.name: {} for idle in IDLE},
    }
    if not args.resume or not args.out.exists():
        return fresh
    saved = json.loads(args.out.read_text())
    if (saved["plan"], saved["environment"]["programs"]) != (fresh["plan"], described["programs"]):
        raise SystemExit(f"{args.out} is of other programs, or of another plan: it cannot be gone on with")
    return saved


def run(args):
    plan = planned(args)
    prepare_process()
    tools = Tools(environment.programs(args), args.venv)
    # Plain builds where there are some; all else must be there.
    kinds = [k for k in KINDS if (k.slug in args.proxies if args.proxies else k not in PLAIN or tools.has(k.binary))]
    args.out.parent.mkdir(parents=True, exist_ok=True)

    def write(results):
        fresh = args.out.with_suffix(".fresh")
        fresh.write_text(json.dumps(results, indent=1) + "\n")
        fresh.rename(args.out)

    with tempfile.TemporaryDirectory(prefix="corsac-loadtest-") as folder, contextlib.ExitStack() as held:
        # nginx's workers have another user.
        os.chmod(folder, 0o755)
        results = begun(args, environment.describe(tools, kinds), plan)
        test = Test(folder, tools, plan, kinds, plain_everywhere=bool(args.proxies))
        held.callback(test.stop)
        measure(test, args.only, results, write)
    say(f"results are in {args.out}")
    return results


def main():
    args = arguments()
    results = json.loads(args.saved.read_text()) if args.saved else run(args)
    print(report.markdown(results))
    if args.update_docs:
        report.update_docs(results)
    wrong = [f"{step}: {text}" for step, texts in results["failures"].items() for text in texts]
    wrong += [f"{name}: requests failed" for name in report.void(results)]
    sys.exit("not all went well:\n  " + "\n  ".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
