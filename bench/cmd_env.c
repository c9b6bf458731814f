/* cmd_env.c: which machine is this, and is it fit for measuring? */
#include <stdio.h>

#include "bench/command.h"
#include "bench/machine.h"

static void print_env(const json_t *machine)
{
    size_t index;
    json_t *item;
    static const char *const texts[] = {"cpu", "arch", "microcode", "kernel", "class", "slug"};
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
        printf("%-10s %s\n", texts[t], json_string_value(json_object_get(machine, texts[t])));
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
    json_t *notes = machine_disturbances();
    puts(json_array_size(notes) ? "\nFor measuring, in order of effect:"
                                : "\nNothing found that disturbs timings.");
    json_array_foreach (notes, index, item)
        printf("  - %s\n    %s\n", json_string_value(json_object_get(item, "what")),
               json_string_value(json_object_get(item, "change")));
    json_decref(notes);
}

int cmd_env(int argc, char **argv)
{
    const char *json = NULL;
    const command_option options[] = {
        {"json", &json, NULL, "FILE  write as JSON (- = standard output)"},
        {NULL, NULL, NULL, NULL}};
    int positional;
    bool done;
    if (command_parse(argc, argv, options, "env [--json FILE]", "env", &positional, &done))
        return EXIT_USAGE;
    if (done) return EXIT_RIGHT;
    if (positional) return command_error("env: unexpected argument \"%.60s\"", argv[1]);
    json_t *machine = machine_record();
    if (json) return command_write_json(json, machine);
    print_env(machine);
    json_decref(machine);
    return EXIT_RIGHT;
}
