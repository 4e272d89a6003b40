"""What a run was made on, and with what: half of what a figure means."""

import hashlib
import os
import pathlib
import platform
import re
import ssl
import subprocess
import time

from proxies import HERE, KINDS, OWN

VERSIONS = {
    "corsac": ["--version"],
    "HAProxy": ["-v"],
    "nginx": ["-v"],
    "Envoy": ["--version"],
    "Traefik": ["version"],
    "Caddy": ["version"],
    "wrk": ["-v"],
    "h2load": ["--version"],
}


def add_programs(parser):
    """The options that say where the programs are."""
    for kind in OWN:
        parser.add_argument(f"--{kind.binary}", help=f"the program of {kind.name}")
    parser.add_argument("--venv", help="the virtual environment with Envoy, Traefik and Caddy")


def programs(args):
    """The project's own programs, by name, as they were given."""
    return {kind.binary: vars(args)[kind.binary.replace("-", "_")] for kind in OWN}


def describe(tools, kinds, helpers=("wrk", "h2load", "nginx")):
    """The machine, the versions, the builds, and what else ran before the run began.

    `helpers` are who asks, and the origin.
    """
    names = [kind.name for kind in kinds]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "others_busy": _busy_cores(),
        "versions": {name: _version(tools, name) for name in VERSIONS if name in [*names, *helpers]}
        | ({"Pingora": _pingora_version()} if "bare Pingora" in names else {})
        # Of the clients that are written in Python.
        | {"OpenSSL": ssl.OPENSSL_VERSION.split()[1]},
        "builds": {kind.name: _build(tools, kind) for kind in kinds if kind in OWN},
        "programs": {kind.name: _sha256(tools.path(kind.binary)) for kind in kinds},
        "commit": _commit(),
    }


def _cpu_model():
    found = re.search(r"^model name\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    return found[1] if found else platform.machine()


def _busy_cores(seconds=2):
    """How many cores others kept busy for a while: 0 on a quiet machine."""
    before, start = _busy_ticks(), time.monotonic()
    time.sleep(seconds)
    ticks = _busy_ticks() - before
    return ticks / os.sysconf("SC_CLK_TCK") / (time.monotonic() - start)


def _busy_ticks():
    user, nice, system, _idle, _wait, irq, softirq, steal = map(
        int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return user + nice + system + irq + softirq + steal


def _version(tools, name):
    binary = next((kind.binary for kind in KINDS if kind.name == name), name)
    found = re.search(r"\d+\.\d+\.\d+", _says(tools, binary, *VERSIONS[name]))
    return found[0] if found else "?"


def _build(tools, kind):
    found = re.search(r"^build: (.*)$", _says(tools, kind.binary, "--version"), re.M)
    return found[1] if found else "?"


def _says(tools, binary, *arguments):
    ran = subprocess.run([tools.path(binary), *arguments], capture_output=True, text=True)
    return ran.stdout + ran.stderr


def _sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def _pingora_version():
    lock = (HERE / "bare-pingora" / "Cargo.lock").read_text()
    return re.search(r'name = "pingora"\nversion = "(.*?)"', lock)[1]


def _commit():
    git = ["git", "-C", HERE]
    try:
        commit = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain", "--", "../src", "../Cargo.lock"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return "?"
    return commit + (", with changes" if changed else "")
