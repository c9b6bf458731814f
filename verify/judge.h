/* judge.h: are these outputs right? For verify/ only. */
#ifndef VERIFY_JUDGE_H
#define VERIFY_JUDGE_H

#include "verify/verify.h"

/* One kernel on one case, after its inputs were made. */
typedef struct check {
    const attn_kernel *kernel;
    const verify_case *which;
    const attn_problem *p;
    const ref_inputs *in;
    attn_claims claims;
    uint64_t without;
} check;

/* Counts a failure of `part`, unless it is left out; the first one gives the reason. */
void check_fail(const check *c, verify_report *r, verify_part part, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The n-th row of all: batches, then heads, then queries. */
static inline ref_place check_place(const attn_problem *p, int64_t n)
{
    return (ref_place){n / (p->q_heads * p->q_len), n / p->q_len % p->q_heads, n % p->q_len};
}

/* Row (b, h, i) of an output. */
float *check_row(const attn_output *view, ref_place at);

/* May this element of out be a mean of visible values? After ref_dense. */
bool check_hull(const attn_problem *p, const attn_tensors *t, const attn_claims *claims,
                ref_place at, const ref_row *row, int64_t column, float got);

/* Elements around the rows of the outputs, inside their memory, that were written. */
int64_t check_strays(const check *c);

/* Judges row (b, h, i) once more; a 1 in `marks` for every wrong column of `output`. */
void check_mark_row(const check *c, ref_place at, const char *output, ref_row *row, uint8_t *marks);

/* Draws the head of the report's worst element into the report. */
void check_picture(const check *c, verify_report *r);

/* Judges claims, canaries in the outputs' memory, and up to `rows` rows (0 = all) of values. */
void check_outputs(const check *c, int64_t rows, verify_report *r);

#endif
