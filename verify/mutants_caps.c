/* mutants_caps.c: wrong softcaps and ALiBi. */
#include "verify/mutant.h"

static float cap_not_multiplied(float score, float cap) { return tanhf(score / cap); }
static float cap_times_score(float score, float cap) { return score * tanhf(score / cap); }
static float cap_by_exponentials(float score, float cap)
{
    float a = expf(score / cap), b = expf(-score / cap);
    return cap * ((a - b) / (a + b));
}
static float cap_clips(float score, float cap) { return fmaxf(-cap, fminf(score, cap)); }
static void cap_ignored(mutant_call *c) { c->p.softcap = 0; }

static float with_slope(const mutant_row *r, int64_t j, float raw, float slope)
{
    mutant_row other = *r;
    other.v.slope = r->p->has_alibi ? slope : 0;
    return mutant_right.score(&other, j, raw);
}
static float alibi_sign(const mutant_row *r, int64_t j, float raw)
{
    return with_slope(r, j, raw, -r->v.slope);
}
static float alibi_exponent(const mutant_row *r, int64_t j, float raw)
{
    return with_slope(r, j, raw, exp2f(-8 * (float)r->h / (float)r->p->q_heads));
}
static float alibi_power_of_two(const mutant_row *r, int64_t j, float raw)
{
    int64_t heads = 1;
    while (2 * heads <= r->p->q_heads) heads *= 2;
    return with_slope(r, j, raw, r->p->has_alibi ? r->call->t.alibi_slopes[r->h % heads] : 0);
}
static float alibi_next_head(const mutant_row *r, int64_t j, float raw)
{
    int64_t next = r->h + 1 < r->p->q_heads ? r->h + 1 : 0;
    return with_slope(r, j, raw, r->p->has_alibi ? r->call->t.alibi_slopes[next] : 0);
}
static float alibi_without_offset(const mutant_row *r, int64_t j, float raw)
{
    float score = with_slope(r, j, raw, 0);
    float distance = (float)(r->i < j ? j - r->i : r->i - j);
    return score == -INFINITY || !r->p->has_alibi ? score : score - r->v.slope * distance;
}
static float alibi_scaled(const mutant_row *r, int64_t j, float raw)
{
    return with_slope(r, j, raw, r->v.slope * r->p->scale);
}

const mutant mutants_of_caps[] = {
    {"cap-not-multiplied", "class: tanh(s / cap)", "bound same-sign", {.cap = cap_not_multiplied}},
    {"cap-times-score",
     "unslothai/unsloth-zoo#593: s * tanh(s / cap)",
     "bound same-sign",
     {.cap = cap_times_score}},
    {"cap-by-exponentials",
     "class: tanh from e^x and e^-x, which overflow",
     "bound gauss",
     {.cap = cap_by_exponentials}},
    {"cap-clips", "class: clamp in place of tanh", "nan-row zero-q", {.cap = cap_clips}},
    {"cap-ignored",
     "sgl-project/sgl-kernel-xpu#491: softcap dropped in silence",
     "bound same-sign",
     {.before = cap_ignored}},
    {"alibi-sign", "class: distance rewarded", "bound zero-q", {.score = alibi_sign}},
    {"alibi-exponent",
     "paiml/aprender#2143: 2^(-8h/n) in place of 2^(-8(h+1)/n)",
     "bound zero-q",
     {.score = alibi_exponent}},
    {"alibi-power-of-two",
     "ml-explore/mlx#343, huggingface/transformers#28380: heads not 2^n",
     "bound subnormal",
     {.score = alibi_power_of_two}},
    {"alibi-next-head",
     "class: slopes off by one head",
     "bound cancel",
     {.score = alibi_next_head}},
    {"alibi-without-offset",
     "class: distance from the row's index",
     "bound zero-q",
     {.score = alibi_without_offset}},
    {"alibi-scaled", "class: ALiBi inside the scale", "bound zero-q", {.score = alibi_scaled}},
    {0},
};
