/* Walking a shard while it grows and shrinks. */
#include "store_test.h"

#define STAYING 3000
#define PASSING 40000

static struct brd_store *store;
static struct brd_keyspace *keyspace;
static uint64_t version;
static uint32_t seen[STAYING];
static uint64_t visits;

static void
see(void *arg, const struct brd_walk_item *item)
{
    uint64_t number = strtoull((const char *)item->key.data + 4, NULL, 10);

    ck_assert_ptr_eq(arg, &visits);
    visits++;
    if (number < STAYING)
        seen[number]++;
}

/* Values end the text of the key, which see() reads in place. */
static void
put_number(uint64_t number)
{
    struct key key;

    key_make(&key, number);
    put(store, keyspace, key.bytes, brd_bytes("\0", 1), ++version, 0, 1);
}

static void
remove_number(uint64_t number)
{
    struct key key;

    key_make(&key, number);
    removed(store, keyspace, key.bytes, ++version, 1);
}

static void
open_with_staying(void)
{
    uint64_t i;

    store = store_open(1, 99);
    keyspace = keyspace_open(store, 1);
    for (i = 0; i < STAYING; i++)
        put_number(i);
    memset(seen, 0, sizeof(seen));
    visits = 0;
}

static void
close_store(void)
{
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}

START_TEST(a_table_at_rest_is_visited_once_each)
{
    uint64_t cursor = 0;
    int calls = 0;
    uint32_t i;

    open_with_staying();
    do {
        uint64_t before = visits;

        brd_shard_walk(keyspace, 0, &cursor, 100, see, &visits);
        ck_assert_uint_le(visits - before, 130);
        calls++;
    } while (cursor != 0);
    ck_assert_int_ge(calls, STAYING / 130);
    ck_assert_uint_eq(visits, STAYING);
    for (i = 0; i < STAYING; i++)
        ck_assert_uint_eq(seen[i], 1);
    close_store();
}
END_TEST

START_TEST(an_empty_shard_is_done_at_once)
{
    uint64_t cursor = 0;

    store = store_open(1, 99);
    keyspace = keyspace_open(store, 1);
    visits = 0;
    brd_shard_walk(keyspace, 0, &cursor, 10, see, &visits);
    ck_assert_uint_eq(cursor, 0);
    ck_assert_uint_eq(visits, 0);
    close_store();
}
END_TEST

/* Walk while the table becomes larger and smaller, by up to step entries
 * between two calls, and count who was missed. */
static void
walk_while_changing(struct random *random, uint32_t step)
{
    uint64_t low = STAYING;
    uint64_t high = STAYING;
    uint64_t cursor = 0;
    bool growing = random_below(random, 2) == 0;
    uint32_t i;

    open_with_staying();
    for (; high < PASSING && !growing; high++)
        put_number(high);
    memset(seen, 0, sizeof(seen));
    do {
        brd_shard_walk(keyspace, 0, &cursor, 1 + random_below(random, 60), see, &visits);
        for (i = random_below(random, step); i > 0; i--) {
            if (growing && high < PASSING)
                put_number(high++);
            else if (!growing && low < high)
                remove_number(low++);
        }
        if (random_below(random, 50) == 0)
            growing = !growing;
    } while (cursor != 0);
    for (i = 0; i < STAYING; i++)
        ck_assert_uint_ge(seen[i], 1);
    close_store();
}

START_TEST(who_stays_is_visited_although_the_table_grows_and_shrinks)
{
    struct random random = random_start("walk");
    int i;

    for (i = 0; i < 6; i++)
        walk_while_changing(&random, 100);
    for (i = 0; i < 6; i++)
        walk_while_changing(&random, 3000);
}
END_TEST

RUN_TESTS("walk", a_table_at_rest_is_visited_once_each, an_empty_shard_is_done_at_once,
          who_stays_is_visited_although_the_table_grows_and_shrinks)
