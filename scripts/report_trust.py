"""Charts about trust: was the machine steady, and what differs between machines?"""

import numpy as np

import report_text as text
from report_chart import Chart, threads_text
from report_data import ANCHORS
from report_find import comparison, flop_per_cycle, round_groups
from report_plot import axes, decade_ticks, dots, figure, light, ticks

ANCHOR_NAMES = {"clock_ghz": "clock", "fma_gflops": "multiply-adds", "triad_gbps": "memory"}
PANEL = 92          # points: one panel of the stability chart
RUN_MARKS = (("o", "blue"), ("s", "vermillion"), ("^", "green"), ("D", "purple"),
             ("v", "orange"), ("P", "sky"))
INSIDE = (0.025, 0.975)     # quantiles that hold 95 %
DISTURBED = (" Disturbed: rounds with a recorded cause, which are dropped; where too few were "
             "clean all are kept, and nothing is claimed.")
EDGE = 2            # a panel ends at this multiple of what holds 95 % of its values


def stability_chart(run):
    """What the machine did during the run, what pairing left of it, and what was dropped."""
    groups = round_groups(run)
    if not groups:
        return None
    drift = np.concatenate([group.drift for group in groups])
    paired = [group.paired for group in groups if group.paired is not None]
    dirty = sum(group.dirty for group in groups)
    tried = sum(rounds_tried(group) for group in groups)
    finding = (f"95 % of rounds lay within {spread_text(drift)} of the usual time; "
               + (f"the ratio of two kernels in one round within "
                  f"{spread_text(np.concatenate(paired))}; " if paired else "")
               + f"{dirty} of {tried} rounds were disturbed")
    panels = stability_panels(run, groups, bool(paired))
    clocked = all(group.at_s for group in groups)
    note = ("Every kept round, " + ("by its time since the run began. " if clocked else
            "in the order of the file. ")
            + "Triangles at the edge lie beyond it. " + " ".join(panel["note"] for panel in panels)
            + DISTURBED * bool(dirty))
    rows = [[group.problem, group.threads, len(group.drift), disturbed_text(group),
             spread_text(group.drift),
             text.DASH if group.paired is None else spread_text(group.paired),
             *(anchor_range(group, name) for name in ANCHORS)] for group in groups]
    columns = ["problem", "threads", "rounds", "disturbed", "95 % of rounds within",
               "of ratios within", "clock, GHz", "multiply-adds, GFLOP/s", "triad, GB/s"]
    return Chart("stability", finding, note, columns, rows,
                 lambda: draw_stability(groups, panels, clocked))


def spread_text(logs):
    """Half the width that holds 95 % of logarithms, as a share: 1.2 %."""
    low, high = np.quantile(logs, INSIDE)
    return f"\N{PLUS-MINUS SIGN}{text.percent(float(np.expm1((high - low) / 2)))}"


def rounds_tried(group):
    """How many rounds there were; of a host too busy the disturbed ones are among the kept."""
    kept = set(group.at_s)
    return len(group.drift) + group.dirty - sum(d["at_s"] in kept for d in group.dirty_rounds)


def disturbed_text(group):
    """How many rounds were disturbed, and why where that is known: 3 (steal 2, faults 1)."""
    causes = ", ".join(f"{name} {count}" for name, count in group.causes.items() if count)
    return f"{group.dirty} ({causes})" if causes else str(group.dirty)


def anchor_range(group, name):
    """The range that an anchor saw in the rounds of a group."""
    seen = [value for result in group.results for value in result.anchors[name]]
    if not seen:
        return text.DASH
    return f"{text.digits(min(seen))} to {text.digits(max(seen))}"


def stability_panels(run, groups, paired):
    """What the panels of the stability chart show, from above: name, colour, values and note."""
    panels = [{"name": "all kernels", "ink": "soft", "of": [group.drift for group in groups],
               "note": "All kernels: how far a round lay from the kernels' medians."}]
    if paired:
        panels.append({"name": "ratio", "ink": "blue", "of": [group.paired for group in groups],
                       "note": "Ratio: the same for the two fastest kernels divided by each "
                               "other, which is what a comparison meets."})
    if any(group.sham is not None for group in groups):
        panels.append({"name": "sham", "ink": "purple", "of": [group.sham for group in groups],
                       "band": run.noise_floor,
                       "note": "Sham: one kernel over itself under another name; the band is the "
                               "noise floor."})
    if any(group.issue is not None for group in groups):
        panels.append({"name": "neighbours", "ink": "vermillion", "of": issue_left(groups),
                       "note": "Neighbours: what they left of the instructions per clock that "
                               "cores complete for us alone."})
    names = [name for name in ANCHORS
             if any(r.anchors[name] for group in groups for r in group.results)]
    panels += [{"name": ANCHOR_NAMES[name], "ink": "green", "of": anchor_drift(groups, name),
                "note": f"{ANCHOR_NAMES[name].capitalize()}: the anchor in each round, over its "
                        "median."} for name in names]
    return panels


def issue_left(groups):
    """Each round's issue rate over the most of its number of threads."""
    most = {}
    for group in groups:
        if group.issue is not None:
            most[group.threads] = max(most.get(group.threads, 0), *group.issue)
    return [None if group.issue is None else np.log(group.issue / most[group.threads])
            for group in groups]


def anchor_drift(groups, name):
    """Each round's anchor over the median of its like: one clock, one peak for an ISA and thread
    count, one bandwidth for a problem."""
    keys = {"clock_ghz": lambda r: 0, "fma_gflops": lambda r: (r.isa, r.threads),
            "triad_gbps": lambda r: (r.problem, r.threads)}
    chosen = [next((r for r in group.results if r.anchors[name]), None) for group in groups]
    seen = {}
    for result in filter(None, chosen):
        seen.setdefault(keys[name](result), []).extend(result.anchors[name])
    usual = {key: np.median(values) for key, values in seen.items()}
    return [result and np.log(np.array(result.anchors[name]) / usual[keys[name](result)])
            for result in chosen]


def draw_stability(groups, panels, clocked):
    """The figure of stability_chart: one panel a series, and what was dropped at the foot."""
    foot = any(group.dirty for group in groups)
    rows = max(1, len({d["cause"] for group in groups for d in group.dirty_rounds}))
    height = PANEL * len(panels) + (40 + 16 * rows) * foot + 46
    fig = figure(height)
    places = [group.at_s if clocked else group.order for group in groups]
    first, last = min(p[0] for p in places), max(p[-1] for p in places)
    pad = 0.01 * (last - first or 1)
    bottoms = [height - PANEL * (i + 1) + 6 for i in range(len(panels))]
    for panel, bottom in zip(panels, bottoms):
        ax = axes(fig, 66, bottom, 96, height - bottom - PANEL + 14)
        draw_panel(ax, panel, places)
        ax.set_xlim(first - pad, last + pad)
        ax.tick_params(labelbottom=False)
    if foot:
        ax = axes(fig, 66, 42, 96, height - 70 - 16 * rows)
        draw_disturbed(ax, groups, places, clocked)
        ax.set_xlim(first - pad, last + pad)
        name_panel(ax, "disturbed", "vermillion")
    ax.tick_params(labelbottom=True)
    ax.set_xlabel("seconds since the run began" if clocked else "round, in the order of the file")
    return fig


def draw_disturbed(ax, groups, places, clocked):
    """Disturbed rounds by cause, each at its time; or how many of a group, in its middle."""
    rounds = [d for group in groups for d in group.dirty_rounds]
    if rounds and clocked:
        causes = sorted({d["cause"] for d in rounds})
        for place, cause in enumerate(causes):
            times = [d["at_s"] for d in rounds if d["cause"] == cause]
            ax.plot(times, [place] * len(times), color=light("vermillion"), linestyle="",
                    marker="|", markersize=8)
        ticks(ax.yaxis, range(len(causes)), lambda place: causes[round(place)])
        ax.set_ylim(-0.6, len(causes) - 0.4)
        return
    for group, place in zip(groups, places):
        if group.dirty:
            ax.plot([np.median(place)] * 2, [0, group.dirty], color=light("vermillion"),
                    linewidth=2.5)
    ax.set_ylim(0, 1.15 * max(group.dirty for group in groups))
    ax.locator_params(axis="y", nbins=3, integer=True)


def draw_panel(ax, panel, places):
    """One series of the stability chart, in per cent."""
    known = [(place, 100 * np.expm1(values)) for place, values in zip(places, panel["of"])
             if values is not None]
    if panel.get("band"):
        ax.axhspan(*(100 * sign * panel["band"] for sign in (-1, 1)), alpha=0.15,
                   color=light(panel["ink"]))
    place = np.concatenate([place for place, _ in known])
    values = np.concatenate([values for _, values in known])
    reach = max(EDGE * np.quantile(np.abs(values), INSIDE[1]), 100 * (panel.get("band") or 0), 0.1)
    dots(ax, place, np.clip(values, -reach, reach), light(panel["ink"]))
    for sign, mark in ((1, "^"), (-1, "v")):
        beyond = sign * values > reach
        ax.plot(place[beyond], np.full(beyond.sum(), sign * reach), linestyle="", marker=mark,
                color=light("vermillion"))
    ax.set_ylim(-1.1 * reach, 1.1 * reach)
    ax.axhline(0, color=light("soft"), linewidth=0.8)
    ax.locator_params(axis="y", nbins=4)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g} %")
    name_panel(ax, panel["name"], panel["ink"])


def name_panel(ax, name, ink):
    """The panel's name at its right."""
    ax.annotate(name, (1, 0.5), (8, 0), xycoords="axes fraction", textcoords="offset points",
                verticalalignment="center")
    ax.spines["left"].set_color(light(ink))


def machines_chart(runs):
    """Speed-up over the same baseline on each run's own machine, and operations per cycle."""
    found = comparison(runs) if len(runs) > 1 else None
    if not found:
        return None
    problem, threads, base, kernels = found
    names = [f"{run.name} ({i})" for i, run in enumerate(runs, 1)]
    best, cells = kernels[-1]
    finding = (f"At {problem} {best} is " + ", ".join(
        f"{text.times(cell[1].value)} {base} on {name}" if cell else f"not measured on {name}"
        for name, cell in zip(names, cells)))
    per_cycle = any(flop_per_cycle(c[0]) for _, row in kernels for c in row if c)
    second = "operations per cycle and thread" if per_cycle else "share of the measured peak"
    note = (f"Problem {problem}, {threads_text(threads)}. Left: speed-up over {base} of the same "
            f"run. Right: {second}. Times of different machines are never divided by each other.")
    if not per_cycle:
        note += " No file holds a clock, so operations per cycle are not known."
    columns = ["kernel", *(f"{what}, {name}" for name in names
                           for what in ("speed-up", "FLOP/cycle", "of peak"))]
    rows = [[kernel, *sum((machine_cells(cell) for cell in cells), [])]
            for kernel, cells in kernels]
    return Chart("machines", finding, note, columns, rows,
                 lambda: draw_machines(names, kernels, per_cycle, base))


def machine_cells(cell):
    """Speed-up, operations per cycle and share of peak of one kernel in one run."""
    if not cell:
        return [text.DASH] * 3
    result, measured = cell
    return [f"{text.times(measured.value)} {text.interval(measured.low, measured.high)}",
            text.digits(flop_per_cycle(result)), text.percent(result.peak_fraction)]


def draw_machines(names, kernels, per_cycle, base):
    """The figure of machines_chart: a row a kernel, a mark a run."""
    height = 70 + 21 * len(kernels) + 15 * len(names)
    fig = figure(height)
    top = 10 + 15 * len(names)
    left, right = axes(fig, 150, 44, 270, top), axes(fig, 516, 44, 20, top)
    lines = []
    for i, name in enumerate(names):
        marker, ink = RUN_MARKS[i % len(RUN_MARKS)]
        style = {"linestyle": "", "marker": marker, "color": light(ink),
                 "fillstyle": "full" if i < len(RUN_MARKS) else "none"}
        shown = [(y, cells[i]) for y, (_, cells) in enumerate(kernels) if cells[i]]
        lines += left.plot([cell[1].value for _, cell in shown], [y for y, _ in shown], **style)
        rates = [(flop_per_cycle(cell[0]) if per_cycle else 100 * (cell[0].peak_fraction or 0), y)
                 for y, cell in shown]
        right.plot(*zip(*((x, y) for x, y in rates if x)), **style)
    values = [cell[1].value for _, cells in kernels for cell in cells if cell]
    left.set_xscale("log")
    left.set_xlim(min(values) / 1.3, max(values) * 1.3)
    decade_ticks(left.xaxis, *left.get_xlim(), text.short_times)
    right.set_xlim(0, None)
    for ax in (left, right):
        ax.set_ylim(len(kernels) - 0.5, -0.5)
    ticks(left.yaxis, range(len(kernels)), lambda y: kernels[round(y)][0])
    ticks(right.yaxis, range(len(kernels)), lambda y: "")
    left.tick_params(axis="y", length=0, labelcolor=light("ink"))
    left.set_xlabel(f"speed-up over {base} of the same run")
    right.set_xlabel("operations per cycle" if per_cycle else "% of the measured peak")
    fig.legend(lines, names, loc="upper left", bbox_to_anchor=(0.18, 1), frameon=False,
               handletextpad=0.3, labelspacing=0.25, borderpad=0.2)
    return fig
