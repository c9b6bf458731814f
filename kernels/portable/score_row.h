/* score_row.h: scores of one query row as a vector of keys: units, masks, and the weights output.
 *
 * Scores are kept in powers of two, s log2(e), so that a weight is 2^(s - max): one rounding, which
 * the bound knows (reference/bound.c, step 2), and no reduction by ln 2 in every exponential. */
#ifndef KERNELS_PORTABLE_SCORE_ROW_H
#define KERNELS_PORTABLE_SCORE_ROW_H

#include "kernels/kernel.h"

#include VEC_H

/* A function with a constant argument that must vanish. (UNROLL comes from kernels/meson.build.) */
#define INLINE static inline __attribute__((always_inline))
/* Where the time goes: a function of its own has all registers, and scripts/inspect finds it. */
#define HOT static __attribute__((noinline))

static const float log2e = 0x1.715476p0f;       /* 1.44269502 */
static const float ln2 = 0x1.62e430p-1f;        /* 0.693147182 */
static const float float_max = 0x1.fffffep127f; /* FLT_MAX: what is less than -float_max is -inf */

/* The additive mask of row i, keys j to j + n. */
static inline vec bias_row(const head_view *h, int64_t i, int64_t j, int64_t n)
{
    const float *at = h->bias + i * h->bias_row + j * h->bias_key;
    float strided[VEC_LANES];
    if (h->bias_key == 1) return vec_load_first(at, n);
    for (int64_t l = 0; l < n; l++) strided[l] = at[l * h->bias_key];
    return vec_load_first(strided, n);
}

/* What boolean and additive mask add to row i, keys j to j + n, in powers of two: -inf removes the
 * key; what is finite stays finite, cut off at +-FLT_MAX. */
static inline vec mask_row(const head_view *h, int64_t i, int64_t j, int64_t n)
{
    vec add = vec_set(0);
    if (h->bias) {
        vec bias = bias_row(h, i, j, n);
        vec scaled = vec_max(vec_set(-float_max), vec_mul(bias, vec_set(log2e)));
        scaled = vec_min(vec_set(float_max), scaled);
        add = vec_select(vec_less(bias, vec_set(-float_max)), bias, scaled);
    }
    if (h->mask) {
        const uint8_t *at = h->mask + i * h->mask_row + j * h->mask_key;
        uint8_t strided[VEC_LANES];
        for (int64_t l = 0; h->mask_key != 1 && l < n; l++) strided[l] = at[l * h->mask_key];
        vec mask = vec_load_mask_first(h->mask_key == 1 ? at : strided, n);
        add = vec_select(vec_less(mask, vec_set(-float_max)), mask, add);
    }
    return add;
}

/* Scores into the weights output, row i, keys j to j + n. For ATTN_WEIGHTS_MASKED they come before
 * any mask, and the masks are added here in the problem's own units, key by key: in powers of two
 * their rounding would show. */
static inline void write_score_row(const attn_problem *p, const head_view *h, int64_t i, int64_t j,
                                   int64_t n, vec score)
{
    float *out = h->weights + i * h->weights_row + j;
    vec_store_first(out, score, n);
    if (p->weights != ATTN_WEIGHTS_MASKED) return;
    key_range seen = visible_range(p, h, i);
    for (int64_t x = 0; x < n; x++) {
        bool in_range = j + x >= seen.first && j + x < seen.last;
        float bias = in_range ? score_bias(h, i, j + x) : -INFINITY;
        out[x] = bias == -INFINITY ? bias : out[x] + bias;
    }
}

/* The logsumexp of row i in the problem's own units. Where all masks are so large that mask_row cut
 * them off, it is the largest of them: nothing else can be seen beside it. */
static inline float lse_of(const attn_problem *p, const head_view *h, int64_t i, float max,
                           float sum)
{
    if (sum == 0) return -INFINITY;
    if (isnan(sum)) return sum; /* max may have lost the NaN, and be -inf */
    if (!(fabsf(max) >= 0.99f * float_max)) return max * ln2 + logf(sum);
    key_range seen = visible_range(p, h, i);
    float largest = -INFINITY;
    for (int64_t j = seen.first; j < seen.last; j++) largest = fmaxf(largest, score_bias(h, i, j));
    return largest;
}

/* Masked scores, in powers of two, of a whole row of the weights output become weights. */
static inline void normalise_row(float *weights, int64_t kv_len, float max, float sum)
{
    vec base = vec_set(sum == 0 ? 0 : max), inverse = vec_set(sum == 0 ? 0 : 1 / sum);
    for (int64_t j = 0; j < kv_len; j += VEC_LANES) {
        int64_t n = kv_len - j < VEC_LANES ? kv_len - j : VEC_LANES;
        vec weight = vec_exp2(vec_sub(vec_load_first(weights + j, n), base));
        vec_store_first(weights + j, vec_mul(weight, inverse), n);
    }
}

#endif
