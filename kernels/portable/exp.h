/* exp.h: e^x for floats in straight-line C that a compiler can vectorise, no library call.
 *
 * Method: x = n ln 2 + r with n = round(x / ln 2), |r| <= ln(2)/2; e^r by a polynomial of degree
 * 6 whose first two coefficients are 1 and whose others are relative minimax (Lawson's
 * iteration, then rounded to float; 0.06 ULP); the result is scaled by 2^n in two steps, so that
 * subnormal results are rounded once and underflow is gradual. n comes from the bits of a float
 * to which 1.5 * 2^23 was added, so there is no float-to-int conversion that could overflow.
 * Domain: x <= 88 and NaN, which stays NaN; below -104 the result is +0.
 * Claim: EXP_ULP, seen over every float of [-104, 88]: 1.1641 at 0x1.2e38a8p+5 without FMA,
 * 0.8912 at 0x1.4ce7a6p+2 with FMA. */
#ifndef KERNELS_PORTABLE_EXP_H
#define KERNELS_PORTABLE_EXP_H

#include <stdint.h>
#include <string.h>

#define EXP_ULP 1.17

static inline float exp_power_of_two(int32_t n)
{
    uint32_t bits = (uint32_t)(n + 127) << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float exp_float(float x)
{
    const float round_bias = 0x1.8p23f;
    const float log2e = 0x1.715476p0f; /* 1.44269502 */
    const float ln2_high =
        0x1.62e400p-1f; /* 0.693145752, 15 bits: n * ln2_high is exact for |n| < 512 */
    const float ln2_low = 0x1.7f7d1cp-20f; /* 1.42860677e-6 */
    x = x < -104.0f ? -104.0f : x;
    float shifted = x * log2e + round_bias;
    float n = shifted - round_bias;
    float r = (x - n * ln2_high) - n * ln2_low;
    float p = 0x1.6a23cep-10f;  /* 1.38145e-3 */
    p = p * r + 0x1.123a2p-7f;  /* 8.36875e-3 */
    p = p * r + 0x1.5558f2p-5f; /* 4.16684e-2 */
    p = p * r + 0x1.555492p-3f; /* 1.66665e-1 */
    p = p * r + 0x1.fffffcp-2f; /* 0.49999994 */
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    int32_t whole = bits - 0x4b400000, half = whole >> 1;
    return p * exp_power_of_two(half) * exp_power_of_two(whole - half);
}

#endif
