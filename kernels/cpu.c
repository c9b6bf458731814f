/* cpu.c: one test per ISA. The only file in kernels/ that asks the preprocessor about the CPU.
 *
 * On x86 the compiler's runtime reads CPUID and, through XGETBV, whether the operating system saves
 * the wide registers (GCC manual, "X86 Built-in Functions"). On Arm the kernel publishes it in
 * AT_HWCAP. */
#include "kernels/cpu.h"

#include <string.h>

#if defined(__x86_64__)

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}

static const struct {
    const char *isa;
    bool (*present)(void);
} tests[] = {
    {"avx2", has_avx2},
    {"avx512", has_avx512},
};

#elif defined(__aarch64__)

#include <asm/hwcap.h>
#include <sys/auxv.h>

static bool has_neon(void) { return getauxval(AT_HWCAP) & HWCAP_ASIMD; }
static bool has_sve(void) { return getauxval(AT_HWCAP) & HWCAP_SVE; }

static const struct {
    const char *isa;
    bool (*present)(void);
} tests[] = {
    {"neon", has_neon},
    {"sve", has_sve},
};

#else

static const struct {
    const char *isa;
    bool (*present)(void);
} tests[] = {{"", NULL}};

#endif

bool cpu_runs(const char *isa)
{
    if (strcmp(isa, "scalar") == 0 || strcmp(isa, "auto") == 0) return true;
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (strcmp(isa, tests[i].isa) == 0) return tests[i].present();
    return false;
}
