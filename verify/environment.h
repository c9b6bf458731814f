/* environment.h: what a kernel must leave as it found it, besides memory. */
#ifndef VERIFY_ENVIRONMENT_H
#define VERIFY_ENVIRONMENT_H

#include <signal.h>

#include "verify/judge.h"

typedef struct environment {
    sigset_t signals;
    int files; /* open descriptors below 256 */
} environment;

environment environment_now(void);

/* Fails the parts ROUNDING, SUBNORMALS, SIGNALS and FILES where something differs from `before`,
 * and mends rounding, subnormals and signals, so that the next case is judged fairly. */
void environment_compare(const check *c, const environment *before, verify_report *r);

/* Bytes in use on the heap. */
size_t environment_heap(void);

#endif
