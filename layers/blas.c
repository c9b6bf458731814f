/* blas.c: the matrix product, by CBLAS.
 *
 * OpenBLAS splits a product among its own threads and rounds differently with each number of them.
 * Here it gets one: a layer then gives the same bits whatever the machine and the other libraries
 * of the process do, its threads do not compete with the kernels', and the share of attention in a
 * model's time compares one thread with one thread. The symbol is weak, because -Dblas= may name a
 * library without it; such a library must be told by its own means (MKL_NUM_THREADS=1,
 * BLIS_NUM_THREADS=1); the reference BLAS has no threads. */
#include "layers/blas.h"

#include <cblas.h>
#include <pthread.h>

extern void openblas_set_num_threads(int threads) __attribute__((weak));

static void use_one_thread(void)
{
    if (openblas_set_num_threads) openblas_set_num_threads(1);
}

const char *blas_missing(void) { return 0; }

void blas_multiply_add(int rows, int out, int in, const float *x, const float *weight, float *y)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, use_one_thread);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, out, in, 1, x, in, weight, in, 1, y,
                out);
}
