"""Tests of what is computed: `python3 -m unittest discover tests/clients`."""

import unittest

import scan

GOOD = [{"id": name, "severity": "INFO", "finding": due} for name, due in scan.DUE.items()]


def finding(name, severity, text="what is wrong"):
    return {"id": name, "severity": severity, "finding": text}


class Findings(unittest.TestCase):
    def test_what_is_harmless_or_allowed(self):
        allowed = [finding("cipher_order", "HIGH"), finding("x", "LOW")]
        self.assertEqual(list(scan.wrong(GOOD + allowed)), [])

    def test_what_is_not(self):
        found = [finding("heartbleed", "CRITICAL"), finding("cert_trust <cert#1>", "MEDIUM"), finding("x", "WARN")]
        self.assertEqual(len(list(scan.wrong(GOOD + found))), 3)

    def test_what_was_not_looked_at(self):
        self.assertEqual(list(scan.wrong(GOOD[1:])), ["TLS1: not looked at, not not offered"])
        self.assertEqual(len(list(scan.wrong([]))), len(scan.DUE))


if __name__ == "__main__":
    unittest.main()
