/* Making, copying and freeing entries; the layout is drawn in entry.h. */
#include "store/entry.h"

#include "store/heap.h"

/* An entry with its meta word, its key in place and no deadline, or NULL. */
static struct brd_entry *
make(struct brd_bytes key, size_t value_size, bool is_blob, bool has_deadline)
{
    bool is_long = key.size >= ENTRY_KEY_LONG;
    uint32_t meta = (uint32_t)(is_long ? ENTRY_KEY_LONG : key.size) << ENTRY_VALUE_BITS;
    struct brd_entry *entry;
    uint8_t *at;

    BRD_CHECK(key.size <= BRD_STORE_KEY_MAX);
    BRD_CHECK(is_blob || value_size < BRD_STORE_BLOB_MIN);
    if (has_deadline)
        meta |= ENTRY_DEADLINE;
    meta |= is_blob ? ENTRY_BLOB : (uint32_t)value_size;
    entry =
        heap_alloc(ENTRY_FIXED_BYTES + entry_key_offset(meta) +
                   (is_long ? ENTRY_KEY_SIZE_BYTES : 0) + key.size + (is_blob ? 0 : value_size));
    if (entry == NULL)
        return NULL;
    BRD_CHECK(pointer_unpack(pointer_pack(entry)) == entry);
    entry->version = 0;
    atomic_init(&entry->meta, meta);
    if (has_deadline)
        memset(entry->rest, 0, ENTRY_LINKS_BYTES);
    at = entry->rest + entry_key_offset(meta);
    if (is_long) {
        brd_store_le32(at, (uint32_t)key.size);
        at += ENTRY_KEY_SIZE_BYTES;
    }
    if (key.size > 0)
        memcpy(at, key.data, key.size);
    return entry;
}

struct brd_entry *
brd_entry_create(struct brd_bytes key, struct brd_bytes value, struct brd_blob *blob,
                 bool has_deadline)
{
    struct brd_entry *entry = make(key, value.size, blob != NULL, has_deadline);

    BRD_CHECK(blob == NULL || value.size == 0);
    if (entry == NULL)
        return NULL;
    if (blob != NULL) {
        brd_blob_keep(blob);
        memcpy(entry->rest + (has_deadline ? ENTRY_LINKS_BYTES : 0), &blob, ENTRY_BLOB_BYTES);
    } else if (value.size > 0) {
        struct brd_bytes own = entry_key(entry);

        memcpy((uint8_t *)(uintptr_t)own.data + own.size, value.data, value.size);
    }
    return entry;
}

void
brd_entry_discard(struct brd_entry **entry)
{
    if (*entry != NULL)
        entry_free(*entry);
    *entry = NULL;
}

void
entry_set_deadline(struct brd_entry *entry, uint64_t deadline_ms)
{
    uint64_t coded = deadline_ms < ENTRY_DEADLINE_FAR ? deadline_ms : ENTRY_DEADLINE_FAR;
    uint64_t low = coded << POINTER_BITS;
    uint64_t high = coded >> 21 << POINTER_BITS;

    if (!entry_has_room_for_deadline(entry)) {
        BRD_CHECK(deadline_ms == 0);
        return;
    }
    if (coded == ENTRY_DEADLINE_FAR) {
        low |= deadline_ms & POINTER_MASK;
        high |= deadline_ms >> POINTER_BITS;
    }
    entry_set_link(entry, 0, low);
    entry_set_link(entry, 1, high);
}

void
entry_free(struct brd_entry *entry)
{
    brd_blob_drop(entry_blob(entry));
    free(entry);
}
