/* cmd_compare.c: `attest compare`: result files of two commits. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"
#include "bench/compare.h"

typedef struct files {
    json_t *runs[2][STATS_MOST_LAUNCHES];
    int count[2];
} files;

static int load(files *f, int side, const char *path)
{
    char why[512];
    json_error_t error;
    if (f->count[side] == STATS_MOST_LAUNCHES)
        return command_error("compare: more than %d files on one side", STATS_MOST_LAUNCHES);
    json_t *run = json_load_file(path, 0, &error);
    if (!run) return command_error("cannot read %s as JSON: %s", path, error.text);
    int before = 0;
    while (before < f->count[side] && !json_equal(f->runs[side][before], run)) before++;
    f->runs[side][f->count[side]++] = run;
    if (before < f->count[side] - 1) /* counted twice, a launch would narrow every interval */
        return command_error("compare: %s is on its side twice, perhaps as a copy; each launch "
                             "counts once",
                             path);
    const json_t *const runs[1] = {run};
    const char *const names[2] = {path, path};
    compare_input one = {.runs = {runs}, .count = {1}};
    return compare_refuses(&one, names, why, sizeof why) ? command_error("%s", why) : EXIT_RIGHT;
}

static void free_files(files *f)
{
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < f->count[side]; i++) json_decref(f->runs[side][i]);
}

/* "BASE NEW", or "BASE... -- NEW...": `split` stands where "--" stood, or at 0 without one. */
static int load_all(files *f, char **paths, int count, int split)
{
    if (!split && count != 2)
        return command_error("compare: name two result files, or base... -- new..., for example "
                             "compare base.json new.json");
    if (split && (split == 1 || split == count))
        return command_error("compare: -- needs result files on both sides");
    for (int i = 1; i <= count; i++)
        if (i != split && load(f, split ? i > split : i == 2, paths[i])) return EXIT_USAGE;
    return EXIT_RIGHT;
}

int cmd_compare(int argc, char **argv)
{
    static char separator[] = ""; /* an argument that is found again after parsing */
    static files f;
    const char *gate = NULL;
    bool machines = false;
    compare_options out = {.names = {"base", "new"}};
    const command_option options[] = {
        {"gate", &gate, NULL, "PCT  exit 1 if a kernel is slower by more"},
        {"markdown", &out.markdown, NULL, "FILE  a table for a pull request"},
        {"json", &out.json, NULL, "FILE  every launch and every verdict"},
        {"machines", NULL, &machines, "two CPUs by ratios over a kernel that both have"},
        {NULL, NULL, NULL, NULL},
    };
    int positional, split = 0;
    bool done;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--") == 0) argv[i] = separator;
    if (command_parse(
            argc, argv, options, "compare BASE.json... [--] NEW.json... [options]",
            "compare base.json new.json --gate 15\n"
            "         attest compare base-*.json -- new-*.json --gate 3\n"
            "         attest compare --machines epyc.json xeon.json\n\n"
            "A file is one launch. From 6 on each side, taken in turns, small differences\n"
            "can be seen; with fewer only those beyond 10 %.\n"
            "exit 0: no kernel slower than the gate, or no gate; 1: slower; 125: undecided",
            &positional, &done))
        return EXIT_USAGE;
    if (done) return EXIT_RIGHT;
    for (int i = positional; i >= 1; i--)
        if (argv[i] == separator) split = i;
    if (machines && (gate || split))
        return command_error("compare: --machines takes two files and no gate: ratios of two CPUs "
                             "are no regression");
    if (compare_read_gate(gate, &out.gate) || (out.markdown && command_can_write(out.markdown)) ||
        (out.json && command_can_write(out.json)))
        return EXIT_USAGE;
    command_reserve_stdout(out.json), command_reserve_stdout(out.markdown);
    int status = load_all(&f, argv, positional, split);
    if (status == EXIT_RIGHT && machines)
        status = compare_machines((const json_t *const[]){f.runs[0][0], f.runs[1][0]}, &out);
    else if (status == EXIT_RIGHT)
        status = compare_runs((const json_t *const *)f.runs[0], f.count[0],
                              (const json_t *const *)f.runs[1], f.count[1], &out);
    free_files(&f);
    return status;
}
