"""The report as a page: what each section says, and the images that may be taken from it."""

import os

import jinja2

import report_charts as charts
import report_commit as commit
import report_data as data
import report_find as find
import report_growth as growth
import report_plot as plot
import report_stats as stats
import report_summary as summary
import report_text as text
from report_chart import threads_text
from report_trust import machines_chart

TEMPLATE = "report_template.html"
MOST_BYTES = 1_000_000
FASTEST_KEPT = 3    # kernels of each problem and thread count when rows must be left out
VERDICTS = {"valid": "The measurements are valid.",
            "undecided": "Undecided: these measurements support no claim of faster or slower.",
            "void": "Void: these measurements must not be used."}


def verdict_text(run):
    """The banner's sentence; an undecided run says why."""
    because = f" Because {stats.why(run)}." if run.verdict == "undecided" else ""
    return VERDICTS.get(run.verdict, run.verdict) + because


def strip(run):
    """The verdict strip: (label, value) pairs."""
    samples = sum(r.rounds or 0 for r in run.results)
    dirty = sum(r.dirty or 0 for r in run.results)
    void = sum(not r.verified for r in run.results)
    floor = "not measured" if run.noise_floor is None else text.percent(run.noise_floor)
    return [("results", f"{len(run.results)}, {void} void"),
            ("samples", f"{samples} kept, {dirty} disturbed"),
            ("noise floor", floor),
            ("smallest detectable effect", detectable(run)), *neighbours(run)]


def neighbours(run):
    """How much of the time somebody else computed on the run's cores, where the file says it."""
    shared = run.neighbours.get("shared")
    return [] if shared is None else [("samples on shared cores", text.percent(shared))]


def detectable(run):
    """The smallest effect that the run can see, as it says itself, or else the noise floor's."""
    if run.smallest_effect is not None:
        return text.percent(run.smallest_effect)
    return text.percent(run.band) if run.noise_floor is not None else "none: no noise floor"


def machine_card(run):
    """(label, value) pairs about the machine; what the file does not say is left out."""
    machine = run.machine
    caches = ", ".join(f"L{c['level']} {c['type']} {text.size(c['bytes'])}"
                       for c in machine.get("caches", ()))
    numbers = " / ".join(str(machine[name]) for name in ("family", "model", "stepping")
                         if name in machine)
    isas = machine.get("isas", ())
    levels = by_threads((roof["threads"], f"{roof['level']} {text.digits(roof['read_gbps'])}")
                        for roof in run.roofs.get("levels", ()))
    peaks = by_threads((peak["threads"], f"{peak['isa']} {text.digits(peak['gflops'])}")
                       for peak in run.peaks)
    mixed = by_threads((peak["threads"], f"{peak['isa']} {text.digits(peak['mixed_gflops'])}")
                       for peak in run.roofs.get("peaks", ())
                       if peak["mixed_gflops"] > peak["gflops"])
    reads = by_threads((read["threads"], text.digits(read["gbps"])) for read in run.read_gbps)
    card = [("processor", machine.get("cpu")), ("architecture", machine.get("arch")),
            ("family / model / stepping", numbers), ("microcode", machine.get("microcode")),
            ("logical processors", machine.get("logical_cpus")),
            ("hypervisor", machine.get("hypervisor") or "none seen"), ("caches", caches),
            ("memory", text.size(machine["memory_bytes"]) if "memory_bytes" in machine else ""),
            ("kernel", machine.get("kernel")),
            ("instruction sets that run", ", ".join(i["name"] for i in isas if i["runs"])),
            ("that do not", missing_isas(isas)),
            ("measured FMA peak, GFLOP/s", peaks), ("with additions beside the FMAs", mixed),
            ("measured read bandwidth, GB/s", reads),
            ("the same by level", levels),
            ("notes", "; ".join(machine.get("notes", ()))), ("machine class", machine.get("class"))]
    return [(label, value) for label, value in card if value not in (None, "")]


def missing_isas(isas):
    """The instruction sets that do not run, by reason."""
    reasons = {}
    for isa in isas:
        if not isa["runs"]:
            reasons.setdefault(isa["why"], []).append(isa["name"])
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())


def origin(run):
    """(label, value) pairs that say which program made the run, when and how."""
    tool = run.tool
    seed = "not recorded" if run.seed is None else run.seed
    duration = "not recorded" if run.elapsed_s is None else f"{run.elapsed_s:.0f} s"
    return [("date", run.date), ("preset", run.preset or "none"), ("seed", seed),
            ("duration", duration), *overhead(run),
            ("program", f"{tool['name']} {tool['version']}, commit {tool['commit']}"
             + (" with local changes" if tool["dirty"] else ""))]


def overhead(run):
    """What the run spent beside timing, where the file says it, as (label, value) pairs."""
    known = ", ".join(f"{name.removesuffix('_s')} {value:.1f} s"
                      for name, value in run.overhead.items() if isinstance(value, (int, float)))
    return [("of which", known)] if known else []


def by_threads(values):
    """(threads, value) pairs in words: 16.1, 251 on 1 thread; 32.2, 503 on 2 threads."""
    groups = {}
    for threads, value in values:
        groups.setdefault(threads, []).append(value)
    return "; ".join(f"{', '.join(group)} on {threads_text(threads)}"
                     for threads, group in groups.items())


def result_row(result):
    """A row of the table of all results."""
    state = "verified" if result.verified else f"void: {result.void_reason or 'no reason given'}"
    rounds = text.DASH if result.rounds is None else f"{result.rounds} ({result.dirty or 0})"
    return [result.kernel, result.problem, result.threads, state,
            text.percent(result.bound_share), text.time(result.median_ns),
            text.time_interval(result.ci_low_ns, result.ci_high_ns),
            text.time(result.min_ns), rounds, text.digits(result.gflops),
            text.percent(result.peak_fraction), text.digits(result.bandwidth_gbps),
            text.size(result.scratch_bytes)]


RESULT_COLUMNS = ["kernel", "problem", "threads", "verification", "share of bound", "median",
                  "95 % interval", "minimum", "rounds (dirty)", "GFLOP/s", "of peak", "GB/s",
                  "scratch per thread"]


WORD_COLUMNS = {"limited by", "disturbed", "problem", "verification", "fastest kernel", "verdict",
                "on problem", "reason", "how sure", "of the machine's limit", "accurate", "growth",
                "measurements"}


def shape_row(best, base, measured, claim):
    """A row of the table of model shapes."""
    return [best.problem, best.threads, best.kernel, text.time(best.median_ns),
            text.time_interval(best.ci_low_ns, best.ci_high_ns),
            f"{text.times(measured.value)} {base.kernel}" if best is not base else text.DASH,
            text.interval(measured.low, measured.high) if best is not base else text.DASH,
            claim or text.DASH, text.digits(best.gflops), text.percent(best.peak_fraction),
            text.digits(best.bandwidth_gbps)]


PREDICTED_COLUMNS = ["kernel", "loop in", "core", "multiply-adds", "cycles, predicted",
                     "of peak, predicted"]
SHAPE_COLUMNS = ["problem", "threads", "fastest kernel", "median", "95 % interval", "speed-up",
                 "95 % interval", "verdict", "GFLOP/s", "of peak", "GB/s"]


def shown(chart, name):
    """A chart with its drawing, whose ids begin with `name`; None for none."""
    return chart and {"chart": chart, "svg": plot.to_svg(chart.draw(), name, chart.finding)}


def section(run, number, compared):
    """What the template says of one run."""
    families = []
    for i, family in enumerate(find.families(run)):
        families.append({
            "label": family.label, "order": growth.order_text(run, family),
            "crossovers": growth.crossover_rows(run, family),
            "charts": [shown(c, f"r{number}-f{i}-{c.name}")
                       for c in charts.family_charts(run, family)]})
    single = {name: shown(charts.chart(run, name), f"r{number}-{name}")
              for name in charts.SINGLES}
    return {"run": run, "number": number, "verdict": verdict_text(run),
            "answers": summary.answers(run, compared), "strip": strip(run),
            "machine": machine_card(run), "families": families, "single": single,
            "results": [result_row(result) for result in run.results],
            "skipped": list(dict.fromkeys(
                (skip["kernel"], skip.get("problem") or "every problem", skip["reason"])
                for skip in run.skipped)),
            "origin": origin(run),
            "shapes": [shape_row(*row) for row in find.model_shapes(run)]}


MINUTE_COLUMNS = ["run", "measurements", "fastest kernel", "how sure", "of the machine's limit",
                  "accurate", "growth"]


def minute_row(part):
    """A section's short answers in one row, for a page of several runs."""
    run, short = part["run"], [answer for _, answer, *_ in part["answers"][:-1]]
    return [f"{run.name}, {run.date}", run.verdict,
            *(short + [text.DASH] * (len(MINUTE_COLUMNS) - 2 - len(short)))]


def without_families(part):
    """A section with the charts of its first family only."""
    del part["families"][1:]


def without_single(name):
    """What takes one single chart out of a section."""
    return lambda part: part["single"].update({name: None})


def without_heat(part):
    """A section without heat maps."""
    for family in part["families"]:
        family["charts"] = [c for c in family["charts"] if c["chart"].name != "heat"]


def without_slow(part):
    """A section whose table of all results keeps the fastest kernels of each problem."""
    ranks = {}
    for group in find.groups_of(part["run"]).values():
        for rank, result in enumerate(sorted(group, key=lambda r: r.median_ns)):
            ranks[id(result)] = rank
    part["results"] = [result_row(r) for r in part["run"].results
                       if not r.verified or ranks[id(r)] < FASTEST_KEPT]


OMISSIONS = (   # what a page too large loses, in this order
    ("the charts of all families but the first of each run", without_families),
    ("the rooflines at the most threads", without_single("roofline-threads")),
    ("the stability charts", without_single("stability")),
    (f"from the tables of all results the verified kernels that are not among the {FASTEST_KEPT} "
     "fastest of their problem", without_slow),
    ("the heat maps", without_heat),
    ("the other rooflines", without_single("roofline")),
)


def predicted_rows(predicted):
    """A row of the page for each loop whose speed on another core was predicted."""
    return [[p["kernel"], p["function"], p["core"], str(p["fma"]), f"{p['cycles']:.1f}",
             text.percent(p["share"])] for p in predicted["predictions"]]


def render(documents, predicted=None):
    """The page about runs and a comparison of commits, with predictions for other cores if there
    are any, as bytes; what does not fit is left out in a fixed order, and named."""
    runs = [document for document in documents if document.kind == "run"]
    compared = [document for document in documents if document.kind == "comparison"]
    if len(compared) > 1:
        raise data.BadInput("one comparison of commits fits on a page: name one such file")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(os.path.abspath(__file__))),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    sections = [section(run, i, compared) for i, run in enumerate(runs, 1)]
    values = {
        "sections": sections, "minute_columns": MINUTE_COLUMNS,
        "minute_rows": [minute_row(part) for part in sections],
        "compared": compared and {
            "file": compared[0], "answer": commit.answer(compared[0]),
            "base": commit.tool_text(compared[0].base), "new": commit.tool_text(compared[0].new),
            "shown": shown(commit.commit_chart(compared[0]), "commit")},
        "machines": shown(machines_chart(runs), "machines"), "several": len(runs) > 1,
        "predicted": predicted, "predicted_rows": predicted_rows(predicted) if predicted else [],
        "predicted_columns": PREDICTED_COLUMNS, "variables": plot.css_variables(),
        "result_columns": RESULT_COLUMNS, "shape_columns": SHAPE_COLUMNS,
        "crossover_columns": growth.CROSSOVER_COLUMNS, "word_columns": WORD_COLUMNS,
        "omitted": []}
    environment.filters["together"] = text.together
    template = environment.get_template(TEMPLATE)
    for name, omit in (None, None), *OMISSIONS:
        if omit:
            values["omitted"].append(name)
            for part in values["sections"]:
                omit(part)
        page = template.render(values).encode("utf-8")
        if len(page) <= MOST_BYTES:
            return page
    raise data.BadInput(f"the page would have {len(page)} bytes even with everything left out that "
                        f"may be; at most {MOST_BYTES} are allowed: report fewer files at once")
