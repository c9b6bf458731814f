/* flash.h: exact softmax attention in tiles, with memory that does not grow with the sequence.
 *
 * The keys pass by in blocks; a running maximum and sum per query make the softmax exact (online
 * softmax: Milakov and Gimelshein 2018; tiling: Dao et al. 2022). Per block: scores of a strip
 * (strip.h), new maximum, weights in place of the scores, and O^T += V^T P^T by the same tiles as
 * the scores, with V broadcast from where it lies. The factor that brings older sums along is
 * applied while a tile of O^T is loaded.
 *
 * Work per key and vector of queries: (qk_dim + v_dim) multiply-adds, one exponential.
 * Memory: 4 WIDTH (K_BLOCK + STRIPS (qk_dim + v_dim + 2)) bytes per thread, v_dim rounded up.
 *
 * flash.c and flash_sleef.c include this file after their vec_exp2 and vec_tanh. */
#ifndef KERNELS_PORTABLE_FLASH_H
#define KERNELS_PORTABLE_FLASH_H

#include "kernels/portable/strip.h"

static const char *flash_refuses(const attn_problem *p)
{
    return p->select == ATTN_SOFTMAX ? NULL
                                     : "computes softmax only; select_" ISA_NAME
                                       " does hardmax and top-k";
}

static int64_t flash_scratch_bytes(const attn_problem *p)
{
    return 4 * (WIDTH * (K_BLOCK + 1) + STRIPS * strip_floats(p));
}

static attn_claims flash_claims(const attn_problem *p)
{
    int64_t blocks = (p->kv_len + K_BLOCK - 1) / K_BLOCK;
    return (attn_claims){.exp_ulp = EXP_ULP,
                         .tanh_ulp = TANH_ULP,
                         .sum_height = p->kv_len + blocks + 1,
                         .rescales = blocks,
                         .flush = 0x1p-126,
                         .deterministic = true};
}

/* Weights in place of the scores of vector v, its new maximum from `largest`, the sum, and the
 * factor for older sums in place of `largest`. */
HOT void update_softmax(const strip *b, int v, int64_t keys, float *s, float *largest)
{
    float *max_at = b->max + v * VEC_LANES, *sum_at = b->sum + v * VEC_LANES;
    vec max = vec_load(largest + v * VEC_LANES), old = vec_load(max_at);
    vec_store(max_at, max);
    /* while a row has seen no key, 0 is subtracted, so that -inf gives weight 0 */
    max = vec_select(vec_less(max, vec_set(-float_max)), vec_set(0), max);
    vec factor = vec_exp2(vec_sub(old, max)), sum = vec_mul(vec_load(sum_at), factor);
    vec_store(largest + v * VEC_LANES, factor);
    s += v * VEC_LANES;
    for (int64_t j = 0; j < keys; j++) {
        vec weight = vec_exp2(vec_sub(vec_load(s + j * WIDTH), max));
        sum = vec_add(sum, weight);
        vec_store(s + j * WIDTH, weight);
    }
    vec_store(sum_at, sum);
}

/* The same where V holds NaN or inf, and 0 * NaN would leak out from behind a mask: visible keys
 * only. The order is that of multiply_tile, so that rows without a NaN keep every bit. */
static void add_visible_values(const attn_problem *p, const head_view *h, const strip *b,
                               int64_t j0, int64_t keys, const float *s, const float *rescale)
{
    for (int64_t l = 0; l < b->rows; l++) {
        key_range seen = visible_range(p, h, b->q_begin + l);
        bool visible[K_BLOCK];
        for (int64_t j = j0; j < j0 + keys; j++)
            visible[j - j0] =
                j >= seen.first && j < seen.last && score_bias(h, b->q_begin + l, j) != -INFINITY;
        for (int64_t c = 0; c < p->v_dim; c++) {
            float sum = 0, *o = &b->o[c * WIDTH + l];
            for (int64_t j = 0; j < keys; j++)
                if (visible[j]) sum += s[j * WIDTH + l] * h->v[(j0 + j) * h->v_row + c];
            *o = rescale[l] * *o + sum;
        }
    }
}

typedef struct flash_call {
    const attn_problem *p;
    const head_view *h;
    float *s;       /* [K_BLOCK][WIDTH] */
    float *rescale; /* [WIDTH] */
    bool careful;   /* V holds NaN or inf: look at every key behind a mask */
} flash_call;

static void add_keys(const flash_call *x, const strip *b, int64_t j0, int64_t keys)
{
    const head_view *h = x->h;
    product pv = {h->v + j0 * h->v_row, x->p->v_dim, 1, h->v_row, x->s, keys, b->o,
                  x->rescale,           NULL};
    score_block(x->p, h, b, j0, keys, x->s, x->rescale);
    for (int v = 0; v < b->vectors; v++) update_softmax(b, v, keys, x->s, x->rescale);
    if (x->careful && !fully_visible(x->p, h, b, j0, keys))
        add_visible_values(x->p, h, b, j0, keys, x->s, x->rescale);
    else multiply[b->vectors](&pv);
}

static void start_sums(const attn_problem *p, const head_view *h, const strip *b)
{
    for (int64_t x = 0; x < p->v_dim * WIDTH; x++) b->o[x] = 0;
    for (int l = 0; l < WIDTH; l++) {
        b->max[l] = h->sink * log2e;
        b->sum[l] = h->sink == -INFINITY ? 0 : 1; /* a sink is a first key with no value */
    }
}

/* Divides by the sum and writes the rows of vector v; returns whether any of them holds a NaN. */
static bool write_output(const attn_problem *p, const head_view *h, const strip *b, int v)
{
    vec sum = vec_load(b->sum + v * VEC_LANES), inverse = vec_div(vec_set(1), sum);
    vec_mask empty = vec_less(sum, vec_set(0x1p-149f));
    bool nan = false;
    inverse = vec_select(empty, vec_set(0), inverse);
    for (int64_t c = 0; c < p->v_dim; c += VEC_LANES) {
        int64_t columns = p->v_dim - c < VEC_LANES ? p->v_dim - c : VEC_LANES;
        vec t[VEC_LANES];
        for (int x = 0; x < VEC_LANES; x++)
            t[x] = x < columns ? vec_mul(vec_load(b->o + (c + x) * WIDTH + v * VEC_LANES), inverse)
                               : vec_set(0);
        for (int x = 0; x < columns; x++) nan = nan || vec_any(vec_is_nan(t[x]));
        transpose(t);
        for (int l = 0; l < VEC_LANES && v * VEC_LANES + l < b->rows; l++)
            vec_store_first(h->out + (b->q_begin + v * VEC_LANES + l) * h->out_row + c, t[l],
                            columns);
    }
    return nan;
}

/* The whole slice; returns whether a NaN came out. */
static bool flash_pass(const flash_call *x, const strip *b, int strips)
{
    int64_t first = INT64_MAX, last = 0;
    bool nan = false;
    for (int i = 0; i < strips; i++) {
        start_sums(x->p, x->h, &b[i]);
        if (b[i].seen.first >= b[i].seen.last) continue;
        first = b[i].seen.first < first ? b[i].seen.first : first;
        last = b[i].seen.last > last ? b[i].seen.last : last;
    }
    for (int64_t j = first; j < last; j += K_BLOCK)
        for (int i = 0; i < strips; i++) {
            int64_t begin = j > b[i].seen.first ? j : b[i].seen.first;
            int64_t end = j + K_BLOCK < b[i].seen.last ? j + K_BLOCK : b[i].seen.last;
            if (begin < end) add_keys(x, &b[i], begin, end - begin);
        }
    for (int i = 0; i < strips; i++) {
        for (int v = 0; v < b[i].vectors; v++)
            if (write_output(x->p, x->h, &b[i], v)) nan = true;
        for (int64_t l = 0; x->h->lse && l < b[i].rows; l++)
            x->h->lse[(b[i].q_begin + l) * x->h->lse_row] =
                lse_of(x->p, x->h, b[i].q_begin + l, b[i].max[l], b[i].sum[l]);
        for (int64_t l = 0; x->p->weights == ATTN_WEIGHTS_NORMALISED && l < b[i].rows; l++)
            normalise_row(x->h->weights + (b[i].q_begin + l) * x->h->weights_row, x->p->kv_len,
                          b[i].max[l], b[i].sum[l]);
    }
    return nan;
}

static void flash_run(const attn_problem *p, const attn_tensors *t, attn_slice slice, void *scratch)
{
    strip b[STRIPS];
    head_view h = head_view_of(p, t, slice.batch, slice.head);
    float *s = scratch, *rescale = s + K_BLOCK * WIDTH;
    int strips = start_strips(p, &h, slice, rescale + WIDTH, b);
    flash_call x = {p, &h, s, rescale, false};
    if (!flash_pass(&x, b, strips)) return;
    x.careful = true;
    flash_pass(&x, b, strips);
}

#endif
