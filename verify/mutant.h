/* mutant.h: who verifies the verifier? Kernels that are wrong in one known way each.
 *
 * One correct kernel (mutant_kernel.c) computes every stage through a table of functions; a mutant
 * replaces one of them, or edits problem and tensors on the way in or outputs on the way out. The
 * quick suite must fail every mutant, and pass every one that is marked equivalent (DeMillo,
 * Lipton and Sayward 1978). */
#ifndef VERIFY_MUTANT_H
#define VERIFY_MUTANT_H

#include "kernels/kernel.h"

/* Copies that a mutant may edit, and what the caller really asked for. */
typedef struct mutant_call {
    attn_problem p;
    attn_tensors t;
    attn_slice s;
    void *scratch;
    const attn_problem *asked;
    const attn_tensors *given;
} mutant_call;

enum { MUTANT_BLOCK = 16, MUTANT_ROWS = 8 };

/* One query row in flight. */
typedef struct mutant_row {
    const mutant_call *call;
    const attn_problem *p;
    head_view v;
    int64_t b, h, i;
    key_range seen;
    float *s; /* [kv_len]: scores; -inf = hidden or not selected */
    float *o; /* [v_dim]: weighted by e^(s - max), not yet divided by sum */
    float max, sum;
} mutant_row;

/* The stages. NULL in a mutant: as it should be. */
typedef struct mutant_stages {
    void (*claim)(attn_claims *);
    int64_t (*more_scratch)(const attn_problem *); /* bytes behind the row's own */
    bool (*applies)(void);                         /* on this CPU family? */
    void (*before)(mutant_call *);                 /* edit sizes, rules, pointers, rows */
    float (*raw)(const mutant_row *, int64_t j);   /* scale q.k */
    float (*cap)(float score, float cap);
    float (*score)(const mutant_row *, int64_t j, float raw); /* capped, masked, biased */
    bool (*ranks_before)(const float *s, int64_t a, int64_t b);
    void (*start)(mutant_row *);
    void (*row)(mutant_row *);                             /* everything from scores to outputs */
    int64_t (*last_key)(const mutant_row *, int64_t last); /* end of the keys */
    float (*max)(const mutant_row *, int64_t j0, int64_t j1);
    float (*exp)(float x);
    void (*rescale)(mutant_row *, float factor);
    void (*add)(mutant_row *, int64_t j, float weight);
    void (*block)(mutant_row *, int64_t j0, int64_t j1); /* after each block of keys */
    void (*finish)(mutant_row *);
    void (*after)(mutant_call *); /* edit what was written */
} mutant_stages;

typedef struct mutant {
    const char *name;
    const char *mirrors;   /* the public report it mirrors, or the class of bug */
    const char *killed_by; /* inputs and parts that must kill it; NULL = equivalent, must pass */
    mutant_stages stages;
} mutant;

/* Ends with a mutant without a name. */
extern const mutant mutants_of_scores[], mutants_of_outputs[], mutants_of_masks[],
    mutants_of_caps[], mutants_of_memory[], mutants_of_numbers[], mutants_of_state[],
    mutants_of_process[], mutants_later[], mutants_fresh[], mutants_again[], mutants_outside[],
    mutants_of_places[], mutants_edges[], mutants_equivalent[];

/* Mutant number `index` of all, in the order above; NULL beyond the last. */
const mutant *mutant_at(int index);
const mutant *mutant_find(const char *name);

/* The kernel with this mutant's stages; one at a time in a process. */
const attn_kernel *mutant_kernel(const mutant *m);

/* Steps of a row, for mutants that take them in another order: scores and selection of all keys;
 * one block of keys. */
void mutant_score_row(mutant_row *r);
void mutant_add_block(mutant_row *r, int64_t j0, int64_t j1);

/* The row's output; the first row that a call writes; is the call the last of its problem? */
float *mutant_out_row(const mutant_row *r);
float *mutant_first_row(const mutant_call *c);
bool mutant_last_slice(const mutant_call *c);

/* The stages as they should be, for mutants that go on from there. */
extern const mutant_stages mutant_right;
const mutant_stages *mutant_stages_now(void);

#endif
