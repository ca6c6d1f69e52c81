#include "base/blob.h"

#include "base/check.h"

#include <malloc.h>
#include <stdlib.h>

#define BLOB_MAGIC 0x626c6f62u

struct brd_blob *
brd_blob_create(size_t size)
{
    struct brd_blob *blob;

    if (size > SIZE_MAX / 2)
        return NULL;
    blob = malloc(sizeof(*blob) + size);
    if (blob == NULL)
        return NULL;
    atomic_init(&blob->refs, 1);
    blob->magic = BLOB_MAGIC;
    blob->size = size;
    return blob;
}

struct brd_blob *
brd_blob_copy(struct brd_bytes bytes)
{
    struct brd_blob *blob = brd_blob_create(bytes.size);

    if (blob != NULL && bytes.size > 0)
        memcpy(blob->data, bytes.data, bytes.size);
    return blob;
}

struct brd_blob *
brd_blob_ref(struct brd_blob *blob)
{
    uint32_t refs = atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);

    BRD_CHECK(blob->magic == BLOB_MAGIC);
    BRD_CHECK(refs > 0 && refs < UINT32_MAX / 2);
    return blob;
}

void
brd_blob_unref(struct brd_blob *blob)
{
    uint32_t refs;

    if (blob == NULL)
        return;
    BRD_CHECK(blob->magic == BLOB_MAGIC);
    refs = atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel);
    BRD_CHECK(refs > 0);
    if (refs == 1) {
        blob->magic = 0;
        free(blob);
    }
}

size_t
brd_blob_footprint(const struct brd_blob *blob)
{
    return malloc_usable_size((void *)(uintptr_t)blob);
}
