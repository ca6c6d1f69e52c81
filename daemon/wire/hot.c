/* Hot shapes: the requests that clients send by the million, decoded without a
 * copy: bytes stay where they were received, and only lists take memory.
 *
 * A shape is a message of a known kind in which every field is known here, is
 * written in the usual way (tags of one byte, numbers within their range,
 * booleans 0 or 1) and stands once, unless it is a list. The order is free.
 * Everything else is left to general.c, also everything that is wrong: there is
 * one place that refuses, so that the two cannot refuse differently.
 *
 * Fields of a message are told apart by their tag byte, number and wire type in
 * one, so a known number with a foreign wire type is an unknown tag. `seen` has
 * a bit for each field number, which is why a tag must be below 0x80. */
#include "wire/hot.h"

#include "base/check.h"
#include "wire/arena.h"

#include <assert.h>

#define TAG_VARINT(number)  ((number) << 3)
#define TAG_FIXED64(number) ((number) << 3 | 1)
#define TAG_BYTES(number)   ((number) << 3 | 2)

/* ---- Reading fields ---- */

/* What is left of a message. Two pointers, so that a step moves one. */
struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

/* bytes.data is not NULL */
static inline struct cursor
cursor_of(struct brd_bytes bytes)
{
    return (struct cursor){ .at = bytes.data, .end = bytes.data + bytes.size };
}

/* The next field's tag, which must not have been seen. False at the end (then
 * in is empty) and where the message is none of ours (then it is not). */
static inline bool
next_tag(struct cursor *in, uint32_t *seen, uint32_t *out_tag)
{
    uint32_t bit;
    uint32_t tag;

    if (in->at == in->end)
        return false;
    tag = *in->at;
    bit = UINT32_C(1) << (tag >> 3);
    if (BRD_UNLIKELY((*seen & bit) != 0))
        return false;
    *seen |= bit;
    *out_tag = tag;
    in->at++;
    return true;
}

static inline bool
take_number(struct cursor *in, uint64_t *out)
{
    const uint8_t *at = in->at;
    unsigned shift = 7;
    uint64_t value;
    uint64_t byte;

    if (BRD_UNLIKELY(at == in->end))
        return false;
    value = *at++;
    if (value >= 0x80) {
        value &= 0x7f;
        do {
            if (BRD_UNLIKELY(at == in->end || shift > 63))
                return false;
            byte = *at++;
            value |= (byte & 0x7f) << shift;
            shift += 7;
        } while (byte >= 0x80);
        if (BRD_UNLIKELY(shift > 63 + 1 && byte > 1))
            return false; /* more than 64 bits */
    }
    in->at = at;
    *out = value;
    return true;
}

/* A length has at most five bytes. */
static inline bool
take_bytes(struct cursor *in, struct brd_bytes *out)
{
    const uint8_t *before = in->at;
    uint64_t size;

    if (!take_number(in, &size) || BRD_UNLIKELY(in->at - before > 5) ||
        BRD_UNLIKELY(size > (uint64_t)(in->end - in->at)))
        return false;
    *out = brd_bytes(in->at, (size_t)size);
    in->at += size;
    return true;
}

/* A number of one byte that is at most max: an enum or a bool. */
static inline bool
take_small(struct cursor *in, uint8_t max, uint8_t *out)
{
    if (in->at == in->end || *in->at > max)
        return false;
    *out = *in->at++;
    return true;
}

static inline bool
take_bool(struct cursor *in, bool *out)
{
    uint8_t value;

    if (!take_small(in, 1, &value))
        return false;
    *out = value != 0;
    return true;
}

static inline bool
take_durability(struct cursor *in, struct brd_request *request)
{
    uint8_t value;

    if (!take_small(in, BRD_DURABILITY_FULL, &value))
        return false;
    request->durability = (enum brd_durability)value;
    return true;
}

static inline bool
take_condition(struct cursor *in, struct brd_request *request)
{
    uint8_t value;

    if (!take_small(in, BRD_IF_VERSION, &value))
        return false;
    request->condition = (enum brd_condition)value;
    return true;
}

static inline bool
take_fixed64(struct cursor *in, uint64_t *out)
{
    if (in->end - in->at < 8)
        return false;
    *out = brd_load_le64(in->at);
    in->at += 8;
    return true;
}

static inline bool
take_sint64(struct cursor *in, int64_t *out)
{
    uint64_t value;

    if (!take_number(in, &value))
        return false;
    *out = (int64_t)(value >> 1 ^ (0 - (value & 1)));
    return true;
}

/* ---- Messages ---- */

/* Get, Ttl */
static bool
read_key(struct cursor in, struct brd_request *request)
{
    uint32_t seen = 0;
    uint32_t tag;

    while (next_tag(&in, &seen, &tag))
        if (tag != TAG_BYTES(1) || !take_bytes(&in, &request->key))
            return false;
    return in.at == in.end;
}

static bool
read_put(struct cursor in, struct brd_request *request)
{
    uint32_t seen = 0;
    uint32_t tag;
    bool ok = true;

    while (ok && next_tag(&in, &seen, &tag)) {
        switch (tag) {
        case TAG_BYTES(1):
            ok = take_bytes(&in, &request->key);
            break;
        case TAG_BYTES(2):
            ok = take_bytes(&in, &request->value);
            break;
        case TAG_VARINT(3):
            ok = take_number(&in, &request->ttl_ms);
            break;
        case TAG_VARINT(4):
            ok = take_number(&in, &request->deadline_ms);
            break;
        case TAG_VARINT(5):
            ok = take_condition(&in, request);
            break;
        case TAG_FIXED64(6):
            ok = take_fixed64(&in, &request->if_version);
            break;
        case TAG_VARINT(7):
            ok = take_bool(&in, &request->keep_ttl);
            break;
        case TAG_VARINT(8):
            ok = take_durability(&in, request);
            break;
        case TAG_VARINT(9):
            ok = take_bool(&in, &request->return_previous);
            break;
        default:
            return false;
        }
    }
    return ok && in.at == in.end;
}

static bool
read_append(struct cursor in, struct brd_request *request)
{
    uint32_t seen = 0;
    uint32_t tag;
    bool ok = true;

    while (ok && next_tag(&in, &seen, &tag)) {
        switch (tag) {
        case TAG_BYTES(1):
            ok = take_bytes(&in, &request->key);
            break;
        case TAG_BYTES(2):
            ok = take_bytes(&in, &request->value);
            break;
        case TAG_VARINT(3):
            ok = take_durability(&in, request);
            break;
        default:
            return false;
        }
    }
    return ok && in.at == in.end;
}

static bool
read_incr(struct cursor in, struct brd_request *request)
{
    uint32_t seen = 0;
    uint32_t tag;
    bool ok = true;

    while (ok && next_tag(&in, &seen, &tag)) {
        switch (tag) {
        case TAG_BYTES(1):
            ok = take_bytes(&in, &request->key);
            break;
        case TAG_VARINT(2):
            ok = take_sint64(&in, &request->delta);
            break;
        case TAG_VARINT(3):
            ok = take_sint64(&in, &request->initial);
            break;
        case TAG_VARINT(4):
            ok = take_number(&in, &request->ttl_ms);
            break;
        case TAG_VARINT(5):
            ok = take_number(&in, &request->deadline_ms);
            break;
        case TAG_VARINT(6):
            ok = take_durability(&in, request);
            break;
        default:
            return false;
        }
    }
    return ok && in.at == in.end;
}

static bool
read_expire(struct cursor in, struct brd_request *request)
{
    uint32_t seen = 0;
    uint32_t tag;
    bool ok = true;

    while (ok && next_tag(&in, &seen, &tag)) {
        switch (tag) {
        case TAG_BYTES(1):
            ok = take_bytes(&in, &request->key);
            break;
        case TAG_VARINT(2):
            ok = take_number(&in, &request->ttl_ms);
            break;
        case TAG_VARINT(3):
            ok = take_number(&in, &request->deadline_ms);
            break;
        case TAG_VARINT(4):
            ok = take_durability(&in, request);
            break;
        default:
            return false;
        }
    }
    return ok && in.at == in.end;
}

static bool
read_key_value(struct cursor in, struct brd_key_value *item)
{
    uint32_t seen = 0;
    uint32_t tag;

    while (next_tag(&in, &seen, &tag)) {
        bool ok = tag == TAG_BYTES(1)   ? take_bytes(&in, &item->key)
                  : tag == TAG_BYTES(2) ? take_bytes(&in, &item->value)
                                        : false;

        if (!ok)
            return false;
    }
    return in.at == in.end;
}

/* How often field 1, of bytes, stands in a message. Stops at what it cannot
 * read; the second pass will stop there too. */
static size_t
count_elements(struct cursor in)
{
    struct brd_bytes skipped;
    uint64_t number;
    size_t count = 0;

    while (in.at < in.end) {
        uint8_t tag = *in.at++;

        if (tag == TAG_BYTES(1)) {
            if (!take_bytes(&in, &skipped))
                break;
            count++;
        } else if ((tag & 7) != 0 || !take_number(&in, &number)) {
            break;
        }
    }
    return count;
}

/* Delete, Exists, GetMany. durability: whether field 2 is one. */
static bool
read_keys(struct brd_wire_arena *arena, uint64_t count_max, struct cursor in, bool durability,
          struct brd_request *request)
{
    size_t count = count_elements(in);
    struct brd_bytes *keys;
    size_t n = 0;
    uint32_t seen = 0;
    uint32_t tag;

    if (count > count_max)
        return false;
    keys = wire_arena_alloc_array(arena, count, sizeof(*keys));
    if (keys == NULL)
        return false;
    while (next_tag(&in, &seen, &tag)) {
        if (tag == TAG_BYTES(1)) {
            seen = seen & ~(UINT32_C(1) << 1);
            if (n == count || !take_bytes(&in, &keys[n]))
                return false;
            n++;
        } else if (!durability || tag != TAG_VARINT(2) || !take_durability(&in, request)) {
            return false;
        }
    }
    request->keys = keys;
    request->count = n;
    return in.at == in.end;
}

static bool
read_items(struct brd_wire_arena *arena, uint64_t count_max, struct cursor in,
           struct brd_request *request)
{
    size_t count = count_elements(in);
    struct brd_key_value *items;
    struct brd_bytes item;
    size_t n = 0;
    uint32_t seen = 0;
    uint32_t tag;
    bool ok = true;

    if (count > count_max)
        return false;
    items = wire_arena_alloc_array(arena, count, sizeof(*items));
    if (items == NULL)
        return false;
    while (ok && next_tag(&in, &seen, &tag)) {
        switch (tag) {
        case TAG_BYTES(1):
            seen = seen & ~(UINT32_C(1) << 1);
            if (n == count || !take_bytes(&in, &item))
                return false;
            items[n] = (struct brd_key_value){ 0 };
            ok = read_key_value(cursor_of(item), &items[n]);
            n++;
            break;
        case TAG_VARINT(2):
            ok = take_number(&in, &request->ttl_ms);
            break;
        case TAG_VARINT(3):
            ok = take_number(&in, &request->deadline_ms);
            break;
        case TAG_VARINT(4):
            ok = take_durability(&in, request);
            break;
        default:
            return false;
        }
    }
    request->items = items;
    request->count = n;
    return ok && in.at == in.end;
}

/* A namespace's bytes: plain ASCII here, so that it need not be checked. */
static bool
take_ascii(struct cursor *in, struct brd_bytes *out)
{
    size_t i;

    if (!take_bytes(in, out))
        return false;
    for (i = 0; i < out->size; i++)
        if (out->data[i] == 0 || out->data[i] >= 0x80)
            return false;
    return true;
}

/* Compilers would zero a struct of this size with `rep stos`, which takes longer
 * to start than these stores take together: hide from them that it is one. */
static inline void
clear(struct brd_request *request)
{
    typedef uint64_t pair __attribute__((vector_size(16), aligned(8), may_alias));
    const size_t bytes = sizeof(*request);
    uint8_t *at = (uint8_t *)request;
    size_t i;

    static_assert(sizeof(*request) % sizeof(uint64_t) == 0, "whole words");
#pragma GCC unroll 16
    for (i = 0; i < bytes / sizeof(pair); i++) {
        *(pair *)(void *)at = (pair){ 0, 0 };
        at += sizeof(pair);
        __asm__("" : "+r"(at));
    }
    if (bytes % sizeof(pair) != 0)
        brd_store_le64(at, 0);
}

/* ---- The usual get and put ---- */

/* A length of one or two bytes. */
static inline bool
take_short_length(struct cursor *in, size_t *out)
{
    size_t size;

    if (BRD_UNLIKELY(in->end - in->at < 2))
        return false;
    size = *in->at++;
    if (size >= 0x80) {
        size_t high = *in->at++;

        if (BRD_UNLIKELY(high >= 0x80))
            return false;
        size = (size & 0x7f) | high << 7;
    }
    *out = size;
    return true;
}

/* A field of bytes with this tag and a length of one or two bytes. */
static inline bool
take_short_bytes(struct cursor *in, uint8_t tag, struct brd_bytes *out)
{
    size_t size;

    if (BRD_UNLIKELY(in->at == in->end || *in->at != tag))
        return false;
    in->at++;
    if (!take_short_length(in, &size) || BRD_UNLIKELY(size > (size_t)(in->end - in->at)))
        return false;
    *out = brd_bytes(in->at, size);
    in->at += size;
    return true;
}

/* A message of id and a get of a key, or a put of key and value, in this order
 * and with short lengths: what nearly all messages are, in half the instructions
 * of the loops below. False for all others; the request is to be cleared. */
static inline bool
take_usual(struct cursor in, struct brd_request *out_request)
{
    struct brd_bytes body;
    struct brd_bytes key;
    struct brd_bytes value = { 0 };
    uint64_t id;
    uint8_t kind;

    if (*in.at++ != TAG_VARINT(1) || !take_number(&in, &id) || in.at == in.end)
        return false;
    kind = *in.at;
    if (!take_short_bytes(&in, kind, &body) || in.at != in.end)
        return false;
    if (BRD_UNLIKELY(body.size == 0))
        return false;
    in.at = body.data;
    if (!take_short_bytes(&in, TAG_BYTES(1), &key))
        return false;
    if (kind == TAG_BYTES(3)) {
        if (!take_short_bytes(&in, TAG_BYTES(2), &value))
            return false;
    } else if (kind != TAG_BYTES(2)) {
        return false;
    }
    if (in.at != in.end)
        return false;
    clear(out_request);
    out_request->id = id;
    out_request->op = kind == TAG_BYTES(3) ? BRD_OP_PUT : BRD_OP_GET;
    out_request->key = key;
    out_request->value = value;
    return true;
}

bool
hot_decode(struct brd_wire_arena *arena, const struct brd_wire_limits *limits,
           struct brd_bytes message, struct brd_request *out_request)
{
    struct brd_request *request = out_request;
    struct cursor in;
    struct cursor op = { 0 };
    struct brd_bytes body;
    uint32_t op_tag = 0;
    uint32_t seen = 0;
    uint32_t tag;

    if (message.size == 0)
        return false;
    in = cursor_of(message);
    if (BRD_LIKELY(take_usual(in, request)))
        return true;
    clear(request);
    while (next_tag(&in, &seen, &tag)) {
        if (tag == TAG_VARINT(1)) {
            if (!take_number(&in, &request->id))
                return false;
        } else if (tag == TAG_BYTES(15)) {
            if (!take_ascii(&in, &request->name_space))
                return false;
        } else if (op_tag == 0) {
            op_tag = tag;
            if ((tag & 7) != 2 || !take_bytes(&in, &body))
                return false;
            op = cursor_of(body);
        } else {
            return false;
        }
    }
    if (in.at != in.end)
        return false;
    switch (op_tag) {
    case TAG_BYTES(2):
        request->op = BRD_OP_GET;
        return read_key(op, request);
    case TAG_BYTES(3):
        request->op = BRD_OP_PUT;
        return read_put(op, request);
    case TAG_BYTES(4):
        request->op = BRD_OP_DELETE;
        return read_keys(arena, limits->batch_keys_max, op, true, request);
    case TAG_BYTES(5):
        request->op = BRD_OP_GET_MANY;
        return read_keys(arena, limits->batch_keys_max, op, false, request);
    case TAG_BYTES(6):
        request->op = BRD_OP_PUT_MANY;
        return read_items(arena, limits->batch_keys_max, op, request);
    case TAG_BYTES(7):
        request->op = BRD_OP_INCR;
        return read_incr(op, request);
    case TAG_BYTES(8):
        request->op = BRD_OP_EXISTS;
        return read_keys(arena, limits->batch_keys_max, op, false, request);
    case TAG_BYTES(9):
        request->op = BRD_OP_TTL;
        return read_key(op, request);
    case TAG_BYTES(10):
        request->op = BRD_OP_EXPIRE;
        return read_expire(op, request);
    case TAG_BYTES(12):
        request->op = BRD_OP_APPEND;
        return read_append(op, request);
    default:
        return false;
    }
}
