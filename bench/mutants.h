/* mutants.h: the mutants through the suite, as text and JSON. */
#ifndef BENCH_MUTANTS_H
#define BENCH_MUTANTS_H

#include <jansson.h>

#include "verify/mutation.h"

typedef enum mutants_mode {
    MUTANTS_BRIEF,   /* each to its first failure; one line, and what lives that must not */
    MUTANTS_MATRIX,  /* all cases; which feature kills which mutant */
    MUTANTS_ABLATION /* the same, and what would live without each feature */
} mutants_mode;

/* Runs all, or the one called `name`, and prints; returns {"killed": n, "survived": [names],
 * "false_alarms": [names of equivalent mutants that failed], "not_applicable": n, "replays":
 * [options that show each death again]}; what survived holds the false alarms too. */
json_t *mutants_run(const verify_case *cases, int count, mutants_mode mode, uint64_t without,
                    const char *name);

#endif
