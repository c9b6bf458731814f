"""Result files that were never measured, and tests that hand them to the program."""

import json
import os
import random
import subprocess
import tempfile
import unittest

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


class Folder(unittest.TestCase):
    """Every test runs the program in a folder of its own."""

    ATTEST = None

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def attest(self, *words, **options):
        """Run the program; returns the finished process."""
        return subprocess.run([self.ATTEST, *words], capture_output=True, text=True, timeout=120,
                              check=False, **options)

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
        done = self.attest(*words, cwd=self.folder.name)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertIn(hint, done.stderr)
        return done.stderr
