/* test_compare.c: how often is a whole session wrong? Sessions of `attest ab` are drawn with noise
 * as machines have it, and judged as real ones are. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "bench/compare.h"

enum { CYCLES = 9, CELLS = 20, KERNELS = 4, SESSIONS = 200, MOST_FALSE = SESSIONS / 20 };

static uint64_t random_state;

static double uniform(void) /* SplitMix64 (Steele and others 2014), above 0 and below 1 */
{
    uint64_t z = (random_state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return ((double)((z ^ (z >> 31)) >> 12) + 0.5) * 0x1p-52;
}

static double normal(void) { return sqrt(-2 * log(uniform())) * cos(2 * acos(-1.0) * uniform()); }

/* What a launch adds to all its cells, and to one of them: ln of its time. */
typedef struct noise {
    const char *name;
    double (*launch)(void);
    double (*cell)(void);
} noise;

/* What is planted into new: ln of a cell's time, in the cells of kernel 0 or in cell 0 alone; and
 * how much each side of each cell differs, for the whole session, though nothing was planted (an
 * error that no number of launches averages out). */
typedef struct plant {
    double slower, shared;
    bool one_cell;
    bool certain; /* one cell, so much slower that every launch shows it */
} plant;

static double none(void) { return 0; }
static double calm(void) { return 0.004 * normal(); }
static double layout(void) { return 0.015 * normal(); }
static double disturbed(void) /* skewed; one in ten far away */
{
    return -0.01 * log(uniform()) + (uniform() < 0.1 ? fmin(0.02 / uniform(), 2) : 0);
}
static double neighbour(void) /* comes and goes, and stays for some launches */
{
    static double here;
    if (uniform() < 0.2) here = here > 0 ? 0 : 0.05;
    return here;
}

static const noise noises[] = {{"calm", none, calm},
                               {"layout", calm, layout},
                               {"disturbed", none, disturbed},
                               {"launches", disturbed, calm},
                               {"neighbour", neighbour, layout}};
enum { NOISES = sizeof noises / sizeof *noises };

static bool is_planted(const plant *p, int cell)
{
    return p->slower > 0 && (p->one_cell ? cell == 0 : cell % KERNELS == 0);
}

/* One launch's result file. Cell i is of kernel i % KERNELS. */
static json_t *launch(const noise *n, const plant *p, const double *shared, bool is_new)
{
    json_t *results = json_array();
    double common = n->launch();
    for (int i = 0; i < CELLS; i++) {
        char kernel[16], problem[16];
        double slower = is_new && is_planted(p, i) ? p->slower : 0;
        double ns = 1e6 * exp(common + n->cell() + shared[i] + slower);
        snprintf(kernel, sizeof kernel, "kernel_%d", i % KERNELS);
        snprintf(problem, sizeof problem, "q%dd8", i + 1);
        json_array_append_new(results,
                              json_pack("{s:s, s:s, s:i, s:b, s:f, s:i, s:i}", "kernel", kernel,
                                        "problem", problem, "threads", 1, "verified", 1,
                                        "median_ns", ns, "rounds", 6, "dirty", 0));
    }
    return json_pack("{s:i, s:o}", "schema", 1, "results", results);
}

/* In how many sessions ... */
typedef struct tally {
    int false_claims;   /* a cell is called faster or slower where nothing was planted */
    int undecided;      /* everything is, because of the sham */
    int found;          /* cell 0 is called slower */
    int gate[4];        /* kernel 0 gets this compare_answer */
    int others_accused; /* the gate accuses another kernel */
} tally;

static void count_session(const comparison *c, const plant *p, tally *t)
{
    bool claimed = false, accused = false;
    for (int i = 0; i < c->compared; i++) {
        verdict v = c->cells[i].verdict;
        bool claim = v == VERDICT_FASTER || v == VERDICT_SLOWER;
        claimed = claimed || (claim && !is_planted(p, i));
    }
    for (int k = 1; k < c->kernel_count; k++)
        accused = accused || c->kernels[k].answer == COMPARE_REGRESSED;
    t->false_claims += claimed;
    t->undecided += c->undecided != NULL;
    t->found += c->cells[0].verdict == VERDICT_SLOWER;
    t->gate[c->kernels[0].answer]++;
    t->others_accused += accused;
}

/* Of 27 launches in nine cycles one order is the most extreme, among 3^9; five cells of four
 * kernels could have shown it. */
static void expect_certain_p(const comparison *c)
{
    const double least = 1.0 / 19683;
    for (int k = 0; k < c->kernel_count; k++)
        assert_float_equal(c->kernels[k].p, k ? 1 : least * CELLS, 1e-12);
    for (int i = 0; i < CELLS; i++)
        assert_float_equal(c->cells[i].p, i ? 1 : 2 * least * CELLS, 1e-12);
}

static void play_session(const noise *n, const plant *p, double gate, tally *t)
{
    json_t *runs[COMPARE_SIDES][CYCLES];
    double shared[COMPARE_SIDES][CELLS];
    compare_input input;
    for (int side = 0; side < COMPARE_SIDES; side++)
        for (int i = 0; i < CELLS; i++) shared[side][i] = p->shared * normal();
    for (int cycle = 0; cycle < CYCLES; cycle++) /* in the order of time: the sides take turns */
        for (int place = 0; place < COMPARE_SIDES; place++) {
            int step = cycle % 2 ? COMPARE_SIDES - 1 - place : place;
            int side = (step + cycle / 2) % COMPARE_SIDES;
            runs[side][cycle] = launch(n, p, shared[side], side == COMPARE_NEW);
        }
    for (int side = 0; side < COMPARE_SIDES; side++)
        input.runs[side] = (const json_t *const *)runs[side], input.count[side] = CYCLES;
    comparison *c = compare_judge(input, gate);
    assert_non_null(c);
    assert_int_equal(c->compared, CELLS);
    if (p->certain) expect_certain_p(c);
    count_session(c, p, t);
    compare_free(c);
    for (int side = 0; side < COMPARE_SIDES; side++)
        for (int i = 0; i < CYCLES; i++) json_decref(runs[side][i]);
}

static tally play(const noise *n, plant p, double gate)
{
    tally t = {0};
    random_state = 1;
    for (int s = 0; s < SESSIONS; s++) play_session(n, &p, gate, &t);
    print_message("%-10s planted %4.1f %%, shared %.1f %%: of %d sessions %d false, %d undecided, "
                  "%d found; gate %d clear, %d slower, %d open\n",
                  n->name, 100 * p.slower, 100 * p.shared, SESSIONS, t.false_claims, t.undecided,
                  t.found, t.gate[COMPARE_CLEAR], t.gate[COMPARE_REGRESSED], t.gate[COMPARE_OPEN]);
    return t;
}

/* At most 5 % of sessions may claim anything; and calm ones must be able to say "clear". */
static void nothing_changed(void **state)
{
    (void)state;
    for (int n = 0; n < NOISES; n++)
        for (int shared = 0; shared <= 2; shared++) {
            tally t = play(&noises[n], (plant){.shared = 0.01 * shared}, 5);
            assert_true(t.false_claims <= MOST_FALSE);
            assert_true(t.gate[COMPARE_REGRESSED] + t.others_accused <= MOST_FALSE);
            if (shared == 0) assert_true(t.undecided <= MOST_FALSE);
            if (shared == 0 && n == 0) assert_true(t.gate[COMPARE_CLEAR] >= SESSIONS - MOST_FALSE);
        }
}

static void p_counts_cells_and_kernels(void **state)
{
    (void)state;
    tally t = play(&noises[0], (plant){.slower = 0.2, .one_cell = true, .certain = true}, 5);
    assert_int_equal(t.gate[COMPARE_REGRESSED], SESSIONS);
}

/* What was planted is found, in so many of 100 sessions, and nothing else is. */
static void planted_is_found(void **state)
{
    (void)state;
    static const struct {
        int noise;
        double slower;
        bool one_cell;
        int found, accused; /* cell 0 and kernel 0, at least */
    } plants[] = {
        {0, 0.03, true, 99, 99},  {0, 0.03, false, 99, 99}, {0, 0.05, true, 99, 99},
        {1, 0.05, true, 50, 50},  {1, 0.05, false, 70, 90}, {1, 0.10, true, 99, 99},
        {2, 0.10, false, 90, 99}, {3, 0.10, false, 90, 90}, {4, 0.10, false, 90, 99},
    };
    for (unsigned i = 0; i < sizeof plants / sizeof *plants; i++) {
        plant p = {.slower = log1p(plants[i].slower), .one_cell = plants[i].one_cell};
        tally t = play(&noises[plants[i].noise], p, 1);
        assert_true(t.found * 100 >= plants[i].found * SESSIONS);
        assert_true(t.gate[COMPARE_REGRESSED] * 100 >= plants[i].accused * SESSIONS);
        assert_true(t.false_claims <= MOST_FALSE && t.others_accused <= MOST_FALSE);
    }
}

/* A run in which neighbours share the core in `busy` of nine samples: these have half of the issue
 * slots, and take 2^0.6 times as long. */
static json_t *shared_launch(int busy)
{
    json_t *results = json_array();
    for (int cell = 0; cell < CELLS; cell++) {
        char problem[16];
        json_t *samples = json_array(), *issue = json_array(), *clocks = json_array();
        for (int i = 0; i < 9; i++) {
            double left = i < busy ? 0.5 : 1, ns = 1e6 * pow(left, -0.6) * exp(0.1 * calm());
            json_array_append_new(samples, json_real(ns));
            json_array_append_new(issue, json_real(7 * left));
            json_array_append_new(clocks, json_real(3));
        }
        double median = 1e6 * (busy > 4 ? pow(0.5, -0.6) : 1);
        snprintf(problem, sizeof problem, "q%dd8", cell + 1);
        json_array_append_new(
            results, json_pack("{s:s, s:s, s:s, s:i, s:b, s:f, s:i, s:i, s:o, s:o, s:o}", "kernel",
                               "flash_x", "isa", "x", "problem", problem, "threads", 1, "verified",
                               1, "median_ns", median, "rounds", 9, "dirty", 0, "samples", samples,
                               "issue_per_clock", issue, "clocks_ghz", clocks));
    }
    return json_pack("{s:i, s:s, s:o}", "schema", 1, "verdict", "valid", "results", results);
}

/* Both sides are equal; during new a neighbour was there for most of the time. Ratios are of
 * cycles where the sides took turns; single files are judged by times, and say how far cycles are
 * apart. */
static void neighbours_are_no_regression(void **state)
{
    (void)state;
    enum { LAUNCHES = COMPARE_LEAST_LAUNCHES };
    const double slower = 0.6 * log(2);
    for (int variant = 0; variant < 3; variant++) {
        bool known = variant > 0, turns = variant > 1;
        json_t *runs[2][LAUNCHES];
        compare_input input = {.count = {turns ? LAUNCHES : 1, turns ? LAUNCHES : 1}};
        for (int i = 0; i < 2 * LAUNCHES; i++) {
            json_t *run = runs[i % 2][i / 2] = shared_launch(i % 2 ? 7 : 3);
            json_t *last = json_array_get(json_object_get(run, "results"), CELLS - 1);
            if (!known) json_object_del(last, "issue_per_clock");
            json_object_set_new(run, "date", json_sprintf("%02d", i));
        }
        for (int side = 0; side < 2; side++) input.runs[side] = (const json_t *const *)runs[side];
        comparison *c = compare_judge(input, 5);
        assert_non_null(c);
        assert_int_equal(c->compared, CELLS);
        assert_int_equal(c->alone, turns);
        assert_float_equal(c->apart, slower, 0.005);
        if (known) assert_float_equal(c->apart_alone, 0, 0.005);
        else assert_true(isnan(c->apart_alone));
        for (int i = 0; i < CELLS; i++) {
            assert_float_equal(c->cells[i].ratio.median, turns ? 0 : slower, 0.005);
            assert_int_equal(c->cells[i].verdict == VERDICT_SAME, turns);
            assert_float_equal(c->cells[i].median_ns[COMPARE_NEW], 1e6 * pow(2, 0.6), 1);
        }
        compare_free(c);
        for (int i = 0; i < 2 * LAUNCHES; i++) json_decref(runs[i % 2][i / 2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_are_no_regression),
        cmocka_unit_test(nothing_changed),
        cmocka_unit_test(p_counts_cells_and_kernels),
        cmocka_unit_test(planted_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
