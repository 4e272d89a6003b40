#!/usr/bin/env python3
"""What a reload costs those who are served, and what stays flat.

`make loadtest-reload` runs it, and `run.py` for what the access log costs; it needs wrk,
nginx and a release build. Usage: reload.py [CORSAC] [MEASURE...]

reload_under_load    A reload of 10,000 routes under wrk at full load: requests that
                     failed, and the 99th percentile during the reloads against the one
                     before them, in one run.
memory               After 200 reloads of the same configuration, against the first.
random_requests      The series of /metrics, memory and refused origins after a million
                     requests with random methods, hosts, paths and origins.

All of it shares all cores, so that a reload competes with what it is measured by.
Figures go to standard output, as JSON.
"""

import contextlib
import json
import os
import statistics
import sys
import tempfile

import measure
from asking import Wrk
from proxies import CORSAC, Proxy, Settings, Tools, prepare_process, start_origin

ROUTES = 10_000
CONNECTIONS = 32
RELOADS = 200
REQUESTS = 1_000_000


class Place:
    """Where a measure works, and with what. All of it ends with `held`."""

    def __init__(self, held, folder, tools):
        self.held = held
        self.folder = folder
        self.tools = tools
        self.cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        self.bench = measure.Bench(tools, self.cores)
        self.origin = start_origin(f"{folder}/origin", tools, self.cores)
        held.callback(self.origin.stop)

    def corsac(self, name, settings):
        proxy = Proxy(CORSAC, f"{self.folder}/{name}", self.tools, self.cores, self.origin, settings)
        self.held.callback(proxy.stop)
        return proxy


def reload_under_load(place):
    corsac = place.corsac("load", Settings(routes=ROUTES))
    windows = [
        measure.reload_under_load(
            place.bench, corsac, Settings(routes=ROUTES, max_age=601 + turn), 3, CONNECTIONS
        )
        for turn in range(10)
    ]
    ratios = [w["during"]["p99_ms"] / w["before"]["p99_ms"] for w in windows]
    return {
        "reloads": len(windows),
        "requests": sum(w["during"]["requests"] for w in windows),
        "failed": sum(w["during"]["failed"] + w["before"]["failed"] for w in windows),
        "p99_ms_before": statistics.median(w["before"]["p99_ms"] for w in windows),
        "p99_ms_during": statistics.median(w["during"]["p99_ms"] for w in windows),
        "p99_ratios": sorted(round(ratio, 2) for ratio in ratios),
        "p99_ratio_median": statistics.median(ratios),
    }


def memory(place):
    corsac = place.corsac("memory", Settings(routes=ROUTES))
    found = {"start": corsac.memory_kib()}
    for count in range(1, RELOADS + 1):
        corsac.reload(Settings(routes=ROUTES, max_age=601 + count % 60))
        if count in (1, 10, 50, 100, RELOADS):
            found[count] = corsac.memory_kib()
    return found


def random_requests(place):
    corsac = place.corsac("random", Settings(threads=2))

    def load(seconds):
        return place.bench.run(Wrk("random.lua", connections=CONNECTIONS), corsac, seconds)["requests"]

    def state():
        lines = corsac.admin("/metrics").splitlines()
        series = sum(line[:1] not in ("#", "") for line in lines)
        return {"series": series, "memory_kib": corsac.memory_kib()}

    load(5)
    before, requests = state(), 0
    while requests < REQUESTS:
        requests += load(20)
    after = state()
    refused = json.loads(corsac.admin("/status"))["refused_origins"][0]["origins"]
    return {
        "requests": requests, "before": before, "after": after,
        "refused_shown": len(refused), "refused_most": refused[0],
    }


MEASURES = {m.__name__: m for m in (reload_under_load, memory, random_requests)}


def measured(name, tools):
    with tempfile.TemporaryDirectory(prefix="corsac-loadtest-") as folder, contextlib.ExitStack() as held:
        # nginx's workers have another user.
        os.chmod(folder, 0o755)
        return MEASURES[name](Place(held, folder, tools))


def main():
    corsac, *chosen = sys.argv[1:] or ["target/release/corsac"]
    prepare_process()
    tools = Tools({"corsac": corsac})
    print(json.dumps({name: measured(name, tools) for name in chosen or MEASURES}, indent=1))


main()
