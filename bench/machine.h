/* machine.h: what computer is this? */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <jansson.h>
#include <stdint.h>

/* The record that goes into every result file: CPU, caches, memory, kernel, ISAs, notes. `class`
 * names what must be equal for timings of two commits to be comparable; no clock reading is part of
 * it. `slug` is the folder of this machine under results/. New reference. */
json_t *machine_record(void);

/* Bytes that can be allocated without swapping: MemAvailable, and the container's limit if it is
 * lower. */
int64_t machine_memory_available(void);

/* CPUs this process may run on. */
int machine_cpus(void);

#endif
