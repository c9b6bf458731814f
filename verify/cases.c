/* cases.c: what is every kernel asked?
 *
 * `everywhere` lists problems; each runs with Gaussian inputs and both probes, with the memory
 * layouts taking turns. `thorough` lists few problems that run with every distribution in every
 * layout, `lengthy` some with few queries and many keys, with Gaussian inputs and ramps.
 * Then come a problem for every pair of features, and random ones (random.c). The full suite runs
 * all problems with everything, and more random ones. A new case is one line: sizes that are no
 * multiple of anything, one below and above a block, and every feature alone and in company. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/verify.h"

static const char *const everywhere[] = {
    /* tails: single elements, primes, 64 and 128 with their neighbours, large heads */
    "q1d1",
    "q2k3d5v4",
    "h3q7k13d17",
    "h2q63d64",
    "h2q64d64",
    "h2q65d64lse",
    "q128k1d16",
    "q1k65d64",
    "h2q5k257d7v130",
    "q3k1000d19",
    "q9k70d576v512",
    "h2q127k129d80v33",
    "b2h2q31k127d96",
    "h2q197d64",
    "q2k65536d24v8",
    "b2h6g2q5k1100d20v9clenlse", /* long enough for decode to cut the keys into pieces */
    /* nothing to do: no keys, no queries, no heads, no batch */
    "q5k0d4lse",
    "q0k5d4",
    "b0q5d4",
    "h0q5d4",
    "q5k0d4sinklseqk3",
    /* heads */
    "h8g2q33d16",
    "h6g1q33d16",
    "h48g2q1k20d4", /* groups of 24 */
    "b2h9g3q31k40d24v10",
    "b3h4g2q17k29d32lseqk3",
    /* causal with every kind of offset, also rows that see nothing */
    "h2q67d32c",
    "h2q64k128d32c",
    "q5k70d16c",
    "q70k5d16clse",
    "q33d32c0",
    "q33k40d32c3",
    "h2q130k200d24c-5lse",
    "h2q130d16c100",
    "h2q1k40d16c20",
    /* windows */
    "h2q97d40w16:0",
    "q97d40w0:0",
    "q80k90d16w3:5",
    "h2q130d16cw31:-1",
    "q70d8w-1:4",
    "q40k60d16w5:2o7",
    "h2q200d16cw64:0lse",
    "q70k90d24c-30w2:2",
    "q8k20d8c16777221w16777218:0", /* positions beyond 2^24: no float holds them all */
    "q6k12d8w4:2147483647o0",      /* windows that an int does not hold */
    "q6k12d8w4294967296:0o6",
    /* lengths and offsets per batch */
    "b3h2q20k50d16len",
    "b4h2q9k33d24clenoff",
    "b3h2q70k130d16clenlse",
    "q40k90d16len",
    "b3q20k70d24cw9:3off",
    /* masks */
    "h2q40k70d24bool",
    "h2q70k130d16boollse",
    "h2q40k70d24bias",
    "b2h3q33k65d16boolbiaslse",
    "h2q70d24cbool",
    "q2k65600d4w40:0bool", /* a list of 16-bit indices */
    "h2q64k1d16bias",
    "h2q40k2d16bias",
    /* ALiBi, sinks, softcap, scales */
    "h6q70d16calibi",
    "h6q70d16alibilse",
    "q40k60d16o5alibi",
    "h2q8k600d8c592boolalibi", /* near keys hidden, far ones e^-200 of what those would be */
    "h4q30d24sinklse",
    "h4q70k130d16cw9:0sink",
    "h2q50d32cap20",
    "h2q70k130d16cap0.5biaslse",
    "q40d32s0.5",
    "q40d32s-0.25",
    "q40d32s-4",
    "q40d1ccap50qk1",
    "q40d32s0lse",
    /* outputs */
    "h2q33k70d16qk0",
    "h2q33k70d16ccap2qk1",
    "h2q33k70d16cap2",
    "h2q33k70d16boolqk2",
    "h2q33k70d16cw9:2lseqk3",
    "b2h2q20k40d16lenbiasqk0",
    "b2h2q20k40d16lenbiasqk3",
    /* hard, top-k, additive */
    "h2q30k50d24hard",
    "h2q30k50d24hardlseqk3",
    "h2q30k50d24ctop1",
    "h2q30k50d24top7lse",
    "q30k50d24booltop7qk3",
    "q9k20d24sinktop100",
    "h2q20k30d16add",
    "b2h2q20k30d16cap3lenaddlseqk3",
    "q20k30d16addtop3",
    "q20k30d16caddhard",
    "q8k20d8s0hard", /* +0 and -0 are equal */
    "h2q8k20d8s0top3",
    /* all together */
    "b2h6g3q45k77d33v21cw20:3s0.3cap15lenboolbiasalibisinklseqk3",
    "b2h6g3q45k77d33v21cw20:3s0.3cap15lenoffboolbiasalibisinklseqk2",
    "b2h6g2q70k77d33v21w30:3s0.3cap15lenboolbiasalibisinklseqk1",
    "b2h6g2q70k140d33v21s0.3biasalibisinklseqk0",
};

static const char *const thorough[] = {
    "h2q70k150d32lse", "b2h4g2q66k131d24v20c", "b2h2q40k130d16w50:20boolsinklse",
    "h2q30k60d24top5", "h2q20k40d16add",       "h2q20k40d16cap0.5",
};

/* On pages of their own, and far apart: rows that no vector fills. */
static const char *const tailed[] = {
    "h2q9k13d20v20", "b2h4g2q6k11d12v9cboollse", "q5k7d3v3bias",
    "q80k8d4bias", /* more rows than a block of queries */
};

/* Stride 0. */
static const char *const broadcast[] = {
    "b3h4g2q9k30d8len",
    "b2h4g2q20k40d12v9clse",
    "b3h2q5k70d16boolsink",
    "b2h6g3q1k200d16lenlse",
};

/* Decoding: as many keys as make 1, 2, 3, 5 and 7 pieces, whatever their size, and a rest. */
static const char *const lengthy[] = {
    "q1k1500d16",
    "h3q2k2500d8lse",
    "q2k3500d8",
    "q1k5500d8v4",
    "q3k7777d14v3",
    "h2g1q1k2048d16c2047w127:-1sinklse", /* the first pieces are empty, but for the sink */
    "q3k70000d4v2hard",                  /* indices of 16 bits */
    "q2k70000d4v2top8",
    "b2h2q4k40d16coff",
};

/* A softcap whose errors are large against scores of 1. */
static const char *const wide_cap = "q4k9d8cap1000";

enum {
    LENGTHY = sizeof lengthy / sizeof *lengthy,
    EVERYWHERE = sizeof everywhere / sizeof *everywhere,
    THOROUGH = sizeof thorough / sizeof *thorough,
    TAILED = sizeof tailed / sizeof *tailed,
    BROADCAST = sizeof broadcast / sizeof *broadcast,
};

static void add(verify_case **cases, int *count, const attn_problem *p, ref_distribution inputs,
                ref_layout layout, uint64_t seed)
{
    if (ref_probe_refuses(p, inputs) || verify_layout_refuses(p, layout)) return;
    verify_case *grown = realloc(*cases, ((size_t)*count + 1) * sizeof **cases);
    if (!grown) abort(); /* a few kilobytes */
    verify_place place = (verify_place)(ref_random(1, (uint64_t)*count) % VERIFY_HEAP_PLACE);
    grown[(*count)++] = (verify_case){*p, inputs, layout, place, seed};
    *cases = grown;
}

static void add_all(const attn_problem *p, int layouts, uint64_t seed, verify_case **cases,
                    int *count)
{
    for (int inputs = 0; inputs < REF_DISTRIBUTIONS; inputs++)
        for (int layout = 0; layout < layouts; layout++)
            add(cases, count, p, (ref_distribution)inputs, (ref_layout)layout, seed);
}

void verify_add_problem(const attn_problem *p, uint64_t seed, verify_case **cases, int *count)
{
    add_all(p, REF_LAYOUTS, seed, cases, count);
}

static attn_problem problem_of(const char *key)
{
    attn_problem p;
    attn_error error;
    if (attn_problem_parse(key, &p, &error) == ATTN_OK) return p;
    fprintf(stderr, "verify/cases.c: %s\n", error.text);
    abort(); /* a mistake in the table above */
}

/* The largest single problems take longest: last, so that most errors show early. */
static int by_work(const void *a, const void *b)
{
    double work[2];
    for (int i = 0; i < 2; i++) {
        const attn_problem *p = &((const verify_case *)(i ? b : a))->problem;
        work[i] = (double)p->batch * (double)p->q_heads * (double)p->q_len * (double)p->kv_len *
                  (double)(p->qk_dim + p->v_dim);
    }
    return (work[0] > work[1]) - (work[0] < work[1]);
}

static void add_table(const char *const *keys, int table_size, bool full, uint64_t seed,
                      verify_case **cases, int *count)
{
    static const ref_distribution usual[] = {REF_GAUSS, REF_GATHER, REF_UNIFORM};
    for (int k = 0; k < table_size; k++) {
        attn_problem p = problem_of(keys[k]);
        for (int d = 0; d < 3 && !full; d++)
            add(cases, count, &p, usual[d], (ref_layout)((k + d) % REF_PAGES), seed);
        if (!full && k % 3 == 0)
            add(cases, count, &p, REF_GAUSS, k % 2 ? REF_SPARSE : REF_PAGES, seed);
        if (full) verify_add_problem(&p, seed, cases, count);
    }
}

static void add_lengthy(bool full, uint64_t seed, verify_case **cases, int *count)
{
    add_table(&wide_cap, 1, full, seed, cases, count);
    for (int k = 0; k < LENGTHY; k++) {
        attn_problem p = problem_of(lengthy[k]);
        for (int kind = 0; kind < REF_DISTRIBUTIONS; kind++)
            if (full || kind == REF_GAUSS || kind == REF_RAMP)
                add(cases, count, &p, (ref_distribution)kind, (ref_layout)((k + kind) % REF_SHARED),
                    seed);
    }
}

verify_case *verify_suite(const char *suite, uint64_t seed, int *count)
{
    verify_case *cases = NULL;
    bool full = strcmp(suite, "full") == 0;
    int pairs, randoms = full ? 4000 : 100;
    *count = 0;
    if (!full && strcmp(suite, "quick") != 0) return NULL;
    add_table(everywhere, EVERYWHERE, full, seed, &cases, count);
    for (int t = 0; t < THOROUGH; t++) {
        attn_problem p = problem_of(thorough[t]);
        add_all(&p, full ? REF_LAYOUTS : REF_PAGES, seed, &cases, count);
    }
    for (int t = 0; t < TAILED && !full; t++) {
        attn_problem p = problem_of(tailed[t]);
        for (int layout = REF_PAGES; layout <= REF_SPARSE; layout++)
            add(&cases, count, &p, REF_GAUSS, (ref_layout)layout, seed);
    }
    for (int t = 0; t < BROADCAST; t++) {
        attn_problem p = problem_of(broadcast[t]);
        for (int kind = 0; kind < REF_DISTRIBUTIONS; kind++)
            if (full || kind == REF_GAUSS || kind == REF_GATHER)
                add(&cases, count, &p, (ref_distribution)kind, REF_SHARED, seed);
    }
    attn_problem *problems = verify_pairwise(&pairs);
    for (int p = 0; p < pairs; p++) {
        if (full) verify_add_problem(&problems[p], seed, &cases, count);
        else add(&cases, count, &problems[p], REF_GAUSS, (ref_layout)(p % REF_PAGES), seed);
        if (!full && p % 7 == 0)
            add(&cases, count, &problems[p], REF_GAUSS, p % 2 ? REF_SPARSE : REF_PAGES, seed);
    }
    free(problems);
    for (int r = 0; r < randoms; r++) {
        verify_case one = verify_random(seed, (uint64_t)r);
        add(&cases, count, &one.problem, one.inputs, one.layout, one.seed);
        cases[*count - 1].place = one.place;
    }
    add_lengthy(full, seed, &cases, count);
    qsort(cases, (size_t)*count, sizeof *cases, by_work);
    return cases;
}

const char *verify_feature_name(int feature)
{
    if (feature < VERIFY_INPUTS_AT) return verify_part_names[feature];
    if (feature < VERIFY_LAYOUTS_AT) return ref_distribution_names[feature - VERIFY_INPUTS_AT];
    if (feature < VERIFY_PLACES_AT) return ref_layout_names[feature - VERIFY_LAYOUTS_AT];
    return verify_place_names[feature - VERIFY_PLACES_AT];
}

uint64_t verify_case_features(const verify_case *which)
{
    uint64_t bits = UINT64_C(1) << (VERIFY_INPUTS_AT + (int)which->inputs) |
                    UINT64_C(1) << (VERIFY_LAYOUTS_AT + (int)which->layout);
    if (which->place != VERIFY_HEAP_PLACE)
        bits |= UINT64_C(1) << (VERIFY_PLACES_AT + (int)which->place);
    return bits;
}

void verify_replay(const verify_case *which, char *text, size_t size)
{
    char key[192];
    attn_problem_print(&which->problem, key, sizeof key);
    snprintf(text, size, "--problems %s --inputs %s --layout %s --place %s --seed %llu", key,
             ref_distribution_names[which->inputs], ref_layout_names[which->layout],
             verify_place_names[which->place], (unsigned long long)which->seed);
}
