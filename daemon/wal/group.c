#include "wal/group.h"

#include "base/crc32c.h"

#include <stddef.h>

#define COVERED_FROM offsetof(struct group_header, flags)

uint32_t
group_seed(const uint8_t salt[16])
{
    return brd_crc32c(0, salt, 16);
}

bool
group_header_plausible(const uint8_t *at, uint64_t lsn)
{
    struct group_header header;

    memcpy(&header, at, sizeof(header));
    return header.magic == GROUP_MAGIC && header.lsn == lsn && header.length <= GROUP_LENGTH_MAX;
}

enum group_verdict
group_parse(struct brd_bytes bytes, uint32_t seed, uint64_t lsn, struct group_header *out_header)
{
    struct group_header header;
    uint64_t size;

    if (bytes.size < sizeof(header) || !group_header_plausible(bytes.data, lsn))
        return GROUP_BAD;
    memcpy(&header, bytes.data, sizeof(header));
    size = group_size(&header);
    if (size > bytes.size)
        return GROUP_BAD;
#ifndef BRD_FUZZ /* a fuzzer would never get past it */
    if (brd_crc32c(seed, bytes.data + COVERED_FROM, (size_t)size - COVERED_FROM) != header.checksum)
        return GROUP_BAD;
#else
    (void)seed;
#endif
    *out_header = header;
    return (header.flags & ~GROUP_FLAGS_KNOWN) != 0 ? GROUP_UNKNOWN : GROUP_VALID;
}

size_t
record_put_frame(uint8_t *out, uint64_t delta, uint64_t size)
{
    size_t n = brd_varint_put(out, delta);

    return n + brd_varint_put(out + n, size);
}

bool
record_get(struct brd_bytes *in, uint64_t *version, struct brd_bytes *out_payload)
{
    uint64_t delta;
    uint64_t size;

    if (!brd_varint_get(in, &delta) || !brd_varint_get(in, &size))
        return false;
    if (delta == 0 || delta > UINT64_MAX - *version)
        return false;
    if (!brd_bytes_take(in, size, out_payload))
        return false;
    *version += delta;
    return true;
}
