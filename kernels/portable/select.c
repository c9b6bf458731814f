/* select.c: softmax over the best keys of every query: hardmax, top-k and, with all keys, softmax.
 *
 * Scores come in tiles as in flash.h; every row keeps its best keys in a heap whose root is the
 * worst of them. A whole vector of queries is compared with its roots at once, and only lanes that
 * beat theirs are looked at one by one: about k ln(n / k) times per row. Hardmax is top-1. NaN
 * ranks before every number, ties go to the lower index. Softmax keeps every visible key: no key
 * ever leaves, so its list needs no order.
 *
 * Memory: 4 WIDTH (K_BLOCK + 1 + STRIPS (qk_dim + v_dim + 2)) + 12 WIDTH STRIPS k bytes per thread,
 * k the smaller of top_k and kv_len, for softmax kv_len. */
#include "kernels/portable/vec_math.h"

#include "kernels/portable/strip.h"

enum { COLUMNS = 4 }; /* vectors of a row of V at once */

/* The best keys of one row. */
typedef struct heap {
    float *score;   /* [most], the root is the worst */
    int64_t *index; /* [most] */
    int64_t count, most;
    bool keeps_all; /* then in the order of the keys, not a heap */
} heap;

static int64_t heap_most(const attn_problem *p)
{
    const int64_t keep[] = {[ATTN_SOFTMAX] = p->kv_len, [ATTN_HARDMAX] = 1, [ATTN_TOPK] = p->top_k};
    return keep[p->select] < p->kv_len ? keep[p->select] : p->kv_len;
}

static const char *select_refuses(const attn_problem *p)
{
    (void)p;
    return NULL;
}

static int64_t select_scratch_bytes(const attn_problem *p)
{
    int64_t tiles = 4 * (WIDTH * (K_BLOCK + 1) + STRIPS * strip_floats(p)), heaps;
    if (__builtin_mul_overflow(heap_most(p), 12 * STRIPS * WIDTH, &heaps) ||
        __builtin_add_overflow(heaps, tiles, &heaps))
        return INT64_MAX;
    return heaps;
}

static attn_claims select_claims(const attn_problem *p)
{
    return (attn_claims){.exp_ulp = EXP_ULP,
                         .tanh_ulp = TANH_ULP,
                         .sum_height = heap_most(p) + 1,
                         .rescales = 0,
                         .flush = 0x1p-126,
                         .deterministic = true};
}

/* Is entry a of the row worse than b? */
static bool ranks_after(float score_a, int64_t a, float score_b, int64_t b)
{
    if (isnan(score_a) || isnan(score_b)) return !isnan(score_a) || (isnan(score_b) && a > b);
    return score_a < score_b || (score_a == score_b && a > b);
}

static void swap_entries(heap *x, int64_t a, int64_t b)
{
    float score = x->score[a];
    int64_t index = x->index[a];
    x->score[a] = x->score[b], x->index[a] = x->index[b];
    x->score[b] = score, x->index[b] = index;
}

static bool worse(const heap *x, int64_t a, int64_t b)
{
    return ranks_after(x->score[a], x->index[a], x->score[b], x->index[b]);
}

static void sift_down(heap *x)
{
    for (int64_t at = 0, worst = 0;; at = worst) {
        for (int64_t child = 2 * at + 1; child <= 2 * at + 2 && child < x->count; child++)
            if (worse(x, child, worst)) worst = child;
        if (worst == at) return;
        swap_entries(x, at, worst);
    }
}

/* Adds a key; once the heap is full, in place of the worst if that ranks after it. */
static void insert(heap *x, float score, int64_t index)
{
    if (x->count == x->most) {
        if (!ranks_after(x->score[0], x->index[0], score, index)) return;
        x->score[0] = score, x->index[0] = index;
        sift_down(x);
        return;
    }
    int64_t at = x->count++;
    x->score[at] = score, x->index[at] = index;
    for (; !x->keeps_all && at > 0 && worse(x, at, (at - 1) / 2); at = (at - 1) / 2)
        swap_entries(x, at, (at - 1) / 2);
}

/* Offers the scores of keys j0 to j0 + keys to the heaps of the strip's rows. Keys come in
 * ascending order, so an equal score never replaces an older one. */
static void select_keys(const strip *b, heap *heaps, int64_t j0, int64_t keys, const float *s)
{
    for (int v = 0; v < b->vectors; v++) {
        float worst[VEC_LANES], scores[VEC_LANES];
        int64_t lanes = b->rows - v * VEC_LANES < VEC_LANES ? b->rows - v * VEC_LANES : VEC_LANES;
        heap *x = heaps + v * VEC_LANES;
        for (int l = 0; l < VEC_LANES; l++)
            worst[l] = l < lanes && x[l].count == x[l].most ? x[l].score[0] : -INFINITY;
        for (int64_t j = 0; j < keys; j++) {
            vec score = vec_load(s + j * WIDTH + v * VEC_LANES);
            if (!vec_any(vec_less(vec_load(worst), score)) && !vec_any(vec_is_nan(score))) continue;
            vec_store(scores, score);
            for (int64_t l = 0; l < lanes; l++) {
                if (scores[l] <= worst[l]) continue; /* hidden keys, -inf, never enter */
                insert(&x[l], scores[l], j0 + j);
                if (x[l].count == x[l].most) worst[l] = x[l].score[0];
            }
        }
    }
}

/* out = inverse * sum of the selected keys' weights times V, `columns` vectors of n lanes from
 * column c on. */
INLINE void weigh_values(int columns, const head_view *h, const heap *x, int64_t c, int64_t n,
                         float inverse, float *out)
{
    vec sum[COLUMNS];
    UNROLL
    for (int y = 0; y < columns; y++) sum[y] = vec_set(0);
    for (int64_t e = 0; e < x->count; e++) {
        const float *v = h->v + x->index[e] * h->v_row + c;
        vec weight = vec_set(x->score[e]);
        UNROLL
        for (int y = 0; y < columns; y++) {
            const float *at = v + y * VEC_LANES;
            sum[y] = vec_fma(weight, n < VEC_LANES ? vec_load_first(at, n) : vec_load(at), sum[y]);
        }
    }
    UNROLL
    for (int y = 0; y < columns; y++)
        vec_store_first(out + y * VEC_LANES, vec_mul(sum[y], vec_set(inverse)), n);
}

/* Softmax over the selected keys of row i, and the sum of their values. */
static void finish_row(const attn_problem *p, const head_view *h, int64_t i, const heap *x)
{
    float *out = h->out + i * h->out_row, max = h->sink * log2e, sum;
    for (int64_t e = 0; e < x->count; e++) max = x->score[e] <= max ? max : x->score[e];
    if (max == -INFINITY) max = 0; /* no key */
    vec total = vec_set(0);
    for (int64_t e = 0; e < x->count; e += VEC_LANES) {
        int64_t n = x->count - e < VEC_LANES ? x->count - e : VEC_LANES;
        vec weight = vec_exp2(vec_sub(vec_load_first(x->score + e, n), vec_set(max)));
        vec_store_first(x->score + e, weight, n);
        total = vec_add(total, vec_load_first(x->score + e, n));
    }
    sum = vec_total(total);
    if (h->sink != -INFINITY) {
        float sink[VEC_LANES];
        vec_store(sink, vec_exp2(vec_set(h->sink * log2e - max)));
        sum += sink[0];
    }
    float inverse = sum == 0 ? 0 : 1 / sum;
    if (h->lse) h->lse[i * h->lse_row] = lse_of(p, h, i, max, sum);
    int64_t c = 0, wide = COLUMNS * VEC_LANES;
    for (; c + wide <= p->v_dim; c += wide)
        weigh_values(COLUMNS, h, x, c, VEC_LANES, inverse, out + c);
    for (; c < p->v_dim; c += VEC_LANES)
        weigh_values(1, h, x, c, p->v_dim - c < VEC_LANES ? p->v_dim - c : VEC_LANES, inverse,
                     out + c);
    if (p->weights != ATTN_WEIGHTS_NORMALISED) return;
    float *weights = h->weights + i * h->weights_row;
    for (int64_t j = 0; j < p->kv_len; j++) weights[j] = 0;
    for (int64_t e = 0; e < x->count; e++) weights[x->index[e]] = x->score[e] * inverse;
}

static void select_run(const attn_problem *p, const attn_tensors *t, attn_slice slice,
                       void *scratch)
{
    strip b[STRIPS];
    heap heaps[STRIPS * WIDTH];
    head_view h = head_view_of(p, t, slice.batch, slice.head);
    int64_t most = heap_most(p), *indices = scratch;
    float *scores = (float *)(indices + STRIPS * WIDTH * most);
    float *s = scores + STRIPS * WIDTH * most, *largest = s + K_BLOCK * WIDTH;
    int strips = start_strips(p, &h, slice, largest + WIDTH, b);
    for (int64_t r = 0; r < STRIPS * WIDTH; r++)
        heaps[r] = (heap){scores + r * most, indices + r * most, 0, most, most == p->kv_len};
    for (int i = 0; i < strips; i++) {
        for (int64_t x = 0; x < WIDTH; x++) b[i].max[x] = -INFINITY; /* not used, but read */
        for (int64_t j = b[i].seen.first; j < b[i].seen.last; j += K_BLOCK) {
            int64_t keys = b[i].seen.last - j < K_BLOCK ? b[i].seen.last - j : K_BLOCK;
            score_block(p, &h, &b[i], j, keys, s, largest);
            select_keys(&b[i], heaps + i * WIDTH, j, keys, s);
        }
        for (int64_t l = 0; l < b[i].rows; l++)
            finish_row(p, &h, b[i].q_begin + l, &heaps[i * WIDTH + l]);
    }
}

const attn_kernel KERNEL(select) = {
    .name = "select_" ISA_NAME,
    .isa = ISA_NAME,
    .summary =
        "softmax over the best keys (one, k or all): register tiles, a heap of them per query",
    .source = "tiles of flash; heap: Williams 1964",
    .q_block = STRIPS * WIDTH,
    .q_step = VEC_LANES,
    .refuses = select_refuses,
    .scratch_bytes = select_scratch_bytes,
    .claims = select_claims,
    .run = select_run,
};
