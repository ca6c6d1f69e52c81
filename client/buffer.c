/* Byte queue: see buffer.h. Growth doubles, so that n bytes cost O(n) copies in
 * all; the live bytes are moved to the front only where they take at most half of
 * the memory, so that a slow reader cannot make each append a move. */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

bool
buffer_grow(struct buffer *buffer, size_t room)
{
    size_t live = buffer_size(buffer);
    size_t capacity = buffer->capacity == 0 ? BUFFER_FIRST_CAPACITY : buffer->capacity;
    uint8_t *data;

    if (room > SIZE_MAX / 4 - live)
        return false;
    if (live <= buffer->capacity / 2 && buffer->capacity - live >= room) {
        if (live != 0)
            memmove(buffer->data, buffer_front(buffer), live);
        buffer->start = 0;
        buffer->end = live;
        return true;
    }
    while (capacity - live < room)
        capacity *= 2;
    data = malloc(capacity);
    if (data == NULL)
        return false;
    if (live != 0)
        memcpy(data, buffer_front(buffer), live);
    free(buffer->data);
    buffer->data = data;
    buffer->start = 0;
    buffer->end = live;
    buffer->capacity = capacity;
    return true;
}

void
buffer_clear(struct buffer *buffer, size_t keep)
{
    if (buffer->capacity > keep)
        buffer_fini(buffer);
    buffer->start = 0;
    buffer->end = 0;
}

void
buffer_fini(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){ 0 };
}
