/* The group: the unit of writing, of validity and of checksums.
 *
 *   header, 64 bytes | records | zeros up to a multiple of 8
 *
 * A record is varint(version - the version before it), varint(size), payload.
 * The first record's predecessor is the header's base_version, which equals the
 * last version of the group before: the versions chain the groups together as
 * the positions do.
 *
 * In a segment that is encrypted the records are, and 16 bytes follow them (before the padding)
 * by which the reader knows that header and records are what was written, here: the tag.
 * The checksum covers what is on the disk, so where the log ends and what is damaged
 * does not depend on any key.
 *
 * One checksum for a group and not for each record: a group is written as one
 * and counts as one, so a finer checksum could only tell *which* part of
 * something worthless is bad; it would cost 4 bytes and a call per record.
 *
 * Position (lsn): bytes of groups since the directory was made; headers of
 * segments do not count. All numbers are little-endian (docs/formats.md). */
#ifndef BRD_WAL_GROUP_H
#define BRD_WAL_GROUP_H

#include "base/bytes.h"

#include <assert.h>

#define GROUP_MAGIC       UINT32_C(0x47445242) /* "BRDG" */
#define GROUP_ALIGN       8
#define GROUP_LENGTH_MAX  (UINT32_C(1) << 31)
#define GROUP_SEALED      UINT32_C(1) /* the records are encrypted, a tag follows them */
#define GROUP_FLAGS_KNOWN GROUP_SEALED
#define GROUP_TAG_BYTES   ((size_t)16)
#define RECORD_FRAME_MAX  ((size_t)2 * BRD_VARINT_MAX)

struct group_header {
    uint32_t magic;
    uint32_t checksum; /* CRC32C of the segment's salt, then of all behind this field */
    uint32_t flags;
    uint32_t length; /* bytes of records, neither tag nor padding counted */
    uint32_t records;
    uint32_t epoch;
    uint64_t lsn;        /* of the header's first byte */
    uint64_t synced_lsn; /* everything before it was synced when this was written */
    uint64_t base_version;
    uint64_t last_version;
    uint64_t reserved; /* 0 */
};
static_assert(sizeof(struct group_header) == 64, "on-disk format");

/* Bytes on disk of a plain group with so many bytes of records. */
static inline uint64_t
group_bytes(uint64_t length)
{
    return (sizeof(struct group_header) + length + GROUP_ALIGN - 1) & ~(uint64_t)(GROUP_ALIGN - 1);
}

/* Bytes on disk of a group with this header. */
static inline uint64_t
group_size(const struct group_header *header)
{
    bool sealed = (header->flags & GROUP_SEALED) != 0;

    return group_bytes(header->length + (sealed ? (uint64_t)GROUP_TAG_BYTES : 0));
}

/* What a tag vouches for beside the records: the header, without its checksum. */
static inline void
group_aad(const struct group_header *header, uint8_t out[sizeof(struct group_header)])
{
    struct group_header bound = *header;

    bound.checksum = 0;
    memcpy(out, &bound, sizeof(bound));
}

/* What the checksum begins with, for a segment with this salt. */
uint32_t group_seed(const uint8_t salt[16]);

/* What is at a place in a segment. */
enum group_verdict {
    GROUP_VALID,
    GROUP_BAD,     /* not a whole group of this place and life */
    GROUP_UNKNOWN, /* valid, but with flags of a later version of the format */
};

/* Is it worth reading `length` bytes more? Looks at a header (64 bytes) alone:
 * true if magic and position are right. */
bool group_header_plausible(const uint8_t *at, uint64_t lsn);

/* Judge the group that bytes begin with. out_header is filled for GROUP_VALID
 * and GROUP_UNKNOWN. */
enum group_verdict
group_parse(struct brd_bytes bytes, uint32_t seed, uint64_t lsn, struct group_header *out_header);

/* Write a record's frame; out has room for RECORD_FRAME_MAX. Returns its size. */
size_t record_put_frame(uint8_t *out, uint64_t delta, uint64_t size);

/* Take the next record from the front of *in. *version is the one before it and
 * becomes its own. False where the bytes are no record. */
bool record_get(struct brd_bytes *in, uint64_t *version, struct brd_bytes *out_payload);

#endif
