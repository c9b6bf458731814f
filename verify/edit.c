/* edit.c: one value changed in place, and the scratch as the call before left it.
 *
 * What a kernel remembers under an address, in its scratch or in memory of its own, is wrong as
 * soon as the caller writes there: a cache with one new token, a mask with one key hidden. So one
 * row, or one number of a row, of one input is changed where it stands, or two rows of K or V
 * change places, which no sum over all values shows; the row of the output that is certain to
 * notice, and some others, are held against a fresh truth and its bound. New values everywhere
 * (`rewrite`) do not show what a fingerprint of some of them shows, and a scratch that is poisoned
 * anew does not show what was kept in it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "verify/run.h"

enum { OTHER_ROWS = 3 };

/* Which input, where its element stands, and which of its numbers change; or with which element it
 * changes places. */
typedef struct edit {
    int tensor;
    char *at, *with;
    int64_t bytes, first, count;
} edit;

static const char *const names[AXES_TENSORS] = {
    [AXES_K] = "K",
    [AXES_V] = "V",
    [AXES_MASK] = "the mask",
    [AXES_BIAS] = "the bias",
    [AXES_LENS] = "kv_lens",
    [AXES_OFFSETS] = "q_offsets",
    [AXES_SLOPES] = "the slopes",
    [AXES_SINKS] = "sinks",
};

/* Any value that differs from x by about as much as values do. */
static float other_value(int tensor, float x)
{
    if (tensor == AXES_SLOPES) return x + 0.25f;
    if (tensor == AXES_SINKS) return x + 2;
    if (tensor == AXES_BIAS) return fabsf(x) < 1 ? x + 2 : 0;
    return x == 0 ? 1 : -x;
}

static void swap(edit e)
{
    for (int64_t x = 0; x < e.bytes; x++) {
        char kept = e.at[x];
        e.at[x] = e.with[x], e.with[x] = kept;
    }
}

/* A visible key is hidden, a length or a position is one less: never the other way, for keys that
 * nobody saw hold NaN. */
static void change(edit e)
{
    if (e.with) swap(e);
    else if (e.tensor == AXES_MASK) *e.at = 0;
    else if (e.tensor == AXES_LENS || e.tensor == AXES_OFFSETS) --*(int64_t *)e.at;
    else
        for (int64_t c = e.first; c < e.first + e.count; c++)
            ((float *)e.at)[c] = other_value(e.tensor, ((float *)e.at)[c]);
}

/* K or V, or one of the other inputs that the problem has; -1 if it has none. Positions stay where
 * one less would show a key behind the left end of a window. */
static int choose_tensor(const attn_problem *p, const axes list[AXES_TENSORS], bool other,
                         uint64_t random)
{
    int there[AXES_TENSORS], count = 0;
    if (!other) return random & 1 ? AXES_V : AXES_K;
    for (int t = 0; t < AXES_TENSORS; t++)
        if (names[t] && list[t].data && t != AXES_K && t != AXES_V &&
            !(t == AXES_OFFSETS && p->window_left >= 0))
            there[count++] = t;
    return count ? there[(random >> 2) % (uint64_t)count] : -1;
}

/* A change that the row `at` sees by its key j: of K or V, or of another input. Of no bytes if
 * there is none. */
static edit choose_edit(const run *r, ref_place at, int64_t j, bool of_other, uint64_t random)
{
    const attn_problem *p = r->c.p;
    axes list[AXES_TENSORS];
    axes_of(p, &r->in->tensors, list);
    edit e = {.tensor = choose_tensor(p, list, of_other, random)};
    if (e.tensor < 0) return e;
    e.bytes = list[e.tensor].bytes;
    bool shared = e.tensor == AXES_K || e.tensor == AXES_V;
    int64_t head = shared ? at.h / (p->q_heads / p->kv_heads) : at.h;
    int64_t numbers = e.bytes / (int64_t)sizeof(float);
    e.at = axes_at(&list[e.tensor], (const int64_t[AXES]){at.b, head, at.i, j});
    e.count = random >> 20 & 1 || numbers <= 1 ? numbers : 1;
    e.first = e.count == numbers ? 0 : (int64_t)((random >> 24) % (uint64_t)numbers);
    if (!shared || random >> 21 & 1) return e;
    int64_t other = ref_gather_target(p, &r->in->tensors, random >> 24, at);
    if (other != j)
        e.with = axes_at(&list[e.tensor], (const int64_t[AXES]){at.b, head, at.i, other});
    return e;
}

/* Judges the row that must notice, and some that may. */
static void judge_edited(run *r, ref_place at, const char *what, verify_report *report)
{
    const attn_problem *p = r->c.p;
    uint64_t rows = (uint64_t)(p->batch * p->q_heads * p->q_len);
    for (uint64_t n = 0; n <= OTHER_ROWS; n++) {
        uint64_t other = ref_random(r->c.which->seed, 500 + n) % rows;
        ref_place row = n == 0 ? at : check_place(p, (int64_t)other);
        verify_report now = verify_row(r->c.kernel, r->c.which, r->in, row);
        if (now.status != VERIFY_FAIL) continue;
        check_fail(&r->c, report, VERIFY_EDIT, "after a change of %s in place: %s", what,
                   now.reason);
        return;
    }
}

static void change_and_judge(run *r, ref_place at, edit e, verify_report *report)
{
    char *kept = malloc((size_t)e.bytes);
    if (!kept) abort();
    memcpy(kept, e.at, (size_t)e.bytes);
    change(e);
    r->keeps_scratch = true;
    if (run_call(r, r->threads, report)) judge_edited(r, at, names[e.tensor], report);
    r->keeps_scratch = false;
    if (e.with) swap(e);
    else memcpy(e.at, kept, (size_t)e.bytes);
    free(kept);
}

void check_edited(run *r, verify_report *report)
{
    const attn_problem *p = r->c.p;
    int64_t rows = p->batch * p->q_heads * p->q_len;
    uint64_t sizes = (uint64_t)(p->q_len + p->kv_len + p->qk_dim + p->v_dim + p->q_heads);
    uint64_t random = ref_random(r->c.which->seed, 600 + sizes);
    bool bounded = (double)r->c.claims.sum_height * 0x1p-24 < 1;
    bool asked = !(r->c.without >> VERIFY_EDIT & 1) && !(r->c.without >> VERIFY_BOUND & 1);
    if (rows == 0 || !bounded || !asked || r->c.which->inputs >= REF_GATHER) return;
    ref_place at = check_place(p, (int64_t)(ref_random(random, 1) % (uint64_t)rows));
    int64_t j = ref_gather_target(p, &r->in->tensors, random, at); /* any key that it sees */
    if (j < 0) return;
    for (uint64_t other = 0; other < 2; other++) {
        edit e = choose_edit(r, at, j, other, ref_random(random, 2 + other));
        if (e.bytes) change_and_judge(r, at, e, report);
    }
}
