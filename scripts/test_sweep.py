#!/usr/bin/env python3
"""Tests of scripts/sweep with a made-up attest, by a made-up srun and, if there is one, mpirun."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from test_report import run    # asks for the report's modules as well

SWEEP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sweep")
ATTEST = """#!/bin/sh
[ "$2" != --frob ] || { echo "attest: bench: unknown option --frob" >&2; exit 2; }
for word; do [ "$word" != --help ] || exit 0; done
rank=${OMPI_COMM_WORLD_RANK:-$SLURM_PROCID}
date +%s.%N >>TIMES; sleep ${SECONDS_EACH:-0}; date +%s.%N >>TIMES
[ "$rank" != "$BROKEN_RANK" ] || { echo "attest: memory is short"; exit 2; }
[ "$1 $2" = "bench --json" ] && cp RUN "$3" && shift 3 && echo "verdict valid; options $*"
"""
SRUN = """#!/bin/sh
[ "$1" = -n ] || exit 9
ranks=$2; shift 2
for rank in $(seq 0 $((ranks - 1))); do
  SLURM_PROCID=$rank SLURM_NTASKS=$ranks "$@" & all="$all $!"
done
for one in $all; do wait $one || exit 1; done
"""
MPIRUN = shutil.which("mpirun")


class Made(unittest.TestCase):
    """A folder with made-up programs to sweep with."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.output = folder.name, os.path.join(folder.name, "out")
        self.times = self.write("times", "")
        result = self.write("run.json", json.dumps(run()))
        self.attest = self.write(
            "attest", ATTEST.replace("TIMES", self.times).replace("RUN", result))
        self.srun = self.write("srun", SRUN)

    def write(self, name, content):
        """The path of a new file."""
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(path, 0o755)
        return path

    def sweep(self, *words, **variables):
        """The finished program; no job of a real Slurm is seen."""
        keep = {name: value for name, value in os.environ.items() if name != "SLURM_JOB_ID"}
        return subprocess.run([SWEEP, "--attest", self.attest, *words], capture_output=True,
                              text=True, timeout=100, check=False, env={**keep, **variables})

    def measure(self, launcher, *words, **variables):
        """The finished program, with a launcher and the folder for results."""
        return self.sweep("--launcher", launcher, "-o", self.output, *words, **variables)

    def check(self, done, ranks):
        """Every rank's file, one report of all, and nothing else."""
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"measured {ranks} of {ranks}, report {self.output}/report.html", done.stdout)
        host = os.uname().nodename
        names = {f"{host}-{rank}.{end}" for rank in range(ranks) for end in ("json", "log")}
        self.assertEqual(set(os.listdir(self.output)), names | {"report.html"})
        with open(os.path.join(self.output, "report.html"), encoding="utf-8") as file:
            self.assertIn(f"made-up ({ranks})", file.read())


class Sweep(Made):
    """A launcher in, a report of all its ranks out."""

    def test_all_ranks_reach_the_report(self):
        done = self.measure(f"{self.srun} -n 3", "--", "--preset", "quick", "--budget", "5s")
        self.check(done, 3)
        self.assertIn("verdict valid; options --preset quick --budget 5s", done.stdout)

    def test_in_turn(self):
        """No rank begins before the one before it has ended."""
        self.check(self.measure(f"{self.srun} -n 3", "--in-turn", SECONDS_EACH="0.3"), 3)
        with open(self.times, encoding="utf-8") as file:
            times = [float(line) for line in file]
        self.assertEqual(times, sorted(times))
        self.assertGreaterEqual(times[-1] - times[0], 0.9)

    def test_a_machine_that_fails(self):
        done = self.measure(f"{self.srun} -n 3", "--in-turn", BROKEN_RANK="1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("measured 2 of 3", done.stdout)
        self.assertRegex(done.stdout, r"-1 +exit 2 +attest: memory is short\n")

    def test_no_result_at_all(self):
        done = self.measure("true")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no machine wrote a result", done.stderr)
        rank_less = self.write("nothing", '#!/bin/sh\n"$@"\n')
        shutil.rmtree(self.output)
        self.assertIn("names no rank", self.measure(rank_less).stderr)

    def test_bad_input(self):
        full = os.path.dirname(self.attest)
        for words, hint in (
                ([], "-o DIR is missing"),
                (["-o"], "-o needs a value"),
                (["-o", self.output], "no Slurm job here"),
                (["-o", self.output, "--launcher", " "], "no Slurm job here"),
                (["-o", self.output, "--launcher", "no-such-launcher -n 2"], "is not installed"),
                (["-o", full, "--launcher", "true"], "is not an empty folder"),
                (["-o", self.output, "--launcher", "true", "quick"], "unknown argument quick"),
                (["-o", self.output, "--launcher", "true", "--attest", "/no"], "not a program"),
                (["-o", self.output, "--launcher", "true", "--attest", "/"], "not a program"),
                (["-o", self.output, "--launcher", "true", "--", "--json", "x"], "--json"),
                (["-o", self.output, "--launcher", "true", "--", "--frob"], "--frob")):
            with self.subTest(words=words):
                done = self.sweep(*words)
                self.assertEqual(done.returncode, 2)
                self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                self.assertIn(hint, done.stderr)
                self.assertFalse(os.path.exists(self.output))


class Mpirun(Made):
    """The real thing, on one machine."""

    def test_mpirun(self):
        root = "--allow-run-as-root " if os.getuid() == 0 else ""
        begin = time.monotonic()
        self.check(self.measure(f"{MPIRUN} {root}--oversubscribe -np 2", "--in-turn"), 2)
        self.assertLess(time.monotonic() - begin, 60)


if __name__ == "__main__":
    if "Mpirun" in sys.argv and not MPIRUN:
        print("skipped: mpirun is not installed (Debian: apt-get install openmpi-bin)")
        sys.exit(77)
    unittest.main()
