/* Speaking the native protocol in tests: requests appended to a buffer, replies
 * taken from the front of bytes. Encodes and decodes with protobuf-c, not with
 * the codec under test. */
#ifndef TESTS_SUPPORT_TALK_H
#define TESTS_SUPPORT_TALK_H

#include "base/buf.h"
#include "base/check.h"
#include "brindle.pb-c.h"
#include "proto/frame.h"

#include <stdlib.h>

/* Append a framed request. */
static inline void
talk_add(struct brd_buf *out, const Brindle__V1__Request *request)
{
    size_t size = brindle__v1__request__get_packed_size(request);
    uint8_t *to = brd_buf_reserve(out, size + BRD_FRAME_PREFIX_MAX);
    size_t head;

    BRD_CHECK(to != NULL);
    head = brd_frame_prefix_write(to, size);
    brindle__v1__request__pack(request, to + head);
    out->size += head + size;
}

static inline ProtobufCBinaryData
talk_bytes(const void *data, size_t size)
{
    return (ProtobufCBinaryData){ .len = size, .data = (uint8_t *)(uintptr_t)data };
}

static inline ProtobufCBinaryData
talk_text(const char *text)
{
    return talk_bytes(text, strlen(text));
}

static inline void
talk_get(struct brd_buf *out, uint64_t id, const char *key)
{
    Brindle__V1__Request request = BRINDLE__V1__REQUEST__INIT;
    Brindle__V1__Get get = BRINDLE__V1__GET__INIT;

    get.key = talk_text(key);
    request.id = id;
    request.op_case = BRINDLE__V1__REQUEST__OP_GET;
    request.get = &get;
    talk_add(out, &request);
}

static inline void
talk_put(struct brd_buf *out, uint64_t id, const char *key, const void *value, size_t size)
{
    Brindle__V1__Request request = BRINDLE__V1__REQUEST__INIT;
    Brindle__V1__Put put = BRINDLE__V1__PUT__INIT;

    put.key = talk_text(key);
    put.value = talk_bytes(value, size);
    request.id = id;
    request.op_case = BRINDLE__V1__REQUEST__OP_PUT;
    request.put = &put;
    talk_add(out, &request);
}

/* Asks for the same key count times. */
static inline void
talk_get_many(struct brd_buf *out, uint64_t id, const char *key, size_t count)
{
    Brindle__V1__Request request = BRINDLE__V1__REQUEST__INIT;
    Brindle__V1__GetMany get_many = BRINDLE__V1__GET_MANY__INIT;
    ProtobufCBinaryData *keys = calloc(count, sizeof(*keys));
    size_t i;

    BRD_CHECK(keys != NULL);
    for (i = 0; i < count; i++)
        keys[i] = talk_text(key);
    get_many.n_keys = count;
    get_many.keys = keys;
    request.id = id;
    request.op_case = BRINDLE__V1__REQUEST__OP_GET_MANY;
    request.get_many = &get_many;
    talk_add(out, &request);
    free(keys);
}

static inline void
talk_ping(struct brd_buf *out, uint64_t id, const void *payload, size_t size)
{
    Brindle__V1__Request request = BRINDLE__V1__REQUEST__INIT;
    Brindle__V1__Ping ping = BRINDLE__V1__PING__INIT;

    ping.payload = talk_bytes(payload, size);
    request.id = id;
    request.op_case = BRINDLE__V1__REQUEST__OP_PING;
    request.ping = &ping;
    talk_add(out, &request);
}

static inline void
talk_hello(struct brd_buf *out, uint64_t id, uint32_t version, char *name)
{
    Brindle__V1__Request request = BRINDLE__V1__REQUEST__INIT;
    Brindle__V1__Hello hello = BRINDLE__V1__HELLO__INIT;

    hello.protocol_version = version;
    hello.client_name = name;
    request.id = id;
    request.op_case = BRINDLE__V1__REQUEST__OP_HELLO;
    request.hello = &hello;
    talk_add(out, &request);
}

/* A put with a time to live. */
static inline void
talk_put_for(struct brd_buf *out, uint64_t id, const char *key, uint64_t ttl_ms)
{
    Brindle__V1__Request request = BRINDLE__V1__REQUEST__INIT;
    Brindle__V1__Put put = BRINDLE__V1__PUT__INIT;

    put.key = talk_text(key);
    put.ttl_ms = ttl_ms;
    request.id = id;
    request.op_case = BRINDLE__V1__REQUEST__OP_PUT;
    request.put = &put;
    talk_add(out, &request);
}

static inline void
talk_purge(struct brd_buf *out, uint64_t id)
{
    Brindle__V1__Request request = BRINDLE__V1__REQUEST__INIT;
    Brindle__V1__Purge purge = BRINDLE__V1__PURGE__INIT;

    request.id = id;
    request.op_case = BRINDLE__V1__REQUEST__OP_PURGE;
    request.purge = &purge;
    talk_add(out, &request);
}

static inline void
talk_checkpoint(struct brd_buf *out, uint64_t id, Brindle__V1__CheckpointMode mode)
{
    Brindle__V1__Request request = BRINDLE__V1__REQUEST__INIT;
    Brindle__V1__Checkpoint checkpoint = BRINDLE__V1__CHECKPOINT__INIT;

    checkpoint.mode = mode;
    request.id = id;
    request.op_case = BRINDLE__V1__REQUEST__OP_CHECKPOINT;
    request.checkpoint = &checkpoint;
    talk_add(out, &request);
}

static inline void
talk_count(struct brd_buf *out, uint64_t id, bool exact)
{
    Brindle__V1__Request request = BRINDLE__V1__REQUEST__INIT;
    Brindle__V1__Count count = BRINDLE__V1__COUNT__INIT;

    count.exact = exact;
    request.id = id;
    request.op_case = BRINDLE__V1__REQUEST__OP_COUNT;
    request.count = &count;
    talk_add(out, &request);
}

static inline void
talk_stats(struct brd_buf *out, uint64_t id, char *prefix)
{
    Brindle__V1__Request request = BRINDLE__V1__REQUEST__INIT;
    Brindle__V1__Stats stats = BRINDLE__V1__STATS__INIT;

    stats.prefix = prefix;
    request.id = id;
    request.op_case = BRINDLE__V1__REQUEST__OP_STATS;
    request.stats = &stats;
    talk_add(out, &request);
}

/* A request of a kind that does not exist: field 30, empty. */
static inline void
talk_unknown(struct brd_buf *out, uint8_t id)
{
    const uint8_t frame[] = { 5, 0x08, id, 0xf2, 0x01, 0x00 };

    brd_buf_append(out, frame, sizeof(frame));
}

/* Take one reply; NULL where there is no whole one. Freed with talk_free. */
static inline Brindle__V1__Reply *
talk_take(struct brd_bytes *in)
{
    Brindle__V1__Reply *reply;
    uint64_t body;
    size_t head;

    if (brd_frame_parse(in->data, in->size, UINT32_MAX, &head, &body) != BRD_FRAME_OK)
        return NULL;
    reply = brindle__v1__reply__unpack(NULL, (size_t)body, in->data + head);
    BRD_CHECK(reply != NULL);
    in->data += head + body;
    in->size -= head + body;
    return reply;
}

static inline void
talk_free(Brindle__V1__Reply *reply)
{
    brindle__v1__reply__free_unpacked(reply, NULL);
}

#endif
