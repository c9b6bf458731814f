/* layer.h: what the files of this folder share. */
#ifndef LAYERS_LAYER_H
#define LAYERS_LAYER_H

#pragma GCC visibility push(default) /* what the header declares, and nothing else */
#include "kernels/layers/attention_layer.h"
#pragma GCC visibility pop

/* Fills *error (which may be NULL) and returns `status`. */
__attribute__((format(printf, 3, 4))) attn_status layer_fail(attn_error *error, attn_status status,
                                                             const char *format, ...);

/* Does a linear layer have these sizes? `name` says which it is in the message. */
attn_status layer_check_linear(const attn_linear *layer, const char *name, int64_t in, int64_t out,
                               attn_error *error);

/* Do the projections fit the problem? */
attn_status layer_check_multi_head(const attn_multi_head *layer, const attn_problem *problem,
                                   attn_error *error);

#endif
