/* Making room: what happens when a write meets the memory limit.
 *
 * A write that needs more than is left evicts first, before it takes a stripe,
 * its own victims, one by one: find one (its stripe is held), queue the record
 * of its removal where the namespace is logged, remove it. It takes at most
 * VICTIMS_MAX of them and STEPS_MAX steps. Where that does not do (a large value
 * in a cache of small ones) the connection is parked and the reaper goes on,
 * then wakes it through on_progress. The reaper also brings memory down when
 * the limit was lowered.
 *
 * A large value that is replaced or removed while it is being sent or logged stays in
 * memory until that is done. What the log's queue refers to has its limit; what replies
 * refer to hangs on clients that may never read, so it has a limit of its own. Above it
 * writes wait, and whoever owns the replies is told to give some up (on_held): a wait
 * that no client can make last.
 *
 * Every few MiB, at the limit or not, a writer waits for the background thread if that
 * has not measured meanwhile (memory.c).
 *
 * The limit holds for what eviction can lower: live bytes. What was removed and
 * waits to be freed, or is still being sent or logged, comes on top; so that
 * this has a bound, too, writes wait for the reaper while there is something to
 * free and all together is more than an eighth above the limit. What clients and
 * the log hold has limits of its own: it never evicts data.
 *
 * An eviction is policy, not loss: it is counted, and logged like a delete, so
 * that a key that went does not come back with an old value. A victim that had
 * expired is removed as the reaper would have removed it: nothing is logged. */
#include "engine/mutation.h"
#include "engine/steps.h"

#include <inttypes.h>

#define VICTIMS_MAX 128
#define STEPS_MAX   1024
#define HELP        16
#define TEND_SLICE  1024

/* A write that needs more than this part of the limit is refused where keys
 * would have to go for it. */
#define LARGEST_PART 8
#define SURPLUS_PART 8

static uint64_t
limit_of(const struct brd_engine *engine)
{
    return atomic_load_explicit(&engine->max_memory_bytes, memory_order_relaxed);
}

static bool
live_fits(const struct brd_engine *engine, uint64_t bytes)
{
    uint64_t max = limit_of(engine);

    return max == 0 ||
           brd_store_live_bytes(engine->store) + memory_overhead(&engine->memory) + bytes <= max;
}

/* Is what waits to be freed within its bound? */
static bool
surplus_fits(const struct brd_engine *engine, uint64_t bytes)
{
    uint64_t max = limit_of(engine);

    return max == 0 ||
           brd_store_used_bytes(engine->store) + memory_overhead(&engine->memory) + bytes <=
               max + max / SURPLUS_PART ||
           !brd_store_has_graves(engine->store);
}

/* Is what is being sent and logged without being kept within its bound? What waits to be
 * freed counts too, and goes by itself. */
static bool
held_fits(const struct brd_engine *engine)
{
    uint64_t max = atomic_load_explicit(&engine->held_bytes_max, memory_order_relaxed);
    uint64_t logged = engine->wal != NULL ? engine->options.wal_queue_bytes : 0;

    return max == 0 || brd_store_held_bytes(engine->store) <= max + logged;
}

/* Queue the record in caller->payload. Under the victim's stripe. */
static uint64_t
queue_removal(struct brd_caller *caller, const struct name_space *ns, uint64_t reserved)
{
    struct brd_wal_payload payload = { .head = brd_buf_bytes(&caller->payload) };

    caller->appended = true;
    return brd_wal_append(caller->engine->wal, reserved, caller->now_ns, &payload,
                          ns->durability == BRD_DURABILITY_FULL);
}

/* Log the removal of the victim and do it; or spare it where the log has no room
 * (BRD_BUSY) or has failed. Ends the guard. */
static enum brd_status
evict(struct brd_caller *caller, struct name_space *ns, struct brd_guard *guard,
      const struct brd_victim *victim)
{
    struct mutation mutation = { .kind = MUTATION_DELETE, .ns = ns->id, .key = victim->key };
    bool expired = victim->deadline_ms != 0 && victim->deadline_ms <= caller->now_ms;
    uint64_t version = victim->version;
    enum brd_status status = BRD_OK;

#if BREAK_UNLOGGED_EVICTION
    expired = true;
#endif
    if (!expired && step_is_logged(caller, ns)) {
        uint64_t bytes = mutation_bytes_max(victim->key.size, 0);

        brd_buf_clear(&caller->payload);
        mutation_encode(&caller->payload, &mutation, false);
        status = caller->payload.failed ? BRD_OUT_OF_MEMORY
                                        : brd_wal_reserve_removal(caller->engine->wal, bytes);
        if (status != BRD_OK) {
            brd_victim_spare(guard, victim);
            brd_guard_end(guard);
            return status;
        }
        version = queue_removal(caller, ns, bytes);
    } else if (!expired) {
        version = brd_sequencer_next(&caller->engine->sequencer, caller->now_ns);
    }
    brd_guard_remove(guard, victim->hash, victim->key, version, caller->now_ms);
    brd_counter_add(expired ? &caller->counters.ttl_evicted : &caller->counters.evictions, 1);
    if (!expired)
        brd_counter_add(&caller->counters.evicted_bytes, victim->bytes);
    brd_guard_end(guard);
    return BRD_OK;
}

/* Evict until bytes more fit, within the bounds of one write. Memory may be far
 * above its limit, because that was lowered: then it is enough to have evicted
 * HELP keys, and more than is needed; the rest is the reaper's. BRD_OK; or
 * BRD_LIMIT_EXCEEDED: the bounds are reached; BRD_NOT_FOUND: nothing may go;
 * BRD_BUSY: the log's queue is full; else why the log refuses. */
static enum brd_status
evict_some(struct brd_caller *caller, struct name_space *ns, uint64_t bytes, uint32_t help)
{
    uint32_t budget = STEPS_MAX;
    uint64_t freed = 0;
    uint32_t victims;

    for (victims = 0; victims < VICTIMS_MAX; victims++) {
        struct brd_victim victim;
        struct brd_guard guard;
        enum brd_status status;

        if (live_fits(caller->engine, bytes) || (victims >= help && freed >= bytes))
            return BRD_OK;
        status = brd_victim_find(&guard, ns->keyspace, &budget, &victim);
        if (status != BRD_OK)
            return status == BRD_BUSY ? BRD_LIMIT_EXCEEDED : status;
        freed += victim.bytes;
        status = evict(caller, ns, &guard, &victim);
        if (status != BRD_OK)
            return status;
    }
    if (live_fits(caller->engine, bytes) || (victims >= help && freed >= bytes))
        return BRD_OK;
    return BRD_LIMIT_EXCEEDED;
}

/* The request is parked; the reaper makes room for it. */
static enum brd_status
wait_for_room(struct brd_caller *caller, uint64_t bytes)
{
    struct brd_engine *engine = caller->engine;
    uint64_t wanted = atomic_load_explicit(&engine->room_wanted, memory_order_relaxed);

    while (wanted < bytes &&
           !atomic_compare_exchange_weak_explicit(&engine->room_wanted, &wanted, bytes,
                                                  memory_order_seq_cst, memory_order_relaxed))
        ;
    brd_counter_add(&caller->counters.memory_waits, 1);
    reaper_wake(engine);
    return BRD_BUSY;
}

enum brd_status
step_make_room_slowly(struct brd_caller *caller, struct name_space *ns, uint64_t bytes,
                      uint64_t whole, struct brd_reply *reply, bool *out_refused)
{
    uint64_t max = limit_of(caller->engine);
    enum brd_status status;

    if (caller->written >= MEMORY_PIECE_BYTES) {
        if (!held_fits(caller->engine)) {
            caller->written -= bytes; /* it will come again */
            atomic_store_explicit(&caller->engine->held_waits, true, memory_order_relaxed);
            brd_counter_add(&caller->counters.held_waits, 1);
            return wait_for_room(caller, bytes);
        }
        if (max == 0) {
            caller->written = 0;
        } else if (!memory_note_written(caller->engine, &caller->written)) {
            caller->written -= bytes;
            return wait_for_room(caller, bytes);
        }
        if (step_has_room(caller, bytes))
            return BRD_OK;
    }
    if (!live_fits(caller->engine, bytes) &&
        brd_keyspace_eviction(ns->keyspace) == BRD_EVICTION_NONE) {
        *out_refused = true;
        return step_refuse_full(caller, reply, bytes);
    }
    if (whole > max / LARGEST_PART && !live_fits(caller->engine, bytes)) {
        *out_refused = true;
        return step_refuse(caller, reply, BRD_TOO_LARGE,
                           "the value needs %" PRIu64 " bytes, more than an eighth of max-memory "
                           "(%" PRIu64 " bytes): nothing is evicted for so large a one",
                           whole, max);
    }
    status = evict_some(caller, ns, bytes, HELP);
    if (status == BRD_OK && !surplus_fits(caller->engine, bytes)) {
        brd_store_free_large(caller->engine->store, VICTIMS_MAX);
        status = surplus_fits(caller->engine, bytes) ? BRD_OK : BRD_LIMIT_EXCEEDED;
    }
    switch (status) {
    case BRD_OK:
        return BRD_OK;
    case BRD_LIMIT_EXCEEDED:
        return wait_for_room(caller, bytes);
    case BRD_BUSY:
        brd_counter_add(&caller->counters.log_waits, 1);
        return BRD_BUSY;
    case BRD_NOT_FOUND:
        *out_refused = true;
        return step_refuse_full(caller, reply, bytes);
    case BRD_DISK_FULL: /* not even a removal has room */
        *out_refused = true;
        return step_refuse_disk_full(caller, reply);
    default:
        *out_refused = true;
        return step_refuse(caller, reply, status, "%s", brd_status_sentence(status));
    }
}

enum brd_status
step_make_room_to_grow(struct brd_caller *caller, struct name_space *ns,
                       const struct brd_request *request, uint64_t bytes, bool adds_links,
                       struct brd_reply *reply, bool *out_refused)
{
    struct brd_view view = { 0 };
    enum brd_status found;
    uint64_t seen;

    *out_refused = false;
    caller->written += bytes;
    if (BRD_LIKELY(caller->written < MEMORY_PIECE_BYTES && step_has_room(caller, bytes)))
        return BRD_OK;
    step_begin_one(caller, ns, BRD_GUARD_READ, request->hash);
    found =
        brd_guard_find(&caller->guard, request->hash, request->key, caller->now_ms, &view, &seen);
    step_end_guard(caller);
    if (adds_links && (found != BRD_OK || view.deadline_ms != 0)) {
        caller->written -= bytes;
        return BRD_OK;
    }
    /* The value may change before the write: then the rule has been applied to its size of
     * a moment ago, and the limit holds all the same. */
    return step_make_room_slowly(caller, ns, bytes, bytes + view.value.size, reply, out_refused);
}

/* ---- behind the callers ---- */

/* Bring memory down to the limit, and to what a parked request needs. Returns
 * how many were evicted. */
static uint64_t
lower(struct brd_engine *engine, uint64_t bytes, uint64_t max)
{
    struct brd_caller *caller = engine->background;
    struct name_space *ns = &engine->default_ns;
    uint64_t before = brd_counter_get(&caller->counters.evictions);
    enum brd_status status = BRD_LIMIT_EXCEEDED;
    uint64_t evicted = 0;

    if (live_fits(engine, bytes) || brd_keyspace_eviction(ns->keyspace) == BRD_EVICTION_NONE)
        return 0;
    while (status == BRD_LIMIT_EXCEEDED && evicted < max) {
        brd_caller_begin(caller);
        status = evict_some(caller, ns, bytes, UINT32_MAX);
        brd_caller_end(caller);
        evicted = brd_counter_get(&caller->counters.evictions) - before;
    }
    return evicted;
}

uint64_t
room_tend(struct brd_engine *engine, uint64_t max, bool *out_wanted)
{
    uint64_t wanted = atomic_exchange_explicit(&engine->room_wanted, 0, memory_order_seq_cst);
    uint64_t work = lower(engine, wanted, max);
    uint32_t n;

    *out_wanted = wanted > 0;
    do {
        n = brd_keyspace_tend_eviction(engine->default_ns.keyspace, TEND_SLICE);
        work += n;
    } while (n >= TEND_SLICE && work < max);
    return work;
}

bool
room_is_wanted(const struct brd_engine *engine)
{
    return atomic_load_explicit(&engine->room_wanted, memory_order_seq_cst) > 0;
}
