/* online.c: one row of attention in double precision by another road than dense.c.
 *
 * Visibility is an interval from index arithmetic, intersected with the masks key by key; the
 * softmax is online (running maximum, sums rescaled when it grows), so nothing but the outputs is
 * stored; hardmax and top-k keep a short sorted list by insertion. Written apart from dense.c and
 * sharing nothing with it, so that an error would have to be made twice. Source: Milakov and
 * Gimelshein 2018. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference/reference.h"

typedef struct pair_score {
    double raw, capped, masked;
} pair_score;

typedef struct cursor {
    const attn_problem *p;
    const attn_tensors *t;
    int64_t b, h, i, g;
    int64_t first, last; /* visible keys lie in first <= j < last */
    int64_t position;    /* of the query among the keys */
} cursor;

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

static cursor cursor_at(const attn_problem *p, const attn_tensors *t, ref_place at)
{
    cursor c = {
        p, t, at.b, at.h, at.i, at.h * p->kv_heads / p->q_heads, 0, p->kv_len, p->q_offset + at.i};
    if (p->has_q_offsets) c.position = t->q_offsets[at.b] + at.i;
    int64_t right = p->causal ? 0 : p->window_right; /* causal is a right window of 0 */
    if (p->causal && p->window_right >= 0 && p->window_right < right) right = p->window_right;
    if (right >= 0) c.last = clamp(c.position + right + 1, 0, c.last);
    if (p->window_left >= 0) c.first = clamp(c.position - p->window_left, 0, p->kv_len);
    if (p->has_kv_lens && t->kv_lens[at.b] < c.last) c.last = t->kv_lens[at.b];
    return c;
}

static bool sees(const cursor *c, int64_t j)
{
    if (j < c->first || j >= c->last) return false;
    const attn_mask *m = &c->t->mask;
    const attn_bias *a = &c->t->bias;
    if (c->p->has_mask && m->data[c->b * m->batch_stride + c->h * m->head_stride +
                                  c->i * m->row_stride + j * m->key_stride] == 0)
        return false;
    return !c->p->has_bias || a->data[c->b * a->batch_stride + c->h * a->head_stride +
                                      c->i * a->row_stride + j * a->key_stride] > -INFINITY;
}

static pair_score score_of(const cursor *c, int64_t j)
{
    const attn_problem *p = c->p;
    const attn_tensors *t = c->t;
    const float *q =
        &t->q.data[c->b * t->q.batch_stride + c->h * t->q.head_stride + c->i * t->q.row_stride];
    const float *k =
        &t->k.data[c->b * t->k.batch_stride + c->g * t->k.head_stride + j * t->k.row_stride];
    pair_score s = {0, 0, -INFINITY};
    if (p->score == ATTN_ADDITIVE)
        for (int64_t x = p->qk_dim; x-- > 0;)
            s.raw += tanh((double)k[x] + q[x]) * t->score_vector[x] * p->scale;
    else
        for (int64_t x = p->qk_dim; x-- > 0;) s.raw += (double)p->scale * q[x] * k[x];
    s.capped = s.raw;
    if (p->softcap > 0) s.capped = tanh(s.raw / p->softcap) * p->softcap;
    if (!sees(c, j)) return s;
    s.masked = s.capped;
    if (p->has_bias)
        s.masked += t->bias.data[c->b * t->bias.batch_stride + c->h * t->bias.head_stride +
                                 c->i * t->bias.row_stride + j * t->bias.key_stride];
    if (p->has_alibi) s.masked -= (double)t->alibi_slopes[c->h] * (double)llabs(c->position - j);
    return s;
}

/* Running state of the row; the sink, if any, is a first key without a value. */
typedef struct online {
    double max, sum;
} online;

static void add_key(const cursor *c, online *o, double score, int64_t j, double *out)
{
    const attn_input *v = &c->t->v;
    const float *value =
        &v->data[c->b * v->batch_stride + c->g * v->head_stride + j * v->row_stride];
    if (score > o->max) {
        double shrink = o->max == -INFINITY ? 0 : exp(o->max - score);
        o->sum *= shrink;
        for (int64_t x = 0; x < c->p->v_dim; x++) out[x] *= shrink;
        o->max = score;
    }
    double weight = exp(score - o->max);
    o->sum += weight;
    for (int64_t x = 0; x < c->p->v_dim; x++) out[x] += weight * value[x];
}

/* The best keys so far, best first; equal scores keep the order of arrival. */
typedef struct ranking {
    int64_t *key;
    double *score;
    int64_t count, room;
} ranking;

/* NaN comes first, then larger scores. */
static bool better(double a, double b) { return isnan(b) ? false : isnan(a) || a > b; }

static void rank_key(ranking *r, int64_t j, double score)
{
    int64_t at = r->count < r->room ? r->count++ : r->room;
    for (; at > 0 && better(score, r->score[at - 1]); at--)
        if (at < r->room) r->key[at] = r->key[at - 1], r->score[at] = r->score[at - 1];
    if (at < r->room) r->key[at] = j, r->score[at] = score;
}

static void online_softmax(const cursor *c, online *o, ref_row *row)
{
    for (int64_t j = c->first; j < c->last; j++)
        if (sees(c, j)) add_key(c, o, score_of(c, j).masked, j, row->out);
}

static void online_best(const cursor *c, online *o, ranking *best, ref_row *row)
{
    for (int64_t j = c->first; j < c->last; j++)
        if (sees(c, j)) rank_key(best, j, score_of(c, j).masked);
    for (int64_t r = 0; r < best->count; r++) add_key(c, o, best->score[r], best->key[r], row->out);
}

static void fill_weights(const cursor *c, const ranking *best, ref_row *row)
{
    for (int64_t j = 0; j < c->p->kv_len; j++) {
        pair_score s = score_of(c, j);
        const double forms[] = {0, s.raw, s.capped, s.masked,
                                sees(c, j) ? exp(s.masked - row->lse) : 0};
        row->weights[j] = forms[c->p->weights];
    }
    if (c->p->weights != ATTN_WEIGHTS_NORMALISED || !best->key) return;
    memset(row->weights, 0, (size_t)c->p->kv_len * sizeof(double));
    for (int64_t r = 0; r < best->count; r++)
        row->weights[best->key[r]] = exp(best->score[r] - row->lse);
}

void ref_online(const attn_problem *p, const attn_tensors *t, ref_place at, ref_row *row)
{
    cursor c = cursor_at(p, t, at);
    online o = {-INFINITY, 0};
    ranking best = {0};
    if (p->has_sinks) o = (online){t->sinks[at.h], 1};
    memset(row->out, 0, (size_t)p->v_dim * sizeof(double));
    for (int64_t j = 0; j < p->kv_len; j++) row->visible[j] = sees(&c, j);
    if (p->select != ATTN_SOFTMAX) {
        int64_t wanted = p->select == ATTN_HARDMAX ? 1 : p->top_k;
        best.room = wanted < p->kv_len ? wanted : p->kv_len;
        best.key = malloc((size_t)(best.room + 1) * sizeof *best.key);
        best.score = malloc((size_t)(best.room + 1) * sizeof *best.score);
        if (!best.key || !best.score) abort(); /* a few bytes per kept key */
        online_best(&c, &o, &best, row);
    } else {
        online_softmax(&c, &o, row);
    }
    for (int64_t x = 0; x < p->v_dim && o.sum != 0; x++) row->out[x] /= o.sum;
    row->lse = o.sum == 0 ? -INFINITY : o.max + log(o.sum);
    if (p->weights) fill_weights(&c, &best, row);
    free(best.key);
    free(best.score);
}
