"""What hostile clients of a soak send: all of it data, made before, so that sending it costs them nothing.

That is why Python is fast enough for a flood: no attack needs to think of what it is answered.
"""

import dataclasses
import os
import struct

import frames
from crowd import Behaviour, client_hello
from frames import (
    CONTINUATION, DATA, END_HEADERS, HEADERS, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS, frame, get, literal,
    number, request, settings, text, window_update,
)

BEGUN = PREFACE + settings()
H2_ENDED = "corsac_h2_connections_ended_total"
TLS_FAILED = "corsac_tls_handshake_failures_total"
STREAMS = range(1, 4_000, 2)


@dataclasses.dataclass(frozen=True)
class Flood:
    """One connection after another: this is sent, again and again, until the proxy ends it or takes no more."""

    name: str
    opening: bytes
    more: bytes = b""
    port: str = "clear"  # or "tls": which listener
    protocol: str | None = None  # what is agreed on over TLS before
    # (name, reason) of what corsac counts of it; none: it is refused request by request, or not at all.
    counted: tuple[str, str] | None = None
    # Whether the client goes by itself, once all is sent.
    leaves: bool = False


@dataclasses.dataclass(frozen=True)
class Siege:
    """Many connections at once, which wait for their end; then as many again."""

    name: str
    behaviour: Behaviour
    clients: int
    port: str = "tls"
    counted: tuple[str, str] | None = None


def _streams(make):
    return b"".join(make(stream) for stream in STREAMS)


def _reset(stream):
    return get(stream) + frame(RST_STREAM, stream=stream, payload=struct.pack(">I", frames.CANCEL))


def _made_to_reset(stream):
    """A request that is open, and a frame by which the server must end it: a window that grows by nothing."""
    return frame(HEADERS, END_HEADERS, stream, request("POST", "/upload")) + window_update(stream, 0)


def _malformed(stream):
    """Two hosts that are not the same (RFC 9113, 8.3.1)."""
    return get(stream, host="other.example")


# A long field that is kept once, and then named by a byte each time: 4,000 bytes for one.
_BOMB = request() + literal("x-bomb", "x" * 4_000, indexed=True) + b"\xbe" * 12_000
_TINY = frame(DATA, stream=1, payload=b"x")
_PRIORITY = frame(PRIORITY, stream=1, payload=struct.pack(">IB", 0, 15))
_HELLO = client_hello()
_UPLOAD = frame(HEADERS, END_HEADERS, 1, request("POST", "/upload"))

FLOODS = [
    Flood("rapid reset", BEGUN + _streams(_reset), counted=(H2_ENDED, "resets")),
    Flood("rapid reset over TLS", BEGUN + _streams(_reset), port="tls", protocol="h2", counted=(H2_ENDED, "resets")),
    Flood("requests that the server has to reset", BEGUN + _streams(_made_to_reset)),
    Flood("PING", BEGUN, frame(PING, payload=bytes(8)) * 1_000, counted=(H2_ENDED, "frames")),
    Flood("SETTINGS", BEGUN, settings(INITIAL_WINDOW_SIZE=1_000) * 1_000, counted=(H2_ENDED, "frames")),
    Flood("PRIORITY", BEGUN, _PRIORITY * 1_000, counted=(H2_ENDED, "frames")),
    Flood("frames of unknown kinds", BEGUN, frame(99) * 1_000, counted=(H2_ENDED, "frames")),
    Flood("CONTINUATION without an end", BEGUN + frame(HEADERS, 0, 1, request()),
          frame(CONTINUATION, 0, 1, literal("x-more", "x" * 16_000)), counted=(H2_ENDED, "other")),
    Flood("empty CONTINUATION", BEGUN + frame(HEADERS, 0, 1, request()), frame(CONTINUATION, 0, 1) * 1_000),
    Flood("HPACK bomb", BEGUN + b"".join(frame(HEADERS, END_HEADERS | 1, stream, _BOMB) for stream in STREAMS[:50])),
    Flood("a body in tiny pieces", BEGUN + _UPLOAD, _TINY * 1_000),
    Flood("empty DATA", BEGUN + _UPLOAD, frame(DATA, stream=1) * 1_000, counted=(H2_ENDED, "frames")),
    Flood("WINDOW_UPDATE", BEGUN + _UPLOAD, window_update(1, 1) * 1_000, counted=(H2_ENDED, "frames")),
    Flood("malformed requests", BEGUN + b"".join(map(_malformed, STREAMS[:64])), counted=(H2_ENDED, "malformed")),
    Flood("no SETTINGS first", PREFACE + get(1) * 10, counted=(H2_ENDED, "preface")),
    Flood("a name in capitals", BEGUN + frame(HEADERS, END_HEADERS, 1, request() + literal("X-Wrong", "x"))),
    Flood("a frame that is too large", BEGUN + frame(DATA, stream=1, payload=bytes(100_000))),
    Flood("SETTINGS of a wrong length", BEGUN + frame(SETTINGS, payload=b"x")),
    Flood("a field that no table has", BEGUN + frame(HEADERS, END_HEADERS, 1, number(200, 7, 0x80))),
    Flood("HEADERS of no stream", BEGUN + frame(HEADERS, END_HEADERS, 0, request())),
    Flood("a text longer than its frame", BEGUN + frame(HEADERS, END_HEADERS, 1, b"\0" + text("x") + number(9_000, 7))),
    Flood("noise after the preface", BEGUN + os.urandom(50_000)),
    Flood("noise", os.urandom(50_000)),
    Flood("heads that are none", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: -1\r\n\r\n" * 100),
    Flood("HTTP in the clear, to TLS", b"GET / HTTP/1.1\r\nHost: edge.example\r\n\r\n", port="tls",
          counted=(TLS_FAILED, "not_tls")),
    Flood("broken records amid a handshake", _HELLO[:5] + os.urandom(len(_HELLO) - 5), port="tls",
          counted=(TLS_FAILED, "malformed")),
    Flood("half a handshake, then gone", _HELLO, port="tls", counted=(TLS_FAILED, "closed"), leaves=True),
]
SIEGES = [
    Siege("half a handshake, then silence", Behaviour(_HELLO, from_connected=True), 300,
          counted=(TLS_FAILED, "timeout")),
    Siege("handshakes a byte a second", Behaviour(_HELLO[:100], b"\0"), 300, counted=(TLS_FAILED, "timeout")),
    Siege("HTTP/2 agreed on, then silence", Behaviour(protocol="h2", from_connected=True), 100),
    Siege("heads of HTTP/2 a byte a second", Behaviour(
        BEGUN + frame(HEADERS, 1, 1, request().ljust(16_000, b"x"))[:1_000], b"x", protocol="h2"), 100),
    Siege("windows that stay shut", Behaviour(
        PREFACE + settings(INITIAL_WINDOW_SIZE=0) + b"".join(get(n, "/large") for n in range(1, 20, 2)),
        protocol="h2"), 50),
    Siege("windows of a byte a second", Behaviour(
        PREFACE + settings(INITIAL_WINDOW_SIZE=1) + get(1, "/large"), window_update(1, 1), protocol="h2"), 100),
    Siege("answers over TLS that nobody reads", Behaviour(
        b"GET /large HTTP/1.1\r\nHost: edge.example\r\n\r\n", reads=False, protocol="http/1.1"), 50),
]
