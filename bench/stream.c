/* stream.c: memory read and written as fast as an ISA's vectors can, compiled once per ISA with the
 * flags of its row (see peak.c). */
#include <stdint.h>
#include <string.h>

#define STREAM_PASTE(what, isa)  stream_##what##_##isa
#define STREAM_EXPAND(what, isa) STREAM_PASTE(what, isa)

enum { SUMS = 8, LANES = VEC_BYTES / 4 };

typedef float lanes VECTOR __attribute__((aligned(4), may_alias));

float STREAM_EXPAND(read, ISA)(const float *at, int64_t floats);
void STREAM_EXPAND(triad, ISA)(float *to, const float *a, const float *b, int64_t floats);

/* Adds up `floats` floats, a multiple of 8 vectors; 8 sums, so that loads and not additions are the
 * limit. */
float STREAM_EXPAND(read, ISA)(const float *at, int64_t floats)
{
    lanes sum[SUMS] = {0};
    float first;
    for (int64_t x = 0; x + SUMS * LANES <= floats; x += SUMS * LANES)
        for (int s = 0; s < SUMS; s++) sum[s] += *(const lanes *)&at[x + s * LANES];
    for (int s = 1; s < SUMS; s++) sum[0] += sum[s];
    memcpy(&first, &sum[0], sizeof first);
    return first;
}

/* to = a + 3 b; no overlaps. */
void STREAM_EXPAND(triad, ISA)(float *to, const float *a, const float *b, int64_t floats)
{
    for (int64_t x = 0; x + LANES <= floats; x += LANES)
        *(lanes *)&to[x] = *(const lanes *)&a[x] + 3 * *(const lanes *)&b[x];
}
