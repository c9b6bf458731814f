/* strays.c: what was written around the rows of the outputs. */
#include <string.h>

#include "verify/judge.h"

static bool is_canary(const float *x)
{
    int32_t bits;
    memcpy(&bits, x, sizeof bits);
    return bits == REF_CANARY;
}

/* Elements of the buffer outside [batch, heads, len, dim] of the view that are no longer the
 * canary. */
static int64_t strays(const ref_buffer *buffer, const attn_output *view, const attn_problem *p,
                      int64_t dim)
{
    int64_t inside_touched = 0, touched = 0;
    for (int64_t x = 0; x < buffer->floats; x++) touched += !is_canary(&buffer->memory[x]);
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t h = 0; h < p->q_heads; h++)
            for (int64_t i = 0; i < p->q_len; i++)
                for (int64_t c = 0; c < dim; c++)
                    inside_touched += !is_canary(check_row(view, (ref_place){b, h, i}) + c);
    return touched - inside_touched;
}

int64_t check_strays(const check *c)
{
    const attn_tensors *t = &c->in->tensors;
    int64_t count = strays(&c->in->out, &t->out, c->p, c->p->v_dim);
    if (c->p->wants_lse) count += strays(&c->in->lse, &t->lse, c->p, 1);
    if (c->p->weights) count += strays(&c->in->weights, &t->weights, c->p, c->p->kv_len);
    return count;
}
