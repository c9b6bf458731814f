/* isa.c: which instruction sets may be used in this process, and why not the others?
 *
 * Three things speak: the build table (was it compiled?), the CPU (cpu.c), and the environment
 * variable ATTEST_ISA, which names the last row of the table that may be used. All are asked once,
 * by the first caller, so that a later change of the environment changes no result. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/cpu.h"

#pragma GCC visibility push(default)

static const attn_isa isas[] = {
#define ISA(name, cpu_family, built) {#name, cpu_family, built},
#include "kernels/isa_list.h"
#undef ISA
};
enum { ISAS = sizeof isas / sizeof *isas };

static char missing[ISAS][160]; /* why not; empty = may be used */
static attn_error cap_error;    /* empty = ATTEST_ISA is unset or legal */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The row that ATTEST_ISA names; the last row if it is unset, and if it is wrong, with cap_error
 * set. */
static int read_cap(const char *name)
{
    for (int i = 0; i < ISAS; i++)
        if (!name || (isas[i].built && strcmp(isas[i].name, name) == 0)) return name ? i : ISAS;
    int used = snprintf(cap_error.text, sizeof cap_error.text,
                        "ATTEST_ISA is \"%.40s\"; legal in this build:", name);
    const char *comma = "";
    for (int i = 0; i < ISAS; i++) {
        if (!isas[i].built) continue;
        used += snprintf(cap_error.text + used, sizeof cap_error.text - (size_t)used, "%s %s",
                         comma, isas[i].name);
        comma = ",";
    }
    return ISAS;
}

static void find_missing(void)
{
    const char *name = getenv("ATTEST_ISA");
    int cap = read_cap(name);
    for (int i = 0; i < ISAS; i++) {
        char *why = missing[i];
        if (cap_error.text[0]) snprintf(why, sizeof missing[i], "%.150s", cap_error.text);
        else if (!isas[i].built)
            snprintf(why, sizeof missing[i], "not in this build, it needs the CPU family %s",
                     isas[i].cpu_family);
        else if (i > cap)
            snprintf(why, sizeof missing[i], "ATTEST_ISA=%s caps the instruction set below %s",
                     name, isas[i].name);
        else cpu_runs(isas[i].name, why, sizeof missing[i]);
    }
}

const attn_isa *attn_isas(int *count)
{
    *count = ISAS;
    return isas;
}

const char *attn_isa_missing(const char *isa)
{
    pthread_once(&once, find_missing);
    for (int i = 0; i < ISAS; i++)
        if (strcmp(isas[i].name, isa) == 0) return missing[i][0] ? missing[i] : NULL;
    return "unknown instruction set";
}

attn_status attn_isa_cap(attn_error *error)
{
    pthread_once(&once, find_missing);
    if (error) *error = cap_error;
    return cap_error.text[0] ? ATTN_INVALID : ATTN_OK;
}

#pragma GCC visibility pop
