/* Snapshot files: encode beside decode.
 *
 * The writer makes each block durable in steps of SYNC_BYTES, so that the last
 * sync is short and the log's own syncs do not stand behind a gigabyte of others.
 *
 * Order of the end: footer, sync, read back, rename, sync of the directory. A file under
 * its final name is therefore whole, whenever power fails.
 *
 * Sealed: the nonce of a block is its number plus one, and a file is written once, from its
 * beginning to its end, under a salt of its own. Checksums are made over what is on disk, so
 * that a disk that errs is told from somebody who changed a file, and the first found without a key. */
#include "engine/snapshot.h"

#include "base/check.h"
#include "base/crashpoint.h"
#include "base/crc32c.h"
#include "base/diag.h"
#include "base/random.h"
#include "engine/keys.h"
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

/* ---- Sealing ---- */

static bool
is_zeros(const uint8_t *bytes, size_t size)
{
    uint8_t any = 0;
    size_t i;

    for (i = 0; i < size; i++)
        any |= bytes[i];
    return any == 0;
}

static enum brd_status
open_seal(const struct brd_keyring *keys, const struct snapshot_header *header,
          struct brd_seal **out_seal)
{
    uint8_t identity[sizeof(header->uuid) + sizeof(header->start_version)];

    memcpy(identity, header->uuid, sizeof(header->uuid));
    memcpy(identity + sizeof(header->uuid), &header->start_version, sizeof(header->start_version));
    return brd_seal_open(keys, header->key_id, (enum brd_seal_cipher)header->cipher, "snapshot",
                         header->salt, brd_bytes(identity, sizeof(identity)), out_seal);
}

/* What a block's header contributes to its tag: all of it, with the checksum 0. */
static struct brd_bytes
bound_to(const struct snapshot_block_header *header, struct snapshot_block_header *copy)
{
    *copy = *header;
    copy->checksum = 0;
    return brd_bytes(copy, sizeof(*copy));
}

static uint64_t
position_of(const struct snapshot_block_header *header)
{
    return header->number + 1;
}

/* The MAC of a header page, whatever its fields for MAC and checksum hold. */
static enum brd_status
page_mac(struct brd_seal *seal, const uint8_t *page, uint8_t *out_mac)
{
    uint8_t copy[SNAPSHOT_HEADER_BYTES];

    memcpy(copy, page, sizeof(copy));
    memset(copy + offsetof(struct snapshot_header, checksum), 0, sizeof(uint32_t));
    memset(copy + offsetof(struct snapshot_header, mac), 0, BRD_SEAL_TAG_BYTES);
    return brd_seal_mac(seal, brd_bytes(copy, sizeof(copy)), out_mac);
}

/* The same of a footer. */
static enum brd_status
footer_mac(struct brd_seal *seal, const struct snapshot_sealed_footer *footer, uint8_t *out_mac)
{
    struct snapshot_sealed_footer copy = *footer;

    copy.footer.checksum = 0;
    memset(copy.mac, 0, sizeof(copy.mac));
    return brd_seal_mac(seal, brd_bytes(&copy, sizeof(copy)), out_mac);
}

/* The headers and the footer begin with magic and checksum. */
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
    brd_buf_fini(&writer->sealed);
    brd_seal_close(&writer->seal);
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

/* Fill in the rest of the header, and open the seal if there is to be one. */
static enum brd_status
make_header(struct snapshot_writer *writer, const struct brd_keyring *keys,
            struct snapshot_header *header, uint8_t page[SNAPSHOT_HEADER_BYTES])
{
    enum brd_status status = BRD_OK;

    header->magic = SNAPSHOT_MAGIC;
    header->format = SNAPSHOT_FORMAT;
    header->checksum = header->flags = header->reserved = 0;
    memcpy(header->key_id, brd_keyring_current(keys), sizeof(header->key_id));
    memset(header->mac, 0, sizeof(header->mac));
    brd_random_fill(header->salt, sizeof(header->salt));
    writer->seed = seed_of(header->salt);
    if (is_zeros(header->key_id, sizeof(header->key_id))) {
        header->cipher = 0;
        memcpy(page, header, sizeof(*header));
    } else {
        header->flags = SNAPSHOT_SEALED;
        if (header->cipher == 0)
            header->cipher = brd_seal_preferred();
        memcpy(page, header, sizeof(*header));
        status = open_seal(keys, header, &writer->seal);
        if (status == BRD_OK)
            status = page_mac(writer->seal, page, header->mac);
        memcpy(page, header, sizeof(*header));
    }
    header->checksum = page_checksum(page);
    memcpy(page, header, sizeof(*header));
    return status;
}

int
snapshot_create(struct snapshot_writer *writer, const struct brd_io *io,
                const struct brd_keyring *keys, const char *data_dir,
                const struct snapshot_header *wanted)
{
    struct snapshot_header header = *wanted;
    uint8_t page[SNAPSHOT_HEADER_BYTES] = { 0 };
    int result = -ENOMEM;

    *writer = (struct snapshot_writer){ .io = io, .fd = -1 };
    brd_buf_init(&writer->block);
    brd_buf_init(&writer->sealed);
    writer->path = snapshot_path(data_dir, header.start_version);
    writer->tmp_path = snapshot_tmp_path(data_dir, header.start_version);
    if (asprintf(&writer->dir, "%s/snapshots", data_dir) < 0)
        writer->dir = NULL;
    (void)brd_buf_reserve(&writer->block, 2 * SNAPSHOT_BLOCK_BYTES);
    begin_block(writer);
    if (writer->path == NULL || writer->tmp_path == NULL || writer->dir == NULL ||
        writer->block.failed || make_header(writer, keys, &header, page) != BRD_OK)
        goto failed;

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

/* Encrypt the records of a block, body and tail. What is in one piece stays where it is;
 * a large value is not ours to change. *body becomes what is to be written. */
static int
seal_block(struct snapshot_writer *writer, const struct snapshot_block_header *header,
           struct brd_bytes *body, struct brd_bytes *tail, uint8_t *out_tag)
{
    const struct brd_bytes pieces[2] = { *body, *tail };
    struct snapshot_block_header copy;
    uint8_t *out = writer->block.data + sizeof(*header);

    if (tail->size > 0) {
        brd_buf_clear(&writer->sealed);
        out = brd_buf_reserve(&writer->sealed, header->length);
        if (out == NULL)
            return -ENOMEM;
    }
    if (brd_seal_part(writer->seal, position_of(header), bound_to(header, &copy), pieces,
                      tail->size > 0 ? 2 : 1, out, out_tag) != BRD_OK)
        return -ENOMEM;
    *body = brd_bytes(out, header->length);
    *tail = brd_bytes(NULL, 0);
    return 0;
}

static struct iovec
part_of(struct brd_bytes bytes)
{
    return (struct iovec){ .iov_base = (void *)(uintptr_t)bytes.data, .iov_len = bytes.size };
}

/* The block in memory, and `tail` behind it. */
static int
write_block(struct snapshot_writer *writer, struct brd_bytes tail)
{
    struct brd_buf *block = &writer->block;
    struct brd_bytes body = brd_bytes(block->data + sizeof(struct snapshot_block_header),
                                      block->size - sizeof(struct snapshot_block_header));
    uint64_t length = body.size + tail.size;
    struct snapshot_block_header header = {
        .magic = SNAPSHOT_BLOCK_MAGIC,
        .flags = writer->seal != NULL ? SNAPSHOT_SEALED : 0,
        .length = (uint32_t)length,
        .number = writer->blocks,
        .records = writer->block_records,
    };
    uint8_t tag_bytes[BRD_SEAL_TAG_BYTES];
    struct brd_bytes tag = brd_bytes(tag_bytes, writer->seal != NULL ? sizeof(tag_bytes) : 0);
    struct iovec parts[4];
    int result = 0;

    BRD_CHECK(length <= BLOCK_LENGTH_MAX);
    if (writer->seal != NULL)
        result = seal_block(writer, &header, &body, &tail, tag_bytes);
    if (result != 0)
        return result;
    header.checksum = checksum_behind(writer->seed, &header, sizeof(header));
    header.checksum = brd_crc32c(header.checksum, body.data, body.size);
    header.checksum = brd_crc32c(header.checksum, tail.data, tail.size);
    header.checksum = brd_crc32c(header.checksum, tag.data, tag.size);
    parts[0] = (struct iovec){ .iov_base = &header, .iov_len = sizeof(header) };
    parts[1] = part_of(body);
    parts[2] = part_of(tail);
    parts[3] = part_of(tag);
    result = brd_file_writev(writer->io, writer->fd, parts, 4, writer->offset);
    CRASH_POINT("snapshot_block");
    if (result != 0)
        return result;
    writer->offset += sizeof(header) + length + tag.size;
    writer->unsynced += sizeof(header) + length + tag.size;
    writer->blocks++;
    writer->records += writer->block_records;
    begin_block(writer);
    brd_buf_fini(&writer->sealed); /* as large as the value was */
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
    struct snapshot_sealed_footer footer = { .footer = { .magic = SNAPSHOT_FOOTER_MAGIC,
                                                         .end_version = end_version } };
    size_t size = writer->seal != NULL ? sizeof(footer) : sizeof(footer.footer);
    int result = snapshot_flush(writer, true);

    footer.footer.blocks = writer->blocks;
    footer.footer.records = writer->records;
    footer.footer.bytes = writer->offset;
    if (result == 0 && writer->seal != NULL &&
        footer_mac(writer->seal, &footer, footer.mac) != BRD_OK)
        result = -ENOMEM;
    footer.footer.checksum = checksum_behind(writer->seed, &footer, size);
    if (result == 0)
        result = brd_file_write(io, writer->fd, &footer, size, writer->offset);
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

static bool
is_sealed(const struct snapshot_reader *reader)
{
    return (reader->header.flags & SNAPSHOT_SEALED) != 0;
}

static size_t
tag_bytes_of(const struct snapshot_reader *reader)
{
    return is_sealed(reader) ? BRD_SEAL_TAG_BYTES : 0;
}

static size_t
footer_bytes_of(const struct snapshot_reader *reader)
{
    return is_sealed(reader) ? sizeof(struct snapshot_sealed_footer)
                             : sizeof(struct snapshot_footer);
}

static enum brd_status
no_memory(struct brd_snapshot_error *error, const char *path)
{
    return snapshot_error(error, BRD_OUT_OF_MEMORY, path, 0, "out of memory for %s", path);
}

/* The file cannot be opened with the keys that there are. */
static enum brd_status
wrong_key(const struct snapshot_reader *reader, struct brd_snapshot_error *error)
{
    char shown[KEYS_SHOWN_BYTES];

    keys_show(reader->header.key_id, shown);
    return snapshot_error(error, BRD_WRONG_KEY, reader->path, 0,
                          "%s is encrypted under the key %s, %s", reader->path, shown,
                          reader->keys != NULL ? "which is not in the key file"
                                               : "and there is no key file");
}

static enum brd_status
open_reader_seal(const struct snapshot_reader *reader, struct brd_seal **out_seal,
                 struct brd_snapshot_error *error)
{
    enum brd_status status;

    if (reader->keys == NULL || !brd_keyring_has(reader->keys, reader->header.key_id))
        return wrong_key(reader, error);
    status = open_seal(reader->keys, &reader->header, out_seal);
    switch (status) {
    case BRD_OK:
        return BRD_OK;
    case BRD_OUT_OF_MEMORY:
        return no_memory(error, reader->path);
    case BRD_WRONG_KEY:
        return wrong_key(reader, error);
    default:
        return snapshot_error(error, status, reader->path, 0,
                              "%s is encrypted by a cipher that this version of Brindle does not "
                              "know (%" PRIu32 ")",
                              reader->path, reader->header.cipher);
    }
}

static enum brd_status
check_header(struct snapshot_reader *reader, const uint8_t *page, size_t size,
             struct brd_snapshot_error *error)
{
    struct snapshot_header *header = &reader->header;

    memcpy(header, page, sizeof(*header));
    if (size < SNAPSHOT_HEADER_BYTES || header->magic != SNAPSHOT_MAGIC)
        return snapshot_damage(error, reader->path, 0, "it does not begin as a snapshot does");
#ifndef BRD_FUZZ
    if (header->checksum != page_checksum(page))
        return snapshot_damage(error, reader->path, 0, "its header is not valid");
#endif
    if (header->format != SNAPSHOT_FORMAT || (header->flags & ~SNAPSHOT_SEALED) != 0)
        return snapshot_error(error, BRD_UNSUPPORTED, reader->path, 0,
                              "%s was written by a newer version of Brindle (format %" PRIu32 ")",
                              reader->path, header->format);
    if (is_sealed(reader) == is_zeros(header->key_id, sizeof(header->key_id)))
        return snapshot_damage(error, reader->path, 0,
                               "its header does not know whether it is encrypted");
    reader->seed = seed_of(header->salt);
    memcpy(reader->info.uuid, header->uuid, sizeof(header->uuid));
    memcpy(reader->info.key_id, header->key_id, sizeof(header->key_id));
    reader->info.start_version = header->start_version;
    reader->info.created_ns = header->created_ns;
    reader->info.epoch = header->epoch;
    return BRD_OK;
}

static enum brd_status
check_page_mac(const struct snapshot_reader *reader, struct brd_seal *seal, const uint8_t *page,
               struct brd_snapshot_error *error)
{
    uint8_t mac[BRD_SEAL_TAG_BYTES];

    if (page_mac(seal, page, mac) != BRD_OK)
        return no_memory(error, reader->path);
#ifdef BRD_FUZZ /* a fuzzer would never get past it */
    return BRD_OK;
#else
    return brd_seal_same(mac, reader->header.mac)
               ? BRD_OK
               : snapshot_damage(error, reader->path, 0,
                                 "authentication failed: its header is not what was written");
#endif
}

static enum brd_status
check_footer(struct snapshot_reader *reader, struct brd_seal *seal,
             const struct snapshot_sealed_footer *sealed, struct brd_snapshot_error *error)
{
    const struct snapshot_footer *footer = &sealed->footer;
    uint64_t at = reader->info.bytes - footer_bytes_of(reader);

    if (footer->magic != SNAPSHOT_FOOTER_MAGIC || footer->bytes != at)
        return snapshot_damage(error, reader->path, at, "it does not end as a snapshot does");
#ifndef BRD_FUZZ
    if (footer->checksum != checksum_behind(reader->seed, sealed, footer_bytes_of(reader)))
        return snapshot_damage(error, reader->path, at, "its footer is not valid");
#endif
#ifndef BRD_FUZZ
    if (seal != NULL) {
        uint8_t mac[BRD_SEAL_TAG_BYTES];

        if (footer_mac(seal, sealed, mac) != BRD_OK)
            return no_memory(error, reader->path);
        if (!brd_seal_same(mac, sealed->mac))
            return snapshot_damage(error, reader->path, at,
                                   "authentication failed: its footer is not what was written");
    }
#else
    (void)seal;
#endif
    if (footer->end_version < reader->info.start_version)
        return snapshot_damage(error, reader->path, at, "its footer makes no sense");
    reader->info.end_version = footer->end_version;
    reader->info.blocks = footer->blocks;
    reader->info.records = footer->records;
    reader->end = at;
    return BRD_OK;
}

static enum brd_status
read_footer(struct snapshot_reader *reader, struct brd_seal *seal, struct brd_snapshot_error *error)
{
    struct snapshot_sealed_footer footer = { .footer = { .magic = 0 } };
    size_t wanted = footer_bytes_of(reader);
    size_t size = 0;
    int result;

    if (reader->info.bytes < SNAPSHOT_HEADER_BYTES + wanted)
        return snapshot_damage(error, reader->path, reader->info.bytes, "the file ends too early");
    result =
        brd_file_read(reader->io, reader->fd, &footer, wanted, reader->info.bytes - wanted, &size);
    if (result != 0 || size < wanted)
        return snapshot_io_error(error, result != 0 ? result : -EIO, "read", reader->path);
    return check_footer(reader, seal, &footer, error);
}

enum brd_status
snapshot_open(struct snapshot_reader *reader, const struct brd_io *io,
              const struct brd_keyring *keys, const char *path, struct brd_snapshot_error *error)
{
    uint8_t page[SNAPSHOT_HEADER_BYTES] = { 0 };
    struct brd_seal *seal = NULL;
    enum brd_status status = BRD_OK;
    size_t size = 0;
    int result;

    memset(reader, 0, sizeof(*reader));
    reader->io = io;
    reader->keys = keys;
    brd_mutex_init(&reader->lock, BRD_RANK_ENGINE);
    snprintf(reader->path, sizeof(reader->path), "%s", path);
    reader->fd = io->open(io->ctx, path, O_RDONLY);
    if (reader->fd < 0) {
        status = snapshot_io_error(error, reader->fd, "open", path);
    } else {
        result = io->size(io->ctx, reader->fd, &reader->info.bytes);
        if (result == 0)
            result = brd_file_read(io, reader->fd, page, sizeof(page), 0, &size);
        if (result != 0)
            status = snapshot_io_error(error, result, "read", path);
    }
    if (status == BRD_OK)
        status = check_header(reader, page, size, error);
    if (status == BRD_OK && is_sealed(reader))
        status = open_reader_seal(reader, &seal, error);
    if (status == BRD_OK && seal != NULL)
        status = check_page_mac(reader, seal, page, error);
    if (status == BRD_OK)
        status = read_footer(reader, seal, error);
    brd_seal_close(&seal);
    reader->offset = SNAPSHOT_HEADER_BYTES;
    if (status != BRD_OK)
        snapshot_close(reader);
    return status;
}

enum brd_status
snapshot_lane_open(struct snapshot_lane *lane, const struct snapshot_reader *reader,
                   struct brd_snapshot_error *error)
{
    *lane = (struct snapshot_lane){ .seal = NULL };
    brd_buf_init(&lane->buf);
    return is_sealed(reader) ? open_reader_seal(reader, &lane->seal, error) : BRD_OK;
}

void
snapshot_lane_close(struct snapshot_lane *lane)
{
    brd_seal_close(&lane->seal);
    brd_buf_fini(&lane->buf);
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
    size_t around = sizeof(*header) + tag_bytes_of(reader);
    size_t size = 0;
    int result;

    *out_offset = at;
    if (left == 0) {
        if (reader->number == reader->info.blocks && reader->records == reader->info.records)
            return BRD_NOT_FOUND;
        return snapshot_damage(error, reader->path, reader->end,
                               "its footer tells of other numbers of blocks and records");
    }
    if (left < around)
        return snapshot_damage(error, reader->path, at, "there is no whole block");
    result = brd_file_read(reader->io, reader->fd, header, sizeof(*header), at, &size);
    if (result != 0 || size < sizeof(*header))
        return snapshot_io_error(error, result != 0 ? result : -EIO, "read", reader->path);
    if (header->magic != SNAPSHOT_BLOCK_MAGIC || header->number != reader->number ||
        header->length > left - around || header->length > BLOCK_LENGTH_MAX)
        return snapshot_damage(error, reader->path, at, "there is no valid block");
    reader->offset += around + header->length;
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

/* Read what is behind a block's header: records, and the tag if there is one. */
static enum brd_status
read_block(struct snapshot_reader *reader, struct brd_buf *buf,
           const struct snapshot_block_header *header, uint64_t offset,
           struct brd_snapshot_error *error)
{
    size_t wanted = header->length + tag_bytes_of(reader);
    uint32_t checksum;
    size_t size = 0;
    int result;

    brd_buf_clear(buf);
    if (brd_buf_reserve(buf, wanted) == NULL && wanted > 0)
        return snapshot_error(error, BRD_OUT_OF_MEMORY, reader->path, offset,
                              "out of memory for a block of %" PRIu32 " bytes in %s",
                              header->length, reader->path);
    result =
        brd_file_read(reader->io, reader->fd, buf->data, wanted, offset + sizeof(*header), &size);
    if (result != 0 || size < wanted)
        return snapshot_io_error(error, result != 0 ? result : -EIO, "read", reader->path);
    buf->size = size;
    checksum = checksum_behind(reader->seed, header, sizeof(*header));
    checksum = brd_crc32c(checksum, buf->data, size);
#ifndef BRD_FUZZ
    if (checksum != header->checksum)
        return snapshot_damage(error, reader->path, offset, "the block there is not valid");
#else
    (void)checksum;
#endif
    return BRD_OK;
}

static enum brd_status
open_block(const struct snapshot_reader *reader, struct snapshot_lane *lane,
           const struct snapshot_block_header *header, uint64_t offset,
           struct brd_snapshot_error *error)
{
    struct snapshot_block_header copy;
    uint8_t *data = lane->buf.data;
    enum brd_status status;

    if (header->flags != (reader->header.flags & SNAPSHOT_SEALED)) {
        if ((header->flags & ~SNAPSHOT_SEALED) != 0)
            return snapshot_error(error, BRD_UNSUPPORTED, reader->path, offset,
                                  "%s, offset %" PRIu64
                                  ": a block written by a newer version of Brindle",
                                  reader->path, offset);
        return snapshot_damage(error, reader->path, offset,
                               "the block there is encrypted and the file is not, or the reverse");
    }
    if (lane->seal == NULL)
        return BRD_OK;
    status = brd_seal_unpart(lane->seal, position_of(header), bound_to(header, &copy),
                             brd_bytes(data, header->length), data + header->length, data);
    if (status == BRD_CORRUPT)
        return snapshot_damage(error, reader->path, offset,
                               "authentication failed: the block there is not what was written");
    return status == BRD_OK ? BRD_OK : no_memory(error, reader->path);
}

enum brd_status
snapshot_next_block(struct snapshot_reader *reader, struct snapshot_lane *lane,
                    struct brd_bytes *out_records, uint64_t *out_offset,
                    struct brd_snapshot_error *error)
{
    struct snapshot_block_header header = { 0 };
    enum brd_status status;

    BRD_CHECK((lane->seal != NULL) == is_sealed(reader));
    brd_mutex_lock(&reader->lock);
    status = claim_block(reader, &header, out_offset, error);
    brd_mutex_unlock(&reader->lock);
    if (status == BRD_OK)
        status = read_block(reader, &lane->buf, &header, *out_offset, error);
    if (status == BRD_OK)
        status = open_block(reader, lane, &header, *out_offset, error);
    if (status != BRD_OK)
        return status;
    *out_records = brd_bytes(lane->buf.data, header.length);
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
snapshot_verify(const struct brd_io *io, const struct brd_keyring *keys, const char *path,
                struct brd_snapshot_info *out_info, struct brd_snapshot_error *error)
{
    struct snapshot_reader reader;
    struct snapshot_lane lane;
    struct brd_bytes records;
    enum brd_status status = snapshot_open(&reader, io, keys, path, error);
    uint64_t offset = 0;

    if (status != BRD_OK)
        return status;
    status = snapshot_lane_open(&lane, &reader, error);
    while (status == BRD_OK)
        status = snapshot_next_block(&reader, &lane, &records, &offset, error);
    snapshot_lane_close(&lane);
    *out_info = reader.info;
    snapshot_close(&reader);
    return status == BRD_NOT_FOUND ? BRD_OK : status;
}
