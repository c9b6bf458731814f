#!/usr/bin/env python3
"""Does the reader of an export format get out what was in the result file?

    test_exports.py ATTEST FORMAT [FOLDER]

Every format is read by its consumer's own code where Debian or the package index has it (FOLDER is
where packages of the index go), and by the published schema or grammar otherwise. The result file
holds made-up times under names that nobody would choose. Exit 77 (skipped) without the consumer.
"""

import copy
import csv
import html.parser
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

from export_cases import COMPARE, MOST, Export, find_consumer, full_name, names, run


class Names(Export):
    """What no format could hold is refused in one line, whatever the format."""

    turns = itertools.cycle(["csv", "markdown", "gbench", "gbench-flat", "benchfmt", "bmf", "gha",
                             "pyperf"])

    def expect_refusal(self, form, data, hint):
        """One line with `hint`, exit 2."""
        path = self.write("bad.json", data)
        done = subprocess.run([self.attest, "export", path, "--as", form], capture_output=True,
                              timeout=60, check=False)
        lines = done.stderr.decode().rstrip("\n").split("\n")
        self.assertEqual((done.returncode, len(lines), done.stdout), (2, 1, b""), hint)
        self.assertIn(hint, lines[0])

    def expect_refusals(self, change, hint):
        """A run whose second result is changed is refused by one format; they take turns."""
        data = copy.deepcopy(self.run_file)
        change(data["results"][1])
        form = next(self.turns)
        with self.subTest(form=form, hint=hint):
            self.expect_refusal(form, data, hint)

    def test_names(self):
        for key in ("kernel", "problem"):
            for value, hint in (("a\nb", "control"), ("\x1b[31m", "control"), ("a\x7f", "control"),
                                ("a\u0085b", "control"), ("a\u009b", "control"), ("", "lacks"),
                                ("x" * (MOST + 1), f"{MOST + 1} bytes; at most {MOST}"),
                                ("ж" * MOST, "bytes"), ("x" * 1000000, "bytes"), (7, "lacks"),
                                (" a", "blank"), ("a ", "blank")):
                self.expect_refusals(lambda r, k=key, v=value: r.update({k: v}), hint)

    def test_same_name(self):
        first = self.run_file["results"][0]
        self.expect_refusals(lambda r: r.update(kernel=first["kernel"], problem=first["problem"]),
                             "second one called")
        data = run([("a/b", "c"), ("a", "b/c")])
        self.expect_refusal("csv", data, "second one called attn/a/b/c/")

    def test_times(self):
        for change, hint in (({"samples": []}, "samples"), ({"samples": None}, "samples"),
                             ({"samples": [1.0, 0]}, "[1]"), ({"samples": [-1.0]}, "[0]"),
                             ({"samples": ["1"]}, "[0]"), ({"median_ns": None}, "median_ns"),
                             ({"median_ns": 0}, "median_ns"), ({"ci_low_ns": "1"}, "ci_low_ns"),
                             ({"ci_high_ns": -1}, "ci_high_ns"), ({"threads": 0}, "threads"),
                             ({"calls_per_sample": 0}, "calls_per_sample")):
            self.expect_refusals(lambda r, c=change: r.update(c), hint)

    def test_files(self):
        for text, hint in (("[]", "object"), ("{}", "schema"), ('{"schema": 1}', "results"),
                           ('{"schema": 1, "results": [3]}', "results[0]"), ("{", "JSON"),
                           ('{"schema": 1, "date": "a\\nb", "results": []}', "date"),
                           ('{"schema": 1, "results": [{"kernel": "\\ud800"}]}', "JSON"),
                           ('{"schema": 1, "results": [{"kernel": "a\\u0000"}]}', "JSON")):
            self.expect_refusal("csv", text, hint)


class Csv(Export):
    """Python's csv module."""

    def test_csv(self):
        rows = list(csv.DictReader(io.StringIO(self.export("csv"), newline="")))
        want = [(r["kernel"], r["problem"], str(i)) for r in self.good for i in range(12)]
        self.assertEqual([(row["kernel"], row["problem"], row["round"]) for row in rows], want)
        times = [ns for r in self.good for ns in r["samples"]]
        for row, ns in zip(rows, times):
            self.assertAlmostEqual(float(row["ns"]), ns, delta=1e-8 * ns)
            self.assertEqual((row["machine"], row["flops"]), ("a,b", str(1 << 20)))


class Cells(html.parser.HTMLParser):
    """The texts of a page's table cells, row by row."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.text = [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.text = ""
        elif self.text is not None and tag != "a":    # what looks like an address becomes a link
            self.text += f"<{tag}>"    # other markup inside a cell: a name was misread

    def handle_data(self, data):
        if self.text is not None:
            self.text += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(self.text)
            self.text = None


class Markdown(Export):
    """GitHub's own parser, as cmarkgfm."""

    def rows(self, text):
        """The table's rows but its head."""
        path = self.write("run.md", text)
        page = self.python("-c", "import sys, cmarkgfm; sys.stdout.reconfigure(encoding='utf-8'); "
                           "print(cmarkgfm.github_flavored_markdown_to_html(open(sys.argv[1], "
                           "encoding='utf-8', newline='').read()))", path)
        return Cells(page).rows[1:]

    def test_cells(self):
        rows = self.rows(self.export("markdown"))
        self.assertEqual([row[:2] for row in rows],
                         [[r["kernel"], r["problem"]] for r in self.run_file["results"]])
        for row, result in zip(rows, self.run_file["results"]):
            self.assertEqual(row[2], "2")
            if result["verified"]:
                self.assertRegex(row[3], r"^0\.001\d* ms$")
                self.assertEqual(row[6], "-")    # no peak was measured
            else:
                self.assertEqual(row[3:], ["void: 3.1 of the bound", "", "", ""])

    def test_length(self):
        data = run([("*" * MOST, f"{i}{'|' * (MOST - 3)}") for i in range(100, 999)])
        for result in data["results"]:
            result.update(verified=False, void_reason="&" * 5000)
        text = self.export("markdown", data)
        self.assertLess(len(text), 65536)
        hidden = len(data["results"]) - len(self.rows(text))
        self.assertTrue(text.endswith(f"\n{hidden} more results are in the result file.\n"))


class Gbench(Export):
    """google-benchmark's compare.py, of Debian's libbenchmark-tools."""

    def compare(self, form):
        """compare.py's own report on a run and one that is 10 % slower."""
        base = self.write("base.json", self.export(form))
        slow = self.write("slow.json", self.export(form, run(names(150), 1.1)))
        dump = os.path.join(self.folder, "dump.json")
        self.python(COMPARE, "--no-color", "-d", dump, "benchmarks", base, slow)
        with open(dump, encoding="utf-8") as file:
            return json.load(file)

    def test_repetitions(self):
        report = {entry["name"]: entry for entry in self.compare("gbench")}
        overall = report.pop("OVERALL_GEOMEAN")["measurements"][0]
        self.assertAlmostEqual(overall["time"], 0.1, places=6)
        self.assertEqual(len(report), 4 * len(self.good))
        for result in self.good:
            entry = report[full_name(result)]
            self.assertEqual([m["real_time"] for m in entry["measurements"]],
                             [float(f"{ns:.9g}") for ns in result["samples"]])
            self.assertEqual(entry["utest"]["nr_of_repetitions"], 12)
            self.assertLess(entry["utest"]["time_pvalue"], 0.01)
            median = report[full_name(result) + "_median"]
            self.assertEqual(median["aggregate_name"], "median")
            self.assertAlmostEqual(median["measurements"][0]["real_time"], result["median_ns"],
                                   delta=1e-6)

    def test_flat(self):
        report = self.compare("gbench-flat")
        self.assertEqual([entry["name"] for entry in report[:-1]],
                         [full_name(result) for result in self.good])
        for entry in report:
            self.assertAlmostEqual(entry["measurements"][0]["time"], 0.1, places=6)


    GRID = ["--benchmark_repetitions=6", "--problems", "q16d16 q8d8c", "--threads", "1",
            "--no-roofs", "--kernels", "naive_scalar,naive_auto,blocked_scalar,blocked_auto"]

    def bench(self, *words):
        """The program as google-benchmark's tools call it."""
        done = subprocess.run([self.attest, *self.GRID, *words], capture_output=True, text=True,
                              timeout=200, check=False, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_filter(self):
        """What is listed is what is measured, and a filter chooses from it."""
        for pattern in ("(naive|blocked)_auto/", "q8d8c.*:1/", "auto/q16", "-scalar|q16"):
            words = ["--benchmark_filter=" + pattern]
            names = self.bench("--benchmark_list_tests", *words).split()
            report = json.loads(self.bench("--benchmark_format=json", *words))
            self.assertEqual({entry["run_name"] for entry in report["benchmarks"]}, set(names))
            kept = [name for name in self.bench("--benchmark_list_tests=true").split()
                    if bool(re.search(pattern.lstrip("-"), name)) != pattern.startswith("-")]
            self.assertEqual(kept, names)
            self.assertGreater(len(names), 1)
        self.assertEqual(self.bench("--benchmark_list_tests", "--benchmark_filter=all"),
                         self.bench("--benchmark_list_tests"))
        self.assertEqual(os.listdir(self.folder), [])

    def test_compare_drives(self):
        """compare.py runs the program itself, twice, and finds pairs to compare."""
        dump = os.path.join(self.folder, "dump.json")
        text = self.python(COMPARE, "--no-color", "-a", "-d", dump, "filters", self.attest,
                           "naive_auto", "blocked_auto", *self.GRID)
        self.assertIn("[naive_auto vs. blocked_auto]", text)
        with open(dump, encoding="utf-8") as file:
            report = json.load(file)
        names = [entry["name"] for entry in report if entry["run_type"] == "iteration"]
        self.assertEqual(names, [f"attn/[naive_auto vs. blocked_auto]/{problem}/threads:1/real_time"
                                 for problem in ("q16d16", "q8d8c")])
        self.assertTrue(all(0 < entry["measurements"][0]["real_time"] for entry in report))

    def test_out(self):
        text = self.bench("--benchmark_filter=naive_auto/q16", "--benchmark_out=a b.json",
                          "--benchmark_out_format=json", "--json", "run.json")
        self.assertIn("naive_auto", text)    # the table, as ever
        with open(os.path.join(self.folder, "a b.json"), encoding="utf-8") as file:
            report = json.load(file)
        with open(os.path.join(self.folder, "run.json"), encoding="utf-8") as file:
            native = json.load(file)
        again = json.loads(self.export("gbench", native))    # from 9 digits
        self.assertEqual(report["context"], again["context"])
        for entry, other in zip(report["benchmarks"], again["benchmarks"], strict=True):
            self.assertAlmostEqual(entry.pop("real_time") / other.pop("real_time"), 1, places=6)
            self.assertAlmostEqual(entry.pop("cpu_time") / other.pop("cpu_time"), 1, places=6)
            self.assertEqual(entry, other)
        self.assertIn("--benchmark_out=a b.json", native["argv"])


class GoReader:
    """The grammar of golang.org/design/14313-benchmark-format as benchfmt.Reader reads it, except
    that lines which are nothing are errors. `results`: (name, iterations, {unit: value})."""

    SPACE = "[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"

    def __init__(self, text):
        self.config, self.units, self.results = {}, {}, []
        for line in text.split("\n"):
            if line and not line.startswith("#"):
                self.line(line)

    def line(self, line):
        """One line that is no comment."""
        setting = re.match(r"([a-zß-öø-ÿ][^A-Z\s:]*):[ \t]+(.*)$", line)
        fields = re.split(self.SPACE, line)
        if line.startswith("Benchmark"):
            name, count, *pairs = fields
            if not pairs or len(pairs) % 2:
                raise ValueError(f"values without units: {line!r}")
            self.results.append((name[len("Benchmark"):], int(count),
                                 {unit: float(x) for x, unit in zip(pairs[::2], pairs[1::2])}))
        elif fields[0] == "Unit":
            self.units[fields[1]] = dict(field.split("=", 1) for field in fields[2:])
        elif setting:
            self.config[setting[1]] = setting[2]
        else:
            raise ValueError(f"neither result, unit nor configuration: {line!r}")


def go_parts(name):
    """Base name, {key: value} and CPUs of a name, as benchfmt.Name.Parts splits it."""
    name, cpus = re.fullmatch(r"(.*)-(\d+)", name).groups()
    base, *parts = name.split("/")
    return base, {key: urllib.parse.unquote(value) for key, value in
                  (part.split("=", 1) for part in parts)}, int(cpus)


class Benchfmt(Export):
    """The grammar, and benchstat itself where it is installed."""

    def test_grammar(self):
        reader = GoReader(self.export("benchfmt"))
        self.assertEqual(reader.config, {"arch": "x86_64", "cpu": "made | up",
                                         "machine": "x: y z"})
        self.assertEqual({unit: keys["better"] for unit, keys in reader.units.items()},
                         {"ns/op": "lower", "flop/s": "higher"})
        want = [(r, ns) for r in self.good for ns in r["samples"]]
        self.assertEqual(len(reader.results), len(want))
        for (name, count, values), (result, ns) in zip(reader.results, want):
            self.assertRegex(name, "^[!-~]+$")
            self.assertEqual(go_parts(name), ("Attn", {key: result[key] for key in
                                                       ("kernel", "problem")}, 2))
            self.assertEqual(count, 3)
            self.assertAlmostEqual(values["ns/op"], ns, delta=1e-8 * ns)
            self.assertAlmostEqual(values["flop/s"] * ns / 1e9 / (1 << 20), 1, delta=1e-8)

    def test_same_configuration(self):
        """benchstat compares results of equal configuration only: two commits must have it."""
        runs = [GoReader(self.export("benchfmt", run(names(9), commit=c))) for c in ("a", "b")]
        self.assertEqual(runs[0].config, runs[1].config)

    @unittest.skipUnless(shutil.which("benchstat"), "benchstat is not installed")
    def test_benchstat(self):
        base = self.write("base", self.export("benchfmt"))
        slow = self.write("slow", self.export("benchfmt", run(names(150), 1.1)))
        done = subprocess.run(["benchstat", base, slow], capture_output=True, text=True, check=True)
        self.assertEqual(done.stderr, "")
        self.assertEqual(done.stdout.count("+10.00%"), len(self.good) + 1)


class Bmf(Export):
    """The schema that Bencher publishes, and its limits on names."""

    NUMBER = {"type": "number"}
    SCHEMA = {"type": "object", "patternProperties": {".+": {    # https://bencher.dev/bmf.json
        "type": "object", "patternProperties": {".+": {
            "type": "object", "required": ["value"], "properties": {
                "value": NUMBER, "lower_value": NUMBER, "upper_value": NUMBER}}}}}}

    def test_schema(self):
        import jsonschema
        data = json.loads(self.export("bmf"))
        jsonschema.validate(data, self.SCHEMA)
        self.assertEqual(list(data), [full_name(result) for result in self.good])
        self.assertLessEqual(max(map(len, data)), 1024)
        for result in self.good:
            latency = data[full_name(result)]["latency"]
            bounds = [latency.get("lower_value"), latency.get("upper_value")]
            self.assertAlmostEqual(latency["value"], result["median_ns"], delta=1e-5)
            self.assertEqual(bounds[0] is None, result["ci_low_ns"] is None)
            if bounds[0] is not None:
                self.assertTrue(bounds[0] < latency["value"] < bounds[1])


class Gha(Export):
    """The table in github-action-benchmark's README, and how it reads "range"."""

    TEXT = {"type": "string"}
    SCHEMA = {"type": "array", "items": {
        "type": "object", "required": ["name", "unit", "value"], "additionalProperties": False,
        "properties": {"name": TEXT, "unit": TEXT, "value": {"type": "number"}, "range": TEXT,
                       "extra": TEXT}}}

    def test_schema(self):
        import jsonschema
        data = json.loads(self.export("gha"))
        jsonschema.validate(data, self.SCHEMA)
        self.assertEqual([entry["name"] for entry in data], list(map(full_name, self.good)))
        for entry, result in zip(data, self.good):
            self.assertEqual(entry["unit"], "ns")
            self.assertAlmostEqual(entry["value"], result["median_ns"], delta=1e-5)
            if result["ci_low_ns"] is None:
                self.assertNotIn("range", entry)
            else:
                value = re.search(r"(\+-|±)\s*(\d.+)", entry["range"])[2]
                self.assertAlmostEqual(float(value), 0.003 * result["median_ns"], delta=0.06)


class Pyperf(Export):
    """pyperf itself."""

    LOAD = ("import json, sys, pyperf; suite = pyperf.BenchmarkSuite.load(sys.argv[1]); "
            "print(json.dumps([[b.get_name(), b.get_unit(), b.median(), b.get_nvalue(), "
            "b.get_metadata()['attest_commit'], b.get_total_loops()] for b in suite]))")

    def test_load(self):
        path = self.write("run.pyperf", self.export("pyperf"))
        for got, result in zip(json.loads(self.python("-c", self.LOAD, path)), self.good,
                               strict=True):
            samples = sorted(result["samples"])
            self.assertEqual(got[0:2] + got[3:], [full_name(result), "second", 12, "abc", 3])
            self.assertAlmostEqual(got[2] * 1e9, (samples[5] + samples[6]) / 2, places=4)

    def test_compare(self):
        base = self.write("base.pyperf", self.export("pyperf"))
        slow = self.write("slow.pyperf", self.export("pyperf", run(names(150), 1.1)))
        text = self.python("-X", "utf8", "-m", "pyperf", "compare_to", base, slow)
        self.assertEqual(text.count("1.10x slower"), len(self.good) + 1)


FORMATS = {"names": Names, "csv": Csv, "markdown": Markdown, "gbench": Gbench, "benchfmt": Benchfmt,
           "bmf": Bmf, "gha": Gha, "pyperf": Pyperf}


if __name__ == "__main__":
    Export.attest, FORM = os.path.abspath(sys.argv[1]), sys.argv[2]
    FOLDER = os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 else tempfile.mkdtemp()
    Export.python_with = find_consumer(FORM, FOLDER)
    unittest.main(argv=sys.argv[:1], defaultTest=FORMATS[FORM].__name__)
