/* Snapshot and log -> store, once, before anybody is served.
 *
 * The newest snapshot, if there is one, is loaded by as many threads as there are
 * cores (load.c). Then the changes of the log behind its start are applied, those of a
 * key in the order of their versions (replay.c), by the rules of redo.c, so the state
 * after the last one is the state before the stop. What is expired is dropped after the
 * last record.
 *
 * The two must fit: the snapshot is whole, it is this directory's, it begins
 * where the log begins or later, and the log reaches its end. Anything else is
 * damage, and said so; an older snapshot is never taken instead.
 *
 * A cache that is not logged has neither; what its last stop left for it (warm.c) is loaded
 * when that is clear.
 *
 * Failure: the store is left half filled and the caller gives up the engine;
 * no file has been changed. */
#include "engine/core.h"
#include "engine/load.h"
#include "engine/redo.h"
#include "engine/replay.h"
#include "engine/snapshot.h"
#include "engine/warm.h"

#include "base/diag.h"
#include "base/plural.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_RECORDS 4096
#define LOOK_BYTES   (UINT64_C(4) << 20)

struct replay {
    struct redo redo;
    struct replay_crew *crew; /* owned, while the log is read */
    uint64_t began_ns;
    uint64_t told_ns;       /* when progress was last logged */
    uint64_t done, total;   /* bytes of the log, before the group of the record */
    uint64_t looked_done;   /* what was done when it was last thought of */
    uint64_t start_version; /* what is at or below it is in the snapshot */
    uint64_t seen;          /* records of the log */
    uint64_t records;       /* of them, above start_version */
    uint64_t to_version;    /* what is above it does not count */
    uint64_t version;       /* the newest that counted */
    bool passed;            /* there was one above to_version */
};

static void
tell_progress(struct replay *replay, const char *what, uint64_t done, uint64_t total)
{
    uint64_t now_ns = brd_clock_mono_ns(replay->redo.engine->clock);
    uint64_t left_s;

    if (now_ns - replay->told_ns < 2 * BRD_NS_PER_S || done == 0)
        return;
    replay->told_ns = now_ns;
    left_s = (uint64_t)((double)(now_ns - replay->began_ns) / (double)done *
                        (double)(total - done) / (double)BRD_NS_PER_S);
    brd_diag_info("recovery: %" PRIu64 " of %" PRIu64 " MiB of %s, about %" PRIu64 " s left",
                  done >> 20, total >> 20, what, left_s);
}

/* Is the daemon told to stop? */
static enum brd_status
check_stop(struct redo *redo)
{
    const struct brd_engine_options *options = &redo->engine->options;

    if (options->stop_wanted == NULL || !options->stop_wanted(options->arg))
        return BRD_OK;
    return redo_give_up(redo, BRD_SHUTTING_DOWN, "told to stop before recovery was over");
}

static enum brd_status
on_record(void *arg, const struct brd_wal_group_view *group, uint64_t version,
          struct brd_bytes payload)
{
    struct replay *replay = arg;
    enum brd_status status = BRD_OK;

    (void)group;
    if (version > replay->to_version) {
        replay->passed = true;
        return BRD_CLOSED;
    }
    if (version > replay->version)
        replay->version = version;
    if (version > replay->start_version) {
        replay->records++;
        status = replay_record(replay->crew, version, payload);
    }
    /* By bytes too: records may be large. */
    if (++replay->seen % LOOK_RECORDS == 0 || replay->done - replay->looked_done >= LOOK_BYTES) {
        replay->looked_done = replay->done;
        tell_progress(replay, "the log replayed", replay->done, replay->total);
        if (status == BRD_OK)
            status = check_stop(&replay->redo);
    }
    return status;
}

/* What lies behind the end of the log may be long, and anything at all. */
static enum brd_status
on_progress(void *arg, bool searching, uint64_t done, uint64_t total)
{
    struct replay *replay = arg;

    if (searching) {
        tell_progress(replay, "what is behind the end of the log searched", done, total);
        return check_stop(&replay->redo);
    }
    replay->done = done;
    replay->total = total;
    return BRD_OK;
}

/* ---- The snapshot ---- */

static enum brd_status
on_block(void *arg, uint64_t done, uint64_t total, struct brd_engine_error *out_error)
{
    struct replay *replay = arg;
    struct redo redo = { .engine = replay->redo.engine, .error = out_error };

    tell_progress(replay, "the snapshot loaded", done, total);
    return check_stop(&redo);
}

static const struct brd_io *
io_of(const struct brd_engine *engine)
{
    return engine->options.io != NULL ? engine->options.io : brd_io_real();
}

/* What the log tells of snapshots, before it was read. */
static struct brd_snapshot_log
log_of(const struct brd_engine *engine)
{
    return (struct brd_snapshot_log){ .uuid = brd_wal_uuid(engine->wal),
                                      .base_version = brd_wal_base_version(engine->wal),
                                      .end_version = UINT64_MAX,
                                      .all_sealed = brd_wal_all_sealed(engine->wal) };
}

/* The snapshot of this version; 0: there is none. */
static enum brd_status
load_snapshot(struct replay *replay, uint64_t version)
{
    struct brd_engine *engine = replay->redo.engine;
    const struct brd_snapshot_log log = log_of(engine);
    struct load load = { .engine = engine, .progress = on_block, .arg = replay };
    struct brd_snapshot_error error = { .text = "" };
    enum brd_status status;
    char *path;

    if (version == 0)
        return BRD_OK;
    path = snapshot_path(engine->options.data_dir, version);
    if (path == NULL)
        return redo_give_up(&replay->redo, BRD_OUT_OF_MEMORY, "out of memory");
    status = snapshot_open(&load.reader, io_of(engine), keys_ring(engine), path, &error);
    if (status != BRD_OK) {
        free(path);
        return redo_give_up(&replay->redo, status, "%s", error.text);
    }
    status = snapshot_check_fit(&load.reader.info, path, version, &log, &error);
    status = status == BRD_OK ? load_run(&load, replay->redo.error)
                              : redo_give_up(&replay->redo, status, "%s", error.text);
    engine->snapshot = load.reader.info;
    replay->start_version = load.reader.info.start_version;
    replay->version = replay->redo.fuzzy_end = load.reader.info.end_version;
    snapshot_close(&load.reader);
    free(path);
    return status;
}

static enum brd_status
load_newest_snapshot(struct replay *replay)
{
    struct brd_engine *engine = replay->redo.engine;
    const char *dir = engine->options.data_dir;
    struct brd_snapshot_error error = { .text = "" };
    uint64_t version;
    enum brd_status status = snapshot_newest(io_of(engine), dir, &version, &error);

    if (status == BRD_NOT_FOUND)
        status = snapshot_check_none(dir, brd_wal_base_version(engine->wal), &error);
    if (status != BRD_OK)
        return redo_give_up(&replay->redo, status, "%s", error.text);
    return load_snapshot(replay, version);
}

/* The log behind a snapshot must reach what the snapshot has seen. */
static enum brd_status
check_end(struct replay *replay)
{
    struct brd_engine *engine = replay->redo.engine;
    const struct brd_snapshot_info *info = &engine->snapshot;
    struct brd_snapshot_log log = log_of(engine);
    struct brd_snapshot_error error;
    enum brd_status status;

    log.end_version = engine->recovered.last_version;
    if (log.end_version < log.base_version)
        log.end_version = log.base_version;
    if (info->start_version == 0)
        return BRD_OK;
    status = snapshot_check_fit(info, engine->options.data_dir, info->start_version, &log, &error);
    return status == BRD_OK ? BRD_OK : redo_give_up(&replay->redo, status, "%s", error.text);
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

/* Apply the log, as far as it counts. */
static enum brd_status
replay_log(struct replay *replay)
{
    const struct brd_wal_visitor visitor = { .arg = replay,
                                             .progress = on_progress,
                                             .record = on_record };
    struct brd_engine *engine = replay->redo.engine;
    struct brd_engine_error *out_error = replay->redo.error;
    struct brd_wal_error error = { .text = "" };
    enum brd_status status;
    enum brd_status applied;

    replay->began_ns = brd_clock_mono_ns(engine->clock);
    status = replay_begin(&replay->redo, engine->options.replay_threads, &replay->crew);
    if (status != BRD_OK)
        return status;
    status = brd_wal_visit(engine->wal, &visitor, &engine->recovered, &error);
    applied = replay_end(&replay->crew);
    if (applied != BRD_OK)
        return applied; /* it comes before whatever ended the reading */
    if (replay->passed)
        return BRD_OK; /* what is behind does not matter, not even whether it is whole */
    return status == BRD_OK ? check_end(replay) : wal_failed(out_error, status, &error);
}

/* Is a time of the log so far ahead of the clock that one of the two is wrong? */
static bool
is_far_ahead(const struct brd_engine *engine, uint64_t ns)
{
    uint64_t now_ns = brd_clock_now_ns(engine->clock);

    return ns > now_ns && ns - now_ns > engine->options.max_clock_behind_ns;
}

/* The snapshot's name may be in the page cache only: the process that gave it may have
 * ended before its sync of the directory. From now on older snapshots and segments go. */
static enum brd_status
keep_snapshot(struct brd_engine *engine, struct brd_engine_error *out_error)
{
    const struct brd_io *io = engine->options.io != NULL ? engine->options.io : brd_io_real();
    struct redo redo = { .engine = engine, .error = out_error };
    char path[4096];
    int result;

    if (engine->snapshot.start_version == 0)
        return BRD_OK;
    snprintf(path, sizeof(path), "%s/snapshots", engine->options.data_dir);
    result = brd_file_sync_dir(io, path);
    return result == 0 ? BRD_OK
                       : redo_give_up(&redo, brd_file_status(result), "cannot sync %s: %s", path,
                                      brd_file_error(result));
}

/* Drop what is expired, and start the log above everything it holds. A recorded
 * time that the operator has told us to ignore is no floor: time would stand still.
 *
 * The start of the log is the first change of what is kept, so this is the last moment to
 * give up; whoever is told to stop later begins to serve, and stops in the ordinary way. */
static enum brd_status
finish(struct brd_engine *engine, struct brd_engine_error *out_error)
{
    struct redo redo = { .engine = engine, .error = out_error };
    struct brd_wal_error error = { .text = "" };
    enum brd_status status = check_stop(&redo);
    uint64_t work;

    if (status != BRD_OK)
        return status;
    if (!is_far_ahead(engine, brd_wal_time_ns(engine->wal)))
        atomic_store_explicit(&engine->floor_ns, brd_wal_time_ns(engine->wal),
                              memory_order_relaxed);
    status = keep_snapshot(engine, out_error);
    if (status != BRD_OK)
        return status;
    status = brd_wal_start(engine->wal, &error);
    if (status != BRD_OK)
        return wal_failed(out_error, status, &error);
    warm_discard(engine);
    do {
        work = reaper_tick(engine);
    } while (work > 0 && check_stop(&redo) == BRD_OK);
    out_error->text[0] = '\0';
    engine->recovered_expired = brd_counter_get(&engine->reaper.reaped);
    return BRD_OK;
}

static enum brd_status
check_clock_is_not_behind(struct brd_engine *engine, struct brd_engine_error *out_error)
{
    uint64_t logged_ns = engine->recovered.last_version;
    uint64_t loaded_ns = engine->snapshot.end_version;
    uint64_t write_ns = logged_ns > loaded_ns ? logged_ns : loaded_ns;
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
note_live(void *arg, struct brd_bytes key, struct brd_bytes value, uint64_t version,
          uint64_t deadline_ms)
{
    (void)key;
    (void)value;
    (void)version;
    (void)deadline_ms;
    ++*(uint64_t *)arg;
}

/* Under `none` nothing is logged: what was logged before would come back at the next
 * start under another class, over what was written or deleted meanwhile. */
static enum brd_status
check_nothing_would_come_back(struct brd_engine *engine, struct brd_engine_error *out_error)
{
    uint64_t live = 0;

    if (engine->default_ns.durability != BRD_DURABILITY_NONE)
        return BRD_OK;
    brd_engine_walk(engine, note_live, &live);
    if (live == 0)
        return BRD_OK;
    snprintf(out_error->text, sizeof(out_error->text),
             "durability is none, but %s holds keys that were logged (%" PRIu64
             "): what happens to them now would be in no log, and undone by a later start; start "
             "with another durability, or with another data-dir (none: in memory only), or clear "
             "them under another durability first",
             engine->options.data_dir, live);
    return BRD_INVALID_ARGUMENT;
}

static void
tell_result(const struct brd_engine *engine)
{
    const struct brd_wal_report *report = &engine->recovered;
    const uint64_t keys = brd_keyspace_count(engine->default_ns.keyspace);

    if (report->torn)
        brd_diag_warning("recovery: the log ended in a record that was never whole, as after a "
                         "power cut: %s at byte %" PRIu64 ", %" PRIu64
                         " %s dropped; nothing acknowledged as durable was in %s",
                         report->torn_path, report->torn_offset, report->torn_bytes,
                         brd_plural(report->torn_bytes, "byte", "bytes"),
                         brd_plural(report->torn_bytes, "it", "them"));
    if (engine->snapshot.start_version != 0)
        brd_diag_info("recovery: %" PRIu64 " %s in the snapshot of version %" PRIu64,
                      engine->snapshot.records,
                      brd_plural(engine->snapshot.records, "entry", "entries"),
                      engine->snapshot.start_version);
    brd_diag_info("recovery: %" PRIu64 " %s in %" PRIu32 " %s, %" PRIu64 " %s, %" PRIu64
                  " expired meanwhile, %" PRIu64 " ms",
                  report->records, brd_plural(report->records, "record", "records"),
                  report->segments, brd_plural(report->segments, "segment", "segments"), keys,
                  brd_plural(keys, "key", "keys"), engine->recovered_expired, engine->recovery_ms);
}

static uint64_t
snapshot_bytes(void *arg)
{
    return checkpoint_bytes(arg);
}

enum brd_status
recovery_run(struct brd_engine *engine, struct brd_engine_error *out_error)
{
    const uint64_t began_ns = brd_clock_mono_ns(engine->clock);
    struct brd_wal_options options = {
        .dir = engine->options.data_dir,
        .io = engine->options.io,
        .keys = keys_ring(engine),
        .clock = engine->clock,
        .sequencer = &engine->sequencer,
        .segment_bytes = engine->options.wal_segment_bytes,
        .queue_bytes_max = engine->options.wal_queue_bytes,
        .sync_interval_ns = engine->options.wal_sync_interval_ns,
        .disk_reserve_bytes = engine->options.disk_reserve_bytes,
        .on_progress = engine->options.on_progress,
        .on_written = engine->options.on_written,
        .arg = engine->options.arg,
        .snapshot_bytes = snapshot_bytes,
        .snapshot_arg = engine,
    };
    struct replay replay = { .redo = { .engine = engine, .error = out_error },
                             .to_version = UINT64_MAX };
    struct brd_wal_error error = { .text = "" };
    enum brd_status status;

    out_error->text[0] = '\0';
    replay.began_ns = replay.told_ns = brd_clock_mono_ns(engine->clock);
    status = brd_wal_open(&options, &engine->wal, &error);
    if (status != BRD_OK)
        return wal_failed(out_error, status, &error);
    status = check_stop(&replay.redo);
    if (status == BRD_OK)
        status = load_newest_snapshot(&replay);
    if (status != BRD_OK)
        return status;
    status = replay_log(&replay);
    if (status == BRD_OK)
        status = check_clock_is_not_behind(engine, out_error);
    if (status == BRD_OK)
        status = check_nothing_would_come_back(engine, out_error);
    if (status == BRD_OK)
        status = warm_load(engine, out_error);
    if (status == BRD_OK)
        status = finish(engine, out_error);
    if (status != BRD_OK)
        return status;
    engine->recovered_uncovered = replay.records;
    engine->recovery_ms = (brd_clock_mono_ns(engine->clock) - began_ns) / BRD_NS_PER_MS;
    tell_result(engine);
    return BRD_OK;
}

/* ---- An earlier state ---- */

/* The newest snapshot that ends at or before to_version and whose log is there. *out_version 0:
 * none, and none is needed. */
static enum brd_status
choose_snapshot(struct replay *replay, uint64_t *out_version, uint64_t *out_earliest)
{
    struct brd_engine *engine = replay->redo.engine;
    const struct brd_snapshot_log log = log_of(engine);
    const uint64_t base_version = log.base_version;
    const char *dir = engine->options.data_dir;
    struct brd_snapshot_error error = { .text = "" };
    struct brd_snapshot_file *files = NULL;
    enum brd_status status;
    size_t count = 0;
    size_t i;

    status = brd_snapshot_list(io_of(engine), keys_ring(engine), dir, &log, &files, &count, &error);
    if (status != BRD_OK)
        return redo_give_up(&replay->redo, status, "%s", error.text);
    *out_version = 0;
    *out_earliest = base_version == 0 ? 0 : UINT64_MAX;
    for (i = 0; i < count; i++) {
        const struct brd_snapshot_file *file = &files[i];

        if (file->status != BRD_OK || file->start_version < base_version)
            continue;
        if (*out_version == 0 && file->info.end_version <= replay->to_version)
            *out_version = file->start_version;
        if (file->info.end_version < *out_earliest)
            *out_earliest = file->info.end_version;
    }
    if (*out_earliest == UINT64_MAX) {
        const char *text = error.text;

        if (count == 0)
            status = snapshot_check_none(dir, base_version, &error);
        else if (files[0].status == BRD_OK)
            status = snapshot_check_fit(&files[0].info, files[0].path, files[0].start_version, &log,
                                        &error);
        else
            text = files[0].error.text;
        if (status == BRD_OK)
            status = count > 0 && files[0].status != BRD_OK ? files[0].status : BRD_CORRUPT;
        status = redo_give_up(&replay->redo, status, "%s", text);
    } else if (replay->to_version < *out_earliest) {
        status =
            redo_give_up(&replay->redo, BRD_HISTORY_TRIMMED,
                         "snapshots and log of %s go back to version %" PRIu64 ", not to %" PRIu64,
                         dir, *out_earliest, replay->to_version);
    }
    free(files);
    return status;
}

enum brd_status
recovery_rewind(struct brd_engine *engine, uint64_t to_version, uint64_t *out_version,
                uint64_t *out_earliest, struct brd_engine_error *out_error)
{
    struct replay replay = { .redo = { .engine = engine, .error = out_error },
                             .to_version = to_version };
    uint64_t snapshot_version = 0;
    enum brd_status status;

    out_error->text[0] = '\0';
    replay.began_ns = replay.told_ns = brd_clock_mono_ns(engine->clock);
    status = choose_snapshot(&replay, &snapshot_version, out_earliest);
    if (status == BRD_OK)
        status = load_snapshot(&replay, snapshot_version);
    if (status != BRD_OK)
        return status;
    status = replay_log(&replay);
    *out_version = replay.version;
    return status;
}
