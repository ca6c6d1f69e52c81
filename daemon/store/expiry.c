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
 * and usually two or three. What turns out to be expired on the way is taken out
 * at once, so that a reaper that comes late, or seldom, moves less. The slot of the current tick holds what is due;
 * entries in it that still have some ms to live go to HELD until the earliest
 * of them is due. Deadlines that had passed when they were added, or before a
 * step of the clock, are due as well.
 *
 * Why not a heap: eight bytes and a four-byte index for each entry, and a dozen
 * cold entries touched for each removal. The lists cost 16 bytes in the entry,
 * which the deadline itself shares, and touch two neighbours.
 *
 * Links: pointers in 43 bits beside the deadline's bits (entry.h). Word 0 leads
 * to the next; word 1 to the one before, or, in the first of a chain, holds the
 * chain's number + 1: lower than any pointer. 0: in no list.
 *
 * Following such links means to wait for memory at each step, since nothing that
 * expires is in the cache; and it is most of what the reaper does. So where there
 * are many entries a list is several chains, taken from in turn, and the next of
 * each is prefetched when its first is taken. For the same reason a pop
 * does not touch the next one: its word 1 stays wrong until expiry_settle, which
 * only ever concerns the first ones of SIFT and of the current tick. With one
 * chain and without this, reaping took three times as long (docs/store.md). */
#include "store/expiry.h"

#include "store/heap.h"

#define CHAINS_MAX (EXPIRY_LISTS << EXPIRY_LANES_SHIFT)
static_assert(CHAINS_MAX < 0x10000 >> POINTER_SHIFT, "no packed pointer is that low");

#define WHEEL_BITS (4 * EXPIRY_LEVELS)

#define NEAREST_LOOKED_AT 16u

static struct expiry *
create(uint8_t lanes_shift)
{
    size_t chains = (size_t)EXPIRY_LISTS << lanes_shift;
    struct expiry *expiry =
        heap_alloc_zeroed(sizeof(*expiry) + chains * sizeof(struct brd_entry *));

    if (expiry == NULL)
        return NULL;
    expiry->lanes_shift = lanes_shift;
    expiry->held_ms = UINT64_MAX;
    expiry->far_ms = UINT64_MAX;
    return expiry;
}

struct expiry *
expiry_create(void)
{
    return create(0);
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

static inline unsigned
lanes_of(const struct expiry *expiry)
{
    return 1u << expiry->lanes_shift;
}

static inline bool
list_is_empty(const struct expiry *expiry, unsigned list)
{
    struct brd_entry *const *heads = &expiry->heads[list << expiry->lanes_shift];
    unsigned i;

    for (i = 0; i < lanes_of(expiry); i++)
        if (heads[i] != NULL)
            return false;
    return true;
}

static inline void
set_filled(struct expiry *expiry, unsigned list, bool filled)
{
    if (list >= EXPIRY_SLOTS)
        return;
    if (filled)
        expiry->filled[list / 16] |= (uint16_t)(1u << list % 16);
    else
        expiry->filled[list / 16] &= (uint16_t) ~(1u << list % 16);
}

/* The list's chain for an entry. Neighbours in memory go to different ones. */
static inline unsigned
chain_for(const struct expiry *expiry, unsigned list, const struct brd_entry *entry)
{
    uintptr_t address = (uintptr_t)entry;
    unsigned lane = (unsigned)(address >> 6 ^ address >> 12) & (lanes_of(expiry) - 1);

    return list << expiry->lanes_shift | lane;
}

static void
list_push(struct expiry *expiry, unsigned list, struct brd_entry *entry)
{
    unsigned chain = chain_for(expiry, list, entry);
    struct brd_entry *next = expiry->heads[chain];

    set_pointer_bits(entry, 0, pointer_pack(next));
    set_pointer_bits(entry, 1, chain + 1);
    if (next != NULL)
        set_pointer_bits(next, 1, pointer_pack(entry));
    expiry->heads[chain] = entry;
    set_filled(expiry, list, true);
}

static void
list_unlink(struct expiry *expiry, struct brd_entry *entry)
{
    struct brd_entry *next = pointer_unpack(entry_link(entry, 0));
    uint64_t before = pointer_bits(entry, 1);

    BRD_CHECK(before != 0);
    if (before <= CHAINS_MAX) {
        unsigned chain = (unsigned)before - 1;
        unsigned list = chain >> expiry->lanes_shift;

        BRD_CHECK(expiry->heads[chain] == entry);
        expiry->heads[chain] = next;
        if (next == NULL && list_is_empty(expiry, list))
            set_filled(expiry, list, false);
    } else {
        set_pointer_bits(pointer_unpack(before), 0, pointer_pack(next));
    }
    if (next != NULL)
        set_pointer_bits(next, 1, before);
    set_pointer_bits(entry, 0, 0);
    set_pointer_bits(entry, 1, 0);
}

/* Take the first entry of one of the list's chains, in turn; NULL: it is empty.
 * Leaves word 1 of the next one as it is. */
static struct brd_entry *
list_pop(struct expiry *expiry, unsigned list)
{
    struct brd_entry **heads = &expiry->heads[list << expiry->lanes_shift];
    unsigned i;

    for (i = 0; i < lanes_of(expiry); i++) {
        struct brd_entry **head = &heads[expiry->turn++ & (lanes_of(expiry) - 1)];
        struct brd_entry *entry = *head;

        if (entry == NULL)
            continue;
        *head = pointer_unpack(entry_link(entry, 0));
        __builtin_prefetch(*head, 1);
        __builtin_prefetch((const char *)*head + BRD_CACHE_LINE);
        if (*head == NULL && list_is_empty(expiry, list))
            set_filled(expiry, list, false);
        set_pointer_bits(entry, 0, 0);
        set_pointer_bits(entry, 1, 0);
        return entry;
    }
    return NULL;
}

/* The first of each of the list's chains: say so in word 1. */
static void
list_mark_first(struct expiry *expiry, unsigned list)
{
    unsigned chain = list << expiry->lanes_shift;
    unsigned i;

    for (i = 0; i < lanes_of(expiry); i++, chain++)
        if (expiry->heads[chain] != NULL)
            set_pointer_bits(expiry->heads[chain], 1, chain + 1);
}

/* Make list, which is not empty, the content of to, which is. */
static void
list_move(struct expiry *expiry, unsigned list, unsigned to)
{
    struct brd_entry **from = &expiry->heads[list << expiry->lanes_shift];
    size_t bytes = lanes_of(expiry) * sizeof(struct brd_entry *);

    BRD_CHECK(list_is_empty(expiry, to));
    if (list_is_empty(expiry, list))
        return;
    memcpy(&expiry->heads[to << expiry->lanes_shift], from, bytes);
    memset(from, 0, bytes);
    set_filled(expiry, list, false);
    set_filled(expiry, to, true);
    list_mark_first(expiry, to);
}

void
expiry_widen(struct expiry **expiry_at)
{
    struct expiry *old = *expiry_at;
    struct expiry *expiry = create(EXPIRY_LANES_SHIFT);
    unsigned list;

    if (expiry == NULL)
        return;
    memcpy(expiry->filled, old->filled, sizeof(expiry->filled));
    expiry->tick = old->tick;
    expiry->held_ms = old->held_ms;
    expiry->far_ms = old->far_ms;
    expiry->count = old->count;
    for (list = 0; list < EXPIRY_LISTS; list++) {
        expiry->heads[list << EXPIRY_LANES_SHIFT] = old->heads[list];
        list_mark_first(expiry, list);
    }
    expiry_destroy(expiry_at);
    *expiry_at = expiry;
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
    if (list_is_empty(expiry, EXPIRY_FAR) || deadline_ms < expiry->far_ms)
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
    if (list == EXPIRY_FAR && !list_is_empty(expiry, EXPIRY_FAR))
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
        bool spread = true;

        entry = list_pop(expiry, EXPIRY_SIFT);
        if (entry == NULL) {
            spread = false;
            entry = list_pop(expiry, due_slot(expiry));
        }
        if (entry != NULL) {
            uint64_t deadline_ms = entry_deadline(entry);

            if (deadline_ms <= now_ms) {
                BRD_CHECK(expiry->count > 0);
                expiry->count--;
                return entry;
            }
            if (spread || deadline_ms >> EXPIRY_TICK_SHIFT > expiry->tick) {
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
        if (list_is_empty(expiry, EXPIRY_HELD))
            expiry->held_ms = UINT64_MAX;
        *out_next_ms = expiry->held_ms < next_ms ? expiry->held_ms : next_ms;
        return NULL;
    }
    return NULL;
}

void
expiry_settle(struct expiry *expiry)
{
    list_mark_first(expiry, EXPIRY_SIFT);
    list_mark_first(expiry, due_slot(expiry));
}

/* The list that comes next, or EXPIRY_LISTS, and when it begins, in ticks. */
static unsigned
first_list(const struct expiry *expiry, uint64_t *out_start)
{
    unsigned level;

    *out_start = 0;
    if (!list_is_empty(expiry, due_slot(expiry)))
        return due_slot(expiry);
    if (!list_is_empty(expiry, EXPIRY_HELD))
        return EXPIRY_HELD;
    for (level = 0; level < EXPIRY_LEVELS; level++) {
        unsigned digit = (unsigned)(expiry->tick >> 4 * level & 15);
        unsigned later = expiry->filled[level] & ~((2u << digit) - 1);

        if (later != 0) {
            unsigned slot = (unsigned)__builtin_ctz(later);

            /* What is still being sifted may lie before. */
            if (list_is_empty(expiry, EXPIRY_SIFT))
                *out_start = ((expiry->tick >> 4 * level & ~UINT64_C(15)) | slot) << 4 * level;
            return level * 16 + slot;
        }
        if (level == 0 && !list_is_empty(expiry, EXPIRY_SIFT))
            return EXPIRY_SIFT;
    }
    return list_is_empty(expiry, EXPIRY_FAR) ? EXPIRY_LISTS : EXPIRY_FAR;
}

struct brd_entry *
expiry_nearest(const struct expiry *expiry, uint64_t *out_bound_ms)
{
    uint64_t start;
    unsigned list = first_list(expiry, &start);
    struct brd_entry *nearest = NULL;
    unsigned lane;
    unsigned i;

    *out_bound_ms = start << EXPIRY_TICK_SHIFT;
    for (lane = 0; list != EXPIRY_LISTS && lane < lanes_of(expiry); lane++) {
        struct brd_entry *entry = expiry->heads[list << expiry->lanes_shift | lane];

        for (i = 0; i < NEAREST_LOOKED_AT >> expiry->lanes_shift && entry != NULL; i++) {
            if (nearest == NULL || entry_deadline(entry) < entry_deadline(nearest))
                nearest = entry;
            entry = pointer_unpack(entry_link(entry, 0));
        }
    }
    return nearest;
}
