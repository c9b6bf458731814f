/* fitness.h: is this machine fit for measuring, and what would make it so? */
#ifndef BENCH_FITNESS_H
#define BENCH_FITNESS_H

#include <jansson.h>
#include <stdbool.h>

/* NOTE: good to know. CARE: spreads or shifts timings. UNFIT: timings taken now mislead. */
typedef enum fitness_level { FITNESS_NOTE, FITNESS_CARE, FITNESS_UNFIT } fitness_level;

typedef struct fitness_finding {
    fitness_level level;
    const char *name; /* two words at most */
    char found[128];
    const char *why;
    char change[128];  /* a command or what to do; "" if it cannot be changed */
    char instead[128]; /* what to do where it cannot be changed; may be "" */
    bool on_host;      /* the change is one to the kernel, and this is a container */
} fitness_finding;

enum { FITNESS_MOST = 24 };
typedef struct fitness {
    fitness_finding findings[FITNESS_MOST]; /* most harmful first */
    int count;
} fitness;

/* Looks at the machine whose /proc and /sys lie under `root` ("" is this one). With `seconds` > 0
 * it also watches for that long what the CPUs do; otherwise only what the kernel remembers counts.
 */
void fitness_look(fitness *f, const char *root, double seconds);

/* The worst level. */
fitness_level fitness_worst(const fitness *f);

/* "fit", "fit with care", "unfit". */
const char *fitness_verdict(const fitness *f);

extern const char *const fitness_level_names[];

/* {"verdict", "findings": [{"level", "name", "found", "why", "change", "instead", "on_host"}]}. */
json_t *fitness_json(const fitness *f);

#endif
