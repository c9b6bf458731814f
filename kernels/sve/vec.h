/* vec.h for SVE at one fixed width (-msve-vector-bits=N): N / 32 lanes, 32 registers. A vector of
 * fixed width may stand in an array; a row of the table in kernels/meson.build is one width.
 * Contract: scalar/vec.h. */
#ifndef KERNELS_SVE_VEC_H
#define KERNELS_SVE_VEC_H

#include <arm_sve.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

typedef svfloat32_t vec __attribute__((arm_sve_vector_bits(8 * VEC_BYTES)));
typedef svbool_t vec_mask __attribute__((arm_sve_vector_bits(8 * VEC_BYTES)));

enum { VEC_LANES = VEC_BYTES / 4, VEC_STRIP = 3, VEC_TILE = 8 };

static inline vec_mask vec_all(void) { return svptrue_b32(); }
static inline vec_mask vec_first(int64_t n) { return svwhilelt_b32((int64_t)0, n); }

static inline vec vec_set(float x) { return svdup_f32(x); }
static inline vec vec_load(const float *p) { return svld1_f32(vec_all(), p); }
static inline void vec_store(float *p, vec a) { svst1_f32(vec_all(), p, a); }
static inline vec vec_load_first(const float *p, int64_t n) { return svld1_f32(vec_first(n), p); }
static inline void vec_store_first(float *p, vec a, int64_t n) { svst1_f32(vec_first(n), p, a); }

static inline vec vec_load_mask_first(const uint8_t *p, int64_t n)
{
    vec_mask seen = svcmpne_n_u32(vec_first(n), svld1ub_u32(vec_first(n), p), 0);
    return svsel_f32(seen, vec_set(0), vec_set(-INFINITY));
}

static inline vec vec_add(vec a, vec b) { return svadd_f32_x(vec_all(), a, b); }
static inline vec vec_sub(vec a, vec b) { return svsub_f32_x(vec_all(), a, b); }
static inline vec vec_mul(vec a, vec b) { return svmul_f32_x(vec_all(), a, b); }
static inline vec vec_div(vec a, vec b) { return svdiv_f32_x(vec_all(), a, b); }
static inline vec vec_abs(vec a) { return svabs_f32_x(vec_all(), a); }
static inline vec vec_fma(vec a, vec b, vec c) { return svmla_f32_x(vec_all(), c, a, b); }
static inline vec vec_max(vec a, vec b) { return svmax_f32_x(vec_all(), a, b); }
static inline vec vec_min(vec a, vec b) { return svmin_f32_x(vec_all(), a, b); }

static inline vec vec_split(vec a, vec *n)
{
    a = vec_max(vec_set(-127), a);
    *n = svrintn_f32_x(vec_all(), a);
    return vec_sub(a, *n);
}

static inline vec vec_scale(vec p, vec n)
{
    vec shifted = vec_add(n, vec_set(0x1.8p23f + 127)); /* n + 127 in the low bits */
    svuint32_t power = svlsl_n_u32_x(vec_all(), svreinterpret_u32_f32(shifted), 23);
    return vec_mul(p, svreinterpret_f32_u32(power));
}

static inline vec_mask vec_less(vec a, vec b) { return svcmplt_f32(vec_all(), a, b); }
static inline vec_mask vec_is_nan(vec a) { return svcmpuo_f32(vec_all(), a, a); }
static inline vec_mask vec_and(vec_mask a, vec_mask b) { return svand_b_z(vec_all(), a, b); }
static inline bool vec_any(vec_mask m) { return svptest_any(vec_all(), m); }
static inline vec vec_select(vec_mask m, vec a, vec b) { return svsel_f32(m, a, b); }

static inline vec vec_zip_low(vec a, vec b) { return svzip1_f32(a, b); }
static inline vec vec_zip_high(vec a, vec b) { return svzip2_f32(a, b); }

static inline float vec_total(vec a) { return svaddv_f32(vec_all(), a); }
static inline float vec_largest(vec a) { return svmaxv_f32(vec_all(), a); }

#endif
