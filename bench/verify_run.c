/* verify_run.c: verdicts as lines, TAP and JSON; failures shrunk to their smallest problem. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench/command.h"
#include "bench/verify_run.h"

static const char *const status_names[] = {"pass", "fail", "skip"};

static json_t *share_json(double share) { return isfinite(share) ? json_real(share) : json_null(); }

static void report_json(verify_run *s, const subject *one, const verify_case *c,
                        const verify_report *r)
{
    char key[192], replay[384], command[512];
    attn_problem_print(&c->problem, key, sizeof key);
    verify_replay(c, replay, sizeof replay);
    snprintf(command, sizeof command, "attest verify --%s %s %s", one->option, one->name, replay);
    json_t *entry =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "kernel", one->name, "case", key, "inputs",
                  ref_distribution_names[c->inputs], "layout", ref_layout_names[c->layout],
                  "status", status_names[r->status], "reason", r->reason, "replay", command);
    json_object_set_new(entry, "bound_share", share_json(r->share));
    if (r->output) { /* values were judged */
        json_object_set_new(entry, "typical_share", share_json(r->typical_share));
        json_object_set_new(entry, "term", json_string(ref_term_names[r->term]));
        json_object_set_new(entry, "worst_at",
                            json_pack("[s, I, I, I, I]", r->output, (json_int_t)r->at.b,
                                      (json_int_t)r->at.h, (json_int_t)r->at.i,
                                      (json_int_t)r->column));
    }
    json_array_append_new(s->results, entry);
}

/* Lines of text with a prefix: "# " in TAP, two spaces otherwise. */
static void print_lines(const char *prefix, const char *text)
{
    for (const char *end; *text; text = *end ? end + 1 : end) {
        end = text + strcspn(text, "\n");
        printf("%s%.*s\n", prefix, (int)(end - text), text);
    }
}

typedef struct shrinking {
    verify_run *s;
    worker *w;
    uint64_t failed; /* parts of the failure that must remain */
    bool stuck;      /* a smaller case hangs: that costs too long to go on */
} shrinking;

verify_report run_check(const verify_run *s, worker *w, const verify_case *c)
{
    verify_options options = {.threads = (int)s->threads, .relations = true, .without = s->without};
    return worker_check(w, c, options);
}

static bool still_fails(void *context, const verify_case *c)
{
    shrinking *x = context;
    if (x->stuck || command_interrupted()) return false;
    verify_report r = run_check(x->s, x->w, c);
    x->stuck = r.failed >> VERIFY_WATCHDOG & 1;
    return r.status == VERIFY_FAIL && (r.failed & x->failed);
}

/* The first failures of a kernel are reduced to their smallest problem; a hang costs too long. */
static verify_case smallest(verify_run *s, worker *w, const verify_case *c, const verify_report *r)
{
    enum { SHRUNK_FAILURES = 3, TRIES = 200 };
    bool hangs = r->failed >> VERIFY_WATCHDOG & 1;
    if (s->shrunk++ >= SHRUNK_FAILURES || hangs || !w) return *c;
    return verify_shrink(*c, TRIES, still_fails, &(shrinking){s, w, r->failed, false});
}

static void report_failure(verify_run *s, worker *w, const subject *one, const verify_case *c,
                           const verify_report *r)
{
    const char *prefix = s->tap ? "# " : "  ";
    char replay[384], parts[256] = "";
    for (int p = 0; p < VERIFY_PARTS; p++)
        if (r->failed >> p & 1)
            snprintf(parts + strlen(parts), sizeof parts - strlen(parts), " %s",
                     verify_part_names[p]);
    verify_replay(c, replay, sizeof replay);
    print_lines(prefix, r->reason);
    printf("%sfailed:%s", prefix, parts);
    if (r->compared > 0)
        printf("; %lld of %lld elements are wrong", (long long)r->wrong, (long long)r->compared);
    putchar('\n');
    print_lines(prefix, r->picture);
    printf("%sreplay: attest verify --%s %s %s\n", prefix, one->option, one->name, replay);
    verify_case small = smallest(s, w, c, r);
    verify_replay(&small, replay, sizeof replay);
    if (s->shrunk <= 3)
        printf("%ssmallest: attest verify --%s %s %s\n", prefix, one->option, one->name, replay);
}

/* A right kernel may be here; a good one seldom is. */
static void report_warning(verify_run *s, const subject *one, const verify_case *c,
                           const verify_report *r)
{
    const char *prefix = s->tap ? "# " : "";
    char replay[384];
    verify_replay(c, replay, sizeof replay);
    s->warned++;
    command_progress_end();
    printf("%sWARN %s: %s[%lld,%lld,%lld,:] is %.3g times off what independent roundings seldom "
           "exceed, and within its bound (%.3g of it, mostly %s)\n",
           prefix, one->name, r->output, (long long)r->at.b, (long long)r->at.h, (long long)r->at.i,
           r->typical_share, r->share, ref_term_names[r->term]);
    printf("%s  replay: attest verify --%s %s %s\n", prefix, one->option, one->name, replay);
}

static json_int_t skips_of(const json_t *skips, const char *reason)
{
    return json_integer_value(json_object_get(skips, reason));
}

static void count_skip(json_t *skips, const char *reason)
{
    json_object_set_new(skips, reason, json_integer(skips_of(skips, reason) + 1));
}

void run_print_skips(const verify_run *s)
{
    json_t *left = json_copy(s->skips);
    while (json_object_size(left)) {
        const char *reason, *most = NULL;
        json_t *count;
        json_object_foreach(left, reason,
                            count) if (!most || skips_of(left, reason) > skips_of(left, most))
            most = reason;
        printf("# %6" JSON_INTEGER_FORMAT " skipped: %s\n", skips_of(left, most), most);
        json_object_del(left, most);
    }
    json_decref(left);
}

void run_report(verify_run *s, worker *w, const subject *one, const verify_case *c,
                const verify_report *r)
{
    char replay[384];
    int *const counters[] = {&s->passed, &s->failed, &s->skipped};
    ++*counters[r->status];
    bool bounded =
        r->status == VERIFY_PASS && c->inputs < REF_GATHER; /* probes have no bound to use up */
    if (bounded && r->share > s->worst) s->worst = r->share, s->worst_term = r->term;
    if (bounded && !(r->typical_share <= 1)) report_warning(s, one, c, r);
    if (r->status == VERIFY_SKIP) count_skip(s->skips, r->reason);
    if (s->results) report_json(s, one, c, r);
    verify_replay(c, replay, sizeof replay);
    if (s->tap)
        printf("%sok %d - %s %s%s%s\n", r->status == VERIFY_FAIL ? "not " : "", ++s->printed,
               one->name, replay, r->status == VERIFY_SKIP ? " # SKIP " : "",
               r->status == VERIFY_SKIP ? r->reason : "");
    if (r->status != VERIFY_FAIL) return;
    command_progress_end();
    if (!s->tap) printf("FAIL %s %s\n", one->name, ref_distribution_names[c->inputs]);
    report_failure(s, w, one, c, r);
}
