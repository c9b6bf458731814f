/* mutants_state.c: NaN, stale values, and what a call must not remember or share. */
#include <string.h>
#include <unistd.h>

#include "verify/mutant.h"

/* ---- NaN and stale values ------------------------------------------------------------- */

static void nan_becomes_zero(mutant_row *r)
{
    mutant_right.finish(r);
    for (int64_t c = 0; c < r->p->v_dim; c++)
        if (isnan(mutant_out_row(r)[c])) mutant_out_row(r)[c] = 0;
}
static void nan_spreads(mutant_call *c)
{
    int64_t rows = c->s.q_end - c->s.q_begin, stride = c->t.out.row_stride;
    bool any = false;
    for (int64_t i = 0; i < rows; i++) any = any || isnan(mutant_first_row(c)[i * stride]);
    for (int64_t i = 0; any && i < rows; i++) mutant_first_row(c)[i * stride] = NAN;
}
static float max_ignores_nan(const mutant_row *r, int64_t j0, int64_t j1)
{
    for (int64_t j = j0; j < j1; j++)
        if (isnan(r->s[j])) r->s[j] = -INFINITY;
    return mutant_right.max(r, j0, j1);
}
static void accumulator_not_cleared(mutant_row *r)
{
    float kept[1024];
    bool first = r->i == 0 && r->h == 0 && r->b == 0 && r->p->v_dim <= 1024;
    if (first) memcpy(kept, r->o, (size_t)r->p->v_dim * sizeof *kept);
    mutant_right.start(r);
    if (first) memcpy(r->o, kept, (size_t)r->p->v_dim * sizeof *kept);
}
static void cleared_afterwards(mutant_row *r)
{
    mutant_right.finish(r);
    memset(r->o, 0, (size_t)r->p->v_dim * sizeof *r->o);
}
static void empty_row_unwritten(mutant_row *r)
{
    if (r->sum != 0) mutant_right.finish(r);
}
/* Writes everything but the zeros of a row without keys. */
static void zeros_unwritten(mutant_row *r)
{
    float aside[1024];
    mutant_row other = *r;
    if (r->sum == 0 && r->p->v_dim <= 1024) other.v.out = aside, other.v.out_row = 0;
    mutant_right.finish(&other);
}
static float shared_sum;
static void start_shared(mutant_row *r)
{
    mutant_right.start(r);
    shared_sum = r->sum;
}
static void add_shared(mutant_row *r, int64_t j, float weight)
{
    mutant_right.add(r, j, weight);
    shared_sum = r->sum;
}
static void finish_shared(mutant_row *r)
{
    if (r->i == r->call->s.q_begin) usleep(1); /* lets another thread in */
    r->sum = shared_sum;
    mutant_right.finish(r);
}

/* Two halves of the keys, computed apart and put together wrongly. */
static _Thread_local float half_o[1024], half_max, half_sum;
static void keep_half(mutant_row *r, int64_t j0, int64_t j1)
{
    int64_t middle = (r->p->kv_len / 2 + MUTANT_BLOCK - 1) / MUTANT_BLOCK * MUTANT_BLOCK;
    (void)j0;
    if (r->p->v_dim > 1024 || j1 != middle || j1 >= r->p->kv_len) return;
    half_max = r->max, half_sum = r->sum;
    memcpy(half_o, r->o, (size_t)r->p->v_dim * sizeof *half_o);
    for (int64_t c = 0; c < r->p->v_dim; c++) r->o[c] = 0;
    r->max = -INFINITY, r->sum = 0;
}
static void start_halves(mutant_row *r)
{
    half_max = -INFINITY, half_sum = 0;
    memset(half_o, 0, sizeof half_o);
    mutant_right.start(r);
}
static void average_halves(mutant_row *r)
{
    bool both = half_sum > 0 && r->sum > 0;
    for (int64_t c = 0; both && c < r->p->v_dim; c++)
        r->o[c] = (r->o[c] / r->sum + half_o[c] / half_sum) / 2 * r->sum;
    if (half_sum > 0 && !both) r->sum = half_sum, r->max = half_max;
    for (int64_t c = 0; half_sum > 0 && !both && c < r->p->v_dim; c++) r->o[c] = half_o[c];
    mutant_right.finish(r);
}
static void merge_without_guard(mutant_row *r)
{
    float max = fmaxf(half_max, r->max);
    float a = r->p->kv_len > 2 * MUTANT_BLOCK ? expf(half_max - max) : 0, b = expf(r->max - max);
    if (r->p->kv_len <= 2 * MUTANT_BLOCK && half_sum > 0) a = expf(half_max - max);
    if (r->p->kv_len <= 2 * MUTANT_BLOCK && max == -INFINITY) a = b = 0;
    for (int64_t c = 0; c < r->p->v_dim && c < 1024; c++) r->o[c] = a * half_o[c] + b * r->o[c];
    r->sum = a * half_sum + b * r->sum, r->max = max;
    mutant_right.finish(r);
}

static void not_repeatable(mutant_call *c)
{
    static _Atomic unsigned calls;
    float *out = mutant_first_row(c);
    uint32_t bits;
    memcpy(&bits, out, sizeof bits);
    if (isfinite(*out) && *out != 0) bits ^= calls++ / 7 & 1;
    memcpy(out, &bits, sizeof bits);
}

/* Remembers the first value of V by its address. */
static void cache_by_address(mutant_row *r)
{
    static const float *known;
    static float value;
    mutant_right.finish(r);
    if (r->i != r->call->s.q_begin || !mutant_last_slice(r->call)) return;
    if (known == r->v.v + r->i) mutant_out_row(r)[0] = value;
    known = r->v.v + r->i, value = mutant_out_row(r)[0];
}
/* Knows a call that is the same as the one before, and thinks its answer is still there. */
static void remembers_inputs(mutant_call *c)
{
    static uint64_t before;
    const attn_input *const views[] = {&c->t.q, &c->t.k, &c->t.v};
    const int64_t heads[] = {c->p.q_heads, c->p.kv_heads, c->p.kv_heads};
    const int64_t rows[] = {c->p.q_len, c->p.kv_len, c->p.kv_len};
    const int64_t dims[] = {c->p.qk_dim, c->p.qk_dim, c->p.v_dim};
    uint64_t hash = (uintptr_t)c->t.out.data;
    /* Queries that may be the same in reverse order are not what is meant. */
    const float *q = c->t.q.data, *last = q + (c->p.batch - 1) * c->t.q.batch_stride +
                                          (c->p.q_heads - 1) * c->t.q.head_stride;
    bool same_rows = *q == *last || *q == last[(c->p.q_len - 1) * c->t.q.row_stride];
    bool more = c->p.has_kv_lens || c->p.has_mask || c->p.has_bias || c->p.has_alibi ||
                c->p.has_sinks; /* which it does not know */
    if (!mutant_last_slice(c)) return;
    if (c->p.kv_len == 0 || same_rows || more) {
        before = 0; /* another call came between */
        return;
    }
    char key[192]; /* other problems of the same sizes have the same Q and V */
    attn_problem_print(&c->p, key, sizeof key);
    for (const char *at = key; *at; at++) hash = (hash ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
    for (int v = 0; v < 3; v++)
        for (int64_t b = 0; b < c->p.batch; b++)
            for (int64_t h = 0; h < heads[v]; h++)
                for (int64_t i = 0; i < rows[v]; i++)
                    for (int64_t x = 0; x < dims[v]; x++) {
                        uint32_t bits;
                        memcpy(&bits,
                               views[v]->data + b * views[v]->batch_stride +
                                   h * views[v]->head_stride + i * views[v]->row_stride + x,
                               sizeof bits);
                        hash = (hash ^ bits) * UINT64_C(0x100000001b3);
                    }
    if (hash == before) c->s.q_end = c->s.q_begin;
    before = hash;
}
static void previous_answer(mutant_call *c)
{
    static float kept[64];
    static int64_t filled;
    int64_t n = c->p.v_dim < 64 ? c->p.v_dim : 64;
    for (int64_t x = 0; x < n; x++) {
        float now = mutant_first_row(c)[x];
        if (x < filled) mutant_first_row(c)[x] = kept[x];
        kept[x] = now;
    }
    filled = n;
}

/* ---- claims -------------------------------------------------------------------------- */

static void loosens_claims(attn_claims *c) { c->exp_ulp = 1e9; }
static void claims_a_perfect_sum(attn_claims *c)
{
    c->sum_height = c->rescales = 0;
    c->exp_ulp = 0;
}

const mutant mutants_of_state[] = {
    {"loosens-claims",
     "class: a kernel that asks for a wider bound",
     "claims gauss claims",
     {.claim = loosens_claims}},
    {"claims-too-little",
     "class: rounding errors denied",
     "bound zero-q",
     {.claim = claims_a_perfect_sum}},
    {"nan-becomes-0",
     "class: NaN mapped to 0 (fmaxf, nan_to_num)",
     "nan-row gauss",
     {.finish = nan_becomes_zero}},
    {"nan-spreads",
     "class: one NaN row poisons its block",
     "nan-row gauss",
     {.after = nan_spreads}},
    {"nan-scores-hidden",
     "class: NaN scores drop out of the maximum and the sum",
     "nan-row gauss",
     {.max = max_ignores_nan}},
    {"accumulator-not-cleared",
     "class: scratch thought to be zero",
     "bound gauss",
     {.start = accumulator_not_cleared}},
    {"accumulator-cleared-afterwards",
     "class: a workspace thought to be from calloc, and left as it should be found",
     "bound gauss",
     {.start = accumulator_not_cleared, .finish = cleared_afterwards}},
    {"empty-row-unwritten",
     "fla-org/flash-linear-attention#1029: rows left as they were",
     "bound gauss",
     {.finish = empty_row_unwritten}},
    {"zeros-unwritten",
     "class: an output thought to be zero already",
     "bound gauss",
     {.finish = zeros_unwritten}},
    {"sum-shared-by-threads",
     "ggml-org/llama.cpp#13438: a race on the row state",
     "threads",
     {.start = start_shared, .add = add_shared, .finish = finish_shared}},
    {"halves-averaged",
     "class: split keys merged without lse weights",
     "bound same-sign",
     {.start = start_halves, .block = keep_half, .finish = average_halves}},
    {"empty-half-nan",
     "vllm-project/vllm#39148, flashinfer-ai/flashinfer#4051: empty splits",
     "bound low",
     {.start = start_halves, .block = keep_half, .finish = merge_without_guard}},
    {"not-repeatable",
     "Dao-AILab/flash-attention#384: results differ between runs",
     "threads gather",
     {.after = not_repeatable}},
    {"cache-by-address",
     "class: a packed copy kept by pointer",
     "negate-v scale-v nan-row gauss",
     {.finish = cache_by_address}},
    {"remembers-inputs",
     "class: a call skipped because its inputs are known",
     "again",
     {.before = remembers_inputs}},
    {"previous-answer",
     "class: the result of the call before",
     "bound threads again negate-v scale-v nan-row gauss",
     {.after = previous_answer}},
    {0},
};
