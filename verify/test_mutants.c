/* test_mutants.c: who verifies the verifier? All mutants through the quick suite, and the cases
 * themselves. Tests that fork come first: OpenMP's threads do not survive a fork. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "verify/mutation.h"

static void the_unchanged_kernel_passes(void **state)
{
    (void)state;
    static const mutant unchanged = {.name = "unchanged", .stages = {0}};
    int count;
    verify_case *cases = verify_suite("quick", 1, &count);
    mutation_result r = mutation_run(&unchanged, cases, count, MUTATION_FIRST, 0);
    if (r.killed) fail_msg("%s", r.report.reason);
    assert_int_equal(r.cases, count);
    free(cases);
}

/* Each mutant dies, by every check that its row of the table names; equivalent ones live. */
static void mutants_do_as_promised(void **state)
{
    (void)state;
    int count, wrong = 0, mutants = 0, killed = 0;
    verify_case *cases = verify_suite("quick", 1, &count);
    for (const mutant *m; (m = mutant_at(mutants)); mutants++) {
        mutation_result r = mutation_run(m, cases, count, MUTATION_PROMISE, 0);
        killed += r.killed;
        if (mutation_as_promised(&r)) continue;
        wrong++;
        print_message("%s: promised %s\n", m->name, m->killed_by ? m->killed_by : "to live");
        for (int f = 0; f < VERIFY_FEATURES; f++)
            if ((mutation_promise(m) & ~r.killers) >> f & 1)
                print_message("  not killed by %s\n", verify_feature_name(f));
    }
    print_message("%d mutants, %d killed\n", mutants, killed);
    free(cases);
    assert_int_equal(wrong, 0);
    assert_true(killed >= 95);
}

static void mutants_have_names_of_their_own(void **state)
{
    (void)state;
    for (int m = 0; mutant_at(m); m++) {
        assert_ptr_equal(mutant_find(mutant_at(m)->name), mutant_at(m));
        assert_true(strlen(mutant_at(m)->mirrors) > 8);
        if (mutant_at(m)->killed_by && !mutation_promise(mutant_at(m)))
            fail_msg("%s names no check", mutant_at(m)->name);
    }
}

/* Two thousand roundings all in one direction: possible, so right, but worth a word. */
static void drift(const attn_problem *p, const attn_tensors *t, attn_slice s, void *scratch)
{
    attn_find("naive_scalar")->run(p, t, s, scratch);
    for (int64_t i = s.q_begin; i < s.q_end; i++)
        for (int64_t c = 0; c < p->v_dim; c++)
            t->out.data[s.head * t->out.head_stride + i * t->out.row_stride + c] *= 1 + 0x1p-13f;
}

static void roundings_in_one_direction_warn(void **state)
{
    (void)state;
    attn_kernel kernel = *attn_find("naive_scalar");
    verify_case which = {attn_problem_make(2, 2048, 16), REF_SAME_SIGN, REF_HEADS_FIRST,
                         VERIFY_HEAP_PLACE, 1};
    which.problem.q_len = 5;
    kernel.claims = ref_default_claims;
    verify_report right = verify_check(&kernel, &which, (verify_options){.threads = 1});
    kernel.run = drift;
    verify_report drifts = verify_check(&kernel, &which, (verify_options){.threads = 1});
    assert_int_equal(right.status, VERIFY_PASS);
    assert_int_equal(drifts.status, VERIFY_PASS);
    assert_true(right.typical_share < 1);
    assert_true(drifts.typical_share > 1);
}

/* ---- cases ---------------------------------------------------------------------------- */

static void pairs_meet(void **state)
{
    (void)state;
    enum { BITS = 14 };
    bool met[BITS][2][BITS][2] = {0};
    int count;
    attn_problem *all = verify_pairwise(&count);
    for (int c = 0; c < count; c++) {
        const attn_problem *p = &all[c];
        assert_int_equal(attn_validate(p, NULL, NULL), ATTN_OK);
        bool f[BITS] = {p->causal,           p->has_kv_lens,
                        p->has_q_offsets,    p->has_mask,
                        p->has_bias,         p->has_alibi,
                        p->has_sinks,        p->softcap > 0,
                        p->wants_lse,        p->q_heads != p->kv_heads,
                        p->window_left >= 0, p->window_right >= 0,
                        p->weights != 0,     p->v_dim != p->qk_dim};
        for (int a = 0; a < BITS; a++)
            for (int b = 0; b < BITS; b++) met[a][f[a]][b][f[b]] = true;
    }
    for (int a = 0; a < BITS; a++)
        for (int b = 0; b < BITS; b++)
            for (int form = 0; form < 4; form++)
                if (a != b) assert_true(met[a][form / 2][b][form % 2]);
    free(all);
}

static void random_cases_are_legal_and_varied(void **state)
{
    (void)state;
    int kinds[REF_DISTRIBUTIONS] = {0};
    for (uint64_t index = 0; index < 2000; index++) {
        verify_case c = verify_random(7, index), again = verify_random(7, index);
        char first[384], second[384];
        assert_int_equal(attn_validate(&c.problem, NULL, NULL), ATTN_OK);
        verify_replay(&c, first, sizeof first);
        verify_replay(&again, second, sizeof second);
        assert_string_equal(first, second);
        kinds[c.inputs]++;
    }
    for (int k = 0; k < REF_DISTRIBUTIONS; k++) assert_true(k == REF_RAMP || kinds[k] > 40);
}

static bool wide_and_causal(void *context, const verify_case *c)
{
    ++*(int *)context;
    return c->problem.causal && c->problem.qk_dim > 12 && c->problem.kv_len > 5;
}

static void failures_shrink(void **state)
{
    (void)state;
    int tries = 0;
    verify_case big = {attn_problem_make(4, 90, 40), REF_WIDE, REF_GAPS, VERIFY_LEFT, 5};
    big.problem.causal = big.problem.has_bias = big.problem.wants_lse = true;
    big.problem.batch = 3;
    verify_case small = verify_shrink(big, 500, wide_and_causal, &tries);
    char text[384];
    verify_replay(&small, text, sizeof text);
    assert_string_equal(text, "--problems q0k6d13v1c0 --inputs gauss --layout heads-first "
                              "--place left --seed 5");
    assert_true(tries <= 500);
}

static void no_case_is_vacuous(void **state)
{
    (void)state;
    int count;
    verify_case *cases = verify_suite("quick", 1, &count);
    for (int c = 0; c < count; c++) {
        verify_report r =
            verify_check(attn_find("naive_auto"), &cases[c], (verify_options){.threads = 1});
        if (r.status != VERIFY_PASS) fail_msg("case %d: %s", c, r.reason);
    }
    free(cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_unchanged_kernel_passes),
        cmocka_unit_test(mutants_do_as_promised),
        cmocka_unit_test(mutants_have_names_of_their_own),
        cmocka_unit_test(roundings_in_one_direction_warn),
        cmocka_unit_test(pairs_meet),
        cmocka_unit_test(random_cases_are_legal_and_varied),
        cmocka_unit_test(failures_shrink),
        cmocka_unit_test(no_case_is_vacuous),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
