/* fuzz_key.c: does attn_problem_parse survive any text, and is the printed key canonical?
 *
 * A libFuzzer target. A text that parses must print as a key that parses to the same problem and
 * prints as itself. A text that does not must leave a message and the problem alone. */
#include <stdlib.h>
#include <string.h>

#include "kernels/attention.h"

static void need(bool holds)
{
    if (!holds) abort();
}

/* Field by field: structs may have padding. */
static bool same(const attn_problem *a, const attn_problem *b)
{
    return a->batch == b->batch && a->q_heads == b->q_heads && a->kv_heads == b->kv_heads &&
           a->q_len == b->q_len && a->kv_len == b->kv_len && a->qk_dim == b->qk_dim &&
           a->v_dim == b->v_dim && a->scale == b->scale && a->softcap == b->softcap &&
           a->score == b->score && a->select == b->select && a->top_k == b->top_k &&
           a->causal == b->causal && a->q_offset == b->q_offset &&
           a->window_left == b->window_left && a->window_right == b->window_right &&
           a->has_kv_lens == b->has_kv_lens && a->has_q_offsets == b->has_q_offsets &&
           a->has_mask == b->has_mask && a->has_bias == b->has_bias &&
           a->has_alibi == b->has_alibi && a->has_sinks == b->has_sinks &&
           a->wants_lse == b->wants_lse && a->weights == b->weights;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char text[513], key[513], again[513];
    size_t length = size < sizeof text ? size : sizeof text - 1;
    attn_problem first, second, untouched = attn_problem_make(1, 2, 3);
    attn_error error = {{0}};
    memcpy(text, bytes, length);
    text[length] = '\0';
    first = untouched;
    if (attn_problem_parse(text, &first, &error) != ATTN_OK) {
        need(error.text[0] != '\0' && same(&first, &untouched));
        return 0;
    }
    need(attn_validate(&first, NULL, &error) == ATTN_OK);
    int printed = attn_problem_print(&first, key, sizeof key);
    need(printed > 0 && (size_t)printed < sizeof key && (size_t)printed == strlen(key));
    need(attn_problem_parse(key, &second, &error) == ATTN_OK && same(&first, &second));
    need(attn_problem_print(&second, again, sizeof again) == printed && strcmp(key, again) == 0);
    need(attn_problem_print(&second, again, 4) == printed && strncmp(key, again, 3) == 0);
    return 0;
}
