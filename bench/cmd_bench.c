/* cmd_bench.c: `attest bench`: a grid of problems x threads, measured for the kernels asked for. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"
#include "bench/machine.h"
#include "bench/presets.h"
#include "bench/result.h"
#include "bench/roof.h"

enum { MOST_GROUPS = 256, MOST_THREAD_COUNTS = 16, MOST_PEAKS = 256 };

typedef struct session {
    const attn_kernel *kernels[256];
    int kernel_count;
    int threads[MOST_THREAD_COUNTS], thread_counts;
    measure_group *groups;
    int group_count;
    result_peak peaks[MOST_PEAKS];
    int peak_count;
    result_read reads[MOST_THREAD_COUNTS];
    int64_t seed, rounds;
    double budget;
    json_t *machine; /* as it was before the measuring began */
} session;

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
        if (s->thread_counts == MOST_THREAD_COUNTS)
            return command_error("--threads lists more than 16 counts");
        s->threads[s->thread_counts++] = (int)count;
        at = end;
        if (!*at) return EXIT_RIGHT;
    }
}

/* "60s", "60" or "2m" -> seconds. */
static int read_budget(session *s, const char *text)
{
    char *end;
    s->budget = 90;
    if (!text) return EXIT_RIGHT;
    s->budget = strtod(text, &end);
    if (strcmp(end, "m") == 0) s->budget *= 60;
    bool unit = strcmp(end, "") == 0 || strcmp(end, "s") == 0 || strcmp(end, "m") == 0;
    if (end == text || !unit || !(s->budget > 0) || !(s->budget <= 86400))
        return command_error("--budget is \"%.40s\"; it must be a time like 60s or 5m, up to a day",
                             text);
    return EXIT_RIGHT;
}

static int add_group(session *s, const attn_problem *p, int threads)
{
    if (s->group_count == MOST_GROUPS)
        return command_error("more than %d problems x thread counts", MOST_GROUPS);
    measure_group *g = &s->groups[s->group_count++];
    *g = (measure_group){.problem = *p, .threads = threads, .seed = (uint64_t)s->seed, .sham = -1};
    for (int k = 0; k < s->kernel_count && k < MEASURE_ARMS; k++)
        g->arms[g->arm_count++].kernel = s->kernels[k];
    return EXIT_RIGHT;
}

static int add_problems(session *s, const char *list)
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
            if (add_group(s, &p, s->threads[t])) return EXIT_USAGE;
    }
    return s->group_count ? EXIT_RIGHT
                          : command_error("--problems is empty; an example is \"h8q512d64\"");
}

/* ---- measuring ------------------------------------------------------------------------ */

/* Keeps the best multiply-add rate of every ISA that competes in this group. */
static void measure_peaks(session *s, const measure_group *g)
{
    for (int a = 0; a < g->arm_count; a++) {
        const char *isa = g->arms[a].kernel->isa;
        int i = 0;
        if (g->arms[a].dropped) continue;
        while (i < s->peak_count &&
               !(s->peaks[i].threads == g->threads && strcmp(s->peaks[i].isa, isa) == 0))
            i++;
        if (i == MOST_PEAKS) return;
        if (i == s->peak_count) s->peaks[s->peak_count++] = (result_peak){isa, g->threads, 0};
        s->peaks[i].gflops = fmax(s->peaks[i].gflops, roof_peak_gflops(isa, g->threads, 0.01));
    }
}

/* Keeps the best read rate of a buffer as large as this group's tensors. */
static void measure_read(measure_group *g)
{
    int64_t bytes = (int64_t)fmin(result_bytes(&g->problem), (double)ROOF_MEMORY_BYTES);
    g->read_gbps = fmax(g->read_gbps, roof_read_gbps(g->threads, bytes, 0.03));
}

static void prepare_all(session *s)
{
    int64_t memory = machine_memory_available() * 9 / 10;
    for (int t = 0; t < s->thread_counts; t++)
        s->reads[t] =
            (result_read){s->threads[t], roof_read_gbps(s->threads[t], ROOF_MEMORY_BYTES, 0.2)};
    for (int i = 0; i < s->group_count && !command_interrupted(); i++) {
        command_progress("checking", i, s->group_count);
        measure_prepare(&s->groups[i], memory);
    }
    command_progress_end();
}

static double planned_seconds, done_seconds;

/* Asked before every round: shows how far the run is, and whether it was interrupted. */
static bool stop_before(const measure_group *g, int round)
{
    command_progress(g->key, done_seconds + round * measure_round_seconds(g), planned_seconds);
    return command_interrupted();
}

static void measure_all(session *s)
{
    for (int i = 0; i < s->group_count && !command_interrupted(); i++) {
        measure_group *g = &s->groups[i];
        measure_peaks(s, g), measure_read(g);
        measure_run(g, stop_before);
        measure_peaks(s, g), measure_read(g);
        done_seconds += g->rounds * measure_round_seconds(g);
    }
    command_progress_end();
}

/* ---- the table ------------------------------------------------------------------------ */

static void print_arm(const result_run *run, const measure_group *g, const measure_arm *arm)
{
    const char *skipped = result_skipped(g, arm);
    if (skipped || result_is_void(arm)) {
        printf("%-16s %-22s %2d  %s: %s\n", arm->kernel->name, g->key, g->threads,
               skipped ? "skipped" : "void", skipped ? skipped : arm->verdict.reason);
        return;
    }
    result_line line = result_of(run, g, arm);
    char spread[16] = "-"; /* below 6 rounds there is no interval */
    if (line.bounded)
        snprintf(spread, sizeof spread, "%.1f%%",
                 50 * (line.high_ns - line.low_ns) / line.median_ns);
    printf("%-16s %-22s %2d %10.3f %6s %8.1f %8.1f%%\n", arm->kernel->name, g->key, g->threads,
           line.median_ns * 1e-6, spread, line.gflops, 100 * line.peak_fraction);
}

static void print_results(const result_run *run)
{
    printf("%-16s %-22s %2s %10s %6s %8s %s\n", "kernel", "problem", "th", "median ms", "+-",
           "GFLOP/s", "best/peak");
    int skipped = 0, dirty = 0, clean = 0;
    for (int i = 0; i < run->group_count; i++) {
        const measure_group *g = &run->groups[i];
        for (int a = 0; a < g->arm_count; a++) {
            skipped += result_skipped(g, &g->arms[a]) != NULL;
            print_arm(run, g, &g->arms[a]);
        }
        clean += g->clean, dirty += g->dirty;
    }
    double floor = result_noise_floor(run);
    printf("verdict %s; %d rounds, %d dropped as dirty", result_verdict(run), clean, dirty);
    if (floor >= 0) printf("; noise floor %.1f %%", 100 * floor);
    printf("; %d skipped\n", skipped);
}

static int finish(session *s, const char *preset, const char *json, double seconds, int argc,
                  char **argv)
{
    result_run run = {.machine = s->machine,
                      .groups = s->groups,
                      .group_count = s->group_count,
                      .peaks = s->peaks,
                      .peak_count = s->peak_count,
                      .reads = s->reads,
                      .read_count = s->thread_counts,
                      .preset = preset,
                      .argv = argv,
                      .argc = argc,
                      .seed = (uint64_t)s->seed,
                      .seconds = seconds,
                      .interrupted = command_interrupted()};
    int voids = 0, measured = 0;
    for (int i = 0; i < s->group_count; i++)
        for (int a = 0; a < s->groups[i].arm_count; a++) {
            voids += result_is_void(&s->groups[i].arms[a]);
            measured += result_is_timed(&s->groups[i], &s->groups[i].arms[a]);
        }
    if (run.interrupted && !measured) {
        command_error("interrupted before anything was measured; no file was written");
        return EXIT_INTERRUPTED;
    }
    print_results(&run);
    if (json && command_write_json(json, result_json(&run))) return EXIT_USAGE;
    if (run.interrupted) {
        command_error("interrupted; what was measured until then is kept%s%s", json ? " in " : "",
                      json ? json : "");
        return EXIT_INTERRUPTED;
    }
    return voids ? EXIT_WRONG : measured ? EXIT_RIGHT : EXIT_SKIPPED;
}

int cmd_bench(int argc, char **argv)
{
    const char *kernels = "all", *problems = NULL, *preset = NULL, *threads = NULL, *budget = NULL;
    const char *rounds = NULL, *json = NULL, *seed = NULL;
    static session s = {.seed = 1};
    const command_option options[] = {
        {"kernels", &kernels, NULL, "LIST  all (default), best, or names with commas"},
        {"problems", &problems, NULL, "LIST  problem keys with spaces"},
        {"preset", &preset, NULL, "NAME  quick (default), scaling, models, limits"},
        {"threads", &threads, NULL, "LIST  thread counts with commas (1 and the most)"},
        {"budget", &budget, NULL, "TIME  seconds of measuring, e.g. 60s (90s); checks come on top"},
        {"rounds", &rounds, NULL, "N  rounds for every group, instead of a budget"},
        {"seed", &seed, NULL, "N  seed of inputs and order (1)"},
        {"json", &json, NULL, "FILE  write the native result file"},
        {NULL, NULL, NULL, NULL},
    };
    int positional;
    bool done;
    char *words[64]; /* argv as given: parsing reorders it */
    int word_count = argc < 64 ? argc : 64;
    memcpy(words, argv, (size_t)word_count * sizeof *words);
    if (command_parse(argc, argv, options, "bench [options]",
                      "bench --problems \"h8q1024d64 h8q2048d64\" --json run.json", &positional,
                      &done))
        return EXIT_USAGE;
    if (done) return EXIT_RIGHT;
    if (positional) return command_error("bench: unexpected argument \"%.60s\"", argv[1]);
    if (problems && preset) return command_error("bench: give --problems or --preset, not both");
    if (!problems && !preset) preset = "quick";
    const char *list = problems ? problems : preset_problems(preset);
    if (!list) return command_error("--preset is \"%.40s\"; legal are %s", preset, preset_names);
    s.groups = calloc(MOST_GROUPS, sizeof *s.groups);
    if (!s.groups) return command_error("memory is short");
    if (command_kernels(kernels, s.kernels, &s.kernel_count) || read_threads(&s, threads) ||
        read_budget(&s, budget) ||
        command_int("rounds", rounds, 1, MEASURE_MOST_ROUNDS, &s.rounds) ||
        command_int("seed", seed, 0, INT64_MAX / 2, &s.seed) || add_problems(&s, list) ||
        (json && command_can_write(json)))
        return EXIT_USAGE;
    command_reserve_stdout(json);
    command_catch_interrupt();
    s.machine = machine_record();
    double begin = roof_now();
    prepare_all(&s);
    planned_seconds = measure_plan(s.groups, s.group_count, s.budget, (int)s.rounds);
    measure_all(&s);
    int status = finish(&s, preset, json, roof_now() - begin, word_count, words);
    json_decref(s.machine);
    free(s.groups);
    return status;
}
