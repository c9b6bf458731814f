/* fuzz_case.c: does case_read survive any case.json beside arrays that exist?
 *
 * A libFuzzer target. The bytes become case.json in a folder of their own, next to the inputs Q, K
 * and V [1, 2, 3, 4] and attn_mask [3, 3]. What is read must be legal and computable; what is not
 * must leave a message. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "verify/case.h"

static char folder[] = P_tmpdir "/fuzz_case_XXXXXX";

static void need(bool holds)
{
    if (!holds) abort();
}

static void write_file(const char *name, const void *bytes, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    need(file && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

static void remove_folder(void)
{
    static const char *const names[] = {"case.json", "in_Q.npy", "in_K.npy", "in_V.npy",
                                        "in_attn_mask.npy"};
    char path[128];
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[n]);
        unlink(path);
    }
    rmdir(folder);
}

static void make_folder(void)
{
    static float values[24];
    static const char *const names[] = {"in_Q.npy", "in_K.npy", "in_V.npy"};
    npy_array array = {.type = NPY_FLOAT32, .rank = 4, .shape = {1, 2, 3, 4}, .data = values};
    npy_array mask = {.type = NPY_FLOAT32, .rank = 2, .shape = {3, 3}, .data = values};
    size_t size;
    for (int x = 0; x < 24; x++) values[x] = (float)(x % 7) - 3;
    need(mkdtemp(folder));
    atexit(remove_folder);
    for (int n = 0; n < 3; n++) {
        void *bytes = npy_format(&array, &size);
        write_file(names[n], bytes, size);
        free(bytes);
    }
    void *bytes = npy_format(&mask, &size);
    write_file("in_attn_mask.npy", bytes, size);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static bool made;
    if (!made) make_folder(), made = true;
    write_file("case.json", bytes, size);
    case_record record = {0};
    npy_error error = {{0}};
    case_status status = case_read(folder, false, &record, &error);
    if (status != CASE_READY) {
        need(error.text[0] != '\0');
    } else {
        attn_error why;
        need(attn_validate(&record.problem, &record.tensors, &why) == ATTN_OK);
        need(attn_run(attn_find("naive_auto"), &record.problem, &record.tensors,
                      &(attn_exec){.threads = 1}, &why) != ATTN_INVALID);
    }
    case_free(&record);
    return 0;
}
