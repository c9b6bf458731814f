/* member.h: members of JSON objects that may be missing. */
#ifndef BENCH_MEMBER_H
#define BENCH_MEMBER_H

#include <jansson.h>
#include <math.h>

/* "" if it is missing or no string. */
static inline const char *member_text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

/* NaN if it is missing, null or no number. */
static inline double member_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

#endif
