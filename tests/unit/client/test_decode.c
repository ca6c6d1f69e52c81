/* The hand-written decoder against protobuf-c: random replies, replies with
 * fields of a later version, and damaged ones. */
#include <brindle.h>

#include <check.h>

#include "brindle.pb-c.h"
#include "decode.h"
#include "random.h"

#define ROUNDS       3000
#define MANY         12
#define SIZE_LARGEST (64 * 1024)

static uint8_t noise[4096];
static struct reply_store store;
static uint8_t packed[SIZE_LARGEST];

/* protobuf-c does not look at the wire type of a bool, so a damaged one may be
 * true there while everybody else skips it. */
static bool compare_bools = true;

static void
setup(void)
{
    size_t i;

    random_start();
    for (i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)random_next();
    reply_store_set(&store, BRD_OK);
    compare_bools = true;
}

static void
teardown(void)
{
    reply_store_fini(&store);
}

/* ---- Random replies of protobuf-c --------------------------------------- */

/* A reply and all that it points to. */
struct sample {
    Brindle__V1__Reply reply;
    Brindle__V1__Item items[MANY];
    Brindle__V1__Item *item_pointers[MANY];
    Brindle__V1__HelloReply hello;
    Brindle__V1__CheckpointReply checkpoint;
    Brindle__V1__StatsReply stats_reply;
    Brindle__V1__Stat stats[MANY];
    Brindle__V1__Stat *stat_pointers[MANY];
    char texts[4][200];
};

static bool
coin(void)
{
    return random_below(2) != 0;
}

static ProtobufCBinaryData
random_binary(void)
{
    size_t size = coin() ? random_below(8) : random_below(500);

    return (ProtobufCBinaryData){ .data = noise + random_below(1000), .len = size };
}

static char *
random_text(char *text)
{
    size_t size = random_below(199);
    size_t i;

    for (i = 0; i < size; i++)
        text[i] = (char)('a' + random_below(26));
    text[size] = '\0';
    return text;
}

static void
fill_items(struct sample *sample)
{
    size_t i;

    sample->reply.n_items = random_below(MANY);
    sample->reply.items = sample->item_pointers;
    for (i = 0; i < sample->reply.n_items; i++) {
        Brindle__V1__Item *item = &sample->items[i];

        brindle__v1__item__init(item);
        item->found = coin();
        item->version = random_number();
        item->value = random_binary();
        sample->item_pointers[i] = item;
    }
}

static void
fill_hello(struct sample *sample)
{
    Brindle__V1__HelloReply *hello = &sample->hello;

    brindle__v1__hello_reply__init(hello);
    hello->protocol_version = (uint32_t)random_number();
    hello->server_version = random_text(sample->texts[0]);
    hello->epoch = (uint32_t)random_number();
    hello->max_key_bytes = random_number();
    hello->max_value_bytes = random_number();
    hello->max_frame_bytes = random_number();
    hello->max_batch_keys = random_number();
    hello->max_pending_requests = random_number();
    hello->durability = (Brindle__V1__Durability)random_below(5);
    sample->reply.hello = hello;
}

static void
fill_checkpoint(struct sample *sample)
{
    brindle__v1__checkpoint_reply__init(&sample->checkpoint);
    sample->checkpoint.total = random_number();
    sample->checkpoint.done = random_number();
    sample->reply.checkpoint = &sample->checkpoint;
}

static void
fill_stats(struct sample *sample)
{
    size_t i;

    brindle__v1__stats_reply__init(&sample->stats_reply);
    sample->reply.stats = &sample->stats_reply;
    sample->stats_reply.n_stats = random_below(MANY);
    sample->stats_reply.stats = sample->stat_pointers;
    for (i = 0; i < sample->stats_reply.n_stats; i++) {
        Brindle__V1__Stat *stat = &sample->stats[i];

        brindle__v1__stat__init(stat);
        stat->name = sample->texts[1];
        stat->unit = sample->texts[2];
        stat->counter = coin();
        if (coin()) {
            stat->value_case = BRINDLE__V1__STAT__VALUE_NUMBER;
            stat->number = (int64_t)random_number();
        } else if (coin()) {
            stat->value_case = BRINDLE__V1__STAT__VALUE_TEXT;
            stat->text = sample->texts[3];
        }
        sample->stat_pointers[i] = stat;
    }
}

static void
fill(struct sample *sample)
{
    Brindle__V1__Reply *reply = &sample->reply;
    size_t i;

    for (i = 0; i < 4; i++)
        random_text(sample->texts[i]);
    brindle__v1__reply__init(reply);
    reply->id = random_number();
    reply->status = coin() ? BRINDLE__V1__STATUS__OK : (Brindle__V1__Status)random_below(200);
    reply->version = random_number();
    if (coin()) {
        reply->has_value_case = BRINDLE__V1__REPLY__HAS_VALUE_VALUE;
        reply->value = random_binary();
    }
    if (coin()) {
        reply->has_number_case = BRINDLE__V1__REPLY__HAS_NUMBER_NUMBER;
        reply->number = (int64_t)random_number();
    }
    if (coin()) {
        reply->has_ttl_case = BRINDLE__V1__REPLY__HAS_TTL_TTL_MS;
        reply->ttl_ms = random_number();
    }
    if (coin())
        reply->message = sample->texts[0];
    if (coin())
        fill_items(sample);
    if (random_below(4) == 0)
        fill_hello(sample);
    if (random_below(4) == 0)
        fill_stats(sample);
    if (random_below(4) == 0)
        fill_checkpoint(sample);
}

/* ---- Comparing ---------------------------------------------------------- */

static void
same_bool(bool ours, protobuf_c_boolean theirs)
{
    if (compare_bools)
        ck_assert_int_eq(ours, theirs != 0);
}

static void
same_binary(struct brd_bytes ours, ProtobufCBinaryData theirs)
{
    ck_assert_uint_eq(ours.size, theirs.len);
    if (ours.size != 0)
        ck_assert_mem_eq(ours.data, theirs.data, ours.size);
}

/* protobuf-c's strings end at the first NUL. */
static void
same_text(struct brd_bytes ours, const char *theirs)
{
    ck_assert_uint_le(strlen(theirs), ours.size);
    ck_assert_mem_eq(ours.data, theirs, strlen(theirs));
    if (strlen(theirs) < ours.size)
        ck_assert_int_eq(((const char *)ours.data)[strlen(theirs)], '\0');
}

static void
same_hello(const struct brd_server_info *ours, const Brindle__V1__HelloReply *theirs)
{
    ck_assert_int_eq(ours != NULL, theirs != NULL);
    if (ours == NULL)
        return;
    ck_assert_uint_eq(ours->protocol_version, theirs->protocol_version);
    same_text(ours->server_version, theirs->server_version);
    ck_assert_uint_eq(ours->epoch, theirs->epoch);
    ck_assert_uint_eq(ours->max_key_bytes, theirs->max_key_bytes);
    ck_assert_uint_eq(ours->max_value_bytes, theirs->max_value_bytes);
    ck_assert_uint_eq(ours->max_frame_bytes, theirs->max_frame_bytes);
    ck_assert_uint_eq(ours->max_batch_keys, theirs->max_batch_keys);
    ck_assert_uint_eq(ours->max_pending_requests, theirs->max_pending_requests);
    ck_assert_int_eq((int)ours->durability, (int)theirs->durability & INT32_MAX);
}

static void
same_items(const struct brd_reply *ours, const Brindle__V1__Reply *theirs)
{
    size_t i;

    ck_assert_uint_eq(ours->item_count, theirs->n_items);
    for (i = 0; i < ours->item_count; i++) {
        const struct brd_item *item = brd_reply_item(ours, i);

        same_bool(item->found, theirs->items[i]->found);
        ck_assert_uint_eq(item->version, theirs->items[i]->version);
        same_binary(item->value, theirs->items[i]->value);
    }
    ck_assert_ptr_null(brd_reply_item(ours, i));
}

static void
same_stats(const struct brd_reply *ours, const Brindle__V1__StatsReply *theirs)
{
    size_t i;

    ck_assert_uint_eq(ours->stat_count, theirs == NULL ? 0 : theirs->n_stats);
    for (i = 0; i < ours->stat_count; i++) {
        const struct brd_stat *stat = brd_reply_stat(ours, i);
        bool is_text = theirs->stats[i]->value_case == BRINDLE__V1__STAT__VALUE_TEXT;

        same_text(stat->name, theirs->stats[i]->name);
        same_text(stat->unit, theirs->stats[i]->unit);
        same_bool(stat->counter, theirs->stats[i]->counter);
        ck_assert_int_eq(stat->is_text, is_text);
        if (is_text)
            same_text(stat->text, theirs->stats[i]->text);
        if (theirs->stats[i]->value_case == BRINDLE__V1__STAT__VALUE_NUMBER)
            ck_assert_int_eq(stat->number, theirs->stats[i]->number);
    }
    ck_assert_ptr_null(brd_reply_stat(ours, i));
}

static void
same_checkpoint(const struct brd_checkpoint *ours, const Brindle__V1__CheckpointReply *theirs)
{
    ck_assert_int_eq(ours != NULL, theirs != NULL);
    if (ours == NULL)
        return;
    ck_assert_uint_eq(ours->total, theirs->total);
    ck_assert_uint_eq(ours->done, theirs->done);
}

static void
same_reply(const struct brd_reply *ours, const Brindle__V1__Reply *theirs)
{
    bool has_value = theirs->has_value_case == BRINDLE__V1__REPLY__HAS_VALUE_VALUE;
    bool has_number = theirs->has_number_case == BRINDLE__V1__REPLY__HAS_NUMBER_NUMBER;
    bool has_ttl = theirs->has_ttl_case == BRINDLE__V1__REPLY__HAS_TTL_TTL_MS;

    ck_assert_uint_eq(ours->id, theirs->id);
    ck_assert_int_eq((int)ours->status,
                     (int)theirs->status < 0 ? BRD_STATUS_UNREPRESENTABLE : (int)theirs->status);
    ck_assert_uint_eq(ours->version, theirs->version);
    ck_assert_int_eq(ours->has_value, has_value);
    if (has_value)
        same_binary(ours->value, theirs->value);
    ck_assert_int_eq(ours->has_number, has_number);
    if (has_number)
        ck_assert_int_eq(ours->number, theirs->number);
    ck_assert_int_eq(ours->has_ttl, has_ttl);
    if (has_ttl)
        ck_assert_uint_eq(ours->ttl_ms, theirs->ttl_ms);
    same_text(ours->message, theirs->message);
    same_items(ours, theirs);
    same_hello(ours->hello, theirs->hello);
    same_stats(ours, theirs->stats);
    same_checkpoint(ours->checkpoint, theirs->checkpoint);
}

static size_t
pack_random(struct sample *sample)
{
    size_t size;

    fill(sample);
    size = brindle__v1__reply__get_packed_size(&sample->reply);
    ck_assert_uint_le(size, sizeof(packed));
    brindle__v1__reply__pack(&sample->reply, packed);
    return size;
}

/* Decode a copy that ends where its allocation ends, for the address sanitizer. */
static const char *
decode_exact(const uint8_t *data, size_t size, uint8_t **out_copy)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);

    memcpy(copy, data, size);
    *out_copy = copy;
    return decode_reply(copy, size, &store);
}

START_TEST(random_replies_decode_as_protobuf_decodes_them)
{
    static struct sample sample;
    int round;

    for (round = 0; round < ROUNDS; round++) {
        size_t size = pack_random(&sample);
        uint8_t *copy;

        ck_assert_pstr_eq(decode_exact(packed, size, &copy), NULL);
        same_reply(&store.reply, &sample.reply);
        free(copy);
    }
}
END_TEST

/* The varint at *at; moves behind it. What is cut short ends the bytes. */
static uint64_t
next_varint(const uint8_t *bytes, size_t size, size_t *at)
{
    uint64_t number = 0;
    unsigned shift = 0;

    while (*at < size && shift < 64) {
        uint8_t byte = bytes[(*at)++];

        number |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        if (byte < 0x80)
            return number;
    }
    *at = size;
    return 0;
}

/* Does a message stand in more than one part? Their fields are to be merged; protobuf-c does
 * not do that for numbers that have no presence. Ours: a_hello_in_two_parts_is_merged. */
static bool
has_message_in_parts(const uint8_t *bytes, size_t size)
{
    const ProtobufCMessageDescriptor *reply = &brindle__v1__reply__descriptor;
    unsigned seen[64] = { 0 };
    size_t at = 0;

    while (at < size) {
        uint64_t tag = next_varint(bytes, size, &at);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(reply, (unsigned)(tag >> 3));
        uint64_t skip = (tag & 7) == 1 ? 8 : (tag & 7) == 5 ? 4 : 0;

        if ((tag & 7) == 0)
            (void)next_varint(bytes, size, &at);
        if ((tag & 7) == 2)
            skip = next_varint(bytes, size, &at);
        at = skip < size - at ? at + (size_t)skip : size;
        if (field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE && (tag & 7) == 2 &&
            field->label != PROTOBUF_C_LABEL_REPEATED && field->id < 64 && ++seen[field->id] > 1)
            return true;
    }
    return false;
}

START_TEST(damaged_replies_decode_as_protobuf_decodes_them_or_are_refused)
{
    static struct sample sample;
    int accepted = 0;
    int round;

    compare_bools = false;
    for (round = 0; round < ROUNDS; round++) {
        size_t size = pack_random(&sample);
        size_t flips = 1 + random_below(4);
        Brindle__V1__Reply *theirs;
        const char *error;
        uint8_t *copy;

        while (size != 0 && flips-- != 0)
            packed[random_below(size)] ^= (uint8_t)(1 << random_below(8));
        error = decode_exact(packed, size, &copy);
        theirs = brindle__v1__reply__unpack(NULL, size, packed);
        /* protobuf-c takes a field number 0 and 70-bit numbers; others do not. */
        if (theirs != NULL && error != NULL)
            ck_assert(strstr(error, "no protocol buffer") != NULL ||
                      strstr(error, "64 bits") != NULL);
        if (theirs != NULL && error == NULL && !has_message_in_parts(packed, size)) {
            same_reply(&store.reply, theirs);
            accepted++;
        }
        if (theirs != NULL)
            brindle__v1__reply__free_unpacked(theirs, NULL);
        free(copy);
    }
    ck_assert_int_gt(accepted, ROUNDS / 10);
}
END_TEST

START_TEST(a_reply_cut_anywhere_reads_nothing_behind_its_end)
{
    static struct sample sample;
    int round;

    for (round = 0; round < 50; round++) {
        size_t size = pack_random(&sample);
        size_t cut;

        for (cut = 0; cut < size; cut++) {
            Brindle__V1__Reply *theirs = brindle__v1__reply__unpack(NULL, cut, packed);
            uint8_t *copy;
            const char *error = decode_exact(packed, cut, &copy);

            ck_assert_int_eq(theirs == NULL, error != NULL);
            if (theirs != NULL) {
                same_reply(&store.reply, theirs);
                brindle__v1__reply__free_unpacked(theirs, NULL);
            }
            free(copy);
        }
    }
}
END_TEST

/* ---- Handmade bytes ----------------------------------------------------- */

static const char *
decode_bytes(const char *bytes, size_t size)
{
    return decode_reply((const uint8_t *)bytes, size, &store);
}

#define DECODE(bytes) decode_bytes(bytes, sizeof(bytes) - 1)

START_TEST(fields_of_a_later_version_are_skipped)
{
    /* 9 varint, 10 fixed32, 11 fixed64, 12 bytes, 1000 varint, between known ones */
    ck_assert_pstr_eq(DECODE("\x08\x07"
                             "\x48\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                             "\x55\x01\x02\x03\x04"
                             "\x59\x01\x02\x03\x04\x05\x06\x07\x08"
                             "\x62\x03xyz"
                             "\xc0\x3e\x05"
                             "\x10\x01"),
                      NULL);
    ck_assert_uint_eq(store.reply.id, 7);
    ck_assert_int_eq(store.reply.status, BRD_NOT_FOUND);
}
END_TEST

START_TEST(a_known_field_with_another_wire_type_is_skipped)
{
    ck_assert_pstr_eq(DECODE("\x0a\x02zz\x08\x07\x20\x05\x2a\x01x"), NULL);
    ck_assert_uint_eq(store.reply.id, 7);
    ck_assert(!store.reply.has_value);
    ck_assert(!store.reply.has_number);
}
END_TEST

START_TEST(the_last_of_a_repeated_scalar_wins)
{
    ck_assert_pstr_eq(DECODE("\x08\x07\x22\x01x\x08\x09\x22\x02yz"), NULL);
    ck_assert_uint_eq(store.reply.id, 9);
    ck_assert_uint_eq(store.reply.value.size, 2);
    ck_assert_mem_eq(store.reply.value.data, "yz", 2);
}
END_TEST

START_TEST(a_hello_in_two_parts_is_merged)
{
    ck_assert_pstr_eq(DECODE("\x82\x01\x02\x08\x01\x82\x01\x02\x18\x05"), NULL);
    ck_assert_ptr_nonnull(store.reply.hello);
    ck_assert_uint_eq(store.reply.hello->protocol_version, 1);
    ck_assert_uint_eq(store.reply.hello->epoch, 5);
}
END_TEST

START_TEST(a_checkpoint_in_two_parts_is_merged)
{
    ck_assert_pstr_eq(DECODE("\x92\x01\x02\x08\x07\x92\x01\x02\x10\x05"), NULL);
    ck_assert_ptr_nonnull(store.reply.checkpoint);
    ck_assert_uint_eq(store.reply.checkpoint->total, 7);
    ck_assert_uint_eq(store.reply.checkpoint->done, 5);
    ck_assert_pstr_eq(DECODE("\x92\x01\x00"), NULL);
    ck_assert_uint_eq(store.reply.checkpoint->total, 0);
    ck_assert_pstr_eq(DECODE(""), NULL);
    ck_assert_ptr_null(store.reply.checkpoint);
}
END_TEST

START_TEST(stats_in_two_parts_are_joined)
{
    ck_assert_pstr_eq(DECODE("\x8a\x01\x05\x0a\x03\x0a\x01"
                             "a"
                             "\x8a\x01\x05\x0a\x03\x0a\x01"
                             "b"),
                      NULL);
    ck_assert_uint_eq(store.reply.stat_count, 2);
    ck_assert_mem_eq(brd_reply_stat(&store.reply, 1)->name.data, "b", 1);
}
END_TEST

START_TEST(a_negative_status_is_unrepresentable_and_has_a_name)
{
    ck_assert_pstr_eq(DECODE("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), NULL);
    ck_assert_int_eq(store.reply.status, BRD_STATUS_UNREPRESENTABLE);
    ck_assert_str_eq(brd_status_name(store.reply.status), "UNKNOWN_STATUS");
}
END_TEST

START_TEST(an_unknown_status_is_kept_as_a_number)
{
    ck_assert_pstr_eq(DECODE("\x10\xe7\x07"), NULL);
    ck_assert_int_eq((int)store.reply.status, 999);
}
END_TEST

START_TEST(empty_value_differs_from_no_value)
{
    ck_assert_pstr_eq(DECODE("\x22\x00"), NULL);
    ck_assert(store.reply.has_value);
    ck_assert_uint_eq(store.reply.value.size, 0);
    ck_assert_pstr_eq(DECODE(""), NULL);
    ck_assert(!store.reply.has_value);
    ck_assert_int_eq(store.reply.status, BRD_OK);
}
END_TEST

START_TEST(what_no_protocol_buffer_can_hold_is_refused)
{
    ck_assert_ptr_nonnull(DECODE("\x00\x01"));                     /* field number 0 */
    ck_assert_ptr_nonnull(DECODE("\x0b\x0c"));                     /* a group */
    ck_assert_ptr_nonnull(DECODE("\x0e\x01"));                     /* wire type 6 */
    ck_assert_ptr_nonnull(DECODE("\x0f\x01"));                     /* wire type 7 */
    ck_assert_ptr_nonnull(DECODE("\xf8\xff\xff\xff\xff\x01\x01")); /* a tag above 32 bits */
    ck_assert_ptr_nonnull(DECODE("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")); /* 65 bits */
    ck_assert_ptr_nonnull(DECODE("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"));
}
END_TEST

START_TEST(lengths_beyond_the_end_are_refused)
{
    ck_assert_ptr_nonnull(DECODE("\x22\x05"
                                 "abcd"));
    ck_assert_ptr_nonnull(DECODE("\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
    ck_assert_ptr_nonnull(DECODE("\x42\x03\x1a\x02x"));            /* inside an item */
    ck_assert_ptr_nonnull(DECODE("\x42\x02\x1a\xff"));             /* a length cut by its item */
    ck_assert_ptr_nonnull(DECODE("\x8a\x01\x04\x0a\x03\x0a\x05")); /* inside a stat */
    ck_assert_ptr_nonnull(DECODE("\x82\x01\x02\x12\x01"));         /* inside hello */
    ck_assert_ptr_nonnull(DECODE("\x19\x01\x02\x03"));             /* a cut fixed64 */
    ck_assert_ptr_nonnull(DECODE("\x55\x01\x02\x03"));             /* a cut fixed32 */
}
END_TEST

START_TEST(more_items_than_the_maximum_are_refused)
{
    size_t size = 2 * ((size_t)BRD_REPLY_ITEMS_MAX + 1);
    uint8_t *bytes = malloc(size);
    size_t i;

    for (i = 0; i < size; i += 2) {
        bytes[i] = 0x42;
        bytes[i + 1] = 0;
    }
    ck_assert_pstr_eq(decode_reply(bytes, size - 2, &store), NULL);
    ck_assert_uint_eq(store.reply.item_count, BRD_REPLY_ITEMS_MAX);
    ck_assert_ptr_nonnull(decode_reply(bytes, size, &store));
    reply_store_trim(&store);
    ck_assert_uint_eq(store.item_capacity, 0);
    free(bytes);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("client decode");
    TCase *same = tcase_create("as protobuf-c decodes");
    TCase *rules = tcase_create("rules");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(same, setup, teardown);
    tcase_set_timeout(same, 60);
    tcase_add_test(same, random_replies_decode_as_protobuf_decodes_them);
    tcase_add_test(same, damaged_replies_decode_as_protobuf_decodes_them_or_are_refused);
    tcase_add_test(same, a_reply_cut_anywhere_reads_nothing_behind_its_end);
    suite_add_tcase(suite, same);

    tcase_add_checked_fixture(rules, setup, teardown);
    tcase_add_test(rules, fields_of_a_later_version_are_skipped);
    tcase_add_test(rules, a_known_field_with_another_wire_type_is_skipped);
    tcase_add_test(rules, the_last_of_a_repeated_scalar_wins);
    tcase_add_test(rules, a_hello_in_two_parts_is_merged);
    tcase_add_test(rules, a_checkpoint_in_two_parts_is_merged);
    tcase_add_test(rules, stats_in_two_parts_are_joined);
    tcase_add_test(rules, a_negative_status_is_unrepresentable_and_has_a_name);
    tcase_add_test(rules, an_unknown_status_is_kept_as_a_number);
    tcase_add_test(rules, empty_value_differs_from_no_value);
    tcase_add_test(rules, what_no_protocol_buffer_can_hold_is_refused);
    tcase_add_test(rules, lengths_beyond_the_end_are_refused);
    tcase_add_test(rules, more_items_than_the_maximum_are_refused);
    suite_add_tcase(suite, rules);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
