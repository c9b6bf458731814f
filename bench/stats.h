/* stats.h: medians, exact intervals and tests; nothing here assumes a distribution. */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stdbool.h>

enum { STATS_MOST_LAUNCHES = 64, STATS_MOST_PAIRS = STATS_MOST_LAUNCHES * STATS_MOST_LAUNCHES };

/* Median with the order-statistic interval of at least 95 % (ranks from the binomial distribution
 * with p = 1/2). Below 6 values no such interval exists: low and high are infinite and `bounded` is
 * false. */
typedef struct stats_median {
    double median, low, high, least;
    bool bounded;
} stats_median;

/* Sorts `values` in place; count >= 1. */
stats_median stats_of(double *values, int count);

/* The rank r (from 1) such that [r, count + 1 - r] covers the median with at least 95 %; 0 if none
 * does. */
int stats_rank(int count);

/* The value below which `share` of the values lie (nearest rank). Sorts in place; count >= 1. */
double stats_quantile(double *values, int count, double share);

/* Two sides measured in `blocks` blocks, each with `fresh` launches of one side and `base` of the
 * other in random order. {n, 1, 1} is the sign test, {n, 1, 2} has a control twice in every block,
 * {1, a, b} is two unpaired samples (Mann and Whitney). */
typedef struct stats_design {
    int blocks, fresh, base;
} stats_design;

/* The law of U if nothing differs, U being the number of pairs (fresh, base) of one block in which
 * fresh is the larger, over all blocks: tail[u] = P(U >= u) for u from 0 to pairs + 1. */
typedef struct stats_null {
    stats_design design;
    int pairs;
    double tail[STATS_MOST_PAIRS + 2];
} stats_null;

/* Fills `null`; false if the design has more than STATS_MOST_PAIRS pairs, or memory is short. */
bool stats_null_of(stats_design design, stats_null *null);

/* By how much fresh exceeds base, from all differences fresh - base within blocks: their median
 * and the interval that holds the shift with at least 95 %. Sorts `differences` (null->pairs). */
stats_median stats_shift(const stats_null *null, double *differences);

/* P(as many differences above `limit`, or more) if the shift is `limit`: what a claim "shifted by
 * more than the limit" must survive. Values equal to the limit count against the claim. */
double stats_above(const stats_null *null, const double *differences, double limit);

/* The same below -limit. */
double stats_below(const stats_null *null, const double *differences, double limit);

#endif
