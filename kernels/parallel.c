/* parallel.c: how is one call spread over threads? Written once, for all kernels.
 *
 * A call is cut into slices of (batch, query head, block of query rows). The cut depends on the
 * kernel and the problem only, every slice is computed by one thread, and no slice reads what
 * another writes: the result has the same bits for any number of threads. Slices are handed out one
 * at a time, since causal slices differ in work by a factor. */
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

/* The cut: rows per slice, slices per head, slices in all. */
typedef struct cut {
    int64_t rows, blocks, slices;
} cut;

static cut cut_of(const attn_kernel *kernel, const attn_problem *p)
{
    cut c = {.rows =
                 kernel->q_block > 0 && kernel->q_block < p->q_len ? kernel->q_block : p->q_len};
    c.blocks = c.rows > 0 ? (p->q_len + c.rows - 1) / c.rows : 0;
    c.slices = p->batch * p->q_heads * c.blocks;
    return c;
}

/* No more threads than slices: the others would only hold scratch. */
static int useful_threads(const attn_kernel *kernel, const attn_problem *p, int threads)
{
    int64_t slices = cut_of(kernel, p).slices;
    return slices < threads ? (int)slices : threads;
}

int64_t attn_scratch_bytes(const attn_kernel *kernel, const attn_problem *problem, int threads)
{
    int64_t total;
    if (__builtin_mul_overflow(bytes_per_thread(kernel, problem),
                               useful_threads(kernel, problem, threads), &total))
        return INT64_MAX;
    return total;
}

static void run_slices(const attn_kernel *kernel, const attn_problem *p, const attn_tensors *t,
                       int threads, char *scratch)
{
    cut c = cut_of(kernel, p);
    int64_t stride = bytes_per_thread(kernel, p);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int64_t s = 0; s < c.slices; s++) {
        int64_t pair = s / c.blocks, begin = s % c.blocks * c.rows, end = begin + c.rows;
        attn_slice slice = {pair / p->q_heads, pair % p->q_heads, begin,
                            end < p->q_len ? end : p->q_len};
        kernel->run(p, t, slice, scratch + stride * omp_get_thread_num());
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
