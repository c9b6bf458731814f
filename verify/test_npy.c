/* test_npy.c: are malformed .npy files refused with the right words, and do good ones come back
 * unchanged?
 *
 * Files are made in a temporary folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "verify/npy.h"

static char folder[512], path[528];

static int make_folder(void **state)
{
    (void)state;
    const char *root = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.480s/test_npy.XXXXXX", root ? root : P_tmpdir);
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/t.npy", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void put_file(const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* A version 1 file with this header (the newline is added) and `data` zero bytes. */
static void put_header(const char *header, size_t data)
{
    char bytes[512] = "\x93NUMPY\x01";
    size_t length = strlen(header) + 1;
    bytes[8] = (char)length;
    bytes[9] = (char)(length >> 8);
    memcpy(bytes + 10, header, length);
    bytes[10 + length - 1] = '\n';
    put_file(bytes, 10 + length + data);
}

/* The file at `path` is refused in one line that names it and says `words`. */
static void refused(const char *words)
{
    npy_array array = {.rank = 77};
    npy_error error = {{0}};
    assert_false(npy_read(path, &array, &error));
    if (!strstr(error.text, words)) fail_msg("\"%s\" does not say \"%s\"", error.text, words);
    assert_non_null(strstr(error.text, path));
    assert_null(strchr(error.text, '\n'));
    assert_int_equal(array.rank, 77);
}

static void test_bad_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *words;
    } bad[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 11,
         "truncated data: shape (3,)"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", 13, "too much data"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }", 4, "too much data"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", 8, "legal: <f4"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", 4, "big-endian"},
        {"{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4,
         "structured dtype"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 8, "dtype is \"|O\""},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", 4, "fortran_order is True"},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }", 4, "True or False"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999999999,), }", 4,
         "beyond 2^63"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", 0,
         "beyond 2^63"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (0, 4294967296, 4294967296), }", 0,
         "beyond 2^63"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }", 4,
         "needs 4000000000000 bytes"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 4, "an extent"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1), }", 4, ", or )"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2", 8, ", or )"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", 4,
         "more than 8"},
        {"{'descr': '<f4', 'fortran_order': False, }", 4, "no key \"shape\""},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", 4,
         "repeated key"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1, }", 4,
         "unknown key \"more\""},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } x", 4,
         "a newline at the very end"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", 4, ", or }"},
        {"{'descr': '<f4, 'fortran_order': False, 'shape': (1,), }", 4, "dtype is \"<f4, \""},
        {"{'descr': '<f4\x01', 'fortran_order': False, 'shape': (1,), }", 4, "not printable ASCII"},
        {"", 4, "{ was expected"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_header(bad[i].header, bad[i].data);
        refused(bad[i].words);
    }
}

static void test_bad_prefixes(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *words;
    } bad[] = {
        {"", 0, "empty"},
        {"PK\x03\x04 a zip file", 15, "does not start with"},
        {"\x93NUM", 4, "truncated: 4 bytes"},
        {"\x93NUMPY\x01", 7, "truncated: 7 bytes"},
        {"\x93NUMPY\x04\x00\x02\x00{}", 12, ".npy version 4.0; legal: 1.0, 2.0 and 3.0"},
        {"\x93NUMPY\x01\x01\x02\x00{}", 12, ".npy version 1.1"},
        {"\x93NUMPY\x01\x00\x50\x00{}", 12, "the .npy header has 80 bytes, the file 2"},
        {"\x93NUMPY\x02\x00\xff\xff\xff\x7f{}", 14, "header of 2147483647 bytes"},
        {"\x93NUMPY\x02\x00\x01", 9, "truncated: 9 bytes, version 2.0 has at least 12"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_file(bad[i].bytes, bad[i].size);
        refused(bad[i].words);
    }
}

static void test_not_a_file(void **state)
{
    (void)state;
    unlink(path);
    refused("No such file");
    assert_int_equal(mkdir(path, 0700), 0);
    refused("not a regular file");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* must not wait for a writer */
    refused("not a regular file");
    unlink(path);
}

/* Every prefix of a good file is refused. */
static void test_every_truncation(void **state)
{
    (void)state;
    float values[6] = {1, -2, 3, 4, 5, 6};
    npy_array good = {.type = NPY_FLOAT32, .rank = 2, .shape = {2, 3}, .data = values}, array;
    size_t size;
    char *bytes = npy_format(&good, &size);
    assert_int_equal(size, 128 + sizeof values);
    for (size_t cut = 0; cut < size; cut++) {
        char *exact = malloc(cut + 1);
        memcpy(exact, bytes, cut);
        assert_false(npy_parse(exact, cut, "t", &array, NULL));
        free(exact);
    }
    free(bytes);
}

static void test_round_trips(void **state)
{
    (void)state;
    static const uint8_t raw[64] = {1, 0, 1, 1, 0, 0, 1, 0, 255, 127, 3, 0, 0, 128, 200, 5};
    static const struct {
        int rank;
        int64_t shape[NPY_MAX_RANK];
    } shapes[] = {{0, {0}}, {1, {8}}, {2, {2, 4}}, {3, {2, 0, 3}}, {8, {1, 1, 2, 1, 2, 1, 2, 1}}};
    for (int type = 0; type < NPY_TYPES; type++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            npy_array array = {.type = (npy_type)type, .rank = shapes[s].rank}, again = {0};
            npy_error error = {{0}};
            size_t size;
            memcpy(array.shape, shapes[s].shape, sizeof array.shape);
            array.data = (void *)(uintptr_t)raw;
            char *bytes = npy_format(&array, &size);
            size_t data = (size_t)(npy_count(&array) * npy_type_bytes(array.type));
            assert_non_null(bytes);
            assert_int_equal((size - data) % 64, 0);
            put_file(bytes, size);
            if (!npy_read(path, &again, &error)) fail_msg("%s", error.text);
            assert_int_equal(again.type, type);
            assert_int_equal(again.rank, array.rank);
            assert_int_equal(memcmp(again.shape, array.shape, (size_t)array.rank * sizeof(int64_t)),
                             0);
            assert_int_equal(memcmp(again.data, raw, data), 0);
            npy_free(&again);
            free(bytes);
        }
}

static void test_conversions(void **state)
{
    (void)state;
    double doubles[] = {1.0 / 3, -1e300, 0};
    int64_t integers[] = {-1, INT64_MAX, 5};
    npy_array from_doubles = {.type = NPY_FLOAT64, .rank = 1, .shape = {3}, .data = doubles};
    npy_array from_integers = {.type = NPY_INT64, .rank = 1, .shape = {3}, .data = integers};
    float *floats = npy_to_float(&from_doubles);
    int64_t *back = npy_to_int64(&from_integers);
    assert_true(floats[0] == 1.0f / 3 && floats[1] == -INFINITY && floats[2] == 0);
    assert_memory_equal(back, integers, sizeof integers);
    assert_null(npy_to_int64(&from_doubles));
    free(floats);
    free(back);
}

/* ---- binary16 -------------------------------------------------------------------- */

/* Every half widens to the value that its fields say, and narrows back to itself. */
static void test_all_halves(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 65536; half++) {
        int exponent = half >> 10 & 31, fraction = half & 1023;
        double magnitude = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        float value = npy_half_to_float((uint16_t)half);
        if (exponent == 31 && fraction) {
            assert_true(isnan(value) && isnan(npy_half_to_float(npy_float_to_half(value))));
            continue;
        }
        assert_true(fabsf(value) == (exponent == 31 ? INFINITY : magnitude));
        assert_int_equal(!!signbit(value), half >> 15);
        assert_int_equal(npy_float_to_half(value), half);
    }
}

/* Between neighbouring halves: below the middle goes down, above goes up, the middle to the even
 * one. */
static void test_halfway(void **state)
{
    (void)state;
    for (uint32_t half = 0; half < 0x7bff; half++) {
        float low = npy_half_to_float((uint16_t)half),
              high = npy_half_to_float((uint16_t)(half + 1));
        float middle = (float)(((double)low + high) / 2); /* exact: 12 significant bits */
        assert_int_equal(npy_float_to_half(middle), half + (half & 1));
        assert_int_equal(npy_float_to_half(nextafterf(middle, 0)), half);
        assert_int_equal(npy_float_to_half(nextafterf(middle, INFINITY)), half + 1);
        assert_int_equal(npy_float_to_half(-nextafterf(middle, INFINITY)), (half + 1) | 0x8000);
    }
    assert_int_equal(npy_float_to_half(nextafterf(65520, 0)), 0x7bff);
    assert_int_equal(npy_float_to_half(65520), 0x7c00);
    assert_int_equal(npy_float_to_half(0x1p-149f), 0);
    assert_int_equal(npy_float_to_half(-0x1p-149f), 0x8000);
    assert_int_equal(npy_float_to_half(3e38f), 0x7c00);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_headers), cmocka_unit_test(test_bad_prefixes),
        cmocka_unit_test(test_not_a_file),  cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_conversions),
        cmocka_unit_test(test_all_halves),  cmocka_unit_test(test_halfway),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
