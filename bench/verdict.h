/* verdict.h: what may be said about many differences at once. */
#ifndef BENCH_VERDICT_H
#define BENCH_VERDICT_H

typedef enum verdict {
    VERDICT_UNDECIDED, /* the interval crosses an edge of the band */
    VERDICT_SAME,      /* it lies inside */
    VERDICT_FASTER,    /* it lies below */
    VERDICT_SLOWER,    /* it lies above */
} verdict;

extern const char *const verdict_names[]; /* by verdict */

/* By the interval [low, high] of ln(new / base) against [-band, band]. NaN is undecided. */
verdict verdict_of(double low, double high, double band);

/* p-values of `count` claims, adjusted: a claim stands if its adjusted p is at most 0.05.
 * Holm: with 95 % no false claim stands (Holm 1979). Benjamini-Hochberg: of the standing claims 5 %
 * are false on average, and if nothing differs none stands with 95 % (Benjamini and Hochberg 1995;
 * valid for tests that rise together, as cells of one launch do: Benjamini and Yekutieli 2001). */
void verdict_holm(const double *p, int count, double *adjusted);
void verdict_benjamini_hochberg(const double *p, int count, double *adjusted);

#endif
