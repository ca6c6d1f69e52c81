/* Writes of several keys, atomic: delete, put_many, clear. All their stripes are
 * held, in rising order, while one record with one version is queued. */
#include "engine/commands.h"
#include "engine/mutation.h"
#include "engine/steps.h"

static bool
delete_locked(struct brd_caller *caller, struct name_space *ns, struct brd_request *request,
              const uint64_t *hashes, uint64_t reserved, struct brd_reply *reply)
{
    struct mutation mutation = { .kind = MUTATION_DELETE, .ns = ns->id };
    uint64_t version;
    size_t live = 0;
    size_t i;

    brd_buf_clear(&caller->payload);
    for (i = 0; i < request->count; i++) {
        struct brd_view view;
        uint64_t seen;

        if (brd_guard_find(&caller->guard, hashes[i], request->keys[i], caller->now_ms, &view,
                           &seen) == BRD_OK) {
            live++;
            mutation.key = request->keys[i];
            if (step_is_logged(caller, ns))
                mutation_encode(&caller->payload, &mutation, false);
        }
        step_depend_on_read(caller, ns, reply, seen);
    }
    reply->has_number = true;
    if (live == 0)
        return false;
    if (caller->payload.failed) {
        reply->has_number = false;
        step_refuse_no_memory(caller, reply);
        return false;
    }
    version = step_commit(caller, ns, request, reserved, NULL);
    for (i = 0; i < request->count; i++)
        if (brd_guard_remove(&caller->guard, hashes[i], request->keys[i], version, caller->now_ms))
            reply->number++;
    brd_counter_add(&caller->counters.deletes, (uint64_t)reply->number);
    step_depend_on_write(ns, request, reply, version);
    return true;
}

enum brd_status
command_delete(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    const uint64_t *hashes = step_hash_keys(caller, request->keys, request->count);
    uint64_t reserved = 0;
    enum brd_status status;
    bool refused;
    size_t i;

    if (hashes == NULL)
        return step_refuse_no_memory(caller, reply);
    for (i = 0; i < request->count; i++)
        reserved += mutation_bytes_max(request->keys[i].size, 0);
    status = step_reserve_log_removal(caller, ns, reserved, reply, &refused);
    if (status != BRD_OK || refused)
        return status;
    if (!step_begin_many(caller, ns, BRD_GUARD_WRITE, hashes, request->count)) {
        step_unreserve_log(caller, ns, reserved);
        return step_refuse_no_memory(caller, reply);
    }
    if (!delete_locked(caller, ns, request, hashes, reserved, reply))
        step_unreserve_log(caller, ns, reserved);
    step_end_guard(caller);
    return BRD_OK;
}

/* A put_many being prepared: everything that can fail is done before locking. */
struct put_many {
    struct brd_entry **entries; /* in caller->items; owned, NULL once put */
    size_t made;
    struct brd_blob *payload; /* owned: the whole record, where it is large */
    uint64_t deadline_ms;
    uint64_t bytes; /* keys and values */
};

static bool
put_many_prepare(struct brd_caller *caller, const struct name_space *ns,
                 const struct brd_request *request, struct put_many *many)
{
    bool logged = step_is_logged(caller, ns);
    size_t i;

    brd_buf_clear(&caller->payload);
    brd_buf_clear(&caller->items);
    many->entries = (struct brd_entry **)(void *)brd_buf_reserve(&caller->items,
                                                                 request->count * sizeof(void *));
    if (many->entries == NULL)
        return false;
    for (i = 0; i < request->count; i++) {
        struct mutation mutation = { .kind = MUTATION_PUT,
                                     .ns = ns->id,
                                     .key = request->items[i].key,
                                     .value = request->items[i].value,
                                     .deadline_ms = many->deadline_ms };
        struct brd_blob *blob;

        many->entries[i] = step_make_entry(request->items[i].key, request->items[i].value, NULL,
                                           many->deadline_ms != 0, &blob);
        brd_blob_unref(blob);
        if (many->entries[i] == NULL)
            return false;
        many->made++;
        if (logged)
            mutation_encode(&caller->payload, &mutation, false);
    }
    if (caller->payload.failed)
        return false;
    if (caller->payload.size >= BRD_STORE_BLOB_MIN) {
        many->payload = brd_blob_copy(brd_buf_bytes(&caller->payload));
        if (many->payload == NULL)
            return false;
        brd_buf_clear(&caller->payload);
    }
    return true;
}

static bool
put_many_locked(struct brd_caller *caller, struct name_space *ns, struct brd_request *request,
                const uint64_t *hashes, uint64_t reserved, struct put_many *many,
                struct brd_reply *reply)
{
    uint64_t version;
    size_t i;

    for (i = 0; i < request->count; i++) {
        if (brd_guard_reserve(&caller->guard, hashes[i], many->deadline_ms != 0) != BRD_OK) {
            step_refuse_no_memory(caller, reply);
            return false;
        }
    }
    version = step_commit(caller, ns, request, reserved, many->payload);
    for (i = 0; i < request->count; i++) {
        brd_guard_put(&caller->guard, hashes[i], many->entries[i], version, many->deadline_ms,
                      caller->now_ms);
        many->entries[i] = NULL;
    }
    brd_counter_add(&caller->counters.puts, request->count);
    brd_counter_add(&caller->counters.bytes_written, many->bytes);
    step_depend_on_write(ns, request, reply, version);
    reply->number = (int64_t)request->count;
    reply->has_number = true;
    return true;
}

enum brd_status
command_put_many(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    const uint64_t *hashes = step_hash_items(caller, request->items, request->count);
    struct put_many many = { .deadline_ms = step_deadline_ms(caller, request) };
    uint64_t reserved = 0;
    enum brd_status status;
    bool used = false;
    bool refused;
    size_t i;

    for (i = 0; i < request->count; i++) {
        many.bytes += request->items[i].key.size + request->items[i].value.size;
        reserved += mutation_bytes_max(request->items[i].key.size, request->items[i].value.size);
    }
    if (hashes == NULL)
        return step_refuse_no_memory(caller, reply);
    if (many.deadline_ms != 0 && many.deadline_ms <= caller->now_ms)
        return step_refuse(caller, reply, BRD_INVALID_ARGUMENT,
                           "put_many with a deadline in the past; use delete");
    status =
        step_make_room(caller, ns, many.bytes + request->count * STEP_ENTRY_BYTES, reply, &refused);
    if (status != BRD_OK || refused)
        return status;
    status = step_reserve_log(caller, ns, reserved, reply, &refused);
    if (status != BRD_OK || refused)
        return status;
    if (put_many_prepare(caller, ns, request, &many) &&
        step_begin_many(caller, ns, BRD_GUARD_WRITE, hashes, request->count)) {
        used = put_many_locked(caller, ns, request, hashes, reserved, &many, reply);
        step_end_guard(caller);
    } else {
        step_refuse_no_memory(caller, reply);
    }
    if (!used)
        step_unreserve_log(caller, ns, reserved);
    for (i = 0; i < many.made; i++)
        brd_entry_discard(&many.entries[i]);
    brd_blob_unref(many.payload);
    return BRD_OK;
}

enum brd_status
command_clear(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    struct mutation mutation = { .kind = MUTATION_CLEAR, .ns = ns->id };
    uint64_t reserved = mutation_bytes_max(0, 0);
    enum brd_status status;
    uint64_t version;
    bool refused;

    status = step_reserve_log_removal(caller, ns, reserved, reply, &refused);
    if (status != BRD_OK || refused)
        return status;
    brd_buf_clear(&caller->payload);
    mutation_encode(&caller->payload, &mutation, false);
    if (caller->payload.failed || !step_begin_many(caller, ns, BRD_GUARD_WRITE, NULL, 0)) {
        step_unreserve_log(caller, ns, reserved);
        return step_refuse_no_memory(caller, reply);
    }
    version = step_commit(caller, ns, request, reserved, NULL);
    reply->number = (int64_t)brd_guard_clear(&caller->guard, version);
    reply->has_number = true;
    step_end_guard(caller);
    brd_counter_add(&caller->counters.clears, 1);
    step_depend_on_write(ns, request, reply, version);
    return BRD_OK;
}
