/* cmd_bench.c: `attest bench`: a grid of problems x threads, measured for the kernels asked for. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"
#include "bench/compare.h"
#include "bench/gbench_options.h"
#include "bench/journal.h"
#include "bench/machine.h"
#include "bench/presets.h"
#include "bench/result_alone.h"
#include "bench/roof.h"
#include "bench/session.h"

typedef struct bench_options {
    const char *kernels, *problems, *preset, *threads, *budget, *rounds, *width, *json, *seed,
        *baseline;
    json_t *base; /* what baseline holds */
    bool no_roofs, fresh_roofs, resume;
    int64_t fixed_rounds, first_seed;
    double budget_s, width_share;
    gbench_options gbench;
} bench_options;

/* ---- options -------------------------------------------------------------------------- */

/* The most threads that may be measured: a CPU for each, and no more than OMP_NUM_THREADS wants. */
static int most_threads(const char **why)
{
    int cpus = machine_cpus(), wanted = omp_get_max_threads();
    bool capped = getenv("OMP_NUM_THREADS") && wanted < cpus;
    *why = capped ? "what OMP_NUM_THREADS says" : "the CPUs that this process may use";
    return capped ? wanted : cpus;
}

/* "1,2" -> thread counts; without a list 1 and the most. */
static int read_threads(session *s, const char *list)
{
    const char *why;
    int most = most_threads(&why);
    if (!list) {
        s->threads[s->thread_counts++] = 1;
        if (most > 1) s->threads[s->thread_counts++] = most;
        return command_can_start(most);
    }
    for (const char *at = list;; at++) {
        char *end;
        long count = strtol(at, &end, 10);
        if (end == at || (*end && *end != ',') || count < 1 || count > most)
            return command_error(
                "--threads is \"%.40s\"; it must be counts from 1 to %d (%s), with commas", list,
                most, why);
        if (command_can_start(count)) return EXIT_USAGE;
        for (int t = 0; t < s->thread_counts; t++)
            if (s->threads[t] == count) return command_error("--threads names %ld twice", count);
        if (s->thread_counts == SESSION_THREAD_COUNTS)
            return command_error("--threads lists more than 16 counts");
        s->threads[s->thread_counts++] = (int)count;
        at = end;
        if (!*at) return EXIT_RIGHT;
    }
}

/* "1%" or "1" -> 0.01. */
static int read_width(bench_options *o)
{
    char *end;
    if (!o->width) return EXIT_RIGHT;
    o->width_share = strtod(o->width, &end) / 100;
    bool unit = strcmp(end, "") == 0 || strcmp(end, "%") == 0;
    if (end == o->width || !unit || !(o->width_share > 0) || !(o->width_share <= 1))
        return command_error("--width is \"%.40s\"; it must be a share like 1%%, up to 100%%",
                             o->width);
    if (o->fixed_rounds) return command_error("bench: give --width or --rounds, not both");
    return EXIT_RIGHT;
}

static int add_group(session *s, const bench_options *o, const attn_problem *p, int threads)
{
    if (s->group_count == SESSION_GROUPS)
        return command_error("more than %d problems x thread counts", SESSION_GROUPS);
    measure_group *g = &s->groups[s->group_count++];
    g->problem = *p, g->threads = threads, g->sham = -1;
    g->seed = (uint64_t)o->first_seed, g->width = o->width_share;
    for (int k = 0; k < s->kernel_count && k < MEASURE_ARMS; k++)
        if (gbench_wants(&o->gbench, s->kernels[k]->name, p, threads))
            g->arms[g->arm_count++].kernel = s->kernels[k];
    s->group_count -= g->arm_count == 0;
    return EXIT_RIGHT;
}

static int add_problems(session *s, const bench_options *o, const char *list)
{
    for (const char *at = list + strspn(list, " "); *at; at += strspn(at, " ")) {
        char key[256];
        size_t length = strcspn(at, " ");
        attn_problem p;
        attn_error error;
        if (length >= sizeof key) return command_error("the problem \"%.60s...\" is too long", at);
        memcpy(key, at, length), key[length] = '\0';
        at += length;
        if (attn_problem_parse(key, &p, &error)) return command_error("%s", error.text);
        if (attn_visible_pairs(&p) == 0)
            return command_error("problem %s has no visible pair to measure", key);
        for (int t = 0; t < s->thread_counts; t++)
            if (add_group(s, o, &p, s->threads[t])) return EXIT_USAGE;
    }
    if (s->group_count) return EXIT_RIGHT;
    if (o->gbench.filter)
        return command_error("no benchmark is called like --benchmark_filter=%.200s; "
                             "--benchmark_list_tests shows the names",
                             o->gbench.filter);
    return command_error("--problems is empty; an example is \"h8q512d64\"");
}

/* ---- the table ------------------------------------------------------------------------ */

static void print_arm(const result_run *run, const measure_group *g, const measure_arm *arm)
{
    const char *skipped = result_skipped(g, arm);
    if (skipped || result_is_void(arm)) {
        printf("%-18s %-20s %2d  %s: %s\n", arm->kernel->name, g->key, g->threads,
               skipped ? "skipped" : "void", skipped ? skipped : arm->verdict.reason);
        return;
    }
    result_line line = result_of(run, g, arm);
    char spread[16] = "-"; /* below 6 rounds there is no interval */
    if (line.bounded)
        snprintf(spread, sizeof spread, "%.1f%%",
                 50 * (line.high_ns - line.low_ns) / line.median_ns);
    char share[16] = "-"; /* without roofs */
    if (line.peak_gflops > 0) snprintf(share, sizeof share, "%.1f%%", 100 * line.peak_fraction);
    printf("%-18s %-20s %2d %10.3f %6s %8.1f %9s\n", arm->kernel->name, g->key, g->threads,
           line.median_ns * 1e-6, spread, line.gflops, share);
}

/* " (3 steal, 1 clock)" */
static void print_causes(const result_run *run)
{
    int counts[EVIDENCE_CAUSES] = {0};
    const char *separator = " (";
    for (int i = 0; i < run->group_count; i++)
        for (int r = 0; r < run->groups[i].tried; r++)
            if (run->groups[i].round[r].cause != EVIDENCE_CLEAN)
                counts[run->groups[i].round[r].cause]++;
    for (int c = 0; c < EVIDENCE_CAUSES; c++) {
        if (!counts[c]) continue;
        printf("%s%d %s", separator, counts[c], evidence_names[c]);
        separator = ", ";
    }
    if (separator[0] == ',') putchar(')');
}

static void print_results(const result_run *run)
{
    printf("%-18s %-20s %2s %10s %6s %8s %s\n", "kernel", "problem", "th", "median ms", "+-",
           "GFLOP/s", "best/peak");
    int skipped = 0, dirty, clean;
    for (int i = 0; i < run->group_count; i++) {
        const measure_group *g = &run->groups[i];
        for (int a = 0; a < g->arm_count; a++) {
            skipped += result_skipped(g, &g->arms[a]) != NULL;
            print_arm(run, g, &g->arms[a]);
        }
    }
    result_rounds(run, &clean, &dirty);
    printf("verdict %s; %d rounds, %d dropped as dirty", result_verdict(run), clean + dirty, dirty);
    print_causes(run);
    printf("; %d skipped\n", skipped);
    if (result_noise_floor(run) >= 0)
        printf("noise floor %.1f %%: no difference below %.1f %% between kernels is claimed\n",
               100 * result_noise_floor(run), 100 * result_smallest_effect(run));
    alone_fit fit = result_fit(run);
    double shared = 100 * result_shared(run, &fit);
    if (shared >= 1)
        printf("neighbours shared our cores in %.0f %% of the samples; attest compare allows for "
               "it\n",
               shared);
}

/* ---- the run -------------------------------------------------------------------------- */

static result_run run_of(const session *s, const bench_options *o, int argc, char **argv)
{
    return (result_run){.machine = s->machine,
                        .roofs = s->roofs,
                        .groups = s->groups,
                        .group_count = s->group_count,
                        .peaks = s->peaks,
                        .peak_count = s->peak_count,
                        .reads = s->reads,
                        .read_count = s->no_roofs ? 0 : s->thread_counts,
                        .preset = o->preset,
                        .argv = argv,
                        .argc = argc,
                        .seed = (uint64_t)o->first_seed,
                        .seconds = roof_now() - s->began,
                        .check_seconds = s->check_seconds,
                        .interrupted = command_interrupted()};
}

/* The files that were asked for, and the comparison with the baseline. */
static int write_run(const result_run *run, const bench_options *o)
{
    json_t *all = result_json(run);
    const json_t *const base[1] = {o->base}, *const fresh[1] = {all};
    const compare_options against = {.names = {o->baseline, "this run"}, .gate = -1};
    int status = gbench_wants_json(&o->gbench) ? gbench_write(&o->gbench, all) : EXIT_RIGHT;
    if (o->json && status == EXIT_RIGHT) status = command_write_json(o->json, json_incref(all));
    if (o->base && status == EXIT_RIGHT) {
        printf("\nagainst %.60s:\n", o->baseline);
        compare_runs(base, 1, fresh, 1, &against);
    }
    json_decref(all);
    return status;
}

/* Table and result file. The journal stays until the file is written. */
static int finish(const result_run *run, const bench_options *o)
{
    int voids = 0, measured = 0;
    for (int i = 0; i < run->group_count; i++)
        for (int a = 0; a < run->groups[i].arm_count; a++) {
            voids += result_is_void(&run->groups[i].arms[a]);
            measured += result_is_timed(&run->groups[i], &run->groups[i].arms[a]);
        }
    if (run->interrupted && !measured) {
        journal_remove();
        command_error("interrupted before anything was measured; no file was written");
        return EXIT_INTERRUPTED;
    }
    print_results(run);
    journal_make_room();
    if (write_run(run, o)) return EXIT_USAGE;
    journal_remove();
    if (run->interrupted) {
        command_error("interrupted; what was measured until then is kept%s%s",
                      o->json ? " in " : "", o->json ? o->json : "");
        return EXIT_INTERRUPTED;
    }
    return voids ? EXIT_WRONG : measured ? EXIT_RIGHT : EXIT_SKIPPED;
}

static int run_bench(session *s, const bench_options *o, int argc, char **argv)
{
    command_reserve_stdout(o->json);
    gbench_reserve(&o->gbench);
    command_catch_interrupt();
    s->budget = o->fixed_rounds ? INFINITY : o->budget_s;
    session_prepare(s);
    double planned = measure_plan(s->groups, s->group_count, o->budget_s, (int)o->fixed_rounds);
    bool journalled = o->json && !command_is_stream(o->json);
    if (o->resume && journal_resume(o->json, s, argc, argv)) return EXIT_USAGE;
    if (journalled && !o->resume && journal_start(o->json, s, argc, argv)) return EXIT_USAGE;
    session_measure(s, planned, journalled ? journal_keep : NULL);
    result_run run = run_of(s, o, argc, argv);
    return finish(&run, o);
}

/* A baseline that could not be compared is refused before anything is measured. */
static int read_baseline(bench_options *o)
{
    char why[512];
    json_error_t error;
    if (!o->baseline) return EXIT_RIGHT;
    o->base = json_load_file(o->baseline, 0, &error);
    if (!o->base) return command_error("cannot read %s as JSON: %s", o->baseline, error.text);
    json_t *here =
        json_pack("{s:i, s:o, s:[]}", "schema", 1, "machine", machine_record(), "results");
    const json_t *const base[1] = {o->base}, *const fresh[1] = {here};
    const char *const names[2] = {o->baseline, "this run"};
    compare_input input = {.runs = {base, fresh}, .count = {1, 1}};
    const char *refused = compare_refuses(&input, names, why, sizeof why);
    json_decref(here);
    return refused ? command_error("%s", refused) : EXIT_RIGHT;
}

/* Everything that the options say, checked; nothing is measured or written yet. */
static int read_options(session *s, bench_options *o)
{
    if (o->problems && o->preset)
        return command_error("bench: give --problems or --preset, not both");
    if (!o->problems && !o->preset) o->preset = "quick";
    if (o->resume && (!o->json || command_is_stream(o->json)))
        return command_error("bench: --resume needs the --json FILE of the run to go on with");
    const char *list = o->problems ? o->problems : preset_problems(o->preset);
    if (!list) return command_error("--preset is \"%.40s\"; legal are %s", o->preset, preset_names);
    s->groups = calloc(SESSION_GROUPS, sizeof *s->groups);
    if (!s->groups) return command_error("memory is short");
    s->no_roofs = o->no_roofs, s->fresh_roofs = o->fresh_roofs, s->resumes = o->resume;
    if (command_kernels(o->kernels, s->kernels, &s->kernel_count) || read_threads(s, o->threads) ||
        command_seconds("budget", o->budget, &o->budget_s) ||
        command_int("rounds", o->rounds, 1, MEASURE_MOST_ROUNDS, &o->fixed_rounds) ||
        read_width(o) || command_int("seed", o->seed, 0, INT64_MAX / 2, &o->first_seed) ||
        add_problems(s, o, list) || read_baseline(o) || (o->json && command_can_write(o->json)) ||
        (o->json && !command_is_stream(o->json) && journal_expected(o->json, o->resume)))
        return EXIT_USAGE;
    return EXIT_RIGHT;
}

/* Reads the options of the command line into *o; *done: there was only help to print. */
static int parse(int argc, char **argv, bench_options *o, bool *done)
{
    const command_option options[] = {
        {"kernels", &o->kernels, NULL, "LIST  all (default), best, or names with commas"},
        {"problems", &o->problems, NULL, "LIST  problem keys with spaces"},
        {"preset", &o->preset, NULL, "NAME  quick (default), scaling, models, limits"},
        {"threads", &o->threads, NULL, "LIST  thread counts with commas (1 and the most)"},
        {"budget", &o->budget, NULL, "TIME  of measuring, e.g. 60s (90s); checks come on top"},
        {"rounds", &o->rounds, NULL, "N  rounds for every group, instead of a budget"},
        {"width", &o->width, NULL, "PCT  stop a group when all intervals are within +-PCT"},
        {"seed", &o->seed, NULL, "N  seed of inputs and order (1)"},
        {"json", &o->json, NULL, "FILE  write the native result file"},
        {"baseline", &o->baseline, NULL, "FILE  an earlier result file to compare with at the end"},
        {"resume", NULL, &o->resume, "go on with the run of --json FILE that was killed"},
        {"no-roofs", NULL, &o->no_roofs, "measure no peaks and bandwidths: times only"},
        {"fresh-roofs", NULL, &o->fresh_roofs, "measure the roofs of the caches anew"},
        {NULL, NULL, NULL, NULL},
    };
    int positional;
    if (command_parse(
            argc, argv, options, "bench [options], also google-benchmark's --benchmark_filter=...",
            "bench --problems \"h8q1024d64 h8q2048d64\" --json run.json", &positional, done))
        return EXIT_USAGE;
    if (positional) return command_error("bench: unexpected argument \"%.60s\"", argv[1]);
    return EXIT_RIGHT;
}

int cmd_bench(int argc, char **argv)
{
    bench_options o = {.kernels = "all", .first_seed = 1, .budget_s = 90};
    static session s;
    bool done = false;
    char *words[64]; /* argv as given: parsing reorders it */
    int word_count = argc < 64 ? argc : 64;
    memcpy(words, argv, (size_t)word_count * sizeof *words);
    if (gbench_read(&o.gbench, &argc, argv)) return EXIT_USAGE;
    int status = parse(argc, argv, &o, &done);
    if (status == EXIT_RIGHT && !done) status = read_options(&s, &o);
    if (status == EXIT_RIGHT && !done)
        status = gbench_wants_list(&o.gbench) ? gbench_list(s.groups, s.group_count)
                                              : run_bench(&s, &o, word_count, words);
    session_end(&s);
    json_decref(o.base);
    gbench_free(&o.gbench);
    return status;
}
