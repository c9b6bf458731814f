/* stats.h: medians and exact intervals; nothing here assumes a distribution. */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stdbool.h>

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

#endif
