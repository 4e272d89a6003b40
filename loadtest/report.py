"""What a run has found, as text: tables, targets, and the chart of the documentation."""

from statistics import median

import chart
from agreement import KNOWN
from measure import ratio, ratios
from proxies import CORSACS, HERE, KINDS
from scenarios import IDLE_CONNECTIONS, IDLE_KIB_MAX, PAIRS, RATIOS, ROUTES, SCENARIOS

DOCS = HERE.parent / "docs"
BEGIN, END = "<!-- loadtest: begin -->", "<!-- loadtest: end -->"


def markdown(results):
    """All tables, for a terminal and for the documentation."""
    parts = [environment_text(results), *scenario_tables(results), memory_and_reload(results)]
    parts += [build_table(results), pair_table(results), target_table(results), difference_table(results)]
    return "\n\n".join(part for part in parts if part)


def environment_text(results):
    env = results["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    builds = ", ".join(f"{name} {build}" for name, build in env["builds"].items())
    plan = results["plan"]
    return (
        f"Measured on {env['date']}: {env['cpu']}, {env['cores']} cores, Linux {env['kernel']}; others kept "
        f"{env['others_busy']:.1f} cores busy before it began. {versions}. corsac of commit {env['commit']}, "
        f"built as: {builds}. Medians of {plan['rounds']} rounds of {plan['seconds']} s."
    )


def scenario_tables(results):
    """A table for each figure: scenarios down, proxies across."""
    figures = [
        ("CPU for each request, µs (± half the range of the rounds)", _cpu_cell),
        ("Requests for each second (part of its core that the proxy used)", _rate_cell),
        ("50th and 99th percentile of latency, ms", _latency_cell),
        ("Resident memory afterwards, MiB", lambda s: f"{s['memory_kib'] / 1024:.0f}"),
    ]
    scenarios = [s for s in SCENARIOS if s.name in results["scenarios"]]
    if not scenarios:
        return []
    names = _proxies(results["scenarios"][scenarios[0].name])
    for heading, cell in figures:
        rows = []
        for scenario in scenarios:
            found = results["scenarios"][scenario.name]
            rows.append([scenario.title, *(_unless_void(found[name], cell) for name in names)])
        yield f"**{heading}**\n\n" + _table(["", *names], rows)


def _cpu_cell(sample):
    return f"{_short(sample['cpu_us'])} ±{100 * sample['cpu_spread']:.0f} %"


def _rate_cell(sample):
    return f"{sample['rps']:,.0f} ({100 * sample['busy']:.0f} %)"


def _latency_cell(sample):
    return f"{_short(sample['p50_ms'])}, {_short(sample['p99_ms'])}"


def _unless_void(sample, cell):
    return f"void: {sample['failed']:,} failed" if sample["failed"] else cell(sample)


def memory_and_reload(results):
    parts = []
    if idle := results["idle"]:
        names = _proxies(idle)
        rows = [
            ["KiB for each connection", *(f"{idle[n]['kib_each']:.1f}" for n in names)],
            ["before, MiB", *(f"{idle[n]['before_kib'] / 1024:.0f}" for n in names)],
            ["with them, MiB", *(f"{idle[n]['after_kib'] / 1024:.0f}" for n in names)],
        ]
        if any(idle[n]["failed"] for n in names):
            rows.append(["connections that were not kept", *(f"{idle[n]['failed']:,}" for n in names)])
        parts.append(
            f"**{IDLE_CONNECTIONS:,} idle keep-alive connections: resident memory (the kernel's own for "
            "sockets is not in it)**\n\n" + _table(["", *names], rows)
        )
    if reload := results["reload"]:
        parts.append(_reload_table(reload))
    return "\n\n".join(parts)


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
    return f"**{times} reloads of {ROUTES:,} routes under load**\n\n" + _table(["", *names], rows)


def pair_table(results):
    rows = []
    for pair in PAIRS:
        found = results["pairs"].get(pair.name)
        if found and _failed(found):
            rows.append([pair.title, f"void: {_failed(found):,} failed", "", "", ""])
        elif found:
            counted = found["instructions"]
            instructions = f"{median(counted):.3f}" if counted else "not counted"
            rows.append([pair.title, *_compared(found["over"], found["under"]), instructions])
    if not rows:
        return ""
    return "**corsac against itself: CPU for each request**\n\n" + _table(
        ["", "µs", "ratio (median of rounds)", "range", "ratio of instructions"], rows
    )


def build_table(results):
    """One build against the other, scenario by scenario."""
    rows = []
    for scenario in SCENARIOS:
        found = results["scenarios"].get(scenario.name, {})
        sides = [found[name] for name in CORSACS if name in found]
        if len(sides) == 2 and not any(side["failed"] for side in sides):
            rows.append([scenario.title, *_compared(*sides)])
    if not rows:
        return ""
    builds = " / ".join(results["environment"]["builds"].values())
    return f"**{builds}: CPU for each request**\n\n" + _table(
        ["", "µs", "ratio (median of rounds)", "range"], rows
    )


def _compared(over, under):
    """CPU for each request of both, the median of the ratios, their range."""
    found = ratios(over["rounds"], under["rounds"])
    cpu = f"{_short(over['cpu_us'])} / {_short(under['cpu_us'])}"
    return [cpu, f"{median(found):.3f}", f"{found[0]:.3f} to {found[-1]:.3f}"]


def targets(results):
    """Each target that this run can judge: what, the figure, the limit, whether it is met."""
    for name, over, under, limit, at_most in RATIOS:
        found = results["scenarios"].get(name, {})
        if over in found and under in found and not found[over]["failed"] + found[under]["failed"]:
            value = ratio(found[over]["rounds"], found[under]["rounds"])
            title = next(s.title for s in SCENARIOS if s.name == name)
            yield f"{title}: {over} / {under}", value, limit, at_most
    for pair in PAIRS:
        found = results["pairs"].get(pair.name)
        if found and not _failed(found):
            yield pair.title, found["ratio"], pair.limit, True
    found = results["idle"].get("corsac")
    if found and not found["failed"]:
        yield "an idle connection, KiB", found["kib_each"], IDLE_KIB_MAX, True


def target_table(results):
    rows = []
    for title, value, limit, at_most in targets(results):
        met = value <= limit if at_most else value >= limit
        off = abs(value - limit) / limit
        verdict = f"{'met' if met else '**missed**'}, by {100 * off:.1f} %"
        rows.append([title, f"{'≤' if at_most else '≥'} {limit:g}", f"{value:.3f}", verdict])
    return "**Targets**\n\n" + _table(["", "target", "measured", ""], rows) if rows else ""


def difference_table(results):
    """What the check of answers let pass, since it is known."""
    measured = {name for found in results["scenarios"].values() for name in found}
    rows = []
    for name in (kind.name for kind in KINDS if kind.name in measured & KNOWN.keys()):
        same = {}
        for scenario, headers in KNOWN[name].items():
            if scenario != "why":
                sends = "; ".join(
                    f"no `{header}`" if value is None else f"`{header}: {value}`"
                    for header, value in headers.items()
                )
                same.setdefault(sends, []).append(scenario)
        sends = ". ".join(f"{', '.join(scenarios)}: {text}" for text, scenarios in same.items())
        rows.append([name, sends, KNOWN[name]["why"]])
    return "**Answers that are known to differ**\n\n" + _table(["", "what", "why"], rows) if rows else ""


def void(results):
    """Scenarios and pairs in which a request failed: their figures mean nothing."""
    found = [
        f"{scenario} ({proxy})"
        for scenario, of_proxies in results["scenarios"].items()
        for proxy, sample in of_proxies.items()
        if sample["failed"]
    ]
    found += [name for name, pair in results["pairs"].items() if _failed(pair)]
    found += [f"idle ({name})" for name, idle in results["idle"].items() if idle["failed"]]
    return found


def update_docs(results):
    """Writes the tables between their markers, and the chart."""
    page = DOCS / "performance.md"
    page.write_text(between_markers(page.read_text(), "![CPU for each request](loadtest.svg)\n\n" + markdown(results)))
    (DOCS / "loadtest.svg").write_text(chart.svg(results))


def between_markers(text, inner):
    """The text with `inner` between its two markers, which stay."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"docs/performance.md lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n{inner}\n{END}{after}"


def _failed(pair):
    return pair["over"]["failed"] + pair["under"]["failed"]


def _proxies(found):
    return [kind.name for kind in KINDS if kind.name in found]


def _short(number):
    """Three digits that matter."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
