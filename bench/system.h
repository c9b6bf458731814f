/* system.h: what Linux says of itself in /proc and /sys. `root` goes before every path: "" for this
 * machine, a folder for a copy of another one. What cannot be read is left empty, never guessed. */
#ifndef BENCH_SYSTEM_H
#define BENCH_SYSTEM_H

#include <stdbool.h>

enum { SYSTEM_CPUS = 4096, SYSTEM_PATH = 4096 };

/* First line of a small file, without its newline; "" if it cannot be read. */
__attribute__((format(printf, 4, 5))) const char *system_line(const char *root, char *line,
                                                              int size, const char *format, ...);

/* Value of the first line "<name> : <value>" of a file; "" if there is none. */
const char *system_value(const char *root, const char *path, const char *name, char *value,
                         int size);

/* "0-3,8" -> set[0..3], set[8]; returns how many. */
int system_cpu_list(const char *text, bool set[SYSTEM_CPUS]);

/* The first line of /proc/stat, in ticks since boot over all CPUs. */
typedef struct system_times {
    double busy, steal, total; /* total also has idle and waiting for disks */
} system_times;
bool system_parse_times(const char *line, system_times *times);
system_times system_times_between(system_times before, system_times after);

/* The tightest limit of this process's control group and of those around it, of both versions of
 * control groups: CPUs by quota, and bytes; 0 if there is none. */
double system_cpu_quota(const char *root);
double system_memory_limit(const char *root);

#endif
