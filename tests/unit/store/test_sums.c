/* The store's sums against a recount: random puts, overwrites, removals, expiry,
 * clears, evictions, changes of the policy and of the limit in two keyspaces;
 * now and then everything that the store has is walked through, and must come to
 * the same number of bytes. */
#include "store/heap.h"
#include "store/keyspace.h"
#include "store_test.h"

#define KEYSPACES 2
#define KEYS      6000
#define STRIPES   16

static struct brd_store *store;
static struct brd_keyspace *keyspaces[KEYSPACES];
static struct random rng;
static uint64_t version;
static uint64_t now_ms;

/* What a recount finds. */
struct found {
    uint64_t entries; /* bytes */
    uint64_t data;
    uint64_t blobs;
    uint64_t number;
};

static void
count_entry(void *arg, const struct brd_entry *entry)
{
    struct found *found = arg;
    const struct brd_blob *blob = entry_blob(entry);

    found->number++;
    found->entries += heap_size(entry);
    found->data += entry_key(entry).size + entry_value_size(entry);
    found->blobs += blob == NULL ? 0 : brd_blob_footprint(blob);
}

/* The chunks of a directory and, unless it is the owner's, the directory. */
static uint64_t
dir_recount(const struct table *table, const struct dir *dir, bool is_front)
{
    uint64_t bytes = dir == table->small ? 0 : dir_bytes(dir);
    uint32_t i;

    for (i = 0; i < dir->cap; i++) {
        const void *chunk = atomic_load(&dir->at[i]);

        if (chunk == NULL)
            continue;
        if (is_front && i == 0 && table->first_room != TABLE_CHUNK_BUCKETS)
            bytes += heap_size(chunk);
        else
            bytes += ARENA_CHUNK_BYTES;
    }
    return bytes;
}

static uint64_t
table_recount(const struct table *table)
{
    const struct dir *root = atomic_load(&table->root);
    uint64_t bytes = dir_recount(table, atomic_load(&table->dir), true);
    const struct bucket *bucket;
    uint32_t i;

    for (i = 0; root != NULL && i < root->cap; i++)
        if (atomic_load(&root->at[i]) != NULL)
            bytes += dir_recount(table, atomic_load(&root->at[i]), false);
    bytes += root == NULL ? 0 : dir_bytes(root);
    for (i = 0; i < table_buckets(table); i++)
        for (bucket = bucket_next(table_bucket(table, i)); bucket != NULL;
             bucket = bucket_next(bucket))
            bytes += heap_size(bucket);
    for (bucket = table->spare; bucket != NULL; bucket = bucket_pointer(bucket, BUCKET_PLACES - 1))
        bytes += heap_size(bucket);
    return bytes;
}

static uint64_t
chunks_recount(const struct fifo_chunk *chunk)
{
    uint64_t bytes = 0;

    for (; chunk != NULL; chunk = chunk->next)
        bytes += heap_size(chunk);
    return bytes;
}

static uint64_t
ghosts_recount(const struct ghosts *ghosts)
{
    return ghost_table_bytes(ghosts->table) + ghost_table_bytes(ghosts->before);
}

static uint64_t
eviction_recount(const struct evict *evict)
{
    uint64_t bytes = chunks_recount(evict->doomed) + heap_size(evict->spare);
    unsigned i;

    for (i = EVICT_SMALL; i <= EVICT_MAIN; i++)
        bytes += chunks_recount(evict->queues[i].swept.head) +
                 chunks_recount(evict->queues[i].rest.head) +
                 chunks_recount(evict->queues[i].fresh.head);
    return bytes + ghosts_recount(&evict->small_ghosts) + ghosts_recount(&evict->main_ghosts);
}

/* Compare one shard with its counters, and add what it takes to *found; *used is
 * what all that it has takes. */
static void
compare_shard(const struct shard *shard, struct found *found, uint64_t *used)
{
    const uint64_t end = UINT64_C(1) << 32;
    struct found own = { 0 };
    uint64_t position = 0;

    while (position < end)
        table_visit(&shard->table, &position, count_entry, &own);
    ck_assert_uint_eq(own.number, brd_counter_get(&shard->entries));
    ck_assert_uint_eq(own.entries, brd_counter_get(&shard->entry_bytes));
    ck_assert_uint_eq(own.data, brd_counter_get(&shard->data_bytes));
    ck_assert_uint_eq(own.blobs, brd_counter_get(&shard->blob_bytes));
    ck_assert_uint_eq(table_recount(&shard->table), brd_counter_get(&shard->table.bytes));
    ck_assert_uint_eq(heap_size(shard->expiry), brd_counter_get(&shard->expiry_bytes));
    found->blobs += own.blobs;
    *used += own.entries + table_recount(&shard->table) + heap_size(shard->expiry);
}

/* Everything that lives, and nothing that waits to be freed, to the byte. Returns
 * what brd_store_used_bytes would be if nothing in it were late. */
static uint64_t
compare_all(void)
{
    struct found found = { 0 };
    uint64_t used = heap_size(store) + heap_size(store->stripes.locks);
    int64_t unreported = 0;
    unsigned k;
    uint32_t i;

    for (k = 0; k < KEYSPACES; k++) {
        const struct brd_keyspace *keyspace = keyspaces[k];

        used += heap_size(keyspace) + heap_size(keyspace->shards) + heap_size(keyspace->small);
        for (i = 0; i <= keyspace->shard_mask; i++) {
            compare_shard(&keyspace->shards[i], &found, &used);
            unreported += keyspace->shards[i].unreported;
        }
        ck_assert_uint_eq(eviction_recount(&keyspace->evict),
                          brd_counter_get(&keyspace->evict.bytes));
        used += eviction_recount(&keyspace->evict);
    }
    ck_assert_uint_eq(atomic_load(&store->env.used_bytes) + (uint64_t)unreported, used);
    ck_assert_uint_eq(atomic_load(&store->env.live_blob_bytes), found.blobs);
    free_graveyard(store);
    ck_assert_uint_eq(atomic_load(&store->env.blob_bytes), found.blobs);
    ck_assert_uint_eq(atomic_load(&store->graveyard.bytes), 0);
    return used + found.blobs;
}

static struct brd_keyspace *
any_keyspace(void)
{
    return keyspaces[random_below(&rng, KEYSPACES)];
}

static void
any_key(uint8_t *room, struct brd_bytes *out)
{
    uint32_t number = random_below(&rng, KEYS);
    size_t size = (size_t)snprintf((char *)room, 32, "%x", number);

    if (number % 64 == 7) {
        memset(room + size, 'k', 600);
        size += 250 + number % 300;
    }
    *out = brd_bytes(room, size);
}

static void
step_put(struct brd_keyspace *keyspace, struct brd_bytes key)
{
    static const uint64_t spans[] = { 16, 300, 100000, 90000000000 };
    static uint8_t value[BRD_STORE_BLOB_MIN + 5000];
    uint32_t kind = random_below(&rng, 100);
    uint64_t deadline_ms = 0;
    size_t size = random_below(&rng, 200);

    if (kind == 0)
        size = BRD_STORE_BLOB_MIN + random_below(&rng, 5000);
    else if (kind < 4)
        size = random_below(&rng, BRD_STORE_BLOB_MIN);
    if (random_below(&rng, 3) == 0)
        deadline_ms = now_ms + 1 + random_next(&rng) % spans[random_below(&rng, 4)];
    put(store, keyspace, key, brd_bytes(value, size), ++version, deadline_ms, now_ms);
}

static void
step_evict(struct brd_keyspace *keyspace)
{
    uint32_t budget = 300;
    struct brd_victim victim;
    struct brd_guard guard;

    if (brd_victim_find(&guard, keyspace, &budget, &victim) != BRD_OK)
        return;
    if (random_below(&rng, 10) == 0)
        brd_victim_spare(&guard, &victim);
    else
        brd_guard_remove(&guard, victim.hash, victim.key, ++version, now_ms);
    brd_guard_end(&guard);
}

static void
step_reap(struct brd_keyspace *keyspace)
{
    uint32_t i;

    now_ms += random_below(&rng, 200);
    for (i = 0; i < brd_keyspace_shards(keyspace); i++)
        while (brd_shard_reap(keyspace, i, now_ms, 50) == 50)
            ;
}

/* Another limit. Returns how late it lets the sum be. */
static uint64_t
step_limit(void)
{
    static const uint64_t limits[] = { 0, UINT64_C(1) << 17, UINT64_C(1) << 20, UINT64_C(64) << 20,
                                       UINT64_C(256) << 20 };
    uint64_t limit = limits[random_below(&rng, 5)];

    brd_store_set_limit(store, limit);
    return limit == 0 ? UINT64_MAX : limit / 32 * KEYSPACES;
}

static void
step_policy(struct brd_keyspace *keyspace)
{
    static const enum brd_eviction policies[] = { BRD_EVICTION_NONE,         BRD_EVICTION_S3FIFO,
                                                  BRD_EVICTION_S3FIFO,       BRD_EVICTION_LRU,
                                                  BRD_EVICTION_VOLATILE_TTL, BRD_EVICTION_RANDOM };

    brd_keyspace_set_eviction(keyspace, policies[random_below(&rng, 6)]);
}

static void
step(void)
{
    struct brd_keyspace *keyspace = any_keyspace();
    uint32_t kind = random_below(&rng, 1000);
    uint8_t room[1024];
    struct brd_bytes key;
    uint64_t seen;

    any_key(room, &key);
    if (kind < 600)
        step_put(keyspace, key);
    else if (kind < 740)
        removed(store, keyspace, key, ++version, now_ms);
    else if (kind < 860)
        absent(store, keyspace, key, now_ms, &seen);
    else if (kind < 960)
        step_evict(keyspace);
    else if (kind < 990)
        brd_keyspace_tend_eviction(keyspace, random_below(&rng, 500));
    else if (kind < 995)
        step_reap(keyspace);
    else if (kind < 998)
        step_policy(keyspace);
    else
        brd_store_free_some(store, random_below(&rng, 100));
}

static void
tend_all(void)
{
    unsigned k;

    for (k = 0; k < KEYSPACES; k++)
        while (brd_keyspace_tend_eviction(keyspaces[k], 1000) > 0)
            ;
}

static void
open_store(void)
{
    now_ms = UINT64_C(1700000000000);
    store = store_open(STRIPES, random_next(&rng));
    keyspaces[0] = keyspace_open(store, 0);
    keyspaces[1] = keyspace_open(store, 2);
}

static void
close_store(void)
{
    unsigned k;

    for (k = 0; k < KEYSPACES; k++)
        brd_keyspace_destroy(&keyspaces[k]);
    brd_store_destroy(&store);
}

START_TEST(sums_are_what_a_recount_finds)
{
    uint64_t at_start;
    uint64_t late = UINT64_MAX;
    unsigned round;
    unsigned i;

    rng = random_start("sums");
    open_store();
    at_start = brd_store_used_bytes(store);
    ck_assert_uint_eq(compare_all(), at_start);
    for (round = 0; round < 150; round++) {
        uint64_t exact;
        uint64_t told;

        for (i = 0; i < 1000; i++)
            step();
        if (random_below(&rng, 4) == 0)
            late = step_limit();
        if (random_below(&rng, 8) == 0)
            clear_all(any_keyspace(), ++version);
        compare_all();
        tend_all();
        exact = compare_all();
        told = brd_store_used_bytes(store);
        ck_assert_uint_le(told > exact ? told - exact : exact - told, late);
        ck_assert_uint_eq(brd_store_live_bytes(store), told);
    }
    for (i = 0; i < KEYSPACES; i++) {
        clear_all(keyspaces[i], ++version);
        brd_keyspace_set_eviction(keyspaces[i], BRD_EVICTION_NONE);
    }
    tend_all();
    ck_assert_uint_eq(compare_all(), at_start);
    ck_assert_uint_eq(brd_store_used_bytes(store), at_start);
    close_store();
}
END_TEST

/* Shards tell the store what they have gathered when it is worth it, and a limit
 * decides from when on it is: what they gathered under a high one must be told
 * under a low one, or a daemon that holds nothing could find itself full. */
START_TEST(a_lower_limit_makes_the_sum_exact_again)
{
    const uint64_t low = UINT64_C(1) << 17;
    uint64_t exact;
    uint64_t told;
    struct key key;
    unsigned i;

    rng = random_start("lower");
    open_store();
    brd_store_set_limit(store, UINT64_C(1) << 40);
    for (i = 0; i < 200; i++) {
        key_make(&key, i);
        put(store, keyspaces[0], key.bytes, brd_bytes_of("value"), ++version, 0, now_ms);
    }
    brd_store_set_limit(store, low);
    tend_all();
    exact = compare_all();
    told = brd_store_used_bytes(store);
    ck_assert_uint_le(told > exact ? told - exact : exact - told, low / 32);
    close_store();
}
END_TEST

START_TEST(a_clear_is_told_at_once)
{
    uint64_t at_start;
    struct key key;
    unsigned i;

    rng = random_start("clear");
    open_store();
    at_start = brd_store_used_bytes(store);
    brd_store_set_limit(store, 1); /* every byte is told */
    for (i = 0; i < 200; i++) {
        key_make(&key, i);
        put(store, keyspaces[0], key.bytes, brd_bytes_of("value"), ++version, 0, now_ms);
    }
    brd_store_set_limit(store, 0);
    clear_all(keyspaces[0], ++version);
    free_graveyard(store);
    ck_assert_uint_eq(brd_store_used_bytes(store), at_start);
    close_store();
}
END_TEST

RUN_TESTS("sums", sums_are_what_a_recount_finds, a_lower_limit_makes_the_sum_exact_again,
          a_clear_is_told_at_once)
