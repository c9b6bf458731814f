/* strays.c: what was written around the rows of the outputs. */
#include <string.h>

#include "verify/judge.h"

static bool is_canary(const float *x)
{
    int32_t bits;
    memcpy(&bits, x, sizeof bits);
    return bits == REF_CANARY;
}

/* Elements that are no longer the canary. */
static int64_t touched(const float *x, int64_t count)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++) sum += !is_canary(&x[i]);
    return sum;
}

/* Of those, the ones outside [batch, heads, len, dim] of the view. */
static int64_t strays(const ref_buffer *buffer, const attn_output *view, const attn_problem *p,
                      int64_t dim)
{
    int64_t inside = 0;
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t h = 0; h < p->q_heads; h++)
            for (int64_t i = 0; i < p->q_len; i++)
                inside += touched(check_row(view, (ref_place){b, h, i}), dim);
    return touched(buffer->memory, buffer->floats) - inside;
}

int64_t check_strays(const check *c)
{
    const attn_tensors *t = &c->in->tensors;
    int64_t count = strays(&c->in->out, &t->out, c->p, c->p->v_dim);
    if (c->p->wants_lse) count += strays(&c->in->lse, &t->lse, c->p, 1);
    if (c->p->weights) count += strays(&c->in->weights, &t->weights, c->p, c->p->kv_len);
    return count;
}
