/* A shard's deadlines in order: a hierarchical wheel of lists that run through
 * the entries themselves.
 *
 * Never locks: the caller holds the shard's stripe for writing. */
#ifndef BRD_STORE_EXPIRY_H
#define BRD_STORE_EXPIRY_H

#include "store/entry.h"

#define EXPIRY_TICK_SHIFT 4 /* a tick is 16 ms */
#define EXPIRY_LEVELS     7
#define EXPIRY_SLOTS      (EXPIRY_LEVELS * 16)

enum expiry_list {
    EXPIRY_FAR = EXPIRY_SLOTS, /* beyond the wheel's 50 days */
    EXPIRY_SIFT,               /* on the way to finer slots */
    EXPIRY_HELD,               /* of the current tick, looked at and not expired */
    EXPIRY_LISTS
};

/* Chains in a list, once there are many entries: 4. */
#define EXPIRY_LANES_SHIFT 2

struct expiry {
    uint16_t filled[EXPIRY_LEVELS]; /* slots that are not empty, one bit each */
    uint8_t lanes_shift;            /* chains in each list: 1 << this */
    uint8_t turn;                   /* which chain is taken from next */
    uint64_t tick;                  /* everything before has been reaped */
    uint64_t held_ms;               /* earliest deadline in HELD */
    uint64_t far_ms;                /* a bound at or below the deadlines in FAR */
    uint64_t count;                 /* of entries in all lists */
    struct brd_entry *heads[];      /* of each list, chains side by side */
};

/* NULL where memory is out. */
struct expiry *expiry_create(void);

#define EXPIRY_WIDE_MIN 2048

/* Whether there are enough entries for lists with several chains to pay, and it
 * has none; then expiry_widen replaces *expiry, where memory allows. */
static inline bool
expiry_is_narrow(const struct expiry *expiry)
{
    return expiry->count >= EXPIRY_WIDE_MIN && expiry->lanes_shift == 0;
}

void expiry_widen(struct expiry **expiry);

/* No entries are in it, or they die with it. */
void expiry_destroy(struct expiry **expiry);

/* Take up an entry with a deadline that is not far (entry_is_timed). now_ms: 0
 * where no time is known. */
void expiry_add(struct expiry *expiry, struct brd_entry *entry, uint64_t now_ms);

/* Take an entry out; its deadline stays readable. */
void expiry_remove(struct expiry *expiry, struct brd_entry *entry);

/* Take out an expired entry of the earliest slot. Each entry moved to a finer
 * slot on the way costs one of *budget. After a series of them, and before
 * anything else, comes expiry_settle. NULL with *budget 0: go on later; NULL
 * with a rest: none is expired, and out_next_ms (written then) is a bound at or
 * below the earliest deadline, above now_ms; UINT64_MAX: there is none. */
struct brd_entry *
expiry_pop(struct expiry *expiry, uint64_t now_ms, uint32_t *budget, uint64_t *out_next_ms);
void expiry_settle(struct expiry *expiry);

/* One of those whose deadline comes next, or NULL where there is none: the
 * earliest of the first few of the list that comes first. It stays. out_bound_ms:
 * a time at or below all deadlines; 0: none is known. */
struct brd_entry *expiry_nearest(const struct expiry *expiry, uint64_t *out_bound_ms);

#endif
