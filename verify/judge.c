/* judge.c: are these outputs right?
 *
 * Float outputs are held against the double reference row by row; the bound comes from
 * reference/bound.c and the kernel's own claims. Class (NaN, +inf, -inf, finite) is compared before
 * value, and no comparison lets a NaN pass. */
#include "verify/judge.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void check_fail(const check *c, verify_report *r, verify_part part, const char *format, ...)
{
    if (c->without >> part & 1) return;
    r->failed |= UINT64_C(1) << part;
    if (r->status == VERIFY_FAIL) return;
    r->status = VERIFY_FAIL;
    va_list args;
    va_start(args, format);
    vsnprintf(r->reason, sizeof r->reason, format, args);
    va_end(args);
}

/* ---- judging values ------------------------------------------------------------------- */

static int class_of(double x) { return isnan(x) ? 0 : isinf(x) ? (x > 0 ? 1 : 2) : 3; }

/* Share of the bound that got uses; infinity for a wrong class, an unwritten element or an
 * undefined bound. */
static double share_of(float got, double want, double bound)
{
    int32_t bits;
    memcpy(&bits, &got, sizeof bits);
    if (bits == REF_CANARY || class_of(got) != class_of(want)) return INFINITY;
    if (class_of(want) != 3 || got == want) return 0;
    double error = fabs(got - want);
    if (!(bound >= 0)) return INFINITY; /* no bound is no pass */
    if (!(error <= bound)) return isfinite(error / bound) ? error / bound : INFINITY;
    return error / bound;
}

/* What judging adds up; `marks`, if any, gets a 1 for every wrong column of the row of `drawn`. */
typedef struct tally {
    verify_report r;
    const char *drawn;
    uint8_t *marks;
} tally;

typedef struct element {
    const char *output;
    ref_place at;
    int64_t column;
    bool live;
} element;

/* Adds one element to the report; the report keeps the worst, first of equals, and what the
 * truth of out looks like over live rows (those that see a key). */
static void judge(tally *t, element e, float got, double want, double bound, ref_term term)
{
    verify_report *r = &t->r;
    double share = share_of(got, want, bound), error = fabs(got - want);
    if (e.output[0] == 'o' && !e.live && signbit(got)) share = INFINITY; /* +0, not -0 */
    r->compared++;
    if (!(share <= 1)) r->wrong++;
    if (t->marks && strcmp(e.output, t->drawn) == 0) t->marks[e.column] = !(share <= 1);
    if (e.output[0] == 'o' && error > r->max_error && isfinite(error)) r->max_error = error;
    if (e.output[0] == 'o' && e.live) {
        r->low = r->live ? fmin(r->low, want) : want;
        r->high = r->live ? fmax(r->high, want) : want;
        r->live++;
        r->zeros += want == 0;
    }
    if (r->output && share <= r->share) return;
    r->share = share, r->output = e.output, r->at = e.at, r->column = e.column;
    r->got = got, r->want = want, r->bound = bound, r->term = term;
}

float *check_row(const attn_output *view, ref_place at)
{
    return view->data + at.b * view->batch_stride + at.h * view->head_stride +
           at.i * view->row_stride;
}

/* The row holds the truth and its bounds. */
static void judge_row_of_outputs(const check *c, ref_place at, ref_row *row, tally *r)
{
    const attn_tensors *t = &c->in->tensors;
    const float *out = check_row(&t->out, at);
    bool live = memchr(row->visible, 1, (size_t)c->p->kv_len) != NULL;
    for (int64_t x = 0; x < c->p->v_dim; x++) {
        judge(r, (element){"out", at, x, live}, out[x], row->out[x], row->out_bound[x],
              row->out_term[x]);
        if (!check_hull(c->p, t, &c->claims, at, row, x, out[x]) && r->r.outside++ == 0)
            r->r.outside_at = at;
    }
    if (c->p->wants_lse)
        judge(r, (element){"lse", at, 0, true}, *check_row(&t->lse, at), row->lse, row->lse_bound,
              REF_SCORES);
    for (int64_t j = 0; c->p->weights && j < c->p->kv_len; j++)
        judge(r, (element){"weights", at, j, true}, check_row(&t->weights, at)[j], row->weights[j],
              row->weights_bound[j], REF_SCORES);
}

static void judge_by_bound(const check *c, ref_place at, ref_row *row, tally *r)
{
    ref_dense(c->p, &c->in->tensors, at, row);
    ref_bound(c->p, &c->in->tensors, at, &c->claims, 0x1p-24, row);
    judge_row_of_outputs(c, at, row, r);
}

/* The second tier: how much of the typical bound does the row use that used most of its bound? */
static double typical_share(const check *c, ref_place at)
{
    tally t = {0};
    ref_row *row = ref_row_new(c->p);
    if (!row) return NAN;
    ref_dense(c->p, &c->in->tensors, at, row);
    ref_typical_bound(c->p, &c->in->tensors, at, &c->claims, 0x1p-24, row);
    judge_row_of_outputs(c, at, row, &t);
    ref_row_free(row);
    return t.r.share;
}

static const float *value_row(const check *c, ref_place at, int64_t j)
{
    const attn_input *v = &c->in->tensors.v;
    int64_t g = at.h / (c->p->q_heads / c->p->kv_heads);
    return v->data + at.b * v->batch_stride + g * v->head_stride + j * v->row_stride;
}

/* Gather: the row must be the V row its query was aimed at; 4u for a kernel that divides by a sum
 * of 1. */
static void judge_gather(const check *c, ref_place at, ref_row *row, tally *r)
{
    int64_t j = ref_gather_target(c->p, &c->in->tensors, c->which->seed, at);
    const float *out = check_row(&c->in->tensors.out, at), *v = j < 0 ? NULL : value_row(c, at, j);
    (void)row;
    for (int64_t x = 0; x < c->p->v_dim; x++) {
        double want = v ? v[x] : 0;
        judge(r, (element){"out", at, x, j >= 0}, out[x], want, 4 * 0x1p-24 * fabs(want),
              REF_ROUNDING);
    }
}

/* Uniform: all scores are 0, so the row is the mean of the visible V (the first or first k of
 * them for hardmax and top-k). Sums of small integers are exact and dividing costs at most 2u; a
 * kernel that normalises first rounds every product and partial sum instead. A sink of 0 is a
 * key with V = 0. */
static void judge_uniform(const check *c, ref_place at, ref_row *row, tally *r)
{
    const float *out = check_row(&c->in->tensors.out, at);
    int64_t keep = c->p->select == ATTN_HARDMAX ? 1
                   : c->p->select == ATTN_TOPK  ? c->p->top_k
                                                : INT64_MAX;
    int64_t keys = 0;
    double *sum = row->out, *absolute = row->out_bound;
    for (int64_t x = 0; x < c->p->v_dim; x++) sum[x] = absolute[x] = 0;
    for (int64_t j = 0; j < c->p->kv_len && keys < keep; j++) {
        if (!ref_visible(c->p, &c->in->tensors, at, j)) continue;
        keys++;
        const float *v = value_row(c, at, j);
        for (int64_t x = 0; x < c->p->v_dim; x++) sum[x] += v[x], absolute[x] += fabs((double)v[x]);
    }
    double count = (double)(keys + (c->p->has_sinks && keys > 0));
    double roundings = c->claims.normalises_first ? (double)c->claims.sum_height + 2 : 2;
    for (int64_t x = 0; x < c->p->v_dim; x++) {
        double want = keys ? sum[x] / count : 0;
        double size = c->claims.normalises_first && keys ? absolute[x] / count : fabs(want);
        judge(r, (element){"out", at, x, keys > 0}, out[x], want, roundings * 0x1p-24 * size,
              REF_ROUNDING);
    }
}

/* ---- rows ----------------------------------------------------------------------------- */

/* The r-th of `rows` judged rows out of `total`: the first, the last, and one from each stratum
 * between. */
static int64_t judged_row(int64_t r, int64_t rows, int64_t total)
{
    if (rows == total || r == 0) return r;
    if (r == rows - 1) return total - 1;
    int64_t low = (int64_t)((double)r / (double)rows * (double)total);
    int64_t width = total / rows;
    return low + (int64_t)(ref_random(17, (uint64_t)r) % (uint64_t)(width > 0 ? width : 1));
}

static int64_t number_of(const attn_problem *p, ref_place at)
{
    return (at.b * p->q_heads + at.h) * p->q_len + at.i;
}

/* Keeps the worse of two reports; counts add up. Equal shares: the earlier place wins, so that the
 * outcome does not depend on threads. */
static void merge(verify_report *into, const verify_report *r, const attn_problem *p)
{
    int64_t a = number_of(p, into->at), b = number_of(p, r->at);
    verify_report worst = *into;
    if (r->output &&
        (!into->output || r->share > into->share || (r->share == into->share && b < a)))
        worst = *r;
    bool earlier = number_of(p, r->outside_at) < number_of(p, into->outside_at);
    bool moves = r->outside && (!into->outside || earlier);
    worst.outside_at = moves ? r->outside_at : into->outside_at;
    worst.outside = into->outside + r->outside;
    worst.compared = into->compared + r->compared;
    worst.wrong = into->wrong + r->wrong;
    worst.max_error = fmax(into->max_error, r->max_error);
    worst.low = !into->live ? r->low : !r->live ? into->low : fmin(into->low, r->low);
    worst.high = !into->live ? r->high : !r->live ? into->high : fmax(into->high, r->high);
    worst.live = into->live + r->live;
    worst.zeros = into->zeros + r->zeros;
    *into = worst;
}

typedef void judge_row(const check *, ref_place, ref_row *, tally *);

static judge_row *judge_for(const check *c)
{
    return c->which->inputs == REF_GATHER    ? judge_gather
           : c->which->inputs == REF_UNIFORM ? judge_uniform
                                             : judge_by_bound;
}

static bool judge_rows(const check *c, int64_t rows, verify_report *report)
{
    int64_t total = c->p->batch * c->p->q_heads * c->p->q_len;
    judge_row *row_judge = judge_for(c);
    bool enough_memory = true;
    if (rows <= 0 || rows > total) rows = total;
    double work = (double)rows * (double)c->p->kv_len * (double)(c->p->qk_dim + c->p->v_dim);
#pragma omp parallel if (work > 1e6) /* less is done before a second thread has started */
    {
        tally mine = {0};
        ref_row *row = ref_row_new(c->p);
#pragma omp for schedule(dynamic, 4)
        for (int64_t r = 0; r < rows; r++)
            if (row) row_judge(c, check_place(c->p, judged_row(r, rows, total)), row, &mine);
#pragma omp critical
        {
            merge(report, &mine.r, c->p);
            if (!row) enough_memory = false;
        }
        ref_row_free(row);
    }
    report->rows = rows;
    return enough_memory;
}

/* ---- which elements of a row ----------------------------------------------------------- */

void check_mark_row(const check *c, ref_place at, const char *output, ref_row *row, uint8_t *marks)
{
    tally t = {.drawn = output, .marks = marks};
    judge_for(c)(c, at, row, &t);
}

/* ---- the verdict ---------------------------------------------------------------------- */

/* A truth that says nothing proves nothing: why, or NULL. Rows that see no key do not count. */
static const char *vacuous(const verify_report *r)
{
    if (r->live < 8) return NULL;
    if (!(r->low < r->high)) return "all outputs should be equal";
    return 2 * r->zeros > r->live ? "more than half of the outputs should be 0" : NULL;
}

static int64_t elements_per_row(const attn_problem *p, ref_distribution inputs)
{
    if (inputs >= REF_GATHER) return p->v_dim;
    return p->v_dim + p->wants_lse + (p->weights ? p->kv_len : 0);
}

/* Fails the report if its worst element lies beyond its bound. */
static void fail_worst(const check *c, verify_part part, verify_report *r)
{
    if (!r->output || r->share <= 1) return;
    check_fail(
        c, r, part,
        "%s[%lld,%lld,%lld,%lld]: got %.9g, want %.9g, off by %.3g, allowed %.3g (mostly %s)",
        r->output, (long long)r->at.b, (long long)r->at.h, (long long)r->at.i, (long long)r->column,
        r->got, r->want, fabs(r->got - r->want), r->bound,
        part == VERIFY_EXACT ? "probe" : ref_term_names[r->term]);
}

static void check_values(const check *c, int64_t rows, verify_report *r)
{
    bool probe = c->which->inputs >= REF_GATHER;
    verify_part part = probe ? VERIFY_EXACT : VERIFY_BOUND;
    verify_report values = {0};
    bool enough_memory = judge_rows(c, rows, &values);
    values.status = r->status, values.failed = r->failed;
    memcpy(values.reason, r->reason, sizeof r->reason);
    *r = values;
    if (!probe && r->output) r->typical_share = typical_share(c, r->at);
    if (!enough_memory) check_fail(c, r, part, "no memory for the reference");
    fail_worst(c, part, r);
    if (r->outside)
        check_fail(c, r, VERIFY_HULL,
                   "%lld elements of out lie beyond all values that they are means of, the first "
                   "in row [%lld,%lld,%lld]",
                   (long long)r->outside, (long long)r->outside_at.b, (long long)r->outside_at.h,
                   (long long)r->outside_at.i);
    if (r->output && !(r->share <= 1) && r->rows > 1) check_picture(c, r);
    if (r->compared != r->rows * elements_per_row(c->p, c->which->inputs))
        check_fail(c, r, part, "only %lld elements were compared", (long long)r->compared);
}

static void skip(verify_report *r, const char *format, const char *reason)
{
    if (!reason || r->status == VERIFY_FAIL) return;
    r->status = VERIFY_SKIP;
    snprintf(r->reason, sizeof r->reason, format, reason);
}

void check_outputs(const check *c, int64_t rows, verify_report *r)
{
    char why[96];
    const char *refused = ref_claims_refused(c->p, &c->claims, why, sizeof why);
    if (refused)
        check_fail(c, r, VERIFY_CLAIMS, "its claims are looser than any kernel needs: %s", refused);
    if (refused) return; /* no bound to judge by */
    bool unbounded = !((double)c->claims.sum_height * 0x1p-24 < 1);
    int64_t stray = check_strays(c);
    if (stray)
        check_fail(c, r, VERIFY_STRAYS, "%lld elements outside the outputs were written",
                   (long long)stray);
    if (c->which->inputs < REF_GATHER && unbounded) {
        skip(r, "no finite bound: %s", "a sum of 2^24 terms; the probes judge it");
        return;
    }
    check_values(c, rows, r);
    skip(r, "the case proves nothing: %s", vacuous(r));
}

static check check_of(const attn_kernel *kernel, const verify_case *which, const ref_inputs *in)
{
    const attn_problem *p = &which->problem;
    return (check){kernel, which, p, in, ref_needed_claims(p, kernel->claims(p)), 0};
}

verify_report verify_outputs(const attn_kernel *kernel, const verify_case *which,
                             const ref_inputs *in, int64_t rows)
{
    check c = check_of(kernel, which, in);
    verify_report r = {0};
    check_outputs(&c, rows, &r);
    return r;
}

verify_report verify_row(const attn_kernel *kernel, const verify_case *which, const ref_inputs *in,
                         ref_place at)
{
    check c = check_of(kernel, which, in);
    tally t = {.r = {.rows = 1}};
    ref_row *row = ref_row_new(c.p);
    if (row) judge_by_bound(&c, at, row, &t);
    else check_fail(&c, &t.r, VERIFY_BOUND, "no memory for the reference");
    fail_worst(&c, VERIFY_BOUND, &t.r);
    ref_row_free(row);
    return t.r;
}
