"""Which results of a run belong together: families against n, the ladder, rounds, machines."""

from collections import namedtuple
from types import SimpleNamespace

import numpy as np

from report_data import BadInput, parse_problem, timed
from report_stats import CURVE_POINTS, Ratio, baseline, claim, fastest, ratio

MOST_ROUNDS = 0.9       # of a group's rounds: kernels with fewer are not in its stability chart

Family = namedtuple("Family", "label power curves")    # curves: kernel -> results by rising n
Step = namedtuple("Step", "result speedup claim")


def focus(run, problem):
    """Let the run's ladder, threads and curves be about `problem`; raises BadInput."""
    known = list(dict.fromkeys(r.problem for r in timed(run.results)))
    if problem not in known:
        raise BadInput(f"no verified result for the problem '{problem}'; there are "
                       f"{' '.join(known) or 'none'}")
    run.focus = problem


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
    wanted = parse_problem(run.focus).family if run.focus else None
    return sorted(found, key=lambda f: (f.label != wanted, -f.power,
                                        -sum(map(len, f.curves.values()))))


def main_family(run):
    """The first family, or the focus's own; None if that has too few lengths."""
    found = families(run)
    if not found or run.focus and found[0].label != parse_problem(run.focus).family:
        return None
    return found[0]


def largest_common(results):
    """The results of the problem that most (kernel, threads) pairs share; the largest such."""
    groups = {}
    for result in results:
        groups.setdefault(result.problem, []).append(result)
    return max(groups.values(), key=lambda group: (len(group), group[0].flops), default=[])


def main_results(run):
    """The verified results that ladder and threads are about, at every thread count: of the
    focus, or of the first family, or all if there is none."""
    if run.focus:
        return [r for r in timed(run.results) if r.problem == run.focus]
    found = families(run)
    return [r for r in timed(run.results) if not found or r.shape.family == found[0].label]


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


def thread_scaling(run):
    """kernel -> its results by rising threads, at the largest problem common to all counts."""
    curves = {}
    for result in sorted(largest_common(main_results(run)), key=lambda r: r.threads):
        curves.setdefault(result.kernel, []).append(result)
    return {kernel: points for kernel, points in curves.items() if len(points) > 1}


def groups_of(run):
    """(problem, threads) -> its verified results, in the order of the file."""
    groups = {}
    for result in timed(run.results):
        groups.setdefault((result.problem, result.threads), []).append(result)
    return groups


def model_shapes(run):
    """Per problem outside the families: (fastest result, its baseline, ratio, claim)."""
    curves = {family.label for family in families(run)}
    rows = []
    for group in groups_of(run).values():
        if group[0].shape.family in curves:
            continue
        best, base = fastest(group), baseline(group)
        measured = ratio(base, best)
        rows.append((best, base, measured, "" if best is base else claim(run, measured)))
    return rows


def winners(run):
    """(kernel -> on how many (problem, threads) it is the fastest, the most first; the same where
    it is faster than the next beyond noise)."""
    counts, sure = {}, {}
    for group in groups_of(run).values():
        best, *others = sorted(group, key=lambda r: r.median_ns)
        counts[best.kernel] = counts.get(best.kernel, 0) + 1
        if others and claim(run, ratio(others[0], best)) == "faster":
            sure[best.kernel] = sure.get(best.kernel, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1])), sure


def round_groups(run):
    """The rounds of each problem and thread count, in the order of the file.

    `drift` is how far all kernels of a round lay from their medians (the middle one of their
    logarithms): what the machine did. `paired` is the same for the ratio of the two fastest
    kernels: what is left of it in a comparison. `issue` is what the cores gave around the samples
    of a round, instructions per clock.
    """
    found, place = [], 0
    for (problem, threads), results in groups_of(run).items():
        count = max(len(r.samples) for r in results)
        # The slowest rest in some rounds; a kill may have cut off a round here and there.
        results = [r for r in results if r.samples and len(r.samples) >= MOST_ROUNDS * count]
        common = set.intersection(*(set(r.sample_rounds) for r in results)) if results else ()
        if not common:
            continue
        logs = np.log([in_rounds(r, r.samples, common) for r in results])
        logs -= np.median(logs, axis=1, keepdims=True)
        order = np.argsort([r.median_ns for r in results])
        paired = logs[order[0]] - logs[order[1]] if len(results) > 1 else None
        issue = [in_rounds(r, r.issue_per_clock, common) for r in results if r.issue_per_clock]
        sham = next((in_rounds(r, np.log(np.divide(r.sham_samples, r.samples)), common)
                     for r in results if r.sham_samples), None)
        found.append(SimpleNamespace(
            problem=problem, threads=threads, results=results, drift=np.median(logs, axis=0),
            paired=None if paired is None else paired - np.median(paired),
            at_s=next((in_rounds(r, r.at_s, common) for r in results if r.at_s), []),
            order=np.arange(place, place + len(common)),
            issue=np.median(issue, axis=0) if issue else None,
            dirty_rounds=next((r.dirty_rounds for r in results if r.dirty_rounds), []),
            dirty=max(r.dirty or 0 for r in results),
            causes=max((r.dirty_causes for r in results), key=lambda c: sum(c.values())),
            sham=None if sham is None else np.array(sham)))
        place += len(common)
    return found


def in_rounds(result, values, rounds):
    """Of `values`, which stand beside the result's samples, those of `rounds`."""
    return [value for value, own in zip(values, result.sample_rounds) if own in rounds]


def comparison(runs):
    """The kernels of all runs at the largest problem where every run has the same baseline.

    Returns (problem, threads, baseline kernel, rows), a row being a kernel and, for each run, its
    (result, ratio over its own machine's baseline) or None; or None if nothing is shared.
    """
    tables = [{(r.problem, r.threads, r.kernel): r for r in timed(run.results)} for run in runs]
    shared = [r for key, r in tables[0].items() if all(key in table for table in tables)]
    group = largest_common(timed(shared, min((r.threads for r in shared), default=None)))
    if not group:
        return None
    base = baseline(group)
    kernels = {}
    for i, table in enumerate(tables):
        own_base = table[base.problem, base.threads, base.kernel]
        for (problem, threads, kernel), own in table.items():
            if (problem, threads) == (base.problem, base.threads):
                cells = kernels.setdefault(kernel, [None] * len(runs))
                cells[i] = own, ratio(own_base, own)
    if len(kernels) < 2:
        return None
    rows = sorted(kernels.items(), key=lambda row: max(c[1].value for c in row[1] if c))
    return base.problem, base.threads, base.kernel, rows


def clock_ghz(result):
    """The clock that the anchors of a result's rounds saw, or None."""
    return float(np.median(result.anchors["clock_ghz"])) if result.anchors["clock_ghz"] else None


def flop_per_cycle(result):
    """Operations per cycle and thread, or None where no clock was measured."""
    clock = clock_ghz(result)
    return None if clock is None else result.gflops / clock / result.threads
