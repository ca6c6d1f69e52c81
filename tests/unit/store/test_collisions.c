/* Hash flooding: keys that collide under a hash whose key is known do not
 * collide under a random one. */
#include "store/shard.h"
#include "store_test.h"

#define KEYS 100000

static uint64_t *numbers; /* of keys that collide under known_key */
static const struct brd_hash_key known_key = { 0, 0 };

/* Keys that agree, under the known hash, in eight bits of the bucket. */
static void
find_numbers(void)
{
    uint64_t number = 0;
    size_t found = 0;
    struct key key;

    numbers = calloc(KEYS, sizeof(*numbers));
    ck_assert_ptr_nonnull(numbers);
    key.bytes = brd_bytes(&number, sizeof(number));
    for (; found < KEYS; number++)
        if ((hash_bucket_bits(brd_hash(&known_key, key.bytes)) & 0xff) == 0x5a)
            numbers[found++] = number;
}

static uint32_t
longest_chain(struct brd_hash_key secret)
{
    struct shard_env *env = calloc(1, sizeof(*env));
    struct dir *small = calloc(1, sizeof(*small) + TABLE_SMALL_DIR * sizeof(small->at[0]));
    struct shard *shard = aligned_alloc(BRD_CACHE_LINE, sizeof(*shard));
    uint32_t longest;
    size_t i;

    env->secret = secret;
    arena_init(&env->arena);
    small->cap = TABLE_SMALL_DIR;
    shard_init(shard, small);
    for (i = 0; i < KEYS; i++) {
        struct brd_bytes key = brd_bytes(&numbers[i], sizeof(numbers[i]));
        struct brd_entry *entry = brd_entry_create(key, brd_bytes(NULL, 0), NULL, false);
        bool was_live;

        ck_assert(shard_reserve(shard, env, false));
        ck_assert_ptr_null(
            shard_put(shard, env, brd_hash(&secret, key), entry, i + 1, 0, 1, &was_live));
        shard_release(shard, env);
    }
    longest = table_longest_chain(&shard->table);
    shard_fini(shard, env);
    ck_assert_uint_eq(atomic_load(&env->used_bytes), 0);
    arena_fini(&env->arena);
    free(shard);
    free(small);
    free(env);
    return longest;
}

START_TEST(keys_chosen_to_collide_do_so_only_under_a_known_hash)
{
    find_numbers();
    ck_assert_uint_gt(longest_chain(known_key), 50);
    ck_assert_uint_lt(longest_chain(brd_hash_key_random()), 16);
    ck_assert_uint_lt(longest_chain(brd_hash_key_random()), 16);
    free(numbers);
}
END_TEST

START_TEST(two_stores_hash_differently)
{
    struct brd_store_options options = { .stripes = 1 };
    struct brd_store *stores[2];
    int i;

    for (i = 0; i < 2; i++)
        ck_assert_int_eq(brd_store_create(&options, &stores[i]), BRD_OK);
    ck_assert_uint_ne(brd_store_hash(stores[0], brd_bytes_of("key")),
                      brd_store_hash(stores[1], brd_bytes_of("key")));
    for (i = 0; i < 2; i++)
        brd_store_destroy(&stores[i]);
}
END_TEST

RUN_TESTS("collisions", keys_chosen_to_collide_do_so_only_under_a_known_hash,
          two_stores_hash_differently)
