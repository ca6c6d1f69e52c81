/* The wheel of deadlines, against a plain list that is searched. */
#include "store/expiry.h"
#include "store_test.h"

#define ENTRIES 2000

static struct expiry *expiry;
static struct brd_entry *entries[ENTRIES];
static bool added[ENTRIES];
static uint64_t count;

static void
setup(void)
{
    uint32_t i;

    expiry = expiry_create();
    for (i = 0; i < ENTRIES; i++) {
        entries[i] = brd_entry_create(brd_bytes(&i, sizeof(i)), brd_bytes(NULL, 0), NULL, true);
        added[i] = false;
    }
    count = 0;
}

static void
teardown(void)
{
    uint32_t i;

    for (i = 0; i < ENTRIES; i++)
        brd_entry_discard(&entries[i]);
    expiry_destroy(&expiry);
}

static void
add(uint32_t i, uint64_t deadline_ms, uint64_t now_ms)
{
    entry_set_deadline(entries[i], deadline_ms);
    expiry_add(expiry, entries[i], now_ms);
    added[i] = true;
    count++;
}

static void
take(uint32_t i)
{
    expiry_remove(expiry, entries[i]);
    added[i] = false;
    count--;
}

static uint64_t
earliest(void)
{
    uint64_t ms = UINT64_MAX;
    uint32_t i;

    for (i = 0; i < ENTRIES; i++)
        if (added[i] && entry_deadline(entries[i]) < ms)
            ms = entry_deadline(entries[i]);
    return ms;
}

/* Take out everything expired, with this budget for each call, and check that
 * it was exactly that. Returns the bound for the rest. */
static uint64_t
reap(uint64_t now_ms, uint32_t budget)
{
    uint64_t next_ms = 0;
    uint64_t moved = 0;

    for (;;) {
        uint32_t left = budget;
        struct brd_entry *entry = expiry_pop(expiry, now_ms, &left, &next_ms);
        uint32_t i;

        moved += budget - left;
        ck_assert_uint_lt(moved, 40 * ENTRIES);
        if (entry == NULL && left == 0) {
            /* As between two slices: whatever is there may go meanwhile. */
            expiry_settle(expiry);
            for (i = 0; i < ENTRIES; i += 97)
                if (added[i])
                    take(i);
            continue;
        }
        if (entry == NULL)
            break;
        memcpy(&i, entry_key(entry).data, sizeof(i));
        ck_assert(added[i]);
        added[i] = false;
        count--;
        ck_assert_uint_le(entry_deadline(entry), now_ms);
    }
    expiry_settle(expiry);
    ck_assert_uint_eq(expiry->count, count);
    ck_assert_uint_gt(earliest(), now_ms);
    ck_assert_uint_gt(next_ms, now_ms);
    ck_assert_uint_le(next_ms, earliest());
    ck_assert_int_eq(next_ms == UINT64_MAX, count == 0);
    return next_ms;
}

START_TEST(what_has_expired_comes_out_and_nothing_else)
{
    struct random random = random_start("expiry");
    uint64_t now_ms = UINT64_C(1700000000000);
    int round;
    int i;

    setup();
    for (round = 0; round < 3000; round++) {
        if (round == 1000)
            expiry_widen(&expiry);
        for (i = 0; i < 10; i++) {
            uint32_t number = random_below(&random, ENTRIES);

            if (added[number]) {
                take(number);
            } else {
                uint64_t span = UINT64_C(1) << random_below(&random, 36);

                add(number, now_ms + 1 + random_next(&random) % span, now_ms);
            }
        }
        if (random_below(&random, 3) == 0)
            now_ms += random_next(&random) % (UINT64_C(1) << random_below(&random, 34));
        reap(now_ms, random_below(&random, 2) == 0 ? UINT32_MAX : 1 + random_below(&random, 20));
    }
    reap(now_ms + (UINT64_C(1) << 37), 100);
    ck_assert_uint_eq(count, 0);
    teardown();
}
END_TEST

START_TEST(the_bound_leads_to_every_deadline_in_few_steps)
{
    struct random random = random_start("bounds");
    uint64_t now_ms = UINT64_C(1700000000000);
    uint32_t i;
    int steps = 0;

    setup();
    for (i = 0; i < 100; i++)
        add(i, now_ms + 1 + random_next(&random) % (UINT64_C(1) << 35), now_ms);
    while (count > 0) {
        now_ms = reap(now_ms, UINT32_MAX);
        steps++;
    }
    ck_assert_int_le(steps, 100 * (EXPIRY_LEVELS + 2));
    teardown();
}
END_TEST

START_TEST(deadlines_added_without_a_known_time_are_kept_in_order)
{
    struct random random = random_start("replay");
    uint64_t now_ms = UINT64_C(1700000000000);
    uint32_t i;

    setup();
    for (i = 0; i < ENTRIES; i++)
        add(i, now_ms - 50000 + random_below(&random, 100000), 0);
    reap(now_ms, UINT32_MAX);
    reap(now_ms + 20000, 7);
    reap(now_ms + 50000, UINT32_MAX);
    ck_assert_uint_eq(count, 0);
    teardown();
}
END_TEST

START_TEST(a_clock_that_steps_back_loses_nothing)
{
    struct random random = random_start("step");
    uint64_t now_ms = UINT64_C(1700000000000);
    uint32_t i;

    setup();
    for (i = 0; i < 500; i++)
        add(i, now_ms + random_below(&random, 10000) + 1, now_ms);
    reap(now_ms + 5000, UINT32_MAX);
    now_ms -= 100000;
    for (i = 500; i < 1000; i++)
        add(i, now_ms + random_below(&random, 10000) + 1, now_ms);
    reap(now_ms + 5000, 10);
    reap(now_ms + 9000, UINT32_MAX);
    reap(now_ms + 200000, UINT32_MAX);
    ck_assert_uint_eq(count, 0);
    teardown();
}
END_TEST

START_TEST(the_same_deadline_for_all_costs_each_a_few_moves)
{
    uint64_t now_ms = UINT64_C(1700000000000);
    uint64_t deadline_ms = now_ms + 86400000;
    uint64_t moves = 0;
    uint64_t next_ms = 0;
    uint32_t i;

    setup();
    for (i = 0; i < ENTRIES; i++)
        add(i, deadline_ms, now_ms);
    while (now_ms < deadline_ms - 1) {
        uint32_t budget = UINT32_MAX;

        ck_assert_ptr_null(expiry_pop(expiry, now_ms, &budget, &next_ms));
        expiry_settle(expiry);
        moves += UINT32_MAX - budget;
        now_ms = next_ms < deadline_ms ? next_ms : deadline_ms - 1;
    }
    ck_assert_uint_le(moves, (uint64_t)EXPIRY_LEVELS * ENTRIES);
    reap(deadline_ms, UINT32_MAX);
    ck_assert_uint_eq(count, 0);
    teardown();
}
END_TEST

START_TEST(a_late_reaper_moves_nothing_that_has_expired)
{
    uint64_t now_ms = UINT64_C(1700000000000);
    uint64_t next_ms = 0;
    uint32_t budget = 1;
    uint32_t i;

    setup();
    for (i = 0; i < ENTRIES; i++)
        add(i, now_ms + 1000000 + i, now_ms);
    for (i = 0; i < ENTRIES; i++)
        ck_assert_ptr_nonnull(expiry_pop(expiry, now_ms + 2000000, &budget, &next_ms));
    ck_assert_uint_eq(budget, 1);
    ck_assert_ptr_null(expiry_pop(expiry, now_ms + 2000000, &budget, &next_ms));
    ck_assert_uint_eq(budget, 1);
    ck_assert_uint_eq(next_ms, UINT64_MAX);
    teardown();
}
END_TEST

/* So many deadlines in a shard that its wheel is replaced by a wider one. */
START_TEST(a_shard_with_many_deadlines_gives_everything_back)
{
    struct random random = random_start("deadlines");
    struct brd_store *store = store_open(1, 1);
    struct brd_keyspace *keyspace = keyspace_open(store, 0);
    uint64_t before = brd_store_used_bytes(store);
    uint64_t left = 10000;
    uint64_t version = 1;
    uint64_t now_ms = 1000;
    struct key key;
    uint64_t i;

    for (i = 0; i < 10000; i++) {
        key_make(&key, i);
        put(store, keyspace, key.bytes, brd_bytes("v", 1), version++,
            1001 + random_below(&random, 60000), now_ms);
    }
    while (left > 0) {
        uint32_t n;

        for (i = 0; i < 20; i++) {
            key_make(&key, random_below(&random, 10000));
            left -= removed(store, keyspace, key.bytes, version++, 0);
        }
        now_ms += 1 + random_below(&random, 500);
        while (brd_shard_next_deadline_ms(keyspace, 0) <= now_ms) {
            n = brd_shard_reap(keyspace, 0, now_ms, 1 + random_below(&random, 100));
            left -= n;
        }
        ck_assert_uint_eq(brd_keyspace_count(keyspace), left);
    }
    ck_assert_uint_eq(brd_store_used_bytes(store), before);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

RUN_TESTS("expiry", a_shard_with_many_deadlines_gives_everything_back,
          a_late_reaper_moves_nothing_that_has_expired, what_has_expired_comes_out_and_nothing_else,
          the_bound_leads_to_every_deadline_in_few_steps,
          deadlines_added_without_a_known_time_are_kept_in_order,
          a_clock_that_steps_back_loses_nothing, the_same_deadline_for_all_costs_each_a_few_moves)
