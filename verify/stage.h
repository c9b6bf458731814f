/* stage.h: the tensors of a call with every row on pages of its own, for REF_PAGES and REF_SPARSE.
 *
 * The checks keep their tensors as they are. For a call, rows are copied to pages of their own, and
 * rows of outputs back afterwards. With REF_PAGES each row has guards before and behind it. With
 * REF_SPARSE rows are 2^30 to 2^32 elements apart, another power for each tensor, and a few pages
 * more, so that what is counted in 32 bits meets no row. Small tensors (lengths, slopes, sinks)
 * stay where they are. */
#ifndef VERIFY_STAGE_H
#define VERIFY_STAGE_H

#include "verify/verify.h"

typedef struct stage stage;

/* Does this layout need a stage? */
bool stage_of(ref_layout layout);

/* Copies the tensors of the case at `home` and makes *apart of them. NULL if the addresses cannot
 * be had here. `without` leaves out what it leaves out of a cage. */
stage *stage_new(const verify_case *which, uint64_t without, const attn_tensors *home,
                 attn_tensors *apart);

/* Copies the outputs back to where they came from. */
void stage_return(const stage *s);

/* Where something beside the rows of an output was written; else NULL. */
const char *stage_stray(stage *s);

void stage_free(stage *s);

/* As cage_describe, for the newest stage; false if there is none. */
bool stage_describe(const void *address, char *text, size_t size);

#endif
