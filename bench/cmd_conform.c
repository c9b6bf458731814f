/* cmd_conform.c: `attest conform`: case directories x kernels -> pass, fail or unsupported.
 *
 * First every folder is walked and every case read once, so that bad input is refused before
 * anything is computed; then the cases run one after the other, each read again. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/command.h"
#include "bench/conform_table.h"
#include "bench/machine.h"
#include "verify/conform.h"

typedef struct session {
    const attn_kernel *kernels[256];
    int kernel_count;
    char **folders; /* case directories */
    int folder_count;
    int64_t threads;
    int counts[3]; /* by conform_status */
    json_t *results;
    const char *json, *markdown; /* files to write, or NULL */
} session;

static const char *const status_names[] = {"pass", "fail", "unsupported"};

/* ---- finding cases --------------------------------------------------------------- */

static int add_folder(session *s, const char *path)
{
    char **folders = realloc(s->folders, (size_t)(s->folder_count + 1) * sizeof *folders);
    if (folders) s->folders = folders;
    char *copy = folders ? strdup(path) : NULL;
    if (!copy)
        return command_error("conform: no memory for %d case directories", s->folder_count + 1);
    s->folders[s->folder_count++] = copy;
    return EXIT_RIGHT;
}

/* `path` if it is a case directory, else the case directories below it in the order of their names.
 * Links to folders are followed where the user named them, not below. */
static int find_cases(session *s, const char *path)
{
    char below[4096];
    struct dirent **entries;
    struct stat info;
    int status = EXIT_RIGHT;
    if (snprintf(below, sizeof below, "%s/case.json", path) >= (int)sizeof below)
        return command_error("conform: the path %.60s... is too long", path);
    if (lstat(below, &info) == 0) return add_folder(s, path);
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0) return command_error("conform: %s: %s", path, strerror(errno));
    for (int e = 0; e < count; e++) {
        const char *name = entries[e]->d_name;
        bool fits = snprintf(below, sizeof below, "%s/%s", path, name) < (int)sizeof below;
        bool folder = name[0] != '.' && fits && lstat(below, &info) == 0 && S_ISDIR(info.st_mode);
        if (folder && status == EXIT_RIGHT) status = find_cases(s, below);
        free(entries[e]);
    }
    free(entries);
    return status;
}

static int find_all(session *s, char **paths, int count)
{
    for (int p = 0; p < count; p++) {
        int before = s->folder_count;
        if (find_cases(s, paths[p])) return EXIT_USAGE;
        if (s->folder_count == before)
            return command_error("conform: %s holds no case directory (one with a case.json)",
                                 paths[p]);
    }
    return EXIT_RIGHT;
}

static int check_all(session *s)
{
    for (int f = 0; f < s->folder_count; f++) {
        case_record record;
        npy_error error;
        case_status status = case_read(s->folders[f], true, &record, &error);
        case_free(&record);
        if (status == CASE_BROKEN) return command_error("%s", error.text);
    }
    return EXIT_RIGHT;
}

/* ---- reporting ------------------------------------------------------------------- */

/* Prints `text` in exactly `width` columns, on the left; too long a text loses its middle. */
static void print_name(const char *text, int width)
{
    int length = (int)strlen(text), tail = (width - 2) / 2, head = width - 2 - tail;
    if (length <= width) printf("%-*s", width, text);
    else printf("%.*s..%s", head, text, text + length - tail);
}

/* One line of 80 columns: status, kernel, case, and the share of the tolerance or the reason of a
 * refusal; a failure has its reason below. JSON has names and reasons in full. */
static void print_line(const char *kernel, const char *name, const conform_result *r)
{
    enum { ROOM = 80 - 12 - 19 - 2, LEAST_NAME = 20 };
    char share[32];
    snprintf(share, sizeof share, r->status == CONFORM_PASS ? "%.3f" : "%.3g", r->worst);
    const char *detail = r->status == CONFORM_UNSUPPORTED ? r->reason : share;
    int width = ROOM - (int)strlen(detail);
    if (width < LEAST_NAME) width = LEAST_NAME;
    command_progress_end();
    printf("%-11s %-18s ", status_names[r->status], kernel);
    print_name(name, width);
    printf("  %.*s\n", ROOM - width, detail);
    if (r->status == CONFORM_FAIL) printf("    %s\n", r->reason);
}

/* The folder that the case directory lies in, by its name alone: which set of cases it is of. */
static json_t *set_of(const char *folder)
{
    char *whole = realpath(folder, NULL), *last = whole ? strrchr(whole, '/') : NULL;
    if (last) *last = '\0';
    char *name = whole ? strrchr(whole, '/') : NULL;
    json_t *set = json_string(name ? name + 1 : "");
    free(whole);
    return set;
}

static void report(session *s, const char *kernel, const char *folder, const char *name,
                   const conform_result *r)
{
    s->counts[r->status]++;
    print_line(kernel, name, r);
    json_t *entry = json_pack("{s:s, s:o, s:s, s:s, s:s}", "kernel", kernel, "set", set_of(folder),
                              "case", name, "status", status_names[r->status], "reason", r->reason);
    bool compared = r->compared > 0;
    json_object_set_new(entry, "worst",
                        compared && isfinite(r->worst) ? json_real(r->worst) : json_null());
    json_object_set_new(entry, "at", compared ? json_string(r->at) : json_null());
    json_array_append_new(s->results, entry);
}

/* ---- running --------------------------------------------------------------------- */

static int run_case(session *s, const char *folder)
{
    case_record record;
    npy_error error;
    case_status status = case_read(folder, true, &record, &error);
    for (int k = 0; k < s->kernel_count && status != CASE_BROKEN && !command_interrupted(); k++) {
        conform_result result = {.status = CONFORM_UNSUPPORTED};
        if (status == CASE_READY)
            result = conform_check_apart(&record, s->kernels[k], (int)s->threads);
        else snprintf(result.reason, sizeof result.reason, "%.255s", error.text);
        report(s, s->kernels[k]->name, folder, record.name, &result);
    }
    case_free(&record);
    return status == CASE_BROKEN ? command_error("%s", error.text) : EXIT_RIGHT;
}

static int write_table(const session *s, const json_t *all)
{
    json_t *machine = machine_record();
    size_t size;
    char *text = conform_table(all, (size_t)s->kernel_count, machine, &size);
    int status =
        text ? command_write(s->markdown, text, size) : command_error("conform: no memory");
    free(text);
    json_decref(machine);
    return status;
}

static int run_all(session *s)
{
    for (int f = 0; f < s->folder_count && !command_interrupted(); f++) {
        command_progress(s->folders[f], f, s->folder_count);
        if (run_case(s, s->folders[f])) return EXIT_USAGE;
    }
    command_progress_end();
    if (command_interrupted())
        fputs("attest: conform: interrupted; what follows is what was done\n", stderr);
    printf("%d passed, %d failed, %d unsupported\n", s->counts[CONFORM_PASS],
           s->counts[CONFORM_FAIL], s->counts[CONFORM_UNSUPPORTED]);
    json_t *all = json_pack("{s:i, s:i, s:i, s:O}", "passed", s->counts[CONFORM_PASS], "failed",
                            s->counts[CONFORM_FAIL], "unsupported", s->counts[CONFORM_UNSUPPORTED],
                            "results", s->results);
    int status = s->markdown && !command_interrupted() ? write_table(s, all) : EXIT_RIGHT;
    if (s->json && status == EXIT_RIGHT) status = command_write_json(s->json, json_incref(all));
    json_decref(all);
    if (status) return status;
    if (command_interrupted()) return EXIT_INTERRUPTED;
    if (s->counts[CONFORM_FAIL]) return EXIT_WRONG;
    return s->counts[CONFORM_PASS] ? EXIT_RIGHT : EXIT_SKIPPED;
}

int cmd_conform(int argc, char **argv)
{
    const char *kernels = "all", *threads = NULL;
    session s = {.threads = 1};
    const command_option options[] = {
        {"kernels", &kernels, NULL, "LIST  all (default), best, or names with commas"},
        {"threads", &threads, NULL, "N  threads of the first run (1)"},
        {"json", &s.json, NULL, "FILE  write all verdicts as JSON"},
        {"markdown", &s.markdown, NULL, "FILE  write them as a table, a row a case"},
        {NULL, NULL, NULL, NULL},
    };
    int positional;
    bool done;
    if (command_parse(argc, argv, options, "conform DIR... [options]",
                      "conform verify/data/minilm --kernels best --json conform.json", &positional,
                      &done))
        return EXIT_USAGE;
    if (done) return EXIT_RIGHT;
    if (!positional)
        return command_error(
            "conform: name a case directory or a folder of them, e.g. verify/data/minilm");
    if (command_kernels(kernels, s.kernels, &s.kernel_count) ||
        command_int("threads", threads, 1, ATTN_MAX_THREADS, &s.threads) ||
        command_can_start(s.threads > 2 ? s.threads : 2) || /* the second run has 1 or 2 */
        (s.json && command_can_write(s.json)) || (s.markdown && command_can_write(s.markdown)))
        return EXIT_USAGE;
    command_reserve_stdout(s.json), command_reserve_stdout(s.markdown);
    int status = find_all(&s, argv + 1, positional);
    if (status == EXIT_RIGHT) status = check_all(&s);
    s.results = json_array();
    command_catch_interrupt();
    if (status == EXIT_RIGHT) status = run_all(&s);
    json_decref(s.results);
    for (int f = 0; f < s.folder_count; f++) free(s.folders[f]);
    free(s.folders);
    return status;
}
