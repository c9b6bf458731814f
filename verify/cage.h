/* cage.h: memory that bites: every tensor between two pages that nobody may touch.
 *
 * A tensor lies flush against the page behind it (VERIFY_RIGHT: one element too far is a fault, and
 * the start is as odd as the size makes it) or in front of it (VERIFY_LEFT), or an odd number of
 * elements behind that (VERIFY_ODD: aligned to an element and to no more, whatever the sizes). What
 * remains of its own pages holds the byte 0xff, as floats NaN, and is looked at afterwards. */
#ifndef VERIFY_CAGE_H
#define VERIFY_CAGE_H

#include "verify/verify.h"

typedef struct cage cage;

/* An empty cage, or NULL if memory is short. `without` leaves out VERIFY_GUARDS, VERIFY_READ_ONLY
 * or VERIFY_POISON_GAPS. */
cage *cage_new(verify_place place, uint64_t without);
void cage_free(cage *c);

/* ref_memory's take for this cage. `bytes` must be a multiple of `element`, the alignment that is
 * needed. */
void *cage_take(void *owner, const char *name, size_t bytes, size_t element, bool output);

/* How many bytes of its own pages stand before the data of tensor number `index`, and how many they
 * are (a multiple of `page`). */
size_t cage_lead(verify_place place, size_t bytes, size_t element, int index, size_t page,
                 size_t *body);

/* Takes from or gives back the right to write what is not an output. */
void cage_seal(cage *c);
void cage_open(cage *c);

/* Where something beside an output was written since it was taken ("3 bytes after out"); else
 * NULL. */
const char *cage_stray(cage *c);

/* Names what lies nearest to an address, e.g. "4 bytes past the end of v". Looks at the newest
 * cage, and is empty if there is none; for signal handlers. */
void cage_describe(const void *address, char *text, size_t size);

#endif
