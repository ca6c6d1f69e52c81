/* The write-ahead log: an append-only sequence of opaque payloads, each with a
 * version, committed in groups by one thread and synced by another.
 *
 * The log owns the data directory: its lock, `meta` (identity, epoch, ceiling
 * of issued versions) and `wal/` (segments). It knows nothing of keys.
 *
 * Positions are versions: payloads lie in the log in the order of their
 * versions, so "written up to V" and "synced up to V" say everything.
 *
 * Life: open (lock, read meta and segment headers), replay once, start (new
 * epoch, new segment, threads), append from any thread, stop (drain and sync),
 * close. A log that was opened can be closed at any stage. */
#ifndef BRD_WAL_WAL_H
#define BRD_WAL_WAL_H

#include "base/blob.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/durability.h"
#include "base/file.h"
#include "base/sequencer.h"
#include "base/status.h"
#include "seal/seal.h"

struct brd_wal;

struct brd_wal_options {
    const char *dir;                 /* the data directory; made if absent; borrowed until close */
    const struct brd_io *io;         /* disk calls; NULL: the real ones */
    struct brd_clock *clock;         /* borrowed until close */
    struct brd_sequencer *sequencer; /* borrowed until close; start() raises it */
    uint64_t segment_bytes;          /* size of a new segment file; 0: 64 MiB */
    uint64_t queue_bytes_max;        /* records waiting for the writer; 0: 64 MiB */
    uint64_t group_bytes_max;        /* a group is closed at this size; 0: 1 MiB */
    uint64_t sync_interval_ns;       /* written data is synced within this; 0: 1 s */
    bool no_spares;                  /* as after brd_wal_drop_spares, from the beginning */
    uint64_t disk_reserve_bytes;     /* as brd_wal_set_disk_reserve */
    bool read_only;                  /* tools: no lock, no change to any file; no start() */
    const struct brd_keyring *keys;  /* borrowed until close; what is written is under the current
                                        one. NULL: none; what is encrypted cannot be read */

    /* Called from the log's own threads with no lock held, whenever written or
     * synced have moved, queue space came free for somebody who was refused, or
     * the log was poisoned. Must not block. May be NULL. */
    void (*on_progress)(void *arg);
    /* Likewise where nothing but written has moved, so that nobody is woken for it who waits
     * for a sync. NULL: on_progress. */
    void (*on_written)(void *arg);
    void *arg;

    /* What a snapshot would take by now: a checkpoint of the caller's needs that much of the
     * disk. Called as above, and by start. May be NULL: nothing. */
    uint64_t (*snapshot_bytes)(void *arg);
    void *snapshot_arg;
};

/* What went wrong, for a person: a sentence, and where. */
struct brd_wal_error {
    char text[512];
    char path[512];
    uint64_t offset; /* bytes into path, where that has a meaning */
};

/* What replay met. */
struct brd_wal_report {
    uint64_t records;
    uint64_t bytes;         /* of valid groups */
    uint64_t first_version; /* 0: none */
    uint64_t last_version;
    uint32_t segments;
    bool torn; /* the log ended in a group that was never whole */
    char torn_path[512];
    uint64_t torn_offset;
    uint64_t torn_bytes; /* dropped behind torn_offset; zeros and earlier lives not counted */
};

struct brd_wal_stats {
    uint64_t records, bytes, groups, syncs, sync_errors, write_errors;
    uint64_t queue_bytes, queue_records, queue_waits; /* waits: reservations refused */
    uint64_t segments, segment_bytes_total;
    uint64_t spares, spare_bytes; /* files of released segments, kept to be used again */
    uint64_t written_version, synced_version, last_version; /* last: newest queued */
    uint64_t sync_last_us, sync_max_us;
    uint64_t sync_p50_us, sync_p99_us, sync_p999_us; /* 1/8 too large at most; 0: there were none */
    uint64_t sync_gathers; /* of syncs: had waited for who had just been answered (gather.h) */
    uint64_t sync_age_ms;  /* since the last finished sync; 0: nothing unsynced */
    uint64_t disk_free_bytes, disk_reserve_bytes; /* as last seen; free 0: or not known */
    bool disk_low;
    uint32_t epoch;
    bool poisoned;
};

/* Open the log of a data directory, or make a new one.
 *
 * out_error    filled on failure.
 * Returns      BRD_OK; BRD_BUSY (another daemon holds the directory); BRD_CORRUPT
 *              (damage: error names file and offset; nothing was changed);
 *              BRD_WRONG_KEY (a file is under a key that options->keys lacks: error names
 *              it and the key; nothing was changed, not even the lock's content);
 *              BRD_UNSUPPORTED (a newer format); BRD_NOT_FOUND (read_only, and there
 *              is no log); BRD_IO_ERROR; BRD_DISK_FULL; BRD_OUT_OF_MEMORY.
 * Threads      one. */
BRD_MUST_CHECK enum brd_status
brd_wal_open(const struct brd_wal_options *options, struct brd_wal **out_wal,
             struct brd_wal_error *out_error);

/* Called for each payload in the order of versions. payload is borrowed for the
 * call. done and total are bytes of log, for progress. Anything but BRD_OK ends
 * the replay with that status. */
typedef enum brd_status (*brd_wal_replay_fn)(void *arg, uint64_t version, struct brd_bytes payload,
                                             uint64_t done, uint64_t total);

/* Read everything, once, before start. A torn tail is reported, not an error.
 * Returns BRD_OK, BRD_CORRUPT, BRD_IO_ERROR (EIO while reading is never taken
 * for the end), BRD_OUT_OF_MEMORY, or what fn returned. */
BRD_MUST_CHECK enum brd_status
brd_wal_replay(struct brd_wal *wal, brd_wal_replay_fn fn, void *arg,
               struct brd_wal_report *out_report, struct brd_wal_error *out_error);

/* Sync what was replayed, raise the epoch, move the ceiling, raise the sequencer
 * above everything ever issued, begin a new segment, start the threads. After
 * BRD_OK every replayed version counts as written and synced. */
BRD_MUST_CHECK enum brd_status brd_wal_start(struct brd_wal *wal, struct brd_wal_error *out_error);

/* Write and sync what is queued, record the orderly stop, end the threads.
 * Returns BRD_OK, or BRD_IO_ERROR where the log is or becomes poisoned. Nobody
 * appends any more. */
BRD_MUST_CHECK enum brd_status brd_wal_stop(struct brd_wal *wal);

/* Release everything; stops first if started (ignoring the result). */
void brd_wal_close(struct brd_wal **wal);

#define BRD_WAL_RECORD_MAX (UINT64_C(1) << 30) /* bytes of one payload, blob included */

/* Claim queue space for one record before taking a stripe.
 *
 * bytes     upper bound of the payload, blobs included.
 * Returns   BRD_OK; BRD_BUSY: the queue is full, or what is free on the disk has to
 *           be looked at first: park the connection and try again after on_progress
 *           (a record larger than the whole queue is admitted alone); BRD_READ_ONLY: poisoned; BRD_TOO_LARGE: above
 *           BRD_WAL_RECORD_MAX; BRD_DISK_FULL: the disk has no room for it above
 *           the reserve; BRD_OUT_OF_MEMORY: only for a record larger than the whole
 *           queue.
 * Threads   any; takes a short lock or none. */
BRD_MUST_CHECK enum brd_status brd_wal_reserve(struct brd_wal *wal, uint64_t bytes);

/* The same for a record that only removes something, which is how room is made: it may
 * use half of the disk reserve. */
BRD_MUST_CHECK enum brd_status brd_wal_reserve_removal(struct brd_wal *wal, uint64_t bytes);

/* Give a claim back that was not used. */
void brd_wal_unreserve(struct brd_wal *wal, uint64_t bytes);

/* One payload: head, then the blob if any, then tail. */
struct brd_wal_payload {
    struct brd_bytes head; /* copied */
    struct brd_blob *blob; /* NULL, or referenced by the queue until written */
    struct brd_bytes tail; /* copied */
};

/* Take a version and queue the payload as one step, so that log order is
 * version order. Cannot fail: the space was reserved.
 *
 * reserved   what brd_wal_reserve was given; at least the payload's size.
 * now_ns     the caller's clock reading.
 * sync       somebody will wait for it to be synced: do not leave it to the
 *            interval.
 * Returns    the version. If the log has been poisoned meanwhile the record is
 *            dropped: its version never becomes written.
 * Threads    any; callers hold the stripes of the write. */
BRD_MUST_CHECK uint64_t brd_wal_append(struct brd_wal *wal, uint64_t reserved, uint64_t now_ns,
                                       const struct brd_wal_payload *payload, bool sync);

/* Wake the writer for what was appended. Once per batch; cheap if it is awake.
 * Any thread, no stripe held. */
void brd_wal_kick(struct brd_wal *wal);

/* Ask that everything queued by now is synced soon. Any thread. */
void brd_wal_want_sync(struct brd_wal *wal, uint64_t version);

/* The newest version V such that every record up to V is acknowledged under the
 * class: async: queued; normal: written, or synced where the last sync is older
 * than twice the sync interval; full: synced. The one place that says so.
 * For normal the answer can fall back to synced while syncs are late or after
 * one failed. Any thread; no lock. */
uint64_t brd_wal_committed(const struct brd_wal *wal, enum brd_durability class_);

/* ---- Giving up what something else keeps ---- */

/* A place in the log. */
struct brd_wal_position {
    uint64_t version; /* the newest before it */
    uint64_t lsn;     /* bytes of groups before it, ever */
    uint64_t records; /* written before it by this process */
};

/* Begin a new segment, unless the current one is empty and under the current key: what is
 * written from now on is above out_position->version, and what was queued before the call is at or
 * below. Waits for the writer. Returns BRD_OK, BRD_READ_ONLY (poisoned), BRD_SHUTTING_DOWN
 * (interrupted), or BRD_DISK_FULL or BRD_IO_ERROR where no segment could be
 * prepared: the log goes on in the old one. One thread at a time may be in this
 * and the next two. */
BRD_MUST_CHECK enum brd_status
brd_wal_rotate(struct brd_wal *wal, struct brd_wal_position *out_position);

/* Wait until everything up to version is synced. Returns BRD_OK, BRD_READ_ONLY or
 * BRD_SHUTTING_DOWN. BRD_OK also says that nothing in memory is missing in the log: what
 * the caller has seen there before the call was not dropped. */
BRD_MUST_CHECK enum brd_status brd_wal_wait_synced(struct brd_wal *wal, uint64_t version);

/* Something else keeps, durably, all that was written up to version: remove the
 * segments that hold nothing else, and wait for that. A few of their files stay, under
 * another name, to become segments again, where there is no keyring. A file that cannot be
 * removed is a warning, and tried again the next time. Returns as brd_wal_wait_synced. */
BRD_MUST_CHECK enum brd_status brd_wal_release(struct brd_wal *wal, uint64_t version);

/* What was released must really go: no file of the log is used again from now on, those that
 * are kept for that are removed before this returns, and later releases keep none. What the
 * log itself has may hold bytes of an earlier life behind its end, until a rotation and a
 * release after this. Durable on return. Once started; one thread at a time.
 * Returns BRD_OK, or the status of the first file that could not be removed. */
BRD_MUST_CHECK enum brd_status brd_wal_drop_spares(struct brd_wal *wal);

/* From now on nobody waits in the three above. Any thread. */
void brd_wal_interrupt(struct brd_wal *wal);

/* ---- The disk reserve: space that is kept for a checkpoint (reserve.h) ---- */

/* What a snapshot takes, an eighth more and two segments, but no more than half of the file
 * system. */
#define BRD_WAL_RESERVE_AUTO UINT64_MAX

/* Keep so many bytes of the file system free: with less, brd_wal_reserve answers
 * BRD_DISK_FULL, until there is space again. 0: none are kept, and a full disk is a failed
 * write. Any thread. */
void brd_wal_set_disk_reserve(struct brd_wal *wal, uint64_t bytes);

/* What the checkpoint under way has written (0: none is under way): the reserve is there for
 * it. Once open; any thread, no lock held. */
void brd_wal_note_checkpoint(struct brd_wal *wal, uint64_t written);

/* Is only the reserve left? Any thread; no lock. */
bool brd_wal_disk_is_low(const struct brd_wal *wal);

/* The file system of the data directory. */
struct brd_wal_disk {
    uint64_t free_bytes, total_bytes; /* total 0: not known */
    uint64_t reserve_bytes;
    uint64_t least_bytes; /* of a segment */
    uint64_t begin_bytes; /* what a checkpoint takes beside its snapshot: one, or 0 where
                             there is one that is prepared */
    bool low;
};

/* Ask it now. Any thread that may wait for a disk. */
void brd_wal_get_disk(struct brd_wal *wal, struct brd_wal_disk *out_disk);

/* Under which key is a file? key_id: zeros: it is not encrypted; NULL: it does not tell.
 * Anything but 0 ends the listing. */
typedef int (*brd_wal_key_fn)(void *arg, const char *path, const uint8_t *key_id);

/* Call fn for each segment that was begun and each slot of meta, as they are on the disk now.
 * Of a running log too. Returns 0, -errno, or what else fn returned. Any thread. */
BRD_MUST_CHECK int
brd_wal_list_keys(const struct brd_io *io, const char *dir, brd_wal_key_fn fn, void *arg);

/* Every version that replay gives is above it; 0 where the log goes back to its
 * beginning. Once open, until start. */
uint64_t brd_wal_base_version(const struct brd_wal *wal);

/* Other keys, after start. What is begun from now on is under the current one of keys, and soon
 * after both slots of meta are; the segment that is being written stays under its own until it
 * is full, or until brd_wal_rotate. keys must hold all keys that are in use, or be NULL where
 * none is; they are borrowed until close, as all that were given before stay. Where the current
 * one is `plain`, meta no longer says that all is encrypted (below) on return, and no plain file may
 * be made sooner: BRD_READ_ONLY or BRD_SHUTTING_DOWN where that cannot be stored, and nothing is
 * changed then. One thread at a time, any, in this and the next. */
BRD_MUST_CHECK enum brd_status
brd_wal_set_keys(struct brd_wal *wal, const struct brd_keyring *keys);

/* No file of the directory that is not the log's is plain, says the caller. Where no segment
 * is, and there is a current key, meta says so from now on, durably and in both
 * slots: a plain file is damage then. Returns BRD_OK (also where it is not so, or was said already),
 * BRD_READ_ONLY or BRD_SHUTTING_DOWN. */
BRD_MUST_CHECK enum brd_status brd_wal_note_sealed(struct brd_wal *wal);

/* Did meta say so when the log was opened, or does the ring that it was opened with (only)? Of a new
 * directory meta does, where there is a key. */
bool brd_wal_all_sealed(const struct brd_wal *wal);

/* Are all segments that were begun, and both slots of meta, under the key of this id (zeros: not
 * encrypted)? After start all but segments of earlier lives are under the current key of the
 * options' ring, and a release removes those. Any thread, once open; while start runs, none. */
bool brd_wal_is_under(struct brd_wal *wal, const uint8_t *key_id);

/* Where the writer is. Any thread; lsn and records are of one moment each. */
struct brd_wal_position brd_wal_written(const struct brd_wal *wal);

/* A write or sync failed: nothing will be written any more. Any thread. */
bool brd_wal_poisoned(const struct brd_wal *wal);

/* Newest version queued (0: none since the start of time). Any thread. */
uint64_t brd_wal_last_version(const struct brd_wal *wal);

/* Rises by one with every start on this directory. Before start: that of the last one, for
 * certain once the log has been replayed. */
uint32_t brd_wal_epoch(const struct brd_wal *wal);

/* The newest time that the directory held when it was opened, in Unix
 * ns; a few seconds old after a crash; 0: a new directory. Any thread. */
uint64_t brd_wal_time_ns(const struct brd_wal *wal);

/* The caller goes by this time (Unix ns), whatever the clock says by now: what
 * brd_wal_time_ns will give after a restart is not below it, or a few seconds
 * below it after a crash. One thread at a time. */
void brd_wal_note_time(struct brd_wal *wal, uint64_t time_ns);

/* The directory's identity, 16 bytes; borrowed until close. */
struct brd_bytes brd_wal_uuid(const struct brd_wal *wal);

/* Progress of the threads, for the watchdog: a number that changes at least
 * every second while the log is healthy, whether or not there is work. */
uint64_t brd_wal_heartbeat(const struct brd_wal *wal);

void brd_wal_get_stats(const struct brd_wal *wal, struct brd_wal_stats *out_stats);

/* Set the counters of the statistics to zero; gauges stay. */
void brd_wal_reset_stats(struct brd_wal *wal);

/* ---- For offline tools: what the reader behind replay sees ---- */

struct brd_wal_identity {
    uint8_t uuid[16];
    uint32_t epoch;
    uint64_t generation; /* of meta */
    uint64_t ceiling;
    uint64_t first_segment, newest_segment;
    uint64_t synced_lsn, last_version;
    uint32_t slot;          /* of the two in meta (0, 1), the one that says this */
    bool other_damaged;     /* the other one: it may have been one store newer */
    bool clean;             /* the last stop was orderly */
    bool all_sealed;        /* no file of the directory is plain */
    uint8_t key_ids[2][16]; /* under which the two slots of meta are; zeros: not encrypted */
};

struct brd_wal_segment_view {
    const char *path;
    uint64_t number;
    uint64_t file_bytes;
    uint64_t start_lsn, synced_lsn, base_version;
    uint64_t created_ns; /* wall clock */
    uint32_t epoch;
    const uint8_t *key_id; /* 16 bytes; zeros: not encrypted */
};

struct brd_wal_group_view {
    const struct brd_wal_segment_view *segment;
    uint64_t offset; /* in the file */
    uint64_t bytes;
    uint64_t lsn, synced_lsn;
    uint64_t base_version, last_version;
    uint32_t records;
};

/* Called in the order of the log; each may be NULL. What they get is borrowed
 * for the call. Anything but BRD_OK ends the visit with that status. */
struct brd_wal_visitor {
    void *arg;
    /* Before each group: bytes of log done, and about how many there are. Then, where the log
     * does not end with a segment's file, every few MiB of the search for witnesses of damage
     * behind its end: bytes searched, of how many. */
    enum brd_status (*progress)(void *arg, bool searching, uint64_t done, uint64_t total);
    enum brd_status (*segment)(void *arg, const struct brd_wal_segment_view *segment);
    enum brd_status (*group)(void *arg, const struct brd_wal_group_view *group);
    enum brd_status (*record)(void *arg, const struct brd_wal_group_view *group, uint64_t version,
                              struct brd_bytes payload);
};

/* As brd_wal_replay, with everything that it knows. Before start; on a log that
 * is open read_only as often as wanted. */
BRD_MUST_CHECK enum brd_status
brd_wal_visit(struct brd_wal *wal, const struct brd_wal_visitor *visitor,
              struct brd_wal_report *out_report, struct brd_wal_error *out_error);

/* What meta said when the log was opened. */
void brd_wal_get_identity(const struct brd_wal *wal, struct brd_wal_identity *out_identity);

/* ---- For offline tools: a log that is damaged, and one that is made ---- */

/* A part of the log that is whole in itself: some segments, the last one up to a group. */
struct brd_wal_stretch {
    uint64_t first_segment, last_segment; /* numbers; last 0: nothing is left of it */
    uint64_t end_lsn, end_offset;         /* where it ends, and in the file of the last one */
    uint64_t base_version, last_version;  /* it holds what is above the one, up to the other */
    uint64_t records, bytes;
    uint8_t last_salt[16]; /* of the last segment */
    bool damaged;          /* it ends where damage begins; else where the log does */
    struct brd_wal_error damage;
};

/* What is there, damaged or not. */
struct brd_wal_survey {
    struct brd_wal_identity identity; /* as the segments tell it, where meta_damaged */
    bool meta_damaged;
    struct brd_wal_error meta_damage;
    uint64_t time_ns;  /* as identity */
    uint64_t *numbers; /* owned: of the segments' files, in rising order */
    size_t number_count;
    struct brd_wal_stretch *stretches; /* owned: the first begins where the log does, each other
                                          one behind the damage of the one before */
    size_t count;
};

/* Look at a log of which nobody makes use. Changes nothing. keys: as in the options; what
 * fails to authenticate is damage, and what is under a key that they lack is not.
 * Returns BRD_OK (out_survey is for brd_wal_survey_fini), BRD_NOT_FOUND (there is no log),
 * BRD_CORRUPT (nothing tells whose log it is), BRD_WRONG_KEY, BRD_UNSUPPORTED, BRD_IO_ERROR,
 * BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status
brd_wal_survey(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
               struct brd_wal_survey *out_survey, struct brd_wal_error *out_error);
void brd_wal_survey_fini(struct brd_wal_survey *survey);

/* What is not in a stretch. */
struct brd_wal_lost {
    uint64_t records;       /* in groups that are whole */
    uint64_t bytes;         /* of these groups */
    uint64_t damaged_bytes; /* besides, what is neither zeros nor a whole group */
    uint64_t last_version;  /* the newest that anything tells of; 0: nothing does */
};

/* Count what lies behind a stretch (NULL: all that is above above_version). By checksums alone,
 * which need no key. */
BRD_MUST_CHECK enum brd_status
brd_wal_count_lost(const struct brd_io *io, const char *dir, const struct brd_wal_survey *survey,
                   const struct brd_wal_stretch *stretch, uint64_t above_version,
                   struct brd_wal_lost *out_lost, struct brd_wal_error *out_error);

/* "DIR/wal/0123456789abcdef.wal" in a new allocation, or NULL. */
char *brd_wal_segment_path(const char *dir, uint64_t number);

/* Make a stretch all that the log is: cut its last segment and let meta say so. The
 * files of other segments have been removed before. stretch NULL: the log becomes an
 * empty one above base_version. What is written is under the current key of keys, if there is
 * one. Durable on return. */
BRD_MUST_CHECK enum brd_status
brd_wal_mend(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
             const struct brd_wal_survey *survey, const struct brd_wal_stretch *stretch,
             uint64_t base_version, struct brd_wal_error *out_error);

/* What a new log takes over from another one. */
struct brd_wal_origin {
    uint64_t base_version; /* what is above it will be in the log */
    uint64_t ceiling;      /* no version below it is issued any more */
    uint64_t time_ns;      /* as brd_wal_time_ns */
    uint32_t epoch;
    uint8_t uuid[16];
    const struct brd_keyring *keys; /* it is under the current one, if there is one, and so are
                                       the files that the directory has besides */
};

/* Make an empty log in a directory that holds none, meta last. Durable on return. */
BRD_MUST_CHECK enum brd_status
brd_wal_create(const struct brd_io *io, const char *dir, const struct brd_wal_origin *origin,
               struct brd_wal_error *out_error);

/* ---- For offline tools: copies ---- */

struct brd_wal_copy {
    const char *from_dir;
    const struct brd_io *from_io;   /* what it is read through */
    const char *to_dir;             /* it is there, and holds no log */
    uint64_t covered_version;       /* segments that hold nothing above it stay behind; 0: none */
    uint64_t room_bytes;            /* BRD_DISK_FULL, with nothing done, if it takes more */
    const struct brd_keyring *keys; /* to read it; the copy's meta is under the current one */

    /* Results. */
    uint64_t bytes;
    uint64_t segments, records;
    uint64_t last_version; /* the newest in the copy; what is below base_version counts too */
};

/* Copy a log that is whole, up to its end as it is now, onto the real disk: segments, then
 * meta. A daemon may go on appending to it meanwhile. Segments stay under the keys that they
 * are under. Durable on return.
 * Returns BRD_OK, BRD_NOT_FOUND, BRD_CORRUPT, BRD_WRONG_KEY, BRD_UNSUPPORTED, BRD_IO_ERROR,
 * BRD_DISK_FULL, BRD_OUT_OF_MEMORY. After a failure there may be a part of it, without meta. */
BRD_MUST_CHECK enum brd_status
brd_wal_copy(struct brd_wal_copy *copy, struct brd_wal_error *out_error);

#endif
