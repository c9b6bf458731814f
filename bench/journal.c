/* journal.c: JSON lines with write(2): what a killed process has written stays. */
#include "bench/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/command.h"
#include "bench/member.h"
#include "bench/roof.h"
#include "bench/version.h"

static struct {
    int file; /* 0 = none */
    char path[4096];
    const measure_group *groups;
    bool failed; /* a line could not be written; said once */
} journal;

static bool write_line(json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(12));
    size_t length = text ? strlen(text) : 0;
    json_decref(line);
    if (!text) return false;
    text[length++] = '\n'; /* in place of the terminator */
    ssize_t done = write(journal.file, text, length);
    bool written = done == (ssize_t)length;
    if (done >= 0 && !written) errno = ENOSPC; /* cut short */
    free(text);
    return written;
}

/* The command line without --resume: what must be the same to go on. */
static json_t *words_json(int argc, char **argv)
{
    json_t *words = json_array();
    for (int i = 0; i < argc; i++)
        if (strcmp(argv[i], "--resume") != 0) json_array_append_new(words, json_string(argv[i]));
    return words;
}

static json_t *plan_json(const measure_group *g)
{
    json_t *arms = json_array();
    for (int a = 0; a < g->arm_count; a++)
        json_array_append_new(arms,
                              json_pack("{s:s, s:f, s:b, s:s?}", "kernel", g->arms[a].kernel->name,
                                        "call_seconds", g->arms[a].call_seconds, "rests",
                                        g->arms[a].rests, "dropped", g->arms[a].dropped));
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:o}", "problem", g->key, "threads",
                     g->threads, "calls", g->calls, "rounds", g->rounds, "whole", g->whole, "sham",
                     g->sham, "arms", arms);
}

static json_t *header_json(const session *s, int argc, char **argv)
{
    json_t *groups = json_array();
    for (int i = 0; i < s->group_count; i++)
        json_array_append_new(groups, plan_json(&s->groups[i]));
    return json_pack("{s:i, s:s, s:O, s:o, s:o}", "journal", 1, "commit", ATTEST_COMMIT, "class",
                     json_object_get(s->machine, "class"), "argv", words_json(argc, argv), "groups",
                     groups);
}

/* Bytes that the journal and the result file can need: a number takes at most 20 in either, and the
 * journal holds the samples of a long round several times. */
static off_t most_bytes(const session *s)
{
    double bytes = 65536;
    for (int i = 0; i < s->group_count; i++) {
        const measure_group *g = &s->groups[i];
        int rounds = g->rounds < MEASURE_USUAL_ROUNDS ? MEASURE_USUAL_ROUNDS : g->rounds;
        double lines = fmin(g->arm_count, measure_round_seconds(g, true) / measure_keep_seconds);
        bytes += 2.0 * g->arm_count * 1500;
        bytes += 2.0 * (2 + lines) * rounds * 20.0 * (3 * g->arm_count + 8);
    }
    return (off_t)bytes;
}

static int journal_path(const char *path)
{
    if (snprintf(journal.path, sizeof journal.path, "%s.journal", path) >= (int)sizeof journal.path)
        return command_error("the path %.60s... is too long", path);
    return EXIT_RIGHT;
}

int journal_expected(const char *path, bool resume)
{
    if (journal_path(path)) return EXIT_USAGE;
    if (access(journal.path, F_OK) == 0) {
        if (resume) return EXIT_RIGHT;
        return command_error("%s holds a run that was not finished: --resume goes on with it, or "
                             "remove it",
                             journal.path);
    }
    if (!resume) return EXIT_RIGHT;
    return command_error("--resume: cannot read %s: %s", journal.path, strerror(errno));
}

/* No space is an error; a file system that cannot reserve is none. */
static int reserve(const session *s, off_t from)
{
    off_t bytes = most_bytes(s);
    if (fallocate(journal.file, FALLOC_FL_KEEP_SIZE, from, bytes) == 0 ||
        (errno != ENOSPC && errno != EDQUOT && errno != EFBIG))
        return EXIT_RIGHT;
    int why = errno;
    if (from == 0) unlink(journal.path);
    return command_error("cannot reserve %lld KiB for %s: %s", (long long)bytes / 1024 + 1,
                         journal.path, strerror(why));
}

int journal_start(const char *path, const session *s, int argc, char **argv)
{
    if (journal_path(path)) return EXIT_USAGE;
    journal.groups = s->groups;
    journal.file = open(journal.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (journal.file < 0)
        return command_error("cannot write %s: %s", journal.path, strerror(errno));
    if (reserve(s, 0)) return EXIT_USAGE;
    if (write_line(header_json(s, argc, argv))) return EXIT_RIGHT;
    return command_error("cannot write %s: %s", journal.path, strerror(errno));
}

/* Kernels that were found wrong until now, with what was wrong. */
static json_t *wrong_json(const measure_group *g)
{
    json_t *wrong = json_object();
    for (int a = 0; a < g->arm_count; a++)
        if (!g->arms[a].dropped && g->arms[a].verdict.status == VERIFY_FAIL)
            json_object_set_new(wrong, g->arms[a].kernel->name,
                                json_string(g->arms[a].verdict.reason));
    return wrong;
}

static void take_wrong(measure_group *g, const json_t *wrong)
{
    for (int a = 0; a < g->arm_count; a++) {
        verify_report *mine = &g->arms[a].verdict;
        const char *why = json_string_value(json_object_get(wrong, g->arms[a].kernel->name));
        if (!why || g->arms[a].dropped) continue;
        mine->status = VERIFY_FAIL;
        snprintf(mine->reason, sizeof mine->reason, "%s", why);
    }
}

/* A number, or null for an arm that rested. */
static json_t *sample_json(double ns) { return isnan(ns) ? json_null() : json_real(ns); }

/* A round that is going on has "open"; a later line for it replaces this one. */
void journal_keep(const measure_group *g, int r)
{
    const measure_round *round = &g->round[r];
    if (!journal.file) return;
    json_t *samples = json_array(), *around = json_array();
    for (int a = 0; a < g->arm_count; a++) {
        const measure_arm *arm = &g->arms[a];
        json_array_append_new(samples, sample_json(arm->ns[r]));
        json_array_append_new(around, isnan(arm->ns[r]) ? json_null()
                                                        : json_pack("[f,f]", arm->around[r].issue,
                                                                    arm->around[r].clock_ghz));
    }
    json_t *line = json_pack(
        "{s:i, s:i, s:i, s:b, s:b, s:b, s:f, s:[f,f,f], s:o, s:o, s:o, s:o}", "group",
        (int)(g - journal.groups), "round", r, "cause", (int)round->cause, "whole", round->whole,
        "half", round->half, "open", r == g->tried, "at_s", round->at_s, "anchors",
        round->anchors.clock_ghz, round->anchors.fma_gflops, round->anchors.triad_gbps, "sham",
        sample_json(g->sham_ns[r]), "ns", samples, "around", around, "wrong", wrong_json(g));
    if (write_line(line) || journal.failed) return;
    journal.failed = true;
    command_error("cannot write %s: %s; measuring goes on, but a kill would lose it", journal.path,
                  strerror(errno));
}

void journal_make_room(void)
{
    if (journal.file && ftruncate(journal.file, lseek(journal.file, 0, SEEK_CUR)))
        command_error("cannot shorten %s: %s", journal.path, strerror(errno));
}

void journal_remove(void)
{
    if (!journal.file) return;
    close(journal.file);
    unlink(journal.path);
    journal.file = 0;
}

/* ---- resuming ------------------------------------------------------------------------- */

/* Why this header is not that of the run that would go on, or NULL. */
static const char *other_run(const json_t *header, const session *s, int argc, char **argv)
{
    json_t *words = words_json(argc, argv);
    bool same_words = json_equal(json_object_get(header, "argv"), words);
    json_decref(words);
    if (json_integer_value(json_object_get(header, "journal")) != 1) return "it is no journal";
    if (strcmp(member_text(header, "commit"), ATTEST_COMMIT) != 0) return "another commit wrote it";
    if (strcmp(member_text(header, "class"), member_text(s->machine, "class")) != 0)
        return "it is of another machine class";
    if (!same_words) return "it is of another command line";
    if ((int)json_array_size(json_object_get(header, "groups")) != s->group_count)
        return "it has other problems";
    return NULL;
}

/* The plan of one group. False if an arm was timed that cannot be now, or the reverse. */
static bool take_plan(measure_group *g, const json_t *plan)
{
    size_t a;
    json_t *arm;
    if (json_unpack((json_t *)plan, "{s:i, s:i, s:i, s:i}", "calls", &g->calls, "rounds",
                    &g->rounds, "whole", &g->whole, "sham", &g->sham) ||
        (int)json_array_size(json_object_get(plan, "arms")) != g->arm_count ||
        g->rounds > MEASURE_MOST_ROUNDS || g->calls < 1 || g->sham >= g->arm_count)
        return false;
    json_array_foreach (json_object_get(plan, "arms"), a, arm) {
        measure_arm *mine = &g->arms[a];
        const char *dropped = json_string_value(json_object_get(arm, "dropped"));
        mine->call_seconds = json_number_value(json_object_get(arm, "call_seconds"));
        mine->rests = json_is_true(json_object_get(arm, "rests"));
        if (!dropped && mine->dropped) return false;
        if (!dropped || mine->dropped) continue;
        snprintf(mine->verdict.reason, sizeof mine->verdict.reason, "%s", dropped);
        mine->dropped = mine->verdict.reason;
    }
    return true;
}

static double number_or_nan(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static bool take_round(session *s, const json_t *line)
{
    int group, r, cause;
    measure_round round = {0};
    if (json_unpack((json_t *)line, "{s:i, s:i, s:i, s:F, s:[F,F,F]}", "group", &group, "round", &r,
                    "cause", &cause, "at_s", &round.at_s, "anchors", &round.anchors.clock_ghz,
                    &round.anchors.fma_gflops, &round.anchors.triad_gbps) ||
        group < 0 || group >= s->group_count || cause < EVIDENCE_CLEAN || cause >= EVIDENCE_CAUSES)
        return false;
    measure_group *g = &s->groups[group];
    json_t *samples = json_object_get(line, "ns");
    if (r != g->tried || r >= MEASURE_TRIES || (int)json_array_size(samples) != g->arm_count)
        return false;
    round.cause = (evidence_cause)cause;
    round.whole = json_is_true(json_object_get(line, "whole"));
    round.half = json_is_true(json_object_get(line, "half"));
    g->halved = json_is_true(json_object_get(line, "open"));
    g->round[r] = round, g->sham_ns[r] = number_or_nan(json_object_get(line, "sham"));
    for (int a = 0; a < g->arm_count; a++) {
        measure_arm *arm = &g->arms[a];
        const json_t *pair = json_array_get(json_object_get(line, "around"), (size_t)a);
        arm->ns[r] = number_or_nan(json_array_get(samples, (size_t)a));
        arm->around[r] = (neighbour_reading){number_or_nan(json_array_get(pair, 0)),
                                             number_or_nan(json_array_get(pair, 1))};
    }
    g->tried += !g->halved;
    g->clean += !round.half && round.cause == EVIDENCE_CLEAN;
    take_wrong(g, json_object_get(line, "wrong"));
    s->began = fmin(s->began, roof_now() - round.at_s);
    return true;
}

/* Reads rounds until the end or a torn line; returns the bytes that were good. */
static long take_rounds(session *s, FILE *file)
{
    char *line = NULL;
    size_t size = 0;
    long good = ftell(file);
    for (ssize_t length; (length = getline(&line, &size, file)) > 0; good = ftell(file)) {
        json_t *round = line[length - 1] == '\n' ? json_loads(line, 0, NULL) : NULL;
        bool taken = round && take_round(s, round);
        json_decref(round);
        if (!taken) break;
    }
    free(line);
    return good;
}

static const char *take_journal(session *s, FILE *file, int argc, char **argv, long *good)
{
    char *line = NULL;
    size_t size = 0, i;
    json_t *plan, *header = getline(&line, &size, file) > 0 ? json_loads(line, 0, NULL) : NULL;
    const char *wrong = header ? other_run(header, s, argc, argv) : "it is no journal";
    if (!wrong)
        json_array_foreach (json_object_get(header, "groups"), i, plan)
            if (!take_plan(&s->groups[i], plan)) wrong = "kernels pass their checks otherwise now";
    if (!wrong) *good = take_rounds(s, file);
    json_decref(header);
    free(line);
    return wrong;
}

int journal_resume(const char *path, session *s, int argc, char **argv)
{
    long good = 0;
    if (journal_path(path)) return EXIT_USAGE;
    FILE *file = fopen(journal.path, "r");
    if (!file) return command_error("--resume: cannot read %s: %s", journal.path, strerror(errno));
    const char *wrong = take_journal(s, file, argc, argv, &good);
    fclose(file);
    if (wrong) return command_error("--resume: %s: %s", journal.path, wrong);
    journal.groups = s->groups;
    journal.file = open(journal.path, O_WRONLY | O_CLOEXEC);
    if (journal.file < 0 || ftruncate(journal.file, good) ||
        lseek(journal.file, good, SEEK_SET) < 0)
        return command_error("--resume: cannot write %s: %s", journal.path, strerror(errno));
    return reserve(s, good);
}
