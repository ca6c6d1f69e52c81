/* RESP2 (Redis, Valkey, Brindle's second door): GET, MGET, SET [PX] [NX|XX],
 * APPEND, DEL, INFO.
 *
 * Only the replies that these commands can have are accepted; an error line is
 * accepted everywhere. MGET is taken element by element, so that a long reply
 * is never parsed twice. */
#include "codec_text.h"

static uint8_t *
put_bulk(uint8_t *p, const void *bytes, size_t len)
{
    *p++ = '$';
    p = text_put_number(p, len);
    p = TEXT_PUT(p, "\r\n");
    p = text_put(p, bytes, len);
    return TEXT_PUT(p, "\r\n");
}

static uint8_t *
put_set(uint8_t *p, const struct request *request)
{
    bool conditional = request->kind != REQUEST_SET;
    unsigned words = 3U + (request->ttl_ms != 0 ? 2U : 0U) + (conditional ? 1U : 0U);

    *p++ = '*';
    *p++ = (uint8_t)('0' + words);
    p = TEXT_PUT(p, "\r\n$3\r\nSET\r\n");
    p = put_bulk(p, request->keys[0].data, request->keys[0].len);
    p = put_bulk(p, request->value.data, request->value.len);
    if (request->ttl_ms != 0) {
        uint8_t digits[20];
        size_t len = (size_t)(text_put_number(digits, request->ttl_ms) - digits);
        p = TEXT_PUT(p, "$2\r\nPX\r\n");
        p = put_bulk(p, digits, len);
    }
    if (conditional)
        p = request->kind == REQUEST_ADD ? TEXT_PUT(p, "$2\r\nNX\r\n")
                                         : TEXT_PUT(p, "$2\r\nXX\r\n");
    return p;
}

static bool
resp_encode(struct codec *codec, const struct request *request)
{
    struct codec_text *text = codec_text_of(codec);
    size_t bytes = 160 + request->value.len;
    for (unsigned i = 0; i < request->key_count; i++)
        bytes += request->keys[i].len + 32;

    uint8_t *start = buffer_reserve(&text->out, bytes);
    if (start == NULL)
        return bench_error_set(&codec->error, "requests larger than this program can hold");
    uint8_t *p = start;

    switch (request->kind) {
    case REQUEST_GET:
        p = TEXT_PUT(p, "*2\r\n$3\r\nGET\r\n");
        p = put_bulk(p, request->keys[0].data, request->keys[0].len);
        break;
    case REQUEST_GET_MANY:
        *p++ = '*';
        p = text_put_number(p, request->key_count + 1);
        p = TEXT_PUT(p, "\r\n$4\r\nMGET\r\n");
        for (unsigned i = 0; i < request->key_count; i++)
            p = put_bulk(p, request->keys[i].data, request->keys[i].len);
        break;
    case REQUEST_SET:
    case REQUEST_ADD:
    case REQUEST_REPLACE:
        p = put_set(p, request);
        break;
    case REQUEST_APPEND:
        p = TEXT_PUT(p, "*3\r\n$6\r\nAPPEND\r\n");
        p = put_bulk(p, request->keys[0].data, request->keys[0].len);
        p = put_bulk(p, request->value.data, request->value.len);
        break;
    case REQUEST_DELETE:
        p = TEXT_PUT(p, "*2\r\n$3\r\nDEL\r\n");
        p = put_bulk(p, request->keys[0].data, request->keys[0].len);
        break;
    case REQUEST_STATS:
        p = TEXT_PUT(p, "*1\r\n$4\r\nINFO\r\n");
        break;
    case REQUEST_HELLO:
    case REQUEST_KINDS:
        break;
    }
    BENCH_CHECK((size_t)(p - start) <= bytes);
    text->out.end += (size_t)(p - start);
    return true;
}

/* A bulk string whose header line is `line`. Takes it on REPLY; *out_null says
 * that it is the null one. */
static enum codec_result
take_bulk(struct codec_text *text, struct span line, struct span *out_value, bool *out_null)
{
    uint64_t len = 0;
    size_t header = line.len + 2;

    if (line.len == 3 && line.data[1] == '-' && line.data[2] == '1') {
        *out_null = true;
        buffer_take(&text->in, header);
        return CODEC_REPLY;
    }
    if (!text_number((struct span){ line.data + 1, line.len - 1 }, BUFFER_BYTES_MAX, &len))
        return codec_text_broken(text, "a length", line);
    if (buffer_len(&text->in) < header + len + 2)
        return CODEC_MORE;

    const uint8_t *value = text->in.data + text->in.start + header;
    if (value[len] != '\r' || value[len + 1] != '\n')
        return codec_text_broken(text, "a value that is longer than announced", line);
    *out_value = (struct span){ value, len };
    *out_null = false;
    buffer_take(&text->in, header + len + 2);
    return CODEC_REPLY;
}

static enum codec_result
next_many(struct codec_text *text, unsigned key_count, struct reply *reply)
{
    struct span line;
    enum codec_result result;

    if (!text->many_open) {
        uint64_t count = 0;
        result = codec_text_line(text, 0, &line);
        if (result != CODEC_REPLY)
            return result;
        if (line.len < 2 || line.data[0] != '*' ||
            !text_number((struct span){ line.data + 1, line.len - 1 }, CODEC_KEYS_MAX, &count) ||
            count != key_count)
            return codec_text_broken(text, "no list of as many values as asked for", line);
        buffer_take(&text->in, line.len + 2);
        text->many_open = true;
        text->many_left = key_count;
        text->many_index = 0;
        text->many_hits = 0;
    }
    while (text->many_left > 0) {
        struct span value = { NULL, 0 };
        bool null = false;
        result = codec_text_line(text, 0, &line);
        if (result != CODEC_REPLY)
            return result;
        if (line.len < 2 || line.data[0] != '$')
            return codec_text_broken(text, "no value", line);
        result = take_bulk(text, line, &value, &null);
        if (result != CODEC_REPLY)
            return result;
        if (!null) {
            text->many_hits++;
            if (text->codec.value_fn != NULL)
                text->codec.value_fn(text->codec.value_context, text->many_index,
                                     (struct span){ NULL, 0 }, value);
        }
        text->many_index++;
        text->many_left--;
    }
    text->many_open = false;
    reply->kind = REPLY_MANY;
    reply->hits = text->many_hits;
    reply->misses = key_count - text->many_hits;
    return CODEC_REPLY;
}

static enum codec_result
resp_next(struct codec *codec, enum request_kind kind, unsigned key_count, struct reply *reply)
{
    struct codec_text *text = codec_text_of(codec);
    struct span line;
    bool null = false;

    if (text->many_open)
        return next_many(text, key_count, reply);
    enum codec_result result = codec_text_line(text, 0, &line);
    if (result != CODEC_REPLY)
        return result;
    if (line.len == 0)
        return codec_text_broken(text, "an empty line", line);

    reply->value = (struct span){ NULL, 0 };
    switch (line.data[0]) {
    case '-':
        reply->kind = REPLY_ERROR;
        reply->value = (struct span){ line.data + 1, line.len - 1 };
        buffer_take(&text->in, line.len + 2);
        return CODEC_REPLY;
    case '$':
        if (kind != REQUEST_GET && kind != REQUEST_STATS && kind != REQUEST_ADD &&
            kind != REQUEST_REPLACE)
            break;
        result = take_bulk(text, line, &reply->value, &null);
        if (result != CODEC_REPLY)
            return result;
        if (kind == REQUEST_GET || kind == REQUEST_STATS)
            reply->kind = null ? REPLY_MISS : REPLY_HIT;
        else if (null)
            reply->kind = REPLY_REFUSED;
        else
            break;
        return CODEC_REPLY;
    case '+':
        if (kind != REQUEST_SET && kind != REQUEST_ADD && kind != REQUEST_REPLACE)
            break;
        reply->kind = REPLY_DONE;
        buffer_take(&text->in, line.len + 2);
        return CODEC_REPLY;
    case ':':
        if (kind != REQUEST_DELETE && kind != REQUEST_APPEND)
            break;
        reply->kind = kind == REQUEST_DELETE && line.len == 2 && line.data[1] == '0' ? REPLY_MISS
                                                                                     : REPLY_DONE;
        buffer_take(&text->in, line.len + 2);
        return CODEC_REPLY;
    case '*':
        if (kind != REQUEST_GET_MANY)
            break;
        return next_many(text, key_count, reply);
    default:
        break;
    }
    return codec_text_broken(text, "no answer to what was asked", line);
}

const struct codec_ops codec_resp_ops = {
    .create = codec_text_create,
    .destroy = codec_text_destroy,
    .encode = resp_encode,
    .output = codec_text_output,
    .output_sent = codec_text_output_sent,
    .input_space = codec_text_input_space,
    .input_added = codec_text_input_added,
    .next = resp_next,
};
