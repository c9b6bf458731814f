/* alone.c: slopes within cells, and what the samples would have been. */
#include "bench/alone.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double least_step = 0.1; /* between the rates of a pair, as a logarithm */

typedef struct point {
    double issue, cycles; /* logarithms */
} point;

static bool is_known(const alone_cell *cell)
{
    for (int i = 0; i < cell->count; i++)
        if (!(cell->ns[i] > 0 && cell->issue[i] > 0 && cell->clock_ghz[i] > 0)) return false;
    return cell->count > 0;
}

static int by_issue(const void *a, const void *b)
{
    double x = ((const point *)a)->issue, y = ((const point *)b)->issue;
    return (x > y) - (x < y);
}

/* The slopes of a cell's pairs into `to` (room for count / 2); returns how many. `points`: room for
 * count. */
static int slopes_of(const alone_cell *cell, point *points, double *to)
{
    int half = cell->count / 2, apart = cell->count - half, found = 0;
    for (int i = 0; i < cell->count; i++)
        points[i] = (point){log(cell->issue[i]), log(cell->ns[i] * cell->clock_ghz[i])};
    qsort(points, (size_t)cell->count, sizeof *points, by_issue);
    for (int i = 0; i < half; i++) {
        double step = points[i + apart].issue - points[i].issue;
        if (step >= least_step) to[found++] = (points[i + apart].cycles - points[i].cycles) / step;
    }
    return found;
}

static bool is_like(const alone_cell *cell, const char *isa, int threads)
{
    return cell->threads == threads && strcmp(cell->isa, isa) == 0;
}

const alone_exponent *alone_find(const alone_fit *fit, const char *isa, int threads)
{
    for (int e = 0; e < fit->count; e++)
        if (fit->exponents[e].threads == threads && strcmp(fit->exponents[e].isa, isa) == 0)
            return &fit->exponents[e];
    return NULL;
}

/* Nearly the most that cells of this number of threads have seen; other numbers may have to share
 * their own cores. */
static double most_issue(const alone_cell *cells, int count, int threads, double *values)
{
    int filled = 0;
    for (int c = 0; c < count; c++)
        for (int i = 0; cells[c].threads == threads && i < cells[c].count; i++)
            if (cells[c].issue[i] > 0) values[filled++] = cells[c].issue[i];
    return filled ? stats_quantile(values, filled, 0.99) : 0;
}

/* The exponent of all cells like cells[first]. `points`, `values`: room for all samples. */
static alone_exponent fit_like(const alone_cell *cells, int count, int first, point *points,
                               double *values)
{
    alone_exponent e = {.isa = cells[first].isa, .threads = cells[first].threads};
    e.issue = most_issue(cells, count, e.threads, values);
    for (int c = first; c < count; c++)
        if (is_like(&cells[c], e.isa, e.threads) && is_known(&cells[c]))
            e.pairs += slopes_of(&cells[c], points, values + e.pairs);
    if (e.pairs) e.fit = stats_of(values, e.pairs);
    return e;
}

bool alone_fit_cells(const alone_cell *cells, int count, alone_fit *fit)
{
    size_t most = 1;
    *fit = (alone_fit){0};
    for (int c = 0; c < count; c++) most += (size_t)cells[c].count;
    point *points = malloc(most * sizeof *points);
    double *values = malloc(most * sizeof *values);
    bool ready = points && values;
    for (int c = 0; ready && c < count && fit->count < ALONE_EXPONENTS; c++)
        if (!alone_find(fit, cells[c].isa, cells[c].threads))
            fit->exponents[fit->count++] = fit_like(cells, count, c, points, values);
    free(points);
    free(values);
    return ready;
}

bool alone_is_used(const alone_exponent *e)
{
    return e->pairs > 0 && e->fit.bounded && e->fit.high < 0;
}

stats_median alone_cycles(const alone_fit *fit, const alone_cell *cell)
{
    const alone_exponent *e = alone_find(fit, cell->isa, cell->threads);
    double exponent = e && alone_is_used(e) ? e->fit.median : 0;
    double *cycles = e && is_known(cell) ? malloc((size_t)cell->count * sizeof *cycles) : NULL;
    if (!cycles) return (stats_median){0};
    for (int i = 0; i < cell->count; i++)
        cycles[i] = cell->ns[i] * cell->clock_ghz[i] * pow(e->issue / cell->issue[i], exponent);
    stats_median m = stats_of(cycles, cell->count);
    free(cycles);
    return m;
}
