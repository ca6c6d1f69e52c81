/* Conversations that wait for a checkpoint, which is held where its snapshot would
 * get its name. */
/* TSAN */
#include "engine/engine.h"
#include "session/session.h"
#include "tests/support/faulty_io.h"
#include "tests/support/talk.h"

#include <check.h>
#include <errno.h>
#include <semaphore.h>

#define TALKERS 2
#define PUTS    10

struct talker {
    struct brd_session *session;
    struct brd_buf in;  /* what the client sends */
    size_t taken;       /* of it, by the session */
    struct brd_buf out; /* what the client has received */
};

static struct faulty *disk;
static struct brd_clock *test_clock;
static struct brd_engine *engine;
static struct brd_session_env *env;
static struct talker talker[TALKERS];
static sem_t progress;
static sem_t held;   /* a snapshot would get its name */
static sem_t let_go; /* from here on they do */

static void
wait_for(sem_t *event)
{
    while (sem_wait(event) != 0)
        ck_assert_int_eq(errno, EINTR);
}

static void
hold_names(void *arg, enum faulty_kind kind)
{
    (void)arg;
    if (kind != FAULTY_RENAME)
        return;
    sem_post(&held);
    wait_for(&let_go);
    sem_post(&let_go);
}

static void
on_progress(void *arg)
{
    (void)arg;
    sem_post(&progress);
}

static void
setup(void)
{
    struct brd_engine_options engine_options = { .data_dir = "/data",
                                                 .durability = BRD_DURABILITY_NORMAL,
                                                 .stripes = 4,
                                                 .on_progress = on_progress };
    struct brd_session_options options = { .frame_bytes_max = 1 << 20 };
    struct brd_engine_error error;
    size_t i;

    ck_assert_int_eq(sem_init(&progress, 0, 0), 0);
    ck_assert_int_eq(sem_init(&held, 0, 0), 0);
    ck_assert_int_eq(sem_init(&let_go, 0, 0), 0);
    disk = faulty_create();
    test_clock = brd_clock_create_real(0);
    engine_options.io = faulty_io(disk);
    engine_options.clock = test_clock;
    ck_assert_int_eq(brd_engine_create(&engine_options, &engine), BRD_OK);
    ck_assert_int_eq(brd_engine_start(engine, &error), BRD_OK);
    options.engine = engine;
    ck_assert_int_eq(brd_session_env_create(&options, &env), BRD_OK);
    for (i = 0; i < TALKERS; i++) {
        talker[i] = (struct talker){ .session = brd_session_create(env) };
        ck_assert_ptr_nonnull(talker[i].session);
        brd_buf_init(&talker[i].in);
        brd_buf_init(&talker[i].out);
    }
    faulty_set_hook(disk, hold_names, NULL);
}

static void
teardown(void)
{
    size_t i;

    sem_post(&let_go);
    for (i = 0; i < TALKERS; i++) {
        brd_session_destroy(&talker[i].session);
        brd_buf_fini(&talker[i].in);
        brd_buf_fini(&talker[i].out);
    }
    brd_session_env_destroy(&env);
    ck_assert_int_eq(brd_engine_stop(engine), BRD_OK);
    brd_engine_destroy(&engine);
    brd_clock_destroy(&test_clock);
    faulty_destroy(&disk);
    sem_destroy(&progress);
    sem_destroy(&held);
    sem_destroy(&let_go);
}

static struct brd_bytes
offer_of(const struct talker *who)
{
    return brd_bytes(who->in.data + who->taken, who->in.size - who->taken);
}

static void
give(struct talker *who)
{
    who->taken += brd_session_input(who->session, offer_of(who));
}

/* What may leave now is received. */
static void
receive(struct talker *who)
{
    struct iovec part;

    while (brd_session_output(who->session, &part, 1) > 0) {
        brd_buf_append(&who->out, part.iov_base, part.iov_len);
        brd_session_sent(who->session, part.iov_len);
    }
}

/* Until all is taken and all replies have left. */
static void
converse(struct talker *who)
{
    for (;;) {
        give(who);
        receive(who);
        if (who->taken == who->in.size && brd_session_unsent(who->session) == 0)
            return;
        wait_for(&progress);
    }
}

static Brindle__V1__Reply *
expect(struct brd_bytes *replies, uint64_t id, enum brd_status status)
{
    Brindle__V1__Reply *reply = talk_take(replies);

    ck_assert_ptr_nonnull(reply);
    ck_assert_uint_eq(reply->id, id);
    ck_assert_int_eq((int)reply->status, (int)status);
    return reply;
}

/* Entries for the checkpoint to cover; their replies are forgotten. */
static void
put_some(struct talker *who)
{
    uint64_t id;

    for (id = 1; id <= PUTS; id++)
        talk_put(&who->in, id, "k", "v", 1);
    converse(who);
    brd_buf_clear(&who->in);
    brd_buf_clear(&who->out);
    who->taken = 0;
}

/* Ping, checkpoint and a get behind it; returns the position of the checkpoint. */
static size_t
add_conversation(struct talker *who, Brindle__V1__CheckpointMode mode)
{
    size_t at;

    talk_ping(&who->in, 1, NULL, 0);
    at = who->in.size;
    talk_checkpoint(&who->in, 2, mode);
    talk_get(&who->in, 3, "k");
    return at;
}

static uint64_t
counted(enum brd_op op)
{
    return brd_counter_get(&brd_session_env_counters(env)->by_op[op]);
}

START_TEST(a_session_is_parked_until_its_checkpoint_is_over)
{
    Brindle__V1__CheckpointMode mode = (Brindle__V1__CheckpointMode)(_i / 2);
    struct talker *waiter = &talker[0];
    struct talker *other = &talker[1];
    struct brd_bytes replies;
    Brindle__V1__Reply *reply;
    size_t at;
    uint64_t k;

    put_some(waiter);
    at = add_conversation(waiter, mode);
    if (_i % 2 == 0) {
        give(waiter);
    } else {
        talk_ping(&other->in, 1, NULL, 0);
        (void)brd_session_stage(other->session, offer_of(other));
        (void)brd_session_stage(waiter->session, offer_of(waiter));
        brd_session_env_begin(env);
        give(other);
        give(waiter);
        brd_session_env_end(env);
    }
    wait_for(&held);
    for (k = 0; k < 20; k++) { /* what others write is progress that is none for this one */
        talk_put(&other->in, 100 + k, "k", "w", 1);
        converse(other);
        give(waiter);
        receive(waiter);
        ck_assert_int_eq(brd_session_state(waiter->session), BRD_SESSION_PARKED);
        ck_assert(brd_session_waits_for_log(waiter->session));
        ck_assert(brd_session_stage(waiter->session, offer_of(waiter)));
        ck_assert_uint_eq(waiter->taken, at);
    }
    replies = brd_buf_bytes(&waiter->out);
    talk_free(expect(&replies, 1, BRD_OK));
    ck_assert_uint_eq(replies.size, 0);
    ck_assert_uint_eq(counted(BRD_OP_CHECKPOINT), 0);
    ck_assert_uint_eq(brd_counter_get(&brd_session_env_counters(env)->pauses_log), 0);

    sem_post(&let_go);
    converse(waiter);
    replies = brd_buf_bytes(&waiter->out);
    talk_free(expect(&replies, 1, BRD_OK));
    reply = expect(&replies, 2, BRD_OK);
    ck_assert_uint_gt(reply->version, 0);
    ck_assert_ptr_nonnull(reply->checkpoint);
    if (mode == BRINDLE__V1__CHECKPOINT_MODE__CHECKPOINT_TRUNCATE) {
        ck_assert_uint_eq(reply->checkpoint->total, 0);
        ck_assert_uint_eq(reply->checkpoint->done, 0);
    } else {
        ck_assert_uint_eq(reply->checkpoint->done, PUTS);
        ck_assert_uint_ge(reply->checkpoint->total, PUTS);
        ck_assert_uint_le(reply->checkpoint->total, PUTS + 20);
    }
    talk_free(reply);
    talk_free(expect(&replies, 3, BRD_OK));
    ck_assert_uint_eq(replies.size, 0);
    ck_assert_uint_eq(counted(BRD_OP_CHECKPOINT), 1);
}
END_TEST

START_TEST(a_passive_one_tells_of_what_is_under_way_and_does_not_wait)
{
    struct talker *waiter = &talker[0];
    struct talker *other = &talker[1];
    struct brd_bytes replies;
    Brindle__V1__Reply *reply;

    put_some(waiter);
    (void)add_conversation(waiter, BRINDLE__V1__CHECKPOINT_MODE__CHECKPOINT_FULL);
    give(waiter);
    wait_for(&held);
    talk_checkpoint(&other->in, 1, BRINDLE__V1__CHECKPOINT_MODE__CHECKPOINT_PASSIVE);
    give(other);
    ck_assert_int_eq(brd_session_state(other->session), BRD_SESSION_OPEN);
    receive(other);
    replies = brd_buf_bytes(&other->out);
    reply = expect(&replies, 1, BRD_OK);
    ck_assert_uint_eq(reply->checkpoint->total, PUTS);
    ck_assert_uint_eq(reply->checkpoint->done, 0);
    ck_assert_uint_eq(reply->version, 0);
    talk_free(reply);
}
END_TEST

/* In the middle of the wait, or before it begins. */
START_TEST(whoever_is_in_a_hurry_is_told_so_and_goes_on)
{
    enum brd_status why = _i % 2 == 0 ? BRD_SHUTTING_DOWN : BRD_UNKNOWN_RESULT;
    struct talker *waiter = &talker[0];
    struct talker *other = &talker[1];
    struct brd_bytes replies;
    Brindle__V1__Reply *reply;

    put_some(waiter);
    (void)add_conversation(waiter, BRINDLE__V1__CHECKPOINT_MODE__CHECKPOINT_RESTART);
    if (_i / 2 == 0) {
        give(waiter);
        ck_assert_int_eq(brd_session_state(waiter->session), BRD_SESSION_PARKED);
    }
    brd_session_hurry(waiter->session, why);
    talk_checkpoint(&waiter->in, 4, BRINDLE__V1__CHECKPOINT_MODE__CHECKPOINT_FULL);
    give(waiter);
    receive(waiter);
    ck_assert_uint_eq(waiter->taken, waiter->in.size);
    ck_assert_int_eq(brd_session_state(waiter->session), BRD_SESSION_OPEN);
    replies = brd_buf_bytes(&waiter->out);
    talk_free(expect(&replies, 1, BRD_OK));
    reply = expect(&replies, 2, why);
    ck_assert_ptr_null(reply->checkpoint);
    ck_assert_ptr_nonnull(strstr(reply->message, "checkpoint"));
    talk_free(reply);
    talk_free(expect(&replies, 3, BRD_OK));
    talk_free(expect(&replies, 4, why));
    ck_assert_uint_eq(replies.size, 0);

    /* Others get theirs. */
    sem_post(&let_go);
    talk_checkpoint(&other->in, 1, BRINDLE__V1__CHECKPOINT_MODE__CHECKPOINT_FULL);
    converse(other);
    replies = brd_buf_bytes(&other->out);
    reply = expect(&replies, 1, BRD_OK);
    ck_assert_uint_gt(reply->version, 0);
    talk_free(reply);
}
END_TEST

START_TEST(a_session_may_end_while_it_waits)
{
    struct talker *waiter = &talker[0];
    struct talker *other = &talker[1];
    struct brd_bytes replies;

    put_some(waiter);
    (void)add_conversation(waiter, BRINDLE__V1__CHECKPOINT_MODE__CHECKPOINT_FULL);
    give(waiter);
    wait_for(&held);
    brd_session_destroy(&waiter->session);
    sem_post(&let_go);
    talk_checkpoint(&other->in, 1, BRINDLE__V1__CHECKPOINT_MODE__CHECKPOINT_TRUNCATE);
    converse(other);
    replies = brd_buf_bytes(&other->out);
    talk_free(expect(&replies, 1, BRD_OK));
}
END_TEST

START_TEST(a_checkpoint_that_fails_is_told_with_its_reason)
{
    struct talker *waiter = &talker[0];
    struct brd_bytes replies;
    Brindle__V1__Reply *reply;

    put_some(waiter);
    sem_post(&let_go);
    faulty_fail_path(disk, "snapshots");
    faulty_fail(disk, FAULTY_RENAME, 1, 1, ENOSPC);
    (void)add_conversation(waiter, BRINDLE__V1__CHECKPOINT_MODE__CHECKPOINT_FULL);
    converse(waiter);
    replies = brd_buf_bytes(&waiter->out);
    talk_free(expect(&replies, 1, BRD_OK));
    reply = expect(&replies, 2, BRD_DISK_FULL);
    ck_assert_ptr_nonnull(strstr(reply->message, "/data/snapshots cannot be written"));
    talk_free(reply);
    talk_free(expect(&replies, 3, BRD_OK));
    ck_assert_uint_eq(replies.size, 0);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("session checkpoint");
    TCase *tcase = tcase_create("checkpoint");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, a_session_is_parked_until_its_checkpoint_is_over, 0, 8);
    tcase_add_test(tcase, a_passive_one_tells_of_what_is_under_way_and_does_not_wait);
    tcase_add_loop_test(tcase, whoever_is_in_a_hurry_is_told_so_and_goes_on, 0, 4);
    tcase_add_test(tcase, a_session_may_end_while_it_waits);
    tcase_add_test(tcase, a_checkpoint_that_fails_is_told_with_its_reason);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
