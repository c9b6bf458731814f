/* mutants.c: the kill matrix and the ablation table.
 *
 * An ablation asks: without this feature, which mutants would live? For a feature that fails cases
 * by itself, or that a case needs, the matrix knows: those whose every failure rests on it. For one
 * that changes what a kernel sees (guard pages, poison), the mutants run again without it. */
#include "bench/mutants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"

enum { MOST_MUTANTS = 400 };

typedef struct matrix {
    mutation_result results[MOST_MUTANTS];
    int count;
} matrix;

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

static void ablate(matrix *m, const verify_case *cases, int count)
{
    for (int i = 0; i < m->count && !command_interrupted(); i++) {
        mutation_result *r = &m->results[i];
        for (int part = 0; part < VERIFY_PARTS; part++) {
            uint64_t bit = UINT64_C(1) << part;
            if (!r->killed || !(mutation_hidden_parts() & bit)) continue;
            if (lives_without(r, cases, count, bit)) r->only |= bit, r->killers |= bit;
        }
        command_progress("ablation", i, m->count);
    }
    command_progress_end();
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
static mutation_result run_one(const mutant *m, const verify_case *cases, int count,
                               mutants_mode mode, uint64_t without)
{
    enum { STRIDE = 8 };
    if (mode != MUTANTS_BRIEF) return mutation_run(m, cases, count, MUTATION_ALL, without);
    if (m->killed_by) return mutation_run(m, cases, count, MUTATION_FIRST, without);
    verify_case *some = malloc((size_t)(count / STRIDE + 1) * sizeof *some);
    int kept = 0;
    for (int c = 0; some && c < count; c += STRIDE) some[kept++] = cases[c];
    mutation_result r = mutation_run(m, some, kept, MUTATION_FIRST, without);
    free(some);
    return r;
}

json_t *mutants_run(const verify_case *cases, int count, mutants_mode mode, uint64_t without,
                    const char *name)
{
    matrix *m = calloc(1, sizeof *m);
    int all = 0;
    if (!m) return NULL;
    while (mutant_at(all)) all++;
    if (mode != MUTANTS_BRIEF) print_header();
    for (int i = 0; i < all && m->count < MOST_MUTANTS && !command_interrupted(); i++) {
        const mutant *one = mutant_at(i);
        mutation_result *r = &m->results[m->count];
        if (name && strcmp(one->name, name) != 0) continue;
        *r = run_one(one, cases, count, mode, without);
        r->only &= ~mutation_hidden_parts();
        command_progress(one->name, i, all);
        if (mode != MUTANTS_BRIEF) command_progress_end(), print_row(r);
        m->count++;
    }
    command_progress_end();
    if (mode == MUTANTS_ABLATION) {
        ablate(m, cases, count);
        print_ablation(m);
    }
    json_t *json = account(m);
    free(m);
    return json;
}
