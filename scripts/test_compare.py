#!/usr/bin/env python3
"""Does attest compare claim what is there, and nothing else?   test_compare.py ATTEST

It gets result files that are made here.
"""

import os
import sys
import unittest

from made_runs import CLASS, TOOL, Folder, run_file


class Compare(Folder):
    """Result files."""

    def pair(self, base, new, *words):
        """compare of two files; the finished process and its JSON."""
        done = self.attest("compare", self.write("base.json", base), self.write("new.json", new),
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
            done = self.attest("compare", *self.sides(scale), "--gate", "3", "--json",
                               self.path("out.json"))
            self.assertEqual(done.returncode, code, done.stdout + done.stderr)
            report = self.read("out.json")
            self.assertEqual(report["verdict"], verdict)
            self.assertEqual(len(report["cells"][0]["new_samples"]), 6)
            self.assertIn("6 launches of base and 6 of new, taken in turns", done.stdout)

    def test_sets_in_a_row(self):
        """What was not measured in turns may be the hour's doing."""
        done = self.attest("compare", *self.sides(1.05, turns=False), "--gate", "3")
        self.assertEqual(done.returncode, 125, done.stdout)
        self.assertIn("first one side and then the other", done.stdout)
        done = self.attest("compare", *self.sides(1.3, turns=False), "--gate", "3")
        self.assertEqual(done.returncode, 1)

    def test_dirty_launches(self):
        words = self.sides(1.3)
        for path in words:
            if path != "--":
                run = self.read(path)
                for result in run["results"]:
                    result["dirty"] = 3
                self.write(os.path.basename(path), run)
        done = self.attest("compare", *words, "--gate", "3")
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
        done = self.attest("compare", "--machines", slow, self.write("b.json", fast), "--json",
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


if __name__ == "__main__":
    Folder.ATTEST = os.path.abspath(sys.argv.pop(1))
    unittest.main()
