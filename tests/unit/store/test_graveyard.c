/* Freeing behind the caller, and memory that is given back to the last byte. */
#include "store_test.h"

#define KEYS 50000

static struct brd_store *store;
static struct brd_keyspace *keyspace;

static void
setup(void)
{
    store = store_open(16, 5);
    keyspace = keyspace_open(store, 0);
}

static void
teardown(void)
{
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}

static struct brd_store_memory
memory_now(void)
{
    struct brd_store_memory memory;

    brd_store_get_memory(store, &memory);
    return memory;
}

static void
fill(uint64_t deadline_ms)
{
    struct key key;
    uint64_t i;

    for (i = 0; i < KEYS; i++) {
        key_make(&key, i);
        put(store, keyspace, key.bytes, brd_bytes_of("some value"), i + 1, deadline_ms, 1);
    }
}

START_TEST(a_cleared_keyspace_is_freed_in_bounded_steps)
{
    uint64_t at_start;
    uint64_t before;
    uint64_t freed = 0;
    uint32_t n;

    setup();
    at_start = brd_store_used_bytes(store);
    fill(1000);
    ck_assert_uint_eq(clear_all(keyspace, KEYS + 1), KEYS);
    ck_assert_uint_eq(brd_keyspace_count(keyspace), 0);
    ck_assert_uint_eq(memory_now().entry_bytes, 0);
    ck_assert_uint_eq(brd_keyspace_newest_removal(keyspace), KEYS + 1);
    before = memory_now().graveyard_bytes;
    ck_assert_uint_gt(before, KEYS * 40);
    while ((n = brd_store_free_some(store, 777)) > 0) {
        ck_assert_uint_le(n, 777);
        freed += n;
        ck_assert_uint_lt(memory_now().graveyard_bytes, before);
        before = memory_now().graveyard_bytes;
    }
    ck_assert_uint_eq(freed, KEYS);
    ck_assert_uint_eq(before, 0);
    ck_assert_uint_eq(brd_store_used_bytes(store), at_start);
    teardown();
}
END_TEST

START_TEST(a_keyspace_is_used_while_its_former_content_is_freed)
{
    struct key key;
    uint64_t i;

    setup();
    fill(0);
    clear_all(keyspace, KEYS + 1);
    for (i = 0; i < 2000; i++) {
        key_make(&key, i);
        put(store, keyspace, key.bytes, brd_bytes_of("new"), KEYS + 2 + i, 0, 1);
        brd_store_free_some(store, 10);
    }
    clear_all(keyspace, 2 * KEYS);
    for (i = 0; i < 2000; i++) {
        key_make(&key, i);
        put(store, keyspace, key.bytes, brd_bytes_of("newer"), 2 * KEYS + 1 + i, 0, 1);
        brd_store_free_some(store, 30);
    }
    for (i = 0; i < 2000; i++) {
        key_make(&key, i);
        ck_assert(holds(store, keyspace, key.bytes, brd_bytes_of("newer"), 2 * KEYS + 1 + i, 1));
    }
    teardown(); /* with a full graveyard */
}
END_TEST

START_TEST(what_the_graveyard_still_holds_is_freed_with_the_store)
{
    setup();
    fill(0);
    clear_all(keyspace, KEYS + 1);
    fill(5);
    clear_all(keyspace, KEYS + 2);
    brd_store_free_some(store, 100);
    teardown();
}
END_TEST

START_TEST(deleting_everything_gives_every_byte_back)
{
    uint64_t at_start;
    uint64_t i;
    struct key key;

    setup();
    at_start = brd_store_used_bytes(store);
    fill(1000);
    for (i = 0; i < KEYS; i++) {
        key_make(&key, i);
        ck_assert(removed(store, keyspace, key.bytes, KEYS + i, 1));
    }
    ck_assert_uint_eq(brd_store_used_bytes(store), at_start);
    ck_assert_uint_eq(memory_now().data_bytes, 0);
    teardown();
}
END_TEST

START_TEST(expiring_everything_gives_every_byte_back)
{
    uint64_t at_start;
    uint32_t reaped = 0;
    uint32_t i;

    setup();
    at_start = brd_store_used_bytes(store);
    fill(1000);
    for (i = 0; i < brd_keyspace_shards(keyspace); i++) {
        ck_assert_uint_eq(brd_shard_next_deadline_ms(keyspace, i), 1000);
        ck_assert_uint_eq(brd_shard_reap(keyspace, i, 999, UINT32_MAX), 0);
        reaped += brd_shard_reap(keyspace, i, 1000, UINT32_MAX);
        ck_assert_uint_eq(brd_shard_next_deadline_ms(keyspace, i), UINT64_MAX);
    }
    ck_assert_uint_eq(reaped, KEYS);
    ck_assert_uint_eq(brd_store_used_bytes(store), at_start);
    teardown();
}
END_TEST

START_TEST(a_large_value_is_counted_until_its_last_reference_goes)
{
    const size_t size = (size_t)64 << 20;
    struct brd_blob *blob = brd_blob_create(size);
    struct brd_bytes key = brd_bytes_of("large");
    uint64_t hash;
    uint64_t at_start;
    struct brd_entry *entry;
    struct brd_guard guard;
    struct brd_view view;
    uint64_t seen;

    setup();
    at_start = brd_store_used_bytes(store);
    hash = brd_store_hash(store, key);
    blob->data[0] = 'a';
    blob->data[size - 1] = 'z';
    entry = brd_entry_create(key, brd_bytes(NULL, 0), blob, false);
    brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, hash);
    ck_assert_int_eq(brd_guard_reserve(&guard, hash, false), BRD_OK);
    ck_assert(!brd_guard_put(&guard, hash, entry, 1, 0, 1));
    brd_guard_end(&guard);
    ck_assert_uint_ge(brd_store_used_bytes(store), at_start + size);
    ck_assert_uint_eq(memory_now().data_bytes, size + key.size);

    /* Somebody is still sending it when it is replaced. */
    brd_guard_begin(&guard, keyspace, BRD_GUARD_READ, hash);
    ck_assert_int_eq(brd_guard_find(&guard, hash, key, 1, &view, &seen), BRD_OK);
    blob = brd_blob_ref(view.blob);
    brd_guard_end(&guard);
    put(store, keyspace, key, brd_bytes_of("small"), 2, 0, 1);
    ck_assert_uint_gt(memory_now().graveyard_bytes, 0);
    ck_assert_uint_ge(brd_store_used_bytes(store), at_start + size);
    ck_assert_uint_eq(brd_store_free_some(store, 10), 1);
    ck_assert_uint_eq(memory_now().graveyard_bytes, 0);
    ck_assert_uint_eq(memory_now().blob_bytes, 0);
    ck_assert_uint_ge(memory_now().held_bytes, size);
    ck_assert_uint_ge(brd_store_used_bytes(store), at_start + size);
    ck_assert_uint_eq(blob->data[0], 'a');
    ck_assert_uint_eq(blob->data[size - 1], 'z');
    brd_blob_unref(blob);
    ck_assert_uint_eq(memory_now().held_bytes, 0);
    ck_assert_uint_lt(brd_store_used_bytes(store), at_start + size);
    removed(store, keyspace, key, 3, 1);
    ck_assert_uint_eq(brd_store_used_bytes(store), at_start);
    teardown();
}
END_TEST

/* Setting a deadline makes a new entry around the same bytes. */
START_TEST(a_touched_large_value_is_counted_once)
{
    static uint8_t large[1 << 20];
    struct brd_bytes key = brd_bytes_of("large");
    uint64_t at_start;
    uint64_t used;
    uint64_t version;

    setup();
    at_start = brd_store_used_bytes(store);
    put(store, keyspace, key, brd_bytes(large, sizeof(large)), 1, 0, 1);
    used = brd_store_used_bytes(store);
    for (version = 2; version < 10; version++) {
        uint64_t hash = brd_store_hash(store, key);
        struct brd_guard guard;
        struct brd_entry *entry;

        brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, hash);
        entry = brd_guard_copy_entry(&guard, hash, key, false);
        ck_assert_ptr_nonnull(entry);
        ck_assert_int_eq(brd_guard_reserve(&guard, hash, false), BRD_OK);
        brd_guard_put(&guard, hash, entry, version, 0, 1);
        brd_guard_end(&guard);
        free_graveyard(store);
        ck_assert_uint_eq(brd_store_used_bytes(store), used);
        ck_assert_uint_eq(memory_now().held_bytes, 0);
    }
    ck_assert_uint_ge(memory_now().blob_bytes, sizeof(large));
    ck_assert_uint_lt(memory_now().blob_bytes, sizeof(large) + 4096);
    removed(store, keyspace, key, 10, 1);
    free_graveyard(store);
    ck_assert_uint_eq(brd_store_used_bytes(store), at_start);
    teardown();
}
END_TEST

/* Shards shrink by themselves, so the chunks that they give back lie scattered. */
START_TEST(pages_of_tables_that_shrank_are_given_back)
{
    const uint64_t kept = KEYS / 5;
    uint64_t chunks;
    uint64_t i;
    struct key key;

    setup();
    fill(0);
    chunks = memory_now().chunk_bytes;
    ck_assert_uint_gt(chunks, 0);
    for (i = kept; i < KEYS; i++) {
        key_make(&key, i);
        ck_assert(removed(store, keyspace, key.bytes, KEYS + i, 1));
    }
    ck_assert_uint_le(memory_now().chunk_bytes, chunks / 2);
    ck_assert_uint_ge(brd_store_idle_bytes(store), chunks - memory_now().chunk_bytes);
    /* Not at once: the table may grow again. */
    ck_assert_uint_eq(brd_store_free_some(store, 10), 0);
    ck_assert_uint_ge(brd_store_idle_bytes(store), chunks - memory_now().chunk_bytes);
    for (i = 0; i < 32; i++)
        ck_assert_uint_eq(brd_store_free_some(store, 10), 0);
    ck_assert_uint_lt(brd_store_idle_bytes(store), 32 * 1024); /* directories */
    for (i = 0; i < kept; i++) {
        key_make(&key, i);
        ck_assert(holds(store, keyspace, key.bytes, brd_bytes_of("some value"), i + 1, 1));
    }
    for (i = kept; i < KEYS; i++) {
        key_make(&key, i);
        put(store, keyspace, key.bytes, brd_bytes_of("again"), 3 * KEYS + i, 0, 1);
    }
    for (i = kept; i < KEYS; i++) {
        key_make(&key, i);
        ck_assert(holds(store, keyspace, key.bytes, brd_bytes_of("again"), 3 * KEYS + i, 1));
    }
    ck_assert_uint_eq(memory_now().chunk_bytes, chunks);
    teardown();
}
END_TEST

START_TEST(what_a_clear_allocates_is_counted)
{
    uint64_t at_start;

    setup();
    at_start = brd_store_used_bytes(store);
    clear_all(keyspace, 1);
    ck_assert_uint_gt(memory_now().graveyard_bytes, 16 * sizeof(struct brd_store *));
    ck_assert_uint_eq(brd_store_used_bytes(store), at_start + memory_now().graveyard_bytes);
    free_graveyard(store);
    ck_assert_uint_eq(brd_store_used_bytes(store), at_start);
    teardown();
}
END_TEST

RUN_TESTS("graveyard", a_cleared_keyspace_is_freed_in_bounded_steps,
          a_keyspace_is_used_while_its_former_content_is_freed,
          what_the_graveyard_still_holds_is_freed_with_the_store,
          deleting_everything_gives_every_byte_back, expiring_everything_gives_every_byte_back,
          a_large_value_is_counted_until_its_last_reference_goes,
          a_touched_large_value_is_counted_once, what_a_clear_allocates_is_counted,
          pages_of_tables_that_shrank_are_given_back)
