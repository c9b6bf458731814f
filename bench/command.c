/* command.c: options, kernel lists, whole files and progress for all subcommands. */
#include "bench/command.h"

#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int command_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    command_progress_end();
    fputs("attest: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return EXIT_USAGE;
}

/* ---- options -------------------------------------------------------------------------- */

static const command_option *find_option(const command_option *options, const char *arg)
{
    const char *name = arg + (arg[1] == '-' ? 2 : 1);
    size_t length = strcspn(name, "=");
    for (const command_option *o = options; o->name; o++)
        if (strlen(o->name) == length && strncmp(o->name, name, length) == 0) return o;
    return NULL;
}

static void print_help(const command_option *options, const char *usage, const char *example)
{
    printf("usage: attest %s\n\n", usage);
    for (const command_option *o = options; o->name; o++) printf("  --%-9s %s\n", o->name, o->help);
    printf("  --%-9s %s\n\nexample: attest %s\n", "help", "this text", example);
}

static int unknown_option(const command_option *options, const char *command, const char *arg)
{
    char known[256] = "";
    for (const command_option *o = options; o->name; o++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, " %s%s", o->name[1] ? "--" : "-", o->name);
    }
    return command_error("%s: unknown option %.60s; legal are%s --help", command, arg, known);
}

int command_parse(int argc, char **argv, const command_option *options, const char *usage,
                  const char *example, int *positional, bool *done)
{
    *positional = 0;
    *done = false;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] != '-' || argv[i][1] == '\0') {
            argv[1 + (*positional)++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(options, usage, example);
            *done = true;
            return EXIT_RIGHT;
        }
        const command_option *o = find_option(options, argv[i]);
        if (!o) return unknown_option(options, argv[0], argv[i]);
        const char *value = strchr(argv[i], '=');
        if (o->flag && value) return command_error("%s: --%s takes no value", argv[0], o->name);
        if (o->flag) *o->flag = true;
        else if (value) *o->text = value + 1;
        else if (i + 1 < argc) *o->text = argv[++i];
        else return command_error("%s: --%s needs a value: %s", argv[0], o->name, o->help);
    }
    return EXIT_RIGHT;
}

int command_int(const char *name, const char *text, int64_t low, int64_t high, int64_t *value)
{
    if (!text) return EXIT_RIGHT;
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (end == text || *end || errno || number < low || number > high)
        return command_error("--%s is \"%.40s\"; it must be a whole number from %lld to %lld", name,
                             text, (long long)low, (long long)high);
    *value = number;
    return EXIT_RIGHT;
}

/* ---- kernels -------------------------------------------------------------------------- */

static int unknown_kernel(const char *name)
{
    char known[512] = "";
    int count;
    const attn_kernel *const *table = attn_kernels(&count);
    for (int k = 0; k < count; k++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, " %s", table[k]->name);
    }
    return command_error("unknown kernel \"%.60s\"; legal are all, best,%s", name, known);
}

static int add_kernel(const attn_kernel *kernel, const attn_kernel **chosen, int *count)
{
    const char *missing = attn_isa_missing(kernel->isa);
    if (missing) return command_error("kernel %s cannot run here: %s", kernel->name, missing);
    for (int k = 0; k < *count; k++)
        if (chosen[k] == kernel) return command_error("kernel %s is named twice", kernel->name);
    chosen[(*count)++] = kernel;
    return EXIT_RIGHT;
}

int command_kernels(const char *list, const attn_kernel **chosen, int *count)
{
    int all;
    const attn_kernel *const *table = attn_kernels(&all);
    *count = 0;
    if (strcmp(list, "all") == 0) {
        for (int k = 0; k < all; k++) chosen[(*count)++] = table[k];
        return EXIT_RIGHT;
    }
    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ",");
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        attn_problem usual = attn_problem_make(8, 1024, 64);
        const attn_kernel *kernel = strcmp(name, "best") == 0 ? attn_best(&usual) : attn_find(name);
        if (!kernel) return unknown_kernel(name);
        if (add_kernel(kernel, chosen, count)) return EXIT_USAGE;
        at += length;
        if (*at == '\0') return EXIT_RIGHT;
    }
}

/* ---- files ---------------------------------------------------------------------------- */

static int write_failed(const char *path, const char *temporary, FILE *file)
{
    int cause = errno;
    if (file) fclose(file);
    if (temporary) unlink(temporary);
    return command_error("cannot write %s: %s", path, strerror(cause));
}

/* Straight into a terminal, pipe or device, where there is no "whole or not at all". */
static int write_stream(const char *path, FILE *file, const void *data, size_t size)
{
    if (!file) return write_failed(path, NULL, NULL);
    if (fwrite(data, 1, size, file) != size || fflush(file)) return write_failed(path, NULL, file);
    return file != stdout && fclose(file) ? write_failed(path, NULL, NULL) : EXIT_RIGHT;
}

int command_write(const char *path, const void *data, size_t size)
{
    struct stat found;
    if (strcmp(path, "-") == 0) return write_stream("standard output", stdout, data, size);
    if (stat(path, &found) == 0 && !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode))
        return write_stream(path, fopen(path, "wb"), data, size);
    char temporary[4096];
    int length = snprintf(temporary, sizeof temporary, "%s.%d.part", path, (int)getpid());
    if (length >= (int)sizeof temporary)
        return command_error("the path %.60s... is too long", path);
    FILE *file = fopen(temporary, "wb");
    if (!file) return write_failed(path, NULL, NULL);
    if (fwrite(data, 1, size, file) != size || fflush(file) || fsync(fileno(file)))
        return write_failed(path, temporary, file);
    if (fclose(file)) return write_failed(path, temporary, NULL);
    return rename(temporary, path) ? write_failed(path, temporary, NULL) : EXIT_RIGHT;
}

int command_can_write(const char *path)
{
    if (strcmp(path, "-") == 0) return EXIT_RIGHT;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    if (access(dirname(folder), W_OK)) return write_failed(path, NULL, NULL);
    return EXIT_RIGHT;
}

int command_write_json(const char *path, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(json);
    if (!text)
        return command_error("cannot write %s: a value is not a number, or memory is short", path);
    size_t length = strlen(text);
    text[length] = '\n'; /* in place of the terminator; the size is explicit */
    int status = command_write(path, text, length + 1);
    free(text);
    return status;
}

/* ---- progress and interrupt ----------------------------------------------------------- */

static bool bar_shown;

void command_progress(const char *what, double done, double total)
{
    static struct timespec start;
    struct timespec now;
    if (!isatty(STDERR_FILENO) || !(total > 0)) return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!bar_shown) start = now;
    bar_shown = true;
    double elapsed =
        (double)(now.tv_sec - start.tv_sec) + 1e-9 * (double)(now.tv_nsec - start.tv_nsec);
    double share = done / total;
    int filled = (int)(24 * share);
    fprintf(stderr, "\r[%.*s%.*s] %3.0f%%  %.0fs", filled, "########################", 24 - filled,
            "........................", 100 * share, elapsed);
    if (share > 0.02) fprintf(stderr, ", %.0fs left", elapsed / share - elapsed);
    fprintf(stderr, "  %.26s\033[K", what);
}

void command_progress_end(void)
{
    if (bar_shown) fputs("\r\033[K", stderr);
    bar_shown = false;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

void command_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESETHAND};
    sigaction(SIGINT, &action, NULL);
}

bool command_interrupted(void) { return interrupted; }
