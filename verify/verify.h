/* verify.h: is this kernel right? One check of one kernel on one case, and the table of cases. */
#ifndef VERIFY_H
#define VERIFY_H

#include "kernels/attention.h"
#include "reference/reference.h"

/* What a verdict rests on. Each part has a name by which it can be left out (`--without`), so that
 * an ablation can show what it is good for. Parts that fail a case by themselves are the bits of
 * verify_report.failed. */
typedef enum verify_part {
    VERIFY_BOUND,          /* class and value of every output against truth and derived bound */
    VERIFY_EXACT,          /* the answers of the probes gather and uniform */
    VERIFY_CLAIMS,         /* claims are not looser than any correct kernel needs */
    VERIFY_STRAYS,         /* canaries between and around the outputs */
    VERIFY_SCRATCH,        /* canaries behind each thread's scratch */
    VERIFY_GUARDS,         /* unmapped pages before and behind every tensor */
    VERIFY_READ_ONLY,      /* inputs cannot be written during the call */
    VERIFY_POISON_OUTPUTS, /* outputs hold a NaN of their own before the call */
    VERIFY_POISON_GAPS,    /* NaN between and around the rows of inputs */
    VERIFY_POISON_UNSEEN,  /* NaN in K, V and bias where no query may look */
    VERIFY_POISON_SCRATCH, /* NaN in the scratch */
    VERIFY_DEATH,          /* a signal or exit of the worker */
    VERIFY_WATCHDOG,       /* a call that does not return */
    VERIFY_MEMORY,         /* address space is limited */
    VERIFY_ROUNDING,       /* the rounding mode is as before */
    VERIFY_SUBNORMALS,     /* subnormals are not flushed afterwards */
    VERIFY_SIGNALS,        /* the signal mask is as before */
    VERIFY_FILES,          /* no more or fewer open file descriptors */
    VERIFY_HEAP,           /* a repeated call leaves no memory behind */
    VERIFY_REGISTERS,      /* vector registers that a call must keep (aarch64: d8 to d15) */
    VERIFY_THREADS,        /* other thread counts give the same bits, if that is claimed */
    VERIFY_AGAIN,          /* so does the same call after calls with other values */
    VERIFY_NEGATE_V,       /* -V gives -O */
    VERIFY_SCALE_V,        /* V / 2^20 gives O / 2^20, bit for bit */
    VERIFY_NAN_ROW,        /* NaN in one row of Q makes that row and its lse NaN, and no other */
    VERIFY_NAN_KEY,        /* so does NaN in K, to the rows that see it, and NaN in V to a column */
    VERIFY_PERMUTE,        /* rows, heads and batches in reverse order give the same bits */
    VERIFY_PERMUTE_KEYS,   /* keys in reverse order give the same, within both bounds */
    VERIFY_DOUBLE_KEYS,    /* so does every key twice, with lse + log 2 */
    VERIFY_SHIFT_MASK,     /* so does a constant added to the rows of the bias, with lse + it */
    VERIFY_SPLIT_KEYS,     /* so do two calls with a part of the keys each, merged by lse */
    VERIFY_REWRITE,        /* other values in the same memory are judged as the first were */
    VERIFY_HULL,           /* outputs lie between the smallest and the largest visible V */
    VERIFY_SLICES,         /* a slice touches no output row but its own */
    VERIFY_EDIT,           /* a value changed in place is seen, with the scratch as it was */
    VERIFY_PARTS
} verify_part;
extern const char *const verify_part_names[VERIFY_PARTS];

/* Where tensors lie: flush against the guard page behind or before them, or aligned to no more than
 * an element, or on the heap, without a cage (for callers that cannot afford a fault). */
typedef enum verify_place {
    VERIFY_RIGHT,
    VERIFY_LEFT,
    VERIFY_ODD,
    VERIFY_HEAP_PLACE,
    VERIFY_PLACES
} verify_place;
extern const char *const verify_place_names[VERIFY_PLACES];

/* A problem, what its values look like, how they lie in memory, and the seed that makes them. */
typedef struct verify_case {
    attn_problem problem;
    ref_distribution inputs;
    ref_layout layout;
    verify_place place;
    uint64_t seed;
} verify_case;

/* All that can be left out: the parts, then distributions, layouts and the caged places. A case
 * that needs a feature that is left out is skipped. */
enum {
    VERIFY_INPUTS_AT = VERIFY_PARTS,
    VERIFY_LAYOUTS_AT = VERIFY_INPUTS_AT + REF_DISTRIBUTIONS,
    VERIFY_PLACES_AT = VERIFY_LAYOUTS_AT + REF_LAYOUTS,
    VERIFY_FEATURES = VERIFY_PLACES_AT + VERIFY_HEAP_PLACE
};
const char *verify_feature_name(int feature);

/* Why the rows of this problem are not put on pages of their own, as the layouts pages and sparse
 * do, or share nothing in the layout shared; else NULL. */
const char *verify_layout_refuses(const attn_problem *problem, ref_layout layout);

/* The features that this case needs, as bits. */
uint64_t verify_case_features(const verify_case *which);

typedef enum verify_status { VERIFY_PASS, VERIFY_FAIL, VERIFY_SKIP } verify_status;

/* The verdict, and the element that used most of its bound. */
typedef struct verify_report {
    verify_status status;
    uint64_t failed;  /* bit (1 << part) of every part that failed */
    char reason[320]; /* of the first failure, or of the skip; empty on a pass */
    double share;     /* |got - want| / bound of the worst element; infinity if its class differs */
    double typical_share; /* of what independent roundings seldom exceed, in the row of that
                           * element; above 1 is a warning, never a failure. 0 for probes */
    const char *output;   /* "out", "lse" or "weights" */
    ref_place at;
    int64_t column;
    double got, want, bound;
    ref_term term;        /* what dominates the bound there */
    double max_error;     /* largest |got - want| over finite elements of out */
    int64_t rows;         /* rows that were judged */
    int64_t compared;     /* elements that were judged */
    int64_t wrong;        /* and were not what they should be */
    int64_t outside;      /* elements of out that are no mean of visible values */
    ref_place outside_at; /* the first row with one */
    int64_t live, zeros;  /* elements of out in rows that see a key; how many of them should be 0 */
    double low, high;     /* range of what these should be */
    char picture[1024];   /* of the head with the worst element: which rows and columns are wrong */
} verify_report;

typedef struct verify_options {
    int threads;      /* of the kernel's run, >= 1 */
    int64_t rows;     /* query rows to judge; 0 = all, else spread evenly from first to last */
    bool relations;   /* also VERIFY_HEAP and the parts that run the kernel again */
    uint64_t without; /* bit (1 << feature) of everything to leave out */
} verify_options;

/* Runs the kernel on the case, in this process, and judges what it wrote; the parts above say what
 * is looked at. Skipped, not passed, is a case that the kernel or a probe refuses, and one whose
 * truth is vacuous (equal everywhere or mostly zeros: that proves nothing). Fewer judged elements
 * than the problem has are a failure. */
verify_report verify_check(const attn_kernel *kernel, const verify_case *which,
                           verify_options options);

/* The parts BOUND, EXACT, CLAIMS and STRAYS, on outputs that the kernel has already written to
 * `inputs` (which were poisoned before). For callers that run the kernel themselves. */
verify_report verify_outputs(const attn_kernel *kernel, const verify_case *which,
                             const ref_inputs *inputs, int64_t rows);

/* The part BOUND of one row only: for callers that check now and then. */
verify_report verify_row(const attn_kernel *kernel, const verify_case *which,
                         const ref_inputs *inputs, ref_place at);

/* The cases of a suite ("quick" or "full") for this seed, small ones first. Returns a malloc'ed
 * array of *count cases, NULL for an unknown name. */
verify_case *verify_suite(const char *suite, uint64_t seed, int *count);

/* All inputs and layouts that make sense for one problem; appended to *cases (realloc'ed). */
void verify_add_problem(const attn_problem *problem, uint64_t seed, verify_case **cases,
                        int *count);

/* Problems such that every pair of features meets in one of them (causal x window x lengths x masks
 * x ALiBi x sinks x heads x v_dim x softcap x lse x weights x selection x batch x shape).
 * malloc'ed; *count of them. */
attn_problem *verify_pairwise(int *count);

/* Random case number `index`: any legal problem of moderate size, any inputs, layout and place. */
verify_case verify_random(uint64_t seed, uint64_t index);

/* Tries to make a failed case smaller, at most `tries` times, as long as `fails` says that it still
 * fails. Returns the smallest. */
typedef bool verify_still_fails(void *context, const verify_case *which);
verify_case verify_shrink(verify_case failed, int tries, verify_still_fails *fails, void *context);

/* The options of `attest verify` that run exactly this case, e.g. "--problems q5d3 --inputs gather
 * --layout gaps --place left --seed 7". */
void verify_replay(const verify_case *which, char *text, size_t size);

#endif
