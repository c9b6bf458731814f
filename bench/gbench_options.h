/* gbench_options.h: google-benchmark's options on `attest bench`, so that its tools can drive it.
 *
 *   --benchmark_filter=REGEX         only what is called so: attn/<kernel>/<problem>/threads:<n>/
 *                                    real_time; with a leading "-" all but these
 *   --benchmark_list_tests[=BOOL]    the names, one a line, and nothing measured
 *   --benchmark_repetitions=N        as --rounds
 *   --benchmark_format=console|json  standard output; with json the table goes to standard error
 *   --benchmark_out=FILE             the same JSON as a file
 *   --benchmark_out_format=json
 *   --benchmark_display_aggregates_only=BOOL  nothing to do: the table shows aggregates only
 */
#ifndef BENCH_GBENCH_OPTIONS_H
#define BENCH_GBENCH_OPTIONS_H

#include <regex.h>

#include "bench/measure.h"
#include <jansson.h>

typedef struct gbench_options {
    const char *filter, *list_tests, *repetitions, *format, *out, *out_format, *aggregates;
    regex_t pattern; /* compiled if there is a filter */
    bool negated;
    char rounds[32]; /* the --rounds that stands for the repetitions */
} gbench_options;

/* Takes google-benchmark's options out of argv, and puts --rounds=N in for the repetitions.
 * EXIT_RIGHT, or EXIT_USAGE after one line. */
int gbench_read(gbench_options *o, int *argc, char **argv);
void gbench_free(gbench_options *o); /* after EXIT_RIGHT */

/* Does the filter let this pass? */
bool gbench_wants(const gbench_options *o, const char *kernel, const attn_problem *problem,
                  int threads);

/* Asked for a list instead of a run? gbench_list prints it. */
bool gbench_wants_list(const gbench_options *o);
int gbench_list(const measure_group *groups, int count);

/* Gives standard output to the JSON if it is wanted there; call before printing anything. */
void gbench_reserve(const gbench_options *o);

/* Writes what was asked for of the run, which is borrowed. EXIT_RIGHT or EXIT_USAGE. */
int gbench_write(const gbench_options *o, const json_t *run);
bool gbench_wants_json(const gbench_options *o);

#endif
