/* strip.h: the scores of a strip of queries against a block of keys.
 *
 * Lanes are queries. A strip is WIDTH queries, transposed once; S^T is computed by tiles of
 * VEC_TILE keys x VEC_STRIP vectors that live in registers while the features stream past: K is
 * broadcast from where it lies, nothing else is packed. Maximum, sum and exponential then never
 * cross lanes. The last rows of a tile may repeat the last key (or column): computed, stored
 * beside, never used; so a tile has one shape, and nothing is read past a row.
 *
 * Scores are kept in powers of two, s log2(e), so that a weight is 2^(s - max).
 *
 * The includer provides vec_exp2 and vec_tanh (vec_math.h, or SLEEF's). */
#ifndef KERNELS_PORTABLE_STRIP_H
#define KERNELS_PORTABLE_STRIP_H

#include "kernels/portable/score_row.h"

enum {
    WIDTH = VEC_STRIP * VEC_LANES, /* queries of a strip */
    K_BLOCK = 128,                 /* keys of a block; a multiple of VEC_TILE and VEC_LANES */
};

/* Rows q_begin <= i < q_begin + rows, and their state. Arrays are [..][WIDTH], a query per lane. */
typedef struct strip {
    float *q; /* [qk_dim][WIDTH]; lanes without a query repeat the last */
    float *o; /* [v_dim rounded up to VEC_TILE][WIDTH] */
    float *max, *sum;
    int64_t q_begin, rows;
    int vectors;         /* in use */
    key_range seen, all; /* keys that ranges leave to some row, and to every row */
} strip;

/* ---- the multiplication --------------------------------------------------------------- */

/* out[r][l] = out[r][l] * rescale[l] + sum over x < steps of a[r * row + x * step] * in[x][l]
 * for r < rows; in and out are [..][WIDTH], out has rows for whole tiles. With rescale NULL it is
 * taken as 0, and largest[l] becomes max(largest[l], max over r of out[r][l]). */
typedef struct product {
    const float *a;
    int64_t rows, row, step;
    const float *in;
    int64_t steps;
    float *out;
    const float *rescale;
    float *largest;
} product;

INLINE void multiply_tile(int vectors, const product *x, int64_t r)
{
    const float *a[VEC_TILE], *in = x->in;
    float *out = x->out + r * WIDTH;
    vec sum[VEC_STRIP][VEC_TILE];
    UNROLL
    for (int t = 0; t < VEC_TILE; t++) {
        a[t] = x->a + (r + t < x->rows ? r + t : x->rows - 1) * x->row;
        UNROLL
        for (int v = 0; v < vectors; v++) sum[v][t] = vec_set(0);
    }
    for (int64_t i = 0, end = x->steps * x->step; i < end; i += x->step, in += WIDTH) {
        vec b0 = vec_load(in), b1 = vectors > 1 ? vec_load(in + VEC_LANES) : b0;
        vec b2 = vectors > 2 ? vec_load(in + 2 * VEC_LANES) : b0;
        UNROLL
        for (int t = 0; t < VEC_TILE; t++) {
            vec factor = vec_set(a[t][i]);
            sum[0][t] = vec_fma(factor, b0, sum[0][t]);
            if (vectors > 1) sum[1][t] = vec_fma(factor, b1, sum[1][t]);
            if (vectors > 2) sum[2][t] = vec_fma(factor, b2, sum[2][t]);
        }
    }
    UNROLL
    for (int v = 0; v < vectors; v++) {
        float *at = out + v * VEC_LANES;
        if (x->rescale) {
            vec rescale = vec_load(x->rescale + v * VEC_LANES);
            UNROLL
            for (int t = 0; t < VEC_TILE; t++)
                vec_store(at + t * WIDTH, vec_fma(rescale, vec_load(at + t * WIDTH), sum[v][t]));
        } else {
            vec largest = vec_load(x->largest + v * VEC_LANES);
            UNROLL
            for (int t = 0; t < VEC_TILE; t++) {
                largest = vec_max(largest, sum[v][t]);
                vec_store(at + t * WIDTH, sum[v][t]);
            }
            vec_store(x->largest + v * VEC_LANES, largest);
        }
    }
}

/* One function per number of vectors in use: each keeps its tile in registers. */
HOT void multiply_1(const product *x)
{
    for (int64_t r = 0; r < x->rows; r += VEC_TILE) multiply_tile(1, x, r);
}
HOT void multiply_2(const product *x)
{
    for (int64_t r = 0; r < x->rows; r += VEC_TILE) multiply_tile(2, x, r);
}
HOT void multiply_3(const product *x)
{
    for (int64_t r = 0; r < x->rows; r += VEC_TILE) multiply_tile(3, x, r);
}
static void (*const multiply[VEC_STRIP + 1])(const product *) = {NULL, multiply_1, multiply_2,
                                                                 multiply_3};

/* t becomes its transpose: log2(VEC_LANES) perfect shuffles of the (vector, lane) index. */
static inline void transpose(vec t[VEC_LANES])
{
    for (int stage = 1; stage < VEC_LANES; stage *= 2) {
        vec u[VEC_LANES];
        UNROLL
        for (int i = 0; i < VEC_LANES / 2; i++) {
            u[2 * i] = vec_zip_low(t[i], t[i + VEC_LANES / 2]);
            u[2 * i + 1] = vec_zip_high(t[i], t[i + VEC_LANES / 2]);
        }
        UNROLL
        for (int i = 0; i < VEC_LANES; i++) t[i] = u[i];
    }
}

/* The query row of lane l of vector v; lanes without a query repeat the last. */
static inline int64_t strip_row(const strip *b, int v, int l)
{
    int64_t row = v * VEC_LANES + l;
    return b->q_begin + (row < b->rows ? row : b->rows - 1);
}

/* ---- scores --------------------------------------------------------------------------- */

/* Query rows of vector v of the strip into b->q, times `factor`. */
static void load_queries(const attn_problem *p, const head_view *h, const strip *b, int v,
                         float factor)
{
    for (int64_t c = 0; c < p->qk_dim; c += VEC_LANES) {
        int64_t columns = p->qk_dim - c < VEC_LANES ? p->qk_dim - c : VEC_LANES;
        vec t[VEC_LANES];
        for (int l = 0; l < VEC_LANES; l++)
            t[l] = vec_mul(vec_set(factor),
                           vec_load_first(h->q + strip_row(b, v, l) * h->q_row + c, columns));
        transpose(t);
        for (int x = 0; x < columns; x++) vec_store(b->q + (c + x) * WIDTH + v * VEC_LANES, t[x]);
    }
}

/* s[j] = factor * sum_c w_c tanh(q_c + k_jc), for keys j0 to j0 + keys. */
static void additive_scores(const attn_problem *p, const head_view *h, const strip *b, int64_t j0,
                            int64_t keys, float *s)
{
    for (int v = 0; v < b->vectors; v++)
        for (int64_t j = 0; j < keys; j++) {
            const float *k = h->k + (j0 + j) * h->k_row, *q = b->q + v * VEC_LANES;
            vec sum = vec_set(0);
            for (int64_t c = 0; c < p->qk_dim; c++) {
                vec x = vec_add(vec_load(q + c * WIDTH), vec_set(k[c]));
                sum = vec_fma(vec_set(h->score_vector[c]), vec_tanh(x), sum);
            }
            vec_store(s + j * WIDTH + v * VEC_LANES, vec_mul(vec_set(p->scale * log2e), sum));
        }
}

HOT void cap_scores(const strip *b, float cap, int64_t keys, float *s)
{
    vec inverse = vec_set(ln2 / cap), factor = vec_set(cap * log2e);
    for (int v = 0; v < b->vectors; v++)
        for (int64_t j = 0; j < keys; j++) {
            float *at = s + j * WIDTH + v * VEC_LANES;
            vec_store(at, vec_mul(factor, vec_tanh(vec_mul(inverse, vec_load(at)))));
        }
}

/* ---- masks ---------------------------------------------------------------------------- */

/* s = -inf where causal, window or length hide the key. */
static void mask_ranges(const attn_problem *p, const head_view *h, const strip *b, int64_t j0,
                        int64_t keys, float *s)
{
    for (int v = 0; v < b->vectors; v++) {
        float firsts[VEC_LANES], lasts[VEC_LANES]; /* counted from j0, cut off at the block */
        for (int l = 0; l < VEC_LANES; l++) {
            key_range seen = visible_range(p, h, strip_row(b, v, l));
            int64_t first = seen.first - j0, last = seen.last - j0;
            firsts[l] = (float)(first < 0 ? 0 : first > keys ? keys : first);
            lasts[l] = (float)(last < 0 ? 0 : last > keys ? keys : last);
        }
        vec before = vec_sub(vec_load(firsts), vec_set(1)), last = vec_load(lasts);
        for (int64_t j = 0; j < keys; j++) {
            float *at = s + j * WIDTH + v * VEC_LANES;
            vec key = vec_set((float)j);
            vec_mask seen = vec_and(vec_less(before, key), vec_less(key, last));
            vec_store(at, vec_select(seen, vec_load(at), vec_set(-INFINITY)));
        }
    }
}

static void add_alibi(const head_view *h, const strip *b, int64_t j0, int64_t keys, float *s)
{
    vec slope = vec_set(-h->slope * log2e);
    for (int v = 0; v < b->vectors; v++) {
        float positions[VEC_LANES]; /* of the queries, counted from key j0 */
        for (int l = 0; l < VEC_LANES; l++)
            positions[l] = (float)(h->q_offset + strip_row(b, v, l) - j0);
        vec position = vec_load(positions);
        for (int64_t j = 0; j < keys; j++) {
            float *at = s + j * WIDTH + v * VEC_LANES;
            vec distance = vec_abs(vec_sub(position, vec_set((float)j)));
            vec_store(at, vec_fma(slope, distance, vec_load(at)));
        }
    }
}

/* Asks for the masks of a block: its rows lie far apart, where no hardware looks ahead. */
static void fetch_masks(const head_view *h, const strip *b, int64_t j0, int64_t keys)
{
    enum { LINE = 64 };
    for (int64_t i = b->q_begin; i < b->q_begin + b->rows; i++) {
        for (int64_t j = 0; h->bias && j < keys; j += LINE / 4)
            __builtin_prefetch(h->bias + i * h->bias_row + (j0 + j) * h->bias_key);
        for (int64_t j = 0; h->mask && j < keys; j += LINE)
            __builtin_prefetch(h->mask + i * h->mask_row + (j0 + j) * h->mask_key);
    }
}

/* Adds the masks to the scores, a square of VEC_LANES queries x keys at a time. */
static void add_masks(const head_view *h, const strip *b, int64_t j0, int64_t keys, float *s)
{
    for (int v = 0; v < b->vectors; v++)
        for (int64_t j = 0; j < keys; j += VEC_LANES) {
            int64_t n = keys - j < VEC_LANES ? keys - j : VEC_LANES;
            vec t[VEC_LANES];
            for (int l = 0; l < VEC_LANES; l++) t[l] = mask_row(h, strip_row(b, v, l), j0 + j, n);
            transpose(t);
            for (int x = 0; x < n; x++) {
                float *at = s + (j + x) * WIDTH + v * VEC_LANES;
                vec sum = vec_add(vec_load(at), t[x]);
                vec_store(at, vec_select(vec_less(t[x], vec_set(-float_max)), t[x], sum));
            }
        }
}

/* Scores as they are, times `unit`, into the weights output. */
static void write_scores(const attn_problem *p, const head_view *h, const strip *b, int64_t j0,
                         int64_t keys, float unit, const float *s)
{

    for (int v = 0; v < b->vectors; v++)
        for (int64_t j = 0; j < keys; j += VEC_LANES) {
            int64_t n = keys - j < VEC_LANES ? keys - j : VEC_LANES;
            vec t[VEC_LANES];
            for (int x = 0; x < VEC_LANES; x++)
                t[x] = x < n ? vec_mul(vec_set(unit), vec_load(s + (j + x) * WIDTH + v * VEC_LANES))
                             : vec_set(0);
            transpose(t);
            for (int l = 0; l < VEC_LANES && v * VEC_LANES + l < b->rows; l++)
                write_score_row(p, h, b->q_begin + v * VEC_LANES + l, j0 + j, n, t[l]);
        }
}

/* Are all these keys visible to all rows, with nothing to add? */
static inline bool fully_visible(const attn_problem *p, const head_view *h, const strip *b,
                                 int64_t j0, int64_t keys)
{
    return !h->mask && !h->bias && !p->has_alibi && j0 >= b->all.first && j0 + keys <= b->all.last;
}

static void find_largest(const strip *b, int64_t keys, const float *s, float *largest)
{
    for (int v = 0; v < b->vectors; v++) {
        vec max = vec_load(b->max + v * VEC_LANES);
        for (int64_t j = 0; j < keys; j++)
            max = vec_max(max, vec_load(s + j * WIDTH + v * VEC_LANES));
        vec_store(largest + v * VEC_LANES, max);
    }
}

/* s = the scores of keys j0 to j0 + keys, capped and masked, [K_BLOCK][WIDTH];
 * largest = the largest of them and of the strip's maximum so far, [WIDTH]. */
static void score_block(const attn_problem *p, const head_view *h, const strip *b, int64_t j0,
                        int64_t keys, float *s, float *largest)
{
    product qk = {h->k + j0 * h->k_row, keys, h->k_row, 1, b->q, p->qk_dim, s, NULL, largest};
    bool in_range = j0 >= b->all.first && j0 + keys <= b->all.last;
    for (int v = 0; v < b->vectors; v++)
        vec_store(largest + v * VEC_LANES, vec_load(b->max + v * VEC_LANES));
    if (h->mask || h->bias) fetch_masks(h, b, j0, keys); /* they arrive while scores are formed */
    if (p->score == ATTN_ADDITIVE) additive_scores(p, h, b, j0, keys, s);
    else multiply[b->vectors](&qk);
    if (p->weights == ATTN_WEIGHTS_RAW) write_scores(p, h, b, j0, keys, ln2, s);
    if (p->softcap > 0) cap_scores(b, p->softcap, keys, s);
    if (p->weights == ATTN_WEIGHTS_CAPPED || p->weights == ATTN_WEIGHTS_MASKED)
        write_scores(p, h, b, j0, keys, ln2, s);
    if (p->has_alibi) add_alibi(h, b, j0, keys, s);
    if (h->mask || h->bias) add_masks(h, b, j0, keys, s);
    if (!in_range) mask_ranges(p, h, b, j0, keys, s);
    if (p->weights == ATTN_WEIGHTS_NORMALISED) write_scores(p, h, b, j0, keys, 1, s);
    if (p->score == ATTN_ADDITIVE || p->softcap > 0 || p->has_alibi || h->mask || h->bias ||
        !in_range)
        find_largest(b, keys, s, largest);
}

/* ---- a slice as strips ---------------------------------------------------------------- */

enum { STRIPS = WIDTH >= 48 ? 1 : 48 / WIDTH }; /* of a slice: they share the keys in the cache */

/* Floats of scratch that a strip needs. */
static inline int64_t strip_floats(const attn_problem *p)
{
    int64_t columns = (p->v_dim + VEC_TILE - 1) / VEC_TILE * VEC_TILE;
    return WIDTH * (p->qk_dim + columns + 2);
}

/* The strips of a slice, queries loaded; returns how many. Memory: strip_floats each. */
static int start_strips(const attn_problem *p, const head_view *h, attn_slice slice, float *memory,
                        strip b[STRIPS])
{
    int count = 0;
    for (int64_t i = slice.q_begin; i < slice.q_end; i += WIDTH) {
        strip *x = &b[count++];
        *x = (strip){.q_begin = i, .rows = slice.q_end - i < WIDTH ? slice.q_end - i : WIDTH};
        x->vectors = (int)((x->rows + VEC_LANES - 1) / VEC_LANES);
        x->q = memory;
        x->o = x->q + WIDTH * p->qk_dim;
        memory += strip_floats(p);
        x->max = memory - 2 * WIDTH;
        x->sum = memory - WIDTH;
        key_range top = visible_range(p, h, i), end = visible_range(p, h, i + x->rows - 1);
        x->seen = (key_range){top.first, end.last};
        x->all = (key_range){end.first, top.last};
        if (p->weights) x->seen = (key_range){0, p->kv_len};
        for (int v = 0; v < x->vectors; v++)
            load_queries(p, h, x, v, p->score == ATTN_DOT ? p->scale * log2e : 1);
    }
    return count;
}

#endif
