/* model.h: a real trained encoder with any attention inside.
 *
 * A folder made by scripts/fetch_minilm: BERT's weights as .npy files, vocab.txt, and model.json
 * with sizes, prepared sentences and what a float64 run says about them. */
#ifndef BENCH_MODEL_H
#define BENCH_MODEL_H

#include <jansson.h>

#include "bench/vocabulary.h"
#include "kernels/layers/attention_layer.h"

typedef struct model {
    const char *name; /* belongs to json */
    int64_t layers, heads, hidden, intermediate, word_count, most_tokens;
    attn_block *blocks; /* [layers] */
    attn_norm embedding_norm;
    const float *words, *positions, *types; /* [word_count, most_tokens, 2][hidden] */
    vocabulary vocabulary;
    npy_array *arrays; /* what the weights point into */
    int array_count, array_room;
    json_t *json; /* model.json */
} model;

/* Reads and checks the whole folder. The model is to be freed whatever is returned. */
bool model_read(const char *folder, model *model, npy_error *error);
void model_free(model *model);

/* What a forward pass needs, for texts of up to `tokens`. */
typedef struct model_pass {
    const model *model;
    int64_t tokens;
    float *x, *hidden, *workspace; /* hidden: [tokens, model->hidden], the result */
} model_pass;

bool model_pass_new(const model *model, int64_t tokens, model_pass *pass, npy_error *error);
void model_pass_free(model_pass *pass);

/* The attention of one layer on `tokens` tokens: batch 1, nothing masked. */
attn_problem model_problem(const model *model, int64_t tokens);

/* Runs ids[count], count <= pass->tokens, each within the vocabulary, through all layers. */
attn_status model_run(model_pass *pass, const int64_t *ids, int64_t count, attn_inner inner,
                      attn_error *error);

/* The text's meaning: the mean of the last pass's hidden states, of length 1. */
void model_embedding(const model_pass *pass, int64_t count, double *embedding);

#endif
