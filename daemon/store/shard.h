/* One part of a keyspace: table, deadlines, counters. Never locks: the caller
 * holds its stripe, for reading or for writing as said; the counters alone may
 * be read without. */
#ifndef BRD_STORE_SHARD_H
#define BRD_STORE_SHARD_H

#include "store/expiry.h"
#include "store/table.h"

/* What all shards of a store share. */
struct shard_env {
    struct brd_hash_key secret;
    _Atomic int64_t report_bytes; /* relaxed; shards gather no more than that; read by all puts */
    struct arena arena;
    _Atomic uint64_t used_bytes;      /* relaxed; shards add what they have gathered */
    _Atomic uint64_t blob_bytes;      /* relaxed; large values, until their last reference goes */
    _Atomic uint64_t live_blob_bytes; /* relaxed; of these, what entries have */
};

struct shard {
    struct table table;
    brd_counter newest_removal; /* version; written under the stripe, like all */
    brd_counter newest_change;  /* version of any put or removal */
    brd_counter next_deadline;  /* ms; at or below the earliest; UINT64_MAX: none */
    brd_counter entries;
    brd_counter with_deadline;
    brd_counter data_bytes;
    brd_counter entry_bytes; /* without blobs */
    brd_counter expiry_bytes;
    brd_counter blob_bytes; /* of entries; a blob that outlives its entry is env's alone */
    int64_t unreported;     /* bytes not yet added to env's used_bytes */
    struct expiry *expiry;  /* owned; NULL while there is no deadline */
} __attribute__((aligned(BRD_CACHE_LINE)));

/* Bytes of everything but entries. */
static inline uint64_t
shard_table_bytes(const struct shard *shard)
{
    return brd_counter_get(&shard->table.bytes) + brd_counter_get(&shard->expiry_bytes);
}

/* small: as for table_init. */
void shard_init(struct shard *shard, struct dir *small);

/* Frees all entries and reports all bytes. For writing. */
void shard_fini(struct shard *shard, struct shard_env *env);

/* As brd_guard_reserve. For writing. */
bool shard_reserve(struct shard *shard, struct shard_env *env, bool has_deadline);

/* Forget what was reserved and not used. For writing. */
void shard_release_slowly(struct shard *shard, struct shard_env *env);

static inline void
shard_release(struct shard *shard, struct shard_env *env)
{
    shard->table.claims = 0;
    if (BRD_UNLIKELY(shard->table.spares > TABLE_SPARES_KEPT ||
                     (brd_counter_get(&shard->entries) == 0 && shard_table_bytes(shard) > 0)))
        shard_release_slowly(shard, env);
}

/* As brd_guard_put and brd_guard_remove. The entry that is replaced or removed
 * is returned to the caller, or NULL; out_was_live tells what it was. */
struct brd_entry *
shard_put(struct shard *shard, struct shard_env *env, uint64_t hash, struct brd_entry *entry,
          uint64_t version, uint64_t deadline_ms, uint64_t now_ms, bool *out_was_live);

/* Give an entry of the shard that has room (entry_has_room) another value. For
 * writing. */
void shard_overwrite(struct shard *shard, struct brd_entry *entry, struct brd_bytes value,
                     uint64_t version);

struct brd_entry *
shard_remove(struct shard *shard, struct shard_env *env, uint64_t hash, struct brd_bytes key,
             uint64_t version, uint64_t now_ms, bool *out_was_live);

/* Take expired entries out, at most max, and put them on *chain. Looks at no
 * more than max and some others. Returns how many; *out_done: none is left. */
uint32_t shard_reap(struct shard *shard, struct shard_env *env, uint64_t now_ms, uint32_t max,
                    struct brd_entry **chain, bool *out_done);

/* An entry whose deadline comes next or nearly so, or NULL where none has one.
 * For writing. */
struct brd_entry *shard_nearest(struct shard *shard);

/* A shard's content on its way to the graveyard. */
struct shard_rest {
    struct table table;
    uint64_t entries;
    uint64_t bytes; /* entries, without blobs, and table */
};

/* Move all entries into out_rest, whose table has the small directory given.
 * Versions as for a removal. For writing. */
void shard_detach(struct shard *shard, struct shard_env *env, uint64_t version,
                  struct shard_rest *out_rest, struct dir *out_small);

/* The same, but free everything at once: where there is no memory for a grave. */
void shard_empty(struct shard *shard, struct shard_env *env, uint64_t version);

/* Report what has gathered to env's used_bytes. */
static inline void
shard_report(struct shard *shard, struct shard_env *env)
{
    atomic_fetch_add_explicit(&env->used_bytes, (uint64_t)shard->unreported, memory_order_relaxed);
    shard->unreported = 0;
}

#endif
