/* test_alone.c: is what neighbours do to the samples found, and taken out? */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bench/alone.h"

enum { CELLS = 20, SAMPLES = 9 };

static const double alone_issue = 7;

static double uniform(void) /* Lehmer 1951, with the multiplier of Park and Miller 1988 */
{
    static uint64_t state = 42;
    state = state * 48271 % 2147483647;
    return (double)state / 2147483647;
}

/* Half of the cells are of one ISA, half of another. Neighbours take up to half of the issue slots
 * of two samples in three; the clock wanders by 5 %. */
typedef struct host {
    double ns[CELLS][SAMPLES], issue[CELLS][SAMPLES], clock_ghz[CELLS][SAMPLES];
    alone_cell cells[CELLS];
} host;

static double true_cycles(int cell) { return 1e5 * (cell + 1); }

static void play(host *h, double first, double second, double most_taken)
{
    for (int c = 0; c < CELLS; c++) {
        for (int i = 0; i < SAMPLES; i++) {
            double taken = i % 3 ? most_taken * uniform() : 0;
            double cycles = true_cycles(c) * pow(1 - taken, c % 2 ? second : first);
            h->issue[c][i] = alone_issue * (1 - taken);
            h->clock_ghz[c][i] = 3 + 0.15 * uniform();
            h->ns[c][i] = cycles * (1 + 0.004 * (uniform() - 0.5)) / h->clock_ghz[c][i];
        }
        h->cells[c] = (alone_cell){
            c % 2 ? "wide" : "narrow", 1, SAMPLES, h->ns[c], h->issue[c], h->clock_ghz[c]};
    }
}

static void expect_true_cycles(const host *h, const alone_fit *fit)
{
    for (int c = 0; c < CELLS; c++) {
        stats_median m = alone_cycles(fit, &h->cells[c]);
        assert_true(m.bounded && m.low <= m.median && m.median <= m.high);
        assert_float_equal(m.median / true_cycles(c), 1, 0.01);
    }
}

static void neighbours_are_taken_out(void **state)
{
    (void)state;
    static host h;
    alone_fit fit;
    play(&h, -0.8, -0.3, 0.5);
    assert_true(alone_fit_cells(h.cells, CELLS, &fit));
    assert_int_equal(fit.count, 2);
    assert_float_equal(fit.exponents[0].issue, alone_issue, 0.001);
    assert_float_equal(fit.exponents[0].fit.median, -0.8, 0.02);
    assert_float_equal(fit.exponents[1].fit.median, -0.3, 0.02);
    assert_true(alone_is_used(&fit.exponents[0]) && alone_is_used(&fit.exponents[1]));
    assert_string_equal(fit.exponents[1].isa, "wide");
    expect_true_cycles(&h, &fit);
}

/* Threads are told apart as ISAs are. */
static void thread_counts_have_their_own(void **state)
{
    (void)state;
    static host h;
    alone_fit fit;
    play(&h, -0.8, -0.3, 0.5);
    for (int c = 0; c < CELLS; c++) {
        h.cells[c].isa = "same", h.cells[c].threads = 1 + c % 2;
        for (int i = 0; c % 2 && i < SAMPLES; i++) h.issue[c][i] /= 2; /* they share their cores */
    }
    assert_true(alone_fit_cells(h.cells, CELLS, &fit));
    assert_int_equal(fit.count, 2);
    assert_float_equal(fit.exponents[1].issue, alone_issue / 2, 0.001);
    expect_true_cycles(&h, &fit);
}

/* A kernel that neighbours do not slow stays as it is, however its core was shared. */
static void no_effect_is_not_corrected(void **state)
{
    (void)state;
    static host h;
    alone_fit fit;
    play(&h, 0, 0, 0.5);
    assert_true(alone_fit_cells(h.cells, CELLS, &fit));
    assert_true(fit.exponents[0].pairs > 20);
    assert_false(alone_is_used(&fit.exponents[0]));
    expect_true_cycles(&h, &fit);
}

/* Nobody becomes faster by a neighbour: what looks like it is something else. */
static void no_gain_is_corrected(void **state)
{
    (void)state;
    static host h;
    alone_fit fit;
    play(&h, 0.4, -0.3, 0.5);
    assert_true(alone_fit_cells(h.cells, CELLS, &fit));
    assert_float_equal(fit.exponents[0].fit.median, 0.4, 0.02);
    assert_false(alone_is_used(&fit.exponents[0]));
    assert_true(alone_is_used(&fit.exponents[1]));
}

/* On a host without neighbours there is nothing to fit. */
static void calm_hosts_have_no_exponent(void **state)
{
    (void)state;
    static host h;
    alone_fit fit;
    play(&h, -0.8, -0.3, 0.05);
    assert_true(alone_fit_cells(h.cells, CELLS, &fit));
    for (int e = 0; e < 2; e++) {
        assert_int_equal(fit.exponents[e].pairs, 0);
        assert_false(alone_is_used(&fit.exponents[e]));
    }
}

/* Five pairs have no interval. */
static void few_pairs_do_not_count(void **state)
{
    (void)state;
    alone_fit fit;
    double issue[10] = {7, 7, 7, 7, 7, 4, 4, 4, 4, 4}, ns[10], clock_ghz[10];
    for (int i = 0; i < 10; i++) ns[i] = issue[i] < 7 ? 140 : 100, clock_ghz[i] = 3;
    alone_cell cell = {"wide", 1, 10, ns, issue, clock_ghz};
    assert_true(alone_fit_cells(&cell, 1, &fit));
    assert_int_equal(fit.exponents[0].pairs, 5);
    assert_false(alone_is_used(&fit.exponents[0]));
    assert_float_equal(alone_cycles(&fit, &cell).median, 360, 1e-9);
}

static void what_is_not_known_is_not_made_up(void **state)
{
    (void)state;
    static host h;
    alone_fit fit;
    play(&h, -0.8, -0.3, 0.5);
    h.issue[3][4] = NAN, h.clock_ghz[4][0] = 0;
    assert_true(alone_fit_cells(h.cells, CELLS, &fit));
    for (int c = 3; c <= 4; c++) {
        assert_true(alone_cycles(&fit, &h.cells[c]).median == 0);
        assert_false(alone_cycles(&fit, &h.cells[c]).bounded);
    }
    assert_float_equal(alone_cycles(&fit, &h.cells[5]).median / true_cycles(5), 1, 0.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_are_taken_out),
        cmocka_unit_test(thread_counts_have_their_own),
        cmocka_unit_test(no_effect_is_not_corrected),
        cmocka_unit_test(calm_hosts_have_no_exponent),
        cmocka_unit_test(few_pairs_do_not_count),
        cmocka_unit_test(what_is_not_known_is_not_made_up),
        cmocka_unit_test(no_gain_is_corrected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
