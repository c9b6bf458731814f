/* verify.h: is this kernel right? One check of one kernel on one case, and the table of cases. */
#ifndef VERIFY_H
#define VERIFY_H

#include "kernels/attention.h"
#include "reference/reference.h"

/* A problem, what its values look like, how they lie in memory, and the seed that makes them. */
typedef struct verify_case {
    attn_problem problem;
    ref_distribution inputs;
    ref_layout layout;
    uint64_t seed;
} verify_case;

typedef enum verify_status { VERIFY_PASS, VERIFY_FAIL, VERIFY_SKIP } verify_status;

/* The verdict, and the element that used most of its bound. */
typedef struct verify_report {
    verify_status status;
    char reason[320]; /* why it failed or was skipped; empty on a pass */
    double share;     /* |got - want| / bound of the worst element; infinity if its class differs */
    const char *output; /* "out", "lse" or "weights" */
    ref_place at;
    int64_t column;
    double got, want, bound;
    ref_term term;       /* what dominates the bound there */
    double max_error;    /* largest |got - want| over finite elements of out */
    int64_t rows;        /* rows that were judged */
    int64_t compared;    /* elements that were judged */
    int64_t live, zeros; /* elements of out in rows that see a key; how many of them should be 0 */
    double low, high;    /* range of what these should be */
} verify_report;

typedef struct verify_options {
    int threads;  /* of the kernel's run, >= 1 */
    int64_t rows; /* query rows to judge; 0 = all, else spread evenly from first to last */
    bool repeat;  /* also compare the bits of a second run with other threads */
} verify_options;

/* Runs the kernel on the case and judges what it wrote. What is checked, in this order:
 *   1. the kernel accepts the problem (else skipped) and returns ATTN_OK;
 *   2. the rounding mode is as before, subnormals are not flushed, its inputs are as before;
 *   3. its claims are not looser than any correct kernel needs;
 *   4. nothing outside its outputs was written, and every element inside was;
 *   5. every judged element has the class of the truth and is within the derived bound, or, for the
 *      inputs "gather" and "uniform", equals the answer that needs no reference (4u|v| and 2u|o|);
 *   6. all elements were compared, and the truth is not vacuous: equal everywhere or mostly zeros
 *      (else skipped: that proves nothing);
 *   7. a kernel that claims determinism gives the same bits with another number of threads. */
verify_report verify_check(const attn_kernel *kernel, const verify_case *which,
                           verify_options options);

/* Checks 3 to 6, on outputs that the kernel has already written to
 * `inputs` (which were poisoned before). For callers that run the kernel themselves. */
verify_report verify_outputs(const attn_kernel *kernel, const verify_case *which,
                             const ref_inputs *inputs, int64_t rows);

/* The cases of a suite ("quick") for this seed. Returns a malloc'ed array of *count cases, NULL for
 * an unknown name. */
verify_case *verify_suite(const char *suite, uint64_t seed, int *count);

/* All inputs and layouts that make sense for one problem; appended to *cases (realloc'ed). */
void verify_add_problem(const attn_problem *problem, uint64_t seed, verify_case **cases,
                        int *count);

/* The options of `attest verify` that run exactly this case, e.g. "--problems q5d3 --inputs gather
 * --layout gaps --seed 7". */
void verify_replay(const verify_case *which, char *text, size_t size);

#endif
