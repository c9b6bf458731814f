/* fuzz_npy.c: does npy_parse survive any bytes, and are its arrays what they claim to be?
 *
 * A libFuzzer target. What parses must convert without reading beyond its data, and must come back
 * the same when it is written and read again. What does not parse must leave a message. */
#include <stdlib.h>
#include <string.h>

#include "verify/npy.h"

static void need(bool holds)
{
    if (!holds) abort();
}

static void check_conversions(const npy_array *array)
{
    int64_t count = npy_count(array);
    float *floats = npy_to_float(array);
    int64_t *integers = npy_to_int64(array);
    need(floats && (integers != NULL) == !npy_is_float(array->type));
    if (array->type == NPY_FLOAT16) {
        uint16_t *halves = malloc((size_t)count * sizeof *halves + 1);
        need(halves);
        npy_from_float(floats, count, NPY_FLOAT16, halves);
        for (int64_t i = 0; i < count; i++)
            need(floats[i] != floats[i] || halves[i] == ((const uint16_t *)array->data)[i]);
        free(halves);
    }
    free(floats);
    free(integers);
}

static void check_round_trip(const npy_array *array)
{
    npy_array again = {0};
    size_t size;
    void *bytes = npy_format(array, &size);
    need(bytes && size % (size_t)npy_type_bytes(array->type) == 0);
    need(npy_parse(bytes, size, "again", &again, NULL));
    need(again.type == array->type && again.rank == array->rank);
    need(memcmp(again.shape, array->shape, (size_t)array->rank * sizeof *array->shape) == 0);
    need(memcmp(again.data, array->data,
                (size_t)(npy_count(array) * npy_type_bytes(array->type))) == 0);
    npy_free(&again);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    npy_array array = {0};
    npy_error error = {{0}};
    if (!npy_parse(bytes, size, "fuzz", &array, &error)) {
        need(array.data == NULL && strncmp(error.text, "fuzz: ", 6) == 0 &&
             !strchr(error.text, '\n'));
        return 0;
    }
    check_conversions(&array);
    check_round_trip(&array);
    npy_free(&array);
    return 0;
}
