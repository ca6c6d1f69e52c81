/* TSAN */
/* Eviction: who goes, who stays, what it costs, and that nothing of it stays
 * behind. */
#include "store/heap.h"
#include "store_test.h"

#include <pthread.h>
#include <sched.h>

#define LIMIT (UINT64_C(64) << 20) /* so small that queues are kept from the first key on */

static struct brd_store *store;
static struct brd_keyspace *keyspace;
static uint64_t version;

static void
open_with(enum brd_eviction policy)
{
    store = store_open(16, 1);
    keyspace = keyspace_open(store, 0);
    brd_store_set_limit(store, LIMIT);
    brd_keyspace_set_eviction(keyspace, policy);
}

static void
close_store(void)
{
    brd_keyspace_destroy(&keyspace);
    free_graveyard(store);
    brd_store_destroy(&store);
}

static void
put_number(uint64_t number, uint64_t deadline_ms)
{
    struct key key;

    key_make(&key, number);
    put(store, keyspace, key.bytes, brd_bytes("value", 5), ++version, deadline_ms, 1);
}

static void
remove_number(uint64_t number)
{
    struct key key;

    key_make(&key, number);
    removed(store, keyspace, key.bytes, ++version, 1);
}

static bool
touch(uint64_t number)
{
    uint64_t seen;
    struct key key;

    key_make(&key, number);
    return !absent(store, keyspace, key.bytes, 1, &seen);
}

static uint64_t
number_of(struct brd_bytes key)
{
    char text[24] = "";

    ck_assert_uint_eq(key.size, 16);
    memcpy(text, key.data, key.size);
    return strtoull(text + 4, NULL, 10);
}

static enum brd_status
evict_one(uint64_t *out_number)
{
    enum brd_status status = BRD_BUSY;
    struct brd_victim victim;
    struct brd_guard guard;

    while (status == BRD_BUSY) {
        uint32_t budget = 1000;

        status = brd_victim_find(&guard, keyspace, &budget, &victim);
    }
    if (status != BRD_OK)
        return status;
    *out_number = number_of(victim.key);
    ck_assert_uint_ge(victim.bytes, victim.key.size + 5);
    ck_assert(brd_guard_remove(&guard, victim.hash, victim.key, ++version, 0));
    brd_guard_end(&guard);
    return BRD_OK;
}

static void
tend(void)
{
    while (brd_keyspace_tend_eviction(keyspace, 100) > 0)
        ;
}

static uint64_t
queued(void)
{
    struct brd_eviction_info info;

    brd_keyspace_get_eviction(keyspace, &info);
    return info.small_items + info.main_items;
}

static const enum brd_eviction policies[] = { BRD_EVICTION_S3FIFO, BRD_EVICTION_LRU,
                                              BRD_EVICTION_VOLATILE_TTL, BRD_EVICTION_RANDOM };
#define POLICIES (sizeof(policies) / sizeof(policies[0]))

START_TEST(every_policy_evicts_each_key_once_and_leaves_nothing_behind)
{
    unsigned i;

    for (i = 0; i < POLICIES; i++) {
        bool gone[3000] = { false };
        uint64_t number;
        uint64_t empty;
        unsigned n;

        open_with(policies[i]);
        empty = brd_store_used_bytes(store);
        for (n = 0; n < 3000; n++)
            put_number(n, 1000 + n);
        for (n = 0; n < 3000; n++) {
            ck_assert_int_eq(evict_one(&number), BRD_OK);
            ck_assert_uint_lt(number, 3000);
            ck_assert(!gone[number]);
            gone[number] = true;
        }
        ck_assert_int_eq(evict_one(&number), BRD_NOT_FOUND);
        ck_assert_uint_eq(brd_keyspace_count(keyspace), 0);
        brd_keyspace_set_eviction(keyspace, BRD_EVICTION_NONE);
        tend();
        ck_assert_uint_eq(brd_store_used_bytes(store), empty);
        close_store();
    }
}
END_TEST

START_TEST(without_a_policy_nothing_goes_and_nothing_is_kept)
{
    struct brd_store_memory memory;
    uint64_t number;
    unsigned n;

    open_with(BRD_EVICTION_NONE);
    for (n = 0; n < 1000; n++)
        put_number(n, 0);
    ck_assert_int_eq(evict_one(&number), BRD_NOT_FOUND);
    tend();
    brd_store_get_memory(store, &memory);
    ck_assert_uint_eq(memory.eviction_bytes, 0);
    close_store();
}
END_TEST

START_TEST(a_limit_far_away_costs_nothing_until_half_of_it_is_used)
{
    const uint64_t far = UINT64_C(128) << 20;
    struct brd_store_memory memory;
    uint64_t number;
    unsigned n;

    open_with(BRD_EVICTION_NONE);
    brd_store_set_limit(store, far);
    brd_keyspace_set_eviction(keyspace, BRD_EVICTION_S3FIFO);
    for (n = 0; n < 1000; n++)
        put_number(n, 0);
    tend();
    brd_store_get_memory(store, &memory);
    ck_assert_uint_eq(memory.eviction_bytes, 0);
    ck_assert_uint_eq(queued(), 0);
    ck_assert_int_eq(evict_one(&number), BRD_OK); /* at random */
    for (n = 0; n < 65; n++) {
        struct brd_blob *blob = brd_blob_create(1 << 20);
        struct brd_entry *entry;
        struct brd_guard guard;
        struct key key;
        uint64_t hash;

        key_make(&key, 5000 + n);
        hash = brd_store_hash(store, key.bytes);
        entry = brd_entry_create(key.bytes, brd_bytes(NULL, 0), blob, false);
        brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, hash);
        ck_assert_int_eq(brd_guard_reserve(&guard, hash, false), BRD_OK);
        brd_guard_put(&guard, hash, entry, ++version, 0, 1);
        brd_guard_end(&guard);
    }
    tend();
    ck_assert_uint_eq(queued(), brd_keyspace_count(keyspace));
    /* It stays so until a quarter is left. */
    for (n = 0; n < 20; n++)
        remove_number(5000 + n);
    free_graveyard(store);
    tend();
    ck_assert_uint_ge(queued(), brd_keyspace_count(keyspace));
    for (n = 20; n < 65; n++)
        remove_number(5000 + n);
    free_graveyard(store);
    tend();
    ck_assert_uint_eq(queued(), 0);
    brd_store_get_memory(store, &memory);
    ck_assert_uint_eq(memory.eviction_bytes, 0);
    close_store();
}
END_TEST

START_TEST(what_was_used_twice_outlives_a_scan)
{
    unsigned lost = 0;
    uint64_t number;
    unsigned round;
    unsigned n;

    open_with(BRD_EVICTION_S3FIFO);
    for (n = 0; n < 1000; n++)
        put_number(n, 0);
    for (n = 0; n < 500; n++)
        touch(n);
    /* 10,000 keys pass through a cache of 1,000, of which 500 are used. */
    for (round = 0; round < 100; round++) {
        for (n = 0; n < 500; n++)
            touch(n);
        for (n = 0; n < 100; n++) {
            ck_assert_int_eq(evict_one(&number), BRD_OK);
            lost += number < 500;
            put_number(100000 + round * 100 + n, 0);
        }
    }
    ck_assert_uint_lt(lost, 10);
    ck_assert_uint_eq(brd_keyspace_count(keyspace), 1000);
    close_store();
}
END_TEST

START_TEST(a_key_that_comes_back_soon_goes_to_the_main_queue)
{
    struct brd_eviction_info info;
    uint64_t number;
    unsigned n;

    open_with(BRD_EVICTION_S3FIFO);
    for (n = 0; n < 1000; n++)
        put_number(n, 0);
    ck_assert_int_eq(evict_one(&number), BRD_OK);
    put_number(number, 0);
    brd_keyspace_get_eviction(keyspace, &info);
    ck_assert_uint_eq(info.ghost_hits, 1);
    ck_assert_uint_eq(info.main_items, 1);
    ck_assert_uint_ge(info.ghosts, 800);
    /* Once: it is a ghost no more. */
    remove_number(number);
    put_number(number, 0);
    brd_keyspace_get_eviction(keyspace, &info);
    ck_assert_uint_eq(info.ghost_hits, 1);
    close_store();
}
END_TEST

/* Room for so many ghosts is not made by a writer; the thread that tends makes it,
 * as soon as somebody has been evicted. */
START_TEST(a_large_cache_remembers_whom_it_evicted_too)
{
    const unsigned count = 100000;
    struct brd_eviction_info info;
    uint64_t number;
    unsigned n;

    open_with(BRD_EVICTION_S3FIFO);
    for (n = 0; n < count; n++)
        put_number(n, 0);
    tend();
    brd_keyspace_get_eviction(keyspace, &info);
    ck_assert_uint_eq(info.ghosts, 0); /* nobody has been evicted */
    ck_assert_int_eq(evict_one(&number), BRD_OK);
    tend();
    brd_keyspace_get_eviction(keyspace, &info);
    ck_assert_uint_ge(info.ghosts, count / 10 * 8);
    ck_assert_int_eq(evict_one(&number), BRD_OK);
    put_number(number, 0);
    brd_keyspace_get_eviction(keyspace, &info);
    ck_assert_uint_eq(info.ghost_hits, 1);
    ck_assert_uint_eq(info.main_items, 1);
    close_store();
}
END_TEST

START_TEST(the_small_queue_grows_where_keys_come_back_just_too_late)
{
    struct brd_eviction_info info;
    uint64_t next = 0;
    uint64_t number;
    unsigned n;

    open_with(BRD_EVICTION_S3FIFO);
    for (n = 0; n < 1000; n++)
        put_number(next++, 0);
    for (n = 0; n < 3 * 890; n++)
        touch(n % 890);
    /* 890 keys are in use; each of the others is asked for again when 130 more
     * have come. */
    for (n = 0; n < 50000; n++) {
        uint64_t wanted = n % 2 == 0 ? next++ : next - 130;

        touch(n % 890);
        if (touch(wanted))
            continue;
        ck_assert_int_eq(evict_one(&number), BRD_OK);
        put_number(wanted, 0);
    }
    brd_keyspace_get_eviction(keyspace, &info);
    ck_assert_uint_ge(info.small_permille, 120);
    close_store();
}
END_TEST

START_TEST(keys_that_pass_do_not_fill_the_queues)
{
    struct random random = random_start("churn");
    struct brd_store_memory memory;
    uint64_t number;
    unsigned n;

    open_with(BRD_EVICTION_S3FIFO);
    for (n = 0; n < 1000; n++)
        put_number(n, 0);
    /* New names, and the same names again and again. */
    for (n = 0; n < 50000; n++) {
        put_number(1000 + n, 0);
        remove_number(1000 + n);
        number = random_below(&random, 1000);
        remove_number(number);
        put_number(number, 0);
        if (n % 100 == 0)
            brd_keyspace_tend_eviction(keyspace, 1000);
        ck_assert_uint_le(queued(), 2600);
    }
    /* Every key is in a queue exactly once. */
    for (n = 0; n < 3000; n++) {
        put_number(1000000 + n, 0);
        remove_number(1000000 + n);
    }
    tend();
    ck_assert_uint_eq(queued(), 1000);
    for (n = 0; n < 1000; n++)
        ck_assert_int_eq(evict_one(&number), BRD_OK);
    ck_assert_uint_eq(queued(), 0);
    tend();
    brd_store_get_memory(store, &memory);
    ck_assert_uint_lt(memory.eviction_bytes, 16 << 10); /* ghosts of 1,000 */
    close_store();
}
END_TEST

START_TEST(a_clear_empties_the_queues)
{
    uint64_t number;
    unsigned n;

    open_with(BRD_EVICTION_S3FIFO);
    for (n = 0; n < 5000; n++)
        put_number(n, 0);
    clear_all(keyspace, ++version);
    ck_assert_uint_eq(queued(), 0);
    ck_assert_int_eq(evict_one(&number), BRD_NOT_FOUND);
    for (n = 0; n < 100; n++)
        put_number(n, 0);
    for (n = 0; n < 100; n++)
        ck_assert_int_eq(evict_one(&number), BRD_OK);
    close_store();
}
END_TEST

START_TEST(lru_prefers_what_was_not_used_for_long)
{
    unsigned wrong = 0;
    uint64_t number;
    unsigned round;
    unsigned n;

    open_with(BRD_EVICTION_LRU);
    for (n = 0; n < 2000; n++)
        put_number(n, 0);
    for (round = 0; round < 20; round++) {
        for (n = 0; n < 1000; n++)
            touch(n);
        for (n = 0; n < 100; n++) {
            ck_assert_int_eq(evict_one(&number), BRD_OK);
            wrong += number < 1000;
            put_number(10000 + round * 100 + n, 0);
        }
    }
    /* Half of the keys are used all the time: of 2,000 victims chance would take half. */
    ck_assert_uint_lt(wrong, 60);
    close_store();
}
END_TEST

START_TEST(random_gives_every_key_the_same_time)
{
    uint64_t oldest = 0;
    uint64_t number;
    unsigned n;

    open_with(BRD_EVICTION_RANDOM);
    for (n = 0; n < 100; n++)
        put_number(n, 0);
    for (; n < 40000; n++) {
        ck_assert_int_eq(evict_one(&number), BRD_OK);
        if (n - number > oldest)
            oldest = n - number;
        put_number(n, 0);
    }
    /* Lives last 100 turns on average: one of 2,000 comes once in 10^8. */
    ck_assert_uint_lt(oldest, 2500);
    for (n = 0; n < 100; n++) {
        ck_assert_int_eq(evict_one(&number), BRD_OK);
        ck_assert_uint_gt(number + 2500, 40000);
    }
    close_store();
}
END_TEST

START_TEST(volatile_ttl_takes_only_keys_with_a_deadline_the_nearest_first)
{
    unsigned late = 0;
    uint64_t number;
    unsigned n;

    open_with(BRD_EVICTION_VOLATILE_TTL);
    for (n = 0; n < 1000; n++)
        put_number(n, 0);
    for (n = 1000; n < 3000; n++)
        put_number(n, 10000 + 100 * n);
    for (n = 0; n < 1000; n++) {
        ck_assert_int_eq(evict_one(&number), BRD_OK);
        ck_assert_uint_ge(number, 1000);
        late += number >= 2200;
    }
    ck_assert_uint_lt(late, 200);
    for (n = 0; n < 1000; n++)
        ck_assert_int_eq(evict_one(&number), BRD_OK);
    ck_assert_int_eq(evict_one(&number), BRD_NOT_FOUND);
    ck_assert_uint_eq(brd_keyspace_count(keyspace), 1000);
    close_store();
}
END_TEST

/* The reaper may stop where it has just taken the last key that had a deadline. */
START_TEST(volatile_ttl_does_not_look_for_ever_for_deadlines_that_are_gone)
{
    struct brd_victim victim;
    struct brd_guard guard;
    uint32_t budget = 1000;
    uint32_t reaped = 0;
    uint32_t shard;
    unsigned n;

    open_with(BRD_EVICTION_VOLATILE_TTL);
    for (n = 0; n < 1000; n++)
        put_number(n, 0);
    for (n = 1000; n < 3000; n++)
        put_number(n, 1000);
    while (brd_keyspace_count(keyspace) > 1000)
        for (shard = 0; shard < brd_keyspace_shards(keyspace); shard++)
            reaped += brd_shard_reap(keyspace, shard, 2000, 1);
    ck_assert_uint_eq(reaped, 2000);
    ck_assert_uint_eq(brd_keyspace_count(keyspace), 1000);
    ck_assert_int_eq(brd_victim_find(&guard, keyspace, &budget, &victim), BRD_NOT_FOUND);
    close_store();
}
END_TEST

START_TEST(a_victim_that_is_spared_stays_in_its_queue)
{
    struct brd_victim victim;
    struct brd_guard guard;
    uint32_t budget = 100;
    uint64_t number;
    unsigned n;

    open_with(BRD_EVICTION_S3FIFO);
    for (n = 0; n < 100; n++)
        put_number(n, 0);
    ck_assert_int_eq(brd_victim_find(&guard, keyspace, &budget, &victim), BRD_OK);
    ck_assert_uint_eq(queued(), 99);
    brd_victim_spare(&guard, &victim);
    brd_guard_end(&guard);
    ck_assert_uint_eq(queued(), 100);
    for (n = 0; n < 100; n++)
        ck_assert_int_eq(evict_one(&number), BRD_OK);
    close_store();
}
END_TEST

START_TEST(policies_change_in_slices_and_none_forgets_a_key)
{
    struct random random = random_start("change");
    unsigned round;
    unsigned n;

    open_with(BRD_EVICTION_S3FIFO);
    for (n = 0; n < 5000; n++)
        put_number(n, n % 2 == 0 ? 100000 : 0);
    for (round = 0; round < 60; round++) {
        enum brd_eviction policy = policies[random_below(&random, POLICIES)];
        uint64_t number;
        uint32_t slices = random_below(&random, 40);

        brd_keyspace_set_eviction(keyspace, policy);
        ck_assert_int_eq(brd_keyspace_eviction(keyspace), policy);
        /* Also half-way victims are found and keys come and go. */
        for (n = 0; n < slices; n++) {
            brd_keyspace_tend_eviction(keyspace, 64);
            ck_assert_int_eq(evict_one(&number), BRD_OK);
            put_number(number, number % 2 == 0 ? 100000 : 0);
            touch(random_below(&random, 5000));
            number = random_below(&random, 5000);
            remove_number(number);
            put_number(number, number % 2 == 0 ? 100000 : 0);
        }
    }
    brd_keyspace_set_eviction(keyspace, BRD_EVICTION_S3FIFO);
    tend();
    ck_assert_uint_eq(brd_keyspace_count(keyspace), 5000);
    ck_assert_uint_ge(queued(), 5000);
    for (n = 0; n < 5000; n++) {
        uint64_t number;

        ck_assert_int_eq(evict_one(&number), BRD_OK);
    }
    close_store();
}
END_TEST

START_TEST(a_key_that_found_no_memory_for_its_place_gets_one_later)
{
    uint64_t number;
    unsigned fails;
    unsigned n;

    open_with(BRD_EVICTION_S3FIFO);
    for (fails = 0; fails < 400; fails++) {
        struct brd_entry *entry;
        struct brd_guard guard;
        struct key key;
        uint64_t hash;

        key_make(&key, fails);
        hash = brd_store_hash(store, key.bytes);
        entry = brd_entry_create(key.bytes, brd_bytes("value", 5), NULL, false);
        brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, hash);
        ck_assert_int_eq(brd_guard_reserve(&guard, hash, false), BRD_OK);
        atomic_store_explicit(&heap_fail_after, 0, memory_order_relaxed);
        brd_guard_put(&guard, hash, entry, ++version, 0, 1);
        atomic_store_explicit(&heap_fail_after, -1, memory_order_relaxed);
        brd_guard_end(&guard);
    }
    ck_assert_uint_eq(queued(), 0); /* no chunk was to be had */
    tend();
    ck_assert_uint_eq(queued(), 400);
    /* Without memory for ghosts evictions go on. */
    for (n = 0; n < 400; n++) {
        atomic_store_explicit(&heap_fail_after, 0, memory_order_relaxed);
        ck_assert_int_eq(evict_one(&number), BRD_OK);
        atomic_store_explicit(&heap_fail_after, -1, memory_order_relaxed);
    }
    ck_assert_uint_eq(queued(), 0);
    close_store();
}
END_TEST

/* ---- threads ---- */

static _Atomic bool stop;

static void *
read_on(void *arg)
{
    struct random random = { (uint64_t)(uintptr_t)arg };

    while (!atomic_load(&stop))
        touch(random_below(&random, 3000));
    return NULL;
}

static void *
write_on(void *arg)
{
    struct random random = { (uint64_t)(uintptr_t)arg };
    uint64_t own = 0;

    while (!atomic_load(&stop)) {
        struct key key;
        uint32_t number = random_below(&random, 3000);

        key_make(&key, number);
        if (random_below(&random, 5) == 0)
            removed(store, keyspace, key.bytes, ++own, 1);
        else
            put(store, keyspace, key.bytes, brd_bytes("value", 5), ++own, 0, 1);
        if (brd_keyspace_count(keyspace) > 1000) {
            struct brd_victim victim;
            struct brd_guard guard;
            uint32_t budget = 200;

            if (brd_victim_find(&guard, keyspace, &budget, &victim) == BRD_OK) {
                ck_assert(brd_guard_remove(&guard, victim.hash, victim.key, ++own, 0));
                brd_guard_end(&guard);
            }
        }
    }
    return NULL;
}

START_TEST(readers_writers_and_changes_of_the_policy_go_on_at_once)
{
    struct random random = random_start("threads");
    pthread_t threads[4];
    unsigned round;
    uint64_t number;
    uint64_t left;

    open_with(BRD_EVICTION_S3FIFO);
    atomic_store(&stop, false);
    pthread_create(&threads[0], NULL, read_on, (void *)11);
    pthread_create(&threads[1], NULL, read_on, (void *)12);
    pthread_create(&threads[2], NULL, write_on, (void *)13);
    pthread_create(&threads[3], NULL, write_on, (void *)14);
    for (round = 0; round < 300; round++) {
        if (round % 10 == 0)
            brd_keyspace_set_eviction(keyspace, random_below(&random, 2) == 0
                                                    ? BRD_EVICTION_S3FIFO
                                                    : policies[random_below(&random, POLICIES)]);
        brd_keyspace_tend_eviction(keyspace, 500);
    }
    atomic_store(&stop, true);
    for (round = 0; round < 4; round++)
        pthread_join(threads[round], NULL);
    brd_keyspace_set_eviction(keyspace, BRD_EVICTION_S3FIFO);
    tend();
    left = brd_keyspace_count(keyspace);
    ck_assert_uint_ge(queued(), left);
    while (left-- > 0)
        ck_assert_int_eq(evict_one(&number), BRD_OK);
    ck_assert_int_eq(evict_one(&number), BRD_NOT_FOUND);
    close_store();
}
END_TEST

static _Atomic unsigned tended;

static void *
tend_on(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        brd_keyspace_tend_eviction(keyspace, 500);
        atomic_fetch_add(&tended, 1);
    }
    return NULL;
}

/* A clear may come while a sweep has an item in its hand. */
START_TEST(clears_do_not_upset_the_books_of_a_sweep)
{
    pthread_t thread;
    unsigned before;
    unsigned round;
    unsigned n;

    open_with(BRD_EVICTION_S3FIFO);
    atomic_store(&stop, false);
    pthread_create(&thread, NULL, tend_on, NULL);
    for (round = 0; round < 200; round++) {
        for (n = 0; n < 1000; n++)
            put_number(n, 0);
        for (n = 0; n < 900; n++)
            remove_number(n);
        clear_all(keyspace, ++version);
        free_graveyard(store);
        before = atomic_load(&tended);
        while (atomic_load(&tended) - before < 2) /* its hand is empty */
            sched_yield();
        ck_assert_uint_eq(queued(), 0);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    close_store();
}
END_TEST

RUN_TESTS("evict", every_policy_evicts_each_key_once_and_leaves_nothing_behind,
          without_a_policy_nothing_goes_and_nothing_is_kept,
          a_limit_far_away_costs_nothing_until_half_of_it_is_used,
          what_was_used_twice_outlives_a_scan, a_key_that_comes_back_soon_goes_to_the_main_queue,
          a_large_cache_remembers_whom_it_evicted_too,
          the_small_queue_grows_where_keys_come_back_just_too_late,
          keys_that_pass_do_not_fill_the_queues, a_clear_empties_the_queues,
          lru_prefers_what_was_not_used_for_long, random_gives_every_key_the_same_time,
          volatile_ttl_takes_only_keys_with_a_deadline_the_nearest_first,
          volatile_ttl_does_not_look_for_ever_for_deadlines_that_are_gone,
          a_victim_that_is_spared_stays_in_its_queue,
          policies_change_in_slices_and_none_forgets_a_key,
          a_key_that_found_no_memory_for_its_place_gets_one_later,
          readers_writers_and_changes_of_the_policy_go_on_at_once,
          clears_do_not_upset_the_books_of_a_sweep)
