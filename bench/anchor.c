/* anchor.c: three probes of one thread. The triad goes on where it stopped the last time; in a turn
 * of a few rounds it touches the whole footprint and runs from the cache that holds it. */
#include "bench/anchor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/roof.h"

enum { REPEATS = 5, TRIAD_ARRAYS = 3, LEAST_FLOATS = 1024 };

struct anchor {
    const roof_isa *isa;
    double seconds;
    int64_t fma_rounds, clock_steps; /* of one repetition */
    int64_t floats, chunk, at;       /* of each array; per repetition; where the next one begins */
    float *arrays;
    float sink;
};

/* Two dependent operations of one cycle each per step, on every core since the nineties; no
 * compiler folds an exclusive or into an addition. */
double anchor_clock_once(int64_t steps)
{
    volatile uint64_t start = 1;
    uint64_t x = start;
    double begin = roof_now();
    for (int64_t i = 0; i < steps; i++) x = (x ^ 0x55) + 3;
    double seconds = roof_now() - begin;
    start = x;
    return 2e-9 * (double)steps / seconds;
}

double anchor_clock(const anchor *a)
{
    double best = 0;
    for (int r = 0; r < REPEATS; r++) best = fmax(best, anchor_clock_once(a->clock_steps));
    return best;
}

static double fma_gflops(anchor *a)
{
    double best = 0;
    for (int r = 0; r < REPEATS; r++) {
        double begin = roof_now();
        int64_t operations = a->isa->peak(a->fma_rounds, &a->sink);
        best = fmax(best, 1e-9 * (double)operations / (roof_now() - begin));
    }
    return best;
}

static double triad_gbps(anchor *a)
{
    double best = 0;
    for (int r = 0; r < REPEATS; r++, a->at += a->chunk) {
        if (a->at + a->chunk > a->floats) a->at = 0;
        float *to = a->arrays + a->at;
        double begin = roof_now();
        a->isa->triad(to, to + a->floats, to + 2 * a->floats, a->chunk);
        best = fmax(best, 1e-9 * TRIAD_ARRAYS * 4 * (double)a->chunk / (roof_now() - begin));
    }
    return best;
}

anchor_reading anchor_read(anchor *a)
{
    anchor_reading r = {.clock_ghz = anchor_clock(a)};
    r.triad_gbps = triad_gbps(a);
    r.clock_ghz = fmax(r.clock_ghz, anchor_clock(a)); /* it dips for moments on shared hosts */
    r.fma_gflops = fma_gflops(a);
    r.clock_ghz = fmax(r.clock_ghz, anchor_clock(a));
    return r;
}

void anchor_free(anchor *a)
{
    if (a) free(a->arrays);
    free(a);
}

/* How often to run what took `once` seconds, to fill one repetition. */
static double times(const anchor *a, double once)
{
    return fmax(1, a->seconds / REPEATS / fmax(once, 1e-9));
}

anchor *anchor_new(const char *isa, int64_t footprint, double seconds)
{
    enum { TRIAL_STEPS = 20000, TRIAL_ROUNDS = 2000 };
    anchor *a = calloc(1, sizeof *a);
    if (!a || !(a->isa = roof_find(isa))) return free(a), NULL;
    a->seconds = fmin(fmax(seconds, 20e-6), 1e-3);
    a->floats = footprint / (4 * TRIAD_ARRAYS) / LEAST_FLOATS * LEAST_FLOATS;
    if (a->floats < LEAST_FLOATS) a->floats = LEAST_FLOATS;
    size_t bytes = (size_t)a->floats * 4 * TRIAD_ARRAYS;
    a->arrays = aligned_alloc(64, bytes);
    if (!a->arrays) return free(a), NULL;
    memset(a->arrays, 0, bytes);
    a->chunk = a->floats < LEAST_FLOATS * 8 ? a->floats : LEAST_FLOATS * 8;
    a->clock_steps = TRIAL_STEPS, a->fma_rounds = TRIAL_ROUNDS;
    anchor_reading trial = anchor_read(a);
    a->clock_steps = (int64_t)(times(a, 2e-9 / trial.clock_ghz));
    a->fma_rounds = (int64_t)(times(a, 1e-9 * a->isa->flops_per_round / trial.fma_gflops));
    double chunk_s = 1e-9 * TRIAD_ARRAYS * 4 * (double)a->chunk / trial.triad_gbps;
    double chunks = fmin(times(a, chunk_s), (double)(a->floats / a->chunk));
    a->chunk *= (int64_t)fmax(chunks, 1);
    a->at = 0;
    return a;
}
