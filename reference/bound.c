/* bound.c: how far from the truth may a correct kernel be?
 *
 * Notation: u unit roundoff; for key j: A_j = |scale| sum_i |q_i k_ji|, s_j its score, m_j what
 * masks and ALiBi add, M = max s_j, D_j = M - s_j, S = max |s_j|, p_j its weight; h, R, ULP, theta:
 * the kernel's claims (summation height, rescales, exp error, flush threshold);
 * gamma_h = h u / (1 - h u) (Higham 2002, chapter 3).
 *
 * 1. A computed score is s_j + e_j. A dot product of d terms in any order, with or without FMA,
 *    errs by at most gamma_d A_j; scaling before or after adds two roundings and second-order
 *    terms two more: u (d+4) A_j. Softcap has slope <= 1 and a tanh of its own: 2 ULP_tanh + 4
 *    roundings of s_j. Adding a mask value rounds |s_j| and the value itself: u (2|m_j| + |s_j|).
 *    For the additive score a term is va tanh(x), x = q + k rounded once: u |x| (1 - tanh^2 x) |va|
 *    from the argument, 2 ULP_tanh u |va tanh x| from the function, (d+4) u |va tanh x| from the
 *    sum.
 * 2. The weight is e^(s_j - M') with any M' near M. Subtracting rounds D_j; M' differs from M by at
 *    most the largest score error, the same for every key, so it cancels; that M' itself is rounded
 *    costs 2S u. Each exponential errs by 2 ULP u, that of the weight and one for each of R
 *    rescales, which also round once. So the weight before normalisation is p_j e^(+-tau_j) with
 *      tau_j = u [ (d+4) A_j + 2|m_j| + |s_j| (+ tanh) + D_j + 2S + (1+R) 2 ULP + R ].
 * 3. o = sum p v / sum p. Perturbing the weights moves o_c by exactly
 *    sum dp_j (v_jc - o_c) / sum p', hence
 *      E_scores = min( sum p_j (e^tau_j - 1) |v_jc - o_c| / sum p_j e^-tau_j,  max |v_jc - o_c| );
 *    the second form is the convex hull, which no weights can leave. |v - o|, not |v| + |o|: what
 *    numerator and denominator share cancels. A sink is one more key with v = 0.
 * 4. E_sums = gamma_h (sum p_j |v_jc| + |o_c|): both sums, in any order of height h.
 * 5. E_rounding = 3u |o_c|: reciprocal, product, store.
 * 6. E_underflow = 2 n theta max |v_jc| + n 2^-126: flushed weights and products.
 * 7. Hardmax and top-k: keys whose score is within the errors of the cut may be chosen by one
 *    computation and not by the other. If the band around the cut holds such keys, the weight of
 *    its chosen members may move to any member: 2 p_band e^(2 tau) max |v_jc - o_c| more. Without a
 *    near-tie nothing is added. */
#include <math.h>

#include "reference/reference.h"

static double gamma_of(double height, double u) { return height * u / (1 - height * u); }

attn_claims ref_default_claims(const attn_problem *p)
{
    return (attn_claims){.exp_ulp = 4,
                         .tanh_ulp = 4,
                         .sum_height = 2 * p->kv_len + 1,
                         .rescales = p->kv_len,
                         .flush = 0x1p-126,
                         .deterministic = false};
}

/* What all columns of a row share. */
typedef struct row_error {
    const attn_claims *claims;
    double u;
    double S;           /* largest |score| among visible keys and the sink */
    double sink_tau;    /* tau of the sink */
    double normaliser;  /* sum p_j e^-tau_j */
    double growth;      /* sum p_j e^tau_j */
    double band_weight; /* weight that a near-tie may move, times e^(2 tau) */
} row_error;

/* Error of the raw score of key j in units of u (step 1). */
static double raw_error(const attn_problem *p, const attn_tensors *t, const float *q,
                        const float *k, double magnitude, double tanh_ulp)
{
    double error = (double)(p->qk_dim + 4) * magnitude;
    for (int64_t c = 0; p->score == ATTN_ADDITIVE && c < p->qk_dim; c++) {
        double x = (double)q[c] + k[c], y = tanh(x),
               va = fabs((double)p->scale * t->score_vector[c]);
        error += va * (fabs(x) * (1 - y * y) + 2 * tanh_ulp * fabs(y));
    }
    return error;
}

static double tau_of(const row_error *e, double distance, double score_error)
{
    double exps = (double)(1 + e->claims->rescales) * 2 * e->claims->exp_ulp;
    return e->u * (score_error + distance + 2 * e->S + exps + (double)e->claims->rescales);
}

/* The lowest selected and the highest other score decide whether the selection could differ (step
 * 7). Returns the weight in the band. */
static double band_weight(const attn_problem *p, const ref_row *row)
{
    int64_t cut = -1;
    double weight = 0, largest_tau = 0;
    bool rival = false;
    for (int64_t j = 0; j < p->kv_len; j++)
        if (row->selected[j] && (cut < 0 || row->score[j] <= row->score[cut])) cut = j;
    for (int64_t j = 0; cut >= 0 && j < p->kv_len; j++) {
        double reach = row->tau[j] + row->tau[cut];
        if (!row->visible[j] || fabs(row->score[j] - row->score[cut]) > reach) continue;
        largest_tau = fmax(largest_tau, reach);
        if (row->selected[j]) weight += row->weight[j];
        else rival = true;
    }
    return rival ? weight * exp(largest_tau) : 0;
}

/* Fills row->tau (0 for keys that are not visible), e, and, if scores are wanted, weights_bound. */
static void score_errors(const attn_problem *p, const attn_tensors *t, const float *q,
                         const float *k, double sink, row_error *e, ref_row *row)
{
    for (int64_t j = 0; j < p->kv_len; j++)
        if (row->visible[j]) e->S = fmax(e->S, fabs(row->score[j]));
    if (sink != -INFINITY) e->S = fmax(e->S, fabs(sink));
    for (int64_t j = 0; j < p->kv_len; j++) {
        double raw =
            raw_error(p, t, q, k + j * t->k.row_stride, row->magnitude[j], e->claims->tanh_ulp);
        double capped = raw;
        if (p->softcap > 0) capped += (2 * e->claims->tanh_ulp + 4) * fabs(row->capped[j]);
        double masked =
            capped + 2 * fabs(row->bias[j]) + (row->visible[j] ? fabs(row->score[j]) : 0);
        const double forms[] = {0, raw + fabs(row->raw[j]), capped + fabs(row->capped[j]), masked,
                                0};
        if (p->weights) row->weights_bound[j] = e->u * forms[p->weights] + 0x1p-149;
        row->tau[j] = row->visible[j] ? tau_of(e, row->largest - row->score[j], masked) : 0;
    }
    if (sink != -INFINITY) e->sink_tau = tau_of(e, row->largest - sink, fabs(sink));
    e->normaliser = row->sink_weight * exp(-e->sink_tau);
    e->growth = row->sink_weight * exp(e->sink_tau);
    for (int64_t j = 0; j < p->kv_len; j++) {
        if (!row->selected[j]) continue;
        e->normaliser += row->weight[j] * exp(-row->tau[j]);
        e->growth += row->weight[j] * exp(row->tau[j]);
    }
    e->band_weight = p->select == ATTN_SOFTMAX ? 0 : band_weight(p, row);
}

static void bound_column(const attn_problem *p, const float *v, int64_t v_row, const row_error *e,
                         int64_t c, ref_row *row)
{
    double o = row->out[c], n = (double)p->kv_len;
    double moved = row->sink_weight * expm1(e->sink_tau) * fabs(o),
           hull = row->sink_weight > 0 ? fabs(o) : 0;
    double absolute = 0, largest = 0;
    for (int64_t j = 0; j < p->kv_len; j++) {
        if (!row->visible[j]) continue;
        double x = v[j * v_row + c], apart = fabs(x - o);
        if (row->selected[j] || e->band_weight > 0) hull = fmax(hull, apart);
        if (!row->selected[j]) continue;
        moved += row->weight[j] * expm1(row->tau[j]) * apart;
        absolute += row->weight[j] * fabs(x);
        largest = fmax(largest, fabs(x));
    }
    double gamma = gamma_of((double)e->claims->sum_height, e->u);
    double terms[REF_TERMS] = {
        [REF_SCORES] =
            (e->normaliser > 0 ? fmin(moved / e->normaliser, hull) : 0) + 2 * e->band_weight * hull,
        [REF_SUMS] = gamma * (absolute + fabs(o)),
        [REF_ROUNDING] = 3 * e->u * fabs(o),
        [REF_UNDERFLOW] = 2 * n * e->claims->flush * largest + n * 0x1p-126,
    };
    if (row->sink_weight == 0 && e->normaliser == 0)
        terms[REF_UNDERFLOW] = 0; /* no key: exactly +0 */
    row->out_bound[c] = 0;
    row->out_term[c] = REF_SCORES;
    for (int x = 0; x < REF_TERMS; x++) {
        row->out_bound[c] += terms[x];
        if (terms[x] > terms[row->out_term[c]]) row->out_term[c] = (ref_term)x;
    }
}

static void bound_weights(const attn_problem *p, const row_error *e, ref_row *row)
{
    double gamma = gamma_of((double)e->claims->sum_height, e->u);
    for (int64_t j = 0; j < p->kv_len; j++) {
        double w = row->weight[j], grown = exp(row->tau[j]) / e->normaliser - 1;
        row->weights_bound[j] = w > 0 ? w * (grown + gamma + 3 * e->u) : 0;
        if (row->visible[j])
            row->weights_bound[j] += 2 * e->claims->flush + 0x1p-126 + 2 * e->band_weight;
    }
}

void ref_bound(const attn_problem *p, const attn_tensors *t, ref_place at,
               const attn_claims *claims, double u, ref_row *row)
{
    int64_t g = at.h / (p->q_heads / p->kv_heads);
    const float *q =
        t->q.data + at.b * t->q.batch_stride + at.h * t->q.head_stride + at.i * t->q.row_stride;
    const float *k = t->k.data + at.b * t->k.batch_stride + g * t->k.head_stride;
    const float *v = t->v.data + at.b * t->v.batch_stride + g * t->v.head_stride;
    double sink = p->has_sinks ? t->sinks[at.h] : -INFINITY;
    row_error e = {.claims = claims, .u = u};
    score_errors(p, t, q, k, sink, &e, row);
    for (int64_t c = 0; c < p->v_dim; c++) bound_column(p, v, t->v.row_stride, &e, c, row);
    if (p->weights == ATTN_WEIGHTS_NORMALISED) bound_weights(p, &e, row);
    double gamma = gamma_of((double)claims->sum_height, u);
    row->lse_bound = row->lse == -INFINITY
                         ? 0
                         : log(e.growth) + gamma + u * 4 * (fabs(row->largest) + fabs(row->lse)) +
                               u * 8 + (double)p->kv_len * claims->flush;
}
