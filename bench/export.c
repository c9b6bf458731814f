/* export.c: is a JSON file a result file, and in which formats can it be written? */
#include "bench/export.h"

#include <stdarg.h>
#include <string.h>

#include "bench/export_parts.h"

const export_format export_formats[] = {
    {"csv", "a row for every sample", export_csv},
    {"markdown", "one table, for a pull request", export_markdown},
    {"gbench", "google-benchmark JSON, every repetition and aggregates", export_gbench},
    {"gbench-flat", "google-benchmark JSON, one median per unique name", export_gbench_flat},
    {"benchfmt", "the format of Go's benchmarks, for benchstat", export_benchfmt},
    {"bmf", "Bencher Metric Format, medians with their intervals", export_bmf},
    {"gha", "github-action-benchmark, as customSmallerIsBetter", export_gha},
    {"pyperf", "a pyperf suite, for python -m pyperf compare_to", export_pyperf},
    {NULL, NULL, NULL},
};

/* ---- members -------------------------------------------------------------------------- */

double export_real(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

long long export_whole(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

void export_name(const char *kernel, const char *problem, long long threads,
                 char name[EXPORT_FULL_NAME])
{
    snprintf(name, EXPORT_FULL_NAME, "attn/%.*s/%.*s/threads:%lld/real_time", EXPORT_NAME_MOST,
             kernel, EXPORT_NAME_MOST, problem, threads);
}

void export_result_name(const json_t *result, char name[EXPORT_FULL_NAME])
{
    export_name(member_text(result, "kernel"), member_text(result, "problem"),
                export_whole(result, "threads"), name);
}

long long export_calls(const json_t *result)
{
    return json_object_get(result, "calls_per_sample") ? export_whole(result, "calls_per_sample")
                                                       : 1;
}

bool export_is_timed(const json_t *result)
{
    return json_is_true(json_object_get(result, "verified"));
}

bool export_is_bounded(const json_t *result)
{
    return json_is_number(json_object_get(result, "ci_low_ns")) &&
           json_is_number(json_object_get(result, "ci_high_ns"));
}

/* ---- checking ------------------------------------------------------------------------- */

typedef struct complaint {
    char *why;
    size_t size;
} complaint;

/* Always false, so that a check can end with it. */
__attribute__((format(printf, 2, 3))) static bool complain(complaint *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->why, c->size, format, args);
    va_end(args);
    return false;
}

/* Control characters, of ASCII and (two bytes in UTF-8) of Latin-1, end lines or drive terminals.
 */
static bool has_control(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7F || (c[0] == 0xC2 && c[1] >= 0x80 && c[1] < 0xA0)) return true;
    return false;
}

static bool check_text(const json_t *object, const char *where, const char *key, int most,
                       complaint *c)
{
    const char *value = member_text(object, key);
    if (strlen(value) > (size_t)most)
        return complain(c, "%s has a \"%s\" of %zu bytes; at most %d are legal", where, key,
                        strlen(value), most);
    if (has_control(value))
        return complain(c, "%s has a control character in \"%s\"; one line of text is legal", where,
                        key);
    return true;
}

/* Tables and parsers cut blanks off; then two names could become one. */
static bool check_ends(const json_t *result, const char *where, const char *key, complaint *c)
{
    const char *value = member_text(result, key);
    if (value[0] != ' ' && value[strlen(value) - 1] != ' ') return true;
    return complain(c, "%s has a \"%s\" that begins or ends with a blank", where, key);
}

static bool check_times(const json_t *result, const char *where, complaint *c)
{
    size_t round;
    json_t *sample, *samples = json_object_get(result, "samples");
    static const char *const limits[] = {"ci_low_ns", "ci_high_ns"};
    if (!json_is_array(samples) || json_array_size(samples) == 0)
        return complain(c, "%s is verified but has no \"samples\"", where);
    json_array_foreach (samples, round, sample)
        if (!(json_number_value(sample) > 0))
            return complain(c, "%s has a sample that is no time: [%zu]; numbers above 0 are legal",
                            where, round);
    if (!(export_real(result, "median_ns") > 0))
        return complain(c, "%s has no \"median_ns\" above 0", where);
    if (export_calls(result) < 1)
        return complain(c, "%s has a \"calls_per_sample\" below 1", where);
    for (int i = 0; i < 2; i++) {
        const json_t *limit = json_object_get(result, limits[i]);
        if (limit && !json_is_null(limit) && !(json_number_value(limit) > 0))
            return complain(c, "%s has a \"%s\" that is neither a time nor null", where, limits[i]);
    }
    return true;
}

static bool check_result(const json_t *result, size_t index, json_t *seen, complaint *c)
{
    char where[40], name[EXPORT_FULL_NAME];
    snprintf(where, sizeof where, "results[%zu]", index);
    if (!member_text(result, "kernel")[0] || !member_text(result, "problem")[0] ||
        export_whole(result, "threads") < 1)
        return complain(c, "%s lacks kernel, problem or threads", where);
    if (!check_text(result, where, "kernel", EXPORT_NAME_MOST, c) ||
        !check_text(result, where, "problem", EXPORT_NAME_MOST, c) ||
        !check_text(result, where, "isa", EXPORT_NAME_MOST, c))
        return false;
    if (!check_ends(result, where, "kernel", c) || !check_ends(result, where, "problem", c))
        return false;
    export_result_name(result, name);
    if (json_object_get(seen, name))
        return complain(c, "%s is the second one called %.400s", where, name);
    json_object_set_new(seen, name, json_true());
    return !export_is_timed(result) || check_times(result, where, c);
}

/* The texts of the file's head that appear in exports. */
static bool check_head(const json_t *run, complaint *c)
{
    static const char *const texts[][2] = {
        {"", "date"},        {"", "verdict"},       {"machine", "slug"},  {"machine", "cpu"},
        {"machine", "arch"}, {"machine", "kernel"}, {"machine", "class"}, {"tool", "commit"},
        {"tool", "version"}, {"tool", "compiler"},
    };
    for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
        const char *in = texts[t][0];
        const json_t *object = *in ? json_object_get(run, in) : run;
        if (!check_text(object, *in ? in : "it", texts[t][1], 2 * EXPORT_NAME_MOST, c))
            return false;
    }
    return true;
}

bool export_check(const json_t *run, char *why, size_t size)
{
    complaint c = {why, size};
    size_t index;
    json_t *result, *results = json_object_get(run, "results"), *seen;
    if (!json_is_object(run)) return complain(&c, "it is not a JSON object");
    if (export_whole(run, "schema") != 1) return complain(&c, "its \"schema\" is not 1");
    if (!json_is_array(results)) return complain(&c, "it has no array \"results\"");
    bool good = check_head(run, &c);
    seen = json_object();
    json_array_foreach (results, index, result)
        good = good && check_result(result, index, seen, &c);
    json_decref(seen);
    return good;
}
