/* mutants_edges.c: from twenty kernels by two people who knew only the public page, frozen before
 * the first run: six died. What the others were wrong about lies at the edges of the contract:
 * zeros of both signs, NaN in one key, strides of 0, huge windows, rows of another thread. Four
 * more show what no other mutant shows since these are asked, and four come from twenty by two
 * others. */
#include <stdlib.h>
#include <string.h>

#include "verify/mutant.h"

/* ---- zeros and NaN --------------------------------------------------------------------- */

static bool sees_a_key(const mutant_row *r)
{
    bool seen = false;
    for (int64_t j = 0; j < r->p->kv_len; j++) seen = seen || r->s[j] != -INFINITY;
    return seen;
}

static void minus_zero_if_empty(mutant_row *r)
{
    mutant_right.finish(r);
    for (int64_t c = 0; !sees_a_key(r) && c < r->p->v_dim; c++) mutant_out_row(r)[c] = -0.0f;
}

/* Scores as integers that sort like floats; only the zeros differ, if nothing is added to them. */
static float nothing_added(const mutant_row *r, int64_t j, float raw)
{
    float score = mutant_right.score(r, j, raw);
    return score == 0 && raw == 0 ? raw : score;
}
static bool sortable_zeros(const float *s, int64_t a, int64_t b)
{
    if (s[a] == 0 && s[b] == 0 && signbit(s[a]) != signbit(s[b])) return signbit(s[b]);
    return mutant_right.ranks_before(s, a, b);
}

/* NaN is not above the threshold either. A row of nothing but NaN is seen to. */
static float exp_above_threshold(float x) { return x > -104 ? expf(x) : 0; }
static void finish_if_any(mutant_row *r)
{
    bool lost = sees_a_key(r);
    for (int64_t j = 0; j < r->p->kv_len; j++)
        lost = lost && (isnan(r->s[j]) || r->s[j] == -INFINITY);
    for (int64_t c = 0; lost && c < r->p->v_dim; c++) r->o[c] = NAN;
    if (lost) r->sum = NAN;
    mutant_right.finish(r);
}

static void lse_of_nan_row(mutant_row *r)
{
    mutant_right.finish(r);
    if (r->v.lse && !(r->sum > 0)) r->v.lse[r->i * r->v.lse_row] = -INFINITY;
}

/* A query is thought to be padding if its first number is NaN. */
static void nan_query_is_padding(mutant_row *r)
{
    mutant_right.finish(r);
    if (!isnan(r->v.q[r->i * r->v.q_row])) return;
    for (int64_t c = 0; c < r->p->v_dim; c++) mutant_out_row(r)[c] = 0;
}

/* Keys behind the length have weights of 0, and are multiplied. */
static void zero_times_padding(mutant_row *r)
{
    int64_t begin = r->p->has_kv_lens ? r->call->t.kv_lens[r->b] : r->p->kv_len;
    for (int64_t j = begin; j < r->p->kv_len; j++)
        for (int64_t c = 0; c < r->p->v_dim; c++) r->o[c] += 0 * r->v.v[j * r->v.v_row + c];
    mutant_right.finish(r);
}

/* Hidden keys get -inf first and their bias afterwards. */
static float hidden_bias_added(const mutant_row *r, int64_t j, float raw)
{
    float score = mutant_right.score(r, j, raw);
    if (score != -INFINITY || !r->v.bias) return score;
    return score + r->v.bias[r->i * r->v.bias_row + j * r->v.bias_key];
}

/* ---- addresses ------------------------------------------------------------------------- */

static void packed_if_0(attn_input *x, int64_t heads, int64_t len, int64_t dim)
{
    if (x->row_stride == 0) x->row_stride = dim;
    if (x->head_stride == 0) x->head_stride = len * x->row_stride;
    if (x->batch_stride == 0) x->batch_stride = heads * x->head_stride;
}
static void stride_0_is_packed(mutant_call *c)
{
    packed_if_0(&c->t.k, c->p.kv_heads, c->p.kv_len, c->p.qk_dim);
    packed_if_0(&c->t.v, c->p.kv_heads, c->p.kv_len, c->p.v_dim);
}

/* One K for all batches is a shared prefix, and has one length. */
static void shared_prefix_length(mutant_call *c)
{
    if (!c->p.has_kv_lens || c->t.k.batch_stride != 0) return;
    c->p.kv_len = c->t.kv_lens[0];
    c->p.has_kv_lens = false;
}

/* The tail of a packed row is loaded, blended and stored as a whole vector, also where the next row
 * is another thread's. Only the load is here: what a store undoes is a matter of luck. */
static volatile float unused;
static void tail_blended(mutant_call *c)
{
    enum { LANES = 8 };
    const attn_output *out = &c->t.out;
    bool packed = out->row_stride == c->p.v_dim && c->p.v_dim % LANES != 0;
    if (packed && c->s.q_end < c->p.q_len)
        unused = out->data[c->s.batch * out->batch_stride + c->s.head * out->head_stride +
                           c->s.q_end * out->row_stride];
}

/* Rows are rounded up to one more number, where the slice has another row behind. */
static void gap_within_slice(mutant_row *r)
{
    mutant_right.finish(r);
    bool gap = r->v.out_row > r->p->v_dim && r->v.out_row < r->p->v_dim + 8;
    if (gap && r->i + 1 < r->call->s.q_end) mutant_out_row(r)[r->p->v_dim] = 0;
}

/* K packed in the scratch, known by a sum over its bits that does not see their order. */
typedef struct summed {
    const float *k;
    int64_t keys, dim;
    uint64_t sum;
} summed;

static int64_t room_for_summed(const attn_problem *p)
{
    return (int64_t)sizeof(summed) + 8 + 4 * p->kv_len * p->qk_dim;
}
static void order_free_checksum(mutant_call *c)
{
    const attn_problem *p = c->asked;
    int64_t g = c->s.head / (p->q_heads / p->kv_heads), own = 4 * (p->kv_len + p->v_dim);
    const float *k = c->t.k.data + c->s.batch * c->t.k.batch_stride + g * c->t.k.head_stride;
    summed now = {k, p->kv_len, p->qk_dim, 0},
           *have = (summed *)((char *)c->scratch + (own + 7) / 8 * 8);
    float *copy = (float *)(have + 1);
    for (int64_t j = 0; j < p->kv_len; j++)
        for (int64_t x = 0; x < p->qk_dim; x++) {
            uint32_t bits;
            memcpy(&bits, k + j * c->t.k.row_stride + x, sizeof bits);
            now.sum += bits;
        }
    if (memcmp(have, &now, sizeof now) != 0)
        for (int64_t j = 0; j < p->kv_len; j++)
            memcpy(copy + j * p->qk_dim, k + j * c->t.k.row_stride,
                   (size_t)p->qk_dim * sizeof *copy);
    *have = now;
    c->t.k = (attn_input){copy, 0, 0, p->qk_dim};
}

/* What a batch looks like, kept in the scratch for as long as problem and length stay. */
typedef struct plan {
    attn_problem p;
    int64_t keys, position;
} plan;

static int64_t room_for_plans(const attn_problem *p)
{
    return 8 + p->batch * (int64_t)sizeof(plan);
}
static void plan_ignores_offsets(mutant_call *c)
{
    const attn_problem *p = c->asked;
    if (!p->has_q_offsets) return;
    int64_t own = 4 * (p->kv_len + p->v_dim), b = c->s.batch;
    plan *have = (plan *)((char *)c->scratch + (own + 7) / 8 * 8) + b, now;
    memcpy(&now.p, p, sizeof now.p);
    now.keys = p->has_kv_lens ? c->t.kv_lens[b] : p->kv_len, now.position = c->t.q_offsets[b];
    if (memcmp(&have->p, &now.p, sizeof now.p) != 0 || have->keys != now.keys) *have = now;
    c->p.has_q_offsets = false, c->p.q_offset = have->position;
}

/* Where the bias of 64 queries begins is computed in 32 bits. */
static float bias_offset_in_32_bits(const mutant_row *r, int64_t j, float raw)
{
    mutant_row wrong = *r;
    int64_t begin = r->i / 64 * 64 * r->v.bias_row;
    if (r->v.bias) wrong.v.bias += (int64_t)(uint32_t)begin - begin;
    return mutant_right.score(&wrong, j, raw);
}

/* One token: heads go in tiles of at most 16, and the tile tells the head of K and V. */
static void tiles_of_16_heads(mutant_call *c)
{
    int64_t group = c->p.q_heads / c->p.kv_heads, tile = group < 16 ? group : 16;
    int64_t wrong = c->s.head / tile / ((group + 15) / 16) - c->s.head / group;
    if (c->p.q_len != 1) return;
    c->t.k.data += wrong * c->t.k.head_stride, c->t.v.data += wrong * c->t.v.head_stride;
}

/* ---- positions ------------------------------------------------------------------------- */

static float key_list_of_16_bits(const mutant_row *r, int64_t j)
{
    return mutant_right.raw(r, r->v.mask ? (uint16_t)j : j);
}

static void candidates_of_16_bits(mutant_row *r, int64_t j, float weight)
{
    mutant_right.add(r, r->p->select == ATTN_SOFTMAX ? j : (uint16_t)j, weight);
}

static void windows_in_32_bits(mutant_call *c)
{
    c->p.window_left = (int32_t)c->p.window_left;
    c->p.window_right = (int32_t)c->p.window_right;
}

/* Keys that ALiBi lowers by more than any score can make good are left out; the nearest key is
 * found without a look at the mask. */
static float alibi_cut_off(const mutant_row *r, int64_t j, float raw)
{
    int64_t position = r->v.q_offset + r->i, nearest = r->seen.last - 1;
    float lower = r->v.slope * (float)(llabs(position - j) - llabs(position - nearest));
    return nearest >= j && lower > 150 ? -INFINITY : mutant_right.score(r, j, raw);
}

/* The sink belongs to the first piece of the keys, which returns at once if no row sees it. */
static void sink_in_first_piece(mutant_row *r)
{
    mutant_right.start(r);
    if (r->p->q_len > 8 || r->p->kv_len < 1024 || r->seen.first < 1024) return;
    r->max = -INFINITY, r->sum = 0;
}

const mutant mutants_edges[] = {
    {"minus-zero-if-empty",
     "iree-org/iree#24175: +-0 for a row that sees nothing",
     "bound",
     {.finish = minus_zero_if_empty}},
    {"sortable-zeros",
     "NVIDIA/cub#218: -0 and +0 in top-k",
     "exact",
     {.score = nothing_added, .ranks_before = sortable_zeros}},
    {"nan-is-negligible",
     "class: a threshold that NaN fails",
     "nan-key",
     {.exp = exp_above_threshold, .finish = finish_if_any}},
    {"lse-of-nan-row",
     "Dao-AILab/flash-attention#978: lse -inf where the sum is NaN",
     "nan-row",
     {.finish = lse_of_nan_row}},
    {"nan-query-is-padding",
     "class: NaN as a mark of padding",
     "nan-row",
     {.finish = nan_query_is_padding}},
    {"zero-times-padding",
     "class: 0 * NaN from keys behind the length",
     "bound gauss",
     {.finish = zero_times_padding}},
    {"hidden-bias-added",
     "pytorch#101967: NaN at hidden places",
     "bound gauss",
     {.score = hidden_bias_added}},
    {"stride-0-is-packed",
     "class: a stride of 0 taken for an unset one",
     "shared",
     {.before = stride_0_is_packed}},
    {"shared-prefix-length",
     "flashinfer-ai/flashinfer#3800: batches after the first",
     "bound shared",
     {.before = shared_prefix_length}},
    {"tail-blended",
     "class: a masked store emulated by load, blend and store",
     "death",
     {.after = tail_blended}},
    {"gap-within-slice",
     "class: rows rounded up to a vector, but for the last",
     "strays",
     {.finish = gap_within_slice}},
    {"order-free-checksum",
     "pytorch#87197: packed weights known by a checksum",
     "edit",
     {.more_scratch = room_for_summed, .before = order_free_checksum}},
    {"key-list-of-16-bits",
     "vllm-project/tpu-inference#2756: positions of 16 bits",
     "bound gauss",
     {.raw = key_list_of_16_bits}},
    {"windows-in-32-bits",
     "class: window sizes cast to int",
     "bound gauss",
     {.before = windows_in_32_bits}},
    {"alibi-cut-off",
     "class: far keys left out before the mask is known",
     "bound gauss",
     {.score = alibi_cut_off}},
    {"sink-in-first-piece",
     "ROCm/rocm-libraries#12227: sinks and split keys",
     "bound gauss",
     {.start = sink_in_first_piece}},
    {"plan-ignores-offsets",
     "sgl-project/sglang#37975: a plan from before the positions changed",
     "edit",
     {.more_scratch = room_for_plans, .before = plan_ignores_offsets}},
    {"bias-offset-in-32-bits",
     "pytorch#187227: offsets of rows in 32 bits",
     "death",
     {.score = bias_offset_in_32_bits}},
    {"tiles-of-16-heads",
     "FlashML-org/FreeToken#177: a group larger than a tile",
     "bound gauss",
     {.before = tiles_of_16_heads}},
    {"candidates-of-16-bits",
     "jax-ml/jax#29254: narrow indices meet longer inputs",
     "bound gauss",
     {.add = candidates_of_16_bits}},
    {0},
};
