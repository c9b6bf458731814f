/* linear.c: y = x W^T + b. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels/layers/blas.h"
#include "kernels/layers/layer.h"

const char *attn_blas_missing(void) { return blas_missing(); }
const char *attn_blas_name(void) { return blas_name(); }

attn_status layer_fail(attn_error *error, attn_status status, const char *format, ...)
{
    if (!error) return status;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    return status;
}

attn_status layer_check_linear(const attn_linear *layer, const char *name, int64_t in, int64_t out,
                               attn_error *error)
{
    if (layer->in != in || layer->out != out)
        return layer_fail(error, ATTN_INVALID,
                          "the %s projection is [%lld, %lld]; it must be [out, in] = [%lld, %lld]",
                          name, (long long)layer->out, (long long)layer->in, (long long)out,
                          (long long)in);
    if (!layer->weight && (in != out || layer->bias))
        return layer_fail(error, ATTN_INVALID,
                          "the %s projection has no weight, but %lld inputs, %lld outputs and %s "
                          "bias; an identity has as many of both and no bias",
                          name, (long long)in, (long long)out, layer->bias ? "a" : "no");
    return ATTN_OK;
}

attn_status attn_linear_run(const attn_linear *layer, int64_t rows, const float *x, float *y,
                            attn_error *error)
{
    int64_t in = layer->in, out = layer->out;
    if (rows < 0 || in < 1 || out < 1 || rows > INT_MAX || in > INT_MAX || out > INT_MAX)
        return layer_fail(error, ATTN_INVALID,
                          "a product of [%lld, %lld] and [%lld, %lld]: sizes must be from 1 to %d",
                          (long long)rows, (long long)in, (long long)out, (long long)in, INT_MAX);
    if (rows == 0) return ATTN_OK;
    if (!layer->weight) {
        memcpy(y, x, (size_t)(rows * out) * sizeof *y);
        return ATTN_OK;
    }
    if (blas_missing()) return layer_fail(error, ATTN_UNSUPPORTED, "%s", blas_missing());
    for (int64_t r = 0; r < rows; r++)
        if (layer->bias) memcpy(y + r * out, layer->bias, (size_t)out * sizeof *y);
        else memset(y + r * out, 0, (size_t)out * sizeof *y);
    blas_multiply_add((int)rows, (int)out, (int)in, x, layer->weight, y);
    return ATTN_OK;
}
