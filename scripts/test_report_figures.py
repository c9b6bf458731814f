#!/usr/bin/env python3
"""Tests of the arithmetic behind the report, against values known without it."""

import math
import re
import unittest

from need import need

need({"matplotlib": "python3-matplotlib", "jinja2": "python3-jinja2"})

import report_data as data
import report_find as find
import report_growth as growth
import report_limits as limits
import report_plot as plot
import report_stats as stats
import report_trust as trust
from test_report import evidence, run


def curve(kernel, times, spread=0.002, rounds=20):
    """Results of a kernel with the medians `times` {n: ns}, its rounds in a fixed pattern."""
    return [data.check_result({
        "kernel": kernel, "isa": "scalar", "problem": f"h8q{n}d64", "threads": 1, "verified": True,
        "median_ns": time, "flops": 1, "gflops": 1, "scratch_bytes": 4 * n * n,
        "samples": [time * (1 + spread * (i * 7 % rounds - rounds / 2) / rounds)
                    for i in range(rounds)]}, kernel) for n, time in times.items()]


class FiguresTest(unittest.TestCase):
    """The arithmetic behind the page, against values known without it."""

    def test_problem_keys(self):
        for key, family, n, power in (
                ("h8q2048d64", "h8d64, q = k = n", 2048, 2),
                ("b2h32g8q1k8192d128c", "b2h32g8d128c, q = 1, k = n", 8192, 1),
                ("h4q197d40w16:0bool", "h4d40w16:0bool, q = k = n", 197, 2)):
            self.assertEqual(data.parse_problem(key), (family, n, power))

    def test_median_ranks_are_those_of_the_protocol(self):
        known = {5: None, 6: (1, 6), 9: (2, 8), 12: (3, 10), 20: (6, 15), 30: (10, 21),
                 50: (18, 33)}
        for count, ranks in known.items():
            expected = ranks and (ranks[0] - 1, ranks[1] - 1)
            self.assertEqual(stats.median_ranks(count), expected)

    def test_exponent_of_a_pure_power(self):
        points = data.check_run(run()).results
        curve = [r for r in points if r.kernel == "blocked_auto" and r.threads == 1]
        fit = stats.exponent(curve)
        self.assertAlmostEqual(fit.slope, 2, places=6)
        self.assertTrue(fit.low <= 2 <= fit.high and fit.high - fit.low < 0.01)

    def test_spread_keeps_order_and_distance(self):
        places = plot.spread([0.1, 0.5, 0.5, 0.52, 0.99], 0.1)
        self.assertEqual(places, sorted(places))
        self.assertTrue(all(b - a > 0.0999 for a, b in zip(places, places[1:])))
        self.assertAlmostEqual(places[0], 0.1)
        self.assertTrue(0 <= places[0] and places[-1] <= 1)

    def test_series_colours_are_distinct_variables(self):
        light = [pair[0] for pair in plot.COLOURS.values()]
        self.assertEqual(len(light), len(set(light)))
        self.assertFalse(re.findall(r"#[0-9A-F]*[A-F]", " ".join(light)), "matplotlib writes a-f")

    def test_sign_test_counts_rounds_beyond_the_band(self):
        self.assertEqual(stats.sign_test([1.1] * 6, 0.05), 2 / 64)
        self.assertEqual(stats.sign_test([0.9] * 6, 0.05), 2 / 64)
        self.assertEqual(stats.sign_test([1.04] * 6, 0.05), 1.0)
        self.assertAlmostEqual(stats.sign_test([1.1] * 9 + [1.0], 0.05), 2 * 11 / 1024)

    def test_false_discovery_is_that_of_benjamini_and_hochberg(self):
        published = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459,
                     0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]    # their paper of 1995, 3.1
        self.assertEqual(stats.false_discovery(published), 0.0095)
        self.assertEqual(stats.false_discovery([0.5, 0.9]), 0.0)

    def test_a_difference_that_the_correction_refuses_is_undecided(self):
        document = data.check_run(run() | {"noise_floor": 0.01})
        slow, fast = curve("a", {512: 1100}, rounds=6)[0], curve("b", {512: 1000}, rounds=6)[0]
        document.results = [slow, fast]
        self.assertEqual(stats.claim(document, stats.ratio(slow, fast)), "faster")
        document.accepted = 0.01, 100    # six rounds give p = 0.03 at best
        self.assertEqual(stats.claim(document, stats.ratio(slow, fast)), "undecided")

    def test_a_kernel_that_rested_is_compared_in_its_own_rounds(self):
        slow, fast = curve("a", {512: 8000}, rounds=6)[0], curve("b", {512: 1000}, rounds=20)[0]
        slow.sample_rounds = [0, 3, 6, 10, 13, 19]
        slow.samples = [9 * fast.samples[r] for r in slow.sample_rounds]
        measured = stats.ratio(slow, fast)
        for value in (measured.value, measured.low, measured.high):
            self.assertAlmostEqual(value, 9)
        self.assertEqual(len(measured.rounds), 6)

    def test_crossover_lies_where_the_lines_meet(self):
        lengths = (64, 128, 256, 512, 1024)
        curves = {"square": curve("square", {n: n * n for n in lengths}),
                  "linear": curve("linear", {n: 300 * n for n in lengths})}
        document = data.check_run(run())
        document.results = sum(curves.values(), [])
        found, = stats.crossovers(document, curves)
        self.assertEqual((found.short, found.long, found.low, found.high),
                         ("square", "linear", 256, 512))
        self.assertAlmostEqual(found.n, 300, places=6)
        curves["linear"] = curve("linear", {n: n * n * 1.001 ** (n - 300) for n in (256, 512)}, 0.5)
        document.results = sum(curves.values(), [])
        del document.accepted
        self.assertEqual(stats.crossovers(document, curves), [], "inside the noise")

    def test_memory_wall_is_where_the_square_fills_the_memory(self):
        needs = [(n, 4 * n * n) for n in (512, 1024, 2048)]
        self.assertAlmostEqual(growth.memory_wall(needs, 1 << 34), 65536, places=6)
        self.assertIsNone(growth.memory_wall([(512, 1000), (1024, 1000)], 1 << 34))

    def test_cache_marks_are_where_the_tensors_outgrow_the_cache(self):
        document = data.check_run(run())
        for result in document.results:
            result.bytes = 64 * result.shape.n
        family, = find.families(document)
        (n, name), = growth.cache_marks(document, family)
        self.assertEqual((round(n), name), (512, "L1"))

    def test_the_limit_is_the_lower_roof(self):
        result = data.check_run(run()).results[0]
        result.peak_gflops, result.flops, result.bytes = 100, 8, 2
        self.assertEqual(limits.attainable(result, 20), (80, "reads"))
        self.assertEqual(limits.attainable(result, 30), (100, "multiply-adds"))
        result.read_gbps = 10
        self.assertEqual(limits.attainable(result, 30), (40, "reads"))

    def test_reads_have_a_limit_at_each_length(self):
        document = data.check_run(run())
        document.results = curve("a", {512: 100, 1024: 200, 2048: 400})
        family = find.families(document)[0]._replace(power=1)
        (_, limit, _), = growth.roofs(document, family)
        self.assertEqual(limit, {512: 20.0, 1024: 20.0, 2048: 20.0})
        for result in document.results:
            result.read_gbps = 1e5 / result.shape.n
        (_, limit, _), = growth.roofs(document, family)
        self.assertEqual(limit[2048], 1e5 / 2048)

    def test_more_than_a_limit_is_no_record(self):
        made = run()
        made["results"][2] |= {"peak_gflops": 150.0}      # blocked_avx512, 200 GFLOP/s
        for result in made["results"][:-1]:     # all but the void one
            result["bytes"] = result["flops"] / 100
        chart = limits.roofline_chart(data.check_run(made))
        self.assertIn("80.0 % of the multiply-adds of avx512", chart.finding)
        self.assertIn("1 of 13 results seem to exceed their limit and are invalid", chart.finding)
        self.assertEqual(sum("invalid" in row[-1] for row in chart.rows), 1)

    def test_drift_is_common_and_leaves_the_ratio_alone(self):
        document = data.check_run(run())
        document.results = curve("a", {512: 100}, 0) + curve("b", {512: 200}, 0)
        for result in document.results:
            result.samples = [s * (1.1 if i == 3 else 1) for i, s in enumerate(result.samples)]
        group, = find.round_groups(document)
        self.assertAlmostEqual(group.drift[3], math.log(1.1))
        self.assertAlmostEqual(abs(group.paired).max(), 0)

    def test_disturbed_rounds_that_were_kept_count_once(self):
        document = data.check_run(evidence(run()))
        group = find.round_groups(document)[0]
        self.assertEqual(trust.rounds_tried(group), 21)
        group.dirty_rounds = [{"at_s": group.at_s[3], "cause": "steal"}]
        self.assertEqual(trust.rounds_tried(group), 20)

    def test_a_half_round_costs_one_round_only(self):
        whole = find.round_groups(data.check_run(evidence(run())))[0]
        made = evidence(run())
        for result in filter(lambda result: result["verified"], made["results"][1:]):
            result["sample_rounds"] = list(range(len(result["samples"]) - 1))
            for name in ("samples", "issue_per_clock", "at_s", "sham_samples"):
                result[name].pop()
            for values in result["anchors"].values():
                values.pop()
        half = find.round_groups(data.check_run(made))[0]
        self.assertEqual(len(half.results), len(whole.results))
        for name in ("drift", "paired", "issue", "at_s", "sham"):
            self.assertEqual(len(getattr(half, name)), len(getattr(whole, name)) - 1, name)

    def test_a_clock_told_once_serves_all_of_a_round(self):
        made = evidence(run())
        for result in made["results"][1:]:
            del result["anchors"]
        first, second, third, other = data.check_run(made).results[:4]
        self.assertEqual(find.clock_ghz(second), find.clock_ghz(first))
        self.assertIsNone(find.clock_ghz(other))

    def test_anchors_are_compared_with_their_like(self):
        document = data.check_run(evidence(run()))
        for values in trust.anchor_drift(find.round_groups(document), "fma_gflops"):
            self.assertAlmostEqual(abs(values).max(), 0)


if __name__ == "__main__":
    unittest.main()
