/* fitness.c: looks at a machine, and judges what was found. */
#include "bench/fitness.h"

#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bench/fitness_parts.h"

__attribute__((format(printf, 3, 4))) void fitness_report(look *l, cause c, const char *found, ...)
{
    if (l->out->count == FITNESS_MOST) return;
    fitness_finding *f = &l->out->findings[l->out->count++];
    *f = (fitness_finding){.level = c.level, .name = c.name, .why = c.why};
    f->on_host = c.kernel && l->container;
    snprintf(f->change, sizeof f->change, "%s", c.change ? c.change : "");
    snprintf(f->instead, sizeof f->instead, "%s", c.instead ? c.instead : "");
    va_list args;
    va_start(args, found);
    vsnprintf(f->found, sizeof f->found, found, args);
    va_end(args);
    for (char *at = f->found; *at; at++) /* what a file says goes to a terminal and into JSON */
        if (*at < ' ' || *at > '~') *at = '?';
}

/* ---- the machine ----------------------------------------------------------------------- */

/* The CPUs of this process. With OMP_PROC_BIND or OMP_PLACES the first thread is bound to its
 * place by now, and only OpenMP still knows all places. */
static void find_cpus(look *l)
{
    char list[2048];
    static bool online[SYSTEM_CPUS];
    l->allowed_count = system_cpu_list(
        system_value(l->root, "/proc/self/status", "Cpus_allowed_list", list, sizeof list),
        l->allowed);
    if (!*l->root && omp_get_num_places() > 0) {
        memset(l->allowed, 0, sizeof l->allowed);
        l->allowed_count = 0;
        for (int place = 0; place < omp_get_num_places(); place++) {
            int ids[SYSTEM_CPUS], count = omp_get_place_num_procs(place);
            if (count > SYSTEM_CPUS) continue;
            omp_get_place_proc_ids(place, ids);
            for (int i = 0; i < count; i++)
                if (ids[i] < SYSTEM_CPUS && !l->allowed[ids[i]])
                    l->allowed[ids[i]] = true, l->allowed_count++;
        }
    }
    l->online_count = system_cpu_list(
        system_line(l->root, list, sizeof list, "/sys/devices/system/cpu/online"), online);
    if (l->online_count == 0) l->online_count = l->allowed_count;
}

/* Docker and Podman leave a file, others the group's name. */
static bool in_container(const char *root)
{
    static const char *const words[] = {"docker", "kubepods", "containerd", "libpod", "lxc"};
    char line[SYSTEM_PATH], path[SYSTEM_PATH];
    static const char *const files[] = {"/.dockerenv", "/run/.containerenv"};
    bool found = false;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s%s", root, files[i]);
        FILE *file = fopen(path, "r");
        if (file) found = true, fclose(file);
    }
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        for (size_t w = 0; w < sizeof words / sizeof *words; w++)
            found = found || strstr(line, words[w]);
    if (file) fclose(file);
    return found;
}

void fitness_look(fitness *f, const char *root, double seconds)
{
    static look l;
    char flags[4096];
    l = (look){.root = root, .seconds = seconds, .out = f, .container = in_container(root)};
    f->count = 0;
    find_cpus(&l);
    l.virtual = strstr(system_value(root, "/proc/cpuinfo", "flags", flags, sizeof flags),
                       " hypervisor");
    for (int i = 0; fitness_checks[i]; i++) fitness_checks[i](&l);
    for (int i = 1; i < f->count; i++) /* insertion keeps the order within a level */
        for (int j = i; j > 0 && f->findings[j].level > f->findings[j - 1].level; j--) {
            fitness_finding swap = f->findings[j];
            f->findings[j] = f->findings[j - 1], f->findings[j - 1] = swap;
        }
}

/* ---- the verdict ----------------------------------------------------------------------- */

const char *const fitness_level_names[] = {"note", "care", "unfit"};

fitness_level fitness_worst(const fitness *f)
{
    return f->count ? f->findings[0].level : FITNESS_NOTE;
}

const char *fitness_verdict(const fitness *f)
{
    static const char *const verdicts[] = {"fit", "fit with care", "unfit"};
    return verdicts[fitness_worst(f)];
}

json_t *fitness_json(const fitness *f)
{
    json_t *list = json_array();
    for (int i = 0; i < f->count; i++) {
        const fitness_finding *x = &f->findings[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "level",
                                              fitness_level_names[x->level], "name", x->name,
                                              "found", x->found, "why", x->why, "change", x->change,
                                              "instead", x->instead, "on_host", x->on_host));
    }
    return json_pack("{s:s, s:o}", "verdict", fitness_verdict(f), "findings", list);
}
