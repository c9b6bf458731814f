/* environment.c: floating-point modes, signal mask, file descriptors and heap around a call.
 *
 * Modes are tested by what they do to sums and products, not read from a register: on x86-64 the
 * x87 and SSE units have one each, and libm reads only the first. */
#include "verify/environment.h"

#include <fenv.h>
#include <malloc.h>
#include <poll.h>

enum { FILES_WATCHED = 256 };

static int open_files(void)
{
    struct pollfd files[FILES_WATCHED];
    int count = 0;
    for (int f = 0; f < FILES_WATCHED; f++) files[f] = (struct pollfd){.fd = f};
    poll(files, FILES_WATCHED, 0); /* a descriptor that is not open answers POLLNVAL */
    for (int f = 0; f < FILES_WATCHED; f++) count += !(files[f].revents & POLLNVAL);
    return count;
}

size_t environment_heap(void)
{
    struct mallinfo2 heap = mallinfo2();
    return heap.uordblks + heap.hblkhd;
}

environment environment_now(void)
{
    environment e = {.files = open_files()};
    sigprocmask(SIG_SETMASK, NULL, &e.signals);
    return e;
}

static bool rounds_to_nearest(void)
{
    volatile float one = 1, tiny = 0x1p-30f;
    return one + tiny == 1 && -one - tiny == -1 && one - tiny == 1;
}

static bool keeps_subnormals(void)
{
    volatile float smallest = 0x1p-126f, half = 0.5f, subnormal = 0x1p-140f, large = 0x1p60f;
    return smallest * half != 0 && subnormal * large != 0;
}

void environment_compare(const check *c, const environment *before, verify_report *r)
{
    environment after = environment_now();
    if (!rounds_to_nearest()) check_fail(c, r, VERIFY_ROUNDING, "it left another rounding mode");
    if (!keeps_subnormals())
        check_fail(c, r, VERIFY_SUBNORMALS, "it left subnormals flushed to zero");
    fesetenv(FE_DFL_ENV);
    for (int s = 1; s < NSIG; s++)
        if (sigismember(&before->signals, s) != sigismember(&after.signals, s)) {
            check_fail(c, r, VERIFY_SIGNALS, "it left signal %d %s", s,
                       sigismember(&after.signals, s) ? "blocked" : "unblocked");
            sigprocmask(SIG_SETMASK, &before->signals, NULL);
            break;
        }
    if (after.files != before->files)
        check_fail(c, r, VERIFY_FILES, "open files before: %d, after: %d", before->files,
                   after.files);
}
