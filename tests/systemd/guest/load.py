"""What is sent at corsac while something happens to it, and what came of it."""

import http.server
import re
import signal
import socket
import subprocess
import threading
import time

PIECE = b"x" * 16384


class Load:
    """wrk from begin to end of a `with` block, twice: on connections that are kept, and
    with a connection for each request. Then `sent` and `failed` are known."""

    def __init__(self, url):
        self.url = url

    def __enter__(self):
        command = ["wrk", "--threads=1", "--connections=8", "--duration=600s", "--timeout=10s"]
        self.processes = [
            subprocess.Popen([*command, *headers, self.url], stdout=subprocess.PIPE, text=True)
            for headers in ([], ["--header", "Connection: close"])
        ]
        time.sleep(1)  # of load before anything happens
        return self

    def __exit__(self, *_):
        time.sleep(1)  # and after
        self.report = []
        for process in self.processes:
            process.send_signal(signal.SIGINT)  # on which it sums up
            self.report.append(process.communicate()[0])
        self.sent = self._sum(r"(\d+) requests in")
        self.refused = self._sum(r"Socket errors: connect (\d+)")
        cut = self._sum(r"connect \d+, read (\d+)") + self._sum(r"write (\d+), timeout")
        cut += self._sum(r"timeout (\d+)")
        self.failed = self.refused + cut + self._sum(r"Non-2xx or 3xx responses: (\d+)")

    def _sum(self, pattern):
        return sum(int(number) for text in self.report for number in re.findall(pattern, text))

    def __str__(self):
        return f"{self.sent} requests sent, {self.failed} failed"


class Download(threading.Thread):
    """A download that takes its time: `/slow/SECONDS` of an `Origin` behind corsac."""

    def __init__(self, port, seconds):
        super().__init__(daemon=True)
        self.stream = socket.create_connection(("127.0.0.1", port))
        self.stream.sendall(f"GET /slow/{seconds} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.stream.recv(1)
        self.length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        self.received = 0
        self.ended = None
        self.start()

    def run(self):
        while self.received < self.length:
            piece = self.stream.recv(65536)
            if not piece:
                break
            self.received += len(piece)
        self.ended = time.monotonic()

    def is_whole(self):
        self.join(60)
        return self.received == self.length

    def __str__(self):
        return f"{self.received} of {self.length} bytes arrived"


class Origin(http.server.BaseHTTPRequestHandler):
    """Answers `/slow/SECONDS` with ten pieces a second."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        pieces = 10 * int(self.path.rsplit("/", 1)[1])
        self.send_response(200)
        self.send_header("Content-Length", str(pieces * len(PIECE)))
        self.end_headers()
        try:
            for _ in range(pieces):
                self.wfile.write(PIECE)
                time.sleep(0.1)
        except OSError:
            pass  # corsac has gone; whoever asked knows

    def log_message(self, *_):
        pass

    @classmethod
    def serve(cls, port):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), cls)
        threading.Thread(target=server.serve_forever, daemon=True).start()


def get(port, path="/", address="127.0.0.1", timeout=10):
    """The status and the body of one request on a connection of its own."""
    with socket.create_connection((address, port), timeout) as stream:
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: stream.recv(65536), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


def answers(port, path="/", address="127.0.0.1"):
    """Whether a request is answered with 200."""
    try:
        return get(port, path, address)[0] == 200
    except (OSError, IndexError):
        return False
