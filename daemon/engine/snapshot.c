/* Snapshot files: encode beside decode.
 *
 * The writer makes each block durable in steps of SYNC_BYTES, so that the last
 * sync is short and the log's own syncs do not stand behind a gigabyte of others.
 *
 * Order of the end: footer, sync, read back, rename, sync of the directory. A file under
 * its final name is therefore whole, whenever power fails. */
#include "engine/snapshot.h"

#include "base/check.h"
#include "base/crashpoint.h"
#include "base/crc32c.h"
#include "base/diag.h"
#include "base/random.h"
#include "engine/mutation.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYNC_BYTES       (UINT64_C(8) << 20)
#define BLOCK_LENGTH_MAX (UINT32_C(1) << 31)
#define NAME_DIGITS      16

/* ---- Names ---- */

bool
snapshot_version_of(const char *name, uint64_t *out_version)
{
    uint64_t version = 0;
    size_t i;

    for (i = 0; i < NAME_DIGITS; i++) {
        char c = name[i];

        if (c >= '0' && c <= '9')
            version = version << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            version = version << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *out_version = version;
    return strcmp(name + NAME_DIGITS, ".snap") == 0;
}

static char *
path_of(const char *data_dir, uint64_t start_version, const char *suffix)
{
    char *path = NULL;

    return asprintf(&path, "%s/snapshots/%016" PRIx64 "%s", data_dir, start_version, suffix) < 0
               ? NULL
               : path;
}

char *
snapshot_path(const char *data_dir, uint64_t start_version)
{
    return path_of(data_dir, start_version, ".snap");
}

char *
brd_snapshot_path(const char *data_dir, uint64_t start_version)
{
    return snapshot_path(data_dir, start_version);
}

/* ---- Checksums ---- */

static uint32_t
seed_of(const uint8_t salt[16])
{
    return brd_crc32c(0, salt, 16);
}

static uint32_t
page_checksum(const uint8_t *page)
{
    const size_t at = offsetof(struct snapshot_header, checksum);
    const uint8_t none[4] = { 0 };
    uint32_t crc = brd_crc32c(0, page, at);

    crc = brd_crc32c(crc, none, sizeof(none));
    return brd_crc32c(crc, page + at + 4, SNAPSHOT_HEADER_BYTES - at - 4);
}

/* The two headers begin with magic and checksum. */
static uint32_t
checksum_behind(uint32_t seed, const void *header, size_t size)
{
    return brd_crc32c(seed, (const uint8_t *)header + 8, size - 8);
}

/* ---- Writing ---- */

static void
release(struct snapshot_writer *writer)
{
    brd_file_close(writer->io, &writer->fd);
    brd_buf_fini(&writer->block);
    free(writer->dir);
    free(writer->path);
    free(writer->tmp_path);
    writer->dir = writer->path = writer->tmp_path = NULL;
}

void
snapshot_abandon(struct snapshot_writer *writer)
{
    if (writer->fd >= 0)
        (void)writer->io->unlink(writer->io->ctx, writer->tmp_path);
    release(writer);
}

/* An empty block: room for its header. */
static void
begin_block(struct snapshot_writer *writer)
{
    static const uint8_t none[sizeof(struct snapshot_block_header)];

    brd_buf_clear(&writer->block);
    brd_buf_append(&writer->block, none, sizeof(none));
    writer->block_records = 0;
}

int
snapshot_create(struct snapshot_writer *writer, const struct brd_io *io, const char *data_dir,
                const struct snapshot_header *wanted)
{
    struct snapshot_header header = *wanted;
    uint8_t page[SNAPSHOT_HEADER_BYTES] = { 0 };
    int result = -ENOMEM;

    *writer = (struct snapshot_writer){ .io = io, .fd = -1 };
    brd_buf_init(&writer->block);
    writer->path = snapshot_path(data_dir, header.start_version);
    writer->tmp_path = path_of(data_dir, header.start_version, ".tmp");
    if (asprintf(&writer->dir, "%s/snapshots", data_dir) < 0)
        writer->dir = NULL;
    (void)brd_buf_reserve(&writer->block, 2 * SNAPSHOT_BLOCK_BYTES);
    begin_block(writer);
    if (writer->path == NULL || writer->tmp_path == NULL || writer->dir == NULL ||
        writer->block.failed)
        goto failed;
    header.magic = SNAPSHOT_MAGIC;
    header.format = SNAPSHOT_FORMAT;
    header.checksum = 0;
    header.flags = 0;
    brd_random_fill(header.salt, sizeof(header.salt));
    writer->seed = seed_of(header.salt);
    memcpy(page, &header, sizeof(header));
    header.checksum = page_checksum(page);
    memcpy(page, &header, sizeof(header));

    result = brd_file_make_dir(io, writer->dir);
    if (result != 0)
        goto failed;
    snapshot_remove_older(io, data_dir, 0); /* what was never finished */
    writer->fd = io->open(io->ctx, writer->tmp_path, O_RDWR | O_CREAT | O_TRUNC);
    result = writer->fd < 0 ? writer->fd : brd_file_write(io, writer->fd, page, sizeof(page), 0);
    CRASH_POINT("snapshot_begun");
    if (result != 0)
        goto failed;
    writer->offset = SNAPSHOT_HEADER_BYTES;
    return 0;
failed:
    snapshot_abandon(writer);
    return result;
}

static void
append_record(struct snapshot_writer *writer, uint64_t version, const struct mutation *mutation,
              bool apart)
{
    uint8_t frame[2 * BRD_VARINT_MAX];
    struct brd_buf *block = &writer->block;
    size_t begin;
    size_t frame_size;
    size_t size;

    /* The size stands before what it measures: leave room, then close the gap. */
    begin = block->size;
    if (brd_buf_reserve(block, sizeof(frame)) == NULL)
        return;
    block->size += sizeof(frame);
    mutation_encode(block, mutation, apart);
    if (block->failed)
        return;
    size = block->size - begin - sizeof(frame);
    frame_size = brd_varint_put(frame, version);
    frame_size += brd_varint_put(frame + frame_size, size + (apart ? mutation->value.size : 0));
    memcpy(block->data + begin, frame, frame_size);
    memmove(block->data + begin + frame_size, block->data + begin + sizeof(frame), size);
    block->size = begin + frame_size + size;
    writer->block_records++;
}

void
snapshot_add(struct snapshot_writer *writer, uint64_t version, uint64_t ns, struct brd_bytes key,
             uint64_t deadline_ms, struct brd_bytes value)
{
    const struct mutation mutation = {
        .kind = MUTATION_PUT, .ns = ns, .key = key, .value = value, .deadline_ms = deadline_ms
    };

    append_record(writer, version, &mutation, false);
}

/* The block in memory, and `tail` behind it. */
static int
write_block(struct snapshot_writer *writer, struct brd_bytes tail)
{
    struct brd_buf *block = &writer->block;
    uint64_t length = block->size - sizeof(struct snapshot_block_header) + tail.size;
    struct snapshot_block_header header = {
        .magic = SNAPSHOT_BLOCK_MAGIC,
        .length = (uint32_t)length,
        .number = writer->blocks,
        .records = writer->block_records,
    };
    struct iovec parts[2];
    int result;

    BRD_CHECK(length <= BLOCK_LENGTH_MAX);
    memcpy(block->data, &header, sizeof(header));
    header.checksum = checksum_behind(writer->seed, block->data, block->size);
    header.checksum = brd_crc32c(header.checksum, tail.data, tail.size);
    memcpy(block->data, &header, sizeof(header));
    parts[0] = (struct iovec){ .iov_base = block->data, .iov_len = block->size };
    parts[1] = (struct iovec){ .iov_base = (void *)(uintptr_t)tail.data, .iov_len = tail.size };
    result = brd_file_writev(writer->io, writer->fd, parts, tail.size > 0 ? 2 : 1, writer->offset);
    CRASH_POINT("snapshot_block");
    if (result != 0)
        return result;
    writer->offset += sizeof(header) + length;
    writer->unsynced += sizeof(header) + length;
    writer->blocks++;
    writer->records += writer->block_records;
    begin_block(writer);
    if (writer->unsynced < SYNC_BYTES)
        return 0;
    writer->unsynced = 0;
    return writer->io->fdatasync(writer->io->ctx, writer->fd);
}

int
snapshot_flush(struct snapshot_writer *writer, bool all)
{
    if (writer->block.failed)
        return -ENOMEM;
    if (writer->block_records == 0 || (!all && writer->block.size < SNAPSHOT_BLOCK_BYTES))
        return 0;
    return write_block(writer, brd_bytes(NULL, 0));
}

int
snapshot_add_large(struct snapshot_writer *writer, uint64_t version, uint64_t ns,
                   struct brd_bytes key, uint64_t deadline_ms, struct brd_bytes value)
{
    const struct mutation mutation = {
        .kind = MUTATION_PUT, .ns = ns, .key = key, .value = value, .deadline_ms = deadline_ms
    };
    int result = snapshot_flush(writer, true);

    if (result != 0)
        return result;
    append_record(writer, version, &mutation, true);
    return writer->block.failed ? -ENOMEM : write_block(writer, value);
}

int
snapshot_complete(struct snapshot_writer *writer, uint64_t end_version)
{
    const struct brd_io *io = writer->io;
    struct snapshot_footer footer = { .magic = SNAPSHOT_FOOTER_MAGIC, .end_version = end_version };
    int result = snapshot_flush(writer, true);

    footer.blocks = writer->blocks;
    footer.records = writer->records;
    footer.bytes = writer->offset;
    footer.checksum = checksum_behind(writer->seed, &footer, sizeof(footer));
    if (result == 0)
        result = brd_file_write(io, writer->fd, &footer, sizeof(footer), writer->offset);
    CRASH_POINT("snapshot_written");
    if (result == 0)
        result = io->fdatasync(io->ctx, writer->fd);
    CRASH_POINT("snapshot_synced");
    return result;
}

int
snapshot_publish(struct snapshot_writer *writer)
{
    const struct brd_io *io = writer->io;
    int result = io->rename(io->ctx, writer->tmp_path, writer->path);

    CRASH_POINT("snapshot_renamed");
    if (result != 0) {
        snapshot_abandon(writer);
        return result;
    }
    result = brd_file_sync_dir(io, writer->dir);
    CRASH_POINT("snapshot_durable");
    release(writer);
    return result;
}

/* ---- Reading ---- */

static enum brd_status __attribute__((format(printf, 5, 6)))
set_error(struct brd_snapshot_error *error, enum brd_status status, const char *path,
          uint64_t offset, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    snprintf(error->path, sizeof(error->path), "%s", path);
    error->offset = offset;
    return status;
}

static enum brd_status
damage(struct brd_snapshot_error *error, const char *path, uint64_t offset, const char *why)
{
    return set_error(error, BRD_CORRUPT, path, offset, "%s is damaged at offset %" PRIu64 ": %s",
                     path, offset, why);
}

static enum brd_status
io_error(struct brd_snapshot_error *error, int result, const char *action, const char *path)
{
    return set_error(error, brd_file_status(result), path, 0, "cannot %s %s: %s", action, path,
                     brd_file_error(result));
}

static enum brd_status
check_header(struct snapshot_reader *reader, const uint8_t *page, size_t size,
             struct brd_snapshot_error *error)
{
    struct snapshot_header header;

    memcpy(&header, page, sizeof(header));
    if (size < SNAPSHOT_HEADER_BYTES || header.magic != SNAPSHOT_MAGIC)
        return damage(error, reader->path, 0, "it does not begin as a snapshot does");
#ifndef BRD_FUZZ
    if (header.checksum != page_checksum(page))
        return damage(error, reader->path, 0, "its header is not valid");
#endif
    if (header.format != SNAPSHOT_FORMAT || header.flags != 0)
        return set_error(error, BRD_UNSUPPORTED, reader->path, 0,
                         "%s was written by a newer version of Brindle (format %" PRIu32 ")",
                         reader->path, header.format);
    reader->seed = seed_of(header.salt);
    memcpy(reader->info.uuid, header.uuid, sizeof(header.uuid));
    reader->info.start_version = header.start_version;
    reader->info.created_ns = header.created_ns;
    reader->info.epoch = header.epoch;
    return BRD_OK;
}

static enum brd_status
check_footer(struct snapshot_reader *reader, const struct snapshot_footer *footer,
             struct brd_snapshot_error *error)
{
    uint64_t at = reader->info.bytes - sizeof(*footer);

    if (footer->magic != SNAPSHOT_FOOTER_MAGIC || footer->bytes != at)
        return damage(error, reader->path, at, "it does not end as a snapshot does");
#ifndef BRD_FUZZ
    if (footer->checksum != checksum_behind(reader->seed, footer, sizeof(*footer)))
        return damage(error, reader->path, at, "its footer is not valid");
#endif
    if (footer->end_version < reader->info.start_version)
        return damage(error, reader->path, at, "its footer makes no sense");
    reader->info.end_version = footer->end_version;
    reader->info.blocks = footer->blocks;
    reader->info.records = footer->records;
    reader->end = at;
    return BRD_OK;
}

enum brd_status
snapshot_open(struct snapshot_reader *reader, const struct brd_io *io, const char *path,
              struct brd_snapshot_error *error)
{
    uint8_t page[SNAPSHOT_HEADER_BYTES] = { 0 };
    struct snapshot_footer footer;
    enum brd_status status;
    size_t size = 0;
    int result;

    memset(reader, 0, sizeof(*reader));
    reader->io = io;
    brd_mutex_init(&reader->lock, BRD_RANK_ENGINE);
    snprintf(reader->path, sizeof(reader->path), "%s", path);
    reader->fd = io->open(io->ctx, path, O_RDONLY);
    if (reader->fd < 0) {
        status = io_error(error, reader->fd, "open", path);
        goto failed;
    }
    result = io->size(io->ctx, reader->fd, &reader->info.bytes);
    if (result == 0)
        result = brd_file_read(io, reader->fd, page, sizeof(page), 0, &size);
    if (result != 0) {
        status = io_error(error, result, "read", path);
        goto failed;
    }
    status = check_header(reader, page, size, error);
    if (status != BRD_OK)
        goto failed;
    if (reader->info.bytes < SNAPSHOT_HEADER_BYTES + sizeof(footer)) {
        status = damage(error, path, reader->info.bytes, "the file ends too early");
        goto failed;
    }
    result = brd_file_read(io, reader->fd, &footer, sizeof(footer),
                           reader->info.bytes - sizeof(footer), &size);
    if (result != 0 || size < sizeof(footer)) {
        status = io_error(error, result != 0 ? result : -EIO, "read", path);
        goto failed;
    }
    status = check_footer(reader, &footer, error);
    if (status != BRD_OK)
        goto failed;
    reader->offset = SNAPSHOT_HEADER_BYTES;
    return BRD_OK;
failed:
    snapshot_close(reader);
    return status;
}

void
snapshot_close(struct snapshot_reader *reader)
{
    brd_file_close(reader->io, &reader->fd);
    brd_mutex_fini(&reader->lock);
}

/* Read the header of the next block and step over it. */
static enum brd_status
claim_block(struct snapshot_reader *reader, struct snapshot_block_header *header,
            uint64_t *out_offset, struct brd_snapshot_error *error)
{
    uint64_t at = reader->offset;
    uint64_t left = reader->end - at;
    size_t size = 0;
    int result;

    *out_offset = at;
    if (left == 0) {
        if (reader->number == reader->info.blocks && reader->records == reader->info.records)
            return BRD_NOT_FOUND;
        return damage(error, reader->path, reader->end,
                      "its footer tells of other numbers of blocks and records");
    }
    if (left < sizeof(*header))
        return damage(error, reader->path, at, "there is no whole block");
    result = brd_file_read(reader->io, reader->fd, header, sizeof(*header), at, &size);
    if (result != 0 || size < sizeof(*header))
        return io_error(error, result != 0 ? result : -EIO, "read", reader->path);
    if (header->magic != SNAPSHOT_BLOCK_MAGIC || header->number != reader->number ||
        header->length > left - sizeof(*header) || header->length > BLOCK_LENGTH_MAX)
        return damage(error, reader->path, at, "there is no valid block");
    reader->offset += sizeof(*header) + header->length;
    reader->records += header->records;
    reader->number++;
    return BRD_OK;
}

static enum brd_status
check_records(const struct snapshot_reader *reader, const struct snapshot_block_header *header,
              struct brd_bytes records, uint64_t offset, struct brd_snapshot_error *error)
{
    struct brd_bytes payload;
    uint64_t version;
    uint32_t n = 0;

    for (; records.size > 0; n++)
        if (!snapshot_next_record(&records, &version, &payload) ||
            version > reader->info.end_version)
            return damage(error, reader->path, offset,
                          "a record in the block there makes no sense");
    if (n != header->records)
        return damage(error, reader->path, offset, "the records of the block there do not add up");
    return BRD_OK;
}

enum brd_status
snapshot_next_block(struct snapshot_reader *reader, struct brd_buf *buf,
                    struct brd_bytes *out_records, uint64_t *out_offset,
                    struct brd_snapshot_error *error)
{
    struct snapshot_block_header header = { 0 };
    enum brd_status status;
    uint32_t checksum;
    size_t size = 0;
    int result;

    brd_mutex_lock(&reader->lock);
    status = claim_block(reader, &header, out_offset, error);
    brd_mutex_unlock(&reader->lock);
    if (status != BRD_OK)
        return status;
    brd_buf_clear(buf);
    if (brd_buf_reserve(buf, header.length) == NULL && header.length > 0)
        return set_error(error, BRD_OUT_OF_MEMORY, reader->path, *out_offset,
                         "out of memory for a block of %" PRIu32 " bytes in %s", header.length,
                         reader->path);
    result = brd_file_read(reader->io, reader->fd, buf->data, header.length,
                           *out_offset + sizeof(header), &size);
    if (result != 0 || size < header.length)
        return io_error(error, result != 0 ? result : -EIO, "read", reader->path);
    buf->size = size;
    checksum = checksum_behind(reader->seed, &header, sizeof(header));
    checksum = brd_crc32c(checksum, buf->data, size);
#ifndef BRD_FUZZ
    if (checksum != header.checksum)
        return damage(error, reader->path, *out_offset, "the block there is not valid");
#else
    (void)checksum;
#endif
    if (header.flags != 0)
        return set_error(error, BRD_UNSUPPORTED, reader->path, *out_offset,
                         "%s, offset %" PRIu64 ": a block written by a newer version of Brindle",
                         reader->path, *out_offset);
    *out_records = brd_bytes(buf->data, size);
    return check_records(reader, &header, *out_records, *out_offset, error);
}

bool
snapshot_next_record(struct brd_bytes *records, uint64_t *out_version,
                     struct brd_bytes *out_payload)
{
    uint64_t size;

    return brd_varint_get(records, out_version) && brd_varint_get(records, &size) &&
           brd_bytes_take(records, size, out_payload);
}

enum brd_status
snapshot_verify(const struct brd_io *io, const char *path, struct brd_snapshot_info *out_info,
                struct brd_snapshot_error *error)
{
    struct snapshot_reader reader;
    struct brd_bytes records;
    struct brd_buf buf;
    enum brd_status status = snapshot_open(&reader, io, path, error);
    uint64_t offset = 0;

    if (status != BRD_OK)
        return status;
    brd_buf_init(&buf);
    do {
        status = snapshot_next_block(&reader, &buf, &records, &offset, error);
    } while (status == BRD_OK);
    brd_buf_fini(&buf);
    *out_info = reader.info;
    snapshot_close(&reader);
    return status == BRD_NOT_FOUND ? BRD_OK : status;
}

/* ---- With the log ---- */

enum brd_status
snapshot_check_fit(const struct brd_snapshot_info *info, const char *path, uint64_t name_version,
                   struct brd_bytes uuid, uint64_t base_version, uint64_t end_version,
                   struct brd_snapshot_error *error)
{
    if (!brd_bytes_equal(brd_bytes(info->uuid, sizeof(info->uuid)), uuid))
        return damage(error, path, 0, "it belongs to another data directory");
    if (info->start_version != name_version)
        return set_error(error, BRD_CORRUPT, path, 0,
                         "%s is damaged at offset 0: it is the snapshot of version %" PRIu64
                         " under another name",
                         path, info->start_version);
    if (info->start_version < base_version)
        return set_error(error, BRD_CORRUPT, path, 0,
                         "%s begins at version %" PRIu64 ", but the log goes back only to %" PRIu64
                         ": a newer snapshot, or a part of the log, is missing",
                         path, info->start_version, base_version);
    if (info->end_version > end_version)
        return set_error(error, BRD_CORRUPT, path, 0,
                         "the log ends at version %" PRIu64 ", but the snapshot of version %" PRIu64
                         " in %s has seen version %" PRIu64 ": a part of the log is gone",
                         end_version, info->start_version, path, info->end_version);
    return BRD_OK;
}

enum brd_status
snapshot_check_none(const char *data_dir, uint64_t base_version, struct brd_snapshot_error *error)
{
    if (base_version == 0)
        return BRD_OK;
    return set_error(error, BRD_CORRUPT, data_dir, 0,
                     "%s/snapshots holds no snapshot, but the log goes back only to version "
                     "%" PRIu64 ": what was before is missing",
                     data_dir, base_version);
}

/* ---- Files ---- */

struct newest {
    uint64_t start_version;
    bool found;
};

static int
note_newest(void *arg, const char *name)
{
    struct newest *newest = arg;
    uint64_t version;

    if (snapshot_version_of(name, &version) && (!newest->found || version > newest->start_version))
        *newest = (struct newest){ .start_version = version, .found = true };
    return 0;
}

enum brd_status
snapshot_newest(const struct brd_io *io, const char *data_dir, uint64_t *out_start_version,
                struct brd_snapshot_error *error)
{
    struct newest newest = { .found = false };
    char path[4096];
    int result;

    snprintf(path, sizeof(path), "%s/snapshots", data_dir);
    result = io->list(io->ctx, path, note_newest, &newest);
    if (result < 0 && result != -ENOENT)
        return io_error(error, result, "list", path);
    *out_start_version = newest.start_version;
    return newest.found ? BRD_OK : BRD_NOT_FOUND;
}

enum brd_status
brd_snapshot_check(const struct brd_io *io, const char *data_dir, struct brd_bytes uuid,
                   uint64_t base_version, uint64_t end_version, bool whole,
                   struct brd_snapshot_info *out_info, struct brd_snapshot_error *out_error)
{
    struct snapshot_reader reader;
    enum brd_status status;
    uint64_t version = 0;
    char *path;

    *out_info = (struct brd_snapshot_info){ 0 };
    status = snapshot_newest(io, data_dir, &version, out_error);
    if (status == BRD_NOT_FOUND)
        return snapshot_check_none(data_dir, base_version, out_error);
    if (status != BRD_OK)
        return status;
    path = snapshot_path(data_dir, version);
    if (path == NULL)
        return set_error(out_error, BRD_OUT_OF_MEMORY, data_dir, 0, "out of memory");
    if (whole) {
        status = snapshot_verify(io, path, out_info, out_error);
    } else {
        status = snapshot_open(&reader, io, path, out_error);
        if (status == BRD_OK) {
            *out_info = reader.info;
            snapshot_close(&reader);
        }
    }
    if (status == BRD_OK)
        status =
            snapshot_check_fit(out_info, path, version, uuid, base_version, end_version, out_error);
    free(path);
    return status;
}

static enum brd_status
visit_blocks(struct snapshot_reader *reader, const struct brd_snapshot_visitor *visitor,
             struct brd_snapshot_error *error)
{
    struct brd_bytes records;
    struct brd_bytes payload;
    enum brd_status status;
    struct brd_buf buf;
    uint64_t offset;
    uint64_t version;

    brd_buf_init(&buf);
    do {
        status = snapshot_next_block(reader, &buf, &records, &offset, error);
        while (status == BRD_OK && snapshot_next_record(&records, &version, &payload))
            status = visitor->record(visitor->arg, version, payload);
    } while (status == BRD_OK);
    brd_buf_fini(&buf);
    return status == BRD_NOT_FOUND ? BRD_OK : status;
}

enum brd_status
brd_snapshot_visit(const struct brd_io *io, const char *data_dir,
                   const struct brd_snapshot_visitor *visitor, struct brd_snapshot_error *out_error)
{
    struct snapshot_reader reader;
    enum brd_status status;
    uint64_t version = 0;
    char *path;

    status = snapshot_newest(io, data_dir, &version, out_error);
    if (status == BRD_NOT_FOUND)
        return set_error(out_error, status, data_dir, 0, "%s holds no snapshot", data_dir);
    if (status != BRD_OK)
        return status;
    path = snapshot_path(data_dir, version);
    if (path == NULL)
        return set_error(out_error, BRD_OUT_OF_MEMORY, data_dir, 0, "out of memory");
    status = snapshot_open(&reader, io, path, out_error);
    if (status == BRD_OK) {
        status = visitor->begin(visitor->arg, path, &reader.info);
        if (status == BRD_OK)
            status = visit_blocks(&reader, visitor, out_error);
        snapshot_close(&reader);
    }
    free(path);
    return status;
}

struct listing {
    struct brd_snapshot_file *files; /* owned */
    size_t count;
};

static int
add_file(void *arg, const char *name)
{
    struct listing *listing = arg;
    struct brd_snapshot_file *more;
    uint64_t version;

    if (!snapshot_version_of(name, &version))
        return 0;
    more = realloc(listing->files, (listing->count + 1) * sizeof(*more));
    if (more == NULL)
        return -ENOMEM;
    listing->files = more;
    listing->files[listing->count++] = (struct brd_snapshot_file){ .start_version = version };
    return 0;
}

static int
newer_first(const void *a, const void *b)
{
    uint64_t left = ((const struct brd_snapshot_file *)a)->start_version;
    uint64_t right = ((const struct brd_snapshot_file *)b)->start_version;

    return left > right ? -1 : left < right;
}

/* Read one to its end. Returns BRD_OK also where it is damaged. */
static enum brd_status
judge_file(const struct brd_io *io, const char *data_dir, struct brd_bytes uuid,
           struct brd_snapshot_file *file, struct brd_snapshot_error *error)
{
    char *path = snapshot_path(data_dir, file->start_version);
    int result;
    int fd;

    if (path == NULL)
        return set_error(error, BRD_OUT_OF_MEMORY, data_dir, 0, "out of memory");
    snprintf(file->path, sizeof(file->path), "%s", path);
    free(path);
    fd = io->open(io->ctx, file->path, O_RDONLY);
    result = fd < 0 ? fd : io->size(io->ctx, fd, &file->bytes);
    brd_file_close(io, &fd);
    if (result < 0)
        return io_error(error, result, "read", file->path);
    file->status = snapshot_verify(io, file->path, &file->info, &file->error);
    if (file->status == BRD_OK)
        file->status = snapshot_check_fit(&file->info, file->path, file->start_version, uuid, 0,
                                          UINT64_MAX, &file->error);
    if (file->status == BRD_OK || file->status == BRD_CORRUPT)
        return BRD_OK;
    *error = file->error;
    return file->status;
}

enum brd_status
brd_snapshot_list(const struct brd_io *io, const char *data_dir, struct brd_bytes uuid,
                  struct brd_snapshot_file **out_files, size_t *out_count,
                  struct brd_snapshot_error *out_error)
{
    struct listing listing = { .files = NULL };
    enum brd_status status = BRD_OK;
    char path[4096];
    int result;
    size_t i;

    snprintf(path, sizeof(path), "%s/snapshots", data_dir);
    result = io->list(io->ctx, path, add_file, &listing);
    if (result < 0 && result != -ENOENT)
        status = io_error(out_error, result, "list", path);
    if (listing.count > 0)
        qsort(listing.files, listing.count, sizeof(*listing.files), newer_first);
    for (i = 0; status == BRD_OK && i < listing.count; i++)
        status = judge_file(io, data_dir, uuid, &listing.files[i], out_error);
    if (status != BRD_OK) {
        free(listing.files);
        return status;
    }
    *out_files = listing.files;
    *out_count = listing.count;
    return BRD_OK;
}

struct removal {
    const struct brd_io *io;
    const char *data_dir;
    uint64_t before;
};

static int
remove_one(void *arg, const char *name)
{
    const struct removal *removal = arg;
    char path[4096];
    size_t length = strlen(name);
    uint64_t version = 0;
    bool finished = snapshot_version_of(name, &version);
    int result;

    if (finished ? version >= removal->before
                 : length != NAME_DIGITS + 4 || strcmp(name + NAME_DIGITS, ".tmp") != 0)
        return 0;
    snprintf(path, sizeof(path), "%s/snapshots/%s", removal->data_dir, name);
    result = removal->io->unlink(removal->io->ctx, path);
    CRASH_POINT("snapshot_removed");
    if (result != 0 && result != -ENOENT)
        brd_diag_warning("cannot remove %s, which is not needed any more: %s", path,
                         brd_file_error(result));
    return 0;
}

void
snapshot_remove_older(const struct brd_io *io, const char *data_dir, uint64_t start_version)
{
    struct removal removal = { io, data_dir, start_version };
    char path[4096];

    snprintf(path, sizeof(path), "%s/snapshots", data_dir);
    (void)io->list(io->ctx, path, remove_one, &removal);
}
