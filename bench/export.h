/* export.h: a result file in the formats of other tools. */
#ifndef BENCH_EXPORT_H
#define BENCH_EXPORT_H

#include <jansson.h>
#include <stdio.h>

/* Writes `run` (schema 1, checked by export_check) to `file`. */
typedef void export_function(const json_t *run, FILE *file);

typedef struct export_format {
    const char *name, *what;
    export_function *write;
} export_format;

extern const export_format export_formats[]; /* ended by a NULL name */

/* Why this JSON is not a result file that can be exported, or NULL. */
const char *export_check(const json_t *run);

#endif
