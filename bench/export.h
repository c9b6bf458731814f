/* export.h: a result file in the formats of other tools. */
#ifndef BENCH_EXPORT_H
#define BENCH_EXPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* Writes `run` (schema 1, checked by export_check) to `file`. Void results have no time, so that
 * only the formats with words for it (markdown) mention them. */
typedef void export_function(const json_t *run, FILE *file);

typedef struct export_format {
    const char *name, *what;
    export_function *write;
} export_format;

extern const export_format export_formats[]; /* ended by a NULL name */

/* Is this JSON a result file that every format can hold? Otherwise `why` says what is wrong and
 * what would be legal: names stand on one line, are at most EXPORT_NAME_MOST bytes long and differ
 * from each other, times are numbers above 0. */
bool export_check(const json_t *run, char *why, size_t size);

/* "attn/<kernel>/<problem>/threads:<n>/real_time": what a result is called in google-benchmark's
 * terms, and in the other formats that want one name. */
enum { EXPORT_NAME_MOST = 256, EXPORT_FULL_NAME = 2 * EXPORT_NAME_MOST + 64 };
void export_name(const char *kernel, const char *problem, long long threads,
                 char name[EXPORT_FULL_NAME]);

#endif
