/* registers.h: does a call keep the vector registers that its caller counts on?
 *
 * The AArch64 procedure call standard keeps the lower halves of v8 to v15; x86-64 (System V) keeps
 * no vector register. The build takes the file of the CPU family, registers_any.c otherwise. */
#ifndef VERIFY_REGISTERS_H
#define VERIFY_REGISTERS_H

/* Calls function(context) and returns the name of a register that it did not keep, or NULL. */
const char *registers_around(void (*function)(void *), void *context);

#endif
