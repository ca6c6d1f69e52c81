/* Secrets from the kernel. */
#ifndef BRD_BASE_RANDOM_H
#define BRD_BASE_RANDOM_H

#include <stddef.h>

/* Fill out with size bytes from getrandom(2). Waits, once after boot, until
 * the kernel has entropy; cannot fail on a kernel that Brindle supports.
 * Threads: any. */
void brd_random_fill(void *out, size_t size);

#endif
