/* Pipelines: order, size, limits, and what becomes of each request when a
 * connection dies in the middle. */
#include <brindle.h>

#include <check.h>

#include "fake_server.h"

#define SHORT_MS 60

static struct fake_server server;
static struct brd_client *client;
static struct brd_pipeline *pipeline;
static const struct brd_bytes key = { "key", 3 };

static void
setup(void)
{
    memset(&server, 0, sizeof(server));
    client = NULL;
    ck_assert_int_eq(brd_pipeline_create(NULL, &pipeline), BRD_OK);
}

static void
teardown(void)
{
    brd_client_close(&client);
    brd_pipeline_destroy(&pipeline);
    brd_pipeline_destroy(&pipeline);
    brd_pipeline_destroy(NULL);
}

static void
connect_to(void (*script)(struct fake_peer *))
{
    struct brd_client_options opts = { .size = sizeof(opts),
                                       .address = server.address,
                                       .connect_timeout_ms = FAKE_PATIENCE_MS,
                                       .timeout_ms = FAKE_PATIENCE_MS };

    fake_start(&server, script, NULL);
    ck_assert_int_eq(brd_client_open(&opts, &client), BRD_OK);
}

static void
stop(void)
{
    brd_client_close(&client);
    fake_stop(&server);
}

static void
add_gets(int count)
{
    int i;

    for (i = 0; i < count; i++) {
        char text[20];

        snprintf(text, sizeof(text), "key-%d", i);
        ck_assert_int_eq(brd_pipeline_get(pipeline, brd_bytes_of(text), NULL), BRD_OK);
    }
}

static void
expect_get(size_t index, int number)
{
    const struct brd_reply *reply = brd_pipeline_reply(pipeline, index);
    char text[20];

    snprintf(text, sizeof(text), "key-%d", number);
    ck_assert_int_eq(reply->status, BRD_OK);
    ck_assert_uint_eq(reply->value.size, strlen(text));
    ck_assert_mem_eq(reply->value.data, text, strlen(text));
}

static void
expect_statuses(size_t first, size_t end, enum brd_status status)
{
    size_t i;

    for (i = first; i < end; i++)
        ck_assert_int_eq(brd_pipeline_reply(pipeline, i)->status, status);
}

START_TEST(replies_are_found_by_index)
{
    size_t index;
    int i;

    connect_to(fake_serve);
    add_gets(10000);
    ck_assert_uint_eq(brd_pipeline_size(pipeline), 10000);
    ck_assert_int_eq(brd_pipeline_incr(pipeline, key, 12, NULL, &index), BRD_OK);
    ck_assert_uint_eq(index, 10000);
    ck_assert_int_eq(brd_pipeline_get(pipeline, brd_bytes_of("missing"), &index), BRD_OK);
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, 0), BRD_OK);
    ck_assert_str_eq(brd_client_error(client), "");
    for (i = 9999; i >= 0; i--)
        expect_get((size_t)i, i);
    ck_assert_int_eq(brd_pipeline_reply(pipeline, 10000)->number, 12);
    expect_statuses(10001, 10002, BRD_NOT_FOUND);
    stop();
}
END_TEST

START_TEST(every_request_can_be_added)
{
    struct brd_bytes keys[] = { key, key };
    struct brd_pair pairs[] = { { key, key } };
    struct brd_expire_options expire = { .size = sizeof(expire), .ttl_ms = 1 };
    size_t i;

    connect_to(fake_serve);
    ck_assert_int_eq(brd_pipeline_ping(pipeline, key, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_get(pipeline, key, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_put(pipeline, key, key, NULL, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_delete(pipeline, keys, 2, NULL, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_get_many(pipeline, keys, 2, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_put_many(pipeline, pairs, 1, NULL, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_incr(pipeline, key, 1, NULL, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_exists(pipeline, keys, 2, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_ttl(pipeline, key, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_expire(pipeline, key, &expire, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_persist(pipeline, key, NULL, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_append(pipeline, key, key, NULL, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_count(pipeline, false, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_clear(pipeline, NULL, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_purge(pipeline, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_sync(pipeline, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_stats(pipeline, key, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_reset_stats(pipeline, &i), BRD_OK);
    ck_assert_int_eq(brd_pipeline_checkpoint(pipeline, BRD_CHECKPOINT_FULL, &i), BRD_OK);
    ck_assert_uint_eq(i, 18);
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, 0), BRD_OK);
    expect_statuses(0, 19, BRD_OK);
    ck_assert_uint_eq(brd_pipeline_reply(pipeline, 4)->item_count, 2);
    ck_assert_uint_eq(brd_pipeline_reply(pipeline, 16)->stat_count, 2);
    ck_assert_uint_eq(brd_pipeline_reply(pipeline, 18)->checkpoint->done, BRD_CHECKPOINT_FULL);
    stop();
}
END_TEST

START_TEST(bytes_of_a_reply_live_until_the_reset)
{
    struct brd_bytes first;

    connect_to(fake_serve);
    add_gets(100);
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, 0), BRD_OK);
    first = brd_pipeline_reply(pipeline, 0)->value;
    expect_get(99, 99);
    ck_assert_mem_eq(first.data, "key-0", 5);
    stop();
}
END_TEST

/* Answers each request with 64 KiB before it reads the next one: a client that
 * only sends would wait for ever, once the buffers of both sides are full. */
static void
serve_stubbornly(struct fake_peer *peer)
{
    static uint8_t block[64 * 1024];
    ProtobufCBinaryData value = { .data = block, .len = sizeof(block) };
    Brindle__V1__Request *request;

    if (!fake_hello(peer))
        return;
    while ((request = fake_read(peer)) != NULL) {
        bool sent = fake_answer_value(peer, request->id, value);

        fake_free(request);
        if (!sent)
            return;
    }
}

START_TEST(a_pipeline_larger_than_all_socket_buffers_runs_through)
{
    enum { COUNT = 500 }; /* 32 MB each way */
    size_t size = 64 * 1024;
    char *value = calloc(1, size);
    size_t i;

    connect_to(serve_stubbornly);
    for (i = 0; i < COUNT; i++)
        ck_assert_int_eq(brd_pipeline_put(pipeline, key, brd_bytes(value, size), NULL, NULL),
                         BRD_OK);
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, 0), BRD_OK);
    for (i = 0; i < COUNT; i++)
        ck_assert_uint_eq(brd_pipeline_reply(pipeline, i)->value.size, size);
    free(value);
    stop();
}
END_TEST

/* Reads as many requests as it announced, checks that no more have come, answers
 * the oldest, and so on until a ping. */
static void
serve_window(struct fake_peer *peer)
{
    uint64_t ids[4];
    size_t waiting = 0;
    bool last = false;

    if (!fake_hello(peer))
        return;
    while (!last) {
        Brindle__V1__Request *request = fake_read(peer);

        FAKE_CHECK(request != NULL);
        last = request->op_case == BRINDLE__V1__REQUEST__OP_PING;
        ids[waiting++] = request->id;
        fake_free(request);
        if (waiting < 4)
            continue;
        FAKE_CHECK(peer->in_at == peer->in_size);
        FAKE_CHECK(recv(peer->fd, peer->in, 1, MSG_PEEK | MSG_DONTWAIT) < 0);
        fake_send_status(peer, ids[0], BRINDLE__V1__STATUS__OK, NULL);
        memmove(ids, ids + 1, --waiting * sizeof(ids[0]));
    }
    while (waiting-- != 0) {
        fake_send_status(peer, ids[0], BRINDLE__V1__STATUS__OK, NULL);
        memmove(ids, ids + 1, waiting * sizeof(ids[0]));
    }
    fake_free(fake_read(peer));
}

START_TEST(no_more_requests_are_under_way_than_the_server_allows)
{
    int i;

    server.max_pending_requests = 4;
    connect_to(serve_window);
    for (i = 0; i < 50; i++)
        ck_assert_int_eq(brd_pipeline_put(pipeline, key, key, NULL, NULL), BRD_OK);
    ck_assert_int_eq(brd_pipeline_ping(pipeline, key, NULL), BRD_OK);
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, 0), BRD_OK);
    expect_statuses(0, 51, BRD_OK);
    stop();
}
END_TEST

START_TEST(an_empty_pipeline_runs_without_a_server)
{
    connect_to(fake_serve);
    fake_stop(&server);
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, 0), BRD_OK);
    expect_statuses(0, 3, BRD_INVALID_ARGUMENT);
}
END_TEST

START_TEST(it_runs_once_and_again_after_a_reset)
{
    connect_to(fake_serve);
    add_gets(5);
    expect_statuses(0, 5, BRD_INVALID_ARGUMENT); /* not yet */
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, 0), BRD_OK);
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, 0), BRD_INVALID_ARGUMENT);
    ck_assert_int_eq(brd_pipeline_get(pipeline, key, NULL), BRD_INVALID_ARGUMENT);
    expect_get(4, 4);
    brd_pipeline_reset(pipeline);
    ck_assert_uint_eq(brd_pipeline_size(pipeline), 0);
    add_gets(3);
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, 0), BRD_OK);
    expect_get(2, 2);
    expect_statuses(3, 5, BRD_INVALID_ARGUMENT);
    stop();
}
END_TEST

/* The first connection answers three requests and closes after reading more. */
static void
answer_three(struct fake_peer *peer)
{
    uint8_t byte;
    int i;

    if (peer->number > 0) {
        fake_serve(peer);
        return;
    }
    if (!fake_hello(peer))
        return;
    for (i = 0; i < 10; i++) {
        Brindle__V1__Request *request = fake_read(peer);

        if (request != NULL && i < 3)
            fake_answer(peer, request);
        fake_free(request);
    }
    /* An orderly end, so that no reset can overtake the three answers. */
    shutdown(peer->fd, SHUT_WR);
    while (fake_read_bytes(peer, &byte, 1))
        ;
}

START_TEST(reads_go_on_over_a_new_connection)
{
    int i;

    connect_to(answer_three);
    add_gets(1000);
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, 0), BRD_OK);
    for (i = 0; i < 1000; i++)
        expect_get((size_t)i, i);
    ck_assert_uint_eq(brd_client_connects(client), 2);
    stop();
}
END_TEST

START_TEST(writes_that_were_sent_are_unknown_and_what_was_not_sent_failed)
{
    size_t size = 8 * 1024 * 1024;
    char *value = calloc(1, size);
    size_t i;

    connect_to(answer_three);
    for (i = 0; i < 12; i++)
        ck_assert_int_eq(brd_pipeline_put(pipeline, key, key, NULL, NULL), BRD_OK);
    ck_assert_int_eq(brd_pipeline_get(pipeline, key, NULL), BRD_OK);
    for (i = 0; i < 10; i++)
        ck_assert_int_eq(brd_pipeline_put(pipeline, key, brd_bytes(value, size), NULL, NULL),
                         BRD_OK);
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, 0), BRD_UNKNOWN_RESULT);
    expect_statuses(0, 3, BRD_OK);
    expect_statuses(3, 12, BRD_UNKNOWN_RESULT);
    expect_statuses(12, 13, BRD_CONNECTION_FAILED);
    expect_statuses(13, 14, BRD_UNKNOWN_RESULT);
    expect_statuses(22, 23, BRD_CONNECTION_FAILED); /* 80 MB later */
    ck_assert_uint_eq(brd_client_connects(client), 1);
    free(value);
    stop();
}
END_TEST

static void
never_answer(struct fake_peer *peer)
{
    Brindle__V1__Request *request;

    if (!fake_hello(peer))
        return;
    while ((request = fake_read(peer)) != NULL)
        fake_free(request);
}

START_TEST(a_run_ends_with_its_time)
{
    connect_to(never_answer);
    add_gets(3);
    ck_assert_int_eq(brd_pipeline_put(pipeline, key, key, NULL, NULL), BRD_OK);
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, SHORT_MS), BRD_TIMEOUT);
    expect_statuses(0, 3, BRD_TIMEOUT);
    expect_statuses(3, 4, BRD_UNKNOWN_RESULT);
    stop();
}
END_TEST

START_TEST(replies_beyond_the_maximum_are_dropped_and_say_so)
{
    struct brd_pipeline_options opts = { .size = sizeof(opts), .bytes_max = 1000 };
    struct brd_pipeline *small;
    size_t i;
    size_t kept = 0;

    connect_to(fake_serve);
    ck_assert_int_eq(brd_pipeline_create(&opts, &small), BRD_OK);
    while (brd_pipeline_get(small, brd_bytes_of("some key"), NULL) == BRD_OK)
        ;
    ck_assert_uint_gt(brd_pipeline_size(small), 20);
    brd_pipeline_reset(small);
    for (i = 0; i < 30; i++)
        ck_assert_int_eq(brd_pipeline_get(small, brd_bytes_of("some key"), NULL), BRD_OK);
    ck_assert_int_eq(brd_pipeline_run(small, client, 0), BRD_OK);
    for (i = 0; i < 30; i++) {
        enum brd_status status = brd_pipeline_reply(small, i)->status;

        ck_assert(status == BRD_OK || status == BRD_LIMIT_EXCEEDED);
        kept += status == BRD_OK;
    }
    ck_assert_uint_gt(kept, 0);
    ck_assert_uint_lt(kept, 30);
    brd_pipeline_destroy(&small);
    stop();
}
END_TEST

START_TEST(a_full_pipeline_takes_no_more_and_still_runs)
{
    struct brd_pipeline_options opts = { .size = sizeof(opts), .requests_max = 3 };
    size_t index = 99;

    brd_pipeline_destroy(&pipeline);
    ck_assert_int_eq(brd_pipeline_create(&opts, &pipeline), BRD_OK);
    connect_to(fake_serve);
    add_gets(3);
    ck_assert_int_eq(brd_pipeline_get(pipeline, key, &index), BRD_LIMIT_EXCEEDED);
    ck_assert_uint_eq(index, 99);
    ck_assert_uint_eq(brd_pipeline_size(pipeline), 3);
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, 0), BRD_OK);
    expect_get(2, 2);
    opts.requests_max = (uint64_t)BRD_PIPELINE_REQUESTS_MAX + 1;
    brd_pipeline_destroy(&pipeline);
    ck_assert_int_eq(brd_pipeline_create(&opts, &pipeline), BRD_INVALID_ARGUMENT);
    stop();
}
END_TEST

START_TEST(one_request_above_the_servers_limit_keeps_all_at_home)
{
    char value[2000] = "";

    server.max_frame_bytes = 1000;
    connect_to(fake_serve);
    add_gets(2);
    ck_assert_int_eq(brd_pipeline_put(pipeline, key, brd_bytes(value, 2000), NULL, NULL), BRD_OK);
    ck_assert_int_eq(brd_pipeline_run(pipeline, client, 0), BRD_TOO_LARGE);
    expect_statuses(0, 3, BRD_TOO_LARGE);
    ck_assert_int_eq(atomic_load(&server.requests), 1); /* Hello */
    stop();
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("client pipeline");
    TCase *tcase = tcase_create("pipeline");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, replies_are_found_by_index);
    tcase_add_test(tcase, every_request_can_be_added);
    tcase_add_test(tcase, bytes_of_a_reply_live_until_the_reset);
    tcase_add_test(tcase, a_pipeline_larger_than_all_socket_buffers_runs_through);
    tcase_add_test(tcase, no_more_requests_are_under_way_than_the_server_allows);
    tcase_add_test(tcase, an_empty_pipeline_runs_without_a_server);
    tcase_add_test(tcase, it_runs_once_and_again_after_a_reset);
    tcase_add_test(tcase, reads_go_on_over_a_new_connection);
    tcase_add_test(tcase, writes_that_were_sent_are_unknown_and_what_was_not_sent_failed);
    tcase_add_test(tcase, a_run_ends_with_its_time);
    tcase_add_test(tcase, replies_beyond_the_maximum_are_dropped_and_say_so);
    tcase_add_test(tcase, a_full_pipeline_takes_no_more_and_still_runs);
    tcase_add_test(tcase, one_request_above_the_servers_limit_keeps_all_at_home);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
