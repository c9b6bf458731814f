/* blas.h: the one matrix product that the layers need. */
#ifndef LAYERS_BLAS_H
#define LAYERS_BLAS_H

/* NULL, or why there is no product. */
const char *blas_missing(void);
const char *blas_name(void);

/* y [rows, out] += x [rows, in] weight [out, in]^T, on one thread; sizes >= 1. */
void blas_multiply_add(int rows, int out, int in, const float *x, const float *weight, float *y);

#endif
