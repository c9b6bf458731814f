/* neighbour.c: no-ops against the clock. */
#include "bench/neighbour.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "bench/anchor.h"
#include "bench/roof.h"

enum { REPEATS = 3, STEPS = 4000, BLOCKS = 250, NOPS_IN_BLOCK = 64 };

#define EIGHT_NOPS "nop\n nop\n nop\n nop\n nop\n nop\n nop\n nop\n"

/* Seconds of BLOCKS x 64 instructions that wait for nothing and need no unit of the core. */
static double seconds_of_nops(void)
{
    double begin = roof_now();
    for (int b = 0; b < BLOCKS; b++)
        __asm__ volatile(EIGHT_NOPS EIGHT_NOPS EIGHT_NOPS EIGHT_NOPS EIGHT_NOPS EIGHT_NOPS
                             EIGHT_NOPS EIGHT_NOPS);
    return roof_now() - begin;
}

/* On this thread's core. The clock is the best of a few readings: one that was interrupted would
 * make the core seem wide. */
static neighbour_reading read_here(void)
{
    double seconds = 0, clock_ghz = 0;
    for (int r = 0; r < REPEATS; r++) {
        clock_ghz = fmax(clock_ghz, anchor_clock_once(STEPS));
        seconds += seconds_of_nops();
    }
    double issue = 1e-9 * REPEATS * BLOCKS * NOPS_IN_BLOCK / seconds / clock_ghz;
    bool known = isfinite(issue) && isfinite(clock_ghz); /* the time moved meanwhile */
    return known ? (neighbour_reading){issue, clock_ghz} : (neighbour_reading){0, 0};
}

neighbour_reading neighbour_read(int threads)
{
    double issue = 0, clock_ghz = 0;
    int count = 0, unknown = 0;
#pragma omp parallel num_threads(threads) reduction(+ : issue, clock_ghz, count, unknown)
    {
        neighbour_reading here = read_here();
        issue += here.issue, clock_ghz += here.clock_ghz, count++;
        unknown += !(here.issue > 0);
    }
    return unknown ? (neighbour_reading){0, 0}
                   : (neighbour_reading){issue / count, clock_ghz / count};
}

double neighbour_shared_looks(int looks, double seconds)
{
    double *issue = malloc((size_t)looks * sizeof *issue), most = 0;
    int shared = 0;
    for (int i = 0; issue && i < looks; i++) {
        struct timespec pause = {0, (long)(seconds * 1e9 / looks)};
        nanosleep(&pause, NULL);
        issue[i] = neighbour_read(1).issue; /* one thread: our own do not share a core */
        most = fmax(most, issue[i]);
    }
    for (int i = 0; issue && i < looks; i++) shared += issue[i] < 0.9 * most;
    free(issue);
    return (double)shared / looks;
}
