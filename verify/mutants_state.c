/* mutants_state.c: what a call must not remember, share, leave behind or do to its process. */
#include <fcntl.h>
#include <fenv.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "verify/mutant.h"
#include "verify/registers.h"

static float *row_of(const mutant_row *r) { return r->v.out + r->i * r->v.out_row; }

static float *first_row(const mutant_call *c)
{
    const attn_output *out = &c->t.out;
    return out->data + c->s.batch * out->batch_stride + c->s.head * out->head_stride +
           c->s.q_begin * out->row_stride;
}

static bool last_slice(const mutant_call *c)
{
    return c->s.q_end == c->p.q_len && c->s.head + 1 == c->p.q_heads &&
           c->s.batch + 1 == c->p.batch;
}

/* ---- NaN and stale values ------------------------------------------------------------- */

static void nan_becomes_zero(mutant_row *r)
{
    mutant_right.finish(r);
    for (int64_t c = 0; c < r->p->v_dim; c++)
        if (isnan(row_of(r)[c])) row_of(r)[c] = 0;
}
static void nan_spreads(mutant_call *c)
{
    int64_t rows = c->s.q_end - c->s.q_begin, stride = c->t.out.row_stride;
    bool any = false;
    for (int64_t i = 0; i < rows; i++) any = any || isnan(first_row(c)[i * stride]);
    for (int64_t i = 0; any && i < rows; i++) first_row(c)[i * stride] = NAN;
}
static float max_ignores_nan(const mutant_row *r, int64_t j0, int64_t j1)
{
    for (int64_t j = j0; j < j1; j++)
        if (isnan(r->s[j])) r->s[j] = -INFINITY;
    return mutant_right.max(r, j0, j1);
}
static void accumulator_not_cleared(mutant_row *r)
{
    float kept[1024];
    bool first = r->i == 0 && r->h == 0 && r->b == 0 && r->p->v_dim <= 1024;
    if (first) memcpy(kept, r->o, (size_t)r->p->v_dim * sizeof *kept);
    mutant_right.start(r);
    if (first) memcpy(r->o, kept, (size_t)r->p->v_dim * sizeof *kept);
}
static void empty_row_unwritten(mutant_row *r)
{
    if (r->sum != 0) mutant_right.finish(r);
}
/* Writes everything but the zeros of a row without keys. */
static void zeros_unwritten(mutant_row *r)
{
    float aside[1024];
    mutant_row other = *r;
    if (r->sum == 0 && r->p->v_dim <= 1024) other.v.out = aside, other.v.out_row = 0;
    mutant_right.finish(&other);
}
static float shared_sum;
static void start_shared(mutant_row *r)
{
    mutant_right.start(r);
    shared_sum = r->sum;
}
static void add_shared(mutant_row *r, int64_t j, float weight)
{
    mutant_right.add(r, j, weight);
    shared_sum = r->sum;
}
static void finish_shared(mutant_row *r)
{
    if (r->i == r->call->s.q_begin) usleep(1); /* lets another thread in */
    r->sum = shared_sum;
    mutant_right.finish(r);
}

/* Two halves of the keys, computed apart and put together wrongly. */
static _Thread_local float half_o[1024], half_max, half_sum;
static void keep_half(mutant_row *r, int64_t j0, int64_t j1)
{
    int64_t middle = (r->p->kv_len / 2 + MUTANT_BLOCK - 1) / MUTANT_BLOCK * MUTANT_BLOCK;
    (void)j0;
    if (r->p->v_dim > 1024 || j1 != middle || j1 >= r->p->kv_len) return;
    half_max = r->max, half_sum = r->sum;
    memcpy(half_o, r->o, (size_t)r->p->v_dim * sizeof *half_o);
    for (int64_t c = 0; c < r->p->v_dim; c++) r->o[c] = 0;
    r->max = -INFINITY, r->sum = 0;
}
static void start_halves(mutant_row *r)
{
    half_max = -INFINITY, half_sum = 0;
    memset(half_o, 0, sizeof half_o);
    mutant_right.start(r);
}
static void average_halves(mutant_row *r)
{
    bool both = half_sum > 0 && r->sum > 0;
    for (int64_t c = 0; both && c < r->p->v_dim; c++)
        r->o[c] = (r->o[c] / r->sum + half_o[c] / half_sum) / 2 * r->sum;
    if (half_sum > 0 && !both) r->sum = half_sum, r->max = half_max;
    for (int64_t c = 0; half_sum > 0 && !both && c < r->p->v_dim; c++) r->o[c] = half_o[c];
    mutant_right.finish(r);
}
static void merge_without_guard(mutant_row *r)
{
    float max = fmaxf(half_max, r->max);
    float a = r->p->kv_len > 2 * MUTANT_BLOCK ? expf(half_max - max) : 0, b = expf(r->max - max);
    if (r->p->kv_len <= 2 * MUTANT_BLOCK && half_sum > 0) a = expf(half_max - max);
    if (r->p->kv_len <= 2 * MUTANT_BLOCK && max == -INFINITY) a = b = 0;
    for (int64_t c = 0; c < r->p->v_dim && c < 1024; c++) r->o[c] = a * half_o[c] + b * r->o[c];
    r->sum = a * half_sum + b * r->sum, r->max = max;
    mutant_right.finish(r);
}

static void not_repeatable(mutant_call *c)
{
    static _Atomic unsigned calls;
    float *out = first_row(c);
    uint32_t bits;
    memcpy(&bits, out, sizeof bits);
    if (isfinite(*out) && *out != 0) bits ^= calls++ / 7 & 1;
    memcpy(out, &bits, sizeof bits);
}

/* Remembers the first value of V by its address. */
static void cache_by_address(mutant_row *r)
{
    static const float *known;
    static float value;
    mutant_right.finish(r);
    if (r->i != r->call->s.q_begin || !last_slice(r->call)) return;
    if (known == r->v.v + r->i) row_of(r)[0] = value;
    known = r->v.v + r->i, value = row_of(r)[0];
}
/* Knows a call that is the same as the one before, and thinks its answer is still there. */
static void remembers_inputs(mutant_call *c)
{
    static uint64_t before;
    const attn_input *const views[] = {&c->t.q, &c->t.v};
    const int64_t heads[] = {c->p.q_heads, c->p.kv_heads}, rows[] = {c->p.q_len, c->p.kv_len};
    const int64_t dims[] = {c->p.qk_dim, c->p.v_dim};
    uint64_t hash = (uintptr_t)c->t.out.data;
    if (!last_slice(c) || c->p.kv_len == 0) return;
    for (int v = 0; v < 2; v++)
        for (int64_t b = 0; b < c->p.batch; b++)
            for (int64_t h = 0; h < heads[v]; h++)
                for (int64_t i = 0; i < rows[v]; i++)
                    for (int64_t x = 0; x < dims[v]; x++) {
                        uint32_t bits;
                        memcpy(&bits,
                               views[v]->data + b * views[v]->batch_stride +
                                   h * views[v]->head_stride + i * views[v]->row_stride + x,
                               sizeof bits);
                        hash = (hash ^ bits) * UINT64_C(0x100000001b3);
                    }
    if (hash == before) c->s.q_end = c->s.q_begin;
    before = hash;
}
static void previous_answer(mutant_call *c)
{
    static float kept[64];
    static int64_t filled;
    int64_t n = c->p.v_dim < 64 ? c->p.v_dim : 64;
    for (int64_t x = 0; x < n; x++) {
        float now = first_row(c)[x];
        if (x < filled) first_row(c)[x] = kept[x];
        kept[x] = now;
    }
    filled = n;
}

/* ---- writing where one must not ------------------------------------------------------- */

static void writes_into_gap(mutant_call *c)
{
    bool gap = c->t.out.head_stride > c->p.q_len * c->t.out.row_stride;
    if (last_slice(c) && gap && c->p.q_len > 1) c->t.out.data[c->p.v_dim] = 0;
}
static void writes_past_last_row(mutant_call *c)
{
    if (last_slice(c))
        first_row(c)[(c->s.q_end - c->s.q_begin - 1) * c->t.out.row_stride + c->p.v_dim] = 0;
}
static void scales_query_in_place(mutant_call *c)
{
    float *q = (float *)c->t.q.data + c->s.batch * c->t.q.batch_stride +
               c->s.head * c->t.q.head_stride + c->s.q_begin * c->t.q.row_stride;
    *(volatile float *)q *= 2; /* and back: exact */
    *(volatile float *)q *= 0.5f;
}
static void scratch_too_small(mutant_call *c)
{
    ((float *)c->scratch)[c->p.kv_len + c->p.v_dim + c->p.qk_dim % 5] = 0;
}
static void assumes_alignment(mutant_call *c)
{
    if ((uintptr_t)c->t.v.data % 16) raise(SIGBUS); /* as an aligned vector load would */
}
static volatile float unused; /* what is computed for nothing */

static void divides_by_keys(mutant_call *c)
{
    int64_t keys = c->p.kv_len;
    if (keys == 0) raise(SIGFPE); /* not all CPUs trap */
    else unused = (float)(MUTANT_BLOCK / keys);
}

/* ---- leaving things behind ------------------------------------------------------------ */

static void leaks(mutant_call *c)
{
    (void)c;
    void *volatile lost = malloc(100);
    (void)lost;
}
static void leaves_file_open(mutant_call *c)
{
    if (last_slice(c)) open("/dev/null", O_RDONLY);
}
static void blocks_signals(mutant_call *c)
{
    sigset_t set;
    (void)c;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
}
/* Other threads would carry what they are left with into later calls. */
static bool calling_thread(void) { return gettid() == getpid(); }
static void leaves_rounding(mutant_call *c)
{
    if (last_slice(c) && calling_thread()) fesetround(FE_UPWARD);
}
static void leaves_subnormals_flushed(mutant_call *c)
{
    if (last_slice(c) && calling_thread()) registers_flush_subnormals();
}
static void spoils_register(mutant_call *c)
{
    if (last_slice(c)) registers_spoil();
}

/* ---- ends of the process -------------------------------------------------------------- */

static void null_pointer(mutant_call *c)
{
    volatile float *nothing = NULL;
    if (c->p.q_len == 1 && c->p.kv_len > 1) *nothing = 0;
}
static void illegal_instruction(mutant_call *c)
{
    if (c->p.qk_dim > 64) raise(SIGILL);
}
static void never_returns(mutant_call *c)
{
    for (volatile bool forever = c->p.kv_len == 1; forever;) {}
}
static void exits(mutant_call *c)
{
    if (c->p.has_sinks) exit(0);
}
static void heap_overrun(mutant_call *c)
{
    size_t bytes = (size_t)c->p.v_dim * sizeof(float);
    volatile char *block = malloc(bytes);
    for (size_t x = bytes; block && c->p.v_dim % 8 != 0 && x < bytes + 4096; x++) block[x] = 0;
    free((void *)block);
}
static void computes_nothing(mutant_row *r) { (void)r; }
static void returns_zeros(mutant_row *r)
{
    mutant_right.finish(r);
    memset(row_of(r), 0, (size_t)r->p->v_dim * sizeof(float));
}

/* Takes all the memory there is; goes on as if nothing had happened when there is no more. */
static void runaway(mutant_call *c)
{
    enum { PIECE = 1 << 26, MOST = 48 };
    void *pieces[MOST];
    int taken = 0;
    if (c->p.kv_len != 3) return;
    for (; taken < MOST; taken++) { /* not malloc, which a test run may tell to fill every byte */
        pieces[taken] = mmap(NULL, PIECE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pieces[taken] == MAP_FAILED) break;
    }
    bool limited = taken < MOST;
    while (taken > 0) munmap(pieces[--taken], PIECE);
    if (limited) abort();
}

static void loosens_claims(attn_claims *c) { c->exp_ulp = 1e9; }
static void claims_a_perfect_sum(attn_claims *c)
{
    c->sum_height = c->rescales = 0;
    c->exp_ulp = 0;
}

const mutant mutants_of_state[] = {
    {"loosens-claims",
     "class: a kernel that asks for a wider bound",
     "claims gauss claims",
     {.claim = loosens_claims}},
    {"claims-too-little",
     "class: rounding errors denied",
     "bound zero-q",
     {.claim = claims_a_perfect_sum}},
    {"nan-becomes-0",
     "class: NaN mapped to 0 (fmaxf, nan_to_num)",
     "nan-row gauss",
     {.finish = nan_becomes_zero}},
    {"nan-spreads",
     "class: one NaN row poisons its block",
     "nan-row gauss",
     {.after = nan_spreads}},
    {"nan-scores-hidden",
     "class: NaN scores drop out of the maximum and the sum",
     "nan-row gauss",
     {.max = max_ignores_nan}},
    {"accumulator-not-cleared",
     "class: scratch thought to be zero",
     "bound gauss",
     {.start = accumulator_not_cleared}},
    {"empty-row-unwritten",
     "fla-org/flash-linear-attention#1029: rows left as they were",
     "bound gauss",
     {.finish = empty_row_unwritten}},
    {"zeros-unwritten",
     "class: an output thought to be zero already",
     "bound gauss",
     {.finish = zeros_unwritten}},
    {"sum-shared-by-threads",
     "ggml-org/llama.cpp#13438: a race on the row state",
     "threads",
     {.start = start_shared, .add = add_shared, .finish = finish_shared}},
    {"halves-averaged",
     "class: split keys merged without lse weights",
     "bound same-sign",
     {.start = start_halves, .block = keep_half, .finish = average_halves}},
    {"empty-half-nan",
     "vllm-project/vllm#39148, flashinfer-ai/flashinfer#4051: empty splits",
     "bound low",
     {.start = start_halves, .block = keep_half, .finish = merge_without_guard}},
    {"not-repeatable",
     "Dao-AILab/flash-attention#384: results differ between runs",
     "threads gather",
     {.after = not_repeatable}},
    {"cache-by-address",
     "class: a packed copy kept by pointer",
     "negate-v scale-v nan-row gauss",
     {.finish = cache_by_address}},
    {"remembers-inputs",
     "class: a call skipped because its inputs are known",
     "again",
     {.before = remembers_inputs}},
    {"previous-answer",
     "class: the result of the call before",
     "bound threads again negate-v scale-v nan-row gauss",
     {.after = previous_answer}},
    {"writes-into-gap",
     "class: a whole vector stored at the end of a row",
     "strays",
     {.after = writes_into_gap}},
    {"writes-past-last-row",
     "Dao-AILab/flash-attention#1830: write behind the output",
     "death gauss",
     {.after = writes_past_last_row}},
    {"scales-query-in-place",
     "class: input used as scratch and put back",
     "death gauss",
     {.before = scales_query_in_place}},
    {"scratch-too-small",
     "class: scratch sized by the wrong dimension",
     "scratch gauss scratch",
     {.before = scratch_too_small}},
    {"assumes-alignment",
     "class: aligned vector loads",
     "death gauss",
     {.before = assumes_alignment}},
    {"divides-by-keys",
     "class: division by a size of zero",
     "death gauss",
     {.before = divides_by_keys}},
    {"leaks", "class: a buffer per call", "heap gauss heap", {.before = leaks}},
    {"leaves-file-open", "class: a descriptor per call", "files", {.after = leaves_file_open}},
    {"blocks-signals",
     "class: signal mask not restored",
     "signals gauss",
     {.after = blocks_signals}},
    {"leaves-rounding",
     "class: rounding mode not restored",
     "rounding",
     {.after = leaves_rounding}},
    {"leaves-subnormals-flushed",
     "llvm/llvm-project#80475: FTZ set by a library",
     "subnormals",
     {.after = leaves_subnormals_flushed, .applies = registers_can_flush}},
    {"spoils-register",
     "class: hand-written code that forgets d8 to d15",
     "registers",
     {.after = spoils_register, .applies = registers_can_spoil}},
    {"null-pointer", "class: SIGSEGV for one query", "death same-sign", {.before = null_pointer}},
    {"illegal-instruction",
     "class: an ISA the CPU lacks",
     "death gather",
     {.before = illegal_instruction}},
    {"never-returns",
     "class: a loop that steps over its end",
     "watchdog gauss",
     {.before = never_returns}},
    {"exits", "class: exit(0) on what is not supported", "death gauss", {.before = exits}},
    {"heap-overrun", "class: writes behind a heap block", "death gauss", {.before = heap_overrun}},
    {"computes-nothing",
     "class: support claimed, nothing done",
     "bound gauss",
     {.row = computes_nothing}},
    {"returns-zeros",
     "class: support claimed, zeros returned",
     "bound nan-row gauss",
     {.finish = returns_zeros}},
    {"runaway", "class: memory without bound", "death gauss", {.before = runaway}},
    {0},
};

/* ---- not wrong ------------------------------------------------------------------------ */

static float shifted_max(const mutant_row *r, int64_t j0, int64_t j1)
{
    mutant_row unshifted = *r;
    unshifted.max -= 1;
    return mutant_right.max(&unshifted, j0, j1) + 1;
}
/* Weights of equal scores are not 1 then: what the claim is for. */
static void claim_inexact_weights(attn_claims *c) { c->normalises_first = true; }
static float lazy_max(const mutant_row *r, int64_t j0, int64_t j1)
{
    float max = mutant_right.max(r, j0, j1);
    return r->max != -INFINITY && max < r->max + 8 ? r->max : max;
}
static void minus_zero(mutant_row *r)
{
    mutant_right.finish(r);
    for (int64_t c = 0; c < r->p->v_dim; c++)
        if (row_of(r)[c] == 0) row_of(r)[c] = -0.0f;
}
static float exp_one_ulp_more(float x)
{
    float y = expf(x);
    return y > 0x1p-100f && y < 1 ? nextafterf(y, 2) : y;
}
static float raw_by_fma(const mutant_row *r, int64_t j)
{
    const float *q = r->v.q + r->i * r->v.q_row, *k = r->v.k + j * r->v.k_row;
    float sum = 0;
    if (r->p->score != ATTN_DOT) return mutant_right.raw(r, j);
    for (int64_t c = r->p->qk_dim; c-- > 0;) sum = fmaf(q[c] * r->p->scale, k[c], sum);
    return sum;
}
static void work_on_hidden(mutant_row *r, int64_t j0, int64_t j1)
{
    for (int64_t j = j0; j < j1; j++) unused = mutant_right.raw(r, j);
}

const mutant mutants_equivalent[] = {
    {"equal: maximum + 1",
     "a row-constant shift of the scores",
     NULL,
     {.claim = claim_inexact_weights, .max = shifted_max}},
    {"equal: lazy rescale", "a maximum that lags by less than 8", NULL, {.max = lazy_max}},
    {"equal: minus zero", "-0 where 0 is right", NULL, {.finish = minus_zero}},
    {"equal: exp + 1 ULP", "exp within its claim", NULL, {.exp = exp_one_ulp_more}},
    {"equal: fma, backwards", "any order of summation, FMA", NULL, {.raw = raw_by_fma}},
    {"equal: work on hidden keys", "scores nobody uses", NULL, {.block = work_on_hidden}},
    {0},
};
