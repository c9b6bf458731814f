/* case_encoder.c: TransformerEncoder: tokens [batch, len] embedded with learned positions,
 * torch.nn.TransformerEncoder (post-norm, ReLU, epsilon 1e-5), a linear layer to the vocabulary.
 *
 * Weights are named as in PyTorch's state_dict. */
#include <stdio.h>

#include "verify/case_layers.h"

typedef struct encoder_layer {
    attn_block *blocks;
    int count;
    attn_linear to_logits;
    float *x, *hidden, *logits, *workspace; /* logits NULL: not wanted */
} encoder_layer;

static attn_status run_encoder(case_record *c, const attn_inner *inner, attn_error *error)
{
    const encoder_layer *l = c->layer;
    const attn_layer_call call = {.problem = &c->problem,
                                  .tensors = &c->tensors,
                                  .query = l->x,
                                  .y = l->hidden,
                                  .workspace = l->workspace,
                                  .inner = *inner};
    attn_status status = attn_encoder_run(l->blocks, l->count, &call, error);
    if (status != ATTN_OK || !l->logits) return status;
    return attn_linear_run(&l->to_logits, c->problem.batch * c->problem.q_len, l->hidden, l->logits,
                           error);
}

/* x[b, i, :] = embedding[tokens[b, i], :] + position[i, :] */
static float *embed(case_record *c, const npy_array *tokens, npy_error *error)
{
    const npy_array *table = case_find_input(c, "embedding.weight");
    const npy_array *places = case_find_input(c, "position.weight");
    int64_t size = table->shape[1], len = tokens->shape[1], count = npy_count(tokens);
    const int64_t any[2] = {-1, size}, *ids = tokens->data;
    const float *words = case_floats(c, "embedding.weight", 2, any, error);
    const float *positions = case_floats(c, "position.weight", 2, any, error);
    if (!words || !positions) return NULL;
    if (len > places->shape[0])
        return case_fail(c, error, "tokens have length %lld; position.weight has %lld rows",
                         (long long)len, (long long)places->shape[0]),
               NULL;
    float *x = case_alloc(c, count * size, sizeof *x, error);
    for (int64_t t = 0; x && t < count; t++) {
        if (ids[t] < 0 || ids[t] >= table->shape[0])
            return case_fail(c, error, "tokens[%lld, %lld] is %lld; it must be from 0 to %lld",
                             (long long)(t / len), (long long)(t % len), (long long)ids[t],
                             (long long)table->shape[0] - 1),
                   NULL;
        for (int64_t i = 0; i < size; i++)
            x[t * size + i] = words[ids[t] * size + i] + positions[t % len * size + i];
    }
    return x;
}

static bool read_norm(case_record *c, const char *prefix, const char *name, attn_norm *norm,
                      int64_t size, npy_error *error)
{
    char gain[80], bias[80];
    snprintf(gain, sizeof gain, "%s%s.weight", prefix, name);
    snprintf(bias, sizeof bias, "%s%s.bias", prefix, name);
    *norm = (attn_norm){.size = size, .epsilon = 1e-5f};
    norm->gain = case_floats(c, gain, 1, &size, error);
    norm->bias = norm->gain ? case_floats(c, bias, 1, &size, error) : NULL;
    return norm->bias;
}

/* Block `index`: torch.nn.TransformerEncoderLayer with norm_first = False, ReLU. */
static bool read_block(case_record *c, int64_t index, int64_t size, int64_t hidden,
                       attn_block *block, npy_error *error)
{
    static const char *const parts[] = {
        "self_attn.in_proj_weight", "self_attn.in_proj_bias", "self_attn.out_proj.weight",
        "self_attn.out_proj.bias",  "linear1.weight",         "linear1.bias",
        "linear2.weight",           "linear2.bias",
    };
    char prefix[48], text[8][96];
    const char *names[8];
    snprintf(prefix, sizeof prefix, "encoder.layers.%lld.", (long long)index);
    for (int n = 0; n < 8; n++) {
        snprintf(text[n], sizeof text[n], "%s%s", prefix, parts[n]);
        names[n] = text[n];
    }
    block->activation = ATTN_RELU;
    return case_packed_heads(c, names, size, &block->attention, error) &&
           case_linear(c, names[4], names[5], size, hidden, &block->up, error) &&
           case_linear(c, names[6], names[7], hidden, size, &block->down, error) &&
           read_norm(c, prefix, "norm1", &block->attention_norm, size, error) &&
           read_norm(c, prefix, "norm2", &block->feed_norm, size, error);
}

static bool read_blocks(case_record *c, int64_t size, encoder_layer *l, npy_error *error)
{
    int64_t count, hidden;
    if (!case_int(c, "num_layers", 0, 1, 1000, &count, error) ||
        !case_int(c, "dim_feedforward", 0, 1, INT64_MAX, &hidden, error))
        return false;
    for (int i = 0; i < c->input_count; i++) {
        long long layer;
        if (sscanf(c->inputs[i].name, "encoder.layers.%lld.", &layer) == 1 && layer >= count)
            return case_fail(c, error, "input %.60s: attribute num_layers is %lld",
                             c->inputs[i].name, (long long)count);
    }
    l->blocks = case_alloc(c, count, sizeof *l->blocks, error);
    for (; l->blocks && l->count < count; l->count++)
        if (!read_block(c, l->count, size, hidden, &l->blocks[l->count], error)) return false;
    return l->blocks;
}

/* hidden [batch, len, size], logits [batch, len, words]; rows of padding are not compared. */
static bool bind_encoder(case_record *c, int64_t size, encoder_layer *l, npy_error *error)
{
    const npy_array *padding = case_find_input(c, "key_padding_mask");
    const npy_array *weight = case_find_input(c, "fc_out.weight");
    int64_t b = c->problem.batch, n = c->problem.q_len, words = weight ? weight->shape[0] : 0;
    const int64_t hidden_shape[] = {b, n, size}, logits_shape[] = {b, n, words};
    case_output *hidden, *logits;
    if (case_find_output(c, "logits") &&
        !case_linear(c, "fc_out.weight", "fc_out.bias", size, words, &l->to_logits, error))
        return false;
    if (!case_bind(c, "hidden", CASE_OUT, NPY_TYPES, 3, hidden_shape, &hidden, error) ||
        !case_bind(c, "logits", CASE_OUT, NPY_TYPES, 3, logits_shape, &logits, error))
        return false;
    l->hidden = hidden->got;
    l->logits = logits ? logits->got : NULL;
    if (padding) hidden->ignored = padding->data;
    if (padding && logits) logits->ignored = padding->data;
    return true;
}

case_status case_build_encoder(case_record *c, npy_error *error)
{
    const npy_array *tokens = case_find_input(c, "tokens");
    const int64_t any[2] = {-1, -1};
    npy_text shape;
    encoder_layer *l = case_alloc(c, 1, sizeof *l, error);
    if (!l || !case_floats(c, "embedding.weight", 2, any, error)) return CASE_BROKEN;
    if (tokens->type != NPY_INT64 || tokens->rank != 2)
        return case_fail(c, error, "tokens is %s %s; it must be int64 [batch, len]",
                         npy_type_name(tokens->type),
                         npy_shape_text(tokens->rank, tokens->shape, &shape)),
               CASE_BROKEN;
    int64_t size = case_find_input(c, "embedding.weight")->shape[1], len = tokens->shape[1];
    if (!case_set_heads(c, tokens->shape[0], len, len, size, error) ||
        !case_set_key_padding(c, error) || !(l->x = embed(c, tokens, error)) ||
        !read_blocks(c, size, l, error) || !bind_encoder(c, size, l, error))
        return CASE_BROKEN;
    int64_t floats = attn_encoder_floats(&l->blocks[0], &c->problem);
    if (floats == INT64_MAX)
        return case_fail(c, error, "the sizes of the encoder overflow"), CASE_BROKEN;
    l->workspace = case_alloc(c, floats, sizeof *l->workspace, error);
    c->layer = l, c->run = run_encoder, c->no_bound = case_projections;
    if (!l->workspace) return CASE_BROKEN;
    if (attn_blas_missing()) return npy_fail(error, "%s", attn_blas_missing()), CASE_UNSUPPORTED;
    return CASE_READY;
}
