/* Counters that one thread writes and any thread reads.
 *
 * A plain load, add and store, relaxed: no lock prefix on the hot path, no lost
 * update because there is one writer, and no torn read. Blocks of counters are
 * aligned to cache lines by their owners so that threads do not share lines. */
#ifndef BRD_BASE_COUNTER_H
#define BRD_BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t brd_counter;

static inline void
brd_counter_add(brd_counter *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline uint64_t
brd_counter_get(const brd_counter *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
