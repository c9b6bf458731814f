/* npy.h: what is in a .npy file, and how is one written?
 *
 * Dense little-endian arrays in C order, format versions 1.0, 2.0 and 3.0 (NEP 1 of NumPy). Reading
 * is strict: a file that lies about anything is refused with one line that names the file, what was
 * found and what would be legal, and no memory is allocated that the file's own size does not vouch
 * for. */
#ifndef VERIFY_NPY_H
#define VERIFY_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum npy_type {
    NPY_FLOAT32,
    NPY_FLOAT16,
    NPY_FLOAT64,
    NPY_BOOL,
    NPY_INT64,
    NPY_INT32,
    NPY_INT8,
    NPY_UINT8,
    NPY_TYPES
} npy_type;

enum { NPY_MAX_RANK = 8 };

/* Row-major. `data` is never NULL in an array that a function below filled, not even with 0
 * elements. */
typedef struct npy_array {
    npy_type type;
    int rank; /* 0 is a scalar */
    int64_t shape[NPY_MAX_RANK];
    void *data; /* owned; npy_free */
} npy_array;

/* One line, without the newline. */
typedef struct npy_error {
    char text[512];
} npy_error;

/* Fills *error (which may be NULL); returns false, so that `return npy_fail(...)` reads well. */
__attribute__((format(printf, 2, 3))) bool npy_fail(npy_error *error, const char *format, ...);

const char *npy_type_name(npy_type type); /* "float32" */
bool npy_type_named(const char *name, npy_type *type);
int64_t npy_type_bytes(npy_type type);
bool npy_is_float(npy_type type);

/* The product of the shape. */
int64_t npy_count(const npy_array *array);

/* "(2, 3)" into text, which is returned; a negative size is written "any". */
typedef struct npy_text {
    char text[192];
} npy_text;
const char *npy_shape_text(int rank, const int64_t *shape, npy_text *text);

/* A whole regular file, or NULL. At least one byte is allocated; free() it. */
void *npy_load(const char *path, size_t *size, npy_error *error);

/* `name` stands for the file in messages. On failure *array is untouched. */
bool npy_parse(const void *bytes, size_t size, const char *name, npy_array *array,
               npy_error *error);
bool npy_read(const char *path, npy_array *array, npy_error *error);
void npy_free(npy_array *array); /* also of a zeroed array */

/* The file as bytes, *size of them: version 1.0, header padded to a multiple of 64. NULL if memory
 * is short; free() it. `array` may hold any type. */
void *npy_format(const npy_array *array, size_t *size);

/* Element `index` in row-major order; int64 values beyond 2^53 are rounded. */
double npy_value(const npy_array *array, int64_t index);

/* Copies with npy_count elements; NULL if memory is short, to_int64 also for float types. free()
 * them. float64 is rounded to nearest; bool is 0 or 1. */
float *npy_to_float(const npy_array *array);
int64_t *npy_to_int64(const npy_array *array);

/* Packs `count` floats as `type`, one of the float types, rounding once to nearest even. */
void npy_from_float(const float *values, int64_t count, npy_type type, void *packed);

/* IEEE binary16. Widening is exact; narrowing rounds to nearest even whatever the rounding mode,
 * overflows to infinity from 65520 on, keeps subnormals, signed zeros and NaN. */
float npy_half_to_float(uint16_t half);
uint16_t npy_float_to_half(float value);

#endif
