/* cmd_export.c: `attest export RUN.json --as FORMAT [-o FILE]`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"
#include "bench/export.h"

static const export_format *find_format(const char *name)
{
    for (const export_format *f = export_formats; f->name; f++)
        if (strcmp(f->name, name) == 0) return f;
    return NULL;
}

static int unknown_format(const char *name)
{
    char known[256] = "";
    for (const export_format *f = export_formats; f->name; f++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s %s", used ? "," : "", f->name);
    }
    if (!name) return command_error("export: --as FORMAT is missing; legal are%s", known);
    return command_error("export: format \"%.40s\"; legal are%s", name, known);
}

static int write_export(const json_t *run, const export_format *format, const char *output)
{
    char *bytes = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&bytes, &size);
    if (!file) return command_error("memory is short");
    format->write(run, file);
    fclose(file);
    int status = command_write(output, bytes, size);
    free(bytes);
    return status;
}

int cmd_export(int argc, char **argv)
{
    const char *as = NULL, *output = "-";
    const command_option options[] = {
        {"as", &as, NULL,
         "FORMAT  csv, markdown, gbench, gbench-flat,\n"
         "                benchfmt, bmf, gha or pyperf"},
        {"o", &output, NULL, "FILE  instead of standard output"},
        {NULL, NULL, NULL, NULL},
    };
    int positional;
    bool done;
    if (command_parse(argc, argv, options, "export RUN.json --as FORMAT [-o FILE]",
                      "export run.json --as markdown", &positional, &done))
        return EXIT_USAGE;
    if (done) return EXIT_RIGHT;
    if (positional != 1)
        return command_error("export: name one result file, for example export run.json --as csv");
    const export_format *format = as ? find_format(as) : NULL;
    if (!format) return unknown_format(as);
    json_error_t error;
    json_t *run = json_load_file(argv[1], 0, &error);
    if (!run) return command_error("cannot read %s as JSON: %s", argv[1], error.text);
    char wrong[800];
    int status = EXIT_RIGHT;
    if (!export_check(run, wrong, sizeof wrong))
        status = command_error("%s is no result file that can be exported: %s", argv[1], wrong);
    if (status == EXIT_RIGHT) status = write_export(run, format, output);
    json_decref(run);
    return status;
}
