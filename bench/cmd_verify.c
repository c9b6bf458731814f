/* cmd_verify.c: `attest verify`: kernels x cases -> verdicts, as lines, TAP or JSON. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/command.h"
#include "bench/machine.h"
#include "bench/mutants.h"
#include "bench/verify_run.h"
#include "verify/plugin.h"

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
static int filter_cases(verify_run *s, const char *inputs, const char *layout, const char *place)
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
static int64_t bytes_needed(const verify_run *s, const attn_problem *p)
{
    double bytes = 2.0 * (double)ref_inputs_bytes(p) +
                   96.0 * (double)(p->kv_len + p->v_dim) * (double)s->threads;
    for (int k = 0; k < s->subject_count; k++) {
        const attn_kernel *kernel = s->subjects[k].kernel;
        if (kernel && !attn_supports(kernel, p))
            bytes = fmax(bytes, 2.0 * (double)ref_inputs_bytes(p) +
                                    (double)attn_scratch_bytes(kernel, p, (int)s->threads + 2));
    }
    return bytes < 0x1p62 ? (int64_t)bytes : INT64_MAX;
}

static int add_problems(verify_run *s, const char *list)
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

/* Names of features with commas, as bits. */
static int choose_features(const char *list, uint64_t *bits)
{
    for (const char *at = list; at && *at;) {
        char name[32];
        size_t length = strcspn(at, ",");
        int f = 0;
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        while (f < VERIFY_FEATURES && strcmp(name, verify_feature_name(f)) != 0) f++;
        if (f == VERIFY_FEATURES)
            return command_error("--without: unknown \"%.30s\"; see the columns of --mutants",
                                 name);
        *bits |= UINT64_C(1) << f;
        at += length + (at[length] == ',');
    }
    return EXIT_RIGHT;
}

static int choose_cases(verify_run *s, const char *problems, const char *suite, const char *inputs,
                        const char *layout, const char *place)
{
    if (problems && add_problems(s, problems)) return EXIT_USAGE;
    if (!problems) s->cases = verify_suite(suite, (uint64_t)s->seed, &s->case_count);
    if (!s->cases) return command_error("--suite is \"%.40s\"; legal are quick, full", suite);
    return filter_cases(s, inputs, layout, place);
}

/* ---- running -------------------------------------------------------------------------- */

static const attn_kernel *open_kernel(const void *context, char *reason, size_t size)
{
    (void)reason, (void)size;
    return context;
}

static const attn_kernel *open_mutant(const void *context, char *reason, size_t size)
{
    (void)reason, (void)size;
    return mutant_kernel(context);
}

static void run_subject(verify_run *s, const subject *one, double *done, double total)
{
    const char *missing = one->kernel ? attn_isa_missing(one->kernel->isa) : NULL;
    worker *w = missing ? NULL : worker_new(one->open, one->context, WORKER_SECONDS);
    verify_run before = *s;
    s->worst = 0;
    s->shrunk = 0;
    for (int c = 0; c < s->case_count && !command_interrupted(); c++, ++*done) {
        verify_report r = {.status = VERIFY_SKIP};
        snprintf(r.reason, sizeof r.reason, "%s", missing ? missing : "no memory for a worker");
        if (w) r = run_check(s, w, &s->cases[c]);
        run_report(s, w, one, &s->cases[c], &r);
        command_progress(one->name, *done, total);
    }
    worker_free(w);
    command_progress_end();
    if (!s->tap && missing) printf("%-18s skipped: %s\n", one->name, missing);
    if (!s->tap && !missing)
        printf("%-18s %4d passed %3d failed %3d skipped  worst %.3f (%s)\n", one->name,
               s->passed - before.passed, s->failed - before.failed, s->skipped - before.skipped,
               s->worst, ref_term_names[s->worst_term]);
    if (s->worst < before.worst) s->worst = before.worst, s->worst_term = before.worst_term;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Other cases for the next pass: new random ones for a suite, new seeds for named problems. */
static void renew_cases(verify_run *s, uint64_t pass)
{
    for (int c = 0; c < s->case_count; c++) {
        if (s->suite) s->cases[c] = verify_random((uint64_t)s->seed + pass, (uint64_t)c);
        else s->cases[c].seed = (uint64_t)s->seed + pass;
    }
}

static void run_mutants(verify_run *s)
{
    if (s->tap || !s->suite || !s->all_kernels || command_interrupted()) return;
    s->mutants = mutants_run(s->cases, s->case_count, MUTANTS_BRIEF, s->without, NULL);
    if (json_array_size(json_object_get(s->mutants, "survived"))) s->failed++;
}

static void run_mutants_only(verify_run *s, mutants_mode mode, const char *name)
{
    s->mutants = mutants_run(s->cases, s->case_count, mode, s->without, name);
    s->failed = (int)json_array_size(json_object_get(s->mutants, "survived"));
    s->passed = (int)json_integer_value(json_object_get(s->mutants, "killed"));
    printf("%d passed, %d failed, %d skipped\n", s->passed, s->failed, s->skipped);
}

/* All kernels on all cases; with --time again and again until the time is up. */
static void run_all(verify_run *s)
{
    double start = now();
    int count = s->case_count, kernels = s->subject_count;
    if (s->tap) puts("TAP version 13");
    command_print_unbuilt("# ");
    for (uint64_t pass = 0;; pass++) {
        double done = 0;
        if (pass > 0) renew_cases(s, pass);
        for (int k = 0; k < kernels && !command_interrupted(); k++)
            run_subject(s, &s->subjects[k], &done, (double)kernels * count);
        if (pass == 0) run_mutants(s);
        if (command_interrupted() || now() - start >= (double)s->seconds) break;
    }
    double seconds = now() - start;
    if (s->tap) printf("1..%d\n", s->printed);
    run_print_skips(s);
    printf("# worst share of bound %.3f (mostly %s), %d warned\n", s->worst,
           ref_term_names[s->worst_term], s->warned);
    printf("# seed %lld, %d kernels x %d cases, %.1f s, %.0f cases/s\n", (long long)s->seed,
           kernels, count, seconds, (s->passed + s->failed) / (seconds > 0 ? seconds : 1));
    printf("%s%d passed, %d failed, %d skipped\n", s->tap ? "# " : "", s->passed, s->failed,
           s->skipped);
}

/* Can the plug-in be used at all? It is loaded once, in a process of its own, and forgotten. */
static void try_plugin(void *path, void *reason)
{
    plugin_open(path, reason, sizeof(((verify_report *)0)->reason));
}

static int check_plugin(const char *path)
{
    char file[512], reason[sizeof(((verify_report *)0)->reason)] = "";
    verify_report how;
    snprintf(file, sizeof file, "%s", path);
    if (!strchr(path, '/'))
        return command_error("--plugin is \"%.200s\"; a path has a slash, as ./%.200s", path, path);
    if (!worker_call(try_plugin, file, reason, sizeof reason, WORKER_SECONDS, &how))
        return command_error("--plugin %.200s: on loading %.200s", path, how.reason);
    return reason[0] ? command_error("--plugin %.200s: %s", path, reason) : EXIT_RIGHT;
}

/* The one subject of --plugin or --mutant, or the kernels of the list. */
static int choose_subjects(verify_run *s, const char *kernels, const char *plugin, const char *name)
{
    const attn_kernel *table[256];
    const mutant *wrong = name ? mutant_find(name) : NULL;
    if ((kernels != NULL) + (plugin != NULL) + (name != NULL) > 1)
        return command_error("verify: one of --kernels, --plugin and --mutant");
    if (name && !wrong)
        return command_error("--mutant is \"%.40s\"; --mutants prints the legal names", name);
    s->subject_count = 1;
    if (plugin && check_plugin(plugin)) return EXIT_USAGE;
    if (plugin) s->subjects[0] = (subject){plugin_open, plugin, NULL, "plugin", plugin};
    if (name) s->subjects[0] = (subject){open_mutant, wrong, NULL, "mutant", name};
    s->all_kernels = !kernels && !plugin && !name;
    if (plugin || name) return EXIT_RIGHT;
    if (command_kernels(kernels ? kernels : "all", table, &s->subject_count)) return EXIT_USAGE;
    for (int k = 0; k < s->subject_count; k++)
        s->subjects[k] = (subject){open_kernel, table[k], table[k], "kernels", table[k]->name};
    return EXIT_RIGHT;
}

/* An ISA that is known and cannot run here is a wrong machine, not a wrong command. */
static int require_isa(const char *isa)
{
    int count;
    const attn_isa *isas = attn_isas(&count);
    const char *missing = isa ? attn_isa_missing(isa) : NULL;
    if (!missing) return EXIT_RIGHT;
    command_error("--require %.40s: %s", isa, missing);
    for (int i = 0; i < count; i++)
        if (strcmp(isas[i].name, isa) == 0) return EXIT_WRONG;
    return EXIT_USAGE;
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

static int outcome(verify_run *s, const char *json)
{
    int status = s->failed ? EXIT_WRONG : s->passed ? EXIT_RIGHT : EXIT_SKIPPED;
    if (json) {
        json_t *all = json_pack("{s:i, s:i, s:i, s:i, s:I, s:b, s:O*, s:O}", "passed", s->passed,
                                "failed", s->failed, "skipped", s->skipped, "warned", s->warned,
                                "seed", (json_int_t)s->seed, "interrupted", command_interrupted(),
                                "mutants", s->mutants, "results", s->results);
        if (command_write_json(json, all)) return EXIT_USAGE;
    }
    if (!command_interrupted()) return status;
    command_error("interrupted; the counts are of what was checked until then");
    return EXIT_INTERRUPTED;
}

int cmd_verify(int argc, char **argv)
{
    const char *kernels = NULL, *plugin = NULL, *wrong = NULL, *problems = NULL, *suite = "quick",
               *seed = NULL, *seconds = NULL;
    const char *require = NULL, *json = NULL, *inputs = NULL, *layout = NULL, *place = NULL;
    const char *threads = NULL, *without = NULL;
    bool mutants = false, ablation = false, brief = false;
    verify_run s = {.seed = 1, .threads = 1};
    const command_option options[] = {
        {"kernels", &kernels, NULL, "LIST  all (default), best, or names with commas"},
        {"plugin", &plugin, NULL, "FILE  a kernel in a shared library (verify/README.md)"},
        {"mutant", &wrong, NULL, "NAME  a wrong kernel, to see what a failure looks like"},
        {"problems", &problems, NULL, "LIST  problem keys with spaces, instead of a suite"},
        {"suite", &suite, NULL, "NAME  quick (default) or full"},
        {"without", &without, NULL, "LIST  leave out parts, inputs, layouts or places"},
        {"mutants", NULL, &mutants, "print which check kills which wrong kernel"},
        {"brief", NULL, &brief, "with --mutants: each only to its first failure"},
        {"ablation", NULL, &ablation, "print what lives when one check is left out"},
        {"inputs", &inputs, NULL, "NAME  only this distribution, e.g. gather"},
        {"layout", &layout, NULL, "NAME  only this memory layout, e.g. gaps"},
        {"place", &place, NULL, "NAME  only right or left of a guard page, or heap"},
        {"seed", &seed, NULL, "N  seed of the inputs (1)"},
        {"threads", &threads, NULL, "N  threads of the first run (1)"},
        {"time", &seconds, NULL, "S  go on with new random cases for S seconds"},
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
    int required = require_isa(require);
    if (required) return required;
    if (s.tap && kernels && skip_in_tap(kernels)) return EXIT_RIGHT;
    if (choose_subjects(&s, kernels, plugin, wrong) ||
        command_int("seed", seed, 0, INT64_MAX / 2, &s.seed) ||
        command_int("time", seconds, 0, 86400, &s.seconds) ||
        choose_features(without, &s.without) ||
        command_int("threads", threads, 1, ATTN_MAX_THREADS - 2, &s.threads) ||
        command_can_start(s.threads + 2) || /* every case runs again with two more */
        (json && command_can_write(json)))
        return EXIT_USAGE;
    int status = choose_cases(&s, problems, suite, inputs, layout, place);
    if (status == EXIT_RIGHT) {
        command_reserve_stdout(json);
        if (json) s.results = json_array();
        command_catch_interrupt();
        s.skips = json_object();
        s.suite = !problems;
        if (mutants || ablation)
            run_mutants_only(&s,
                             ablation ? MUTANTS_ABLATION
                             : brief  ? MUTANTS_BRIEF
                                      : MUTANTS_MATRIX,
                             wrong);
        else run_all(&s);
        status = outcome(&s, json);
        json_decref(s.skips);
        json_decref(s.results);
        json_decref(s.mutants);
    }
    free(s.cases);
    return status;
}
