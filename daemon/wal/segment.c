#include "wal/segment.h"

#include "base/check.h"
#include "base/crashpoint.h"
#include "base/crc32c.h"
#include "base/random.h"
#include "wal/group.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREWRITE_STEP (UINT64_C(1) << 20)
#define NAME_BYTES    20 /* 16 digits and ".wal" */

static const uint8_t zeros[PREWRITE_STEP];

char *
segment_path(const char *dir, uint64_t number)
{
    char *path = NULL;

    if (asprintf(&path, "%s/wal/%016llx.wal", dir, (unsigned long long)number) < 0)
        return NULL;
    return path;
}

uint64_t
segment_number_of(const char *name)
{
    uint64_t number = 0;
    int i;

    if (strlen(name) != NAME_BYTES || strcmp(name + 16, ".wal") != 0)
        return 0;
    for (i = 0; i < 16; i++) {
        char c = name[i];

        if (c >= '0' && c <= '9')
            number = number << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            number = number << 4 | (uint64_t)(c - 'a' + 10);
        else
            return 0;
    }
    return number;
}

/* fallocate, or writing its size where a file system has no such call. */
static int
allocate(const struct brd_io *io, int fd, uint64_t bytes)
{
    int result = io->fallocate(io->ctx, fd, bytes);

    if (result == -EOPNOTSUPP || result == -ENOSYS)
        result = io->ftruncate(io->ctx, fd, bytes);
    return result;
}

static int
write_zeros(const struct brd_io *io, int fd, uint64_t bytes, const _Atomic bool *hurry)
{
    uint64_t done = 0;
    int result = 0;

    while (result == 0 && done < bytes) {
        uint64_t step = bytes - done < PREWRITE_STEP ? bytes - done : PREWRITE_STEP;

        if (hurry != NULL && atomic_load_explicit(hurry, memory_order_relaxed))
            break;
        result = brd_file_write(io, fd, zeros, (size_t)step, done);
        done += step;
    }
    return result;
}

int
segment_sync_names(const struct brd_io *io, const char *dir)
{
#if BREAK_NO_DIR_FSYNC
    (void)io;
    (void)dir;
    return 0;
#else
    char *path = NULL;
    int result;

    if (asprintf(&path, "%s/wal", dir) < 0)
        return -ENOMEM;
    result = brd_file_sync_dir(io, path);
    free(path);
    return result;
#endif
}

int
segment_prepare(const struct brd_io *io, const char *dir, uint64_t number, uint64_t bytes,
                uint64_t prewrite, const _Atomic bool *hurry, struct segment **out_segment)
{
    struct segment *segment = calloc(1, sizeof(*segment));
    int result = -ENOMEM;

    if (segment == NULL)
        return -ENOMEM;
    segment->fd = -1;
    segment->path = segment_path(dir, number);
    if (segment->path == NULL)
        goto out;
    segment->fd = io->open(io->ctx, segment->path, O_RDWR | O_CREAT | O_TRUNC);
    result = segment->fd < 0 ? segment->fd : 0;
    if (result == 0)
        result = allocate(io, segment->fd, bytes);
    if (result == 0)
        result = write_zeros(io, segment->fd, prewrite < bytes ? prewrite : bytes, hurry);
    CRASH_POINT("segment_allocated");
    if (result == 0)
        result = io->fsync(io->ctx, segment->fd);
    if (result == 0)
        result = segment_sync_names(io, dir);
    CRASH_POINT("segment_prepared");
    segment->room = bytes;
    segment->header.number = number;
    brd_random_fill(segment->header.salt, sizeof(segment->header.salt));
out:
    if (result != 0) {
        /* Do not sit on the disk space that somebody is short of. */
        if (segment->fd >= 0)
            io->unlink(io->ctx, segment->path);
        segment_close(io, &segment);
        return result;
    }
    *out_segment = segment;
    return 0;
}

static uint32_t
page_checksum(const uint8_t *page)
{
    const size_t at = offsetof(struct segment_header, checksum);
    const uint8_t none[4] = { 0 };
    uint32_t crc = brd_crc32c(0, page, at);

    crc = brd_crc32c(crc, none, sizeof(none));
    return brd_crc32c(crc, page + at + 4, SEGMENT_HEADER_BYTES - at - 4);
}

int
segment_seal(struct segment *segment, const struct brd_keyring *keys, const uint8_t *uuid)
{
    struct segment_header *header = &segment->header;

    if (keys_is_plain(brd_keyring_current(keys)))
        return 0;
    header->flags |= SEGMENT_SEALED;
    header->cipher = brd_seal_preferred();
    memcpy(header->uuid, uuid, sizeof(header->uuid));
    memcpy(header->key_id, brd_keyring_current(keys), sizeof(header->key_id));
    return segment_open_seal(header, keys, &segment->seal) == BRD_OK ? 0 : -ENOMEM;
}

int
segment_begin(const struct brd_io *io, struct segment *segment, const struct segment_header *header)
{
    uint8_t page[SEGMENT_HEADER_BYTES] = { 0 };
    const struct segment_header prepared = segment->header;

    BRD_CHECK(header->start_lsn % GROUP_ALIGN == 0);
    BRD_CHECK(header->synced_lsn <= header->start_lsn);
    BRD_CHECK(segment->seal == NULL || memcmp(prepared.uuid, header->uuid, 16) == 0);
    segment->header = *header;
    segment->header.magic = SEGMENT_MAGIC;
    segment->header.format = SEGMENT_FORMAT;
    segment->header.number = prepared.number;
    /* The caller may have copied another one's. */
    segment->header.flags = (header->flags & ~(SEGMENT_SEALED | SEGMENT_RECYCLED)) | prepared.flags;
    segment->header.cipher = prepared.cipher;
    memcpy(segment->header.salt, prepared.salt, sizeof(prepared.salt));
    memcpy(segment->header.key_id, prepared.key_id, sizeof(prepared.key_id));
    memset(segment->header.mac, 0, sizeof(segment->header.mac));
    segment->header.checksum = 0;
    memcpy(page, &segment->header, sizeof(segment->header));
    if (segment->seal != NULL) {
        if (brd_seal_mac(segment->seal, brd_bytes(page, sizeof(page)), segment->header.mac) !=
            BRD_OK)
            return -ENOMEM;
        memcpy(page, &segment->header, sizeof(segment->header));
    }
    segment->header.checksum = page_checksum(page);
    memcpy(page, &segment->header, sizeof(segment->header));
    segment->seed = group_seed(segment->header.salt);
    segment->end = SEGMENT_HEADER_BYTES;
    return brd_file_write(io, segment->fd, page, sizeof(page), 0);
}

void
segment_close(const struct brd_io *io, struct segment **segment)
{
    if (*segment == NULL)
        return;
    brd_file_close(io, &(*segment)->fd);
    brd_seal_close(&(*segment)->seal);
    free((*segment)->path);
    free(*segment);
    *segment = NULL;
}

enum segment_verdict
segment_parse(const uint8_t *page, size_t size, struct segment_header *out_header)
{
    struct segment_header header;

    BRD_CHECK(size <= SEGMENT_HEADER_BYTES);
    if (memcmp(page, zeros, size) == 0)
        return SEGMENT_EMPTY;
    if (size < SEGMENT_HEADER_BYTES)
        return SEGMENT_BAD;
    memcpy(&header, page, sizeof(header));
    if (header.magic != SEGMENT_MAGIC)
        return SEGMENT_BAD;
#ifndef BRD_FUZZ
    if (header.checksum != page_checksum(page))
        return SEGMENT_BAD;
#endif
    *out_header = header;
    if (header.format != SEGMENT_FORMAT || (header.flags & ~SEGMENT_FLAGS_KNOWN) != 0)
        return SEGMENT_UNKNOWN;
    return SEGMENT_VALID;
}

static enum brd_status
forged(const char *path, struct brd_wal_error *error)
{
    return error_set(error, BRD_CORRUPT, path, 0,
                     "%s is damaged at offset 0: authentication failed: its header is not what was "
                     "written",
                     path);
}

enum brd_status
segment_verify(const uint8_t *page, const struct segment_header *header,
               const struct brd_keyring *keys, const char *path, struct brd_wal_error *error)
{
    bool sealed = (header->flags & SEGMENT_SEALED) != 0;
    uint8_t bare[SEGMENT_HEADER_BYTES];
    struct brd_seal *seal = NULL;
    enum brd_status status;
    uint8_t mac[16];

    if (sealed == keys_is_plain(header->key_id))
        return forged(path, error);
    status = keys_check(keys, header->key_id, path, error);
    if (!sealed || status != BRD_OK)
        return status;
    status = segment_open_seal(header, keys, &seal);
    if (status == BRD_UNSUPPORTED)
        return error_set(error, status, path, 0,
                         "%s was written by a newer version of Brindle (cipher %u)", path,
                         header->cipher);
    if (status == BRD_OK) {
        memcpy(bare, page, sizeof(bare));
        memset(bare + offsetof(struct segment_header, checksum), 0, sizeof(header->checksum));
        memset(bare + offsetof(struct segment_header, mac), 0, sizeof(header->mac));
        status = brd_seal_mac(seal, brd_bytes(bare, sizeof(bare)), mac);
    }
    brd_seal_close(&seal);
    if (status != BRD_OK)
        return error_set(error, status, path, 0, "out of memory");
#ifdef BRD_FUZZ /* a fuzzer would never get past it */
    return BRD_OK;
#else
    return brd_seal_same(mac, header->mac) ? BRD_OK : forged(path, error);
#endif
}

enum brd_status
segment_open_seal(const struct segment_header *header, const struct brd_keyring *keys,
                  struct brd_seal **out_seal)
{
    *out_seal = NULL;
    if ((header->flags & SEGMENT_SEALED) == 0)
        return BRD_OK;
    return keys_open_segment(keys, header->key_id, header->cipher, header->salt, header->uuid,
                             header->number, out_seal);
}
