/* The background thread: checks the clock, removes what has expired, brings
 * memory down to its limit (room.c), frees what was removed.
 *
 * A round looks at the earliest deadline of each shard (one atomic load, no
 * lock) and reaps those that are due in slices of SLICE entries, each slice under
 * the shard's stripe for some 30 microseconds; then frees from the store's
 * graveyard, also in slices. While a round finds a full load of work the next
 * follows at once, else after reap_interval. The cost follows what expires: an
 * idle round is one load a shard.
 *
 * After each slice the thread yields the processor, so that on a machine with as
 * many workers as cores a worker that wakes need not wait for the end of a time
 * slice (1.4 ms at the 99th percentile, 0.08 with yielding; a nice value of 10:
 * 0.4; Linux 6.18, a thread that wakes beside one that runs slices of 30 us).
 * Yielding to workers that are always busy would leave it about a hundredth of
 * the processor: so it is over when work has not come to an end for PATIENCE, or
 * somebody waits for room, and the thread then takes its share. SCHED_IDLE does as well as yielding, but only
 * the privileged come back from it.
 *
 * Bound: an entry is removed within reap_interval plus the time to remove what
 * was due before it; `expiry_lag_ms` in Stats is the last round's reading.
 * Readers hide an expired entry at its deadline whatever the reaper does. */
#include "engine/core.h"

#include "base/diag.h"
#include "base/thread.h"

#include <sched.h>

#define SLICE      64
#define FREE_SLICE 256
/* A round ends after this many, so that the clock is checked in time. */
#define ROUND_MAX 200000
/* Yield to others as long as there has been work for no longer than this. */
#define PATIENCE_NS (5 * BRD_NS_PER_S)

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

/* Measure, if it is time, and bring memory down to its limit. Returns the work done;
 * *out_wanted: a parked request waited for that. */
static uint64_t
keep_limit(struct brd_engine *engine, bool *out_wanted)
{
    uint64_t work;

    memory_measure(engine);
    work = room_tend(engine, ROUND_MAX, out_wanted);
    memory_settle(engine);
    return work;
}

static void
wake_parked(struct brd_engine *engine, bool wanted)
{
    if (wanted && atomic_exchange_explicit(&engine->held_waits, false, memory_order_relaxed) &&
        engine->options.on_held != NULL)
        engine->options.on_held(engine->options.arg);
    if (wanted && engine->options.on_progress != NULL)
        engine->options.on_progress(engine->options.arg);
}

/* A slice that began at began_ns is over. */
static void
end_slice(struct brd_engine *engine, uint64_t began_ns)
{
    uint64_t now_ns = brd_clock_mono_ns(engine->clock);
    uint64_t us = (now_ns - began_ns) / BRD_NS_PER_US;
    uint64_t longest = brd_counter_get(&engine->reaper.slice_max_us);

    brd_counter_add(&engine->reaper.slices, 1);
    /* ResetStats may set it to zero meanwhile. */
    while (us > longest &&
           !atomic_compare_exchange_weak_explicit(&engine->reaper.slice_max_us, &longest, us,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
    if (memory_is_due(&engine->memory)) {
        /* Writers do not wait for the end of a round. */
        bool wanted;

        (void)keep_limit(engine, &wanted);
        wake_parked(engine, wanted);
    }
    if (now_ns - engine->reaper_busy_since_ns < PATIENCE_NS && !room_is_wanted(engine))
        sched_yield();
}

/* How long ago the earliest deadline of all was. */
static uint64_t
lag_ms(struct brd_keyspace *keyspace, uint64_t now_ms)
{
    uint32_t shards = brd_keyspace_shards(keyspace);
    uint64_t earliest_ms = now_ms;
    uint32_t shard;

    for (shard = 0; shard < shards; shard++) {
        uint64_t deadline_ms = brd_shard_next_deadline_ms(keyspace, shard);

        if (deadline_ms < earliest_ms)
            earliest_ms = deadline_ms;
    }
    return now_ms - earliest_ms;
}

/* Begins where the last round ended: a full load in some shards does not keep the
 * others waiting. */
static uint64_t
reap_keyspace(struct brd_engine *engine, struct brd_keyspace *keyspace)
{
    uint64_t now_ms = engine_now_ns(engine) / BRD_NS_PER_MS;
    uint32_t shards = brd_keyspace_shards(keyspace);
    uint64_t reaped = 0;
    uint32_t i;

    atomic_store_explicit(&engine->reaper.lag_ms, lag_ms(keyspace, now_ms), memory_order_relaxed);
    for (i = 0; i < shards && reaped < ROUND_MAX; i++) {
        uint32_t shard = engine->reaper_shard++ % shards;

        while (brd_shard_next_deadline_ms(keyspace, shard) <= now_ms && reaped < ROUND_MAX) {
            uint64_t began_ns = brd_clock_mono_ns(engine->clock);
            uint32_t n = brd_shard_reap(keyspace, shard, now_ms, SLICE);

            end_slice(engine, began_ns);
            brd_counter_add(&engine->reaper.reaped, n);
            reaped += n;
        }
    }
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
    reaped = reap_keyspace(engine, engine->default_ns.keyspace);
    tended = keep_limit(engine, &wanted);
    do {
        uint64_t began_ns = brd_clock_mono_ns(engine->clock);

        n = brd_store_free_some(engine->store, FREE_SLICE);
        freed += n;
        if (n > 0)
            end_slice(engine, began_ns);
    } while (n > 0 && freed < ROUND_MAX);
    brd_counter_add(&engine->reaper.freed, freed);
    brd_counter_add(&engine->reaper.rounds, 1);
    if (reaped < ROUND_MAX && tended < ROUND_MAX && freed < ROUND_MAX)
        engine->reaper_busy_since_ns = brd_clock_mono_ns(engine->clock);
    wake_parked(engine, wanted);
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
        if (done < ROUND_MAX && !engine->reaper_stopping && !room_is_wanted(engine) &&
            !memory_is_due(&engine->memory))
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
