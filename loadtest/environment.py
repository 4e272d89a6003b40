"""What a run was made on, and with what: half of what a figure means."""

import os
import pathlib
import platform
import re
import subprocess
import time

from proxies import CORSACS, HERE, KINDS

VERSIONS = {
    **dict.fromkeys(CORSACS, ["--version"]),
    "HAProxy": ["-v"],
    "nginx": ["-v"],
    "Envoy": ["--version"],
    "Traefik": ["version"],
    "Caddy": ["version"],
    "wrk": ["-v"],
}


def describe(tools, names):
    """The machine, the versions, corsac's builds, and what else ran before the run began."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "others_busy": _busy_cores(),
        "versions": {name: _version(tools, name) for name in VERSIONS if name in [*names, "wrk", "nginx"]}
        | ({"bare Pingora": _pingora_version()} if "bare Pingora" in names else {}),
        "builds": {name: _build(tools, name) for name in CORSACS if name in names},
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
    found = re.search(r"\d+\.\d+\.\d+", _says(tools, name))
    return found[0] if found else "?"


def _build(tools, name):
    found = re.search(r"^build: (.*)$", _says(tools, name), re.M)
    return found[1] if found else "?"


def _says(tools, name):
    """What it says of its version."""
    binary = next((kind.binary for kind in KINDS if kind.name == name), name)
    ran = subprocess.run([tools.path(binary.lower()), *VERSIONS[name]], capture_output=True, text=True)
    return ran.stdout + ran.stderr


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
