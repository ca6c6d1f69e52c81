/* What each request does, in memory, with a clock that the test moves. */
#include "engine/rig.h"

static struct rig rig;

static void
setup(void)
{
    memset(&rig, 0, sizeof(rig));
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
}

static void
teardown(void)
{
    rig_fini(&rig);
}

START_TEST(get_of_an_absent_key_is_not_found)
{
    assert_absent(&rig, "nobody");
    ck_assert_uint_eq(rig.reply.version, 0);
}
END_TEST

START_TEST(put_then_get_returns_the_value_and_its_version)
{
    uint64_t version;

    ck_assert_int_eq(rig_put(&rig, "k", "v"), BRD_OK);
    version = rig.reply.version;
    ck_assert_uint_ge(version, RIG_START_NS);
    assert_value(&rig, "k", "v");
    ck_assert_uint_eq(rig.reply.version, version);
    ck_assert_int_eq(rig_put(&rig, "k", "w"), BRD_OK);
    ck_assert_uint_gt(rig.reply.version, version);
}
END_TEST

START_TEST(the_empty_key_and_the_empty_value_are_legal)
{
    ck_assert_int_eq(rig_put(&rig, "", ""), BRD_OK);
    assert_value(&rig, "", "");
    ck_assert(rig.reply.has_value);
}
END_TEST

START_TEST(put_if_absent_keeps_a_live_value_and_its_deadline)
{
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("old"), .ttl_ms = 1000)), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("new"), .condition = BRD_IF_ABSENT)),
                     BRD_EXISTS);
    ck_assert_uint_ne(rig.reply.version, 0);
    assert_value(&rig, "k", "old");
    ck_assert_int_eq(rig_do(&rig, REQUEST(TTL, KEY("k"))), BRD_OK);
    ck_assert_uint_eq(rig.reply.ttl_ms, 1000);
}
END_TEST

START_TEST(put_if_absent_takes_an_expired_key_as_absent)
{
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("old"), .ttl_ms = 10)), BRD_OK);
    rig_advance_ms(&rig, 10);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("new"), .condition = BRD_IF_ABSENT)),
                     BRD_OK);
    assert_value(&rig, "k", "new");
}
END_TEST

START_TEST(put_if_present_needs_a_live_key)
{
    struct brd_request put = REQUEST(PUT, KEY("k"), VALUE("v"), .condition = BRD_IF_PRESENT);

    ck_assert_int_eq(rig_do(&rig, put), BRD_NOT_FOUND);
    ck_assert_int_eq(rig_put(&rig, "k", "u"), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, put), BRD_OK);
    assert_value(&rig, "k", "v");
}
END_TEST

START_TEST(put_if_version_is_compare_and_set)
{
    uint64_t version;

    ck_assert_int_eq(rig_put(&rig, "k", "1"), BRD_OK);
    version = rig.reply.version;
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("2"), .condition = BRD_IF_VERSION,
                                          .if_version = version)),
                     BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("3"), .condition = BRD_IF_VERSION,
                                          .if_version = version)),
                     BRD_VERSION_MISMATCH);
    ck_assert_uint_gt(rig.reply.version, version);
    assert_value(&rig, "k", "2");
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("gone"), VALUE("3"), .condition = BRD_IF_VERSION,
                                          .if_version = version)),
                     BRD_NOT_FOUND);
}
END_TEST

START_TEST(put_returns_the_previous_value_when_asked)
{
    struct brd_request put = REQUEST(PUT, KEY("k"), VALUE("2"), .return_previous = true);

    ck_assert_int_eq(rig_do(&rig, put), BRD_OK);
    ck_assert(!rig.reply.has_value);
    put.value = brd_bytes_of("3");
    ck_assert_int_eq(rig_do(&rig, put), BRD_OK);
    ck_assert_str_eq(rig.value, "2");
    put.condition = BRD_IF_ABSENT;
    ck_assert_int_eq(rig_do(&rig, put), BRD_EXISTS);
    ck_assert_str_eq(rig.value, "3");
}
END_TEST

START_TEST(put_returns_a_large_previous_value_by_reference)
{
    static uint8_t large[BRD_OP_COUNT_OF * 8192];
    struct brd_request put =
        REQUEST(PUT, KEY("k"), .value = brd_bytes(large, sizeof(large)), .return_previous = true);

    memset(large, 'x', sizeof(large));
    ck_assert_int_eq(rig_do(&rig, put), BRD_OK);
    rig.request = put;
    rig.request.value = brd_bytes_of("small");
    brd_caller_begin(rig.caller);
    brd_caller_prepare(rig.caller, &rig.request, 1);
    ck_assert_int_eq(brd_caller_execute(rig.caller, &rig.request, &rig.reply), BRD_OK);
    ck_assert_ptr_nonnull(rig.reply.blob);
    ck_assert_uint_eq(rig.reply.value.size, sizeof(large));
    ck_assert_mem_eq(rig.reply.value.data, large, sizeof(large));
    brd_caller_done(rig.caller, &rig.reply);
    brd_caller_end(rig.caller);
    assert_value(&rig, "k", "small");
}
END_TEST

START_TEST(a_plain_put_drops_the_deadline_and_keep_ttl_keeps_it)
{
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("1"), .ttl_ms = 500)), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("2"), .keep_ttl = true)), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(TTL, KEY("k"))), BRD_OK);
    ck_assert(rig.reply.has_ttl);
    ck_assert_uint_eq(rig.reply.ttl_ms, 500);
    ck_assert_int_eq(rig_put(&rig, "k", "3"), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(TTL, KEY("k"))), BRD_OK);
    ck_assert(!rig.reply.has_ttl);
}
END_TEST

START_TEST(a_key_is_gone_at_its_deadline_and_not_before)
{
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("v"), .ttl_ms = 100)), BRD_OK);
    rig_advance_ms(&rig, 99);
    assert_value(&rig, "k", "v");
    rig_advance_ms(&rig, 1);
    assert_absent(&rig, "k");
    ck_assert_int_eq(rig_do(&rig, REQUEST(TTL, KEY("k"))), BRD_NOT_FOUND);
    ck_assert_int_eq(rig_do(&rig, REQUEST(COUNT)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 1); /* not reaped yet */
    ck_assert_int_eq(rig_do(&rig, REQUEST(COUNT, .exact = true)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 0);
}
END_TEST

START_TEST(the_wall_clock_stepped_back_does_not_revive_an_expired_key)
{
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("v"), .ttl_ms = 100)), BRD_OK);
    rig_advance_ms(&rig, 200);
    assert_absent(&rig, "k");
    brd_engine_tick(rig.engine);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("j"), VALUE("v"), .ttl_ms = 100)), BRD_OK);
    rig_advance_ms(&rig, 150);
    brd_engine_tick(rig.engine);
    brd_clock_step(rig.options.clock, -3600 * (int64_t)BRD_NS_PER_S);
    assert_absent(&rig, "k");
    assert_absent(&rig, "j");
    ck_assert_int_eq(rig_put(&rig, "n", "1"), BRD_OK);
    ck_assert_int_eq(rig_put(&rig, "n", "2"), BRD_OK);
    assert_value(&rig, "n", "2");
}
END_TEST

START_TEST(what_was_seen_expired_stays_so_though_the_clock_steps_back_before_the_next_round)
{
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("v"), .ttl_ms = 100)), BRD_OK);
    rig_advance_ms(&rig, 100);
    assert_absent(&rig, "k");
    brd_clock_step(rig.options.clock, -3600 * (int64_t)BRD_NS_PER_S);
    assert_absent(&rig, "k");
    brd_engine_tick(rig.engine);
    assert_absent(&rig, "k");
}
END_TEST

START_TEST(a_key_that_one_caller_saw_expired_is_not_persisted_by_one_that_began_before)
{
    struct brd_request persist = REQUEST(PERSIST, KEY("k"));
    struct brd_caller *other = NULL;
    struct brd_reply reply;

    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), VALUE("v"), .ttl_ms = 100)), BRD_OK);
    ck_assert_int_eq(brd_caller_attach(rig.engine, &other), BRD_OK);
    brd_caller_begin(other);
    brd_caller_prepare(other, &persist, 1);
    rig_advance_ms(&rig, 100);
    assert_absent(&rig, "k");
    ck_assert_int_eq(brd_caller_execute(other, &persist, &reply), BRD_OK);
    ck_assert_int_eq(reply.status, BRD_NOT_FOUND);
    brd_caller_done(other, &reply);
    brd_caller_end(other);
    brd_caller_detach(&other);
    assert_absent(&rig, "k");
}
END_TEST

START_TEST(a_key_as_long_as_the_options_can_allow_is_stored)
{
    static uint8_t longest[1 << 20];
    struct brd_bytes key = brd_bytes(longest, sizeof(longest));

    rig_fini(&rig);
    rig.options = (struct brd_engine_options){ .max_key_bytes = sizeof(longest) };
    ck_assert_int_eq(rig_start(&rig), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, .key = key, VALUE("v"))), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(GET, .key = key)), BRD_OK);
    ck_assert_str_eq(rig.value, "v");
}
END_TEST

START_TEST(a_deadline_in_the_past_deletes_the_key)
{
    uint64_t past = RIG_START_NS / BRD_NS_PER_MS - 5;

    ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("a"), VALUE("2"), .deadline_ms = past)), BRD_OK);
    assert_absent(&rig, "a");
    ck_assert_int_eq(rig_put(&rig, "b", "1"), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(EXPIRE, KEY("b"), .deadline_ms = past)), BRD_OK);
    assert_absent(&rig, "b");
}
END_TEST

START_TEST(expire_sets_and_persist_removes_a_deadline_and_keep_the_value)
{
    ck_assert_int_eq(rig_do(&rig, REQUEST(EXPIRE, KEY("k"), .ttl_ms = 50)), BRD_NOT_FOUND);
    ck_assert_int_eq(rig_put(&rig, "k", "v"), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PERSIST, KEY("k"))), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 0);
    ck_assert_int_eq(rig_do(&rig, REQUEST(EXPIRE, KEY("k"), .ttl_ms = 50)), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PERSIST, KEY("k"))), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 1);
    rig_advance_ms(&rig, 100);
    assert_value(&rig, "k", "v");
    ck_assert_int_eq(rig_do(&rig, REQUEST(EXPIRE, KEY("k"), .ttl_ms = 50)), BRD_OK);
    rig_advance_ms(&rig, 50);
    assert_absent(&rig, "k");
    ck_assert_int_eq(rig_do(&rig, REQUEST(EXPIRE, KEY("k"))), BRD_INVALID_ARGUMENT);
}
END_TEST

START_TEST(delete_counts_live_keys_once)
{
    struct brd_bytes keys[] = { brd_bytes_of("a"), brd_bytes_of("b"), brd_bytes_of("a"),
                                brd_bytes_of("c") };

    ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("b"), VALUE("2"), .ttl_ms = 5)), BRD_OK);
    rig_advance_ms(&rig, 5);
    ck_assert_int_eq(rig_do(&rig, REQUEST(DELETE, .keys = keys, .count = 4)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 1);
    assert_absent(&rig, "a");
    ck_assert_int_eq(rig_do(&rig, REQUEST(DELETE, .keys = keys, .count = 1)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 0);
    ck_assert_uint_eq(rig.reply.version, 0);
}
END_TEST

START_TEST(exists_counts_repeats)
{
    struct brd_bytes keys[] = { brd_bytes_of("a"), brd_bytes_of("a"), brd_bytes_of("b") };

    ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(EXISTS, .keys = keys, .count = 3)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 2);
}
END_TEST

START_TEST(get_many_answers_in_request_order)
{
    struct brd_bytes keys[] = { brd_bytes_of("b"), brd_bytes_of("x"), brd_bytes_of("a") };

    ck_assert_int_eq(rig_put(&rig, "a", "1"), BRD_OK);
    ck_assert_int_eq(rig_put(&rig, "b", "2"), BRD_OK);
    rig.request = REQUEST(GET_MANY, .keys = keys, .count = 3);
    brd_caller_begin(rig.caller);
    ck_assert_int_eq(brd_caller_execute(rig.caller, &rig.request, &rig.reply), BRD_OK);
    ck_assert_uint_eq(rig.reply.item_count, 3);
    ck_assert(rig.reply.items[0].found);
    ck_assert_mem_eq(rig.reply.items[0].value.data, "2", 1);
    ck_assert(!rig.reply.items[1].found);
    ck_assert(rig.reply.items[2].found);
    ck_assert_mem_eq(rig.reply.items[2].value.data, "1", 1);
    brd_caller_done(rig.caller, &rig.reply);
    brd_caller_end(rig.caller);
}
END_TEST

START_TEST(put_many_gives_all_keys_one_version_and_the_last_of_a_key_wins)
{
    struct brd_key_value items[] = { { brd_bytes_of("a"), brd_bytes_of("1") },
                                     { brd_bytes_of("b"), brd_bytes_of("2") },
                                     { brd_bytes_of("a"), brd_bytes_of("3") } };
    uint64_t version;

    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT_MANY, .items = items, .count = 3, .ttl_ms = 7)),
                     BRD_OK);
    version = rig.reply.version;
    ck_assert_int_eq(rig.reply.number, 3);
    assert_value(&rig, "a", "3");
    ck_assert_uint_eq(rig.reply.version, version);
    assert_value(&rig, "b", "2");
    ck_assert_uint_eq(rig.reply.version, version);
    rig_advance_ms(&rig, 7);
    assert_absent(&rig, "a");
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT_MANY)), BRD_INVALID_ARGUMENT);
}
END_TEST

START_TEST(incr_counts_from_initial_and_keeps_the_deadline)
{
    struct brd_request incr = REQUEST(INCR, KEY("n"), .delta = 5, .initial = 10, .ttl_ms = 100);

    ck_assert_int_eq(rig_do(&rig, incr), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 15);
    rig_advance_ms(&rig, 60);
    incr.delta = -20;
    ck_assert_int_eq(rig_do(&rig, incr), BRD_OK);
    ck_assert_int_eq(rig.reply.number, -5);
    assert_value(&rig, "n", "-5");
    rig_advance_ms(&rig, 40);
    assert_absent(&rig, "n");
}
END_TEST

START_TEST(incr_refuses_what_is_no_integer_and_what_overflows)
{
    static const char *const bad[] = { "",
                                       "x",
                                       "1x",
                                       " 1",
                                       "+1",
                                       "01",
                                       "-0",
                                       "-",
                                       "1.0",
                                       "9223372036854775808",
                                       "-9223372036854775809",
                                       "99999999999999999999999" };
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_eq(rig_put(&rig, "n", bad[i]), BRD_OK);
        ck_assert_int_eq(rig_do(&rig, REQUEST(INCR, KEY("n"), .delta = 1)), BRD_NOT_AN_INTEGER);
        assert_value(&rig, "n", bad[i]);
    }
    ck_assert_int_eq(rig_put(&rig, "n", "9223372036854775807"), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(INCR, KEY("n"), .delta = 1)), BRD_OUT_OF_RANGE);
    assert_value(&rig, "n", "9223372036854775807");
    ck_assert_int_eq(rig_do(&rig, REQUEST(INCR, KEY("n"), .delta = INT64_MIN)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, -1);
    ck_assert_int_eq(rig_put(&rig, "n", "-9223372036854775808"), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(INCR, KEY("n"), .delta = -1)), BRD_OUT_OF_RANGE);
    ck_assert_int_eq(rig_do(&rig, REQUEST(INCR, KEY("n"), .delta = 0)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, INT64_MIN);
}
END_TEST

START_TEST(append_creates_and_extends_and_keeps_the_deadline)
{
    ck_assert_int_eq(rig_do(&rig, REQUEST(APPEND, KEY("k"), VALUE("ab"))), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 2);
    ck_assert_int_eq(rig_do(&rig, REQUEST(EXPIRE, KEY("k"), .ttl_ms = 9)), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(APPEND, KEY("k"), VALUE("cd"))), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 4);
    assert_value(&rig, "k", "abcd");
    ck_assert_int_eq(rig_do(&rig, REQUEST(TTL, KEY("k"))), BRD_OK);
    ck_assert_uint_eq(rig.reply.ttl_ms, 9);
}
END_TEST

START_TEST(append_grows_through_the_size_where_values_become_blobs)
{
    static char piece[5000];
    int i;

    memset(piece, 'p', sizeof(piece));
    for (i = 1; i <= 20; i++) {
        piece[0] = (char)('a' + i);
        ck_assert_int_eq(rig_do(&rig, REQUEST(APPEND, KEY("k"), .value = brd_bytes(piece, 5000))),
                         BRD_OK);
        ck_assert_int_eq(rig.reply.number, i * 5000);
    }
    ck_assert_int_eq(rig_get(&rig, "k"), BRD_OK);
    ck_assert_uint_eq(rig.reply.value.size, 100000);
    for (i = 1; i <= 20; i++)
        ck_assert_int_eq(rig.value[(i - 1) * 5000], 'a' + i);
}
END_TEST

START_TEST(clear_removes_everything_and_says_how_much)
{
    char key[16];
    int i;

    for (i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        ck_assert_int_eq(rig_put(&rig, key, "v"), BRD_OK);
    }
    ck_assert_int_eq(rig_do(&rig, REQUEST(CLEAR)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 1000);
    assert_absent(&rig, "k7");
    ck_assert_int_eq(rig_do(&rig, REQUEST(COUNT)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 0);
    ck_assert_uint_gt(brd_engine_tick(rig.engine), 0);
}
END_TEST

START_TEST(purge_reports_how_many_expired)
{
    char key[16];
    int i;

    for (i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY(key), VALUE("v"),
                                              .ttl_ms = 10 + (uint64_t)(i % 2) * 10)),
                         BRD_OK);
    }
    rig_advance_ms(&rig, 10);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PURGE)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 250);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PURGE)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 0);
}
END_TEST

/* Put `count` keys that expire after 10 ms, and as many that do not. */
static void
put_mortals(int count)
{
    char key[24];
    int i;

    for (i = 0; i < count; i++) {
        snprintf(key, sizeof(key), "mortal%d", i);
        ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY(key), VALUE("v"), .ttl_ms = 10)), BRD_OK);
        snprintf(key, sizeof(key), "k%d", i);
        ck_assert_int_eq(rig_put(&rig, key, "v"), BRD_OK);
    }
}

static int64_t
count_all(void)
{
    ck_assert_int_eq(rig_do(&rig, REQUEST(COUNT)), BRD_OK);
    return rig.reply.number;
}

START_TEST(a_purge_in_parts_removes_what_had_expired_when_it_began)
{
    struct brd_job job = { .under_way = false };
    int64_t before;
    char key[24];
    int parts;

    put_mortals(4000);
    rig_advance_ms(&rig, 10);
    before = count_all();
    ck_assert_int_eq(before, 8000);
    for (parts = 0; rig_do(&rig, REQUEST(PURGE, .job = &job)) == BRD_BUSY; parts++) {
        int64_t now = count_all();

        ck_assert(job.under_way);
        ck_assert_int_lt(now, before);
        ck_assert_int_ge(now, before - 600); /* a part, and no more */
        before = now + 1;
        /* Others come between, and what they leave expires before the end. */
        snprintf(key, sizeof(key), "late%d", parts);
        ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY(key), VALUE("v"), .ttl_ms = 1)), BRD_OK);
        rig_advance_ms(&rig, 1);
        assert_absent(&rig, key);
        assert_value(&rig, "k7", "v");
    }
    ck_assert_int_ge(parts, 4000 / 600);
    ck_assert(!job.under_way);
    ck_assert_int_eq(rig.reply.number, 4000);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PURGE, .job = &job)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, parts);
    ck_assert_int_eq(count_all(), 4000);
}
END_TEST

START_TEST(an_exact_count_in_parts_is_the_one_at_once)
{
    struct brd_job job = { .under_way = false };
    int parts = 0;

    put_mortals(4000);
    rig_advance_ms(&rig, 10);
    while (rig_do(&rig, REQUEST(COUNT, .exact = true, .job = &job)) == BRD_BUSY)
        parts++;
    ck_assert_int_ge(parts, 4000 / 600);
    ck_assert_int_eq(rig.reply.number, 4000);
    ck_assert_int_eq(rig_do(&rig, REQUEST(COUNT, .exact = true)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 4000);
}
END_TEST

START_TEST(a_purge_that_is_given_up_leaves_the_rest_to_the_next)
{
    struct brd_job job = { .under_way = false };
    int64_t removed;

    put_mortals(2000);
    rig_advance_ms(&rig, 10);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PURGE, .job = &job)), BRD_BUSY);
    removed = 4000 - count_all();
    ck_assert_int_gt(removed, 0);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PURGE)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 2000 - removed);
}
END_TEST

START_TEST(the_reaper_removes_what_expired_and_spares_a_rewritten_key)
{
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("a"), VALUE("1"), .ttl_ms = 10)), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("b"), VALUE("1"), .ttl_ms = 10)), BRD_OK);
    ck_assert_int_eq(rig_put(&rig, "b", "2"), BRD_OK);
    rig_advance_ms(&rig, 20);
    brd_engine_tick(rig.engine);
    ck_assert_int_eq(rig_do(&rig, REQUEST(COUNT)), BRD_OK);
    ck_assert_int_eq(rig.reply.number, 1);
    assert_value(&rig, "b", "2");
}
END_TEST

START_TEST(contradictory_and_oversized_requests_get_typed_errors)
{
    static uint8_t big[70000];
    struct brd_bytes big_key = brd_bytes(big, 65537);

    ck_assert_int_eq(rig_do(&rig,
                            REQUEST(PUT, KEY("k"), VALUE("v"), .ttl_ms = 1, .deadline_ms = 2)),
                     BRD_INVALID_ARGUMENT);
    ck_assert_int_eq(rig_do(&rig,
                            REQUEST(PUT, KEY("k"), VALUE("v"), .ttl_ms = 1, .keep_ttl = true)),
                     BRD_INVALID_ARGUMENT);
    ck_assert_int_eq(rig_do(&rig, REQUEST(GET, .key = big_key)), BRD_TOO_LARGE);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, .key = big_key)), BRD_TOO_LARGE);
    ck_assert_int_eq(rig_do(&rig, REQUEST(EXISTS, .keys = &big_key, .count = 1)), BRD_TOO_LARGE);
    ck_assert_int_eq(rig_do(&rig, REQUEST(GET, .key = brd_bytes(big, 65536))), BRD_NOT_FOUND);
    ck_assert_int_eq(rig_do(&rig, REQUEST(GET, KEY("k"), .name_space = brd_bytes_of("users"))),
                     BRD_NAMESPACE_NOT_FOUND);
    ck_assert_int_eq(rig_do(&rig, REQUEST(GET, KEY("k"), .name_space = brd_bytes_of("default"))),
                     BRD_NOT_FOUND);
    ck_assert_int_eq(rig_do(&rig, REQUEST(DELETE)), BRD_INVALID_ARGUMENT);
    ck_assert_int_eq(rig_do(&rig, REQUEST(PUT, KEY("k"), .durability = BRD_DURABILITY_FULL)),
                     BRD_NOT_DURABLE);
    ck_assert_int_eq(rig_do(&rig, REQUEST(SYNC)), BRD_NOT_DURABLE);
    ck_assert_int_eq(rig_do(&rig, REQUEST(UNKNOWN)), BRD_UNKNOWN_REQUEST);
    ck_assert_uint_gt(strlen(rig.message), 0);
}
END_TEST

START_TEST(the_memory_limit_refuses_writes_and_lets_reads_and_deletes_go_on)
{
    static uint8_t block[8000];
    struct brd_bytes key0 = brd_bytes_of("k0");
    char key[16];
    int i;

    brd_engine_set_max_memory(rig.engine, 2 << 20);
    for (i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        if (rig_do(&rig, REQUEST(PUT, KEY(key), .value = brd_bytes(block, sizeof(block)))) !=
            BRD_OK)
            break;
    }
    ck_assert_int_eq(rig.reply.status, BRD_OUT_OF_MEMORY);
    ck_assert_int_gt(i, 50);
    ck_assert_int_lt(i, 270);
    ck_assert_int_eq(rig_get(&rig, "k0"), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(DELETE, .keys = &key0, .count = 1)), BRD_OK);
    ck_assert_int_eq(rig_do(&rig, REQUEST(CLEAR)), BRD_OK);
    while (brd_engine_tick(rig.engine) > 0)
        ;
    ck_assert_int_eq(rig_put(&rig, "again", "v"), BRD_OK);
}
END_TEST

static int64_t
stat_of(const char *name)
{
    int64_t number = -1;
    size_t i;

    rig.request = REQUEST(STATS, .value = brd_bytes_of(name));
    brd_caller_begin(rig.caller);
    ck_assert_int_eq(brd_caller_execute(rig.caller, &rig.request, &rig.reply), BRD_OK);
    for (i = 0; i < rig.reply.stat_count; i++)
        if (strcmp(rig.reply.stats[i].name, name) == 0)
            number = rig.reply.stats[i].number;
    brd_caller_done(rig.caller, &rig.reply);
    brd_caller_end(rig.caller);
    return number;
}

START_TEST(stats_count_and_reset_spares_the_gauges)
{
    ck_assert_int_eq(rig_put(&rig, "k", "v"), BRD_OK);
    assert_value(&rig, "k", "v");
    assert_absent(&rig, "x");
    ck_assert_int_eq(stat_of("gets"), 2);
    ck_assert_int_eq(stat_of("hits"), 1);
    ck_assert_int_eq(stat_of("misses"), 1);
    ck_assert_int_eq(stat_of("puts"), 1);
    ck_assert_int_eq(stat_of("keys"), 1);
    ck_assert_int_eq(stat_of("bytes_written"), 2);
    ck_assert_int_eq(rig_do(&rig, REQUEST(RESET_STATS)), BRD_OK);
    ck_assert_int_eq(stat_of("gets"), 0);
    ck_assert_int_eq(stat_of("keys"), 1);
    ck_assert_int_eq(stat_of("no_such_statistic"), -1);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("engine commands");
    TCase *tcase = tcase_create("requests");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, get_of_an_absent_key_is_not_found);
    tcase_add_test(tcase, put_then_get_returns_the_value_and_its_version);
    tcase_add_test(tcase, the_empty_key_and_the_empty_value_are_legal);
    tcase_add_test(tcase, put_if_absent_keeps_a_live_value_and_its_deadline);
    tcase_add_test(tcase, put_if_absent_takes_an_expired_key_as_absent);
    tcase_add_test(tcase, put_if_present_needs_a_live_key);
    tcase_add_test(tcase, put_if_version_is_compare_and_set);
    tcase_add_test(tcase, put_returns_the_previous_value_when_asked);
    tcase_add_test(tcase, put_returns_a_large_previous_value_by_reference);
    tcase_add_test(tcase, a_plain_put_drops_the_deadline_and_keep_ttl_keeps_it);
    tcase_add_test(tcase, a_key_is_gone_at_its_deadline_and_not_before);
    tcase_add_test(tcase, the_wall_clock_stepped_back_does_not_revive_an_expired_key);
    tcase_add_test(
        tcase, what_was_seen_expired_stays_so_though_the_clock_steps_back_before_the_next_round);
    tcase_add_test(tcase,
                   a_key_that_one_caller_saw_expired_is_not_persisted_by_one_that_began_before);
    tcase_add_test(tcase, a_key_as_long_as_the_options_can_allow_is_stored);
    tcase_add_test(tcase, a_deadline_in_the_past_deletes_the_key);
    tcase_add_test(tcase, expire_sets_and_persist_removes_a_deadline_and_keep_the_value);
    tcase_add_test(tcase, delete_counts_live_keys_once);
    tcase_add_test(tcase, exists_counts_repeats);
    tcase_add_test(tcase, get_many_answers_in_request_order);
    tcase_add_test(tcase, put_many_gives_all_keys_one_version_and_the_last_of_a_key_wins);
    tcase_add_test(tcase, incr_counts_from_initial_and_keeps_the_deadline);
    tcase_add_test(tcase, incr_refuses_what_is_no_integer_and_what_overflows);
    tcase_add_test(tcase, append_creates_and_extends_and_keeps_the_deadline);
    tcase_add_test(tcase, append_grows_through_the_size_where_values_become_blobs);
    tcase_add_test(tcase, clear_removes_everything_and_says_how_much);
    tcase_add_test(tcase, purge_reports_how_many_expired);
    tcase_add_test(tcase, a_purge_in_parts_removes_what_had_expired_when_it_began);
    tcase_add_test(tcase, an_exact_count_in_parts_is_the_one_at_once);
    tcase_add_test(tcase, a_purge_that_is_given_up_leaves_the_rest_to_the_next);
    tcase_add_test(tcase, the_reaper_removes_what_expired_and_spares_a_rewritten_key);
    tcase_add_test(tcase, contradictory_and_oversized_requests_get_typed_errors);
    tcase_add_test(tcase, the_memory_limit_refuses_writes_and_lets_reads_and_deletes_go_on);
    tcase_add_test(tcase, stats_count_and_reset_spares_the_gauges);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
