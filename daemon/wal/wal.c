/* The front of the log: its life from open to close.
 *
 *   DIR/lock            flock, so that one daemon has the directory
 *   DIR/meta            identity, epoch, ceiling of versions (meta.c)
 *   DIR/wal/NUMBER.wal  segments (segment.c)
 *   DIR/wal/NUMBER.spare  files that were segments and will be again (spare.c)
 *
 * open    (claim.c) locks, reads meta and the headers of segments; makes an empty
 *         directory into one with an identity. It changes nothing else, and nothing at all
 *         where a file is under a key that is not there.
 * replay  walks the groups and finds the end of the log (reader.c).
 * start   makes that end final, each step safe to be cut short and repeated:
 *         1. make durable what was replayed and is not known to be: it may have been
 *            in the page cache only, and from now on is said to be synced. It is
 *            written again before the sync: if a sync failed in an earlier life the
 *            system takes those pages for clean, and would not write them;
 *         2. remove what lies behind the end, newest first, each made durable, so
 *            that no gap is ever left;
 *         3. meta: the new epoch (never used before, not even by a start that was
 *            cut short here) and a ceiling above every version ever issued. In both slots:
 *            what comes next may contradict what either says of an orderly stop, or of
 *            keys;
 *         4. a new segment that says where the log had ended, then meta again,
 *            so that it can no longer go missing unnoticed;
 *         5. remove what lies before meta's first segment, which a release (syncer.c)
 *            did not get round to, and look for spares. Not sooner: the meta that was
 *            found may have been in the page cache only, and the disk's one still name the
 *            first of them;
 *         6. give back the disk space behind the end of the old segment.
 * stop    writes and syncs what is queued, cuts the segment to its size, and
 *         records in meta that nothing was in flight.
 *
 * The first segment of a life is small: it is pre-written before start returns.
 *
 * Queueing is in queue.c, threads and positions in commit.c and syncer.c. */
#include "wal/wal.h"

#include "base/check.h"
#include "base/crashpoint.h"
#include "base/diag.h"
#include "wal/core.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAL_MAGIC             UINT32_C(0x77616c21)
#define SEGMENT_BYTES_DEFAULT (UINT64_C(64) << 20)
#define QUEUE_BYTES_DEFAULT   (UINT64_C(64) << 20)
#define GROUP_BYTES_DEFAULT   (UINT64_C(1) << 20)
#define SYNC_INTERVAL_DEFAULT BRD_NS_PER_S
#define FIRST_SEGMENT_BYTES   (UINT64_C(4) << 20)
#define REWRITE_STEP          ((size_t)256 << 10)

/* ---- Open ---- */

static uint64_t
or_default(uint64_t value, uint64_t fallback)
{
    return value != 0 ? value : fallback;
}

static void
init_commit(struct brd_wal *wal, const struct brd_wal_options *options)
{
    struct commit *commit = &wal->commit;

    commit->io = wal->io;
    commit->dir = wal->dir;
    commit->clock = options->clock;
    commit->sequencer = options->sequencer;
    commit->queue = &wal->queue;
    commit->segment_bytes = or_default(options->segment_bytes, SEGMENT_BYTES_DEFAULT);
    if (commit->segment_bytes < SEGMENT_BYTES_MIN)
        commit->segment_bytes = SEGMENT_BYTES_MIN;
    commit->sync_interval_ns = or_default(options->sync_interval_ns, SYNC_INTERVAL_DEFAULT);
    /* Bytes of an earlier life may be under another key, or under none. */
    commit->keep_spares = !options->no_spares && options->keys == NULL;
    atomic_init(&commit->reserve.wanted, options->disk_reserve_bytes);
    commit->snapshot_bytes = options->snapshot_bytes;
    commit->snapshot_arg = options->snapshot_arg;
    commit->on_progress = options->on_progress;
    commit->on_written = options->on_written;
    commit->arg = options->arg;
    commit->sealed_tail = &commit->sealed;
    commit->meta_fd = -1;
    commit->keys = options->keys;
    brd_mutex_init(&commit->lock, BRD_RANK_WAL_STATE);
    brd_cond_init(&commit->sync_wake);
    brd_cond_init(&commit->files_wake);
    brd_cond_init(&commit->turn_done);
}

enum brd_status
brd_wal_open(const struct brd_wal_options *options, struct brd_wal **out_wal,
             struct brd_wal_error *out_error)
{
    struct brd_wal *wal = calloc(1, sizeof(*wal));
    uint64_t group_bytes_max = or_default(options->group_bytes_max, GROUP_BYTES_DEFAULT);
    enum brd_status status = BRD_OUT_OF_MEMORY;

    if (wal == NULL)
        return error_set(out_error, status, options->dir, 0, "out of memory");
    wal->magic = WAL_MAGIC;
    wal->io = options->io != NULL ? options->io : brd_io_real();
    wal->read_only = options->read_only;
    wal->keys = options->keys;
    wal->lock_fd = -1;
    brd_mutex_init(&wal->reset_lock, BRD_RANK_WAL_STATE);
    init_commit(wal, options);
    wal->dir = strdup(options->dir);
    wal->commit.dir = wal->dir;
    if (group_bytes_max > BRD_WAL_RECORD_MAX)
        group_bytes_max = BRD_WAL_RECORD_MAX;
    if (wal->dir != NULL && !wal->read_only) {
        status =
            queue_init(&wal->queue, options->sequencer, options->clock,
                       or_default(options->queue_bytes_max, QUEUE_BYTES_DEFAULT), group_bytes_max);
        wal->queue_ready = status == BRD_OK;
    } else if (wal->dir != NULL) {
        status = BRD_OK;
    }
    if (status != BRD_OK)
        error_set(out_error, status, options->dir, 0, "out of memory");
    else
        status = claim_files(wal, out_error);
    if (status != BRD_OK) {
        brd_wal_close(&wal);
        return status;
    }
    *out_wal = wal;
    return BRD_OK;
}

/* ---- Replay ---- */

struct replay {
    brd_wal_replay_fn fn;
    void *arg;
    uint64_t done;
    uint64_t total;
};

static enum brd_status
replay_progress(void *arg, bool searching, uint64_t done, uint64_t total)
{
    struct replay *replay = arg;

    if (!searching) {
        replay->done = done;
        replay->total = total;
    }
    return BRD_OK;
}

static enum brd_status
replay_record(void *arg, const struct brd_wal_group_view *group, uint64_t version,
              struct brd_bytes payload)
{
    struct replay *replay = arg;

    (void)group;
    return replay->fn(replay->arg, version, payload, replay->done, replay->total);
}

enum brd_status
brd_wal_replay(struct brd_wal *wal, brd_wal_replay_fn fn, void *arg,
               struct brd_wal_report *out_report, struct brd_wal_error *out_error)
{
    struct replay replay = { .fn = fn, .arg = arg };
    struct brd_wal_visitor visitor = { .arg = &replay,
                                       .progress = replay_progress,
                                       .record = fn != NULL ? replay_record : NULL };

    return brd_wal_visit(wal, &visitor, out_report, out_error);
}

enum brd_status
brd_wal_visit(struct brd_wal *wal, const struct brd_wal_visitor *visitor,
              struct brd_wal_report *out_report, struct brd_wal_error *out_error)
{
    enum brd_status status;

    BRD_CHECK(wal->magic == WAL_MAGIC && !wal->started);
    status =
        log_walk(wal->io, &wal->found.slot, &wal->map, visitor, &wal->end, out_report, out_error);
    wal->replayed = status == BRD_OK;
    return status;
}

/* ---- Start ---- */

static int
sync_names(struct brd_wal *wal)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/wal", wal->dir);
    return brd_file_sync_dir(wal->io, path);
}

/* Write a stretch of a file again, with the bytes that it has. */
static int
rewrite(const struct brd_io *io, int fd, uint64_t from, uint64_t to, uint8_t *buffer)
{
    size_t size = 1;
    int result = 0;

    for (; result == 0 && size > 0 && from < to; from += size) {
        size_t step = to - from < REWRITE_STEP ? (size_t)(to - from) : REWRITE_STEP;

        result = brd_file_read(io, fd, buffer, step, from, &size);
        if (result == 0)
            result = brd_file_write(io, fd, buffer, size, from);
    }
    return result;
}

/* Make a segment durable up to end_lsn; what lies before end.synced_lsn is. */
static int
sync_segment(struct brd_wal *wal, const struct log_segment *segment, uint64_t end_lsn,
             uint8_t *buffer)
{
    const struct brd_io *io = wal->io;
    uint64_t start_lsn = segment->header.start_lsn;
    uint64_t known_lsn = wal->end.synced_lsn > start_lsn ? wal->end.synced_lsn : start_lsn;
    bool header_too = segment->number > wal->found.slot.newest_segment;
    uint64_t from = header_too ? 0 : SEGMENT_HEADER_BYTES + (known_lsn - start_lsn);
    int fd = io->open(io->ctx, segment->path, O_RDWR);
    int result = fd < 0 ? fd : 0;

    if (result == 0)
        result = rewrite(io, fd, from, SEGMENT_HEADER_BYTES + (end_lsn - start_lsn), buffer);
    if (result == 0)
        result = io->fdatasync(io->ctx, fd);
    brd_file_close(io, &fd);
    return result;
}

/* Step 1. */
static enum brd_status
sync_kept(struct brd_wal *wal, struct brd_wal_error *error)
{
    uint8_t *buffer = malloc(REWRITE_STEP);
    enum brd_status status = BRD_OK;
    size_t i;

    if (buffer == NULL)
        return error_set(error, BRD_OUT_OF_MEMORY, wal->dir, 0, "out of memory");
    for (i = 0; status == BRD_OK && i < wal->end.kept; i++) {
        const struct log_segment *segment = &wal->map.segments[i];
        uint64_t end_lsn = i + 1 < wal->end.kept ? segment[1].header.start_lsn : wal->end.lsn;
        int result;

        if (end_lsn <= wal->end.synced_lsn && segment->number <= wal->found.slot.newest_segment)
            continue;
        result = sync_segment(wal, segment, end_lsn, buffer);
        if (result < 0)
            status = error_io(error, result, "sync", segment->path);
    }
    free(buffer);
    return status;
}

/* Step 2. */
static enum brd_status
drop_rest(struct brd_wal *wal, struct brd_wal_error *error)
{
    size_t i;

    for (i = wal->map.count; i > wal->end.kept; i--) {
        const char *path = wal->map.segments[i - 1].path;
        int result = wal->io->unlink(wal->io->ctx, path);

        CRASH_POINT("segment_dropped");
        if (result == 0 || result == -ENOENT)
            result = sync_names(wal);
        if (result < 0)
            return error_io(error, result, "remove", path);
    }
    return BRD_OK;
}

/* The rest of step 5: files that are used again. Failing is no failure: nobody looks at what
 * is left. */
static void
find_spares(struct brd_wal *wal)
{
    struct commit *commit = &wal->commit;

    spares_find(&commit->spares, wal->io, wal->dir,
                commit->keep_spares ? commit->segment_bytes : 0);
    atomic_store_explicit(&commit->spare_count, commit->spares.count, memory_order_relaxed);
}

/* No version at or below it may be issued. */
static uint64_t
version_floor(const struct brd_wal *wal)
{
    const struct meta_slot *slot = &wal->found.slot;
    bool clean = (slot->flags & META_CLEAN) != 0 && !wal->found.doubtful;
    uint64_t floor = clean ? slot->last_version : slot->ceiling;

    return floor > wal->end.last_version ? floor : wal->end.last_version;
}

/* The segment that the log ends in; NULL: there is none. */
static const struct log_segment *
last_kept(const struct brd_wal *wal)
{
    return wal->end.kept > 0 ? &wal->map.segments[wal->end.kept - 1] : NULL;
}

static enum brd_status
store_meta(struct brd_wal *wal, struct brd_wal_error *error)
{
    struct commit *commit = &wal->commit;
    int result = meta_store(wal->io, commit->meta_fd, &commit->meta, commit->meta_seal);

    return result == 0 ? BRD_OK : error_io(error, result, "update meta in", wal->dir);
}

/* Step 3. */
static enum brd_status
begin_epoch(struct brd_wal *wal, struct brd_wal_error *error)
{
    struct commit *commit = &wal->commit;
    struct meta_slot *slot = &commit->meta.slot;
    const struct log_segment *last = last_kept(wal);
    enum brd_status status;
    char path[4096];

    snprintf(path, sizeof(path), "%s/meta", wal->dir);
    commit->meta_fd = wal->io->open(wal->io->ctx, path, O_RDWR);
    if (commit->meta_fd < 0)
        return error_io(error, commit->meta_fd, "open", path);
    brd_sequencer_raise(commit->sequencer, version_floor(wal));
    commit->meta = wal->found;
    memcpy(commit->uuid, slot->uuid, sizeof(commit->uuid));
    commit->meta_ring = wal->keys;
    status = meta_use_key(&commit->meta, wal->keys, &commit->meta_seal);
    if (status != BRD_OK)
        return error_set(error, status, path, 0, "out of memory");
    if (slot->epoch < wal->end.epoch)
        slot->epoch = wal->end.epoch; /* meta may be the older slot */
    slot->epoch++;
    slot->flags &= ~META_CLEAN;
    slot->ceiling = commit_ceiling(commit);
    slot->synced_lsn = wal->end.lsn;
    slot->last_version = wal->end.last_version;
    /* Its header is durable by now, and whatever came behind it is gone. */
    if (last != NULL && last->number >= slot->newest_segment)
        meta_set_newest(slot, last->number, last->header.salt);
    commit_note_time(commit);
    commit->epoch = slot->epoch;
    /* Twice: not even the slot that is the older one then may say that the last stop was orderly,
     * when there is a new segment, or that nothing is plain, when that is. */
    status = store_meta(wal, error);
    CRASH_POINT("start_epoch_once");
    if (status == BRD_OK)
        status = store_meta(wal, error);
    commit->all_sealed = (slot->flags & META_ALL_SEALED) != 0;
    return status;
}

/* Small, and as small as the disk wants it. */
static uint64_t
first_segment_bytes(struct commit *commit)
{
    uint64_t bytes;

    brd_mutex_lock(&commit->lock);
    bytes = commit_look_at_disk(commit);
    brd_mutex_unlock(&commit->lock);
    return bytes < FIRST_SEGMENT_BYTES ? bytes : FIRST_SEGMENT_BYTES;
}

/* Step 4. */
static enum brd_status
begin_segment(struct brd_wal *wal, struct brd_wal_error *error)
{
    struct commit *commit = &wal->commit;
    const struct log_segment *last = last_kept(wal);
    uint64_t bytes = first_segment_bytes(commit);
    struct segment_header header = {
        .start_lsn = wal->end.lsn,
        .synced_lsn = wal->end.lsn,
        .base_version = wal->end.last_version,
        .epoch = commit->epoch,
        .created_ns = brd_clock_now_ns(commit->clock),
    };
    struct segment *segment = NULL;
    int result;

    memcpy(header.uuid, commit->meta.slot.uuid, sizeof(header.uuid));
    if (last != NULL) {
        header.previous = last->number;
        memcpy(header.previous_salt, last->header.salt, sizeof(header.previous_salt));
    }
    result = segment_prepare(wal->io, wal->dir, last != NULL ? last->number + 1 : 1, bytes, bytes,
                             NULL, &segment);
    if (result != 0)
        return error_io(error, result, "make a segment in", wal->dir);
    result = segment_seal(segment, wal->keys, header.uuid);
    BRD_CHECK(result != 0 || segment->seal != NULL ||
              (!commit->meta.slot_all_sealed[0] && !commit->meta.slot_all_sealed[1]));
    if (result == 0)
        result = segment_begin(wal->io, segment, &header);
    if (result == 0)
        result = wal->io->fdatasync(wal->io->ctx, segment->fd);
    CRASH_POINT("first_segment_begun");
    if (result != 0) {
        error_io(error, result, "write to", segment->path);
        segment_close(wal->io, &segment);
        return brd_file_status(result);
    }
    commit->current = segment;
    commit->next_number = segment->header.number + 1;
    meta_set_newest(&commit->meta.slot, segment->header.number, segment->header.salt);
    if (commit->meta.slot.first_segment == 0)
        commit->meta.slot.first_segment = segment->header.number;
    return store_meta(wal, error);
}

/* Step 6. Failing is no failure: the space is only not given back. */
static void
cut_last(struct brd_wal *wal)
{
    const struct brd_io *io = wal->io;
    const struct log_segment *last = last_kept(wal);
    int fd;

    if (last == NULL || last->file_bytes <= wal->end.end_offset)
        return;
    fd = io->open(io->ctx, last->path, O_RDWR);
    if (fd >= 0)
        (void)io->ftruncate(io->ctx, fd, wal->end.end_offset);
    brd_file_close(io, &fd);
}

/* The table of what the log has. */
static enum brd_status
note_kept(struct brd_wal *wal)
{
    struct commit *commit = &wal->commit;
    size_t i;

    for (i = 0; i <= wal->end.kept; i++) {
        const struct log_segment *segment = &wal->map.segments[i];
        struct kept_segment kept = {
            .number = commit->current->header.number,
            .base_version = commit->current->header.base_version,
            .start_lsn = commit->current->header.start_lsn,
            .bytes = commit->current->room,
        };
        const struct segment_header *header =
            i < wal->end.kept ? &segment->header : &commit->current->header;

        if (retention_reserve(&commit->retention, 1) != BRD_OK)
            return BRD_OUT_OF_MEMORY;
        if (i < wal->end.kept)
            kept = (struct kept_segment){
                .number = segment->number,
                .base_version = segment->header.base_version,
                .start_lsn = segment->header.start_lsn,
                .bytes = i + 1 < wal->end.kept ? segment->file_bytes : wal->end.end_offset,
            };
        memcpy(kept.key_id, header->key_id, sizeof(kept.key_id));
        retention_add(&commit->retention, &kept);
        atomic_fetch_add_explicit(&commit->segment_bytes_total, kept.bytes, memory_order_relaxed);
    }
    atomic_store_explicit(&commit->segments, commit->retention.count, memory_order_relaxed);
    return BRD_OK;
}

static void
publish_replayed(struct brd_wal *wal)
{
    struct commit *commit = &wal->commit;
    uint64_t version = wal->end.last_version;
    uint64_t lsn = wal->end.lsn;

    wal->queue.base_version = version;
    atomic_store_explicit(&wal->queue.last_version, version, memory_order_release);
    atomic_store_explicit(&commit->written_version, version, memory_order_release);
    atomic_store_explicit(&commit->written_lsn, lsn, memory_order_release);
    atomic_store_explicit(&commit->synced_version, version, memory_order_release);
    atomic_store_explicit(&commit->synced_lsn, lsn, memory_order_release);
    queue_set_begin(&wal->queue, lsn);
    /* Before the first record, and with what begin_segment left of the disk. */
    brd_mutex_lock(&commit->lock);
    (void)commit_look_at_disk(commit);
    brd_mutex_unlock(&commit->lock);
}

enum brd_status
brd_wal_start(struct brd_wal *wal, struct brd_wal_error *out_error)
{
    struct commit *commit = &wal->commit;
    enum brd_status status;

    BRD_CHECK(wal->magic == WAL_MAGIC && wal->replayed && !wal->started && !wal->read_only);
    status = sync_kept(wal, out_error);
    CRASH_POINT("start_synced");
    if (status == BRD_OK)
        status = drop_rest(wal, out_error);
    CRASH_POINT("start_dropped");
    if (status == BRD_OK)
        status = begin_epoch(wal, out_error);
    CRASH_POINT("start_epoch");
    if (status == BRD_OK)
        status = begin_segment(wal, out_error);
    CRASH_POINT("start_segment");
    if (status != BRD_OK)
        return status;
    /* begin_epoch and begin_segment have stored meta, in both slots. */
    BRD_CHECK(memcmp(commit->meta.slot_keys[0], brd_keyring_current(wal->keys), 16) == 0 &&
              memcmp(commit->meta.slot_keys[1], brd_keyring_current(wal->keys), 16) == 0);
    commit_publish_meta(commit);
    commit_drop_below(commit, wal->found.slot.first_segment);
    find_spares(wal);
    cut_last(wal);
    brd_sequencer_set_ceiling(commit->sequencer, commit->meta.slot.ceiling);
    publish_replayed(wal);
    status = note_kept(wal);
    if (status != BRD_OK)
        return error_set(out_error, status, wal->dir, 0, "out of memory");
    status = commit_start(commit);
    if (status != BRD_OK)
        return error_set(out_error, status, wal->dir, 0, "cannot start the threads of the log");
    wal->started = true;
    return BRD_OK;
}

/* ---- Stop ---- */

/* All is synced and the threads are gone: say so. */
static int
record_stop(struct brd_wal *wal)
{
    const struct brd_io *io = wal->io;
    struct commit *commit = &wal->commit;
    struct segment *segment = commit->current;
    const struct segment *sealed;
    int result = 0;

    if (commit->next != NULL)
        (void)io->unlink(io->ctx, commit->next->path);
    /* Segments without a record, which no sync was due for: their headers must be durable before
     * meta names a newer one. */
    for (sealed = commit->sealed; result == 0 && sealed != NULL; sealed = sealed->next)
        result = io->fdatasync(io->ctx, sealed->fd);
    if (result == 0)
        result = io->ftruncate(io->ctx, segment->fd, segment->end);
    if (result == 0)
        result = io->fdatasync(io->ctx, segment->fd);
    CRASH_POINT("stop_cut");
    if (result != 0)
        return result;
    /* Nothing need have been synced in it since it began; its header is durable now. */
    meta_set_newest(&commit->meta.slot, segment->header.number, segment->header.salt);
    commit->meta.slot.flags |= META_CLEAN;
    commit->meta.slot.synced_lsn = atomic_load_explicit(&commit->synced_lsn, memory_order_acquire);
    commit->meta.slot.last_version = brd_sequencer_last(commit->sequencer);
    commit_note_time(commit);
    return meta_store(io, commit->meta_fd, &commit->meta, commit->meta_seal);
}

enum brd_status
brd_wal_stop(struct brd_wal *wal)
{
    struct commit *commit = &wal->commit;
    int result;

    BRD_CHECK(wal->magic == WAL_MAGIC && wal->started);
    if (!wal->stopped) {
        commit_stop(commit);
        if (!brd_wal_poisoned(wal)) {
            result = record_stop(wal);
            if (result != 0)
                commit_poison(commit, "finish the log in", wal->dir, result);
        }
        wal->stopped = true;
    }
    return brd_wal_poisoned(wal) ? BRD_IO_ERROR : BRD_OK;
}

void
brd_wal_close(struct brd_wal **wal_at)
{
    struct brd_wal *wal = *wal_at;
    struct commit *commit;
    enum brd_status ignored = BRD_OK;

    if (wal == NULL)
        return;
    BRD_CHECK(wal->magic == WAL_MAGIC);
    if (wal->started && !wal->stopped)
        ignored = brd_wal_stop(wal);
    (void)ignored;
    commit = &wal->commit;
    while (commit->sealed != NULL) {
        struct segment *next = commit->sealed->next;

        segment_close(wal->io, &commit->sealed);
        commit->sealed = next;
    }
    segment_close(wal->io, &commit->current);
    segment_close(wal->io, &commit->next);
    brd_file_close(wal->io, &commit->meta_fd);
    brd_seal_close(&commit->meta_seal);
    sealing_fini(&commit->sealing);
    if (wal->queue_ready)
        queue_fini(&wal->queue);
    map_fini(&wal->map);
    retention_fini(&commit->retention);
    brd_file_close(wal->io, &wal->lock_fd); /* last: the directory is free now */
    brd_cond_fini(&commit->turn_done);
    brd_cond_fini(&commit->files_wake);
    brd_cond_fini(&commit->sync_wake);
    brd_mutex_fini(&commit->lock);
    brd_mutex_fini(&wal->reset_lock);
    free(wal->dir);
    wal->magic = 0;
    free(wal);
    *wal_at = NULL;
}

/* ---- Appending ---- */

enum brd_status
brd_wal_reserve(struct brd_wal *wal, uint64_t bytes)
{
    return queue_reserve(&wal->queue, bytes, RESERVE_ADD);
}

enum brd_status
brd_wal_reserve_removal(struct brd_wal *wal, uint64_t bytes)
{
    return queue_reserve(&wal->queue, bytes, RESERVE_REMOVE);
}

void
brd_wal_unreserve(struct brd_wal *wal, uint64_t bytes)
{
    queue_unreserve(&wal->queue, bytes);
}

uint64_t
brd_wal_append(struct brd_wal *wal, uint64_t reserved, uint64_t now_ns,
               const struct brd_wal_payload *payload, bool sync)
{
    return queue_append(&wal->queue, reserved, now_ns, payload, sync);
}

void
brd_wal_kick(struct brd_wal *wal)
{
    queue_kick(&wal->queue);
}

void
brd_wal_want_sync(struct brd_wal *wal, uint64_t version)
{
    uint64_t last = brd_wal_last_version(wal);

    commit_want_sync(&wal->commit, version < last ? version : last);
    queue_kick(&wal->queue);
}

/* ---- Giving up what something else keeps ---- */

enum brd_status
brd_wal_rotate(struct brd_wal *wal, struct brd_wal_position *out_position)
{
    BRD_CHECK(wal->magic == WAL_MAGIC && wal->started);
    return commit_rotate(&wal->commit, out_position);
}

enum brd_status
brd_wal_wait_synced(struct brd_wal *wal, uint64_t version)
{
    brd_wal_want_sync(wal, version);
    return commit_wait_synced(&wal->commit, version);
}

enum brd_status
brd_wal_release(struct brd_wal *wal, uint64_t version)
{
    BRD_CHECK(wal->magic == WAL_MAGIC && wal->started);
    return commit_release(&wal->commit, version);
}

enum brd_status
brd_wal_drop_spares(struct brd_wal *wal)
{
    BRD_CHECK(wal->magic == WAL_MAGIC && wal->started);
    return commit_drop_spares(&wal->commit);
}

void
brd_wal_interrupt(struct brd_wal *wal)
{
    commit_interrupt(&wal->commit);
}

uint64_t
brd_wal_base_version(const struct brd_wal *wal)
{
    return wal->map.count > 0 && wal->map.segments[0].begun
               ? wal->map.segments[0].header.base_version
               : 0;
}

enum brd_status
brd_wal_set_keys(struct brd_wal *wal, const struct brd_keyring *keys)
{
    BRD_CHECK(wal->magic == WAL_MAGIC && wal->started);
    return commit_set_keys(&wal->commit, keys);
}

enum brd_status
brd_wal_note_sealed(struct brd_wal *wal)
{
    BRD_CHECK(wal->magic == WAL_MAGIC && wal->started);
    return commit_note_sealed(&wal->commit);
}

bool
brd_wal_all_sealed(const struct brd_wal *wal)
{
    return (wal->found.slot.flags & META_ALL_SEALED) != 0 || brd_keyring_only(wal->keys);
}

bool
brd_wal_is_under(struct brd_wal *wal, const uint8_t *key_id)
{
    bool under = true;
    size_t i;

    if (wal->started)
        return commit_is_under(&wal->commit, key_id);
    for (i = 0; under && i < wal->map.count; i++)
        under = !wal->map.segments[i].begun ||
                memcmp(wal->map.segments[i].header.key_id, key_id, 16) == 0;
    return under && memcmp(wal->found.slot_keys[0], key_id, 16) == 0 &&
           memcmp(wal->found.slot_keys[1], key_id, 16) == 0;
}

struct brd_wal_position
brd_wal_written(const struct brd_wal *wal)
{
    const struct commit *commit = &wal->commit;

    return (struct brd_wal_position){
        .version = atomic_load_explicit(&commit->written_version, memory_order_acquire),
        .lsn = atomic_load_explicit(&commit->written_lsn, memory_order_acquire),
        .records = brd_counter_get(&commit->counters.records),
    };
}

/* ---- The disk ---- */

void
brd_wal_set_disk_reserve(struct brd_wal *wal, uint64_t bytes)
{
    atomic_store_explicit(&wal->commit.reserve.wanted, bytes, memory_order_relaxed);
    commit_disk_changed(&wal->commit);
}

void
brd_wal_note_checkpoint(struct brd_wal *wal, uint64_t written)
{
    atomic_store_explicit(&wal->commit.reserve.taken, written, memory_order_relaxed);
    if (written == 0)
        commit_disk_changed(&wal->commit);
}

bool
brd_wal_disk_is_low(const struct brd_wal *wal)
{
    return atomic_load_explicit(&wal->commit.reserve.low, memory_order_relaxed);
}

void
brd_wal_get_disk(struct brd_wal *wal, struct brd_wal_disk *out_disk)
{
    struct reserve *reserve = &wal->commit.reserve;

    reserve_measure(reserve, wal->io, wal->dir);
    *out_disk = (struct brd_wal_disk){
        .free_bytes = atomic_load_explicit(&reserve->free_bytes, memory_order_relaxed),
        .total_bytes = atomic_load_explicit(&reserve->total_bytes, memory_order_relaxed),
        .reserve_bytes = atomic_load_explicit(&reserve->reserve_bytes, memory_order_relaxed),
        .least_bytes = atomic_load_explicit(&reserve->least_bytes, memory_order_relaxed),
        .low = brd_wal_disk_is_low(wal),
    };
    if (atomic_load_explicit(&reserve->next_bytes, memory_order_relaxed) == 0)
        out_disk->begin_bytes = out_disk->least_bytes;
}

/* ---- Positions ---- */

uint64_t
brd_wal_committed(const struct brd_wal *wal, enum brd_durability class_)
{
    const struct commit *commit = &wal->commit;
    uint64_t written = atomic_load_explicit(&commit->written_version, memory_order_acquire);
    uint64_t synced;
    uint64_t fresh_ns;

    switch (class_) {
    case BRD_DURABILITY_NONE:
        return UINT64_MAX;
    case BRD_DURABILITY_ASYNC:
        return brd_wal_poisoned(wal) ? written : brd_wal_last_version(wal);
    case BRD_DURABILITY_DEFAULT:
    case BRD_DURABILITY_NORMAL:
        break;
    case BRD_DURABILITY_FULL:
        return atomic_load_explicit(&commit->synced_version, memory_order_acquire);
    }
    fresh_ns = atomic_load_explicit(&commit->fresh_ns, memory_order_relaxed);
    synced = atomic_load_explicit(&commit->synced_version, memory_order_acquire);
    if (synced >= written)
        return written;
    if (atomic_load_explicit(&commit->sync_failed, memory_order_acquire))
        return synced;
    return brd_clock_mono_ns(commit->clock) - fresh_ns < 2 * commit->sync_interval_ns ? written
                                                                                      : synced;
}

bool
brd_wal_poisoned(const struct brd_wal *wal)
{
    return atomic_load_explicit(&wal->commit.poisoned, memory_order_acquire);
}

uint64_t
brd_wal_last_version(const struct brd_wal *wal)
{
    return atomic_load_explicit(&wal->queue.last_version, memory_order_acquire);
}

uint32_t
brd_wal_epoch(const struct brd_wal *wal)
{
    uint32_t found = wal->found.slot.epoch;

    if (wal->started)
        return wal->commit.epoch;
    /* Meta may be the older slot. */
    return wal->end.epoch > found ? wal->end.epoch : found;
}

uint64_t
brd_wal_time_ns(const struct brd_wal *wal)
{
    return wal->found.slot.time_ns;
}

void
brd_wal_note_time(struct brd_wal *wal, uint64_t time_ns)
{
    atomic_store_explicit(&wal->commit.used_ns, time_ns, memory_order_relaxed);
}

struct brd_bytes
brd_wal_uuid(const struct brd_wal *wal)
{
    return brd_bytes(wal->found.slot.uuid, sizeof(wal->found.slot.uuid));
}

uint64_t
brd_wal_heartbeat(const struct brd_wal *wal)
{
    return atomic_load_explicit(&wal->commit.heartbeat, memory_order_relaxed);
}

void
brd_wal_get_identity(const struct brd_wal *wal, struct brd_wal_identity *out_identity)
{
    meta_tell(&wal->found, out_identity);
}

/* ---- Statistics ---- */

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

/* What brd_wal_reset_stats sets to zero. */
static void
read_counters(const struct brd_wal *wal, struct brd_wal_stats *stats)
{
    const struct commit *commit = &wal->commit;

    stats->records = brd_counter_get(&commit->counters.records);
    stats->bytes = brd_counter_get(&commit->counters.bytes);
    stats->groups = brd_counter_get(&commit->counters.groups);
    stats->syncs = brd_counter_get(&commit->counters.syncs);
    stats->sync_gathers = brd_counter_get(&commit->counters.sync_gathers);
    stats->sync_errors = LOAD(commit->sync_errors);
    stats->write_errors = LOAD(commit->write_errors);
    stats->queue_waits = LOAD(wal->queue.refusals);
}

void
brd_wal_get_stats(const struct brd_wal *wal, struct brd_wal_stats *out_stats)
{
    const struct commit *commit = &wal->commit;
    struct brd_mutex *reset_lock = (struct brd_mutex *)(uintptr_t)&wal->reset_lock;
    struct brd_wal_stats stats = { 0 };
    struct brd_wal_stats base;
    struct latency_counts sync_times;
    uint64_t done = brd_counter_get(&wal->queue.records_done);

    brd_mutex_lock(reset_lock);
    base = wal->baseline;
    latency_read(&commit->counters.sync_times, &sync_times);
    latency_subtract(&sync_times, &wal->sync_times_then);
    brd_mutex_unlock(reset_lock);
    read_counters(wal, &stats);
    stats.records -= base.records;
    stats.bytes -= base.bytes;
    stats.groups -= base.groups;
    stats.syncs -= base.syncs;
    stats.sync_gathers -= base.sync_gathers;
    stats.sync_errors -= base.sync_errors;
    stats.write_errors -= base.write_errors;
    stats.queue_waits -= base.queue_waits;
    stats.queue_bytes = LOAD(wal->queue.claimed);
    stats.queue_records = brd_counter_get(&wal->queue.records_queued) - done;
    stats.segments = LOAD(commit->segments);
    stats.segment_bytes_total = LOAD(commit->segment_bytes_total);
    stats.spares = LOAD(commit->spare_count);
    stats.spare_bytes = stats.spares * commit->segment_bytes;
    stats.synced_version = LOAD(commit->synced_version);
    stats.written_version = LOAD(commit->written_version);
    stats.last_version = brd_wal_last_version(wal);
    stats.sync_last_us = brd_counter_get(&commit->counters.sync_last_us);
    stats.sync_max_us = brd_counter_get(&commit->counters.sync_max_us);
    stats.sync_p50_us = latency_percentile(&sync_times, 50000);
    stats.sync_p99_us = latency_percentile(&sync_times, 99000);
    stats.sync_p999_us = latency_percentile(&sync_times, 99900);
    if (stats.synced_version < stats.written_version)
        stats.sync_age_ms =
            (brd_clock_mono_ns(commit->clock) - LOAD(commit->fresh_ns)) / BRD_NS_PER_MS;
    stats.disk_free_bytes = LOAD(commit->reserve.free_bytes);
    stats.disk_reserve_bytes = LOAD(commit->reserve.reserve_bytes);
    stats.disk_low = LOAD(commit->reserve.low);
    stats.epoch = brd_wal_epoch(wal);
    stats.poisoned = brd_wal_poisoned(wal);
    *out_stats = stats;
}

void
brd_wal_reset_stats(struct brd_wal *wal)
{
    struct brd_wal_stats now = { 0 };

    read_counters(wal, &now);
    brd_mutex_lock(&wal->reset_lock);
    wal->baseline = now;
    latency_read(&wal->commit.counters.sync_times, &wal->sync_times_then);
    brd_mutex_unlock(&wal->reset_lock);
    /* The largest of what comes; a sync that ends right now may be missed. */
    atomic_store_explicit(&wal->commit.counters.sync_max_us, 0, memory_order_relaxed);
}
