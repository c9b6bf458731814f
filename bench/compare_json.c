/* compare_json.c: a comparison as JSON, with the launches that its ratios are of. */
#include <math.h>

#include "bench/compare.h"

static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *launches_json(const double *launches, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(list, json_real(launches[i]));
    return list;
}

/* The launches of each side: times, and what ratios are of if that is something else. */
static void add_launches(const comparison *c, const compare_cell *cell, json_t *entry)
{
    static const char *const times[] = {"base_samples", "new_samples", "sham_samples"};
    static const char *const cycles[] = {"base_cycles", "new_cycles", "sham_cycles"};
    for (int side = 0; side < COMPARE_SIDES; side++) {
        int count = cell->count[side];
        json_object_set_new(entry, times[side], launches_json(cell->ns[side], count));
        if (c->alone)
            json_object_set_new(entry, cycles[side], launches_json(cell->cycles[side], count));
    }
}

static json_t *cell_json(const comparison *c, const compare_cell *cell)
{
    bool tested = c->kind != COMPARE_FEW_LAUNCHES;
    json_t *entry = json_pack(
        "{s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "kernel", cell->kernel,
        "problem", cell->problem, "threads", cell->threads, "base_ns",
        number(cell->median_ns[COMPARE_BASE]), "new_ns", number(cell->median_ns[COMPARE_NEW]),
        "ratio", number(exp(cell->ratio.median)), "low", number(exp(cell->ratio.low)), "high",
        number(exp(cell->ratio.high)), "p", tested ? number(cell->p) : json_null(),
        "smallest_effect", number(expm1(cell->smallest)), "verdict", verdict_names[cell->verdict]);
    add_launches(c, cell, entry);
    return entry;
}

static json_t *cells_json(const comparison *c, json_t **left_out)
{
    json_t *list = json_array();
    *left_out = json_array();
    for (int i = 0; i < c->compared; i++) json_array_append_new(list, cell_json(c, &c->cells[i]));
    for (int i = c->compared; i < c->cell_count; i++) {
        const compare_cell *cell = &c->cells[i];
        json_array_append_new(*left_out, json_pack("{s:s, s:s, s:i, s:s}", "kernel", cell->kernel,
                                                   "problem", cell->problem, "threads",
                                                   cell->threads, "reason", cell->left_out));
    }
    return list;
}

static json_t *gate_json(const comparison *c)
{
    static const char *const words[] = {"clear", "slower", "undecided", "slower once"};
    json_t *kernels = json_array();
    if (c->gate < 0) return json_decref(kernels), json_null();
    for (int k = 0; k < c->kernel_count; k++)
        json_array_append_new(kernels, json_pack("{s:s, s:o, s:s}", "kernel", c->kernels[k].name,
                                                 "p", number(c->kernels[k].p), "answer",
                                                 words[c->kernels[k].answer]));
    return json_pack("{s:f, s:i, s:o}", "percent", c->gate, "exit", compare_exit(c), "kernels",
                     kernels);
}

json_t *compare_json(const comparison *c)
{
    static const char *const kinds[] = {"cycles", "launches in turns", "launches in a row",
                                        "few launches"};
    const json_t *base = c->input.runs[COMPARE_BASE][0], *fresh = c->input.runs[COMPARE_NEW][0];
    json_t *left_out, *cells = cells_json(c, &left_out);
    json_t *second = c->second ? compare_json(c->second) : json_null();
    return json_pack(
        "{s:i, s:s, s:s, s:s, s:s, s:i, s:i, s:O?, s:O?, s:O?, s:o, s:o, s:o, s:o, s:s, s:o, s:o, "
        "s:O, s:o, s:o, s:o}",
        "schema", 1, "kind", "comparison", "unit", "launch", "design", kinds[c->kind], "ratios_of",
        c->alone ? "clock cycles alone" : "times", "base_launches", c->input.count[COMPARE_BASE],
        "new_launches", c->input.count[COMPARE_NEW], "base", json_object_get(base, "tool"), "new",
        json_object_get(fresh, "tool"), "machine", json_object_get(fresh, "machine"), "noise_floor",
        number(expm1(c->floor)), "band", number(expm1(c->band)), "smallest_effect",
        number(expm1(c->smallest)), "median_difference", number(expm1(c->apart)), "verdict",
        compare_verdict(c), "undecided_why", c->undecided ? json_string(c->undecided) : json_null(),
        "gate", gate_json(c), "notes", c->notes, "cells", cells, "left_out", left_out, "second_set",
        second);
}
