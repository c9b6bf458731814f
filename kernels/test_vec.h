/* test_vec.h: the tests of one ISA's vec.h; every step-th float goes through 2^x and tanh. */
#ifndef KERNELS_TEST_VEC_H
#define KERNELS_TEST_VEC_H

#include <stdint.h>

int test_vec(uint32_t step);

#endif
