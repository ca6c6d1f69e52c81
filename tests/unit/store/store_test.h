/* What the tests of the store share: numbers from a printed seed, keys and
 * values made of numbers, and one-line forms of the usual calls. */
#ifndef TESTS_UNIT_STORE_TEST_H
#define TESTS_UNIT_STORE_TEST_H

#include "store/store.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct random {
    uint64_t state;
};

/* The seed is $SEED or taken from the clock; it is printed. */
static inline struct random
random_start(const char *test)
{
    const char *given = getenv("SEED");
    struct timespec now;
    uint64_t seed;

    clock_gettime(CLOCK_REALTIME, &now);
    seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)now.tv_nsec;
    printf("%s: SEED=%llu\n", test, (unsigned long long)seed);
    fflush(stdout);
    return (struct random){ seed * 2 + 1 };
}

static inline uint64_t
random_next(struct random *random)
{
    uint64_t x = random->state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* 0 to below. */
static inline uint32_t
random_below(struct random *random, uint32_t below)
{
    return (uint32_t)(random_next(random) % below);
}

/* A store whose secret is known, so that a seed repeats everything. */
static inline struct brd_store *
store_open(uint32_t stripes, uint64_t secret)
{
    struct brd_hash_key key = { secret, ~secret };
    struct brd_store_options options = { .stripes = stripes, .secret = &key };
    struct brd_store *store = NULL;

    ck_assert_int_eq(brd_store_create(&options, &store), BRD_OK);
    return store;
}

static inline struct brd_keyspace *
keyspace_open(struct brd_store *store, uint32_t shards)
{
    struct brd_keyspace *keyspace = NULL;

    ck_assert_int_eq(brd_keyspace_create(store, shards, &keyspace), BRD_OK);
    return keyspace;
}

struct key {
    char text[24];
    struct brd_bytes bytes;
};

static inline void
key_make(struct key *key, uint64_t number)
{
    int size = snprintf(key->text, sizeof(key->text), "key:%012llu", (unsigned long long)number);

    key->bytes = brd_bytes(key->text, (size_t)size);
}

/* Put a value; true where a live one was replaced. Every other version goes into
 * the entry that is there, where that is possible. */
static inline bool
put(struct brd_store *store, struct brd_keyspace *keyspace, struct brd_bytes key,
    struct brd_bytes value, uint64_t version, uint64_t deadline_ms, uint64_t now_ms)
{
    uint64_t hash = brd_store_hash(store, key);
    struct brd_blob *blob = NULL;
    struct brd_entry *entry;
    struct brd_guard guard;
    bool replaced;

    if (version % 2 == 0 && deadline_ms == 0) {
        brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, hash);
        entry = brd_guard_find_room(&guard, hash, key, value.size);
        if (entry != NULL)
            brd_guard_overwrite(&guard, hash, entry, value, version);
        brd_guard_end(&guard);
        if (entry != NULL)
            return true;
    }
    if (value.size >= BRD_STORE_BLOB_MIN) {
        blob = brd_blob_copy(value);
        value = brd_bytes(NULL, 0);
    }
    entry = brd_entry_create(key, value, blob, deadline_ms != 0);
    ck_assert_ptr_nonnull(entry);
    brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, hash);
    ck_assert_int_eq(brd_guard_reserve(&guard, hash, deadline_ms != 0), BRD_OK);
    replaced = brd_guard_put(&guard, hash, entry, version, deadline_ms, now_ms);
    brd_guard_end(&guard);
    return replaced;
}

static inline bool
removed(struct brd_store *store, struct brd_keyspace *keyspace, struct brd_bytes key,
        uint64_t version, uint64_t now_ms)
{
    uint64_t hash = brd_store_hash(store, key);
    struct brd_guard guard;
    bool was_live;

    brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, hash);
    was_live = brd_guard_remove(&guard, hash, key, version, now_ms);
    brd_guard_end(&guard);
    return was_live;
}

/* Whether the key is there, and if so with this value and version. */
static inline bool
holds(struct brd_store *store, struct brd_keyspace *keyspace, struct brd_bytes key,
      struct brd_bytes value, uint64_t version, uint64_t now_ms)
{
    uint64_t hash = brd_store_hash(store, key);
    struct brd_guard guard;
    struct brd_view view;
    uint64_t seen;
    bool same = false;

    brd_guard_begin(&guard, keyspace, BRD_GUARD_READ, hash);
    if (brd_guard_find(&guard, hash, key, now_ms, &view, &seen) == BRD_OK)
        same = brd_bytes_equal(view.value, value) && view.version == version && seen == version;
    brd_guard_end(&guard);
    return same;
}

/* Whether the key is absent; out_seen as for brd_guard_find. */
static inline bool
absent(struct brd_store *store, struct brd_keyspace *keyspace, struct brd_bytes key,
       uint64_t now_ms, uint64_t *out_seen)
{
    uint64_t hash = brd_store_hash(store, key);
    struct brd_guard guard;
    struct brd_view view;
    enum brd_status status;

    brd_guard_begin(&guard, keyspace, BRD_GUARD_READ, hash);
    status = brd_guard_find(&guard, hash, key, now_ms, &view, out_seen);
    brd_guard_end(&guard);
    return status == BRD_NOT_FOUND;
}

static inline uint64_t
clear_all(struct brd_keyspace *keyspace, uint64_t version)
{
    struct brd_guard guard;
    uint64_t count;

    ck_assert_int_eq(brd_guard_begin_many(&guard, keyspace, BRD_GUARD_WRITE, NULL, 0), BRD_OK);
    count = brd_guard_clear(&guard, version);
    brd_guard_end(&guard);
    return count;
}

static inline void
free_graveyard(struct brd_store *store)
{
    while (brd_store_free_some(store, 1000) > 0)
        ;
}

/* Run a test program's only suite. */
static inline int
run_tests(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    SRunner *runner;
    int failed;
    size_t i;

    for (i = 0; i < count; i++)
        tcase_add_test(tcase, tests[i]);
    tcase_set_timeout(tcase, 300);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

#define RUN_TESTS(name, ...)                                             \
    int main(void)                                                       \
    {                                                                    \
        const TTest *const tests[] = { __VA_ARGS__ };                    \
        return run_tests(name, tests, sizeof(tests) / sizeof(tests[0])); \
    }

#endif
