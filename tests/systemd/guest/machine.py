"""The machine that corsac is installed on: its commands, its units, its files."""

import contextlib
import os
import pathlib
import re
import subprocess
import time

CONFIG = pathlib.Path("/etc/corsac/corsac.toml")
DROP_INS = pathlib.Path("/run/systemd/system/corsac.service.d")
DEADLINE = 30  # seconds; no condition takes as long, unless it never comes


class Failed(Exception):
    """Something that must hold does not."""


def must(condition, what):
    if not condition:
        raise Failed(what)


def run(*command, ok=True):
    """Runs a command, and returns its exit code and all that it said. `ok` says whether
    it must succeed, must fail, or may do either (None)."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    says = f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}"
    must(ok is None or (done.returncode == 0) == ok, says)
    return done.returncode, done.stdout


def until(condition, what):
    """Waits until `condition()` is true, and returns what it returned."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.02)
    raise Failed(f"not within {DEADLINE} s: {what}")


def prop(name, unit="corsac.service"):
    return run("systemctl", "show", "--value", f"--property={name}", unit)[1].strip()


def main_pid():
    return int(prop("MainPID"))


def state():
    return prop("ActiveState")


def processes():
    """The processes in the service's control group: two, while an old one drains."""
    group = pathlib.Path("/sys/fs/cgroup" + prop("ControlGroup"), "cgroup.procs")
    return [int(pid) for pid in group.read_text().split()] if group.exists() else []


def status_of(pid, field):
    """A field of /proc/PID/status, such as `CapEff`."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return re.search(rf"^{field}:\s*(.*)$", text, re.MULTILINE)[1].split()


def listening():
    """Who listens on TCP: (address, port), as far as IPv4 and IPv6 in hex say."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in pathlib.Path("/proc/net", table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, port = local.split(":")
            if state == "0A":
                found.add((address, int(port, 16)))
    return found


def journal(lines=40):
    return run("journalctl", "--no-pager", "-u", "corsac.service", f"-n{lines}", ok=None)[1]


def configuration(address="127.0.0.1:8080", body="one", limits=""):
    """A configuration: a page, and what is slow, from an origin at port 9000."""
    return f"""
version = 1
[listeners.http]
address = {[address] if isinstance(address, str) else address}
[admin]
listen = "unix:/run/corsac/admin.sock"
[access_log]
output = "off"
{limits}
[upstreams.origin]
nodes = "127.0.0.1:9000"
[services.all.routes.page]
paths = "/"
respond = {{ body = "{body}" }}
[services.all.routes.slow]
paths = "/slow/*"
upstream = "origin"
"""


def write(path, text):
    """Whole or not at all: corsac watches the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.rename(path)


def start(text=None):
    """A corsac that has just been started on this configuration."""
    run("systemctl", "stop", "corsac.service", ok=None)
    write(CONFIG, text or configuration())
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed", "corsac.service", ok=None)
    run("systemctl", "start", "corsac.service")


@contextlib.contextmanager
def drop_in(text):
    """The unit with something else in it, for a while."""
    path = DROP_INS / "test.conf"
    write(path, text)
    try:
        yield
    finally:
        path.unlink()
        run("systemctl", "daemon-reload")


# What dpkg, systemd and the clock write of their own accord.
OTHERS = re.compile(
    r"^/(proc|sys|dev|run|tmp|packages|tests)(/|$)"
    r"|^/var/(cache|tmp|log/journal|log/dpkg\.log|lib/private)"
    r"|^/var/lib/systemd/(catalog|timers|random-seed|coredump)"
    r"|^/var/lib/dpkg/(status|available|info/format|lock|triggers|updates|diversions|statoverride).*"
    # The last state before a change, which passwd's and systemd's tools keep.
    r"|^/etc/(passwd|shadow|group|gshadow|\.pwd\.lock)-?$|^/etc/\.updated$|^/var/\.updated$"
)


def files():
    """Every file, folder and link, with its mode, owner and, below /etc, its text; and
    who is known."""
    found = {}
    for folder, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if not OTHERS.match(os.path.join(folder, name))]
        for name in [*folders, *names]:
            path = os.path.join(folder, name)
            if OTHERS.match(path):
                continue
            about = os.lstat(path)
            text = None
            if path.startswith("/etc/") and os.path.isfile(path):
                text = pathlib.Path(path).read_bytes()
            found[path] = (oct(about.st_mode), about.st_uid, about.st_gid, text)
    for database in ("passwd", "group", "shadow", "gshadow"):
        path = pathlib.Path("/etc", database)
        found[f"who: {database}"] = sorted(path.read_text().split()) if path.exists() else []
    found["runtime"] = os.path.exists("/run/corsac")
    return found
