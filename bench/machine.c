/* machine.c: CPU, caches and memory as Linux tells them in /proc and /sys; whatever it does not
 * tell is left empty, never guessed. */
#include "bench/machine.h"

#include <ctype.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench/fitness.h"
#include "bench/system.h"
#include "kernels/attention.h"

static json_t *cache_record(int index)
{
    char folder[64], level[16], type[32], size[32], shared[64];
    snprintf(folder, sizeof folder, "/sys/devices/system/cpu/cpu0/cache/index%d", index);
    if (!system_line(folder, level, sizeof level, "/level")[0]) return NULL;
    system_line(folder, type, sizeof type, "/type");
    system_line(folder, size, sizeof size, "/size");
    system_line(folder, shared, sizeof shared, "/shared_cpu_list");
    for (char *c = type; *c; c++) *c = (char)tolower((unsigned char)*c);
    json_int_t bytes = (json_int_t)atoll(size) * (strchr(size, 'M')   ? 1 << 20
                                                  : strchr(size, 'K') ? 1024
                                                                      : 1);
    return json_pack("{s:i, s:s, s:I, s:s}", "level", atoi(level), "type", type, "bytes", bytes,
                     "shared_cpus", shared);
}

static json_t *cache_records(void)
{
    json_t *caches = json_array(), *cache;
    for (int index = 0; (cache = cache_record(index)); index++)
        json_array_append_new(caches, cache);
    return caches;
}

static json_t *isa_records(void)
{
    int count;
    const attn_isa *isas = attn_isas(&count);
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        const char *missing = attn_isa_missing(isas[i].name);
        json_array_append_new(list, json_pack("{s:s, s:b, s:s}", "name", isas[i].name, "runs",
                                              !missing, "why", missing ? missing : ""));
    }
    return list;
}

/* Letters, digits and single dashes, lower case. */
static void to_slug(const char *text, char *slug, size_t size)
{
    size_t used = 0;
    for (; *text && used + 1 < size; text++) {
        char c = (char)tolower((unsigned char)*text);
        if (isalnum((unsigned char)c)) slug[used++] = c;
        else if (used && slug[used - 1] != '-') slug[used++] = '-';
    }
    while (used && slug[used - 1] == '-') used--;
    slug[used] = '\0';
}

int64_t machine_memory_available(void)
{
    char text[64];
    system_value("", "/proc/meminfo", "MemAvailable", text, sizeof text);
    int64_t bytes = atoll(text) * 1024, limit = (int64_t)system_memory_limit("");
    if (bytes == 0) bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    return limit > 0 && limit < bytes ? limit : bytes;
}

/* Not sched_getaffinity: with OMP_PROC_BIND the first thread is bound to its place by now. */
int machine_cpus(void)
{
    int cpus = 0;
    for (int place = 0; place < omp_get_num_places(); place++)
        cpus += omp_get_place_num_procs(place);
    return cpus ? cpus : omp_get_num_procs();
}

/* What disturbs, without the remedies and without waiting to see what else runs. */
static json_t *notes(void)
{
    static fitness f;
    json_t *list = json_array();
    fitness_look(&f, "", 0);
    for (int i = 0; i < f.count && f.findings[i].level > FITNESS_NOTE; i++)
        json_array_append_new(list, json_string(f.findings[i].found));
    return list;
}

json_t *machine_record(void)
{
    char cpu[128], vendor[64], family[32], model[32], stepping[32], microcode[32], flags[4096];
    char class_key[512], slug[128], text[256];
    const char *info = "/proc/cpuinfo";
    struct utsname system;
    uname(&system);
    system_value("", info, "model name", cpu, sizeof cpu);
    system_value("", info, "vendor_id", vendor, sizeof vendor);
    system_value("", info, "cpu family", family, sizeof family);
    system_value("", info, "model", model, sizeof model);
    system_value("", info, "stepping", stepping, sizeof stepping);
    system_value("", info, "microcode", microcode, sizeof microcode);
    if (!vendor[0]) { /* Arm spells it otherwise */
        system_value("", info, "CPU implementer", vendor, sizeof vendor);
        system_value("", info, "CPU part", model, sizeof model);
        system_value("", info, "CPU revision", stepping, sizeof stepping);
    }
    bool virtual = strstr(system_value("", info, "flags", flags, sizeof flags), " hypervisor") !=
                   NULL;
    int64_t memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    json_t *caches = cache_records(), *cache;
    size_t index;
    int used = snprintf(class_key, sizeof class_key, "%s %s %s.%s.%s %s%s", system.machine, vendor,
                        family, model, stepping, microcode, virtual ? " virtual" : "");
    json_array_foreach (caches, index, cache)
        used += snprintf(class_key + used, sizeof class_key - (size_t)used, " L%lld:%lldK",
                         (long long)json_integer_value(json_object_get(cache, "level")),
                         (long long)json_integer_value(json_object_get(cache, "bytes")) / 1024);
    snprintf(class_key + used, sizeof class_key - (size_t)used, " %d CPUs %lldG Linux %.40s",
             machine_cpus(), (long long)(memory >> 30), system.release);
    snprintf(text, sizeof text, "%s %s %s", cpu[0] ? cpu : system.machine, family, model);
    to_slug(text, slug, sizeof slug);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:s, s:s, s:i, s:o, s:I, s:s+, s:o, s:o}",
        "class", class_key, "slug", slug, "cpu", cpu, "arch", system.machine, "vendor", vendor,
        "family", atoi(family), "model", (int)strtol(model, NULL, 0), "stepping", atoi(stepping),
        "microcode", microcode, "hypervisor", virtual ? "yes" : "", "logical_cpus", machine_cpus(),
        "caches", caches, "memory_bytes", (json_int_t)memory, "kernel", "Linux ", system.release,
        "isas", isa_records(), "notes", notes());
}
