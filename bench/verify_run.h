/* verify_run.h: one run of `attest verify`: what is judged on what, and what came of it. */
#ifndef BENCH_VERIFY_RUN_H
#define BENCH_VERIFY_RUN_H

#include <jansson.h>

#include "verify/worker.h"

/* What is judged: a kernel of the table, a mutant, or a plug-in, and how a replay line names it. */
typedef struct subject {
    worker_open *open;
    const void *context;
    const attn_kernel *kernel; /* of the table, else NULL */
    const char *option, *name;
} subject;

typedef struct verify_run {
    subject subjects[256];
    int subject_count;
    verify_case *cases;
    int case_count;
    int64_t seed, threads, seconds;
    uint64_t without;
    bool tap, suite, all_kernels; /* suite: the cases are one, not --problems */
    json_t *mutants;              /* NULL if they did not run */
    int passed, failed, skipped, warned, printed, shrunk;
    json_t *skips;   /* reason -> number of skipped cases */
    json_t *results; /* NULL if not wanted */
    double worst; /* largest share of the bound that passed, and what dominates the bound there */
    ref_term worst_term;
} verify_run;

/* Judges the case in the worker, as the run's options say. */
verify_report run_check(const verify_run *s, worker *w, const verify_case *c);

/* Counts the verdict and prints it; a failure is first reduced, which runs the worker again. */
void run_report(verify_run *s, worker *w, const subject *one, const verify_case *c,
                const verify_report *r);

/* Why cases were skipped, a line of text for each reason, the commonest first. */
void run_print_skips(const verify_run *s);

#endif
