/* The connection without I/O: replies from bytes in any pieces, the order of
 * replies, last words, and hostile input. Speed is the benchmark's. */
#include <brindle.h>

#include <check.h>

#include "brindle.pb-c.h"
#include "proto/frame.h"
#include "random.h"

#define STREAM_MAX ((size_t)8 * 1024 * 1024)

static struct brd_conn *conn;
static uint8_t *stream; /* what the server sends */
static size_t stream_size;

static void
setup(void)
{
    random_start();
    ck_assert_int_eq(brd_conn_create(NULL, &conn), BRD_OK);
    stream = malloc(STREAM_MAX);
    stream_size = 0;
}

static void
teardown(void)
{
    brd_conn_destroy(&conn);
    ck_assert_ptr_null(conn);
    brd_conn_destroy(&conn);
    brd_conn_destroy(NULL);
    free(stream);
}

static void
stream_reply(const Brindle__V1__Reply *reply)
{
    size_t size = brindle__v1__reply__get_packed_size(reply);

    ck_assert_uint_le(stream_size + size + BRD_FRAME_PREFIX_MAX, STREAM_MAX);
    stream_size += brd_frame_prefix_write(stream + stream_size, size);
    stream_size += brindle__v1__reply__pack(reply, stream + stream_size);
}

static void
stream_value(uint64_t id, const uint8_t *value, size_t size)
{
    Brindle__V1__Reply reply = BRINDLE__V1__REPLY__INIT;

    reply.id = id;
    reply.version = id * 1000;
    reply.has_value_case = BRINDLE__V1__REPLY__HAS_VALUE_VALUE;
    reply.value.data = (uint8_t *)(uintptr_t)value;
    reply.value.len = size;
    stream_reply(&reply);
}

static void
stream_status(uint64_t id, Brindle__V1__Status status)
{
    Brindle__V1__Reply reply = BRINDLE__V1__REPLY__INIT;

    reply.id = id;
    reply.status = status;
    stream_reply(&reply);
}

static void
ask(int count)
{
    while (count-- > 0)
        ck_assert_int_eq(brd_conn_get(conn, brd_bytes_of("key"), NULL), BRD_OK);
}

static void
feed_stream(void)
{
    ck_assert_int_eq(brd_conn_feed(conn, stream, stream_size), BRD_OK);
    stream_size = 0;
}

static const struct brd_reply *
next(void)
{
    const struct brd_reply *reply;

    ck_assert_int_eq(brd_conn_next_reply(conn, &reply), BRD_CONN_REPLY);
    return reply;
}

static void
expect_more(void)
{
    const struct brd_reply *reply;

    ck_assert_int_eq(brd_conn_next_reply(conn, &reply), BRD_CONN_MORE);
}

static void
expect_broken(const char *word)
{
    const struct brd_reply *reply;

    ck_assert_int_eq(brd_conn_next_reply(conn, &reply), BRD_CONN_BROKEN);
    ck_assert_ptr_nonnull(strstr(brd_conn_error(conn), word));
    ck_assert_int_eq(brd_conn_next_reply(conn, &reply), BRD_CONN_BROKEN);
}

START_TEST(replies_come_out_at_every_split_of_the_bytes)
{
    size_t split;

    stream_value(0, NULL, 0); /* to learn the size */
    for (split = 0;; split++) {
        struct brd_conn *fresh;
        const struct brd_reply *reply;
        int seen = 0;

        stream_size = 0;
        stream_value(1, (const uint8_t *)"first", 5);
        stream_status(2, BRINDLE__V1__STATUS__NOT_FOUND);
        stream_value(3, (const uint8_t *)"", 0);
        if (split > stream_size)
            break;
        ck_assert_int_eq(brd_conn_create(NULL, &fresh), BRD_OK);
        ck_assert_int_eq(brd_conn_get(fresh, brd_bytes_of("a"), NULL), BRD_OK);
        ck_assert_int_eq(brd_conn_get(fresh, brd_bytes_of("b"), NULL), BRD_OK);
        ck_assert_int_eq(brd_conn_get(fresh, brd_bytes_of("c"), NULL), BRD_OK);
        ck_assert_int_eq(brd_conn_feed(fresh, stream, split), BRD_OK);
        while (brd_conn_next_reply(fresh, &reply) == BRD_CONN_REPLY)
            seen++;
        ck_assert_int_eq(brd_conn_feed(fresh, stream + split, stream_size - split), BRD_OK);
        while (brd_conn_next_reply(fresh, &reply) == BRD_CONN_REPLY)
            seen++;
        ck_assert_int_eq(seen, 3);
        ck_assert_uint_eq(brd_conn_pending(fresh), 0);
        ck_assert_uint_eq(brd_conn_input_pending(fresh), 0);
        ck_assert_str_eq(brd_conn_error(fresh), "");
        brd_conn_destroy(&fresh);
    }
}
END_TEST

START_TEST(replies_come_out_of_random_pieces_with_their_values)
{
    enum { COUNT = 300 };
    size_t sizes[COUNT];
    uint8_t *value = malloc(100000);
    size_t at = 0;
    int seen = 0;
    int i;

    memset(value, 'v', 100000);
    ask(COUNT);
    for (i = 0; i < COUNT; i++) {
        sizes[i] = random_below(10) == 0 ? random_below(100000) : random_below(200);
        value[0] = (uint8_t)i;
        stream_value((uint64_t)i + 1, value, sizes[i]);
    }
    while (seen < COUNT) {
        const struct brd_reply *reply;
        void *space;
        size_t room;
        size_t n = random_below(random_below(3) == 0 ? 60000 : 100) + 1;

        ck_assert_int_eq(brd_conn_input_space(conn, 0, &space, &room), BRD_OK);
        ck_assert_uint_ge(room, 1);
        n = n < room ? n : room;
        n = n < stream_size - at ? n : stream_size - at;
        memcpy(space, stream + at, n);
        at += n;
        brd_conn_input_commit(conn, n);
        while (brd_conn_next_reply(conn, &reply) == BRD_CONN_REPLY) {
            ck_assert_uint_eq(reply->id, (uint64_t)seen + 1);
            ck_assert_uint_eq(reply->version, reply->id * 1000);
            ck_assert_uint_eq(reply->value.size, sizes[seen]);
            if (sizes[seen] > 1)
                ck_assert_uint_eq(((const uint8_t *)reply->value.data)[0], (uint8_t)seen);
            seen++;
        }
    }
    ck_assert_uint_eq(at, stream_size);
    free(value);
}
END_TEST

START_TEST(a_reply_stays_valid_until_the_next_call)
{
    const struct brd_reply *reply;

    ask(2);
    stream_value(1, (const uint8_t *)"one", 3);
    stream_value(2, (const uint8_t *)"two", 3);
    feed_stream();
    reply = next();
    ask(100); /* encoding does not disturb it */
    ck_assert_mem_eq(reply->value.data, "one", 3);
    reply = next();
    ck_assert_mem_eq(reply->value.data, "two", 3);
    ck_assert_uint_eq(brd_conn_pending(conn), 100);
}
END_TEST

START_TEST(a_reply_out_of_order_breaks_the_connection)
{
    ask(2);
    stream_status(2, BRINDLE__V1__STATUS__OK);
    feed_stream();
    expect_broken("oldest");
}
END_TEST

START_TEST(a_reply_to_no_request_breaks_the_connection)
{
    ask(1);
    stream_status(1, BRINDLE__V1__STATUS__OK);
    stream_status(2, BRINDLE__V1__STATUS__OK);
    feed_stream();
    (void)next();
    expect_broken("no request");
}
END_TEST

START_TEST(a_last_word_comes_out_with_id_0_and_answers_nothing)
{
    ask(1);
    stream_status(0, BRINDLE__V1__STATUS__TOO_MANY_CONNECTIONS);
    feed_stream();
    ck_assert_uint_eq(next()->id, 0);
    ck_assert_uint_eq(brd_conn_pending(conn), 1);
    expect_more();
}
END_TEST

START_TEST(a_length_above_the_maximum_breaks_the_connection_at_once)
{
    struct brd_conn_options opts = { .size = sizeof(opts), .reply_bytes_max = 100 };
    struct brd_conn *small;
    const struct brd_reply *reply;

    ck_assert_int_eq(brd_conn_create(&opts, &small), BRD_OK);
    ck_assert_int_eq(brd_conn_feed(small, "\x65", 1), BRD_OK); /* 101 */
    ck_assert_int_eq(brd_conn_next_reply(small, &reply), BRD_CONN_BROKEN);
    brd_conn_destroy(&small);

    ck_assert_int_eq(brd_conn_feed(conn, "\x81\x80\x80\x80\x04", 5), BRD_OK); /* 1 GiB + 1 */
    expect_broken("reply_bytes_max");
}
END_TEST

START_TEST(a_length_of_six_bytes_breaks_the_connection)
{
    ck_assert_int_eq(brd_conn_feed(conn, "\xff\xff\xff\xff\xff", 5), BRD_OK);
    expect_broken("five bytes");
}
END_TEST

START_TEST(an_announced_length_alone_takes_no_memory)
{
    void *space;
    size_t room;

    ck_assert_int_eq(brd_conn_feed(conn, "\x80\x80\x80\x80\x04", 5), BRD_OK); /* 1 GiB */
    expect_more();
    ck_assert_int_eq(brd_conn_input_space(conn, 0, &space, &room), BRD_OK);
    ck_assert_uint_lt(room, 256 * 1024);
}
END_TEST

START_TEST(a_large_reply_arrives_in_space_that_grows_with_it)
{
    size_t size = 5 * 1024 * 1024;
    uint8_t *value = calloc(1, size);
    size_t at = 0;
    int reads = 0;

    ask(1);
    value[size - 1] = 'z';
    stream_value(1, value, size);
    while (at < stream_size) {
        void *space;
        size_t room;
        size_t n;

        expect_more();
        ck_assert_int_eq(brd_conn_input_space(conn, 0, &space, &room), BRD_OK);
        n = room < stream_size - at ? room : stream_size - at;
        memcpy(space, stream + at, n);
        at += n;
        brd_conn_input_commit(conn, n);
        reads++;
    }
    ck_assert_int_lt(reads, 30);
    ck_assert_uint_eq(next()->value.size, size);
    free(value);
}
END_TEST

START_TEST(after_a_reset_it_is_as_new_and_ids_go_on)
{
    uint64_t id;

    ask(3);
    ck_assert_int_eq(brd_conn_feed(conn, "\xff\xff\xff\xff\xff", 5), BRD_OK);
    expect_broken("five bytes");
    brd_conn_reset(conn);
    ck_assert_str_eq(brd_conn_error(conn), "");
    ck_assert_uint_eq(brd_conn_pending(conn), 0);
    ck_assert_int_eq(brd_conn_get(conn, brd_bytes_of("k"), &id), BRD_OK);
    ck_assert_uint_eq(id, 4);
    stream_value(4, (const uint8_t *)"v", 1);
    feed_stream();
    ck_assert_uint_eq(next()->id, 4);
}
END_TEST

START_TEST(the_limit_of_the_server_holds_once_it_is_told)
{
    Brindle__V1__HelloReply hello = BRINDLE__V1__HELLO_REPLY__INIT;
    Brindle__V1__Reply reply = BRINDLE__V1__REPLY__INIT;
    char value[200] = "";

    ck_assert_int_eq(brd_conn_hello(conn, brd_bytes_of("test"), &reply.id), BRD_OK);
    hello.max_frame_bytes = 100;
    reply.hello = &hello;
    stream_reply(&reply);
    feed_stream();
    ck_assert_uint_eq(next()->hello->max_frame_bytes, 100);
    ck_assert_int_eq(brd_conn_ping(conn, brd_bytes(value, 200), NULL), BRD_TOO_LARGE);
    ck_assert_int_eq(brd_conn_ping(conn, brd_bytes(value, 50), NULL), BRD_OK);
}
END_TEST

START_TEST(random_bytes_never_do_more_than_break_it)
{
    int round;

    for (round = 0; round < 2000; round++) {
        uint8_t bytes[300];
        size_t size = random_below(sizeof(bytes));
        const struct brd_reply *reply;
        size_t i;

        for (i = 0; i < size; i++)
            bytes[i] = (uint8_t)random_next();
        brd_conn_reset(conn);
        ask(5);
        ck_assert_int_eq(brd_conn_feed(conn, bytes, size), BRD_OK);
        while (brd_conn_next_reply(conn, &reply) == BRD_CONN_REPLY)
            ;
    }
}
END_TEST

START_TEST(impossible_options_and_sizes_are_refused)
{
    struct brd_conn_options opts = { .size = sizeof(opts),
                                     .reply_bytes_max = (uint64_t)BRD_FRAME_BYTES_MAX + 1 };
    struct brd_conn *none = NULL;
    void *space;
    size_t room;

    ck_assert_int_eq(brd_conn_create(&opts, &none), BRD_INVALID_ARGUMENT);
    opts.size = 1;
    ck_assert_int_eq(brd_conn_create(&opts, &none), BRD_INVALID_ARGUMENT);
    ck_assert_ptr_null(none);
    ck_assert_int_eq(brd_conn_input_space(conn, SIZE_MAX, &space, &room), BRD_INVALID_ARGUMENT);
    ck_assert_int_eq(brd_conn_feed(conn, stream, SIZE_MAX), BRD_INVALID_ARGUMENT);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("client conn");
    TCase *tcase = tcase_create("conn");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, replies_come_out_at_every_split_of_the_bytes);
    tcase_add_test(tcase, replies_come_out_of_random_pieces_with_their_values);
    tcase_add_test(tcase, a_reply_stays_valid_until_the_next_call);
    tcase_add_test(tcase, a_reply_out_of_order_breaks_the_connection);
    tcase_add_test(tcase, a_reply_to_no_request_breaks_the_connection);
    tcase_add_test(tcase, a_last_word_comes_out_with_id_0_and_answers_nothing);
    tcase_add_test(tcase, a_length_above_the_maximum_breaks_the_connection_at_once);
    tcase_add_test(tcase, a_length_of_six_bytes_breaks_the_connection);
    tcase_add_test(tcase, an_announced_length_alone_takes_no_memory);
    tcase_add_test(tcase, a_large_reply_arrives_in_space_that_grows_with_it);
    tcase_add_test(tcase, after_a_reset_it_is_as_new_and_ids_go_on);
    tcase_add_test(tcase, the_limit_of_the_server_holds_once_it_is_told);
    tcase_add_test(tcase, random_bytes_never_do_more_than_break_it);
    tcase_add_test(tcase, impossible_options_and_sizes_are_refused);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
