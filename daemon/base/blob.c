#include "base/blob.h"

#include "base/check.h"

#include <malloc.h>
#include <stdlib.h>

#define BLOB_MAGIC 0x626c6f62u

struct brd_blob *
brd_blob_create(size_t size)
{
    struct brd_blob *blob;

    if (size > UINT32_MAX / 2)
        return NULL;
    blob = malloc(size < BRD_BLOB_APART ? sizeof(*blob) + size : sizeof(*blob));
    if (blob == NULL)
        return NULL;
    blob->data = size < BRD_BLOB_APART ? (uint8_t *)(blob + 1) : malloc(size);
    if (blob->data == NULL) {
        free(blob);
        return NULL;
    }
    atomic_init(&blob->refs, 1);
    blob->magic = BLOB_MAGIC;
    atomic_init(&blob->keepers, 0);
    blob->size = (uint32_t)size;
    blob->meter = NULL;
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
        if (blob->meter != NULL)
            atomic_fetch_sub_explicit(blob->meter, brd_blob_footprint(blob), memory_order_relaxed);
        blob->magic = 0;
        if (blob->size >= BRD_BLOB_APART)
            free(blob->data);
        free(blob);
    }
}

void
brd_blob_keep(struct brd_blob *blob)
{
    uint32_t keepers = atomic_fetch_add_explicit(&blob->keepers, 1, memory_order_relaxed);

    BRD_CHECK(blob->magic == BLOB_MAGIC);
    BRD_CHECK(keepers < UINT32_MAX / 2);
}

void
brd_blob_drop(struct brd_blob *blob)
{
    if (blob == NULL)
        return;
    BRD_CHECK(atomic_fetch_sub_explicit(&blob->keepers, 1, memory_order_relaxed) > 0);
    brd_blob_unref(blob);
}

size_t
brd_blob_footprint(const struct brd_blob *blob)
{
    size_t bytes = malloc_usable_size((void *)(uintptr_t)blob);

    return blob->size < BRD_BLOB_APART ? bytes : bytes + malloc_usable_size(blob->data);
}

void
brd_blob_count(struct brd_blob *blob, _Atomic uint64_t *meter)
{
    BRD_CHECK(blob->magic == BLOB_MAGIC);
    if (blob->meter != NULL) {
        BRD_CHECK(blob->meter == meter);
        return;
    }
    blob->meter = meter;
    atomic_fetch_add_explicit(meter, brd_blob_footprint(blob), memory_order_relaxed);
}
