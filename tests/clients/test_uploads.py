"""Tests of what is computed: `python3 -m unittest discover tests/clients`."""

import unittest

import uploads

CASES = {case["name"]: case for case in uploads.CASES}


def report(case, status=200, body="", followed=False, client="c"):
    return {"client": client, "case": case, "status": status, "body": body, "followed": followed}


class Answers(unittest.TestCase):
    def wrong(self, case, *more, **named):
        return uploads.wrong(CASES[case], report(case, *more, **named))

    def test_what_was_sent(self):
        self.assertEqual(self.wrong("announced", 413), "")
        self.assertEqual(self.wrong("announced", 502), "status 502")
        self.assertEqual(self.wrong("respond-200", 200, "early"), "")
        self.assertEqual(self.wrong("respond-200", 200, "ear"), "body 'ear'")

    def test_a_redirect_is_read_or_followed(self):
        self.assertEqual(self.wrong("redirect", 307), "")
        self.assertEqual(self.wrong("redirect", 200, "read 4194304", followed=True), "")
        self.assertEqual(self.wrong("redirect", 404, followed=True), "status 404")

    def test_an_error_is_no_answer(self):
        failed = {"client": "c", "case": "dead", "error": "TypeError: Failed to fetch\nmore"}
        self.assertEqual(uploads.wrong(CASES["dead"], failed), "TypeError: Failed to fetch")


class Table(unittest.TestCase):
    def test_every_case_has_a_column(self):
        text, unread = uploads.table([report("announced", 413), report("announced", 500), report("dead", 502, client="d")])
        head, _, first, second, *_ = text.splitlines()
        self.assertEqual(unread, 1)
        self.assertEqual(head.count("|"), len(CASES) + 2)
        self.assertIn("| c | – | **1/2** |", first)
        self.assertIn("| 1/1 |", second)
        self.assertIn("- c, announced: status 500", text)


class Cases(unittest.TestCase):
    def test_pages_send_what_they_can(self):
        sent = {name for name, case in CASES.items() if uploads.sent_by_page(case)}
        self.assertEqual(set(CASES) - sent, {"counted", "refused"})


if __name__ == "__main__":
    unittest.main()
