/* check.c: one kernel, one case, one verdict.
 *
 * The inputs are made in a cage, the kernel runs once, and its outputs are judged (judge.c). Then
 * it runs again: in ways that must give the same bits (relations.c), with its keys in another
 * order, doubled, shifted or split (keys.c), and with other values in the same memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/environment.h"
#include "verify/registers.h"
#include "verify/run.h"
#include "verify/stage.h"

enum { SCRATCH_ALIGN = 64 }; /* attention.h */

const char *const verify_part_names[VERIFY_PARTS] = {
    "bound",      "exact",          "claims",      "strays",        "scratch",        "guards",
    "read-only",  "poison-outputs", "poison-gaps", "poison-unseen", "poison-scratch", "death",
    "watchdog",   "memory",         "rounding",    "subnormals",    "signals",        "files",
    "heap",       "registers",      "threads",     "again",         "negate-v",       "scale-v",
    "nan-row",    "nan-key",        "permute",     "permute-keys",  "double-keys",    "shift-mask",
    "split-keys", "rewrite",        "hull",        "slices",        "edit",
};
const char *const verify_place_names[VERIFY_PLACES] = {"right", "left", "odd", "heap"};

static bool has(const check *c, verify_part part) { return !(c->without >> part & 1); }

const char *const run_output_names[3] = {"out", "lse", "weights"};

const ref_buffer *run_buffer(const run *r, int o)
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
    if (r->scratch && !r->keeps_scratch) poison_scratch(r);
    if (has(&r->c, VERIFY_POISON_OUTPUTS)) return;
    clear_output(&t->out, r->c.p, r->c.p->v_dim);
    if (r->c.p->wants_lse) clear_output(&t->lse, r->c.p, 1);
    if (r->c.p->weights) clear_output(&t->weights, r->c.p, r->c.p->kv_len);
}

typedef struct call {
    const attn_kernel *kernel;
    const attn_problem *p;
    const attn_tensors *t;
    attn_exec exec;
    attn_error error;
    attn_status status;
} call;

static void make_call(void *context)
{
    call *x = context;
    x->status = attn_run(x->kernel, x->p, x->t, &x->exec, &x->error);
}

static bool no_stage(verify_report *report)
{
    report->status = VERIFY_SKIP;
    snprintf(report->reason, sizeof report->reason, "no addresses here for rows so far apart");
    return false;
}

/* On a stage, the kernel sees the rows there; the checks see what comes back. */
static bool watch_call(run *r, call x, verify_report *report)
{
    attn_tensors apart;
    stage *s = NULL;
    prepare_outputs(r);
    if (stage_of(r->c.which->layout)) {
        s = stage_new(r->c.which, r->c.without, x.t, &apart), x.t = &apart;
        if (!s) return no_stage(report);
    }
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
    if (s && !stray) stray = stage_stray(s);
    if (stray) check_fail(&r->c, report, VERIFY_STRAYS, "wrote %s", stray);
    if (s) stage_return(s);
    stage_free(s);
    return x.status == ATTN_OK;
}

bool run_call(run *r, int threads, verify_report *report)
{
    call x = {.kernel = r->c.kernel, .p = r->c.p, .t = &r->in->tensors};
    x.exec = (attn_exec){.threads = threads, .scratch = r->scratch};
    return watch_call(r, x, report);
}

bool run_call_by(run *r, const attn_kernel *kernel, verify_report *report)
{
    call x = {.kernel = kernel, .p = r->c.p, .t = &r->in->tensors};
    x.exec = (attn_exec){.threads = 1, .scratch = r->scratch};
    return watch_call(r, x, report);
}

bool run_call_on(run *r, const attn_problem *p, const attn_tensors *t, verify_report *report)
{
    call x = {.kernel = r->c.kernel, .p = p, .t = t, .exec = {.threads = r->threads}};
    return watch_call(r, x, report);
}

/* ---- the verdict ---------------------------------------------------------------------- */

/* The inputs must be as they were: read-only pages see to it, but there are none on the heap. */
static bool first_call(run *r, verify_report *report)
{
    uint64_t before = r->cage ? 0 : ref_inputs_hash(r->in);
    if (!run_call(r, r->threads, report)) return false;
    if (!r->cage && ref_inputs_hash(r->in) != before)
        check_fail(&r->c, report, VERIFY_READ_ONLY, "the kernel wrote to its inputs");
    return true;
}

/* Hands out the blocks of older inputs again, in the same order. */
typedef struct old_blocks {
    const ref_inputs *in;
    int next;
} old_blocks;

static void *take_again(void *owner, const char *name, size_t bytes, size_t element, bool output)
{
    old_blocks *x = owner;
    (void)name, (void)element, (void)output;
    if (x->next == x->in->block_count || x->in->blocks[x->next].bytes != bytes) return NULL;
    return x->in->blocks[x->next++].data;
}

/* The same problem with another seed, in the same memory: every value, mask and length is another,
 * and every address is the same. A sample of rows is judged. One case in four is asked: new values
 * cost as much as a call, and a kernel that remembers does so everywhere. (On the heap tensors have
 * margins, so there is no second use of their memory.) */
void check_rewritten(run *r, verify_report *report)
{
    enum { SAMPLE = 8 };
    old_blocks blocks = {.in = r->in};
    verify_case which = *r->c.which;
    uint64_t without = r->c.without;
    ref_memory memory = {.take = take_again,
                         .owner = &blocks,
                         .clean_gaps = without >> VERIFY_POISON_GAPS & 1,
                         .clean_unseen = without >> VERIFY_POISON_UNSEEN & 1};
    bool turn = ref_random(which.seed, 400 + (uint64_t)r->c.p->kv_len) % 4 == 0;
    if (!r->cage || !turn || !has(&r->c, VERIFY_REWRITE)) return;
    which.seed = ref_random(which.seed, 98);
    ref_inputs *in = ref_inputs_in(memory, r->c.p, which.inputs, which.layout, which.seed);
    if (in && run_call(r, r->threads, report)) {
        check again = r->c;
        verify_report second = {0};
        again.which = &which, again.in = in;
        check_outputs(&again, SAMPLE, &second);
        if (second.failed & ~report->failed) /* what failed before is no matter of old values */
            check_fail(&r->c, report, VERIFY_REWRITE, "other values in the same memory: %s",
                       second.reason);
    }
    ref_inputs_free(in);
}

/* Everything that needs a second call. The outputs of the first are kept for it. */
static void ask_again(run *r, verify_report *report)
{
    bool copied = true;
    for (int o = 0; o < 3; o++) {
        size_t bytes = (size_t)run_buffer(r, o)->floats * sizeof(float);
        r->first[o] = malloc(bytes + 1);
        if (!r->first[o]) copied = false;
        else if (bytes) memcpy(r->first[o], run_buffer(r, o)->memory, bytes);
    }
    check_edited(r, report);
    bool same_bits = copied && r->c.claims.deterministic;
    if (same_bits) check_repeated(r, report);
    if (copied) check_nan(r, report);
    if (same_bits) check_rearranged(r, report);
    if (copied) check_slices(r, report);
    if (copied) check_keys(r, report);
    check_rewritten(r, report);
    for (int o = 0; o < 3; o++) free(r->first[o]);
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
        r->scratch = cage_take(r->cage, "scratch", (size_t)r->scratch_bytes, SCRATCH_ALIGN, true);
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
    reason = verify_layout_refuses(p, which->layout);
    if (reason) return refuse(VERIFY_SKIP, "layout: %s", reason);
    if (stage_of(which->layout) && which->place == VERIFY_HEAP_PLACE)
        return refuse(VERIFY_SKIP, "%s", "rows on pages of their own are no place on the heap");
    /* they ask nothing about addresses, and change values that have one owner */
    if (stage_of(which->layout) || which->layout == REF_SHARED) options.relations = false;
    if (verify_case_features(which) & options.without)
        return refuse(VERIFY_SKIP, "%s", "inputs, layout or place are left out");
    run r = {
        .c = {kernel, which, p, NULL, ref_needed_claims(p, kernel->claims(p)), options.without},
        .threads = options.threads,
        .most_threads = options.threads + (options.relations ? 2 : 0)};
    verify_report report = {0};
    if (!make_inputs(&r, which)) {
        report = refuse(VERIFY_FAIL, "%s", "no memory for the inputs");
    } else if (first_call(&r, &report)) {
        check_outputs(&r.c, options.rows, &report);
        if (options.relations) ask_again(&r, &report);
    }
    ref_inputs_free(r.in);
    cage_free(r.cage);
    return report;
}
