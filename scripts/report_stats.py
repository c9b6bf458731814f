"""What may be said of measured times: intervals, ratios, verdicts, exponents, crossovers.

Statistics as in the protocol: a median with its order-statistic interval for a time; the median of
the per-round ratios for two kernels timed in the same rounds; the bootstrap only for the exponent.
A verdict needs an interval beyond the band (1 %, or the noise floor if that is larger) and a sign
test that survives Benjamini and Hochberg's correction over all comparisons of the run.
"""

import functools
import itertools
import math
from collections import namedtuple

import numpy as np

FIT_FROM = 256          # shorter problems measure overheads, not growth
CURVE_POINTS = 3        # lengths that make a curve
BOOTSTRAP_DRAWS = 2000
BASELINE = "naive_scalar"
MOST_DIRTY = 0.2      # of the rounds; bench/result.c
MOST_OF_ROOF = 1.02     # more than this share of a measured limit is invalid, not a record
FALSE_SHARE = 0.05      # of the claimed differences, at most this share may be false

Ratio = namedtuple("Ratio", "value low high rounds", defaults=((),))
Fit = namedtuple("Fit", "slope low high first last")
Crossover = namedtuple("Crossover", "short long n low high")    # kernels, and where they meet


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
    slow_rounds, fast_rounds = (dict(zip(r.sample_rounds, r.samples)) for r in (slow, fast))
    same = (slow.problem, slow.threads) == (fast.problem, fast.threads)
    if same and (shared := slow_rounds.keys() & fast_rounds):
        rounds = sorted(slow_rounds[r] / fast_rounds[r] for r in shared)
        ranks = median_ranks(len(rounds))
        low, high = (rounds[ranks[0]], rounds[ranks[1]]) if ranks else (None, None)
        return Ratio(middle(rounds), low, high, rounds)
    known = slow.ci_low_ns and fast.ci_low_ns
    return Ratio(slow.median_ns / fast.median_ns,
                 slow.ci_low_ns / fast.ci_high_ns if known else None,
                 slow.ci_high_ns / fast.ci_low_ns if known else None)


def middle(rising):
    """The median of rising values."""
    half = len(rising) // 2
    return rising[half] if len(rising) % 2 else (rising[half - 1] + rising[half]) / 2


@functools.cache
def at_least(wins, count):
    """P(B >= wins) for B binomial of `count` fair coins."""
    return sum(math.comb(count, k) for k in range(wins, count + 1)) / 2 ** count


def sign_test(rounds, band):
    """Two-sided p of the claim that the median ratio lies beyond 1 + band, or below its inverse."""
    if not rounds:
        return 1.0
    above = sum(value > 1 + band for value in rounds)
    below = sum(value < 1 / (1 + band) for value in rounds)
    return min(1.0, 2 * at_least(max(above, below), len(rounds)))


def false_discovery(tests, share=FALSE_SHARE):
    """The largest p that Benjamini and Hochberg accept; 0 if none, 1 without tests."""
    rising = sorted(tests)
    accepted = [p for k, p in enumerate(rising, 1) if p <= share * k / len(rising)]
    return accepted[-1] if accepted else float(not rising)


def accepted(run):
    """(largest accepted p, number of tests) over all pairs of kernels timed in the same rounds."""
    if not hasattr(run, "accepted"):
        groups = {}
        for result in run.results:
            if result.verified and result.samples:
                groups.setdefault((result.problem, result.threads), []).append(result)
        tests = [sign_test(ratio(*pair).rounds, run.band) for group in groups.values()
                 for pair in itertools.combinations(group, 2)]
        run.accepted = false_discovery(tests), len(tests)
    return run.accepted


def claim(run, measured):
    """What the run can say of a ratio: faster, slower, same or undecided."""
    if run.verdict != "valid" or run.noise_floor is None or measured.low is None:
        return "undecided"
    band = 1 + run.band
    if measured.low >= 1 / band and measured.high <= band:
        return "same"
    verdict = "faster" if measured.low > band else "slower" if measured.high < 1 / band else ""
    kept = not measured.rounds or sign_test(measured.rounds, run.band) <= accepted(run)[0]
    return verdict if verdict and kept else "undecided"


def fastest(results):
    """The fastest of verified results of one problem."""
    return min(results, key=lambda result: result.median_ns)


def baseline(results):
    """The result that others are compared with: naive_scalar, or the slowest without it."""
    named = [r for r in results if r.kernel == BASELINE]
    return (named or [max(results, key=lambda r: r.median_ns)])[0]


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


def crossovers(run, curves):
    """Where one kernel of a family overtakes another, by rising length.

    Only a change that is claimed on both sides counts: `short` is faster at `low`, the last length
    where that is so, and `long` at `high`. Between them the lines through the medians meet at `n`.
    """
    found, names = [], list(curves)
    for i, first in enumerate(names):
        for second in names[i + 1:]:
            found += pair_crossovers(run, curves[first], curves[second])
    return sorted(found, key=lambda crossover: crossover.n)


def pair_crossovers(run, first, second):
    """The crossovers of two curves."""
    others = {r.shape.n: r for r in second}
    both = [(r, others[r.shape.n]) for r in first if r.shape.n in others]
    if len({a.median_ns < b.median_ns for a, b in both}) < 2:
        return []
    found, last = [], None
    for place, (a, b) in enumerate(both):
        verdict = claim(run, ratio(a, b))
        if verdict not in ("faster", "slower"):
            continue
        if last and last[1] != verdict:
            short, long = (a, b) if verdict == "faster" else (b, a)
            bracket = both[last[0]:place + 1]
            found.append(Crossover(short.kernel, long.kernel, meeting(bracket),
                                   bracket[0][0].shape.n, a.shape.n))
        last = place, verdict
    return found


def meeting(pairs):
    """The length where two curves meet, by straight lines between their points, log-log."""
    gaps = [(math.log(a.shape.n), math.log(ratio(a, b).value)) for a, b in pairs]
    (x, gap), (next_x, next_gap) = next(
        pair for pair in reversed(list(zip(gaps, gaps[1:])))
        if pair[0][1] * pair[1][1] <= 0)
    return math.exp(x + (next_x - x) * gap / (gap - next_gap) if gap != next_gap else x)


def why(run):
    """Why a run is undecided, in its own numbers (bench/result.c)."""
    groups = [r for r in run.results if r.sham_samples]
    dirty = sum(r.dirty or 0 for r in groups)
    rounds = dirty + sum(r.rounds or 0 for r in groups)
    if dirty > MOST_DIRTY * rounds:
        return (f"{dirty} of {rounds} rounds were disturbed by other work or a changing clock, and "
                f"more than {100 * MOST_DIRTY:.0f} % may hide anything")
    return ("a kernel that was also timed as a stranger to itself seemed to differ, or a result "
            "exceeds a measured limit")
