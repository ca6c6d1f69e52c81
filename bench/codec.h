/* One protocol's conversation without a socket: requests become bytes, bytes
 * become replies. Replies come in the order of the requests, and the caller
 * remembers what it asked: it names the kind when it asks for a reply.
 *
 * Not thread-safe; one codec per connection. Bytes from the server are foreign:
 * whatever they are, a codec answers MORE, REPLY or BROKEN. */
#ifndef BENCH_CODEC_H
#define BENCH_CODEC_H

#include "base.h"

/* Keys in one GET_MANY. */
#define CODEC_KEYS_MAX 1024

enum protocol {
    PROTOCOL_BRINDLE,
    PROTOCOL_RESP,
    PROTOCOL_MEMCACHED,
};

enum request_kind {
    REQUEST_GET,
    REQUEST_GET_MANY,
    REQUEST_SET,
    REQUEST_ADD,     /* only if absent */
    REQUEST_REPLACE, /* only if present */
    REQUEST_APPEND,
    REQUEST_DELETE,
    REQUEST_STATS, /* what the server says about itself; not timed */
    REQUEST_HELLO, /* first on a connection where the protocol has it; not timed */
    REQUEST_KINDS,
};

struct request {
    enum request_kind kind;
    unsigned key_count; /* 1, or more for GET_MANY; 0 for STATS and HELLO */
    const struct span *keys;
    struct span value;
    uint64_t ttl_ms; /* 0: none */
};

enum reply_kind {
    REPLY_DONE,    /* stored, deleted, appended */
    REPLY_HIT,     /* value holds it */
    REPLY_MISS,    /* no such key: also what DELETE and REPLACE may meet */
    REPLY_REFUSED, /* a condition did not hold */
    REPLY_MANY,    /* GET_MANY: hits and misses are counted */
    REPLY_ERROR,   /* value holds the server's sentence */
};

struct reply {
    enum reply_kind kind;
    struct span value; /* borrowed until the next call on the codec */
    uint32_t hits;
    uint32_t misses;
};

enum codec_result {
    CODEC_REPLY,
    CODEC_MORE,   /* feed more bytes */
    CODEC_BROKEN, /* no valid answer: codec_error says why; close the connection */
};

/* Called for every value that a GET_MANY found. index: which of its keys, or
 * SIZE_MAX if the protocol names the key instead. */
typedef void (*codec_value_fn)(void *context, size_t index, struct span key, struct span value);

struct codec;

struct codec_ops {
    bool has_hello; /* HELLO must come first */
    bool (*create)(struct codec **out_codec, struct bench_error *error);
    void (*destroy)(struct codec *codec);
    bool (*encode)(struct codec *codec, const struct request *request);
    struct span (*output)(struct codec *codec);
    void (*output_sent)(struct codec *codec, size_t len);
    uint8_t *(*input_space)(struct codec *codec, size_t *out_len);
    void (*input_added)(struct codec *codec, size_t len);
    enum codec_result (*next)(struct codec *codec, enum request_kind kind, unsigned key_count,
                              struct reply *out_reply);
};

/* What every codec begins with. */
struct codec {
    const struct codec_ops *ops;
    codec_value_fn value_fn; /* may be NULL */
    void *value_context;
    struct bench_error error; /* after BROKEN or a failed encode */
};

BENCH_MUST_CHECK bool
codec_create(struct codec **out_codec, enum protocol protocol, struct bench_error *error);
void codec_destroy(struct codec **codec);

const char *protocol_name(enum protocol protocol);
/* The longest key that is sent at all, and the longest that is made up: one that
 * servers take whose limits nobody has changed. */
size_t protocol_key_bytes_max(enum protocol protocol);
size_t protocol_made_key_bytes_max(enum protocol protocol);

/* Queue one request. false: no memory, or the protocol cannot say it. */
static inline bool
codec_encode(struct codec *codec, const struct request *request)
{
    return codec->ops->encode(codec, request);
}

/* The bytes to send, until the next call; say afterwards how many went. */
static inline struct span
codec_output(struct codec *codec)
{
    return codec->ops->output(codec);
}

static inline void
codec_output_sent(struct codec *codec, size_t len)
{
    codec->ops->output_sent(codec, len);
}

/* Where to receive into (NULL: no memory or the reply is too large), and how
 * many bytes came. */
static inline uint8_t *
codec_input_space(struct codec *codec, size_t *out_len)
{
    return codec->ops->input_space(codec, out_len);
}

static inline void
codec_input_added(struct codec *codec, size_t len)
{
    codec->ops->input_added(codec, len);
}

/* The next reply, to a request of that kind with so many keys. */
static inline enum codec_result
codec_next(struct codec *codec, enum request_kind kind, unsigned key_count, struct reply *out_reply)
{
    return codec->ops->next(codec, kind, key_count, out_reply);
}

extern const struct codec_ops codec_resp_ops;
extern const struct codec_ops codec_memcached_ops;
extern const struct codec_ops codec_brindle_ops;

#endif
