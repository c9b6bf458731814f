/* problem.c: how is a problem written in one line?
 *
 *   [b<n>][h<n>][g<n>]q<n>[k<n>]d<n>[v<n>][c[<offset>]][w<left>:<right>][o<offset>]
 *   [s<scale>][cap<x>][len][off][bool][bias][alibi][sink][add][hard][top<k>][lse][qk<mode>]
 *
 * Sizes: batch, query heads, key/value heads (= h), query length, key length (= q), head size,
 * value head size (= d). c: causal, bottom-right (offset k - q) unless an offset is given; o: the
 * offset of a window or of ALiBi without causal. The words name inputs (kv_lens, q_offsets, mask,
 * bias, ALiBi slopes, sinks), the additive score, the selection and the outputs lse and weights
 * (ONNX mode 0-3). Printing is canonical: what is at its default is left out, so equal problems
 * have equal keys. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/attention.h"

#pragma GCC visibility push(default)

/* The words without a number, in their order in the key; each names one bool of the problem. */
static const struct {
    const char *word;
    size_t field;
} words[] = {
    {"len", offsetof(attn_problem, has_kv_lens)}, {"off", offsetof(attn_problem, has_q_offsets)},
    {"bool", offsetof(attn_problem, has_mask)},   {"bias", offsetof(attn_problem, has_bias)},
    {"alibi", offsetof(attn_problem, has_alibi)}, {"sink", offsetof(attn_problem, has_sinks)},
};
enum { WORDS = sizeof words / sizeof *words };

static bool *word_field(attn_problem *p, int i) { return (bool *)((char *)p + words[i].field); }

static float default_scale(int64_t qk_dim) { return (float)(1.0 / sqrt((double)qk_dim)); }

attn_problem attn_problem_make(int64_t heads, int64_t len, int64_t dim)
{
    return (attn_problem){
        .batch = 1,
        .q_heads = heads,
        .kv_heads = heads,
        .q_len = len,
        .kv_len = len,
        .qk_dim = dim,
        .v_dim = dim,
        .scale = default_scale(dim),
        .window_left = -1,
        .window_right = -1,
    };
}

/* ---- printing ------------------------------------------------------------------------- */

typedef struct writer {
    char *text;
    size_t size;
    int length;
} writer;

__attribute__((format(printf, 2, 3))) static void put(writer *w, const char *format, ...)
{
    size_t used = (size_t)w->length < w->size ? (size_t)w->length : w->size;
    va_list args;
    va_start(args, format);
    w->length += vsnprintf(w->text + used, w->size - used, format, args);
    va_end(args);
}

/* The shortest decimal that reads back as this float. */
static void put_float(writer *w, const char *word, float value)
{
    char shortest[32], digits[32];
    snprintf(shortest, sizeof shortest, "%.9g", value);
    for (int precision = 8; precision >= 1; precision--) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtof(digits, NULL) == value && strlen(digits) <= strlen(shortest))
            memcpy(shortest, digits, sizeof shortest);
    }
    put(w, "%s%s", word, shortest);
}

static void put_sizes(writer *w, const attn_problem *p)
{
    if (p->batch != 1) put(w, "b%lld", (long long)p->batch);
    if (p->q_heads != 1) put(w, "h%lld", (long long)p->q_heads);
    if (p->kv_heads != p->q_heads) put(w, "g%lld", (long long)p->kv_heads);
    put(w, "q%lld", (long long)p->q_len);
    if (p->kv_len != p->q_len) put(w, "k%lld", (long long)p->kv_len);
    put(w, "d%lld", (long long)p->qk_dim);
    if (p->v_dim != p->qk_dim) put(w, "v%lld", (long long)p->v_dim);
}

int attn_problem_print(const attn_problem *problem, char *key, size_t size)
{
    attn_problem p = *problem;
    writer w = {key, size, 0};
    bool windowed = p.window_left >= 0 || p.window_right >= 0;
    bool usual_offset = p.q_offset == p.kv_len - p.q_len;
    put_sizes(&w, &p);
    if (p.causal) put(&w, "c");
    if (p.causal && !usual_offset) put(&w, "%lld", (long long)p.q_offset);
    if (windowed) put(&w, "w%lld:%lld", (long long)p.window_left, (long long)p.window_right);
    if (!p.causal && (windowed || p.has_alibi) && !usual_offset)
        put(&w, "o%lld", (long long)p.q_offset);
    if (p.scale != default_scale(p.qk_dim)) put_float(&w, "s", p.scale);
    if (p.softcap > 0) put_float(&w, "cap", p.softcap);
    for (int i = 0; i < WORDS; i++)
        if (*word_field(&p, i)) put(&w, "%s", words[i].word);
    if (p.score == ATTN_ADDITIVE) put(&w, "add");
    if (p.select == ATTN_HARDMAX) put(&w, "hard");
    if (p.select == ATTN_TOPK) put(&w, "top%lld", (long long)p.top_k);
    if (p.wants_lse) put(&w, "lse");
    if (p.weights) put(&w, "qk%d", (int)p.weights - 1);
    return w.length;
}

/* ---- parsing -------------------------------------------------------------------------- */

typedef struct reader {
    const char *key, *at;
    bool failed; /* a number was expected at `at` */
} reader;

static bool digit(char c) { return c >= '0' && c <= '9'; }

static bool take(reader *r, const char *word)
{
    size_t n = strlen(word);
    if (r->failed || strncmp(r->at, word, n) != 0) return false;
    r->at += n;
    return true;
}

static int64_t take_int(reader *r)
{
    char *end;
    if (!digit(r->at[r->at[0] == '-'])) return r->failed = true, 0;
    errno = 0;
    long long value = strtoll(r->at, &end, 10);
    if (errno) return r->failed = true, 0;
    r->at = end;
    return value;
}

static float take_float(reader *r)
{
    char *end;
    if (!digit(r->at[r->at[0] == '-'])) return r->failed = true, 0.0f;
    float value = strtof(r->at, &end);
    r->at = end;
    return value;
}

/* <letter><n> if the letter is next and a digit follows, else `otherwise`. */
static int64_t take_size(reader *r, char letter, int64_t otherwise)
{
    if (r->failed || r->at[0] != letter || !digit(r->at[1])) return otherwise;
    r->at++;
    return take_int(r);
}

static int64_t need_size(reader *r, char letter)
{
    if (!r->failed && r->at[0] == letter) return r->at++, take_int(r);
    return r->failed = true, 0;
}

static void take_sizes(reader *r, attn_problem *p)
{
    p->batch = take_size(r, 'b', 1);
    p->q_heads = take_size(r, 'h', 1);
    p->kv_heads = take_size(r, 'g', p->q_heads);
    p->q_len = need_size(r, 'q');
    p->kv_len = take_size(r, 'k', p->q_len);
    p->qk_dim = need_size(r, 'd');
    p->v_dim = take_size(r, 'v', p->qk_dim);
    if (r->failed) return;
    p->scale = default_scale(p->qk_dim);
    p->q_offset = p->kv_len - p->q_len;
}

static void take_rules(reader *r, attn_problem *p)
{
    if (strncmp(r->at, "cap", 3) != 0 && take(r, "c")) {
        p->causal = true;
        if (digit(r->at[r->at[0] == '-'])) p->q_offset = take_int(r);
    }
    if (take(r, "w")) {
        p->window_left = take_int(r);
        if (!take(r, ":")) r->failed = true;
        else p->window_right = take_int(r);
    }
    if (!p->causal && r->at[0] == 'o' && r->at[1] != 'f' && take(r, "o")) p->q_offset = take_int(r);
    if (r->at[0] == 's' && r->at[1] != 'i' && take(r, "s")) p->scale = take_float(r);
    if (take(r, "cap")) p->softcap = take_float(r);
    for (int i = 0; i < WORDS; i++)
        if (take(r, words[i].word)) *word_field(p, i) = true;
    if (take(r, "add")) p->score = ATTN_ADDITIVE;
    if (take(r, "hard")) p->select = ATTN_HARDMAX;
    else if (take(r, "top")) p->select = ATTN_TOPK, p->top_k = take_int(r);
    p->wants_lse = take(r, "lse");
    if (!r->failed && r->at[0] == 'q' && r->at[1] == 'k' && r->at[2] >= '0' && r->at[2] <= '3') {
        p->weights = (attn_weights)(r->at[2] - '0' + 1);
        r->at += 3;
    }
}

attn_status attn_problem_parse(const char *key, attn_problem *problem, attn_error *error)
{
    reader r = {key, key, false};
    attn_problem p = attn_problem_make(1, 1, 1);
    take_sizes(&r, &p);
    if (!r.failed) take_rules(&r, &p);
    if (r.failed || *r.at) {
        if (error)
            snprintf(error->text, sizeof error->text,
                     "problem \"%.60s\": position %d: \"%.12s\" does not fit; the form is "
                     "b<n>h<n>g<n>q<n>k<n>d<n>v<n> and options, for example h8q2048d64c",
                     key, (int)(r.at - key) + 1, r.at);
        return ATTN_INVALID;
    }
    bool placed = p.causal || p.window_left >= 0 || p.window_right >= 0 || p.has_alibi;
    if (!placed) p.q_offset = p.kv_len - p.q_len; /* nothing depends on it: the canonical one */
    attn_error detail;
    if (attn_validate(&p, NULL, &detail)) {
        if (error) {
            int used = snprintf(error->text, sizeof error->text, "problem \"%.60s\": ", key);
            snprintf(error->text + used, sizeof error->text - (size_t)used, "%.180s", detail.text);
        }
        return ATTN_INVALID;
    }
    *problem = p;
    return ATTN_OK;
}

/* Sum over 0 <= i < n of start + i, each clamped to [0, most]. */
static int64_t sum_clamped(int64_t start, int64_t n, int64_t most)
{
    int64_t zeros = start >= 0 ? 0 : -start < n ? -start : n;
    int64_t first = start + zeros, rising = most - first;
    if (rising < 0) rising = 0;
    if (rising > n - zeros) rising = n - zeros;
    return rising * first + rising * (rising - 1) / 2 + (n - zeros - rising) * most;
}

/* Row i sees the keys from t - left to t + right, clamped to the keys there are; the sums of both
 * ends over the rows have a closed form. */
int64_t attn_visible_pairs(const attn_problem *p)
{
    int64_t n = p->q_len, keys = p->kv_len, all;
    bool bounded = p->causal || p->window_right >= 0;
    int64_t right = p->causal ? 0 : p->window_right; /* a right window cannot widen causal */
    int64_t pairs = bounded ? sum_clamped(p->q_offset + right + 1, n, keys) : n * keys;
    if (p->window_left >= 0) pairs -= sum_clamped(p->q_offset - p->window_left, n, keys);
    return __builtin_mul_overflow(pairs, p->batch * p->q_heads, &all) ? INT64_MAX : all;
}

#pragma GCC visibility pop
