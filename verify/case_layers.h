/* case_layers.h: what the builders of attention with projections share. Only case_*.c include this.
 *
 * Functions that return bool have filled the error when they return false. */
#ifndef VERIFY_CASE_LAYERS_H
#define VERIFY_CASE_LAYERS_H

#include "verify/case_ops.h"

extern const char case_projections[]; /* a record's no_bound */

/* Fills a linear layer from two inputs; without the bias's input, or with NULL, it has no bias. */
bool case_linear(case_record *record, const char *weight, const char *bias, int64_t in, int64_t out,
                 attn_linear *linear, npy_error *error);

/* A problem whose heads share `size`, attribute num_heads of them. */
bool case_set_heads(case_record *record, int64_t batch, int64_t q_len, int64_t kv_len, int64_t size,
                    npy_error *error);

/* key_padding_mask [batch, keys], true = padding, becomes the problem's mask, if there is one. */
bool case_set_key_padding(case_record *record, npy_error *error);

/* The rows of query, key and value in one weight [3 size, size], and the output projection. names:
 * weight and bias of both. */
bool case_packed_heads(case_record *record, const char *const names[4], int64_t size,
                       attn_multi_head *layer, npy_error *error);

/* One multi-head attention and its tensors. */
typedef struct case_heads {
    attn_multi_head layer;
    const float *query, *key, *value;
    bool rows_first;
    float *y, *workspace;
} case_heads;

/* Finds workspace and makes the layer the record's run; CASE_UNSUPPORTED without a BLAS. */
case_status case_finish_heads(case_record *record, case_heads *heads, npy_error *error);

#endif
