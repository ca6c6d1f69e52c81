/* A byte queue in one allocation: appended at the end, consumed at the front. */
#ifndef BRINDLE_CLIENT_BUFFER_H
#define BRINDLE_CLIENT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUFFER_FIRST_CAPACITY ((size_t)4 * 1024)

/* data[start, end) is live; end <= capacity. All zero is an empty buffer. */
struct buffer {
    uint8_t *data; /* owned */
    size_t start;
    size_t end;
    size_t capacity;
};

static inline size_t
buffer_size(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

static inline uint8_t *
buffer_front(const struct buffer *buffer)
{
    return buffer->data + buffer->start;
}

/* The slow half of buffer_reserve: move or grow. */
bool buffer_grow(struct buffer *buffer, size_t room);

/* Make room for so many bytes behind the end. False: out of memory, nothing
 * changed. May move the data. */
static inline bool
buffer_reserve(struct buffer *buffer, size_t room)
{
    return buffer->capacity - buffer->end >= room || buffer_grow(buffer, room);
}

/* Drop n <= buffer_size bytes at the front. */
static inline void
buffer_consume(struct buffer *buffer, size_t n)
{
    buffer->start += n;
    if (buffer->start == buffer->end) {
        buffer->start = 0;
        buffer->end = 0;
    }
}

/* Drop everything; give the memory back if it is more than keep. */
void buffer_clear(struct buffer *buffer, size_t keep);

void buffer_fini(struct buffer *buffer);

#endif
