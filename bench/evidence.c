/* evidence.c: /proc/stat, /proc/pressure, the threads' schedstat, getrusage and the CPU clock. */
#include "bench/evidence.h"

#include <dirent.h>
#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

const char *const evidence_names[EVIDENCE_CAUSES] = {"steal", "switches", "migration", "faults",
                                                     "cpu",   "pressure", "anchor"};

static const double most_steal = 0.02;   /* of the time of all CPUs */
static const double most_lost = 0.01;    /* of the round, in which the thread did not compute */
static const double most_stalled = 0.01; /* of the round */

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds that the threads of this process were ready to run and did not; 0 if the kernel does not
 * say. The first number of schedstat is time on a CPU, the second is this. */
static double delay_seconds(void)
{
    double total_ns = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks && (task = readdir(tasks));) {
        char path[64];
        long long waited_ns;
        if (task->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/self/task/%.20s/schedstat", task->d_name);
        FILE *file = fopen(path, "r");
        if (file && fscanf(file, "%*d %lld", &waited_ns) == 1) total_ns += (double)waited_ns;
        if (file) fclose(file);
    }
    if (tasks) closedir(tasks);
    return 1e-9 * total_ns;
}

evidence evidence_now(void)
{
    evidence e = {.cpu = sched_getcpu()};
    struct rusage usage;
    long long user, nice, system, idle, wait, irq, soft, steal = 0, stalled_us = 0;
    FILE *file = fopen("/proc/stat", "r");
    if (file && fscanf(file, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", &user, &nice, &system,
                       &idle, &wait, &irq, &soft, &steal) == 8)
        e.steal_s = (double)steal / (double)sysconf(_SC_CLK_TCK);
    if (file) fclose(file);
    file = fopen("/proc/pressure/memory", "r");
    if (file && fscanf(file, "some avg10=%*f avg60=%*f avg300=%*f total=%lld", &stalled_us) == 1)
        e.stall_s = 1e-6 * (double)stalled_us;
    if (file) fclose(file);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        e.faults = usage.ru_majflt, e.switches = usage.ru_nivcsw;
    e.delay_s = delay_seconds();
    e.thread_s = seconds_of(CLOCK_THREAD_CPUTIME_ID);
    e.wall_s = seconds_of(CLOCK_MONOTONIC);
    return e;
}

evidence_cause evidence_judge(const evidence *before, const evidence *after, int threads,
                              double moved)
{
    double wall = after->wall_s - before->wall_s;
    double cpus = (double)sysconf(_SC_NPROCESSORS_ONLN);
    double tick = 1 / (double)sysconf(_SC_CLK_TCK); /* what one count of steal may be off by */
    /* With more threads the first one sleeps at barriers. */
    double lost = threads > 1 ? 0 : wall - (after->thread_s - before->thread_s);
    bool waited = lost > most_lost * wall, switched = after->switches > before->switches;
    double delay = after->delay_s - before->delay_s; /* per thread at most the wall clock */
    if (after->steal_s - before->steal_s > fmax(tick, most_steal * wall * cpus))
        return EVIDENCE_STEAL;
    if (delay > most_lost * wall * threads || (waited && switched)) return EVIDENCE_SWITCHES;
    if (after->cpu != before->cpu) return EVIDENCE_MIGRATION;
    if (after->faults > before->faults) return EVIDENCE_FAULTS;
    if (waited) return EVIDENCE_CPU;
    if (after->stall_s - before->stall_s > most_stalled * wall) return EVIDENCE_PRESSURE;
    if (!(moved <= EVIDENCE_CLOCK_MOVED)) return EVIDENCE_ANCHOR;
    return EVIDENCE_CLEAN;
}
