/* An earlier state of a data directory, as a new one.
 *
 * The state is built in a store of its own by the rules of recovery (recovery.c, redo.c),
 * which end at the wanted version instead of at the end of the log, and then written as a
 * snapshot that begins and ends at that version. Cutting the log there instead would have
 * to split a group, and to copy a log of which nobody will replay the most.
 *
 * The new directory is another one: it has another identity, since what will be written to
 * both differs under the same versions; and it issues versions above those of the old
 * one, so that nobody who remembers a version takes something else for it.
 *
 * Failure: meta is made last, and without it nobody starts on what is there. One thread. */
#include "engine/core.h"
#include "engine/dump.h"

#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
write_entries(struct dump *dump, struct brd_keyspace *keyspace)
{
    uint32_t shards = brd_keyspace_shards(keyspace);
    int result = 0;
    uint32_t shard;

    for (shard = 0; result == 0 && shard < shards; shard++) {
        uint64_t cursor = 0;

        do {
            result = dump_slice(dump, keyspace, shard, &cursor);
        } while (result == 0 && cursor != 0);
    }
    return result;
}

static int
write_snapshot(struct brd_engine *engine, struct brd_rewind *rewind,
               const struct brd_wal_origin *origin)
{
    struct snapshot_header header = { .start_version = origin->base_version,
                                      .created_ns = brd_clock_now_ns(engine->clock),
                                      .epoch = origin->epoch };
    struct dump dump;
    int result;

    memcpy(header.uuid, origin->uuid, sizeof(header.uuid));
    result = snapshot_create(&dump.writer, brd_io_real(), rewind->keys, rewind->to_dir, &header);
    if (result != 0)
        return result;
    dump_init(&dump, engine->default_ns.id, 0);
    result = write_entries(&dump, engine->default_ns.keyspace);
    dump_fini(&dump);
    if (result != 0) {
        snapshot_abandon(&dump.writer);
        return result;
    }
    result = snapshot_complete(&dump.writer, origin->base_version);
    rewind->entries = dump.writer.records;
    if (result != 0) {
        snapshot_abandon(&dump.writer);
        return result;
    }
    return snapshot_publish(&dump.writer);
}

static void
make_uuid(uint8_t uuid[16])
{
    brd_random_fill(uuid, 16);
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* version 4 */
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

static enum brd_status
write_directory(struct brd_engine *engine, struct brd_rewind *rewind,
                struct brd_engine_error *out_error)
{
    struct brd_wal_error error = { .text = "" };
    struct brd_wal_identity identity;
    struct brd_wal_origin origin = { .base_version = rewind->reached_version,
                                     .time_ns = brd_wal_time_ns(engine->wal),
                                     .keys = rewind->keys };
    enum brd_status status;
    int result;

    brd_wal_get_identity(engine->wal, &identity);
    origin.epoch = identity.epoch;
    origin.ceiling = identity.ceiling;
    if (origin.ceiling <= engine->recovered.last_version)
        origin.ceiling = engine->recovered.last_version + 1;
    if (origin.ceiling <= rewind->reached_version)
        origin.ceiling = rewind->reached_version + 1;
    make_uuid(origin.uuid);
    result = brd_file_make_dir(brd_io_real(), rewind->to_dir);
    if (result == 0 && rewind->reached_version != 0)
        result = write_snapshot(engine, rewind, &origin);
    if (result != 0) {
        snprintf(out_error->text, sizeof(out_error->text), "cannot write a snapshot in %s: %s",
                 rewind->to_dir, brd_file_error(result));
        return brd_file_status(result);
    }
    status = brd_wal_create(brd_io_real(), rewind->to_dir, &origin, &error);
    if (status != BRD_OK)
        snprintf(out_error->text, sizeof(out_error->text), "%s", error.text);
    return status;
}

static enum brd_status
rewind_engine(struct brd_engine *engine, struct brd_rewind *rewind,
              struct brd_engine_error *out_error)
{
    const struct brd_wal_options options = { .dir = rewind->from_dir,
                                             .io = rewind->from_io,
                                             .keys = rewind->keys,
                                             .clock = engine->clock,
                                             .read_only = true };
    struct brd_wal_error error = { .text = "" };
    enum brd_status status;

    engine->options.data_dir = rewind->from_dir;
    engine->options.io = rewind->from_io;
    status = brd_wal_open(&options, &engine->wal, &error);
    if (status != BRD_OK) {
        snprintf(out_error->text, sizeof(out_error->text), "%s", error.text);
        return status;
    }
    status = recovery_rewind(engine, rewind->version, &rewind->reached_version,
                             &rewind->earliest_version, out_error);
    return status == BRD_OK ? write_directory(engine, rewind, out_error) : status;
}

enum brd_status
brd_rewind(struct brd_rewind *rewind, struct brd_engine_error *out_error)
{
    struct brd_engine_options options = { .manual = true, .keys = rewind->keys };
    struct brd_engine *engine = NULL;
    struct brd_clock *clock = brd_clock_create_real(0);
    enum brd_status status = BRD_OUT_OF_MEMORY;

    snprintf(out_error->text, sizeof(out_error->text), "out of memory");
    options.clock = clock;
    if (clock != NULL)
        status = brd_engine_create(&options, &engine);
    if (status == BRD_OK)
        status = rewind_engine(engine, rewind, out_error);
    brd_engine_destroy(&engine);
    brd_clock_destroy(&clock);
    return status;
}
