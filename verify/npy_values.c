/* npy_values.c: what number is an element, and how is a float stored?
 *
 * binary16 is s eeeee ffffffffff: (-1)^s 2^(e-15) 1.f, subnormal 2^-14 0.f at e = 0, inf and NaN at
 * e = 31. Everything is done on the bits, so neither rounding mode nor flush-to-zero matters. */
#include <stdlib.h>
#include <string.h>

#include "verify/npy.h"

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

float npy_half_to_float(uint16_t half)
{
    uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, fraction = half & 1023u;
    if (exponent == 31) return float_of(sign | 0x7f800000u | fraction << 13);
    if (exponent > 0) return float_of(sign | (exponent + 127 - 15) << 23 | fraction << 13);
    float small = (float)fraction * 0x1p-24f;
    return sign ? -small : small;
}

/* value / 2^shift to nearest, ties to even; 1 <= shift <= 31. */
static uint32_t shift_to_nearest(uint32_t value, uint32_t shift)
{
    uint32_t half = 1u << (shift - 1), quotient = value >> shift;
    uint32_t rest = value & ((1u << shift) - 1);
    return quotient + (rest > half || (rest == half && quotient & 1));
}

uint16_t npy_float_to_half(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    uint32_t exponent = magnitude >> 23;
    /* NaN; then 65520 and beyond, and infinity. */
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    /* From 2^-14 on: move the bias, round 13 bits away; a carry into the exponent is right. */
    if (exponent >= 113) return (uint16_t)(sign | shift_to_nearest(magnitude - (112u << 23), 13));
    /* Below: a multiple of 2^-24. The value is (1.f as an integer) * 2^(exponent - 150). */
    if (exponent < 102) return (uint16_t)sign; /* less than half of 2^-24 */
    uint32_t significand = (magnitude & 0x7fffffu) | 0x800000u;
    return (uint16_t)(sign | shift_to_nearest(significand, 126 - exponent));
}

double npy_value(const npy_array *array, int64_t index)
{
    const void *data = array->data;
    switch (array->type) {
    case NPY_FLOAT32:
        return ((const float *)data)[index];
    case NPY_FLOAT16:
        return npy_half_to_float(((const uint16_t *)data)[index]);
    case NPY_FLOAT64:
        return ((const double *)data)[index];
    case NPY_BOOL:
        return ((const uint8_t *)data)[index] != 0;
    case NPY_INT64:
        return (double)((const int64_t *)data)[index];
    case NPY_INT32:
        return ((const int32_t *)data)[index];
    case NPY_INT8:
        return ((const int8_t *)data)[index];
    default:
        return ((const uint8_t *)data)[index];
    }
}

float *npy_to_float(const npy_array *array)
{
    int64_t count = npy_count(array);
    float *values = malloc((size_t)count * sizeof *values + 1);
    for (int64_t i = 0; values && i < count; i++) values[i] = (float)npy_value(array, i);
    return values;
}

int64_t *npy_to_int64(const npy_array *array)
{
    int64_t count = npy_count(array);
    int64_t *values = npy_is_float(array->type) ? NULL : malloc((size_t)count * sizeof *values + 1);
    for (int64_t i = 0; values && i < count; i++)
        values[i] = array->type == NPY_INT64 ? ((const int64_t *)array->data)[i]
                                             : (int64_t)npy_value(array, i);
    return values;
}

void npy_from_float(const float *values, int64_t count, npy_type type, void *packed)
{
    float *singles = packed;
    double *doubles = packed;
    uint16_t *halves = packed;
    for (int64_t i = 0; i < count; i++) {
        if (type == NPY_FLOAT16) halves[i] = npy_float_to_half(values[i]);
        else if (type == NPY_FLOAT64) doubles[i] = values[i];
        else singles[i] = values[i];
    }
}
