#!/usr/bin/env python3
"""Tests of scripts/report on made-up runs: the page is whole, offline, readable, repeatable."""

import contextlib
import copy
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
from html.parser import HTMLParser
from importlib.machinery import SourceFileLoader
from types import SimpleNamespace
from unittest import mock

from need import need

need({"matplotlib": "python3-matplotlib", "jinja2": "python3-jinja2"})

import report_data as data
import report_page as page_of

REPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "report")
KERNELS = {"naive_scalar": 4.0, "blocked_auto": 40.0, "blocked_avx512": 200.0}    # GFLOP/s
ODD_NAME = '<b>"odd" & $x^2$</b>_zz'


def result(kernel, problem, flops, threads=1):
    """A verified result of about the speed in KERNELS, its rounds spread by a fixed pattern."""
    speed = KERNELS.get(kernel, 10.0) * threads ** 0.9
    samples = [flops / speed * (1 + 0.001 * (i * 7 % 10)) for i in range(20)]
    middle = sorted(samples)[10]
    return {"kernel": kernel, "isa": kernel.rpartition("_")[2], "problem": problem,
            "threads": threads, "verified": True, "void_reason": None, "bound_share": 0.02,
            "max_abs_error": 1e-7, "flops": flops, "bytes": 4096, "scratch_bytes": 1 << 14,
            "median_ns": middle, "ci_low_ns": 0.999 * middle, "ci_high_ns": 1.001 * middle,
            "min_ns": min(samples), "rounds": 20, "dirty": 1, "gflops": flops / middle,
            "peak_gflops": 250.0 * threads, "peak_fraction": flops / middle / 250 / threads,
            "bandwidth_gbps": 4096 / middle, "bandwidth_fraction": None, "samples": samples}


def run(slug="made-up"):
    """A run with a family of four lengths, two thread counts, a model shape and a void result."""
    results = [result(kernel, f"h8q{n}d64", 8 * 256 * n * n, threads) for threads in (1, 2)
               for n in (256, 512, 1024, 2048) for kernel in KERNELS]
    results.append(result(ODD_NAME, "h12q1024d64c", 12 * 128 * 1024 ** 2))
    results.append({"kernel": "blocked_avx2", "isa": "avx2", "problem": "h8q512d64", "threads": 1,
                    "verified": False, "void_reason": "3.1 of the bound", "bound_share": 3.1})
    return {"schema": 1, "date": "2026-01-01T00:00:00Z", "argv": ["attest", "bench"],
            "tool": {"name": "attest", "version": "0", "commit": "abc", "dirty": False,
                     "compiler": "gcc", "flags": "-O3"},
            "machine": {"slug": slug, "cpu": "made up",
                        "caches": [{"level": 1, "type": "data", "bytes": 32768}]},
            "verdict": "valid", "noise_floor": 0.012,
            "peaks": [{"isa": "avx512", "threads": 1, "gflops": 250.0}],
            "read_gbps": [{"threads": 1, "gbps": 20.0}], "results": results,
            "skipped": [{"kernel": "blocked_neon", "problem": None, "reason": "not this CPU"}]}


def evidence(document):
    """`document` with the fields that say what the machine did during each round."""
    for i, entry in enumerate(document["results"]):
        count = len(entry.get("samples", ()))
        entry["at_s"] = [20 * i + 0.5 * k for k in range(count)]
        entry["dirty_causes"] = {"steal": 1, "faults": 0}
        entry["anchors"] = {"clock_ghz": [2.5 + 0.01 * (k % 3) for k in range(count)],
                            "fma_gflops": [250.0] * count, "triad_gbps": [20.0] * count}
        entry["issue_per_clock"] = [7.0 if k % 3 else 3.5 for k in range(count)]
        entry["dirty_rounds"] = [{"at_s": 20 * i + 10.5, "cause": "steal"}]
        entry["sham_samples"] = [1.001 * sample for sample in entry.get("samples", ())]
    levels = (("L1", 400), ("L2", 200), ("L3", 100), ("memory", 20))
    return document | {
        "smallest_effect": 0.034, "overhead": {"anchors_s": 1.5, "timed_s": 80.0},
        "neighbours": {"shared": 0.36, "exponents": []},
        "roofs": {"date": "2026-01-01", "levels": [
            {"level": level, "threads": threads, "bytes": 1 << 14, "read_gbps": threads * gbps}
            for threads in (1, 2) for level, gbps in levels]}}


def comparison():
    """Two builds compared on as many cells as the made-up run has, one of them slower."""
    cells = [{"kernel": r["kernel"], "problem": r["problem"], "threads": r["threads"],
              "base_ns": r["median_ns"], "new_ns": r["median_ns"] * ratio, "ratio": ratio,
              "low": 0.99 * ratio, "high": 1.01 * ratio, "p": 0.002, "verdict": verdict}
             for r, (ratio, verdict) in zip(run()["results"],
                                            [(1.08, "slower")] + [(1.001, "same")] * 23)]
    return {"schema": 1, "kind": "comparison", "unit": "launch", "base": {"commit": "aaa"},
            "new": {"commit": "bbb", "dirty": True}, "noise_floor": 0.012, "band": 0.013,
            "smallest_effect": 0.021, "verdict": "slower", "cells": cells}


PAGES = {}      # what tests share


def load_command():
    """The command as a module, although its file has no ending."""
    spec = importlib.util.spec_from_loader("report", SourceFileLoader("report", REPORT))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMMAND = load_command()


class Page(HTMLParser):
    """Collects the tags of a page, in order, as (name, attributes)."""

    def __init__(self, source):
        super().__init__()
        self.tags = []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def named(self, name):
        """The attributes of each tag called `name`."""
        return [attributes for tag, attributes in self.tags if tag == name]


class ReportTest(unittest.TestCase):
    """Runs the command as a user would, in a folder with a space in its name."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="attest report ")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        """A path in the test's own folder."""
        return os.path.join(self.folder, name)

    def write(self, name, content):
        """A file with `content`, turned into JSON unless it is text already."""
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        return self.path(name)

    def report(self, *arguments):
        """Run the command in this process, which is a second faster than in one of its own."""
        out, err, status = io.StringIO(), io.StringIO(), 0
        with mock.patch("sys.argv", [REPORT, *arguments]), contextlib.chdir(self.folder), \
                contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                COMMAND.main()
            except SystemExit as stop:
                status = stop.code
        return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())

    def page(self, *documents):
        """The page about `documents`, made once for all tests."""
        key = json.dumps([documents, page_of.MOST_BYTES])
        if key not in PAGES:
            PAGES[key] = self.made(*documents)
        return PAGES[key]

    def made(self, *documents):
        """The page about `documents`, made now."""
        names = [self.write(f"run {i}.json", run) for i, run in enumerate(documents)]
        done = self.report(*names, "-o", "page.html")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        with open(self.path("page.html"), encoding="utf-8") as file:
            return file.read()

    def refused(self, message, *arguments, output="page.html"):
        """Check that the command exits 2 with one line holding `message`, and writes nothing."""
        before = sorted(os.listdir(self.folder))
        done = self.report(*arguments, "-o", output)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn(message, done.stderr)
        self.assertEqual(sorted(os.listdir(self.folder)), before)

    def test_predictions_are_named_so(self):
        good = {"tool": "llvm-mca 19", "commit": "abc", "predictions": [
            {"kernel": "flash_neon", "function": "multiply_3", "core": "neoverse-n1", "fma": 24,
             "cycles": 12.5, "share": 0.96}]}
        name, predictions = self.write("run.json", run()), self.write("p.json", good)
        done = self.report(name, "--predictions", predictions, "-o", "page.html")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open(self.path("page.html"), encoding="utf-8") as file:
            page = file.read()
        self.assertIn("Predicted, not measured", page)
        self.assertIn("neoverse-n1", page)
        self.assertNotIn("Predicted", self.page(run()))
        bad = self.write("bad.json", good | {"predictions": [{"kernel": 3}]})
        self.refused("bad.json", name, "--predictions", bad, output="other.html")

    def test_page_is_small_and_the_same_from_another_process(self):
        first = self.made(run())
        self.assertLess(len(first.encode()), 1_000_000)
        done = subprocess.run([sys.executable, REPORT, self.path("run 0.json"), "-o", "again.html"],
                              capture_output=True, text=True, cwd=self.folder)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        with open(self.path("again.html"), encoding="utf-8") as file:
            self.assertTrue(first == file.read(), "equal input, other bytes")

    def test_page_fetches_nothing(self):
        source = self.page(run(), run("another"))
        page = Page(source)
        for _, attributes in page.tags:
            for name in ("src", "href", "xlink:href"):
                self.assertTrue(attributes.get(name, "#").startswith("#"), attributes)
        for name in ("script", "link", "iframe", "img", "base"):
            self.assertEqual(page.named(name), [])
        self.assertNotRegex(source, r"url\((?!#)|@import")

    def test_ids_are_unique_and_references_resolve(self):
        tags = Page(self.page(run(), run("another"))).tags
        ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
        self.assertEqual(len(ids), len(set(ids)))
        for _, attributes in tags:
            for name in ("href", "xlink:href"):
                self.assertIn(attributes.get(name, "#" + ids[0])[1:], ids)

    def test_every_chart_is_told_in_words_and_as_a_table(self):
        page = Page(self.page(run()))
        charts = page.named("svg")
        self.assertEqual(len(charts), 9)
        for chart in charts:
            self.assertEqual(chart["role"], "img")
            self.assertTrue(chart["aria-label"])
        order = "".join({"svg": "s", "table": "t"}.get(name, "") for name, _ in page.tags)
        self.assertEqual(order.count("st"), len(charts))
        self.assertRegex(charts[0]["aria-label"],
                         r"blocked_avx512 is 50\.0\S \[50\.0, 50\.0\] naive_scalar")

    def test_names_are_escaped(self):
        source = self.page(run())
        self.assertNotIn("<b>", source)
        self.assertIn("&lt;b&gt;&#34;odd&#34; &amp; $x^2$&lt;/b&gt;_zz", source)

    def test_void_results_have_no_speed_but_a_reason(self):
        self.assertIn("void: 3.1 of the bound", self.page(run()))

    def test_a_run_with_nothing_verified_has_a_page(self):
        document = run()
        document["results"] = document["results"][-1:]
        self.assertIn("No result is verified", self.page(document))

    def test_six_questions_are_answered_from_the_data(self):
        source = self.page(run()).replace("\N{NO-BREAK SPACE}", " ")
        for expected in ("<dt>Which kernel is the fastest here?</dt><dd>blocked_avx512</dd>",
                         "<dt>How sure is that?</dt><dd>Sure</dd>",
                         "5.00\N{MULTIPLICATION SIGN} as fast as the next, blocked_auto",
                         "<dd>At 79.6 % of it</dd>", "<dd>Yes: 2.00 % of its bound</dd>",
                         "<dd>Time as n^2.00</dd>",
                         "<dt>Did my commit make it slower?</dt><dd>Not asked</dd>"):
            self.assertTrue(expected in source, expected)
        undecided = self.page(run() | {"verdict": "undecided"})
        self.assertIn("<dt>How sure is that?</dt><dd>Undecided</dd>", undecided)

    def test_a_comparison_of_commits_alone_and_beside_a_run(self):
        for documents in ([comparison()], [run(), comparison()]):
            source = self.page(*documents).replace("\N{NO-BREAK SPACE}", " ")
            self.assertIn("Yes, slower. New over base: 1 slower, 23 same.", source)
            self.assertIn("Base: commit aaa; new: commit bbb with local changes.", source)
            self.assertIn("smallest effect that could be seen 2.10 %", source)
        self.assertIn("<dt>Did my commit make it slower?</dt><dd>Yes, slower</dd>", source)
        self.refused("\"ratio\" is", self.write("bad.json", comparison() | {
            "cells": [comparison()["cells"][0] | {"ratio": -1}]}), output="other.html")

    def test_evidence_is_drawn_where_the_file_has_it(self):
        source = self.page(evidence(run()))
        for expected in ("clock", "sham", "(steal 1)", "L1 400 GB/s", "smallest detectable effect",
                         "<dd>3.40 %</dd>", "anchors 1.5 s", "seconds since the run began",
                         "samples on shared cores</dt><dd>36.0 %</dd>", "Neighbours: what they"):
            self.assertIn(expected, source)
        for expected in ("seconds since", "shared cores", "Neighbours"):
            self.assertNotIn(expected, self.page(run()))

    def test_what_was_not_measured_is_null(self):
        document = run() | {"roofs": None, "overhead": None, "smallest_effect": None}
        document["results"][0] |= {"read_gbps": None, "anchors": {}, "at_s": []}
        self.assertIn("In one minute", self.page(document))

    def test_machines_are_compared_by_ratios_and_cycles(self):
        other = json.loads(json.dumps(run("b")).replace("avx512", "neon"))
        source = self.page(evidence(run("a")), evidence(other))
        found = re.search("FLOP/cycle, b \\(2\\).*?</table>", source, re.S)[0]
        self.assertIn("blocked_neon", found)
        self.assertIn("blocked_avx512", found)
        self.assertIn("1.59", found, "4 GFLOP/s at 2.51 GHz")

    def test_a_page_too_large_says_what_it_left_out(self):
        document = evidence(run())
        document["results"] += [r | {"problem": r["problem"].replace("h8", "h16")}
                                for r in document["results"] if "h8" in r["problem"]]
        whole = self.page(document)
        self.assertNotIn("Left out", whole)
        with mock.patch("report_page.MOST_BYTES", len(whole.encode()) - 1):
            less = self.made(document)
        self.assertIn("stays below 1 MB: the charts of all families but the first of each run. The",
                      less)
        self.assertEqual(whole.count("<svg") - less.count("<svg"), 4)
        with mock.patch("report_page.MOST_BYTES", 1000):
            self.refused("report fewer files", self.path("run 0.json"), output="none.html")

    def test_500_cells_are_a_page_in_seconds(self):
        document = evidence(run())
        some = [r for r in document["results"] if r["verified"]]
        heads = (f"h{heads}" for heads in range(9, 30))
        while len(document["results"]) < 500:
            head = next(heads)
            document["results"] += [r | {"problem": head + r["problem"][2:]} for r in some
                                    if r["problem"].startswith("h8")]
        before = time.process_time()
        page = page_of.render([data.check_document(document)])
        self.assertLess(time.process_time() - before, 10)
        self.assertLessEqual(len(page), 1_000_000)

    def test_charts_of_the_problem_that_is_asked_for(self):
        path = self.write("run.json", run())
        done = self.report(path, "--chart", "ladder", "--problem", "h8q512d64", "-o", "a.svg")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open(self.path("a.svg"), encoding="utf-8") as file:
            self.assertIn("naive_scalar at h8q512d64", file.read())

    def test_charts_alone(self):
        path = self.write("run.json", run())
        other, change = self.write("b.json", run("b")), self.write("c.json", comparison())
        files = {"machines": [path, other], "commit": [change]}
        for name in ("ladder", "time", "rate", "heat", "memory", "roofline", "accuracy", "threads",
                     "stability", "machines", "commit"):
            endings = {".svg": b"<svg "} | ({".png": b"\x89PNG"} if name == "time" else {})
            for ending, start in endings.items():
                done = self.report(*files.get(name, [path]), "--chart", name, "-o", name + ending)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                with open(self.path(name + ending), "rb") as file:
                    self.assertTrue(file.read().startswith(start))

    def test_bad_input_is_refused_in_one_line(self):
        good = self.write("good.json", run())
        self.refused("nowhere.json: No such file", good, "nowhere.json")
        self.refused("not JSON", self.write("text.json", "hello"))
        self.refused("not a JSON number", self.write("nan.json", '{"schema": NaN}'))
        self.refused("no \"schema\"", self.write("list.json", "[]"))
        self.refused("one such file", good, good, "--chart", "time", output="time.svg")
        self.refused("one such file", good, "--chart", "commit", output="commit.svg")
        self.refused("two or more", good, "--chart", "machines", output="machines.svg")
        self.refused("'h9q1d64'; there are h8q256d64", good, "--problem", "h9q1d64")
        self.refused("about 'h12q1024d64c'", good, "--problem", "h12q1024d64c", "--chart", "time",
                     output="time.svg")
        change = self.write("change.json", comparison())
        self.refused("one comparison", good, change, change)
        self.refused("kind is 'x'", self.write("kind.json", {"schema": 1, "kind": "x"}))
        self.refused("written as .svg or .png", good, "--chart", "time", output="time.pdf")
        self.refused("cannot write", good, output="no/such/folder/page.html")
        self.refused("cannot write", good, output=self.folder)

    def test_bad_fields_are_named(self):
        changes = {
            "schema is 2": lambda d: d.update(schema=2),
            "no results": lambda d: d.update(results=[]),
            "\"argv\" is missing": lambda d: d.pop("argv"),
            "results[0]: \"kernel\" is missing": lambda d: d["results"][0].pop("kernel"),
            "results[1]: \"median_ns\" is None": lambda d: d["results"][1].update(median_ns=None),
            "results[2]: \"samples\"": lambda d: d["results"][2].update(samples=[0]),
            "'q8' is not a problem key": lambda d: d["results"][0].update(problem="q8"),
            "\"at_s\" holds 1 numbers": lambda d: d["results"][0].update(at_s=[1]),
            "must hold 20 rising": lambda d: d["results"][0].update(sample_rounds=[0, 3, 3]),
            "\"sham_samples\" must": lambda d: d["results"][0].update(sham_samples=[-1]),
            "dirty_rounds[0]: \"cause\"": lambda d: d["results"][0].update(
                dirty_rounds=[{"at_s": 1.5}]),
            "\"issue_per_clock\" holds": lambda d: d["results"][0].update(issue_per_clock=[7]),
            "\"shared\" is 'x'": lambda d: d.update(neighbours={"shared": "x"}),
            "clock_ghz": lambda d: d["results"][0].update(anchors={"clock_ghz": [1]}),
            "dirty_causes": lambda d: d["results"][0].update(dirty_causes={"steal": "no"}),
            "\"smallest_effect\" is 'x'": lambda d: d.update(smallest_effect="x"),
            "levels[0]: \"threads\"": lambda d: d.update(roofs={"levels": [{"level": "L1"}]}),
            "appears twice": lambda d: d["results"].append(d["results"][0]),
            "peaks[0]: \"isa\"": lambda d: d["peaks"][0].update(isa=3),
        }
        for message, change in changes.items():
            with self.subTest(message):
                document = copy.deepcopy(run())
                change(document)
                self.refused(message, self.write("bad.json", document))


if __name__ == "__main__":
    unittest.main()
