/* A copy of a log: what the reader takes for whole, byte by byte.
 *
 * A group never changes once it was written whole, and a segment's header neither; so what
 * the walk has seen can be copied while a daemon appends behind it. The copy ends at the
 * group where the walk ended: later segments and what was in flight stay behind. meta says
 * that all of it is synced, which it is by then, so that what is damaged in the copy later on
 * is never taken for a torn end.
 *
 * An encrypted segment is copied as it is, once its tags were found right: it stays under its
 * key. That is the same group under the same nonce in two files, and nothing else ever. */
#include "wal/reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPY_STEP ((size_t)1 << 20)

struct job {
    struct brd_wal_copy *copy;
    struct meta meta;
    struct log_map map;
    struct log_end end;
    size_t first; /* of the map, the first that comes along */
    struct brd_wal_error *error;
};

/* Bytes of a segment that count. */
static uint64_t
segment_end(const struct job *job, size_t i)
{
    const struct log_segment *segment = &job->map.segments[i];

    return i + 1 < job->end.kept
               ? SEGMENT_HEADER_BYTES + (segment[1].header.start_lsn - segment->header.start_lsn)
               : job->end.end_offset;
}

static enum brd_status
count_group(void *arg, const struct brd_wal_group_view *group)
{
    struct brd_wal_copy *copy = arg;

    if (group->last_version > copy->covered_version)
        copy->records += group->records;
    return BRD_OK;
}

/* What there is to copy. */
static enum brd_status
look(struct job *job)
{
    struct brd_wal_copy *copy = job->copy;
    const struct brd_io *io = copy->from_io;
    const struct brd_wal_visitor visitor = { .arg = copy, .group = count_group };
    struct brd_wal_report report;
    enum brd_status status = meta_load(io, copy->from_dir, copy->keys, &job->meta, job->error);
    size_t i;

    if (status == BRD_NOT_FOUND)
        return error_set(job->error, status, copy->from_dir, 0, "there is no log in %s",
                         copy->from_dir);
    if (status == BRD_OK)
        status = map_load(io, copy->from_dir, copy->keys, &job->meta.slot, &job->map, job->error);
    if (status == BRD_OK)
        status = log_walk(io, &job->meta.slot, &job->map, &visitor, &job->end, &report, job->error);
    if (status != BRD_OK)
        return status;
    while (job->first + 1 < job->end.kept &&
           job->map.segments[job->first + 1].header.base_version <= copy->covered_version)
        job->first++;
    for (i = job->first; i < job->end.kept; i++)
        copy->bytes += segment_end(job, i);
    copy->segments = job->end.kept - job->first;
    copy->last_version = job->end.last_version;
    if (copy->bytes <= copy->room_bytes)
        return BRD_OK;
    return error_set(job->error, BRD_DISK_FULL, copy->to_dir, 0,
                     "the log takes %llu bytes in %s, and only %llu are free: make room first",
                     (unsigned long long)copy->bytes, copy->to_dir,
                     (unsigned long long)copy->room_bytes);
}

/* Bytes 0 .. size of one file into another. */
static int
copy_bytes(const struct brd_io *in, int from, const struct brd_io *io, int to, uint64_t size)
{
    uint8_t *buffer = malloc(COPY_STEP);
    uint64_t offset = 0;
    int result = buffer == NULL ? -ENOMEM : 0;

    while (result == 0 && offset < size) {
        size_t step = size - offset < COPY_STEP ? (size_t)(size - offset) : COPY_STEP;
        size_t got = 0;

        result = brd_file_read(in, from, buffer, step, offset, &got);
        if (result == 0 && got < step)
            result = -EIO; /* it was there a moment ago */
        if (result == 0)
            result = brd_file_write(io, to, buffer, got, offset);
        offset += step;
    }
    free(buffer);
    return result != 0 ? result : io->fdatasync(io->ctx, to);
}

static enum brd_status
copy_segment(struct job *job, size_t i)
{
    const struct log_segment *segment = &job->map.segments[i];
    const struct brd_io *in = job->copy->from_io;
    const struct brd_io *io = brd_io_real();
    enum brd_status status = BRD_OK;
    char *path = segment_path(job->copy->to_dir, segment->number);
    int from = -1;
    int to = -1;
    int result;

    if (path == NULL)
        return error_set(job->error, BRD_OUT_OF_MEMORY, job->copy->to_dir, 0, "out of memory");
    from = in->open(in->ctx, segment->path, O_RDONLY);
    to = from < 0 ? from : io->open(io->ctx, path, O_RDWR | O_CREAT | O_EXCL);
    result = to < 0 ? to : copy_bytes(in, from, io, to, segment_end(job, i));
    if (result != 0)
        status = error_io(job->error, result, "copy the log to", path);
    brd_file_close(in, &from);
    brd_file_close(io, &to);
    free(path);
    return status;
}

static enum brd_status
write_meta(struct job *job)
{
    struct meta_slot *slot = &job->meta.slot;
    const struct log_end *end = &job->end;
    const struct log_segment *last = end->kept > 0 ? &job->map.segments[end->kept - 1] : NULL;
    struct brd_seal *seal = NULL;
    enum brd_status status;
    int result;

    slot->flags &= ~META_CLEAN;
    slot->first_segment = end->kept > 0 ? job->map.segments[job->first].number : 0;
    meta_set_newest(slot, last != NULL ? last->number : 0, last != NULL ? last->header.salt : NULL);
    slot->synced_lsn = end->lsn;
    slot->last_version = end->last_version;
    if (slot->ceiling <= end->last_version)
        slot->ceiling = end->last_version + 1;
    if (slot->epoch < end->epoch)
        slot->epoch = end->epoch;
    status = meta_use_key(&job->meta, job->copy->keys, &seal);
    if (status != BRD_OK)
        return error_set(job->error, status, job->copy->to_dir, 0, "out of memory");
    result = meta_create(brd_io_real(), job->copy->to_dir, &job->meta, seal);
    brd_seal_close(&seal);
    return result == 0 ? BRD_OK : error_io(job->error, result, "write meta in", job->copy->to_dir);
}

enum brd_status
brd_wal_copy(struct brd_wal_copy *copy, struct brd_wal_error *out_error)
{
    struct job job = { .copy = copy, .error = out_error };
    enum brd_status status = look(&job);
    char path[4096];
    int result;
    size_t i;

    if (status == BRD_OK) {
        snprintf(path, sizeof(path), "%s/wal", copy->to_dir);
        result = brd_file_make_dir(brd_io_real(), path);
        if (result != 0)
            status = error_io(out_error, result, "make", path);
    }
    for (i = job.first; status == BRD_OK && i < job.end.kept; i++)
        status = copy_segment(&job, i);
    if (status == BRD_OK) {
        result = brd_file_sync_dir(brd_io_real(), path);
        if (result != 0)
            status = error_io(out_error, result, "sync", path);
    }
    if (status == BRD_OK)
        status = write_meta(&job);
    map_fini(&job.map);
    return status;
}
