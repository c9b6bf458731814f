/* attest.c: the program. One table of subcommands. */
#include <stdio.h>
#include <string.h>

#include "bench/command.h"

static const struct {
    const char *name;
    int (*run)(int, char **);
    const char *help;
} commands[] = {
    {"list", cmd_list, "kernels: name, ISA, whether it runs here, claims, source"},
    {"env", cmd_env, "this machine, and whether it is fit for measuring"},
    {"run", cmd_run, "compute one case directory or .npy files"},
    {"conform", cmd_conform, "judge kernels by cases whose answers others computed"},
    {"bench", cmd_bench, "measure verified kernels"},
    {"compare", cmd_compare, "result files of two commits: faster, slower, same, undecided"},
    {"ab", cmd_ab, "two builds, measured in alternating launches"},
    {"export", cmd_export, "turn a result file into what other tools read"},
    {"model", cmd_model, "a real trained encoder with any kernel inside"},
    {"show", cmd_show, "where a head looks: its weights as a heat map"},
    {"verify", cmd_verify, "is every kernel right, within its derived error bound?"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_commands(FILE *file)
{
    fputs("usage: attest COMMAND [options]     (attest COMMAND --help for each)\n\n", file);
    for (int c = 0; c < COMMANDS; c++)
        fprintf(file, "  %-8s %s\n", commands[c].name, commands[c].help);
    fputs("\nexample: attest verify --kernels best\n", file);
}

static int unknown_command(const char *name)
{
    char known[256] = "";
    for (int c = 0; c < COMMANDS; c++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s %s", used ? "," : "", commands[c].name);
    }
    return command_error("unknown command \"%.40s\"; legal are%s; see attest --help", name, known);
}

/* What was printed must have arrived: a report cut short by a full disk is no report. */
static int printed(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    return command_error("cannot write to standard output");
}

int main(int argc, char **argv)
{
    if (argc < 2) return print_commands(stderr), EXIT_USAGE;
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return print_commands(stdout), printed(EXIT_RIGHT);
    if (strcmp(argv[1], "--version") == 0)
        return puts("attest " ATTEST_VERSION), printed(EXIT_RIGHT);
    attn_error error;
    if (attn_isa_cap(&error)) return command_error("%s", error.text);
    if (strncmp(argv[1], "--benchmark_", 12) == 0) /* google-benchmark's tools know no commands */
        return argv[0] = "bench", printed(cmd_bench(argc, argv));
    for (int c = 0; c < COMMANDS; c++)
        if (strcmp(argv[1], commands[c].name) == 0)
            return printed(commands[c].run(argc - 1, argv + 1));
    return unknown_command(argv[1]);
}
