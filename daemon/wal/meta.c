#include "wal/meta.h"

#include "base/check.h"
#include "base/crashpoint.h"
#include "base/crc32c.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define META_BYTES ((size_t)2 * META_PAGE_BYTES)

enum slot_verdict {
    SLOT_VALID,
    SLOT_EMPTY,
    SLOT_BAD,
};

static uint32_t
slot_checksum(const uint8_t *sector)
{
    const size_t at = offsetof(struct meta_slot, checksum);
    const uint8_t none[4] = { 0 };
    uint32_t crc = brd_crc32c(0, sector, at);

    crc = brd_crc32c(crc, none, sizeof(none));
    return brd_crc32c(crc, sector + at + 4, META_SLOT_BYTES - at - 4);
}

static void
slot_encode(struct meta_slot *slot, uint8_t sector[META_SLOT_BYTES])
{
    slot->magic = META_MAGIC;
    slot->format = META_FORMAT;
    slot->checksum = 0;
    memset(sector, 0, META_SLOT_BYTES);
    memcpy(sector, slot, sizeof(*slot));
    slot->checksum = slot_checksum(sector);
    memcpy(sector, slot, sizeof(*slot));
}

static enum slot_verdict
slot_decode(const uint8_t *sector, struct meta_slot *out_slot)
{
    static const uint8_t zeros[META_SLOT_BYTES];

    if (memcmp(sector, zeros, META_SLOT_BYTES) == 0)
        return SLOT_EMPTY;
    memcpy(out_slot, sector, sizeof(*out_slot));
    if (out_slot->magic != META_MAGIC)
        return SLOT_BAD;
#ifndef BRD_FUZZ
    if (out_slot->checksum != slot_checksum(sector))
        return SLOT_BAD;
#endif
    return SLOT_VALID;
}

/* Which slot a generation lives in. */
static uint64_t
slot_offset(uint64_t generation)
{
    return generation % 2 * META_PAGE_BYTES;
}

enum brd_status
meta_parse(struct brd_bytes bytes, const char *path, struct meta *out_meta,
           struct brd_wal_error *error)
{
    struct meta_slot slots[2];
    enum slot_verdict verdicts[2] = { SLOT_BAD, SLOT_BAD };
    uint64_t bad_offset = 0;
    int best = -1;
    int i;

    for (i = 1; i >= 0; i--) {
        uint64_t offset = (uint64_t)i * META_PAGE_BYTES;

        if (bytes.size >= offset + META_SLOT_BYTES)
            verdicts[i] = slot_decode(bytes.data + offset, &slots[i]);
        /* A slot in the other's place is nobody's work. */
        if (verdicts[i] == SLOT_VALID && slot_offset(slots[i].generation) != offset)
            verdicts[i] = SLOT_BAD;
        if (verdicts[i] == SLOT_BAD)
            bad_offset = offset;
        if (verdicts[i] == SLOT_VALID && (best < 0 || slots[i].generation > slots[best].generation))
            best = i;
    }
    if (best < 0)
        return error_set(error, BRD_CORRUPT, path, bad_offset,
                         "%s is damaged: neither of its two slots is valid", path);
    if (verdicts[0] == SLOT_VALID && verdicts[1] == SLOT_VALID &&
        memcmp(slots[0].uuid, slots[1].uuid, 16) != 0)
        return error_set(error, BRD_CORRUPT, path, 0,
                         "%s is damaged: its two slots belong to different data directories", path);
    if (slots[best].format != META_FORMAT || (slots[best].flags & ~META_FLAGS_KNOWN) != 0)
        return error_set(error, BRD_UNSUPPORTED, path, (uint64_t)best * META_PAGE_BYTES,
                         "%s was written by a newer version of Brindle (format %u)", path,
                         slots[best].format);
    out_meta->slot = slots[best];
    out_meta->doubtful = verdicts[1 - best] == SLOT_BAD;
    return BRD_OK;
}

static char *
meta_path(const char *dir)
{
    char *path = NULL;

    return asprintf(&path, "%s/meta", dir) < 0 ? NULL : path;
}

enum brd_status
meta_load(const struct brd_io *io, const char *dir, struct meta *out_meta,
          struct brd_wal_error *error)
{
    char *path = meta_path(dir);
    uint8_t bytes[META_BYTES];
    enum brd_status status;
    size_t size = 0;
    int result;
    int fd;

    if (path == NULL)
        return error_set(error, BRD_OUT_OF_MEMORY, dir, 0, "out of memory");
    fd = io->open(io->ctx, path, O_RDONLY);
    if (fd == -ENOENT) {
        status = BRD_NOT_FOUND;
        goto out;
    }
    if (fd < 0) {
        status = error_io(error, fd, "open", path);
        goto out;
    }
    result = brd_file_read(io, fd, bytes, sizeof(bytes), 0, &size);
    brd_file_close(io, &fd);
    if (result < 0)
        status = error_io(error, result, "read", path);
    else
        status = meta_parse(brd_bytes(bytes, size), path, out_meta, error);
out:
    free(path);
    return status;
}

void
meta_tell(const struct meta_slot *slot, struct brd_wal_identity *out_identity)
{
    *out_identity = (struct brd_wal_identity){
        .epoch = slot->epoch,
        .generation = slot->generation,
        .ceiling = slot->ceiling,
        .first_segment = slot->first_segment,
        .newest_segment = slot->newest_segment,
        .synced_lsn = slot->synced_lsn,
        .last_version = slot->last_version,
        .clean = (slot->flags & META_CLEAN) != 0,
    };
    memcpy(out_identity->uuid, slot->uuid, sizeof(slot->uuid));
}

int
meta_create(const struct brd_io *io, const char *dir, struct meta *meta)
{
    uint8_t bytes[META_BYTES] = { 0 };
    char *path = meta_path(dir);
    int result;

    if (path == NULL)
        return -ENOMEM;
    meta->slot.generation = 1;
    slot_encode(&meta->slot, bytes + slot_offset(1));
    result = brd_file_replace(io, path, bytes, sizeof(bytes));
    free(path);
    return result;
}

int
meta_store(const struct brd_io *io, int fd, struct meta *meta)
{
    uint8_t sector[META_SLOT_BYTES];
    int result;

    meta->slot.generation++;
    slot_encode(&meta->slot, sector);
    result = brd_file_write(io, fd, sector, sizeof(sector), slot_offset(meta->slot.generation));
    CRASH_POINT("meta_written");
    return result != 0 ? result : io->fdatasync(io->ctx, fd);
}
