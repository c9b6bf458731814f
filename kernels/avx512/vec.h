/* vec.h for AVX-512 (F, VL, BW, DQ): 16 lanes, 32 registers. Contract: scalar/vec.h. */
#ifndef KERNELS_AVX512_VEC_H
#define KERNELS_AVX512_VEC_H

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

typedef __m512 vec;
typedef __mmask16 vec_mask;

enum { VEC_LANES = 16, VEC_STRIP = 3, VEC_TILE = 8 };

static inline vec_mask vec_first(int64_t n) { return (vec_mask)((1u << n) - 1); }

static inline vec vec_set(float x) { return _mm512_set1_ps(x); }
static inline vec vec_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void vec_store(float *p, vec a) { _mm512_storeu_ps(p, a); }

static inline vec vec_load_first(const float *p, int64_t n)
{
    return _mm512_maskz_loadu_ps(vec_first(n), p);
}

static inline void vec_store_first(float *p, vec a, int64_t n)
{
    _mm512_mask_storeu_ps(p, vec_first(n), a);
}

static inline vec vec_load_mask_first(const uint8_t *p, int64_t n)
{
    __m128i bytes = _mm_maskz_loadu_epi8(vec_first(n), p);
    return _mm512_mask_blend_ps(_mm_test_epi8_mask(bytes, bytes), _mm512_set1_ps(-INFINITY),
                                _mm512_setzero_ps());
}

static inline vec vec_add(vec a, vec b) { return _mm512_add_ps(a, b); }
static inline vec vec_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
static inline vec vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
static inline vec vec_div(vec a, vec b) { return _mm512_div_ps(a, b); }
static inline vec vec_abs(vec a) { return _mm512_abs_ps(a); }
static inline vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline vec vec_max(vec a, vec b) { return _mm512_max_ps(a, b); }
static inline vec vec_min(vec a, vec b) { return _mm512_min_ps(a, b); }
static inline vec vec_split(vec a, vec *n)
{
    *n = _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_reduce_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); /* 0 for -inf */
}
static inline vec vec_scale(vec p, vec n) { return _mm512_scalef_ps(p, n); }

static inline vec_mask vec_less(vec a, vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline vec_mask vec_is_nan(vec a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
static inline vec_mask vec_and(vec_mask a, vec_mask b) { return a & b; }
static inline bool vec_any(vec_mask m) { return m != 0; }
static inline vec vec_select(vec_mask m, vec a, vec b) { return _mm512_mask_blend_ps(m, b, a); }

static inline vec vec_zip_low(vec a, vec b)
{
    const __m512i from = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return _mm512_permutex2var_ps(a, from, b);
}

static inline vec vec_zip_high(vec a, vec b)
{
    const __m512i from =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    return _mm512_permutex2var_ps(a, from, b);
}

static inline float vec_total(vec a) { return _mm512_reduce_add_ps(a); }
static inline float vec_largest(vec a) { return _mm512_reduce_max_ps(a); }

#endif
