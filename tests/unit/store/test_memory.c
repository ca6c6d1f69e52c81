/* Every allocation of the store fails once: the answer is a clean refusal, and
 * everything is as it was. Debug builds only (store/heap.h). */
#include "store/heap.h"
#include "store_test.h"

#ifdef BRD_DEBUG

#define KEYS 3000

static struct brd_store *store;
static struct brd_keyspace *keyspace;

static void
fail_after(int64_t allocations)
{
    atomic_store_explicit(&heap_fail_after, allocations, memory_order_relaxed);
}

/* Whether the planned failure has not happened; and none is planned any more. */
static bool
none_failed(void)
{
    return atomic_exchange_explicit(&heap_fail_after, -1, memory_order_relaxed) >= 0;
}

START_TEST(a_store_is_made_whole_or_not_at_all)
{
    struct brd_store_options options = { .stripes = 4 };
    int64_t n;

    for (n = 0;; n++) {
        enum brd_status status;

        fail_after(n);
        status = brd_store_create(&options, &store);
        if (none_failed()) {
            ck_assert_int_eq(status, BRD_OK);
            break;
        }
        ck_assert_int_eq(status, BRD_OUT_OF_MEMORY);
    }
    ck_assert_int_ge(n, 2);
    for (n = 0;; n++) {
        enum brd_status status;

        fail_after(n);
        status = brd_keyspace_create(store, 0, &keyspace);
        if (none_failed()) {
            ck_assert_int_eq(status, BRD_OK);
            break;
        }
        ck_assert_int_eq(status, BRD_OUT_OF_MEMORY);
    }
    ck_assert_int_ge(n, 3);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

/* As put of store_test.h, but false where memory is out. */
static bool
try_put(const struct key *key, uint64_t version, uint64_t deadline_ms)
{
    uint64_t hash = brd_store_hash(store, key->bytes);
    struct brd_entry *entry =
        brd_entry_create(key->bytes, brd_bytes_of("value"), NULL, deadline_ms != 0);
    struct brd_guard guard;
    enum brd_status status;

    if (entry == NULL)
        return false;
    brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, hash);
    status = brd_guard_reserve(&guard, hash, deadline_ms != 0);
    if (status == BRD_OK) {
        fail_after(0); /* from here on nothing may allocate */
        brd_guard_put(&guard, hash, entry, version, deadline_ms, 1);
        ck_assert(none_failed());
        entry = NULL;
    }
    brd_guard_end(&guard);
    brd_entry_discard(&entry);
    return status == BRD_OK;
}

static void
check_all(uint64_t count)
{
    struct key key;
    uint64_t i;

    for (i = 0; i < count; i++) {
        key_make(&key, i);
        ck_assert(holds(store, keyspace, key.bytes, brd_bytes_of("value"), i + 1, 1));
    }
    ck_assert_uint_eq(brd_keyspace_count(keyspace), count);
}

START_TEST(a_put_happens_or_is_refused_whichever_allocation_fails)
{
    uint64_t at_start;
    int64_t refused = 0;
    struct key key;
    uint64_t i;
    int64_t n;

    store = store_open(2, 11);
    keyspace = keyspace_open(store, 1);
    at_start = brd_store_used_bytes(store);
    for (i = 0; i < KEYS; i++) {
        key_make(&key, i);
        for (n = 0;; n++) {
            bool done;

            fail_after(n);
            done = try_put(&key, i + 1, i % 3 == 0 ? 1000 : 0);
            if (done) {
                atomic_store_explicit(&heap_fail_after, -1, memory_order_relaxed);
                break;
            }
            ck_assert(!none_failed());
            refused++;
        }
        if (i % 100 == 0)
            check_all(i + 1);
    }
    check_all(KEYS);
    ck_assert_int_ge(refused, KEYS);

    /* Removing cannot fail, and tables shrink when they can. */
    for (i = KEYS; i-- > 0;) {
        key_make(&key, i);
        fail_after(0);
        ck_assert(removed(store, keyspace, key.bytes, KEYS + i, 1));
        fail_after(-1);
        if (i % 100 == 0)
            check_all(i);
    }
    ck_assert_uint_eq(brd_store_used_bytes(store), at_start);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

START_TEST(a_table_that_cannot_grow_still_takes_entries_and_catches_up)
{
    struct brd_store_memory memory;
    struct key key;
    uint64_t i;
    int64_t n;

    store = store_open(1, 11);
    keyspace = keyspace_open(store, 1);
    for (i = 0; i < KEYS; i++) {
        /* The entry is there; then the first, second or third allocation fails. */
        key_make(&key, i);
        for (n = 1; n < 4; n++) {
            fail_after(n);
            if (try_put(&key, i + 1, 0))
                break;
        }
        fail_after(-1);
        if (n == 4)
            ck_assert(try_put(&key, i + 1, 0));
    }
    check_all(KEYS);
    brd_store_get_memory(store, &memory);
    ck_assert_uint_eq(memory.entries, KEYS);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

START_TEST(clearing_needs_no_memory)
{
    struct brd_guard guard;
    uint64_t at_start;
    struct key key;
    uint64_t i;

    store = store_open(4, 11);
    keyspace = keyspace_open(store, 0);
    at_start = brd_store_used_bytes(store);
    for (i = 0; i < KEYS; i++) {
        key_make(&key, i);
        ck_assert(try_put(&key, i + 1, 1000));
    }
    fail_after(0);
    ck_assert_int_eq(brd_guard_begin_many(&guard, keyspace, BRD_GUARD_WRITE, NULL, 0),
                     BRD_OUT_OF_MEMORY);
    fail_after(-1);
    ck_assert_int_eq(brd_guard_begin_many(&guard, keyspace, BRD_GUARD_WRITE, NULL, 0), BRD_OK);
    fail_after(0);
    ck_assert_uint_eq(brd_guard_clear(&guard, KEYS + 1), KEYS);
    ck_assert(!none_failed());
    brd_guard_end(&guard);
    ck_assert_uint_eq(brd_keyspace_count(keyspace), 0);
    ck_assert_uint_eq(brd_store_free_some(store, 10), 0);
    ck_assert_uint_eq(brd_store_used_bytes(store), at_start);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

START_TEST(a_copy_that_finds_no_memory_takes_no_reference)
{
    static uint8_t large[BRD_STORE_BLOB_MIN];
    struct brd_bytes key = brd_bytes_of("key");
    struct brd_guard guard;
    struct brd_view view;
    uint64_t hash;
    uint64_t seen;

    store = store_open(1, 11);
    keyspace = keyspace_open(store, 1);
    hash = brd_store_hash(store, key);
    put(store, keyspace, key, brd_bytes(large, sizeof(large)), 1, 0, 1);
    brd_guard_begin(&guard, keyspace, BRD_GUARD_READ, hash);
    fail_after(0);
    ck_assert_ptr_null(brd_guard_copy_entry(&guard, hash, key, true));
    fail_after(-1);
    ck_assert_int_eq(brd_guard_find(&guard, hash, key, 1, &view, &seen), BRD_OK);
    ck_assert_uint_eq(atomic_load(&view.blob->refs), 1);
    brd_guard_end(&guard);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
}
END_TEST

RUN_TESTS("memory", a_store_is_made_whole_or_not_at_all,
          a_put_happens_or_is_refused_whichever_allocation_fails,
          a_table_that_cannot_grow_still_takes_entries_and_catches_up, clearing_needs_no_memory,
          a_copy_that_finds_no_memory_takes_no_reference)

#else

START_TEST(allocations_fail_in_debug_builds_only)
{
    ck_assert(!heap_fails());
}
END_TEST

RUN_TESTS("memory", allocations_fail_in_debug_builds_only)

#endif
