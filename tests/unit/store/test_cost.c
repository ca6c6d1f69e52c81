/* What an entry and an operation cost.
 *
 * Bytes are asserted here. Instructions are counted by running this program
 * under callgrind; each cost_ function below does 100,000 operations and nothing
 * else (docs/store.md has the command and the figures). */
#include "store_test.h"

#define KEYS       200000
#define OPERATIONS 100000

static struct brd_store *store;
static struct brd_keyspace *keyspace;
static uint64_t version = 1;

void cost_hits(const struct key *keys);
void cost_misses(const struct key *keys);
void cost_replacing_puts(const struct key *keys);
void cost_new_puts(const struct key *keys);
void cost_removals(const struct key *keys);
void cost_hashes(const struct key *keys);

static inline __attribute__((always_inline)) uint64_t
find_all(const struct key *keys)
{
    uint64_t found = 0;
    size_t i;

    for (i = 0; i < OPERATIONS; i++) {
        uint64_t hash = brd_store_hash(store, keys[i].bytes);
        struct brd_guard guard;
        struct brd_view view;
        uint64_t seen;

        brd_guard_begin(&guard, keyspace, BRD_GUARD_READ, hash);
        if (brd_guard_find(&guard, hash, keys[i].bytes, 1, &view, &seen) == BRD_OK)
            found += view.value.size;
        brd_guard_end(&guard);
    }
    return found;
}

static inline __attribute__((always_inline)) void
put_all(const struct key *keys)
{
    static const uint8_t value[100];
    size_t i;

    for (i = 0; i < OPERATIONS; i++) {
        uint64_t hash = brd_store_hash(store, keys[i].bytes);
        struct brd_entry *entry =
            brd_entry_create(keys[i].bytes, brd_bytes(value, sizeof(value)), NULL, false);
        struct brd_guard guard;

        brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, hash);
        if (brd_guard_reserve(&guard, hash, false) == BRD_OK)
            brd_guard_put(&guard, hash, entry, ++version, 0, 1);
        brd_guard_end(&guard);
    }
}

__attribute__((noinline)) void
cost_hits(const struct key *keys)
{
    ck_assert_uint_eq(find_all(keys), 100 * OPERATIONS);
}

__attribute__((noinline)) void
cost_misses(const struct key *keys)
{
    ck_assert_uint_eq(find_all(keys), 0);
}

__attribute__((noinline)) void
cost_replacing_puts(const struct key *keys)
{
    put_all(keys);
    ck_assert_uint_eq(brd_keyspace_count(keyspace), OPERATIONS);
}

__attribute__((noinline)) void
cost_new_puts(const struct key *keys)
{
    put_all(keys);
    ck_assert_uint_eq(brd_keyspace_count(keyspace), OPERATIONS);
}

__attribute__((noinline)) void
cost_removals(const struct key *keys)
{
    size_t i;

    for (i = 0; i < OPERATIONS; i++)
        removed(store, keyspace, keys[i].bytes, ++version, 1);
}

/* Of the store's hash alone, which all the others contain. */
__attribute__((noinline)) void
cost_hashes(const struct key *keys)
{
    uint64_t sum = 0;
    size_t i;

    for (i = 0; i < OPERATIONS; i++)
        sum ^= brd_store_hash(store, keys[i].bytes);
    ck_assert_uint_ne(sum, 0);
}

START_TEST(each_kind_of_operation_can_be_counted)
{
    struct key *keys = calloc(KEYS, sizeof(*keys));
    size_t i;

    ck_assert_ptr_nonnull(keys);
    for (i = 0; i < KEYS; i++)
        key_make(&keys[i], i);
    store = store_open(64, 1);
    keyspace = keyspace_open(store, 0);
    cost_new_puts(keys);
    cost_hashes(keys);
    cost_hits(keys);
    cost_misses(keys + OPERATIONS);
    cost_replacing_puts(keys);
    cost_removals(keys);
    ck_assert_uint_eq(brd_keyspace_count(keyspace), 0);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
    free(keys);
}
END_TEST

/* The worst that a table costs for each key while it grows from 40,000 keys in
 * eight shards to four times as many. */
static double
worst_table_bytes(uint64_t deadline_ms)
{
    struct brd_store_memory empty;
    struct brd_store_memory memory;
    double worst = 0;
    struct key key;
    uint64_t i;

    store = store_open(8, 1);
    keyspace = keyspace_open(store, 0);
    brd_store_get_memory(store, &empty);
    for (i = 0; i < 160000; i++) {
        key_make(&key, i);
        put(store, keyspace, key.bytes, brd_bytes("v", 1), i + 1, deadline_ms, 1);
        if (i >= 40000 && i % 1000 == 0) {
            double bytes;

            brd_store_get_memory(store, &memory);
            bytes = (double)(memory.table_bytes - empty.table_bytes) / (double)(i + 1);
            worst = bytes > worst ? bytes : worst;
        }
    }
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
    return worst;
}

START_TEST(a_table_costs_less_than_12_bytes_for_each_key_at_any_size)
{
    double bytes = worst_table_bytes(0);

    ck_assert_msg(bytes < 12.0, "%.2f bytes", bytes);
}
END_TEST

START_TEST(the_order_of_deadlines_costs_hardly_more)
{
    double bytes = worst_table_bytes(UINT64_C(1700000000000));

    ck_assert_msg(bytes < 12.2, "%.2f bytes", bytes);
}
END_TEST

START_TEST(an_empty_store_with_1024_shards_is_smaller_than_half_a_mebibyte)
{
    store = store_open(1024, 1);
    keyspace = keyspace_open(store, 0);
    ck_assert_uint_lt(brd_store_used_bytes(store), 512 * 1024);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

RUN_TESTS("cost", each_kind_of_operation_can_be_counted,
          a_table_costs_less_than_12_bytes_for_each_key_at_any_size,
          the_order_of_deadlines_costs_hardly_more,
          an_empty_store_with_1024_shards_is_smaller_than_half_a_mebibyte)
