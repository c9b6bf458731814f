/* mutants_outputs.c: wrong selections, sinks and extra outputs. */
#include "verify/mutant.h"

#define RIGHT (*mutant_stages_now())

static bool last_of_ties(const float *s, int64_t a, int64_t b)
{
    if (isnan(s[a]) || isnan(s[b])) return isnan(s[a]) && (!isnan(s[b]) || a > b);
    return s[a] > s[b] || (s[a] == s[b] && a > b);
}
static void one_less_of_top_k(mutant_call *c)
{
    if (c->p.top_k > 1) c->p.top_k--;
}
static void hardmax_as_softmax(mutant_call *c)
{
    if (c->p.select == ATTN_HARDMAX) c->p.select = ATTN_SOFTMAX;
}
static void additive_as_dot(mutant_call *c) { c->p.score = ATTN_DOT; }
static void sink_dropped(mutant_call *c) { c->p.has_sinks = false; }
static void sink_of_head_zero(mutant_row *r)
{
    if (r->p->has_sinks) r->v.sink = r->call->t.sinks[0];
    mutant_right.start(r);
}
static void sink_in_every_block(mutant_row *r, int64_t j0, int64_t j1)
{
    (void)j1;
    if (j0 > 0 && r->v.sink != -INFINITY) r->sum += expf(r->v.sink - r->max);
}
static void sink_without_shift(mutant_row *r)
{
    mutant_right.start(r);
    if (r->v.sink != -INFINITY) r->max = -INFINITY, r->sum = 0;
}
static void add_raw_sink(mutant_row *r)
{
    if (r->v.sink != -INFINITY && r->sum > 0) r->sum += expf(r->v.sink);
    mutant_right.finish(r);
}
static void lse_of(mutant_row *r, float lse)
{
    mutant_right.finish(r);
    if (r->v.lse && r->sum > 0) r->v.lse[r->i * r->v.lse_row] = lse;
}
static void lse_without_max(mutant_row *r) { lse_of(r, logf(r->sum)); }
static void lse_base_two(mutant_row *r) { lse_of(r, (r->max + logf(r->sum)) * 1.442695f); }
static void lse_without_sink(mutant_row *r)
{
    float sink = r->v.sink == -INFINITY ? 0 : expf(r->v.sink - r->max);
    lse_of(r, r->max + logf(r->sum - sink));
}
static void lse_infinite_if_empty(mutant_row *r)
{
    mutant_right.finish(r);
    if (r->v.lse && r->sum == 0) r->v.lse[r->i * r->v.lse_row] = INFINITY;
}
static void weights_undivided(mutant_row *r)
{
    mutant_right.finish(r);
    for (int64_t j = 0; r->p->weights == ATTN_WEIGHTS_NORMALISED && j < r->p->kv_len; j++)
        r->v.weights[r->i * r->v.weights_row + j] *= r->sum > 0 ? r->sum : 1;
}
static void masked_weights_before_bias(mutant_row *r)
{
    mutant_right.finish(r);
    for (int64_t j = 0; r->p->weights == ATTN_WEIGHTS_MASKED && j < r->p->kv_len; j++)
        if (r->s[j] != -INFINITY) r->v.weights[r->i * r->v.weights_row + j] = RIGHT.raw(r, j);
}

const mutant mutants_of_outputs[] = {
    {"last-of-ties",
     "class: argmax that takes the last of equals",
     "exact uniform",
     {.ranks_before = last_of_ties}},
    {"top-k-minus-1",
     "class: one key too few in top-k",
     "bound cancel",
     {.before = one_less_of_top_k}},
    {"hardmax-as-softmax",
     "class: a selection that falls through",
     "exact uniform",
     {.before = hardmax_as_softmax}},
    {"additive-as-dot",
     "class: a score function that falls through",
     "bound gauss",
     {.before = additive_as_dot}},
    {"sink-dropped", "class: sinks accepted and ignored", "bound gauss", {.before = sink_dropped}},
    {"sink-of-head-0",
     "flashinfer-ai/flashinfer#4525: sinks indexed by the wrong unit",
     "bound gauss",
     {.start = sink_of_head_zero}},
    {"sink-in-every-block",
     "class: the sink counted once per split",
     "bound gauss",
     {.block = sink_in_every_block}},
    {"sink-without-shift",
     "class: e^sink added to sums of e^(s - max)",
     "bound gauss",
     {.start = sink_without_shift, .finish = add_raw_sink}},
    {"lse-without-max", "class: log of the sum alone", "bound gauss", {.finish = lse_without_max}},
    {"lse-base-2",
     "ROCm/aotriton#108, pytorch/pytorch#181645: lse in base 2",
     "bound gauss",
     {.finish = lse_base_two}},
    {"lse-without-sink",
     "vllm-project/vllm-xpu-kernels#556: statistics of the sink",
     "bound gauss",
     {.finish = lse_without_sink}},
    {"lse-plus-inf-if-empty",
     "Dao-AILab/flash-attention#978: +inf for rows without keys",
     "bound gauss",
     {.finish = lse_infinite_if_empty}},
    {"weights-undivided",
     "class: attention weights returned before the division",
     "bound gauss",
     {.finish = weights_undivided}},
    {"masked-scores-unmasked",
     "emmtrix/emx-onnx-cgen#731: score output of the wrong stage",
     "bound heavy",
     {.finish = masked_weights_before_bias}},
    {0},
};
