/* test_exp.c: is the exponential of blocked.c as good as it claims? Every 499th float of its
 * domain against libm in double precision, and the arguments that attain the claim. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/portable/exp.h"

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Error in units of the last place of the true value; 2^-149 where that is subnormal. */
static double ulp_error(float x)
{
    double want = exp((double)x), ulp = want < 0x1p-126 ? 0x1p-149 : ldexp(1, ilogb(want) - 23);
    return fabs(exp_float(x) - want) / ulp;
}

static void within_its_claim(void **state)
{
    (void)state;
    const uint32_t ranges[][2] = {{0x80000000, 0xc2d00000},
                                  {0, 0x42b00000}}; /* -0 to -104, 0 to 88 */
    double worst = fmax(ulp_error(0x1.2e38a8p+5f), ulp_error(0x1.4ce7a6p+2f));
    for (int r = 0; r < 2; r++)
        for (uint32_t bits = ranges[r][0]; bits <= ranges[r][1]; bits += 499)
            worst = fmax(worst, ulp_error(float_of(bits)));
    print_message("worst %.4f ULP\n", worst);
    assert_true(worst <= EXP_ULP);
}

static void special_values(void **state)
{
    (void)state;
    assert_true(exp_float(0) == 1 && exp_float(-0.0f) == 1);
    assert_true(exp_float(-INFINITY) == 0 && exp_float(-105) == 0 && exp_float(-0x1p127f) == 0);
    assert_true(isnan(exp_float(NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(within_its_claim),
                                       cmocka_unit_test(special_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
