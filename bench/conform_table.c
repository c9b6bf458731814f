/* conform_table.c: verdicts of `attest conform` as a markdown page: a table a set of cases, a row a
 * case, a column a kernel. */
#include "bench/conform_table.h"

#include <stdio.h>
#include <string.h>

#include "bench/member.h"
#include "bench/result.h"

enum { MOST_REASONS = 26 };

/* Distinct reasons of refusals, named a, b, c, ... in the cells. */
typedef struct reasons {
    const char *text[MOST_REASONS];
    int count;
} reasons;

/* The letter of a reason; beyond 26 of them all share the last. */
static char letter_of(reasons *all, const char *reason)
{
    int r = 0;
    while (r < all->count && strcmp(all->text[r], reason) != 0) r++;
    if (r == MOST_REASONS) r--;
    if (r == all->count) all->text[all->count++] = reason;
    return (char)('a' + r);
}

/* How many results from `first` on belong to one set. */
static size_t set_length(const json_t *results, size_t first)
{
    size_t last = first;
    const char *set = member_text(json_array_get(results, first), "set");
    while (last < json_array_size(results) &&
           strcmp(member_text(json_array_get(results, last), "set"), set) == 0)
        last++;
    return last - first;
}

static void print_head(FILE *file, const json_t *results, size_t first, size_t kernels)
{
    fprintf(file, "\n## %s\n\n| case |", member_text(json_array_get(results, first), "set"));
    for (size_t k = 0; k < kernels; k++)
        fprintf(file, " %s |", member_text(json_array_get(results, first + k), "kernel"));
    fputs("\n| --- |", file);
    for (size_t k = 0; k < kernels; k++) fputs(" ---: |", file);
    fputc('\n', file);
}

static void print_cell(FILE *file, const json_t *result, reasons *refusals)
{
    const char *status = member_text(result, "status");
    const json_t *worst = json_object_get(result, "worst");
    if (strcmp(status, "unsupported") == 0)
        fprintf(file, " %c |", letter_of(refusals, member_text(result, "reason")));
    else if (strcmp(status, "fail") == 0) fputs(" **fail** |", file);
    else fprintf(file, " %.2g |", json_real_value(worst));
}

/* passed/cases of every kernel of a set. */
static void print_sums(FILE *file, const json_t *results, size_t first, size_t count,
                       size_t kernels)
{
    fputs("| **passed** |", file);
    for (size_t k = 0; k < kernels; k++) {
        int passed = 0;
        for (size_t r = first + k; r < first + count; r += kernels)
            passed += strcmp(member_text(json_array_get(results, r), "status"), "pass") == 0;
        fprintf(file, " **%d of %zu** |", passed, count / kernels);
    }
    fputc('\n', file);
}

static void print_intro(FILE *file, const json_t *report, const json_t *machine)
{
    json_t *tool = result_tool(), *date = result_date();
    bool dirty = json_is_true(json_object_get(tool, "dirty"));
    fprintf(file,
            "# Conformance\n\nWritten by `attest conform DIR... --markdown FILE`: commit %s%s, %s, "
            "%s, %.10s.\n\n"
            "A number is the largest |got - want| over what the case allows, 1 the most that "
            "passes;\nmore digits and the place are in `--json`. A letter is a refusal.\n\n"
            "%lld passed, %lld failed, %lld unsupported.\n",
            member_text(tool, "commit"), dirty ? " with changes" : "",
            member_text(tool, "compiler"), member_text(machine, "cpu"), json_string_value(date),
            json_integer_value(json_object_get(report, "passed")),
            json_integer_value(json_object_get(report, "failed")),
            json_integer_value(json_object_get(report, "unsupported")));
    json_decref(tool);
    json_decref(date);
}

char *conform_table(const json_t *report, size_t kernels, const json_t *machine, size_t *size)
{
    const json_t *results = json_object_get(report, "results");
    reasons refusals = {.count = 0};
    char *text = NULL;
    FILE *file = open_memstream(&text, size);
    if (!file) return NULL;
    print_intro(file, report, machine);
    for (size_t first = 0, count; first < json_array_size(results); first += count) {
        count = set_length(results, first);
        print_head(file, results, first, kernels);
        for (size_t r = first; r < first + count; r++) {
            const json_t *result = json_array_get(results, r);
            if ((r - first) % kernels == 0) fprintf(file, "| %s |", member_text(result, "case"));
            print_cell(file, result, &refusals);
            if ((r - first) % kernels == kernels - 1) fputc('\n', file);
        }
        print_sums(file, results, first, count, kernels);
    }
    for (int r = 0; r < refusals.count; r++)
        fprintf(file, "%s%c: %s  \n", r ? "" : "\n", 'a' + r, refusals.text[r]);
    return fclose(file) == 0 ? text : NULL;
}
