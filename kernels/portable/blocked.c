/* blocked.c: exact attention in tiles, with memory that does not grow with the sequence.
 *
 * For a block of Q_BLOCK queries the keys pass by in blocks of K_BLOCK; a running maximum and sum
 * per query make the softmax exact (online softmax: Milakov and Gimelshein 2018; tiling: Dao et al.
 * 2022). Lanes are queries: the query block is transposed once, every score of a tile has its query
 * in a lane, so maximum, sum and exponential never cross lanes, and K and V are broadcast in place.
 * Plain C: the compiler vectorises the loops over lanes with whatever its row of the table allows.
 *
 * Memory: 4 Q_BLOCK (qk_dim + v_dim + K_BLOCK + 3) bytes per thread. */
#include "kernels/kernel.h"
#include "kernels/portable/exp.h"

enum {
    Q_BLOCK = 64,
    K_BLOCK = 64,
    LANES = VEC_BYTES / 2,              /* two vectors of queries ... */
    TILE = VEC_REGISTERS == 32 ? 8 : 4, /* ... times this many keys or columns fill the registers */
};
_Static_assert(Q_BLOCK % LANES == 0, "vectors this long reach beyond the query block");

/* One query block's state. q, s and o are transposed: [..][Q_BLOCK], a query per lane. */
typedef struct block {
    float *q; /* [qk_dim][Q_BLOCK], scaled for dot scores */
    float *o; /* [v_dim][Q_BLOCK], weighted by e^(s - max), not yet divided by sum */
    float *s; /* [K_BLOCK][Q_BLOCK]: scores, then weights */
    float *max, *sum, *rescale; /* [Q_BLOCK] */
    int64_t q_begin, rows;
    int64_t lanes; /* rows, rounded up to whole tiles: what the loops below run over */
} block;

static const char *blocked_refuses(const attn_problem *p)
{
    return p->select == ATTN_SOFTMAX
               ? NULL
               : "never holds a whole row of scores, which hardmax and top-k need";
}

static int64_t blocked_scratch_bytes(const attn_problem *p)
{
    return 4 * Q_BLOCK * (p->qk_dim + p->v_dim + K_BLOCK + 3);
}

static attn_claims blocked_claims(const attn_problem *p)
{
    int64_t blocks = (p->kv_len + K_BLOCK - 1) / K_BLOCK;
    return (attn_claims){.exp_ulp = EXP_ULP,
                         .tanh_ulp = 2,
                         .sum_height = p->kv_len + blocks + 1,
                         .rescales = blocks,
                         .flush = 0x1p-126,
                         .deterministic = true};
}

static block block_of(const attn_problem *p, attn_slice slice, float *scratch)
{
    block b = {.q_begin = slice.q_begin, .rows = slice.q_end - slice.q_begin};
    b.q = scratch;
    b.o = b.q + p->qk_dim * Q_BLOCK;
    b.s = b.o + p->v_dim * Q_BLOCK;
    b.max = b.s + K_BLOCK * Q_BLOCK;
    b.sum = b.max + Q_BLOCK;
    b.rescale = b.sum + Q_BLOCK;
    b.lanes = (b.rows + LANES - 1) / LANES * LANES;
    return b;
}

/* The one inner loop, for scores and for the output alike:
 *     out[t][l] += sum over x of a[t * a_tile + x * a_step] * in[x][l]
 * for t < tile, x < steps, l < LANES. */
static inline __attribute__((always_inline)) void multiply_tile(int tile, const float *a,
                                                                int64_t a_tile, int64_t a_step,
                                                                const float *in, int64_t steps,
                                                                float *out)
{
    float sum[TILE][LANES];
    for (int t = 0; t < tile; t++)
#pragma omp simd
        for (int l = 0; l < LANES; l++) sum[t][l] = out[t * Q_BLOCK + l];
    for (int64_t x = 0; x < steps; x++)
        for (int t = 0; t < tile; t++)
#pragma omp simd
            for (int l = 0; l < LANES; l++)
                sum[t][l] += a[t * a_tile + x * a_step] * in[x * Q_BLOCK + l];
    for (int t = 0; t < tile; t++)
#pragma omp simd
        for (int l = 0; l < LANES; l++) out[t * Q_BLOCK + l] = sum[t][l];
}

/* multiply_tile over all tiles and all lanes in use: out is [tiles][Q_BLOCK]. */
static void multiply(const float *a, int64_t tiles, int64_t a_tile, int64_t a_step, const float *in,
                     int64_t steps, float *out, int64_t lanes)
{
    int64_t t = 0;
    for (; t + TILE <= tiles; t += TILE)
        for (int64_t l = 0; l < lanes; l += LANES)
            multiply_tile(TILE, a + t * a_tile, a_tile, a_step, in + l, steps,
                          out + t * Q_BLOCK + l);
    for (; t < tiles; t++)
        for (int64_t l = 0; l < lanes; l += LANES)
            multiply_tile(1, a + t * a_tile, a_tile, a_step, in + l, steps, out + t * Q_BLOCK + l);
}

/* s[j][l] = scale * sum over c of w_c tanh(q_cl + k_jc), for keys j0 to j0 + keys. */
static void additive_scores(const attn_problem *p, const head_view *v, const block *b, int64_t j0,
                            int64_t keys)
{
    for (int64_t j = 0; j < keys; j++) {
        const float *k = v->k + (j0 + j) * v->k_row;
        float *s = b->s + j * Q_BLOCK;
        for (int64_t c = 0; c < p->qk_dim; c++)
            for (int64_t l = 0; l < b->rows; l++)
                s[l] += v->score_vector[c] * tanhf(b->q[c * Q_BLOCK + l] + k[c]);
        for (int64_t l = 0; l < b->rows; l++) s[l] *= p->scale;
    }
}

static void start_block(const attn_problem *p, const head_view *v, const block *b)
{
    float factor = p->score == ATTN_DOT ? p->scale : 1;
    for (int64_t c = 0; c < p->qk_dim; c++)
        for (int64_t l = 0; l < b->lanes; l++)
            b->q[c * Q_BLOCK + l] =
                l < b->rows ? v->q[(b->q_begin + l) * v->q_row + c] * factor : 0.0f;
    for (int64_t c = 0; c < p->v_dim; c++)
        for (int64_t l = 0; l < b->lanes; l++) b->o[c * Q_BLOCK + l] = 0;
    for (int64_t l = 0; l < b->lanes; l++) {
        b->max[l] = v->sink;
        b->sum[l] = v->sink == -INFINITY ? 0 : 1; /* a sink is a first key with no value */
    }
}

/* Are all these keys visible to all rows, with nothing to add? Then the block needs no mask. */
static bool fully_visible(const attn_problem *p, const head_view *v, const block *b, int64_t j0,
                          int64_t j1)
{
    if (v->mask || v->bias || p->has_alibi) return false;
    key_range first = visible_range(p, v, b->q_begin),
              last = visible_range(p, v, b->q_begin + b->rows - 1);
    return j0 >= last.first && j1 <= first.last;
}

static void apply_masks(const attn_problem *p, const head_view *v, const block *b, int64_t j0,
                        int64_t j1)
{
    for (int64_t l = 0; l < b->rows; l++) {
        int64_t i = b->q_begin + l;
        key_range seen = visible_range(p, v, i);
        for (int64_t j = j0; j < j1; j++) {
            float *s = &b->s[(j - j0) * Q_BLOCK + l];
            float bias = j >= seen.first && j < seen.last ? score_bias(v, i, j) : -INFINITY;
            *s = bias == -INFINITY ? -INFINITY : *s + bias;
        }
    }
}

static void cap_scores(float cap, const block *b, int64_t keys)
{
    for (int64_t j = 0; j < keys; j++)
        for (int64_t l = 0; l < b->rows; l++)
            b->s[j * Q_BLOCK + l] = cap * tanhf(b->s[j * Q_BLOCK + l] / cap);
}

static void write_weights(const head_view *v, const block *b, int64_t j0, int64_t j1)
{
    for (int64_t l = 0; l < b->rows; l++)
        for (int64_t j = j0; j < j1; j++)
            v->weights[(b->q_begin + l) * v->weights_row + j] = b->s[(j - j0) * Q_BLOCK + l];
}

/* Scores of keys j0 <= j < j1 in every form the problem asks for. Returns whether masks were
 * needed. */
static bool score_block(const attn_problem *p, const head_view *v, const block *b, int64_t j0,
                        int64_t j1)
{
    int64_t keys = j1 - j0;
    bool masked = !fully_visible(p, v, b, j0, j1);
    for (int64_t j = 0; j < keys; j++)
        for (int64_t l = 0; l < b->lanes; l++) b->s[j * Q_BLOCK + l] = 0;
    if (p->score == ATTN_ADDITIVE) additive_scores(p, v, b, j0, keys);
    else multiply(v->k + j0 * v->k_row, keys, v->k_row, 1, b->q, p->qk_dim, b->s, b->lanes);
    if (p->weights == ATTN_WEIGHTS_RAW) write_weights(v, b, j0, j1);
    if (p->softcap > 0) cap_scores(p->softcap, b, keys);
    if (p->weights == ATTN_WEIGHTS_CAPPED) write_weights(v, b, j0, j1);
    if (masked) apply_masks(p, v, b, j0, j1);
    if (p->weights == ATTN_WEIGHTS_MASKED || p->weights == ATTN_WEIGHTS_NORMALISED)
        write_weights(v, b, j0, j1);
    return masked;
}

/* Online softmax: new maximum, weights in place of the scores, the factor that brings older sums
 * along. */
static void update_softmax(const block *b, int64_t keys)
{
    float zero[Q_BLOCK]; /* what is subtracted: the maximum, or 0 while no key was seen */
    float max[Q_BLOCK];
    for (int64_t l = 0; l < b->lanes; l++) max[l] = b->max[l];
    for (int64_t j = 0; j < keys; j++)
        for (int64_t l = 0; l < b->lanes; l++) {
            float s = b->s[j * Q_BLOCK + l];
            max[l] = s > max[l] ? s : max[l];
        }
    for (int64_t l = 0; l < b->lanes; l++) {
        zero[l] = max[l] == -INFINITY ? 0 : max[l];
        b->rescale[l] = exp_float(b->max[l] - zero[l]);
        b->max[l] = max[l];
        b->sum[l] *= b->rescale[l];
    }
    for (int64_t j = 0; j < keys; j++)
        for (int64_t l = 0; l < b->lanes; l++) {
            float weight = exp_float(b->s[j * Q_BLOCK + l] - zero[l]);
            b->s[j * Q_BLOCK + l] = weight;
            b->sum[l] += weight;
        }
}

static void rescale_output(const block *b, int64_t v_dim)
{
    for (int64_t c = 0; c < v_dim; c++)
        for (int64_t l = 0; l < b->lanes; l++) b->o[c * Q_BLOCK + l] *= b->rescale[l];
}

static bool all_finite(const attn_problem *p, const head_view *v, int64_t j0, int64_t j1)
{
    float zero = 0; /* stays 0 exactly as long as every value is finite */
    for (int64_t j = j0; j < j1; j++)
        for (int64_t c = 0; c < p->v_dim; c++) zero += v->v[j * v->v_row + c] * 0.0f;
    return zero == 0;
}

/* Values behind a mask may be NaN or inf, and 0 * NaN would leak: add visible keys only, one at a
 * time. */
static void add_visible_values(const attn_problem *p, const head_view *v, const block *b,
                               int64_t j0, int64_t j1)
{
    for (int64_t l = 0; l < b->rows; l++) {
        key_range seen = visible_range(p, v, b->q_begin + l);
        for (int64_t j = j0; j < j1; j++) {
            if (j < seen.first || j >= seen.last || score_bias(v, b->q_begin + l, j) == -INFINITY)
                continue;
            for (int64_t c = 0; c < p->v_dim; c++)
                b->o[c * Q_BLOCK + l] += b->s[(j - j0) * Q_BLOCK + l] * v->v[j * v->v_row + c];
        }
    }
}

static void add_block(const attn_problem *p, const head_view *v, const block *b, int64_t j0,
                      int64_t j1)
{
    bool masked = score_block(p, v, b, j0, j1);
    update_softmax(b, j1 - j0);
    rescale_output(b, p->v_dim);
    if (masked && !all_finite(p, v, j0, j1)) add_visible_values(p, v, b, j0, j1);
    else multiply(v->v + j0 * v->v_row, p->v_dim, 1, v->v_row, b->s, j1 - j0, b->o, b->lanes);
}

static void finish_block(const attn_problem *p, const head_view *v, const block *b)
{
    for (int64_t l = 0; l < b->rows; l++) {
        int64_t i = b->q_begin + l;
        bool empty = b->sum[l] == 0;
        float inverse = 1 / b->sum[l], *out = v->out + i * v->out_row;
        for (int64_t c = 0; c < p->v_dim; c++) out[c] = empty ? 0 : b->o[c * Q_BLOCK + l] * inverse;
        if (v->lse) v->lse[i * v->lse_row] = empty ? -INFINITY : b->max[l] + logf(b->sum[l]);
        if (p->weights != ATTN_WEIGHTS_NORMALISED) continue;
        float *weights = v->weights + i * v->weights_row;
        for (int64_t j = 0; j < p->kv_len; j++)
            weights[j] = weights[j] == -INFINITY ? 0 : exp_float(weights[j] - b->max[l]) * inverse;
    }
}

static void blocked_run(const attn_problem *p, const attn_tensors *t, attn_slice slice,
                        void *scratch)
{
    head_view v = head_view_of(p, t, slice.batch, slice.head);
    block b = block_of(p, slice, scratch);
    key_range top = visible_range(p, &v, slice.q_begin),
              bottom = visible_range(p, &v, slice.q_end - 1);
    int64_t first = p->weights ? 0 : top.first, last = p->weights ? p->kv_len : bottom.last;
    start_block(p, &v, &b);
    for (int64_t j = first; j < last; j += K_BLOCK)
        add_block(p, &v, &b, j, j + K_BLOCK < last ? j + K_BLOCK : last);
    finish_block(p, &v, &b);
}

const attn_kernel KERNEL(blocked) = {
    .name = "blocked_" ISA_NAME,
    .isa = ISA_NAME,
    .summary = "cache-sized tiles, online softmax, memory independent of the sequence length",
    .source = "Milakov and Gimelshein 2018; Dao et al. 2022; lanes are queries",
    .q_block = Q_BLOCK,
    .refuses = blocked_refuses,
    .scratch_bytes = blocked_scratch_bytes,
    .claims = blocked_claims,
    .run = blocked_run,
};
