/* roof.h: what is the most this machine can do? Measured, never looked up. */
#ifndef BENCH_ROOF_H
#define BENCH_ROOF_H

/* fp32 operations per nanosecond (GFLOP/s) of register-only multiply-adds with the vectors of an
 * ISA's row, on this many threads for about `seconds`. One multiply-add is two operations, also
 * where the ISA has no fused one. 0 for an ISA that is not built. The caller has asked
 * attn_isa_missing. */
double roof_peak_gflops(const char *isa, int threads, double seconds);

/* Bytes per nanosecond (GB/s) read from a buffer far larger than the caches; best of `passes`. 0 if
 * memory is short. */
double roof_read_gbps(int threads, int passes);

/* Seconds on a monotonic clock. */
double roof_now(void);

#endif
