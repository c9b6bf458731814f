/* mutants_later.c: ten mutants written after the checks were frozen, to score them. Nine died at
 * once. "mask-is-one" lived: seeded masks held only 0 and 1, and now hold any byte. */
#include "verify/mutant.h"

static void group_begins_late(mutant_call *c)
{
    int64_t group = c->p.q_heads / c->p.kv_heads, g = (c->s.head + 1) / group;
    if (g >= c->p.kv_heads) g = c->p.kv_heads - 1;
    c->t.k.data += (g - c->s.head / group) * c->t.k.head_stride;
    c->t.v.data += (g - c->s.head / group) * c->t.v.head_stride;
}
static void longest_length(mutant_call *c)
{
    static _Thread_local int64_t longest[64];
    if (!c->p.has_kv_lens || c->p.batch > 64) return;
    int64_t most = 0;
    for (int64_t b = 0; b < c->p.batch; b++) most = c->t.kv_lens[b] > most ? c->t.kv_lens[b] : most;
    for (int64_t b = 0; b < c->p.batch; b++) longest[b] = most;
    c->t.kv_lens = longest;
}
static void window_zero_is_none(mutant_call *c)
{
    if (c->p.window_left == 0) c->p.window_left = -1;
}
static _Thread_local float even_max;
static float max_of_even_row(const mutant_row *r, int64_t j0, int64_t j1)
{
    float max = mutant_right.max(r, j0, j1);
    if (r->i % 2 == 0) return even_max = max;
    return even_max > max || max == -INFINITY ? max : even_max;
}
static float bias_twice_if_causal(const mutant_row *r, int64_t j, float raw)
{
    float score = mutant_right.score(r, j, raw);
    if (!r->v.bias || !r->p->causal || score == -INFINITY) return score;
    return score + r->v.bias[r->i * r->v.bias_row + j * r->v.bias_key];
}
static void third_batch_skipped(mutant_call *c)
{
    if (c->s.batch == 2) c->s.q_end = c->s.q_begin;
}
static float cap_of_positive_scores(float score, float cap)
{
    return score > 0 ? mutant_right.cap(score, cap) : score;
}
static float mask_is_one(const mutant_row *r, int64_t j, float raw)
{
    if (r->v.mask && r->v.mask[r->i * r->v.mask_row + j * r->v.mask_key] != 1) return -INFINITY;
    return mutant_right.score(r, j, raw);
}
static void sink_needs_a_key(mutant_row *r)
{
    bool any = false;
    for (int64_t j = 0; j < r->p->kv_len; j++) any = any || r->s[j] != -INFINITY;
    if (!any) r->sum = 0;
    mutant_right.finish(r);
}
static void offset_not_negative(mutant_call *c)
{
    if (c->p.q_offset < 0 && !c->p.has_q_offsets) c->p.q_offset = 0;
}

const mutant mutants_later[] = {
    {"group-begins-late",
     "class: a group of heads shifted by one",
     "bound",
     {.before = group_begins_late}},
    {"longest-length",
     "class: the longest length of the batch for all",
     "bound gauss",
     {.before = longest_length}},
    {"window-zero-is-none",
     "class: 0 read as unbounded",
     "bound gauss",
     {.before = window_zero_is_none}},
    {"max-of-even-row", "class: two rows share a maximum", "bound gauss", {.max = max_of_even_row}},
    {"bias-twice-if-causal",
     "class: two masking paths that both add",
     "bound gauss",
     {.score = bias_twice_if_causal}},
    {"third-batch-skipped",
     "class: a loop over pairs of batches",
     "bound gauss",
     {.before = third_batch_skipped}},
    {"cap-of-positive-scores",
     "class: half of a function",
     "bound",
     {.cap = cap_of_positive_scores}},
    {"mask-is-one", "class: true is 1, and nothing else", "bound gauss", {.score = mask_is_one}},
    {"sink-needs-a-key",
     "class: early exit before the sink",
     "bound gauss",
     {.finish = sink_needs_a_key}},
    {"offset-not-negative", "class: unsigned positions", "exact", {.before = offset_not_negative}},
    {0},
};
