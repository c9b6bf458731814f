/* bound.c: how far from the truth may a correct kernel be?
 *
 * Notation: u unit roundoff; for key j: A_j = |scale| sum_i |q_i k_ji|, s_j its score, m_j what
 * masks and ALiBi add, M = max s_j, D_j = M - s_j, p_j its weight; h, R, ULP, theta:
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
 * 2. The weight is e^(s_j - M') with any M' near M: what M' and M differ by is the same for every
 *    key and cancels. Subtracting rounds D_j; a kernel that works in powers of two also rounds s_j
 *    and M' times log2(e): |s_j| and 2|M|. Each exponential errs by 2 ULP u, that of the weight
 *    and one for each of R rescales, which also round once. So the weight before normalisation is
 *    p_j e^(+-tau_j) with
 *      tau_j = u [ (d+4) A_j + 2|m_j| + |s_j| (+ tanh) + D_j + 2|M| + (1+R) 2 ULP + R ].
 *    (With max |s_j| in place of |M|, as is also found, one key at a mask value of -1e9 would
 *    loosen the bound of every other.)
 * 3. o = sum p v / sum p. Perturbing the weights moves o_c by exactly
 *    sum dp_j (v_jc - o_c) / sum p', hence
 *      E_scores = min( sum p_j (e^tau_j - 1) |v_jc - o_c| / sum p_j e^-tau_j,  max |v_jc - o_c| );
 *    the second form is the convex hull, which no weights can leave. |v - o|, not |v| + |o|: what
 *    numerator and denominator share cancels. A sink is one more key with v = 0.
 *    Terms p_j e^tau_j are formed as e^(s_j - lse + tau_j), which neither overflows nor loses them.
 * 4. E_sums = gamma_h (sum p_j |v_jc| + |o_c|): both sums, in any order of height h. There is no
 *    gamma_h for h u >= 1: the bound is infinite, and the caller must not take that for a pass.
 * 5. E_rounding = 3u |o_c|: reciprocal, product, store.
 * 6. E_underflow = 2 n theta max |v_jc| + n 2^-126: flushed weights and products.
 * 7. Hardmax and top-k: keys whose score is within the errors of the cut may be chosen by one
 *    computation and not by the other. If the band around the cut holds such keys, the weight of
 *    its chosen members may move to any member: 2 p_band e^(2 tau) max |v_jc - o_c| more. Without a
 *    near-tie nothing is added.
 *
 * The typical bound counts roundings that are independent of each other and of mean 0: n of them
 * add up to about sqrt n u, seldom to 6 sqrt n u (Higham and Mary 2019, "A new approach to
 * probabilistic rounding error analysis"). It has min(n, 6 sqrt n) for n = d+4, h and R. A right
 * kernel may exceed it, so it warns and never fails. */
#include <math.h>
#include <stdio.h>

#include "reference/reference.h"

static double gamma_of(double height, double u)
{
    return height * u < 1 ? height * u / (1 - height * u) : INFINITY;
}

attn_claims ref_default_claims(const attn_problem *p)
{
    return (attn_claims){.exp_ulp = 4,
                         .tanh_ulp = 4,
                         .sum_height = 2 * p->kv_len + 1,
                         .rescales = p->kv_len,
                         .flush = 0x1p-126,
                         .deterministic = false};
}

attn_claims ref_needed_claims(const attn_problem *p, attn_claims c)
{
    attn_claims loosest = ref_default_claims(p);
    if (c.sum_height > loosest.sum_height + 1) c.sum_height = loosest.sum_height + 1; /* a sink */
    if (c.rescales > loosest.rescales) c.rescales = loosest.rescales;
    return c;
}

const char *ref_claims_refused(const attn_problem *p, const attn_claims *c, char *reason,
                               size_t size)
{
    attn_claims loosest = ref_default_claims(p);
    const struct {
        const char *name;
        double value, most;
    } claims[] = {
        {"exp_ulp", c->exp_ulp, loosest.exp_ulp},
        {"tanh_ulp", c->tanh_ulp, loosest.tanh_ulp},
        {"sum_height", (double)c->sum_height, INFINITY},
        {"rescales", (double)c->rescales, INFINITY},
        {"flush", c->flush, 0x1p-120},
    };
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        if (claims[i].value >= 0 && claims[i].value <= claims[i].most) continue;
        snprintf(reason, size, "%s is %.9g, not within 0 to %.9g", claims[i].name, claims[i].value,
                 claims[i].most);
        return reason;
    }
    return NULL;
}

/* What all columns of a row share. */
typedef struct row_error {
    const attn_claims *claims;
    double u;
    double dot_height;  /* d + 4 */
    double sink_tau;    /* tau of the sink */
    double sink_moved;  /* p (e^tau - 1) of the sink */
    double normaliser;  /* sum p_j e^-tau_j */
    double growth;      /* sum p_j e^tau_j */
    double largest_tau; /* among selected keys and the sink */
    double band_weight; /* weight that a near-tie may move, times e^(2 tau) */
} row_error;

/* Error of the raw score of key j in units of u (step 1). */
static double raw_error(const attn_problem *p, const attn_tensors *t, const float *q,
                        const float *k, double magnitude, const row_error *e)
{
    double error = e->dot_height * magnitude;
    for (int64_t c = 0; p->score == ATTN_ADDITIVE && c < p->qk_dim; c++) {
        double x = (double)q[c] + k[c], y = tanh(x),
               va = fabs((double)p->scale * t->score_vector[c]);
        error += va * (fabs(x) * (1 - y * y) + 2 * e->claims->tanh_ulp * fabs(y));
    }
    return error;
}

static double tau_of(const row_error *e, double largest, double score, double score_error)
{
    double exps = (double)(1 + e->claims->rescales) * 2 * e->claims->exp_ulp;
    double distance = largest - score;
    return e->u * (score_error + distance + 2 * fabs(largest) + exps + (double)e->claims->rescales);
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
    return rival && weight > 0 ? fmin(weight * exp(largest_tau), 1) : 0; /* no more than all */
}

/* p (e^tau - 1) for the weight p = e^log_weight, without overflow in between. */
static double moved_weight(double log_weight, double tau)
{
    return tau < 1 ? exp(log_weight) * expm1(tau) : exp(log_weight + tau) - exp(log_weight);
}

/* Fills row->tau (0 for keys that are not visible) and, if scores are wanted, weights_bound. */
static void key_errors(const attn_problem *p, const attn_tensors *t, const float *q, const float *k,
                       const row_error *e, ref_row *row)
{
    bool all_pairs = p->weights == ATTN_WEIGHTS_RAW || p->weights == ATTN_WEIGHTS_CAPPED;
    for (int64_t j = 0; j < p->kv_len; j++) {
        row->tau[j] = 0;
        if (p->weights) row->weights_bound[j] = 0;
        if (!row->visible[j] && !all_pairs) continue; /* K may be NaN there */
        double raw = raw_error(p, t, q, k + j * t->k.row_stride, row->magnitude[j], e);
        double capped = raw;
        if (p->softcap > 0) capped += (2 * e->claims->tanh_ulp + 4) * fabs(row->capped[j]);
        double masked =
            capped + 2 * row->bias_size[j] + (row->visible[j] ? fabs(row->score[j]) : 0);
        const double forms[] = {0, raw + fabs(row->raw[j]), capped + fabs(row->capped[j]), masked,
                                0};
        if (p->weights) row->weights_bound[j] = e->u * forms[p->weights] + 0x1p-149;
        if (row->visible[j]) row->tau[j] = tau_of(e, row->largest, row->score[j], masked);
    }
}

/* Fills row->moved of the selected keys, and the sums of e over them and the sink. */
static void sum_errors(const attn_problem *p, double sink, row_error *e, ref_row *row)
{
    if (sink != -INFINITY) {
        e->sink_tau = e->largest_tau = tau_of(e, row->largest, sink, fabs(sink));
        e->sink_moved = moved_weight(sink - row->lse, e->sink_tau);
        e->normaliser = exp(sink - row->lse - e->sink_tau);
        e->growth = exp(sink - row->lse + e->sink_tau);
    }
    for (int64_t j = 0; j < p->kv_len; j++) {
        if (!row->selected[j]) continue;
        double log_weight = row->score[j] - row->lse;
        row->moved[j] = moved_weight(log_weight, row->tau[j]);
        e->normaliser += exp(log_weight - row->tau[j]);
        e->growth += exp(log_weight + row->tau[j]);
        e->largest_tau = fmax(e->largest_tau, row->tau[j]);
    }
    e->band_weight = p->select == ATTN_SOFTMAX ? 0 : band_weight(p, row);
}

/* What the keys add to some columns of a row. */
enum { COLUMNS = 32 };
typedef struct column_sums {
    double moved[COLUMNS], absolute[COLUMNS]; /* sum p (e^tau - 1) |v - o|, sum p |v| */
    double hull[COLUMNS], largest[COLUMNS];   /* max |v - o|, max |v| */
} column_sums;

/* Every sum runs over the keys in order, so the columns of a key may be taken together. */
static void sum_columns(const attn_problem *p, const float *v, int64_t v_row, const row_error *e,
                        const double *o, int columns, const ref_row *row, column_sums *sums)
{
    for (int c = 0; c < columns; c++) {
        sums->moved[c] = e->sink_moved * fabs(o[c]);
        sums->hull[c] = row->sink_weight > 0 ? fabs(o[c]) : 0;
        sums->absolute[c] = sums->largest[c] = 0;
    }
    for (int64_t j = 0; j < p->kv_len; j++) {
        if (!row->visible[j]) continue;
        const float *x = v + j * v_row;
        bool selected = row->selected[j], reaches = selected || e->band_weight > 0;
        double moved = row->moved[j], weight = row->weight[j];
        for (int c = 0; reaches && c < columns; c++) {
            double apart = fabs(x[c] - o[c]);
            sums->hull[c] = apart > sums->hull[c] ? apart : sums->hull[c];
        }
        for (int c = 0; selected && c < columns; c++) {
            double apart = fabs(x[c] - o[c]), size = fabs((double)x[c]);
            sums->moved[c] += apart > 0 ? moved * apart : 0;
            sums->absolute[c] += weight * size;
            sums->largest[c] = size > sums->largest[c] ? size : sums->largest[c];
        }
    }
}

static void bound_column(const attn_problem *p, const row_error *e, const column_sums *sums, int at,
                         int64_t c, ref_row *row)
{
    double o = row->out[c], n = (double)p->kv_len, hull = sums->hull[at];
    double gamma = gamma_of((double)e->claims->sum_height, e->u);
    double terms[REF_TERMS] = {
        [REF_SCORES] = (e->normaliser > 0 ? fmin(sums->moved[at] / e->normaliser, hull) : hull) +
                       2 * e->band_weight * hull,
        [REF_SUMS] = gamma * (sums->absolute[at] + fabs(o)),
        [REF_ROUNDING] = 3 * e->u * fabs(o),
        [REF_UNDERFLOW] = 2 * n * e->claims->flush * sums->largest[at] + n * 0x1p-126,
    };
    if (row->lse == -INFINITY) terms[REF_UNDERFLOW] = 0; /* no key: exactly +0 */
    row->out_bound[c] = 0;
    row->out_term[c] = REF_SCORES;
    for (int x = 0; x < REF_TERMS; x++) {
        row->out_bound[c] += terms[x];
        if (terms[x] > terms[row->out_term[c]]) row->out_term[c] = (ref_term)x;
    }
}

static void bound_columns(const attn_problem *p, const float *v, int64_t v_row, const row_error *e,
                          ref_row *row)
{
    for (int64_t c = 0; c < p->v_dim; c += COLUMNS) {
        column_sums sums;
        int columns = p->v_dim - c < COLUMNS ? (int)(p->v_dim - c) : COLUMNS;
        sum_columns(p, v + c, v_row, e, row->out + c, columns, row, &sums);
        for (int at = 0; at < columns; at++) bound_column(p, e, &sums, at, c + at, row);
    }
}

/* P_j is at most 1 and at least 0, so no error exceeds 1 (plus what a near-tie swaps). */
static void bound_weights(const attn_problem *p, const row_error *e, ref_row *row)
{
    double gamma = gamma_of((double)e->claims->sum_height, e->u);
    for (int64_t j = 0; j < p->kv_len; j++) {
        double w = row->weight[j],
               grown = exp(row->score[j] - row->lse + row->tau[j]) / e->normaliser - w;
        double moved = row->selected[j] ? fmin(grown, 1) + w * (gamma + 3 * e->u) : 0;
        row->weights_bound[j] = 0;
        if (row->visible[j])
            row->weights_bound[j] = moved + 2 * e->claims->flush + 0x1p-126 + 2 * e->band_weight;
    }
}

/* Moving every score by tau_j moves their logsumexp by at most log(sum p_j e^tau_j), and by at
 * most the largest tau. The sum adds gamma_h; logarithm and final sum round |M|, |log sum| and
 * |lse|. */
static double bound_lse(const attn_problem *p, const row_error *e, const ref_row *row)
{
    if (row->lse == -INFINITY) return 0;
    double scores = fmin(log(e->growth), e->largest_tau);
    return scores + gamma_of((double)e->claims->sum_height, e->u) +
           e->u * (4 * (fabs(row->largest) + fabs(row->lse)) + 8) +
           (double)p->kv_len * e->claims->flush;
}

static void bound_row(const attn_problem *p, const attn_tensors *t, ref_place at, row_error *e,
                      ref_row *row)
{
    int64_t g = at.h / (p->q_heads / p->kv_heads);
    const float *q =
        t->q.data + at.b * t->q.batch_stride + at.h * t->q.head_stride + at.i * t->q.row_stride;
    const float *k = t->k.data + at.b * t->k.batch_stride + g * t->k.head_stride;
    const float *v = t->v.data + at.b * t->v.batch_stride + g * t->v.head_stride;
    double sink = p->has_sinks ? t->sinks[at.h] : -INFINITY;
    key_errors(p, t, q, k, e, row);
    sum_errors(p, sink, e, row);
    bound_columns(p, v, t->v.row_stride, e, row);
    if (p->weights == ATTN_WEIGHTS_NORMALISED) bound_weights(p, e, row);
    row->lse_bound = bound_lse(p, e, row);
}

void ref_bound(const attn_problem *p, const attn_tensors *t, ref_place at,
               const attn_claims *claims, double u, ref_row *row)
{
    row_error e = {.claims = claims, .u = u, .dot_height = (double)(p->qk_dim + 4)};
    bound_row(p, t, at, &e, row);
}

static int64_t typical(int64_t roundings)
{
    return (int64_t)fmin((double)roundings, ceil(6 * sqrt((double)roundings)));
}

void ref_typical_bound(const attn_problem *p, const attn_tensors *t, ref_place at,
                       const attn_claims *claims, double u, ref_row *row)
{
    attn_claims fewer = *claims;
    fewer.sum_height = typical(claims->sum_height), fewer.rescales = typical(claims->rescales);
    row_error e = {.claims = &fewer, .u = u, .dot_height = (double)typical(p->qk_dim + 4)};
    bound_row(p, t, at, &e, row);
}
