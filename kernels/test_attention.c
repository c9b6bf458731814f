/* test_attention.c: does the API refuse what is illegal, name it, and leave everything
 * untouched? */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/attention.h"

enum { HEADS = 4, LEN = 6, DIM = 8, FLOATS = HEADS * LEN * DIM };

static float q[FLOATS], k[FLOATS], v[FLOATS], out[FLOATS], lse[HEADS * LEN];
static int64_t lens[1] = {3};
static float slopes[HEADS];

/* A legal call with lengths, ALiBi and lse. */
static attn_problem legal(attn_tensors *t)
{
    attn_problem p = attn_problem_make(HEADS, LEN, DIM);
    p.has_kv_lens = p.has_alibi = p.wants_lse = true;
    attn_input in = {NULL, FLOATS, LEN * DIM, DIM};
    *t = (attn_tensors){.q = in, .k = in, .v = in, .out = {out, FLOATS, LEN * DIM, DIM}};
    t->q.data = q, t->k.data = k, t->v.data = v;
    t->kv_lens = lens, t->alibi_slopes = slopes, t->lse = (attn_output){lse, HEADS * LEN, LEN, 1};
    return p;
}

static void expect_refusal(const attn_problem *p, const attn_tensors *t, const char *word)
{
    attn_error error = {""};
    for (int x = 0; x < FLOATS; x++) out[x] = 7;
    assert_int_equal(attn_run(attn_find("naive_scalar"), p, t, NULL, &error), ATTN_INVALID);
    if (!strstr(error.text, word)) fail_msg("\"%s\" does not name %s", error.text, word);
    for (int x = 0; x < FLOATS; x++) assert_true(out[x] == 7);
}

static void illegal_sizes(void **state)
{
    (void)state;
    const int64_t big = INT64_C(1) << 40;
    const struct {
        const char *word;
        size_t field;
        int64_t value;
    } table[] = {
        {"batch", offsetof(attn_problem, batch), -1},
        {"q_heads", offsetof(attn_problem, q_heads), -4},
        {"kv_heads", offsetof(attn_problem, kv_heads), 3},
        {"kv_heads", offsetof(attn_problem, kv_heads), 0},
        {"q_len", offsetof(attn_problem, q_len), -1},
        {"kv_len", offsetof(attn_problem, kv_len), -1},
        {"qk_dim", offsetof(attn_problem, qk_dim), 0},
        {"v_dim", offsetof(attn_problem, v_dim), 0},
        {"overflows", offsetof(attn_problem, q_len), big << 20},
        {"overflows", offsetof(attn_problem, qk_dim), INT64_MAX},
        {"top_k", offsetof(attn_problem, top_k), 1},
        {"window_left", offsetof(attn_problem, window_left), -2},
        {"window_right", offsetof(attn_problem, window_right), INT64_MAX},
        {"q_offset", offsetof(attn_problem, q_offset), INT64_MIN},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        attn_tensors t;
        attn_problem p = legal(&t);
        memcpy((char *)&p + table[i].field, &table[i].value, sizeof table[i].value);
        expect_refusal(&p, &t, table[i].word);
    }
}

static void illegal_rules(void **state)
{
    (void)state;
    attn_tensors t;
    attn_problem p = legal(&t);
    p.scale = NAN;
    expect_refusal(&p, &t, "scale");
    p = legal(&t), p.softcap = -1;
    expect_refusal(&p, &t, "softcap");
    p = legal(&t), p.select = ATTN_TOPK;
    expect_refusal(&p, &t, "top_k");
    p = legal(&t), p.select = ATTN_HARDMAX, p.has_sinks = true, t.sinks = slopes;
    expect_refusal(&p, &t, "sinks");
    p = legal(&t), p.select = (attn_select)9;
    expect_refusal(&p, &t, "select");
    p = legal(&t), p.score = (attn_score)9;
    expect_refusal(&p, &t, "score");
    p = legal(&t), p.weights = (attn_weights)9;
    expect_refusal(&p, &t, "weights");
}

static void illegal_tensors(void **state)
{
    (void)state;
    attn_tensors t;
    attn_problem p = legal(&t);
    t.k.data = NULL;
    expect_refusal(&p, &t, "k: data is null");
    p = legal(&t), t.kv_lens = NULL;
    expect_refusal(&p, &t, "kv_lens");
    p = legal(&t), lens[0] = LEN + 1;
    expect_refusal(&p, &t, "kv_lens[0] is 7");
    lens[0] = 3;
    p = legal(&t), t.q.row_stride = -8;
    expect_refusal(&p, &t, "q: row stride is -8");
    p = legal(&t), t.v.head_stride = INT64_MAX / 2;
    expect_refusal(&p, &t, "v: head stride");
    p = legal(&t), t.out.row_stride = DIM - 1;
    expect_refusal(&p, &t, "out: strides make rows overlap");
    p = legal(&t), t.q.data = out;
    expect_refusal(&p, &t, "out overlaps q");
    p = legal(&t), t.lse.data = out + 3;
    expect_refusal(&p, &t, "overlaps");
    p = legal(&t), t.k.data = (const float *)((const char *)k + 1);
    expect_refusal(&p, &t, "k: data is not aligned");
    p = legal(&t), p.score = ATTN_ADDITIVE;
    expect_refusal(&p, &t, "score_vector");
}

static void threads_and_kernels(void **state)
{
    (void)state;
    attn_tensors t;
    attn_error error;
    attn_problem p = legal(&t);
    const attn_kernel *naive = attn_find("naive_scalar");
    const int illegal[] = {-1, ATTN_MAX_THREADS + 1};
    for (int i = 0; i < 2; i++) {
        attn_exec exec = {.threads = illegal[i]};
        assert_int_equal(attn_run(naive, &p, &t, &exec, &error), ATTN_INVALID);
        assert_non_null(strstr(error.text, "threads"));
    }
    p.select = ATTN_HARDMAX;
    assert_int_equal(attn_run(attn_find("blocked_scalar"), &p, &t, NULL, &error), ATTN_UNSUPPORTED);
    assert_non_null(strstr(error.text, "blocked_scalar"));
    assert_null(attn_find("no_such_kernel"));
    assert_int_equal(attn_run(naive, &p, NULL, NULL, &error), ATTN_INVALID);
    attn_problem huge = attn_problem_make(1, INT64_C(1) << 28, 1);
    assert_int_equal(attn_validate(&huge, NULL, &error), ATTN_OK);
    assert_true(attn_scratch_bytes(naive, &huge, 1) >= INT64_C(1) << 58);
}

/* The best kernel goes by shape: select_ for hardmax, decode_ for few rows, flash_ otherwise. */
static void best_kernel(void **state)
{
    (void)state;
    attn_problem p = attn_problem_make(8, 100, 64);
    bool simd = !attn_isa_missing("avx2") || !attn_isa_missing("neon");
    assert_null(attn_supports(attn_best(&p), &p));
    if (!simd) skip(); /* where only scalar and auto run, blocked_auto is the best of them */
    assert_int_equal(strncmp(attn_best(&p)->name, "flash_", 6), 0);
    p.q_len = 1;
    assert_int_equal(strncmp(attn_best(&p)->name, "decode_", 7), 0);
    p.kv_heads = 0, p.q_heads = 0;
    assert_non_null(attn_best(&p));
    p = attn_problem_make(8, 100, 64);
    p.select = ATTN_HARDMAX;
    assert_int_equal(strncmp(attn_best(&p)->name, "select_", 7), 0);
}

/* No batch, heads or rows: legal whatever the pointers, and nothing is written. */
static void nothing_to_do(void **state)
{
    (void)state;
    attn_tensors none = {0};
    attn_problem p = attn_problem_make(HEADS, LEN, DIM);
    p.q_len = 0;
    assert_int_equal(attn_run(attn_find("naive_auto"), &p, &none, NULL, NULL), ATTN_OK);
    p = attn_problem_make(0, LEN, DIM);
    assert_int_equal(attn_run(attn_find("blocked_auto"), &p, &none, NULL, NULL), ATTN_OK);
}

/* Packed Q, K, V of one projection, [len, 3, heads, dim], without a copy; a stride of 0
 * broadcasts. */
static void strided_views(void **state)
{
    (void)state;
    static float packed[LEN * 3 * HEADS * DIM], plain[FLOATS];
    for (int x = 0; x < LEN * 3 * HEADS * DIM; x++) packed[x] = (float)((x * 37) % 17) / 8 - 1;
    attn_problem p = attn_problem_make(HEADS, LEN, DIM);
    attn_input view = {packed, 0, DIM, 3 * HEADS * DIM};
    attn_tensors t = {.q = view, .k = view, .v = view, .out = {out, FLOATS, LEN * DIM, DIM}};
    t.k.data += HEADS * DIM, t.v.data += 2 * HEADS * DIM;
    assert_int_equal(attn_run(attn_find("naive_scalar"), &p, &t, NULL, NULL), ATTN_OK);
    for (int part = 0; part < 3; part++)
        for (int h = 0; h < HEADS; h++)
            for (int i = 0; i < LEN; i++)
                memcpy((part == 0   ? q
                        : part == 1 ? k
                                    : v) +
                           (h * LEN + i) * DIM,
                       packed + ((i * 3 + part) * HEADS + h) * DIM, DIM * sizeof(float));
    attn_input copy = {q, FLOATS, LEN * DIM, DIM};
    t.q = t.k = t.v = copy, t.k.data = k, t.v.data = v, t.out.data = plain;
    assert_int_equal(attn_run(attn_find("naive_scalar"), &p, &t, NULL, NULL), ATTN_OK);
    assert_memory_equal(out, plain, sizeof plain);
}

static void keys_round_trip(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "q1d1",
        "h8q2048d64",
        "b2h32g8q1k8192d128c",
        "h4q197d40w16:0bool",
        "q5k9d4v3c-2w-1:3",
        "q5k9d4w1:2o7",
        "q5k9d4o7alibi",
        "q3d4s0.25cap20",
        "q3d4s-1e-05",
        "b2q3d4cap1lenoffboolbiasalibisink",
        "q3d4addhard",
        "q3d4top7lseqk0",
        "q0d1qk3",
        "h0q3d4",
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        attn_problem p;
        attn_error error = {""};
        char text[128];
        if (attn_problem_parse(keys[i], &p, &error)) fail_msg("%s", error.text);
        assert_int_equal(attn_problem_print(&p, text, sizeof text), strlen(keys[i]));
        assert_string_equal(text, keys[i]);
    }
    attn_problem p;
    assert_int_equal(attn_problem_parse("b1h1g1q3k3d4v4c0", &p, NULL), ATTN_OK);
    char text[8];
    assert_int_equal(attn_problem_print(&p, text, sizeof text), 5);
    assert_string_equal(text, "q3d4c"); /* canonical: defaults are left out */
    assert_int_equal(attn_problem_parse("q3k5d4o9", &p, NULL), ATTN_OK);
    assert_int_equal(p.q_offset, 2); /* nothing depends on it */
    assert_int_equal(attn_problem_parse("q3d4c", &p, NULL), ATTN_OK);
    assert_int_equal(attn_problem_print(&p, text, 3), 5);
    assert_string_equal(text, "q3"); /* cut, never overrun */
}

/* The closed form against a count of every pair. */
static void visible_pairs(void **state)
{
    (void)state;
    for (int64_t causal = 0; causal < 2; causal++)
        for (int64_t offset = -7; offset < 12; offset++)
            for (int64_t left = -1; left < 9; left += 3)
                for (int64_t right = -1; right < 9; right += 4) {
                    attn_problem p = attn_problem_make(3, 5, 1);
                    int64_t count = 0;
                    p.kv_len = 8, p.causal = causal, p.q_offset = offset;
                    p.window_left = left, p.window_right = right;
                    for (int64_t i = 0; i < p.q_len; i++)
                        for (int64_t j = 0; j < p.kv_len; j++)
                            count += !(causal && j > offset + i) &&
                                     !(left >= 0 && j < offset + i - left) &&
                                     !(right >= 0 && j > offset + i + right);
                    assert_int_equal(attn_visible_pairs(&p), 3 * count);
                }
}

static void keys_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *word;
    } table[] = {
        {"", "position 1"},
        {"h8", "position 3"},
        {"q5", "position 3"},
        {"q5d4x", "position 5"},
        {"q5d", "position 4"},
        {"q5d4w3", "position 7"},
        {"q5d4boollen", "position 9"},
        {"q5d4c c", "position 6"},
        {"q5d4sinf", "position 5"},
        {"q-5d4", "q_len is -5"},
        {"q99999999999999999999d4", "position 2"},
        {"q5d4top0", "top_k"},
        {"h3g2q5d4", "kv_heads"},
        {"q5d0", "qk_dim"},
        {"q5d4qk4", "position 5"},
        {"q5d4w-2:0", "window_left"},
        {"q4611686018427387904d4", "overflows"},
        {" q5d4", "position 1"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        attn_problem p = {.batch = 77};
        attn_error error = {""};
        assert_int_equal(attn_problem_parse(table[i].key, &p, &error), ATTN_INVALID);
        if (!strstr(error.text, table[i].word)) fail_msg("%s: \"%s\"", table[i].key, error.text);
        assert_int_equal(p.batch, 77);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(illegal_sizes),   cmocka_unit_test(illegal_rules),
        cmocka_unit_test(illegal_tensors), cmocka_unit_test(threads_and_kernels),
        cmocka_unit_test(best_kernel),     cmocka_unit_test(nothing_to_do),
        cmocka_unit_test(strided_views),   cmocka_unit_test(visible_pairs),
        cmocka_unit_test(keys_round_trip), cmocka_unit_test(keys_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
