/* Eviction: choosing victims, and keeping what that needs.
 *
 *                 ghost hit                used again: to the end, one use less
 *   put ---------------------------> main ----+---> victim
 *    |                                ^       |       `-> main ghosts
 *    `--> small --+-- used twice -----'  <----'
 *                 `-- else: victim --> small ghosts
 *
 * s3fifo is S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you
 * need for cache eviction", SOSP 2023): new keys go through a small queue first,
 * so that what is used once does not push out what is used often; keys that
 * come back while they are ghosts go to the main queue at once. One thing is
 * ours: how small the small queue is follows the workload. Keys that come back
 * within a twentieth of the cache's size after they were evicted from small
 * would have been hits had small been that much larger, and likewise for main;
 * of each NEAR_NEEDED such returns the majority moves the share by STEP entries.
 * (The paper compares queues of ghosts for this, too; ARC, by Megiddo and Modha,
 * FAST 2003, moves at each hit.)
 *
 * Items in the queues name entries by bits of their hash and own nothing. An
 * item whose entry is gone, or is in the other queue, is dropped when it is met.
 * So that keys that are deleted or expire cannot fill the queues, a sweep goes
 * through a queue as soon as a quarter of the items is dead: each queue has a
 * parity that turns with each sweep, an entry that the sweep has met carries the
 * new one, and so has everything that was pushed meanwhile; an item whose entry
 * has it already is a duplicate, of a key that was deleted and put again.
 *
 * lru samples: of the entries of some buckets chosen at random, the one that was
 * used in the oldest epoch goes, of these the one written first. Epochs are
 * counted in new keys, and made so long that victims are 8 to 11 of them old: so
 * four bits do, and an entry needs nothing but its mark.
 * volatile-ttl looks at the earliest deadline of some shards. random is random,
 * and steps in where the queues have nothing to offer because they are still
 * being built.
 *
 * Below ALWAYS_BELOW the queues are kept from the first key on; with a larger
 * limit only from when half of it is used: a cache that is never full pays
 * nothing. What was there before is queued by a walk, in slices, in the order of
 * the table; that order costs some misses once.
 *
 * Locks: the queues' lock is taken under a stripe, for some instructions, and
 * never around one. No lock is held while a victim is looked for: an item that
 * was popped belongs to whoever popped it. */
#include "store/evict.h"

#include "store/heap.h"
#include "store/keyspace.h"

#define ALWAYS_BELOW ((uint64_t)128 << 20)

#define SHARE_ONE     (UINT64_C(1) << 32)
#define SHARE_FIRST   (SHARE_ONE / 10)
#define SHARE_LEAST   (SHARE_ONE / 100)
#define SHARE_MOST    (SHARE_ONE / 2)
#define NEAR_PART     20 /* soon: within this part of the cache's size */
#define NEAR_LEAST    8
#define NEAR_NEEDED   20
#define STEP          6
#define SMALL_USES    2 /* this many uses lead from small to main */
#define MAIN_USES_MAX 3
#define PATIENCE      128 /* entries spared before one goes whatever its uses */

/* Ghosts that a writer may make room for; what is larger is the maintainer's. */
#define GHOSTS_INLINE_BYTES (256 << 10)

#define SHARD_ROLLS     64 /* before shards with entries are searched for in order */
#define PLACE_ROLLS     64 /* the same for places of a table; two in three are empty */
#define SAMPLE          10 /* entries looked at for a victim of lru */
#define SAMPLE_BUCKETS  64 /* at most */
#define SAMPLE_SHARDS   16 /* for one of volatile-ttl */
#define EPOCHS_AT_FIRST 4  /* in the time that so many keys take as there are */
#define VICTIM_AGE_LOW  8
#define VICTIM_AGE_HIGH 11

#define WALK_SLICE 32 /* entries for each time the stripe is held */

/* ---- marks ---- */

static inline uint32_t
mark_make(enum evict_queue_name queue, uint32_t parity, uint32_t uses)
{
    return queue == EVICT_SMALL ? 1 + parity * 3 + uses : 7 + parity * 4 + uses;
}

static inline enum evict_queue_name
mark_queue(uint32_t mark)
{
    if (mark == 0)
        return EVICT_NO_QUEUE;
    return mark < 7 ? EVICT_SMALL : EVICT_MAIN;
}

static inline uint32_t
mark_parity(uint32_t mark)
{
    return mark < 7 ? (mark - 1) / 3 : (mark - 7) / 4;
}

static inline uint32_t
mark_uses(uint32_t mark)
{
    return mark < 7 ? (mark - 1) % 3 : (mark - 7) % 4;
}

/* How many epochs ago; more than any where there is no mark. */
static inline uint32_t
mark_age(const struct evict *evict, uint32_t mark)
{
    uint32_t epoch = atomic_load_explicit(&evict->epoch, memory_order_relaxed);

    return mark == 0 ? EVICT_EPOCHS : (epoch + EVICT_EPOCHS - mark) % EVICT_EPOCHS;
}

/* ---- items ---- */

static inline uint64_t
item_of(const struct brd_keyspace *keyspace, uint64_t hash)
{
    uint32_t bits = hash_bucket_bits(hash) << keyspace->evict.shard_bits;

    return (uint64_t)hash_tag(hash) << 32 | bits | ((uint32_t)hash & keyspace->shard_mask);
}

static inline uint32_t
item_shard(const struct brd_keyspace *keyspace, uint64_t item)
{
    return (uint32_t)item & keyspace->shard_mask;
}

/* The entry that the item names, or NULL. Its stripe is held. */
static struct brd_entry *
find_item(const struct brd_keyspace *keyspace, uint64_t item, uint64_t *out_hash)
{
    const struct table *table = &keyspace->shards[item_shard(keyspace, item)].table;
    uint32_t bits = (uint32_t)item >> keyspace->evict.shard_bits;
    uint32_t buckets = table_buckets(table);
    struct bucket *bucket;

    if (buckets == 0)
        return NULL;
    bucket = table_bucket(table, table_number(bits, buckets, table->mask));
    for (; bucket != NULL; bucket = bucket_next(bucket)) {
        unsigned mask = bucket_match(bucket, (uint8_t)(item >> 32));

        for (; mask != 0; mask &= mask - 1) {
            struct brd_entry *entry = bucket_entry(bucket, (unsigned)__builtin_ctz(mask));

            *out_hash = brd_hash(&keyspace->store->env.secret, entry_key(entry));
            if (item_of(keyspace, *out_hash) == item)
                return entry;
        }
    }
    return NULL;
}

/* ---- memory; under the lock ---- */

static void
count_bytes(struct brd_keyspace *keyspace, size_t more, size_t less)
{
    brd_counter_add(&keyspace->evict.bytes, (uint64_t)more - (uint64_t)less);
    atomic_fetch_add_explicit(&keyspace->store->env.used_bytes, (uint64_t)more - (uint64_t)less,
                              memory_order_relaxed);
}

static void
chunk_done(struct brd_keyspace *keyspace, struct fifo_chunk *chunk)
{
    struct evict *evict = &keyspace->evict;

    if (chunk == NULL)
        return;
    if (evict->spare == NULL) {
        evict->spare = chunk;
        return;
    }
    count_bytes(keyspace, 0, heap_size(chunk));
    free(chunk);
}

static bool
push_to(struct brd_keyspace *keyspace, struct fifo *fifo, uint64_t item)
{
    struct evict *evict = &keyspace->evict;

    if (BRD_UNLIKELY(fifo_is_full(fifo))) {
        struct fifo_chunk *chunk = evict->spare;

        evict->spare = NULL;
        if (chunk == NULL) {
            chunk = heap_alloc(FIFO_CHUNK_BYTES);
            if (chunk == NULL)
                return false;
            count_bytes(keyspace, heap_size(chunk), 0);
        }
        fifo_add_chunk(fifo, chunk);
    }
    fifo_push(fifo, item);
    return true;
}

/* Push an entry and mark it; in no queue where memory is out: a later walk finds
 * it. Under the lock and the entry's stripe. */
static void
push_entry(struct brd_keyspace *keyspace, enum evict_queue_name name, struct brd_entry *entry,
           uint64_t item, uint32_t uses)
{
    struct evict *evict = &keyspace->evict;

    if (!push_to(keyspace, &evict->queues[name].fresh, item)) {
        evict->lost = true;
        entry_set_mark(entry, 0);
        return;
    }
    brd_counter_add(&evict->items[name], 1);
    entry_set_mark(entry, mark_make(name, evict->queues[name].parity, uses));
}

static bool
pop_item(struct brd_keyspace *keyspace, enum evict_queue_name name, uint64_t *out_item)
{
    struct evict *evict = &keyspace->evict;
    struct evict_queue *queue = &evict->queues[name];
    struct fifo_chunk *chunk;

    if (!fifo_pop(&queue->swept, out_item, &chunk) && !fifo_pop(&queue->rest, out_item, &chunk) &&
        !fifo_pop(&queue->fresh, out_item, &chunk))
        return false;
    chunk_done(keyspace, chunk);
    brd_counter_add(&evict->items[name], UINT64_MAX);
    return true;
}

static uint64_t
all_items(const struct evict *evict)
{
    return brd_counter_get(&evict->items[EVICT_SMALL]) + brd_counter_get(&evict->items[EVICT_MAIN]);
}

/* ---- ghosts and the share of the small queue ---- */

static uint64_t
small_ghosts_wanted(const struct evict *evict)
{
    return all_items(evict) / 10 * 9 + 1;
}

static uint64_t
near_distance(const struct evict *evict)
{
    uint64_t distance = all_items(evict) / NEAR_PART;

    return distance < NEAR_LEAST ? NEAR_LEAST : distance;
}

/* Make another table where the size of the cache has changed, if it takes no
 * more than bytes_max; else it is due. Without a lock. */
static void
fit_ghosts(struct brd_keyspace *keyspace, struct ghosts *ghosts, uint64_t capacity,
           uint64_t bytes_max)
{
    struct evict *evict = &keyspace->evict;
    struct ghost_table *table;

    if (ghost_table_bytes_for(capacity) > bytes_max) {
        brd_mutex_lock(&evict->lock);
        evict->ghosts_due = true;
        brd_mutex_unlock(&evict->lock);
        return;
    }
    table = ghost_table_create(capacity);
    if (table == NULL)
        return; /* the one there is will do; the next eviction tries again */
    brd_mutex_lock(&evict->lock);
    if (ghosts_want(ghosts, capacity)) {
        count_bytes(keyspace, ghost_table_bytes(table), 0);
        table = ghosts_switch(ghosts, table);
        count_bytes(keyspace, 0, ghost_table_bytes(table));
    }
    brd_mutex_unlock(&evict->lock);
    ghost_table_destroy(&table);
}

static void
fit_all_ghosts(struct brd_keyspace *keyspace, uint64_t bytes_max)
{
    struct evict *evict = &keyspace->evict;
    uint64_t small = small_ghosts_wanted(evict);
    uint64_t main = near_distance(evict);
    bool small_wanted;
    bool main_wanted;

    brd_mutex_lock(&evict->lock);
    small_wanted = ghosts_want(&evict->small_ghosts, small);
    main_wanted = ghosts_want(&evict->main_ghosts, main);
    brd_mutex_unlock(&evict->lock);
    if (BRD_UNLIKELY(small_wanted))
        fit_ghosts(keyspace, &evict->small_ghosts, small, bytes_max);
    if (BRD_UNLIKELY(main_wanted))
        fit_ghosts(keyspace, &evict->main_ghosts, main, bytes_max);
}

/* Make what was too large for those who evict. */
static void
fit_due_ghosts(struct brd_keyspace *keyspace)
{
    struct evict *evict = &keyspace->evict;
    bool due;

    brd_mutex_lock(&evict->lock);
    due = evict->ghosts_due || evict->small_ghosts.table != NULL;
    evict->ghosts_due = false;
    brd_mutex_unlock(&evict->lock);
    if (due)
        fit_all_ghosts(keyspace, UINT64_MAX);
}

/* Free a table of ghosts that are all too old. Without a lock. */
static void
shed_ghosts(struct brd_keyspace *keyspace, struct ghosts *ghosts)
{
    struct ghost_table *shed;

    brd_mutex_lock(&keyspace->evict.lock);
    shed = ghosts_shed(ghosts);
    count_bytes(keyspace, 0, ghost_table_bytes(shed));
    brd_mutex_unlock(&keyspace->evict.lock);
    ghost_table_destroy(&shed);
}

static void
drop_ghosts(struct brd_keyspace *keyspace, struct ghosts *ghosts)
{
    struct ghosts dropped;

    brd_mutex_lock(&keyspace->evict.lock);
    dropped = *ghosts;
    *ghosts = (struct ghosts){ 0 };
    count_bytes(keyspace, 0, ghost_table_bytes(dropped.table) + ghost_table_bytes(dropped.before));
    brd_mutex_unlock(&keyspace->evict.lock);
    ghost_table_destroy(&dropped.table);
    ghost_table_destroy(&dropped.before);
}

/* Both queues have shown what they would have done with more room: move the
 * border. */
static void
move_share(struct evict *evict)
{
    uint64_t step = STEP * SHARE_ONE / (all_items(evict) + 1);

    if (step > SHARE_ONE / 10)
        step = SHARE_ONE / 10;
    if (evict->near_small * 2 > evict->near_main * 3)
        evict->small_share += step;
    else if (evict->near_main * 2 > evict->near_small * 3)
        evict->small_share -= evict->small_share < step ? evict->small_share : step;
    if (evict->small_share > SHARE_MOST)
        evict->small_share = SHARE_MOST;
    if (evict->small_share < SHARE_LEAST)
        evict->small_share = SHARE_LEAST;
    evict->near_small = 0;
    evict->near_main = 0;
}

/* Where a new key goes, by what the ghosts say. */
static enum evict_queue_name
queue_for(struct evict *evict, uint64_t hash)
{
    uint64_t near = near_distance(evict);
    uint64_t small_age = ghosts_take(&evict->small_ghosts, hash);
    uint64_t main_age = ghosts_take(&evict->main_ghosts, hash);

    if (small_age <= near)
        evict->near_small++;
    if (main_age <= near)
        evict->near_main++;
    if (evict->near_small + evict->near_main >= NEAR_NEEDED)
        move_share(evict);
    if (small_age == GHOST_NEVER)
        return EVICT_SMALL;
    brd_counter_add(&evict->ghost_hits, 1);
    return EVICT_MAIN;
}

/* ---- what changes ---- */

/* A key was put: on to the next epoch in time. Under the lock. */
static void
count_put(struct brd_keyspace *keyspace)
{
    struct evict *evict = &keyspace->evict;
    uint32_t epoch = atomic_load_explicit(&evict->epoch, memory_order_relaxed);

    if (evict->epoch_left > 1) {
        evict->epoch_left--;
        return;
    }
    if (evict->victims == 0) {
        /* While the cache fills nobody knows how long a key will stay. */
        evict->epoch_length = brd_keyspace_count(keyspace) / EPOCHS_AT_FIRST + 1;
    } else {
        uint64_t average = evict->victim_ages / evict->victims;

        if (average > VICTIM_AGE_HIGH)
            evict->epoch_length += evict->epoch_length / 4 + 1;
        else if (average < VICTIM_AGE_LOW)
            evict->epoch_length -= evict->epoch_length / 8;
    }
    evict->epoch_left = evict->epoch_length;
    evict->victim_ages = 0;
    evict->victims = 0;
    atomic_store_explicit(&evict->epoch, epoch % EVICT_EPOCHS + 1, memory_order_relaxed);
}

void
evict_put_slowly(struct brd_keyspace *keyspace, uint64_t hash, struct brd_entry *entry,
                 const struct brd_entry *old)
{
    struct evict *evict = &keyspace->evict;

    if (atomic_load_explicit(&evict->kind, memory_order_relaxed) == EVICT_KIND_AGES) {
        if (old == NULL) {
            brd_mutex_lock(&evict->lock);
            count_put(keyspace);
            brd_mutex_unlock(&evict->lock);
        }
        entry_set_mark(entry, atomic_load_explicit(&evict->epoch, memory_order_relaxed));
        return;
    }
    if (old != NULL && entry_mark(old) != 0) {
        entry_set_mark(entry, entry_mark(old));
        evict_hit(evict, entry);
        return;
    }
    brd_mutex_lock(&evict->lock);
    push_entry(keyspace, queue_for(evict, hash), entry, item_of(keyspace, hash), 0);
    brd_mutex_unlock(&evict->lock);
}

static void
doom(struct evict *evict, struct fifo *fifo)
{
    if (fifo->head != NULL) {
        fifo->tail->next = evict->doomed;
        evict->doomed = fifo->head;
    }
    *fifo = (struct fifo){ NULL, NULL, 0 };
}

/* Forget all items; their chunks are freed in slices. Under the lock. */
static void
doom_queues(struct evict *evict)
{
    unsigned i;

    for (i = 0; i < 2; i++) {
        doom(evict, &evict->queues[i].swept);
        doom(evict, &evict->queues[i].rest);
        doom(evict, &evict->queues[i].fresh);
        atomic_store_explicit(&evict->items[i], 0, memory_order_relaxed);
    }
    evict->lost = false;
}

void
evict_cleared(struct brd_keyspace *keyspace)
{
    brd_mutex_lock(&keyspace->evict.lock);
    doom_queues(&keyspace->evict);
    brd_mutex_unlock(&keyspace->evict.lock);
}

/* ---- victims ---- */

static inline uint64_t
roll(struct evict *evict)
{
    uint64_t x =
        atomic_fetch_add_explicit(&evict->dice, UINT64_C(0x9e3779b97f4a7c15), memory_order_relaxed);

    /* The finisher of SplitMix64 (Steele, Lea, Flood 2014). */
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* A shard with entries, or false: none has any. Of two that chance names the one
 * that holds more: as many come to one shard as to another, so as many must go
 * from the fuller one, or its keys would stay for ever. */
static bool
random_shard(struct brd_keyspace *keyspace, uint32_t *out_shard)
{
    uint64_t most = 0;
    unsigned found = 0;
    uint32_t first;
    uint32_t i;

    for (i = 0; i < SHARD_ROLLS && found < 2; i++) {
        uint32_t shard = (uint32_t)roll(&keyspace->evict) & keyspace->shard_mask;
        uint64_t entries = brd_counter_get(&keyspace->shards[shard].entries);

        found += entries > 0;
        if (entries > most) {
            most = entries;
            *out_shard = shard;
        }
    }
    if (most > 0)
        return true;
    first = (uint32_t)roll(&keyspace->evict);
    for (i = 0; i <= keyspace->shard_mask; i++) {
        *out_shard = (first + i) & keyspace->shard_mask;
        if (brd_counter_get(&keyspace->shards[*out_shard].entries) > 0)
            return true;
    }
    return false;
}

/* A bucket of the shard that has entries, or NULL; its stripe is held. */
static struct bucket *
random_bucket(struct brd_keyspace *keyspace, uint32_t shard)
{
    const struct table *table = &keyspace->shards[shard].table;
    uint32_t buckets = table_buckets(table);
    uint64_t first = roll(&keyspace->evict);
    uint32_t i;

    for (i = 0; i < buckets; i++) {
        struct bucket *bucket = table_bucket(table, (uint32_t)((first + i) % buckets));

        if (bucket_count(bucket) > 0)
            return bucket;
    }
    return NULL;
}

/* An entry of the shard, each as likely as the next, or NULL; its stripe is held.
 * A place is chosen, not a bucket, for the reason above. */
static const struct brd_entry *
random_entry(struct brd_keyspace *keyspace, uint32_t shard)
{
    const struct table *table = &keyspace->shards[shard].table;
    uint32_t buckets = table_buckets(table);
    const struct bucket *bucket;
    unsigned i;

    for (i = 0; i < PLACE_ROLLS && buckets > 0; i++) {
        uint64_t number = roll(&keyspace->evict);
        unsigned place = (unsigned)(number >> 40) % (2 * BUCKET_PLACES);

        bucket = table_bucket(table, (uint32_t)number % buckets);
        for (; bucket != NULL && place >= bucket_count(bucket); bucket = bucket_next(bucket))
            place -= bucket_count(bucket);
        if (bucket != NULL)
            return bucket_entry(bucket, place);
    }
    bucket = random_bucket(keyspace, shard);
    return bucket == NULL ? NULL : bucket_entry(bucket, 0);
}

static void
show_victim(const struct brd_entry *entry, uint64_t hash, struct brd_victim *out_victim)
{
    struct brd_blob *blob = entry_blob(entry);

    out_victim->key = entry_key(entry);
    out_victim->hash = hash;
    out_victim->version = entry->version;
    out_victim->deadline_ms = entry_deadline(entry);
    out_victim->bytes = entry_bytes(entry) + (blob == NULL ? 0 : brd_blob_footprint(blob));
}

static enum brd_status
find_random(struct brd_keyspace *keyspace, struct brd_guard *guard, struct brd_victim *out_victim)
{
    const struct brd_entry *entry;
    uint32_t shard;

    if (!random_shard(keyspace, &shard))
        return BRD_NOT_FOUND;
    brd_guard_begin(guard, keyspace, BRD_GUARD_WRITE, shard);
    entry = random_entry(keyspace, shard);
    if (entry == NULL) {
        brd_guard_end(guard);
        return BRD_BUSY;
    }
    show_victim(entry, brd_hash(&keyspace->store->env.secret, entry_key(entry)), out_victim);
    return BRD_OK;
}

static enum brd_status
find_by_deadline(struct brd_keyspace *keyspace, struct brd_guard *guard,
                 struct brd_victim *out_victim)
{
    uint32_t first = (uint32_t)roll(&keyspace->evict);
    const struct brd_entry *entry;
    uint64_t best_ms = UINT64_MAX;
    uint32_t best = 0;
    uint32_t seen = 0;
    uint32_t i;

    for (i = 0; i <= keyspace->shard_mask && seen < SAMPLE_SHARDS; i++) {
        uint32_t shard = (first + i) & keyspace->shard_mask;
        uint64_t deadline_ms = brd_counter_get(&keyspace->shards[shard].next_deadline);

        if (deadline_ms == UINT64_MAX)
            continue;
        seen++;
        if (deadline_ms < best_ms) {
            best_ms = deadline_ms;
            best = shard;
        }
    }
    if (seen == 0)
        return BRD_NOT_FOUND;
    brd_guard_begin(guard, keyspace, BRD_GUARD_WRITE, best);
    entry = shard_nearest(&keyspace->shards[best]);
    if (entry == NULL) {
        brd_guard_end(guard);
        return BRD_BUSY;
    }
    show_victim(entry, brd_hash(&keyspace->store->env.secret, entry_key(entry)), out_victim);
    return BRD_OK;
}

/* The best so far of a sample. */
struct sample {
    uint64_t item;
    uint64_t version;
    uint32_t age;
    uint32_t seen;
    bool any;
};

/* Look at all entries of one bucket, chosen at random. */
static void
sample_bucket(struct brd_keyspace *keyspace, uint32_t shard, struct sample *sample)
{
    const struct brd_entry *better = NULL;
    const struct bucket *bucket;
    struct brd_guard guard;

    brd_guard_begin(&guard, keyspace, BRD_GUARD_READ, shard);
    for (bucket = random_bucket(keyspace, shard); bucket != NULL; bucket = bucket_next(bucket)) {
        unsigned count = bucket_count(bucket);
        unsigned i;

        for (i = 0; i < count; i++) {
            const struct brd_entry *entry = bucket_entry(bucket, i);
            uint32_t age = mark_age(&keyspace->evict, entry_mark(entry));

            if (sample->any &&
                (age < sample->age || (age == sample->age && entry->version >= sample->version)))
                continue;
            better = entry;
            sample->any = true;
            sample->age = age;
            sample->version = entry->version;
        }
        sample->seen += count;
    }
    if (better != NULL)
        sample->item = item_of(keyspace, brd_hash(&keyspace->store->env.secret, entry_key(better)));
    brd_guard_end(&guard);
}

static enum brd_status
find_by_age(struct brd_keyspace *keyspace, struct brd_guard *guard, struct brd_victim *out_victim)
{
    struct sample sample = { .any = false };
    struct brd_entry *entry;
    uint32_t shard;
    uint64_t hash;
    unsigned i;

    for (i = 0; i < SAMPLE_BUCKETS && sample.seen < SAMPLE; i++) {
        if (!random_shard(keyspace, &shard))
            return BRD_NOT_FOUND;
        sample_bucket(keyspace, shard, &sample);
    }
    if (!sample.any)
        return BRD_BUSY;
    brd_guard_begin(guard, keyspace, BRD_GUARD_WRITE, item_shard(keyspace, sample.item));
    entry = find_item(keyspace, sample.item, &hash);
    if (entry == NULL || mark_age(&keyspace->evict, entry_mark(entry)) < sample.age) {
        brd_guard_end(guard); /* it is gone, or was used just now */
        return BRD_BUSY;
    }
    if (sample.age < EVICT_EPOCHS) {
        brd_mutex_lock(&keyspace->evict.lock);
        keyspace->evict.victim_ages += sample.age;
        keyspace->evict.victims++;
        brd_mutex_unlock(&keyspace->evict.lock);
    }
    show_victim(entry, hash, out_victim);
    return BRD_OK;
}

/* The next item, of the queue whose turn it is. False: there is none. */
static bool
next_item(struct brd_keyspace *keyspace, enum evict_queue_name *out_name, uint64_t *out_item)
{
    struct evict *evict = &keyspace->evict;
    uint64_t small = brd_counter_get(&evict->items[EVICT_SMALL]);
    uint64_t main = brd_counter_get(&evict->items[EVICT_MAIN]);
    uint64_t target = (small + main) * (evict->small_share >> 8) >> 24;

    *out_name = small > 0 && (small >= target || main == 0) ? EVICT_SMALL : EVICT_MAIN;
    return pop_item(keyspace, *out_name, out_item);
}

/* One item is at the head of its queue. BRD_OK: its entry is the victim; BRD_BUSY:
 * it was none, or stays. */
static enum brd_status
judge_item(struct brd_keyspace *keyspace, struct brd_guard *guard, enum evict_queue_name name,
           uint64_t item, bool patient, struct brd_victim *out_victim)
{
    struct evict *evict = &keyspace->evict;
    struct brd_entry *entry;
    uint32_t uses;
    uint64_t hash;

    brd_guard_begin(guard, keyspace, BRD_GUARD_WRITE, item_shard(keyspace, item));
    entry = find_item(keyspace, item, &hash);
    if (entry == NULL || mark_queue(entry_mark(entry)) != name ||
        atomic_load_explicit(&evict->kind, memory_order_relaxed) != EVICT_KIND_QUEUES) {
        brd_guard_end(guard);
        return BRD_BUSY;
    }
    uses = mark_uses(entry_mark(entry));
    brd_mutex_lock(&evict->lock);
    if (name == EVICT_SMALL && uses >= SMALL_USES) {
        push_entry(keyspace, EVICT_MAIN, entry, item, 0);
    } else if (name == EVICT_MAIN && uses > 0 && patient) {
        push_entry(keyspace, EVICT_MAIN, entry, item, uses - 1);
    } else {
        ghosts_note(name == EVICT_SMALL ? &evict->small_ghosts : &evict->main_ghosts, hash);
        brd_mutex_unlock(&evict->lock);
        show_victim(entry, hash, out_victim);
        return BRD_OK;
    }
    brd_mutex_unlock(&evict->lock);
    brd_guard_end(guard);
    return BRD_BUSY;
}

static enum brd_status
find_in_queues(struct brd_keyspace *keyspace, struct brd_guard *guard, uint32_t *budget,
               struct brd_victim *out_victim)
{
    struct evict *evict = &keyspace->evict;
    uint32_t steps;

    fit_all_ghosts(keyspace, GHOSTS_INLINE_BYTES);
    for (steps = 0; *budget > 0; steps++, --*budget) {
        enum evict_queue_name name;
        uint64_t item;
        bool any;

        brd_mutex_lock(&evict->lock);
        any = next_item(keyspace, &name, &item);
        brd_mutex_unlock(&evict->lock);
        if (!any)
            return find_random(keyspace, guard, out_victim);
        if (judge_item(keyspace, guard, name, item, steps < PATIENCE, out_victim) == BRD_OK)
            return BRD_OK;
    }
    return BRD_BUSY;
}

enum brd_status
brd_victim_find(struct brd_guard *guard, struct brd_keyspace *keyspace, uint32_t *budget,
                struct brd_victim *out_victim)
{
    struct evict *evict = &keyspace->evict;
    enum brd_status status = BRD_BUSY;

    while (status == BRD_BUSY && *budget > 0) {
        --*budget;
        switch ((enum brd_eviction)atomic_load_explicit(&evict->policy, memory_order_relaxed)) {
        case BRD_EVICTION_NONE:
            return BRD_NOT_FOUND;
        case BRD_EVICTION_VOLATILE_TTL:
            status = find_by_deadline(keyspace, guard, out_victim);
            break;
        case BRD_EVICTION_LRU:
            status = find_by_age(keyspace, guard, out_victim);
            break;
        case BRD_EVICTION_S3FIFO:
            status = find_in_queues(keyspace, guard, budget, out_victim);
            break;
        case BRD_EVICTION_RANDOM:
            status = find_random(keyspace, guard, out_victim);
            break;
        }
    }
    return status;
}

void
brd_victim_spare(struct brd_guard *guard, const struct brd_victim *victim)
{
    struct brd_keyspace *keyspace = guard->keyspace;
    struct evict *evict = &keyspace->evict;
    uint64_t item = item_of(keyspace, victim->hash);
    struct brd_entry *entry;
    uint64_t hash;

    BRD_CHECK(guard->mode == BRD_GUARD_WRITE);
    if (atomic_load_explicit(&evict->kind, memory_order_relaxed) != EVICT_KIND_QUEUES)
        return;
    entry = find_item(keyspace, item, &hash);
    if (entry == NULL || mark_queue(entry_mark(entry)) == EVICT_NO_QUEUE)
        return;
    brd_mutex_lock(&evict->lock);
    push_entry(keyspace, mark_queue(entry_mark(entry)), entry, item, mark_uses(entry_mark(entry)));
    brd_mutex_unlock(&evict->lock);
}

/* ---- sweeping dead items out ---- */

/* Take one item of the rest; false: there is none, and the sweep is over. In the
 * sweep's hand it does not count: a clear may come before it is put back. */
static bool
sweep_next(struct brd_keyspace *keyspace, enum evict_queue_name name, uint64_t *out_item)
{
    struct evict *evict = &keyspace->evict;
    struct evict_queue *queue = &evict->queues[name];
    struct fifo_chunk *chunk;
    bool any;

    brd_mutex_lock(&evict->lock);
    any = fifo_pop(&queue->rest, out_item, &chunk);
    if (any) {
        chunk_done(keyspace, chunk);
        brd_counter_add(&evict->items[name], UINT64_MAX);
    } else {
        fifo_append(&queue->swept, &queue->fresh);
        queue->fresh = queue->swept;
        queue->swept = (struct fifo){ NULL, NULL, 0 };
        queue->sweeping = false;
    }
    brd_mutex_unlock(&evict->lock);
    return any;
}

/* Keep the item, or drop it. */
static void
sweep_item(struct brd_keyspace *keyspace, enum evict_queue_name name, uint64_t item)
{
    struct evict *evict = &keyspace->evict;
    struct brd_entry *entry;
    struct brd_guard guard;
    uint64_t hash;
    uint32_t mark = 0;
    bool stays;

    brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, item_shard(keyspace, item));
    entry = find_item(keyspace, item, &hash);
    if (entry != NULL &&
        atomic_load_explicit(&evict->kind, memory_order_relaxed) == EVICT_KIND_QUEUES)
        mark = entry_mark(entry);
    brd_mutex_lock(&evict->lock);
    stays = mark_queue(mark) == name && mark_parity(mark) != evict->queues[name].parity;
    if (stays && push_to(keyspace, &evict->queues[name].swept, item)) {
        brd_counter_add(&evict->items[name], 1);
        entry_set_mark(entry, mark_make(name, evict->queues[name].parity, mark_uses(mark)));
    } else if (stays) {
        evict->lost = true;
        entry_set_mark(entry, 0);
    }
    brd_mutex_unlock(&evict->lock);
    brd_guard_end(&guard);
}

/* Begin or go on with a sweep where a quarter of the items is dead, or all are.
 * Returns steps done. */
static uint32_t
sweep(struct brd_keyspace *keyspace, uint32_t budget)
{
    struct evict *evict = &keyspace->evict;
    uint64_t live = brd_keyspace_count(keyspace);
    uint64_t items = all_items(evict);
    uint64_t dead = items > live ? items - live : 0;
    bool due = dead > (live == 0 ? 0 : items / 4 + FIFO_CHUNK_ITEMS);
    uint32_t steps = 0;
    unsigned name;

    for (name = EVICT_SMALL; name <= EVICT_MAIN; name++) {
        struct evict_queue *queue = &evict->queues[name];
        uint64_t item;

        brd_mutex_lock(&evict->lock);
        if (due && !queue->sweeping && queue->fresh.items > 0) {
            queue->sweeping = true;
            queue->parity ^= 1;
            queue->rest = queue->fresh;
            queue->fresh = (struct fifo){ NULL, NULL, 0 };
        }
        brd_mutex_unlock(&evict->lock);
        while (queue->sweeping && steps < budget && sweep_next(keyspace, name, &item)) {
            sweep_item(keyspace, name, item);
            steps++;
        }
    }
    return steps;
}

/* ---- changing the policy ---- */

static enum evict_kind
kind_wanted(const struct brd_keyspace *keyspace)
{
    const struct evict *evict = &keyspace->evict;
    uint64_t limit = atomic_load_explicit(&keyspace->store->limit, memory_order_relaxed);
    uint32_t kind = atomic_load_explicit(&evict->kind, memory_order_relaxed);
    uint64_t used = brd_store_used_bytes(keyspace->store);
    uint32_t policy = atomic_load_explicit(&evict->policy, memory_order_relaxed);

    if (limit == 0)
        return EVICT_KIND_NONE;
    if (policy == BRD_EVICTION_LRU)
        return EVICT_KIND_AGES;
    if (policy != BRD_EVICTION_S3FIFO)
        return EVICT_KIND_NONE;
    if (limit < ALWAYS_BELOW || used >= limit / (kind == EVICT_KIND_QUEUES ? 4 : 2))
        return EVICT_KIND_QUEUES;
    return EVICT_KIND_NONE;
}

struct walk {
    struct brd_keyspace *keyspace;
    enum evict_kind kind;
};

/* Under the stripe, for writing. */
static void
walk_entry(void *arg, const struct brd_entry *visited)
{
    const struct walk *walk = arg;
    struct brd_keyspace *keyspace = walk->keyspace;
    struct brd_entry *entry = (struct brd_entry *)(uintptr_t)visited;
    uint64_t hash;

    if (walk->kind == EVICT_KIND_NONE && entry_mark(entry) != 0)
        entry_set_mark(entry, 0);
    if (walk->kind != EVICT_KIND_QUEUES || entry_mark(entry) != 0)
        return;
    hash = brd_hash(&keyspace->store->env.secret, entry_key(entry));
    brd_mutex_lock(&keyspace->evict.lock);
    push_entry(keyspace, EVICT_SMALL, entry, item_of(keyspace, hash), 0);
    brd_mutex_unlock(&keyspace->evict.lock);
}

/* Go on with the walk through all entries: clear marks, or queue what is in no
 * queue. Returns steps done. */
static uint32_t
walk_some(struct brd_keyspace *keyspace, uint32_t budget)
{
    const uint64_t end = UINT64_C(1) << 32;
    struct evict *evict = &keyspace->evict;
    struct walk walk = { keyspace, (enum evict_kind)atomic_load_explicit(&evict->kind,
                                                                         memory_order_relaxed) };
    uint32_t steps = 0;

    while (steps < budget && evict->walk_shard <= keyspace->shard_mask) {
        struct brd_guard guard;
        uint32_t slice = 0;

        brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, evict->walk_shard);
        while (evict->walk_position < end && slice < WALK_SLICE)
            slice += 1 + table_visit(&keyspace->shards[evict->walk_shard].table,
                                     &evict->walk_position, walk_entry, &walk);
        brd_guard_end(&guard);
        steps += slice;
        if (evict->walk_position == end) {
            evict->walk_position = 0;
            evict->walk_shard++;
        }
    }
    evict->walking = evict->walk_shard <= keyspace->shard_mask;
    return steps;
}

static void
walk_begin(struct evict *evict)
{
    evict->walking = true;
    evict->walk_shard = 0;
    evict->walk_position = 0;
}

/* Stop doing what the kind asks for. Marks are cleared by a walk before another
 * kind may use them. */
static void
leave_kind(struct evict *evict)
{
    atomic_store_explicit(&evict->kind, EVICT_KIND_NONE, memory_order_relaxed);
    walk_begin(evict);
}

static void
enter_kind(struct brd_keyspace *keyspace, enum evict_kind kind)
{
    struct evict *evict = &keyspace->evict;

    brd_mutex_lock(&evict->lock);
    doom_queues(evict);
    evict->epoch_length = 1;
    evict->epoch_left = 1;
    evict->victim_ages = 0;
    evict->victims = 0;
    evict->small_share = SHARE_FIRST;
    evict->near_small = 0;
    evict->near_main = 0;
    evict->ghosts_due = false;
    brd_mutex_unlock(&evict->lock);
    atomic_store_explicit(&evict->epoch, 1, memory_order_relaxed);
    atomic_store_explicit(&evict->kind, kind, memory_order_relaxed);
    if (kind == EVICT_KIND_QUEUES && brd_keyspace_count(keyspace) > 0)
        walk_begin(evict);
}

/* Bring about the kind that the policy needs. Returns steps done. */
static uint32_t
settle(struct brd_keyspace *keyspace, uint32_t budget)
{
    struct evict *evict = &keyspace->evict;
    uint32_t steps = 0;

    while (steps < budget) {
        enum evict_kind kind =
            (enum evict_kind)atomic_load_explicit(&evict->kind, memory_order_relaxed);
        enum evict_kind wanted;

        if (evict->walking) {
            steps += walk_some(keyspace, budget - steps);
            if (evict->walking)
                return steps;
        }
        wanted = kind_wanted(keyspace);
        if (kind == wanted) {
            bool again;

            brd_mutex_lock(&evict->lock);
            again = evict->lost && steps == 0;
            evict->lost = evict->lost && !again;
            brd_mutex_unlock(&evict->lock);
            if (!again)
                return steps;
            walk_begin(evict);
        } else if (kind != EVICT_KIND_NONE) {
            leave_kind(evict);
        } else {
            enter_kind(keyspace, wanted);
        }
    }
    return steps;
}

/* Without kind QUEUES nothing is in the queues but what was left behind. */
static uint32_t
free_left_over(struct brd_keyspace *keyspace, uint32_t budget)
{
    struct evict *evict = &keyspace->evict;
    bool idle = atomic_load_explicit(&evict->kind, memory_order_relaxed) != EVICT_KIND_QUEUES;
    bool empty = idle || brd_keyspace_count(keyspace) == 0;
    uint32_t steps;

    if (idle) {
        drop_ghosts(keyspace, &evict->small_ghosts);
        drop_ghosts(keyspace, &evict->main_ghosts);
    }
    brd_mutex_lock(&evict->lock);
    if (idle)
        doom_queues(evict);
    for (steps = 0; steps < budget && evict->doomed != NULL; steps++) {
        struct fifo_chunk *chunk = evict->doomed;

        evict->doomed = chunk->next;
        count_bytes(keyspace, 0, heap_size(chunk));
        free(chunk);
    }
    if (empty && all_items(evict) == 0 && evict->spare != NULL) {
        count_bytes(keyspace, 0, heap_size(evict->spare));
        free(evict->spare);
        evict->spare = NULL;
    }
    brd_mutex_unlock(&evict->lock);
    return steps;
}

/* Under another limit shards may have gathered more than this one lets them: have
 * them tell the store, or its sum could stay wrong for as long as writes are
 * refused because of it. Returns steps done. */
static uint32_t
tell_all(struct brd_keyspace *keyspace, uint32_t budget)
{
    struct evict *evict = &keyspace->evict;
    uint64_t limit = atomic_load_explicit(&keyspace->store->limit, memory_order_acquire);
    uint32_t steps;

    if (evict->told_limit != limit) {
        evict->told_limit = limit;
        evict->told_shard = 0;
    }
    for (steps = 0; steps < budget && evict->told_shard <= keyspace->shard_mask; steps++) {
        uint32_t shard = evict->told_shard++;
        struct brd_guard guard;

        brd_guard_begin(&guard, keyspace, BRD_GUARD_WRITE, shard);
        shard_report(&keyspace->shards[shard], &keyspace->store->env);
        brd_guard_end(&guard);
    }
    return steps;
}

uint32_t
brd_keyspace_tend_eviction(struct brd_keyspace *keyspace, uint32_t max)
{
    struct evict *evict = &keyspace->evict;
    uint32_t steps;

    brd_mutex_lock(&evict->switching);
    steps = tell_all(keyspace, max);
    steps += settle(keyspace, max);
    steps += free_left_over(keyspace, max);
    if (atomic_load_explicit(&evict->kind, memory_order_relaxed) == EVICT_KIND_QUEUES) {
        fit_due_ghosts(keyspace);
        shed_ghosts(keyspace, &evict->small_ghosts);
        shed_ghosts(keyspace, &evict->main_ghosts);
        steps += sweep(keyspace, max);
    }
    brd_mutex_unlock(&evict->switching);
    return steps;
}

void
brd_keyspace_set_eviction(struct brd_keyspace *keyspace, enum brd_eviction policy)
{
    struct evict *evict = &keyspace->evict;

    atomic_store_explicit(&evict->policy, (uint32_t)policy, memory_order_relaxed);
    brd_mutex_lock(&evict->switching);
    if (!evict->walking)
        settle(keyspace, 1);
    brd_mutex_unlock(&evict->switching);
}

enum brd_eviction
brd_keyspace_eviction(const struct brd_keyspace *keyspace)
{
    return (enum brd_eviction)atomic_load_explicit(&keyspace->evict.policy, memory_order_relaxed);
}

void
brd_keyspace_get_eviction(const struct brd_keyspace *keyspace, struct brd_eviction_info *out_info)
{
    struct evict *evict = (struct evict *)(uintptr_t)&keyspace->evict;

    out_info->policy = brd_keyspace_eviction(keyspace);
    out_info->small_items = brd_counter_get(&evict->items[EVICT_SMALL]);
    out_info->main_items = brd_counter_get(&evict->items[EVICT_MAIN]);
    out_info->ghost_hits = brd_counter_get(&evict->ghost_hits);
    brd_mutex_lock(&evict->lock);
    out_info->ghosts = ghosts_capacity(&evict->small_ghosts);
    out_info->small_permille = (uint32_t)(evict->small_share * 1000 >> 32);
    brd_mutex_unlock(&evict->lock);
}

void
evict_init(struct evict *evict, unsigned shard_bits)
{
    memset(evict, 0, sizeof(*evict));
    evict->shard_bits = shard_bits;
    evict->small_share = SHARE_FIRST;
    atomic_init(&evict->epoch, 1);
    brd_mutex_init(&evict->lock, BRD_RANK_QUEUES);
    brd_mutex_init(&evict->switching, BRD_RANK_EVICTION);
}

void
evict_fini(struct brd_keyspace *keyspace)
{
    struct evict *evict = &keyspace->evict;

    atomic_store_explicit(&evict->kind, EVICT_KIND_NONE, memory_order_relaxed);
    free_left_over(keyspace, UINT32_MAX);
    BRD_CHECK(brd_counter_get(&evict->bytes) == 0);
    brd_mutex_fini(&evict->switching);
    brd_mutex_fini(&evict->lock);
}
