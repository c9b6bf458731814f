"""How the report writes quantities: always with a unit, and with no more digits than it knows."""

import re

UNITS = "(?<=[0-9]) (?=%|(?:[mn\N{MICRO SIGN}]?s|(?:[KMG]i)?B|GFLOP/s|GB/s|threads?)\\b)"
DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
GAP = "\N{EN SPACE}"    # a wide space that SVG does not fold

TIME_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "\N{MICRO SIGN}s"), (1, "ns"))
BYTE_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))


def digits(value, count=3):
    """`value` with `count` significant digits, whole numbers beyond that written whole."""
    if value is None:
        return DASH
    if value == 0:
        return "0"
    if abs(value) >= 10 ** count - 0.5:
        return f"{value:.0f}"
    return f"{value:#.{count}g}".rstrip(".")


def short(value):
    """`value` with at most three digits and no trailing zeros: 2, 0.5, 48."""
    return digits(value) if abs(value) >= 1000 else f"{value:.3g}"


def together(sentence):
    """`sentence` with no line break between a number and its unit."""
    return re.sub(UNITS, "\N{NO-BREAK SPACE}", sentence)


def unit_of(value, units):
    """The (size, name) of the largest of `units` not above `value`, or the smallest."""
    return next((unit for unit in units if value >= unit[0]), units[-1])


def time(ns):
    """A time given in nanoseconds: 1.234 ms."""
    return DASH if ns is None else scaled(ns, TIME_UNITS, lambda value: digits(value, 4))


def short_time(ns):
    """A round time given in nanoseconds, for an axis: 10 ms."""
    return scaled(ns, TIME_UNITS, short)


def size(count):
    """A number of bytes: 48 KiB."""
    return DASH if count is None else scaled(count, BYTE_UNITS, short)


def scaled(value, units, write):
    """`value` in the unit that fits it, its number written by `write`."""
    divisor, name = unit_of(value, units)
    return f"{write(value / divisor)} {name}"


def percent(share):
    """A share of one: 83.1 %."""
    return DASH if share is None else f"{digits(100 * share)} %"


def short_percent(share):
    """A round share of one, for an axis: 10 %."""
    return f"{short(100 * share)} %"


def times(value):
    """A ratio: 55.1x."""
    return DASH if value is None else f"{digits(value)}{TIMES}"


def short_times(value):
    """A round ratio, for an axis: 50x."""
    return f"{short(value)}{TIMES}"


def interval(low, high, write=digits):
    """A 95 % interval: [54.2, 54.6]."""
    return DASH if low is None or high is None else f"[{write(low)}, {write(high)}]"


def time_interval(low, high):
    """An interval of times given in nanoseconds, in one unit: [1.231, 1.240] ms."""
    if low is None or high is None:
        return DASH
    divisor, name = unit_of(low, TIME_UNITS)
    return interval(low / divisor, high / divisor, lambda value: digits(value, 4)) + f" {name}"
