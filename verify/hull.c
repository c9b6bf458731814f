/* hull.c: an output is a mean of visible values, and no mean leaves their range.
 *
 * Where scores are uncertain the bound of the judge allows any weights (bound.c, step 3): an error
 * as large as max |v - o|, to both sides of o. Weights are not negative, so the range of v is all
 * there is. Whatever weights w_j >= 0 a kernel uses, it computes
 *   o' = (sum w_j v_j (1 + e_j)) / (sum w_j (1 + f_j)) with |e_j|, |f_j| <= gamma_h,
 * then rounds three times. With z = max |v_j| that is within 2 gamma_h / (1 - gamma_h) z + 3u |o'|
 * of the mean (sum w_j v_j) / (sum w_j). A kernel may compute the weights twice, for the numerator
 * and for the denominator: then each exponential and each rescale may err twice, by
 * x = u ((1 + R) 2 ULP + R) each time, and each distance D_j = M - s_j is rounded twice, where
 * sum p_j D_j <= log n. The range may be left by
 *   T = z [ 2 gamma_h / (1 - gamma_h) + e^(2x) - 1 + 4u log(n + 1) ] + 3u |o'| + E_underflow.
 * A sink is one more value: 0. If all of V is c, then o' is within T of c. */
#include <math.h>

#include "verify/judge.h"

static const double u = 0x1p-24;

bool check_hull(const attn_problem *p, const attn_tensors *t, const attn_claims *claims,
                ref_place at, const ref_row *row, int64_t column, float got)
{
    double n = (double)p->kv_len, h = (double)claims->sum_height * u, want = row->out[column];
    double gamma = h / (1 - h), sums = 2 * gamma / (1 - gamma);
    if (!(h < 0.5) || !isfinite(want)) return true;         /* no gamma, or an affair of classes */
    if (fabs(got - want) <= sums * fabs(want)) return true; /* T is more, and o is in the range */
    double rescales = (double)claims->rescales, ulps = 2 * claims->exp_ulp;
    double low = row->sink_weight > 0 ? 0 : INFINITY, high = -low;
    int64_t g = at.h / (p->q_heads / p->kv_heads);
    const float *x = t->v.data + at.b * t->v.batch_stride + g * t->v.head_stride + column;
    for (int64_t j = 0; j < p->kv_len; j++)
        if (row->visible[j]) {
            low = fmin(low, x[j * t->v.row_stride]);
            high = fmax(high, x[j * t->v.row_stride]);
        }
    double largest = fmax(fabs(low), fabs(high));
    double part = sums + expm1(2 * u * ((1 + rescales) * ulps + rescales)) + 4 * u * log(n + 1);
    double reach =
        part * largest + 3 * u * fabs(got) + 2 * n * claims->flush * largest + n * 0x1p-126;
    bool none = row->lse == -INFINITY; /* the judge wants exactly 0 */
    return none || (got >= low - reach && got <= high + reach);
}
