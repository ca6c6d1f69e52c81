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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYNC_BYTES       (UINT64_C(8) << 20)
#define BLOCK_LENGTH_MAX (UINT32_C(1) << 31)

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
    writer->tmp_path = snapshot_tmp_path(data_dir, header.start_version);
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

static enum brd_status
check_header(struct snapshot_reader *reader, const uint8_t *page, size_t size,
             struct brd_snapshot_error *error)
{
    struct snapshot_header header;

    memcpy(&header, page, sizeof(header));
    if (size < SNAPSHOT_HEADER_BYTES || header.magic != SNAPSHOT_MAGIC)
        return snapshot_damage(error, reader->path, 0, "it does not begin as a snapshot does");
#ifndef BRD_FUZZ
    if (header.checksum != page_checksum(page))
        return snapshot_damage(error, reader->path, 0, "its header is not valid");
#endif
    if (header.format != SNAPSHOT_FORMAT || header.flags != 0)
        return snapshot_error(error, BRD_UNSUPPORTED, reader->path, 0,
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
        return snapshot_damage(error, reader->path, at, "it does not end as a snapshot does");
#ifndef BRD_FUZZ
    if (footer->checksum != checksum_behind(reader->seed, footer, sizeof(*footer)))
        return snapshot_damage(error, reader->path, at, "its footer is not valid");
#endif
    if (footer->end_version < reader->info.start_version)
        return snapshot_damage(error, reader->path, at, "its footer makes no sense");
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
        status = snapshot_io_error(error, reader->fd, "open", path);
        goto failed;
    }
    result = io->size(io->ctx, reader->fd, &reader->info.bytes);
    if (result == 0)
        result = brd_file_read(io, reader->fd, page, sizeof(page), 0, &size);
    if (result != 0) {
        status = snapshot_io_error(error, result, "read", path);
        goto failed;
    }
    status = check_header(reader, page, size, error);
    if (status != BRD_OK)
        goto failed;
    if (reader->info.bytes < SNAPSHOT_HEADER_BYTES + sizeof(footer)) {
        status = snapshot_damage(error, path, reader->info.bytes, "the file ends too early");
        goto failed;
    }
    result = brd_file_read(io, reader->fd, &footer, sizeof(footer),
                           reader->info.bytes - sizeof(footer), &size);
    if (result != 0 || size < sizeof(footer)) {
        status = snapshot_io_error(error, result != 0 ? result : -EIO, "read", path);
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
        return snapshot_damage(error, reader->path, reader->end,
                               "its footer tells of other numbers of blocks and records");
    }
    if (left < sizeof(*header))
        return snapshot_damage(error, reader->path, at, "there is no whole block");
    result = brd_file_read(reader->io, reader->fd, header, sizeof(*header), at, &size);
    if (result != 0 || size < sizeof(*header))
        return snapshot_io_error(error, result != 0 ? result : -EIO, "read", reader->path);
    if (header->magic != SNAPSHOT_BLOCK_MAGIC || header->number != reader->number ||
        header->length > left - sizeof(*header) || header->length > BLOCK_LENGTH_MAX)
        return snapshot_damage(error, reader->path, at, "there is no valid block");
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
            return snapshot_damage(error, reader->path, offset,
                                   "a record in the block there makes no sense");
    if (n != header->records)
        return snapshot_damage(error, reader->path, offset,
                               "the records of the block there do not add up");
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
        return snapshot_error(error, BRD_OUT_OF_MEMORY, reader->path, *out_offset,
                              "out of memory for a block of %" PRIu32 " bytes in %s", header.length,
                              reader->path);
    result = brd_file_read(reader->io, reader->fd, buf->data, header.length,
                           *out_offset + sizeof(header), &size);
    if (result != 0 || size < header.length)
        return snapshot_io_error(error, result != 0 ? result : -EIO, "read", reader->path);
    buf->size = size;
    checksum = checksum_behind(reader->seed, &header, sizeof(header));
    checksum = brd_crc32c(checksum, buf->data, size);
#ifndef BRD_FUZZ
    if (checksum != header.checksum)
        return snapshot_damage(error, reader->path, *out_offset, "the block there is not valid");
#else
    (void)checksum;
#endif
    if (header.flags != 0)
        return snapshot_error(error, BRD_UNSUPPORTED, reader->path, *out_offset,
                              "%s, offset %" PRIu64
                              ": a block written by a newer version of Brindle",
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
