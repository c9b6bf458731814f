/* fuzz_problem.c: is every kernel right on every problem that a key can say?
 *
 * A libFuzzer target. The text is a problem key, as in fuzz_key.c; if it parses and is small, every
 * kernel that runs here is judged on it, with inputs, layout and place chosen by a hash of the
 * text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/verify.h"

static bool small(const attn_problem *p)
{
    enum { MOST = 64 };
    return p->batch <= 3 && p->q_heads <= 8 && p->q_len <= MOST && p->kv_len <= 2 * MOST &&
           p->qk_dim <= 2 * MOST && p->v_dim <= 2 * MOST;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char text[128], replay[384];
    uint64_t hash = size;
    verify_case which = {.seed = 1};
    int count;
    const attn_kernel *const *kernels = attn_kernels(&count);
    if (size >= sizeof text) return 0;
    memcpy(text, bytes, size);
    text[size] = '\0';
    if (attn_problem_parse(text, &which.problem, NULL) || !small(&which.problem)) return 0;
    for (size_t x = 0; x < size; x++) hash = ref_random(hash, bytes[x]);
    which.inputs = (ref_distribution)(hash % REF_DISTRIBUTIONS);
    which.layout = (ref_layout)(hash / 64 % REF_LAYOUTS);
    which.place = (verify_place)(hash / 512 % VERIFY_HEAP_PLACE);
    for (int k = 0; k < count; k++) {
        if (attn_supports(kernels[k], &which.problem)) continue;
        verify_report r = verify_check(kernels[k], &which, (verify_options){.threads = 1});
        if (r.status != VERIFY_FAIL) continue;
        verify_replay(&which, replay, sizeof replay);
        fprintf(stderr, "--kernels %s %s\n%s\n", kernels[k]->name, replay, r.reason);
        abort();
    }
    return 0;
}
