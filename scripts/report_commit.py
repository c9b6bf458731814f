"""Did a commit make it slower? What `attest ab` or `attest compare --json` found, as a chart."""

import report_text as text
from report_chart import Chart, threads_text
from report_plot import axes, decade_ticks, figure, light, ticks

MOST_ROWS = 60      # cells that are drawn; the table holds all
VERDICT_ORDER = ("slower", "faster", "undecided", "same")
VERDICT_INK = {"slower": "vermillion", "faster": "blue", "same": "green", "undecided": "soft"}
VERDICT_MARK = {"slower": "v", "faster": "^", "same": "s", "undecided": "o"}
ANSWERS = {"slower": "Yes, slower", "faster": "No, faster", "same": "No, the same",
           "mixed": "In part: some cells slower, some faster",
           "undecided": "Undecided: the noise is larger than what could be said"}


def ordered(compared):
    """The cells with the most serious verdict first, and inside it the largest change."""
    def rank(cell):
        known = cell.verdict in VERDICT_ORDER
        place = VERDICT_ORDER.index(cell.verdict) if known else len(VERDICT_ORDER)
        return place, -max(cell.ratio, 1 / cell.ratio)
    return sorted(compared.cells, key=rank)


def cell_name(cell):
    """flash_avx512 h8q1024d64, 2 threads."""
    return f"{cell.kernel} {cell.problem}, {threads_text(cell.threads)}"


def counts_text(compared):
    """2 slower, 1 faster, 40 the same: the verdicts with their numbers."""
    counts = {}
    for cell in ordered(compared):
        counts[cell.verdict] = counts.get(cell.verdict, 0) + 1
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items())


def tool_text(tool):
    """Which build: its commit."""
    return f"commit {tool.get('commit', 'not recorded')}" + (
        " with local changes" if tool.get("dirty") else "")


def same_commit(compared):
    """A sentence if base and new are one commit: then no commit made it slower."""
    base, new = compared.base.get("commit"), compared.new.get("commit")
    changed = compared.base.get("dirty") or compared.new.get("dirty")
    return f"Both sides are commit {base}. " if base and base == new and not changed else ""


def noun(compared):
    """What ratios are of."""
    return "time" if compared.ratios_of == "times" else "cycles on unshared cores"


def answer(compared):
    """(short answer, detail, certainty) about the two builds."""
    worst = ordered(compared)[0]
    short = ANSWERS.get(compared.verdict, compared.verdict)
    if compared.verdict == "undecided" and compared.undecided_why:
        short = f"Undecided: {compared.undecided_why}"
    detail = (f"{same_commit(compared)}New over base: {counts_text(compared)}. "
              f"Foremost {cell_name(worst)}: {text.times(worst.ratio)} the {noun(compared)} "
              f"{text.interval(worst.low, worst.high)}.")
    return short, detail, limits_text(compared)


def limits_text(compared):
    """What the comparison could have seen at all."""
    said = (("noise floor", compared.noise_floor), ("band of no claim", compared.band),
            ("smallest effect that could be seen", compared.smallest_effect))
    known = ", ".join(f"{name} {text.percent(value)}" for name, value in said if value is not None)
    more = [f"Undecided because {compared.undecided_why}."] if compared.undecided_why else []
    if compared.left_out:
        more.append(f"{len(compared.left_out)} cells could not be compared.")
    return " ".join([f"Compared by {compared.unit}" + (f"; {known}." if known else "."), *more])


def commit_chart(compared):
    """Every cell's ratio new over base with its interval, the band of no claim behind them."""
    cells = ordered(compared)
    drawn = cells[:MOST_ROWS]
    short, detail, _ = answer(compared)
    note = (f"{noun(compared).capitalize()} of the new build over the base, with the 95 % "
            "interval; right of 1 is slower. "
            "The band is what is never claimed. " + limits_text(compared))
    if len(drawn) < len(cells):
        note += f" The other {len(cells) - len(drawn)} cells are in the table only."
    rows = [[cell.kernel, cell.problem, cell.threads, text.time(cell.base_ns),
             text.time(cell.new_ns), text.digits(cell.ratio, 4),
             text.interval(cell.low, cell.high, lambda v: text.digits(v, 4)),
             text.DASH if cell.p is None else f"{cell.p:.2g}", cell.verdict] for cell in cells]
    columns = ["kernel", "problem", "threads", "base", "new", "new over base", "95 % interval",
               "p", "verdict"]
    return Chart("commit", f"{short}. {detail}", note, columns, rows,
                 lambda: draw_commit(drawn, compared))


def draw_commit(cells, compared):
    """The figure of commit_chart: a row a cell."""
    fig = figure(60 + 17 * len(cells))
    ax = axes(fig, 310, 42, 90, 8)
    ends = [end for cell in cells for end in (cell.ratio, cell.low, cell.high) if end]
    most = max(1.05, *ends, *(1 / end for end in ends)) ** 1.1
    ax.set_xscale("log")
    ax.set_xlim(1 / most, most)
    decade_ticks(ax.xaxis, 1 / most, most, text.short)
    if most < 2:
        steps = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if most - 1 <= 5 * s)
        ticks(ax.xaxis, [1 + k * steps for k in range(-5, 6)], text.short)
    ax.axvline(1, color=light("soft"), linewidth=1)
    if compared.band:
        ax.axvspan(1 / (1 + compared.band), 1 + compared.band, color=light("soft"), alpha=0.15,
                   linewidth=0)
    for place, cell in enumerate(cells):
        ink = light(VERDICT_INK.get(cell.verdict, "soft"))
        if cell.low and cell.high:
            ax.plot([cell.low, cell.high], [place, place], color=ink, linewidth=2)
        ax.plot(cell.ratio, place, marker=VERDICT_MARK.get(cell.verdict, "o"), color=ink)
        ax.annotate(cell.verdict, (1, place), (6, 0), xycoords=("axes fraction", "data"),
                    textcoords="offset points", verticalalignment="center")
    ticks(ax.yaxis, range(len(cells)), lambda place: cell_name(cells[round(place)]))
    ax.tick_params(axis="y", length=0, labelcolor=light("ink"))
    ax.set_ylim(len(cells) - 0.5, -0.5)
    ax.grid(False, axis="y")
    ax.set_xlabel(f"{noun(compared)} of the new build over the base, logarithmic")
    return fig
