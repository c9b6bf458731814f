/* relations.c: calls that must give the same bits as the first one.
 *
 * With -V, with V / 2^20, as before, with other threads, and with rows, heads and batches in
 * reverse order: none of this needs a reference. It is asked of kernels
 * that claim to be deterministic. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "verify/environment.h"
#include "verify/run.h"

typedef bool same_float(float first, float now);

static bool same_bits(float first, float now) { return memcmp(&first, &now, sizeof now) == 0; }
static bool same_negated(float first, float now)
{
    return isnan(first) ? isnan(now) : now == -first;
}
static bool same_scaled(float first, float now)
{
    return isnan(first) ? isnan(now) : now == first * 0x1p-20f;
}

/* The first element of an output that is not as `same` wants it; -1 if all are. */
static int64_t differs(const run *r, int o, same_float *same)
{
    const ref_buffer *b = run_buffer(r, o);
    const float *first = r->first[o];
    for (int64_t x = 0; x < b->floats; x++) {
        int32_t bits;
        memcpy(&bits, &first[x], 4);
        if (!(bits == REF_CANARY ? same_bits : same)(first[x], b->memory[x])) return x;
    }
    return -1;
}

static void compare_outputs(const run *r, verify_report *report, verify_part part, same_float *same,
                            const char *what)
{
    for (int o = 0; o < 3; o++) {
        int64_t x = differs(r, o, o == 0 ? same : same_bits);
        if (x < 0) continue;
        const float *first = r->first[o];
        check_fail(&r->c, report, part, "%s: float %lld of %s was %.9g and is %.9g", what,
                   (long long)x, run_output_names[o], first[x], run_buffer(r, o)->memory[x]);
        return;
    }
}

static void scale_values(run *r, float factor)
{
    const attn_problem *p = r->c.p;
    const attn_input *v = &r->in->tensors.v;
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t g = 0; g < p->kv_heads; g++)
            for (int64_t j = 0; j < p->kv_len; j++)
                for (int64_t c = 0; c < p->v_dim; c++)
                    ((float *)v->data)[b * v->batch_stride + g * v->head_stride +
                                       j * v->row_stride + c] *= factor;
}

/* Powers of two and signs pass through every rounding, unless something under- or overflows: only
 * for inputs that stay far from both. */
static void check_scaled_values(run *r, verify_report *report)
{
    if (r->c.which->inputs != REF_GAUSS) return;
    scale_values(r, -1);
    if (run_call(r, r->threads, report))
        compare_outputs(r, report, VERIFY_NEGATE_V, same_negated, "with -V in place of V");
    scale_values(r, -0x1p-20f);
    if (run_call(r, r->threads, report))
        compare_outputs(r, report, VERIFY_SCALE_V, same_scaled, "with V / 2^20 in place of V");
    scale_values(r, 0x1p20f);
}

/* A leak grows in every call; malloc's caches of freed chunks (7 of each size) are full after about
 * twenty calls of libgomp. */
static void check_again(run *r, verify_report *report)
{
    enum { CALLS = 40 };
    long long grown = 0;
    for (int again = 0; again < CALLS; again++) {
        size_t before = environment_heap();
        if (!run_call(r, r->threads, report)) return;
        if (again == 0)
            compare_outputs(r, report, VERIFY_AGAIN, same_bits, "the same after others");
        grown = (long long)environment_heap() - (long long)before;
        if (grown <= 0) return;
    }
    check_fail(&r->c, report, VERIFY_HEAP, "every call leaves %lld bytes on the heap", grown);
}

static void check_threads(run *r, verify_report *report)
{
    if (run_call(r, r->most_threads, report))
        compare_outputs(r, report, VERIFY_THREADS, same_bits, "with more threads");
}

/* ---- rows, heads and batches in reverse order ------------------------------------------- */

/* The axes that may be turned around: rows only where nothing depends on their positions. */
static unsigned free_axes(const attn_problem *p)
{
    unsigned turned = 0;
    bool placed = p->causal || p->window_left >= 0 || p->window_right >= 0 || p->has_alibi;
    if (p->batch > 1) turned |= 1U << AXIS_BATCH;
    if (p->q_heads > 1) turned |= 1U << AXIS_HEAD;
    if (p->q_len > 1 && !placed) turned |= 1U << AXIS_ROW;
    return turned;
}

static ref_place mirrored(const attn_problem *p, ref_place at, unsigned turned)
{
    if (turned >> AXIS_BATCH & 1) at.b = p->batch - 1 - at.b;
    if (turned >> AXIS_HEAD & 1) at.h = p->q_heads - 1 - at.h;
    if (turned >> AXIS_ROW & 1) at.i = p->q_len - 1 - at.i;
    return at;
}

void run_compare_rows(const run *r, unsigned turned, verify_part part, const char *what,
                      verify_report *report)
{
    const attn_problem *p = r->c.p;
    const attn_tensors *t = &r->in->tensors;
    const attn_output *const views[] = {&t->out, &t->lse, &t->weights};
    const int64_t lengths[] = {p->v_dim, 1, p->kv_len};
    int64_t rows = p->batch * p->q_heads * p->q_len;
    for (int o = 0; o < 3; o++)
        for (int64_t n = 0; n < rows && run_buffer(r, o)->floats; n++) {
            ref_place at = check_place(p, n);
            const float *now = check_row(views[o], at), *memory = run_buffer(r, o)->memory;
            const float *first = (const float *)r->first[o] +
                                 (check_row(views[o], mirrored(p, at, turned)) - memory);
            if (memcmp(now, first, (size_t)lengths[o] * sizeof *now) == 0) continue;
            check_fail(&r->c, report, part, "%s: other bits in %s[%lld,%lld,%lld]", what,
                       run_output_names[o], (long long)at.b, (long long)at.h, (long long)at.i);
            return;
        }
}

/* Everything that belongs to a batch, head or row goes along: masks, lengths, slopes, sinks. The
 * values change in place, so what a kernel remembers by address is wrong. */
static void check_permuted(run *r, verify_report *report)
{
    unsigned turned = free_axes(r->c.p);
    axes list[AXES_TENSORS];
    if (!turned) return;
    axes_of(r->c.p, &r->in->tensors, list);
    axes_mirror(list, turned);
    if (run_call(r, r->threads, report))
        run_compare_rows(r, turned, VERIFY_PERMUTE, "rows, heads and batches in reverse order",
                         report);
    axes_mirror(list, turned);
}

void check_repeated(run *r, verify_report *report)
{
    check_scaled_values(r, report);
    check_again(r, report);
}

void check_rearranged(run *r, verify_report *report)
{
    check_threads(r, report);
    check_permuted(r, report);
}
