"""The report as a page: what each section says, and the images that may be taken from it."""

import os

import jinja2

import report_charts as charts
import report_data as data
import report_plot as plot
import report_text as text

TEMPLATE = "report_template.html"
VERDICTS = {"valid": "The measurements are valid.",
            "undecided": "Undecided: these measurements support no claim of faster or slower.",
            "void": "Void: these measurements must not be used."}

SURENESS = {"faster": "beyond noise", "same": "tied with the next", "slower": "undecided",
            "undecided": "undecided"}


def answers(run):
    """(question, answer, detail) for a reader with one minute."""
    steps = data.ladder(run)
    if not steps:
        return [("Which kernel is fastest?", "None", "No result is verified.")]
    best, base = fastest_single(run, steps), data.baseline([step.result for step in steps])
    gain = f"{text.times(data.ratio(base, best).value)} {base.kernel}, " if best is not base else ""
    found = [("Fastest here", best.kernel,
              f"{gain}{text.time(best.median_ns)} at {best.problem}, "
              f"{charts.threads_text(best.threads)}"), certainty(run, steps, best)]
    if best.peak_fraction is not None:
        found.append(("Against the machine", f"{text.percent(best.peak_fraction)} of peak",
                      f"{text.digits(best.gflops)} of {text.digits(best.peak_gflops)} GFLOP/s "
                      f"measured for {best.isa} in this run"))
    if best.bound_share is not None:
        found.append(("Accuracy", f"{text.percent(best.bound_share)} of the bound",
                      f"largest error {text.digits(best.max_abs_error)} against double "
                      "precision; at 100 % it would be void"))
    curves = data.families(run)
    fit = data.exponent(curves[0].curves.get(best.kernel, ())) if curves else None
    if fit:
        found.append(("Growth", f"n^{fit.slope:.2f}",
                      f"95 % interval {text.interval(fit.low, fit.high, '{:.3f}'.format)}, "
                      f"n = {fit.first} to {fit.last}"))
    return found


def fastest_single(run, steps):
    """The fastest result of the ladder at the fewest threads."""
    return charts.fastest([s.result for s in steps if s.result.threads == run.base_threads])


def certainty(run, steps, best):
    """How sure the run is that `best` beats the next kernel."""
    others = [s.result for s in steps
              if s.result.threads == best.threads and s.result is not best]
    if not others:
        return ("How sure", "no rival", "only one kernel was measured on this problem")
    rival = charts.fastest(others)
    measured = data.ratio(rival, best)
    return ("How sure", SURENESS[data.claim(run, measured)],
            f"{text.times(measured.value)} the next, {rival.kernel}; 95 % interval "
            f"{text.interval(measured.low, measured.high)}")


def strip(run):
    """The verdict strip: (label, value) pairs."""
    samples = sum(r.rounds or 0 for r in run.results)
    dirty = sum(r.dirty or 0 for r in run.results)
    void = sum(not r.verified for r in run.results)
    floor = "not measured" if run.noise_floor is None else text.percent(run.noise_floor)
    return [("results", f"{len(run.results)}, {void} void"),
            ("samples", f"{samples} kept, {dirty} dirty and dropped"),
            ("noise floor", floor),
            ("smallest detectable effect", text.percent(run.detectable)
             if run.noise_floor is not None else "none: no noise floor")]


def machine_card(run):
    """(label, value) pairs about the machine; what the file does not say is left out."""
    machine = run.machine
    caches = ", ".join(f"L{c['level']} {c['type']} {text.size(c['bytes'])}"
                       for c in machine.get("caches", ()))
    numbers = " / ".join(str(machine[name]) for name in ("family", "model", "stepping")
                         if name in machine)
    isas = machine.get("isas", ())
    peaks = by_threads((peak["threads"], f"{peak['isa']} {text.digits(peak['gflops'])}")
                       for peak in run.peaks)
    reads = by_threads((read["threads"], text.digits(read["gbps"])) for read in run.read_gbps)
    card = [("processor", machine.get("cpu")), ("architecture", machine.get("arch")),
            ("family / model / stepping", numbers), ("microcode", machine.get("microcode")),
            ("logical processors", machine.get("logical_cpus")),
            ("hypervisor", machine.get("hypervisor") or "none seen"), ("caches", caches),
            ("memory", text.size(machine["memory_bytes"]) if "memory_bytes" in machine else ""),
            ("kernel", machine.get("kernel")),
            ("instruction sets that run", ", ".join(i["name"] for i in isas if i["runs"])),
            ("that do not", "; ".join(f"{i['name']}: {i['why']}" for i in isas if not i["runs"])),
            ("measured FMA peak, GFLOP/s", peaks), ("measured read bandwidth, GB/s", reads),
            ("notes", "; ".join(machine.get("notes", ()))), ("machine class", machine.get("class"))]
    return [(label, value) for label, value in card if value not in (None, "")]


def origin(run):
    """(label, value) pairs that say which program made the run, when and how."""
    tool = run.tool
    seed = "not recorded" if run.seed is None else run.seed
    duration = "not recorded" if run.elapsed_s is None else f"{run.elapsed_s:.0f} s"
    return [("date", run.date), ("preset", run.preset or "none"), ("seed", seed),
            ("duration", duration),
            ("program", f"{tool['name']} {tool['version']}, commit {tool['commit']}"
             + (" with local changes" if tool["dirty"] else ""))]


def by_threads(values):
    """(threads, value) pairs in words: 16.1, 251 on 1 thread; 32.2, 503 on 2 threads."""
    groups = {}
    for threads, value in values:
        groups.setdefault(threads, []).append(value)
    return "; ".join(f"{', '.join(group)} on {charts.threads_text(threads)}"
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


WORD_COLUMNS = {"problem", "verification", "fastest kernel", "verdict", "on problem", "reason"}


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


def section(run, number):
    """What the template says of one run."""
    def shown(chart, part=""):
        name = f"r{number}-{part}{chart.name}"
        return {"chart": chart, "svg": plot.to_svg(chart.draw(), name, chart.finding)}

    families = [{"label": family.label,
                 "charts": [shown(c, f"f{i}-") for c in charts.family_charts(run, family)]}
                for i, family in enumerate(data.families(run))]
    single = {name: shown(chart) if (chart := charts.chart(run, name)) else None
              for name in charts.SINGLES}
    return {"run": run, "number": number, "verdict": VERDICTS.get(run.verdict, run.verdict),
            "answers": answers(run), "strip": strip(run), "machine": machine_card(run),
            "families": families, "single": single,
            "results": [result_row(result) for result in run.results],
            "skipped": list(dict.fromkeys(
                (skip["kernel"], skip.get("problem") or "every problem", skip["reason"])
                for skip in run.skipped)),
            "origin": origin(run),
            "shapes": [shape_row(*row) for row in data.model_shapes(run)]}


def compared(runs):
    """The comparison of several runs as a table: its columns and rows, or None."""
    found = data.comparison(runs) if len(runs) > 1 else None
    if not found:
        return None
    problem, threads, base, rows = found
    columns = ["kernel", *(f"{run.name} ({i})" for i, run in enumerate(runs, 1))]
    cells = [[kernel, *(f"{text.times(speedup)}, {text.percent(peak)} of peak"
                        for speedup, peak in results)] for kernel, results in rows]
    return {"problem": problem, "threads": charts.threads_text(threads), "base": base,
            "columns": columns, "rows": cells}


def predicted_rows(predicted):
    """A row of the page for each loop whose speed on another core was predicted."""
    return [[p["kernel"], p["function"], p["core"], str(p["fma"]), f"{p['cycles']:.1f}",
             text.percent(p["share"])] for p in predicted["predictions"]]


def render(runs, predicted=None):
    """The page about `runs`, with predictions for other cores if there are any, as bytes."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(os.path.dirname(os.path.abspath(__file__))),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    page = environment.get_template(TEMPLATE).render(
        sections=[section(run, i) for i, run in enumerate(runs, 1)],
        predicted=predicted,
        predicted_rows=predicted_rows(predicted) if predicted else [],
        predicted_columns=PREDICTED_COLUMNS, comparison=compared(runs), several=len(runs) > 1,
        variables=plot.css_variables(),
        result_columns=RESULT_COLUMNS, shape_columns=SHAPE_COLUMNS, word_columns=WORD_COLUMNS)
    return page.encode("utf-8")
