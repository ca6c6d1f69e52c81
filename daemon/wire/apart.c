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

#define TAG_BYTES(number) ((number) << 3 | 2)

#define TAG_KEY   TAG_BYTES(1)
#define TAG_VALUE TAG_BYTES(2)

/* Offsets in a message. */
struct splice {
    size_t op_length; /* of the varint that says how long the request's kind is */
    size_t op_begin;  /* behind it */
    uint64_t op_size;
    size_t value_length; /* the same of the value */
    size_t value_begin;
    uint64_t value_size;
};

/* A varint at *at, which is moved behind it. False where it is not whole. */
static bool
take_number(struct brd_bytes in, size_t *at, uint64_t *out)
{
    unsigned shift;

    *out = 0;
    for (shift = 0; shift < 64 && *at < in.size; shift += 7) {
        uint8_t byte = in.data[(*at)++];

        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* One of at most five bytes, as hot.c has it. */
static bool
take_length(struct brd_bytes in, size_t *at, uint64_t *out)
{
    size_t before = *at;

    return take_number(in, at, out) && *at - before <= 5;
}

/* A field behind its tag that is neither the request's kind nor the value. False where
 * it is not whole. */
static bool
skip_field(struct brd_bytes in, size_t *at, uint8_t tag)
{
    uint64_t size;

    switch (tag & 7) {
    case 0:
        return take_number(in, at, &size);
    case 1:
        size = 8;
        break;
    case 2:
        if (!take_number(in, at, &size))
            return false;
        break;
    default:
        return false;
    }
    if (size > in.size - *at)
        return false;
    *at += (size_t)size;
    return true;
}

/* Walk to the field with this tag, or the other one; *at is left behind the tag.
 * Returns the tag, or 0 where it is not there yet. */
static uint8_t
walk_to(struct brd_bytes in, size_t *at, uint8_t tag, uint8_t other)
{
    while (*at < in.size) {
        uint8_t next = in.data[(*at)++];

        if (next == tag || next == other)
            return next;
        if (!skip_field(in, at, next))
            return 0;
    }
    return 0;
}

static bool
find_splice(struct brd_bytes head, uint64_t message_bytes, struct splice *out)
{
    size_t at = 0;

    if (walk_to(head, &at, TAG_BYTES(3), TAG_BYTES(12)) == 0)
        return false;
    out->op_length = at;
    if (!take_length(head, &at, &out->op_size) || out->op_size > message_bytes - at)
        return false;
    out->op_begin = at;
    if (walk_to(head, &at, TAG_VALUE, TAG_VALUE) == 0)
        return false;
    out->value_length = at;
    if (!take_length(head, &at, &out->value_size))
        return false;
    out->value_begin = at;
    return at - out->op_begin <= out->op_size &&
           out->value_size <= out->op_size - (at - out->op_begin);
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
apart_fail(const struct brd_wire_arena *arena, struct brd_request *out_request)
{
    *out_request = (struct brd_request){ .id = 0 };
    return arena->failure;
}
