/* measure.h: how long does a kernel take, compared fairly?
 *
 * A group is one problem on one number of threads; its arms are the kernels that can compute it.
 * Arms are timed in rounds: every round takes one sample of every arm, in an order that is balanced
 * over rounds. A sample is a batch of calls, the same number for every arm. An arm that is far
 * behind the fastest would take most of the time and tell little: where the seconds are short, it
 * rests in some of the rounds, and its samples are batches of their own length. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "bench/anchor.h"
#include "bench/evidence.h"
#include "bench/neighbour.h"
#include "kernels/attention.h"
#include "verify/verify.h"

enum {
    MEASURE_LEAST_ROUNDS = 6,
    MEASURE_USUAL_ROUNDS = 30, /* most that a budget buys */
    MEASURE_MOST_ROUNDS = 120, /* that may be asked for, and that a width may take */
    MEASURE_TRIES = 2 * MEASURE_MOST_ROUNDS,
    MEASURE_ARMS = 64
};

typedef struct measure_arm {
    const attn_kernel *kernel; /* NULL in unused places */
    verify_report verdict;     /* of the inputs before timing; then of the first wrong timed call */
    double call_seconds;       /* one call, for planning; what the budget is divided by */
    bool unseen;               /* not yet judged on the inputs to be timed */
    bool rests;                /* takes part in whole rounds only */
    bool prepared;             /* verdict and dropped are set */
    const char *dropped;       /* why it is not measured, or NULL */
    int64_t scratch_bytes;     /* per thread, as the kernel asks */
    double ns[MEASURE_TRIES];  /* per call, one per round, dirty ones included; NaN = rested */
    int checked;               /* timed samples whose last call was judged */
    neighbour_reading around[MEASURE_TRIES]; /* beside ns: mean of before and after the sample */
} measure_arm;

/* What stood around one round. */
typedef struct measure_round {
    evidence_cause cause;   /* EVIDENCE_CLEAN, or why it does not count */
    bool whole;             /* every arm took part */
    bool half;              /* the run was killed in it: it ended after some of its samples */
    double at_s;            /* since the run began */
    anchor_reading anchors; /* before its samples; all zero without anchors */
} measure_round;

/* Where the time of a group went. */
typedef struct measure_cost {
    double timed_s, sham_s, anchors_s, checks_s;
} measure_cost;

typedef struct measure_group {
    attn_problem problem;
    char key[192];
    int threads;
    uint64_t seed;
    measure_arm arms[MEASURE_ARMS];
    int arm_count;
    double flops;   /* of one call: 2 (qk_dim + v_dim) per pair that these inputs leave visible */
    int calls;      /* per sample of an arm that does not rest */
    int rounds;     /* planned, clean ones */
    int whole;      /* of them whole ones; = rounds if no arm rests */
    bool all_first; /* every arm is judged before the rounds, however long its calls */
    double width;   /* stop when every interval is within +- this share of its median; 0 = never */
    int tried;      /* rounds measured, dirty and half ones included */
    int clean;      /* of them; half ones do not count here, though their samples do */
    bool halved;    /* round[tried] is a half one of a killed run: its samples stand */
    int sham;       /* the arm that is also timed as a stranger; -1 if none */
    double sham_ns[MEASURE_TRIES];
    measure_round round[MEASURE_TRIES];
    measure_cost cost;
    uint64_t moves;   /* rows of Q that changed their sign so far (round.c) */
    double setup_s;   /* what it took to begin the last turn: inputs, scratch, anchors */
    double read_gbps; /* of a buffer as large as Q, K, V and O, measured around the rounds */
} measure_group;

/* What a run does around every round. */
typedef struct measure_hooks {
    double began;                        /* roof_now() at the start of the run */
    bool (*stop)(const measure_group *); /* asked before each */
    /* Told after each, or NULL; and every measure_keep_seconds within one, which is `half` then:
     * its samples so far, and what made it dirty so far. */
    void (*keep)(const measure_group *, int round);
} measure_hooks;

/* Rows judged at once by the bound on inputs that are timed: 64, down to 8 where a row takes the
 * reference long. */
int64_t measure_judged_rows(const attn_problem *problem);

/* Seconds of samples that a kill may cost, or the running one. */
static const double measure_keep_seconds = 0.2;

/* Seconds of a call that is too dear to be made only to be checked: it fills a sample alone. */
static const double measure_long_call = 0.002;

/* Checks every arm that is not dropped (all rows by the gather probe, some by the bound on the
 * inputs that will be timed), times one call, and marks what cannot be measured. Bytes beyond
 * `memory` are refused before they are allocated. What `before` (or NULL) found out with the
 * gather probe on the same problem is not asked again: the number of threads is no part of that
 * answer. Arms whose calls are long are left `unseen` after the probe (not with `all_first`): rows
 * of their first sample are judged. Those that the caller marks so are not called: it knows their
 * call_seconds. */
void measure_prepare(measure_group *group, const measure_group *before, int64_t memory);

/* Divides `seconds` over the groups: MEASURE_LEAST_ROUNDS whole rounds for each, then rounds in
 * which arms rest, then more whole ones. Arms are dropped, the dearest first, until all others can
 * have the least; and those that cost ten times the mean until a third of the budget is left for
 * more rounds. fixed_rounds > 0 sets the rounds instead, and so does a width: all whole. Returns
 * the planned seconds. */
double measure_plan(measure_group *groups, int count, double seconds, int fixed_rounds);

/* Divides `seconds` anew, as planned seconds of the whole run, between its rounds; drops no arm. */
double measure_replan(measure_group *groups, int count, double seconds);

/* Times the group's rounds, from group->tried on, until `clean` of them are clean or, with a width,
 * every interval is tight enough; gives up after twice as many. Every timed call works on inputs of
 * its own; now and then, and once at least for every arm, the outputs are poisoned before a sample
 * and a row of its last call is judged after it: a kernel that is wrong then becomes void. */
void measure_run(measure_group *group, int clean, const measure_hooks *hooks);

/* Does round r count? Clean ones do. On a host so busy that fewer than MEASURE_LEAST_ROUNDS were
 * clean all do, and nothing may be claimed from them (more than 20 % dirty: undecided). */
bool measure_counts(const measure_group *group, int r);

/* The samples of rounds that count, in order, into `to` (room for MEASURE_TRIES, or NULL); returns
 * how many. `ns` is an arm's or the sham's array of this group. */
int measure_samples(const measure_group *group, const double *ns, double *to);

/* Has every arm enough clean rounds for an interval? */
bool measure_is_bounded(const measure_group *group);

/* How many whole or light rounds were tried, or of those, with `clean`, were clean. */
int measure_rounds(const measure_group *group, bool whole, bool clean);

/* Calls of one sample of this arm. */
int measure_calls(const measure_group *group, const measure_arm *arm);

/* Seconds that one round of this group takes. */
double measure_round_seconds(const measure_group *group, bool whole);

/* Seconds that all rounds of this group are planned to take. */
double measure_planned_seconds(const measure_group *group);

/* Seconds that the rounds tried so far were planned to take, or with `clean` the clean ones. */
double measure_done_seconds(const measure_group *group, bool clean);

/* Is this arm measured, as far as is known? */
bool measure_is_timed(const measure_arm *arm);

#endif
