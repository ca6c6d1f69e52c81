/* Connections of one worker whose rounds the test runs itself, step by step:
 * when replies leave, and what happens to connections meanwhile. */
/* TSAN */
#include "server/conn.h"

#include "engine/engine.h"
#include "tests/support/talk.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNS      (UNSENT_CONNS + 8)
#define FULL_GROUP 32 /* requests after which a window is run */

static struct brd_clock *test_clock;
static struct brd_engine *engine;
static struct brd_server *server;
static struct worker *worker;
static struct conn *conns[CONNS];

/* The other ends. */
static struct {
    int fd;
    struct brd_buf in;
    uint64_t replies;
} clients[CONNS];

static void
open_conn(int i)
{
    struct arrival arrival = { .fd = -1 };
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    arrival.fd = fds[0];
    clients[i].fd = fds[1];
    clients[i].replies = 0;
    brd_buf_init(&clients[i].in);
    atomic_fetch_add_explicit(&worker->load, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&server->connections, 1, memory_order_relaxed);
    conn_open(worker, &arrival);
    conns[i] = TAILQ_LAST(&worker->all, conn_list);
    ck_assert_int_eq(conns[i]->fd, fds[0]);
}

static void
setup(void)
{
    static const char *const listen_on[] = { "127.0.0.1:0" };
    struct brd_engine_options engine_options = { .durability = BRD_DURABILITY_NONE, .stripes = 16 };
    struct brd_server_options options = {
        .listen = listen_on,
        .listen_count = 1,
        .backlog = 1,
        .workers = 2,
        .limits.output_hard_bytes = 8 << 20,
    };
    struct brd_session_options session = { .requests_at_once = REQUESTS_AT_ONCE };
    struct brd_engine_error engine_error;
    struct brd_server_error error;
    int i;

    test_clock = brd_clock_create_real(0);
    engine_options.clock = test_clock;
    options.clock = test_clock;
    ck_assert_int_eq(brd_engine_create(&engine_options, &engine), BRD_OK);
    ck_assert_int_eq(brd_engine_start(engine, &engine_error), BRD_OK);
    ck_assert_int_eq(brd_server_create(&options, &server, &error), BRD_OK);
    session.engine = engine;
    worker = &server->workers[0];
    ck_assert_int_eq(brd_session_env_create(&session, &worker->env), BRD_OK);
    worker->limits = server->limits;
    worker->now_ns = brd_clock_mono_ns(test_clock);
    for (i = 0; i < CONNS; i++)
        open_conn(i);
}

static void
teardown(void)
{
    int i;

    while (!TAILQ_EMPTY(&worker->all))
        conn_close(TAILQ_FIRST(&worker->all), CLOSE_SHUTDOWN);
    while (!TAILQ_EMPTY(&worker->dead)) {
        struct conn *conn = TAILQ_FIRST(&worker->dead);

        TAILQ_REMOVE(&worker->dead, conn, all_link);
        conn_free(conn);
    }
    for (i = 0; i < CONNS; i++) {
        if (clients[i].fd >= 0)
            close(clients[i].fd);
        brd_buf_fini(&clients[i].in);
    }
    brd_server_destroy(&server);
    ck_assert_int_eq(brd_engine_stop(engine), BRD_OK);
    brd_engine_destroy(&engine);
    brd_clock_destroy(&test_clock);
}

/* ---- clients ---- */

static void
send_bytes(int i, const void *data, size_t size)
{
    ck_assert_int_eq(send(clients[i].fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* FULL_GROUP pings with ids from 1 on. Returns their size. */
static size_t
send_pings(int i, size_t payload)
{
    static const uint8_t zeros[4096];
    struct brd_buf out;
    uint64_t id;
    size_t size;

    brd_buf_init(&out);
    for (id = 1; id <= FULL_GROUP; id++)
        talk_ping(&out, id, zeros, payload);
    send_bytes(i, out.data, out.size);
    size = out.size;
    brd_buf_fini(&out);
    return size;
}

/* How many replies have come in all; all fine, and in order. *out_end: the end
 * has come too. */
static uint64_t
replies_of(int i, bool *out_end)
{
    struct brd_bytes rest;
    ssize_t n;

    do {
        uint8_t *to = brd_buf_reserve(&clients[i].in, 65536);

        n = recv(clients[i].fd, to, 65536, MSG_DONTWAIT);
        if (n > 0)
            clients[i].in.size += (size_t)n;
    } while (n > 0);
    *out_end = n == 0;
    ck_assert(n == 0 || errno == EAGAIN);
    rest = brd_bytes(clients[i].in.data, clients[i].in.size);
    clients[i].replies = 0;
    for (;;) {
        Brindle__V1__Reply *reply = talk_take(&rest);

        if (reply == NULL)
            break;
        clients[i].replies++;
        ck_assert_uint_eq(reply->id, clients[i].replies);
        ck_assert_int_eq((int)reply->status, BRD_OK);
        talk_free(reply);
    }
    return clients[i].replies;
}

static void
expect_replies(int i, uint64_t count)
{
    bool end;

    ck_assert_uint_eq(replies_of(i, &end), count);
    ck_assert(!end);
}

/* Say that something came, and check that its requests have run. */
static void
run_requests(int i)
{
    uint64_t before = brd_counter_get(&brd_session_env_counters(worker->env)->requests);

    conn_on_events(conns[i], EPOLLIN);
    ck_assert_uint_eq(brd_counter_get(&brd_session_env_counters(worker->env)->requests),
                      before + FULL_GROUP);
}

static void
put(const char *key, size_t size)
{
    uint8_t *value = calloc(1, size);
    struct brd_buf out;

    brd_buf_init(&out);
    talk_put(&out, 1, key, value, size);
    send_bytes(CONNS - 1, out.data, out.size);
    conn_on_events(conns[CONNS - 1], EPOLLIN);
    conn_run_window(worker);
    expect_replies(CONNS - 1, 1);
    brd_buf_fini(&out);
    free(value);
}

/* ---- what is held back ---- */

START_TEST(replies_of_a_step_leave_at_its_end)
{
    int i;

    for (i = 0; i < 5; i++)
        (void)send_pings(i, 1);
    for (i = 0; i < 5; i++) {
        run_requests(i);
        ck_assert_uint_gt(brd_session_unsent(conns[i]->session), 0);
    }
    for (i = 0; i < 5; i++)
        expect_replies(i, 0);
    conn_run_window(worker);
    ck_assert_uint_eq(worker->unsent_count, 0);
    for (i = 0; i < 5; i++)
        expect_replies(i, FULL_GROUP);
    ck_assert_uint_eq(brd_counter_get(&worker->counters.socket_writes), 5);
}
END_TEST

START_TEST(so_many_connections_are_held_back_and_no_more)
{
    int i;

    for (i = 0; i < UNSENT_CONNS; i++)
        (void)send_pings(i, 1);
    for (i = 0; i < UNSENT_CONNS; i++) {
        expect_replies(0, 0);
        run_requests(i);
    }
    for (i = 0; i < UNSENT_CONNS; i++)
        expect_replies(i, FULL_GROUP);
}
END_TEST

START_TEST(so_many_bytes_are_held_back_and_no_more)
{
    size_t each = 0;
    size_t bytes = 0;
    int i;

    for (i = 0; bytes < UNSENT_BYTES; i++) {
        size_t size = send_pings(i, 200);

        expect_replies(0, 0);
        run_requests(i);
        if (i == 0)
            each = size + brd_session_unsent(conns[0]->session);
        bytes += each;
    }
    ck_assert_int_gt(i, 2);
    ck_assert_int_lt(i, UNSENT_CONNS);
    while (i-- > 0)
        expect_replies(i, FULL_GROUP);
}
END_TEST

/* Many copied values, or a blob. */
START_TEST(large_output_leaves_at_once)
{
    struct brd_buf out;
    uint64_t id;

    put("k", _i == 0 ? 4000 : 100000);
    brd_buf_init(&out);
    for (id = 1; id <= FULL_GROUP; id++) {
        if (_i == 0 || id == 7)
            talk_get(&out, id, "k");
        else
            talk_ping(&out, id, NULL, 0);
    }
    (void)send_pings(0, 1);
    send_bytes(1, out.data, out.size);
    run_requests(0);
    expect_replies(0, 0);
    run_requests(1);
    expect_replies(0, FULL_GROUP);
    expect_replies(1, FULL_GROUP);
    brd_buf_fini(&out);
}
END_TEST

START_TEST(nobody_waits_for_a_connection_that_takes_no_part_in_windows)
{
    struct brd_buf out;

    brd_buf_init(&out);
    talk_ping(&out, 1, "payload", 7);
    send_bytes(1, out.data, 5);
    conn_on_events(conns[1], EPOLLIN);
    conn_run_window(worker);
    ck_assert_ptr_nonnull(conns[1]->in); /* a part of a frame */
    (void)send_pings(0, 1);
    run_requests(0);
    expect_replies(0, 0);
    send_bytes(1, out.data + 5, out.size - 5);
    conn_on_events(conns[1], EPOLLIN);
    expect_replies(0, FULL_GROUP);
    expect_replies(1, 1);
    brd_buf_fini(&out);
}
END_TEST

START_TEST(a_client_that_goes_away_takes_only_its_own_replies)
{
    int i;

    for (i = 0; i < 3; i++) {
        (void)send_pings(i, 1);
        run_requests(i);
    }
    close(clients[1].fd);
    clients[1].fd = -1;
    conn_run_window(worker);
    expect_replies(0, FULL_GROUP);
    expect_replies(2, FULL_GROUP);
    ck_assert(conns[1]->dead);
    ck_assert_uint_eq(brd_counter_get(&worker->counters.closed[CLOSE_RESET]), 1);
}
END_TEST

START_TEST(a_connection_moves_when_its_replies_have_left)
{
    struct worker *other = &server->workers[1];
    struct mail mail;

    (void)send_pings(0, 1);
    run_requests(0);
    conn_run_window(worker);
    expect_replies(0, FULL_GROUP);
    conn_hand_over(conns[0], other);
    ck_assert(conns[0]->dead);
    mailbox_take(&other->mailbox, &mail);
    ck_assert_uint_eq(mail.count, 1);
    close(mail.arrivals[0].fd);
    mailbox_mail_fini(&mail);
}
END_TEST

START_TEST(draining_sends_everything_before_the_end)
{
    bool end;

    (void)send_pings(0, 1);
    conn_drain(conns[0]); /* no event has told of them */
    ck_assert_uint_eq(replies_of(0, &end), FULL_GROUP);
    ck_assert(end);
    ck_assert_uint_eq(worker->unsent_count, 0);
}
END_TEST

/* ---- windows ---- */

/* The end of a connection may come while the requests of others wait in the
 * worker's buffer: then what it still sends must not come to lie there. */
START_TEST(what_is_thrown_away_leaves_the_window_alone)
{
    static uint8_t garbage[1000];
    static uint8_t value[300];
    Brindle__V1__Reply *reply;
    struct brd_bytes rest;
    struct brd_buf out;
    bool end;

    memset(garbage, 'g', sizeof(garbage));
    memset(value, 'v', sizeof(value));
    put("large", 100000);
    brd_buf_init(&out);
    send_bytes(0, "\3\xff\xff\xff", 4); /* no request: runs, and is held back */
    conn_on_events(conns[0], EPOLLIN);
    ck_assert_uint_eq(worker->unsent_count, 1);
    send_bytes(0, garbage, sizeof(garbage));
    talk_get(&out, 1, "large"); /* sends its reply and the other's */
    send_bytes(1, out.data, out.size);
    conn_on_events(conns[1], EPOLLIN);
    brd_buf_clear(&out);
    talk_put(&out, 1, "k", value, sizeof(value));
    talk_get(&out, 2, "k");
    send_bytes(2, out.data, out.size);
    conn_on_events(conns[2], EPOLLIN);
    ck_assert_uint_eq(worker->window_count, 2);
    conn_run_window(worker);
    ck_assert(conns[0]->lingering);
    ck_assert_uint_eq(replies_of(2, &end), 2);
    rest = brd_bytes(clients[2].in.data, clients[2].in.size);
    talk_free(talk_take(&rest));
    reply = talk_take(&rest);
    ck_assert_uint_eq(reply->value.len, sizeof(value));
    ck_assert_mem_eq(reply->value.data, value, sizeof(value));
    talk_free(reply);
    brd_buf_fini(&out);
    ck_assert(conns[0]->in_ready);
    conn_run(conns[0]);
    ck_assert_uint_eq(conns[0]->bytes_in, 4 + sizeof(garbage));
}
END_TEST

/* ---- large values ---- */

#define LARGE ((size_t)1 << 20)

/* The frame of a put of LARGE bytes, with an id of 1. */
static void
make_large_put(struct brd_buf *out)
{
    uint8_t *value = malloc(LARGE);

    ck_assert_ptr_nonnull(value);
    memset(value, 'l', LARGE);
    brd_buf_init(out);
    talk_put(out, 1, "large", value, LARGE);
    free(value);
}

/* The worker reads what a client has sent, at least once. */
static void
read_input(int i)
{
    conn_on_events(conns[i], EPOLLIN);
    conn_run_window(worker);
    while (conns[i]->in_ready) {
        conn_run(conns[i]);
        conn_run_window(worker);
    }
}

START_TEST(a_large_value_is_received_where_it_will_stay)
{
    struct brd_bytes rest;
    struct brd_buf out;
    size_t sent;
    size_t n;

    make_large_put(&out);
    for (sent = 0; sent < out.size; sent += n) {
        n = sent == 0 ? 5 : out.size - sent < 50000 ? out.size - sent : 50000;
        send_bytes(0, out.data + sent, n);
        if (sent > 5)
            ck_assert_ptr_nonnull(conns[0]->value);
        read_input(0);
        if (conns[0]->value != NULL) {
            ck_assert_uint_lt(conns[0]->in_room, 100); /* the head */
            ck_assert_uint_eq(worker->awaited_bytes, LARGE - conns[0]->value_have);
            ck_assert_uint_eq(brd_counter_get(&worker->held_bytes),
                              conns[0]->in_room + conns[0]->value_have);
        }
    }
    ck_assert_ptr_null(conns[0]->value);
    ck_assert(conns[0]->sends_large_values);
    ck_assert_uint_eq(worker->awaited_bytes, 0);
    ck_assert_uint_eq(brd_counter_get(&worker->held_bytes), 0);
    expect_replies(0, 1);
    brd_buf_clear(&out);
    talk_get(&out, 2, "large");
    send_bytes(0, out.data, out.size);
    read_input(0);
    ck_assert(!conns[0]->sends_large_values);
    while (replies_of(0, &(bool){ false }) < 2) {
        conn_on_events(conns[0], EPOLLOUT);
        conn_run_window(worker);
    }
    rest = brd_bytes(clients[0].in.data, clients[0].in.size);
    talk_free(talk_take(&rest));
    {
        Brindle__V1__Reply *reply = talk_take(&rest);

        ck_assert_uint_eq(reply->value.len, LARGE);
        ck_assert(reply->value.data[0] == 'l' && reply->value.data[LARGE - 1] == 'l');
        talk_free(reply);
    }
    brd_buf_fini(&out);
}
END_TEST

START_TEST(what_is_announced_takes_half_of_the_room_at_most)
{
    struct brd_buf out;
    uint64_t held;
    int i;

    make_large_put(&out);
    worker->input_bytes_max = 10 * LARGE;
    for (i = 0; i < 20; i++) {
        send_bytes(i, out.data, 20000);
        read_input(i);
        ck_assert((conns[i]->value != NULL) == (i < 4)); /* and their heads */
    }
    ck_assert_uint_lt(worker->awaited_bytes, 4 * LARGE);
    held = brd_counter_get(&worker->held_bytes);
    ck_assert_uint_lt(held, 20 * 20100);

    /* The others arrive as well, in the usual way, and nobody is refused. */
    for (size_t sent = 20000; sent < out.size; sent += 50000) {
        send_bytes(7, out.data + sent, out.size - sent < 50000 ? out.size - sent : 50000);
        read_input(7);
    }
    expect_replies(7, 1);
    ck_assert_uint_lt(brd_counter_get(&worker->held_bytes), held);

    /* What is only announced keeps nobody out. */
    worker->input_bytes_max = worker->awaited_bytes + held;
    for (size_t sent = 20000; sent < out.size; sent += 50000) {
        send_bytes(9, out.data + sent, out.size - sent < 50000 ? out.size - sent : 50000);
        read_input(9);
    }
    expect_replies(9, 1);
    worker->input_bytes_max = 10 * LARGE;

    /* What is broken off makes room for others. */
    conn_close(conns[0], CLOSE_BY_PEER);
    conn_close(conns[1], CLOSE_BY_PEER);
    ck_assert_uint_lt(worker->awaited_bytes, 2 * LARGE);
    send_bytes(20, out.data, 20000);
    read_input(20);
    ck_assert_ptr_nonnull(conns[20]->value);
    ck_assert_uint_eq(conns[20]->value_have, 20000 - conns[20]->place.begin);
    brd_buf_fini(&out);
}
END_TEST

START_TEST(one_alone_is_not_promised_more_than_half_either)
{
    struct brd_buf out;

    make_large_put(&out);
    worker->input_bytes_max = 2 * LARGE - 2;
    send_bytes(0, out.data, 1000);
    read_input(0);
    ck_assert_ptr_null(conns[0]->value);
    ck_assert_uint_eq(worker->awaited_bytes, 0);
    worker->input_bytes_max = 3 * LARGE;
    send_bytes(1, out.data, 1000);
    read_input(1);
    ck_assert_ptr_nonnull(conns[1]->value);
    brd_buf_fini(&out);
}
END_TEST

/* Whoever sends a large head in small pieces does not make us walk over it again and again. */
START_TEST(a_value_behind_a_large_head_is_received_as_others_are)
{
    char *key = calloc(1, 5001);
    uint8_t *value = calloc(1, LARGE);
    struct brd_buf out;
    size_t sent;

    ck_assert(key != NULL && value != NULL);
    memset(key, 'k', 5000);
    brd_buf_init(&out);
    talk_put(&out, 1, key, value, LARGE);
    for (sent = 0; sent < out.size; sent += 50000) {
        send_bytes(0, out.data + sent, out.size - sent < 50000 ? out.size - sent : 50000);
        read_input(0);
        ck_assert_ptr_null(conns[0]->value);
    }
    expect_replies(0, 1);
    brd_buf_fini(&out);
    free(value);
    free(key);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("conn");
    TCase *tcase = tcase_create("conn");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, replies_of_a_step_leave_at_its_end);
    tcase_add_test(tcase, so_many_connections_are_held_back_and_no_more);
    tcase_add_test(tcase, so_many_bytes_are_held_back_and_no_more);
    tcase_add_loop_test(tcase, large_output_leaves_at_once, 0, 2);
    tcase_add_test(tcase, nobody_waits_for_a_connection_that_takes_no_part_in_windows);
    tcase_add_test(tcase, a_client_that_goes_away_takes_only_its_own_replies);
    tcase_add_test(tcase, a_connection_moves_when_its_replies_have_left);
    tcase_add_test(tcase, draining_sends_everything_before_the_end);
    tcase_add_test(tcase, what_is_thrown_away_leaves_the_window_alone);
    tcase_add_test(tcase, a_large_value_is_received_where_it_will_stay);
    tcase_add_test(tcase, what_is_announced_takes_half_of_the_room_at_most);
    tcase_add_test(tcase, one_alone_is_not_promised_more_than_half_either);
    tcase_add_test(tcase, a_value_behind_a_large_head_is_received_as_others_are);
    suite_add_tcase(suite, tcase);
    return suite;
}

int
main(void)
{
    SRunner *runner = srunner_create(make_suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
