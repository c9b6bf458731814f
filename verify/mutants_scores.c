/* mutants_scores.c: wrong scales, scores and softmaxes. */
#include <string.h>

#include "verify/mutant.h"

/* ---- scale ---------------------------------------------------------------------------- */

static void scale_missing(mutant_call *c) { c->p.scale = c->p.scale == 0 ? 0 : 1; }
static void scale_inverse(mutant_call *c) { c->p.scale = 1 / (float)c->p.qk_dim; }
static void scale_reversed(mutant_call *c) { c->p.scale = sqrtf((float)c->p.qk_dim); }
static void scale_twice(mutant_call *c) { c->p.scale *= c->p.scale; }
static void scale_of_v(mutant_call *c) { c->p.scale = 1 / sqrtf((float)c->p.v_dim); }
static void scale_of_model(mutant_call *c) { c->p.scale /= sqrtf((float)c->p.q_heads); }
static void scale_default(mutant_call *c) { c->p.scale = 1 / sqrtf((float)c->p.qk_dim); }
static void scale_unsigned(mutant_call *c) { c->p.scale = fabsf(c->p.scale); }
static void scale_slightly_off(mutant_call *c) { c->p.scale *= 1.0001f; }
static float exp_base_two(float x) { return exp2f(x); }

static float bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x8000) & 0xffff0000;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float raw_of_bf16_query(const mutant_row *r, int64_t j)
{
    const float *q = r->v.q + r->i * r->v.q_row, *k = r->v.k + j * r->v.k_row;
    float sum = 0;
    if (r->p->score != ATTN_DOT) return mutant_right.raw(r, j);
    for (int64_t c = 0; c < r->p->qk_dim; c++) sum += bf16(q[c] * r->p->scale) * k[c];
    return sum;
}

/* ---- softmax -------------------------------------------------------------------------- */

static float max_zero(const mutant_row *r, int64_t j0, int64_t j1)
{
    (void)r, (void)j0, (void)j1;
    return 0;
}
static float exp_missing(float x) { return 1 + x; }
static void rescale_sum_only(mutant_row *r, float factor) { r->sum *= factor; }
static void rescale_output_only(mutant_row *r, float factor)
{
    for (int64_t c = 0; c < r->p->v_dim; c++) r->o[c] *= factor;
}
static void rescale_nothing(mutant_row *r, float factor) { (void)r, (void)factor; }
static void rescale_twice(mutant_row *r, float factor)
{
    mutant_right.rescale(r, factor);
    mutant_right.rescale(r, factor);
}
static void rescale_base_two(mutant_row *r, float factor)
{
    mutant_right.rescale(r, powf(factor, 0.6931472f));
}
static void rescale_inverse(mutant_row *r, float factor)
{
    mutant_right.rescale(r, factor > 0 ? 1 / factor : 0);
}
static void block_resets_sum(mutant_row *r, int64_t j0, int64_t j1)
{
    (void)j1;
    if (j0 == 0 && r->p->kv_len > MUTANT_BLOCK) r->sum = 0;
}
static float max_zero_if_hidden(const mutant_row *r, int64_t j0, int64_t j1)
{
    bool any = false;
    for (int64_t j = j0; j < j1; j++) any = any || r->s[j] != -INFINITY;
    return any ? mutant_right.max(r, j0, j1) : fmaxf(r->max, 0);
}
static void start_max(mutant_row *r, float max)
{
    mutant_right.start(r);
    if (r->max == -INFINITY) r->max = max;
}
static void start_at_fifty_thousand(mutant_row *r) { start_max(r, -5e4f); }
static void start_at_zero(mutant_row *r) { start_max(r, 0); }
static void normalise_block(mutant_row *r, int64_t j0, int64_t j1)
{
    (void)j0, (void)j1;
    if (r->sum == 0) return;
    for (int64_t c = 0; c < r->p->v_dim; c++) r->o[c] /= r->sum;
    r->sum = 1;
}
static void never_normalise(mutant_row *r)
{
    r->max += logf(r->sum);
    if (r->sum > 0) r->sum = 1;
    mutant_right.finish(r);
}
static void sum_of_last_block(mutant_row *r, int64_t j0, int64_t j1)
{
    if (j1 < r->p->kv_len) r->sum = 0;
    (void)j0;
}
static float max_of_even_lanes(const mutant_row *r, int64_t j0, int64_t j1)
{
    float max = r->max;
    for (int64_t j = j0; j < j1; j += 2) max = fmaxf(max, r->s[j]);
    return max;
}
static float max_frozen(const mutant_row *r, int64_t j0, int64_t j1)
{
    return r->max == -INFINITY ? mutant_right.max(r, j0, j1) : r->max;
}
static float max_of_block(const mutant_row *r, int64_t j0, int64_t j1)
{
    mutant_row fresh = *r;
    fresh.max = -INFINITY;
    float max = mutant_right.max(&fresh, j0, j1);
    return max == -INFINITY ? r->max : max;
}
static float exp_clamped(float x) { return expf(x > -60 ? x : -60); }
static float score_clamped(const mutant_row *r, int64_t j, float raw)
{
    return mutant_right.score(r, j, raw > 60 ? 60 : raw);
}

static float low_is_hidden(const mutant_row *r, int64_t j, float raw)
{
    return raw < -300 ? -INFINITY : mutant_right.score(r, j, raw);
}

/* Corrects short rows at most eight times: a counter that saturates. */
static _Thread_local int corrections;
static void start_counting(mutant_row *r)
{
    corrections = 0;
    mutant_right.start(r);
}
static void rescale_eight_times(mutant_row *r, float factor)
{
    if (factor > 0 && factor < 1) corrections++;
    if (corrections <= 8 || r->p->kv_len >= 512) mutant_right.rescale(r, factor);
}

/* The same with the keys from right to left, as causal kernels like to go. */
static void row_from_the_right(mutant_row *r)
{
    int64_t blocks = (r->p->kv_len + MUTANT_BLOCK - 1) / MUTANT_BLOCK;
    mutant_score_row(r);
    start_counting(r);
    while (blocks-- > 0) {
        int64_t j0 = blocks * MUTANT_BLOCK, j1 = j0 + MUTANT_BLOCK;
        mutant_add_block(r, j0, j1 < r->p->kv_len ? j1 : r->p->kv_len);
    }
    mutant_right.finish(r);
}

/* Softmax over the queries instead of the keys. */
static void row_of_wrong_axis(mutant_row *r)
{
    mutant_right.row(r);
    if (r->p->q_len < 2) return;
    float *out = r->v.out + r->i * r->v.out_row;
    for (int64_t c = 0; c < r->p->v_dim; c++) out[c] *= (float)r->p->kv_len / (float)r->p->q_len;
}
static void skip_small_blocks(mutant_row *r, int64_t j, float weight)
{
    if (weight > 1e-4f) mutant_right.add(r, j, weight);
}
static float raw_by_distance(const mutant_row *r, int64_t j)
{
    const float *q = r->v.q + r->i * r->v.q_row, *k = r->v.k + j * r->v.k_row;
    float qq = 0, kk = 0, apart = 0;
    if (r->p->score != ATTN_DOT) return mutant_right.raw(r, j);
    for (int64_t c = 0; c < r->p->qk_dim; c++) {
        qq += q[c] * q[c], kk += k[c] * k[c];
        apart += (q[c] - k[c]) * (q[c] - k[c]);
    }
    return r->p->scale * 0.5f * (qq + kk - apart);
}

const mutant mutants_of_scores[] = {
    {"scale-missing",
     "mlc-ai/mlc-llm#3426: a fallback path without 1/sqrt(d)",
     "bound gauss",
     {.before = scale_missing}},
    {"scale-1/d",
     "class: scale = 1/d in place of 1/sqrt(d)",
     "bound gauss",
     {.before = scale_inverse}},
    {"scale-sqrt(d)",
     "AI-Hypercomputer/maxtext#1370: the scale's sign of the exponent",
     "bound gauss",
     {.before = scale_reversed}},
    {"scale-twice",
     "class: scaled in the projection and again in the kernel",
     "bound gauss",
     {.before = scale_twice}},
    {"scale-of-v-dim",
     "juho-lee/set_transformer#18: scale from the size of V",
     "bound gauss",
     {.before = scale_of_v}},
    {"scale-of-model",
     "omihub777/ViT-CIFAR#12: sqrt(d_model) in place of sqrt(d)",
     "bound same-sign",
     {.before = scale_of_model}},
    {"scale-argument-ignored",
     "SKaiNET-developers/SKaiNET#880: the scale argument misread",
     "bound gauss",
     {.before = scale_default}},
    {"scale-sign-lost",
     "class: |scale|, a scale that may be negative",
     "bound gauss",
     {.before = scale_unsigned}},
    {"scale-off-by-1e-4",
     "class: a constant with too few digits",
     "bound gauss",
     {.before = scale_slightly_off}},
    {"exp2-without-log2e",
     "jax-ml/jax#25984: exp2 whose factor log2(e) got lost",
     "bound gauss",
     {.exp = exp_base_two}},
    {"query-scaled-in-bf16",
     "class: q * scale stored in bf16",
     "bound gauss",
     {.raw = raw_of_bf16_query}},
    {"no-max", "class: softmax without a maximum", "exact gather", {.max = max_zero}},
    {"no-exp", "class: linear weights", "bound gauss", {.exp = exp_missing}},
    {"output-not-rescaled",
     "Dao-AILab/flash-attention#991: the correction of O",
     "bound gauss",
     {.rescale = rescale_sum_only}},
    {"sum-not-rescaled",
     "class: O corrected, the row sum not",
     "bound gauss",
     {.rescale = rescale_output_only}},
    {"correction-always-1",
     "class: no correction when the maximum moves",
     "bound gauss",
     {.rescale = rescale_nothing}},
    {"correction-twice",
     "PaddleJitLab/CUDATutorial#69: one factor too many",
     "bound gauss",
     {.rescale = rescale_twice}},
    {"correction-base-2",
     "class: weights in base e, correction in base 2",
     "bound gauss",
     {.rescale = rescale_base_two}},
    {"correction-inverse",
     "Dao-AILab/flash-attention#991: diag(...)^-1 of the paper",
     "bound gauss",
     {.rescale = rescale_inverse}},
    {"sum-reset-mid-row",
     "class: state reset after the first block",
     "bound same-sign",
     {.block = block_resets_sum}},
    {"hidden-block-sets-max-0",
     "class: a block without visible keys has maximum 0",
     "bound gauss",
     {.max = max_zero_if_hidden}},
    {"max-starts-at-5e4",
     "flashinfer-ai/flashinfer#4267: -inf is really -5e4",
     "bound gauss",
     {.start = start_at_fifty_thousand}},
    {"max-starts-at-0",
     "class: the running maximum starts at 0",
     "bound gauss",
     {.start = start_at_zero}},
    {"normalised-per-block",
     "class: O / l after every block",
     "bound same-sign",
     {.block = normalise_block}},
    {"never-normalised", "class: O not divided by l", "bound gauss", {.finish = never_normalise}},
    {"sum-of-last-block",
     "class: l of the last block only",
     "bound same-sign",
     {.block = sum_of_last_block}},
    {"max-of-even-lanes",
     "class: horizontal maximum over half of the lanes",
     "exact gather",
     {.max = max_of_even_lanes}},
    {"max-frozen",
     "class: the first block's maximum for ever",
     "exact gather",
     {.max = max_frozen}},
    {"max-of-block",
     "Dao-AILab/flash-attention#2083: the row maximum of one block only",
     "exact gather",
     {.max = max_of_block}},
    {"exp-flat-below-60",
     "class: exp argument clamped to -60: far keys keep weight",
     "nan-row gauss",
     {.exp = exp_clamped}},
    {"low-is-hidden",
     "class: a finite threshold that stands for -inf",
     "low",
     {.score = low_is_hidden}},
    {"eight-corrections",
     "class: lazy corrections that are counted",
     "ascending",
     {.start = start_counting, .rescale = rescale_eight_times}},
    {"eight-from-the-right",
     "class: the same, keys visited from the right",
     "descending",
     {.row = row_from_the_right, .rescale = rescale_eight_times}},
    {"score-clamped-at-60",
     "class: clamp against overflow in half precision",
     "exact gather",
     {.score = score_clamped}},
    {"wrong-axis",
     "class: normalised along the queries",
     "bound gauss",
     {.row = row_of_wrong_axis}},
    {"small-weights-skipped",
     "class: sparse attention that skips weights below 1e-4",
     "nan-row gauss",
     {.add = skip_small_blocks}},
    {"scores-by-distance",
     "class: q.k = (|q|^2 + |k|^2 - |q-k|^2) / 2",
     "bound gauss",
     {.raw = raw_by_distance}},
    {0},
};
