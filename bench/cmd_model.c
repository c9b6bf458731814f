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
#include <time.h>

#include "bench/command.h"
#include "bench/machine.h"
#include "bench/model.h"
#include "bench/result.h"
#include "bench/stats.h"

/* Largest difference of a cosine from the reference that passes. float32 inference differs from
 * float64 by about 1e-7 (verify/data/README.md); a wrong scale or a lost key by more than 1e-3. */
static const double cosine_limit = 1e-5;
static const double sample_seconds = 0.01; /* at least, of a timed sample */

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

/* ---- one pass -------------------------------------------------------------------- */

static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct timed_inner {
    attn_inner_context kernel;
    double seconds;
} timed_inner;

static attn_status timed_attention(void *context, const attn_problem *p, const attn_tensors *t,
                                   attn_error *error)
{
    timed_inner *timed = context;
    double start = cpu_now();
    attn_status status = attn_inner_run(&timed->kernel, p, t, error);
    timed->seconds += cpu_now() - start;
    return status;
}

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

/* ---- does the kernel mean what the reference means? -------------------------------- */

static size_t sentence_count(const session *s)
{
    return json_array_size(json_object_get(s->model.json, "sentences"));
}

static double pair_cosine(const session *s, const arm *a, const json_t *pair)
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
        a->cosine = larger(a->cosine, pair_cosine(s, a, pair) -
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
    for (size_t i = 0; i < sentence_count(s); i++) {
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

static int judge_all(session *s)
{
    int64_t *ids = calloc((size_t)s->model.most_tokens, sizeof *ids);
    bool memory = ids != NULL;
    for (int a = 0; a < s->arm_count && memory; a++) {
        arm *at = &s->arms[a];
        at->meanings = calloc(sentence_count(s) * (size_t)s->model.hidden, sizeof *at->meanings);
        memory = at->meanings != NULL;
        command_progress(at->kernel->name, a, s->arm_count);
        if (memory) judge(s, at, ids);
    }
    command_progress_end();
    free(ids);
    return memory ? EXIT_RIGHT : command_error("model: no memory for the sentences");
}

static bool passed(const arm *a) { return a->status[0] == 'p'; }

static void print_verdicts(const session *s)
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
        if (passed(at))
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
        if (passed(&s->arms[a]) &&
            !embed(s, s->arms[a].kernel, ids, count, meanings + a * size, &error))
            s->arms[a].status = "fail",
            snprintf(s->arms[a].reason, sizeof s->arms[a].reason, "%.190s", error.text);
    puts("\n cosine   apart   prepared sentence");
    json_array_foreach (sentences, index, sentence) {
        double low = INFINITY, high = -INFINITY;
        json_t *cosines = json_object();
        for (int a = 0; a < s->arm_count; a++) {
            if (!passed(&s->arms[a])) continue;
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
static int answer_text(session *s, json_t **result)
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

/* ---- time ------------------------------------------------------------------------ */

/* Times `calls` passes of one kernel; ns per pass into round r. EXIT_USAGE if the kernel failed. */
static int sample(session *s, arm *a, int64_t length, int calls, int r, void *scratch)
{
    timed_inner timed = {{a->kernel, {.threads = 1, .scratch = scratch}}, 0};
    attn_inner inner = {timed_attention, &timed};
    attn_error error;
    double start = cpu_now();
    for (int c = 0; c < calls; c++)
        if (model_run(&s->pass, s->tokens.data, length, inner, &error))
            return command_error("model: kernel %s: %s", a->kernel->name, error.text);
    a->total[r] = 1e9 * (cpu_now() - start) / calls;
    a->attention[r] = 1e9 * timed.seconds / calls;
    return EXIT_RIGHT;
}

static void report_time(session *s, arm *a, int64_t length, int rounds)
{
    char key[192];
    double share[MOST_ROUNDS];
    attn_problem p = model_problem(&s->model, length);
    attn_problem_print(&p, key, sizeof key);
    for (int r = 0; r < rounds; r++) share[r] = a->attention[r] / a->total[r];
    stats_median total = stats_of(a->total, rounds), inner = stats_of(a->attention, rounds),
                 part = stats_of(share, rounds);
    command_progress_end();
    printf("%5lld   %-18s %9.3f   %9.3f   %7.1f %%\n", (long long)length, a->kernel->name,
           total.median / 1e6, inner.median / 1e6, 100 * part.median);
    json_array_append_new(
        s->times,
        json_pack("{s:s, s:s, s:I, s:s, s:i, s:f, s:f, s:f, s:o, s:o}", "kernel", a->kernel->name,
                  "isa", a->kernel->isa, "tokens", (json_int_t)length, "problem", key, "rounds",
                  rounds, "total_ns", total.median, "attention_ns", inner.median, "attention_share",
                  part.median, "share_low", part.bounded ? json_real(part.low) : json_null(),
                  "share_high", part.bounded ? json_real(part.high) : json_null()));
}

/* Rounds in rotating order, after two passes that warm up and say how many make a sample. */
static int time_arms(session *s, arm *const *arms, int count, int64_t length, void *scratch)
{
    int calls[256], status = EXIT_RIGHT, rounds = 0;
    for (int a = 0; a < 2 * count && status == EXIT_RIGHT; a++) {
        status = sample(s, arms[a / 2], length, 1, 0, scratch);
        calls[a / 2] = 1 + (int)(1e9 * sample_seconds / (arms[a / 2]->total[0] + 1));
    }
    for (; rounds < s->rounds && status == EXIT_RIGHT && !command_interrupted(); rounds++) {
        char what[32];
        snprintf(what, sizeof what, "%lld tokens", (long long)length);
        command_progress(what, rounds, (double)s->rounds);
        for (int a = 0; a < count && status == EXIT_RIGHT; a++) {
            int turn = (a + rounds) % count;
            status = sample(s, arms[turn], length, calls[turn], rounds, scratch);
        }
    }
    for (int a = 0; a < count && rounds > 0 && status == EXIT_RIGHT; a++)
        report_time(s, arms[a], length, rounds);
    return status;
}

static int time_length(session *s, int64_t length)
{
    attn_problem p = model_problem(&s->model, length);
    arm *arms[256];
    int count = 0;
    int64_t most = 64;
    for (int a = 0; a < s->arm_count; a++) {
        if (!passed(&s->arms[a]) || attn_supports(s->arms[a].kernel, &p)) continue;
        int64_t bytes = attn_scratch_bytes(s->arms[a].kernel, &p, 1);
        arms[count++] = &s->arms[a];
        most = bytes > most ? bytes : most;
    }
    bool fits = most <= machine_memory_available();
    void *scratch = fits ? aligned_alloc(64, (size_t)(most + 63) / 64 * 64) : NULL;
    int status = scratch
                     ? time_arms(s, arms, count, length, scratch)
                     : command_error("model: no memory for %lld bytes of scratch", (long long)most);
    free(scratch);
    return status;
}

static int time_all(session *s)
{
    if (s->length_count) puts("\ntokens  kernel                 CPU ms   attention       share");
    for (int l = 0; l < s->length_count && !command_interrupted(); l++)
        if (time_length(s, s->lengths[l])) return EXIT_USAGE;
    command_progress_end();
    return EXIT_RIGHT;
}

/* ---- JSON ------------------------------------------------------------------------ */

static json_t *kernels_json(const session *s)
{
    json_t *list = json_array();
    for (int a = 0; a < s->arm_count; a++) {
        const arm *at = &s->arms[a];
        bool known = passed(at) && isfinite(at->cosine) && isfinite(at->embedding);
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
            if (passed(&s->arms[a]))
                json_object_set_new(cosines, s->arms[a].kernel->name,
                                    json_real(pair_cosine(s, &s->arms[a], pair)));
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
    if (read_array(s, folder, "embeddings", NPY_FLOAT64, (int64_t)sentence_count(s),
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
    if (judge_all(s)) return EXIT_USAGE;
    print_verdicts(s);
    if (answer_text(s, &text)) return EXIT_USAGE;
    command_catch_interrupt();
    int status = time_all(s), right = 0, wrong = 0;
    if (status == EXIT_RIGHT && json)
        status = command_write_json(json, session_json(s, text, argc, argv));
    json_decref(text);
    for (int a = 0; a < s->arm_count; a++)
        right += passed(&s->arms[a]), wrong += s->arms[a].status[0] == 'f';
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
