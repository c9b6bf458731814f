/* stage.c: every row on pages of its own, with mmap at fixed addresses.
 *
 * Pages that were not asked for are holes, so there is nothing to reserve beyond what is touched:
 * rows that are 16 GiB apart take no more memory, nor more of RLIMIT_AS, than rows side by side.
 * Where the sparse rows go, from 2^45 on, is far from what x86-64 and aarch64 give to programs,
 * libraries, stacks and mmap, and within 47 bits. */
#include "verify/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "verify/cage.h"

enum { MOST_TENSORS = 8, MOST_ROWS = 600, MOST_LENGTH = 1 << 14, FILL = 0xff };
enum { AT_BATCH, AT_HEAD, AT_ROW, DIMENSIONS };
static const uintptr_t sparse_begin = UINT64_C(1) << 45;

typedef struct tensor {
    const char *name;
    char *home; /* of its first row */
    size_t element, bytes;
    int64_t count[DIMENSIONS], home_stride[DIMENSIONS]; /* broadcast: 1, 0; strides in elements */
    bool output;
    char *data;        /* of its first row here */
    size_t lead, body; /* bytes of a row's own pages before the row, and in all */
    int64_t step;      /* bytes from row to row */
} tensor;

struct stage {
    tensor tensors[MOST_TENSORS];
    int count;
    size_t page, margin; /* what may be touched around a row's own pages: no guards */
    int64_t mapped;      /* rows, counted through all tensors */
    char *reserved;      /* of REF_PAGES */
    size_t reserved_bytes;
    uint64_t without;
    char text[96];
};

static stage *newest;

bool stage_of(ref_layout layout) { return layout == REF_PAGES || layout == REF_SPARSE; }

const char *verify_layout_refuses(const attn_problem *p, ref_layout layout)
{
    double q = (double)p->batch * (double)p->q_heads * (double)p->q_len;
    double k = (double)p->batch * (double)p->kv_heads * (double)p->kv_len;
    double rows =
        q * (2 + p->wants_lse + (p->weights != 0)) + 2 * k +
        (double)p->q_len * ((double)p->q_heads * p->has_mask + (double)p->batch * p->has_bias);
    bool pairs = p->has_mask || p->has_bias || p->weights;
    if (layout == REF_SHARED && p->batch < 2 && p->kv_heads < 2)
        return "one batch of one key/value head shares nothing";
    if (!stage_of(layout)) return NULL;
    if (!(rows <= MOST_ROWS)) return "more than 600 rows to put on pages of their own";
    if (p->qk_dim > MOST_LENGTH || p->v_dim > MOST_LENGTH || (pairs && p->kv_len > MOST_LENGTH))
        return "rows of more than 16384 elements to put on pages of their own";
    return NULL;
}

/* ---- rows ----------------------------------------------------------------------------- */

static int64_t rows_of(const tensor *x)
{
    return x->bytes ? x->count[AT_BATCH] * x->count[AT_HEAD] * x->count[AT_ROW] : 0;
}

static char *row_of(const tensor *x, int64_t n) { return x->data + n * x->step; }

static char *home_row(const tensor *x, int64_t n)
{
    int64_t at = 0;
    for (int d = DIMENSIONS - 1; d >= 0; d--) {
        at += n % x->count[d] * x->home_stride[d];
        n /= x->count[d];
    }
    return x->home + at * (int64_t)x->element;
}

static bool has(const stage *s, verify_part part) { return !(s->without >> part & 1); }

static bool map_row(stage *s, const tensor *x, int64_t n, bool fixed)
{
    char *row = row_of(x, n), *pages = row - x->lead - s->margin;
    size_t bytes = x->body + 2 * s->margin;
    int where = fixed ? MAP_FIXED : MAP_FIXED_NOREPLACE;
    void *got = mmap(pages, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | where, -1, 0);
    if (got == MAP_FAILED) return false;
    if (got != pages) return munmap(got, bytes), false; /* a kernel that does not know the flag */
    s->mapped++;
    if (x->output || has(s, VERIFY_POISON_GAPS)) memset(row - x->lead, FILL, x->body);
    memcpy(row, home_row(x, n), x->bytes);
    if (!x->output && has(s, VERIFY_READ_ONLY)) mprotect(pages, bytes, PROT_READ);
    return true;
}

/* ---- tensors -------------------------------------------------------------------------- */

static void add(stage *s, const char *name, const void *home, size_t element, int64_t length,
                const int64_t extent[DIMENSIONS], const int64_t stride[DIMENSIONS], bool output)
{
    tensor *x = &s->tensors[s->count++];
    *x = (tensor){.name = name, .home = (char *)home, .element = element, .output = output};
    x->data = x->home, x->bytes = element * (size_t)length;
    for (int d = 0; d < DIMENSIONS; d++) {
        x->count[d] = stride[d] || !extent[d] ? extent[d] : 1;
        x->home_stride[d] = stride[d];
    }
}

#define STRIDES(v)                                                                                 \
    (const int64_t[]) { (v).batch_stride, (v).head_stride, (v).row_stride }

static void list(stage *s, const attn_problem *p, const attn_tensors *t)
{
    const int64_t queries[] = {p->batch, p->q_heads, p->q_len};
    const int64_t keys[] = {p->batch, p->kv_heads, p->kv_len};
    add(s, "q", t->q.data, 4, p->qk_dim, queries, STRIDES(t->q), false);
    add(s, "k", t->k.data, 4, p->qk_dim, keys, STRIDES(t->k), false);
    add(s, "v", t->v.data, 4, p->v_dim, keys, STRIDES(t->v), false);
    add(s, "out", t->out.data, 4, p->v_dim, queries, STRIDES(t->out), true);
    if (p->has_mask) add(s, "mask", t->mask.data, 1, p->kv_len, queries, STRIDES(t->mask), false);
    if (p->has_bias) add(s, "bias", t->bias.data, 4, p->kv_len, queries, STRIDES(t->bias), false);
    if (p->wants_lse) add(s, "lse", t->lse.data, 4, 1, queries, STRIDES(t->lse), true);
    if (p->weights)
        add(s, "weights", t->weights.data, 4, p->kv_len, queries, STRIDES(t->weights), true);
}

/* Gives every tensor its place; the bytes from the first to the last page. */
static size_t plan(stage *s, const verify_case *which, size_t begin)
{
    size_t at = begin;
    for (int i = 0; i < s->count; i++) {
        tensor *x = &s->tensors[i];
        x->lead = cage_lead(which->place, x->bytes, x->element, i, s->page, &x->body);
        x->step = (int64_t)(x->body + 2 * s->page);
        if (which->layout == REF_SPARSE)
            x->step += (int64_t)x->element << (30 + ((uint64_t)i + which->seed) % 3);
        if (!rows_of(x)) continue;
        x->data = (char *)(at + s->page + x->lead);
        at += (size_t)(rows_of(x) * x->step);
    }
    return at - begin;
}

/* The stride of a dimension here; 0 stays 0. */
static int64_t stride_of(const tensor *x, int dimension)
{
    int64_t rows = 1;
    for (int d = dimension + 1; d < DIMENSIONS; d++) rows *= x->count[d];
    return x->home_stride[dimension] ? rows * x->step / (int64_t)x->element : 0;
}

#define SET(view)                                                                                  \
    (t->view.data = (void *)x->data, t->view.batch_stride = stride_of(x, AT_BATCH),                \
     t->view.head_stride = stride_of(x, AT_HEAD), t->view.row_stride = stride_of(x, AT_ROW), x++)

static void point(const stage *s, const attn_problem *p, attn_tensors *t)
{
    const tensor *x = s->tensors;
    SET(q), SET(k), SET(v), SET(out);
    if (p->has_mask) SET(mask);
    if (p->has_bias) SET(bias);
    if (p->wants_lse) SET(lse);
    if (p->weights) SET(weights);
}

/* ---- the stage ------------------------------------------------------------------------ */

static bool reserve(stage *s, const verify_case *which)
{
    if (which->layout == REF_SPARSE) {
        plan(s, which, sparse_begin);
        return !ADDRESSES_TAKEN; /* by a sanitizer: see meson.build */
    }
    s->reserved_bytes = plan(s, which, 0) + s->page;
    void *memory = mmap(NULL, s->reserved_bytes, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    s->reserved = memory;
    plan(s, which, (size_t)s->reserved);
    return true;
}

stage *stage_new(const verify_case *which, uint64_t without, const attn_tensors *home,
                 attn_tensors *apart)
{
    stage *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->without = without, s->page = (size_t)sysconf(_SC_PAGESIZE);
    s->margin = has(s, VERIFY_GUARDS) && which->layout == REF_PAGES ? 0 : s->page;
    list(s, &which->problem, home);
    bool ready = reserve(s, which);
    for (int i = 0; ready && i < s->count; i++)
        for (int64_t n = 0; ready && n < rows_of(&s->tensors[i]); n++)
            ready = map_row(s, &s->tensors[i], n, s->reserved);
    if (!ready) return stage_free(s), NULL;
    *apart = *home;
    point(s, &which->problem, apart);
    newest = s;
    return s;
}

void stage_return(const stage *s)
{
    for (int i = 0; i < s->count; i++)
        for (int64_t n = 0; s->tensors[i].output && n < rows_of(&s->tensors[i]); n++)
            memcpy(home_row(&s->tensors[i], n), row_of(&s->tensors[i], n), s->tensors[i].bytes);
}

static const char *stray_of_row(stage *s, const tensor *x, int64_t n)
{
    const char *row = row_of(x, n), *end = row - x->lead + x->body;
    for (const char *at = row - x->lead; at < end; at++) {
        if (at == row) at += x->bytes;
        if (at >= end || *(const unsigned char *)at == FILL) continue;
        long long before = row - at, after = 1 - before - (long long)x->bytes;
        snprintf(s->text, sizeof s->text, "%lld bytes %s row %lld of %s",
                 before > 0 ? before : after, before > 0 ? "before" : "after", (long long)n,
                 x->name);
        return s->text;
    }
    return NULL;
}

const char *stage_stray(stage *s)
{
    const char *stray = NULL;
    for (int i = 0; i < s->count; i++)
        for (int64_t n = 0; !stray && s->tensors[i].output && n < rows_of(&s->tensors[i]); n++)
            stray = stray_of_row(s, &s->tensors[i], n);
    return stray;
}

void stage_free(stage *s)
{
    for (int i = 0; s && i < s->count; i++) {
        const tensor *x = &s->tensors[i];
        for (int64_t n = 0; n < rows_of(x) && s->mapped > 0; n++, s->mapped--)
            munmap(row_of(x, n) - x->lead - s->margin, x->body + 2 * s->margin);
    }
    if (s && s->reserved) munmap(s->reserved, s->reserved_bytes);
    if (newest == s) newest = NULL;
    free(s);
}

bool stage_describe(const void *address, char *text, size_t size)
{
    const char *at = address;
    for (int i = 0; newest && i < newest->count; i++) {
        const tensor *x = &newest->tensors[i];
        const char *first = x->data - x->lead - newest->page;
        if (at < first || at >= first + rows_of(x) * x->step) continue;
        int64_t n = (at - first) / x->step;
        long long from = at - row_of(x, n), past = from - (long long)x->bytes;
        const char *how = from < 0    ? "%lld bytes before row %lld of %s"
                          : past >= 0 ? "%lld bytes past the end of row %lld of %s"
                                      : "in byte %lld of row %lld of %s, which is read-only";
        snprintf(text, size, how,
                 from < 0    ? -from
                 : past >= 0 ? past
                             : from,
                 (long long)n, x->name);
        return true;
    }
    return false;
}
