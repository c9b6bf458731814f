/* anchor.h: how fast was the machine just now? Three small probes in every round, so that a change
 * of the machine is told from a change of a kernel. */
#ifndef BENCH_ANCHOR_H
#define BENCH_ANCHOR_H

#include <stdint.h>

typedef struct anchor_reading {
    double clock_ghz;  /* dependent integer operations per nanosecond: the clock of the core */
    double fma_gflops; /* register-only multiply-adds of one thread: the peak now */
    double triad_gbps; /* a = b + 3 c on a buffer as large as the problem: the bandwidth now */
} anchor_reading;

typedef struct anchor anchor;

/* Probes for the vectors of this ISA and a problem of `footprint` bytes; each probe takes about
 * `seconds`, within [20 us, 1 ms]. NULL if memory is short. */
anchor *anchor_new(const char *isa, int64_t footprint, double seconds);
void anchor_free(anchor *a);

/* All three, or the clock alone. The best of a few short repetitions, so that an interruption does
 * not count and a slower clock does. */
anchor_reading anchor_read(anchor *a);
double anchor_clock(const anchor *a);

/* One reading of the clock in GHz: 2 x `steps` additions that wait for each other. */
double anchor_clock_once(int64_t steps);

#endif
