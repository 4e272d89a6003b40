"""What is asked, what must be answered, what is compared, and the targets: all of it data."""

import dataclasses

from asking import H2load, Handshakes, Wrk
from proxies import APP, Settings

# As corsac is run: with an access log. Then the others have theirs, too.
LOGGED = Settings(log=True)
OVER_TLS = Settings(log=True, tls=True)
EVIL = "https://evil.example"
HELLO = b"hello, hello, hello\n"
MEBIBYTE = bytes(range(256)) * 4096
LISTED = {"access-control-allow-origin": APP, "access-control-allow-credentials": "true"}
ANSWERED = LISTED | {
    "access-control-allow-methods": "GET,POST,PUT,DELETE",
    "access-control-allow-headers": "authorization,content-type",
    "access-control-max-age": "600",
}


@dataclasses.dataclass(frozen=True)
class Probe:
    """A request, and the answer that every proxy must give to it: always 200, with `Vary: Origin`."""

    method: str = "GET"
    path: str = "/"
    headers: dict[str, str] = dataclasses.field(default_factory=lambda: {"Origin": APP})
    body: bytes | None = None
    cors: dict[str, str] = dataclasses.field(default_factory=lambda: LISTED)
    answer: bytes = HELLO


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    probes: list[Probe]
    ask: Wrk | H2load | Handshakes
    settings: Settings = LOGGED
    main: bool = False  # whether the short run has it, and plain builds are in it, too


GET = Scenario("get", "GET, allowed origin", [Probe()], Wrk("get.lua", (APP,)), main=True)
ROUTES = 10_000
ORIGINS = 1_000
PREFLIGHT = Probe(
    "OPTIONS",
    headers={
        "Origin": APP,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type",
    },
    cors=ANSWERED,
    answer=b"",
)
CLOSING = Probe(headers={"Origin": APP, "Connection": "close"})
PREFLIGHTS = Scenario("preflight", "preflight, answered at the edge", [PREFLIGHT], Wrk("preflight.lua"), main=True)


def _listed(origin):
    return Probe(headers={"Origin": origin}, cors=LISTED | {"access-control-allow-origin": origin})


SCENARIOS = [
    PREFLIGHTS,
    GET,
    Scenario("plain", "GET, no origin", [Probe(headers={}, cors={})], Wrk("get.lua"), main=True),
    Scenario("denied", "GET, denied origin", [Probe(headers={"Origin": EVIL}, cors={})], Wrk("get.lua", (EVIL,))),
    Scenario("post", "POST of 16 KiB", [Probe("POST", body=b"x" * 16384)], Wrk("post.lua")),
    Scenario(
        "download", "GET of 1 MiB", [Probe(path="/1m", answer=MEBIBYTE)],
        Wrk("get.lua", (APP,), path="/1m", connections=16),
    ),
    Scenario(
        "close", "GET, a connection for each",
        [CLOSING], Wrk("get.lua", (APP, "close")), main=True,
    ),
    Scenario(
        "routes", f"{ROUTES:,} routes at random", [Probe(path=f"/api/r{n}/7") for n in (0, 4321, ROUTES - 1)],
        Wrk("routes.lua", (str(ROUTES),)), settings=Settings(routes=ROUTES, log=True),
    ),
    Scenario(
        "origins", f"{ORIGINS:,} origins at random",
        [_listed(f"https://o{n}.example.com") for n in (0, 432, ORIGINS - 1)]
        + [Probe(headers={"Origin": "https://o1000.example.com"}, cors={})],
        Wrk("origins.lua", (str(ORIGINS),)), settings=Settings(origins=ORIGINS, log=True),
    ),
    Scenario(
        "preflight-quiet", "preflight, no access logs", [PREFLIGHT], Wrk("preflight.lua"), settings=Settings(),
    ),
    Scenario("get-quiet", "GET, no access logs", [Probe()], Wrk("get.lua", (APP,)), settings=Settings()),
    Scenario("tls-get", "GET over TLS", [Probe()], Wrk("get.lua", (APP,)), OVER_TLS),
    Scenario("h2-get", "GET over HTTP/2", [Probe()], H2load((f"Origin: {APP}",)), OVER_TLS),
    Scenario(
        "h2-preflight", "preflight over HTTP/2", [PREFLIGHT],
        H2load((":method: OPTIONS", *(f"{name}: {value}" for name, value in PREFLIGHT.headers.items()))), OVER_TLS,
    ),
    Scenario("handshake", "a full handshake and a GET", [CLOSING], Handshakes(), OVER_TLS),
    Scenario("resumed", "a resumed handshake and a GET", [CLOSING], Handshakes(resumed=True), OVER_TLS),
]
QUIET = [scenario.name for scenario in SCENARIOS if not scenario.settings.log]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two corsacs that differ in one setting; `over` is measured as a multiple of `under`."""

    name: str
    title: str
    over: Settings
    under: Settings
    limit: float
    over_ask: Wrk | Handshakes = GET.ask
    under_ask: Wrk | Handshakes = GET.ask
    pinned: bool = True
    quick: bool = False


PAIRS = [
    Pair("cors", "CORS on / off", Settings(), Settings(cors=False), 1.02, quick=True),
    Pair(
        "routes", "100,000 routes / 10", Settings(routes=100_000), Settings(routes=10), 1.03,
        Wrk("routes.lua", ("100000",)), Wrk("routes.lua", ("10",)),
    ),
    Pair(
        "origins", "1,000 listed origins / 1", Settings(origins=1000), Settings(), 1.01,
        Wrk("origins.lua", ("1000",)), Wrk("origins.lua", ("1", APP)),
    ),
    # Both on all cores, so that only the number of threads differs.
    Pair("threads", "2 threads / 1", Settings(threads=2), Settings(), 1.10, pinned=False),
    Pair("log", "access log on / off", LOGGED, Settings(), 1.05),
    Pair(
        "resumed", "a resumed handshake and a GET / a full one", OVER_TLS, OVER_TLS, 0.5,
        Handshakes(resumed=True), Handshakes(),
    ),
]


@dataclasses.dataclass(frozen=True)
class Idle:
    """Connections that have had one answer, and then are only there."""

    name: str
    title: str
    connections: int
    kib_max: float
    settings: Settings = LOGGED
    http2: bool = False


IDLE = [
    Idle("idle", "idle keep-alive connections", 10_000, 32),
    Idle("idle-tls", "idle connections over TLS", 5_000, 24, OVER_TLS),
    Idle("idle-h2", "idle connections of HTTP/2", 5_000, 40, OVER_TLS, http2=True),
]
FLOOR_LIMIT = 1.08

# (scenario, over, under, limit, whether the limit is the most): CPU for each request.
_PEERS = [
    ("preflight", "corsac", "HAProxy", 1.0, True),
    ("preflight", "corsac", "nginx", 1.4, True),
    ("get", "corsac", "HAProxy", 1.2, True),
    ("get", "Envoy", "corsac", 1.8, False),
    ("get", "Traefik", "corsac", 2.3, False),
    ("get", "Caddy", "corsac", 3.0, False),
]
RATIOS = [
    # What has no log of its own is the floor of a corsac that has one.
    *(
        (s.name, "corsac", "bare Pingora", FLOOR_LIMIT, True)
        for s in SCENARIOS if s.name not in QUIET and not s.settings.tls
    ),
    *_PEERS,
    *((f"{name}-quiet", *of) for name, *of in _PEERS),
    ("tls-get", "corsac", "HAProxy", 1.25, True),
    ("h2-get", "corsac", "bare Pingora", 1.1, True),
    ("h2-get", "corsac", "Envoy", 0.7, True),
    ("h2-preflight", "corsac", "nginx", 1.1, True),
    ("handshake", "corsac", "nginx", 0.9, True),
]


@dataclasses.dataclass(frozen=True)
class Part:
    """What stands together in docs/performance.md, between markers of this name."""

    name: str
    tls: bool

    def of(self, things):
        """The scenarios, pairs or idle connections of this part: it is their settings that tell."""
        return [thing for thing in things if self.tells(thing)]

    def tells(self, thing):
        settings = thing.over if isinstance(thing, Pair) else thing.settings
        return settings.tls == self.tls

    @property
    def ratios(self):
        names = {scenario.name for scenario in self.of(SCENARIOS)}
        return [ratio for ratio in RATIOS if ratio[0] in names]


CLEAR = Part("loadtest", tls=False)
EDGE = Part("edge", tls=True)
PARTS = [CLEAR, EDGE]
