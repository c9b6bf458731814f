/* attest_plugin.h: a kernel of your own in a shared library, for `attest verify --plugin`.
 *
 * Include attention.h first. The library exports attest_plugin_get(), which returns a struct that
 * says how it was built; attest refuses what does not match its own. verify/README.md leads through
 * it; scripts/example_plugin.c is a whole plug-in. */
#ifndef ATTEST_PLUGIN_H
#define ATTEST_PLUGIN_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { ATTEST_PLUGIN_VERSION = 1 };

typedef struct attest_plugin {
    uint32_t version;                 /* ATTEST_PLUGIN_VERSION */
    uint32_t problem_bytes;           /* sizeof(attn_problem) */
    uint32_t tensors_bytes;           /* sizeof(attn_tensors) */
    uint32_t kernel_bytes;            /* sizeof(attn_kernel) */
    const struct attn_kernel *kernel; /* lives as long as the library is loaded;
                                         its isa: "auto", or what attn_isa_missing knows */
} attest_plugin;

/* Exported by the plug-in. */
__attribute__((visibility("default"))) const attest_plugin *attest_plugin_get(void);

#ifdef __cplusplus
}
#endif
#endif
