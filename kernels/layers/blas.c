/* blas.c: the matrix product, by CBLAS.
 *
 * OpenBLAS splits a product among its own threads and rounds differently with each number of them.
 * Here it gets one: a layer then gives the same bits however many CPUs there are and whatever the
 * rest of the process does, its threads do not compete with the kernels', and the share of
 * attention in a model's time compares one thread with one thread. OpenBLAS's own symbols are weak,
 * because -Dblas= may name a library without them; such a library must be told by its own means
 * (MKL_NUM_THREADS=1, BLIS_NUM_THREADS=1); the reference BLAS has no threads. */
#include "kernels/layers/blas.h"

#include <cblas.h>
#include <pthread.h>

extern void openblas_set_num_threads(int threads) __attribute__((weak));
extern char *openblas_get_config(void) __attribute__((weak));

static void use_one_thread(void)
{
    if (openblas_set_num_threads) openblas_set_num_threads(1);
}

const char *blas_missing(void) { return 0; }

const char *blas_name(void) { return openblas_get_config ? openblas_get_config() : BLAS_NAME; }

void blas_multiply_add(int rows, int out, int in, const float *x, const float *weight, float *y)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, use_one_thread);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, out, in, 1, x, in, weight, in, 1, y,
                out);
}
