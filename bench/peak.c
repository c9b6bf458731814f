/* peak.c: register-only multiply-adds, compiled once per ISA with the flags of its row.
 *
 * CHAINS independent accumulators hide the latency of the units (4 cycles x 2 units on current x86
 * cores, so at least 8); two more registers hold the factors. The row says how wide `lanes` is:
 * -DVECTOR is empty for scalar code and the compiler's vector attribute otherwise. The chains start
 * from *sink, which no compiler knows: a chain that started at the constant 1 would stay 1 and be
 * removed, and the peak would seem 12/11 of what it is. Cores with adders of their own beside the
 * multiply-add units (Zen) do more in `mixed`: every second chain only adds. */
#include <stdint.h>
#include <string.h>

#define PEAK_PASTE(what, isa)  peak_##what##_##isa
#define PEAK_EXPAND(what, isa) PEAK_PASTE(what, isa)

enum { CHAINS = 12, MIXED_FMAS = 8, MIXED_ADDS = 6, LANES = VEC_BYTES / 4 };

typedef float lanes VECTOR;

int64_t PEAK_EXPAND(fma, ISA)(int64_t rounds, float *sink);
int64_t PEAK_EXPAND(mixed, ISA)(int64_t rounds, float *sink);

static void start(lanes *sum, int chains, const float *sink)
{
    for (int c = 0; c < chains; c++) sum[c] = (lanes){0} + (*sink + (float)c);
}

static void finish(lanes *sum, int chains, float *sink)
{
    float first;
    for (int c = 1; c < chains; c++) sum[0] += sum[c];
    memcpy(&first, &sum[0], sizeof first);
    *sink += first;
}

/* Runs `rounds` multiply-adds in each chain; returns the floating-point operations. */
int64_t PEAK_EXPAND(fma, ISA)(int64_t rounds, float *sink)
{
    lanes sum[CHAINS], factor = (lanes){0} + 0.999f, addend = (lanes){0} + 0.001f;
    start(sum, CHAINS, sink);
    for (int64_t r = 0; r < rounds; r++)
        for (int c = 0; c < CHAINS; c++) sum[c] = sum[c] * factor + addend;
    finish(sum, CHAINS, sink);
    return rounds * CHAINS * LANES * 2;
}

/* The same in MIXED_FMAS chains, beside MIXED_ADDS chains of additions. */
int64_t PEAK_EXPAND(mixed, ISA)(int64_t rounds, float *sink)
{
    enum { ALL = MIXED_FMAS + MIXED_ADDS };
    lanes sum[ALL], factor = (lanes){0} + 0.999f, addend = (lanes){0} + 0.001f;
    start(sum, ALL, sink);
    for (int64_t r = 0; r < rounds; r++) {
        for (int c = 0; c < MIXED_FMAS; c++) sum[c] = sum[c] * factor + addend;
        for (int c = MIXED_FMAS; c < ALL; c++) sum[c] += addend;
    }
    finish(sum, ALL, sink);
    return rounds * LANES * (2 * MIXED_FMAS + MIXED_ADDS);
}
