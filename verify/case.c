/* case.c: reads a case directory; finds, converts and checks what the builders ask for.
 *
 * Order: the JSON, then the operator, then the names of attributes, inputs and outputs against the
 * operator's row, then each file against its declaration, then the builder, then attn_validate.
 * What fails first is reported, and nothing is computed before everything has been checked. */
#include "verify/case.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/case_ops.h"

bool case_fail(const case_record *c, npy_error *error, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return npy_fail(error, "%s%.80s: %s", c->json ? "case " : "", c->name, text);
}

void *case_alloc(case_record *c, int64_t count, int64_t element_bytes, npy_error *error)
{
    int64_t bytes;
    void *block = NULL,
         **blocks = realloc(c->blocks, (size_t)(c->block_count + 1) * sizeof *blocks);
    if (blocks) c->blocks = blocks;
    if (blocks && !__builtin_mul_overflow(count, element_bytes, &bytes))
        block = calloc(1, bytes ? (size_t)bytes : 1);
    if (block) return c->blocks[c->block_count++] = block;
    case_fail(c, error, "no memory for %lld elements of %lld bytes", (long long)count,
              (long long)element_bytes);
    return NULL;
}

void case_free(case_record *c)
{
    for (int i = 0; i < c->input_count; i++) npy_free(&c->inputs[i].array);
    for (int o = 0; o < c->output_count; o++) npy_free(&c->outputs[o].want);
    for (int b = 0; b < c->block_count; b++) free(c->blocks[b]);
    free(c->inputs);
    free(c->blocks);
    json_decref(c->json);
    *c = (case_record){0};
}

const npy_array *case_find_input(const case_record *c, const char *name)
{
    for (int i = 0; i < c->input_count; i++)
        if (strcmp(c->inputs[i].name, name) == 0) return &c->inputs[i].array;
    return NULL;
}

case_output *case_find_output(case_record *c, const char *name)
{
    for (int o = 0; o < c->output_count; o++)
        if (strcmp(c->outputs[o].name, name) == 0) return &c->outputs[o];
    return NULL;
}

/* ---- attributes ------------------------------------------------------------------ */

json_t *case_attribute(const case_record *c, const char *name)
{
    return json_object_get(json_object_get(c->json, "attributes"), name);
}

bool case_int(const case_record *c, const char *name, int64_t otherwise, int64_t low, int64_t high,
              int64_t *value, npy_error *error)
{
    json_t *attribute = case_attribute(c, name);
    *value = attribute ? json_integer_value(attribute) : otherwise;
    if (!attribute || (json_is_integer(attribute) && *value >= low && *value <= high)) return true;
    if (!json_is_integer(attribute))
        return case_fail(c, error, "attribute %s is not a whole number", name);
    return case_fail(c, error, "attribute %s is %lld; it must be from %lld to %lld", name,
                     (long long)*value, (long long)low, (long long)high);
}

bool case_number(const case_record *c, const char *name, float otherwise, float *value,
                 npy_error *error)
{
    json_t *attribute = case_attribute(c, name);
    *value = attribute ? (float)json_number_value(attribute) : otherwise;
    if (attribute && !json_is_number(attribute))
        return case_fail(c, error, "attribute %s is not a number", name);
    return !attribute || isfinite(*value) ||
           case_fail(c, error, "attribute %s is %g; it must be finite in float32", name,
                     json_number_value(attribute));
}

/* ---- names ----------------------------------------------------------------------- */

/* Is `name` this word, in which # stands for a whole number? */
static bool matches(const char *word, size_t length, const char *name)
{
    for (const char *end = word + length; word < end; word++) {
        size_t same = *word == '#' ? strspn(name, "0123456789") : *word == *name;
        if (same == 0) return false;
        name += same;
    }
    return *name == '\0';
}

bool case_listed(const char *list, const char *name)
{
    for (const char *word = list; *word; word += strspn(word, " ?")) {
        size_t length = strcspn(word, " ?");
        if (matches(word, length, name)) return true;
        word += length;
    }
    return false;
}

/* Are all keys of json[what] legal, and are all that the list needs there? */
static bool check_names(const case_record *c, const char *what, const char *list, npy_error *error)
{
    json_t *object = json_object_get(c->json, what), *value;
    const char *key;
    if (object && !json_is_object(object)) return case_fail(c, error, "%s is not an object", what);
    json_object_foreach(object, key, value)
    {
        if (case_listed(list, key)) continue;
        return case_fail(c, error, "%s: unknown \"%.60s\"; %s has %s (? = optional)", what, key,
                         c->op, list);
    }
    for (const char *word = list; *word; word += strspn(word, " ?")) {
        char name[64];
        size_t length = strcspn(word, " ?");
        snprintf(name, sizeof name, "%.*s", (int)length, word);
        word += length;
        if (*word != '?' && !json_object_get(object, name))
            return case_fail(c, error, "%s: \"%s\" is missing; %s needs it", what, name, c->op);
    }
    return true;
}

/* ---- tensors --------------------------------------------------------------------- */

/* {"dtype": ..., "shape": [...]} into type, rank and shape. */
static bool read_declaration(const case_record *c, const char *name, json_t *json,
                             npy_array *declared, npy_error *error)
{
    json_t *shape = json_object_get(json, "shape");
    const char *dtype = json_string_value(json_object_get(json, "dtype"));
    if (!dtype || !npy_type_named(dtype, &declared->type))
        return case_fail(c, error, "%s: dtype is %.40s; legal: %s", name, dtype ? dtype : "missing",
                         "float32, float16, float64, bool, int64, int32, int8, uint8");
    if (!json_is_array(shape) || json_array_size(shape) > NPY_MAX_RANK)
        return case_fail(c, error, "%s: shape must be a list of at most %d sizes", name,
                         NPY_MAX_RANK);
    declared->rank = (int)json_array_size(shape);
    int64_t bytes = npy_type_bytes(declared->type);
    for (int d = 0; d < declared->rank; d++) {
        json_t *extent = json_array_get(shape, (size_t)d);
        int64_t size = declared->shape[d] = json_integer_value(extent);
        if (!json_is_integer(extent) || size < 0)
            return case_fail(c, error, "%s: size %d of the shape must be a whole number >= 0", name,
                             d);
        if (size > 0 && __builtin_mul_overflow(bytes, size, &bytes))
            return case_fail(c, error, "%s: the shape is beyond 2^63 bytes", name);
    }
    return true;
}

/* folder/<prefix>_<name>.npy, which must be as declared. */
static bool read_tensor(const case_record *c, const char *folder, const char *prefix,
                        const char *name, npy_array *array, npy_error *error)
{
    char path[4096];
    npy_text found, declared;
    npy_array read = {0};
    if (snprintf(path, sizeof path, "%s/%s_%s.npy", folder, prefix, name) >= (int)sizeof path)
        return case_fail(c, error, "%s: the path is too long", name);
    if (!npy_read(path, &read, error)) return false;
    bool same = read.type == array->type && read.rank == array->rank;
    for (int d = 0; d < read.rank && same; d++) same = read.shape[d] == array->shape[d];
    if (!same) {
        case_fail(c, error, "%s_%s.npy has %s %s; case.json declares %s %s", prefix, name,
                  npy_type_name(read.type), npy_shape_text(read.rank, read.shape, &found),
                  npy_type_name(array->type), npy_shape_text(array->rank, array->shape, &declared));
        npy_free(&read);
        return false;
    }
    *array = read;
    return true;
}

static bool read_inputs(case_record *c, const char *folder, npy_error *error)
{
    json_t *inputs = json_object_get(c->json, "inputs"), *json;
    const char *name;
    c->inputs = calloc(json_object_size(inputs) + 1, sizeof *c->inputs);
    if (!c->inputs)
        return case_fail(c, error, "no memory for %zu inputs", json_object_size(inputs));
    json_object_foreach(inputs, name, json)
    {
        case_input *input = &c->inputs[c->input_count++];
        input->name = name;
        if (!read_declaration(c, name, json, &input->array, error) ||
            !read_tensor(c, folder, "in", name, &input->array, error))
            return false;
    }
    return true;
}

static bool read_outputs(case_record *c, const char *folder, bool expected, npy_error *error)
{
    json_t *outputs = json_object_get(c->json, "outputs"), *json;
    const char *name;
    json_object_foreach(outputs, name, json)
    {
        case_output *output = &c->outputs[c->output_count++];
        output->name = name;
        if (!read_declaration(c, name, json, &output->want, error)) return false;
        if (expected && !read_tensor(c, folder, "out", name, &output->want, error)) return false;
    }
    return true;
}

/* ---- the case -------------------------------------------------------------------- */

static bool read_tolerance(case_record *c, npy_error *error)
{
    const struct {
        const char *name;
        double *value;
    } fields[] = {{"rtol", &c->rtol}, {"atol", &c->atol}};
    for (int f = 0; f < 2; f++) {
        json_t *json = json_object_get(c->json, fields[f].name);
        if (!json) continue;
        *fields[f].value = json_number_value(json);
        if (!json_is_number(json) || !(*fields[f].value >= 0))
            return case_fail(c, error, "%s must be a number >= 0", fields[f].name);
        c->has_tolerance = true;
    }
    return true;
}

static bool read_json(const char *folder, case_record *c, npy_error *error)
{
    char path[4096];
    size_t size;
    json_error_t detail;
    if (snprintf(path, sizeof path, "%s/case.json", folder) >= (int)sizeof path)
        return npy_fail(error, "%.60s...: the path is too long", folder);
    char *text = npy_load(path, &size, error);
    if (!text) return false;
    c->json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &detail);
    free(text);
    if (!c->json)
        return npy_fail(error, "%s: line %d, column %d: %s", path, detail.line, detail.column,
                        detail.text);
    c->name = json_string_value(json_object_get(c->json, "name"));
    c->op = json_string_value(json_object_get(c->json, "op"));
    if (!c->name || !*c->name || !c->op)
        return npy_fail(error, "%s: needs an object with the strings \"name\" and \"op\"", path);
    for (const char *letter = c->name; *letter; letter++)
        if ((unsigned char)*letter < ' ')
            return npy_fail(error, "%s: the name has a control character", path);
    return true;
}

static const case_op *find_op(const case_record *c, npy_error *error)
{
    char known[256] = "";
    for (int o = 0; o < case_op_count; o++) {
        size_t used = strlen(known);
        if (strcmp(case_ops[o].name, c->op) == 0) return &case_ops[o];
        snprintf(known + used, sizeof known - used, " %s", case_ops[o].name);
    }
    case_fail(c, error, "unknown op \"%.40s\"; legal are%s", c->op, known);
    return NULL;
}

case_status case_read(const char *folder, bool expected, case_record *c, npy_error *error)
{
    attn_error detail;
    *c = (case_record){0};
    if (!read_json(folder, c, error)) return CASE_BROKEN;
    const case_op *op = find_op(c, error);
    if (!op) return CASE_BROKEN;
    if (!check_names(c, "attributes", op->attributes, error) ||
        !check_names(c, "inputs", op->inputs, error) ||
        !check_names(c, "outputs", op->outputs, error) || !read_tolerance(c, error) ||
        !read_inputs(c, folder, error) || !read_outputs(c, folder, expected, error))
        return CASE_BROKEN;
    case_status status = op->build(c, error);
    if (status == CASE_BROKEN) return status;
    if (attn_validate(&c->problem, c->run ? NULL : &c->tensors, &detail) != ATTN_OK)
        return case_fail(c, error, "%s", detail.text), CASE_BROKEN;
    if (expected && c->no_bound && !c->has_tolerance)
        return case_fail(c, error, "rtol and atol are missing; no bound is derived for %s",
                         c->no_bound),
               CASE_BROKEN;
    return status;
}

attn_status case_run(case_record *c, const attn_inner *inner, attn_error *error)
{
    if (c->run) return c->run(c, inner, error);
    return inner->run(inner->context, &c->problem, &c->tensors, error);
}
