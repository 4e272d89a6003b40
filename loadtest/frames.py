"""HTTP/2 frame by frame, as little of it as clients need that measure or annoy (RFC 9113)."""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4
WINDOW_MAX = (1 << 31) - 1
WINDOW_FIRST = 65_535
CANCEL = 8
# `:status: 200` in the static table (RFC 7541, appendix A).
STATUS_200 = 0x88


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**of):
    """`settings(INITIAL_WINDOW_SIZE=0)`: a frame of them."""
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", globals()[name], value) for name, value in of.items()))


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, stream=stream, payload=struct.pack(">I", increment))


def number(value, bits, first=0):
    """An integer with a prefix of so many bits (RFC 7541, 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    value, made = value - most, [first | most]
    while value >= 128:
        made.append(value % 128 | 128)
        value //= 128
    return bytes([*made, value])


def text(words):
    return number(len(words), 7) + words.encode()


def literal(name, value, indexed=False):
    """A field; `indexed`: the receiver is to keep it in its table (RFC 7541, 6.2)."""
    return (b"\x40" if indexed else b"\x00") + text(name) + text(value)


def request(method="GET", path="/", **more):
    """The block of a request's head."""
    fields = {":method": method, ":scheme": "https", ":authority": "edge.example", ":path": path} | more
    return b"".join(literal(name, value) for name, value in fields.items())


def get(stream, path="/", **more):
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, request(path=path, **more))


class Reader:
    """Frames out of bytes as they come."""

    def __init__(self):
        self.rest = b""

    def frames(self, data):
        """(kind, flags, stream, payload) of each that is whole."""
        self.rest += data
        at = 0
        while len(self.rest) >= at + 9:
            length = int.from_bytes(self.rest[at:at + 3])
            if len(self.rest) < at + 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self.rest, at + 3)
            yield kind, flags, stream & WINDOW_MAX, self.rest[at + 9:at + 9 + length]
            at += 9 + length
        self.rest = self.rest[at:]


class Http2:
    """An honest client's connection, over a socket that blocks; one request at a time."""

    def __init__(self, stream):
        self.stream, self.reader, self.next = stream, Reader(), 1
        stream.sendall(PREFACE + settings(INITIAL_WINDOW_SIZE=WINDOW_MAX)
                       + window_update(0, WINDOW_MAX - WINDOW_FIRST))

    def ask(self, path="/", body=b"hello, hello, hello\n", **more):
        """Whether 200 came with this body, and the connection goes on."""
        mine, self.next = self.next, self.next + 2
        self.stream.sendall(get(mine, path, **more))
        answered, came = False, b""
        while data := self.stream.recv(65536):
            ended = False
            for kind, flags, stream, payload in self.reader.frames(data):
                if kind == SETTINGS and not flags & ACK:
                    self.stream.sendall(frame(SETTINGS, ACK))
                elif kind == PING and not flags & ACK:
                    self.stream.sendall(frame(PING, ACK, payload=payload))
                elif kind == GOAWAY or (kind == RST_STREAM and stream == mine):
                    return False
                elif kind == HEADERS and stream == mine:
                    # A change of the table's size may stand before it (RFC 7541, 6.3).
                    answered |= payload.lstrip(b"\x20")[:1] == bytes([STATUS_200])
                elif kind == DATA and stream == mine:
                    came += payload
                ended |= kind in (HEADERS, DATA) and stream == mine and bool(flags & END_STREAM)
            if ended:
                return answered and came == body
        return False

    def close(self):
        self.stream.close()
