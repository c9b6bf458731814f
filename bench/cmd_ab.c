/* cmd_ab.c: `attest ab BASE NEW`: two builds, measured in alternating launches.
 *
 * A cycle is three launches: base, new, and base again as the sham. The six orders of three follow
 * each other in a fresh permutation for every six cycles, so that each build stands at each place,
 * and after each other, equally often. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/command.h"
#include "bench/compare.h"
#include "bench/launch.h"
#include "reference/reference.h"

enum { USUAL_LAUNCHES = 9, ORDERS = 6, MOST_WORDS = 32 };

typedef struct session {
    const char *binary[2];
    bool no_roofs[2];              /* the binary can leave out the roofs, which compare nothing */
    const char *words[MOST_WORDS]; /* bench options that every launch gets */
    int word_count;
    int64_t launches, seed;
    launch_folder folder;
    json_t *runs[COMPARE_SIDES][STATS_MOST_LAUNCHES];
    int cycles;        /* complete */
    int done, planned; /* launches, for the progress bar */
} session;

/* ---- one launch ----------------------------------------------------------------------- */

/* "its exit code and what it said last" as one line. */
static int launch_failed(const session *s, int build, int code)
{
    char said[512];
    launch_last_error(&s->folder, said, sizeof said);
    return command_error("%.200s exited with %d: %s", s->binary[build], code,
                         said[0] ? said : "it wrote nothing to standard error");
}

static void add_word(const char **argv, int *count, const char *word) { argv[(*count)++] = word; }

/* The first kernel that the launch calls void, as an error line; EXIT_RIGHT if there is none. */
static int report_void(const session *s, int build, const json_t *run)
{
    size_t i;
    json_t *result;
    json_array_foreach (json_object_get(run, "results"), i, result)
        if (json_is_false(json_object_get(result, "verified")))
            return command_error("%.200s: %s is void on %s: %s", s->binary[build],
                                 json_string_value(json_object_get(result, "kernel")),
                                 json_string_value(json_object_get(result, "problem")),
                                 json_string_value(json_object_get(result, "void_reason")));
    return EXIT_RIGHT;
}

/* The launch's result file, checked; NULL after a message. */
static json_t *read_result(const session *s, int build, int code)
{
    char why[512];
    json_error_t error;
    json_t *run = json_load_file(s->folder.result, 0, &error);
    const char *const names[2] = {s->binary[build], s->binary[build]};
    const json_t *const runs[1] = {run};
    compare_input input = {.runs = {runs}, .count = {1}};
    bool failed = code != EXIT_RIGHT;
    if (failed && !(run && report_void(s, build, run))) launch_failed(s, build, code);
    else if (!failed && !run)
        failed = command_error("%.200s wrote no result file", s->binary[build]);
    else if (!failed && compare_refuses(&input, names, why, sizeof why))
        failed = command_error("%s", why);
    if (!failed) return run;
    json_decref(run);
    return NULL;
}

/* What every launch of bench gets, into argv; returns how many words. */
static int bench_words(const session *s, const char *argv[MOST_WORDS + 8])
{
    int count = 0;
    add_word(argv, &count, "attest"), add_word(argv, &count, "bench");
    for (int w = 0; w < s->word_count; w++) add_word(argv, &count, s->words[w]);
    return count;
}

/* One launch of a build; NULL after a message, or if it was interrupted. */
static json_t *launch(const session *s, int build, int cycle)
{
    const char *argv[MOST_WORDS + 8] = {NULL};
    char seed[32];
    int count = bench_words(s, argv);
    snprintf(seed, sizeof seed, "%lld", (long long)s->seed + cycle);
    add_word(argv, &count, "--seed"), add_word(argv, &count, seed);
    add_word(argv, &count, "--json"), add_word(argv, &count, s->folder.result);
    if (s->no_roofs[build]) add_word(argv, &count, "--no-roofs");
    int code = launch_run(s->binary[build], (char *const *)argv, &s->folder);
    return command_interrupted() ? NULL : read_result(s, build, code);
}

/* Asks a build for its options, and whether it takes ours; an error if it is no attest. Base is
 * asked first, so that a mistyped option is an error of usage, whoever is launched first. */
static int ask_options(session *s, int build)
{
    char *const help[] = {"attest", "bench", "--help", NULL};
    const char *list[MOST_WORDS + 8] = {NULL};
    int code = launch_run(s->binary[build], help, &s->folder);
    if (code != EXIT_RIGHT) return launch_failed(s, build, code);
    if (!launch_said(&s->folder, "attest bench"))
        return command_error("ab: %.200s is no attest: bench --help says nothing of it",
                             s->binary[build]);
    s->no_roofs[build] = launch_said(&s->folder, "--no-roofs");
    if (!launch_said(&s->folder, "--benchmark_filter")) return EXIT_RIGHT; /* nor a list */
    list[bench_words(s, list)] = "--benchmark_list_tests"; /* reads all options, measures nothing */
    code = launch_run(s->binary[build], (char *const *)list, &s->folder);
    return code == EXIT_RIGHT ? EXIT_RIGHT : launch_failed(s, build, code);
}

/* ---- cycles --------------------------------------------------------------------------- */

/* Which side each of the three launches of a cycle is. */
static const compare_side *order_of_cycle(const session *s, int cycle)
{
    static const compare_side orders[ORDERS][COMPARE_SIDES] = {{0, 1, 2}, {1, 2, 0}, {2, 0, 1},
                                                               {2, 1, 0}, {0, 2, 1}, {1, 0, 2}};
    int permutation[ORDERS] = {0, 1, 2, 3, 4, 5};
    for (int i = ORDERS - 1; i > 0; i--) {
        uint64_t random = ref_random((uint64_t)s->seed + (uint64_t)(cycle / ORDERS), (uint64_t)i);
        int other = (int)(random % (uint64_t)(i + 1)), kept = permutation[i];
        permutation[i] = permutation[other], permutation[other] = kept;
    }
    return orders[permutation[cycle % ORDERS]];
}

static void forget_runs(session *s)
{
    for (int side = 0; side < COMPARE_SIDES; side++)
        for (int i = 0; i < STATS_MOST_LAUNCHES; i++) {
            json_decref(s->runs[side][i]);
            s->runs[side][i] = NULL;
        }
    s->cycles = 0;
}

/* Measures all cycles, or those complete when interrupted. EXIT_RIGHT; EXIT_INTERRUPTED; after a
 * message EXIT_USAGE if base failed, EXIT_WRONG if new did. */
static int measure_cycles(session *s)
{
    static const char *const names[] = {"base", "new", "sham"};
    for (int cycle = 0; cycle < s->launches; cycle++) {
        const compare_side *order = order_of_cycle(s, cycle);
        for (int place = 0; place < COMPARE_SIDES; place++) {
            compare_side side = order[place];
            command_progress(names[side], s->done++, s->planned);
            s->runs[side][cycle] = launch(s, side == COMPARE_NEW, cycle);
            if (command_interrupted()) return EXIT_INTERRUPTED;
            if (!s->runs[side][cycle]) return side == COMPARE_NEW ? EXIT_WRONG : EXIT_USAGE;
        }
        s->cycles++;
    }
    command_progress_end();
    return EXIT_RIGHT;
}

static comparison *judge(const session *s, double gate)
{
    compare_input input;
    for (int side = 0; side < COMPARE_SIDES; side++) {
        input.runs[side] = (const json_t *const *)s->runs[side];
        input.count[side] = s->cycles;
    }
    comparison *c = compare_judge(input, gate);
    if (!c) command_error("memory is short");
    return c;
}

/* ---- the session ---------------------------------------------------------------------- */

/* A regression is believed when a second set of launches, later, shows it again. `again` has its
 * own runs, which must outlive c. EXIT_RIGHT, EXIT_INTERRUPTED, or as measure_cycles. */
static int confirm(const session *s, session *again, comparison *c)
{
    fprintf(stderr, "attest: slower than the gate allows; a second set of launches asks again\n");
    *again = *s;
    memset(again->runs, 0, sizeof again->runs);
    again->cycles = 0, again->done = 0;
    again->seed = s->seed + STATS_MOST_LAUNCHES;
    int status = measure_cycles(again);
    comparison *second = again->cycles >= COMPARE_LEAST_LAUNCHES ? judge(again, c->gate) : NULL;
    compare_confirm(c, second);
    return status;
}

/* A build that cannot be measured is neither good nor bad for a gate. */
static int failure(int status, double gate)
{
    if (status == EXIT_WRONG && gate >= 0) return EXIT_UNDECIDED;
    return status == EXIT_INTERRUPTED ? status : EXIT_USAGE;
}

static int compare_builds(session *s, const compare_options *options)
{
    static session again;
    int status = measure_cycles(s);
    command_progress_end();
    bool kept = status == EXIT_INTERRUPTED && s->cycles >= COMPARE_LEAST_LAUNCHES;
    if (status == EXIT_INTERRUPTED)
        command_error(kept ? "interrupted after %d complete cycles, which are kept"
                           : "interrupted after %d cycles; fewer than 6 say nothing, none is kept",
                      s->cycles);
    if (status != EXIT_RIGHT && !kept) return failure(status, options->gate);
    comparison *c = judge(s, options->gate);
    if (!c) return EXIT_USAGE;
    if (status == EXIT_RIGHT && compare_exit(c) == EXIT_WRONG) status = confirm(s, &again, c);
    compare_print(c);
    int written = compare_write(c, options);
    int answer = written ? written : status ? failure(status, options->gate) : compare_exit(c);
    compare_free(c);
    forget_runs(&again);
    return answer;
}

/* All of it, once the command line and the places of all files are known to be good. */
static int run_session(session *s, const compare_options *options)
{
    command_reserve_stdout(options->json), command_reserve_stdout(options->markdown);
    command_catch_interrupt();
    int status = ask_options(s, 0)   ? EXIT_USAGE
                 : ask_options(s, 1) ? failure(EXIT_WRONG, options->gate)
                                     : compare_builds(s, options);
    launch_folder_free(&s->folder);
    forget_runs(s);
    return status;
}

/* ---- options -------------------------------------------------------------------------- */

/* Every launch gets its share of the budget; without one a fixed number of rounds. */
static int plan_launches(session *s, const char *budget, const char *rounds, char *share,
                         size_t size)
{
    if (budget && rounds) return command_error("ab: give --budget or --rounds, not both");
    if (!budget) {
        s->words[s->word_count++] = "--rounds";
        s->words[s->word_count++] = rounds ? rounds : "6";
        return EXIT_RIGHT;
    }
    double seconds;
    if (command_seconds("budget", budget, &seconds)) return EXIT_USAGE;
    snprintf(share, size, "%.6fs", seconds / (double)s->planned);
    s->words[s->word_count++] = "--budget";
    s->words[s->word_count++] = share;
    return EXIT_RIGHT;
}

static int take_builds(session *s, char *const paths[2])
{
    for (int build = 0; build < 2; build++) {
        s->binary[build] = paths[build];
        if (access(paths[build], X_OK))
            return command_error("ab: %.200s is no program that can be started", paths[build]);
    }
    return EXIT_RIGHT;
}

static void pass_on(session *s, const char *option, const char *value)
{
    if (!value) return;
    s->words[s->word_count++] = option;
    s->words[s->word_count++] = value;
}

int cmd_ab(int argc, char **argv)
{
    const char *launches = NULL, *budget = NULL, *gate = NULL, *kernels = NULL, *problems = NULL;
    const char *preset = NULL, *threads = NULL, *rounds = NULL, *seed = NULL;
    static session s = {.launches = USUAL_LAUNCHES, .seed = 1};
    compare_options out = {.names = {"base", "new"}};
    char share[32];
    const command_option options[] = {
        {"launches", &launches, NULL, "N  cycles of base, new and base again: 6 to 64 (9)"},
        {"budget", &budget, NULL, "TIME  of measuring for all launches, e.g. 60s or 5m"},
        {"gate", &gate, NULL, "PCT  exit 1 if a kernel is slower by more, seen twice"},
        {"markdown", &out.markdown, NULL, "FILE  a table for a pull request"},
        {"json", &out.json, NULL, "FILE  every launch and every verdict"},
        {"kernels", &kernels, NULL, "LIST  to bench, as the options below"},
        {"problems", &problems, NULL, "LIST  problem keys with spaces"},
        {"preset", &preset, NULL, "NAME  quick (default), scaling, models, limits"},
        {"threads", &threads, NULL, "LIST  thread counts with commas (1 and the most)"},
        {"rounds", &rounds, NULL, "N  rounds in every launch, instead of a budget (6)"},
        {"seed", &seed, NULL, "N  seed of inputs and order (1); each cycle adds 1"},
        {NULL, NULL, NULL, NULL},
    };
    int positional;
    bool done;
    if (command_parse(argc, argv, options, "ab BASE_BINARY NEW_BINARY [options]",
                      "ab old/attest build/attest --kernels best --gate 3\n\n"
                      "exit 0: no kernel slower than the gate, or no gate; 1: slower, and again\n"
                      "in a second set of launches; 125: undecided, or new cannot be measured;\n"
                      "2: usage, or base cannot be measured. So, with a copy of a good build:\n\n"
                      "  git bisect run sh -c 'scripts/build build || exit 125\n"
                      "    /tmp/good/attest ab /tmp/good/attest build/attest --gate 3'",
                      &positional, &done))
        return EXIT_USAGE;
    if (done) return EXIT_RIGHT;
    if (positional != 2)
        return command_error("ab: name two builds, for example ab old/attest build/attest");
    if (command_int("launches", launches, COMPARE_LEAST_LAUNCHES, STATS_MOST_LAUNCHES,
                    &s.launches) ||
        command_int("seed", seed, 0, INT64_MAX / 4, &s.seed) || compare_read_gate(gate, &out.gate))
        return EXIT_USAGE;
    if (take_builds(&s, argv + 1)) return EXIT_USAGE;
    s.planned = (int)s.launches * COMPARE_SIDES;
    pass_on(&s, "--kernels", kernels), pass_on(&s, "--problems", problems);
    pass_on(&s, "--preset", preset), pass_on(&s, "--threads", threads);
    if (plan_launches(&s, budget, rounds, share, sizeof share) ||
        (out.markdown && command_can_write(out.markdown)) ||
        (out.json && command_can_write(out.json)) || launch_folder_new(&s.folder))
        return EXIT_USAGE;
    return run_session(&s, &out);
}
