/* stats.c: order statistics.
 *
 * For independent values the number below the median is binomial(n, 1/2) whatever their
 * distribution, so [x_(r), x_(n+1-r)] misses the median with probability 2 P(B < r) (David and
 * Nagaraja 2003, section 7.1). */
#include "bench/stats.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int stats_rank(int count)
{
    double term = pow(0.5, count), below = 0; /* term: P(B = rank) */
    int rank = 0;
    while (rank < count && below + term <= 0.025) {
        below += term;
        term *= (double)(count - rank) / (rank + 1);
        rank++;
    }
    return rank;
}

stats_median stats_of(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    stats_median m = {.median = (values[(count - 1) / 2] + values[count / 2]) / 2,
                      .least = values[0]};
    int rank = stats_rank(count);
    m.bounded = rank > 0;
    m.low = m.bounded ? values[rank - 1] : -INFINITY;
    m.high = m.bounded ? values[count - rank] : INFINITY;
    return m;
}

double stats_quantile(double *values, int count, double share)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    int rank = (int)ceil(share * count);
    return values[rank < 1 ? 0 : rank > count ? count - 1 : rank - 1];
}
