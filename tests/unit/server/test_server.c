/* A whole server over a real engine, spoken to through sockets. Time-outs are
 * tried with a clock that the test moves. */
/* TSAN */
#include "base/thread.h"
#include "engine/engine.h"
#include "server/core.h"
#include "tests/support/faulty_io.h"
#include "tests/support/talk.h"

#include <check.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define START_NS   UINT64_C(1700000000000000000)
#define PATIENCE_S 300 /* for what must happen */

static struct brd_clock *test_clock;
static struct brd_engine *engine;
static struct brd_server *server;
static struct brd_server_options options;
static struct brd_engine_options engine_options;
static char dir[256];
static char unix_address[300];
static const char *listen_on[2];

/* A Stats request holds its worker, once, while this is set. */
static atomic_bool hold_worker;
static sem_t held;
static sem_t let_go;

static void
hold(void *arg, void (*emit)(void *to, const struct brd_stat *stat), void *to)
{
    (void)arg;
    (void)emit;
    (void)to;
    if (!atomic_exchange(&hold_worker, false))
        return;
    sem_post(&held);
    while (sem_wait(&let_go) != 0)
        ck_assert_int_eq(errno, EINTR);
}

static void
reset_nothing(void *arg)
{
    (void)arg;
}

static void
on_progress(void *arg)
{
    (void)arg;
    brd_server_on_progress(server);
}

static void
on_written(void *arg)
{
    (void)arg;
    brd_server_on_written(server);
}

/* Tests change what they need in `options` before start(). */
static void
setup(void)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(dir, sizeof(dir), "%s/brindle-server.XXXXXX", tmp != NULL ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(unix_address, sizeof(unix_address), "unix:%s/s", dir);
    test_clock = brd_clock_create_real(0);
    listen_on[0] = "127.0.0.1:0";
    listen_on[1] = unix_address;
    options = (struct brd_server_options){
        .listen = listen_on,
        .listen_count = 2,
        .socket_mode = 0600,
        .backlog = 128,
        .workers = 2,
        .linger_ns = 100 * BRD_NS_PER_MS,
        .session.frame_bytes_max = 8 << 20,
        .limits.connections_max = 100,
        .limits.output_hard_bytes = 8 << 20,
    };
    engine_options = (struct brd_engine_options){ .durability = BRD_DURABILITY_NONE,
                                                  .stripes = 16,
                                                  .on_progress = on_progress,
                                                  .on_written = on_written };
}

static void
use_fake_clock(void)
{
    brd_clock_destroy(&test_clock);
    test_clock = brd_clock_create_fake(START_NS);
}

static void
start(void)
{
    struct brd_server_error error;
    struct brd_engine_error engine_error;
    struct brd_stats_source source = { .collect = hold, .reset = reset_nothing };

    engine_options.clock = test_clock;
    options.clock = test_clock;
    ck_assert_int_eq(brd_engine_create(&engine_options, &engine), BRD_OK);
    ck_assert_int_eq(brd_engine_add_stats(engine, &source), BRD_OK);
    options.session.engine = engine;
    ck_assert_int_eq(brd_server_create(&options, &server, &error), BRD_OK);
    ck_assert_int_eq(brd_engine_start(engine, &engine_error), BRD_OK);
    ck_assert_int_eq(brd_server_start(server, &error), BRD_OK);
}

static void
teardown(void)
{
    char command[300];

    if (server != NULL)
        brd_server_stop(server, 0);
    if (engine != NULL)
        ck_assert_int_eq(brd_engine_stop(engine), BRD_OK);
    brd_server_destroy(&server);
    brd_engine_destroy(&engine);
    brd_clock_destroy(&test_clock);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}

/* ---- a client ---- */

struct client {
    int fd;
    struct brd_buf out;
    struct brd_buf in;
    size_t read_up_to;
};

static void
client_open(struct client *client, bool local)
{
    struct timeval patience = { .tv_sec = PATIENCE_S };
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct sockaddr_in tcp = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    *client =
        (struct client){ .fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    if (local) {
        ck_assert_uint_lt(strlen(unix_address), sizeof(un.sun_path));
        memcpy(un.sun_path, unix_address + 5, strlen(unix_address) - 5);
        ck_assert_int_eq(connect(client->fd, (struct sockaddr *)&un, sizeof(un)), 0);
    } else {
        unsigned port = 0;

        ck_assert_int_eq(sscanf(brd_server_addresses(server), "127.0.0.1:%u", &port), 1);
        tcp.sin_port = htons((uint16_t)port);
        ck_assert_int_eq(connect(client->fd, (struct sockaddr *)&tcp, sizeof(tcp)), 0);
    }
    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    brd_buf_init(&client->out);
    brd_buf_init(&client->in);
}

static void
client_close(struct client *client)
{
    close(client->fd);
    brd_buf_fini(&client->out);
    brd_buf_fini(&client->in);
}

static void
client_send_part(struct client *client, size_t from, size_t to)
{
    while (from < to) {
        ssize_t n = send(client->fd, client->out.data + from, to - from, MSG_NOSIGNAL);

        ck_assert_int_gt(n, 0);
        from += (size_t)n;
    }
}

static void
client_send(struct client *client)
{
    client_send_part(client, 0, client->out.size);
    brd_buf_clear(&client->out);
}

/* More of what the server sends; 0 at its end, which may be a reset. */
static size_t
client_read(struct client *client)
{
    uint8_t *to = brd_buf_reserve(&client->in, 65536);
    ssize_t n;

    /* With a time limit a call is not restarted by itself when the process was stopped. */
    do
        n = recv(client->fd, to, 65536, 0);
    while (n < 0 && errno == EINTR);
    ck_assert_msg(n >= 0 || errno == ECONNRESET, "recv: %s", strerror(errno));
    if (n <= 0)
        return 0;
    client->in.size += (size_t)n;
    return (size_t)n;
}

/* The next reply, or NULL at the end of the stream. */
static Brindle__V1__Reply *
client_take(struct client *client)
{
    for (;;) {
        struct brd_bytes rest =
            brd_bytes(client->in.data + client->read_up_to, client->in.size - client->read_up_to);
        Brindle__V1__Reply *reply = talk_take(&rest);

        if (reply != NULL) {
            client->read_up_to = client->in.size - rest.size;
            return reply;
        }
        if (client_read(client) == 0)
            return NULL;
    }
}

static void
client_expect(struct client *client, uint64_t id, enum brd_status status)
{
    Brindle__V1__Reply *reply = client_take(client);

    ck_assert_ptr_nonnull(reply);
    ck_assert_uint_eq(reply->id, id);
    ck_assert_int_eq((int)reply->status, (int)status);
    talk_free(reply);
}

static void
client_expect_end(struct client *client)
{
    Brindle__V1__Reply *reply = client_take(client);

    ck_assert_ptr_null(reply);
    ck_assert_uint_eq(client->read_up_to, client->in.size);
}

/* Send a Ping and wait for its answer: whatever came before has been dealt with. */
static void
client_ping(struct client *client)
{
    talk_ping(&client->out, 99, NULL, 0);
    client_send(client);
    client_expect(client, 99, BRD_OK);
}

static int64_t stat_value(const char *name);

/* What the server counts a little after its client has seen the effect. */
static void
wait_for_one(const char *stat)
{
    while (stat_value(stat) == 0)
        sched_yield();
    ck_assert_int_eq(stat_value(stat), 1);
}

/* Wait until all threads have finished what they were at. */
static void
wait_for_threads(void)
{
    brd_server_ping(server);
    while (!brd_server_answered(server))
        poll(NULL, 0, 1);
}

/* What was sent is in the server's socket, where a loaded machine may bring it late. */
static void
client_wait_until_arrived(struct client *client, bool local)
{
    int left = 1;

    while (!local && left > 0) {
        ck_assert_int_eq(ioctl(client->fd, SIOCOUTQ, &left), 0); /* not confirmed */
        sched_yield();
    }
}

/* ---- conversations ---- */

START_TEST(clients_are_served_over_tcp_and_unix_sockets)
{
    struct client client;
    int local;

    start();
    for (local = 0; local < 2; local++) {
        client_open(&client, local != 0);
        talk_put(&client.out, 1, "k", "value", 5);
        talk_get(&client.out, 2, "k");
        client_send(&client);
        client_expect(&client, 1, BRD_OK);
        client_expect(&client, 2, BRD_OK);
        client_close(&client);
    }
}
END_TEST

START_TEST(a_request_may_come_in_any_pieces)
{
    static uint8_t value[400000];
    struct client client;
    size_t at = 0;
    unsigned seed = 1;

    start();
    client_open(&client, false);
    talk_put(&client.out, 1, "k", value, sizeof(value));
    talk_get(&client.out, 2, "k");
    talk_ping(&client.out, 3, "x", 1);
    while (at < client.out.size) {
        size_t piece = 1 + (size_t)(rand_r(&seed) % 30000);
        size_t to = at + piece < client.out.size ? at + piece : client.out.size;

        client_send_part(&client, at, to);
        at = to;
    }
    client_expect(&client, 1, BRD_OK);
    client_expect(&client, 2, BRD_OK);
    client_expect(&client, 3, BRD_OK);
    client_close(&client);
}
END_TEST

START_TEST(a_value_larger_than_all_buffers_goes_there_and_back)
{
    static uint8_t value[5 << 20];
    struct client client;
    Brindle__V1__Reply *reply;

    memset(value, 'v', sizeof(value));
    start();
    client_open(&client, false);
    talk_put(&client.out, 1, "k", value, sizeof(value));
    talk_get(&client.out, 2, "k");
    client_send(&client);
    client_expect(&client, 1, BRD_OK);
    reply = client_take(&client);
    ck_assert_ptr_nonnull(reply);
    ck_assert_uint_eq(reply->value.len, sizeof(value));
    ck_assert_mem_eq(reply->value.data, value, sizeof(value));
    talk_free(reply);
    client_close(&client);
}
END_TEST

#define CLIENTS  6
#define REQUESTS 3000

/* Pipelines requests of random sizes in random pieces, reading now and then. */
static void *
be_a_client(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    static uint8_t value[20000];
    struct client client;
    uint64_t received = 0;
    uint64_t sent = 0;
    char key[16];

    client_open(&client, seed % 2 == 0);
    while (received < REQUESTS) {
        unsigned n = (unsigned)rand_r(&seed) % 100;

        while (n-- > 0 && sent < REQUESTS) {
            snprintf(key, sizeof(key), "%u", (unsigned)rand_r(&seed) % 50);
            sent++;
            if (rand_r(&seed) % 3 == 0)
                talk_put(&client.out, sent, key, value, (size_t)rand_r(&seed) % 300);
            else
                talk_get(&client.out, sent, key);
        }
        client_send(&client);
        while (received < sent && (sent == REQUESTS || rand_r(&seed) % 64 != 0)) {
            Brindle__V1__Reply *reply = client_take(&client);

            ck_assert_ptr_nonnull(reply);
            received++;
            ck_assert_uint_eq(reply->id, received);
            ck_assert_int_le((int)reply->status, BRD_NOT_FOUND);
            talk_free(reply);
        }
    }
    client_close(&client);
    return NULL;
}

static void
run_clients(void)
{
    pthread_t threads[CLIENTS];
    uintptr_t i;

    for (i = 0; i < CLIENTS; i++)
        ck_assert_int_eq(brd_thread_start(&threads[i], "client", be_a_client, (void *)(i + 1)),
                         BRD_OK);
    for (i = 0; i < CLIENTS; i++)
        brd_thread_join(threads[i]);
}

START_TEST(many_clients_at_once_get_their_replies_in_order)
{
    start();
    run_clients();
}
END_TEST

/* More than a worker holds replies of back, and nothing else comes to wake it. */
START_TEST(whoever_waits_for_a_reply_gets_it)
{
    static struct client clients[90];
    uint64_t k;
    int round;
    int i;

    options.workers = 1;
    start();
    for (i = 0; i < 90; i++)
        client_open(&clients[i], i % 2 == 0);
    for (round = 1; round <= 40; round += 13) {
        for (i = 0; i < 90; i++) {
            for (k = 1; k <= (uint64_t)round; k++)
                talk_get(&clients[i].out, k, "k");
            client_send(&clients[i]);
        }
        for (i = 90; i-- > 0;)
            for (k = 1; k <= (uint64_t)round; k++)
                client_expect(&clients[i], k, BRD_NOT_FOUND);
    }
    for (i = 0; i < 90; i++)
        client_close(&clients[i]);
}
END_TEST

START_TEST(connections_may_move_between_workers_at_any_time)
{
    options.workers = 3;
    /* Whoever is the least bit busier gives half of its connections away. */
    options.balance = (struct brd_server_balance){ .interval_ns = 100 * BRD_NS_PER_US };
    start();
    do
        run_clients();
    while (stat_value("connections_moved") < 20);
    while (stat_value("connections") != 0)
        sched_yield();
    wait_for_threads(); /* the acceptor counts a connection after it has given it away */
    ck_assert_int_eq(stat_value("connections_closed_by_peer"), stat_value("connections_accepted"));
}
END_TEST

START_TEST(connections_stay_where_moving_is_off)
{
    start();
    run_clients();
    ck_assert_int_eq(stat_value("connections_moved"), 0);
}
END_TEST

START_TEST(durable_writes_are_answered_when_the_log_has_them)
{
    char data[300];

    snprintf(data, sizeof(data), "%s/data", dir);
    engine_options.data_dir = data;
    engine_options.durability = _i == 0 ? BRD_DURABILITY_NORMAL : BRD_DURABILITY_FULL;
    start();
    run_clients();
    ck_assert_int_gt(stat_value("replies_gated"), 0);
    teardown();
    setup();
}
END_TEST

/* The log gets no further while this is set. */
static atomic_bool hold_writes;

static void
wait_before_write(void *arg, enum faulty_kind kind)
{
    (void)arg;
    while (kind == FAULTY_WRITE && atomic_load(&hold_writes))
        sched_yield();
}

START_TEST(a_full_log_parks_clients_and_lets_them_go_on)
{
    static uint8_t value[100000];
    struct faulty *disk = faulty_create();
    struct client client;
    uint64_t i;

    engine_options.data_dir = "/data";
    engine_options.io = faulty_io(disk);
    engine_options.durability = BRD_DURABILITY_NORMAL;
    engine_options.wal_queue_bytes = 120000; /* one write and no second */
    faulty_set_hook(disk, wait_before_write, NULL);
    start();
    client_open(&client, true);
    client_ping(&client);
    atomic_store(&hold_writes, true);
    for (i = 1; i <= 2; i++)
        talk_put(&client.out, i, "k", value, sizeof(value));
    client_send(&client);
    while (stat_value("pauses_log") == 0)
        sched_yield();
    atomic_store(&hold_writes, false);
    for (i = 3; i <= 100; i++)
        talk_put(&client.out, i, "k", value, sizeof(value));
    client_send(&client);
    for (i = 1; i <= 100; i++)
        client_expect(&client, i, BRD_OK);
    client_close(&client);
    teardown();
    faulty_destroy(&disk);
    setup();
}
END_TEST

/* While it is set the log's threads go to the disk only when a worker sleeps and waits for them. */
static atomic_bool slow_disk;

static bool
somebody_waits_asleep(void)
{
    uint32_t i;

    for (i = 0; i < options.workers; i++)
        if (atomic_load(&server->workers[i].waits_asleep) != WORKER_WAITS_NOT)
            return true;
    return false;
}

static void
wait_for_sleepers(void *arg, enum faulty_kind kind)
{
    (void)arg;
    while ((kind == FAULTY_WRITE || kind == FAULTY_FDATASYNC) && atomic_load(&slow_disk) &&
           !somebody_waits_asleep())
        sched_yield();
}

/* Each write is written, and then synced, while its worker sleeps. */
START_TEST(a_worker_is_woken_for_what_its_clients_wait_for)
{
    bool full = _i == 1;
    struct faulty *disk = faulty_create();
    struct client client;
    uint64_t i;

    engine_options.data_dir = "/data";
    engine_options.io = faulty_io(disk);
    engine_options.durability = full ? BRD_DURABILITY_FULL : BRD_DURABILITY_NORMAL;
    start();
    client_open(&client, true);
    client_ping(&client);
    faulty_set_hook(disk, wait_for_sleepers, NULL);
    atomic_store(&slow_disk, true);
    for (i = 1; i <= 50; i++) {
        talk_put(&client.out, i, "k", "v", 1);
        client_send(&client);
        client_expect(&client, i, BRD_OK);
    }
    atomic_store(&slow_disk, false);
    while (stat_value("log_wakeups") < 50) /* counted after the reply */
        sched_yield();
    ck_assert_int_le(stat_value("log_wakeups"), 55);
    client_close(&client);
    teardown();
    faulty_destroy(&disk);
    setup();
}
END_TEST

/* ---- ends ---- */

START_TEST(after_half_a_close_the_replies_still_come)
{
    struct client client;
    uint64_t i;

    start();
    client_open(&client, false);
    for (i = 1; i <= 3000; i++)
        talk_get(&client.out, i, "k");
    brd_buf_append(&client.out, "\x50half", 5);
    client_send(&client);
    shutdown(client.fd, SHUT_WR);
    for (i = 1; i <= 3000; i++)
        client_expect(&client, i, BRD_NOT_FOUND);
    client_expect_end(&client);
    client_close(&client);
}
END_TEST

START_TEST(bad_bytes_are_answered_and_end_the_connection)
{
    struct client client;

    start();
    client_open(&client, false);
    talk_get(&client.out, 1, "k");
    brd_buf_append(&client.out, "\3\xff\xff\xff and much more that nobody reads", 35);
    client_send(&client);
    client_expect(&client, 1, BRD_NOT_FOUND);
    client_expect(&client, 0, BRD_PROTOCOL_ERROR);
    client_expect_end(&client);
    client_close(&client);
    wait_for_one("connections_closed_protocol");
}
END_TEST

START_TEST(a_connection_too_many_is_told_so)
{
    struct client clients[3];
    struct client late;
    int i;

    options.limits.connections_max = 3;
    start();
    for (i = 0; i < 3; i++) {
        client_open(&clients[i], i == 0);
        client_ping(&clients[i]);
    }
    for (i = 0; i < 2; i++) {
        client_open(&late, i == 0);
        client_expect(&late, 0, BRD_TOO_MANY_CONNECTIONS);
        client_expect_end(&late);
        client_close(&late);
    }
    ck_assert_int_eq(stat_value("connections_refused_limit"), 2);
    client_close(&clients[0]);
    while (brd_server_connections(server) == 3)
        client_ping(&clients[1]);
    client_open(&clients[0], false);
    for (i = 0; i < 3; i++) {
        client_ping(&clients[i]);
        client_close(&clients[i]);
    }
}
END_TEST

/* ---- time ---- */

#define TIME_NS (320 * BRD_NS_PER_MS)

/* Move the clock, and let every worker look at it before it is moved again. */
static void
pass_time(uint64_t ns)
{
    brd_clock_advance(test_clock, ns);
    wait_for_threads();
}

START_TEST(an_idle_connection_is_closed_and_a_busy_one_is_not)
{
    struct client idle;
    struct client busy;
    int i;

    use_fake_clock();
    options.limits.idle_ns = TIME_NS;
    start();
    client_open(&idle, false);
    client_open(&busy, false);
    client_ping(&idle);
    for (i = 0; i < 8; i++) {
        client_ping(&busy);
        brd_clock_advance(test_clock, TIME_NS / 4);
    }
    client_expect_end(&idle);
    client_ping(&busy);
    client_close(&idle);
    client_close(&busy);
    wait_for_one("connections_closed_idle");
}
END_TEST

START_TEST(a_frame_that_does_not_move_is_timed_out)
{
    static uint8_t value[200000];
    struct client slow;
    struct client steady;
    size_t at = 0;
    int i;

    use_fake_clock();
    options.limits.progress_ns = TIME_NS;
    options.limits.progress_bytes = 16384;
    start();
    client_open(&slow, false);
    client_open(&steady, false);
    talk_put(&slow.out, 1, "k", value, sizeof(value));
    talk_put(&steady.out, 1, "k", value, sizeof(value));
    client_send_part(&slow, 0, 20000);
    while (stat_value("bytes_in") < 20000)
        ;
    for (i = 0; i < 8; i++) {
        /* One byte of each now and then is no progress; 16 KiB are. */
        int64_t before = stat_value("bytes_in");
        size_t to = at + 17000 < steady.out.size ? at + 17000 : steady.out.size;

        (void)send(slow.fd, slow.out.data + 20000 + i, 1, MSG_NOSIGNAL);
        client_send_part(&steady, at, to);
        while (stat_value("bytes_in") < before + (int64_t)(to - at))
            ; /* each asking is a request that waits for the workers */
        at = to;
        pass_time(TIME_NS / 2);
    }
    client_send_part(&steady, at, steady.out.size);
    client_expect(&steady, 1, BRD_OK);
    client_expect(&slow, 0, BRD_TIMEOUT);
    client_expect_end(&slow);
    client_close(&slow);
    client_close(&steady);
    wait_for_one("connections_closed_slow_frame");
}
END_TEST

/* Ask for more than the sockets hold, and read nothing. */
static void
ask_for_much(struct client *client)
{
    static uint8_t value[8000];
    int size = 4096;
    uint64_t i;

    setsockopt(client->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    talk_put(&client->out, 0, "k", value, sizeof(value));
    for (i = 1; i <= 1000; i++)
        talk_get(&client->out, i, "k");
    client_send(client);
}

static void
read_to_the_end(struct client *client)
{
    while (client_read(client) > 0)
        ;
}

START_TEST(a_client_that_takes_nothing_is_closed)
{
    struct client client;

    use_fake_clock();
    if (_i == 0) {
        options.limits.progress_ns = TIME_NS;
        options.limits.progress_bytes = 16384;
    } else {
        options.limits.session.output_soft_bytes = 1 << 20;
        options.limits.output_soft_ns = TIME_NS;
    }
    start();
    client_open(&client, true);
    ask_for_much(&client);
    while (stat_value("pauses_output") == 0)
        ;
    while (stat_value("connections_closed_slow_reader") +
               stat_value("connections_closed_output_soft") ==
           0)
        brd_clock_advance(test_clock, TIME_NS / 4);
    ck_assert_int_eq(stat_value(_i == 0 ? "connections_closed_slow_reader"
                                        : "connections_closed_output_soft"),
                     1);
    read_to_the_end(&client);
    ck_assert_uint_lt(client.in.size, 1000 * 8000);
    client_close(&client);
}
END_TEST

START_TEST(output_above_the_hard_limit_is_the_end)
{
    struct client client;

    options.limits.output_hard_bytes = 50000;
    options.limits.session.output_soft_bytes = 1 << 20;
    start();
    client_open(&client, true);
    ask_for_much(&client);
    while (stat_value("connections_closed_output_hard") == 0)
        ;
    read_to_the_end(&client);
    client_close(&client);
}
END_TEST

START_TEST(limits_change_while_the_server_runs)
{
    struct brd_server_limits limits;
    struct client client;

    use_fake_clock();
    start();
    client_open(&client, false);
    client_ping(&client);
    brd_clock_advance(test_clock, 100 * TIME_NS);
    client_ping(&client);
    limits = options.limits;
    limits.idle_ns = TIME_NS;
    brd_server_set_limits(server, &limits);
    client_ping(&client);
    while (brd_server_connections(server) > 0)
        brd_clock_advance(test_clock, TIME_NS / 4);
    client_expect_end(&client);
    client_close(&client);
}
END_TEST

/* ---- requests that take long ---- */

/* A server with one worker, without a reaper, and so many keys that have expired. */
static void
start_with_mortals(unsigned count)
{
    struct brd_request put = { .op = BRD_OP_PUT, .ttl_ms = 1 };
    struct brd_caller *caller;
    struct brd_reply reply;
    uint64_t last_ms = 0;
    char key[32];
    unsigned i;

    options.workers = 1;
    engine_options.manual = true;
    start();
    ck_assert_int_eq(brd_caller_attach(engine, &caller), BRD_OK);
    for (i = 0; i < count; i++) {
        snprintf(key, sizeof(key), "mortal-%u", i);
        put.key = brd_bytes_of(key);
        brd_caller_begin(caller);
        brd_caller_prepare(caller, &put, 1);
        ck_assert_int_eq(brd_caller_execute(caller, &put, &reply), BRD_OK);
        last_ms = brd_caller_now_ms(caller);
        brd_caller_done(caller, &reply);
        brd_caller_end(caller);
    }
    brd_caller_detach(&caller);
    while (brd_clock_now_ns(test_clock) / BRD_NS_PER_MS <= last_ms + 1)
        sched_yield();
}

/* Returns when the worker is in the middle of a request of this client's. */
static void
hold_the_worker(struct client *client)
{
    ck_assert_int_eq(sem_init(&held, 0, 0), 0);
    ck_assert_int_eq(sem_init(&let_go, 0, 0), 0);
    atomic_store(&hold_worker, true);
    talk_stats(&client->out, 98, (char[]){ "none" });
    client_send(client);
    while (sem_wait(&held) != 0)
        ck_assert_int_eq(errno, EINTR);
}

static int64_t
client_expect_number(struct client *client, uint64_t id)
{
    Brindle__V1__Reply *reply = client_take(client);
    int64_t number;

    ck_assert_ptr_nonnull(reply);
    ck_assert_uint_eq(reply->id, id);
    ck_assert_int_eq((int)reply->status, BRD_OK);
    number = reply->stats != NULL ? reply->stats->stats[0]->number : reply->number;
    talk_free(reply);
    return number;
}

START_TEST(others_of_a_worker_are_served_before_a_long_purge_ends)
{
    const unsigned count = 30000;
    struct client holder;
    struct client purger;
    struct client other;
    int64_t purged;

    start_with_mortals(count);
    client_open(&holder, true);
    client_open(&purger, true);
    client_open(&other, true);
    client_ping(&purger);
    client_ping(&other);
    hold_the_worker(&holder);

    /* Both wait when the worker comes back; epoll names them in this order. */
    if (_i == 0)
        talk_purge(&purger.out, 1);
    else
        talk_count(&purger.out, 1, true);
    talk_ping(&purger.out, 2, NULL, 0);
    client_send(&purger);
    talk_stats(&other.out, 1, (char[]){ "ttl_purged" });
    client_send(&other);
    sem_post(&let_go);

    purged = client_expect_number(&other, 1);
    ck_assert_int_gt(purged, 0);
    ck_assert_int_lt(purged, count);
    ck_assert_int_eq(client_expect_number(&purger, 1), _i == 0 ? count : 0);
    client_expect(&purger, 2, BRD_OK);
    client_expect(&holder, 98, BRD_OK);
    client_close(&holder);
    client_close(&purger);
    client_close(&other);
}
END_TEST

START_TEST(a_client_may_leave_in_the_middle_of_a_purge)
{
    struct client holder;
    struct client purger;

    start_with_mortals(30000);
    client_open(&holder, true);
    client_open(&purger, _i == 0);
    client_ping(&purger);
    hold_the_worker(&holder);
    talk_purge(&purger.out, 1);
    client_send(&purger);
    if (_i == 1) { /* a reset */
        struct linger at_once = { .l_onoff = 1 };

        setsockopt(purger.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    client_close(&purger);
    sem_post(&let_go);
    client_expect(&holder, 98, BRD_OK);
    talk_count(&holder.out, 1, true);
    client_send(&holder);
    ck_assert_int_eq(client_expect_number(&holder, 1), 0);
    while (brd_server_connections(server) > 1)
        sched_yield();
    client_ping(&holder);
    client_close(&holder);
}
END_TEST

START_TEST(stopping_finishes_a_purge)
{
    struct client client;

    start_with_mortals(30000);
    client_open(&client, true);
    client_ping(&client);
    talk_purge(&client.out, 1);
    talk_ping(&client.out, 2, NULL, 0);
    client_send(&client);
    brd_server_stop(server, PATIENCE_S * BRD_NS_PER_S);
    ck_assert_int_eq(client_expect_number(&client, 1), 30000);
    client_expect(&client, 2, BRD_OK);
    client_expect_end(&client);
    client_close(&client);
}
END_TEST

/* ---- checkpoints that are waited for ---- */

static struct faulty *checkpoint_disk;
static atomic_bool hold_names; /* no snapshot gets its name while this is set */

static void
wait_before_rename(void *arg, enum faulty_kind kind)
{
    (void)arg;
    while (kind == FAULTY_RENAME && atomic_load(&hold_names))
        sched_yield();
}

/* One worker, a log, and checkpoints that do not end. */
static void
start_with_held_checkpoints(void)
{
    struct client client;

    checkpoint_disk = faulty_create();
    options.workers = 1;
    engine_options.data_dir = "/data";
    engine_options.io = faulty_io(checkpoint_disk);
    engine_options.durability = BRD_DURABILITY_NORMAL;
    start();
    client_open(&client, true);
    talk_put(&client.out, 1, "k", "v", 1);
    client_send(&client);
    client_expect(&client, 1, BRD_OK);
    client_close(&client);
    while (brd_server_connections(server) > 0)
        sched_yield();
    atomic_store(&hold_names, true);
    faulty_set_hook(checkpoint_disk, wait_before_rename, NULL);
}

static void
end_with_held_checkpoints(void)
{
    atomic_store(&hold_names, false);
    teardown();
    faulty_destroy(&checkpoint_disk);
    setup();
}

/* Returns when the daemon has read all of it and waits for the checkpoint. */
static void
wait_for_a_checkpoint(struct client *client, bool local)
{
    client_open(client, local);
    client_ping(client);
    talk_checkpoint(&client->out, 1, BRINDLE__V1__CHECKPOINT_MODE__CHECKPOINT_RESTART);
    talk_get(&client->out, 2, "k");
    talk_get(&client->out, 3, "none");
    client_send(client);
    client_wait_until_arrived(client, local);
    wait_for_threads();
}

START_TEST(others_are_served_while_a_checkpoint_is_waited_for)
{
    struct client waiters[3];
    struct client other;
    uint64_t k;
    int i;

    start_with_held_checkpoints();
    client_open(&other, true);
    for (i = 0; i < 3; i++)
        wait_for_a_checkpoint(&waiters[i], i == 0);
    for (k = 1; k <= 300; k++) {
        talk_put(&other.out, k, "other", "v", 1);
        client_send(&other);
        client_expect(&other, k, BRD_OK);
    }
    for (i = 0; i < 3; i++)
        ck_assert_int_eq((int)recv(waiters[i].fd, &k, 1, MSG_DONTWAIT | MSG_PEEK), -1);
    ck_assert_int_eq(stat_value("requests_checkpoint"), 0);
    ck_assert_int_eq(stat_value("pauses_log"), 0);
    atomic_store(&hold_names, false);
    for (i = 0; i < 3; i++) {
        client_expect(&waiters[i], 1, BRD_OK);
        client_expect(&waiters[i], 2, BRD_OK);
        client_expect(&waiters[i], 3, BRD_NOT_FOUND);
        client_ping(&waiters[i]);
        client_close(&waiters[i]);
    }
    ck_assert_int_eq(stat_value("requests_checkpoint"), 3);
    client_close(&other);
    end_with_held_checkpoints();
}
END_TEST

/* Over either kind of socket; with a reset; half of it. */
START_TEST(a_client_may_leave_while_its_checkpoint_is_waited_for)
{
    struct client waiter;
    struct client other;

    start_with_held_checkpoints();
    client_open(&other, true);
    client_ping(&other);
    wait_for_a_checkpoint(&waiter, _i == 0);
    ck_assert_uint_eq(brd_server_connections(server), 2);
    if (_i == 2) {
        struct linger at_once = { .l_onoff = 1 };

        setsockopt(waiter.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    } else if (_i == 3) {
        shutdown(waiter.fd, SHUT_WR);
        client_expect(&waiter, 1, BRD_UNKNOWN_RESULT);
        client_expect(&waiter, 2, BRD_OK);
        client_expect(&waiter, 3, BRD_NOT_FOUND);
        client_expect_end(&waiter);
    }
    client_close(&waiter);
    while (brd_server_connections(server) > 1)
        sched_yield();

    /* It goes on, and others may ask for one. */
    wait_for_a_checkpoint(&waiter, true);
    atomic_store(&hold_names, false);
    client_expect(&waiter, 1, BRD_OK);
    client_close(&waiter);
    client_ping(&other);
    client_close(&other);
    end_with_held_checkpoints();
}
END_TEST

/* All in one piece: the end of the stream may be there before the request is read. */
START_TEST(a_client_may_ask_for_a_checkpoint_and_leave_at_once)
{
    struct client client;
    int i;

    start_with_held_checkpoints();
    for (i = 0; i < 20; i++) {
        client_open(&client, i % 2 == 0);
        talk_checkpoint(&client.out, 1, BRINDLE__V1__CHECKPOINT_MODE__CHECKPOINT_FULL);
        client_send(&client);
        client_close(&client);
    }
    while (stat_value("requests_checkpoint") < 20 || brd_server_connections(server) > 0)
        sched_yield();
    end_with_held_checkpoints();
}
END_TEST

START_TEST(stopping_does_not_wait_for_a_checkpoint)
{
    struct client client;

    start_with_held_checkpoints();
    wait_for_a_checkpoint(&client, _i == 0);
    brd_server_stop(server, PATIENCE_S * BRD_NS_PER_S); /* returns, though it is not over */
    client_expect(&client, 1, BRD_SHUTTING_DOWN);
    client_expect(&client, 2, BRD_OK);
    client_expect(&client, 3, BRD_NOT_FOUND);
    client_expect_end(&client);
    client_close(&client);
    end_with_held_checkpoints();
}
END_TEST

/* ---- stopping ---- */

START_TEST(stopping_finishes_what_was_received)
{
    struct client clients[10];
    uint64_t k;
    int i;

    start();
    for (i = 0; i < 10; i++) {
        client_open(&clients[i], i % 2 == 0);
        client_ping(&clients[i]);
        for (k = 1; k <= 500; k++)
            talk_put(&clients[i].out, k, "k", "v", 1);
        client_send(&clients[i]);
    }
    for (i = 0; i < 10; i++)
        client_wait_until_arrived(&clients[i], i % 2 == 0);
    brd_server_stop(server, PATIENCE_S * BRD_NS_PER_S);
    for (i = 0; i < 10; i++) {
        for (k = 1; k <= 500; k++)
            client_expect(&clients[i], k, BRD_OK);
        client_expect_end(&clients[i]);
        client_close(&clients[i]);
    }
    ck_assert_uint_eq(brd_server_connections(server), 0);
}
END_TEST

START_TEST(stopping_does_not_wait_for_a_client_that_takes_nothing)
{
    struct client client;

    start();
    client_open(&client, true);
    ask_for_much(&client);
    brd_server_stop(server, 200 * BRD_NS_PER_MS); /* returns, though nobody reads */
    ck_assert_uint_eq(brd_server_connections(server), 0);
    client_close(&client);
}
END_TEST

/* ---- information ---- */

static const char *wanted;
static int64_t found;

static void
look_for(void *to, const struct brd_stat *stat)
{
    (void)to;
    if (strcmp(stat->name, wanted) == 0)
        found = stat->number;
}

static int64_t
stat_value(const char *name)
{
    wanted = name;
    found = -1;
    brd_server_collect_stats(server, look_for, NULL);
    ck_assert_msg(found >= 0, "no statistic %s", name);
    return found;
}

START_TEST(statistics_count_and_can_be_reset)
{
    struct client client;

    start();
    client_open(&client, false);
    client_ping(&client);
    client_ping(&client);
    ck_assert_int_eq(stat_value("requests_ping"), 2);
    wait_for_one("connections_accepted"); /* the acceptor counts after it gave it away */
    ck_assert_int_eq(stat_value("connections"), 1);
    ck_assert_int_gt(stat_value("bytes_in"), 0);
    brd_server_reset_stats(server);
    ck_assert_int_eq(stat_value("requests_ping"), 0);
    ck_assert_int_eq(stat_value("bytes_in"), 0);
    ck_assert_int_eq(stat_value("connections"), 1);
    client_ping(&client);
    ck_assert_int_eq(stat_value("requests_ping"), 1);
    client_close(&client);
}
END_TEST

START_TEST(all_threads_answer_a_ping)
{
    int i;

    start();
    for (i = 0; i < 3; i++)
        wait_for_threads();
}
END_TEST

START_TEST(a_server_that_was_never_started_can_be_destroyed)
{
    struct brd_server_error error;

    options.clock = test_clock;
    ck_assert_int_eq(brd_server_create(&options, &server, &error), BRD_OK);
    brd_server_on_progress(server);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("server");
    TCase *tcase = tcase_create("server");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, clients_are_served_over_tcp_and_unix_sockets);
    tcase_add_test(tcase, a_request_may_come_in_any_pieces);
    tcase_add_test(tcase, a_value_larger_than_all_buffers_goes_there_and_back);
    tcase_add_test(tcase, many_clients_at_once_get_their_replies_in_order);
    tcase_add_test(tcase, whoever_waits_for_a_reply_gets_it);
    tcase_add_test(tcase, connections_may_move_between_workers_at_any_time);
    tcase_add_test(tcase, connections_stay_where_moving_is_off);
    tcase_add_loop_test(tcase, durable_writes_are_answered_when_the_log_has_them, 0, 2);
    tcase_add_loop_test(tcase, a_worker_is_woken_for_what_its_clients_wait_for, 0, 2);
    tcase_add_test(tcase, a_full_log_parks_clients_and_lets_them_go_on);
    tcase_add_test(tcase, after_half_a_close_the_replies_still_come);
    tcase_add_test(tcase, bad_bytes_are_answered_and_end_the_connection);
    tcase_add_test(tcase, a_connection_too_many_is_told_so);
    tcase_add_test(tcase, an_idle_connection_is_closed_and_a_busy_one_is_not);
    tcase_add_test(tcase, a_frame_that_does_not_move_is_timed_out);
    tcase_add_loop_test(tcase, a_client_that_takes_nothing_is_closed, 0, 2);
    tcase_add_test(tcase, output_above_the_hard_limit_is_the_end);
    tcase_add_test(tcase, limits_change_while_the_server_runs);
    tcase_add_loop_test(tcase, others_of_a_worker_are_served_before_a_long_purge_ends, 0, 2);
    tcase_add_loop_test(tcase, a_client_may_leave_in_the_middle_of_a_purge, 0, 2);
    tcase_add_test(tcase, stopping_finishes_a_purge);
    tcase_add_test(tcase, others_are_served_while_a_checkpoint_is_waited_for);
    tcase_add_loop_test(tcase, a_client_may_leave_while_its_checkpoint_is_waited_for, 0, 4);
    tcase_add_test(tcase, a_client_may_ask_for_a_checkpoint_and_leave_at_once);
    tcase_add_loop_test(tcase, stopping_does_not_wait_for_a_checkpoint, 0, 2);
    tcase_add_test(tcase, stopping_finishes_what_was_received);
    tcase_add_test(tcase, stopping_does_not_wait_for_a_client_that_takes_nothing);
    tcase_add_test(tcase, statistics_count_and_can_be_reset);
    tcase_add_test(tcase, all_threads_answer_a_ping);
    tcase_add_test(tcase, a_server_that_was_never_started_can_be_destroyed);
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
