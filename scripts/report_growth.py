"""Charts against the length n: time, rate and memory, and where kernels overtake each other."""

import math

import report_stats as stats
import report_text as text
from report_chart import (Chart, MARGIN, curve_axes, curve_rows, lengths_of, threads_text)
from report_data import algorithm
from report_find import largest_common
from report_plot import axes, colour, figure, label_ends, length_axis, light, look, ticks

GUIDE_BELOW = 2.2    # how far the guide stands below the fastest curve
WALL_GROWTH = 1.5    # scratch that grows with at least this power of n has a wall


def time_chart(run, family):
    """Time against n with the fitted exponents, and the local slopes beneath."""
    fits = {kernel: stats.exponent(points) for kernel, points in family.curves.items()}
    largest = largest_common(sum(family.curves.values(), []))
    best, base = stats.fastest(largest), stats.baseline(largest)
    finding = (f"{best.kernel} is {text.times(stats.ratio(base, best).value)} {base.kernel} "
               f"at n = {best.shape.n}")
    if fits[best.kernel]:
        finding += f"; its time grows as n^{fits[best.kernel].slope:.2f}"
    rows = curve_rows(family, lambda r: text.time(r.median_ns))
    rows.append(["fitted exponent"] + [exponent_text(fit) for fit in fits.values()])
    rows.append(["local slopes"] + [slopes_text(points) for points in family.curves.values()])
    crossings = stats.crossovers(run, family.curves)
    marks = cache_marks(run, family)
    spans = sorted({f"{fit.first} to {fit.last}" for fit in fits.values() if fit})
    note = (f"Median time of a call, {threads_text(best.threads)}. At the line's end: the exponent "
            f"fitted over n = {' or '.join(spans)} and its 95 % bootstrap interval. Beneath: the "
            "slope between neighbouring lengths, which shows the curvature the fit ignores.")
    if marks:
        note += " Upright lines: the length where Q, K, V and O outgrow a cache."
    if any(overtakes_all(family, crossing) for crossing in crossings):
        note += " Rings: where the fastest kernel is overtaken, claimed on both sides."
    return Chart("time", finding, note, ["n", *family.curves], rows,
                 lambda: draw_time(family, fits, marks, crossings))


def slopes_text(points):
    """The range of the local slopes: 1.93 to 2.05."""
    slopes = [slope for _, slope in stats.local_slopes(points)]
    return f"{min(slopes):.2f} to {max(slopes):.2f}" if slopes else text.DASH


def cache_marks(run, family):
    """(n, label) of the lengths inside the family's range where its tensors outgrow a cache."""
    points = max(family.curves.values(), key=len)
    known = [(math.log(r.bytes), math.log(r.shape.n)) for r in points if r.bytes]
    marks = {}
    for cache in run.machine.get("caches", ()):
        wanted = math.log(cache["bytes"]) if cache["type"] != "instruction" else math.inf
        for (low, n), (high, next_n) in zip(known, known[1:]):
            if low <= wanted < high:
                marks[math.exp(n + (next_n - n) * (wanted - low) / (high - low))] = (
                    f"L{cache['level']}")
    return sorted(marks.items())


def overtakes_all(family, crossing):
    """Whether the crossing kernels are the fastest of all on their sides."""
    for n, kernel in ((crossing.low, crossing.short), (crossing.high, crossing.long)):
        points = [r for curve in family.curves.values() for r in curve if r.shape.n == n]
        if stats.fastest(points).kernel != kernel:
            return False
    return True


CROSSOVER_COLUMNS = ["fastest of the two for short n", "and for long n", "they meet near n =",
                     "claimed up to, and from"]


def crossover_rows(run, family):
    """A row for each crossover of two kernels of a family."""
    return [[c.short, c.long, f"{c.n:.0f}", f"{c.low}, {c.high}"]
            for c in stats.crossovers(run, family.curves)]


def order_text(run, family):
    """In words: which kernel is the fastest at which lengths, and whether any overtakes."""
    by_length = {}
    for points in family.curves.values():
        for result in points:
            by_length.setdefault(result.shape.n, []).append(result)
    spans = []
    for n, results in sorted(by_length.items()):
        kernel = stats.fastest(results).kernel
        if spans and spans[-1][0] == kernel:
            spans[-1][2] = n
        else:
            spans.append([kernel, n, n])
    told = "; ".join(f"{kernel} at n = {first}" + (f" to {last}" if last > first else "")
                     for kernel, first, last in spans)
    if stats.crossovers(run, family.curves):
        return f"Fastest: {told}. Kernels that change places beyond noise:"
    return f"Fastest: {told}. No two kernels change places beyond noise."


def exponent_text(fit):
    """n^2.01 [2.00, 2.02]."""
    if fit is None:
        return text.DASH
    return f"n^{fit.slope:.2f} {text.interval(fit.low, fit.high, '{:.2f}'.format)}"


def draw_time(family, fits, marks, crossings):
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
        slopes = stats.local_slopes(points)
        if slopes:
            below.plot(*zip(*slopes), **style | {"markersize": 3.5, "linewidth": 1.1})
    draw_power_guide(ax, family, ends)
    draw_cache_marks(ax, marks)
    for crossing in crossings:
        if not overtakes_all(family, crossing):
            continue
        ax.plot(crossing.n, time_at(family.curves[crossing.long], crossing.n), marker="o",
                markersize=11, fillstyle="none", color=light("ink"), markeredgewidth=1)
    ax.tick_params(labelbottom=False)
    below.axhline(family.power, color=light("soft"), linewidth=1, linestyle=":")
    below.set_ylabel("local slope")
    below.set_xlabel("n")
    label_ends(ax, ends)
    return fig


def draw_cache_marks(ax, marks):
    """Upright dotted lines where the tensors outgrow a cache, named at the top."""
    for n, name in marks:
        ax.axvline(n, color=light("soft"), linewidth=1, linestyle=":", zorder=1)
        ax.annotate(name, (n, 1), (3, -9), xycoords=("data", "axes fraction"),
                    textcoords="offset points", color=light("soft"))


def time_at(points, n):
    """The time at length n on the line through the points, log-log."""
    pairs = list(zip(points, points[1:]))
    a, b = next((pair for pair in pairs if pair[0].shape.n <= n <= pair[1].shape.n), pairs[-1])
    part = math.log(n / a.shape.n) / math.log(b.shape.n / a.shape.n)
    return a.median_ns * (b.median_ns / a.median_ns) ** part


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
    """(label, {n: value}, colour) of the measured limits of a family's kernels at its thread count.

    Reads have a limit of their own at each length, where buffers of that size were measured.
    """
    points = sum(family.curves.values(), [])
    lengths = lengths_of(family)
    if family.power == 1:
        at_length = {r.shape.n: r.read_gbps for r in points if r.read_gbps}
        if len(at_length) == len(lengths):
            return [("reads of that size", dict(sorted(at_length.items())), light("soft"))]
        return [("measured read bandwidth", dict.fromkeys(lengths, roof["gbps"]), light("soft"))
                for roof in run.read_gbps if roof["threads"] == run.base_threads]
    isas = {r.isa for r in points}
    return [(f"{roof['isa']} peak {text.digits(roof['gflops'])}",
             dict.fromkeys(lengths, roof["gflops"]), colour(roof["isa"]))
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
    values += [value for _, limit, _ in limits for value in limit.values()]
    ax = curve_axes(fig, family, text.short, (min(values), max(values)))
    ends = []
    for label, limit, ink in limits:
        ax.plot(*zip(*limit.items()), color=ink, linewidth=0.9, zorder=1)
        ends.append((*max(limit.items()), label, ink))
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
    memory = run.machine.get("memory_bytes")
    wall = memory_wall(most[0], memory)
    if wall:
        finding += (f"; at n = {round_length(wall)}, if it goes on so, {most[1][0].kernel} fills "
                    f"the machine's {text.size(memory)}")
        note += " The thin line goes on beyond what was measured, up to the memory of the machine."
    return Chart("memory", finding, note, ["n", *family.curves],
                 curve_rows(family, lambda r: text.size(r.scratch_bytes)),
                 lambda: draw_memory(family, lines, run.machine.get("caches", ()),
                                     (most[0][-1], (wall, memory)) if wall else ()))


def memory_wall(needs, memory):
    """The n at which scratch that grows as it did at last fills the memory; None if it does not."""
    if not memory or len(needs) < 2 or not needs[-2][1] or needs[-1][1] >= memory:
        return None
    (n, need), (last_n, last) = needs[-2:]
    growth = math.log(last / need) / math.log(last_n / n)
    return last_n * (memory / last) ** (1 / growth) if growth >= WALL_GROWTH else None


def need_text(needs, results):
    """naive_scalar 64 MiB at n = 4096, or at every n."""
    where = "every n" if len({need for _, need in needs}) == 1 else f"n = {needs[-1][0]}"
    return f"{results[0].kernel} {text.size(needs[-1][1])} at {where}"


def round_length(n):
    """A length that was not measured, to three digits."""
    return f"{float(f'{n:.3g}'):.0f}"


def draw_memory(family, lines, caches, wall):
    """The figure of memory_chart; zero has its place at the foot of the axis."""
    fig = figure(340)
    ax = axes(fig, **MARGIN)
    length_axis(ax, lengths_of(family) + [n for n, _ in wall[1:]])
    sizes = [need for needs, _ in lines for _, need in [*needs, *wall]]
    top = 3 * max([*sizes, 1 << 16])
    ax.set_yscale("symlog", base=2, linthresh=1024, linscale=1.5)
    ax.set_ylim(-100 if 0 in sizes else min(512, min(sizes) / 2), top)
    wanted = [0, *(1 << power for power in range(10, 60, 2 if top < 1 << 24 else 4))]
    ticks(ax.yaxis, [size for size in wanted if ax.get_ylim()[0] <= size <= top], text.size)
    ends = []
    if wall:
        ax.plot(*zip(*wall), color=light("ink"), linewidth=0.9, linestyle="-")
        ax.plot(*wall[1], color=light("ink"), marker="x", markersize=8)
        ends.append((*wall[1], f"memory {text.size(wall[1][1])}, n = {round_length(wall[1][0])}",
                     light("ink")))
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
        isas.setdefault(algorithm(result), []).append(result)
    return [f"{algorithm}_{{{','.join(r.isa for r in group)}}}" if len(group) > 1
            else group[0].kernel for algorithm, group in isas.items()]
