/* alone.h: how many cycles would a call take on cores that nobody shares?
 *
 * On a shared host the times of one kernel move by 5 to 50 % from second to second, with the clock
 * and with neighbours on the other hardware threads of our cores (neighbour.h). Both are seen
 * around every sample. Cycles are time x clock. What neighbours do is taken as a power of the issue
 * rate that they leave: cycles ~ issue^exponent, with an exponent of its own for every ISA and
 * number of threads (a kernel that waits for its own results loses less than one that fills the
 * core). It is fitted within the samples of one kernel on one problem in one process, so that
 * nothing but the neighbours differs, and used only where its interval lies below 0. */
#ifndef BENCH_ALONE_H
#define BENCH_ALONE_H

#include "bench/stats.h"

/* The samples of one kernel, problem and number of threads in one process; each array has `count`
 * values, borrowed. */
typedef struct alone_cell {
    const char *isa;
    int threads, count;
    const double *ns, *issue, *clock_ghz;
} alone_cell;

typedef struct alone_exponent {
    const char *isa; /* of the first cell that has it; borrowed */
    int threads, pairs;
    stats_median fit;
    double issue; /* of cores that nobody shares: 99th percentile over all cells of these threads */
} alone_exponent;

enum { ALONE_EXPONENTS = 128 };

typedef struct alone_fit {
    alone_exponent exponents[ALONE_EXPONENTS];
    int count;
} alone_fit;

/* Fits all cells. The exponent of an ISA and number of threads is Theil's: the samples of a cell
 * are sorted by issue rate, each of the lower half is paired with its like of the upper, and the
 * median of all pairs' slopes is taken, with the interval of a median (Theil 1950, the incomplete
 * method: the pairs share no sample). Pairs whose rates are less than 10 % apart say nothing.
 * Returns false if memory is short. */
bool alone_fit_cells(const alone_cell *cells, int count, alone_fit *fit);

/* Of this ISA and number of threads, or NULL. */
const alone_exponent *alone_find(const alone_fit *fit, const char *isa, int threads);

/* Is it certain that neighbours slow these kernels down? */
bool alone_is_used(const alone_exponent *exponent);

/* Cycles per call of a cell's samples, alone; count >= 1. All zero, not bounded, where the clock or
 * the issue rate is not known of every sample. */
stats_median alone_cycles(const alone_fit *fit, const alone_cell *cell);

#endif
