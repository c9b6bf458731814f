/* wordpiece_none.c: stands for wordpiece.c in a build without utf8proc. */
#include "bench/vocabulary.h"

int64_t vocabulary_tokenize(const vocabulary *words, const char *text, int64_t *ids, int64_t most,
                            npy_error *error)
{
    (void)words, (void)text, (void)ids, (void)most;
    npy_fail(error, "built without utf8proc, which --text needs");
    return -1;
}
