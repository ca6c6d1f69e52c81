/* The pool: many threads, few connections. */
/* TSAN */
#include <brindle.h>

#include <check.h>
#include <sys/wait.h>

#include "fake_server.h"

#define SHORT_MS 60
#define THREADS  8
#define CALLS    200

static struct fake_server server;
static struct brd_pool *pool;
static const struct brd_bytes key = { "key", 3 };

static _Atomic int failures; /* of calls that threads make */
static _Atomic int done;     /* writes */
static _Atomic int unknown;  /* writes of which nobody can say whether they are done */
static _Atomic int lost;     /* requests that the server has read and never answers */

static void
setup(void)
{
    memset(&server, 0, sizeof(server));
    pool = NULL;
    atomic_store(&failures, 0);
    atomic_store(&lost, 0);
    atomic_store(&done, 0);
    atomic_store(&unknown, 0);
}

static void
teardown(void)
{
    brd_pool_close(&pool);
    ck_assert_ptr_null(pool);
    brd_pool_close(&pool);
    brd_pool_close(NULL);
}

static void
open_pool(void (*script)(struct fake_peer *), struct brd_pool_options opts)
{
    struct brd_client_options client = { .size = sizeof(client),
                                         .address = server.address,
                                         .connect_timeout_ms = FAKE_PATIENCE_MS,
                                         .timeout_ms = FAKE_PATIENCE_MS };

    fake_start(&server, script, NULL);
    if (opts.client == NULL)
        opts.client = &client;
    if (opts.check_after_ms == 0)
        opts.check_after_ms = UINT32_MAX; /* a check has a limit of its own, of a second */
    opts.size = sizeof(opts);
    ck_assert_int_eq(brd_pool_open(&opts, &pool), BRD_OK);
}

static void
stop(void)
{
    brd_pool_close(&pool);
    fake_stop(&server);
}

static struct brd_pool_counts
counts(void)
{
    struct brd_pool_counts now = { .size = sizeof(now) };

    brd_pool_get_counts(pool, &now);
    return now;
}

static struct brd_client *
acquire(void)
{
    struct brd_client *client = NULL;

    ck_assert_int_eq(brd_pool_acquire(pool, 0, &client), BRD_OK);
    return client;
}

/* ---- Threads ------------------------------------------------------------ */

static void *
work(void *argument)
{
    struct brd_result *result;
    int i;

    (void)argument;
    if (brd_result_create(&result) != BRD_OK)
        return NULL;
    for (i = 0; i < CALLS; i++) {
        struct brd_client *client;
        char text[40];

        snprintf(text, sizeof(text), "%lu-%d", (unsigned long)pthread_self(), i);
        if (brd_pool_acquire(pool, 0, &client) != BRD_OK) {
            atomic_fetch_add(&failures, 1);
            continue;
        }
        if (brd_client_get(client, brd_bytes_of(text), result) != BRD_OK ||
            brd_result_reply(result)->value.size != strlen(text) ||
            memcmp(brd_result_reply(result)->value.data, text, strlen(text)) != 0)
            atomic_fetch_add(&failures, 1);
        brd_pool_release(pool, &client);
    }
    brd_result_destroy(&result);
    return NULL;
}

static void
run_threads(void)
{
    pthread_t threads[THREADS];
    int i;

    atomic_store(&failures, 0);
    for (i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, NULL), 0);
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(atomic_load(&failures), 0);
}

START_TEST(threads_share_no_more_connections_than_allowed)
{
    open_pool(fake_serve, (struct brd_pool_options){ .connections_max = 3 });
    run_threads();
    ck_assert_int_le(fake_accepted(&server), 3);
    ck_assert_int_le(atomic_load(&server.open_most), 3);
    ck_assert_uint_eq(counts().in_use, 0);
    ck_assert_uint_eq(counts().waiting, 0);
    ck_assert_uint_eq(counts().connects, (uint64_t)fake_accepted(&server));
    stop();
}
END_TEST

/* Every connection serves a while and is closed in between calls or within. */
static void
serve_a_little(struct fake_peer *peer)
{
    int i;

    for (i = 0; i < 50; i++) {
        Brindle__V1__Request *request = fake_read(peer);
        bool answered = request != NULL && fake_answer(peer, request);

        fake_free(request);
        if (!answered)
            return;
    }
}

START_TEST(connections_that_die_under_load_are_replaced)
{
    open_pool(serve_a_little, (struct brd_pool_options){ .connections_max = 4 });
    run_threads();
    ck_assert_int_ge(fake_accepted(&server), THREADS * CALLS / 50);
    stop();
}
END_TEST

START_TEST(the_last_one_used_is_handed_out_first)
{
    struct brd_client *first;
    struct brd_client *second;
    struct brd_client *last;

    open_pool(fake_serve, (struct brd_pool_options){ .connections_max = 4 });
    first = acquire();
    second = acquire();
    ck_assert_ptr_ne(first, second);
    last = first;
    brd_pool_release(pool, &second);
    brd_pool_release(pool, &first);
    ck_assert_ptr_null(first);
    first = acquire();
    ck_assert_ptr_eq(first, last);
    brd_pool_release(pool, &first);
    stop();
}
END_TEST

/* ---- Limits and closing ------------------------------------------------- */

START_TEST(a_pool_whose_clients_are_all_out_times_out)
{
    struct brd_client *client;
    struct brd_client *none = NULL;
    char error[100];

    open_pool(fake_serve, (struct brd_pool_options){ .connections_max = 1 });
    client = acquire();
    ck_assert_int_eq(brd_pool_acquire(pool, SHORT_MS, &none), BRD_TIMEOUT);
    ck_assert_ptr_null(none);
    brd_pool_error(pool, error, sizeof(error));
    ck_assert_ptr_nonnull(strstr(error, "in use"));
    brd_pool_release(pool, &client);
    client = acquire();
    brd_pool_release(pool, &client);
    stop();
}
END_TEST

static void *
wait_for_client(void *argument)
{
    enum brd_status *status = argument;
    struct brd_client *client;

    *status = brd_pool_acquire(pool, BRD_TIMEOUT_NONE, &client);
    if (*status == BRD_OK)
        brd_pool_release(pool, &client);
    return NULL;
}

static void
await_waiting(uint32_t number)
{
    while (counts().waiting != number)
        sched_yield();
}

START_TEST(a_waiting_thread_gets_what_another_releases)
{
    struct brd_client *client;
    enum brd_status status = BRD_INTERNAL;
    pthread_t thread;

    open_pool(fake_serve, (struct brd_pool_options){ .connections_max = 1 });
    client = acquire();
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_client, &status), 0);
    await_waiting(1);
    brd_pool_release(pool, &client);
    pthread_join(thread, NULL);
    ck_assert_int_eq(status, BRD_OK);
    stop();
}
END_TEST

START_TEST(closing_wakes_those_who_wait_and_spares_those_who_work)
{
    struct brd_pool *same;
    struct brd_client *client;
    enum brd_status status = BRD_INTERNAL;
    pthread_t thread;

    open_pool(fake_serve, (struct brd_pool_options){ .connections_max = 1 });
    client = acquire();
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_client, &status), 0);
    await_waiting(1);
    same = pool;
    brd_pool_close(&same);
    ck_assert_ptr_null(same);
    pthread_join(thread, NULL);
    ck_assert_int_eq(status, BRD_CLOSED);
    ck_assert_int_eq(brd_client_get(client, key, NULL), BRD_OK);
    brd_pool_release(pool, &client); /* frees the pool */
    pool = NULL;
    fake_stop(&server);
}
END_TEST

START_TEST(opening_fails_at_once_without_a_server)
{
    char error[200] = "";
    struct brd_client_options client = { .size = sizeof(client),
                                         .error = error,
                                         .error_size = sizeof(error) };
    struct brd_pool_options opts = { .size = sizeof(opts), .client = &client };

    fake_start(&server, fake_serve, NULL);
    fake_stop(&server);
    client.address = server.address;
    ck_assert_int_eq(brd_pool_open(&opts, &pool), BRD_CONNECTION_FAILED);
    ck_assert_ptr_nonnull(strstr(error, "refused"));
    ck_assert_ptr_null(pool);
    client.address = "nonsense";
    ck_assert_int_eq(brd_pool_open(&opts, &pool), BRD_INVALID_ARGUMENT);
    client.address = server.address;
    opts.connections_max = BRD_POOL_CONNECTIONS_MAX + 1;
    ck_assert_int_eq(brd_pool_open(&opts, &pool), BRD_INVALID_ARGUMENT);
}
END_TEST

START_TEST(idle_connections_are_there_from_the_start)
{
    open_pool(fake_serve, (struct brd_pool_options){ .connections_max = 5, .min_idle = 3 });
    ck_assert_uint_eq(counts().idle, 3);
    ck_assert_uint_eq(counts().connects, 3);
    stop();
}
END_TEST

START_TEST(namespace_and_time_out_are_those_of_the_pool_each_time)
{
    struct brd_client *client;

    open_pool(fake_serve, (struct brd_pool_options){ .connections_max = 1 });
    client = acquire();
    brd_client_set_timeout(client, 1);
    ck_assert_int_eq(brd_client_set_namespace(client, brd_bytes_of("other")), BRD_OK);
    brd_pool_release(pool, &client);
    client = acquire();
    ck_assert_int_eq(brd_client_get(client, key, NULL), BRD_OK);
    brd_pool_release(pool, &client);
    stop();
}
END_TEST

/* ---- Health ------------------------------------------------------------- */

START_TEST(a_connection_that_died_idle_is_replaced_before_it_is_handed_out)
{
    struct brd_client *client;

    open_pool(fake_close_first_idle, (struct brd_pool_options){ .connections_max = 1 });
    fake_wait_closed(&server, 1);
    client = acquire();
    ck_assert_uint_eq(brd_client_connects(client), 2);
    ck_assert_int_eq(brd_client_put(client, key, key, NULL, NULL), BRD_OK);
    brd_pool_release(pool, &client);
    stop();
}
END_TEST

START_TEST(a_silent_connection_fails_its_check_and_is_replaced)
{
    struct brd_client *client = NULL;
    struct brd_pool_options opts = { .connections_max = 1, .check_after_ms = 1 };

    open_pool(fake_let_first_fall_silent, opts);
    ck_assert_int_eq(brd_pool_acquire(pool, FAKE_PATIENCE_MS, &client), BRD_OK);
    /* Let 1 ms of idle time pass on the same clock that the pool reads: it may have passed
     * already, since the pool was opened. A check takes a second at most, however long there is
     * to acquire. */
    while (counts().checks == 0) {
        brd_pool_release(pool, &client);
        ck_assert_int_eq(brd_pool_acquire(pool, FAKE_PATIENCE_MS, &client), BRD_OK);
    }
    ck_assert_uint_eq(brd_client_connects(client), 2);
    ck_assert_int_eq(brd_client_get(client, key, NULL), BRD_OK);
    brd_pool_release(pool, &client);
    stop();
}
END_TEST

START_TEST(connections_idle_for_too_long_are_closed_down_to_the_minimum)
{
    struct brd_client *clients[4];
    struct brd_client *client;
    int i;

    open_pool(fake_serve, (struct brd_pool_options){
                              .connections_max = 4, .min_idle = 2, .close_after_ms = 1 });
    for (i = 0; i < 4; i++)
        clients[i] = acquire();
    for (i = 0; i < 4; i++)
        brd_pool_release(pool, &clients[i]);
    while (counts().idle != 2) {
        client = acquire();
        brd_pool_release(pool, &client);
    }
    for (i = 0; i < 100; i++) {
        client = acquire();
        brd_pool_release(pool, &client);
    }
    ck_assert_uint_eq(counts().idle, 2);
    stop();
}
END_TEST

START_TEST(a_pool_recovers_when_the_server_comes_back)
{
    struct brd_client *held;
    struct brd_client *client;
    char error[200];
    int i;

    open_pool(fake_serve, (struct brd_pool_options){ .connections_max = 2 });
    held = acquire();
    client = acquire();
    brd_pool_release(pool, &client);
    fake_stop(&server);
    /* The idle client is given up at the first try, a new one at every other. */
    for (i = 0; i < 3; i++) {
        ck_assert_int_eq(brd_pool_acquire(pool, 0, &client), BRD_CONNECTION_FAILED);
        brd_pool_error(pool, error, sizeof(error));
        ck_assert_ptr_nonnull(strstr(error, "refused"));
        ck_assert_uint_eq(counts().in_use, 1);
        ck_assert_uint_eq(counts().idle, 0);
    }
    ck_assert_int_eq(brd_client_put(held, key, key, NULL, NULL), BRD_CONNECTION_FAILED);

    fake_start_again(&server);
    /* No place in the pool was lost, and the client that was out is as good as a new one. */
    client = acquire();
    ck_assert_int_eq(brd_client_put(held, key, key, NULL, NULL), BRD_OK);
    ck_assert_int_eq(brd_client_put(client, key, key, NULL, NULL), BRD_OK);
    ck_assert_int_eq(brd_client_get(client, key, NULL), BRD_OK);
    ck_assert_int_eq(fake_accepted(&server), 2);
    brd_pool_release(pool, &held);
    brd_pool_release(pool, &client);
    run_threads();
    ck_assert_int_eq(fake_accepted(&server), 2);
    stop();
}
END_TEST

/* ---- Connections that die under a request ------------------------------- */

START_TEST(a_read_that_was_sent_when_its_connection_died_is_repeated_on_another)
{
    struct brd_client *client;

    open_pool(fake_lose_first_request, (struct brd_pool_options){ .connections_max = 1 });
    client = acquire();
    ck_assert_int_eq(brd_client_get(client, key, NULL), BRD_OK);
    ck_assert_uint_eq(brd_client_connects(client), 2);
    ck_assert_int_eq(atomic_load(&server.requests), 4); /* twice Hello and Get */
    brd_pool_release(pool, &client);
    ck_assert_uint_eq(counts().connects, 2);
    stop();
}
END_TEST

START_TEST(a_write_that_was_sent_when_its_connection_died_is_unknown_and_not_repeated)
{
    struct brd_client *client;

    open_pool(fake_lose_first_request, (struct brd_pool_options){ .connections_max = 1 });
    client = acquire();
    ck_assert_int_eq(brd_client_put(client, key, key, NULL, NULL), BRD_UNKNOWN_RESULT);
    ck_assert_ptr_nonnull(strstr(brd_client_error(client), "may or may not"));
    brd_pool_release(pool, &client);
    ck_assert_int_eq(atomic_load(&server.requests), 2); /* Hello and Put */
    ck_assert_int_eq(fake_accepted(&server), 1);

    client = acquire();
    ck_assert_int_eq(atomic_load(&server.requests), 3); /* Hello */
    ck_assert_int_eq(brd_client_put(client, key, key, NULL, NULL), BRD_OK);
    ck_assert_uint_eq(brd_client_connects(client), 2);
    brd_pool_release(pool, &client);
    ck_assert_uint_eq(counts().connects, 2);
    stop();
}
END_TEST

/* Every connection answers a while, then takes a request and closes. */
static void
lose_the_50th_request(struct fake_peer *peer)
{
    Brindle__V1__Request *request;
    int i;

    if (!fake_hello(peer))
        return;
    for (i = 1; (request = fake_read(peer)) != NULL; i++) {
        bool answered = i < 50 && fake_answer(peer, request);

        fake_free(request);
        if (!answered) {
            atomic_fetch_add(&lost, 1);
            return;
        }
    }
}

static void *
write_often(void *argument)
{
    int i;

    (void)argument;
    for (i = 0; i < CALLS; i++) {
        struct brd_client *client = NULL;
        enum brd_status status = brd_pool_acquire(pool, 0, &client);

        if (status == BRD_OK)
            status = brd_client_put(client, key, key, NULL, NULL);
        atomic_fetch_add(status == BRD_OK               ? &done
                         : status == BRD_UNKNOWN_RESULT ? &unknown
                                                        : &failures,
                         1);
        brd_pool_release(pool, &client);
    }
    return NULL;
}

START_TEST(of_many_writes_each_reaches_the_server_once_whatever_dies)
{
    pthread_t threads[THREADS];
    int i;

    open_pool(lose_the_50th_request, (struct brd_pool_options){ .connections_max = 3 });
    for (i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, write_often, NULL), 0);
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(atomic_load(&failures), 0);
    ck_assert_int_eq(atomic_load(&done) + atomic_load(&unknown), THREADS * CALLS);
    ck_assert_uint_eq(atomic_load(&server.version), (uint64_t)atomic_load(&done));
    ck_assert_int_eq(atomic_load(&unknown), atomic_load(&lost));
    ck_assert_int_ge(atomic_load(&lost), THREADS * CALLS / 50 - 3);
    stop();
}
END_TEST

/* ---- Fork --------------------------------------------------------------- */

/* In the child: use the pool and a client that was acquired before the fork. */
static bool
child_works(struct brd_client *held)
{
    struct brd_client *client = NULL;
    bool good = brd_pool_acquire(pool, 0, &client) == BRD_OK &&
                brd_client_get(client, key, NULL) == BRD_OK &&
                brd_client_get(held, key, NULL) == BRD_OK;

    brd_pool_release(pool, &client);
    brd_pool_release(pool, &held);
    good = good && counts().in_use == 0 && counts().idle == 1;
    brd_pool_close(&pool);
    return good;
}

START_TEST(a_child_gets_connections_of_its_own)
{
    struct brd_client *held;
    struct brd_client *idle;
    int status = 0;
    pid_t child;

    open_pool(fake_serve, (struct brd_pool_options){ .connections_max = 3 });
    held = acquire();
    idle = acquire();
    brd_pool_release(pool, &idle);
    child = fork();
    if (child == 0)
        _exit(child_works(held) ? 0 : 1);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(fake_accepted(&server), 4);
    /* The parent's connections were neither closed nor written to. */
    ck_assert_int_eq(brd_client_get(held, key, NULL), BRD_OK);
    ck_assert_uint_eq(brd_client_connects(held), 1);
    idle = acquire();
    ck_assert_int_eq(brd_client_get(idle, key, NULL), BRD_OK);
    ck_assert_uint_eq(brd_client_connects(idle), 1);
    brd_pool_release(pool, &idle);
    brd_pool_release(pool, &held);
    stop();
}
END_TEST

static _Atomic bool stop_hammering;

static void *
hammer(void *argument)
{
    (void)argument;
    while (!atomic_load(&stop_hammering)) {
        struct brd_client *client = NULL;

        if (brd_pool_acquire(pool, 0, &client) == BRD_OK)
            (void)brd_client_get(client, key, NULL);
        brd_pool_release(pool, &client);
    }
    return NULL;
}

static bool
child_gets(void)
{
    struct brd_client *client = NULL;
    bool good =
        brd_pool_acquire(pool, 0, &client) == BRD_OK && brd_client_get(client, key, NULL) == BRD_OK;

    brd_pool_release(pool, &client);
    return good;
}

START_TEST(a_fork_while_other_threads_are_inside_the_pool_leaves_the_child_free)
{
    pthread_t threads[2];
    int i;

    open_pool(fake_serve, (struct brd_pool_options){ .connections_max = 2 });
    for (i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hammer, NULL), 0);
    for (i = 0; i < 30; i++) {
        int status = 0;
        pid_t child = fork();

        if (child == 0)
            _exit(child_gets() ? 0 : 1);
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
    }
    atomic_store(&stop_hammering, true);
    for (i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    stop();
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("client pool");
    TCase *threads = tcase_create("threads");
    TCase *limits = tcase_create("limits and closing");
    TCase *health = tcase_create("health");
    TCase *deaths = tcase_create("connections that die under a request");
    TCase *forks = tcase_create("fork");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(threads, setup, teardown);
    tcase_set_timeout(threads, 60);
    tcase_add_test(threads, threads_share_no_more_connections_than_allowed);
    tcase_add_test(threads, connections_that_die_under_load_are_replaced);
    tcase_add_test(threads, the_last_one_used_is_handed_out_first);
    suite_add_tcase(suite, threads);

    tcase_add_checked_fixture(limits, setup, teardown);
    tcase_set_timeout(limits, 60);
    tcase_add_test(limits, a_pool_whose_clients_are_all_out_times_out);
    tcase_add_test(limits, a_waiting_thread_gets_what_another_releases);
    tcase_add_test(limits, closing_wakes_those_who_wait_and_spares_those_who_work);
    tcase_add_test(limits, opening_fails_at_once_without_a_server);
    tcase_add_test(limits, idle_connections_are_there_from_the_start);
    tcase_add_test(limits, namespace_and_time_out_are_those_of_the_pool_each_time);
    suite_add_tcase(suite, limits);

    tcase_add_checked_fixture(health, setup, teardown);
    tcase_set_timeout(health, 60);
    tcase_add_test(health, a_connection_that_died_idle_is_replaced_before_it_is_handed_out);
    tcase_add_test(health, a_silent_connection_fails_its_check_and_is_replaced);
    tcase_add_test(health, connections_idle_for_too_long_are_closed_down_to_the_minimum);
    tcase_add_test(health, a_pool_recovers_when_the_server_comes_back);
    suite_add_tcase(suite, health);

    tcase_add_checked_fixture(deaths, setup, teardown);
    tcase_set_timeout(deaths, 60);
    tcase_add_test(deaths, a_read_that_was_sent_when_its_connection_died_is_repeated_on_another);
    tcase_add_test(deaths,
                   a_write_that_was_sent_when_its_connection_died_is_unknown_and_not_repeated);
    tcase_add_test(deaths, of_many_writes_each_reaches_the_server_once_whatever_dies);
    suite_add_tcase(suite, deaths);

    tcase_add_checked_fixture(forks, setup, teardown);
    tcase_set_timeout(forks, 60);
    tcase_add_test(forks, a_child_gets_connections_of_its_own);
    tcase_add_test(forks, a_fork_while_other_threads_are_inside_the_pool_leaves_the_child_free);
    suite_add_tcase(suite, forks);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
