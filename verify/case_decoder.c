/* case_decoder.c: one decoder state looks at all encoder states.
 *
 * One query [batch, size] per batch over encoder states [time, batch, size]. Scores, with scale 1
 * unless given:
 *   dot         q . k
 *   scaled_dot  q . k / sqrt(size)
 *   general     q . (W k)                    w [size of q, size of k] (Luong et al. 2015)
 *   additive    va . tanh(W1 q + W2 k + ba)  w1, w2 [hidden, size]    (Bahdanau et al. 2015)
 * Outputs: context [batch, size of v], weights [batch, time]. */
#include <string.h>

#include "verify/case_layers.h"

static const struct decoder_score {
    const char *name, *inputs; /* that it needs; "?" = optional */
} decoder_scores[] = {
    {"dot", ""}, {"scaled_dot", ""}, {"general", "w"}, {"additive", "w1 w2 ba? va"}};

static bool view_decoder(case_record *c, const char *name, int rank, case_view *view,
                         npy_error *error)
{
    const npy_array *array = case_find_input(c, name);
    const int64_t *shape = array->shape;
    npy_text text;
    if (array->rank != rank)
        return case_fail(c, error, "%s has shape %s; expected rank %d", name,
                         npy_shape_text(array->rank, shape, &text), rank);
    int64_t batch = shape[rank - 2], dim = shape[rank - 1];
    *view = (case_view){.name = name, .array = array, .batch = batch, .heads = 1, .dim = dim};
    view->len = rank == 3 ? shape[0] : 1;
    view->at = (attn_input){NULL, dim, 0, batch * dim};
    return case_values(c, view, error);
}

static const struct decoder_score *find_score(const case_record *c, npy_error *error)
{
    static const char *const all[] = {"w", "w1", "w2", "ba", "va"};
    const char *score = json_string_value(case_attribute(c, "score"));
    for (int s = 0; score && s < 4; s++) {
        const struct decoder_score *found = &decoder_scores[s];
        if (strcmp(found->name, score) != 0) continue;
        for (int i = 0; i < 5; i++)
            if (case_find_input(c, all[i]) && !case_listed(found->inputs, all[i]))
                return case_fail(c, error, "input %s has no use with this score", all[i]), NULL;
        return found;
    }
    case_fail(c, error,
              "attribute score is \"%.40s\"; legal are dot, scaled_dot, general, additive",
              score ? score : "not a string");
    return NULL;
}

/* The layer of a general or additive score, whose projections bring q and k to one size. */
static bool set_score_layer(case_record *c, bool additive, const case_view *q, const case_view *k,
                            case_heads *l, npy_error *error)
{
    const int64_t general[2] = {q->dim, k->dim}, hidden[1] = {-1};
    attn_problem *p = &c->problem;
    if (additive) {
        c->tensors.score_vector = case_floats(c, "va", 1, hidden, error);
        if (!c->tensors.score_vector) return false;
        p->score = ATTN_ADDITIVE;
        p->qk_dim = case_find_input(c, "va")->shape[0];
        return case_linear(c, "w1", "ba", q->dim, p->qk_dim, &l->layer.query, error) &&
               case_linear(c, "w2", NULL, k->dim, p->qk_dim, &l->layer.key, error);
    }
    const float *w = case_floats(c, "w", 2, general, error);
    float *turned = w ? case_alloc(c, q->dim * k->dim, sizeof *turned, error) : NULL;
    for (int64_t i = 0; turned && i < q->dim;
         i++) /* q . (W k) = (W^T q) . k: one row, not all keys */
        for (int64_t j = 0; j < k->dim; j++) turned[j * q->dim + i] = w[i * k->dim + j];
    p->qk_dim = k->dim;
    l->layer.query = (attn_linear){turned, NULL, q->dim, k->dim};
    l->layer.key = (attn_linear){NULL, NULL, k->dim, k->dim};
    return turned;
}

static bool bind_decoder(case_record *c, case_heads *l, npy_error *error)
{
    attn_problem *p = &c->problem;
    const int64_t context_shape[] = {p->batch, p->v_dim}, weights_shape[] = {p->batch, p->kv_len};
    case_output *context, *weights;
    if (!case_bind(c, "context", CASE_OUT, NPY_TYPES, 2, context_shape, &context, error) ||
        !case_bind(c, "weights", CASE_WEIGHTS, NPY_TYPES, 2, weights_shape, &weights, error))
        return false;
    l->y = context->got;
    c->tensors.out = (attn_output){context->got, p->v_dim, p->v_dim, p->v_dim};
    if (weights) c->tensors.weights = (attn_output){weights->got, p->kv_len, p->kv_len, p->kv_len};
    if (weights) p->weights = ATTN_WEIGHTS_NORMALISED;
    return true;
}

case_status case_build_decoder(case_record *c, npy_error *error)
{
    attn_problem *p = &c->problem;
    case_view q, k, v;
    case_heads l = {.rows_first = true};
    const struct decoder_score *score = find_score(c, error);
    if (!score || !view_decoder(c, "query", 2, &q, error) ||
        !view_decoder(c, "key", 3, &k, error) || !view_decoder(c, "value", 3, &v, error))
        return CASE_BROKEN;
    bool projected = *score->inputs, additive = score->name[0] == 'a';
    case_view projected_k = k;
    if (projected) projected_k.dim = q.dim; /* the projections see to that */
    if (!case_check_views(c, &q, &projected_k, &v, error)) return CASE_BROKEN;
    case_set_views(c, &q, &k, &v);
    float usual_scale = strcmp(score->name, "scaled_dot") == 0 ? p->scale : 1;
    if (projected && !set_score_layer(c, additive, &q, &k, &l, error)) return CASE_BROKEN;
    if (!case_number(c, "scale", usual_scale, &p->scale, error) || !bind_decoder(c, &l, error))
        return CASE_BROKEN;
    if (!projected) return CASE_READY;
    l.query = q.at.data, l.key = k.at.data, l.value = v.at.data;
    l.layer.value = l.layer.output = (attn_linear){NULL, NULL, v.dim, v.dim};
    return case_finish_heads(c, &l, error);
}
