/* What is too large to be freed by whoever removed it: entries with large
 * values, and whole tables. */
#ifndef BRD_STORE_GRAVEYARD_H
#define BRD_STORE_GRAVEYARD_H

#include "store/shard.h"

/* Entries whose blob has at least this many bytes are not freed on the spot. */
#define GRAVEYARD_BLOB_MIN ((size_t)256 << 10)

struct grave; /* the content of some shards */

struct graveyard {
    struct brd_mutex lock;     /* BRD_RANK_FREER; guards the two lists */
    struct brd_entry *entries; /* owned; chained */
    struct grave *graves;      /* owned */
    struct grave *current;     /* owned; of the thread that frees */
    _Atomic uint64_t bytes;    /* relaxed */
};

void graveyard_init(struct graveyard *graveyard);

/* Frees everything at once. */
void graveyard_fini(struct graveyard *graveyard, struct arena *arena);

/* Free a chain of entries now, but for those with large values. Any thread,
 * without a stripe. */
void graveyard_take_entries(struct graveyard *graveyard, struct brd_entry **chain);

/* An empty grave for the content of up to shards shards, or NULL. */
struct grave *grave_create(uint32_t shards);

/* Detach a shard's content into the grave. For writing. */
void grave_add(struct grave *grave, struct shard *shard, struct shard_env *env, uint64_t version);

/* Hand a grave over. Any thread; a stripe may be held. */
void graveyard_take_grave(struct graveyard *graveyard, struct grave *grave);

/* As brd_store_free_large. */
uint32_t graveyard_free_entries(struct graveyard *graveyard, uint32_t max);

/* Whether anything is in it. No lock. */
static inline bool
graveyard_is_busy(const struct graveyard *graveyard)
{
    return atomic_load_explicit(&graveyard->bytes, memory_order_relaxed) > 0;
}

/* As brd_store_free_some. */
uint32_t graveyard_free_some(struct graveyard *graveyard, struct arena *arena, uint32_t max);

#endif
