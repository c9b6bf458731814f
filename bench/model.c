/* model.c: BERT (Devlin et al. 2019) as sentence-transformers runs it: word, position and segment
 * embeddings, normalised; post-norm blocks with GELU; the mean of the hidden states, of length 1
 * (Reimers and Gurevych 2019). */
#include "bench/model.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- weights --------------------------------------------------------------------- */

/* folder/<name>.npy, float32, [rows, columns] or with rows 0 [columns]; NULL with the error. */
static const float *read_weight(model *m, const char *folder, const char *name, int64_t rows,
                                int64_t columns, npy_error *error)
{
    char path[4096];
    npy_text found, wanted;
    const int64_t shape[2] = {rows, columns};
    npy_array *array = &m->arrays[m->array_count];
    if (snprintf(path, sizeof path, "%s/%s.npy", folder, name) >= (int)sizeof path)
        return npy_fail(error, "the path %.60s... is too long", folder), NULL;
    if (!npy_read(path, array, error)) return NULL;
    m->array_count++;
    int rank = rows ? 2 : 1;
    if (array->type == NPY_FLOAT32 && array->rank == rank && array->shape[rank - 1] == columns &&
        (!rows || array->shape[0] == rows))
        return array->data;
    npy_fail(error, "%s is %s %s; model.json makes it float32 %s", path, npy_type_name(array->type),
             npy_shape_text(array->rank, array->shape, &found),
             npy_shape_text(rank, shape + 2 - rank, &wanted));
    return NULL;
}

static bool read_linear(model *m, const char *folder, const char *name, int64_t in, int64_t out,
                        attn_linear *linear, npy_error *error)
{
    char weight[128], bias[128];
    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    *linear = (attn_linear){.in = in, .out = out};
    linear->weight = read_weight(m, folder, weight, out, in, error);
    linear->bias = linear->weight ? read_weight(m, folder, bias, 0, out, error) : NULL;
    return linear->bias;
}

static bool read_norm(model *m, const char *folder, const char *name, float epsilon,
                      attn_norm *norm, npy_error *error)
{
    attn_linear pair = {0};
    char gain[128], bias[128];
    snprintf(gain, sizeof gain, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    pair.weight = read_weight(m, folder, gain, 0, m->hidden, error);
    pair.bias = pair.weight ? read_weight(m, folder, bias, 0, m->hidden, error) : NULL;
    *norm = (attn_norm){pair.weight, pair.bias, m->hidden, epsilon};
    return pair.bias;
}

static bool read_block(model *m, const char *folder, int64_t layer, float epsilon, npy_error *error)
{
    attn_block *b = &m->blocks[layer];
    int64_t size = m->hidden, wide = m->intermediate;
    const struct {
        const char *name;
        int64_t in, out;
        attn_linear *linear;
    } parts[] = {
        {"attention.self.query", size, size, &b->attention.query},
        {"attention.self.key", size, size, &b->attention.key},
        {"attention.self.value", size, size, &b->attention.value},
        {"attention.output.dense", size, size, &b->attention.output},
        {"intermediate.dense", size, wide, &b->up},
        {"output.dense", wide, size, &b->down},
    };
    char name[96];
    b->activation = ATTN_GELU;
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        snprintf(name, sizeof name, "encoder.layer.%d.%s", (int)layer, parts[p].name);
        if (!read_linear(m, folder, name, parts[p].in, parts[p].out, parts[p].linear, error))
            return false;
    }
    snprintf(name, sizeof name, "encoder.layer.%d.attention.output.LayerNorm", (int)layer);
    if (!read_norm(m, folder, name, epsilon, &b->attention_norm, error)) return false;
    snprintf(name, sizeof name, "encoder.layer.%d.output.LayerNorm", (int)layer);
    return read_norm(m, folder, name, epsilon, &b->feed_norm, error);
}

/* ---- model.json ------------------------------------------------------------------ */

/* Sizes from 1 to 2^20, so that no product below overflows. */
static bool read_sizes(model *m, const char *path, npy_error *error)
{
    const struct {
        const char *name;
        int64_t *value;
    } sizes[] = {
        {"layers", &m->layers},    {"heads", &m->heads},
        {"hidden", &m->hidden},    {"intermediate", &m->intermediate},
        {"words", &m->word_count}, {"most_tokens", &m->most_tokens},
    };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        json_t *value = json_object_get(m->json, sizes[s].name);
        *sizes[s].value = json_integer_value(value);
        if (!json_is_integer(value) || *sizes[s].value < 1 || *sizes[s].value > 1 << 20)
            return npy_fail(error, "%s: \"%s\" must be a whole number from 1 to 2^20", path,
                            sizes[s].name);
    }
    if (m->hidden % m->heads)
        return npy_fail(error, "%s: hidden is %lld; it must be a multiple of heads = %lld", path,
                        (long long)m->hidden, (long long)m->heads);
    m->name = json_string_value(json_object_get(m->json, "name"));
    return m->name || npy_fail(error, "%s: \"name\" is missing", path);
}

/* Tokens of every prepared sentence within the vocabulary, pairs within the sentences. */
static bool check_sentences(const model *m, const char *path, npy_error *error)
{
    json_t *sentences = json_object_get(m->json, "sentences"), *sentence, *token, *pair;
    json_t *pairs = json_object_get(m->json, "pairs");
    size_t s, t;
    json_array_foreach (sentences, s, sentence) {
        json_t *tokens = json_object_get(sentence, "tokens");
        bool legal = json_is_string(json_object_get(sentence, "text")) &&
                     json_array_size(tokens) >= 1 &&
                     json_array_size(tokens) <= (size_t)m->most_tokens;
        json_array_foreach (tokens, t, token)
            legal = legal && json_is_integer(token) && json_integer_value(token) >= 0 &&
                    json_integer_value(token) < m->word_count;
        if (!legal)
            return npy_fail(error, "%s: sentence %zu needs a text and 1 to %lld tokens below %lld",
                            path, s, (long long)m->most_tokens, (long long)m->word_count);
    }
    json_array_foreach (pairs, s, pair) {
        long long a = json_integer_value(json_object_get(pair, "a"));
        long long b = json_integer_value(json_object_get(pair, "b"));
        long long count = (long long)json_array_size(sentences);
        if (a < 0 || b < 0 || a >= count || b >= count ||
            !json_is_real(json_object_get(pair, "cosine")))
            return npy_fail(error, "%s: pair %zu needs a and b below %lld and a cosine", path, s,
                            count);
    }
    return json_array_size(pairs) || npy_fail(error, "%s: \"pairs\" is missing", path);
}

bool model_read(const char *folder, model *m, npy_error *error)
{
    char path[4096];
    size_t size;
    json_error_t detail;
    *m = (model){0};
    if (snprintf(path, sizeof path, "%s/model.json", folder) >= (int)sizeof path)
        return npy_fail(error, "the path %.60s... is too long", folder);
    npy_error cause;
    char *text = npy_load(path, &size, &cause);
    if (!text)
        return npy_fail(error, "%.400s; scripts/fetch_minilm makes such a folder", cause.text);
    m->json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &detail);
    free(text);
    if (!m->json)
        return npy_fail(error, "%s: line %d, column %d: %s", path, detail.line, detail.column,
                        detail.text);
    if (!read_sizes(m, path, error) || !check_sentences(m, path, error)) return false;
    double epsilon = json_number_value(json_object_get(m->json, "epsilon"));
    m->array_room = (int)(16 * m->layers) + 5;
    m->arrays = calloc((size_t)m->array_room, sizeof *m->arrays);
    m->blocks = calloc((size_t)m->layers, sizeof *m->blocks);
    if (!m->arrays || !m->blocks) return npy_fail(error, "%s: no memory", path);
    for (int64_t l = 0; l < m->layers; l++)
        if (!read_block(m, folder, l, (float)epsilon, error)) return false;
    m->words = read_weight(m, folder, "embeddings.word_embeddings.weight", m->word_count, m->hidden,
                           error);
    if (!m->words) return false;
    m->positions = read_weight(m, folder, "embeddings.position_embeddings.weight", m->most_tokens,
                               m->hidden, error);
    if (!m->positions) return false;
    m->types =
        read_weight(m, folder, "embeddings.token_type_embeddings.weight", 2, m->hidden, error);
    if (!m->types) return false;
    snprintf(path, sizeof path, "%s/vocab.txt", folder);
    if (!read_norm(m, folder, "embeddings.LayerNorm", (float)epsilon, &m->embedding_norm, error) ||
        !vocabulary_read(path, &m->vocabulary, error))
        return false;
    return m->vocabulary.count == m->word_count ||
           npy_fail(error, "%s has %lld words; model.json says %lld", path,
                    (long long)m->vocabulary.count, (long long)m->word_count);
}

void model_free(model *m)
{
    for (int a = 0; a < m->array_count; a++) npy_free(&m->arrays[a]);
    free(m->arrays);
    free(m->blocks);
    vocabulary_free(&m->vocabulary);
    json_decref(m->json);
    *m = (model){0};
}

/* ---- a forward pass -------------------------------------------------------------- */

attn_problem model_problem(const model *m, int64_t tokens)
{
    return attn_problem_make(m->heads, tokens, m->hidden / m->heads);
}

bool model_pass_new(const model *m, int64_t tokens, model_pass *pass, npy_error *error)
{
    attn_problem p = model_problem(m, tokens);
    size_t floats = (size_t)attn_encoder_floats(&m->blocks[0], &p);
    *pass = (model_pass){.model = m, .tokens = tokens};
    pass->x = calloc((size_t)(tokens * m->hidden), sizeof *pass->x);
    pass->hidden = calloc((size_t)(tokens * m->hidden), sizeof *pass->hidden);
    pass->workspace = calloc(floats, sizeof *pass->workspace);
    return (pass->x && pass->hidden && pass->workspace) ||
           npy_fail(error, "no memory for a pass of %lld tokens", (long long)tokens);
}

void model_pass_free(model_pass *pass)
{
    free(pass->x);
    free(pass->hidden);
    free(pass->workspace);
    *pass = (model_pass){0};
}

attn_status model_run(model_pass *pass, const int64_t *ids, int64_t count, attn_inner inner,
                      attn_error *error)
{
    const model *m = pass->model;
    const attn_tensors plain = {0};
    attn_problem problem = model_problem(m, count);
    for (int64_t t = 0; t < count; t++)
        for (int64_t i = 0; i < m->hidden; i++)
            pass->x[t * m->hidden + i] =
                m->words[ids[t] * m->hidden + i] + m->positions[t * m->hidden + i] + m->types[i];
    attn_norm_run(&m->embedding_norm, count, pass->x);
    attn_layer_call call = {.problem = &problem,
                            .tensors = &plain,
                            .query = pass->x,
                            .y = pass->hidden,
                            .workspace = pass->workspace,
                            .inner = inner};
    return attn_encoder_run(m->blocks, (int)m->layers, &call, error);
}

void model_embedding(const model_pass *pass, int64_t count, double *embedding)
{
    int64_t size = pass->model->hidden;
    double squares = 0;
    for (int64_t i = 0; i < size; i++) {
        embedding[i] = 0;
        for (int64_t t = 0; t < count; t++) embedding[i] += pass->hidden[t * size + i];
        squares += embedding[i] * embedding[i];
    }
    for (int64_t i = 0; i < size; i++) embedding[i] /= sqrt(squares);
}
