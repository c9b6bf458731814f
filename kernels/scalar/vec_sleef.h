/* vec_sleef.h: 2^x and tanh of SLEEF for scalar.
 *
 * What vec_math.h computes itself: the includer takes one of the two. At most 1.0 ULP each
 * (SLEEF's documentation, "u10"); a call per vector. */
#ifndef KERNELS_SCALAR_VEC_SLEEF_H
#define KERNELS_SCALAR_VEC_SLEEF_H

#include <sleef.h>

#include VEC_H

#define EXP_ULP  1.0
#define TANH_ULP 1.0

static inline vec vec_exp2(vec x) { return Sleef_exp2f_u10(x); }
static inline vec vec_tanh(vec x) { return Sleef_tanhf_u10(x); }

#endif
