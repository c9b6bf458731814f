/* attention.c: is this call legal, and which kernel answers it? No arithmetic on tensor data. */
#include "kernels/attention.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#pragma GCC visibility push(default)

#define KERNEL(name) extern const attn_kernel attn_kernel_##name;
#include "kernels/kernel_list.h"
#undef KERNEL

static const attn_kernel *const kernels[] = {
#define KERNEL(name) &attn_kernel_##name,
#include "kernels/kernel_list.h"
#undef KERNEL
};

const attn_kernel *const *attn_kernels(int *count)
{
    *count = sizeof kernels / sizeof *kernels;
    return kernels;
}

const attn_kernel *attn_find(const char *name)
{
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (strcmp(kernels[i]->name, name) == 0) return kernels[i];
    return NULL;
}

const char *attn_supports(const attn_kernel *kernel, const attn_problem *problem)
{
    const char *missing = attn_isa_missing(kernel->isa);
    return missing ? missing : kernel->refuses(problem);
}

const attn_kernel *attn_best(const attn_problem *problem)
{
    if (attn_validate(problem, NULL, NULL)) return NULL;
    int64_t group = problem->kv_heads > 0 ? problem->q_heads / problem->kv_heads : 1;
    for (size_t i = sizeof kernels / sizeof *kernels; i-- > 0;) {
        int64_t most = kernels[i]->best_rows;
        bool suits = most == 0 || (problem->q_len <= most && group * problem->q_len <= most);
        if (suits && !attn_supports(kernels[i], problem)) return kernels[i];
    }
    return NULL;
}

/* ---- validation ----------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static attn_status refuse(attn_error *error,
                                                                const char *format, ...)
{
    if (error) {
        va_list args;
        va_start(args, format);
        vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
    }
    return ATTN_INVALID;
}

/* Positions and products stay below 2^62, so that sums of two of them cannot overflow. */
static const int64_t size_limit = INT64_C(1) << 62;

/* Does the product fit, also that of any part of it? A size of 0 counts as 1, so that it hides
 * nothing. */
static bool product_fits(const int64_t *sizes, int count)
{
    int64_t product = 1;
    for (int i = 0; i < count; i++)
        if (__builtin_mul_overflow(product, sizes[i] ? sizes[i] : 1, &product) ||
            product >= size_limit)
            return false;
    return true;
}

static attn_status check_sizes(const attn_problem *p, attn_error *error)
{
    const struct {
        const char *name;
        int64_t value, least;
    } sizes[] = {
        {"batch", p->batch, 0}, {"q_heads", p->q_heads, 0}, {"kv_heads", p->kv_heads, 0},
        {"q_len", p->q_len, 0}, {"kv_len", p->kv_len, 0},   {"qk_dim", p->qk_dim, 1},
        {"v_dim", p->v_dim, 1},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < sizes[i].least)
            return refuse(error, "%s is %lld; it must be at least %lld", sizes[i].name,
                          (long long)sizes[i].value, (long long)sizes[i].least);
    if (p->q_heads > 0 && (p->kv_heads == 0 || p->q_heads % p->kv_heads != 0))
        return refuse(error, "q_heads is %lld; it must be a multiple of kv_heads, which is %lld",
                      (long long)p->q_heads, (long long)p->kv_heads);
    const int64_t products[][5] = {
        {p->batch, p->q_heads, p->q_len, p->kv_len, 4},
        {p->batch, p->q_heads, p->q_len, p->qk_dim, 4},
        {p->batch, p->q_heads, p->q_len, p->v_dim, 4},
        {p->batch, p->kv_heads, p->kv_len, p->qk_dim, 4},
        {p->batch, p->kv_heads, p->kv_len, p->v_dim, 4},
        {p->qk_dim, 1024, 1, 1, 4},
        {p->v_dim, 1024, 1, 1, 4},
    };
    static const char *const names[] = {
        "batch x q_heads x q_len x kv_len",
        "batch x q_heads x q_len x qk_dim",
        "batch x q_heads x q_len x v_dim",
        "batch x kv_heads x kv_len x qk_dim",
        "batch x kv_heads x kv_len x v_dim",
        "qk_dim",
        "v_dim",
    };
    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
        if (!product_fits(products[i], 5))
            return refuse(error, "%s overflows: more than 2^62 bytes", names[i]);
    return ATTN_OK;
}

static attn_status check_rules(const attn_problem *p, attn_error *error)
{
    if (!isfinite(p->scale)) return refuse(error, "scale is %g; it must be finite", p->scale);
    if (!isfinite(p->softcap) || p->softcap < 0)
        return refuse(error, "softcap is %g; it must be 0 (none) or a positive number", p->softcap);
    if (p->score != ATTN_DOT && p->score != ATTN_ADDITIVE)
        return refuse(error, "score is %d; it must be ATTN_DOT or ATTN_ADDITIVE", (int)p->score);
    if (p->select != ATTN_SOFTMAX && p->select != ATTN_HARDMAX && p->select != ATTN_TOPK)
        return refuse(error, "select is %d; it must be softmax, hardmax or top-k", (int)p->select);
    if (p->select == ATTN_TOPK ? p->top_k < 1 : p->top_k != 0)
        return refuse(error, "top_k is %lld; it must be at least 1 with top-k and 0 without",
                      (long long)p->top_k);
    if (p->select == ATTN_HARDMAX && p->has_sinks)
        return refuse(error, "sinks take part in a softmax; select is hardmax");
    if (p->window_left < -1 || p->window_left >= size_limit)
        return refuse(error, "window_left is %lld; it must be -1 (unbounded) or a distance in keys",
                      (long long)p->window_left);
    if (p->window_right < -1 || p->window_right >= size_limit)
        return refuse(error,
                      "window_right is %lld; it must be -1 (unbounded) or a distance in keys",
                      (long long)p->window_right);
    if (p->q_offset <= -size_limit / 2 || p->q_offset >= size_limit / 2)
        return refuse(error, "q_offset is %lld; it must be within +-2^61", (long long)p->q_offset);
    if ((int)p->weights < ATTN_WEIGHTS_NONE || p->weights > ATTN_WEIGHTS_NORMALISED)
        return refuse(error, "weights is %d; it must be one of attn_weights", (int)p->weights);
    return ATTN_OK;
}

/* One tensor as the checks see it: extents and strides outermost first, element size in bytes. */
typedef struct layout {
    const char *name;
    const void *data;
    int64_t extent[4], stride[4];
    int64_t element_bytes;
    bool output;
    int64_t bytes; /* from first to last byte touched; set by check_layout */
} layout;

static bool overlaps_itself(const layout *t)
{
    int64_t reach = 1; /* elements covered by the dimensions seen so far, smallest stride first */
    bool used[4] = {false};
    for (int step = 0; step < 4; step++) {
        int next = -1;
        for (int d = 0; d < 4; d++)
            if (!used[d] && (next < 0 || t->stride[d] < t->stride[next])) next = d;
        used[next] = true;
        if (t->extent[next] > 1 && t->stride[next] < reach) return true;
        reach += (t->extent[next] - 1) * t->stride[next];
    }
    return false;
}

static attn_status check_layout(layout *t, attn_error *error)
{
    static const char *const dims[] = {"batch", "head", "row", "key"};
    int64_t last = 0;
    t->bytes = 0;
    for (int d = 0; d < 4; d++)
        if (t->extent[d] == 0) return ATTN_OK;
    for (int d = 0; d < 4; d++) {
        int64_t step;
        if (t->stride[d] < 0)
            return refuse(error, "%s: %s stride is %lld; it must not be negative", t->name, dims[d],
                          (long long)t->stride[d]);
        if (__builtin_mul_overflow(t->extent[d] - 1, t->stride[d], &step) ||
            __builtin_add_overflow(last, step, &last) || last >= size_limit / t->element_bytes)
            return refuse(error, "%s: %s stride %lld overflows", t->name, dims[d],
                          (long long)t->stride[d]);
    }
    if (!t->data) return refuse(error, "%s: data is null; the problem needs this tensor", t->name);
    if ((uintptr_t)t->data % (uintptr_t)t->element_bytes != 0)
        return refuse(error, "%s: data is not aligned to its %lld-byte elements", t->name,
                      (long long)t->element_bytes);
    t->bytes = (last + 1) * t->element_bytes;
    if (t->output && overlaps_itself(t))
        return refuse(error, "%s: strides make rows overlap; an output needs room for each",
                      t->name);
    return ATTN_OK;
}

/* The tensors that the problem has, as layouts; returns how many. */
static int list_layouts(const attn_problem *p, const attn_tensors *t, layout list[13])
{
    int64_t b = p->batch, h = p->q_heads, g = p->kv_heads, n = p->q_len, m = p->kv_len;
    int64_t d = p->qk_dim, e = p->v_dim;
    int count = 0;
#define VIEW(v) {(v).batch_stride, (v).head_stride, (v).row_stride, 1}
#define MASK(v)                                                                                    \
    {                                                                                              \
        (v).batch_stride, (v).head_stride, (v).row_stride, (v).key_stride                          \
    }
    list[count++] = (layout){"q", t->q.data, {b, h, n, d}, VIEW(t->q), 4, false, 0};
    list[count++] = (layout){"k", t->k.data, {b, g, m, d}, VIEW(t->k), 4, false, 0};
    list[count++] = (layout){"v", t->v.data, {b, g, m, e}, VIEW(t->v), 4, false, 0};
    list[count++] = (layout){"out", t->out.data, {b, h, n, e}, VIEW(t->out), 4, true, 0};
    if (p->wants_lse) {
        layout lse = {"lse", t->lse.data, {b, h, n, 1}, VIEW(t->lse), 4, true, 0};
        list[count++] = lse;
    }
    if (p->weights)
        list[count++] =
            (layout){"weights", t->weights.data, {b, h, n, m}, VIEW(t->weights), 4, true, 0};
    if (p->has_mask)
        list[count++] = (layout){"mask", t->mask.data, {b, h, n, m}, MASK(t->mask), 1, false, 0};
    if (p->has_bias)
        list[count++] = (layout){"bias", t->bias.data, {b, h, n, m}, MASK(t->bias), 4, false, 0};
    if (p->has_kv_lens)
        list[count++] = (layout){"kv_lens", t->kv_lens, {b, 1, 1, 1}, {1, 1, 1, 1}, 8, false, 0};
    if (p->has_q_offsets)
        list[count++] =
            (layout){"q_offsets", t->q_offsets, {b, 1, 1, 1}, {1, 1, 1, 1}, 8, false, 0};
    if (p->has_alibi)
        list[count++] =
            (layout){"alibi_slopes", t->alibi_slopes, {h, 1, 1, 1}, {1, 1, 1, 1}, 4, false, 0};
    if (p->has_sinks)
        list[count++] = (layout){"sinks", t->sinks, {h, 1, 1, 1}, {1, 1, 1, 1}, 4, false, 0};
    if (p->score == ATTN_ADDITIVE)
        list[count++] =
            (layout){"score_vector", t->score_vector, {1, 1, 1, d}, {1, 1, 1, 1}, 4, false, 0};
#undef VIEW
#undef MASK
    return count;
}

static bool ranges_meet(const layout *a, const layout *b)
{
    uintptr_t a0 = (uintptr_t)a->data, b0 = (uintptr_t)b->data;
    return a->bytes > 0 && b->bytes > 0 && a0 < b0 + (uintptr_t)b->bytes &&
           b0 < a0 + (uintptr_t)a->bytes;
}

static attn_status check_batch_values(const attn_problem *p, const attn_tensors *t,
                                      attn_error *error)
{
    for (int64_t b = 0; b < p->batch; b++) {
        if (p->has_kv_lens && (t->kv_lens[b] < 0 || t->kv_lens[b] > p->kv_len))
            return refuse(error, "kv_lens[%lld] is %lld; it must be between 0 and kv_len = %lld",
                          (long long)b, (long long)t->kv_lens[b], (long long)p->kv_len);
        if (p->has_q_offsets &&
            (t->q_offsets[b] <= -size_limit / 2 || t->q_offsets[b] >= size_limit / 2))
            return refuse(error, "q_offsets[%lld] is %lld; it must be within +-2^61", (long long)b,
                          (long long)t->q_offsets[b]);
    }
    return ATTN_OK;
}

static attn_status check_tensors(const attn_problem *p, const attn_tensors *t, attn_error *error)
{
    layout list[13];
    int count = list_layouts(p, t, list);
    for (int i = 0; i < count; i++)
        if (check_layout(&list[i], error)) return ATTN_INVALID;
    for (int o = 0; o < count; o++)
        for (int i = 0; i < count; i++)
            if (list[o].output && i != o && ranges_meet(&list[o], &list[i]))
                return refuse(error, "%s overlaps %s; outputs need memory of their own",
                              list[o].name, list[i].name);
    return check_batch_values(p, t, error);
}

attn_status attn_validate(const attn_problem *problem, const attn_tensors *tensors,
                          attn_error *error)
{
    if (!problem) return refuse(error, "problem is null");
    if (check_sizes(problem, error) || check_rules(problem, error)) return ATTN_INVALID;
    bool empty = problem->batch == 0 || problem->q_heads == 0 || problem->q_len == 0;
    return tensors && !empty ? check_tensors(problem, tensors, error) : ATTN_OK;
}

#pragma GCC visibility pop
