/* A hash table that grows and shrinks by one bucket at a time (linear hashing).
 *
 * Never locks: the caller holds the shard's stripe, for reading or writing as
 * said. Hints alone run without it. */
#ifndef BRD_STORE_TABLE_H
#define BRD_STORE_TABLE_H

#include "base/counter.h"
#include "base/hash.h"
#include "store/arena.h"
#include "store/bucket.h"

#define TABLE_CHUNK_BUCKETS (ARENA_CHUNK_BYTES / sizeof(struct bucket))
#define TABLE_CHUNK_SHIFT   6
#define TABLE_DIR_SHIFT     (TABLE_CHUNK_SHIFT + 9) /* buckets under one full directory */
#define TABLE_SMALL_DIR     4                       /* chunks that need no directory */
#define TABLE_FIRST_BUCKETS 4
#define TABLE_BUCKETS_MAX   (UINT32_C(1) << 31) /* what directories of directories reach */
#define TABLE_SPARES_KEPT   2

static_assert(1 << TABLE_CHUNK_SHIFT == TABLE_CHUNK_BUCKETS, "a chunk");
static_assert(1 << (TABLE_DIR_SHIFT - TABLE_CHUNK_SHIFT) == ARENA_DIR_MAX, "a directory");

/* Entries for each bucket, in halves: above the first the table grows, below
 * the second it shrinks. */
#define TABLE_LOAD_GROW   13
#define TABLE_LOAD_SHRINK 6

struct table {
    _Atomic uint32_t buckets;   /* release, pairs with the hint's acquire */
    uint32_t mask;              /* smallest 2^k - 1 that holds buckets - 1 */
    _Atomic(struct dir *) dir;  /* chunks 0 to 511; never NULL; release, as above */
    _Atomic(struct dir *) root; /* directories of the chunks behind; or NULL */
    /* The first chunk while it is a whole one of the arena, else NULL: dir's
     * first place may hold a smaller block, which hints must not touch. */
    _Atomic(struct bucket *) first;
    struct bucket *spare; /* chained by their last places */
    uint32_t spares;
    uint32_t claims;     /* puts that were promised a spare bucket */
    uint32_t first_room; /* buckets in the first block */
    struct dir *small;   /* the owner's; dir while it suffices */
    brd_counter bytes;   /* of all that it has */
};

static_assert(offsetof(struct table, bytes) == BRD_CACHE_LINE, "find reads one line of it");

/* Bits of the hash. The lowest 16 choose shard and stripe. */
static inline uint32_t
hash_bucket_bits(uint64_t hash)
{
    return (uint32_t)(hash >> 16);
}

static inline uint8_t
hash_tag(uint64_t hash)
{
    uint8_t tag = (uint8_t)(hash >> 56);

    return tag == 0 ? 1 : tag;
}

/* The place of an entry. */
struct table_spot {
    struct bucket *bucket;
    unsigned place;
};

/* small: a directory of TABLE_SMALL_DIR places, all NULL, that outlives it. */
void table_init(struct table *table, struct dir *small);

/* Detach everything from the table into out_table (whose small directory is
 * filled); table is as after table_init. For writing. */
void table_move(struct table *table, struct table *out_table, struct dir *out_small);

/* Give back everything; no entries are in it. For writing. */
void table_clear(struct table *table, struct arena *arena);

/* Make sure of a spare bucket for one more insert, and grow by what is due for
 * entries in all. False where memory is out. For writing. */
bool table_reserve(struct table *table, struct arena *arena, const struct brd_hash_key *secret,
                   uint64_t entries);

/* Give back spare buckets beyond a few that no claim needs. For writing. */
void table_drop_spares(struct table *table);

/* Put an entry whose key is not in the table. Reserved. For writing. */
void table_insert(struct table *table, uint64_t hash, struct brd_entry *entry);

/* Take out what is at the spot; entries: how many are left. For writing. */
void table_remove(struct table *table, struct arena *arena, uint64_t hash, struct table_spot spot,
                  uint64_t entries);

/* Take an entry out of the bucket with this number, or NULL; in whatever order;
 * the table does not shrink. For emptying a detached one. */
struct brd_entry *table_take(struct table *table, uint32_t number);

/* Visit one bucket: the position follows the bits of the hash in reversed
 * order, so that what a position has passed stays passed whatever the table's
 * size. *position begins at 0; 1 << 32 is the end. Returns entries visited. For
 * reading. */
uint32_t table_visit(const struct table *table, uint64_t *position,
                     void (*visit)(void *arg, const struct brd_entry *entry), void *arg);

/* Length of the longest chain of buckets (1: nothing chained). For tests and
 * statistics; for reading. */
uint32_t table_longest_chain(const struct table *table);

static inline uint32_t
table_buckets(const struct table *table)
{
    return atomic_load_explicit(&table->buckets, memory_order_relaxed);
}

static inline uint32_t
table_number(uint32_t bits, uint32_t buckets, uint32_t mask)
{
    uint32_t number = bits & mask;

    return number < buckets ? number : number & mask >> 1;
}

static inline struct bucket *
table_bucket(const struct table *table, uint32_t number)
{
    const struct dir *dir;
    struct bucket *chunk;

    if (BRD_LIKELY(number >> TABLE_DIR_SHIFT == 0)) {
        dir = atomic_load_explicit(&table->dir, memory_order_relaxed);
    } else {
        dir = atomic_load_explicit(&table->root, memory_order_relaxed);
        dir = atomic_load_explicit(&dir->at[(number >> TABLE_DIR_SHIFT) - 1], memory_order_relaxed);
    }
    chunk = atomic_load_explicit(&dir->at[number >> TABLE_CHUNK_SHIFT & (ARENA_DIR_MAX - 1)],
                                 memory_order_relaxed);
    return &chunk[number % TABLE_CHUNK_BUCKETS];
}

/* The entry of a key, or NULL, and where it is. For reading. Always inline: so a
 * reader pays nothing for the spot. */
static inline __attribute__((always_inline)) struct brd_entry *
table_find(const struct table *table, uint64_t hash, struct brd_bytes key,
           struct table_spot *out_spot)
{
    uint32_t buckets = table_buckets(table);
    uint8_t tag = hash_tag(hash);
    struct bucket *bucket;

    if (BRD_UNLIKELY(buckets == 0))
        return NULL;
    bucket = table_bucket(table, table_number(hash_bucket_bits(hash), buckets, table->mask));
    do {
        unsigned mask = bucket_match(bucket, tag);

        for (; mask != 0; mask &= mask - 1) {
            unsigned place = (unsigned)__builtin_ctz(mask);
            struct brd_entry *entry = bucket_entry(bucket, place);

            if (BRD_LIKELY(entry_has_key(entry, key))) {
                *out_spot = (struct table_spot){ bucket, place };
                return entry;
            }
        }
        bucket = bucket_next(bucket);
    } while (BRD_UNLIKELY(bucket != NULL));
    return NULL;
}

/* Without any lock: bring the hash's bucket (first) or its likely entry (then)
 * into the cache. */
void table_hint_bucket(const struct table *table, uint64_t hash);
void table_hint_entry(const struct table *table, uint64_t hash);

#endif
