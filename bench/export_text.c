/* export_text.c: result files as tables of text.
 *
 * Sources: RFC 4180 for CSV; CommonMark 0.30 section 2.4 and GitHub's table extension for Markdown;
 * golang.org/design/14313-benchmark-format with its unit metadata (golang/go issue 43744), and
 * golang.org/x/perf/benchfmt, which reads it. */
#include <ctype.h>
#include <string.h>

#include "bench/command.h"
#include "bench/export_parts.h"

/* ---- csv: one row a sample ------------------------------------------------------------ */

static void csv_field(const char *value, FILE *file)
{
    if (!value[strcspn(value, ",\"\r\n")]) {
        fputs(value, file);
        return;
    }
    fputc('"', file);
    for (; *value; value++) fprintf(file, *value == '"' ? "\"\"" : "%c", *value);
    fputc('"', file);
}

static void csv_rows(const json_t *run, const json_t *result, FILE *file)
{
    static const char *const names[] = {"kernel", "isa", "problem"};
    size_t s;
    json_t *sample;
    const json_t *rounds = json_object_get(result, "sample_rounds"); /* of a kernel that rested */
    json_array_foreach (json_object_get(result, "samples"), s, sample) {
        long long round = rounds ? json_integer_value(json_array_get(rounds, s)) : (long long)s;
        csv_field(member_text(json_object_get(run, "machine"), "slug"), file);
        fputc(',', file);
        csv_field(member_text(json_object_get(run, "tool"), "commit"), file);
        for (int n = 0; n < 3; n++)
            fputc(',', file), csv_field(member_text(result, names[n]), file);
        fprintf(file, ",%lld,%lld,%.9g,%lld\n", export_whole(result, "threads"), round,
                json_number_value(sample), export_whole(result, "flops"));
    }
}

void export_csv(const json_t *run, FILE *file)
{
    size_t i;
    json_t *result;
    fputs("machine,commit,kernel,isa,problem,threads,round,ns,flops\n", file);
    json_array_foreach (json_object_get(run, "results"), i, result)
        if (export_is_timed(result)) csv_rows(run, result, file);
}

/* ---- markdown: one table, at most what a pull request comment may hold ----------------- */

/* GitHub takes 65,536 characters. A row is below 3,000: two names of EXPORT_NAME_MOST bytes and a
 * reason, each byte perhaps escaped. */
enum { MARKDOWN_MOST = 62000, REASON_MOST = 300 };

/* Whatever Markdown or HTML would read as more than a character gets a backslash; "_" stays as it
 * is between letters and digits, where it has no meaning. */
static void escaped(const char *value, int length, FILE *file)
{
    for (int i = 0; i < length; i++) {
        bool inside = i > 0 && i + 1 < length && isalnum((unsigned char)value[i - 1]) &&
                      isalnum((unsigned char)value[i + 1]);
        if (strchr("\\`*[]<>&|~#!$@", value[i]) || (value[i] == '_' && !inside)) fputc('\\', file);
        fputc(iscntrl((unsigned char)value[i]) ? ' ' : value[i], file);
    }
}

static void cell(const char *value, FILE *file)
{
    escaped(value, command_fit(value, REASON_MOST), file);
}

static void markdown_times(const json_t *result, FILE *file)
{
    fprintf(file, "%.4g ms | ", export_real(result, "median_ns") * 1e-6);
    if (export_is_bounded(result))
        fprintf(file, "%.4g to %.4g", export_real(result, "ci_low_ns") * 1e-6,
                export_real(result, "ci_high_ns") * 1e-6);
    else fputs("too few rounds", file);
    fprintf(file, " | %.1f | ", export_real(result, "gflops"));
    double share = export_real(result, "peak_fraction"); /* 0 or null: the peak was not measured */
    if (share > 0) fprintf(file, "%.0f %% |\n", 100 * share);
    else fputs("- |\n", file);
}

static void markdown_row(const json_t *result, FILE *file)
{
    fputs("| ", file);
    cell(member_text(result, "kernel"), file);
    fputs(" | ", file);
    cell(member_text(result, "problem"), file);
    fprintf(file, " | %lld | ", export_whole(result, "threads"));
    if (export_is_timed(result)) {
        markdown_times(result, file);
        return;
    }
    fputs("void: ", file);
    cell(member_text(result, "void_reason"), file);
    fputs(" | | | |\n", file);
}

void export_markdown(const json_t *run, FILE *file)
{
    size_t i;
    json_t *result, *machine = json_object_get(run, "machine"),
                    *tool = json_object_get(run, "tool");
    fprintf(file, "Verdict **%s**, machine ", member_text(run, "verdict"));
    cell(member_text(machine, "cpu"), file);
    fputs(", commit ", file);
    cell(member_text(tool, "commit"), file);
    fprintf(file, ", %s.\n\n", member_text(run, "date"));
    fputs("| kernel | problem | threads | median | 95 % interval | GFLOP/s | of measured peak |\n"
          "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
          file);
    json_array_foreach (json_object_get(run, "results"), i, result) {
        if (ftell(file) > MARKDOWN_MOST) {
            fprintf(file, "\n%zu more results are in the result file.\n",
                    json_array_size(json_object_get(run, "results")) - i);
            return;
        }
        markdown_row(result, file);
    }
}

/* ---- benchfmt: a line a sample --------------------------------------------------------- */

/* Names end at white space, which is any of Unicode's, and "/" starts the next part. What is not
 * printable ASCII, and what would be misread, is written as %XX of its bytes. */
static void go_part(const char *value, FILE *file)
{
    for (const unsigned char *c = (const unsigned char *)value; *c; c++)
        if (*c > ' ' && *c < 0x7F && *c != '%' && *c != '/') fputc(*c, file);
        else fprintf(file, "%%%02X", *c);
}

/* benchstat sets files apart whose configuration differs, so commit, compiler and date, which are
 * what is compared, are comments; what must be equal is configuration. */
static void go_head(const json_t *run, FILE *file)
{
    static const char *const keys[][2] = {{"arch", "arch"}, {"cpu", "cpu"}, {"machine", "class"}};
    json_t *machine = json_object_get(run, "machine"), *tool = json_object_get(run, "tool");
    fprintf(file, "# attest %s, commit %s, %s, %s, verdict %s\n", member_text(tool, "version"),
            member_text(tool, "commit"), member_text(tool, "compiler"), member_text(run, "date"),
            member_text(run, "verdict"));
    for (int k = 0; k < 3; k++)
        if (member_text(machine, keys[k][1])[0])
            fprintf(file, "%s: %s\n", keys[k][0], member_text(machine, keys[k][1]));
    fputs("Unit ns/op better=lower assume=nothing\nUnit flop/s better=higher assume=nothing\n\n",
          file);
}

/* A name always ends in "-<threads>": of a problem key's own "-3" Go would make three CPUs. */
static void go_lines(const json_t *result, FILE *file)
{
    size_t round;
    json_t *sample;
    json_array_foreach (json_object_get(result, "samples"), round, sample) {
        double ns = json_number_value(sample), flops = export_real(result, "flops");
        fputs("BenchmarkAttn/kernel=", file);
        go_part(member_text(result, "kernel"), file);
        fputs("/problem=", file);
        go_part(member_text(result, "problem"), file);
        fprintf(file, "-%lld %lld %.9g ns/op", export_whole(result, "threads"),
                export_calls(result), ns);
        if (flops > 0) fprintf(file, " %.9g flop/s", 1e9 * flops / ns);
        fputc('\n', file);
    }
}

void export_benchfmt(const json_t *run, FILE *file)
{
    size_t i;
    json_t *result;
    go_head(run, file);
    json_array_foreach (json_object_get(run, "results"), i, result)
        if (export_is_timed(result)) go_lines(result, file);
}
