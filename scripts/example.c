/* example.c: the README's example, compiled outside the tree by scripts/test_install. Causal
 * self-attention of 4 heads, 100 tokens, head size 64, from one packed projection [tokens][q, k,
 * v][heads][64]. */
#include <attention.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    enum { HEADS = 4, TOKENS = 100, DIM = 64, ROW = 3 * HEADS * DIM };
    float *qkv = calloc(TOKENS * ROW, sizeof *qkv),
          *out = malloc(TOKENS * HEADS * DIM * sizeof *out);
    if (!qkv || !out) return 1;
    for (int x = 0; x < TOKENS * ROW; x++) qkv[x] = (float)(x * 37 % 101) / 50 - 1;

    attn_problem problem = attn_problem_make(HEADS, TOKENS, DIM); /* scale 1/sqrt(64) */
    problem.causal = true; /* offset 0: query i sees keys 0..i */
    attn_tensors tensors = {
        .q = {qkv, 0, DIM, ROW}, /* strides of batch, head and row, in elements */
        .k = {qkv + HEADS * DIM, 0, DIM, ROW},
        .v = {qkv + 2 * HEADS * DIM, 0, DIM, ROW},
        .out = {out, 0, DIM, HEADS * DIM},
    };
    attn_error error;
    if (attn_run(attn_best(&problem), &problem, &tensors, NULL, &error)) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    printf("%s: O[0][0] = %g\n", attn_best(&problem)->name, out[0]);
    free(qkv);
    free(out);
    return 0;
}
