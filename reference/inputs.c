/* inputs.c: seeded tensors, the same bits on every machine.
 *
 * values.c says which numbers; here they are laid out, on the heap or in memory that the caller
 * brings. Logical values do not depend on the layout; what lies in gaps and behind masks is NaN. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "reference/values.h"

const char *const ref_layout_names[REF_LAYOUTS] = {"heads-first", "rows-first", "gaps",
                                                   "pages",       "sparse",     "shared"};

enum {
    MARGIN = 64, /* elements before and after every buffer on the heap */
    Q_GAP = 3,
    K_GAP = 1,
    V_GAP = 2,
    OUT_GAP = 5,            /* of REF_GAPS, in elements; all different */
    POISON_PAIRS = 1 << 24, /* larger problems keep their unseen keys: the search costs a pass */
};

/* ---- memory --------------------------------------------------------------------------- */

static void *keep(ref_inputs *in, const char *name, int64_t count, size_t size, bool output)
{
    size_t bytes = (size_t)count * size;
    void *block = in->memory.take ? in->memory.take(in->memory.owner, name, bytes, size, output)
                                  : calloc((size_t)count + (count == 0), size);
    if (!block) return NULL;
    in->blocks[in->block_count].data = block;
    in->blocks[in->block_count].output = output;
    in->blocks[in->block_count++].bytes = bytes;
    return block;
}

/* Strides of a [batch, heads, len, dim] tensor, and the elements of its memory. */
typedef struct shape {
    int64_t batch, heads, len, dim, batch_stride, head_stride, row_stride, offset, total;
} shape;

static shape shape_of(int64_t gap, ref_layout layout, int64_t batch, int64_t heads, int64_t len,
                      int64_t dim)
{
    if (layout != REF_GAPS) gap = 0;
    shape s = {.batch = batch, .heads = heads, .len = len, .dim = dim};
    s.row_stride = dim + gap;
    s.head_stride = len * s.row_stride + gap;
    if (layout == REF_ROWS_FIRST) s.row_stride = heads * dim, s.head_stride = dim;
    s.batch_stride = heads * len * dim + (gap ? heads * gap * (len + 1) + 5 : 0);
    if (batch > 0 && heads > 0 && len > 0 && dim > 0)
        s.total = (batch - 1) * s.batch_stride + (heads - 1) * s.head_stride +
                  (len - 1) * s.row_stride + dim;
    return s;
}

/* One batch, or one head of one batch, stands for all. */
static shape shared(shape s, bool heads)
{
    s.batch_stride = 0;
    if (heads) s.head_stride = 0;
    if (s.total > 0) s.total = (s.heads - 1) * s.head_stride + (s.len - 1) * s.row_stride + s.dim;
    return s;
}

/* Memory from the first to the last element, all canaries; on the heap with margins around it. */
static float *room(ref_inputs *in, const char *name, shape *s, bool output)
{
    if (!in->memory.take) s->offset = MARGIN, s->total += 2 * MARGIN;
    int32_t fill = !output && in->memory.clean_gaps ? 0 : REF_CANARY;
    float *data = keep(in, name, s->total, sizeof *data, output);
    for (int64_t x = 0; data && x < s->total; x++) memcpy(&data[x], &fill, 4);
    return data;
}

static bool make_output(ref_inputs *in, const char *name, shape s, attn_output *view,
                        ref_buffer *buffer)
{
    float *data = room(in, name, &s, true);
    *buffer = (ref_buffer){data, s.total};
    if (data) *view = (attn_output){data + s.offset, s.batch_stride, s.head_stride, s.row_stride};
    return data;
}

static bool make_input(ref_inputs *in, const value_maker *m, value_stream which, shape s,
                       attn_input *view)
{
    static const char *const names[] = {[VALUE_Q] = "q", [VALUE_K] = "k", [VALUE_V] = "v"};
    float *data = room(in, names[which], &s, false);
    if (!data) return false;
    *view = (attn_input){data + s.offset, s.batch_stride, s.head_stride, s.row_stride};
    uint64_t at = 0;
    for (int64_t b = 0; b < s.batch; b++)
        for (int64_t h = 0; h < s.heads; h++)
            for (int64_t r = 0; r < s.len; r++)
                for (int64_t c = 0; c < s.dim; c++, at++)
                    data[s.offset + b * s.batch_stride + h * s.head_stride + r * s.row_stride + c] =
                        value_element(m, which, at, r, c);
    return true;
}

static bool make_masks(ref_inputs *in, const value_maker *m)
{
    const attn_problem *p = m->p;
    attn_tensors *t = &in->tensors;
    int64_t n = p->q_len, keys = p->kv_len, heads = p->q_heads;
    if (p->has_mask) { /* [1, q_heads, q_len, kv_len]: broadcast over the batch */
        uint8_t *data = keep(in, "mask", heads * n * keys, 1, false);
        if (!data) return false;
        for (int64_t x = 0; x < heads * n * keys; x++)
            data[x] = value_hidden(m, (uint64_t)x, x / keys % n, x % keys)
                          ? 0
                          : (uint8_t)(1 + x * 37 % 255); /* any byte but 0 is true */
        t->mask = (attn_mask){data, 0, n * keys, keys, 1};
    }
    if (p->has_bias) { /* [batch, 1, q_len, kv_len]: broadcast over the heads */
        float *data = keep(in, "bias", p->batch * n * keys, sizeof *data, false);
        if (!data) return false;
        for (int64_t x = 0; x < p->batch * n * keys; x++) data[x] = value_bias(m, (uint64_t)x);
        t->bias = (attn_bias){data, n * keys, 0, keys, 1};
    }
    return true;
}

static bool make_batch_values(ref_inputs *in, const value_maker *m)
{
    const attn_problem *p = m->p;
    int64_t *lens = keep(in, "kv_lens", p->batch, sizeof *lens, false),
            *offsets = keep(in, "q_offsets", p->batch, sizeof *offsets, false);
    if (!lens || !offsets) return false;
    for (int64_t b = 0; b < p->batch; b++) {
        uint64_t key = value_key(m, VALUE_LENS), room_left = (uint64_t)p->kv_len + 1;
        lens[b] = b == 0   ? p->kv_len
                  : b == 1 ? 0
                           : (int64_t)(ref_random(key, (uint64_t)b) % room_left);
        if (p->batch == 1) lens[b] = p->kv_len - p->kv_len / 3;
        offsets[b] = (p->has_kv_lens ? lens[b] : p->kv_len) - p->q_len - b;
    }
    if (p->has_kv_lens) in->tensors.kv_lens = lens;
    if (p->has_q_offsets) in->tensors.q_offsets = offsets;
    return true;
}

static bool make_head_values(ref_inputs *in, const value_maker *m)
{
    const attn_problem *p = m->p;
    float *slopes = keep(in, "alibi_slopes", p->q_heads, sizeof *slopes, false),
          *sinks = keep(in, "sinks", p->q_heads, sizeof *sinks, false);
    float *vector = keep(in, "score_vector", p->qk_dim, sizeof *vector, false);
    if (!slopes || !sinks || !vector) return false;
    for (int64_t h = 0; h < p->q_heads; h++) {
        slopes[h] = m->plain ? 0 : 0.5f / (float)(h + 1);
        float level =
            m->kind == REF_LOW ? -500 : 0; /* a sink far above all scores would hide them */
        sinks[h] = m->plain ? 0 : level + 2 * value_gauss(value_key(m, VALUE_SINKS), (uint64_t)h);
    }
    for (int64_t c = 0; c < p->qk_dim; c++)
        vector[c] = m->plain ? 0 : value_gauss(value_key(m, VALUE_VECTOR), (uint64_t)c);
    if (p->has_alibi) in->tensors.alibi_slopes = slopes;
    if (p->has_sinks) in->tensors.sinks = sinks;
    if (p->score == ATTN_ADDITIVE) in->tensors.score_vector = vector;
    return true;
}

/* Rows of K and V that no query of their batch and group sees become NaN: whoever lets them in is
 * caught. */
static void poison_unseen(ref_inputs *in, const attn_problem *p)
{
    attn_tensors *t = &in->tensors;
    int64_t group = p->q_heads / p->kv_heads;
    bool raw = p->weights == ATTN_WEIGHTS_RAW || p->weights == ATTN_WEIGHTS_CAPPED;
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t g = 0; g < p->kv_heads; g++)
            for (int64_t j = 0; j < p->kv_len; j++) {
                bool seen = false;
                for (int64_t h = g * group; h < (g + 1) * group && !seen; h++)
                    for (int64_t i = 0; i < p->q_len && !seen; i++)
                        seen = ref_visible(p, t, (ref_place){b, h, i}, j);
                if (seen) continue;
                float *k = (float *)t->k.data + b * t->k.batch_stride + g * t->k.head_stride +
                           j * t->k.row_stride;
                float *v = (float *)t->v.data + b * t->v.batch_stride + g * t->v.head_stride +
                           j * t->v.row_stride;
                for (int64_t c = 0; c < p->qk_dim && !raw; c++) k[c] = NAN;
                for (int64_t c = 0; c < p->v_dim; c++) v[c] = NAN;
            }
}

/* So does a bias where no head may look for another reason than the bias itself. */
static void poison_hidden_bias(ref_inputs *in, const attn_problem *p)
{
    const attn_tensors *t = &in->tensors;
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t i = 0; i < p->q_len; i++)
            for (int64_t j = 0; j < p->kv_len; j++) {
                float *bias =
                    (float *)t->bias.data + b * t->bias.batch_stride + i * t->bias.row_stride + j;
                bool seen = *bias == -INFINITY;
                for (int64_t h = 0; h < p->q_heads && !seen; h++)
                    seen = ref_visible(p, t, (ref_place){b, h, i}, j);
                if (!seen) *bias = NAN;
            }
}

/* ---- probes --------------------------------------------------------------------------- */

const char *ref_probe_refuses(const attn_problem *p, ref_distribution kind)
{
    if (kind == REF_UNIFORM)
        return p->kv_len > 2000000 ? "sums of V leave the exact integers" : NULL;
    if (kind == REF_RAMP) return p->kv_len < 1024 ? "a ramp needs 1,024 keys" : NULL;
    if (kind != REF_GATHER) return NULL;
    if (p->score != ATTN_DOT) return "codes need dot scores";
    if (p->softcap > 0) return "a softcap brings the codes together";
    if (!(p->scale > 0x1p-60f)) return "the scale is not positive";
    if (p->qk_dim < 24 && p->kv_len > INT64_C(1) << p->qk_dim) return "more keys than codes";
    return NULL;
}

int64_t ref_gather_target(const attn_problem *p, const attn_tensors *t, uint64_t seed, ref_place at)
{
    value_maker m = {.seed = seed};
    uint64_t row = (uint64_t)((at.b * p->q_heads + at.h) * p->q_len + at.i);
    int64_t start =
        p->kv_len ? (int64_t)(ref_random(value_key(&m, VALUE_GATHER), row) % (uint64_t)p->kv_len)
                  : 0;
    for (int64_t step = 0; step < p->kv_len; step++) {
        int64_t j = (start + step) % p->kv_len;
        if (ref_visible(p, t, at, j)) return j;
    }
    return -1;
}

static void aim_queries(ref_inputs *in, const value_maker *m)
{
    const attn_problem *p = m->p;
    attn_tensors *t = &in->tensors;
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t h = 0; h < p->q_heads; h++)
            for (int64_t i = 0; i < p->q_len; i++) {
                int64_t j = ref_gather_target(p, t, m->seed, (ref_place){b, h, i});
                float *q = (float *)t->q.data + b * t->q.batch_stride + h * t->q.head_stride +
                           i * t->q.row_stride;
                for (int64_t c = 0; c < p->qk_dim; c++)
                    q[c] = j < 0 ? 0 : m->gather * value_code(m, j, c);
            }
}

/* ---- putting it together -------------------------------------------------------------- */

int64_t ref_inputs_bytes(const attn_problem *p)
{
    double rows = (double)p->batch * (double)p->q_heads * (double)p->q_len;
    double keys = (double)p->batch * (double)p->kv_heads * (double)p->kv_len;
    double pairs = (double)p->q_len * (double)p->kv_len;
    double floats = rows * (double)(p->qk_dim + p->v_dim + 8 + 6 * p->wants_lse) +
                    keys * (double)(p->qk_dim + p->v_dim + 6);
    if (p->weights) floats += rows * (double)(p->kv_len + 5);
    if (p->has_bias) floats += (double)p->batch * pairs;
    if (p->has_mask) floats += (double)p->q_heads * pairs / 4;
    floats += (double)p->batch * (20 + 8.0 * (double)(p->q_heads + p->kv_heads)) +
              2.0 * (double)p->q_heads;
    return floats < 0x1p60 ? (int64_t)(4 * floats) + 65536 : INT64_MAX;
}

static bool make_all(ref_inputs *in, const value_maker *m, ref_layout layout)
{
    const attn_problem *p = m->p;
    attn_tensors *t = &in->tensors;
    int64_t b = p->batch, h = p->q_heads, g = p->kv_heads;
    shape q = shape_of(Q_GAP, layout, b, h, p->q_len, p->qk_dim),
          k = shape_of(K_GAP, layout, b, g, p->kv_len, p->qk_dim),
          v = shape_of(V_GAP, layout, b, g, p->kv_len, p->v_dim);
    if (layout == REF_SHARED) {
        if (m->kind != REF_GATHER) q = shared(q, false); /* each query has its own target */
        k = shared(k, false), v = shared(v, true);
    }
    if (!make_input(in, m, VALUE_Q, q, &t->q) || !make_input(in, m, VALUE_K, k, &t->k) ||
        !make_input(in, m, VALUE_V, v, &t->v) ||
        !make_output(in, "out", shape_of(OUT_GAP, layout, b, h, p->q_len, p->v_dim), &t->out,
                     &in->out))
        return false;
    if (p->wants_lse &&
        !make_output(in, "lse", shape_of(OUT_GAP, layout, b, h, p->q_len, 1), &t->lse, &in->lse))
        return false;
    if (p->weights &&
        !make_output(in, "weights", shape_of(OUT_GAP, layout, b, h, p->q_len, p->kv_len),
                     &t->weights, &in->weights))
        return false;
    return make_masks(in, m) && make_batch_values(in, m) && make_head_values(in, m);
}

ref_inputs *ref_inputs_new(const attn_problem *p, ref_distribution kind, ref_layout layout,
                           uint64_t seed)
{
    return ref_inputs_in((ref_memory){0}, p, kind, layout, seed);
}

ref_inputs *ref_inputs_in(ref_memory memory, const attn_problem *p, ref_distribution kind,
                          ref_layout layout, uint64_t seed)
{
    ref_inputs *in = calloc(1, sizeof *in);
    value_maker m = value_maker_of(p, kind, seed);
    if (!in) return NULL;
    in->memory = memory;
    if (!make_all(in, &m, layout)) return ref_inputs_free(in), NULL;
    if (kind == REF_GATHER) aim_queries(in, &m);
    int64_t pairs = p->batch * p->q_heads * p->q_len * p->kv_len;
    if (pairs > 0 && pairs <= POISON_PAIRS && !memory.clean_unseen) {
        if (layout != REF_SHARED) poison_unseen(in, p); /* whom a row belongs to is not one there */
        if (p->has_bias) poison_hidden_bias(in, p);
    }
    return in;
}

static uint64_t mix(uint64_t hash, uint64_t word)
{
    return (hash ^ word) * UINT64_C(0x100000001b3) + (hash >> 29);
}

enum { LANES = 8 };

/* Every eighth word goes into one of eight hashes, which do not wait for each other. */
static void hash_block(const char *data, size_t words, uint64_t lane[LANES])
{
    uint64_t own[LANES];
    uint32_t word[LANES];
    size_t at = 0;
    memcpy(own, lane, sizeof own);
    for (; at + LANES <= words; at += LANES) {
        memcpy(word, data + 4 * at, sizeof word);
        for (int l = 0; l < LANES; l++) own[l] = mix(own[l], word[l]);
    }
    memcpy(word, data + 4 * at, 4 * (words - at));
    for (size_t l = 0; l < words - at; l++) own[l] = mix(own[l], word[l]);
    memcpy(lane, own, sizeof own);
}

uint64_t ref_inputs_hash(const ref_inputs *in)
{
    uint64_t hash = 0, lane[LANES] = {0};
    for (int i = 0; i < in->block_count; i++)
        if (!in->blocks[i].output && in->blocks[i].bytes >= 4)
            hash_block(in->blocks[i].data, in->blocks[i].bytes / 4, lane);
    for (int l = 0; l < LANES; l++) hash = mix(hash, lane[l]);
    return hash;
}

void ref_poison_outputs(ref_inputs *in)
{
    const ref_buffer *buffers[] = {&in->out, &in->lse, &in->weights};
    for (int o = 0; o < 3; o++)
        for (int64_t x = 0; x < buffers[o]->floats; x++)
            memcpy(&buffers[o]->memory[x], &(int32_t){REF_CANARY}, 4);
}

void ref_inputs_free(ref_inputs *in)
{
    for (int i = 0; in && !in->memory.take && i < in->block_count; i++) free(in->blocks[i].data);
    free(in);
}
