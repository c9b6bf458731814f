/* command.c: options, kernel lists, whole files and progress for all subcommands. */
#include "bench/command.h"

#include <ctype.h>
#include <errno.h>
#include <omp.h>
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
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *c = line; *c; c++) /* names come from outside: one line stays one line */
        if (iscntrl((unsigned char)*c)) *c = '?';
    command_progress_end();
    fprintf(stderr, "attest: %s\n", line);
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
    for (const command_option *o = options; o->name; o++)
        printf("  --%-11s %s\n", o->name, o->help);
    printf("  --%-11s %s\n\nexample: attest %s\n", "help", "this text", example);
}

static int unknown_option(const command_option *options, const char *command, const char *arg)
{
    char known[256] = "";
    for (const command_option *o = options; o->name; o++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, " --%s", o->name);
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

int command_seconds(const char *name, const char *text, double *seconds)
{
    if (!text) return EXIT_RIGHT;
    char *end;
    double found = strtod(text, &end);
    if (strcmp(end, "m") == 0) found *= 60;
    bool unit = strcmp(end, "") == 0 || strcmp(end, "s") == 0 || strcmp(end, "m") == 0;
    if (end == text || !unit || !(found > 0) || !(found <= 86400))
        return command_error("--%s is \"%.40s\"; it must be a time like 60s or 5m, up to a day",
                             name, text);
    *seconds = found;
    return EXIT_RIGHT;
}

int command_can_start(int64_t threads)
{
    if (threads > omp_get_thread_limit())
        return command_error("OMP_THREAD_LIMIT is %d, and this runs up to %lld threads; raise it",
                             omp_get_thread_limit(), (long long)threads);
    if (threads > 1 && omp_get_dynamic())
        return command_error("OMP_DYNAMIC lets OpenMP run fewer threads than it is told; unset it");
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

void command_print_unbuilt(const char *prefix)
{
    int count;
    const attn_isa *isas = attn_isas(&count);
    const char *family = "";
    for (int i = 0; i < count; i++) {
        if (isas[i].built) continue;
        bool same = strcmp(family, isas[i].cpu_family) == 0;
        if (same) printf(", %s", isas[i].name);
        else
            printf("%s%snot in this build, for the CPU family %s: %s", family[0] ? "\n" : "",
                   prefix, isas[i].cpu_family, isas[i].name);
        family = isas[i].cpu_family;
    }
    if (family[0]) putchar('\n');
}

/* ---- files ---------------------------------------------------------------------------- */

static int write_failed(const char *path)
{
    return command_error("cannot write %s: %s", path, strerror(errno));
}

static FILE *reserved; /* standard output, when JSON has it for itself */

void command_reserve_stdout(const char *path)
{
    if (!path || strcmp(path, "-") != 0 || reserved) return;
    fflush(stdout);
    int copy = dup(STDOUT_FILENO);
    reserved = copy < 0 ? NULL : fdopen(copy, "w");
    if (reserved) dup2(STDERR_FILENO, STDOUT_FILENO);
}

bool command_is_stream(const char *path)
{
    struct stat found;
    return strcmp(path, "-") == 0 ||
           (stat(path, &found) == 0 && !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode));
}

static int write_stream(const char *path, const void *data, size_t size)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = !standard ? fopen(path, "wb") : reserved ? reserved : stdout;
    if (!file) return write_failed(path);
    bool written = fwrite(data, 1, size, file) == size && fflush(file) == 0;
    int status = written ? EXIT_RIGHT : write_failed(standard ? "standard output" : path);
    if (!standard) fclose(file);
    return status;
}

/* The name under which a file grows, beside its final place. */
static int temporary_name(const char *path, char *name, size_t size)
{
    struct stat found;
    if (stat(path, &found) == 0 && S_ISDIR(found.st_mode)) {
        errno = EISDIR;
        return write_failed(path);
    }
    if (snprintf(name, size, "%s.%d.part", path, (int)getpid()) >= (int)size)
        return command_error("the path %.60s... is too long", path);
    return EXIT_RIGHT;
}

static int write_temporary(const command_file *file)
{
    char name[4096];
    if (temporary_name(file->path, name, sizeof name)) return EXIT_USAGE;
    FILE *stream = fopen(name, "wb");
    if (!stream) return write_failed(file->path);
    bool written = fwrite(file->data, 1, file->size, stream) == file->size && fflush(stream) == 0 &&
                   fsync(fileno(stream)) == 0;
    int status = written ? EXIT_RIGHT : write_failed(file->path);
    if (fclose(stream) && status == EXIT_RIGHT) status = write_failed(file->path);
    if (status) unlink(name);
    return status;
}

/* Renames the temporary file to its place, or removes it. */
static int settle_temporary(const char *path, bool keep)
{
    char name[4096];
    if (temporary_name(path, name, sizeof name)) return EXIT_USAGE;
    if (keep && rename(name, path) == 0) return EXIT_RIGHT;
    int status = keep ? write_failed(path) : EXIT_RIGHT;
    unlink(name);
    return status;
}

int command_write_all(const command_file *files, int count)
{
    int ready = 0, status = EXIT_RIGHT;
    for (; ready < count && status == EXIT_RIGHT; ready++)
        status = command_is_stream(files[ready].path)
                     ? write_stream(files[ready].path, files[ready].data, files[ready].size)
                     : write_temporary(&files[ready]);
    bool keep = status == EXIT_RIGHT;
    for (int f = 0; f < (keep ? count : ready - 1); f++)
        if (!command_is_stream(files[f].path) && settle_temporary(files[f].path, keep))
            status = EXIT_USAGE;
    return status;
}

int command_write(const char *path, const void *data, size_t size)
{
    command_file file = {path, data, size};
    return command_write_all(&file, 1);
}

int command_can_write(const char *path)
{
    char name[4096];
    if (command_is_stream(path)) return EXIT_RIGHT;
    if (temporary_name(path, name, sizeof name)) return EXIT_USAGE;
    FILE *stream = fopen(name, "wb");
    if (!stream) return write_failed(path);
    fclose(stream);
    unlink(name);
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

int command_fit(const char *text, int columns)
{
    int bytes = 0;
    while (text[bytes]) {
        bool starts = ((unsigned char)text[bytes] & 0xC0) != 0x80;
        if (starts && columns-- == 0) break;
        bytes++;
    }
    return bytes;
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
    double share = done < total ? done / total : 1; /* dirty rounds come on top */
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
