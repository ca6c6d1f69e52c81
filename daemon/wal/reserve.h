/* The disk reserve: space that is kept for a checkpoint, because nothing else gives
 * the log's space back.
 *
 * Only two things of the log take space: a segment that is prepared, and a record that
 * is larger than its segment. So whoever decides on the first, and on how far records
 * may reach, decides on all. One thread does (the preparer, commit.c), whenever it has
 * something to prepare, space was given back, and five times a second besides. It looks
 * at the file system, and from that and nothing else follows:
 *
 *   open   Segments are prepared as large as the reserve allows. Records may be queued
 *          up to a position in the log: what segments have, and a quarter of the free space
 *          above the reserve (a quarter, because groups leave gaps at the ends of segments, and
 *          because what they add also makes a snapshot larger, and so the reserve).
 *   low    Only the reserve is left. Records that add something are refused; those that
 *          remove something may use half of the reserve. A segment is prepared, as small
 *          as may be, where a checkpoint wants to begin one or the writer has none left.
 *
 *   open -> low    no segment is prepared and the smallest would eat into the reserve, or
 *                  somebody else did (not while a checkpoint does: it is what that is for)
 *   low -> open    the smallest segment fits above the reserve
 *
 * Nobody waits for either: who is refused is told so at once, who was parked because the
 * queue was full is woken by the queue, and a change back needs no call but a look. Only a
 * short record that comes before the next look, while the disk is not low, waits for that
 * look (queue_reserve): it comes within a fifth of a second, whatever anybody does.
 *
 * reserve_decide is a pure function; the rest is what it reads and what is published. */
#ifndef BRD_WAL_RESERVE_H
#define BRD_WAL_RESERVE_H

#include "base/file.h"
#include "wal/wal.h"

#include <stdatomic.h>

/* A segment is never smaller than that, unless the option says so. */
#define RESERVE_SEGMENT_MIN (UINT64_C(1) << 20)

/* What a record does to the data. */
enum reserve_use {
    RESERVE_ADD,
    RESERVE_REMOVE, /* a delete, a clear, an eviction: how room is made */
    RESERVE_USES
};

/* What a decision is made from. */
struct reserve_view {
    uint64_t free_bytes, total_bytes; /* of the file system; total 0: nobody knows */
    uint64_t wanted;                  /* the option: bytes, 0 or BRD_WAL_RESERVE_AUTO */
    uint64_t needed;                  /* what a snapshot would take */
    uint64_t taken;                   /* what the one under way has; 0: none is */
    uint64_t segment_bytes;           /* of a segment, where there is room */
    uint64_t lsn;                     /* where the log ends */
    uint64_t rest_bytes;              /* of the current segment, behind that */
    uint64_t next_bytes;              /* of the prepared one; 0: there is none */
    bool asked;                       /* somebody waits for the next one */
    bool low;                         /* as things were */
};

struct reserve_plan {
    bool low;
    uint64_t reserve_bytes;
    uint64_t least_bytes;   /* of a segment */
    uint64_t prepare_bytes; /* size of the next segment; 0: not now */
    /* UINT64_MAX: no limit. */
    uint64_t limit_lsn[RESERVE_USES];  /* queued records may reach so far */
    uint64_t record_max[RESERVE_USES]; /* ... and one of them have so many bytes */
};

void reserve_decide(const struct reserve_view *view, struct reserve_plan *out_plan);

/* What is read by one thread and published for all; relaxed. */
struct reserve {
    _Atomic uint64_t wanted;        /* as in the view; anybody's */
    _Atomic uint64_t taken;         /* likewise; anybody's */
    _Atomic uint64_t free_bytes;    /* as last seen */
    _Atomic uint64_t total_bytes;   /* likewise; 0: not known */
    _Atomic uint64_t reserve_bytes; /* as decided last, likewise the next two */
    _Atomic uint64_t least_bytes;   /* 0: not decided yet */
    _Atomic uint64_t next_bytes;
    _Atomic bool low;
    bool told_low; /* the deciding thread's: what the messages have said */
};

/* Ask the file system of dir. Where it does not answer, what it said last holds. Any
 * thread, no lock. */
void reserve_measure(struct reserve *reserve, const struct brd_io *io, const char *dir);

/* Fill in of the view what is kept in reserve (not: needed), decide, publish. The deciding thread. */
void
reserve_update(struct reserve *reserve, struct reserve_view *view, struct reserve_plan *out_plan);

/* One message at each change. The deciding thread, no lock held. */
void reserve_tell(struct reserve *reserve, const char *dir);

#endif
