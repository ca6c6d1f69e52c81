/* One request at a time: Hello and Ping are answered here, everything else by
 * the engine.
 *
 * A reply is encoded straight from the store's memory, perhaps with a stripe
 * held for reading, and is done with at once: nothing here waits. A reply of
 * many values is weighed first, because only here both its size and the state
 * of the output are known: one that would not fit into a frame is refused, and
 * one above the soft limit of output is postponed until the output is empty.
 * Such requests only read, so that executing them again is harmless. */
#include "session/core.h"

#define PROTOCOL_VERSION      1
#define CLIENT_NAME_BYTES_MAX 128
#define PING_BYTES_MAX        4096
#define ITEM_OVERHEAD         32 /* of a value in a reply of many, at most */

static const bool op_writes[BRD_OP_COUNT_OF] = {
    [BRD_OP_PUT] = true,    [BRD_OP_DELETE] = true, [BRD_OP_PUT_MANY] = true,
    [BRD_OP_INCR] = true,   [BRD_OP_EXPIRE] = true, [BRD_OP_PERSIST] = true,
    [BRD_OP_APPEND] = true, [BRD_OP_CLEAR] = true,  [BRD_OP_PURGE] = true,
};

static void
put_reply(struct brd_session *session, uint64_t id, const struct brd_reply *reply)
{
    if (BRD_UNLIKELY(reply->status > BRD_EXISTS))
        brd_counter_add(&session->env->counters.replies_failed, 1);
    brd_wire_encode(&session->out, id, reply);
}

void
dispatch_status(struct brd_session *session, uint64_t id, enum brd_status status,
                const char *message)
{
    struct brd_reply reply = { .status = status, .message = message };

    put_reply(session, id, &reply);
}

static bool
is_printable(struct brd_bytes text)
{
    size_t i;

    for (i = 0; i < text.size; i++)
        if (text.data[i] < 0x20 || text.data[i] > 0x7e)
            return false;
    return true;
}

static void
answer_hello(struct brd_session *session, const struct brd_request *request)
{
    const struct brd_session_env *env = session->env;
    struct brd_hello_reply hello = {
        .protocol_version = PROTOCOL_VERSION,
        .server_version = BRINDLE_VERSION,
        .epoch = env->info.epoch,
        .max_key_bytes = env->info.max_key_bytes,
        .max_value_bytes = env->info.max_value_bytes,
        .max_frame_bytes = env->frame_bytes_max,
        .max_batch_keys = env->wire_limits.batch_keys_max,
        .max_pending_requests = env->limits.pending_max,
        .durability = env->info.durability,
    };
    struct brd_reply reply = { .status = BRD_OK, .hello = &hello };

    if (request->protocol_version != PROTOCOL_VERSION)
        dispatch_status(session, request->id, BRD_UNSUPPORTED,
                        "this server speaks version 1 of the protocol and no other");
    else if (request->value.size > CLIENT_NAME_BYTES_MAX || !is_printable(request->value))
        dispatch_status(session, request->id, BRD_INVALID_ARGUMENT,
                        "client_name is longer than 128 bytes or not printable ASCII");
    else
        put_reply(session, request->id, &reply);
}

static void
answer_ping(struct brd_session *session, const struct brd_request *request)
{
    struct brd_reply reply = { .status = BRD_OK, .has_value = true, .value = request->value };

    if (request->value.size > PING_BYTES_MAX)
        dispatch_status(session, request->id, BRD_TOO_LARGE,
                        "the payload of a ping is at most 4096 bytes");
    else
        put_reply(session, request->id, &reply);
}

/* What a reply of many values comes to, and what to do about it. */
enum verdict { FITS, FITS_ALONE, FITS_LATER, FITS_NEVER };

static enum verdict
weigh(const struct brd_session *session, const struct brd_reply *reply)
{
    const struct brd_session_env *env = session->env;
    uint64_t total = 0;
    uint64_t blobs = 0;
    size_t i;

    for (i = 0; i < reply->item_count; i++) {
        total += reply->items[i].value.size + ITEM_OVERHEAD;
        if (reply->items[i].blob != NULL)
            blobs += reply->items[i].value.size;
    }
    if (total > env->frame_bytes_max)
        return FITS_NEVER;
    if (total - blobs > CROWDED_BYTES_FREE && is_crowded(env, total - blobs))
        return FITS_LATER;
    if (total - blobs > env->limits.output_soft_bytes || blobs > env->limits.output_blob_bytes)
        return FITS_ALONE;
    return FITS;
}

/* The request was not carried out, or is not over. */
static enum dispatch_result
leave(struct brd_session *session, const struct brd_request *request)
{
    if (session->job.under_way)
        return DISPATCH_PARTLY;
    if (session->job.ticket == 0 || session->hurry == BRD_OK)
        return DISPATCH_PARKED;
    session->job = (struct brd_job){ .ticket = 0 };
    dispatch_status(session, request->id, session->hurry,
                    session->hurry == BRD_SHUTTING_DOWN
                        ? "the daemon stops, and the checkpoint is not over"
                        : "the client has ended its side of the connection, and the checkpoint is "
                          "not over: it goes on");
    return DISPATCH_DONE;
}

static enum dispatch_result
execute(struct brd_session *session, struct brd_request *request, struct gate *out_gate)
{
    struct brd_session_env *env = session->env;
    enum dispatch_result result = DISPATCH_DONE;
    enum verdict verdict = FITS;
    struct brd_reply reply;
    enum brd_status status;

    request->job = &session->job;
    status = brd_caller_execute(env->caller, request, &reply);
    if (BRD_UNLIKELY(status != BRD_OK)) {
        BRD_CHECK(status == BRD_BUSY);
        return leave(session, request);
    }
    if (BRD_UNLIKELY(reply.item_count > 0))
        verdict = weigh(session, &reply);
    if (BRD_UNLIKELY(verdict == FITS_NEVER)) {
        dispatch_status(session, request->id, BRD_TOO_LARGE,
                        "the values together are larger than a frame may be; ask for fewer keys");
    } else if (BRD_UNLIKELY(verdict == FITS_LATER)) {
        dispatch_status(session, request->id, BRD_BUSY,
                        "too many replies wait for clients to take them; try again, or ask for "
                        "fewer keys");
    } else if (BRD_UNLIKELY(verdict == FITS_ALONE && brd_outq_pending(&session->out) > 0)) {
        result = DISPATCH_POSTPONED;
    } else {
        put_reply(session, request->id, &reply);
        if (BRD_UNLIKELY(reply.after_normal > env->committed.normal))
            out_gate->after_normal = reply.after_normal;
        if (BRD_UNLIKELY(reply.after_full > env->committed.full))
            out_gate->after_full = reply.after_full;
    }
    brd_caller_done(env->caller, &reply);
    return result;
}

enum dispatch_result
dispatch_request(struct brd_session *session, struct brd_request *request, enum brd_status decoded,
                 struct gate *out_gate)
{
    struct brd_session_counters *counters = &session->env->counters;
    enum dispatch_result result = DISPATCH_DONE;
    uint64_t begin = session->out.end;
    uint64_t blob_bytes = session->out.blob_bytes;
    bool was_empty = brd_outq_pending(&session->out) == 0;

    *out_gate = (struct gate){ .begin = begin, .id = request->id };
    if (BRD_UNLIKELY(decoded != BRD_OK)) {
        request->op = BRD_OP_UNKNOWN;
        dispatch_status(session, request->id, decoded, NULL);
    } else if (BRD_UNLIKELY(request->op == BRD_OP_HELLO)) {
        answer_hello(session, request);
    } else if (BRD_UNLIKELY(request->op == BRD_OP_PING)) {
        answer_ping(session, request);
    } else {
        out_gate->write = op_writes[request->op];
        result = execute(session, request, out_gate);
    }
    if (BRD_UNLIKELY(result != DISPATCH_DONE))
        return result;

    out_gate->end = session->out.end;
    blob_bytes = session->out.blob_bytes - blob_bytes;
    if (BRD_UNLIKELY(was_empty &&
                     out_gate->end - begin - blob_bytes > session->env->limits.output_soft_bytes)) {
        session->large_end = out_gate->end;
        session->behind_blob_bytes = 0;
    } else {
        session->behind_blob_bytes += blob_bytes; /* only read while there is a large reply */
    }
    brd_counter_add(&counters->requests, 1);
    brd_counter_add(&counters->by_op[request->op], 1);
    return DISPATCH_DONE;
}
