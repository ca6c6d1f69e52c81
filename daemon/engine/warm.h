/* What a cache that is not logged keeps over an orderly stop. */
#ifndef BRD_ENGINE_WARM_H
#define BRD_ENGINE_WARM_H

#include "engine/core.h"

/* Write all entries that have not expired into one file, durably. Nobody executes any more; the
 * log still runs. Says how it went; a failure costs what would have stayed, and leaves no
 * file. Does nothing where options.warm does not ask for it. */
void warm_write(struct brd_engine *engine);

/* Fill the store, which is empty, from that file, where the last stop left one and options.warm asks
 * for it. The log is open and has been replayed, and is not started. A file that cannot be used
 * is a warning, and the store empty. Returns BRD_OK, BRD_SHUTTING_DOWN (told to stop: the
 * file is as it was), or BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status
warm_load(struct brd_engine *engine, struct brd_engine_error *out_error);

/* The log has started, and with it an epoch in which that file does not count: remove it,
 * durably, whatever the options say. Failing is a warning. */
void warm_discard(struct brd_engine *engine);

#endif
