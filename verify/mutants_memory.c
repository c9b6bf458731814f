/* mutants_memory.c: wrong tails, strides, heads and indices, and reads that go too far. */
#include "verify/mutant.h"

enum { LANES = 8, HUGE = 40000 };

static volatile float unused; /* what a wrong kernel reads and does not use */

/* ---- tails ---------------------------------------------------------------------------- */

static void padding_joins_sum(mutant_row *r, int64_t j0, int64_t j1)
{
    if (j1 - j0 < MUTANT_BLOCK && r->max != -INFINITY)
        r->sum += (float)(MUTANT_BLOCK - (j1 - j0)) * expf(-r->max);
}
static void padding_is_capped(mutant_row *r, int64_t j0, int64_t j1)
{
    if (j1 - j0 < MUTANT_BLOCK && r->max != -INFINITY && r->p->softcap > 0)
        r->sum += (float)(MUTANT_BLOCK - (j1 - j0)) * expf(-r->p->softcap - r->max);
}
static int64_t whole_blocks(const mutant_row *r, int64_t last)
{
    (void)r;
    return last > MUTANT_BLOCK ? last / MUTANT_BLOCK * MUTANT_BLOCK : last;
}
static int64_t one_key_less(const mutant_row *r, int64_t last)
{
    (void)r;
    return last > 1 ? last - 1 : last;
}
static int64_t one_key_less_of_many(const mutant_row *r, int64_t last)
{
    (void)r;
    return last > HUGE ? last - 1 : last;
}
static void drop_first_key(mutant_row *r, int64_t j, float weight)
{
    if (j > 0) mutant_right.add(r, j, weight);
}
static void last_key_twice(mutant_row *r, int64_t j, float weight)
{
    mutant_right.add(r, j, weight);
    if (j == r->p->kv_len - 1) mutant_right.add(r, j, weight);
}
static void drop_every_17th_block_edge(mutant_row *r, int64_t j, float weight)
{
    if (j % 17 != 16) mutant_right.add(r, j, weight);
}
static void whole_vectors_of_d(mutant_call *c)
{
    if (c->p.qk_dim > LANES) c->p.qk_dim = c->p.qk_dim / LANES * LANES;
}
static void vectors_beyond_d(mutant_call *c)
{
    c->p.qk_dim = (c->p.qk_dim + LANES - 1) / LANES * LANES;
}

/* Reads whole vectors of V and multiplies what lies between the rows by 0. */
static void read_beyond_row(mutant_row *r, int64_t j, float weight)
{
    int64_t end = (r->p->v_dim + LANES - 1) / LANES * LANES, row = r->v.v_row;
    bool gap = r->call->t.v.head_stride > r->p->kv_len * row;
    mutant_right.add(r, j, weight);
    for (int64_t c = r->p->v_dim; gap && c < end && c < row && j + 1 < r->p->kv_len; c++)
        r->o[0] += 0 * r->v.v[j * row + c];
}
static void read_past_last_row(mutant_row *r, int64_t j, float weight)
{
    mutant_right.add(r, j, weight);
    if (j == r->p->kv_len - 1) unused = r->v.v[j * r->v.v_row + r->p->v_dim];
}
static void read_before_first_row(mutant_row *r, int64_t j, float weight)
{
    mutant_right.add(r, j, weight);
    if (j == 0) unused = r->v.k[-1];
}
/* Takes a row's last LANES elements as its tail, also where it has fewer. */
static void short_row_from_its_end(mutant_row *r, int64_t j, float weight)
{
    mutant_right.add(r, j, weight);
    if (j == 0 && r->p->qk_dim < LANES) unused = r->v.k[r->p->qk_dim - LANES];
}
static void columns_unwritten(mutant_row *r)
{
    int64_t whole = r->p->v_dim / LANES * LANES;
    mutant_row head = *r;
    attn_problem p = *r->p;
    if (whole > 0) p.v_dim = whole;
    head.p = &p;
    mutant_right.finish(&head);
}
static void last_row_unwritten(mutant_call *c)
{
    if (c->s.q_end - c->s.q_begin > 1 && (c->s.q_end - c->s.q_begin) % 2) c->s.q_end--;
}
static void zero_times_hidden(mutant_row *r, int64_t j0, int64_t j1)
{
    for (int64_t j = j0; j < j1; j++)
        for (int64_t c = 0; r->s[j] == -INFINITY && c < r->p->v_dim; c++)
            r->o[c] += 0 * r->v.v[j * r->v.v_row + c];
}
static float hidden_scores_added(const mutant_row *r, int64_t j, float raw)
{
    if (mutant_right.score(r, j, raw) != -INFINITY) return mutant_right.score(r, j, raw);
    return isnan(mutant_right.raw(r, j)) ? NAN : -INFINITY;
}

/* ---- heads, strides, indices ---------------------------------------------------------- */

static void use_kv_head(mutant_call *c, int64_t g)
{
    int64_t right = c->s.head / (c->p.q_heads / c->p.kv_heads);
    c->t.k.data += (g - right) * c->t.k.head_stride;
    c->t.v.data += (g - right) * c->t.v.head_stride;
}
static void kv_head_modulo(mutant_call *c) { use_kv_head(c, c->s.head % c->p.kv_heads); }
static void kv_head_zero(mutant_call *c) { use_kv_head(c, 0); }
static void kv_head_by_kv_heads(mutant_call *c)
{
    int64_t g = c->s.head / c->p.kv_heads;
    use_kv_head(c, g < c->p.kv_heads ? g : c->p.kv_heads - 1);
}
static void k_head_stride(mutant_call *c) { c->t.k.head_stride = c->p.kv_len * c->p.qk_dim; }
static void v_row_stride(mutant_call *c) { c->t.v.row_stride = c->p.v_dim; }
static void v_stride_of_k(mutant_call *c) { c->t.v.row_stride = c->t.k.row_stride; }
static void batch_stride_computed(mutant_call *c)
{
    c->t.k.batch_stride = c->p.kv_heads * c->t.k.head_stride;
}
static void out_strides_of_q(mutant_call *c)
{
    c->t.out.row_stride = c->t.q.row_stride, c->t.out.head_stride = c->t.q.head_stride;
    c->t.out.batch_stride = c->t.q.batch_stride;
    if (c->p.v_dim != c->p.qk_dim) c->t.out = c->given->out;
}
static void contiguous(mutant_call *c)
{
    attn_input *const views[] = {&c->t.q, &c->t.k};
    const int64_t heads[] = {c->p.q_heads, c->p.kv_heads}, rows[] = {c->p.q_len, c->p.kv_len};
    for (int v = 0; v < 2; v++) {
        views[v]->row_stride = c->p.qk_dim;
        views[v]->head_stride = rows[v] * c->p.qk_dim;
        views[v]->batch_stride = heads[v] * views[v]->head_stride;
    }
}

/* A path of its own for tensors that lie without gaps, with an error in it. */
static void contiguous_path(mutant_call *c)
{
    bool whole = c->t.q.row_stride == c->p.qk_dim && c->t.q.head_stride == c->p.q_len * c->p.qk_dim;
    bool own_batches = c->p.batch == 1 || c->t.q.batch_stride != 0;
    if (whole && own_batches && c->t.v.head_stride != 0 && c->p.q_len > 1) kv_head_modulo(c);
}
static void packed_path(mutant_call *c)
{
    bool packed = c->t.q.head_stride == c->p.qk_dim && c->p.q_heads > 1 && c->p.q_len > 1;
    if (packed) c->t.k.row_stride = c->t.q.row_stride;
}
/* Padding of less than a vector is taken for none. */
static void gap_path(mutant_call *c)
{
    if (c->t.v.row_stride < c->p.v_dim + LANES) c->t.v.row_stride -= c->t.v.row_stride % c->p.v_dim;
}
static void heads_swapped(mutant_call *c)
{
    if (c->p.q_heads % 2 == 0) {
        int64_t other = c->s.head ^ 1;
        c->t.q.data += (other - c->s.head) * c->t.q.head_stride;
    }
}
static void previous_query(mutant_call *c)
{
    if (c->s.q_begin > 0) c->t.q.data -= c->t.q.row_stride;
}
static void k_as_v(mutant_call *c)
{
    if (c->p.v_dim == c->p.qk_dim) c->t.v = c->t.k;
}
static float key_index_16_bit(const mutant_row *r, int64_t j)
{
    return mutant_right.raw(r, j > HUGE ? j - 32768 : j);
}
static void value_index_16_bit(mutant_row *r, int64_t j, float weight)
{
    int64_t wrapped = j > HUGE ? j - 32768 : j;
    r->sum += weight;
    for (int64_t c = 0; c < r->p->v_dim; c++) r->o[c] += weight * r->v.v[wrapped * r->v.v_row + c];
}
static void empty_row_elsewhere(mutant_row *r)
{
    mutant_row other = *r;
    if (r->sum == 0 && r->i > 0) other.i = r->i - 1;
    mutant_right.finish(&other);
}
static void values_before_scores(mutant_row *r, int64_t j, float weight)
{
    int64_t next = j + 1 < r->p->kv_len && r->s[j + 1] != -INFINITY ? j + 1 : j;
    r->sum += weight;
    for (int64_t c = 0; c < r->p->v_dim; c++) r->o[c] += weight * r->v.v[next * r->v.v_row + c];
}

const mutant mutants_of_memory[] = {
    {"padding-joins-sum",
     "FluxML/NNkernels.jl#16: zero keys enter the online sum",
     "bound gauss",
     {.block = padding_joins_sum}},
    {"padding-is-capped",
     "ggml-org/llama.cpp#29034: softcap makes padding finite",
     "bound zero-q",
     {.block = padding_is_capped}},
    {"tail-block-lost",
     "class: n / block, rounded down",
     "bound same-sign",
     {.last_key = whole_blocks}},
    {"last-key-lost", "class: j < n - 1", "bound gauss", {.last_key = one_key_less}},
    {"last-key-of-many-lost",
     "class: a tail that only long sequences have",
     "exact uniform",
     {.last_key = one_key_less_of_many}},
    {"first-key-lost",
     "class: a loop that starts at 1",
     "bound nan-row gauss",
     {.add = drop_first_key}},
    {"last-key-twice", "class: an overlapping tail vector", "bound gauss", {.add = last_key_twice}},
    {"every-17th-key-lost",
     "class: a seam between splits",
     "bound same-sign",
     {.add = drop_every_17th_block_edge}},
    {"d-tail-lost",
     "flashinfer-ai/flashinfer#4299: head size not a multiple of 16",
     "bound gauss",
     {.before = whole_vectors_of_d}},
    {"d-tail-garbage",
     "flashinfer-ai/flashinfer#4299: whole vectors beyond the head size",
     "death gauss",
     {.before = vectors_beyond_d}},
    {"v-tail-times-zero",
     "class: lanes beyond the row multiplied by 0",
     "exact gather",
     {.add = read_beyond_row}},
    {"reads-past-last-row",
     "vllm-project/flash-attention#42: reads behind the end",
     "death gauss",
     {.add = read_past_last_row}},
    {"reads-before-first-row",
     "class: a prefetch with a negative offset",
     "death gather",
     {.add = read_before_first_row}},
    {"short-row-from-its-end",
     "class: a tail loaded as the last whole vector, which begins before the row",
     "death left",
     {.add = short_row_from_its_end}},
    {"columns-unwritten",
     "class: v_dim / lanes, rounded down",
     "bound zero-q",
     {.finish = columns_unwritten}},
    {"last-row-unwritten",
     "fla-org/flash-linear-attention#1029: outputs left unwritten",
     "bound gauss",
     {.before = last_row_unwritten}},
    {"zero-times-hidden-v",
     "pytorch/pytorch#101967, Dao-AILab/flash-attention#1395: 0 * NaN",
     "bound zero-q",
     {.block = zero_times_hidden}},
    {"hidden-k-not-hidden",
     "deepbeepmeep/Wan2GP#1628: NaN + -inf in hidden scores",
     "exact uniform",
     {.score = hidden_scores_added}},
    {"kv-head-modulo",
     "ekzhang/jax-js#180: tile in place of repeat",
     "bound cancel",
     {.before = kv_head_modulo}},
    {"kv-head-0",
     "PSAL-POSTECH/ONNXim#33: all heads read key head 0",
     "bound same-sign",
     {.before = kv_head_zero}},
    {"kv-head-by-kv-heads",
     "PSAL-POSTECH/ONNXim#34: h / kv_heads",
     "bound same-sign",
     {.before = kv_head_by_kv_heads}},
    {"k-head-stride-computed",
     "NVIDIA/TransformerEngine#1195: strides of packed tensors",
     "bound same-sign",
     {.before = k_head_stride}},
    {"v-row-stride-computed",
     "flagos-ai/FlagGems#5896: V taken for contiguous",
     "exact gather",
     {.before = v_row_stride}},
    {"v-row-stride-of-k",
     "ROCm/pytorch#3230: V read with the strides of K",
     "bound gauss",
     {.before = v_stride_of_k}},
    {"k-batch-stride-computed",
     "pytorch/pytorch#150408: batch stride that differs",
     "exact gather",
     {.before = batch_stride_computed}},
    {"out-strides-of-q",
     "pytorch/pytorch#138340: output in the layout of Q",
     "exact strays uniform",
     {.before = out_strides_of_q}},
    {"contiguous-assumed",
     "torch-spyre/torch-spyre#4331: views read as contiguous",
     "exact gather",
     {.before = contiguous}},
    {"wrong-contiguous-path",
     "class: a fast path for contiguous tensors",
     "bound cancel",
     {.before = contiguous_path}},
    {"wrong-packed-path",
     "NVIDIA/TransformerEngine#1195: packed QKV with fewer key heads",
     "death gauss",
     {.before = packed_path}},
    {"wrong-gap-path", "class: row padding rounded away", "exact gather", {.before = gap_path}},
    {"heads-swapped",
     "class: heads in pairs, in the wrong order",
     "bound nan-row same-sign",
     {.before = heads_swapped}},
    {"previous-query", "class: row index off by one", "nan-row gauss", {.before = previous_query}},
    {"k-as-v", "class: the wrong pointer", "bound negate-v scale-v gauss", {.before = k_as_v}},
    {"key-index-16-bit",
     "vllm-project/tpu-inference#2756: int16 positions",
     "bound gauss",
     {.raw = key_index_16_bit}},
    {"value-index-16-bit",
     "thu-ml/SageAttention#386: an index that wraps",
     "bound gauss",
     {.add = value_index_16_bit}},
    {"empty-row-elsewhere",
     "class: early exit with the wrong output offset",
     "bound gauss",
     {.finish = empty_row_elsewhere}},
    {"values-off-by-one",
     "class: V one key ahead of the weights",
     "bound gauss",
     {.add = values_before_scores}},
    {0},
};
