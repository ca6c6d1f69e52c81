/* Brindle's native protocol, by the connection without I/O of libbrindle.
 *
 * Statistics are turned into lines "name:number\n", the shape that the other
 * protocols have too; the version comes from Hello. */
#include "buffer.h"
#include "codec.h"

#include <brindle.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct codec_brindle {
    struct codec codec; /* first */
    struct brd_conn *conn;
    struct buffer stats;
    char server_version[64]; /* from Hello */
};

static bool
brindle_create(struct codec **out_codec, struct bench_error *error)
{
    struct brd_conn_options opts = { .size = sizeof(opts),
                                     .reply_bytes_max = BUFFER_BYTES_MAX,
                                     .output_bytes_max = BUFFER_BYTES_MAX };
    struct codec_brindle *self = calloc(1, sizeof(*self));
    if (self == NULL)
        return bench_error_set(error, "no memory for a connection");
    enum brd_status status = brd_conn_create(&opts, &self->conn);
    if (status != BRD_OK) {
        free(self);
        return bench_error_set(error, "no connection object: %s", brd_status_text(status));
    }
    *out_codec = &self->codec;
    return true;
}

static void
brindle_destroy(struct codec *codec)
{
    struct codec_brindle *self = (struct codec_brindle *)codec;
    brd_conn_destroy(&self->conn);
    buffer_fini(&self->stats);
    free(self);
}

static enum brd_status
encode_put(struct brd_conn *conn, const struct request *request, struct brd_bytes key)
{
    struct brd_bytes value = brd_bytes(request->value.data, request->value.len);
    struct brd_put_options opts = { .size = sizeof(opts), .ttl_ms = request->ttl_ms };

    if (request->kind == REQUEST_SET && request->ttl_ms == 0)
        return brd_conn_put(conn, key, value, NULL, NULL);
    if (request->kind == REQUEST_ADD)
        opts.condition = BRD_IF_ABSENT;
    else if (request->kind == REQUEST_REPLACE)
        opts.condition = BRD_IF_PRESENT;
    return brd_conn_put(conn, key, value, &opts, NULL);
}

static enum brd_status
encode_get_many(struct brd_conn *conn, const struct request *request)
{
    struct brd_bytes keys[CODEC_KEYS_MAX];
    BENCH_CHECK(request->key_count <= CODEC_KEYS_MAX);
    for (unsigned i = 0; i < request->key_count; i++)
        keys[i] = brd_bytes(request->keys[i].data, request->keys[i].len);
    return brd_conn_get_many(conn, keys, request->key_count, NULL);
}

static bool
brindle_encode(struct codec *codec, const struct request *request)
{
    struct codec_brindle *self = (struct codec_brindle *)codec;
    struct brd_conn *conn = self->conn;
    struct brd_bytes key = { NULL, 0 };
    enum brd_status status = BRD_INVALID_ARGUMENT;

    if (request->key_count > 0)
        key = brd_bytes(request->keys[0].data, request->keys[0].len);
    switch (request->kind) {
    case REQUEST_GET:
        status = brd_conn_get(conn, key, NULL);
        break;
    case REQUEST_GET_MANY:
        status = encode_get_many(conn, request);
        break;
    case REQUEST_SET:
    case REQUEST_ADD:
    case REQUEST_REPLACE:
        status = encode_put(conn, request, key);
        break;
    case REQUEST_APPEND:
        status = brd_conn_append(conn, key, brd_bytes(request->value.data, request->value.len),
                                 NULL, NULL);
        break;
    case REQUEST_DELETE:
        status = brd_conn_delete(conn, &key, 1, NULL, NULL);
        break;
    case REQUEST_STATS:
        status = brd_conn_stats(conn, brd_bytes(NULL, 0), NULL);
        break;
    case REQUEST_HELLO:
        status = brd_conn_hello(conn, brd_bytes_of("brindle-bench"), NULL);
        break;
    case REQUEST_KINDS:
        break;
    }
    if (status == BRD_LIMIT_EXCEEDED)
        return bench_error_set(
            &codec->error, "more requests would wait to be sent than a connection queues: lower "
                           "--pipeline");
    if (status != BRD_OK)
        return bench_error_set(&codec->error, "a request could not be encoded: %s",
                               brd_status_text(status));
    return true;
}

static struct span
brindle_output(struct codec *codec)
{
    struct codec_brindle *self = (struct codec_brindle *)codec;
    struct brd_bytes out = { NULL, 0 };
    brd_conn_output(self->conn, &out);
    return (struct span){ out.data, out.size };
}

static void
brindle_output_sent(struct codec *codec, size_t len)
{
    brd_conn_output_consume(((struct codec_brindle *)codec)->conn, len);
}

static uint8_t *
brindle_input_space(struct codec *codec, size_t *out_len)
{
    struct codec_brindle *self = (struct codec_brindle *)codec;
    void *space = NULL;
    enum brd_status status = brd_conn_input_space(self->conn, 0, &space, out_len);
    if (status != BRD_OK) {
        bench_error_set(&codec->error, "no room for a reply: %s", brd_status_text(status));
        return NULL;
    }
    return space;
}

static void
brindle_input_added(struct codec *codec, size_t len)
{
    brd_conn_input_commit(((struct codec_brindle *)codec)->conn, len);
}

static bool
append_text(struct buffer *buffer, const void *bytes, size_t len)
{
    uint8_t *space = buffer_reserve(buffer, len);
    if (space == NULL)
        return false;
    if (len > 0)
        memcpy(space, bytes, len);
    buffer->end += len;
    return true;
}

static bool
copy_stats(struct codec_brindle *self, const struct brd_reply *reply)
{
    struct buffer *text = &self->stats;
    text->start = text->end = 0;
    if (!append_text(text, "server_version:", 15) ||
        !append_text(text, self->server_version, strlen(self->server_version)) ||
        !append_text(text, "\n", 1))
        return false;
    for (size_t i = 0; i < reply->stat_count; i++) {
        const struct brd_stat *stat = brd_reply_stat(reply, i);
        char number[32];
        int len = snprintf(number, sizeof(number), "%" PRId64, stat->number);
        if (!append_text(text, stat->name.data, stat->name.size) || !append_text(text, ":", 1))
            return false;
        if (stat->is_text ? !append_text(text, stat->text.data, stat->text.size)
                          : !append_text(text, number, (size_t)len))
            return false;
        if (!append_text(text, "\n", 1))
            return false;
    }
    return true;
}

static void
read_items(struct codec_brindle *self, const struct brd_reply *from, struct reply *reply)
{
    reply->kind = REPLY_MANY;
    reply->hits = 0;
    for (size_t i = 0; i < from->item_count; i++) {
        const struct brd_item *item = brd_reply_item(from, i);
        if (!item->found)
            continue;
        reply->hits++;
        if (self->codec.value_fn != NULL)
            self->codec.value_fn(self->codec.value_context, i, (struct span){ NULL, 0 },
                                 (struct span){ item->value.data, item->value.size });
    }
    reply->misses = (uint32_t)from->item_count - reply->hits;
}

/* A status that is neither OK nor an outcome this kind can have. */
static void
read_failure(const struct brd_reply *from, struct reply *reply)
{
    const char *name = brd_status_name(from->status);
    reply->kind = REPLY_ERROR;
    if (from->message.size > 0)
        reply->value = (struct span){ from->message.data, from->message.size };
    else
        reply->value = (struct span){ (const uint8_t *)name, strlen(name) };
}

static enum codec_result
read_reply(struct codec_brindle *self, enum request_kind kind, unsigned key_count,
           const struct brd_reply *from, struct reply *reply)
{
    reply->value = (struct span){ NULL, 0 };
    if (from->status == BRD_NOT_FOUND && (kind == REQUEST_GET || kind == REQUEST_REPLACE)) {
        reply->kind = REPLY_MISS;
        return CODEC_REPLY;
    }
    if (from->status == BRD_EXISTS && kind == REQUEST_ADD) {
        reply->kind = REPLY_REFUSED;
        return CODEC_REPLY;
    }
    if (from->status != BRD_OK) {
        read_failure(from, reply);
        return CODEC_REPLY;
    }
    reply->kind = REPLY_DONE;
    switch (kind) {
    case REQUEST_GET:
        if (!from->has_value)
            break;
        reply->kind = REPLY_HIT;
        reply->value = (struct span){ from->value.data, from->value.size };
        return CODEC_REPLY;
    case REQUEST_GET_MANY:
        if (from->item_count != key_count)
            break;
        read_items(self, from, reply);
        return CODEC_REPLY;
    case REQUEST_DELETE:
        if (!from->has_number)
            break;
        reply->kind = from->number == 0 ? REPLY_MISS : REPLY_DONE;
        return CODEC_REPLY;
    case REQUEST_STATS:
        if (!copy_stats(self, from))
            break;
        reply->kind = REPLY_HIT;
        reply->value = (struct span){ self->stats.data, self->stats.end };
        return CODEC_REPLY;
    case REQUEST_SET:
    case REQUEST_ADD:
    case REQUEST_REPLACE:
    case REQUEST_APPEND:
        return CODEC_REPLY;
    case REQUEST_HELLO:
        if (from->hello != NULL)
            snprintf(self->server_version, sizeof(self->server_version), "%.*s",
                     (int)from->hello->server_version.size,
                     (const char *)from->hello->server_version.data);
        return CODEC_REPLY;
    case REQUEST_KINDS:
        break;
    }
    bench_error_set(&self->codec.error, "a reply without what was asked for");
    return CODEC_BROKEN;
}

static enum codec_result
brindle_next(struct codec *codec, enum request_kind kind, unsigned key_count,
             struct reply *out_reply)
{
    struct codec_brindle *self = (struct codec_brindle *)codec;
    const struct brd_reply *from = NULL;

    switch (brd_conn_next_reply(self->conn, &from)) {
    case BRD_CONN_MORE:
        return CODEC_MORE;
    case BRD_CONN_BROKEN:
        bench_error_set(&codec->error, "not understood: %s", brd_conn_error(self->conn));
        return CODEC_BROKEN;
    case BRD_CONN_REPLY:
        break;
    }
    if (from->id == 0) {
        bench_error_set(&codec->error, "the server closes the connection: %s: %.*s",
                        brd_status_name(from->status), (int)from->message.size,
                        (const char *)from->message.data);
        return CODEC_BROKEN;
    }
    return read_reply(self, kind, key_count, from, out_reply);
}

const struct codec_ops codec_brindle_ops = {
    .has_hello = true,
    .create = brindle_create,
    .destroy = brindle_destroy,
    .encode = brindle_encode,
    .output = brindle_output,
    .output_sent = brindle_output_sent,
    .input_space = brindle_input_space,
    .input_added = brindle_input_added,
    .next = brindle_next,
};
