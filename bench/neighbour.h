/* neighbour.h: does somebody else compute on our cores?
 *
 * Two hardware threads of a core share its slots for instructions. A virtual machine that was given
 * one of the two is told nothing of the other: no time is stolen, no pressure shows, the clock
 * stands, and yet its kernels take up to 1.9 times as long. What it can see is how many
 * instructions that wait for nothing its cores complete in a clock: half of the usual number while
 * a neighbour computes as well. */
#ifndef BENCH_NEIGHBOUR_H
#define BENCH_NEIGHBOUR_H

/* What the cores give us now, mean over threads. */
typedef struct neighbour_reading {
    double issue;     /* no-ops per clock that a core completes */
    double clock_ghz; /* of dependent additions, which neighbours do not slow */
} neighbour_reading;

/* Reads both on `threads` threads of this process at once; takes some 15 microseconds. Both 0 where
 * the clock source is too coarse for that. */
neighbour_reading neighbour_read(int threads);

/* Of `looks` at one core, evenly over `seconds`, the share that found less than 90 % of its most;
 * looks >= 1. 0 if memory is short. */
double neighbour_shared_looks(int looks, double seconds);

#endif
