/* example_plugin.c: a whole plug-in for `attest verify --plugin`. Double precision inside, softmax
 * over dot products with causal masks, windows and lengths; it refuses everything else. */
#include <attention.h>
#include <attest_plugin.h>
#include <math.h>

static const char *refuses(const attn_problem *p)
{
    if (p->score != ATTN_DOT || p->select != ATTN_SOFTMAX) return "dot products and softmax only";
    if (p->softcap > 0 || p->has_mask || p->has_bias || p->has_alibi || p->has_sinks)
        return "no softcap, masks, ALiBi or sinks";
    return p->wants_lse || p->weights ? "no output but O" : 0;
}

static int64_t scratch_bytes(const attn_problem *p) { return 8 * p->kv_len; }

/* What it promises about its rounding: nothing but the last one, of a double to a float. */
static attn_claims claims(const attn_problem *p)
{
    attn_claims mine = {0};
    mine.exp_ulp = 1;
    mine.sum_height = p->kv_len + 1;
    mine.flush = 0x1p-126;
    mine.deterministic = true;
    return mine;
}

static void one_row(const attn_problem *p, const attn_tensors *t, attn_slice s, int64_t i,
                    double *weight)
{
    int64_t g = s.head / (p->q_heads / p->kv_heads);
    const float *q =
        t->q.data + s.batch * t->q.batch_stride + s.head * t->q.head_stride + i * t->q.row_stride;
    const float *k = t->k.data + s.batch * t->k.batch_stride + g * t->k.head_stride;
    const float *v = t->v.data + s.batch * t->v.batch_stride + g * t->v.head_stride;
    float *out = t->out.data + s.batch * t->out.batch_stride + s.head * t->out.head_stride +
                 i * t->out.row_stride;
    int64_t at = (p->has_q_offsets ? t->q_offsets[s.batch] : p->q_offset) + i;
    int64_t first = 0, last = p->has_kv_lens ? t->kv_lens[s.batch] : p->kv_len;
    if (p->causal && at + 1 < last) last = at + 1;
    if (p->window_right >= 0 && at + p->window_right + 1 < last) last = at + p->window_right + 1;
    if (p->window_left >= 0 && at - p->window_left > first) first = at - p->window_left;
    double max = -INFINITY, sum = 0;
    for (int64_t j = first; j < last; j++) {
        double dot = 0;
        for (int64_t c = 0; c < p->qk_dim; c++) dot += (double)q[c] * k[j * t->k.row_stride + c];
        weight[j] = p->scale * dot;
        if (!(weight[j] <= max)) max = weight[j];
    }
    for (int64_t j = first; j < last; j++) sum += weight[j] = exp(weight[j] - max);
    for (int64_t c = 0; c < p->v_dim; c++) {
        double o = 0;
        for (int64_t j = first; j < last; j++) o += weight[j] * v[j * t->v.row_stride + c];
        out[c] = first < last ? (float)(o / sum) : 0;
    }
}

static void run(const attn_problem *p, const attn_tensors *t, attn_slice s, void *scratch)
{
    for (int64_t i = s.q_begin; i < s.q_end; i++) one_row(p, t, s, i, scratch);
}

static const attn_kernel kernel = {
    .name = "example",
    .isa = "auto",
    .summary = "double precision, one row at a time",
    .source = "this file",
    .q_block = 16,
    .refuses = refuses,
    .scratch_bytes = scratch_bytes,
    .claims = claims,
    .run = run,
};

const attest_plugin *attest_plugin_get(void)
{
    static const attest_plugin plugin = {ATTEST_PLUGIN_VERSION, sizeof(attn_problem),
                                         sizeof(attn_tensors), sizeof(attn_kernel), &kernel};
    return &plugin;
}
