/* test_measure.c: are the timed calls checked calls, and does each cause make a round dirty? */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/measure.h"
#include "bench/result.h"
#include "bench/roof.h"

/* ---- kernels that pass every check before the rounds ----------------------------------- */

static const attn_kernel *honest;
static int64_t slices_done;

/* Answers from memory what it has computed for these tensors a few times. */
static void run_cached(const attn_problem *p, const attn_tensors *t, attn_slice s, void *scratch)
{
    static const float *last_q;
    static int64_t seen;
    seen = t->q.data == last_q ? seen + 1 : 0;
    last_q = t->q.data;
    if (seen < 2 * p->q_heads) honest->run(p, t, s, scratch);
}

/* Gives up after a while. */
static void run_tired(const attn_problem *p, const attn_tensors *t, attn_slice s, void *scratch)
{
    if (slices_done++ < 6 * p->q_heads) honest->run(p, t, s, scratch);
}

/* Right, and far behind. */
static void run_late(const attn_problem *p, const attn_tensors *t, attn_slice s, void *scratch)
{
    for (int again = 0; again < 30; again++) honest->run(p, t, s, scratch);
}

static bool never(const measure_group *g)
{
    (void)g;
    return false;
}

static measure_group *measured(attn_kernel *kernel, bool unseen)
{
    static measure_group g;
    g = (measure_group){.problem = attn_problem_make(2, 64, 32), .threads = 1, .seed = 3};
    g.arms[0].kernel = honest, g.arms[1].kernel = kernel, g.arm_count = kernel ? 2 : 1;
    g.arms[1].unseen = unseen, g.arms[1].call_seconds = unseen ? 0.001 : 0;
    measure_prepare(&g, NULL, INT64_C(1) << 30);
    measure_plan(&g, 1, 1, 6);
    measure_run(&g, g.rounds, &(measure_hooks){roof_now(), never, NULL});
    return &g;
}

static void right_kernels_are_timed(void **state)
{
    (void)state;
    double samples[MEASURE_TRIES];
    const measure_group *g = measured(NULL, false);
    assert_int_equal(g->arms[0].verdict.status, VERIFY_PASS);
    assert_true(g->arms[0].checked >= 1);
    assert_true(g->tried >= 6);
    assert_true(measure_samples(g, g->arms[0].ns, samples) >= 6);
    for (int r = 0; r < 6; r++) assert_true(samples[r] > 0);
    assert_true(g->round[0].anchors.clock_ghz > 0.01);
    assert_true(g->round[0].anchors.fma_gflops > 0.01);
    assert_true(g->round[0].anchors.triad_gbps > 0.01);
    assert_true(g->arms[0].around[0].issue > 0.01);
    assert_true(g->arms[0].around[0].clock_ghz > 0.01);
}

static void a_cached_answer_is_void(void **state)
{
    (void)state;
    attn_kernel kernel = *honest;
    kernel.name = "cached", kernel.q_block = 0, kernel.run = run_cached;
    for (int unseen = 0; unseen < 2; unseen++) { /* called before the rounds, or not */
        const measure_group *g = measured(&kernel, unseen);
        assert_int_equal(g->arms[0].verdict.status, VERIFY_PASS);
        assert_int_equal(g->arms[1].verdict.status, VERIFY_FAIL);
        assert_true(g->arms[1].checked >= 1); /* so it passed what came before */
        assert_non_null(strstr(g->arms[1].verdict.reason, "got"));
    }
}

static void a_kernel_that_gives_up_is_void(void **state)
{
    (void)state;
    attn_kernel kernel = *honest;
    kernel.name = "tired", kernel.q_block = 0, kernel.run = run_tired;
    for (int unseen = 0; unseen < 2; unseen++) {
        slices_done = 0;
        const measure_group *g = measured(&kernel, unseen);
        assert_int_equal(g->arms[1].verdict.status, VERIFY_FAIL);
        assert_true(g->arms[1].checked >= 1);
    }
}

/* Zeros, always. */
static void run_nothing(const attn_problem *p, const attn_tensors *t, attn_slice s, void *scratch)
{
    (void)scratch;
    for (int64_t i = s.q_begin; i < s.q_end; i++)
        memset(t->out.data + s.batch * t->out.batch_stride + s.head * t->out.head_stride +
                   i * t->out.row_stride,
               0, (size_t)p->v_dim * sizeof(float));
}

static int64_t much(const attn_problem *p)
{
    (void)p;
    return INT64_C(1) << 28;
}

/* Zeros, and the last byte of a large scratch. */
static void run_far(const attn_problem *p, const attn_tensors *t, attn_slice s, void *scratch)
{
    run_nothing(p, t, s, scratch);
    ((char *)scratch)[much(p) - 1] = 1;
}

/* A run whose only group lost the twin of its sham can be written, and decides nothing. */
static void expect_undecided(const measure_group *g)
{
    json_t *machine = json_object();
    result_run run = {.machine = machine, .groups = g, .group_count = 1};
    json_t *all = result_json(&run);
    assert_non_null(all);
    char *text = json_dumps(all, 0); /* NULL for a number that JSON does not have */
    assert_non_null(text);
    assert_string_equal(json_string_value(json_object_get(all, "verdict")), "undecided");
    free(text);
    json_decref(all);
    json_decref(machine);
}

/* Arms that are not judged before the rounds are judged in their first sample. The wrong one is
 * the twin of the sham, which goes on without it, in a scratch as large as it needs. */
static void an_unseen_arm_is_judged_in_its_first_sample(void **state)
{
    (void)state;
    static measure_group g;
    attn_kernel wrong = *honest;
    wrong.name = "far", wrong.q_block = 0, wrong.run = run_far, wrong.scratch_bytes = much;
    g = (measure_group){.problem = attn_problem_make(2, 64, 32), .threads = 1, .seed = 3};
    g.arms[0].kernel = honest, g.arms[1].kernel = &wrong, g.arm_count = 2;
    for (int a = 0; a < 2; a++) g.arms[a].unseen = true, g.arms[a].call_seconds = 0.002 - a * 0.001;
    measure_prepare(&g, NULL, INT64_C(1) << 30);
    assert_int_equal(g.arms[1].verdict.status, VERIFY_PASS);
    assert_int_equal(g.arms[1].verdict.rows, 0);
    measure_plan(&g, 1, 1, 1);
    measure_run(&g, 1, &(measure_hooks){roof_now(), never, NULL});
    assert_int_equal(g.sham, 1);
    measure_run(&g, g.clean + 1, &(measure_hooks){roof_now(), never, NULL});
    assert_int_equal(g.arms[0].verdict.status, VERIFY_PASS);
    assert_int_equal(g.arms[0].verdict.rows, 64);
    assert_int_equal(g.arms[1].verdict.status, VERIFY_FAIL);
    expect_undecided(&g);
}

/* ---- rounds in which the slowest rest --------------------------------------------------- */

static void a_kernel_far_behind_rests(void **state)
{
    (void)state;
    static measure_group g;
    attn_kernel late = *honest;
    late.name = "late", late.run = run_late;
    g = (measure_group){.problem = attn_problem_make(2, 64, 32), .threads = 1, .seed = 3};
    g.arms[0].kernel = honest, g.arms[1].kernel = &late, g.arm_count = 2;
    measure_prepare(&g, NULL, INT64_C(1) << 30);
    measure_plan(&g, 1, 1000, 0);
    assert_true(g.arms[1].rests && !g.arms[0].rests);
    assert_int_equal(g.rounds, MEASURE_USUAL_ROUNDS); /* where time is plenty, nobody does */
    assert_int_equal(g.whole, g.rounds);
    double whole = measure_round_seconds(&g, true), light = measure_round_seconds(&g, false);
    measure_plan(&g, 1, 6 * whole + 6.5 * light, 0);
    assert_int_equal(g.rounds, 12);
    assert_int_equal(g.whole, 6);
    measure_plan(&g, 1, 8.5 * whole + 22 * light, 0);
    assert_int_equal(g.rounds, MEASURE_USUAL_ROUNDS);
    assert_int_equal(g.whole, 8);
    measure_replan(&g, 1, 6 * whole + 2.5 * light); /* time ran faster than planned */
    assert_int_equal(g.rounds, 8);
    measure_replan(&g, 1, whole); /* nobody is dropped, nor loses its interval */
    assert_int_equal(g.rounds, MEASURE_LEAST_ROUNDS);
    assert_int_equal(g.whole, MEASURE_LEAST_ROUNDS);
    assert_null(g.arms[1].dropped);
    for (int r = 0; r < 3; r++) g.round[r].cause = EVIDENCE_CLEAN;
    g.tried = g.clean = 3; /* light ones: six whole ones still follow */
    measure_replan(&g, 1, whole);
    assert_int_equal(g.rounds, MEASURE_LEAST_ROUNDS + 3);
    g.tried = g.clean = 0;
    measure_plan(&g, 1, 6 * whole + 6.5 * light, 0);
    for (int turn = 1; turn <= 6; turn++)
        measure_run(&g, 2 * turn, &(measure_hooks){roof_now(), never, NULL});
    int fast = measure_samples(&g, g.arms[0].ns, NULL);
    int slow = measure_samples(&g, g.arms[1].ns, NULL);
    assert_true(fast >= MEASURE_LEAST_ROUNDS && slow < fast); /* 0 beside much other work */
    assert_true(g.round[0].whole);
    assert_true(!g.round[1].whole || g.round[0].cause != EVIDENCE_CLEAN);
    assert_int_equal(g.arms[1].verdict.status, VERIFY_PASS);
    assert_true(g.arms[1].checked >= 1);
}

static void with_a_width_nobody_rests(void **state)
{
    (void)state;
    static measure_group g;
    g = (measure_group){.arm_count = 2, .sham = 0, .calls = 1, .width = 0.01};
    for (int a = 0; a < 2; a++) {
        g.arms[a].kernel = honest, g.arms[a].verdict.status = VERIFY_PASS;
        g.arms[a].call_seconds = a ? 1 : 0.01;
    }
    measure_plan(&g, 1, 20, 0);
    assert_false(g.arms[1].rests);
    assert_int_equal(g.whole, g.rounds);
}

/* ---- dirty rounds ---------------------------------------------------------------------- */

static void every_cause_is_told(void **state)
{
    (void)state;
    const evidence quiet = {.wall_s = 1, .thread_s = 1};
    static const struct {
        evidence after;
        int threads;
        double moved;
        evidence_cause cause;
    } rows[] = {
        {{.wall_s = 2, .thread_s = 1.995}, 1, 0.01, EVIDENCE_CLEAN},
        {{.wall_s = 2, .thread_s = 1.995, .switches = 5}, 1, 0, EVIDENCE_CLEAN},
        {{.wall_s = 2, .thread_s = 2, .steal_s = 1e3}, 1, 0, EVIDENCE_STEAL},
        {{.wall_s = 2, .thread_s = 1.9, .switches = 1}, 1, 0, EVIDENCE_SWITCHES},
        {{.wall_s = 2, .thread_s = 1.2, .switches = 90, .delay_s = 0.019}, 2, 0, EVIDENCE_CLEAN},
        {{.wall_s = 2, .thread_s = 2, .switches = 90, .delay_s = 0.021}, 2, 0, EVIDENCE_SWITCHES},
        {{.wall_s = 2, .thread_s = 2, .cpu = 1}, 1, 0, EVIDENCE_MIGRATION},
        {{.wall_s = 2, .thread_s = 2, .faults = 1}, 1, 0, EVIDENCE_FAULTS},
        {{.wall_s = 2, .thread_s = 1.9}, 1, 0, EVIDENCE_CPU},
        {{.wall_s = 2, .thread_s = 2, .stall_s = 0.02}, 1, 0, EVIDENCE_PRESSURE},
        {{.wall_s = 2, .thread_s = 2}, 1, 0.03, EVIDENCE_ANCHOR},
        {{.wall_s = 2, .thread_s = 2}, 1, NAN, EVIDENCE_ANCHOR},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(evidence_judge(&quiet, &rows[i].after, rows[i].threads, rows[i].moved),
                         rows[i].cause);
}

/* Few clean rounds of many: all count, so that there is something to show. */
static void a_busy_host_keeps_its_rounds(void **state)
{
    (void)state;
    static measure_group g = {.rounds = 10, .tried = 20};
    double samples[MEASURE_TRIES];
    for (int r = 0; r < 20; r++) {
        g.round[r].cause = r < 12 ? EVIDENCE_STEAL : EVIDENCE_CLEAN;
        g.sham_ns[r] = r;
    }
    g.clean = 8;
    assert_int_equal(measure_samples(&g, g.sham_ns, samples), 8);
    assert_true(samples[0] == 12);
    g.clean = 5;
    assert_int_equal(measure_samples(&g, g.sham_ns, samples), 20);
}

int main(void)
{
    honest = attn_find("naive_scalar");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_kernels_are_timed),
        cmocka_unit_test(a_cached_answer_is_void),
        cmocka_unit_test(a_kernel_that_gives_up_is_void),
        cmocka_unit_test(an_unseen_arm_is_judged_in_its_first_sample),
        cmocka_unit_test(every_cause_is_told),
        cmocka_unit_test(a_busy_host_keeps_its_rounds),
        cmocka_unit_test(a_kernel_far_behind_rests),
        cmocka_unit_test(with_a_width_nobody_rests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
