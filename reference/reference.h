/* reference.h: what is true, and how far may a correct float kernel be from it?
 *
 * Three things: the double-precision attention of one query row, written twice (ref_dense
 * materialises the mask from the sentences of the specification, ref_online works with index
 * arithmetic); the error bound of every output element, derived from a kernel's claims (bound.c);
 * and seeded inputs (inputs.c) that are the same bits on every machine. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include "kernels/attention.h"

/* ---- one row -------------------------------------------------------------------------- */

/* Query row i of head h in batch b. */
typedef struct ref_place {
    int64_t b, h, i;
} ref_place;

/* Which part of the bound is the largest, per element. */
typedef enum ref_term { REF_SCORES, REF_SUMS, REF_ROUNDING, REF_UNDERFLOW, REF_TERMS } ref_term;
extern const char *const ref_term_names[REF_TERMS];

/* Results and bounds of one (batch, head, query) row. Arrays belong to the row. Weights are kept in
 * every form, whatever the problem wants. */
typedef struct ref_row {
    double *out, *out_bound; /* [v_dim] */
    ref_term *out_term;      /* [v_dim] */
    double lse, lse_bound;
    double *weights, *weights_bound; /* [kv_len], the form that the problem wants */
    uint8_t *visible;                /* [kv_len] */
    /* Work of the reference, [kv_len] each: raw and capped score, bias (ALiBi plus mask) and
     * the sum of their absolute values, masked score, weight, sum of absolute products (A_j), error
     * exponent (tau_j), what it may move the weight by, and whether the key was selected. */
    double *raw, *capped, *bias, *bias_size, *score, *weight, *magnitude, *tau, *moved;
    uint8_t *selected;
    double sink_weight, largest; /* P of the sink; largest selected score, sink included */
    void *memory;
} ref_row;

/* A row with room for this problem, or NULL if memory is short. Free with ref_row_free. */
ref_row *ref_row_new(const attn_problem *problem);
void ref_row_free(ref_row *row);

/* Fills out, lse, weights, visible and the work arrays of one row; no bounds. Tensors must
 * have passed attn_validate. */
void ref_dense(const attn_problem *problem, const attn_tensors *tensors, ref_place at,
               ref_row *row);

/* The same truth by another algorithm; fills out, lse, weights and visible only. */
void ref_online(const attn_problem *problem, const attn_tensors *tensors, ref_place at,
                ref_row *row);

/* Claims for a kernel that makes none: any order of summation, exp of 4 ULP, a rescale per key. */
attn_claims ref_default_claims(const attn_problem *problem);

/* The same claims with no more additions and rescales than any kernel needs that sums kv_len keys
 * and a sink: a tree of fixed height is higher than that for few keys. */
attn_claims ref_needed_claims(const attn_problem *problem, attn_claims claims);

/* Why these claims are looser than any correct kernel needs, in `reason`, or NULL: a kernel may
 * tighten its bound, never loosen it. */
const char *ref_claims_refused(const attn_problem *problem, const attn_claims *claims, char *reason,
                               size_t size);

/* After ref_dense: the bounds of all outputs for a kernel with these claims that computes with unit
 * roundoff u (2^-24 for float, 2^-53 to certify a double computation). Derivation: bound.c. */
void ref_bound(const attn_problem *problem, const attn_tensors *tensors, ref_place at,
               const attn_claims *claims, double u, ref_row *row);

/* Likewise, what independent roundings seldom exceed; a right kernel may. Never larger than
 * ref_bound's. */
void ref_typical_bound(const attn_problem *problem, const attn_tensors *tensors, ref_place at,
                       const attn_claims *claims, double u, ref_row *row);

/* ---- inputs --------------------------------------------------------------------------- */

/* What the values look like. The last two are probes: their answer needs no reference. */
typedef enum ref_distribution {
    REF_GAUSS,      /* N(0,1), as a sum of eight 16-bit uniforms */
    REF_WIDE,       /* logits with standard deviation 30 */
    REF_ASCENDING,  /* logits grow with j: the running maximum moves at every key */
    REF_DESCENDING, /* logits fall with j: it never moves */
    REF_LOW,        /* all logits near -500 */
    REF_CANCEL,     /* large products that cancel in q.k */
    REF_SAME_SIGN,  /* V in [1, 2) */
    REF_BIG_V,      /* V = +-1e4 */
    REF_HEAVY,      /* one heavy key with V = 0, the others at -20.5 with V = 1e6 */
    REF_ZERO_Q,     /* all scores equal */
    REF_SUBNORMAL,  /* V below 2^-126 */
    REF_RAMP,       /* logits climb or fall by 3 to 7 in 64 keys, and by 100 and more in all */
    REF_GATHER,     /* K = +-1 codes, q_i = c k_pi(i): O[i] = V[pi(i)] */
    REF_UNIFORM,    /* all scores 0, V small integers: O = the mean of the visible V */
    REF_DISTRIBUTIONS
} ref_distribution;
extern const char *const ref_distribution_names[REF_DISTRIBUTIONS];

/* How tensors lie in memory. */
typedef enum ref_layout {
    REF_HEADS_FIRST, /* [batch, heads, len, dim], contiguous */
    REF_ROWS_FIRST,  /* [batch, len, heads, dim], as a packed projection leaves it */
    REF_GAPS,        /* heads first with a gap after every row and head, NaN inside */
    REF_PAGES,       /* heads first here; verify/stage.c puts every row on pages of its own ... */
    REF_SPARSE,      /* ... and these so far apart that 32 bits do not count the elements between */
    REF_SHARED,      /* heads first; stride 0: one Q and K for all batches, one V for all heads */
    REF_LAYOUTS
} ref_layout;
extern const char *const ref_layout_names[REF_LAYOUTS];

/* One output buffer with everything around it that a kernel must leave alone. */
typedef struct ref_buffer {
    float *memory;
    int64_t floats;
} ref_buffer;

/* Where tensors are put. `take` returns `bytes` writable bytes for the tensor `name`, exactly from
 * its first to its last element, aligned to the size of an element, or NULL; its owner frees them
 * after ref_inputs_free. All zero: the heap, with margins. */
typedef struct ref_memory {
    void *(*take)(void *owner, const char *name, size_t bytes, size_t element, bool output);
    void *owner;
    bool clean_gaps;   /* zeros in the gaps of inputs, instead of NaN */
    bool clean_unseen; /* keys that no query sees keep their values, instead of NaN */
} ref_memory;

/* Tensors for a problem. NaN stands in gaps, in K and V of keys that no query of the batch may see
 * (problems up to 2^24 pairs), and in the outputs before the call (bit pattern REF_CANARY). */
typedef struct ref_inputs {
    attn_tensors tensors;
    ref_memory memory;
    ref_buffer out, lse, weights;
    struct {
        void *data;
        size_t bytes;
        bool output;
    } blocks[16];
    int block_count;
} ref_inputs;

enum { REF_CANARY = 0x7fc5a5a5 };

/* Counter-based random bits: a function of the key and the index only (SplitMix64's finaliser,
 * Steele et al. 2014), so inputs do not depend on ISA, threads or order. */
uint64_t ref_random(uint64_t key, uint64_t index);

/* Bytes that ref_inputs_new would allocate; INT64_MAX on overflow. */
int64_t ref_inputs_bytes(const attn_problem *problem);

/* NULL if memory is short. The same (problem, distribution, layout, seed) gives the same bits
 * everywhere. */
ref_inputs *ref_inputs_new(const attn_problem *problem, ref_distribution distribution,
                           ref_layout layout, uint64_t seed);
ref_inputs *ref_inputs_in(ref_memory memory, const attn_problem *problem,
                          ref_distribution distribution, ref_layout layout, uint64_t seed);
void ref_inputs_free(ref_inputs *inputs);

/* A hash of everything a kernel may only read. */
uint64_t ref_inputs_hash(const ref_inputs *inputs);

/* Fills every output, gaps and margins included, with REF_CANARY. */
void ref_poison_outputs(ref_inputs *inputs);

/* Does the probe's construction hold for this problem? NULL, or the reason why not. */
const char *ref_probe_refuses(const attn_problem *problem, ref_distribution distribution);

/* The key that REF_GATHER makes a row pick, among its visible keys; -1 if it sees none. */
int64_t ref_gather_target(const attn_problem *problem, const attn_tensors *tensors, uint64_t seed,
                          ref_place at);

/* Is key j visible to this row? One pair, straight from the sentences in attention.h. */
bool ref_visible(const attn_problem *problem, const attn_tensors *tensors, ref_place at, int64_t j);

/* Visible pairs of the whole problem, lengths, offsets and masks included. */
int64_t ref_visible_pairs(const attn_problem *problem, const attn_tensors *tensors);

#endif
