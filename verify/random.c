/* random.c: problems that nobody thought of, and the smallest of those that fail.
 *
 * Random problems draw every feature and size; sizes sit on and beside the edges of blocks more
 * often than chance would have it. The pairwise problems are a covering array by greedy choice
 * (Cohen et al. 1997, AETG): most errors need two features to meet, few need three. Shrinking tries
 * a table of simplifications again and again until none keeps the failure (delta debugging, Zeller
 * and Hildebrandt 2002). */
#include <stdlib.h>
#include <string.h>

#include "verify/verify.h"

/* ---- features ------------------------------------------------------------------------- */

/* Each feature is a small number that says which of its forms a problem has. */
enum feature {
    CAUSAL,
    WINDOW,
    LENGTHS,
    OFFSETS,
    MASK,
    BIAS,
    ALIBI,
    SINKS,
    HEADS,
    V_DIM,
    SOFTCAP,
    LSE,
    WEIGHTS,
    SELECT,
    BATCH,
    SHAPE,
    FEATURES
};
static const int forms[FEATURES] = {
    [CAUSAL] = 4,  [WINDOW] = 4, [LENGTHS] = 2, [OFFSETS] = 2, [MASK] = 2,    [BIAS] = 2,
    [ALIBI] = 2,   [SINKS] = 2,  [HEADS] = 4,   [V_DIM] = 3,   [SOFTCAP] = 2, [LSE] = 2,
    [WEIGHTS] = 5, [SELECT] = 4, [BATCH] = 2,   [SHAPE] = 4};

static bool legal(const int *f) { return !(f[SELECT] == 1 && f[SINKS]); } /* hardmax has no sink */

static attn_problem problem_of(const int *f, int64_t q_len, int64_t kv_len, int64_t dim)
{
    static const int64_t q_heads[] = {1, 2, 4, 3}, kv_heads[] = {1, 2, 2, 1};
    const int64_t v_dims[] = {dim, (dim + 2) / 3, dim + 5};
    const int64_t offsets[] = {kv_len - q_len, kv_len - q_len, 0, 3 - q_len / 2};
    attn_problem p = attn_problem_make(q_heads[f[HEADS]], q_len, dim);
    p.kv_heads = kv_heads[f[HEADS]];
    p.kv_len = kv_len, p.v_dim = v_dims[f[V_DIM]];
    p.batch = f[BATCH] ? 3 : 1;
    p.causal = f[CAUSAL] > 0;
    if (f[WINDOW] & 1) p.window_left = 1 + kv_len / 4;
    if (f[WINDOW] & 2) p.window_right = kv_len / 8;
    p.has_kv_lens = f[LENGTHS], p.has_q_offsets = f[OFFSETS], p.has_mask = f[MASK];
    p.has_bias = f[BIAS], p.has_alibi = f[ALIBI], p.has_sinks = f[SINKS];
    if (p.causal || p.has_alibi || f[WINDOW]) p.q_offset = offsets[f[CAUSAL]];
    p.softcap = f[SOFTCAP] ? 2 : 0;
    p.wants_lse = f[LSE];
    p.weights = (attn_weights)f[WEIGHTS];
    p.select = f[SELECT] == 1 ? ATTN_HARDMAX : f[SELECT] == 2 ? ATTN_TOPK : ATTN_SOFTMAX;
    p.top_k = f[SELECT] == 2 ? 1 + kv_len / 5 : 0;
    p.score = f[SELECT] == 3 ? ATTN_ADDITIVE : ATTN_DOT;
    return p;
}

static void draw_features(uint64_t key, int *f)
{
    do
        for (int x = 0; x < FEATURES; x++)
            f[x] = (int)(ref_random(key, (uint64_t)x) % (uint64_t)forms[x]);
    while (!legal(f) && (key = ref_random(key, FEATURES), true));
}

/* ---- pairs ---------------------------------------------------------------------------- */

enum { MOST_FORMS = 5, CANDIDATES = 60 };
typedef struct pairs {
    bool met[FEATURES][MOST_FORMS][FEATURES][MOST_FORMS];
} pairs;

/* New pairs that these features would bring; with `keep` they count as met. */
static int new_pairs(pairs *p, const int *f, bool keep)
{
    int count = 0;
    for (int a = 0; a < FEATURES; a++)
        for (int b = a + 1; b < FEATURES; b++) {
            bool *met = &p->met[a][f[a]][b][f[b]];
            count += !*met;
            if (keep) *met = true;
        }
    return count;
}

attn_problem *verify_pairwise(int *count)
{
    static const int64_t q_lens[] = {33, 70, 1, 16}, kv_lens[] = {70, 33, 65, 16};
    pairs *seen = calloc(1, sizeof *seen);
    attn_problem *problems = NULL;
    *count = 0;
    for (uint64_t row = 0; seen; row++) {
        int best[FEATURES], most = 0;
        for (uint64_t c = 0; c < CANDIDATES * (1 + row / 30); c++) {
            int f[FEATURES];
            draw_features(ref_random(row, c), f);
            int brings = new_pairs(seen, f, false);
            if (brings > most) most = brings, memcpy(best, f, sizeof best);
        }
        if (most == 0) break;
        attn_problem *grown = realloc(problems, (size_t)(*count + 1) * sizeof *problems);
        if (!grown) break;
        problems = grown;
        new_pairs(seen, best, true);
        problems[*count] =
            problem_of(best, q_lens[best[SHAPE]], kv_lens[best[SHAPE]], 9 + 8 * (*count % 4));
        ++*count;
    }
    free(seen);
    return problems;
}

/* ---- random --------------------------------------------------------------------------- */

/* Sizes up to about 140; half of them at or beside a multiple of 8. */
static int64_t draw_size(uint64_t random)
{
    int64_t small = 1 + (int64_t)(random >> 8) % (1 << (1 + (random >> 40) % 7));
    int64_t edge = 8 * (1 + (int64_t)(random >> 8) % 16) - 1 + (int64_t)(random >> 48) % 3;
    return random & 1 ? small : edge;
}

/* Any but the ramp, which needs more keys than there are here. */
static ref_distribution draw_inputs(uint64_t random)
{
    int kind = (int)(random % (REF_DISTRIBUTIONS - 1));
    return (ref_distribution)(kind + (kind >= REF_RAMP));
}

/* Mostly layouts in which the kernel is called more than once. */
static ref_layout draw_layout(uint64_t random)
{
    uint64_t eighth = random / REF_PAGES % 8;
    return eighth < 3 ? (ref_layout)(REF_PAGES + eighth) : (ref_layout)(random % REF_PAGES);
}

verify_case verify_random(uint64_t seed, uint64_t index)
{
    for (uint64_t key = ref_random(seed, index);; key = ref_random(key, 1)) {
        int f[FEATURES];
        draw_features(key, f);
        for (int x = 0; x < FEATURES; x++) /* most features are absent most of the time */
            if (x != HEADS && x != V_DIM && ref_random(key, 50 + (uint64_t)x) % 2) f[x] = 0;
        verify_case one = {problem_of(f, draw_size(ref_random(key, 90)),
                                      draw_size(ref_random(key, 91)),
                                      draw_size(ref_random(key, 92))),
                           draw_inputs(ref_random(key, 93)), draw_layout(ref_random(key, 94)),
                           (verify_place)(ref_random(key, 95) % VERIFY_HEAP_PLACE), key >> 16};
        if (ref_random(key, 96) % 3 == 0) one.inputs = REF_GAUSS; /* all relations */
        const attn_problem *p = &one.problem;
        int64_t work = p->batch * p->q_heads * p->q_len * p->kv_len * (p->qk_dim + p->v_dim);
        if (verify_layout_refuses(p, one.layout)) one.layout = REF_GAPS;
        if (work <= 4000000 && !ref_probe_refuses(p, one.inputs)) return one;
    }
}

/* ---- shrinking ------------------------------------------------------------------------ */

#define SIMPLER(name) static void name(verify_case *c)
SIMPLER(no_batch) { c->problem.batch = 1; }
SIMPLER(one_head) { c->problem.q_heads = c->problem.kv_heads = 1; }
SIMPLER(no_groups) { c->problem.q_heads = c->problem.kv_heads; }
SIMPLER(half_q) { c->problem.q_len /= 2; }
SIMPLER(less_q) { c->problem.q_len -= c->problem.q_len > 1; }
SIMPLER(half_keys) { c->problem.kv_len /= 2; }
SIMPLER(less_keys) { c->problem.kv_len -= c->problem.kv_len > 1; }
SIMPLER(half_d) { c->problem.qk_dim = (c->problem.qk_dim + 1) / 2; }
SIMPLER(less_d) { c->problem.qk_dim -= c->problem.qk_dim > 1; }
SIMPLER(half_v) { c->problem.v_dim = (c->problem.v_dim + 1) / 2; }
SIMPLER(less_v) { c->problem.v_dim -= c->problem.v_dim > 1; }
SIMPLER(no_lengths) { c->problem.has_kv_lens = false; }
SIMPLER(no_offsets) { c->problem.has_q_offsets = false; }
SIMPLER(no_mask) { c->problem.has_mask = false; }
SIMPLER(no_bias) { c->problem.has_bias = false; }
SIMPLER(no_alibi) { c->problem.has_alibi = false; }
SIMPLER(no_sinks) { c->problem.has_sinks = false; }
SIMPLER(no_cap) { c->problem.softcap = 0; }
SIMPLER(no_left) { c->problem.window_left = -1; }
SIMPLER(no_right) { c->problem.window_right = -1; }
SIMPLER(no_causal) { c->problem.causal = false; }
SIMPLER(no_lse) { c->problem.wants_lse = false; }
SIMPLER(no_weights) { c->problem.weights = ATTN_WEIGHTS_NONE; }
SIMPLER(dot) { c->problem.score = ATTN_DOT; }
SIMPLER(all_keys) { c->problem.select = ATTN_SOFTMAX, c->problem.top_k = 0; }
SIMPLER(plain_scale) { c->problem.scale = attn_problem_make(1, 1, c->problem.qk_dim).scale; }
SIMPLER(zero_offset) { c->problem.q_offset = 0; }
SIMPLER(plain_layout) { c->layout = REF_HEADS_FIRST; }
SIMPLER(plain_inputs) { c->inputs = REF_GAUSS; }
#undef SIMPLER

static void (*const simpler[])(verify_case *) = {
    no_batch,   one_head,    no_groups,   half_q,       half_keys,    half_d, half_v,    no_lengths,
    no_offsets, no_mask,     no_bias,     no_alibi,     no_sinks,     no_cap, no_left,   no_right,
    no_causal,  no_lse,      no_weights,  dot,          all_keys,     less_q, less_keys, less_d,
    less_v,     plain_scale, zero_offset, plain_layout, plain_inputs,
};

static bool same_case(const verify_case *a, const verify_case *b)
{
    char first[384], second[384];
    verify_replay(a, first, sizeof first);
    verify_replay(b, second, sizeof second);
    return strcmp(first, second) == 0;
}

/* Does the case survive being printed and read, so that its replay line is the case? */
static bool replays(const verify_case *c)
{
    char key[192];
    attn_problem read;
    if (attn_validate(&c->problem, NULL, NULL) || ref_probe_refuses(&c->problem, c->inputs) ||
        verify_layout_refuses(&c->problem, c->layout))
        return false;
    attn_problem_print(&c->problem, key, sizeof key);
    verify_case again = *c;
    if (attn_problem_parse(key, &read, NULL)) return false;
    again.problem = read;
    return read.q_offset == c->problem.q_offset && same_case(&again, c);
}

/* An offset that nothing looks at has no place in the key. */
static void forget_offset(attn_problem *p)
{
    bool used = p->causal || p->window_left >= 0 || p->window_right >= 0 || p->has_alibi;
    if (!used) p->q_offset = p->kv_len - p->q_len;
}

verify_case verify_shrink(verify_case failed, int tries, verify_still_fails *fails, void *context)
{
    bool progress = true;
    while (progress && tries > 0) {
        progress = false;
        for (size_t s = 0; s < sizeof simpler / sizeof *simpler && tries > 0; s++) {
            verify_case candidate = failed;
            simpler[s](&candidate);
            forget_offset(&candidate.problem);
            if (same_case(&candidate, &failed) || !replays(&candidate)) continue;
            tries--;
            if (!fails(context, &candidate)) continue;
            failed = candidate;
            progress = true;
        }
    }
    return failed;
}
