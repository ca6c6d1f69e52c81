/* Varint length prefixes. See frame.h. A prefix longer than needed (padded with
 * zero groups) is accepted up to five bytes, as every protobuf reader does. */
#include "proto/frame.h"

enum brd_frame_result
brd_frame_parse(const uint8_t *data, size_t size, uint64_t limit, size_t *out_head,
                uint64_t *out_body)
{
    uint64_t body = 0;
    size_t i;

    *out_head = 0;
    *out_body = 0;
    for (i = 0; i < BRD_FRAME_PREFIX_MAX; i++) {
        if (i == size)
            return BRD_FRAME_MORE;
        body |= (uint64_t)(data[i] & 0x7f) << (7 * i);
        if ((data[i] & 0x80) == 0)
            break;
    }
    if (i == BRD_FRAME_PREFIX_MAX)
        return BRD_FRAME_BAD;
    *out_head = i + 1;
    *out_body = body;
    if (body > limit)
        return BRD_FRAME_TOO_LONG;
    return size - (i + 1) < body ? BRD_FRAME_MORE : BRD_FRAME_OK;
}

size_t
brd_frame_prefix_size(uint64_t body)
{
    size_t size = 1;

    while (body >= 0x80) {
        body >>= 7;
        size++;
    }
    return size;
}

size_t
brd_frame_prefix_write(uint8_t *out, uint64_t body)
{
    size_t size = 0;

    while (body >= 0x80) {
        out[size++] = (uint8_t)(body | 0x80);
        body >>= 7;
    }
    out[size++] = (uint8_t)body;
    return size;
}
