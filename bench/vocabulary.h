/* vocabulary.h: text <-> token ids of a BERT model. */
#ifndef BENCH_VOCABULARY_H
#define BENCH_VOCABULARY_H

#include "verify/npy.h"

typedef struct vocabulary_entry {
    const char *word;
    int64_t id;
} vocabulary_entry;

/* words[id]; `sorted` finds an id. */
typedef struct vocabulary {
    char *text;
    const char **words;
    vocabulary_entry *sorted;
    int64_t count;
} vocabulary;

/* A file with one word a line, whose number from 0 is the id. On failure, too, to be freed. */
bool vocabulary_read(const char *path, vocabulary *vocabulary, npy_error *error);
void vocabulary_free(vocabulary *vocabulary);

/* The id of a word, or -1. */
int64_t vocabulary_find(const vocabulary *vocabulary, const char *word);

/* [CLS] pieces [SEP] into ids, at most `most` >= 2 of them: what does not fit is cut off before
 * [SEP]. Returns how many, or -1 with the error filled: text that is not UTF-8, a vocabulary
 * without [CLS], [SEP] or [UNK], no memory, or a build without utf8proc.
 *
 * BERT's uncased WordPiece (Devlin et al. 2019): controls and accents dropped, lower case,
 * punctuation and ideographs on their own, then from each word the longest piece that the
 * vocabulary has, and again from what is left. scripts/minilm.py is the same in Python;
 * scripts/test_model.py compares them. */
int64_t vocabulary_tokenize(const vocabulary *vocabulary, const char *text, int64_t *ids,
                            int64_t most, npy_error *error);

#endif
