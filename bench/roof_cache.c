/* roof_cache.c: the roofs of a machine class, measured once and kept with their date in
 * $XDG_CACHE_HOME/attest or ~/.cache/attest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench/evidence.h"
#include "bench/result.h"
#include "bench/roof.h"

enum { PROBES = 1 }; /* raised when a probe changes: what older ones measured is not used */
static const double probe_seconds = 0.1;

/* FNV-1a: names a file after a class. */
static uint32_t hash(const char *text)
{
    uint32_t h = 2166136261u;
    for (; *text; text++) h = (h ^ (uint8_t)*text) * 16777619u;
    return h;
}

/* The file of this class; "" if there is no home. Makes the folders. */
static void cache_path(const char *class_key, char *path, size_t size)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char folder[1024] = "";
    path[0] = '\0';
    if (cache && *cache) snprintf(folder, sizeof folder, "%s", cache);
    else if (home && *home) snprintf(folder, sizeof folder, "%s/.cache", home);
    if (!folder[0] || strlen(folder) > 900) return;
    mkdir(folder, 0777);
    strcat(folder, "/attest");
    mkdir(folder, 0777);
    snprintf(path, size, "%s/roofs-%08x.json", folder, hash(class_key));
}

static bool covers(const json_t *roofs, const char *class_key, int threads)
{
    size_t i;
    json_t *level;
    const char *found = json_string_value(json_object_get(roofs, "class"));
    if (!found || strcmp(found, class_key) != 0) return false;
    if (json_integer_value(json_object_get(roofs, "probes")) != PROBES) return false;
    json_array_foreach (json_object_get(roofs, "levels"), i, level)
        if (json_integer_value(json_object_get(level, "threads")) == threads) return true;
    return false;
}

static void add_level(json_t *levels, const char *name, int threads, int64_t bytes)
{
    double rate = roof_read_gbps(threads, bytes, probe_seconds);
    if (rate > 0)
        json_array_append_new(levels,
                              json_pack("{s:s, s:i, s:I, s:f}", "level", name, "threads", threads,
                                        "bytes", (json_int_t)bytes, "read_gbps", rate));
}

/* Half of each data cache, so that it holds the buffer beside everything else; a cache that is not
 * shared counts once per thread. */
static void measure_levels(json_t *levels, const json_t *machine, int threads)
{
    size_t i;
    json_t *cache;
    json_array_foreach (json_object_get(machine, "caches"), i, cache) {
        char name[24];
        const char *type = json_string_value(json_object_get(cache, "type"));
        const char *shared = json_string_value(json_object_get(cache, "shared_cpus"));
        int64_t bytes = json_integer_value(json_object_get(cache, "bytes"));
        if (!type || strcmp(type, "instruction") == 0 || bytes == 0) continue;
        bool alone = shared && !strpbrk(shared, ",-");
        snprintf(name, sizeof name, "L%lld", json_integer_value(json_object_get(cache, "level")));
        add_level(levels, name, threads, bytes / 2 * (alone ? threads : 1));
    }
    add_level(levels, "memory", threads, ROOF_MEMORY_BYTES);
}

static void measure_peaks(json_t *peaks, int threads)
{
    int count;
    const attn_isa *isas = attn_isas(&count);
    for (int i = 0; i < count; i++)
        if (isas[i].built && !attn_isa_missing(isas[i].name))
            json_array_append_new(
                peaks,
                json_pack("{s:s, s:i, s:f, s:f}", "isa", isas[i].name, "threads", threads, "gflops",
                          roof_peak_gflops(isas[i].name, threads, false, probe_seconds),
                          "mixed_gflops",
                          roof_peak_gflops(isas[i].name, threads, true, probe_seconds)));
}

json_t *roof_of_machine(const json_t *machine, int threads, bool fresh)
{
    const char *class_key = json_string_value(json_object_get(machine, "class"));
    char path[1200];
    cache_path(class_key, path, sizeof path);
    json_t *roofs = fresh || !path[0] ? NULL : json_load_file(path, 0, NULL);
    if (roofs && covers(roofs, class_key, threads)) return roofs;
    json_decref(roofs);
    json_t *peaks = json_array(), *levels = json_array();
    evidence before = evidence_now();
    for (int t = 1; t <= threads; t += threads > 1 ? threads - 1 : 1) {
        measure_peaks(peaks, t);
        measure_levels(levels, machine, t);
    }
    roofs = json_pack("{s:s, s:i, s:o, s:o, s:o}", "class", class_key, "probes", PROBES, "date",
                      result_date(), "peaks", peaks, "levels", levels);
    evidence after = evidence_now(); /* roofs of a busy machine are not kept */
    if (evidence_judge(&before, &after, threads, 0) != EVIDENCE_CLEAN) return roofs;
    if (path[0] && json_dump_file(roofs, path, JSON_INDENT(1)) != 0) remove(path);
    return roofs;
}
