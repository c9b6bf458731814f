"""What the sessions of scripts/calibrate say: counts of verdicts, with exact intervals."""

import math
from collections import namedtuple
from statistics import median

import report_data as data

CLAIMS = ("faster", "slower")
LOADS = {"none": "nothing else", "compute": "a loop over integers on another core",
         "memory": "copies of 64 MiB on another core"}
STATED_SESSIONS, STATED_CELLS = 0.05, 0.01    # of A/A sessions and cells: false at most
STATED_POWER = {3: 0.80, 5: 0.95}             # planted percent: found at least

# `count` of `total`, and the exact 95 % interval of the share behind it
Share = namedtuple("Share", "count total low high")
False_ = namedtuple("False_", "label sessions cells undecided load")
Power = namedtuple("Power", "level found others slowdown")

SESSION_FIELDS = {"part": str, "number": int, "load": str, "planted": data.NUMBER, "seed": int,
                  "seconds": data.NUMBER, "exit": int, "verdict": str, "cells": list}
CELL_FIELDS = {"kernel": str, "problem": str, "threads": int, "verdict": str}
TOP_FIELDS = {"date": str, "tool": dict, "machine": dict, "settings": dict, "planned": dict,
              "sessions": list}


def check(document):
    """`document` if it is what calibrate writes; raises BadInput."""
    if not isinstance(document, dict) or document.get("kind") != "calibration":
        raise data.BadInput("not written by scripts/calibrate")
    data.check_fields(document, TOP_FIELDS, "the file")
    data.check_lists(document, {"sessions": SESSION_FIELDS})
    for session in document["sessions"]:
        data.check_lists(session, {"cells": CELL_FIELDS})
    return document


def at_least(count, total, share):
    """The probability of `count` or more in `total` draws of probability `share`."""
    def log_choose(i):
        return math.lgamma(total + 1) - math.lgamma(i + 1) - math.lgamma(total - i + 1)

    if count == 0 or share == 1:
        return 1.0
    if share == 0:
        return 0.0
    return sum(math.exp(log_choose(i) + i * math.log(share) + (total - i) * math.log1p(-share))
               for i in range(count, total + 1))


def share_of(count, total):
    """The share with its exact 95 % interval (Clopper and Pearson 1934)."""
    def where(crossed):
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if crossed(middle) else (middle, high)
        return (low + high) / 2

    low = where(lambda p: at_least(count, total, p) >= 0.025) if count else 0.0
    high = where(lambda p: 1 - at_least(count + 1, total, p) <= 0.025) if count < total else 1.0
    return Share(count, total, low, high)


def part(document, name):
    """The sessions of a part that are done."""
    return [session for session in document["sessions"] if session["part"] == name]


def has_false(session):
    """Did the session claim a difference where there was none?"""
    return any(cell["verdict"] in CLAIMS for cell in session["cells"])


def false_row(label, sessions):
    """How often equal builds were told different, by sessions that could compare anything."""
    sessions = [session for session in sessions if session["cells"]]
    cells = [cell["verdict"] for session in sessions for cell in session["cells"]]
    loads = [session["load_share"] for session in sessions if session.get("load_share")]
    return False_(label, share_of(sum(map(has_false, sessions)), len(sessions)),
                  share_of(sum(verdict in CLAIMS for verdict in cells), len(cells)),
                  share_of(cells.count("undecided"), len(cells)),
                  median(loads) if loads else None)


def false_verdicts(document):
    """A row of false verdicts for every load that was there, for all loads, and for all."""
    sessions = part(document, "aa")
    by_load = {load: [s for s in sessions if s["load"] == load] for load in LOADS}
    groups = [(LOADS[load], some) for load, some in by_load.items()]
    groups.append(("all", sessions))
    return [false_row(label, some) for label, some in groups if some]


def is_slowed(session, cell):
    """Was a slow-down planted in this cell?"""
    return session["planted"] > 0 and cell["kernel"] == session["slowed"]


def power(document):
    """A row for every planted slow-down; found: every cell of the slowed kernel is "slower"."""
    groups = {}
    for session in part(document, "power"):
        groups.setdefault(session["planted"], []).append(session)
    rows = []
    for level, sessions in sorted(groups.items()):
        found, others, slowdowns = 0, [], []
        for session in sessions:
            slowed = [cell for cell in session["cells"] if is_slowed(session, cell)]
            others += [cell for cell in session["cells"] if not is_slowed(session, cell)]
            found += bool(slowed) and all(cell["verdict"] == "slower" for cell in slowed)
            slowdowns += [cell["ratio"] - 1 for cell in slowed if cell.get("ratio")]
        false = sum(cell["verdict"] in CLAIMS for cell in others)
        rows.append(Power(level, share_of(found, len(sessions)), share_of(false, len(others)),
                          median(slowdowns) if slowdowns else None))
    return rows
