/* decode_tiles.h: where decode.c's time goes: a few query rows against keys, and their weights
 * against values, in tiles that keep their sums in registers. */
#ifndef KERNELS_PORTABLE_DECODE_TILES_H
#define KERNELS_PORTABLE_DECODE_TILES_H

#include <string.h>

#include "kernels/portable/score_row.h"

enum {
    ROWS = 4,    /* most query rows that share a load of K or V; also 2 and 1 */
    COLUMNS = 8, /* most vectors of a row of V at once; also 4, 2 and 1 */
    SUMS = VEC_LANES > 16 ? VEC_LANES : 2 * VEC_TILE, /* in registers: of scores, or of outputs */
    K_BLOCK = SUMS > 32 ? SUMS : 32 /* keys of a block; a multiple of SUMS and VEC_LANES */
};

/* Keys whose scores for this many rows are formed at once. */
#define KEYS_OF(rows) (SUMS / (rows))

/* One query row and its sums over the keys so far. */
typedef struct decode_row {
    head_view view; /* of its query head */
    int64_t i;
    key_range seen; /* keys that ranges leave to it, within the slice */
    float *q;       /* [qk_dim rounded up to VEC_LANES], scaled, zeros at the end */
    float *s;       /* [K_BLOCK]: scores, then weights */
    float *o;       /* [v_dim]: sum of weights times values */
    float max, sum;
} decode_row;

/* ---- scores --------------------------------------------------------------------------- */

/* t[i] becomes the total of its lanes, for SUMS vectors, as floats. Like a transposition, with an
 * addition in each exchange: lane l of the result is the total of vector l. */
INLINE void totals(vec t[SUMS], float *total)
{
    UNROLL
    for (int group = 0; group < SUMS; group += VEC_LANES) {
        vec *u = t + group;
        UNROLL
        for (int half = VEC_LANES / 2; half > 0; half /= 2) UNROLL
        for (int i = 0; i < half; i++)
            u[i] = vec_add(vec_zip_low(u[i], u[i + half]), vec_zip_high(u[i], u[i + half]));
        vec_store(total + group, u[0]);
    }
}

/* Dot scores of SUMS / rows keys from j0 + j on, for `rows` rows; keys after `last` repeat it. */
INLINE void dot_tile(int rows, const attn_problem *p, const decode_row *r, int64_t j0, int64_t j,
                     int64_t last)
{
    const float *k[SUMS];
    const int keys = KEYS_OF(rows);
    vec sum[SUMS];
    float total[SUMS];
    int64_t c = 0;
    UNROLL
    for (int t = 0; t < keys; t++)
        k[t] = r->view.k + (j0 + j + t < last ? j0 + j + t : last) * r->view.k_row;
    UNROLL
    for (int i = 0; i < SUMS; i++) sum[i] = vec_set(0);
    for (; c + VEC_LANES <= p->qk_dim; c += VEC_LANES) {
        UNROLL
        for (int t = 0; t < keys; t++) {
            vec key = vec_load(k[t] + c);
            UNROLL
            for (int x = 0; x < rows; x++)
                sum[x * keys + t] = vec_fma(key, vec_load(r[x].q + c), sum[x * keys + t]);
        }
    }
    if (c < p->qk_dim) {
        UNROLL
        for (int t = 0; t < keys; t++) {
            vec key = vec_load_first(k[t] + c, p->qk_dim - c);
            UNROLL
            for (int x = 0; x < rows; x++)
                sum[x * keys + t] = vec_fma(key, vec_load(r[x].q + c), sum[x * keys + t]);
        }
    }
    totals(sum, total);
    for (int x = 0; x < rows; x++)
        memcpy(r[x].s + j, total + x * keys, (size_t)keys * sizeof(float));
}

HOT void dots_of_1(const attn_problem *p, const decode_row *r, int64_t j0, int64_t j, int64_t last)
{
    dot_tile(1, p, r, j0, j, last);
}
HOT void dots_of_2(const attn_problem *p, const decode_row *r, int64_t j0, int64_t j, int64_t last)
{
    dot_tile(2, p, r, j0, j, last);
}

HOT void dots_of_4(const attn_problem *p, const decode_row *r, int64_t j0, int64_t j, int64_t last)
{
    dot_tile(4, p, r, j0, j, last);
}

/* ---- values --------------------------------------------------------------------------- */

/* o += weights times V for keys j0 to j0 + keys, for `rows` rows and `columns` vectors from column
 * c on; the last vector has n lanes. */
INLINE void values_tile(int rows, int columns, const decode_row *r, int64_t c, int64_t n,
                        int64_t j0, int64_t keys)
{
    const float *v = r->view.v + j0 * r->view.v_row + c;
    vec sum[ROWS][COLUMNS];
    UNROLL
    for (int x = 0; x < rows; x++) {
        UNROLL
        for (int y = 0; y < columns; y++) sum[x][y] = vec_load(r[x].o + c + y * VEC_LANES);
    }
    for (int64_t j = 0; j < keys; j++, v += r->view.v_row) {
        UNROLL
        for (int y = 0; y < columns; y++) {
            const float *at = v + y * VEC_LANES;
            bool part = y == columns - 1 && n < VEC_LANES;
            vec value = part ? vec_load_first(at, n) : vec_load(at);
            UNROLL
            for (int x = 0; x < rows; x++)
                sum[x][y] = vec_fma(vec_set(r[x].s[j]), value, sum[x][y]);
        }
    }
    UNROLL
    for (int x = 0; x < rows; x++) {
        UNROLL
        for (int y = 0; y < columns; y++) vec_store(r[x].o + c + y * VEC_LANES, sum[x][y]);
    }
}

/* All columns, as many at once as there are registers for the sums. */
INLINE void values_of_rows(int rows, const attn_problem *p, const decode_row *r, int64_t j0,
                           int64_t keys)
{
    int64_t c = 0, d = p->v_dim;
    const int64_t wide = 8 * VEC_LANES, middle = 4 * VEC_LANES, narrow = 2 * VEC_LANES;
    for (; 8 * rows <= SUMS && c + wide <= d; c += wide)
        values_tile(rows, 8, r, c, VEC_LANES, j0, keys);
    for (; 4 * rows <= SUMS && c + middle <= d; c += middle)
        values_tile(rows, 4, r, c, VEC_LANES, j0, keys);
    for (; 2 * rows <= SUMS && c + narrow <= d; c += narrow)
        values_tile(rows, 2, r, c, VEC_LANES, j0, keys);
    for (; c < d; c += VEC_LANES)
        values_tile(rows, 1, r, c, d - c < VEC_LANES ? d - c : VEC_LANES, j0, keys);
}

HOT void values_of_1(const attn_problem *p, const decode_row *r, int64_t j0, int64_t keys)
{
    values_of_rows(1, p, r, j0, keys);
}
HOT void values_of_2(const attn_problem *p, const decode_row *r, int64_t j0, int64_t keys)
{
    values_of_rows(2, p, r, j0, keys);
}
HOT void values_of_4(const attn_problem *p, const decode_row *r, int64_t j0, int64_t keys)
{
    values_of_rows(4, p, r, j0, keys);
}

#endif
