/* test_stats.c: are the ranks and medians those of the tables? */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bench/stats.h"

/* Ranks of the 95 % interval for the median as printed in tables of the sign test. */
static void ranks_match_the_tables(void **state)
{
    (void)state;
    static const int table[][2] = {{5, 0},  {6, 1},  {8, 1},   {9, 2},
                                   {12, 3}, {20, 6}, {30, 10}, {50, 18}};
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        assert_int_equal(stats_rank(table[i][0]), table[i][1]);
}

static void medians(void **state)
{
    (void)state;
    double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2}, nine[] = {9, 8, 7, 6, 5, 4, 3, 2, 1};
    stats_median m = stats_of(odd, 3);
    assert_true(m.median == 2 && m.least == 1 && !m.bounded && isinf(m.high));
    assert_true(stats_of(even, 4).median == 2.5);
    m = stats_of(nine, 9);
    assert_true(m.median == 5 && m.low == 2 && m.high == 8 && m.bounded);
    assert_true(stats_quantile(nine, 9, 0.95) == 9 && stats_quantile(nine, 9, 0.5) == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ranks_match_the_tables),
                                       cmocka_unit_test(medians)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
