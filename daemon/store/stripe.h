/* The locks of a store: an array of rwlocks, each alone on its cache line.
 *
 * Which keys a stripe guards is the keyspaces' business (store.c). Several are
 * taken in rising order. */
#ifndef BRD_STORE_STRIPE_H
#define BRD_STORE_STRIPE_H

#include "base/lock.h"
#include "store/store.h"

struct stripes {
    struct brd_rwlock *locks; /* owned; BRD_RANK_STRIPE, order: the index */
    uint32_t count;           /* power of two */
};

BRD_MUST_CHECK enum brd_status stripes_init(struct stripes *stripes, uint32_t count);
void stripes_fini(struct stripes *stripes);

static inline void
stripe_lock(const struct stripes *stripes, uint32_t i, enum brd_guard_mode mode) BRD_NO_ANALYSIS
{
    if (mode == BRD_GUARD_WRITE)
        brd_rwlock_write(&stripes->locks[i]);
    else
        brd_rwlock_read(&stripes->locks[i]);
}

static inline void
stripe_unlock(const struct stripes *stripes, uint32_t i, enum brd_guard_mode mode) BRD_NO_ANALYSIS
{
    if (mode == BRD_GUARD_WRITE)
        brd_rwlock_write_done(&stripes->locks[i]);
    else
        brd_rwlock_read_done(&stripes->locks[i]);
}

#endif
