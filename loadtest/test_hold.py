"""Tests of what is computed of hostile clients: `python3 -m unittest discover loadtest`."""

import types
import unittest

import attacks
import crowd
import hold
import hold_report
import honest
import proxies
import soak
from proxies import HERE

# A listener, a connection that is accepted, one in the queue, one that a process has half closed,
# one that no process has any more, one to another port.
TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0
   1: 0100007F:1F90 0200007F:0001 01 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0
   2: 0100007F:1F90 0200007F:0002 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0 100 0 0 10 0
   3: 0100007F:1F90 0200007F:0003 04 00000000:00000000 00:00000000 00000000     0        0 13 1 0 100 0 0 10 0
   4: 0100007F:1F90 0200007F:0004 04 00000000:00000000 00:00000000 00000000     0        0 0 1 0 100 0 0 10 0
   5: 0100007F:1F91 0200007F:0005 01 00000000:00000000 00:00000000 00000000     0        0 14 1 0 100 0 0 10 0
"""


def client(begun, ended=None, how=None, status=None):
    return types.SimpleNamespace(begun=begun, ended=ended, how=how, status=status)


def found(**changed):
    times = {"requests": 100, "failed": 0, "p50_ms": 1.0, "p99_ms": 2.0}
    return {
        "clients": 3, "begun": 3, "ended": 3, "how": {"closed": 3}, "statuses": {"408": 3},
        "ended_s": [10.0, 10.1, 10.2], "limit_s": 10, "kib_each": 4.0, "socket_kib_each": 1.0, "cpu": 0.1,
        "before": times, "arriving": times, "during": times,
    } | changed


def results(**changed):
    return {
        "environment": {
            "date": "2000-01-01", "cpu": "a", "cores": 2, "kernel": "6", "others_busy": 0.0,
            "versions": {"nginx": "1"}, "builds": {"corsac": "release"}, "commit": "abc",
        },
        "limit_s": 10, "unknown": [],
        "targets": {"head": {"title": "drip", "clients": 3, "status": 408, "kib_each": 9}},
        "scenarios": {"head": {"corsac": found(**changed), "nginx": found(ended=0, ended_s=[])}},
        "chunks": {"corsac": {"cpu_s": 0.1, "statuses": [200]}},
        "descriptors": [{"what": "a reload", "met": True, "seconds": 0.1, "wrong": ""}], "failures": [],
    }


class Connections(unittest.TestCase):
    def test_an_address_is_as_in_the_table(self):
        self.assertEqual(crowd.table_address("127.0.0.2", 1), "0200007F:0001")

    def test_who_is_held(self):
        held = {f"0200007F:000{port}" for port in (1, 2, 3)}
        self.assertEqual(crowd.held_connections(8080, TABLE), held)

    def test_addresses_have_ports_to_spare(self):
        self.assertEqual(crowd.source_address(0), "127.0.0.2")
        self.assertEqual(crowd.source_address(9_000), "127.0.0.11")

    def test_a_status(self):
        self.assertEqual(crowd.status_of(b"HTTP/1.1 408 Request Timeout\r\n"), 408)
        self.assertEqual(crowd.status_of(b"HTTP/1.0 200\r\n"), 200)
        self.assertEqual(crowd.status_of(b"nonsense"), 0)
        self.assertEqual(crowd.status_of(b"HTTP/1.1"), 0)

    def test_ends(self):
        clients = [client(1, 11, "closed", 408), client(2, 14, "reset"), client(3), client(None)]
        self.assertEqual(crowd.ends(clients), {
            "begun": 3, "ended": 2, "how": {"closed": 1, "reset": 1}, "statuses": {"408": 1},
            "ended_s": [10, 12, 12],
        })


class Latency(unittest.TestCase):
    def test_percentiles_of_a_time(self):
        asked = [(second, second, second != 50) for second in range(200)]
        self.assertEqual(
            honest.latency(asked, 0, 100), {"requests": 100, "failed": 1, "p50_ms": 50, "p99_ms": 99})
        self.assertEqual(
            honest.latency(asked, 300, 400), {"requests": 0, "failed": 0, "p50_ms": None, "p99_ms": None})


class Targets(unittest.TestCase):
    def missed(self, **changed):
        return [row[2] for row in hold_report.missed(results(**changed))]

    def test_all_are_met(self):
        self.assertEqual(self.missed(), [])

    def test_each_is_missed(self):
        slow = {"requests": 100, "failed": 0, "p50_ms": 1.0, "p99_ms": 4.1}
        for what, changed in (
            ("ended", {"ended": 2}),
            ("ended", {"begun": 2}),
            ("ended", {"ended_s": [8.9, 10, 10]}),
            ("ended", {"ended_s": [10, 10, 22.1]}),
            ("told", {"statuses": {"408": 2, "504": 1}}),
            ("memory", {"kib_each": 9.1}),
            ("honest client's p99", {"during": slow}),
        ):
            self.assertEqual(self.missed(**changed), [what], changed)
        self.assertEqual(len(self.missed(during=slow | {"failed": 1})), 2)
        self.assertEqual(len(self.missed(before=slow | {"p50_ms": None, "p99_ms": None})), 2)

    def test_only_corsac_must(self):
        found = results()
        self.assertIn(False, [row[-1] for row in hold_report.judged(found) if row[1] == "nginx"])
        self.assertEqual(hold_report.missed(found), [])

    def test_what_fails_is_told(self):
        found = results()
        found["chunks"]["corsac"]["cpu_s"] = 0.21
        found["descriptors"] = [{"what": "a reload", "met": False, "seconds": 5.0, "wrong": "nothing\nmore"}]
        self.assertEqual([row[3] for row in hold_report.missed(found)], ["0.21 s", "nothing"])

    def test_everything_has_its_place(self):
        text = hold_report.markdown(results() | {"unknown": ["head"]})
        self.assertIn("does not have `head` yet", text)
        self.assertIn("| nginx | 0 | never |", text)
        self.assertIn("| drip | told | 408: 3 | 408 | met |", text)


class Configurations(unittest.TestCase):
    def test_no_name_is_left(self):
        for kind in [*hold.HOLD_KINDS, hold.HOLD_ORIGIN]:
            proxy = hold.HoldProxy.__new__(hold.HoldProxy)
            proxy.kind, proxy.dir, proxy.port, proxy.origin, proxy.logged = kind, "/d", 1, proxy, "/d.log"
            values = proxy.values(hold.HoldSettings(log=True, limits=tuple(hold.limit_lines(10).values())))
            for name in kind.templates:
                self.assertNotRegex(proxies.fill((HERE / "peers" / name).read_text(), values), "@[A-Z_]+@")

    def test_every_limit_that_ends_clients_is_set(self):
        self.assertLessEqual({scenario.key for scenario in hold.SCENARIOS}, set(hold.limit_lines(1)))


def soaked(**changed):
    lap = {"memory_kib": 100_000, "descriptors": 100, "requests": dict.fromkeys(soak.HONEST, 9),
           "failed": dict.fromkeys(soak.HONEST, 0)}
    both = (*attacks.FLOODS, *attacks.SIEGES)
    return {
        "alive": True, "laps": [lap] * 3, "attacks": {attack.name: {"ended": 1} for attack in both},
        "counters": {attack.name: 1 for attack in both if attack.counted},
        "descriptors_before": 30, "descriptors_left": 30,
    } | changed


class Soak(unittest.TestCase):
    def missed(self, **changed):
        return [what for what, _, _, met in soak.judged(soaked(**changed)) if not met]

    def test_all_is_well(self):
        self.assertEqual(self.missed(), [])

    def test_each_is_missed(self):
        laps = soaked()["laps"]
        for what, changed in (
            ("corsac", {"alive": False}),
            ("honest requests, HTTP/2", {"laps": [*laps, laps[0] | {"failed": laps[0]["failed"] | {"HTTP/2": 1}}]}),
            ("resident memory at the end", {"laps": [*laps, laps[0] | {"memory_kib": 130_000}]}),
            ("open descriptors at the end", {"laps": [*laps, laps[0] | {"descriptors": 175}]}),
            ("open descriptors once all are gone", {"descriptors_left": 159}),
            ("attack: PING", {"attacks": soaked()["attacks"] | {"PING": {"held": 1}}}),
        ):
            self.assertEqual(self.missed(**changed), [what])
        uncounted = self.missed(counters=soaked()["counters"] | {"PING": 0})
        self.assertEqual(uncounted, ["attack: PING", "attacks whose counter has grown"])

    def test_counters_are_summed(self):
        text = 'x_total{listener="a",reason="r"} 2\nx_total{listener="b",reason="r"} 3\nx_total{reason="q"} 9\n'
        self.assertEqual(soak.counter(text, "x_total", "r"), 5)


if __name__ == "__main__":
    unittest.main()
