/* measure.c: interleaved rounds.
 *
 * Order within a round is a Williams square over a fresh random permutation of the arms for each
 * block of rounds: over a whole block every arm stands at every place, and after every other,
 * equally often (over other numbers of rounds: nearly). The sham arm is one kernel entered a second
 * time under no name; what separates it from its twin is noise. A round is dirty, and dropped
 * whole, if the hypervisor took more than 2 % of the CPUs' time in it (steal; one clock tick is
 * always allowed) or memory had to be paged in; never for being slow. */
#include "bench/measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/roof.h"

enum { JUDGED_ROWS = 64 };
static const double sample_seconds = 2e-3; /* the shortest sample; the clock resolves 1e-8 of it */
static const double most_steal = 0.02;

/* ---- one arm -------------------------------------------------------------------------- */

static verify_case timed_case(const measure_group *g)
{
    return (verify_case){g->problem, REF_GAUSS, REF_HEADS_FIRST, VERIFY_HEAP_PLACE, g->seed};
}

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

static verify_report no_memory(verify_report r)
{
    r.status = VERIFY_FAIL;
    snprintf(r.reason, sizeof r.reason, "scratch could not be allocated");
    return r;
}

/* Bound on the inputs to be timed, gather on inputs of its own. Sets call_seconds. */
static void prepare_arm(measure_group *g, measure_arm *arm, ref_inputs *in)
{
    verify_case timed = timed_case(g), probe = timed;
    verify_options options = {.threads = g->threads};
    void *scratch = new_scratch(scratch_bytes(g, arm));
    if (!scratch) {
        arm->verdict = no_memory(arm->verdict);
        return;
    }
    probe.inputs = ref_probe_refuses(&g->problem, REF_GATHER) ? REF_UNIFORM : REF_GATHER;
    if (probe.inputs == REF_UNIFORM) options.rows = JUDGED_ROWS;
    arm->verdict = verify_check(arm->kernel, &probe, options);
    if (arm->verdict.status == VERIFY_PASS) {
        ref_poison_outputs(in);
        arm->call_seconds = run_calls(g, arm, in, scratch, 1);
        if (arm->call_seconds < 0.1) /* the first call also paid for fresh pages */
            arm->call_seconds = fmin(arm->call_seconds, run_calls(g, arm, in, scratch, 1));
        arm->verdict = verify_outputs(arm->kernel, &timed, in, JUDGED_ROWS);
    }
    free(scratch);
}

void measure_prepare(measure_group *g, int64_t memory)
{
    attn_problem_print(&g->problem, g->key, sizeof g->key);
    int64_t inputs = ref_inputs_bytes(&g->problem);
    ref_inputs *in = inputs < memory / 2
                         ? ref_inputs_new(&g->problem, REF_GAUSS, REF_HEADS_FIRST, g->seed)
                         : NULL;
    g->sham = -1;
    if (in)
        g->flops = 2.0 * (double)(g->problem.qk_dim + g->problem.v_dim) *
                   (double)ref_visible_pairs(&g->problem, &in->tensors);
    for (int a = 0; a < g->arm_count; a++) {
        measure_arm *arm = &g->arms[a];
        arm->dropped = attn_supports(arm->kernel, &g->problem);
        arm->prepared = true;
        if (arm->dropped) continue;
        int64_t scratch = scratch_bytes(g, arm);
        arm->scratch_bytes = arm->kernel->scratch_bytes(&g->problem);
        if (!in || scratch > memory - 2 * inputs) {
            snprintf(arm->verdict.reason, sizeof arm->verdict.reason,
                     "needs %lld bytes, and %lld are available",
                     (long long)(2 * (double)inputs + (double)scratch < 0x1p62
                                     ? 2 * inputs + scratch
                                     : INT64_MAX),
                     (long long)memory);
            arm->dropped = arm->verdict.reason;
            continue;
        }
        prepare_arm(g, arm, in);
        bool timed = arm->verdict.status == VERIFY_PASS;
        if (timed && (g->sham < 0 || arm->call_seconds < g->arms[g->sham].call_seconds))
            g->sham = a;
    }
    if (g->sham >= 0)
        g->calls = 1 + (int)(sample_seconds / fmax(g->arms[g->sham].call_seconds, 1e-7));
    ref_inputs_free(in);
}

/* ---- planning ------------------------------------------------------------------------- */

static bool is_timed(const measure_arm *arm)
{
    return !arm->dropped && arm->verdict.status == VERIFY_PASS;
}

double measure_round_seconds(const measure_group *g)
{
    int calls = g->calls + (g->calls > 1); /* the warm-up */
    double seconds = g->sham >= 0 ? calls * g->arms[g->sham].call_seconds : 0;
    for (int a = 0; a < g->arm_count; a++)
        if (is_timed(&g->arms[a])) seconds += calls * g->arms[a].call_seconds;
    return seconds;
}

static double planned_seconds(const measure_group *groups, int count)
{
    double seconds = 0;
    for (int i = 0; i < count; i++) seconds += groups[i].rounds * measure_round_seconds(&groups[i]);
    return seconds;
}

/* Every group as many rounds as `share` seconds buy, within the limits. */
static void give_rounds(measure_group *groups, int count, double share)
{
    for (int i = 0; i < count; i++) {
        double rounds = share / fmax(measure_round_seconds(&groups[i]), 1e-6);
        groups[i].rounds = (int)fmin(fmax(rounds, MEASURE_LEAST_ROUNDS), MEASURE_MOST_ROUNDS);
    }
}

static measure_arm *dearest_arm(measure_group *groups, int count)
{
    measure_arm *dearest = NULL;
    double most = 0;
    for (int i = 0; i < count; i++)
        for (int a = 0; a < groups[i].arm_count; a++) {
            measure_arm *arm = &groups[i].arms[a];
            double cost = groups[i].calls * arm->call_seconds;
            if (is_timed(arm) && a != groups[i].sham && cost > most) dearest = arm, most = cost;
        }
    return dearest;
}

double measure_plan(measure_group *groups, int count, double seconds, int fixed_rounds)
{
    if (fixed_rounds > 0) {
        for (int i = 0; i < count; i++) groups[i].rounds = fixed_rounds;
        return planned_seconds(groups, count);
    }
    measure_arm *dearest;
    for (give_rounds(groups, count, 0); planned_seconds(groups, count) > seconds;
         give_rounds(groups, count, 0)) {
        if (!(dearest = dearest_arm(groups, count))) break;
        snprintf(dearest->verdict.reason, sizeof dearest->verdict.reason,
                 "too slow for the budget: one call takes %.2g s; raise --budget",
                 dearest->call_seconds);
        dearest->dropped = dearest->verdict.reason;
    }
    double low = 0, high = seconds;
    for (int step = 0; step < 40; step++) {
        double middle = (low + high) / 2;
        give_rounds(groups, count, middle);
        if (planned_seconds(groups, count) <= seconds) low = middle;
        else high = middle;
    }
    give_rounds(groups, count, low);
    return planned_seconds(groups, count);
}

/* ---- rounds --------------------------------------------------------------------------- */

/* What the operating system charges to a round. */
typedef struct evidence {
    double steal_seconds;
    long major_faults;
} evidence;

static evidence evidence_now(void)
{
    evidence e = {0};
    struct rusage usage;
    long long user, nice, system, idle, wait, irq, soft, steal = 0;
    FILE *file = fopen("/proc/stat", "r");
    if (file && fscanf(file, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", &user, &nice, &system,
                       &idle, &wait, &irq, &soft, &steal) == 8)
        e.steal_seconds = (double)steal / (double)sysconf(_SC_CLK_TCK);
    if (file) fclose(file);
    if (getrusage(RUSAGE_SELF, &usage) == 0) e.major_faults = usage.ru_majflt;
    return e;
}

/* The order of round r over a fresh permutation per block of rounds: a Williams square (0, 1, n-1,
 * 2, n-2 ..., shifted by one each round, every other block reversed), in which every competitor
 * stands at every place and follows every other equally often (Williams 1949). */
static void order_of_round(const measure_group *g, int r, int *order, int places)
{
    int permutation[MEASURE_ARMS + 1], block = r / places, shift = r % places;
    for (int i = 0; i < places; i++) permutation[i] = i;
    for (int i = places - 1; i > 0; i--) {
        uint64_t random = ref_random(g->seed + (uint64_t)(block / 2), (uint64_t)i);
        int other = (int)(random % (uint64_t)(i + 1)), kept = permutation[i];
        permutation[i] = permutation[other], permutation[other] = kept;
    }
    for (int i = 0; i < places; i++) {
        int step = i % 2 ? (i + 1) / 2 : (places - i / 2) % places;
        order[block % 2 ? places - 1 - i : i] = permutation[(step + shift) % places];
    }
}

typedef struct timing {
    int arm[MEASURE_ARMS + 1]; /* which arm stands behind each competitor */
    bool sham[MEASURE_ARMS + 1];
    void *scratch; /* one for all arms, as large as the largest needs: they run one at a time */
    int places;
} timing;

static timing start_timing(const measure_group *g)
{
    timing t = {.places = 0};
    int64_t largest = 0;
    for (int a = 0; a < g->arm_count; a++) {
        if (!is_timed(&g->arms[a])) continue;
        int64_t bytes = scratch_bytes(g, &g->arms[a]);
        largest = bytes > largest ? bytes : largest;
        t.arm[t.places++] = a;
    }
    if (t.places) t.scratch = new_scratch(largest);
    if (g->sham >= 0) t.arm[t.places] = g->sham, t.sham[t.places++] = true;
    return t;
}

/* One round into slot `clean` of every arm; true if it may be kept. */
static bool time_round(measure_group *g, const timing *t, const ref_inputs *in, int r)
{
    int order[MEASURE_ARMS + 1];
    order_of_round(g, r, order, t->places);
    evidence before = evidence_now();
    double begin = roof_now();
    for (int i = 0; i < t->places; i++) {
        int place = order[i], a = t->arm[place];
        if (g->calls > 1)
            run_calls(g, &g->arms[a], in, t->scratch, 1); /* caches forget the others */
        double seconds = run_calls(g, &g->arms[a], in, t->scratch, g->calls);
        double *slot = t->sham[place] ? &g->sham_ns[g->clean] : &g->arms[a].ns[g->clean];
        *slot = seconds * 1e9 / g->calls;
    }
    double elapsed = roof_now() - begin;
    evidence after = evidence_now();
    double tick = 1 / (double)sysconf(_SC_CLK_TCK); /* what one count of steal may be off by */
    double allowed = fmax(tick, most_steal * elapsed * (double)sysconf(_SC_NPROCESSORS_ONLN));
    return after.steal_seconds - before.steal_seconds <= allowed &&
           after.major_faults == before.major_faults;
}

/* The timed calls are checked calls: poison, call once more, judge. */
static void judge_again(measure_group *g, const timing *t, ref_inputs *in)
{
    verify_case timed = timed_case(g);
    for (int i = 0; i < t->places; i++) {
        measure_arm *arm = &g->arms[t->arm[i]];
        if (t->sham[i]) continue;
        ref_poison_outputs(in);
        run_calls(g, arm, in, t->scratch, 1);
        verify_report r = verify_outputs(arm->kernel, &timed, in, JUDGED_ROWS);
        if (r.status != VERIFY_PASS || r.share > arm->verdict.share) arm->verdict = r;
    }
}

void measure_run(measure_group *g, bool (*stop)(const measure_group *, int))
{
    timing t = start_timing(g);
    ref_inputs *in =
        t.places ? ref_inputs_new(&g->problem, REF_GAUSS, REF_HEADS_FIRST, g->seed) : NULL;
    g->clean = g->dirty = 0;
    for (int i = 0; in && i < t.places; i++)
        if (!t.sham[i]) run_calls(g, &g->arms[t.arm[i]], in, t.scratch, 1);
    for (int r = 0; in && g->clean < g->rounds && r < 2 * g->rounds && !stop(g, r); r++) {
        if (time_round(g, &t, in, r)) g->clean++;
        else g->dirty++;
    }
    if (in) judge_again(g, &t, in);
    free(t.scratch);
    ref_inputs_free(in);
}
