/* fitness_checks.c: what disturbs timings. One function for each cause; the table is at the end. */
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/fitness_parts.h"
#include "bench/neighbour.h"

enum { LOOKS = 200 }; /* at the cores */

/* ---- others on the CPUs ---------------------------------------------------------------- */

static void check_quota(look *l)
{
    double quota = system_cpu_quota(l->root);
    char threads[64] = "measure elsewhere";
    if (quota == 0 || quota >= l->allowed_count) return;
    if (quota >= 1) snprintf(threads, sizeof threads, "attest bench --threads 1");
    if (quota >= 2)
        snprintf(threads, sizeof threads, "attest bench --threads 1,%.0f", floor(quota));
    fitness_report(l,
                   (cause){FITNESS_UNFIT, "CPU quota",
                           "when it is used up, the kernel stops the process for a while",
                           "start the container without a CPU limit (docker: no --cpus)", threads,
                           false},
                   "a quota of %.1f CPUs, and %d to run on", quota, l->allowed_count);
}

static bool read_times(const look *l, system_times *times)
{
    char line[512];
    return system_parse_times(system_line(l->root, line, sizeof line, "/proc/stat"), times);
}

/* What all CPUs do during l->seconds, while this process sleeps; total 0 if that was not seen. */
static system_times watch(const look *l)
{
    system_times before, after;
    if (!(l->seconds > 0) || !read_times(l, &before)) return (system_times){0};
    struct timespec pause = {0, (long)(l->seconds * 1e9)};
    nanosleep(&pause, NULL);
    return read_times(l, &after) ? system_times_between(before, after) : (system_times){0};
}

static void report_work(look *l, system_times now)
{
    char line[128];
    double load = atof(system_line(l->root, line, sizeof line, "/proc/loadavg"));
    double busy = now.total > 0 ? now.busy / now.total * l->online_count : 0;
    bool much = busy >= 0.25 * l->online_count || (now.total == 0 && load >= l->online_count);
    cause c = {much ? FITNESS_UNFIT : FITNESS_CARE,
               "other work",
               "it takes time, caches and memory bandwidth from what is measured",
               "stop other programs (top shows them) and wait a minute",
               "measure at another hour, or with fewer threads",
               false};
    if (busy >= 0.1)
        fitness_report(l, c, "%.1f of %d CPUs are busy now, load average %.2f", busy,
                       l->online_count, load);
    else if (load > 0.3) fitness_report(l, c, "load average %.2f over the last minute", load);
}

/* Steal below 0.5 % since boot is what any shared host shows. */
static void report_steal(look *l, system_times now)
{
    system_times boot = {0};
    read_times(l, &boot);
    double share = boot.total > 0 ? 100 * boot.steal / boot.total : 0;
    double seen = now.total > 0 ? 100 * now.steal / now.total : 0;
    if (seen == 0 && share < 0.5) return;
    fitness_report(l,
                   (cause){seen > 5 ? FITNESS_UNFIT : FITNESS_CARE, "steal",
                           "a round that loses time is dropped; too many make a run undecided",
                           NULL, "measure at another hour, on a dedicated host or real hardware",
                           false},
                   "other guests of this host took %.1f %% now, %.2f %% since boot", seen, share);
}

static void check_others(look *l)
{
    system_times now = watch(l);
    report_work(l, now);
    report_steal(l, now);
}

static void check_neighbours(look *l)
{
    if (*l->root || !(l->seconds > 0)) return; /* not of this machine, or no time to look */
    double share = neighbour_shared_looks(LOOKS, l->seconds);
    if (share >= 0.02)
        fitness_report(
            l,
            (cause){FITNESS_CARE, "neighbours",
                    "the threads of a core share its units; /proc shows nothing of it", NULL,
                    "compare result files by attest compare: it takes them out", false},
            "somebody else computed on our core in %.0f %% of %d looks", 100 * share, LOOKS);
}

static double pressure(const look *l, const char *resource)
{
    char line[128];
    double average = 0;
    system_line(l->root, line, sizeof line, "/proc/pressure/%s", resource);
    sscanf(line, "some avg10=%lf", &average);
    return average;
}

static void check_pressure(look *l)
{
    double cpu = pressure(l, "cpu"), memory = pressure(l, "memory");
    if (cpu >= 1)
        fitness_report(l,
                       (cause){cpu >= 10 ? FITNESS_UNFIT : FITNESS_CARE, "CPU pressure",
                               "more threads want to run than there are CPUs",
                               "stop other programs (top shows them) and wait a minute",
                               "measure at another hour, or with fewer threads", false},
                       "tasks waited for a CPU %.0f %% of the last 10 seconds", cpu);
    if (memory >= 1)
        fitness_report(l,
                       (cause){FITNESS_UNFIT, "memory pressure",
                               "pages are taken away and fetched again during a round",
                               "stop what uses the memory (top -o %MEM shows it)",
                               "measure smaller problems", false},
                       "tasks waited for memory %.0f %% of the last 10 seconds", memory);
}

/* ---- the clock ------------------------------------------------------------------------- */

static bool on_battery(const look *l)
{
    char pattern[SYSTEM_PATH], type[32], state[32];
    bool discharging = false;
    glob_t supplies;
    snprintf(pattern, sizeof pattern, "%s/sys/class/power_supply/*", l->root);
    if (glob(pattern, 0, NULL, &supplies)) return false;
    for (size_t i = 0; i < supplies.gl_pathc; i++) {
        system_line(supplies.gl_pathv[i], type, sizeof type, "/type");
        system_line(supplies.gl_pathv[i], state, sizeof state, "/status");
        discharging =
            discharging || (strcmp(type, "Battery") == 0 && strcmp(state, "Discharging") == 0);
    }
    globfree(&supplies);
    return discharging;
}

static void check_battery(look *l)
{
    if (on_battery(l))
        fitness_report(l,
                       (cause){FITNESS_UNFIT, "battery",
                               "the firmware holds the clock down to save power",
                               "plug in the power supply", NULL, false},
                       "running on battery");
}

static void check_governor(look *l)
{
    char governor[64], other[64] = "";
    int count = 0;
    for (int cpu = 0; cpu < SYSTEM_CPUS; cpu++) {
        if (!l->allowed[cpu]) continue;
        system_line(l->root, governor, sizeof governor,
                    "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", cpu);
        if (!governor[0] || strcmp(governor, "performance") == 0) continue;
        if (count++ == 0) snprintf(other, sizeof other, "%s", governor);
    }
    if (count)
        fitness_report(l,
                       (cause){FITNESS_CARE, "governor",
                               "the clock follows the load, so that what runs first seems slow",
                               "sudo cpupower frequency-set -g performance",
                               "more rounds (--rounds, --budget); compare within one run", true},
                       "the frequency governor of %d of %d CPUs is %.40s", count, l->allowed_count,
                       other);
}

static void check_turbo(look *l)
{
    char boost[16], no_turbo[16];
    const char *cpu = "/sys/devices/system/cpu";
    system_line(l->root, boost, sizeof boost, "%s/cpufreq/boost", cpu);
    system_line(l->root, no_turbo, sizeof no_turbo, "%s/intel_pstate/no_turbo", cpu);
    if (boost[0] != '1' && no_turbo[0] != '0') return;
    fitness_report(l,
                   (cause){FITNESS_CARE, "turbo",
                           "the clock depends on heat and on how many cores work",
                           no_turbo[0] == '0'
                               ? "echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo"
                               : "echo 0 | sudo tee /sys/devices/system/cpu/cpufreq/boost",
                           "more rounds (--rounds, --budget); compare within one run", true},
                   "turbo is on");
}

static void check_clock(look *l)
{
    char governor[64];
    system_line(l->root, governor, sizeof governor,
                "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    if (!governor[0])
        fitness_report(l,
                       (cause){FITNESS_CARE, "clock",
                               "a clock that moves looks like a kernel that became slower", NULL,
                               "compare within one run only; its rounds share the clock", false},
                       "the frequency of the CPUs cannot be read here");
}

/* Sources whose reading needs no system call. */
static void check_clock_source(look *l)
{
    static const char *const fast[] = {"tsc",
                                       "kvm-clock",
                                       "hyperv_clocksource_tsc_page",
                                       "arch_sys_counter",
                                       "riscv_clocksource",
                                       "timebase"};
    char source[64];
    system_line(l->root, source, sizeof source,
                "/sys/devices/system/clocksource/clocksource0/current_clocksource");
    for (size_t i = 0; i < sizeof fast / sizeof *fast; i++)
        if (strcmp(source, fast[i]) == 0) return;
    if (source[0])
        fitness_report(l,
                       (cause){FITNESS_CARE, "clock source",
                               "reading the time takes a microsecond or more and is coarse",
                               "boot with clocksource=tsc, if the machine's counters are stable",
                               "longer samples: larger problems", true},
                       "the time comes from %.40s, not from tsc", source);
}

/* ---- cores and memory ------------------------------------------------------------------ */

/* Marks one CPU of every core among the allowed ones; returns how many. */
static int one_per_core(const look *l, bool chosen[SYSTEM_CPUS])
{
    static bool siblings[SYSTEM_CPUS], taken[SYSTEM_CPUS];
    int cores = 0;
    memset(taken, 0, sizeof taken);
    for (int cpu = 0; cpu < SYSTEM_CPUS; cpu++) {
        char list[256];
        chosen[cpu] = l->allowed[cpu] && !taken[cpu];
        if (!chosen[cpu]) continue;
        cores++;
        system_line(l->root, list, sizeof list,
                    "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        system_cpu_list(list, siblings);
        for (int other = 0; other < SYSTEM_CPUS; other++) taken[other] |= siblings[other];
    }
    return cores;
}

/* "0-3,8" of a set; false if it does not fit. */
static bool print_cpus(const bool set[SYSTEM_CPUS], char *text, size_t size)
{
    size_t used = 0;
    for (int cpu = 0, last; cpu < SYSTEM_CPUS; cpu = last + 1) {
        for (last = cpu; set[cpu] && last + 1 < SYSTEM_CPUS && set[last + 1];) last++;
        if (!set[cpu]) continue;
        used += (size_t)snprintf(text + used, size - used, used ? ",%d" : "%d", cpu);
        if (used < size && last > cpu)
            used += (size_t)snprintf(text + used, size - used, "-%d", last);
        if (used >= size) return false;
    }
    return true;
}

static void check_siblings(look *l)
{
    static bool chosen[SYSTEM_CPUS];
    char list[40], instead[128];
    int cores = one_per_core(l, chosen);
    if (cores == l->allowed_count) return;
    if (print_cpus(chosen, list, sizeof list))
        snprintf(instead, sizeof instead, "taskset -c %s attest bench ...", list);
    else snprintf(instead, sizeof instead, "attest bench --threads 1,%d", cores);
    fitness_report(
        l,
        (cause){FITNESS_CARE, "SMT", "two threads of one core share its units and caches",
                "echo off | sudo tee /sys/devices/system/cpu/smt/control", instead, true},
        "%d CPUs are the threads of %d cores", l->allowed_count, cores);
}

static void check_numa(look *l)
{
    char balancing[16], online[256];
    static bool nodes[SYSTEM_CPUS];
    system_line(l->root, balancing, sizeof balancing, "/proc/sys/kernel/numa_balancing");
    int count = system_cpu_list(
        system_line(l->root, online, sizeof online, "/sys/devices/system/node/online"), nodes);
    if (atoi(balancing) == 0 || count < 2) return;
    fitness_report(l,
                   (cause){FITNESS_CARE, "NUMA balancing",
                           "pages that move during a round change its time",
                           "echo 0 | sudo tee /proc/sys/kernel/numa_balancing",
                           "numactl --cpunodebind=0 --membind=0 attest bench ...", true},
                   "the kernel moves pages between %d memory nodes", count);
}

static void check_swap(look *l)
{
    char total[64], unused[64];
    double used = atof(system_value(l->root, "/proc/meminfo", "SwapTotal", total, sizeof total)) -
                  atof(system_value(l->root, "/proc/meminfo", "SwapFree", unused, sizeof unused));
    if (used > 0)
        fitness_report(
            l,
            (cause){FITNESS_CARE, "swap", "a round that waits for pages from the disk is dropped",
                    "sudo swapoff -a && sudo swapon -a", "measure smaller problems", true},
            "%.0f MiB are swapped out", used / 1024);
}

static void check_virtual(look *l)
{
    if (l->virtual)
        fitness_report(l,
                       (cause){FITNESS_CARE, "virtual machine",
                               "its neighbours share caches, memory and perhaps cores", NULL,
                               "measure on real hardware, or repeat at another hour", false},
                       "this is a virtual machine");
}

/* ---- good to know ---------------------------------------------------------------------- */

static void check_huge_pages(look *l)
{
    char modes[64], mode[16] = "";
    system_line(l->root, modes, sizeof modes, "/sys/kernel/mm/transparent_hugepage/enabled");
    char *chosen = strchr(modes, '[');
    if (!chosen || sscanf(chosen, "[%15[^]]", mode) != 1 || strcmp(mode, "always") == 0) return;
    fitness_report(l,
                   (cause){FITNESS_NOTE, "huge pages",
                           "large tensors lie on small pages and miss the TLB more often",
                           "echo always | sudo tee /sys/kernel/mm/transparent_hugepage/enabled",
                           "compare with machines of the same setting", true},
                   "transparent huge pages: %s", mode);
}

static void check_affinity(look *l)
{
    if (l->allowed_count < l->online_count)
        fitness_report(l,
                       (cause){FITNESS_NOTE, "affinity",
                               "thread counts end there, and others may work beside them",
                               "start without taskset, or the container without --cpuset-cpus",
                               NULL, false},
                       "this process may use %d of %d CPUs", l->allowed_count, l->online_count);
}

static void check_memory_limit(look *l)
{
    char text[64];
    double total = atof(system_value(l->root, "/proc/meminfo", "MemTotal", text, sizeof text));
    double limit = system_memory_limit(l->root);
    if (limit > 0 && limit < 1024 * total)
        fitness_report(l,
                       (cause){FITNESS_NOTE, "memory limit", "problems that need more are refused",
                               "start the container without a memory limit (docker: no --memory)",
                               NULL, false},
                       "%.1f of %.1f GiB may be used", limit / 0x1p30, total / 0x1p20);
}

static void check_counters(look *l)
{
    char paranoid[16], type[16];
    system_line(l->root, paranoid, sizeof paranoid, "/proc/sys/kernel/perf_event_paranoid");
    system_line(l->root, type, sizeof type, "/sys/bus/event_source/devices/cpu/type");
    if (!type[0])
        system_line(l->root, type, sizeof type, "/sys/bus/event_source/devices/armv8_pmuv3_0/type");
    cause c = {FITNESS_NOTE,
               "counters",
               "attest does not need them; perf stat would",
               "echo 1 | sudo tee /proc/sys/kernel/perf_event_paranoid",
               NULL,
               true};
    if (!type[0]) c.change = NULL, c.instead = "count cycles and misses on real hardware";
    if (!type[0]) fitness_report(l, c, "the CPU's hardware counters are not visible");
    else if (atoi(paranoid) > 2)
        fitness_report(l, c, "only root may read hardware counters (perf_event_paranoid %s)",
                       paranoid);
}

/* ---- all ------------------------------------------------------------------------------- */

void (*const fitness_checks[])(look *) = {
    check_quota,    check_others,       check_neighbours,
    check_pressure, check_battery,      check_governor,
    check_turbo,    check_siblings,     check_swap,
    check_numa,     check_clock_source, check_virtual,
    check_clock,    check_huge_pages,   check_memory_limit,
    check_affinity, check_counters,     NULL,
};
