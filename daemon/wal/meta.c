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

static int
slot_encode(struct meta_slot *slot, struct brd_seal *seal, uint8_t sector[META_SLOT_BYTES])
{
    BRD_CHECK((seal != NULL) == ((slot->flags & META_SEALED) != 0));
    slot->magic = META_MAGIC;
    slot->format = META_FORMAT;
    slot->checksum = 0;
    memset(slot->mac, 0, sizeof(slot->mac));
    memset(sector, 0, META_SLOT_BYTES);
    memcpy(sector, slot, sizeof(*slot));
    if (seal != NULL) {
        if (brd_seal_mac(seal, brd_bytes(sector, META_SLOT_BYTES), slot->mac) != BRD_OK)
            return -ENOMEM;
        memcpy(sector, slot, sizeof(*slot));
    }
    slot->checksum = slot_checksum(sector);
    memcpy(sector, slot, sizeof(*slot));
    return 0;
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

static bool
slot_is_known(const struct meta_slot *slot)
{
    return slot->format == META_FORMAT && (slot->flags & ~META_FLAGS_KNOWN) == 0;
}

/* Was a valid slot written by somebody who has the key that it names? */
static enum brd_status
slot_verify(const uint8_t *sector, const struct meta_slot *slot, const struct brd_keyring *keys,
            const char *path, uint64_t offset, struct brd_wal_error *error)
{
    bool sealed = (slot->flags & META_SEALED) != 0;
    bool same =
        sealed != keys_is_plain(slot->key_id) && (sealed || (slot->flags & META_ALL_SEALED) == 0);
    uint8_t bare[META_SLOT_BYTES];
    struct brd_seal *seal = NULL;
    enum brd_status status = BRD_OK;
    uint8_t mac[16];

    if (same && sealed) {
        memcpy(bare, sector, sizeof(bare));
        memset(bare + offsetof(struct meta_slot, checksum), 0, sizeof(slot->checksum));
        memset(bare + offsetof(struct meta_slot, mac), 0, sizeof(slot->mac));
        status = keys_open_meta(keys, slot->key_id, slot->uuid, &seal);
        if (status == BRD_OK)
            status = brd_seal_mac(seal, brd_bytes(bare, sizeof(bare)), mac);
        brd_seal_close(&seal);
        if (status != BRD_OK)
            return error_set(error, status, path, offset, "out of memory");
#ifndef BRD_FUZZ /* a fuzzer would never get past it */
        same = brd_seal_same(mac, slot->mac);
#endif
    }
    if (same)
        return BRD_OK;
    return error_set(error, BRD_CORRUPT, path, offset,
                     "%s is damaged at offset %llu: authentication failed: the slot there is not "
                     "what was written",
                     path, (unsigned long long)offset);
}

/* Which slot a generation lives in. */
static uint64_t
slot_offset(uint64_t generation)
{
    return generation % 2 * META_PAGE_BYTES;
}

/* What slot i is from now on. */
static void
note_slot(struct meta *meta, int i, const struct meta_slot *slot)
{
    memcpy(meta->slot_keys[i], slot->key_id, sizeof(meta->slot_keys[i]));
    meta->slot_all_sealed[i] = (slot->flags & META_ALL_SEALED) != 0;
}

enum brd_status
meta_parse(struct brd_bytes bytes, const char *path, const struct brd_keyring *keys,
           struct meta *out_meta, struct brd_wal_error *error)
{
    enum brd_status status;
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
    if (!slot_is_known(&slots[best]))
        return error_set(error, BRD_UNSUPPORTED, path, (uint64_t)best * META_PAGE_BYTES,
                         "%s was written by a newer version of Brindle (format %u)", path,
                         slots[best].format);
    status = keys_check(keys, slots[best].key_id, path, error);
    /* The older slot says nothing that counts: after a change of keys its own may be gone. But
     * where there is one, a slot that its owner did not write is as bad as the other. */
    for (i = 0; status == BRD_OK && i < 2; i++)
        if (verdicts[i] == SLOT_VALID && slot_is_known(&slots[i]) &&
            brd_keyring_has(keys, slots[i].key_id))
            status = slot_verify(bytes.data + (uint64_t)i * META_PAGE_BYTES, &slots[i], keys, path,
                                 (uint64_t)i * META_PAGE_BYTES, error);
    if (status == BRD_OK && brd_keyring_only(keys) && keys_is_plain(slots[best].key_id))
        status = error_set(error, BRD_CORRUPT, path, (uint64_t)best * META_PAGE_BYTES,
                           "%s is damaged at offset %llu: it is not encrypted, and the key file "
                           "says that only what is encrypted counts (only)",
                           path, (unsigned long long)best * META_PAGE_BYTES);
    if (status != BRD_OK)
        return status;
    out_meta->slot = slots[best];
    out_meta->doubtful = verdicts[1 - best] == SLOT_BAD;
    for (i = 0; i < 2; i++)
        note_slot(out_meta, i, &slots[verdicts[i] == SLOT_VALID ? i : best]);
    return BRD_OK;
}

static char *
meta_path(const char *dir)
{
    char *path = NULL;

    return asprintf(&path, "%s/meta", dir) < 0 ? NULL : path;
}

enum brd_status
meta_load(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
          struct meta *out_meta, struct brd_wal_error *error)
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
        status = meta_parse(brd_bytes(bytes, size), path, keys, out_meta, error);
out:
    free(path);
    return status;
}

void
meta_set_newest(struct meta_slot *slot, uint64_t number, const uint8_t *salt)
{
    slot->newest_segment = number;
    if (salt != NULL)
        memcpy(slot->newest_salt, salt, sizeof(slot->newest_salt));
    else
        memset(slot->newest_salt, 0, sizeof(slot->newest_salt));
}

bool
meta_knows_newest(const struct meta_slot *slot)
{
    static const uint8_t none[sizeof(slot->newest_salt)];

    return memcmp(slot->newest_salt, none, sizeof(none)) != 0;
}

void
meta_tell(const struct meta *meta, struct brd_wal_identity *out_identity)
{
    const struct meta_slot *slot = &meta->slot;

    *out_identity = (struct brd_wal_identity){
        .epoch = slot->epoch,
        .generation = slot->generation,
        .ceiling = slot->ceiling,
        .first_segment = slot->first_segment,
        .newest_segment = slot->newest_segment,
        .synced_lsn = slot->synced_lsn,
        .last_version = slot->last_version,
        .slot = (uint32_t)(slot->generation % 2),
        .other_damaged = meta->doubtful,
        .clean = (slot->flags & META_CLEAN) != 0,
        .all_sealed = (slot->flags & META_ALL_SEALED) != 0,
    };
    memcpy(out_identity->uuid, slot->uuid, sizeof(slot->uuid));
    memcpy(out_identity->key_ids, meta->slot_keys, sizeof(out_identity->key_ids));
}

enum brd_status
meta_use_key(struct meta *meta, const struct brd_keyring *keys, struct brd_seal **out_seal)
{
    struct meta_slot *slot = &meta->slot;
    const uint8_t *key_id = brd_keyring_current(keys);
    bool plain = keys_is_plain(key_id);
    enum brd_status status = BRD_OK;

    *out_seal = NULL;
    if (!plain)
        status = keys_open_meta(keys, key_id, slot->uuid, out_seal);
    if (status != BRD_OK)
        return status;
    memcpy(slot->key_id, key_id, sizeof(slot->key_id));
    slot->flags =
        plain ? slot->flags & ~(META_SEALED | META_ALL_SEALED) : slot->flags | META_SEALED;
    return BRD_OK;
}

int
meta_create(const struct brd_io *io, const char *dir, struct meta *meta, struct brd_seal *seal)
{
    uint8_t bytes[META_BYTES] = { 0 };
    char *path = meta_path(dir);
    int result;

    if (path == NULL)
        return -ENOMEM;
    meta->slot.generation = 1;
    result = slot_encode(&meta->slot, seal, bytes + slot_offset(1));
    if (result == 0)
        result = brd_file_replace(io, path, bytes, sizeof(bytes));
    note_slot(meta, 0, &meta->slot);
    note_slot(meta, 1, &meta->slot);
    free(path);
    return result;
}

int
meta_store(const struct brd_io *io, int fd, struct meta *meta, struct brd_seal *seal)
{
    uint8_t sector[META_SLOT_BYTES];
    int result;

    meta->slot.generation++;
    result = slot_encode(&meta->slot, seal, sector);
    if (result != 0)
        return result;
    note_slot(meta, (int)(meta->slot.generation % 2), &meta->slot);
    result = brd_file_write(io, fd, sector, sizeof(sector), slot_offset(meta->slot.generation));
    CRASH_POINT("meta_written");
    return result != 0 ? result : io->fdatasync(io->ctx, fd);
}
