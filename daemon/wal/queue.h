/* Records on their way to the writer.
 *
 * Two arenas: appenders fill one, the writer has the other. An arena holds
 * groups almost as they will lie on disk, from the front, and references to
 * blobs from the back; blobs are spliced in when a group is written:
 *
 *   [header|records|pad][header|records...      free      ...ref][ref][ref]
 *
 * Space is claimed before a stripe is taken (queue_reserve); an append therefore
 * always finds room, allocates nothing and waits for nothing but the queue's
 * lock. All claims together, over both arenas, are at most bytes_max, so each
 * arena of that size is large enough. Arenas are mapped, not allocated: their
 * pages cost memory only once used, and are given back after a flood. */
#ifndef BRD_WAL_QUEUE_H
#define BRD_WAL_QUEUE_H

#include "base/clock.h"
#include "base/counter.h"
#include "base/lock.h"
#include "base/sequencer.h"
#include "wal/group.h"
#include "wal/reserve.h"
#include "wal/wal.h"

#include <stdatomic.h>

/* What a record may take in an arena beside its payload: a group header of its
 * own with padding, its frame, a reference to a blob. */
#define QUEUE_RECORD_OVERHEAD ((uint64_t)112)
#define QUEUE_GROUP_BLOBS_MAX 127 /* then the group is closed: its parts fit one call */

struct queue_blob {
    uint64_t at; /* offset in the arena of the byte that follows the blob */
    struct brd_blob *blob;
};

struct queue_arena {
    uint8_t *data; /* owned mapping */
    size_t room;
    size_t used;        /* bytes of groups */
    size_t blobs;       /* references at the back; the first is the last one */
    size_t group;       /* offset of the open group's header; SIZE_MAX: none open */
    size_t group_blobs; /* references of the open group */
    uint64_t claimed;   /* to be given back when it has been written */
    uint64_t records;
    uint64_t sync_version; /* the newest that somebody waits for to be synced */
    uint64_t sync_records; /* how many are waited for so */
};

struct queue {
    struct brd_mutex lock; /* BRD_RANK_WAL_QUEUE */
    struct brd_cond wake;  /* the writer */
    struct queue_arena arenas[2];
    struct queue_arena *pending; /* under lock, with all it holds */
    uint64_t base_version;       /* under lock: newest queued */
    bool closed;                 /* under lock: records are dropped */
    bool stopping;               /* under lock: nobody appends any more */
    bool nudged;                 /* under lock: wake though there is nothing to write */

    struct brd_sequencer *sequencer; /* borrowed */
    const struct brd_clock *clock;   /* borrowed */
    uint64_t bytes_max;
    uint64_t group_bytes_max;

    _Atomic bool idle;             /* the writer sleeps; written under lock, relaxed */
    _Atomic bool refusing;         /* closed, for those without the lock; relaxed */
    _Atomic uint64_t last_version; /* base_version, for those without the lock; release */
    _Atomic uint64_t claimed;      /* by reservations and records; seq_cst, with refused */
    _Atomic bool refused;          /* somebody got BRD_BUSY and wants to hear; seq_cst */
    /* What the disk allows (reserve.h): what is claimed begins at begin_lsn or above.
     * Relaxed: a claim that goes by the limits of a moment ago is one of that moment. */
    _Atomic uint64_t begin_lsn;
    _Atomic uint64_t limit_lsn[RESERVE_USES], record_max[RESERVE_USES];
    _Atomic bool no_wait; /* what is beyond them is refused, and need not wait for a look */
    _Atomic uint64_t hold_until_ns; /* an oversize record waits for an empty queue; relaxed */
    _Atomic uint64_t refusals;      /* relaxed */
    brd_counter records_queued;     /* under lock */
    brd_counter records_done;       /* the writer's: written or dropped */
};

/* bytes_max and group_bytes_max as in the options. Returns BRD_OK or
 * BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status
queue_init(struct queue *queue, struct brd_sequencer *sequencer, const struct brd_clock *clock,
           uint64_t bytes_max, uint64_t group_bytes_max);
void queue_fini(struct queue *queue);

/* brd_wal_reserve and brd_wal_reserve_removal; any thread. */
BRD_MUST_CHECK enum brd_status
queue_reserve(struct queue *queue, uint64_t bytes, enum reserve_use use);

/* The front functions of the same names; any thread. */
void queue_unreserve(struct queue *queue, uint64_t bytes);
uint64_t queue_append(struct queue *queue, uint64_t reserved, uint64_t now_ns,
                      const struct brd_wal_payload *payload, bool sync);
void queue_kick(struct queue *queue);

/* Let queue_take return, though there may be nothing to write. Any thread. */
void queue_nudge(struct queue *queue);

/* For the writer: wait up to timeout_ns for records, a nudge or the end, and
 * swap the arenas. NULL: nothing to write. *out_stopping: and never again. */
struct queue_arena *queue_take(struct queue *queue, uint64_t timeout_ns, bool *out_stopping);

/* For the writer: the arena has been written (or is dropped): unref the blobs,
 * give the space back, make it usable again. */
void queue_give_back(struct queue *queue, struct queue_arena *arena);

/* Where in the log what is claimed begins; the writer, or nobody appends yet. */
void queue_set_begin(struct queue *queue, uint64_t lsn);

/* What the disk allows from now on. no_wait: what is beyond that is refused; else a short record
 * may wait for the next look (BRD_BUSY). The thread that decides that. */
void queue_set_limits(struct queue *queue, const struct reserve_plan *plan, bool no_wait);

/* Was somebody refused since the last call? Then tell them to try again. */
bool queue_take_refused(struct queue *queue);

/* No more appends count: what comes is dropped. The writer still takes (and
 * drops) what was pending. */
void queue_close(struct queue *queue);

/* Has it been closed? Whoever has seen in memory what a dropped record did is told
 * so for certain: it was closed before. Any thread. */
bool queue_is_closed(const struct queue *queue);

/* The writer ends once everything is written. */
void queue_stop(struct queue *queue);

/* ---- The groups of an arena, for the writer ---- */

/* A place in an arena. */
struct queue_cursor {
    const struct queue_arena *arena;
    size_t offset; /* of the group's header */
    size_t blob;   /* references passed */
};

/* While a group is in an arena its header has base_version, last_version,
 * records and length filled in, and in `reserved` its bytes in the arena. */
struct group_header *queue_group(const struct queue_cursor *cursor);

/* The group's pieces, in order, blobs spliced in. Returns how many; at most
 * 2 * QUEUE_GROUP_BLOBS_MAX + 1. */
int queue_group_parts(const struct queue_cursor *cursor, size_t arena_bytes, struct iovec *parts);

/* On to the next group; false at the end. */
bool queue_next_group(struct queue_cursor *cursor, size_t arena_bytes);

#endif
