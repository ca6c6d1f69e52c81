#include "wal/reserve.h"

#include "base/diag.h"

#include <inttypes.h>

/* A segment is at most this part of the file system, an automatic reserve at most that one,
 * and so much more than a snapshot. */
#define SEGMENT_PART 64
#define RESERVE_PART 2
#define MORE_PART    8
/* Of the space above the reserve so much is left for the file system's own books, or the
 * next look would find the reserve broken. */
#define BOOKS_PART 8
/* What of it may be promised to records before the next look. */
#define AT_ONCE_PART 4
#define PAGE         UINT64_C(4096)

static uint64_t
smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t
larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* How far a exceeds b, if it does. */
static uint64_t
above(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t
sum(uint64_t a, uint64_t b)
{
    uint64_t total;

    return __builtin_add_overflow(a, b, &total) ? UINT64_MAX : total;
}

/* What has to be kept for a snapshot of all data, the segment with which a checkpoint
 * begins, and some more: until the next look data may grow by what two segments hold, and
 * files of others too. Where two snapshots do not fit into the file system none will ever be made
 * beside an older one, and there is no point in keeping more than half. */
static uint64_t
reserve_of(const struct reserve_view *view, uint64_t full)
{
    if (view->wanted != BRD_WAL_RESERVE_AUTO)
        return view->wanted;
    return smaller(sum(sum(view->needed, view->needed / MORE_PART), 2 * full),
                   view->total_bytes / RESERVE_PART);
}

static void
plan_without_limits(struct reserve_plan *plan)
{
    int use;

    for (use = 0; use < RESERVE_USES; use++)
        plan->limit_lsn[use] = plan->record_max[use] = UINT64_MAX;
}

/* What of so much free space a segment may take. */
static uint64_t
usable_of(uint64_t room)
{
    return room - room / BOOKS_PART;
}

/* With `room` bytes of free space that records may use. */
static void
plan_limits(const struct reserve_view *view, enum reserve_use use, uint64_t room,
            struct reserve_plan *plan)
{
    uint64_t alone = view->next_bytes;

    if (usable_of(room) >= plan->least_bytes) /* or no segment will be made of it */
        alone = sum(alone, room / AT_ONCE_PART);
    /* A record that does not fit into the current segment leaves what that has. */
    plan->limit_lsn[use] = sum(sum(view->lsn, view->rest_bytes), alone);
    plan->record_max[use] = larger(view->rest_bytes, alone);
}

void
reserve_decide(const struct reserve_view *view, struct reserve_plan *out_plan)
{
    uint64_t full =
        smaller(view->segment_bytes, larger(view->total_bytes / SEGMENT_PART, RESERVE_SEGMENT_MIN));
    uint64_t least = smaller(full, RESERVE_SEGMENT_MIN);
    struct reserve_plan plan = { .least_bytes = least };
    uint64_t kept;
    uint64_t room;
    uint64_t usable;

    plan_without_limits(&plan);
    if (view->total_bytes == 0) {
        plan.prepare_bytes = view->next_bytes == 0 ? view->segment_bytes : 0;
        *out_plan = plan;
        return;
    }
    plan.reserve_bytes = reserve_of(view, full);
    kept = above(plan.reserve_bytes, view->taken);
    room = above(view->free_bytes, kept);
    usable = usable_of(room);
    if (view->next_bytes == 0 && usable >= least)
        plan.prepare_bytes = larger(smaller(full, usable) / PAGE * PAGE, least);
    else if (view->next_bytes == 0 && view->asked)
        plan.prepare_bytes = least;
    if (plan.reserve_bytes != 0) {
        if (view->low || view->next_bytes == 0)
            plan.low = usable < least;
        else
            plan.low = view->taken == 0 && view->free_bytes < plan.reserve_bytes;
        plan_limits(view, RESERVE_ADD, room, &plan);
        plan_limits(view, RESERVE_REMOVE, above(view->free_bytes, kept / 2), &plan);
        if (plan.low)
            plan.limit_lsn[RESERVE_ADD] = plan.record_max[RESERVE_ADD] = 0;
    }
    *out_plan = plan;
}

/* ---- What is kept between two decisions ---- */

#define LOAD(field)         atomic_load_explicit(&(field), memory_order_relaxed)
#define STORE(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

void
reserve_measure(struct reserve *reserve, const struct brd_io *io, const char *dir)
{
    uint64_t free_bytes;
    uint64_t total_bytes;

    if (io->space(io->ctx, dir, &free_bytes, &total_bytes) != 0)
        return;
    STORE(reserve->free_bytes, free_bytes);
    STORE(reserve->total_bytes, total_bytes);
}

void
reserve_update(struct reserve *reserve, struct reserve_view *view, struct reserve_plan *out_plan)
{
    view->free_bytes = LOAD(reserve->free_bytes);
    view->total_bytes = LOAD(reserve->total_bytes);
    view->wanted = LOAD(reserve->wanted);
    view->taken = LOAD(reserve->taken);
    view->low = LOAD(reserve->low);
    reserve_decide(view, out_plan);
    STORE(reserve->reserve_bytes, out_plan->reserve_bytes);
    STORE(reserve->least_bytes, out_plan->least_bytes);
    STORE(reserve->next_bytes, view->next_bytes);
    STORE(reserve->low, out_plan->low);
}

void
reserve_tell(struct reserve *reserve, const char *dir)
{
    bool low = LOAD(reserve->low);
    uint64_t free_kib = LOAD(reserve->free_bytes) >> 10;
    uint64_t reserve_kib = LOAD(reserve->reserve_bytes) >> 10;

    if (low == reserve->told_low)
        return;
    reserve->told_low = low;
    if (low)
        brd_diag_warning("the disk is nearly full: %" PRIu64
                         " KiB are free where %s is, and %" PRIu64
                         " KiB are kept for a checkpoint; writes are refused (DISK_FULL), reads "
                         "and deletes go on: make room there, delete keys, or lower disk-reserve; "
                         "writes resume by themselves",
                         free_kib, dir, reserve_kib);
    else
        brd_diag_notice("the disk has room again: %" PRIu64
                        " KiB are free where %s is, and %" PRIu64
                        " KiB are kept for a checkpoint; writes go on",
                        free_kib, dir, reserve_kib);
}
