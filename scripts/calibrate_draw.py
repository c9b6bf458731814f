"""How calibrate shows its counts: two charts and a page, the same bytes from the same sessions."""

import calibrate_data as tally
import report_plot as plot
import report_text as text
from report_charts import Chart

FALSE_SCALE = 0.02    # the axis of false verdicts ends beyond the longest interval by this much


def share(value):
    """4 of 100, 4 %."""
    if not value.total:
        return text.DASH
    return f"{value.count} of {value.total}, {text.short_percent(value.count / value.total)}"


def interval(value):
    """[0.3, 5.2] %."""
    if not value.total:
        return text.DASH
    return text.interval(100 * value.low, 100 * value.high, "{:.1f}".format) + " %"


def error_bar(ax, ends, ink):
    """An exact interval between two ends ([x, x], [y, y])."""
    ax.plot(*ends, color=plot.light(ink), linewidth=1.7, clip_on=False)


# --- false verdicts --------------------------------------------------------------------------


def false_chart(document):
    """How often equal builds were told different, by what else the machine did."""
    rows = tally.false_verdicts(document)
    if not rows:
        return None
    everything = rows[-1]
    finding = (f"Equal builds: {share(everything.sessions)} of sessions claimed a difference "
               f"(stated: at most {text.short_percent(tally.STATED_SESSIONS)}), and "
               f"{share(everything.cells)} of cells "
               f"(at most {text.short_percent(tally.STATED_CELLS)})")
    table = [[row.label, text.percent(row.load) if row.load else text.DASH, share(row.sessions),
              interval(row.sessions), share(row.cells), interval(row.cells), share(row.undecided)]
             for row in rows]
    return Chart("false", finding, "Bars: exact 95 % intervals; dashes: the stated rates.",
                 ["beside it", "its CPU time", "sessions with a false verdict", "95 % interval",
                  "cells with one", "95 % interval", "cells undecided"], table,
                 lambda: draw_false(rows))


def draw_false(rows):
    """The figure of false_chart: a line for every load, sessions above cells."""
    fig = plot.figure(66 + 48 * len(rows))
    longest = max(row.sessions.high for row in rows)
    ax = plot.axes(fig, 236, 42, 24, 24)
    ax.set_xlim(0, min(1, longest + FALSE_SCALE))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    for stated, ink in ((tally.STATED_SESSIONS, "blue"), (tally.STATED_CELLS, "vermillion")):
        ax.axvline(stated, color=plot.light(ink), linestyle=(0, (4, 3)), linewidth=1)
    for i, row in enumerate(rows):
        for value, ink, marker, shift in ((row.sessions, "blue", "o", -0.14),
                                          (row.cells, "vermillion", "s", 0.14)):
            if not value.total:
                continue
            error_bar(ax, ([value.low, value.high], [i + shift, i + shift]), ink)
            ax.plot(value.count / value.total, i + shift, color=plot.light(ink), marker=marker,
                    clip_on=False, linestyle="none")
    plot.ticks(ax.yaxis, range(len(rows)), lambda i: rows[int(i)].label)
    ax.set_xlabel("share with a false verdict")
    ax.xaxis.set_major_formatter(lambda value, _: text.short_percent(value))
    ax.text(0.0, 1.02, "circle: of sessions    square: of cells    dashes: stated rates",
            transform=ax.transAxes)
    ax.grid(False, axis="y")
    return fig


# --- power -----------------------------------------------------------------------------------


def power_chart(document):
    """How often a planted slow-down was found, against its size."""
    rows = tally.power(document)
    if not rows:
        return None
    found = "; ".join(f"{text.short(row.level)} % in {row.found.count} of {row.found.total}"
                      for row in rows)
    seconds = document["settings"]["power_budget"]
    finding = f"Planted slow-downs found by sessions of {seconds} of measuring: {found}"
    table = [[f"{text.short(row.level)} %", share(row.found), interval(row.found),
              text.DASH if row.slowdown is None else f"{100 * row.slowdown:.2f} %",
              stated_power(row.level), share(row.others)] for row in rows]
    return Chart("power", finding, "Bars: exact 95 % intervals; triangles: what is stated.",
                 ["planted", "sessions that found it", "95 % interval", "median measured",
                  "stated", "false verdicts on the other kernels"], table, lambda: draw_power(rows))


def stated_power(level):
    """at least 95 %."""
    stated = tally.STATED_POWER.get(level)
    return text.DASH if stated is None else f"at least {text.short_percent(stated)}"


def draw_power(rows):
    """The figure of power_chart."""
    fig = plot.figure(330)
    ax = plot.axes(fig, 66, 42, 80, 14)
    ax.set_xlim(0, max(row.level for row in rows) * 1.05)
    ax.set_ylim(-0.02, 1.02)
    points = [(row.level, row.found.count / row.found.total) for row in rows]
    for row in rows:
        error_bar(ax, ([row.level, row.level], [row.found.low, row.found.high]), "blue")
    ax.plot(*zip(*points), color=plot.light("blue"), marker="o", clip_on=False)
    for level, wanted in tally.STATED_POWER.items():
        if level <= rows[-1].level:
            ax.plot(level, wanted, color=plot.light("vermillion"), marker="^", fillstyle="none",
                    markersize=9)
            ax.annotate(f"at least {text.short_percent(wanted)}", (level, wanted), (12, -14),
                        textcoords="offset points")
    ax.text(0.02, 0.96, "triangles: stated", transform=ax.transAxes)
    plot.label_ends(ax, [(*points[-1], "found", plot.light("blue"))])
    plot.ticks(ax.xaxis, [row.level for row in rows], lambda level: f"{text.short(level)} %")
    plot.ticks(ax.yaxis, [0, 0.2, 0.4, 0.6, 0.8, 1], text.short_percent)
    ax.set_xlabel("planted slow-down of one kernel")
    ax.set_ylabel("sessions that found it")
    return fig


# --- the page --------------------------------------------------------------------------------


def charts(document):
    """The charts that these sessions can give."""
    return [chart for chart in (false_chart(document), power_chart(document)) if chart]


def table(chart):
    """A chart's numbers in Markdown."""
    lines = [chart.columns, ["---"] * len(chart.columns), *chart.rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def done_text(document, name, label):
    """100 of 100 sessions with equal builds, 8.2 s each."""
    sessions = tally.part(document, name)
    planned, seconds = document["planned"].get(name, 0), [s["seconds"] for s in sessions]
    if not sessions:
        return f"No session {label} was run."
    cut = "" if len(sessions) >= planned else ", cut short"
    empty = sum(not session["cells"] for session in sessions)
    said = f" {empty} of them could compare nothing." if empty else ""
    return (f"{len(sessions)} of {planned} planned sessions {label}{cut}; "
            f"{sum(seconds) / len(seconds):.0f} s each.{said}")


def page(document, name):
    """The Markdown page; the charts are the files NAME-CHART.svg beside it."""
    settings, machine, tool = (document[key] for key in ("settings", "machine", "tool"))
    head = (f"# Can `attest ab` be believed?\n\n{machine.get('cpu')}, {machine.get('class')}; "
            f"commit {tool.get('commit')}{', with local changes' if tool.get('dirty') else ''}, "
            f"{tool.get('compiler')}; {document['date']}. Written by `scripts/calibrate` from "
            f"[{name}.json]({name}.json), where every session is kept.\n")
    body = "".join(f"\n## {title}\n\n![{chart.finding}]({name}-{chart.name}.svg)\n\n"
                   f"{chart.finding}. {chart.note}\n\n{table(chart)}"
                   for chart in charts(document)
                   for title in [{"false": "False verdicts", "power": "Power"}[chart.name]])
    return head + body + f"""
## How

* {done_text(document, "aa", "with equal builds")} \
`attest ab` of one program against itself, {settings['launches']} cycles of launches of \
{settings['aa_rounds']} rounds; a cell is a kernel on a problem: {settings['kernels']} \
on {settings['problems']}, one thread. A verdict is false if it is "faster" or "slower". \
Cells of a session are not independent, so their interval is too narrow.
* {done_text(document, "power", "with a planted slow-down")} \
{settings['power_budget']} of measuring in {settings['launches']} cycles; {settings['kernels']} on \
{settings['power_problems']}. The new build is `planted` (bench/planted.c): each call of \
{settings['slowed']} waits for that share of its own time. Found: every cell of that kernel is \
"slower". The sizes take turns in random order.
* `attest ab` and what it launches run on CPU {settings['cpu']}; the load, a process of its own, \
on CPU {settings['load_cpu']}, which is on the same machine, but not necessarily on another \
physical core of the host. Loads take turns: nothing, integers, nothing, copies. "Its CPU time": \
what the load got of the session, median.
* Intervals are exact (Clopper and Pearson 1934).
"""


def write(document, folder, name):
    """Write page and charts beside NAME.json; raises BadInput."""
    for chart in charts(document):
        tally.data.write_whole(f"{folder}/{name}-{chart.name}.svg", plot.svg_file(chart))
    tally.data.write_whole(f"{folder}/{name}.md", page(document, name).encode())
