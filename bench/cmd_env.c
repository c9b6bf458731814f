/* cmd_env.c: which machine is this, and is it fit for measuring? */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/command.h"
#include "bench/fitness.h"
#include "bench/machine.h"

static const double WATCHED_SECONDS = 0.2; /* 20 ticks of a CPU, the kernel's grain */

/* A long text goes on below itself, broken between words. */
static void print_words(const char *label, const char *text)
{
    int column = printf("%-10s", label);
    for (; *text; text += strspn(text, " ")) {
        int length = (int)strcspn(text, " ");
        if (column + 1 + length > 80) column = printf("\n%-10s", "") - 1;
        column += printf(" %.*s", length, text);
        text += length;
    }
    putchar('\n');
}

static void print_env(const json_t *machine)
{
    size_t index;
    json_t *item;
    static const char *const texts[] = {"cpu", "arch", "microcode", "kernel", "class", "slug"};
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
        print_words(texts[t], json_string_value(json_object_get(machine, texts[t])));
    printf("%-10s %lld\n", "cpus", json_integer_value(json_object_get(machine, "logical_cpus")));
    printf("%-10s %.1f GiB\n", "memory",
           (double)json_integer_value(json_object_get(machine, "memory_bytes")) / 0x1p30);
    json_array_foreach (json_object_get(machine, "caches"), index, item)
        printf("cache L%lld   %lld KiB %s\n", json_integer_value(json_object_get(item, "level")),
               json_integer_value(json_object_get(item, "bytes")) / 1024,
               json_string_value(json_object_get(item, "type")));
    json_array_foreach (json_object_get(machine, "isas"), index, item) {
        bool runs = json_is_true(json_object_get(item, "runs"));
        printf("isa %-7s %s%s\n", json_string_value(json_object_get(item, "name")),
               runs ? "runs" : "does not run: ", json_string_value(json_object_get(item, "why")));
    }
}

/* ---- fitness --------------------------------------------------------------------------- */

static void print_line(const char *label, const char *text)
{
    if (*text) printf("  %-5s  %.*s\n", label, command_fit(text, 71), text);
}

/* "unfit: other work, steal": the names of what makes it so. */
static void print_verdict(const fitness *f)
{
    int columns = printf("fitness    %s", fitness_verdict(f));
    for (int i = 0; i < f->count && f->findings[i].level == fitness_worst(f); i++) {
        const char *name = f->findings[i].name;
        if (fitness_worst(f) == FITNESS_NOTE) break;
        if (columns + (int)strlen(name) + 2 > 76) {
            fputs(", ...", stdout);
            break;
        }
        columns += printf("%s %s", i ? "," : ":", name);
    }
    putchar('\n');
}

static void print_fitness(const fitness *f)
{
    print_verdict(f);
    if (f->count) puts("\nIn order of effect:");
    for (int i = 0; i < f->count; i++) {
        const fitness_finding *x = &f->findings[i];
        print_line(fitness_level_names[x->level], x->found);
        print_line("", x->why);
        print_line(x->on_host ? "host" : "do", x->change);
        print_line(*x->change ? "or" : "do", x->instead);
    }
}

int cmd_env(int argc, char **argv)
{
    const char *json = NULL, *root = "";
    const command_option options[] = {
        {"root", &root, NULL, "FOLDER  judge the copy of a machine's /proc and /sys there"},
        {"json", &json, NULL, "FILE  write as JSON (- = standard output)"},
        {NULL, NULL, NULL, NULL}};
    int positional;
    bool done;
    if (command_parse(argc, argv, options, "env [--json FILE] [--root FOLDER]", "env", &positional,
                      &done))
        return EXIT_USAGE;
    if (done) return EXIT_RIGHT;
    if (positional) return command_error("env: unexpected argument \"%.60s\"", argv[1]);
    if (*root && access(root, R_OK | X_OK))
        return command_error("--root %s cannot be read: %s", root, strerror(errno));
    static fitness f;
    fitness_look(&f, root, *root ? 0 : WATCHED_SECONDS); /* a copy stands still */
    json_t *machine = *root ? json_object() : machine_record();
    if (json) {
        json_object_set_new(machine, "fitness", fitness_json(&f));
        return command_write_json(json, machine);
    }
    if (!*root) print_env(machine);
    print_fitness(&f);
    json_decref(machine);
    return EXIT_RIGHT;
}
