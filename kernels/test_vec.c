/* test_vec.c: does an ISA's vec.h do what scalar/vec.h says, and are 2^x and tanh within their
 * claims? One body, compiled for every ISA; test_vec_main.c runs it where the CPU can. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/portable/vec_math.h"
#include "kernels/test_vec.h"

enum { N = VEC_LANES };

static float a[N], b[N], got[N];

/* Lanes that differ from each other, some of them special. */
static void fill(void)
{
    const float special[] = {0, -0.0f, 1, -1, INFINITY, -INFINITY, NAN, 0x1p-140f, -87.5f, 3e38f};
    for (int l = 0; l < N; l++) {
        a[l] = l % 3 ? (float)(l * 7 % 23) - 11.25f : special[l / 3 % 10];
        b[l] = l % 5 ? 4.5f - (float)(l * 5 % 17) : special[(l / 5 + 4) % 10];
    }
}

/* The same number, or both NaN. */
static void expect(float have, float want)
{
    if (isnan(want)) assert_true(isnan(have));
    else assert_true(have == want);
}

/* Every prefix, at every offset from an aligned address, between canaries. */
static void loads_and_stores(void **state)
{
    (void)state;
    float from[3 * N], to[3 * N], lanes[N];
    for (int i = 0; i < 3 * N; i++) from[i] = (float)i + 1;
    for (int offset = 0; offset < N; offset++)
        for (int n = 0; n <= N; n++) {
            for (int i = 0; i < 3 * N; i++) to[i] = -1;
            vec_store(lanes, vec_load_first(from + offset, n));
            for (int l = 0; l < N; l++) expect(lanes[l], l < n ? from[offset + l] : 0);
            vec_store_first(to + offset, vec_load(from + offset), n);
            for (int i = 0; i < 3 * N; i++)
                expect(to[i], i >= offset && i < offset + n ? from[i] : -1);
        }
}

static void masks_from_bytes(void **state)
{
    (void)state;
    uint8_t bytes[N];
    for (int l = 0; l < N; l++) bytes[l] = (uint8_t)(l % 3 == 0 ? 0 : l % 3 == 1 ? 1 : 255);
    for (int n = 0; n <= N; n++) {
        vec_store(got, vec_load_mask_first(bytes, n));
        for (int l = 0; l < N; l++) expect(got[l], l < n && bytes[l] ? 0 : -INFINITY);
    }
}

static void arithmetic(void **state)
{
    (void)state;
    fill();
    vec x = vec_load(a), y = vec_load(b);
    struct {
        vec v;
        char op;
    } ops[] = {{vec_add(x, y), '+'}, {vec_sub(x, y), '-'}, {vec_mul(x, y), '*'},
               {vec_div(x, y), '/'}, {vec_abs(x), 'a'},    {vec_set(2.5f), 's'}};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        vec_store(got, ops[i].v);
        for (int l = 0; l < N; l++) {
            const float want = ops[i].op == '+'   ? a[l] + b[l]
                               : ops[i].op == '-' ? a[l] - b[l]
                               : ops[i].op == '*' ? a[l] * b[l]
                               : ops[i].op == '/' ? a[l] / b[l]
                               : ops[i].op == 'a' ? fabsf(a[l])
                                                  : 2.5f;
            expect(got[l], want);
        }
    }
    vec_store(got, vec_fma(x, y, vec_set(0.5f)));
    for (int l = 0; l < N; l++) { /* rounded once or twice */
        float once = fmaf(a[l], b[l], 0.5f), twice = a[l] * b[l] + 0.5f;
        assert_true(got[l] == once || got[l] == twice || (isnan(got[l]) && isnan(once)));
    }
}

static void order(void **state)
{
    (void)state;
    fill();
    vec x = vec_load(a), y = vec_load(b);
    float max[N], min[N], picked[N];
    vec_store(max, vec_max(x, y));
    vec_store(min, vec_min(x, y));
    vec_store(picked, vec_select(vec_less(x, y), vec_set(1), vec_set(2)));
    for (int l = 0; l < N; l++) {
        expect(picked[l], a[l] < b[l] ? 1 : 2);
        if (isnan(a[l]) && !isnan(b[l])) continue; /* either of the two */
        expect(max[l], isnan(b[l]) ? NAN : a[l] > b[l] ? a[l] : b[l]);
        expect(min[l], isnan(b[l]) ? NAN : a[l] < b[l] ? a[l] : b[l]);
    }
    for (int l = 0; l < N; l++) { /* one lane is enough for any, and must be seen */
        float one[N] = {0};
        one[l] = NAN;
        assert_true(vec_any(vec_is_nan(vec_load(one))));
        one[l] = -1;
        assert_true(vec_any(vec_less(vec_load(one), vec_set(0))));
        assert_false(vec_any(vec_is_nan(vec_load(one))));
        assert_false(vec_any(
            vec_and(vec_less(vec_load(one), vec_set(0)), vec_less(vec_set(0), vec_load(one)))));
    }
}

static void shuffles_and_totals(void **state)
{
    (void)state;
    float low[N], high[N], sum = 0;
    for (int l = 0; l < N; l++) a[l] = (float)l, b[l] = (float)(100 + l), sum += (float)l;
    vec_store(low, vec_zip_low(vec_load(a), vec_load(b)));
    vec_store(high, vec_zip_high(vec_load(a), vec_load(b)));
    for (int l = 0; l < N && N > 1; l++) {
        expect(low[l], (l % 2 ? b : a)[l / 2]);
        expect(high[l], (l % 2 ? b : a)[N / 2 + l / 2]);
    }
    expect(vec_total(vec_load(a)), sum); /* small integers: exact in any order */
    for (int l = 0; l < N; l++) {
        float one[N];
        for (int i = 0; i < N; i++) one[i] = i == l ? 5 : -7;
        expect(vec_largest(vec_load(one)), 5);
    }
}

/* ---- 2^x and tanh --------------------------------------------------------------------- */

/* Error in units of the last place of the true value; 2^-149 where that is subnormal. */
static double ulp_error(float have, double want)
{
    double size = fabs(want), ulp = size < 0x1p-126 ? 0x1p-149 : ldexp(1, ilogb(size) - 23);
    return fabs(have - want) / ulp;
}

typedef struct range {
    float from, to; /* both of one sign, |from| < |to| */
} range;

/* The worst error of f over every step-th float of the range, and where it is. */
static double worst_error(vec (*f)(vec), double (*truth)(double), double least, range r,
                          uint32_t step, float *at)
{
    uint32_t first, last;
    double worst = 0;
    memcpy(&first, &r.from, sizeof first);
    memcpy(&last, &r.to, sizeof last);
    for (uint32_t bits = first; bits <= last; bits += step * N) {
        for (uint32_t l = 0; l < N; l++) {
            uint32_t x = bits + l * step <= last ? bits + l * step : last;
            memcpy(&a[l], &x, sizeof x);
        }
        vec_store(got, f(vec_load(a)));
        for (int l = 0; l < N; l++) {
            double want = truth((double)a[l]);
            if (fabs(want) < least && got[l] == 0) continue; /* it may be flushed */
            double error = ulp_error(got[l], want);
            if (!(error <= worst)) worst = error, *at = a[l];
        }
    }
    return worst;
}

static void exp2_within_its_claim(void **state)
{
    float at = 0;
    double worst =
        worst_error(vec_exp2, exp2, 0x1p-126, (range){-0.0f, -150}, *(const uint32_t *)*state, &at);
    print_message("exp2: worst %.4f ULP at %a, claimed %.2f\n", worst, (double)at, EXP_ULP);
    assert_true(worst <= EXP_ULP);
    const float special[] = {0, -INFINITY, -3e38f, -200, NAN};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        vec_store(got, vec_exp2(vec_set(special[i])));
        expect(got[0], i == 0 ? 1 : i == 4 ? NAN : 0);
    }
}

static void tanh_within_its_claim(void **state)
{
    uint32_t step = *(const uint32_t *)*state;
    float at = 0, at_negative = 0;
    double worst = worst_error(vec_tanh, tanh, 0, (range){0, 30}, step, &at);
    double negative = worst_error(vec_tanh, tanh, 0, (range){-0.0f, -30}, step, &at_negative);
    if (negative > worst) worst = negative, at = at_negative;
    print_message("tanh: worst %.4f ULP at %a, claimed %.2f\n", worst, (double)at,
                  (double)TANH_ULP);
    assert_true(worst <= TANH_ULP);
    const float special[] = {INFINITY, -INFINITY, 3e38f, NAN};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
        vec_store(got, vec_tanh(vec_set(special[i])));
        expect(got[0], i == 1 ? -1 : i == 3 ? NAN : 1);
    }
}

int test_vec(uint32_t step)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_and_stores),
        cmocka_unit_test(masks_from_bytes),
        cmocka_unit_test(arithmetic),
        cmocka_unit_test(order),
        cmocka_unit_test(shuffles_and_totals),
        cmocka_unit_test_prestate(exp2_within_its_claim, &step),
        cmocka_unit_test_prestate(tanh_within_its_claim, &step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
