/* Under which keys the files of the data directory are, and a change of the key while the
 * engine runs. */
#ifndef BRD_ENGINE_KEYS_H
#define BRD_ENGINE_KEYS_H

#include "base/lock.h"
#include "engine/engine.h"
#include "seal/seal.h"

#define KEYS_SHOWN_BYTES 17 /* half of an id as hex digits, with the NUL */

struct keys {
    _Atomic(const struct brd_keyring *) ring; /* borrowed; NULL: nothing is encrypted. Release
                                                 and acquire: what it points to is ready */
    _Atomic uint64_t pending;                 /* files under another key than the current one, when
                                                 they were last looked at; relaxed */

    struct brd_mutex lock; /* BRD_RANK_ENGINE: who looks at the files, and who changes the ring */
    uint64_t changes;      /* of the ring */
};

void keys_init(struct brd_engine *engine, const struct brd_keyring *ring);
void keys_fini(struct brd_engine *engine);

/* What files are written under from now on, and read; NULL: no key at all. Any thread. */
const struct brd_keyring *keys_ring(const struct brd_engine *engine);

/* Look at all files and count those under another key; says when there were some and are
 * none any more. Once the log is open. Any thread without locks. */
void keys_look(struct brd_engine *engine);

uint64_t keys_pending(const struct brd_engine *engine);

/* How often the ring was changed. Any thread without locks. */
uint64_t keys_changes(struct brd_engine *engine);

/* The first half of an id as people are shown it; "none" for zeros. */
void keys_show(const uint8_t *key_id, char out[KEYS_SHOWN_BYTES]);

#endif
