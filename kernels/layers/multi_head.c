/* multi_head.c: attention between projections.
 *
 * The heads are columns of the projected rows, so nothing is transposed: the kernel gets strided
 * views. An identity projection is a view of the caller's tensor. */
#include "kernels/layers/layer.h"

/* floats += rows * size, or INT64_MAX. */
static int64_t add_rows(int64_t floats, int64_t rows, int64_t size)
{
    int64_t more, sum;
    if (floats == INT64_MAX || __builtin_mul_overflow(rows, size, &more) ||
        __builtin_add_overflow(floats, more, &sum))
        return INT64_MAX;
    return sum;
}

int64_t attn_multi_head_floats(const attn_multi_head *layer, const attn_problem *p)
{
    int64_t q_rows, kv_rows, floats = 0;
    if (attn_validate(p, NULL, NULL) != ATTN_OK ||
        __builtin_mul_overflow(p->batch, p->q_len, &q_rows) ||
        __builtin_mul_overflow(p->batch, p->kv_len, &kv_rows))
        return INT64_MAX;
    if (layer->query.weight) floats = add_rows(floats, q_rows, layer->query.out);
    if (layer->key.weight) floats = add_rows(floats, kv_rows, layer->key.out);
    if (layer->value.weight) floats = add_rows(floats, kv_rows, layer->value.out);
    if (layer->output.weight) floats = add_rows(floats, q_rows, layer->output.in);
    return floats;
}

attn_status layer_check_multi_head(const attn_multi_head *l, const attn_problem *p,
                                   attn_error *error)
{
    const struct {
        const attn_linear *linear;
        const char *name;
        int64_t in, out;
    } rules[] = {
        {&l->query, "query", l->query.in, p->q_heads * p->qk_dim},
        {&l->key, "key", l->key.in, p->kv_heads * p->qk_dim},
        {&l->value, "value", l->value.in, p->kv_heads * p->v_dim},
        {&l->output, "output", p->q_heads * p->v_dim, l->output.out},
    };
    attn_status status = attn_validate(p, NULL, error);
    for (int r = 0; r < 4 && status == ATTN_OK; r++)
        status =
            layer_check_linear(rules[r].linear, rules[r].name, rules[r].in, rules[r].out, error);
    return status;
}

/* x, projected into *workspace, which moves on; or x itself. NULL with *status set on failure. */
static const float *project(const attn_linear *linear, int64_t rows, const float *x,
                            float **workspace, attn_status *status, attn_error *error)
{
    float *y = *workspace;
    if (!linear->weight || *status != ATTN_OK) return x;
    *status = attn_linear_run(linear, rows, x, y, error);
    *workspace += rows * linear->out;
    return y;
}

/* The strides of [batch, len, heads, dim], or of [len, batch, heads, dim]. */
static attn_output view(float *data, const attn_layer_call *call, int64_t len, int64_t row,
                        int64_t dim)
{
    bool rows_first = call->rows_first;
    return (attn_output){data, rows_first ? row : len * row, dim,
                         rows_first ? call->problem->batch * row : row};
}

static attn_input input_view(const float *data, const attn_layer_call *call, int64_t len,
                             int64_t row, int64_t dim)
{
    attn_output strides = view(NULL, call, len, row, dim);
    return (attn_input){data, strides.batch_stride, strides.head_stride, strides.row_stride};
}

attn_status attn_multi_head_run(const attn_multi_head *layer, const attn_layer_call *call,
                                attn_error *error)
{
    const attn_problem *p = call->problem;
    attn_tensors t = *call->tensors;
    attn_status status = layer_check_multi_head(layer, p, error);
    if (status != ATTN_OK) return status;

    int64_t q_rows = p->batch * p->q_len, kv_rows = p->batch * p->kv_len;
    float *workspace = call->workspace;
    const float *q = project(&layer->query, q_rows, call->query, &workspace, &status, error);
    const float *k = project(&layer->key, kv_rows, call->key, &workspace, &status, error);
    const float *v = project(&layer->value, kv_rows, call->value, &workspace, &status, error);
    if (status != ATTN_OK) return status;

    float *heads = layer->output.weight ? workspace : call->y;
    t.q = input_view(q, call, p->q_len, layer->query.out, p->qk_dim);
    t.k = input_view(k, call, p->kv_len, layer->key.out, p->qk_dim);
    t.v = input_view(v, call, p->kv_len, layer->value.out, p->v_dim);
    t.out = view(heads, call, p->q_len, layer->output.in, p->v_dim);
    status = call->inner.run(call->inner.context, p, &t, error);
    if (status != ATTN_OK || heads == call->y) return status;
    return attn_linear_run(&layer->output, q_rows, heads, call->y, error);
}

attn_status attn_inner_run(void *context, const attn_problem *problem, const attn_tensors *tensors,
                           attn_error *error)
{
    const attn_inner_context *inner = context;
    return attn_run(inner->kernel, problem, tensors, &inner->exec, error);
}
