/* check.c: one kernel, one case, one verdict.
 *
 * The inputs are made in a cage, the kernel runs once, its outputs are judged (judge.c), and then
 * it runs again in ways that need no reference: with -V, with V / 2^20, as before, with one query
 * row full of NaN, and with other threads. What follows from the bound anyway (permuted or doubled
 * keys, split and merged keys, shifted masks) is not asked of kernels but of the reference. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/cage.h"
#include "verify/environment.h"
#include "verify/judge.h"
#include "verify/registers.h"

const char *const verify_part_names[VERIFY_PARTS] = {
    "bound",          "exact",     "claims",         "strays",      "scratch",
    "guards",         "read-only", "poison-outputs", "poison-gaps", "poison-unseen",
    "poison-scratch", "death",     "watchdog",       "memory",      "rounding",
    "subnormals",     "signals",   "files",          "heap",        "registers",
    "threads",        "again",     "negate-v",       "scale-v",     "nan-row",
};
const char *const verify_place_names[VERIFY_PLACES] = {"right", "left", "heap"};

static bool has(const check *c, verify_part part) { return !(c->without >> part & 1); }

/* One run of the check: its cage, scratch, and the outputs of the first call. */
typedef struct run {
    check c;
    cage *cage; /* NULL on the heap */
    ref_inputs *in;
    char *scratch;
    int64_t scratch_bytes; /* of all threads */
    int threads, most_threads;
    void *first[3];
} run;

static const ref_buffer *buffer_of(const run *r, int o)
{
    const ref_buffer *const buffers[] = {&r->in->out, &r->in->lse, &r->in->weights};
    return buffers[o];
}

/* ---- scratch -------------------------------------------------------------------------- */

/* The scratch of one thread: `used` bytes that are the kernel's, then a page that is nobody's. */
typedef struct thread_scratch {
    int64_t first, stride, used;
} thread_scratch;

static thread_scratch scratch_of(const run *r)
{
    int64_t first = attn_partial_bytes(r->c.kernel, r->c.p);
    return (thread_scratch){.first = first,
                            .stride = attn_scratch_bytes(r->c.kernel, r->c.p, 1) - first,
                            .used = r->c.kernel->scratch_bytes(r->c.p)};
}

static void fill(char *memory, int64_t begin, int64_t end, int32_t value)
{
    for (int64_t x = begin; x + 4 <= end; x += 4) memcpy(memory + x, &value, 4);
}

static void poison_scratch(run *r)
{
    int32_t poison = has(&r->c, VERIFY_POISON_SCRATCH) ? REF_CANARY : 0;
    thread_scratch s = scratch_of(r);
    fill(r->scratch, 0, s.first, poison);
    for (int64_t at = s.first; at < r->scratch_bytes; at += s.stride) {
        int64_t theirs = (s.used + 3) / 4 * 4;
        fill(r->scratch, at, at + theirs, poison);
        fill(r->scratch, at + theirs, at + s.stride, REF_CANARY);
    }
}

/* The scratch that attn_run hands to a thread is followed by a page that is nobody's. */
static void check_scratch(const run *r, verify_report *report)
{
    thread_scratch s = scratch_of(r);
    for (int64_t at = s.first; at < r->scratch_bytes; at += s.stride)
        for (int64_t x = (s.used + 3) / 4 * 4; x + 4 <= s.stride; x += 4) {
            int32_t bits;
            memcpy(&bits, r->scratch + at + x, 4);
            if (bits == REF_CANARY) continue;
            check_fail(&r->c, report, VERIFY_SCRATCH, "wrote %lld bytes behind its %lld of scratch",
                       (long long)(x - s.used + 4), (long long)s.used);
            return;
        }
}

/* ---- calling -------------------------------------------------------------------------- */

/* Zeros inside the outputs, as a caller may well have them: what VERIFY_POISON_OUTPUTS is better
 * than. */
static void clear_output(const attn_output *view, const attn_problem *p, int64_t dim)
{
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t h = 0; h < p->q_heads; h++)
            for (int64_t i = 0; i < p->q_len; i++)
                memset(check_row(view, (ref_place){b, h, i}), 0, (size_t)dim * sizeof(float));
}

static void prepare_outputs(run *r)
{
    const attn_tensors *t = &r->in->tensors;
    ref_poison_outputs(r->in);
    if (r->scratch) poison_scratch(r);
    if (has(&r->c, VERIFY_POISON_OUTPUTS)) return;
    clear_output(&t->out, r->c.p, r->c.p->v_dim);
    if (r->c.p->wants_lse) clear_output(&t->lse, r->c.p, 1);
    if (r->c.p->weights) clear_output(&t->weights, r->c.p, r->c.p->kv_len);
}

typedef struct call {
    const run *r;
    attn_exec exec;
    attn_error error;
    attn_status status;
} call;

static void make_call(void *context)
{
    call *x = context;
    const check *c = &x->r->c;
    x->status = attn_run(c->kernel, c->p, &x->r->in->tensors, &x->exec, &x->error);
}

/* Poisons the outputs and runs the kernel; false, and a failure, if it did not run. */
static bool call_kernel(run *r, int threads, verify_report *report)
{
    call x = {.r = r, .exec = {.threads = threads, .scratch = r->scratch}};
    prepare_outputs(r);
    if (r->cage) cage_seal(r->cage);
    environment before = environment_now();
    const char *changed = registers_around(make_call, &x);
    if (r->cage) cage_open(r->cage);
    environment_compare(&r->c, &before, report);
    if (changed)
        check_fail(&r->c, report, VERIFY_REGISTERS, "it did not keep the register %s", changed);
    if (x.status)
        check_fail(&r->c, report, VERIFY_BOUND, "the kernel did not run: %.200s", x.error.text);
    if (r->scratch) check_scratch(r, report);
    const char *stray = r->cage ? cage_stray(r->cage) : NULL;
    if (stray) check_fail(&r->c, report, VERIFY_STRAYS, "wrote %s", stray);
    return x.status == ATTN_OK;
}

/* ---- relations ------------------------------------------------------------------------ */

typedef bool same_float(float first, float now);

static bool same_bits(float first, float now) { return memcmp(&first, &now, sizeof now) == 0; }
static bool same_negated(float first, float now)
{
    return isnan(first) ? isnan(now) : now == -first;
}
static bool same_scaled(float first, float now)
{
    return isnan(first) ? isnan(now) : now == first * 0x1p-20f;
}

/* The first element of an output that is not as `same` wants it, beside row `except` (-1 = none);
 * -1 if all are. */
static int64_t differs(const run *r, int o, same_float *same, const float *except, int64_t length)
{
    const ref_buffer *b = buffer_of(r, o);
    const float *first = r->first[o];
    for (int64_t x = 0; x < b->floats; x++) {
        int32_t bits;
        memcpy(&bits, &first[x], 4);
        if (except && b->memory + x >= except && b->memory + x < except + length) continue;
        if (!(bits == REF_CANARY ? same_bits : same)(first[x], b->memory[x])) return x;
    }
    return -1;
}

static void compare_outputs(const run *r, verify_report *report, verify_part part, same_float *same,
                            const char *what)
{
    static const char *const names[] = {"out", "lse", "weights"};
    for (int o = 0; o < 3; o++) {
        int64_t x = differs(r, o, o == 0 ? same : same_bits, NULL, 0);
        if (x < 0) continue;
        const float *first = r->first[o];
        check_fail(&r->c, report, part, "%s: float %lld of %s was %.9g and is %.9g", what,
                   (long long)x, names[o], first[x], buffer_of(r, o)->memory[x]);
        return;
    }
}

static void scale_values(run *r, float factor)
{
    const attn_problem *p = r->c.p;
    const attn_input *v = &r->in->tensors.v;
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t g = 0; g < p->kv_heads; g++)
            for (int64_t j = 0; j < p->kv_len; j++)
                for (int64_t c = 0; c < p->v_dim; c++)
                    ((float *)v->data)[b * v->batch_stride + g * v->head_stride +
                                       j * v->row_stride + c] *= factor;
}

/* Powers of two and signs pass through every rounding, unless something under- or overflows: only
 * for inputs that stay far from both. */
static void check_scaled_values(run *r, verify_report *report)
{
    if (r->c.which->inputs != REF_GAUSS) return;
    scale_values(r, -1);
    if (call_kernel(r, r->threads, report))
        compare_outputs(r, report, VERIFY_NEGATE_V, same_negated, "with -V in place of V");
    scale_values(r, -0x1p-20f);
    if (call_kernel(r, r->threads, report))
        compare_outputs(r, report, VERIFY_SCALE_V, same_scaled, "with V / 2^20 in place of V");
    scale_values(r, 0x1p20f);
}

/* A leak grows in every call; malloc's caches of freed chunks (7 of each size) are full after about
 * twenty calls of libgomp. */
static void check_again(run *r, verify_report *report)
{
    enum { CALLS = 40 };
    long long grown = 0;
    for (int again = 0; again < CALLS; again++) {
        size_t before = environment_heap();
        if (!call_kernel(r, r->threads, report)) return;
        if (again == 0)
            compare_outputs(r, report, VERIFY_AGAIN, same_bits, "the same after others");
        grown = (long long)environment_heap() - (long long)before;
        if (grown <= 0) return;
    }
    check_fail(&r->c, report, VERIFY_HEAP, "every call leaves %lld bytes on the heap", grown);
}

/* All of one query row is NaN: that row must be NaN if it sees a key, and no other row may
 * notice. */
static void check_nan_row(run *r, verify_report *report)
{
    const attn_problem *p = r->c.p;
    int64_t rows = p->batch * p->q_heads * p->q_len;
    if (rows == 0) return;
    int64_t row = (int64_t)(ref_random(r->c.which->seed, 99) % (uint64_t)rows);
    ref_place at = {row / (p->q_heads * p->q_len), row / p->q_len % p->q_heads, row % p->q_len};
    const attn_tensors *t = &r->in->tensors;
    float *q = (float *)t->q.data + at.b * t->q.batch_stride + at.h * t->q.head_stride +
               at.i * t->q.row_stride;
    size_t bytes = (size_t)p->qk_dim * sizeof *q;
    float *kept = malloc(bytes);
    if (!kept) abort();
    memcpy(kept, q, bytes);
    for (int64_t c = 0; c < p->qk_dim; c++) q[c] = NAN;
    if (call_kernel(r, r->threads, report)) {
        const attn_output *const views[] = {&t->out, &t->lse, &t->weights};
        const int64_t lengths[] = {p->v_dim, 1, p->kv_len};
        bool live = false;
        for (int64_t j = 0; j < p->kv_len && !live; j++) live = ref_visible(p, t, at, j);
        for (int o = 0; o < 3; o++)
            if (buffer_of(r, o)->floats &&
                differs(r, o, same_bits, check_row(views[o], at), lengths[o]) >= 0)
                check_fail(&r->c, report, VERIFY_NAN_ROW,
                           "NaN in q[%lld,%lld,%lld] changed another row", (long long)at.b,
                           (long long)at.h, (long long)at.i);
        if (live && !isnan(check_row(&t->out, at)[0]))
            check_fail(&r->c, report, VERIFY_NAN_ROW, "NaN in q[%lld,%lld,%lld] gives %.9g",
                       (long long)at.b, (long long)at.h, (long long)at.i,
                       check_row(&t->out, at)[0]);
    }
    memcpy(q, kept, bytes);
    free(kept);
}

static void check_threads(run *r, verify_report *report)
{
    if (call_kernel(r, r->most_threads, report))
        compare_outputs(r, report, VERIFY_THREADS, same_bits, "with more threads");
}

static void check_relations(run *r, verify_report *report)
{
    bool copied = true;
    for (int o = 0; o < 3; o++) {
        size_t bytes = (size_t)buffer_of(r, o)->floats * sizeof(float);
        r->first[o] = malloc(bytes + 1);
        if (!r->first[o]) copied = false;
        else if (bytes) memcpy(r->first[o], buffer_of(r, o)->memory, bytes);
    }
    if (copied && r->c.claims.deterministic) {
        check_scaled_values(r, report);
        check_again(r, report);
        check_nan_row(r, report);
        check_threads(r, report);
    }
    for (int o = 0; o < 3; o++) free(r->first[o]);
}

/* ---- the verdict ---------------------------------------------------------------------- */

/* The inputs must be as they were: read-only pages see to it, but there are none on the heap. */
static bool first_call(run *r, verify_report *report)
{
    uint64_t before = r->cage ? 0 : ref_inputs_hash(r->in);
    if (!call_kernel(r, r->threads, report)) return false;
    if (!r->cage && ref_inputs_hash(r->in) != before)
        check_fail(&r->c, report, VERIFY_READ_ONLY, "the kernel wrote to its inputs");
    return true;
}

static verify_report refuse(verify_status status, const char *format, const char *reason)
{
    verify_report r = {.status = status};
    if (status == VERIFY_FAIL) r.failed = UINT64_C(1) << VERIFY_BOUND;
    snprintf(r.reason, sizeof r.reason, format, reason);
    return r;
}

static bool make_inputs(run *r, const verify_case *which)
{
    uint64_t without = r->c.without;
    ref_memory memory = {.clean_gaps = without >> VERIFY_POISON_GAPS & 1,
                         .clean_unseen = without >> VERIFY_POISON_UNSEEN & 1};
    if (which->place != VERIFY_HEAP_PLACE) {
        r->cage = cage_new(which->place, without);
        if (!r->cage) return false;
        memory.take = cage_take, memory.owner = r->cage;
    }
    r->in = ref_inputs_in(memory, r->c.p, which->inputs, which->layout, which->seed);
    r->c.in = r->in;
    r->scratch_bytes = attn_scratch_bytes(r->c.kernel, r->c.p, r->most_threads);
    if (!r->in || r->scratch_bytes == INT64_MAX) return false;
    if (r->cage && r->scratch_bytes)
        r->scratch = cage_take(r->cage, "scratch", (size_t)r->scratch_bytes, true);
    return !r->cage || !r->scratch_bytes || r->scratch;
}

verify_report verify_check(const attn_kernel *kernel, const verify_case *which,
                           verify_options options)
{
    const attn_problem *p = &which->problem;
    const char *reason = attn_supports(kernel, p);
    if (reason) return refuse(VERIFY_SKIP, "%s", reason);
    reason = ref_probe_refuses(p, which->inputs);
    if (reason) return refuse(VERIFY_SKIP, "probe: %s", reason);
    if (verify_case_features(which) & options.without)
        return refuse(VERIFY_SKIP, "%s", "inputs, layout or place are left out");
    run r = {.c = {kernel, which, p, NULL, kernel->claims(p), options.without},
             .threads = options.threads,
             .most_threads = options.threads + (options.relations ? 2 : 0)};
    verify_report report = {0};
    if (!make_inputs(&r, which)) {
        report = refuse(VERIFY_FAIL, "%s", "no memory for the inputs");
    } else if (first_call(&r, &report)) {
        check_outputs(&r.c, options.rows, &report);
        if (options.relations) check_relations(&r, &report);
    }
    ref_inputs_free(r.in);
    cage_free(r.cage);
    return report;
}
