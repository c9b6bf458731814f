/* registers_aarch64.c: d8 to d15 around a call (Procedure Call Standard for the Arm 64-bit
 * Architecture, section 6.1.2). */
#include "verify/registers.h"

#include <stddef.h>
#include <stdint.h>

const char *registers_around(void (*function)(void *), void *context)
{
    static const char *const names[] = {"d8", "d9", "d10", "d11", "d12", "d13", "d14", "d15"};
    uint64_t marks[8];
    for (int r = 0; r < 8; r++) marks[r] = UINT64_C(0x7ff4a77e57000000) + (uint64_t)r;
    uint64_t *at = marks;
    register void *argument __asm__("x0") = context;
    __asm__ volatile("ldp d8, d9, [%[at]]\n\tldp d10, d11, [%[at], 16]\n\t"
                     "ldp d12, d13, [%[at], 32]\n\tldp d14, d15, [%[at], 48]\n\t"
                     "blr %[function]\n\t"
                     "stp d8, d9, [%[at]]\n\tstp d10, d11, [%[at], 16]\n\t"
                     "stp d12, d13, [%[at], 32]\n\tstp d14, d15, [%[at], 48]"
                     : [at] "+&r"(at), "+&r"(argument), [function] "+&r"(function)
                     :
                     : "memory", "cc", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10",
                       "x11", "x12", "x13", "x14", "x15", "x16", "x17", "x18", "x30", "v0", "v1",
                       "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13",
                       "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24",
                       "v25", "v26", "v27", "v28", "v29", "v30", "v31");
    for (int r = 0; r < 8; r++)
        if (marks[r] != UINT64_C(0x7ff4a77e57000000) + (uint64_t)r) return names[r];
    return NULL;
}

bool registers_can_flush(void) { return true; }
bool registers_can_spoil(void) { return true; }

void registers_flush_subnormals(void)
{
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr\n\torr %0, %0, #(1 << 24)\n\tmsr fpcr, %0" : "=&r"(control));
}

void registers_spoil(void) { __asm__ volatile("fmov d8, xzr"); /* and does not say so */ }
