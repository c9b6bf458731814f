/* gbench_options.c: google-benchmark's command line; its docs/user_guide.md and
 * src/commandlineflags.cc say what the values are. */
#include "bench/gbench_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bench/command.h"
#include "bench/export_parts.h"

static const char prefix[] = "--benchmark_";

static const struct {
    const char *name;
    size_t field;
    const char *empty; /* what the option without "=value" means; NULL: it needs one */
} flags[] = {
    {"filter", offsetof(gbench_options, filter), NULL},
    {"list_tests", offsetof(gbench_options, list_tests), "true"},
    {"repetitions", offsetof(gbench_options, repetitions), NULL},
    {"format", offsetof(gbench_options, format), NULL},
    {"out", offsetof(gbench_options, out), NULL},
    {"out_format", offsetof(gbench_options, out_format), NULL},
    {"display_aggregates_only", offsetof(gbench_options, aggregates), "true"},
};
enum { FLAGS = sizeof flags / sizeof *flags };

/* ---- reading -------------------------------------------------------------------------- */

static int unknown_flag(const char *arg)
{
    char known[256] = "";
    for (int f = 0; f < FLAGS; f++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, " %s", flags[f].name);
    }
    return command_error("bench: unknown option %.60s; after %s are legal%s", arg, prefix, known);
}

/* "--benchmark_name=value" into its field. */
static int store(gbench_options *o, const char *arg)
{
    const char *name = arg + strlen(prefix), *value = strchr(name, '=');
    size_t length = strcspn(name, "=");
    for (int f = 0; f < FLAGS; f++) {
        if (strlen(flags[f].name) != length || strncmp(flags[f].name, name, length) != 0) continue;
        if (!value && !flags[f].empty)
            return command_error("bench: %.60s needs a value, as %s%s=VALUE", arg, prefix,
                                 flags[f].name);
        *(const char **)((char *)o + flags[f].field) = value ? value + 1 : flags[f].empty;
        return EXIT_RIGHT;
    }
    return unknown_flag(arg);
}

/* As google-benchmark reads booleans: what is not false is true. */
static bool truth(const char *value)
{
    static const char *const no[] = {"0", "f", "n", "no", "false", "off"};
    if (!value || !*value) return false;
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (strcasecmp(value, no[i]) == 0) return false;
    return true;
}

static int check_choice(const char *name, const char *value, const char *first, const char *second)
{
    if (!value || strcmp(value, first) == 0 || strcmp(value, second) == 0) return EXIT_RIGHT;
    return command_error("%s%s is \"%.40s\"; legal: %s%s%s", prefix, name, value, first,
                         first == second ? "" : ", ", first == second ? "" : second);
}

static int compile(gbench_options *o)
{
    if (!o->filter) return EXIT_RIGHT;
    const char *pattern = o->filter;
    if (*pattern == '-') o->negated = true, pattern++;
    if (!*pattern || strcmp(pattern, "all") == 0) pattern = ".";
    int wrong = regcomp(&o->pattern, pattern, REG_EXTENDED | REG_NOSUB);
    if (!wrong) return EXIT_RIGHT;
    char why[128];
    regerror(wrong, &o->pattern, why, sizeof why);
    return command_error("%sfilter is \"%.200s\", no extended regular expression: %s", prefix,
                         o->filter, why);
}

int gbench_read(gbench_options *o, int *argc, char **argv)
{
    int kept = 1;
    int64_t rounds = 0;
    *o = (gbench_options){0};
    for (int i = 1; i < *argc; i++)
        if (strncmp(argv[i], prefix, strlen(prefix)) != 0) argv[kept++] = argv[i];
        else if (store(o, argv[i])) return EXIT_USAGE;
    if (check_choice("format", o->format, "console", "json") ||
        check_choice("out_format", o->out_format, "json", "json") ||
        command_int("benchmark_repetitions", o->repetitions, 1, MEASURE_MOST_ROUNDS, &rounds) ||
        (o->out && command_can_write(o->out)) || compile(o))
        return EXIT_USAGE;
    if (rounds) { /* its own place in argv is free now */
        snprintf(o->rounds, sizeof o->rounds, "--rounds=%lld", (long long)rounds);
        argv[kept++] = o->rounds;
    }
    *argc = kept;
    return EXIT_RIGHT;
}

void gbench_free(gbench_options *o)
{
    if (o->filter) regfree(&o->pattern);
}

/* ---- choosing ------------------------------------------------------------------------- */

static void name_of(const char *kernel, const attn_problem *problem, int threads,
                    char name[EXPORT_FULL_NAME])
{
    char key[EXPORT_NAME_MOST];
    attn_problem_print(problem, key, sizeof key);
    export_name(kernel, key, threads, name);
}

bool gbench_wants(const gbench_options *o, const char *kernel, const attn_problem *problem,
                  int threads)
{
    char name[EXPORT_FULL_NAME];
    if (!o->filter) return true;
    name_of(kernel, problem, threads, name);
    return (regexec(&o->pattern, name, 0, NULL, 0) == 0) != o->negated;
}

bool gbench_wants_list(const gbench_options *o) { return truth(o->list_tests); }

int gbench_list(const measure_group *groups, int count)
{
    for (int i = 0; i < count; i++)
        for (int a = 0; a < groups[i].arm_count; a++) {
            char name[EXPORT_FULL_NAME];
            const attn_kernel *kernel = groups[i].arms[a].kernel;
            if (attn_supports(kernel, &groups[i].problem)) continue; /* it would be skipped */
            name_of(kernel->name, &groups[i].problem, groups[i].threads, name);
            puts(name);
        }
    return EXIT_RIGHT;
}

/* ---- writing -------------------------------------------------------------------------- */

static bool to_stdout(const gbench_options *o)
{
    return o->format && strcmp(o->format, "json") == 0;
}

bool gbench_wants_json(const gbench_options *o) { return o->out || to_stdout(o); }

void gbench_reserve(const gbench_options *o)
{
    command_reserve_stdout(to_stdout(o) ? "-" : o->out);
}

int gbench_write(const gbench_options *o, const json_t *run)
{
    char *bytes = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&bytes, &size);
    if (!file) return command_error("memory is short");
    export_gbench(run, file);
    fclose(file);
    int status = to_stdout(o) ? command_write("-", bytes, size) : EXIT_RIGHT;
    if (o->out && status == EXIT_RIGHT) status = command_write(o->out, bytes, size);
    free(bytes);
    return status;
}
