/* Every request against protobuf-c: the hand-written encoder must write the same
 * bytes, whatever the members hold. */
#include <brindle.h>

#include <check.h>

#include "brindle.pb-c.h"
#include "proto/frame.h"
#include "random.h"

#define ROUNDS   200
#define KEYS_MAX 20

static struct brd_conn *conn;
static uint8_t noise[400 * 1024];

static void
setup(void)
{
    size_t i;

    random_start();
    for (i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)random_next();
    ck_assert_int_eq(brd_conn_create(NULL, &conn), BRD_OK);
}

static void
teardown(void)
{
    brd_conn_destroy(&conn);
}

/* Lengths around those where a varint gets longer, and some large ones. */
static struct brd_bytes
random_bytes(void)
{
    static const size_t sizes[] = { 0, 1, 3, 16, 126, 127, 128, 129, 300, 16383, 16384, 300000 };
    size_t size = sizes[random_below(random_below(10) == 0 ? 12 : 9)];

    return brd_bytes(noise + random_below(1000), size);
}

static ProtobufCBinaryData
binary(struct brd_bytes bytes)
{
    return (ProtobufCBinaryData){ .data = (uint8_t *)(uintptr_t)bytes.data, .len = bytes.size };
}

/* The output holds exactly this request, framed; consume it. */
static void
expect_bytes(const Brindle__V1__Request *request)
{
    size_t size = brindle__v1__request__get_packed_size(request);
    uint8_t *expected = malloc(size + BRD_FRAME_PREFIX_MAX);
    size_t head = brd_frame_prefix_write(expected, size);
    struct brd_bytes output;

    brindle__v1__request__pack(request, expected + head);
    brd_conn_output(conn, &output);
    ck_assert_uint_eq(output.size, head + size);
    ck_assert_mem_eq(output.data, expected, head + size);
    brd_conn_output_consume(conn, output.size);
    free(expected);
}

struct keys {
    struct brd_bytes own[KEYS_MAX];
    ProtobufCBinaryData theirs[KEYS_MAX];
    size_t count;
};

static void
fill_keys(struct keys *keys)
{
    size_t i;

    keys->count = random_below(KEYS_MAX);
    for (i = 0; i < keys->count; i++) {
        keys->own[i] = random_bytes();
        keys->theirs[i] = binary(keys->own[i]);
    }
}

#define REQUEST_WITH(which, member, message)                   \
    Brindle__V1__Request request = BRINDLE__V1__REQUEST__INIT; \
    char name[BRD_NAMESPACE_BYTES_MAX + 1];                    \
    request.op_case = BRINDLE__V1__REQUEST__OP_##which;        \
    request.member = (message);                                \
    choose_namespace(&request, name)

static void
choose_namespace(Brindle__V1__Request *request, char *name)
{
    size_t size = random_below(2) == 0 ? 0 : random_below(BRD_NAMESPACE_BYTES_MAX + 1);

    memset(name, 'n', size);
    name[size] = '\0';
    request->namespace_ = name;
    ck_assert_int_eq(brd_conn_set_namespace(conn, brd_bytes(name, size)), BRD_OK);
}

static void
check_get(void)
{
    struct brd_bytes key = random_bytes();
    Brindle__V1__Get get = BRINDLE__V1__GET__INIT;
    REQUEST_WITH(GET, get, &get);

    get.key = binary(key);
    ck_assert_int_eq(brd_conn_get(conn, key, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_put_without_options(void)
{
    struct brd_bytes key = random_bytes();
    struct brd_bytes value = random_bytes();
    Brindle__V1__Put put = BRINDLE__V1__PUT__INIT;
    REQUEST_WITH(PUT, put, &put);

    put.key = binary(key);
    put.value = binary(value);
    ck_assert_int_eq(brd_conn_put(conn, key, value, NULL, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_put_with_options(void)
{
    struct brd_bytes key = random_bytes();
    struct brd_bytes value = random_bytes();
    struct brd_put_options opts = { .size = sizeof(opts),
                                    .ttl_ms = random_number(),
                                    .deadline_ms = random_number(),
                                    .if_version = random_number(),
                                    .condition = (enum brd_condition)random_below(4),
                                    .durability = (enum brd_durability)random_below(5),
                                    .keep_ttl = random_below(2) != 0,
                                    .return_previous = random_below(2) != 0 };
    Brindle__V1__Put put = BRINDLE__V1__PUT__INIT;
    REQUEST_WITH(PUT, put, &put);

    put.key = binary(key);
    put.value = binary(value);
    put.ttl_ms = opts.ttl_ms;
    put.deadline_ms = opts.deadline_ms;
    put.if_version = opts.if_version;
    put.condition = (Brindle__V1__Condition)opts.condition;
    put.durability = (Brindle__V1__Durability)opts.durability;
    put.keep_ttl = opts.keep_ttl;
    put.return_previous = opts.return_previous;
    ck_assert_int_eq(brd_conn_put(conn, key, value, &opts, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_delete(void)
{
    struct keys keys;
    struct brd_write_options opts = { .size = sizeof(opts),
                                      .durability = (enum brd_durability)random_below(5) };
    Brindle__V1__Delete op = BRINDLE__V1__DELETE__INIT;
    REQUEST_WITH(DELETE, delete_, &op);

    fill_keys(&keys);
    op.n_keys = keys.count;
    op.keys = keys.theirs;
    op.durability = (Brindle__V1__Durability)opts.durability;
    ck_assert_int_eq(brd_conn_delete(conn, keys.own, keys.count, &opts, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_get_many(void)
{
    struct keys keys;
    Brindle__V1__GetMany op = BRINDLE__V1__GET_MANY__INIT;
    REQUEST_WITH(GET_MANY, get_many, &op);

    fill_keys(&keys);
    op.n_keys = keys.count;
    op.keys = keys.theirs;
    ck_assert_int_eq(brd_conn_get_many(conn, keys.own, keys.count, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_put_many(void)
{
    struct brd_pair pairs[KEYS_MAX];
    Brindle__V1__KeyValue items[KEYS_MAX];
    Brindle__V1__KeyValue *pointers[KEYS_MAX];
    struct brd_put_many_options opts = { .size = sizeof(opts),
                                         .ttl_ms = random_number(),
                                         .deadline_ms = random_number(),
                                         .durability = (enum brd_durability)random_below(5) };
    Brindle__V1__PutMany op = BRINDLE__V1__PUT_MANY__INIT;
    REQUEST_WITH(PUT_MANY, put_many, &op);
    size_t i;

    op.n_items = random_below(KEYS_MAX);
    op.items = pointers;
    for (i = 0; i < op.n_items; i++) {
        pairs[i] = (struct brd_pair){ random_bytes(), random_bytes() };
        brindle__v1__key_value__init(&items[i]);
        items[i].key = binary(pairs[i].key);
        items[i].value = binary(pairs[i].value);
        pointers[i] = &items[i];
    }
    op.ttl_ms = opts.ttl_ms;
    op.deadline_ms = opts.deadline_ms;
    op.durability = (Brindle__V1__Durability)opts.durability;
    ck_assert_int_eq(brd_conn_put_many(conn, pairs, op.n_items, &opts, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_incr(void)
{
    struct brd_bytes key = random_bytes();
    int64_t delta = (int64_t)random_number();
    struct brd_incr_options opts = { .size = sizeof(opts),
                                     .initial = (int64_t)random_number(),
                                     .ttl_ms = random_number(),
                                     .deadline_ms = random_number(),
                                     .durability = (enum brd_durability)random_below(5) };
    Brindle__V1__Incr op = BRINDLE__V1__INCR__INIT;
    REQUEST_WITH(INCR, incr, &op);

    op.key = binary(key);
    op.delta = delta;
    op.initial = opts.initial;
    op.ttl_ms = opts.ttl_ms;
    op.deadline_ms = opts.deadline_ms;
    op.durability = (Brindle__V1__Durability)opts.durability;
    ck_assert_int_eq(brd_conn_incr(conn, key, delta, &opts, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_exists(void)
{
    struct keys keys;
    Brindle__V1__Exists op = BRINDLE__V1__EXISTS__INIT;
    REQUEST_WITH(EXISTS, exists, &op);

    fill_keys(&keys);
    op.n_keys = keys.count;
    op.keys = keys.theirs;
    ck_assert_int_eq(brd_conn_exists(conn, keys.own, keys.count, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_ttl(void)
{
    struct brd_bytes key = random_bytes();
    Brindle__V1__Ttl op = BRINDLE__V1__TTL__INIT;
    REQUEST_WITH(TTL, ttl, &op);

    op.key = binary(key);
    ck_assert_int_eq(brd_conn_ttl(conn, key, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_expire(void)
{
    struct brd_bytes key = random_bytes();
    struct brd_expire_options opts = { .size = sizeof(opts),
                                       .ttl_ms = random_number(),
                                       .deadline_ms = random_number(),
                                       .durability = (enum brd_durability)random_below(5) };
    Brindle__V1__Expire op = BRINDLE__V1__EXPIRE__INIT;
    REQUEST_WITH(EXPIRE, expire, &op);

    op.key = binary(key);
    op.ttl_ms = opts.ttl_ms;
    op.deadline_ms = opts.deadline_ms;
    op.durability = (Brindle__V1__Durability)opts.durability;
    ck_assert_int_eq(brd_conn_expire(conn, key, &opts, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_persist(void)
{
    struct brd_bytes key = random_bytes();
    struct brd_write_options opts = { .size = sizeof(opts),
                                      .durability = (enum brd_durability)random_below(5) };
    Brindle__V1__Persist op = BRINDLE__V1__PERSIST__INIT;
    REQUEST_WITH(PERSIST, persist, &op);

    op.key = binary(key);
    op.durability = (Brindle__V1__Durability)opts.durability;
    ck_assert_int_eq(brd_conn_persist(conn, key, &opts, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_append(void)
{
    struct brd_bytes key = random_bytes();
    struct brd_bytes value = random_bytes();
    struct brd_write_options opts = { .size = sizeof(opts),
                                      .durability = (enum brd_durability)random_below(5) };
    Brindle__V1__Append op = BRINDLE__V1__APPEND__INIT;
    REQUEST_WITH(APPEND, append, &op);

    op.key = binary(key);
    op.value = binary(value);
    op.durability = (Brindle__V1__Durability)opts.durability;
    ck_assert_int_eq(brd_conn_append(conn, key, value, &opts, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_count(void)
{
    Brindle__V1__Count op = BRINDLE__V1__COUNT__INIT;
    REQUEST_WITH(COUNT, count, &op);

    op.exact = random_below(2) != 0;
    ck_assert_int_eq(brd_conn_count(conn, op.exact, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_hello(void)
{
    char client_name[] = "a name";
    Brindle__V1__Hello op = BRINDLE__V1__HELLO__INIT;
    REQUEST_WITH(HELLO, hello, &op);

    op.protocol_version = BRD_PROTOCOL_VERSION;
    op.client_name = client_name;
    ck_assert_int_eq(brd_conn_hello(conn, brd_bytes_of(client_name), &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_ping(void)
{
    struct brd_bytes payload = random_bytes();
    Brindle__V1__Ping op = BRINDLE__V1__PING__INIT;
    REQUEST_WITH(PING, ping, &op);

    op.payload = binary(payload);
    ck_assert_int_eq(brd_conn_ping(conn, payload, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_clear(void)
{
    struct brd_write_options opts = { .size = sizeof(opts),
                                      .durability = (enum brd_durability)random_below(5) };
    Brindle__V1__Clear op = BRINDLE__V1__CLEAR__INIT;
    REQUEST_WITH(CLEAR, clear, &op);

    op.durability = (Brindle__V1__Durability)opts.durability;
    ck_assert_int_eq(brd_conn_clear(conn, &opts, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_purge(void)
{
    Brindle__V1__Purge op = BRINDLE__V1__PURGE__INIT;
    REQUEST_WITH(PURGE, purge, &op);

    ck_assert_int_eq(brd_conn_purge(conn, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_sync(void)
{
    Brindle__V1__Sync op = BRINDLE__V1__SYNC__INIT;
    REQUEST_WITH(SYNC, sync, &op);

    ck_assert_int_eq(brd_conn_sync(conn, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_stats(void)
{
    char prefix[] = "wal_";
    Brindle__V1__Stats op = BRINDLE__V1__STATS__INIT;
    REQUEST_WITH(STATS, stats, &op);

    op.prefix = prefix;
    ck_assert_int_eq(brd_conn_stats(conn, brd_bytes_of(prefix), &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_reset_stats(void)
{
    Brindle__V1__ResetStats op = BRINDLE__V1__RESET_STATS__INIT;
    REQUEST_WITH(RESET_STATS, reset_stats, &op);

    ck_assert_int_eq(brd_conn_reset_stats(conn, &request.id), BRD_OK);
    expect_bytes(&request);
}

static void
check_checkpoint(void)
{
    enum brd_checkpoint_mode mode = (enum brd_checkpoint_mode)random_below(4);
    Brindle__V1__Checkpoint op = BRINDLE__V1__CHECKPOINT__INIT;
    REQUEST_WITH(CHECKPOINT, checkpoint, &op);

    op.mode = (Brindle__V1__CheckpointMode)mode;
    ck_assert_int_eq(brd_conn_checkpoint(conn, mode, &request.id), BRD_OK);
    expect_bytes(&request);
}

static const struct {
    const char *name;
    void (*check)(void);
} checks[] = {
    { "get", check_get },
    { "put without options", check_put_without_options },
    { "put with options", check_put_with_options },
    { "delete", check_delete },
    { "get many", check_get_many },
    { "put many", check_put_many },
    { "incr", check_incr },
    { "exists", check_exists },
    { "ttl", check_ttl },
    { "expire", check_expire },
    { "persist", check_persist },
    { "append", check_append },
    { "count", check_count },
    { "hello", check_hello },
    { "ping", check_ping },
    { "clear", check_clear },
    { "purge", check_purge },
    { "sync", check_sync },
    { "stats", check_stats },
    { "reset stats", check_reset_stats },
    { "checkpoint", check_checkpoint },
};

#define CHECKS (sizeof(checks) / sizeof(checks[0]))

START_TEST(each_request_is_what_protobuf_writes)
{
    int round;

    printf("%s\n", checks[_i].name);
    for (round = 0; round < ROUNDS; round++)
        checks[_i].check();
}
END_TEST

START_TEST(ids_count_up_and_grow_in_length)
{
    Brindle__V1__Purge op = BRINDLE__V1__PURGE__INIT;
    Brindle__V1__Request request = BRINDLE__V1__REQUEST__INIT;
    uint64_t i;

    request.op_case = BRINDLE__V1__REQUEST__OP_PURGE;
    request.purge = &op;
    for (i = 1; i < 20000; i++) {
        ck_assert_int_eq(brd_conn_purge(conn, &request.id), BRD_OK);
        ck_assert_uint_eq(request.id, i);
        expect_bytes(&request);
    }
    ck_assert_uint_eq(brd_conn_pending(conn), i - 1);
}
END_TEST

START_TEST(output_is_consumed_in_any_pieces)
{
    struct brd_bytes output;
    uint8_t *whole;
    size_t size;
    size_t at = 0;
    int i;

    for (i = 0; i < 50; i++)
        ck_assert_int_eq(brd_conn_put(conn, random_bytes(), random_bytes(), NULL, NULL), BRD_OK);
    brd_conn_output(conn, &output);
    size = output.size;
    whole = malloc(size);
    memcpy(whole, output.data, size);
    while (at < size) {
        size_t n;

        brd_conn_output(conn, &output);
        ck_assert_uint_eq(output.size, size - at);
        n = 1 + random_below(output.size);
        ck_assert_mem_eq(output.data, whole + at, n);
        brd_conn_output_consume(conn, n);
        at += n;
    }
    brd_conn_output(conn, &output);
    ck_assert_uint_eq(output.size, 0);
    free(whole);
}
END_TEST

START_TEST(appending_between_partial_sends_keeps_the_order)
{
    struct brd_conn *twin;
    struct brd_bytes output;
    struct brd_bytes expected;
    uint8_t *sent = malloc(4 * 1024 * 1024);
    size_t size = 0;
    int i;

    ck_assert_int_eq(brd_conn_create(NULL, &twin), BRD_OK);
    for (i = 0; i < 2000; i++) {
        struct brd_bytes key = brd_bytes(noise + random_below(1000), random_below(300));
        size_t n;

        ck_assert_int_eq(brd_conn_get(conn, key, NULL), BRD_OK);
        ck_assert_int_eq(brd_conn_get(twin, key, NULL), BRD_OK);
        brd_conn_output(conn, &output);
        n = random_below(output.size + 1);
        memcpy(sent + size, output.data, n);
        size += n;
        brd_conn_output_consume(conn, n);
    }
    brd_conn_output(conn, &output);
    memcpy(sent + size, output.data, output.size);
    size += output.size;
    brd_conn_output(twin, &expected);
    ck_assert_uint_eq(size, expected.size);
    ck_assert_mem_eq(sent, expected.data, size);
    brd_conn_destroy(&twin);
    free(sent);
}
END_TEST

START_TEST(a_frame_above_the_maximum_is_too_large_and_leaves_nothing)
{
    struct brd_bytes huge = brd_bytes(noise, BRD_FRAME_BYTES_MAX);
    struct brd_bytes absurd = brd_bytes(noise, SIZE_MAX);
    struct brd_bytes keys[] = { absurd, absurd, absurd };
    struct brd_pair pairs[] = { { absurd, absurd }, { huge, huge } };
    struct brd_put_options opts = { .size = sizeof(opts), .ttl_ms = 1 };
    struct brd_bytes key = brd_bytes_of("key");
    struct brd_bytes output;
    uint64_t id = 0;

    ck_assert_int_eq(brd_conn_get(conn, huge, &id), BRD_TOO_LARGE);
    ck_assert_int_eq(brd_conn_get(conn, absurd, &id), BRD_TOO_LARGE);
    ck_assert_int_eq(brd_conn_put(conn, key, huge, NULL, &id), BRD_TOO_LARGE);
    ck_assert_int_eq(brd_conn_put(conn, absurd, absurd, NULL, &id), BRD_TOO_LARGE);
    ck_assert_int_eq(brd_conn_put(conn, absurd, key, &opts, &id), BRD_TOO_LARGE);
    ck_assert_int_eq(brd_conn_get_many(conn, keys, 3, &id), BRD_TOO_LARGE);
    ck_assert_int_eq(brd_conn_put_many(conn, pairs, 2, NULL, &id), BRD_TOO_LARGE);
    ck_assert_int_eq(brd_conn_put_many(conn, pairs + 1, 1, NULL, &id), BRD_TOO_LARGE);
    ck_assert_uint_eq(id, 0);
    ck_assert_uint_eq(brd_conn_pending(conn), 0);
    brd_conn_output(conn, &output);
    ck_assert_uint_eq(output.size, 0);
}
END_TEST

START_TEST(a_full_output_refuses_and_takes_more_after_sending)
{
    struct brd_conn_options opts = { .size = sizeof(opts), .output_bytes_max = 1000 };
    struct brd_conn *small;
    struct brd_bytes key = brd_bytes(noise, 100);
    struct brd_bytes output;
    uint64_t accepted = 0;

    ck_assert_int_eq(brd_conn_create(&opts, &small), BRD_OK);
    while (brd_conn_get(small, key, NULL) == BRD_OK)
        accepted++;
    ck_assert_uint_gt(accepted, 5);
    ck_assert_int_eq(brd_conn_get(small, key, NULL), BRD_LIMIT_EXCEEDED);
    ck_assert_uint_eq(brd_conn_pending(small), accepted);
    brd_conn_output(small, &output);
    ck_assert_uint_le(output.size, 1000);
    brd_conn_output_consume(small, output.size);
    ck_assert_int_eq(brd_conn_get(small, key, NULL), BRD_OK);
    brd_conn_destroy(&small);
}
END_TEST

START_TEST(a_name_of_a_namespace_has_a_longest_length)
{
    char name[BRD_NAMESPACE_BYTES_MAX + 1];

    memset(name, 'x', sizeof(name));
    ck_assert_int_eq(brd_conn_set_namespace(conn, brd_bytes(name, BRD_NAMESPACE_BYTES_MAX)),
                     BRD_OK);
    ck_assert_int_eq(brd_conn_set_namespace(conn, brd_bytes(name, sizeof(name))),
                     BRD_INVALID_ARGUMENT);
}
END_TEST

START_TEST(options_of_an_older_caller_mean_the_defaults)
{
    struct brd_put_options opts = { .size = offsetof(struct brd_put_options, deadline_ms),
                                    .ttl_ms = 5,
                                    .deadline_ms = 77, /* not there, says size */
                                    .return_previous = true };
    Brindle__V1__Request request = BRINDLE__V1__REQUEST__INIT;
    Brindle__V1__Put put = BRINDLE__V1__PUT__INIT;
    uint8_t key[] = "k";

    put.key = (ProtobufCBinaryData){ .data = key, .len = 1 };
    put.ttl_ms = 5;
    request.op_case = BRINDLE__V1__REQUEST__OP_PUT;
    request.put = &put;
    ck_assert_int_eq(brd_conn_put(conn, brd_bytes(key, 1), brd_bytes(NULL, 0), &opts, &request.id),
                     BRD_OK);
    expect_bytes(&request);
}
END_TEST

START_TEST(options_of_a_newer_caller_are_accepted_while_the_rest_is_zero)
{
    struct {
        struct brd_put_options known;
        uint64_t unknown;
    } opts = { .known = { .size = sizeof(opts), .ttl_ms = 5 } };
    struct brd_bytes key = brd_bytes_of("k");

    ck_assert_int_eq(brd_conn_put(conn, key, key, &opts.known, NULL), BRD_OK);
    opts.unknown = 1;
    ck_assert_int_eq(brd_conn_put(conn, key, key, &opts.known, NULL), BRD_UNSUPPORTED);
    opts.known.size = sizeof(size_t) - 1;
    ck_assert_int_eq(brd_conn_put(conn, key, key, &opts.known, NULL), BRD_INVALID_ARGUMENT);
    opts.known.size = 0;
    ck_assert_int_eq(brd_conn_put(conn, key, key, &opts.known, NULL), BRD_INVALID_ARGUMENT);
    ck_assert_uint_eq(brd_conn_pending(conn), 1);
}
END_TEST

START_TEST(the_init_macro_sets_the_size_and_nothing_else)
{
    struct brd_put_options opts;

    memset(&opts, 0xff, sizeof(opts));
    BRD_OPTIONS_INIT(&opts);
    ck_assert_uint_eq(opts.size, sizeof(opts));
    ck_assert_uint_eq(opts.ttl_ms, 0);
    ck_assert(!opts.return_previous);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("client requests");
    TCase *same = tcase_create("the same bytes as protobuf-c");
    TCase *rules = tcase_create("rules");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(same, setup, teardown);
    tcase_set_timeout(same, 60);
    tcase_add_loop_test(same, each_request_is_what_protobuf_writes, 0, (int)CHECKS);
    tcase_add_test(same, ids_count_up_and_grow_in_length);
    suite_add_tcase(suite, same);

    tcase_add_checked_fixture(rules, setup, teardown);
    tcase_add_test(rules, output_is_consumed_in_any_pieces);
    tcase_add_test(rules, appending_between_partial_sends_keeps_the_order);
    tcase_add_test(rules, a_frame_above_the_maximum_is_too_large_and_leaves_nothing);
    tcase_add_test(rules, a_full_output_refuses_and_takes_more_after_sending);
    tcase_add_test(rules, a_name_of_a_namespace_has_a_longest_length);
    tcase_add_test(rules, options_of_an_older_caller_mean_the_defaults);
    tcase_add_test(rules, options_of_a_newer_caller_are_accepted_while_the_rest_is_zero);
    tcase_add_test(rules, the_init_macro_sets_the_size_and_nothing_else);
    suite_add_tcase(suite, rules);

    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
