/* case_ops.h: what a builder of an operator has at hand. Only case*.c include this.
 *
 * A builder turns the inputs and attributes of a record into its problem, tensors and outputs.
 * Functions that return bool have filled the error when they return false. */
#ifndef VERIFY_CASE_OPS_H
#define VERIFY_CASE_OPS_H

#include "verify/case.h"

/* Names are separated by spaces; those that end in '?' are optional, # is any whole number. */
typedef struct case_op {
    const char *name, *attributes, *inputs, *outputs;
    case_status (*build)(case_record *, npy_error *);
} case_op;

extern const case_op case_ops[];
extern const int case_op_count;

case_status case_build_attention(case_record *record, npy_error *error);  /* case_onnx.c */
case_status case_build_decoder(case_record *record, npy_error *error);    /* case_decoder.c */
case_status case_build_self(case_record *record, npy_error *error);       /* case_layers.c */
case_status case_build_multi_head(case_record *record, npy_error *error); /* case_layers.c */
case_status case_build_encoder(case_record *record, npy_error *error);    /* case_encoder.c */

/* "case <name>: ...", without the first word if there is no case.json; returns false. */
__attribute__((format(printf, 3, 4))) bool case_fail(const case_record *record, npy_error *error,
                                                     const char *format, ...);

/* Is `name` one of the words of a list as in case_op? */
bool case_listed(const char *list, const char *name);

/* Memory that lives as long as the record, or NULL with the error filled. At least one byte. */
void *case_alloc(case_record *record, int64_t count, int64_t element_bytes, npy_error *error);

/* NULL if the case has no such tensor. */
const npy_array *case_find_input(const case_record *record, const char *name);
case_output *case_find_output(case_record *record, const char *name);

/* An attribute, or `otherwise` if it is absent. */
json_t *case_attribute(const case_record *record, const char *name);
bool case_int(const case_record *record, const char *name, int64_t otherwise, int64_t low,
              int64_t high, int64_t *value, npy_error *error);
bool case_number(const case_record *record, const char *name, float otherwise, float *value,
                 npy_error *error);

/* A tensor as [batch, heads, len, dim], whatever its layout in the file. */
typedef struct case_view {
    const char *name;
    const npy_array *array;
    int64_t batch, heads, len, dim;
    attn_input at;
} case_view;

/* Fills view->at.data with the array's values, which must be of a float type; float32 is not
 * copied, float64 is rounded. */
bool case_values(case_record *record, case_view *view, npy_error *error);

/* The values of a float input that must have this shape, in which -1 is any size; NULL with the
 * error filled otherwise, also if there is no such input. */
const float *case_floats(case_record *record, const char *name, int rank, const int64_t *shape,
                         npy_error *error);

/* Do K and V fit Q (batch, dim, heads, len)? */
bool case_check_views(const case_record *record, const case_view *q, const case_view *k,
                      const case_view *v, npy_error *error);

/* Sizes and views into problem and tensors; the other fields of the problem become those of
 * attn_problem_make. */
void case_set_views(case_record *record, const case_view *q, const case_view *k,
                    const case_view *v);

/* attn_mask: rank 1 to 4, bool (true = takes part) or a number (added), broadcast to the problem's
 * [batch, q_heads, q_len, kv_len]. As in ONNX's reference a last dimension shorter than the keys
 * hides the others. */
bool case_set_mask(case_record *record, const char *name, const npy_array *mask, npy_error *error);

/* Gives an output its role after checking rank, shape and type (NPY_TYPES: any float type) against
 * the declaration, and memory. An output that the case does not have is fine; then *output is NULL.
 */
bool case_bind(case_record *record, const char *name, case_role role, npy_type type, int rank,
               const int64_t *shape, case_output **output, npy_error *error);

#endif
