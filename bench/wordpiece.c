/* wordpiece.c: BERT's tokenizer.
 *
 * No C library has WordPiece. What is hard in it, the Unicode tables (decomposition, categories,
 * lower case), is utf8proc's; what is left are the two loops below. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "bench/vocabulary.h"

enum { LONGEST_WORD = 100 }; /* code points; a longer one is [UNK] */

/* A word as it grows: UTF-8, and where each code point starts. */
typedef struct word_buffer {
    char text[4 * LONGEST_WORD + 1];
    int starts[LONGEST_WORD + 1];
    int length; /* code points; LONGEST_WORD + 1 = too long */
} word_buffer;

typedef struct output {
    const vocabulary *words;
    int64_t *ids, count, most, unknown;
} output;

/* ---- characters ------------------------------------------------------------------ */

static bool is_space(utf8proc_int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    return c == ' ' || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

/* Unicode punctuation, and all of ASCII that is neither letter, digit nor space. */
static bool is_punctuation(utf8proc_int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    return (c > ' ' && c < 127 && !letter) ||
           (category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO);
}

static bool is_dropped(utf8proc_int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);
    return c == 0xFFFD || category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
           category == UTF8PROC_CATEGORY_CO;
}

/* The CJK blocks that BERT splits into single characters. */
static bool is_ideograph(utf8proc_int32_t c)
{
    static const utf8proc_int32_t blocks[][2] = {
        {0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
        {0x2B740, 0x2B81F}, {0x2B820, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F},
    };
    for (size_t b = 0; b < sizeof blocks / sizeof *blocks; b++)
        if (c >= blocks[b][0] && c <= blocks[b][1]) return true;
    return false;
}

/* ---- words to pieces ------------------------------------------------------------- */

static void put(output *out, int64_t id)
{
    if (out->count < out->most) out->ids[out->count++] = id;
}

/* The id of code points from start to end of a word; -1 if the vocabulary has no such piece. */
static int64_t find_piece(const output *out, const word_buffer *word, int start, int end)
{
    char piece[sizeof word->text + 2];
    int bytes = word->starts[end] - word->starts[start], marks = start ? 2 : 0;
    memcpy(piece, "##", 2);
    memcpy(piece + marks, word->text + word->starts[start], (size_t)bytes);
    piece[marks + bytes] = '\0';
    return vocabulary_find(out->words, piece);
}

/* Ends the word: its pieces, or [UNK] if some part of it is in no piece. */
static void end_word(output *out, word_buffer *word)
{
    int64_t before = out->count, id = -1;
    int start = 0, length = word->length;
    word->length = 0;
    if (length == 0) return;
    while (start < length && length <= LONGEST_WORD) {
        int end = length;
        while (end > start && (id = find_piece(out, word, start, end)) < 0) end--;
        if (end == start) break;
        put(out, id);
        start = end;
    }
    if (start == length) return;
    out->count = before;
    put(out, out->unknown);
}

static void add_to_word(word_buffer *word, utf8proc_int32_t c)
{
    if (word->length >= LONGEST_WORD) {
        word->length = LONGEST_WORD + 1;
        return;
    }
    int start = word->length ? word->starts[word->length] : 0;
    word->starts[word->length++] = start;
    word->starts[word->length] =
        start + (int)utf8proc_encode_char(c, (utf8proc_uint8_t *)word->text + start);
}

static void split(output *out, const utf8proc_int32_t *points, utf8proc_ssize_t count)
{
    word_buffer word = {.length = 0};
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        utf8proc_int32_t c = points[i];
        if (utf8proc_category(c) == UTF8PROC_CATEGORY_MN) continue; /* an accent */
        c = utf8proc_tolower(c);
        bool alone = is_punctuation(c);
        if (alone || is_space(c)) end_word(out, &word);
        if (is_space(c)) continue;
        add_to_word(&word, c);
        if (alone) end_word(out, &word);
    }
    end_word(out, &word);
}

/* ---- text to words --------------------------------------------------------------- */

/* Drops controls and sets ideographs apart: UTF-8 into `clean`, which has room for 3 bytes more a
 * character. Returns its length, or -1 if the text is not UTF-8. */
static utf8proc_ssize_t clean_text(const char *text, utf8proc_uint8_t *clean)
{
    utf8proc_ssize_t size = (utf8proc_ssize_t)strlen(text), length = 0, step;
    for (utf8proc_ssize_t at = 0; at < size; at += step) {
        utf8proc_int32_t c;
        step = utf8proc_iterate((const utf8proc_uint8_t *)text + at, size - at, &c);
        if (step < 1) return -1;
        if (c == '\t' || c == '\n' || c == '\r') c = ' ';
        if (is_dropped(c)) continue;
        if (is_ideograph(c)) clean[length++] = ' ';
        length += utf8proc_encode_char(c, clean + length);
        if (is_ideograph(c)) clean[length++] = ' ';
    }
    return length;
}

/* The code points of the decomposed text, malloc'ed; NULL with the error filled. */
static utf8proc_int32_t *decompose(const char *text, utf8proc_ssize_t *count, npy_error *error)
{
    const utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    utf8proc_uint8_t *clean = malloc(3 * strlen(text) + 1);
    utf8proc_int32_t *points = NULL;
    utf8proc_ssize_t length = clean ? clean_text(text, clean) : 0;
    if (length >= 0 && clean) {
        *count = utf8proc_decompose(clean, length, NULL, 0, options);
        points = *count < 0 ? NULL : malloc(((size_t)*count + 1) * sizeof *points);
        if (points) *count = utf8proc_decompose(clean, length, points, *count, options);
    }
    free(clean);
    if (length < 0) npy_fail(error, "the text is not UTF-8");
    else if (!points) npy_fail(error, "no memory to tokenize %zu bytes", strlen(text));
    return points;
}

int64_t vocabulary_tokenize(const vocabulary *words, const char *text, int64_t *ids, int64_t most,
                            npy_error *error)
{
    int64_t first = vocabulary_find(words, "[CLS]"), last = vocabulary_find(words, "[SEP]");
    output out = {words, ids, 0, most - 1, vocabulary_find(words, "[UNK]")};
    utf8proc_ssize_t count;
    if (first < 0 || last < 0 || out.unknown < 0) {
        npy_fail(error, "the vocabulary lacks [CLS], [SEP] or [UNK]");
        return -1;
    }
    utf8proc_int32_t *points = decompose(text, &count, error);
    if (!points) return -1;
    put(&out, first);
    split(&out, points, count);
    free(points);
    out.most = most;
    put(&out, last);
    return out.count;
}
