"""How the report draws: colours, marks, axes, labels that do not overlap, and clean SVG.

Colour says the instruction set, marker and dash say the algorithm. Figures are drawn in the light
colours below; in an SVG each becomes a CSS variable, so that one drawing serves light and dark.
"""

import html
import io
import logging
import os
import re

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from report_data import BadInput, algorithm


COLOURS = {  # name: (light, dark); the series are Okabe and Ito's
    "page": ("#fefefe", "#15181c"), "ink": ("#1f2429", "#e4e7ea"),
    "soft": ("#5c6670", "#9aa4ae"), "line": ("#d5dade", "#343b43"),
    "vermillion": ("#d55e00", "#e8742a"), "orange": ("#e69f00", "#e69f00"),
    "sky": ("#56b4e9", "#56b4e9"), "blue": ("#0072b2", "#2f8fd0"),
    "green": ("#009e73", "#12b286"), "purple": ("#cc79a7", "#cc79a7"),
}
ISA_COLOUR = {"scalar": "vermillion", "auto": "orange", "avx2": "sky", "avx512": "blue",
              "neon": "purple", "sve": "green"}
ALGORITHM_MARK = {  # algorithm: (marker, dash)
    "naive": ("o", (0, (1, 1.6))), "blocked": ("s", (0, (5, 2))), "flash": ("^", "-"),
    "flash_sleef": ("v", (0, (7, 2, 1, 2))), "decode": ("D", (0, (3, 1.5))),
}
OTHER_MARK = ("P", (0, (9, 3)))

FONT_SIZE = 11
IMAGE_FONT = "text{font-family:'DejaVu Sans',sans-serif}"
LABEL_GAP = 15      # points between the centres of neighbouring labels
WIDTH = 760         # points; the page scales it
DECADE_STEPS = ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1,))
MOST_TICKS = 9
STYLE = {
    "figure.dpi": 72, "font.size": FONT_SIZE, "svg.fonttype": "none", "text.parse_math": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "xtick.minor.size": 0, "ytick.minor.size": 0, "lines.markersize": 5.5, "lines.linewidth": 1.7,
    "path.simplify": False, "axes.axisbelow": True, "axes.grid": True, "grid.linewidth": 0.7,
}
INKS = {"text.color": "ink", "axes.labelcolor": "soft", "axes.edgecolor": "soft",
        "xtick.color": "soft", "ytick.color": "soft", "grid.color": "line",
        "figure.facecolor": "page", "axes.facecolor": "page"}


def light(name):
    """The light colour called `name`, in which figures are drawn."""
    return COLOURS[name][0]


def colour(isa):
    """The colour of an instruction set."""
    return light(ISA_COLOUR.get(isa, "soft"))


def look(result):
    """Plot arguments that identify a result's kernel."""
    marker, dash = ALGORITHM_MARK.get(algorithm(result), OTHER_MARK)
    return {"color": colour(result.isa), "marker": marker, "linestyle": dash}


def figure(height):
    """An empty figure, `height` points high, in the report's style and nobody's own settings."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(STYLE)
    matplotlib.rcParams.update({name: light(ink) for name, ink in INKS.items()})
    return Figure(figsize=(WIDTH / 72, height / 72))


def axes(fig, left, bottom, right, top, **options):
    """Axes between the given distances from the figure's left, bottom, right and top in points."""
    width, height = fig.get_size_inches() * 72
    return fig.add_axes((left / width, bottom / height, 1 - (left + right) / width,
                         1 - (bottom + top) / height), **options)


def ticks(axis, values, write):
    """Put ticks exactly at `values`, written by `write`."""
    axis.set_major_locator(FixedLocator(values))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))


def apart(values, factor):
    """The `values` from the largest down that are at least `factor` from the one before."""
    kept = []
    for value in sorted(values, reverse=True):
        if not kept or kept[-1] >= value * factor:
            kept.append(value)
    return kept


def length_axis(ax, lengths):
    """A logarithmic x axis whose ticks are the measured lengths."""
    ax.set_xscale("log")
    ax.set_xlim(min(lengths) / 1.12, max(lengths) * 1.12)
    span = max(lengths) / min(lengths)
    ticks(ax.xaxis, apart(set(lengths), max(1.05, span ** (1 / 12))), lambda n: f"{n:.0f}")


def decade_ticks(axis, low, high, write):
    """Logarithmic ticks within low..high, at as many steps of each decade as leaves them few."""
    for steps in DECADE_STEPS:
        wanted = [step * 10.0 ** power for power in range(-12, 19) for step in steps]
        values = [value for value in wanted if low <= value <= high]
        if len(values) <= MOST_TICKS:
            break
    ticks(axis, values, write)


def spread(wanted, gap):
    """Places in 0..1 nearest to the rising `wanted` in least squares, at least `gap` apart.

    Pool adjacent violators: with the gaps taken out the places must only rise.
    """
    pools = []
    for i, place in enumerate(wanted):
        pools.append((place - i * gap, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (left, m), (right, n) = pools[-2:]
            pools[-2:] = [((left * m + right * n) / (m + n), m + n)]
    places = [mean for mean, count in pools for _ in range(count)]
    room = max(0, 1 - (len(places) - 1) * gap)
    return [min(max(place, 0), room) + i * gap for i, place in enumerate(places)]


def label_ends(ax, ends):
    """Label each (x, y, label, colour) to the right of the axes, with a thin line to its point."""
    place = ax.transData + ax.transAxes.inverted()
    points = [(*place.transform((x, y)), label, ink) for x, y, label, ink in ends]
    points.sort(key=lambda point: point[1])
    heights = spread([point[1] for point in points], LABEL_GAP / ax.bbox.height)
    for (x, y, label, ink), height in zip(points, heights):
        ax.plot([x, max(x, 1.0), 1.025, 1.035], [y, y, height, height], transform=ax.transAxes,
                color=ink, linewidth=0.9, alpha=0.7, clip_on=False, zorder=1)
        ax.text(1.042, height, label, transform=ax.transAxes, verticalalignment="center")


def dots(ax, xs, ys, ink):
    """Many round dots as one path, a tenth of the size that as many marks would have."""
    step = 5e-4 * (max(xs) - min(xs) or 1)     # pixels leave out what is much shorter
    ax.plot([place for x in xs for place in (x, x + step, np.nan)],
            [place for y in ys for place in (y, y, np.nan)],
            color=ink, linewidth=2.6, solid_capstyle="round", alpha=0.7)


def to_svg(fig, name, alt):
    """`fig` as an SVG element that reads `alt` aloud, its colours CSS variables, its ids `name`'s.

    Only tags are rewritten, so that no label can be mistaken for markup.
    """
    matplotlib.rcParams["svg.hashsalt"] = name
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    fig.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    drawn = re.search(r"</style>\s*</defs>(.*)</svg>", buffer.getvalue(), re.DOTALL)[1]
    body = re.sub(r"<[^>]*>", lambda tag: rewrite_tag(tag[0], name), drawn)
    body = re.sub(r">\s+<", ">\n<", body)
    width, height = fig.get_size_inches() * 72
    return (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-size="{FONT_SIZE}" '
            f'stroke-linejoin="round" role="img" '
            f'aria-label="{html.escape(alt)}">{body}</svg>\n')


def rewrite_tag(tag, name):
    """One SVG tag with its own ids, the page's font and colours, and two decimals."""
    for pattern, replacement in (
            (r'^<g id="[^"]*">', "<g>"),
            (r'(\bid="|"#|url\(#)', rf"\g<1>{name}-"),
            (r" ?font: [^;\"]*;", ""),
            (r" transform=\"rotate\(-0 [^)]*\)\"", ""),
            (r"(\.\d\d)\d+", r"\1"),
            (r"([ML]) ([\d.-]+ [\d.-]+) +L \2(?= *[ML\"])", r"\1\2h0"),
            (r"([:;]) (?=[a-z0-9#-])", r"\1"),
            (r"\s+", " ")):
        tag = re.sub(pattern, replacement, tag)
    for ink, (drawn, _) in COLOURS.items():
        tag = tag.replace(drawn, f"var(--{ink})")
    return tag


def css_variables():
    """The colours as CSS, light first and dark where the reader prefers it."""
    rules = [":root{" + ";".join(f"--{name}:{pair[dark]}" for name, pair in COLOURS.items()) + "}"
             for dark in (0, 1)]
    return f"{rules[0]}@media screen and (prefers-color-scheme:dark){{{rules[1]}}}"


def svg_file(chart):
    """A chart as a file of its own, light or dark as its reader prefers."""
    svg = to_svg(chart.draw(), chart.name, chart.finding)
    style = f"<style>{css_variables()}{IMAGE_FONT}</style>"
    ground = '<rect width="100%" height="100%" fill="var(--page)"/>'
    head, body = svg.split(">", 1)
    return f"{head}>{style}{ground}{body}".encode("utf-8")


def png_file(chart):
    """A chart as a light PNG."""
    buffer = io.BytesIO()
    chart.draw().savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def image_writer(path):
    """The function that writes a chart as what `path` ends in; raises BadInput."""
    write = {".svg": svg_file, ".png": png_file}.get(os.path.splitext(path)[1].lower())
    if not write:
        raise BadInput(f"{path}: a chart is written as .svg or .png")
    return write
