/* case_ops.c: which operators can a case name, and how does each become a problem?
 *
 * THE TABLE is at the end: a new operator is one row and one function. The operators of this file
 * are plain attention under other rules; what each computes is said beside its function. */
#include "verify/case_ops.h"

#include <math.h>
#include <string.h>

/* ---- plain attention: q, k, v of rank 2, 3 or 4 ---------------------------------- */

/* [len, dim], [heads, len, dim] or [batch, heads, len, dim] as a view. */
static bool view_plain(case_record *c, const char *name, const npy_array *array, case_view *view,
                       npy_error *error)
{
    const int64_t *shape = array->shape;
    int rank = array->rank;
    npy_text text;
    if (rank < 2 || rank > 4)
        return case_fail(c, error, "%s has shape %s; expected rank 2, 3 or 4", name,
                         npy_shape_text(rank, shape, &text));
    *view = (case_view){.name = name, .array = array};
    view->batch = rank == 4 ? shape[0] : 1;
    view->heads = rank >= 3 ? shape[rank - 3] : 1;
    view->len = shape[rank - 2];
    view->dim = shape[rank - 1];
    view->at.row_stride = view->dim;
    view->at.head_stride = view->len * view->dim;
    view->at.batch_stride = view->heads * view->at.head_stride;
    return case_values(c, view, error);
}

static bool set_plain(case_record *c, const npy_array *q, const npy_array *k, const npy_array *v,
                      npy_error *error)
{
    case_view views[3];
    if (!view_plain(c, "q", q, &views[0], error) || !view_plain(c, "k", k, &views[1], error) ||
        !view_plain(c, "v", v, &views[2], error))
        return false;
    if (k->rank != q->rank || v->rank != q->rank)
        return case_fail(c, error, "q, k and v have ranks %d, %d and %d; they must be equal",
                         q->rank, k->rank, v->rank);
    if (!case_check_views(c, &views[0], &views[1], &views[2], error)) return false;
    case_set_views(c, &views[0], &views[1], &views[2]);
    return true;
}

/* y, weights and lse in the rank of q. A NULL name is an output that the operator does not have. */
static bool bind_plain(case_record *c, int rank, const char *y, const char *weights,
                       const char *lse, npy_error *error)
{
    attn_problem *p = &c->problem;
    int64_t b = p->batch, h = p->q_heads, n = p->q_len, m = p->kv_len, e = p->v_dim;
    const int64_t y_shape[] = {b, h, n, e}, weights_shape[] = {b, h, n, m}, lse_shape[] = {b, h, n};
    case_output *out, *w = NULL, *l = NULL;
    int skip = 4 - rank;
    if (!case_bind(c, y, CASE_OUT, NPY_TYPES, rank, y_shape + skip, &out, error) ||
        (weights &&
         !case_bind(c, weights, CASE_WEIGHTS, NPY_TYPES, rank, weights_shape + skip, &w, error)) ||
        (lse && !case_bind(c, lse, CASE_LSE, NPY_TYPES, rank - 1, lse_shape + skip, &l, error)))
        return false;
    c->tensors.out = (attn_output){out->got, h * n * e, n * e, e};
    if (w) c->tensors.weights = (attn_output){w->got, h * n * m, n * m, m};
    if (w && !p->weights) p->weights = ATTN_WEIGHTS_NORMALISED;
    if (l) c->tensors.lse = (attn_output){l->got, h * n, n, 1};
    p->wants_lse = l != NULL;
    return true;
}

/* Inputs q, k, v and outputs y, weights under the rules of one operator, set by `rules`. */
static case_status build_plain(case_record *c, bool (*rules)(case_record *, npy_error *),
                               npy_error *error)
{
    const npy_array *q = case_find_input(c, "q");
    bool built = set_plain(c, q, case_find_input(c, "k"), case_find_input(c, "v"), error) &&
                 case_number(c, "scale", c->problem.scale, &c->problem.scale, error) &&
                 rules(c, error) && bind_plain(c, q->rank, "y", "weights", NULL, error);
    return built ? CASE_READY : CASE_BROKEN;
}

/* Every query sees every key. */
static bool no_rules(case_record *c, npy_error *error)
{
    (void)c, (void)error;
    return true;
}

static case_status build_global(case_record *c, npy_error *error)
{
    return build_plain(c, no_rules, error);
}

/* Query i sees keys i - left to i + right, both included. */
static bool local_rules(case_record *c, npy_error *error)
{
    return case_int(c, "left", -1, -1, INT64_MAX / 4, &c->problem.window_left, error) &&
           case_int(c, "right", -1, -1, INT64_MAX / 4, &c->problem.window_right, error);
}

static case_status build_local(case_record *c, npy_error *error)
{
    return build_plain(c, local_rules, error);
}

/* Weight 1 on the best key, the first of equals. */
static bool hard_rules(case_record *c, npy_error *error)
{
    (void)error;
    c->problem.select = ATTN_HARDMAX;
    return true;
}

static case_status build_hard(case_record *c, npy_error *error)
{
    return build_plain(c, hard_rules, error);
}

/* Softmax over the k best keys. */
static bool top_rules(case_record *c, npy_error *error)
{
    c->problem.select = ATTN_TOPK;
    return case_int(c, "k", 1, 1, INT64_MAX, &c->problem.top_k, error);
}

static case_status build_top(case_record *c, npy_error *error)
{
    return build_plain(c, top_rules, error);
}

/* ---- arrays without a case directory --------------------------------------------- */

/* Does every size of the key equal that of the arrays? */
static bool check_key(const case_record *c, const attn_problem *key, npy_error *error)
{
    const attn_problem *p = &c->problem;
    const struct {
        const char *size;
        int64_t key, arrays;
    } sizes[] = {
        {"batch", key->batch, p->batch},
        {"number of query heads", key->q_heads, p->q_heads},
        {"query length", key->q_len, p->q_len},
        {"number of key heads", key->kv_heads, p->kv_heads},
        {"key length", key->kv_len, p->kv_len},
        {"head size of q and k", key->qk_dim, p->qk_dim},
        {"head size of v", key->v_dim, p->v_dim},
    };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        if (sizes[s].key != sizes[s].arrays)
            return case_fail(c, error, "the %s is %lld in the problem and %lld in the arrays",
                             sizes[s].size, (long long)sizes[s].key, (long long)sizes[s].arrays);
    if (key->has_kv_lens || key->has_q_offsets || key->has_alibi || key->has_sinks ||
        key->score == ATTN_ADDITIVE)
        return case_fail(c, error,
                         "the problem has len, off, alibi, sink or add; no option reads these");
    return true;
}

static bool set_arrays_rules(case_record *c, const case_arrays *a, npy_error *error)
{
    attn_problem *p = &c->problem;
    bool key_mask = a->problem && a->problem->has_mask;
    bool key_bias = a->problem && a->problem->has_bias;
    bool boolean = a->mask && a->mask->type == NPY_BOOL;
    if (a->problem && !check_key(c, a->problem, error)) return false;
    if (a->problem) *p = *a->problem;
    else if (a->causal) p->causal = true, p->q_offset = p->kv_len - p->q_len;
    if ((key_mask && !boolean) || (key_bias && (!a->mask || boolean)))
        return case_fail(c, error,
                         "the problem has \"%s\"; it needs --mask with a %s array, and only that",
                         key_mask ? "bool" : "bias", key_mask ? "bool" : "float");
    return !a->mask || case_set_mask(c, "mask", a->mask, error);
}

/* Declares an output in the type of q, as case.json would. */
static void declare(case_record *c, const char *name, npy_type type, int rank, const int64_t *shape)
{
    case_output *output = &c->outputs[c->output_count++];
    output->name = name;
    output->want.type = type;
    output->want.rank = rank;
    memcpy(output->want.shape, shape, (size_t)rank * sizeof *shape);
}

case_status case_from_arrays(const case_arrays *a, case_record *c, npy_error *error)
{
    attn_error detail;
    int rank = a->q->rank, skip = 4 - rank;
    *c = (case_record){.name = "run", .op = "DotAttention"};
    if (!set_plain(c, a->q, a->k, a->v, error) || !set_arrays_rules(c, a, error))
        return CASE_BROKEN;
    attn_problem *p = &c->problem;
    const int64_t o[] = {p->batch, p->q_heads, p->q_len, p->v_dim};
    const int64_t w[] = {p->batch, p->q_heads, p->q_len, p->kv_len};
    if (!a->wants_weights) p->weights = ATTN_WEIGHTS_NONE;
    declare(c, "o", a->q->type, rank, o + skip);
    if (a->wants_weights) declare(c, "weights", a->q->type, rank, w + skip);
    if (a->wants_lse) declare(c, "lse", a->q->type, rank - 1, o + skip);
    if (!bind_plain(c, rank, "o", "weights", "lse", error)) return CASE_BROKEN;
    if (attn_validate(p, &c->tensors, &detail) == ATTN_OK) return CASE_READY;
    case_fail(c, error, "%s", detail.text);
    return CASE_BROKEN;
}

/* ---- the table ------------------------------------------------------------------- */

static const char plain_inputs[] = "q k v", plain_outputs[] = "y weights?";

const case_op case_ops[] = {
    {"Attention",
     "is_causal? kv_num_heads? left_window_size? q_num_heads? qk_matmul_output_mode? "
     "right_window_size? scale? softcap? softmax_precision?",
     "Q K V attn_mask? past_key? past_value? nonpad_kv_seqlen?",
     "Y present_key? present_value? qk_matmul_output?", case_build_attention},
    {"GlobalAttention", "scale?", plain_inputs, plain_outputs, build_global},
    {"DotAttention", "scale?", plain_inputs, plain_outputs, build_global},
    {"LocalAttention", "left right scale?", plain_inputs, plain_outputs, build_local},
    {"HardAttention", "scale?", plain_inputs, plain_outputs, build_hard},
    {"TopKAttention", "k scale?", plain_inputs, plain_outputs, build_top},
    {"DecoderAttention", "score scale?", "query key value w? w1? w2? ba? va?", "context weights?",
     case_build_decoder},
    {"SelfAttention", "scale?", "x wq wk wv bq? bk? bv?", plain_outputs, case_build_self},
    {"MultiHeadAttention", "num_heads",
     "x memory? in_proj_weight in_proj_bias? out_proj_weight out_proj_bias? key_padding_mask?",
     plain_outputs, case_build_multi_head},
    {"TransformerEncoder", "num_heads num_layers dim_feedforward",
     "tokens key_padding_mask? embedding.weight position.weight "
     "encoder.layers.#.self_attn.in_proj_weight? encoder.layers.#.self_attn.in_proj_bias? "
     "encoder.layers.#.self_attn.out_proj.weight? encoder.layers.#.self_attn.out_proj.bias? "
     "encoder.layers.#.norm1.weight? encoder.layers.#.norm1.bias? "
     "encoder.layers.#.linear1.weight? encoder.layers.#.linear1.bias? "
     "encoder.layers.#.linear2.weight? encoder.layers.#.linear2.bias? "
     "encoder.layers.#.norm2.weight? encoder.layers.#.norm2.bias? fc_out.weight? fc_out.bias?",
     "hidden logits?", case_build_encoder},
};
const int case_op_count = sizeof case_ops / sizeof *case_ops;
