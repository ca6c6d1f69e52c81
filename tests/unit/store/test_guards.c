/* TSAN */
/* Many threads on one store: guards of one and of many stripes, hints, reaping,
 * walking, clearing and freeing at the same time. */
#include "base/thread.h"
#include "store_test.h"

#ifdef __SANITIZE_THREAD__
#define ROUNDS 3000
#else
#define ROUNDS 12000
#endif
#define GROUPS     8
#define GROUP_KEYS 6
#define SINGLES    5000

static struct brd_store *store;
static struct brd_keyspace *keyspace;
static struct random seeds;
static _Atomic uint64_t version;
static _Atomic bool stop;
static struct key group_keys[GROUPS][GROUP_KEYS];
static uint64_t group_hashes[GROUPS][GROUP_KEYS];

/* What the only writer of a key knows of it. */
struct known {
    uint64_t version; /* 0: it is absent */
    uint64_t deadline_ms;
    uint64_t clears; /* as of before it was put */
};

struct worker {
    pthread_t thread;
    struct random random;
    uint64_t done;
    uint64_t wrong;
    unsigned who;
    struct known known[SINGLES];
};

static void
setup(const char *test, uint32_t shards)
{
    uint64_t i;

    seeds = random_start(test);
    store = store_open(32, random_next(&seeds));
    keyspace = keyspace_open(store, shards);
    atomic_store(&version, 0);
    atomic_store(&stop, false);
    for (i = 0; i < GROUPS * GROUP_KEYS; i++) {
        struct key *key = &group_keys[i / GROUP_KEYS][i % GROUP_KEYS];

        key_make(key, 1000000 + i);
        group_hashes[i / GROUP_KEYS][i % GROUP_KEYS] = brd_store_hash(store, key->bytes);
    }
}

static void
teardown(void)
{
    brd_keyspace_destroy(&keyspace);
    free_graveyard(store);
    brd_store_destroy(&store);
}

static void
start(struct worker *worker, void *(*run)(void *arg))
{
    worker->random.state = random_next(&seeds);
    worker->done = 0;
    worker->wrong = 0;
    memset(worker->known, 0, sizeof(worker->known));
    ck_assert_int_eq(brd_thread_start(&worker->thread, "worker", run, worker), BRD_OK);
}

/* Put one number under all keys of a group. */
static void *
write_groups(void *arg)
{
    struct worker *worker = arg;
    int round;
    int i;

    for (round = 0; round < ROUNDS; round++) {
        uint32_t group = random_below(&worker->random, GROUPS);
        uint64_t number = random_next(&worker->random);
        struct brd_entry *entries[GROUP_KEYS];
        struct brd_guard guard;
        uint64_t now;

        for (i = 0; i < GROUP_KEYS; i++)
            entries[i] = brd_entry_create(group_keys[group][i].bytes,
                                          brd_bytes(&number, sizeof(number)), NULL, false);
        if (brd_guard_begin_many(&guard, keyspace, BRD_GUARD_WRITE, group_hashes[group],
                                 GROUP_KEYS) != BRD_OK)
            return NULL;
        for (i = 0; i < GROUP_KEYS; i++)
            if (brd_guard_reserve(&guard, group_hashes[group][i], false) != BRD_OK)
                return NULL;
        now = atomic_fetch_add(&version, 1) + 1;
        for (i = 0; i < GROUP_KEYS; i++)
            brd_guard_put(&guard, group_hashes[group][i], entries[i], now, 0, 1);
        brd_guard_end(&guard);
        worker->done++;
    }
    return NULL;
}

/* All keys of a group have one version and one number, which never goes back. */
static void *
read_groups(void *arg)
{
    struct worker *worker = arg;
    uint64_t last[GROUPS] = { 0 };

    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint32_t group = random_below(&worker->random, GROUPS);
        struct brd_view views[GROUP_KEYS];
        struct brd_guard guard;
        uint64_t seen;
        int found = 0;
        bool same = true;
        int i;

        for (i = 0; i < GROUP_KEYS; i++)
            brd_keyspace_prefetch(keyspace, group_hashes[group][i]);
        for (i = 0; i < GROUP_KEYS; i++)
            brd_keyspace_prefetch_entry(keyspace, group_hashes[group][i]);
        if (brd_guard_begin_many(&guard, keyspace, BRD_GUARD_READ, group_hashes[group],
                                 GROUP_KEYS) != BRD_OK)
            return NULL;
        for (i = 0; i < GROUP_KEYS; i++)
            found += brd_guard_find(&guard, group_hashes[group][i], group_keys[group][i].bytes, 1,
                                    &views[i], &seen) == BRD_OK;
        for (i = 1; found == GROUP_KEYS && i < GROUP_KEYS; i++)
            same = same && views[i].version == views[0].version &&
                   brd_bytes_equal(views[i].value, views[0].value);
        if (found == GROUP_KEYS) {
            same = same && views[0].version >= last[group];
            last[group] = views[0].version;
        }
        brd_guard_end(&guard);
        if (!same || (found != 0 && found != GROUP_KEYS))
            return arg;
        worker->done++;
    }
    return NULL;
}

START_TEST(several_keys_are_put_at_once_or_not_yet)
{
    struct worker writers[2];
    struct worker readers[2];
    void *failed;
    int i;

    setup("groups", 16);
    for (i = 0; i < 2; i++) {
        start(&writers[i], write_groups);
        start(&readers[i], read_groups);
    }
    for (i = 0; i < 2; i++) {
        brd_thread_join(writers[i].thread);
        ck_assert_uint_eq(writers[i].done, ROUNDS);
    }
    atomic_store(&stop, true);
    for (i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_join(readers[i].thread, &failed), 0);
        ck_assert_ptr_null(failed);
    }
    teardown();
}
END_TEST

static _Atomic uint64_t now_ms;
static _Atomic uint64_t clears; /* odd while one is under way */

static void
put_single(struct worker *worker, const struct key *key, struct known *known)
{
    uint64_t deadline_ms =
        random_below(&worker->random, 2) == 0 ? 0 : now_ms + random_below(&worker->random, 200);

    *known = (struct known){ .version = atomic_fetch_add(&version, 1) + 1,
                             .deadline_ms = deadline_ms,
                             .clears = atomic_load(&clears) };
    put(store, keyspace, key->bytes, key->bytes, known->version, deadline_ms, now_ms);
}

/* The key is what its writer left, or absent for a reason; then it stays absent. */
static bool
is_as_known(const struct key *key, struct known *known)
{
    uint64_t hash = brd_store_hash(store, key->bytes);
    uint64_t at_ms = now_ms;
    struct known then = *known;
    struct brd_guard guard;
    struct brd_view view;
    uint64_t seen;
    bool found;

    brd_guard_begin(&guard, keyspace, BRD_GUARD_READ, hash);
    found = brd_guard_find(&guard, hash, key->bytes, at_ms, &view, &seen) == BRD_OK;
    brd_guard_end(&guard);
    if (found)
        return then.version != 0 && view.version == then.version &&
               view.deadline_ms == then.deadline_ms &&
               (then.deadline_ms == 0 || then.deadline_ms > at_ms);
    known->version = 0;
    return then.version == 0 || (then.deadline_ms != 0 && then.deadline_ms <= now_ms) ||
           then.clears % 2 == 1 || then.clears != atomic_load(&clears);
}

/* Puts and removals, in long runs, so that tables grow and shrink. Each of the two
 * writers has keys of its own, and looks now and then whether they are what it left. */
static void *
write_singles(void *arg)
{
    struct worker *worker = arg;
    bool growing = true;
    struct known *known;
    struct key key;
    uint32_t number;
    int round;

    for (round = 0; round < 4 * ROUNDS; round++) {
        number = 2 * random_below(&worker->random, SINGLES / 2) + worker->who;
        known = &worker->known[number];
        key_make(&key, number);
        if (!is_as_known(&key, known))
            worker->wrong++;
        if (round % SINGLES == 0)
            growing = !growing || round == 0;
        if (random_below(&worker->random, 10) < (growing ? 9u : 1u)) {
            put_single(worker, &key, known);
        } else {
            removed(store, keyspace, key.bytes, atomic_fetch_add(&version, 1) + 1, now_ms);
            known->version = 0;
        }
        if (!is_as_known(&key, known))
            worker->wrong++;
        if (round % 50 == 0)
            atomic_fetch_add(&now_ms, 1);
        worker->done++;
    }
    return NULL;
}

static void *
read_singles(void *arg)
{
    struct worker *worker = arg;
    struct key keys[16];
    uint64_t hashes[16];
    int i;

    do { /* once at least: the writers may be done before it gets a core */
        for (i = 0; i < 16; i++) {
            key_make(&keys[i], random_below(&worker->random, SINGLES));
            hashes[i] = brd_store_hash(store, keys[i].bytes);
            brd_keyspace_prefetch(keyspace, hashes[i]);
        }
        for (i = 0; i < 16; i++)
            brd_keyspace_prefetch_entry(keyspace, hashes[i]);
        for (i = 0; i < 16; i++) {
            struct brd_guard guard;
            struct brd_view view;
            uint64_t seen;
            bool right = true;

            brd_guard_begin(&guard, keyspace, BRD_GUARD_READ, hashes[i]);
            if (brd_guard_find(&guard, hashes[i], keys[i].bytes, now_ms, &view, &seen) == BRD_OK)
                right = brd_bytes_equal(view.value, keys[i].bytes);
            brd_guard_end(&guard);
            if (!right)
                return arg;
            worker->done++;
        }
    } while (!atomic_load_explicit(&stop, memory_order_relaxed));
    return NULL;
}

static void
count_visit(void *arg, const struct brd_walk_item *item)
{
    uint64_t *wrong = arg;

    if (!brd_bytes_equal(item->key, item->view.value))
        ++*wrong;
}

/* What the background threads of a daemon do. */
static void *
look_after(void *arg)
{
    struct worker *worker = arg;
    uint64_t wrong = 0;

    do { /* once at least, too */
        uint32_t shard = random_below(&worker->random, brd_keyspace_shards(keyspace));
        struct brd_store_memory memory;
        uint64_t cursor = 0;

        if (brd_shard_next_deadline_ms(keyspace, shard) <= now_ms)
            brd_shard_reap(keyspace, shard, now_ms, 100);
        do
            brd_shard_walk(keyspace, shard, &cursor, 20, count_visit, &wrong);
        while (cursor != 0);
        brd_store_free_some(store, 100);
        brd_store_get_memory(store, &memory);
        (void)brd_keyspace_count(keyspace);
        (void)brd_keyspace_newest_removal(keyspace);
        (void)brd_store_used_bytes(store);
        if (random_below(&worker->random, 100) == 0) {
            atomic_fetch_add(&clears, 1);
            clear_all(keyspace, atomic_fetch_add(&version, 1) + 1);
            atomic_fetch_add(&clears, 1);
        }
        worker->done++;
    } while (!atomic_load_explicit(&stop, memory_order_relaxed));
    return wrong == 0 ? NULL : arg;
}

START_TEST(everything_goes_on_at_the_same_time)
{
    static struct worker writers[2];
    static struct worker others[3];
    void *failed;
    int i;

    setup("singles", 2); /* large enough for whole chunks */
    atomic_store(&now_ms, UINT64_C(1700000000000));
    for (i = 0; i < 2; i++) {
        writers[i].who = (unsigned)i;
        start(&writers[i], write_singles);
    }
    start(&others[0], read_singles);
    start(&others[1], read_singles);
    start(&others[2], look_after);
    for (i = 0; i < 2; i++) {
        brd_thread_join(writers[i].thread);
        ck_assert_uint_eq(writers[i].done, 4 * ROUNDS);
        ck_assert_uint_eq(writers[i].wrong, 0);
    }
    atomic_store(&stop, true);
    for (i = 0; i < 3; i++) {
        ck_assert_int_eq(pthread_join(others[i].thread, &failed), 0);
        ck_assert_ptr_null(failed);
        ck_assert_uint_gt(others[i].done, 0);
    }
    teardown();
}
END_TEST

RUN_TESTS("guards", several_keys_are_put_at_once_or_not_yet, everything_goes_on_at_the_same_time)
