/* conform_table.h: verdicts of `attest conform` as a markdown page. */
#ifndef BENCH_CONFORM_TABLE_H
#define BENCH_CONFORM_TABLE_H

#include <jansson.h>
#include <stddef.h>

/* `report` is the JSON of conform: case by case, the results of the same `kernels` kernels. Returns
 * *size bytes to be freed, or NULL if memory is short. */
char *conform_table(const json_t *report, size_t kernels, const json_t *machine, size_t *size);

#endif
