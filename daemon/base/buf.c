#include "base/buf.h"

#include <stdlib.h>

#define BUF_FIRST_ROOM 256

void
brd_buf_init(struct brd_buf *buf)
{
    *buf = (struct brd_buf){ 0 };
}

void
brd_buf_fini(struct brd_buf *buf)
{
    free(buf->data);
    *buf = (struct brd_buf){ 0 };
}

void
brd_buf_clear(struct brd_buf *buf)
{
    buf->size = 0;
    buf->failed = false;
}

uint8_t *
brd_buf_reserve(struct brd_buf *buf, size_t extra)
{
    size_t room = buf->room == 0 ? BUF_FIRST_ROOM : buf->room;
    uint8_t *data;

    if (buf->failed || extra > SIZE_MAX / 4 - buf->size) {
        buf->failed = true;
        return NULL;
    }
    while (room < buf->size + extra)
        room *= 2;
    if (room != buf->room) {
        data = realloc(buf->data, room);
        if (data == NULL) {
            buf->failed = true;
            return NULL;
        }
        buf->data = data;
        buf->room = room;
    }
    return buf->data + buf->size;
}

void
brd_buf_append(struct brd_buf *buf, const void *data, size_t size)
{
    uint8_t *to = brd_buf_reserve(buf, size);

    if (to == NULL || size == 0)
        return;
    memcpy(to, data, size);
    buf->size += size;
}

void
brd_buf_append_varint(struct brd_buf *buf, uint64_t value)
{
    uint8_t *to = brd_buf_reserve(buf, BRD_VARINT_MAX);

    if (to != NULL)
        buf->size += brd_varint_put(to, value);
}
