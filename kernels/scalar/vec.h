/* vec.h: one vector of floats. This file is the contract; every ISA's folder has a vec.h with the
 * same names. Algorithms in portable/ are written over it once; test_vec.c holds every ISA to it.
 *
 * Lanes are numbered from 0. Pointers need no alignment beyond that of a float. "first n" means
 * lanes 0 <= l < n with 0 <= n <= VEC_LANES; memory of the other lanes is not touched. NaN: an
 * arithmetic result is NaN if an operand is; vec_less is false if an operand is. */
#ifndef KERNELS_SCALAR_VEC_H
#define KERNELS_SCALAR_VEC_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef float vec;
typedef bool vec_mask;

/* The register file: lanes of a vector; a tile is VEC_TILE rows of VEC_STRIP vectors, accumulated
 * in VEC_TILE * VEC_STRIP registers beside VEC_STRIP operands and one broadcast. */
enum { VEC_LANES = 1, VEC_STRIP = 3, VEC_TILE = 2 };

/* All lanes x. */
static inline vec vec_set(float x) { return x; }

static inline vec vec_load(const float *p) { return *p; }
static inline void vec_store(float *p, vec a) { *p = a; }

/* The first n lanes from p, 0 in the others. */
static inline vec vec_load_first(const float *p, int64_t n) { return n > 0 ? *p : 0; }
static inline void vec_store_first(float *p, vec a, int64_t n)
{
    if (n > 0) *p = a;
}

/* A boolean mask as an additive one: 0 where p[l] != 0, -inf where p[l] == 0, for the first n
 * lanes; -inf in the others. */
static inline vec vec_load_mask_first(const uint8_t *p, int64_t n)
{
    return n > 0 && *p ? 0 : -INFINITY;
}

static inline vec vec_add(vec a, vec b) { return a + b; }
static inline vec vec_sub(vec a, vec b) { return a - b; }
static inline vec vec_mul(vec a, vec b) { return a * b; }
static inline vec vec_div(vec a, vec b) { return a / b; }
static inline vec vec_abs(vec a) { return fabsf(a); }

/* a * b + c, rounded once where the ISA can. */
static inline vec vec_fma(vec a, vec b, vec c) { return a * b + c; }

/* The larger (smaller) of a and b; NaN if b is NaN; any of the two if only a is. */
static inline vec vec_max(vec a, vec b) { return a > b ? a : b; }
static inline vec vec_min(vec a, vec b) { return a < b ? a : b; }

/* a = n + r with n the nearest integer (ties to even): sets *n, returns r, |r| <= 1/2; for
 * a <= 127, -inf included. vec_scale is p * 2^n for that n and 1/2 < p < 2; 0 for a <= -150, and
 * perhaps already below 2^-126. NaN in a gives NaN in r, which vec_scale passes on from p. */
static inline vec vec_split(vec a, vec *n)
{
    a = a < -127 ? -127 : a;
    *n = (a + 0x1.8p23f) - 0x1.8p23f;
    return a - *n;
}
static inline vec vec_scale(vec p, vec n)
{
    float shifted = n + (0x1.8p23f + 127), power; /* n + 127 stands in the lowest bits */
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits <<= 23;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

static inline vec_mask vec_less(vec a, vec b) { return a < b; }
static inline vec_mask vec_is_nan(vec a) { return a != a; }
static inline vec_mask vec_and(vec_mask a, vec_mask b) { return a && b; }
static inline bool vec_any(vec_mask m) { return m; }
/* Lane by lane: m ? a : b. */
static inline vec vec_select(vec_mask m, vec a, vec b) { return m ? a : b; }

/* a0 b0 a1 b1 ...: the low half, and the high half, of the lanes of a and b interleaved. With one
 * lane there is nothing to interleave. */
static inline vec vec_zip_low(vec a, vec b) { return (void)b, a; }
static inline vec vec_zip_high(vec a, vec b) { return (void)a, b; }

/* The sum and the maximum of all lanes. */
static inline float vec_total(vec a) { return a; }
static inline float vec_largest(vec a) { return a; }

#endif
