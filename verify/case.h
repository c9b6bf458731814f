/* case.h: what does a case directory ask, and what does it expect?
 *
 * A case directory holds case.json {name, op, attributes, inputs, outputs, rtol, atol},
 * in_<name>.npy and out_<name>.npy. Reading one gives a problem, the tensors of attn_run and, for
 * every output, a row-major float array in the shape of the file that the tensors point into:
 * the run fills the outputs in place, in either layout, without a copy afterwards. The operators
 * are the rows of case_ops.c. */
#ifndef VERIFY_CASE_H
#define VERIFY_CASE_H

#include <jansson.h>

#include "kernels/layers/attention_layer.h"
#include "verify/npy.h"

typedef enum case_status {
    CASE_READY,
    CASE_UNSUPPORTED, /* well formed so far, but this version cannot pose it; the error says why */
    CASE_BROKEN       /* the error names case, tensor, what was found and what was expected */
} case_status;

/* Who fills an output: the run (OUT: the result of a layer where there is one), or case_read itself
 * (a copy, like present_key). */
typedef enum case_role { CASE_OUT, CASE_WEIGHTS, CASE_LSE, CASE_COPY } case_role;

typedef struct case_input {
    const char *name;
    npy_array array;
} case_input;

typedef struct case_output {
    const char *name;
    case_role role;
    npy_array want;         /* as declared; data is NULL unless expected outputs were read */
    float *got;             /* [npy_count(&want)] */
    const uint8_t *ignored; /* per row of the last dimension: 1 = not compared; NULL = all are */
} case_output;

enum { CASE_MAX_OUTPUTS = 4 };

/* Strings belong to the JSON. */
typedef struct case_record {
    const char *name, *op;
    attn_problem problem;
    attn_tensors tensors;
    case_input *inputs;
    int input_count;
    case_output outputs[CASE_MAX_OUTPUTS];
    int output_count;
    bool has_tolerance; /* else the derived bound judges */
    double rtol, atol;
    json_t *json;
    void **blocks; /* memory that the tensors point into */
    int block_count;
    /* What surrounds the attention, e.g. projections; NULL if it is attention alone. Calls `inner`
     * with `problem`, once per layer of a model. */
    attn_status (*run)(struct case_record *, const attn_inner *inner, attn_error *);
    void *layer; /* what `run` computes */
    const char
        *no_bound; /* why no bound can be derived, so that the case must bring one; or NULL */
} case_record;

/* Reads folder/case.json and its inputs, with `expected` also its outputs, and validates all of it.
 * The record is to be freed whatever is returned. */
case_status case_read(const char *folder, bool expected, case_record *record, npy_error *error);
void case_free(case_record *record); /* also of a zeroed record */

/* Computes the outputs' `got`, with `inner` in the place of the attention. */
attn_status case_run(case_record *record, const attn_inner *inner, attn_error *error);

/* Plain attention over arrays in memory: rank 2 [len, dim], 3 [heads, len, dim] or 4 [batch, heads,
 * len, dim], float32 or float16, all of one rank. The arrays must outlive the record. */
typedef struct case_arrays {
    const npy_array *q, *k, *v;
    const npy_array *mask;       /* or NULL; bool or float, broadcast like ONNX's attn_mask */
    const attn_problem *problem; /* or NULL: sizes from the shapes, usual scale */
    bool causal;                 /* bottom-right; without a problem */
    bool wants_weights, wants_lse;
} case_arrays;

/* Outputs are named o, weights and lse, in this order, in the type of q. */
case_status case_from_arrays(const case_arrays *arrays, case_record *record, npy_error *error);

#endif
