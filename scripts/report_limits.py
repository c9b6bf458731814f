"""The roofline: every result under the measured limits of this machine."""

import math

import report_text as text
from report_chart import Chart, MARGIN, legend_room, threads_text
from report_data import timed
from report_plot import axes, colour, decade_ticks, figure, light, look
from report_stats import MOST_OF_ROOF

HEIGHT = 420


def roofline_chart(run):
    """The roofline at the fewest threads."""
    return roofline(run, run.base_threads, "roofline")


def roofline_threads_chart(run):
    """The roofline at the most threads, where those are more."""
    most = max(result.threads for result in run.results)
    return roofline(run, most, "roofline-threads") if most > run.base_threads else None


def intensity(result):
    """Operations per byte of Q, K, V and O."""
    return result.flops / result.bytes


def levels(run, threads):
    """(name, GB/s) of each level whose reads were measured on so many threads, fastest first."""
    found = {roof["level"]: roof["read_gbps"] for roof in run.roofs.get("levels", ())
             if roof["threads"] == threads}
    for read in run.read_gbps:
        if read["threads"] == threads:
            found.setdefault("memory", read["gbps"])
    return sorted(found.items(), key=lambda level: -level[1])


def attainable(result, memory_gbps):
    """(GFLOP/s, what limits) for a result: multiply-adds, or reads of buffers as large as its
    tensors where the file has them, else of memory."""
    reads = (result.read_gbps or memory_gbps or math.inf) * intensity(result)
    if result.peak_gflops and result.peak_gflops <= reads:
        return result.peak_gflops, "multiply-adds"
    return (reads, "reads") if reads < math.inf else (None, text.DASH)


def share_of_limit(result, limit):
    """The fastest sample's speed over the limit: both are the best that was seen."""
    return result.flops / (result.min_ns or result.median_ns) / limit if limit else None


def ceiling(result, why):
    """multiply-adds of avx2, or reads: what limits, and for which instruction set."""
    return f"{why} of {result.isa}" if why == "multiply-adds" else why


def nearest(shares, threads):
    """The finding of a roofline, from (result, share of its limit, what limits it)."""
    known = [item for item in shares if item[1] <= MOST_OF_ROOF]
    finding = f"On {threads_text(threads)} no result lies below its limit"
    if known:
        best, share, why = max(known, key=lambda item: item[1])
        fast, share, why = max(known, key=lambda item: item[0].gflops)
        finding = (f"On {threads_text(threads)} {fast.kernel}, the fastest, reaches "
                   f"{text.percent(share)} of the {ceiling(fast, why)} at {fast.problem}")
        best, share, why = max(known, key=lambda item: item[1])
        if best is not fast:
            finding += (f"; nearest to the limit of its own kind comes {best.kernel}: "
                        f"{text.percent(share)} of the {ceiling(best, why)} at {best.problem}")
    if len(known) < len(shares):
        finding += (f"; {len(shares) - len(known)} of {len(shares)} results seem to exceed their "
                    "limit and are invalid, not records")
    return finding


def roofline(run, threads, name):
    """GFLOP/s against operations per byte under the peaks and the bandwidths, all measured."""
    results = [r for r in timed(run.results, threads) if r.bytes]
    peaks = {peak["isa"]: peak["gflops"] for peak in run.peaks if peak["threads"] == threads}
    reads = levels(run, threads)
    if not results or not peaks or not reads:
        return None
    memory = dict(reads).get("memory")
    limits = [(r, *attainable(r, memory)) for r in results]
    shares = [(r, share_of_limit(r, limit), why) for r, limit, why in limits if limit]
    if not shares:
        return None
    measured = "; ".join([*(f"{isa} {text.digits(peak)} GFLOP/s" for isa, peak in peaks.items()),
                          *(f"{level} {text.digits(gbps)} GB/s" for level, gbps in reads)])
    note = (f"Every result on {threads_text(threads)}: its speed against its operations per byte "
            "of Q, K, V and O, each counted once. Level lines: multiply-adds of an instruction "
            "set; slanted lines: reads of a buffer that fits the level. All measured on this "
            f"machine: {measured}. A dot above the line of memory has its tensors in a cache. The "
            "share of the limit takes the fastest sample, dot and GFLOP/s the median; reads are "
            "those of a buffer as large as the tensors where that was measured.")
    if run.roofs.get("date"):
        note += f" The levels were measured at {run.roofs['date']}."
    rows = [[r.kernel, r.problem, text.digits(intensity(r)), text.digits(r.gflops), limited,
             text.digits(limit), share_text(share_of_limit(r, limit))]
            for r, limit, limited in limits]
    columns = ["kernel", "problem", "FLOP/byte", "GFLOP/s", "limited by", "limit, GFLOP/s",
               "of the limit"]
    return Chart(name, nearest(shares, threads), note, columns, rows,
                 lambda: draw_roofline(results, peaks, reads))


def share_text(share):
    """A share of a limit, and whether it can be."""
    return text.percent(share) + (" (invalid)" if share and not share <= MOST_OF_ROOF else "")


def draw_roofline(results, peaks, reads):
    """The figure of roofline."""
    fig = figure(HEIGHT)
    ax = axes(fig, **MARGIN | {"right": legend_room(results)})
    used = {isa: peak for isa, peak in peaks.items() if isa in {r.isa for r in results}} or peaks
    top = max(used.values())
    points = [intensity(r) for r in results]
    left = min(*points, top / reads[0][1]) / 4
    right = max(*points, top / reads[-1][1]) * 14
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(left, right)
    ax.set_ylim(min(*(r.gflops for r in results), *used.values()) / 1.6, top * 1.7)
    decade_ticks(ax.xaxis, *ax.get_xlim(), text.short)
    decade_ticks(ax.yaxis, *ax.get_ylim(), text.short)
    draw_roofs(ax, used, reads)
    shown = {}
    for kernel in dict.fromkeys(r.kernel for r in results):
        own = [r for r in results if r.kernel == kernel]
        shown[kernel], = ax.plot([intensity(r) for r in own], [r.gflops for r in own],
                                 **look(own[0]) | {"linestyle": ""})
    ax.legend(shown.values(), shown, loc="upper left", bbox_to_anchor=(1.01, 1.02),
              frameon=False, handletextpad=0.3)
    ax.set_ylabel("GFLOP/s")
    ax.set_xlabel("operations per byte of Q, K, V and O")
    return fig


def draw_roofs(ax, peaks, reads):
    """Level lines for the peaks, slanted ones for the bandwidths up to the highest peak."""
    left, right = ax.get_xlim()
    top = max(peaks.values())
    for isa, peak in peaks.items():
        start = peak / reads[0][1]
        ax.plot([start, right], [peak, peak], color=colour(isa), linewidth=1.2)
        ax.annotate(f"{isa} {text.digits(peak)} GFLOP/s", (right, peak), (-4, 3),
                    textcoords="offset points", horizontalalignment="right",
                    color=light("soft"))
    for level, gbps in reads:
        low, ridge = max(left, ax.get_ylim()[0] / gbps), top / gbps
        ax.plot([low, ridge], [low * gbps, top], color=light("ink"), linewidth=1.2)
        (x0, y0), (x1, y1) = ax.transData.transform([(low, low * gbps), (ridge, top)])
        middle = math.sqrt(low * ridge)
        ax.annotate(f"{level} {text.digits(gbps)} GB/s", (middle, middle * gbps), (-4, 4),
                    textcoords="offset points", rotation_mode="anchor",
                    rotation=math.degrees(math.atan2(y1 - y0, x1 - x0)),
                    horizontalalignment="center", color=light("soft"))
