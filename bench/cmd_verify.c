/* cmd_verify.c: `attest verify`: kernels x cases -> verdicts, as lines, TAP or JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/command.h"
#include "bench/machine.h"
#include "verify/worker.h"

typedef struct session {
    const attn_kernel *kernels[256];
    int kernel_count;
    verify_case *cases;
    int case_count;
    int64_t seed, threads, seconds;
    bool tap;
    int passed, failed, skipped, printed;
    json_t *results; /* NULL if not wanted */
    double worst;
} session;

/* ---- what to run ---------------------------------------------------------------------- */

/* The index of `name` (NULL = any, -1) among the legal ones, or an error. */
static int choose(const char *option, const char *name, const char *const *names, int count,
                  int *index)
{
    char legal[256] = "";
    *index = -1;
    if (!name) return EXIT_RIGHT;
    for (int i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0) return *index = i, EXIT_RIGHT;
        size_t used = strlen(legal);
        snprintf(legal + used, sizeof legal - used, "%s%s", i ? ", " : "", names[i]);
    }
    return command_error("--%s is \"%.40s\"; legal are %s", option, name, legal);
}

/* Keeps the cases whose inputs and layout were asked for (NULL = all), and puts all in `place`. */
static int filter_cases(session *s, const char *inputs, const char *layout, const char *place)
{
    int kind, order, side, kept = 0;
    if (choose("inputs", inputs, ref_distribution_names, REF_DISTRIBUTIONS, &kind) ||
        choose("layout", layout, ref_layout_names, REF_LAYOUTS, &order) ||
        choose("place", place, verify_place_names, VERIFY_PLACES, &side))
        return EXIT_USAGE;
    for (int c = 0; c < s->case_count; c++) {
        verify_case one = s->cases[c];
        if (side >= 0) one.place = (verify_place)side;
        if ((kind < 0 || (int)one.inputs == kind) && (order < 0 || (int)one.layout == order))
            s->cases[kept++] = one;
    }
    s->case_count = kept;
    return kept ? EXIT_RIGHT
                : command_error("no case is left; \"%s\" does not suit these problems", inputs);
}

/* Inputs, a copy of the outputs for the second run, the reference's rows and the largest
 * scratch. */
static int64_t bytes_needed(const session *s, const attn_problem *p)
{
    double bytes = 2.0 * (double)ref_inputs_bytes(p) +
                   96.0 * (double)(p->kv_len + p->v_dim) * (double)s->threads;
    for (int k = 0; k < s->kernel_count; k++)
        if (!attn_supports(s->kernels[k], p))
            bytes =
                fmax(bytes, 2.0 * (double)ref_inputs_bytes(p) +
                                (double)attn_scratch_bytes(s->kernels[k], p, (int)s->threads + 2));
    return bytes < 0x1p62 ? (int64_t)bytes : INT64_MAX;
}

static int add_problems(session *s, const char *list)
{
    char key[256];
    for (const char *at = list; *at;) {
        size_t length = strcspn(at, " ");
        attn_problem p;
        attn_error error;
        snprintf(key, sizeof key, "%.*s", (int)length, at);
        at += length + strspn(at + length, " ");
        if (!key[0]) continue;
        if (length >= sizeof key) return command_error("the problem \"%.60s...\" is too long", key);
        if (attn_problem_parse(key, &p, &error)) return command_error("%s", error.text);
        int64_t needs = bytes_needed(s, &p), there = machine_memory_available();
        if (needs > there)
            return command_error("problem %s needs %lld bytes, and %lld are available", key,
                                 (long long)needs, (long long)there);
        verify_add_problem(&p, (uint64_t)s->seed, &s->cases, &s->case_count);
    }
    return s->case_count ? EXIT_RIGHT
                         : command_error("--problems is empty; an example is \"h8q64d32c q5d3\"");
}

static int choose_cases(session *s, const char *problems, const char *suite, const char *inputs,
                        const char *layout, const char *place)
{
    if (problems && add_problems(s, problems)) return EXIT_USAGE;
    if (!problems) s->cases = verify_suite(suite, (uint64_t)s->seed, &s->case_count);
    if (!s->cases) return command_error("--suite is \"%.40s\"; legal is quick", suite);
    return filter_cases(s, inputs, layout, place);
}

/* ---- reporting ------------------------------------------------------------------------ */

static const char *const status_names[] = {"pass", "fail", "skip"};

static void report_json(session *s, const attn_kernel *kernel, const verify_case *c,
                        const verify_report *r)
{
    char key[192], replay[384], command[512];
    attn_problem_print(&c->problem, key, sizeof key);
    verify_replay(c, replay, sizeof replay);
    snprintf(command, sizeof command, "attest verify --kernels %s %s", kernel->name, replay);
    json_t *entry = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "kernel", kernel->name, "case",
                              key, "inputs", ref_distribution_names[c->inputs], "layout",
                              ref_layout_names[c->layout], "status", status_names[r->status],
                              "reason", r->reason, "replay", command);
    json_object_set_new(entry, "bound_share",
                        isfinite(r->share) ? json_real(r->share) : json_null());
    json_array_append_new(s->results, entry);
}

static void report(session *s, const attn_kernel *kernel, const verify_case *c,
                   const verify_report *r)
{
    char replay[384];
    int *const counters[] = {&s->passed, &s->failed, &s->skipped};
    ++*counters[r->status];
    bool bounded =
        r->status == VERIFY_PASS && c->inputs < REF_GATHER; /* probes have no bound to use up */
    if (bounded && r->share > s->worst) s->worst = r->share;
    if (s->results) report_json(s, kernel, c, r);
    verify_replay(c, replay, sizeof replay);
    if (s->tap) {
        printf("%sok %d - %s %s%s%s\n", r->status == VERIFY_FAIL ? "not " : "", ++s->printed,
               kernel->name, replay, r->status == VERIFY_SKIP ? " # SKIP " : "",
               r->status == VERIFY_SKIP ? r->reason : "");
        if (r->status == VERIFY_FAIL) printf("# %s\n", r->reason);
    } else if (r->status == VERIFY_FAIL) {
        command_progress_end();
        printf("FAIL %s %s\n  %s\n  replay: attest verify --kernels %s %s\n", kernel->name,
               ref_distribution_names[c->inputs], r->reason, kernel->name, replay);
    }
}

/* ---- running -------------------------------------------------------------------------- */

static const attn_kernel *open_kernel(const void *context, char *reason, size_t size)
{
    (void)reason, (void)size;
    return context;
}

static void run_kernel(session *s, int k, double *done, double total)
{
    const attn_kernel *kernel = s->kernels[k];
    const char *missing = attn_isa_missing(kernel->isa);
    worker *w = worker_new(open_kernel, kernel, WORKER_SECONDS);
    int before[] = {s->passed, s->failed, s->skipped};
    double worst = s->worst;
    s->worst = 0;
    for (int c = 0; c < s->case_count && !command_interrupted(); c++, ++*done) {
        verify_report r = {.status = VERIFY_SKIP};
        snprintf(r.reason, sizeof r.reason, "%s", missing ? missing : "");
        if (!missing && w)
            r = worker_check(w, &s->cases[c],
                             (verify_options){.threads = (int)s->threads, .relations = true});
        report(s, kernel, &s->cases[c], &r);
        command_progress(kernel->name, *done, total);
    }
    worker_free(w);
    command_progress_end();
    if (!s->tap && missing) printf("%-16s skipped: %s\n", kernel->name, missing);
    if (!s->tap && !missing)
        printf("%-16s %4d passed %3d failed %3d skipped   worst share of bound %.3f\n",
               kernel->name, s->passed - before[0], s->failed - before[1], s->skipped - before[2],
               s->worst);
    s->worst = fmax(worst, s->worst);
}

static void note_missing_isas(void)
{
    int count;
    const attn_isa *isas = attn_isas(&count);
    for (int i = 0; i < count; i++)
        if (!isas[i].built)
            printf("# %s: not in this build, it needs the CPU family %s\n", isas[i].name,
                   isas[i].cpu_family);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* All kernels on all cases; with --time again and again under new seeds until the time is up. */
static void run_all(session *s)
{
    double start = now();
    if (s->tap) puts("TAP version 13");
    note_missing_isas();
    for (uint64_t pass = 0;; pass++) {
        double done = 0;
        for (int c = 0; c < s->case_count; c++) s->cases[c].seed = (uint64_t)s->seed + pass;
        for (int k = 0; k < s->kernel_count && !command_interrupted(); k++)
            run_kernel(s, k, &done, (double)s->kernel_count * s->case_count);
        if (command_interrupted() || now() - start >= (double)s->seconds) break;
    }
    double seconds = now() - start;
    if (s->tap) printf("1..%d\n", s->printed);
    printf("# seed %lld, %d kernels x %d cases, %.1f s, %.0f cases/s, worst share %.3f\n",
           (long long)s->seed, s->kernel_count, s->case_count, seconds,
           (s->passed + s->failed) / (seconds > 0 ? seconds : 1), s->worst);
    printf("%s%d passed, %d failed, %d skipped\n", s->tap ? "# " : "", s->passed, s->failed,
           s->skipped);
}

static int require_isa(const char *isa)
{
    const char *missing = isa ? attn_isa_missing(isa) : NULL;
    return missing ? command_error("--require %.40s: %s", isa, missing) : EXIT_RIGHT;
}

/* TAP has a word for a kernel that this CPU cannot run, so a test of it is skipped instead of an
 * error. */
static bool skip_in_tap(const char *name)
{
    const attn_kernel *kernel = attn_find(name);
    const char *missing = kernel ? attn_isa_missing(kernel->isa) : NULL;
    if (missing) printf("1..0 # SKIP %s: %s\n", name, missing);
    return missing;
}

static int outcome(session *s, const char *json)
{
    int status = s->failed ? EXIT_WRONG : s->passed ? EXIT_RIGHT : EXIT_SKIPPED;
    if (json) {
        json_t *all = json_pack("{s:i, s:i, s:i, s:I, s:b, s:O}", "passed", s->passed, "failed",
                                s->failed, "skipped", s->skipped, "seed", (json_int_t)s->seed,
                                "interrupted", command_interrupted(), "results", s->results);
        if (command_write_json(json, all)) return EXIT_USAGE;
    }
    if (!command_interrupted()) return status;
    command_error("interrupted; the counts are of what was checked until then");
    return EXIT_INTERRUPTED;
}

int cmd_verify(int argc, char **argv)
{
    const char *kernels = "all", *problems = NULL, *suite = "quick", *seed = NULL, *seconds = NULL;
    const char *require = NULL, *json = NULL, *inputs = NULL, *layout = NULL, *place = NULL;
    const char *threads = NULL;
    session s = {.seed = 1, .threads = 1};
    const command_option options[] = {
        {"kernels", &kernels, NULL, "LIST  all (default), best, or names with commas"},
        {"problems", &problems, NULL, "LIST  problem keys with spaces, instead of a suite"},
        {"suite", &suite, NULL, "NAME  quick (default)"},
        {"inputs", &inputs, NULL, "NAME  only this distribution, e.g. gather"},
        {"layout", &layout, NULL, "NAME  only this memory layout, e.g. gaps"},
        {"place", &place, NULL, "NAME  only right or left of a guard page, or heap"},
        {"seed", &seed, NULL, "N  seed of the inputs (1)"},
        {"threads", &threads, NULL, "N  threads of the first run (1)"},
        {"time", &seconds, NULL, "S  repeat under new seeds for S seconds"},
        {"require", &require, NULL, "ISA  fail unless this ISA runs here"},
        {"json", &json, NULL, "FILE  write all verdicts as JSON"},
        {"tap", NULL, &s.tap, "print TAP 13"},
        {NULL, NULL, NULL, NULL},
    };
    int positional;
    bool done;
    if (command_parse(argc, argv, options, "verify [options]",
                      "verify --kernels blocked_auto --problems \"h8q197d64c\" --seed 7",
                      &positional, &done))
        return EXIT_USAGE;
    if (done) return EXIT_RIGHT;
    if (positional) return command_error("verify: unexpected argument \"%.60s\"", argv[1]);
    if (s.tap && skip_in_tap(kernels)) return EXIT_RIGHT;
    if (require_isa(require) || command_kernels(kernels, s.kernels, &s.kernel_count) ||
        command_int("seed", seed, 0, INT64_MAX / 2, &s.seed) ||
        command_int("time", seconds, 0, 86400, &s.seconds) ||
        command_int("threads", threads, 1, ATTN_MAX_THREADS - 2, &s.threads) ||
        (json && command_can_write(json)))
        return EXIT_USAGE;
    int status = choose_cases(&s, problems, suite, inputs, layout, place);
    if (status == EXIT_RIGHT) {
        command_reserve_stdout(json);
        if (json) s.results = json_array();
        command_catch_interrupt();
        run_all(&s);
        status = outcome(&s, json);
        json_decref(s.results);
    }
    free(s.cases);
    return status;
}
