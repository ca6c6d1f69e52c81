#include "wal/queue.h"

#include "base/blob.h"
#include "base/check.h"

#include <stdlib.h>
#include <sys/mman.h>

#define NO_GROUP      SIZE_MAX
#define KEPT_BYTES    ((size_t)8 << 20)               /* of an arena after a flood */
#define OVERSIZE_HOLD (UINT64_C(200) * BRD_NS_PER_MS) /* others step back so long */
#define LOOK_BYTES    UINT64_C(16384) /* a record that may wait for a look at the disk */
#define PAGE_ROUND(n) (((n) + 4095) & ~(uint64_t)4095)

/* ---- Arenas ---- */

static uint8_t *
map_bytes(size_t room)
{
    void *data = mmap(NULL, room, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return data == MAP_FAILED ? NULL : data;
}

static void
arena_reset(struct queue_arena *arena)
{
    arena->used = 0;
    arena->blobs = 0;
    arena->group = NO_GROUP;
    arena->group_blobs = 0;
    arena->claimed = 0;
    arena->records = 0;
    arena->sync_version = 0;
    arena->sync_records = 0;
}

static bool
arena_empty(const struct queue_arena *arena)
{
    return arena->used == 0;
}

static struct queue_blob *
arena_blob(const struct queue_arena *arena, size_t index)
{
    return (struct queue_blob *)(void *)(arena->data + arena->room) - (index + 1);
}

enum brd_status
queue_init(struct queue *queue, struct brd_sequencer *sequencer, const struct brd_clock *clock,
           uint64_t bytes_max, uint64_t group_bytes_max)
{
    int i;

    *queue = (struct queue){ 0 };
    brd_mutex_init(&queue->lock, BRD_RANK_WAL_QUEUE);
    brd_cond_init(&queue->wake);
    queue->sequencer = sequencer;
    queue->clock = clock;
    queue->bytes_max = bytes_max;
    queue->group_bytes_max = group_bytes_max;
    queue->pending = &queue->arenas[0];
    for (i = 0; i < RESERVE_USES; i++) {
        atomic_init(&queue->limit_lsn[i], UINT64_MAX);
        atomic_init(&queue->record_max[i], UINT64_MAX);
    }
    for (i = 0; i < 2; i++) {
        struct queue_arena *arena = &queue->arenas[i];

        arena_reset(arena);
        arena->room = PAGE_ROUND(bytes_max);
        arena->data = map_bytes(arena->room);
        if (arena->data == NULL) {
            queue_fini(queue);
            return BRD_OUT_OF_MEMORY;
        }
    }
    return BRD_OK;
}

void
queue_fini(struct queue *queue)
{
    int i;

    for (i = 0; i < 2; i++) {
        struct queue_arena *arena = &queue->arenas[i];

        if (arena->data == NULL)
            continue;
        while (arena->blobs > 0)
            brd_blob_unref(arena_blob(arena, --arena->blobs)->blob);
        munmap(arena->data, arena->room);
        arena->data = NULL;
    }
    brd_cond_fini(&queue->wake);
    brd_mutex_fini(&queue->lock);
}

/* ---- Claims ---- */

/* Somebody larger waits for the queue to run empty: stand back for a moment. */
static bool
held_back(struct queue *queue)
{
    uint64_t until_ns = atomic_load_explicit(&queue->hold_until_ns, memory_order_relaxed);

    return BRD_UNLIKELY(until_ns != 0) && brd_clock_mono_ns(queue->clock) < until_ns;
}

/* Both arenas are empty and nobody else has a claim: make room for the one
 * record that is larger than the queue. */
static enum brd_status
grow_arena(struct queue *queue, uint64_t claim)
{
    size_t room = PAGE_ROUND(claim);
    enum brd_status status = BRD_OK;
    struct queue_arena *arena;

    brd_mutex_lock(&queue->lock);
    arena = queue->pending;
    if (arena->room < room) {
        void *data;

        BRD_CHECK(arena_empty(arena));
        data = mremap(arena->data, arena->room, room, MREMAP_MAYMOVE);
        if (data == MAP_FAILED) {
            status = BRD_OUT_OF_MEMORY;
        } else {
            arena->data = data;
            arena->room = room;
        }
    }
    brd_mutex_unlock(&queue->lock);
    return status;
}

/* How much may be claimed because of the disk; 0: nothing. */
static uint64_t
disk_room(const struct queue *queue, enum reserve_use use)
{
    uint64_t limit_lsn = atomic_load_explicit(&queue->limit_lsn[use], memory_order_relaxed);
    uint64_t begin_lsn = atomic_load_explicit(&queue->begin_lsn, memory_order_relaxed);

    return limit_lsn > begin_lsn ? limit_lsn - begin_lsn : 0;
}

/* Would the disk have no room even if this were the only claim? */
static bool
is_beyond_disk(const struct queue *queue, uint64_t claim, enum reserve_use use)
{
    return claim > atomic_load_explicit(&queue->record_max[use], memory_order_relaxed) ||
           claim > disk_room(queue, use);
}

/* Take the claim if it fits. */
static bool
try_claim(struct queue *queue, uint64_t claim, enum reserve_use use)
{
    bool oversize = claim > queue->bytes_max;
    uint64_t claimed = atomic_load(&queue->claimed);
    uint64_t room = disk_room(queue, use);

    do {
        if (oversize ? claimed != 0 : claimed + claim > queue->bytes_max)
            return false;
        if (claimed + claim > room)
            return false;
    } while (!atomic_compare_exchange_weak(&queue->claimed, &claimed, claimed + claim));
    return true;
}

enum brd_status
queue_reserve(struct queue *queue, uint64_t bytes, enum reserve_use use)
{
    uint64_t claim = bytes + QUEUE_RECORD_OVERHEAD;
    bool oversize = claim > queue->bytes_max;

    if (bytes > BRD_WAL_RECORD_MAX)
        return BRD_TOO_LARGE;
    if (atomic_load_explicit(&queue->refusing, memory_order_relaxed))
        return BRD_READ_ONLY;
    if (BRD_UNLIKELY(is_beyond_disk(queue, claim, use))) {
        /* The disk is not low, so it is only that nobody has looked since so much was queued:
         * a fifth of a second later there is room, or it is low (reserve.h). Of a larger record
         * that is not sure. */
        if (claim > LOOK_BYTES || atomic_load_explicit(&queue->no_wait, memory_order_relaxed) ||
            claim > atomic_load_explicit(&queue->record_max[use], memory_order_relaxed))
            return BRD_DISK_FULL;
        atomic_fetch_add_explicit(&queue->refusals, 1, memory_order_relaxed);
        atomic_store(&queue->refused, true);
        return BRD_BUSY;
    }
    if ((oversize || !held_back(queue)) && try_claim(queue, claim, use))
        goto claimed;
    atomic_fetch_add_explicit(&queue->refusals, 1, memory_order_relaxed);
    if (oversize)
        atomic_store_explicit(&queue->hold_until_ns,
                              brd_clock_mono_ns(queue->clock) + OVERSIZE_HOLD,
                              memory_order_relaxed);
    /* Announce first, look again second: whoever gives space back does it the
     * other way round, so one of the two sees the other. */
    atomic_store(&queue->refused, true);
    if ((!oversize && held_back(queue)) || !try_claim(queue, claim, use))
        return BRD_BUSY;
claimed:
    if (!oversize)
        return BRD_OK;
    atomic_store_explicit(&queue->hold_until_ns, 0, memory_order_relaxed);
    if (grow_arena(queue, claim) == BRD_OK)
        return BRD_OK;
    queue_unreserve(queue, bytes);
    return BRD_OUT_OF_MEMORY;
}

void
queue_unreserve(struct queue *queue, uint64_t bytes)
{
    uint64_t claim = bytes + QUEUE_RECORD_OVERHEAD;
    uint64_t claimed = atomic_fetch_sub(&queue->claimed, claim);

    BRD_CHECK(claimed >= claim);
    if (BRD_LIKELY(!atomic_load(&queue->refused)))
        return;
    queue_nudge(queue); /* the log's own thread tells them, not this one */
}

void
queue_nudge(struct queue *queue)
{
    brd_mutex_lock(&queue->lock);
    queue->nudged = true;
    brd_mutex_unlock(&queue->lock);
    queue_kick(queue);
}

void
queue_set_begin(struct queue *queue, uint64_t lsn)
{
    atomic_store_explicit(&queue->begin_lsn, lsn, memory_order_relaxed);
}

void
queue_set_limits(struct queue *queue, const struct reserve_plan *plan, bool no_wait)
{
    int use;

    atomic_store_explicit(&queue->no_wait, no_wait, memory_order_relaxed);
    for (use = 0; use < RESERVE_USES; use++) {
        atomic_store_explicit(&queue->limit_lsn[use], plan->limit_lsn[use], memory_order_relaxed);
        atomic_store_explicit(&queue->record_max[use], plan->record_max[use], memory_order_relaxed);
    }
}

bool
queue_take_refused(struct queue *queue)
{
    return atomic_load(&queue->refused) && atomic_exchange(&queue->refused, false);
}

/* ---- Appending ---- */

/* Caller holds the lock. */
static void
close_group(struct queue_arena *arena)
{
    struct group_header *header;
    size_t pad;

    if (arena->group == NO_GROUP)
        return;
    header = (struct group_header *)(void *)(arena->data + arena->group);
    pad = (size_t)(group_bytes(header->length) - sizeof(*header) - header->length);
    memset(arena->data + arena->used, 0, pad);
    arena->used += pad;
    /* The next header is aligned in the arena too, whatever blobs were cut out. */
    header->reserved = arena->used - arena->group;
    arena->used = (arena->used + GROUP_ALIGN - 1) & ~(size_t)(GROUP_ALIGN - 1);
    arena->group = NO_GROUP;
}

/* The group that takes a record of so many bytes. Caller holds the lock. */
static struct group_header *
open_group(struct queue *queue, struct queue_arena *arena, uint64_t bytes)
{
    struct group_header *header;

    if (arena->group != NO_GROUP) {
        header = (struct group_header *)(void *)(arena->data + arena->group);
        if (sizeof(*header) + header->length + bytes <= queue->group_bytes_max &&
            arena->group_blobs < QUEUE_GROUP_BLOBS_MAX)
            return header;
        close_group(arena);
    }
    arena->group = arena->used;
    arena->group_blobs = 0;
    header = (struct group_header *)(void *)(arena->data + arena->used);
    *header = (struct group_header){
        .base_version = queue->base_version,
        .last_version = queue->base_version,
    };
    arena->used += sizeof(*header);
    return header;
}

static void
put_bytes(struct queue_arena *arena, const void *data, size_t size)
{
    if (size > 0)
        memcpy(arena->data + arena->used, data, size);
    arena->used += size;
}

/* Caller holds the lock. */
static void
put_record(struct queue *queue, uint64_t version, const struct brd_wal_payload *payload)
{
    struct queue_arena *arena = queue->pending;
    size_t blob_size = payload->blob != NULL ? payload->blob->size : 0;
    uint64_t size = (uint64_t)payload->head.size + blob_size + payload->tail.size;
    uint8_t frame[RECORD_FRAME_MAX];
    size_t frame_size = record_put_frame(frame, version - queue->base_version, size);
    struct group_header *header = open_group(queue, arena, frame_size + size);

    put_bytes(arena, frame, frame_size);
    put_bytes(arena, payload->head.data, payload->head.size);
    if (blob_size > 0) {
        arena->group_blobs++;
        *arena_blob(arena, arena->blobs++) = (struct queue_blob){
            .at = arena->used,
            .blob = brd_blob_ref(payload->blob),
        };
    }
    put_bytes(arena, payload->tail.data, payload->tail.size);
    BRD_CHECK(arena->used + GROUP_ALIGN + arena->blobs * sizeof(struct queue_blob) <= arena->room);
    header->length += (uint32_t)(frame_size + size);
    header->records++;
    header->last_version = version;
    arena->records++;
}

uint64_t
queue_append(struct queue *queue, uint64_t reserved, uint64_t now_ns,
             const struct brd_wal_payload *payload, bool sync)
{
    size_t blob_size = payload->blob != NULL ? payload->blob->size : 0;
    uint64_t version;
    bool dropped;

    BRD_CHECK((uint64_t)payload->head.size + blob_size + payload->tail.size <= reserved);
    brd_mutex_lock(&queue->lock);
    version = brd_sequencer_next(queue->sequencer, now_ns);
    dropped = queue->closed;
    if (BRD_LIKELY(!dropped)) {
        BRD_CHECK(version > queue->base_version);
        put_record(queue, version, payload);
        queue->pending->claimed += reserved + QUEUE_RECORD_OVERHEAD;
        if (sync) {
            queue->pending->sync_version = version;
            queue->pending->sync_records++;
        }
        queue->base_version = version;
        atomic_store_explicit(&queue->last_version, version, memory_order_release);
        brd_counter_add(&queue->records_queued, 1);
    }
    brd_mutex_unlock(&queue->lock);
    if (dropped)
        queue_unreserve(queue, reserved);
    return version;
}

void
queue_kick(struct queue *queue)
{
    bool was_idle;

    if (!atomic_load_explicit(&queue->idle, memory_order_relaxed))
        return;
    brd_mutex_lock(&queue->lock);
    was_idle = atomic_load_explicit(&queue->idle, memory_order_relaxed);
    atomic_store_explicit(&queue->idle, false, memory_order_relaxed);
    brd_mutex_unlock(&queue->lock);
    if (was_idle)
        brd_cond_signal(&queue->wake);
}

/* ---- The writer's side ---- */

struct queue_arena *
queue_take(struct queue *queue, uint64_t timeout_ns, bool *out_stopping)
{
    struct queue_arena *arena = NULL;

    *out_stopping = false;
    brd_mutex_lock(&queue->lock);
    if (arena_empty(queue->pending) && !queue->stopping && !queue->nudged) {
        /* One wait: a kick clears idle and signals; anything else is a tick. */
        atomic_store_explicit(&queue->idle, true, memory_order_relaxed);
        (void)brd_cond_wait_for(&queue->wake, &queue->lock, timeout_ns);
        atomic_store_explicit(&queue->idle, false, memory_order_relaxed);
    }
    queue->nudged = false;
    if (!arena_empty(queue->pending)) {
        arena = queue->pending;
        close_group(arena);
        queue->pending = arena == &queue->arenas[0] ? &queue->arenas[1] : &queue->arenas[0];
        BRD_CHECK(arena_empty(queue->pending));
    } else {
        *out_stopping = queue->stopping;
    }
    brd_mutex_unlock(&queue->lock);
    return arena;
}

void
queue_give_back(struct queue *queue, struct queue_arena *arena)
{
    size_t normal = PAGE_ROUND(queue->bytes_max);
    uint64_t claim = arena->claimed;
    uint64_t records = arena->records;
    bool flooded = arena->used + arena->blobs * sizeof(struct queue_blob) > KEPT_BYTES;
    size_t i;

    for (i = 0; i < arena->blobs; i++)
        brd_blob_unref(arena_blob(arena, i)->blob);
    if (flooded && arena->room > KEPT_BYTES)
        madvise(arena->data + KEPT_BYTES, arena->room - KEPT_BYTES, MADV_DONTNEED);
    if (arena->room > normal) {
        /* Shrinking in place does not fail; if it did, the room would be right. */
        void *data = mremap(arena->data, arena->room, normal, 0);

        if (data != MAP_FAILED)
            arena->room = normal;
    }
    arena_reset(arena);
    brd_counter_add(&queue->records_done, records);
    claim = atomic_fetch_sub(&queue->claimed, claim) - claim;
    BRD_CHECK(claim <= UINT64_MAX / 2);
}

void
queue_close(struct queue *queue)
{
    atomic_store_explicit(&queue->refusing, true, memory_order_relaxed);
    brd_mutex_lock(&queue->lock);
    queue->closed = true;
    brd_mutex_unlock(&queue->lock);
}

bool
queue_is_closed(const struct queue *queue)
{
    /* Ordered by the queue's lock for who dropped it, by the stripe's for who saw it. */
    return atomic_load_explicit(&queue->refusing, memory_order_relaxed);
}

void
queue_stop(struct queue *queue)
{
    brd_mutex_lock(&queue->lock);
    queue->stopping = true;
    brd_mutex_unlock(&queue->lock);
    brd_cond_signal(&queue->wake);
}

struct group_header *
queue_group(const struct queue_cursor *cursor)
{
    return (struct group_header *)(void *)(cursor->arena->data + cursor->offset);
}

int
queue_group_parts(const struct queue_cursor *cursor, size_t arena_bytes, struct iovec *parts)
{
    const struct queue_arena *arena = cursor->arena;
    size_t end = cursor->offset + arena_bytes;
    size_t at = cursor->offset;
    size_t i;
    int n = 0;

    for (i = cursor->blob; i < arena->blobs && arena_blob(arena, i)->at <= end; i++) {
        const struct queue_blob *ref = arena_blob(arena, i);

        parts[n++] = (struct iovec){ .iov_base = arena->data + at, .iov_len = ref->at - at };
        parts[n++] = (struct iovec){ .iov_base = ref->blob->data, .iov_len = ref->blob->size };
        at = ref->at;
    }
    parts[n++] = (struct iovec){ .iov_base = arena->data + at, .iov_len = end - at };
    return n;
}

bool
queue_next_group(struct queue_cursor *cursor, size_t arena_bytes)
{
    const struct queue_arena *arena = cursor->arena;
    size_t end = cursor->offset + arena_bytes;

    while (cursor->blob < arena->blobs && arena_blob(arena, cursor->blob)->at <= end)
        cursor->blob++;
    cursor->offset = (end + GROUP_ALIGN - 1) & ~(size_t)(GROUP_ALIGN - 1);
    return cursor->offset < arena->used;
}
