/* kernel.h: what every kernel file needs: its own name, visibility and the score's additive part.
 *
 * A kernel file is compiled once per ISA with -DISA=<isa>; KERNEL(naive) is then naive_<isa>. */
#ifndef KERNELS_KERNEL_H
#define KERNELS_KERNEL_H

#include <math.h>

#include "kernels/attention.h"

#define KERNEL_PASTE(word, isa)  attn_kernel_##word##_##isa
#define KERNEL_EXPAND(word, isa) KERNEL_PASTE(word, isa)
#define KERNEL(word)             KERNEL_EXPAND(word, ISA)
#define KERNEL_TEXT(isa)         #isa
#define KERNEL_ISA_TEXT(isa)     KERNEL_TEXT(isa)
#define ISA_NAME                 KERNEL_ISA_TEXT(ISA)

/* The rows of one (batch, head) that a slice works on: pointers to row 0 of each tensor, strides in
 * elements, and this head's constants. */
typedef struct head_view {
    const float *q, *k, *v;
    float *out, *lse, *weights; /* lse, weights: NULL if not wanted */
    int64_t q_row, k_row, v_row, out_row, lse_row, weights_row;
    const uint8_t *mask; /* NULL if none */
    const float *bias;   /* NULL if none */
    int64_t mask_row, mask_key, bias_row, bias_key;
    int64_t keys;     /* kv_lens[b], or kv_len */
    int64_t q_offset; /* position of query row 0 among the keys */
    const float *score_vector;
    float slope; /* ALiBi; 0 if none */
    float sink;  /* -inf if none */
} head_view;

static inline head_view head_view_of(const attn_problem *p, const attn_tensors *t, int64_t b,
                                     int64_t h)
{
    int64_t g = h / (p->q_heads / p->kv_heads);
    head_view s = {
        .q = t->q.data + b * t->q.batch_stride + h * t->q.head_stride,
        .k = t->k.data + b * t->k.batch_stride + g * t->k.head_stride,
        .v = t->v.data + b * t->v.batch_stride + g * t->v.head_stride,
        .out = t->out.data + b * t->out.batch_stride + h * t->out.head_stride,
        .q_row = t->q.row_stride,
        .k_row = t->k.row_stride,
        .v_row = t->v.row_stride,
        .out_row = t->out.row_stride,
        .lse_row = t->lse.row_stride,
        .weights_row = t->weights.row_stride,
        .keys = p->has_kv_lens ? t->kv_lens[b] : p->kv_len,
        .q_offset = p->has_q_offsets ? t->q_offsets[b] : p->q_offset,
        .score_vector = t->score_vector,
        .slope = p->has_alibi ? t->alibi_slopes[h] : 0.0f,
        .sink = p->has_sinks ? t->sinks[h] : -INFINITY,
    };
    if (p->wants_lse) s.lse = t->lse.data + b * t->lse.batch_stride + h * t->lse.head_stride;
    if (p->weights)
        s.weights = t->weights.data + b * t->weights.batch_stride + h * t->weights.head_stride;
    if (p->has_mask) {
        s.mask = t->mask.data + b * t->mask.batch_stride + h * t->mask.head_stride;
        s.mask_row = t->mask.row_stride, s.mask_key = t->mask.key_stride;
    }
    if (p->has_bias) {
        s.bias = t->bias.data + b * t->bias.batch_stride + h * t->bias.head_stride;
        s.bias_row = t->bias.row_stride, s.bias_key = t->bias.key_stride;
    }
    return s;
}

/* The keys that causal, window and length leave to query row i: first <= j < last; empty if first
 * >= last. */
typedef struct key_range {
    int64_t first, last;
} key_range;

static inline key_range visible_range(const attn_problem *p, const head_view *s, int64_t i)
{
    int64_t t = s->q_offset + i;
    key_range r = {0, s->keys};
    if (p->causal && t + 1 < r.last) r.last = t + 1;
    if (p->window_right >= 0 && t + p->window_right + 1 < r.last) r.last = t + p->window_right + 1;
    if (p->window_left >= 0 && t - p->window_left > r.first) r.first = t - p->window_left;
    return r;
}

/* What ALiBi and the additive mask add to the score of (i, j); -inf if a mask removes the key. The
 * range of visible_range is not looked at. */
static inline float score_bias(const head_view *s, int64_t i, int64_t j)
{
    int64_t distance = s->q_offset + i - j;
    float bias = -s->slope * (float)(distance < 0 ? -distance : distance);
    if (s->mask && !s->mask[i * s->mask_row + j * s->mask_key]) return -INFINITY;
    return s->bias ? bias + s->bias[i * s->bias_row + j * s->bias_key] : bias;
}

#endif
