/* test_mpfr.c: is the double-precision reference as right as its own bound says? Sampled rows are
 * computed once more with 256 bits (MPFR, Fousse et al. 2007), straight from the formula of
 * attention.h, and every output must lie within the bound for u = 2^-53.
 *
 *   test_mpfr [random problems, default 4000] */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <mpfr.h>

#include "reference/test_problem.h"

enum { BITS = 256, MOST_KEYS = 1100, RAMPS = 40 };

/* One row in 256 bits. */
typedef struct precise_row {
    mpfr_t raw[MOST_KEYS], capped[MOST_KEYS], score[MOST_KEYS], weight[MOST_KEYS];
    mpfr_t max, sum, lse, out, x, y;
    bool seen[MOST_KEYS], selected[MOST_KEYS];
} precise_row;

static void each_number(precise_row *r, bool make)
{
    mpfr_t *const lists[] = {r->raw, r->capped, r->score, r->weight};
    mpfr_t *const singles[] = {&r->max, &r->sum, &r->lse, &r->out, &r->x, &r->y};
    for (int l = 0; l < 4; l++)
        for (int j = 0; j < MOST_KEYS; j++)
            if (make) mpfr_init2(lists[l][j], BITS);
            else mpfr_clear(lists[l][j]);
    for (int s = 0; s < 6; s++)
        if (make) mpfr_init2(*singles[s], BITS);
        else mpfr_clear(*singles[s]);
}

static void precise_score(const attn_problem *p, const attn_tensors *t, ref_place at, int64_t j,
                          precise_row *r)
{
    const float *q =
        t->q.data + at.b * t->q.batch_stride + at.h * t->q.head_stride + at.i * t->q.row_stride;
    int64_t g = at.h / (p->q_heads / p->kv_heads);
    const float *k =
        t->k.data + at.b * t->k.batch_stride + g * t->k.head_stride + j * t->k.row_stride;
    mpfr_set_zero(r->raw[j], 1);
    for (int64_t c = 0; c < p->qk_dim; c++) {
        mpfr_set_flt(r->x, q[c], MPFR_RNDN);
        mpfr_set_flt(r->y, k[c], MPFR_RNDN);
        if (p->score == ATTN_DOT) {
            mpfr_mul(r->x, r->x, r->y, MPFR_RNDN);
        } else {
            mpfr_add(r->x, r->x, r->y, MPFR_RNDN);
            mpfr_tanh(r->x, r->x, MPFR_RNDN);
            mpfr_mul_d(r->x, r->x, t->score_vector[c], MPFR_RNDN);
        }
        mpfr_add(r->raw[j], r->raw[j], r->x, MPFR_RNDN);
    }
    mpfr_mul_d(r->raw[j], r->raw[j], p->scale, MPFR_RNDN);
    mpfr_set(r->capped[j], r->raw[j], MPFR_RNDN);
    if (p->softcap > 0) {
        mpfr_div_d(r->x, r->raw[j], p->softcap, MPFR_RNDN);
        mpfr_tanh(r->x, r->x, MPFR_RNDN);
        mpfr_mul_d(r->capped[j], r->x, p->softcap, MPFR_RNDN);
    }
    mpfr_set(r->score[j], r->capped[j], MPFR_RNDN);
    int64_t distance = (p->has_q_offsets ? t->q_offsets[at.b] : p->q_offset) + at.i - j;
    if (p->has_alibi) {
        mpfr_set_d(r->x, t->alibi_slopes[at.h], MPFR_RNDN);
        mpfr_mul_si(r->x, r->x, (long)llabs(distance), MPFR_RNDN);
        mpfr_sub(r->score[j], r->score[j], r->x, MPFR_RNDN);
    }
    const attn_bias *b = &t->bias;
    if (p->has_bias)
        mpfr_add_d(r->score[j], r->score[j],
                   b->data[at.b * b->batch_stride + at.h * b->head_stride + at.i * b->row_stride +
                           j * b->key_stride],
                   MPFR_RNDN);
}

/* All keys, or the best; the first of equals. */
static void precise_selection(const attn_problem *p, precise_row *r)
{
    int64_t keep = p->select == ATTN_HARDMAX ? 1 : p->top_k;
    if (p->select == ATTN_SOFTMAX)
        for (int64_t j = 0; j < p->kv_len; j++) r->selected[j] = r->seen[j];
    for (; p->select != ATTN_SOFTMAX && keep > 0; keep--) {
        int64_t best = -1;
        for (int64_t j = 0; j < p->kv_len; j++)
            if (r->seen[j] && !r->selected[j] &&
                (best < 0 || mpfr_greater_p(r->score[j], r->score[best])))
                best = j;
        if (best >= 0) r->selected[best] = true;
    }
}

static void precise_softmax(const attn_problem *p, double sink, precise_row *r)
{
    mpfr_set_d(r->max, sink, MPFR_RNDN);
    for (int64_t j = 0; j < p->kv_len; j++)
        if (r->selected[j]) mpfr_max(r->max, r->max, r->score[j], MPFR_RNDN);
    mpfr_set_zero(r->sum, 1);
    if (mpfr_inf_p(r->max)) return; /* no key */
    for (int64_t j = 0; j < p->kv_len; j++) {
        if (!r->selected[j]) continue;
        mpfr_sub(r->x, r->score[j], r->max, MPFR_RNDN);
        mpfr_exp(r->weight[j], r->x, MPFR_RNDN);
        mpfr_add(r->sum, r->sum, r->weight[j], MPFR_RNDN);
    }
    if (sink != -INFINITY) {
        mpfr_d_sub(r->x, sink, r->max, MPFR_RNDN);
        mpfr_exp(r->x, r->x, MPFR_RNDN);
        mpfr_add(r->sum, r->sum, r->x, MPFR_RNDN);
    }
    mpfr_log(r->lse, r->sum, MPFR_RNDN);
    mpfr_add(r->lse, r->lse, r->max, MPFR_RNDN);
}

/* |precise - value| as a share of the bound; the difference is formed in 256 bits. */
static double share(mpfr_t precise, double value, double bound, mpfr_t scratch)
{
    mpfr_sub_d(scratch, precise, value, MPFR_RNDN);
    double error = fabs(mpfr_get_d(scratch, MPFR_RNDN));
    if (!(bound >= 0) || !isfinite(value)) return INFINITY;
    return error == 0 ? 0 : error / bound;
}

static double certify_out(const attn_problem *p, const attn_tensors *t, ref_place at,
                          const ref_row *row, precise_row *r)
{
    int64_t g = at.h / (p->q_heads / p->kv_heads);
    double worst = 0;
    for (int64_t c = 0; c < p->v_dim; c++) {
        mpfr_set_zero(r->out, 1);
        for (int64_t j = 0; j < p->kv_len; j++) {
            if (!r->selected[j]) continue;
            mpfr_mul_d(r->x, r->weight[j],
                       t->v.data[at.b * t->v.batch_stride + g * t->v.head_stride +
                                 j * t->v.row_stride + c],
                       MPFR_RNDN);
            mpfr_add(r->out, r->out, r->x, MPFR_RNDN);
        }
        if (!mpfr_zero_p(r->sum)) mpfr_div(r->out, r->out, r->sum, MPFR_RNDN);
        worst = fmax(worst, share(r->out, row->out[c], row->out_bound[c], r->x));
    }
    return worst;
}

static double certify_weights(const attn_problem *p, const ref_row *row, precise_row *r)
{
    double worst = 0;
    for (int64_t j = 0; p->weights && j < p->kv_len; j++) {
        bool all_pairs = p->weights == ATTN_WEIGHTS_RAW || p->weights == ATTN_WEIGHTS_CAPPED;
        if (!all_pairs && !r->seen[j]) continue;
        if (p->weights == ATTN_WEIGHTS_NORMALISED) {
            if (r->selected[j]) mpfr_div(r->y, r->weight[j], r->sum, MPFR_RNDN);
            else mpfr_set_zero(r->y, 1);
        } else {
            mpfr_set(r->y,
                     p->weights == ATTN_WEIGHTS_RAW      ? r->raw[j]
                     : p->weights == ATTN_WEIGHTS_CAPPED ? r->capped[j]
                                                         : r->score[j],
                     MPFR_RNDN);
        }
        worst = fmax(worst, share(r->y, row->weights[j], row->weights_bound[j], r->x));
    }
    return worst;
}

static double certify_row(const attn_problem *p, const attn_tensors *t, ref_place at, ref_row *row,
                          precise_row *r)
{
    attn_claims claims = ref_default_claims(p);
    claims.flush = 0x1p-1022;
    ref_dense(p, t, at, row);
    ref_bound(p, t, at, &claims, 0x1p-53, row);
    bool all_pairs = p->weights == ATTN_WEIGHTS_RAW || p->weights == ATTN_WEIGHTS_CAPPED;
    for (int64_t j = 0; j < p->kv_len; j++) {
        r->seen[j] = ref_visible(p, t, at, j), r->selected[j] = false;
        if (r->seen[j] || all_pairs) precise_score(p, t, at, j, r);
    }
    precise_selection(p, r);
    precise_softmax(p, p->has_sinks ? t->sinks[at.h] : -INFINITY, r);
    double worst = fmax(certify_out(p, t, at, row, r), certify_weights(p, row, r));
    if (mpfr_zero_p(r->sum)) return row->lse == -INFINITY ? worst : INFINITY;
    return fmax(worst, share(r->lse, row->lse, row->lse_bound, r->x));
}

static uint64_t problems = 4000;

/* The largest share of the bound in one row of every head. */
static double certify_problem(const attn_problem *p, ref_distribution kind, uint64_t seed,
                              precise_row *r)
{
    ref_inputs *in = ref_inputs_new(p, kind, (ref_layout)(seed / REF_GATHER % REF_LAYOUTS), seed);
    ref_row *row = ref_row_new(p);
    double worst = 0;
    assert_true(in && row);
    for (int64_t h = 0; h < p->q_heads; h++) {
        ref_place at = {(int64_t)seed % p->batch, h, (int64_t)seed % p->q_len};
        double used = certify_row(p, &in->tensors, at, row, r);
        char key[128];
        attn_problem_print(p, key, sizeof key);
        if (!(used <= 1))
            fail_msg("%s, %s, seed %d, head %d: %g of the bound", key, ref_distribution_names[kind],
                     (int)seed, (int)h, used);
        worst = fmax(worst, used);
    }
    ref_row_free(row), ref_inputs_free(in);
    return worst;
}

static void reference_is_within_its_bound(void **state)
{
    precise_row *r = *state;
    double worst = 0;
    int64_t rows = 0;
    for (uint64_t seed = 0; seed < problems; seed++) {
        attn_problem p = random_problem(seed);
        worst = fmax(worst, certify_problem(&p, (ref_distribution)(seed % REF_GATHER), seed, r));
        rows += p.q_heads;
    }
    print_message("%d rows, at most %.3g of the bound for u = 2^-53\n", (int)rows, worst);
}

/* A ramp needs its 1,024 keys: scores climb or fall by hundreds. */
static void reference_is_within_its_bound_on_ramps(void **state)
{
    precise_row *r = *state;
    double worst = 0;
    for (uint64_t seed = 0; seed < RAMPS; seed++) {
        attn_problem p = attn_problem_make(2, MOST_KEYS - (int64_t)seed, 16);
        p.q_len = 1 + (int64_t)seed % 7, p.q_offset = p.kv_len - p.q_len;
        p.causal = seed % 2, p.wants_lse = true;
        p.has_sinks = seed % 3 == 0, p.has_alibi = seed % 5 == 0;
        p.softcap = seed % 4 ? 0 : 30;
        worst = fmax(worst, certify_problem(&p, REF_RAMP, seed, r));
    }
    print_message("%d rows, at most %.3g of the bound for u = 2^-53\n", 2 * RAMPS, worst);
}

static int begin(void **state)
{
    static precise_row r;
    each_number(&r, true);
    *state = &r;
    return 0;
}

static int end(void **state)
{
    each_number(*state, false);
    mpfr_free_cache();
    return 0;
}

/* The tests of the kernels' 2^x and tanh take libm's in double precision for the truth. */
static void expect_libm(double have, mpfr_t want, double x)
{
    double value = mpfr_get_d(want, MPFR_RNDN);
    mpfr_sub_d(want, want, have, MPFR_RNDN);
    double error = fabs(mpfr_get_d(want, MPFR_RNDN));
    if (!(error <= 0x1p-51 * fabs(value) + 0x1p-1074))
        fail_msg("libm is wrong by %g at %a", error / fabs(value), x);
}

/* Floats are logarithmic: equal steps of their bits, here 1 in 4099. */
static void libm_is_the_truth_of_functions(void **state)
{
    (void)state;
    mpfr_t want, x;
    mpfr_init2(want, BITS), mpfr_init2(x, BITS);
    for (uint32_t bits = 0; bits <= 0x43160000; bits += 4099) { /* 0 to 150 */
        float size;
        memcpy(&size, &bits, sizeof size);
        mpfr_set_flt(x, -size, MPFR_RNDN);
        mpfr_exp2(want, x, MPFR_RNDN);
        expect_libm(exp2(-(double)size), want, -(double)size);
        mpfr_exp(want, x, MPFR_RNDN);
        expect_libm(exp(-(double)size), want, -(double)size);
        mpfr_tanh(want, x, MPFR_RNDN);
        expect_libm(tanh(-(double)size), want, -(double)size);
    }
    mpfr_clear(want), mpfr_clear(x);
}

int main(int argc, char **argv)
{
    if (argc > 1) problems = strtoull(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {cmocka_unit_test(reference_is_within_its_bound),
                                       cmocka_unit_test(reference_is_within_its_bound_on_ramps),
                                       cmocka_unit_test(libm_is_the_truth_of_functions)};
    return cmocka_run_group_tests(tests, begin, end);
}
