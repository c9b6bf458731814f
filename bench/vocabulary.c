/* vocabulary.c: the words of a model. */
#include "bench/vocabulary.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    return strcmp(((const vocabulary_entry *)a)->word, ((const vocabulary_entry *)b)->word);
}

bool vocabulary_read(const char *path, vocabulary *v, npy_error *error)
{
    size_t size, lines = 0;
    *v = (vocabulary){.text = npy_load(path, &size, error)};
    if (!v->text) return false;
    for (size_t i = 0; i < size; i++) lines += v->text[i] == '\n';
    if (size == 0 || v->text[size - 1] != '\n')
        return npy_fail(error, "%s: the last line does not end; is the file whole?", path);
    v->words = malloc(lines * sizeof *v->words);
    v->sorted = malloc(lines * sizeof *v->sorted);
    if (!v->words || !v->sorted) return npy_fail(error, "%s: no memory for %zu words", path, lines);
    for (char *at = v->text; at < v->text + size; at += strlen(at) + 1) {
        *(char *)memchr(at, '\n', (size_t)(v->text + size - at)) = '\0';
        v->words[v->count] = at;
        v->sorted[v->count] = (vocabulary_entry){at, v->count};
        v->count++;
    }
    qsort(v->sorted, (size_t)v->count, sizeof *v->sorted, compare);
    return true;
}

void vocabulary_free(vocabulary *v)
{
    free(v->text);
    free(v->words);
    free(v->sorted);
    *v = (vocabulary){0};
}

int64_t vocabulary_find(const vocabulary *v, const char *word)
{
    const vocabulary_entry key = {word, 0};
    const vocabulary_entry *found =
        bsearch(&key, v->sorted, (size_t)v->count, sizeof *v->sorted, compare);
    return found ? found->id : -1;
}
