/* Counted, immutable byte strings: how a large value is shared by the store,
 * the log queue and sockets without being copied.
 *
 * The creator fills the bytes before anybody else has the pointer; then they
 * never change. Threads: any; the count is atomic. */
#ifndef BRD_BASE_BLOB_H
#define BRD_BASE_BLOB_H

#include "base/bytes.h"

#include <stdatomic.h>

struct brd_blob {
    _Atomic uint32_t refs; /* relaxed up; acquire-release down, pairs with itself */
    uint32_t magic;
    size_t size;
    uint8_t data[];
};

/* A blob of size bytes with one reference, its bytes undefined, or NULL where
 * memory is out. */
struct brd_blob *brd_blob_create(size_t size);

/* A blob with a copy of the bytes, or NULL. */
struct brd_blob *brd_blob_copy(struct brd_bytes bytes);

/* One more reference; returns blob. */
struct brd_blob *brd_blob_ref(struct brd_blob *blob);

/* Give a reference up; the last one frees. NULL is fine. */
void brd_blob_unref(struct brd_blob *blob);

/* Bytes that the allocation takes. */
size_t brd_blob_footprint(const struct brd_blob *blob);

static inline struct brd_bytes
brd_blob_bytes(const struct brd_blob *blob)
{
    return brd_bytes(blob->data, blob->size);
}

#endif
