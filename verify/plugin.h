/* plugin.h: a kernel from a shared library. */
#ifndef VERIFY_PLUGIN_H
#define VERIFY_PLUGIN_H

#include <stddef.h>

#include "kernels/attention.h"

/* A worker_open: loads the library whose path is `context` and returns its kernel, or NULL and why
 * not. Only for workers: what a library does while it is loaded is not under our control. */
const attn_kernel *plugin_open(const void *context, char *reason, size_t size);

#endif
