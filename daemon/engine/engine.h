/* The whole cache without a network: keyspaces, log, recovery and expiry, and
 * the execution of requests.
 *
 * A change to the store and the queueing of its log record are one step, under
 * the stripes of the write. A reply carries the versions that the log must have
 * committed before it may leave; whoever holds replies is told of progress
 * through on_progress. Nothing here waits for a disk except open, start, stop. */
#ifndef BRD_ENGINE_ENGINE_H
#define BRD_ENGINE_ENGINE_H

#include "base/clock.h"
#include "base/durability.h"
#include "base/eviction.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/request.h"
#include "base/status.h"

struct brd_engine;
struct brd_keyring; /* seal/seal.h */

/* What one worker thread uses to speak to the engine: its clock reading, its
 * counters, its scratch memory. One thread at a time. */
struct brd_caller;

struct brd_engine_options {
    const char *data_dir;           /* NULL: memory only, no file is touched */
    const struct brd_io *io;        /* NULL: the real disk */
    const struct brd_keyring *keys; /* of what is in data_dir: the current one seals what is
                                       written; borrowed until destroy; NULL: none */
    struct brd_clock *clock;        /* borrowed until destroy */
    uint32_t stripes;               /* 0: 256 */
    uint64_t max_memory_bytes;      /* of keys, values and their overhead; 0: no limit */
    enum brd_eviction eviction;     /* what happens at max_memory_bytes */
    uint64_t held_bytes_max;        /* of large values that were replaced or removed while
                                     * they are being sent; 0: no limit */
    bool huge_pages;                /* they are allowed: forbid them while memory is sparse */
    enum brd_durability durability; /* of `default`; NONE without a data_dir */
    bool warm; /* under NONE, with a data_dir: keep what is in it over an orderly stop */
    uint64_t max_key_bytes;     /* 0: 64 KiB; at most 1 MiB */
    uint64_t max_value_bytes;   /* 0: 64 MiB */
    uint64_t max_batch_keys;    /* 0: 16384 */
    uint64_t wal_segment_bytes; /* 0: the log's default, likewise below */
    uint64_t wal_queue_bytes;
    uint64_t wal_sync_interval_ns;
    uint64_t disk_reserve_bytes;     /* as brd_engine_set_disk_reserve */
    uint64_t checkpoint_log_bytes;   /* a checkpoint after so much log, or as much as the last
                                        snapshot has, if that is more; 0: never for that */
    uint64_t checkpoint_interval_ns; /* ... after so long, if there is something new; 0: never */
    uint64_t checkpoint_rate_bytes;  /* written a second; 0: no limit */
    bool checkpoint_on_stop;
    uint64_t reap_interval_ns; /* 0: 100 ms */
    uint64_t
        max_clock_behind_ns; /* refuse to start when the clock is further behind the log; 0: 1 h */
    bool ignore_clock;       /* start all the same */
    bool leave_entries;      /* destroy leaves them to the end of the process */
    bool manual;             /* tests: no reaper thread; call brd_engine_tick */
    unsigned replay_threads; /* that apply the log to the store; 0: one for each core */
    const struct brd_hash_key *secret; /* NULL: random. Tests give one; borrowed for create */
    /* The log has moved, has room again, or has failed, memory was freed for a
     * parked request, or a checkpoint is over. From the log's threads, the reaper
     * and the checkpointer, no lock held; must not block. May be NULL. */
    void (*on_progress)(void *arg);
    /* Likewise where only what is committed under normal has moved. NULL: on_progress. */
    void (*on_written)(void *arg);
    /* Writes wait because held_bytes_max is reached: give up replies that hold large values
     * which nobody keeps any more. From the reaper, until it helps; else as on_progress. */
    void (*on_held)(void *arg);
    /* Recovery asks now and then, in the thread of brd_engine_start, whether to give
     * up; and so does brd_engine_stop while it writes what stays warm. May be NULL: never. */
    bool (*stop_wanted)(void *arg);
    /* brd_engine_stop will take long: called in its thread, then every second. May be NULL. */
    void (*on_stopping)(void *arg);
    void *arg;
};

/* A sentence for the operator. */
struct brd_engine_error {
    char text[1200];
};

/* BRD_OK, BRD_OUT_OF_MEMORY, or BRD_INVALID_ARGUMENT where an option is beyond its
 * bound, or warm is said of what is logged, or has no directory. */
BRD_MUST_CHECK enum brd_status
brd_engine_create(const struct brd_engine_options *options, struct brd_engine **out_engine);

/* Recover what the data directory holds and begin to log. Logs its progress.
 * Returns BRD_OK, BRD_BUSY (the directory is in use), BRD_CORRUPT, BRD_UNSUPPORTED,
 * BRD_WRONG_KEY (something is sealed under a key that is not in options.keys; nothing was
 * changed), BRD_IO_ERROR, BRD_OUT_OF_RANGE (clock behind the log), BRD_OUT_OF_MEMORY,
 * BRD_INVALID_ARGUMENT (durability none, and the directory holds what was logged),
 * BRD_SHUTTING_DOWN (stop_wanted said so; nothing that was kept is changed). */
BRD_MUST_CHECK enum brd_status
brd_engine_start(struct brd_engine *engine, struct brd_engine_error *out_error);

/* Write what stays warm (options.warm), write and sync what is queued, end the threads. BRD_OK, or
 * BRD_IO_ERROR of the log: what stays warm is a cache, and has only warnings. No caller executes any
 * more. */
BRD_MUST_CHECK enum brd_status brd_engine_stop(struct brd_engine *engine);

/* All callers are detached. Stops first. NULL inside is fine. */
void brd_engine_destroy(struct brd_engine **engine);

/* ---- callers ---- */

BRD_MUST_CHECK enum brd_status
brd_caller_attach(struct brd_engine *engine, struct brd_caller **out_caller);
void brd_caller_detach(struct brd_caller **caller);

/* A batch of requests begins: read the clock and the committed versions, once. */
void brd_caller_begin(struct brd_caller *caller);

/* Hash the keys of n requests and bring what they will touch into the cache.
 * Best with groups of 16 to 64. */
void brd_caller_prepare(struct brd_caller *caller, struct brd_request *requests, size_t n);

/* Execute a prepared request.
 *
 * reply     overwritten; borrowed memory in it lives until brd_caller_done. A
 *           stripe may be held for reading meanwhile: encode and be done.
 * Returns   BRD_OK: there is a reply (whatever its status); BRD_BUSY: there is none,
 *           because the log's queue is full, memory has to be freed first, or a
 *           checkpoint that was asked for is not over: park the connection and
 *           execute again after on_progress. Then request->job has a ticket if it
 *           is a checkpoint (below); otherwise nothing happened. Where the job is
 *           under way afterwards, a part has been done (below): do not park, execute
 *           it again with the same job as soon as others have had their turn.
 *
 * A purge and an exact count may take long, so they are done in parts of some
 * hundred keys; between two nothing is held. The job may be given up: what was
 * removed had expired. Both mean what had expired when the first part began.
 *
 * A checkpoint is asked for once, by the first call; the ticket in the job says
 * which one is waited for, so the others want the same job. It may take minutes.
 * Whoever gives the job up does not stop it. Without a job the wait cannot go on:
 * each call asks for another one (where the engine is manual, the first call makes
 * it, and there is no wait).
 *
 * hello and ping are not the engine's: they give BRD_UNKNOWN_REQUEST replies. */
BRD_MUST_CHECK enum brd_status
brd_caller_execute(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply);

/* Is it worth executing again, at progress, what was parked with this job? False
 * while its checkpoint is not over. Any thread; no lock. */
bool brd_engine_may_go_on(const struct brd_engine *engine, const struct brd_job *job);

/* The reply has been encoded. After every BRD_OK of execute. */
void brd_caller_done(struct brd_caller *caller, struct brd_reply *reply);

/* The batch ends: wake the log for what was queued. */
void brd_caller_end(struct brd_caller *caller);

/* The caller's clock reading of this batch: Unix ms, and monotonic ns. */
uint64_t brd_caller_now_ms(const struct brd_caller *caller);

/* ---- what the log has committed ---- */

struct brd_committed {
    uint64_t normal; /* versions up to here are committed under `normal` */
    uint64_t full;   /* and under `full` */
    bool failed;     /* the log is poisoned: what is above will never be */
};

/* Any thread; no lock. */
struct brd_committed brd_engine_committed(const struct brd_engine *engine);

/* ---- information ---- */

struct brd_engine_info {
    uint32_t epoch; /* 0: memory only */
    uint64_t max_key_bytes;
    uint64_t max_value_bytes;
    uint64_t max_batch_keys;
    enum brd_durability durability;
};

void brd_engine_get_info(const struct brd_engine *engine, struct brd_engine_info *out_info);

/* Upper layers add their statistics: emit is called for each. collect runs in
 * the thread of the Stats request, any worker; reset on ResetStats. Register
 * before start. At most 8 sources: BRD_LIMIT_EXCEEDED. */
struct brd_stats_source {
    void (*collect)(void *arg, void (*emit)(void *to, const struct brd_stat *stat), void *to);
    void (*reset)(void *arg);
    void *arg;
};
BRD_MUST_CHECK enum brd_status
brd_engine_add_stats(struct brd_engine *engine, const struct brd_stats_source *source);

/* Change what may change while running. Any thread. */
void brd_engine_set_max_memory(struct brd_engine *engine, uint64_t bytes);
void brd_engine_set_eviction(struct brd_engine *engine, enum brd_eviction policy);
void brd_engine_set_held_max(struct brd_engine *engine, uint64_t bytes);

/* Keep so many bytes of the data directory's file system free for a checkpoint: with less,
 * writes get BRD_DISK_FULL until there is space, and what removes something goes on. 0: none. */
#define BRD_ENGINE_RESERVE_AUTO UINT64_MAX /* what a checkpoint takes, within bounds */
void brd_engine_set_disk_reserve(struct brd_engine *engine, uint64_t bytes);

/* Other keys, after start: what is begun from now on is sealed under the current one of
 * keys (NULL, or none is current: not at all), and a checkpoint is due at once, with
 * which files under other keys go.
 *
 * keys     borrowed until destroy; must hold every key under which a file is. Those given earlier
 *          stay borrowed too.
 * Returns  BRD_OK; BRD_INVALID_ARGUMENT (one is missing: the error names it, and a file),
 *          BRD_IO_ERROR, BRD_OUT_OF_MEMORY (the files cannot be looked at), BRD_READ_ONLY or
 *          BRD_SHUTTING_DOWN (what is current is no key, and meta cannot be told): nothing is
 *          changed.
 * Threads  one at a time, any. */
BRD_MUST_CHECK enum brd_status
brd_engine_set_keys(struct brd_engine *engine, const struct brd_keyring *keys,
                    struct brd_engine_error *out_error);

/* One round of the background work (clock check, reaping, freeing), as the
 * reaper thread does it, and a checkpoint if one is due; for manual engines. Returns entries reaped and freed. */
uint64_t brd_engine_tick(struct brd_engine *engine);

/* For the watchdog: a number that rises, from call to call some seconds apart,
 * while every background thread moves; one that hangs stops it. One thread. */
uint64_t brd_engine_heartbeat(struct brd_engine *engine);

/* One change in a log record, as tools show it. */
struct brd_change {
    const char *kind; /* "put", "touch", "delete", "append", "clear"; static */
    uint64_t ns;      /* id of the namespace */
    struct brd_bytes key;
    struct brd_bytes value;
    uint64_t base;        /* touch, append: the version it was applied to */
    uint64_t deadline_ms; /* put, touch: Unix ms; 0: none */
};

/* Take the next change from the front of a log payload; what it holds points
 * into the payload. BRD_OK; BRD_NOT_FOUND at the end; BRD_CORRUPT where the bytes
 * are no change that this version knows. Pure. */
BRD_MUST_CHECK enum brd_status
brd_change_next(struct brd_bytes *payload, struct brd_change *out_change);

/* ---- For offline tools: snapshots ---- */

struct brd_snapshot_info {
    uint8_t uuid[16];
    uint64_t start_version, end_version;
    uint64_t created_ns;
    uint64_t blocks, records;
    uint64_t bytes; /* of the file */
    uint32_t epoch;
    uint8_t key_id[16]; /* zeros: not encrypted */
};

/* What is wrong, for a person, and where. */
struct brd_snapshot_error {
    char text[512];
    char path[512];
    uint64_t offset;
};

/* What the log of a directory tells of its snapshots. */
struct brd_snapshot_log {
    struct brd_bytes uuid;              /* brd_wal_uuid; borrowed for the call */
    uint64_t base_version, end_version; /* brd_wal_base_version; and the newest version in it, or
                                           base_version where there is none. UINT64_MAX: it is not
                                           known yet */
    bool all_sealed;                    /* brd_wal_all_sealed: what is plain is damage */
};

/* The newest snapshot of a data directory, and whether it fits its log.
 *
 * keys        what it may be sealed under; NULL: nothing. Likewise below.
 * whole       read and check it to its end; else only where it begins and ends.
 * out_info    zeros where there is none, and none is needed.
 * Returns     BRD_OK, BRD_CORRUPT, BRD_WRONG_KEY, BRD_UNSUPPORTED, BRD_IO_ERROR,
 *             BRD_OUT_OF_MEMORY; out_error is filled on failure. Changes nothing. Any thread. */
BRD_MUST_CHECK enum brd_status
brd_snapshot_check(const struct brd_io *io, const struct brd_keyring *keys, const char *data_dir,
                   const struct brd_snapshot_log *log, bool whole,
                   struct brd_snapshot_info *out_info, struct brd_snapshot_error *out_error);

/* What a visit of a snapshot calls: begin once, then record for each entry: its
 * version, and one change of kind put. Borrowed for the call. Anything but BRD_OK
 * ends the visit with that status. */
struct brd_snapshot_visitor {
    void *arg;
    enum brd_status (*begin)(void *arg, const char *path, const struct brd_snapshot_info *info);
    enum brd_status (*record)(void *arg, uint64_t version, struct brd_bytes payload);
};

/* Read the newest snapshot of a data directory, in the order of the file: what was
 * visited is whole. Returns BRD_OK, BRD_NOT_FOUND (there is none), as
 * brd_snapshot_check, or what the visitor returned. Any thread. */
BRD_MUST_CHECK enum brd_status
brd_snapshot_visit(const struct brd_io *io, const struct brd_keyring *keys, const char *data_dir,
                   const struct brd_snapshot_visitor *visitor,
                   struct brd_snapshot_error *out_error);

/* "DIR/snapshots/0123456789abcdef.snap" in a new allocation, or NULL. */
char *brd_snapshot_path(const char *data_dir, uint64_t start_version);

/* A snapshot's file, and whether it is whole. */
struct brd_snapshot_file {
    char path[512];
    uint64_t bytes;
    uint64_t start_version;        /* as its name says */
    struct brd_snapshot_info info; /* where it is whole */
    enum brd_status status;        /* BRD_OK, or BRD_CORRUPT or BRD_WRONG_KEY: error says why */
    struct brd_snapshot_error error;
};

/* All snapshots of a data directory, newest first, each read to its end. Of log count uuid (another
 * directory's snapshot is damage) and all_sealed. out_files is for free().
 * Returns as brd_snapshot_check, but not BRD_CORRUPT, nor BRD_WRONG_KEY. Changes nothing. */
BRD_MUST_CHECK enum brd_status
brd_snapshot_list(const struct brd_io *io, const struct brd_keyring *keys, const char *data_dir,
                  const struct brd_snapshot_log *log, struct brd_snapshot_file **out_files,
                  size_t *out_count, struct brd_snapshot_error *out_error);

/* ---- For offline tools: an earlier state ---- */

struct brd_rewind {
    const char *from_dir;           /* a data directory; only read, no daemon is disturbed */
    const struct brd_io *from_io;   /* NULL: the real disk */
    const struct brd_keyring *keys; /* what from_dir may be sealed under, and to_dir is, under the
                                       current one; NULL: none */
    const char *to_dir;             /* a directory that holds no data; made if absent */
    uint64_t version;               /* the state after it; UINT64_MAX: the newest */

    /* Results. */
    uint64_t reached_version;  /* of the last change in the state; 0: there was none yet */
    uint64_t earliest_version; /* as far back as snapshots and log reach */
    uint64_t entries;          /* in it, expired ones included */
};

/* Make a data directory that holds the state that another one had. It has an identity of
 * its own, one snapshot, and an empty log that goes on above every version that the
 * other one may have issued. The state is built in memory on the way.
 *
 * Returns BRD_OK (durable, meta last); BRD_HISTORY_TRIMMED (version is below
 * earliest_version); BRD_CORRUPT, BRD_WRONG_KEY, BRD_UNSUPPORTED, BRD_NOT_FOUND (from_dir holds no log),
 * BRD_IO_ERROR, BRD_DISK_FULL, BRD_OUT_OF_MEMORY. On a failure to_dir may hold a part, that
 * no daemon starts on. */
BRD_MUST_CHECK enum brd_status
brd_rewind(struct brd_rewind *rewind, struct brd_engine_error *out_error);

/* Visit every live entry (tests, tools): key, value, version, deadline. Slices
 * under the stripes; visit copies. */
void brd_engine_walk(struct brd_engine *engine,
                     void (*visit)(void *arg, struct brd_bytes key, struct brd_bytes value,
                                   uint64_t version, uint64_t deadline_ms),
                     void *arg);

#endif
