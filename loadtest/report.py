"""What a run has found, as text: tables, targets, and the chart of the documentation."""

import dataclasses
from statistics import median

import chart
from agreement import KNOWN
from measure import interval, ratios
from proxies import BARE, CORSAC, HERE, KINDS, PLAIN, PLAIN_BARE, PLAIN_CORSAC
from scenarios import CLEAR, IDLE, PAIRS, PARTS, ROUTES, SCENARIOS

DOCS = HERE.parent / "docs"


@dataclasses.dataclass(frozen=True)
class Target:
    """A limit, and what was found: nothing, where `why_not` says why it cannot be judged."""

    title: str
    limit: float
    at_most: bool
    values: tuple[float, ...] = ()
    instructions: float | None = None
    floor: float | None = None  # what bare Pingora would have in corsac's place
    why_not: str = "not measured"

    @property
    def value(self):
        return median(self.values)

    @property
    def met(self):
        return self.value <= self.limit if self.at_most else self.value >= self.limit


def markdown(results):
    """All tables of what was measured, for a terminal."""
    return "\n\n".join(part_text(results, part) for part in measured_parts(results))


def measured_parts(results):
    def measured(part):
        return any(
            thing.name in results[section] if section in ("scenarios", "pairs") else results[section]
            for section, things in _sections(part) for thing in things
        ) or (part is CLEAR and results["reload"])

    return [part for part in PARTS if measured(part)]


def _sections(part):
    """Where results have what is of this part."""
    yield "scenarios", part.of(SCENARIOS)
    yield "pairs", part.of(PAIRS)
    for idle in part.of(IDLE):
        yield idle.name, [idle]


def part_text(results, part):
    """The tables of a part, as they stand between its markers."""
    texts = [environment_text(results), target_table(results, part), *scenario_tables(results, part)]
    texts += [build_table(results, part), pair_table(results, part), *idle_tables(results, part)]
    texts += [_reload_table(results["reload"])] if part is CLEAR and results["reload"] else []
    texts += [difference_table(results, part), failure_list(results)]
    return "\n\n".join(text for text in texts if text)


def environment_text(results):
    env = results["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    builds = ", ".join(f"{name}: `{build}`" for name, build in env["builds"].items())
    plan = results["plan"]
    return (
        f"Measured on {env['date']}: {env['cpu']}, {env['cores']} cores, Linux {env['kernel']}; others kept "
        f"{env['others_busy']:.1f} cores busy before it began. {versions}. corsac of commit {env['commit']}. "
        f"Builds: {builds}. Rounds of {plan['seconds']} s: {plan['rounds']} for these builds, half as many for the "
        f"others, {plan['pair_rounds']} for pairs. Figures are medians of rounds."
    )


def scenario_tables(results, part):
    """A table for each figure: scenarios down, proxies across."""
    figures = [
        ("CPU for each request, µs (± half the range of the rounds)", _cpu_cell),
        ("Requests for each second (part of its core that the proxy used)", _rate_cell),
        ("50th and 99th percentile of latency, ms", _latency_cell),
        ("Resident memory afterwards, MiB", lambda s: f"{s['memory_kib'] / 1024:.0f}"),
        ("Bytes of the access log for each request", lambda s: f"{s['logged_bytes']:.0f}"),
    ]
    scenarios = [s for s in part.of(SCENARIOS) if s.name in results["scenarios"]]
    names = _proxies({name for s in scenarios for name in results["scenarios"][s.name]})
    for heading, cell in figures if names else ():
        rows = []
        for scenario in scenarios:
            found = results["scenarios"][scenario.name]
            rows.append([scenario.title, *(_unless_void(found.get(name), cell) for name in names)])
        yield f"**{heading}**\n\n" + table(["", *names], rows)


def _cpu_cell(sample):
    return f"{_short(sample['cpu_us'])} ±{100 * sample['cpu_spread']:.0f} %"


def _rate_cell(sample):
    return f"{sample['rps']:,.0f} ({100 * sample['busy']:.0f} %)"


def _latency_cell(sample):
    return f"{_short(sample['p50_ms'])}, {_short(sample['p99_ms'])}"


def _unless_void(sample, cell):
    if not sample:
        return "failed"
    return f"void: {sample['failed']:,} failed" if sample["failed"] else cell(sample)


def idle_tables(results, part):
    for idle in part.of(IDLE):
        if not (found := results[idle.name]):
            continue
        names = _proxies(found)
        rows = [
            ["KiB for each connection", *(f"{found[n]['kib_each']:.1f}" for n in names)],
            ["before, MiB", *(f"{found[n]['before_kib'] / 1024:.0f}" for n in names)],
            ["with them, MiB", *(f"{found[n]['after_kib'] / 1024:.0f}" for n in names)],
        ]
        if any(found[n]["failed"] for n in names):
            rows.append(["connections that were not kept", *(f"{found[n]['failed']:,}" for n in names)])
        yield (
            f"**{idle.connections:,} {idle.title}: resident memory (the kernel's own for sockets is not in "
            "it)**\n\n" + table(["", *names], rows)
        )


def _reload_table(reload):
    names = _proxies(reload)

    def row(title, cell):
        return [title, *(cell(reload[name]) for name in names)]

    rows = [
        row("requests in the time of the reloads", lambda r: f"{sum(w['during']['requests'] for w in r):,}"),
        row("of them failed", lambda r: f"{sum(w['during']['failed'] for w in r):,}"),
        row("99th percentile, with / without, ms", lambda r: " / ".join(
            _short(median(w[when]["p99_ms"] for w in r)) for when in ("during", "before"))),
        row("until the new one serves, s", lambda r: f"{median(w['seconds_to_effect'] for w in r):.2f}"),
    ]
    times = len(reload[names[0]])
    return f"**{times} reloads of {ROUTES:,} routes under load**\n\n" + table(["", *names], rows)


def pair_table(results, part):
    rows = []
    for pair in part.of(PAIRS):
        found = results["pairs"].get(pair.name)
        if found and _failed(found["over"], found["under"]):
            rows.append([pair.title, f"void: {_failed(found['over'], found['under']):,} failed", "", ""])
        elif found:
            counted = found["instructions"]
            rows.append([
                pair.title, f"{_short(found['over']['cpu_us'])} / {_short(found['under']['cpu_us'])}",
                _ratio(found["ratios"]), f"{median(counted):.3f}" if counted else "not counted",
            ])
    if not rows:
        return ""
    return "**corsac against itself: CPU for each request**\n\n" + table(
        ["", "µs", "ratio (95 % interval)", "ratio of instructions"], rows
    )


def build_table(results, part):
    """What a profile gives to both, and what is left between them without one."""
    comparisons = [(PLAIN_CORSAC, PLAIN_BARE), (CORSAC, PLAIN_CORSAC), (BARE, PLAIN_BARE)]
    rows = []
    for scenario in part.of(SCENARIOS):
        found = results["scenarios"].get(scenario.name, {})
        cells = []
        for over, under in comparisons:
            both = [found.get(kind.name) for kind in (over, under)]
            usable = all(both) and not _failed(*both)
            cells.append(_ratio(ratios(both[0]["rounds"], both[1]["rounds"])) if usable else "")
        if any(cells):
            rows.append([scenario.title, *cells])
    if not rows:
        return ""
    heads = [f"{over.name} / {under.name}" for over, under in comparisons]
    return "**Builds: ratios of CPU for each request (95 % interval)**\n\n" + table(["", *heads], rows)


def targets(results, part):
    """Every target of a part, with what this run says of it."""
    builds = results["environment"]["builds"]
    alike = builds.get(CORSAC.name) == builds.get(BARE.name)
    for name, over, under, limit, at_most in part.ratios:
        title = next(s.title for s in SCENARIOS if s.name == name)
        target = Target(f"{title}: {over} / {under}", limit, at_most)
        if BARE.name in (over, under) and not alike:
            yield dataclasses.replace(target, why_not="not judged: they are not built the same way")
        else:
            yield _judged(target, results["scenarios"].get(name, {}), over, under)
    for pair in part.of(PAIRS):
        target = Target(pair.title, pair.limit, True)
        found = results["pairs"].get(pair.name)
        if found and not _failed(found["over"], found["under"]):
            instructions = _median(found["instructions"])
            target = dataclasses.replace(target, values=tuple(found["ratios"]), instructions=instructions)
        yield target
    for idle in part.of(IDLE):
        each = {name: (found["kib_each"],) for name, found in results[idle.name].items() if not found["failed"]}
        values, floor = each.get(CORSAC.name, ()), _median(each.get(BARE.name))
        yield Target(f"{idle.title}: KiB each", idle.kib_max, True, values, floor=floor)


def _judged(target, found, over, under):
    """The target with what a scenario has found of the two."""
    both = [found.get(over), found.get(under)]
    if not all(both):
        return target
    if _failed(*both):
        return dataclasses.replace(target, why_not="void")
    floor = [found.get(BARE.name if name == CORSAC.name else name) for name in (over, under)]
    has_floor = BARE.name not in (over, under) and all(floor) and not _failed(*floor)
    return dataclasses.replace(
        target,
        values=tuple(ratios(both[0]["rounds"], both[1]["rounds"])),
        instructions=_median(ratios(both[0]["counted"], both[1]["counted"], "instructions")),
        floor=_median(ratios(floor[0]["rounds"], floor[1]["rounds"])) if has_floor else None,
    )


def _median(values):
    return median(values) if values else None


def target_table(results, part):
    rows = []
    for target in targets(results, part):
        sign = "≤" if target.at_most else "≥"
        row = [target.title, f"{sign} {target.limit:g}"]
        if target.values:
            off = 100 * abs(target.value - target.limit) / target.limit
            row += [_ratio(target.values), f"{'met' if target.met else '**missed**'}, by {off:.1f} %"]
            row += [f"{value:.3f}" if value else "" for value in (target.instructions, target.floor)]
        else:
            row += ["", target.why_not, "", ""]
        rows.append(row)
    head = ["", "target", "measured (95 % interval)", "", "by instructions", "bare Pingora in corsac's place"]
    return "**Targets: ratios of CPU for each request, unless another unit is named**\n\n" + table(head, rows)


def difference_table(results, part):
    """What the check of answers let pass, since it is known."""
    scenarios = {scenario.name for scenario in part.of(SCENARIOS)}
    measured = {name for scenario in scenarios for name in results["scenarios"].get(scenario, ())}
    rows = []
    for name in _proxies(measured & KNOWN.keys()):
        same = {}
        for scenario, headers in KNOWN[name].items():
            if scenario in scenarios:
                sends = "; ".join(
                    f"no `{header}`" if value is None else f"`{header}: {value}`"
                    for header, value in headers.items()
                )
                same.setdefault(sends, []).append(scenario)
        sends = ". ".join(f"{', '.join(scenarios)}: {text}" for text, scenarios in same.items())
        rows.append([name, sends, KNOWN[name]["why"]])
    return "**Answers that are known to differ**\n\n" + table(["", "what", "why"], rows) if rows else ""


def failure_list(results):
    lines = [f"- {step}: {text}" for step, texts in results["failures"].items() for text in texts]
    return "**What failed**\n\n" + "\n".join(lines) if lines else ""


def void(results):
    """Scenarios and pairs in which a request failed: their figures mean nothing."""
    found = [
        f"{scenario} ({proxy})"
        for scenario, of_proxies in results["scenarios"].items()
        for proxy, sample in of_proxies.items()
        if sample["failed"]
    ]
    found += [name for name, pair in results["pairs"].items() if _failed(pair["over"], pair["under"])]
    found += [
        f"{idle.title} ({name})" for idle in IDLE for name, of in results[idle.name].items() if of["failed"]
    ]
    return found


def update_docs(results):
    """Writes the tables of what was measured between their markers, and the chart."""
    for part in measured_parts(results):
        text = part_text(results, part)
        if part is CLEAR:
            text = "![CPU for each request](loadtest.svg)\n\n" + text
            (DOCS / "loadtest.svg").write_text(chart.svg(results))
        write_between_markers(part.name, text)


def write_between_markers(name, inner):
    page = DOCS / "performance.md"
    page.write_text(between_markers(page.read_text(), name, inner))


def between_markers(text, name, inner):
    """The text with `inner` between its two markers of that name, which stay."""
    first, last = (f"<!-- {name}: {mark} -->" for mark in ("begin", "end"))
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise SystemExit(f"docs/performance.md lacks {first} or {last}")
    return f"{before}{begin}\n{inner}\n{end}{after}"


def _failed(*samples):
    return sum(sample["failed"] for sample in samples)


def _proxies(names):
    """In their order, without the plain builds, which have a table of their own."""
    return [kind.name for kind in KINDS if kind.name in names and kind not in PLAIN]


def _ratio(ordered):
    """The median, and where it lies."""
    low, high = interval(ordered)
    return f"{median(ordered):.3f}" + (f" ({low:.3f} to {high:.3f})" if len(ordered) > 1 else "")


def _short(number):
    """Three digits that matter."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
