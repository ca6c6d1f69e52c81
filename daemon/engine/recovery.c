/* Log -> store, once, before anybody is served.
 *
 * Changes are applied in the order of their versions, so the state after the
 * last one is the state before the stop. The rules are those that a replay over
 * a snapshot will need too, and they catch a log that does not fit together:
 *
 *   PUT     a full value: applies if newer than the entry
 *   DELETE  applies if newer than the entry
 *   TOUCH, APPEND  carry the version they were applied to: they apply to exactly
 *           that one; an entry that is newer skips them; a missing or older base
 *           is damage
 *   CLEAR   everything older in the namespace dies
 *
 * Replay never judges expiry: an expired entry may be the base of a later
 * change. What is expired is dropped after the last record.
 *
 * Failure: the store is left half filled and the caller gives up the engine;
 * no file has been changed. */
#include "engine/core.h"
#include "engine/mutation.h"

#include "base/diag.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct replay {
    struct brd_engine *engine;
    struct brd_engine_error *error;
    uint64_t began_ns;
    uint64_t told_ns; /* when progress was last logged */
    uint64_t changes;
};

static enum brd_status __attribute__((format(printf, 3, 4)))
give_up(struct replay *replay, enum brd_status status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(replay->error->text, sizeof(replay->error->text), format, args);
    va_end(args);
    return status;
}

static enum brd_status
no_memory(struct replay *replay)
{
    return give_up(replay, BRD_OUT_OF_MEMORY,
                   "memory ran out while the log was replayed; give the daemon more");
}

/* An entry with this value, or NULL. */
static struct brd_entry *
entry_of(struct brd_bytes key, struct brd_bytes head, struct brd_bytes tail, uint64_t deadline_ms)
{
    size_t size = head.size + tail.size;
    struct brd_blob *blob;
    struct brd_entry *entry;

    if (size < BRD_STORE_BLOB_MIN) {
        uint8_t joined[BRD_STORE_BLOB_MIN];

        if (tail.size == 0)
            return brd_entry_create(key, head, NULL, deadline_ms != 0);
        if (head.size > 0)
            memcpy(joined, head.data, head.size);
        memcpy(joined + head.size, tail.data, tail.size);
        return brd_entry_create(key, brd_bytes(joined, size), NULL, deadline_ms != 0);
    }
    blob = brd_blob_create(size);
    if (blob == NULL)
        return NULL;
    if (head.size > 0)
        memcpy(blob->data, head.data, head.size);
    if (tail.size > 0)
        memcpy(blob->data + head.size, tail.data, tail.size);
    entry = brd_entry_create(key, brd_bytes(NULL, 0), blob, deadline_ms != 0);
    if (entry == NULL)
        brd_blob_unref(blob);
    return entry;
}

/* Put an entry under the guard. Takes it over. */
static enum brd_status
put_entry(struct replay *replay, struct brd_guard *guard, uint64_t hash, struct brd_entry *entry,
          uint64_t version, uint64_t deadline_ms)
{
    if (entry == NULL)
        return no_memory(replay);
    if (brd_guard_reserve(guard, hash, deadline_ms != 0) != BRD_OK) {
        brd_entry_discard(&entry);
        return no_memory(replay);
    }
    brd_guard_put(guard, hash, entry, version, deadline_ms, 0);
    return BRD_OK;
}

static enum brd_status
apply_delta(struct replay *replay, struct brd_guard *guard, uint64_t hash, uint64_t version,
            const struct mutation *mutation, const struct brd_view *view, bool present)
{
    struct brd_entry *entry;
    uint64_t deadline_ms;

    if (present && view->version > mutation->base)
        return BRD_OK;
    if (!present || view->version < mutation->base)
        return give_up(replay, BRD_CORRUPT,
                       "the log holds %s version %" PRIu64 " of a key whose version %" PRIu64
                       " is missing: a part of the log is gone",
                       mutation_kind_name(mutation->kind), version, mutation->base);
    if (mutation->kind == MUTATION_TOUCH) {
        deadline_ms = mutation->deadline_ms;
        entry = brd_guard_copy_entry(guard, hash, mutation->key, deadline_ms != 0);
    } else {
        deadline_ms = view->deadline_ms;
        entry = entry_of(mutation->key, view->value, mutation->value, deadline_ms);
    }
    return put_entry(replay, guard, hash, entry, version, deadline_ms);
}

static enum brd_status
apply_to_key(struct replay *replay, struct brd_keyspace *keyspace, uint64_t version,
             const struct mutation *mutation)
{
    uint64_t hash = brd_store_hash(replay->engine->store, mutation->key);
    enum brd_status status = BRD_OK;
    struct brd_view view = { 0 };
    struct brd_guard guard;
    bool was_large;
    uint64_t seen;
    bool present;

    brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, hash);
    /* At time 0 nothing is expired. */
    present = brd_guard_find(&guard, hash, mutation->key, 0, &view, &seen) == BRD_OK;
    was_large = view.blob != NULL;
    switch (mutation->kind) {
    case MUTATION_PUT:
        /* Of a key that stands twice in one record the last one wins. */
        if (!present || view.version <= version)
            status = put_entry(replay, &guard, hash,
                               entry_of(mutation->key, mutation->value, brd_bytes(NULL, 0),
                                        mutation->deadline_ms),
                               version, mutation->deadline_ms);
        break;
    case MUTATION_DELETE:
        if (present && view.version < version)
            brd_guard_remove(&guard, hash, mutation->key, version, 0);
        break;
    case MUTATION_TOUCH:
    case MUTATION_APPEND:
        status = apply_delta(replay, &guard, hash, version, mutation, &view, present);
        break;
    case MUTATION_CLEAR:
        break;
    }
    brd_guard_end(&guard);
    /* What is large is not freed by the guard, and there is no reaper yet. */
    if (was_large)
        (void)brd_store_free_some(replay->engine->store, 1);
    return status;
}

static enum brd_status
apply(struct replay *replay, uint64_t version, const struct mutation *mutation)
{
    struct name_space *ns = &replay->engine->default_ns;
    struct brd_guard guard;

    if (mutation->ns != ns->id)
        return give_up(replay, BRD_UNSUPPORTED,
                       "the log holds data of namespace %" PRIu64
                       ": it was written by a newer Brindle; run that one",
                       mutation->ns);
    if (mutation->key.size > BRD_STORE_KEY_MAX)
        return give_up(replay, BRD_CORRUPT,
                       "the record of version %" PRIu64 " has a key of %zu bytes", version,
                       mutation->key.size);
    replay->changes++;
    if (mutation->kind != MUTATION_CLEAR)
        return apply_to_key(replay, ns->keyspace, version, mutation);
    if (brd_guard_begin_many(&guard, ns->keyspace, BRD_GUARD_WRITE, NULL, 0) != BRD_OK)
        return no_memory(replay);
    brd_guard_clear(&guard, version);
    brd_guard_end(&guard);
    while (brd_store_free_some(replay->engine->store, 1024) > 0)
        ;
    return BRD_OK;
}

static void
tell_progress(struct replay *replay, uint64_t done, uint64_t total)
{
    uint64_t now_ns = brd_clock_mono_ns(replay->engine->clock);
    uint64_t left_s;

    if (now_ns - replay->told_ns < 2 * BRD_NS_PER_S || done == 0)
        return;
    replay->told_ns = now_ns;
    left_s = (uint64_t)((double)(now_ns - replay->began_ns) / (double)done *
                        (double)(total - done) / (double)BRD_NS_PER_S);
    brd_diag_info("recovery: %" PRIu64 " of %" PRIu64 " MiB of log replayed, about %" PRIu64
                  " s left",
                  done >> 20, total >> 20, left_s);
}

static enum brd_status
on_record(void *arg, uint64_t version, struct brd_bytes payload, uint64_t done, uint64_t total)
{
    struct replay *replay = arg;
    enum brd_status status;

    for (;;) {
        struct mutation mutation;

        status = mutation_decode(&payload, &mutation);
        if (status == BRD_NOT_FOUND)
            break;
        if (status != BRD_OK)
            return give_up(replay, status,
                           "the record of version %" PRIu64 " is no change that this Brindle knows",
                           version);
        status = apply(replay, version, &mutation);
        if (status != BRD_OK)
            return status;
    }
    if ((replay->changes & 4095) == 0)
        tell_progress(replay, done, total);
    return BRD_OK;
}

/* Put what the log says into the operator's sentence. */
static enum brd_status
wal_failed(struct brd_engine_error *out_error, enum brd_status status,
           const struct brd_wal_error *error)
{
    if (out_error->text[0] == '\0')
        snprintf(out_error->text, sizeof(out_error->text), "%s%s%s%s", error->text,
                 error->path[0] != '\0' ? " (" : "", error->path,
                 error->path[0] != '\0' ? ")" : "");
    return status;
}

/* Is a time of the log so far ahead of the clock that one of the two is wrong? */
static bool
is_far_ahead(const struct brd_engine *engine, uint64_t ns)
{
    uint64_t now_ns = brd_clock_now_ns(engine->clock);

    return ns > now_ns && ns - now_ns > engine->options.max_clock_behind_ns;
}

/* Drop what is expired, and start the log above everything it holds. A recorded
 * time that the operator has told us to ignore is no floor: time would stand still. */
static enum brd_status
finish(struct brd_engine *engine, struct brd_engine_error *out_error)
{
    struct brd_wal_error error = { .text = "" };
    enum brd_status status;
    uint64_t work;

    if (!is_far_ahead(engine, brd_wal_time_ns(engine->wal)))
        atomic_store_explicit(&engine->floor_ns, brd_wal_time_ns(engine->wal),
                              memory_order_relaxed);
    status = brd_wal_start(engine->wal, &error);
    if (status != BRD_OK)
        return wal_failed(out_error, status, &error);
    do {
        work = reaper_tick(engine);
    } while (work > 0);
    engine->recovered_expired = brd_counter_get(&engine->reaper.reaped);
    return BRD_OK;
}

static enum brd_status
check_clock_is_not_behind(struct brd_engine *engine, struct brd_engine_error *out_error)
{
    uint64_t write_ns = engine->recovered.last_version;
    uint64_t time_ns = brd_wal_time_ns(engine->wal);
    uint64_t newest_ns = write_ns > time_ns ? write_ns : time_ns;

    if (engine->options.ignore_clock || !is_far_ahead(engine, newest_ns))
        return BRD_OK;
    snprintf(out_error->text, sizeof(out_error->text),
             "the clock is %" PRIu64
             " s behind the newest %s in the log; correct it, or start with --ignore-clock",
             (newest_ns - brd_clock_now_ns(engine->clock)) / BRD_NS_PER_S,
             write_ns >= time_ns ? "write" : "time recorded");
    return BRD_OUT_OF_RANGE;
}

static void
tell_result(const struct brd_engine *engine)
{
    const struct brd_wal_report *report = &engine->recovered;

    if (report->torn)
        brd_diag_warning("recovery: the log ended in a record that was never whole, as after a "
                         "power cut: %s at byte %" PRIu64 ", %" PRIu64
                         " bytes dropped; nothing acknowledged as durable was in them",
                         report->torn_path, report->torn_offset, report->torn_bytes);
    brd_diag_info("recovery: %" PRIu64 " records in %" PRIu32 " segments, %" PRIu64
                  " keys, %" PRIu64 " expired meanwhile, %" PRIu64 " ms",
                  report->records, report->segments,
                  brd_keyspace_count(engine->default_ns.keyspace), engine->recovered_expired,
                  engine->recovery_ms);
}

enum brd_status
recovery_run(struct brd_engine *engine, struct brd_engine_error *out_error)
{
    struct brd_wal_options options = {
        .dir = engine->options.data_dir,
        .io = engine->options.io,
        .clock = engine->clock,
        .sequencer = &engine->sequencer,
        .segment_bytes = engine->options.wal_segment_bytes,
        .queue_bytes_max = engine->options.wal_queue_bytes,
        .sync_interval_ns = engine->options.wal_sync_interval_ns,
        .on_progress = engine->options.on_progress,
        .arg = engine->options.arg,
    };
    struct replay replay = { .engine = engine, .error = out_error };
    struct brd_wal_error error = { .text = "" };
    enum brd_status status;

    out_error->text[0] = '\0';
    replay.began_ns = replay.told_ns = brd_clock_mono_ns(engine->clock);
    status = brd_wal_open(&options, &engine->wal, &error);
    if (status != BRD_OK)
        return wal_failed(out_error, status, &error);
    status = brd_wal_replay(engine->wal, on_record, &replay, &engine->recovered, &error);
    if (status != BRD_OK)
        return wal_failed(out_error, status, &error);
    status = check_clock_is_not_behind(engine, out_error);
    if (status == BRD_OK)
        status = finish(engine, out_error);
    if (status != BRD_OK)
        return status;
    engine->recovery_ms = (brd_clock_mono_ns(engine->clock) - replay.began_ns) / BRD_NS_PER_MS;
    tell_result(engine);
    return BRD_OK;
}
