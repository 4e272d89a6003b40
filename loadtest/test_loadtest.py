"""Tests of what is computed: `python3 -m unittest discover loadtest`."""

import re
import unittest
import xml.etree.ElementTree

import agreement
import chart
import measure
import proxies
import report
from proxies import APP, KINDS, Settings
from scenarios import GET, SCENARIOS

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


def sample(cpu_us, failed=0):
    return {
        "rps": 1e6 / cpu_us, "cpu_us": cpu_us, "p50_ms": 1.0, "p99_ms": 2.0, "busy": 1.0,
        "memory_kib": 2048, "failed": failed, "requests": 10,
    }


def results(failed=0):
    def of(scale):
        return {
            kind.name: measure.summary([sample(scale * n), sample(scale * n, failed)])
            for n, kind in enumerate(KINDS, 1)
        }

    return {
        "environment": {
            "date": "2000-01-01", "cpu": "a <CPU>", "cores": 2, "kernel": "6", "others_busy": 0.0,
            "versions": {"wrk": "4"}, "builds": {"corsac": "release-pgo", "other corsac": "release"}, "commit": "abc",
        },
        "plan": {"rounds": 2, "seconds": 1},
        "scenarios": {s.name: of(n) for n, s in enumerate(SCENARIOS, 1)},
        "pairs": {}, "idle": {}, "reload": {},
    }


class Wrk(unittest.TestCase):
    def test_figures(self):
        self.assertEqual(
            measure.parse_wrk(WRK),
            {"requests": 40123, "seconds": 1.1, "p50_ms": 0.812, "p99_ms": 1250.0, "failed": 0},
        )

    def test_every_failure_counts(self):
        self.assertEqual(measure.parse_wrk(WRK + TROUBLE)["failed"], 15)


class Statistics(unittest.TestCase):
    def test_ratio_is_of_rounds(self):
        over, under = [sample(1), sample(20), sample(3)], [sample(1), sample(10), sample(3)]
        self.assertEqual(measure.ratio(over, under), 1)

    def test_spread(self):
        self.assertAlmostEqual(measure.spread([9, 10, 11]), 0.1)


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


class Report(unittest.TestCase):
    def test_everything_has_its_place(self):
        text = report.markdown(results())
        for scenario in SCENARIOS:
            self.assertIn(scenario.title, text)
        self.assertIn("GET, allowed origin: Caddy / corsac | ≥ 3 | 7.000 | met, by 133.3 %", text)
        self.assertIn("preflight, answered at the edge: corsac / HAProxy | ≤ 1 | 0.333 | met", text)
        self.assertIn("release-pgo / release", text)
        self.assertIn("| GET, allowed origin | 2.00 / 16.0 | 0.125 | 0.125 to 0.125 |", text)

    def test_failures_make_void(self):
        self.assertIn("void: 3 failed", report.markdown(results(failed=3)))
        self.assertNotIn("Targets", report.markdown(results(failed=3)))
        self.assertEqual(len(report.void(results(failed=3))), len(SCENARIOS) * len(KINDS))

    def test_markers_stay(self):
        page = f"a\n{report.BEGIN}\nold\n{report.END}\nb"
        self.assertEqual(report.between_markers(page, "new"), f"a\n{report.BEGIN}\nnew\n{report.END}\nb")

    def test_the_chart_is_xml(self):
        chart_of = xml.etree.ElementTree.fromstring(chart.svg(results()))
        bars = chart_of.iter("{http://www.w3.org/2000/svg}rect")
        # One more is the background.
        self.assertEqual(len(list(bars)), len(chart.SHOWN) * len(KINDS) + 1)


class Floor(unittest.TestCase):
    def test_it_is_built_of_the_same(self):
        def versions(lock):
            return set(re.findall(r'name = "(.*?)"\nversion = "(.*?)"\nsource', lock.read_text()))

        floor = versions(proxies.HERE / "bare-pingora" / "Cargo.lock")
        self.assertEqual(floor - versions(proxies.HERE.parent / "Cargo.lock"), set())


class Configurations(unittest.TestCase):
    def test_no_name_is_left(self):
        for kind in KINDS:
            proxy = proxies.Proxy.__new__(proxies.Proxy)
            proxy.kind, proxy.dir, proxy.port, proxy.origin = kind, "/d", 1, proxy
            for settings in (Settings(), Settings(routes=3, origins=3)):
                for name in kind.templates:
                    template = (proxies.HERE / "peers" / name).read_text()
                    self.assertNotRegex(proxies.fill(template, proxy.values(settings)), "@[A-Z_]+@")


if __name__ == "__main__":
    unittest.main()
