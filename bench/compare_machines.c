/* compare_machines.c: two CPUs by ratios. Milliseconds of two machines compare clocks and prices;
 * what a kernel gains over a common one on the same machine, and what it leaves of the machine's
 * own peak, can be compared. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"
#include "bench/compare.h"
#include "bench/member.h"

typedef struct machine_cell {
    double over;  /* times faster than the baseline, same machine, problem and threads */
    double peak;  /* share of the measured multiply-adds */
    double cycle; /* operations per cycle and thread; NaN if the file knows no clock */
} machine_cell;

static const char usual_baseline[] = "naive_scalar";

/* The verified result of `file` for `kernel` on the problem and threads of `like`, or NULL. */
static const json_t *find(const json_t *file, const char *kernel, const json_t *like)
{
    size_t i;
    json_t *result;
    json_array_foreach (json_object_get(file, "results"), i, result)
        if (json_is_true(json_object_get(result, "verified")) &&
            strcmp(member_text(result, "kernel"), kernel) == 0 &&
            strcmp(member_text(result, "problem"), member_text(like, "problem")) == 0 &&
            member_number(result, "threads") == member_number(like, "threads"))
            return result;
    return NULL;
}

/* The kernel that both files have for the problem and threads of `like`: the usual one, or the
 * first. */
static const char *baseline_of(const json_t *const files[2], const json_t *like)
{
    size_t i;
    json_t *result;
    if (find(files[0], usual_baseline, like) && find(files[1], usual_baseline, like))
        return usual_baseline;
    json_array_foreach (json_object_get(files[0], "results"), i, result) {
        const char *kernel = member_text(result, "kernel");
        if (find(files[0], kernel, result) == result && find(files[0], kernel, like) == result &&
            find(files[1], kernel, like))
            return kernel;
    }
    return member_text(like, "kernel");
}

static machine_cell cell_of(const json_t *file, const char *baseline, const json_t *result)
{
    double median = member_number(result, "median_ns");
    return (machine_cell){
        .over = member_number(find(file, baseline, result), "median_ns") / median,
        .peak = member_number(result, "peak_fraction"),
        .cycle = member_number(result, "flops") / median / member_number(result, "clock_ghz") /
                 member_number(result, "threads"),
    };
}

/* ---- rows: terminal, Markdown, JSON ---------------------------------------------------- */

typedef struct row {
    const json_t *result; /* of the first file; names and threads */
    const char *baseline;
    machine_cell cells[2];
} row;

/* A number, or "-" where it is not known. */
static const char *shown(double x, const char *format, char *field, size_t size)
{
    if (isfinite(x)) snprintf(field, size, format, x);
    else snprintf(field, size, "-");
    return field;
}

static void print_row(const row *r)
{
    char names[256], f[4][16];
    const machine_cell *a = &r->cells[0], *b = &r->cells[1];
    snprintf(names, sizeof names, "%-14s %s", member_text(r->result, "kernel"),
             member_text(r->result, "problem"));
    if (strlen(names) > 30) printf("%s\n%-30s", names, "");
    else printf("%-30s", names);
    printf(" %2.0f %6.2fx %6.2fx %5.2f %5s %5s %5s %5s\n", member_number(r->result, "threads"),
           a->over, b->over, b->over / a->over, shown(100 * a->peak, "%.0f%%", f[0], sizeof f[0]),
           shown(100 * b->peak, "%.0f%%", f[1], sizeof f[1]),
           shown(a->cycle, "%.1f", f[2], sizeof f[2]), shown(b->cycle, "%.1f", f[3], sizeof f[3]));
}

static void markdown_row(const row *r, FILE *file)
{
    char f[4][16];
    const machine_cell *a = &r->cells[0], *b = &r->cells[1];
    fprintf(file, "| `%.60s` | `%.120s` | %.0f | %.2fx | %.2fx | %.2f | %s | %s | %s | %s |\n",
            member_text(r->result, "kernel"), member_text(r->result, "problem"),
            member_number(r->result, "threads"), a->over, b->over, b->over / a->over,
            shown(100 * a->peak, "%.0f %%", f[0], sizeof f[0]),
            shown(100 * b->peak, "%.0f %%", f[1], sizeof f[1]),
            shown(a->cycle, "%.1f", f[2], sizeof f[2]), shown(b->cycle, "%.1f", f[3], sizeof f[3]));
}

static json_t *number_or_null(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *row_json(const row *r)
{
    const machine_cell *a = &r->cells[0], *b = &r->cells[1];
    return json_pack("{s:s, s:s, s:i, s:s, s:[o,o], s:[o,o], s:[o,o]}", "kernel",
                     member_text(r->result, "kernel"), "problem", member_text(r->result, "problem"),
                     "threads", (int)member_number(r->result, "threads"), "baseline", r->baseline,
                     "over_baseline", number_or_null(a->over), number_or_null(b->over),
                     "peak_fraction", number_or_null(a->peak), number_or_null(b->peak),
                     "flop_per_cycle", number_or_null(a->cycle), number_or_null(b->cycle));
}

/* ---- the whole ------------------------------------------------------------------------ */

typedef struct pages {
    FILE *markdown;
    json_t *rows;
    int count, other_baseline;
} pages;

static void print_rows(const json_t *const files[2], pages *p)
{
    enum { MARKDOWN_MOST = 60000 };
    size_t i;
    json_t *result;
    json_array_foreach (json_object_get(files[0], "results"), i, result) {
        const json_t *other = find(files[1], member_text(result, "kernel"), result);
        if (!other || !json_is_true(json_object_get(result, "verified"))) continue;
        row r = {.result = result, .baseline = baseline_of(files, result)};
        r.cells[0] = cell_of(files[0], r.baseline, result);
        r.cells[1] = cell_of(files[1], r.baseline, other);
        if (p->count++ == 0)
            printf("%-14s %-15s %2s %7s %7s %5s %11s %11s\n", "kernel", "problem", "th", "A over",
                   "B over", "B/A", "peak A, B", "FLOP/c A, B");
        print_row(&r);
        if (ftell(p->markdown) < MARKDOWN_MOST) markdown_row(&r, p->markdown);
        json_array_append_new(p->rows, row_json(&r));
        p->other_baseline += strcmp(r.baseline, usual_baseline) != 0;
    }
}

static void print_limits(const json_t *const files[2], const pages *p, const char *bullet,
                         FILE *file)
{
    for (int m = 0; m < 2; m++)
        fprintf(file, "%s%c: %.60s, %s, verdict %s\n", bullet, 'A' + m,
                member_text(json_object_get(files[m], "machine"), "cpu"),
                member_text(json_object_get(files[m], "tool"), "compiler"),
                member_text(files[m], "verdict"));
    fprintf(file, "%sover: times faster than %s on the same machine, problem and threads\n", bullet,
            usual_baseline);
    if (p->other_baseline)
        fprintf(file, "%sin %d rows, for want of it, than the first kernel that both files have\n",
                bullet, p->other_baseline);
    fprintf(file, "%sFLOP/c: operations per cycle and thread, where a file knows the clock\n",
            bullet);
    fprintf(file, "%sone launch each: memory layout alone can move a ratio by 10 %%\n", bullet);
}

static int write_files(const compare_options *options, const char *markdown, size_t size,
                       json_t *json)
{
    int status = options->markdown ? command_write(options->markdown, markdown, size) : EXIT_RIGHT;
    if (status == EXIT_RIGHT && options->json) return command_write_json(options->json, json);
    json_decref(json);
    return status;
}

int compare_machines(const json_t *const files[2], const compare_options *options)
{
    char *markdown = NULL;
    size_t size;
    pages p = {.markdown = open_memstream(&markdown, &size), .rows = json_array()};
    if (!p.markdown) return command_error("memory is short");
    fputs("| kernel | problem | threads | A over | B over | B / A | A of peak | B of peak | "
          "A FLOP/cycle | B FLOP/cycle |\n"
          "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
          p.markdown);
    print_rows(files, &p);
    fputc('\n', p.markdown);
    print_limits(files, &p, "* ", p.markdown);
    fclose(p.markdown);
    int status;
    if (p.count == 0) {
        json_decref(p.rows);
        status = command_error("the files have no kernel, problem and thread count in common");
    } else {
        print_limits(files, &p, "", stdout);
        json_t *json = json_pack(
            "{s:i, s:s, s:[O,O], s:[O,O], s:o}", "schema", 1, "kind", "machines", "machines",
            json_object_get(files[0], "machine"), json_object_get(files[1], "machine"), "tools",
            json_object_get(files[0], "tool"), json_object_get(files[1], "tool"), "rows", p.rows);
        status = write_files(options, markdown, size, json);
    }
    free(markdown);
    return status;
}
