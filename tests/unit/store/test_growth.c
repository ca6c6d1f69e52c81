/* What one put or one removal has to do for the table's sake, while it grows to
 * two million entries and shrinks to nothing: the most of it, not the sum. Nothing
 * here is a time, so the figures are the same on every machine. */
#include "store/shard.h"
#include "store_test.h"

#define KEYS       (UINT32_C(1) << 21) /* ten directories' worth */
#define COPIED_MAX 4096

/* Entries in the chains of so many buckets. A bucket has 6.5 on average, and twice
 * that before it is split; that two have 128 is a chance of 1 in 10^40. */
#define MOVED_MAX 128

static struct table table;
static struct arena arena;
static struct brd_hash_key secret;

/* Of one operation. */
struct work {
    uint64_t buckets;     /* split or merged */
    uint64_t moved;       /* entries looked at for that */
    uint64_t chunks;      /* taken or given back */
    uint64_t directories; /* new, or other ones than before */
    uint64_t copied;      /* bytes of directories and of the first block */
};

/* What the table is made of. */
struct parts {
    uint32_t buckets;
    uint32_t first_room;
    uint64_t chunk_bytes;
    const struct dir *dir;
    const struct dir *root;
    const struct dir *last; /* of the root's */
};

static const struct dir *
last_of(const struct dir *root)
{
    uint32_t i = root != NULL ? root->cap : 0;
    const struct dir *last = NULL;

    while (i > 0 && last == NULL)
        last = atomic_load(&root->at[--i]);
    return last;
}

static struct parts
look(void)
{
    struct parts parts = { .buckets = table_buckets(&table),
                           .first_room = table.first_room,
                           .chunk_bytes = atomic_load(&arena.used_bytes),
                           .dir = atomic_load(&table.dir),
                           .root = atomic_load(&table.root) };

    parts.last = last_of(parts.root);
    return parts;
}

static uint64_t
chain_entries(uint32_t number)
{
    const struct bucket *bucket = table_bucket(&table, number);
    uint64_t count = 0;

    for (; bucket != NULL; bucket = bucket_next(bucket))
        count += bucket_count(bucket);
    return count;
}

static void
count_directory(struct work *work, const struct dir *before, const struct dir *now)
{
    if (before == now)
        return;
    work->directories++;
    if (before != NULL && now != NULL)
        work->copied += dir_bytes(before) - sizeof(*before);
}

/* Everything but `moved`. */
static struct work
compare(const struct parts *before)
{
    struct parts now = look();
    struct work work = { 0 };
    uint64_t less = now.buckets < before->buckets ? now.buckets : before->buckets;

    work.buckets = now.buckets + before->buckets - 2 * less;
    work.chunks = (now.chunk_bytes > before->chunk_bytes ? now.chunk_bytes - before->chunk_bytes
                                                         : before->chunk_bytes - now.chunk_bytes) /
                  ARENA_CHUNK_BYTES;
    if (now.first_room != before->first_room)
        work.copied += less * sizeof(struct bucket);
    count_directory(&work, before->dir, now.dir);
    count_directory(&work, before->root, now.root);
    if (now.last != before->last)
        work.directories++; /* an empty one more, or one less: nothing is copied */
    return work;
}

static void
raise(uint64_t *most, uint64_t value)
{
    *most = value > *most ? value : *most;
}

static void
raise_all(struct work *most, const struct work *work)
{
    raise(&most->buckets, work->buckets);
    raise(&most->moved, work->moved);
    raise(&most->chunks, work->chunks);
    raise(&most->directories, work->directories);
    raise(&most->copied, work->copied);
}

static struct work
insert_one(uint64_t number, uint64_t entries)
{
    struct brd_bytes key = brd_bytes(&number, sizeof(number));
    struct brd_entry *entry = brd_entry_create(key, brd_bytes(NULL, 0), NULL, false);
    struct parts before = look();
    uint64_t would_move[2] = { 0 };
    struct work work;
    uint32_t i;

    /* Bucket n splits the one whose number is n without its highest bit. */
    for (i = 0; i < 2 && before.buckets > 0; i++) {
        uint32_t split = before.buckets + i;

        would_move[i] = chain_entries(split & UINT32_MAX >> __builtin_clz(split) >> 1);
    }
    BRD_CHECK(entry != NULL && table_reserve(&table, &arena, &secret, entries));
    table_insert(&table, brd_hash(&secret, key), entry);
    table.claims--;
    work = compare(&before);
    if (before.buckets == 0)
        work.buckets = 0; /* made, not split */
    for (i = 0; i < work.buckets && i < 2; i++)
        work.moved += would_move[i];
    return work;
}

static struct work
remove_one(uint64_t number, uint64_t entries_after)
{
    struct brd_bytes key = brd_bytes(&number, sizeof(number));
    uint64_t hash = brd_hash(&secret, key);
    struct parts before = look();
    uint64_t would_move = chain_entries(before.buckets - 1);
    struct table_spot spot;
    struct brd_entry *entry = table_find(&table, hash, key, &spot);
    struct work work;

    BRD_CHECK(entry != NULL);
    table_remove(&table, &arena, hash, spot, entries_after);
    entry_free(entry);
    work = compare(&before);
    if (entries_after == 0)
        work.buckets = 0; /* given back, not merged */
    if (work.buckets > 0)
        work.moved = would_move;
    return work;
}

static void
show(const char *what, const struct work *most, uint64_t moved)
{
    printf("%s: at most %llu buckets, %llu entries, %llu chunks, %llu directories, %llu bytes "
           "copied; %.2f entries on average\n",
           what, (unsigned long long)most->buckets, (unsigned long long)most->moved,
           (unsigned long long)most->chunks, (unsigned long long)most->directories,
           (unsigned long long)most->copied, (double)moved / KEYS);
}

START_TEST(no_put_and_no_removal_does_much_for_the_table)
{
    struct random random = random_start("growth");
    struct dir *small = calloc(1, sizeof(*small) + TABLE_SMALL_DIR * sizeof(small->at[0]));
    /* An odd factor: each number once, in another order than they were put. */
    uint32_t factor = (uint32_t)random_next(&random) | 1;
    struct work most_put = { 0 };
    struct work most_taken = { 0 };
    uint64_t moved_put = 0;
    uint64_t moved_taken = 0;
    uint32_t i;

    ck_assert_ptr_nonnull(small);
    small->cap = TABLE_SMALL_DIR;
    secret = (struct brd_hash_key){ random_next(&random), random_next(&random) };
    arena_init(&arena);
    table_init(&table, small);
    for (i = 0; i < KEYS; i++) {
        struct work work = insert_one(i, i);

        raise_all(&most_put, &work);
        moved_put += work.moved;
    }
    show("put", &most_put, moved_put);
    ck_assert_ptr_nonnull(atomic_load(&table.root));
    ck_assert_uint_gt(table_buckets(&table), KEYS / 7);
    ck_assert_uint_le(most_put.buckets, 2);
    ck_assert_uint_ge(most_put.moved, 13); /* it has been seen */
    ck_assert_uint_le(most_put.moved, MOVED_MAX);
    ck_assert_uint_le(moved_put, 2 * (uint64_t)KEYS);
    ck_assert_uint_eq(most_put.chunks, 1);
    ck_assert_uint_le(most_put.directories, 2);
    ck_assert_uint_gt(most_put.copied, 0);
    ck_assert_uint_le(most_put.copied, COPIED_MAX);

    for (i = 0; i < KEYS; i++) {
        struct work work = remove_one(i * factor % KEYS, KEYS - 1 - i);

        if (i < KEYS - 1) /* the last one gives everything back */
            raise_all(&most_taken, &work);
        moved_taken += work.moved;
    }
    show("removal", &most_taken, moved_taken);
    ck_assert_uint_eq(most_taken.buckets, 1);
    ck_assert_uint_le(most_taken.moved, MOVED_MAX);
    ck_assert_uint_le(moved_taken, 2 * (uint64_t)KEYS);
    ck_assert_uint_eq(most_taken.chunks, 1);
    ck_assert_uint_eq(most_taken.directories, 0); /* they stay until it is empty */
    ck_assert_uint_le(most_taken.copied, COPIED_MAX);
    ck_assert_uint_eq(table_buckets(&table), 0);
    ck_assert_uint_eq(atomic_load(&arena.used_bytes), 0);
    arena_fini(&arena);
    free(small);
}
END_TEST

RUN_TESTS("growth", no_put_and_no_removal_does_much_for_the_table)
