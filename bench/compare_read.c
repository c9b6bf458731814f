/* compare_read.c: result files -> the launches of every cell, and what else differs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/compare.h"
#include "bench/export.h"
#include "bench/member.h"

static const char *class_of(const json_t *run)
{
    return member_text(json_object_get(run, "machine"), "class");
}

/* ---- may they be compared? ------------------------------------------------------------ */

/* NULL, or the reason, which may be in `why`. */
static const char *unusable(const json_t *run, char *why, size_t size)
{
    if (!export_check(run, why, size)) return why;
    return class_of(run)[0] ? NULL : "it names no machine class";
}

/* The first words in which two machine classes differ, of the sides called so. */
static void first_difference(const char *a, const char *a_side, const char *b, const char *b_side,
                             char *why, size_t size)
{
    size_t word = 0;
    for (size_t i = 0; a[i] && a[i] == b[i]; i++)
        if (a[i] == ' ') word = i + 1;
    snprintf(
        why, size,
        "the machines differ: \"%.*s\" in %.60s, \"%.*s\" in %.60s (of the class \"%.40s...\"); "
        "commits are compared on one machine only; compare --machines compares CPUs by ratios",
        (int)strcspn(a + word, " "), a + word, a_side, (int)strcspn(b + word, " "), b + word,
        b_side, a);
}

const char *compare_refuses(const compare_input *input, const char *const names[2], char *why,
                            size_t size)
{
    const char *class = NULL, *class_side = NULL;
    for (int side = 0; side <= COMPARE_NEW; side++)
        for (int i = 0; i < input->count[side]; i++) {
            const json_t *run = input->runs[side][i];
            char said[256];
            const char *wrong = unusable(run, said, sizeof said), *other = class_of(run);
            if (wrong) {
                snprintf(why, size, "%.80s is no result file of attest: %s", names[side], wrong);
                return why;
            }
            if (!class) class = other, class_side = names[side];
            if (strcmp(class, other) == 0) continue;
            first_difference(class, class_side, other, names[side], why, size);
            return why;
        }
    return NULL;
}

/* ---- cells ---------------------------------------------------------------------------- */

static bool is_cell(const compare_cell *cell, const json_t *result)
{
    return cell->threads == json_integer_value(json_object_get(result, "threads")) &&
           strcmp(cell->kernel, member_text(result, "kernel")) == 0 &&
           strcmp(cell->problem, member_text(result, "problem")) == 0;
}

static bool new_cell(comparison *c, const json_t *result)
{
    compare_cell *more = realloc(c->cells, ((size_t)c->cell_count + 1) * sizeof *more);
    if (!more) return false;
    c->cells = more;
    compare_cell *cell = &c->cells[c->cell_count];
    *cell = (compare_cell){.kernel = member_text(result, "kernel"),
                           .problem = member_text(result, "problem"),
                           .threads = (int)json_integer_value(json_object_get(result, "threads")),
                           .sham = NAN,
                           .sham_p = 1,
                           .p = 1,
                           .gate_p = 1,
                           .ratio = {.median = NAN, .low = -INFINITY, .high = INFINITY},
                           .smallest = INFINITY};
    c->cell_count++;
    for (int side = 0; side < COMPARE_SIDES; side++) {
        int count = c->input.count[side];
        cell->ns[side] = malloc(((size_t)count + 1) * sizeof(double));
        cell->cycles[side] = malloc(((size_t)count + 1) * sizeof(double));
        if (!cell->ns[side] || !cell->cycles[side]) return false;
        for (int i = 0; i < count; i++) cell->ns[side][i] = cell->cycles[side][i] = NAN;
        cell->least_ns[side] = INFINITY, cell->most_ns[side] = 0;
    }
    return true;
}

/* Where the cell is, starting behind the last one found: files keep their order. */
static compare_cell *find_cell(comparison *c, const json_t *result, int *last)
{
    for (int i = 1; i <= c->cell_count; i++) {
        int at = (*last + i) % c->cell_count;
        if (!is_cell(&c->cells[at], result)) continue;
        *last = at;
        return &c->cells[at];
    }
    *last = c->cell_count;
    return new_cell(c, result) ? &c->cells[*last] : NULL;
}

/* A launch's median in times and, where they are known, in clock cycles; and the ends of its
 * interval in times, infinitely far without one. */
static void add_launch(compare_cell *cell, compare_side side, int i, const json_t *result,
                       double cycles)
{
    if (!json_is_true(json_object_get(result, "verified"))) {
        const char *reason = member_text(result, "void_reason");
        cell->void_reason[side] = reason[0] ? reason : "not verified";
        return;
    }
    double low = member_number(result, "ci_low_ns"), high = member_number(result, "ci_high_ns");
    cell->ns[side][i] = member_number(result, "median_ns");
    cell->cycles[side][i] = cycles;
    cell->least_ns[side] = fmin(cell->least_ns[side], isnan(low) ? 0 : low);
    cell->most_ns[side] = fmax(cell->most_ns[side], isnan(high) ? INFINITY : high);
}

/* Keeps the indices at which all of `sides` have a value; returns how many. */
static int keep_complete(double *const *ns, int sides, int count)
{
    int kept = 0;
    for (int i = 0; i < count; i++) {
        double all = 0;
        for (int side = 0; side < sides; side++) all += ns[side][i];
        if (isnan(all)) continue;
        for (int side = 0; side < sides; side++) ns[side][kept] = ns[side][i];
        kept++;
    }
    return kept;
}

static void close_ranks(const comparison *c, compare_cell *cell)
{
    bool cycles = c->kind == COMPARE_CYCLES;
    int complete = cycles ? keep_complete(cell->ns, COMPARE_SIDES, c->input.count[0]) : 0;
    if (cycles) keep_complete(cell->cycles, COMPARE_SIDES, c->input.count[0]);
    for (int side = 0; side < COMPARE_SIDES; side++) {
        int count = c->input.count[side];
        cell->count[side] = cycles ? complete : keep_complete(&cell->ns[side], 1, count);
        if (!cycles) keep_complete(&cell->cycles[side], 1, count);
    }
}

/* Says in cell->left_out why the cell is not compared, if so. */
static void leave_out(const comparison *c, compare_cell *cell, const bool *present)
{
    static const char *const names[] = {"base", "new", "base"};
    char *why = cell->left_out;
    size_t size = sizeof cell->left_out;
    int fewer = cell->count[COMPARE_BASE] < cell->count[COMPARE_NEW] ? cell->count[COMPARE_BASE]
                                                                     : cell->count[COMPARE_NEW];
    int least = c->kind == COMPARE_FEW_LAUNCHES ? 1 : COMPARE_LEAST_LAUNCHES;
    for (int side = COMPARE_SIDES - 1; side >= 0; side--)
        if (cell->void_reason[side])
            snprintf(why, size, "void in %s: %s", names[side], cell->void_reason[side]);
    if (!present[COMPARE_BASE] || !present[COMPARE_NEW])
        snprintf(why, size, "only in %s", names[!present[COMPARE_BASE]]);
    else if (!why[0] && fewer < least)
        snprintf(why, size, "measured in %d launches, and %d are needed", fewer, least);
    cell->open = why[0] && present[COMPARE_BASE] && present[COMPARE_NEW];
}

static void close_cell(const comparison *c, compare_cell *cell)
{
    bool present[COMPARE_SIDES];
    for (int side = 0; side < COMPARE_SIDES; side++) {
        present[side] = cell->void_reason[side] != NULL;
        for (int i = 0; i < c->input.count[side]; i++)
            present[side] = present[side] || !isnan(cell->ns[side][i]);
    }
    close_ranks(c, cell);
    leave_out(c, cell, present);
}

/* Brings the cells that are compared to the front, each part in its order. */
static bool compared_first(comparison *c)
{
    compare_cell *cells = malloc(((size_t)c->cell_count + 1) * sizeof *cells);
    if (!cells) return false;
    int filled = 0;
    for (int left_out = 0; left_out <= 1; left_out++) {
        for (int i = 0; i < c->cell_count; i++)
            if ((c->cells[i].left_out[0] != '\0') == left_out) cells[filled++] = c->cells[i];
        if (!left_out) c->compared = filled;
    }
    free(c->cells);
    c->cells = cells;
    return true;
}

static bool add_launches(comparison *c, const compare_samples *samples)
{
    size_t r;
    json_t *result;
    const alone_cell *sampled = samples->cells;
    int last = -1;
    for (int side = 0; side < COMPARE_SIDES; side++)
        for (int i = 0; i < c->input.count[side]; i++)
            json_array_foreach (json_object_get(c->input.runs[side][i], "results"), r, result) {
                compare_cell *cell = find_cell(c, result, &last);
                if (!cell) return false;
                add_launch(cell, side, i, result,
                           c->counted ? alone_cycles(&samples->fit, sampled).median : NAN);
                sampled++;
            }
    return true;
}

bool compare_collect(comparison *c)
{
    compare_samples samples;
    bool taken = compare_take_samples(&c->input, &samples);
    c->counted = taken && samples.complete;
    c->alone = c->counted && (c->kind == COMPARE_CYCLES || c->kind == COMPARE_LAUNCHES);
    taken = taken && add_launches(c, &samples);
    compare_free_samples(&samples);
    for (int i = 0; taken && i < c->cell_count; i++) close_cell(c, &c->cells[i]);
    return taken && compared_first(c);
}

/* ---- when, and in what order? --------------------------------------------------------- */

typedef struct moment {
    const char *date;
    compare_side side;
} moment;

static int earlier(const void *a, const void *b)
{
    return strcmp(((const moment *)a)->date, ((const moment *)b)->date);
}

/* Did the sides take turns, at least once for two launches of the side that has fewer? */
static bool in_turns(const compare_input *input, int fewer)
{
    moment moments[2 * STATS_MOST_LAUNCHES];
    int count = 0, turns = 0;
    for (compare_side side = COMPARE_BASE; side <= COMPARE_NEW; side++)
        for (int i = 0; i < input->count[side]; i++)
            moments[count++] = (moment){member_text(input->runs[side][i], "date"), side};
    qsort(moments, (size_t)count, sizeof *moments, earlier);
    for (int i = 1; i < count; i++) turns += moments[i].side != moments[i - 1].side;
    return 2 * turns >= fewer;
}

compare_kind compare_kind_of(const compare_input *input)
{
    int base = input->count[COMPARE_BASE], fresh = input->count[COMPARE_NEW];
    int fewer = base < fresh ? base : fresh;
    if (input->count[COMPARE_SHAM]) return COMPARE_CYCLES;
    if (fewer < COMPARE_LEAST_LAUNCHES) return COMPARE_FEW_LAUNCHES;
    return in_turns(input, fewer) ? COMPARE_LAUNCHES : COMPARE_IN_A_ROW;
}

/* ---- what else differs? --------------------------------------------------------------- */

static void note(json_t *notes, const char *what, const char *base, const char *fresh)
{
    if (strcmp(base, fresh) != 0)
        json_array_append_new(
            notes, json_sprintf("%s: base \"%.120s\", new \"%.120s\"", what, base, fresh));
}

static void note_mixed(json_t *notes, const compare_input *input, compare_side side)
{
    const char *first = member_text(json_object_get(input->runs[side][0], "tool"), "commit");
    for (int i = 1; i < input->count[side]; i++) {
        const char *other = member_text(json_object_get(input->runs[side][i], "tool"), "commit");
        if (strcmp(first, other) == 0) continue;
        json_array_append_new(notes,
                              json_sprintf("the files of %s come from several commits: %.40s, "
                                           "%.40s",
                                           side ? "new" : "base", first, other));
        return;
    }
}

/* Cells of equal names whose work differs: random masks and lengths come from the seed. */
static int different_work(const json_t *base, const json_t *fresh)
{
    size_t i, j;
    json_t *a, *b;
    int count = 0;
    json_array_foreach (json_object_get(base, "results"), i, a)
        json_array_foreach (json_object_get(fresh, "results"), j, b)
            if (strcmp(member_text(a, "kernel"), member_text(b, "kernel")) == 0 &&
                strcmp(member_text(a, "problem"), member_text(b, "problem")) == 0 &&
                member_number(a, "threads") == member_number(b, "threads"))
                count += member_number(a, "flops") != member_number(b, "flops");
    return count;
}

json_t *compare_notes(const compare_input *input)
{
    json_t *notes = json_array();
    const json_t *base = input->runs[COMPARE_BASE][0], *fresh = input->runs[COMPARE_NEW][0];
    const json_t *base_tool = json_object_get(base, "tool"),
                 *fresh_tool = json_object_get(fresh, "tool");
    char seeds[2][32];
    note(notes, "compilers differ", member_text(base_tool, "compiler"),
         member_text(fresh_tool, "compiler"));
    note(notes, "flags differ", member_text(base_tool, "flags"), member_text(fresh_tool, "flags"));
    snprintf(seeds[0], sizeof *seeds, "%.0f", member_number(base, "seed"));
    snprintf(seeds[1], sizeof *seeds, "%.0f", member_number(fresh, "seed"));
    note(notes, "seeds differ, and with them the inputs", seeds[0], seeds[1]);
    note_mixed(notes, input, COMPARE_BASE);
    note_mixed(notes, input, COMPARE_NEW);
    int different = different_work(base, fresh);
    if (different)
        json_array_append_new(notes,
                              json_sprintf("the inputs differ: %d cells have other counts of "
                                           "multiply-adds",
                                           different));
    return notes;
}
