/* result_alone.h: what clock and neighbours did around the samples, for the result file. */
#ifndef BENCH_RESULT_ALONE_H
#define BENCH_RESULT_ALONE_H

#include "bench/alone.h"
#include "bench/result.h"

/* Fits all timed arms of a run; an empty fit if memory is short. */
alone_fit result_fit(const result_run *run);

/* Adds to the entry of a timed arm "alone_cycles" with "alone_low" and "alone_high", and a number
 * for every one of its samples in "issue_per_clock" and "clocks_ghz"; null and nothing where these
 * are not known of all. */
void result_add_alone(json_t *entry, const alone_fit *fit, const measure_group *group,
                      const measure_arm *arm);

/* The share of a run's samples whose cores were left less than 90 % of their issue slots; NaN
 * without a sample. */
double result_shared(const result_run *run, const alone_fit *fit);

/* {"shared": result_shared(), "exponents": [{"isa", "threads", "issue_per_clock": of cores that
 * nobody shares, "exponent", "low", "high", "pairs", "used"}]}. New reference. */
json_t *result_neighbours(const result_run *run, const alone_fit *fit);

#endif
