#!/usr/bin/env python3
"""What a reload costs, and what metrics and the access log cost.

`make loadtest-reload` runs it; it needs wrk, nginx and a release build.

1. A reload of 10,000 routes under wrk at full load: requests that failed, and the
   99th percentile during the reloads against the one before them, in one run.
2. Memory after 200 reloads of the same configuration against that after the first.
3. The series of /metrics, memory and refused origins after a million requests with
   random methods, hosts, paths and origins.
4. CPU for each request with the access log on, against off, in pairs in one run; and
   instructions, if there is perf, which other work on the machine changes less.
   Metrics are on in both: what they cost, benches/metrics.rs says.

Figures go to standard output, as JSON and as lines for people.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROUTES = 10_000
CORSAC = sys.argv[1] if len(sys.argv) > 1 else "target/release/corsac"
WORK = pathlib.Path(tempfile.mkdtemp(prefix="corsac-loadtest-"))
ORIGIN = "127.0.0.1:19180"

NGINX = f"""
worker_processes 1; daemon off; pid {WORK}/nginx.pid; error_log {WORK}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {WORK}/a; proxy_temp_path {WORK}/b; fastcgi_temp_path {WORK}/c;
  uwsgi_temp_path {WORK}/d; scgi_temp_path {WORK}/e;
  server {{ listen {ORIGIN}; location / {{ return 200 "hello, hello, hello\\n"; }} }}
}}
"""


def configuration(routes, max_age, log, threads=1):
    text = f"""
version = 1
[server]
threads = {threads}
[access_log]
output = "{log}"
[listeners.http]
address = "127.0.0.1:0"
[admin]
listen = "unix:admin.sock"
[upstreams.app]
nodes = "{ORIGIN}"
[services.s]
upstream = "app"
[services.s.cors]
allow_origins = ["https://app.example.com"]
allow_methods = ["GET", "PUT"]
allow_headers = ["content-type"]
max_age       = "{max_age}s"
[services.s.routes.all]
paths = "/*"
"""
    for route in range(routes):
        text += f'[services.s.routes.r{route}]\npaths = "/api/{route % 97}/r{route}/:id"\n'
    return text


class Corsac:
    def __init__(self, name, text):
        self.dir = WORK / name
        self.dir.mkdir()
        self.write(text)
        self.process = subprocess.Popen(
            [os.path.abspath(CORSAC), "run", "--config", "corsac.toml"],
            cwd=self.dir, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )
        for line in self.process.stderr:
            found = re.search(r"listening on \S+:(\d+) \(listeners", line)
            if found:
                self.port = int(found[1])
            if line.rstrip().endswith("ready"):
                break
        # What else it says is not to fill the pipe.
        threading.Thread(target=lambda: [None for _ in self.process.stderr], daemon=True).start()

    def write(self, text):
        fresh = self.dir / "fresh"
        fresh.write_text(text)
        fresh.rename(self.dir / "corsac.toml")

    def reload(self):
        subprocess.run(
            [os.path.abspath(CORSAC), "reload", "--wait", "--socket", "admin.sock"],
            cwd=self.dir, check=True, stdout=subprocess.DEVNULL,
        )

    def admin(self, path):
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self.dir / "admin.sock"))
            stream.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: stream.recv(65536), b""))
        return answer.partition(b"\r\n\r\n")[2].decode()

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])

    def stop(self):
        self.process.terminate()
        self.process.wait(60)


def wrk(port, seconds, connections=32, under=()):
    script = WORK / "get.lua"
    script.write_text('wrk.headers["Origin"] = "https://app.example.com"\n')
    out = subprocess.run(
        [*under, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script),
         f"http://127.0.0.1:{port}/api/1/r1/7"],
        capture_output=True, text=True, check=True,
    ).stdout
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", out).groups()
    return {
        "requests": int(re.search(r"(\d+) requests in", out)[1]),
        "p99_ms": float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit],
        "failed": sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
        + sum(int(n) for line in re.findall(r"Socket errors: (.*)", out) for n in re.findall(r"\d+", line)),
    }


def round_to(ratio):
    return float(f"{ratio:.2f}")


def reload_under_load():
    corsac = Corsac("load", configuration(ROUTES, 0, "off"))
    wrk(corsac.port, 2)
    rounds = []
    for round in range(10):
        before = wrk(corsac.port, 3)
        during = {}
        load = threading.Thread(target=lambda: during.update(wrk(corsac.port, 3)))
        load.start()
        time.sleep(1)
        corsac.write(configuration(ROUTES, round % 60 + 1, "off"))
        corsac.reload()
        load.join()
        rounds.append({"before": before, "during": during})
    corsac.stop()
    return {
        "reloads": len(rounds),
        "requests": sum(r["during"]["requests"] for r in rounds),
        "failed": sum(r["during"]["failed"] + r["before"]["failed"] for r in rounds),
        "p99_ms_before": statistics.median(r["before"]["p99_ms"] for r in rounds),
        "p99_ms_during": statistics.median(r["during"]["p99_ms"] for r in rounds),
        "p99_ratios": sorted(round_to(r["during"]["p99_ms"] / r["before"]["p99_ms"]) for r in rounds),
        "p99_ratio_median": statistics.median(r["during"]["p99_ms"] / r["before"]["p99_ms"] for r in rounds),
    }


def memory_after_reloads():
    corsac = Corsac("memory", configuration(ROUTES, 0, "off"))
    memory = {"start": corsac.memory_kib()}
    for count in range(1, 201):
        corsac.write(configuration(ROUTES, count % 60, "off"))
        corsac.reload()
        if count in (1, 10, 50, 100, 200):
            memory[count] = corsac.memory_kib()
    corsac.stop()
    return memory


RANDOM = """
local methods = {"GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE", "X1", "X2"}
request = function()
  local n = math.random(1000000000)
  local method = n % 5 == 0 and "M" .. n % 1000 or methods[n % 8 + 1]
  local path = n % 2 == 0 and "/api/1/r1/" .. n or "/" .. n .. "/" .. n
  return wrk.format(method, path, {
    ["Host"] = "h" .. n .. ".example",
    ["Origin"] = n % 7 == 0 and "https://often.example" or "https://o" .. n .. ".example",
    ["Access-Control-Request-Method"] = "PUT",
  })
end
"""


def flat_under_random_requests():
    corsac = Corsac("random", configuration(10, 0, "off", threads=2))
    script = WORK / "random.lua"
    script.write_text(RANDOM)

    def series():
        return len([line for line in corsac.admin("/metrics").splitlines() if line[:1] not in ("#", "")])

    def load(seconds):
        out = subprocess.run(
            ["wrk", "-t1", "-c32", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{corsac.port}/"],
            capture_output=True, text=True, check=True,
        ).stdout
        return int(re.search(r"(\d+) requests in", out)[1])

    load(5)
    before = {"series": series(), "memory_kib": corsac.memory_kib()}
    requests = 0
    while requests < 1_000_000:
        requests += load(20)
    refused = json.loads(corsac.admin("/status"))["refused_origins"][0]["origins"]
    after = {"series": series(), "memory_kib": corsac.memory_kib()}
    corsac.stop()
    return {
        "requests": requests, "before": before, "after": after,
        "refused_shown": len(refused), "refused_most": refused[0],
    }


def cost_of_a_request(corsac):
    """CPU in microseconds; instructions, the kernel's included, or None."""
    count = WORK / "perf"
    perf = ["perf", "stat", "-x,", "-o", str(count), "-e", "instructions", "-p", str(corsac.process.pid)]
    before = corsac.cpu_seconds()
    done = wrk(corsac.port, 3, under=perf if shutil.which("perf") else ())
    cpu = 1e6 * (corsac.cpu_seconds() - before) / done["requests"]
    counted = count.exists() and re.search(r"^(\d+),,instructions", count.read_text(), re.M)
    return cpu, int(counted[1]) / done["requests"] if counted else None


def cost_of_observing(pairs=15):
    on = Corsac("on", configuration(10, 0, "/dev/null"))
    off = Corsac("off", configuration(10, 0, "off"))
    cost = {on: [], off: []}
    for corsac in (on, off):
        wrk(corsac.port, 2)
    for pair in range(pairs):
        # In turns, so that neither is always the first.
        for corsac in (on, off) if pair % 2 else (off, on):
            cost[corsac].append(cost_of_a_request(corsac))
    on.stop()
    off.stop()
    result = {}
    for unit, with_log, without in zip(("cpu_us", "instructions"), zip(*cost[on]), zip(*cost[off])):
        if None not in with_log + without:
            ratios = sorted(a / b for a, b in zip(with_log, without))
            result[unit] = {
                "on": statistics.median(with_log),
                "off": statistics.median(without),
                "ratio_median": statistics.median(ratios),
                "ratios": [round(ratio, 3) for ratio in ratios],
            }
    return result


def main():
    (WORK / "nginx.conf").write_text(NGINX)
    nginx = subprocess.Popen([
        next(path for path in ("/usr/sbin/nginx", "/usr/bin/nginx") if os.path.exists(path)),
        "-c", str(WORK / "nginx.conf"),
    ])
    time.sleep(0.5)
    try:
        measures = {
            "reload_under_load": reload_under_load,
            "memory_kib_after_reloads": memory_after_reloads,
            "random_requests": flat_under_random_requests,
            "cost_of_observing": cost_of_observing,
        }
        chosen = sys.argv[2:] or list(measures)
        result = {name: measures[name]() for name in chosen}
    finally:
        nginx.terminate()
    print(json.dumps(result, indent=1))


main()
