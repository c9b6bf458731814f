/* mutants_outside.c: from ten kernels by someone who knew only the public page, frozen before the
 * first run. Three died: signed mask bytes, a sink without keys (here "sink-needs-a-key"), and by
 * accident aligned loads. What died of nothing then dies now: of `edit`, of ramps, of decoding in
 * odd pieces, of a wide softcap. */
#include <string.h>

#include "verify/mutant.h"

/* ---- state ----------------------------------------------------------------------------- */

/* K packed in the scratch, known by its address. */
typedef struct packed {
    uint64_t magic;
    const float *k;
    int64_t batch, head, keys, dim;
} packed;
enum { PACKED_MAGIC = 0x7061636b };

static int64_t room_for_packed_k(const attn_problem *p)
{
    return (int64_t)sizeof(packed) + 8 + 4 * p->kv_len * p->qk_dim;
}

static void packed_in_scratch(mutant_call *c)
{
    const attn_problem *p = c->asked;
    int64_t g = c->s.head / (p->q_heads / p->kv_heads), own = 4 * (p->kv_len + p->v_dim);
    packed now = {PACKED_MAGIC, c->t.k.data, c->s.batch, g, p->kv_len, p->qk_dim};
    packed *have = (packed *)((char *)c->scratch + (own + 7) / 8 * 8);
    float *copy = (float *)(have + 1);
    const float *k = c->t.k.data + c->s.batch * c->t.k.batch_stride + g * c->t.k.head_stride;
    if (memcmp(have, &now, sizeof now) != 0)
        for (int64_t j = 0; j < p->kv_len; j++)
            memcpy(copy + j * p->qk_dim, k + j * c->t.k.row_stride,
                   (size_t)p->qk_dim * sizeof *copy);
    *have = now;
    c->t.k = (attn_input){copy, 0, 0, p->qk_dim};
}

/* K packed in memory of its own, known by its address, its sizes and every few rows of it. */
static uint64_t fingerprint(const attn_problem *p, const float *k, int64_t row)
{
    uint64_t hash = 0;
    for (int64_t j = 0; j < p->kv_len; j += 1 + p->kv_len / 16)
        for (int64_t c = 0; c < p->qk_dim; c++) {
            uint32_t bits;
            memcpy(&bits, k + j * row + c, sizeof bits);
            hash = (hash ^ bits) * UINT64_C(0x100000001b3);
        }
    return hash;
}
static void sampled_fingerprint(mutant_call *c)
{
    enum { MOST = 1 << 16 };
    static _Thread_local float copy[MOST];
    static _Thread_local struct known {
        const float *k;
        int64_t keys, dim, row;
        uint64_t hash;
    } known;
    const attn_problem *p = c->asked;
    int64_t g = c->s.head / (p->q_heads / p->kv_heads), row = c->t.k.row_stride;
    const float *k = c->t.k.data + c->s.batch * c->t.k.batch_stride + g * c->t.k.head_stride;
    if (p->kv_len * p->qk_dim > MOST) return;
    struct known now = {k, p->kv_len, p->qk_dim, row, fingerprint(p, k, row)};
    if (memcmp(&known, &now, sizeof now) != 0)
        for (int64_t j = 0; j < p->kv_len; j++)
            memcpy(copy + j * p->qk_dim, k + j * row, (size_t)p->qk_dim * sizeof *copy);
    known = now;
    c->t.k = (attn_input){copy, 0, 0, p->qk_dim};
}

/* ---- inputs ---------------------------------------------------------------------------- */

/* Few queries take keys in pieces of 1024, at most 8, whose tree of sums drops the odd one. */
static int64_t odd_piece_lost(const mutant_row *r, int64_t last)
{
    int64_t pieces = r->p->q_len <= 4 ? r->p->kv_len / 1024 : 1;
    if (pieces > 8) pieces = 8;
    return pieces > 1 && pieces % 2 ? last * (pieces - 1) / pieces : last;
}

/* The largest score is replaced when a block's is 8 above that of the block before, where the one
 * in use is meant. */
static float max_of(const mutant_row *r, int64_t j0, int64_t j1)
{
    float max = -INFINITY;
    for (int64_t j = j0; j < j1; j++) max = r->s[j] > max ? r->s[j] : max;
    return max;
}
static float lazy_by_last_block(const mutant_row *r, int64_t j0, int64_t j1)
{
    float high = max_of(r, j0, j1), before = -INFINITY;
    for (int64_t j = j0; j > 0 && before == -INFINITY; j -= MUTANT_BLOCK)
        before = max_of(r, j - MUTANT_BLOCK, j);
    bool moves = r->max == -INFINITY || !(high - before <= 8) || r->p->has_alibi;
    return moves && high > r->max ? high : r->max;
}

static float mask_signed(const mutant_row *r, int64_t j, float raw)
{
    const uint8_t *mask = r->v.mask ? r->v.mask + r->i * r->v.mask_row : NULL;
    bool hidden = mask && mask[j * r->v.mask_key] > 127;
    return hidden ? -INFINITY : mutant_right.score(r, j, raw);
}

/* 1 - 2 / (e^2x + 1) cancels near 0, and errs by what a float near 1 does. */
static float tanh_from_1(float score, float cap)
{
    return cap * (1 - 2 / (expf(2 * (score / cap)) + 1));
}

const mutant mutants_outside[] = {
    {"packed-in-scratch",
     "class: packed keys in the scratch known by their address",
     "edit",
     {.more_scratch = room_for_packed_k, .before = packed_in_scratch}},
    {"sampled-fingerprint",
     "class: packed keys known by some of their rows",
     "edit",
     {.before = sampled_fingerprint}},
    {"odd-piece-lost",
     "class: a tree of sums that drops the odd part",
     "bound gauss",
     {.last_key = odd_piece_lost}},
    {"lazy-by-last-block",
     "class: a lazy rescale whose lag has no bound",
     "bound ramp",
     {.max = lazy_by_last_block}},
    {"mask-signed", "class: mask bytes compared as signed", "bound gauss", {.score = mask_signed}},
    {"tanh-from-1", "class: tanh by way of exp", "bound gauss", {.cap = tanh_from_1}},
    {0},
};
