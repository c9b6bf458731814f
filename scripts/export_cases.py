"""Result files with names that nobody would choose, and the programs that read their exports."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

from need import need

SYSTEM_PYTHON = "/usr/bin/python3"
COMPARE = "/usr/share/benchmark/compare.py"
VOID_NS = 123456789.0    # a time that no export may show
MOST = 256               # bytes of a name

# Letters that end a word, a line, a cell or a string somewhere, and some that only look odd.
ODD = ("abcxyz0189__--..::==%%//\\\\\"\"''`|*<>&#@!?$~^+,;()[]{}  "
       "äßЖ中ひ🙂\u00a0\u2028\u2029\u3000\ufeff\u200f\u0301\u1680")
FIXED = ["flash_avx512", "a/b", "%20", "%", "-3", "=1+1", "a_mean", "<b>x</b>", "&amp;", "\\|", "|",
         "a\\", "# a", "`a`", "[a](b)", "Unit", "x" * MOST, "é" * (MOST // 2), "_a_", "**", "null",
         "-", "---", "http://a.b", "a\u2028b", "a b", "a_b", "a%20b", "\"", "'", "@all", "://"]


def skip(why):
    """Leave with the exit code that Meson counts as skipped."""
    print(why)
    sys.exit(77)


def names(count):
    """Different pairs of kernel and problem: the fixed names, then random ones."""
    rng = random.Random(5)
    pairs, seen = [], set()
    while len(pairs) < count:
        pair = tuple(word.strip(" ") or "x" for word in (
            FIXED[len(pairs)] if len(pairs) < len(FIXED) else
            "".join(rng.choices(ODD, k=rng.randint(1, 40))), "".join(rng.choices(ODD, k=9))))
        if "/".join(pair) not in seen:
            seen.add("/".join(pair))
            pairs.append(pair)
    return pairs


def timed(kernel, problem, middle, threads=2):
    """A verified result whose samples lie around `middle` ns."""
    samples = [middle * (1 + 0.001 * (i * 7 % 10 - 4)) for i in range(12)]
    return {"kernel": kernel, "isa": "avx2", "problem": problem, "threads": threads,
            "verified": True, "void_reason": None, "flops": 1 << 20, "median_ns": middle,
            "ci_low_ns": 0.998 * middle, "ci_high_ns": 1.003 * middle, "gflops": 2.5,
            "peak_fraction": None, "calls_per_sample": 3, "samples": samples}


def void(kernel):
    """A result that failed its check, with a time that must not be believed."""
    return {**timed(kernel, "q9d9", VOID_NS), "verified": False, "void_reason": "3.1 of\nthe bound",
            "samples": [VOID_NS] * 12}


def run(pairs, factor=1.0, commit="abc"):
    """A result file of all pairs, each with a time of its own, and two void results."""
    results = [timed(*pair, factor * (1000.0 + i)) for i, pair in enumerate(pairs)]
    results[len(results) // 2:len(results) // 2] = [void("wrong"), void("<wrong> |")]
    results[-1]["ci_low_ns"] = results[-1]["ci_high_ns"] = None    # as below 6 rounds
    return {"schema": 1, "date": "2026-01-01T00:00:00Z", "verdict": "valid", "results": results,
            "tool": {"version": "0", "commit": commit, "compiler": "gcc 12"},
            "machine": {"slug": "a,b", "cpu": "made | up", "class": "x: y z", "arch": "x86_64",
                        "logical_cpus": 2, "kernel": "",
                        "caches": [{"level": 1, "type": "data", "bytes": 32768}]}}


def full_name(result):
    """What a result is called in google-benchmark's terms."""
    return "attn/{kernel}/{problem}/threads:{threads}/real_time".format(**result)


class Export(unittest.TestCase):
    """A result file in a folder, exported."""

    attest = python_with = None    # the program, and the Python that has the consumer

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="attest export ")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.run_file = run(names(150))
        self.good = [r for r in self.run_file["results"] if r["verified"]]

    def write(self, name, data):
        """`data` as a file; returns its path."""
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(data if isinstance(data, str) else json.dumps(data))
        return path

    def export(self, form, data=None):
        """The text of an export; no void time in it."""
        path = self.write("run.json", data or self.run_file)
        done = subprocess.run([self.attest, "export", path, "--as", form], capture_output=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        text = done.stdout.decode()
        self.assertNotRegex(text.replace(".", ""), "1234567[89]")
        return text

    def python(self, *words):
        """Run the Python that has the consumer."""
        done = subprocess.run([self.python_with, *words], capture_output=True, text=True,
                              timeout=120, check=False, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout


def need_or_skip(modules):
    """Continue under a Python that has the modules of Debian."""
    try:
        need(modules)
    except SystemExit:
        skip("skipped")


def from_index(package, folder):
    """A Python with a package of the index, in the folder; made once."""
    folder = os.path.join(folder, package)
    python, done = os.path.join(folder, "bin", "python"), os.path.join(folder, "complete")
    if not os.path.exists(done):
        shutil.rmtree(folder, ignore_errors=True)
        for words in ([SYSTEM_PYTHON, "-m", "venv", folder],
                      [python, "-m", "pip", "install", "--quiet", "--timeout", "10", "--retries",
                       "1", "--disable-pip-version-check", package]):
            try:
                made = subprocess.run(words, capture_output=True, text=True, timeout=200,
                                      check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                skip(f"{package} of the package index is not to be had: {error}")
            if made.returncode:
                last = (made.stderr or made.stdout).strip().splitlines()[-1:]
                skip(f"{package} of the package index is not to be had: {' '.join(last)}")
        with open(done, "w", encoding="utf-8"):
            pass
    return python


def find_consumer(form, folder):
    """The Python that has what reads the format; leaves if nothing has."""
    if form in ("bmf", "gha"):
        need_or_skip({"jsonschema": "python3-jsonschema"})
    if form == "gbench":
        tried = subprocess.run([SYSTEM_PYTHON, COMPARE, "--help"], capture_output=True, text=True,
                               check=False) if os.path.exists(COMPARE) else None
        if tried is None or tried.returncode:
            skip("no google-benchmark compare.py: apt-get install libbenchmark-tools python3-scipy")
        return SYSTEM_PYTHON
    packages = {"markdown": "cmarkgfm", "pyperf": "pyperf"}
    return from_index(packages[form], folder) if form in packages else sys.executable
