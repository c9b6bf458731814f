/* compare.h: is NEW faster or slower than BASE, and how sure is that? Reads result files as JSON;
 * the unit is the launch: one process, one file, one median per cell (kernel, problem, threads). */
#ifndef BENCH_COMPARE_H
#define BENCH_COMPARE_H

#include <jansson.h>
#include <stdio.h>

#include "bench/alone.h"
#include "bench/stats.h"
#include "bench/verdict.h"

enum { COMPARE_LEAST_LAUNCHES = 6 };

typedef enum compare_side { COMPARE_BASE, COMPARE_NEW, COMPARE_SHAM, COMPARE_SIDES } compare_side;

/* How the launches of a comparison belong together. */
typedef enum compare_kind {
    COMPARE_CYCLES,       /* run i of base, new and sham is one cycle: `attest ab` */
    COMPARE_LAUNCHES,     /* at least COMPARE_LEAST_LAUNCHES files on each side, taken in turns */
    COMPARE_IN_A_ROW,     /* as many, but first one side and then the other */
    COMPARE_FEW_LAUNCHES, /* fewer */
} compare_kind;

/* What is compared. `sham` runs are runs of base; with them each side has `count` equal. */
typedef struct compare_input {
    const json_t *const *runs[COMPARE_SIDES];
    int count[COMPARE_SIDES];
} compare_input;

typedef struct compare_cell {
    const char *kernel, *problem; /* of the runs, which must outlive the comparison */
    int threads;
    double *ns[COMPARE_SIDES];     /* medians of launches; cycles: of the complete ones */
    double *cycles[COMPARE_SIDES]; /* the same in clock cycles alone; where c->counted */
    int count[COMPARE_SIDES];
    double least_ns[COMPARE_SIDES],
        most_ns[COMPARE_SIDES]; /* ends of the launches' own intervals */
    const char *void_reason[COMPARE_SIDES];
    double median_ns[COMPARE_SIDES];
    stats_median ratio; /* ln(new / base) and its 95 % interval */
    double sham;        /* ln(sham / base), median; NaN without a sham */
    double sham_p;
    double p;        /* of "beyond the band", Benjamini-Hochberg over cells; 1 without a test */
    double gate_p;   /* of "slower than the gate", one-sided, not adjusted */
    double smallest; /* the ln ratio that would just have been claimed; infinite if not bounded */
    verdict verdict;
    char left_out[160]; /* why it is not compared, or "" */
    bool open;          /* left out though both sides have it */
} compare_cell;

typedef enum compare_answer {
    COMPARE_CLEAR,
    COMPARE_REGRESSED,
    COMPARE_OPEN,
    COMPARE_ONCE, /* regressed, but a second set of launches does not repeat it */
} compare_answer;

/* The gate's answer for one kernel. */
typedef struct compare_kernel {
    const char *name;
    double p; /* smallest p of its cells, Bonferroni over them, Holm over kernels */
    compare_answer answer;
} compare_kernel;

typedef struct comparison {
    compare_input input;
    compare_kind kind;
    bool counted; /* every sample has the clock and the issue rate beside it */
    bool alone; /* ratios are of clock cycles alone, not of times: counted, and sides take turns */
    compare_cell *cells;
    int compared, cell_count;  /* the first `compared` cells are not left out */
    int launches;              /* of the side that has fewer */
    double floor;              /* ln; NaN without a sham */
    double band;               /* ln */
    double smallest;           /* median over cells, ln */
    double apart;              /* median over cells of |ln ratio of times| */
    double apart_alone;        /* of clock cycles alone; NaN unless counted */
    const char *undecided;     /* why the whole comparison is, or NULL */
    struct comparison *second; /* a second set of launches, which a regression must survive */
    json_t *notes;             /* sentences: what else differs between the sides */
    double gate;               /* percent; negative: none */
    compare_kernel *kernels;
    int kernel_count;
    stats_null null, sham_null; /* of the last cell; nearly all cells have the same */
} comparison;

/* Why these runs cannot be compared as commits (not result files, other machine classes), as a
 * sentence in `why`, which names the sides as `names` does; NULL if they can. */
const char *compare_refuses(const compare_input *input, const char *const names[2], char *why,
                            size_t size);

/* Judges every cell, and every kernel against `gate` percent (negative: no gate). NULL if memory is
 * short. `input` as compare_refuses accepts it. */
comparison *compare_judge(compare_input input, double gate);
void compare_free(comparison *c);

/* Keeps as regressed what `second` shows as well (NULL: nothing), and owns it from here on. */
void compare_confirm(comparison *c, comparison *second);

/* Is there a cell on both sides, be it void? */
bool compare_has_common(const comparison *c);

/* "faster", "slower", "same", "mixed" or "undecided", over all cells. */
const char *compare_verdict(const comparison *c);

/* EXIT_RIGHT, EXIT_WRONG or EXIT_UNDECIDED by the gate. */
int compare_exit(const comparison *c);

/* Fills c->cells with the launches of c->input (compare_read.c); false if memory is short. */
bool compare_collect(comparison *c);

/* The samples of every result of every run, side by side, and what neighbours did to them. One fit
 * serves both sides: its error is theirs in common. */
typedef struct compare_samples {
    alone_cell *cells; /* in the order of sides, runs and results */
    int count;
    bool complete; /* clock and issue rate stand beside every sample */
    alone_fit fit;
} compare_samples;

/* False if memory is short (compare_alone.c). */
bool compare_take_samples(const compare_input *input, compare_samples *samples);
void compare_free_samples(compare_samples *samples);

compare_kind compare_kind_of(const compare_input *input);

/* Sentences: how the tools, seeds and inputs of the two sides differ. New reference to an array. */
json_t *compare_notes(const compare_input *input);

/* ---- what is written (compare_print.c) ------------------------------------------------- */

void compare_print(const comparison *c);                /* standard output, 80 columns */
void compare_markdown(const comparison *c, FILE *file); /* below 65,536 characters */
json_t *compare_json(const comparison *c);              /* compare_json.c; new reference */

typedef struct compare_options {
    const char *names[2];        /* how messages call base and new */
    double gate;                 /* percent; negative: none */
    const char *markdown, *json; /* files, or NULL */
} compare_options;

/* Writes the files that the options name. EXIT_RIGHT or EXIT_USAGE. */
int compare_write(const comparison *c, const compare_options *options);

/* All of it for result files in memory: refuses, judges, prints, writes; returns the exit code. */
int compare_runs(const json_t *const *base, int base_count, const json_t *const *fresh,
                 int fresh_count, const compare_options *options);

/* Two CPUs by ratios (compare_machines.c): how many times faster than a common kernel each kernel
 * is on its machine, its share of the measured peak, its operations per cycle where the file knows
 * the clock. Checked result files. Prints, writes what the options name; EXIT_RIGHT or
 * EXIT_USAGE. */
int compare_machines(const json_t *const files[2], const compare_options *options);

/* "--gate PCT" -> percent; NULL -> negative. EXIT_RIGHT or EXIT_USAGE. */
int compare_read_gate(const char *text, double *gate);

#endif
