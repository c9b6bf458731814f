/* result.c: numbers of a run -> native JSON. Roofs are best over best: the kernel's fastest sample
 * against the fastest multiply-adds of its ISA and thread count in the same run. */
#include "bench/result.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/result_alone.h"
#include "bench/stats.h"
#include "bench/version.h"

static const double band = 0.01; /* "same" means within +-1 % */

double result_bytes(const attn_problem *p)
{
    double queries = (double)p->batch * (double)p->q_heads * (double)p->q_len;
    double keys = (double)p->batch * (double)p->kv_heads * (double)p->kv_len;
    return 4 * (double)(p->qk_dim + p->v_dim) * (queries + keys);
}

/* ---- noise ---------------------------------------------------------------------------- */

static bool sham_is_lost(const measure_group *g)
{
    return g->sham >= 0 && result_is_void(&g->arms[g->sham]);
}

/* ln(sham / twin) per clean round of one group into `ratios`; returns how many: none if the twin
 * was found wrong. */
static int sham_ratios(const measure_group *g, double *ratios)
{
    double twin[MEASURE_TRIES];
    if (g->sham < 0 || sham_is_lost(g)) return 0;
    int count = measure_samples(g, g->sham_ns, ratios);
    measure_samples(g, g->arms[g->sham].ns, twin);
    for (int r = 0; r < count; r++) ratios[r] = log(ratios[r] / twin[r]);
    return count;
}

double result_noise_floor(const result_run *run)
{
    double *found = malloc(((size_t)run->group_count + 1) * sizeof *found), floor = -1;
    double ratios[MEASURE_TRIES];
    int groups = 0;
    if (!found) return -1;
    for (int i = 0; i < run->group_count; i++) {
        int count = sham_ratios(&run->groups[i], ratios);
        if (count) found[groups++] = fabs(stats_of(ratios, count).median);
    }
    if (groups) floor = stats_quantile(found, groups, 0.95);
    free(found);
    return floor;
}

double result_smallest_effect(const result_run *run) { return fmax(band, result_noise_floor(run)); }

void result_rounds(const result_run *run, int *clean, int *dirty)
{
    *clean = *dirty = 0;
    for (int i = 0; i < run->group_count; i++) {
        const measure_group *g = &run->groups[i];
        for (int r = 0; r < g->tried; r++)
            *(g->round[r].cause == EVIDENCE_CLEAN ? clean : dirty) += 1;
    }
}

const char *result_verdict(const result_run *run)
{
    double ratios[MEASURE_TRIES];
    int clean, dirty, verified = 0;
    result_rounds(run, &clean, &dirty);
    bool flagged = false;
    for (int i = 0; i < run->group_count; i++) {
        const measure_group *g = &run->groups[i];
        int count = sham_ratios(g, ratios);
        flagged = flagged || sham_is_lost(g);
        if (count) {
            stats_median m = stats_of(ratios, count);
            flagged = flagged || !m.bounded || m.low > band || m.high < -band;
        }
        for (int a = 0; a < g->arm_count; a++) {
            if (!result_is_timed(g, &g->arms[a])) continue;
            verified++;
            flagged = flagged || result_of(run, g, &g->arms[a]).peak_fraction > 1.02;
        }
    }
    if (!verified) return "void";
    return flagged || dirty > 0.2 * (clean + dirty) ? "undecided" : "valid";
}

/* ---- one line ------------------------------------------------------------------------- */

static double peak_of(const result_run *run, const char *isa, int threads)
{
    for (int i = 0; i < run->peak_count; i++)
        if (run->peaks[i].threads == threads && strcmp(run->peaks[i].isa, isa) == 0)
            return run->peaks[i].gflops;
    return 0;
}

result_line result_of(const result_run *run, const measure_group *g, const measure_arm *arm)
{
    double samples[MEASURE_TRIES];
    stats_median m = stats_of(samples, measure_samples(g, arm->ns, samples));
    double flops = g->flops, bytes = result_bytes(&g->problem);
    double peak = peak_of(run, arm->kernel->isa, g->threads);
    return (result_line){
        .median_ns = m.median,
        .low_ns = m.low,
        .high_ns = m.high,
        .least_ns = m.least,
        .bounded = m.bounded,
        .gflops = flops / m.median,
        .peak_gflops = peak,
        .peak_fraction = peak > 0 ? flops / m.least / peak : 0,
        .gbps = bytes / m.median,
        .read_gbps = g->read_gbps,
        .read_fraction = g->read_gbps > 0 ? bytes / m.least / g->read_gbps : 0,
    };
}

/* ---- JSON ----------------------------------------------------------------------------- */

/* A finite number, or null: JSON has no NaN and no infinity, and neither is a measurement. */
static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *text_or_null(const char *text) { return text ? json_string(text) : json_null(); }

static json_t *numbers_json(const double *values, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(list, number(values[i]));
    return list;
}

/* What stood around every round of the group: told once, with the twin of its sham. */
static void add_rounds(json_t *entry, const measure_group *g)
{
    double clock[MEASURE_TRIES], fma[MEASURE_TRIES], triad[MEASURE_TRIES], at[MEASURE_TRIES];
    int count = 0;
    json_t *dirty = json_array();
    for (int r = 0; r < g->tried; r++) {
        const measure_round *round = &g->round[r];
        if (measure_counts(g, r)) {
            clock[count] = round->anchors.clock_ghz, fma[count] = round->anchors.fma_gflops;
            triad[count] = round->anchors.triad_gbps, at[count++] = round->at_s;
        }
        if (round->cause != EVIDENCE_CLEAN)
            json_array_append_new(dirty, json_pack("{s:f, s:s}", "at_s", round->at_s, "cause",
                                                   evidence_names[round->cause]));
    }
    json_object_set_new(entry, "at_s", numbers_json(at, count));
    json_object_set_new(entry, "anchors",
                        json_pack("{s:o, s:o, s:o}", "clock_ghz", numbers_json(clock, count),
                                  "fma_gflops", numbers_json(fma, count), "triad_gbps",
                                  numbers_json(triad, count)));
    json_object_set_new(entry, "dirty_rounds", dirty);
}

/* Of the rounds that count, those in which the arm took part; NULL if it did in all. */
static json_t *own_rounds_json(const measure_group *g, const measure_arm *arm)
{
    size_t counted = 0;
    json_t *list = json_array();
    for (int r = 0; r < g->tried; r++) {
        if (!measure_counts(g, r)) continue;
        if (!isnan(arm->ns[r])) json_array_append_new(list, json_integer((json_int_t)counted));
        counted++;
    }
    if (json_array_size(list) < counted) return list;
    json_decref(list);
    return NULL;
}

static bool is_dirty(const measure_group *g, const measure_arm *arm, int r)
{
    return g->round[r].cause != EVIDENCE_CLEAN && !isnan(arm->ns[r]);
}

static int dirty_rounds(const measure_group *g, const measure_arm *arm)
{
    int count = 0;
    for (int r = 0; r < g->tried; r++) count += is_dirty(g, arm, r);
    return count;
}

static json_t *causes_json(const measure_group *g, const measure_arm *arm)
{
    int counts[EVIDENCE_CAUSES] = {0};
    json_t *causes = json_object();
    for (int r = 0; r < g->tried; r++)
        if (is_dirty(g, arm, r)) counts[g->round[r].cause]++;
    for (int c = 0; c < EVIDENCE_CAUSES; c++)
        if (counts[c]) json_object_set_new(causes, evidence_names[c], json_integer(counts[c]));
    return causes;
}

static void add_timing(json_t *entry, const result_run *run, const alone_fit *fit,
                       const measure_group *g, const measure_arm *arm)
{
    result_line line = result_of(run, g, arm);
    double samples[MEASURE_TRIES];
    int count = measure_samples(g, arm->ns, samples);
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"median_ns", line.median_ns},
        {"ci_low_ns", line.low_ns},
        {"ci_high_ns", line.high_ns},
        {"min_ns", line.least_ns},
        {"gflops", line.gflops},
        {"peak_gflops", line.peak_gflops > 0 ? line.peak_gflops : NAN},
        {"peak_fraction", line.peak_gflops > 0 ? line.peak_fraction : NAN},
        {"bandwidth_gbps", line.gbps},
        {"read_gbps", line.read_gbps > 0 ? line.read_gbps : NAN},
        {"bandwidth_fraction", line.read_gbps > 0 ? line.read_fraction : NAN},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(entry, numbers[i].name, number(numbers[i].value));
    json_object_set_new(entry, "samples", numbers_json(samples, count));
    json_t *own_rounds = own_rounds_json(g, arm);
    if (own_rounds) json_object_set_new(entry, "sample_rounds", own_rounds);
    result_add_alone(entry, fit, g, arm);
    if (g->sham < 0 || arm != &g->arms[g->sham]) return;
    count = measure_samples(g, g->sham_ns, samples);
    json_object_set_new(entry, "sham_samples", numbers_json(samples, count));
    add_rounds(entry, g);
}

static json_t *arm_json(const result_run *run, const alone_fit *fit, const measure_group *g,
                        const measure_arm *arm)
{
    const verify_report *v = &arm->verdict;
    bool verified = v->status == VERIFY_PASS;
    json_t *entry = json_pack(
        "{s:s, s:s, s:s, s:i, s:b, s:o, s:o, s:[I,I,I,I], s:I, s:o, s:I, s:I, s:I, s:i, s:i, s:o, "
        "s:i, "
        "s:i}",
        "kernel", arm->kernel->name, "isa", arm->kernel->isa, "problem", g->key, "threads",
        g->threads, "verified", verified, "void_reason", text_or_null(verified ? NULL : v->reason),
        "bound_share", number(v->share), "worst_at", (json_int_t)v->at.b, (json_int_t)v->at.h,
        (json_int_t)v->at.i, (json_int_t)v->column, "rows_checked", (json_int_t)v->rows,
        "max_abs_error", number(v->max_error), "flops", (json_int_t)g->flops, "bytes",
        (json_int_t)result_bytes(&g->problem), "scratch_bytes", (json_int_t)arm->scratch_bytes,
        "rounds", measure_samples(g, arm->ns, NULL), "dirty", dirty_rounds(g, arm), "dirty_causes",
        causes_json(g, arm), "calls_per_sample", measure_calls(g, arm), "checked_samples",
        arm->checked);
    if (verified) add_timing(entry, run, fit, g, arm);
    return entry;
}

bool result_is_void(const measure_arm *arm)
{
    return arm->prepared && !arm->dropped && arm->verdict.status == VERIFY_FAIL;
}

bool result_is_timed(const measure_group *g, const measure_arm *arm)
{
    return arm->prepared && measure_is_timed(arm) && measure_samples(g, arm->ns, NULL) > 0;
}

const char *result_skipped(const measure_group *g, const measure_arm *arm)
{
    if (!arm->prepared) return "not reached: the run was interrupted";
    if (arm->dropped) return arm->dropped;
    if (arm->verdict.status == VERIFY_SKIP) return arm->verdict.reason;
    if (arm->verdict.status != VERIFY_PASS || result_is_timed(g, arm)) return NULL;
    if (g->tried == 0) return "not reached: the run was interrupted";
    return "the host is busy: every round that it took part in was disturbed";
}

static json_t *results_json(const result_run *run, const alone_fit *fit)
{
    json_t *list = json_array();
    for (int i = 0; i < run->group_count; i++) {
        const measure_group *g = &run->groups[i];
        for (int a = 0; a < g->arm_count && g->tried > 0; a++)
            if (result_is_timed(g, &g->arms[a]) || result_is_void(&g->arms[a]))
                json_array_append_new(list, arm_json(run, fit, g, &g->arms[a]));
    }
    return list;
}

static json_t *skipped_json(const result_run *run)
{
    int count;
    const attn_isa *isas = attn_isas(&count);
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        char kernel[64], reason[96];
        snprintf(kernel, sizeof kernel, "*_%s", isas[i].name);
        snprintf(reason, sizeof reason, "not in this build; it needs the CPU family %s",
                 isas[i].cpu_family);
        if (!isas[i].built)
            json_array_append_new(
                list, json_pack("{s:s, s:n, s:s}", "kernel", kernel, "problem", "reason", reason));
    }
    for (int i = 0; i < run->group_count; i++) {
        const measure_group *g = &run->groups[i];
        for (int a = 0; a < g->arm_count; a++)
            if (result_skipped(g, &g->arms[a]))
                json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:s}", "kernel",
                                                      g->arms[a].kernel->name, "problem", g->key,
                                                      "threads", g->threads, "reason",
                                                      result_skipped(g, &g->arms[a])));
    }
    return list;
}

static json_t *roofs_json(const result_run *run, json_t **reads)
{
    json_t *peaks = json_array();
    *reads = json_array();
    for (int i = 0; i < run->peak_count; i++)
        json_array_append_new(peaks, json_pack("{s:s, s:i, s:o}", "isa", run->peaks[i].isa,
                                               "threads", run->peaks[i].threads, "gflops",
                                               number(run->peaks[i].gflops)));
    for (int i = 0; i < run->read_count; i++)
        json_array_append_new(*reads, json_pack("{s:i, s:o}", "threads", run->reads[i].threads,
                                                "gbps", number(run->reads[i].gbps)));
    return peaks;
}

json_t *result_tool(void)
{
    size_t length = strlen(ATTEST_COMMIT);
    bool dirty = length > 6 && strcmp(&ATTEST_COMMIT[length - 6], "-dirty") == 0;
    return json_pack("{s:s, s:s, s:s%, s:b, s:s, s:s}", "name", "attest", "version", ATTEST_VERSION,
                     "commit", ATTEST_COMMIT, dirty ? length - 6 : length, "dirty", dirty,
                     "compiler", ATTEST_COMPILER, "flags", ATTEST_FLAGS);
}

json_t *result_date(void)
{
    char date[32];
    time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    return json_string(date);
}

/* Seconds of the rounds by what they were spent on, and of the checks before them. */
static json_t *overhead_json(const result_run *run)
{
    measure_cost sum = {0};
    for (int i = 0; i < run->group_count; i++) {
        const measure_cost *c = &run->groups[i].cost;
        sum.timed_s += c->timed_s, sum.sham_s += c->sham_s;
        sum.anchors_s += c->anchors_s, sum.checks_s += c->checks_s;
    }
    return json_pack("{s:f, s:f, s:f, s:f, s:f}", "timed_s", sum.timed_s, "sham_s", sum.sham_s,
                     "anchors_s", sum.anchors_s, "checks_s", sum.checks_s, "prepare_s",
                     run->check_seconds);
}

json_t *result_json(const result_run *run)
{
    json_t *argv = json_array(), *reads, *peaks = roofs_json(run, &reads);
    for (int i = 0; i < run->argc; i++) json_array_append_new(argv, json_string(run->argv[i]));
    double floor = result_noise_floor(run);
    alone_fit fit = result_fit(run);
    json_t *roofs = run->roofs ? json_incref(run->roofs) : json_null();
    return json_pack("{s:i, s:o, s:o, s:O, s:o, s:o, s:I, s:o, s:b, s:s, s:o, s:f, s:o, s:o, s:o, "
                     "s:o, s:o, s:o, s:o}",
                     "schema", 1, "tool", result_tool(), "date", result_date(), "machine",
                     run->machine, "argv", argv, "preset", text_or_null(run->preset), "seed",
                     (json_int_t)run->seed, "elapsed_s", number(run->seconds), "interrupted",
                     run->interrupted, "verdict", result_verdict(run), "noise_floor",
                     floor < 0 ? json_null() : json_real(floor), "smallest_effect",
                     result_smallest_effect(run), "overhead", overhead_json(run), "neighbours",
                     result_neighbours(run, &fit), "roofs", roofs, "peaks", peaks, "read_gbps",
                     reads, "results", results_json(run, &fit), "skipped", skipped_json(run));
}
