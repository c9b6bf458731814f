/* fitness_parts.h: what looks at a machine, and the checks that do. */
#ifndef BENCH_FITNESS_PARTS_H
#define BENCH_FITNESS_PARTS_H

#include "bench/fitness.h"
#include "bench/system.h"

typedef struct look {
    const char *root;
    double seconds;
    bool allowed[SYSTEM_CPUS]; /* to this process */
    int allowed_count, online_count;
    bool container, virtual;
    fitness *out;
} look;

/* In the order of their usual effect; ended by NULL. */
extern void (*const fitness_checks[])(look *);

/* What a check tells of its cause, beside what it found. */
typedef struct cause {
    fitness_level level;
    const char *name, *why, *change, *instead;
    bool kernel; /* the change is one to the kernel: in a container only its host can do it */
} cause;

__attribute__((format(printf, 3, 4))) void fitness_report(look *l, cause c, const char *found, ...);

#endif
