/* test_system.c: what is made of the kernel's texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench/system.h"

static void lists_of_cpus(void **state)
{
    static bool set[SYSTEM_CPUS];
    (void)state;
    assert_int_equal(system_cpu_list("0-3,8,10-11", set), 7);
    assert_true(set[0] && set[3] && !set[4] && set[8] && !set[9] && set[11]);
    assert_int_equal(system_cpu_list("", set), 0);
    assert_false(set[0]);
    assert_int_equal(system_cpu_list("5", set), 1);
    assert_int_equal(system_cpu_list("1,1-2", set), 2);
    assert_int_equal(system_cpu_list("0-99999999999", set), SYSTEM_CPUS);
    assert_int_equal(system_cpu_list("none", set), 0);
}

static void times_of_cpus(void **state)
{
    system_times a, b;
    (void)state;
    assert_true(system_parse_times("cpu  100 10 20 1000 30 4 6 50 7 8", &a));
    assert_float_equal(a.busy, 140, 0); /* guests' time is part of user's and nice's */
    assert_float_equal(a.steal, 50, 0);
    assert_float_equal(a.total, 1220, 0);
    assert_true(system_parse_times("cpu  110 10 20 1026 30 4 6 54", &b));
    system_times now = system_times_between(a, b);
    assert_float_equal(now.busy, 10, 0);
    assert_float_equal(now.steal, 4, 0);
    assert_float_equal(now.total, 40, 0);
    assert_true(system_parse_times("cpu 1 2 3 4", &a)); /* before Linux 2.5.41 */
    assert_float_equal(a.total, 10, 0);
    assert_false(system_parse_times("cpu 1 2 3", &a));
    assert_false(system_parse_times("intr 1 2 3 4", &a));
    assert_false(system_parse_times("", &a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_cpus),
        cmocka_unit_test(times_of_cpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
