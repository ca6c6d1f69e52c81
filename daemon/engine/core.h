/* What the files of this folder share: the engine itself and its callers. */
#ifndef BRD_ENGINE_CORE_H
#define BRD_ENGINE_CORE_H

#include "base/buf.h"
#include "base/counter.h"
#include "base/lock.h"
#include "base/sequencer.h"
#include "engine/checkpoint.h"
#include "engine/engine.h"
#include "engine/keys.h"
#include "engine/memory.h"
#include "engine/snapshot.h"
#include "store/store.h"
#include "wal/wal.h"

#define NS_DEFAULT_ID 1 /* ids are never reused; 0 is none */

#define STATS_SOURCES_MAX 8

/* One namespace: its data and its policy. */
struct name_space {
    uint64_t id;
    const char *name;
    struct brd_keyspace *keyspace; /* owned */
    enum brd_durability durability;
};

/* Counters of one caller. X(name, unit, help); all grow, and are summed. */
#define CALLER_COUNTERS(X)                                                                  \
    X(gets, "1", "keys asked for by get and get_many")                                      \
    X(hits, "1", "of these, found")                                                         \
    X(misses, "1", "of these, absent or expired")                                           \
    X(puts, "1", "keys written by put, put_many, incr and append")                          \
    X(deletes, "1", "keys removed by delete")                                               \
    X(expires, "1", "deadlines set or removed by expire and persist")                       \
    X(conditions_failed, "1", "conditional writes that changed nothing")                    \
    X(errors, "1", "requests that were refused or failed")                                  \
    X(clears, "1", "clear requests")                                                        \
    X(bytes_read, "bytes", "values returned to clients")                                    \
    X(bytes_written, "bytes", "keys and values stored")                                     \
    X(deadlines_past, "1", "keys removed because a write gave them a deadline in the past") \
    X(ttl_purged, "1", "expired keys removed by purge and exact count")                     \
    X(ttl_evicted, "1", "expired keys removed to make room")                                \
    X(evictions, "1", "live keys removed to make room")                                     \
    X(evicted_bytes, "bytes", "what these took")                                            \
    X(memory_waits, "1", "requests parked until the reaper had made room or measured")      \
    X(held_waits, "1", "of these, until replies with replaced large values were gone")      \
    X(out_of_memory, "1", "writes refused because of the memory limit")                     \
    X(disk_full, "1", "writes refused because only the disk reserve is left")               \
    X(log_waits, "1", "requests parked because the log's queue was full")

struct caller_counters {
#define COUNTER_FIELD(name, unit, help) brd_counter name;
    CALLER_COUNTERS(COUNTER_FIELD)
#undef COUNTER_FIELD
};

/* The sums that Stats shows and ResetStats moves the zero of. */
struct counter_sums {
#define SUM_FIELD(name, unit, help) uint64_t name;
    CALLER_COUNTERS(SUM_FIELD)
#undef SUM_FIELD
};

struct brd_caller {
    struct brd_engine *engine; /* borrowed */
    struct brd_caller *next;   /* engine->callers */
    uint64_t now_ns;           /* of this batch, as the engine judges time */
    uint64_t now_ms;
    struct brd_committed committed; /* as of the batch's start */
    bool appended;                  /* this batch queued something for the log */
    uint64_t written;               /* bytes, since memory_note_written was told */

    /* State of the reply being encoded, until brd_caller_done. */
    struct brd_guard guard;
    bool guard_open;
    struct brd_blob *blob; /* counted: keeps reply->value alive */
    char message[256];
    char key_shown[KEYS_SHOWN_BYTES];
    struct brd_checkpoint_reply checkpoint;

    /* Scratch, kept from call to call up to SCRATCH_KEEP_BYTES. */
    struct brd_buf payload;
    struct brd_buf hashes;
    struct brd_buf items;
    struct brd_buf stats;
    struct brd_buf text;

    struct caller_counters counters __attribute__((aligned(BRD_CACHE_LINE)));
};

struct reaper_counters {
    brd_counter reaped; /* entries removed because their deadline passed */
    brd_counter freed;  /* entries freed behind their callers */
    brd_counter rounds; /* also the heartbeat */
    brd_counter lag_ms; /* how far the last round began behind the earliest deadline */
    brd_counter slices;
    brd_counter slice_max_us; /* the longest since the last reset */
    brd_counter clock_steps;  /* corrections of the clock by more than a second */
    brd_counter clock_refused;
};

/* What the last stop had left, and a start loaded: zeros where nothing was; warm.c. */
struct warm_result {
    uint64_t keys;
    uint64_t bytes;    /* of the file */
    uint64_t expired;  /* left out, besides: for that */
    uint64_t left_out; /* and for want of room */
};

/* Fields that every request reads, fields that every write changes, and those that
 * change now and then have cache lines of their own: a version that one worker
 * takes must not cost another one the line in which it finds the store. */
struct brd_engine {
    struct brd_engine_options options; /* with defaults filled in */
    struct brd_clock *clock;           /* borrowed */
    struct brd_store *store;
    struct brd_wal *wal; /* NULL: memory only */
    struct name_space default_ns;
    bool started;
    _Atomic uint64_t max_memory_bytes; /* 0: no limit; relaxed */
    _Atomic uint64_t held_bytes_max;   /* likewise */

    struct brd_sequencer sequencer __attribute__((aligned(BRD_CACHE_LINE)));

    /* The engine's time never goes below; grows once a millisecond; relaxed. */
    _Atomic uint64_t floor_ns __attribute__((aligned(BRD_CACHE_LINE)));
    struct memory_meter memory;
    _Atomic uint64_t room_wanted;  /* the most that a parked request needs; 0: none */
    _Atomic bool held_waits;       /* ... and one waits for replies to be sent; relaxed */
    struct brd_caller *background; /* owned; of whoever runs reaper_tick */

    struct brd_mutex lock; /* BRD_RANK_ENGINE: the three below */
    struct brd_caller *callers;
    struct counter_sums gone; /* of callers that were detached */
    struct counter_sums zero; /* what ResetStats subtracts */

    struct brd_stats_source sources[STATS_SOURCES_MAX];
    unsigned source_count; /* fixed once started */

    struct reaper_counters reaper;
    uint32_t reaper_shard;         /* the reaper's: where the next round begins */
    uint64_t reaper_busy_since_ns; /* the reaper's: end of the last round that did all */
    uint64_t slices_zero;          /* lock */
    uint64_t reaped_zero;          /* lock */
    uint64_t freed_zero;           /* lock */
    _Atomic uint64_t ghost_hits_zero;
    pthread_t reaper_thread;
    bool reaper_running;
    struct brd_mutex reaper_lock; /* BRD_RANK_FREER: stopping */
    struct brd_cond reaper_cond;
    bool reaper_stopping;

    struct checkpoint checkpoint;
    struct keys keys;

    /* What recovery met, for Stats. */
    struct brd_snapshot_info snapshot; /* zeros: there was none */
    uint64_t recovered_uncovered;      /* records of the log that it does not hold */
    struct warm_result warm;
    struct brd_wal_report recovered;
    uint64_t recovery_ms;
    uint64_t recovered_expired;
    uint64_t started_mono_ns;

    /* The watchdog's thread alone. */
    uint64_t watched_rounds;
    uint64_t watched_log;
    uint64_t beats;
};

/* The engine's time: the clock, but never in a millisecond before one that was
 * already used to judge a deadline, in this run or (by its log) in an earlier one. */
uint64_t engine_now_ns(struct brd_engine *engine);

/* Execute by kind; commands.c. */
enum brd_status
command_execute(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply);

/* Statistics; stats.c. */
enum brd_status stats_execute(struct brd_caller *caller, const struct brd_request *request,
                              struct brd_reply *reply);
void stats_reset(struct brd_engine *engine);

/* Fill the store from the log; recovery.c. */
enum brd_status recovery_run(struct brd_engine *engine, struct brd_engine_error *out_error);

/* The state of options.data_dir after to_version, or the newest, from the log that is open in
 * engine->wal; recovery.c. out_version: of its last change; out_earliest: the earliest
 * that could be had. Returns as brd_rewind. */
enum brd_status
recovery_rewind(struct brd_engine *engine, uint64_t to_version, uint64_t *out_version,
                uint64_t *out_earliest, struct brd_engine_error *out_error);

/* Background work; reaper.c. */
enum brd_status reaper_start(struct brd_engine *engine);
void reaper_stop(struct brd_engine *engine);
uint64_t reaper_tick(struct brd_engine *engine);

/* Let the next round begin at once. Any thread without locks. */
void reaper_wake(struct brd_engine *engine);

/* Evict what is above the limit and tend the queues; room.c. At most about max
 * keys. *out_wanted: a parked request waited for that. */
uint64_t room_tend(struct brd_engine *engine, uint64_t max, bool *out_wanted);
bool room_is_wanted(const struct brd_engine *engine);

#endif
