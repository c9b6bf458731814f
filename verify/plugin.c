/* plugin.c: dlopen, and everything that can be asked of a stranger's struct before it is called. */
#include "verify/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "verify/attest_plugin.h"

/* The part of the plug-in that does not fit this attest, or NULL. */
static const char *mismatch(const attest_plugin *p)
{
    if (!p) return "attest_plugin_get() returned NULL";
    if (p->version != ATTEST_PLUGIN_VERSION) return "its version is not the one of this attest";
    if (p->problem_bytes != sizeof(attn_problem)) return "its attn_problem has another size";
    if (p->tensors_bytes != sizeof(attn_tensors)) return "its attn_tensors has another size";
    if (p->kernel_bytes != sizeof(attn_kernel)) return "its attn_kernel has another size";
    return p->kernel ? NULL : "its kernel is NULL";
}

static const char *incomplete(const attn_kernel *k)
{
    if (!k->name || !k->name[0]) return "the kernel has no name";
    if (!k->isa) return "the kernel has no isa";
    if (!k->refuses || !k->scratch_bytes || !k->claims || !k->run)
        return "one of refuses, scratch_bytes, claims, run is NULL";
    if (k->q_block < 0) return "q_block is negative";
    return attn_isa_missing(k->isa); /* "scalar" and "auto" run everywhere */
}

const attn_kernel *plugin_open(const void *context, char *reason, size_t size)
{
    const attest_plugin *(*get)(void) = NULL;
    void *library = dlopen(context, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(reason, size, "cannot load the plug-in: %.150s", dlerror());
        return NULL;
    }
    void *symbol = dlsym(library, "attest_plugin_get");
    if (symbol) memcpy(&get, &symbol, sizeof get);
    const attest_plugin *plugin = get ? get() : NULL;
    const char *wrong = get ? mismatch(plugin) : "it exports no attest_plugin_get";
    if (!wrong) wrong = incomplete(plugin->kernel);
    if (!wrong) return plugin->kernel;
    snprintf(reason, size, "cannot use the plug-in: %s", wrong);
    return NULL;
}
