"""What result files say: reading and checking runs, comparisons of commits, and predictions."""

import json
import os
import re
from collections import namedtuple
from types import SimpleNamespace

SCHEMA = 1
SMALLEST_CLAIM = 0.01   # no difference below 1 % is ever claimed

NUMBER = (int, float)
KIND_NAMES = {dict: "an object", list: "an array", str: "a string", int: "a whole number",
              bool: "true or false", NUMBER: "a number"}
TOP_FIELDS = {"tool": dict, "date": str, "machine": dict, "argv": list, "verdict": str,
              "results": list}
RESULT_FIELDS = {"kernel": str, "isa": str, "problem": str, "threads": int, "verified": bool}
TOOL_FIELDS = {"name": str, "version": str, "commit": str, "dirty": bool, "compiler": str,
               "flags": str}
LIST_FIELDS = {"peaks": {"isa": str, "threads": int, "gflops": NUMBER},
               "read_gbps": {"threads": int, "gbps": NUMBER},
               "skipped": {"kernel": str, "reason": str}}
DIRTY_FIELDS = {"at_s": NUMBER, "cause": str}
ROOF_FIELDS = {"levels": {"level": str, "threads": int, "read_gbps": NUMBER},
               "peaks": {"isa": str, "threads": int, "gflops": NUMBER, "mixed_gflops": NUMBER}}
MACHINE_LIST_FIELDS = {"caches": {"level": int, "type": str, "bytes": int},
                       "isas": {"name": str, "runs": bool, "why": str}}
PREDICTION_FIELDS = {"kernel": str, "function": str, "core": str, "fma": int, "cycles": NUMBER,
                     "share": NUMBER}
TIMED_FIELDS = ("median_ns", "flops", "gflops")
OPTIONAL_NUMBERS = """bound_share max_abs_error flops bytes scratch_bytes median_ns ci_low_ns
    ci_high_ns min_ns rounds dirty gflops peak_gflops peak_fraction bandwidth_gbps
    bandwidth_fraction""".split()
RESULT_DEFAULTS = dict.fromkeys(OPTIONAL_NUMBERS) | {
    "void_reason": None, "samples": [], "sample_rounds": None, "sham_samples": [], "at_s": [],
    "issue_per_clock": [], "anchors": {}, "dirty_causes": {}, "dirty_rounds": [], "read_gbps": None}
RUN_DEFAULTS = {"preset": None, "seed": None, "elapsed_s": None, "noise_floor": None,
                "smallest_effect": None, "peaks": [], "read_gbps": [], "skipped": [],
                "roofs": {}, "overhead": {}, "neighbours": {}}
ANCHORS = ("clock_ghz", "fma_gflops", "triad_gbps")
COMPARISON_FIELDS = {"base": dict, "new": dict, "verdict": str, "cells": list}
CELL_FIELDS = {"kernel": str, "problem": str, "threads": int, "ratio": NUMBER, "verdict": str}
CELL_NUMBERS = ("base_ns", "new_ns", "low", "high", "p")
COMPARISON_DEFAULTS = {"unit": "launch", "noise_floor": None, "band": None, "machine": {},
                       "smallest_effect": None, "undecided_why": None, "left_out": [],
                       "ratios_of": "times"}

PROBLEM = re.compile(r"(b\d+)?(h\d+)?(g\d+)?q(\d+)(?:k(\d+))?(d\d+)(v\d+)?(\S*)")

Shape = namedtuple("Shape", "family n power")    # power: how the work grows with n


class BadInput(Exception):
    """A result file that cannot be reported, with the reason in one line."""


def write_whole(path, content):
    """Write `content` to `path` whole or not at all."""
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise BadInput(f"{path}: cannot write: {error.strerror}") from None


def parse_problem(key):
    """The shape behind a problem key; problems of one family differ only in their lengths."""
    match = PROBLEM.fullmatch(key)
    if not match:
        raise BadInput(f"problem '{key}' is not a problem key")
    parts = (part or "" for part in match.groups())
    batch, heads, groups, q_len, kv_len, qk_dim, v_dim, rest = parts
    kv_len = kv_len or q_len
    lengths = "q = k = n" if q_len == kv_len else f"q = {q_len}, k = n"
    sizes = f"{batch}{heads}{groups}{qk_dim}{v_dim}{rest}"
    return Shape(f"{sizes}, {lengths}", int(kv_len), 2 if q_len == kv_len else 1)


def read(path, check):
    """What `check` makes of the JSON document in the file `path`; raises BadInput."""
    try:
        with open(path, encoding="utf-8") as file:
            return check(json.load(file, parse_constant=reject_constant))
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def load(path):
    """The run or the comparison of commits in the file `path`; raises BadInput."""
    return read(path, check_document)


def load_predictions(path):
    """What scripts/predict --json wrote; raises BadInput."""
    return read(path, check_predictions)


def reject_constant(name):
    """JSON has no NaN and no infinity, although Python's reader takes them."""
    raise ValueError(f"{name} is not a JSON number")


def check_document(document):
    """`document` as a run, or as a comparison of commits; raises BadInput."""
    if not isinstance(document, dict) or "schema" not in document:
        raise BadInput("not an attest result file: it has no \"schema\"")
    if document["schema"] != SCHEMA:
        raise BadInput(f"schema is {document['schema']!r}; this report reads schema {SCHEMA}")
    checks = {"run": check_run, "comparison": check_comparison}
    kind = document.get("kind", "run")
    if kind not in checks:
        raise BadInput(f"kind is {kind!r}; this report reads {' and '.join(checks)}")
    return checks[kind](document)


def check_predictions(document):
    """`document` as predictions; raises BadInput."""
    check_fields(document, {"tool": str, "commit": str, "predictions": list}, "the file")
    check_lists(document, {"predictions": PREDICTION_FIELDS})
    return document


def check_comparison(document):
    """`document` as a comparison of two builds with every field present; raises BadInput."""
    check_fields(document, COMPARISON_FIELDS, "the file")
    check_lists(document, {"cells": CELL_FIELDS})
    check_fields(document, {"machine": dict} if "machine" in document else {}, "the file")
    if not document["cells"]:
        raise BadInput("it compares nothing: \"cells\" is empty")
    compared = SimpleNamespace(**COMPARISON_DEFAULTS | document)
    check_numbers(compared, ("noise_floor", "band", "smallest_effect"), "the file")
    compared.kind = "comparison"
    compared.cells = [SimpleNamespace(**dict.fromkeys(CELL_NUMBERS) | raw)
                      for raw in compared.cells]
    for i, cell in enumerate(compared.cells):
        check_numbers(cell, CELL_NUMBERS, f"cells[{i}]")
        if not cell.ratio > 0:
            raise BadInput(f"cells[{i}]: \"ratio\" is {cell.ratio!r}; it must be positive")
    return compared


def check_run(document):
    """`document` as a run with every field present; raises BadInput."""
    check_fields(document, TOP_FIELDS, "the file")
    check_fields(document["tool"], TOOL_FIELDS, "tool")
    check_lists(document, LIST_FIELDS)
    check_lists(document["machine"], MACHINE_LIST_FIELDS)
    for name in ("roofs", "overhead", "neighbours"):
        if document.get(name) is None:      # null: not measured
            document = document | {name: {}}
    check_fields(document, {"roofs": dict, "overhead": dict, "neighbours": dict}, "the file")
    check_numbers(SimpleNamespace(shared=document["neighbours"].get("shared")), ["shared"],
                  "neighbours")
    check_lists(document["roofs"], ROOF_FIELDS)
    if not document["results"]:
        raise BadInput("it holds no results")
    run = SimpleNamespace(**RUN_DEFAULTS | document)
    run.kind = "run"
    check_numbers(run, ("elapsed_s", "noise_floor", "smallest_effect"), "the file")
    run.results = [check_result(raw, f"results[{i}]") for i, raw in enumerate(run.results)]
    check_unique(run.results)
    share_clocks(run.results)
    run.name = run.machine.get("slug") or run.machine.get("cpu") or "unnamed machine"
    run.base_threads = min(result.threads for result in run.results)
    run.band = max(SMALLEST_CLAIM, run.noise_floor or 0)
    run.focus = None
    return run


def share_clocks(results):
    """Give the clock of a round, told with one kernel only, to all that ran in it."""
    clocks = {}
    for result in results:
        if result.anchors["clock_ghz"]:
            clocks[result.problem, result.threads] = result.anchors["clock_ghz"]
    for result in results:
        clock = clocks.get((result.problem, result.threads), [])
        if result.samples and result.sample_rounds[-1] < len(clock):
            result.anchors["clock_ghz"] = [clock[place] for place in result.sample_rounds]


def check_fields(value, fields, where):
    """Raise BadInput unless `value` is an object with all `fields` of the right types."""
    if not isinstance(value, dict):
        raise BadInput(f"{where} is not an object")
    for name, kind in fields.items():
        if not isinstance(value.get(name), kind):
            found = "is missing" if name not in value else f"is {value[name]!r}"
            raise BadInput(f"{where}: \"{name}\" {found}; it must be {KIND_NAMES[kind]}")


def check_numbers(value, names, where):
    """Raise BadInput unless each field of `names` is a number or absent."""
    for name in sorted(names):
        found = getattr(value, name)
        if found is not None and not isinstance(found, NUMBER):
            raise BadInput(f"{where}: \"{name}\" is {found!r}; it must be a number or null")


def check_lists(value, lists):
    """Raise BadInput unless each of `lists` that `value` has is an array of such objects."""
    for name, fields in lists.items():
        items = value.get(name, [])
        if not isinstance(items, list):
            raise BadInput(f"\"{name}\" must be an array")
        for i, item in enumerate(items):
            check_fields(item, fields, f"{name}[{i}]")


def check_unique(results):
    """Raise BadInput if a kernel was measured twice on a problem and thread count."""
    seen = set()
    for result in results:
        key = (result.kernel, result.problem, result.threads)
        if key in seen:
            raise BadInput(f"{result.kernel} appears twice for {result.problem} "
                           f"on {result.threads} threads")
        seen.add(key)


def check_result(raw, where):
    """One result with every field present and its problem's shape; raises BadInput."""
    check_fields(raw, RESULT_FIELDS, where)
    result = SimpleNamespace(**RESULT_DEFAULTS | raw)
    result.shape = parse_problem(result.problem)
    check_numbers(result, OPTIONAL_NUMBERS, where)
    for name in TIMED_FIELDS if result.verified else ():
        value = getattr(result, name)
        if not (value and value > 0):
            raise BadInput(f"{where}: \"{name}\" is {value!r} although the result is verified")
    result.samples = check_series(result.samples, "samples", where)
    count = len(result.samples)
    result.sample_rounds = check_rounds(result.sample_rounds, count, where)
    result.at_s = check_series(result.at_s, "at_s", where, count, 0)
    result.sham_samples = check_series(result.sham_samples, "sham_samples", where, count)
    result.issue_per_clock = check_series(result.issue_per_clock, "issue_per_clock", where, count)
    check_fields(raw, {name: dict for name in ("anchors", "dirty_causes") if name in raw}, where)
    check_lists({"dirty_rounds": result.dirty_rounds}, {"dirty_rounds": DIRTY_FIELDS})
    result.anchors = {name: check_series(result.anchors.get(name), name, where, count)
                      for name in ANCHORS}
    check_fields(result.dirty_causes, dict.fromkeys(result.dirty_causes, int),
                 f"{where}: dirty_causes")
    return result


def check_rounds(values, count, where):
    """The rounds that `count` samples are of: rising whole numbers, or all of them from 0 on."""
    if values is None:
        return list(range(count))
    good = isinstance(values, list) and all(type(value) is int for value in values)
    if not (good and len(values) == count and all(a < b for a, b in zip([-1, *values], values))):
        raise BadInput(f"{where}: \"sample_rounds\" must hold {count} rising numbers from 0 on")
    return values


def check_series(values, name, where, count=None, least=None):
    """A list of positive numbers (or of at least `least`), `count` of them or none at all."""
    values = values or []
    good = isinstance(values, list) and all(
        isinstance(value, NUMBER) and (value > 0 if least is None else value >= least)
        for value in values)
    if not good:
        raise BadInput(f"{where}: \"{name}\" must hold positive numbers only")
    if count is not None and len(values) not in (0, count):
        raise BadInput(f"{where}: \"{name}\" holds {len(values)} numbers; there are {count} "
                       "samples")
    return values


def algorithm(result):
    """A kernel's name without its instruction set."""
    return result.kernel.removesuffix("_" + result.isa)


def timed(results, threads=None):
    """The verified results, on `threads` threads if given."""
    return [r for r in results if r.verified and threads in (None, r.threads)]
