/* An entry: key, value and what is known about them, in one allocation.
 *
 *    0        8      12      28     36         40
 *   +--------+------+-------+------+----------+-----+-------+
 *   |version | meta | links | blob | key size | key | value |
 *   +--------+------+-------+------+----------+-----+-------+
 *    always  always  DEADLINE BLOB   key >= 255       not BLOB
 *
 * Parts that the meta word does not announce take no room; what follows moves
 * up. The fixed part has 12 bytes, not 16, because of the allocator's classes:
 * a 16-byte key with a 100-byte value fits into 128 bytes, not into 160.
 *
 * meta, from the lowest bit:
 *   14  size of the value, where it is inline
 *    8  size of the key; 255: the 4-byte part holds it
 *    3  type (0: string)
 *    3  DEADLINE, BLOB, one reserved for a chain of older versions
 *    4  the mark of eviction (evict.h). Readers set it under a shared stripe, so
 *       the word is atomic; of two that do so at once one may be lost, and that
 *       changes nothing but the mark. Relaxed everywhere; the stripe orders.
 *
 * links: two words of 64 bits, unaligned. Each holds a pointer in 43 bits (all
 * entries are aligned to 16, and addresses have 47 bits) and 21 bits of the
 * deadline. The pointers belong to expiry.c. A deadline of 2^42 - 1 ms (in
 * 2109) or more is far: its entry is in no list, and the pointers' bits hold
 * the deadline instead.
 *
 * Owned by the table, by a guard's chain of buried entries, by the graveyard,
 * or by the caller who made it; a buried entry's version holds the chain. Never
 * locks: whoever has the stripe. */
#ifndef BRD_STORE_ENTRY_H
#define BRD_STORE_ENTRY_H

#include "base/check.h"
#include "store/store.h"

#include <assert.h>
#include <malloc.h>
#include <stdatomic.h>

struct brd_entry {
    uint64_t version;
    _Atomic uint32_t meta;
    uint8_t rest[];
};

#define ENTRY_VALUE_BITS 14
#define ENTRY_KEY_BITS   8
#define ENTRY_VALUE_MASK ((1u << ENTRY_VALUE_BITS) - 1)
#define ENTRY_KEY_MASK   ((1u << ENTRY_KEY_BITS) - 1)
#define ENTRY_KEY_LONG   ENTRY_KEY_MASK
#define ENTRY_TYPE_SHIFT (ENTRY_VALUE_BITS + ENTRY_KEY_BITS)
#define ENTRY_DEADLINE   (1u << (ENTRY_TYPE_SHIFT + 3))
#define ENTRY_BLOB       (1u << (ENTRY_TYPE_SHIFT + 4))
#define ENTRY_MARK_SHIFT 28
#define ENTRY_MARK_MASK  15u

/* What is 0 in a string without deadline, blob or older versions. */
#define ENTRY_TYPE_AND_FLAGS ((1u << ENTRY_MARK_SHIFT) - (1u << ENTRY_TYPE_SHIFT))

#define ENTRY_FIXED_BYTES    12
#define ENTRY_LINKS_BYTES    16
#define ENTRY_BLOB_BYTES     8
#define ENTRY_KEY_SIZE_BYTES 4

/* The byte budget, in the allocator's classes ... 64 80 96 112 128 160 192. */
static_assert(offsetof(struct brd_entry, rest) == ENTRY_FIXED_BYTES, "12 bytes each");
static_assert(sizeof(struct brd_blob *) == ENTRY_BLOB_BYTES, "a pointer");
static_assert(ENTRY_FIXED_BYTES + 16 + 32 <= 64, "16 + 32: class 64");
static_assert(ENTRY_FIXED_BYTES + ENTRY_LINKS_BYTES + 16 + 32 <= 80, "with a deadline: 80");
static_assert(ENTRY_FIXED_BYTES + 16 + 100 <= 128, "16 + 100: class 128");
static_assert(ENTRY_FIXED_BYTES + ENTRY_LINKS_BYTES + 16 + 100 <= 160, "with a deadline: 160");
static_assert(BRD_STORE_BLOB_MIN <= ENTRY_VALUE_MASK + 1, "inline sizes fit");
static_assert(ENTRY_TYPE_SHIFT + 3 + 3 == ENTRY_MARK_SHIFT, "the mark is what is left");

/* Pointers in 43 bits. */
#define POINTER_BITS  43
#define POINTER_SHIFT 4
#define POINTER_MASK  ((UINT64_C(1) << POINTER_BITS) - 1)

static inline uint64_t
pointer_pack(const void *pointer)
{
    return (uint64_t)(uintptr_t)pointer >> POINTER_SHIFT;
}

static inline void *
pointer_unpack(uint64_t packed)
{
    return (void *)(uintptr_t)((packed & POINTER_MASK) << POINTER_SHIFT);
}

#define ENTRY_DEADLINE_FAR ((UINT64_C(1) << 42) - 1)

static inline uint32_t
entry_meta(const struct brd_entry *entry)
{
    return atomic_load_explicit(&entry->meta, memory_order_relaxed);
}

static inline size_t
entry_key_offset(uint32_t meta)
{
    size_t offset = 0;

    if (BRD_UNLIKELY(meta & (ENTRY_DEADLINE | ENTRY_BLOB))) {
        if (meta & ENTRY_DEADLINE)
            offset += ENTRY_LINKS_BYTES;
        if (meta & ENTRY_BLOB)
            offset += ENTRY_BLOB_BYTES;
    }
    return offset;
}

/* The key, as meta describes it. */
static inline struct brd_bytes
entry_key_of(const struct brd_entry *entry, uint32_t meta)
{
    const uint8_t *at = entry->rest + entry_key_offset(meta);
    size_t size = (meta >> ENTRY_VALUE_BITS) & ENTRY_KEY_MASK;

    if (BRD_UNLIKELY(size == ENTRY_KEY_LONG)) {
        size = brd_load_le32(at);
        at += ENTRY_KEY_SIZE_BYTES;
    }
    return brd_bytes(at, size);
}

static inline struct brd_bytes
entry_key(const struct brd_entry *entry)
{
    return entry_key_of(entry, entry_meta(entry));
}

/* Where entry keeps its blob pointer; only with ENTRY_BLOB. */
static inline struct brd_blob *
entry_blob_of(const struct brd_entry *entry, uint32_t meta)
{
    struct brd_blob *blob;

    memcpy(&blob, entry->rest + ((meta & ENTRY_DEADLINE) ? ENTRY_LINKS_BYTES : 0),
           ENTRY_BLOB_BYTES);
    return blob;
}

/* The value's blob, or NULL where it is inline. */
static inline struct brd_blob *
entry_blob(const struct brd_entry *entry)
{
    uint32_t meta = entry_meta(entry);

    return (meta & ENTRY_BLOB) ? entry_blob_of(entry, meta) : NULL;
}

static inline size_t
entry_value_size(const struct brd_entry *entry)
{
    uint32_t meta = entry_meta(entry);

    return (meta & ENTRY_BLOB) ? entry_blob_of(entry, meta)->size : meta & ENTRY_VALUE_MASK;
}

/* Short strings, compared in place: a call to memcmp costs more than this. */
static inline bool
bytes_same(const uint8_t *a, const uint8_t *b, size_t size)
{
    size_t i;

    if (BRD_UNLIKELY(size < 8)) {
        for (i = 0; i < size; i++)
            if (a[i] != b[i])
                return false;
        return true;
    }
    if (BRD_UNLIKELY(size > 64))
        return memcmp(a, b, size) == 0;
    for (i = 0; i + 8 < size; i += 8)
        if (brd_load_le64(a + i) != brd_load_le64(b + i))
            return false;
    return brd_load_le64(a + size - 8) == brd_load_le64(b + size - 8);
}

static inline bool
entry_has_key(const struct brd_entry *entry, struct brd_bytes key)
{
    struct brd_bytes own = entry_key(entry);

    return own.size == key.size && bytes_same(own.data, key.data, key.size);
}

static inline bool
entry_has_room_for_deadline(const struct brd_entry *entry)
{
    return (entry_meta(entry) & ENTRY_DEADLINE) != 0;
}

/* Words 0 and 1 of the links; only with ENTRY_DEADLINE. */
static inline uint64_t
entry_link(const struct brd_entry *entry, unsigned word)
{
    return brd_load_le64(entry->rest + word * 8);
}

static inline void
entry_set_link(struct brd_entry *entry, unsigned word, uint64_t value)
{
    brd_store_le64(entry->rest + word * 8, value);
}

/* In ms, of an entry that has room for one; 0: none. */
static inline uint64_t
entry_unpack_deadline(const struct brd_entry *entry)
{
    uint64_t low = entry_link(entry, 0);
    uint64_t high = entry_link(entry, 1);
    uint64_t deadline_ms = low >> POINTER_BITS | (high >> POINTER_BITS) << 21;

    if (BRD_UNLIKELY(deadline_ms == ENTRY_DEADLINE_FAR))
        deadline_ms = (low & POINTER_MASK) | high << POINTER_BITS;
    return deadline_ms;
}

/* In ms; 0: none. */
static inline uint64_t
entry_deadline(const struct brd_entry *entry)
{
    return BRD_LIKELY(!entry_has_room_for_deadline(entry)) ? 0 : entry_unpack_deadline(entry);
}

/* Whether expiry.c keeps the entry: it has a deadline that is not far. */
static inline bool
entry_is_timed(const struct brd_entry *entry)
{
    uint64_t deadline_ms = entry_deadline(entry);

    return deadline_ms != 0 && deadline_ms < ENTRY_DEADLINE_FAR;
}

static inline bool
entry_is_expired(const struct brd_entry *entry, uint64_t now_ms)
{
    uint64_t deadline_ms = entry_deadline(entry);

    return deadline_ms != 0 && deadline_ms <= now_ms;
}

/* Set the deadline of an entry that is in no list. Without room: only 0. */
void entry_set_deadline(struct brd_entry *entry, uint64_t deadline_ms);

static inline void
entry_view(const struct brd_entry *entry, struct brd_view *out_view)
{
    uint32_t meta = entry_meta(entry);
    struct brd_bytes key = entry_key_of(entry, meta);

    out_view->version = entry->version;
    out_view->deadline_ms = 0;
    out_view->blob = NULL;
    out_view->value = brd_bytes(key.data + key.size, meta & ENTRY_VALUE_MASK);
    if (BRD_LIKELY((meta & (ENTRY_DEADLINE | ENTRY_BLOB)) == 0))
        return;
    if ((meta & ENTRY_DEADLINE) != 0)
        out_view->deadline_ms = entry_unpack_deadline(entry);
    if ((meta & ENTRY_BLOB) != 0) {
        out_view->blob = entry_blob_of(entry, meta);
        out_view->value = brd_blob_bytes(out_view->blob);
    }
}

/* What the allocator gave for the entry, without its blob, which may outlive it
 * and is counted by itself. */
static inline size_t
entry_bytes(const struct brd_entry *entry)
{
    return malloc_usable_size((void *)(uintptr_t)entry);
}

/* Can the value be overwritten by one of value_size bytes, in the same memory?
 * Only that of a plain string without deadline, and only where a new entry would
 * take as much: a class of the allocator never begins between multiples of 16. */
static inline bool
entry_has_room(const struct brd_entry *entry, size_t value_size)
{
    uint32_t meta = entry_meta(entry);
    size_t now = meta & ENTRY_VALUE_MASK;
    struct brd_bytes key;
    size_t bytes;

    if ((meta & ENTRY_TYPE_AND_FLAGS) != 0)
        return false;
    if (BRD_LIKELY(now == value_size))
        return true;
    key = entry_key_of(entry, meta);
    bytes = (size_t)(key.data + key.size - (const uint8_t *)entry);
    return value_size < BRD_STORE_BLOB_MIN &&
           (bytes + now + 15) / 16 == (bytes + value_size + 15) / 16 &&
           bytes + value_size <= entry_bytes(entry);
}

/* Of an entry that has room. Keeps its mark. */
static inline void
entry_overwrite(struct brd_entry *entry, struct brd_bytes value, uint64_t version)
{
    uint32_t meta = entry_meta(entry);
    struct brd_bytes key = entry_key_of(entry, meta);

    entry->version = version;
    atomic_store_explicit(&entry->meta, (meta & ~ENTRY_VALUE_MASK) | (uint32_t)value.size,
                          memory_order_relaxed);
    if (value.size > 0)
        memcpy((uint8_t *)(uintptr_t)key.data + key.size, value.data, value.size);
}

static inline uint32_t
entry_mark(const struct brd_entry *entry)
{
    return entry_meta(entry) >> ENTRY_MARK_SHIFT;
}

/* Under the stripe, shared or not. */
static inline void
entry_set_mark(struct brd_entry *entry, uint32_t mark)
{
    uint32_t meta = entry_meta(entry) & ~(ENTRY_MARK_MASK << ENTRY_MARK_SHIFT);

    atomic_store_explicit(&entry->meta, meta | mark << ENTRY_MARK_SHIFT, memory_order_relaxed);
}

/* Chains of dead entries. */
static inline void
entry_chain(struct brd_entry *entry, struct brd_entry **chain)
{
    entry->version = (uint64_t)(uintptr_t)*chain;
    *chain = entry;
}

static inline struct brd_entry *
entry_unchain(struct brd_entry **chain)
{
    struct brd_entry *entry = *chain;

    *chain = (struct brd_entry *)(uintptr_t)entry->version;
    return entry;
}

/* Free an entry that nobody has any more. */
void entry_free(struct brd_entry *entry);

#endif
