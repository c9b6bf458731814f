/* vec.h for AVX2 with FMA: 8 lanes, 16 registers. Contract: scalar/vec.h. */
#ifndef KERNELS_AVX2_VEC_H
#define KERNELS_AVX2_VEC_H

#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef __m256 vec;
typedef __m256 vec_mask; /* all bits of a lane set, or none */

enum { VEC_LANES = 8, VEC_STRIP = 3, VEC_TILE = 4 };

static inline __m256i vec_first(int64_t n)
{
    static const int32_t ones[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(ones + 8 - n));
}

static inline vec vec_set(float x) { return _mm256_set1_ps(x); }
static inline vec vec_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void vec_store(float *p, vec a) { _mm256_storeu_ps(p, a); }
static inline vec vec_load_first(const float *p, int64_t n)
{
    return _mm256_maskload_ps(p, vec_first(n));
}
static inline void vec_store_first(float *p, vec a, int64_t n)
{
    _mm256_maskstore_ps(p, vec_first(n), a);
}

static inline vec vec_load_mask_first(const uint8_t *p, int64_t n)
{
    uint64_t bytes = 0;
    if (n == 8) memcpy(&bytes, p, 8);
    else
        for (int64_t l = 0; l < n; l++) bytes |= (uint64_t)p[l] << 8 * l;
    __m256i words = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)bytes));
    __m256i hidden = _mm256_cmpeq_epi32(words, _mm256_setzero_si256());
    return _mm256_and_ps(_mm256_castsi256_ps(hidden), _mm256_set1_ps(-INFINITY));
}

static inline vec vec_add(vec a, vec b) { return _mm256_add_ps(a, b); }
static inline vec vec_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
static inline vec vec_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
static inline vec vec_div(vec a, vec b) { return _mm256_div_ps(a, b); }
static inline vec vec_abs(vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline vec vec_max(vec a, vec b) { return _mm256_max_ps(a, b); }
static inline vec vec_min(vec a, vec b) { return _mm256_min_ps(a, b); }
static inline vec vec_split(vec a, vec *n)
{
    a = _mm256_max_ps(_mm256_set1_ps(-127), a);
    *n = _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm256_sub_ps(a, *n);
}
static inline vec vec_scale(vec p, vec n)
{
    __m256 shifted =
        _mm256_add_ps(n, _mm256_set1_ps(0x1.8p23f + 127)); /* n + 127 in the low bits */
    __m256i power = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
}

static inline vec_mask vec_less(vec a, vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline vec_mask vec_is_nan(vec a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
static inline vec_mask vec_and(vec_mask a, vec_mask b) { return _mm256_and_ps(a, b); }
static inline bool vec_any(vec_mask m) { return _mm256_movemask_ps(m) != 0; }
static inline vec vec_select(vec_mask m, vec a, vec b) { return _mm256_blendv_ps(b, a, m); }

static inline vec vec_zip_low(vec a, vec b)
{
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
}

static inline vec vec_zip_high(vec a, vec b)
{
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
}

static inline float vec_total(vec a)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

static inline float vec_largest(vec a)
{
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

#endif
