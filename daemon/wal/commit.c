/* Group commit.
 *
 * writer    takes the queue's arena, gives each group its position and checksum,
 *           writes it, publishes `written`. While it writes, others queue: the
 *           next arena is as large as the disk is slow, and a lone record does
 *           not wait for company.
 * syncer    when somebody waits for a sync, or written data has been unsynced
 *           for an interval: notes `written`, syncs the files behind it, publishes
 *           that as `synced`. Group n+1 is written meanwhile. It also keeps meta:
 *           the ceiling of versions, and the newest segment, which is made known
 *           before anything in that segment counts as synced.
 *           It also removes segments that nobody needs any more (commit_release): first
 *           meta says so, in both of its slots, so that not even the older one names a
 *           file that is gone; then they go, oldest first.
 * preparer  keeps one prepared segment ahead, so that the writer need not wait
 *           for an allocation. Where the writer is faster than the preparation it
 *           waits for what is ready of it.
 *
 * Invariants: synced <= written <= queued, in versions and in positions; a record
 * at or below `written` is in the file; a position at or below `synced_lsn` has
 * been through fdatasync, and so has the header of its segment.
 *
 * Files: the writer moves `current` to `sealed` when it begins the next one; only
 * the syncer closes them, after their sync, so a descriptor that it syncs outside
 * the lock stays open.
 *
 * Failure: the first failed write or sync poisons the log. Nothing is written
 * behind it, so a torn group stays the last thing in the log; what was queued is
 * dropped and never counts as written. A failed sync is not repeated: the kernel
 * may have dropped the pages and would then report success. After a failed
 * *write*, what was written before is still synced. A short write is continued,
 * and what makes it short shows in the rest; a preparation that failed is tried
 * once more when the writer needs it, because nothing of the log is in it.
 *
 * Keys may change while all this goes on (commit_set_keys): a segment that was prepared under
 * the old one is prepared again, and the syncer stores meta twice, once in each slot. The
 * segment that is being written stays under its key until it is full or a rotation is asked for.
 *
 * Waits are on the real monotonic clock, decisions on the options' clock: a test
 * with a fake one gets its decisions within a tick of moving it. */
#include "wal/commit.h"

#include "base/blob.h"
#include "base/check.h"
#include "base/crashpoint.h"
#include "base/crc32c.h"
#include "base/diag.h"
#include "base/thread.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_NS (UINT64_C(200) * BRD_NS_PER_MS)

/* The ceiling lies this far above the clock, and is moved when less is left of
 * it than the sequencer's guard and two ticks. After a crash versions begin above
 * it, so it is short. */
#define CEILING_AHEAD_NS (UINT64_C(3) * BRD_NS_PER_S)
#define CEILING_LEFT_NS  (BRD_SEQUENCER_GUARD + UINT64_C(2) * TICK_NS)
/* ... further while nothing is written, so that an idle daemon leaves the disk
 * alone for most of a minute. */
#define CEILING_IDLE_NS (UINT64_C(60) * BRD_NS_PER_S)
/* What was synced is in meta after so long, wherever the ceiling lies. */
#define META_AGE_NS (UINT64_C(3) * BRD_NS_PER_S / 2)
/* ... and this far above the newest version where those are ahead of the clock.
 * Then only their number counts: 100 million, moved when half are gone. */
#define CEILING_AHEAD_VERSIONS UINT64_C(100000000)
#define CEILING_LEFT_VERSIONS  (CEILING_AHEAD_VERSIONS / 2)

static void
notify(struct commit *commit)
{
    if (commit->on_progress != NULL)
        commit->on_progress(commit->arg);
}

static bool
poisoned(const struct commit *commit)
{
    return atomic_load_explicit(&commit->poisoned, memory_order_acquire);
}

static const char *
advice(int result)
{
    switch (brd_file_status(result)) {
    case BRD_DISK_FULL:
        return "make room on the disk, then restart";
    default:
        return "check the disk, then restart";
    }
}

void
commit_poison(struct commit *commit, const char *action, const char *path, int result)
{
    /* Closed before anybody can see the poison: whoever writes after a first answer that
     * tells of the failure is refused, and does not get another unknown result. */
    queue_close(commit->queue);
    if (!atomic_exchange(&commit->poisoned, true))
        brd_diag_error("the log has failed: cannot %s %s: %s; no more writes: %s", action, path,
                       brd_file_error(result), advice(result));
    /* What was written before is synced as soon as may be. */
    commit_want_sync(commit, UINT64_MAX);
    notify(commit);
}

/* ---- The writer ---- */

/* The next segment, or NULL: commit->next_error says why. */
static struct segment *
take_next_segment(struct commit *commit)
{
    struct segment *segment;

    atomic_store_explicit(&commit->hurry, true, memory_order_relaxed);
    brd_mutex_lock(&commit->lock);
    commit->next_asks++; /* an attempt from before does not count */
    brd_cond_broadcast(&commit->files_wake);
    while (commit->next == NULL && commit->next_failed < commit->next_asks)
        brd_cond_wait(&commit->files_wake, &commit->lock);
    segment = commit->next;
    commit->next = NULL;
    brd_mutex_unlock(&commit->lock);
    atomic_store_explicit(&commit->hurry, false, memory_order_relaxed);
    return segment;
}

/* Seal the current segment and begin the next. Returns false after poisoning. */
static bool
rotate(struct commit *commit, uint64_t base_version)
{
    struct segment *old = commit->current; /* only this thread changes the pointer */
    struct segment *segment = take_next_segment(commit);
    struct segment_header header = old->header;
    int result;

    if (segment == NULL) {
        char *path = segment_path(commit->dir, commit->next_number);

        commit_poison(commit, "prepare", path != NULL ? path : "a segment", commit->next_error);
        free(path);
        return false;
    }
    header.previous = old->header.number;
    memcpy(header.previous_salt, old->header.salt, sizeof(header.previous_salt));
    header.start_lsn = atomic_load_explicit(&commit->written_lsn, memory_order_relaxed);
    header.synced_lsn = atomic_load_explicit(&commit->synced_lsn, memory_order_acquire);
    header.base_version = base_version;
    header.created_ns = brd_clock_now_ns(commit->clock);
    result = segment_begin(commit->io, segment, &header);
    CRASH_POINT("segment_begun");
    if (result != 0) {
        /* It never became a part of the log: the syncer must not see it. The
         * file stays, or there would be a gap before one that is prepared. */
        atomic_fetch_add_explicit(&commit->write_errors, 1, memory_order_relaxed);
        commit_poison(commit, "write to", segment->path, result);
        segment_close(commit->io, &segment);
        return false;
    }
    brd_mutex_lock(&commit->lock);
    *commit->sealed_tail = old;
    commit->sealed_tail = &old->next;
    commit->current = segment;
    retention_add(&commit->retention, &(struct kept_segment){
                                          .number = segment->header.number,
                                          .base_version = base_version,
                                          .start_lsn = header.start_lsn,
                                          .bytes = segment->room,
                                      });
    memcpy(commit->retention.kept[commit->retention.count - 1].key_id, segment->header.key_id, 16);
    brd_cond_broadcast(&commit->files_wake); /* another one, please */
    brd_mutex_unlock(&commit->lock);
    atomic_fetch_add_explicit(&commit->segments, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&commit->segment_bytes_total, segment->room, memory_order_relaxed);
    return true;
}

/* The checksum over salt, header and payload, blobs included. */
static uint32_t
checksum_of(uint32_t seed, const struct iovec *parts, int count)
{
    const size_t from = offsetof(struct group_header, flags);
    uint32_t crc =
        brd_crc32c(seed, (const uint8_t *)parts[0].iov_base + from, parts[0].iov_len - from);
    int i;

    for (i = 1; i < count; i++)
        crc = brd_crc32c(crc, parts[i].iov_base, parts[i].iov_len);
    return crc;
}

static void
publish_written(struct commit *commit, uint64_t version, uint64_t lsn, uint64_t sync_version)
{
    uint64_t now_ns = brd_clock_mono_ns(commit->clock);

    brd_mutex_lock(&commit->lock);
    if (atomic_load_explicit(&commit->synced_version, memory_order_relaxed) ==
        atomic_load_explicit(&commit->written_version, memory_order_relaxed))
        atomic_store_explicit(&commit->fresh_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&commit->written_lsn, lsn, memory_order_release);
    atomic_store_explicit(&commit->written_version, version, memory_order_release);
    if (sync_version > commit->sync_wanted)
        commit->sync_wanted = sync_version;
    if (commit->sync_wanted > atomic_load_explicit(&commit->synced_version, memory_order_relaxed))
        brd_cond_signal(&commit->sync_wake);
    brd_mutex_unlock(&commit->lock);
}

/* How many bytes the group takes there; sets its flags. */
static uint64_t
place(const struct segment *segment, struct group_header *header)
{
    header->flags = segment->seal != NULL ? GROUP_SEALED : 0;
    return group_size(header);
}

/* Write the group under the cursor. Returns false after poisoning. */
static bool
write_group(struct commit *commit, const struct queue_cursor *cursor, size_t arena_bytes)
{
    struct iovec parts[2 * QUEUE_GROUP_BLOBS_MAX + 1];
    struct group_header *header = queue_group(cursor);
    uint64_t lsn = atomic_load_explicit(&commit->written_lsn, memory_order_relaxed);
    struct segment *segment = commit->current;
    uint64_t version = header->last_version;
    uint64_t records = header->records;
    uint64_t size;
    int count;
    int result = 0;

    BRD_CHECK(header->base_version ==
              atomic_load_explicit(&commit->written_version, memory_order_relaxed));
    size = place(segment, header);
    if (segment->end + size > segment->room && segment->end > SEGMENT_HEADER_BYTES) {
        if (!rotate(commit, header->base_version))
            return false;
        segment = commit->current;
        size = place(segment, header);
    }
    header->magic = GROUP_MAGIC;
    header->checksum = 0;
    header->epoch = commit->epoch;
    header->lsn = lsn;
    header->synced_lsn = atomic_load_explicit(&commit->synced_lsn, memory_order_acquire);
    header->reserved = 0;
    count = queue_group_parts(cursor, arena_bytes, parts);
    if (segment->seal != NULL &&
        sealing_group(&commit->sealing, segment->seal, parts, &count) != BRD_OK)
        result = -ENOMEM;
    if (result == 0) {
        header->checksum = checksum_of(segment->seed, parts, count);
        result = brd_file_writev(commit->io, segment->fd, parts, count, segment->end);
    }
    CRASH_POINT("group_written");
    if (result != 0) {
        atomic_fetch_add_explicit(&commit->write_errors, 1, memory_order_relaxed);
        commit_poison(commit, "write to", segment->path, result);
        return false;
    }
    segment->end += size;
    brd_counter_add(&commit->counters.groups, 1);
    brd_counter_add(&commit->counters.bytes, size);
    brd_counter_add(&commit->counters.records, records);
    publish_written(commit, version, lsn + size, cursor->arena->sync_version);
    return true;
}

static void
write_arena(struct commit *commit, struct queue_arena *arena)
{
    struct queue_cursor cursor = { .arena = arena };
    bool more = true;

    while (more && !poisoned(commit)) {
        size_t arena_bytes = (size_t)queue_group(&cursor)->reserved;

        if (!write_group(commit, &cursor, arena_bytes))
            break;
        more = queue_next_group(&cursor, arena_bytes);
        if (more)
            notify(commit);
    }
    sealing_trim(&commit->sealing);
    queue_give_back(commit->queue, arena);
}

/* Is the next segment there? Not: try again soon. *out_error: not even soon. */
static bool
next_is_ready(struct commit *commit, int *out_error)
{
    bool ready;

    brd_mutex_lock(&commit->lock);
    ready = commit->next != NULL;
    *out_error = !ready && commit->next_failed == commit->next_asks ? commit->next_error : 0;
    if (*out_error != 0) {
        commit->next_asks++; /* whoever comes next finds that it was tried again */
        brd_cond_broadcast(&commit->files_wake);
    }
    brd_mutex_unlock(&commit->lock);
    return ready;
}

/* May what comes go into the current segment although a new one was asked for? */
static bool
is_as_new(struct commit *commit)
{
    const struct segment *current = commit->current;
    bool same;

    brd_mutex_lock(&commit->lock);
    same = memcmp(current->header.key_id, brd_keyring_current(commit->keys), 16) == 0;
    brd_mutex_unlock(&commit->lock);
    return same && current->end == SEGMENT_HEADER_BYTES;
}

/* Somebody asked for a new segment; one without a record will do, under the current key. Nobody's write
 * waits for the preparation of another one because of that. */
static void
rotate_as_asked(struct commit *commit)
{
    uint64_t version = atomic_load_explicit(&commit->written_version, memory_order_relaxed);
    uint64_t first;
    int error = 0;

    brd_mutex_lock(&commit->lock);
    first = commit->rotate_version;
    brd_mutex_unlock(&commit->lock);
    if (version < first)
        return; /* it is in the other arena */
    if (!is_as_new(commit)) {
        bool ready = next_is_ready(commit, &error);

        if (!ready && error == 0)
            return;
        if (ready && !rotate(commit, version))
            return;
    }
    brd_mutex_lock(&commit->lock);
    atomic_store_explicit(&commit->rotate_wanted, false, memory_order_relaxed);
    commit->rotations++;
    commit->rotate_error = error;
    commit->rotated = (struct brd_wal_position){
        .version = version,
        .lsn = atomic_load_explicit(&commit->written_lsn, memory_order_relaxed),
        .records = brd_counter_get(&commit->counters.records),
    };
    brd_cond_broadcast(&commit->turn_done);
    brd_mutex_unlock(&commit->lock);
}

static void *
writer_main(void *arg)
{
    struct commit *commit = arg;
    bool stopping = false;

    while (!stopping) {
        struct queue_arena *arena = queue_take(commit->queue, TICK_NS, &stopping);
        bool told;

        atomic_fetch_add_explicit(&commit->writer_beat, 1, memory_order_relaxed);
        if (arena != NULL)
            write_arena(commit, arena);
        if (atomic_load_explicit(&commit->rotate_wanted, memory_order_relaxed) && !poisoned(commit))
            rotate_as_asked(commit);
        /* In this order: who is refused from now on finds the flag cleared. */
        told = queue_take_refused(commit->queue);
        if (arena != NULL || told)
            notify(commit);
    }
    return NULL;
}

/* ---- The syncer ---- */

uint64_t
commit_ceiling(const struct commit *commit)
{
    uint64_t ahead_ns = commit->idle ? CEILING_IDLE_NS : CEILING_AHEAD_NS;
    uint64_t by_clock = brd_clock_now_ns(commit->clock) + ahead_ns;
    uint64_t by_version = brd_sequencer_last(commit->sequencer) + CEILING_AHEAD_VERSIONS;
    uint64_t ceiling = by_clock > by_version ? by_clock : by_version;

    /* It never falls, and the sequencer wants its guard below it. */
    if (ceiling < commit->meta.slot.ceiling)
        ceiling = commit->meta.slot.ceiling;
    return ceiling;
}

void
commit_note_time(struct commit *commit)
{
    uint64_t now_ns = brd_clock_now_ns(commit->clock);
    uint64_t used_ns = atomic_load_explicit(&commit->used_ns, memory_order_relaxed);

    if (now_ns < used_ns)
        now_ns = used_ns;
    if (now_ns > commit->meta.slot.time_ns)
        commit->meta.slot.time_ns = now_ns;
}

static bool
ceiling_is_near(const struct commit *commit)
{
    uint64_t ceiling = commit->meta.slot.ceiling;

    return brd_clock_now_ns(commit->clock) + CEILING_LEFT_NS > ceiling ||
           brd_sequencer_last(commit->sequencer) + CEILING_LEFT_VERSIONS > ceiling;
}

/* Has something been synced that meta does not vouch for, though there was time? */
static bool
meta_is_behind(const struct commit *commit)
{
    return atomic_load_explicit(&commit->synced_lsn, memory_order_relaxed) >
               commit->meta.slot.synced_lsn &&
           brd_clock_mono_ns(commit->clock) - commit->stored_ns >= META_AGE_NS;
}

/* Returns false after poisoning. */
static bool
store_meta(struct commit *commit, uint64_t synced_version, uint64_t synced_lsn)
{
    uint64_t last = brd_sequencer_last(commit->sequencer);
    int result;

    commit->idle = last == commit->stored_last;
    commit->stored_last = last;
    commit->stored_ns = brd_clock_mono_ns(commit->clock);
    commit->meta.slot.ceiling = commit_ceiling(commit);
    commit->meta.slot.synced_lsn = synced_lsn;
    commit->meta.slot.last_version = synced_version;
    commit_note_time(commit);
    result = meta_store(commit->io, commit->meta_fd, &commit->meta, commit->meta_seal);
#if BREAK_IGNORED_FSYNC
    result = 0;
#endif
    if (result != 0) {
        /* Like any failed sync: nothing counts as synced after it. */
        atomic_store_explicit(&commit->sync_failed, true, memory_order_release);
        atomic_fetch_add_explicit(&commit->sync_errors, 1, memory_order_relaxed);
        commit_poison(commit, "update meta in", commit->dir, result);
        return false;
    }
    brd_sequencer_set_ceiling(commit->sequencer, commit->meta.slot.ceiling);
    commit_publish_meta(commit);
    return true;
}

void
commit_publish_meta(struct commit *commit)
{
    brd_mutex_lock(&commit->lock);
    memcpy(commit->meta_keys, commit->meta.slot_keys, sizeof(commit->meta_keys));
    brd_mutex_unlock(&commit->lock);
}

/* Is there another ring than the one that meta is stored with? Where its current key is another
 * one, store meta twice, so that neither slot is under the old one. */
static void
follow_keys(struct commit *commit)
{
    uint64_t version = atomic_load_explicit(&commit->synced_version, memory_order_relaxed);
    uint64_t lsn = atomic_load_explicit(&commit->synced_lsn, memory_order_relaxed);
    const struct brd_keyring *keys;
    struct brd_seal *seal = NULL;

    brd_mutex_lock(&commit->lock);
    keys = commit->keys;
    brd_mutex_unlock(&commit->lock);
    if (BRD_LIKELY(keys == commit->meta_ring))
        return;
    if (memcmp(commit->meta.slot.key_id, brd_keyring_current(keys), 16) == 0) {
        commit->meta_ring = keys;
        return;
    }
    if (meta_use_key(&commit->meta, keys, &seal) != BRD_OK)
        return; /* no memory now: the next tick tries again */
    brd_seal_close(&commit->meta_seal);
    commit->meta_seal = seal;
    commit->meta_ring = keys;
    if (store_meta(commit, version, lsn))
        (void)store_meta(commit, version, lsn);
}

static void
publish_synced(struct commit *commit, uint64_t version, uint64_t lsn, uint64_t began_ns)
{
    brd_mutex_lock(&commit->lock);
    atomic_store_explicit(&commit->synced_lsn, lsn, memory_order_release);
    atomic_store_explicit(&commit->synced_version, version, memory_order_release);
    atomic_store_explicit(&commit->fresh_ns, began_ns, memory_order_relaxed);
    if (commit->waiting > 0)
        brd_cond_broadcast(&commit->turn_done);
    brd_mutex_unlock(&commit->lock);
}

static void
count_sync(struct commit *commit, uint64_t took_ns)
{
    struct commit_counters *counters = &commit->counters;
    uint64_t took_us = took_ns / BRD_NS_PER_US;

    brd_counter_add(&counters->syncs, 1);
    atomic_store_explicit(&counters->sync_last_us, took_us, memory_order_relaxed);
    if (took_us > brd_counter_get(&counters->sync_max_us))
        atomic_store_explicit(&counters->sync_max_us, took_us, memory_order_relaxed);
}

/* Sync one file; counts. */
static int
sync_file(struct commit *commit, const struct segment *segment)
{
    uint64_t began_ns = brd_clock_mono_ns(commit->clock);
    int result = commit->io->fdatasync(commit->io->ctx, segment->fd);

#if BREAK_IGNORED_FSYNC
    result = 0;
#endif
    count_sync(commit, brd_clock_mono_ns(commit->clock) - began_ns);
    if (result != 0) {
        atomic_store_explicit(&commit->sync_failed, true, memory_order_release);
        atomic_fetch_add_explicit(&commit->sync_errors, 1, memory_order_relaxed);
        commit_poison(commit, "sync", segment->path, result);
    }
    return result;
}

/* Sync all that is written by now and publish it. */
static void
sync_written(struct commit *commit)
{
    uint64_t began_ns = brd_clock_mono_ns(commit->clock);
    struct segment *current;
    struct segment *sealed;
    uint64_t version;
    uint64_t lsn;
    int result = 0;

    brd_mutex_lock(&commit->lock);
    version = atomic_load_explicit(&commit->written_version, memory_order_relaxed);
    lsn = atomic_load_explicit(&commit->written_lsn, memory_order_relaxed);
    current = commit->current;
    sealed = commit->sealed;
    commit->sealed = NULL;
    commit->sealed_tail = &commit->sealed;
    brd_mutex_unlock(&commit->lock);

#if BREAK_EARLY_ACK
    publish_synced(commit, version, lsn, began_ns);
    notify(commit);
#endif
    while (sealed != NULL) {
        struct segment *next = sealed->next;

        if (result == 0)
            result = sync_file(commit, sealed);
        segment_close(commit->io, &sealed);
        sealed = next;
    }
    if (result == 0)
        result = sync_file(commit, current);
    CRASH_POINT("synced");
    if (result != 0)
        return;
    if (current->header.number > commit->meta.slot.newest_segment) {
        commit->meta.slot.newest_segment = current->header.number;
        if (!store_meta(commit, version, lsn))
            return;
    }
    publish_synced(commit, version, lsn, began_ns);
    notify(commit);
}

/* Is there something to sync now? */
static bool
sync_is_due(struct commit *commit)
{
    uint64_t written = atomic_load_explicit(&commit->written_version, memory_order_acquire);
    uint64_t synced = atomic_load_explicit(&commit->synced_version, memory_order_relaxed);
    uint64_t age_ns = brd_clock_mono_ns(commit->clock) -
                      atomic_load_explicit(&commit->fresh_ns, memory_order_relaxed);
    bool wanted;

    if (written == synced || atomic_load_explicit(&commit->sync_failed, memory_order_relaxed))
        return false;
    brd_mutex_lock(&commit->lock);
    wanted = commit->sync_wanted > synced || commit->stop_syncer;
    brd_mutex_unlock(&commit->lock);
    return wanted || age_ns >= commit->sync_interval_ns;
}

/* ---- Segments that nobody needs ---- */

/* Of the first n in the table: away with them. What cannot be removed costs space
 * until the next release tries again, and nothing else. */
static void
remove_oldest(struct commit *commit, size_t n)
{
    const struct brd_io *io = commit->io;
    size_t i;

    for (i = 0; i < n; i++) {
        /* Only this thread shortens the table, and who appends may move it. */
        struct kept_segment segment;
        char *path;
        int result;

        brd_mutex_lock(&commit->lock);
        segment = commit->retention.kept[i];
        brd_mutex_unlock(&commit->lock);
        path = segment_path(commit->dir, segment.number);
        result = path == NULL ? -ENOMEM : io->unlink(io->ctx, path);
        CRASH_POINT("segment_released");
        if (result != 0 && result != -ENOENT) {
            brd_diag_warning("cannot remove %s, which is not needed any more: %s; the next "
                             "checkpoint tries again",
                             path != NULL ? path : "a segment", brd_file_error(result));
            commit->left_behind = true;
        }
        free(path);
        atomic_fetch_sub_explicit(&commit->segments, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&commit->segment_bytes_total, segment.bytes,
                                  memory_order_relaxed);
    }
}

/* Returns false after poisoning. */
static bool
forget_oldest(struct commit *commit, size_t n)
{
    uint64_t version = atomic_load_explicit(&commit->synced_version, memory_order_relaxed);
    uint64_t lsn = atomic_load_explicit(&commit->synced_lsn, memory_order_relaxed);

    brd_mutex_lock(&commit->lock);
    commit->meta.slot.first_segment = commit->retention.kept[n].number;
    brd_mutex_unlock(&commit->lock);
    /* Twice: the slot that is the older one then must not name a removed file. */
    if (!store_meta(commit, version, lsn))
        return false;
    CRASH_POINT("release_noted_once");
    if (!store_meta(commit, version, lsn))
        return false;
    CRASH_POINT("release_noted");
    return true;
}

/* Segments that were given up and could not be removed then. */
static int
remove_left_behind(void *arg, const char *name)
{
    struct commit *commit = arg;
    uint64_t number = segment_number_of(name);
    char *path;
    int result;

    if (number == 0 || number >= commit->meta.slot.first_segment)
        return 0;
    path = segment_path(commit->dir, number);
    result = path == NULL ? -ENOMEM : commit->io->unlink(commit->io->ctx, path);
    free(path);
    if (result != 0 && result != -ENOENT)
        commit->left_behind = true;
    return 0;
}

static void
remove_what_was_left(struct commit *commit)
{
    char path[4096];

    commit->left_behind = false;
    snprintf(path, sizeof(path), "%s/wal", commit->dir);
    if (commit->io->list(commit->io->ctx, path, remove_left_behind, commit) != 0)
        commit->left_behind = true;
}

static void
release_segments(struct commit *commit, uint64_t wanted, uint64_t asked)
{
    size_t n;

    if (commit->left_behind)
        remove_what_was_left(commit);

    /* The first that stays must be known to be durable before the others go. */
    sync_written(commit);
    if (poisoned(commit))
        return;
    brd_mutex_lock(&commit->lock);
    n = retention_covered(&commit->retention, wanted);
    brd_mutex_unlock(&commit->lock);
    if (n > 0) {
        if (!forget_oldest(commit, n))
            return;
        remove_oldest(commit, n);
    }
    brd_mutex_lock(&commit->lock);
    if (n > 0)
        retention_drop(&commit->retention, n);
    commit->releases_done = asked;
    brd_cond_broadcast(&commit->turn_done);
    brd_mutex_unlock(&commit->lock);
}

/* Has somebody asked? Then for the release of what. */
static bool
release_wanted(struct commit *commit, uint64_t *out_version, uint64_t *out_asked)
{
    brd_mutex_lock(&commit->lock);
    *out_version = commit->release_version;
    *out_asked = commit->releases_asked;
    brd_mutex_unlock(&commit->lock);
    return *out_asked > commit->releases_done;
}

/* Wait until there may be something to do. False: stopping. */
static bool
syncer_wait(struct commit *commit)
{
    uint64_t tick_ns = commit->sync_interval_ns < TICK_NS ? commit->sync_interval_ns : TICK_NS;
    bool stop;

    brd_mutex_lock(&commit->lock);
    stop = commit->stop_syncer;
    if (!stop && commit->releases_asked == commit->releases_done &&
        (commit->sync_wanted <=
             atomic_load_explicit(&commit->synced_version, memory_order_relaxed) ||
         atomic_load_explicit(&commit->synced_version, memory_order_relaxed) ==
             atomic_load_explicit(&commit->written_version, memory_order_relaxed) ||
         poisoned(commit)))
        (void)brd_cond_wait_for(&commit->sync_wake, &commit->lock, tick_ns);
    brd_mutex_unlock(&commit->lock);
    return !stop;
}

static void
beat(struct commit *commit)
{
    uint64_t writer_beat = atomic_load_explicit(&commit->writer_beat, memory_order_relaxed);

    if (writer_beat != commit->seen_beat)
        atomic_fetch_add_explicit(&commit->heartbeat, 1, memory_order_relaxed);
    commit->seen_beat = writer_beat;
}

static void *
syncer_main(void *arg)
{
    struct commit *commit = arg;

    for (;;) {
        uint64_t wanted;
        uint64_t asked;

        beat(commit);
        if (!poisoned(commit))
            follow_keys(commit);
        if (!poisoned(commit) && (ceiling_is_near(commit) || meta_is_behind(commit)))
            (void)store_meta(commit,
                             atomic_load_explicit(&commit->synced_version, memory_order_relaxed),
                             atomic_load_explicit(&commit->synced_lsn, memory_order_relaxed));
        if (sync_is_due(commit)) {
            sync_written(commit);
            continue;
        }
        if (!poisoned(commit) && release_wanted(commit, &wanted, &asked)) {
            release_segments(commit, wanted, asked);
            continue;
        }
        if (!syncer_wait(commit) && !sync_is_due(commit))
            break;
        /* Who stood back for an oversize record that never came. */
        if (queue_take_refused(commit->queue))
            notify(commit);
    }
    return NULL;
}

void
commit_want_sync(struct commit *commit, uint64_t version)
{
    brd_mutex_lock(&commit->lock);
    if (version > commit->sync_wanted)
        commit->sync_wanted = version;
    brd_cond_signal(&commit->sync_wake);
    brd_mutex_unlock(&commit->lock);
}

/* ---- Who waits for the threads ---- */

/* Wait for a moment. BRD_OK: look again. Caller holds the lock. */
static enum brd_status
wait_turn(struct commit *commit) BRD_REQUIRES(&commit->lock)
{
    if (poisoned(commit))
        return BRD_READ_ONLY;
    if (commit->interrupted)
        return BRD_SHUTTING_DOWN;
    commit->waiting++;
    (void)brd_cond_wait_for(&commit->turn_done, &commit->lock, TICK_NS);
    commit->waiting--;
    return BRD_OK;
}

enum brd_status
commit_rotate(struct commit *commit, struct brd_wal_position *out_position)
{
    enum brd_status status = BRD_OK;
    uint64_t seen;

    brd_mutex_lock(&commit->lock);
    seen = commit->rotations;
    commit->rotate_version =
        atomic_load_explicit(&commit->queue->last_version, memory_order_acquire);
    atomic_store_explicit(&commit->rotate_wanted, true, memory_order_relaxed);
    brd_mutex_unlock(&commit->lock);
    queue_nudge(commit->queue);
    brd_mutex_lock(&commit->lock);
    while (status == BRD_OK && commit->rotations == seen)
        status = wait_turn(commit);
    if (status == BRD_OK && commit->rotate_error != 0)
        status = brd_file_status(commit->rotate_error);
    *out_position = commit->rotated;
    brd_mutex_unlock(&commit->lock);
    return status;
}

enum brd_status
commit_wait_synced(struct commit *commit, uint64_t version)
{
    enum brd_status status = BRD_OK;

    brd_mutex_lock(&commit->lock);
    while (status == BRD_OK &&
           atomic_load_explicit(&commit->synced_version, memory_order_relaxed) < version)
        status = wait_turn(commit);
    brd_mutex_unlock(&commit->lock);
    /* Of a log that has failed memory may show what was dropped, before `poisoned` does. */
    return queue_is_closed(commit->queue) ? BRD_READ_ONLY : status;
}

enum brd_status
commit_release(struct commit *commit, uint64_t version)
{
    enum brd_status status = BRD_OK;
    uint64_t asked;

    brd_mutex_lock(&commit->lock);
    if (version > commit->release_version)
        commit->release_version = version;
    asked = ++commit->releases_asked;
    brd_cond_signal(&commit->sync_wake);
    while (status == BRD_OK && commit->releases_done < asked)
        status = wait_turn(commit);
    brd_mutex_unlock(&commit->lock);
    return status;
}

void
commit_set_keys(struct commit *commit, const struct brd_keyring *keys)
{
    struct segment *stale = NULL;

    brd_mutex_lock(&commit->lock);
    commit->keys = keys;
    if (commit->next != NULL &&
        memcmp(commit->next->header.key_id, brd_keyring_current(keys), 16) != 0) {
        stale = commit->next;
        commit->next = NULL;
        commit->next_number--;
        brd_cond_broadcast(&commit->files_wake);
    }
    brd_cond_signal(&commit->sync_wake);
    brd_mutex_unlock(&commit->lock);
    segment_close(commit->io, &stale);
}

bool
commit_is_under(struct commit *commit, const uint8_t *key_id)
{
    bool under;

    brd_mutex_lock(&commit->lock);
    under = retention_is_under(&commit->retention, key_id) &&
            memcmp(commit->meta_keys[0], key_id, 16) == 0 &&
            memcmp(commit->meta_keys[1], key_id, 16) == 0;
    brd_mutex_unlock(&commit->lock);
    return under;
}

void
commit_interrupt(struct commit *commit)
{
    brd_mutex_lock(&commit->lock);
    commit->interrupted = true;
    brd_cond_broadcast(&commit->turn_done);
    brd_mutex_unlock(&commit->lock);
}

/* ---- The preparer ---- */

static void *
preparer_main(void *arg)
{
    struct commit *commit = arg;

    brd_mutex_lock(&commit->lock);
    while (!commit->stop_preparer) {
        struct segment *segment = NULL;
        const struct brd_keyring *keys = commit->keys;
        uint64_t number = commit->next_number;
        uint64_t asks = commit->next_asks;
        int result;

        if (commit->next != NULL || (commit->next_error != 0 && commit->next_failed == asks)) {
            brd_cond_wait(&commit->files_wake, &commit->lock);
            continue;
        }
        /* The one before may have been taken and not be in the table yet. */
        if (retention_reserve(&commit->retention, 2) != BRD_OK) {
            commit->next_error = -ENOMEM;
            commit->next_failed = asks;
            brd_cond_broadcast(&commit->files_wake);
            continue;
        }
        brd_mutex_unlock(&commit->lock);
        result = segment_prepare(commit->io, commit->dir, number, commit->segment_bytes,
                                 commit->segment_bytes, &commit->hurry, &segment);
        if (result == 0)
            result = segment_seal(segment, keys, commit->uuid);
        if (result != 0)
            segment_close(commit->io, &segment);
        brd_mutex_lock(&commit->lock);
        if (result == 0 &&
            memcmp(brd_keyring_current(keys), brd_keyring_current(commit->keys), 16) != 0) {
            /* The key has changed meanwhile: once more. */
            brd_mutex_unlock(&commit->lock);
            segment_close(commit->io, &segment);
            brd_mutex_lock(&commit->lock);
            continue;
        }
        if (result == 0)
            commit->next_number++;
        else
            commit->next_failed = asks;
        commit->next = segment;
        commit->next_error = result;
        brd_cond_broadcast(&commit->files_wake);
    }
    brd_mutex_unlock(&commit->lock);
    return NULL;
}

/* ---- Start and stop ---- */

enum brd_status
commit_start(struct commit *commit)
{
    enum brd_status status;

    status = brd_thread_start(&commit->syncer, "wal-sync", syncer_main, commit);
    commit->syncer_runs = status == BRD_OK;
    if (status == BRD_OK) {
        status = brd_thread_start(&commit->preparer, "wal-files", preparer_main, commit);
        commit->preparer_runs = status == BRD_OK;
    }
    if (status == BRD_OK) {
        status = brd_thread_start(&commit->writer, "wal-write", writer_main, commit);
        commit->writer_runs = status == BRD_OK;
    }
    if (status != BRD_OK)
        commit_stop(commit);
    return status;
}

void
commit_stop(struct commit *commit)
{
    if (commit->writer_runs) {
        queue_stop(commit->queue);
        brd_thread_join(commit->writer);
        commit->writer_runs = false;
    }
    brd_mutex_lock(&commit->lock);
    commit->stop_preparer = true;
    atomic_store_explicit(&commit->hurry, true, memory_order_relaxed);
    brd_cond_broadcast(&commit->files_wake);
    brd_mutex_unlock(&commit->lock);
    if (commit->preparer_runs)
        brd_thread_join(commit->preparer);
    commit->preparer_runs = false;

    brd_mutex_lock(&commit->lock);
    commit->stop_syncer = true;
    brd_cond_signal(&commit->sync_wake);
    brd_mutex_unlock(&commit->lock);
    if (commit->syncer_runs)
        brd_thread_join(commit->syncer);
    commit->syncer_runs = false;
}
