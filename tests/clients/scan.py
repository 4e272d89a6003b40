#!/usr/bin/env python3
"""What scanners of TLS find wrong with corsac: nothing, or this fails.

`make test-tls` runs it, with the Python that has requirements.txt. sslyze compares with Mozilla's
"intermediate" configuration; testssl.sh looks for every weakness that it knows, for minutes. Both are
told of the authority of the certificates, one for an elliptic curve and one for RSA. What is
found and stands is in ALLOWED, each with its reason.
"""

import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import tempfile

import common
from common import CERTIFICATES, free_port, program

CONFIGURATION = """
version = 1

[listeners.https]
address = "127.0.0.1:{port}"
tls     = ["ec", "rsa"]

[certificates.ec]
cert    = "ec.pem"
key     = "ec.key"
default = true

[certificates.rsa]
cert = "rsa.pem"
key  = "rsa.key"

[access_log]
output = "off"

[services.site]
hsts = true

[services.site.routes.all]
paths   = "/*"
respond = {{ body = "hello" }}
"""
# Findings of testssl.sh above "low" that stand, by the beginning of their names.
ALLOWED = {
    "cipher_order": "the client chooses, as Mozilla has it: every cipher that corsac offers is strong",
    "security_headers": "headers of a page are its own; corsac adds none that nobody asked for",
    "sessionresumption_ticket": "a check that is not always made, since tickets of TLS 1.3 come late; protocols.py resumes",
}
HARMLESS = {"OK", "INFO", "LOW"}
# What it must have found, as each finding begins, or it has not looked.
DUE = {
    "TLS1": "not offered", "TLS1_1": "not offered", "TLS1_2": "offered", "TLS1_3": "offered", "ALPN_HTTP2": "h2",
    "HSTS_time": "365 days", "cert_chain_of_trust <cert#1>": "passed", "cert_chain_of_trust <cert#2>": "passed",
}
LIMIT_S = 400


def sslyze(folder, port):
    command = [
        pathlib.Path(sys.executable).with_name("sslyze"), "--mozilla_config=intermediate",
        "--certinfo_ca_file=ca.pem", f"localhost:{port}",
    ]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
    return [] if ran.returncode == 0 and "OK - Compliant" in ran.stdout else [(ran.stdout + ran.stderr)[-1500:]]


def testssl(folder, port):
    command = [
        program("testssl"), "--quiet", "--color", "0", "--warnings", "batch", "--add-ca", "ca.pem", "--ip", "127.0.0.1",
        "--jsonfile", "found.json", f"localhost:{port}",
    ]
    # Its exit code is the number of findings, the harmless ones included.
    ran = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=LIMIT_S)
    try:
        found = json.loads((folder / "found.json").read_text())
    except (OSError, ValueError):
        return [f"no findings at all: {ran.stdout[-1500:]}"]
    return wrong(found)


def wrong(found):
    """The findings that nothing allows, and what should have been found and was not."""
    findings = {each["id"]: each["finding"] for each in found}
    for name, due in DUE.items():
        if not findings.get(name, "").startswith(due):
            yield f"{name}: {findings.get(name, 'not looked at')}, not {due}"
    for each in found:
        if each["severity"] not in HARMLESS and each["id"].split(" ")[0] not in ALLOWED:
            yield f"{each['id']}: {each['severity']}: {each['finding']}"


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: scan.py CORSAC")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    failed = False
    with tempfile.TemporaryDirectory(prefix="corsac-scan-", ignore_cleanup_errors=True) as folder, \
            contextlib.ExitStack() as held:
        folder, port = pathlib.Path(folder), free_port()
        for kind in ("ec", "rsa"):
            subprocess.run([CERTIFICATES, folder, kind, kind, "localhost", "127.0.0.1"], check=True)
        common.start(held, pathlib.Path(sys.argv[1]).resolve(), folder, CONFIGURATION.format(port=port), port)
        for scan in (sslyze, testssl):
            found = list(scan(folder, port))
            print(f"{scan.__name__}: {'nothing' if not found else ''}", *found, sep="\n  ", flush=True)
            failed |= bool(found)
    for name, reason in ALLOWED.items():
        print(f"allowed: {name}: {reason}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
