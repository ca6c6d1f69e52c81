/* memcached's text protocol: get, set, add, replace, append, delete, stats.
 *
 * Time to live is in whole seconds there, rounded up; above 30 days the
 * protocol wants Unix time. A GET of many keys names those it found. A value
 * that the server refuses ("SERVER_ERROR object too large for cache") is an
 * error reply like any other. */
#include "codec_text.h"

#include <time.h>

#define RELATIVE_SECONDS_MAX (30 * 24 * 60 * 60)
#define STATS_BYTES_MAX      (UINT64_C(1) << 20)

static uint8_t *
put_keys(uint8_t *p, const struct request *request)
{
    for (unsigned i = 0; i < request->key_count; i++) {
        *p++ = ' ';
        p = text_put(p, request->keys[i].data, request->keys[i].len);
    }
    return p;
}

static uint8_t *
put_store(uint8_t *p, const struct request *request)
{
    uint64_t seconds = request->ttl_ms / 1000 + (request->ttl_ms % 1000 != 0 ? 1 : 0);
    if (seconds > RELATIVE_SECONDS_MAX)
        seconds += (uint64_t)time(NULL);
    p = put_keys(p, request);
    p = TEXT_PUT(p, " 0 ");
    p = text_put_number(p, seconds);
    *p++ = ' ';
    p = text_put_number(p, request->value.len);
    p = TEXT_PUT(p, "\r\n");
    p = text_put(p, request->value.data, request->value.len);
    return p;
}

static bool
memcached_encode(struct codec *codec, const struct request *request)
{
    struct codec_text *text = codec_text_of(codec);
    size_t bytes = 128 + request->value.len;
    for (unsigned i = 0; i < request->key_count; i++)
        bytes += request->keys[i].len + 1;

    uint8_t *start = buffer_reserve(&text->out, bytes);
    if (start == NULL)
        return bench_error_set(&codec->error, "requests larger than this program can hold");
    uint8_t *p = start;

    switch (request->kind) {
    case REQUEST_GET:
    case REQUEST_GET_MANY:
        p = put_keys(TEXT_PUT(p, "get"), request);
        break;
    case REQUEST_SET:
        p = put_store(TEXT_PUT(p, "set"), request);
        break;
    case REQUEST_ADD:
        p = put_store(TEXT_PUT(p, "add"), request);
        break;
    case REQUEST_REPLACE:
        p = put_store(TEXT_PUT(p, "replace"), request);
        break;
    case REQUEST_APPEND:
        p = put_store(TEXT_PUT(p, "append"), request);
        break;
    case REQUEST_DELETE:
        p = put_keys(TEXT_PUT(p, "delete"), request);
        break;
    case REQUEST_STATS:
        p = TEXT_PUT(p, "stats");
        break;
    case REQUEST_HELLO:
    case REQUEST_KINDS:
        break;
    }
    p = TEXT_PUT(p, "\r\n");
    BENCH_CHECK((size_t)(p - start) <= bytes);
    text->out.end += (size_t)(p - start);
    return true;
}

static bool
line_is(struct span line, const char *word)
{
    size_t len = strlen(word);
    return line.len == len && memcmp(line.data, word, len) == 0;
}

static bool
line_begins(struct span line, const char *word)
{
    size_t len = strlen(word);
    return line.len >= len && memcmp(line.data, word, len) == 0;
}

static bool
line_is_error(struct span line)
{
    return line_is(line, "ERROR") || line_begins(line, "CLIENT_ERROR") ||
           line_begins(line, "SERVER_ERROR");
}

/* "VALUE key flags bytes": the key and how long the value is. */
static bool
parse_value_line(struct span line, struct span *out_key, uint64_t *out_len)
{
    const uint8_t *p = line.data + 6;
    const uint8_t *end = line.data + line.len;
    const uint8_t *space = memchr(p, ' ', (size_t)(end - p));
    if (space == NULL)
        return false;
    *out_key = (struct span){ p, (size_t)(space - p) };
    p = space + 1;
    space = memchr(p, ' ', (size_t)(end - p));
    if (space == NULL)
        return false;
    p = space + 1;
    return text_number((struct span){ p, (size_t)(end - p) }, BUFFER_BYTES_MAX, out_len);
}

static enum codec_result
take_value(struct codec_text *text, size_t at, struct span line, struct span *out_key,
           struct span *out_value, size_t *out_bytes)
{
    uint64_t len = 0;
    size_t header = at + line.len + 2;

    if (!parse_value_line(line, out_key, &len))
        return codec_text_broken(text, "a VALUE line", line);
    if (buffer_len(&text->in) < header + len + 2)
        return CODEC_MORE;
    const uint8_t *value = text->in.data + text->in.start + header;
    if (value[len] != '\r' || value[len + 1] != '\n')
        return codec_text_broken(text, "a value that is longer than announced", line);
    *out_value = (struct span){ value, len };
    *out_bytes = header + len + 2;
    return CODEC_REPLY;
}

/* A single GET is taken only when it is there in full, END included. */
static enum codec_result
next_get(struct codec_text *text, struct span line, struct reply *reply)
{
    struct span key = { NULL, 0 };
    struct span end = { NULL, 0 };
    size_t bytes = 0;

    if (line_is(line, "END")) {
        reply->kind = REPLY_MISS;
        buffer_take(&text->in, line.len + 2);
        return CODEC_REPLY;
    }
    if (!line_begins(line, "VALUE "))
        return codec_text_broken(text, "no answer to get", line);
    enum codec_result result = take_value(text, 0, line, &key, &reply->value, &bytes);
    if (result != CODEC_REPLY)
        return result;
    result = codec_text_line(text, bytes, &end);
    if (result != CODEC_REPLY)
        return result;
    if (!line_is(end, "END"))
        return codec_text_broken(text, "no END after a value", end);
    reply->kind = REPLY_HIT;
    buffer_take(&text->in, bytes + end.len + 2);
    return CODEC_REPLY;
}

static enum codec_result
next_many(struct codec_text *text, unsigned key_count, struct span line, struct reply *reply)
{
    for (;;) {
        struct span key = { NULL, 0 };
        struct span value = { NULL, 0 };
        size_t bytes = 0;
        enum codec_result result;

        if (line_is(line, "END")) {
            buffer_take(&text->in, line.len + 2);
            reply->kind = REPLY_MANY;
            reply->hits = text->many_hits;
            reply->misses = key_count - text->many_hits;
            text->many_hits = 0;
            return CODEC_REPLY;
        }
        if (!line_begins(line, "VALUE ") || text->many_hits == key_count)
            return codec_text_broken(text, "no answer to get", line);
        result = take_value(text, 0, line, &key, &value, &bytes);
        if (result != CODEC_REPLY)
            return result;
        if (text->codec.value_fn != NULL)
            text->codec.value_fn(text->codec.value_context, SIZE_MAX, key, value);
        text->many_hits++;
        buffer_take(&text->in, bytes);
        result = codec_text_line(text, 0, &line);
        if (result != CODEC_REPLY)
            return result;
    }
}

/* All lines up to END, as one text. */
static enum codec_result
next_stats(struct codec_text *text, struct reply *reply)
{
    for (;;) {
        struct span line;
        enum codec_result result = codec_text_line(text, text->scanned, &line);
        if (result != CODEC_REPLY)
            return result;
        if (line_is(line, "END")) {
            reply->kind = REPLY_HIT;
            reply->value = (struct span){ text->in.data + text->in.start, text->scanned };
            buffer_take(&text->in, text->scanned + line.len + 2);
            text->scanned = 0;
            return CODEC_REPLY;
        }
        if (!line_begins(line, "STAT ") || text->scanned > STATS_BYTES_MAX)
            return codec_text_broken(text, "no answer to stats", line);
        text->scanned += line.len + 2;
    }
}

static enum codec_result
memcached_next(struct codec *codec, enum request_kind kind, unsigned key_count, struct reply *reply)
{
    struct codec_text *text = codec_text_of(codec);
    struct span line = { NULL, 0 };
    enum codec_result result = codec_text_line(text, 0, &line);
    if (result != CODEC_REPLY)
        return result;

    reply->value = (struct span){ NULL, 0 };
    if (line_is_error(line)) {
        reply->kind = REPLY_ERROR;
        reply->value = line;
        text->many_hits = 0;
        buffer_take(&text->in, line.len + 2);
        return CODEC_REPLY;
    }
    switch (kind) {
    case REQUEST_GET:
        return next_get(text, line, reply);
    case REQUEST_GET_MANY:
        return next_many(text, key_count, line, reply);
    case REQUEST_STATS:
        return next_stats(text, reply);
    case REQUEST_SET:
    case REQUEST_ADD:
    case REQUEST_REPLACE:
    case REQUEST_APPEND:
    case REQUEST_DELETE:
    case REQUEST_HELLO:
    case REQUEST_KINDS:
        break;
    }
    if (kind == REQUEST_DELETE && line_is(line, "DELETED"))
        reply->kind = REPLY_DONE;
    else if (kind == REQUEST_DELETE && line_is(line, "NOT_FOUND"))
        reply->kind = REPLY_MISS;
    else if (kind != REQUEST_DELETE && line_is(line, "STORED"))
        reply->kind = REPLY_DONE;
    else if (kind != REQUEST_DELETE && line_is(line, "NOT_STORED"))
        reply->kind = REPLY_REFUSED;
    else
        return codec_text_broken(text, "no answer to what was asked", line);
    buffer_take(&text->in, line.len + 2);
    return CODEC_REPLY;
}

const struct codec_ops codec_memcached_ops = {
    .create = codec_text_create,
    .destroy = codec_text_destroy,
    .encode = memcached_encode,
    .output = codec_text_output,
    .output_sent = codec_text_output_sent,
    .input_space = codec_text_input_space,
    .input_added = codec_text_input_added,
    .next = memcached_next,
};
