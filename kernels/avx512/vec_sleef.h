/* vec_sleef.h: 2^x and tanh of SLEEF for AVX-512.
 *
 * See scalar/vec_sleef.h. */
#ifndef KERNELS_AVX512_VEC_SLEEF_H
#define KERNELS_AVX512_VEC_SLEEF_H

#include <sleef.h>

#include VEC_H

#define EXP_ULP  1.0
#define TANH_ULP 1.0

static inline vec vec_exp2(vec x) { return Sleef_exp2f16_u10avx512f(x); }
static inline vec vec_tanh(vec x) { return Sleef_tanhf16_u10avx512f(x); }

#endif
