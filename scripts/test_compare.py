#!/usr/bin/env python3
"""Does attest compare and attest ab claim what is there, and nothing else?   test_compare.py ATTEST

`compare` gets result files that are made here. `ab` gets programs made here that answer `bench` as
attest does, with such files: a slow one, a noisy one, one that crashes.
"""

import json
import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest

ATTEST = None
CLASS = "x86_64 Maker 1.2.3 0x10 L1:32K 2 CPUs 8G Linux 6.1"
CELLS = [(kernel, problem, 1) for kernel in ("flash_avx2", "naive_scalar")
         for problem in ("h8q128d64", "h8q512d64")]
TOOL = {"name": "attest", "version": "0.1.0", "commit": "abc", "dirty": False,
        "compiler": "gcc 12.2.0", "flags": "-O3"}


def run_file(scale=None, noise=0.001, seed=1, **changes):
    """A result file whose cells take 1 ms, times `scale` of its kernel, with relative noise."""
    draw = random.Random(str(seed))
    results = []
    for kernel, problem, threads in CELLS:
        median = 1e6 * (scale or {}).get(kernel, 1) * (1 + noise * draw.uniform(-1, 1))
        results.append({"kernel": kernel, "isa": "avx2", "problem": problem, "threads": threads,
                        "verified": True, "flops": 1000, "rounds": 6, "dirty": 0,
                        "median_ns": median, "ci_low_ns": median * 0.999,
                        "ci_high_ns": median * 1.001, "min_ns": median * 0.999,
                        "gflops": 1000 / median, "peak_gflops": 0.002,
                        "peak_fraction": 500 / median, "samples": [median] * 6})
    run = {"schema": 1, "tool": dict(TOOL), "date": "2026-01-01T00:00:00Z",
           "machine": {"class": CLASS, "slug": "maker", "cpu": "Maker 1"}, "argv": ["bench"],
           "seed": 1, "verdict": "valid", "noise_floor": 0.01, "results": results, "skipped": []}
    run.update(changes)
    return run


def attest(*words, **options):
    """Run the program; returns the finished process."""
    return subprocess.run([ATTEST, *words], capture_output=True, text=True, timeout=120,
                          check=False, **options)


class Folder(unittest.TestCase):
    """Every test works in a folder of its own."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name):
        """Where `name` is, in the test's folder."""
        return os.path.join(self.folder.name, name)

    def write(self, name, run):
        """A result file; returns its path."""
        with open(self.path(name), "w", encoding="utf-8") as file:
            json.dump(run, file)
        return self.path(name)

    def read(self, name):
        """A file of the folder as JSON."""
        with open(self.path(name), encoding="utf-8") as file:
            return json.load(file)

    def refused(self, hint, *words):
        """One line with `hint`, exit 2."""
        done = attest(*words, cwd=self.folder.name)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(hint, done.stderr)
        return done.stderr


class Compare(Folder):
    """Result files."""

    def pair(self, base, new, *words):
        """compare of two files; the finished process and its JSON."""
        done = attest("compare", self.write("base.json", base), self.write("new.json", new),
                      "--json", self.path("out.json"), *words)
        self.assertIn(done.returncode, (0, 1, 125), done.stderr)
        return done, self.read("out.json")

    def sides(self, new_scale, turns=True, count=6):
        """Files of two sides, one launch each; returns the arguments."""
        words = [[], []]
        for launch in range(count):
            for side in range(2):
                minute = 2 * launch + side if turns else launch + count * side
                words[side].append(self.write(f"{side}-{launch}.json", run_file(
                    {"flash_avx2": new_scale if side else 1}, 0.002, (side, launch),
                    date=f"2026-01-01T00:{minute:02d}:00Z")))
        return [*words[0], "--", *words[1]]

    def test_single_files_claim_only_beyond_layout(self):
        for scale, verdict in ((1.05, "same"), (0.95, "same"), (1.2, "slower"), (0.8, "faster")):
            with self.subTest(scale=scale):
                done, report = self.pair(run_file(), run_file({"flash_avx2": scale}))
                self.assertEqual(done.returncode, 0)
                self.assertEqual(report["verdict"], verdict)
                self.assertAlmostEqual(report["band"], 0.1, places=6)
                self.assertIsNone(report["cells"][0]["p"])
                self.assertIn("One launch can differ by 10 % from another of the same binary by "
                              "memory layout alone", " ".join(done.stdout.split()))
                self.assertIn("attest ab BASE_BINARY NEW_BINARY", " ".join(done.stdout.split()))

    def test_gate_of_single_files(self):
        for scale, gate, code in ((1.2, "15", 1), (1.2, "3", 1), (1.2, "30", 0), (1.05, "15", 0),
                                  (1.05, "3", 125), (1.0, "10", 0), (1.0, "3", 125)):
            with self.subTest(scale=scale, gate=gate):
                done, report = self.pair(run_file(), run_file({"flash_avx2": scale}), "--gate",
                                         gate)
                self.assertEqual(done.returncode, code, done.stdout)
                self.assertEqual(report["gate"]["exit"], code)

    def test_wide_intervals_are_undecided(self):
        wide, few = run_file(), run_file()
        for result in wide["results"]:
            result.update(ci_low_ns=0.8e6, ci_high_ns=1.3e6)
        for result in few["results"]:
            result.update(ci_low_ns=None, ci_high_ns=None)
        for base, new in ((wide, run_file({"flash_avx2": 1.2})), (run_file(), few), (few, wide)):
            done, report = self.pair(base, new, "--gate", "15")
            self.assertEqual(done.returncode, 125)
            self.assertEqual(report["verdict"], "undecided")

    def test_runs_that_are_not_valid(self):
        slow = run_file({"flash_avx2": 1.5})
        for base, new in ((run_file(verdict="undecided"), slow),
                          (run_file(), dict(slow, verdict="undecided"))):
            done, report = self.pair(base, new, "--gate", "15")
            self.assertEqual(done.returncode, 125)
            self.assertEqual(report["verdict"], "undecided")
            self.assertIn("itself not valid", done.stdout)

    def test_void_and_missing_cells(self):
        base, new = run_file(), run_file({"flash_avx2": 1.2})
        new["results"][0].update(verified=False, void_reason="out[0,0,0,0] is NaN")
        del new["results"][0]["median_ns"]
        del base["results"][3]
        done, report = self.pair(base, new)
        self.assertEqual([cell["problem"] for cell in report["cells"]], ["h8q512d64", "h8q128d64"])
        self.assertEqual([cell["reason"] for cell in report["left_out"]],
                         ["void in new: out[0,0,0,0] is NaN", "only in new"])
        self.assertIn("2 not compared", done.stdout)
        done, report = self.pair(base, run_file(results=new["results"][:1]), "--gate", "15")
        self.assertEqual(done.returncode, 125)  # void is not clear

    def test_sets(self):
        for scale, code, verdict in ((1.05, 1, "slower"), (1, 0, "same"), (0.95, 0, "faster")):
            done = attest("compare", *self.sides(scale), "--gate", "3", "--json",
                          self.path("out.json"))
            self.assertEqual(done.returncode, code, done.stdout + done.stderr)
            report = self.read("out.json")
            self.assertEqual(report["verdict"], verdict)
            self.assertEqual(len(report["cells"][0]["new_samples"]), 6)
            self.assertIn("6 launches of base and 6 of new, taken in turns", done.stdout)

    def test_sets_in_a_row(self):
        """What was not measured in turns may be the hour's doing."""
        done = attest("compare", *self.sides(1.05, turns=False), "--gate", "3")
        self.assertEqual(done.returncode, 125, done.stdout)
        self.assertIn("first one side and then the other", done.stdout)
        self.assertEqual(attest("compare", *self.sides(1.3, turns=False), "--gate", "3").returncode,
                         1)

    def test_dirty_launches(self):
        words = self.sides(1.3)
        for path in words:
            if path != "--":
                run = self.read(path)
                for result in run["results"]:
                    result["dirty"] = 3
                self.write(os.path.basename(path), run)
        done = attest("compare", *words, "--gate", "3")
        self.assertEqual(done.returncode, 125)
        self.assertIn("more than 20 % of the rounds were dirty", " ".join(done.stdout.split()))

    def test_what_else_differs_is_said(self):
        new = run_file(seed=1, tool=dict(TOOL, compiler="clang 14", flags="-O1", commit="def",
                                         dirty=True))
        new["seed"] = 9
        new["results"][0]["flops"] = 999
        done, report = self.pair(run_file(), new)
        text = " ".join(report["notes"])
        for word in ("clang 14", "-O1", "seeds differ", "1 cells have other counts"):
            self.assertIn(word, text)
        self.assertIn("Base: commit abc; new: commit def with changes.", done.stdout)
        self.assertIn('compilers differ: base "gcc 12.2.0", new "clang 14"', done.stdout)

    def test_markdown_fits_a_comment(self):
        base = run_file()
        many = [dict(base["results"][0], problem=f"h{n}q128d64{'c' * 40}") for n in range(1000)]
        self.pair(run_file(results=many), run_file(results=many), "--markdown", self.path("m.md"))
        with open(self.path("m.md"), encoding="utf-8") as file:
            text = file.read()
        self.assertLess(len(text.encode()), 65536)
        self.assertIn("more rows do not fit", text)
        self.assertIn("by memory layout alone", text)

    def test_refusals(self):
        base = self.write("base.json", run_file())
        other = run_file()
        other["machine"]["class"] = CLASS.replace("0x10", "0x11")
        other = self.write("other.json", other)
        half = run_file()
        del half["results"][0]["median_ns"]
        for hint, *words in (
                ("two result files", base), ("two result files", base, base, base),
                ("both sides", base, "--"), ("both sides", "--", base),
                ("cannot read /no/such.json", base, "/no/such.json"),
                ("no result file", base, self.write("list.json", [])),
                ("no machine class", base, self.write("class.json", run_file(machine={}))),
                ('no "median_ns"', base, self.write("half.json", half)),
                ('"0x10" in base, "0x11" in new', base, other), ("compare --machines", base, other),
                ("0x11", base, "--", base, other),
                ('"0x10" in base, "0x11" in base', base, other, "--", base),
                ("in common", base, self.write("none.json", run_file(results=[]))),
                ("--gate", base, base, "--gate", "x"),
                ("no gate", "--machines", base, base, "--gate", "3"),
                ("two files", "--machines", base, base, "--", base),
                ("in common", "--machines", base, self.path("none.json")),
                ("/no/such/folder", base, base, "--markdown", "/no/such/folder/x.md")):
            with self.subTest(words=words):
                files = sorted(os.listdir(self.folder.name))
                self.refused(hint, "compare", *words)
                self.assertEqual(sorted(os.listdir(self.folder.name)), files)

    def test_machines(self):
        """Ratios over a common kernel; a machine that is twice as fast at everything is equal."""
        fast = run_file({"flash_avx2": 0.25, "naive_scalar": 0.5}, 0)
        fast["machine"] = {"class": "other", "cpu": "Other 2"}
        for result in fast["results"]:
            result["clock_ghz"] = 2.0
        slow = self.write("a.json", run_file({"flash_avx2": 0.5}, 0))
        done = attest("compare", "--machines", slow, self.write("b.json", fast), "--json",
                      self.path("out.json"), "--markdown", self.path("out.md"))
        self.assertEqual(done.returncode, 0, done.stderr)
        for row in self.read("out.json")["rows"]:
            ratio = 2 if row["kernel"] == "flash_avx2" else 1
            self.assertEqual(row["baseline"], "naive_scalar")
            self.assertAlmostEqual(row["over_baseline"][0], ratio)
            self.assertAlmostEqual(row["over_baseline"][1], ratio)
            self.assertIsNone(row["flop_per_cycle"][0])
            self.assertAlmostEqual(row["flop_per_cycle"][1], 1000 * ratio / 0.5e6 / 2)
        self.assertNotIn("ms", done.stdout.split())
        for line in done.stdout.splitlines():
            self.assertLessEqual(len(line), 80)
        with open(self.path("out.md"), encoding="utf-8") as file:
            self.assertIn("| `flash_avx2` | `h8q128d64` | 1 | 2.00x | 2.00x | 1.00 |", file.read())


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
        done = attest("ab", self.steady("old"), self.steady("new"), "--gate", "3", "--json",
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
        attest("ab", self.steady("old"), self.steady("new"), "--launches", "6", "--kernels", "all",
               "--budget", "36s", "--seed", "5")
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
        done = attest("ab", self.steady("old"), self.steady("new", 1.05), "--gate", "3", "--json",
                      self.path("ab.json"), "--markdown", self.path("ab.md"))
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
        done = attest("ab", self.steady("old"), self.steady("new", 1.05), "--gate", "10")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("slower: 2 slower", done.stdout)
        self.assertEqual(len(self.launches()), 27)

    def test_faster(self):
        done = attest("ab", self.steady("old"), self.steady("new", 0.9), "--gate", "3")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("faster: 0 slower, 2 faster, 2 same", done.stdout)

    def test_slow_only_once(self):
        """A slow hour that passes before the second set is no regression."""
        new = self.build("new", lambda launch: 1.2 if launch <= 27 else 1)
        done = attest("ab", self.steady("old"), new, "--gate", "3")
        self.assertEqual(done.returncode, 125, done.stdout)
        self.assertIn("but not in the second", " ".join(done.stdout.split()))

    def test_noise_is_undecided(self):
        done = attest("ab", self.steady("old", noise=0.3), self.steady("new", noise=0.3), "--gate",
                      "3")
        self.assertEqual(done.returncode, 125, done.stdout)
        self.assertIn("the gate of 3 % is below", done.stdout)
        self.assertEqual(attest("ab", self.path("old"), self.path("new")).returncode, 0)

    def test_sham_that_differs(self):
        """A base that seems to differ from itself leaves everything undecided."""
        old, new = self.steady("old"), self.steady("new", 1.2)
        words = ["ab", old, new, "--json", self.path("ab.json")]
        self.assertEqual(attest(*words).returncode, 0)
        self.assertEqual(self.read("ab.json")["verdict"], "slower")
        shams = self.read("ab.json")["cells"][0]["sham_samples"]
        os.remove(self.path("log"))
        for launch in range(1, 28):  # the same seed gives the same order
            run = self.read(f"old.{launch}")
            if any(abs(run["results"][0]["median_ns"] - sham) < 0.01 for sham in shams):
                for result in run["results"]:
                    result["median_ns"] *= 1.03
                self.write(f"old.{launch}", run)
        done = attest(*words, "--gate", "3")
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
        done = attest("ab", old, crash, "--gate", "3")
        self.assertEqual(done.returncode, 125)
        self.assertIn("out of luck", done.stderr)

    def test_refusals(self):
        old = self.steady("old")
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
                ("unknown kernel", "ab", ATTEST, ATTEST, "--kernels", "none", "--gate", "3"),
                ('--threads is "0"', "ab", ATTEST, ATTEST, "--threads", "0", "--gate", "3")):
            with self.subTest(words=words):
                self.refused(hint, *words)
        self.assertFalse(os.path.exists(self.path("log")))

    def interrupt(self, after):
        """ab, interrupted once `after` launches have begun."""
        self.write("run", run_file())
        slow = self.script("slow", 'sleep 0.02; cp "{folder}/run" "$out"')
        with subprocess.Popen([ATTEST, "ab", slow, slow, "--launches", "64", "--json",
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
    ATTEST = os.path.abspath(sys.argv.pop(1))
    unittest.main()
