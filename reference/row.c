/* row.c: memory for one row of the reference. */
#include <stdlib.h>

#include "reference/reference.h"

const char *const ref_term_names[REF_TERMS] = {"scores", "sums", "rounding", "underflow"};

ref_row *ref_row_new(const attn_problem *p)
{
    size_t n = (size_t)p->kv_len, e = (size_t)p->v_dim;
    size_t doubles = 11 * n + 2 * e,
           bytes = doubles * sizeof(double) + e * sizeof(ref_term) + 2 * n;
    ref_row *row = calloc(1, sizeof *row);
    char *memory = calloc(1, bytes);
    if (!row || !memory) return free(row), free(memory), NULL;
    double *next = (double *)memory;
    double **wide[] = {&row->weights, &row->weights_bound, &row->raw,    &row->capped,
                       &row->bias,    &row->score,         &row->weight, &row->magnitude,
                       &row->tau,     &row->bias_size,     &row->moved};
    for (size_t a = 0; a < sizeof wide / sizeof *wide; a++) *wide[a] = next, next += n;
    row->out = next;
    row->out_bound = next + e;
    row->out_term = (ref_term *)(next + 2 * e);
    row->visible = (uint8_t *)(row->out_term + e);
    row->selected = row->visible + n;
    row->memory = memory;
    return row;
}

void ref_row_free(ref_row *row)
{
    if (row) free(row->memory);
    free(row);
}
