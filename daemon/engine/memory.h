/* The part of the memory that the store cannot know: what the allocator takes
 * beside what it gave, and pages of tables that are free. */
#ifndef BRD_ENGINE_MEMORY_H
#define BRD_ENGINE_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct brd_engine;

struct memory_meter {
    uint64_t empty_metadata;  /* the allocator's, before anything was stored */
    uint64_t next_ns;         /* monotonic; when to measure again; the background thread's */
    bool sparse;              /* as memory_is_sparse said last; likewise */
    _Atomic uint64_t counted; /* relaxed; see memory_overhead */
};

/* Before anything is stored. */
void memory_init(struct brd_engine *engine);

/* Measure, if the last time is long enough ago. The background thread, often. */
void memory_measure(struct brd_engine *engine);

/* What counts against max-memory beside the store's own sum, in bytes. Any
 * thread; one load. Late by at most MEMORY_INTERVAL_NS and a round of the
 * background thread. */
static inline uint64_t
memory_overhead(const struct memory_meter *meter)
{
    return atomic_load_explicit(&meter->counted, memory_order_relaxed);
}

/* Are there too many free pages to wait for the allocator to give them back? Pure.
 * active and dirty: pages with something in them, and without. */
bool memory_is_dirty(uint64_t limit, uint64_t active, uint64_t dirty);

/* What is to be counted: pure, for its test.
 *
 * limit       max-memory; 0: none.
 * overhead    of the allocator's books and free pages of tables, beyond those of
 *             an empty daemon.
 * unused      bytes in pages that hold something, of holes.
 * counted     so far. */
uint64_t memory_count(uint64_t limit, uint64_t overhead, uint64_t unused, uint64_t counted);

/* Has so much been given back that new huge pages would bring it in again? Pure.
 *
 * active      bytes of pages that hold something.
 * retained    bytes of addresses whose pages were given back.
 * sparse      what was said last. */
bool memory_is_sparse(uint64_t active, uint64_t retained, bool sparse);

#endif
