/* compare_alone.c: result files -> samples with the clock and the issue rate around them. */
#include <math.h>
#include <stdlib.h>

#include "bench/compare.h"
#include "bench/member.h"

/* Numbers of an array, NaN where there is none. */
static void take_numbers(const json_t *list, int count, double *to)
{
    for (int i = 0; i < count; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        to[i] = json_is_number(value) ? json_number_value(value) : NAN;
    }
}

/* The samples of one result, none if it is void. False if memory is short. */
static bool take_result(const json_t *result, alone_cell *cell, bool *complete)
{
    const json_t *samples = json_object_get(result, "samples");
    int count = (int)json_array_size(samples);
    *cell = (alone_cell){.isa = member_text(result, "isa"),
                         .threads = (int)json_integer_value(json_object_get(result, "threads"))};
    if (!json_is_true(json_object_get(result, "verified"))) return true;
    *complete = *complete && count > 0;
    if (count == 0) return true;
    double *numbers = malloc(3 * (size_t)count * sizeof *numbers);
    if (!numbers) return false;
    cell->count = count;
    cell->ns = numbers, cell->issue = numbers + count, cell->clock_ghz = numbers + 2 * count;
    take_numbers(samples, count, numbers);
    take_numbers(json_object_get(result, "issue_per_clock"), count, numbers + count);
    take_numbers(json_object_get(result, "clocks_ghz"), count, numbers + 2 * count);
    for (int i = 0; i < 3 * count; i++) *complete = *complete && numbers[i] > 0;
    return true;
}

static int count_results(const compare_input *input)
{
    size_t count = 0;
    for (int side = 0; side < COMPARE_SIDES; side++)
        for (int i = 0; i < input->count[side]; i++)
            count += json_array_size(json_object_get(input->runs[side][i], "results"));
    return (int)count;
}

bool compare_take_samples(const compare_input *input, compare_samples *s)
{
    size_t r;
    json_t *result;
    int most = count_results(input);
    *s = (compare_samples){.cells = malloc(((size_t)most + 1) * sizeof(alone_cell)),
                           .complete = most > 0};
    bool ready = s->cells;
    for (int side = 0; side < COMPARE_SIDES; side++)
        for (int i = 0; i < input->count[side]; i++)
            json_array_foreach (json_object_get(input->runs[side][i], "results"), r, result) {
                ready = ready && take_result(result, &s->cells[s->count], &s->complete);
                s->count += ready;
            }
    return ready && (!s->complete || alone_fit_cells(s->cells, s->count, &s->fit));
}

void compare_free_samples(compare_samples *s)
{
    for (int i = 0; i < s->count; i++) free((double *)s->cells[i].ns);
    free(s->cells);
}
