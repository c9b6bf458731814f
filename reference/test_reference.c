/* test_reference.c: is the truth true? Hand-computed rows, two algorithms against each other on
 * random problems, and the same random bits on every machine.
 *
 *   test_reference [random problems, default 20000] */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "reference/test_problem.h"

/* One head, two queries, three keys, head size 1; every answer below is worked out by hand. */
static float q2[2] = {0, 1}, k3[3] = {0, 1, 2}, v3[3] = {6, 3, 0}, out2[2];

static attn_problem hand_problem(attn_tensors *t)
{
    attn_problem p = attn_problem_make(1, 2, 1);
    p.kv_len = 3;
    p.q_offset = 1;
    *t = (attn_tensors){
        .q = {q2, 2, 2, 1}, .k = {k3, 3, 3, 1}, .v = {v3, 3, 3, 1}, .out = {out2, 2, 2, 1}};
    return p;
}

static void expect_row(const attn_problem *p, const attn_tensors *t, int64_t i, double out,
                       double lse)
{
    void (*algorithms[])(const attn_problem *, const attn_tensors *, ref_place,
                         ref_row *) = {ref_dense, ref_online};
    for (int a = 0; a < 2; a++) {
        ref_row *row = ref_row_new(p);
        algorithms[a](p, t, (ref_place){0, 0, i}, row);
        assert_true(row->out[0] == out || fabs(row->out[0] - out) <= 1e-15 * fabs(out));
        assert_true(row->lse == lse || fabs(row->lse - lse) <= 1e-15 * fabs(lse));
        ref_row_free(row);
    }
}

static void hand_cases(void **state)
{
    (void)state;
    attn_tensors t;
    attn_problem p = hand_problem(&t);
    double e = exp(1), l = e * e;
    expect_row(&p, &t, 0, 3, log(3));                                 /* equal weights */
    expect_row(&p, &t, 1, (6 + 3 * e) / (1 + e + l), log(1 + e + l)); /* e^0, e^1, e^2 */
    p.causal = true;
    expect_row(&p, &t, 0, 4.5, log(2)); /* keys 0 and 1 */
    p.q_offset = -1;
    expect_row(&p, &t, 0, 0, -INFINITY); /* no key at all */
    expect_row(&p, &t, 1, 6, 0);         /* key 0 */
    p.causal = false, p.q_offset = 0, p.window_left = 0, p.window_right = 1;
    expect_row(&p, &t, 1, 3 / (1 + e), log(e + l)); /* keys 1 and 2 */
    p = hand_problem(&t), p.select = ATTN_HARDMAX;
    expect_row(&p, &t, 0, 6, 0); /* a tie: lowest index */
    expect_row(&p, &t, 1, 0, 2);
    p.select = ATTN_TOPK, p.top_k = 2;
    expect_row(&p, &t, 0, 4.5, log(2));
    expect_row(&p, &t, 1, 3 / (1 + e), log(e + l));
    p = hand_problem(&t), p.softcap = 1;
    double c1 = exp(tanh(1)), c2 = exp(tanh(2));
    expect_row(&p, &t, 1, (6 + 3 * c1) / (1 + c1 + c2), log(1 + c1 + c2));
    float sink = 0, slope = 1, vector = 2, bias[6] = {0, -INFINITY, 0, 1, 0, -1};
    p = hand_problem(&t), p.has_sinks = true, t.sinks = &sink;
    expect_row(&p, &t, 0, 9.0 / 4, log(4));
    p = hand_problem(&t), p.has_alibi = true, t.alibi_slopes = &slope;
    expect_row(&p, &t, 0, (6 / e + 3) / (1 + 2 / e), log(1 + 2 / e)); /* distances 1, 0, 1 */
    p = hand_problem(&t), p.has_bias = true, t.bias = (attn_bias){bias, 0, 0, 3, 1};
    expect_row(&p, &t, 0, 3, log(2));
    expect_row(&p, &t, 1, 3, log(3) + 1); /* all scores 1 */
    p = hand_problem(&t), p.score = ATTN_ADDITIVE, t.score_vector = &vector;
    double a1 = exp(2 * tanh(1)), a2 = exp(2 * tanh(2));
    expect_row(&p, &t, 0, (6 + 3 * a1) / (1 + a1 + a2), log(1 + a1 + a2));
}

static double excess(double a, double b, double bound)
{
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b) ? 0 : INFINITY;
    if (isfinite(a) && !(bound >= 0)) return INFINITY; /* a finite value has a bound */
    return a == b ? 0 : fabs(a - b) / bound;
}

/* Both are double computations, so each is within the bound for u = 2^-53 of the truth, and they
 * are within twice that of each other. Returns the largest share of it that was used. */
static double compare_row(const attn_problem *p, const attn_tensors *t, ref_place at, ref_row *a,
                          ref_row *b)
{
    attn_claims claims = ref_default_claims(p);
    claims.flush = 0x1p-1022;
    ref_dense(p, t, at, a);
    ref_online(p, t, at, b);
    ref_bound(p, t, at, &claims, 0x1p-53, a);
    double worst = excess(a->lse, b->lse, 2 * a->lse_bound);
    for (int64_t c = 0; c < p->v_dim; c++)
        worst = fmax(worst, excess(a->out[c], b->out[c], 2 * a->out_bound[c]));
    for (int64_t j = 0; j < p->kv_len; j++) {
        assert_int_equal(a->visible[j], b->visible[j]);
        assert_int_equal(a->visible[j], ref_visible(p, t, at, j));
        if (p->weights)
            worst = fmax(worst, excess(a->weights[j], b->weights[j], 2 * a->weights_bound[j]));
    }
    return worst;
}

/* The typical bound of no element of the row exceeds its bound. */
static void typical_is_less(const attn_problem *p, const attn_tensors *t, ref_place at, ref_row *a,
                            ref_row *b)
{
    attn_claims claims = ref_default_claims(p);
    ref_dense(p, t, at, a), ref_dense(p, t, at, b);
    ref_bound(p, t, at, &claims, 0x1p-24, a);
    ref_typical_bound(p, t, at, &claims, 0x1p-24, b);
    for (int64_t c = 0; c < p->v_dim; c++) assert_true(b->out_bound[c] <= a->out_bound[c]);
    for (int64_t j = 0; p->weights && j < p->kv_len; j++)
        assert_true(b->weights_bound[j] <= a->weights_bound[j]);
    assert_true(b->lse_bound <= a->lse_bound);
}

static uint64_t problems = 20000;

static void two_algorithms_agree(void **state)
{
    (void)state;
    double worst = 0;
    int64_t rows = 0;
    for (uint64_t seed = 0; seed < problems; seed++) {
        attn_problem p = random_problem(seed);
        ref_distribution kind = (ref_distribution)(seed % REF_GATHER);
        attn_error error;
        assert_int_equal(attn_validate(&p, NULL, &error), ATTN_OK);
        ref_inputs *in =
            ref_inputs_new(&p, kind, (ref_layout)(seed / REF_GATHER % REF_LAYOUTS), seed);
        if (attn_validate(&p, &in->tensors, &error)) fail_msg("seed %d: %s", (int)seed, error.text);
        ref_row *a = ref_row_new(&p), *b = ref_row_new(&p);
        for (int64_t h = 0; h < p.q_heads; h++, rows++) {
            ref_place at = {(int64_t)seed % p.batch, h, (int64_t)seed % p.q_len};
            double share = compare_row(&p, &in->tensors, at, a, b);
            char key[128];
            attn_problem_print(&p, key, sizeof key);
            if (!(share <= 1))
                fail_msg("%s, %s, seed %d, head %d: references differ by %g of their bound", key,
                         ref_distribution_names[kind], (int)seed, (int)h, share);
            worst = fmax(worst, share);
            if (seed % 8 == 0) typical_is_less(&p, &in->tensors, at, a, b);
        }
        ref_row_free(a), ref_row_free(b), ref_inputs_free(in);
    }
    print_message("%d rows, at most %.3g of the bound for u = 2^-53\n", (int)rows, worst);
}

/* Relations that follow from the formula and are weaker than the bound: they are asked of the truth
 * itself. One query, N keys; K, V and bias have room for twice as many. */
enum { N = 12, D = 5 };
typedef struct keys {
    float q[D], k[2 * N * D], v[2 * N * D], bias[2 * N];
} keys;

static ref_row *row_of_keys(keys *x, int64_t first, int64_t count, attn_problem *p)
{
    attn_tensors t = {.q = {x->q, D, D, D},
                      .k = {x->k + first * D, 0, 0, D},
                      .v = {x->v + first * D, 0, 0, D},
                      .bias = {x->bias + first, 0, 0, 0, 1}};
    *p = attn_problem_make(1, 1, D);
    p->kv_len = count, p->has_bias = true;
    attn_claims claims = ref_default_claims(p);
    ref_row *row = ref_row_new(p);
    ref_dense(p, &t, (ref_place){0, 0, 0}, row);
    ref_bound(p, &t, (ref_place){0, 0, 0}, &claims, 0x1p-53, row);
    return row;
}

static void expect_same(const ref_row *a, const ref_row *b, double lse_shift)
{
    assert_true(fabs(b->lse - a->lse - lse_shift) <= a->lse_bound + b->lse_bound + 0x1p-50);
    for (int c = 0; c < D; c++)
        assert_true(fabs(a->out[c] - b->out[c]) <= a->out_bound[c] + b->out_bound[c]);
}

static void expect_merged(const ref_row *whole, const ref_row *a, const ref_row *b)
{
    double wa = exp(a->lse - whole->lse), wb = exp(b->lse - whole->lse);
    assert_true(fabs(wa + wb - 1) <= 4 * whole->lse_bound + 0x1p-50);
    for (int c = 0; c < D; c++)
        assert_true(fabs(wa * a->out[c] + wb * b->out[c] - whole->out[c]) <=
                    8 * (whole->out_bound[c] + a->out_bound[c] + b->out_bound[c]));
}

static void relations_hold(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 500; seed++) {
        keys x, other;
        float *all = (float *)&x;
        for (uint64_t i = 0; i < sizeof x / sizeof *all; i++)
            all[i] = (float)(int64_t)(ref_random(seed, i) >> 40) * 0x1p-22f - 2;
        attn_problem p;
        ref_row *row = row_of_keys(&x, 0, N, &p), *next;
        other = x;
        for (int j = 0; j < N; j++) { /* the keys backwards */
            memcpy(other.k + j * D, x.k + (N - 1 - j) * D, D * sizeof(float));
            memcpy(other.v + j * D, x.v + (N - 1 - j) * D, D * sizeof(float));
            other.bias[j] = x.bias[N - 1 - j];
        }
        expect_same(row, next = row_of_keys(&other, 0, N, &p), 0), ref_row_free(next);
        other = x; /* every key twice */
        memcpy(other.k + N * D, x.k, N * D * sizeof(float));
        memcpy(other.v + N * D, x.v, N * D * sizeof(float));
        memcpy(other.bias + N, x.bias, N * sizeof(float));
        expect_same(row, next = row_of_keys(&other, 0, 2 * N, &p), log(2)), ref_row_free(next);
        other = x; /* a constant added to the mask: exact, 2 + multiples of 2^-22 */
        for (int j = 0; j < N; j++) other.bias[j] += 2;
        expect_same(row, next = row_of_keys(&other, 0, N, &p), 2), ref_row_free(next);
        int64_t cut = 1 + (int64_t)(seed % (N - 1)); /* in two parts, merged by lse */
        ref_row *left = row_of_keys(&x, 0, cut, &p), *right = row_of_keys(&x, cut, N - cut, &p);
        expect_merged(row, left, right);
        ref_row_free(row), ref_row_free(left), ref_row_free(right);
    }
}

/* FNV-1a over all bits of all inputs: a literal of one machine that all must reproduce. */
static void inputs_are_the_same_everywhere(void **state)
{
    (void)state;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int kind = 0; kind < REF_DISTRIBUTIONS; kind++) {
        attn_problem p;
        assert_int_equal(attn_problem_parse("b2h4g2q5k33d24v7lenboolbiasalibisink", &p, NULL),
                         ATTN_OK);
        ref_inputs *in = ref_inputs_new(&p, (ref_distribution)kind, REF_HEADS_FIRST, 42);
        for (int64_t x = 0; x < p.batch * 33 * 24 * 2; x++) {
            uint32_t bits[2];
            memcpy(&bits[0], in->tensors.k.data + x, 4);
            memcpy(&bits[1], in->tensors.v.data + x % (2 * 2 * 33 * 7), 4);
            hash = (hash ^ bits[0]) * UINT64_C(0x100000001b3);
            hash = (hash ^ bits[1]) * UINT64_C(0x100000001b3);
        }
        ref_inputs_free(in);
    }
    if (hash != UINT64_C(0x86bf507436400da7))
        fail_msg("inputs hash to 0x%016llx", (unsigned long long)hash);
}

int main(int argc, char **argv)
{
    if (argc > 1) problems = strtoull(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hand_cases),
        cmocka_unit_test(two_algorithms_agree),
        cmocka_unit_test(relations_hold),
        cmocka_unit_test(inputs_are_the_same_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
