/* Keyspaces and guards from one thread. */
#include "store_test.h"

static struct brd_store *store;

START_TEST(keyspaces_know_nothing_of_each_other)
{
    struct brd_keyspace *keyspaces[20];
    struct key key;
    uint64_t i;
    uint64_t seen;
    int k;

    store = store_open(16, 3);
    for (k = 0; k < 20; k++)
        keyspaces[k] = keyspace_open(store, k < 10 ? 1u << k % 5 : 0);
    for (k = 0; k < 20; k++) {
        for (i = 0; i < 200; i++) {
            key_make(&key, i);
            put(store, keyspaces[k], key.bytes, brd_bytes(&k, sizeof(k)), i + 1, 0, 1);
        }
    }
    ck_assert_uint_eq(clear_all(keyspaces[7], 1000), 200);
    brd_keyspace_destroy(&keyspaces[8]);
    for (k = 0; k < 20; k++) {
        if (k == 8)
            continue;
        ck_assert_uint_eq(brd_keyspace_count(keyspaces[k]), k == 7 ? 0 : 200);
        ck_assert_uint_eq(brd_keyspace_newest_removal(keyspaces[k]), k == 7 ? 1000 : 200);
        for (i = 0; i < 200; i++) {
            key_make(&key, i);
            if (k == 7)
                ck_assert(absent(store, keyspaces[k], key.bytes, 1, &seen) && seen == 1000);
            else
                ck_assert(
                    holds(store, keyspaces[k], key.bytes, brd_bytes(&k, sizeof(k)), i + 1, 1));
        }
        brd_keyspace_destroy(&keyspaces[k]);
    }
    brd_store_destroy(&store);
}
END_TEST

START_TEST(numbers_that_make_no_sense_are_refused)
{
    struct brd_store_options options = { .stripes = 3 };
    struct brd_keyspace *keyspace = NULL;

    ck_assert_int_eq(brd_store_create(&options, &store), BRD_INVALID_ARGUMENT);
    options.stripes = 2 * BRD_STORE_STRIPES_MAX;
    ck_assert_int_eq(brd_store_create(&options, &store), BRD_INVALID_ARGUMENT);
    options.stripes = 0;
    ck_assert_int_eq(brd_store_create(&options, &store), BRD_OK);
    ck_assert_uint_eq(brd_store_stripes(store), 256);
    ck_assert_int_eq(brd_keyspace_create(store, 2048, &keyspace), BRD_INVALID_ARGUMENT);
    ck_assert_int_eq(brd_keyspace_create(store, 5, &keyspace), BRD_INVALID_ARGUMENT);
    ck_assert_ptr_null(keyspace);
    keyspace = keyspace_open(store, 8);
    ck_assert_uint_eq(brd_keyspace_shards(keyspace), 8);
    brd_keyspace_destroy(&keyspace);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
    brd_store_destroy(&store);
}
END_TEST

START_TEST(the_shortest_and_the_longest_keys_are_keys)
{
    static uint8_t longest[65536];
    struct brd_keyspace *keyspace;
    struct brd_bytes keys[] = { brd_bytes(NULL, 0), brd_bytes(longest, 65535),
                                brd_bytes(longest, 65536) };
    uint64_t i;

    store = store_open(4, 3);
    keyspace = keyspace_open(store, 0);
    for (i = 0; i < 3; i++)
        ck_assert(!put(store, keyspace, keys[i], brd_bytes(&i, sizeof(i)), i + 1, 0, 1));
    for (i = 0; i < 3; i++)
        ck_assert(holds(store, keyspace, keys[i], brd_bytes(&i, sizeof(i)), i + 1, 1));
    ck_assert_uint_eq(brd_keyspace_count(keyspace), 3);
    for (i = 0; i < 3; i++)
        ck_assert(removed(store, keyspace, keys[i], 10, 1));
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

START_TEST(an_absence_tells_the_version_that_it_depends_on)
{
    struct brd_bytes key = brd_bytes_of("key");
    struct brd_keyspace *keyspace;
    uint64_t seen = 99;

    store = store_open(1, 3);
    keyspace = keyspace_open(store, 1);
    ck_assert(absent(store, keyspace, key, 1, &seen));
    ck_assert_uint_eq(seen, 0);
    put(store, keyspace, key, brd_bytes_of("value"), 5, 100, 1);
    ck_assert(holds(store, keyspace, key, brd_bytes_of("value"), 5, 99));
    ck_assert(absent(store, keyspace, key, 100, &seen));
    ck_assert_uint_eq(seen, 5);
    ck_assert(!removed(store, keyspace, brd_bytes_of("other"), 6, 1));
    ck_assert(absent(store, keyspace, brd_bytes_of("other"), 1, &seen));
    ck_assert_uint_eq(seen, 0); /* nothing was removed */
    ck_assert_uint_eq(brd_shard_reap(keyspace, 0, 100, 10), 1);
    ck_assert(absent(store, keyspace, key, 100, &seen));
    ck_assert_uint_eq(seen, 5);
    put(store, keyspace, key, brd_bytes_of("value"), 7, 0, 100);
    ck_assert(removed(store, keyspace, key, 8, 100));
    ck_assert(absent(store, keyspace, key, 100, &seen));
    ck_assert_uint_eq(seen, 8);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

START_TEST(the_reaper_leaves_a_key_that_was_written_again)
{
    struct brd_bytes key = brd_bytes_of("key");
    struct brd_keyspace *keyspace;

    store = store_open(1, 3);
    keyspace = keyspace_open(store, 1);
    put(store, keyspace, key, brd_bytes_of("old"), 1, 100, 1);
    put(store, keyspace, key, brd_bytes_of("new"), 2, 0, 200);
    ck_assert_uint_eq(brd_shard_reap(keyspace, 0, 300, 10), 0);
    ck_assert(holds(store, keyspace, key, brd_bytes_of("new"), 2, 300));
    put(store, keyspace, key, brd_bytes_of("newer"), 3, 1000, 300);
    put(store, keyspace, key, brd_bytes_of("newest"), 4, 2000, 300);
    ck_assert_uint_eq(brd_shard_reap(keyspace, 0, 1500, 10), 0);
    ck_assert(holds(store, keyspace, key, brd_bytes_of("newest"), 4, 1500));
    ck_assert_uint_eq(brd_shard_reap(keyspace, 0, 2000, 10), 1);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

START_TEST(a_copy_has_the_same_key_and_value_and_its_own_deadline)
{
    static uint8_t large[BRD_STORE_BLOB_MIN];
    struct brd_bytes values[] = { brd_bytes_of("small"), brd_bytes(large, sizeof(large)) };
    struct brd_bytes key = brd_bytes_of("key");
    struct brd_keyspace *keyspace;
    uint64_t version = 0;
    uint64_t hash;
    int i;

    store = store_open(1, 3);
    keyspace = keyspace_open(store, 1);
    hash = brd_store_hash(store, key);
    for (i = 0; i < 2; i++) {
        struct brd_guard guard;
        struct brd_entry *copy;
        struct brd_view view;
        uint64_t seen;

        put(store, keyspace, key, values[i], ++version, 0, 1);
        brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, hash);
        copy = brd_guard_copy_entry(&guard, hash, key, true);
        ck_assert_ptr_nonnull(copy);
        ck_assert_int_eq(brd_guard_reserve(&guard, hash, true), BRD_OK);
        ck_assert(brd_guard_put(&guard, hash, copy, ++version, 500, 1));
        ck_assert_int_eq(brd_guard_find(&guard, hash, key, 1, &view, &seen), BRD_OK);
        ck_assert_uint_eq(view.deadline_ms, 500);
        ck_assert(brd_bytes_equal(view.value, values[i]));
        copy = brd_guard_copy_entry(&guard, hash, key, false);
        ck_assert_int_eq(brd_guard_reserve(&guard, hash, false), BRD_OK);
        ck_assert(brd_guard_put(&guard, hash, copy, ++version, 0, 1));
        ck_assert_ptr_null(brd_guard_copy_entry(&guard, hash + 1, brd_bytes_of("no"), false));
        brd_guard_end(&guard);
        ck_assert(holds(store, keyspace, key, values[i], version, 1000));
    }
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

START_TEST(several_puts_can_be_reserved_before_the_first)
{
    struct brd_keyspace *keyspace;
    struct brd_entry *entries[500];
    uint64_t hashes[500];
    struct brd_guard guard;
    struct key key;
    uint64_t i;

    store = store_open(4, 3);
    keyspace = keyspace_open(store, 2);
    for (i = 0; i < 500; i++) {
        key_make(&key, i);
        hashes[i] = brd_store_hash(store, key.bytes);
        entries[i] = brd_entry_create(key.bytes, brd_bytes(&i, sizeof(i)), NULL, i % 2 == 0);
    }
    ck_assert_int_eq(brd_guard_begin_many(&guard, keyspace, BRD_GUARD_WRITE, hashes, 500), BRD_OK);
    for (i = 0; i < 500; i++)
        ck_assert_int_eq(brd_guard_reserve(&guard, hashes[i], i % 2 == 0), BRD_OK);
    for (i = 0; i < 500; i++)
        ck_assert(!brd_guard_put(&guard, hashes[i], entries[i], i + 1, i % 2 == 0 ? 50 : 0, 1));
    brd_guard_end(&guard);
    for (i = 0; i < 500; i++) {
        key_make(&key, i);
        ck_assert(holds(store, keyspace, key.bytes, brd_bytes(&i, sizeof(i)), i + 1, 1));
    }
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

START_TEST(a_reservation_that_is_not_used_leaves_nothing_behind)
{
    struct brd_keyspace *keyspace;
    struct brd_guard guard;
    uint64_t at_start;
    int i;

    store = store_open(1, 3);
    keyspace = keyspace_open(store, 1);
    at_start = brd_store_used_bytes(store);
    brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, 77);
    for (i = 0; i < 100; i++)
        ck_assert_int_eq(brd_guard_reserve(&guard, 77, true), BRD_OK);
    brd_guard_end(&guard);
    ck_assert_uint_eq(brd_store_used_bytes(store), at_start);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

START_TEST(hints_are_harmless_at_any_size)
{
    struct brd_keyspace *keyspace;
    struct key key;
    uint64_t i;
    uint64_t h;

    store = store_open(2, 3);
    keyspace = keyspace_open(store, 0);
    for (i = 0; i < 20000; i++) {
        key_make(&key, i);
        put(store, keyspace, key.bytes, brd_bytes_of("v"), i + 1, 0, 1);
        for (h = 0; h < 4; h++) {
            uint64_t hash = (i + h) * UINT64_C(0x9e3779b97f4a7c15);

            brd_keyspace_prefetch(keyspace, hash);
            brd_keyspace_prefetch_entry(keyspace, hash);
        }
        brd_keyspace_prefetch_entry(keyspace, brd_store_hash(store, key.bytes));
    }
    clear_all(keyspace, 30000);
    brd_keyspace_prefetch(keyspace, 12345);
    brd_keyspace_prefetch_entry(keyspace, 12345);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

RUN_TESTS("keyspaces", keyspaces_know_nothing_of_each_other, numbers_that_make_no_sense_are_refused,
          the_shortest_and_the_longest_keys_are_keys,
          an_absence_tells_the_version_that_it_depends_on,
          the_reaper_leaves_a_key_that_was_written_again,
          a_copy_has_the_same_key_and_value_and_its_own_deadline,
          several_puts_can_be_reserved_before_the_first,
          a_reservation_that_is_not_used_leaves_nothing_behind, hints_are_harmless_at_any_size)
