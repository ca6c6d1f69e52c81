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
    uint64_t measured_bytes;  /* of written, before the last measurement; that thread's, too */
    _Atomic uint64_t counted; /* relaxed; see memory_overhead */
    _Atomic uint64_t written; /* relaxed; bytes since a measurement that was acted upon */
};

/* Writers tell what they write in pieces of so many bytes. */
#define MEMORY_PIECE_BYTES (UINT64_C(64) << 10)
/* When so much is untold to the limit, measure; when so much, nobody writes before. */
#define MEMORY_DUE_BYTES  (UINT64_C(4) << 20)
#define MEMORY_MOST_BYTES (UINT64_C(8) << 20)

/* Before anything is stored. */
void memory_init(struct brd_engine *engine);

/* Measure, if the last time is long enough ago or enough was written since. The
 * background thread, often. */
void memory_measure(struct brd_engine *engine);

/* What was measured has been acted upon: memory is back at its limit. The background
 * thread, after each memory_measure. */
void memory_settle(struct brd_engine *engine);

/* May a writer go on, which has written or is about to write *told bytes since it
 * was last asked? If so they are noted, and *told is 0; if not, the background
 * thread is to measure first. Any thread without locks. */
bool memory_note_written(struct brd_engine *engine, uint64_t *told);

/* Is there so much unmeasured that the background thread should not wait? One load. */
static inline bool
memory_is_due(const struct memory_meter *meter)
{
    return atomic_load_explicit(&meter->written, memory_order_relaxed) >= MEMORY_DUE_BYTES;
}

/* What counts against max-memory beside the store's own sum, in bytes. Any
 * thread; one load. Late by at most MEMORY_MOST_BYTES, a request and a piece for
 * each writer. */
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
