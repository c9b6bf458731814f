/* peak.c: register-only multiply-adds, compiled once per ISA with the flags of its row.
 *
 * CHAINS independent accumulators hide the latency of the units (4 cycles x 2 units on current x86
 * cores, so at least 8); two more registers hold the factors. The row says how wide `lanes` is:
 * -DVECTOR is empty for scalar code and the compiler's vector attribute otherwise. The chains start
 * from *sink, which no compiler knows: a chain that started at the constant 1 would stay 1 and be
 * removed, and the peak would seem 12/11 of what it is. */
#include <stdint.h>
#include <string.h>

#define PEAK_PASTE(isa)  peak_##isa
#define PEAK_EXPAND(isa) PEAK_PASTE(isa)

enum { CHAINS = 12 };

typedef float lanes VECTOR;

int64_t PEAK_EXPAND(ISA)(int64_t rounds, float *sink);

/* Runs `rounds` multiply-adds in each chain; returns the floating-point operations. */
int64_t PEAK_EXPAND(ISA)(int64_t rounds, float *sink)
{
    lanes sum[CHAINS], factor = (lanes){0} + 0.999f, addend = (lanes){0} + 0.001f;
    float first;
    for (int c = 0; c < CHAINS; c++) sum[c] = (lanes){0} + (*sink + (float)c);
    for (int64_t r = 0; r < rounds; r++)
        for (int c = 0; c < CHAINS; c++) sum[c] = sum[c] * factor + addend;
    for (int c = 1; c < CHAINS; c++) sum[0] += sum[c];
    memcpy(&first, &sum[0], sizeof first);
    *sink += first;
    return rounds * CHAINS * (int64_t)(sizeof(lanes) / sizeof(float)) * 2;
}
