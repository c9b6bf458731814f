#!/usr/bin/env python3
"""Tests of scripts/calibrate with a made-up `attest ab` that answers as the seed says."""

import json
import os
import signal
import subprocess
import tempfile
import time
import unittest
from xml.etree import ElementTree

from need import need

need({"matplotlib": "python3-matplotlib", "numpy": "python3-numpy"})

import calibrate_data as tally

CALIBRATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "calibrate")
# Claims a difference in equal builds for every fifth seed; finds slow-downs of 3 % and more.
ATTEST = """#!/usr/bin/env python3
import json, os, sys, time
kernels = ["flash_a", "blocked_a", "flash_b", "blocked_b"]
if sys.argv[1] == "list":
    print(json.dumps({"kernels": [{"name": k, "runs": k[-1] == "a"} for k in kernels]}))
elif sys.argv[1] == "env":
    print(json.dumps({"class": os.environ.get("MADE_CLASS", "c"), "cpu": "made up"}))
else:
    option = {name: value for name, value in zip(sys.argv, sys.argv[1:]) if name[:2] == "--"}
    level, _, slowed = os.environ.get("ATTEST_PLANTED", "0:").partition(":")
    if os.environ.get("MADE_EXIT"):
        print("attest: no such problem", file=sys.stderr)
        sys.exit(int(os.environ["MADE_EXIT"]))
    time.sleep(float(os.environ.get("MADE_SECONDS", 0)))
    number = int(option["--seed"]) // 1000
    cells = []
    for kernel in option["--kernels"].split(","):
        for problem in option["--problems"].split():
            ratio = 1 + float(level) / 100 if kernel == slowed else 1
            verdict = "slower" if ratio >= 1.03 else "same"
            if sys.argv[2] == sys.argv[3] and number % 5 == 4 and not cells:
                verdict = "faster"
            cells.append({"kernel": kernel, "problem": problem, "threads": 1, "ratio": ratio,
                          "verdict": verdict, "base_samples": [1, 2]})
    document = {"verdict": "same", "noise_floor": 0.01, "cells": cells,
                "base": {"commit": "abc", "compiler": "gcc"}}
    with open(option["--json"], "w") as file:
        json.dump(document, file)
"""


class Statistics(unittest.TestCase):
    """The exact interval, against published values and its own definition."""

    def test_known_intervals(self):
        for count, total, low, high in ((0, 100, 0, 0.0362), (5, 100, 0.0164, 0.1128),
                                        (19, 20, 0.7513, 0.9987), (20, 20, 0.8316, 1),
                                        (0, 1, 0, 0.975)):
            found = tally.share_of(count, total)
            self.assertAlmostEqual(found.low, low, delta=5e-5)
            self.assertAlmostEqual(found.high, high, delta=5e-5)

    def test_tails_add_up(self):
        for count in range(1, 31):
            below = sum(tally.math.comb(30, i) * 0.3 ** i * 0.7 ** (30 - i) for i in range(count))
            self.assertAlmostEqual(tally.at_least(count, 30, 0.3), 1 - below, delta=1e-12)


@unittest.skipIf(len(os.sched_getaffinity(0)) < 2, "needs a second CPU for the load")
class Sessions(unittest.TestCase):
    """Sessions are run, kept, counted and drawn."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.attest, self.out = (os.path.join(folder.name, name) for name in ("attest", "out"))
        with open(self.attest, "w", encoding="utf-8") as file:
            file.write(ATTEST)
        os.chmod(self.attest, 0o755)

    def command(self, *words):
        """The command line."""
        return [CALIBRATE, "-o", self.out, "--attest", self.attest, "--planted", "planted", *words]

    def calibrate(self, *words, wanted=0, **variables):
        """What it prints on standard error."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=100,
                              check=False, env={**os.environ, **variables})
        self.assertEqual(done.returncode, wanted, done.stderr)
        return done.stderr

    def document(self):
        """The file that was written."""
        with open(os.path.join(self.out, "calibration.json"), encoding="utf-8") as file:
            return json.load(file)

    def written(self):
        """Name to bytes of every file that was written."""
        found = {}
        for name in os.listdir(self.out):
            with open(os.path.join(self.out, name), "rb") as file:
                found[name] = file.read()
        return found

    def test_counts(self):
        self.calibrate("--sessions", "10", "--repeats", "2", "--levels", "1,5")
        document = self.document()
        loads = [session["load"] for session in document["sessions"][:4]]
        self.assertEqual(loads, ["none", "compute", "none", "memory"])
        for session in document["sessions"][:10]:
            self.assertEqual(session["load"] != "none", session.get("load_share", 0) > 0)
        everything = tally.false_verdicts(document)[-1]
        self.assertEqual((everything.label, everything.sessions[:2], everything.cells[:2]),
                         ("all", (2, 10), (2, 60)))
        rows = {row.level: row for row in tally.power(document)}
        self.assertEqual((rows[1].found[:2], rows[5].found[:2]), ((0, 2), (2, 2)))
        self.assertAlmostEqual(rows[5].slowdown, 0.05)
        self.assertEqual(rows[5].others[:2], (0, 2))
        page = self.written()["calibration.md"].decode()
        for text in ("| all |", "2 of 10, 20 %",
                     "| 5 % | 2 of 2, 100 % | [15.8, 100.0] % | 5.00 %"):
            self.assertIn(text, page)
        for name in ("calibration-false.svg", "calibration-power.svg"):
            drawn = ElementTree.fromstring(self.written()[name])
            self.assertIn(drawn.get("aria-label"), page)

    def test_continues_and_draws_again(self):
        self.calibrate("--sessions", "2", "--repeats", "0")
        first = self.document()["sessions"]
        self.calibrate("--sessions", "3", "--repeats", "1", "--levels", "5")
        document = self.document()
        self.assertEqual(document["sessions"][:2], first)
        self.assertEqual([s["part"] for s in document["sessions"]], ["aa"] * 3 + ["power"])
        self.assertEqual(document["planned"], {"aa": 3, "power": 1})
        before = self.written()
        self.calibrate("--draw-only")
        self.assertEqual(self.written(), before)

    def test_levels_take_turns(self):
        self.calibrate("--sessions", "0", "--repeats", "3", "--levels", "1,2,3")
        levels = [session["planted"] for session in self.document()["sessions"]]
        self.assertEqual([sorted(levels[i:i + 3]) for i in (0, 3, 6)], [[1, 2, 3]] * 3)
        self.assertNotEqual(levels, [1, 2, 3] * 3)

    def test_cut_short_is_said(self):
        said = self.calibrate("--sessions", "50", "--repeats", "0", "--minutes", "0.005",
                              MADE_SECONDS="0.2")
        self.assertIn("sessions left when the minutes were over", said)
        done = len(self.document()["sessions"])
        self.assertLess(done, 50)
        self.assertIn(f"{done} of 50 planned sessions with equal builds, cut short",
                      self.written()["calibration.md"].decode())

    def test_interrupt_keeps_what_is_done(self):
        process = subprocess.Popen(self.command("--repeats", "0"), text=True, stderr=-1, stdout=-1,
                                   start_new_session=True,
                                   env={**os.environ, "MADE_SECONDS": "0.5"})
        process.stdout.readline()
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, errors)
        self.assertRegex(errors, r"calibrate: interrupted; 1 sessions are kept in")
        self.assertEqual(len(self.document()["sessions"]), 1)

    def test_bad_input(self):
        self.calibrate("--sessions", "1", "--repeats", "0")
        before = self.written()
        for words, hint, variables in (
                (["--levels", "5,x"], "--levels is '5,x'", {}),
                (["--slowed", "nope"], "must be one of flash_a, blocked_a", {}),
                (["--problems", "h8q256d64"], "sessions of another kind: problems is", {}),
                ([], "this machine is d, there c", {"MADE_CLASS": "d"}),
                (["--attest", "/no/attest"], "scripts/build", {}),
                ([], "attest ab exited with 2: attest: no such problem", {"MADE_EXIT": "2"}),
                ([], "attest ab wrote no comparison", {"MADE_EXIT": "125"})):
            with self.subTest(words=words, hint=hint):
                said = self.calibrate(*words, wanted=2, **variables)
                self.assertEqual(len(said.splitlines()), 1, said)
                self.assertIn(hint, said)
        self.assertEqual(self.written(), before)


if __name__ == "__main__":
    unittest.main()
