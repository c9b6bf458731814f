/* round.c: interleaved rounds.
 *
 * Order within a round is a Williams square over a fresh random permutation of the arms for each
 * block of rounds: over a whole block every arm stands at every place, and after every other,
 * equally often (over other numbers of rounds: nearly). Whole rounds and those in which the
 * slowest arms rest are balanced each for themselves, and mixed evenly. The sham arm is one kernel
 * entered a second time under no name; what separates it from its twin is noise. What makes a
 * round dirty is in evidence.h. The timed calls are checked calls: before each of them one row of
 * Q changes its sign, so that no answer of an earlier call is right again, and of some samples the
 * last call's row is judged. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"
#include "bench/neighbour.h"
#include "bench/roof.h"
#include "bench/stats.h"

static const double anchor_share = 0.015; /* of a round, for its anchors: four to six readings */
static const double check_share = 0.005;  /* of the timed seconds, for checks at random */

/* All that the rounds of one group share. */
typedef struct timing {
    measure_group *g;
    const measure_hooks *hooks;
    ref_inputs *in;
    anchor *anchors;
    void *scratch; /* one for all arms, as large as the largest needs: they run one at a time */
    int arm[MEASURE_ARMS + 1]; /* which arm stands behind each competitor; those that rest last */
    bool sham[MEASURE_ARMS + 1];
    int awake, places; /* competitors that never rest; all */
    ref_place moved;   /* the row of Q that moved last */
} timing;

/* ---- timed calls ---------------------------------------------------------------------- */

/* -Q[b,h,i,:]: other scores of the same size. */
static void move_inputs(timing *t)
{
    const attn_problem *p = &t->g->problem;
    const attn_input *q = &t->in->tensors.q;
    uint64_t row =
        ref_random(t->g->seed ^ 0x71, t->g->moves++) % (uint64_t)(p->batch * p->q_heads * p->q_len);
    t->moved = (ref_place){(int64_t)row / (p->q_heads * p->q_len),
                           (int64_t)row / p->q_len % p->q_heads, (int64_t)row % p->q_len};
    float *x = (float *)q->data + t->moved.b * q->batch_stride + t->moved.h * q->head_stride +
               t->moved.i * q->row_stride;
    for (int64_t c = 0; c < p->qk_dim; c++) x[c] = -x[c];
}

/* Seconds of `calls` calls. */
static double time_calls(timing *t, const attn_kernel *kernel, int calls)
{
    attn_exec exec = {.threads = t->g->threads, .scratch = t->scratch};
    double begin = roof_now();
    for (int c = 0; c < calls; c++) {
        move_inputs(t);
        attn_run(kernel, &t->g->problem, &t->in->tensors, &exec, NULL);
    }
    return roof_now() - begin;
}

/* The row that moved before the last call; of an arm that is `unseen`, some of all. */
static void judge_sample(timing *t, measure_arm *arm)
{
    const attn_problem *p = &t->g->problem;
    verify_case which = {*p, REF_GAUSS, REF_HEADS_FIRST, VERIFY_HEAP_PLACE, t->g->seed};
    bool first = arm->unseen && !arm->checked;
    verify_report r = first ? verify_outputs(arm->kernel, &which, t->in, measure_judged_rows(p))
                            : verify_row(arm->kernel, &which, t->in, t->moved);
    arm->checked++;
    if (first || r.status != VERIFY_PASS) arm->verdict = r;
}

/* Must this sample be checked? One of every arm is by the sixth round; of one that rests, or is
 * `unseen`, the first; and of the latter one more, for the first may also be its first call. */
static bool is_due(const measure_group *g, const measure_arm *arm, int r)
{
    bool late = r + 1 >= MEASURE_LEAST_ROUNDS || r + 1 >= g->rounds;
    if (arm->checked == 0) return arm->rests || arm->unseen || late;
    return arm->checked == 1 && arm->unseen && late;
}

typedef struct sample {
    double ns; /* per call */
    neighbour_reading around;
} sample;

/* A sample of one arm in round r, with what the cores gave around it. Checked at random while that
 * costs little, and when it is due. */
static sample time_sample(timing *t, int place, int r)
{
    measure_group *g = t->g;
    measure_arm *arm = &g->arms[t->arm[place]];
    bool chosen = g->cost.checks_s < check_share * g->cost.timed_s &&
                  ref_random(g->seed ^ 0x72, g->moves) % 4 == 0;
    bool checked = !t->sham[place] && (chosen || is_due(g, arm, r));
    double begin = roof_now();
    if (checked) ref_poison_outputs(t->in);
    g->cost.checks_s += roof_now() - begin;
    int calls = measure_calls(g, arm);
    if (g->calls > 1) time_calls(t, arm->kernel, 1); /* caches forget the others */
    double warm = roof_now();
    neighbour_reading before = neighbour_read(g->threads);
    double call = roof_now();
    double seconds = time_calls(t, arm->kernel, calls), end = roof_now();
    neighbour_reading after = neighbour_read(g->threads);
    g->cost.anchors_s += call - warm + roof_now() - end;
    end = roof_now();
    if (checked) judge_sample(t, arm);
    g->cost.checks_s += roof_now() - end;
    return (sample){seconds * 1e9 / calls,
                    {(before.issue + after.issue) / 2, (before.clock_ghz + after.clock_ghz) / 2}};
}

/* ---- rounds --------------------------------------------------------------------------- */

int measure_rounds(const measure_group *g, bool whole, bool clean)
{
    int count = 0;
    for (int r = 0; r < g->tried; r++)
        count += g->round[r].whole == whole &&
                 (!clean || (g->round[r].cause == EVIDENCE_CLEAN && !g->round[r].half));
    return count;
}

bool measure_is_bounded(const measure_group *g)
{
    return measure_rounds(g, true, true) >= MEASURE_LEAST_ROUNDS;
}

/* Is the next round a whole one? Whole rounds keep their share of the clean ones, until as many as
 * planned were clean or twice as many were tried. */
static bool next_is_whole(const timing *t)
{
    const measure_group *g = t->g;
    int clean = measure_rounds(g, true, true);
    if (t->awake == t->places) return true;
    return clean < g->whole && measure_rounds(g, true, false) < 2 * g->whole &&
           clean * g->rounds <= g->clean * g->whole;
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

static void time_place(timing *t, int place, int r)
{
    measure_group *g = t->g;
    measure_arm *arm = &g->arms[t->arm[place]];
    double begin = roof_now(), aside = g->cost.checks_s + g->cost.anchors_s;
    sample s = time_sample(t, place, r);
    double spent = roof_now() - begin - (g->cost.checks_s + g->cost.anchors_s - aside);
    *(t->sham[place] ? &g->cost.sham_s : &g->cost.timed_s) += spent;
    if (t->sham[place]) g->sham_ns[r] = s.ns;
    else arm->ns[r] = s.ns, arm->around[r] = s.around;
}

/* |ln| of the clock now over `before`. A reading that seems to have moved is taken again: a clock
 * that has really moved stays there, an interruption does not. */
static double clock_moved(const anchor *a, double before)
{
    enum { READINGS = 12 };
    double least = INFINITY;
    for (int reading = 0; reading < READINGS && !(least <= EVIDENCE_CLOCK_MOVED); reading++)
        least = fmin(least, fabs(log(anchor_clock(a) / before)));
    return least;
}

/* Keeps the samples so far of round r, if those since the last time are worth it. */
static void keep_half(timing *t, int r, const evidence *before, double *kept)
{
    measure_group *g = t->g;
    double begin = roof_now();
    if (!t->hooks->keep || begin - *kept < measure_keep_seconds) return;
    double moved = t->anchors ? clock_moved(t->anchors, g->round[r].anchors.clock_ghz) : 0;
    evidence now = evidence_now();
    g->round[r].cause = evidence_judge(before, &now, g->threads, moved);
    g->round[r].half = true;
    t->hooks->keep(g, r);
    g->round[r].half = false;
    *kept = roof_now();
    g->cost.anchors_s += *kept - begin;
}

static void time_arms(timing *t, int r, const evidence *before)
{
    measure_group *g = t->g;
    bool whole = g->round[r].whole;
    int order[MEASURE_ARMS + 1], places = whole ? t->places : t->awake;
    double kept = roof_now();
    order_of_round(g, measure_rounds(g, whole, false), order, places);
    for (int a = 0; a < g->arm_count; a++) g->arms[a].ns[r] = NAN;
    g->sham_ns[r] = NAN;
    for (int i = 0; i < places; i++) {
        time_place(t, order[i], r);
        if (i + 1 < places) keep_half(t, r, before, &kept);
    }
}

/* One round between its anchors. */
static void time_round(timing *t, int r, double began)
{
    measure_group *g = t->g;
    measure_round *round = &g->round[r];
    double begin = roof_now(), moved = 0;
    *round = (measure_round){.whole = next_is_whole(t), .at_s = begin - began};
    if (t->anchors) round->anchors = anchor_read(t->anchors);
    evidence before = evidence_now();
    time_arms(t, r, &before);
    evidence after = evidence_now();
    if (t->anchors) moved = clock_moved(t->anchors, round->anchors.clock_ghz);
    g->cost.anchors_s += before.wall_s - begin + roof_now() - after.wall_s;
    round->cause = evidence_judge(&before, &after, g->threads, moved);
    g->clean += round->cause == EVIDENCE_CLEAN;
}

/* A round that a kill cut short stands as it is, the arms that it did not reach rested; but the
 * sham and its twin are compared, so that both are timed now if one of them is missing. */
static void end_half(timing *t)
{
    measure_group *g = t->g;
    int r = g->tried;
    measure_round *round = &g->round[r];
    evidence before = evidence_now();
    bool missing = !(g->sham_ns[r] > 0 && g->arms[g->sham].ns[r] > 0);
    for (int place = 0; missing && place < t->awake; place++)
        if (t->arm[place] == g->sham) time_place(t, place, r);
    evidence after = evidence_now();
    if (round->cause == EVIDENCE_CLEAN)
        round->cause = evidence_judge(&before, &after, g->threads, 0);
    round->half = true, round->whole = false;
    g->halved = false, g->tried++;
    if (t->hooks->keep) t->hooks->keep(g, r);
}

bool measure_counts(const measure_group *g, int r)
{
    bool busy = g->clean < MEASURE_LEAST_ROUNDS && g->clean < g->rounds;
    return busy || g->round[r].cause == EVIDENCE_CLEAN;
}

int measure_samples(const measure_group *g, const double *ns, double *to)
{
    int count = 0;
    for (int r = 0; r < g->tried; r++) {
        if (!measure_counts(g, r) || isnan(ns[r])) continue;
        if (to) to[count] = ns[r];
        count++;
    }
    return count;
}

/* Is the interval of every arm within +- width of its median? */
static bool narrow_enough(const measure_group *g)
{
    double samples[MEASURE_TRIES];
    if (!(g->width > 0) || g->clean < MEASURE_LEAST_ROUNDS) return false;
    for (int a = 0; a < g->arm_count; a++) {
        if (!measure_is_timed(&g->arms[a])) continue;
        stats_median m = stats_of(samples, measure_samples(g, g->arms[a].ns, samples));
        if (!m.bounded || !(m.high - m.low <= 2 * g->width * m.median)) return false;
    }
    return true;
}

/* ---- a group -------------------------------------------------------------------------- */

static bool start_timing(measure_group *g, const measure_hooks *hooks, timing *t)
{
    int64_t largest = 0;
    *t = (timing){.g = g, .hooks = hooks};
    if (g->sham < 0) return false;
    for (int a = 0; a < g->arm_count; a++) {
        bool timed = measure_is_timed(&g->arms[a]);
        if (!timed && a != g->sham) continue; /* the sham's twin may have been found wrong */
        int64_t bytes = attn_scratch_bytes(g->arms[a].kernel, &g->problem, g->threads);
        largest = bytes > largest ? bytes : largest;
        if (timed && !g->arms[a].rests) t->arm[t->awake++] = a;
    }
    t->arm[t->awake] = g->sham, t->sham[t->awake++] = true;
    t->places = t->awake;
    for (int a = 0; a < g->arm_count; a++)
        if (measure_is_timed(&g->arms[a]) && g->arms[a].rests) t->arm[t->places++] = a;
    t->scratch = aligned_alloc(4096, (size_t)largest / 4096 * 4096 + 4096);
    t->in = ref_inputs_new(&g->problem, REF_GAUSS, REF_HEADS_FIRST, g->seed);
    t->anchors = anchor_new(g->arms[g->sham].kernel->isa, ref_inputs_bytes(&g->problem),
                            anchor_share / 6 * measure_round_seconds(g, false));
    if (!t->scratch || !t->in) return false;
    memset(t->scratch, 0, (size_t)largest); /* no sample pays for fresh pages */
    ref_poison_outputs(t->in);
    return true;
}

static bool is_over(const measure_group *g, int clean)
{
    return g->clean >= clean || g->tried >= 2 * clean || narrow_enough(g);
}

void measure_run(measure_group *g, int clean, const measure_hooks *hooks)
{
    timing t;
    if (is_over(g, clean)) return;
    double begin = roof_now();
    bool ready = start_timing(g, hooks, &t);
    g->setup_s = roof_now() - begin;
    if (ready && g->halved) end_half(&t);
    while (ready && !is_over(g, clean) && !hooks->stop(g)) {
        time_round(&t, g->tried, hooks->began);
        g->tried++;
        if (hooks->keep) hooks->keep(g, g->tried - 1);
    }
    anchor_free(t.anchors);
    free(t.scratch);
    ref_inputs_free(t.in);
}
