/* What a store and its keyspaces are made of: for the files that work on all
 * shards of a keyspace. */
#ifndef BRD_STORE_KEYSPACE_H
#define BRD_STORE_KEYSPACE_H

#include "store/evict.h"
#include "store/graveyard.h"
#include "store/stripe.h"

/* What every operation reads has a cache line of its own, without the sums that
 * writes change. */
struct brd_store {
    struct stripes stripes;
    struct shard_env env __attribute__((aligned(BRD_CACHE_LINE)));
    struct graveyard graveyard;
    _Atomic uint64_t limit;         /* bytes; 0: none; relaxed but for tell_all */
    struct brd_mutex lock;          /* BRD_RANK_FREER; guards what follows */
    struct brd_keyspace *keyspaces; /* list */
    uint32_t next_offset;
};

struct brd_keyspace {
    struct shard *shards; /* owned */
    uint32_t shard_mask;
    uint32_t offset;
    uint32_t stripe_mask;
    struct brd_store *store;
    struct dir **small; /* owned; for each shard its first directory, in one block */
    uint64_t fixed_bytes;
    struct evict evict;
    struct brd_keyspace *next;
    struct brd_keyspace *before;
};

static inline struct shard *
shard_of(const struct brd_keyspace *keyspace, uint64_t hash)
{
    return &keyspace->shards[(uint32_t)hash & keyspace->shard_mask];
}

/* The stripe of a shard or, since a shard's number is the hash's lowest bits, of
 * a hash. */
static inline uint32_t
stripe_of(const struct brd_keyspace *keyspace, uint64_t hash)
{
    return (((uint32_t)hash & keyspace->shard_mask) + keyspace->offset) & keyspace->stripe_mask;
}

#endif
