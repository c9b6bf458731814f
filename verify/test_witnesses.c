/* test_witnesses.c: does each check, distribution, layout and place earn its place? For each there
 * is a mutant that the quick suite kills, and that lives when only this one thing is left out.
 *
 *   test_witnesses [all]    all: it lives through all cases, not only through some moderate ones */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "verify/mutation.h"

static const struct witness {
    const char *feature, *mutant;
} witnesses[] = {
    {"bound", "scale-missing"},
    {"exact", "last-of-ties"},
    {"claims", "loosens-claims"},
    {"strays", "gap-within-slice"},
    {"scratch", "scratch-too-small"},
    {"guards", "reads-past-last-row"},
    {"read-only", "scales-query-in-place"},
    {"poison-outputs", "zeros-unwritten"},
    {"poison-gaps", "v-tail-times-zero"},
    {"poison-unseen", "zero-times-padding"},
    {"poison-scratch", "accumulator-cleared-afterwards"},
    {"death", "exits"},
    {"watchdog", "never-returns"},
    {"memory", "runaway"},
    {"rounding", "leaves-rounding"},
    {"subnormals", "leaves-subnormals-flushed"},
    {"signals", "blocks-signals"},
    {"files", "leaves-file-open"},
    {"heap", "leaks"},
    {"registers", "spoils-register"},
    {"threads", "sum-shared-by-threads"},
    {"again", "remembers-inputs"},
    {"negate-v", "rounds-down"},
    {"scale-v", "products-below-1e-18"},
    {"nan-row", "nan-query-is-padding"},
    {"nan-key", "nan-is-negligible"},
    {"permute", "exp-by-head"},
    {"permute-keys", "length-from-mask"},
    {"double-keys", "first-key-once"},
    {"shift-mask", "bias-saturates"},
    {"split-keys", "heads-behind-rows"},
    {"rewrite", "vector-remembered"},
    {"hull", "negative-weight"},
    {"slices", "tail-blended"},
    {"edit", "packed-in-scratch"},
    {"gauss", "rounds-down"},
    {"wide", "large-scores-in-steps"},
    {"ascending", "eight-corrections"},
    {"descending", "eight-from-the-right"},
    {"low", "low-is-hidden"},
    {"cancel", "products-saturate"},
    {"same-sign", "values-share-exponent"},
    {"big-v", "output-of-16-bits"},
    {"heavy", "far-keys-skipped"},
    {"zero-q", "zero-query-is-padding"},
    {"subnormal", "values-by-their-largest"},
    {"ramp", "lazy-by-last-block"},
    {"gather", "scores-overflow-f16"},
    {"uniform", "last-of-ties"},
    {"heads-first", "wrong-contiguous-path"},
    {"rows-first", "wrong-packed-path"},
    {"gaps", "wrong-gap-path"},
    {"pages", "tail-with-neighbours"},
    {"sparse", "index-of-32-bits"},
    {"shared", "stride-0-is-packed"},
    {"right", "pairs-of-floats"},
    {"left", "short-row-from-its-end"},
    {"odd", "aligned-if-strides-are"},
};

enum { WITNESSES = sizeof witnesses / sizeof *witnesses };

static verify_case *cases;
static verify_case *some;
static int count, some_count;

static double work_of(const attn_problem *p)
{
    return (double)p->batch * (double)p->q_heads * (double)p->q_len * (double)p->kv_len *
           (double)(p->qk_dim + p->v_dim);
}

/* All cases, or every fourth of those whose size does not cost too much time. */
static void make_cases(bool all)
{
    const double most = 2e5;
    cases = verify_suite("quick", 1, &count);
    some = malloc((size_t)count * sizeof *some);
    assert_non_null(some);
    for (int c = 0; c < count; c += all ? 1 : 4)
        if (all || work_of(&cases[c].problem) <= most) some[some_count++] = cases[c];
}

/* One test per feature; the state is its index. */
static void a_mutant_needs_it(void **state)
{
    int feature = *(const int *)*state, w = 0;
    while (w < WITNESSES && strcmp(witnesses[w].feature, verify_feature_name(feature)) != 0) w++;
    if (w == WITNESSES) fail_msg("%s has no witness", verify_feature_name(feature));
    const mutant *m = mutant_find(witnesses[w].mutant);
    assert_non_null(m);
    mutation_result with = mutation_run(m, cases, count, MUTATION_FIRST, 0);
    if (!with.applies) skip();
    if (!with.killed) fail_msg("%s lives", m->name);
    mutation_result without =
        mutation_run(m, some, some_count, MUTATION_FIRST, UINT64_C(1) << feature);
    assert_true(without.cases > 0);
    if (without.killed)
        fail_msg("%s dies without %s: %s", m->name, witnesses[w].feature, without.report.reason);
}

int main(int argc, char **argv)
{
    static int features[VERIFY_FEATURES];
    struct CMUnitTest tests[VERIFY_FEATURES];
    make_cases(argc > 1 && strcmp(argv[1], "all") == 0);
    for (int f = 0; f < VERIFY_FEATURES; f++) {
        features[f] = f;
        tests[f] = (struct CMUnitTest){verify_feature_name(f), a_mutant_needs_it, NULL, NULL,
                                       &features[f]};
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(cases);
    free(some);
    return failed;
}
