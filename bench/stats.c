/* stats.c: order statistics, and shifts between launches that were measured in blocks.
 *
 * For independent values the number below the median is binomial(n, 1/2) whatever their
 * distribution, so [x_(r), x_(n+1-r)] misses the median with probability 2 P(B < r) (David and
 * Nagaraja 2003, section 7.1).
 *
 * Shifts: if nothing differs, all orders of the launches of a block are equally likely, so the
 * number U of pairs with fresh above base has a law without parameters: Mann and Whitney's (1947)
 * in each block, added over blocks (van Elteren 1960; Lehmann, Nonparametrics, 1975, section 3.3).
 * The shifts that this test does not reject form an interval between two order statistics of the
 * differences, and their median estimates it (Hodges and Lehmann 1963). Pairs within a block share
 * a launch and are not independent; the law of U knows that.
 *
 * Why not the sign of ln(fresh / geometric mean of two base launches): for skewed noise its median
 * is not 0 though nothing differs. Exponential noise has P(fresh above the mean) = (2/3)^2 = 0.44,
 * so that nine launches of nine lie below with 0.005, where the test says 0.002. */
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

/* ---- shifts --------------------------------------------------------------------------- */

/* One step of Mann and Whitney's recurrence, on the law of a fresh and b base values: the largest
 * of all is fresh with probability a / (a + b), and then lies above all b; otherwise it is a base
 * value, and adds nothing. `law` holds the law of (a - 1, b), `without` that of (a, b - 1). */
static void add_largest(double *law, const double *without, int a, int b)
{
    for (int u = a * b; u >= 0; u--) {
        double fresh = u >= b ? law[u - b] : 0, base = b ? without[u] : 0;
        law[u] = (a * fresh + b * base) / (a + b);
    }
}

/* P(U = u) of one block, u from 0 to fresh * base. */
static bool block_law(int fresh, int base, double *law)
{
    int size = fresh * base + 1;
    double *laws = calloc((size_t)(base + 1) * (size_t)size, sizeof *laws);
    if (!laws) return false;
    for (int b = 0; b <= base; b++) laws[b * size] = 1; /* no fresh value: U is 0 */
    for (int a = 1; a <= fresh; a++)
        for (int b = 0; b <= base; b++)
            add_largest(laws + b * size, b ? laws + (b - 1) * size : NULL, a, b);
    for (int u = 0; u < size; u++) law[u] = laws[base * size + u];
    free(laws);
    return true;
}

/* The law of the sum of `pairs` so far and one more block, in place. */
static void add_block(double *law, int pairs, const double *block, int block_pairs)
{
    for (int u = pairs + block_pairs; u >= 0; u--) {
        double sum = 0;
        for (int v = u > pairs ? u - pairs : 0; v <= block_pairs && v <= u; v++)
            sum += block[v] * law[u - v];
        law[u] = sum;
    }
}

bool stats_null_of(stats_design d, stats_null *null)
{
    double block[STATS_MOST_PAIRS + 1];
    int block_pairs = d.fresh * d.base;
    if (d.blocks < 1 || block_pairs < 1 || block_pairs > STATS_MOST_PAIRS / d.blocks) return false;
    if (!block_law(d.fresh, d.base, block)) return false;
    *null = (stats_null){.design = d, .tail[0] = 1};
    for (int i = 0; i < d.blocks; i++, null->pairs += block_pairs)
        add_block(null->tail, null->pairs, block, block_pairs);
    for (int u = null->pairs - 1; u >= 0; u--) null->tail[u] += null->tail[u + 1];
    return true;
}

/* P(U < rank) = P(U > pairs - rank), as the law is symmetric. */
static int shift_rank(const stats_null *null)
{
    int rank = 0;
    while (2 * (rank + 1) <= null->pairs && null->tail[null->pairs - rank] <= 0.025) rank++;
    return rank;
}

stats_median stats_shift(const stats_null *null, double *differences)
{
    int count = null->pairs, rank = shift_rank(null);
    qsort(differences, (size_t)count, sizeof *differences, ascending);
    return (stats_median){
        .median = (differences[(count - 1) / 2] + differences[count / 2]) / 2,
        .least = differences[0],
        .bounded = rank > 0,
        .low = rank ? differences[rank - 1] : -INFINITY,
        .high = rank ? differences[count - rank] : INFINITY,
    };
}

double stats_above(const stats_null *null, const double *differences, double limit)
{
    int above = 0;
    for (int i = 0; i < null->pairs; i++) above += differences[i] > limit;
    return null->tail[above];
}

double stats_below(const stats_null *null, const double *differences, double limit)
{
    int below = 0;
    for (int i = 0; i < null->pairs; i++) below += differences[i] < -limit;
    return null->tail[below];
}
