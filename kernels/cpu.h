/* cpu.h: what can this CPU execute? Detection only; the table in meson.build lists the ISAs. */
#ifndef KERNELS_CPU_H
#define KERNELS_CPU_H

#include <stdbool.h>
#include <stddef.h>

/* True if the CPU has the instructions of this row and the operating system saves its registers;
 * otherwise writes which of the two is missing to `why`, without a full stop. */
bool cpu_runs(const char *isa, char *why, size_t size);

#endif
