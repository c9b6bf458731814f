/* model_session.h: what the parts of `attest model` share: its kernels, and what became of them. */
#ifndef BENCH_MODEL_SESSION_H
#define BENCH_MODEL_SESSION_H

#include "bench/model.h"

enum { MOST_LENGTHS = 16, MOST_ROUNDS = 99 };

typedef struct arm {
    const attn_kernel *kernel;
    char reason[200];         /* why it is void or unsupported; empty if it is neither */
    const char *status;       /* "pass", "fail", "unsupported" */
    double cosine, embedding; /* largest differences from the reference */
    double *meanings;         /* [sentences, hidden] */
    double total[MOST_ROUNDS], attention[MOST_ROUNDS]; /* ns of one pass at the current length */
} arm;

typedef struct session {
    model model;
    model_pass pass;
    npy_array reference, tokens; /* embeddings.npy, long.npy */
    arm arms[256];
    int arm_count;
    int64_t lengths[MOST_LENGTHS], rounds;
    int length_count;
    const char *text;
    json_t *times; /* array */
} session;

static inline bool arm_passed(const arm *a) { return a->status[0] == 'p'; }

/* Does every kernel give the cosines of the prepared pairs? Fills the arms. EXIT_USAGE without
 * memory. */
int session_judge(session *s);
size_t session_sentences(const session *s);
double session_cosine(const session *s, const arm *a, const json_t *pair); /* of a prepared pair */
void session_print_verdicts(const session *s);

/* --text beside the prepared sentences, printed, and as JSON in *result: null without it. */
int session_answer_text(session *s, json_t **result);

/* Passes of every length with every kernel that passed, printed and added to s->times. */
int session_time(session *s);

#endif
