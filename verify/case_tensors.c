/* case_tensors.c: arrays of files -> tensors of a problem.
 *
 * Inputs become strided views on the file's own values (float16 is widened once); outputs get
 * memory in the order of their file. */
#include <math.h>
#include <string.h>

#include "verify/case_ops.h"

/* The values of a float array, widened from float16 or rounded from float64 into memory of the
 * record; NULL with the error filled. */
static const float *values_of(case_record *c, const char *name, const npy_array *array,
                              npy_error *error)
{
    npy_text shape;
    if (!npy_is_float(array->type))
        return case_fail(c, error, "%s %s: dtype is %s; it must be float32, float16 or float64",
                         name, npy_shape_text(array->rank, array->shape, &shape),
                         npy_type_name(array->type)),
               NULL;
    if (array->type == NPY_FLOAT32) return array->data;
    if (array->type == NPY_FLOAT64) c->no_bound = "float64 inputs, which are rounded to float32";
    int64_t count = npy_count(array);
    float *values = case_alloc(c, count, sizeof *values, error);
    for (int64_t i = 0; values && i < count; i++) values[i] = (float)npy_value(array, i);
    return values;
}

bool case_values(case_record *c, case_view *view, npy_error *error)
{
    view->at.data = values_of(c, view->name, view->array, error);
    return view->at.data;
}

const float *case_floats(case_record *c, const char *name, int rank, const int64_t *shape,
                         npy_error *error)
{
    const npy_array *array = case_find_input(c, name);
    npy_text found, wanted;
    if (!array)
        return case_fail(c, error, "inputs: \"%s\" %s is missing", name,
                         npy_shape_text(rank, shape, &wanted)),
               NULL;
    bool same = array->rank == rank;
    for (int d = 0; d < rank && same; d++) same = shape[d] < 0 || array->shape[d] == shape[d];
    if (!same)
        return case_fail(c, error, "%s has shape %s; expected %s", name,
                         npy_shape_text(array->rank, array->shape, &found),
                         npy_shape_text(rank, shape, &wanted)),
               NULL;
    return values_of(c, name, array, error);
}

bool case_check_views(const case_record *c, const case_view *q, const case_view *k,
                      const case_view *v, npy_error *error)
{
    const struct {
        const case_view *tensor;
        const char *size;
        int64_t found, wanted;
        const case_view *as;
    } rules[] = {
        {k, "batch", k->batch, q->batch, q}, {k, "head size", k->dim, q->dim, q},
        {v, "batch", v->batch, q->batch, q}, {v, "number of heads", v->heads, k->heads, k},
        {v, "length", v->len, k->len, k},
    };
    for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
        const npy_array *found = rules[r].tensor->array, *as = rules[r].as->array;
        npy_text found_shape, as_shape;
        if (rules[r].found == rules[r].wanted) continue;
        return case_fail(c, error, "%s has shape %s: its %s is %lld; it must be %lld, as in %s %s",
                         rules[r].tensor->name,
                         npy_shape_text(found->rank, found->shape, &found_shape), rules[r].size,
                         (long long)rules[r].found, (long long)rules[r].wanted, rules[r].as->name,
                         npy_shape_text(as->rank, as->shape, &as_shape));
    }
    npy_text q_shape, k_shape;
    return k->heads == 0 || q->heads % k->heads == 0 ||
           case_fail(c, error,
                     "%s has shape %s: its number of heads is %lld; it must be a multiple of the "
                     "%lld of %s %s",
                     q->name, npy_shape_text(q->array->rank, q->array->shape, &q_shape),
                     (long long)q->heads, (long long)k->heads, k->name,
                     npy_shape_text(k->array->rank, k->array->shape, &k_shape));
}

void case_set_views(case_record *c, const case_view *q, const case_view *k, const case_view *v)
{
    attn_problem *p = &c->problem;
    *p = attn_problem_make(q->heads, q->len, q->dim);
    p->batch = q->batch;
    p->kv_heads = k->heads;
    p->kv_len = k->len;
    p->v_dim = v->dim;
    c->tensors.q = q->at;
    c->tensors.k = k->at;
    c->tensors.v = v->at;
}

/* ---- masks ----------------------------------------------------------------------- */

/* The mask with its last dimension filled up to `keys` by false or -inf, as bytes or floats. */
static void *pad_mask(case_record *c, const npy_array *mask, int64_t keys, npy_error *error)
{
    int64_t width = mask->shape[mask->rank - 1], rows = 1;
    for (int d = 0; d < mask->rank - 1; d++) rows *= mask->shape[d];
    bool boolean = mask->type == NPY_BOOL;
    void *padded = case_alloc(c, rows, keys * (boolean ? 1 : 4), error);
    uint8_t *bytes = padded;
    float *floats = padded;
    for (int64_t r = 0; padded && r < rows; r++)
        for (int64_t j = 0; j < keys; j++) {
            double value = j < width ? npy_value(mask, r * width + j) : boolean ? 0 : -INFINITY;
            if (boolean) bytes[r * keys + j] = value != 0;
            else floats[r * keys + j] = (float)value;
        }
    return padded;
}

static bool check_mask(const case_record *c, const char *name, const npy_array *mask,
                       const int64_t target[4], npy_error *error)
{
    npy_text shape, wanted;
    bool fits = mask->rank >= 1 && mask->rank <= 4;
    npy_shape_text(mask->rank, mask->shape, &shape);
    for (int d = 0; fits && d < mask->rank; d++) {
        int64_t extent = mask->shape[mask->rank - 1 - d], limit = target[3 - d];
        fits = d == 0 ? extent <= limit : extent == 1 || extent == limit;
    }
    if (!fits)
        return case_fail(c, error,
                         "%s has shape %s; it must broadcast to [batch, heads, queries, keys] = %s",
                         name, shape.text, npy_shape_text(4, target, &wanted));
    for (int64_t i = 0; npy_is_float(mask->type) && i < npy_count(mask); i++)
        if (isnan(npy_value(mask, i)))
            return case_fail(c, error,
                             "%s %s: element %lld is NaN; a mask must hold numbers or -inf", name,
                             shape.text, (long long)i);
    return true;
}

bool case_set_mask(case_record *c, const char *name, const npy_array *mask, npy_error *error)
{
    attn_problem *p = &c->problem;
    const int64_t target[4] = {p->batch, p->q_heads, p->q_len, p->kv_len};
    if (!check_mask(c, name, mask, target, error)) return false;
    void *data = pad_mask(c, mask, p->kv_len, error);
    int64_t strides[4] = {0, 0, 0, 1}, step = p->kv_len;
    for (int d = 1; d < mask->rank; d++) {
        int64_t extent = mask->shape[mask->rank - 1 - d];
        strides[3 - d] = extent == 1 ? 0 : step;
        step *= extent;
    }
    p->has_mask = mask->type == NPY_BOOL;
    p->has_bias = !p->has_mask;
    if (mask->type == NPY_FLOAT64) c->no_bound = "a float64 mask, which is rounded to float32";
    if (p->has_mask)
        c->tensors.mask = (attn_mask){data, strides[0], strides[1], strides[2], strides[3]};
    else c->tensors.bias = (attn_bias){data, strides[0], strides[1], strides[2], strides[3]};
    return data;
}

/* ---- outputs --------------------------------------------------------------------- */

bool case_bind(case_record *c, const char *name, case_role role, npy_type type, int rank,
               const int64_t *shape, case_output **bound, npy_error *error)
{
    case_output *output = *bound = case_find_output(c, name);
    npy_text found, wanted;
    if (!output) return true;
    const npy_array *declared = &output->want;
    bool right_type = type == NPY_TYPES ? npy_is_float(declared->type) : declared->type == type;
    if (!right_type)
        return case_fail(c, error, "%s: dtype is %s; it must be %s", name,
                         npy_type_name(declared->type),
                         type == NPY_TYPES ? "a float type" : npy_type_name(type));
    if (declared->rank != rank || memcmp(declared->shape, shape, (size_t)rank * sizeof *shape) != 0)
        return case_fail(c, error, "%s has shape %s; expected %s", name,
                         npy_shape_text(declared->rank, declared->shape, &found),
                         npy_shape_text(rank, shape, &wanted));
    output->role = role;
    output->got = case_alloc(c, npy_count(declared), sizeof *output->got, error);
    return output->got;
}
