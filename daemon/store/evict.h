/* Who goes when memory is full: marks in the entries, queues beside them.
 *
 * A mark has four bits. What it says depends on the keyspace's kind:
 *
 *   NONE     0
 *   QUEUES   0        in no queue
 *            1 - 6    in the small queue: parity * 3 + uses (0 to 2)
 *            7 - 14   in the main queue: parity * 4 + uses (0 to 3)
 *   AGES     0        not used since the policy was chosen
 *            1 - 15   the epoch in which it was last used
 *
 * A reader marks what it finds under the shared stripe, by a relaxed load and,
 * while the mark still changes, a relaxed store; everything else that changes
 * marks holds the stripe for writing. So a reader never undoes a move between
 * queues; of two readers at once one use may be lost.
 *
 * The policies and how they came to be are in evict.c and docs/store.md. */
#ifndef BRD_STORE_EVICT_H
#define BRD_STORE_EVICT_H

#include "base/counter.h"
#include "base/eviction.h"
#include "base/lock.h"
#include "store/entry.h"
#include "store/fifo.h"
#include "store/ghosts.h"

enum evict_kind { EVICT_KIND_NONE, EVICT_KIND_QUEUES, EVICT_KIND_AGES };

enum evict_queue_name { EVICT_SMALL, EVICT_MAIN, EVICT_NO_QUEUE };

#define EVICT_EPOCHS 15

/* The mark after one more use, four bits for each mark. */
#define EVICT_USED_ONCE_MORE UINT64_C(0xfeedcaa986653320)

/* Oldest first: swept, rest, fresh. Outside of a sweep all are in fresh. */
struct evict_queue {
    struct fifo swept; /* this sweep has looked at them and kept them */
    struct fifo rest;  /* it has still to look at */
    struct fifo fresh; /* pushed since it began */
    bool sweeping;
    uint32_t parity; /* of the marks of all but rest */
};

struct evict {
    _Atomic uint32_t kind;  /* written under switching, read under a stripe */
    _Atomic uint32_t epoch; /* AGES: 1 to EVICT_EPOCHS */
    _Atomic uint32_t policy;
    _Atomic uint64_t dice;
    unsigned shard_bits;

    struct brd_mutex lock __attribute__((aligned(BRD_CACHE_LINE))); /* BRD_RANK_QUEUES: below */
    struct evict_queue queues[2];
    struct ghosts small_ghosts;
    struct ghosts main_ghosts;
    struct fifo_chunk *spare;  /* owned; or NULL */
    struct fifo_chunk *doomed; /* owned; to be freed in slices */
    uint64_t small_share;      /* of all items, in 2^-32 */
    uint32_t near_small;       /* ghosts that came back soon, since the share was last moved */
    uint32_t near_main;
    bool lost;           /* an entry is in no queue, because memory was out */
    bool ghosts_due;     /* a victim found no room for ghosts: they are the maintainer's to make */
    uint64_t epoch_left; /* AGES: new keys until the next epoch */
    uint64_t epoch_length; /* in new keys */
    uint64_t victims;      /* of this epoch */
    uint64_t victim_ages;  /* their sum, in epochs */
    brd_counter bytes;     /* chunks and ghosts */
    brd_counter items[2];
    brd_counter ghost_hits;

    struct brd_mutex switching; /* BRD_RANK_EVICTION: below */
    bool walking;
    uint32_t walk_shard;
    uint64_t walk_position;
    uint64_t told_limit; /* under it shards below told_shard have told what they had gathered */
    uint32_t told_shard;
};

struct brd_keyspace;

void evict_init(struct evict *evict, unsigned shard_bits);

/* Nobody uses the keyspace any more. */
void evict_fini(struct brd_keyspace *keyspace);

/* A reader has found the entry. Its stripe is held, shared or not. */
static inline void
evict_hit(const struct evict *evict, struct brd_entry *entry)
{
    uint32_t kind = atomic_load_explicit(&evict->kind, memory_order_relaxed);
    uint32_t mark;
    uint32_t next;

    if (BRD_LIKELY(kind == EVICT_KIND_NONE))
        return;
    mark = entry_mark(entry);
    if (kind == EVICT_KIND_QUEUES)
        next = (uint32_t)(EVICT_USED_ONCE_MORE >> mark * 4) & ENTRY_MARK_MASK;
    else
        next = atomic_load_explicit(&evict->epoch, memory_order_relaxed);
    if (next != mark)
        entry_set_mark(entry, next);
}

/* An entry was put in the place of old (NULL: of none): see to its mark and its
 * queue. Its stripe is held for writing. Slow part below. */
void evict_put_slowly(struct brd_keyspace *keyspace, uint64_t hash, struct brd_entry *entry,
                      const struct brd_entry *old);

/* Everything in the keyspace was removed; all its stripes are held for writing. */
void evict_cleared(struct brd_keyspace *keyspace);

#endif
