"""Whether every proxy gives the answer that is due: measured is only who does the same work."""

from proxies import BARE, PLAIN_BARE, Failed
from scenarios import LISTED, SCENARIOS

# What a proxy cannot answer as the others do, or does not by any setting of its own: the
# header, and what it sends instead (None: nothing). It must be there exactly.
_PREFLIGHTS = [s.name for s in SCENARIOS if s.probes[0].method == "OPTIONS"]
_NO_CORS = {name: None for name in LISTED} | {"vary": None}
KNOWN = {
    BARE.name: {
        "why": "it knows no CORS; its answer to every `OPTIONS` is fixed",
        **{s.name: _NO_CORS for s in SCENARIOS if s.name not in (*_PREFLIGHTS, "plain", "denied")},
        "plain": {"vary": None},
        "denied": {"vary": None},
    },
    "Envoy": {
        "why": "its CORS filter answers preflights before the headers of routes are added",
        **{name: {"vary": None} for name in _PREFLIGHTS},
    },
    "Traefik": {
        "why": "its middleware answers preflights without `Vary`, and allows credentials to everybody",
        **{name: {"vary": None} for name in _PREFLIGHTS},
        "plain": {"access-control-allow-credentials": "true"},
        "denied": {"access-control-allow-credentials": "true"},
        "origins": {"access-control-allow-credentials": "true"},
    },
}
# Who sends no `X-Forwarded-For`, `-Proto`, `-Host`.
UNTOLD = [BARE.name, PLAIN_BARE.name]
KNOWN[PLAIN_BARE.name] = KNOWN[BARE.name]


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
    """Fails where an answer is not the one that is due."""
    for probe in scenario.probes:
        answer = proxy.ask(probe.method, probe.path, probe.headers, probe.body, scenario.ask.http2)
        found = disagreements(proxy.kind.name, scenario.name, probe, *answer)
        if found:
            raise Failed(
                f"{proxy.kind.name} does not answer {scenario.title!r} as it must "
                f"({probe.method} {probe.path} {probe.headers}):\n  " + "\n  ".join(found)
            )


def check_forwarding(proxy):
    """Fails where the origin is not told what it must be, or is connected to anew for each request."""
    answers = [proxy.ask("GET", "/seen")[2].decode() for _ in range(2)]
    for answer in answers:
        if wrong := untold(proxy.kind.name, *proxy.base().split("://"), answer):
            raise Failed(f"{proxy.kind.name} tells the origin {answer!r}: {wrong}")
    if int(answers[1].rpartition("|")[2]) < 2:
        raise Failed(f"{proxy.kind.name} does not keep its connection to the origin")


def untold(kind, scheme, host, answer):
    """What the origin was not told as it must be: client, scheme, host, and `Host` itself."""
    client, forwarded_scheme, forwarded_host, own_host, _ = answer.split("|")
    if own_host != host:
        return f"`Host` is not {host}"
    if kind in UNTOLD:
        return "it is known to tell nothing" if client or forwarded_scheme or forwarded_host else ""
    # Some address: for a client of the same machine, Envoy takes another one of its own.
    if not client or (forwarded_scheme, forwarded_host) != (scheme, host):
        return "`X-Forwarded-For`, `-Proto` or `-Host` are not as they must be"
    return ""
