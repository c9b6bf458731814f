/* flash_sleef.c: flash.h with SLEEF's 2^x and tanh: what a library call in the inner loop costs. */
#include VEC_SLEEF_H

#include "kernels/portable/flash.h"

const attn_kernel KERNEL(flash_sleef) = {
    .name = "flash_sleef_" ISA_NAME,
    .isa = ISA_NAME,
    .summary = "flash with SLEEF's exp2 and tanh",
    .source = "Shibata and Petrogalli 2020 (SLEEF); otherwise as flash",
    .q_block = STRIPS * WIDTH,
    .q_step = VEC_LANES,
    .refuses = flash_refuses,
    .scratch_bytes = flash_scratch_bytes,
    .claims = flash_claims,
    .run = flash_run,
};
