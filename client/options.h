/* Reading size-tagged option structs, as brindle.h promises. Pure. */
#ifndef BRINDLE_CLIENT_OPTIONS_H
#define BRINDLE_CLIENT_OPTIONS_H

#include <brindle.h>

/* Copy a caller's options into our own struct of own_size bytes.
 *
 * opts     NULL: all defaults. Its first member is a size_t that holds its size.
 * own      becomes zero beyond what the caller gave; written only on BRD_OK.
 * Returns  BRD_OK; BRD_INVALID_ARGUMENT: smaller than the size member itself;
 *          BRD_UNSUPPORTED: something is set beyond own_size. */
enum brd_status options_read(const void *opts, void *own, size_t own_size);

#endif
