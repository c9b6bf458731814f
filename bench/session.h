/* session.h: one run of `attest bench`: a grid of problems x thread counts, checked, planned and
 * measured for the chosen kernels. */
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include "bench/result.h"

enum { SESSION_GROUPS = 256, SESSION_THREAD_COUNTS = 16, SESSION_PEAKS = 256 };

typedef struct session {
    const attn_kernel *kernels[256];
    int kernel_count;
    int threads[SESSION_THREAD_COUNTS], thread_counts;
    measure_group *groups; /* SESSION_GROUPS of them */
    int group_count;
    bool no_roofs, fresh_roofs;
    bool resumes;  /* the plan of an earlier process holds */
    double budget; /* seconds for the rounds; INFINITY if their number is fixed */
    double began;  /* roof_now(), less the seconds that a resumed run took before */
    double check_seconds;
    result_peak peaks[SESSION_PEAKS];
    int peak_count;
    result_read reads[SESSION_THREAD_COUNTS];
    json_t *machine; /* as it was before the measuring began */
    json_t *roofs;   /* NULL with no_roofs */
} session;

/* Records the machine, its roofs, and checks every arm of every group that can be measured within
 * the budget; arms whose calls are long are judged when they are timed (measure.h, `unseen`). */
void session_prepare(session *s);

/* Measures all groups from where they stand, with a progress bar over `planned` seconds; `keep` is
 * told what measure_hooks says (or NULL). Ends early when command_interrupted(), and where more
 * than a quarter above the budget was taken, for groups with an interval. */
void session_measure(session *s, double planned, void (*keep)(const measure_group *, int round));

void session_end(session *s);

#endif
