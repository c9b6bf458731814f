/* result_alone.c: a run's samples, side by side with the clock and the issue rate around them. */
#include "bench/result_alone.h"

#include <math.h>
#include <stdlib.h>

static const double hardly_shared = 0.9; /* of the issue rate of a core that nobody shares */

typedef struct arm_samples {
    double ns[MEASURE_TRIES], issue[MEASURE_TRIES], clock_ghz[MEASURE_TRIES];
} arm_samples;

static alone_cell cell_of(const measure_group *g, const measure_arm *arm, arm_samples *s)
{
    int count = measure_samples(g, arm->ns, s->ns), filled = 0;
    for (int r = 0; r < g->tried; r++) {
        if (!measure_counts(g, r) || isnan(arm->ns[r])) continue;
        s->issue[filled] = arm->around[r].issue;
        s->clock_ghz[filled++] = arm->around[r].clock_ghz;
    }
    return (alone_cell){arm->kernel->isa, g->threads, count, s->ns, s->issue, s->clock_ghz};
}

/* The samples of all timed arms; returns how many arms, -1 if memory is short. */
static int take_arms(const result_run *run, alone_cell **cells, arm_samples **samples)
{
    size_t most = 1;
    for (int i = 0; i < run->group_count; i++) most += (size_t)run->groups[i].arm_count;
    *cells = malloc(most * sizeof **cells);
    *samples = malloc(most * sizeof **samples);
    if (!*cells || !*samples) return -1;
    int count = 0;
    for (int i = 0; i < run->group_count; i++) {
        const measure_group *g = &run->groups[i];
        for (int a = 0; a < g->arm_count; a++)
            if (result_is_timed(g, &g->arms[a])) {
                (*cells)[count] = cell_of(g, &g->arms[a], &(*samples)[count]);
                count++;
            }
    }
    return count;
}

alone_fit result_fit(const result_run *run)
{
    alone_fit fit = {0};
    alone_cell *cells;
    arm_samples *samples;
    int count = take_arms(run, &cells, &samples);
    if (count >= 0 && !alone_fit_cells(cells, count, &fit)) fit = (alone_fit){0};
    free(cells);
    free(samples);
    return fit;
}

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

/* To the fourth decimal: the probe knows no more. */
static json_t *short_numbers(const double *values, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, number(round(1e4 * values[i]) / 1e4));
    return list;
}

void result_add_alone(json_t *entry, const alone_fit *fit, const measure_group *g,
                      const measure_arm *arm)
{
    arm_samples samples;
    alone_cell cell = cell_of(g, arm, &samples);
    stats_median m = alone_cycles(fit, &cell);
    bool known = m.median > 0;
    if (known) {
        json_object_set_new(entry, "issue_per_clock", short_numbers(cell.issue, cell.count));
        json_object_set_new(entry, "clocks_ghz", short_numbers(cell.clock_ghz, cell.count));
    }
    json_object_set_new(entry, "alone_cycles", number(known ? m.median : NAN));
    json_object_set_new(entry, "alone_low", number(known ? m.low : NAN));
    json_object_set_new(entry, "alone_high", number(known ? m.high : NAN));
}

/* How many of this arm's samples were left less than they could have; adds to *count all. */
static int shared_samples(const measure_group *g, const measure_arm *arm, const alone_fit *fit,
                          int *count)
{
    const alone_exponent *e = alone_find(fit, arm->kernel->isa, g->threads);
    int shared = 0;
    if (!e || !result_is_timed(g, arm)) return 0;
    for (int r = 0; r < g->tried; r++) {
        if (!measure_counts(g, r) || isnan(arm->ns[r]) || !(arm->around[r].issue > 0)) continue;
        ++*count;
        shared += arm->around[r].issue < hardly_shared * e->issue;
    }
    return shared;
}

double result_shared(const result_run *run, const alone_fit *fit)
{
    int count = 0, shared = 0;
    for (int i = 0; i < run->group_count; i++) {
        const measure_group *g = &run->groups[i];
        for (int a = 0; a < g->arm_count; a++)
            shared += shared_samples(g, &g->arms[a], fit, &count);
    }
    return count ? (double)shared / count : NAN;
}

static json_t *exponent_json(const alone_exponent *e)
{
    bool fitted = e->pairs > 0;
    return json_pack("{s:s, s:i, s:o, s:o, s:o, s:o, s:i, s:b}", "isa", e->isa, "threads",
                     e->threads, "issue_per_clock", number(e->issue), "exponent",
                     number(fitted ? e->fit.median : NAN), "low", number(fitted ? e->fit.low : NAN),
                     "high", number(fitted ? e->fit.high : NAN), "pairs", e->pairs, "used",
                     alone_is_used(e));
}

json_t *result_neighbours(const result_run *run, const alone_fit *fit)
{
    json_t *exponents = json_array();
    for (int e = 0; e < fit->count; e++)
        json_array_append_new(exponents, exponent_json(&fit->exponents[e]));
    return json_pack("{s:o, s:o}", "shared", number(result_shared(run, fit)), "exponents",
                     exponents);
}
