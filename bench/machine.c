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

#include "kernels/attention.h"

/* First line of a small file without its newline; "" if it cannot be read. */
static const char *read_line(const char *path, char *line, int size)
{
    FILE *file = fopen(path, "r");
    line[0] = '\0';
    if (file && !fgets(line, size, file)) line[0] = '\0';
    if (file) fclose(file);
    line[strcspn(line, "\n")] = '\0';
    return line;
}

/* Value of the first line "<name> : <value>" of a /proc file. */
static const char *proc_value(const char *path, const char *name, char *value, int size)
{
    char line[4096];
    FILE *file = fopen(path, "r");
    value[0] = '\0';
    while (file && fgets(line, sizeof line, file)) {
        size_t length = strlen(name);
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, name, length) != 0 ||
            (line[length] != '\t' && line[length] != ':' && line[length] != ' '))
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(value, (size_t)size, "%s", colon);
        break;
    }
    if (file) fclose(file);
    return value;
}

static json_t *cache_record(int index)
{
    char path[96], level[16], type[32], size[32], shared[64];
    const char *root = "/sys/devices/system/cpu/cpu0/cache/index";
    snprintf(path, sizeof path, "%s%d/level", root, index);
    if (!read_line(path, level, sizeof level)[0]) return NULL;
    snprintf(path, sizeof path, "%s%d/type", root, index);
    read_line(path, type, sizeof type);
    snprintf(path, sizeof path, "%s%d/size", root, index);
    read_line(path, size, sizeof size);
    snprintf(path, sizeof path, "%s%d/shared_cpu_list", root, index);
    read_line(path, shared, sizeof shared);
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
    int64_t bytes = atoll(proc_value("/proc/meminfo", "MemAvailable", text, sizeof text)) * 1024;
    if (bytes == 0) bytes = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    read_line("/sys/fs/cgroup/memory.max", text, sizeof text);
    int64_t limit = atoll(text); /* "max" reads as 0 */
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

/* What disturbs, without the remedies. */
static json_t *notes(void)
{
    json_t *list = json_array(), *found = machine_disturbances(), *item;
    size_t index;
    json_array_foreach (found, index, item) json_array_append(list, json_object_get(item, "what"));
    json_decref(found);
    return list;
}

json_t *machine_record(void)
{
    char cpu[128], vendor[64], family[32], model[32], stepping[32], microcode[32], flags[4096];
    char class_key[512], slug[128], text[256];
    const char *info = "/proc/cpuinfo";
    struct utsname system;
    uname(&system);
    proc_value(info, "model name", cpu, sizeof cpu);
    proc_value(info, "vendor_id", vendor, sizeof vendor);
    proc_value(info, "cpu family", family, sizeof family);
    proc_value(info, "model", model, sizeof model);
    proc_value(info, "stepping", stepping, sizeof stepping);
    proc_value(info, "microcode", microcode, sizeof microcode);
    if (!vendor[0]) { /* Arm spells it otherwise */
        proc_value(info, "CPU implementer", vendor, sizeof vendor);
        proc_value(info, "CPU part", model, sizeof model);
        proc_value(info, "CPU revision", stepping, sizeof stepping);
    }
    bool virtual = strstr(proc_value(info, "flags", flags, sizeof flags), " hypervisor") != NULL;
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

/* ---- what disturbs -------------------------------------------------------------------- */

static void disturb(json_t *list, const char *what, const char *change)
{
    json_array_append_new(list, json_pack("{s:s, s:s}", "what", what, "change", change));
}

json_t *machine_disturbances(void)
{
    json_t *list = json_array();
    char text[256], what[320];
    double load = atof(read_line("/proc/loadavg", text, sizeof text));
    if (load > 0.3) {
        snprintf(what, sizeof what, "other work is running: load average %.2f", load);
        disturb(list, what, "stop other programs and wait a minute");
    }
    read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", text, sizeof text);
    if (text[0] && strcmp(text, "performance") != 0) {
        snprintf(what, sizeof what, "the frequency governor is %s", text);
        disturb(list, what, "sudo cpupower frequency-set -g performance");
    }
    if (!text[0])
        disturb(list, "the clock cannot be read here", "nothing; compare within one run only");
    read_line("/sys/devices/system/cpu/cpufreq/boost", text, sizeof text);
    if (text[0] == '1')
        disturb(list, "turbo is on, so the clock depends on load and heat",
                "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost");
    read_line("/sys/devices/system/cpu/smt/active", text, sizeof text);
    if (text[0] == '1')
        disturb(list, "cores are shared by two threads (SMT)",
                "echo off | sudo tee /sys/devices/system/cpu/smt/control");
    char flags[4096];
    if (strstr(proc_value("/proc/cpuinfo", "flags", flags, sizeof flags), " hypervisor"))
        disturb(list, "this is a virtual machine; neighbours may take time from it",
                "measure on real hardware, or repeat at another hour");
    return list;
}
