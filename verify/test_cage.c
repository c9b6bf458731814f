/* test_cage.c: does memory bite, and does the run survive what a kernel does to its process?
 *
 * Each kernel below misbehaves in one way on every second case; the verdicts of the others must
 * stand. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "verify/conform.h"
#include "verify/worker.h"

enum { CASES = 6 };

typedef void misdeed(const attn_problem *p, const attn_tensors *t, void *scratch);

static volatile float sink;

static void reads_past_v(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)scratch;
    sink = t->v.data[(p->kv_heads - 1) * t->v.head_stride + (p->kv_len - 1) * t->v.row_stride +
                     p->v_dim];
}
static void reads_before_k(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)p, (void)scratch;
    sink = t->k.data[-2];
}
static void writes_q(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)p, (void)scratch;
    *(volatile float *)t->q.data = t->q.data[0];
}
static void writes_before_out(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)p, (void)scratch;
    t->out.data[-1] = 0;
}
static void overruns_scratch(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)t;
    ((char *)scratch)[attn_find("naive_scalar")->scratch_bytes(p)] = 0;
}
static void reads_past_a_row(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)scratch;
    sink = t->k.data[p->qk_dim];
}
static void writes_before_a_row(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)p, (void)scratch;
    t->out.data[t->out.row_stride - 1] = 0;
}
static void counts_in_32_bits(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)scratch;
    sink = t->v.data[(int32_t)((uint64_t)(p->kv_len - 1) * (uint64_t)t->v.row_stride)];
}
static void needs_16_bytes(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)p, (void)scratch;
    if ((uintptr_t)t->q.data % 16) abort();
}
static void aborts(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)p, (void)t, (void)scratch;
    abort();
}
static void exits(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)p, (void)t, (void)scratch;
    exit(0);
}
static void hangs(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)p, (void)t, (void)scratch;
    for (volatile int forever = 1; forever;) {}
}
static void is_killed(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)p, (void)t, (void)scratch;
    raise(SIGKILL);
}
static void dies_with_words(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)p, (void)t, (void)scratch;
    fputs("some words\nand last ones\n", stderr);
    abort();
}
static void talks_without_end(const attn_problem *p, const attn_tensors *t, void *scratch)
{
    (void)p, (void)t, (void)scratch;
    for (int line = 0; line < 20000; line++) fputs("on and on\n", stderr);
    raise(SIGKILL);
}

static const struct {
    const char *name;
    misdeed *run;
    verify_place place;
    verify_part part;
    const char *reason;
    ref_layout layout;
} misdeeds[] = {
    {"reads past v", reads_past_v, VERIFY_RIGHT, VERIFY_DEATH, "0 bytes past the end of v",
     REF_HEADS_FIRST},
    {"reads before k", reads_before_k, VERIFY_LEFT, VERIFY_DEATH, "8 bytes before k",
     REF_HEADS_FIRST},
    {"writes q", writes_q, VERIFY_LEFT, VERIFY_DEATH, "in byte 0 of q, which is read-only",
     REF_HEADS_FIRST},
    {"writes before out", writes_before_out, VERIFY_RIGHT, VERIFY_STRAYS, "4 bytes before out",
     REF_HEADS_FIRST},
    {"overruns scratch", overruns_scratch, VERIFY_LEFT, VERIFY_SCRATCH, "4 bytes behind its",
     REF_HEADS_FIRST},
    {"reads past a row", reads_past_a_row, VERIFY_RIGHT, VERIFY_DEATH,
     "0 bytes past the end of row 0 of k", REF_PAGES},
    {"writes before a row", writes_before_a_row, VERIFY_RIGHT, VERIFY_STRAYS,
     "4 bytes before row 1 of out", REF_PAGES},
    {"counts in 32 bits", counts_in_32_bits, VERIFY_RIGHT, VERIFY_DEATH, "signal 11", REF_SPARSE},
    {"needs 16 bytes", needs_16_bytes, VERIFY_ODD, VERIFY_DEATH, "signal 6", REF_HEADS_FIRST},
    {"aborts", aborts, VERIFY_LEFT, VERIFY_DEATH, "signal 6", REF_HEADS_FIRST},
    {"exits", exits, VERIFY_LEFT, VERIFY_DEATH, "exit(0)", REF_HEADS_FIRST},
    {"hangs", hangs, VERIFY_LEFT, VERIFY_WATCHDOG, "did not return", REF_HEADS_FIRST},
    {"is killed", is_killed, VERIFY_LEFT, VERIFY_DEATH, "signal 9", REF_HEADS_FIRST},
    {"dies with words", dies_with_words, VERIFY_LEFT, VERIFY_DEATH, "(Aborted): and last ones",
     REF_HEADS_FIRST},
    {"talks without end", talks_without_end, VERIFY_LEFT, VERIFY_DEATH, "(Killed): on",
     REF_HEADS_FIRST},
};
enum { MISDEEDS = sizeof misdeeds / sizeof *misdeeds, FIRST_WITHOUT_TENSORS = 9 };

static misdeed *current;

/* Problems with an odd number of keys are where the kernel misbehaves. */
static void bad_run(const attn_problem *p, const attn_tensors *t, attn_slice s, void *scratch)
{
    attn_find("naive_scalar")->run(p, t, s, scratch);
    if (p->kv_len % 2 && s.head == 0) current(p, t, scratch);
}

static const attn_kernel *open_bad(const void *context, char *reason, size_t size)
{
    static attn_kernel kernel;
    (void)context, (void)reason, (void)size;
    kernel = *attn_find("naive_scalar");
    kernel.run = bad_run;
    return &kernel;
}

/* CASES cases, every second one bad: all must get their verdict, and a death starts a worker
 * anew. */
static void misdeeds_are_results(void **state)
{
    (void)state;
    for (int m = 0; m < MISDEEDS; m++) {
        int passed = 0, failed = 0, skipped = 0;
        current = misdeeds[m].run;
        worker *w = worker_new(open_bad, NULL, 0.3);
        for (int c = 0; c < CASES; c++) {
            verify_case which = {attn_problem_make(2, 10 + c, 5), REF_GAUSS, misdeeds[m].layout,
                                 misdeeds[m].place, 1};
            verify_report r = worker_check(w, &which, (verify_options){.threads = 1});
            passed += r.status == VERIFY_PASS;
            failed += r.status == VERIFY_FAIL;
            skipped += r.status == VERIFY_SKIP;
            if (r.status != VERIFY_FAIL) continue;
            if (!(r.failed >> misdeeds[m].part & 1) || !strstr(r.reason, misdeeds[m].reason))
                fail_msg("%s: \"%s\" lacks \"%s\"", misdeeds[m].name, r.reason, misdeeds[m].reason);
        }
        if (misdeeds[m].layout == REF_SPARSE && skipped == CASES) { /* a sanitizer's addresses */
            worker_free(w);
            continue;
        }
        assert_int_equal(passed, CASES / 2);
        assert_int_equal(failed, CASES / 2);
        bool dies = misdeeds[m].part == VERIFY_DEATH || misdeeds[m].part == VERIFY_WATCHDOG;
        assert_int_equal(worker_starts(w), dies ? CASES / 2 : 1);
        worker_free(w);
    }
}

static const attn_kernel *open_nothing(const void *context, char *reason, size_t size)
{
    snprintf(reason, size, "%s", (const char *)context);
    return NULL;
}

static void a_kernel_that_cannot_be_opened_fails(void **state)
{
    (void)state;
    verify_case which = {attn_problem_make(1, 5, 5), REF_GAUSS, REF_GAPS, VERIFY_LEFT, 1};
    worker *w = worker_new(open_nothing, "no such kernel", 1);
    verify_report r = worker_check(w, &which, (verify_options){.threads = 1});
    assert_int_equal(r.status, VERIFY_FAIL);
    assert_string_equal(r.reason, "no such kernel");
    worker_free(w);
}

/* A job answers with the number of its misdeed, if it lives so long. */
static void job(void *context, void *result)
{
    attn_problem p = attn_problem_make(1, 5, 5);
    const int *m = context;
    if (*m >= 0) misdeeds[*m].run(&p, NULL, NULL);
    *(int *)result = *m;
}

static void jobs_die_alone(void **state)
{
    (void)state;
    for (int m = -1; m < MISDEEDS; m++) {
        int result = -2;
        verify_report how;
        if (m >= 0 && m < FIRST_WITHOUT_TENSORS) continue;
        bool lives = worker_call(job, &m, &result, sizeof result, 0.3, &how);
        assert_int_equal(lives, m < 0);
        assert_int_equal(result, lives ? m : -2);
        if (lives) continue;
        assert_true(how.failed >> misdeeds[m].part & 1);
        assert_non_null(strstr(how.reason, misdeeds[m].reason));
    }
}

/* `attest conform` goes on after a kernel that dies on a case. */
static void a_death_is_the_result_of_its_case(void **state)
{
    (void)state;
    float zeros[15] = {0};
    const npy_array x = {.type = NPY_FLOAT32, .rank = 2, .shape = {5, 3}, .data = zeros};
    const case_arrays arrays = {.q = &x, .k = &x, .v = &x};
    case_record record;
    assert_int_equal(case_from_arrays(&arrays, &record, NULL), CASE_READY);
    current = exits;
    conform_result r = conform_check_apart(&record, open_bad(NULL, NULL, 0), 1);
    assert_int_equal(r.status, CONFORM_FAIL);
    assert_non_null(strstr(r.reason, "exit(0)"));
    case_free(&record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(misdeeds_are_results),
        cmocka_unit_test(jobs_die_alone),
        cmocka_unit_test(a_death_is_the_result_of_its_case),
        cmocka_unit_test(a_kernel_that_cannot_be_opened_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
