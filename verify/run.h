/* run.h: one run of a check, and what is asked of the kernel after its first call. For verify/. */
#ifndef VERIFY_RUN_H
#define VERIFY_RUN_H

#include "verify/cage.h"
#include "verify/judge.h"

/* A check's cage, scratch, and the outputs of the first call. */
typedef struct run {
    check c;
    cage *cage; /* NULL on the heap */
    ref_inputs *in;
    char *scratch;
    int64_t scratch_bytes; /* of all threads */
    int threads, most_threads;
    bool keeps_scratch; /* the next call finds it as the last one left it */
    void *first[3];     /* copies of the memory of out, lse and weights */
} run;

/* The memory of output 0 = out, 1 = lse, 2 = weights. */
const ref_buffer *run_buffer(const run *r, int output);
extern const char *const run_output_names[3];

/* Poisons the outputs and runs the kernel on the run's inputs, or on another problem and tensors
 * with the same outputs; watches what it leaves behind. False, and a failure, if it did not run. */
bool run_call(run *r, int threads, verify_report *report);
bool run_call_on(run *r, const attn_problem *p, const attn_tensors *t, verify_report *report);

/* The same call by another kernel, in one thread. */
bool run_call_by(run *r, const attn_kernel *kernel, verify_report *report);

/* Relations whose results have the same bits, for kernels that claim `deterministic`: other values,
 * the same call again; other threads, another order. They leave the inputs as they were. */
void check_repeated(run *r, verify_report *report);
void check_rearranged(run *r, verify_report *report);

/* Fails `part` unless every row has the bits that the row on the other side had in the first call;
 * bit (1 << axis) of `turned` for every axis that was turned around, 0 for none. */
void run_compare_rows(const run *r, unsigned turned, verify_part part, const char *what,
                      verify_report *report);

/* Every slice alone with its rows of the outputs, and pages that nobody may touch around them. The
 * bits are compared if the kernel claims `deterministic`. */
void check_slices(run *r, verify_report *report);

/* As cage_describe, for the pages around those rows; false if the address is on none. */
bool slices_describe(const void *address, char *text, size_t size);

/* NaN in a row of Q, and in one number of K or V of a key that it sees. Leaves the inputs as they
 * were. */
void check_nan(run *r, verify_report *report);

/* One value changed in place, right after the first call. Leaves the inputs as they were. */
void check_edited(run *r, verify_report *report);

/* One of the relations between keys, within the bounds of both calls. Leaves the inputs changed. */
void check_keys(run *r, verify_report *report);

/* Other values in the same memory. Leaves the inputs changed. */
void check_rewritten(run *r, verify_report *report);

/* ---- tensors of any shape ------------------------------------------------------------- */

/* An input as [batch, head, row, key] of elements; an axis that it does not have, or along which it
 * is broadcast, has size 1. Sizes and strides of elements in bytes. */
enum { AXIS_BATCH, AXIS_HEAD, AXIS_ROW, AXIS_KEY, AXES };
typedef struct axes {
    char *data;
    int64_t size[AXES], stride[AXES], bytes;
} axes;
enum {
    AXES_Q,
    AXES_K,
    AXES_V,
    AXES_MASK,
    AXES_BIAS,
    AXES_LENS,
    AXES_OFFSETS,
    AXES_SLOPES,
    AXES_SINKS,
    AXES_TENSORS
};

/* The inputs of a problem; what it does not have is empty (data NULL). */
void axes_of(const attn_problem *p, const attn_tensors *t, axes list[AXES_TENSORS]);

/* The element at [batch, head, row, key]; an axis of size 1 has one element for all. */
char *axes_at(const axes *x, const int64_t place[AXES]);

/* Turns every tensor around along the axes of `mask` (bit 1 << axis): what was first is last. */
void axes_mirror(const axes list[AXES_TENSORS], unsigned mask);

/* A contiguous copy with all keys twice, one after the other; malloc'ed data, NULL if memory is
 * short. */
axes axes_doubled(axes x);

#endif
