/* keys.c: the same softmax by another set of keys.
 *
 * Keys in reverse order, every key twice, a constant added to every row of the bias, and the keys
 * in two calls merged by lse must give what the first call gave. Every result is within its own
 * bound E of the same truth, so two of them are within E1 + E2 of each other. The bounds come from
 * the claims; the truth is not looked at, but for what rounding does to a shifted bias.
 *
 * Merging: the parts a and b have outputs o and lse l, each within E and L of its truth. The weight
 * of a is w_a = 1 / (1 + e^(l_b - l_a)), whose slope is at most 1/4, so it errs by at most
 * d = min(1, (L_a + L_b) / 4). The merged output is w_a o_a + (1 - w_a) o_b and errs by at most
 *   d |o_a - o_b| + (w_a + d) E_a + (1 - w_a + d) E_b,
 * the merged lse by at most max(L_a, L_b), for it moves no further than the part that moves most.
 *
 * A case is asked one of the four, and only for some of its rows, so that this costs about as much
 * as one more call. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "verify/run.h"

enum { SAMPLE = 8 };

/* Some rows, of v_dim columns and one for lse: what a call wrote, what is true, and its bound. */
typedef struct rows {
    int count;
    int64_t width;
    int64_t outside; /* elements that are no mean of visible values */
    ref_place at[SAMPLE];
    double *got, *truth, *bound; /* [count][width] */
} rows;

/* A quarter of the rows, 1 to SAMPLE of them, one from each stratum. */
static rows rows_new(const check *c)
{
    const attn_problem *p = c->p;
    int64_t total = p->batch * p->q_heads * p->q_len;
    rows x = {.width = p->v_dim + 1};
    x.count = total >= 4 * SAMPLE ? SAMPLE : (int)((total + 3) / 4);
    for (int r = 0; r < x.count; r++) {
        int64_t first = total * r / x.count, next = total * (r + 1) / x.count;
        int64_t n = first + (int64_t)(ref_random(c->which->seed, (uint64_t)(200 + r)) %
                                      (uint64_t)(next - first));
        x.at[r] = check_place(p, n);
    }
    x.got = calloc((size_t)(3 * x.count * x.width), sizeof *x.got);
    x.truth = x.got + x.count * x.width, x.bound = x.truth + x.count * x.width;
    return x;
}

/* Fills the rows of a call on p and t, whose outputs lie in copies of the run's memory. False if
 * memory is short. */
static bool fill_rows(const run *r, const attn_problem *p, const attn_tensors *t,
                      const float *const copies[2], rows *x)
{
    attn_claims claims = ref_needed_claims(p, r->c.kernel->claims(p));
    ref_row *row = ref_row_new(p);
    for (int n = 0; row && n < x->count; n++) {
        int64_t first = n * x->width, last = first + p->v_dim;
        ref_dense(p, t, x->at[n], row);
        ref_bound(p, t, x->at[n], &claims, 0x1p-24, row);
        const float *out = copies[0] + (check_row(&t->out, x->at[n]) - run_buffer(r, 0)->memory);
        for (int64_t c = 0; c < p->v_dim; c++) {
            x->got[first + c] = out[c];
            x->outside += !check_hull(p, t, &claims, x->at[n], row, c, out[c]);
        }
        memcpy(x->truth + first, row->out, (size_t)p->v_dim * sizeof *row->out);
        memcpy(x->bound + first, row->out_bound, (size_t)p->v_dim * sizeof *row->out);
        if (!p->wants_lse) continue;
        x->got[last] = copies[1][check_row(&t->lse, x->at[n]) - run_buffer(r, 1)->memory];
        x->truth[last] = row->lse, x->bound[last] = row->lse_bound;
    }
    ref_row_free(row);
    return row;
}

static bool fill_now(const run *r, const attn_problem *p, const attn_tensors *t, rows *x)
{
    const float *const memory[] = {run_buffer(r, 0)->memory, run_buffer(r, 1)->memory};
    return fill_rows(r, p, t, memory, x);
}

/* ---- the relations -------------------------------------------------------------------- */

/* Calls the kernel anew and fills `then` with rows that must be those of the first call. */
typedef bool relation(run *r, rows *then, verify_report *report);

static bool permuted(run *r, rows *then, verify_report *report)
{
    axes list[AXES_TENSORS];
    axes_of(r->c.p, &r->in->tensors, list);
    axes_mirror(list, 1U << AXIS_KEY);
    return run_call(r, r->threads, report) && fill_now(r, r->c.p, &r->in->tensors, then);
}

static attn_input doubled_input(axes x)
{
    return (attn_input){(const float *)x.data, x.stride[0] / 4, x.stride[1] / 4,
                        x.stride[AXIS_KEY] / 4};
}

static bool doubled(run *r, rows *then, verify_report *report)
{
    attn_problem p = *r->c.p;
    attn_tensors t = r->in->tensors;
    axes list[AXES_TENSORS], twice[AXES_TENSORS] = {0};
    axes_of(&p, &t, list);
    bool made = true;
    for (int x = AXES_K; x <= AXES_BIAS; x++) {
        if (list[x].data) twice[x] = axes_doubled(list[x]);
        made = made && (twice[x].data || !list[x].data);
    }
    const int64_t *m = twice[AXES_MASK].stride, *b = twice[AXES_BIAS].stride;
    p.kv_len *= 2, p.weights = ATTN_WEIGHTS_NONE;
    t.k = doubled_input(twice[AXES_K]), t.v = doubled_input(twice[AXES_V]);
    if (p.has_mask)
        t.mask = (attn_mask){(const uint8_t *)twice[AXES_MASK].data, m[0], m[1], m[2], m[3]};
    if (p.has_bias)
        t.bias = (attn_bias){(const float *)twice[AXES_BIAS].data, b[0] / 4, b[1] / 4, b[2] / 4,
                             b[3] / 4};
    made = made && !attn_supports(r->c.kernel, &p) && run_call_on(r, &p, &t, report) &&
           fill_now(r, &p, &t, then);
    for (int x = AXES_K; x <= AXES_BIAS; x++) free(twice[x].data);
    for (int n = 0; n < then->count; n++) then->got[(n + 1) * then->width - 1] -= log(2);
    return made;
}

/* -1e9 leaves nothing of the scores: all keys of a row masked, as by code that has no -inf. What is
 * left to ask is a mean of visible values. */
static float shift_of(int64_t row)
{
    static const float shifts[] = {24, -24, 24, -1e9f};
    return shifts[row % 4];
}

/* The bias is broadcast over the heads, so its rows are counted without them. */
static bool shifted(run *r, rows *then, verify_report *report)
{
    const attn_problem *p = r->c.p;
    const attn_bias *m = &r->in->tensors.bias;
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t i = 0; i < p->q_len; i++)
            for (int64_t j = 0; j < p->kv_len; j++)
                ((float *)m->data)[b * m->batch_stride + i * m->row_stride + j * m->key_stride] +=
                    shift_of(i);
    if (!run_call(r, r->threads, report) || !fill_now(r, p, &r->in->tensors, then)) return false;
    for (int n = 0; n < then->count; n++) {
        then->got[(n + 1) * then->width - 1] -= shift_of(then->at[n].i);
        then->truth[(n + 1) * then->width - 1] -= shift_of(then->at[n].i);
    }
    return true;
}

/* The keys from `first` on, `count` of them, of the same tensors. */
static bool run_part(run *r, int64_t first, int64_t count, rows *part, verify_report *report)
{
    attn_problem p = *r->c.p;
    attn_tensors t = r->in->tensors;
    p.kv_len = count, p.weights = ATTN_WEIGHTS_NONE;
    t.k.data += first * t.k.row_stride, t.v.data += first * t.v.row_stride;
    if (p.has_mask) t.mask.data += first * t.mask.key_stride;
    if (p.has_bias) t.bias.data += first * t.bias.key_stride;
    return !attn_supports(r->c.kernel, &p) && run_call_on(r, &p, &t, report) &&
           fill_now(r, &p, &t, part);
}

/* Row n of a merged with row n of b, into b. The derivation is at the head of this file. */
static void merge_row(const rows *a, rows *b, int n)
{
    int64_t first = n * a->width, lse = first + a->width - 1;
    double la = a->got[lse], lb = b->got[lse], high = fmax(la, lb);
    double error = fmin(1, (a->bound[lse] + b->bound[lse]) / 4);
    bool both = la != -INFINITY && lb != -INFINITY;
    double w = both ? 1 / (1 + exp(lb - la)) : la != -INFINITY;
    if (!both) error = 0; /* a part without keys has a weight of exactly 0 */
    for (int64_t c = first; c < lse; c++) {
        b->bound[c] = error * fabs(a->got[c] - b->got[c]) + (w + error) * a->bound[c] +
                      (1 - w + error) * b->bound[c];
        b->got[c] = w * a->got[c] + (1 - w) * b->got[c];
    }
    b->bound[lse] = fmax(a->bound[lse], b->bound[lse]);
    b->got[lse] = both ? high + log(exp(la - high) + exp(lb - high)) : high;
}

static bool split(run *r, rows *then, verify_report *report)
{
    int64_t n = r->c.p->kv_len;
    int64_t cut = 1 + (int64_t)(ref_random(r->c.which->seed, 97) % (uint64_t)(n - 1));
    rows a = rows_new(&r->c);
    bool ran = a.got && run_part(r, 0, cut, &a, report) && run_part(r, cut, n - cut, then, report);
    for (int x = 0; ran && x < a.count; x++) merge_row(&a, then, x);
    free(a.got);
    return ran;
}

/* ---- which, and comparing ------------------------------------------------------------- */

/* Sinks are one key more that is not doubled, shifted or split. Selections depend on the order of
 * equal scores, and have no sums to split. */
static bool admits(const attn_problem *p, verify_part part)
{
    bool placed =
        p->causal || p->window_left >= 0 || p->window_right >= 0 || p->has_alibi || p->has_kv_lens;
    if (p->select != ATTN_SOFTMAX || p->kv_len < 2) return false;
    if (part == VERIFY_PERMUTE_KEYS) return !placed;
    if (part == VERIFY_SHIFT_MASK) return p->has_bias && !p->has_sinks;
    if (part == VERIFY_SPLIT_KEYS && !p->wants_lse) return false;
    return !placed && !p->has_sinks;
}

static const struct {
    verify_part part;
    relation *ask;
    const char *what;
} relations[] = {
    {VERIFY_PERMUTE_KEYS, permuted, "with the keys in reverse order"},
    {VERIFY_DOUBLE_KEYS, doubled, "with every key twice"},
    {VERIFY_SHIFT_MASK, shifted, "with a constant added to every row of the bias"},
    {VERIFY_SPLIT_KEYS, split, "with the keys in two calls, merged by lse"},
};
enum { RELATIONS = sizeof relations / sizeof *relations };

/* One of those that the problem admits, or -1. Cases of one seed differ in their sizes. */
static int choose(const check *c)
{
    const attn_problem *p = c->p;
    int legal[RELATIONS], count = 0;
    uint64_t sizes = (uint64_t)(p->q_len + p->kv_len + p->qk_dim + p->v_dim + p->q_heads);
    for (int x = 0; x < RELATIONS; x++)
        if (admits(p, relations[x].part)) legal[count++] = x;
    return count ? legal[ref_random(c->which->seed, 300 + sizes) % (uint64_t)count] : -1;
}

static bool same(double first, double now, double bound)
{
    if (!isfinite(first) || !isfinite(now))
        return first == now || (isnan(first) && isnan(now)); /* the class is the bound's affair */
    return fabs(now - first) <= bound;
}

static void compare(const run *r, int x, const rows *first, const rows *then, verify_report *report)
{
    if (then->outside)
        check_fail(&r->c, report, VERIFY_HULL, "%s %lld elements of out lie beyond all values",
                   relations[x].what, (long long)then->outside);
    bool shift = relations[x].part == VERIFY_SHIFT_MASK;
    for (int n = 0; n < first->count; n++)
        for (int64_t c = n * first->width; c < (n + 1) * first->width; c++) {
            double bound = first->bound[c] + then->bound[c];
            if (shift && shift_of(first->at[n].i) < -1e6f) break; /* only the range was asked */
            if (shift) bound += fabs(then->truth[c] - first->truth[c]); /* its own rounding */
            bool lse = c == (n + 1) * first->width - 1;
            if (lse && !r->c.p->wants_lse) continue;
            if (same(first->got[c], then->got[c], bound)) continue;
            check_fail(&r->c, report, relations[x].part,
                       "%s: %s[%lld,%lld,%lld,%lld] was %.9g and is %.9g, allowed %.3g",
                       relations[x].what, lse ? "lse" : "out", (long long)first->at[n].b,
                       (long long)first->at[n].h, (long long)first->at[n].i,
                       (long long)(lse ? 0 : c - n * first->width), first->got[c], then->got[c],
                       bound);
            return;
        }
}

void check_keys(run *r, verify_report *report)
{
    int x = choose(&r->c);
    bool bounded = (double)(2 * r->c.claims.sum_height + 2) * 0x1p-24 < 1;
    if (x < 0 || !bounded || r->c.which->inputs >= REF_GATHER ||
        r->c.without >> relations[x].part & 1)
        return;
    const float *const copies[] = {r->first[0], r->first[1]};
    rows first = rows_new(&r->c), then = rows_new(&r->c);
    if (first.got && then.got && fill_rows(r, r->c.p, &r->in->tensors, copies, &first) &&
        relations[x].ask(r, &then, report))
        compare(r, x, &first, &then, report);
    free(first.got);
    free(then.got);
}
