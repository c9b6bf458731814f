/* roof.c: the measured ceilings: multiply-adds per ISA and thread count, and reads from memory. */
#include "bench/roof.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int64_t peak_function(int64_t rounds, float *sink);

#define KERNEL(isa) peak_function peak_##isa;
#include "bench/peak_list.h"
#undef KERNEL

static const struct {
    const char *isa;
    peak_function *run;
} peaks[] = {
#define KERNEL(isa) {#isa, peak_##isa},
#include "bench/peak_list.h"
#undef KERNEL
};

double roof_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double roof_peak_gflops(const char *isa, int threads, double seconds)
{
    peak_function *run = NULL;
    for (size_t i = 0; i < sizeof peaks / sizeof *peaks; i++)
        if (strcmp(peaks[i].isa, isa) == 0) run = peaks[i].run;
    if (!run) return 0;
    float sink = 0;
    const int64_t rounds = 1 << 19; /* above 1 ms: forking and joining threads must not count */
    int64_t operations = 0;
    double best = 0;
    for (double start = roof_now(); roof_now() - start < seconds;) {
        double begin = roof_now();
        operations = 0;
#pragma omp parallel num_threads(threads) reduction(+ : operations, sink)
        operations += run(rounds, &sink);
        double rate = (double)operations / ((roof_now() - begin) * 1e9);
        best = rate > best ? rate : best;
    }
    volatile float keep = sink;
    (void)keep;
    return best;
}

double roof_read_gbps(int threads, int passes)
{
    const int64_t words = INT64_C(32) << 20; /* 256 MiB, several times any cache of the day */
    int64_t *buffer = malloc((size_t)words * sizeof *buffer), sum = 0;
    double best = 0;
    if (!buffer) return 0;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < words; i++) buffer[i] = i;
    for (int pass = 0; pass < passes; pass++) {
        double begin = roof_now();
#pragma omp parallel for simd num_threads(threads) schedule(static) reduction(+ : sum)
        for (int64_t i = 0; i < words; i++) sum += buffer[i];
        double rate = (double)words * 8 / ((roof_now() - begin) * 1e9);
        best = rate > best ? rate : best;
    }
    volatile int64_t keep = sum;
    (void)keep;
    free(buffer);
    return best;
}
