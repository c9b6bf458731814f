/* measure.c: is a kernel right on what will be timed, and how many rounds can we afford? The rounds
 * themselves are in round.c. */
#include "bench/measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/roof.h"

static const double sample_seconds = 2e-3; /* the shortest sample; the clock resolves 1e-5 of it */
static const double far_behind = 4;        /* times the fastest arm's time: such an arm rests */
static const double least_share = 2. / 3;  /* of a budget, for the least rounds, if dear arms go */
static const double dear = 10;             /* times the mean cost of an arm */

/* ---- inputs to check on ---------------------------------------------------------------- */

/* The inputs that will be timed, and those of the probe: the same for all arms of a group, each
 * made when the first arm needs it. */
typedef struct check_inputs {
    ref_inputs *timed, *probe;
    verify_case timed_case, probe_case;
    uint64_t probe_hash;
} check_inputs;

static check_inputs inputs_of(const measure_group *g)
{
    const attn_problem *p = &g->problem;
    check_inputs x = {
        .timed_case = {*p, REF_GAUSS, REF_HEADS_FIRST, VERIFY_HEAP_PLACE, g->seed},
        .probe_case = {*p, REF_GATHER, REF_HEADS_FIRST, VERIFY_HEAP_PLACE, g->seed},
    };
    if (ref_probe_refuses(p, REF_GATHER)) x.probe_case.inputs = REF_UNIFORM;
    return x;
}

static ref_inputs *make(const verify_case *c)
{
    return ref_inputs_new(&c->problem, c->inputs, c->layout, c->seed);
}

static bool make_timed(check_inputs *x) { return x->timed || (x->timed = make(&x->timed_case)); }

static bool make_probe(check_inputs *x)
{
    if (x->probe) return true;
    if ((x->probe = make(&x->probe_case))) x->probe_hash = ref_inputs_hash(x->probe);
    return x->probe;
}

int64_t measure_judged_rows(const attn_problem *p)
{
    double work = (double)p->kv_len * (double)(p->qk_dim + p->v_dim);
    return (int64_t)fmin(64, fmax(8, 0x1p22 / work));
}

/* ---- one arm -------------------------------------------------------------------------- */

/* Runs `calls` calls; returns seconds, or a negative number if the kernel refused. */
static double run_calls(const measure_group *g, const measure_arm *arm, const ref_inputs *in,
                        void *scratch, int calls)
{
    attn_exec exec = {.threads = g->threads, .scratch = scratch};
    double begin = roof_now();
    for (int c = 0; c < calls; c++)
        if (attn_run(arm->kernel, &g->problem, &in->tensors, &exec, NULL)) return -1;
    return roof_now() - begin;
}

static int64_t scratch_bytes(const measure_group *g, const measure_arm *arm)
{
    return attn_scratch_bytes(arm->kernel, &g->problem, g->threads);
}

static void *new_scratch(int64_t bytes)
{
    return aligned_alloc(4096, (size_t)bytes / 4096 * 4096 + 4096);
}

static const char no_inputs[] = "no memory for the inputs";

static verify_report failure(const char *reason)
{
    verify_report r = {.status = VERIFY_FAIL};
    snprintf(r.reason, sizeof r.reason, "%s", reason);
    return r;
}

/* Did the same kernel pass its probe on the same problem in another group? */
static bool probed_before(const measure_group *g, const measure_arm *arm,
                          const measure_group *before)
{
    if (!before || strcmp(before->key, g->key) != 0) return false;
    for (int a = 0; a < before->arm_count; a++)
        if (before->arms[a].kernel == arm->kernel)
            return measure_is_timed(&before->arms[a]) &&
                   arm->kernel->claims(&g->problem).deterministic;
    return false;
}

/* All rows by gather, or some by uniform, and the inputs are as they were. Sets call_seconds. */
static verify_report check_by_probe(const measure_group *g, measure_arm *arm, check_inputs *x,
                                    void *scratch)
{
    if (!make_probe(x)) return failure(no_inputs);
    ref_poison_outputs(x->probe);
    arm->call_seconds = run_calls(g, arm, x->probe, scratch, 1);
    if (arm->call_seconds < 0) return failure("the kernel did not run");
    int64_t rows = x->probe_case.inputs == REF_UNIFORM ? measure_judged_rows(&g->problem) : 0;
    verify_report r = verify_outputs(arm->kernel, &x->probe_case, x->probe, rows);
    return ref_inputs_hash(x->probe) == x->probe_hash ? r
                                                      : failure("the kernel wrote to its inputs");
}

/* The probe, then the bound on the inputs to be timed, if a call is not long. Sets call_seconds. */
static void prepare_arm(measure_group *g, measure_arm *arm, const measure_group *before,
                        check_inputs *x)
{
    void *scratch = new_scratch(scratch_bytes(g, arm));
    if (!scratch) {
        arm->verdict = failure("scratch could not be allocated");
        return;
    }
    if (!probed_before(g, arm, before)) arm->verdict = check_by_probe(g, arm, x, scratch);
    else if (make_timed(x)) {
        arm->verdict.status = VERIFY_PASS;
        arm->call_seconds = run_calls(g, arm, x->timed, scratch, 1);
    } else arm->verdict = failure(no_inputs);
    arm->unseen = arm->call_seconds >= measure_long_call && !g->all_first;
    if (arm->verdict.status == VERIFY_PASS && !arm->unseen && !make_timed(x))
        arm->verdict = failure(no_inputs);
    if (arm->verdict.status == VERIFY_PASS && !arm->unseen) {
        ref_poison_outputs(x->timed);
        double again = run_calls(g, arm, x->timed, scratch, 1); /* the first paid for fresh pages */
        arm->call_seconds = fmin(arm->call_seconds, again);
        arm->verdict =
            verify_outputs(arm->kernel, &x->timed_case, x->timed, measure_judged_rows(&g->problem));
    }
    free(scratch);
}

/* Only with masks, biases, lengths and offsets do the inputs say which pairs are visible. */
static double visible_pairs(const attn_problem *p, check_inputs *x)
{
    bool told = p->has_mask || p->has_bias || p->has_kv_lens || p->has_q_offsets;
    if (!told) return (double)attn_visible_pairs(p);
    return make_timed(x) ? (double)ref_visible_pairs(p, &x->timed->tensors) : 0;
}

void measure_prepare(measure_group *g, const measure_group *before, int64_t memory)
{
    attn_problem_print(&g->problem, g->key, sizeof g->key);
    int64_t inputs = ref_inputs_bytes(&g->problem);
    bool fit = inputs < memory / 2;
    check_inputs in = inputs_of(g);
    g->sham = -1;
    if (fit)
        g->flops =
            2.0 * (double)(g->problem.qk_dim + g->problem.v_dim) * visible_pairs(&g->problem, &in);
    for (int a = 0; a < g->arm_count; a++) {
        measure_arm *arm = &g->arms[a];
        if (!arm->dropped) arm->dropped = attn_supports(arm->kernel, &g->problem);
        arm->prepared = true;
        if (arm->dropped) continue;
        int64_t scratch = scratch_bytes(g, arm);
        arm->scratch_bytes = arm->kernel->scratch_bytes(&g->problem);
        if (!fit || scratch > memory - 2 * inputs) {
            snprintf(arm->verdict.reason, sizeof arm->verdict.reason,
                     "needs %lld bytes, and %lld are available",
                     (long long)(2 * (double)inputs + (double)scratch < 0x1p62
                                     ? 2 * inputs + scratch
                                     : INT64_MAX),
                     (long long)memory);
            arm->dropped = arm->verdict.reason;
            continue;
        }
        if (arm->unseen) arm->verdict.status = VERIFY_PASS;
        else prepare_arm(g, arm, before, &in);
        bool timed = arm->verdict.status == VERIFY_PASS;
        if (timed && (g->sham < 0 || arm->call_seconds < g->arms[g->sham].call_seconds))
            g->sham = a;
    }
    if (g->sham >= 0)
        g->calls = 1 + (int)(sample_seconds / fmax(g->arms[g->sham].call_seconds, 1e-7));
    ref_inputs_free(in.timed);
    ref_inputs_free(in.probe);
}

/* ---- planning ------------------------------------------------------------------------- */

bool measure_is_timed(const measure_arm *arm)
{
    return !arm->dropped && arm->verdict.status == VERIFY_PASS;
}

int measure_calls(const measure_group *g, const measure_arm *arm)
{
    if (!arm->rests) return g->calls;
    return 1 + (int)(sample_seconds / arm->call_seconds);
}

/* Seconds of one sample of this arm and of the call that warms the caches for it. */
static double sample_cost(const measure_group *g, const measure_arm *arm)
{
    return (measure_calls(g, arm) + (g->calls > 1)) * arm->call_seconds;
}

double measure_round_seconds(const measure_group *g, bool whole)
{
    double seconds = g->sham >= 0 ? sample_cost(g, &g->arms[g->sham]) : 0;
    for (int a = 0; a < g->arm_count; a++)
        if (measure_is_timed(&g->arms[a]) && (whole || !g->arms[a].rests))
            seconds += sample_cost(g, &g->arms[a]);
    return seconds;
}

double measure_done_seconds(const measure_group *g, bool clean)
{
    return measure_rounds(g, true, clean) * measure_round_seconds(g, true) +
           measure_rounds(g, false, clean) * measure_round_seconds(g, false);
}

double measure_planned_seconds(const measure_group *g)
{
    return g->whole * measure_round_seconds(g, true) +
           (g->rounds - g->whole) * measure_round_seconds(g, false);
}

static double planned_seconds(const measure_group *groups, int count)
{
    double seconds = 0;
    for (int i = 0; i < count; i++) seconds += measure_planned_seconds(&groups[i]);
    return seconds;
}

static void let_rest(measure_group *g)
{
    for (int a = 0; a < g->arm_count; a++) {
        measure_arm *arm = &g->arms[a];
        arm->rests = measure_is_timed(arm) && !(g->width > 0) &&
                     arm->call_seconds > far_behind * g->arms[g->sham].call_seconds;
    }
}

/* As many rounds as `share` seconds buy, within the limits: the least whole ones beside what light
 * ones there are. */
static void give_rounds(measure_group *g, double share)
{
    int most = g->width > 0 ? MEASURE_MOST_ROUNDS : MEASURE_USUAL_ROUNDS;
    int had = measure_rounds(g, false, true);
    double whole = fmax(measure_round_seconds(g, true), 1e-6);
    double light = fmax(measure_round_seconds(g, false), 1e-6);
    double spare = fmax(share - MEASURE_LEAST_ROUNDS * whole, 0);
    g->rounds =
        MEASURE_LEAST_ROUNDS + (int)fmin(fmax(had, spare / light), most - MEASURE_LEAST_ROUNDS);
    g->whole = light < whole ? MEASURE_LEAST_ROUNDS : g->rounds;
    if (g->rounds < most || g->whole == most) return;
    spare = fmax(spare - (most - MEASURE_LEAST_ROUNDS) * light, 0); /* light ones become whole */
    g->whole += (int)fmin(spare / (whole - light), most - MEASURE_LEAST_ROUNDS);
}

static void give_all(measure_group *groups, int count, double share)
{
    for (int i = 0; i < count; i++) give_rounds(&groups[i], share);
}

/* The arm that is to be dropped next, with the least rounds planned, or NULL: the dearest, if the
 * rounds do not fit, or if they leave little and it costs far more than the others. Six rounds make
 * an interval, but on a shared host a median of thirty moves half as much from run to run. */
static measure_arm *arm_to_drop(measure_group *groups, int count, double seconds)
{
    measure_arm *dearest = NULL;
    double most = 0, sum = 0, least = planned_seconds(groups, count);
    int arms = 0;
    for (int i = 0; i < count; i++)
        for (int a = 0; a < groups[i].arm_count; a++) {
            measure_arm *arm = &groups[i].arms[a];
            if (!measure_is_timed(arm)) continue;
            double cost = sample_cost(&groups[i], arm);
            sum += cost, arms++;
            if (a != groups[i].sham && cost > most) dearest = arm, most = cost;
        }
    if (least > seconds) return dearest;
    return least > least_share * seconds && most * arms > dear * sum ? dearest : NULL;
}

double measure_replan(measure_group *groups, int count, double seconds)
{
    double low = 0, high = seconds;
    for (int step = 0; step < 40; step++) {
        double middle = (low + high) / 2;
        give_all(groups, count, middle);
        if (planned_seconds(groups, count) <= seconds) low = middle;
        else high = middle;
    }
    give_all(groups, count, low);
    return planned_seconds(groups, count);
}

double measure_plan(measure_group *groups, int count, double seconds, int fixed_rounds)
{
    if (fixed_rounds > 0) {
        for (int i = 0; i < count; i++) groups[i].rounds = groups[i].whole = fixed_rounds;
        return planned_seconds(groups, count);
    }
    for (int i = 0; i < count; i++) let_rest(&groups[i]);
    give_all(groups, count, 0);
    for (measure_arm *arm; (arm = arm_to_drop(groups, count, seconds));) {
        snprintf(arm->verdict.reason, sizeof arm->verdict.reason,
                 "too slow for the budget: one call takes %.2g s; raise --budget",
                 arm->call_seconds);
        arm->dropped = arm->verdict.reason;
    }
    return measure_replan(groups, count, seconds);
}
