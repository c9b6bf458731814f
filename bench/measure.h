/* measure.h: how long does a kernel take, compared fairly?
 *
 * A group is one problem on one number of threads; its arms are the kernels that can compute it.
 * Arms are timed in rounds: every round takes one sample of every arm, in an order that is balanced
 * over rounds. A sample is a batch of calls, the same number for every arm. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "kernels/attention.h"
#include "verify/verify.h"

enum { MEASURE_LEAST_ROUNDS = 6, MEASURE_MOST_ROUNDS = 30, MEASURE_ARMS = 64 };

typedef struct measure_arm {
    const attn_kernel *kernel; /* NULL in unused places */
    verify_report
        verdict;         /* of the timed inputs, judged before the first and after the last round */
    double call_seconds; /* one call while planning; what the budget is divided by */
    bool prepared;       /* verdict and dropped are set */
    const char *dropped; /* why it is not measured, or NULL */
    int64_t scratch_bytes;              /* per thread, as the kernel asks */
    double ns[2 * MEASURE_MOST_ROUNDS]; /* per call, one per clean round */
} measure_arm;

typedef struct measure_group {
    attn_problem problem;
    char key[192];
    int threads;
    uint64_t seed;
    measure_arm arms[MEASURE_ARMS];
    int arm_count;
    double flops;     /* of one call: 2 (qk_dim + v_dim) per pair that these inputs leave visible */
    int calls;        /* per sample */
    int rounds;       /* planned */
    int clean, dirty; /* measured, and dropped for a recorded cause */
    double read_gbps; /* of a buffer as large as Q, K, V and O, measured around the rounds */
    int sham;         /* the arm that is also timed as a stranger; -1 if none */
    double sham_ns[2 * MEASURE_MOST_ROUNDS];
} measure_group;

/* Checks every arm on the inputs that will be timed (64 rows by the bound, all rows by the gather
 * probe), times one call, and marks what cannot be measured. Bytes beyond `memory` are refused
 * before they are allocated. */
void measure_prepare(measure_group *group, int64_t memory);

/* Divides `seconds` over the groups: rounds for each, and arms dropped that cannot have
 * MEASURE_LEAST_ROUNDS. fixed_rounds > 0 sets the rounds instead. Returns the planned seconds. */
double measure_plan(measure_group *groups, int count, double seconds, int fixed_rounds);

/* Times the group's rounds until done or `stop`, asked before each, answers true; then judges the
 * outputs again. */
void measure_run(measure_group *group, bool (*stop)(const measure_group *, int round));

/* Seconds that one round of this group takes. */
double measure_round_seconds(const measure_group *group);

#endif
