/* export.c: projections of the native result file, one function and one row of the table each.
 *
 * Sources: google-benchmark's docs/user_guide.md "Output Formats" and tools/gbench/report.py, which
 * reads run_type, aggregate_name, repetitions and time_unit; RFC 4180 for CSV. Void results are
 * left out: they have no time. */
#include "bench/export.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static double real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static long long whole(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

const char *export_check(const json_t *run)
{
    size_t index;
    json_t *result;
    if (!json_is_object(run)) return "it is not a JSON object";
    if (whole(run, "schema") != 1) return "its \"schema\" is not 1";
    if (!json_is_array(json_object_get(run, "results"))) return "it has no array \"results\"";
    json_array_foreach (json_object_get(run, "results"), index, result) {
        if (!text(result, "kernel")[0] || !text(result, "problem")[0] ||
            whole(result, "threads") < 1)
            return "a result lacks kernel, problem or threads";
        if (json_is_true(json_object_get(result, "verified")) &&
            !json_is_array(json_object_get(result, "samples")))
            return "a verified result has no samples";
    }
    return NULL;
}

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

static void write_csv(const json_t *run, FILE *file)
{
    static const char *const names[] = {"kernel", "isa", "problem"};
    size_t i, round;
    json_t *result, *sample;
    fputs("machine,commit,kernel,isa,problem,threads,round,ns,flops\n", file);
    json_array_foreach (json_object_get(run, "results"), i, result)
        json_array_foreach (json_object_get(result, "samples"), round, sample) {
            csv_field(text(json_object_get(run, "machine"), "slug"), file);
            fputc(',', file);
            csv_field(text(json_object_get(run, "tool"), "commit"), file);
            for (int n = 0; n < 3; n++) fputc(',', file), csv_field(text(result, names[n]), file);
            fprintf(file, ",%lld,%zu,%.9g,%lld\n", whole(result, "threads"), round,
                    json_number_value(sample), whole(result, "flops"));
        }
}

/* ---- markdown: one table, at most what a pull request comment may hold ----------------- */

enum { MARKDOWN_MOST = 65000 };

/* A vertical bar would end the cell. */
static void cell(const char *value, FILE *file)
{
    for (; *value; value++)
        fprintf(file, *value == '|' ? "\\|" : "%c", *value == '\n' ? ' ' : *value);
}

static void markdown_row(const json_t *result, FILE *file)
{
    fputs("| ", file);
    cell(text(result, "kernel"), file);
    fputs(" | ", file);
    cell(text(result, "problem"), file);
    fprintf(file, " | %lld | ", whole(result, "threads"));
    if (!json_is_true(json_object_get(result, "verified"))) {
        fputs("void: ", file);
        cell(text(result, "void_reason"), file);
        fputs(" | | | |\n", file);
        return;
    }
    bool bounded = json_is_number(json_object_get(result, "ci_low_ns"));
    fprintf(file, "%.4g ms | ", real(result, "median_ns") * 1e-6);
    if (bounded)
        fprintf(file, "%.4g to %.4g", real(result, "ci_low_ns") * 1e-6,
                real(result, "ci_high_ns") * 1e-6);
    else fputs("too few rounds", file);
    fprintf(file, " | %.1f | %.0f %% |\n", real(result, "gflops"),
            100 * real(result, "peak_fraction"));
}

static void write_markdown(const json_t *run, FILE *file)
{
    size_t i;
    json_t *result, *machine = json_object_get(run, "machine"),
                    *tool = json_object_get(run, "tool");
    fprintf(file, "Verdict **%s**, machine %s, commit %s, %s.\n\n", text(run, "verdict"),
            text(machine, "cpu"), text(tool, "commit"), text(run, "date"));
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

/* ---- google-benchmark ----------------------------------------------------------------- */

static json_t *gbench_context(const json_t *run)
{
    json_t *machine = json_object_get(run, "machine"), *caches = json_array(), *cache;
    size_t i;
    json_array_foreach (json_object_get(machine, "caches"), i, cache)
        json_array_append_new(caches,
                              json_pack("{s:s, s:I, s:I, s:i}", "type", text(cache, "type"),
                                        "level", (json_int_t)whole(cache, "level"), "size",
                                        (json_int_t)whole(cache, "bytes"), "num_sharing", 1));
    return json_pack("{s:s, s:s, s:s, s:I, s:i, s:b, s:o, s:s}", "date", text(run, "date"),
                     "host_name", text(machine, "slug"), "executable", "attest", "num_cpus",
                     (json_int_t)whole(machine, "logical_cpus"), "mhz_per_cpu", 0,
                     "cpu_scaling_enabled", 0, "caches", caches, "library_build_type", "release");
}

static json_t *gbench_entry(const json_t *result, const char *run_type, const char *suffix,
                            double ns)
{
    char name[512], full[560];
    snprintf(name, sizeof name, "attn/%s/%s/threads:%lld/real_time", text(result, "kernel"),
             text(result, "problem"), whole(result, "threads"));
    snprintf(full, sizeof full, "%s%s%s", name, *suffix ? "_" : "", suffix);
    json_t *entry =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:f, s:f, s:s}", "name", full, "run_name", name,
                  "run_type", run_type, "threads", (json_int_t)whole(result, "threads"),
                  "iterations", (json_int_t)whole(result, "calls_per_sample"), "real_time", ns,
                  "cpu_time", ns, "time_unit", "ns");
    if (*suffix) json_object_set_new(entry, "aggregate_name", json_string(suffix));
    return entry;
}

static void append_repetitions(json_t *list, const json_t *result)
{
    size_t round;
    json_t *sample;
    size_t count = json_array_size(json_object_get(result, "samples"));
    double sum = 0, squares = 0;
    json_array_foreach (json_object_get(result, "samples"), round, sample) {
        json_t *entry = gbench_entry(result, "iteration", "", json_number_value(sample));
        json_object_set_new(entry, "repetitions", json_integer((json_int_t)count));
        json_object_set_new(entry, "repetition_index", json_integer((json_int_t)round));
        json_array_append_new(list, entry);
        sum += json_number_value(sample);
    }
    double mean = count ? sum / (double)count : 0;
    json_array_foreach (json_object_get(result, "samples"), round, sample)
        squares += (json_number_value(sample) - mean) * (json_number_value(sample) - mean);
    double deviation = count > 1 ? sqrt(squares / (double)(count - 1)) : 0;
    json_array_append_new(list, gbench_entry(result, "aggregate", "mean", mean));
    json_array_append_new(list,
                          gbench_entry(result, "aggregate", "median", real(result, "median_ns")));
    json_array_append_new(list, gbench_entry(result, "aggregate", "stddev", deviation));
}

static void append_median(json_t *list, const json_t *result)
{
    json_array_append_new(list, gbench_entry(result, "iteration", "", real(result, "median_ns")));
}

static void write_gbench_with(const json_t *run, FILE *file,
                              void (*append)(json_t *, const json_t *))
{
    size_t i;
    json_t *result, *list = json_array();
    json_array_foreach (json_object_get(run, "results"), i, result)
        if (json_is_true(json_object_get(result, "verified"))) append(list, result);
    json_t *all = json_pack("{s:o, s:o}", "context", gbench_context(run), "benchmarks", list);
    json_dumpf(all, file, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    fputc('\n', file);
    json_decref(all);
}

static void write_gbench(const json_t *run, FILE *file)
{
    write_gbench_with(run, file, append_repetitions);
}
static void write_gbench_flat(const json_t *run, FILE *file)
{
    write_gbench_with(run, file, append_median);
}

const export_format export_formats[] = {
    {"csv", "a row for every sample", write_csv},
    {"markdown", "one table, for a pull request", write_markdown},
    {"gbench", "google-benchmark JSON, every repetition and aggregates", write_gbench},
    {"gbench-flat", "google-benchmark JSON, one median per unique name", write_gbench_flat},
    {NULL, NULL, NULL},
};
