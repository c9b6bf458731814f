"""Charts of one problem: the ladder to the fastest kernel, threads; and accuracy against speed."""

import report_text as text
from report_chart import Chart, MARGIN, legend_room, threads_text
from report_data import timed
from report_find import ladder, thread_scaling
from report_plot import (apart, axes, colour, decade_ticks, figure, label_ends, light, look, ticks)
from report_stats import baseline, fastest, ratio

VOID_PLACE = 0.6    # void points stand left of the slowest point, at this share of its speed
LEAST_SHARE = 1e-6  # a bound share below this is drawn here


def accuracy_chart(run):
    """Share of the error bound against speed, for every result at the fewest threads."""
    results = [r for r in run.results if r.threads == run.base_threads]
    judged = [r for r in results if r.bound_share is not None]
    passed, void = timed(judged), [r for r in results if not r.verified]
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
    ax = axes(fig, **MARGIN | {"left": 80, "right": legend_room(void + passed)})
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
    for r in void:
        shown[r.kernel], = ax.plot(left, drawn_share(r), fillstyle="none",
                                   **look(r) | {"linestyle": ""})
    for kernel in dict.fromkeys(r.kernel for r in passed):
        own = [r for r in passed if r.kernel == kernel]
        shown[kernel], = ax.plot([r.gflops for r in own], [drawn_share(r) for r in own],
                                 **look(own[0]) | {"linestyle": ""})
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
    curves = thread_scaling(run)
    if not curves:
        return None
    gains = {kernel: [ratio(points[0], r) for r in points]
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
    steps = ladder(run)
    if len(steps) < 2:
        return None
    single = [step for step in steps if step.result.threads == run.base_threads]
    base, best, last = baseline([step.result for step in single]), single[-1], steps[-1]
    finding = f"{best.result.kernel} is {known(best.speedup)} {base.kernel} at {base.problem}"
    if last is not best:
        finding += f", and {known(last.speedup)} on {threads_text(last.result.threads)}"
    rows = [[step_name(step, run), text.times(step.speedup.value),
             text.interval(step.speedup.low, step.speedup.high), step.claim or "baseline",
             text.time(step.result.median_ns), text.digits(step.result.gflops),
             text.percent(step.result.peak_fraction)] for step in steps]
    columns = ["kernel", f"{text.TIMES} {base.kernel}", "95 % interval", "verdict", "median",
               "GFLOP/s", "of peak"]
    note = (f"Speed-up over {base.kernel} at {base.problem}, the largest problem that all of "
            "these kernels ran, with its 95 % interval.")
    return Chart("ladder", finding, note, columns, rows, lambda: draw_ladder(run, steps))


def known(speedup):
    """A ratio and its interval: 55.1x [54.9, 55.4]."""
    bounds = text.interval(speedup.low, speedup.high)
    return text.times(speedup.value) + (f" {bounds}" if bounds != text.DASH else "")


def step_name(step, run):
    """The kernel of a step, with its threads if they are more than the fewest."""
    threads = step.result.threads
    more = f" on {threads_text(threads)}" if threads != run.base_threads else ""
    return step.result.kernel + more


def draw_ladder(run, steps):
    """The figure of ladder_chart: a bar a step, its length the logarithm of the speed-up."""
    fig = figure(50 + 27 * len(steps))
    ax = axes(fig, 176, 40, 56, 6)
    values = [step.speedup.high or step.speedup.value for step in steps]
    low = min(0.8, *(0.8 * (step.speedup.low or step.speedup.value) for step in steps))
    ax.set_xscale("log")
    ax.set_xlim(low, max(values) * 1.1)
    decade_ticks(ax.xaxis, *ax.get_xlim(), text.short_times)
    ax.grid(False, axis="y")
    for place, step in enumerate(steps):
        value = step.speedup.value
        ax.barh(place, value - low, left=low, height=0.62, color=colour(step.result.isa))
        ends = [step.speedup.low or value, step.speedup.high or value]
        ax.plot(ends, [place, place], color=light("ink"), linewidth=1.4, marker="|")
        ax.annotate(text.times(value), (ends[1], place), (6, 0), textcoords="offset points",
                    verticalalignment="center")
    ticks(ax.yaxis, range(len(steps)), lambda place: step_name(steps[round(place)], run))
    ax.tick_params(axis="y", length=0, labelcolor=light("ink"))
    ax.set_ylim(len(steps) - 0.5, -0.5)
    ax.set_xlabel("speed-up, logarithmic")
    return fig
