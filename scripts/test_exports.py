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
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

from need import need

ATTEST = FOLDER = PYTHON = None
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
        done = subprocess.run([ATTEST, "export", path, "--as", form], capture_output=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        text = done.stdout.decode()
        self.assertNotRegex(text.replace(".", ""), "1234567[89]")
        return text

    def python(self, *words):
        """Run the Python that has the consumer."""
        done = subprocess.run([PYTHON, *words], capture_output=True, text=True, timeout=120,
                              check=False, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout


class Names(Export):
    """What no format could hold is refused in one line, whatever the format."""

    turns = itertools.cycle(["csv", "markdown", "gbench", "gbench-flat", "benchfmt", "bmf", "gha",
                             "pyperf"])

    def expect_refusal(self, form, data, hint):
        """One line with `hint`, exit 2."""
        path = self.write("bad.json", data)
        done = subprocess.run([ATTEST, "export", path, "--as", form], capture_output=True,
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


def need_or_skip(modules):
    """Continue under a Python that has the modules of Debian."""
    try:
        need(modules)
    except SystemExit:
        skip("skipped")


def from_index(package):
    """A Python with a package of the index, in FOLDER; made once."""
    folder = os.path.join(FOLDER, package)
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


def find_consumer(form):
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
    return from_index(packages[form]) if form in packages else sys.executable


if __name__ == "__main__":
    ATTEST, FORM = os.path.abspath(sys.argv[1]), sys.argv[2]
    FOLDER = os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 else tempfile.mkdtemp()
    PYTHON = find_consumer(FORM)
    unittest.main(argv=sys.argv[:1], defaultTest=FORMATS[FORM].__name__)
