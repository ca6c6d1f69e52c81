/* Conversations with a real engine in memory. */
#include "base/blob.h"
#include "engine/engine.h"
#include "session/session.h"
#include "tests/support/talk.h"

#include <check.h>
#include <stdio.h>

#define START_NS  UINT64_C(1700000000000000000)
#define FRAME_MAX (1 << 20)

struct rig {
    struct brd_clock *clock;
    struct brd_engine *engine;
    struct brd_session_env *env;
    struct brd_session *session;
    struct brd_buf in;  /* what the client sends */
    struct brd_buf out; /* what it has received */
    size_t taken;       /* of in, by the session */
};

static struct rig rig;

static void
rig_start_with(struct brd_session_options options)
{
    struct brd_engine_options engine_options = { .durability = BRD_DURABILITY_NONE,
                                                 .manual = true,
                                                 .stripes = 4 };
    struct brd_engine_error error;

    options.frame_bytes_max = FRAME_MAX;
    rig = (struct rig){ .clock = brd_clock_create_fake(START_NS) };
    engine_options.clock = rig.clock;
    ck_assert_int_eq(brd_engine_create(&engine_options, &rig.engine), BRD_OK);
    ck_assert_int_eq(brd_engine_start(rig.engine, &error), BRD_OK);
    options.engine = rig.engine;
    ck_assert_int_eq(brd_session_env_create(&options, &rig.env), BRD_OK);
    rig.session = brd_session_create(rig.env);
    ck_assert_ptr_nonnull(rig.session);
    brd_buf_init(&rig.in);
    brd_buf_init(&rig.out);
}

static void
rig_start(struct brd_session_limits limits)
{
    rig_start_with((struct brd_session_options){ .limits = limits });
}

static void
rig_end(void)
{
    brd_session_destroy(&rig.session);
    brd_session_env_destroy(&rig.env);
    brd_engine_destroy(&rig.engine);
    brd_clock_destroy(&rig.clock);
    brd_buf_fini(&rig.in);
    brd_buf_fini(&rig.out);
}

static void
setup(void)
{
    rig_start((struct brd_session_limits){ 0 });
}

static void
teardown(void)
{
    rig_end();
}

/* Offer what the client has sent up to position `until`. */
static void
offer(size_t until)
{
    rig.taken +=
        brd_session_input(rig.session, brd_bytes(rig.in.data + rig.taken, until - rig.taken));
}

/* The client takes up to max bytes of what may leave. */
static size_t
receive(size_t max)
{
    struct iovec part;
    size_t all = 0;

    while (max > 0 && brd_session_output(rig.session, &part, 1) > 0) {
        size_t n = part.iov_len < max ? part.iov_len : max;

        brd_buf_append(&rig.out, part.iov_base, n);
        brd_session_sent(rig.session, n);
        max -= n;
        all += n;
    }
    return all;
}

static void
converse(void)
{
    offer(rig.in.size);
    receive(SIZE_MAX);
}

/* The next reply that the client has received; checks id and status. */
static Brindle__V1__Reply *
expect(struct brd_bytes *replies, uint64_t id, enum brd_status status)
{
    Brindle__V1__Reply *reply = talk_take(replies);

    ck_assert_ptr_nonnull(reply);
    ck_assert_uint_eq(reply->id, id);
    ck_assert_int_eq((int)reply->status, (int)status);
    if (status != BRD_OK)
        ck_assert_uint_gt(strlen(reply->message), 10);
    return reply;
}

static void
expect_only(uint64_t id, enum brd_status status)
{
    struct brd_bytes replies = brd_buf_bytes(&rig.out);

    talk_free(expect(&replies, id, status));
    ck_assert_uint_eq(replies.size, 0);
}

/* ---- what a session answers itself ---- */

START_TEST(hello_tells_the_limits)
{
    struct brd_bytes replies;
    Brindle__V1__Reply *reply;

    talk_hello(&rig.in, 7, 1, (char[]){ "a test" });
    converse();
    replies = brd_buf_bytes(&rig.out);
    reply = expect(&replies, 7, BRD_OK);
    ck_assert_ptr_nonnull(reply->hello);
    ck_assert_uint_eq(reply->hello->protocol_version, 1);
    ck_assert_uint_eq(reply->hello->max_frame_bytes, FRAME_MAX);
    ck_assert_uint_eq(reply->hello->max_pending_requests, 1024);
    ck_assert_uint_eq(reply->hello->max_key_bytes, 65536);
    ck_assert_int_eq((int)reply->hello->durability, BRD_DURABILITY_NONE);
    ck_assert_str_eq(reply->hello->server_version, BRINDLE_VERSION);
    talk_free(reply);
}
END_TEST

START_TEST(hello_of_another_version_is_unsupported_and_the_connection_lives)
{
    struct brd_bytes replies;

    talk_hello(&rig.in, 1, 2, (char[]){ "" });
    talk_hello(&rig.in, 2, 1, (char[]){ "" });
    converse();
    replies = brd_buf_bytes(&rig.out);
    talk_free(expect(&replies, 1, BRD_UNSUPPORTED));
    talk_free(expect(&replies, 2, BRD_OK));
}
END_TEST

START_TEST(hello_refuses_a_name_that_is_long_or_not_printable)
{
    char name[130] = { 0 };
    struct brd_bytes replies;

    memset(name, 'x', 129);
    talk_hello(&rig.in, 1, 1, name);
    name[128] = '\0';
    talk_hello(&rig.in, 2, 1, name);
    talk_hello(&rig.in, 3, 1, (char[]){ "a\nb" });
    converse();
    replies = brd_buf_bytes(&rig.out);
    talk_free(expect(&replies, 1, BRD_INVALID_ARGUMENT));
    talk_free(expect(&replies, 2, BRD_OK));
    talk_free(expect(&replies, 3, BRD_INVALID_ARGUMENT));
}
END_TEST

START_TEST(ping_gives_its_payload_back_up_to_4_kib)
{
    static uint8_t payload[4097];
    struct brd_bytes replies;
    Brindle__V1__Reply *reply;

    memset(payload, 'p', sizeof(payload));
    talk_ping(&rig.in, 1, payload, 4096);
    talk_ping(&rig.in, 2, payload, 0);
    talk_ping(&rig.in, 3, payload, 4097);
    converse();
    replies = brd_buf_bytes(&rig.out);
    reply = expect(&replies, 1, BRD_OK);
    ck_assert_uint_eq(reply->value.len, 4096);
    ck_assert_mem_eq(reply->value.data, payload, 4096);
    talk_free(reply);
    reply = expect(&replies, 2, BRD_OK);
    ck_assert_int_eq(reply->has_value_case, BRINDLE__V1__REPLY__HAS_VALUE_VALUE);
    ck_assert_uint_eq(reply->value.len, 0);
    talk_free(reply);
    talk_free(expect(&replies, 3, BRD_TOO_LARGE));
}
END_TEST

START_TEST(an_unknown_request_gets_a_typed_error_and_the_connection_lives)
{
    struct brd_bytes replies;

    talk_unknown(&rig.in, 5);
    talk_get(&rig.in, 6, "k");
    converse();
    replies = brd_buf_bytes(&rig.out);
    talk_free(expect(&replies, 5, BRD_UNKNOWN_REQUEST));
    talk_free(expect(&replies, 6, BRD_NOT_FOUND));
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_OPEN);
}
END_TEST

START_TEST(an_empty_message_is_an_unknown_request)
{
    brd_buf_append(&rig.in, "\0", 1);
    converse();
    expect_only(0, BRD_UNKNOWN_REQUEST);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_OPEN);
}
END_TEST

/* ---- bad bytes ---- */

START_TEST(bytes_that_are_no_request_end_the_conversation_after_earlier_replies)
{
    struct brd_bytes replies;

    talk_put(&rig.in, 1, "k", "v", 1);
    talk_get(&rig.in, 2, "k");
    brd_buf_append(&rig.in, "\3\xff\xff\xff", 4);
    talk_get(&rig.in, 3, "k");
    converse();
    replies = brd_buf_bytes(&rig.out);
    talk_free(expect(&replies, 1, BRD_OK));
    talk_free(expect(&replies, 2, BRD_OK));
    talk_free(expect(&replies, 0, BRD_PROTOCOL_ERROR));
    ck_assert_uint_eq(replies.size, 0);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_CLOSING);
    ck_assert_uint_eq(brd_session_unsent(rig.session), 0);
    ck_assert_uint_eq(brd_session_input(rig.session, brd_bytes("\0", 1)), 0);
}
END_TEST

START_TEST(a_length_of_too_many_bytes_is_a_protocol_error)
{
    brd_buf_append(&rig.in, "\x80\x80\x80\x80\x80", 5);
    converse();
    expect_only(0, BRD_PROTOCOL_ERROR);
}
END_TEST

START_TEST(a_frame_above_the_limit_is_too_large_before_it_arrives)
{
    uint8_t prefix[BRD_FRAME_PREFIX_MAX];
    size_t size = brd_frame_prefix_write(prefix, FRAME_MAX + 1);

    brd_buf_append(&rig.in, prefix, size);
    converse();
    expect_only(0, BRD_TOO_LARGE);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_CLOSING);
}
END_TEST

START_TEST(what_a_frame_needs_is_known_from_its_first_bytes)
{
    uint8_t prefix[BRD_FRAME_PREFIX_MAX];
    size_t size = brd_frame_prefix_write(prefix, FRAME_MAX);

    ck_assert_uint_eq(size, 3);
    brd_buf_append(&rig.in, prefix, size);
    offer(2);
    ck_assert_uint_eq(brd_session_needs(rig.session), 3); /* one more than are there */
    offer(3);
    ck_assert_uint_eq(brd_session_needs(rig.session), FRAME_MAX + 3);
    ck_assert_uint_eq(rig.taken, 0);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_OPEN);
}
END_TEST

START_TEST(the_owner_of_the_socket_can_end_the_conversation_with_a_reason)
{
    talk_get(&rig.in, 1, "k");
    offer(rig.in.size);
    brd_session_close(rig.session, BRD_TIMEOUT);
    brd_session_close(rig.session, BRD_INTERNAL); /* it is closing already */
    receive(SIZE_MAX);

    struct brd_bytes replies = brd_buf_bytes(&rig.out);
    talk_free(expect(&replies, 1, BRD_NOT_FOUND));
    talk_free(expect(&replies, 0, BRD_TIMEOUT));
    ck_assert_uint_eq(replies.size, 0);
}
END_TEST

START_TEST(a_refusal_is_one_reply_with_id_0)
{
    struct brd_buf refusal;
    struct brd_bytes replies;

    brd_buf_init(&refusal);
    brd_session_refusal(BRD_TOO_MANY_CONNECTIONS, &refusal);
    replies = brd_buf_bytes(&refusal);
    talk_free(expect(&replies, 0, BRD_TOO_MANY_CONNECTIONS));
    ck_assert_uint_eq(replies.size, 0);
    brd_buf_fini(&refusal);
}
END_TEST

/* ---- values apart ---- */

#define LARGE 50000

/* A put of LARGE bytes of which 100 are known and received apart, and a get of it; returns
 * what is to be offered once the value is there. */
static struct brd_blob *
send_put_apart(struct brd_buf *spliced)
{
    uint8_t *value = malloc(LARGE);
    struct brd_span place;
    struct brd_blob *blob;

    ck_assert_ptr_nonnull(value);
    memset(value, 'v', LARGE);
    value[LARGE - 1] = 'w';
    talk_put(&rig.in, 1, "k", value, LARGE);
    free(value);
    offer(100);
    ck_assert_uint_eq(rig.taken, 0);
    ck_assert(!brd_session_find_value(rig.session, brd_bytes(rig.in.data, 100), LARGE + 1, &place));
    ck_assert(!brd_session_find_value(rig.session, brd_bytes(rig.in.data, 8), LARGE, &place));
    ck_assert(brd_session_find_value(rig.session, brd_bytes(rig.in.data, 100), LARGE, &place));
    ck_assert_uint_eq(place.size, LARGE);
    ck_assert_uint_eq(place.begin + place.size, rig.in.size);
    blob = brd_blob_copy(brd_bytes(rig.in.data + place.begin, LARGE));
    ck_assert_ptr_nonnull(blob);
    brd_session_put_value(rig.session, &place, blob);
    brd_buf_init(spliced);
    brd_buf_append(spliced, rig.in.data, place.begin);
    talk_get(spliced, 2, "k");
    return blob;
}

START_TEST(a_value_that_lies_apart_is_put_and_not_copied)
{
    struct brd_buf spliced;
    struct brd_blob *blob = send_put_apart(&spliced);
    Brindle__V1__Reply *reply;
    struct brd_bytes replies;
    struct iovec parts[8];
    bool seen = false;
    size_t n;

    ck_assert_uint_eq(brd_session_input(rig.session, brd_buf_bytes(&spliced)), spliced.size);
    for (n = brd_session_output(rig.session, parts, 8); n > 0; n--)
        seen = seen || (parts[n - 1].iov_base == blob->data && parts[n - 1].iov_len == LARGE);
    ck_assert(seen);
    receive(SIZE_MAX);
    replies = brd_buf_bytes(&rig.out);
    talk_free(expect(&replies, 1, BRD_OK));
    reply = expect(&replies, 2, BRD_OK);
    ck_assert_uint_eq(reply->value.len, LARGE);
    ck_assert_uint_eq(reply->value.data[LARGE - 1], 'w');
    talk_free(reply);
    ck_assert_uint_eq(replies.size, 0);

    /* What the session held is given back: ours and the entry's are left. */
    ck_assert_uint_eq(atomic_load(&blob->refs), 2);
    brd_blob_unref(blob);
    brd_buf_fini(&spliced);
}
END_TEST

START_TEST(a_full_session_keeps_a_value_that_lies_apart)
{
    struct brd_buf spliced;
    struct brd_blob *blob;
    struct brd_bytes replies;

    rig_end();
    rig_start((struct brd_session_limits){ .pending_max = 1 });
    talk_ping(&rig.in, 7, "", 0);
    offer(rig.in.size);
    brd_buf_clear(&rig.in);
    rig.taken = 0;
    receive(SIZE_MAX);
    blob = send_put_apart(&spliced);
    brd_session_env_set_limits(rig.env, &(struct brd_session_limits){ .pending_max = 1 });
    ck_assert_uint_lt(brd_session_input(rig.session, brd_buf_bytes(&spliced)), spliced.size);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_FULL);
    ck_assert_uint_eq(brd_session_input(rig.session, brd_buf_bytes(&spliced)), 0);
    receive(SIZE_MAX);
    replies = brd_buf_bytes(&rig.out);
    talk_free(expect(&replies, 7, BRD_OK));
    talk_free(expect(&replies, 1, BRD_OK));
    ck_assert_uint_eq(replies.size, 0);
    brd_blob_unref(blob);
    brd_buf_fini(&spliced);
}
END_TEST

START_TEST(a_value_that_lies_apart_goes_with_its_session)
{
    struct brd_buf spliced;
    struct brd_blob *blob = send_put_apart(&spliced);

    ck_assert_uint_eq(atomic_load(&blob->refs), 2);
    brd_session_destroy(&rig.session);
    ck_assert_uint_eq(atomic_load(&blob->refs), 1);
    brd_blob_unref(blob);
    brd_buf_fini(&spliced);
}
END_TEST

START_TEST(a_value_that_lies_apart_does_not_outlive_the_conversation)
{
    struct brd_buf spliced;
    struct brd_blob *blob = send_put_apart(&spliced);

    brd_session_close(rig.session, BRD_TIMEOUT);
    ck_assert_uint_eq(atomic_load(&blob->refs), 1);
    brd_blob_unref(blob);
    brd_buf_fini(&spliced);
}
END_TEST

/* A put of size bytes with an id of 9 and something behind its value, of which the value is
 * received apart by a session of its own. Returns the state it ends in. */
static enum brd_session_state
put_apart_with_tail(size_t size, const char *tail, size_t tail_bytes)
{
    uint8_t *value = calloc(1, size);
    struct brd_session *session = brd_session_create(rig.env);
    enum brd_session_state state;
    struct brd_buf whole;
    struct brd_buf body;
    struct brd_span place;
    struct brd_blob *blob;
    struct iovec part;
    uint8_t prefix[BRD_FRAME_PREFIX_MAX];
    uint64_t frame_body;
    size_t head;

    ck_assert(value != NULL && session != NULL);
    brd_buf_init(&whole);
    brd_buf_init(&body);
    talk_put(&whole, 9, "k", value, size);
    ck_assert_int_eq(brd_frame_parse(whole.data, whole.size, UINT32_MAX, &head, &frame_body),
                     BRD_FRAME_OK);
    brd_buf_append(&body, whole.data + head, (size_t)frame_body);
    brd_buf_append(&body, tail, tail_bytes);
    brd_buf_clear(&whole);
    brd_buf_append(&whole, prefix, brd_frame_prefix_write(prefix, body.size));
    brd_buf_append(&whole, body.data, body.size);
    ck_assert_uint_eq(brd_session_input(session, brd_bytes(whole.data, 100)), 0);
    ck_assert(brd_session_find_value(session, brd_bytes(whole.data, 100), 1, &place));
    blob = brd_blob_copy(brd_bytes(whole.data + place.begin, size));
    brd_session_put_value(session, &place, blob);
    brd_blob_unref(blob);
    memmove(whole.data + place.begin, whole.data + place.begin + size,
            whole.size - place.begin - size);
    (void)brd_session_input(session, brd_bytes(whole.data, whole.size - size));
    while (brd_session_output(session, &part, 1) > 0) {
        brd_buf_append(&rig.out, part.iov_base, part.iov_len);
        brd_session_sent(session, part.iov_len);
    }
    state = brd_session_state(session);
    brd_session_destroy(&session);
    brd_buf_fini(&whole);
    brd_buf_fini(&body);
    free(value);
    return state;
}

/* What was put together to be judged is given up with the verdict, though no request came of it. */
START_TEST(bad_frames_with_values_apart_leave_nothing_to_others)
{
    const size_t size = FRAME_MAX - 1000;
    int i;

    for (i = 0; i < 40; i++) {
        ck_assert_int_eq(put_apart_with_tail(size, "\x0f", 1), BRD_SESSION_CLOSING);
        expect_only(0, BRD_PROTOCOL_ERROR);
        brd_buf_clear(&rig.out);
    }
    /* A field that nobody knows: unusual, and fine. */
    ck_assert_int_eq(put_apart_with_tail(size, "\xf0\x7f\x01", 3), BRD_SESSION_OPEN);
    expect_only(9, BRD_OK);
}
END_TEST

/* ---- pipelining ---- */

/* About a hundred requests of all sorts, more than two groups. */
static void
add_mixture(void)
{
    static uint8_t value[3000];
    char key[16];
    uint8_t i;

    talk_hello(&rig.in, 1, 1, (char[]){ "mixture" });
    for (i = 2; i < 100; i++) {
        snprintf(key, sizeof(key), "key-%u", i % 7U);
        memset(value, i, sizeof(value));
        switch (i % 6) {
        case 0:
            talk_put(&rig.in, i, key, value, i);
            break;
        case 1:
        case 2:
            talk_get(&rig.in, i, key);
            break;
        case 3:
            talk_ping(&rig.in, i, value, i % 5U);
            break;
        case 4:
            talk_get_many(&rig.in, i, key, i % 9U);
            break;
        default:
            talk_unknown(&rig.in, i);
            break;
        }
    }
    talk_put(&rig.in, 100, "long", value, sizeof(value));
    talk_get(&rig.in, 101, "long");
}

START_TEST(every_split_of_a_stream_gives_the_same_replies)
{
    struct brd_buf whole;
    size_t split;
    size_t size;

    add_mixture();
    converse();
    ck_assert_uint_eq(rig.taken, rig.in.size);
    size = rig.in.size;
    brd_buf_init(&whole);
    brd_buf_append(&whole, rig.out.data, rig.out.size);

    for (split = 0; split < size; split++) {
        rig_end();
        setup(); /* versions come from a clock that stands still */
        add_mixture();
        offer(split);
        ck_assert_uint_le(rig.taken, split);
        if (split % 2 == 0)
            receive(SIZE_MAX);
        converse();
        ck_assert_uint_eq(rig.taken, size);
        ck_assert_uint_eq(rig.out.size, whole.size);
        ck_assert_mem_eq(rig.out.data, whole.data, whole.size);
    }
    brd_buf_fini(&whole);
}
END_TEST

START_TEST(a_stream_byte_by_byte_in_and_out_gives_the_same_replies)
{
    struct brd_buf whole;
    size_t i;

    add_mixture();
    converse();
    brd_buf_init(&whole);
    brd_buf_append(&whole, rig.out.data, rig.out.size);
    rig_end();
    setup();
    add_mixture();
    for (i = 1; i <= rig.in.size; i++) {
        offer(i);
        receive(1);
    }
    while (receive(1) > 0)
        ;
    ck_assert_uint_eq(rig.out.size, whole.size);
    ck_assert_mem_eq(rig.out.data, whole.data, whole.size);
    brd_buf_fini(&whole);
}
END_TEST

/* ---- back-pressure ---- */

START_TEST(unanswered_requests_stop_the_reading_and_their_replies_start_it_again)
{
    struct brd_bytes replies;
    uint64_t i;

    rig_end();
    rig_start((struct brd_session_limits){ .pending_max = 100 });
    for (i = 1; i <= 1000; i++)
        talk_get(&rig.in, i, "k");
    offer(rig.in.size);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_FULL);
    ck_assert_uint_eq(rig.taken, 100 * 8);
    offer(rig.in.size);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_FULL);
    while (rig.taken < rig.in.size) {
        size_t before = rig.taken;

        ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_FULL);
        receive(SIZE_MAX);
        ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_OPEN);
        offer(rig.in.size);
        ck_assert_uint_gt(rig.taken, before);
    }
    receive(SIZE_MAX);
    replies = brd_buf_bytes(&rig.out);
    for (i = 1; i <= 1000; i++)
        talk_free(expect(&replies, i, BRD_NOT_FOUND));
    ck_assert_uint_eq(replies.size, 0);
}
END_TEST

START_TEST(a_client_that_takes_replies_slowly_is_never_owed_more_than_the_limit)
{
    uint64_t sent = 0;
    uint64_t i;

    rig_end();
    rig_start((struct brd_session_limits){ .pending_max = 64 });
    for (i = 0; i < 2000; i++)
        talk_ping(&rig.in, 1, "0123456789", 10);
    /* A reply has 15 bytes: id, value, and their length. */
    while (sent < 2000 * 15) {
        uint64_t got;

        offer(rig.in.size);
        ck_assert_uint_le(brd_session_unsent(rig.session), 64 * 15);
        got = receive(97);
        ck_assert_uint_gt(got, 0);
        sent += got;
    }
    ck_assert_uint_eq(sent, 2000 * 15);
    ck_assert_uint_eq(rig.taken, rig.in.size);
}
END_TEST

START_TEST(unsent_bytes_above_the_soft_limit_stop_the_reading)
{
    static uint8_t value[2000];
    uint64_t i;

    rig_end();
    rig_start((struct brd_session_limits){ .output_soft_bytes = 10000 });
    talk_put(&rig.in, 0, "k", value, sizeof(value));
    for (i = 1; i <= 100; i++)
        talk_get(&rig.in, i, "k");
    offer(rig.in.size);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_FULL);
    ck_assert_uint_ge(brd_session_backlog(rig.session), 10000);
    ck_assert_uint_lt(brd_session_backlog(rig.session), 10000 + 2100);
    receive(4000);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_OPEN);
    while (rig.taken < rig.in.size) {
        offer(rig.in.size);
        ck_assert_uint_lt(brd_session_backlog(rig.session), 10000 + 2100);
        receive(2500);
    }
    receive(SIZE_MAX);
    ck_assert_uint_gt(rig.out.size, 100 * 2000);
}
END_TEST

START_TEST(large_values_count_apart)
{
    static uint8_t value[300000];
    uint64_t i;

    rig_end();
    rig_start(
        (struct brd_session_limits){ .output_soft_bytes = 10000, .output_blob_bytes = 1000000 });
    talk_put(&rig.in, 0, "k", value, sizeof(value));
    for (i = 1; i <= 20; i++)
        talk_get(&rig.in, i, "k");
    offer(rig.in.size);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_FULL);
    ck_assert_uint_lt(brd_session_backlog(rig.session), 10000);
    ck_assert_uint_ge(brd_session_unsent(rig.session), 1000000);
    ck_assert_uint_lt(brd_session_unsent(rig.session), 1000000 + 310000);
    while (rig.taken < rig.in.size) {
        receive(SIZE_MAX);
        offer(rig.in.size);
    }
    receive(SIZE_MAX);
    ck_assert_uint_gt(rig.out.size, 20 * 300000);
}
END_TEST

START_TEST(many_values_that_are_more_than_a_frame_are_a_typed_error)
{
    static uint8_t value[2000];
    struct brd_bytes replies;

    talk_put(&rig.in, 1, "k", value, sizeof(value));
    talk_get_many(&rig.in, 2, "k", 600); /* 1.2 MB; a frame has 1 MiB at most */
    talk_get_many(&rig.in, 3, "k", 400);
    converse();
    replies = brd_buf_bytes(&rig.out);
    talk_free(expect(&replies, 1, BRD_OK));
    talk_free(expect(&replies, 2, BRD_TOO_LARGE));
    talk_free(expect(&replies, 3, BRD_OK));
    ck_assert_uint_eq(replies.size, 0);
}
END_TEST

START_TEST(a_large_reply_waits_for_an_empty_output_and_does_not_count_itself)
{
    static uint8_t value[2000];
    struct brd_bytes replies;
    size_t before;

    rig_end();
    rig_start((struct brd_session_limits){ .output_soft_bytes = 10000 });
    talk_put(&rig.in, 1, "k", value, sizeof(value));
    talk_get(&rig.in, 2, "k");
    before = rig.in.size;
    talk_get_many(&rig.in, 3, "k", 100); /* 200 kB */
    talk_get(&rig.in, 4, "k");
    offer(rig.in.size);
    ck_assert_uint_eq(rig.taken, before);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_FULL);
    receive(1000);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_FULL);
    receive(SIZE_MAX);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_OPEN);
    offer(rig.in.size); /* the large one, and the one behind it */
    ck_assert_uint_eq(rig.taken, rig.in.size);
    ck_assert_uint_gt(brd_session_unsent(rig.session), 200000);
    ck_assert_uint_lt(brd_session_backlog(rig.session), 2100);
    receive(SIZE_MAX);
    replies = brd_buf_bytes(&rig.out);
    for (uint64_t i = 1; i <= 4; i++)
        talk_free(expect(&replies, i, BRD_OK));
}
END_TEST

START_TEST(a_call_executes_at_most_as_many_requests_as_it_may)
{
    size_t third = 0;
    uint64_t id;

    rig_end();
    rig_start_with((struct brd_session_options){ .requests_at_once = 3 });
    for (id = 1; id <= 7; id++) {
        talk_ping(&rig.in, id, NULL, 0);
        if (id == 3)
            third = rig.in.size;
    }
    offer(rig.in.size);
    ck_assert_uint_eq(rig.taken, third);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_OPEN);
    ck_assert_uint_eq(brd_session_needs(rig.session), 1);
    offer(rig.in.size);
    ck_assert_uint_eq(rig.taken, 2 * third);
    offer(rig.in.size);
    ck_assert_uint_eq(rig.taken, rig.in.size);
    receive(SIZE_MAX);
    ck_assert_uint_eq(brd_session_unsent(rig.session), 0);
}
END_TEST

START_TEST(limits_may_change_while_a_session_lives)
{
    uint64_t i;

    for (i = 1; i <= 500; i++)
        talk_get(&rig.in, i, "k");
    brd_session_env_set_limits(rig.env, &(struct brd_session_limits){ .pending_max = 10 });
    offer(rig.in.size);
    ck_assert_int_eq(brd_session_state(rig.session), BRD_SESSION_FULL);
    ck_assert_uint_eq(rig.taken, 10 * 8);
    brd_session_env_set_limits(rig.env, &(struct brd_session_limits){ .pending_max = 1000 });
    offer(rig.in.size);
    ck_assert_uint_eq(rig.taken, rig.in.size);
}
END_TEST

START_TEST(requests_are_counted_by_kind)
{
    const struct brd_session_counters *counters = brd_session_env_counters(rig.env);

    add_mixture();
    converse();
    ck_assert_uint_eq(brd_counter_get(&counters->requests), 101);
    ck_assert_uint_eq(brd_counter_get(&counters->by_op[BRD_OP_HELLO]), 1);
    ck_assert_uint_eq(brd_counter_get(&counters->by_op[BRD_OP_PING]), 17);
    ck_assert_uint_eq(brd_counter_get(&counters->by_op[BRD_OP_UNKNOWN]), 16);
    ck_assert_uint_eq(brd_counter_get(&counters->by_op[BRD_OP_PUT]), 17);
    ck_assert_uint_ge(brd_counter_get(&counters->replies_failed), 16);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("session");
    TCase *tcase = tcase_create("session");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, hello_tells_the_limits);
    tcase_add_test(tcase, hello_of_another_version_is_unsupported_and_the_connection_lives);
    tcase_add_test(tcase, hello_refuses_a_name_that_is_long_or_not_printable);
    tcase_add_test(tcase, ping_gives_its_payload_back_up_to_4_kib);
    tcase_add_test(tcase, an_unknown_request_gets_a_typed_error_and_the_connection_lives);
    tcase_add_test(tcase, an_empty_message_is_an_unknown_request);
    tcase_add_test(tcase, bytes_that_are_no_request_end_the_conversation_after_earlier_replies);
    tcase_add_test(tcase, a_length_of_too_many_bytes_is_a_protocol_error);
    tcase_add_test(tcase, a_frame_above_the_limit_is_too_large_before_it_arrives);
    tcase_add_test(tcase, what_a_frame_needs_is_known_from_its_first_bytes);
    tcase_add_test(tcase, the_owner_of_the_socket_can_end_the_conversation_with_a_reason);
    tcase_add_test(tcase, a_refusal_is_one_reply_with_id_0);
    tcase_add_test(tcase, a_value_that_lies_apart_is_put_and_not_copied);
    tcase_add_test(tcase, a_full_session_keeps_a_value_that_lies_apart);
    tcase_add_test(tcase, a_value_that_lies_apart_goes_with_its_session);
    tcase_add_test(tcase, a_value_that_lies_apart_does_not_outlive_the_conversation);
    tcase_add_test(tcase, bad_frames_with_values_apart_leave_nothing_to_others);
    tcase_add_test(tcase, every_split_of_a_stream_gives_the_same_replies);
    tcase_add_test(tcase, a_stream_byte_by_byte_in_and_out_gives_the_same_replies);
    tcase_add_test(tcase, unanswered_requests_stop_the_reading_and_their_replies_start_it_again);
    tcase_add_test(tcase, a_client_that_takes_replies_slowly_is_never_owed_more_than_the_limit);
    tcase_add_test(tcase, unsent_bytes_above_the_soft_limit_stop_the_reading);
    tcase_add_test(tcase, large_values_count_apart);
    tcase_add_test(tcase, many_values_that_are_more_than_a_frame_are_a_typed_error);
    tcase_add_test(tcase, a_large_reply_waits_for_an_empty_output_and_does_not_count_itself);
    tcase_add_test(tcase, a_call_executes_at_most_as_many_requests_as_it_may);
    tcase_add_test(tcase, limits_may_change_while_a_session_lives);
    tcase_add_test(tcase, requests_are_counted_by_kind);
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
