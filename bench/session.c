/* session.c: checks, roofs and rounds of all groups. The groups take turns, a round at a time where
 * that is cheap: a shared machine is faster for one second and slower for the next, and rounds that
 * follow each other tell little more than one of them. */
#include "bench/session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"
#include "bench/machine.h"
#include "bench/roof.h"

enum { PASSES = MEASURE_USUAL_ROUNDS }; /* how often a group may have its turn */
static const double worth_setup =
    5; /* seconds of rounds that a turn has, in those it takes to begin */
static const double patience = 1.25; /* times the budget, on a host where many rounds are dirty */

/* ---- roofs ---------------------------------------------------------------------------- */

/* Is this arm the first of its ISA that competes in this group? */
static bool brings_isa(const measure_group *g, int arm)
{
    for (int a = 0; a < arm; a++)
        if (!g->arms[a].dropped && strcmp(g->arms[a].kernel->isa, g->arms[arm].kernel->isa) == 0)
            return false;
    return !g->arms[arm].dropped;
}

/* Keeps the best multiply-add rate of every ISA that competes in this group. */
static void measure_peaks(session *s, const measure_group *g)
{
    for (int a = 0; a < g->arm_count; a++) {
        const char *isa = g->arms[a].kernel->isa;
        int i = 0;
        if (!brings_isa(g, a)) continue;
        while (i < s->peak_count &&
               !(s->peaks[i].threads == g->threads && strcmp(s->peaks[i].isa, isa) == 0))
            i++;
        if (i == SESSION_PEAKS) return;
        if (i == s->peak_count) s->peaks[s->peak_count++] = (result_peak){isa, g->threads, 0};
        s->peaks[i].gflops =
            fmax(s->peaks[i].gflops, roof_peak_gflops(isa, g->threads, false, 0.01));
    }
}

/* Keeps the best read rate of a buffer as large as this group's tensors. */
static void measure_read(measure_group *g)
{
    int64_t bytes = (int64_t)fmin(result_bytes(&g->problem), (double)ROOF_MEMORY_BYTES);
    g->read_gbps = fmax(g->read_gbps, roof_read_gbps(g->threads, bytes, 0.03));
}

/* Returns the seconds that it took. */
static double measure_roofs(session *s, measure_group *g)
{
    double begin = roof_now();
    if (s->no_roofs) return 0;
    measure_peaks(s, g);
    measure_read(g);
    return roof_now() - begin;
}

/* The read rate of memory, for every thread count of this run. */
static void read_memory(session *s)
{
    int most = 1;
    for (int t = 0; t < s->thread_counts; t++) most = s->threads[t] > most ? s->threads[t] : most;
    s->roofs = roof_of_machine(s->machine, most, s->fresh_roofs);
    for (int t = 0; t < s->thread_counts; t++)
        s->reads[t] =
            (result_read){s->threads[t], roof_read_gbps(s->threads[t], ROOF_MEMORY_BYTES, 0.2)};
}

/* ---- what the budget cannot buy ---------------------------------------------------------- */

static double work_of(const attn_problem *p)
{
    return (double)(p->qk_dim + p->v_dim) * (double)attn_visible_pairs(p);
}

/* Do two problems differ in nothing but their lengths, both square or of as many queries? */
static bool same_but_lengths(const attn_problem *a, const attn_problem *b)
{
    char key[2][192];
    attn_problem like_b = *a;
    bool square = a->q_len == a->kv_len && b->q_len == b->kv_len;
    like_b.q_len = b->q_len, like_b.kv_len = b->kv_len, like_b.q_offset = b->q_offset;
    attn_problem_print(&like_b, key[0], sizeof key[0]);
    attn_problem_print(b, key[1], sizeof key[1]);
    return (square || a->q_len == b->q_len) && strcmp(key[0], key[1]) == 0;
}

/* Seconds of one call, by the last group that told it for this kernel in calls long enough to
 * extrapolate; 0 if none did. With `alike`, by groups that differ in lengths and threads only, and
 * in which the kernel is right: within 10 % in 95 of 115 places of the quick preset (commit
 * 80314df), within 37 % in all; plan_again makes up for it. */
static double expected_seconds(const session *s, int group, const attn_kernel *kernel, bool alike)
{
    const measure_group *g = &s->groups[group];
    for (int i = group - 1; i >= 0; i--) {
        const measure_group *known = &s->groups[i];
        if (alike && !same_but_lengths(&known->problem, &g->problem)) continue;
        for (int a = 0; a < known->arm_count; a++) {
            const measure_arm *arm = &known->arms[a];
            if (arm->kernel != kernel || !(arm->call_seconds >= measure_long_call)) continue;
            if (alike && !measure_is_timed(arm)) continue;
            return arm->call_seconds * work_of(&g->problem) / work_of(&known->problem) *
                   known->threads / g->threads;
        }
    }
    return 0;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of the dearest call that the budget buys, when the dearest are left out first: those of
 * groups before `group` are known, the others expected. */
static double dearest_bought(const session *s, int group)
{
    double *seconds = malloc((size_t)s->group_count * MEASURE_ARMS * sizeof *seconds);
    double sum = 0, dearest = INFINITY;
    int count = 0;
    for (int i = 0; seconds && i < s->group_count; i++)
        for (int a = 0; a < s->groups[i].arm_count; a++) {
            const measure_arm *arm = &s->groups[i].arms[a];
            if (i < group && measure_is_timed(arm)) seconds[count++] = arm->call_seconds;
            if (i >= group && !attn_supports(arm->kernel, &s->groups[i].problem))
                seconds[count++] = expected_seconds(s, i, arm->kernel, false);
        }
    if (seconds) qsort(seconds, (size_t)count, sizeof *seconds, ascending);
    for (int n = 0; n < count; n++) {
        sum += MEASURE_LEAST_ROUNDS * seconds[n];
        if (!(sum > s->budget)) continue;
        dearest = seconds[n > 0 ? n - 1 : 0];
        break;
    }
    free(seconds);
    return dearest;
}

/* The fastest kernel of a group stays, however long its call. */
static double fastest_expected(const session *s, int group)
{
    const measure_group *g = &s->groups[group];
    double fastest = INFINITY;
    for (int a = 0; a < g->arm_count; a++)
        if (!attn_supports(g->arms[a].kernel, &g->problem))
            fastest = fmin(fastest, expected_seconds(s, group, g->arms[a].kernel, false));
    return fastest;
}

/* A kernel whose fewest rounds the budget is not going to buy is not even checked: on long
 * sequences the slowest would be checked for longer than all others are timed. Samples of short
 * calls cost more than is counted here, so that in doubt a kernel is checked, and dropped by
 * measure_plan. */
static void drop_hopeless(const session *s, int group)
{
    measure_group *g = &s->groups[group];
    double most = fmax(dearest_bought(s, group), fastest_expected(s, group));
    most = fmin(most, s->budget / MEASURE_LEAST_ROUNDS);
    for (int a = 0; a < g->arm_count; a++) {
        measure_arm *arm = &g->arms[a];
        double seconds = expected_seconds(s, group, arm->kernel, false);
        if (!(seconds > most)) continue;
        if (attn_supports(arm->kernel, &g->problem)) continue; /* refused: that is its reason */
        snprintf(arm->verdict.reason, sizeof arm->verdict.reason,
                 "too slow for the budget: one call would take about %.2g s; raise --budget",
                 seconds);
        arm->dropped = arm->verdict.reason, arm->call_seconds = seconds;
    }
}

/* Long calls of kernels that were right at other lengths are not made before the rounds: they would
 * cost a fifth of the run. */
static void expect_long_calls(const session *s, int group)
{
    measure_group *g = &s->groups[group];
    for (int a = 0; a < g->arm_count; a++) {
        measure_arm *arm = &g->arms[a];
        double seconds = expected_seconds(s, group, arm->kernel, true);
        if (arm->dropped || !(seconds > 0)) continue;
        arm->unseen = true, arm->call_seconds = seconds;
    }
}

/* ---- the run -------------------------------------------------------------------------- */

void session_prepare(session *s)
{
    int64_t memory = machine_memory_available() * 9 / 10;
    s->began = roof_now();
    s->machine = machine_record();
    if (!s->no_roofs) read_memory(s);
    double begin = roof_now();
    for (int i = 0; i < s->group_count && !command_interrupted(); i++) {
        command_progress("checking", i, s->group_count);
        s->groups[i].all_first = s->resumes; /* its first samples may be of the killed run */
        if (!s->resumes) drop_hopeless(s, i), expect_long_calls(s, i);
        measure_prepare(&s->groups[i], i ? &s->groups[i - 1] : NULL, memory);
    }
    s->check_seconds = roof_now() - begin;
    command_progress_end();
}

static struct {
    const session *session;
    double planned, until; /* seconds; roof_now() when patience ends */
} running;

/* Planned seconds of all rounds so far, or of the clean ones. */
static double done_seconds(const session *s, bool clean)
{
    double done = 0;
    for (int i = 0; i < s->group_count; i++) done += measure_done_seconds(&s->groups[i], clean);
    return done;
}

/* Asked before every round: shows how far the run is, and whether it was interrupted or has taken
 * too long. */
static bool stop_before(const measure_group *g)
{
    command_progress(g->key, done_seconds(running.session, false), running.planned);
    return command_interrupted() || (measure_is_bounded(g) && roof_now() > running.until);
}

/* The plan was made from calls with cold caches, and without dirty rounds. Once every group had its
 * turn it is known what a planned second takes, and the rest of the budget is divided anew. */
static void plan_again(session *s, double elapsed, double done)
{
    if (isfinite(s->budget) && done > 0)
        running.planned = measure_replan(s->groups, s->group_count, s->budget * done / elapsed);
}

/* How many rounds of this group should be clean after this pass. A turn that would be short beside
 * its own setup is left to a later pass. */
static int rounds_due(const measure_group *g, int pass)
{
    int due = (g->rounds * (pass + 1) + PASSES - 1) / PASSES;
    double usual = measure_planned_seconds(g) / g->rounds;
    bool waits = pass + 1 < PASSES && (due - g->clean) * usual < worth_setup * g->setup_s;
    return waits ? g->clean : due;
}

void session_measure(session *s, double planned, void (*keep)(const measure_group *, int))
{
    measure_hooks hooks = {s->began, stop_before, keep};
    double begin = roof_now(), roofs = 0, before = done_seconds(s, true); /* roofs come on top */
    running.session = s, running.planned = planned;
    running.until = begin + patience * s->budget;
    for (int turn = 0; turn < PASSES * s->group_count && !command_interrupted(); turn++) {
        int pass = turn / s->group_count;
        measure_group *g = &s->groups[turn % s->group_count];
        if (pass && g == s->groups)
            plan_again(s, roof_now() - begin - roofs, done_seconds(s, true) - before);
        double spent = pass == 0 || pass == PASSES - 1 ? measure_roofs(s, g) : 0;
        roofs += spent, running.until += spent;
        measure_run(g, rounds_due(g, pass), &hooks);
    }
    command_progress_end();
}

void session_end(session *s)
{
    json_decref(s->machine);
    json_decref(s->roofs);
    free(s->groups);
}
