/* mutants_places.c: kernels that are wrong about addresses only: every value that they compute from
 * ordinary memory is right. */
#include <signal.h>
#include <stdint.h>

#include "verify/mutant.h"

enum { LANES = 8 };
static volatile float unused; /* what is loaded and dropped */

/* Strides that are multiples of a vector say nothing of where the first row begins. */
static void aligned_if_strides_are(mutant_call *c)
{
    const attn_input *k = &c->t.k;
    int64_t all = c->p.qk_dim | k->batch_stride | k->head_stride | k->row_stride;
    if (all % 4 == 0 && (uintptr_t)k->data % 16) raise(SIGBUS); /* as an aligned load would */
}

/* The tail of a row of V is loaded as a whole vector, but for the last row, and what belongs to the
 * next row is dropped. */
static void tail_with_neighbours(mutant_row *r, int64_t j, float weight)
{
    const float *v = r->v.v + j * r->v.v_row;
    int64_t whole = (r->p->v_dim + LANES - 1) / LANES * LANES;
    mutant_right.add(r, j, weight);
    if (j + 1 < r->p->kv_len && whole <= r->v.v_row + r->p->v_dim) unused = v[whole - 1];
}

static float index_of_32_bits(const mutant_row *r, int64_t j)
{
    mutant_row wrapped = *r;
    wrapped.v.k = r->v.k + (int32_t)((uint32_t)j * (uint32_t)r->v.k_row) - j * r->v.k_row;
    return mutant_right.raw(&wrapped, j);
}

/* Behind the last row there is one more float where its length is odd. */
static void pairs_of_floats(mutant_row *r, int64_t j, float weight)
{
    mutant_right.add(r, j, weight);
    if (r->p->v_dim % 2) unused = r->v.v[j * r->v.v_row + r->p->v_dim];
}

const mutant mutants_of_places[] = {
    {"aligned-if-strides-are",
     "class: aligned vector loads wherever the strides are round",
     "death odd",
     {.before = aligned_if_strides_are}},
    {"tail-with-neighbours",
     "class: a tail loaded, blended and stored as a whole vector",
     "death pages",
     {.add = tail_with_neighbours}},
    {"index-of-32-bits",
     "class: row times stride in 32 bits",
     "death sparse",
     {.raw = index_of_32_bits}},
    {"pairs-of-floats",
     "class: an odd tail loaded as a pair",
     "death right",
     {.add = pairs_of_floats}},
    {0},
};
