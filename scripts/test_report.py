#!/usr/bin/env python3
"""Tests of scripts/report on made-up runs: the page is whole, offline, readable, repeatable."""

import copy
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from html.parser import HTMLParser

from need import need

need({"matplotlib": "python3-matplotlib", "jinja2": "python3-jinja2"})

import report_data
import report_plot

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
        """Run the command."""
        return subprocess.run([sys.executable, REPORT, *arguments], capture_output=True, text=True,
                              cwd=self.folder)

    def page(self, *documents):
        """The page about `documents`."""
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

    def test_page_is_small_and_repeatable(self):
        first = self.page(run())
        self.assertLess(len(first.encode()), 1 << 20)
        self.assertEqual(first, self.page(run()))

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
        self.assertEqual(len(charts), 6)
        for chart in charts:
            self.assertEqual(chart["role"], "img")
            self.assertTrue(chart["aria-label"])
        order = "".join({"svg": "s", "table": "t"}.get(name, "") for name, _ in page.tags)
        self.assertEqual(order.count("st"), len(charts))
        self.assertRegex(charts[0]["aria-label"], r"blocked_avx512 is 50\.0\S naive_scalar")

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

    def test_charts_alone(self):
        path = self.write("run.json", run())
        for name in ("ladder", "time", "rate", "memory", "accuracy", "threads"):
            for ending, start in ((".svg", b"<svg "), (".png", b"\x89PNG")):
                done = self.report(path, "--chart", name, "-o", name + ending)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                with open(self.path(name + ending), "rb") as file:
                    self.assertTrue(file.read().startswith(start))

    def test_bad_input_is_refused_in_one_line(self):
        good = self.write("good.json", run())
        self.refused("nowhere.json: No such file", good, "nowhere.json")
        self.refused("not JSON", self.write("text.json", "hello"))
        self.refused("not a JSON number", self.write("nan.json", '{"schema": NaN}'))
        self.refused("no \"schema\"", self.write("list.json", "[]"))
        self.refused("one file", good, good, "--chart", "time", output="time.svg")
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
            "appears twice": lambda d: d["results"].append(d["results"][0]),
            "peaks[0]: \"isa\"": lambda d: d["peaks"][0].update(isa=3),
        }
        for message, change in changes.items():
            with self.subTest(message):
                document = copy.deepcopy(run())
                change(document)
                self.refused(message, self.write("bad.json", document))


class FiguresTest(unittest.TestCase):
    """The arithmetic behind the page, against values known without it."""

    def test_problem_keys(self):
        for key, family, n, power in (
                ("h8q2048d64", "h8d64, q = k = n", 2048, 2),
                ("b2h32g8q1k8192d128c", "b2h32g8d128c, q = 1, k = n", 8192, 1),
                ("h4q197d40w16:0bool", "h4d40w16:0bool, q = k = n", 197, 2)):
            self.assertEqual(report_data.parse_problem(key), (family, n, power))

    def test_median_ranks_are_those_of_the_protocol(self):
        known = {5: None, 6: (1, 6), 9: (2, 8), 12: (3, 10), 20: (6, 15), 30: (10, 21),
                 50: (18, 33)}
        for count, ranks in known.items():
            expected = ranks and (ranks[0] - 1, ranks[1] - 1)
            self.assertEqual(report_data.median_ranks(count), expected)

    def test_exponent_of_a_pure_power(self):
        points = report_data.check_run(run()).results
        curve = [r for r in points if r.kernel == "blocked_auto" and r.threads == 1]
        fit = report_data.exponent(curve)
        self.assertAlmostEqual(fit.slope, 2, places=6)
        self.assertTrue(fit.low <= 2 <= fit.high and fit.high - fit.low < 0.01)

    def test_spread_keeps_order_and_distance(self):
        places = report_plot.spread([0.1, 0.5, 0.5, 0.52, 0.99], 0.1)
        self.assertEqual(places, sorted(places))
        self.assertTrue(all(b - a > 0.0999 for a, b in zip(places, places[1:])))
        self.assertAlmostEqual(places[0], 0.1)
        self.assertTrue(0 <= places[0] and places[-1] <= 1)

    def test_series_colours_are_distinct_variables(self):
        light = [pair[0] for pair in report_plot.COLOURS.values()]
        self.assertEqual(len(light), len(set(light)))
        self.assertFalse(re.findall(r"#[0-9A-F]*[A-F]", " ".join(light)), "matplotlib writes a-f")


if __name__ == "__main__":
    unittest.main()
