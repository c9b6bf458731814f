/* test_check.c: can the verifier fail? Kernels that are wrong in known ways must be caught, by the
 * quick suite and nothing else. (The whole catalogue of mutants is larger; this is the proof that
 * the judge is awake.)
 *
 * Each is naive_scalar with something done to problem, tensors or outputs on the way. */
#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "verify/worker.h"

typedef void damage(attn_problem *p, attn_tensors *t, attn_slice *s, bool after);

/* What the kernel under test does; set before each check. */
static damage *current;

static void wrong_run(const attn_problem *p, const attn_tensors *t, attn_slice s, void *scratch)
{
    attn_problem wrong_p = *p;
    attn_tensors wrong_t = *t;
    attn_slice wrong_s = s;
    current(&wrong_p, &wrong_t, &wrong_s, false);
    attn_find("naive_scalar")->run(&wrong_p, &wrong_t, wrong_s, scratch);
    wrong_p = *p, wrong_t = *t, wrong_s = s;
    current(&wrong_p, &wrong_t, &wrong_s, true);
}

#define UNUSED __attribute__((unused))
#define DAMAGE(name)                                                                               \
    static void name(UNUSED attn_problem *p, UNUSED attn_tensors *t, UNUSED attn_slice *s,         \
                     UNUSED bool after)

DAMAGE(nothing) {}
DAMAGE(scale_of_v_dim) { p->scale = (float)(1 / sqrt((double)p->v_dim)); }
DAMAGE(scale_off_by_one_percent) { p->scale *= 1.01f; }
DAMAGE(causal_dropped) { p->causal = false; }
DAMAGE(causal_top_left)
{
    if (p->causal) p->q_offset = 0;
}
DAMAGE(causal_leaks_one)
{
    if (p->causal) p->causal = false, p->window_right = 1;
}
DAMAGE(window_one_wider)
{
    if (p->window_left >= 0) p->window_left++;
}
DAMAGE(window_one_narrower)
{
    if (p->window_left > 0) p->window_left--;
}
DAMAGE(last_key_lost)
{
    if (!after && p->kv_len > 1 && !p->has_kv_lens && !p->weights) p->kv_len--;
}
DAMAGE(lengths_ignored) { p->has_kv_lens = false; }
DAMAGE(softcap_ignored) { p->softcap = 0; }
DAMAGE(sink_ignored) { p->has_sinks = false; }
DAMAGE(alibi_ignored) { p->has_alibi = false; }
DAMAGE(bias_ignored) { p->has_bias = false; }
DAMAGE(mask_of_head_0) { t->mask.head_stride = 0; }
DAMAGE(mask_of_row_0) { t->mask.row_stride = 0; }
DAMAGE(kv_head_0) { t->k.head_stride = 0; }
DAMAGE(v_assumed_contiguous) { t->v.row_stride = p->v_dim; }
static float *first_row(const attn_tensors *t, const attn_slice *s)
{
    return t->out.data + s->batch * t->out.batch_stride + s->head * t->out.head_stride +
           s->q_begin * t->out.row_stride;
}

DAMAGE(lse_wrong)
{
    attn_output *lse = &t->lse;
    if (after && p->wants_lse)
        lse->data[s->batch * lse->batch_stride + s->head * lse->head_stride +
                  s->q_begin * lse->row_stride] = 1;
}

DAMAGE(last_column_unwritten)
{
    if (after) memcpy(first_row(t, s) + p->v_dim - 1, &(int32_t){REF_CANARY}, 4);
}

DAMAGE(writes_past_a_row)
{
    if (after && s->head + 1 == p->q_heads && s->batch + 1 == p->batch)
        first_row(t, s)[(s->q_end - s->q_begin - 1) * t->out.row_stride + p->v_dim] = 0;
}

DAMAGE(first_row_zeroed)
{
    if (after)
        for (int64_t c = 0; c < p->v_dim; c++) first_row(t, s)[c] = 0;
}

DAMAGE(output_in_bfloat16)
{
    for (int64_t i = 0; after && i < s->q_end - s->q_begin; i++)
        for (int64_t c = 0; c < p->v_dim; c++) {
            uint32_t bits;
            float *x = first_row(t, s) + i * t->out.row_stride + c;
            memcpy(&bits, x, 4);
            bits &= 0xffff0000u;
            memcpy(x, &bits, 4);
        }
}

DAMAGE(rounding_mode_left)
{
    if (after) fesetround(FE_UPWARD);
}

DAMAGE(query_overwritten)
{
    if (!after)
        *(float *)(t->q.data + s->batch * t->q.batch_stride + s->head * t->q.head_stride) = 0;
}

DAMAGE(not_deterministic)
{
    static int calls;
    if (after) first_row(t, s)[0] += (float)(calls++ % 2) * 1e-7f * first_row(t, s)[0];
}

static const struct {
    const char *name;
    damage *run;
} wrong[] = {
#define ROW(name)                                                                                  \
    {                                                                                              \
#name, name                                                                                \
    }
    ROW(scale_of_v_dim),        ROW(scale_off_by_one_percent),
    ROW(causal_dropped),        ROW(causal_top_left),
    ROW(causal_leaks_one),      ROW(window_one_wider),
    ROW(window_one_narrower),   ROW(last_key_lost),
    ROW(lengths_ignored),       ROW(softcap_ignored),
    ROW(sink_ignored),          ROW(alibi_ignored),
    ROW(bias_ignored),          ROW(mask_of_head_0),
    ROW(mask_of_row_0),         ROW(kv_head_0),
    ROW(v_assumed_contiguous),  ROW(lse_wrong),
    ROW(last_column_unwritten), ROW(writes_past_a_row),
    ROW(first_row_zeroed),      ROW(output_in_bfloat16),
    ROW(rounding_mode_left),    ROW(query_overwritten),
    ROW(not_deterministic),
};

static const attn_kernel *open_wrong(const void *context, char *reason, size_t size)
{
    static attn_kernel kernel;
    (void)context, (void)reason, (void)size;
    kernel = *attn_find("naive_scalar");
    kernel.name = "wrong";
    kernel.run = wrong_run;
    return &kernel;
}

/* Failures of the quick suite for a kernel with this damage, up to the first. */
static int failures(damage *run, char *first, size_t size)
{
    int count;
    verify_case *cases = verify_suite("quick", 1, &count);
    current = run;
    worker *w = worker_new(open_wrong, NULL, WORKER_SECONDS);
    for (int c = 0; c < count; c++) {
        const attn_problem *p = &cases[c].problem;
        if (p->q_len * p->kv_len > 20000) continue; /* enough without the long ones */
        verify_report r = worker_check(w, &cases[c], (verify_options){1, 0, true, 0});
        if (r.status != VERIFY_FAIL) continue;
        worker_free(w);
        verify_replay(&cases[c], first, size);
        free(cases);
        return 1;
    }
    free(cases);
    worker_free(w);
    return 0;
}

static void wrong_kernels_are_caught(void **state)
{
    (void)state;
    char first[384];
    int alive = 0;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        bool caught = failures(wrong[i].run, first, sizeof first);
        print_message("%-26s %s\n", wrong[i].name, caught ? first : "SURVIVES");
        alive += !caught;
    }
    assert_int_equal(alive, 0);
}

/* Loose claims would loosen the judge: they are a failure of their own. */
static attn_claims loose_claims(const attn_problem *p)
{
    attn_claims claims = attn_find("naive_scalar")->claims(p);
    claims.exp_ulp = 1e9;
    return claims;
}

static void loose_claims_are_refused(void **state)
{
    (void)state;
    attn_kernel kernel = *attn_find("naive_scalar");
    verify_case plain = {attn_problem_make(2, 20, 24), REF_GAUSS, REF_GAPS, VERIFY_RIGHT, 1};
    kernel.claims = loose_claims;
    verify_report r = verify_check(&kernel, &plain, (verify_options){1, 0, true, 0});
    assert_int_equal(r.status, VERIFY_FAIL);
    assert_non_null(strstr(r.reason, "claims"));
}

static void no_case_is_vacuous(void **state)
{
    (void)state;
    int count;
    verify_case *cases = verify_suite("quick", 1, &count);
    for (int c = 0; c < count; c++) {
        verify_report r =
            verify_check(attn_find("naive_auto"), &cases[c], (verify_options){2, 0, false, 0});
        if (r.status == VERIFY_SKIP) fail_msg("case %d: %s", c, r.reason);
    }
    free(cases);
}

static void a_right_kernel_passes(void **state)
{
    (void)state;
    char first[384] = "";
    if (failures(nothing, first, sizeof first)) fail_msg("the undamaged kernel fails %s", first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_right_kernel_passes), cmocka_unit_test(no_case_is_vacuous),
        cmocka_unit_test(loose_claims_are_refused), cmocka_unit_test(wrong_kernels_are_caught)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
