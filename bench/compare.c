/* compare.c: launches of two builds -> a verdict for every cell, and a gate's answer for kernels.
 *
 * Base, new and sham (base once more) alternate in cycles. Of a cell the differences of ln cost
 * within cycles, new against both launches of base, give ratio, interval and p (stats.h), exact if
 * cycles are independent: the noise of a launch, its layout included, is in the interval already.
 *
 * The noise floor widens the band of "same" by what the interval cannot know: an error that all
 * cycles of a cell share (a neighbour in phase with them, a drift, an order that was not balanced
 * out). The sham's median over the cycles contains just that, on the scale of the ratio, which is a
 * median over as many: floor = 95th percentile over cells of |median ln(sham / base)|. The 95th
 * percentile of single launches would count the launches' noise a second time, sqrt(n) larger than
 * it is in the median: where launches scatter by 3 %, nothing below 8 % would ever be seen. With
 * independent cycles a band of 1 % alone holds sessions with any false verdict to 5 % (Benjamini
 * and Hochberg, nothing differing), and a floor can only raise it. Simulated (test_compare.c, five
 * kinds of noise, errors of 1 to 2 % that cycles share): at most 4 % of sessions are false with
 * this floor, up to 11 % if the sham's own interval is subtracted from it, up to 27 % without.
 *
 * Files of single launches: one launch can differ by 10 % from another of the same binary by memory
 * layout alone, so the band is 10 %; the same holds for many launches of one side after many of the
 * other, which share the hour (identical work differed by up to 16 % in sequence). */
#include "bench/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"

static const double least_band = 0x1.460d6ccca3677p-7;  /* 0.00995 = ln 1.01 */
static const double layout_band = 0x1.8663f793c46c7p-4; /* 0.0953 = ln 1.1 */
static const double most_dirty = 0.2; /* of the rounds; beyond it the host is busy */
static const double level = 0.05;

/* ---- one cell ------------------------------------------------------------------------- */

static double two_sided(const stats_null *null, const double *differences, double band)
{
    return fmin(
        1, 2 * fmin(stats_above(null, differences, band), stats_below(null, differences, band)));
}

static bool has_design(const stats_null *null, stats_design d)
{
    const stats_design *have = &null->design;
    return have->blocks == d.blocks && have->fresh == d.fresh && have->base == d.base;
}

/* Is `null` the law of this design, now? */
static bool prepare_null(stats_null *null, stats_design design)
{
    return has_design(null, design) || stats_null_of(design, null);
}

/* What ratios are of. */
static const double *costs(const comparison *c, const compare_cell *cell, compare_side side)
{
    return c->alone ? cell->cycles[side] : cell->ns[side];
}

/* ln(new / base) for every pair that belongs together; the design says which do. */
static stats_design pair_up(const comparison *c, const compare_cell *cell, double *differences)
{
    const double *base = costs(c, cell, COMPARE_BASE), *fresh = costs(c, cell, COMPARE_NEW);
    int bases = cell->count[COMPARE_BASE], news = cell->count[COMPARE_NEW], pairs = 0;
    if (c->kind == COMPARE_CYCLES) {
        for (int i = 0; i < news; i++) {
            differences[pairs++] = log(fresh[i] / base[i]);
            differences[pairs++] = log(fresh[i] / costs(c, cell, COMPARE_SHAM)[i]);
        }
        return (stats_design){news, 1, 2};
    }
    for (int i = 0; i < news; i++)
        for (int j = 0; j < bases; j++) differences[pairs++] = log(fresh[i] / base[j]);
    return (stats_design){1, news, bases};
}

/* One launch's interval speaks of its rounds only: from the slowest base to the fastest new, and
 * the other way. */
static void judge_envelope(compare_cell *cell)
{
    double low = log(cell->least_ns[COMPARE_NEW] / cell->most_ns[COMPARE_BASE]);
    double high = log(cell->most_ns[COMPARE_NEW] / cell->least_ns[COMPARE_BASE]);
    cell->ratio =
        (stats_median){.median = log(cell->median_ns[COMPARE_NEW] / cell->median_ns[COMPARE_BASE]),
                       .low = low,
                       .high = high,
                       .bounded = isfinite(low) && isfinite(high)};
}

static void judge_sham(comparison *c, compare_cell *cell, double *differences)
{
    int count = cell->count[COMPARE_SHAM];
    const double *sham = costs(c, cell, COMPARE_SHAM), *base = costs(c, cell, COMPARE_BASE);
    for (int i = 0; i < count; i++) differences[i] = log(sham[i] / base[i]);
    if (!prepare_null(&c->sham_null, (stats_design){count, 1, 1})) return;
    cell->sham = stats_shift(&c->sham_null, differences).median;
    cell->sham_p = two_sided(&c->sham_null, differences, least_band);
}

static void judge_ratio(comparison *c, compare_cell *cell, double *differences)
{
    stats_design design = pair_up(c, cell, differences);
    if (!prepare_null(&c->null, design)) return;
    cell->ratio = stats_shift(&c->null, differences);
    cell->p = two_sided(&c->null, differences, c->band);
    if (c->gate >= 0)
        cell->gate_p = stats_above(&c->null, differences, fmax(c->band, log1p(c->gate / 100)));
}

/* ---- all cells ------------------------------------------------------------------------ */

/* Floor and sham; says whether a build seems to differ from itself. */
static bool sham_is_flagged(comparison *c, double *values)
{
    bool flagged = false;
    double *adjusted = values + c->compared;
    for (int i = 0; i < c->compared; i++) values[i] = fabs(c->cells[i].sham);
    c->floor = stats_quantile(values, c->compared, 0.95);
    for (int i = 0; i < c->compared; i++) values[i] = c->cells[i].sham_p;
    verdict_benjamini_hochberg(values, c->compared, adjusted);
    for (int i = 0; i < c->compared; i++) flagged = flagged || adjusted[i] <= level;
    return flagged;
}

static void judge_cells(comparison *c, double *values, double *differences)
{
    double *adjusted = values + c->compared;
    for (int i = 0; i < c->compared; i++) {
        compare_cell *cell = &c->cells[i];
        if (c->kind == COMPARE_FEW_LAUNCHES) judge_envelope(cell);
        else judge_ratio(c, cell, differences);
        values[i] = cell->p;
    }
    verdict_benjamini_hochberg(values, c->compared, adjusted);
    for (int i = 0; i < c->compared; i++) {
        compare_cell *cell = &c->cells[i];
        const stats_median *r = &cell->ratio;
        cell->p = adjusted[i];
        cell->smallest = r->bounded ? c->band + (r->high - r->low) / 2 : INFINITY;
        cell->verdict = verdict_of(r->low, r->high, c->band);
        bool claim = cell->verdict == VERDICT_FASTER || cell->verdict == VERDICT_SLOWER;
        if (c->undecided || (claim && c->kind != COMPARE_FEW_LAUNCHES && !(cell->p <= level)))
            cell->verdict = VERDICT_UNDECIDED;
        values[i] = cell->smallest;
    }
    c->smallest = stats_quantile(values, c->compared, 0.5);
}

/* The median over cells of |ln of new over base|, both medians of launches. `values`: room. */
static double distance(const comparison *c, bool alone, double *values)
{
    double *side = values + c->compared;
    for (int i = 0; i < c->compared; i++) {
        double ln[2];
        const compare_cell *cell = &c->cells[i];
        for (int s = COMPARE_BASE; s <= COMPARE_NEW; s++) {
            size_t count = (size_t)cell->count[s];
            memcpy(side, alone ? cell->cycles[s] : cell->ns[s], count * sizeof *side);
            ln[s] = log(stats_of(side, cell->count[s]).median);
        }
        values[i] = fabs(ln[COMPARE_NEW] - ln[COMPARE_BASE]);
    }
    return stats_quantile(values, c->compared, 0.5);
}

static void take_medians(comparison *c, double *values)
{
    for (int i = 0; i < c->compared; i++)
        for (int side = 0; side < COMPARE_SIDES; side++) {
            compare_cell *cell = &c->cells[i];
            memcpy(values, cell->ns[side], (size_t)cell->count[side] * sizeof *values);
            if (cell->count[side])
                cell->median_ns[side] = stats_of(values, cell->count[side]).median;
        }
}

/* Over all launches, the share of rounds that were dropped as dirty. */
static double dirty_share(const compare_input *input)
{
    size_t r;
    json_t *result;
    double rounds = 0, dirty = 0;
    for (int side = 0; side < COMPARE_SIDES; side++)
        for (int i = 0; i < input->count[side]; i++)
            json_array_foreach (json_object_get(input->runs[side][i], "results"), r, result) {
                rounds += json_number_value(json_object_get(result, "rounds"));
                dirty += json_number_value(json_object_get(result, "dirty"));
            }
    return rounds + dirty > 0 ? dirty / (rounds + dirty) : 0;
}

/* Of few launches each must be sound by itself; of many, the scatter says what they are worth. */
static const char *why_undecided(const comparison *c)
{
    for (int side = 0; side <= COMPARE_NEW && c->kind == COMPARE_FEW_LAUNCHES; side++)
        for (int i = 0; i < c->input.count[side]; i++) {
            const json_t *found = json_object_get(c->input.runs[side][i], "verdict");
            if (!json_is_string(found) || strcmp(json_string_value(found), "valid") != 0)
                return side ? "a file of new is itself not valid"
                            : "a file of base is itself not valid";
        }
    if (!(dirty_share(&c->input) <= most_dirty)) return "more than 20 % of the rounds were dirty";
    return c->compared ? NULL : "no cell was measured on both sides";
}

static void judge_all(comparison *c, double *values, double *differences)
{
    bool sham = c->kind == COMPARE_CYCLES;
    c->band = sham || c->kind == COMPARE_LAUNCHES ? least_band : layout_band;
    c->undecided = why_undecided(c);
    if (!c->compared) return;
    take_medians(c, values);
    for (int i = 0; sham && i < c->compared; i++) judge_sham(c, &c->cells[i], differences);
    if (sham && sham_is_flagged(c, values) && !c->undecided)
        c->undecided = "base seems to differ from itself (the sham is flagged)";
    if (sham) c->band = fmax(c->band, c->floor);
    judge_cells(c, values, differences);
    c->apart = distance(c, false, values);
    if (c->counted) c->apart_alone = distance(c, true, values);
}

/* ---- the gate ------------------------------------------------------------------------- */

static compare_kernel *find_kernel(comparison *c, const char *name)
{
    for (int k = 0; k < c->kernel_count; k++)
        if (strcmp(c->kernels[k].name, name) == 0) return &c->kernels[k];
    c->kernels[c->kernel_count] = (compare_kernel){.name = name, .p = 1};
    return &c->kernels[c->kernel_count++];
}

/* The kernel's smallest p over its cells, times their number; and whether any cell leaves room for
 * a regression. Few launches give no p: there what exceeds band and gate counts as it is. */
static void ask_cell(comparison *c, const compare_cell *cell)
{
    double gate = log1p(c->gate / 100), limit = fmax(gate, c->band);
    bool in_doubt = c->undecided || cell->open || c->band > gate || !(cell->ratio.high <= gate);
    if (cell->left_out[0] && !cell->open) return;
    compare_kernel *kernel = find_kernel(c, cell->kernel);
    int cells = 0;
    for (int i = 0; i < c->compared; i++) cells += strcmp(c->cells[i].kernel, cell->kernel) == 0;
    double p = c->kind != COMPARE_FEW_LAUNCHES ? cell->gate_p * cells : cell->ratio.low <= limit;
    if (!cell->open && !c->undecided) kernel->p = fmin(kernel->p, p);
    if (in_doubt) kernel->answer = COMPARE_OPEN;
}

static bool ask_gate(comparison *c)
{
    c->kernels = malloc(((size_t)c->cell_count + 1) * sizeof *c->kernels);
    double *p = malloc((2 * (size_t)c->cell_count + 1) * sizeof *p);
    if (c->kernels && p) {
        for (int i = 0; i < c->cell_count; i++) ask_cell(c, &c->cells[i]);
        for (int k = 0; k < c->kernel_count; k++) p[k] = c->kernels[k].p;
        verdict_holm(p, c->kernel_count, p + c->cell_count);
        for (int k = 0; k < c->kernel_count; k++) {
            c->kernels[k].p = p[c->cell_count + k];
            if (c->kernels[k].p <= level) c->kernels[k].answer = COMPARE_REGRESSED;
        }
    }
    free(p);
    return c->kernels && p;
}

void compare_confirm(comparison *c, comparison *second)
{
    c->second = second;
    for (int k = 0; k < c->kernel_count; k++) {
        compare_kernel *kernel = &c->kernels[k];
        bool again = false;
        for (int i = 0; second && i < second->kernel_count; i++)
            again = again || (strcmp(second->kernels[i].name, kernel->name) == 0 &&
                              second->kernels[i].answer == COMPARE_REGRESSED);
        if (kernel->answer == COMPARE_REGRESSED && !again) kernel->answer = COMPARE_ONCE;
    }
}

/* ---- the whole ------------------------------------------------------------------------ */

comparison *compare_judge(compare_input input, double gate)
{
    comparison *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->input = input, c->gate = gate, c->floor = c->apart = c->apart_alone = NAN,
    c->smallest = INFINITY;
    c->kind = compare_kind_of(&input);
    c->launches = input.count[COMPARE_BASE] < input.count[COMPARE_NEW] ? input.count[COMPARE_BASE]
                                                                       : input.count[COMPARE_NEW];
    c->notes = compare_notes(&input);
    bool collected = compare_collect(c);
    size_t most = 2 * (size_t)c->cell_count + STATS_MOST_PAIRS + 1;
    double *values = malloc(most * sizeof *values);
    double *differences = malloc((STATS_MOST_PAIRS + 1) * sizeof *differences);
    bool ready = collected && values && differences;
    if (ready) judge_all(c, values, differences);
    free(values);
    free(differences);
    if (ready && (gate < 0 || ask_gate(c))) return c;
    compare_free(c);
    return NULL;
}

void compare_free(comparison *c)
{
    if (!c) return;
    compare_free(c->second);
    for (int i = 0; i < c->cell_count; i++)
        for (int side = 0; side < COMPARE_SIDES; side++)
            free(c->cells[i].ns[side]), free(c->cells[i].cycles[side]);
    free(c->cells);
    free(c->kernels);
    json_decref(c->notes);
    free(c);
}

bool compare_has_common(const comparison *c)
{
    bool common = c->compared > 0;
    for (int i = 0; i < c->cell_count; i++) common = common || c->cells[i].open;
    return common;
}

const char *compare_verdict(const comparison *c)
{
    int count[4] = {0};
    for (int i = 0; i < c->compared; i++) count[c->cells[i].verdict]++;
    if (count[VERDICT_FASTER] && count[VERDICT_SLOWER]) return "mixed";
    if (count[VERDICT_FASTER] || count[VERDICT_SLOWER])
        return verdict_names[count[VERDICT_FASTER] ? VERDICT_FASTER : VERDICT_SLOWER];
    return verdict_names[count[VERDICT_UNDECIDED] || !c->compared ? VERDICT_UNDECIDED
                                                                  : VERDICT_SAME];
}

int compare_exit(const comparison *c)
{
    bool open = c->gate >= 0 && (c->undecided || !c->kernel_count), regressed = false;
    for (int k = 0; k < c->kernel_count; k++) {
        open = open || c->kernels[k].answer == COMPARE_OPEN || c->kernels[k].answer == COMPARE_ONCE;
        regressed = regressed || c->kernels[k].answer == COMPARE_REGRESSED;
    }
    return regressed ? EXIT_WRONG : open ? EXIT_UNDECIDED : EXIT_RIGHT;
}
