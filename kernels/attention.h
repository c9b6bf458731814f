/* attention.h: what is attention, and which kernels compute it?
 *
 *     O[b,h,i,:] = sum_j P[b,h,i,j] V[b,g,j,:]            g = h / (q_heads / kv_heads)
 *     P[b,h,i,:] = select( mask( softcap( score(Q[b,h,i,:], K[b,g,j,:]) ) ) )
 *
 * A problem holds sizes and rules; tensors hold pointers. A problem alone can be printed, stored
 * and replayed (attn_problem_print), a kernel can accept or refuse it (attn_supports), and attn_run
 * computes it. Semantics follow the ONNX operator Attention, opset 25, wherever it speaks. All data
 * is float32.
 *
 * Every public call returns a status; when it is not ATTN_OK nothing was written and `error` names
 * the field, its value and what would be legal. All calls are thread-safe. */
#ifndef ATTENTION_H
#define ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum attn_status {
    ATTN_OK = 0,
    ATTN_INVALID = 1,     /* the problem or a tensor is illegal */
    ATTN_UNSUPPORTED = 2, /* legal, but this kernel or this CPU cannot compute it */
    ATTN_NO_MEMORY = 3    /* scratch could not be allocated; the message says how many bytes */
} attn_status;

typedef struct attn_error {
    char text[256];
} attn_error;

/* score(q, k): ATTN_DOT       scale * sum_c q_c k_c
 *              ATTN_ADDITIVE  scale * sum_c score_vector_c tanh(q_c + k_c)
 * (Bahdanau et al. 2015; its two projections and bias are applied to Q and K beforehand). */
typedef enum attn_score { ATTN_DOT, ATTN_ADDITIVE } attn_score;

/* select: softmax over the visible keys; hardmax puts weight 1 on the best key; top-k takes the
 * softmax over the top_k best keys. Ties go to the lowest index. */
typedef enum attn_select { ATTN_SOFTMAX, ATTN_HARDMAX, ATTN_TOPK } attn_select;

/* Optional output [batch, q_heads, q_len, kv_len], ONNX qk_matmul_output_mode + 1. */
typedef enum attn_weights {
    ATTN_WEIGHTS_NONE,
    ATTN_WEIGHTS_RAW,       /* scaled scores of all pairs, also of masked ones */
    ATTN_WEIGHTS_CAPPED,    /* after the softcap */
    ATTN_WEIGHTS_MASKED,    /* after ALiBi and masks; -inf where the key is not visible */
    ATTN_WEIGHTS_NORMALISED /* P; a row without visible keys is 0 */
} attn_weights;

/* Key j is visible to query row i of batch b iff all of these hold, with t = q_offset + i:
 *   j < kv_len;  j < kv_lens[b] if has_kv_lens;  causal implies j <= t;
 *   window_left >= 0 implies j >= t - window_left;
 *   window_right >= 0 implies j <= t + window_right;
 *   mask[b,h,i,j] != 0 if has_mask;  bias[b,h,i,j] != -inf if has_bias.
 * A row with no visible key gets +0 in every column and lse -inf (with a sink: lse = sink). NaN or
 * inf in K, V or bias of keys that are not visible never reaches O, lse or P. NaN in Q or in K of a
 * visible key makes that row of O and its lse NaN; NaN in V of a key with P > 0, that column. */
typedef struct attn_problem {
    int64_t batch, q_heads, kv_heads; /* >= 0; q_heads a multiple of kv_heads */
    int64_t q_len, kv_len;            /* >= 0 */
    int64_t qk_dim, v_dim;            /* >= 1 */
    float scale;                      /* finite */
    float softcap; /* finite, >= 0; 0 = none. cap * tanh(s / cap), before any mask */
    attn_score score;
    attn_select select;
    int64_t top_k; /* >= 1 with ATTN_TOPK, else 0 */
    bool causal;
    int64_t q_offset; /* of query row 0 among the keys, within +-2^61; q_offsets[b] wins */
    int64_t window_left, window_right; /* inclusive, below 2^62; -1 = unbounded */
    bool has_kv_lens, has_q_offsets, has_mask, has_bias, has_alibi,
        has_sinks; /* inputs that exist */
    bool wants_lse;
    attn_weights weights;
} attn_problem;

/* Strided views; strides in elements, the last dimension (feature; key for weights) contiguous.
 * Inputs may use stride 0 to broadcast. Outputs may not overlap themselves or any input. */
typedef struct attn_input {
    const float *data;
    int64_t batch_stride, head_stride, row_stride;
} attn_input;

typedef struct attn_output {
    float *data;
    int64_t batch_stride, head_stride, row_stride;
} attn_output;

typedef struct attn_mask {
    const uint8_t *data; /* 0 = hidden */
    int64_t batch_stride, head_stride, row_stride, key_stride;
} attn_mask;

typedef struct attn_bias {
    const float *data; /* added to the score; -inf removes the key */
    int64_t batch_stride, head_stride, row_stride, key_stride;
} attn_bias;

typedef struct attn_tensors {
    attn_input q;              /* [batch, q_heads, q_len, qk_dim] */
    attn_input k;              /* [batch, kv_heads, kv_len, qk_dim] */
    attn_input v;              /* [batch, kv_heads, kv_len, v_dim] */
    attn_output out;           /* [batch, q_heads, q_len, v_dim] */
    const int64_t *kv_lens;    /* [batch], 0 <= kv_lens[b] <= kv_len */
    const int64_t *q_offsets;  /* [batch], any value that keeps q_offsets[b] + q_len in 62 bits */
    attn_mask mask;            /* [batch, q_heads, q_len, kv_len] after broadcasting */
    attn_bias bias;            /* [batch, q_heads, q_len, kv_len] after broadcasting */
    const float *alibi_slopes; /* [q_heads]; adds -slope * |q_offset + i - j| (Press et al. 2022) */
    const float *sinks;        /* [q_heads]; a logit that takes part in the softmax sum only */
    const float *score_vector; /* [qk_dim], with ATTN_ADDITIVE */
    attn_output lse;           /* [batch, q_heads, q_len]: log of the softmax sum, sink included;
                                  row_stride counts, from one query to the next */
    attn_output weights;       /* [batch, q_heads, q_len, kv_len] */
} attn_tensors;

/* A heads x len x dim self-attention with scale 1/sqrt(dim), batch 1, nothing masked. */
attn_problem attn_problem_make(int64_t heads, int64_t len, int64_t dim);

/* The one-line key of a problem, canonical form, e.g. "h8q2048d64c" (grammar: README, "Problem
 * keys"). Writes at most `size` bytes including the terminator; returns the length of the whole
 * key. */
int attn_problem_print(const attn_problem *problem, char *key, size_t size);

/* Reads a key into *problem. ATTN_INVALID names the position of the first character that does not
 * fit. */
attn_status attn_problem_parse(const char *key, attn_problem *problem, attn_error *error);

/* Visible (query, key) pairs if no kv_lens, mask or bias removes more; saturates at INT64_MAX. */
int64_t attn_visible_pairs(const attn_problem *problem);

/* Is the problem legal? With tensors != NULL: do they fit it? */
attn_status attn_validate(const attn_problem *problem, const attn_tensors *tensors,
                          attn_error *error);

/* ---- kernels -------------------------------------------------------------------------- */

/* What a kernel promises about its rounding. The bound in reference/ is derived from these, so a
 * kernel that promises too much fails itself. u = 2^-24. */
typedef struct attn_claims {
    double exp_ulp;     /* largest error of its exp, in ULP */
    double tanh_ulp;    /* largest error of its tanh, in ULP */
    int64_t sum_height; /* additions on the longest path from a product to the output */
    int64_t rescales;   /* most rescales of an accumulator */
    double flush;       /* weights below this (relative to the largest) may be lost */
    bool deterministic; /* same bits for every thread count, every repetition, and wherever a row,
                              head or batch stands among the others */
    bool normalises_first; /* divides the weights before, not the output after, multiplying by V */
} attn_claims;

/* Rows q_begin <= i < q_end of one batch and one query head. For a kernel with shares_keys: of the
 * `heads` query heads from `head` on, which share a key/value head; else heads is 1. For a kernel
 * with pieces: over the keys k_begin <= j < k_end only, which mean nothing where pieces is NULL.
 * partial NULL: results are written. Otherwise unnormalised sums go there, [heads, rows,
 * v_dim + 2], in a form that `merge` reads. */
typedef struct attn_slice {
    int64_t batch, head, q_begin, q_end;
    int64_t heads, k_begin, k_end;
    float *partial;
} attn_slice;

/* A registry entry. `run` computes one slice; it writes that slice's rows of out (and of lse and
 * weights if the problem wants them) and scratch, and nothing else: no allocation, threads, I/O or
 * globals, and no read past the end of a row. The caller guarantees a validated problem that
 * `refuses` accepts, and scratch_bytes(problem) bytes of scratch aligned to 64.
 * Its functions are compiled for `isa`: call none where attn_isa_missing gives a reason. */
typedef struct attn_kernel {
    const char *name;    /* <algorithm>_<isa>: file, symbol, test name and result value */
    const char *isa;     /* the row of kernels/meson.build that compiled it */
    const char *summary; /* one line */
    const char *source;  /* where the algorithm comes from */
    int64_t q_block;     /* most query rows per slice; 0 = the whole head */
    int64_t q_step;    /* slices are cut at multiples of this where that evens them out; 0 = any */
    int64_t best_rows; /* attn_best takes it for at most so many rows per key/value head; 0 = any */
    bool shares_keys;  /* a slice holds all query heads of a key/value head */
    const char *(*refuses)(const attn_problem *);   /* NULL = accepts, else why not */
    int64_t (*scratch_bytes)(const attn_problem *); /* per thread; fits int64 for a valid problem */
    attn_claims (*claims)(const attn_problem *);
    void (*run)(const attn_problem *, const attn_tensors *, attn_slice, void *scratch);
    /* Pieces to cut the keys into; a function of the problem only. NULL = 1. With more than one,
     * `run` fills partials, and `merge` writes the slice's results from `pieces` of them, which
     * begin at slice.partial and every piece_floats from there. */
    int64_t (*pieces)(const attn_problem *);
    void (*merge)(const attn_problem *, const attn_tensors *, attn_slice, int64_t pieces,
                  int64_t piece_floats);
} attn_kernel;

/* An instruction set that the build table knows, built or not. */
typedef struct attn_isa {
    const char *name;
    const char *cpu_family; /* meson's host_machine.cpu_family(), or "any" */
    bool built;
} attn_isa;

/* All kernels of this build in table order, *count of them; also those this CPU cannot run. */
const attn_kernel *const *attn_kernels(int *count);
const attn_kernel *attn_find(const char *name); /* NULL when unknown */
const attn_isa *attn_isas(int *count);

/* Why code for this ISA cannot run here, or NULL if it can: not compiled, not in this CPU, not
 * enabled by the operating system, or above the cap that the environment sets. */
const char *attn_isa_missing(const char *isa);

/* The environment variable ATTEST_ISA names the last ISA, in table order, that may be used; unset,
 * all may. It is read once, by the first call that needs it. ATTN_INVALID if it names none of this
 * build's; then no kernel runs. */
attn_status attn_isa_cap(attn_error *error);

/* Why this kernel cannot compute this problem on this CPU, or NULL if it can. */
const char *attn_supports(const attn_kernel *kernel, const attn_problem *problem);

/* The kernel to use for this problem here: of all that support it and whose best_rows suits it, the
 * last in the order of the build table, which lists ISAs and the kernels of each from slow to fast.
 * NULL if the problem is illegal. */
const attn_kernel *attn_best(const attn_problem *problem);

/* threads: 0 = OpenMP's default. scratch: NULL = allocated for the call; otherwise
 * attn_scratch_bytes() bytes aligned to 64, owned by the caller. */
typedef struct attn_exec {
    int threads;
    void *scratch;
} attn_exec;

enum { ATTN_MAX_THREADS = 1024 };

/* Bytes of scratch that attn_run needs with this many threads (>= 1); INT64_MAX if it overflows. */
int64_t attn_scratch_bytes(const attn_kernel *kernel, const attn_problem *problem, int threads);

/* How many of them, at the start, hold the partial results of pieces, which all threads share. */
int64_t attn_partial_bytes(const attn_kernel *kernel, const attn_problem *problem);

/* Computes O, and lse and weights if wanted. exec may be NULL. A problem with no batch, head or
 * query row is legal and writes nothing. */
attn_status attn_run(const attn_kernel *kernel, const attn_problem *problem,
                     const attn_tensors *tensors, const attn_exec *exec, attn_error *error);

#ifdef __cplusplus
}
#endif
#endif
