/* dense.c: one row of attention in double precision, as the specification is read aloud.
 *
 * The mask is materialised: every key starts visible, then each sentence of attention.h ("causal
 * implies j <= t", ...) strikes out what it forbids. Scores, selection, softmax and the weighted
 * sum follow, each in a loop of its own over stored arrays. Nothing is clever here; speed is
 * online.c's and the kernels' affair. Semantics: ONNX Attention-25; top-k and hardmax ties go to
 * the lowest index. */
#include <math.h>
#include <string.h>

#include "reference/reference.h"

static float mask_bias(const attn_problem *p, const attn_tensors *t, ref_place at, int64_t j)
{
    const attn_bias *m = &t->bias;
    if (!p->has_bias) return 0;
    return m->data[at.b * m->batch_stride + at.h * m->head_stride + at.i * m->row_stride +
                   j * m->key_stride];
}

static void materialise_mask(const attn_problem *p, const attn_tensors *t, ref_place at,
                             uint8_t *visible)
{
    int64_t n = p->kv_len, position = (p->has_q_offsets ? t->q_offsets[at.b] : p->q_offset) + at.i;
    memset(visible, 1, (size_t)n);
    if (p->has_kv_lens)
        for (int64_t j = t->kv_lens[at.b]; j < n; j++) visible[j] = 0;
    if (p->causal)
        for (int64_t j = 0; j < n; j++)
            if (j > position) visible[j] = 0;
    if (p->window_left >= 0)
        for (int64_t j = 0; j < n; j++)
            if (j < position - p->window_left) visible[j] = 0;
    if (p->window_right >= 0)
        for (int64_t j = 0; j < n; j++)
            if (j > position + p->window_right) visible[j] = 0;
    if (p->has_mask) {
        const attn_mask *m = &t->mask;
        const uint8_t *row =
            m->data + at.b * m->batch_stride + at.h * m->head_stride + at.i * m->row_stride;
        for (int64_t j = 0; j < n; j++)
            if (!row[j * m->key_stride]) visible[j] = 0;
    }
    if (p->has_bias)
        for (int64_t j = 0; j < n; j++)
            if (mask_bias(p, t, at, j) == -INFINITY) visible[j] = 0;
}

bool ref_visible(const attn_problem *p, const attn_tensors *t, ref_place at, int64_t j)
{
    int64_t position = (p->has_q_offsets ? t->q_offsets[at.b] : p->q_offset) + at.i;
    const attn_mask *m = &t->mask;
    return !(p->has_kv_lens && j >= t->kv_lens[at.b]) && !(p->causal && j > position) &&
           !(p->window_left >= 0 && j < position - p->window_left) &&
           !(p->window_right >= 0 && j > position + p->window_right) &&
           !(p->has_mask && !m->data[at.b * m->batch_stride + at.h * m->head_stride +
                                     at.i * m->row_stride + j * m->key_stride]) &&
           mask_bias(p, t, at, j) != -INFINITY;
}

/* Raw score of one pair and the sum of the absolute values of its products (A_j). */
static double raw_score(const attn_problem *p, const attn_tensors *t, const float *q,
                        const float *k, double *magnitude)
{
    double sum = 0, absolute = 0;
    for (int64_t c = 0; c < p->qk_dim; c++) {
        double product = p->score == ATTN_DOT ? (double)q[c] * k[c]
                                              : t->score_vector[c] * tanh((double)q[c] + k[c]);
        sum += product;
        absolute += fabs(product);
    }
    *magnitude = fabs((double)p->scale) * absolute;
    return p->scale * sum;
}

/* NaN ranks above every number, so that a visible NaN reaches its row. */
static bool ranks_above(double a, double b) { return isnan(a) ? !isnan(b) : a > b; }

/* Marks the keys that the selection keeps: all visible ones, or the best `keep`, lowest index
 * first. */
static void select_keys(const attn_problem *p, ref_row *row)
{
    int64_t n = p->kv_len, keep = p->select == ATTN_HARDMAX ? 1 : p->top_k;
    memcpy(row->selected, row->visible, (size_t)n);
    if (p->select == ATTN_SOFTMAX) return;
    memset(row->selected, 0, (size_t)n);
    for (int64_t round = 0; round < keep; round++) {
        int64_t best = -1;
        for (int64_t j = 0; j < n; j++)
            if (row->visible[j] && !row->selected[j] &&
                (best < 0 || ranks_above(row->score[j], row->score[best])))
                best = j;
        if (best < 0) return;
        row->selected[best] = 1;
    }
}

static void softmax(const attn_problem *p, double sink, ref_row *row)
{
    double sum = 0;
    row->largest = sink;
    for (int64_t j = 0; j < p->kv_len; j++)
        if (row->selected[j] && !(row->score[j] <= row->largest)) row->largest = row->score[j];
    for (int64_t j = 0; j < p->kv_len; j++) {
        row->weight[j] = row->selected[j] ? exp(row->score[j] - row->largest) : 0;
        sum += row->weight[j];
    }
    row->sink_weight = sink == -INFINITY ? 0 : exp(sink - row->largest);
    sum += row->sink_weight;
    row->lse = row->largest + log(sum);
    if (row->largest == -INFINITY) row->lse = -INFINITY, sum = 1;
    for (int64_t j = 0; j < p->kv_len; j++)
        if (row->selected[j]) row->weight[j] /= sum; /* others stay 0, also beside a NaN */
    row->sink_weight /= sum;
}

static void score_keys(const attn_problem *p, const attn_tensors *t, ref_place at, ref_row *row)
{
    const float *q =
        t->q.data + at.b * t->q.batch_stride + at.h * t->q.head_stride + at.i * t->q.row_stride;
    int64_t g = at.h / (p->q_heads / p->kv_heads);
    int64_t position = (p->has_q_offsets ? t->q_offsets[at.b] : p->q_offset) + at.i;
    bool all_pairs = p->weights == ATTN_WEIGHTS_RAW || p->weights == ATTN_WEIGHTS_CAPPED;
    for (int64_t j = 0; j < p->kv_len; j++) {
        row->raw[j] = row->capped[j] = row->magnitude[j] = 0;
        row->bias[j] = row->bias_size[j] = 0;
        row->score[j] = -INFINITY;
        if (!row->visible[j] && !all_pairs) continue;
        const float *k =
            t->k.data + at.b * t->k.batch_stride + g * t->k.head_stride + j * t->k.row_stride;
        row->raw[j] = raw_score(p, t, q, k, &row->magnitude[j]);
        row->capped[j] = p->softcap > 0 ? p->softcap * tanh(row->raw[j] / p->softcap) : row->raw[j];
        if (!row->visible[j]) continue;
        double alibi = p->has_alibi ? -t->alibi_slopes[at.h] * fabs((double)(position - j)) : 0;
        double added = mask_bias(p, t, at, j);
        row->bias[j] = alibi + added;
        row->bias_size[j] = fabs(alibi) + fabs(added);
        row->score[j] = row->capped[j] + row->bias[j];
    }
}

void ref_dense(const attn_problem *p, const attn_tensors *t, ref_place at, ref_row *row)
{
    int64_t g = at.h / (p->q_heads / p->kv_heads);
    materialise_mask(p, t, at, row->visible);
    score_keys(p, t, at, row);
    select_keys(p, row);
    softmax(p, p->has_sinks ? t->sinks[at.h] : -INFINITY, row);
    for (int64_t c = 0; c < p->v_dim; c++) row->out[c] = 0;
    for (int64_t j = 0; j < p->kv_len; j++) {
        const float *v =
            t->v.data + at.b * t->v.batch_stride + g * t->v.head_stride + j * t->v.row_stride;
        if (!row->selected[j]) continue;
        for (int64_t c = 0; c < p->v_dim; c++) row->out[c] += row->weight[j] * v[c];
    }
    const double *forms[] = {NULL, row->raw, row->capped, row->score, row->weight};
    if (p->weights) memcpy(row->weights, forms[p->weights], (size_t)p->kv_len * sizeof(double));
}

int64_t ref_visible_pairs(const attn_problem *p, const attn_tensors *t)
{
    int64_t pairs = 0;
    if (!p->has_mask && !p->has_bias) { /* intervals: the closed form, batch by batch */
        for (int64_t b = 0; b < p->batch; b++) {
            attn_problem one = *p;
            one.batch = 1;
            if (p->has_kv_lens) one.kv_len = t->kv_lens[b];
            if (p->has_q_offsets) one.q_offset = t->q_offsets[b];
            pairs += attn_visible_pairs(&one);
        }
        return pairs;
    }
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t h = 0; h < p->q_heads; h++)
            for (int64_t i = 0; i < p->q_len; i++)
                for (int64_t j = 0; j < p->kv_len; j++)
                    pairs += ref_visible(p, t, (ref_place){b, h, i}, j);
    return pairs;
}
