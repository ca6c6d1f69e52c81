/* Requests -> bytes.
 *
 *     varint    length of the rest
 *     08 id     Request.id, left out for 0
 *     tag len   the operation: one level of scalar members
 *     7a len    Request.namespace (field 15), left out where empty
 *
 * Fields stand in the order of their numbers, as every protobuf library writes
 * them, so the namespace comes before the operations numbered 16 and up. Lengths
 * stand before contents; so each request is measured first, then written into
 * room that is known to suffice. Nothing is copied twice and nothing allocated
 * but the output.
 *
 * Sizes are hostile too (a caller's bug must not write past the room): each
 * length is checked against the frame limit before it is added, and the sum before
 * each addition, so it cannot overflow.
 *
 * Get and Put without options are written by straight code, since they are what
 * load consists of; unit tests compare them, and everything else, with
 * protobuf-c's bytes. */
#include "encode.h"

#include "proto/frame.h"

#define WIRE_VARINT  0
#define WIRE_FIXED64 1
#define WIRE_BYTES   2

#define TAG(number, wire) ((uint8_t)((number) << 3 | (wire)))
#define TAG_ID            TAG(1, WIRE_VARINT)
#define TAG_NAMESPACE     TAG(15, WIRE_BYTES)
#define TAG_GET           TAG(REQUEST_GET, WIRE_BYTES)
#define TAG_PUT           TAG(REQUEST_PUT, WIRE_BYTES)
#define TAG_FIRST         TAG(1, WIRE_BYTES) /* Get.key, Put.key, KeyValue.key, keys, items */
#define TAG_SECOND        TAG(2, WIRE_BYTES) /* Put.value, KeyValue.value */

#define NAMESPACE_NUMBER 15

static inline size_t
varint_size(uint64_t value)
{
    return ((size_t)(63 - __builtin_clzll(value | 1)) * 9 + 73) / 64;
}

static inline uint8_t *
put_varint(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

static inline uint8_t *
put_bytes(uint8_t *out, uint8_t tag, struct brd_bytes bytes)
{
    *out++ = tag;
    out = put_varint(out, bytes.size);
    if (bytes.size != 0)
        memcpy(out, bytes.data, bytes.size);
    return out + bytes.size;
}

/* A tag of one byte, the length and the bytes. */
static inline uint64_t
bytes_size(struct brd_bytes bytes)
{
    return 1 + varint_size(bytes.size) + bytes.size;
}

static inline uint64_t
optional_bytes_size(struct brd_bytes bytes)
{
    return bytes.size == 0 ? 0 : bytes_size(bytes);
}

static inline uint8_t *
put_optional_bytes(uint8_t *out, uint8_t tag, struct brd_bytes bytes)
{
    return bytes.size == 0 ? out : put_bytes(out, tag, bytes);
}

static inline size_t
id_size(uint64_t id)
{
    return id == 0 ? 0 : 1 + varint_size(id);
}

static inline uint8_t *
put_id(uint8_t *out, uint64_t id)
{
    if (id == 0)
        return out;
    *out++ = TAG_ID;
    return put_varint(out, id);
}

/* Room in the output for a frame with so many bytes of body. */
static inline enum brd_status
reserve_frame(struct buffer *output, const struct envelope *envelope, uint64_t body)
{
    if (body > envelope->frame_bytes_max)
        return BRD_TOO_LARGE;
    if (body + BRD_FRAME_PREFIX_MAX + buffer_size(output) > envelope->output_bytes_max)
        return BRD_LIMIT_EXCEEDED;
    if (!buffer_reserve(output, (size_t)body + BRD_FRAME_PREFIX_MAX))
        return BRD_OUT_OF_MEMORY;
    return BRD_OK;
}

static inline void
finish_frame(struct buffer *output, const uint8_t *end)
{
    output->end = (size_t)(end - output->data);
}

enum brd_status
encode_get(struct buffer *output, const struct envelope *envelope, struct brd_bytes key)
{
    uint64_t operation_size;
    uint64_t body;
    enum brd_status status;
    uint8_t *out;

    if (key.size > envelope->frame_bytes_max)
        return BRD_TOO_LARGE;
    operation_size = optional_bytes_size(key);
    body = id_size(envelope->id) + 1 + varint_size(operation_size) + operation_size +
           optional_bytes_size(envelope->name_space);
    status = reserve_frame(output, envelope, body);
    if (status != BRD_OK)
        return status;

    out = put_varint(output->data + output->end, body);
    out = put_id(out, envelope->id);
    *out++ = TAG_GET;
    out = put_varint(out, operation_size);
    out = put_optional_bytes(out, TAG_FIRST, key);
    out = put_optional_bytes(out, TAG_NAMESPACE, envelope->name_space);
    finish_frame(output, out);
    return BRD_OK;
}

enum brd_status
encode_put(struct buffer *output, const struct envelope *envelope, struct brd_bytes key,
           struct brd_bytes value)
{
    uint64_t operation_size;
    uint64_t body;
    enum brd_status status;
    uint8_t *out;

    if (key.size > envelope->frame_bytes_max || value.size > envelope->frame_bytes_max)
        return BRD_TOO_LARGE;
    operation_size = optional_bytes_size(key) + optional_bytes_size(value);
    body = id_size(envelope->id) + 1 + varint_size(operation_size) + operation_size +
           optional_bytes_size(envelope->name_space);
    status = reserve_frame(output, envelope, body);
    if (status != BRD_OK)
        return status;

    out = put_varint(output->data + output->end, body);
    out = put_id(out, envelope->id);
    *out++ = TAG_PUT;
    out = put_varint(out, operation_size);
    out = put_optional_bytes(out, TAG_FIRST, key);
    out = put_optional_bytes(out, TAG_SECOND, value);
    out = put_optional_bytes(out, TAG_NAMESPACE, envelope->name_space);
    finish_frame(output, out);
    return BRD_OK;
}

static uint64_t
field_size(const struct field *field)
{
    switch (field->type) {
    case FIELD_VARINT:
        return field->value == 0 ? 0 : 1 + varint_size(field->value);
    case FIELD_FIXED64:
        return field->value == 0 ? 0 : 1 + sizeof(uint64_t);
    case FIELD_BYTES:
        return optional_bytes_size(field->bytes);
    }
    return 0;
}

static uint8_t *
put_field(uint8_t *out, const struct field *field)
{
    unsigned i;

    if (field->type == FIELD_BYTES)
        return put_optional_bytes(out, TAG(field->number, WIRE_BYTES), field->bytes);
    if (field->value == 0)
        return out;
    if (field->type == FIELD_VARINT) {
        *out++ = TAG(field->number, WIRE_VARINT);
        return put_varint(out, field->value);
    }
    *out++ = TAG(field->number, WIRE_FIXED64);
    for (i = 0; i < sizeof(uint64_t); i++)
        *out++ = (uint8_t)(field->value >> (8 * i));
    return out;
}

static uint64_t
pair_size(const struct brd_pair *pair)
{
    return optional_bytes_size(pair->key) + optional_bytes_size(pair->value);
}

/* False: something in it is longer than any frame may be. */
static bool
measure_operation(const struct operation *operation, uint64_t limit, uint64_t *out_size)
{
    uint64_t size = 0;
    size_t i;

    for (i = 0; i < operation->key_count; i++) {
        if (operation->keys[i].size > limit || size > limit)
            return false;
        size += bytes_size(operation->keys[i]);
    }
    for (i = 0; i < operation->pair_count; i++) {
        const struct brd_pair *pair = &operation->pairs[i];

        if (pair->key.size > limit || pair->value.size > limit || size > limit)
            return false;
        size += 1 + varint_size(pair_size(pair)) + pair_size(pair);
    }
    for (i = 0; i < operation->field_count; i++) {
        if (operation->fields[i].bytes.size > limit)
            return false;
        size += field_size(&operation->fields[i]);
    }
    *out_size = size;
    return size <= limit;
}

static uint8_t *
put_operation(uint8_t *out, const struct operation *operation, uint64_t size)
{
    size_t i;

    out = put_varint(out, (uint64_t)operation->kind << 3 | WIRE_BYTES);
    out = put_varint(out, size);
    for (i = 0; i < operation->key_count; i++)
        out = put_bytes(out, TAG_FIRST, operation->keys[i]);
    for (i = 0; i < operation->pair_count; i++) {
        const struct brd_pair *pair = &operation->pairs[i];

        *out++ = TAG_FIRST;
        out = put_varint(out, pair_size(pair));
        out = put_optional_bytes(out, TAG_FIRST, pair->key);
        out = put_optional_bytes(out, TAG_SECOND, pair->value);
    }
    for (i = 0; i < operation->field_count; i++)
        out = put_field(out, &operation->fields[i]);
    return out;
}

enum brd_status
encode_request(struct buffer *output, const struct envelope *envelope,
               const struct operation *operation)
{
    bool after = operation->kind < NAMESPACE_NUMBER; /* namespace after the operation? */
    uint64_t size;
    uint64_t body;
    enum brd_status status;
    uint8_t *out;

    if (!measure_operation(operation, envelope->frame_bytes_max, &size))
        return BRD_TOO_LARGE;
    body = id_size(envelope->id) + varint_size((uint64_t)operation->kind << 3) + varint_size(size) +
           size + optional_bytes_size(envelope->name_space);
    status = reserve_frame(output, envelope, body);
    if (status != BRD_OK)
        return status;

    out = put_varint(output->data + output->end, body);
    out = put_id(out, envelope->id);
    if (!after)
        out = put_optional_bytes(out, TAG_NAMESPACE, envelope->name_space);
    out = put_operation(out, operation, size);
    if (after)
        out = put_optional_bytes(out, TAG_NAMESPACE, envelope->name_space);
    finish_frame(output, out);
    return BRD_OK;
}
