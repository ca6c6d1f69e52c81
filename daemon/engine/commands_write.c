/* Writes of one key: put, incr, expire, persist. The order of steps is in
 * commands.c. */
#include "engine/commands.h"
#include "engine/mutation.h"
#include "engine/steps.h"

#include <inttypes.h>
#include <stdio.h>

/* Does the condition hold? If not, the reply says so. */
static bool
condition_holds(struct brd_caller *caller, const struct brd_request *request, bool live,
                const struct brd_view *view, struct brd_reply *reply)
{
    enum brd_status status = BRD_OK;

    switch (request->condition) {
    case BRD_ALWAYS:
        return true;
    case BRD_IF_ABSENT:
        status = live ? BRD_EXISTS : BRD_OK;
        break;
    case BRD_IF_PRESENT:
        status = live ? BRD_OK : BRD_NOT_FOUND;
        break;
    case BRD_IF_VERSION:
        if (!live)
            status = BRD_NOT_FOUND;
        else if (view->version != request->if_version)
            status = BRD_VERSION_MISMATCH;
        break;
    }
    if (status == BRD_OK)
        return true;
    reply->status = status;
    reply->version = live ? view->version : 0;
    brd_counter_add(&caller->counters.conditions_failed, 1);
    return false;
}

/* Under the write guard: everything that remains of a put once the condition
 * holds. Takes *entry over on success; false where memory is out. */
static bool
finish_put(struct brd_caller *caller, struct name_space *ns, const struct brd_request *request,
           uint64_t reserved, struct brd_entry **entry, struct brd_bytes value,
           struct brd_blob *blob, uint64_t deadline_ms, uint64_t *out_version)
{
    struct mutation mutation = { .kind = MUTATION_PUT,
                                 .ns = ns->id,
                                 .key = request->key,
                                 .value = value,
                                 .deadline_ms = deadline_ms };

    brd_buf_clear(&caller->payload);
    if (step_is_logged(caller, ns))
        mutation_encode(&caller->payload, &mutation, blob != NULL);
    if (caller->payload.failed ||
        brd_guard_reserve(&caller->guard, request->hash, deadline_ms != 0) != BRD_OK)
        return false;
    *out_version = step_commit(caller, ns, request, reserved, blob);
    brd_guard_put(&caller->guard, request->hash, *entry, *out_version, deadline_ms, caller->now_ms);
    *entry = NULL;
    brd_counter_add(&caller->counters.puts, 1);
    brd_counter_add(&caller->counters.bytes_written, request->key.size + value.size);
    return true;
}

/* A put under its write guard. True where the log claim was used. */
static bool
put_locked(struct brd_caller *caller, struct name_space *ns, struct brd_request *request,
           uint64_t reserved, struct brd_entry **entry, struct brd_blob *blob,
           struct brd_reply *reply)
{
    uint64_t deadline_ms = step_deadline_ms(caller, request);
    struct brd_view view = { 0 };
    uint64_t version;
    uint64_t seen = 0;
    bool live = false;

    if (request->condition != BRD_ALWAYS || request->keep_ttl || request->return_previous) {
        live = brd_guard_find(&caller->guard, request->hash, request->key, caller->now_ms, &view,
                              &seen) == BRD_OK;
        step_depend_on_read(caller, ns, reply, seen);
        if (live && request->return_previous)
            step_show_value(caller, reply, &view);
        if (!condition_holds(caller, request, live, &view, reply))
            return false;
        if (live && request->keep_ttl)
            deadline_ms = view.deadline_ms;
    }
    if (deadline_ms != 0 && deadline_ms <= caller->now_ms) {
        if (step_remove_as_expired(caller, ns, request, reserved, reply))
            return true;
        reply->has_value = false;
        reply->blob = NULL;
        return false;
    }
    if (!finish_put(caller, ns, request, reserved, entry, request->value, blob, deadline_ms,
                    &version)) {
        reply->has_value = false;
        reply->blob = NULL;
        step_refuse_no_memory(caller, reply);
        return false;
    }
    step_depend_on_write(ns, request, reply, version);
    return true;
}

/* Is it nothing but a key and a small value? Then its entry may be overwritten. */
static bool
is_plain_put(const struct brd_request *request)
{
    return request->value.size < BRD_STORE_BLOB_MIN && request->condition == BRD_ALWAYS &&
           (request->ttl_ms | request->deadline_ms) == 0 && !request->keep_ttl &&
           !request->return_previous;
}

/* Overwrite the key's value in place. Under the write guard. False, and nothing
 * has happened, where there is no room for it, or no memory for its record. */
static bool
overwrite(struct brd_caller *caller, struct name_space *ns, struct brd_request *request,
          uint64_t reserved, struct brd_reply *reply)
{
    struct brd_entry *entry =
        brd_guard_find_room(&caller->guard, request->hash, request->key, request->value.size);
    uint64_t version;

    if (entry == NULL)
        return false;
    if (step_is_logged(caller, ns)) {
        struct mutation mutation = {
            .kind = MUTATION_PUT, .ns = ns->id, .key = request->key, .value = request->value
        };

        brd_buf_clear(&caller->payload);
        mutation_encode(&caller->payload, &mutation, false);
        if (caller->payload.failed)
            return false;
    }
    version = step_commit(caller, ns, request, reserved, NULL);
    brd_guard_overwrite(&caller->guard, request->hash, entry, request->value, version);
    brd_counter_add(&caller->counters.puts, 1);
    brd_counter_add(&caller->counters.bytes_written, request->key.size + request->value.size);
    step_depend_on_write(ns, request, reply, version);
    return true;
}

/* A put whose log claim is there. The entry is made before the stripe is taken,
 * except where it was taken to overwrite one that then could not be. */
static void
put_reserved(struct brd_caller *caller, struct name_space *ns, struct brd_request *request,
             uint64_t reserved, struct brd_reply *reply)
{
    bool has_deadline = request->ttl_ms != 0 || request->deadline_ms != 0 || request->keep_ttl;
    bool plain = is_plain_put(request);
    struct brd_blob *blob = NULL;
    struct brd_entry *entry;

    if (plain) {
        step_begin_one(caller, ns, BRD_GUARD_WRITE, request->hash);
        if (overwrite(caller, ns, request, reserved, reply)) {
            step_end_guard(caller);
            return;
        }
    }
    entry = step_make_entry(request->key, request->value, request->value_blob, has_deadline, &blob);
    if (!plain && entry != NULL)
        step_begin_one(caller, ns, BRD_GUARD_WRITE, request->hash);
    if (entry == NULL)
        step_refuse_no_memory(caller, reply);
    if (entry == NULL || !put_locked(caller, ns, request, reserved, &entry, blob, reply))
        step_unreserve_log(caller, ns, reserved);
    if (reply->has_value && reply->blob != NULL) {
        /* A large previous value outlives the guard by a reference. */
        caller->blob = brd_blob_ref(reply->blob);
        step_end_guard(caller);
    } else if (!reply->has_value && caller->guard_open) {
        step_end_guard(caller);
    }
    brd_entry_discard(&entry);
    brd_blob_unref(blob);
}

enum brd_status
command_put(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    uint64_t reserved = mutation_bytes_max(request->key.size, request->value.size);
    enum brd_status status;
    bool refused;

    status = step_make_room(caller, ns, request->key.size + request->value.size + STEP_ENTRY_BYTES,
                            reply, &refused);
    if (status != BRD_OK || refused)
        return status;
    status = step_reserve_log(caller, ns, reserved, reply, &refused);
    if (status == BRD_OK && !refused)
        put_reserved(caller, ns, request, reserved, reply);
    return status;
}

/* A decimal 64-bit integer exactly as we would print it, as Redis demands. */
static bool
parse_integer(struct brd_bytes text, int64_t *out)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t value = 0;
    size_t i = negative ? 1 : 0;

    if (text.size == i || text.size > 20)
        return false;
    if (text.data[i] == '0' && (text.size > i + 1 || negative))
        return false;
    for (; i < text.size; i++) {
        uint64_t digit = (uint64_t)text.data[i] - '0';

        if (digit > 9 || value > (limit - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

static bool
incr_locked(struct brd_caller *caller, struct name_space *ns, struct brd_request *request,
            uint64_t reserved, struct brd_reply *reply)
{
    uint64_t deadline_ms = step_deadline_ms(caller, request);
    int64_t number = request->initial;
    struct brd_entry *entry = NULL;
    struct brd_view view;
    char digits[24];
    uint64_t version;
    uint64_t seen;
    bool done;
    int n;

    if (brd_guard_find(&caller->guard, request->hash, request->key, caller->now_ms, &view, &seen) ==
        BRD_OK) {
        step_depend_on_read(caller, ns, reply, seen);
        reply->version = view.version;
        if (!parse_integer(view.value, &number)) {
            reply->status = BRD_NOT_AN_INTEGER;
            return false;
        }
        deadline_ms = view.deadline_ms;
    } else {
        step_depend_on_read(caller, ns, reply, seen);
    }
    if (__builtin_add_overflow(number, request->delta, &number)) {
        reply->status = BRD_OUT_OF_RANGE;
        return false;
    }
    if (deadline_ms != 0 && deadline_ms <= caller->now_ms) {
        /* Created with a deadline in the past: it lived for no time. */
        if (!step_remove_as_expired(caller, ns, request, reserved, reply))
            return false;
        reply->number = number;
        reply->has_number = true;
        return true;
    }
    n = snprintf(digits, sizeof(digits), "%" PRId64, number);
    entry = brd_entry_create(request->key, brd_bytes(digits, (size_t)n), NULL, deadline_ms != 0);
    done = entry != NULL && finish_put(caller, ns, request, reserved, &entry,
                                       brd_bytes(digits, (size_t)n), NULL, deadline_ms, &version);
    brd_entry_discard(&entry);
    if (!done) {
        step_refuse_no_memory(caller, reply);
        return false;
    }
    step_depend_on_write(ns, request, reply, version);
    reply->number = number;
    reply->has_number = true;
    return true;
}

enum brd_status
command_incr(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    uint64_t reserved = mutation_bytes_max(request->key.size, 24);
    enum brd_status status;
    bool refused;

    status = step_make_room(caller, ns, request->key.size + 24 + STEP_ENTRY_BYTES, reply, &refused);
    if (status != BRD_OK || refused)
        return status;
    status = step_reserve_log(caller, ns, reserved, reply, &refused);
    if (status != BRD_OK || refused)
        return status;
    step_begin_one(caller, ns, BRD_GUARD_WRITE, request->hash);
    if (!incr_locked(caller, ns, request, reserved, reply))
        step_unreserve_log(caller, ns, reserved);
    step_end_guard(caller);
    return BRD_OK;
}

static bool
expire_locked(struct brd_caller *caller, struct name_space *ns, struct brd_request *request,
              uint64_t deadline_ms, uint64_t reserved, struct brd_reply *reply)
{
    struct mutation mutation = {
        .kind = MUTATION_TOUCH, .ns = ns->id, .key = request->key, .deadline_ms = deadline_ms
    };
    struct brd_entry *entry;
    struct brd_view view;
    uint64_t version;
    uint64_t seen;

    reply->status =
        brd_guard_find(&caller->guard, request->hash, request->key, caller->now_ms, &view, &seen);
    step_depend_on_read(caller, ns, reply, seen);
    if (reply->status != BRD_OK)
        return false;
    reply->version = view.version;
    if (request->op == BRD_OP_PERSIST) {
        reply->has_number = true;
        reply->number = view.deadline_ms != 0;
        if (view.deadline_ms == 0)
            return false;
    }
    if (deadline_ms != 0 && deadline_ms <= caller->now_ms)
        return step_remove_as_expired(caller, ns, request, reserved, reply);
    entry = brd_guard_copy_entry(&caller->guard, request->hash, request->key, deadline_ms != 0);
    mutation.base = view.version;
    brd_buf_clear(&caller->payload);
    mutation_encode(&caller->payload, &mutation, false);
    if (entry == NULL || caller->payload.failed ||
        brd_guard_reserve(&caller->guard, request->hash, deadline_ms != 0) != BRD_OK) {
        brd_entry_discard(&entry);
        reply->has_number = false;
        step_refuse_no_memory(caller, reply);
        return false;
    }
    version = step_commit(caller, ns, request, reserved, NULL);
    brd_guard_put(&caller->guard, request->hash, entry, version, deadline_ms, caller->now_ms);
    brd_counter_add(&caller->counters.expires, 1);
    step_depend_on_write(ns, request, reply, version);
    return true;
}

enum brd_status
command_expire(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    uint64_t reserved = mutation_bytes_max(request->key.size, 0);
    uint64_t deadline_ms = 0;
    enum brd_status status;
    bool refused;

    if (request->op == BRD_OP_EXPIRE) {
        deadline_ms = step_deadline_ms(caller, request);
        if (deadline_ms == 0)
            return step_refuse(
                caller, reply, BRD_INVALID_ARGUMENT,
                "expire needs ttl_ms or deadline_ms; use persist to remove a deadline");
    }
    if (deadline_ms > caller->now_ms) {
        status =
            step_make_room_to_grow(caller, ns, request, STEP_LINKS_BYTES, true, reply, &refused);
        if (status != BRD_OK || refused)
            return status;
    }
    status = step_reserve_log(caller, ns, reserved, reply, &refused);
    if (status != BRD_OK || refused)
        return status;
    step_begin_one(caller, ns, BRD_GUARD_WRITE, request->hash);
    if (!expire_locked(caller, ns, request, deadline_ms, reserved, reply))
        step_unreserve_log(caller, ns, reserved);
    step_end_guard(caller);
    return BRD_OK;
}
