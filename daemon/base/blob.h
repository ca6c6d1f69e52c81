/* Counted, immutable byte strings: how a large value is shared by the store,
 * the log queue and sockets without being copied.
 *
 * The creator fills the bytes before anybody else has the pointer; then they
 * never change. Threads: any; the count is atomic.
 *
 * From BRD_BLOB_APART bytes on, the bytes have an allocation of their own: the
 * sizes that programs like, 16 KiB, 64 KiB, 1 MiB, are the allocator's classes,
 * and a header before them would put each into the next one, a fifth or a
 * quarter larger. */
#ifndef BRD_BASE_BLOB_H
#define BRD_BASE_BLOB_H

#include "base/bytes.h"

#include <stdatomic.h>
#include <stdint.h>

#define BRD_BLOB_APART 8192

struct brd_blob {
    _Atomic uint32_t refs;    /* relaxed up; acquire-release down, pairs with itself */
    _Atomic uint32_t keepers; /* relaxed; see brd_blob_keep */
    uint32_t magic;
    uint32_t size;
    uint8_t *data;           /* owned, where it is not behind the header */
    _Atomic uint64_t *meter; /* borrowed; NULL: counted nowhere. See brd_blob_count */
};

/* A blob of size bytes (less than 2 GiB) with one reference, its bytes undefined, or NULL
 * where memory is out. */
struct brd_blob *brd_blob_create(size_t size);

/* A blob with a copy of the bytes, or NULL. */
struct brd_blob *brd_blob_copy(struct brd_bytes bytes);

/* One more reference; returns blob. */
struct brd_blob *brd_blob_ref(struct brd_blob *blob);

/* Give a reference up; the last one frees. NULL is fine. */
void brd_blob_unref(struct brd_blob *blob);

/* Whoever can find the bytes again, an entry of the store, says so while it has its
 * reference, and gives up both at once. All other references are those of somebody who is
 * about to be done with it: a socket, the log's queue. */
void brd_blob_keep(struct brd_blob *blob);
void brd_blob_drop(struct brd_blob *blob);

/* Does nobody keep it, so that its memory is there only until it has been sent or logged?
 * The caller holds a reference. May be out of date at once. */
static inline bool
brd_blob_is_dropped(const struct brd_blob *blob)
{
    return atomic_load_explicit(&blob->keepers, memory_order_relaxed) == 0;
}

/* Bytes that the allocator gave for it. */
size_t brd_blob_footprint(const struct brd_blob *blob);

/* Add the footprint to *meter (relaxed), and take it away with the last
 * reference, wherever that is given up: so memory is counted for as long as it
 * is there. Once for a blob: a further call does nothing. The caller holds a
 * reference, and calls for one blob exclude each other; the meter outlives it. */
void brd_blob_count(struct brd_blob *blob, _Atomic uint64_t *meter);

static inline struct brd_bytes
brd_blob_bytes(const struct brd_blob *blob)
{
    return brd_bytes(blob->data, blob->size);
}

#endif
