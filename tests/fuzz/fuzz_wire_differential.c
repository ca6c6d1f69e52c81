/* The codec against protobuf-c.
 *
 * Requests: what is decoded by hand is what the general decoder makes of the
 * same bytes, also where its value lies apart; and what protobuf-c alone, with the
 * system's allocator, unpacks and packs again, canonically, decodes to the same
 * request once more.
 *
 * Replies: the input also describes a reply. Encoded, it reads back equal, and
 * has the size and, but for a blob's place, the bytes that protobuf-c gives it.
 *
 * First byte: bit 0 chooses between the two. */
#include "base/check.h"
#include "proto/frame.h"
#include "tests/support/requests.h"
#include "wire/general.h"
#include "wire/hot.h"

#include "brindle.pb-c.h"

#include <stdio.h>
#include <stdlib.h>

#define ITEMS_MAX 8
#define STATS_MAX 4

static struct brd_wire_arena *arena;
static const struct brd_wire_limits limits = { .batch_keys_max = 1 << 20 };

static void
must_equal(const struct brd_request *a, const struct brd_request *b)
{
    const char *field = requests_differ(a, b);

    if (field != NULL) {
        fprintf(stderr, "%s differs\n", field);
        abort();
    }
}

/* ---- Requests ---- */

/* Packs again what protobuf-c understands; the caller frees the bytes. */
static struct brd_bytes
canonical(struct brd_bytes message)
{
    Brindle__V1__Request *unpacked = brindle__v1__request__unpack(NULL, message.size, message.data);
    size_t size;
    uint8_t *data;

    BRD_CHECK(unpacked != NULL);
    size = brindle__v1__request__get_packed_size(unpacked);
    data = malloc(size == 0 ? 1 : size);
    BRD_CHECK(data != NULL);
    BRD_CHECK(brindle__v1__request__pack(unpacked, data) == size);
    brindle__v1__request__free_unpacked(unpacked, NULL);
    return brd_bytes(data, size);
}

static void
decode_both_ways(struct brd_bytes message)
{
    struct brd_request general;
    struct brd_request by_hand;
    struct brd_request public;
    enum brd_status status;

    status = general_decode(arena, &limits, message, &general);
    if (hot_decode(arena, &limits, message, &by_hand)) {
        BRD_CHECK(status == BRD_OK);
        must_equal(&general, &by_hand);
    }
    BRD_CHECK(brd_wire_decode(arena, &limits, message, NULL, &public) == status);
    BRD_CHECK(public.id == general.id);
    if (status == BRD_OK)
        must_equal(&general, &public);
}

/* The same without the value, if it has one, which lies apart. */
static void
decode_apart(struct brd_bytes message)
{
    struct brd_request apart;
    struct brd_request whole;
    struct brd_span place;
    struct brd_blob *value;
    uint8_t *spliced;
    enum brd_status status;

    if (!brd_wire_find_value(message, message.size, 1, &place))
        return;
    BRD_CHECK(place.size > 0 && place.begin + place.size <= message.size);
    value = brd_blob_copy(brd_bytes(message.data + place.begin, (size_t)place.size));
    spliced = malloc(message.size - place.size);
    BRD_CHECK(value != NULL && spliced != NULL);
    memcpy(spliced, message.data, place.begin);
    memcpy(spliced + place.begin, message.data + place.begin + place.size,
           message.size - place.begin - place.size);
    status = brd_wire_decode(arena, &limits, message, NULL, &whole);
    BRD_CHECK(brd_wire_decode(arena, &limits, brd_bytes(spliced, message.size - place.size),
                              &(struct brd_wire_apart){ .place = place, .value = value },
                              &apart) == status);
    BRD_CHECK(apart.id == whole.id);
    if (status == BRD_OK)
        must_equal(&whole, &apart);
    free(spliced);
    brd_blob_unref(value);
}

static void
check_request(struct brd_bytes message)
{
    struct brd_request first;
    struct brd_request second;
    struct brd_bytes packed;

    decode_both_ways(message);
    decode_apart(message);
    if (brd_wire_decode(arena, &limits, message, NULL, &first) != BRD_OK)
        return;
    packed = canonical(message);
    decode_both_ways(packed);
    decode_apart(packed);
    BRD_CHECK(brd_wire_decode(arena, &limits, packed, NULL, &second) == BRD_OK);
    must_equal(&first, &second);
    free((void *)(uintptr_t)packed.data);
}

/* ---- Replies ---- */

static uint8_t
take_byte(struct brd_bytes *in)
{
    struct brd_bytes byte;

    return brd_bytes_take(in, 1, &byte) ? byte.data[0] : 0;
}

/* Numbers of all sizes. */
static uint64_t
take_number(struct brd_bytes *in)
{
    uint64_t number = 0;
    unsigned size = take_byte(in) % 9;

    for (unsigned i = 0; i < size; i++)
        number = number << 8 | take_byte(in);
    return number;
}

/* Bytes of all sizes: some from the input, repeated a number of times. */
static struct brd_bytes
take_value(struct brd_bytes *in)
{
    size_t size = take_byte(in);
    size_t times = take_byte(in);
    struct brd_bytes seed;
    uint8_t *data;

    if (size > in->size)
        size = in->size;
    BRD_CHECK(brd_bytes_take(in, size, &seed));
    times = times < 128 ? 1 : times;
    data = malloc(size * times + 1);
    BRD_CHECK(data != NULL);
    for (size_t i = 0; i < times; i++)
        if (size > 0)
            memcpy(data + i * size, seed.data, size);
    return brd_bytes(data, size * times);
}

/* Text without NUL. */
static char *
take_text(struct brd_bytes *in)
{
    struct brd_bytes value = take_value(in);
    char *text = (char *)(uintptr_t)value.data;

    for (size_t i = 0; i < value.size; i++)
        text[i] = (char)('a' + (text[i] & 15));
    text[value.size] = '\0';
    return text;
}

static void
drop(const void *pointer)
{
    free((void *)(uintptr_t)pointer);
}

/* Makes the value a blob. */
static struct brd_blob *
to_blob(struct brd_bytes *value)
{
    struct brd_blob *blob = brd_blob_copy(*value);

    BRD_CHECK(blob != NULL);
    drop(value->data);
    *value = brd_blob_bytes(blob);
    return blob;
}

static void
drop_value(struct brd_bytes value, struct brd_blob *blob)
{
    if (blob != NULL)
        brd_blob_unref(blob);
    else
        drop(value.data);
}

struct made {
    struct brd_reply reply;
    struct brd_reply_item items[ITEMS_MAX];
    struct brd_stat stats[STATS_MAX];
    struct brd_hello_reply hello;
    struct brd_checkpoint_reply checkpoint;
    uint64_t id;
};

static enum brd_status
take_status(struct brd_bytes *in)
{
    static const enum brd_status all[] = {
#define STATUS_ITEM(name, number, sentence) BRD_##name,
        BRD_STATUSES(STATUS_ITEM)
#undef STATUS_ITEM
    };

    return all[take_byte(in) % (sizeof(all) / sizeof(all[0]))];
}

static void
make_reply(struct made *made, struct brd_bytes in)
{
    struct brd_reply *reply = &made->reply;
    uint8_t parts = take_byte(&in);

    *made = (struct made){ .id = take_number(&in) };
    if ((parts & 1) != 0)
        reply->status = take_status(&in);
    reply->version = take_number(&in);
    reply->value = take_value(&in);
    reply->has_value = (parts & 2) != 0;
    if ((parts & 4) != 0)
        reply->blob = to_blob(&reply->value);
    reply->has_number = (parts & 8) != 0;
    reply->number = (int64_t)take_number(&in);
    reply->has_ttl = (parts & 16) != 0;
    reply->ttl_ms = take_number(&in);
    if ((parts & 32) != 0)
        reply->message = take_text(&in);
    if ((parts & 64) != 0) {
        reply->items = made->items;
        reply->item_count = take_byte(&in) % (ITEMS_MAX + 1);
        for (size_t i = 0; i < reply->item_count; i++) {
            struct brd_reply_item *item = &made->items[i];
            uint8_t kind = take_byte(&in);

            item->found = (kind & 1) != 0;
            item->version = take_number(&in);
            item->value = take_value(&in);
            if ((kind & 2) != 0)
                item->blob = to_blob(&item->value);
        }
    }
    if ((parts & 128) != 0) {
        reply->stats = made->stats;
        reply->stat_count = take_byte(&in) % (STATS_MAX + 1);
        for (size_t i = 0; i < reply->stat_count; i++) {
            struct brd_stat *stat = &made->stats[i];
            uint8_t kind = take_byte(&in);

            stat->name = take_text(&in);
            stat->unit = (kind & 1) != 0 ? "bytes" : "";
            stat->text = (kind & 2) != 0 ? take_text(&in) : NULL;
            stat->number = (int64_t)take_number(&in);
            stat->counter = (kind & 4) != 0;
        }
        made->hello = (struct brd_hello_reply){
            .protocol_version = (uint32_t)take_number(&in),
            .server_version = "9",
            .epoch = (uint32_t)take_number(&in),
            .max_key_bytes = take_number(&in),
            .durability = BRD_DURABILITY_FULL,
        };
        reply->hello = &made->hello;
        made->checkpoint.total = take_number(&in);
        made->checkpoint.done = take_number(&in);
        reply->checkpoint = &made->checkpoint;
    }
}

static void
drop_reply(struct made *made)
{
    drop_value(made->reply.value, made->reply.blob);
    drop(made->reply.message);
    for (size_t i = 0; i < made->reply.item_count; i++)
        drop_value(made->items[i].value, made->items[i].blob);
    for (size_t i = 0; i < made->reply.stat_count; i++) {
        drop(made->stats[i].name);
        drop(made->stats[i].text);
    }
}

static void
must_be_value(struct brd_bytes sent, ProtobufCBinaryData read)
{
    BRD_CHECK(brd_bytes_equal(sent, brd_bytes(read.data, read.len)));
}

static void
compare_reply(const struct made *made, const Brindle__V1__Reply *read)
{
    const struct brd_reply *reply = &made->reply;

    BRD_CHECK(read->id == made->id);
    BRD_CHECK((int)read->status == (int)reply->status);
    BRD_CHECK(read->version == reply->version);
    BRD_CHECK((read->has_value_case != 0) == reply->has_value);
    if (reply->has_value)
        must_be_value(reply->value, read->value);
    BRD_CHECK((read->has_number_case != 0) == reply->has_number);
    if (reply->has_number)
        BRD_CHECK(read->number == reply->number);
    BRD_CHECK((read->has_ttl_case != 0) == reply->has_ttl);
    if (reply->has_ttl)
        BRD_CHECK(read->ttl_ms == reply->ttl_ms);
    if (reply->message != NULL && reply->message[0] != '\0')
        BRD_CHECK(strcmp(read->message, reply->message) == 0);
    BRD_CHECK((read->message[0] != '\0') ||
              (reply->status == BRD_OK && (reply->message == NULL || reply->message[0] == '\0')));
    BRD_CHECK(read->n_items == reply->item_count);
    for (size_t i = 0; i < reply->item_count; i++) {
        BRD_CHECK((read->items[i]->found != 0) == reply->items[i].found);
        BRD_CHECK(read->items[i]->version == reply->items[i].version);
        must_be_value(reply->items[i].value, read->items[i]->value);
    }
    BRD_CHECK((read->hello != NULL) == (reply->hello != NULL));
    if (reply->hello != NULL) {
        BRD_CHECK(read->hello->protocol_version == reply->hello->protocol_version);
        BRD_CHECK(read->hello->epoch == reply->hello->epoch);
        BRD_CHECK(read->hello->max_key_bytes == reply->hello->max_key_bytes);
    }
    BRD_CHECK((read->checkpoint != NULL) == (reply->checkpoint != NULL));
    if (reply->checkpoint != NULL) {
        BRD_CHECK(read->checkpoint->total == reply->checkpoint->total);
        BRD_CHECK(read->checkpoint->done == reply->checkpoint->done);
    }
    BRD_CHECK((read->stats != NULL) == (reply->stats != NULL));
    for (size_t i = 0; i < reply->stat_count; i++) {
        const Brindle__V1__Stat *stat = read->stats->stats[i];

        BRD_CHECK(strcmp(stat->name, reply->stats[i].name) == 0);
        BRD_CHECK((stat->counter != 0) == reply->stats[i].counter);
        if (reply->stats[i].text != NULL)
            BRD_CHECK(stat->value_case == BRINDLE__V1__STAT__VALUE_TEXT &&
                      strcmp(stat->text, reply->stats[i].text) == 0);
        else
            BRD_CHECK(stat->value_case == BRINDLE__V1__STAT__VALUE_NUMBER &&
                      stat->number == reply->stats[i].number);
    }
}

/* All that a queue holds, in memory of exactly its size. */
static struct brd_bytes
flatten(const struct brd_outq *queue)
{
    struct iovec iov[4 * ITEMS_MAX + 64];
    size_t n = brd_outq_peek(queue, UINT64_MAX, iov, sizeof(iov) / sizeof(iov[0]));
    size_t size = (size_t)brd_outq_pending(queue);
    uint8_t *data = malloc(size);
    size_t at = 0;

    BRD_CHECK(data != NULL);
    for (size_t i = 0; i < n; i++) {
        memcpy(data + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    BRD_CHECK(at == size);
    return brd_bytes(data, size);
}

static void
check_reply(struct brd_bytes in)
{
    struct made made;
    struct brd_outq_pool pool;
    struct brd_outq queue;
    struct brd_bytes frame;
    struct brd_bytes message;
    Brindle__V1__Reply *read;
    uint8_t *again;
    uint64_t body;
    size_t head;

    make_reply(&made, in);
    brd_outq_pool_init(&pool, 1);
    brd_outq_init(&queue, &pool);
    brd_wire_encode(&queue, made.id, &made.reply);
    BRD_CHECK(!queue.failed);
    frame = flatten(&queue);
    BRD_CHECK(brd_frame_parse(frame.data, frame.size, UINT32_MAX, &head, &body) == BRD_FRAME_OK);
    BRD_CHECK(head + body == frame.size);
    BRD_CHECK(brd_frame_prefix_size(body) == head);
    message = brd_bytes(frame.data + head, (size_t)body);
    read = brindle__v1__reply__unpack(NULL, message.size, message.data);
    BRD_CHECK(read != NULL);
    compare_reply(&made, read);
    BRD_CHECK(brindle__v1__reply__get_packed_size(read) == message.size);
    again = malloc(message.size + 1);
    BRD_CHECK(again != NULL);
    brindle__v1__reply__pack(read, again);
    if (made.reply.blob == NULL || !made.reply.has_value)
        BRD_CHECK(memcmp(again, message.data, message.size) == 0);
    free(again);
    brindle__v1__reply__free_unpacked(read, NULL);
    drop(frame.data);
    brd_outq_fini(&queue);
    brd_outq_pool_fini(&pool);
    drop_reply(&made);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (arena == NULL)
        arena = brd_wire_arena_create((size_t)64 << 20);
    BRD_CHECK(arena != NULL);
    brd_wire_arena_clear(arena);
    if ((data[0] & 1) == 0)
        check_request(brd_bytes(data + 1, size - 1));
    else
        check_reply(brd_bytes(data + 1, size - 1));
    return 0;
}
