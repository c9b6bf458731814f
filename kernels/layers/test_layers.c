/* test_layers.c: do the layers compute what they say, and refuse what does not fit? Products are of
 * small whole numbers, so that every order of summation gives the same bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/layers/attention_layer.h"

enum { BATCH = 2, HEADS = 2, LEN = 5, DIM = 3, SIZE = HEADS * DIM, FLOATS = BATCH * LEN * SIZE };

static float x[FLOATS], y[FLOATS], z[FLOATS], workspace[16 * FLOATS];
static float weight[SIZE * SIZE], bias[SIZE], ones[SIZE], zeros[SIZE];

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < FLOATS; i++) x[i] = (float)(i * 7 % 11 - 5);
    for (int i = 0; i < SIZE * SIZE; i++) weight[i] = (float)(i * 5 % 7 - 3);
    for (int i = 0; i < SIZE; i++) bias[i] = (float)(i - 2), ones[i] = 1, zeros[i] = 0;
    for (int i = 0; i < FLOATS; i++) y[i] = z[i] = 7;
    return 0;
}

static attn_problem problem_of(void)
{
    attn_problem p = attn_problem_make(HEADS, LEN, DIM);
    p.batch = BATCH;
    return p;
}

static attn_linear linear_of(void) { return (attn_linear){weight, bias, SIZE, SIZE}; }
static attn_linear identity(void) { return (attn_linear){NULL, NULL, SIZE, SIZE}; }

static attn_layer_call call_of(const attn_problem *p, const attn_tensors *t,
                               attn_inner_context *inner)
{
    return (attn_layer_call){p, t, x, x, x, y, false, workspace, {attn_inner_run, inner}};
}

static void linear(void **state)
{
    (void)state;
    attn_linear layer = linear_of();
    attn_error error = {""};
    if (attn_blas_missing()) {
        assert_int_equal(attn_linear_run(&layer, 4, x, y, &error), ATTN_UNSUPPORTED);
        assert_string_equal(error.text, "built without BLAS");
        skip();
    }
    assert_int_equal(attn_linear_run(&layer, BATCH * LEN, x, y, &error), ATTN_OK);
    for (int r = 0; r < BATCH * LEN; r++)
        for (int o = 0; o < SIZE; o++) {
            float sum = bias[o];
            for (int i = 0; i < SIZE; i++) sum += x[r * SIZE + i] * weight[o * SIZE + i];
            assert_true(y[r * SIZE + o] == sum);
        }
}

static void linear_sizes(void **state)
{
    (void)state;
    attn_error error = {""};
    attn_linear layer = linear_of();
    layer.in = INT64_C(1) << 31;
    assert_int_equal(attn_linear_run(&layer, 1, x, y, &error), ATTN_INVALID);
    assert_non_null(strstr(error.text, "2147483648"));
    layer.in = 0;
    assert_int_equal(attn_linear_run(&layer, 1, x, y, &error), ATTN_INVALID);
    layer = identity();
    assert_int_equal(attn_linear_run(&layer, BATCH * LEN, x, y, &error), ATTN_OK);
    assert_memory_equal(x, y, sizeof x);
}

static void norm(void **state)
{
    (void)state;
    float rows[2][4] = {{1, 2, 3, 4}, {-8, 8, 8, -8}}, gain[4] = {1, 1, 2, 1},
          shift[4] = {0, 0, 0, 9};
    attn_norm layer = {gain, shift, 4, 0};
    attn_norm_run(&layer, 2, rows[0]);
    double deviation = sqrt(1.25);
    const double want[2][4] = {
        {-1.5 / deviation, -0.5 / deviation, 1 / deviation, 9 + 1.5 / deviation}, {-1, 1, 2, 8}};
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < 4; i++)
            assert_true(fabs(rows[r][i] - want[r][i]) <= 4e-7 * fabs(want[r][i]));
    layer.epsilon = 1;
    float flat[4] = {3, 3, 3, 3};
    attn_norm_run(&layer, 1, flat);
    assert_true(flat[0] == 0 && flat[3] == 9);
}

static void activations(void **state)
{
    (void)state;
    float gelu[] = {0, 1, -1, 3, -3, 30, -30}, relu[] = {-1, 2, -0.5f, NAN};
    const double want[] = {
        0, 0.841344746068543, -0.158655253931457, 2.995950305909511, -0.004049694090489, 30, 0};
    attn_activate(ATTN_GELU, 7, gelu);
    for (int i = 0; i < 7; i++) assert_true(fabs(gelu[i] - want[i]) <= 2e-7 + 1e-7 * fabs(want[i]));
    attn_activate(ATTN_RELU, 4, relu);
    assert_true(relu[0] == 0 && relu[1] == 2 && relu[2] == 0 && isnan(relu[3]));
}

/* Identity projections leave plain attention: the same bits. */
static void identities(void **state)
{
    (void)state;
    attn_inner_context inner = {attn_find("naive_scalar"), {.threads = 1}};
    attn_problem p = problem_of();
    attn_input in = {x, LEN * SIZE, DIM, SIZE};
    attn_tensors none = {0}, plain = {.q = in, .k = in, .v = in, .out = {z, LEN * SIZE, DIM, SIZE}};
    attn_multi_head layer = {identity(), identity(), identity(), identity()};
    attn_layer_call call = call_of(&p, &none, &inner);
    attn_error error = {""};
    assert_int_equal(attn_multi_head_floats(&layer, &p), 0);
    assert_int_equal(attn_multi_head_run(&layer, &call, &error), ATTN_OK);
    assert_int_equal(attn_run(inner.kernel, &p, &plain, NULL, &error), ATTN_OK);
    assert_memory_equal(y, z, sizeof y);
}

/* [len, batch, size] in, the same numbers out at their transposed places. */
static void rows_first(void **state)
{
    (void)state;
    static float turned[FLOATS];
    if (attn_blas_missing()) skip();
    attn_inner_context inner = {attn_find("blocked_auto"), {.threads = 1}};
    attn_problem p = problem_of();
    attn_tensors none = {0};
    attn_multi_head layer = {linear_of(), linear_of(), linear_of(), identity()};
    attn_layer_call call = call_of(&p, &none, &inner);
    attn_error error = {""};
    assert_true(attn_multi_head_floats(&layer, &p) == 3 * FLOATS);
    assert_int_equal(attn_multi_head_run(&layer, &call, &error), ATTN_OK);
    for (int b = 0; b < BATCH; b++)
        for (int i = 0; i < LEN; i++)
            memcpy(turned + (i * BATCH + b) * SIZE, x + (b * LEN + i) * SIZE, sizeof *x * SIZE);
    call.query = call.key = call.value = turned, call.y = z, call.rows_first = true;
    assert_int_equal(attn_multi_head_run(&layer, &call, &error), ATTN_OK);
    for (int b = 0; b < BATCH; b++)
        for (int i = 0; i < LEN; i++)
            assert_memory_equal(z + (i * BATCH + b) * SIZE, y + (b * LEN + i) * SIZE,
                                sizeof *x * SIZE);
}

/* A block whose attention and feed-forward add nothing is two norms. */
static void encoder(void **state)
{
    (void)state;
    if (attn_blas_missing()) skip();
    static float nothing[SIZE * SIZE];
    attn_inner_context inner = {attn_find("naive_auto"), {.threads = 1}};
    attn_problem p = problem_of();
    attn_tensors none = {0};
    attn_linear zero = {nothing, zeros, SIZE, SIZE};
    attn_norm unit = {ones, zeros, SIZE, 1e-5f};
    attn_block block = {
        {linear_of(), linear_of(), linear_of(), zero}, unit, linear_of(), ATTN_RELU, zero, unit};
    attn_layer_call call = call_of(&p, &none, &inner);
    attn_error error = {""};
    assert_true(attn_encoder_floats(&block, &p) <= (int64_t)(sizeof workspace / sizeof *workspace));
    assert_int_equal(attn_encoder_run(&block, 1, &call, &error), ATTN_OK);
    memcpy(z, x, sizeof z);
    attn_norm_run(&unit, BATCH * LEN, z);
    attn_norm_run(&unit, BATCH * LEN, z);
    assert_memory_equal(y, z, sizeof y);
}

/* Each wrong size is named, and nothing is written. */
static void wrong_sizes(void **state)
{
    (void)state;
    attn_inner_context inner = {attn_find("naive_auto"), {.threads = 1}};
    attn_problem p = problem_of();
    attn_tensors none = {0};
    attn_norm unit = {ones, zeros, SIZE, 1e-5f};
    attn_linear good = linear_of();
    attn_block fits = {{good, good, good, good}, unit, good, ATTN_RELU, good, unit}, block;
    attn_layer_call call = call_of(&p, &none, &inner);
    const struct {
        const char *word;
        size_t field;
    } table[] = {
        {"the query projection", offsetof(attn_block, attention.query.out)},
        {"the key projection", offsetof(attn_block, attention.key.out)},
        {"the value projection", offsetof(attn_block, attention.value.in)},
        {"the output projection", offsetof(attn_block, attention.output.in)},
        {"the up projection", offsetof(attn_block, up.in)},
        {"the down projection", offsetof(attn_block, down.out)},
        {"the norms", offsetof(attn_block, feed_norm.size)},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        attn_error error = {""};
        block = fits;
        *(int64_t *)((char *)&block + table[i].field) = 4;
        assert_int_equal(attn_encoder_run(&block, 1, &call, &error), ATTN_INVALID);
        if (!strstr(error.text, table[i].word)) fail_msg("\"%s\": %s", error.text, table[i].word);
        for (int f = 0; f < FLOATS; f++) assert_true(y[f] == 7);
    }
    attn_error error = {""};
    block = fits;
    block.attention.query.weight = NULL;
    assert_int_equal(attn_multi_head_run(&block.attention, &call, &error), ATTN_INVALID);
    assert_non_null(strstr(error.text, "no weight"));
    p.batch = INT64_C(1) << 60;
    assert_true(attn_encoder_floats(&fits, &p) == INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(linear, set_up),     cmocka_unit_test_setup(linear_sizes, set_up),
        cmocka_unit_test_setup(norm, set_up),       cmocka_unit_test_setup(activations, set_up),
        cmocka_unit_test_setup(identities, set_up), cmocka_unit_test_setup(rows_first, set_up),
        cmocka_unit_test_setup(encoder, set_up),    cmocka_unit_test_setup(wrong_sizes, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
