/* Versions: 64-bit Unix nanoseconds, unique and strictly increasing.
 *
 * next = max(min(clock, ceiling - guard), last + 1). The ceiling is a bound
 * that meta (wal/) has made durable; a start begins above it, so that no
 * version is ever issued twice, not even one whose write was lost. The guard
 * leaves room for a billion versions while the ceiling is being moved, and so
 * nobody ever waits for it. Memory-only daemons have no ceiling.
 *
 * Threads: any; one atomic word. */
#ifndef BRD_BASE_SEQUENCER_H
#define BRD_BASE_SEQUENCER_H

#include <stdatomic.h>
#include <stdint.h>

#define BRD_SEQUENCER_GUARD UINT64_C(1000000000)

struct brd_sequencer {
    _Atomic uint64_t last;    /* newest version issued; acquire-release */
    _Atomic uint64_t ceiling; /* UINT64_MAX: none; relaxed */
};

/* The first version will be above first. */
void brd_sequencer_init(struct brd_sequencer *sequencer, uint64_t first);

/* A new version for a write at now_ns (the clock's wall time). */
uint64_t brd_sequencer_next(struct brd_sequencer *sequencer, uint64_t now_ns);

/* Never issue version or anything below it again. */
void brd_sequencer_raise(struct brd_sequencer *sequencer, uint64_t version);

/* The bound has been made durable. Only grows. */
void brd_sequencer_set_ceiling(struct brd_sequencer *sequencer, uint64_t ceiling);

static inline uint64_t
brd_sequencer_last(const struct brd_sequencer *sequencer)
{
    return atomic_load_explicit(&sequencer->last, memory_order_acquire);
}

#endif
