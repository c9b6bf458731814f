/* case_layers.c: attention between projections, one head or many.
 *
 * The layers are those of kernels/layers. A builder checks every shape; all that depends
 * on the kernel happens in the record's `run`. Weights are laid out as in PyTorch: [out, in]. */
#include "verify/case_layers.h"

const char case_projections[] = "projections";

bool case_linear(case_record *c, const char *weight, const char *bias, int64_t in, int64_t out,
                 attn_linear *linear, npy_error *error)
{
    const int64_t shape[2] = {out, in};
    bool has_bias = bias && case_find_input(c, bias);
    *linear = (attn_linear){.in = in, .out = out};
    linear->weight = case_floats(c, weight, 2, shape, error);
    if (linear->weight && has_bias) linear->bias = case_floats(c, bias, 1, shape, error);
    return linear->weight && (linear->bias || !has_bias);
}

bool case_set_key_padding(case_record *c, npy_error *error)
{
    const npy_array *array = case_find_input(c, "key_padding_mask");
    attn_problem *p = &c->problem;
    const int64_t wanted[2] = {p->batch, p->kv_len};
    npy_text found, expected;
    if (!array) return true;
    if (array->type != NPY_BOOL || array->rank != 2 || array->shape[0] != wanted[0] ||
        array->shape[1] != wanted[1])
        return case_fail(c, error, "key_padding_mask is %s %s; it must be bool %s, [batch, keys]",
                         npy_type_name(array->type),
                         npy_shape_text(array->rank, array->shape, &found),
                         npy_shape_text(2, wanted, &expected));
    uint8_t *visible = case_alloc(c, npy_count(array), 1, error);
    const uint8_t *padding = array->data;
    for (int64_t i = 0; visible && i < npy_count(array); i++) visible[i] = !padding[i];
    c->tensors.mask = (attn_mask){visible, p->kv_len, 0, 0, 1};
    p->has_mask = true;
    return visible;
}

/* ---- one multi-head attention ---------------------------------------------------- */

static attn_status run_heads(case_record *c, const attn_inner *inner, attn_error *error)
{
    const case_heads *l = c->layer;
    const attn_layer_call call = {&c->problem, &c->tensors,   l->query,     l->key, l->value,
                                  l->y,        l->rows_first, l->workspace, *inner};
    return attn_multi_head_run(&l->layer, &call, error);
}

case_status case_finish_heads(case_record *c, case_heads *l, npy_error *error)
{
    int64_t floats = attn_multi_head_floats(&l->layer, &c->problem);
    case_heads *kept = case_alloc(c, 1, sizeof *kept, error);
    if (floats == INT64_MAX)
        return case_fail(c, error, "the sizes of the projections overflow"), CASE_BROKEN;
    l->workspace = case_alloc(c, floats, sizeof *l->workspace, error);
    if (!kept || !l->workspace) return CASE_BROKEN;
    *kept = *l;
    c->layer = kept, c->run = run_heads, c->no_bound = case_projections;
    if (attn_blas_missing()) return npy_fail(error, "%s", attn_blas_missing()), CASE_UNSUPPORTED;
    return CASE_READY;
}

/* y [batch, rows, size] and weights, [batch, heads, rows, keys] or without the heads. */
static bool bind_heads(case_record *c, int weights_rank, case_heads *l, npy_error *error)
{
    attn_problem *p = &c->problem;
    int64_t b = p->batch, h = p->q_heads, n = p->q_len, m = p->kv_len;
    const int64_t y_shape[] = {b, n, l->layer.output.out}, shape4[] = {b, h, n, m},
                  shape3[] = {b, n, m};
    case_output *y, *weights;
    if (!case_bind(c, "y", CASE_OUT, NPY_TYPES, 3, y_shape, &y, error) ||
        !case_bind(c, "weights", CASE_WEIGHTS, NPY_TYPES, weights_rank,
                   weights_rank == 4 ? shape4 : shape3, &weights, error))
        return false;
    l->y = y->got;
    if (!weights) return true;
    p->weights = ATTN_WEIGHTS_NORMALISED;
    c->tensors.weights = (attn_output){weights->got, h * n * m, n * m, m};
    return true;
}

/* SelfAttention: one head; q = x Wq^T + bq, and so k and v; y = softmax(scale q k^T) v with scale
 * 1/sqrt(rows of wq) unless given. */
case_status case_build_self(case_record *c, npy_error *error)
{
    case_heads l = {0};
    attn_linear *query = &l.layer.query, *key = &l.layer.key, *value = &l.layer.value;
    const int64_t any[3] = {-1, -1, -1};
    const float *x = case_floats(c, "x", 3, any, error);
    if (!x || !case_floats(c, "wq", 2, any, error) || !case_floats(c, "wv", 2, any, error))
        return CASE_BROKEN;
    const int64_t *sizes = case_find_input(c, "x")->shape;
    int64_t size = sizes[2], qk = case_find_input(c, "wq")->shape[0];
    int64_t v = case_find_input(c, "wv")->shape[0];
    attn_problem *p = &c->problem;
    *p = attn_problem_make(1, sizes[1], qk);
    p->batch = sizes[0], p->v_dim = v;
    l.query = l.key = l.value = x;
    l.layer.output = (attn_linear){NULL, NULL, v, v};
    if (!case_linear(c, "wq", "bq", size, qk, query, error) ||
        !case_linear(c, "wk", "bk", size, qk, key, error) ||
        !case_linear(c, "wv", "bv", size, v, value, error) ||
        !case_number(c, "scale", p->scale, &p->scale, error) || !bind_heads(c, 3, &l, error))
        return CASE_BROKEN;
    return case_finish_heads(c, &l, error);
}

bool case_packed_heads(case_record *c, const char *const names[4], int64_t size,
                       attn_multi_head *layer, npy_error *error)
{
    attn_linear packed;
    attn_linear *parts[] = {&layer->query, &layer->key, &layer->value};
    if (!case_linear(c, names[0], names[1], size, 3 * size, &packed, error)) return false;
    for (int i = 0; i < 3; i++) {
        *parts[i] = (attn_linear){packed.weight + i * size * size, NULL, size, size};
        if (packed.bias) parts[i]->bias = packed.bias + i * size;
    }
    return case_linear(c, names[2], names[3], size, size, &layer->output, error);
}

bool case_set_heads(case_record *c, int64_t batch, int64_t q_len, int64_t kv_len, int64_t size,
                    npy_error *error)
{
    int64_t heads;
    if (!case_int(c, "num_heads", 0, 1, INT64_MAX, &heads, error)) return false;
    if (size < 1 || size % heads)
        return case_fail(c, error,
                         "the model size is %lld; it must be a multiple of num_heads = %lld",
                         (long long)size, (long long)heads);
    c->problem = attn_problem_make(heads, q_len, size / heads);
    c->problem.batch = batch, c->problem.kv_len = kv_len;
    return true;
}

/* MultiHeadAttention: torch.nn.MultiheadAttention, batch first, weights per head. Queries from x,
 * keys and values from memory if there is one, else from x. */
case_status case_build_multi_head(case_record *c, npy_error *error)
{
    static const char *const names[4] = {"in_proj_weight", "in_proj_bias", "out_proj_weight",
                                         "out_proj_bias"};
    const int64_t any[3] = {-1, -1, -1};
    case_heads l = {.query = case_floats(c, "x", 3, any, error)};
    if (!l.query) return CASE_BROKEN;
    const int64_t *sizes = case_find_input(c, "x")->shape;
    const int64_t beside[3] = {sizes[0], -1, sizes[2]};
    const npy_array *memory = case_find_input(c, "memory");
    l.key = l.value = memory ? case_floats(c, "memory", 3, beside, error) : l.query;
    int64_t kv_len = memory && l.key ? memory->shape[1] : sizes[1];
    if (!l.key || !case_set_heads(c, sizes[0], sizes[1], kv_len, sizes[2], error) ||
        !case_packed_heads(c, names, sizes[2], &l.layer, error) ||
        !case_set_key_padding(c, error) || !bind_heads(c, 4, &l, error))
        return CASE_BROKEN;
    return case_finish_heads(c, &l, error);
}
