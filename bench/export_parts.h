/* export_parts.h: what the writers of export formats share. */
#ifndef BENCH_EXPORT_PARTS_H
#define BENCH_EXPORT_PARTS_H

#include "bench/export.h"
#include "bench/member.h"

/* A member's value; 0 if it is missing or of another type. */
double export_real(const json_t *object, const char *key);
long long export_whole(const json_t *object, const char *key);

/* The result's full name. */
void export_result_name(const json_t *result, char name[EXPORT_FULL_NAME]);

/* Calls per sample; 1 in a file that does not say. */
long long export_calls(const json_t *result);

/* Void results have no time. */
bool export_is_timed(const json_t *result);

/* Has the result an interval? Below 6 rounds there is none. */
bool export_is_bounded(const json_t *result);

export_function export_csv, export_markdown, export_benchfmt;
export_function export_gbench, export_gbench_flat, export_bmf, export_gha, export_pyperf;

#endif
