/* system.c: readers of /proc, /sys and control groups.
 *
 * Formats: proc(5) for stat, status and cgroup; in the kernel's Documentation cgroup-v2.rst for
 * cpu.max and memory.max, sched-bwc.rst for cpu.cfs_quota_us. */
#include "bench/system.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *system_line(const char *root, char *line, int size, const char *format, ...)
{
    char path[SYSTEM_PATH];
    int used = snprintf(path, sizeof path, "%s", root);
    va_list args;
    line[0] = '\0';
    if (used >= (int)sizeof path) return line;
    va_start(args, format);
    vsnprintf(path + used, sizeof path - (size_t)used, format, args);
    va_end(args);
    FILE *file = fopen(path, "r");
    if (file && !fgets(line, size, file)) line[0] = '\0';
    if (file) fclose(file);
    line[strcspn(line, "\n")] = '\0';
    return line;
}

const char *system_value(const char *root, const char *path, const char *name, char *value,
                         int size)
{
    char line[4096], full[SYSTEM_PATH];
    size_t length = strlen(name);
    snprintf(full, sizeof full, "%s%s", root, path);
    FILE *file = fopen(full, "r");
    value[0] = '\0';
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, name, length) != 0 || !strchr("\t: ", line[length])) continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(value, (size_t)size, "%s", colon);
        break;
    }
    if (file) fclose(file);
    return value;
}

int system_cpu_list(const char *text, bool set[SYSTEM_CPUS])
{
    int count = 0;
    memset(set, 0, SYSTEM_CPUS * sizeof *set);
    while (*text >= '0' && *text <= '9') {
        char *end;
        long first = strtol(text, &end, 10), last = first;
        if (*end == '-') last = strtol(end + 1, &end, 10);
        for (long cpu = first; cpu <= last && cpu < SYSTEM_CPUS; cpu++)
            count += !set[cpu], set[cpu] = true;
        text = end + (*end == ',');
    }
    return count;
}

/* ---- CPU time ------------------------------------------------------------------------- */

bool system_parse_times(const char *line, system_times *times)
{
    double user, nice, system, idle, waiting = 0, irq = 0, softirq = 0, steal = 0;
    int read = sscanf(line, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &user, &nice, &system, &idle,
                      &waiting, &irq, &softirq, &steal);
    if (read < 4) return false;
    times->busy = user + nice + system + irq + softirq;
    times->steal = steal;
    times->total = times->busy + steal + idle + waiting;
    return true;
}

system_times system_times_between(system_times before, system_times after)
{
    return (system_times){after.busy - before.busy, after.steal - before.steal,
                          after.total - before.total};
}

/* ---- control groups ------------------------------------------------------------------- */

/* The group of this process for a controller of version 1, or with "" of version 2: its path in
 * /proc/self/cgroup, "N:controller,controller:/path". */
static bool group_path(const char *root, const char *controller, char *path, size_t size)
{
    char line[SYSTEM_PATH], full[SYSTEM_PATH];
    bool found = false;
    snprintf(full, sizeof full, "%s/proc/self/cgroup", root);
    FILE *file = fopen(full, "r");
    while (file && !found && fgets(line, sizeof line, file)) {
        char *names = strchr(line, ':'), *at = names ? strchr(names + 1, ':') : NULL;
        if (!at) continue;
        *at = '\0';
        line[strcspn(line, "\n")] = '\0';
        at[1 + strcspn(at + 1, "\n")] = '\0';
        for (char *name = strtok(names + 1, ","); name && !found; name = strtok(NULL, ","))
            found = strcmp(name, controller) == 0;
        found = found || (!*controller && !names[1]);
        if (found) snprintf(path, size, "%s", at + 1);
    }
    if (file) fclose(file);
    return found;
}

/* What `read` finds in the group's folder and in those above it; the least, 0 if nothing. A
 * container may see its own group as the topmost, under a path that does not exist there. */
static double tightest(const char *root, const char *base, const char *controller,
                       double (*read)(const char *root, const char *folder))
{
    char path[SYSTEM_PATH / 2], folder[SYSTEM_PATH];
    double least = 0;
    if (!group_path(root, controller, path, sizeof path)) return 0;
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s", base, strcmp(path, "/") == 0 ? "" : path);
        double limit = read(root, folder);
        if (limit > 0 && (least == 0 || limit < least)) least = limit;
        char *slash = strrchr(path, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

static double quota_v2(const char *root, const char *folder)
{
    char line[128];
    double quota = 0, period = 100000; /* "max 100000" reads as none */
    sscanf(system_line(root, line, sizeof line, "%s/cpu.max", folder), "%lf %lf", &quota, &period);
    return quota > 0 && period > 0 ? quota / period : 0;
}

static double quota_v1(const char *root, const char *folder)
{
    char line[128];
    double quota = atof(system_line(root, line, sizeof line, "%s/cpu.cfs_quota_us", folder));
    double period = atof(system_line(root, line, sizeof line, "%s/cpu.cfs_period_us", folder));
    return quota > 0 && period > 0 ? quota / period : 0; /* -1: none */
}

static double memory_v2(const char *root, const char *folder)
{
    char line[128];
    return atof(system_line(root, line, sizeof line, "%s/memory.max", folder));
}

static double memory_v1(const char *root, const char *folder)
{
    char line[128];
    double limit = atof(system_line(root, line, sizeof line, "%s/memory.limit_in_bytes", folder));
    return limit < 0x1p60 ? limit : 0; /* without a limit it is the largest multiple of a page */
}

static double least_of(double a, double b) { return a > 0 && (b <= 0 || a < b) ? a : b; }

double system_cpu_quota(const char *root)
{
    return least_of(tightest(root, "/sys/fs/cgroup", "", quota_v2),
                    tightest(root, "/sys/fs/cgroup/cpu", "cpu", quota_v1));
}

double system_memory_limit(const char *root)
{
    return least_of(tightest(root, "/sys/fs/cgroup", "", memory_v2),
                    tightest(root, "/sys/fs/cgroup/memory", "memory", memory_v1));
}
