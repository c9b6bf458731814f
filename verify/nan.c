/* nan.c: a NaN in Q, K or V reaches whoever sees it, and nobody else.
 *
 * A maximum by comparison forgets a NaN, and a weight that is skipped because it is "not above" a
 * threshold loses it: the other keys then give a result that looks right. Where nothing may be
 * noticed the bits must stay, or without the claim `deterministic` the class. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "verify/run.h"

/* What was poisoned: the query row `at`, or key j of its head, which it sees; of V one column. */
typedef struct poison poison;
struct poison {
    verify_part part;
    char tensor;
    ref_place at;
    int64_t j, column;
    bool (*right)(const run *, const poison *, ref_place, int output, int64_t c, float first,
                  float got);
};

static bool unnoticed(const run *r, float first, float got)
{
    if (!r->c.claims.deterministic) return !isnan(got) == !isnan(first);
    return memcmp(&first, &got, sizeof got) == 0;
}

static bool of_this_key_head(const run *r, const poison *x, ref_place at)
{
    int64_t group = r->c.p->q_heads / r->c.p->kv_heads;
    return at.b == x->at.b && at.h / group == x->at.h / group;
}

static bool right_for_q(const run *r, const poison *x, ref_place at, int o, int64_t c, float first,
                        float got)
{
    (void)c;
    if (at.b != x->at.b || at.h != x->at.h || at.i != x->at.i) return unnoticed(r, first, got);
    return o == 2 || isnan(got) || x->j < 0; /* weights are free; it may see no key */
}

/* A score is NaN: a row that sees it has nothing else. Its scores and weights are free. */
static bool right_for_k(const run *r, const poison *x, ref_place at, int o, int64_t c, float first,
                        float got)
{
    const attn_problem *p = r->c.p;
    bool pairs = p->weights == ATTN_WEIGHTS_RAW || p->weights == ATTN_WEIGHTS_CAPPED;
    bool seen = of_this_key_head(r, x, at) && ref_visible(p, &r->in->tensors, at, x->j);
    if (o == 2 && (seen || (pairs && c == x->j))) return true;
    return seen ? isnan(got) : unnoticed(r, first, got);
}

/* Weights of Gaussian scores are far from 0, unless a bias or ALiBi lowers them, or the selection
 * leaves the key out. */
static bool every_key_weighs(const attn_problem *p)
{
    return p->select == ATTN_SOFTMAX && !p->has_bias && !p->has_alibi;
}

/* A column is NaN where the key weighs something. Other outputs of these heads may have been
 * computed anew, by another loop; they are no NaN. */
static bool right_for_v(const run *r, const poison *x, ref_place at, int o, int64_t c, float first,
                        float got)
{
    const attn_problem *p = r->c.p;
    if (!of_this_key_head(r, x, at)) return unnoticed(r, first, got);
    bool reached = o == 0 && c == x->column && ref_visible(p, &r->in->tensors, at, x->j);
    if (reached) return isnan(got) || !every_key_weighs(p);
    return !isnan(got) == !isnan(first);
}

static void compare(const run *r, const poison *x, verify_report *report)
{
    const attn_problem *p = r->c.p;
    const attn_tensors *t = &r->in->tensors;
    const attn_output *const views[] = {&t->out, &t->lse, &t->weights};
    const int64_t lengths[] = {p->v_dim, p->wants_lse, p->weights ? p->kv_len : 0};
    int64_t rows = p->batch * p->q_heads * p->q_len;
    for (int64_t n = 0; n < rows; n++) {
        ref_place at = check_place(p, n);
        for (int o = 0; o < 3; o++)
            for (int64_t c = 0; c < lengths[o]; c++) {
                const float *now = check_row(views[o], at) + c;
                const float *first = (const float *)r->first[o] + (now - run_buffer(r, o)->memory);
                if (x->right(r, x, at, o, c, *first, *now)) continue;
                bool query = x->tensor == 'q';
                check_fail(&r->c, report, x->part,
                           "NaN in %c[%lld,%lld,%lld] makes %s[%lld,%lld,%lld,%lld] %.9g, it was "
                           "%.9g",
                           x->tensor, (long long)x->at.b,
                           (long long)(query ? x->at.h : x->at.h / (p->q_heads / p->kv_heads)),
                           (long long)(query ? x->at.i : x->j), run_output_names[o],
                           (long long)at.b, (long long)at.h, (long long)at.i, (long long)c, *now,
                           *first);
                return;
            }
    }
}

/* Poisons `count` numbers, and judges by the bound what NaN in V leaves of the row that sees it. */
static void poison_and_compare(run *r, const poison *x, float *numbers, int64_t count,
                               verify_report *report)
{
    size_t bytes = (size_t)count * sizeof *numbers;
    float *kept = malloc(bytes);
    if (!kept) abort();
    memcpy(kept, numbers, bytes);
    for (int64_t c = 0; c < count; c++) numbers[c] = NAN;
    if (run_call(r, r->threads, report)) {
        verify_report row = {0};
        compare(r, x, report);
        bool bounded = !(r->c.without >> VERIFY_BOUND & 1) && every_key_weighs(r->c.p);
        if (x->tensor == 'v' && bounded) row = verify_row(r->c.kernel, r->c.which, r->in, x->at);
        if (row.status == VERIFY_FAIL)
            check_fail(&r->c, report, x->part, "with NaN in v: %s", row.reason);
    }
    memcpy(numbers, kept, bytes);
    free(kept);
}

static float *row_at(const attn_input *x, int64_t b, int64_t h, int64_t i)
{
    return (float *)x->data + b * x->batch_stride + h * x->head_stride + i * x->row_stride;
}

static ref_place any_row(const attn_problem *p, uint64_t random)
{
    int64_t n = (int64_t)(random % (uint64_t)(p->batch * p->q_heads * p->q_len));
    return check_place(p, n);
}

void check_nan(run *r, verify_report *report)
{
    const attn_problem *p = r->c.p;
    const attn_tensors *t = &r->in->tensors;
    uint64_t random = ref_random(r->c.which->seed, 96);
    if (p->batch * p->q_heads * p->q_len == 0) return;
    poison x = {.part = VERIFY_NAN_ROW, .tensor = 'q', .right = right_for_q};
    x.at = any_row(p, ref_random(r->c.which->seed, 99));
    x.j = ref_gather_target(p, t, random, x.at); /* any key that it sees; -1 if none */
    poison_and_compare(r, &x, row_at(&t->q, x.at.b, x.at.h, x.at.i), p->qk_dim, report);
    if (x.j < 0 || r->c.which->inputs != REF_GAUSS || r->c.without >> VERIFY_NAN_KEY & 1) return;
    int64_t g = x.at.h / (p->q_heads / p->kv_heads), c = (int64_t)((random >> 32) % (1 << 20));
    x.part = VERIFY_NAN_KEY, x.tensor = 'k', x.right = right_for_k;
    poison_and_compare(r, &x, row_at(&t->k, x.at.b, g, x.j) + c % p->qk_dim, 1, report);
    x.tensor = 'v', x.right = right_for_v, x.column = c % p->v_dim;
    poison_and_compare(r, &x, row_at(&t->v, x.at.b, g, x.j) + x.column, 1, report);
}
