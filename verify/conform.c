/* conform.c: compares what a kernel computes with what a case expects.
 *
 * Outputs lie in memory in the order of their files, so the comparison is one loop over elements.
 * The derived bound is made per query row and scattered into the same order through the strides of
 * the tensors. */
#include "verify/conform.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/worker.h"

static conform_result verdict(conform_status status, const char *reason)
{
    conform_result result = {.status = status};
    snprintf(result.reason, sizeof result.reason, "%.255s", reason);
    return result;
}

/* ---- running --------------------------------------------------------------------- */

static void poison(case_output *output)
{
    const uint32_t canary = REF_CANARY;
    for (int64_t i = 0; i < npy_count(&output->want); i++)
        memcpy(&output->got[i], &canary, sizeof canary);
}

static bool unwritten(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits == REF_CANARY;
}

attn_status conform_run(case_record *c, const attn_kernel *kernel, int threads, attn_error *error)
{
    attn_inner_context context = {kernel, {.threads = threads}};
    attn_inner inner = {attn_inner_run, &context};
    for (int o = 0; o < c->output_count; o++)
        if (c->outputs[o].role != CASE_COPY) poison(&c->outputs[o]);
    return case_run(c, &inner, error);
}

/* Runs again with another number of threads: the same bits? *result is failed if not. */
static void check_determinism(case_record *c, const attn_kernel *kernel, int threads,
                              conform_result *result)
{
    float *first[CASE_MAX_OUTPUTS] = {NULL};
    int others = threads == 1 ? 2 : 1;
    attn_error error;
    bool memory = true;
    for (int o = 0; o < c->output_count; o++) {
        size_t bytes = (size_t)npy_count(&c->outputs[o].want) * sizeof(float);
        first[o] = malloc(bytes + 1);
        memory = memory && first[o];
        if (first[o]) memcpy(first[o], c->outputs[o].got, bytes);
    }
    if (!memory) *result = verdict(CONFORM_FAIL, "no memory for the second run");
    else if (conform_run(c, kernel, others, &error) != ATTN_OK)
        *result = verdict(CONFORM_FAIL, error.text);
    for (int o = 0; o < c->output_count && result->status == CONFORM_PASS; o++) {
        const case_output *output = &c->outputs[o];
        if (memcmp(first[o], output->got, (size_t)npy_count(&output->want) * sizeof(float)) == 0)
            continue;
        result->status = CONFORM_FAIL;
        snprintf(result->reason, sizeof result->reason,
                 "%.40s: other bits with %d threads than with %d", output->name, others, threads);
    }
    for (int o = 0; o < c->output_count; o++) free(first[o]);
}

/* ---- what is allowed ------------------------------------------------------------- */

/* Half a unit in the last place, relative, and half the smallest subnormal of the stored type. */
static double storage_rounding(npy_type type, double want)
{
    static const struct {
        double relative, absolute;
    } half_ulp[] = {
        [NPY_FLOAT32] = {0x1p-24, 0x1p-150},
        [NPY_FLOAT16] = {0x1p-11, 0x1p-25},
        [NPY_FLOAT64] = {0x1p-53, 0},
    };
    return half_ulp[type].relative * fabs(want) + half_ulp[type].absolute;
}

/* Where the elements of row (b, h, i) of an output start, among its elements. */
static int64_t row_start(const case_record *c, const case_output *output, ref_place at)
{
    const attn_output *views[] = {[CASE_OUT] = &c->tensors.out,
                                  [CASE_WEIGHTS] = &c->tensors.weights,
                                  [CASE_LSE] = &c->tensors.lse};
    const attn_output *view = views[output->role];
    return at.b * view->batch_stride + at.h * view->head_stride + at.i * view->row_stride;
}

static void scatter_row(const case_record *c, ref_place at, const ref_row *row, double *bounds[])
{
    for (int o = 0; o < c->output_count; o++) {
        const case_output *output = &c->outputs[o];
        if (output->role == CASE_COPY) continue;
        double *to = bounds[o] + row_start(c, output, at);
        if (output->role == CASE_OUT)
            memcpy(to, row->out_bound, (size_t)c->problem.v_dim * sizeof *to);
        if (output->role == CASE_WEIGHTS)
            memcpy(to, row->weights_bound, (size_t)c->problem.kv_len * sizeof *to);
        if (output->role == CASE_LSE) *to = row->lse_bound;
    }
}

/* The derived bound of every output element; 0 for copies. False if memory is short. */
static bool derive_bounds(const case_record *c, const attn_kernel *kernel, double *bounds[])
{
    const attn_problem *p = &c->problem;
    attn_claims claims = ref_needed_claims(p, kernel->claims(p));
    ref_row *row = ref_row_new(p);
    bool memory = row != NULL;
    for (int o = 0; o < c->output_count; o++) {
        bounds[o] = calloc((size_t)npy_count(&c->outputs[o].want) + 1, sizeof(double));
        memory = memory && bounds[o];
    }
    for (int64_t b = 0; memory && b < p->batch; b++)
        for (int64_t h = 0; h < p->q_heads; h++)
            for (int64_t i = 0; i < p->q_len; i++) {
                ref_place at = {b, h, i};
                ref_dense(p, &c->tensors, at, row);
                ref_bound(p, &c->tensors, at, &claims, 0x1p-24, row);
                scatter_row(c, at, row, bounds);
            }
    ref_row_free(row);
    return memory;
}

/* ---- comparing ------------------------------------------------------------------- */

static int class_of(double x) { return isnan(x) ? 0 : isinf(x) ? (x > 0 ? 1 : 2) : 3; }

/* The value as the file would hold it. */
static double stored(float got, npy_type type)
{
    return type == NPY_FLOAT16 ? npy_half_to_float(npy_float_to_half(got)) : got;
}

/* "Y[0, 1, 2, 3]" */
static void locate(const case_output *output, int64_t index, char *text, size_t size)
{
    int64_t at[NPY_MAX_RANK];
    int used = snprintf(text, size, "%.40s[", output->name);
    for (int d = output->want.rank; d-- > 0; index /= output->want.shape[d])
        at[d] = index % output->want.shape[d];
    for (int d = 0; d < output->want.rank && used < (int)size; d++)
        used +=
            snprintf(text + used, size - (size_t)used, "%s%lld", d ? ", " : "", (long long)at[d]);
    if (used < (int)size) snprintf(text + used, size - (size_t)used, "]");
}

/* |got - want| / allowed; INFINITY if the classes differ, or on a difference where none may be. */
static double share_of(double got, double want, double allowed)
{
    if (class_of(got) != class_of(want)) return INFINITY;
    if (class_of(got) != 3 || got == want) return 0;
    double share = fabs(got - want) / allowed;
    return isnan(share) ? INFINITY : share;
}

/* bounds NULL: the case's tolerance. `result` keeps the worst element of all outputs. */
static void compare(const case_record *c, const case_output *output, const double *bounds,
                    conform_result *result)
{
    npy_type type = output->want.type;
    int64_t width = output->want.rank ? output->want.shape[output->want.rank - 1] : 1;
    for (int64_t i = 0; i < npy_count(&output->want); i++) {
        if (output->ignored && output->ignored[i / width]) continue;
        double want = npy_value(&output->want, i), got = stored(output->got[i], type);
        double allowed =
            bounds ? bounds[i] + 2 * storage_rounding(type, want) : c->rtol * fabs(want) + c->atol;
        bool stale = output->role != CASE_COPY && unwritten(output->got[i]);
        double share = stale ? INFINITY : share_of(got, want, allowed);
        bool failed = !(share <= 1);
        if (result->compared++ > 0 && !(share > result->worst)) continue;
        result->worst = share;
        locate(output, i, result->at, sizeof result->at);
        if (!failed) continue;
        result->status = CONFORM_FAIL;
        char within[32] = "";
        if (isfinite(want)) snprintf(within, sizeof within, " within %.3g", allowed);
        if (stale)
            snprintf(result->reason, sizeof result->reason, "%s was not written", result->at);
        else
            snprintf(result->reason, sizeof result->reason, "%s is %.9g, expected %.9g%s",
                     result->at, got, want, within);
    }
}

conform_result conform_check(case_record *c, const attn_kernel *kernel, int threads)
{
    attn_error error;
    double *bounds[CASE_MAX_OUTPUTS] = {NULL};
    const char *refusal = attn_supports(kernel, &c->problem);
    if (refusal) return verdict(CONFORM_UNSUPPORTED, refusal);
    if (conform_run(c, kernel, threads, &error) != ATTN_OK)
        return verdict(CONFORM_FAIL, error.text);
    conform_result result = {.status = CONFORM_PASS};
    if (!c->has_tolerance && !derive_bounds(c, kernel, bounds))
        result = verdict(CONFORM_FAIL, "no memory for the derived bound");
    for (int o = 0; o < c->output_count && (c->has_tolerance || bounds[o]); o++)
        compare(c, &c->outputs[o], bounds[o], &result);
    for (int o = 0; o < c->output_count; o++) free(bounds[o]);
    if (result.status == CONFORM_PASS && kernel->claims(&c->problem).deterministic)
        check_determinism(c, kernel, threads, &result);
    return result;
}

typedef struct question {
    case_record *record;
    const attn_kernel *kernel;
    int threads;
} question;

static void answer(void *context, void *result)
{
    const question *x = context;
    *(conform_result *)result = conform_check(x->record, x->kernel, x->threads);
}

conform_result conform_check_apart(case_record *c, const attn_kernel *kernel, int threads)
{
    const attn_problem *p = &c->problem;
    question x = {c, kernel, threads};
    const char *refusal = attn_supports(kernel, p);
    if (refusal) return verdict(CONFORM_UNSUPPORTED, refusal);
    conform_result result;
    verify_report how;
    double pairs = (double)p->batch * (double)p->q_heads * (double)p->q_len * (double)p->kv_len;
    double work = pairs * (double)(p->qk_dim + p->v_dim);
    double seconds = 4 * WORKER_SECONDS * fmax(1, 16 * work * 0x1p-30);
    if (!worker_call(answer, &x, &result, sizeof result, seconds, &how)) {
        result = verdict(CONFORM_FAIL, how.reason);
        result.worst = INFINITY;
    }
    return result;
}
