"""Thousands of hostile clients in one thread: what they do, and how each of them ends."""

import collections
import dataclasses
import errno
import pathlib
import re
import select
import socket
import ssl
import sys
import time

import frames
from proxies import trusting

# Clients of one source address: far fewer than the ports that the system lends to one.
CLIENTS_PER_ADDRESS = 1_000
CONNECTS_A_SECOND = 3_000
CONNECT_LIMIT_S = 60
# How many are amid a handshake: more would wait for this thread, and not for the proxy.
SHAKING_MAX = 128
# What a client takes into its kernel: little, as of a phone on a bad line.
RECEIVE_BUFFER = 4_096
# The segments of Ethernet. Loopback's have 64 KiB, and the kernel would take megabytes from the proxy.
SEGMENT = 1_448
READABLE = select.EPOLLIN | select.EPOLLRDHUP
# States of /proc/net/tcp in which a connection is a client's, accepted or not: established, about to be,
# closed by the client. In others, such as FIN-WAIT, it is so as long as a process holds it.
OPEN_STATES = {"01", "03", "08"}
HALF_CLOSED_STATES = {"04", "05"}


@dataclasses.dataclass(frozen=True)
class Behaviour:
    """What each client of a crowd does once it is connected."""

    opening: bytes = b""
    # A byte each second; none: silence.
    drips: bytes = b""
    reads: bool = True
    # What they agree on over TLS before, "http/1.1" or "h2"; none: what they send is sent as it is.
    protocol: str | None = None
    # Whether a limit is from the connection on, and not from the handshake's end.
    from_connected: bool = False


class Client:
    __slots__ = (
        "address", "begun", "connected", "ended", "how", "incoming", "outgoing", "reader", "status", "stream", "tls",
        "unsent", "wanted",
    )

    def __init__(self, stream):
        self.stream = stream
        self.unsent = b""
        self.wanted = select.EPOLLOUT
        # As /proc/net/tcp has it; when it was connected, and its handshake done; when and how it was ended;
        # what it was answered.
        self.address = self.connected = self.begun = self.ended = self.how = self.status = None
        self.tls = self.incoming = self.outgoing = self.reader = None

    def shaken(self, context):
        """Its side of TLS, over bytes that it sends and receives itself."""
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)


class Crowd:
    """Clients of one behaviour. `turn` does what is due; nothing happens between two turns."""

    def __init__(self, behaviour, port, count):
        self.behaviour = behaviour
        self.target = ("127.0.0.1", port)
        self.count = count
        self.start = time.monotonic()
        self.clients = []
        self.by_descriptor = {}
        self.connecting = 0
        self.drips = collections.deque()
        self.epoll = select.epoll()
        self.context = trusting(behaviour.protocol) if behaviour.protocol else None

    def close(self):
        for client in self.by_descriptor.values():
            client.stream.close()
        self.by_descriptor.clear()
        self.epoll.close()

    def all_begun(self):
        return len(self.clients) == self.count and not self.connecting

    def open(self):
        """How many are connected and have not been ended."""
        return len(self.by_descriptor) - self.connecting

    def turn(self, seconds=0.02):
        self._connect_due()
        for descriptor, events in self.epoll.poll(seconds, 4096):
            client = self.by_descriptor.get(descriptor)
            if client is None:
                continue
            if events & select.EPOLLOUT and client.connected is None:
                self._connected(client)
            elif events & select.EPOLLOUT:
                self._send(client)
            elif events & (select.EPOLLERR | select.EPOLLHUP) and not self._reads(client):
                self._end(client, "reset")
            elif events & select.EPOLLRDHUP and not self._reads(client):
                self._end(client, "closed")
            else:
                self._read(client)
        self._drip_due()

    def _connect_due(self):
        due = min(self.count, int((time.monotonic() - self.start) * CONNECTS_A_SECOND) + 1)
        while len(self.clients) < due and not (self.context and self.connecting >= SHAKING_MAX):
            client = Client(socket.socket())
            stream = client.stream
            stream.setblocking(False)
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream.bind((source_address(len(self.clients)), 0))
            self.clients.append(client)
            self.by_descriptor[stream.fileno()] = client
            self.connecting += 1
            self.epoll.register(stream.fileno(), select.EPOLLOUT)
            if stream.connect_ex(self.target) not in (0, errno.EINPROGRESS):
                self._end(client, "not connected")

    def _connected(self, client):
        if client.stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._end(client, "not connected")
            return
        client.connected = time.monotonic()
        client.address = table_address(*client.stream.getsockname())
        if self.context:
            client.shaken(self.context)
            self._shake(client)
        else:
            self._begin(client)

    def _shake(self, client):
        try:
            client.tls.do_handshake()
        except ssl.SSLWantReadError:
            client.unsent += client.outgoing.read()
            self._send(client)
        except ssl.SSLError:
            self._end(client, "refused")
        else:
            if self.behaviour.protocol == "h2":
                client.reader = frames.Reader()
            self._begin(client)

    def _begin(self, client):
        self.connecting -= 1
        client.begun = client.connected if self.behaviour.from_connected else time.monotonic()
        if self.behaviour.drips:
            self.drips.append((time.monotonic() + 1, client))
        self._say(client, self.behaviour.opening)

    def _say(self, client, words):
        if client.tls:
            if words:
                client.tls.write(words)
            words = client.outgoing.read()
        client.unsent += words
        self._send(client)

    def _reads(self, client):
        return self.behaviour.reads or client.begun is None

    def _send(self, client):
        try:
            if client.unsent:
                client.unsent = client.unsent[client.stream.send(client.unsent):]
        except BlockingIOError:
            pass
        except OSError:
            # An answer may have come before the end did.
            client.unsent = b""
        wanted = READABLE if self._reads(client) else select.EPOLLRDHUP
        wanted |= select.EPOLLOUT if client.unsent else 0
        if wanted != client.wanted:
            client.wanted = wanted
            self.epoll.modify(client.stream.fileno(), wanted)

    def _drip_due(self):
        now = time.monotonic()
        while self.drips and self.drips[0][0] <= now:
            due, client = self.drips.popleft()
            if client.ended is None:
                self.drips.append((due + 1, client))
                if not client.unsent:
                    self._say(client, self.behaviour.drips)

    def _read(self, client):
        try:
            answer = client.stream.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            self._end(client, "reset")
            return
        if not answer:
            self._end(client, "closed")
            return
        if client.tls:
            client.incoming.write(answer)
            if client.begun is None:
                self._shake(client)
                return
            answer = decrypted(client.tls)
        if client.reader:
            self._read_frames(client, answer)
        elif answer and client.status is None:
            client.status = status_of(answer)

    def _read_frames(self, client, answer):
        for kind, flags, _, payload in client.reader.frames(answer):
            is_amid = self.behaviour.drips or not self.behaviour.opening
            if kind == frames.SETTINGS and not flags & frames.ACK and not is_amid:
                # Before the preface, and amid a frame, there is no room for it.
                self._say(client, frames.frame(frames.SETTINGS, frames.ACK))
            elif kind == frames.RST_STREAM:
                client.status = f"RST_STREAM {int.from_bytes(payload)}"
                self._end(client, "stream ended")
                return
            elif kind == frames.GOAWAY:
                client.status = f"GOAWAY {int.from_bytes(payload[4:8])}"

    def _end(self, client, how):
        if client.begun is None:
            self.connecting -= 1
        client.ended, client.how = time.monotonic(), how
        del self.by_descriptor[client.stream.fileno()]
        client.stream.close()

    def note_closed(self, held):
        """Ends those whose connection the proxy does not hold: who does not read sees no end of an answer."""
        for client in list(self.by_descriptor.values()):
            if client.begun is not None and client.address not in held:
                self._end(client, "closed")


def decrypted(tls):
    """What has come that can be read; nothing after the other side's last word."""
    plain = b""
    try:
        while more := tls.read(16_384):
            plain += more
    except ssl.SSLError:
        pass
    return plain


def client_hello():
    """The first bytes of a client of TLS."""
    outgoing = ssl.MemoryBIO()
    try:
        trusting().wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def source_address(number):
    """Another address of the loopback for each thousand; the first is left to others."""
    return f"127.0.0.{2 + number // CLIENTS_PER_ADDRESS}"


def table_address(address, port):
    """An address as the kernel writes it into its table: the bytes of the address turned about."""
    return f"{int.from_bytes(socket.inet_aton(address), sys.byteorder):08X}:{port:04X}"


def status_of(answer):
    """Of an answer's first bytes; 0: they are no answer."""
    found = re.match(rb"HTTP/1\.[01] (\d{3})\b", answer)
    return int(found[1]) if found else 0


def held_connections(port, table=None):
    """Addresses of clients whose connection to `port` is not given up, as /proc/net/tcp has them."""
    table = pathlib.Path("/proc/net/tcp").read_text() if table is None else table
    suffix = f":{port:04X}"
    held = set()
    for line in table.splitlines()[1:]:
        words = line.split()
        if not words[1].endswith(suffix):
            continue
        # What no process has any more has no inode: the kernel sends what is left of it.
        if words[3] in OPEN_STATES or (words[3] in HALF_CLOSED_STATES and words[9] != "0"):
            held.add(words[2])
    return held


def ends(clients):
    """How many were ended, how, by what status, and after how many seconds: first, median, last."""
    begun = [client for client in clients if client.begun is not None]
    ended = [client for client in begun if client.ended is not None]
    seconds = sorted(client.ended - client.begun for client in ended)
    return {
        "begun": len(begun),
        "ended": len(ended),
        "how": dict(collections.Counter(client.how for client in ended)),
        "statuses": dict(collections.Counter(str(client.status) for client in begun if client.status is not None)),
        "ended_s": [seconds[0], seconds[len(seconds) // 2], seconds[-1]] if seconds else [],
    }
