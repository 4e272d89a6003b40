"""corsac out of descriptors: its clients have them all, and it must do what its operator asks."""

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

from crowd import Behaviour, Crowd

# Of corsac's process; and clients that want more.
FILES = 256
CLIENTS = 600
# How long each thing may take; an upgrade starts a process.
PATIENCE_S = 5
UPGRADE_PATIENCE_S = 65
SETTLE_S = 3


class Wrong(Exception):
    """A thing that was asked for did not happen."""


def checks(proxy, settings):
    """What was asked of corsac, whether it was done, how long that took, and what was wrong."""
    done = []

    def check(what, act):
        begun, wrong = time.monotonic(), ""
        try:
            act()
        except (Wrong, OSError, http.client.HTTPException, subprocess.SubprocessError) as trouble:
            wrong = str(trouble) or type(trouble).__name__
        done.append({"what": what, "met": not wrong, "seconds": time.monotonic() - begun, "wrong": wrong})

    kept = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE_S)
    ask(kept, "/")
    crowd = Crowd(Behaviour(), proxy.port, CLIENTS)
    try:
        settle(crowd)
        check("a connection from before is answered, and its line is in the access log",
              lambda: answered_and_logged(kept, proxy, "/before"))
        check("`/readyz` over TCP", lambda: ready(socket.create_connection, ("127.0.0.1", settings.admin_port)))
        check("`/readyz` over the admin socket", lambda: ready(unix_connection, proxy.dir / "admin.sock"))
        check("`corsac status`", lambda: command(proxy, "status"))
        check("`corsac reload --wait`", lambda: reload(proxy, settings))
        check("the access log is opened anew by SIGUSR1", lambda: rotated(kept, proxy))
        check("`corsac upgrade --wait`", lambda: upgraded(proxy))
        crowd.close()
        crowd = None
        check("new connections are served once they are gone", lambda: served_again(proxy))
    finally:
        if crowd:
            crowd.close()
        kept.close()
        end_successor(proxy)
    return done


def settle(crowd):
    """Until all are connected, or wait in the kernel's queue, and corsac has accepted those that it can."""
    end = time.monotonic() + SETTLE_S
    while time.monotonic() < end:
        crowd.turn()


def ask(connection, path):
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise Wrong(f"status {answer.status}")


def answered_and_logged(connection, proxy, path):
    ask(connection, path)
    await_line(proxy.logged, path)


def await_line(log, word):
    end = time.monotonic() + PATIENCE_S
    while word not in (log.read_text() if log.exists() else ""):
        if time.monotonic() > end:
            raise Wrong(f"{log.name} has no line with {word}")
        time.sleep(0.02)


def unix_connection(path, timeout):
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(timeout)
    stream.connect(str(path))
    return stream


def ready(connect, address):
    with connect(address, timeout=PATIENCE_S) as stream:
        stream.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head = stream.recv(4096)
    if not head.startswith(b"HTTP/1.1 200 "):
        raise Wrong(f"{head[:40]!r}")


def command(proxy, *arguments, patience=PATIENCE_S):
    try:
        ran = subprocess.run(
            [proxy.binary, arguments[0], "--socket", "admin.sock", *arguments[1:]],
            cwd=proxy.dir, capture_output=True, text=True, timeout=patience,
        )
    except subprocess.TimeoutExpired:
        raise Wrong(f"nothing within {patience} s") from None
    if ran.returncode:
        raise Wrong((ran.stderr or ran.stdout).strip()[-300:] or f"exit code {ran.returncode}")
    return ran.stdout


def reload(proxy, settings):
    proxy.write(dataclasses.replace(settings, max_age=settings.max_age + 1))
    command(proxy, "reload", "--wait")


def rotated(connection, proxy):
    proxy.logged.rename(proxy.logged.with_suffix(".old"))
    proxy.process.send_signal(signal.SIGUSR1)
    end = time.monotonic() + PATIENCE_S
    # A line that is on its way may go to the old file.
    while not proxy.logged.exists():
        if time.monotonic() > end:
            raise Wrong("there is no new file")
        time.sleep(0.02)
    answered_and_logged(connection, proxy, "/after")


def pid_of(proxy):
    return json.loads(command(proxy, "status", "--format", "json"))["pid"]


def upgraded(proxy):
    command(proxy, "upgrade", "--wait", patience=UPGRADE_PATIENCE_S)
    if pid_of(proxy) == proxy.process.pid:
        raise Wrong("the old process serves")


def served_again(proxy):
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            if proxy.ask("GET", "/")[0] == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        if time.monotonic() > end:
            raise Wrong("no answer")
        time.sleep(0.1)


def end_successor(proxy):
    """A process that an upgrade has started is not a child of this one, and must not stay."""
    with contextlib.suppress(Wrong, OSError, ValueError, KeyError, subprocess.SubprocessError):
        if (pid := pid_of(proxy)) != proxy.process.pid:
            os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + PATIENCE_S
            while pathlib.Path(f"/proc/{pid}").exists() and time.monotonic() < end:
                time.sleep(0.05)
