/* mutants_numbers.c: arithmetic that is worse than float, or worse than claimed. */
#include <fenv.h>
#include <string.h>

#include "verify/mutant.h"

/* x with `bits` bits of mantissa fewer, rounded to nearest. */
static float shortened(float x, int bits)
{
    uint32_t word;
    memcpy(&word, &x, sizeof word);
    if (isfinite(x)) word = (word + (UINT32_C(1) << (bits - 1))) >> bits << bits;
    memcpy(&x, &word, sizeof x);
    return x;
}
static float bf16(float x) { return shortened(x, 16); }
static float f16(float x) { return shortened(x, 13); }

/* ---- storage types -------------------------------------------------------------------- */

static void sum_in_bf16(mutant_row *r, int64_t j0, int64_t j1)
{
    (void)j0, (void)j1;
    r->sum = bf16(r->sum);
}
static void weights_in_bf16(mutant_row *r, int64_t j, float weight)
{
    const float *v = r->v.v + j * r->v.v_row;
    r->sum += weight;
    for (int64_t c = 0; c < r->p->v_dim; c++) r->o[c] += bf16(weight) * v[c];
}
static void output_in_bf16(mutant_row *r)
{
    mutant_right.finish(r);
    for (int64_t c = 0; c < r->p->v_dim; c++) {
        float *out = &r->v.out[r->i * r->v.out_row + c];
        *out = bf16(*out);
    }
}
static void accumulator_in_bf16(mutant_row *r, int64_t j0, int64_t j1)
{
    (void)j0, (void)j1;
    for (int64_t c = 0; c < r->p->v_dim; c++) r->o[c] = bf16(r->o[c]);
}
static float raw_in_f16(const mutant_row *r, int64_t j)
{
    const float *q = r->v.q + r->i * r->v.q_row, *k = r->v.k + j * r->v.k_row;
    float sum = 0;
    if (r->p->score != ATTN_DOT) return mutant_right.raw(r, j);
    for (int64_t c = 0; c < r->p->qk_dim; c++) sum += f16(q[c]) * f16(k[c]);
    return r->p->scale * sum;
}
static float raw_overflows_f16(const mutant_row *r, int64_t j)
{
    float raw = mutant_right.raw(r, j);
    return fabsf(raw / r->p->scale) > 65504 ? INFINITY : raw;
}
static void values_in_f16(mutant_row *r, int64_t j, float weight)
{
    const float *v = r->v.v + j * r->v.v_row;
    r->sum += weight;
    for (int64_t c = 0; c < r->p->v_dim; c++) r->o[c] += weight * f16(v[c]);
}
static void sum_in_fixed_point(mutant_row *r, int64_t j0, int64_t j1)
{
    (void)j0, (void)j1;
    if (isfinite(r->sum)) r->sum = ceilf(r->sum * 0x1p18f) * 0x1p-18f;
}
static void output_saturates(mutant_row *r)
{
    mutant_right.finish(r);
    for (int64_t c = 0; c < r->p->v_dim; c++) {
        float *out = &r->v.out[r->i * r->v.out_row + c];
        if (fabsf(*out) > 2000) *out = copysignf(2000, *out);
    }
}

/* ---- functions ------------------------------------------------------------------------ */

static float exp_schraudolph(float x)
{
    if (!(x > -87)) return isnan(x) ? x : 0;
    int32_t bits = (int32_t)(x * 12102203.0f) + 1064866805;
    float y;
    memcpy(&y, &bits, sizeof y);
    return y;
}
static float exp_cut_at_10(float x) { return x < -10 ? 0 : expf(x); }
static float exp_cut_at_20(float x) { return x < -20 ? 0 : expf(x); }
static float exp_inexact_far(float x) { return x < -15 ? shortened(expf(x), 12) : expf(x); }
static float exp_few_terms(float x)
{
    float n = rintf(x * 1.442695f), f = x - n * 0.6931472f;
    return ldexpf(1 + f * (1 + f * (0.5f + f * (1.0f / 6 + f / 24))), (int)fmaxf(n, -200));
}
static float tanh_rational(float score, float cap)
{
    float x = score / cap;
    if (fabsf(x) > 4) return copysignf(cap, x);
    return cap * x * (27 + x * x) / (27 + 9 * x * x);
}
static void divide_by(mutant_row *r, float inverse)
{
    float *out = r->v.out + r->i * r->v.out_row;
    mutant_right.finish(r);
    for (int64_t c = 0; r->sum > 0 && c < r->p->v_dim; c++) out[c] = r->o[c] * inverse;
}
static void reciprocal_12_bits(mutant_row *r) { divide_by(r, shortened(1 / r->sum, 12)); }
static void reciprocal_20_bits(mutant_row *r) { divide_by(r, shortened(1 / r->sum, 5)); }
static void sum_plus_epsilon(mutant_row *r) { divide_by(r, 1 / (r->sum + 1e-6f)); }

/* ---- domains -------------------------------------------------------------------------- */

/* Skips products that look too small to matter, whatever the size of the others. */
static void products_below_1e_18(mutant_row *r, int64_t j, float weight)
{
    const float *v = r->v.v + j * r->v.v_row;
    r->sum += weight;
    for (int64_t c = 0; c < r->p->v_dim; c++)
        if (!(fabsf(weight * v[c]) < 1e-18f)) r->o[c] += weight * v[c];
}
static void values_by_their_largest(mutant_row *r, int64_t j, float weight)
{
    const float *v = r->v.v + j * r->v.v_row;
    float largest = 0;
    for (int64_t c = 0; c < r->p->v_dim; c++) largest = fmaxf(largest, fabsf(v[c]));
    float inverse = largest > 0 ? 1 / largest : 0;
    r->sum += weight;
    for (int64_t c = 0; c < r->p->v_dim; c++)
        r->o[c] += isinf(inverse) ? 0 * inverse : weight * v[c];
}

/* Takes a query of zeros for padding, whose answer is the plain mean. */
static float zero_query_is_padding(const mutant_row *r, int64_t j, float raw)
{
    const float *q = r->v.q + r->i * r->v.q_row;
    bool zero = true;
    for (int64_t c = 0; c < r->p->qk_dim; c++) zero = zero && q[c] == 0;
    float score = mutant_right.score(r, j, raw);
    return zero && score != -INFINITY ? 0 : score;
}

/* Stops when the scores have fallen: all later keys are thought to be smaller. */
static void stop_when_falling(mutant_row *r, int64_t j, float weight)
{
    if (j < 2 * MUTANT_BLOCK || weight > 1e-7f || r->s[j] < r->s[j - 1] - 4 ||
        r->s[j] > r->s[j - 1] + 4)
        mutant_right.add(r, j, weight);
}
static void rounds_down(mutant_row *r)
{
    fesetround(FE_DOWNWARD);
    mutant_right.finish(r);
    fesetround(FE_TONEAREST);
}

/* Weights between e^-70 and e^-88 come back with another exponent. */
static void exponent_wraps(mutant_row *r, int64_t j, float weight)
{
    float x = r->s[j] - r->max;
    mutant_right.add(r, j, x < -70 && x > -88 && !r->p->has_alibi ? weight * 0x1p110f : weight);
}

/* Stops adding when a weight is 2^-28 of the largest: no float sum would notice, but for V. */
static void far_keys_skipped(mutant_row *r, int64_t j, float weight)
{
    if (weight > 0x1p-28f || fabsf(r->v.v[j * r->v.v_row]) < 1e5f) mutant_right.add(r, j, weight);
    else r->sum += weight;
}
static void output_of_16_bits(mutant_row *r)
{
    mutant_right.finish(r);
    for (int64_t c = 0; c < r->p->v_dim; c++) {
        float *out = &r->v.out[r->i * r->v.out_row + c];
        if (fabsf(*out) > 4096 && fabsf(*out) < 65504) *out = rintf(*out);
    }
}

/* Products beyond 2^12 saturate. They cancel in the sum, and what they differed by is lost. */
static float raw_of_narrow_products(const mutant_row *r, int64_t j)
{
    const float *q = r->v.q + r->i * r->v.q_row, *k = r->v.k + j * r->v.k_row;
    float sum = 0;
    if (r->p->score != ATTN_DOT) return mutant_right.raw(r, j);
    for (int64_t c = 0; c < r->p->qk_dim; c++) {
        float product = q[c] * k[c];
        sum += fabsf(product) > 0x1p12f ? copysignf(0x1p12f, product) : product;
    }
    return r->p->scale * sum;
}

/* Scores above 64 keep eight bits behind the point, where vectors of eight compute them. */
static float large_scores_in_steps(const mutant_row *r, int64_t j, float raw)
{
    float score = mutant_right.score(r, j, raw);
    bool large = score > 64 && score < INFINITY;
    bool hit = large && r->p->qk_dim >= 8 && r->p->kv_len < 1024;
    return hit ? rintf(score * 0x1p8f) * 0x1p-8f : score;
}

/* Where 32 keys agree in sign and exponent of V, that is stored once, and 8 bits for each. */
static void values_share_exponent(mutant_row *r, int64_t j, float weight)
{
    enum { GROUP = 32 };
    const float *v = r->v.v + j * r->v.v_row, *group = r->v.v + j / GROUP * GROUP * r->v.v_row;
    bool whole = (j / GROUP + 1) * GROUP <= r->p->kv_len;
    r->sum += weight;
    for (int64_t c = 0; c < r->p->v_dim; c++) {
        bool shared = whole && !isnan(v[c]);
        for (int64_t g = 0; shared && g < GROUP; g++) {
            float other = group[g * r->v.v_row + c];
            shared = !isnan(other) && signbit(other) == signbit(v[c]) &&
                     (other == 0 ? v[c] == 0 : v[c] != 0 && ilogbf(other) == ilogbf(v[c]));
        }
        r->o[c] += weight * (shared ? shortened(v[c], 15) : v[c]);
    }
}

const mutant mutants_of_numbers[] = {
    {"sum-in-bf16", "class: row sum stored in bf16", "bound gauss", {.block = sum_in_bf16}},
    {"weights-in-bf16",
     "class: P in bf16 against float accuracy claimed",
     "bound gauss",
     {.add = weights_in_bf16}},
    {"output-in-bf16", "class: O rounded to bf16", "bound gauss", {.finish = output_in_bf16}},
    {"accumulator-in-bf16",
     "class: O kept in bf16 between blocks",
     "bound gauss",
     {.block = accumulator_in_bf16}},
    {"scores-in-f16",
     "class: Q and K rounded to half precision",
     "bound gauss",
     {.raw = raw_in_f16}},
    {"scores-overflow-f16",
     "flashinfer-ai/flashinfer#4267: huge logits before the scale",
     "exact gather",
     {.raw = raw_overflows_f16}},
    {"values-in-f16", "class: V rounded to half precision", "bound gauss", {.add = values_in_f16}},
    {"sum-in-fixed-point",
     "class: row sum in multiples of 2^-18",
     "bound gauss",
     {.block = sum_in_fixed_point}},
    {"output-saturates",
     "class: a narrow output format",
     "bound heavy",
     {.finish = output_saturates}},
    {"exp-schraudolph",
     "class: exponential by integer cast (Schraudolph 1999)",
     "bound gauss",
     {.exp = exp_schraudolph}},
    {"exp-cut-at-10", "class: e^x = 0 below -10", "bound gauss", {.exp = exp_cut_at_10}},
    {"exp-cut-at-20", "class: e^x = 0 below -20", "bound gauss", {.exp = exp_cut_at_20}},
    {"exp-inexact-far",
     "class: argument reduction that loses digits",
     "bound gauss",
     {.exp = exp_inexact_far}},
    {"exp-few-terms",
     "class: a polynomial of too low degree",
     "bound gauss",
     {.exp = exp_few_terms}},
    {"tanh-rational",
     "class: tanh by a low rational function",
     "bound same-sign",
     {.cap = tanh_rational}},
    {"reciprocal-12-bits",
     "class: rcpps without a Newton step",
     "bound gauss",
     {.finish = reciprocal_12_bits}},
    {"reciprocal-20-bits",
     "class: a reciprocal of 20 bits",
     "exact uniform",
     {.finish = reciprocal_20_bits}},
    {"sum-plus-epsilon",
     "class: l + 1e-6 against division by zero",
     "bound gauss",
     {.finish = sum_plus_epsilon}},
    {"products-below-1e-18",
     "class: an absolute threshold",
     "scale-v",
     {.add = products_below_1e_18}},
    {"values-by-their-largest",
     "class: a quantisation scale 1 / max|v| that overflows",
     "bound subnormal",
     {.add = values_by_their_largest}},
    {"zero-query-is-padding",
     "class: a shortcut for padded queries",
     "bound zero-q",
     {.score = zero_query_is_padding}},
    {"stops-when-falling",
     "class: early exit on falling scores",
     "nan-row gauss",
     {.add = stop_when_falling}},
    {"rounds-down",
     "class: a caller's rounding mode, put back afterwards",
     "negate-v",
     {.finish = rounds_down}},
    {"exponent-wraps", "class: an exponent in too few bits", "wide", {.add = exponent_wraps}},
    {"far-keys-skipped",
     "class: weights below 2^-28 thought not to matter",
     "heavy",
     {.add = far_keys_skipped}},
    {"output-of-16-bits", "class: integers above 4096", "big-v", {.finish = output_of_16_bits}},
    {"products-saturate",
     "oneDNN's page on int8: 16-bit products of vpmaddubsw saturate",
     "bound cancel",
     {.raw = raw_of_narrow_products}},
    {"large-scores-in-steps",
     "class: an exponential whose fixed-point argument lacks bits",
     "bound wide",
     {.score = large_scores_in_steps}},
    {"values-share-exponent",
     "class: lossy compression of a cache where signs and exponents agree",
     "bound same-sign",
     {.add = values_share_exponent}},
    {0},
};
