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

/* Where the exponent of this cell is, or -1. */
static int find(const alone_fit *fit, const alone_cell *cell)
{
    for (int e = 0; e < fit->count; e++)
        if (is_like(cell, fit->exponents[e].isa, fit->exponents[e].threads)) return e;
    return -1;
}

/* The exponent of all cells like `first`, which is the first of its kind. */
static void fit_like(const alone_cell *first, const alone_cell *end, point *points, double *slopes,
                     alone_exponent *to)
{
    *to = (alone_exponent){.isa = first->isa, .threads = first->threads};
    for (const alone_cell *cell = first; cell < end; cell++)
        if (is_like(cell, first->isa, first->threads) && is_known(cell))
            to->pairs += slopes_of(cell, points, slopes + to->pairs);
    if (to->pairs) to->fit = stats_of(slopes, to->pairs);
}

/* The issue rate of cores that nobody shares: nearly the most that was seen. `values`: room. */
static double most_issue(const alone_cell *cells, int count, double *values)
{
    int filled = 0;
    for (int c = 0; c < count; c++)
        for (int i = 0; i < cells[c].count; i++) values[filled++] = cells[c].issue[i];
    return filled ? stats_quantile(values, filled, 0.99) : 0;
}

bool alone_fit_cells(const alone_cell *cells, int count, alone_fit *fit)
{
    size_t most = 1;
    *fit = (alone_fit){0};
    for (int c = 0; c < count; c++) most += (size_t)cells[c].count;
    point *points = malloc(most * sizeof *points);
    double *values = malloc(most * sizeof *values);
    bool ready = points && values;
    if (ready) fit->issue = most_issue(cells, count, values);
    for (int c = 0; ready && c < count && fit->count < ALONE_EXPONENTS; c++)
        if (find(fit, &cells[c]) < 0)
            fit_like(&cells[c], cells + count, points, values, &fit->exponents[fit->count++]);
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
    int at = find(fit, cell);
    double exponent =
        at >= 0 && alone_is_used(&fit->exponents[at]) ? fit->exponents[at].fit.median : 0;
    double *cycles = is_known(cell) ? malloc((size_t)cell->count * sizeof *cycles) : NULL;
    if (!cycles) return (stats_median){0};
    for (int i = 0; i < cell->count; i++)
        cycles[i] = cell->ns[i] * cell->clock_ghz[i] * pow(fit->issue / cell->issue[i], exponent);
    stats_median m = stats_of(cycles, cell->count);
    free(cycles);
    return m;
}
