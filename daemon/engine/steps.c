/* The steps that commands are made of: see steps.h. */
#include "engine/steps.h"

#include "engine/mutation.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum brd_status
step_refuse(struct brd_caller *caller, struct brd_reply *reply, enum brd_status status,
            const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(caller->message, sizeof(caller->message), format, args);
    va_end(args);
    reply->status = status;
    reply->message = caller->message;
    brd_counter_add(&caller->counters.errors, 1);
    if (status == BRD_OUT_OF_MEMORY)
        brd_counter_add(&caller->counters.out_of_memory, 1);
    return BRD_OK;
}

enum brd_status
step_refuse_no_memory(struct brd_caller *caller, struct brd_reply *reply)
{
    return step_refuse(caller, reply, BRD_OUT_OF_MEMORY,
                       "the system has no memory left for this request; nothing was changed");
}

enum brd_status
step_refuse_disk_full(struct brd_caller *caller, struct brd_reply *reply)
{
    brd_counter_add(&caller->counters.disk_full, 1);
    return step_refuse(caller, reply, BRD_DISK_FULL,
                       "the disk has no room for this beside the reserve that is kept for a "
                       "checkpoint; reads and deletes go on, writes resume when there is space");
}

struct name_space *
step_find_name_space(struct brd_caller *caller, struct brd_bytes name)
{
    struct name_space *ns = &caller->engine->default_ns;

    return brd_bytes_equal(name, brd_bytes_of(ns->name)) ? ns : NULL;
}

void
step_depend_on_read(const struct brd_caller *caller, const struct name_space *ns,
                    struct brd_reply *reply, uint64_t seen)
{
    if (ns->durability == BRD_DURABILITY_NORMAL) {
        if (seen > caller->committed.normal && seen > reply->after_normal)
            reply->after_normal = seen;
    } else if (ns->durability == BRD_DURABILITY_FULL) {
        if (seen > caller->committed.full && seen > reply->after_full)
            reply->after_full = seen;
    }
}

static enum brd_durability
durability_of(const struct name_space *ns, const struct brd_request *request)
{
    return request->durability == BRD_DURABILITY_DEFAULT ? ns->durability : request->durability;
}

void
step_depend_on_write(const struct name_space *ns, const struct brd_request *request,
                     struct brd_reply *reply, uint64_t version)
{
    enum brd_durability durability = durability_of(ns, request);

    if (durability == BRD_DURABILITY_NORMAL && version > reply->after_normal)
        reply->after_normal = version;
    if (durability == BRD_DURABILITY_FULL && version > reply->after_full)
        reply->after_full = version;
    reply->version = version;
}

bool
step_is_logged(const struct brd_caller *caller, const struct name_space *ns)
{
    return caller->engine->wal != NULL && ns->durability != BRD_DURABILITY_NONE;
}

/* The claim was answered with status. */
static enum brd_status
end_claim(struct brd_caller *caller, enum brd_status status, struct brd_reply *reply,
          bool *out_refused)
{
    if (status == BRD_OK)
        return BRD_OK;
    if (status == BRD_BUSY) {
        brd_counter_add(&caller->counters.log_waits, 1);
        return BRD_BUSY;
    }
    *out_refused = true;
    if (status == BRD_DISK_FULL)
        return step_refuse_disk_full(caller, reply);
    return step_refuse(caller, reply, status, "%s", brd_status_sentence(status));
}

enum brd_status
step_reserve_log(struct brd_caller *caller, const struct name_space *ns, uint64_t bytes,
                 struct brd_reply *reply, bool *out_refused)
{
    *out_refused = false;
    if (!step_is_logged(caller, ns))
        return BRD_OK;
    return end_claim(caller, brd_wal_reserve(caller->engine->wal, bytes), reply, out_refused);
}

enum brd_status
step_reserve_log_removal(struct brd_caller *caller, const struct name_space *ns, uint64_t bytes,
                         struct brd_reply *reply, bool *out_refused)
{
    *out_refused = false;
    if (!step_is_logged(caller, ns))
        return BRD_OK;
    return end_claim(caller, brd_wal_reserve_removal(caller->engine->wal, bytes), reply,
                     out_refused);
}

void
step_unreserve_log(struct brd_caller *caller, const struct name_space *ns, uint64_t bytes)
{
    if (step_is_logged(caller, ns))
        brd_wal_unreserve(caller->engine->wal, bytes);
}

uint64_t
step_commit(struct brd_caller *caller, const struct name_space *ns,
            const struct brd_request *request, uint64_t reserved, struct brd_blob *blob)
{
    struct brd_wal_payload payload;
    bool sync;

    if (!step_is_logged(caller, ns))
        return brd_sequencer_next(&caller->engine->sequencer, caller->now_ns);
    payload = (struct brd_wal_payload){ .head = brd_buf_bytes(&caller->payload), .blob = blob };
    BRD_CHECK(payload.head.size + (blob != NULL ? blob->size : 0) <= reserved);
    sync = ns->durability == BRD_DURABILITY_FULL || request->durability == BRD_DURABILITY_FULL;
    caller->appended = true;
    return brd_wal_append(caller->engine->wal, reserved, caller->now_ns, &payload, sync);
}

bool
step_has_room(const struct brd_caller *caller, uint64_t bytes)
{
    uint64_t max = atomic_load_explicit(&caller->engine->max_memory_bytes, memory_order_relaxed);

    return max == 0 || brd_store_used_bytes(caller->engine->store) +
                               memory_overhead(&caller->engine->memory) + bytes <=
                           max;
}

enum brd_status
step_refuse_full(struct brd_caller *caller, struct brd_reply *reply, uint64_t bytes)
{
    uint64_t max = atomic_load_explicit(&caller->engine->max_memory_bytes, memory_order_relaxed);

    return step_refuse(caller, reply, BRD_OUT_OF_MEMORY,
                       "max-memory (%" PRIu64 " bytes) leaves no room for %" PRIu64
                       " more; delete keys or raise it",
                       max, bytes);
}

uint64_t
step_deadline_ms(const struct brd_caller *caller, const struct brd_request *request)
{
    if (request->deadline_ms != 0)
        return request->deadline_ms;
    if (request->ttl_ms == 0)
        return 0;
    if (request->ttl_ms > UINT64_MAX / 4 - caller->now_ms)
        return UINT64_MAX / 4; /* some hundred million years: never */
    return caller->now_ms + request->ttl_ms;
}

/* Under its stripes a write goes by the newest time that anybody has used: a key
 * that another caller has already seen expired must not be touched back to life. */
static void
catch_up(struct brd_caller *caller)
{
    uint64_t floor_ns = atomic_load_explicit(&caller->engine->floor_ns, memory_order_relaxed);

    if (BRD_LIKELY(floor_ns <= caller->now_ns))
        return;
    caller->now_ns = floor_ns;
    caller->now_ms = floor_ns / BRD_NS_PER_MS;
}

void
step_begin_one(struct brd_caller *caller, struct name_space *ns, enum brd_guard_mode mode,
               uint64_t hash)
{
    brd_guard_begin(&caller->guard, ns->keyspace, mode, hash);
    caller->guard_open = true;
    if (mode == BRD_GUARD_WRITE)
        catch_up(caller);
}

void
step_end_guard(struct brd_caller *caller)
{
    BRD_DCHECK(caller->guard_open);
    caller->guard_open = false;
    brd_guard_end(&caller->guard);
}

void
step_show_value(struct brd_caller *caller, struct brd_reply *reply, const struct brd_view *view)
{
    reply->value = view->value;
    reply->blob = view->blob;
    reply->has_value = true;
    brd_counter_add(&caller->counters.bytes_read, view->value.size);
}

bool
step_remove_as_expired(struct brd_caller *caller, struct name_space *ns,
                       const struct brd_request *request, uint64_t reserved,
                       struct brd_reply *reply)
{
    struct mutation mutation = { .kind = MUTATION_DELETE, .ns = ns->id, .key = request->key };
    uint64_t version;

    brd_buf_clear(&caller->payload);
    mutation_encode(&caller->payload, &mutation, false);
    if (caller->payload.failed) {
        step_refuse_no_memory(caller, reply);
        return false;
    }
    version = step_commit(caller, ns, request, reserved, NULL);
    brd_guard_remove(&caller->guard, request->hash, request->key, version, caller->now_ms);
    brd_counter_add(&caller->counters.deadlines_past, 1);
    step_depend_on_write(ns, request, reply, version);
    return true;
}

static uint64_t *
room_for_hashes(struct brd_caller *caller, size_t n)
{
    brd_buf_clear(&caller->hashes);
    return (uint64_t *)(void *)brd_buf_reserve(&caller->hashes, n * sizeof(uint64_t));
}

const uint64_t *
step_hash_keys(struct brd_caller *caller, const struct brd_bytes *keys, size_t n)
{
    uint64_t *hashes = room_for_hashes(caller, n);
    size_t i;

    for (i = 0; hashes != NULL && i < n; i++)
        hashes[i] = brd_store_hash(caller->engine->store, keys[i]);
    return hashes;
}

const uint64_t *
step_hash_items(struct brd_caller *caller, const struct brd_key_value *items, size_t n)
{
    uint64_t *hashes = room_for_hashes(caller, n);
    size_t i;

    for (i = 0; hashes != NULL && i < n; i++)
        hashes[i] = brd_store_hash(caller->engine->store, items[i].key);
    return hashes;
}

void
step_prefetch(const struct name_space *ns, const uint64_t *hashes, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        brd_keyspace_prefetch(ns->keyspace, hashes[i]);
    for (i = 0; i < n; i++)
        brd_keyspace_prefetch_entry(ns->keyspace, hashes[i]);
}

bool
step_begin_many(struct brd_caller *caller, struct name_space *ns, enum brd_guard_mode mode,
                const uint64_t *hashes, size_t n)
{
    if (n == 1) {
        step_begin_one(caller, ns, mode, hashes[0]);
        return true;
    }
    if (brd_guard_begin_many(&caller->guard, ns->keyspace, mode, hashes, n) != BRD_OK)
        return false;
    caller->guard_open = true;
    if (mode == BRD_GUARD_WRITE)
        catch_up(caller);
    return true;
}

void
step_depend_on_all(const struct brd_caller *caller, const struct name_space *ns,
                   struct brd_reply *reply)
{
    uint64_t queued;
    uint64_t changed;

    if (!step_is_logged(caller, ns))
        return;
    queued = brd_wal_last_version(caller->engine->wal);
    /* Newer where the log failed, and dropped the record of a change under way. */
    changed = brd_keyspace_newest_removal(ns->keyspace);
    step_depend_on_read(caller, ns, reply, queued > changed ? queued : changed);
}

struct brd_entry *
step_make_entry(struct brd_bytes key, struct brd_bytes value, struct brd_blob *received,
                bool has_deadline, struct brd_blob **out_blob)
{
    struct brd_entry *entry;
    struct brd_blob *blob;

    *out_blob = NULL;
    if (value.size < BRD_STORE_BLOB_MIN)
        return brd_entry_create(key, value, NULL, has_deadline);
    blob = received != NULL ? brd_blob_ref(received) : brd_blob_copy(value);
    if (blob == NULL)
        return NULL;
    entry = brd_entry_create(key, brd_bytes(NULL, 0), blob, has_deadline);
    if (entry == NULL) {
        brd_blob_unref(blob);
        return NULL;
    }
    *out_blob = brd_blob_ref(blob);
    return entry;
}
