/* `meta`: the few facts about a data directory that the log itself cannot hold.
 *
 * Two slots, each in a 4 KiB page of its own, written alternately and in place;
 * the valid one with the higher generation counts. A slot is one 512-byte
 * sector, so that an update that was cut short leaves a whole old or a whole
 * new slot; that the other slot is untouched covers disks that know no better. */
#ifndef BRD_WAL_META_H
#define BRD_WAL_META_H

#include "base/file.h"
#include "wal/keys.h"

#include <assert.h>

#define META_MAGIC       UINT64_C(0x4154454d4c445242) /* "BRDLMETA" */
#define META_FORMAT      UINT32_C(1)
#define META_PAGE_BYTES  4096
#define META_SLOT_BYTES  512
#define META_CLEAN       UINT32_C(1) /* stopped in an orderly way; last_version is exact */
#define META_SEALED      UINT32_C(2) /* signed with a key */
#define META_ALL_SEALED  UINT32_C(4) /* and no file of the directory is plain */
#define META_FLAGS_KNOWN (META_CLEAN | META_SEALED | META_ALL_SEALED)

struct meta_slot {
    uint64_t magic;
    uint32_t format;
    uint32_t checksum; /* CRC32C of the sector with this field 0 */
    uint8_t uuid[16];
    uint64_t generation; /* of the slot; rises by one with each update */
    uint32_t epoch;      /* of the last start */
    uint32_t flags;
    uint64_t ceiling;        /* no version at or above it has been issued */
    uint64_t first_segment;  /* the oldest that must be there; 0: none */
    uint64_t newest_segment; /* the newest whose header is durable; 0: none */
    uint64_t synced_lsn;     /* everything before it is durable */
    uint64_t last_version;   /* newest issued (clean), or newest synced */
    uint64_t time_ns;        /* the newest time that was used; never falls */
    uint8_t key_id[16];      /* zeros: not encrypted */
    uint8_t mac[16];         /* of the sector with this and checksum 0; zeros: not encrypted */
    uint8_t
        newest_salt[16]; /* of newest_segment; zeros: not known, as before there was the field */
};
static_assert(sizeof(struct meta_slot) == 144, "on-disk format");

/* What the rest of wal/ works with. */
struct meta {
    struct meta_slot slot;
    bool doubtful;            /* the other slot was damaged: this may be the older one */
    uint8_t slot_keys[2][16]; /* under which each slot is; where one holds nothing, as the other */
    bool slot_all_sealed[2];  /* which of them say META_ALL_SEALED, likewise */
};

/* Read DIR/meta.
 * Returns BRD_OK, BRD_NOT_FOUND (there is none), BRD_CORRUPT, BRD_WRONG_KEY (the slot that
 * counts is under a key that the ring lacks), BRD_UNSUPPORTED, BRD_IO_ERROR or
 * BRD_OUT_OF_MEMORY; error is filled for all but the first two. */
BRD_MUST_CHECK enum brd_status
meta_load(const struct brd_io *io, const char *dir, const struct brd_keyring *keys,
          struct meta *out_meta, struct brd_wal_error *error);

/* Judge the content of a meta file; path is for the error. */
BRD_MUST_CHECK enum brd_status
meta_parse(struct brd_bytes bytes, const char *path, const struct brd_keyring *keys,
           struct meta *out_meta, struct brd_wal_error *error);

/* What is stored from now on is under the ring's current key, if any (NULL is fine); without
 * one META_ALL_SEALED goes. out_seal, for brd_seal_close, goes to the two below; NULL without a key.
 * BRD_OK or BRD_OUT_OF_MEMORY (then nothing has changed). */
BRD_MUST_CHECK enum brd_status
meta_use_key(struct meta *meta, const struct brd_keyring *keys, struct brd_seal **out_seal);

/* Which segment is the newest; salt NULL: it is not known, or there is none. */
void meta_set_newest(struct meta_slot *slot, uint64_t number, const uint8_t *salt);
bool meta_knows_newest(const struct meta_slot *slot);

/* What a slot says, as the front of the log shows it. */
void meta_tell(const struct meta *meta, struct brd_wal_identity *out_identity);

/* Make DIR/meta as one durable step. */
BRD_MUST_CHECK int
meta_create(const struct brd_io *io, const char *dir, struct meta *meta, struct brd_seal *seal);

/* Write the next generation into the other slot of the open file, durably. */
BRD_MUST_CHECK int
meta_store(const struct brd_io *io, int fd, struct meta *meta, struct brd_seal *seal);

#endif
