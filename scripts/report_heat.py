"""The heat map: speed-up of every kernel over one baseline at every length n."""

import math

import report_stats as stats
import report_text as text
from report_chart import Chart, threads_text
from report_find import largest_common
from report_plot import ISA_COLOUR, axes, figure, light, ticks

SYMBOLS = {"faster": "\N{BLACK UP-POINTING TRIANGLE}", "slower": "\N{BLACK DOWN-POINTING TRIANGLE}",
           "same": "=", "undecided": "?"}
DEEPEST = 0.75      # of the colour, where the largest factor stands


def heat_chart(run, family):
    """Speed-up of every kernel over one baseline at every n, with its verdict as a symbol."""
    base_curve = baseline_curve(family)
    base = {r.shape.n: r for r in base_curve}
    cells = {}
    for kernel, points in family.curves.items():
        for r in points:
            if r.shape.n in base and kernel != base_curve[0].kernel:
                measured = stats.ratio(base[r.shape.n], r)
                cells[kernel, r.shape.n] = measured, stats.claim(run, measured)
    if not cells:
        return None
    (kernel, n), (best, _) = max(cells.items(), key=lambda cell: cell[1][0].value)
    counts = {name: sum(claimed == name for _, claimed in cells.values()) for name in SYMBOLS}
    finding = (f"Over {base_curve[0].kernel} at equal n: at most {text.times(best.value)}, "
               f"{kernel} at n = {n}; of {len(cells)} cells "
               + ", ".join(f"{count} {name}" for name, count in counts.items() if count))
    note = (f"Speed-up over {base_curve[0].kernel} of the same n, "
            f"{threads_text(run.base_threads)}; "
            f"{SYMBOLS['faster']} faster and {SYMBOLS['slower']} slower beyond noise, = the same, "
            "? undecided. The deeper the colour, the larger the factor. Empty: not measured, or "
            "the baseline was not.")
    kernels = sorted((k for k in family.curves if k != base_curve[0].kernel),
                     key=lambda k: (isa_place(family.curves[k][0].isa), k))
    rows = [[kernel, *(f"{SYMBOLS[found[1]]} {text.times(found[0].value)}"
                       if (found := cells.get((kernel, n))) else text.DASH for n in base)]
            for kernel in kernels]
    return Chart("heat", finding, note, ["kernel", *map(str, base)], rows,
                 lambda: draw_heat(kernels, list(base), cells))


def isa_place(isa):
    """Where an instruction set stands among the others: as in the legend of colours."""
    return [*ISA_COLOUR, isa].index(isa)


def baseline_curve(family):
    """The curve that others are compared with: the baseline's, or the longest if it is short."""
    curves = family.curves
    base = stats.baseline(largest_common(sum(curves.values(), []))).kernel
    return curves[base]


def draw_heat(kernels, lengths, cells):
    """The figure of heat_chart."""
    fig = figure(44 + 23 * len(kernels))
    ax = axes(fig, 150, 40, 8, 4)
    ax.grid(False)
    most = max(abs(math.log(measured.value)) for measured, _ in cells.values()) or 1
    for (kernel, n), (measured, claimed) in cells.items():
        x, y = lengths.index(n), kernels.index(kernel)
        depth = DEEPEST * abs(math.log(measured.value)) / most
        ax.barh(y, 0.96, left=x - 0.48, height=0.92, alpha=depth,
                color=light("blue" if measured.value > 1 else "vermillion"))
        ax.text(x, y, f"{SYMBOLS[claimed]} {text.times(measured.value)}",
                horizontalalignment="center", verticalalignment="center")
    ax.set_xlim(-0.5, len(lengths) - 0.5)
    ax.set_ylim(len(kernels) - 0.5, -0.5)
    ticks(ax.xaxis, range(len(lengths)), lambda x: str(lengths[round(x)]))
    ticks(ax.yaxis, range(len(kernels)), lambda y: kernels[round(y)])
    ax.tick_params(length=0)
    ax.tick_params(axis="y", labelcolor=light("ink"))
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xlabel("n")
    return fig
