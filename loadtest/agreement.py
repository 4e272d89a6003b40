"""Whether every proxy gives the answer that is due: measured is only who does the same work."""

from scenarios import LISTED, SCENARIOS

# What a proxy cannot answer as the others do, or does not by any setting of its own: the
# header, and what it sends instead (None: nothing). It must be there exactly.
_NO_CORS = {name: None for name in LISTED} | {"vary": None}
KNOWN = {
    "bare Pingora": {
        "why": "it knows no CORS; its answer to every `OPTIONS` is fixed",
        **{s.name: _NO_CORS for s in SCENARIOS if s.name not in ("preflight", "plain", "denied")},
        "plain": {"vary": None},
        "denied": {"vary": None},
    },
    "Envoy": {
        "why": "its CORS filter answers preflights before the headers of routes are added",
        "preflight": {"vary": None},
    },
    "Traefik": {
        "why": "its middleware answers preflights without `Vary`, and allows credentials to everybody",
        "preflight": {"vary": None},
        "plain": {"access-control-allow-credentials": "true"},
        "denied": {"access-control-allow-credentials": "true"},
        "origins": {"access-control-allow-credentials": "true"},
    },
}


def disagreements(kind, scenario, probe, status, fields, body):
    """How an answer differs from what is due, the known differences taken into account."""
    due = dict(probe.cors) | {"vary": {"origin"}}
    known = KNOWN.get(kind, {}).get(scenario, {})
    for name, value in known.items():
        # What a probe's answer has not is not missed; what is sent where nothing is due, is.
        if value is None:
            due.pop(name, None)
        else:
            due[name] = value
    sent = {name: value for name, value in fields if name.startswith("access-control-")}
    repeated = [n for n, _ in fields if n.startswith("access-control-")]
    vary = {item.strip().lower() for name, value in fields if name == "vary" for item in value.split(",")}
    if vary:
        sent["vary"] = vary
    found = [
        f"{name}: {sent.get(name)!r} instead of {due.get(name)!r}"
        for name in sorted(sent.keys() | due.keys())
        if sent.get(name) != due.get(name)
    ]
    if len(repeated) != len(set(repeated)):
        found.append(f"a header is there twice: {sorted(repeated)}")
    if status != 200:
        found.append(f"status {status} instead of 200")
    if body != probe.answer:
        found.append(f"a body of {len(body)} bytes instead of {len(probe.answer)}, or other ones")
    return found


def check(proxy, scenario):
    """Ends the run where an answer is not the one that is due."""
    for probe in scenario.probes:
        answer = proxy.ask(probe.method, probe.path, probe.headers, probe.body)
        found = disagreements(proxy.kind.name, scenario.name, probe, *answer)
        if found:
            raise SystemExit(
                f"{proxy.kind.name} does not answer {scenario.title!r} as it must "
                f"({probe.method} {probe.path} {probe.headers}):\n  " + "\n  ".join(found)
            )
