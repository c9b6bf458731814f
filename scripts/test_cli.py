#!/usr/bin/env python3
"""Does `attest` answer bad input with one clear line, exit 2 and no file?   test_cli.py ATTEST"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

ATTEST = None
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def attest(*words, variables=None, **options):
    """Run the program, with more environment variables; returns the finished process."""
    return subprocess.run([ATTEST, *words], capture_output=True, text=True, timeout=300,
                          check=False, env={**os.environ, **(variables or {})}, **options)


def isas():
    """All instruction sets in table order, name to "why it does not run here"."""
    table = json.loads(attest("env", "--json", "-").stdout)["isas"]
    return {isa["name"]: isa["why"] for isa in table}


# Arguments, and a word that the message must hold.
BAD = [
    (["frobnicate"], "legal are"),
    (["list", "--frob"], "--json"),
    (["list", "extra"], "extra"),
    (["verify", "--kernels", "nope"], "naive_scalar"),
    (["verify", "--kernels", ""], "unknown kernel"),
    (["verify", "--kernels", "naive_auto,naive_auto"], "twice"),
    (["verify", "--kernels", "blocked_neon"], "unknown kernel"),
    (["verify", "--problems", "h8x4"], "position 3"),
    (["verify", "--problems", ""], "empty"),
    (["verify", "--problems", "q5d4", "--inputs", "loud"], "gauss"),
    (["verify", "--problems", "q5d4", "--layout", "diagonal"], "heads-first"),
    (["verify", "--problems", "q5d4", "--place", "middle"], "right"),
    (["verify", "--suite", "enormous"], "quick"),
    (["verify", "--without", "bound,everything"], "everything"),
    (["verify", "--mutant", "nobody"], "nobody"),
    (["verify", "--mutant", "exits", "--kernels", "naive_auto"], "one of"),
    (["verify", "--seed", "-3"], "--seed"),
    (["verify", "--require", "z80"], "z80"),
    (["verify", "--problems", "h64q60000d512", "--kernels", "naive_auto"], "bytes"),
    (["verify", "--json", "/no/such/folder/x.json"], "/no/such/folder/x.json"),
    (["verify", "--seed"], "needs a value"),
    (["bench", "--problems", "q0d4"], "no visible pair"),
    (["bench", "--problems", "q4d4", "--preset", "quick"], "not both"),
    (["bench", "--preset", "huge"], "scaling"),
    *(([command, "--threads", count], f'--threads is "{count}"')
      for command in ("verify", "run", "bench") for count in ("0", "-1", "99999", "two")),
    (["conform", ".", "--threads", "0"], "--threads"),
    (["bench", "--threads", "1,9999"], "CPUs"),
    (["bench", "--budget", "soon"], "60s"),
    (["bench", "--rounds", "1e9"], "--rounds"),
    (["bench", "--baseline", "/no/such/file.json"], "/no/such/file.json"),
    (["bench", "--baseline", os.devnull], os.devnull),
    (["bench", "--width", "0"], "1%"),
    (["bench", "--width", "wide"], "1%"),
    (["bench", "--width", "2", "--rounds", "9"], "not both"),
    (["bench", "--resume"], "--json FILE"),
    (["bench", "--resume", "--json", "-"], "--json FILE"),
    (["bench", "--json", "/no/such/folder/x.json"], "/no/such/folder/x.json"),
    (["export", "/no/such/file.json", "--as", "csv"], "/no/such/file.json"),
    (["export", os.devnull, "--as", "csv"], os.devnull),
    (["export", "a", "--as", "pdf"], "markdown"),
    (["export", "--as", "csv"], "one result file"),
    (["bench", "--benchmark_filter=nobody"], "no benchmark is called like"),
    (["--benchmark_filter=["], "extended regular expression"),
    (["--benchmark_filter"], "--benchmark_filter=VALUE"),
    (["--benchmark_min_time=1"], "list_tests"),
    (["--benchmark_out_format=csv"], "legal: json"),
    (["--benchmark_format=csv"], "legal: console, json"),
    (["--benchmark_repetitions=0"], "--benchmark_repetitions"),
    (["--benchmark_out=/no/such/folder/x.json"], "/no/such/folder/x.json"),
    (["conform", "/no/such/folder"], "/no/such/folder"),
    (["conform"], "conform"),
    (["run", "/no/such/folder", "-o", "/tmp"], "/no/such/folder"),
    (["run", "--q", "/no/q.npy"], "run"),
    (["env", "now"], "now"),
    (["model"], "fetch_minilm"),
    (["model", "a", "b"], "fetch_minilm"),
    (["model", "/no/such/folder"], "/no/such/folder/model.json"),
    (["model", "a", "--json", "/no/such/folder/x.json"], "/no/such/folder/x.json"),
    (["bench", "--threads", "1,1"], "twice"),
    (["bench", "--json", "."], "directory"),
    (["verify", "--problems", "q4d4\n"], "position 5"),
    (["export", ".", "--as", "csv"], "cannot read ."),
]


# Variables of the environment, arguments, and a word that the message must hold.
BAD_ENVIRONMENT = [
    *(({"ATTEST_ISA": "z80"}, [command], 'ATTEST_ISA is "z80"; legal in this build: scalar, auto')
      for command in ("list", "env", "verify", "run", "conform", "bench", "export")),
    ({"ATTEST_ISA": ""}, ["list"], 'ATTEST_ISA is ""'),
    ({"ATTEST_ISA": "AVX2"}, ["list"], "ATTEST_ISA"),
    ({"ATTEST_ISA": "scalar"}, ["verify", "--kernels", "naive_auto"],
     "kernel naive_auto cannot run here: ATTEST_ISA=scalar caps"),
    ({"OMP_THREAD_LIMIT": "1"}, ["verify", "--problems", "q3d4"], "OMP_THREAD_LIMIT is 1"),
    ({"OMP_THREAD_LIMIT": "1"}, ["run", "--threads", "2"], "OMP_THREAD_LIMIT is 1"),
    ({"OMP_THREAD_LIMIT": "1"}, ["conform", "."], "OMP_THREAD_LIMIT is 1"),
    ({"OMP_DYNAMIC": "true"}, ["verify", "--problems", "q3d4"], "OMP_DYNAMIC"),
]


class BadInput(unittest.TestCase):
    """One line, exit 2, nothing written."""

    def expect_refusal(self, words, hint, variables=None, **options):
        """The program says `hint` in one line and leaves its working folder empty."""
        with self.subTest(words=words, variables=variables), \
                tempfile.TemporaryDirectory() as folder:
            done = attest(*words, variables=variables, cwd=folder, **options)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertIn(hint, done.stderr)
            self.assertEqual(os.listdir(folder), [])

    def test_messages(self):
        for words, hint in BAD:
            self.expect_refusal(words, hint)

    def test_environment(self):
        for variables, words, hint in BAD_ENVIRONMENT:
            self.expect_refusal(words, hint, variables)

    @unittest.skipIf(len(os.sched_getaffinity(0)) < 2, "needs two CPUs to take one away")
    def test_fewer_cpus_than_threads(self):
        one = {min(os.sched_getaffinity(0))}
        words = ["bench", "--threads", "2"]
        self.expect_refusal(words, "OMP_NUM_THREADS", {"OMP_NUM_THREADS": "1"})
        self.expect_refusal(words, "OMP_THREAD_LIMIT", {"OMP_THREAD_LIMIT": "1"})
        self.expect_refusal(words, "OMP_DYNAMIC", {"OMP_DYNAMIC": "true"})
        self.expect_refusal(words, "CPUs", preexec_fn=lambda: os.sched_setaffinity(0, one))

    def test_missing_isa_fails_where_it_is_required(self):
        for isa, why in isas().items():
            done = attest("verify", "--kernels", "naive_auto", "--problems", "q3d4", "--require",
                          isa)
            self.assertEqual(done.returncode, 1 if why else 0)
            self.assertEqual(done.stderr, f"attest: --require {isa}: {why}\n" if why else "")

    def test_full_disk(self):
        for words in (["list", "--json", "/dev/full"], ["list", "--json", "-"], ["list"]):
            with self.subTest(words=words), open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([ATTEST, *words], stdout=full, stderr=subprocess.PIPE,
                                      text=True, check=False)
                self.assertEqual(done.returncode, 2)
                self.assertIn("cannot write", done.stderr)

    def test_folder_for_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            done = attest("list", "--json", folder)
            self.assertEqual(done.returncode, 2)
            self.assertIn(folder, done.stderr)
            self.assertEqual(os.listdir(folder), [])


class GoodInput(unittest.TestCase):
    """What the interface promises."""

    def test_help_of_every_command(self):
        for command in ("list", "env", "verify", "run", "conform", "bench", "compare", "ab",
                        "export", "model", "show"):
            done = attest(command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertIn("example: attest " + command, done.stdout)
            self.assertLessEqual(max(map(len, done.stdout.splitlines())), 80, done.stdout)

    def test_list(self):
        kernels = json.loads(attest("list", "--json", "-").stdout)["kernels"]
        names = [kernel["name"] for kernel in kernels]
        for name in ("naive_scalar", "naive_auto", "blocked_scalar", "blocked_auto"):
            self.assertIn(name, names)
        for kernel in kernels:
            self.assertEqual(kernel["runs"], not kernel["why"])

    def test_verify(self):
        done = attest("verify", "--kernels", "naive_auto", "--problems", "h2q9d5c", "--json", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["failed"], 0)
        self.assertEqual(len(report["results"]), report["passed"])
        self.assertRegex(done.stderr.splitlines()[-1], r"^\d+ passed, 0 failed, 0 skipped$")
        replay = report["results"][0]["replay"].split()
        self.assertEqual(attest(*replay[1:]).returncode, 0)

    def test_failures_replay(self):
        """A wrong kernel fails with a picture, and both lines it prints fail again."""
        for name in ("kv-head-0", "columns-unwritten", "exits", "reads-past-last-row",
                     "nan-spreads"):
            with self.subTest(mutant=name):
                done = attest("verify", "--mutant", name, "--problems",
                              "h4g2q21k20d16v19boolsink", "--inputs", "gauss")
                self.assertEqual(done.returncode, 1, done.stderr)
                lines = [line.split("attest ")[1] for line in done.stdout.splitlines()
                         if line.startswith(("  replay: ", "  smallest: "))]
                self.assertGreaterEqual(len(lines), 2)
                for line in lines[:2]:
                    self.assertEqual(attest(*line.split()).returncode, 1, line)
                if name in ("kv-head-0", "columns-unwritten"):
                    self.assertIn("21 rows by 19 columns", done.stdout)

    def test_failures_say_where_and_how_much(self):
        """The picture is of the output that is wrong; a refused claim is quoted with its limit."""
        words = ("verify", "--problems", "h2q21k20d9lse", "--inputs", "gauss", "--mutant")
        self.assertRegex(attest(*words, "lse-without-max").stdout,
                         r"lse\[0,[01],:,:\], 21 rows by 1 columns")
        self.assertRegex(attest(*words, "loosens-claims").stdout,
                         r"kernel needs: exp_ulp is 1e\+09, not within 0 to 4")

    def test_skips_are_counted_by_reason(self):
        done = attest("verify", "--kernels", "flash_scalar", "--problems", "q3d3 q3d3hard",
                      "--inputs", "gauss", "--layout", "gaps", "--place", "left")
        skipped = int(done.stdout.splitlines()[-1].split()[-2])
        self.assertGreater(skipped, 0)
        self.assertRegex(done.stdout, rf"\n# +{skipped} skipped: computes softmax only")

    def test_left_out_parts(self):
        """Without the check that kills it, a mutant passes."""
        words = ["verify", "--mutant", "blocks-signals", "--problems", "h2q9d5",
                 "--inputs", "gauss"]
        self.assertEqual(attest(*words).returncode, 1)
        self.assertEqual(attest(*words, "--without", "signals").returncode, 0)

    def test_other_isas_are_skipped_not_passed(self):
        other = [k["name"] for k in json.loads(attest("list", "--json", "-").stdout)["kernels"]
                 if not k["runs"]]
        for name in other:
            self.assertEqual(attest("verify", "--kernels", name).returncode, 2)
        tap = attest("verify", "--problems", "q3d3", "--tap").stdout
        for name in other:
            self.assertNotIn(f"ok - {name}", tap.replace("# SKIP", ""))

    def test_cap(self):
        """Under ATTEST_ISA=X the rows up to X run as before; those behind say why they do not."""
        here = isas()
        names = [isa for isa in here if "not in this build" not in here[isa]]
        for last, cap in enumerate(names):
            with self.subTest(cap=cap):
                run = attest("list", "--json", "-", variables={"ATTEST_ISA": cap})
                for kernel in json.loads(run.stdout)["kernels"]:
                    isa = kernel["isa"]
                    if names.index(isa) <= last:
                        self.assertEqual(kernel["why"], here[isa])
                    else:
                        self.assertEqual(kernel["why"], f"ATTEST_ISA={cap} caps the instruction "
                                                        f"set below {isa}")
        best = attest("verify", "--kernels", "best", "--problems", "q3d4", "--json", "-",
                      variables={"ATTEST_ISA": "scalar"})
        self.assertTrue(json.loads(best.stdout)["results"][0]["kernel"].endswith("_scalar"))
        done = attest("verify", "--require", "auto", variables={"ATTEST_ISA": "scalar"})
        self.assertEqual(done.returncode, 1)

    def test_what_the_budget_cannot_buy_is_not_checked(self):
        done = attest("bench", "--kernels", "naive_scalar", "--budget", "1s", "--threads", "1",
                      "--problems", "h2q512d32 h2q16384d32", "--no-roofs")
        self.assertIn(done.returncode, (0, 77), done.stderr)
        self.assertRegex(done.stdout, r"h2q16384d32 .*too slow for the budget.*would take about")

    def test_bench_and_export(self):
        with tempfile.TemporaryDirectory(prefix="a folder ") as folder:
            path = os.path.join(folder, "run.json")
            done = attest("bench", "--kernels", "naive_auto,blocked_auto", "--problems", "h2q64d32",
                          "--threads", "1", "--rounds", "6", "--json", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, encoding="utf-8") as file:
                run = json.load(file)
            self.assertEqual(run["schema"], 1)
            self.assertEqual(len(run["results"]), 2)
            for result in run["results"]:
                self.assertTrue(result["verified"])
                self.assertEqual(len(result["samples"]), result["rounds"])
                self.assertEqual(result["flops"], 2 * 64 * 64 * 64 * 2)
                self.assertLessEqual(result["ci_low_ns"], result["median_ns"])
                self.assertGreaterEqual(result["ci_high_ns"], result["median_ns"])
                self.assertLess(result["peak_fraction"], 1.02)
            for name, check in (("csv", self.check_csv), ("markdown", self.check_markdown),
                                ("gbench", self.check_gbench), ("gbench-flat", self.check_flat)):
                check(attest("export", path, "--as", name).stdout, run)
            for name in ("benchfmt", "bmf", "gha", "pyperf"):    # see test_exports.py
                self.assertEqual(attest("export", path, "--as", name).returncode, 0)

    def test_a_table_has_standard_output_for_itself(self):
        case = os.path.join(ROOT, "verify", "data", "minilm", "layer0")
        done = attest("conform", case, "--kernels", "naive_auto", "--markdown", "-")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.startswith("# Conformance\n"), done.stdout)
        self.assertIn("1 passed, 0 failed", done.stderr)

    def check_csv(self, text, run):
        """A header and a row for every sample."""
        rows = sum(len(result["samples"]) for result in run["results"])
        self.assertEqual(len(text.splitlines()), rows + 1)

    def check_markdown(self, text, run):
        """Every kernel in the table, and not longer than a comment may be."""
        for result in run["results"]:
            self.assertIn(f"| {result['kernel']} |", text)
        self.assertLess(len(text), 65536)

    def check_gbench(self, text, run):
        """The fields that google-benchmark's report.py reads."""
        data = json.loads(text)
        self.assertIn("date", data["context"])
        for entry in data["benchmarks"]:
            self.assertEqual(entry["time_unit"], "ns")
            self.assertIn(entry["run_type"], ("iteration", "aggregate"))
        medians = [entry["real_time"] for entry in data["benchmarks"]
                   if entry.get("aggregate_name") == "median"]
        for median, result in zip(medians, run["results"]):
            self.assertAlmostEqual(median, result["median_ns"], delta=1e-6 * median)

    def check_flat(self, text, run):
        """One entry per result, names unique."""
        names = [entry["name"] for entry in json.loads(text)["benchmarks"]]
        self.assertEqual(len(set(names)), len(run["results"]))
        self.assertTrue(names[0].startswith("attn/") and names[0].endswith("/real_time"))


if __name__ == "__main__":
    ATTEST = os.path.abspath(sys.argv.pop(1))
    unittest.main()
