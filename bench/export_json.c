/* export_json.c: result files in other tools' JSON.
 *
 * Sources: google-benchmark's docs/user_guide.md "Output Formats" and tools/gbench/report.py, which
 * reads run_type, aggregate_name, repetitions and time_unit; https://bencher.dev/bmf.json;
 * github-action-benchmark's README "customSmallerIsBetter" and src/extractRangeInfo.ts; pyperf's
 * _bench.py, JSON version 1.0. */
#include <math.h>
#include <string.h>

#include "bench/export_parts.h"

static void dump(json_t *json, FILE *file)
{
    json_dumpf(json, file, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    fputc('\n', file);
    json_decref(json);
}

/* ---- google-benchmark ----------------------------------------------------------------- */

static json_t *gbench_context(const json_t *run)
{
    json_t *machine = json_object_get(run, "machine"), *caches = json_array(), *cache;
    size_t i;
    json_array_foreach (json_object_get(machine, "caches"), i, cache)
        json_array_append_new(
            caches, json_pack("{s:s, s:I, s:I, s:i}", "type", member_text(cache, "type"), "level",
                              (json_int_t)export_whole(cache, "level"), "size",
                              (json_int_t)export_whole(cache, "bytes"), "num_sharing", 1));
    return json_pack(
        "{s:s, s:s, s:s, s:I, s:i, s:b, s:o, s:s, s:s, s:s, s:s}", "date", member_text(run, "date"),
        "host_name", member_text(machine, "slug"), "executable", "attest", "num_cpus",
        (json_int_t)export_whole(machine, "logical_cpus"), "mhz_per_cpu", 0, "cpu_scaling_enabled",
        0, "caches", caches, "library_build_type", "release", "attest_commit",
        member_text(json_object_get(run, "tool"), "commit"), "attest_verdict",
        member_text(run, "verdict"), "attest_cpu_time", "not measured; cpu_time repeats real_time");
}

static json_t *gbench_entry(const json_t *result, const char *aggregate, double ns)
{
    char name[EXPORT_FULL_NAME], full[EXPORT_FULL_NAME + 16];
    export_result_name(result, name);
    snprintf(full, sizeof full, "%s%s%s", name, *aggregate ? "_" : "", aggregate);
    json_t *entry = json_pack("{s:s, s:s, s:s, s:I, s:I, s:f, s:f, s:s}", "name", full, "run_name",
                              name, "run_type", *aggregate ? "aggregate" : "iteration", "threads",
                              (json_int_t)export_whole(result, "threads"), "iterations",
                              (json_int_t)export_calls(result), "real_time", ns, "cpu_time", ns,
                              "time_unit", "ns");
    if (*aggregate) {
        json_object_set_new(entry, "aggregate_name", json_string(aggregate));
        json_object_set_new(entry, "aggregate_unit", json_string("time"));
    }
    return entry;
}

static void append_aggregates(json_t *list, const json_t *result)
{
    size_t round;
    json_t *sample, *samples = json_object_get(result, "samples");
    double count = (double)json_array_size(samples), sum = 0, squares = 0;
    json_array_foreach (samples, round, sample) sum += json_number_value(sample);
    json_array_foreach (samples, round, sample)
        squares += pow(json_number_value(sample) - sum / count, 2);
    json_array_append_new(list, gbench_entry(result, "mean", sum / count));
    json_array_append_new(list, gbench_entry(result, "median", export_real(result, "median_ns")));
    if (count > 1) /* of one repetition there is none */
        json_array_append_new(list, gbench_entry(result, "stddev", sqrt(squares / (count - 1))));
}

static void append_repetitions(json_t *list, const json_t *result)
{
    size_t round;
    json_t *sample, *samples = json_object_get(result, "samples");
    json_array_foreach (samples, round, sample) {
        json_t *entry = gbench_entry(result, "", json_number_value(sample));
        json_object_set_new(entry, "repetitions",
                            json_integer((json_int_t)json_array_size(samples)));
        json_object_set_new(entry, "repetition_index", json_integer((json_int_t)round));
        json_array_append_new(list, entry);
    }
    append_aggregates(list, result);
}

static void append_median(json_t *list, const json_t *result)
{
    json_array_append_new(list, gbench_entry(result, "", export_real(result, "median_ns")));
}

/* What `append` makes of every timed result, in one array. */
static json_t *each(const json_t *run, void (*append)(json_t *, const json_t *))
{
    size_t i;
    json_t *result, *list = json_array();
    json_array_foreach (json_object_get(run, "results"), i, result)
        if (export_is_timed(result)) append(list, result);
    return list;
}

void export_gbench(const json_t *run, FILE *file)
{
    dump(json_pack("{s:o, s:o}", "context", gbench_context(run), "benchmarks",
                   each(run, append_repetitions)),
         file);
}

void export_gbench_flat(const json_t *run, FILE *file)
{
    dump(json_pack("{s:o, s:o}", "context", gbench_context(run), "benchmarks",
                   each(run, append_median)),
         file);
}

/* ---- Bencher: name -> measure -> value; "latency" is in ns ------------------------------ */

void export_bmf(const json_t *run, FILE *file)
{
    size_t i;
    json_t *result, *all = json_object();
    json_array_foreach (json_object_get(run, "results"), i, result) {
        char name[EXPORT_FULL_NAME];
        if (!export_is_timed(result)) continue;
        json_t *latency = json_pack("{s:f}", "value", export_real(result, "median_ns"));
        if (export_is_bounded(result)) {
            json_object_set(latency, "lower_value", json_object_get(result, "ci_low_ns"));
            json_object_set(latency, "upper_value", json_object_get(result, "ci_high_ns"));
        }
        export_result_name(result, name);
        json_object_set_new(all, name, json_pack("{s:o}", "latency", latency));
    }
    dump(all, file);
}

/* ---- github-action-benchmark: smaller is better ----------------------------------------- */

static void append_action(json_t *list, const json_t *result)
{
    char name[EXPORT_FULL_NAME], text[128];
    double median = export_real(result, "median_ns"), low = export_real(result, "ci_low_ns"),
           high = export_real(result, "ci_high_ns");
    export_result_name(result, name);
    json_t *entry = json_pack("{s:s, s:s, s:f}", "name", name, "unit", "ns", "value", median);
    if (export_is_bounded(result)) { /* the action knows only intervals that are symmetric */
        snprintf(text, sizeof text, "± %.1f", fmax(high - median, median - low));
        json_object_set_new(entry, "range", json_string(text));
        snprintf(text, sizeof text, "median of %zu rounds, 95 %% interval %.9g to %.9g ns",
                 json_array_size(json_object_get(result, "samples")), low, high);
        json_object_set_new(entry, "extra", json_string(text));
    }
    json_array_append_new(list, entry);
}

void export_gha(const json_t *run, FILE *file) { dump(each(run, append_action), file); }

/* ---- pyperf: a benchmark has runs (processes), a run has values in seconds --------------- */

static void append_benchmark(json_t *list, const json_t *result)
{
    char name[EXPORT_FULL_NAME];
    size_t round;
    json_t *sample, *values = json_array();
    json_array_foreach (json_object_get(result, "samples"), round, sample)
        json_array_append_new(values, json_real(1e-9 * json_number_value(sample)));
    export_result_name(result, name);
    json_array_append_new(list,
                          json_pack("{s:{s:s, s:I}, s:[{s:o}]}", "metadata", "name", name, "loops",
                                    (json_int_t)export_calls(result), "runs", "values", values));
}

void export_pyperf(const json_t *run, FILE *file)
{
    json_t *machine = json_object_get(run, "machine"), *tool = json_object_get(run, "tool");
    const char *const texts[][2] = {
        {"cpu_model_name", member_text(machine, "cpu")},
        {"hostname", member_text(machine, "slug")},
        {"platform", member_text(machine, "kernel")},
        {"attest_commit", member_text(tool, "commit")},
        {"attest_compiler", member_text(tool, "compiler")},
        {"attest_date", member_text(run, "date")},
        {"attest_verdict", member_text(run, "verdict")},
    };
    json_t *metadata = json_pack("{s:s}", "unit", "second");
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
        if (texts[t][1][strspn(texts[t][1], " ")]) /* pyperf refuses empty ones */
            json_object_set_new(metadata, texts[t][0], json_string(texts[t][1]));
    dump(json_pack("{s:s, s:o, s:o}", "version", "1.0", "metadata", metadata, "benchmarks",
                   each(run, append_benchmark)),
         file);
}
