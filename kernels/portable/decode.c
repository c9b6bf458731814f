/* decode.c: exact softmax attention for few queries against many keys, as when a model writes one
 * token at a time.
 *
 * Here the limit is memory: keys and values are read once, whatever the number of query rows. A
 * slice is all query rows of all heads that share a key/value head, times a piece of the keys; the
 * pieces are merged by their maxima and sums (split keys: Dao et al. 2023, "Flash-Decoding"). Lanes
 * are features while scores are formed, VEC_TILE keys x ROWS rows at a time; keys in masks and
 * softmax; features again while values are added. While the scores of a block are formed its values
 * are fetched, and the next keys while values are added: both streams stay under way.
 *
 * Memory: 4 (K_BLOCK + qk_dim + v_dim) bytes, sizes rounded up, and a decode_row per query row of a
 * slice; and, where keys are split, 4 (v_dim + 2) bytes per query row and piece of the call. */
#include "kernels/portable/vec_math.h"

#include "kernels/portable/decode_tiles.h"

enum {
    Q_BLOCK = 4,      /* query rows per head of a slice */
    PIECES = 32,      /* slices wanted: enough for that many threads */
    PIECE_KEYS = 512, /* the fewest keys that are worth a slice of their own */
    LINE = 64         /* bytes of a cache line */
};

static int64_t whole_vectors(int64_t n) { return (n + VEC_LANES - 1) / VEC_LANES * VEC_LANES; }

static const char *decode_refuses(const attn_problem *p)
{
    return p->select == ATTN_SOFTMAX ? NULL
                                     : "computes softmax only; select_" ISA_NAME
                                       " does hardmax and top-k";
}

static int64_t row_floats(const attn_problem *p)
{
    return whole_vectors(p->qk_dim) + K_BLOCK + whole_vectors(p->v_dim);
}

static int64_t decode_scratch_bytes(const attn_problem *p)
{
    int64_t heads = p->kv_heads > 0 ? p->q_heads / p->kv_heads : 1, bytes;
    int64_t row = 4 * row_floats(p) + (int64_t)sizeof(decode_row);
    return __builtin_mul_overflow(heads * Q_BLOCK, row, &bytes) ? INT64_MAX : bytes;
}

static int64_t decode_pieces(const attn_problem *p)
{
    int64_t slices = p->batch * p->kv_heads * ((p->q_len + Q_BLOCK - 1) / Q_BLOCK);
    int64_t wanted = slices > 0 ? (PIECES + slices - 1) / slices : 1;
    int64_t most = p->kv_len / PIECE_KEYS > 1 ? p->kv_len / PIECE_KEYS : 1;
    return wanted < most ? wanted : most;
}

static attn_claims decode_claims(const attn_problem *p)
{
    int64_t blocks = (p->kv_len + K_BLOCK - 1) / K_BLOCK + decode_pieces(p);
    return (attn_claims){.exp_ulp = EXP_ULP,
                         .tanh_ulp = TANH_ULP,
                         .sum_height = p->kv_len + blocks + 1,
                         .rescales = blocks < p->kv_len ? blocks : p->kv_len,
                         .flush = 0x1p-126,
                         .deterministic = true};
}

/* 2^x of one number. */
static float exp2_of(float x)
{
    float lanes[VEC_LANES];
    vec_store(lanes, vec_exp2(vec_set(x)));
    return lanes[0];
}

/* ---- scores --------------------------------------------------------------------------- */

/* scale * sum_c w_c tanh(q_c + k_c); lanes without a feature have w = 0. */
static void additive_scores(const attn_problem *p, const decode_row *r, int64_t j0, int64_t keys)
{
    for (int64_t j = 0; j < keys; j++) {
        const float *k = r->view.k + (j0 + j) * r->view.k_row;
        vec sum = vec_set(0);
        for (int64_t c = 0; c < p->qk_dim; c += VEC_LANES) {
            int64_t n = p->qk_dim - c < VEC_LANES ? p->qk_dim - c : VEC_LANES;
            vec x = vec_add(vec_load(r->q + c), vec_load_first(k + c, n));
            sum = vec_fma(vec_load_first(r->view.score_vector + c, n), vec_tanh(x), sum);
        }
        r->s[j] = vec_total(sum) * (p->scale * log2e);
    }
}

/* Asks for rows `from` to `to` of K or V, to be there when the other stream has been used. */
static void fetch(const float *data, int64_t row, int64_t from, int64_t to, int64_t floats)
{
    for (int64_t j = from; j < to; j++)
        for (int64_t c = 0; c < floats; c += LINE / 4) __builtin_prefetch(data + j * row + c);
}

/* Raw scores of keys j0 to j0 + keys for all rows. Meanwhile the values of these keys come nearer,
 * a few rows at a time: all at once would only queue. */
static void score_block(const attn_problem *p, const decode_row *rows, int64_t count, int64_t j0,
                        int64_t keys)
{
    const head_view *h = &rows->view; /* K and V are the same for all rows */
    int64_t x = 0, fours = count / 4 * 4, end = j0 + keys;
    for (int64_t j = 0; j < keys; j += KEYS_OF(4)) {
        fetch(h->v, h->v_row, j0 + j, j0 + j + KEYS_OF(4) < end ? j0 + j + KEYS_OF(4) : end,
              p->v_dim);
        for (x = 0; p->score == ATTN_DOT && x < fours; x += 4)
            dots_of_4(p, &rows[x], j0, j, end - 1);
    }
    for (; p->score == ATTN_DOT && x + 2 <= count; x += 2)
        for (int64_t j = 0; j < keys; j += KEYS_OF(2)) dots_of_2(p, &rows[x], j0, j, end - 1);
    for (; p->score == ATTN_DOT && x < count; x++)
        for (int64_t j = 0; j < keys; j += KEYS_OF(1)) dots_of_1(p, &rows[x], j0, j, end - 1);
    for (; x < count; x++) additive_scores(p, &rows[x], j0, keys);
}

/* Softcap, masks and the weights output for keys j0 + j to j0 + j + n of one row. */
static vec finish_scores(const attn_problem *p, const decode_row *r, int64_t j0, int64_t j,
                         int64_t n)
{
    const head_view *h = &r->view;
    float numbers[VEC_LANES];
    for (int l = 0; l < VEC_LANES; l++) numbers[l] = (float)(j + l);
    vec number = vec_load(numbers), score = vec_load(r->s + j), unit = vec_set(ln2);
    int64_t first = r->seen.first - j0, last = r->seen.last - j0; /* cut off: floats are exact */
    first = first < 0 ? 0 : first > K_BLOCK ? K_BLOCK : first;
    last = last < 0 ? 0 : last > j + n ? j + n : last;
    if (p->weights == ATTN_WEIGHTS_RAW)
        write_score_row(p, h, r->i, j0 + j, n, vec_mul(score, unit));
    if (p->softcap > 0)
        score = vec_mul(vec_set(p->softcap * log2e),
                        vec_tanh(vec_mul(vec_set(ln2 / p->softcap), score)));
    if (p->weights == ATTN_WEIGHTS_CAPPED || p->weights == ATTN_WEIGHTS_MASKED)
        write_score_row(p, h, r->i, j0 + j, n, vec_mul(score, unit));
    if (p->has_alibi)
        score = vec_fma(vec_set(-h->slope * log2e),
                        vec_abs(vec_sub(vec_set((float)(h->q_offset + r->i - j0)), number)), score);
    if (h->mask || h->bias) {
        vec mask = mask_row(h, r->i, j0 + j, n);
        score = vec_select(vec_less(mask, vec_set(-float_max)), mask, vec_add(score, mask));
    }
    vec_mask seen = vec_and(vec_less(vec_set((float)first - 1), number),
                            vec_less(number, vec_set((float)last)));
    score = vec_select(seen, score, vec_set(-INFINITY));
    if (p->weights == ATTN_WEIGHTS_NORMALISED) write_score_row(p, h, r->i, j0 + j, n, score);
    return score;
}

/* Are the raw scores of these keys all there is to know? */
static bool is_plain(const attn_problem *p, const decode_row *r, int64_t j0, int64_t keys)
{
    const head_view *h = &r->view;
    return j0 >= r->seen.first && j0 + keys <= r->seen.last && keys % VEC_LANES == 0 && !h->mask &&
           !h->bias && !p->has_alibi && !(p->softcap > 0) && !p->weights;
}

/* Online softmax of one row over a block: weights in place of the scores, older sums rescaled. */
static void update_softmax(const attn_problem *p, decode_row *r, int64_t j0, int64_t keys)
{
    vec largest = vec_set(r->max), sum = vec_set(0);
    bool plain = is_plain(p, r, j0, keys);
    for (int64_t j = 0; j < keys; j += VEC_LANES) {
        int64_t n = keys - j < VEC_LANES ? keys - j : VEC_LANES;
        if (!plain) vec_store(r->s + j, finish_scores(p, r, j0, j, n));
        largest = vec_max(largest, vec_load(r->s + j));
    }
    float max = vec_largest(largest), base = max == -INFINITY ? 0 : max;
    for (int64_t j = 0; j < keys; j += VEC_LANES) {
        vec weight = vec_exp2(vec_sub(vec_load(r->s + j), vec_set(base)));
        vec_store(r->s + j, weight);
        sum = vec_add(sum, weight);
    }
    float factor = max == r->max ? 1 : exp2_of(r->max - base);
    r->max = max;
    r->sum = r->sum * factor + vec_total(sum);
    for (int64_t c = 0; factor != 1 && c < p->v_dim; c += VEC_LANES)
        vec_store(r->o + c, vec_mul(vec_load(r->o + c), vec_set(factor)));
}

/* ---- values --------------------------------------------------------------------------- */

/* Adds the values of keys j0 to j0 + keys to all rows; the keys after them, up to `last`, come
 * nearer. */
static void add_values(const attn_problem *p, const decode_row *rows, int64_t count, int64_t j0,
                       int64_t keys, int64_t last)
{
    const head_view *h = &rows->view;
    int64_t x = 0, next = j0 + keys;
    fetch(h->k, h->k_row, next, next + keys < last ? next + keys : last, p->qk_dim);
    for (; x + 4 <= count; x += 4) values_of_4(p, rows + x, j0, keys);
    for (; x + 2 <= count; x += 2) values_of_2(p, rows + x, j0, keys);
    for (; x < count; x++) values_of_1(p, rows + x, j0, keys);
}

/* For V that holds NaN or inf, where 0 * NaN would leak: visible keys only, one at a time. */
static void visible_values(const attn_problem *p, const decode_row *r, int64_t j0, int64_t keys)
{
    const head_view *h = &r->view;
    for (int64_t j = j0; j < j0 + keys; j++) {
        if (j < r->seen.first || j >= r->seen.last || score_bias(h, r->i, j) == -INFINITY) continue;
        for (int64_t c = 0; c < p->v_dim; c++) r->o[c] += r->s[j - j0] * h->v[j * h->v_row + c];
    }
}

/* ---- a slice -------------------------------------------------------------------------- */

/* Rows of a slice: every query head of the group, every query row. Returns how many. */
static int64_t start_rows(const attn_problem *p, const attn_tensors *t, attn_slice slice,
                          decode_row *rows)
{
    int64_t per_head = slice.q_end - slice.q_begin, count = slice.heads * per_head;
    float *memory = (float *)(rows + count);
    float factor = p->score == ATTN_DOT ? p->scale * log2e : 1;
    for (int64_t x = 0; x < count; x++, memory += row_floats(p)) {
        decode_row *r = &rows[x];
        r->view = head_view_of(p, t, slice.batch, slice.head + x / per_head);
        r->i = slice.q_begin + x % per_head;
        r->seen = visible_range(p, &r->view, r->i);
        if (r->seen.first < slice.k_begin) r->seen.first = slice.k_begin;
        if (r->seen.last > slice.k_end) r->seen.last = slice.k_end;
        r->q = memory;
        r->s = r->q + whole_vectors(p->qk_dim);
        r->o = r->s + K_BLOCK;
        for (int64_t c = 0; c < whole_vectors(p->qk_dim); c++)
            r->q[c] = c < p->qk_dim ? r->view.q[r->i * r->view.q_row + c] * factor : 0;
    }
    return count;
}

/* All keys of the slice, for these rows of it. */
static void decode_pass(const attn_problem *p, attn_slice slice, decode_row *rows, int64_t count,
                        bool careful)
{
    int64_t first = slice.k_end, last = slice.k_begin;
    for (int64_t x = 0; x < count; x++) {
        bool sink = slice.k_begin == 0 && p->has_sinks; /* a first key with no value */
        rows[x].max = sink ? rows[x].view.sink * log2e : -INFINITY;
        rows[x].sum = rows[x].max == -INFINITY ? 0 : 1;
        for (int64_t c = 0; c < whole_vectors(p->v_dim); c++) rows[x].o[c] = 0;
        first = rows[x].seen.first < first ? rows[x].seen.first : first;
        last = rows[x].seen.last > last ? rows[x].seen.last : last;
    }
    if (p->weights) first = slice.k_begin, last = slice.k_end;
    for (int64_t j = first; j < last; j += K_BLOCK) {
        int64_t keys = last - j < K_BLOCK ? last - j : K_BLOCK;
        score_block(p, rows, count, j, keys);
        for (int64_t r = 0; r < count; r++) update_softmax(p, &rows[r], j, keys);
        for (int64_t r = 0; careful && r < count; r++) visible_values(p, &rows[r], j, keys);
        if (!careful) add_values(p, rows, count, j, keys, last);
    }
}

static bool has_nan(const decode_row *r, int64_t v_dim)
{
    bool nan = false;
    for (int64_t c = 0; c < v_dim; c++) nan = nan || isnan(r->o[c]);
    return nan;
}

/* Divides and writes one row. */
static void write_row(const attn_problem *p, const head_view *h, int64_t i, const float *o,
                      float max, float sum)
{
    float inverse = sum == 0 ? 0 : 1 / sum, *out = h->out + i * h->out_row;
    for (int64_t c = 0; c < p->v_dim; c++) out[c] = o[c] * inverse;
    if (h->lse) h->lse[i * h->lse_row] = lse_of(p, h, i, max, sum);
    if (p->weights == ATTN_WEIGHTS_NORMALISED)
        normalise_row(h->weights + i * h->weights_row, p->kv_len, max, sum);
}

static void decode_run(const attn_problem *p, const attn_tensors *t, attn_slice slice,
                       void *scratch)
{
    decode_row *rows = scratch;
    int64_t count = start_rows(p, t, slice, rows);
    decode_pass(p, slice, rows, count, false);
    for (int64_t x = 0; x < count; x++) {
        decode_row *r = &rows[x];
        if (has_nan(r, p->v_dim)) decode_pass(p, slice, r, 1, true); /* no other row may notice */
        if (!slice.partial) {
            write_row(p, &r->view, r->i, r->o, r->max, r->sum);
            continue;
        }
        float *partial = slice.partial + x * (p->v_dim + 2);
        for (int64_t c = 0; c < p->v_dim; c++) partial[c] = r->o[c];
        partial[p->v_dim] = r->max, partial[p->v_dim + 1] = r->sum;
    }
}

/* Row x of the slice from its partial results: the sums of a piece weigh 2^(its max - max). The
 * first piece's memory takes the total. */
static void merge_row(const attn_problem *p, const head_view *h, int64_t i, float *first,
                      int64_t pieces, int64_t piece_floats)
{
    int64_t d = p->v_dim;
    float max = -INFINITY, sum = 0;
    for (int64_t x = 0; x < pieces; x++) {
        float m = first[x * piece_floats + d];
        max = m <= max ? max : m;
    }
    float base = max == -INFINITY ? 0 : max;
    for (int64_t x = 0; x < pieces; x++) {
        const float *piece = first + x * piece_floats;
        float factor = exp2_of(piece[d] - base);
        sum += piece[d + 1] * factor;
        for (int64_t c = 0; c < d; c++) first[c] = (x == 0 ? 0 : first[c]) + piece[c] * factor;
    }
    write_row(p, h, i, first, max, sum);
}

static void decode_merge(const attn_problem *p, const attn_tensors *t, attn_slice slice,
                         int64_t pieces, int64_t piece_floats)
{
    int64_t per_head = slice.q_end - slice.q_begin, row = p->v_dim + 2;
    for (int64_t x = 0; x < slice.heads * per_head; x++) {
        head_view h = head_view_of(p, t, slice.batch, slice.head + x / per_head);
        merge_row(p, &h, slice.q_begin + x % per_head, slice.partial + x * row, pieces,
                  piece_floats);
    }
}

const attn_kernel KERNEL(decode) = {
    .name = "decode_" ISA_NAME,
    .isa = ISA_NAME,
    .summary = "few queries: keys and values stream once for all heads that share them, split keys",
    .source = "Milakov and Gimelshein 2018; Dao et al. 2023 (Flash-Decoding)",
    .q_block = Q_BLOCK,
    .best_rows = 8,
    .shares_keys = true,
    .refuses = decode_refuses,
    .scratch_bytes = decode_scratch_bytes,
    .claims = decode_claims,
    .run = decode_run,
    .pieces = decode_pieces,
    .merge = decode_merge,
};
