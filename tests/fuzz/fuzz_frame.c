/* Framing: a stream of frames, received in pieces.
 *
 * Whatever arrives, the answer for a longer part of it never contradicts the
 * one for a shorter part: once a frame is whole, too long or bad it stays so,
 * and once the length is known it stays the same. The frames found are those
 * that a plain walk finds. */
#include "proto/frame.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT 1000

static void
must(int condition)
{
    if (!condition)
        abort();
}

/* Every split of the first bytes; and the length, read another way. */
static void
check_prefix(const uint8_t *data, size_t size)
{
    enum brd_frame_result last = BRD_FRAME_MORE;
    uint64_t last_body = 0;
    size_t last_head = 0;
    size_t most = size < LIMIT + 10 ? size : LIMIT + 10;
    size_t i;

    for (i = 0; i <= most; i++) {
        /* of exactly this size, so that the address sanitizer sees a read behind it */
        uint8_t *part = malloc(i == 0 ? 1 : i);
        enum brd_frame_result result;
        uint64_t body;
        size_t head;

        must(part != NULL);
        memcpy(part, data, i);
        result = brd_frame_parse(part, i, LIMIT, &head, &body);
        free(part);
        must(last == BRD_FRAME_MORE || result == last);
        must(last_head == 0 || (head == last_head && body == last_body));
        must(head <= i && head <= BRD_FRAME_PREFIX_MAX);
        must((result == BRD_FRAME_OK) == (head > 0 && body <= LIMIT && head + body <= i));
        must((result == BRD_FRAME_TOO_LONG) == (head > 0 && body > LIMIT));
        must(result != BRD_FRAME_BAD || (head == 0 && i >= BRD_FRAME_PREFIX_MAX));
        must(result == BRD_FRAME_BAD || i < BRD_FRAME_PREFIX_MAX || head > 0);
        last = result;
        last_head = head;
        last_body = body;
    }
    if (last_head > 0) {
        uint8_t again[BRD_FRAME_PREFIX_MAX];
        size_t n = brd_frame_prefix_write(again, last_body);

        must(n == brd_frame_prefix_size(last_body));
        must(n <= last_head); /* shorter where the one received was padded */
        must(n < last_head || memcmp(again, data, n) == 0);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t head;
    uint64_t body;

    check_prefix(data, size);
    while (brd_frame_parse(data, size, LIMIT, &head, &body) == BRD_FRAME_OK) {
        data += head + (size_t)body;
        size -= head + (size_t)body;
        if (size > 0 && size < 64)
            check_prefix(data, size);
    }
    return 0;
}
