/* The background thread: checks the clock, removes what has expired, brings
 * memory down to its limit (room.c), frees what was removed.
 *
 * A round looks at the earliest deadline of each shard (one atomic load, no
 * lock) and reaps those that are due in slices of SLICE entries, each slice under
 * the shard's stripe for a few microseconds; then frees from the store's
 * graveyard, also in slices. While a round finds a full load of work the next
 * follows at once, else after reap_interval. The cost follows what expires: an
 * idle round is one load a shard.
 *
 * Bound: an entry is removed within reap_interval plus the time to remove what
 * was due before it; `expiry_lag_ms` in Stats is the last round's reading.
 * Readers hide an expired entry at its deadline whatever the reaper does. */
#include "engine/core.h"

#include "base/diag.h"
#include "base/thread.h"

#define SLICE      64
#define FREE_SLICE 256
/* A round ends after this many, so that the clock is checked in time. */
#define ROUND_MAX 200000

static void
check_clock(struct brd_engine *engine)
{
    int64_t step_ns;

    if (brd_clock_check(engine->clock, &step_ns) != BRD_OK) {
        brd_counter_add(&engine->reaper.clock_refused, 1);
        brd_diag_error("the wall clock jumped %lld s forward, more than max-clock-step; it is not "
                       "followed: deadlines and versions go on from the old time. Correct the "
                       "clock, or restart to accept it",
                       (long long)(step_ns / (int64_t)BRD_NS_PER_S));
    } else if (step_ns > (int64_t)BRD_NS_PER_S || step_ns < -(int64_t)BRD_NS_PER_S) {
        brd_counter_add(&engine->reaper.clock_steps, 1);
        brd_diag_warning("the wall clock was stepped by %lld ms",
                         (long long)(step_ns / (int64_t)BRD_NS_PER_MS));
    }
    if (engine->wal != NULL)
        brd_wal_note_time(engine->wal, engine_now_ns(engine));
}

static uint64_t
reap_keyspace(struct brd_engine *engine, struct brd_keyspace *keyspace)
{
    uint64_t now_ms = engine_now_ns(engine) / BRD_NS_PER_MS;
    uint32_t shards = brd_keyspace_shards(keyspace);
    uint64_t reaped = 0;
    uint64_t lag_ms = 0;
    uint32_t shard;

    for (shard = 0; shard < shards && reaped < ROUND_MAX; shard++) {
        uint64_t deadline_ms = brd_shard_next_deadline_ms(keyspace, shard);

        while (deadline_ms <= now_ms) {
            uint32_t n;

            if (now_ms - deadline_ms > lag_ms)
                lag_ms = now_ms - deadline_ms;
            n = brd_shard_reap(keyspace, shard, now_ms, SLICE);
            reaped += n;
            if (n < SLICE || reaped >= ROUND_MAX)
                break;
            deadline_ms = brd_shard_next_deadline_ms(keyspace, shard);
        }
    }
    atomic_store_explicit(&engine->reaper.lag_ms, lag_ms, memory_order_relaxed);
    brd_counter_add(&engine->reaper.reaped, reaped);
    return reaped;
}

uint64_t
reaper_tick(struct brd_engine *engine)
{
    uint64_t reaped;
    uint64_t tended;
    uint64_t freed = 0;
    bool wanted;
    uint32_t n;

    check_clock(engine);
    memory_measure(engine);
    reaped = reap_keyspace(engine, engine->default_ns.keyspace);
    tended = room_tend(engine, ROUND_MAX, &wanted);
    do {
        n = brd_store_free_some(engine->store, FREE_SLICE);
        freed += n;
    } while (n > 0 && freed < ROUND_MAX);
    brd_counter_add(&engine->reaper.freed, freed);
    brd_counter_add(&engine->reaper.rounds, 1);
    if (wanted && engine->options.on_progress != NULL)
        engine->options.on_progress(engine->options.arg);
    return reaped + tended + freed;
}

static void *
reaper_main(void *arg)
{
    struct brd_engine *engine = arg;
    bool stopping = false;

    while (!stopping) {
        uint64_t done = reaper_tick(engine);

        brd_mutex_lock(&engine->reaper_lock);
        if (done < ROUND_MAX && !engine->reaper_stopping && !room_is_wanted(engine))
            brd_cond_wait_for(&engine->reaper_cond, &engine->reaper_lock,
                              engine->options.reap_interval_ns);
        stopping = engine->reaper_stopping;
        brd_mutex_unlock(&engine->reaper_lock);
    }
    return NULL;
}

enum brd_status
reaper_start(struct brd_engine *engine)
{
    enum brd_status status =
        brd_thread_start(&engine->reaper_thread, "brd-reaper", reaper_main, engine);

    engine->reaper_running = status == BRD_OK;
    return status;
}

void
reaper_wake(struct brd_engine *engine)
{
    brd_mutex_lock(&engine->reaper_lock);
    brd_cond_signal(&engine->reaper_cond);
    brd_mutex_unlock(&engine->reaper_lock);
}

void
reaper_stop(struct brd_engine *engine)
{
    if (!engine->reaper_running)
        return;
    brd_mutex_lock(&engine->reaper_lock);
    engine->reaper_stopping = true;
    brd_cond_signal(&engine->reaper_cond);
    brd_mutex_unlock(&engine->reaper_lock);
    brd_thread_join(engine->reaper_thread);
    engine->reaper_running = false;
}
