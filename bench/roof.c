/* roof.c: the measured ceilings: multiply-adds per ISA and thread count, and reads from each level
 * of memory. */
#include "bench/roof.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/attention.h"

#define KERNEL(isa)                                                                                \
    int64_t peak_fma_##isa(int64_t, float *);                                                      \
    int64_t peak_mixed_##isa(int64_t, float *);                                                    \
    float stream_read_##isa(const float *, int64_t);                                               \
    void stream_triad_##isa(float *, const float *, const float *, int64_t);
#include "bench/roof_list.h"
#undef KERNEL

static roof_isa isas[] = {
#define KERNEL(isa)                                                                                \
    {#isa, peak_fma_##isa, peak_mixed_##isa, stream_read_##isa, stream_triad_##isa, 0},
#include "bench/roof_list.h"
#undef KERNEL
};
enum { ISAS = sizeof isas / sizeof *isas };

double roof_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

const roof_isa *roof_find(const char *isa)
{
    for (int i = 0; i < ISAS; i++) {
        if (strcmp(isas[i].name, isa) != 0) continue;
        float sink = 0;
        isas[i].flops_per_round = (double)isas[i].peak(1, &sink);
        return &isas[i];
    }
    return NULL;
}

const roof_isa *roof_widest(void)
{
    const char *name = isas[0].name;
    for (int i = 0; i < ISAS; i++)
        if (!attn_isa_missing(isas[i].name)) name = isas[i].name;
    return roof_find(name);
}

double roof_peak_gflops(const char *isa, int threads, bool mixed, double seconds)
{
    const roof_isa *probes = roof_find(isa);
    if (!probes) return 0;
    float sink = 0;
    const int64_t rounds = 1 << 19; /* above 1 ms: forking and joining threads must not count */
    double best = 0;
    for (double start = roof_now(); roof_now() - start < seconds;) {
        double begin = roof_now();
        int64_t operations = 0;
#pragma omp parallel num_threads(threads) reduction(+ : operations, sink)
        operations += (mixed ? probes->mixed : probes->peak)(rounds, &sink);
        best = fmax(best, 1e-9 * (double)operations / (roof_now() - begin));
    }
    volatile float keep = sink;
    (void)keep;
    return best;
}

double roof_read_gbps(int threads, int64_t bytes, double seconds)
{
    const roof_isa *probes = roof_widest();
    const int64_t floats = bytes / threads / 4096 * 1024; /* of each thread; whole pages */
    if (floats == 0) return 0;
    float *buffer = aligned_alloc(4096, (size_t)(4 * floats * threads)), sum = 0;
    double best = 0;
    if (!buffer) return 0;
    int64_t repeats = 1; /* so that forking and joining threads does not count */
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) memset(buffer + floats * t, 0, (size_t)(4 * floats));
    for (double start = roof_now(); roof_now() - start < seconds;) {
        double begin = roof_now();
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : sum)
        for (int t = 0; t < threads; t++)
            for (int64_t r = 0; r < repeats; r++) sum += probes->read(buffer + floats * t, floats);
        double elapsed = roof_now() - begin;
        if (elapsed < 1e-3) repeats *= 2;
        else best = fmax(best, 4e-9 * (double)(floats * threads * repeats) / elapsed);
    }
    volatile float keep = sum;
    (void)keep;
    free(buffer);
    return best;
}
