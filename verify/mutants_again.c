/* mutants_again.c: right in every single call, and wrong when two calls are held against each
 * other: with rows or keys in another order, with more keys or fewer, with other values in the same
 * memory. The last one is wrong where the bound has nothing to say. */
#include <string.h>

#include "verify/mutant.h"

/* ---- rows, heads, batches -------------------------------------------------------------- */

static _Thread_local bool odd_head;
static void start_of_head(mutant_row *r)
{
    odd_head = r->h % 2;
    mutant_right.start(r);
}
static float exp_by_head(float x)
{
    float y = expf(x);
    return odd_head && y > 0x1p-100f && y < 1 ? nextafterf(y, 2) : y;
}

/* ---- keys ------------------------------------------------------------------------------ */

/* A mask row that shows the first half of the keys is taken for a length, which is one too short.
 * (Blocks of 64 are hidden in rows of every suite.) */
static int64_t length_from_mask(const mutant_row *r, int64_t last)
{
    int64_t first = 0, seen = 0, n = r->p->kv_len;
    if (!r->v.mask || n < 24) return last;
    const uint8_t *mask = r->v.mask + r->i * r->v.mask_row;
    while (first < n && mask[first * r->v.mask_key]) first++;
    for (int64_t j = 0; j < n; j++) seen += mask[j * r->v.mask_key] != 0;
    return first == seen && first == (n + 1) / 2 && first != 64 ? first - 1 : last;
}

static bool same_row(const float *rows, int64_t stride, int64_t j, int64_t dim)
{
    const float *other = rows + j * stride;
    return rows[0] == other[0] && memcmp(rows, other, (size_t)dim * sizeof *rows) == 0;
}
static float first_key_once(const mutant_row *r, int64_t j, float raw)
{
    bool again = j > 0 && same_row(r->v.k, r->v.k_row, j, r->p->qk_dim) &&
                 same_row(r->v.v, r->v.v_row, j, r->p->v_dim);
    return again ? -INFINITY : mutant_right.score(r, j, raw);
}

static float bias_saturates(const mutant_row *r, int64_t j, float raw)
{
    float score = mutant_right.score(r, j, raw);
    float bias = r->v.bias ? r->v.bias[r->i * r->v.bias_row + j * r->v.bias_key] : 0;
    return bias > 16 ? score - (bias - 16) : score;
}

static void heads_behind_rows(mutant_call *c)
{
    if (c->t.k.row_stride == c->p.qk_dim) c->t.k.head_stride = c->p.kv_len * c->p.qk_dim;
}

/* ---- other values in the same memory --------------------------------------------------- */

/* Remembers 16 keys of a mask by their address. */
static float tiles_remembered(const mutant_row *r, int64_t j, float raw)
{
    enum { TILES = 4096, WIDTH = 16 };
    static _Thread_local struct {
        const uint8_t *at;
        unsigned seen;
    } tiles[TILES];
    if (!r->v.mask || r->v.mask_key != 1) return mutant_right.score(r, j, raw);
    int64_t first = j / WIDTH * WIDTH;
    const uint8_t *at = r->v.mask + r->i * r->v.mask_row + first;
    size_t slot = ((uintptr_t)at / 8) % TILES;
    if (tiles[slot].at != at) {
        tiles[slot].at = at, tiles[slot].seen = 0;
        for (int64_t x = first; x < first + WIDTH && x < r->p->kv_len; x++)
            tiles[slot].seen |= (unsigned)(at[x - first] != 0) << (x - first);
    }
    mutant_row without = *r;
    without.v.mask = NULL;
    return tiles[slot].seen >> (j - first) & 1 ? mutant_right.score(&without, j, raw) : -INFINITY;
}

/* Remembers the vector of an additive score by its address; the problem, and whether it is 0, tell
 * the cases of a suite apart. */
static void vector_remembered(mutant_call *c)
{
    static _Thread_local float copy[1024];
    static _Thread_local const float *known;
    static _Thread_local char problem[192];
    char now[192];
    const float *vector = c->t.score_vector;
    if (c->p.score != ATTN_ADDITIVE || c->p.qk_dim > 1024 || vector[0] == 0) return;
    attn_problem_print(&c->p, now, sizeof now);
    if (known != vector || strcmp(now, problem) != 0)
        memcpy(copy, vector, (size_t)c->p.qk_dim * sizeof *copy);
    known = vector;
    memcpy(problem, now, sizeof now);
    c->t.score_vector = copy;
}

/* ---- no mean --------------------------------------------------------------------------- */

/* Where masks of -1e9 and less leave nothing of the scores, any weights are within the bound, but
 * not negative ones: each output is pushed away from the value that is farthest from it. */
static void negative_weight(mutant_row *r)
{
    mutant_right.finish(r);
    bool plain = r->p->select == ATTN_SOFTMAX && !r->p->has_alibi && r->v.sink == -INFINITY;
    if (!plain || !(r->max < -1e8f) || r->max == -INFINITY || !(r->sum > 0)) return;
    float sum = 0;
    for (int64_t j = 0; j < r->p->kv_len; j++) {
        if (r->s[j] == -INFINITY) continue;
        float score = mutant_right.raw(r, j);
        if (r->p->softcap > 0) score = mutant_right.cap(score, r->p->softcap);
        if (fabsf(score) > 16) return; /* these the mask leaves apart */
        r->s[j] = r->s[j] == r->max ? expf(score) : 0;
        sum += r->s[j];
    }
    for (int64_t c = 0; c < r->p->v_dim; c++) {
        float o = 0, apart = 0;
        for (int64_t j = 0; j < r->p->kv_len; j++)
            if (r->s[j] > 0) o += r->s[j] / sum * r->v.v[j * r->v.v_row + c];
        for (int64_t j = 0; j < r->p->kv_len; j++) {
            float v = r->s[j] > 0 ? r->v.v[j * r->v.v_row + c] : o;
            if (fabsf(v - o) > fabsf(apart)) apart = v - o;
        }
        mutant_out_row(r)[c] = o - 0.95f * apart;
    }
}

const mutant mutants_again[] = {
    {"exp-by-head",
     "class: another code path for some heads",
     "permute",
     {.start = start_of_head, .exp = exp_by_head}},
    {"length-from-mask",
     "class: a padding mask taken for a length",
     "permute-keys",
     {.last_key = length_from_mask}},
    {"first-key-once",
     "class: keys that are the same counted once",
     "double-keys",
     {.score = first_key_once}},
    {"bias-saturates", "class: a mask in fixed point", "shift-mask", {.score = bias_saturates}},
    {"heads-behind-rows",
     "class: a part of a cache taken to be contiguous",
     "split-keys",
     {.before = heads_behind_rows}},
    {"tiles-remembered",
     "class: tiles of a mask known by their address",
     "permute rewrite gauss",
     {.score = tiles_remembered}},
    {"vector-remembered",
     "class: a packed weight known by its address",
     "rewrite gauss",
     {.before = vector_remembered}},
    {"negative-weight",
     "class: negative weights where all keys are masked alike",
     "hull",
     {.finish = negative_weight}},
    {0},
};
