/* Replies that wait for the log, a log that fails, and one that is full. The
 * engine is a fake, linked in the place of the real one: a Get sees what the
 * key says (".": at once, "n5": after version 5 under normal, "f7": under full), a Put has to
 * wait for the version in its value. */
#include "engine/engine.h"
#include "session/session.h"
#include "tests/support/talk.h"

#include <check.h>
#include <stdio.h>

/* ---- the fake engine ---- */

struct brd_engine {
    struct brd_committed committed;
    bool queue_full; /* puts are told to wait */
    bool batch;      /* between begin and end */
    unsigned executed;
    unsigned done;
};

struct brd_caller {
    struct brd_engine *engine;
};

static struct brd_engine engine;
static struct brd_caller the_caller;
static struct brd_blob *blob; /* what a Get of "blob..." gives */

enum brd_status
brd_caller_attach(struct brd_engine *of, struct brd_caller **out_caller)
{
    the_caller.engine = of;
    *out_caller = &the_caller;
    return BRD_OK;
}

void
brd_caller_detach(struct brd_caller **caller)
{
    *caller = NULL;
}

void
brd_caller_begin(struct brd_caller *caller)
{
    ck_assert(!caller->engine->batch);
    caller->engine->batch = true;
}

void
brd_caller_end(struct brd_caller *caller)
{
    ck_assert(caller->engine->batch);
    ck_assert_uint_eq(engine.executed, engine.done);
    caller->engine->batch = false;
}

void
brd_caller_prepare(struct brd_caller *caller, struct brd_request *requests, size_t n)
{
    ck_assert(caller->engine->batch && n > 0 && n <= 64);
    (void)requests;
}

static uint64_t
number_at(struct brd_bytes text, size_t at)
{
    uint64_t number = 0;

    for (; at < text.size; at++)
        number = number * 10 + (uint64_t)(text.data[at] - '0');
    return number;
}

enum brd_status
brd_caller_execute(struct brd_caller *caller, struct brd_request *request, struct brd_reply *reply)
{
    struct brd_bytes what = request->op == BRD_OP_PUT ? request->value : request->key;

    ck_assert(caller->engine->batch);
    ck_assert_uint_eq(engine.executed, engine.done);
    *reply = (struct brd_reply){ .status = BRD_OK };
    if (request->op == BRD_OP_PUT && engine.queue_full)
        return BRD_BUSY;
    engine.executed++;
    if (what.data[0] == 'n')
        reply->after_normal = number_at(what, 1);
    if (what.data[0] == 'f')
        reply->after_full = number_at(what, 1);
    if (what.data[0] == 'b') {
        reply->after_normal = number_at(what, 1);
        reply->has_value = true;
        reply->value = brd_blob_bytes(blob);
        reply->blob = blob;
    }
    return BRD_OK;
}

void
brd_caller_done(struct brd_caller *caller, struct brd_reply *reply)
{
    (void)caller;
    (void)reply;
    engine.done++;
    ck_assert_uint_eq(engine.executed, engine.done);
}

struct brd_committed
brd_engine_committed(const struct brd_engine *of)
{
    return of->committed;
}

bool
brd_engine_may_go_on(const struct brd_engine *of, const struct brd_job *job)
{
    (void)of;
    return job->ticket == 0;
}

void
brd_engine_get_info(const struct brd_engine *of, struct brd_engine_info *out_info)
{
    (void)of;
    *out_info = (struct brd_engine_info){ .max_key_bytes = 1000,
                                          .max_value_bytes = 100000,
                                          .max_batch_keys = 100 };
}

/* ---- the rig ---- */

static struct brd_session_env *env;
static struct brd_session *session;
static struct brd_buf in;
static size_t taken;
static struct brd_buf out;
static size_t read_up_to; /* of out, by the test */

static void
start(struct brd_session_limits limits)
{
    struct brd_session_options options = { .engine = &engine, .limits = limits };

    engine = (struct brd_engine){ 0 };
    ck_assert_int_eq(brd_session_env_create(&options, &env), BRD_OK);
    session = brd_session_create(env);
    ck_assert_ptr_nonnull(session);
    brd_buf_init(&in);
    brd_buf_init(&out);
    taken = 0;
    read_up_to = 0;
    blob = brd_blob_create(50000);
    ck_assert_ptr_nonnull(blob);
    memset(blob->data, 'B', blob->size);
}

static void
end(void)
{
    brd_session_destroy(&session);
    brd_session_env_destroy(&env);
    brd_buf_fini(&in);
    brd_buf_fini(&out);
    ck_assert_uint_eq(blob->refs, 1);
    brd_blob_unref(blob);
}

static void
setup(void)
{
    start((struct brd_session_limits){ 0 });
}

static void
offer(void)
{
    taken += brd_session_input(session, brd_bytes(in.data + taken, in.size - taken));
}

static size_t
receive(size_t max)
{
    struct iovec part;
    size_t all = 0;

    while (max > 0 && brd_session_output(session, &part, 1) > 0) {
        size_t n = part.iov_len < max ? part.iov_len : max;

        brd_buf_append(&out, part.iov_base, n);
        brd_session_sent(session, n);
        max -= n;
        all += n;
    }
    return all;
}

static void
expect(uint64_t id, enum brd_status status)
{
    struct brd_bytes replies = brd_bytes(out.data + read_up_to, out.size - read_up_to);
    Brindle__V1__Reply *reply = talk_take(&replies);

    ck_assert_ptr_nonnull(reply);
    ck_assert_uint_eq(reply->id, id);
    ck_assert_int_eq((int)reply->status, (int)status);
    if (status == BRD_UNKNOWN_RESULT)
        ck_assert_ptr_nonnull(strstr(reply->message, "the log failed"));
    talk_free(reply);
    read_up_to = out.size - replies.size;
}

static void
expect_nothing_more(void)
{
    receive(SIZE_MAX);
    ck_assert_uint_eq(read_up_to, out.size);
}

static void
put(uint64_t id, const char *version)
{
    talk_put(&in, id, "k", version, strlen(version));
}

/* ---- gates ---- */

START_TEST(a_write_is_answered_when_the_log_has_it)
{
    put(1, "n5");
    offer();
    ck_assert_int_eq(brd_session_waits_for_log(session), BRD_SESSION_WAITS_FOR_ALL);
    expect_nothing_more();
    engine.committed.normal = 4;
    expect_nothing_more();
    engine.committed.normal = 5;
    receive(SIZE_MAX);
    expect(1, BRD_OK);
    expect_nothing_more();
    ck_assert(!brd_session_waits_for_log(session));
}
END_TEST

START_TEST(who_waits_for_a_sync_first_is_not_helped_by_a_write)
{
    put(1, "f5");
    put(2, "n6");
    put(3, "f7");
    offer();
    ck_assert_int_eq(brd_session_waits_for_log(session), BRD_SESSION_WAITS_FOR_SYNC);
    engine.committed.normal = 5;
    engine.committed.full = 5;
    receive(SIZE_MAX);
    expect(1, BRD_OK);
    expect_nothing_more();
    ck_assert_int_eq(brd_session_waits_for_log(session), BRD_SESSION_WAITS_FOR_ALL);
    engine.committed.normal = 7;
    receive(SIZE_MAX);
    expect(2, BRD_OK);
    expect_nothing_more();
    ck_assert_int_eq(brd_session_waits_for_log(session), BRD_SESSION_WAITS_FOR_SYNC);
    engine.committed.full = 7;
    receive(SIZE_MAX);
    expect(3, BRD_OK);
    ck_assert_int_eq(brd_session_waits_for_log(session), BRD_SESSION_WAITS_NOT);
}
END_TEST

START_TEST(what_was_committed_before_makes_no_one_wait)
{
    engine.committed.normal = 5;
    put(1, "n5");
    offer();
    ck_assert(!brd_session_waits_for_log(session));
    receive(SIZE_MAX);
    expect(1, BRD_OK);
}
END_TEST

START_TEST(replies_leave_in_order_up_to_the_first_that_waits)
{
    talk_get(&in, 1, ".");
    talk_get(&in, 2, ".");
    put(3, "n5");
    talk_get(&in, 4, ".");
    talk_get(&in, 5, "n3");
    put(6, "f2");
    talk_get(&in, 7, ".");
    offer();
    receive(SIZE_MAX);
    expect(1, BRD_OK);
    expect(2, BRD_OK);
    expect_nothing_more();
    engine.committed.normal = 4;
    expect_nothing_more();
    engine.committed.normal = 9;
    receive(SIZE_MAX);
    expect(3, BRD_OK);
    expect(4, BRD_OK);
    expect(5, BRD_OK);
    expect_nothing_more();
    ck_assert(brd_session_waits_for_log(session));
    engine.committed.full = 2;
    receive(SIZE_MAX);
    expect(6, BRD_OK);
    expect(7, BRD_OK);
    expect_nothing_more();
}
END_TEST

START_TEST(normal_does_not_open_what_waits_for_full)
{
    put(1, "f5");
    offer();
    engine.committed.normal = 100;
    expect_nothing_more();
    engine.committed.full = 5;
    receive(SIZE_MAX);
    expect(1, BRD_OK);
}
END_TEST

START_TEST(waiting_replies_count_as_unanswered)
{
    uint64_t i;
    char version[24];

    for (i = 1; i <= 3000; i++) {
        snprintf(version, sizeof(version), "n%u", (unsigned)i);
        put(i, version);
    }
    offer();
    ck_assert_uint_eq(engine.executed, 1024);
    ck_assert_int_eq(brd_session_state(session), BRD_SESSION_FULL);
    for (i = 1; i <= 3000; i++) {
        engine.committed.normal = i;
        receive(SIZE_MAX);
        expect(i, BRD_OK);
        expect_nothing_more();
        if (brd_session_state(session) == BRD_SESSION_OPEN)
            offer();
        ck_assert_uint_le(engine.executed, i + 1024);
        /* Counted by marks, late by an eighth. */
        ck_assert_uint_ge(engine.executed, i + 1024 - 2 * 128 < 3000 ? i + 1024 - 2 * 128 : 3000);
    }
    ck_assert_uint_eq(taken, in.size);
}
END_TEST

/* ---- a log that is full ---- */

START_TEST(a_full_log_parks_the_session_at_the_write)
{
    size_t before;

    talk_get(&in, 1, ".");
    before = in.size;
    put(2, "n5");
    talk_get(&in, 3, ".");
    engine.queue_full = true;
    offer();
    ck_assert_uint_eq(taken, before);
    ck_assert_int_eq(brd_session_state(session), BRD_SESSION_PARKED);
    ck_assert(brd_session_waits_for_log(session));
    receive(SIZE_MAX);
    expect(1, BRD_OK);
    offer(); /* too early */
    ck_assert_uint_eq(taken, before);
    ck_assert_int_eq(brd_session_state(session), BRD_SESSION_PARKED);
    expect_nothing_more();
    engine.queue_full = false;
    offer();
    ck_assert_uint_eq(taken, in.size);
    ck_assert_int_eq(brd_session_state(session), BRD_SESSION_OPEN);
    engine.committed.normal = 5;
    receive(SIZE_MAX);
    expect(2, BRD_OK);
    expect(3, BRD_OK);
    expect_nothing_more();
    ck_assert_uint_eq(engine.executed, 3);
}
END_TEST

START_TEST(a_full_log_lets_readers_pass)
{
    engine.queue_full = true;
    talk_get(&in, 1, ".");
    offer();
    receive(SIZE_MAX);
    expect(1, BRD_OK);
    ck_assert_int_eq(brd_session_state(session), BRD_SESSION_OPEN);
}
END_TEST

/* ---- a log that fails ---- */

START_TEST(after_a_failure_what_waits_becomes_unknown_and_the_rest_leaves_unchanged)
{
    talk_get(&in, 1, ".");
    put(2, "n3");
    talk_get(&in, 3, ".");
    put(4, "n5");
    talk_get(&in, 5, "n5");
    talk_get(&in, 6, ".");
    put(7, "f4");
    talk_get(&in, 8, "b3");
    talk_get(&in, 9, "b9");
    talk_get(&in, 10, ".");
    offer();
    engine.committed = (struct brd_committed){ .normal = 3, .full = 1, .failed = true };
    receive(SIZE_MAX);
    expect(1, BRD_OK);
    expect(2, BRD_OK);
    expect(3, BRD_OK);
    expect(4, BRD_UNKNOWN_RESULT);
    expect(5, BRD_UNKNOWN_RESULT);
    expect(6, BRD_OK);
    expect(7, BRD_UNKNOWN_RESULT);
    expect(8, BRD_OK);
    expect(9, BRD_UNKNOWN_RESULT);
    expect(10, BRD_OK);
    expect_nothing_more();
    ck_assert(!brd_session_waits_for_log(session));
    ck_assert_uint_eq(brd_session_unsent(session), 0);
    ck_assert_uint_eq(brd_counter_get(&brd_session_env_counters(env)->replies_unknown), 4);
}
END_TEST

START_TEST(a_write_may_have_happened_and_a_read_is_not_told)
{
    struct brd_bytes replies;
    Brindle__V1__Reply *reply;

    put(1, "n5");
    talk_get(&in, 2, "n5");
    offer();
    engine.committed.failed = true;
    receive(SIZE_MAX);
    replies = brd_buf_bytes(&out);
    reply = talk_take(&replies);
    ck_assert_ptr_nonnull(strstr(reply->message, "may or may not have happened"));
    talk_free(reply);
    reply = talk_take(&replies);
    ck_assert_ptr_nonnull(strstr(reply->message, "is not told"));
    talk_free(reply);
}
END_TEST

START_TEST(a_failure_while_a_reply_is_half_sent_keeps_the_stream_whole)
{
    size_t part;
    size_t whole;

    talk_get(&in, 1, "b0"); /* 50 kB that may leave */
    talk_get(&in, 2, ".");
    put(3, "n5");
    talk_get(&in, 4, "b0");
    offer();
    whole = 50000;
    for (part = 0; part < whole; part += 9973) {
        receive(part - out.size < 9973 ? part - out.size : 9973);
        if (part > 30000)
            engine.committed.failed = true;
    }
    receive(SIZE_MAX);
    expect(1, BRD_OK);
    expect(2, BRD_OK);
    expect(3, BRD_UNKNOWN_RESULT);
    expect(4, BRD_OK);
    expect_nothing_more();
}
END_TEST

START_TEST(a_session_goes_on_after_the_failure)
{
    uint64_t i;

    for (i = 1; i <= 1500; i++)
        put(i, "n5");
    offer();
    ck_assert_int_eq(brd_session_state(session), BRD_SESSION_FULL);
    engine.committed.failed = true;
    while (taken < in.size) {
        receive(SIZE_MAX);
        ck_assert_int_eq(brd_session_state(session), BRD_SESSION_OPEN);
        offer();
    }
    receive(SIZE_MAX);
    for (i = 1; i <= 1500; i++)
        expect(i, BRD_UNKNOWN_RESULT);
    talk_get(&in, 1, ".");
    offer();
    receive(SIZE_MAX);
    expect(1, BRD_OK);
    expect_nothing_more();
}
END_TEST

/* ---- at random ---- */

/* Random requests, commits and receptions: replies come in order, each exactly
 * once, and never before what they wait for. */
START_TEST(no_reply_leaves_early_or_out_of_order)
{
    const char *seed_text = getenv("SEED");
    unsigned seed = (seed_text != NULL ? (unsigned)strtoul(seed_text, NULL, 10) : 1) + (unsigned)_i;
    uint64_t needs_normal[4000] = { 0 };
    uint64_t needs_full[4000] = { 0 };
    uint64_t sent = 0;
    uint64_t answered = 0;
    uint64_t version = 1;
    bool may_fail = _i % 2 == 1;

    printf("seed %u\n", seed);
    end();
    start((struct brd_session_limits){ .pending_max = 50, .output_soft_bytes = 3000 });
    while (answered < 3000) {
        struct brd_bytes replies;
        Brindle__V1__Reply *reply;
        char text[24] = ".";

        switch (rand_r(&seed) % 8) {
        case 0:
        case 1:
        case 2:
            if (sent == 3000)
                break;
            sent++;
            if (rand_r(&seed) % 2 == 0) {
                bool full = rand_r(&seed) % 3 == 0;

                version += (unsigned)rand_r(&seed) % 3;
                snprintf(text, sizeof(text), "%c%u", full ? 'f' : 'n', (unsigned)version);
                *(full ? &needs_full[sent] : &needs_normal[sent]) = version;
                put(sent, text);
            } else {
                talk_get(&in, sent, text);
            }
            break;
        case 3:
            offer();
            break;
        case 4:
            receive((size_t)(rand_r(&seed) % 200));
            break;
        case 5:
            if (!engine.committed.failed && engine.committed.normal < version)
                engine.committed.normal++;
            break;
        case 6:
            if (!engine.committed.failed && engine.committed.full < engine.committed.normal)
                engine.committed.full++;
            break;
        default:
            engine.queue_full = rand_r(&seed) % 4 == 0;
            if (may_fail && rand_r(&seed) % 4000 == 0)
                engine.committed.failed = true;
            break;
        }
        replies = brd_bytes(out.data + read_up_to, out.size - read_up_to);
        while ((reply = talk_take(&replies)) != NULL) {
            bool met;

            answered++;
            ck_assert_uint_eq(reply->id, answered);
            met = needs_normal[answered] <= engine.committed.normal &&
                  needs_full[answered] <= engine.committed.full;
            if (reply->status == BRINDLE__V1__STATUS__OK)
                ck_assert(met);
            else
                ck_assert(!met && engine.committed.failed);
            talk_free(reply);
        }
        read_up_to = out.size - replies.size;
    }
    ck_assert_uint_eq(taken, in.size);
    ck_assert_uint_eq(brd_session_unsent(session), 0);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("gates");
    TCase *tcase = tcase_create("gates");

    tcase_add_checked_fixture(tcase, setup, end);
    tcase_add_test(tcase, a_write_is_answered_when_the_log_has_it);
    tcase_add_test(tcase, who_waits_for_a_sync_first_is_not_helped_by_a_write);
    tcase_add_test(tcase, what_was_committed_before_makes_no_one_wait);
    tcase_add_test(tcase, replies_leave_in_order_up_to_the_first_that_waits);
    tcase_add_test(tcase, normal_does_not_open_what_waits_for_full);
    tcase_add_test(tcase, waiting_replies_count_as_unanswered);
    tcase_add_test(tcase, a_full_log_parks_the_session_at_the_write);
    tcase_add_test(tcase, a_full_log_lets_readers_pass);
    tcase_add_test(tcase, after_a_failure_what_waits_becomes_unknown_and_the_rest_leaves_unchanged);
    tcase_add_test(tcase, a_write_may_have_happened_and_a_read_is_not_told);
    tcase_add_test(tcase, a_failure_while_a_reply_is_half_sent_keeps_the_stream_whole);
    tcase_add_test(tcase, a_session_goes_on_after_the_failure);
    tcase_add_loop_test(tcase, no_reply_leaves_early_or_out_of_order, 0, 20);
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
