/* cmd_model.c: `attest model`: what does a kernel do to a real model, in its answers and its time?
 *
 * First every kernel computes the meaning of the prepared sentences; it must agree with the float64
 * run that the folder holds, else it is void and not timed. Then forward passes of growing length
 * are timed in rounds, every round one sample of every kernel, in rotating order; the clock around
 * the inner attention gives its share. One thread throughout, the BLAS has one as well; so the
 * clock is that thread's CPU time, which equals the time that passes on an idle machine and does
 * not count the work of others on a busy one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/command.h"
#include "bench/machine.h"
#include "bench/model_session.h"
#include "bench/result.h"

/* ---- JSON ------------------------------------------------------------------------ */

static json_t *kernels_json(const session *s)
{
    json_t *list = json_array();
    for (int a = 0; a < s->arm_count; a++) {
        const arm *at = &s->arms[a];
        bool known = arm_passed(at) && isfinite(at->cosine) && isfinite(at->embedding);
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "kernel",
                                              at->kernel->name, "isa", at->kernel->isa, "status",
                                              at->status, "reason", at->reason, "cosine_difference",
                                              known ? json_real(at->cosine) : json_null(),
                                              "embedding_difference",
                                              known ? json_real(at->embedding) : json_null()));
    }
    return list;
}

static json_t *pairs_json(const session *s)
{
    json_t *list = json_array(), *pair, *sentences = json_object_get(s->model.json, "sentences");
    size_t index;
    json_array_foreach (json_object_get(s->model.json, "pairs"), index, pair) {
        json_t *cosines = json_object();
        for (int a = 0; a < s->arm_count; a++)
            if (arm_passed(&s->arms[a]))
                json_object_set_new(cosines, s->arms[a].kernel->name,
                                    json_real(session_cosine(s, &s->arms[a], pair)));
        json_t *first =
            json_array_get(sentences, (size_t)json_integer_value(json_object_get(pair, "a")));
        json_t *second =
            json_array_get(sentences, (size_t)json_integer_value(json_object_get(pair, "b")));
        json_array_append_new(list,
                              json_pack("{s:O, s:O, s:O, s:o}", "a", json_object_get(first, "text"),
                                        "b", json_object_get(second, "text"), "reference",
                                        json_object_get(pair, "cosine"), "cosine", cosines));
    }
    return list;
}

static json_t *session_json(const session *s, json_t *text, int argc, char **argv)
{
    json_t *words = json_array();
    for (int i = 0; i < argc; i++) json_array_append_new(words, json_string(argv[i]));
    return json_pack("{s:i, s:o, s:o, s:o, s:o, s:s, s:s, s:b, s:o, s:o, s:O, s:O}", "schema", 1,
                     "tool", result_tool(), "date", result_date(), "machine", machine_record(),
                     "argv", words, "model", s->model.name, "blas", attn_blas_name(), "interrupted",
                     command_interrupted(), "kernels", kernels_json(s), "pairs", pairs_json(s),
                     "text", text, "times", s->times);
}

/* ---- the command ----------------------------------------------------------------- */

static int read_lengths(session *s, const char *list)
{
    char word[32];
    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", (int)length, at);
        if (s->length_count == MOST_LENGTHS)
            return command_error("model: --lengths has more than %d lengths", MOST_LENGTHS);
        if (command_int("lengths", word, 1, s->tokens.shape[0], &s->lengths[s->length_count++]))
            return EXIT_USAGE;
        at += length;
        if (!*at) return EXIT_RIGHT;
    }
}

/* folder/<name>.npy of this type and shape (rows 0: rank 1, any length up to the model's). */
static int read_array(const session *s, const char *folder, const char *name, npy_type type,
                      int64_t rows, npy_array *array)
{
    char path[4096];
    npy_error error;
    npy_text shape;
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    if (!npy_read(path, array, &error)) return command_error("%s", error.text);
    bool fits =
        rows ? array->rank == 2 && array->shape[0] == rows && array->shape[1] == s->model.hidden
             : array->rank == 1 && array->shape[0] >= 1 && array->shape[0] <= s->model.most_tokens;
    for (int64_t i = 0; fits && !rows && array->type == type && i < array->shape[0]; i++)
        fits = npy_value(array, i) >= 0 && npy_value(array, i) < (double)s->model.word_count;
    if (fits && array->type == type) return EXIT_RIGHT;
    return command_error("%s is %s %s; model.json makes it %s", path, npy_type_name(array->type),
                         npy_shape_text(array->rank, array->shape, &shape),
                         rows ? "float64 [sentences, hidden]"
                              : "int64 token ids, at most most_tokens");
}

static int open_model(session *s, const char *folder, const char *lengths)
{
    npy_error error;
    if (!model_read(folder, &s->model, &error)) return command_error("%s", error.text);
    if (read_array(s, folder, "embeddings", NPY_FLOAT64, (int64_t)session_sentences(s),
                   &s->reference) ||
        read_array(s, folder, "long", NPY_INT64, 0, &s->tokens) ||
        (*lengths && read_lengths(s, lengths)))
        return EXIT_USAGE;
    if (!model_pass_new(&s->model, s->model.most_tokens, &s->pass, &error))
        return command_error("%s", error.text);
    return attn_blas_missing() ? command_error("model: %s", attn_blas_missing()) : EXIT_RIGHT;
}

static void close_model(session *s)
{
    for (int a = 0; a < s->arm_count; a++) free(s->arms[a].meanings);
    npy_free(&s->reference);
    npy_free(&s->tokens);
    model_pass_free(&s->pass);
    model_free(&s->model);
    json_decref(s->times);
    free(s);
}

static int run_session(session *s, const char *json, int argc, char **argv)
{
    json_t *text;
    printf("%s: %lld layers, %lld heads of %lld; one thread\nproducts: %.70s\n", s->model.name,
           (long long)s->model.layers, (long long)s->model.heads,
           (long long)(s->model.hidden / s->model.heads), attn_blas_name());
    if (session_judge(s)) return EXIT_USAGE;
    session_print_verdicts(s);
    if (session_answer_text(s, &text)) return EXIT_USAGE;
    command_catch_interrupt();
    int status = session_time(s), right = 0, wrong = 0;
    if (status == EXIT_RIGHT && json)
        status = command_write_json(json, session_json(s, text, argc, argv));
    json_decref(text);
    for (int a = 0; a < s->arm_count; a++)
        right += arm_passed(&s->arms[a]), wrong += s->arms[a].status[0] == 'f';
    if (status) return status;
    if (command_interrupted()) return EXIT_INTERRUPTED;
    return wrong ? EXIT_WRONG : right ? EXIT_RIGHT : EXIT_SKIPPED;
}

int cmd_model(int argc, char **argv)
{
    const char *kernels = "all", *json = NULL, *lengths = "16,32,64,128,256,512", *rounds = NULL;
    session *s = calloc(1, sizeof *s);
    if (!s) return command_error("model: no memory");
    s->rounds = 7, s->times = json_array();
    const command_option options[] = {
        {"text", &s->text, NULL, "TEXT  also compare this text with the prepared sentences"},
        {"kernel", &kernels, NULL, "LIST  all (default), best, or names with commas"},
        {"lengths", &lengths, NULL, "LIST  tokens of the timed passes; \"\" = none (16,32,..512)"},
        {"rounds", &rounds, NULL, "N  samples of each kernel and length (7)"},
        {"json", &json, NULL, "FILE  write all of it as JSON"},
        {NULL, NULL, NULL, NULL},
    };
    const attn_kernel *chosen[256];
    int positional, words = argc;
    bool done;
    int status = command_parse(argc, argv, options, "model DIR [options]",
                               "model build/minilm --kernel best --text \"A cat slept.\"",
                               &positional, &done);
    if (status == EXIT_RIGHT && !done && positional != 1)
        status = command_error("model: name one folder made by scripts/fetch_minilm");
    if (status == EXIT_RIGHT && !done)
        status = command_kernels(kernels, chosen, &s->arm_count) ||
                         command_int("rounds", rounds, 1, MOST_ROUNDS, &s->rounds) ||
                         (json && command_can_write(json))
                     ? EXIT_USAGE
                     : EXIT_RIGHT;
    for (int a = 0; a < s->arm_count; a++)
        s->arms[a].kernel = chosen[a], s->arms[a].status = "fail";
    if (status == EXIT_RIGHT && !done) command_reserve_stdout(json);
    if (status == EXIT_RIGHT && !done) status = open_model(s, argv[1], lengths);
    if (status == EXIT_RIGHT && !done) status = run_session(s, json, words, argv);
    close_model(s);
    return status;
}
