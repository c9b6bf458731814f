/* mutants_masks.c: wrong causal masks, windows, lengths and masks. */
#include "verify/mutant.h"

/* ---- causal, windows, lengths --------------------------------------------------------- */

static void causal_top_left(mutant_call *c)
{
    if (c->p.causal) c->p.q_offset = 0;
}
static void causal_bottom_right(mutant_call *c)
{
    if (c->p.causal) c->p.q_offset = c->p.kv_len - c->p.q_len;
}
static void shift_causal(mutant_call *c, int64_t by)
{
    if (c->p.causal && !c->p.has_alibi) c->p.q_offset += by;
}
static void diagonal_lost(mutant_call *c) { shift_causal(c, -1); }
static void causal_leaks(mutant_call *c) { shift_causal(c, 1); }
static void causal_dropped(mutant_call *c) { c->p.causal = false; }
static void causal_inferred(mutant_call *c)
{
    c->p.causal = c->p.causal || (c->p.q_len == c->p.kv_len && c->p.q_len > 1);
}
static void causal_off_for_one_row(mutant_call *c)
{
    if (c->p.q_len == 1) c->p.causal = false;
}
static void padding_replaces_causal(mutant_call *c)
{
    if (c->p.has_kv_lens) c->p.causal = false;
}
static void mask_replaces_causal(mutant_call *c)
{
    if (c->p.has_mask) c->p.causal = false;
}
static void causal_of_both_kinds(mutant_call *c)
{
    if (c->p.causal && c->p.q_offset > 0) c->p.q_offset = 0;
}
static void lengths_ignored(mutant_call *c) { c->p.has_kv_lens = false; }
static void lengths_of_batch_0(mutant_call *c)
{
    if (c->p.has_kv_lens) c->t.kv_lens -= c->s.batch;
}
static void offsets_ignored(mutant_call *c) { c->p.has_q_offsets = false; }
static void window_one_more(mutant_call *c)
{
    if (c->p.window_left >= 0) c->p.window_left++;
}
static void window_one_less(mutant_call *c)
{
    if (c->p.window_left > 0) c->p.window_left--;
}
static void right_ignored(mutant_call *c) { c->p.window_right = -1; }
static void left_ignored(mutant_call *c) { c->p.window_left = -1; }
static void right_from_left(mutant_call *c)
{
    if (c->p.window_left >= 0) c->p.window_right = c->p.window_left;
}

static float score_within(const mutant_row *r, int64_t j, float raw, key_range seen)
{
    mutant_row other = *r;
    other.seen = seen;
    return mutant_right.score(&other, j, raw);
}
static float window_on_row_index(const mutant_row *r, int64_t j, float raw)
{
    key_range seen = r->seen;
    if (r->p->window_left >= 0) {
        int64_t first = r->i - r->p->window_left;
        seen.first = first > 0 ? first : 0;
    }
    return score_within(r, j, raw, seen);
}
static float range_in_last_block_only(const mutant_row *r, int64_t j, float raw)
{
    int64_t last_block = (r->p->kv_len - 1) / MUTANT_BLOCK * MUTANT_BLOCK;
    if (j >= last_block) return mutant_right.score(r, j, raw);
    return score_within(r, j, raw, (key_range){0, r->v.keys});
}
static float one_block_short(const mutant_row *r, int64_t j, float raw)
{
    key_range seen = r->seen;
    if (r->p->causal && seen.last < r->p->kv_len && seen.last > MUTANT_BLOCK)
        seen.last = seen.last / MUTANT_BLOCK * MUTANT_BLOCK;
    return score_within(r, j, raw, seen);
}
static float window_start_of_block(const mutant_row *r, int64_t j, float raw)
{
    key_range seen = r->seen;
    if (seen.first > 0) seen.first = seen.first / MUTANT_BLOCK * MUTANT_BLOCK;
    return score_within(r, j, raw, seen);
}

/* ---- masks ---------------------------------------------------------------------------- */

static void mask_of_head_0(mutant_call *c) { c->t.mask.head_stride = 0; }
static void mask_of_batch_0(mutant_call *c) { c->t.bias.batch_stride = 0; }
static void mask_of_row_0(mutant_call *c) { c->t.mask.row_stride = c->t.bias.row_stride = 0; }
static void bias_per_head(mutant_call *c)
{
    if (c->p.has_bias) c->t.bias.head_stride = c->t.bias.row_stride;
}
static void bias_ignored(mutant_call *c) { c->p.has_bias = false; }
static void mask_ignored(mutant_call *c) { c->p.has_mask = false; }

static bool in_range(const mutant_row *r, int64_t j)
{
    return j >= r->seen.first && j < r->seen.last;
}
static bool masked(const mutant_row *r, int64_t j)
{
    return r->v.mask && !r->v.mask[r->i * r->v.mask_row + j * r->v.mask_key];
}
static float capped(const mutant_row *r, float raw)
{
    return r->p->softcap > 0 ? mutant_right.cap(raw, r->p->softcap) : raw;
}
static float hidden_is_ten_thousand(const mutant_row *r, int64_t j, float raw)
{
    if (in_range(r, j) && masked(r, j)) return raw - 1e4f;
    return mutant_right.score(r, j, raw);
}
static float bias_scaled(const mutant_row *r, int64_t j, float raw)
{
    float bias = in_range(r, j) ? score_bias(&r->v, r->i, j) : -INFINITY;
    return bias == -INFINITY ? -INFINITY : capped(r, raw) + bias * r->p->scale;
}
static float cap_after_bias(const mutant_row *r, int64_t j, float raw)
{
    float bias = in_range(r, j) ? score_bias(&r->v, r->i, j) : -INFINITY;
    return bias == -INFINITY ? -INFINITY : capped(r, raw + bias);
}
static float cap_after_mask(const mutant_row *r, int64_t j, float raw)
{
    if (in_range(r, j) && masked(r, j) && r->p->softcap > 0) return -r->p->softcap;
    return mutant_right.score(r, j, raw);
}
static float mask_inverted(const mutant_row *r, int64_t j, float raw)
{
    mutant_row open = *r;
    open.v.mask = NULL;
    if (r->v.mask && !masked(r, j)) return -INFINITY;
    return mutant_right.score(&open, j, raw);
}
static float mask_added(const mutant_row *r, int64_t j, float raw)
{
    mutant_row open = *r;
    open.v.mask = NULL;
    return mutant_right.score(&open, j, raw) + (r->v.mask && !masked(r, j) ? 1.0f : 0.0f);
}
static float mask_times_infinity(const mutant_row *r, int64_t j, float raw)
{
    float score = mutant_right.score(r, j, raw);
    return r->v.mask && score != -INFINITY ? score + 0 * INFINITY : score;
}
static float lowest_hides(const mutant_row *r, int64_t j, float raw)
{
    float score = mutant_right.score(r, j, raw);
    return score <= -1e8f ? -INFINITY : score;
}
static float mask_in_whole_blocks(const mutant_row *r, int64_t j, float raw)
{
    mutant_row first = *r;
    int64_t block = j / 4 * 4;
    if (r->v.mask && !masked(r, block)) first.v.mask = NULL;
    return mutant_right.score(&first, j, raw);
}

static void empty_row(mutant_row *r, float value)
{
    mutant_right.finish(r);
    for (int64_t c = 0; r->sum == 0 && c < r->p->v_dim; c++)
        r->v.out[r->i * r->v.out_row + c] = value;
}
static void empty_row_nan(mutant_row *r) { empty_row(r, NAN); }
static void empty_row_mean(mutant_row *r)
{
    mutant_right.finish(r);
    if (r->sum != 0 || r->p->kv_len == 0) return;
    for (int64_t c = 0; c < r->p->v_dim; c++) {
        float sum = 0;
        for (int64_t j = 0; j < r->p->kv_len; j++) sum += r->v.v[j * r->v.v_row + c];
        r->v.out[r->i * r->v.out_row + c] = sum / (float)r->p->kv_len;
    }
}
static void infinity_minus_infinity(mutant_row *r, int64_t j0, int64_t j1)
{
    (void)j0, (void)j1;
    if (r->max == -INFINITY) r->sum = NAN;
}

const mutant mutants_of_masks[] = {
    {"causal-top-left",
     "Dao-AILab/flash-attention#282, pytorch/pytorch#108108: alignment",
     "bound threads again nan-row gauss",
     {.before = causal_top_left}},
    {"causal-bottom-right",
     "Dao-AILab/flash-attention#951: the other alignment was wanted",
     "bound cancel",
     {.before = causal_bottom_right}},
    {"diagonal-lost",
     "class: j < t in place of j <= t",
     "bound threads again nan-row gauss",
     {.before = diagonal_lost}},
    {"causal-leaks-one",
     "class: j <= t + 1",
     "bound threads again nan-row gauss",
     {.before = causal_leaks}},
    {"causal-dropped",
     "class: the flag is not passed on",
     "bound zero-q",
     {.before = causal_dropped}},
    {"causal-inferred",
     "class: square scores taken for causal ones",
     "bound nan-row gauss",
     {.before = causal_inferred}},
    {"causal-off-for-one-row",
     "Dao-AILab/flash-attention#351: decoding without a mask",
     "bound threads again nan-row gauss",
     {.before = causal_off_for_one_row}},
    {"padding-replaces-causal",
     "microsoft/onnxruntime#14363: mask and unidirectional",
     "bound cancel",
     {.before = padding_replaces_causal}},
    {"mask-replaces-causal",
     "microsoft/onnxruntime#14363: an explicit mask switches causal off",
     "bound threads again nan-row gauss",
     {.before = mask_replaces_causal}},
    {"causal-of-both-kinds",
     "class: top-left and bottom-right both applied",
     "bound gauss",
     {.before = causal_of_both_kinds}},
    {"lengths-ignored",
     "Dao-AILab/flash-attention#1745: padding of the cache is read",
     "exact uniform",
     {.before = lengths_ignored}},
    {"lengths-of-batch-0",
     "microsoft/onnxruntime-genai#1639: batch > 1",
     "bound threads again nan-row gauss",
     {.before = lengths_of_batch_0}},
    {"offsets-ignored",
     "class: one offset for all batches",
     "bound zero-q",
     {.before = offsets_ignored}},
    {"window-one-more",
     "huggingface/transformers#39408: window off by one",
     "bound zero-q",
     {.before = window_one_more}},
    {"window-one-less",
     "NVIDIA-NeMo/Megatron-Bridge#2656: window off by one",
     "bound zero-q",
     {.before = window_one_less}},
    {"window-right-ignored",
     "class: only the left bound is read",
     "bound zero-q",
     {.before = right_ignored}},
    {"window-left-ignored",
     "proger/hippogriff#7: a window that is none",
     "bound zero-q",
     {.before = left_ignored}},
    {"window-symmetric",
     "huggingface/transformers#39408: (w, w) in place of (w, 0)",
     "bound zero-q",
     {.before = right_from_left}},
    {"window-on-row-index",
     "class: the window forgets the offset",
     "bound zero-q",
     {.score = window_on_row_index}},
    {"range-in-last-block-only",
     "Dao-AILab/flash-attention#436: masking in one block only",
     "bound threads again nan-row gauss",
     {.score = range_in_last_block_only}},
    {"one-block-short",
     "class: the block of the diagonal is not visited",
     "bound gauss",
     {.score = one_block_short}},
    {"window-from-block-start",
     "class: the window starts at a block",
     "bound zero-q",
     {.score = window_start_of_block}},
    {"mask-of-head-0", "class: head stride of the mask", "bound wide", {.before = mask_of_head_0}},
    {"bias-of-batch-0",
     "microsoft/onnxruntime#24017: broadcast on dimension 1 only",
     "bound subnormal",
     {.before = mask_of_batch_0}},
    {"mask-of-row-0",
     "class: one mask row for all queries",
     "bound threads again nan-row gauss",
     {.before = mask_of_row_0}},
    {"bias-stride-per-head",
     "microsoft/onnxruntime#27464: a broadcast head is advanced",
     "death gauss",
     {.before = bias_per_head}},
    {"bias-ignored",
     "microsoft/onnxruntime#26766: attention bias",
     "bound threads again nan-row gauss",
     {.before = bias_ignored}},
    {"mask-ignored",
     "class: mask accepted and ignored",
     "bound threads again nan-row gauss",
     {.before = mask_ignored}},
    {"hidden-is-minus-1e4",
     "pytorch/pytorch#110213: a finite number for -inf",
     "bound threads again nan-row gauss",
     {.score = hidden_is_ten_thousand}},
    {"bias-scaled",
     "class: the mask is added before the scale",
     "bound zero-q",
     {.score = bias_scaled}},
    {"cap-after-bias",
     "onnx/onnx#7865: softcap after the mask",
     "bound zero-q",
     {.score = cap_after_bias}},
    {"cap-after-mask",
     "flashinfer-ai/flashinfer#350: masked keys come back as -cap",
     "bound heavy",
     {.score = cap_after_mask}},
    {"mask-inverted",
     "class: true means hidden",
     "bound threads again nan-row gauss",
     {.score = mask_inverted}},
    {"mask-added-as-number",
     "lucidrains/nGPT-pytorch#11: a boolean mask as 0 and 1",
     "bound threads again nan-row gauss",
     {.score = mask_added}},
    {"mask-times-infinity", "class: (1 - m) * -inf", "bound gauss", {.score = mask_times_infinity}},
    {"lowest-hides",
     "pytorch/pytorch#110213: -FLT_MAX taken for -inf",
     "bound gauss",
     {.score = lowest_hides}},
    {"mask-every-fourth-key",
     "class: one mask value for a vector of keys",
     "bound threads again nan-row gauss",
     {.score = mask_in_whole_blocks}},
    {"empty-row-nan",
     "pytorch/pytorch#103963, ml-explore/mlx#2608: no key gives NaN",
     "bound gauss",
     {.finish = empty_row_nan}},
    {"empty-row-mean",
     "class: no key gives the mean of V",
     "exact uniform",
     {.finish = empty_row_mean}},
    {"inf-minus-inf",
     "ggml-org/llama.cpp#6438: -inf - -inf in a hidden block",
     "exact uniform",
     {.block = infinity_minus_infinity}},
    {0},
};
