"""What the programs here share: corsac started, clients ended, and what a page in a browser tells."""

import contextlib
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
CERTIFICATES = HERE.parents[1] / "scripts" / "certificates"
# Nothing of a browser for so long: it hangs, or has not started.
SILENCE_S = 60
START_LIMIT_S = 30
# Nobody listens there. What a browser wants of the network, it does not get.
NOWHERE = "127.0.0.1:9"


class Failed(Exception):
    """A client has not done what it was told to; the others may."""


def start(held, corsac, folder, configuration, port):
    """Runs corsac in a folder until `held` ends, and comes back when it listens on a port."""
    (folder / "corsac.toml").write_text(configuration)
    log = held.enter_context((folder / "log").open("w+"))
    process = subprocess.Popen(
        [corsac, "run", "--config", "corsac.toml"], cwd=folder, stdout=log, stderr=log, start_new_session=True)
    held.callback(end, process)
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise SystemExit(f"corsac does not start:\n{(folder / 'log').read_text()}")


def browse(client, command, folder, reports):
    """What a page in a browser reports to a server, until it is done, or silent for too long."""
    while not reports.empty():
        reports.get()
    with (folder / f"{client}.log").open("w") as log:
        browser = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"HOME": str(folder)}, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, start_new_session=True)
    try:
        while not (report := reports.get(timeout=SILENCE_S)).get("done"):
            yield report
    except queue.Empty:
        said = (folder / f"{client}.log").read_text(errors="replace")[-1000:]
        raise Failed(f"nothing of {client} for {SILENCE_S} s:\n{said}") from None
    finally:
        end(browser)


def chromium(folder, direct, *more):
    """The command of a Chromium that reaches the hosts `direct`, and nothing else."""
    # Its sandbox does not work for root.
    unboxed = ["--no-sandbox"] if os.geteuid() == 0 else []
    return [
        program("chromium"), "--headless=new", *unboxed, f"--user-data-dir={folder / 'chromium'}",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
        "--disable-gpu", f"--proxy-server={NOWHERE}", f"--proxy-bypass-list={direct}", *more,
    ]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end(process):
    """Ends what was started here, and what that has started: it has a session of its own."""
    for ending, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def program(*names):
    found = next(filter(None, map(shutil.which, names)), None)
    return found or sys.exit(f"{names[0]} is not there: `make test-clients` installs it")
