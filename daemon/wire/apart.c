/* Messages whose large value lies apart.
 *
 *      head                             | value           | tail
 *      id, kind, length, key, ..., length |  (in a blob)    | ttl, condition, ...
 *
 * One decoder for all: the message is written again without the value, with both
 * lengths corrected, decoded by hand, and gets the value back. What cannot be decoded by
 * hand, such as a second value in the tail, is put together again and goes the general
 * way. So nothing is decided here that is not decided there, and the fuzzer's
 * comparison of the two ways (fuzz_wire_differential.c) has only the splice to prove. */
#include "wire/apart.h"

#include "base/check.h"
#include "wire/arena.h"

/* Tags: field number and wire type. */
#define TAG_ID     0x08 /* of Request */
#define TAG_PUT    0x1a
#define TAG_APPEND 0x62
#define TAG_VALUE  0x12 /* of Put and Append */

/* Offsets in a message. */
struct splice {
    size_t op_length; /* of the varint that says how long the request's kind is */
    size_t op_begin;  /* behind it */
    uint64_t op_size;
    size_t value_length; /* the same of the value */
    size_t value_begin;
    uint64_t value_size;
};

/* A length, of at most five bytes as hot.c has it. */
static bool
take_length(struct brd_bytes *in, uint64_t *out)
{
    size_t before = in->size;

    return brd_varint_get(in, out) && before - in->size <= 5;
}

/* A field behind its tag. False where it is not whole, or none of ours. */
static bool
skip_field(struct brd_bytes *in, uint8_t tag)
{
    uint64_t size = 8;
    struct brd_bytes skipped;

    switch (tag & 7) {
    case 0:
        return brd_varint_get(in, &size);
    case 1:
        return brd_bytes_take(in, size, &skipped);
    case 2:
        return brd_varint_get(in, &size) && brd_bytes_take(in, size, &skipped);
    default:
        return false;
    }
}

/* Walk to the field with this tag, or the other one, and behind that tag. Returns it, or 0
 * where it is not there yet. */
static uint8_t
walk_to(struct brd_bytes *in, uint8_t tag, uint8_t other)
{
    while (in->size > 0) {
        uint8_t next = *in->data;

        *in = brd_bytes(in->data + 1, in->size - 1);
        if (next == tag || next == other)
            return next;
        if (!skip_field(in, next))
            return 0;
    }
    return 0;
}

static bool
find_splice(struct brd_bytes head, uint64_t message_bytes, struct splice *out)
{
    struct brd_bytes in = head;
    uint64_t before_value;

    if (walk_to(&in, TAG_PUT, TAG_APPEND) == 0)
        return false;
    out->op_length = (size_t)(in.data - head.data);
    if (!take_length(&in, &out->op_size))
        return false;
    out->op_begin = (size_t)(in.data - head.data);
    if (out->op_size > message_bytes - out->op_begin || walk_to(&in, TAG_VALUE, TAG_VALUE) == 0)
        return false;
    out->value_length = (size_t)(in.data - head.data);
    if (!take_length(&in, &out->value_size))
        return false;
    out->value_begin = (size_t)(in.data - head.data);
    before_value = out->value_begin - out->op_begin;
    return before_value <= out->op_size && out->value_size <= out->op_size - before_value;
}

bool
brd_wire_find_value(struct brd_bytes head, uint64_t message_bytes, uint64_t value_min,
                    struct brd_span *out_place)
{
    struct splice splice;

    BRD_CHECK(value_min > 0);
    if (head.size > message_bytes || !find_splice(head, message_bytes, &splice) ||
        splice.value_size < value_min)
        return false;
    *out_place = (struct brd_span){ .begin = splice.value_begin, .size = splice.value_size };
    return true;
}

bool
apart_shorten(struct brd_wire_arena *arena, struct brd_bytes message,
              const struct brd_wire_apart *apart, struct brd_bytes *out)
{
    uint8_t *data = wire_arena_alloc(arena, message.size + BRD_VARINT_MAX);
    size_t begin = (size_t)apart->place.begin;
    struct splice splice;
    uint8_t *to = data;
    bool found;

    if (data == NULL)
        return false;
    BRD_CHECK(message.size >= begin && apart->value->size == apart->place.size);
    found = find_splice(brd_bytes(message.data, begin), message.size + apart->place.size, &splice);
    BRD_CHECK(found && splice.value_begin == begin && splice.value_size == apart->place.size);
    memcpy(to, message.data, splice.op_length);
    to += splice.op_length;
    to += brd_varint_put(to, splice.op_size - splice.value_size -
                                 (splice.value_begin - splice.value_length) + 1);
    memcpy(to, message.data + splice.op_begin, splice.value_length - splice.op_begin);
    to += splice.value_length - splice.op_begin;
    *to++ = 0;
    memcpy(to, message.data + begin, message.size - begin);
    to += message.size - begin;
    *out = brd_bytes(data, (size_t)(to - data));
    return true;
}

void
apart_attach(const struct brd_wire_apart *apart, struct brd_request *request)
{
    BRD_CHECK(request->value.size == 0);
    request->value = brd_blob_bytes(apart->value);
    request->value_blob = apart->value;
}

bool
apart_join(struct brd_wire_arena *arena, struct brd_bytes message,
           const struct brd_wire_apart *apart, struct brd_bytes *out)
{
    size_t begin = (size_t)apart->place.begin;
    size_t size = (size_t)apart->place.size;
    uint8_t *data = wire_arena_alloc(arena, message.size + size);

    if (data == NULL)
        return false;
    memcpy(data, message.data, begin);
    memcpy(data + begin, apart->value->data, size);
    memcpy(data + begin + size, message.data + begin, message.size - begin);
    *out = brd_bytes(data, message.size + size);
    return true;
}

enum brd_status
apart_fail(const struct brd_wire_arena *arena, struct brd_bytes message,
           struct brd_request *out_request)
{
    *out_request = (struct brd_request){ .id = 0 };
    if (walk_to(&message, TAG_ID, TAG_ID) == 0 || !brd_varint_get(&message, &out_request->id))
        out_request->id = 0;
    return arena->failure;
}
