/* What counts against max-memory beside the store's own sum.
 *
 * The store's sum is exact and moves with every write, but the process holds
 * more: the allocator's books (metadata), holes in its pages (fragmentation),
 * and pages of tables that are free and not given back yet. These are measured,
 * ten times a second and for every few MiB that are written, and added.
 *
 *      max-memory  >=  store's sum  +  overhead  +  holes beyond the allowance
 *
 * The allowance, 1/16 of the limit, is for holes alone, and is there because
 * holes are where the next values go: without it a daemon at its limit from
 * which a fifth of the keys is deleted at random would find as many bytes of
 * holes as were freed, and would refuse to write into them. With it there is
 * always room for a sixteenth, which fills holes, which makes room. So the pages
 * of data, tables and books together are within the limit and a sixteenth, plus
 * what is written between two measurements.
 *
 * That has a bound which no clock gives: in a tenth of a second two clients write
 * 60 MB, and a thread that loses its processor measures later still. So writers
 * count what they write. At MEMORY_DUE_BYTES they wake the background thread, at
 * MEMORY_MOST_BYTES they are parked until it has measured and has evicted what that
 * demands. (Measured by the writers themselves it would cost a worker milliseconds,
 * for the pages that are given back; evicting twice what is written would end with
 * less than the limit holds.)
 *
 * Beside these a daemon of any size has books and begun pages for each of its
 * threads and for each class of sizes: 4 MiB of books and 8 MiB of holes are free,
 * so that they do not eat a small limit.
 *
 * What is counted moves in steps of 1/64 of the limit, at least 1 MiB, and back
 * by less than it came: so a small limit, as tests and small caches have, is
 * exact and always the same, and a large one does not tremble. Books never count
 * for more than half of the limit: they do not shrink, and a limit that was
 * lowered by far must not end with nothing.
 *
 * The background thread, which frees what was cleared and what expires, also gives
 * up its own cache of freed memory each time: scattered over as many runs of pages
 * as it has pieces, it kept 20 MB after 400,000 keys of mixed sizes were cleared.
 *
 * Huge pages, where they are wanted (huge-pages): the kernel also joins pages behind
 * our back (khugepaged), into huge ones of which one page in 512 may be in use. After
 * a mass delete it would so bring back, within minutes, what was given to the system,
 * and the allocator would not know. So while more than half as much has been given
 * back as is in use, no new ones are allowed; and again when it is less than a
 * quarter. Huge pages that are there stay.
 *
 * Not counted: free pages that the allocator will give back, within about a second
 * (main.c). Where values of one size replace those of another, that is much in a
 * second: so when these pages come to more than a sixteenth of the limit, at least
 * 16 MiB, and stand above it, they are given back at once, here. Nor what the
 * program itself takes, and the buffers of clients and the queue of the log, which
 * have limits of their own and must never evict data. */
#include "engine/memory.h"

#include "base/allocator.h"
#include "engine/core.h"

#define INTERVAL_NS      (100 * BRD_NS_PER_MS)
#define STEP_BYTES_MIN   (UINT64_C(1) << 20)
#define STEP_PART        64
#define ALLOWANCE_PART   16
#define DIRTY_BYTES_MIN  (UINT64_C(16) << 20)
#define SPARSE_BYTES_MIN (UINT64_C(64) << 20)
#define FREE_HOLES       (UINT64_C(8) << 20)
#define FREE_BOOKS       (UINT64_C(4) << 20)

void
memory_init(struct brd_engine *engine)
{
    struct brd_allocator_stats stats;

    (void)brd_allocator_get_stats(&stats);
    engine->memory.empty_metadata = stats.metadata;
    engine->memory.next_ns = 0;
    engine->memory.sparse = false;
    engine->memory.measured_bytes = 0;
    atomic_init(&engine->memory.counted, 0);
    atomic_init(&engine->memory.written, 0);
}

bool
memory_note_written(struct brd_engine *engine, uint64_t *told)
{
    struct memory_meter *meter = &engine->memory;
    uint64_t before = atomic_load_explicit(&meter->written, memory_order_relaxed);

    /* Before the bytes of this one: a large one must not wait for itself. */
    if (before >= MEMORY_MOST_BYTES)
        return false;
    before = atomic_fetch_add_explicit(&meter->written, *told, memory_order_relaxed);
    if (before < MEMORY_DUE_BYTES && before + *told >= MEMORY_DUE_BYTES)
        reaper_wake(engine);
    *told = 0;
    return true;
}

void
memory_settle(struct brd_engine *engine)
{
    struct memory_meter *meter = &engine->memory;

    atomic_fetch_sub_explicit(&meter->written, meter->measured_bytes, memory_order_relaxed);
    meter->measured_bytes = 0;
}

uint64_t
memory_count(uint64_t limit, uint64_t overhead, uint64_t unused, uint64_t counted)
{
    uint64_t step = limit / STEP_PART;
    uint64_t allowance = limit / ALLOWANCE_PART + FREE_HOLES;
    uint64_t now;

    if (step < STEP_BYTES_MIN)
        step = STEP_BYTES_MIN;
    overhead = overhead > FREE_BOOKS ? overhead - FREE_BOOKS : 0;
    if (limit > 0 && overhead > limit / 2)
        overhead = limit / 2;
    now = overhead + (unused > allowance ? unused - allowance : 0);
    if (now < counted + step && now + step / 2 >= counted)
        return counted;
    return now / step * step;
}

bool
memory_is_dirty(uint64_t limit, uint64_t active, uint64_t dirty)
{
    uint64_t most = limit / ALLOWANCE_PART;

    if (most < DIRTY_BYTES_MIN)
        most = DIRTY_BYTES_MIN;
    return limit > 0 && dirty > most && active + dirty > limit;
}

bool
memory_is_sparse(uint64_t active, uint64_t retained, bool sparse)
{
    return retained >= SPARSE_BYTES_MIN && retained > (sparse ? active / 4 : active / 2);
}

static void
judge_huge_pages(struct brd_engine *engine, const struct brd_allocator_stats *stats)
{
    bool sparse = memory_is_sparse(stats->active, stats->retained, engine->memory.sparse);

    if (engine->options.huge_pages && sparse != engine->memory.sparse)
        brd_allocator_allow_huge_pages(!sparse);
    engine->memory.sparse = sparse;
}

void
memory_measure(struct brd_engine *engine)
{
    struct memory_meter *meter = &engine->memory;
    uint64_t now_ns = brd_clock_mono_ns(engine->clock);
    uint64_t overhead = brd_store_idle_bytes(engine->store);
    uint64_t limit = atomic_load_explicit(&engine->max_memory_bytes, memory_order_relaxed);
    struct brd_allocator_stats stats;
    uint64_t unused = 0;
    uint64_t taken;
    uint64_t given;

    if (now_ns < meter->next_ns && !memory_is_due(meter))
        return;
    meter->next_ns = now_ns + INTERVAL_NS;
    meter->measured_bytes = atomic_load_explicit(&meter->written, memory_order_relaxed);
    brd_allocator_flush_thread();
    if (brd_allocator_get_stats(&stats)) {
        judge_huge_pages(engine, &stats);
        if (stats.metadata > meter->empty_metadata)
            overhead += stats.metadata - meter->empty_metadata;
        given = stats.allocated > stats.cached ? stats.allocated - stats.cached : 0;
        unused = stats.active > given ? stats.active - given : 0;
        taken = stats.active + stats.metadata;
        if (stats.resident > taken && memory_is_dirty(limit, taken, stats.resident - taken))
            brd_allocator_purge();
    }
    atomic_store_explicit(&meter->counted,
                          memory_count(limit, overhead, unused, memory_overhead(meter)),
                          memory_order_relaxed);
}
