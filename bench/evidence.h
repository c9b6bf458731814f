/* evidence.h: was the machine ours while a round was timed? What the operating system charges to
 * it, and the causes for which a round is dropped; never for being slow. */
#ifndef BENCH_EVIDENCE_H
#define BENCH_EVIDENCE_H

typedef enum evidence_cause {
    EVIDENCE_CLEAN = -1,
    EVIDENCE_STEAL,     /* the hypervisor took more than 2 % of the CPUs' time */
    EVIDENCE_SWITCHES,  /* our threads waited for a CPU, which others had, for more than 1 % */
    EVIDENCE_MIGRATION, /* the thread moved to another CPU */
    EVIDENCE_FAULTS,    /* memory had to be paged in */
    EVIDENCE_CPU,       /* the thread computed less than 99 % of the time, for another reason */
    EVIDENCE_PRESSURE,  /* tasks of this machine stood still for want of memory */
    EVIDENCE_ANCHOR,    /* the clock moved by more than 2 % */
    EVIDENCE_CAUSES
} evidence_cause;
extern const char *const evidence_names[EVIDENCE_CAUSES];

/* Readings at one moment; differences of two tell what happened between. */
typedef struct evidence {
    double wall_s, thread_s; /* monotonic clock, CPU time of the calling thread */
    double steal_s;          /* of all CPUs */
    double stall_s;          /* PSI: some task waited for memory */
    double delay_s;          /* all threads of this process together waited for a CPU */
    long faults, switches;   /* major faults, involuntary switches of this process */
    int cpu;                 /* that the calling thread runs on */
} evidence;

evidence evidence_now(void);

#define EVIDENCE_CLOCK_MOVED 0.02

/* Why the time between two readings is no measurement of a kernel on `threads` threads, or
 * EVIDENCE_CLEAN. `moved` is |ln| of the clock anchor after over before. */
evidence_cause evidence_judge(const evidence *before, const evidence *after, int threads,
                              double moved);

#endif
