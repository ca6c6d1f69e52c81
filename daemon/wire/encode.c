/* Replies: straight into the output queue, the exact size worked out first
 * because it stands in front.
 *
 *   prefix | id status version [value] number ttl_ms message items hello stats checkpoint [value]
 *                              inline                                                     a blob
 *
 * Fields stand in the order of their numbers, as every protobuf library writes
 * them, except a value that is a blob: it is last, so that its bytes follow by
 * reference and no field comes behind them. (Readers take any order.) The value
 * of an item is its last field anyway.
 *
 * A small reply is one reservation and a few stores. A large one is written in
 * pieces: fields by copying what was prepared on the stack, values by append,
 * which spreads them over as many chunks as it takes. The greeting, the
 * statistics and what became of a checkpoint, which nobody asks for by the million,
 * are packed by protobuf-c into the queue.
 *
 * Failure: the queue remembers that memory ran out; what it then holds is not
 * sent. So nothing here is checked twice. */
#include "wire/wire.h"

#include "base/check.h"

#include "brindle.pb-c.h"

#define TAG_VARINT(number)  ((number) << 3)
#define TAG_FIXED64(number) ((number) << 3 | 1)
#define TAG_BYTES(number)   ((number) << 3 | 2)

/* Up to this many bytes a message or an item is written in one piece. A chunk
 * may lose as many at its end. */
#define PIECE_MAX ((size_t)2048)

/* Room for the fields before or behind a value: seven numbers and lengths with
 * their tags. */
#define FIELDS_ROOM 128

/* Of a plain reply without its value's bytes: 5 + 11 + 9 + 6 at most. */
#define PLAIN_ROOM 31

static inline size_t
varint_size(uint64_t value)
{
    unsigned bits = 63 ^ (unsigned)__builtin_clzll(value | 1);

    return (bits * 9 + 73) / 64;
}

static inline uint64_t
zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);
}

/* Size of a field of bytes whose tag has tag_size bytes. */
static inline size_t
bytes_size(size_t tag_size, size_t size)
{
    return tag_size + varint_size(size) + size;
}

static inline uint8_t *
put_varint(uint8_t *at, unsigned tag, uint64_t value)
{
    *at++ = (uint8_t)tag;
    return at + brd_varint_put(at, value);
}

static inline uint8_t *
put_fixed64(uint8_t *at, unsigned tag, uint64_t value)
{
    *at++ = (uint8_t)tag;
    brd_store_le64(at, value);
    return at + 8;
}

static inline uint8_t *
put_bytes(uint8_t *at, struct brd_bytes bytes)
{
    if (bytes.size > 0)
        memcpy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

/* ---- Sizes ---- */

/* What is to be written of one reply. */
struct plan {
    uint64_t id;
    const struct brd_reply *reply;
    struct brd_bytes message; /* empty: none */
    bool value_is_blob;
    size_t hello_size; /* of the submessages, without tag and length */
    size_t stats_size;
    size_t checkpoint_size;
    size_t body_size;
};

/* Is this value, as it stands, all of this blob? */
static inline bool
is_blob(struct brd_bytes value, const struct brd_blob *blob)
{
    return blob != NULL && value.data == blob->data && value.size == blob->size && value.size > 0;
}

static inline size_t
item_size(const struct brd_reply_item *item)
{
    size_t size = item->found ? 2 : 0;

    if (item->version != 0)
        size += 9;
    if (item->value.size > 0)
        size += bytes_size(1, item->value.size);
    return size;
}

/* protobuf-c's messages have pointers to char that it only reads through. */
static char *
text(const char *string)
{
    return (char *)(uintptr_t)string;
}

static Brindle__V1__Stat
stat_message(const struct brd_stat *stat)
{
    Brindle__V1__Stat message = BRINDLE__V1__STAT__INIT;

    message.name = text(stat->name);
    message.unit = text(stat->unit);
    message.counter = stat->counter;
    if (stat->text != NULL) {
        message.value_case = BRINDLE__V1__STAT__VALUE_TEXT;
        message.text = text(stat->text);
    } else {
        message.value_case = BRINDLE__V1__STAT__VALUE_NUMBER;
        message.number = stat->number;
    }
    return message;
}

static Brindle__V1__HelloReply
hello_message(const struct brd_hello_reply *hello)
{
    Brindle__V1__HelloReply message = BRINDLE__V1__HELLO_REPLY__INIT;

    message.protocol_version = hello->protocol_version;
    message.server_version = text(hello->server_version);
    message.epoch = hello->epoch;
    message.max_key_bytes = hello->max_key_bytes;
    message.max_value_bytes = hello->max_value_bytes;
    message.max_frame_bytes = hello->max_frame_bytes;
    message.max_batch_keys = hello->max_batch_keys;
    message.max_pending_requests = hello->max_pending_requests;
    message.durability = (Brindle__V1__Durability)hello->durability;
    return message;
}

static Brindle__V1__CheckpointReply
checkpoint_message(const struct brd_checkpoint_reply *checkpoint)
{
    Brindle__V1__CheckpointReply message = BRINDLE__V1__CHECKPOINT_REPLY__INIT;

    message.total = checkpoint->total;
    message.done = checkpoint->done;
    return message;
}

/* Sizes of what a reply seldom has. */
static size_t
plan_large_fields(struct plan *plan)
{
    const struct brd_reply *reply = plan->reply;
    size_t size = 0;
    size_t i;

    for (i = 0; i < reply->item_count; i++)
        size += bytes_size(1, item_size(&reply->items[i]));
    if (reply->hello != NULL) {
        Brindle__V1__HelloReply hello = hello_message(reply->hello);

        plan->hello_size = brindle__v1__hello_reply__get_packed_size(&hello);
        size += bytes_size(2, plan->hello_size);
    }
    if (reply->stats != NULL) {
        for (i = 0; i < reply->stat_count; i++) {
            Brindle__V1__Stat stat = stat_message(&reply->stats[i]);

            plan->stats_size += bytes_size(1, brindle__v1__stat__get_packed_size(&stat));
        }
        size += bytes_size(2, plan->stats_size);
    }
    if (reply->checkpoint != NULL) {
        Brindle__V1__CheckpointReply checkpoint = checkpoint_message(reply->checkpoint);

        plan->checkpoint_size = brindle__v1__checkpoint_reply__get_packed_size(&checkpoint);
        size += bytes_size(2, plan->checkpoint_size);
    }
    return size;
}

static inline bool
has_large_fields(const struct brd_reply *reply)
{
    return reply->item_count > 0 || reply->hello != NULL || reply->stats != NULL ||
           reply->checkpoint != NULL;
}

static inline void
plan_reply(struct plan *plan, uint64_t id, const struct brd_reply *reply)
{
    size_t size = 0;

    *plan = (struct plan){ .id = id, .reply = reply };
    if (id != 0)
        size += 1 + varint_size(id);
    if (reply->version != 0)
        size += 9;
    if (reply->has_value) {
        plan->value_is_blob = is_blob(reply->value, reply->blob);
        size += bytes_size(1, reply->value.size);
    }
    if (reply->has_number)
        size += 1 + varint_size(zigzag(reply->number));
    if (reply->has_ttl)
        size += 1 + varint_size(reply->ttl_ms);
    if (reply->message != NULL)
        plan->message = brd_bytes_of(reply->message);
    if (reply->status != BRD_OK) {
        size += 1 + varint_size((uint64_t)reply->status);
        if (plan->message.size == 0)
            plan->message = brd_bytes_of(brd_status_sentence(reply->status));
    }
    if (plan->message.size > 0)
        size += bytes_size(1, plan->message.size);
    if (has_large_fields(reply))
        size += plan_large_fields(plan);
    plan->body_size = size;
}

/* ---- Fields ---- */

/* The prefix and what stands before the value: at most 5 + 11 + 11 + 9 bytes. */
static inline uint8_t *
put_head(uint8_t *at, const struct plan *plan)
{
    const struct brd_reply *reply = plan->reply;

    at += brd_varint_put(at, plan->body_size);
    if (plan->id != 0)
        at = put_varint(at, TAG_VARINT(1), plan->id);
    if (reply->status != BRD_OK)
        at = put_varint(at, TAG_VARINT(2), (uint64_t)reply->status);
    if (reply->version != 0)
        at = put_fixed64(at, TAG_FIXED64(3), reply->version);
    return at;
}

/* What stands between the value and the message: at most 11 + 11 bytes. */
static inline uint8_t *
put_numbers(uint8_t *at, const struct brd_reply *reply)
{
    if (reply->has_number)
        at = put_varint(at, TAG_VARINT(5), zigzag(reply->number));
    if (reply->has_ttl)
        at = put_varint(at, TAG_VARINT(6), reply->ttl_ms);
    return at;
}

/* An item up to its value's bytes: at most 11 + 2 + 9 + 11 bytes. */
static inline uint8_t *
put_item_head(uint8_t *at, const struct brd_reply_item *item, size_t size)
{
    at = put_varint(at, TAG_BYTES(8), size);
    if (item->found)
        at = put_varint(at, TAG_VARINT(1), 1);
    if (item->version != 0)
        at = put_fixed64(at, TAG_FIXED64(2), item->version);
    if (item->value.size > 0)
        at = put_varint(at, TAG_BYTES(3), item->value.size);
    return at;
}

/* ---- Large replies ---- */

/* A buffer as protobuf-c wants it. */
struct queue_buffer {
    ProtobufCBuffer base;
    struct brd_outq *out;
};

static void
append_packed(ProtobufCBuffer *buffer, size_t size, const uint8_t *data)
{
    brd_outq_append(((struct queue_buffer *)buffer)->out, brd_bytes(data, size));
}

static void
append_value(struct brd_outq *out, struct brd_bytes value, struct brd_blob *blob)
{
    if (is_blob(value, blob))
        brd_outq_append_blob(out, blob);
    else
        brd_outq_append(out, value);
}

static void
append_item(struct brd_outq *out, const struct brd_reply_item *item)
{
    size_t size = item_size(item);
    uint8_t *at;
    uint8_t *begin;

    if (size <= PIECE_MAX) {
        begin = brd_outq_reserve(out, bytes_size(1, size));
        if (begin == NULL)
            return;
        at = put_item_head(begin, item, size);
        at = put_bytes(at, item->value);
        brd_outq_commit(out, (size_t)(at - begin));
        return;
    }
    begin = brd_outq_reserve(out, FIELDS_ROOM);
    if (begin == NULL)
        return;
    at = put_item_head(begin, item, size);
    brd_outq_commit(out, (size_t)(at - begin));
    append_value(out, item->value, item->blob);
}

/* Tag and length of a field of bytes whose number takes two bytes of tag, if it
 * is above 15. */
static void
append_length(struct brd_outq *out, unsigned number, size_t size)
{
    uint8_t head[2 * BRD_VARINT_MAX];
    size_t n = brd_varint_put(head, TAG_BYTES(number));

    n += brd_varint_put(head + n, size);
    brd_outq_append(out, brd_bytes(head, n));
}

static void
append_hello(struct brd_outq *out, const struct plan *plan)
{
    struct queue_buffer buffer = { .base.append = append_packed, .out = out };
    Brindle__V1__HelloReply hello = hello_message(plan->reply->hello);

    append_length(out, 16, plan->hello_size);
    brindle__v1__hello_reply__pack_to_buffer(&hello, &buffer.base);
}

static void
append_stats(struct brd_outq *out, const struct plan *plan)
{
    struct queue_buffer buffer = { .base.append = append_packed, .out = out };
    size_t i;

    append_length(out, 17, plan->stats_size);
    for (i = 0; i < plan->reply->stat_count; i++) {
        Brindle__V1__Stat stat = stat_message(&plan->reply->stats[i]);

        append_length(out, 1, brindle__v1__stat__get_packed_size(&stat));
        brindle__v1__stat__pack_to_buffer(&stat, &buffer.base);
    }
}

static void
append_checkpoint(struct brd_outq *out, const struct plan *plan)
{
    struct queue_buffer buffer = { .base.append = append_packed, .out = out };
    Brindle__V1__CheckpointReply checkpoint = checkpoint_message(plan->reply->checkpoint);

    append_length(out, 18, plan->checkpoint_size);
    brindle__v1__checkpoint_reply__pack_to_buffer(&checkpoint, &buffer.base);
}

static void
append_pieces(struct brd_outq *out, const struct plan *plan)
{
    const struct brd_reply *reply = plan->reply;
    uint8_t fields[FIELDS_ROOM];
    uint8_t *at = put_head(fields, plan);
    size_t i;

    if (reply->has_value && !plan->value_is_blob) {
        at = put_varint(at, TAG_BYTES(4), reply->value.size);
        brd_outq_append(out, brd_bytes(fields, (size_t)(at - fields)));
        brd_outq_append(out, reply->value);
        at = fields;
    }
    at = put_numbers(at, reply);
    brd_outq_append(out, brd_bytes(fields, (size_t)(at - fields)));
    if (plan->message.size > 0) {
        append_length(out, 7, plan->message.size);
        brd_outq_append(out, plan->message);
    }
    for (i = 0; i < reply->item_count; i++)
        append_item(out, &reply->items[i]);
    if (reply->hello != NULL)
        append_hello(out, plan);
    if (reply->stats != NULL)
        append_stats(out, plan);
    if (reply->checkpoint != NULL)
        append_checkpoint(out, plan);
    if (plan->value_is_blob) {
        append_length(out, 4, reply->value.size);
        brd_outq_append_blob(out, reply->blob);
    }
}

/* ---- All of it ---- */

static inline void
append_whole(struct brd_outq *out, const struct plan *plan, size_t size)
{
    const struct brd_reply *reply = plan->reply;
    uint8_t *begin = brd_outq_reserve(out, size);
    uint8_t *at;

    if (begin == NULL)
        return;
    at = put_head(begin, plan);
    if (reply->has_value) {
        at = put_varint(at, TAG_BYTES(4), reply->value.size);
        at = put_bytes(at, reply->value);
    }
    at = put_numbers(at, reply);
    if (plan->message.size > 0) {
        at = put_varint(at, TAG_BYTES(7), plan->message.size);
        at = put_bytes(at, plan->message);
    }
    BRD_CHECK((size_t)(at - begin) == size);
    brd_outq_commit(out, size);
}

/* Nothing but a version and a small value in the entry: the answer to most gets
 * and puts. */
static inline bool
is_plain(const struct brd_reply *reply)
{
    return reply->status == BRD_OK && !reply->has_number && !reply->has_ttl &&
           reply->message == NULL && !has_large_fields(reply) && reply->blob == NULL &&
           reply->value.size <= PIECE_MAX;
}

/* As append_whole, for plain replies, without a plan. */
static inline void
append_plain(struct brd_outq *out, uint64_t id, const struct brd_reply *reply)
{
    size_t value_size = reply->has_value ? reply->value.size : 0;
    uint8_t *begin = brd_outq_reserve(out, PLAIN_ROOM + value_size);
    size_t size = 0;
    uint8_t *at;

    if (BRD_UNLIKELY(begin == NULL))
        return;
    if (id != 0)
        size += 1 + varint_size(id);
    if (reply->version != 0)
        size += 9;
    if (reply->has_value)
        size += bytes_size(1, value_size);
    at = begin + brd_varint_put(begin, size);
    if (id != 0)
        at = put_varint(at, TAG_VARINT(1), id);
    if (reply->version != 0)
        at = put_fixed64(at, TAG_FIXED64(3), reply->version);
    if (reply->has_value) {
        at = put_varint(at, TAG_BYTES(4), value_size);
        at = put_bytes(at, reply->value);
    }
    BRD_DCHECK((size_t)(at - begin) == varint_size(size) + size);
    brd_outq_commit(out, (size_t)(at - begin));
}

void
brd_wire_encode(struct brd_outq *out, uint64_t id, const struct brd_reply *reply)
{
    struct plan plan;
    uint64_t before = out->end;
    size_t size;

    if (BRD_LIKELY(is_plain(reply))) {
        append_plain(out, id, reply);
        return;
    }
    plan_reply(&plan, id, reply);
    size = varint_size(plan.body_size) + plan.body_size;
    if (BRD_LIKELY(size <= PIECE_MAX && !plan.value_is_blob && !has_large_fields(reply))) {
        append_whole(out, &plan, size);
        return;
    }
    append_pieces(out, &plan);
    BRD_CHECK(out->failed || out->end - before == size);
}
