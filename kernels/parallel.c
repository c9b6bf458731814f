/* parallel.c: how is one call spread over threads? Written once, for all kernels.
 *
 * A call is cut into slices of (batch, query head or group of heads, block of query rows, piece of
 * the keys). The cut depends on the kernel and the problem only, every slice is computed by one
 * thread, and no slice reads what another writes: the result has the same bits for any number of
 * threads. Slices are handed out one at a time, since causal slices differ in work by a factor.
 * Partial results of pieces lie before the scratch of the threads and are merged at the end. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/attention.h"

enum {
    SCRATCH_ALIGN = 64,
    SCRATCH_GAP = 4096
}; /* a page between threads: no shared line, no shared page */

#pragma GCC visibility push(default)

static int64_t bytes_per_thread(const attn_kernel *kernel, const attn_problem *problem)
{
    int64_t bytes = kernel->scratch_bytes(problem);
    if (bytes > INT64_MAX - 2 * SCRATCH_GAP) return INT64_MAX;
    return (bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN + SCRATCH_GAP;
}

/* The cut: `blocks` of `rows` query rows in each of `groups` of `heads` query heads, and `pieces`
 * of `keys` keys. Slices of one block lie behind each other, and so do their partial results. */
typedef struct cut {
    int64_t groups, heads, blocks, rows, pieces, keys, partial_floats, slices;
} cut;

static cut cut_of(const attn_kernel *kernel, const attn_problem *p)
{
    int64_t most = kernel->q_block > 0 ? kernel->q_block : p->q_len;
    int64_t step = kernel->q_step > 0 ? kernel->q_step : 1;
    cut c = {.groups = kernel->shares_keys ? p->kv_heads : p->q_heads,
             .blocks = most > 0 ? (p->q_len + most - 1) / most : 0,
             .pieces = kernel->pieces ? kernel->pieces(p) : 1};
    c.heads = c.groups > 0 ? p->q_heads / c.groups : 0;
    /* even blocks: 64 rows are 2 x 32, not 48 + 16 */
    if (c.blocks > 0) c.rows = ((p->q_len + c.blocks - 1) / c.blocks + step - 1) / step * step;
    if (c.rows > most) c.rows = most;
    if (c.rows > 0) c.blocks = (p->q_len + c.rows - 1) / c.rows;
    c.keys = (p->kv_len + c.pieces - 1) / c.pieces;
    if (c.pieces > 1) c.partial_floats = c.heads * c.rows * (p->v_dim + 2);
    c.slices = p->batch * c.groups * c.blocks * c.pieces;
    return c;
}

/* No more threads than slices: the others would only hold scratch. */
static int useful_threads(const attn_kernel *kernel, const attn_problem *p, int threads)
{
    int64_t slices = cut_of(kernel, p).slices;
    return slices < threads ? (int)slices : threads;
}

int64_t attn_partial_bytes(const attn_kernel *kernel, const attn_problem *problem)
{
    cut c = cut_of(kernel, problem);
    int64_t bytes;
    if (__builtin_mul_overflow(4 * c.partial_floats, c.slices, &bytes) ||
        bytes > INT64_MAX - SCRATCH_ALIGN)
        return INT64_MAX;
    return (bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
}

int64_t attn_scratch_bytes(const attn_kernel *kernel, const attn_problem *problem, int threads)
{
    int64_t total;
    if (__builtin_mul_overflow(bytes_per_thread(kernel, problem),
                               useful_threads(kernel, problem, threads), &total) ||
        __builtin_add_overflow(total, attn_partial_bytes(kernel, problem), &total))
        return INT64_MAX;
    return total;
}

/* Slice s of the cut; partial results, if it has any, in `partials`. */
static attn_slice slice_of(const cut *c, const attn_problem *p, int64_t s, float *partials)
{
    int64_t piece = s % c->pieces, block = s / c->pieces, group = block / c->blocks;
    int64_t q_begin = block % c->blocks * c->rows, k_begin = piece * c->keys;
    int64_t q_end = q_begin + c->rows, k_end = k_begin + c->keys;
    return (attn_slice){.batch = group / c->groups,
                        .head = group % c->groups * c->heads,
                        .heads = c->heads,
                        .q_begin = q_begin,
                        .q_end = q_end < p->q_len ? q_end : p->q_len,
                        .k_begin = k_begin < p->kv_len ? k_begin : p->kv_len,
                        .k_end = k_end < p->kv_len ? k_end : p->kv_len,
                        .partial = c->pieces > 1 ? partials + s * c->partial_floats : NULL};
}

static void run_slices(const attn_kernel *kernel, const attn_problem *p, const attn_tensors *t,
                       int threads, char *scratch)
{
    cut c = cut_of(kernel, p);
    int64_t stride = bytes_per_thread(kernel, p);
    float *partials = (float *)scratch;
    char *own = scratch + attn_partial_bytes(kernel, p);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(dynamic, 1)
        for (int64_t s = 0; s < c.slices; s++)
            kernel->run(p, t, slice_of(&c, p, s, partials), own + stride * omp_get_thread_num());
        if (c.pieces > 1)
#pragma omp for schedule(static)
            for (int64_t s = 0; s < c.slices; s += c.pieces)
                kernel->merge(p, t, slice_of(&c, p, s, partials), c.pieces, c.partial_floats);
    }
}

attn_status attn_run(const attn_kernel *kernel, const attn_problem *problem,
                     const attn_tensors *tensors, const attn_exec *exec, attn_error *error)
{
    attn_error unused;
    error = error ? error : &unused;
    if (!kernel || !tensors) {
        snprintf(error->text, sizeof error->text, "%s is null", kernel ? "tensors" : "kernel");
        return ATTN_INVALID;
    }
    if (attn_validate(problem, tensors, error)) return ATTN_INVALID;
    const char *reason = attn_supports(kernel, problem);
    if (reason) {
        snprintf(error->text, sizeof error->text, "%s: %s", kernel->name, reason);
        return ATTN_UNSUPPORTED;
    }
    int usual = omp_get_max_threads() < ATTN_MAX_THREADS ? omp_get_max_threads() : ATTN_MAX_THREADS;
    int threads = exec && exec->threads ? exec->threads : usual;
    if (threads < 1 || threads > ATTN_MAX_THREADS) {
        snprintf(error->text, sizeof error->text, "threads is %d; it must be between 1 and %d",
                 threads, ATTN_MAX_THREADS);
        return ATTN_INVALID;
    }
    if (problem->batch == 0 || problem->q_heads == 0 || problem->q_len == 0) return ATTN_OK;
    threads = useful_threads(kernel, problem, threads);
    int64_t bytes = attn_scratch_bytes(kernel, problem, threads);
    char *own = NULL;
    if (!(exec && exec->scratch)) {
        own = bytes < INT64_MAX ? aligned_alloc(SCRATCH_ALIGN, (size_t)bytes) : NULL;
        if (!own) {
            snprintf(error->text, sizeof error->text, "%s: cannot allocate %lld bytes of scratch",
                     kernel->name, (long long)bytes);
            return ATTN_NO_MEMORY;
        }
    }
    run_slices(kernel, problem, tensors, threads, own ? own : exec->scratch);
    free(own);
    return ATTN_OK;
}

#pragma GCC visibility pop
