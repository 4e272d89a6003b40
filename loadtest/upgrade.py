#!/usr/bin/env python3
"""What an upgrade costs its clients: nothing, or this fails.

`make loadtest-upgrade` runs it; it needs wrk and a build of corsac, in
which a debug build is as good as a release.

1. An upgrade each second for a minute under wrk, with connections that are
   kept, and with one connection for each request: what failed.
2. The same with binaries that fail: one that ends, one that hangs, one whose
   check refuses.
3. Upgrades that are given up at random moments, the same in each run: there is no
   time for them. What the new process has accepted by then must not be lost.
4. How long the old process lives after its last connection.

Prints a table; exits with 1 if anything failed.
"""

import json
import pathlib
import random
import re
import socket
import subprocess
import sys
import tempfile
import time

CORSAC = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/corsac").resolve()
SECONDS = int(sys.argv[2]) if len(sys.argv) > 2 else 60
WORK = pathlib.Path(tempfile.mkdtemp(prefix="corsac-upgrade-"))
CONFIGURATION = """
version = 1
[listeners.http]
address = "127.0.0.1:{port}"
[admin]
listen = "unix:admin.sock"
[access_log]
output = "off"
[services.s.cors]
allow_origins = "https://app.example"
[services.s.routes.r]
paths   = "/*"
respond = {{ body = "hello" }}
"""
# Listeners beside the first, so that a new process that accepts is busy for a while
# before it has proved that it answers on all of them.
MORE_LISTENERS = 100
MORE_LISTENER = """
[listeners.l{number}]
address = "127.0.0.1:0"
"""
# Seconds, at the most, that an upgrade has which is to be given up.
SHORTEST, LONGEST = 0.02, 0.5
# What this script has started itself; it must take note of their ends.
CHILDREN = []
BINARIES = {
    "a binary that ends at once": "[ $1 = check ] || exit 7",
    "a binary that hangs": "[ $1 = check ] || exec sleep 600",
    "a binary whose check refuses": "exit 1",
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Corsac:
    def __init__(self, more_listeners=0):
        self.port = free_port()
        more = "".join(MORE_LISTENER.format(number=number) for number in range(more_listeners))
        (WORK / "corsac.toml").write_text(CONFIGURATION.format(port=self.port) + more)
        self.log = open(WORK / "log", "w")
        process = subprocess.Popen([CORSAC, "run", "-c", "corsac.toml"], cwd=WORK, stderr=self.log)
        while self.ask("status", "--format", "json").returncode:
            if process.poll() is not None:
                sys.exit(f"corsac does not start: {(WORK / 'log').read_text()}")
            time.sleep(0.05)
        CHILDREN.append(process)

    def ask(self, command, *more):
        return subprocess.run(
            [CORSAC, command, "--socket", "admin.sock", *more], cwd=WORK, capture_output=True, text=True
        )

    def pid(self):
        return json.loads(self.ask("status", "--format", "json").stdout)["pid"]

    def upgrade(self, *more):
        return self.ask("upgrade", "--wait", *more)

    def stop(self):
        pid = self.pid()
        subprocess.run(["kill", str(pid)], check=True)
        await_end(pid)


def await_end(pid):
    """Waits until a process is gone, and with it its last thread and its sockets."""
    while pathlib.Path(f"/proc/{pid}").exists():
        for child in CHILDREN:
            child.poll()
        time.sleep(0.002)


def has_ended(pid):
    """Whether it has exited; its parent may not have taken note yet."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wrk(port, seconds, *more):
    return subprocess.Popen(
        ["wrk", "-t1", "-c32", f"-d{seconds}s", *more, f"http://127.0.0.1:{port}/"], stdout=subprocess.PIPE, text=True
    )


def results(process):
    """Requests that wrk has made, and those that failed: refused connections, resets, statuses."""
    text, _ = process.communicate()
    requests = int(re.search(r"(\d+) requests in", text)[1])
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = dict(zip(("connect", "read", "write", "timeout"), map(int, errors.groups()))) if errors else {}
    statuses = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if statuses:
        failed["status"] = int(statuses[1])
    return requests, {name: count for name, count in failed.items() if count}


def given_up(corsac, seconds):
    """Upgrades with hardly any time, until the load ends; how many were in time, and how many were not."""
    chosen = random.Random(1)
    worked = refused = 0
    end = time.monotonic() + seconds - 1
    while time.monotonic() < end:
        milliseconds = round(1e3 * chosen.uniform(SHORTEST, LONGEST))
        if corsac.upgrade("--timeout", f"{milliseconds}ms").returncode == 0:
            worked += 1
        else:
            refused += 1
    return worked, refused


def once_a_second(corsac, seconds, upgrade):
    """Upgrades until the load ends; how many worked, and how many were refused."""
    worked = refused = 0
    end = time.monotonic() + seconds - 1
    while time.monotonic() < end:
        began = time.monotonic()
        if upgrade().returncode == 0:
            worked += 1
        else:
            refused += 1
        time.sleep(max(0, 1 - (time.monotonic() - began)))
    return worked, refused


def idle_exit(corsac):
    """Seconds from the end of the last connection to the end of the old process."""
    old = corsac.pid()
    with socket.create_connection(("127.0.0.1", corsac.port)) as client:
        # In flight until it is closed: a head that does not end.
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        client.settimeout(5)
        corsac.upgrade()
        client.sendall(b"\r\n")
        while client.recv(4096):
            pass
    last = time.monotonic()
    while not has_ended(old):
        time.sleep(0.002)
    return time.monotonic() - last


def main():
    rows, ok = [], True

    def add(*row):
        rows.append(row)
        print(*row, file=sys.stderr)

    for what, more in (("kept connections", ()), ("a connection for each request", ("-H", "Connection: close"))):
        corsac = Corsac()
        load = wrk(corsac.port, SECONDS, *more)
        worked, refused = once_a_second(corsac, SECONDS, corsac.upgrade)
        requests, failed = results(load)
        add(f"an upgrade each second, {what}", worked, refused, requests, failed)
        ok &= not failed and not refused
        corsac.stop()
        corsac = Corsac(MORE_LISTENERS)
        load = wrk(corsac.port, SECONDS, *more)
        worked, refused = given_up(corsac, SECONDS)
        requests, failed = results(load)
        add(f"upgrades that are given up, {what}", worked, refused, requests, failed)
        ok &= not failed and refused > 0
        corsac.stop()
    for what, script in BINARIES.items():
        corsac = Corsac()
        binary = WORK / "new"
        binary.write_text(f"#!/bin/sh\n{script}\n")
        binary.chmod(0o755)
        load = wrk(corsac.port, 10)
        worked, refused = once_a_second(
            corsac, 10, lambda: corsac.upgrade("--binary", str(binary), "--timeout", "1s")
        )
        requests, failed = results(load)
        add(what, worked, refused, requests, failed)
        ok &= not failed and not worked
        corsac.stop()
    corsac = Corsac()
    exits = sorted(idle_exit(corsac) for _ in range(5))
    corsac.stop()
    print("| scenario | upgrades | refused | requests | failed |")
    print("|---|---|---|---|---|")
    for what, worked, refused, requests, failed in rows:
        print(f"| {what} | {worked} | {refused} | {requests:,} | {json.dumps(failed) if failed else 0} |")
    print(f"\nThe old process ends {exits[2] * 1e3:.0f} ms after its last connection (median of 5; the longest {exits[-1] * 1e3:.0f} ms).")
    return 0 if ok and exits[-1] < 1 else 1


sys.exit(main())
