/* The engine: builds store and log, runs recovery, lends callers to workers.
 *
 *      worker --- caller ---> commands.c ---> store (stripes) + log (queue)
 *      reaper.c: clock, expiry, freeing        recovery.c: log -> store
 *
 * Order of life: create (memory only), start (recover, open the log, reaper),
 * callers come and go, stop (log drained and synced), destroy.
 *
 * Time: engine_now_ns never goes below floor_ns, which starts at what the log
 * recorded and is raised, in the same step, by whoever reads a later millisecond
 * from the clock; so a wall clock that is stepped back cannot make a key visible
 * again that anybody may have seen expired. Versions are the sequencer's and may,
 * for some seconds after a crash, run ahead of this time: deadlines are judged by
 * the time, not by versions, or keys would expire early after every crash.
 *
 * Not here: what requests do (commands.c), statistics (stats.c). */
#include "engine/core.h"

#include "base/check.h"
#include "base/diag.h"
#include "engine/warm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_KEY_BYTES   (64u << 10)
#define DEFAULT_VALUE_BYTES (64u << 20)
#define DEFAULT_BATCH_KEYS  16384u

/* Scratch memory above this is given back at the end of a batch. */
#define SCRATCH_KEEP_BYTES (256u << 10)

static void
fill_defaults(struct brd_engine_options *options)
{
    if (options->max_key_bytes == 0)
        options->max_key_bytes = DEFAULT_KEY_BYTES;
    if (options->max_value_bytes == 0)
        options->max_value_bytes = DEFAULT_VALUE_BYTES;
    if (options->max_batch_keys == 0)
        options->max_batch_keys = DEFAULT_BATCH_KEYS;
    if (options->reap_interval_ns == 0)
        options->reap_interval_ns = 100 * BRD_NS_PER_MS;
    if (options->max_clock_behind_ns == 0)
        options->max_clock_behind_ns = 3600 * BRD_NS_PER_S;
    if (options->data_dir == NULL)
        options->durability = BRD_DURABILITY_NONE;
    else if (options->durability == BRD_DURABILITY_DEFAULT)
        options->durability = BRD_DURABILITY_NORMAL;
}

/* Say so where nothing would ever fit. */
static void
set_store_limit(struct brd_engine *engine, uint64_t bytes)
{
    struct brd_store_memory memory;

    brd_store_set_limit(engine->store, bytes);
    brd_store_get_memory(engine->store, &memory);
    if (bytes != 0 && bytes <= memory.fixed_bytes)
        brd_diag_warning("max-memory (%" PRIu64 " bytes) is less than the %" PRIu64
                         " bytes that an empty store takes: no key can be stored",
                         bytes, memory.fixed_bytes);
}

enum brd_status
brd_engine_create(const struct brd_engine_options *options, struct brd_engine **out_engine)
{
    struct brd_store_options store_options = { .stripes = options->stripes,
                                               .secret = options->secret };
    struct brd_engine *engine;
    enum brd_status status;

    if (options->max_key_bytes > BRD_STORE_KEY_MAX)
        return BRD_INVALID_ARGUMENT;
    if (options->warm && (options->data_dir == NULL || options->durability != BRD_DURABILITY_NONE))
        return BRD_INVALID_ARGUMENT;
    engine = aligned_alloc(BRD_CACHE_LINE, sizeof(*engine));
    if (engine == NULL)
        return BRD_OUT_OF_MEMORY;
    memset(engine, 0, sizeof(*engine));
    engine->options = *options;
    engine->options.secret = NULL;
    engine->options.keys = NULL; /* keys_ring */
    fill_defaults(&engine->options);
    engine->clock = options->clock;
    atomic_init(&engine->floor_ns, 0);
    atomic_init(&engine->max_memory_bytes, options->max_memory_bytes);
    atomic_init(&engine->held_bytes_max, options->held_bytes_max);
    brd_mutex_init(&engine->lock, BRD_RANK_ENGINE);
    brd_mutex_init(&engine->reaper_lock, BRD_RANK_FREER);
    brd_cond_init(&engine->reaper_cond);
    keys_init(engine, options->keys);
    checkpoint_init(engine, &(struct checkpoint_policy){
                                .log_bytes = options->checkpoint_log_bytes,
                                .interval_ns = options->checkpoint_interval_ns,
                                .rate_bytes = options->checkpoint_rate_bytes,
                                .on_stop = options->checkpoint_on_stop,
                            });
    brd_sequencer_init(&engine->sequencer, 0);
    engine->default_ns.id = NS_DEFAULT_ID;
    engine->default_ns.name = "default";
    engine->default_ns.durability = engine->options.durability;
    engine->started_mono_ns = brd_clock_mono_ns(engine->clock);
    status = brd_store_create(&store_options, &engine->store);
    if (status == BRD_OK)
        status = brd_keyspace_create(engine->store, 0, &engine->default_ns.keyspace);
    if (status == BRD_OK)
        status = brd_caller_attach(engine, &engine->background);
    if (status != BRD_OK) {
        brd_engine_destroy(&engine);
        return status;
    }
    memory_init(engine);
    set_store_limit(engine, options->max_memory_bytes);
    brd_keyspace_set_eviction(engine->default_ns.keyspace, options->eviction);
    *out_engine = engine;
    return BRD_OK;
}

enum brd_status
brd_engine_start(struct brd_engine *engine, struct brd_engine_error *out_error)
{
    enum brd_status status;

    BRD_CHECK(!engine->started);
    if (engine->options.data_dir != NULL) {
        status = recovery_run(engine, out_error);
        if (status != BRD_OK) {
            brd_wal_close(&engine->wal); /* its threads may run already */
            return status;
        }
    }
    engine->started = true;
    status = engine->wal != NULL ? checkpoint_start(engine) : BRD_OK;
    if (status == BRD_OK && !engine->options.manual)
        status = reaper_start(engine);
    if (status != BRD_OK)
        snprintf(out_error->text, sizeof(out_error->text),
                 "cannot start a thread: the system has no more to give");
    return status;
}

enum brd_status
brd_engine_stop(struct brd_engine *engine)
{
    enum brd_status status = BRD_OK;

    checkpoint_stop(engine);
    reaper_stop(engine);
    if (engine->started)
        warm_write(engine);
    if (engine->started && engine->wal != NULL) {
        brd_wal_note_time(engine->wal, engine_now_ns(engine));
        status = brd_wal_stop(engine->wal);
    }
    engine->started = false;
    return status;
}

void
brd_engine_destroy(struct brd_engine **engine_ptr)
{
    struct brd_engine *engine = *engine_ptr;

    if (engine == NULL)
        return;
    if (engine->started) {
        enum brd_status ignored = brd_engine_stop(engine); /* the log has said what failed */

        (void)ignored;
    }
    brd_caller_detach(&engine->background);
    BRD_CHECK(engine->callers == NULL);
    brd_wal_close(&engine->wal);
    if (!engine->options.leave_entries) {
        brd_keyspace_destroy(&engine->default_ns.keyspace);
        brd_store_destroy(&engine->store);
    }
    checkpoint_fini(engine);
    keys_fini(engine);
    brd_cond_fini(&engine->reaper_cond);
    brd_mutex_fini(&engine->reaper_lock);
    brd_mutex_fini(&engine->lock);
    free(engine);
    *engine_ptr = NULL;
}

uint64_t
engine_now_ns(struct brd_engine *engine)
{
    uint64_t floor_ns = atomic_load_explicit(&engine->floor_ns, memory_order_relaxed);
    uint64_t now_ns = brd_clock_now_ns(engine->clock);

    if (now_ns <= floor_ns)
        return floor_ns;
    /* Deadlines are whole ms: so the word is written once in each, not by every batch. */
    if (now_ns / BRD_NS_PER_MS > floor_ns / BRD_NS_PER_MS)
        while (floor_ns < now_ns &&
               !atomic_compare_exchange_weak_explicit(&engine->floor_ns, &floor_ns, now_ns,
                                                      memory_order_relaxed, memory_order_relaxed))
            ;
    return now_ns;
}

struct brd_committed
brd_engine_committed(const struct brd_engine *engine)
{
    struct brd_committed committed = { .normal = UINT64_MAX, .full = UINT64_MAX };

    if (engine->wal == NULL)
        return committed;
    /* Poison first: once it is seen, the positions below it are final. */
    committed.failed = brd_wal_poisoned(engine->wal);
    committed.normal = brd_wal_committed(engine->wal, BRD_DURABILITY_NORMAL);
    committed.full = brd_wal_committed(engine->wal, BRD_DURABILITY_FULL);
    return committed;
}

bool
brd_engine_may_go_on(const struct brd_engine *engine, const struct brd_job *job)
{
    return job->ticket == 0 ||
           atomic_load_explicit(&engine->checkpoint.covered, memory_order_relaxed) >= job->ticket;
}

/* ---- callers ---- */

enum brd_status
brd_caller_attach(struct brd_engine *engine, struct brd_caller **out_caller)
{
    struct brd_caller *caller = aligned_alloc(BRD_CACHE_LINE, sizeof(*caller));

    if (caller == NULL)
        return BRD_OUT_OF_MEMORY;
    memset(caller, 0, sizeof(*caller));
    caller->engine = engine;
    brd_buf_init(&caller->payload);
    brd_buf_init(&caller->hashes);
    brd_buf_init(&caller->items);
    brd_buf_init(&caller->stats);
    brd_buf_init(&caller->text);
    brd_mutex_lock(&engine->lock);
    caller->next = engine->callers;
    engine->callers = caller;
    brd_mutex_unlock(&engine->lock);
    *out_caller = caller;
    return BRD_OK;
}

void
brd_caller_detach(struct brd_caller **caller_ptr)
{
    struct brd_caller *caller = *caller_ptr;
    struct brd_caller **link;
    struct brd_engine *engine;

    if (caller == NULL)
        return;
    engine = caller->engine;
    BRD_CHECK(!caller->guard_open);
    brd_mutex_lock(&engine->lock);
    for (link = &engine->callers; *link != caller; link = &(*link)->next)
        BRD_CHECK(*link != NULL);
    *link = caller->next;
#define ADD_GONE(name, unit, help) engine->gone.name += brd_counter_get(&caller->counters.name);
    CALLER_COUNTERS(ADD_GONE)
#undef ADD_GONE
    brd_mutex_unlock(&engine->lock);
    brd_buf_fini(&caller->payload);
    brd_buf_fini(&caller->hashes);
    brd_buf_fini(&caller->items);
    brd_buf_fini(&caller->stats);
    brd_buf_fini(&caller->text);
    free(caller);
    *caller_ptr = NULL;
}

void
brd_caller_begin(struct brd_caller *caller)
{
    caller->now_ns = engine_now_ns(caller->engine);
    caller->now_ms = caller->now_ns / BRD_NS_PER_MS;
    caller->committed = brd_engine_committed(caller->engine);
}

void
brd_caller_prepare(struct brd_caller *caller, struct brd_request *requests, size_t n)
{
    const struct brd_keyspace *keyspace = caller->engine->default_ns.keyspace;
    size_t i;

    for (i = 0; i < n; i++) {
        requests[i].hash = brd_store_hash(caller->engine->store, requests[i].key);
        brd_keyspace_prefetch(keyspace, requests[i].hash);
    }
    if (n == 1)
        return; /* nothing to overlap with */
    for (i = 0; i < n; i++)
        brd_keyspace_prefetch_entry(keyspace, requests[i].hash);
}

enum brd_status
brd_caller_execute(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    enum brd_status status;

    BRD_DCHECK(!caller->guard_open);
    *reply = (struct brd_reply){ .status = BRD_OK };
    status = command_execute(caller, request, reply);
    if (status != BRD_OK)
        brd_caller_done(caller, reply);
    return status;
}

void
brd_caller_done(struct brd_caller *caller, struct brd_reply *reply)
{
    (void)reply;
    if (caller->guard_open) {
        caller->guard_open = false;
        brd_guard_end(&caller->guard);
    }
    if (caller->blob != NULL) {
        brd_blob_unref(caller->blob);
        caller->blob = NULL;
    }
}

static void
trim(struct brd_buf *buf)
{
    if (buf->room > SCRATCH_KEEP_BYTES)
        brd_buf_fini(buf);
    else
        brd_buf_clear(buf);
}

void
brd_caller_end(struct brd_caller *caller)
{
    BRD_CHECK(!caller->guard_open);
    trim(&caller->payload);
    trim(&caller->hashes);
    trim(&caller->items);
    trim(&caller->stats);
    trim(&caller->text);
    if (caller->appended) {
        caller->appended = false;
        brd_wal_kick(caller->engine->wal);
    }
}

uint64_t
brd_caller_now_ms(const struct brd_caller *caller)
{
    return caller->now_ms;
}

/* ---- information ---- */

void
brd_engine_get_info(const struct brd_engine *engine, struct brd_engine_info *out_info)
{
    *out_info = (struct brd_engine_info){
        .epoch = engine->wal != NULL ? brd_wal_epoch(engine->wal) : 0,
        .max_key_bytes = engine->options.max_key_bytes,
        .max_value_bytes = engine->options.max_value_bytes,
        .max_batch_keys = engine->options.max_batch_keys,
        .durability = engine->default_ns.durability,
    };
}

enum brd_status
brd_engine_add_stats(struct brd_engine *engine, const struct brd_stats_source *source)
{
    BRD_CHECK(!engine->started);
    if (engine->source_count == STATS_SOURCES_MAX)
        return BRD_LIMIT_EXCEEDED;
    engine->sources[engine->source_count++] = *source;
    return BRD_OK;
}

void
brd_engine_set_max_memory(struct brd_engine *engine, uint64_t bytes)
{
    atomic_store_explicit(&engine->max_memory_bytes, bytes, memory_order_relaxed);
    set_store_limit(engine, bytes);
    brd_keyspace_set_eviction(engine->default_ns.keyspace,
                              brd_keyspace_eviction(engine->default_ns.keyspace));
    reaper_wake(engine);
}

void
brd_engine_set_held_max(struct brd_engine *engine, uint64_t bytes)
{
    atomic_store_explicit(&engine->held_bytes_max, bytes, memory_order_relaxed);
    reaper_wake(engine);
}

void
brd_engine_set_eviction(struct brd_engine *engine, enum brd_eviction policy)
{
    brd_keyspace_set_eviction(engine->default_ns.keyspace, policy);
    reaper_wake(engine);
}

void
brd_engine_set_disk_reserve(struct brd_engine *engine, uint64_t bytes)
{
    if (engine->wal != NULL)
        brd_wal_set_disk_reserve(engine->wal, bytes);
}

uint64_t
brd_engine_tick(struct brd_engine *engine)
{
    if (engine->options.manual && engine->wal != NULL)
        checkpoint_tend(engine);
    return reaper_tick(engine);
}

uint64_t
brd_engine_heartbeat(struct brd_engine *engine)
{
    uint64_t rounds = brd_counter_get(&engine->reaper.rounds);
    uint64_t log = engine->wal != NULL ? brd_wal_heartbeat(engine->wal) : rounds;

    if (rounds != engine->watched_rounds && log != engine->watched_log) {
        engine->watched_rounds = rounds;
        engine->watched_log = log;
        engine->beats++;
    }
    return engine->beats;
}

struct walk_state {
    void (*visit)(void *arg, struct brd_bytes key, struct brd_bytes value, uint64_t version,
                  uint64_t deadline_ms);
    void *arg;
    uint64_t now_ms;
};

static void
visit_live(void *arg, const struct brd_walk_item *item)
{
    struct walk_state *state = arg;

    if (item->view.deadline_ms == 0 || item->view.deadline_ms > state->now_ms)
        state->visit(state->arg, item->key, item->view.value, item->view.version,
                     item->view.deadline_ms);
}

void
brd_engine_walk(struct brd_engine *engine,
                void (*visit)(void *arg, struct brd_bytes key, struct brd_bytes value,
                              uint64_t version, uint64_t deadline_ms),
                void *arg)
{
    struct walk_state state = { visit, arg, engine_now_ns(engine) / BRD_NS_PER_MS };
    uint32_t shards = brd_keyspace_shards(engine->default_ns.keyspace);
    uint32_t shard;

    for (shard = 0; shard < shards; shard++) {
        uint64_t cursor = 0;

        do {
            brd_shard_walk(engine->default_ns.keyspace, shard, &cursor, 256, visit_live, &state);
        } while (cursor != 0);
    }
}
