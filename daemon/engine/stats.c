/* Statistics: a list of (name, value, unit) from every layer, made on request.
 *
 * Counters of callers are summed over the living and the detached; ResetStats
 * remembers the sums of that moment and later answers are the difference, so no
 * thread ever writes another thread's counter. Gauges are read where they are.
 * The text of a statistic lives in caller->text until the reply is done. */
#include "engine/core.h"

#include <stdio.h>

static void
sum_counters(struct brd_engine *engine, struct counter_sums *out)
{
    struct brd_caller *caller;

    *out = engine->gone;
    for (caller = engine->callers; caller != NULL; caller = caller->next) {
#define ADD_SUM(name, unit, help) out->name += brd_counter_get(&caller->counters.name);
        CALLER_COUNTERS(ADD_SUM)
#undef ADD_SUM
    }
}

void
stats_reset(struct brd_engine *engine)
{
    struct brd_eviction_info info;
    unsigned i;

    brd_keyspace_get_eviction(engine->default_ns.keyspace, &info);
    brd_mutex_lock(&engine->lock);
    sum_counters(engine, &engine->zero);
    engine->reaped_zero = brd_counter_get(&engine->reaper.reaped);
    engine->freed_zero = brd_counter_get(&engine->reaper.freed);
    engine->slices_zero = brd_counter_get(&engine->reaper.slices);
    atomic_store_explicit(&engine->reaper.slice_max_us, 0, memory_order_relaxed);
    engine->ghost_hits_zero = info.ghost_hits;
    brd_mutex_unlock(&engine->lock);
    if (engine->wal != NULL)
        brd_wal_reset_stats(engine->wal);
    for (i = 0; i < engine->source_count; i++)
        if (engine->sources[i].reset != NULL)
            engine->sources[i].reset(engine->sources[i].arg);
}

/* ---- collecting ---- */

struct collector {
    struct brd_caller *caller;
    struct brd_bytes prefix;
};

static void
emit(void *to, const struct brd_stat *stat)
{
    struct collector *collector = to;
    size_t name_size = strlen(stat->name);

    if (name_size < collector->prefix.size ||
        (collector->prefix.size > 0 &&
         memcmp(stat->name, collector->prefix.data, collector->prefix.size) != 0))
        return;
    brd_buf_append(&collector->caller->stats, stat, sizeof(*stat));
}

static void
emit_number(struct collector *to, const char *name, const char *unit, uint64_t number, bool counter)
{
    struct brd_stat stat = {
        .name = name, .unit = unit, .number = (int64_t)number, .counter = counter
    };

    emit(to, &stat);
}

static void
emit_text(struct collector *to, const char *name, const char *text)
{
    struct brd_stat stat = { .name = name, .unit = "", .text = text };

    emit(to, &stat);
}

static const char *
durability_name(enum brd_durability durability)
{
    static const char *const names[] = { "default", "none", "async", "normal", "full" };

    return names[durability];
}

static void
collect_counters(struct brd_engine *engine, struct collector *to)
{
    struct counter_sums sums;
    struct counter_sums zero;
    uint64_t reaped;
    uint64_t freed;
    uint64_t slices;

    brd_mutex_lock(&engine->lock);
    sum_counters(engine, &sums);
    zero = engine->zero;
    reaped = brd_counter_get(&engine->reaper.reaped) - engine->reaped_zero;
    freed = brd_counter_get(&engine->reaper.freed) - engine->freed_zero;
    slices = brd_counter_get(&engine->reaper.slices) - engine->slices_zero;
    brd_mutex_unlock(&engine->lock);
#define EMIT_SUM(name, unit, help) emit_number(to, #name, unit, sums.name - zero.name, true);
    CALLER_COUNTERS(EMIT_SUM)
#undef EMIT_SUM
    emit_number(to, "ttl_reaped", "1", reaped, true);
    emit_number(to, "ttl_expired", "1",
                reaped + (sums.ttl_purged - zero.ttl_purged) +
                    (sums.ttl_evicted - zero.ttl_evicted) +
                    (sums.deadlines_past - zero.deadlines_past),
                true);
    emit_number(to, "freed_behind", "1", freed, true);
    emit_number(to, "reaper_slices", "1", slices, true);
}

static void
collect_eviction(struct brd_engine *engine, struct collector *to)
{
    static const char *const names[] = {
        [BRD_EVICTION_NONE] = "noeviction", [BRD_EVICTION_S3FIFO] = "s3fifo",
        [BRD_EVICTION_LRU] = "lru",         [BRD_EVICTION_VOLATILE_TTL] = "volatile-ttl",
        [BRD_EVICTION_RANDOM] = "random",
    };
    struct brd_eviction_info info;

    brd_keyspace_get_eviction(engine->default_ns.keyspace, &info);
    emit_text(to, "eviction", names[info.policy]);
    emit_number(to, "eviction_small", "1", info.small_items, false);
    emit_number(to, "eviction_main", "1", info.main_items, false);
    emit_number(to, "eviction_small_share", "permille", info.small_permille, false);
    emit_number(to, "eviction_ghosts", "1", info.ghosts, false);
    emit_number(to, "eviction_ghost_hits", "1", info.ghost_hits - engine->ghost_hits_zero, true);
}

static void
collect_gauges(struct brd_engine *engine, struct collector *to)
{
    struct brd_store_memory memory;

    brd_store_get_memory(engine->store, &memory);
    emit_number(to, "keys", "1", brd_keyspace_count(engine->default_ns.keyspace), false);
    emit_number(to, "keys_with_ttl", "1", memory.with_deadline, false);
    emit_number(to, "memory_data", "bytes", memory.data_bytes, false);
    emit_number(to, "memory_entries", "bytes", memory.entry_bytes, false);
    emit_number(to, "memory_blobs", "bytes", memory.blob_bytes, false);
    emit_number(to, "memory_held", "bytes", memory.held_bytes, false);
    emit_number(to, "memory_tables", "bytes", memory.table_bytes, false);
    emit_number(to, "memory_chunks", "bytes", memory.chunk_bytes, false);
    emit_number(to, "memory_deadlines", "bytes", memory.deadline_bytes, false);
    emit_number(to, "memory_fixed", "bytes", memory.fixed_bytes, false);
    emit_number(to, "memory_graveyard", "bytes", memory.graveyard_bytes, false);
    emit_number(to, "memory_overhead", "bytes", memory_overhead(&engine->memory), false);
    emit_number(to, "memory_used", "bytes",
                brd_store_used_bytes(engine->store) + memory_overhead(&engine->memory), false);
    emit_number(to, "memory_free_tables", "bytes", brd_store_idle_bytes(engine->store), false);
    emit_number(to, "memory_limit", "bytes",
                atomic_load_explicit(&engine->max_memory_bytes, memory_order_relaxed), false);
    emit_number(to, "stripes", "1", brd_store_stripes(engine->store), false);
    emit_number(to, "memory_eviction", "bytes", memory.eviction_bytes, false);
    collect_eviction(engine, to);
    emit_text(to, "durability", durability_name(engine->default_ns.durability));
    emit_number(to, "expiry_lag", "ms", brd_counter_get(&engine->reaper.lag_ms), false);
    emit_number(to, "reaper_slice_max", "us", brd_counter_get(&engine->reaper.slice_max_us), false);
    emit_number(to, "clock_steps", "1", brd_counter_get(&engine->reaper.clock_steps), false);
    emit_number(to, "clock_steps_refused", "1", brd_counter_get(&engine->reaper.clock_refused),
                false);
    emit_number(to, "version_last", "ns", brd_sequencer_last(&engine->sequencer), false);
}

static void
collect_log(struct brd_engine *engine, struct collector *to)
{
    struct brd_wal_stats wal;

    if (engine->wal == NULL)
        return;
    brd_wal_get_stats(engine->wal, &wal);
    emit_number(to, "wal_records", "1", wal.records, true);
    emit_number(to, "wal_bytes", "bytes", wal.bytes, true);
    emit_number(to, "wal_commits", "1", wal.groups, true);
    emit_number(to, "wal_syncs", "1", wal.syncs, true);
    emit_number(to, "wal_sync_gathers", "1", wal.sync_gathers, true);
    emit_number(to, "wal_sync_errors", "1", wal.sync_errors, true);
    emit_number(to, "wal_write_errors", "1", wal.write_errors, true);
    emit_number(to, "wal_queue_waits", "1", wal.queue_waits, true);
    emit_number(to, "wal_queue", "bytes", wal.queue_bytes, false);
    emit_number(to, "wal_queue_records", "1", wal.queue_records, false);
    emit_number(to, "wal_segments", "1", wal.segments, false);
    emit_number(to, "storage_bytes", "bytes", wal.segment_bytes_total, false);
    emit_number(to, "wal_spares", "1", wal.spares, false);
    emit_number(to, "wal_spare_bytes", "bytes", wal.spare_bytes, false);
    emit_number(to, "wal_version_queued", "ns", wal.last_version, false);
    emit_number(to, "wal_version_written", "ns", wal.written_version, false);
    emit_number(to, "wal_version_synced", "ns", wal.synced_version, false);
    emit_number(to, "wal_sync_last", "us", wal.sync_last_us, false);
    emit_number(to, "wal_sync_p50", "us", wal.sync_p50_us, false);
    emit_number(to, "wal_sync_p99", "us", wal.sync_p99_us, false);
    emit_number(to, "wal_sync_p999", "us", wal.sync_p999_us, false);
    emit_number(to, "wal_sync_max", "us", wal.sync_max_us, false);
    emit_number(to, "wal_unsynced_age", "ms", wal.sync_age_ms, false);
    emit_number(to, "wal_epoch", "1", wal.epoch, false);
    emit_number(to, "wal_failed", "1", wal.poisoned, false);
    emit_number(to, "disk_free_bytes", "bytes", wal.disk_free_bytes, false);
    emit_number(to, "disk_reserve_bytes", "bytes", wal.disk_reserve_bytes, false);
    emit_number(to, "disk_low", "1", wal.disk_low, false);
    emit_number(to, "recovery_records", "1", engine->recovered.records, false);
    emit_number(to, "recovery_bytes", "bytes", engine->recovered.bytes, false);
    emit_number(to, "recovery_expired", "1", engine->recovered_expired, false);
    emit_number(to, "recovery_torn", "bytes", engine->recovered.torn_bytes, false);
    emit_number(to, "recovery_time", "ms", engine->recovery_ms, false);
    emit_number(to, "warm_keys", "1", engine->warm.keys, false);
    emit_number(to, "warm_bytes", "bytes", engine->warm.bytes, false);
    emit_number(to, "warm_expired", "1", engine->warm.expired, false);
    emit_number(to, "warm_left_out", "1", engine->warm.left_out, false);
}

static void
collect_encryption(struct brd_engine *engine, struct collector *to)
{
    if (engine->wal == NULL)
        return;
    keys_show(brd_keyring_current(keys_ring(engine)), to->caller->key_shown);
    emit_text(to, "encryption_key", to->caller->key_shown);
    emit_number(to, "encryption_pending", "1", keys_pending(engine), false);
}

static void
collect_checkpoint(struct brd_engine *engine, struct collector *to)
{
    struct checkpoint_view view;

    if (engine->wal == NULL)
        return;
    checkpoint_look(engine, &view);
    emit_number(to, "checkpoints", "1", view.runs, false);
    emit_number(to, "checkpoint_failures", "1", view.failures, false);
    emit_number(to, "checkpoints_pressed", "1", view.pressed, false);
    emit_number(to, "checkpoint_failed", "1", view.last.status != BRD_OK, false);
    emit_number(to, "checkpoint_running", "1", view.running, false);
    emit_number(to, "checkpoint_progress", "permille", view.permille, false);
    emit_number(to, "checkpoint_bytes", "bytes", view.bytes_so_far, false);
    emit_number(to, "checkpoint_age", "ms", view.age_ms, false);
    emit_number(to, "checkpoint_time", "ms", view.took_ms, false);
    emit_number(to, "snapshot_version", "ns", view.last.snapshot.start_version, false);
    emit_number(to, "snapshot_entries", "1", view.last.snapshot.records, false);
    emit_number(to, "snapshot_bytes", "bytes", view.last.snapshot.bytes, false);
    emit_number(to, "wal_records_uncovered", "1", view.log_records, false);
    emit_number(to, "wal_bytes_uncovered", "bytes", view.log_bytes, false);
}

enum brd_status
stats_execute(struct brd_caller *caller, const struct brd_request *request, struct brd_reply *reply)
{
    struct collector collector = { .caller = caller, .prefix = request->value };
    struct brd_engine *engine = caller->engine;
    unsigned i;

    brd_buf_clear(&caller->stats);
    for (i = 0; i < engine->source_count; i++)
        engine->sources[i].collect(engine->sources[i].arg, emit, &collector);
    collect_counters(engine, &collector);
    collect_gauges(engine, &collector);
    collect_log(engine, &collector);
    collect_checkpoint(engine, &collector);
    collect_encryption(engine, &collector);
    if (caller->stats.failed) {
        reply->status = BRD_OUT_OF_MEMORY;
        return BRD_OK;
    }
    reply->stats = (const struct brd_stat *)(const void *)caller->stats.data;
    reply->stat_count = caller->stats.size / sizeof(struct brd_stat);
    return BRD_OK;
}
