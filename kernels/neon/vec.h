/* vec.h for NEON (Advanced SIMD of AArch64): 4 lanes, 32 registers. Contract: scalar/vec.h. */
#ifndef KERNELS_NEON_VEC_H
#define KERNELS_NEON_VEC_H

#include <arm_neon.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef float32x4_t vec;
typedef uint32x4_t vec_mask; /* all bits of a lane set, or none */

enum { VEC_LANES = 4, VEC_STRIP = 3, VEC_TILE = 8 };

static inline vec vec_set(float x) { return vdupq_n_f32(x); }
static inline vec vec_load(const float *p) { return vld1q_f32(p); }
static inline void vec_store(float *p, vec a) { vst1q_f32(p, a); }

static inline vec vec_load_first(const float *p, int64_t n)
{
    float lanes[4] = {0};
    if (n >= 4) return vld1q_f32(p);
    for (int64_t l = 0; l < n; l++) lanes[l] = p[l];
    return vld1q_f32(lanes);
}

static inline void vec_store_first(float *p, vec a, int64_t n)
{
    float lanes[4];
    vst1q_f32(lanes, a);
    if (n >= 4) vst1q_f32(p, a);
    else
        for (int64_t l = 0; l < n; l++) p[l] = lanes[l];
}

static inline vec vec_load_mask_first(const uint8_t *p, int64_t n)
{
    uint32_t bytes = 0;
    if (n >= 4) memcpy(&bytes, p, 4);
    else
        for (int64_t l = 0; l < n; l++) bytes |= (uint32_t)p[l] << 8 * l;
    uint16x8_t halves = vmovl_u8(vcreate_u8(bytes));
    uint32x4_t hidden = vceqzq_u32(vmovl_u16(vget_low_u16(halves)));
    return vreinterpretq_f32_u32(vandq_u32(hidden, vreinterpretq_u32_f32(vec_set(-INFINITY))));
}

static inline vec vec_add(vec a, vec b) { return vaddq_f32(a, b); }
static inline vec vec_sub(vec a, vec b) { return vsubq_f32(a, b); }
static inline vec vec_mul(vec a, vec b) { return vmulq_f32(a, b); }
static inline vec vec_div(vec a, vec b) { return vdivq_f32(a, b); }
static inline vec vec_abs(vec a) { return vabsq_f32(a); }
static inline vec vec_fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }
static inline vec vec_max(vec a, vec b) { return vmaxq_f32(a, b); }
static inline vec vec_min(vec a, vec b) { return vminq_f32(a, b); }

static inline vec vec_split(vec a, vec *n)
{
    a = vmaxq_f32(vec_set(-127), a);
    *n = vrndnq_f32(a);
    return vsubq_f32(a, *n);
}

static inline vec vec_scale(vec p, vec n)
{
    vec shifted = vaddq_f32(n, vec_set(0x1.8p23f + 127)); /* n + 127 in the low bits */
    return vmulq_f32(p, vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(shifted), 23)));
}

static inline vec_mask vec_less(vec a, vec b) { return vcltq_f32(a, b); }
static inline vec_mask vec_is_nan(vec a) { return vmvnq_u32(vceqq_f32(a, a)); }
static inline vec_mask vec_and(vec_mask a, vec_mask b) { return vandq_u32(a, b); }
static inline bool vec_any(vec_mask m) { return vmaxvq_u32(m) != 0; }
static inline vec vec_select(vec_mask m, vec a, vec b) { return vbslq_f32(m, a, b); }

static inline vec vec_zip_low(vec a, vec b) { return vzip1q_f32(a, b); }
static inline vec vec_zip_high(vec a, vec b) { return vzip2q_f32(a, b); }

static inline float vec_total(vec a) { return vaddvq_f32(a); }
static inline float vec_largest(vec a) { return vmaxvq_f32(a); }

#endif
