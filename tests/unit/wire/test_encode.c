/* Replies of all sizes, with values copied and by reference, read back by
 * protobuf-c. The bytes of each kind of reply are in test_golden.c. */
#include "wire_test.h"

#include "brindle.pb-c.h"

#include <check.h>

static struct brd_outq_pool pool;
static struct brd_outq queue;
static uint8_t content[200000];

static void
setup(void)
{
    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (uint8_t)(i * 7 + i / 251);
    brd_outq_pool_init(&pool, 2);
    brd_outq_init(&queue, &pool);
}

static void
teardown(void)
{
    brd_outq_fini(&queue);
    brd_outq_pool_fini(&pool);
}

/* Takes what is in the queue as one frame and unpacks it. What protobuf-c would
 * have written has the same size, and is the same where in_order. */
static Brindle__V1__Reply *
take_reply(bool in_order)
{
    struct brd_bytes frame = flatten(&queue);
    struct brd_bytes message = unframe(frame);
    Brindle__V1__Reply *reply = brindle__v1__reply__unpack(NULL, message.size, message.data);
    uint8_t *again;

    ck_assert_ptr_nonnull(reply);
    ck_assert_uint_eq(brindle__v1__reply__get_packed_size(reply), message.size);
    again = malloc(message.size + 1);
    brindle__v1__reply__pack(reply, again);
    ck_assert(!in_order || memcmp(again, message.data, message.size) == 0);
    free(again);
    free((void *)(uintptr_t)frame.data);
    brd_outq_consume(&queue, brd_outq_pending(&queue));
    return reply;
}

static void
done(Brindle__V1__Reply *reply)
{
    brindle__v1__reply__free_unpacked(reply, NULL);
}

START_TEST(values_of_any_size_arrive)
{
    /* around the sizes at which prefixes, pieces and chunks change */
    static const size_t around[] = { 0, 127, 128, 2048, 16384, BRD_OUTQ_CHUNK_BYTES, 65536 };

    for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++)
        for (size_t off = 0; off < 80; off++) {
            size_t size = around[i] + 40 - off;
            struct brd_reply reply = {
                .version = 5,
                .has_value = true,
                .value = { content, size },
                .has_number = true,
                .number = -300,
            };
            Brindle__V1__Reply *read;

            if (size > sizeof(content))
                continue; /* below zero */
            brd_wire_encode(&queue, 9, &reply);
            read = take_reply(true);
            ck_assert_uint_eq(read->id, 9);
            ck_assert_uint_eq(read->version, 5);
            ck_assert_int_eq(read->number, -300);
            ck_assert_int_eq(read->has_value_case, BRINDLE__V1__REPLY__HAS_VALUE_VALUE);
            ck_assert_uint_eq(read->value.len, size);
            if (size > 0)
                ck_assert_mem_eq(read->value.data, content, size);
            done(read);
        }
}
END_TEST

START_TEST(a_blob_goes_by_reference_behind_all_other_fields)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes(content, 100000));
    struct brd_reply reply = {
        .status = BRD_VERSION_MISMATCH,
        .version = 5,
        .has_value = true,
        .value = brd_blob_bytes(blob),
        .blob = blob,
        .has_number = true,
        .number = 1,
        .has_ttl = true,
        .ttl_ms = 77,
    };
    struct iovec iov[4];
    Brindle__V1__Reply *read;

    brd_wire_encode(&queue, 9, &reply);
    ck_assert_uint_eq(queue.blob_bytes, 100000);
    ck_assert_uint_eq(brd_outq_peek(&queue, UINT64_MAX, iov, 4), 2);
    ck_assert_ptr_eq(iov[1].iov_base, blob->data);
    brd_blob_unref(blob); /* the queue has its own reference */
    read = take_reply(false);
    ck_assert_uint_eq(read->value.len, 100000);
    ck_assert_mem_eq(read->value.data, content, 100000);
    ck_assert_int_eq(read->number, 1);
    ck_assert_uint_eq(read->ttl_ms, 77);
    ck_assert_int_eq((int)read->status, BRD_VERSION_MISMATCH);
    ck_assert_str_eq(read->message, brd_status_sentence(BRD_VERSION_MISMATCH));
    done(read);
}
END_TEST

START_TEST(a_part_of_a_blob_is_copied)
{
    struct brd_blob *blob = brd_blob_copy(brd_bytes(content, 100000));
    struct brd_reply reply = {
        .has_value = true,
        .value = { blob->data + 1, 50000 },
        .blob = blob,
    };
    Brindle__V1__Reply *read;

    brd_wire_encode(&queue, 9, &reply);
    ck_assert_uint_eq(queue.blob_bytes, 0);
    brd_blob_unref(blob);
    read = take_reply(true);
    ck_assert_uint_eq(read->value.len, 50000);
    ck_assert_mem_eq(read->value.data, content + 1, 50000);
    done(read);
}
END_TEST

START_TEST(an_empty_blob_is_an_empty_value)
{
    struct brd_blob *blob = brd_blob_create(0);
    struct brd_reply reply = { .has_value = true, .value = brd_blob_bytes(blob), .blob = blob };
    Brindle__V1__Reply *read;

    brd_wire_encode(&queue, 9, &reply);
    read = take_reply(true);
    ck_assert_int_eq(read->has_value_case, BRINDLE__V1__REPLY__HAS_VALUE_VALUE);
    ck_assert_uint_eq(read->value.len, 0);
    done(read);
    brd_blob_unref(blob);
}
END_TEST

START_TEST(items_of_all_sizes_arrive_in_order)
{
    static const size_t sizes[] = { 0, 1, 127, 128, 2000, 2048, 2049, 20000, 32704, 150000 };
    struct brd_reply_item items[400];
    struct brd_blob *blobs[400] = { NULL };
    struct brd_reply reply = { .items = items, .item_count = 400 };
    Brindle__V1__Reply *read;

    for (size_t i = 0; i < 400; i++) {
        size_t size = sizes[i % 10];

        items[i] = (struct brd_reply_item){
            .found = i % 7 != 0,
            .version = i % 5,
            .value = { content + i, size },
        };
        if (size >= 16384 && i % 20 < 10) {
            blobs[i] = brd_blob_copy(items[i].value);
            items[i].blob = blobs[i];
            items[i].value = brd_blob_bytes(blobs[i]);
        }
    }
    brd_wire_encode(&queue, 9, &reply);
    for (size_t i = 0; i < 400; i++)
        brd_blob_unref(blobs[i]);
    read = take_reply(true);
    ck_assert_uint_eq(read->n_items, 400);
    for (size_t i = 0; i < 400; i++) {
        const Brindle__V1__Item *item = read->items[i];

        ck_assert_int_eq(item->found, i % 7 != 0);
        ck_assert_uint_eq(item->version, i % 5);
        ck_assert_uint_eq(item->value.len, sizes[i % 10]);
        if (item->value.len > 0)
            ck_assert_mem_eq(item->value.data, content + i, item->value.len);
    }
    done(read);
}
END_TEST

START_TEST(every_failure_comes_with_a_sentence)
{
#define ENCODE_STATUS(name, number, sentence)              \
    if (BRD_##name != BRD_OK) {                            \
        struct brd_reply reply = { .status = BRD_##name }; \
        Brindle__V1__Reply *read;                          \
                                                           \
        brd_wire_encode(&queue, 3, &reply);                \
        read = take_reply(true);                           \
        ck_assert_int_eq((int)read->status, number);       \
        ck_assert_str_eq(read->message, sentence);         \
        done(read);                                        \
    }
    BRD_STATUSES(ENCODE_STATUS)
#undef ENCODE_STATUS
}
END_TEST

START_TEST(an_empty_message_is_none)
{
    struct brd_reply reply = { .status = BRD_BUSY, .message = "" };
    Brindle__V1__Reply *read;

    brd_wire_encode(&queue, 3, &reply);
    read = take_reply(true);
    ck_assert_str_eq(read->message, brd_status_sentence(BRD_BUSY));
    done(read);
}
END_TEST

START_TEST(a_message_and_statistics_of_any_length_arrive)
{
    char *text = malloc(100001);
    struct brd_stat stats[] = {
        { .name = "long", .text = text, .unit = "" },
        { .name = text, .number = 3, .unit = "1" },
    };
    struct brd_reply reply = {
        .status = BRD_INTERNAL,
        .message = text,
        .stats = stats,
        .stat_count = 2,
    };
    Brindle__V1__Reply *read;

    memset(text, 'x', 100000);
    text[100000] = '\0';
    brd_wire_encode(&queue, 3, &reply);
    read = take_reply(true);
    ck_assert_str_eq(read->message, text);
    ck_assert_uint_eq(read->stats->n_stats, 2);
    ck_assert_str_eq(read->stats->stats[0]->text, text);
    ck_assert_str_eq(read->stats->stats[1]->name, text);
    done(read);
    free(text);
}
END_TEST

START_TEST(replies_follow_each_other)
{
    struct brd_reply reply = { .has_number = true };
    struct brd_bytes all;
    struct brd_bytes rest;

    for (int64_t i = 0; i < 5000; i++) {
        reply.number = i * i * i - 1000000;
        brd_wire_encode(&queue, (uint64_t)i, &reply);
    }
    all = flatten(&queue);
    rest = all;
    for (int64_t i = 0; i < 5000; i++) {
        Brindle__V1__Reply *read;
        size_t head;
        uint64_t body;

        ck_assert_int_eq(brd_frame_parse(rest.data, rest.size, 1000, &head, &body), BRD_FRAME_OK);
        read = brindle__v1__reply__unpack(NULL, (size_t)body, rest.data + head);
        ck_assert_ptr_nonnull(read);
        ck_assert_uint_eq(read->id, (uint64_t)i);
        ck_assert_int_eq(read->number, i * i * i - 1000000);
        done(read);
        rest.data += head + body;
        rest.size -= head + (size_t)body;
    }
    ck_assert_uint_eq(rest.size, 0);
    free((void *)(uintptr_t)all.data);
}
END_TEST

START_TEST(a_queue_that_failed_stays_failed)
{
    struct brd_reply reply = { .has_value = true, .value = { content, 100000 } };
    struct brd_reply_item item = { .found = true, .value = { content, 10 } };
    struct brd_reply items = { .items = &item, .item_count = 1 };

    queue.failed = true;
    brd_wire_encode(&queue, 1, &reply);
    brd_wire_encode(&queue, 1, &items);
    reply.value.size = 10;
    brd_wire_encode(&queue, 1, &reply);
    ck_assert(queue.failed);
    ck_assert_uint_eq(brd_outq_pending(&queue), 0);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("encode");
    TCase *tcase = tcase_create("encode");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, values_of_any_size_arrive);
    tcase_add_test(tcase, a_blob_goes_by_reference_behind_all_other_fields);
    tcase_add_test(tcase, a_part_of_a_blob_is_copied);
    tcase_add_test(tcase, an_empty_blob_is_an_empty_value);
    tcase_add_test(tcase, items_of_all_sizes_arrive_in_order);
    tcase_add_test(tcase, every_failure_comes_with_a_sentence);
    tcase_add_test(tcase, an_empty_message_is_none);
    tcase_add_test(tcase, a_message_and_statistics_of_any_length_arrive);
    tcase_add_test(tcase, replies_follow_each_other);
    tcase_add_test(tcase, a_queue_that_failed_stays_failed);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
