/* registers.h: does a call keep the vector registers that its caller counts on? And what a mutant
 * needs to change in the CPU's state.
 *
 * The AArch64 procedure call standard keeps the lower halves of v8 to v15; x86-64 (System V) keeps
 * no vector register. The build takes the file of the CPU family, registers_any.c otherwise. */
#ifndef VERIFY_REGISTERS_H
#define VERIFY_REGISTERS_H

#include <stdbool.h>

/* Calls function(context) and returns the name of a register that it did not keep, or NULL. */
const char *registers_around(void (*function)(void *), void *context);

/* From now on subnormal results become 0, if that can be done. */
bool registers_can_flush(void);
void registers_flush_subnormals(void);

/* Changes a register that a call must keep, if there is one. */
bool registers_can_spoil(void);
void registers_spoil(void);

#endif
