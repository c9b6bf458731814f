/* mutant_kernel.c: the correct kernel that all mutants share: row by row, keys in blocks of 16,
 * online softmax, everything the API can say. Short and slow on purpose. */
#include <stddef.h>
#include <string.h>

#include "verify/mutant.h"

static mutant_stages now;

const mutant_stages *mutant_stages_now(void) { return &now; }

/* ---- the stages as they should be ----------------------------------------------------- */

static float right_raw(const mutant_row *r, int64_t j)
{
    const float *q = r->v.q + r->i * r->v.q_row, *k = r->v.k + j * r->v.k_row;
    float sum = 0;
    for (int64_t c = 0; c < r->p->qk_dim; c++)
        sum +=
            r->p->score == ATTN_DOT ? q[c] * k[c] : r->call->t.score_vector[c] * tanhf(q[c] + k[c]);
    return r->p->scale * sum;
}

static float right_cap(float score, float cap) { return cap * tanhf(score / cap); }

static float right_score(const mutant_row *r, int64_t j, float raw)
{
    float capped = r->p->softcap > 0 ? now.cap(raw, r->p->softcap) : raw;
    float bias = j >= r->seen.first && j < r->seen.last ? score_bias(&r->v, r->i, j) : -INFINITY;
    return bias == -INFINITY ? -INFINITY : capped + bias;
}

static bool right_ranks_before(const float *s, int64_t a, int64_t b)
{
    if (isnan(s[a]) || isnan(s[b])) return isnan(s[a]) && (!isnan(s[b]) || a < b);
    return s[a] > s[b] || (s[a] == s[b] && a < b);
}

static void right_start(mutant_row *r)
{
    r->max = r->v.sink;
    r->sum = r->v.sink == -INFINITY ? 0 : 1;
    for (int64_t c = 0; c < r->p->v_dim; c++) r->o[c] = 0;
}

static int64_t right_last_key(const mutant_row *r, int64_t last)
{
    (void)r;
    return last;
}

static float right_max(const mutant_row *r, int64_t j0, int64_t j1)
{
    float max = r->max;
    for (int64_t j = j0; j < j1; j++) max = r->s[j] > max ? r->s[j] : max;
    return max;
}

static void right_rescale(mutant_row *r, float factor)
{
    r->sum *= factor;
    for (int64_t c = 0; c < r->p->v_dim; c++) r->o[c] *= factor;
}

static void right_add(mutant_row *r, int64_t j, float weight)
{
    const float *v = r->v.v + j * r->v.v_row;
    r->sum += weight;
    for (int64_t c = 0; c < r->p->v_dim; c++) r->o[c] += weight * v[c];
}

static void right_block(mutant_row *r, int64_t j0, int64_t j1) { (void)r, (void)j0, (void)j1; }

static void right_finish(mutant_row *r)
{
    float *out = r->v.out + r->i * r->v.out_row;
    bool empty = r->sum == 0;
    for (int64_t c = 0; c < r->p->v_dim; c++) out[c] = empty ? 0 : r->o[c] / r->sum;
    if (r->v.lse) r->v.lse[r->i * r->v.lse_row] = empty ? -INFINITY : r->max + logf(r->sum);
    if (r->p->weights != ATTN_WEIGHTS_NORMALISED) return;
    float *weights = r->v.weights + r->i * r->v.weights_row;
    for (int64_t j = 0; j < r->p->kv_len; j++)
        weights[j] = r->s[j] == -INFINITY ? 0 : expf(r->s[j] - r->max) / r->sum;
}

static int64_t no_more_scratch(const attn_problem *p)
{
    (void)p;
    return 0;
}
static bool everywhere(void) { return true; }
static void claim_no_more(attn_claims *c) { (void)c; }
static void nothing(mutant_call *c) { (void)c; }

/* ---- one row -------------------------------------------------------------------------- */

static void score_row(mutant_row *r)
{
    bool all_pairs = r->p->weights == ATTN_WEIGHTS_RAW || r->p->weights == ATTN_WEIGHTS_CAPPED;
    float *weights = r->v.weights ? r->v.weights + r->i * r->v.weights_row : NULL;
    for (int64_t j = 0; j < r->p->kv_len; j++) {
        bool seen = now.score(r, j, 0) != -INFINITY;
        float raw = seen || all_pairs ? now.raw(r, j) : 0;
        r->s[j] = seen ? now.score(r, j, raw) : -INFINITY;
        if (r->p->weights == ATTN_WEIGHTS_CAPPED && r->p->softcap > 0)
            raw = now.cap(raw, r->p->softcap);
        if (weights && r->p->weights != ATTN_WEIGHTS_NORMALISED)
            weights[j] = all_pairs ? raw : r->s[j];
    }
}

/* Leaves the k best keys of a row and hides the others. */
static void keep_best(mutant_row *r, int64_t keep)
{
    int64_t cut = -1;
    for (int64_t kept = 0; kept < keep; kept++) {
        int64_t next = -1;
        for (int64_t j = 0; j < r->p->kv_len; j++)
            if (r->s[j] != -INFINITY && (cut < 0 || now.ranks_before(r->s, cut, j)) &&
                (next < 0 || now.ranks_before(r->s, j, next)))
                next = j;
        if (next < 0) return;
        cut = next;
    }
    for (int64_t j = 0; j < r->p->kv_len; j++)
        if (j != cut && now.ranks_before(r->s, cut, j)) r->s[j] = -INFINITY;
}

void mutant_score_row(mutant_row *r)
{
    score_row(r);
    if (r->p->select == ATTN_HARDMAX) keep_best(r, 1);
    if (r->p->select == ATTN_TOPK) keep_best(r, r->p->top_k);
}

void mutant_add_block(mutant_row *r, int64_t j0, int64_t j1)
{
    float max = now.max(r, j0, j1), zero = max == -INFINITY ? 0 : max;
    now.rescale(r, now.exp(r->max - zero));
    r->max = max;
    for (int64_t j = j0; j < j1; j++)
        if (r->s[j] != -INFINITY) now.add(r, j, now.exp(r->s[j] - zero));
    now.block(r, j0, j1);
}

static void right_row(mutant_row *r)
{
    int64_t last = now.last_key(r, r->p->kv_len);
    mutant_score_row(r);
    now.start(r);
    for (int64_t j = 0; j < last; j += MUTANT_BLOCK)
        mutant_add_block(r, j, j + MUTANT_BLOCK < last ? j + MUTANT_BLOCK : last);
    now.finish(r);
}

const mutant_stages mutant_right = {
    .claim = claim_no_more,
    .more_scratch = no_more_scratch,
    .applies = everywhere,
    .before = nothing,
    .raw = right_raw,
    .cap = right_cap,
    .score = right_score,
    .ranks_before = right_ranks_before,
    .start = right_start,
    .row = right_row,
    .last_key = right_last_key,
    .max = right_max,
    .exp = expf,
    .rescale = right_rescale,
    .add = right_add,
    .block = right_block,
    .finish = right_finish,
    .after = nothing,
};

/* ---- what mutants ask of a call ------------------------------------------------------ */

float *mutant_out_row(const mutant_row *r) { return r->v.out + r->i * r->v.out_row; }

float *mutant_first_row(const mutant_call *c)
{
    const attn_output *out = &c->t.out;
    return out->data + c->s.batch * out->batch_stride + c->s.head * out->head_stride +
           c->s.q_begin * out->row_stride;
}

bool mutant_last_slice(const mutant_call *c)
{
    return c->s.q_end == c->p.q_len && c->s.head + 1 == c->p.q_heads &&
           c->s.batch + 1 == c->p.batch;
}

/* ---- the kernel ----------------------------------------------------------------------- */

static const char *refuses(const attn_problem *p)
{
    (void)p;
    return NULL;
}

static int64_t scratch_bytes(const attn_problem *p)
{
    return 4 * (p->kv_len + p->v_dim) + now.more_scratch(p);
}

static attn_claims claims(const attn_problem *p)
{
    int64_t blocks = (p->kv_len + MUTANT_BLOCK - 1) / MUTANT_BLOCK;
    attn_claims mine = {.exp_ulp = 2,
                        .tanh_ulp = 2,
                        .sum_height = p->kv_len + blocks + 1,
                        .rescales = blocks,
                        .flush = 0x1p-126,
                        .deterministic = true};
    now.claim(&mine);
    return mine;
}

static void run(const attn_problem *p, const attn_tensors *t, attn_slice slice, void *scratch)
{
    mutant_call call = {*p, *t, slice, scratch, p, t};
    now.before(&call);
    for (int64_t i = call.s.q_begin; i < call.s.q_end; i++) {
        mutant_row r = {.call = &call, .p = &call.p, .b = call.s.batch, .h = call.s.head, .i = i};
        r.v = head_view_of(&call.p, &call.t, r.b, r.h);
        r.seen = visible_range(&call.p, &r.v, i);
        r.s = scratch;
        r.o = r.s + p->kv_len;
        now.row(&r);
    }
    now.after(&call);
}

/* Each stage of the mutant, or the right one: both are structs of pointers to functions. */
static mutant_stages complete(mutant_stages wrong)
{
    typedef void stage(void);
    enum { STAGES = sizeof(mutant_stages) / sizeof(stage *) };
    stage *mine[STAGES], *right[STAGES];
    memcpy(mine, &wrong, sizeof mine);
    memcpy(right, &mutant_right, sizeof right);
    for (int s = 0; s < STAGES; s++)
        if (!mine[s]) mine[s] = right[s];
    memcpy(&wrong, mine, sizeof mine);
    return wrong;
}

const attn_kernel *mutant_kernel(const mutant *m)
{
    static attn_kernel kernel;
    now = complete(m->stages);
    kernel = (attn_kernel){.name = m->name,
                           .isa = "scalar",
                           .summary = m->mirrors,
                           .source = "verify/mutant_kernel.c",
                           .q_block = MUTANT_ROWS,
                           .refuses = refuses,
                           .scratch_bytes = scratch_bytes,
                           .claims = claims,
                           .run = run};
    return &kernel;
}

const mutant *mutant_at(int index)
{
    const mutant *const lists[] = {mutants_of_scores, mutants_of_outputs, mutants_of_masks,
                                   mutants_of_caps,   mutants_of_memory,  mutants_of_numbers,
                                   mutants_of_state,  mutants_of_process, mutants_later,
                                   mutants_fresh,     mutants_again,      mutants_outside,
                                   mutants_of_places, mutants_edges,      mutants_equivalent};
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++)
        for (const mutant *m = lists[l]; m->name; m++)
            if (index-- == 0) return m;
    return NULL;
}

const mutant *mutant_find(const char *name)
{
    for (int m = 0; mutant_at(m); m++)
        if (strcmp(mutant_at(m)->name, name) == 0) return mutant_at(m);
    return NULL;
}
