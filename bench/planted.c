/* planted.c: attest with a slow-down of a known size, to measure what `attest ab` can see.
 *
 * The program `planted` is attest's own objects, linked with --wrap=attn_run: each call of a kernel
 * from the verifier or the benchmark comes here first, is computed as ever, and then waits for so
 * many percent of the time that it took itself. Results stay right, so the kernel is not void; a
 * call takes (1 + percent / 100) times as long, plus at most one reading of the clock.
 *
 *     ATTEST_PLANTED=5                  every kernel; 0 or unset: none, and no clock is read
 *     ATTEST_PLANTED=5:flash_avx512     this kernel alone */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"
#include "bench/roof.h"

attn_status __real_attn_run(const attn_kernel *kernel, const attn_problem *problem,
                            const attn_tensors *tensors, const attn_exec *exec, attn_error *error);
attn_status __wrap_attn_run(const attn_kernel *kernel, const attn_problem *problem,
                            const attn_tensors *tensors, const attn_exec *exec, attn_error *error);

static double share;       /* of a call's own time, to be waited */
static const char *slowed; /* the only kernel to wait for, or NULL for all */

__attribute__((constructor)) static void read_planted(void)
{
    const char *text = getenv("ATTEST_PLANTED");
    if (!text) return;
    char *end;
    share = strtod(text, &end) / 100;
    slowed = *end == ':' ? end + 1 : NULL;
    bool named = slowed ? attn_find(slowed) != NULL : !*end;
    if (end != text && named && share >= 0 && share <= 10) return;
    exit(command_error("ATTEST_PLANTED is \"%.60s\"; it must be percent from 0 to 1000, then "
                       "nothing or a colon and the name of a kernel of this build",
                       text));
}

attn_status __wrap_attn_run(const attn_kernel *kernel, const attn_problem *problem,
                            const attn_tensors *tensors, const attn_exec *exec, attn_error *error)
{
    bool waits = share > 0 && (!slowed || strcmp(kernel->name, slowed) == 0);
    if (!waits) return __real_attn_run(kernel, problem, tensors, exec, error);
    double begin = roof_now();
    attn_status status = __real_attn_run(kernel, problem, tensors, exec, error);
    double end = roof_now(), until = end + share * (end - begin);
    while (roof_now() < until) continue;
    return status;
}
