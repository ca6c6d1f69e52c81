/* A growable byte buffer with a sticky error: append without checking each
 * step, ask brd_buf_failed once at the end. Embedded; one thread at a time. */
#ifndef BRD_BASE_BUF_H
#define BRD_BASE_BUF_H

#include "base/bytes.h"
#include "base/status.h"

struct brd_buf {
    uint8_t *data; /* owned */
    size_t size;   /* bytes used */
    size_t room;   /* bytes allocated */
    bool failed;   /* an allocation failed; the content is incomplete */
};

void brd_buf_init(struct brd_buf *buf);
void brd_buf_fini(struct brd_buf *buf);

/* Forget the content and the error; keep the memory. */
void brd_buf_clear(struct brd_buf *buf);

/* Make room for extra more bytes and return where they go (valid until the
 * next call), or NULL with the error set. Does not change size. */
uint8_t *brd_buf_reserve(struct brd_buf *buf, size_t extra);

void brd_buf_append(struct brd_buf *buf, const void *data, size_t size);
void brd_buf_append_varint(struct brd_buf *buf, uint64_t value);

static inline struct brd_bytes
brd_buf_bytes(const struct brd_buf *buf)
{
    return brd_bytes(buf->data, buf->size);
}

#endif
