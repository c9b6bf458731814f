/* registers_any.c: a CPU family whose calls may change every vector register. */
#include "verify/registers.h"

#include <stddef.h>

const char *registers_around(void (*function)(void *), void *context)
{
    function(context);
    return NULL;
}

bool registers_can_flush(void) { return false; }
bool registers_can_spoil(void) { return false; }

void registers_flush_subnormals(void) {}
void registers_spoil(void) {}
