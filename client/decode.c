/* Reply bytes -> struct brd_reply.
 *
 * A protobuf message is a sequence of (tag, content). The cursor walks it once;
 * each known (number, wire type) sets a member, later ones win over earlier ones
 * and sub-messages that stand twice are merged, as protobuf demands. Whatever is
 * not known, a known number with another wire type included, is skipped. Groups,
 * which proto3 cannot express, are refused.
 *
 * The bytes are hostile. Invariant: cursor.at <= cursor.end, and every length is
 * compared with what is left before it is used. A sub-message is decoded with a
 * cursor of its own, one level deep, so nothing recurses. The failure is sticky
 * in the cursor and read once at the end of each message.
 *
 * Not here: frames (proto/frame.c), the order of replies (conn.c). */
#include "decode.h"

#include <stdlib.h>

#define WIRE_VARINT  0u
#define WIRE_FIXED64 1u
#define WIRE_BYTES   2u
#define WIRE_FIXED32 5u

#define FIELD(number, wire) ((uint32_t)(number) << 3 | (wire))

#define VARINT_BYTES_MAX     10
#define ARRAY_FIRST_CAPACITY 16
#define ARRAY_KEEP_CAPACITY  4096

static const char error_truncated[] = "a reply ends in the middle of a field";
static const char error_varint[] = "a reply holds a number of more than 64 bits";
static const char error_tag[] = "a reply holds a field that no protocol buffer can hold";
static const char error_items[] = "a reply holds more items than BRD_REPLY_ITEMS_MAX";
static const char error_memory[] = "no memory for the items of a reply";

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
    const char *error; /* sticky */
};

static struct cursor
cursor_of(struct brd_bytes bytes)
{
    const uint8_t *at = bytes.data;

    return (struct cursor){ .at = at, .end = at == NULL ? at : at + bytes.size };
}

static uint64_t
take_long_varint(struct cursor *cursor)
{
    uint64_t value = 0;
    unsigned i;

    for (i = 0; i < VARINT_BYTES_MAX; i++) {
        uint8_t byte;

        if (cursor->at == cursor->end) {
            cursor->error = error_truncated;
            return 0;
        }
        byte = *cursor->at++;
        if (i == VARINT_BYTES_MAX - 1 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0)
            return value;
    }
    cursor->error = error_varint;
    return 0;
}

static inline uint64_t
take_varint(struct cursor *cursor)
{
    if (cursor->at != cursor->end && *cursor->at < 0x80)
        return *cursor->at++;
    return take_long_varint(cursor);
}

static inline uint64_t
take_fixed64(struct cursor *cursor)
{
    uint64_t value = 0;
    unsigned i;

    if (cursor->end - cursor->at < (ptrdiff_t)sizeof(value)) {
        cursor->error = error_truncated;
        return 0;
    }
    for (i = 0; i < sizeof(value); i++)
        value |= (uint64_t)cursor->at[i] << (8 * i);
    cursor->at += sizeof(value);
    return value;
}

static inline struct brd_bytes
take_bytes(struct cursor *cursor)
{
    uint64_t size = take_varint(cursor);
    struct brd_bytes bytes;

    if (cursor->error != NULL || size > (uint64_t)(cursor->end - cursor->at)) {
        if (cursor->error == NULL)
            cursor->error = error_truncated;
        return brd_bytes(NULL, 0);
    }
    bytes = brd_bytes(cursor->at, (size_t)size);
    cursor->at += size;
    return bytes;
}

static inline int64_t
take_sint64(struct cursor *cursor)
{
    uint64_t value = take_varint(cursor);

    return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

/* The next field's number and wire type; 0 at the end and after an error. */
static inline uint32_t
take_tag(struct cursor *cursor)
{
    uint64_t tag;

    if (cursor->at == cursor->end || cursor->error != NULL)
        return 0;
    tag = take_varint(cursor);
    if (cursor->error == NULL && (tag > UINT32_MAX || tag >> 3 == 0))
        cursor->error = error_tag;
    return cursor->error == NULL ? (uint32_t)tag : 0;
}

static void
skip_field(struct cursor *cursor, uint32_t tag)
{
    switch (tag & 7) {
    case WIRE_VARINT:
        (void)take_varint(cursor);
        return;
    case WIRE_FIXED64:
        (void)take_fixed64(cursor);
        return;
    case WIRE_BYTES:
        (void)take_bytes(cursor);
        return;
    case WIRE_FIXED32:
        if (cursor->end - cursor->at < (ptrdiff_t)sizeof(uint32_t))
            cursor->error = error_truncated;
        else
            cursor->at += sizeof(uint32_t);
        return;
    default:
        cursor->error = error_tag;
    }
}

/* protobuf enums are 32 bits with a sign. */
static inline enum brd_status
status_of(uint64_t number)
{
    int32_t status = (int32_t)(uint32_t)number;

    return status < 0 ? BRD_STATUS_UNREPRESENTABLE : (enum brd_status)status;
}

static const char *
decode_item(struct brd_bytes bytes, struct brd_item *item)
{
    struct cursor cursor = cursor_of(bytes);
    uint32_t tag;

    *item = (struct brd_item){ .value = brd_bytes("", 0) };
    while ((tag = take_tag(&cursor)) != 0) {
        switch (tag) {
        case FIELD(1, WIRE_VARINT):
            item->found = take_varint(&cursor) != 0;
            break;
        case FIELD(2, WIRE_FIXED64):
            item->version = take_fixed64(&cursor);
            break;
        case FIELD(3, WIRE_BYTES):
            item->value = take_bytes(&cursor);
            break;
        default:
            skip_field(&cursor, tag);
        }
    }
    return cursor.error;
}

static const char *
decode_stat(struct brd_bytes bytes, struct brd_stat *stat)
{
    struct cursor cursor = cursor_of(bytes);
    uint32_t tag;

    *stat = (struct brd_stat){ .name = brd_bytes("", 0),
                               .unit = brd_bytes("", 0),
                               .text = brd_bytes("", 0) };
    while ((tag = take_tag(&cursor)) != 0) {
        switch (tag) {
        case FIELD(1, WIRE_BYTES):
            stat->name = take_bytes(&cursor);
            break;
        case FIELD(2, WIRE_VARINT):
            stat->number = take_sint64(&cursor);
            stat->text = brd_bytes("", 0);
            stat->is_text = false;
            break;
        case FIELD(3, WIRE_BYTES):
            stat->text = take_bytes(&cursor);
            stat->number = 0;
            stat->is_text = true;
            break;
        case FIELD(4, WIRE_BYTES):
            stat->unit = take_bytes(&cursor);
            break;
        case FIELD(5, WIRE_VARINT):
            stat->counter = take_varint(&cursor) != 0;
            break;
        default:
            skip_field(&cursor, tag);
        }
    }
    return cursor.error;
}

static const char *
decode_hello(struct brd_bytes bytes, struct brd_server_info *hello)
{
    struct cursor cursor = cursor_of(bytes);
    uint32_t tag;

    while ((tag = take_tag(&cursor)) != 0) {
        switch (tag) {
        case FIELD(1, WIRE_VARINT):
            hello->protocol_version = (uint32_t)take_varint(&cursor);
            break;
        case FIELD(2, WIRE_BYTES):
            hello->server_version = take_bytes(&cursor);
            break;
        case FIELD(3, WIRE_VARINT):
            hello->epoch = (uint32_t)take_varint(&cursor);
            break;
        case FIELD(4, WIRE_VARINT):
            hello->max_key_bytes = take_varint(&cursor);
            break;
        case FIELD(5, WIRE_VARINT):
            hello->max_value_bytes = take_varint(&cursor);
            break;
        case FIELD(6, WIRE_VARINT):
            hello->max_frame_bytes = take_varint(&cursor);
            break;
        case FIELD(7, WIRE_VARINT):
            hello->max_batch_keys = take_varint(&cursor);
            break;
        case FIELD(8, WIRE_VARINT):
            hello->max_pending_requests = take_varint(&cursor);
            break;
        case FIELD(9, WIRE_VARINT):
            hello->durability = (enum brd_durability)(take_varint(&cursor) & INT32_MAX);
            break;
        default:
            skip_field(&cursor, tag);
        }
    }
    return cursor.error;
}

static const char *
decode_checkpoint(struct brd_bytes bytes, struct brd_checkpoint *checkpoint)
{
    struct cursor cursor = cursor_of(bytes);
    uint32_t tag;

    while ((tag = take_tag(&cursor)) != 0) {
        switch (tag) {
        case FIELD(1, WIRE_VARINT):
            checkpoint->total = take_varint(&cursor);
            break;
        case FIELD(2, WIRE_VARINT):
            checkpoint->done = take_varint(&cursor);
            break;
        default:
            skip_field(&cursor, tag);
        }
    }
    return cursor.error;
}

/* Room for one more element; NULL, or why not. */
static const char *
grow_array(void **array, size_t *capacity, size_t count, size_t element_size)
{
    size_t wanted = *capacity == 0 ? ARRAY_FIRST_CAPACITY : 2 * *capacity;
    void *grown;

    if (count < *capacity)
        return NULL;
    if (count >= BRD_REPLY_ITEMS_MAX)
        return error_items;
    grown = realloc(*array, wanted * element_size);
    if (grown == NULL)
        return error_memory;
    *array = grown;
    *capacity = wanted;
    return NULL;
}

static const char *
append_item(struct reply_store *store, struct brd_bytes bytes)
{
    void *items = store->items;
    const char *error =
        grow_array(&items, &store->item_capacity, store->reply.item_count, sizeof(*store->items));

    store->items = items;
    if (error == NULL)
        error = decode_item(bytes, &store->items[store->reply.item_count++]);
    return error;
}

static const char *
append_stats(struct reply_store *store, struct brd_bytes bytes)
{
    struct cursor cursor = cursor_of(bytes);
    uint32_t tag;

    while ((tag = take_tag(&cursor)) != 0) {
        struct brd_bytes stat;
        void *stats = store->stats;

        if (tag != FIELD(1, WIRE_BYTES)) {
            skip_field(&cursor, tag);
            continue;
        }
        stat = take_bytes(&cursor);
        if (cursor.error != NULL)
            break;
        cursor.error = grow_array(&stats, &store->stat_capacity, store->reply.stat_count,
                                  sizeof(*store->stats));
        store->stats = stats;
        if (cursor.error == NULL)
            cursor.error = decode_stat(stat, &store->stats[store->reply.stat_count++]);
    }
    return cursor.error;
}

/* The sub-messages, kept out of the way of what is frequent. */
static const char *
decode_rare(struct reply_store *store, struct cursor *cursor, uint32_t tag)
{
    struct brd_bytes bytes = take_bytes(cursor);

    if (cursor->error != NULL)
        return cursor->error;
    switch (tag) {
    case FIELD(8, WIRE_BYTES):
        return append_item(store, bytes);
    case FIELD(16, WIRE_BYTES):
        if (store->reply.hello == NULL)
            store->hello = (struct brd_server_info){ .server_version = brd_bytes("", 0) };
        store->reply.hello = &store->hello;
        return decode_hello(bytes, &store->hello);
    case FIELD(17, WIRE_BYTES):
        return append_stats(store, bytes);
    case FIELD(18, WIRE_BYTES):
        if (store->reply.checkpoint == NULL)
            store->checkpoint = (struct brd_checkpoint){ 0 };
        store->reply.checkpoint = &store->checkpoint;
        return decode_checkpoint(bytes, &store->checkpoint);
    default:
        return NULL;
    }
}

void
reply_store_set(struct reply_store *store, enum brd_status status)
{
    store->reply = (struct brd_reply){
        .status = status,
        .value = brd_bytes("", 0),
        .message = brd_bytes("", 0),
    };
}

const char *
decode_reply(const uint8_t *data, size_t size, struct reply_store *store)
{
    struct cursor cursor = cursor_of(brd_bytes(data, size));
    struct brd_reply *reply = &store->reply;
    uint32_t tag;

    reply_store_set(store, BRD_OK);
    while ((tag = take_tag(&cursor)) != 0) {
        switch (tag) {
        case FIELD(1, WIRE_VARINT):
            reply->id = take_varint(&cursor);
            break;
        case FIELD(2, WIRE_VARINT):
            reply->status = status_of(take_varint(&cursor));
            break;
        case FIELD(3, WIRE_FIXED64):
            reply->version = take_fixed64(&cursor);
            break;
        case FIELD(4, WIRE_BYTES):
            reply->value = take_bytes(&cursor);
            reply->has_value = true;
            break;
        case FIELD(5, WIRE_VARINT):
            reply->number = take_sint64(&cursor);
            reply->has_number = true;
            break;
        case FIELD(6, WIRE_VARINT):
            reply->ttl_ms = take_varint(&cursor);
            reply->has_ttl = true;
            break;
        case FIELD(7, WIRE_BYTES):
            reply->message = take_bytes(&cursor);
            break;
        case FIELD(8, WIRE_BYTES):
        case FIELD(16, WIRE_BYTES):
        case FIELD(17, WIRE_BYTES):
        case FIELD(18, WIRE_BYTES):
            cursor.error = decode_rare(store, &cursor, tag);
            break;
        default:
            skip_field(&cursor, tag);
        }
    }
    reply->items = store->items;
    reply->stats = store->stats;
    return cursor.error;
}

void
reply_store_trim(struct reply_store *store)
{
    if (store->item_capacity <= ARRAY_KEEP_CAPACITY && store->stat_capacity <= ARRAY_KEEP_CAPACITY)
        return;
    reply_store_fini(store);
}

void
reply_store_fini(struct reply_store *store)
{
    free(store->items);
    free(store->stats);
    *store = (struct reply_store){ 0 };
    reply_store_set(store, BRD_OK);
}

const struct brd_item *
brd_reply_item(const struct brd_reply *reply, size_t index)
{
    return index < reply->item_count ? &reply->items[index] : NULL;
}

const struct brd_stat *
brd_reply_stat(const struct brd_reply *reply, size_t index)
{
    return index < reply->stat_count ? &reply->stats[index] : NULL;
}
