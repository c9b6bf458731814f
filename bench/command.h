/* command.h: what the subcommands of `attest` share: options, kernel lists, errors, whole files.
 *
 * Exit codes: 0 right, 1 wrong, 2 usage or bad input, 77 skipped, 125 undecided (compare, ab), 130
 * interrupted. */
#ifndef BENCH_COMMAND_H
#define BENCH_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/attention.h"

enum {
    EXIT_RIGHT = 0,
    EXIT_WRONG = 1,
    EXIT_USAGE = 2,
    EXIT_SKIPPED = 77,
    EXIT_UNDECIDED = 125, /* what git bisect run skips */
    EXIT_INTERRUPTED = 130
};

/* Each takes its own argv (argv[0] is the subcommand's name) and returns the exit code. */
int cmd_list(int argc, char **argv);
int cmd_env(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_conform(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_ab(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_model(int argc, char **argv);
int cmd_show(int argc, char **argv);

/* One option of a subcommand. Exactly one of text, flag is set: --name VALUE stores the argument's
 * pointer, --name sets the flag. */
typedef struct command_option {
    const char *name; /* without dashes; a single letter is also accepted as -x */
    const char **text;
    bool *flag;
    const char *help; /* "VALUE  what it does" or "what it does" */
} command_option;

/* Parses argv against options (ended by a zero name). Positional arguments are moved to the front
 * of argv (from argv[1]) and counted in *positional. --help prints `usage`, the options and
 * `example` and sets *done. Returns EXIT_RIGHT or, after one line on standard error, EXIT_USAGE. */
int command_parse(int argc, char **argv, const command_option *options, const char *usage,
                  const char *example, int *positional, bool *done);

/* "attest: <message>" on standard error, one line; returns EXIT_USAGE. */
int command_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "all", "best" or comma-separated names -> kernels of the table, in order. Unknown or repeated
 * names and empty lists are errors. The list may hold kernels this CPU cannot run; named ones that
 * it cannot are an error, those that "all" brings are not. Returns EXIT_RIGHT or EXIT_USAGE.
 * `chosen` has room for all. */
int command_kernels(const char *list, const attn_kernel **chosen, int *count);

/* Will OpenMP start as many threads as it is asked for? OMP_THREAD_LIMIT and OMP_DYNAMIC let it
 * take fewer without a word. EXIT_RIGHT or EXIT_USAGE. */
int command_can_start(int64_t threads);

/* Prints one line for every CPU family whose ISAs are not in this build; the table lists an ISA
 * beside those of its family. */
void command_print_unbuilt(const char *prefix);

/* An integer option within [low, high]; `text` NULL leaves *value. EXIT_RIGHT or EXIT_USAGE. */
int command_int(const char *name, const char *text, int64_t low, int64_t high, int64_t *value);

/* A time option like "60s", "60" or "2m", up to a day, in seconds; `text` NULL leaves *seconds.
 * EXIT_RIGHT or EXIT_USAGE. */
int command_seconds(const char *name, const char *text, double *seconds);

/* Writes a file whole or not at all: temporary name beside it, fsync, rename. "-" is standard
 * output. EXIT_RIGHT or, with one line naming path and cause, EXIT_USAGE; then nothing is left
 * behind. */
int command_write(const char *path, const void *data, size_t size);

/* Several files, all or none: every one is complete under its temporary name before the first is
 * renamed. */
typedef struct command_file {
    const char *path;
    const void *data;
    size_t size;
} command_file;
int command_write_all(const command_file *files, int count);

/* "-", terminals, pipes and devices: they take the bytes as they are; there is no "whole or not at
 * all". */
bool command_is_stream(const char *path);

/* Could command_write write this path now? Tried by making the temporary file and removing it.
 * Asked before long work, so that no result is lost. */
int command_can_write(const char *path);

/* With `path` "-" the JSON has standard output for itself: what is printed from here on goes to
 * standard error. Call before printing anything. */
void command_reserve_stdout(const char *path);

/* The JSON as text through command_write, two-space indent, keys in order of insertion. Takes
 * ownership. */
int command_write_json(const char *path, json_t *json);

/* Bytes of the first `columns` characters of a UTF-8 text, for printf's %.*s. */
int command_fit(const char *text, int columns);

/* A progress bar on standard error if it is a terminal, nothing otherwise. `done` of `total`, and a
 * word. */
void command_progress(const char *what, double done, double total);
void command_progress_end(void);

/* Set by Ctrl-C once command_catch_interrupt was called; long loops stop at the next sensible
 * place. */
void command_catch_interrupt(void);
bool command_interrupted(void);

#endif
