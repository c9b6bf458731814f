/* test_problem.h: small random problems for the tests of the reference. */
#ifndef REFERENCE_TEST_PROBLEM_H
#define REFERENCE_TEST_PROBLEM_H

#include "reference/reference.h"

static inline attn_problem random_problem(uint64_t seed)
{
    uint64_t at = 0;
#define DRAW(n) ((int64_t)(ref_random(seed, at++) % (uint64_t)(n)))
    attn_problem p = attn_problem_make(1, 1, 1 + DRAW(9));
    p.batch = 1 + DRAW(3), p.kv_heads = 1 + DRAW(2), p.q_heads = p.kv_heads * (1 + DRAW(3));
    p.q_len = 1 + DRAW(6), p.kv_len = DRAW(20), p.v_dim = 1 + DRAW(5);
    p.causal = DRAW(2), p.q_offset = DRAW(24) - 4;
    if (DRAW(3) == 0) p.window_left = DRAW(6);
    if (DRAW(3) == 0) p.window_right = DRAW(6);
    p.softcap = DRAW(3) ? 0 : 2;
    p.score = DRAW(4) ? ATTN_DOT : ATTN_ADDITIVE;
    p.select = (attn_select)(DRAW(2) ? 0 : DRAW(3));
    p.top_k = p.select == ATTN_TOPK ? 1 + DRAW(5) : 0;
    p.has_kv_lens = DRAW(3) == 0, p.has_q_offsets = DRAW(4) == 0, p.has_mask = DRAW(3) == 0;
    p.has_bias = DRAW(3) == 0, p.has_alibi = DRAW(3) == 0;
    p.has_sinks = p.select != ATTN_HARDMAX && DRAW(3) == 0;
    p.weights = (attn_weights)DRAW(5);
#undef DRAW
    return p;
}

#endif
