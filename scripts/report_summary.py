"""What a stranger learns in a minute: six questions, each with its answer and how sure that is."""

import report_commit as commit
import report_find as find
import report_stats as stats
import report_text as text
from report_chart import threads_text
from report_data import timed

SURENESS = {"faster": "Sure", "same": "Tied with the next", "slower": "Undecided",
            "undecided": "Undecided"}
ASK = "let attest ab compare two builds, and name the file it writes beside the run"


def answers(run, compared=()):
    """(question, answer, detail, certainty) for each of the six questions."""
    steps = find.ladder(run)
    if not steps:
        return [("Which kernel is the fastest here?", "None", "No result is verified.", ""),
                slower_answer(run, compared)]
    single = [s.result for s in steps if s.result.threads == run.base_threads]
    best = stats.fastest(single)
    return [fastest_answer(run, single, best), sure_answer(run, single, best),
            limit_answer(best), accuracy_answer(run, best), growth_answer(run, best),
            slower_answer(run, compared)]


def fastest_answer(run, single, best):
    """Which kernel is fastest here?"""
    base, (wins, sure) = stats.baseline(single), find.winners(run)
    gain = "" if base is best else f"{text.times(stats.ratio(base, best).value)} {base.kernel}, "
    total = sum(wins.values())
    others = [f"{kernel} on {count}" for kernel, count in wins.items() if kernel != best.kernel]
    told = (f"Fastest on {wins.get(best.kernel, 0)} of {total} problems and thread counts, beyond "
            f"noise on {sure.get(best.kernel, 0)}")
    return ("Which kernel is the fastest here?", best.kernel,
            f"{gain}{text.time(best.median_ns)} at {best.problem}, {threads_text(best.threads)}.",
            told + (f"; {', '.join(others[:3])}" if others else "") + ".")


def sure_answer(run, single, best):
    """How sure is that?"""
    others = [r for r in single if r is not best]
    question = "How sure is that?"
    if not others:
        return (question, "No rival", "Only one kernel was measured on this problem.", "")
    rival = stats.fastest(others)
    measured = stats.ratio(rival, best)
    verdict = stats.claim(run, measured)
    detail = (f"{text.times(measured.value)} as fast as the next, {rival.kernel}; 95 % interval "
              f"{text.interval(measured.low, measured.high)}.")
    if run.verdict != "valid":
        return question, "Undecided", detail, f"The run itself is {run.verdict}: {stats.why(run)}."
    floor = ("No noise floor was measured" if run.noise_floor is None else
             f"{len(best.samples)} rounds; only differences beyond {text.percent(run.band)} count")
    tests = f", corrected for {stats.accepted(run)[1]} comparisons"
    return question, SURENESS[verdict], detail, floor + tests + "."


def limit_answer(best):
    """How far from the machine's limit?"""
    question = "How far from the machine's limit?"
    shares = [(best.peak_fraction or 0, "multiply-adds",
               f"{text.digits(best.peak_gflops)} GFLOP/s; the median is "
               f"{text.digits(best.gflops)} GFLOP/s"),
              (best.bandwidth_fraction or 0, "reads of memory",
               f"the median is {text.digits(best.bandwidth_gbps)} GB/s")]
    share, limit, detail = max(shares)
    if not share:
        return question, "Not known", "The file holds no measured limit for this kernel.", ""
    if not share <= stats.MOST_OF_ROOF:
        return (question, f"Invalid: {text.percent(share)} of it",
                f"The limit is {limit}: {detail}.",
                "No kernel exceeds a limit: one of the two was measured wrongly.")
    return (question, f"At {text.percent(share)} of it", f"The limit is {limit}: {detail}.",
            f"Both measured in this run, for {best.isa} on {threads_text(best.threads)}; the share "
            "takes the fastest sample, as the limit does.")


def accuracy_answer(run, best):
    """Is it accurate?"""
    question, void = "Is it accurate?", sum(not r.verified for r in run.results)
    worst = max(timed(run.results), key=lambda r: r.bound_share or 0)
    count = (f"{len(timed(run.results))} results verified, {void or 'none'} void; the worst "
             f"reaches {text.percent(worst.bound_share)} ({worst.kernel}, {worst.problem}).")
    if best.bound_share is None:
        return question, "Verified", "The share of the bound is not in the file.", count
    error = ("" if best.max_abs_error is None else
             f" Largest error: {text.digits(best.max_abs_error)}.")
    return (question, f"Yes: {text.percent(best.bound_share)} of its bound",
            "Against double precision, no element uses more of what rounding alone could "
            f"explain.{error}", count)


def growth_answer(run, best):
    """How does it grow with n?"""
    question, family = "How does it grow with n?", find.main_family(run)
    fit = stats.exponent(family.curves.get(best.kernel, ())) if family else None
    if not fit:
        return (question, "Not measured", "It takes three lengths of one family of problems.", "")
    points = family.curves[best.kernel]
    needs = [r.scratch_bytes for r in points if r.scratch_bytes is not None]
    memory = ("" if not needs else f"; scratch {text.size(needs[-1])} at every n"
              if len(set(needs)) == 1 else f"; scratch {text.size(needs[0])} to "
              f"{text.size(needs[-1])}")
    return (question, f"Time as n^{fit.slope:.2f}",
            f"Twice the length takes {2 ** fit.slope:.2f} times as long on average{memory}.",
            f"Fitted over n = {fit.first} to {fit.last}; 95 % interval "
            f"{text.interval(fit.low, fit.high, '{:.3f}'.format)} of the noise. Single steps "
            "differ: see the slopes below.")


def slower_answer(run, compared):
    """Did my commit make it slower?"""
    question = "Did my commit make it slower?"
    if not compared:
        return (question, "Not asked", "A single run cannot say.", f"To ask: {ASK}.")
    short, detail, certainty = commit.answer(compared[0])
    seen = compared[0].machine.get("class")
    if seen and seen != run.machine.get("class"):
        certainty += f" It was compared on another machine: {seen}."
    return question, short, detail, certainty
