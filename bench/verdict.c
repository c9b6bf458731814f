/* verdict.c: verdicts by intervals, and p-values adjusted for their number. */
#include "bench/verdict.h"

#include <math.h>
#include <stdlib.h>

const char *const verdict_names[] = {"undecided", "same", "faster", "slower"};

verdict verdict_of(double low, double high, double band)
{
    if (low > band && high >= low) return VERDICT_SLOWER;
    if (high < -band && low <= high) return VERDICT_FASTER;
    if (low >= -band && high <= band) return VERDICT_SAME;
    return VERDICT_UNDECIDED;
}

typedef struct claim {
    double p;
    int index;
} claim;

static int ascending(const void *a, const void *b)
{
    double x = ((const claim *)a)->p, y = ((const claim *)b)->p;
    return (x > y) - (x < y);
}

/* The claims by rising p; NULL if memory is short, and then no claim stands. */
static claim *sorted(const double *p, int count, double *adjusted)
{
    claim *claims = malloc(((size_t)count + 1) * sizeof *claims);
    for (int i = 0; i < count; i++) {
        adjusted[i] = 1;
        if (claims) claims[i] = (claim){p[i], i};
    }
    if (claims) qsort(claims, (size_t)count, sizeof *claims, ascending);
    return claims;
}

void verdict_holm(const double *p, int count, double *adjusted)
{
    claim *claims = sorted(p, count, adjusted);
    double largest = 0;
    for (int i = 0; claims && i < count; i++) {
        largest = fmax(largest, fmin(1, (count - i) * claims[i].p));
        adjusted[claims[i].index] = largest;
    }
    free(claims);
}

void verdict_benjamini_hochberg(const double *p, int count, double *adjusted)
{
    claim *claims = sorted(p, count, adjusted);
    double smallest = 1;
    for (int i = count - 1; claims && i >= 0; i--) {
        smallest = fmin(smallest, claims[i].p * count / (i + 1));
        adjusted[claims[i].index] = smallest;
    }
    free(claims);
}
