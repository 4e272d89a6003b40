#!/usr/bin/env python3
"""What must hold of corsac on a machine with systemd, from installation to purge.

Runs inside the container that tests/systemd/run boots, as root, on a machine of its own:
it stops, kills and removes what it likes. Prints TAP; exits with 1 if anything failed.
Usage: scenarios.py FOLDER [NAME...]: the packages, and which scenarios; else all. Most need
`install` before them, and `tarball` needs `purge`.
"""

import os
import pathlib
import re
import shutil
import signal
import sys
import time
import traceback

from load import Download, Load, Origin, answers, get
from machine import (
    CONFIG, DROP_INS, Failed, configuration, drop_in, files, journal, listening, main_pid, must,
    processes, prop, run, start, state, status_of, until, write,
)

PORT = 8080
PAGE = f"http://127.0.0.1:{PORT}/"
NET_BIND_SERVICE = 1 << 10  # of capabilities(7)
TIMEOUT_STOP = 40  # seconds, as the unit has it
EXAMPLES = pathlib.Path("/usr/share/doc/corsac/examples")

SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


# ------------------------------------------------------------------ what is installed


@scenario
def install():
    """The package starts corsac, which only this machine can reach."""
    before = listening()
    run("dpkg", "--install", str(PACKAGE))
    must(state() == "active", "it runs")
    must(run("systemctl", "is-enabled", "corsac.service")[1].strip() == "enabled", "at boot, too")
    must("disabled" in run("systemctl", "is-enabled", "corsac.socket", ok=None)[1], "no socket")
    must(listening() - before == {("0100007F", PORT)}, f"127.0.0.1 alone: {listening()}")
    must(get(PORT)[1].startswith("corsac runs"), "the page that says so")
    run("corsac", "status")
    run("corsac", "check")
    return "listens on 127.0.0.1 alone"


@scenario
def units():
    """The units are well-formed, and exposed as little as they say."""
    for unit in ("corsac.service", "corsac.socket"):
        says = run("systemd-analyze", "verify", "--man=no", f"/usr/lib/systemd/system/{unit}")[1]
        must(not says, says)
    security = ["systemd-analyze", "security", "--no-pager", "--threshold=20"]
    offline = run(*security, "--offline=true", "/usr/lib/systemd/system/corsac.service")[1]
    run(*security, "corsac.service")
    return re.search(r"Overall exposure level.*: ([\d.]+)", offline)[1] + " by systemd-analyze security"


@scenario
def confined():
    """The process has what the unit says: no root, one capability, a filter, and nowhere
    to write but its own folders."""
    start(configuration(address=["127.0.0.1:8080", "127.0.0.1:80"]))
    must(answers(80), "a port below 1024")
    pid = main_pid()
    must("0" not in status_of(pid, "Uid"), "not root")
    capabilities = int(status_of(pid, "CapEff")[0], 16), int(status_of(pid, "CapBnd")[0], 16)
    must(capabilities == (NET_BIND_SERVICE, NET_BIND_SERVICE), f"capabilities {capabilities}")
    must(status_of(pid, "NoNewPrivs") == ["1"], "no new privileges")
    must(status_of(pid, "Seccomp") == ["2"], "a filter of system calls")
    must(pathlib.Path("/run/corsac/admin.sock").stat().st_mode & 0o777 == 0o600, "its owner's")
    # In the process's own view of the file system: the last mount on a path is the one
    # seen. /run/host is the container's.
    view = pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    options = {line.split()[4]: line.split()[5].split(",") for line in view}
    ours = [path for path in options if not re.match("/(dev|proc|run/host)(/|$)", path)]
    writable = {path for path in ours if "rw" in options[path]}
    must(writable == {"/run/corsac", "/var/log/corsac", "/tmp", "/var/tmp"}, "\n".join(view))


# ------------------------------------------------------------------- while it runs


@scenario
def reload():
    """`systemctl reload` serves what is right, fails with what is wrong, and loses
    nothing."""
    start()
    pid = main_pid()
    with Load(PAGE) as load:
        for body in ("two", "three"):
            write(CONFIG, configuration(body=body))
            run("systemctl", "reload", "corsac")
            must(get(PORT)[1] == body, "what is new is served")
        write(CONFIG, configuration(body="four") + "[nonsense]\n")
        run("systemctl", "reload", "corsac", ok=False)
        must(state() == "active" and get(PORT)[1] == "three", "what was served is served on")
        until(lambda: "E001" in journal(), "the journal says why")
        # Nothing is wrong with it, but a listener cannot move.
        write(CONFIG, configuration(address="127.0.0.1:8181"))
        run("systemctl", "reload", "corsac", ok=False)
        must(state() == "active" and get(PORT)[1] == "three", "what was served is served on")
        until(lambda: "E510" in journal(), "the journal says why")
    must(main_pid() == pid, "the same process")
    return lost_nothing(load)


@scenario
def upgrade():
    """`corsac upgrade` hands over to a new process and loses nothing; systemd goes along;
    what the old one has begun it ends."""
    start()
    old = main_pid()
    download = Download(PORT, 4)
    with Load(PAGE) as load:
        run("corsac", "upgrade", "--wait")
        new = until(lambda: main_pid() != old and main_pid(), "another main process")
        must(old in processes(), "the old one still drains")
        run("corsac", "upgrade", "--wait")
        until(lambda: main_pid() != new, "and another")
    must(download.is_whole(), f"the old one's download: {download}")
    until(lambda: processes() == [main_pid()], "the old ones end by themselves")
    must(state() == "active" and prop("NRestarts") == "0", "systemd has started nothing")
    run("systemctl", "reload", "corsac")
    return f"{lost_nothing(load)}; {download}"


@scenario
def upgrade_refused():
    """A program that does not serve, or is none, changes nothing."""
    start()
    pid = main_pid()
    with Load(PAGE) as load:
        for program in ("/bin/false", "/bin/sleep", "/etc/hostname", "/nowhere"):
            run("corsac", "upgrade", "--wait", "--binary", program, ok=False)
            must(main_pid() == pid and state() == "active", f"{program} serves nothing")
        write(CONFIG, configuration() + "[nonsense]\n")
        run("corsac", "upgrade", "--wait", "--socket", "/run/corsac/admin.sock", ok=False)
        must(main_pid() == pid and state() == "active", "nor does what cannot load")
    until(lambda: processes() == [pid], "nothing of them is left")
    return lost_nothing(load)


@scenario
def package_upgrade():
    """A newer package takes over from the running one, and loses nothing."""
    start()
    old = main_pid()
    with Load(PAGE) as load:
        run("dpkg", "--install", str(NEWER))
        until(lambda: main_pid() != old, "the new package's process")
    must(prop("NRestarts") == "0" and state() == "active", "nothing was restarted")
    program = pathlib.Path(f"/proc/{main_pid()}/exe").readlink()
    must(str(program) == "/usr/bin/corsac", f"the program on disk, not {program}")
    must(get(PORT)[1] == "one", "with the configuration that there was")
    return lost_nothing(load)


@scenario
def package_upgrade_refused():
    """Where the new package's program cannot take over, the old process serves on, dpkg
    ends well, and whoever upgrades is told."""
    start()
    pid = main_pid()
    write(CONFIG, configuration() + "[nonsense]\n")
    with Load(PAGE) as load:
        says = run("dpkg", "--install", str(NEWER))[1]
    must("THE OLD PROCESS SERVES ON" in says, says)
    must(main_pid() == pid and state() == "active", "the same process")
    return lost_nothing(load)


# ----------------------------------------------------------------------- accidents


@scenario
def crash():
    """What is killed is started again within seconds, by systemd."""
    start()
    gaps, sent = [], []
    for _ in range(3):
        pid = main_pid()
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        until(lambda: sent.append(answers(PORT)) or sent[-1] and main_pid() != pid, "it serves again")
        gaps.append(time.monotonic() - began)
    must(prop("NRestarts") == "3", "restarts: " + prop("NRestarts"))
    lost = sent.count(False)
    return f"3 kills, {len(sent)} requests sent, {lost} failed, for {max(gaps):.1f} s at the most"


@scenario
def crash_while_upgraded():
    """A new process that dies while the old one drains: nobody listens then, so the old
    one makes haste, and corsac is started again."""
    start()
    download = Download(PORT, 1)
    run("corsac", "upgrade", "--wait")
    os.kill(main_pid(), signal.SIGKILL)
    began = time.monotonic()
    until(lambda: answers(PORT) and state() == "active", "it serves again")
    took = time.monotonic() - began
    must(took < 10, f"after {took:.1f} s")
    must(download.is_whole(), f"the old one's download: {download}")
    return f"{download}; serves again after {took:.1f} s"


@scenario
def crash_loop():
    """What cannot start is tried once a second, not as fast as can be; once it can, it
    does so without help."""
    start()
    write(CONFIG, configuration() + "[nonsense]\n")
    os.kill(main_pid(), signal.SIGKILL)
    time.sleep(5)
    restarts = int(prop("NRestarts"))
    must(2 <= restarts <= 5, f"{restarts} starts in 5 s")
    write(CONFIG, configuration())
    until(lambda: state() == "active" and answers(PORT), "it serves again")
    return f"{restarts} starts in 5 s"


@scenario
def watchdog():
    """What hangs is started again; what does not hang is left alone."""
    with drop_in("[Service]\nWatchdogSec=3s\n"):
        start()
        pid = main_pid()
        with Load(PAGE) as load:
            time.sleep(8)  # nothing to wait for: nothing may happen
        must(main_pid() == pid, "under load, for longer than WatchdogSec, it is not hung")
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        until(lambda: main_pid() not in (0, pid) and answers(PORT), "it is replaced")
        took = time.monotonic() - began
        until(lambda: "Watchdog timeout" in journal(), "by the watchdog")
    return f"{lost_nothing(load)}; stopped, it serves again after {took:.1f} s"


@scenario
def sockets():
    """With corsac.socket it serves ports below 1024 without a capability, and a crash
    refuses no connection."""
    run("systemctl", "stop", "corsac.service")
    write(CONFIG, configuration(address=["0.0.0.0:80", "[::]:80"]))
    DROP_INS.mkdir(parents=True, exist_ok=True)
    shutil.copy(EXAMPLES / "no-capability.conf", DROP_INS)
    run("systemctl", "daemon-reload")
    run("systemctl", "reset-failed", "corsac.service", ok=None)
    try:
        # The first connection starts it.
        run("systemctl", "start", "corsac.socket")
        must(state() == "inactive", "not yet")
        must(answers(80) and answers(80, address="::1"), "over IPv4 and IPv6")
        must(int(status_of(main_pid(), "CapEff")[0], 16) == 0, "no capability")
        must(int(status_of(main_pid(), "CapBnd")[0], 16) == 0, "none to be had")
        with Load("http://127.0.0.1:80/") as load:
            pid = main_pid()
            os.kill(pid, signal.SIGKILL)
            # A connection that comes now waits, and is answered.
            must(get(80)[0] == 200, "answered")
            must(main_pid() not in (0, pid), "by another process")
        must(load.sent > 0 and load.refused == 0, f"{load.refused} connections refused: {load.report}")
    finally:
        run("systemctl", "stop", "corsac.socket", "corsac.service")
        (DROP_INS / "no-capability.conf").unlink()
        run("systemctl", "daemon-reload")
    # What the killed process was about to answer is lost; nobody can answer that.
    return f"{load.sent} requests sent, 0 connections refused, {load.failed} cut by the kill"


@scenario
def socket_upgrade():
    """The same, through an upgrade: the sockets stay systemd's, and nothing is lost."""
    run("systemctl", "stop", "corsac.service")
    write(CONFIG, configuration(address=["0.0.0.0:80", "[::]:80"]))
    DROP_INS.mkdir(parents=True, exist_ok=True)
    shutil.copy(EXAMPLES / "no-capability.conf", DROP_INS)
    run("systemctl", "daemon-reload")
    try:
        run("systemctl", "start", "corsac.service")
        old = main_pid()
        with Load("http://127.0.0.1:80/") as load:
            run("corsac", "upgrade", "--wait")
            until(lambda: main_pid() != old, "another main process")
        must(int(status_of(main_pid(), "CapEff")[0], 16) == 0, "no capability")
        os.kill(main_pid(), signal.SIGKILL)
        must(get(80)[0] == 200, "served again after a crash")
    finally:
        run("systemctl", "stop", "corsac.socket", "corsac.service")
        (DROP_INS / "no-capability.conf").unlink()
        run("systemctl", "daemon-reload")
    return lost_nothing(load)


# -------------------------------------------------------------------------- the end


@scenario
def stop():
    """`systemctl stop` cuts nothing, and ends as soon as nothing is left."""
    start()
    download = Download(PORT, 3)
    run("systemctl", "stop", "corsac")
    stopped = time.monotonic()
    must(download.is_whole(), f"the download: {download}")
    must(prop("Result") == "success" and prop("ExecMainStatus") == "0", "exit 0")
    must(stopped - download.ended < 3, "it waited for nothing else")
    return str(download)


@scenario
def stop_while_upgraded():
    """The same while an old process drains: neither is cut."""
    start()
    old = Download(PORT, 5)
    run("corsac", "upgrade", "--wait")
    new = Download(PORT, 3)
    must(len(processes()) == 2, "two processes")
    began = time.monotonic()
    run("systemctl", "stop", "corsac")
    must(time.monotonic() - began < TIMEOUT_STOP, "within TimeoutStopSec")
    must(old.is_whole() and new.is_whole(), f"the downloads: {old}; {new}")
    must(prop("Result") == "success", "exit 0")
    return f"{old}; {new}"


@scenario
def stop_after_upgrade():
    """The same when the old process has gone: the new one, which systemd has not started,
    is waited for all the same."""
    start()
    run("corsac", "upgrade", "--wait")
    until(lambda: processes() == [main_pid()], "the old one ends")
    download = Download(PORT, 3)
    run("systemctl", "stop", "corsac")
    must(download.is_whole(), f"the download: {download}")
    must(prop("Result") == "success" and prop("ExecMainStatus") == "0", "exit 0")
    return str(download)


@scenario
def remove():
    """The package is gone, its processes are, and its configuration is not."""
    start()
    download = Download(PORT, 2)
    run("dpkg", "--remove", "corsac")
    must(download.is_whole(), f"the download: {download}")
    must(state() == "inactive" and not shutil.which("corsac"), "gone")
    must(CONFIG.exists(), "the configuration stays")
    run("dpkg", "--install", str(PACKAGE))
    must(answers(PORT), "and serves again")
    return str(download)


@scenario
def purge():
    """After a purge the file system is as it was before the package came."""
    write(pathlib.Path("/etc/corsac/conf.d/mine.toml"), "")
    pathlib.Path("/var/log/corsac/access.log").write_text("a line\n")
    run("dpkg", "--purge", "corsac")
    after = files()
    different = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    must(not different, "left behind or changed: " + ", ".join(sorted(different)))
    return f"{len(after)} files and folders as before"


@scenario
def tarball():
    """The tarball serves from /usr/local, by the commands of docs/operations.md."""
    run("tar", "--directory=/usr/local", "--strip-components=1", "--no-overwrite-dir",
        "--no-same-owner", "--extract", f"--file={TARBALL}")
    run("systemd-sysusers")
    run("install", "-D", "-m", "644", "/usr/local/share/doc/corsac/corsac.toml", str(CONFIG))
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--now", "corsac.service")
    must(answers(PORT), "it serves")
    says = run("systemd-analyze", "verify", "--man=no", "corsac.service")[1]
    must(not says, says)
    run("systemctl", "disable", "--now", "corsac.service")


def lost_nothing(load):
    must(load.sent > 0 and load.failed == 0, f"{load}\n" + "\n".join(load.report))
    return str(load)


def main(names):
    chosen = [one for one in SCENARIOS if not names or one.__name__ in names]
    Origin.serve(9000)
    print(f"1..{len(chosen)}")
    failed = 0
    for number, one in enumerate(chosen, 1):
        began = time.monotonic()
        name = f"{number} - {one.__name__}"
        try:
            result = one()
            print(f"ok {name}: {result or 'as it says'} ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as error:
            failed += 1
            print(f"not ok {name}: {' '.join(one.__doc__.split())}")
            says = str(error) if isinstance(error, Failed) else traceback.format_exc()
            for line in f"{says}\n--- the journal\n{journal()}".splitlines():
                print(f"#   {line}", flush=True)
    print(f"# {len(chosen) - failed} of {len(chosen)} scenarios passed")
    return 1 if failed else 0


if __name__ == "__main__":
    packages = pathlib.Path(sys.argv[1])
    PACKAGE, NEWER = packages / "corsac.deb", packages / "corsac-newer.deb"
    TARBALL = packages / "corsac.tar.gz"
    before = files()
    sys.exit(main(sys.argv[2:]))
