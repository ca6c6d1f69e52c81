/* Group commit.
 *
 * writer    takes the queue's arena, gives each group its position and checksum,
 *           writes it, publishes `written`. While it writes, others queue: the
 *           next arena is as large as the disk is slow, and a lone record does
 *           not wait for company.
 * syncer    when somebody waits for a sync, or written data has been unsynced
 *           for an interval: notes `written`, syncs the files behind it, publishes
 *           that as `synced`. Group n+1 is written meanwhile. On a slow disk it waits a
 *           moment for those whom the last sync has answered (gather.h). It also keeps meta:
 *           the ceiling of versions, and the newest segment, which is made known
 *           before anything in that segment counts as synced.
 *           It also removes segments that nobody needs any more (commit_release): first
 *           meta says so, in both of its slots, so that not even the older one names a
 *           file that is gone; then they go, oldest first, or become spares (spare.c).
 * preparer  keeps one prepared segment ahead, so that the writer need not wait
 *           for an allocation: made of a spare, or else a new one. Where the writer is faster
 *           than the preparation it waits for what is ready of it. It looks at the disk before
 *           each, and five times a second, and decides what that allows (reserve.h). While the
 *           disk is low it prepares one only for who asks: the writer, or a rotation. Where
 *           it is short (commit_is_short) spares are given back.
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
 * Meta may say that no file is plain. It does in neither slot before a plain segment is prepared
 * (commit_set_keys waits for that), and only when none is left, not even one that the writer has
 * taken and not begun (commit_note_sealed).
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

void
commit_notify(struct commit *commit)
{
    if (commit->on_progress != NULL)
        commit->on_progress(commit->arg);
}

/* Nothing else than written has moved. */
static void
notify_written(struct commit *commit)
{
    if (commit->on_written != NULL)
        commit->on_written(commit->arg);
    else
        commit_notify(commit);
}

bool
commit_is_poisoned(const struct commit *commit)
{
    return atomic_load_explicit(&commit->poisoned, memory_order_acquire);
}

bool
commit_is_low(const struct commit *commit)
{
    return atomic_load_explicit(&commit->reserve.low, memory_order_relaxed);
}

bool
commit_is_short(const struct commit *commit)
{
    const struct reserve *reserve = &commit->reserve;
    uint64_t free_bytes = atomic_load_explicit(&reserve->free_bytes, memory_order_relaxed);
    uint64_t total = atomic_load_explicit(&reserve->total_bytes, memory_order_relaxed);
    uint64_t kept = atomic_load_explicit(&reserve->reserve_bytes, memory_order_relaxed);

    return commit_is_low(commit) || (total != 0 && free_bytes / 2 < kept);
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
    commit_notify(commit);
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
    commit->writer_waits = true;
    brd_cond_broadcast(&commit->files_wake);
    while (commit->next == NULL && commit->next_failed < commit->next_asks)
        brd_cond_wait(&commit->files_wake, &commit->lock);
    segment = commit->next;
    commit->taken = segment;
    commit->next = NULL;
    commit->writer_waits = false; /* one is enough, where the disk is low */
    BRD_CHECK(segment == NULL || segment->seal != NULL ||
              (!commit->meta_all_sealed[0] && !commit->meta_all_sealed[1]));
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
        brd_mutex_lock(&commit->lock);
        commit->taken = NULL;
        brd_mutex_unlock(&commit->lock);
        segment_close(commit->io, &segment);
        return false;
    }
    brd_mutex_lock(&commit->lock);
    commit->taken = NULL;
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
    bool wanted;

    brd_mutex_lock(&commit->lock);
    if (atomic_load_explicit(&commit->synced_version, memory_order_relaxed) ==
        atomic_load_explicit(&commit->written_version, memory_order_relaxed))
        atomic_store_explicit(&commit->fresh_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&commit->written_lsn, lsn, memory_order_release);
    atomic_store_explicit(&commit->written_version, version, memory_order_release);
    if (sync_version > commit->sync_wanted)
        commit->sync_wanted = sync_version;
    wanted =
        commit->sync_wanted > atomic_load_explicit(&commit->synced_version, memory_order_relaxed) &&
        brd_counter_get(&commit->counters.sync_records) >= commit->gather_target;
    brd_mutex_unlock(&commit->lock);
    if (wanted)
        brd_cond_signal(&commit->sync_wake); /* it would wake into the lock */
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

    /* Of all its groups, before the first: there is hardly ever another one. */
    brd_counter_add(&commit->counters.sync_records, arena->sync_records);
    while (more && !commit_is_poisoned(commit)) {
        size_t arena_bytes = (size_t)queue_group(&cursor)->reserved;

        if (!write_group(commit, &cursor, arena_bytes))
            break;
        more = queue_next_group(&cursor, arena_bytes);
        if (more)
            notify_written(commit);
    }
    sealing_trim(&commit->sealing);
    queue_give_back(commit->queue, arena);
    queue_set_begin(commit->queue,
                    atomic_load_explicit(&commit->written_lsn, memory_order_relaxed));
}

/* Is the next segment there? Not: try again soon. *out_error: not even soon. */
static bool
next_is_ready(struct commit *commit, int *out_error)
{
    bool ready;

    brd_mutex_lock(&commit->lock);
    ready = commit->next != NULL;
    if (ready)
        commit->rotation_waits = false; /* it will be taken: another one is not needed */
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
    commit->rotation_waits = false;
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
        struct queue_arena *arena = queue_take(commit->queue, COMMIT_TICK_NS, &stopping);
        bool told;

        atomic_fetch_add_explicit(&commit->writer_beat, 1, memory_order_relaxed);
        if (arena != NULL)
            write_arena(commit, arena);
        if (atomic_load_explicit(&commit->rotate_wanted, memory_order_relaxed) &&
            !commit_is_poisoned(commit))
            rotate_as_asked(commit);
        /* In this order: who is refused from now on finds the flag cleared. */
        told = queue_take_refused(commit->queue);
        if (told)
            commit_notify(commit);
        else if (arena != NULL)
            notify_written(commit);
    }
    return NULL;
}

/* ---- Who waits for the threads ---- */

/* Wait for a moment. BRD_OK: look again. Caller holds the lock. */
static enum brd_status
wait_turn(struct commit *commit) BRD_REQUIRES(&commit->lock)
{
    if (commit_is_poisoned(commit))
        return BRD_READ_ONLY;
    if (commit->interrupted)
        return BRD_SHUTTING_DOWN;
    commit->waiting++;
    (void)brd_cond_wait_for(&commit->turn_done, &commit->lock, COMMIT_TICK_NS);
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
    commit->rotation_waits = true;
    brd_cond_broadcast(&commit->files_wake);
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

/* Is none of the segments plain, nor will the next one be? Caller holds the lock. */
static bool
log_is_sealed(const struct commit *commit) BRD_REQUIRES(&commit->lock)
{
    return !keys_is_plain(brd_keyring_current(commit->keys)) &&
           (commit->next == NULL || commit->next->seal != NULL) &&
           (commit->taken == NULL || commit->taken->seal != NULL) &&
           retention_is_sealed(&commit->retention);
}

/* Let the syncer store in both slots of meta whether all is sealed. Caller holds the lock. */
static enum brd_status
say_sealed(struct commit *commit, bool all_sealed) BRD_REQUIRES(&commit->lock)
{
    enum brd_status status = BRD_OK;
    bool before = commit->all_sealed;

    commit->all_sealed = all_sealed;
    brd_cond_signal(&commit->sync_wake);
    while (status == BRD_OK &&
           (commit->meta_all_sealed[0] != all_sealed || commit->meta_all_sealed[1] != all_sealed))
        status = wait_turn(commit);
    if (status != BRD_OK)
        commit->all_sealed = before;
    return status;
}

enum brd_status
commit_note_sealed(struct commit *commit)
{
    enum brd_status status = BRD_OK;

    brd_mutex_lock(&commit->lock);
    if (log_is_sealed(commit))
        status = say_sealed(commit, true);
    brd_mutex_unlock(&commit->lock);
    return status;
}

enum brd_status
commit_set_keys(struct commit *commit, const struct brd_keyring *keys)
{
    enum brd_status status = BRD_OK;
    struct segment *stale = NULL;

    brd_mutex_lock(&commit->lock);
    if (keys_is_plain(brd_keyring_current(keys)))
        status = say_sealed(commit, false);
    if (status != BRD_OK) {
        brd_mutex_unlock(&commit->lock);
        return status;
    }
    commit->keys = keys;
    if (keys != NULL)
        commit->keep_spares = false;
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
    /* What cannot go counts as under another key (under.c). */
    if (keys != NULL && commit_drop_spares(commit) != BRD_OK)
        brd_diag_warning("not all bytes of earlier lives of the log's files are gone");
    return BRD_OK;
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

void
commit_note_spares(struct commit *commit)
{
    atomic_store_explicit(&commit->spare_count, commit->spares.count, memory_order_relaxed);
}

/* The next segment: of a spare (0: there is none), or else a new one of so many bytes. */
static int
prepare_next(struct commit *commit, uint64_t spare, uint64_t number, uint64_t bytes,
             struct segment **out_segment)
{
    if (spare != 0 &&
        spare_use(commit->io, commit->dir, spare, number, commit->segment_bytes, out_segment) == 0)
        return 0;
    return segment_prepare(commit->io, commit->dir, number, bytes, bytes, &commit->hurry,
                           out_segment);
}

/* Near the reserve, free space is worth more than files to be used again. Under the lock, which
 * is given up meanwhile. */
static void
give_spares_back(struct commit *commit) BRD_REQUIRES(&commit->lock)
{
    struct spares spares = commit->spares;
    uint64_t number;

    commit->spares = (struct spares){ .count = 0 };
    commit_note_spares(commit);
    commit->using_spare = true;
    brd_mutex_unlock(&commit->lock);
    while ((number = spares_take(&spares)) != 0)
        (void)spare_remove(commit->io, commit->dir, number);
    brd_mutex_lock(&commit->lock);
    commit->using_spare = false;
    brd_cond_broadcast(&commit->files_wake);
}

/* A prepared segment that nobody may begin. Returns 0 or -errno. */
static int
discard(struct commit *commit, struct segment *segment)
{
    int result = commit->io->unlink(commit->io->ctx, segment->path);

    segment_close(commit->io, &segment);
    return result;
}

enum brd_status
commit_drop_spares(struct commit *commit)
{
    struct segment *next = NULL;
    struct spares spares;
    uint64_t number;
    int first = 0;
    int result;

    brd_mutex_lock(&commit->lock);
    commit->keep_spares = false;
    while (commit->using_spare)
        brd_cond_wait(&commit->files_wake, &commit->lock);
    spares = commit->spares;
    commit->spares = (struct spares){ .count = 0 };
    commit_note_spares(commit);
    if (commit->next != NULL && commit->next->recycled) {
        next = commit->next;
        commit->next = NULL;
        commit->next_number = next->header.number;
        /* Held under the lock: the preparer makes another one of the same name. */
        first = discard(commit, next);
        brd_cond_broadcast(&commit->files_wake);
    }
    brd_mutex_unlock(&commit->lock);
    while ((number = spares_take(&spares)) != 0) {
        result = spare_remove(commit->io, commit->dir, number);
        if (first == 0)
            first = result;
    }
    result = segment_sync_names(commit->io, commit->dir);
    if (first == 0)
        first = result;
    return first == 0 ? BRD_OK : brd_file_status(first);
}

/* What is left of the segment that is being written. Under the lock. */
static uint64_t
rest_of_current(const struct commit *commit)
{
    uint64_t lsn = atomic_load_explicit(&commit->written_lsn, memory_order_relaxed);
    uint64_t end;

    if (commit->current == NULL)
        return 0;
    end = SEGMENT_HEADER_BYTES + (lsn - commit->current->header.start_lsn);
    return end < commit->current->room ? commit->current->room - end : 0;
}

uint64_t
commit_look_at_disk(struct commit *commit)
{
    struct reserve_view view = { .segment_bytes = commit->segment_bytes };
    struct reserve_plan plan;
    bool was_low = commit_is_low(commit);

    brd_mutex_unlock(&commit->lock);
    if (!commit_is_poisoned(commit))
        reserve_tell(&commit->reserve, commit->dir); /* of the last decision */
    reserve_measure(&commit->reserve, commit->io, commit->dir);
    if (commit->snapshot_bytes != NULL)
        view.needed = commit->snapshot_bytes(commit->snapshot_arg);
    brd_mutex_lock(&commit->lock);
    view.lsn = atomic_load_explicit(&commit->written_lsn, memory_order_relaxed);
    view.rest_bytes = rest_of_current(commit);
    view.next_bytes = commit->next != NULL ? commit->next->room : 0;
    view.asked = commit->writer_waits || commit->rotation_waits || commit->current == NULL;
    reserve_update(&commit->reserve, &view, &plan);
    queue_set_limits(commit->queue, &plan, plan.low || commit->next_error != 0);
    if (was_low && !plan.low && commit->next_error != 0)
        commit->next_error = 0; /* what failed for want of room may go well now */
    return plan.prepare_bytes;
}

void
commit_disk_changed(struct commit *commit)
{
    brd_mutex_lock(&commit->lock);
    brd_cond_broadcast(&commit->files_wake);
    brd_mutex_unlock(&commit->lock);
}

static void *
preparer_main(void *arg)
{
    struct commit *commit = arg;

    brd_mutex_lock(&commit->lock);
    while (!commit->stop_preparer) {
        struct segment *segment = NULL;
        uint64_t bytes = commit_look_at_disk(commit);
        const struct brd_keyring *keys = commit->keys;
        uint64_t number = commit->next_number;
        uint64_t asks = commit->next_asks;
        uint64_t spare;
        int result;

        /* Whatever changed while the lock was given up has been looked at. */
        if (commit->stop_preparer)
            break;
        if (commit->spares.count > 0 &&
            (commit_is_short(commit) || (bytes > 0 && bytes < commit->segment_bytes))) {
            give_spares_back(commit);
            continue;
        }
        if (bytes == 0 || (commit->next_error != 0 && commit->next_failed == asks)) {
            (void)brd_cond_wait_for(&commit->files_wake, &commit->lock, COMMIT_TICK_NS);
            continue;
        }
        /* The one before may have been taken and not be in the table yet. */
        if (retention_reserve(&commit->retention, 2) != BRD_OK) {
            commit->next_error = -ENOMEM;
            commit->next_failed = asks;
            brd_cond_broadcast(&commit->files_wake);
            continue;
        }
        spare = commit->keep_spares ? spares_take(&commit->spares) : 0;
        commit_note_spares(commit);
        commit->using_spare = spare != 0;
        brd_mutex_unlock(&commit->lock);
        result = prepare_next(commit, spare, number, bytes, &segment);
        if (result == 0)
            result = segment_seal(segment, keys, commit->uuid);
        if (result != 0)
            segment_close(commit->io, &segment);
        brd_mutex_lock(&commit->lock);
        if (result == 0 &&
            ((segment->recycled && !commit->keep_spares) ||
             memcmp(brd_keyring_current(keys), brd_keyring_current(commit->keys), 16) != 0)) {
            /* The key has changed meanwhile, or spares are out of use: once more. */
            (void)discard(commit, segment);
            commit->using_spare = false;
            brd_cond_broadcast(&commit->files_wake);
            continue;
        }
        commit->using_spare = false;
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

    status = brd_thread_start(&commit->syncer, "wal-sync", commit_syncer, commit);
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
