/* From queued to written to synced: the log's threads and what they publish. */
#ifndef BRD_WAL_COMMIT_H
#define BRD_WAL_COMMIT_H

#include "base/counter.h"
#include "base/lock.h"
#include "wal/gather.h"
#include "wal/latency.h"
#include "wal/meta.h"
#include "wal/queue.h"
#include "wal/reserve.h"
#include "wal/retain.h"
#include "wal/sealing.h"
#include "wal/segment.h"
#include "wal/spare.h"

#include <pthread.h>

/* What the threads count; each field has one writer. */
struct commit_counters {
    brd_counter records, bytes, groups; /* writer */
    brd_counter sync_records;           /* ... of records: somebody waits for their sync */
    brd_counter syncs;                  /* syncer */
    brd_counter sync_gathers;           /* ... that waited for company */
    brd_counter sync_last_us, sync_max_us;
    struct latency sync_times;
};

struct commit {
    /* Set before the threads start, then constant. All borrowed. */
    const struct brd_io *io;
    const char *dir;
    const struct brd_clock *clock;
    struct brd_sequencer *sequencer;
    struct queue *queue;
    uint64_t segment_bytes;
    uint64_t sync_interval_ns;
    void (*on_progress)(void *arg);
    void (*on_written)(void *arg); /* or NULL: on_progress */
    void *arg;
    uint64_t (*snapshot_bytes)(void *arg); /* or NULL */
    void *snapshot_arg;
    uint32_t epoch;
    uint8_t uuid[16];

    struct brd_mutex lock;      /* BRD_RANK_WAL_STATE */
    struct brd_cond sync_wake;  /* the syncer */
    struct brd_cond files_wake; /* the preparer, and the writer when it waits for it */
    struct brd_cond turn_done;  /* whoever waits for a rotation, a release or a sync */

    /* Under lock. */
    const struct brd_keyring *keys; /* borrowed: what is begun is under its current key */
    uint8_t meta_keys[2][16];       /* under which the slots of meta are */
    bool meta_all_sealed[2];        /* which of them say that nothing is plain */
    bool all_sealed;                /* what both are to say */
    struct segment *current;        /* owned; its `end` is the writer's alone */
    struct segment *sealed;         /* owned list: full, not yet synced; oldest first */
    struct segment **sealed_tail;
    struct segment *next;  /* owned: prepared */
    struct segment *taken; /* the writer's: it was next, and is current soon */
    uint64_t next_number;
    struct spares spares;   /* what the next ones are made of */
    bool keep_spares;       /* false: no file is used again, and what is released goes */
    bool using_spare;       /* the preparer has one that is not in the list */
    int next_error;         /* of the last preparation; 0: none */
    uint64_t next_asks;     /* how often the writer has asked for one */
    uint64_t next_failed;   /* ... when the failed preparation began */
    bool writer_waits;      /* for the next segment, or... */
    bool rotation_waits;    /* ... the rotation that was asked for does */
    uint64_t sync_wanted;   /* newest version somebody waits for */
    uint64_t gather_target; /* sync_records, before which the syncer is not to be woken */
    bool stop_syncer, stop_preparer;
    struct retention retention;      /* of begun segments, the current one included */
    uint64_t rotations;              /* that were asked for and are over */
    uint64_t rotate_version;         /* written first: queued when it was asked for */
    int rotate_error;                /* of the last of them; 0: none */
    struct brd_wal_position rotated; /* where the last of them was */
    uint64_t release_version;        /* what is at or below it need not be kept */
    uint64_t releases_asked;         /* for that to be looked at ... */
    uint64_t releases_done;          /* ... and how many of them are over */
    bool left_behind;                /* some segments below the first one could not be removed */
    unsigned waiting;                /* threads in turn_done */
    bool interrupted;                /* they are to give up */

    struct reserve reserve; /* decided on by the preparer */

    /* The syncer's alone while it runs. */
    struct meta meta;
    struct brd_seal *meta_seal;          /* owned; NULL: meta is not signed */
    const struct brd_keyring *meta_ring; /* of which that is the current key */
    int meta_fd;
    uint64_t seen_beat;
    struct gather gather;
    uint64_t stored_ns;   /* when meta was last stored, monotonic */
    uint64_t stored_last; /* newest version issued then */
    bool idle;            /* ... and none since the time before */

    struct sealing sealing; /* the writer's alone */

    _Atomic uint64_t used_ns;   /* see brd_wal_note_time; relaxed */
    _Atomic bool hurry;         /* the writer waits for the next segment; relaxed */
    _Atomic bool rotate_wanted; /* the writer is to begin a new segment; relaxed */

    /* Published with release under lock, read with acquire by anybody. */
    _Atomic uint64_t written_version, written_lsn;
    _Atomic uint64_t synced_version, synced_lsn;
    _Atomic uint64_t fresh_ns; /* nothing written before this moment is unsynced; relaxed */
    _Atomic bool poisoned;
    _Atomic bool sync_failed;                       /* of a segment or of meta */
    _Atomic uint64_t write_errors, sync_errors;     /* relaxed */
    _Atomic uint64_t segments, segment_bytes_total; /* relaxed */
    _Atomic uint64_t spare_count;                   /* relaxed; as in spares */

    _Atomic uint64_t writer_beat; /* relaxed */
    _Atomic uint64_t heartbeat;   /* relaxed; moves when both threads do */

    struct commit_counters counters;
    pthread_t writer, syncer, preparer;
    bool writer_runs, syncer_runs, preparer_runs;
};

#define COMMIT_TICK_NS (UINT64_C(200) * BRD_NS_PER_MS) /* threads look around so often */

/* Tell whoever listens that something has moved. No lock held. */
void commit_notify(struct commit *commit);

bool commit_is_poisoned(const struct commit *commit);

/* Is only the disk's reserve left? Any thread. */
bool commit_is_low(const struct commit *commit);

/* Is it low, or so little left above the reserve that checkpoints are made for it
 * (engine/checkpoint.c)? Then room is worth more than spares. Any thread. */
bool commit_is_short(const struct commit *commit);

/* The list of spares has changed. Caller holds the lock. */
void commit_note_spares(struct commit *commit);

/* The syncer's thread; arg: the commit. */
void *commit_syncer(void *arg);

/* Remove what lies below the first segment that is needed; what cannot be removed is tried again
 * at the next release. Before the threads run, or the syncer. */
void commit_drop_below(struct commit *commit, uint64_t first);

/* The bound for versions that meta should promise now, and whether it must be
 * moved. */
uint64_t commit_ceiling(const struct commit *commit);

/* Note the clock's reading, or the time that is used, in meta (not stored yet),
 * where it is the newest. */
void commit_note_time(struct commit *commit);

/* Start the threads. commit->current, meta and the published positions are set.
 * Returns BRD_OK or BRD_OUT_OF_MEMORY (none is left running then). */
BRD_MUST_CHECK enum brd_status commit_start(struct commit *commit);

/* Write and sync what is queued, end the threads. */
void commit_stop(struct commit *commit);

/* Look at the disk and decide what it allows (reserve.h). Returns the size of the segment
 * that is to be prepared, or 0. Gives the lock up for a moment. The preparer, or
 * before it runs; commit->current is NULL before the first segment. */
uint64_t commit_look_at_disk(struct commit *commit) BRD_REQUIRES(&commit->lock);

/* A checkpoint is over, or the reserve is to be another one: look soon. Any thread. */
void commit_disk_changed(struct commit *commit);

/* Somebody waits for version to be synced; any thread. */
void commit_want_sync(struct commit *commit, uint64_t version);

/* The front functions of the same names; any thread, one at a time. */
BRD_MUST_CHECK enum brd_status
commit_rotate(struct commit *commit, struct brd_wal_position *out_position);
BRD_MUST_CHECK enum brd_status commit_wait_synced(struct commit *commit, uint64_t version);
BRD_MUST_CHECK enum brd_status commit_release(struct commit *commit, uint64_t version);
void commit_interrupt(struct commit *commit);
BRD_MUST_CHECK enum brd_status commit_drop_spares(struct commit *commit);
BRD_MUST_CHECK enum brd_status
commit_set_keys(struct commit *commit, const struct brd_keyring *keys);
BRD_MUST_CHECK enum brd_status commit_note_sealed(struct commit *commit);
bool commit_is_under(struct commit *commit, const uint8_t *key_id);

/* Let others see what meta says of keys; for whoever has stored it. */
void commit_publish_meta(struct commit *commit);

/* Nothing is written any more: reports it once, closes the queue. Any thread,
 * no lock held. */
void commit_poison(struct commit *commit, const char *action, const char *path, int result);

#endif
