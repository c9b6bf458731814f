/* npy.c: reads and writes .npy files by hand.
 *
 * Layout: "\x93NUMPY", major, minor, length of the header (2 bytes little-endian in version 1, 4
 * from 2 on), the header, the data. The header is a Python dict display with exactly the keys
 * descr, fortran_order and shape, padded with spaces and closed by a newline. Source:
 * numpy.lib.format, NEP 1.
 *
 * A cursor walks over the header; nothing is read beyond its end. The data's size must equal the
 * product of the shape exactly, checked for overflow, before anything is allocated. */
#include "verify/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the files are little-endian");

static const struct {
    const char *descr, *name;
    int64_t bytes;
} types[NPY_TYPES] = {
    [NPY_FLOAT32] = {"<f4", "float32", 4}, [NPY_FLOAT16] = {"<f2", "float16", 2},
    [NPY_FLOAT64] = {"<f8", "float64", 8}, [NPY_BOOL] = {"|b1", "bool", 1},
    [NPY_INT64] = {"<i8", "int64", 8},     [NPY_INT32] = {"<i4", "int32", 4},
    [NPY_INT8] = {"|i1", "int8", 1},       [NPY_UINT8] = {"|u1", "uint8", 1},
};
static const char legal_types[] = "<f4, <f2, <f8, |b1, <i8, <i4, |i1 or |u1";

static const char magic[] = "\x93NUMPY";
enum { MAGIC_BYTES = 6, MAX_HEADER = 1 << 16 };

bool npy_fail(npy_error *error, const char *format, ...)
{
    if (!error) return false;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    for (char *c = error->text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
    return false;
}

const char *npy_type_name(npy_type type) { return types[type].name; }

int64_t npy_type_bytes(npy_type type) { return types[type].bytes; }

bool npy_is_float(npy_type type)
{
    return type == NPY_FLOAT32 || type == NPY_FLOAT16 || type == NPY_FLOAT64;
}

bool npy_type_named(const char *name, npy_type *type)
{
    for (int t = 0; t < NPY_TYPES; t++)
        if (strcmp(types[t].name, name) == 0) return *type = (npy_type)t, true;
    return false;
}

int64_t npy_count(const npy_array *array)
{
    int64_t count = 1;
    for (int d = 0; d < array->rank; d++) count *= array->shape[d];
    return count;
}

const char *npy_shape_text(int rank, const int64_t *shape, npy_text *text)
{
    int used = snprintf(text->text, sizeof text->text, "(");
    for (int d = 0; d < rank; d++) {
        char size[24] = "any";
        if (shape[d] >= 0) snprintf(size, sizeof size, "%lld", (long long)shape[d]);
        used += snprintf(text->text + used, sizeof text->text - (size_t)used, "%s%s", d ? ", " : "",
                         size);
    }
    snprintf(text->text + used, sizeof text->text - (size_t)used, rank == 1 ? ",)" : ")");
    return text->text;
}

/* ---- the header ------------------------------------------------------------------ */

typedef struct cursor {
    const char *at, *end, *name;
    npy_error *error;
} cursor;

static void skip_spaces(cursor *c)
{
    while (c->at < c->end && *c->at == ' ') c->at++;
}

static bool take(cursor *c, const char *word)
{
    size_t length = strlen(word);
    skip_spaces(c);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0) return false;
    c->at += length;
    return true;
}

static bool expected(cursor *c, const char *what)
{
    int left = (int)(c->end - c->at < 12 ? c->end - c->at : 12);
    return npy_fail(c->error, "%s: .npy header: found \"%.*s\" where %s was expected", c->name,
                    left, c->at, what);
}

/* A quoted string without escapes, at most 31 characters. */
static bool take_string(cursor *c, char text[32], const char *what)
{
    skip_spaces(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"')) return expected(c, what);
    const char *start = c->at + 1, *close = memchr(start, *c->at, (size_t)(c->end - start));
    if (!close || close - start > 31) return expected(c, what);
    memcpy(text, start, (size_t)(close - start));
    text[close - start] = '\0';
    c->at = close + 1;
    return true;
}

static bool take_type(cursor *c, npy_type *type)
{
    char descr[32];
    if (take(c, "["))
        return npy_fail(c->error, "%s: structured dtype; legal: %s", c->name, legal_types);
    if (!take_string(c, descr, "a dtype string")) return false;
    for (int t = 0; t < NPY_TYPES; t++)
        if (strcmp(types[t].descr, descr) == 0) return *type = (npy_type)t, true;
    return npy_fail(c->error, "%s: dtype is \"%s\"%s; legal: %s", c->name, descr,
                    descr[0] == '>' ? " (big-endian)" : "", legal_types);
}

static bool take_order(cursor *c)
{
    if (take(c, "False")) return true;
    if (!take(c, "True")) return expected(c, "True or False");
    return npy_fail(c->error, "%s: fortran_order is True; only C order (False) can be read",
                    c->name);
}

static bool take_extent(cursor *c, int64_t *extent)
{
    skip_spaces(c);
    const char *start = c->at;
    *extent = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (__builtin_mul_overflow(*extent, 10, extent) ||
            __builtin_add_overflow(*extent, *c->at - '0', extent))
            return npy_fail(c->error, "%s: shape: an extent is beyond 2^63", c->name);
    return c->at > start || expected(c, "an extent of the shape");
}

/* (), (3,), (2, 3) or (2, 3,); not (3), which is a number in Python. */
static bool take_shape(cursor *c, npy_array *array)
{
    array->rank = 0;
    if (!take(c, "(")) return expected(c, "( of the shape");
    while (!take(c, ")")) {
        if (array->rank == NPY_MAX_RANK)
            return npy_fail(c->error, "%s: shape has more than %d dimensions", c->name,
                            NPY_MAX_RANK);
        if (!take_extent(c, &array->shape[array->rank++])) return false;
        bool comma = take(c, ",");
        skip_spaces(c);
        bool closed = c->at < c->end && *c->at == ')';
        if (!comma && (array->rank == 1 || !closed)) return expected(c, ", or ) of the shape");
    }
    return true;
}

static bool take_header(cursor *c, npy_array *array)
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    bool seen[3] = {false};
    if (!take(c, "{")) return expected(c, "{");
    while (!take(c, "}")) {
        char key[32];
        int k = 0;
        if (!take_string(c, key, "a key")) return false;
        while (k < 3 && strcmp(key, keys[k]) != 0) k++;
        if (k == 3 || seen[k])
            return npy_fail(c->error,
                            "%s: .npy header: %s key \"%s\"; it has descr, fortran_order and shape",
                            c->name, k == 3 ? "unknown" : "repeated", key);
        seen[k] = true;
        if (!take(c, ":")) return expected(c, ":");
        if (!(k == 0 ? take_type(c, &array->type) : k == 1 ? take_order(c) : take_shape(c, array)))
            return false;
        bool comma = take(c, ",");
        skip_spaces(c);
        if (!comma && (c->at == c->end || *c->at != '}')) return expected(c, ", or }");
    }
    for (int k = 0; k < 3; k++)
        if (!seen[k]) return npy_fail(c->error, "%s: .npy header: no key \"%s\"", c->name, keys[k]);
    skip_spaces(c);
    return (c->end - c->at == 1 && *c->at == '\n') || expected(c, "a newline at the very end");
}

/* Does the data have exactly the size that the shape says? The product of the extents other than 0
 * must fit as well, so that strides can be computed from any shape without overflow. */
static bool check_size(const npy_array *array, uint64_t found, const char *name, npy_error *error)
{
    npy_text shape;
    int64_t bytes = npy_type_bytes(array->type);
    bool empty = false, fits = true;
    for (int d = 0; d < array->rank; d++) {
        if (array->shape[d] == 0) empty = true;
        else if (__builtin_mul_overflow(bytes, array->shape[d], &bytes)) fits = false;
    }
    npy_shape_text(array->rank, array->shape, &shape);
    if (!fits)
        return npy_fail(error, "%s: shape %s of %s is beyond 2^63 bytes", name, shape.text,
                        npy_type_name(array->type));
    if (empty) bytes = 0;
    if (found == (uint64_t)bytes) return true;
    return npy_fail(error, "%s: %s data: shape %s of %s needs %lld bytes, the file has %llu", name,
                    found < (uint64_t)bytes ? "truncated" : "too much", shape.text,
                    npy_type_name(array->type), (long long)bytes, (unsigned long long)found);
}

/* Everything but the data. Returns where the data starts, or 0. */
static size_t parse_header(const uint8_t *bytes, size_t size, const char *name, npy_array *array,
                           npy_error *error)
{
    *array = (npy_array){0};
    size_t seen = size < MAGIC_BYTES ? size : MAGIC_BYTES;
    if (size == 0) return npy_fail(error, "%s: empty; a .npy file has at least 10 bytes", name);
    if (memcmp(bytes, magic, seen) != 0)
        return npy_fail(error, "%s: not a .npy file: it does not start with \\x93NUMPY", name);
    if (size < MAGIC_BYTES + 2)
        return npy_fail(error, "%s: truncated: %zu bytes, a .npy file has at least 10", name, size);
    unsigned major = bytes[6], minor = bytes[7];
    if (major < 1 || major > 3 || minor != 0)
        return npy_fail(error, "%s: .npy version %u.%u; legal: 1.0, 2.0 and 3.0", name, major,
                        minor);
    size_t start = major == 1 ? 10 : 12, length = 0;
    if (size < start)
        return npy_fail(error, "%s: truncated: %zu bytes, version %u.0 has at least %zu", name,
                        size, major, start);
    for (size_t b = start; b-- > 8;) length = length << 8 | bytes[b];
    if (length > MAX_HEADER)
        return npy_fail(error, "%s: .npy header of %zu bytes; legal: up to %d", name, length,
                        MAX_HEADER);
    if (length > size - start)
        return npy_fail(
            error, "%s: truncated: the .npy header has %zu bytes, the file %zu after its start",
            name, length, size - start);
    for (size_t b = start; b < start + length; b++)
        if (bytes[b] != '\n' && (bytes[b] < ' ' || bytes[b] > '~'))
            return npy_fail(error, "%s: .npy header: byte %u at offset %zu is not printable ASCII",
                            name, bytes[b], b);
    cursor c = {(const char *)bytes + start, (const char *)bytes + start + length, name, error};
    if (!take_header(&c, array)) return 0;
    return check_size(array, size - start - length, name, error) ? start + length : 0;
}

/* ---- reading and writing --------------------------------------------------------- */

bool npy_parse(const void *bytes, size_t size, const char *name, npy_array *array, npy_error *error)
{
    npy_array parsed;
    size_t start = parse_header(bytes, size, name, &parsed, error);
    if (!start) return false;
    parsed.data = malloc(size - start + 1);
    if (!parsed.data) return npy_fail(error, "%s: no memory for %zu bytes", name, size - start);
    memcpy(parsed.data, (const char *)bytes + start, size - start);
    *array = parsed;
    return true;
}

void *npy_load(const char *path, size_t *size, npy_error *error)
{
    struct stat info;
    /* O_NONBLOCK: opening a pipe must not wait for a writer. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return npy_fail(error, "%s: %s", path, strerror(errno)), NULL;
    if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
        npy_fail(error, "%s: not a regular file", path);
        close(file);
        return NULL;
    }
    *size = (size_t)info.st_size;
    char *bytes = malloc(*size + 1);
    if (!bytes) npy_fail(error, "%s: no memory for %zu bytes", path, *size);
    size_t done = 0;
    while (bytes && done < *size) {
        ssize_t got = read(file, bytes + done, *size - done);
        if (got < 0 && errno == EINTR) continue;
        if (got > 0) {
            done += (size_t)got;
            continue;
        }
        npy_fail(error, "%s: %s", path, got < 0 ? strerror(errno) : "shrank while it was read");
        free(bytes);
        bytes = NULL;
    }
    close(file);
    return bytes;
}

bool npy_read(const char *path, npy_array *array, npy_error *error)
{
    size_t size;
    npy_array parsed;
    uint8_t *bytes = npy_load(path, &size, error);
    if (!bytes) return false;
    size_t start = parse_header(bytes, size, path, &parsed, error);
    if (!start) return free(bytes), false;
    memmove(bytes, bytes + start, size - start); /* the file's memory becomes the array's */
    parsed.data = bytes;
    *array = parsed;
    return true;
}

void npy_free(npy_array *array)
{
    free(array->data);
    *array = (npy_array){0};
}

void *npy_format(const npy_array *array, size_t *size)
{
    npy_text shape;
    char dict[256];
    npy_shape_text(array->rank, array->shape, &shape);
    int used = snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
                        types[array->type].descr, shape.text);
    size_t data = (size_t)(npy_count(array) * npy_type_bytes(array->type));
    /* 10 bytes stand before the dict and a newline after it. */
    size_t start = ((size_t)used + 11 + 63) / 64 * 64;
    char *bytes = malloc(start + data);
    if (!bytes) return NULL;
    memset(bytes, ' ', start);
    memcpy(bytes, magic, MAGIC_BYTES);
    const char version_and_length[] = {1, 0, (char)((start - 10) & 255), (char)((start - 10) >> 8)};
    memcpy(bytes + MAGIC_BYTES, version_and_length, sizeof version_and_length);
    memcpy(bytes + 10, dict, (size_t)used);
    bytes[start - 1] = '\n';
    memcpy(bytes + start, array->data, data);
    *size = start + data;
    return bytes;
}
