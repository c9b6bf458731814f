/* roof.h: what is the most this machine can do? Measured, never looked up. */
#ifndef BENCH_ROOF_H
#define BENCH_ROOF_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The probes compiled for one ISA's row (peak.c, stream.c). */
typedef struct roof_isa {
    const char *name;
    int64_t (*peak)(int64_t rounds, float *sink);  /* returns the operations done */
    int64_t (*mixed)(int64_t rounds, float *sink); /* with additions beside the multiply-adds */
    float (*read)(const float *at, int64_t floats);
    void (*triad)(float *to, const float *a, const float *b, int64_t floats);
    double flops_per_round; /* of peak */
} roof_isa;

/* NULL for an ISA that is not built. The caller has asked attn_isa_missing. */
const roof_isa *roof_find(const char *isa);

/* The last ISA in table order that runs here. */
const roof_isa *roof_widest(void);

/* fp32 operations per nanosecond (GFLOP/s) of register-only multiply-adds with the vectors of an
 * ISA's row, on this many threads for about `seconds`; one multiply-add is two operations, also
 * where the ISA has no fused one. `mixed`: with additions beside them, which some cores have units
 * for. 0 for an ISA that is not built. */
double roof_peak_gflops(const char *isa, int threads, bool mixed, double seconds);

/* Bytes per nanosecond (GB/s) read from a buffer of this size, again and again for about `seconds`
 * by the widest vectors, the best pass of at least a millisecond: the size decides which cache, or
 * memory, is the limit. 0 if memory is short. */
double roof_read_gbps(int threads, int64_t bytes, double seconds);

/* Far larger than the caches of the day: reads of memory itself. */
#define ROOF_MEMORY_BYTES (INT64_C(256) << 20)

/* All roofs of this machine: {"class", "probes", "date", "peaks": [{"isa", "threads", "gflops",
 * "mixed_gflops"}], "levels": [{"level": "L1", "threads", "bytes", "read_gbps"}, ... "memory"]} for
 * one thread and for `threads`. Taken from the user's cache folder if this machine class was
 * measured before, else measured (some seconds) and, unless it was disturbed, kept there; `fresh`
 * measures in any case. A cache that cannot be read or written is no error. New reference. */
json_t *roof_of_machine(const json_t *machine, int threads, bool fresh);

/* Seconds on a monotonic clock. */
double roof_now(void);

#endif
