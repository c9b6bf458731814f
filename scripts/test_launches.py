#!/usr/bin/env python3
"""Does attest ab claim what is there, and nothing else?   test_launches.py ATTEST

It gets programs made here that answer `bench` as attest does, with made-up result files: a slow
one, a noisy one, one that crashes.
"""

import os
import signal
import stat
import subprocess
import sys
import time
import unittest

from made_runs import Folder, run_file

# A made-up build: its n-th launch of all leaves the n-th of the files made for it.
BUILD = """#!/bin/sh
case "$*" in *--help*) echo "usage: attest bench [options]"; echo "  --no-roofs"; exit;; esac
echo "{name} $*" >> "{folder}/log"
while [ $# -gt 0 ]; do [ "$1" != --json ] || out=$2; shift; done
{body}
"""
COPY = 'cp "{folder}/{name}."$(wc -l < "{folder}/log") "$out"'


class Ab(Folder):
    """Two builds in alternating launches."""

    def script(self, name, body):
        """A program that does `body` when it is to bench."""
        body = body.format(folder=self.folder.name, name=name)
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(BUILD.format(name=name, folder=self.folder.name, body=body))
        os.chmod(self.path(name), stat.S_IRWXU)
        return self.path(name)

    def build(self, name, scale=lambda launch: 1.0, noise=0.002):
        """A program whose flash_avx2 takes `scale(launch)` as long, counted over all launches."""
        for launch in range(1, 55):
            self.write(f"{name}.{launch}",
                       run_file({"flash_avx2": scale(launch)}, noise, (name, launch)))
        return self.script(name, COPY)

    def steady(self, name, scale=1.0, noise=0.002):
        """A program that always takes as long."""
        return self.build(name, lambda launch: scale, noise)

    def launches(self):
        """All launches in order: the build's name, then its arguments."""
        with open(self.path("log"), encoding="utf-8") as file:
            return [line.split() for line in file]

    def test_same(self):
        done = self.attest("ab", self.steady("old"), self.steady("new"), "--gate", "3", "--json",
                           self.path("ab.json"))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("9 launches per side", done.stdout)
        report = self.read("ab.json")
        self.assertEqual(report["verdict"], "same")
        self.assertEqual([cell["verdict"] for cell in report["cells"]], ["same"] * 4)
        for cell in report["cells"]:
            for side in ("base_samples", "new_samples", "sham_samples"):
                self.assertEqual(len(cell[side]), 9)

    def test_orders(self):
        """Six cycles hold every order of three once; each build gets what it was promised."""
        self.attest("ab", self.steady("old"), self.steady("new"), "--launches", "6", "--kernels",
                    "all", "--budget", "36s", "--seed", "5")
        launches = self.launches()
        self.assertEqual(len(launches), 18)
        news = [place for place in range(18) if launches[place][0] == "new"]
        self.assertEqual(sorted(place % 3 for place in news), [0, 0, 1, 1, 2, 2])
        self.assertEqual([place // 3 for place in news], list(range(6)))
        for place, words in enumerate(launches):
            self.assertEqual(words[1], "bench")
            text = " ".join(words)
            self.assertIn("--kernels all --budget 2.000000s", text)
            self.assertIn(f"--seed {5 + place // 3} ", text)
            self.assertIn("--no-roofs", words)

    def test_slow_kernel_fails_the_gate_twice(self):
        done = self.attest("ab", self.steady("old"), self.steady("new", 1.05), "--gate", "3",
                           "--json", self.path("ab.json"), "--markdown", self.path("ab.md"))
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(len(self.launches()), 54)
        report = self.read("ab.json")
        self.assertEqual(report["verdict"], "slower")
        self.assertEqual(report["gate"]["kernels"], [
            {"kernel": "flash_avx2", "p": report["gate"]["kernels"][0]["p"], "answer": "slower"},
            {"kernel": "naive_scalar", "p": 1.0, "answer": "clear"}])
        self.assertEqual(report["second_set"]["verdict"], "slower")
        for cell in report["cells"]:
            slow = cell["kernel"] == "flash_avx2"
            self.assertEqual(cell["verdict"], "slower" if slow else "same")
            self.assertAlmostEqual(cell["ratio"], 1.05 if slow else 1, delta=0.004)
            self.assertLess(cell["low"], cell["ratio"])
            self.assertGreater(cell["high"], cell["ratio"])
        self.assertIn("again in a second set", done.stdout)
        for line in done.stdout.splitlines():
            self.assertLessEqual(len(line), 80)
        with open(self.path("ab.md"), encoding="utf-8") as file:
            text = file.read()
        self.assertTrue(text.startswith("**attest: slower: 2 slower, 0 faster, 2 same"), text)
        self.assertIn("noise floor", text)
        self.assertIn("Smallest difference that could be seen", text)

    def test_slower_within_the_gate(self):
        done = self.attest("ab", self.steady("old"), self.steady("new", 1.05), "--gate", "10")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("slower: 2 slower", done.stdout)
        self.assertEqual(len(self.launches()), 27)

    def test_faster(self):
        done = self.attest("ab", self.steady("old"), self.steady("new", 0.9), "--gate", "3")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("faster: 0 slower, 2 faster, 2 same", done.stdout)

    def test_slow_only_once(self):
        """A slow hour that passes before the second set is no regression."""
        new = self.build("new", lambda launch: 1.2 if launch <= 27 else 1)
        done = self.attest("ab", self.steady("old"), new, "--gate", "3")
        self.assertEqual(done.returncode, 125, done.stdout)
        self.assertIn("but not in the second", " ".join(done.stdout.split()))

    def test_noise_is_undecided(self):
        done = self.attest("ab", self.steady("old", noise=0.3), self.steady("new", noise=0.3),
                           "--gate", "3")
        self.assertEqual(done.returncode, 125, done.stdout)
        self.assertIn("the gate of 3 % is below", done.stdout)
        self.assertEqual(self.attest("ab", self.path("old"), self.path("new")).returncode, 0)

    def test_sham_that_differs(self):
        """A base that seems to differ from itself leaves everything undecided."""
        old, new = self.steady("old"), self.steady("new", 1.2)
        words = ["ab", old, new, "--json", self.path("ab.json")]
        self.assertEqual(self.attest(*words).returncode, 0)
        self.assertEqual(self.read("ab.json")["verdict"], "slower")
        shams = self.read("ab.json")["cells"][0]["sham_samples"]
        os.remove(self.path("log"))
        for launch in range(1, 28):  # the same seed gives the same order
            run = self.read(f"old.{launch}")
            if any(abs(run["results"][0]["median_ns"] - sham) < 0.01 for sham in shams):
                for result in run["results"]:
                    result["median_ns"] *= 1.03
                self.write(f"old.{launch}", run)
        done = self.attest(*words, "--gate", "3")
        self.assertEqual(done.returncode, 125, done.stdout)
        self.assertIn("the sham is flagged", " ".join(done.stdout.split()))
        self.assertEqual(self.read("ab.json")["verdict"], "undecided")
        self.assertEqual(len(self.launches()), 27)

    def test_failures(self):
        old, new = self.steady("old"), self.steady("new")
        crash = self.script("crash", "echo first >&2; echo out of luck >&2; exit 3")
        killed = self.script("killed", "kill -SEGV $$")
        mute = self.script("mute", "exit 0")
        broken = run_file()
        broken["results"][0].update(verified=False, void_reason="is wrong")
        self.write("broken", broken)
        void = self.script("void", 'cp "{folder}/broken" "$out"; exit 1')
        self.refused(f"{crash} exited with 3: out of luck", "ab", old, crash)
        self.refused(f"{crash} exited with 3: out of luck", "ab", crash, new, "--gate", "3")
        self.refused(f"{killed} exited with 139", "ab", old, killed)
        self.refused(f"{mute} wrote no result file", "ab", old, mute)
        self.refused(f"{void}: flash_avx2 is void on h8q128d64: is wrong", "ab", old, void)
        done = self.attest("ab", old, crash, "--gate", "3")
        self.assertEqual(done.returncode, 125)
        self.assertIn("out of luck", done.stderr)

    def test_a_killed_launch_leaves_nothing(self):
        killed = self.script("killed", 'touch "$out.journal"; kill -SEGV $$')
        os.mkdir(self.path("tmp"))
        done = self.attest("ab", killed, killed, env={**os.environ, "TMPDIR": self.path("tmp")})
        self.assertEqual(done.returncode, 2)
        self.assertTrue(os.path.exists(self.path("log")))
        self.assertEqual(os.listdir(self.path("tmp")), [])

    def test_refusals(self):
        old, real = self.steady("old"), self.ATTEST
        for hint, *words in (
                ("name two builds", "ab"), ("name two builds", "ab", old),
                ("no program", "ab", old, "/no/such/build"),
                ("no program", "ab", "/no/such/build", old),
                ("is no attest", "ab", old, "/bin/true"),
                ("--launches", "ab", old, old, "--launches", "5"),
                ("--gate", "ab", old, old, "--gate", "much"),
                ("--gate", "ab", old, old, "--gate", "-3"),
                ("not both", "ab", old, old, "--budget", "60s", "--rounds", "6"),
                ("60s", "ab", old, old, "--budget", "soon"),
                ("/no/such/folder", "ab", old, old, "--json", "/no/such/folder/x"),
                ("/no/such/folder", "ab", old, old, "--markdown", "/no/such/folder/x"),
                ("unknown kernel", "ab", real, real, "--kernels", "none", "--gate", "3"),
                ('--threads is "0"', "ab", real, real, "--threads", "0", "--gate", "3")):
            with self.subTest(words=words):
                self.refused(hint, *words)
        self.assertFalse(os.path.exists(self.path("log")))

    def interrupt(self, after):
        """ab, interrupted once `after` launches have begun."""
        self.write("run", run_file())
        slow = self.script("slow", 'sleep 0.02; cp "{folder}/run" "$out"')
        with subprocess.Popen([self.ATTEST, "ab", slow, slow, "--launches", "64", "--json",
                               self.path("ab.json")], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            while process.poll() is None and (
                    not os.path.exists(self.path("log")) or len(self.launches()) < after):
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        return process.returncode, errors

    def test_interrupt_keeps_complete_cycles(self):
        code, errors = self.interrupt(20)
        self.assertEqual(code, 130)
        self.assertIn("which are kept", errors)
        self.assertGreaterEqual(self.read("ab.json")["base_launches"], 6)

    def test_interrupt_too_early(self):
        code, errors = self.interrupt(3)
        self.assertEqual(code, 130)
        self.assertIn("none is kept", errors)
        self.assertFalse(os.path.exists(self.path("ab.json")))


if __name__ == "__main__":
    Folder.ATTEST = os.path.abspath(sys.argv.pop(1))
    unittest.main()
