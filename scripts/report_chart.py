"""What the report's charts share: what a chart is, and axes against the length."""

from collections import namedtuple

from report_plot import axes, decade_ticks, length_axis
import report_text as text

# `finding` is the title and the alternative text; `draw` makes the figure when it is wanted.
Chart = namedtuple("Chart", "name finding note columns rows draw")

LETTER = 6.8        # points: more than the mean width of a letter
MARGIN = {"left": 58, "bottom": 42, "right": 256, "top": 14}


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


def legend_room(results):
    """Points that a legend with the results' kernels needs at the right of the axes."""
    return 40 + LETTER * max(len(result.kernel) for result in results)


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
