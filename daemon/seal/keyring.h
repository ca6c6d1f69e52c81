/* The master keys, for the rest of seal/. */
#ifndef BRD_SEAL_KEYRING_H
#define BRD_SEAL_KEYRING_H

#include "seal/seal.h"

#define MASTER_BYTES 32

struct master {
    uint8_t key[MASTER_BYTES];
    uint8_t id[BRD_SEAL_ID_BYTES];
};

struct brd_keyring {
    size_t count; /* at least 1 */
    size_t room;
    bool plain;              /* none of them is current */
    bool only;               /* what is under none is refused; not with plain */
    struct master masters[]; /* otherwise the current one first */
};

/* The key of this id, or NULL. Borrowed. */
const struct master *keyring_find(const struct brd_keyring *ring, const uint8_t *key_id);

#endif
