/* test_vec_main.c: runs test_vec.c if this CPU can.   test_vec_<isa> ISA [STEP]
 *
 * STEP 1 takes every float of the domains of 2^x and tanh (a minute); the default is every 499th.
 */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/attention.h"
#include "kernels/test_vec.h"

int main(int argc, char **argv)
{
    const char *missing = argc > 1 ? attn_isa_missing(argv[1]) : "no ISA given";
    if (missing) {
        printf("skipped: %s\n", missing);
        return 77;
    }
    return test_vec(argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 499);
}
