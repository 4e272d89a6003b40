"""The tables of a run with hostile clients, and which targets are met."""

from report import table

# The honest client may wait so much longer beside hostile ones.
RATIO = 2
CHUNK_CPU_S = 0.2
# A proxy may look at its clients only now and then: corsac at idle ones each 10 s.
GRACE_S = 12


def latest_s(limit_s):
    """When the last client must be gone, after it was connected."""
    return limit_s + GRACE_S


def judged(results):
    """Every target: scenario, proxy, what, figure, target, and whether it is met."""
    rows = []
    for name, of_proxies in results["scenarios"].items():
        due = results["targets"][name]
        for proxy, found in of_proxies.items():
            rows += [(due["title"], proxy, *row) for row in _crowd_rows(found, due)]
    for proxy, found in results["chunks"].items():
        rows.append(("1 MB in chunks of one byte", proxy, "CPU", f"{found['cpu_s']:.2f} s",
                     f"≤ {CHUNK_CPU_S} s", found["cpu_s"] <= CHUNK_CPU_S))
    for check in results["descriptors"]:
        rows.append(("no descriptor is left", "corsac", check["what"],
                     f"{check['seconds']:.1f} s" if check["met"] else check["wrong"].splitlines()[0][:100],
                     "done", check["met"]))
    return rows


def _crowd_rows(found, due):
    last, limit = found["ended_s"][-1:], found["limit_s"]
    all_ended = found["ended"] == found["begun"] == found["clients"]
    in_time = all_ended and found["ended_s"][0] >= 0.9 * limit and last[0] <= latest_s(limit)
    yield ("ended", f"{found['ended']:,} of {found['clients']:,}" + (f", {_seconds(found)}" if last else ""),
           f"all, after {limit} s", in_time)
    if due["status"]:
        told = found["statuses"].get(str(due["status"]), 0)
        yield "told", _statuses(found), str(due["status"]), told == found["clients"]
    yield ("memory", f"{found['kib_each']:.1f} KiB each", f"≤ {due['kib_each']:g} KiB",
           found["kib_each"] <= due["kib_each"])
    for figure in ("p50_ms", "p99_ms"):
        ratio = ratio_of(found, figure)
        yield (f"honest client's {figure[:3]}", _ratio(found, figure), f"≤ {RATIO}",
               ratio is not None and ratio <= RATIO and not found["during"]["failed"])


def ratio_of(found, figure):
    before, during = found["before"][figure], found["during"][figure]
    return during / before if before and during is not None else None


def _ratio(found, figure):
    ratio = ratio_of(found, figure)
    if ratio is None:
        return "not measured"
    failed = found["during"]["failed"]
    return f"{ratio:.2f}" + (f", {failed:,} failed" if failed else "")


def _seconds(found):
    return "{:.1f}, {:.1f}, {:.1f} s".format(*found["ended_s"]) if found["ended_s"] else ""


def _statuses(found):
    return ", ".join(f"{status}: {count:,}" for status, count in sorted(found["statuses"].items())) or "nothing"


def markdown(results, verdict_of=("corsac",)):
    env = results["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    builds = "".join(
        f"; {name} is a `{build}` build of commit {env['commit']}" for name, build in env["builds"].items())
    parts = [
        f"Measured on {env['date']}: {env['cpu']}, {env['cores']} cores, Linux {env['kernel']}. {versions}{builds}. "
        f"Limits of {results['limit_s']} s, over TLS of {2 * results['limit_s']} s; others kept {env['others_busy']:.1f} cores busy as it began."
    ]
    if results["unknown"]:
        keys = ", ".join(f"`{key}`" for key in results["unknown"])
        parts.append(f"**Before**: the corsac of these tables does not have {keys} yet.")
    for name, of_proxies in results["scenarios"].items():
        due = results["targets"][name]
        head = ["", "ended", "first, median, last", "told", "KiB each", "the kernel's", "CPU, cores",
                "honest p50, ms", "p99, ms", "p99 as they come"]
        rows = [[proxy, *_cells(found)] for proxy, found in of_proxies.items()]
        parts.append(f"**{due['clients']:,} clients that {due['title']}**\n\n" + table(head, rows))
    if results["chunks"]:
        rows = [[proxy, f"{found['cpu_s']:.2f}", ", ".join(map(str, found["statuses"]))]
                for proxy, found in results["chunks"].items()]
        parts.append("**1 MB in chunks of one byte**\n\n" + table(["", "CPU, s", "answers"], rows))
    rows = [[scenario, what, figure, target, "met" if met else "**missed**"]
            for scenario, proxy, what, figure, target, met in judged(results) if proxy in verdict_of]
    if rows:
        parts.append("**Targets of corsac**\n\n" + table(["clients", "what", "figure", "target", ""], rows))
    return "\n\n".join(parts)


def _cells(found):
    def of(figure):
        values = [found[when][figure] for when in ("before", "during")]
        return " → ".join("?" if value is None else f"{value:.2f}" for value in values)

    arriving = found["arriving"]["p99_ms"]
    return [
        f"{found['ended']:,}", _seconds(found) or "never", _statuses(found), f"{found['kib_each']:.1f}",
        f"{found['socket_kib_each']:.1f}", f"{found['cpu']:.2f}", of("p50_ms"), of("p99_ms"),
        "?" if arriving is None else f"{arriving:.2f}",
    ]


def missed(results):
    """The targets of corsac that it misses."""
    return [row for row in judged(results) if row[1] == "corsac" and not row[-1]]
