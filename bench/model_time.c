/* model_time.c: how much of a forward pass is attention, with each kernel?
 *
 * Rounds, every round one sample of every kernel, in rotating order; the clock around the inner
 * attention gives its share. The clock is the thread's CPU time (cmd_model.c says why). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench/command.h"
#include "bench/machine.h"
#include "bench/model_session.h"
#include "bench/stats.h"

static const double sample_seconds = 0.01; /* at least, of a timed sample */

static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct timed_inner {
    attn_inner_context kernel;
    double seconds;
} timed_inner;

static attn_status timed_attention(void *context, const attn_problem *p, const attn_tensors *t,
                                   attn_error *error)
{
    timed_inner *timed = context;
    double start = cpu_now();
    attn_status status = attn_inner_run(&timed->kernel, p, t, error);
    timed->seconds += cpu_now() - start;
    return status;
}

/* Times `calls` passes of one kernel; ns per pass into round r. EXIT_USAGE if the kernel failed. */
static int sample(session *s, arm *a, int64_t length, int calls, int r, void *scratch)
{
    timed_inner timed = {{a->kernel, {.threads = 1, .scratch = scratch}}, 0};
    attn_inner inner = {timed_attention, &timed};
    attn_error error;
    double start = cpu_now();
    for (int c = 0; c < calls; c++)
        if (model_run(&s->pass, s->tokens.data, length, inner, &error))
            return command_error("model: kernel %s: %s", a->kernel->name, error.text);
    a->total[r] = 1e9 * (cpu_now() - start) / calls;
    a->attention[r] = 1e9 * timed.seconds / calls;
    return EXIT_RIGHT;
}

static void report_time(session *s, arm *a, int64_t length, int rounds)
{
    char key[192];
    double share[MOST_ROUNDS];
    attn_problem p = model_problem(&s->model, length);
    attn_problem_print(&p, key, sizeof key);
    for (int r = 0; r < rounds; r++) share[r] = a->attention[r] / a->total[r];
    stats_median total = stats_of(a->total, rounds), inner = stats_of(a->attention, rounds),
                 part = stats_of(share, rounds);
    command_progress_end();
    printf("%5lld   %-18s %9.3f   %9.3f   %7.1f %%\n", (long long)length, a->kernel->name,
           total.median / 1e6, inner.median / 1e6, 100 * part.median);
    json_array_append_new(
        s->times,
        json_pack("{s:s, s:s, s:I, s:s, s:i, s:f, s:f, s:f, s:o, s:o}", "kernel", a->kernel->name,
                  "isa", a->kernel->isa, "tokens", (json_int_t)length, "problem", key, "rounds",
                  rounds, "total_ns", total.median, "attention_ns", inner.median, "attention_share",
                  part.median, "share_low", part.bounded ? json_real(part.low) : json_null(),
                  "share_high", part.bounded ? json_real(part.high) : json_null()));
}

/* Rounds in rotating order, after two passes that warm up and say how many make a sample. */
static int time_arms(session *s, arm *const *arms, int count, int64_t length, void *scratch)
{
    int calls[256], status = EXIT_RIGHT, rounds = 0;
    for (int a = 0; a < 2 * count && status == EXIT_RIGHT; a++) {
        status = sample(s, arms[a / 2], length, 1, 0, scratch);
        calls[a / 2] = 1 + (int)(1e9 * sample_seconds / (arms[a / 2]->total[0] + 1));
    }
    for (; rounds < s->rounds && status == EXIT_RIGHT && !command_interrupted(); rounds++) {
        char what[32];
        snprintf(what, sizeof what, "%lld tokens", (long long)length);
        command_progress(what, rounds, (double)s->rounds);
        for (int a = 0; a < count && status == EXIT_RIGHT; a++) {
            int turn = (a + rounds) % count;
            status = sample(s, arms[turn], length, calls[turn], rounds, scratch);
        }
    }
    for (int a = 0; a < count && rounds > 0 && status == EXIT_RIGHT; a++)
        report_time(s, arms[a], length, rounds);
    return status;
}

static int time_length(session *s, int64_t length)
{
    attn_problem p = model_problem(&s->model, length);
    arm *arms[256];
    int count = 0;
    int64_t most = 64;
    for (int a = 0; a < s->arm_count; a++) {
        if (!arm_passed(&s->arms[a]) || attn_supports(s->arms[a].kernel, &p)) continue;
        int64_t bytes = attn_scratch_bytes(s->arms[a].kernel, &p, 1);
        arms[count++] = &s->arms[a];
        most = bytes > most ? bytes : most;
    }
    bool fits = most <= machine_memory_available();
    void *scratch = fits ? aligned_alloc(64, (size_t)(most + 63) / 64 * 64) : NULL;
    int status = scratch
                     ? time_arms(s, arms, count, length, scratch)
                     : command_error("model: no memory for %lld bytes of scratch", (long long)most);
    free(scratch);
    return status;
}

int session_time(session *s)
{
    if (s->length_count) puts("\ntokens  kernel                 CPU ms   attention       share");
    for (int l = 0; l < s->length_count && !command_interrupted(); l++)
        if (time_length(s, s->lengths[l])) return EXIT_USAGE;
    command_progress_end();
    return EXIT_RIGHT;
}
