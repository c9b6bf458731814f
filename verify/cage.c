/* cage.c: guard pages around every tensor, with mmap and mprotect. */
#include "verify/cage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "verify/run.h"
#include "verify/stage.h"

enum { MOST_BLOCKS = 24, FILL = 0xff, ODD_ELEMENTS = 65 };

typedef struct block {
    const char *name;
    char *map, *body, *data; /* guard page, body, guard page; data lies in the body */
    size_t map_bytes, body_bytes, bytes;
    bool output;
} block;

struct cage {
    block blocks[MOST_BLOCKS];
    int count;
    verify_place place;
    uint64_t without;
    char text[96];
};

static cage *newest;

cage *cage_new(verify_place place, uint64_t without)
{
    cage *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->place = place, c->without = without;
    newest = c;
    return c;
}

void cage_free(cage *c)
{
    for (int i = 0; c && i < c->count; i++) munmap(c->blocks[i].map, c->blocks[i].map_bytes);
    if (newest == c) newest = NULL;
    free(c);
}

static bool has(const cage *c, verify_part part) { return !(c->without >> part & 1); }

/* Tensors differ in how odd they are. The least is so large that what begins a vector too early
 * is left to VERIFY_LEFT. */
size_t cage_lead(verify_place place, size_t bytes, size_t element, int index, size_t page,
                 size_t *body)
{
    size_t shift = place == VERIFY_ODD ? element * (size_t)(ODD_ELEMENTS + 2 * index) : 0;
    *body = (shift + bytes + page - 1) / page * page;
    return place == VERIFY_RIGHT ? *body - bytes : shift;
}

void *cage_take(void *owner, const char *name, size_t bytes, size_t element, bool output)
{
    cage *c = owner;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (c->count == MOST_BLOCKS || bytes > SIZE_MAX / 2) return NULL;
    block b = {.name = name, .bytes = bytes, .output = output};
    size_t lead = cage_lead(c->place, bytes, element, c->count, page, &b.body_bytes);
    b.map_bytes = b.body_bytes + 2 * page;
    b.map = mmap(NULL, b.map_bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (b.map == MAP_FAILED) return NULL;
    b.body = b.map + page;
    b.data = b.body + lead;
    if (output || has(c, VERIFY_POISON_GAPS)) memset(b.body, FILL, b.body_bytes);
    if (has(c, VERIFY_GUARDS)) {
        mprotect(b.map, page, PROT_NONE);
        mprotect(b.body + b.body_bytes, page, PROT_NONE);
    }
    c->blocks[c->count++] = b;
    return b.data;
}

static void protect_inputs(cage *c, int protection)
{
    for (int i = 0; i < c->count; i++)
        if (!c->blocks[i].output && has(c, VERIFY_READ_ONLY) && c->blocks[i].body_bytes)
            mprotect(c->blocks[i].body, c->blocks[i].body_bytes, protection);
}

void cage_seal(cage *c) { protect_inputs(c, PROT_READ); }
void cage_open(cage *c) { protect_inputs(c, PROT_READ | PROT_WRITE); }

const char *cage_stray(cage *c)
{
    for (int i = 0; i < c->count; i++) {
        const block *b = &c->blocks[i];
        for (const char *x = b->body; b->output && x < b->body + b->body_bytes; x++) {
            if (x == b->data) x += b->bytes;
            if (x >= b->body + b->body_bytes || *(const unsigned char *)x == FILL) continue;
            bool after = x >= b->data + b->bytes;
            snprintf(c->text, sizeof c->text, "%lld bytes %s %s",
                     (long long)(after ? x - b->data - (long long)b->bytes + 1 : b->data - x),
                     after ? "after" : "before", b->name);
            return c->text;
        }
    }
    return NULL;
}

void cage_describe(const void *address, char *text, size_t size)
{
    const char *at = address;
    if (stage_describe(address, text, size) || slices_describe(address, text, size)) return;
    snprintf(text, size, newest ? "far from every tensor" : "");
    for (int i = 0; newest && i < newest->count; i++) {
        const block *b = &newest->blocks[i];
        if (at < b->map || at >= b->map + b->map_bytes) continue;
        if (at < b->data)
            snprintf(text, size, "%lld bytes before %s", (long long)(b->data - at), b->name);
        else if (at >= b->data + b->bytes)
            snprintf(text, size, "%lld bytes past the end of %s",
                     (long long)(at - b->data - (long long)b->bytes), b->name);
        else
            snprintf(text, size, "in byte %lld of %s, which is read-only",
                     (long long)(at - b->data), b->name);
        return;
    }
}
