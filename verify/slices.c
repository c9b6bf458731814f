/* slices.c: does a slice touch rows of the outputs that are another slice's?
 *
 * attention.h says that a slice writes its own rows and nothing else. A tail that is loaded,
 * blended and stored as a whole vector writes back what it read from the row behind it: no value
 * changes, unless another thread wrote there meanwhile. So here every slice has memory for its own
 * rows only, flush against a page that nobody may touch, and what it wrote is copied to where it
 * belongs. Slices that fill partials write no rows. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "verify/run.h"

enum { OUTPUTS = 3, MOST_BYTES = 1 << 22 };

/* Pages for the rows of a slice, between two that are nobody's. */
typedef struct shelf {
    char *map;
    size_t bytes, page;
} shelf;

static struct {
    const attn_kernel *kernel;
    shelf shelves[OUTPUTS];
    bool at_end; /* else at the beginning of the pages */
    int fill;    /* a byte: what a row holds before the call */
} now;

typedef struct rows {
    float *data; /* of the first row of the slice */
    int64_t head_stride, row_stride, length;
} rows;

/* Floats from the first to the last row of the slice. */
static int64_t span(const rows *x, attn_slice s)
{
    return (s.heads - 1) * x->head_stride + (s.q_end - s.q_begin - 1) * x->row_stride + x->length;
}

static float *place_on(const shelf *x, int64_t floats)
{
    char *first = x->map + x->page;
    size_t bytes = (size_t)floats * sizeof(float);
    return (float *)(now.at_end ? first + x->bytes - bytes : first);
}

static rows rows_of(const attn_output *view, attn_slice s, int64_t length)
{
    float *first = view->data + s.batch * view->batch_stride + s.head * view->head_stride +
                   s.q_begin * view->row_stride;
    return (rows){first, view->head_stride, view->row_stride, length};
}

/* Points the view so that the slice's first row is at `first`; other rows are nowhere. */
static void point_at(attn_output *view, float *first, attn_slice s)
{
    int64_t before =
        s.batch * view->batch_stride + s.head * view->head_stride + s.q_begin * view->row_stride;
    view->data = (float *)((uintptr_t)first - (uintptr_t)before * sizeof(float));
}

static void copy_rows(const rows *to, const float *from, attn_slice s)
{
    for (int64_t h = 0; h < s.heads; h++)
        for (int64_t i = 0; i < s.q_end - s.q_begin; i++) {
            int64_t at = h * to->head_stride + i * to->row_stride;
            memcpy(to->data + at, from + at, (size_t)to->length * sizeof(float));
        }
}

static void run_apart(const attn_problem *p, const attn_tensors *t, attn_slice s, void *scratch)
{
    attn_tensors apart = *t;
    attn_output *const views[OUTPUTS] = {&apart.out, &apart.lse, &apart.weights};
    const int64_t lengths[OUTPUTS] = {p->v_dim, p->wants_lse, p->weights ? p->kv_len : 0};
    rows own[OUTPUTS] = {{0}};
    float *memory[OUTPUTS] = {NULL};
    for (int o = 0; o < OUTPUTS && !s.partial; o++) {
        if (lengths[o] == 0) continue;
        own[o] = rows_of(views[o], s, lengths[o]);
        memory[o] = place_on(&now.shelves[o], span(&own[o], s));
        memset(now.shelves[o].map + now.shelves[o].page, now.fill, now.shelves[o].bytes);
        point_at(views[o], memory[o], s);
    }
    now.kernel->run(p, &apart, s, scratch);
    for (int o = 0; o < OUTPUTS; o++)
        if (memory[o]) copy_rows(&own[o], memory[o], s);
}

static void free_shelves(void)
{
    for (int o = 0; o < OUTPUTS; o++) {
        shelf *x = &now.shelves[o];
        if (x->map) munmap(x->map, x->bytes + 2 * x->page);
        *x = (shelf){0};
    }
}

/* Shelves as large as the memory of each output; false if that is too much. */
static bool make_shelves(const run *r)
{
    bool guarded = !(r->c.without >> VERIFY_GUARDS & 1);
    for (int o = 0; o < OUTPUTS; o++) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        size_t bytes = (size_t)run_buffer(r, o)->floats * sizeof(float);
        shelf x = {.bytes = (bytes + page - 1) / page * page, .page = page};
        if (bytes > MOST_BYTES) return false;
        char *map = mmap(NULL, x.bytes + 2 * page, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED) return false;
        x.map = map, now.shelves[o] = x;
        if (guarded)
            mprotect(map, page, PROT_NONE), mprotect(map + page + x.bytes, page, PROT_NONE);
    }
    return true;
}

bool slices_describe(const void *address, char *text, size_t size)
{
    const char *at = address;
    for (int o = 0; o < OUTPUTS; o++) {
        const shelf *x = &now.shelves[o];
        if (!x->map || at < x->map || at >= x->map + x->bytes + 2 * x->page) continue;
        snprintf(text, size, "beside the rows of a slice of %s, where another slice's are",
                 run_output_names[o]);
        return true;
    }
    return false;
}

void check_slices(run *r, verify_report *report)
{
    attn_kernel kernel = *r->c.kernel;
    bool asked = !(r->c.without >> VERIFY_SLICES & 1) && r->c.which->inputs == REF_GAUSS;
    if (!asked || !r->cage) return;
    now.kernel = r->c.kernel, now.at_end = ref_random(r->c.which->seed, 97) & 1;
    now.fill = r->c.without >> VERIFY_POISON_OUTPUTS & 1 ? 0 : 0xff;
    kernel.run = run_apart;
    if (make_shelves(r) && run_call_by(r, &kernel, report) && r->c.claims.deterministic)
        run_compare_rows(r, 0, VERIFY_SLICES, "every slice alone", report);
    free_shelves();
}
