"""Tests of what is computed: `python3 -m unittest discover loadtest`."""

import re
import tomllib
import unittest
import xml.etree.ElementTree

import agreement
import asking
import chart
import cpu_groups
import frames
import measure
import proxies
import report
from proxies import APP, KINDS, PLAIN, Settings
from scenarios import CLEAR, EDGE, GET, IDLE, LOGGED, OVER_TLS, PAIRS, PARTS, RATIOS, SCENARIOS

WRK = """Running 1s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.43ms    4.92ms  99.00ms   93.34%
  Latency Distribution
     50%  812.00us
     75%    1.10ms
     90%    2.02ms
     99%    1.25s
  40123 requests in 1.10s, 6.44MB read
"""
TROUBLE = """  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 5
"""


def sample(cpu_us, failed=0, turn=0):
    return {
        "rps": 1e6 / cpu_us, "cpu_us": cpu_us, "p50_ms": 1.0, "p99_ms": 2.0, "busy": 1.0,
        "memory_kib": 2048, "logged_bytes": 100, "failed": failed, "requests": 10, "round": turn,
    }


def results(failed=0):
    def of(scale):
        return {
            kind.name: measure.summary([sample(scale * n), sample(scale * n, failed, turn=1)])
            | {"counted": [sample(1) | {"instructions": scale * n}]}
            for n, kind in enumerate(KINDS, 1)
        }

    return {
        "environment": {
            "date": "2000-01-01", "cpu": "a <CPU>", "cores": 2, "kernel": "6", "others_busy": 0.0,
            "versions": {"wrk": "4"}, "builds": {"corsac": "release-pgo", "bare Pingora": "release-pgo"},
            "commit": "abc",
        },
        "plan": {"rounds": 2, "seconds": 1, "pair_rounds": 2},
        "scenarios": {s.name: of(n) for n, s in enumerate(SCENARIOS, 1)},
        "pairs": {}, "reload": {}, "failures": {}, **{idle.name: {} for idle in IDLE},
    }


class Wrk(unittest.TestCase):
    def test_figures(self):
        self.assertEqual(
            asking.parse_wrk(WRK),
            {"requests": 40123, "seconds": 1.1, "p50_ms": 0.812, "p99_ms": 1250.0, "failed": 0},
        )

    def test_every_failure_counts(self):
        self.assertEqual(asking.parse_wrk(WRK + TROUBLE)["failed"], 15)


H2LOAD = """Application protocol: h2

finished in 1.23s, 7447.00 req/s, 517.11KB/s
requests: 9 total, 10 started, 9 done, 6 succeeded, 3 failed, 1 errored, 0 timeout
status codes: 6 2xx, 0 3xx, 2 4xx, 0 5xx
"""


class H2load(unittest.TestCase):
    def test_figures(self):
        log = "".join(f"1\t200\t{n}000\n" for n in range(100))
        self.assertEqual(
            asking.parse_h2load(H2LOAD, log),
            {"requests": 6, "seconds": 1.23, "p50_ms": 50, "p99_ms": 99, "failed": 3},
        )

    def test_another_protocol_is_no_figure(self):
        with self.assertRaises(proxies.Failed):
            asking.parse_h2load(H2LOAD.replace(": h2", ": http/1.1"), "")


class Frames(unittest.TestCase):
    def test_frames_come_back(self):
        sent = frames.get(1) + frames.settings(INITIAL_WINDOW_SIZE=7) + frames.window_update(3, 5)
        reader = frames.Reader()
        came = [one for at in range(len(sent)) for one in reader.frames(sent[at:at + 1])]
        self.assertEqual([one[:3] for one in came], [(1, 5, 1), (4, 0, 0), (8, 0, 3)])
        self.assertEqual([one[3] for one in came[1:]], [bytes([0, 4, 0, 0, 0, 7]), bytes([0, 0, 0, 5])])

    def test_numbers(self):
        # The examples of RFC 7541, C.1.
        for value, bits, expected in ((10, 5, "0a"), (1337, 5, "1f9a0a"), (42, 8, "2a")):
            self.assertEqual(frames.number(value, bits).hex(), expected)


class Statistics(unittest.TestCase):
    def test_ratios_are_of_rounds(self):
        over = [sample(1, turn=0), sample(20, turn=1), sample(3, turn=2), sample(9, turn=3)]
        under = [sample(1, turn=2), sample(10, turn=1), sample(1, turn=0)]
        self.assertEqual(measure.ratios(over, under), [1, 2, 3])
        self.assertEqual(measure.ratios(over, under, "instructions"), [])

    def test_spread(self):
        self.assertAlmostEqual(measure.spread([9, 10, 11]), 0.1)

    def test_interval(self):
        # The ranks of the 95 % interval of a median, as tables of the sign test have them.
        for count, ranks in ((1, (1, 1)), (5, (1, 5)), (6, (1, 6)), (9, (2, 8)), (11, (2, 10)), (15, (4, 12))):
            self.assertEqual(measure.interval(list(range(1, count + 1))), ranks)


class Templates(unittest.TestCase):
    def test_blocks_keep_their_indentation(self):
        filled = proxies.fill("a:\n  @ROUTES@\nb: x@PORT@y @OTHER@", {"ROUTES": "1\n2", "PORT": 3})
        self.assertEqual(filled, "a:\n  1\n  2\nb: x3y @OTHER@")

    def test_values_may_have_names(self):
        self.assertEqual(proxies.fill("  @ROUTES@", {"ROUTES": "in @DIR@", "DIR": "/d"}), "  in /d")


class Agreement(unittest.TestCase):
    probe = GET.probes[0]
    due = [("access-control-allow-origin", APP), ("access-control-allow-credentials", "true")]

    def found(self, kind, fields, status=200, body=b"hello, hello, hello\n"):
        return agreement.disagreements(kind, "get", self.probe, status, fields, body)

    def test_what_is_due(self):
        self.assertEqual(self.found("nginx", [*self.due, ("vary", "Accept, origin")])[0][:5], "vary:")
        self.assertEqual(self.found("nginx", [*self.due, ("vary", "ORIGIN"), ("server", "x")]), [])

    def test_every_difference_is_told(self):
        fields = [("access-control-allow-origin", "*"), ("access-control-max-age", "1")]
        self.assertEqual(len(self.found("nginx", fields, 204, b"")), 6)

    def test_a_repeated_header_is_a_difference(self):
        self.assertEqual(len(self.found("nginx", [*self.due, self.due[0], ("vary", "origin")])), 1)

    def test_a_known_difference_must_be_there(self):
        self.assertEqual(self.found("bare Pingora", []), [])
        self.assertNotEqual(self.found("bare Pingora", [("vary", "origin")]), [])

    def test_the_origin_is_told(self):
        self.assertEqual(agreement.untold("nginx", "http", "h:1", "127.0.0.1|http|h:1|h:1|7"), "")
        self.assertIn("X-Forwarded", agreement.untold("nginx", "http", "h:1", "|||h:1|7"))
        self.assertIn("`Host`", agreement.untold("nginx", "http", "h:1", "127.0.0.1|http|h:1|app|7"))
        self.assertEqual(agreement.untold("bare Pingora", "http", "h:1", "|||h:1|7"), "")


class Groups(unittest.TestCase):
    registry = "/r/.cargo/registry/src/index-0/"

    def test_the_innermost_that_belongs_to_one_decides(self):
        std, route = "/rustc/0/library/core/src/ptr/mod.rs", "/home/x/corsac/src/route/table/mod.rs"
        for expected, *files in (
            ("routing, choice of upstream", std, self.registry + "bytes-1.2.3/src/bytes.rs", route),
            ("header maps", std, self.registry + "http-1.5.0/src/header/map.rs", route),
            ("corsac: hooks and the rest", "/home/x/corsac/src/proxy/mod.rs"),
            ("HTTP/1: parsing, framing", self.registry + "pingora-core-0.9.1/src/protocols/http/v1/server.rs"),
            ("proxying", self.registry + "pingora-core-0.9.1/src/apps/mod.rs"),
            ("Rust's library", std),
            ("not told apart", self.registry + "unknown-1.0.0/src/lib.rs", route),
        ):
            stack = [cpu_groups.Frame("f", file) for file in files]
            self.assertEqual(cpu_groups.group_of(stack, in_kernel=False)[0], expected)

    def test_symbols_without_a_source(self):
        def group(function, file):
            return cpu_groups.group_of([cpu_groups.Frame(function, file)], in_kernel=False)[0]

        self.assertEqual(group("__memmove_avx_unaligned_erms", "/lib/libc.so.6"), "memory: copied, compared, cleared")
        self.assertEqual(group("__send", "/lib/libc.so.6"), "system calls: libc's part")
        self.assertEqual(group("mi_malloc", ""), "memory: allocator")


class Report(unittest.TestCase):
    def test_everything_has_its_place(self):
        text = report.markdown(results())
        for scenario in SCENARIOS:
            self.assertIn(scenario.title, text)
        caddy = "Caddy / corsac | ≥ 3 | 7.000 (7.000 to 7.000) | met, by 133.3 % | 7.000 | 3.500 |"
        self.assertIn(f"GET, allowed origin: {caddy}", text)
        self.assertIn("plain corsac / plain bare Pingora", text)
        self.assertIn("| GET, allowed origin | 0.889 (0.889 to 0.889) | 0.125", text)

    def test_every_target_has_a_row(self):
        for found in (results(), results() | {"scenarios": {}}):
            rows = [row for part in PARTS for row in report.target_table(found, part).splitlines()[4:]]
            self.assertEqual(len(rows), len(RATIOS) + len(PAIRS) + len(IDLE))
        self.assertTrue(all("not measured" in row for row in rows))

    def test_only_like_is_compared_with_like(self):
        found = results()
        found["environment"]["builds"]["bare Pingora"] = "release"
        self.assertIn("corsac / bare Pingora | ≤ 1.08 |  | not judged", report.markdown(found))

    def test_who_is_missing_has_failed(self):
        found = results()
        del found["scenarios"]["get"]["nginx"]
        found["failures"] = {"a step": ["nginx does not start"]}
        text = report.markdown(found)
        self.assertIn(" failed |", text)
        self.assertIn("- a step: nginx does not start", text)

    def test_failures_make_void(self):
        self.assertIn("void: 3 failed", report.markdown(results(failed=3)))
        self.assertNotIn("met", report.target_table(results(failed=3), CLEAR))
        self.assertEqual(len(report.void(results(failed=3))), len(SCENARIOS) * len(KINDS))

    def test_each_part_has_its_own(self):
        found = results()
        found["scenarios"] = {"h2-get": found["scenarios"]["h2-get"]}
        self.assertEqual(report.measured_parts(found), [EDGE])
        self.assertEqual(report.measured_parts(results()), PARTS)
        self.assertNotIn("GET over HTTP/2", report.part_text(results(), CLEAR))

    def test_markers_stay(self):
        def page(inner):
            return f"a\n<!-- x: begin -->\n{inner}\n<!-- x: end -->\nb"

        self.assertEqual(report.between_markers(page("old"), "x", "new"), page("new"))

    def test_the_chart_is_xml(self):
        chart_of = xml.etree.ElementTree.fromstring(chart.svg(results()))
        bars = chart_of.iter("{http://www.w3.org/2000/svg}rect")
        # One more is the background.
        self.assertEqual(len(list(bars)), len(chart.SHOWN) * (len(KINDS) - len(PLAIN)) + 1)


# What Pingora's own listeners for TLS bring, which corsac does not use.
FLOOR_ALONE = {
    "aliasable", "asn1-rs", "asn1-rs-derive", "core-foundation", "der-parser", "heck", "no_debug",
    "oid-registry", "ouroboros", "ouroboros_macro", "pingora-ketama", "pingora-load-balancing",
    "pingora-rustls", "proc-macro2-diagnostics", "rustls-native-certs", "rustls-pemfile", "schannel",
    "security-framework", "security-framework-sys", "static_assertions", "x509-parser", "yansi",
}


class Floor(unittest.TestCase):
    corsac = proxies.HERE.parent
    bare = proxies.HERE / "bare-pingora"

    def test_it_is_built_of_the_same(self):
        def versions(lock):
            return set(re.findall(r'name = "(.*?)"\nversion = "(.*?)"\nsource', lock.read_text()))

        floor = versions(self.bare / "Cargo.lock")
        alone = {name for name, _ in floor - versions(self.corsac / "Cargo.lock")}
        self.assertEqual(alone, FLOOR_ALONE)

    def test_it_is_built_in_the_same_way(self):
        def manifest(folder):
            return tomllib.loads((folder / "Cargo.toml").read_text())

        def wanted(dependency):
            """Its version and features."""
            of = dependency if isinstance(dependency, dict) else {"version": dependency}
            return of["version"], set(of.get("features", ())) - {"rustls"}

        bare, corsac = manifest(self.bare), manifest(self.corsac)
        self.assertEqual(bare["profile"]["release"], corsac["profile"]["release"])
        for name, dependency in bare["dependencies"].items():
            self.assertEqual(wanted(dependency), wanted(corsac["dependencies"][name]), name)


class Configurations(unittest.TestCase):
    def test_no_name_is_left(self):
        for kind in KINDS:
            proxy = proxies.Proxy.__new__(proxies.Proxy)
            proxy.kind, proxy.dir, proxy.port, proxy.origin = kind, "/d", 1, proxy
            proxy.logged = "/d.log"
            for settings in (Settings(), LOGGED, OVER_TLS, Settings(routes=3, origins=3)):
                for name in kind.templates:
                    template = (proxies.HERE / "peers" / name).read_text()
                    self.assertNotRegex(proxies.fill(template, proxy.values(settings)), "@[A-Z_]+@")


if __name__ == "__main__":
    unittest.main()
