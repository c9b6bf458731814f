/* encoder.c: layer norm, activation, and the post-norm encoder.
 *
 * Norm and activation are a few percent of an encoder's time; they are plain loops that the
 * compiler vectorises where the order of a sum is left open to it. */
#include <math.h>
#include <string.h>

#include "kernels/layers/layer.h"

void attn_norm_run(const attn_norm *norm, int64_t rows, float *x)
{
    int64_t size = norm->size;
    for (float *row = x; row < x + rows * size; row += size) {
        float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < size; i++) sum += row[i];
        float mean = sum / (float)size;
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < size; i++) squares += (row[i] - mean) * (row[i] - mean);
        float factor = 1 / sqrtf(squares / (float)size + norm->epsilon);
        for (int64_t i = 0; i < size; i++)
            row[i] = (row[i] - mean) * factor * norm->gain[i] + norm->bias[i];
    }
}

void attn_activate(attn_activation activation, int64_t count, float *x)
{
    const float root_half = 0x1.6a09e6p-1f; /* 1/sqrt(2) = 0.70710677 */
    if (activation == ATTN_GELU)
        for (int64_t i = 0; i < count; i++) x[i] = 0.5f * x[i] * (1 + erff(x[i] * root_half));
    else
        for (int64_t i = 0; i < count; i++) x[i] = x[i] > 0 || isnan(x[i]) ? x[i] : 0;
}

static void add(int64_t count, const float *x, float *to)
{
    for (int64_t i = 0; i < count; i++) to[i] += x[i];
}

/* ---- the encoder ----------------------------------------------------------------- */

/* Workspace: the multi-head's, or the hidden layer; and a tensor like y. */
int64_t attn_encoder_floats(const attn_block *block, const attn_problem *p)
{
    int64_t heads = attn_multi_head_floats(&block->attention, p), rows, hidden, size;
    if (heads == INT64_MAX || __builtin_mul_overflow(p->batch, p->q_len, &rows) ||
        __builtin_mul_overflow(rows, block->up.out, &hidden) ||
        __builtin_mul_overflow(rows, block->down.out, &size) ||
        __builtin_add_overflow(heads > hidden ? heads : hidden, size, &size))
        return INT64_MAX;
    return size;
}

static attn_status check_block(const attn_block *b, const attn_problem *p, attn_error *error)
{
    int64_t size = b->attention.query.in;
    attn_status status = layer_check_multi_head(&b->attention, p, error);
    if (status == ATTN_OK)
        status = layer_check_linear(&b->attention.key, "key", size, b->attention.key.out, error);
    if (status == ATTN_OK)
        status =
            layer_check_linear(&b->attention.value, "value", size, b->attention.value.out, error);
    if (status == ATTN_OK)
        status =
            layer_check_linear(&b->attention.output, "output", b->attention.output.in, size, error);
    if (status == ATTN_OK) status = layer_check_linear(&b->up, "up", size, b->up.out, error);
    if (status == ATTN_OK) status = layer_check_linear(&b->down, "down", b->up.out, size, error);
    if (status != ATTN_OK) return status;
    if (b->attention_norm.size != size || b->feed_norm.size != size)
        return layer_fail(error, ATTN_INVALID, "the norms have sizes %lld and %lld; expected %lld",
                          (long long)b->attention_norm.size, (long long)b->feed_norm.size,
                          (long long)size);
    if (p->q_len != p->kv_len)
        return layer_fail(error, ATTN_INVALID,
                          "an encoder attends to itself: kv_len is %lld, q_len %lld",
                          (long long)p->kv_len, (long long)p->q_len);
    return ATTN_OK;
}

static attn_status run_block(const attn_block *block, const attn_layer_call *call,
                             attn_error *error)
{
    int64_t rows = call->problem->batch * call->problem->q_len, count = rows * block->down.out;
    float *x = call->y, *y = call->workspace, *hidden = y + count;
    attn_layer_call inside = *call;
    inside.query = inside.key = inside.value = x;
    inside.y = y, inside.workspace = hidden;
    inside.rows_first = false;
    attn_status status = attn_multi_head_run(&block->attention, &inside, error);
    if (status != ATTN_OK) return status;
    add(count, y, x);
    attn_norm_run(&block->attention_norm, rows, x);
    status = attn_linear_run(&block->up, rows, x, hidden, error);
    if (status != ATTN_OK) return status;
    attn_activate(block->activation, rows * block->up.out, hidden);
    status = attn_linear_run(&block->down, rows, hidden, y, error);
    if (status != ATTN_OK) return status;
    add(count, y, x);
    attn_norm_run(&block->feed_norm, rows, x);
    return ATTN_OK;
}

attn_status attn_encoder_run(const attn_block *blocks, int count, const attn_layer_call *call,
                             attn_error *error)
{
    const attn_problem *p = call->problem;
    attn_status status = ATTN_OK;
    for (int b = 0; b < count && status == ATTN_OK; b++) status = check_block(&blocks[b], p, error);
    if (status != ATTN_OK || count < 1) return status;
    memcpy(call->y, call->query,
           (size_t)(p->batch * p->q_len * blocks[0].down.out) * sizeof *call->y);
    for (int b = 0; b < count && status == ATTN_OK; b++)
        status = run_block(&blocks[b], call, error);
    return status;
}
