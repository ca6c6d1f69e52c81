/* Append: a large result is built without the stripe, from a reference to the
 * old value, and put if the key has not changed meanwhile. */
#include "engine/commands.h"
#include "engine/mutation.h"
#include "engine/steps.h"

#include <inttypes.h>

/* How often the result is built outside the stripe before it is built under it:
 * somebody else keeps changing the value. */
#define APPEND_TRIES 4

/* What an append works on. base 0: the key was absent. */
struct append {
    uint64_t base;
    uint64_t deadline_ms;
    uint64_t size;           /* of the value so far */
    struct brd_entry *entry; /* owned: the result */
    struct brd_bytes added;  /* what goes to the log: the new bytes */
    struct brd_blob *blob;   /* owned: the same, where it goes by reference */
};

/* The value so far and the new bytes, as an entry. False where memory is out. */
static bool
append_build(struct brd_caller *caller, const struct brd_request *request, struct brd_bytes old,
             struct append *append)
{
    size_t size = old.size + request->value.size;
    struct brd_blob *blob = NULL;
    uint8_t *to;

    if (old.size == 0 && request->value_blob != NULL && size >= BRD_STORE_BLOB_MIN) {
        append->entry =
            brd_entry_create(request->key, brd_bytes(NULL, 0), brd_blob_ref(request->value_blob),
                             append->deadline_ms != 0);
        if (append->entry == NULL)
            brd_blob_unref(request->value_blob);
        return append->entry != NULL;
    }
    if (size >= BRD_STORE_BLOB_MIN) {
        blob = brd_blob_create(size);
        to = blob != NULL ? blob->data : NULL;
    } else {
        brd_buf_clear(&caller->items);
        to = brd_buf_reserve(&caller->items, size + 1);
    }
    if (to == NULL)
        return false;
    if (old.size > 0)
        memcpy(to, old.data, old.size);
    if (request->value.size > 0)
        memcpy(to + old.size, request->value.data, request->value.size);
    append->entry =
        brd_entry_create(request->key, blob != NULL ? brd_bytes(NULL, 0) : brd_bytes(to, size),
                         blob, append->deadline_ms != 0);
    if (append->entry == NULL) {
        brd_blob_unref(blob);
        return false;
    }
    return true;
}

/* Under the write guard, with the result built upon base: log and put it. */
static bool
append_finish(struct brd_caller *caller, struct name_space *ns, struct brd_request *request,
              uint64_t reserved, struct append *append, struct brd_reply *reply)
{
    struct mutation mutation = { .kind = append->base != 0 ? MUTATION_APPEND : MUTATION_PUT,
                                 .ns = ns->id,
                                 .key = request->key,
                                 .value = append->added,
                                 .base = append->base,
                                 .deadline_ms = append->deadline_ms };
    bool apart = append->blob != NULL;
    uint64_t version;

    brd_buf_clear(&caller->payload);
    mutation_encode(&caller->payload, &mutation, apart);
    if (caller->payload.failed ||
        brd_guard_reserve(&caller->guard, request->hash, append->deadline_ms != 0) != BRD_OK) {
        step_refuse_no_memory(caller, reply);
        return false;
    }
    version = step_commit(caller, ns, request, reserved, append->blob);
    brd_guard_put(&caller->guard, request->hash, append->entry, version, append->deadline_ms,
                  caller->now_ms);
    append->entry = NULL;
    brd_counter_add(&caller->counters.puts, 1);
    brd_counter_add(&caller->counters.bytes_written, request->value.size);
    step_depend_on_write(ns, request, reply, version);
    reply->number = (int64_t)(append->size + request->value.size);
    reply->has_number = true;
    return true;
}

/* Look at the key under the guard. False, with the reply filled in, where the
 * result would be too large. */
static bool
append_look(struct brd_caller *caller, struct name_space *ns, const struct brd_request *request,
            struct append *append, struct brd_view *view, struct brd_reply *reply)
{
    uint64_t max = caller->engine->options.max_value_bytes;
    uint64_t seen;

    *view = (struct brd_view){ 0 };
    (void)brd_guard_find(&caller->guard, request->hash, request->key, caller->now_ms, view, &seen);
    step_depend_on_read(caller, ns, reply, seen);
    append->base = view->version;
    append->deadline_ms = view->deadline_ms;
    append->size = view->value.size;
    if (view->value.size + request->value.size <= max)
        return true;
    reply->version = view->version;
    step_refuse(caller, reply, BRD_TOO_LARGE,
                "the value would have %zu bytes; max-value-size is %" PRIu64,
                view->value.size + request->value.size, max);
    return false;
}

/* Build a large result without the stripe: from a reference to the old blob, or
 * a copy of the old short value. Ends the guard. */
static bool
append_build_apart(struct brd_caller *caller, const struct brd_request *request,
                   const struct brd_view *view, struct append *append)
{
    struct brd_blob *old = view->blob != NULL ? brd_blob_ref(view->blob) : NULL;
    bool built;

    if (old == NULL) {
        brd_buf_clear(&caller->payload);
        brd_buf_append(&caller->payload, view->value.data, view->value.size);
    }
    step_end_guard(caller);
    built =
        !caller->payload.failed &&
        append_build(caller, request,
                     old != NULL ? brd_blob_bytes(old) : brd_buf_bytes(&caller->payload), append);
    brd_blob_unref(old);
    return built;
}

/* One try, under a write guard that the caller ends. Where the result is large
 * it is built without the stripe; *out_again: somebody changed the key meanwhile. */
static bool
append_try(struct brd_caller *caller, struct name_space *ns, struct brd_request *request,
           uint64_t reserved, struct append *append, bool under_lock, struct brd_reply *reply,
           bool *out_again)
{
    struct brd_view view;

    *out_again = false;
    step_begin_one(caller, ns, BRD_GUARD_WRITE, request->hash);
    if (!append_look(caller, ns, request, append, &view, reply))
        return false;
    if (view.value.size + request->value.size >= BRD_STORE_BLOB_MIN && !under_lock) {
        uint64_t base = append->base;
        bool built = append_build_apart(caller, request, &view, append);

        step_begin_one(caller, ns, BRD_GUARD_WRITE, request->hash);
        if (!built) {
            step_refuse_no_memory(caller, reply);
            return false;
        }
        if (!append_look(caller, ns, request, append, &view, reply))
            return false;
        if (append->base != base) {
            *out_again = true;
            return false;
        }
    } else if (!append_build(caller, request, view.value, append)) {
        step_refuse_no_memory(caller, reply);
        return false;
    }
    return append_finish(caller, ns, request, reserved, append, reply);
}

enum brd_status
command_append(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct name_space *ns = step_name_space(caller, request);
    uint64_t reserved = mutation_bytes_max(request->key.size, request->value.size);
    struct append append = { .added = request->value };
    enum brd_status status;
    bool again = true;
    bool refused;
    bool used = false;
    int tries;

    status = step_make_room_to_grow(caller, ns, request,
                                    request->key.size + request->value.size + STEP_ENTRY_BYTES,
                                    false, reply, &refused);
    if (status != BRD_OK || refused)
        return status;
    status = step_reserve_log(caller, ns, reserved, reply, &refused);
    if (status != BRD_OK || refused)
        return status;
    if (step_is_logged(caller, ns) && request->value.size >= BRD_STORE_BLOB_MIN) {
        append.blob = request->value_blob != NULL ? brd_blob_ref(request->value_blob)
                                                  : brd_blob_copy(request->value);
        if (append.blob == NULL) {
            step_unreserve_log(caller, ns, reserved);
            return step_refuse_no_memory(caller, reply);
        }
    }
    for (tries = 0; again; tries++) {
        used = append_try(caller, ns, request, reserved, &append, tries >= APPEND_TRIES, reply,
                          &again);
        step_end_guard(caller);
        brd_entry_discard(&append.entry);
    }
    if (!used)
        step_unreserve_log(caller, ns, reserved);
    brd_blob_unref(append.blob);
    return BRD_OK;
}
