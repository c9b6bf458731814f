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

/* Adds up `lines` lines of 64 bytes; eight sums, so that loads and not additions are the limit. */
static uint64_t read_lines(const uint64_t *at, int64_t lines)
{
    uint64_t sum[8] = {0}, total = 0;
    for (int64_t i = 0; i < lines; i++)
        for (int w = 0; w < 8; w++) sum[w] += at[8 * i + w];
    for (int w = 0; w < 8; w++) total += sum[w];
    return total;
}

double roof_read_gbps(int threads, int64_t bytes, double seconds)
{
    const int64_t lines = bytes / 64 / threads; /* of each thread */
    if (lines == 0) return 0;
    uint64_t *buffer = aligned_alloc(64, (size_t)(64 * lines * threads)), sum = 0;
    double best = 0;
    if (!buffer) return 0;
    int64_t repeats = 1; /* so that forking and joining threads does not count */
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int t = 0; t < threads; t++) memset(buffer + 8 * lines * t, 1, (size_t)(64 * lines));
    for (double start = roof_now(); roof_now() - start < seconds;) {
        double begin = roof_now();
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : sum)
        for (int t = 0; t < threads; t++)
            for (int64_t r = 0; r < repeats; r++) sum += read_lines(buffer + 8 * lines * t, lines);
        double elapsed = roof_now() - begin;
        double rate = (double)(64 * lines * threads * repeats) / (elapsed * 1e9);
        if (elapsed < 1e-3) repeats *= 2;
        else best = rate > best ? rate : best;
    }
    volatile uint64_t keep = sum;
    (void)keep;
    free(buffer);
    return best;
}
