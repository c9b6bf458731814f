/* conform.h: does a kernel give the outputs that a case expects? */
#ifndef VERIFY_CONFORM_H
#define VERIFY_CONFORM_H

#include "verify/case.h"

typedef enum conform_status { CONFORM_PASS, CONFORM_FAIL, CONFORM_UNSUPPORTED } conform_status;

typedef struct conform_result {
    conform_status status;
    char reason[256]; /* of a failure or a refusal; empty on a pass */
    double worst;     /* largest |got - want| / allowed; INFINITY if the class differs */
    char at[96];      /* where: "Y[0, 1, 2, 3]"; empty if no element was compared */
    int64_t compared; /* elements */
} conform_result;

/* Runs the kernel on a case that was read with its expected outputs, with `threads` >= 1 threads,
 * and judges every element: the class (NaN, +inf, -inf, finite) must be the same and |got - want|
 * <= allowed. Allowed is rtol |want| + atol if the case has either; otherwise the bound that
 * reference/bound.c derives for the kernel's claims, plus the rounding of the stored type. Outputs
 * are filled with a NaN of their own (REF_CANARY) first; one that is still there afterwards fails.
 * A kernel that claims determinism must give the same bits with another number of threads.
 * Overwrites the outputs' `got`. */
conform_result conform_check(case_record *record, const attn_kernel *kernel, int threads);

/* The same in a process of its own: a crash, hang or exit fails the case. Leaves `got` alone. */
conform_result conform_check_apart(case_record *record, const attn_kernel *kernel, int threads);

/* Runs the kernel once; fills the outputs' `got`, without the storage's rounding. */
attn_status conform_run(case_record *record, const attn_kernel *kernel, int threads,
                        attn_error *error);

#endif
