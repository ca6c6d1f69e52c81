/* Pipelines: many requests, one round trip.
 *
 *     requests  | frame 0 | frame 1 | ... |       encoded as they are added
 *     marks     end and kind of each frame
 *     replies   | reply 0 | reply 1 | ... |       bytes, as they came in
 *     saved     place of each reply, or the status that took its place
 *
 * Replies are kept as bytes and decoded when they are asked for: that is a third
 * of the memory, and most are looked at once. Both byte arrays together stay
 * below bytes_max; a reply that does not fit is dropped, not the run, since its
 * request has been carried out and the next ones are on their way.
 * Sending and receiving in turns is client_exchange's.
 * Threads: one at a time. */
#include <stdlib.h>

#include "client_internal.h"
#include "conn.h"
#include "decode.h"
#include "options.h"
#include "proto/frame.h"

#define FIRST_MARKS 64
#define KEEP_BYTES  ((size_t)1024 * 1024)

/* One reply: bytes of `replies`, unless status says that there is none. */
struct saved {
    size_t offset;
    size_t size;
    enum brd_status status; /* BRD_OK: the bytes are there */
};

struct brd_pipeline {
    struct brd_conn *requests;  /* owned; encodes */
    struct request_mark *marks; /* owned; one for each request */
    struct saved *saved;        /* owned; the same capacity */
    size_t count;
    size_t capacity;
    size_t requests_max;
    uint64_t bytes_max;
    uint64_t first_id;
    struct buffer replies;
    struct reply_store view; /* of the reply that was asked for last */
    bool ran;
};

static size_t
request_bytes(const struct brd_pipeline *pipeline)
{
    return pipeline->count == 0 ? 0 : pipeline->marks[pipeline->count - 1].end;
}

enum brd_status
brd_pipeline_create(const struct brd_pipeline_options *opts, struct brd_pipeline **out_pipeline)
{
    struct brd_pipeline_options own;
    struct brd_conn_options conn_opts = { .size = sizeof(conn_opts) };
    struct brd_pipeline *pipeline;
    enum brd_status status = options_read(opts, &own, sizeof(own));

    if (status != BRD_OK)
        return status;
    if (own.requests_max > BRD_PIPELINE_REQUESTS_MAX)
        return BRD_INVALID_ARGUMENT;
    pipeline = calloc(1, sizeof(*pipeline));
    if (pipeline == NULL)
        return BRD_OUT_OF_MEMORY;
    pipeline->requests_max = own.requests_max != 0 ? own.requests_max : BRD_PIPELINE_REQUESTS_MAX;
    pipeline->bytes_max = own.bytes_max != 0 ? own.bytes_max : BRD_PIPELINE_BYTES_MAX;
    conn_opts.output_bytes_max = pipeline->bytes_max;
    status = brd_conn_create(&conn_opts, &pipeline->requests);
    if (status != BRD_OK) {
        brd_pipeline_destroy(&pipeline);
        return status;
    }
    pipeline->first_id = conn_next_id(pipeline->requests);
    *out_pipeline = pipeline;
    return BRD_OK;
}

void
brd_pipeline_destroy(struct brd_pipeline **pipeline)
{
    if (pipeline == NULL || *pipeline == NULL)
        return;
    brd_conn_destroy(&(*pipeline)->requests);
    free((*pipeline)->marks);
    free((*pipeline)->saved);
    buffer_fini(&(*pipeline)->replies);
    reply_store_fini(&(*pipeline)->view);
    free(*pipeline);
    *pipeline = NULL;
}

void
brd_pipeline_reset(struct brd_pipeline *pipeline)
{
    brd_conn_reset(pipeline->requests);
    buffer_clear(&pipeline->replies, KEEP_BYTES);
    reply_store_trim(&pipeline->view);
    if (pipeline->capacity * sizeof(struct saved) > KEEP_BYTES) {
        free(pipeline->marks);
        free(pipeline->saved);
        pipeline->marks = NULL;
        pipeline->saved = NULL;
        pipeline->capacity = 0;
    }
    pipeline->count = 0;
    pipeline->first_id = conn_next_id(pipeline->requests);
    pipeline->ran = false;
}

enum brd_status
brd_pipeline_set_namespace(struct brd_pipeline *pipeline, struct brd_bytes name)
{
    return brd_conn_set_namespace(pipeline->requests, name);
}

size_t
brd_pipeline_size(const struct brd_pipeline *pipeline)
{
    return pipeline->count;
}

/* ---- Adding ------------------------------------------------------------- */

/* Room for one more mark, and the reply to come. */
static enum brd_status
reserve(struct brd_pipeline *pipeline)
{
    size_t capacity = pipeline->capacity == 0 ? FIRST_MARKS : 2 * pipeline->capacity;
    struct request_mark *marks;
    struct saved *saved;

    if (pipeline->ran)
        return BRD_INVALID_ARGUMENT;
    if (pipeline->count == pipeline->requests_max)
        return BRD_LIMIT_EXCEEDED;
    if (pipeline->count < pipeline->capacity)
        return BRD_OK;
    marks = realloc(pipeline->marks, capacity * sizeof(*marks));
    if (marks == NULL)
        return BRD_OUT_OF_MEMORY;
    pipeline->marks = marks;
    saved = realloc(pipeline->saved, capacity * sizeof(*saved));
    if (saved == NULL)
        return BRD_OUT_OF_MEMORY;
    pipeline->saved = saved;
    pipeline->capacity = capacity;
    return BRD_OK;
}

/* The next request has been encoded, or has not; take it back where there is no
 * room for it, so that adding is all or nothing. */
static enum brd_status
added(struct brd_pipeline *pipeline, bool repeatable, enum brd_status encoded, size_t *out_index)
{
    struct brd_bytes frames;
    enum brd_status status = encoded;

    if (encoded == BRD_OK) {
        status = reserve(pipeline);
        if (status != BRD_OK)
            conn_take_back(pipeline->requests, request_bytes(pipeline));
    }
    if (status != BRD_OK)
        return status;
    brd_conn_output(pipeline->requests, &frames);
    pipeline->marks[pipeline->count] =
        (struct request_mark){ .end = frames.size, .repeatable = repeatable };
    if (out_index != NULL)
        *out_index = pipeline->count;
    pipeline->count++;
    return BRD_OK;
}

#define MAY_REPEAT true
#define ONCE       false

enum brd_status
brd_pipeline_ping(struct brd_pipeline *pipeline, struct brd_bytes payload, size_t *out_index)
{
    return added(pipeline, MAY_REPEAT, brd_conn_ping(pipeline->requests, payload, NULL), out_index);
}

enum brd_status
brd_pipeline_get(struct brd_pipeline *pipeline, struct brd_bytes key, size_t *out_index)
{
    return added(pipeline, MAY_REPEAT, brd_conn_get(pipeline->requests, key, NULL), out_index);
}

enum brd_status
brd_pipeline_put(struct brd_pipeline *pipeline, struct brd_bytes key, struct brd_bytes value,
                 const struct brd_put_options *opts, size_t *out_index)
{
    return added(pipeline, ONCE, brd_conn_put(pipeline->requests, key, value, opts, NULL),
                 out_index);
}

enum brd_status
brd_pipeline_delete(struct brd_pipeline *pipeline, const struct brd_bytes *keys, size_t count,
                    const struct brd_write_options *opts, size_t *out_index)
{
    return added(pipeline, ONCE, brd_conn_delete(pipeline->requests, keys, count, opts, NULL),
                 out_index);
}

enum brd_status
brd_pipeline_get_many(struct brd_pipeline *pipeline, const struct brd_bytes *keys, size_t count,
                      size_t *out_index)
{
    return added(pipeline, MAY_REPEAT, brd_conn_get_many(pipeline->requests, keys, count, NULL),
                 out_index);
}

enum brd_status
brd_pipeline_put_many(struct brd_pipeline *pipeline, const struct brd_pair *pairs, size_t count,
                      const struct brd_put_many_options *opts, size_t *out_index)
{
    return added(pipeline, ONCE, brd_conn_put_many(pipeline->requests, pairs, count, opts, NULL),
                 out_index);
}

enum brd_status
brd_pipeline_incr(struct brd_pipeline *pipeline, struct brd_bytes key, int64_t delta,
                  const struct brd_incr_options *opts, size_t *out_index)
{
    return added(pipeline, ONCE, brd_conn_incr(pipeline->requests, key, delta, opts, NULL),
                 out_index);
}

enum brd_status
brd_pipeline_exists(struct brd_pipeline *pipeline, const struct brd_bytes *keys, size_t count,
                    size_t *out_index)
{
    return added(pipeline, MAY_REPEAT, brd_conn_exists(pipeline->requests, keys, count, NULL),
                 out_index);
}

enum brd_status
brd_pipeline_ttl(struct brd_pipeline *pipeline, struct brd_bytes key, size_t *out_index)
{
    return added(pipeline, MAY_REPEAT, brd_conn_ttl(pipeline->requests, key, NULL), out_index);
}

enum brd_status
brd_pipeline_expire(struct brd_pipeline *pipeline, struct brd_bytes key,
                    const struct brd_expire_options *opts, size_t *out_index)
{
    return added(pipeline, ONCE, brd_conn_expire(pipeline->requests, key, opts, NULL), out_index);
}

enum brd_status
brd_pipeline_persist(struct brd_pipeline *pipeline, struct brd_bytes key,
                     const struct brd_write_options *opts, size_t *out_index)
{
    return added(pipeline, ONCE, brd_conn_persist(pipeline->requests, key, opts, NULL), out_index);
}

enum brd_status
brd_pipeline_append(struct brd_pipeline *pipeline, struct brd_bytes key, struct brd_bytes value,
                    const struct brd_write_options *opts, size_t *out_index)
{
    return added(pipeline, ONCE, brd_conn_append(pipeline->requests, key, value, opts, NULL),
                 out_index);
}

enum brd_status
brd_pipeline_count(struct brd_pipeline *pipeline, bool exact, size_t *out_index)
{
    return added(pipeline, MAY_REPEAT, brd_conn_count(pipeline->requests, exact, NULL), out_index);
}

enum brd_status
brd_pipeline_clear(struct brd_pipeline *pipeline, const struct brd_write_options *opts,
                   size_t *out_index)
{
    return added(pipeline, ONCE, brd_conn_clear(pipeline->requests, opts, NULL), out_index);
}

enum brd_status
brd_pipeline_purge(struct brd_pipeline *pipeline, size_t *out_index)
{
    return added(pipeline, ONCE, brd_conn_purge(pipeline->requests, NULL), out_index);
}

enum brd_status
brd_pipeline_sync(struct brd_pipeline *pipeline, size_t *out_index)
{
    return added(pipeline, ONCE, brd_conn_sync(pipeline->requests, NULL), out_index);
}

enum brd_status
brd_pipeline_stats(struct brd_pipeline *pipeline, struct brd_bytes prefix, size_t *out_index)
{
    return added(pipeline, MAY_REPEAT, brd_conn_stats(pipeline->requests, prefix, NULL), out_index);
}

enum brd_status
brd_pipeline_reset_stats(struct brd_pipeline *pipeline, size_t *out_index)
{
    return added(pipeline, ONCE, brd_conn_reset_stats(pipeline->requests, NULL), out_index);
}

enum brd_status
brd_pipeline_checkpoint(struct brd_pipeline *pipeline, enum brd_checkpoint_mode mode,
                        size_t *out_index)
{
    return added(pipeline, ONCE, brd_conn_checkpoint(pipeline->requests, mode, NULL), out_index);
}

/* ---- Running ------------------------------------------------------------ */

static void
save_reply(void *context, size_t index, const struct brd_reply *reply, struct brd_bytes frame)
{
    struct brd_pipeline *pipeline = context;
    struct saved *saved = &pipeline->saved[index];
    uint64_t used = request_bytes(pipeline) + buffer_size(&pipeline->replies);

    (void)reply;
    *saved = (struct saved){ .offset = pipeline->replies.end, .size = frame.size };
    if (frame.size > pipeline->bytes_max - used) {
        saved->status = BRD_LIMIT_EXCEEDED;
        return;
    }
    if (!buffer_reserve(&pipeline->replies, frame.size)) {
        saved->status = BRD_LIMIT_EXCEEDED; /* carried out all the same: see brindle.h */
        return;
    }
    if (frame.size != 0)
        memcpy(pipeline->replies.data + pipeline->replies.end, frame.data, frame.size);
    pipeline->replies.end += frame.size;
}

/* Is there a request that the server would refuse, and the connection with it? */
static bool
has_too_large(const struct brd_pipeline *pipeline, uint64_t frame_bytes_max)
{
    uint64_t largest = frame_bytes_max + brd_frame_prefix_size(frame_bytes_max);
    size_t start = 0;
    size_t i;

    if (frame_bytes_max == 0 || frame_bytes_max > BRD_FRAME_BYTES_MAX)
        return false;
    for (i = 0; i < pipeline->count; i++) {
        if (pipeline->marks[i].end - start > largest)
            return true;
        start = pipeline->marks[i].end;
    }
    return false;
}

static void
save_statuses(struct brd_pipeline *pipeline, const struct exchange *exchange,
              enum brd_status failure)
{
    size_t i;

    for (i = exchange->answered; i < pipeline->count; i++)
        pipeline->saved[i] = (struct saved){ .status = client_lost_status(exchange, i, failure) };
}

enum brd_status
brd_pipeline_run(struct brd_pipeline *pipeline, struct brd_client *client, uint32_t timeout_ms)
{
    struct exchange exchange = { .marks = pipeline->marks,
                                 .count = pipeline->count,
                                 .first_id = pipeline->first_id,
                                 .on_reply = save_reply,
                                 .context = pipeline };
    enum brd_status status = BRD_OK;

    client_begin(client);
    if (pipeline->ran) {
        client_explain(client, "a pipeline runs once; reset it first");
        return BRD_INVALID_ARGUMENT;
    }
    pipeline->ran = true;
    if (has_too_large(pipeline, client->info.max_frame_bytes)) {
        client_explain(client, "a request is above the server's max_frame_bytes; none was sent");
        status = BRD_TOO_LARGE;
    } else if (pipeline->count != 0) {
        brd_conn_output(pipeline->requests, &exchange.frames);
        status = client_exchange(client, &exchange, timeout_ms);
    }
    if (status == BRD_OK)
        return BRD_OK;
    save_statuses(pipeline, &exchange, status);
    status = client_lost_status(&exchange, exchange.answered, status);
    client_explain_lost(client, status);
    return status;
}

const struct brd_reply *
brd_pipeline_reply(struct brd_pipeline *pipeline, size_t index)
{
    const struct saved *saved;

    if (!pipeline->ran || index >= pipeline->count) {
        reply_store_set(&pipeline->view, BRD_INVALID_ARGUMENT);
        return &pipeline->view.reply;
    }
    saved = &pipeline->saved[index];
    if (saved->status != BRD_OK)
        reply_store_set(&pipeline->view, saved->status);
    else if (decode_reply(pipeline->replies.data + saved->offset, saved->size, &pipeline->view) !=
             NULL)
        reply_store_set(&pipeline->view, BRD_LIMIT_EXCEEDED); /* no memory for its items */
    return &pipeline->view.reply;
}
