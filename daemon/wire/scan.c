/* Checks a message before protobuf-c unpacks it.
 *
 * protobuf-c is a fine decoder of friendly messages. Of a hostile one it
 * allocates what the message asks for (32 bytes and a copy for each field of
 * two bytes), adds lengths in 32 bits, cuts strings at a NUL, and takes a bool
 * from any wire type. So one walk, without allocation and driven by the same
 * descriptors, comes first and lets pass only what is
 *
 *   bounded    elements of repeated fields, other fields of one message (known
 *              ones that stand again and unknown ones), bytes of unknown ones;
 *   inside     every length ends within its message, in 64-bit arithmetic;
 *   typed      a known field has the wire type of the schema, and no field has
 *              number 0 or is a group;
 *   text       strings are UTF-8 (the schema's promise) without NUL (ours).
 *
 * What passes unpacks, if there is memory. Nesting needs no limit: the schema
 * has no recursive message, so the walk is as deep as Request.put_many.items.
 *
 * A message with no request kind that is known is not unpacked at all, so no
 * limit but the structure applies to it: whatever a later version sends, the
 * answer is UNKNOWN_REQUEST and the connection lives. */
#include "wire/scan.h"

#include "base/check.h"

#include "brindle.pb-c.h"

/* Fields of one message that are not elements of a repeated one. The largest
 * message of version 1 has nine; the rest is for later versions. */
#define FIELDS_MAX 64

/* Bytes of all unknown fields beside a known request kind. */
#define UNKNOWN_BYTES_MAX ((size_t)1024 * 1024)

#define ID_FIELD 1

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_FIXED32 = 5,
};

struct walk {
    uint64_t elements;
    uint64_t elements_max;
    size_t unknown_bytes;
};

/* What one field is: its number, wire type and bytes (of a varint or fixed
 * number as they stand; of WIRE_BYTES without the length). */
struct field {
    uint32_t number;
    enum wire_type type;
    struct brd_bytes data;
};

/* Like brd_varint_get, but as lenient as protobuf-c: bits beyond the 64th are
 * dropped. size_max: the longest one accepted, in bytes. */
static bool
take_varint(struct brd_bytes *in, size_t size_max, uint64_t *out)
{
    uint64_t value = 0;
    size_t i;

    for (i = 0; i < in->size && i < size_max; i++) {
        value |= (uint64_t)(in->data[i] & 0x7f) << (7 * i);
        if ((in->data[i] & 0x80) == 0) {
            in->data += i + 1;
            in->size -= i + 1;
            *out = value;
            return true;
        }
    }
    return false;
}

static bool
take_field(struct brd_bytes *in, struct field *out)
{
    struct brd_bytes before;
    uint64_t tag;
    uint64_t value;

    if (!take_varint(in, 5, &tag) || tag > UINT32_MAX || tag >> 3 == 0)
        return false;
    out->number = (uint32_t)tag >> 3;
    out->type = (enum wire_type)(tag & 7);
    switch (out->type) {
    case WIRE_VARINT:
        before = *in;
        if (!take_varint(in, BRD_VARINT_MAX, &value))
            return false;
        out->data = brd_bytes(before.data, before.size - in->size);
        return true;
    case WIRE_FIXED64:
        return brd_bytes_take(in, 8, &out->data);
    case WIRE_BYTES:
        return take_varint(in, 5, &value) && brd_bytes_take(in, value, &out->data);
    case WIRE_FIXED32:
        return brd_bytes_take(in, 4, &out->data);
    }
    return false; /* groups, and two types that are none */
}

static enum wire_type
wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_FIXED64;
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_FIXED32;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    default:
        return WIRE_VARINT;
    }
}

/* Bytes of the UTF-8 sequence at the front of text (not empty); 0: not one, or
 * a NUL. The second byte's range keeps out overlong forms, surrogates and what
 * is above U+10FFFF. */
static size_t
utf8_sequence(struct brd_bytes text)
{
    uint8_t lead = text.data[0];
    uint8_t low = 0x80;
    uint8_t high = 0xbf;
    size_t size;
    size_t i;

    if (lead < 0x80)
        return lead == 0 ? 0 : 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (size > text.size)
        return 0;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    if (text.data[1] < low || text.data[1] > high)
        return 0;
    for (i = 2; i < size; i++)
        if ((text.data[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

static bool
is_text(struct brd_bytes text)
{
    while (text.size > 0) {
        size_t size = utf8_sequence(text);

        if (size == 0)
            return false;
        text.data += size;
        text.size -= size;
    }
    return true;
}

/* The graver of two: a message that is no Request is that before all else. */
static enum brd_status
graver(enum brd_status a, enum brd_status b)
{
    if (a == BRD_PROTOCOL_ERROR || b == BRD_PROTOCOL_ERROR)
        return BRD_PROTOCOL_ERROR;
    return a != BRD_OK ? a : b;
}

static enum brd_status walk_message(struct walk *walk, const ProtobufCMessageDescriptor *type,
                                    struct brd_bytes in, struct scan_result *top);

static enum brd_status
walk_field(struct walk *walk, const ProtobufCFieldDescriptor *known, const struct field *field,
           size_t *fields)
{
    if (known != NULL && known->label == PROTOBUF_C_LABEL_REPEATED) {
        if (++walk->elements > walk->elements_max)
            return BRD_TOO_LARGE;
    } else if (++*fields > FIELDS_MAX) {
        return BRD_TOO_LARGE;
    }
    if (known == NULL) {
        walk->unknown_bytes += field->data.size;
        return walk->unknown_bytes > UNKNOWN_BYTES_MAX ? BRD_TOO_LARGE : BRD_OK;
    }
    if (field->type != wire_type_of(known->type))
        return BRD_PROTOCOL_ERROR;
    if (known->type == PROTOBUF_C_TYPE_MESSAGE)
        return walk_message(walk, known->descriptor, field->data, NULL);
    if (known->type == PROTOBUF_C_TYPE_STRING && !is_text(field->data))
        return BRD_INVALID_ARGUMENT;
    return BRD_OK;
}

/* top: where to note what is in it, of the Request; NULL of what it contains.
 * The Request is walked to its end whatever its fields hold, for its id. */
static enum brd_status
walk_message(struct walk *walk, const ProtobufCMessageDescriptor *type, struct brd_bytes in,
             struct scan_result *top)
{
    enum brd_status status = BRD_OK;
    size_t fields = 0;

    while (in.size > 0) {
        const ProtobufCFieldDescriptor *known;
        struct field field;

        if (!take_field(&in, &field))
            return BRD_PROTOCOL_ERROR;
        known = protobuf_c_message_descriptor_get_field(type, field.number);
        status = graver(status, walk_field(walk, known, &field, &fields));
        if (top == NULL) {
            if (status != BRD_OK)
                return status;
        } else if (field.number == ID_FIELD) {
            if (field.type == WIRE_VARINT && !take_varint(&field.data, BRD_VARINT_MAX, &top->id))
                return BRD_PROTOCOL_ERROR;
        } else if (known != NULL && known->type == PROTOBUF_C_TYPE_MESSAGE) {
            top->op_field = field.number;
        }
    }
    return status;
}

enum brd_status
scan_request(struct brd_bytes message, uint64_t elements_max, struct scan_result *out)
{
    struct walk walk = { .elements_max = elements_max };
    enum brd_status status;

    *out = (struct scan_result){ 0 };
    if (message.size > INT32_MAX) /* protobuf-c counts in unsigned int */
        return BRD_TOO_LARGE;
    status = walk_message(&walk, &brindle__v1__request__descriptor, message, out);
    if (status != BRD_PROTOCOL_ERROR && out->op_field == 0)
        return BRD_UNKNOWN_REQUEST;
    return status;
}
