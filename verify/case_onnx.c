/* case_onnx.c: the ONNX operator Attention, opset 23 to 25, as a problem.
 *
 * Layouts: 4D [batch, heads, len, size], or 3D [batch, len, heads * size] with the attributes
 * q_num_heads and kv_num_heads; 3D is a matter of strides. past_key and past_value come before K
 * and V, and the result is present_key and present_value. Query row i stands at position offset +
 * i: offset is the past length, or nonpad_kv_seqlen[b] - q_len (never both), or 0. Softcap
 * comes before the mask. float16 is computed in float32, so softmax_precision is accepted and asks
 * for nothing. Source: onnx.ai, operators/onnx__Attention; its reference implementation decides
 * where the text is silent, not where they differ: raw scores (qk_matmul_output_mode 0) are before
 * the softcap, which onnx 1.23 applies to them. */
#include <string.h>

#include "verify/case_ops.h"

/* One of Q, K, V as a view; heads_attribute names its number of heads. */
static bool view_input(case_record *c, const char *name, const char *heads_attribute,
                       case_view *view, npy_error *error)
{
    const npy_array *array = case_find_input(c, name);
    const int64_t *shape = array->shape;
    npy_text text;
    int64_t heads;
    npy_shape_text(array->rank, shape, &text);
    if (array->rank != 3 && array->rank != 4)
        return case_fail(c, error, "%s has shape %s; expected rank 3 or 4", name, text.text);
    if (!case_int(c, heads_attribute, 0, 1, INT64_MAX, &heads, error)) return false;
    *view = (case_view){.name = name, .array = array, .batch = shape[0]};
    if (array->rank == 4) {
        view->heads = shape[1], view->len = shape[2], view->dim = shape[3];
        view->at =
            (attn_input){NULL, shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3]};
        if (heads != 0 && heads != shape[1])
            return case_fail(c, error, "%s has shape %s; attribute %s is %lld", name, text.text,
                             heads_attribute, (long long)heads);
    } else {
        if (heads == 0)
            return case_fail(c, error, "attribute %s is missing; %s has rank 3", heads_attribute,
                             name);
        if (shape[2] % heads != 0)
            return case_fail(c, error,
                             "%s has shape %s; its last size must be a multiple of %s = %lld", name,
                             text.text, heads_attribute, (long long)heads);
        view->heads = heads, view->len = shape[1], view->dim = shape[2] / heads;
        view->at = (attn_input){NULL, shape[1] * shape[2], view->dim, shape[2]};
    }
    return case_values(c, view, error);
}

static bool view_inputs(case_record *c, case_view *q, case_view *k, case_view *v, npy_error *error)
{
    if (!view_input(c, "Q", "q_num_heads", q, error) ||
        !view_input(c, "K", "kv_num_heads", k, error) ||
        !view_input(c, "V", "kv_num_heads", v, error))
        return false;
    if (k->array->rank != q->array->rank || v->array->rank != q->array->rank)
        return case_fail(c, error, "Q, K and V have ranks %d, %d and %d; they must be equal",
                         q->array->rank, k->array->rank, v->array->rank);
    return case_check_views(c, q, k, v, error);
}

/* ---- past and present ------------------------------------------------------------ */

/* view := past, then view: [batch, heads, past + len, dim]. Without a past it is a copy. */
static bool join(case_record *c, const case_view *past, case_view *view, npy_error *error)
{
    int64_t before = past ? past->len : 0, len = before + view->len, dim = view->dim;
    float *joined =
        case_alloc(c, view->batch * view->heads * len, dim * (int64_t)sizeof *joined, error);
    for (int64_t b = 0; joined && b < view->batch; b++)
        for (int64_t h = 0; h < view->heads; h++)
            for (int64_t j = 0; j < len; j++) {
                const attn_input *from = j < before ? &past->at : &view->at;
                int64_t row = j < before ? j : j - before;
                memcpy(joined + ((b * view->heads + h) * len + j) * dim,
                       from->data + b * from->batch_stride + h * from->head_stride +
                           row * from->row_stride,
                       (size_t)dim * sizeof *joined);
            }
    view->len = len;
    view->at = (attn_input){joined, view->heads * len * dim, len * dim, dim};
    return joined;
}

/* Puts past_<what> before K or V and fills present_<what>, if the case has them. */
static bool add_past(case_record *c, const char *past_name, const char *present_name,
                     case_view *view, npy_error *error)
{
    const npy_array *array = case_find_input(c, past_name);
    case_view past = {.name = past_name, .array = array};
    case_output *present = case_find_output(c, present_name);
    npy_text found, expected;
    if (array) {
        const int64_t *s = array->shape, wanted[4] = {view->batch, view->heads, s[2], view->dim};
        if (array->rank != 4 || s[0] != wanted[0] || s[1] != wanted[1] || s[3] != wanted[3])
            return case_fail(
                c, error, "%s has shape %s; expected (%lld, %lld, past, %lld), as %s has it %s",
                past_name, npy_shape_text(array->rank, s, &found), (long long)wanted[0],
                (long long)wanted[1], (long long)wanted[3], view->name,
                npy_shape_text(view->array->rank, view->array->shape, &expected));
        past.len = s[2];
        past.at = (attn_input){NULL, s[1] * s[2] * s[3], s[2] * s[3], s[3]};
        const int64_t joined[4] = {view->batch, view->heads, past.len + view->len, view->dim};
        if (!present)
            return case_fail(c, error, "%s has shape %s; it needs the output %s with shape %s",
                             past_name, npy_shape_text(4, s, &found), present_name,
                             npy_shape_text(4, joined, &expected));
        if (!case_values(c, &past, error)) return false;
    }
    if (!present) return true;
    if (!join(c, array ? &past : NULL, view, error)) return false;
    const int64_t shape[4] = {view->batch, view->heads, view->len, view->dim};
    if (!case_bind(c, present_name, CASE_COPY, view->array->type, 4, shape, &present, error))
        return false;
    memcpy(present->got, view->at.data, (size_t)npy_count(&present->want) * sizeof *present->got);
    return true;
}

/* An input or output by its name, or NULL. */
static const npy_array *cache_tensor(case_record *c, const char *name)
{
    const case_output *output = case_find_output(c, name);
    return output ? &output->want : case_find_input(c, name);
}

/* Both halves of the cache, or none. Returns its length in *past. */
static bool add_cache(case_record *c, case_view *k, case_view *v, int64_t *past, npy_error *error)
{
    static const char *const pairs[2][2] = {{"past_key", "past_value"},
                                            {"present_key", "present_value"}};
    npy_text shape;
    for (int p = 0; p < 2; p++) {
        const char *const *names = pairs[p];
        const npy_array *tensors[2] = {cache_tensor(c, names[0]), cache_tensor(c, names[1])};
        if (!tensors[0] == !tensors[1]) continue;
        const npy_array *given = tensors[!tensors[0]];
        return case_fail(c, error, "%s %s is given without %s; they come together",
                         names[!tensors[0]], npy_shape_text(given->rank, given->shape, &shape),
                         names[!!tensors[0]]);
    }
    const npy_array *keys = case_find_input(c, "past_key");
    const npy_array *values = case_find_input(c, "past_value");
    *past = keys && keys->rank == 4 ? keys->shape[2] : 0;
    if (keys && keys->rank == 4 && values->rank == 4 && keys->shape[2] != values->shape[2])
        return case_fail(c, error,
                         "past_key has %lld positions, past_value %lld; they must be equal",
                         (long long)keys->shape[2], (long long)values->shape[2]);
    return add_past(c, "past_key", "present_key", k, error) &&
           add_past(c, "past_value", "present_value", v, error);
}

/* ---- rules ----------------------------------------------------------------------- */

static bool set_rules(case_record *c, int64_t past, int64_t *qk_mode, npy_error *error)
{
    /* TensorProto: float, float16, double, bfloat16. */
    static const int64_t precisions[] = {1, 10, 11, 16};
    attn_problem *p = &c->problem;
    int64_t causal, precision, known = 0;
    if (!case_int(c, "is_causal", 0, 0, 1, &causal, error) ||
        !case_int(c, "left_window_size", -1, -1, INT64_MAX / 4, &p->window_left, error) ||
        !case_int(c, "right_window_size", -1, -1, INT64_MAX / 4, &p->window_right, error) ||
        !case_int(c, "qk_matmul_output_mode", 0, 0, 3, qk_mode, error) ||
        !case_int(c, "softmax_precision", 1, 1, 16, &precision, error) ||
        !case_number(c, "scale", p->scale, &p->scale, error) ||
        !case_number(c, "softcap", 0, &p->softcap, error))
        return false;
    for (int i = 0; i < 4; i++) known |= precisions[i] == precision;
    if (!known)
        return case_fail(c, error,
                         "attribute softmax_precision is %lld; it must be 1, 10, 11 or 16",
                         (long long)precision);
    p->causal = causal;
    p->q_offset = past;
    return true;
}

/* nonpad_kv_seqlen: how many keys of each batch exist, and where its queries stand: the cache is
 * kept outside, so there is no past. */
static bool set_lengths(case_record *c, npy_error *error)
{
    attn_problem *p = &c->problem;
    const npy_array *array = case_find_input(c, "nonpad_kv_seqlen");
    npy_text shape;
    if (!array) return true;
    if (array->type != NPY_INT64 || array->rank != 1 || array->shape[0] != p->batch)
        return case_fail(c, error, "nonpad_kv_seqlen is %s %s; it must be int64 (%lld,)",
                         npy_type_name(array->type),
                         npy_shape_text(array->rank, array->shape, &shape), (long long)p->batch);
    if (case_find_input(c, "past_key"))
        return case_fail(c, error,
                         "nonpad_kv_seqlen %s is given with past_key; the keys of a cache outside "
                         "are all in K",
                         npy_shape_text(array->rank, array->shape, &shape));
    const int64_t *lens = array->data;
    for (int64_t b = 0; b < p->batch; b++)
        if (lens[b] < 0 || lens[b] > p->kv_len)
            return case_fail(c, error,
                             "nonpad_kv_seqlen[%lld] is %lld; it must be from 0 to %lld, the keys",
                             (long long)b, (long long)lens[b], (long long)p->kv_len);
    p->has_kv_lens = true;
    c->tensors.kv_lens = lens;
    bool positions_matter = p->causal || p->window_left >= 0 || p->window_right >= 0;
    if (!positions_matter) return true;
    int64_t *offsets = case_alloc(c, p->batch, sizeof *offsets, error);
    for (int64_t b = 0; offsets && b < p->batch; b++) offsets[b] = lens[b] - p->q_len;
    p->has_q_offsets = true;
    c->tensors.q_offsets = offsets;
    return offsets;
}

/* Y in the layout of Q; qk_matmul_output is always [batch, heads, queries, keys]. */
static bool bind_outputs(case_record *c, const case_view *q, int64_t qk_mode, npy_error *error)
{
    attn_problem *p = &c->problem;
    int64_t b = p->batch, h = p->q_heads, n = p->q_len, m = p->kv_len, e = p->v_dim;
    const int64_t heads_first[] = {b, h, n, e}, rows_first[] = {b, n, h * e},
                  scores[] = {b, h, n, m};
    int rank = q->array->rank;
    npy_type type = q->array->type;
    case_output *y, *qk;
    if (!case_bind(c, "Y", CASE_OUT, type, rank, rank == 3 ? rows_first : heads_first, &y, error) ||
        !case_bind(c, "qk_matmul_output", CASE_WEIGHTS, type, 4, scores, &qk, error))
        return false;
    c->tensors.out = (attn_output){y->got, h * n * e, n * e, e};
    if (rank == 3) c->tensors.out = (attn_output){y->got, n * h * e, e, h * e};
    if (!qk) return true;
    p->weights = (attn_weights)(qk_mode + 1);
    c->tensors.weights = (attn_output){qk->got, h * n * m, n * m, m};
    return true;
}

case_status case_build_attention(case_record *c, npy_error *error)
{
    case_view q, k, v;
    int64_t past = 0, qk_mode = 0;
    if (!view_inputs(c, &q, &k, &v, error) || !add_cache(c, &k, &v, &past, error))
        return CASE_BROKEN;
    case_set_views(c, &q, &k, &v);
    if (!set_rules(c, past, &qk_mode, error) || !set_lengths(c, error)) return CASE_BROKEN;
    const npy_array *mask = case_find_input(c, "attn_mask");
    if (mask && !case_set_mask(c, "attn_mask", mask, error)) return CASE_BROKEN;
    return bind_outputs(c, &q, qk_mode, error) ? CASE_READY : CASE_BROKEN;
}
