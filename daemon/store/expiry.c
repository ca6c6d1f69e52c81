/* Deadlines in order.
 *
 * Time is cut into ticks of 16 ms. Level 0 has a slot for each of the 16 ticks
 * that share all but the last hexadecimal digit with the current one, level 1
 * one for each of the 16 groups of 16, and so on, for seven digits (50 days);
 * what lies beyond waits in FAR.
 *
 *   tick     0x6a3f1 0x25        d = 0x6a3f127 -> level 0, slot 7
 *   level        ...10           d = 0x6a3f1a3 -> level 1, slot a
 *
 * An entry is on the level of the highest digit in which its tick differs from
 * the current one. When the current tick enters a slot of a higher level, its
 * list becomes SIFT and is spread over finer slots one by one, within the
 * caller's budget; so an entry moves at most six times, however many there are,
 * and usually two or three. The slot of the current tick holds what is due;
 * entries in it that still have some ms to live go to HELD until the earliest
 * of them is due. Deadlines that had passed when they were added, or before a
 * step of the clock, are due as well.
 *
 * Why not a heap: eight bytes and a four-byte index for each entry, and a dozen
 * cold entries touched for each removal. The lists cost 16 bytes in the entry,
 * which the deadline itself shares, and touch two neighbours.
 *
 * Links: pointers in 43 bits beside the deadline's bits (entry.h). Word 0 leads
 * to the next; word 1 to the one before, or, in the first of a list, holds the
 * list's number + 1: lower than any pointer. 0: in no list. */
#include "store/expiry.h"

#include "store/heap.h"

static_assert(EXPIRY_LISTS < 0x10000 >> POINTER_SHIFT, "no packed pointer is that low");

#define WHEEL_BITS (4 * EXPIRY_LEVELS)

struct expiry *
expiry_create(void)
{
    struct expiry *expiry = heap_alloc_zeroed(sizeof(*expiry));

    if (expiry == NULL)
        return NULL;
    expiry->held_ms = UINT64_MAX;
    expiry->far_ms = UINT64_MAX;
    return expiry;
}

void
expiry_destroy(struct expiry **expiry)
{
    free(*expiry);
    *expiry = NULL;
}

static inline void
set_pointer_bits(struct brd_entry *entry, unsigned word, uint64_t bits)
{
    entry_set_link(entry, word, (entry_link(entry, word) & ~POINTER_MASK) | bits);
}

static inline uint64_t
pointer_bits(const struct brd_entry *entry, unsigned word)
{
    return entry_link(entry, word) & POINTER_MASK;
}

static void
list_push(struct expiry *expiry, unsigned list, struct brd_entry *entry)
{
    struct brd_entry *next = expiry->heads[list];

    set_pointer_bits(entry, 0, pointer_pack(next));
    set_pointer_bits(entry, 1, list + 1);
    if (next != NULL)
        set_pointer_bits(next, 1, pointer_pack(entry));
    expiry->heads[list] = entry;
    if (list < EXPIRY_SLOTS)
        expiry->filled[list / 16] |= (uint16_t)(1u << list % 16);
}

static void
list_unlink(struct expiry *expiry, struct brd_entry *entry)
{
    struct brd_entry *next = pointer_unpack(entry_link(entry, 0));
    uint64_t before = pointer_bits(entry, 1);

    BRD_CHECK(before != 0);
    if (before <= EXPIRY_LISTS) {
        unsigned list = (unsigned)before - 1;

        BRD_CHECK(expiry->heads[list] == entry);
        expiry->heads[list] = next;
        if (next == NULL && list < EXPIRY_SLOTS)
            expiry->filled[list / 16] &= (uint16_t) ~(1u << list % 16);
    } else {
        set_pointer_bits(pointer_unpack(before), 0, pointer_pack(next));
    }
    if (next != NULL)
        set_pointer_bits(next, 1, before);
    set_pointer_bits(entry, 0, 0);
    set_pointer_bits(entry, 1, 0);
}

/* Make list, which is not empty, the content of to, which is. */
static void
list_move(struct expiry *expiry, unsigned list, unsigned to)
{
    struct brd_entry *first = expiry->heads[list];

    BRD_CHECK(expiry->heads[to] == NULL);
    expiry->heads[list] = NULL;
    if (list < EXPIRY_SLOTS)
        expiry->filled[list / 16] &= (uint16_t) ~(1u << list % 16);
    expiry->heads[to] = first;
    if (first == NULL)
        return;
    set_pointer_bits(first, 1, to + 1);
    if (to < EXPIRY_SLOTS)
        expiry->filled[to / 16] |= (uint16_t)(1u << to % 16);
}

static inline unsigned
due_slot(const struct expiry *expiry)
{
    return (unsigned)(expiry->tick & 15);
}

/* Link an entry where it belongs as of the current tick. */
static void
place(struct expiry *expiry, struct brd_entry *entry)
{
    uint64_t deadline_ms = entry_deadline(entry);
    uint64_t tick = deadline_ms >> EXPIRY_TICK_SHIFT;
    unsigned level;

    if (tick <= expiry->tick) {
        list_push(expiry, due_slot(expiry), entry);
        return;
    }
    level = (63u - (unsigned)__builtin_clzll(tick ^ expiry->tick)) / 4;
    if (level < EXPIRY_LEVELS) {
        list_push(expiry, level * 16 + (unsigned)(tick >> 4 * level & 15), entry);
        return;
    }
    if (expiry->heads[EXPIRY_FAR] == NULL || deadline_ms < expiry->far_ms)
        expiry->far_ms = deadline_ms;
    list_push(expiry, EXPIRY_FAR, entry);
}

void
expiry_add(struct expiry *expiry, struct brd_entry *entry, uint64_t now_ms)
{
    BRD_DCHECK(entry_is_timed(entry));
    /* An empty wheel may turn freely, so that it need not catch up later. */
    if (expiry->count == 0)
        expiry->tick = now_ms >> EXPIRY_TICK_SHIFT;
    expiry->count++;
    place(expiry, entry);
}

void
expiry_remove(struct expiry *expiry, struct brd_entry *entry)
{
    BRD_CHECK(expiry->count > 0);
    expiry->count--;
    list_unlink(expiry, entry);
}

/* Whether the tick could move on to the next slot that is not empty, not beyond
 * now; otherwise it moves to now, and out_next_ms is when that slot begins. */
static bool
advance(struct expiry *expiry, uint64_t now_ms, uint64_t *out_next_ms)
{
    uint64_t now = now_ms >> EXPIRY_TICK_SHIFT;
    uint64_t start = UINT64_MAX;
    unsigned list = EXPIRY_FAR;
    unsigned level;

    for (level = 0; level < EXPIRY_LEVELS; level++) {
        unsigned digit = (unsigned)(expiry->tick >> 4 * level & 15);
        unsigned later = expiry->filled[level] & ~((2u << digit) - 1);

        BRD_DCHECK((expiry->filled[level] & ((2u << digit) - 1)) == 0);
        if (later != 0) {
            unsigned slot = (unsigned)__builtin_ctz(later);

            list = level * 16 + slot;
            start = (expiry->tick >> 4 * level & ~UINT64_C(15)) | slot;
            start <<= 4 * level;
            break;
        }
    }
    if (list == EXPIRY_FAR && expiry->heads[EXPIRY_FAR] != NULL)
        start = expiry->far_ms >> (EXPIRY_TICK_SHIFT + WHEEL_BITS) << WHEEL_BITS;
    if (start > now) {
        if (now > expiry->tick)
            expiry->tick = now;
        *out_next_ms = start == UINT64_MAX ? UINT64_MAX : start << EXPIRY_TICK_SHIFT;
        return false;
    }
    if (start > expiry->tick)
        expiry->tick = start;
    if (list == EXPIRY_FAR)
        expiry->far_ms = UINT64_MAX;
    if (level > 0)
        list_move(expiry, list, EXPIRY_SIFT);
    return true;
}

struct brd_entry *
expiry_pop(struct expiry *expiry, uint64_t now_ms, uint32_t *budget, uint64_t *out_next_ms)
{
    struct brd_entry *entry;
    uint64_t next_ms;

    while (*budget > 0) {
        entry = expiry->heads[EXPIRY_SIFT];
        if (entry != NULL) {
            list_unlink(expiry, entry);
            place(expiry, entry);
            --*budget;
            continue;
        }
        entry = expiry->heads[due_slot(expiry)];
        if (entry != NULL) {
            uint64_t deadline_ms = entry_deadline(entry);

            if (deadline_ms <= now_ms) {
                expiry_remove(expiry, entry);
                return entry;
            }
            list_unlink(expiry, entry);
            if (deadline_ms >> EXPIRY_TICK_SHIFT > expiry->tick) {
                place(expiry, entry);
            } else {
                list_push(expiry, EXPIRY_HELD, entry);
                if (deadline_ms < expiry->held_ms)
                    expiry->held_ms = deadline_ms;
            }
            --*budget;
            continue;
        }
        if (expiry->held_ms <= now_ms) {
            expiry->held_ms = UINT64_MAX;
            list_move(expiry, EXPIRY_HELD, due_slot(expiry));
            continue;
        }
        if (advance(expiry, now_ms, &next_ms))
            continue;
        if (expiry->heads[EXPIRY_HELD] == NULL)
            expiry->held_ms = UINT64_MAX;
        *out_next_ms = expiry->held_ms < next_ms ? expiry->held_ms : next_ms;
        return NULL;
    }
    return NULL;
}
