/* mutants_fresh.c: ten mutants by someone who had read kernels/attention.h and the correct kernel,
 * but neither the other mutants nor a check; frozen before the first run. Five died at once. Four
 * lived: positions as floats, a negative scale and tanh by way of exp die now, of three problems
 * added for them; weights from a rounded lse stay within the bound and are not here. Tiles of a
 * mask cached by address died only where cases shared an address; see mutants_again.c. */
#include "verify/mutant.h"

/* Transformers writes the lowest float where it means -inf, so kernels take it for -inf; a row that
 * has nothing else is the mean of V, not 0. */
static float finfo_min_hides(const mutant_row *r, int64_t j, float raw)
{
    if (r->v.bias && r->v.bias[r->i * r->v.bias_row + j * r->v.bias_key] < -1e30f) return -INFINITY;
    return mutant_right.score(r, j, raw);
}

/* The sink joins the sum after the last tile, relative to the largest score of the keys, as where
 * sinks came to a finished kernel: e^(sink - max) overflows where the sink is far above. */
static void start_without_sink(mutant_row *r)
{
    mutant_right.start(r);
    r->max = -INFINITY, r->sum = 0;
}
static void sink_added_last(mutant_row *r)
{
    if (r->max == -INFINITY && r->v.sink != -INFINITY) r->max = r->v.sink;
    if (r->v.sink != -INFINITY) r->sum += expf(r->v.sink - r->max);
    mutant_right.finish(r);
}

/* One set of strides for K and V, as in caches that keep both in one tensor; a copy of V alone, or
 * V broadcast alone, has others. */
static void v_strides_of_k(mutant_call *c)
{
    if (c->p.qk_dim != c->p.v_dim) return;
    c->t.v.batch_stride = c->t.k.batch_stride;
    c->t.v.head_stride = c->t.k.head_stride;
    c->t.v.row_stride = c->t.k.row_stride;
}

/* A tile that is e^-17.33 = u / 2 below the maximum is skipped as lost in rounding anyhow, as in
 * kernels that skip the second product of such tiles: not if its values are large, or it is one of
 * many. */
static void skip_negligible_tile(mutant_row *r)
{
    mutant_score_row(r);
    mutant_right.start(r);
    for (int64_t j = 0, end; j < r->p->kv_len; j = end) {
        bool counts = false;
        end = j + MUTANT_BLOCK < r->p->kv_len ? j + MUTANT_BLOCK : r->p->kv_len;
        for (int64_t l = j; l < end; l++) counts = counts || !(r->s[l] < r->max - 17.33f);
        if (counts) mutant_add_block(r, j, end);
    }
    mutant_right.finish(r);
}

/* The best keys of each tile are merged with >= from the left, so that among equals the first of
 * the last tile wins. */
static bool tie_between_tiles(const float *s, int64_t a, int64_t b)
{
    if (s[a] == s[b] && a / MUTANT_BLOCK != b / MUTANT_BLOCK) return a > b;
    return mutant_right.ranks_before(s, a, b);
}

/* Masks built from positions held as floats, as in kernels that make them with an arange of the
 * data's type: beyond 2^24 neighbours are one. */
static float window_in_float(const mutant_row *r, int64_t j, float raw)
{
    attn_problem without = *r->p;
    without.window_left = without.window_right = -1;
    mutant_row open = *r;
    open.seen = visible_range(&without, &r->v, r->i);
    float t = (float)(r->v.q_offset + r->i);
    bool left = r->p->window_left >= 0 && (float)j < t - (float)r->p->window_left;
    bool right = r->p->window_right >= 0 && (float)j > t + (float)r->p->window_right;
    return left || right ? -INFINITY : mutant_right.score(&open, j, raw);
}

/* The maximum is taken of q.k and the scale applied in the exponent, as in FlashAttention 2: with a
 * negative scale it is the minimum that is subtracted. */
static float max_before_scale(const mutant_row *r, int64_t j0, int64_t j1)
{
    if (r->p->scale >= 0) return mutant_right.max(r, j0, j1);
    float min = r->max;
    for (int64_t j = j0; j < j1; j++)
        if (r->s[j] != -INFINITY && (min == -INFINITY || r->s[j] < min)) min = r->s[j];
    return min;
}

/* tanh by way of exp, as in GPU kernels without tanh: (e - 1) cancels near 0. */
static float tanh_cancels(float score, float cap)
{
    float x = score / cap;
    x = x > 9 ? 9 : x < -9 ? -9 : x;
    float e = expf(2 * x);
    return cap * ((e - 1) / (e + 1));
}

const mutant mutants_fresh[] = {
    {"window-in-float", "class: positions as floats", "bound gauss", {.score = window_in_float}},
    {"max-before-scale",
     "class: scale taken to be positive",
     "bound gauss",
     {.max = max_before_scale}},
    {"tanh-cancels", "class: tanh by way of exp", "bound gauss", {.cap = tanh_cancels}},
    {"finfo-min-hides",
     "class: the lowest float read as -inf",
     "bound gauss",
     {.score = finfo_min_hides}},
    {"sink-added-last",
     "class: sink outside the online maximum",
     "bound gauss",
     {.start = start_without_sink, .finish = sink_added_last}},
    {"v-strides-of-k",
     "class: K and V share their strides",
     "bound exact",
     {.before = v_strides_of_k}},
    {"skip-negligible-tile",
     "class: tiles skipped by their weight alone",
     "bound heavy",
     {.row = skip_negligible_tile}},
    {"tie-between-tiles",
     "class: ties between the best of two tiles",
     "exact uniform",
     {.ranks_before = tie_between_tiles}},
    {0},
};
