/* mutants.c: the kill matrix and the ablation table.
 *
 * An ablation asks: without this feature, which mutants would live? For a feature that fails cases
 * by itself, or that a case needs, the matrix knows: those whose every failure rests on it. For one
 * that changes what a kernel sees (guard pages, poison), the mutants run again without it. */
#include "bench/mutants.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/command.h"
#include "bench/machine.h"

enum { MOST_MUTANTS = 400, MOST_LANES = 64 };

/* In memory that the lanes share. */
typedef struct matrix {
    mutation_result results[MOST_MUTANTS];
    bool done[MOST_MUTANTS];
    int count;
    atomic_int next;
} matrix;

/* What is done with every mutant, on which cases. */
typedef struct job job;
struct job {
    mutation_result (*run)(const job *, mutation_result);
    const verify_case *cases;
    int count;
    mutants_mode mode;
    uint64_t without;
};

/* ---- lanes ----------------------------------------------------------------------------- */

static void run_lane(matrix *m, const job *x, bool shows)
{
    for (int i; (i = atomic_fetch_add(&m->next, 1)) < m->count && !command_interrupted();) {
        m->results[i] = x->run(x, m->results[i]);
        m->done[i] = true;
        if (shows) command_progress(m->results[i].mutant->name, i, m->count);
    }
}

/* A process for every CPU takes the next mutant; what one of them leaves undone is done here. */
static void run_lanes(matrix *m, const job *x)
{
    pid_t lanes[MOST_LANES];
    int count = 0, most = machine_cpus() < MOST_LANES ? machine_cpus() : MOST_LANES;
    atomic_store(&m->next, 0);
    memset(m->done, 0, sizeof m->done);
    fflush(stdout);
    while (count < most - 1 && (lanes[count] = fork()) > 0) count++;
    if (count < most - 1 && lanes[count] == 0) run_lane(m, x, false), _exit(0);
    run_lane(m, x, true);
    for (int l = 0; l < count; l++) waitpid(lanes[l], NULL, 0);
    for (int i = 0; i < m->count && !command_interrupted(); i++)
        if (!m->done[i]) m->results[i] = x->run(x, m->results[i]);
    command_progress_end();
}

/* After an interruption: only what was judged counts. */
static void keep_done(matrix *m)
{
    int kept = 0;
    for (int i = 0; i < m->count; i++)
        if (m->done[i]) m->results[kept++] = m->results[i];
    m->count = kept;
}

/* ---- tables ---------------------------------------------------------------------------- */

static void print_header(void)
{
    size_t longest = 0;
    for (int f = 0; f < VERIFY_FEATURES; f++)
        if (strlen(verify_feature_name(f)) > longest) longest = strlen(verify_feature_name(f));
    for (size_t line = 0; line < longest; line++) {
        printf("%-28s", "");
        for (int f = 0; f < VERIFY_FEATURES; f++) {
            const char *name = verify_feature_name(f);
            size_t above = longest - strlen(name);
            putchar(line < above ? ' ' : name[line - above]);
        }
        putchar('\n');
    }
}

/* x: killed; #: every failure rests on it. */
static void print_row(const mutation_result *r)
{
    printf("%-28.28s", r->mutant->name);
    for (int f = 0; f < VERIFY_FEATURES; f++) {
        bool kills = r->killers >> f & 1;
        putchar(kills && r->only >> f & 1 ? '#' : kills ? 'x' : '.');
    }
    const char *end = !r->applies                ? "not on this CPU family"
                      : !mutation_as_promised(r) ? "NOT AS PROMISED"
                      : r->mutant->killed_by     ? r->mutant->mirrors
                                                 : "equivalent, lives";
    printf(" %4d/%-4d %s\n", r->failed, r->cases, end);
}

/* Does the mutant live without this part? The case that killed it first mostly kills it again. */
static bool lives_without(const mutation_result *r, const verify_case *cases, int count,
                          uint64_t part)
{
    if (mutation_run(r->mutant, &r->first, 1, MUTATION_FIRST, part).killed) return false;
    return !mutation_run(r->mutant, cases, count, MUTATION_FIRST, part).killed;
}

static mutation_result ablate_one(const job *x, mutation_result r)
{
    for (int part = 0; part < VERIFY_PARTS; part++) {
        uint64_t bit = UINT64_C(1) << part;
        if (!r.killed || !(mutation_hidden_parts() & bit)) continue;
        if (lives_without(&r, x->cases, x->count, bit)) r.only |= bit, r.killers |= bit;
    }
    return r;
}

static void print_ablation(const matrix *m)
{
    puts("\nWithout this feature these mutants would live:");
    for (int f = 0; f < VERIFY_FEATURES; f++) {
        int alive = 0;
        printf("%-15s", verify_feature_name(f));
        for (int i = 0; i < m->count; i++)
            if (m->results[i].killed && m->results[i].only >> f & 1)
                printf("%s%s", alive++ ? ", " : " ", m->results[i].mutant->name);
        puts(alive ? "" : " -");
    }
}

/* The options of attest that show this mutant's first failure again. */
static json_t *replay_of(const mutation_result *r)
{
    char replay[384];
    verify_replay(&r->first, replay, sizeof replay);
    return json_sprintf("verify --mutant %s %s", r->mutant->name, replay);
}

/* {"killed", "survived", "false_alarms", "not_applicable", "replays"}, and one line of text. */
static json_t *account(const matrix *m)
{
    json_t *survived = json_array(), *alarms = json_array(), *replays = json_array();
    int killed = 0, equivalent = 0, elsewhere = 0;
    for (int i = 0; i < m->count; i++) {
        const mutation_result *r = &m->results[i];
        bool wrong = r->mutant->killed_by;
        killed += wrong && r->killed;
        equivalent += !wrong && !r->killed;
        elsewhere += !r->applies;
        if (wrong && r->killed) json_array_append_new(replays, replay_of(r));
        if (!r->applies || wrong == r->killed) continue;
        json_array_append_new(survived, json_string(r->mutant->name));
        if (!wrong) json_array_append_new(alarms, json_string(r->mutant->name));
        printf("MUTANT %s %s\n  %s\n", r->mutant->name, wrong ? "lives" : "fails, but is right",
               wrong ? r->mutant->mirrors : r->report.reason);
    }
    printf("# mutants: %d killed, %d survived, %d equivalent ones passed, %d not on this CPU\n",
           killed, (int)json_array_size(survived), equivalent, elsewhere);
    return json_pack("{s:i, s:o, s:o, s:i, s:o}", "killed", killed, "survived", survived,
                     "false_alarms", alarms, "not_applicable", elsewhere, "replays", replays);
}

/* Equivalent mutants have to go through all cases; in brief, through every eighth. */
static mutation_result run_one(const job *x, mutation_result of)
{
    enum { STRIDE = 8 };
    const mutant *m = of.mutant;
    verify_case *some = NULL;
    const verify_case *cases = x->cases;
    int count = x->count;
    if (x->mode == MUTANTS_BRIEF && !m->killed_by) {
        some = malloc((size_t)(count / STRIDE + 1) * sizeof *some);
        int kept = 0;
        for (int c = 0; some && c < count; c += STRIDE) some[kept++] = cases[c];
        if (some) cases = some, count = kept;
    }
    mutation_result r = mutation_run(
        m, cases, count, x->mode == MUTANTS_BRIEF ? MUTATION_FIRST : MUTATION_ALL, x->without);
    r.only &= ~mutation_hidden_parts();
    free(some);
    return r;
}

json_t *mutants_run(const verify_case *cases, int count, mutants_mode mode, uint64_t without,
                    const char *name)
{
    matrix *m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    job all = {run_one, cases, count, mode, without};
    if (m == MAP_FAILED) return NULL;
    for (int i = 0; mutant_at(i) && m->count < MOST_MUTANTS; i++)
        if (!name || strcmp(mutant_at(i)->name, name) == 0)
            m->results[m->count++].mutant = mutant_at(i);
    run_lanes(m, &all);
    keep_done(m);
    if (mode == MUTANTS_ABLATION) all.run = ablate_one, run_lanes(m, &all);
    if (mode != MUTANTS_BRIEF) {
        print_header();
        for (int i = 0; i < m->count; i++) print_row(&m->results[i]);
    }
    if (mode == MUTANTS_ABLATION) print_ablation(m);
    json_t *json = account(m);
    munmap(m, sizeof *m);
    return json;
}
