/* values.c: what stands in seeded tensors, the same bits on every machine.
 *
 * Values come from a counter: random(seed, tensor, index), so no order, thread count or ISA can
 * change them, and only exact or correctly rounded operations follow (no libm but sqrt).
 * Distributions are chosen to hurt: each mirrors inputs under which published kernels failed. */
#include <math.h>

#include "reference/values.h"

const char *const ref_distribution_names[REF_DISTRIBUTIONS] = {
    "gauss", "wide",  "ascending", "descending", "low",  "cancel", "same-sign",
    "big-v", "heavy", "zero-q",    "subnormal",  "ramp", "gather", "uniform",
};

uint64_t ref_random(uint64_t key, uint64_t index)
{
    uint64_t z = key + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t value_key(const value_maker *m, value_stream which)
{
    return ref_random(m->seed, (uint64_t)which + 1000);
}

/* Uniform in [-1, 1), a multiple of 2^-23. */
static float uniform(uint64_t key, uint64_t index)
{
    return (float)(int64_t)(ref_random(key, index) >> 40) * 0x1p-23f - 1.0f;
}

/* Eight 16-bit uniforms; the sum is exact, one rounding follows. */
float value_gauss(uint64_t key, uint64_t index)
{
    const uint64_t parts = UINT64_C(0x0000ffff0000ffff); /* every other one; sums of four in each */
    uint64_t a = ref_random(key, 2 * index), b = ref_random(key, 2 * index + 1);
    uint64_t sums = (a & parts) + (a >> 16 & parts) + (b & parts) + (b >> 16 & parts);
    int32_t sum = (int32_t)((sums & 0xffffffff) + (sums >> 32));
    return (float)(sum - 4 * 0xffff) *
           0x1.3988e2p-16f; /* sqrt(3/2) / 2^16, one over the sum's deviation */
}

value_maker value_maker_of(const attn_problem *p, ref_distribution kind, uint64_t seed)
{
    float scale = fabsf(p->scale) > 0x1p-60f ? fabsf(p->scale) : 1.0f;
    value_maker m = {p,
                     kind,
                     seed,
                     kind == REF_GATHER || kind == REF_UNIFORM,
                     sqrtf(1.0f / (scale * (float)p->qk_dim)),
                     1.0f};
    while (m.gather * scale < 64) m.gather *= 2;
    while (m.gather * scale > 128) m.gather /= 2;
    return m;
}

/* The binary digits of j, then random ones. */
float value_code(const value_maker *m, int64_t j, int64_t c)
{
    bool one = c < 24 ? (j >> c) & 1
                      : ref_random(value_key(m, VALUE_K), (uint64_t)(j * m->p->qk_dim + c)) & 1;
    return one ? 1.0f : -1.0f;
}

static float q_value(const value_maker *m, uint64_t at, int64_t c)
{
    uint64_t key = value_key(m, VALUE_Q);
    float g = value_gauss(key, at), sign = m->p->scale < 0 ? -1.0f : 1.0f;
    switch (m->kind) {
    case REF_WIDE:
        return g * 30 * m->unit * sqrtf(sqrtf((float)m->p->qk_dim));
    case REF_ASCENDING:
    case REF_DESCENDING:
    case REF_RAMP:
        return sign * m->unit * (1 + 0.01f * g);
    case REF_LOW:
        return sign * m->unit * 22.36f;
    case REF_CANCEL:
        return value_gauss(key, at - (uint64_t)(c % 2)) * 30 + 0.1f * g;
    case REF_HEAVY:
        return sign * m->unit;
    case REF_UNIFORM:
        return m->p->scale == 0 ? g : 0; /* scores of +0 and -0 are equal, too */
    case REF_ZERO_Q:
        return 0;
    default:
        return g;
    }
}

/* The score of key j, the same slope for any number of keys: the first head climbs evenly, the next
 * in steps of 64 keys, the third falls, and so on. */
static float ramp(const value_maker *m, uint64_t at, int64_t j)
{
    uint64_t key = value_key(m, VALUE_K);
    uint64_t head = at / (uint64_t)(m->p->kv_len * m->p->qk_dim) % 3;
    float slope = 5 + 2 * uniform(key, 8); /* in 64 keys */
    float way = slope * (head == 1 ? (float)(j / 64) : (float)j * 0x1p-6f);
    return head == 2 ? -way : way;
}

/* Is j the key that REF_HEAVY favours? */
static bool is_heavy(const value_maker *m, int64_t j)
{
    uint64_t random = ref_random(value_key(m, VALUE_K), 7);
    return (uint64_t)j == random % (uint64_t)m->p->kv_len;
}

/* at: index of the element; j: key. */
static float k_value(const value_maker *m, uint64_t at, int64_t j, int64_t c)
{
    uint64_t key = value_key(m, VALUE_K);
    float g = value_gauss(key, at), step = 40.0f / (float)(m->p->kv_len > 1 ? m->p->kv_len : 1);
    switch (m->kind) {
    case REF_WIDE:
        return g * m->unit * sqrtf(sqrtf((float)m->p->qk_dim));
    case REF_ASCENDING:
        return m->unit * (step * (float)j + 0.1f * g);
    case REF_DESCENDING:
        return m->unit * (40 - step * (float)j + 0.1f * g);
    case REF_RAMP:
        return m->unit * (ramp(m, at, j) + 0.1f * g);
    case REF_LOW:
        return m->unit * (-22.36f + 0.1f * g);
    case REF_CANCEL:
        return (c % 2 ? -1 : 1) * value_gauss(key, at - (uint64_t)(c % 2)) * 30 + 0.1f * g;
    case REF_HEAVY:
        return is_heavy(m, j) ? 0 : -20.5f * m->unit;
    case REF_GATHER:
        return value_code(m, j, c);
    default:
        return g;
    }
}

static float v_value(const value_maker *m, uint64_t at, int64_t j)
{
    uint64_t key = value_key(m, VALUE_V), bits = ref_random(key, at);
    switch (m->kind) {
    case REF_SAME_SIGN:
        return 1.5f + 0.5f * uniform(key, at);
    case REF_BIG_V:
        return bits & 1 ? 1e4f : -1e4f;
    case REF_HEAVY:
        return is_heavy(m, j) ? 0 : 1e6f * (1 + 0.25f * uniform(key, at));
    case REF_SUBNORMAL:
        return value_gauss(key, at) * 0x1p-130f;
    case REF_UNIFORM:
        return (float)((int64_t)(bits % 17) - 8);
    default:
        return value_gauss(key, at);
    }
}

float value_element(const value_maker *m, value_stream which, uint64_t at, int64_t row, int64_t c)
{
    return which == VALUE_Q   ? q_value(m, at, c)
           : which == VALUE_K ? k_value(m, at, row, c)
                              : v_value(m, at, row);
}

/* Every third row has random holes, every fifth hides its first half, every seventh is hidden
 * whole, every eleventh sees every second block of 64, and every thirteenth its first third. */
bool value_hidden(const value_maker *m, uint64_t at, int64_t i, int64_t j)
{
    uint64_t key = value_key(m, VALUE_MASK);
    if (i % 7 == 6) return true;
    if (i % 11 == 7) return j / 64 % 2;
    if (i % 13 == 5) return j >= m->p->kv_len / 3;
    if (i % 5 == 4) return j < m->p->kv_len / 2;
    return i % 3 == 2 ? ref_random(key, at) & 1 : ref_random(key, at) % 16 == 0;
}

/* One in eight removes the key; of the rest one in eight is a number that people mask with, and
 * that is a number here too. */
float value_bias(const value_maker *m, uint64_t at)
{
    uint64_t key = value_key(m, VALUE_BIAS);
    static const float masking[] = {-1e4f, -1e9f, -0x1.fffffep127f};
    uint64_t random = ref_random(key, at);
    if (random % 8 == 0) return -INFINITY;
    if (m->plain) return 0;
    return random % 8 == 1 ? masking[random / 8 % 3] : value_gauss(key, at);
}
