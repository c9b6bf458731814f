/* registers_x86_64.c: calls may change every vector register; MXCSR decides on subnormals (Intel
 * SDM volume 1, section 10.2.3). */
#include "verify/registers.h"

#include <stddef.h>

const char *registers_around(void (*function)(void *), void *context)
{
    function(context);
    return NULL;
}

bool registers_can_flush(void) { return true; }
bool registers_can_spoil(void) { return false; }

void registers_flush_subnormals(void)
{
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040); /* FTZ and DAZ */
}

void registers_spoil(void) {}
