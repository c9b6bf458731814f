"""Every chart of the report by its name."""

from report_chart import Chart
from report_find import main_family
from report_growth import memory_chart, rate_chart, time_chart
from report_heat import heat_chart
from report_ladder import accuracy_chart, ladder_chart, threads_chart
from report_limits import roofline_chart, roofline_threads_chart
from report_trust import stability_chart

__all__ = ["Chart", "NAMES", "chart", "family_charts"]

CURVES = {"time": time_chart, "rate": rate_chart, "memory": memory_chart, "heat": heat_chart}
SINGLES = {"ladder": ladder_chart, "roofline": roofline_chart,
           "roofline-threads": roofline_threads_chart, "accuracy": accuracy_chart,
           "threads": threads_chart, "stability": stability_chart}
NAMES = ("ladder", "time", "rate", "heat", "memory", "roofline", "roofline-threads", "accuracy",
         "threads", "stability", "machines", "commit")


def chart(run, name):
    """The chart of one run called `name`, of its main family if it needs one; None without data."""
    if name in SINGLES:
        return SINGLES[name](run)
    family = main_family(run)
    return CURVES[name](run, family) if family else None


def family_charts(run, family):
    """The charts of one family that have data."""
    return [made for make in CURVES.values() if (made := make(run, family))]
