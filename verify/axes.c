/* axes.c: inputs turned around in place, and copies with every key twice. */
#include <stdlib.h>
#include <string.h>

#include "verify/run.h"

static int64_t extent(int64_t stride, int64_t size) { return stride ? size : 1; }

static axes axes_of_rows(const attn_input *x, int64_t batch, int64_t heads, int64_t dim)
{
    return (axes){.data = (char *)x->data,
                  .size = {batch, heads, 1, 1},
                  .stride = {4 * x->batch_stride, 4 * x->head_stride, 0, 0},
                  .bytes = 4 * dim};
}

static axes axes_of_pairs(const attn_problem *p, const void *data, const int64_t stride[AXES],
                          int64_t bytes)
{
    const int64_t size[AXES] = {p->batch, p->q_heads, p->q_len, p->kv_len};
    axes x = {.data = (char *)data, .bytes = bytes};
    for (int a = 0; a < AXES; a++)
        x.size[a] = extent(stride[a], size[a]), x.stride[a] = bytes * stride[a];
    return x;
}

static axes axes_of_list(const void *data, int axis, int64_t size, int64_t bytes)
{
    axes x = {.data = (char *)data, .size = {1, 1, 1, 1}, .bytes = bytes};
    x.size[axis] = size, x.stride[axis] = bytes;
    return x;
}

void axes_of(const attn_problem *p, const attn_tensors *t, axes list[AXES_TENSORS])
{
    const attn_mask *m = &t->mask;
    const attn_bias *b = &t->bias;
    const int64_t of_mask[] = {m->batch_stride, m->head_stride, m->row_stride, m->key_stride};
    const int64_t of_bias[] = {b->batch_stride, b->head_stride, b->row_stride, b->key_stride};
    memset(list, 0, AXES_TENSORS * sizeof *list);
    list[AXES_Q] = axes_of_rows(&t->q, p->batch, p->q_heads, p->qk_dim);
    list[AXES_Q].size[AXIS_ROW] = p->q_len, list[AXES_Q].stride[AXIS_ROW] = 4 * t->q.row_stride;
    list[AXES_K] = axes_of_rows(&t->k, p->batch, p->kv_heads, p->qk_dim);
    list[AXES_K].size[AXIS_KEY] = p->kv_len, list[AXES_K].stride[AXIS_KEY] = 4 * t->k.row_stride;
    list[AXES_V] = axes_of_rows(&t->v, p->batch, p->kv_heads, p->v_dim);
    list[AXES_V].size[AXIS_KEY] = p->kv_len, list[AXES_V].stride[AXIS_KEY] = 4 * t->v.row_stride;
    if (p->has_mask) list[AXES_MASK] = axes_of_pairs(p, m->data, of_mask, 1);
    if (p->has_bias) list[AXES_BIAS] = axes_of_pairs(p, b->data, of_bias, 4);
    if (p->has_kv_lens) list[AXES_LENS] = axes_of_list(t->kv_lens, AXIS_BATCH, p->batch, 8);
    if (p->has_q_offsets) list[AXES_OFFSETS] = axes_of_list(t->q_offsets, AXIS_BATCH, p->batch, 8);
    if (p->has_alibi) list[AXES_SLOPES] = axes_of_list(t->alibi_slopes, AXIS_HEAD, p->q_heads, 4);
    if (p->has_sinks) list[AXES_SINKS] = axes_of_list(t->sinks, AXIS_HEAD, p->q_heads, 4);
}

char *axes_at(const axes *x, const int64_t place[AXES])
{
    char *at = x->data;
    for (int a = 0; a < AXES; a++) at += x->size[a] > 1 ? x->stride[a] * place[a] : 0;
    return at;
}

static void swap(char *a, char *b, int64_t bytes)
{
    for (int64_t x = 0; x < bytes; x++) {
        char kept = a[x];
        a[x] = b[x], b[x] = kept;
    }
}

/* Element number n, counted with the last axis fastest, or its mirror image. */
static char *element(const axes *x, int64_t n, unsigned mask)
{
    char *at = x->data;
    for (int a = AXES - 1; a >= 0; a--) {
        int64_t index = n % x->size[a];
        n /= x->size[a];
        at += x->stride[a] * (mask >> a & 1 ? x->size[a] - 1 - index : index);
    }
    return at;
}

static int64_t elements(const axes *x)
{
    return x->data ? x->size[0] * x->size[1] * x->size[2] * x->size[3] : 0;
}

static bool turns(const axes *x, unsigned mask)
{
    for (int a = 0; a < AXES; a++)
        if (mask >> a & 1 && x->size[a] > 1) return true;
    return false;
}

void axes_mirror(const axes list[AXES_TENSORS], unsigned mask)
{
    for (int t = 0; t < AXES_TENSORS; t++)
        for (int64_t n = 0; turns(&list[t], mask) && n < elements(&list[t]); n++) {
            char *a = element(&list[t], n, 0), *b = element(&list[t], n, mask);
            if (a < b) swap(a, b, list[t].bytes);
        }
}

axes axes_doubled(axes x)
{
    int64_t count = elements(&x), keys = x.size[AXIS_KEY];
    axes twice = x;
    twice.data = malloc((size_t)(2 * count * x.bytes + 1));
    for (int64_t n = 0; twice.data && n < count; n++) {
        char *row = twice.data + (n / keys * 2 * keys + n % keys) * x.bytes;
        memcpy(row, element(&x, n, 0), (size_t)x.bytes);
        memcpy(row + keys * x.bytes, row, (size_t)x.bytes);
    }
    twice.size[AXIS_KEY] = 2 * keys;
    int64_t stride = x.bytes;
    for (int a = AXES - 1; a >= 0; a--) {
        twice.stride[a] = x.size[a] > 1 || a == AXIS_KEY ? stride : 0;
        stride *= twice.size[a];
    }
    return twice;
}
