/* The checkpointer.
 *
 *   1. The log begins a new segment; S is the newest version before it.
 *   2. Every shard is walked in slices under its stripe, shared. Each entry goes
 *      into the snapshot with its version: small ones are copied into the block in
 *      memory, large values are taken by reference and written outside the stripe.
 *      Whoever took a version up to S still holds the stripe until memory shows it,
 *      so nothing up to S is missed.
 *   3. E is the newest version now: no entry in the snapshot is newer. The log is
 *      synced up to E, so that the snapshot never knows more than the log. A log that
 *      has failed drops changes which the walk may have seen, or whose traces, as of a
 *      delete, it has not: then there is no snapshot, even if all up to E is synced.
 *   4. The snapshot gets its footer and a sync, is read again, and gets its name.
 *   5. Segments up to S go, then older snapshots. Until here the older snapshot and
 *      its log were whole, so there is no moment without one that is.
 *
 * Where files are under another key than the current one (keys.c), a checkpoint is due at
 * once. The new segment is under the current key, so is the snapshot, which is written again
 * even if nothing else is new, over the one of the same name; and the others go in step 5.
 *
 * Entries are kept whether expired or not: a worker's clock may be a little behind
 * this thread's, and a change that it still makes must find its base.
 *
 * Memory: one block, and the large value that is being written. The file is
 * written at no more than the policy's rate, and the thread makes way for others
 * (give_way). A failure costs the attempt and nothing else. */
#include "engine/checkpoint.h"

#include "base/check.h"
#include "base/crashpoint.h"
#include "base/diag.h"
#include "base/plural.h"
#include "base/thread.h"
#include "engine/core.h"
#include "engine/dump.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_NS   (BRD_NS_PER_S / 5)
#define RETRY_NS  (30 * BRD_NS_PER_S)
#define RETRY_MAX 5u /* doublings */
/* Where only room was missing, it is tried again sooner, and at once where there is more. */
#define RETRY_FULL_NS  BRD_NS_PER_S
#define RETRY_FULL_MAX 4u
/* Near the disk's reserve a checkpoint is due by itself, so that there need be no refusals: with
 * as much again free as the reserve has, it must free this part of what it writes; with less
 * than the reserve, that one. */
#define NEAR_PART   2
#define LOW_PART    8
#define BURST_BYTES (UINT64_C(1) << 20)
/* See give_way. */
#define PATIENCE_NS   (5 * BRD_NS_PER_S)
#define PATIENCE_PART 4
#define TURN_NS       (250 * BRD_NS_PER_US)

/* ---- What it takes ---- */

/* Version, size, kind, namespace, lengths and deadline of a record, at most about. */
#define RECORD_BYTES 32

uint64_t
checkpoint_bytes(const struct brd_engine *engine)
{
    struct brd_store_memory memory;
    uint64_t data;

    if (engine->default_ns.durability == BRD_DURABILITY_NONE)
        return SNAPSHOT_HEADER_BYTES;
    brd_store_get_memory(engine->store, &memory);
    data = memory.data_bytes + memory.entries * RECORD_BYTES;
    /* Blocks have headers: of 32 bytes, every 256 KiB. */
    return data + data / 4096 + 2 * (uint64_t)SNAPSHOT_HEADER_BYTES;
}

/* Is there room for one? */
static bool
fits(const struct brd_wal_disk *disk, uint64_t needed)
{
    return disk->total_bytes == 0 || needed + disk->begin_bytes <= disk->free_bytes;
}

/* Would one leave the newest snapshot's half of the disk, or more, although nothing was written
 * since? What has expired is not in the log. */
static bool
shrinks(const struct brd_snapshot_info *snapshot, const struct brd_wal_disk *disk, uint64_t needed)
{
    return disk->low && snapshot->bytes > 2 * needed + disk->least_bytes;
}

/* ---- One run ---- */

struct run {
    struct brd_engine *engine;
    struct name_space *ns;
    struct dump dump;
    uint64_t began_ns;
    uint64_t walk_ns;  /* when the walk began... */
    uint64_t walk_lsn; /* ... and where the log was then */
    uint64_t idle_ns;  /* since then: it only kept to its rate */
    uint64_t turn_ns;  /* when it gave way last; while pressed */
    bool pressed;      /* see is_pressed */
    bool shrink;       /* make a new one, even of the version that the last one is of */
    struct checkpoint_result *result;
};

static const struct brd_io *
io_of(const struct brd_engine *engine)
{
    return engine->options.io != NULL ? engine->options.io : brd_io_real();
}

static enum brd_status __attribute__((format(printf, 3, 4)))
fail(struct run *run, enum brd_status status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(run->result->text, sizeof(run->result->text), format, args);
    va_end(args);
    run->result->status = status;
    return status;
}

/* The log gives up or is poisoned, or the daemon stops. */
static enum brd_status
log_failed(struct run *run, enum brd_status status)
{
    switch (status) {
    case BRD_READ_ONLY:
        return fail(run, status, "the log has failed: see the first message about it");
    case BRD_SHUTTING_DOWN:
        return fail(run, status, "the daemon stops");
    case BRD_DISK_FULL:
        return fail(run, status, "no new segment of the log could be made: the disk is full");
    default:
        return fail(run, status, "no new segment of the log could be made");
    }
}

static enum brd_status
write_failed(struct run *run, int result)
{
    return fail(run, brd_file_status(result), "the snapshot in %s/snapshots cannot be written: %s",
                run->engine->options.data_dir, brd_file_error(result));
}

/* Has it worked so long, or the log grown so much meanwhile, that it must get on? So much: a
 * quarter of what makes the next one due. */
static bool
is_pressed(const struct run *run, uint64_t now_ns)
{
    const struct checkpoint *checkpoint = &run->engine->checkpoint;
    uint64_t enough = checkpoint->policy.log_bytes;

    if (now_ns - run->walk_ns - run->idle_ns >= PATIENCE_NS)
        return true;
    if (enough == 0)
        return false;
    if (enough < checkpoint->last.snapshot.bytes)
        enough = checkpoint->last.snapshot.bytes;
    return brd_wal_written(run->engine->wal).lsn - run->walk_lsn >= enough / PATIENCE_PART;
}

/* Let others run, after each slice: a worker that wakes does not wait for the end of a time slice.
 * Where workers are always busy that leaves a fiftieth of the processor, and the log would grow
 * faster than it is made short: this thread then goes on for a TURN, and has about a quarter. */
static void
give_way(struct run *run)
{
    struct checkpoint *checkpoint = &run->engine->checkpoint;
    uint64_t now_ns = brd_clock_mono_ns(run->engine->clock);

    brd_counter_add(&checkpoint->slices, 1);
    if (!run->pressed && is_pressed(run, now_ns)) {
        run->pressed = true;
        brd_counter_add(&checkpoint->pressed, 1);
    }
    if (run->pressed && now_ns - run->turn_ns < TURN_NS)
        return;
    brd_counter_add(&checkpoint->yields, 1);
    sched_yield();
    if (run->pressed)
        run->turn_ns = brd_clock_mono_ns(run->engine->clock);
}

/* Wait as long as what was written is ahead of the rate. */
static void
keep_rate(struct run *run)
{
    struct checkpoint *checkpoint = &run->engine->checkpoint;
    uint64_t rate = checkpoint->policy.rate_bytes;
    uint64_t bytes = run->dump.writer.offset;
    uint64_t due_ns;
    uint64_t now_ns;
    uint64_t from_ns;

    atomic_store_explicit(&checkpoint->bytes_so_far, bytes, memory_order_relaxed);
    brd_wal_note_checkpoint(run->engine->wal, bytes);
    give_way(run);
    if (rate == 0 || bytes < BURST_BYTES || run->engine->options.manual)
        return;
    due_ns = (uint64_t)((double)(bytes - BURST_BYTES) * (double)BRD_NS_PER_S / (double)rate);
    from_ns = now_ns = brd_clock_mono_ns(run->engine->clock) - run->began_ns;
    brd_mutex_lock(&checkpoint->lock);
    while (!checkpoint->stopping && now_ns < due_ns) {
        (void)brd_cond_wait_for(&checkpoint->wake, &checkpoint->lock, due_ns - now_ns);
        now_ns = brd_clock_mono_ns(run->engine->clock) - run->began_ns;
    }
    brd_mutex_unlock(&checkpoint->lock);
    run->idle_ns += now_ns - from_ns;
}

static bool
is_abandoned(const struct run *run)
{
    return atomic_load_explicit(&run->engine->checkpoint.abandon, memory_order_relaxed) ||
           brd_wal_poisoned(run->engine->wal);
}

/* After a large value. */
static bool
go_on(void *arg)
{
    struct run *run = arg;

    keep_rate(run);
    return !is_abandoned(run);
}

static enum brd_status
write_entries(struct run *run)
{
    struct checkpoint *checkpoint = &run->engine->checkpoint;
    bool logged = run->ns->durability != BRD_DURABILITY_NONE;
    uint32_t shards = logged ? brd_keyspace_shards(run->ns->keyspace) : 0;
    uint32_t shard;

    run->dump.go_on = go_on;
    run->dump.arg = run;
    run->walk_ns = brd_clock_mono_ns(run->engine->clock);
    for (shard = 0; shard < shards; shard++) {
        uint64_t cursor = 0;

        do {
            int result = dump_slice(&run->dump, run->ns->keyspace, shard, &cursor);

            if (result != 0 && result != -ECANCELED)
                return write_failed(run, result);
            if (is_abandoned(run))
                return log_failed(run, brd_wal_poisoned(run->engine->wal) ? BRD_READ_ONLY
                                                                          : BRD_SHUTTING_DOWN);
            keep_rate(run);
        } while (cursor != 0);
        atomic_store_explicit(&checkpoint->shards_done, shard + 1, memory_order_relaxed);
    }
    return BRD_OK;
}

/* Steps 2 to 4: a good snapshot, or none. */
static enum brd_status
make_snapshot(struct run *run, uint64_t start_version)
{
    struct brd_engine *engine = run->engine;
    const struct brd_io *io = io_of(engine);
    struct snapshot_header header = { .start_version = start_version,
                                      .created_ns = engine_now_ns(engine),
                                      .epoch = brd_wal_epoch(engine->wal) };
    struct brd_snapshot_error error;
    enum brd_status status;
    uint64_t end_version;
    int result;

    memcpy(header.uuid, brd_wal_uuid(engine->wal).data, sizeof(header.uuid));
    result = snapshot_create(&run->dump.writer, io, keys_ring(engine), engine->options.data_dir,
                             &header);
    if (result != 0)
        return write_failed(run, result);
    status = write_entries(run);
    if (status == BRD_OK) {
        end_version = brd_wal_last_version(engine->wal);
        if (end_version < start_version)
            end_version = start_version;
#if !BREAK_SNAPSHOT_BEFORE_LOG
        status = brd_wal_wait_synced(engine->wal, end_version);
        if (status != BRD_OK)
            status = log_failed(run, status);
#endif
    }
    if (status != BRD_OK) {
        snapshot_abandon(&run->dump.writer);
        return status;
    }
    CRASH_POINT("checkpoint_log_synced");
    result = snapshot_complete(&run->dump.writer, end_version);
    if (result != 0) {
        snapshot_abandon(&run->dump.writer);
        return write_failed(run, result);
    }
    status = snapshot_verify(io, keys_ring(engine), run->dump.writer.tmp_path,
                             &run->result->snapshot, &error);
    CRASH_POINT("checkpoint_verified");
    if (status != BRD_OK) {
        snapshot_abandon(&run->dump.writer);
        return fail(run, status, "the snapshot was written but cannot be read: %s", error.text);
    }
    result = snapshot_publish(&run->dump.writer);
    return result == 0 ? BRD_OK : write_failed(run, result);
}

/* Records in the log, those found by recovery included, before a position. */
static uint64_t
records_before(const struct brd_engine *engine, const struct brd_wal_position *position)
{
    return engine->recovered_uncovered + position->records;
}

static void
note_covered(struct brd_engine *engine, uint64_t ticket, const struct brd_wal_position *position,
             const struct checkpoint_result *result)
{
    struct checkpoint *checkpoint = &engine->checkpoint;
    struct brd_wal_position now = brd_wal_written(engine->wal);

    brd_mutex_lock(&checkpoint->lock);
    checkpoint->last = *result;
    checkpoint->last.records.total = records_before(engine, &now) - checkpoint->covered_records;
    checkpoint->last.records.done = records_before(engine, position) - checkpoint->covered_records;
    checkpoint->covered_records = records_before(engine, position);
    checkpoint->covered_lsn = position->lsn;
    if (checkpoint->answer != NULL)
        checkpoint->answer->covered = checkpoint->last;
    atomic_store_explicit(&checkpoint->covered, ticket, memory_order_relaxed);
    brd_mutex_unlock(&checkpoint->lock);
}

static void
tell_parked(struct brd_engine *engine)
{
    if (engine->options.on_progress != NULL)
        engine->options.on_progress(engine->options.arg);
}

/* Is the newest snapshot what another one would be? */
static bool
is_current(const struct brd_engine *engine, uint64_t version)
{
    const struct brd_snapshot_info *last = &engine->checkpoint.last.snapshot;
    const uint8_t *key_id = brd_keyring_current(keys_ring(engine));

    return version == 0 || (version == last->start_version &&
                            memcmp(last->key_id, key_id, sizeof(last->key_id)) == 0);
}

/* All five steps. */
static enum brd_status
run_steps(struct run *run, uint64_t ticket)
{
    struct brd_engine *engine = run->engine;
    struct brd_wal_position position;
    enum brd_status status = brd_wal_rotate(engine->wal, &position);

    if (status != BRD_OK)
        return log_failed(run, status);
    CRASH_POINT("checkpoint_rotated");
    run->walk_lsn = position.lsn;
    if (is_current(engine, position.version) && (!run->shrink || position.version == 0)) {
        /* Nothing was written since. */
        run->result->snapshot = engine->checkpoint.last.snapshot;
    } else {
        status = make_snapshot(run, position.version);
        if (status != BRD_OK)
            return status;
    }
    note_covered(engine, ticket, &position, run->result);
    tell_parked(engine);
    status = brd_wal_release(engine->wal, position.version);
    CRASH_POINT("checkpoint_released");
    if (status != BRD_OK)
        return log_failed(run, status);
    snapshot_remove_older(io_of(engine), engine->options.data_dir, position.version);
    CRASH_POINT("checkpoint_done");
    return BRD_OK;
}

/* Under lock. free_bytes: of the disk, without what it had written. */
static void
note_failure(struct checkpoint *checkpoint, const struct checkpoint_result *result, uint64_t now_ns,
             uint64_t free_bytes)
{
    bool full = result->status == BRD_DISK_FULL;
    uint64_t most = full ? RETRY_FULL_MAX : RETRY_MAX;
    uint64_t doublings = checkpoint->failed_runs < most ? checkpoint->failed_runs : most;

    checkpoint->full_bytes = full ? free_bytes : 0;
    checkpoint->last.status = result->status;
    memcpy(checkpoint->last.text, result->text, sizeof(result->text));
    if (checkpoint->answer != NULL &&
        atomic_load_explicit(&checkpoint->covered, memory_order_relaxed) < checkpoint->began)
        checkpoint->answer->covered = checkpoint->last;
    checkpoint->failed_runs++;
    checkpoint->retry_ns = now_ns + ((full ? RETRY_FULL_NS : RETRY_NS) << doublings);
    atomic_store_explicit(&checkpoint->covered, checkpoint->began, memory_order_relaxed);
}

/* Under lock. What one that went well has left under another key cannot be removed: there is no
 * hurry, unless the keys were changed meanwhile. (When one that failed is tried again does not
 * depend on keys.) */
static void
note_keys(struct brd_engine *engine, bool changed, bool failed)
{
    struct checkpoint *checkpoint = &engine->checkpoint;

    if (keys_pending(engine) == 0 || changed || failed) {
        checkpoint->rekey_runs = 0;
        checkpoint->rekey_ns = 0;
        return;
    }
    checkpoint->rekey_ns =
        brd_clock_mono_ns(engine->clock) +
        (RETRY_NS << (checkpoint->rekey_runs < RETRY_MAX ? checkpoint->rekey_runs : RETRY_MAX));
    checkpoint->rekey_runs++;
}

static void
tell_result(const struct brd_engine *engine, const struct checkpoint_result *result,
            uint64_t took_ms)
{
    if (result->status == BRD_SHUTTING_DOWN)
        return;
    if (result->status != BRD_OK)
        brd_diag_error("checkpoint: %s; the log grows until one succeeds", result->text);
    else
        brd_diag_info("checkpoint: %" PRIu64 " %s, %" PRIu64 " MiB, of version %" PRIu64
                      ", in %" PRIu64 " ms",
                      engine->checkpoint.last.snapshot.records,
                      brd_plural(engine->checkpoint.last.snapshot.records, "entry", "entries"),
                      engine->checkpoint.last.snapshot.bytes >> 20,
                      engine->checkpoint.last.snapshot.start_version, took_ms);
}

/* Under lock: one begins. Who has asked since the last one began will get its result. */
static void
begin_answer(struct checkpoint *checkpoint)
{
    checkpoint->answer = NULL;
    if (checkpoint->wanted == checkpoint->began)
        return;
    checkpoint->answer = &checkpoint->answers[checkpoint->answer_count++ % CHECKPOINT_ANSWERS];
    *checkpoint->answer =
        (struct checkpoint_answer){ .above = checkpoint->began, .up_to = checkpoint->wanted };
}

/* Under lock: what the run that a ticket waited for came to. */
static struct checkpoint_result
answer_of(const struct checkpoint *checkpoint, uint64_t ticket, bool done)
{
    struct checkpoint_result gone = { .status = BRD_UNKNOWN_RESULT };
    size_t i;

    for (i = 0; i < CHECKPOINT_ANSWERS; i++) {
        const struct checkpoint_answer *answer = &checkpoint->answers[i];

        if (ticket > answer->above && ticket <= answer->up_to)
            return done ? answer->done : answer->covered;
    }
    snprintf(
        gone.text, sizeof(gone.text),
        "the checkpoint is over, and so many others since then that nobody knows how it ended");
    return gone;
}

/* Make a checkpoint that answers all tickets given out so far. */
static void
run_one(struct brd_engine *engine)
{
    struct checkpoint *checkpoint = &engine->checkpoint;
    struct checkpoint_result result = { .status = BRD_OK };
    struct run *run = calloc(1, sizeof(*run));
    struct brd_wal_disk disk;
    uint64_t began_ns = brd_clock_mono_ns(engine->clock);
    enum brd_status status = BRD_OUT_OF_MEMORY;
    uint64_t key_changes = keys_changes(engine);
    uint64_t took_ms;
    uint64_t ticket;

    brd_mutex_lock(&checkpoint->lock);
    checkpoint->running = true;
    begin_answer(checkpoint);
    ticket = checkpoint->began = checkpoint->wanted;
    brd_mutex_unlock(&checkpoint->lock);
    atomic_store_explicit(&checkpoint->shards_done, 0, memory_order_relaxed);
    atomic_store_explicit(&checkpoint->bytes_so_far, 0, memory_order_relaxed);
    brd_wal_get_disk(engine->wal, &disk);
    brd_wal_note_checkpoint(engine->wal, 1);
    if (run != NULL) {
        run->shrink = shrinks(&checkpoint->last.snapshot, &disk, checkpoint_bytes(engine));
        run->engine = engine;
        run->ns = &engine->default_ns;
        run->began_ns = began_ns;
        run->result = &result;
        dump_init(&run->dump, run->ns->id, 0);
        status = run_steps(run, ticket);
        dump_fini(&run->dump);
        free(run);
    } else {
        result.status = status;
        snprintf(result.text, sizeof(result.text), "out of memory");
    }
    brd_wal_note_checkpoint(engine->wal, 0);
    brd_wal_get_disk(engine->wal, &disk);
    brd_counter_add(status == BRD_OK ? &checkpoint->runs : &checkpoint->failures, 1);
    took_ms = (brd_clock_mono_ns(engine->clock) - began_ns) / BRD_NS_PER_MS;
    keys_look(engine);
    key_changes = keys_changes(engine) - key_changes;

    brd_mutex_lock(&checkpoint->lock);
    checkpoint->running = false;
    note_keys(engine, key_changes != 0, status != BRD_OK);
    checkpoint->done = ticket;
    if (status == BRD_OK) {
        checkpoint->failed_runs = 0;
        checkpoint->retry_ns = 0;
        checkpoint->ended_ns = brd_clock_mono_ns(engine->clock);
        checkpoint->took_ms = took_ms;
    } else {
        note_failure(checkpoint, &result, brd_clock_mono_ns(engine->clock), disk.free_bytes);
    }
    if (checkpoint->answer != NULL)
        checkpoint->answer->done = checkpoint->last;
    brd_mutex_unlock(&checkpoint->lock);
    tell_result(engine, &result, took_ms);
    tell_parked(engine);
}

/* ---- When ---- */

/* Under lock: is it too soon after one that failed? Where room was missing that is over
 * when there is more of it; without enough of it there is no sense in another try. */
static bool
is_too_soon(const struct checkpoint *checkpoint, const struct brd_wal_disk *disk, uint64_t needed,
            uint64_t now_ns)
{
    if (checkpoint->failed_runs == 0)
        return false;
    if (checkpoint->last.status != BRD_DISK_FULL)
        return now_ns < checkpoint->retry_ns;
    return !fits(disk, needed) || (now_ns < checkpoint->retry_ns &&
                                   disk->free_bytes < checkpoint->full_bytes + disk->least_bytes);
}

/* Under lock. Little of the disk is left, and what gives space back is a checkpoint: is it worth
 * its while? */
static bool
frees_enough(const struct checkpoint *checkpoint, const struct brd_wal_disk *disk, uint64_t needed,
             uint64_t log_bytes)
{
    uint64_t held = log_bytes + checkpoint->last.snapshot.bytes;
    bool near = disk->reserve_bytes != 0 && disk->free_bytes / 2 < disk->reserve_bytes;

    if ((!near && !disk->low) || !fits(disk, needed) || held < needed + disk->least_bytes)
        return false;
    return held - needed >= needed / (disk->low ? LOW_PART : NEAR_PART);
}

/* Under lock. disk, needed: read before. */
static bool
is_due(struct brd_engine *engine, const struct brd_wal_disk *disk, uint64_t needed)
{
    struct checkpoint *checkpoint = &engine->checkpoint;
    const struct checkpoint_policy *policy = &checkpoint->policy;
    struct brd_wal_position now = brd_wal_written(engine->wal);
    uint64_t now_ns = brd_clock_mono_ns(engine->clock);
    uint64_t enough = policy->log_bytes;

    if (checkpoint->wanted > checkpoint->began)
        return true;
    if (brd_wal_poisoned(engine->wal))
        return false;
    if (is_too_soon(checkpoint, disk, needed, now_ns))
        return false;
    if (keys_pending(engine) > 0 && now_ns >= checkpoint->rekey_ns && fits(disk, needed))
        return true;
    if (shrinks(&checkpoint->last.snapshot, disk, needed) && fits(disk, needed))
        return true;
    if (records_before(engine, &now) == checkpoint->covered_records)
        return false;
    if (frees_enough(checkpoint, disk, needed, now.lsn - checkpoint->covered_lsn))
        return true;
    /* A log as large as what it would be replaced by: not more than twice the data. */
    if (enough < checkpoint->last.snapshot.bytes)
        enough = checkpoint->last.snapshot.bytes;
    if (policy->log_bytes != 0 && now.lsn - checkpoint->covered_lsn >= enough)
        return true;
    return policy->interval_ns != 0 && now_ns - checkpoint->ended_ns >= policy->interval_ns;
}

static void *
checkpoint_main(void *arg)
{
    struct brd_engine *engine = arg;
    struct checkpoint *checkpoint = &engine->checkpoint;
    bool stopping = false;

    while (!stopping) {
        uint64_t needed = checkpoint_bytes(engine);
        struct brd_wal_disk disk;
        bool due;

        brd_wal_get_disk(engine->wal, &disk);
        brd_mutex_lock(&checkpoint->lock);
        due = is_due(engine, &disk, needed);
        if (!checkpoint->stopping && !due) {
            (void)brd_cond_wait_for(&checkpoint->wake, &checkpoint->lock, POLL_NS);
            due = is_due(engine, &disk, needed);
        }
        stopping = checkpoint->stopping;
        if (stopping)
            due = checkpoint->policy.on_stop;
        brd_mutex_unlock(&checkpoint->lock);
        if (due)
            run_one(engine);
    }
    return NULL;
}

/* ---- From outside ---- */

void
checkpoint_init(struct brd_engine *engine, const struct checkpoint_policy *policy)
{
    struct checkpoint *checkpoint = &engine->checkpoint;

    checkpoint->policy = *policy;
    brd_mutex_init(&checkpoint->lock, BRD_RANK_FREER);
    brd_cond_init(&checkpoint->wake);
}

void
checkpoint_fini(struct brd_engine *engine)
{
    brd_cond_fini(&engine->checkpoint.wake);
    brd_mutex_fini(&engine->checkpoint.lock);
}

enum brd_status
checkpoint_start(struct brd_engine *engine)
{
    struct checkpoint *checkpoint = &engine->checkpoint;
    enum brd_status status;
    uint64_t pending;

    checkpoint->last.snapshot = engine->snapshot;
    checkpoint->covered_lsn = brd_wal_written(engine->wal).lsn - engine->recovered.bytes;
    checkpoint->ended_ns = brd_clock_mono_ns(engine->clock);
    if (engine->snapshot.start_version != 0)
        snapshot_remove_older(io_of(engine), engine->options.data_dir,
                              engine->snapshot.start_version);
    keys_look(engine);
    pending = keys_pending(engine);
    if (pending > 0)
        brd_diag_notice("encryption: %" PRIu64 " %s not under the current key yet, and %s with a "
                        "checkpoint that begins now",
                        pending, brd_plural(pending, "file is", "files are"),
                        brd_plural(pending, "goes", "go"));
    if (engine->options.manual)
        return BRD_OK;
    status = brd_thread_start(&checkpoint->thread, "brd-checkpoint", checkpoint_main, engine);
    checkpoint->thread_runs = status == BRD_OK;
    return status;
}

void
checkpoint_stop(struct brd_engine *engine)
{
    struct checkpoint *checkpoint = &engine->checkpoint;

    if (!checkpoint->thread_runs)
        return;
    if (!checkpoint->policy.on_stop) {
        atomic_store_explicit(&checkpoint->abandon, true, memory_order_relaxed);
        brd_wal_interrupt(engine->wal);
    }
    brd_mutex_lock(&checkpoint->lock);
    checkpoint->stopping = true;
    brd_cond_broadcast(&checkpoint->wake);
    brd_mutex_unlock(&checkpoint->lock);
    brd_thread_join(checkpoint->thread);
    checkpoint->thread_runs = false;
}

void
checkpoint_tend(struct brd_engine *engine)
{
    uint64_t needed = checkpoint_bytes(engine);
    struct brd_wal_disk disk;
    bool due;

    brd_wal_get_disk(engine->wal, &disk);
    brd_mutex_lock(&engine->checkpoint.lock);
    due = is_due(engine, &disk, needed);
    brd_mutex_unlock(&engine->checkpoint.lock);
    if (due)
        run_one(engine);
}

/* Under lock: records since the last good one, and nothing of them covered. */
static void
tell_of_running(struct brd_engine *engine, struct checkpoint_result *out_result)
{
    struct brd_wal_position now = brd_wal_written(engine->wal);

    *out_result = engine->checkpoint.last;
    out_result->status = BRD_OK;
    out_result->records.total = records_before(engine, &now) - engine->checkpoint.covered_records;
    out_result->records.done = 0;
}

bool
checkpoint_ask(struct brd_engine *engine, enum brd_checkpoint_mode mode, uint64_t *ticket,
               struct checkpoint_result *out_result)
{
    struct checkpoint *checkpoint = &engine->checkpoint;
    bool fresh = *ticket == 0;
    uint64_t over_up_to;
    bool over;

    brd_mutex_lock(&checkpoint->lock);
    if (fresh && mode == BRD_CHECKPOINT_PASSIVE && checkpoint->running) {
        tell_of_running(engine, out_result);
        brd_mutex_unlock(&checkpoint->lock);
        return true;
    }
    if (fresh) {
        *ticket = ++checkpoint->wanted;
        brd_cond_broadcast(&checkpoint->wake);
    }
    brd_mutex_unlock(&checkpoint->lock);
    if (fresh && engine->options.manual)
        run_one(engine);

    brd_mutex_lock(&checkpoint->lock);
    over_up_to = mode >= BRD_CHECKPOINT_RESTART
                     ? checkpoint->done
                     : atomic_load_explicit(&checkpoint->covered, memory_order_relaxed);
    over = over_up_to >= *ticket;
    if (over)
        *out_result = answer_of(checkpoint, *ticket, mode >= BRD_CHECKPOINT_RESTART);
    brd_mutex_unlock(&checkpoint->lock);
    if (over && mode == BRD_CHECKPOINT_TRUNCATE)
        out_result->records = (struct brd_checkpoint_reply){ 0 };
    return over;
}

void
checkpoint_rekey(struct brd_engine *engine)
{
    struct checkpoint *checkpoint = &engine->checkpoint;

    brd_mutex_lock(&checkpoint->lock);
    checkpoint->rekey_ns = checkpoint->retry_ns = 0;
    checkpoint->rekey_runs = 0;
    brd_cond_broadcast(&checkpoint->wake);
    brd_mutex_unlock(&checkpoint->lock);
}

void
checkpoint_look(struct brd_engine *engine, struct checkpoint_view *out_view)
{
    struct checkpoint *checkpoint = &engine->checkpoint;
    struct brd_wal_position now = brd_wal_written(engine->wal);
    uint32_t shards = brd_keyspace_shards(engine->default_ns.keyspace);
    uint32_t shards_done = atomic_load_explicit(&checkpoint->shards_done, memory_order_relaxed);

    brd_mutex_lock(&checkpoint->lock);
    *out_view = (struct checkpoint_view){
        .last = checkpoint->last,
        .running = checkpoint->running,
        .runs = brd_counter_get(&checkpoint->runs),
        .failures = brd_counter_get(&checkpoint->failures),
        .pressed = brd_counter_get(&checkpoint->pressed),
        .slices = brd_counter_get(&checkpoint->slices),
        .yields = brd_counter_get(&checkpoint->yields),
        .took_ms = checkpoint->took_ms,
        .age_ms = (brd_clock_mono_ns(engine->clock) - checkpoint->ended_ns) / BRD_NS_PER_MS,
        .log_records = records_before(engine, &now) - checkpoint->covered_records,
        .log_bytes = now.lsn - checkpoint->covered_lsn,
    };
    if (checkpoint->running) {
        out_view->permille = (uint64_t)shards_done * 1000 / shards;
        out_view->bytes_so_far =
            atomic_load_explicit(&checkpoint->bytes_so_far, memory_order_relaxed);
    }
    brd_mutex_unlock(&checkpoint->lock);
}
