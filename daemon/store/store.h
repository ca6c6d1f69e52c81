/* Memory only: keyspaces of entries in sharded hash tables under striped locks.
 *
 * A stripe locks; a shard holds. A keyspace (the data of one namespace) has a
 * power of two of shards, each under exactly one stripe. The store never reads
 * a clock, never logs and never calls up: the engine takes a guard, looks,
 * queues its log record, changes, and gives the guard back.
 *
 * Every change carries the version of its write. A reader learns, with what it
 * found or did not find, the newest version that the answer depends on. */
#ifndef BRD_STORE_STORE_H
#define BRD_STORE_STORE_H

#include "base/blob.h"
#include "base/bytes.h"
#include "base/eviction.h"
#include "base/hash.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct brd_store;
struct brd_keyspace;
struct brd_entry;

/* Values of at least this many bytes are counted blobs outside their entry. */
#define BRD_STORE_BLOB_MIN 16384

/* The longest key that an entry can have. */
#define BRD_STORE_KEY_MAX (UINT32_C(1) << 20)

#define BRD_STORE_STRIPES_MAX 65536

struct brd_store_options {
    uint32_t stripes;                  /* power of two, 1 to BRD_STORE_STRIPES_MAX; 0: 256 */
    const struct brd_hash_key *secret; /* NULL: random. Tests give one */
};

BRD_MUST_CHECK enum brd_status
brd_store_create(const struct brd_store_options *options, struct brd_store **out_store);
/* All keyspaces are gone, and every reference to a blob that was in them. */
void brd_store_destroy(struct brd_store **store);

uint32_t brd_store_stripes(const struct brd_store *store);

/* shards: power of two, at most the number of stripes; 0: as many as stripes. */
BRD_MUST_CHECK enum brd_status
brd_keyspace_create(struct brd_store *store, uint32_t shards, struct brd_keyspace **out_keyspace);
/* Frees everything in it. Nobody holds a guard. */
void brd_keyspace_destroy(struct brd_keyspace **keyspace);

/* The keyed hash of a key, for all calls below. Any thread. */
uint64_t brd_store_hash(const struct brd_store *store, struct brd_bytes key);

/* The stripe that guards a hash, below brd_store_stripes. Any thread. */
uint32_t brd_keyspace_stripe(const struct brd_keyspace *keyspace, uint64_t hash);

/* Hints, safe without any lock: bring the lock and the bucket (first), then the
 * likely entry (second) of a hash into the cache. Between the two there should
 * be the first ones of some other hashes. */
void brd_keyspace_prefetch(const struct brd_keyspace *keyspace, uint64_t hash);
void brd_keyspace_prefetch_entry(const struct brd_keyspace *keyspace, uint64_t hash);

/* ---- guards: stripes held ---- */

enum brd_guard_mode { BRD_GUARD_READ, BRD_GUARD_WRITE };

/* On the caller's stack; fields are the store's. */
struct brd_guard {
    struct brd_keyspace *keyspace;
    enum brd_guard_mode mode;
    uint32_t stripe;          /* the only one, where bitmap is NULL */
    uint64_t *bitmap;         /* owned: stripes held, one bit each */
    struct brd_entry *buried; /* owned: replaced entries, freed after unlocking */
};

/* Take the stripe of one hash. Any thread that holds none. */
void brd_guard_begin(struct brd_guard *guard, struct brd_keyspace *keyspace,
                     enum brd_guard_mode mode, uint64_t hash);

/* Take the stripes of n hashes, or of the whole keyspace (hashes NULL), in
 * rising order. BRD_OK or BRD_OUT_OF_MEMORY (then nothing is held). */
BRD_MUST_CHECK enum brd_status
brd_guard_begin_many(struct brd_guard *guard, struct brd_keyspace *keyspace,
                     enum brd_guard_mode mode, const uint64_t *hashes, size_t n);

/* Give all stripes back, then free what was replaced or removed. Large values
 * and whole tables go to the store's graveyard instead (brd_store_free_some). */
void brd_guard_end(struct brd_guard *guard);

/* What a key holds. Borrowed until the guard ends. */
struct brd_view {
    struct brd_bytes value;
    struct brd_blob *blob; /* where the value is one; take a reference to keep it */
    uint64_t version;
    uint64_t deadline_ms; /* Unix ms; 0: none */
};

/* Find the live value of a key under the guard.
 *
 * now_ms     an entry whose deadline is at or before it counts as absent.
 * out_view   what the key holds, on BRD_OK; else of no meaning.
 * out_seen   always written: the newest version that this answer depends on. For
 *            an entry its version; for an absence the version of an expired entry
 *            in its place, or of the shard's newest removal.
 * Returns    BRD_OK or BRD_NOT_FOUND. */
enum brd_status brd_guard_find(struct brd_guard *guard, uint64_t hash, struct brd_bytes key,
                               uint64_t now_ms, struct brd_view *out_view, uint64_t *out_seen);

/* ---- entries made ahead, so that nothing fails once a version is taken ---- */

/* A new entry for key. Exactly one of value and blob: a value of
 * BRD_STORE_BLOB_MIN or more must come as a blob, whose reference the entry
 * takes over (on failure the caller keeps it). has_deadline leaves room for a
 * deadline. NULL where memory is out. Best made before the guard. */
struct brd_entry *brd_entry_create(struct brd_bytes key, struct brd_bytes value,
                                   struct brd_blob *blob, bool has_deadline);

/* The same key and value as the one found under the guard (blobs are shared),
 * with or without room for a deadline. NULL where memory is out, or where the
 * key has no entry at all. */
struct brd_entry *brd_guard_copy_entry(struct brd_guard *guard, uint64_t hash, struct brd_bytes key,
                                       bool has_deadline);

/* An entry that was not put. NULL is fine. */
void brd_entry_discard(struct brd_entry **entry);

/* Make sure that the next put of this hash (with a deadline, if so said) cannot
 * fail for want of memory. BRD_OK or BRD_OUT_OF_MEMORY. Write guard. For several
 * puts under one guard call it before each version is taken, n times: claims of
 * one shard add up until they are used by puts or the guard ends. */
BRD_MUST_CHECK enum brd_status
brd_guard_reserve(struct brd_guard *guard, uint64_t hash, bool has_deadline);

/* Put an entry, replacing any other of its key. Takes the entry over.
 * deadline_ms 0: none (then the entry may or may not have room for one).
 * Write guard; reserved. Returns true where an entry, live or expired at now_ms,
 * was replaced by it that was live. */
bool brd_guard_put(struct brd_guard *guard, uint64_t hash, struct brd_entry *entry,
                   uint64_t version, uint64_t deadline_ms, uint64_t now_ms);

/* The entry of a key, if its value can be overwritten in place by one of
 * value_size bytes: it has no deadline and no blob, and a new one would take as
 * much memory. Else NULL. Write guard; good until the guard changes something. */
struct brd_entry *brd_guard_find_room(struct brd_guard *guard, uint64_t hash, struct brd_bytes key,
                                      size_t value_size);

/* Overwrite the value of an entry that brd_guard_find_room gave, which is as good
 * as putting a new one, for a third of the work: readers hold the stripe as long
 * as they look at an entry, so under the write guard nobody does. Cannot fail. */
void brd_guard_overwrite(struct brd_guard *guard, uint64_t hash, struct brd_entry *entry,
                         struct brd_bytes value, uint64_t version);

/* Remove the key's entry, live or expired. version: of the removal; where there
 * was an entry the shard remembers the newest. Write guard. True where a live
 * one was removed. */
bool brd_guard_remove(struct brd_guard *guard, uint64_t hash, struct brd_bytes key,
                      uint64_t version, uint64_t now_ms);

/* Detach everything in the keyspace (all its stripes are held for writing); the
 * entries go to the graveyard. Returns how many there were. */
uint64_t brd_guard_clear(struct brd_guard *guard, uint64_t version);

/* ---- expiry ---- */

/* A time at or below the earliest deadline in a shard, in ms; UINT64_MAX: there
 * is none. At that time brd_shard_reap has something to do, and afterwards it is
 * later than that. No lock: may be out of date by the changes under way. */
uint64_t brd_shard_next_deadline_ms(const struct brd_keyspace *keyspace, uint32_t shard);

/* Remove up to max expired entries of the shard, by and large the earliest
 * deadlines first; the shard's newest removal becomes at least the newest version
 * removed. Takes the shard's stripe for writing, in short slices: the caller
 * holds none. Returns how many; fewer than max: none is left. */
uint32_t
brd_shard_reap(struct brd_keyspace *keyspace, uint32_t shard, uint64_t now_ms, uint32_t max);

/* ---- eviction ---- */

/* What the limit for all keyspaces is, in bytes; 0: there is none. The store
 * refuses nothing by itself: it keeps its sum exact to within a 32nd of the
 * limit for each keyspace, and decides by it from when on to keep what its
 * policy needs. Any thread; tending the keyspaces brings it about. */
void brd_store_set_limit(struct brd_store *store, uint64_t bytes);

/* Choose who goes when memory is full; BRD_EVICTION_NONE at first. A keyspace
 * that holds nothing changes at once, another one while it is tended: until
 * then victims are found all the same, but less well. Any thread that holds no
 * stripe. */
void brd_keyspace_set_eviction(struct brd_keyspace *keyspace, enum brd_eviction policy);

enum brd_eviction brd_keyspace_eviction(const struct brd_keyspace *keyspace);

/* Do up to about max steps of what limit and policy need behind the caller: change
 * to another one, drop what names removed keys, follow the cache's size. Each step
 * holds one stripe for at most some ten entries. Returns steps done; fewer than
 * max: there is nothing more to do now. One thread, which holds no stripe. */
uint32_t brd_keyspace_tend_eviction(struct brd_keyspace *keyspace, uint32_t max);

/* An entry that may go. Borrowed until the guard ends. */
struct brd_victim {
    struct brd_bytes key;
    uint64_t hash;
    uint64_t version;
    uint64_t deadline_ms; /* 0: none. It may be past: then nothing is lost */
    uint64_t bytes;       /* what removing it will give back */
};

/* Find the entry that the policy gives up next, and take its stripe for writing.
 * The caller removes it, or spares it, and ends the guard.
 *
 * budget   steps that it may take, each of them short; lowered by those taken
 * Returns  BRD_OK: the guard is held; BRD_NOT_FOUND: nothing may be evicted;
 *          BRD_BUSY: the budget is used up, try again.
 * Any thread that holds no stripe. */
BRD_MUST_CHECK enum brd_status
brd_victim_find(struct brd_guard *guard, struct brd_keyspace *keyspace, uint32_t *budget,
                struct brd_victim *out_victim);

/* The victim of this guard stays after all. */
void brd_victim_spare(struct brd_guard *guard, const struct brd_victim *victim);

struct brd_eviction_info {
    enum brd_eviction policy;
    uint64_t small_items; /* in the queues of s3fifo, dead ones included */
    uint64_t main_items;
    uint64_t ghosts;         /* remembered at most */
    uint64_t ghost_hits;     /* keys put while they were ghosts */
    uint32_t small_permille; /* the share of the small queue as of now */
};

/* Any thread that holds no stripe. */
void
brd_keyspace_get_eviction(const struct brd_keyspace *keyspace, struct brd_eviction_info *out_info);

/* ---- looking at everything ---- */

uint32_t brd_keyspace_shards(const struct brd_keyspace *keyspace);

struct brd_walk_item {
    struct brd_bytes key;
    struct brd_view view;
};

/* Visit the entries of one shard, expired ones included, at most about max a
 * call, under its stripe for reading. *cursor begins at 0 and is 0 again when
 * the shard is done. An entry present throughout is visited at least once, also
 * when the table grows or shrinks between calls; may be visited twice then.
 * visit runs under the stripe: it copies, and neither waits nor calls back in. */
void brd_shard_walk(struct brd_keyspace *keyspace, uint32_t shard, uint64_t *cursor, uint32_t max,
                    void (*visit)(void *arg, const struct brd_walk_item *item), void *arg);

/* Entries, expired ones not yet reaped included. O(shards), no lock. */
uint64_t brd_keyspace_count(const struct brd_keyspace *keyspace);

/* The newest version of any change, removals included: what an answer about the
 * whole keyspace depends on. O(shards), no lock. */
uint64_t brd_keyspace_newest_removal(const struct brd_keyspace *keyspace);

struct brd_store_memory {
    uint64_t entries;         /* number */
    uint64_t with_deadline;   /* number */
    uint64_t data_bytes;      /* keys and values as the user sent them */
    uint64_t entry_bytes;     /* what the allocator gave for entries, without blobs */
    uint64_t blob_bytes;      /* the same for the blobs of entries */
    uint64_t held_bytes;      /* and for blobs that have lost their entry: not freed yet, or
                                 still being sent or logged */
    uint64_t table_bytes;     /* buckets and directories */
    uint64_t chunk_bytes;     /* of table_bytes and graveyard_bytes: pages from the system,
                                 not from the allocator */
    uint64_t deadline_bytes;  /* the order of deadlines */
    uint64_t fixed_bytes;     /* stripes, shards */
    uint64_t graveyard_bytes; /* entries and tables removed, not freed yet */
    uint64_t eviction_bytes;  /* queues and ghosts of eviction */
};

/* Sums over all keyspaces. O(shards), no lock: a moment's blur. */
void brd_store_get_memory(const struct brd_store *store, struct brd_store_memory *out_memory);

/* The sum of all bytes above but data_bytes and chunk_bytes, cheap (three loads),
 * late by at most 4 KiB a shard, and by at most a 32nd of the limit a keyspace. */
uint64_t brd_store_used_bytes(const struct brd_store *store);

/* The same without what was removed and is not freed yet, or is still being sent
 * or logged: what eviction can lower. */
uint64_t brd_store_live_bytes(const struct brd_store *store);

/* Bytes of blobs that have lost their entry: not freed yet, being sent, or being logged.
 * A few loads. */
uint64_t brd_store_held_bytes(const struct brd_store *store);

/* Bytes of pages that tables had and have no more, and that the system has not
 * been given back. Cheap; any thread. */
uint64_t brd_store_idle_bytes(const struct brd_store *store);

/* ---- behind the caller ---- */

/* Free up to max large values that were removed; tables wait for the one thread
 * below. Returns how many. Any thread that holds no stripe. */
uint32_t brd_store_free_large(struct brd_store *store, uint32_t max);

/* Whether anything waits to be freed. No lock. */
bool brd_store_has_graves(const struct brd_store *store);

/* Free up to max entries of the graveyard. Returns how many; 0: it is empty.
 * One thread. */
uint32_t brd_store_free_some(struct brd_store *store, uint32_t max);

#endif
