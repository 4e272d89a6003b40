"""The proxies: their configurations, and how each is started, reloaded, counted and stopped.

A configuration is a template of `peers/`, where `@NAME@` is a value. A value of several
lines stands alone on its line and takes that line's indentation.
"""

import dataclasses
import functools
import http.client
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
APP = "https://app.example.com"
START_LIMIT_S = 120
STOP_LIMIT_S = 20
# Open files of a proxy: as many as it may want, and as few as 10,000 idle connections need.
FILES_MAX = 65_536
FILES_MIN = 12_000


class Failed(Exception):
    """Something of a run did not go as it must; the rest of the run may."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What of a configuration differs between scenarios."""

    routes: int = 0  # 0: one route for everything
    origins: int = 1  # listed; one of them is `APP`, unless there are more
    max_age: int = 600  # in seconds
    log: bool = False  # whether there is an access log, in a file
    tls: bool = False  # whether it speaks TLS, and HTTP/2 to who wants it
    # Of corsac alone:
    cors: bool = True
    threads: int = 1

    def origin_list(self):
        if self.origins == 1:
            return [APP]
        return [f"https://o{n}.example.com" for n in range(self.origins)]

    def prefixes(self):
        return [f"/api/r{n}/" for n in range(self.routes)]


@dataclasses.dataclass(frozen=True)
class Kind:
    """One sort of proxy."""

    name: str
    binary: str  # its key in `Tools`
    arguments: list[str]  # `@NAME@` as in templates
    templates: list[str] = dataclasses.field(default_factory=list)
    origins: Callable[[list[str]], str] = lambda origins: ""
    routes: Callable[[list[str]], str] = lambda prefixes: ""
    # Its access log: in the file at this path, or none.
    log: Callable[[pathlib.Path | None], str] = lambda path: ""
    logs_to_stdout: bool = False
    # What stands for these names of a template, or of `arguments`, where it speaks TLS; otherwise nothing does.
    tls: dict[str, str] = dataclasses.field(default_factory=dict)
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    # What makes it read its files again; None: a file that is replaced does.
    reload: Callable[["Proxy"], None] | None = None
    reloads: bool = True
    # What runs it, such as a program that lowers a limit.
    under: tuple[str, ...] = ()

    @property
    def slug(self):
        """Its name on the command line."""
        return self.name.replace(" ", "-").lower()


def _lines(lines):
    return "\n".join(lines)


def _quoted(origins):
    return ", ".join(f'"{origin}"' for origin in origins)


def _corsac_routes(prefixes):
    if not prefixes:
        return '[services.app.routes.all]\npaths = "/*"'
    return _lines(
        f'[services.app.routes.r{n}]\npaths = "{prefix}:id"' for n, prefix in enumerate(prefixes)
    )


def _nginx_routes(prefixes):
    if not prefixes:
        return "location / {\n    proxy_pass http://app;\n}"
    return _lines(
        [f"location {prefix} {{ proxy_pass http://app; }}" for prefix in prefixes]
        + ["location / { return 404; }"]
    )


def _haproxy_routes(prefixes):
    if not prefixes:
        return "default_backend app"
    return "use_backend app if { path -m beg -f @DIR@/routes.lst }"


def _envoy_routes(prefixes):
    if not prefixes:
        return 'routes:\n  - match: { prefix: "/" }\n    route: { cluster: app }'
    # A list of routes is searched one by one; this is Envoy's way to have many.
    head = """matcher:
  matcher_tree:
    input:
      name: path
      typed_config:
        "@type": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput
        header_name: ":path"
    prefix_match_map:
      map:"""
    route = (
        '{ action: { name: route, typed_config: { "@type": '
        "type.googleapis.com/envoy.config.route.v3.Route, "
        'match: { prefix: "/" }, route: { cluster: app } } } }'
    )
    return _lines([head, *(f'        "{prefix}": {route}' for prefix in prefixes)])


def _traefik_routes(prefixes):
    rest = "entryPoints: [web], middlewares: [cors], service: app }"
    return _lines(
        f'r{n}: {{ rule: "PathPrefix(`{prefix}`)", {rest}'
        for n, prefix in enumerate(prefixes or ["/"])
    )


def _caddy_routes(prefixes):
    if not prefixes:
        return "import edge"
    return _lines(
        ["@routed {", *(f"\tpath {prefix}*" for prefix in prefixes), "}"]
        + ["handle @routed {", "\timport edge", "}", "handle {", "\trespond 404", "}"]
    )


def _corsac_log(path):
    return f'output = "{path or "off"}"'


def _haproxy_log(path):
    # It writes to descriptors and sockets, never to files: its output is the file.
    return "log stdout format raw local0 info\noption httplog" if path else ""


def _nginx_log(path):
    # It alone has to be told to gather lines. The others do so by themselves, or cannot.
    return f"access_log {path} combined buffer=64k flush=1s;" if path else "access_log off;"


def _envoy_log(path):
    return "access_log:" + (
        f"""
  - name: envoy.access_loggers.file
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
      path: "{path}\""""
        if path
        else " []"
    )


def _traefik_log(path):
    return f'accessLog: {{ filePath: "{path}", bufferingSize: 1000 }}' if path else ""


def _caddy_log(path):
    return f"log {{\n\toutput file {path} {{\n\t\troll_disabled\n\t}}\n}}" if path else ""


_ENVOY_TLS = """transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
    common_tls_context:
      alpn_protocols: [h2, http/1.1]
      tls_certificates:
        - certificate_chain: { filename: "@DIR@/cert.pem" }
          private_key: { filename: "@DIR@/key.pem" }"""


@functools.cache
def certificate():
    """A certificate for P-256 and its key, in PEM, of this run's own: the same for all proxies."""
    with tempfile.TemporaryDirectory() as folder:
        cert, key = pathlib.Path(folder, "cert.pem"), pathlib.Path(folder, "key.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "30", "-subj", "/CN=edge.example", "-addext", "subjectAltName=DNS:edge.example,IP:127.0.0.1",
             "-keyout", key, "-out", cert],
            check=True, capture_output=True,
        )
        return cert.read_text(), key.read_text()


def _run(proxy, *arguments):
    subprocess.run(
        [proxy.binary, *arguments],
        cwd=proxy.dir, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )


CORSAC = Kind(
    "corsac", "corsac", ["run", "--config", "corsac.toml"], ["corsac.toml"],
    origins=_quoted, routes=_corsac_routes, log=_corsac_log,
    tls={"TLS": 'tls = { cert = "cert.pem", key = "key.pem" }'},
    reload=lambda proxy: _run(proxy, "reload", "--wait", "--socket", "admin.sock"),
)
BARE = Kind(
    "bare Pingora", "bare-pingora", ["@LISTEN@", "@ORIGIN@", "@CERTIFICATE@", "@KEY@"], reloads=False,
    tls={"CERTIFICATE": "@DIR@/cert.pem", "KEY": "@DIR@/key.pem"},
)
# Built without a profile, to say what of a ratio is the build's.
PLAIN_CORSAC = dataclasses.replace(CORSAC, name="plain corsac", binary="plain-corsac")
PLAIN_BARE = dataclasses.replace(BARE, name="plain bare Pingora", binary="plain-bare-pingora")
# Who is compared within 2 %, and so is measured more often than the others.
OWN = [CORSAC, BARE, PLAIN_CORSAC, PLAIN_BARE]
PLAIN = [PLAIN_CORSAC, PLAIN_BARE]
KINDS = [
    CORSAC,
    BARE,
    Kind(
        "HAProxy", "haproxy", ["-W", "-db", "-f", "haproxy.cfg"], ["haproxy.cfg"],
        routes=_haproxy_routes, log=_haproxy_log, logs_to_stdout=True,
        tls={"TLS": "ssl crt @DIR@/both.pem alpn h2,http/1.1"},
        reload=lambda proxy: proxy.process.send_signal(signal.SIGUSR2),
    ),
    Kind(
        "nginx", "nginx", ["-p", "@DIR@", "-e", "@DIR@/error.log", "-c", "@DIR@/nginx.conf"],
        ["nginx.conf"],
        origins=lambda origins: _lines(f'"{origin}" $http_origin;' for origin in origins),
        routes=_nginx_routes, log=_nginx_log,
        # Its own default, of this version, is without TLS 1.3.
        tls={"TLS": "ssl http2", "CERTIFICATE": _lines([
            "ssl_certificate @DIR@/cert.pem;", "ssl_certificate_key @DIR@/key.pem;",
            "ssl_protocols TLSv1.2 TLSv1.3;",
        ])},
        reload=lambda proxy: proxy.process.send_signal(signal.SIGHUP),
    ),
    Kind(
        "Envoy", "envoy",
        ["-c", "envoy.yaml", "--concurrency", "1", "--disable-hot-restart", "-l", "error"],
        ["envoy.yaml", "envoy-listener.yaml"],
        origins=lambda origins: _lines(f'- exact: "{origin}"' for origin in origins),
        routes=_envoy_routes, log=_envoy_log, tls={"TLS": _ENVOY_TLS},
    ),
    Kind(
        "Traefik", "traefik", ["--configFile=@DIR@/traefik.yaml"],
        ["traefik.yaml", "traefik-dynamic.yaml"],
        origins=_quoted, routes=_traefik_routes, log=_traefik_log, environment={"GOMAXPROCS": "1"},
        tls={
            "TLS": "http: { tls: {} }",
            "CERTIFICATE": "tls: { certificates: [{ certFile: @DIR@/cert.pem, keyFile: @DIR@/key.pem }], "
            "stores: { default: { defaultCertificate: { certFile: @DIR@/cert.pem, keyFile: @DIR@/key.pem } } } }",
        },
    ),
    Kind(
        "Caddy", "caddy", ["run", "--config", "Caddyfile"], ["Caddyfile"],
        origins=lambda origins: _lines(f"header Origin {origin}" for origin in origins),
        routes=_caddy_routes, log=_caddy_log, tls={"TLS": "tls @DIR@/cert.pem @DIR@/key.pem"}, environment={"GOMAXPROCS": "1"},
        reload=lambda proxy: _run(
            proxy, "reload", "--force", "--config", "Caddyfile",
            "--address", f"unix/{proxy.dir}/admin.sock",
        ),
    ),
    *PLAIN,
]
ORIGIN = Kind(
    "origin", "nginx", ["-p", "@DIR@", "-e", "@DIR@/error.log", "-c", "@DIR@/origin.conf"],
    ["origin.conf"],
)


class Tools:
    """Where the programs are: given, on the PATH, or in the virtual environment."""

    def __init__(self, built, venv=None):
        """`built` are programs of the project, by name, and their paths."""
        self.paths = dict(built)
        if venv:
            # Envoy's wheel has a script in bin/, and the program beside its modules.
            envoy = next(pathlib.Path(venv).glob("lib/*/site-packages/envoy/_bin/envoy"), None)
            self.paths |= {"envoy": envoy, **{n: f"{venv}/bin/{n}" for n in ("traefik", "caddy")}}
        search = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
        self.paths |= {n: shutil.which(n, path=search) for n in ("nginx", "haproxy", "wrk", "h2load", "python3")}

    def has(self, name):
        path = self.paths.get(name)
        return bool(path) and os.path.exists(path)

    def path(self, name):
        path = self.paths.get(name)
        if not self.has(name):
            raise SystemExit(f"{name} is not there ({path}): `make loadtest` installs it")
        return os.path.abspath(path)


class Proxy:
    """A process of a kind, on a free port of the loopback, with a folder of its own."""

    def __init__(self, kind, folder, tools, cores, origin=None, settings=Settings()):
        self.kind = kind
        self.origin = origin
        self.dir = pathlib.Path(folder)
        self.dir.mkdir(parents=True)
        self.port = free_port()
        self.tls = settings.tls
        self.binary = tools.path(kind.binary)
        # Not in its folder: corsac reads its configuration again when something changes there.
        self.said = self.dir.with_name(f"{self.dir.name}.said")
        # It is there already, so that all append, and it can be cut off at any time.
        self.logged = self.dir.with_name(f"{self.dir.name}.access.log")
        self.logged.touch()
        self.write(settings)
        # One that stands for nothing is none.
        arguments = [each for argument in kind.arguments if (each := fill(argument, self.values(settings)))]
        with self.said.open("ab") as said, self.logged.open("ab") as logged:
            self.process = subprocess.Popen(
                # It ends with this process, however that ends.
                ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", cores, *kind.under, self.binary, *arguments],
                cwd=self.dir, env=os.environ | kind.environment, stdin=subprocess.DEVNULL,
                stdout=logged if kind.logs_to_stdout else subprocess.DEVNULL, stderr=said,
                start_new_session=True,
            )
        self._await_ready(settings)

    def values(self, settings):
        """What stands for the names of a template."""
        origins, prefixes = settings.origin_list(), settings.prefixes()
        values = {
            "ROUTES": self.kind.routes(prefixes), "ORIGINS": self.kind.origins(origins),
            "DIR": self.dir, "LISTEN": f"127.0.0.1:{self.port}", "PORT": self.port,
            "MAX_AGE": settings.max_age, "CORS": '"app"' if settings.cors else "false",
            "LOG": self.kind.log(self.logged if settings.log else None), "THREADS": settings.threads,
            "SCHEME": "https" if settings.tls else "http",
        }
        for name, text in self.kind.tls.items():
            values[name] = fill(text, {"DIR": self.dir}) if settings.tls else ""
        if self.origin:
            values["ORIGIN_PORT"] = self.origin.port
            values["ORIGIN"] = f"127.0.0.1:{self.origin.port}"
        return values

    def write(self, settings):
        """Writes the configuration, each file in one step."""
        values = self.values(settings)
        texts = {name: fill((HERE / "peers" / name).read_text(), values) for name in self.kind.templates}
        # HAProxy has its lists in files.
        texts["origins.lst"] = _lines(settings.origin_list()) + "\n"
        texts["routes.lst"] = _lines(settings.prefixes()) + "\n"
        if settings.tls:
            cert, key = certificate()
            texts |= {"cert.pem": cert, "key.pem": key, "both.pem": cert + key}
        for name, text in texts.items():
            fresh = self.dir / f"{name}.fresh"
            fresh.write_text(text)
            if name in ("key.pem", "both.pem"):
                fresh.chmod(0o600)
            fresh.rename(self.dir / name)

    def reload(self, settings):
        self.write(settings)
        if self.kind.reload:
            self.kind.reload(self)

    def _await_ready(self, settings):
        path = "/api/r0/7" if settings.routes else "/"
        end = time.monotonic() + START_LIMIT_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self.ask("GET", path)[0] == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.02)
        self.stop()
        said = self.said.read_text(errors="replace")[-2000:]
        raise Failed(f"{self.kind.name} does not start:\n{said}")

    def base(self):
        """What URLs begin with."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def ask(self, method, path, headers=(), body=None, http2=False):
        """One request: its status, headers as (lower-case name, value), and body."""
        if http2:
            return self._ask_http2(method, path, dict(headers))
        connection = (
            http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=trusting())
            if self.tls else http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        )
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            fields = [(name.lower(), value) for name, value in answer.getheaders()]
            return answer.status, fields, answer.read()
        finally:
            connection.close()

    def _ask_http2(self, method, path, headers):
        """The same by curl, which shows a head of HTTP/2 as text."""
        more = [part for header in headers.items() for part in ("-H", ": ".join(header))]
        ran = subprocess.run(
            ["curl", "-sSki", "--http2", "-X", method, *more, self.base() + path], capture_output=True, timeout=10,
        )
        head, _, body = ran.stdout.partition(b"\r\n\r\n")
        first, *lines = head.decode(errors="replace").split("\r\n")
        spoken, _, status = first.strip().partition(" ")
        if spoken != "HTTP/2":
            raise Failed(f"{self.kind.name} does not answer by HTTP/2: {first!r} {ran.stderr.decode()}")
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        return int(status), fields, body

    def admin(self, path):
        """What corsac's admin socket answers."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self.dir / "admin.sock"))
            stream.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: stream.recv(65536), b""))
        return answer.partition(b"\r\n\r\n")[2].decode()

    def pids(self):
        """Its process, and all that this has started."""
        return _tree(self.process.pid)

    def cpu_ns(self):
        """CPU time of all its threads and processes, from the kernel's own clocks."""
        return sum(_cpu_ns(pid) for pid in self.pids())

    def memory_kib(self):
        """Resident memory of all its processes; what they share counts for each."""
        return sum(_memory_kib(pid) for pid in self.pids())

    def logged_bytes(self):
        # What there is, not where it ends: HAProxy goes on where it was before its file was cut off.
        return self.logged.stat().st_blocks * 512

    def forget_log(self):
        """Cut off before the kernel writes it to a disk, which would be measured, too."""
        os.truncate(self.logged, 0)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                pass
        # Workers that an old configuration has left: the session is the proxy's own.
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def fill(template, values):
    """The template with its values; a value may have names of its own."""
    def block(match):
        indent, name = match.groups()
        if name not in values:
            return match[0]
        return "\n".join(indent + line for line in str(values[name]).split("\n"))

    def word(match):
        return str(values.get(match[1], match[0]))

    text = re.sub(r"^([ \t]*)@([A-Z_]+)@$", block, template, flags=re.MULTILINE)
    return re.sub(r"@([A-Z_]+)@", word, text)


def start_origin(folder, tools, cores):
    """The origin behind all of them, with a file of 1 MiB at /1m."""
    origin = Proxy(ORIGIN, folder, tools, cores)
    (origin.dir / "1m").write_bytes(bytes(range(256)) * 4096)
    return origin


def prepare_process():
    """Raises the limit of open files, also for what is started; has signals end what was started."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit("stopped"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, max(FILES_MAX, hard)))
    except (ValueError, OSError):
        if hard < FILES_MIN:
            raise SystemExit(f"it needs {FILES_MIN} open files: ulimit -Hn says {hard}") from None
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def trusting(protocol="http/1.1"):
    """A client's side of TLS that trusts every certificate: what is measured is the other side."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_alpn_protocols([protocol])
    return made


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _tree(pid):
    pids = [pid]
    for parent in pids:
        for thread in pathlib.Path(f"/proc/{parent}/task").glob("*"):
            try:
                pids += map(int, (thread / "children").read_text().split())
            except (FileNotFoundError, ProcessLookupError):
                pass
    return pids


def _cpu_ns(pid):
    try:
        # The clock of another process: clock_getcpuclockid(3). Unlike /proc, it counts in
        # nanoseconds, and keeps the time of threads that have ended.
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return 0


def _memory_kib(pid):
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) if found else 0
