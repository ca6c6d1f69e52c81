/* Several conversations whose requests are run as one batch. */
#include "engine/engine.h"
#include "session/session.h"
#include "tests/support/talk.h"

#include <check.h>
#include <stdio.h>

#define START_NS  UINT64_C(1700000000000000000)
#define FRAME_MAX (8 << 20)
#define TALKERS   6
#define REQUESTS  120

struct talker {
    struct brd_session *session;
    struct brd_buf in;  /* what the client sends */
    size_t taken;       /* of it, by the session */
    size_t offered;     /* of it, with the staging */
    struct brd_buf out; /* what the client has received */
};

struct rig {
    struct brd_clock *clock;
    struct brd_engine *engine;
    struct brd_session_env *env;
    struct talker talker[TALKERS];
};

static void
rig_start(struct rig *rig, struct brd_session_options options)
{
    struct brd_engine_options engine_options = { .durability = BRD_DURABILITY_NONE,
                                                 .manual = true,
                                                 .stripes = 4 };
    struct brd_engine_error error;
    size_t i;

    *rig = (struct rig){ .clock = brd_clock_create_fake(START_NS) };
    engine_options.clock = rig->clock;
    ck_assert_int_eq(brd_engine_create(&engine_options, &rig->engine), BRD_OK);
    ck_assert_int_eq(brd_engine_start(rig->engine, &error), BRD_OK);
    options.engine = rig->engine;
    options.frame_bytes_max = FRAME_MAX;
    ck_assert_int_eq(brd_session_env_create(&options, &rig->env), BRD_OK);
    for (i = 0; i < TALKERS; i++) {
        rig->talker[i].session = brd_session_create(rig->env);
        ck_assert_ptr_nonnull(rig->talker[i].session);
        brd_buf_init(&rig->talker[i].in);
        brd_buf_init(&rig->talker[i].out);
    }
}

static void
rig_end(struct rig *rig)
{
    size_t i;

    for (i = 0; i < TALKERS; i++) {
        brd_session_destroy(&rig->talker[i].session);
        brd_buf_fini(&rig->talker[i].in);
        brd_buf_fini(&rig->talker[i].out);
    }
    brd_session_env_destroy(&rig->env);
    brd_engine_destroy(&rig->engine);
    brd_clock_destroy(&rig->clock);
}

/* The client takes up to max bytes of what may leave. */
static void
receive(struct talker *talker, size_t max)
{
    struct iovec part;

    while (max > 0 && brd_session_output(talker->session, &part, 1) > 0) {
        size_t n = part.iov_len < max ? part.iov_len : max;

        brd_buf_append(&talker->out, part.iov_base, n);
        brd_session_sent(talker->session, n);
        max -= n;
    }
}

static struct brd_bytes
offer_of(const struct talker *talker)
{
    return brd_bytes(talker->in.data + talker->taken, talker->offered - talker->taken);
}

static bool
stage(struct talker *talker, size_t offered)
{
    talker->offered = offered;
    return brd_session_stage(talker->session, offer_of(talker));
}

static void
give(struct talker *talker)
{
    talker->taken += brd_session_input(talker->session, offer_of(talker));
}

/* Requests on keys that only this one uses, so that its replies do not depend on
 * the others. The last one says something that is no request. */
static void
add_requests(struct talker *talker, unsigned who)
{
    static uint8_t value[20000];
    char key[32];
    unsigned i;

    for (i = 1; i <= REQUESTS; i++) {
        snprintf(key, sizeof(key), "%u-%u", who, i % 5);
        memset(value, (int)(who + i), sizeof(value));
        switch ((i + who) % 7) {
        case 0:
            talk_put(&talker->in, i, key, value, i % 3 == 0 ? 17000 : i);
            break;
        case 1:
            talk_ping(&talker->in, i, value, i % 50);
            break;
        case 2:
            talk_get_many(&talker->in, i, key, i % 5);
            break;
        case 3:
            talk_unknown(&talker->in, (uint8_t)i);
            break;
        default:
            talk_get(&talker->in, i, key);
            break;
        }
    }
    if (who == TALKERS - 1)
        brd_buf_append(&talker->in, "\x03\xff\xff\xff", 4);
}

static void
add_all_requests(struct rig *rig)
{
    unsigned i;

    for (i = 0; i < TALKERS; i++)
        add_requests(&rig->talker[i], i);
}

static bool
is_done(const struct talker *talker)
{
    return talker->taken == talker->in.size ||
           brd_session_state(talker->session) == BRD_SESSION_CLOSING;
}

/* Everything that one says, by itself. */
static void
converse_alone(struct talker *talker)
{
    talker->offered = talker->in.size;
    while (!is_done(talker)) {
        give(talker);
        receive(talker, SIZE_MAX);
    }
    receive(talker, SIZE_MAX);
}

/* One batch of some of them, each with some of its input. */
static void
converse_together(struct rig *rig, unsigned *seed)
{
    struct talker *staged[TALKERS];
    unsigned first = (unsigned)rand_r(seed);
    size_t count = 0;
    bool room = true;
    unsigned i;

    for (i = 0; i < TALKERS && room; i++) {
        struct talker *talker = &rig->talker[(first + i) % TALKERS];
        size_t left = talker->in.size - talker->taken;
        size_t size = (size_t)rand_r(seed) % (rand_r(seed) % 4 == 0 ? 30000 : 100);

        if (is_done(talker) || rand_r(seed) % 4 == 0)
            continue;
        staged[count++] = talker;
        room = stage(talker, talker->taken + (size < left ? size : left));
    }
    brd_session_env_begin(rig->env);
    for (i = 0; i < count; i++)
        give(staged[i]);
    for (; count > 0 && rand_r(seed) % 2 == 0; give(staged[count - 1]))
        ;
    brd_session_env_end(rig->env);
    for (i = 0; i < TALKERS; i++)
        if (rand_r(seed) % 3 != 0)
            receive(&rig->talker[i], (size_t)rand_r(seed) % 4000);
}

/* The same replies but for the versions, which the order of writes decides. */
static void
expect_equal(const struct talker *one, const struct talker *other)
{
    struct brd_bytes a = brd_buf_bytes(&one->out);
    struct brd_bytes b = brd_buf_bytes(&other->out);
    size_t i;

    while (a.size > 0) {
        Brindle__V1__Reply *x = talk_take(&a);
        Brindle__V1__Reply *y = talk_take(&b);

        ck_assert(x != NULL && y != NULL);
        ck_assert_uint_eq(x->id, y->id);
        ck_assert_int_eq((int)x->status, (int)y->status);
        ck_assert_int_eq((int)x->has_value_case, (int)y->has_value_case);
        ck_assert_uint_eq(x->value.len, y->value.len);
        ck_assert(x->value.len == 0 || memcmp(x->value.data, y->value.data, x->value.len) == 0);
        ck_assert_uint_eq(x->n_items, y->n_items);
        for (i = 0; i < x->n_items; i++)
            ck_assert_uint_eq(x->items[i]->value.len, y->items[i]->value.len);
        talk_free(x);
        talk_free(y);
    }
    ck_assert_uint_eq(b.size, 0);
}

START_TEST(conversations_in_one_batch_are_answered_as_if_alone)
{
    const char *given = getenv("SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)_i + 1;
    /* Some with so few requests at once, or so few unanswered, that all stop often. */
    struct brd_session_options options = {
        .requests_at_once = seed % 3 == 0 ? 5 : 32,
        .limits = { .pending_max = seed % 2 == 0 ? 8 : 1000, .output_soft_bytes = 20000 },
    };
    struct rig alone;
    struct rig together;
    bool done = false;
    size_t i;

    printf("SEED=%u\n", seed);
    rig_start(&alone, options);
    rig_start(&together, options);
    add_all_requests(&alone);
    add_all_requests(&together);
    for (i = 0; i < TALKERS; i++)
        converse_alone(&alone.talker[i]);
    while (!done) {
        converse_together(&together, &seed);
        done = true;
        for (i = 0; i < TALKERS; i++)
            done &= is_done(&together.talker[i]);
    }
    for (i = 0; i < TALKERS; i++) {
        receive(&together.talker[i], SIZE_MAX);
        expect_equal(&alone.talker[i], &together.talker[i]);
    }
    rig_end(&alone);
    rig_end(&together);
}
END_TEST

START_TEST(a_session_that_others_made_full_leaves_what_was_staged_for_later)
{
    static uint8_t value[10000];
    struct talker *large;
    struct talker *small;
    struct rig rig;
    struct brd_bytes replies;
    unsigned i;

    rig_start(&rig, (struct brd_session_options){
                        .limits = { .output_soft_bytes = 16 << 20, .output_all_bytes = 3 << 20 } });
    large = &rig.talker[0];
    small = &rig.talker[1];
    talk_put(&large->in, 1, "large", value, sizeof(value));
    for (i = 0; i < 7; i++) /* more than what each may have in any case */
        talk_get(&small->in, i + 1, "large");
    converse_alone(large);
    small->offered = small->in.size;
    give(small);

    brd_buf_clear(&large->out);
    talk_get_many(&large->in, 2, "large", 400);
    talk_ping(&small->in, 8, "once", 4);
    ck_assert(stage(large, large->in.size));
    ck_assert(stage(small, small->in.size));
    brd_session_env_begin(rig.env);
    give(large);
    give(small);
    brd_session_env_end(rig.env);
    ck_assert_uint_eq(large->taken, large->in.size);
    ck_assert_uint_lt(small->taken, small->in.size);
    ck_assert_int_eq(brd_session_state(small->session), BRD_SESSION_FULL);

    receive(large, SIZE_MAX);
    receive(small, SIZE_MAX);
    converse_alone(small);
    replies = brd_buf_bytes(&small->out);
    for (i = 1; i <= 8; i++) {
        Brindle__V1__Reply *reply = talk_take(&replies);

        ck_assert_ptr_nonnull(reply);
        ck_assert_uint_eq(reply->id, i);
        ck_assert_int_eq((int)reply->status, BRD_OK);
        talk_free(reply);
    }
    ck_assert_uint_eq(replies.size, 0);
    rig_end(&rig);
}
END_TEST

START_TEST(staging_ends_when_the_group_is_full)
{
    struct rig rig;
    unsigned i;
    unsigned k;

    rig_start(&rig, (struct brd_session_options){ .requests_at_once = 32 });
    for (i = 0; i < TALKERS; i++)
        for (k = 1; k <= 10; k++)
            talk_ping(&rig.talker[i].in, k, NULL, 0);
    for (i = 0; i < 3; i++)
        ck_assert(stage(&rig.talker[i], rig.talker[i].in.size));
    ck_assert(!stage(&rig.talker[3], rig.talker[3].in.size));
    brd_session_env_begin(rig.env);
    for (i = 0; i < 4; i++) {
        give(&rig.talker[i]);
        ck_assert_uint_eq(rig.talker[i].taken, rig.talker[i].in.size);
    }
    brd_session_env_end(rig.env);
    rig_end(&rig);
}
END_TEST

/* So many keys that have expired; the talker is as if it had said nothing. */
static void
leave_mortals(struct rig *rig, struct talker *talker, unsigned count)
{
    char key[32];
    unsigned i;

    for (i = 0; i < count; i++) {
        snprintf(key, sizeof(key), "mortal-%u", i);
        talk_put_for(&talker->in, 1, key, 10);
    }
    converse_alone(talker);
    brd_buf_clear(&talker->in);
    brd_buf_clear(&talker->out);
    talker->taken = 0;
    brd_clock_advance(rig->clock, 10 * BRD_NS_PER_MS);
}

/* The next reply; returns its number. */
static int64_t
expect(struct brd_bytes *replies, uint64_t id, enum brd_status status)
{
    Brindle__V1__Reply *reply = talk_take(replies);
    int64_t number;

    ck_assert_ptr_nonnull(reply);
    ck_assert_uint_eq(reply->id, id);
    ck_assert_int_eq((int)reply->status, (int)status);
    number = reply->number;
    talk_free(reply);
    return number;
}

static struct brd_bytes
received(struct talker *talker)
{
    receive(talker, SIZE_MAX);
    return brd_buf_bytes(&talker->out);
}

START_TEST(others_are_served_between_the_parts_of_a_purge)
{
    struct rig rig;
    struct talker *purger;
    struct talker *other;
    struct brd_bytes replies;
    size_t purge_at;
    int64_t last = 5001;
    uint64_t turns = 0;
    uint64_t k;

    rig_start(&rig, (struct brd_session_options){ .requests_at_once = _i == 0 ? 0 : 32 });
    purger = &rig.talker[0];
    other = &rig.talker[1];
    leave_mortals(&rig, purger, 5000);
    talk_ping(&purger->in, 1, "before", 6);
    purge_at = purger->in.size;
    talk_purge(&purger->in, 2);
    talk_count(&purger->in, 3, true);
    talk_get(&purger->in, 4, "mortal-7");
    brd_buf_append(&purger->in, "\x03\xff\xff\xff", 4);
    while (!is_done(purger)) {
        talk_count(&other->in, ++turns, false);
        if (_i == 0) {
            purger->offered = purger->in.size;
            other->offered = other->in.size;
            give(purger);
            give(other);
        } else {
            /* In one batch; what stops the decoding lies behind the purge. */
            (void)stage(other, other->in.size);
            (void)stage(purger, purger->in.size);
            brd_session_env_begin(rig.env);
            give(other);
            give(purger);
            brd_session_env_end(rig.env);
        }
        if (!is_done(purger)) {
            /* Only what came before is answered; its bytes stay, and are worth an offer. */
            replies = received(purger);
            expect(&replies, 1, BRD_OK);
            ck_assert_uint_eq(replies.size, 0);
            ck_assert_uint_eq(purger->taken, purge_at);
            ck_assert_uint_eq(brd_session_needs(purger->session), 1);
            ck_assert_int_eq(brd_session_state(purger->session), BRD_SESSION_OPEN);
        }
    }
    ck_assert_uint_gt(turns, 5);
    replies = received(other);
    for (k = 1; k <= turns; k++) {
        int64_t number = expect(&replies, k, BRD_OK);

        ck_assert_int_lt(number, last); /* a part has been done in each turn */
        last = number;
    }
    ck_assert_uint_eq(replies.size, 0);
    replies = received(purger);
    expect(&replies, 1, BRD_OK);
    ck_assert_int_eq(expect(&replies, 2, BRD_OK), 5000);
    ck_assert_int_eq(expect(&replies, 3, BRD_OK), 0);
    expect(&replies, 4, BRD_NOT_FOUND);
    expect(&replies, 0, BRD_PROTOCOL_ERROR);
    ck_assert_uint_eq(replies.size, 0);
    rig_end(&rig);
}
END_TEST

START_TEST(a_purge_waits_for_output_that_is_full_and_goes_on_behind_it)
{
    struct rig rig;
    struct talker *talker;
    struct brd_bytes replies;

    rig_start(&rig, (struct brd_session_options){ .limits = { .pending_max = 2 } });
    talker = &rig.talker[0];
    leave_mortals(&rig, talker, 2000);
    talk_ping(&talker->in, 1, NULL, 0);
    talk_purge(&talker->in, 2);
    talk_purge(&talker->in, 3);
    talker->offered = talker->in.size;
    while (brd_session_state(talker->session) == BRD_SESSION_OPEN)
        give(talker); /* nobody takes the replies */
    ck_assert_int_eq(brd_session_state(talker->session), BRD_SESSION_FULL);
    converse_alone(talker);
    replies = received(talker);
    expect(&replies, 1, BRD_OK);
    ck_assert_int_eq(expect(&replies, 2, BRD_OK), 2000);
    ck_assert_int_eq(expect(&replies, 3, BRD_OK), 0);
    ck_assert_uint_eq(replies.size, 0);
    rig_end(&rig);
}
END_TEST

START_TEST(a_conversation_may_end_in_the_middle_of_a_purge)
{
    struct rig rig;
    struct talker *talker;
    struct brd_bytes replies;

    rig_start(&rig, (struct brd_session_options){ .requests_at_once = 0 });
    leave_mortals(&rig, &rig.talker[0], 2000);
    talk_purge(&rig.talker[0].in, 1);
    rig.talker[0].offered = rig.talker[0].in.size;
    give(&rig.talker[0]);
    ck_assert_uint_eq(rig.talker[0].taken, 0);
    brd_session_close(rig.talker[0].session, BRD_TIMEOUT);
    give(&rig.talker[0]);
    replies = received(&rig.talker[0]);
    expect(&replies, 0, BRD_TIMEOUT);
    ck_assert_uint_eq(replies.size, 0);

    talker = &rig.talker[1];
    talk_purge(&talker->in, 1);
    converse_alone(talker);
    replies = received(talker);
    ck_assert_int_lt(expect(&replies, 1, BRD_OK), 2000);
    talk_count(&talker->in, 2, false);
    converse_alone(talker);
    replies = received(talker);
    expect(&replies, 1, BRD_OK);
    ck_assert_int_eq(expect(&replies, 2, BRD_OK), 0);
    rig_end(&rig);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("stage");
    TCase *tcase = tcase_create("stage");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, conversations_in_one_batch_are_answered_as_if_alone, 0, 60);
    tcase_add_test(tcase, a_session_that_others_made_full_leaves_what_was_staged_for_later);
    tcase_add_loop_test(tcase, others_are_served_between_the_parts_of_a_purge, 0, 2);
    tcase_add_test(tcase, a_purge_waits_for_output_that_is_full_and_goes_on_behind_it);
    tcase_add_test(tcase, a_conversation_may_end_in_the_middle_of_a_purge);
    tcase_add_test(tcase, staging_ends_when_the_group_is_full);
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
