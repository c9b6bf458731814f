/* cpu.c: one test per ISA. The only file in kernels/ that asks the preprocessor about the CPU.
 *
 * On x86 CPUID says what the CPU has, and XCR0 which registers the operating system saves (Intel
 * SDM volume 1, 13.3 and 14.3): only both together make an instruction usable. On Arm the kernel
 * publishes its own view in AT_HWCAP, and the length of an SVE vector through prctl (Linux,
 * Documentation/arm64/sve.rst). */
#include "kernels/cpu.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)

#include <cpuid.h>
#include <stdint.h>

/* Bits of XCR0: xmm and ymm; with them the mask registers, the upper halves of zmm0-15, zmm16-31 */
enum { SAVES_AVX = 0x06, SAVES_AVX512 = 0xe6 };

static const struct {
    const char *isa;
    unsigned leaf1_ecx, leaf7_ebx, xcr0;
    const char *instructions, *registers; /* as a reader knows them */
} tests[] = {
    {"avx2", bit_AVX | bit_FMA, bit_AVX2, SAVES_AVX, "AVX2 or FMA", "AVX"},
    {"avx512", bit_AVX | bit_FMA,
     bit_AVX2 | bit_AVX512F | bit_AVX512VL | bit_AVX512BW | bit_AVX512DQ, SAVES_AVX512,
     "AVX-512 F, VL, BW or DQ", "AVX-512"},
};

static unsigned read_xcr0(void)
{
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

static bool test(size_t t, char *why, size_t size)
{
    unsigned a, b, c, d, leaf1_ecx = 0, leaf7_ebx = 0;
    if (__get_cpuid(1, &a, &b, &c, &d)) leaf1_ecx = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) leaf7_ebx = b;
    if (tests[t].leaf1_ecx & ~leaf1_ecx || tests[t].leaf7_ebx & ~leaf7_ebx) {
        snprintf(why, size, "this CPU lacks %s", tests[t].instructions);
        return false;
    }
    if (leaf1_ecx & bit_OSXSAVE && !(tests[t].xcr0 & ~read_xcr0())) return true;
    snprintf(why, size, "the operating system does not save the %s registers", tests[t].registers);
    return false;
}

#elif defined(__aarch64__)

#include <asm/hwcap.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

static const struct {
    const char *isa;
    int sve_bits; /* the width this row is compiled for; 0 = needs no SVE */
} tests[] = {
    {"neon", 0},     {"sve128", 128},   {"sve256", 256},
    {"sve512", 512}, {"sve1024", 1024}, {"sve2048", 2048},
};

static bool test(size_t t, char *why, size_t size)
{
    unsigned long needs = tests[t].sve_bits ? HWCAP_SVE : HWCAP_ASIMD;
    if (!(getauxval(AT_HWCAP) & needs)) {
        snprintf(why, size, "this CPU lacks %s, or the operating system hides it",
                 tests[t].sve_bits ? "SVE" : "Advanced SIMD");
        return false;
    }
    int length = tests[t].sve_bits ? prctl(PR_SVE_GET_VL) : 0;
    int bits = length > 0 ? 8 * (length & PR_SVE_VL_LEN_MASK) : 0;
    if (bits == tests[t].sve_bits) return true;
    snprintf(why, size, "the SVE vectors of this CPU are %d bits, not %d", bits, tests[t].sve_bits);
    return false;
}

#else

static const struct {
    const char *isa;
} tests[] = {{""}};

static bool test(size_t t, char *why, size_t size)
{
    (void)t;
    snprintf(why, size, "this CPU family has no test in cpu.c");
    return false;
}

#endif

bool cpu_runs(const char *isa, char *why, size_t size)
{
    if (strcmp(isa, "scalar") == 0 || strcmp(isa, "auto") == 0) return true;
    for (size_t t = 0; t < sizeof tests / sizeof *tests; t++)
        if (strcmp(isa, tests[t].isa) == 0) return test(t, why, size);
    snprintf(why, size, "cpu.c has no test for it");
    return false;
}
