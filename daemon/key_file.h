/* The key file that the configuration names, read at the start and at each reload. */
#ifndef BRD_DAEMON_KEY_FILE_H
#define BRD_DAEMON_KEY_FILE_H

#include "config.h"
#include "seal/seal.h"

/* All rings that the engine was ever given: it may use each until its end. Zeros: none. */
struct key_rings {
    struct brd_keyring **rings; /* owned, and what they point to; the current one last */
    size_t count;
};

/* Read the file, if the configuration names one. Returns BRD_OK; BRD_INVALID_ARGUMENT (the
 * file cannot be read, or is no key file: error says it); BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status
key_file_load(struct key_rings *keys, const struct config *config, struct config_error *error);

/* Read it again, as a fresh configuration names it, and let a running engine take it over.
 * The same keys change nothing. Returns as key_file_load and brd_engine_set_keys; on an error the
 * engine goes on with the keys that it had. */
BRD_MUST_CHECK enum brd_status
key_file_reload(struct key_rings *keys, const struct config *fresh, struct brd_engine *engine,
                struct config_error *error);

/* The ring in use; NULL: none. */
const struct brd_keyring *key_file_ring(const struct key_rings *keys);

/* The engine is gone. */
void key_file_close(struct key_rings *keys);

#endif
