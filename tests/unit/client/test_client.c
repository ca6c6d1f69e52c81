/* The blocking client against scripted servers: answers, lost connections, and
 * what may be repeated. */
#include <brindle.h>

#include <check.h>
#include <signal.h>
#include <sys/wait.h>

#include "fake_server.h"

#define SHORT_MS 60 /* a time-out that a test waits for */

static struct fake_server server;
static struct brd_client *client;
static struct brd_result *result;
static const struct brd_bytes key = { "key", 3 };

static void
setup(void)
{
    memset(&server, 0, sizeof(server));
    client = NULL;
    ck_assert_int_eq(brd_result_create(&result), BRD_OK);
}

static void
teardown(void)
{
    brd_client_close(&client);
    ck_assert_ptr_null(client);
    brd_client_close(&client);
    brd_client_close(NULL);
    brd_result_destroy(&result);
    brd_result_destroy(&result);
}

/* Start the server and connect to it. */
static void
connect_to(void (*script)(struct fake_peer *), const struct brd_client_options *more)
{
    struct brd_client_options opts = { .size = sizeof(opts) };

    if (more != NULL)
        opts = *more;
    if (opts.timeout_ms == 0)
        opts.timeout_ms = FAKE_PATIENCE_MS;
    opts.connect_timeout_ms = FAKE_PATIENCE_MS;
    fake_start(&server, script, NULL);
    opts.address = server.address;
    ck_assert_int_eq(brd_client_open(&opts, &client), BRD_OK);
}

static void
stop(void)
{
    brd_client_close(&client);
    fake_stop(&server);
}

static const struct brd_reply *
reply(void)
{
    return brd_result_reply(result);
}

static void
expect_get_works(void)
{
    ck_assert_int_eq(brd_client_get(client, key, result), BRD_OK);
    ck_assert_str_eq(brd_client_error(client), "");
    ck_assert_uint_eq(reply()->value.size, 3);
    ck_assert_mem_eq(reply()->value.data, "key", 3);
}

static void
expect_error(const char *word)
{
    ck_assert_msg(strstr(brd_client_error(client), word) != NULL, "no '%s' in: %s", word,
                  brd_client_error(client));
}

/* ---- Answers ------------------------------------------------------------ */

START_TEST(every_call_gets_its_own_reply)
{
    struct brd_bytes keys[] = { { "a", 1 }, { "bc", 2 }, { "", 0 } };
    struct brd_pair pairs[] = { { keys[0], keys[1] } };
    struct brd_expire_options expire = { .size = sizeof(expire), .ttl_ms = 5 };
    struct brd_incr_options incr = { .size = sizeof(incr), .initial = -100 };

    connect_to(fake_serve, NULL);
    expect_get_works();
    ck_assert_uint_eq(reply()->version, 5);
    ck_assert_int_eq(brd_client_ping(client, brd_bytes_of("echo"), result), BRD_OK);
    ck_assert_mem_eq(reply()->value.data, "echo", 4);
    ck_assert_int_eq(brd_client_put(client, key, key, NULL, result), BRD_OK);
    ck_assert_uint_eq(reply()->version, 1);
    ck_assert(!reply()->has_value);
    ck_assert_int_eq(brd_client_delete(client, keys, 3, NULL, result), BRD_OK);
    ck_assert_int_eq(reply()->number, 3);
    ck_assert_int_eq(brd_client_get_many(client, keys, 3, result), BRD_OK);
    ck_assert_uint_eq(reply()->item_count, 3);
    ck_assert_mem_eq(brd_reply_item(reply(), 1)->value.data, "bc", 2);
    ck_assert_int_eq(brd_client_put_many(client, pairs, 1, NULL, result), BRD_OK);
    ck_assert_uint_eq(reply()->version, 2);
    ck_assert_int_eq(brd_client_incr(client, key, 7, &incr, result), BRD_OK);
    ck_assert_int_eq(reply()->number, -93);
    ck_assert_int_eq(brd_client_exists(client, keys, 2, result), BRD_OK);
    ck_assert_int_eq(reply()->number, 2);
    ck_assert_int_eq(brd_client_ttl(client, key, result), BRD_OK);
    ck_assert(reply()->has_ttl);
    ck_assert_uint_eq(reply()->ttl_ms, 1234);
    ck_assert_int_eq(brd_client_expire(client, key, &expire, result), BRD_OK);
    ck_assert_int_eq(brd_client_persist(client, key, NULL, result), BRD_OK);
    ck_assert_int_eq(reply()->number, 1);
    ck_assert_int_eq(brd_client_append(client, key, key, NULL, result), BRD_OK);
    ck_assert_int_eq(reply()->number, 3);
    ck_assert_int_eq(brd_client_count(client, true, result), BRD_OK);
    ck_assert_int_eq(brd_client_clear(client, NULL, result), BRD_OK);
    ck_assert_int_eq(brd_client_purge(client, result), BRD_OK);
    ck_assert_int_eq(brd_client_sync(client, result), BRD_OK);
    ck_assert_ptr_null(reply()->checkpoint);
    ck_assert_int_eq(brd_client_checkpoint(client, BRD_CHECKPOINT_RESTART, result), BRD_OK);
    ck_assert_ptr_nonnull(reply()->checkpoint);
    ck_assert_uint_eq(reply()->checkpoint->total, 1000);
    ck_assert_uint_eq(reply()->checkpoint->done, BRD_CHECKPOINT_RESTART);
    ck_assert_int_eq(brd_client_reset_stats(client, NULL), BRD_OK);
    ck_assert_int_eq(brd_client_stats(client, brd_bytes_of(""), result), BRD_OK);
    ck_assert_uint_eq(reply()->stat_count, 2);
    ck_assert_int_eq(brd_reply_stat(reply(), 0)->number, 42);
    ck_assert(brd_reply_stat(reply(), 1)->is_text);
    ck_assert_uint_eq(brd_client_connects(client), 1);
    stop();
}
END_TEST

START_TEST(a_missing_key_is_an_outcome_with_a_sentence)
{
    connect_to(fake_serve, NULL);
    ck_assert_int_eq(brd_client_get(client, brd_bytes_of("missing"), result), BRD_NOT_FOUND);
    ck_assert_int_eq(reply()->status, BRD_NOT_FOUND);
    ck_assert(!reply()->has_value);
    expect_error("no live key");
    expect_get_works();
    stop();
}
END_TEST

START_TEST(the_server_tells_of_itself)
{
    const struct brd_server_info *info;

    connect_to(fake_serve, NULL);
    info = brd_client_server_info(client);
    ck_assert_uint_eq(info->protocol_version, 1);
    ck_assert_uint_eq(info->epoch, 7);
    ck_assert_uint_eq(info->server_version.size, 6);
    ck_assert_mem_eq(info->server_version.data, "fake/1", 6);
    ck_assert_str_eq(brd_client_address(client), server.address);
    stop();
}
END_TEST

START_TEST(a_result_is_reused_for_replies_of_all_sizes)
{
    uint8_t *large = malloc(3000000);
    struct brd_bytes large_key = brd_bytes(large, 3000000);

    memset(large, 'l', 3000000);
    connect_to(fake_serve, NULL);
    expect_get_works();
    ck_assert_int_eq(brd_client_get(client, large_key, result), BRD_OK);
    ck_assert_uint_eq(reply()->value.size, 3000000);
    ck_assert_mem_eq(reply()->value.data, large, 3000000);
    brd_result_clear(result);
    ck_assert_int_eq(reply()->status, BRD_OK);
    ck_assert(!reply()->has_value);
    expect_get_works();
    /* A result's own bytes may be the next request's. */
    ck_assert_int_eq(brd_client_get(client, reply()->value, result), BRD_OK);
    ck_assert_mem_eq(reply()->value.data, "key", 3);
    free(large);
    stop();
}
END_TEST

static void
serve_byte_by_byte(struct fake_peer *peer)
{
    Brindle__V1__Request *request;

    if (!fake_hello(peer))
        return;
    while ((request = fake_read(peer)) != NULL) {
        Brindle__V1__Reply answer = BRINDLE__V1__REPLY__INIT;
        uint8_t *frame;
        size_t size;
        size_t i;

        answer.id = request->id;
        answer.has_value_case = BRINDLE__V1__REPLY__HAS_VALUE_VALUE;
        answer.value = request->get->key;
        frame = fake_pack(&answer, &size);
        for (i = 0; i < size; i++)
            fake_send_bytes(peer, frame + i, 1);
        free(frame);
        fake_free(request);
    }
}

START_TEST(a_reply_may_arrive_in_single_bytes)
{
    connect_to(serve_byte_by_byte, NULL);
    expect_get_works();
    expect_get_works();
    stop();
}
END_TEST

static void
serve_namespace(struct fake_peer *peer)
{
    Brindle__V1__Request *request;

    if (!fake_hello(peer))
        return;
    while ((request = fake_read(peer)) != NULL) {
        ProtobufCBinaryData name = { .data = (uint8_t *)request->namespace_,
                                     .len = strlen(request->namespace_) };

        fake_answer_value(peer, request->id, name);
        fake_free(request);
    }
}

START_TEST(requests_carry_the_namespace)
{
    struct brd_client_options opts = { .size = sizeof(opts), .namespace_name = "users" };

    connect_to(serve_namespace, &opts);
    ck_assert_int_eq(brd_client_get(client, key, result), BRD_OK);
    ck_assert_mem_eq(reply()->value.data, "users", 5);
    ck_assert_int_eq(brd_client_set_namespace(client, brd_bytes_of("")), BRD_OK);
    ck_assert_int_eq(brd_client_get(client, key, result), BRD_OK);
    ck_assert_uint_eq(reply()->value.size, 0);
    stop();
}
END_TEST

/* ---- Opening ------------------------------------------------------------ */

/* connect_timeout_ms 0: as long as it takes. */
static enum brd_status
try_open(const char *address, uint32_t connect_timeout_ms, char *error, size_t error_size)
{
    struct brd_client_options opts = { .size = sizeof(opts),
                                       .address = address,
                                       .connect_timeout_ms = connect_timeout_ms != 0
                                                                 ? connect_timeout_ms
                                                                 : FAKE_PATIENCE_MS,
                                       .timeout_ms = FAKE_PATIENCE_MS,
                                       .error = error,
                                       .error_size = error_size };

    return brd_client_open(&opts, &client);
}

START_TEST(opening_fails_at_once_where_nobody_listens)
{
    char error[200] = "";

    fake_start(&server, fake_serve, NULL);
    fake_stop(&server);
    ck_assert_int_eq(try_open(server.address, 0, error, sizeof(error)), BRD_CONNECTION_FAILED);
    ck_assert_ptr_nonnull(strstr(error, "refused"));
    ck_assert_ptr_nonnull(strstr(error, server.address));
    ck_assert_int_eq(try_open("unix:/nonexistent/x", 0, error, sizeof(error)),
                     BRD_CONNECTION_FAILED);
    ck_assert_ptr_null(client);
    ck_assert_int_eq(try_open(server.address, 0, error, 4), BRD_CONNECTION_FAILED);
    ck_assert_uint_eq(strlen(error), 3);
}
END_TEST

START_TEST(opening_refuses_what_is_no_address_or_name)
{
    char error[200] = "";
    struct brd_client_options opts = { .size = sizeof(opts), .address = "127.0.0.1:1" };
    char long_name[300];

    memset(long_name, 'n', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    ck_assert_int_eq(try_open("nonsense", 0, error, sizeof(error)), BRD_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(error, "HOST:PORT"));
    opts.client_name = "tab\t";
    ck_assert_int_eq(brd_client_open(&opts, &client), BRD_INVALID_ARGUMENT);
    opts.client_name = long_name;
    ck_assert_int_eq(brd_client_open(&opts, &client), BRD_INVALID_ARGUMENT);
    opts.client_name = NULL;
    opts.namespace_name = long_name;
    ck_assert_int_eq(brd_client_open(&opts, &client), BRD_INVALID_ARGUMENT);
    opts.size = 3;
    ck_assert_int_eq(brd_client_open(&opts, &client), BRD_INVALID_ARGUMENT);
}
END_TEST

static void
say_nothing(struct fake_peer *peer)
{
    fake_free(fake_read(peer));
    fake_free(fake_read(peer)); /* until the client gives up */
}

START_TEST(opening_ends_with_the_connect_timeout)
{
    char error[200] = "";

    fake_start(&server, say_nothing, NULL);
    ck_assert_int_eq(try_open(server.address, SHORT_MS, error, sizeof(error)), BRD_TIMEOUT);
    ck_assert_ptr_nonnull(strstr(error, "in time"));
    fake_stop(&server);
}
END_TEST

static void
speak_http(struct fake_peer *peer)
{
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\n\r\n";

    fake_free(fake_read(peer));
    fake_send_bytes(peer, answer, sizeof(answer) - 1);
}

START_TEST(another_protocol_is_recognised_with_advice)
{
    char error[200] = "";

    fake_start(&server, speak_http, NULL);
    ck_assert_int_eq(try_open(server.address, 0, error, sizeof(error)), BRD_PROTOCOL_ERROR);
    ck_assert_ptr_nonnull(strstr(error, "HTTP"));
    fake_stop(&server);
}
END_TEST

static void
speak_version_2(struct fake_peer *peer)
{
    Brindle__V1__Request *request = fake_read(peer);
    Brindle__V1__HelloReply hello = BRINDLE__V1__HELLO_REPLY__INIT;
    Brindle__V1__Reply answer = BRINDLE__V1__REPLY__INIT;

    hello.protocol_version = 2;
    answer.id = request->id;
    answer.hello = &hello;
    fake_send(peer, &answer);
    fake_free(request);
}

START_TEST(another_version_of_the_protocol_is_unsupported)
{
    char error[200] = "";

    fake_start(&server, speak_version_2, NULL);
    ck_assert_int_eq(try_open(server.address, 0, error, sizeof(error)), BRD_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(error, "version"));
    fake_stop(&server);
}
END_TEST

static void
refuse_connection(struct fake_peer *peer)
{
    char message[] = "at most 1 connection\x1b[2J";

    fake_send_status(peer, 0, BRINDLE__V1__STATUS__TOO_MANY_CONNECTIONS, message);
    shutdown(peer->fd, SHUT_WR);
    fake_free(fake_read(peer));
    fake_free(fake_read(peer));
}

START_TEST(a_refusal_by_the_server_is_passed_on_without_control_characters)
{
    char error[200] = "";

    fake_start(&server, refuse_connection, NULL);
    ck_assert_int_eq(try_open(server.address, 0, error, sizeof(error)), BRD_TOO_MANY_CONNECTIONS);
    ck_assert_ptr_nonnull(strstr(error, "at most 1 connection?"));
    fake_stop(&server);
}
END_TEST

START_TEST(a_unix_socket_serves_as_well)
{
    struct sockaddr_un path = { .sun_family = AF_UNIX };
    const char *directory = getenv("TMPDIR");
    char address[200];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(path.sun_path, sizeof(path.sun_path), "%.60s/brd-%d",
             directory == NULL ? "/tmp" : directory, (int)getpid());
    snprintf(address, sizeof(address), "unix:%s", path.sun_path);
    fake_start(&server, fake_serve, NULL);
    /* Put another listener in the place of the one that fake_start made. */
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&path, sizeof(path)), 0);
    ck_assert_int_eq(listen(fd, 4), 0);
    fake_stop(&server);
    memset(&server, 0, sizeof(server));
    server.listener = fd;
    server.script = fake_serve;
    pthread_mutex_init(&server.lock, NULL);
    pthread_cond_init(&server.changed, NULL);
    ck_assert_int_eq(pthread_create(&server.acceptor, NULL, fake_accept, &server), 0);

    ck_assert_int_eq(try_open(address, 0, NULL, 0), BRD_OK);
    expect_get_works();
    stop();
    unlink(path.sun_path);
}
END_TEST

/* ---- Lost connections --------------------------------------------------- */

START_TEST(a_read_whose_answer_is_lost_is_repeated)
{
    connect_to(fake_lose_first_request, NULL);
    expect_get_works();
    ck_assert_uint_eq(brd_client_connects(client), 2);
    stop();
}
END_TEST

START_TEST(a_write_whose_answer_is_lost_is_unknown_and_not_repeated)
{
    connect_to(fake_lose_first_request, NULL);
    ck_assert_int_eq(brd_client_put(client, key, key, NULL, result), BRD_UNKNOWN_RESULT);
    ck_assert_int_eq(reply()->status, BRD_UNKNOWN_RESULT);
    expect_error("may or may not");
    ck_assert_uint_eq(brd_client_connects(client), 1);
    ck_assert_int_eq(atomic_load(&server.requests), 2); /* Hello and Put */
    expect_get_works();
    stop();
}
END_TEST

/* Every connection takes one request and closes. */
static void
lose_every_request(struct fake_peer *peer)
{
    if (fake_hello(peer))
        fake_free(fake_read(peer));
}

START_TEST(a_read_is_repeated_once_only)
{
    connect_to(lose_every_request, NULL);
    ck_assert_int_eq(brd_client_get(client, key, result), BRD_CONNECTION_FAILED);
    expect_error("closed");
    ck_assert_uint_eq(brd_client_connects(client), 2);
    stop();
}
END_TEST

/* Half a reply, then a reset. */
static void
reset_in_mid_reply(struct fake_peer *peer)
{
    Brindle__V1__Request *request;

    if (peer->number > 0) {
        fake_serve(peer);
        return;
    }
    if (!fake_hello(peer))
        return;
    request = fake_read(peer);
    fake_send_bytes(peer, "\x40\x08\x02\x22", 4);
    fake_free(request);
    fake_make_abrupt(peer);
}

START_TEST(a_reset_in_mid_reply_loses_a_write_and_repeats_a_read)
{
    connect_to(reset_in_mid_reply, NULL);
    ck_assert_int_eq(brd_client_incr(client, key, 1, NULL, result), BRD_UNKNOWN_RESULT);
    expect_get_works();
    stop();
    memset(&server, 0, sizeof(server));
    connect_to(reset_in_mid_reply, NULL);
    expect_get_works();
    ck_assert_uint_eq(brd_client_connects(client), 2);
    stop();
}
END_TEST

START_TEST(a_write_finds_a_closed_idle_connection_before_it_is_sent)
{
    connect_to(fake_close_first_idle, NULL);
    fake_wait_closed(&server, 1);
    ck_assert_int_eq(brd_client_put(client, key, key, NULL, result), BRD_OK);
    ck_assert_uint_eq(brd_client_connects(client), 2);
    stop();
}
END_TEST

START_TEST(without_a_server_a_write_fails_for_certain)
{
    connect_to(fake_serve, NULL);
    fake_stop(&server);
    ck_assert_int_eq(brd_client_put(client, key, key, NULL, result), BRD_CONNECTION_FAILED);
    ck_assert_int_eq(brd_client_reconnect(client), BRD_CONNECTION_FAILED);
    expect_error("refused");
}
END_TEST

START_TEST(with_no_reconnect_a_lost_connection_stays_lost_until_asked)
{
    struct brd_client_options opts = { .size = sizeof(opts), .no_reconnect = true };

    connect_to(fake_lose_first_request, &opts);
    ck_assert_int_eq(brd_client_get(client, key, result), BRD_CONNECTION_FAILED);
    ck_assert_int_eq(brd_client_get(client, key, result), BRD_CONNECTION_FAILED);
    expect_error("no_reconnect");
    ck_assert_int_eq(brd_client_reconnect(client), BRD_OK);
    expect_get_works();
    stop();
}
END_TEST

START_TEST(a_read_without_answer_times_out_and_the_next_call_connects_again)
{
    struct brd_client_options opts = { .size = sizeof(opts), .timeout_ms = SHORT_MS };

    connect_to(fake_let_first_fall_silent, &opts);
    ck_assert_int_eq(brd_client_get(client, key, result), BRD_TIMEOUT);
    expect_error("in time");
    brd_client_set_timeout(client, FAKE_PATIENCE_MS);
    expect_get_works();
    ck_assert_uint_eq(brd_client_connects(client), 2);
    stop();
}
END_TEST

START_TEST(a_write_without_answer_is_unknown_after_its_time)
{
    struct brd_client_options opts = { .size = sizeof(opts), .timeout_ms = SHORT_MS };

    connect_to(fake_let_first_fall_silent, &opts);
    ck_assert_int_eq(brd_client_append(client, key, key, NULL, result), BRD_UNKNOWN_RESULT);
    expect_error("in time");
    expect_error("may or may not");
    stop();
}
END_TEST

/* ---- Servers that misbehave --------------------------------------------- */

static void
answer_garbage(struct fake_peer *peer)
{
    if (peer->number > 1) {
        fake_serve(peer);
    } else if (fake_hello(peer)) {
        fake_free(fake_read(peer));
        fake_send_bytes(peer, "\xff\xff\xff\xff\xff", 5);
        fake_free(fake_read(peer));
    }
}

START_TEST(garbage_is_a_protocol_error_to_a_read_and_unknown_to_a_write)
{
    connect_to(answer_garbage, NULL);
    ck_assert_int_eq(brd_client_get(client, key, result), BRD_PROTOCOL_ERROR);
    expect_error("five bytes");
    ck_assert_int_eq(brd_client_put(client, key, key, NULL, result), BRD_UNKNOWN_RESULT);
    expect_get_works();
    stop();
}
END_TEST

static void
answer_another_request(struct fake_peer *peer)
{
    Brindle__V1__Request *request;

    if (!fake_hello(peer) || (request = fake_read(peer)) == NULL)
        return;
    fake_send_status(peer, request->id + 1, BRINDLE__V1__STATUS__OK, NULL);
    fake_free(request);
    fake_free(fake_read(peer));
}

START_TEST(a_reply_with_a_foreign_id_is_not_taken_for_the_answer)
{
    connect_to(answer_another_request, NULL);
    ck_assert_int_eq(brd_client_get(client, key, result), BRD_PROTOCOL_ERROR);
    stop();
}
END_TEST

static void
answer_twice(struct fake_peer *peer)
{
    Brindle__V1__Request *request;
    Brindle__V1__Reply answer = BRINDLE__V1__REPLY__INIT;
    uint8_t *frame;
    uint8_t twice[200];
    size_t size;

    if (peer->number > 0) {
        fake_serve(peer);
        return;
    }
    if (!fake_hello(peer) || (request = fake_read(peer)) == NULL)
        return;
    answer.id = request->id;
    answer.has_value_case = BRINDLE__V1__REPLY__HAS_VALUE_VALUE;
    answer.value = request->get->key;
    frame = fake_pack(&answer, &size);
    memcpy(twice, frame, size);
    memcpy(twice + size, frame, size);
    fake_send_bytes(peer, twice, 2 * size);
    free(frame);
    fake_free(request);
    fake_free(fake_read(peer));
}

START_TEST(more_bytes_than_answers_cost_the_connection_not_the_next_call)
{
    connect_to(answer_twice, NULL);
    expect_get_works();
    expect_get_works();
    ck_assert_uint_eq(brd_client_connects(client), 2);
    stop();
}
END_TEST

static void
answer_one_item(struct fake_peer *peer)
{
    Brindle__V1__Request *request;

    if (!fake_hello(peer))
        return;
    while ((request = fake_read(peer)) != NULL) {
        fake_answer_items(peer, request->id, 1, request->get_many->keys);
        fake_free(request);
    }
}

START_TEST(get_many_with_fewer_items_than_keys_is_a_protocol_error)
{
    struct brd_bytes keys[] = { key, key };

    connect_to(answer_one_item, NULL);
    ck_assert_int_eq(brd_client_get_many(client, keys, 1, result), BRD_OK);
    ck_assert_int_eq(brd_client_get_many(client, keys, 2, result), BRD_PROTOCOL_ERROR);
    ck_assert_uint_eq(reply()->item_count, 0);
    expect_error("number of keys");
    stop();
}
END_TEST

static void
refuse_frame(struct fake_peer *peer)
{
    char message[] = "a frame is at most 1000 bytes long";

    if (peer->number > 0) {
        fake_serve(peer);
        return;
    }
    if (!fake_hello(peer))
        return;
    fake_free(fake_read(peer));
    fake_send_status(peer, 0, BRINDLE__V1__STATUS__TOO_LARGE, message);
}

START_TEST(a_last_word_about_an_unreadable_frame_answers_the_request)
{
    connect_to(refuse_frame, NULL);
    ck_assert_int_eq(brd_client_put(client, key, key, NULL, result), BRD_TOO_LARGE);
    expect_error("at most 1000 bytes");
    ck_assert_int_eq(reply()->status, BRD_TOO_LARGE);
    expect_get_works();
    ck_assert_uint_eq(brd_client_connects(client), 2);
    stop();
}
END_TEST

static void
shut_down(struct fake_peer *peer)
{
    char message[] = "restarting";

    if (peer->number > 1) {
        fake_serve(peer);
    } else if (fake_hello(peer)) {
        fake_free(fake_read(peer));
        fake_send_status(peer, 0, BRINDLE__V1__STATUS__SHUTTING_DOWN, message);
    }
}

START_TEST(another_last_word_explains_but_does_not_answer)
{
    connect_to(shut_down, NULL);
    ck_assert_int_eq(brd_client_put(client, key, key, NULL, result), BRD_UNKNOWN_RESULT);
    expect_error("restarting");
    ck_assert_int_eq(brd_client_get(client, key, result), BRD_SHUTTING_DOWN);
    expect_error("restarting");
    expect_get_works();
    stop();
}
END_TEST

START_TEST(a_request_above_the_servers_limit_is_not_sent)
{
    char value[2000] = "";

    server.max_frame_bytes = 1000;
    connect_to(fake_serve, NULL);
    ck_assert_int_eq(brd_client_put(client, key, brd_bytes(value, 2000), NULL, result),
                     BRD_TOO_LARGE);
    expect_get_works();
    ck_assert_uint_eq(brd_client_connects(client), 1);
    ck_assert_int_eq(atomic_load(&server.requests), 2);
    stop();
}
END_TEST

/* ---- Signals and fork --------------------------------------------------- */

static pthread_t main_thread;

static void
on_signal(int number)
{
    (void)number;
}

static void
interrupt_then_answer(struct fake_peer *peer)
{
    Brindle__V1__Request *request;

    if (!fake_hello(peer))
        return;
    while ((request = fake_read(peer)) != NULL) {
        int i;

        for (i = 0; i < 20; i++)
            pthread_kill(main_thread, SIGUSR1);
        fake_answer(peer, request);
        fake_free(request);
    }
}

START_TEST(signals_do_not_end_a_call)
{
    struct sigaction action = { .sa_handler = on_signal };
    int i;

    sigaction(SIGUSR1, &action, NULL);
    main_thread = pthread_self();
    connect_to(interrupt_then_answer, NULL);
    for (i = 0; i < 50; i++)
        expect_get_works();
    stop();
}
END_TEST

static bool
get_works(void)
{
    return brd_client_get(client, key, result) == BRD_OK && reply()->value.size == 3;
}

START_TEST(a_child_connects_anew_and_leaves_the_parents_connection_alone)
{
    int status = 0;
    pid_t child;

    connect_to(fake_serve, NULL);
    expect_get_works();
    child = fork();
    if (child == 0)
        _exit(get_works() && brd_client_connects(client) == 2 ? 0 : 1);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(fake_accepted(&server), 2);
    expect_get_works();
    ck_assert_uint_eq(brd_client_connects(client), 1);

    child = fork();
    if (child == 0) {
        brd_client_close(&client); /* without using it */
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    expect_get_works();
    ck_assert_uint_eq(brd_client_connects(client), 1);
    stop();
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("client");
    TCase *answers = tcase_create("answers");
    TCase *opening = tcase_create("opening");
    TCase *lost = tcase_create("lost connections");
    TCase *odd = tcase_create("odd servers");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(answers, setup, teardown);
    tcase_set_timeout(answers, 60);
    tcase_add_test(answers, every_call_gets_its_own_reply);
    tcase_add_test(answers, a_missing_key_is_an_outcome_with_a_sentence);
    tcase_add_test(answers, the_server_tells_of_itself);
    tcase_add_test(answers, a_result_is_reused_for_replies_of_all_sizes);
    tcase_add_test(answers, a_reply_may_arrive_in_single_bytes);
    tcase_add_test(answers, requests_carry_the_namespace);
    suite_add_tcase(suite, answers);

    tcase_add_checked_fixture(opening, setup, teardown);
    tcase_set_timeout(opening, 60);
    tcase_add_test(opening, opening_fails_at_once_where_nobody_listens);
    tcase_add_test(opening, opening_refuses_what_is_no_address_or_name);
    tcase_add_test(opening, opening_ends_with_the_connect_timeout);
    tcase_add_test(opening, another_protocol_is_recognised_with_advice);
    tcase_add_test(opening, another_version_of_the_protocol_is_unsupported);
    tcase_add_test(opening, a_refusal_by_the_server_is_passed_on_without_control_characters);
    tcase_add_test(opening, a_unix_socket_serves_as_well);
    suite_add_tcase(suite, opening);

    tcase_add_checked_fixture(lost, setup, teardown);
    tcase_set_timeout(lost, 60);
    tcase_add_test(lost, a_read_whose_answer_is_lost_is_repeated);
    tcase_add_test(lost, a_write_whose_answer_is_lost_is_unknown_and_not_repeated);
    tcase_add_test(lost, a_read_is_repeated_once_only);
    tcase_add_test(lost, a_reset_in_mid_reply_loses_a_write_and_repeats_a_read);
    tcase_add_test(lost, a_write_finds_a_closed_idle_connection_before_it_is_sent);
    tcase_add_test(lost, without_a_server_a_write_fails_for_certain);
    tcase_add_test(lost, with_no_reconnect_a_lost_connection_stays_lost_until_asked);
    tcase_add_test(lost, a_read_without_answer_times_out_and_the_next_call_connects_again);
    tcase_add_test(lost, a_write_without_answer_is_unknown_after_its_time);
    suite_add_tcase(suite, lost);

    tcase_add_checked_fixture(odd, setup, teardown);
    tcase_set_timeout(odd, 60);
    tcase_add_test(odd, garbage_is_a_protocol_error_to_a_read_and_unknown_to_a_write);
    tcase_add_test(odd, a_reply_with_a_foreign_id_is_not_taken_for_the_answer);
    tcase_add_test(odd, more_bytes_than_answers_cost_the_connection_not_the_next_call);
    tcase_add_test(odd, get_many_with_fewer_items_than_keys_is_a_protocol_error);
    tcase_add_test(odd, a_last_word_about_an_unreadable_frame_answers_the_request);
    tcase_add_test(odd, another_last_word_explains_but_does_not_answer);
    tcase_add_test(odd, a_request_above_the_servers_limit_is_not_sent);
    tcase_add_test(odd, signals_do_not_end_a_call);
    tcase_add_test(odd, a_child_connects_anew_and_leaves_the_parents_connection_alone);
    suite_add_tcase(suite, odd);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
