/* naive.c: attention as the formula reads, the yardstick that everything else is compared with.
 *
 * Three passes over a materialised score matrix of one head: scores, softmax, weighted sum. Scratch
 * is q_len x kv_len floats per thread, which is the memory wall that tiled kernels remove. Does
 * everything that the API can say. Source: Vaswani et al. 2017, section 3.2.1, as written. */
#include "kernels/kernel.h"

static const char *naive_refuses(const attn_problem *p)
{
    (void)p;
    return NULL;
}

static int64_t naive_scratch_bytes(const attn_problem *p) { return 4 * p->q_len * (p->kv_len + 1); }

/* libm's expf and tanhf: at most 1 and 2 ULP (glibc manual, "Errors in Math Functions"). One long
 * sum per output, nothing is rescaled. */
static attn_claims naive_claims(const attn_problem *p)
{
    return (attn_claims){.exp_ulp = 1,
                         .tanh_ulp = 2,
                         .sum_height = p->kv_len + 1,
                         .rescales = 0,
                         .flush = 0x1p-126,
                         .deterministic = true};
}

static float dot_score(const float *q, const float *k, int64_t n)
{
    float sum = 0;
    for (int64_t c = 0; c < n; c++) sum += q[c] * k[c];
    return sum;
}

static float additive_score(const float *q, const float *k, const float *va, int64_t n)
{
    float sum = 0;
    for (int64_t c = 0; c < n; c++) sum += va[c] * tanhf(q[c] + k[c]);
    return sum;
}

/* Pass 1, row i: s[j] = masked score of every key; the raw or capped ones also go to `weights`. */
static void score_row(const attn_problem *p, const attn_tensors *t, const head_view *v, int64_t i,
                      float *s)
{
    const float *q = v->q + i * v->q_row;
    float *weights = v->weights ? v->weights + i * v->weights_row : NULL;
    key_range seen = visible_range(p, v, i);
    for (int64_t j = 0; j < p->kv_len; j++) {
        bool in_range = j >= seen.first && j < seen.last;
        float bias = in_range ? score_bias(v, i, j) : -INFINITY;
        bool hidden = bias == -INFINITY;
        bool all_pairs = p->weights == ATTN_WEIGHTS_RAW || p->weights == ATTN_WEIGHTS_CAPPED;
        if (hidden && !all_pairs) {
            s[j] = -INFINITY;
            continue;
        }
        const float *k = v->k + j * v->k_row;
        float raw =
            p->scale * (p->score == ATTN_DOT ? dot_score(q, k, p->qk_dim)
                                             : additive_score(q, k, t->score_vector, p->qk_dim));
        float capped = p->softcap > 0 ? p->softcap * tanhf(raw / p->softcap) : raw;
        if (all_pairs) weights[j] = p->weights == ATTN_WEIGHTS_RAW ? raw : capped;
        s[j] = hidden ? -INFINITY : capped + bias;
    }
    for (int64_t j = 0; weights && p->weights == ATTN_WEIGHTS_MASKED && j < p->kv_len; j++)
        weights[j] = s[j];
}

/* The order of keys a and b in hardmax and top-k: NaN first, then the larger score, then the lower
 * index. */
static bool ranks_before(const float *s, int64_t a, int64_t b)
{
    if (isnan(s[a]) || isnan(s[b])) return isnan(s[a]) && (!isnan(s[b]) || a < b);
    return s[a] > s[b] || (s[a] == s[b] && a < b);
}

/* Leaves the k best keys of a row and sets the others to -inf. */
static void keep_best(float *s, int64_t n, int64_t k)
{
    int64_t cut = -1; /* the worst key kept so far */
    for (int64_t kept = 0; kept < k; kept++) {
        int64_t next = -1;
        for (int64_t j = 0; j < n; j++)
            if (s[j] != -INFINITY && (cut < 0 || ranks_before(s, cut, j)) &&
                (next < 0 || ranks_before(s, j, next)))
                next = j;
        if (next < 0) return; /* fewer than k keys */
        cut = next;
    }
    for (int64_t j = 0; j < n; j++)
        if (j != cut && ranks_before(s, cut, j)) s[j] = -INFINITY;
}

/* Pass 2, row i: s[j] becomes e^(s[j] - max); hidden keys get exactly 0. The division by the sum is
 * left to the output row, which then is rounded once. */
static void softmax_row(const attn_problem *p, const head_view *v, int64_t i, float *s,
                        float *inverse)
{
    int64_t n = p->kv_len;
    float *weights = p->weights == ATTN_WEIGHTS_NORMALISED ? v->weights + i * v->weights_row : NULL;
    float max = v->sink, sum = 0;
    for (int64_t j = 0; j < n; j++)
        if (!(s[j] <= max)) max = s[j];
    if (max == -INFINITY) max = 0; /* no key: every exponential below is 0 */
    for (int64_t j = 0; j < n; j++) {
        bool hidden = s[j] == -INFINITY;
        s[j] = hidden ? 0 : expf(s[j] - max);
        sum += s[j];
        if (weights) weights[j] = hidden ? 0 : 1;
    }
    sum += v->sink == -INFINITY ? 0 : expf(v->sink - max);
    *inverse = sum == 0 ? 0 : 1 / sum;
    if (v->lse) v->lse[i * v->lse_row] = sum == 0 ? -INFINITY : max + logf(sum);
    for (int64_t j = 0; weights && j < n; j++) /* hidden keys stay 0, also beside a NaN */
        if (weights[j] != 0) weights[j] = s[j] * *inverse;
}

/* Pass 3, row i: O[i,:] = sum of weights[j] V[j,:] times inverse, over the visible keys only:
 * values behind a mask may be NaN. */
static void weighted_sum(const attn_problem *p, const head_view *v, int64_t i, const float *weights,
                         float inverse)
{
    float *out = v->out + i * v->out_row;
    key_range seen = visible_range(p, v, i);
    for (int64_t c = 0; c < p->v_dim; c++) out[c] = 0;
    for (int64_t j = seen.first; j < seen.last; j++) {
        if (weights[j] == 0 && (p->select != ATTN_SOFTMAX || score_bias(v, i, j) == -INFINITY))
            continue;
        const float *value = v->v + j * v->v_row;
        for (int64_t c = 0; c < p->v_dim; c++) out[c] += weights[j] * value[c];
    }
    for (int64_t c = 0; c < p->v_dim; c++) out[c] *= inverse;
}

static void naive_run(const attn_problem *p, const attn_tensors *t, attn_slice slice, void *scratch)
{
    head_view v = head_view_of(p, t, slice.batch, slice.head);
    int64_t rows = slice.q_end - slice.q_begin, keep = p->select == ATTN_HARDMAX ? 1 : p->top_k;
    float *s = scratch, *inverse = s + rows * p->kv_len; /* [rows, kv_len], [rows] */
    for (int64_t r = 0; r < rows; r++) score_row(p, t, &v, slice.q_begin + r, s + r * p->kv_len);
    for (int64_t r = 0; r < rows; r++) {
        if (p->select != ATTN_SOFTMAX) keep_best(s + r * p->kv_len, p->kv_len, keep);
        softmax_row(p, &v, slice.q_begin + r, s + r * p->kv_len, &inverse[r]);
    }
    for (int64_t r = 0; r < rows; r++)
        weighted_sum(p, &v, slice.q_begin + r, s + r * p->kv_len, inverse[r]);
}

const attn_kernel KERNEL(naive) = {
    .name = "naive_" ISA_NAME,
    .isa = ISA_NAME,
    .summary = "three passes over a materialised score matrix",
    .source = "Vaswani et al. 2017, section 3.2.1",
    .q_block = 0,
    .refuses = naive_refuses,
    .scratch_bytes = naive_scratch_bytes,
    .claims = naive_claims,
    .run = naive_run,
};
