#!/usr/bin/env python3
"""Does a killed or starved `attest bench` keep what it measured?   test_resume.py ATTEST"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ATTEST = None
ROUNDS = 60


class Resume(unittest.TestCase):
    """A run in a folder of its own, killed when some rounds are on disk."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.journal = os.path.join(self.folder.name, "run.json.journal")

        self.words = [ATTEST, "bench", "--kernels", "blocked_auto,naive_auto", "--problems",
                      "h4q256d32", "--threads", "1", "--no-roofs", "--json", "run.json"]

    def bench(self, *more, rounds=ROUNDS):
        """The command, started."""
        return subprocess.Popen([*self.words, "--rounds", str(rounds), *more], text=True,
                                cwd=self.folder.name, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def lines(self):
        """Whole lines of the journal; none if there is no journal."""
        if not os.path.exists(self.journal):
            return []
        with open(self.journal, encoding="utf-8") as file:
            return [line for line in file if line.endswith("\n")]

    def finish(self, process):
        """Exit code, standard error."""
        _, errors = process.communicate(timeout=300)
        return process.returncode, errors

    def kill_after(self, lines):
        """Kill a run when its journal has so many lines; returns them."""
        process = self.bench()
        while process.poll() is None:
            if len(self.lines()) >= lines:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        self.assertEqual(self.finish(process)[0], -signal.SIGKILL, "it was over too soon")
        return [json.loads(line) for line in self.lines()]

    def result(self):
        """The first timed kernel's entry in the result file."""
        with open(os.path.join(self.folder.name, "run.json"), encoding="utf-8") as file:
            return json.load(file)["results"]

    def write_journal(self, lines):
        """The journal as it would stand after another kill."""
        with open(self.journal, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def expect_kept(self, line):
        """Each sample of a journal's line is in the result, or its round was dropped as dirty; but
        the sham's twin is timed anew where its sham is missing."""
        for arm, result in enumerate(self.result()):
            told = next(r for r in self.result() if "dirty_rounds" in r)["dirty_rounds"]
            dropped = any(abs(d["at_s"] - line["at_s"]) < 1e-6 for d in told)
            near = [abs(line["ns"][arm] / new - 1) < 1e-6 for new in result["samples"]
                    if line["ns"][arm] is not None]
            anew = line["sham"] is None and "sham_samples" in result
            self.assertTrue(dropped or anew or not near or any(near), (line, result["samples"]))

    def test_a_killed_run_goes_on(self):
        rounds = [line for line in self.kill_after(6)[1:] if not line["open"]]
        with open(self.journal, "a", encoding="utf-8") as file:
            file.write('{"group":0,"round":')  # torn by the kill
        self.assertEqual(self.finish(self.bench("--resume")), (0, ""))
        self.assertEqual(os.listdir(self.folder.name), ["run.json"])
        for arm, result in enumerate(self.result()):
            self.assertGreaterEqual(result["rounds"], 6)
            kept = [r["ns"][arm] for r in rounds if r["cause"] == -1 or result["rounds"] > ROUNDS]
            for old, new in zip(kept, result["samples"]):
                self.assertAlmostEqual(old, new, delta=1e-6 * old)

    def test_what_was_found_wrong_stays_wrong(self):
        lines = self.kill_after(6)
        self.assertEqual(lines[-1]["wrong"], {})
        lines[-1]["wrong"] = {"naive_auto": "got 1, want 2"}
        self.write_journal(lines)
        self.assertEqual(self.finish(self.bench("--resume"))[0], 1)
        reasons = {result["kernel"]: result["void_reason"] for result in self.result()}
        self.assertEqual(reasons, {"blocked_auto": None, "naive_auto": "got 1, want 2"})

    def test_a_half_round_stands(self):
        first = self.kill_after(6)
        os.remove(self.journal)
        for missing in ((0, True), (1, True), (0, False), (1, False)):
            with self.subTest(missing):
                arm, without_sham = missing
                lines = [line for line in first if not line.get("open")]
                half = lines[-1] = dict(lines[-1], open=True, half=True, cause=-1)
                half["ns"] = [None if a == arm else ns for a, ns in enumerate(half["ns"])]
                half["sham"] = None if without_sham else half["sham"]
                self.write_journal(lines)
                self.assertEqual(self.finish(self.bench("--resume")), (0, ""))
                self.expect_kept(half)
                counts = [len(result["samples"]) for result in self.result()]
                self.assertGreaterEqual(min(counts), 6)
                for result in self.result():
                    self.assertEqual(len(result.get("sample_rounds", result["samples"])),
                                     len(result["samples"]))
                    for name in ("sham_samples", "at_s"):   # told with the sham's twin
                        if name in result:
                            self.assertEqual(len(result[name]), max(counts))

    def test_a_kill_within_a_round_keeps_its_samples(self):
        self.words[3] = "naive_scalar,select_scalar,blocked_scalar,flash_scalar"
        self.words[5] = "h8q512d64"
        process = self.bench(rounds=1)
        while process.poll() is None and not any('"open":true' in line for line in self.lines()):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        self.assertEqual(self.finish(process)[0], -signal.SIGKILL, "it was over too soon")
        line = [json.loads(line) for line in self.lines()][-1]
        self.assertEqual(self.finish(self.bench("--resume", rounds=1)), (0, ""))
        self.expect_kept(line)

    def test_an_unfinished_run_is_not_overwritten(self):
        self.kill_after(3)
        before = self.lines()
        code, errors = self.finish(self.bench())
        self.assertEqual((code, errors.count("\n")), (2, 1))
        self.assertIn("--resume", errors)
        self.assertEqual(self.lines(), before)

    def test_another_run_is_not_gone_on_with(self):
        self.kill_after(3)
        code, errors = self.finish(self.bench("--resume", "--seed", "9"))
        self.assertEqual((code, errors.count("\n")), (2, 1))
        self.assertIn("another command line", errors)

    def test_nothing_to_resume(self):
        code, errors = self.finish(self.bench("--resume"))
        self.assertEqual((code, errors.count("\n")), (2, 1))
        self.assertIn("run.json.journal", errors)

    def test_no_space_is_said_before_measuring(self):
        own = ["unshare", "--map-root-user", "--mount"]
        if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
            self.skipTest("unshare cannot make a file system of its own here")
        script = ('mount -t tmpfs -o size=64k small "$1" && cd "$1" && shift && "$@"; code=$?; '
                  'ls -A >&2; exit $code')
        done = subprocess.run(
            [*own, "sh", "-c", script, "sh", self.folder.name, *self.words, "--rounds", "120"],
            capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1), done.stderr)
        self.assertIn("reserve", done.stderr)

    def test_an_interrupted_run_is_kept(self):
        process = self.bench(rounds=120)
        while len(self.lines()) < 4:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        code, errors = self.finish(process)
        self.assertEqual(code, 130, errors)
        self.assertEqual(os.listdir(self.folder.name), ["run.json"])
        self.assertGreaterEqual(self.result()[0]["rounds"], 3)


if __name__ == "__main__":
    ATTEST = os.path.abspath(sys.argv.pop(1))
    unittest.main()
