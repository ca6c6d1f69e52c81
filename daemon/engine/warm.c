/* Warm restarts of a cache.
 *
 * Under durability `none` nothing is logged and no checkpoint is made: a crash leaves an empty
 * cache. With options.warm an orderly stop leaves its content in one snapshot, which the next
 * start loads:
 *
 *   DIR/warm/snapshots/VERSION.snap     in the format of snapshots, by their writer: temporary
 *                                       name, sync, rename, sync of the directory
 *
 * It counts for one start only. What a client changes or deletes after that start is in no
 * record, so the file would bring back what was overwritten. Two guards see to it, and each is
 * enough:
 *
 *   - The file holds the epoch of the process that wrote it, and counts only where that is the
 *     last epoch of the directory. A start makes its own epoch durable (brd_wal_start) before
 *     anybody is served; from then on the file is out of date, whatever becomes of it.
 *   - The start then removes it, durably, still before anybody is served.
 *
 * So a start that is killed before its epoch is durable finds the file again, nobody having been
 * served, and one that is killed later finds none.
 *
 * It is a cache: a file that is damaged, of another directory, of a later format, or from before
 * some other start, is a warning and goes the same way, and never keeps the daemon from
 * starting; nor does a disk that is full at the stop. Entries hold their versions and
 * deadlines; what has expired is dropped on both sides. No version that was ever issued lies at or
 * above the ceiling in meta, so a file that claims one is none of ours.
 *
 * The stop writes as fast as the disk does, with one block and one slice of large values in memory.
 * A second signal ends it, and with it the file: whoever asks twice is in a hurry. */
#include "engine/warm.h"

#include "base/crashpoint.h"
#include "base/diag.h"
#include "base/plural.h"
#include "engine/dump.h"
#include "engine/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_BYTES (UINT64_C(1) << 20) /* written between two questions whether to go on */
#define TELL_NS    (2 * BRD_NS_PER_S)
#define NOTIFY_NS  BRD_NS_PER_S

static const struct brd_io *
io_of(const struct brd_engine *engine)
{
    return engine->options.io != NULL ? engine->options.io : brd_io_real();
}

static bool
is_wanted(const struct brd_engine *engine)
{
    return engine->options.warm && engine->wal != NULL;
}

/* "DIR/warm" in a new allocation, or NULL. */
static char *
warm_dir(const struct brd_engine *engine)
{
    char *dir = NULL;

    return asprintf(&dir, "%s/warm", engine->options.data_dir) < 0 ? NULL : dir;
}

static double
seconds_since(const struct brd_engine *engine, uint64_t began_ns)
{
    return (double)(brd_clock_mono_ns(engine->clock) - began_ns) / (double)BRD_NS_PER_S;
}

static bool
is_told_to_stop(const struct brd_engine *engine)
{
    return engine->options.stop_wanted != NULL && engine->options.stop_wanted(engine->options.arg);
}

/* ---- At the stop ---- */

struct writing {
    struct brd_engine *engine;
    struct dump dump;
    uint64_t began_ns;
    uint64_t told_ns;     /* people */
    uint64_t notified_ns; /* the service manager */
    uint64_t looked_bytes;
};

static void
say_that_it_lasts(const struct brd_engine *engine)
{
    if (engine->options.on_stopping != NULL)
        engine->options.on_stopping(engine->options.arg);
}

/* Now and then: say that it goes on, and hear whether it is to. */
static int
look_up(struct writing *writing)
{
    struct brd_engine *engine = writing->engine;
    uint64_t bytes = writing->dump.writer.offset;
    uint64_t now_ns;

    if (bytes - writing->looked_bytes < LOOK_BYTES)
        return 0;
    writing->looked_bytes = bytes;
    if (is_told_to_stop(engine))
        return -ECANCELED;
    now_ns = brd_clock_mono_ns(engine->clock);
    if (now_ns - writing->notified_ns >= NOTIFY_NS) {
        writing->notified_ns = now_ns;
        say_that_it_lasts(engine);
    }
    if (now_ns - writing->told_ns >= TELL_NS) {
        const uint64_t keys = brd_keyspace_count(engine->default_ns.keyspace);

        writing->told_ns = now_ns;
        brd_diag_info("warm stop: %" PRIu64 " MiB written, %" PRIu64 " of %" PRIu64 " %s",
                      bytes >> 20, writing->dump.writer.records, keys,
                      brd_plural(keys, "key", "keys"));
    }
    return 0;
}

static int
write_entries(struct writing *writing)
{
    struct brd_keyspace *keyspace = writing->engine->default_ns.keyspace;
    uint32_t shards = brd_keyspace_shards(keyspace);
    int result = 0;
    uint32_t shard;

    for (shard = 0; result == 0 && shard < shards; shard++) {
        uint64_t cursor = 0;

        do {
            result = dump_slice(&writing->dump, keyspace, shard, &cursor);
            if (result == 0)
                result = look_up(writing);
        } while (result == 0 && cursor != 0);
    }
    return result;
}

/* 0 or -errno; then there is no file. */
static int
write_file(struct writing *writing, const char *dir)
{
    struct brd_engine *engine = writing->engine;
    const struct brd_io *io = io_of(engine);
    uint64_t version = brd_sequencer_last(&engine->sequencer);
    struct snapshot_header header = { .start_version = version,
                                      .created_ns = engine_now_ns(engine),
                                      .epoch = brd_wal_epoch(engine->wal) };
    int result = brd_file_make_dir(io, dir);

    if (result != 0)
        return result;
    memcpy(header.uuid, brd_wal_uuid(engine->wal).data, sizeof(header.uuid));
    result = snapshot_create(&writing->dump.writer, io, keys_ring(engine), dir, &header);
    if (result != 0)
        return result;
    result = write_entries(writing);
    if (result == 0)
        result = snapshot_complete(&writing->dump.writer, version);
    if (result != 0) {
        snapshot_abandon(&writing->dump.writer);
        return result;
    }
    return snapshot_publish(&writing->dump.writer);
}

void
warm_write(struct brd_engine *engine)
{
    struct writing writing = { .engine = engine, .began_ns = brd_clock_mono_ns(engine->clock) };
    char *dir;
    int result;

    if (!is_wanted(engine) || brd_keyspace_count(engine->default_ns.keyspace) == 0)
        return;
    dir = warm_dir(engine);
    writing.told_ns = writing.notified_ns = writing.began_ns;
    say_that_it_lasts(engine);
    dump_init(&writing.dump, engine->default_ns.id, engine_now_ns(engine) / BRD_NS_PER_MS);
    result = dir == NULL ? -ENOMEM : write_file(&writing, dir);
    CRASH_POINT("warm_written");
    if (result == 0)
        brd_diag_notice("warm stop: %" PRIu64 " %s, %" PRIu64 " bytes in %.1f s",
                        writing.dump.writer.records,
                        brd_plural(writing.dump.writer.records, "key", "keys"),
                        writing.dump.writer.offset, seconds_since(engine, writing.began_ns));
    else if (result == -ECANCELED)
        brd_diag_warning("warm stop: given up, because a second signal came; the next start is "
                         "with an empty cache");
    else
        brd_diag_warning("warm stop: the cache cannot be written to %s/warm, so the next start is "
                         "with an empty one: %s",
                         engine->options.data_dir, brd_file_error(result));
    dump_fini(&writing.dump);
    free(dir);
}

/* ---- At the start ---- */

struct reading {
    struct brd_engine *engine;
    uint64_t began_ns;
    uint64_t told_ns;
};

static enum brd_status
on_progress(void *arg, uint64_t done, uint64_t total, struct brd_engine_error *out_error)
{
    struct reading *reading = arg;
    uint64_t now_ns = brd_clock_mono_ns(reading->engine->clock);

    if (now_ns - reading->told_ns >= TELL_NS) {
        reading->told_ns = now_ns;
        brd_diag_info("warm start: %" PRIu64 " of %" PRIu64 " MiB loaded", done >> 20, total >> 20);
    }
    if (!is_told_to_stop(reading->engine))
        return BRD_OK;
    snprintf(out_error->text, sizeof(out_error->text), "told to stop before the cache was loaded");
    return BRD_SHUTTING_DOWN;
}

/* Is it what the last process on this directory left? */
static enum brd_status
check_file(const struct brd_engine *engine, const struct snapshot_reader *reader, uint64_t version,
           struct brd_engine_error *out_error)
{
    const struct brd_snapshot_info *info = &reader->info;
    const uint32_t epoch = brd_wal_epoch(engine->wal);
    const struct brd_snapshot_log log = { .uuid = brd_wal_uuid(engine->wal),
                                          .end_version = UINT64_MAX,
                                          .all_sealed = brd_wal_all_sealed(engine->wal) };
    struct brd_wal_identity identity;
    struct brd_snapshot_error error;

    if (snapshot_check_fit(info, reader->path, version, &log, &error) != BRD_OK) {
        snprintf(out_error->text, sizeof(out_error->text), "%s", error.text);
        return BRD_CORRUPT;
    }
    if (info->epoch != epoch) {
        snprintf(out_error->text, sizeof(out_error->text),
                 "%s was left by start %" PRIu32 " of the directory, but the last one was %" PRIu32,
                 reader->path, info->epoch, epoch);
        return BRD_CORRUPT;
    }
    brd_wal_get_identity(engine->wal, &identity);
    if (info->end_version >= identity.ceiling) {
        snprintf(out_error->text, sizeof(out_error->text),
                 "%s is damaged at offset %" PRIu64 ": version %" PRIu64 " was never issued",
                 reader->path, reader->end, info->end_version);
        return BRD_CORRUPT;
    }
    return BRD_OK;
}

/* A part was loaded: none of it counts. */
static enum brd_status
empty_store(struct brd_engine *engine)
{
    struct brd_guard guard;
    enum brd_status status =
        brd_guard_begin_many(&guard, engine->default_ns.keyspace, BRD_GUARD_WRITE, NULL, 0);

    if (status != BRD_OK)
        return status;
    brd_guard_clear(&guard, 0);
    brd_guard_end(&guard);
    while (brd_store_free_some(engine->store, 1024) > 0)
        ;
    return BRD_OK;
}

static enum brd_status
load_file(struct brd_engine *engine, const char *path, uint64_t version,
          struct brd_engine_error *out_error)
{
    struct reading reading = { .engine = engine, .began_ns = brd_clock_mono_ns(engine->clock) };
    struct load load = {
        .engine = engine, .selective = true, .progress = on_progress, .arg = &reading
    };
    struct brd_snapshot_error error;
    enum brd_status status =
        snapshot_open(&load.reader, io_of(engine), keys_ring(engine), path, &error);

    if (status != BRD_OK) {
        snprintf(out_error->text, sizeof(out_error->text), "%s", error.text);
        return status;
    }
    reading.told_ns = reading.began_ns;
    status = check_file(engine, &load.reader, version, out_error);
    if (status == BRD_OK)
        status = load_run(&load, out_error);
    if (status == BRD_OK) {
        brd_sequencer_raise(&engine->sequencer, load.reader.info.end_version);
        engine->warm = (struct warm_result){ .keys = load.entries,
                                             .bytes = load.reader.info.bytes,
                                             .expired = load.expired,
                                             .left_out = load.left_out };
        brd_diag_notice("warm start: %" PRIu64 " %s, %" PRIu64 " bytes in %.1f s; %" PRIu64
                        " had expired, %" PRIu64 " had no room",
                        load.entries, brd_plural(load.entries, "key", "keys"),
                        load.reader.info.bytes, seconds_since(engine, reading.began_ns),
                        load.expired, load.left_out);
    }
    snapshot_close(&load.reader);
    return status;
}

enum brd_status
warm_load(struct brd_engine *engine, struct brd_engine_error *out_error)
{
    struct brd_snapshot_error error;
    uint64_t version = 0;
    enum brd_status status;
    char *path = NULL;
    char *dir;

    if (!is_wanted(engine))
        return BRD_OK;
    dir = warm_dir(engine);
    status =
        dir == NULL ? BRD_OUT_OF_MEMORY : snapshot_newest(io_of(engine), dir, &version, &error);
    if (status == BRD_OK) {
        path = snapshot_path(dir, version);
        status = path == NULL ? BRD_OUT_OF_MEMORY : load_file(engine, path, version, out_error);
    } else if (status != BRD_NOT_FOUND && dir != NULL) {
        snprintf(out_error->text, sizeof(out_error->text), "%s", error.text);
    }
    free(path);
    free(dir);
    CRASH_POINT("warm_loaded");
    if (status == BRD_OK || status == BRD_NOT_FOUND || status == BRD_SHUTTING_DOWN)
        return status == BRD_NOT_FOUND ? BRD_OK : status;
    brd_diag_warning("warm start: the cache is empty: %s",
                     out_error->text[0] != '\0' ? out_error->text : brd_status_sentence(status));
    out_error->text[0] = '\0';
    return empty_store(engine);
}

void
warm_discard(struct brd_engine *engine)
{
    const struct brd_io *io = io_of(engine);
    char *dir = warm_dir(engine);
    struct brd_snapshot_error error;
    uint64_t version;
    char path[4096];
    int result;

    if (dir == NULL || snapshot_newest(io, dir, &version, &error) == BRD_NOT_FOUND) {
        if (dir != NULL)
            snapshot_remove_older(io, dir, UINT64_MAX); /* one that was never finished */
        free(dir);
        return;
    }
    if (!engine->options.warm)
        brd_diag_notice("what a cache had left in %s is not used (warm is no), and removed", dir);
    snapshot_remove_older(io, dir, UINT64_MAX);
    CRASH_POINT("warm_removed");
    snprintf(path, sizeof(path), "%s/snapshots", dir);
    result = brd_file_sync_dir(io, path);
    if (result != 0)
        brd_diag_warning("cannot sync %s: %s; what was removed there may come back, but is out of "
                         "date and never used",
                         path, brd_file_error(result));
    CRASH_POINT("warm_discarded");
    free(dir);
}
