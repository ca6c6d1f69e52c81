/* Linear hashing.
 *
 * With n buckets and 2^k the smallest power of two not below n, a key's bucket
 * is the lowest k bits of its hash, or the lowest k - 1 where that bucket does
 * not exist yet. One more bucket takes entries from exactly one other: growth
 * and shrinking cost the same few entries at every size, and there is neither a
 * second table nor a pause.
 *
 *   dir    0        1        2 ...      511    | root -> directory of 512 chunks
 *          |        |        |                 |         directory of 512 chunks
 *        +----+   +----+   +----+                        ...
 *        |    |   |    |   |    |  chunk: 64 buckets of one cache line
 *        +----+   +----+   +----+
 *
 * The first chunk begins with 4 buckets and doubles (256 bytes to 2 KiB, from
 * the heap) until it is a whole one of the arena: most shards of a small
 * daemon hold a handful of keys. Directories grow by copying, 4 KiB at most.
 *
 * Chains are compact: each bucket but the last of a chain holds nine entries
 * and a link, the last at least two unless it is the first. So a split never
 * needs more chained buckets than it sets free; a merge needs two at most.
 * Entries do not hold their hash: a split computes it again, of six or seven
 * keys, after prefetching them.
 *
 * Out of memory: where no chunk can be had the table stays as it is and its
 * chains get longer; only a missing spare bucket refuses a put, beforehand.
 *
 * Hints read the table without a lock. All that they follow lies in the arena:
 * directories and whole chunks, which stay readable for ever. They may see
 * torn or stale bytes, and use them for a prefetch only. */
#include "store/table.h"

#include "store/heap.h"

static inline void
table_set_buckets(struct table *table, uint32_t buckets)
{
    table->mask = buckets <= 1 ? 0 : UINT32_MAX >> __builtin_clz(buckets - 1);
    atomic_store_explicit(&table->buckets, buckets, memory_order_release);
}

static inline void
count_bytes(struct table *table, size_t more, size_t less)
{
    brd_counter_add(&table->bytes, (uint64_t)more - (uint64_t)less);
}

void
table_init(struct table *table, struct dir *small)
{
    BRD_CHECK(small->cap >= TABLE_SMALL_DIR);
    memset(table, 0, sizeof(*table));
    table->small = small;
    atomic_init(&table->dir, small);
}

/* ---- spare buckets ---- */

static bool
add_spare(struct table *table)
{
    struct bucket *bucket = heap_alloc_aligned(sizeof(*bucket), sizeof(*bucket));

    if (bucket == NULL)
        return false;
    count_bytes(table, heap_size(bucket), 0);
    memset(bucket, 0, sizeof(*bucket));
    bucket_set_pointer(bucket, BUCKET_PLACES - 1, table->spare);
    table->spare = bucket;
    table->spares++;
    return true;
}

static struct bucket *
pop_spare(struct table *table)
{
    struct bucket *bucket = table->spare;

    BRD_CHECK(bucket != NULL);
    table->spare = bucket_pointer(bucket, BUCKET_PLACES - 1);
    table->spares--;
    memset(bucket, 0, sizeof(*bucket));
    return bucket;
}

static void
push_spare(struct table *table, struct bucket *bucket)
{
    bucket_set_pointer(bucket, BUCKET_PLACES - 1, table->spare);
    table->spare = bucket;
    table->spares++;
}

static void
drop_spares(struct table *table, uint32_t keep)
{
    while (table->spares > keep) {
        struct bucket *bucket = pop_spare(table);

        count_bytes(table, 0, heap_size(bucket));
        free(bucket);
    }
}

/* ---- one chain ---- */

/* Append to the chain of home. */
static void
chain_add(struct table *table, struct bucket *home, uint8_t tag, struct brd_entry *entry)
{
    struct bucket *last = home;
    struct bucket *next;
    unsigned count;

    while ((next = bucket_next(last)) != NULL)
        last = next;
    count = bucket_count(last);
    if (BRD_UNLIKELY(count == BUCKET_PLACES)) {
        next = pop_spare(table);
        bucket_set(next, 0, bucket_tag(last, BUCKET_PLACES - 1),
                   bucket_entry(last, BUCKET_PLACES - 1));
        bucket_link(last, next);
        last = next;
        count = 1;
    }
    bucket_set(last, count, tag, entry);
}

/* Take what is at the spot out of the chain of home; the last one fills the gap. */
static void
chain_remove(struct table *table, struct bucket *home, struct table_spot spot)
{
    struct bucket *before = NULL;
    struct bucket *last = home;
    struct bucket *next;
    unsigned count;

    while ((next = bucket_next(last)) != NULL) {
        before = last;
        last = next;
    }
    count = bucket_count(last);
    BRD_CHECK(count > 0);
    bucket_set(spot.bucket, spot.place, bucket_tag(last, count - 1), bucket_entry(last, count - 1));
    last->bytes[BUCKET_TAGS + count - 1] = 0;
    if (before != NULL && count == 2) {
        bucket_unlink(before);
        bucket_set(before, BUCKET_PLACES - 1, bucket_tag(last, 0), bucket_entry(last, 0));
        push_spare(table, last);
    }
}

/* ---- growing ---- */

/* A block of room buckets for the front of the table: from the heap, or a
 * whole chunk. NULL where memory is out. */
static struct bucket *
first_block(struct arena *arena, uint32_t room)
{
    if (room == TABLE_CHUNK_BUCKETS)
        return arena_chunk(arena);
    return heap_alloc_aligned(sizeof(struct bucket), room * sizeof(struct bucket));
}

static size_t
first_block_bytes(const struct table *table, const struct bucket *block)
{
    return table->first_room == TABLE_CHUNK_BUCKETS ? ARENA_CHUNK_BYTES : heap_size(block);
}

static void
first_block_done(struct table *table, struct arena *arena, struct bucket *block)
{
    if (block == NULL)
        return;
    count_bytes(table, 0, first_block_bytes(table, block));
    if (table->first_room == TABLE_CHUNK_BUCKETS)
        arena_chunk_done(arena, block);
    else
        free(block);
}

/* Let the first block have room buckets. False where memory is out. */
static bool
resize_first(struct table *table, struct arena *arena, uint32_t room)
{
    struct dir *dir = atomic_load_explicit(&table->dir, memory_order_relaxed);
    struct bucket *old = atomic_load_explicit(&dir->at[0], memory_order_relaxed);
    struct bucket *block = first_block(arena, room);

    if (block == NULL)
        return false;
    if (old != NULL)
        memcpy(block, old, table_buckets(table) * sizeof(*block));
    atomic_store_explicit(&table->first, room == TABLE_CHUNK_BUCKETS ? block : NULL,
                          memory_order_release);
    atomic_store_explicit(&dir->at[0], block, memory_order_release);
    first_block_done(table, arena, old);
    table->first_room = room;
    count_bytes(table, first_block_bytes(table, block), 0);
    return true;
}

/* Replace *place by a directory of at least count places with the same content;
 * NULL stands for an empty one. False where memory is out. */
static bool
widen_dir(struct table *table, struct arena *arena, unsigned level, _Atomic(struct dir *) *place,
          size_t count)
{
    struct dir *old = atomic_load_explicit(place, memory_order_relaxed);
    struct dir *dir;
    uint32_t i;

    if (old != NULL && count <= old->cap)
        return true;
    dir = arena_dir(arena, level, count);
    if (dir == NULL)
        return false;
    for (i = 0; old != NULL && i < old->cap; i++) {
        void *at = atomic_load_explicit(&old->at[i], memory_order_relaxed);

        atomic_store_explicit(&dir->at[i], at, memory_order_relaxed);
    }
    atomic_store_explicit(place, dir, memory_order_release);
    count_bytes(table, dir_bytes(dir), 0);
    if (old == NULL)
        return true;
    if (old != table->small) {
        count_bytes(table, 0, dir_bytes(old));
        arena_dir_done(arena, level, old);
        return true;
    }
    for (i = 0; i < old->cap; i++)
        atomic_store_explicit(&old->at[i], NULL, memory_order_relaxed);
    return true;
}

/* The place that leads to a chunk; NULL where memory is out. */
static _Atomic(void *) *
chunk_place(struct table *table, struct arena *arena, uint32_t chunk)
{
    uint32_t high = chunk / ARENA_DIR_MAX;
    struct dir *root;
    struct dir *dir;

    if (high == 0) {
        if (!widen_dir(table, arena, 0, &table->dir, chunk + 1))
            return NULL;
        dir = atomic_load_explicit(&table->dir, memory_order_relaxed);
        return &dir->at[chunk];
    }
    if (!widen_dir(table, arena, 1, &table->root, high))
        return NULL;
    root = atomic_load_explicit(&table->root, memory_order_relaxed);
    dir = atomic_load_explicit(&root->at[high - 1], memory_order_relaxed);
    if (dir == NULL) {
        dir = arena_dir(arena, 0, ARENA_DIR_MAX);
        if (dir == NULL)
            return NULL;
        count_bytes(table, dir_bytes(dir), 0);
        atomic_store_explicit(&root->at[high - 1], dir, memory_order_release);
    }
    return &dir->at[chunk % ARENA_DIR_MAX];
}

/* Move what belongs to the bucket with the number, still empty, out of the one
 * that it splits. */
static void
split(struct table *table, const struct brd_hash_key *secret, uint32_t number)
{
    uint32_t mask = UINT32_MAX >> __builtin_clz(number);
    struct bucket *home = table_bucket(table, number & mask >> 1);
    struct bucket *other = table_bucket(table, number);
    struct bucket now = *home;
    unsigned i;

    memset(home, 0, sizeof(*home));
    memset(other, 0, sizeof(*other));
    for (;;) {
        struct bucket *next = bucket_next(&now);
        unsigned count = bucket_count(&now);

        for (i = 0; i < count; i++)
            __builtin_prefetch(bucket_entry(&now, i));
        for (i = 0; i < count; i++) {
            struct brd_entry *entry = bucket_entry(&now, i);
            uint32_t bits = hash_bucket_bits(brd_hash(secret, entry_key(entry)));

            chain_add(table, (bits & mask) == number ? other : home, bucket_tag(&now, i), entry);
        }
        if (next == NULL)
            break;
        now = *next;
        push_spare(table, next);
    }
}

/* One bucket more. False where memory is out; then nothing has changed. */
static bool
grow(struct table *table, struct arena *arena, const struct brd_hash_key *secret)
{
    uint32_t buckets = table_buckets(table);

    if (buckets == 0) {
        struct dir *dir = atomic_load_explicit(&table->dir, memory_order_relaxed);
        struct bucket *first;

        if (!resize_first(table, arena, TABLE_FIRST_BUCKETS))
            return false;
        first = atomic_load_explicit(&dir->at[0], memory_order_relaxed);
        memset(first, 0, TABLE_FIRST_BUCKETS * sizeof(*first));
        table_set_buckets(table, TABLE_FIRST_BUCKETS);
        return true;
    }
    if (buckets == TABLE_BUCKETS_MAX)
        return false;
    if (buckets < TABLE_CHUNK_BUCKETS) {
        if (buckets == table->first_room && !resize_first(table, arena, 2 * buckets))
            return false;
    } else if (buckets % TABLE_CHUNK_BUCKETS == 0) {
        _Atomic(void *) *place = chunk_place(table, arena, buckets >> TABLE_CHUNK_SHIFT);
        void *chunk;

        if (place == NULL)
            return false;
        /* Not NULL where a chunk was kept because the table shrank last. */
        chunk = atomic_load_explicit(place, memory_order_relaxed);
        if (chunk == NULL) {
            chunk = arena_chunk(arena);
            if (chunk == NULL)
                return false;
            count_bytes(table, ARENA_CHUNK_BYTES, 0);
            atomic_store_explicit(place, chunk, memory_order_release);
        }
    }
    split(table, secret, buckets);
    table_set_buckets(table, buckets + 1);
    return true;
}

bool
table_reserve(struct table *table, struct arena *arena, const struct brd_hash_key *secret,
              uint64_t entries)
{
    uint64_t after = 2 * (entries + table->claims + 1);
    unsigned steps = 2;

    if (BRD_UNLIKELY(table_buckets(table) == 0) && !grow(table, arena, secret))
        return false;
    while (after > (uint64_t)TABLE_LOAD_GROW * table_buckets(table) && steps-- > 0)
        if (!grow(table, arena, secret))
            break;
    while (table->spares <= table->claims)
        if (!add_spare(table))
            return false;
    table->claims++;
    return true;
}

void
table_drop_spares(struct table *table)
{
    drop_spares(table, table->claims + TABLE_SPARES_KEPT);
}

void
table_insert(struct table *table, uint64_t hash, struct brd_entry *entry)
{
    uint32_t number = table_number(hash_bucket_bits(hash), table_buckets(table), table->mask);

    chain_add(table, table_bucket(table, number), hash_tag(hash), entry);
}

/* ---- shrinking ---- */

/* One bucket less. Nothing happens where it would need memory that is out. */
static void
shrink(struct table *table, struct arena *arena)
{
    uint32_t number = table_buckets(table) - 1;
    struct bucket *home;
    struct bucket now;
    unsigned i;

    while (table->spares < table->claims + 2)
        if (!add_spare(table))
            return;
    home = table_bucket(table, number & table->mask >> 1);
    now = *table_bucket(table, number);
    table_set_buckets(table, number);
    for (;;) {
        struct bucket *next = bucket_next(&now);
        unsigned count = bucket_count(&now);

        for (i = 0; i < count; i++)
            chain_add(table, home, bucket_tag(&now, i), bucket_entry(&now, i));
        if (next == NULL)
            break;
        now = *next;
        push_spare(table, next);
    }
    if (number >= TABLE_CHUNK_BUCKETS) {
        if (number % TABLE_CHUNK_BUCKETS == 0) {
            _Atomic(void *) *place = chunk_place(table, arena, number >> TABLE_CHUNK_SHIFT);
            void *chunk = atomic_exchange_explicit(place, NULL, memory_order_relaxed);

            arena_chunk_done(arena, chunk);
            count_bytes(table, 0, ARENA_CHUNK_BYTES);
        }
    } else if (number <= table->first_room / 2 && table->first_room > TABLE_FIRST_BUCKETS) {
        (void)resize_first(table, arena, table->first_room / 2);
    }
}

void
table_remove(struct table *table, struct arena *arena, uint64_t hash, struct table_spot spot,
             uint64_t entries)
{
    uint32_t buckets = table_buckets(table);
    uint32_t number = table_number(hash_bucket_bits(hash), buckets, table->mask);

    chain_remove(table, table_bucket(table, number), spot);
    if (entries == 0 && table->claims == 0)
        table_clear(table, arena);
    else if (2 * entries < (uint64_t)TABLE_LOAD_SHRINK * buckets && buckets > TABLE_FIRST_BUCKETS)
        shrink(table, arena);
    table_drop_spares(table);
}

/* ---- as a whole ---- */

/* Free every chunk of a directory. */
static void
chunks_done(struct table *table, struct arena *arena, struct dir *dir, uint32_t from)
{
    uint32_t i;

    for (i = from; i < dir->cap; i++) {
        void *chunk = atomic_load_explicit(&dir->at[i], memory_order_relaxed);

        if (chunk == NULL)
            continue;
        atomic_store_explicit(&dir->at[i], NULL, memory_order_relaxed);
        arena_chunk_done(arena, chunk);
        count_bytes(table, 0, ARENA_CHUNK_BYTES);
    }
}

void
table_clear(struct table *table, struct arena *arena)
{
    struct dir *dir = atomic_load_explicit(&table->dir, memory_order_relaxed);
    struct dir *root = atomic_load_explicit(&table->root, memory_order_relaxed);
    uint32_t i;

    table_set_buckets(table, 0);
    atomic_store_explicit(&table->root, NULL, memory_order_relaxed);
    atomic_store_explicit(&table->first, NULL, memory_order_relaxed);
    atomic_store_explicit(&table->dir, table->small, memory_order_relaxed);
    first_block_done(table, arena, atomic_load_explicit(&dir->at[0], memory_order_relaxed));
    table->first_room = 0;
    atomic_store_explicit(&dir->at[0], NULL, memory_order_relaxed);
    chunks_done(table, arena, dir, 1);
    if (dir != table->small) {
        count_bytes(table, 0, dir_bytes(dir));
        arena_dir_done(arena, 0, dir);
    }
    if (root != NULL) {
        for (i = 0; i < root->cap; i++) {
            dir = atomic_load_explicit(&root->at[i], memory_order_relaxed);
            if (dir == NULL)
                continue;
            chunks_done(table, arena, dir, 0);
            count_bytes(table, 0, dir_bytes(dir));
            arena_dir_done(arena, 0, dir);
        }
        count_bytes(table, 0, dir_bytes(root));
        arena_dir_done(arena, 1, root);
    }
    drop_spares(table, 0);
    BRD_CHECK(brd_counter_get(&table->bytes) == 0);
}

void
table_move(struct table *table, struct table *out_table, struct dir *out_small)
{
    struct dir *small = table->small;
    struct dir *dir = atomic_load_explicit(&table->dir, memory_order_relaxed);
    uint32_t i;

    table_init(out_table, out_small);
    atomic_init(&out_table->root, atomic_load_explicit(&table->root, memory_order_relaxed));
    out_table->mask = table->mask;
    out_table->first_room = table->first_room;
    out_table->spare = table->spare;
    out_table->spares = table->spares;
    brd_counter_add(&out_table->bytes, brd_counter_get(&table->bytes));
    if (dir == small) {
        for (i = 0; i < small->cap; i++) {
            void *at = atomic_load_explicit(&small->at[i], memory_order_relaxed);

            atomic_store_explicit(&out_small->at[i], at, memory_order_relaxed);
            atomic_store_explicit(&small->at[i], NULL, memory_order_relaxed);
        }
    } else {
        atomic_init(&out_table->dir, dir);
    }
    atomic_init(&out_table->buckets, table_buckets(table));

    /* Hints may be reading: field by field, not table_init. */
    table_set_buckets(table, 0);
    atomic_store_explicit(&table->first, NULL, memory_order_relaxed);
    atomic_store_explicit(&table->root, NULL, memory_order_relaxed);
    atomic_store_explicit(&table->dir, small, memory_order_relaxed);
    table->spare = NULL;
    table->spares = 0;
    table->claims = 0;
    table->first_room = 0;
    brd_counter_add(&table->bytes, (uint64_t)0 - brd_counter_get(&table->bytes));
}

struct brd_entry *
table_take(struct table *table, uint32_t number)
{
    struct bucket *home = table_bucket(table, number);
    unsigned count = bucket_count(home);
    struct brd_entry *entry;

    if (count == 0)
        return NULL;
    entry = bucket_entry(home, 0);
    chain_remove(table, home, (struct table_spot){ home, 0 });
    table_drop_spares(table);
    return entry;
}

/* ---- looking ---- */

static uint32_t
reverse_bits(uint32_t x)
{
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(x);
}

/* The bucket at a position, which becomes that of the next one; there is a bucket. NULL: at the
 * end. */
static const struct bucket *
bucket_at(const struct table *table, uint64_t *position)
{
    uint32_t buckets = table_buckets(table);
    uint64_t width; /* positions that share the bucket */
    uint32_t number;

    if (*position >> 32 != 0)
        return NULL;
    number = table_number(reverse_bits((uint32_t)*position), buckets, table->mask);
    /* A bucket that has been split, or came of a split, is told by one bit more
     * than one that has not. */
    width = (UINT64_C(1) << 32) / ((uint64_t)table->mask + 1);
    if ((number | (table->mask ^ table->mask >> 1)) >= buckets)
        width *= 2;
    *position = (*position & ~(width - 1)) + width;
    return table_bucket(table, number);
}

/* All at once, not a wait for each. Inlined, or gcc takes it for a function without effect and
 * drops the call. */
static inline __attribute__((always_inline)) void
prefetch_entries(const struct bucket *bucket)
{
    unsigned count = bucket_count(bucket);
    unsigned i;

    for (i = 0; i < count; i++) {
        const char *entry = (const char *)bucket_entry(bucket, i);

        __builtin_prefetch(entry);
        __builtin_prefetch(entry + BRD_CACHE_LINE);
    }
}

uint32_t
table_visit(const struct table *table, uint64_t *position,
            void (*visit)(void *arg, const struct brd_entry *entry), void *arg)
{
    uint32_t visited = 0;
    const struct bucket *bucket;
    const struct bucket *ahead;
    uint64_t after;
    unsigned i;

    BRD_CHECK(*position >> 32 == 0);
    if (table_buckets(table) == 0) {
        *position = UINT64_C(1) << 32;
        return 0;
    }
    bucket = bucket_at(table, position);
    after = *position;
    ahead = bucket_at(table, &after);
    if (ahead != NULL)
        prefetch_entries(ahead);
    ahead = bucket_at(table, &after);
    if (ahead != NULL)
        __builtin_prefetch(ahead);
    for (; bucket != NULL; bucket = bucket_next(bucket)) {
        unsigned count = bucket_count(bucket);

        for (i = 0; i < count; i++)
            visit(arg, bucket_entry(bucket, i));
        visited += count;
    }
    return visited;
}

uint32_t
table_longest_chain(const struct table *table)
{
    uint32_t longest = 0;
    uint32_t i;

    for (i = 0; i < table_buckets(table); i++) {
        const struct bucket *bucket = table_bucket(table, i);
        uint32_t length = 0;

        for (; bucket != NULL; bucket = bucket_next(bucket))
            length++;
        if (length > longest)
            longest = length;
    }
    return longest;
}

/* ---- hints ---- */

/* The hash's bucket, or NULL where the table is small or changing. All loads
 * are atomic and go to memory that stays. */
static inline const struct bucket *
hint_find(const struct table *table, uint64_t hash)
{
    uint32_t buckets = atomic_load_explicit(&table->buckets, memory_order_acquire);
    uint32_t number;
    uint32_t i;
    const struct dir *dir;
    const struct bucket *chunk;

    if (buckets < TABLE_CHUNK_BUCKETS)
        return NULL;
    number =
        table_number(hash_bucket_bits(hash), buckets, UINT32_MAX >> __builtin_clz(buckets - 1));
    if (number < TABLE_CHUNK_BUCKETS) {
        chunk = atomic_load_explicit(&table->first, memory_order_acquire);
    } else {
        if (BRD_LIKELY(number >> TABLE_DIR_SHIFT == 0)) {
            dir = atomic_load_explicit(&table->dir, memory_order_acquire);
        } else {
            dir = atomic_load_explicit(&table->root, memory_order_acquire);
            i = (number >> TABLE_DIR_SHIFT) - 1;
            if (dir == NULL || i >= dir->cap)
                return NULL;
            dir = atomic_load_explicit(&dir->at[i], memory_order_acquire);
            if (dir == NULL)
                return NULL;
        }
        i = number >> TABLE_CHUNK_SHIFT & (ARENA_DIR_MAX - 1);
        if (i >= dir->cap)
            return NULL;
        chunk = atomic_load_explicit(&dir->at[i], memory_order_acquire);
    }
    return chunk == NULL ? NULL : &chunk[number % TABLE_CHUNK_BUCKETS];
}

void
table_hint_bucket(const struct table *table, uint64_t hash)
{
    const struct bucket *bucket = hint_find(table, hash);

    if (bucket != NULL)
        __builtin_prefetch(bucket);
}

/* Reads a bucket while others may be changing it. Volatile words, no helper
 * functions: a torn pointer is only ever an address to prefetch, and the
 * sanitizers are told so. */
__attribute__((no_sanitize("thread"), no_sanitize("address"), no_sanitize("undefined"))) void
table_hint_entry(const struct table *table, uint64_t hash)
{
    const volatile uint64_t *words =
        (const volatile uint64_t *)(const void *)hint_find(table, hash);
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t differ;
    uint64_t zeros;
    unsigned bit;
    uint64_t low;
    uint64_t packed;

    if (words == NULL)
        return;
    /* Places 2 to 9 first: their tags are the last word. */
    differ = words[7] ^ ones * hash_tag(hash);
    zeros = (differ - ones) & ~differ & ones << 7;
    if (zeros != 0) {
        bit = ((unsigned)__builtin_ctzll(zeros) / 8 + 2) * POINTER_BITS;
    } else {
        low = words[6] >> 48;
        if ((low & 0xff) == hash_tag(hash))
            bit = 0;
        else if (low >> 8 == hash_tag(hash))
            bit = POINTER_BITS;
        else
            return;
    }
    low = words[bit / 64];
    packed = low >> bit % 64;
    if (bit % 64 > 64 - POINTER_BITS)
        packed |= words[bit / 64 + 1] << (64 - bit % 64);
    __builtin_prefetch(pointer_unpack(packed));
    __builtin_prefetch((const char *)pointer_unpack(packed) + BRD_CACHE_LINE);
}
