/* roof.h: what is the most this machine can do? Measured, never looked up. */
#ifndef BENCH_ROOF_H
#define BENCH_ROOF_H

#include <stdint.h>

/* fp32 operations per nanosecond (GFLOP/s) of register-only multiply-adds with the vectors of an
 * ISA's row, on this many threads for about `seconds`. One multiply-add is two operations, also
 * where the ISA has no fused one. 0 for an ISA that is not built. The caller has asked
 * attn_isa_missing. */
double roof_peak_gflops(const char *isa, int threads, double seconds);

/* Bytes per nanosecond (GB/s) read from a buffer of this size, again and again for about `seconds`,
 * the best pass of at least a millisecond: the size decides which cache, or memory, is the limit.
 * 0 if memory is short. */
double roof_read_gbps(int threads, int64_t bytes, double seconds);

/* Far larger than the caches of the day: reads of memory itself. */
#define ROOF_MEMORY_BYTES (INT64_C(256) << 20)

/* Seconds on a monotonic clock. */
double roof_now(void);

#endif
