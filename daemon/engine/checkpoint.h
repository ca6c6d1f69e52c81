/* Checkpoints: the whole store written to a snapshot while everybody goes on, and
 * the log before it given up. One thread of its own; nobody forks, nobody waits. */
#ifndef BRD_ENGINE_CHECKPOINT_H
#define BRD_ENGINE_CHECKPOINT_H

#include "base/counter.h"
#include "base/lock.h"
#include "base/request.h"
#include "engine/snapshot.h"

struct brd_engine;

/* What the options of the engine say, copied. */
struct checkpoint_policy {
    uint64_t log_bytes;   /* log since the last one; 0: never by size */
    uint64_t interval_ns; /* since the last one, if there is something new; 0: never by age */
    uint64_t rate_bytes;  /* written a second at most; 0: no limit */
    bool on_stop;
};

/* Of one that has ended. */
struct checkpoint_result {
    enum brd_status status;
    struct brd_checkpoint_reply records;
    struct brd_snapshot_info snapshot; /* of the newest good one */
    char text[256];                    /* where status is not BRD_OK */
};

/* What those are told who asked for one. Kept for some runs, because between its end and their
 * asking others may have ended. */
#define CHECKPOINT_ANSWERS 16
struct checkpoint_answer {
    uint64_t above, up_to;            /* tickets */
    struct checkpoint_result covered; /* once the snapshot is good, or it failed before that */
    struct checkpoint_result done;    /* once the log before it is gone, or it failed */
};

struct checkpoint {
    struct checkpoint_policy policy; /* constant */

    struct brd_mutex lock; /* BRD_RANK_FREER: what follows up to `wake` */
    uint64_t wanted;       /* tickets given out */
    uint64_t began;        /* ... when the newest one began */
    /* ... when the newest one began whose snapshot is good, or that failed. Relaxed where
     * it is read without the lock: who is told of progress sees what was before it. */
    _Atomic uint64_t covered;
    uint64_t done; /* ... and the log before it is gone */
    bool running;
    bool stopping;
    struct checkpoint_result last;
    struct checkpoint_answer answers[CHECKPOINT_ANSWERS];
    uint64_t answer_count;            /* of all; the newest are in the array */
    struct checkpoint_answer *answer; /* of the one under way; NULL: nobody asked for it */
    uint64_t covered_records;         /* of all that this data directory's log was seen to hold */
    uint64_t covered_lsn;
    uint64_t ended_ns;    /* monotonic: the last one that was good, or the start */
    uint64_t retry_ns;    /* monotonic: not before, unless asked for */
    uint64_t full_bytes;  /* what was free after the last one, which the disk had no room for */
    uint64_t failed_runs; /* in a row */
    uint64_t rekey_ns;    /* monotonic: files under another key are not tried again before */
    uint64_t rekey_runs;  /* in a row that left some */
    uint64_t took_ms;     /* the last good one */
    struct brd_cond wake;

    _Atomic bool abandon;          /* the one under way is to give up; relaxed */
    _Atomic uint32_t shards_done;  /* of the one under way; relaxed */
    _Atomic uint64_t bytes_so_far; /* likewise */
    brd_counter runs, failures;    /* the thread's */
    brd_counter pressed;           /* likewise: runs that got on at the cost of others */
    brd_counter slices, yields;    /* likewise: steps, and how often they made way */

    pthread_t thread;
    bool thread_runs;
};

void checkpoint_init(struct brd_engine *engine, const struct checkpoint_policy *policy);
void checkpoint_fini(struct brd_engine *engine);

/* After recovery: know what is covered, and begin to look for work; no thread
 * where the engine is manual. BRD_OK or BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status checkpoint_start(struct brd_engine *engine);

/* Give up what is under way, or make a last one where the policy says so; end the
 * thread. The log still runs. */
void checkpoint_stop(struct brd_engine *engine);

/* What a snapshot of all entries would take: rather more than less, and of a moment. */
uint64_t checkpoint_bytes(const struct brd_engine *engine);

/* Make one here and now if it is due. For manual engines; of others the thread does. */
void checkpoint_tend(struct brd_engine *engine);

/* Ask for one. *ticket: 0 for a first call, which fills it; the same for those that
 * follow. True: it is over, *out_result says how. Any thread without locks. Where
 * the engine is manual it is made here and now. */
bool checkpoint_ask(struct brd_engine *engine, enum brd_checkpoint_mode mode, uint64_t *ticket,
                    struct checkpoint_result *out_result);

/* There are other keys (keys.h): one is due at once where files are under others. Any thread
 * without locks. */
void checkpoint_rekey(struct brd_engine *engine);

/* For Stats. */
struct checkpoint_view {
    struct checkpoint_result last;
    bool running;
    uint64_t runs, failures, pressed;
    uint64_t slices, yields; /* for tests */
    uint64_t permille;       /* of the one under way */
    uint64_t bytes_so_far;
    uint64_t took_ms;
    uint64_t age_ms;      /* since the last good one, or the start */
    uint64_t log_records; /* since the last good one */
    uint64_t log_bytes;
};
void checkpoint_look(struct brd_engine *engine, struct checkpoint_view *out_view);

#endif
