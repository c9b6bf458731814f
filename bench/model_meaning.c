/* model_meaning.c: does the model mean with a kernel what it means in float64?
 *
 * The prepared sentences' embeddings, and the cosines of their pairs, against the run that the
 * folder holds; then --text beside those sentences. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"
#include "bench/model_session.h"

/* Largest difference of a cosine from the reference that passes. float32 inference differs from
 * float64 by about 1e-7 (verify/data/README.md); a wrong scale or a lost key by more than 1e-3. */
static const double cosine_limit = 1e-5;

/* The ids of prepared sentence s; `ids` has room for most_tokens. */
static int64_t sentence_ids(const model *m, size_t s, int64_t *ids)
{
    json_t *sentence = json_array_get(json_object_get(m->json, "sentences"), s), *token;
    size_t t;
    json_t *tokens = json_object_get(sentence, "tokens");
    json_array_foreach (tokens, t, token) ids[t] = json_integer_value(token);
    return (int64_t)json_array_size(tokens);
}

static bool embed(session *s, const attn_kernel *kernel, const int64_t *ids, int64_t count,
                  double *meaning, attn_error *error)
{
    attn_inner_context context = {kernel, {.threads = 1}};
    attn_status status =
        model_run(&s->pass, ids, count, (attn_inner){attn_inner_run, &context}, error);
    if (status == ATTN_OK) model_embedding(&s->pass, count, meaning);
    return status == ATTN_OK;
}

static double dot(const double *a, const double *b, int64_t size)
{
    double sum = 0;
    for (int64_t i = 0; i < size; i++) sum += a[i] * b[i];
    return sum;
}

/* max(a, |x|), and NaN if either is. */
static double larger(double a, double x) { return fabs(x) <= a ? a : isnan(a) ? a : fabs(x); }

/* ---- the prepared sentences ------------------------------------------------------- */

size_t session_sentences(const session *s)
{
    return json_array_size(json_object_get(s->model.json, "sentences"));
}

double session_cosine(const session *s, const arm *a, const json_t *pair)
{
    int64_t size = s->model.hidden;
    return dot(a->meanings + json_integer_value(json_object_get(pair, "a")) * size,
               a->meanings + json_integer_value(json_object_get(pair, "b")) * size, size);
}

static void compare(const session *s, arm *a)
{
    size_t index;
    json_t *pair;
    const double *want = s->reference.data;
    for (int64_t i = 0; i < npy_count(&s->reference); i++)
        a->embedding = larger(a->embedding, a->meanings[i] - want[i]);
    json_array_foreach (json_object_get(s->model.json, "pairs"), index, pair)
        a->cosine = larger(a->cosine, session_cosine(s, a, pair) -
                                          json_real_value(json_object_get(pair, "cosine")));
    a->status = "pass";
    if (a->cosine <= cosine_limit) return;
    a->status = "fail";
    snprintf(a->reason, sizeof a->reason, "a cosine differs by %.3g; %.0e is allowed", a->cosine,
             cosine_limit);
}

static void judge(session *s, arm *a, int64_t *ids)
{
    attn_error error;
    for (size_t i = 0; i < session_sentences(s); i++) {
        int64_t count = sentence_ids(&s->model, i, ids);
        attn_problem p = model_problem(&s->model, count);
        const char *refusal = attn_supports(a->kernel, &p);
        a->status = refusal ? "unsupported" : "fail";
        if (!refusal &&
            embed(s, a->kernel, ids, count, a->meanings + (int64_t)i * s->model.hidden, &error))
            continue;
        snprintf(a->reason, sizeof a->reason, "%.190s", refusal ? refusal : error.text);
        return;
    }
    compare(s, a);
}

int session_judge(session *s)
{
    int64_t *ids = calloc((size_t)s->model.most_tokens, sizeof *ids);
    bool memory = ids != NULL;
    for (int a = 0; a < s->arm_count && memory; a++) {
        arm *at = &s->arms[a];
        at->meanings = calloc(session_sentences(s) * (size_t)s->model.hidden, sizeof *at->meanings);
        memory = at->meanings != NULL;
        command_progress(at->kernel->name, a, s->arm_count);
        if (memory) judge(s, at, ids);
    }
    command_progress_end();
    free(ids);
    return memory ? EXIT_RIGHT : command_error("model: no memory for the sentences");
}

void session_print_verdicts(const session *s)
{
    size_t index;
    json_t *pair, *sentences = json_object_get(s->model.json, "sentences");
    puts("\ncosine, float64   sentences");
    json_array_foreach (json_object_get(s->model.json, "pairs"), index, pair) {
        printf("%15.6f   ", json_real_value(json_object_get(pair, "cosine")));
        for (int side = 0; side < 2; side++) {
            json_t *at = json_array_get(
                sentences, (size_t)json_integer_value(json_object_get(pair, side ? "b" : "a")));
            const char *text = json_string_value(json_object_get(at, "text"));
            printf("%s%.*s\n", side ? "                  " : "", command_fit(text, 62), text);
        }
    }
    puts("\nkernel              of a cosine   of the embedding   largest difference from float64");
    for (int a = 0; a < s->arm_count; a++) {
        const arm *at = &s->arms[a];
        if (arm_passed(at))
            printf("%-18s  %11.1e   %16.1e\n", at->kernel->name, at->cosine, at->embedding);
        else printf("%-18s  %s: %s\n", at->kernel->name, at->status, at->reason);
    }
}

/* ---- --text ---------------------------------------------------------------------- */

static void print_pieces(const session *s, const int64_t *ids, int64_t count)
{
    int column = printf("\n%lld tokens:", (long long)count);
    for (int64_t t = 0; t < count; t++) {
        const char *word = s->model.vocabulary.words[ids[t]];
        if (column + (int)strlen(word) > 78) column = printf("\n ") - 1;
        column += printf(" %s", word);
    }
    putchar('\n');
}

/* The text's cosine with each prepared sentence, and how far the kernels are apart in it. */
static json_t *compare_text(session *s, const int64_t *ids, int64_t count, double *meanings)
{
    int64_t size = s->model.hidden;
    json_t *list = json_array(), *sentences = json_object_get(s->model.json, "sentences"),
           *sentence;
    size_t index;
    attn_error error;
    for (int a = 0; a < s->arm_count; a++)
        if (arm_passed(&s->arms[a]) &&
            !embed(s, s->arms[a].kernel, ids, count, meanings + a * size, &error))
            s->arms[a].status = "fail",
            snprintf(s->arms[a].reason, sizeof s->arms[a].reason, "%.190s", error.text);
    puts("\n cosine   apart   prepared sentence");
    json_array_foreach (sentences, index, sentence) {
        double low = INFINITY, high = -INFINITY;
        json_t *cosines = json_object();
        for (int a = 0; a < s->arm_count; a++) {
            if (!arm_passed(&s->arms[a])) continue;
            const double *prepared = (const double *)s->reference.data + (int64_t)index * size;
            double cosine = dot(meanings + a * size, prepared, size);
            low = fmin(low, cosine), high = fmax(high, cosine);
            json_object_set_new(cosines, s->arms[a].kernel->name, json_real(cosine));
        }
        const char *text = json_string_value(json_object_get(sentence, "text"));
        if (low <= high)
            printf("%7.4f   %.0e   %.*s\n", high, high - low, command_fit(text, 60), text);
        json_array_append_new(list, json_pack("{s:s, s:o}", "text", text, "cosine", cosines));
    }
    return list;
}

/* Sets *result; null without --text. */
int session_answer_text(session *s, json_t **result)
{
    npy_error error;
    *result = json_null();
    if (!s->text) return EXIT_RIGHT;
    int64_t *ids = calloc((size_t)s->model.most_tokens, sizeof *ids), count = -1;
    double *meanings = calloc((size_t)s->arm_count * (size_t)s->model.hidden, sizeof *meanings);
    npy_fail(&error, "no memory");
    if (ids && meanings)
        count =
            vocabulary_tokenize(&s->model.vocabulary, s->text, ids, s->model.most_tokens, &error);
    if (count >= 0) {
        print_pieces(s, ids, count);
        json_t *tokens = json_array();
        for (int64_t t = 0; t < count; t++) json_array_append_new(tokens, json_integer(ids[t]));
        *result = json_pack("{s:s, s:o, s:o}", "text", s->text, "tokens", tokens, "sentences",
                            compare_text(s, ids, count, meanings));
    }
    free(ids);
    free(meanings);
    return count < 0 ? command_error("model: --text: %s", error.text) : EXIT_RIGHT;
}
