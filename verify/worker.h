/* worker.h: a process in which a kernel may crash, hang or exit without taking the run along.
 *
 * One worker serves one kernel, case after case, and is started again after a death. It is forked
 * from a process that has not used OpenMP, and uses OpenMP itself: a runtime's threads do not
 * survive a fork. */
#ifndef VERIFY_WORKER_H
#define VERIFY_WORKER_H

#include "verify/verify.h"

typedef struct worker worker;

/* Called in the worker, once after each start: gives the kernel, or NULL and a reason. */
typedef const attn_kernel *worker_open(const void *context, char *reason, size_t size);

enum { WORKER_SECONDS = 30 }; /* the usual limit */

/* A worker that is not started yet; NULL if memory is short. A case
 * hangs after `seconds` of CPU time (more for large cases), or ten of sleep. */
worker *worker_new(worker_open *open, const void *context, double seconds);

/* verify_check in the worker. Death, hang and exit are failures of the report: VERIFY_DEATH (with
 * signal, address and the nearest tensor) or VERIFY_WATCHDOG. */
verify_report worker_check(worker *w, const verify_case *which, verify_options options);

/* Calls job(context, result) once, in a process of its own, which is a copy of this one, and copies
 * `bytes` of its result back. False if it died or hung; `how` then says so, as worker_check. */
typedef void worker_job(void *context, void *result);
bool worker_call(worker_job *job, void *context, void *result, size_t bytes, double seconds,
                 verify_report *how);

/* Name of the kernel; empty before the first case. Owned by the worker. */
const char *worker_kernel_name(const worker *w);

/* Times the worker was started. */
int worker_starts(const worker *w);

void worker_free(worker *w);

#endif
