/* Growing byte queue: what was taken is reclaimed before it grows. */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 4096

void
buffer_fini(struct buffer *buffer)
{
    free(buffer->data);
    memset(buffer, 0, sizeof(*buffer));
}

uint8_t *
buffer_reserve_slow(struct buffer *buffer, size_t len)
{
    size_t used = buffer->end - buffer->start;

    if (buffer->failed)
        return NULL;
    if (len > BUFFER_BYTES_MAX || used + len > BUFFER_BYTES_MAX) {
        buffer->failed = true;
        return NULL;
    }
    /* Only where as much is free as is moved: n bytes cost O(n) copies in all. */
    if (buffer->start > 0 && used <= buffer->start) {
        memmove(buffer->data, buffer->data + buffer->start, used);
        buffer->start = 0;
        buffer->end = used;
    }
    if (buffer->data == NULL || buffer->capacity - buffer->end < len) {
        size_t capacity = buffer->capacity < CAPACITY_MIN ? CAPACITY_MIN : buffer->capacity;
        while (capacity - buffer->end < len)
            capacity *= 2;
        uint8_t *data = realloc(buffer->data, capacity);
        if (data == NULL) {
            buffer->failed = true;
            return NULL;
        }
        buffer->data = data;
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->end;
}
