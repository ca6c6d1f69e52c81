/* A growing queue of bytes: added at the end, taken from the front. */
#ifndef BENCH_BUFFER_H
#define BENCH_BUFFER_H

#include "base.h"

/* Nothing is ever queued beyond this. */
#define BUFFER_BYTES_MAX (UINT64_C(256) << 20)

/* A buffer of zeros is empty and valid. Once memory or the maximum ran out
 * `failed` stays set, and what is added is dropped. */
struct buffer {
    uint8_t *data;
    size_t start; /* first byte not yet taken */
    size_t end;
    size_t capacity;
    bool failed;
};

void buffer_fini(struct buffer *buffer);

/* Room for len more bytes at the end; NULL if there is none. */
uint8_t *buffer_reserve_slow(struct buffer *buffer, size_t len);

static inline uint8_t *
buffer_reserve(struct buffer *buffer, size_t len)
{
    if (__builtin_expect(buffer->capacity - buffer->end >= len && buffer->data != NULL, 1))
        return buffer->data + buffer->end;
    return buffer_reserve_slow(buffer, len);
}

static inline size_t
buffer_len(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

static inline void
buffer_take(struct buffer *buffer, size_t len)
{
    BENCH_CHECK(len <= buffer->end - buffer->start);
    buffer->start += len;
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
}

#endif
