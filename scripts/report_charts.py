"""The report's charts: each a finding in words, a figure, and the same numbers as a table."""

from collections import namedtuple

import report_data as data
import report_text as text
from report_plot import (apart, axes, colour, decade_ticks, figure, label_ends, length_axis, light,
                         look, ticks)

# `finding` is the title and the alternative text; `draw` makes the figure when it is wanted.
Chart = namedtuple("Chart", "name finding note columns rows draw")

MARGIN = {"left": 58, "bottom": 42, "right": 256, "top": 14}
GUIDE_BELOW = 2.2   # how far the guide stands below the fastest curve
VOID_PLACE = 0.6    # void points stand left of the slowest point, at this share of its speed
LEAST_SHARE = 1e-6  # a bound share below this is drawn here


def curve_rows(family, cell):
    """Table rows of a family: one a length, one column a kernel."""
    by_length = {}
    for kernel, points in family.curves.items():
        for result in points:
            by_length.setdefault(result.shape.n, {})[kernel] = cell(result)
    return [[n] + [cells.get(kernel, text.DASH) for kernel in family.curves]
            for n, cells in sorted(by_length.items())]


def lengths_of(family):
    """Every measured length of a family."""
    return sorted({result.shape.n for points in family.curves.values() for result in points})


def fastest(results):
    """The fastest of verified results of one problem."""
    return min(results, key=lambda result: result.median_ns)


def threads_text(count):
    """1 thread, 2 threads."""
    return f"{count} thread" + "s" * (count != 1)


def curve_axes(fig, family, write, span, **margin):
    """Log-log axes against the length, with room at the right for labels."""
    ax = axes(fig, **MARGIN | margin)
    length_axis(ax, lengths_of(family))
    ax.set_yscale("log")
    low, high = span[0] / 1.3, span[1] * 1.3
    ax.set_ylim(low, high)
    decade_ticks(ax.yaxis, low, high, write)
    return ax


def time_chart(run, family):
    """Time against n with the fitted exponents, and the local slopes beneath."""
    fits = {kernel: data.exponent(points) for kernel, points in family.curves.items()}
    largest = data.largest_common(sum(family.curves.values(), []))
    best, base = fastest(largest), data.baseline(largest)
    finding = (f"{best.kernel} is {text.times(data.ratio(base, best).value)} {base.kernel} "
               f"at n = {best.shape.n}")
    if fits[best.kernel]:
        finding += f"; its time grows as n^{fits[best.kernel].slope:.2f}"
    rows = curve_rows(family, lambda r: text.time(r.median_ns))
    rows.append(["fitted exponent"] + [exponent_text(fit) for fit in fits.values()])
    spans = sorted({f"{fit.first} to {fit.last}" for fit in fits.values() if fit})
    note = (f"Median time of a call, {threads_text(best.threads)}. At the line's end: the exponent "
            f"fitted over n = {' or '.join(spans)} and its 95 % bootstrap interval. Beneath: the "
            "slope between neighbouring lengths, which shows the curvature the fit ignores.")
    return Chart("time", finding, note, ["n", *family.curves], rows,
                 lambda: draw_time(family, fits))


def exponent_text(fit):
    """n^2.01 [2.00, 2.02]."""
    if fit is None:
        return text.DASH
    return f"n^{fit.slope:.2f} {text.interval(fit.low, fit.high, '{:.2f}'.format)}"


def draw_time(family, fits):
    """The figure of time_chart."""
    fig = figure(470)
    times = [r.median_ns for points in family.curves.values() for r in points]
    ax = curve_axes(fig, family, text.short_time, (min(times), max(times)), bottom=150)
    below = axes(fig, **MARGIN | {"top": 352}, sharex=ax)
    ends = []
    for kernel, points in family.curves.items():
        last, style = points[-1], look(points[0])
        ax.plot([r.shape.n for r in points], [r.median_ns for r in points], **style)
        label = f"{kernel}{text.GAP}{exponent_text(fits[kernel])}" if fits[kernel] else kernel
        ends.append((last.shape.n, last.median_ns, label, style["color"]))
        slopes = data.local_slopes(points)
        if slopes:
            below.plot(*zip(*slopes), **style | {"markersize": 3.5, "linewidth": 1.1})
    draw_power_guide(ax, family, ends)
    ax.tick_params(labelbottom=False)
    below.axhline(family.power, color=light("soft"), linewidth=1, linestyle=":")
    below.set_ylabel("local slope")
    below.set_xlabel("n")
    label_ends(ax, ends)
    return fig


def draw_power_guide(ax, family, ends):
    """A dotted n^2 line (n for one-query families) under the fastest curve, for the eye."""
    lengths = lengths_of(family)
    end = min(points[-1].median_ns * (lengths[-1] / points[-1].shape.n) ** family.power
              for points in family.curves.values()) / GUIDE_BELOW
    starts = [end * (n / lengths[-1]) ** family.power for n in lengths]
    ax.plot(lengths, starts, color=light("soft"), linewidth=1, linestyle=":")
    power = "n^2" if family.power == 2 else "n"
    ends.append((lengths[-1], end, f"guide: {power}", light("soft")))


# How fast a family runs: compute against the FMA peak, or streaming against the read bandwidth.
RATES = {2: ("gflops", "peak_fraction", "GFLOP/s", "measured FMA peak"),
         1: ("bandwidth_gbps", "bandwidth_fraction", "GB/s", "measured read bandwidth")}


def roofs(run, family):
    """(label, value, colour) of the measured limits of a family's kernels at its thread count."""
    points = sum(family.curves.values(), [])
    if family.power == 1:
        return [("measured read bandwidth", roof["gbps"], light("soft"))
                for roof in run.read_gbps if roof["threads"] == run.base_threads]
    isas = {r.isa for r in points}
    return [(f"{roof['isa']} peak {text.digits(roof['gflops'])}", roof["gflops"],
             colour(roof["isa"]))
            for roof in run.peaks if roof["threads"] == run.base_threads and roof["isa"] in isas]


def rate_chart(run, family):
    """GFLOP/s (or GB/s) against n under the measured ceilings."""
    rate, share, unit, limit = RATES[family.power]
    points = sum(family.curves.values(), [])
    if not all(getattr(r, rate) for r in points):
        return None
    best = max(points, key=lambda r: getattr(r, rate))
    finding = (f"{best.kernel} reaches {text.digits(getattr(best, rate))} {unit} at "
               f"n = {best.shape.n}")
    if getattr(best, share) is not None:
        finding += f", {text.percent(getattr(best, share))} of the {limit}"
    rows = curve_rows(family, lambda r: f"{text.digits(getattr(r, rate))}"
                      f" ({text.percent(getattr(r, share))})")
    note = (f"{unit}, {threads_text(best.threads)}; bars are 95 % intervals. Lines without "
            f"marks: the {limit}, measured in the same run. At the line's end, and in brackets in "
            f"the table: the share of that limit.")
    return Chart("rate", finding, note, ["n", *family.curves], rows,
                 lambda: draw_rate(family, roofs(run, family)))


def draw_rate(family, limits):
    """The figure of rate_chart."""
    rate, share, unit, _ = RATES[family.power]
    fig = figure(390)
    values = [getattr(r, rate) for points in family.curves.values() for r in points]
    values += [value for _, value, _ in limits]
    ax = curve_axes(fig, family, text.short, (min(values), max(values)))
    ends = [(max(lengths_of(family)), value, label, ink) for label, value, ink in limits]
    for _, value, ink in limits:
        ax.axhline(value, color=ink, linewidth=0.9, zorder=1)
    for kernel, points in family.curves.items():
        last, style = points[-1], look(points[0])
        draw_rates(ax, points, rate, style)
        used = getattr(last, share)
        label = kernel if used is None else f"{kernel}{text.GAP}{text.percent(used)}"
        ends.append((last.shape.n, getattr(last, rate), label, style["color"]))
    ax.set_ylabel(unit)
    ax.set_xlabel("n")
    label_ends(ax, ends)
    return fig


def draw_rates(ax, points, rate, style):
    """A line of rates with the intervals of the times turned into intervals of the rate."""
    ax.plot([r.shape.n for r in points], [getattr(r, rate) for r in points], **style)
    for r in points:
        if r.ci_low_ns and r.ci_high_ns:
            work = getattr(r, rate) * r.median_ns
            ax.plot([r.shape.n] * 2, [work / r.ci_high_ns, work / r.ci_low_ns],
                    color=style["color"], linewidth=3, alpha=0.5, solid_capstyle="butt")


def memory_lines(family):
    """(needs by n, results) of the kernels whose scratch agrees at every length both ran."""
    lines = []
    for points in family.curves.values():
        needs = {r.shape.n: r.scratch_bytes for r in points if r.scratch_bytes is not None}
        if not needs:
            continue
        for known, results in lines:
            if all(known.get(n, need) == need for n, need in needs.items()):
                known.update(needs)
                results.append(points[0])
                break
        else:
            lines.append((needs, [points[0]]))
    return [(sorted(needs.items()), results) for needs, results in lines]


def memory_chart(run, family):
    """Scratch memory of one thread against n; kernels that need the same share a line."""
    lines = memory_lines(family)
    if not lines:
        return None
    most, least = (pick(lines, key=lambda line: line[0][-1][1]) for pick in (max, min))
    finding = f"Scratch per thread: {need_text(*most)}"
    if least is not most:
        finding += f", {need_text(*least)}"
    note = ("Scratch memory of one thread, not of all together. Dotted lines: the data caches of "
            "this machine. A kernel that keeps the scores grows with n; a blocked one does not.")
    return Chart("memory", finding, note, ["n", *family.curves],
                 curve_rows(family, lambda r: text.size(r.scratch_bytes)),
                 lambda: draw_memory(family, lines, run.machine.get("caches", ())))


def need_text(needs, results):
    """naive_scalar 64 MiB at n = 4096, or at every n."""
    where = "every n" if len({need for _, need in needs}) == 1 else f"n = {needs[-1][0]}"
    return f"{results[0].kernel} {text.size(needs[-1][1])} at {where}"


def draw_memory(family, lines, caches):
    """The figure of memory_chart; zero has its place at the foot of the axis."""
    fig = figure(340)
    ax = axes(fig, **MARGIN)
    length_axis(ax, lengths_of(family))
    sizes = [need for needs, _ in lines for _, need in needs]
    top = 3 * max([*sizes, 1 << 16])
    ax.set_yscale("symlog", base=2, linthresh=1024, linscale=1.5)
    ax.set_ylim(-100 if 0 in sizes else min(512, min(sizes) / 2), top)
    wanted = [0, *(1 << power for power in range(10, 60, 2 if top < 1 << 24 else 4))]
    ticks(ax.yaxis, [size for size in wanted if ax.get_ylim()[0] <= size <= top], text.size)
    ends = []
    for needs, results in lines:
        style = look(results[0])
        if len({r.isa for r in results}) > 1:
            style["color"] = light("ink")
        ax.plot(*zip(*needs), **style)
        ends += [(*needs[-1], names, style["color"]) for names in braced(results)]
    for cache in caches:
        if cache["type"] != "instruction" and cache["bytes"] <= top:
            ax.axhline(cache["bytes"], color=light("soft"), linewidth=1, linestyle=":")
            ends.append((max(lengths_of(family)), cache["bytes"],
                         f"L{cache['level']} cache {text.size(cache['bytes'])}", light("soft")))
    ax.set_xlabel("n")
    label_ends(ax, ends)
    return fig


def braced(results):
    """The kernels of each algorithm in one name: blocked_{scalar,avx2}."""
    isas = {}
    for result in results:
        isas.setdefault(data.algorithm(result), []).append(result)
    return [f"{algorithm}_{{{','.join(r.isa for r in group)}}}" if len(group) > 1
            else group[0].kernel for algorithm, group in isas.items()]


def accuracy_chart(run):
    """Share of the error bound against speed, for every result at the fewest threads."""
    results = [r for r in run.results if r.threads == run.base_threads]
    judged = [r for r in results if r.bound_share is not None]
    passed, void = data.timed(judged), [r for r in results if not r.verified]
    if not passed:
        return None
    worst = max(passed, key=lambda r: r.bound_share)
    finding = (f"The largest error of {len(passed)} verified results is "
               f"{text.percent(worst.bound_share)} of its bound ({worst.kernel}); "
               f"{len(void) or 'none'} {'is' if len(void) < 2 else 'are'} void")
    note = ("Each point is a kernel on a problem: its largest error as a share of the derived "
            "bound, against its speed. Hollow points at the left are void: they failed, and have "
            "no speed.")
    columns = ["kernel", "results", "void", "worst share of bound", "on problem",
               "largest absolute error"]
    return Chart("accuracy", finding, note, columns, accuracy_rows(results),
                 lambda: draw_accuracy(passed, void))


def accuracy_rows(results):
    """One row a kernel: how near it came to the bound, and where."""
    groups = {}
    for result in results:
        groups.setdefault(result.kernel, []).append(result)
    rows = []
    for kernel, group in groups.items():
        worst = max(group, key=lambda r: r.bound_share or 0)
        errors = [r.max_abs_error for r in group if r.max_abs_error is not None]
        rows.append([kernel, len(group), sum(not r.verified for r in group),
                     text.percent(worst.bound_share), worst.problem,
                     f"{max(errors):.2e}" if errors else text.DASH])
    return rows


def drawn_share(result):
    """Where a result stands on the axis of shares; a share that is no number is off the bound."""
    return 10 if result.bound_share is None else max(result.bound_share, LEAST_SHARE)


def draw_accuracy(passed, void):
    """The figure of accuracy_chart."""
    fig = figure(360)
    ax = axes(fig, **MARGIN | {"left": 66, "right": 150})
    speeds = [r.gflops for r in passed]
    shares = [drawn_share(r) for r in passed + void] + [1]
    left = min(speeds) * VOID_PLACE
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim((left if void else min(speeds)) / 1.3, max(speeds) * 1.3)
    ax.set_ylim(min(shares) / 2, max(shares) * 2)
    decade_ticks(ax.xaxis, *ax.get_xlim(), text.short)
    decade_ticks(ax.yaxis, *ax.get_ylim(), text.short_percent)
    shown = {}
    for r in void + passed:
        speed, fill = (r.gflops, "full") if r.verified else (left, "none")
        shown[r.kernel], = ax.plot(speed, drawn_share(r), fillstyle=fill,
                                   **look(r) | {"linestyle": ""})
    if void:
        ax.annotate("void", (left, 0), (0, 6), xycoords=("data", "axes fraction"),
                    textcoords="offset points", horizontalalignment="center")
    ax.axhline(1, color=light("soft"), linewidth=1.1)
    ax.annotate("the bound", (1, 1), (-4, 4), xycoords=("axes fraction", "data"),
                textcoords="offset points", horizontalalignment="right")
    ax.legend(shown.values(), shown, loc="upper left", bbox_to_anchor=(1.01, 1.02),
              frameon=False, handletextpad=0.3)
    ax.set_ylabel("error, share of bound")
    ax.set_xlabel("GFLOP/s")
    return fig


def threads_chart(run):
    """Speed-up and efficiency against threads."""
    curves = data.thread_scaling(run)
    if not curves:
        return None
    gains = {kernel: [data.ratio(points[0], r) for r in points]
             for kernel, points in curves.items()}
    best = fastest([points[-1] for points in curves.values()])
    first, gain = curves[best.kernel][0], gains[best.kernel][-1]
    efficiency = gain.value * first.threads / best.threads
    finding = (f"{best.kernel} runs {text.times(gain.value)} as fast on "
               f"{threads_text(best.threads)} as on {first.threads}: "
               f"efficiency {text.percent(efficiency)}")
    note = (f"Problem {best.problem}. Left: speed-up over {threads_text(first.threads)}, dotted "
            "line ideal. Right: efficiency, the speed-up over the ideal one.")
    rows = [[kernel, r.threads, text.time(r.median_ns), text.times(g.value),
             text.interval(g.low, g.high), text.percent(g.value * points[0].threads / r.threads)]
            for kernel, points in curves.items() for r, g in zip(points, gains[kernel])]
    columns = ["kernel", "threads", "median", "speed-up", "95 % interval", "efficiency"]
    return Chart("threads", finding, note, columns, rows, lambda: draw_threads(curves, gains))


def draw_threads(curves, gains):
    """The figure of threads_chart: two axes that share one set of labels."""
    fig = figure(330)
    left = axes(fig, **MARGIN | {"right": 460})
    right = axes(fig, **MARGIN | {"left": 368, "right": 150})
    counts = sorted({r.threads for points in curves.values() for r in points})
    ends, most = [], counts[-1] / counts[0]
    for kernel, points in curves.items():
        style, threads = look(points[0]), [r.threads for r in points]
        speedups = [gain.value for gain in gains[kernel]]
        efficiencies = [s * threads[0] / count for s, count in zip(speedups, threads)]
        left.plot(threads, speedups, **style)
        right.plot(threads, efficiencies, **style)
        most = max(most, *speedups)
        ends.append((threads[-1], efficiencies[-1], kernel, style["color"]))
    left.plot(counts, [count / counts[0] for count in counts], color=light("soft"), linestyle=":")
    left.set_ylim(0, most * 1.08)
    right.set_ylim(0, max(1.1, 1.05 * max(end[1] for end in ends)))
    right.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    for ax, label in ((left, "speed-up"), (right, "efficiency")):
        ax.set_xlim(counts[0] - 0.08 * counts[-1], counts[-1] * 1.06)
        ticks(ax.xaxis, apart(counts, 1.3), "{:.0f}".format)
        ax.set_ylabel(label)
        ax.set_xlabel("threads")
    label_ends(right, ends)
    return fig


def ladder_chart(run):
    """Speed-up of each kernel over the baseline at the largest common problem."""
    steps = data.ladder(run)
    if len(steps) < 2:
        return None
    single = [step for step in steps if step.result.threads == run.base_threads]
    base, best, last = data.baseline([step.result for step in single]), single[-1], steps[-1]
    finding = (f"{best.result.kernel} is {text.times(best.speedup.value)} {base.kernel} "
               f"at {base.problem}")
    if last is not best:
        finding += (f", and {text.times(last.speedup.value)} "
                    f"on {threads_text(last.result.threads)}")
    rows = [[step_name(step, run), text.times(step.speedup.value),
             text.interval(step.speedup.low, step.speedup.high), step.claim or "baseline",
             text.time(step.result.median_ns), text.digits(step.result.gflops),
             text.percent(step.result.peak_fraction)] for step in steps]
    columns = ["kernel", f"{text.TIMES} {base.kernel}", "95 % interval", "verdict", "median",
               "GFLOP/s", "of peak"]
    note = (f"Speed-up over {base.kernel} at {base.problem}, the largest problem that all of "
            "these kernels ran.")
    return Chart("ladder", finding, note, columns, rows, lambda: draw_ladder(run, steps))


def step_name(step, run):
    """The kernel of a step, with its threads if they are more than the fewest."""
    threads = step.result.threads
    more = f" on {threads_text(threads)}" if threads != run.base_threads else ""
    return step.result.kernel + more


def draw_ladder(run, steps):
    """The figure of ladder_chart: a bar a step, its length the logarithm of the speed-up."""
    fig = figure(50 + 27 * len(steps))
    ax = axes(fig, 176, 40, 56, 6)
    values = [step.speedup.value for step in steps]
    low = min(0.8, min(values) / 1.25)
    ax.set_xscale("log")
    ax.set_xlim(low, max(values) * 1.1)
    decade_ticks(ax.xaxis, *ax.get_xlim(), text.short_times)
    ax.grid(False, axis="y")
    for place, step in enumerate(steps):
        value = step.speedup.value
        ax.barh(place, value - low, left=low, height=0.62, color=colour(step.result.isa))
        ax.annotate(text.times(value), (value, place), (5, 0), textcoords="offset points",
                    verticalalignment="center")
    ticks(ax.yaxis, range(len(steps)), lambda place: step_name(steps[round(place)], run))
    ax.tick_params(axis="y", length=0, labelcolor=light("ink"))
    ax.set_ylim(len(steps) - 0.5, -0.5)
    ax.set_xlabel("speed-up, logarithmic")
    return fig


CURVES = {"time": time_chart, "rate": rate_chart, "memory": memory_chart}
SINGLES = {"ladder": ladder_chart, "accuracy": accuracy_chart, "threads": threads_chart}
NAMES = ("ladder", "time", "rate", "memory", "accuracy", "threads")


def chart(run, name):
    """The chart called `name`, of the run's first family if it needs one; None without data."""
    if name in SINGLES:
        return SINGLES[name](run)
    found = data.families(run)
    return CURVES[name](run, found[0]) if found else None


def family_charts(run, family):
    """The charts of one family that have data."""
    return [made for make in CURVES.values() if (made := make(run, family))]
