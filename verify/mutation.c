/* mutation.c: mutants through the suite, and the account of who killed them. */
#include "verify/mutation.h"

#include <stdio.h>
#include <string.h>

#include "verify/worker.h"

static const double hang_seconds = 2; /* of CPU time: the slowest case of the suite takes 0.3 */

static const attn_kernel *open_mutant(const void *context, char *reason, size_t size)
{
    (void)reason, (void)size;
    return mutant_kernel(context);
}

static uint64_t bit(int feature) { return UINT64_C(1) << feature; }

uint64_t mutation_promise(const mutant *m)
{
    char names[256];
    uint64_t bits = 0;
    if (!m->killed_by) return 0;
    snprintf(names, sizeof names, " %s ", m->killed_by);
    for (int f = 0; f < VERIFY_FEATURES; f++) {
        char name[32];
        snprintf(name, sizeof name, " %s ", verify_feature_name(f));
        if (strstr(names, name)) bits |= bit(f);
    }
    return bits;
}

uint64_t mutation_hidden_parts(void)
{
    return bit(VERIFY_GUARDS) | bit(VERIFY_READ_ONLY) | bit(VERIFY_POISON_OUTPUTS) |
           bit(VERIFY_POISON_GAPS) | bit(VERIFY_POISON_UNSEEN) | bit(VERIFY_POISON_SCRATCH) |
           bit(VERIFY_MEMORY) | bit(VERIFY_SLICES);
}

static void count_failure(mutation_result *r, const verify_case *which, const verify_report *report)
{
    uint64_t needs = verify_case_features(which);
    if (!r->killed) r->first = *which, r->report = *report;
    r->killed = true;
    r->failed++;
    r->killers |= needs | report->failed;
    for (int part = 0; part < VERIFY_PARTS; part++)
        if (report->failed & bit(part)) r->only &= needs | bit(part) | mutation_hidden_parts();
}

mutation_result mutation_run(const mutant *m, const verify_case *cases, int count,
                             mutation_depth depth, uint64_t without)
{
    mutation_result r = {
        .mutant = m, .applies = !m->stages.applies || m->stages.applies(), .only = ~UINT64_C(0)};
    uint64_t promise = mutation_promise(m);
    worker *w = r.applies ? worker_new(open_mutant, m, hang_seconds) : NULL;
    verify_options options = {.threads = 1, .relations = true, .without = without};
    for (int c = 0; w && c < count; c++) {
        verify_report report = worker_check(w, &cases[c], options);
        r.cases += report.status != VERIFY_SKIP;
        if (report.status != VERIFY_FAIL) continue;
        count_failure(&r, &cases[c], &report);
        bool enough = depth == MUTATION_FIRST ||
                      (depth == MUTATION_PROMISE && !(promise & ~r.killers)) ||
                      (report.failed & bit(VERIFY_WATCHDOG));
        if (enough) break;
    }
    worker_free(w);
    return r;
}

bool mutation_as_promised(const mutation_result *r)
{
    if (!r->applies) return true;
    if (!r->mutant->killed_by) return !r->killed;
    return r->killed && !(mutation_promise(r->mutant) & ~r->killers);
}
