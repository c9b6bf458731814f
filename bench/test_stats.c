/* test_stats.c: are ranks, laws and adjusted p-values those of the tables, and do intervals hold
 * what they should? */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bench/stats.h"
#include "bench/verdict.h"

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

static stats_null null; /* too large for a stack */

/* The sign test, exactly. */
static void one_against_one_is_the_sign_test(void **state)
{
    (void)state;
    for (int n = 1; n <= 60; n++) {
        double differences[60];
        for (int i = 0; i < n; i++) differences[i] = i + 1; /* value = rank */
        assert_true(stats_null_of((stats_design){n, 1, 1}, &null));
        stats_median m = stats_shift(&null, differences);
        int rank = stats_rank(n);
        assert_int_equal(m.bounded, rank > 0);
        if (rank) assert_true(m.low == rank && m.high == n + 1 - rank);
        assert_float_equal(null.tail[n] * pow(2, n), 1, 1e-9);
    }
}

/* Mann and Whitney 1947, table I, and the tables of critical values made from it. */
static void laws_match_the_tables(void **state)
{
    (void)state;
    static const struct {
        stats_design design;
        int u;
        double tail;
    } table[] = {
        {{1, 3, 3}, 9, 1.0 / 20},     {{1, 3, 3}, 8, 2.0 / 20}, {{1, 5, 5}, 23, 4.0 / 252},
        {{1, 6, 6}, 31, 0.0206},      {{1, 8, 8}, 51, 0.0249},  {{1, 4, 6}, 24, 1.0 / 210},
        {{9, 1, 2}, 18, 1.0 / 19683}, {{9, 1, 2}, 0, 1},        {{2, 1, 2}, 3, 3.0 / 9},
    };
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        assert_true(stats_null_of(table[i].design, &null));
        assert_float_equal(null.tail[table[i].u], table[i].tail, 6e-5);
    }
    assert_true(stats_null_of((stats_design){1, 20, 20}, &null)); /* critical value 127 */
    assert_true(null.tail[400 - 127] <= 0.025 && null.tail[400 - 128] > 0.025);
    assert_false(stats_null_of((stats_design){1, 65, 64}, &null));
    assert_false(stats_null_of((stats_design){0, 1, 1}, &null));
}

/* Benjamini and Hochberg 1995, section 3.2: fifteen p-values of which their procedure keeps four
 * and Bonferroni's (here Holm's) three. */
static void adjusted_as_published(void **state)
{
    (void)state;
    const double p[] = {0.0278, 0.0001, 0.3240, 0.0004, 1.0000, 0.0019, 0.0298, 0.0095,
                        0.0201, 0.0344, 0.0459, 0.4262, 0.5719, 0.6528, 0.7590};
    double holm[15], bh[15];
    int kept[2] = {0};
    verdict_holm(p, 15, holm);
    verdict_benjamini_hochberg(p, 15, bh);
    for (int i = 0; i < 15; i++) kept[0] += holm[i] <= 0.05, kept[1] += bh[i] <= 0.05;
    assert_int_equal(kept[0], 3);
    assert_int_equal(kept[1], 4);
    assert_float_equal(holm[1], 0.0015, 1e-12);
    assert_float_equal(bh[7], 0.0095 * 15 / 4, 1e-12);
    assert_float_equal(bh[3], 0.0004 * 15 / 2, 1e-12);
    assert_float_equal(holm[5], 0.0019 * 13, 1e-12);
}

static void verdicts_by_interval(void **state)
{
    (void)state;
    assert_int_equal(verdict_of(0.02, 0.03, 0.01), VERDICT_SLOWER);
    assert_int_equal(verdict_of(-0.03, -0.02, 0.01), VERDICT_FASTER);
    assert_int_equal(verdict_of(-0.01, 0.01, 0.01), VERDICT_SAME);
    assert_int_equal(verdict_of(0.005, 0.03, 0.01), VERDICT_UNDECIDED);
    assert_int_equal(verdict_of(0.01, 0.03, 0.01), VERDICT_UNDECIDED); /* not beyond: at the edge */
    assert_int_equal(verdict_of(-INFINITY, INFINITY, 0.01), VERDICT_UNDECIDED);
    assert_int_equal(verdict_of(NAN, 0.5, 0.01), VERDICT_UNDECIDED);
    assert_int_equal(verdict_of(0.02, NAN, 0.01), VERDICT_UNDECIDED);
}

/* ---- simulation ----------------------------------------------------------------------- */

static uint64_t random_state;

static double uniform(void) /* SplitMix64 (Steele and others 2014), above 0 and below 1 */
{
    uint64_t z = (random_state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return ((double)((z ^ (z >> 31)) >> 12) + 0.5) * 0x1p-52;
}

/* Skewed and with a heavy tail, as launches are: a floor, and disturbances that only add. */
static double skewed(void) { return -log(uniform()) + (uniform() < 0.1 ? 1 / uniform() : 0); }

/* All differences of a design whose fresh side is shifted, block by block with its own drift. */
static void draw(stats_design d, double shift, double *differences)
{
    double base[64];
    int at = 0;
    for (int block = 0; block < d.blocks; block++) {
        for (int j = 0; j < d.base; j++) base[j] = skewed();
        for (int i = 0; i < d.fresh; i++) {
            double fresh = skewed() + shift;
            for (int j = 0; j < d.base; j++) differences[at++] = fresh - base[j];
        }
    }
}

/* Of 95 % intervals at least 95 % hold the shift, less what 4000 draws can miss by chance (3
 * standard errors: 1 %); and not nearly all, or they would be needlessly wide. */
static void intervals_hold_the_shift(void **state)
{
    (void)state;
    static const stats_design designs[] = {{9, 1, 1}, {6, 1, 2}, {9, 1, 2}, {1, 6, 6}, {1, 9, 7}};
    enum { DRAWS = 4000 };
    for (unsigned d = 0; d < sizeof designs / sizeof *designs; d++) {
        int held = 0, above = 0, below = 0;
        random_state = 7;
        assert_true(stats_null_of(designs[d], &null));
        for (int i = 0; i < DRAWS; i++) {
            double differences[128];
            draw(designs[d], 3, differences);
            stats_median m = stats_shift(&null, differences);
            held += m.low <= 3 && 3 <= m.high;
            above += stats_above(&null, differences, 3) <= 0.05;
            for (int k = 0; k < null.pairs; k++) differences[k] -= 6;
            below += stats_below(&null, differences, 3) <= 0.05;
        }
        assert_true(held >= 0.94 * DRAWS && held <= 0.985 * DRAWS);
        assert_true(above <= 0.06 * DRAWS && below <= 0.06 * DRAWS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_match_the_tables),
        cmocka_unit_test(medians),
        cmocka_unit_test(one_against_one_is_the_sign_test),
        cmocka_unit_test(laws_match_the_tables),
        cmocka_unit_test(adjusted_as_published),
        cmocka_unit_test(verdicts_by_interval),
        cmocka_unit_test(intervals_hold_the_shift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
