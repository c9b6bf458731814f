/* result.h: the native result file, the only truth; everything else is made from it. */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

#include <jansson.h>

#include "bench/measure.h"

/* The best rate seen in this run for one ISA and thread count. */
typedef struct result_peak {
    const char *isa;
    int threads;
    double gflops;
} result_peak;

typedef struct result_read {
    int threads;
    double gbps;
} result_read;

typedef struct result_run {
    json_t *machine; /* machine_record() from before the run; borrowed */
    const measure_group *groups;
    int group_count;
    const result_peak *peaks;
    int peak_count;
    const result_read *reads;
    int read_count;
    json_t *roofs;      /* roof_of_machine(), or NULL; borrowed */
    const char *preset; /* or NULL */
    char **argv;
    int argc;
    uint64_t seed;
    double seconds, check_seconds; /* of the whole run; of its checks before the rounds */
    bool interrupted;
} result_run;

/* Q, K, V and O once, 4 bytes each. */
double result_bytes(const attn_problem *problem);

/* 95th percentile over groups of |median of ln(sham / twin)|; negative if there is none. */
double result_noise_floor(const result_run *run);

/* The smallest difference that this run may claim: the larger of 1 % and the noise floor. */
double result_smallest_effect(const result_run *run);

/* Clean and dirty rounds of all groups. */
void result_rounds(const result_run *run, int *clean, int *dirty);

/* "valid"; "undecided" if the sham has no interval or one beyond +-1 % in some group, if more
 * than 20 % of the rounds were dirty, or if a kernel seems to be above 102 % of its roof; "void"
 * if nothing was verified and measured. */
const char *result_verdict(const result_run *run);

/* The whole file (interface: schema 1). New reference. */
json_t *result_json(const result_run *run);

/* What every result file says of its program, and of its time (UTC). New references. */
json_t *result_tool(void);
json_t *result_date(void);

/* Every arm is exactly one of: timed, void (it failed its check), or skipped (with a reason;
 * else NULL). */
bool result_is_timed(const measure_group *group, const measure_arm *arm);
bool result_is_void(const measure_arm *arm);
const char *result_skipped(const measure_group *group, const measure_arm *arm);

/* One timed arm's summary, for the table on the terminal. */
typedef struct result_line {
    double median_ns, low_ns, high_ns, least_ns, gflops, peak_gflops, peak_fraction, gbps,
        read_gbps, read_fraction;
    bool bounded;
} result_line;
result_line result_of(const result_run *run, const measure_group *group, const measure_arm *arm);

#endif
