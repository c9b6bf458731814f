/* mutants_equivalent.c: unusual, but right: the suite must pass them. */
#include "verify/mutant.h"

static float shifted_max(const mutant_row *r, int64_t j0, int64_t j1)
{
    mutant_row unshifted = *r;
    unshifted.max -= 1;
    return mutant_right.max(&unshifted, j0, j1) + 1;
}
/* Weights of equal scores are not 1 then: what the claim is for. */
static void claim_inexact_weights(attn_claims *c) { c->normalises_first = true; }
static float lazy_max(const mutant_row *r, int64_t j0, int64_t j1)
{
    float max = mutant_right.max(r, j0, j1);
    return r->max != -INFINITY && max < r->max + 8 ? r->max : max;
}
static void minus_zero(mutant_row *r)
{
    bool seen = false;
    mutant_right.finish(r);
    for (int64_t j = 0; j < r->p->kv_len; j++) seen = seen || r->s[j] != -INFINITY;
    for (int64_t c = 0; seen && c < r->p->v_dim; c++)
        if (mutant_out_row(r)[c] == 0) mutant_out_row(r)[c] = -0.0f;
}
static float exp_one_ulp_more(float x)
{
    float y = expf(x);
    return y > 0x1p-100f && y < 1 ? nextafterf(y, 2) : y;
}
static float raw_by_fma(const mutant_row *r, int64_t j)
{
    const float *q = r->v.q + r->i * r->v.q_row, *k = r->v.k + j * r->v.k_row;
    float sum = 0;
    if (r->p->score != ATTN_DOT) return mutant_right.raw(r, j);
    for (int64_t c = r->p->qk_dim; c-- > 0;) sum = fmaf(q[c] * r->p->scale, k[c], sum);
    return sum;
}
static volatile float unused; /* what is computed for nothing */
static void work_on_hidden(mutant_row *r, int64_t j0, int64_t j1)
{
    for (int64_t j = j0; j < j1; j++) unused = mutant_right.raw(r, j);
}

const mutant mutants_equivalent[] = {
    {"equal: maximum + 1",
     "a row-constant shift of the scores",
     NULL,
     {.claim = claim_inexact_weights, .max = shifted_max}},
    {"equal: lazy rescale", "a maximum that lags by less than 8", NULL, {.max = lazy_max}},
    {"equal: minus zero", "-0 where a mean is 0", NULL, {.finish = minus_zero}},
    {"equal: exp + 1 ULP", "exp within its claim", NULL, {.exp = exp_one_ulp_more}},
    {"equal: fma, backwards", "any order of summation, FMA", NULL, {.raw = raw_by_fma}},
    {"equal: work on hidden keys", "scores nobody uses", NULL, {.block = work_on_hidden}},
    {0},
};
