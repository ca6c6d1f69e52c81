#include "base/sequencer.h"

#include "base/check.h"

void
brd_sequencer_init(struct brd_sequencer *sequencer, uint64_t first)
{
    atomic_init(&sequencer->last, first);
    atomic_init(&sequencer->ceiling, UINT64_MAX);
}

uint64_t
brd_sequencer_next(struct brd_sequencer *sequencer, uint64_t now_ns)
{
    uint64_t ceiling = atomic_load_explicit(&sequencer->ceiling, memory_order_relaxed);
    uint64_t last = atomic_load_explicit(&sequencer->last, memory_order_relaxed);
    uint64_t next;

    if (now_ns > ceiling - BRD_SEQUENCER_GUARD)
        now_ns = ceiling - BRD_SEQUENCER_GUARD;
    do {
        next = now_ns > last ? now_ns : last + 1;
    } while (!atomic_compare_exchange_weak_explicit(&sequencer->last, &last, next,
                                                    memory_order_acq_rel, memory_order_relaxed));
    BRD_CHECK(next < ceiling);
    return next;
}

void
brd_sequencer_raise(struct brd_sequencer *sequencer, uint64_t version)
{
    uint64_t last = atomic_load_explicit(&sequencer->last, memory_order_relaxed);

    while (last < version &&
           !atomic_compare_exchange_weak_explicit(&sequencer->last, &last, version,
                                                  memory_order_acq_rel, memory_order_relaxed))
        ;
}

void
brd_sequencer_set_ceiling(struct brd_sequencer *sequencer, uint64_t ceiling)
{
    uint64_t old = atomic_load_explicit(&sequencer->ceiling, memory_order_relaxed);

    BRD_CHECK(ceiling > BRD_SEQUENCER_GUARD);
    BRD_CHECK(old == UINT64_MAX || ceiling >= old);
    atomic_store_explicit(&sequencer->ceiling, ceiling, memory_order_relaxed);
}
