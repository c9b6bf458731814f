/* vec_math.h: 2^x and tanh over vec.h, for a whole vector, no library call.
 *
 * 2^x: x = n + r with n the nearest integer, |r| <= 1/2; 2^r = 1 + r P(r), a polynomial of degree 6
 * in all, relative minimax (Lawson's iteration, then rounded to float: 0.16 ULP).
 * EXP_ULP and TANH_ULP are seen over every float of the domains (test_vec_<isa> ISA 1). */
#ifndef KERNELS_PORTABLE_VEC_MATH_H
#define KERNELS_PORTABLE_VEC_MATH_H

#include VEC_H

#define EXP_ULP  1.23 /* attained: 1.2272 at -0x1.feaf02p-2 without FMA, 0.9516 at -0x1.fbe9f6p-2 */
#define TANH_ULP 2.67 /* attained: 2.6681 at 0x1.fa3ff2p-5 without FMA, 2.6059 at 0x1.ff4f96p-5 */

/* 2^x for x <= 0, NaN for NaN; may be 0 below 2^-126. */
static inline vec vec_exp2(vec x)
{
    vec n, r = vec_split(x, &n);
    vec p = vec_set(0x1.41fbaep-13f);            /* 1.535335e-4 */
    p = vec_fma(p, r, vec_set(0x1.5f3e6ap-10f)); /* 1.339889e-3 */
    p = vec_fma(p, r, vec_set(0x1.3b2d4ep-7f));  /* 9.618438e-3 */
    p = vec_fma(p, r, vec_set(0x1.c6aee8p-5f));  /* 5.550332e-2 */
    p = vec_fma(p, r, vec_set(0x1.ebfbdcp-3f));  /* 2.402265e-1 */
    p = vec_fma(p, r, vec_set(0x1.62e430p-1f));  /* 6.931472e-1 */
    return vec_scale(vec_fma(p, r, vec_set(1)), n);
}

/* tanh x = e / (e + 2) with e = exp(2 |x|) - 1, the sign of x put back. With 2 |x| = n ln 2 + r,
 * e = 2^n (exp(r) - 1) + (2^n - 1) has no cancellation. From |x| = 9.02 on tanh is 1 in float. */
static inline vec vec_tanh(vec x)
{
    vec y = vec_min(vec_set(19), vec_add(vec_abs(x), vec_abs(x))), n;
    vec_split(vec_mul(y, vec_set(0x1.715476p0f)), &n); /* log2(e) */
    vec r = vec_fma(n, vec_set(-0x1.62e400p-1f), y);   /* ln 2 in 15 bits: n times it is exact */
    r = vec_fma(n, vec_set(-0x1.7f7d1cp-20f), r);      /* and the rest */
    vec p = vec_set(0x1.6a23cep-10f);                  /* 1.381453e-3 */
    p = vec_fma(p, r, vec_set(0x1.123a20p-7f));        /* 8.368745e-3 */
    p = vec_fma(p, r, vec_set(0x1.5558f2p-5f));        /* 4.166839e-2 */
    p = vec_fma(p, r, vec_set(0x1.555492p-3f));        /* 1.666652e-1 */
    p = vec_fma(p, r, vec_set(0x1.fffffcp-2f));        /* 4.999999e-1 */
    vec e = vec_fma(p, vec_mul(r, r), r), power = vec_scale(vec_set(1), n);
    e = vec_fma(e, power, vec_sub(power, vec_set(1)));
    vec t = vec_div(e, vec_add(e, vec_set(2)));
    return vec_select(vec_less(x, vec_set(0)), vec_sub(vec_set(0), t), t);
}

#endif
