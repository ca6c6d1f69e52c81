/* Random operations on a store and on a model that is too simple to be wrong,
 * compared at every step; from nothing to 300,000 keys and back. */
#include "store_test.h"

#define KEYS 330000

struct known {
    uint64_t version; /* 0: absent */
    uint64_t deadline_ms;
    uint32_t value; /* makes the bytes */
};

static struct known *model;
static uint64_t model_count;
static struct brd_store *store;
static struct brd_keyspace *keyspace;
static struct random rng;
static uint64_t version;
static uint64_t now_ms;
static uint64_t newest_removal;

/* Keys of 1 to 13 bytes, one in 64 of them long. */
static void
make_key(uint32_t number, uint8_t *room, struct brd_bytes *out)
{
    size_t size = (size_t)snprintf((char *)room, 32, "%x", number);

    if (number % 64 == 7) {
        memset(room + size, 'k', 600);
        size += 400 + number % 200;
    } else if (number % 3 == 0) {
        memset(room + size, '-', 8);
        size += 8;
    }
    *out = brd_bytes(room, size);
}

static void
make_value(uint32_t value, uint8_t *room, struct brd_bytes *out)
{
    size_t size = value % 4096 == 5 ? BRD_STORE_BLOB_MIN + value % 1000 : value % 57;

    memset(room, (int)(value >> 8), size);
    *out = brd_bytes(room, size);
}

static bool
is_live(const struct known *known)
{
    return known->version != 0 && (known->deadline_ms == 0 || known->deadline_ms > now_ms);
}

static uint8_t key_room[1024];
static uint8_t value_room[BRD_STORE_BLOB_MIN + 1024];

static void
compare(uint32_t number)
{
    const struct known *known = &model[number];
    struct brd_bytes key;
    struct brd_bytes value;
    uint64_t seen;

    make_key(number, key_room, &key);
    make_value(known->value, value_room, &value);
    if (is_live(known)) {
        ck_assert(holds(store, keyspace, key, value, known->version, now_ms));
    } else {
        ck_assert(absent(store, keyspace, key, now_ms, &seen));
        ck_assert(seen == known->version || seen <= newest_removal);
    }
}

static void
model_forget(uint32_t number)
{
    if (model[number].version == 0)
        return;
    model[number] = (struct known){ 0 };
    model_count--;
}

static void
step_put(uint32_t number)
{
    static const uint64_t spans[] = { 1, 16, 300, 5000, 100000, 4000000000, 90000000000 };
    struct known next = { .version = ++version, .value = (uint32_t)random_next(&rng) };
    struct brd_bytes key;
    struct brd_bytes value;

    if (random_below(&rng, 3) == 0)
        next.deadline_ms = now_ms + random_next(&rng) % (spans[random_below(&rng, 7)]) + 1;
    if (random_below(&rng, 500) == 0)
        next.deadline_ms = UINT64_MAX - random_below(&rng, 100);
    make_key(number, key_room, &key);
    make_value(next.value, value_room, &value);
    ck_assert_int_eq(put(store, keyspace, key, value, next.version, next.deadline_ms, now_ms),
                     is_live(&model[number]));
    if (model[number].version == 0)
        model_count++;
    model[number] = next;
}

static void
step_remove(uint32_t number)
{
    struct brd_bytes key;

    make_key(number, key_room, &key);
    ck_assert_int_eq(removed(store, keyspace, key, ++version, now_ms), is_live(&model[number]));
    newest_removal = version;
    model_forget(number);
}

static void
step_reap(void)
{
    uint64_t expired = 0;
    uint64_t reaped = 0;
    uint32_t i;

    for (i = 0; i < KEYS; i++) {
        if (model[i].version != 0 && !is_live(&model[i])) {
            newest_removal = model[i].version > newest_removal ? model[i].version : newest_removal;
            model_forget(i);
            expired++;
        }
    }
    for (i = 0; i < brd_keyspace_shards(keyspace); i++) {
        uint32_t n;

        do {
            n = brd_shard_reap(keyspace, i, now_ms, 100);
            reaped += n;
        } while (n == 100);
        ck_assert_uint_gt(brd_shard_next_deadline_ms(keyspace, i), now_ms);
    }
    ck_assert_uint_eq(reaped, expired);
    ck_assert_uint_eq(brd_keyspace_count(keyspace), model_count);
}

static uint64_t walk_found;
static uint64_t walk_wrong;

static void
see(void *arg, const struct brd_walk_item *item)
{
    uint32_t number = (uint32_t)strtoul((const char *)item->key.data, NULL, 16);
    struct brd_bytes value;

    (void)arg;
    if (item->key.size > 1 && memchr(item->key.data, 'k', item->key.size) == NULL &&
        memchr(item->key.data, '-', item->key.size) == NULL) {
        char text[24];

        memcpy(text, item->key.data, item->key.size);
        text[item->key.size] = '\0';
        number = (uint32_t)strtoul(text, NULL, 16);
    } else if (item->key.size == 1) {
        char text[2] = { (char)item->key.data[0], '\0' };

        number = (uint32_t)strtoul(text, NULL, 16);
    }
    make_value(model[number].value, value_room, &value);
    walk_found++;
    if (model[number].version != item->view.version ||
        model[number].deadline_ms != item->view.deadline_ms ||
        !brd_bytes_equal(item->view.value, value))
        walk_wrong++;
}

static void
step_walk(void)
{
    uint32_t i;

    walk_found = walk_wrong = 0;
    for (i = 0; i < brd_keyspace_shards(keyspace); i++) {
        uint64_t cursor = 0;

        do
            brd_shard_walk(keyspace, i, &cursor, 50, see, NULL);
        while (cursor != 0);
    }
    ck_assert_uint_eq(walk_wrong, 0);
    ck_assert_uint_eq(walk_found, model_count);
}

static void
check_memory(void)
{
    struct brd_store_memory memory;
    uint64_t timed = 0;
    uint64_t data = 0;
    uint64_t sum;
    uint64_t used = brd_store_used_bytes(store);
    uint32_t i;

    for (i = 0; i < KEYS; i++) {
        struct brd_bytes key;
        struct brd_bytes value;

        if (model[i].version == 0)
            continue;
        make_key(i, key_room, &key);
        make_value(model[i].value, value_room, &value);
        data += key.size + value.size;
        timed += model[i].deadline_ms != 0;
    }
    brd_store_get_memory(store, &memory);
    ck_assert_uint_eq(memory.entries, model_count);
    ck_assert_uint_eq(memory.with_deadline, timed);
    ck_assert_uint_eq(memory.data_bytes, data);
    ck_assert_uint_ge(memory.entry_bytes + memory.blob_bytes, data);
    sum = memory.entry_bytes + memory.blob_bytes + memory.held_bytes + memory.table_bytes +
          memory.deadline_bytes + memory.fixed_bytes + memory.graveyard_bytes;
    ck_assert_uint_le(sum > used ? sum - used : used - sum,
                      4096 * (uint64_t)brd_keyspace_shards(keyspace));
}

/* Operations on keys below limit; puts: of 100 operations that change. */
static void
run(uint32_t operations, uint32_t limit, uint32_t puts)
{
    uint32_t i;

    for (i = 0; i < operations; i++) {
        uint32_t number = random_below(&rng, limit);

        if (random_below(&rng, 100) < puts)
            step_put(number);
        else
            step_remove(number);
        compare(random_below(&rng, limit));
        if (random_below(&rng, 100) == 0)
            now_ms += random_below(&rng, 100);
        if (random_below(&rng, operations / 4) == 0)
            step_reap();
    }
    step_reap();
    step_walk();
    check_memory();
}

START_TEST(a_store_does_what_a_simple_map_does)
{
    uint32_t i;
    uint64_t at_start;

    rng = random_start("model");
    model = calloc(KEYS, sizeof(*model));
    ck_assert_ptr_nonnull(model);
    now_ms = UINT64_C(1700000000000);
    store = store_open(8, random_next(&rng));
    keyspace = keyspace_open(store, 4);
    at_start = brd_store_used_bytes(store);

    run(3000, 40, 60);
    run(20000, 3000, 70);
    for (i = 0; i < 300000; i++)
        step_put(i);
    for (i = 0; i < 300000; i++)
        compare(i);
    run(50000, KEYS, 50);
    for (i = 0; i < 20; i++) {
        now_ms += random_next(&rng) % (1u << random_below(&rng, 30));
        step_reap();
    }
    step_walk();
    check_memory();
    ck_assert_uint_eq(clear_all(keyspace, ++version), model_count);
    newest_removal = version;
    for (i = 0; i < KEYS; i++)
        model_forget(i);
    check_memory();
    run(20000, 3000, 70);
    free_graveyard(store);
    run(20000, 30000, 70);
    for (i = 0; i < KEYS; i++)
        if (model[i].version != 0 || i % 100 == 0)
            step_remove(i);
    free_graveyard(store);
    ck_assert_uint_eq(brd_store_used_bytes(store), at_start);
    brd_keyspace_destroy(&keyspace);
    brd_store_destroy(&store);
    free(model);
}
END_TEST

RUN_TESTS("model", a_store_does_what_a_simple_map_does)
