/* The connection without I/O.
 *
 *     requests -> encode.c -> output -> (the caller's socket)
 *     (the caller's socket) -> input -> frame.c, decode.c -> reply
 *
 * Both queues are one allocation each that is reused. The reply is a view into
 * the input, which is consumed only when the next one is asked for:
 *
 *     input  | reply given out | whole frames | part of a frame | room |
 *            start             start + given                    end    capacity
 *
 * Memory: the input grows with what has been received, at most doubling, never
 * by what a length prefix announces. A queue above KEEP_BYTES is given back when
 * it runs empty, so one large value does not stay for ever.
 * Ids: next_reply_id <= next_id; the difference is what is unanswered. Replies
 * come in order (the protocol says so), hence no table of requests.
 * Failure: `error` is sticky; the reply that was bad is not consumed.
 * Not here: what the requests contain (conn_requests.c); sockets, clocks. */
#include "conn.h"

#include <stdlib.h>

#include "decode.h"
#include "options.h"
#include "proto/frame.h"

#define READ_BYTES ((size_t)16 * 1024)   /* a good size of a read */
#define KEEP_BYTES ((size_t)1024 * 1024) /* of an empty queue */

struct brd_conn {
    struct buffer output;
    struct buffer input;
    size_t given;        /* bytes of input that the last reply occupies */
    size_t frame_needed; /* bytes of the incomplete frame at the front; 0: not known */
    struct brd_bytes last_frame;
    struct reply_store store;
    const char *error; /* static; NULL: none */

    uint64_t next_id;       /* of the next request */
    uint64_t next_reply_id; /* of the oldest unanswered request */
    uint64_t reply_bytes_max;
    uint64_t output_bytes_max;
    uint64_t frame_bytes_max; /* of a request */
    size_t namespace_size;
    char namespace_name[BRD_NAMESPACE_BYTES_MAX];
};

enum brd_status
brd_conn_create(const struct brd_conn_options *opts, struct brd_conn **out_conn)
{
    struct brd_conn_options own;
    struct brd_conn *conn;
    enum brd_status status = options_read(opts, &own, sizeof(own));

    if (status != BRD_OK)
        return status;
    if (own.reply_bytes_max > BRD_FRAME_BYTES_MAX)
        return BRD_INVALID_ARGUMENT;
    conn = calloc(1, sizeof(*conn));
    if (conn == NULL)
        return BRD_OUT_OF_MEMORY;
    conn->reply_bytes_max =
        own.reply_bytes_max != 0 ? own.reply_bytes_max : (uint64_t)BRD_FRAME_BYTES_MAX;
    conn->output_bytes_max =
        own.output_bytes_max != 0 ? own.output_bytes_max : (uint64_t)BRD_OUTPUT_BYTES_MAX;
    conn->frame_bytes_max = BRD_FRAME_BYTES_MAX;
    conn->next_id = 1;
    conn->next_reply_id = 1;
    *out_conn = conn;
    return BRD_OK;
}

void
brd_conn_destroy(struct brd_conn **conn)
{
    if (conn == NULL || *conn == NULL)
        return;
    buffer_fini(&(*conn)->output);
    buffer_fini(&(*conn)->input);
    reply_store_fini(&(*conn)->store);
    free(*conn);
    *conn = NULL;
}

void
brd_conn_reset(struct brd_conn *conn)
{
    buffer_clear(&conn->output, KEEP_BYTES);
    buffer_clear(&conn->input, KEEP_BYTES);
    reply_store_trim(&conn->store);
    conn->given = 0;
    conn->frame_needed = 0;
    conn->last_frame = brd_bytes(NULL, 0);
    conn->error = NULL;
    conn->next_reply_id = conn->next_id;
    conn->frame_bytes_max = BRD_FRAME_BYTES_MAX;
}

enum brd_status
brd_conn_set_namespace(struct brd_conn *conn, struct brd_bytes name)
{
    if (name.size > sizeof(conn->namespace_name))
        return BRD_INVALID_ARGUMENT;
    if (name.size != 0)
        memcpy(conn->namespace_name, name.data, name.size);
    conn->namespace_size = name.size;
    return BRD_OK;
}

/* ---- Output ------------------------------------------------------------- */

static inline struct envelope
envelope_of(const struct brd_conn *conn)
{
    return (struct envelope){
        .id = conn->next_id,
        .name_space = brd_bytes(conn->namespace_name, conn->namespace_size),
        .frame_bytes_max = conn->frame_bytes_max,
        .output_bytes_max = conn->output_bytes_max,
    };
}

/* The request with next_id has been encoded, or has not. */
static inline enum brd_status
conn_appended(struct brd_conn *conn, enum brd_status status, uint64_t *out_id)
{
    if (status != BRD_OK)
        return status;
    if (out_id != NULL)
        *out_id = conn->next_id;
    conn->next_id++;
    return BRD_OK;
}

enum brd_status
conn_append(struct brd_conn *conn, const struct operation *operation, uint64_t *out_id)
{
    struct envelope envelope = envelope_of(conn);

    return conn_appended(conn, encode_request(&conn->output, &envelope, operation), out_id);
}

enum brd_status
conn_append_get(struct brd_conn *conn, struct brd_bytes key, uint64_t *out_id)
{
    struct envelope envelope = envelope_of(conn);

    return conn_appended(conn, encode_get(&conn->output, &envelope, key), out_id);
}

enum brd_status
conn_append_put(struct brd_conn *conn, struct brd_bytes key, struct brd_bytes value,
                uint64_t *out_id)
{
    struct envelope envelope = envelope_of(conn);

    return conn_appended(conn, encode_put(&conn->output, &envelope, key, value), out_id);
}

void
brd_conn_output(const struct brd_conn *conn, struct brd_bytes *out)
{
    out->size = buffer_size(&conn->output);
    out->data = out->size == 0 ? NULL : buffer_front(&conn->output);
}

void
brd_conn_output_consume(struct brd_conn *conn, size_t n)
{
    size_t size = buffer_size(&conn->output);

    buffer_consume(&conn->output, n < size ? n : size);
    if (n >= size)
        buffer_clear(&conn->output, KEEP_BYTES);
}

/* ---- Input -------------------------------------------------------------- */

/* Drop the bytes of the reply that was given out last. */
static inline void
consume_given(struct brd_conn *conn)
{
    buffer_consume(&conn->input, conn->given);
    conn->given = 0;
}

/* How much room to offer: enough for the rest of a frame that has begun, but no
 * more than what has been received of it. */
static size_t
wanted_space(const struct brd_conn *conn, size_t min)
{
    size_t have = buffer_size(&conn->input);
    size_t wanted = READ_BYTES;

    if (conn->frame_needed > have + wanted) {
        wanted = conn->frame_needed - have;
        if (wanted > have)
            wanted = have > READ_BYTES ? have : READ_BYTES;
    }
    return min > wanted ? min : wanted;
}

enum brd_status
brd_conn_input_space(struct brd_conn *conn, size_t min, void **out_space, size_t *out_capacity)
{
    if (min > BRD_FRAME_BYTES_MAX)
        return BRD_INVALID_ARGUMENT;
    consume_given(conn);
    if (buffer_size(&conn->input) == 0 && conn->input.capacity > KEEP_BYTES) {
        buffer_clear(&conn->input, KEEP_BYTES);
        reply_store_trim(&conn->store);
    }
    if (!buffer_reserve(&conn->input, wanted_space(conn, min)))
        return BRD_OUT_OF_MEMORY;
    *out_space = conn->input.data + conn->input.end;
    *out_capacity = conn->input.capacity - conn->input.end;
    return BRD_OK;
}

void
brd_conn_input_commit(struct brd_conn *conn, size_t n)
{
    size_t room = conn->input.capacity - conn->input.end;

    conn->input.end += n < room ? n : room;
}

enum brd_status
brd_conn_feed(struct brd_conn *conn, const void *data, size_t size)
{
    void *space;
    size_t capacity;
    enum brd_status status = brd_conn_input_space(conn, size, &space, &capacity);

    if (status != BRD_OK)
        return status;
    if (size != 0)
        memcpy(space, data, size);
    brd_conn_input_commit(conn, size);
    return BRD_OK;
}

static enum brd_conn_event
break_conn(struct brd_conn *conn, const char *error)
{
    conn->error = error;
    return BRD_CONN_BROKEN;
}

/* A server may tell its limits in any Hello reply. */
static void
learn_limits(struct brd_conn *conn, const struct brd_reply *reply)
{
    if (reply->status == BRD_OK && reply->hello != NULL)
        conn_set_frame_max(conn, reply->hello->max_frame_bytes);
}

enum brd_conn_event
brd_conn_next_reply(struct brd_conn *conn, const struct brd_reply **out_reply)
{
    const struct brd_reply *reply = &conn->store.reply;
    const uint8_t *frame;
    const char *error;
    size_t head;
    uint64_t body;

    if (conn->error != NULL)
        return BRD_CONN_BROKEN;
    consume_given(conn);
    if (buffer_size(&conn->input) == 0) {
        conn->frame_needed = 0;
        return BRD_CONN_MORE;
    }
    frame = buffer_front(&conn->input);
    switch (
        brd_frame_parse(frame, buffer_size(&conn->input), conn->reply_bytes_max, &head, &body)) {
    case BRD_FRAME_OK:
        break;
    case BRD_FRAME_MORE:
        conn->frame_needed = head == 0 ? 0 : head + (size_t)body;
        return BRD_CONN_MORE;
    case BRD_FRAME_TOO_LONG:
        return break_conn(conn, "a reply is announced that is longer than reply_bytes_max");
    case BRD_FRAME_BAD:
        return break_conn(conn, "the length of a reply has more than five bytes");
    }
    error = decode_reply(frame + head, (size_t)body, &conn->store);
    if (error != NULL)
        return break_conn(conn, error);
    if (reply->id != 0) {
        if (conn->next_reply_id == conn->next_id)
            return break_conn(conn, "a reply to no request");
        if (reply->id != conn->next_reply_id)
            return break_conn(conn, "a reply to another request than the oldest unanswered one");
        conn->next_reply_id++;
    }
    if (reply->hello != NULL)
        learn_limits(conn, reply);
    conn->frame_needed = 0;
    conn->given = head + (size_t)body;
    conn->last_frame = brd_bytes(frame + head, (size_t)body);
    *out_reply = reply;
    return BRD_CONN_REPLY;
}

uint64_t
brd_conn_pending(const struct brd_conn *conn)
{
    return conn->next_id - conn->next_reply_id;
}

size_t
brd_conn_input_pending(const struct brd_conn *conn)
{
    return buffer_size(&conn->input) - conn->given;
}

const char *
brd_conn_error(const struct brd_conn *conn)
{
    return conn->error == NULL ? "" : conn->error;
}

/* ---- For the blocking client -------------------------------------------- */

void
conn_take_back(struct brd_conn *conn, size_t output_size)
{
    conn->output.end = conn->output.start + output_size;
    conn->next_id--;
}

void
conn_expect(struct brd_conn *conn, uint64_t first_id, uint64_t count)
{
    conn->next_reply_id = first_id;
    conn->next_id = first_id + count;
}

uint64_t
conn_next_id(const struct brd_conn *conn)
{
    return conn->next_id;
}

void
conn_set_frame_max(struct brd_conn *conn, uint64_t frame_bytes_max)
{
    if (frame_bytes_max == 0 || frame_bytes_max > BRD_FRAME_BYTES_MAX)
        frame_bytes_max = BRD_FRAME_BYTES_MAX;
    conn->frame_bytes_max = frame_bytes_max;
}

struct brd_bytes
conn_last_frame(const struct brd_conn *conn)
{
    return conn->last_frame;
}
