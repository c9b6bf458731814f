/* flash.c: flash.h with our own 2^x and tanh. */
#include "kernels/portable/vec_math.h"

#include "kernels/portable/flash.h"

const attn_kernel KERNEL(flash) = {
    .name = "flash_" ISA_NAME,
    .isa = ISA_NAME,
    .summary = "register tiles, lanes are queries, online softmax, own exp and tanh",
    .source = "Milakov and Gimelshein 2018; Dao et al. 2022; lanes are queries",
    .q_block = STRIPS * WIDTH,
    .q_step = VEC_LANES,
    .refuses = flash_refuses,
    .scratch_bytes = flash_scratch_bytes,
    .claims = flash_claims,
    .run = flash_run,
};
