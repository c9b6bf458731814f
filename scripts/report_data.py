"""What result files say: reading them, checking them, and every figure derived from them.

Statistics as in the protocol: a median with its order-statistic interval for a time; the median of
the per-round ratios for two kernels timed in the same rounds; the bootstrap only for the exponent.
"""

import json
import math
import os
import re
from collections import namedtuple
from types import SimpleNamespace

import numpy as np

SCHEMA = 1
BASELINE = "naive_scalar"
SMALLEST_CLAIM = 0.01   # no difference below 1 % is ever claimed
FIT_FROM = 256          # shorter problems measure overheads, not growth
CURVE_POINTS = 3        # lengths that make a curve
BOOTSTRAP_DRAWS = 2000

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
MACHINE_LIST_FIELDS = {"caches": {"level": int, "type": str, "bytes": int},
                       "isas": {"name": str, "runs": bool, "why": str}}
PREDICTION_FIELDS = {"kernel": str, "function": str, "core": str, "fma": int, "cycles": NUMBER,
                     "share": NUMBER}
TIMED_FIELDS = ("median_ns", "flops", "gflops")
OPTIONAL_NUMBERS = """bound_share max_abs_error flops bytes scratch_bytes median_ns ci_low_ns
    ci_high_ns min_ns rounds dirty gflops peak_gflops peak_fraction bandwidth_gbps
    bandwidth_fraction""".split()
RESULT_DEFAULTS = dict.fromkeys(OPTIONAL_NUMBERS) | {"void_reason": None, "samples": []}
RUN_DEFAULTS = {"preset": None, "seed": None, "elapsed_s": None, "noise_floor": None,
                "peaks": [], "read_gbps": [], "skipped": []}

PROBLEM = re.compile(r"(b\d+)?(h\d+)?(g\d+)?q(\d+)(?:k(\d+))?(d\d+)(v\d+)?(\S*)")

Shape = namedtuple("Shape", "family n power")    # power: how the work grows with n
Family = namedtuple("Family", "label power curves")    # curves: kernel -> results by rising n
Ratio = namedtuple("Ratio", "value low high")
Fit = namedtuple("Fit", "slope low high first last")
Step = namedtuple("Step", "result speedup claim")


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


def load(path):
    """The run in the file `path`; raises BadInput."""
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file, parse_constant=reject_constant)
        return check_run(document)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def load_predictions(path):
    """What scripts/predict --json wrote; raises BadInput."""
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream, parse_constant=reject_constant)
        check_fields(document, {"tool": str, "commit": str, "predictions": list}, "the file")
        check_lists(document, {"predictions": PREDICTION_FIELDS})
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    return document


def reject_constant(name):
    """JSON has no NaN and no infinity, although Python's reader takes them."""
    raise ValueError(f"{name} is not a JSON number")


def check_run(document):
    """`document` as a run with every field present; raises BadInput."""
    if not isinstance(document, dict) or "schema" not in document:
        raise BadInput("not an attest result file: it has no \"schema\"")
    if document["schema"] != SCHEMA:
        raise BadInput(f"schema is {document['schema']!r}; this report reads schema {SCHEMA}")
    check_fields(document, TOP_FIELDS, "the file")
    check_fields(document["tool"], TOOL_FIELDS, "tool")
    check_lists(document, LIST_FIELDS)
    check_lists(document["machine"], MACHINE_LIST_FIELDS)
    if not document["results"]:
        raise BadInput("it holds no results")
    run = SimpleNamespace(**RUN_DEFAULTS | document)
    run.results = [check_result(raw, f"results[{i}]") for i, raw in enumerate(run.results)]
    check_unique(run.results)
    run.name = run.machine.get("slug") or run.machine.get("cpu") or "unnamed machine"
    run.base_threads = min(result.threads for result in run.results)
    run.detectable = max(SMALLEST_CLAIM, run.noise_floor or 0)
    return run


def check_fields(value, fields, where):
    """Raise BadInput unless `value` is an object with all `fields` of the right types."""
    if not isinstance(value, dict):
        raise BadInput(f"{where} is not an object")
    for name, kind in fields.items():
        if not isinstance(value.get(name), kind):
            found = "is missing" if name not in value else f"is {value[name]!r}"
            raise BadInput(f"{where}: \"{name}\" {found}; it must be {KIND_NAMES[kind]}")


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
    for name in OPTIONAL_NUMBERS:
        value = getattr(result, name)
        if value is not None and not isinstance(value, NUMBER):
            raise BadInput(f"{where}: \"{name}\" is {value!r}; it must be a number or null")
        if result.verified and name in TIMED_FIELDS and not (value and value > 0):
            raise BadInput(f"{where}: \"{name}\" is {value!r} although the result is verified")
    if not all(isinstance(sample, NUMBER) and sample > 0 for sample in result.samples or ()):
        raise BadInput(f"{where}: \"samples\" must hold positive numbers only")
    return result


def algorithm(result):
    """A kernel's name without its instruction set."""
    return result.kernel.removesuffix("_" + result.isa)


def timed(results, threads=None):
    """The verified results, on `threads` threads if given."""
    return [r for r in results if r.verified and threads in (None, r.threads)]


def families(run):
    """Families with enough lengths for a curve, at the fewest threads; the largest first."""
    groups = {}
    for result in timed(run.results, run.base_threads):
        curves = groups.setdefault(result.shape.family, {})
        curves.setdefault(result.kernel, []).append(result)
    found = []
    for label, curves in groups.items():
        for points in curves.values():
            points.sort(key=lambda result: result.shape.n)
        if max(map(len, curves.values())) >= CURVE_POINTS:
            first = next(iter(curves.values()))[0]
            found.append(Family(label, first.shape.power, curves))
    return sorted(found, key=lambda f: (-f.power, -sum(map(len, f.curves.values()))))


def largest_common(results):
    """The results of the problem that most (kernel, threads) pairs share; the largest such."""
    groups = {}
    for result in results:
        groups.setdefault(result.problem, []).append(result)
    return max(groups.values(), key=lambda group: (len(group), group[0].flops), default=[])


def main_results(run):
    """The verified results of the first family at every thread count, or all if there is none."""
    found = families(run)
    return [r for r in timed(run.results) if not found or r.shape.family == found[0].label]


def median_ranks(count):
    """Ranks (from 0) of the order statistics that hold a median with 95 %; None below 6."""
    below, tail = 0, 0.5 ** count
    while tail <= 0.025:
        below += 1
        tail += math.comb(count, below) * 0.5 ** count
    return (below - 1, count - below) if below else None


def ratio(slow, fast):
    """How many times as long `slow` takes as `fast`, with a 95 % interval where one is known.

    Kernels timed in the same rounds are compared round by round; others by the ends of their own
    intervals, which is cautious.
    """
    same_rounds = (slow.problem, slow.threads) == (fast.problem, fast.threads)
    if same_rounds and len(slow.samples) == len(fast.samples) > 0:
        rounds = sorted(a / b for a, b in zip(slow.samples, fast.samples))
        ranks = median_ranks(len(rounds))
        low, high = (rounds[ranks[0]], rounds[ranks[1]]) if ranks else (None, None)
        return Ratio(float(np.median(rounds)), low, high)
    known = slow.ci_low_ns and fast.ci_low_ns
    return Ratio(slow.median_ns / fast.median_ns,
                 slow.ci_low_ns / fast.ci_high_ns if known else None,
                 slow.ci_high_ns / fast.ci_low_ns if known else None)


def claim(run, measured):
    """What the run can say of a ratio: faster, slower, same or undecided."""
    if run.verdict != "valid" or run.noise_floor is None or measured.low is None:
        return "undecided"
    band = 1 + run.detectable
    verdicts = ((measured.low > band, "faster"), (measured.high < 1 / band, "slower"),
                (measured.low >= 1 / band and measured.high <= band, "same"))
    return next((name for holds, name in verdicts if holds), "undecided")


def baseline(results):
    """The result that others are compared with: naive_scalar, or the slowest without it."""
    named = [r for r in results if r.kernel == BASELINE]
    return (named or [max(results, key=lambda r: r.median_ns)])[0]


def ladder(run):
    """Steps from the baseline to the fastest kernel at the largest common problem.

    The last step adds threads to the fastest kernel, where they were measured.
    """
    everything = main_results(run)
    group = largest_common(timed(everything, run.base_threads))
    if not group:
        return []
    base = baseline(group)
    climb = sorted(group, key=lambda r: -r.median_ns)
    best = climb[-1]
    threaded = [r for r in everything if r.threads > best.threads
                and (r.kernel, r.problem) == (best.kernel, best.problem)]
    climb += sorted(threaded, key=lambda r: r.threads)[-1:]
    steps = []
    for result in climb:
        measured = Ratio(1.0, 1.0, 1.0) if result is base else ratio(base, result)
        steps.append(Step(result, measured, "" if result is base else claim(run, measured)))
    return steps


def exponent(points):
    """The p of time = c n^p by least squares on the logarithms; None for too few points.

    The 95 % interval resamples the rounds of each point: it holds the noise of timing, not the
    curvature, which the local slopes show. The seed is fixed: equal input, equal interval.
    """
    long_enough = [r for r in points if r.shape.n >= FIT_FROM]
    points = long_enough if len(long_enough) >= CURVE_POINTS else points
    if len(points) < CURVE_POINTS:
        return None
    log_n = np.log([r.shape.n for r in points])
    weights = (log_n - log_n.mean()) / ((log_n - log_n.mean()) ** 2).sum()
    slope = float(np.log([r.median_ns for r in points]) @ weights)
    first, last = points[0].shape.n, points[-1].shape.n
    if any(len(r.samples) < 2 for r in points):
        return Fit(slope, None, None, first, last)
    random = np.random.default_rng(1)
    draws = [np.median(random.choice(r.samples, (BOOTSTRAP_DRAWS, len(r.samples))), axis=1)
             for r in points]
    low, high = np.quantile(weights @ np.log(draws), (0.025, 0.975))
    return Fit(slope, float(low), float(high), first, last)


def local_slopes(points):
    """(n, slope) between neighbouring points, at their geometric mean."""
    pairs = zip(points, points[1:])
    return [(math.sqrt(a.shape.n * b.shape.n),
             math.log(b.median_ns / a.median_ns) / math.log(b.shape.n / a.shape.n))
            for a, b in pairs]


def thread_scaling(run):
    """kernel -> its results by rising threads, at the largest problem common to all counts."""
    curves = {}
    for result in sorted(largest_common(main_results(run)), key=lambda r: r.threads):
        curves.setdefault(result.kernel, []).append(result)
    return {kernel: points for kernel, points in curves.items() if len(points) > 1}


def model_shapes(run):
    """Per problem outside the families: (fastest result, its baseline, ratio, claim)."""
    curves = {family.label for family in families(run)}
    groups = {}
    for result in timed(run.results):
        if result.shape.family not in curves:
            groups.setdefault((result.problem, result.threads), []).append(result)
    rows = []
    for group in groups.values():
        best, base = min(group, key=lambda r: r.median_ns), baseline(group)
        measured = ratio(base, best)
        rows.append((best, base, measured, "" if best is base else claim(run, measured)))
    return rows


def comparison(runs):
    """Speed-ups inside each run at the largest problem that all runs share.

    Returns (problem, threads, baseline kernel, rows), a row being a kernel and, for each run, its
    (ratio, peak_fraction) or None; or None if the runs share no problem with a baseline.
    """
    tables = [{(r.problem, r.threads, r.kernel): r for r in timed(run.results)} for run in runs]
    shared = [r for key, r in tables[0].items() if all(key in table for table in tables)]
    group = largest_common(timed(shared, min((r.threads for r in shared), default=None)))
    if len(group) < 2:
        return None
    base = baseline(group)
    rows = []
    for result in sorted(group, key=lambda r: -r.median_ns):
        cells = []
        for table in tables:
            own = table[result.problem, result.threads, result.kernel]
            own_base = table[base.problem, base.threads, base.kernel]
            cells.append((ratio(own_base, own).value, own.peak_fraction))
        rows.append((result.kernel, cells))
    return base.problem, base.threads, base.kernel, rows
