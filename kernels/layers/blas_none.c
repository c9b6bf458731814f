/* blas_none.c: stands for blas.c in a build without a BLAS. */
#include "kernels/layers/blas.h"

const char *blas_missing(void) { return "built without BLAS"; }

const char *blas_name(void) { return "none"; }

void blas_multiply_add(int rows, int out, int in, const float *x, const float *weight, float *y)
{
    (void)rows, (void)out, (void)in, (void)x, (void)weight, (void)y;
}
