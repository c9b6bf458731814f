/* compare_print.c: a comparison as a table and as Markdown for a pull request. Each states how
 * the launches were taken and what they could not have seen. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"
#include "bench/compare.h"

enum { MARKDOWN_MOST = 65000, NAMES_WIDTH = 30 };

static double percent(double ln) { return 100 * expm1(ln); }

/* ---- sentences that table and Markdown share ------------------------------------------ */

static void print_cycles(const comparison *c, FILE *file)
{
    fprintf(
        file,
        "%d launches per side in cycles of base, new and base again (the sham), every one a new "
        "process; noise floor %.1f %%, band +-%.1f %%.",
        c->launches, percent(c->floor), percent(c->band));
}

static void print_launches(const comparison *c, FILE *file)
{
    fprintf(file, "%d launches of base and %d of new, taken in turns; band +-%.1f %%.",
            c->input.count[COMPARE_BASE], c->input.count[COMPARE_NEW], percent(c->band));
}

static void print_in_a_row(const comparison *c, FILE *file)
{
    fprintf(
        file,
        "%d launches of base and %d of new, but first one side and then the other: what changed "
        "with the hour looks like a change of the code, so only what exceeds 10 %% is claimed. "
        "Take turns, or use attest ab BASE_BINARY NEW_BINARY.",
        c->input.count[COMPARE_BASE], c->input.count[COMPARE_NEW]);
}

static void print_few(const comparison *c, FILE *file)
{
    (void)c;
    fprintf(
        file,
        "One launch can differ by 10 %% from another of the same binary by memory layout alone, "
        "so only what exceeds 10 %% is claimed. A finer answer: attest ab BASE_BINARY "
        "NEW_BINARY, or %d files on each side.",
        COMPARE_LEAST_LAUNCHES);
}

/* May one cell alone be claimed, by the smallest p that these launches can give? */
static bool can_claim_one(const comparison *c)
{
    return c->kind == COMPARE_FEW_LAUNCHES || 2 * c->null.tail[c->null.pairs] * c->compared <= 0.05;
}

static void print_reach(const comparison *c, FILE *file)
{
    if (isfinite(c->smallest))
        fprintf(file, "Smallest difference that could be seen: %.1f %% (median over %d cells).",
                percent(c->smallest), c->compared);
    else fputs("No interval exists: with so few rounds no difference could be seen.", file);
    if (!can_claim_one(c))
        fprintf(file, " One cell of %d alone could not be claimed; more launches could.",
                c->compared);
}

static void print_costs(const comparison *c, FILE *file)
{
    if (c->alone)
        fputs("Ratios are of clock cycles on cores that nobody shares, as far as could be fitted: "
              "clock and neighbours are taken out.",
              file);
    else fputs("Ratios are of times.", file);
    fprintf(file, " In the median, cells are %.1f %% apart in times", percent(c->apart));
    if (c->counted) fprintf(file, ", %.1f %% in clock cycles alone", percent(c->apart_alone));
    fputc('.', file);
}

/* Which builds: commit, and whether the tree had changes beside it. */
static void print_builds(const comparison *c, FILE *file)
{
    static const char *const names[] = {"Base: commit", "; new: commit"};
    for (compare_side side = COMPARE_BASE; side <= COMPARE_NEW; side++) {
        const json_t *tool = json_object_get(c->input.runs[side][0], "tool");
        const char *commit = json_string_value(json_object_get(tool, "commit"));
        fprintf(file, "%s %.40s%s", names[side], commit ? commit : "unknown",
                json_is_true(json_object_get(tool, "dirty")) ? " with changes" : "");
    }
    fputs(".\n", file);
}

/* Sentences of the comparison's limits, each after `bullet`. */
static void print_limits(const comparison *c, const char *bullet, FILE *file)
{
    static void (*const how[])(const comparison *, FILE *) = {print_cycles, print_launches,
                                                              print_in_a_row, print_few};
    size_t i;
    json_t *sentence;
    fputs(bullet, file), how[c->kind](c, file), fputc('\n', file);
    if (c->compared) fputs(bullet, file), print_reach(c, file), fputc('\n', file);
    if (c->compared) fputs(bullet, file), print_costs(c, file), fputc('\n', file);
    fputs(bullet, file), print_builds(c, file);
    json_array_foreach (c->notes, i, sentence)
        fprintf(file, "%s%s.\n", bullet, json_string_value(sentence));
}

static const char *const answers[] = {
    "clear",
    "slower than the gate allows",
    "undecided",
    "slower in the first set of launches but not in the second: undecided",
};

static void print_gate(const comparison *c, const char *bullet, FILE *file)
{
    bool all_clear = c->gate >= 0 && c->kernel_count > 0;
    for (int k = 0; k < c->kernel_count; k++) {
        const compare_kernel *kernel = &c->kernels[k];
        if (kernel->answer == COMPARE_CLEAR) continue;
        all_clear = false;
        fprintf(file, "%sgate %g %%: %s %s%s\n", bullet, c->gate, kernel->name,
                answers[kernel->answer],
                c->second && kernel->answer == COMPARE_REGRESSED ? ", again in a second set" : "");
    }
    if (all_clear) fprintf(file, "%sgate %g %%: every kernel is clear\n", bullet, c->gate);
    else if (c->gate >= 0 && percent(c->smallest) > c->gate)
        fprintf(file, "%sthe gate of %g %% is below the smallest difference that could be seen\n",
                bullet, c->gate);
}

static void print_summary(const comparison *c, FILE *file)
{
    int count[4] = {0};
    for (int i = 0; i < c->compared; i++) count[c->cells[i].verdict]++;
    fprintf(file, "%s: %d slower, %d faster, %d same, %d undecided", compare_verdict(c),
            count[VERDICT_SLOWER], count[VERDICT_FASTER], count[VERDICT_SAME],
            count[VERDICT_UNDECIDED]);
    if (c->cell_count > c->compared)
        fprintf(file, ", %d not compared", c->cell_count - c->compared);
    if (c->undecided) fprintf(file, "; undecided because %s", c->undecided);
}

/* ---- the terminal --------------------------------------------------------------------- */

static void print_cell(const compare_cell *cell)
{
    char names[256], interval[32] = "-";
    snprintf(names, sizeof names, "%-14s %s", cell->kernel, cell->problem);
    if (cell->ratio.bounded)
        snprintf(interval, sizeof interval, "[%.3f,%.3f]", exp(cell->ratio.low),
                 exp(cell->ratio.high));
    if (strlen(names) > NAMES_WIDTH) printf("%s\n%-*s", names, NAMES_WIDTH, "");
    else printf("%-*s", NAMES_WIDTH, names);
    printf(" %2d %7.4g %7.4g %5.3f %13s %s\n", cell->threads, cell->median_ns[COMPARE_BASE] * 1e-6,
           cell->median_ns[COMPARE_NEW] * 1e-6, exp(cell->ratio.median), interval,
           verdict_names[cell->verdict]);
}

/* `text` in lines of at most 80 columns, broken at spaces. */
static void print_wrapped(char *text)
{
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        while (*line) {
            int length = (int)strlen(line);
            if (length > 80)
                for (length = 80; length > 0 && line[length] != ' ';) length--;
            if (length == 0) length = (int)strcspn(line, " ");
            printf("%.*s\n", length, line);
            line += length + strspn(line + length, " ");
        }
}

static void print_left_out(const comparison *c, FILE *file)
{
    enum { MOST = 8 };
    for (int i = c->compared; i < c->cell_count && i < c->compared + MOST; i++)
        fprintf(file, "not compared: %s %s, threads %d: %s\n", c->cells[i].kernel,
                c->cells[i].problem, c->cells[i].threads, c->cells[i].left_out);
    if (c->cell_count - c->compared > MOST)
        fprintf(file, "not compared: %d more\n", c->cell_count - c->compared - MOST);
}

void compare_print(const comparison *c)
{
    char *sentences = NULL;
    size_t size;
    printf("%-14s %-15s %2s %7s %7s %5s %13s %s\n", "kernel", "problem", "th", "base ms", "new ms",
           "ratio", "95 % interval", "verdict");
    for (int i = 0; i < c->compared; i++) print_cell(&c->cells[i]);
    if (c->second) puts("again, in a second set of launches:");
    for (int i = 0; c->second && i < c->second->compared; i++) print_cell(&c->second->cells[i]);
    FILE *file = open_memstream(&sentences, &size);
    if (!file) return;
    print_left_out(c, file);
    print_summary(c, file), fputc('\n', file);
    print_limits(c, "", file);
    print_gate(c, "", file);
    fclose(file);
    print_wrapped(sentences);
    free(sentences);
}

/* ---- Markdown ------------------------------------------------------------------------- */

static void markdown_cell(const compare_cell *cell, FILE *file)
{
    fprintf(file, "| %s | `%.60s` | `%.120s` | %d | %.4g ms | %.4g ms | %.3f | ",
            verdict_names[cell->verdict], cell->kernel, cell->problem, cell->threads,
            cell->median_ns[COMPARE_BASE] * 1e-6, cell->median_ns[COMPARE_NEW] * 1e-6,
            exp(cell->ratio.median));
    if (cell->ratio.bounded)
        fprintf(file, "%.3f to %.3f |\n", exp(cell->ratio.low), exp(cell->ratio.high));
    else fputs("none |\n", file);
}

/* Rows of one kind, while they fit; returns how many did not. */
static int markdown_rows(const comparison *c, bool changed, long most, FILE *file)
{
    int left_out = 0;
    for (int i = 0; i < c->compared; i++) {
        verdict v = c->cells[i].verdict;
        if ((v == VERDICT_SLOWER || v == VERDICT_FASTER) != changed) continue;
        if (ftell(file) < most) markdown_cell(&c->cells[i], file);
        else left_out++;
    }
    return left_out;
}

/* What changed comes first. Returns how many rows did not fit. */
static int markdown_table(const comparison *c, long most, FILE *file)
{
    fputs("| verdict | kernel | problem | threads | base | new | new / base | 95 % interval |\n"
          "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |\n",
          file);
    int left_out = markdown_rows(c, true, most, file);
    left_out += markdown_rows(c, false, most, file);
    fputc('\n', file);
    return left_out;
}

void compare_markdown(const comparison *c, FILE *file)
{
    const json_t *machine = json_object_get(c->input.runs[COMPARE_BASE][0], "machine");
    enum { LIMITS = 12000 }; /* for what stands beneath the table */
    fputs("**attest: ", file), print_summary(c, file), fputs("**\n\n", file);
    int left_out = markdown_table(c, MARKDOWN_MOST - LIMITS, file);
    if (c->second) {
        fputs("A second set of launches, because the first was slower than the gate allows:\n\n",
              file);
        left_out += markdown_table(c->second, MARKDOWN_MOST - LIMITS, file);
    }
    if (left_out) fprintf(file, "* %d more rows do not fit into a comment.\n", left_out);
    print_gate(c, "* ", file);
    print_limits(c, "* ", file);
    for (int i = c->compared; i < c->cell_count && ftell(file) < MARKDOWN_MOST - 2000; i++)
        fprintf(file, "* Not compared: `%.60s` `%.120s`, threads %d: %s.\n", c->cells[i].kernel,
                c->cells[i].problem, c->cells[i].threads, c->cells[i].left_out);
    fprintf(file, "* Machine: %.300s.\n", json_string_value(json_object_get(machine, "class")));
}

/* ---- files ---------------------------------------------------------------------------- */

static int write_markdown(const comparison *c, const char *path)
{
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    if (!file) return command_error("memory is short");
    compare_markdown(c, file);
    fclose(file);
    int status = command_write(path, text, size);
    free(text);
    return status;
}

int compare_write(const comparison *c, const compare_options *options)
{
    if (options->markdown && write_markdown(c, options->markdown)) return EXIT_USAGE;
    return options->json ? command_write_json(options->json, compare_json(c)) : EXIT_RIGHT;
}

int compare_runs(const json_t *const *base, int base_count, const json_t *const *fresh,
                 int fresh_count, const compare_options *options)
{
    char why[512];
    compare_input input = {{base, fresh, NULL}, {base_count, fresh_count, 0}};
    if (compare_refuses(&input, options->names, why, sizeof why)) return command_error("%s", why);
    comparison *c = compare_judge(input, options->gate);
    if (!c) return command_error("memory is short");
    int status;
    if (!compare_has_common(c))
        status = command_error("%.80s and %.80s have no kernel, problem and thread count in common",
                               options->names[0], options->names[1]);
    else {
        compare_print(c);
        status = compare_write(c, options);
        if (status == EXIT_RIGHT) status = compare_exit(c);
    }
    compare_free(c);
    return status;
}

int compare_read_gate(const char *text, double *gate)
{
    char *end;
    *gate = -1;
    if (!text) return EXIT_RIGHT;
    double percents = strtod(text, &end);
    if (end == text || (*end && strcmp(end, "%") != 0) || !(percents >= 0 && percents <= 1000))
        return command_error("--gate is \"%.40s\"; it must be percent from 0 to 1000, like 3",
                             text);
    *gate = percents;
    return EXIT_RIGHT;
}
