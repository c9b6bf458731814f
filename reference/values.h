/* values.h: the numbers that stand in seeded tensors; for inputs.c only. */
#ifndef REFERENCE_VALUES_H
#define REFERENCE_VALUES_H

#include "reference/reference.h"

/* One random stream per tensor. */
typedef enum value_stream {
    VALUE_Q,
    VALUE_K,
    VALUE_V,
    VALUE_LENS,
    VALUE_OFFSETS,
    VALUE_MASK,
    VALUE_BIAS,
    VALUE_SLOPES,
    VALUE_SINKS,
    VALUE_VECTOR,
    VALUE_GATHER
} value_stream;

/* What all values of a problem depend on. */
typedef struct value_maker {
    const attn_problem *p;
    ref_distribution kind;
    uint64_t seed;
    bool plain;   /* gather and uniform: masks and biases only hide keys, sinks and ALiBi are 0 */
    float unit;   /* q.k = 1 / scale when q = unit e and k = unit e, with e = (1, ..., 1) */
    float gather; /* a power of two: codes that differ in one place are >= 120 apart in score */
} value_maker;

value_maker value_maker_of(const attn_problem *problem, ref_distribution kind, uint64_t seed);

/* The key of a stream for ref_random. */
uint64_t value_key(const value_maker *maker, value_stream which);

/* Mean 0, variance 1, |x| < 4.9. */
float value_gauss(uint64_t key, uint64_t index);

/* Element `at` of Q, K or V, in row (query or key) `row` and column c. */
float value_element(const value_maker *maker, value_stream which, uint64_t at, int64_t row,
                    int64_t c);

/* Digit c of the +-1 code of key j that REF_GATHER uses. */
float value_code(const value_maker *maker, int64_t j, int64_t c);

/* Elements `at` of the boolean mask (row i, key j; true = hidden) and of the additive one. */
bool value_hidden(const value_maker *maker, uint64_t at, int64_t i, int64_t j);
float value_bias(const value_maker *maker, uint64_t at);

#endif
