/* attention_layer.h: how is attention used inside a model?
 *
 *     head h:      O_h = attention(x Wq_h^T + bq_h, m Wk_h^T + bk_h, v Wv_h^T + bv_h)
 *     multi-head:  y = [O_1 ... O_H] Wo^T + bo
 *     block:       a = norm(x + multi-head(x));  y = norm(a + W2 act(W1 a + b1) + b2)
 *
 * Multi-head attention with projections and the post-norm encoder of Vaswani et al. 2017
 * ("Attention is all you need", 3.1 to 3.3), as BERT and torch.nn.TransformerEncoder have it,
 * around any kernel of attention.h. Matrix products are those of a BLAS; a build without one has
 * every function here, and those that need a product return ATTN_UNSUPPORTED.
 *
 * All data is float32, row-major and without gaps. Nothing is allocated: the caller owns the
 * workspace. Calls are thread-safe as long as they do not share outputs or workspace. When a call
 * does not return ATTN_OK, `error` names what was wrong; outputs are then undefined. */
#ifndef ATTENTION_LAYER_H
#define ATTENTION_LAYER_H

#include "kernels/attention.h"

#ifdef __cplusplus
extern "C" {
#endif

/* NULL if this build has a BLAS, else "built without BLAS". */
const char *attn_blas_missing(void);

/* What computes the products, e.g. "OpenBLAS 0.3.21 ... Haswell ..."; "none" without a BLAS. */
const char *attn_blas_name(void);

/* y = x weight^T + bias, as in torch.nn.Linear. weight NULL is the identity. */
typedef struct attn_linear {
    const float *weight; /* [out, in] */
    const float *bias;   /* [out], or NULL */
    int64_t in, out;
} attn_linear;

/* x [rows, in] -> y [rows, out], which may not overlap x. An identity copies. The product runs on
 * one thread, so that the same x gives the same bits whatever else the process does. ATTN_INVALID
 * if a size is beyond 2^31 - 1, the largest that CBLAS takes. */
attn_status attn_linear_run(const attn_linear *layer, int64_t rows, const float *x, float *y,
                            attn_error *error);

/* (x - mean) / sqrt(variance + epsilon) * gain + bias over the last dimension (Ba et al. 2016). */
typedef struct attn_norm {
    const float *gain, *bias; /* [size] */
    int64_t size;
    float epsilon;
} attn_norm;

/* x [rows, size], in place. */
void attn_norm_run(const attn_norm *norm, int64_t rows, float *x);

/* max(x, 0), or x Phi(x) with the true error function (Hendrycks and Gimpel 2016), not its tanh
 * form. */
typedef enum attn_activation { ATTN_RELU, ATTN_GELU } attn_activation;

/* x [count], in place. */
void attn_activate(attn_activation activation, int64_t count, float *x);

/* What computes the attention inside a layer: gets complete tensors, returns as attn_run does. A
 * caller that wants to time it, to look at its weights or to put another algorithm there brings its
 * own function. */
typedef struct attn_inner {
    attn_status (*run)(void *context, const attn_problem *problem, const attn_tensors *tensors,
                       attn_error *error);
    void *context;
} attn_inner;

/* The usual one. context is an attn_inner_context. */
typedef struct attn_inner_context {
    const attn_kernel *kernel;
    attn_exec exec;
} attn_inner_context;
attn_status attn_inner_run(void *context, const attn_problem *problem, const attn_tensors *tensors,
                           attn_error *error);

/* Head h has rows h * size to (h + 1) * size of each projection. query.out is q_heads * qk_dim,
 * key.out kv_heads * qk_dim, value.out kv_heads * v_dim, output.in q_heads * v_dim. */
typedef struct attn_multi_head {
    attn_linear query, key, value, output;
} attn_multi_head;

/* One call of a layer. Tensors are [batch, len, size], or [len, batch, size] if rows_first
 * (PyTorch's batch_first = False). */
typedef struct attn_layer_call {
    const attn_problem *problem; /* sizes and rules of the attention of the heads */
    const attn_tensors
        *tensors;             /* its optional inputs and outputs; q, k, v, out are not looked at */
    const float *query;       /* [batch, q_len, query.in] */
    const float *key, *value; /* [batch, kv_len, key.in and value.in]; may be one tensor */
    float *y;                 /* [batch, q_len, output.out]; may not overlap anything else */
    bool rows_first;
    float *workspace; /* attn_*_floats() floats */
    attn_inner inner;
} attn_layer_call;

/* Floats of workspace; INT64_MAX if the problem is illegal or the size overflows. */
int64_t attn_multi_head_floats(const attn_multi_head *layer, const attn_problem *problem);

/* Projects, attends, projects. ATTN_INVALID, with nothing written, if a projection does not fit the
 * problem; otherwise what the inner attention or the BLAS answers. */
attn_status attn_multi_head_run(const attn_multi_head *layer, const attn_layer_call *call,
                                attn_error *error);

/* One block of an encoder; x and y are [batch, len, size]. */
typedef struct attn_block {
    attn_multi_head attention;
    attn_norm attention_norm;
    attn_linear up; /* size -> hidden */
    attn_activation activation;
    attn_linear down; /* hidden -> size */
    attn_norm feed_norm;
} attn_block;

int64_t attn_encoder_floats(const attn_block *block, const attn_problem *problem);

/* call->y becomes blocks[count-1](... blocks[0](call->query)); key, value and rows_first are not
 * looked at. All blocks have one shape, and problem and tensors hold for each of them.
 * ATTN_INVALID, with nothing written, if a block does not fit. */
attn_status attn_encoder_run(const attn_block *blocks, int count, const attn_layer_call *call,
                             attn_error *error);

#ifdef __cplusplus
}
#endif
#endif
