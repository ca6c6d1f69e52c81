/* The front of the folder: keyspaces over stripes, and guards.
 *
 *   hash   63      56 ... 47             16 15        0
 *         |   tag    |   |  bucket's bits  | shard     |
 *
 *   stripe = (shard + the keyspace's offset) mod stripes
 *
 * A keyspace has at most as many shards as there are stripes, so each shard has
 * one stripe, and a stripe at most one shard of each keyspace. The offset, a
 * different one for each keyspace, spreads small keyspaces over the stripes.
 *
 * A guard holds one stripe (the hot way: no memory, two calls) or a set of
 * them, in a bitmap that is walked upwards. What is replaced or removed is
 * chained in the guard and freed when no stripe is held any more; what is large
 * goes to the graveyard.
 *
 * Two locks beside the stripes, both ranked behind them: the arena's and the
 * graveyard's; and one for the list of keyspaces.
 *
 * Failure: only creating and reserving may run out of memory. Between a reserve
 * and the put that it promised, nothing allocates. */
#include "store/store.h"

#include "store/heap.h"
#include "store/keyspace.h"

#define STRIPES_DEFAULT 256
#define TRIM_BYTES      ((size_t)32 << 20) /* of free chunks, for each call */
#define REAP_SLICE      128                /* entries removed for each time the stripe is held */

/* What a shard may gather before it adds it to the sum: so little that all
 * shards together are not further off than this part of the limit. */
#define REPORT_BYTES_MOST 4096
#define REPORT_PART       32

#ifdef BRD_DEBUG
_Atomic int64_t heap_fail_after = -1;
#endif

/* ---- store ---- */

enum brd_status
brd_store_create(const struct brd_store_options *options, struct brd_store **out_store)
{
    uint32_t count = options->stripes == 0 ? STRIPES_DEFAULT : options->stripes;
    struct brd_store *store;
    enum brd_status status;

    if (count > BRD_STORE_STRIPES_MAX || (count & (count - 1)) != 0)
        return BRD_INVALID_ARGUMENT;
    store = heap_alloc_aligned(BRD_CACHE_LINE, sizeof(*store));
    if (store == NULL)
        return BRD_OUT_OF_MEMORY;
    memset(store, 0, sizeof(*store));
    status = stripes_init(&store->stripes, count);
    if (status != BRD_OK) {
        free(store);
        return status;
    }
    store->env.secret = options->secret == NULL ? brd_hash_key_random() : *options->secret;
    atomic_init(&store->env.report_bytes, REPORT_BYTES_MOST);
    arena_init(&store->env.arena);
    graveyard_init(&store->graveyard);
    brd_mutex_init(&store->lock, BRD_RANK_FREER);
    atomic_init(&store->env.used_bytes, heap_size(store) + heap_size(store->stripes.locks));
    *out_store = store;
    return BRD_OK;
}

void
brd_store_destroy(struct brd_store **store_at)
{
    struct brd_store *store = *store_at;

    if (store == NULL)
        return;
    BRD_CHECK(store->keyspaces == NULL);
    graveyard_fini(&store->graveyard, &store->env.arena);
    BRD_CHECK(atomic_load_explicit(&store->env.used_bytes, memory_order_relaxed) ==
              heap_size(store) + heap_size(store->stripes.locks));
    BRD_CHECK(atomic_load_explicit(&store->env.blob_bytes, memory_order_relaxed) == 0);
    arena_fini(&store->env.arena);
    brd_mutex_fini(&store->lock);
    stripes_fini(&store->stripes);
    free(store);
    *store_at = NULL;
}

uint32_t
brd_store_stripes(const struct brd_store *store)
{
    return store->stripes.count;
}

uint64_t
brd_store_hash(const struct brd_store *store, struct brd_bytes key)
{
    return brd_hash(&store->env.secret, key);
}

/* ---- keyspaces ---- */

/* One block: an array of pointers, and the directories behind it. NULL where
 * memory is out. */
static struct dir **
create_small_dirs(uint32_t shards)
{
    size_t dir_size = sizeof(struct dir) + TABLE_SMALL_DIR * sizeof(_Atomic(void *));
    struct dir **small = heap_alloc_zeroed(shards * (sizeof(struct dir *) + dir_size));
    char *at;
    uint32_t i;

    if (small == NULL)
        return NULL;
    at = (char *)(small + shards);
    for (i = 0; i < shards; i++, at += dir_size) {
        small[i] = (struct dir *)(void *)at;
        small[i]->cap = TABLE_SMALL_DIR;
    }
    return small;
}

enum brd_status
brd_keyspace_create(struct brd_store *store, uint32_t shards, struct brd_keyspace **out_keyspace)
{
    uint32_t count = shards == 0 ? store->stripes.count : shards;
    struct brd_keyspace *keyspace;
    uint32_t i;

    if (count > store->stripes.count || (count & (count - 1)) != 0)
        return BRD_INVALID_ARGUMENT;
    keyspace = heap_alloc_aligned(BRD_CACHE_LINE, sizeof(*keyspace));
    if (keyspace == NULL)
        return BRD_OUT_OF_MEMORY;
    memset(keyspace, 0, sizeof(*keyspace));
    keyspace->shards = heap_alloc_aligned(BRD_CACHE_LINE, count * sizeof(struct shard));
    keyspace->small = create_small_dirs(count);
    if (keyspace->shards == NULL || keyspace->small == NULL) {
        free(keyspace->shards);
        free(keyspace->small);
        free(keyspace);
        return BRD_OUT_OF_MEMORY;
    }
    for (i = 0; i < count; i++)
        shard_init(&keyspace->shards[i], keyspace->small[i]);
    evict_init(&keyspace->evict, (unsigned)__builtin_ctz(count));
    keyspace->shard_mask = count - 1;
    keyspace->stripe_mask = store->stripes.count - 1;
    keyspace->store = store;
    keyspace->fixed_bytes =
        heap_size(keyspace) + heap_size(keyspace->shards) + heap_size(keyspace->small);
    atomic_fetch_add_explicit(&store->env.used_bytes, keyspace->fixed_bytes, memory_order_relaxed);

    brd_mutex_lock(&store->lock);
    keyspace->offset = store->next_offset;
    /* The next small one begins behind this one's last stripe. */
    store->next_offset += count == store->stripes.count ? 0 : count;
    keyspace->next = store->keyspaces;
    if (keyspace->next != NULL)
        keyspace->next->before = keyspace;
    store->keyspaces = keyspace;
    brd_mutex_unlock(&store->lock);
    *out_keyspace = keyspace;
    return BRD_OK;
}

void
brd_keyspace_destroy(struct brd_keyspace **keyspace_at)
{
    struct brd_keyspace *keyspace = *keyspace_at;
    struct brd_store *store;
    uint32_t i;

    if (keyspace == NULL)
        return;
    store = keyspace->store;
    brd_mutex_lock(&store->lock);
    if (keyspace->next != NULL)
        keyspace->next->before = keyspace->before;
    if (keyspace->before != NULL)
        keyspace->before->next = keyspace->next;
    else
        store->keyspaces = keyspace->next;
    brd_mutex_unlock(&store->lock);
    evict_fini(keyspace);
    for (i = 0; i <= keyspace->shard_mask; i++)
        shard_fini(&keyspace->shards[i], &store->env);
    atomic_fetch_sub_explicit(&store->env.used_bytes, keyspace->fixed_bytes, memory_order_relaxed);
    free(keyspace->shards);
    free(keyspace->small);
    free(keyspace);
    *keyspace_at = NULL;
}

uint32_t
brd_keyspace_shards(const struct brd_keyspace *keyspace)
{
    return keyspace->shard_mask + 1;
}

uint32_t
brd_keyspace_stripe(const struct brd_keyspace *keyspace, uint64_t hash)
{
    return stripe_of(keyspace, hash);
}

void
brd_keyspace_prefetch(const struct brd_keyspace *keyspace, uint64_t hash)
{
    const struct shard *shard = shard_of(keyspace, hash);

    __builtin_prefetch(&keyspace->store->stripes.locks[stripe_of(keyspace, hash)], 1);
    table_hint_bucket(&shard->table, hash);
}

void
brd_keyspace_prefetch_entry(const struct brd_keyspace *keyspace, uint64_t hash)
{
    table_hint_entry(&shard_of(keyspace, hash)->table, hash);
}

/* ---- guards ---- */

static inline bool
guard_holds(const struct brd_guard *guard, uint32_t stripe)
{
    if (guard->bitmap == NULL)
        return guard->stripe == stripe;
    return (guard->bitmap[stripe / 64] >> stripe % 64 & 1) != 0;
}

/* Which shard a held stripe guards. */
static inline struct shard *
shard_under(const struct brd_keyspace *keyspace, uint32_t stripe)
{
    return &keyspace->shards[(stripe - keyspace->offset) & keyspace->stripe_mask];
}

void
brd_guard_begin(struct brd_guard *guard, struct brd_keyspace *keyspace, enum brd_guard_mode mode,
                uint64_t hash)
{
    guard->keyspace = keyspace;
    guard->mode = mode;
    guard->stripe = stripe_of(keyspace, hash);
    guard->bitmap = NULL;
    guard->buried = NULL;
    stripe_lock(&keyspace->store->stripes, guard->stripe, mode);
}

/* Call act for each stripe of the bitmap, upwards. */
#define FOR_EACH_STRIPE(guard, word, bits, stripe)                                      \
    for (word = 0; word <= (guard)->keyspace->stripe_mask / 64; word++)                 \
        for (bits = (guard)->bitmap[word];                                              \
             bits != 0 && (stripe = word * 64 + (uint32_t)__builtin_ctzll(bits), true); \
             bits &= bits - 1)

enum brd_status
brd_guard_begin_many(struct brd_guard *guard, struct brd_keyspace *keyspace,
                     enum brd_guard_mode mode, const uint64_t *hashes, size_t n)
{
    uint32_t words = keyspace->stripe_mask / 64 + 1;
    uint32_t stripe;
    uint32_t word;
    uint64_t bits;
    size_t i;

    guard->keyspace = keyspace;
    guard->mode = mode;
    guard->stripe = 0;
    guard->buried = NULL;
    guard->bitmap = heap_alloc_zeroed(words * sizeof(guard->bitmap[0]));
    if (guard->bitmap == NULL)
        return BRD_OUT_OF_MEMORY;
    if (hashes == NULL)
        n = (size_t)keyspace->shard_mask + 1;
    for (i = 0; i < n; i++) {
        stripe = stripe_of(keyspace, hashes == NULL ? i : hashes[i]);
        guard->bitmap[stripe / 64] |= UINT64_C(1) << stripe % 64;
    }
    FOR_EACH_STRIPE(guard, word, bits, stripe)
    stripe_lock(&keyspace->store->stripes, stripe, mode);
    return BRD_OK;
}

/* brd_guard_end of several stripes. */
static __attribute__((noinline)) void
end_many(struct brd_guard *guard)
{
    struct brd_store *store = guard->keyspace->store;
    uint32_t stripe;
    uint32_t word;
    uint64_t bits;

    FOR_EACH_STRIPE(guard, word, bits, stripe)
    {
        if (guard->mode == BRD_GUARD_WRITE)
            shard_release(shard_under(guard->keyspace, stripe), &store->env);
        stripe_unlock(&store->stripes, stripe, guard->mode);
    }
    free(guard->bitmap);
    guard->bitmap = NULL;
}

void
brd_guard_end(struct brd_guard *guard)
{
    struct brd_store *store = guard->keyspace->store;

    if (BRD_UNLIKELY(guard->bitmap != NULL)) {
        end_many(guard);
    } else {
        if (guard->mode == BRD_GUARD_WRITE)
            shard_release(shard_under(guard->keyspace, guard->stripe), &store->env);
        stripe_unlock(&store->stripes, guard->stripe, guard->mode);
    }
    if (guard->buried != NULL)
        graveyard_take_entries(&store->graveyard, &guard->buried);
    guard->keyspace = NULL;
}

enum brd_status
brd_guard_find(struct brd_guard *guard, uint64_t hash, struct brd_bytes key, uint64_t now_ms,
               struct brd_view *out_view, uint64_t *out_seen)
{
    const struct shard *shard = shard_of(guard->keyspace, hash);
    struct brd_entry *entry;
    struct table_spot spot;

    BRD_DCHECK(guard_holds(guard, stripe_of(guard->keyspace, hash)));
    entry = table_find(&shard->table, hash, key, &spot);
    if (entry == NULL) {
        *out_seen = brd_counter_get(&shard->newest_removal);
        return BRD_NOT_FOUND;
    }
    entry_view(entry, out_view);
    *out_seen = out_view->version;
    if (BRD_UNLIKELY(out_view->deadline_ms != 0 && out_view->deadline_ms <= now_ms))
        return BRD_NOT_FOUND;
    if (guard->mode == BRD_GUARD_READ)
        evict_hit(&guard->keyspace->evict, entry);
    return BRD_OK;
}

struct brd_entry *
brd_guard_copy_entry(struct brd_guard *guard, uint64_t hash, struct brd_bytes key,
                     bool has_deadline)
{
    const struct shard *shard = shard_of(guard->keyspace, hash);
    const struct brd_entry *entry;
    struct table_spot spot;
    struct brd_entry *copy;
    struct brd_view view;

    BRD_DCHECK(guard_holds(guard, stripe_of(guard->keyspace, hash)));
    entry = table_find(&shard->table, hash, key, &spot);
    if (entry == NULL)
        return NULL;
    entry_view(entry, &view);
    if (view.blob == NULL)
        return brd_entry_create(key, view.value, NULL, has_deadline);
    copy = brd_entry_create(key, brd_bytes(NULL, 0), view.blob, has_deadline);
    if (copy != NULL)
        brd_blob_ref(view.blob);
    return copy;
}

enum brd_status
brd_guard_reserve(struct brd_guard *guard, uint64_t hash, bool has_deadline)
{
    struct brd_keyspace *keyspace = guard->keyspace;

    BRD_CHECK(guard->mode == BRD_GUARD_WRITE);
    BRD_DCHECK(guard_holds(guard, stripe_of(keyspace, hash)));
    return shard_reserve(shard_of(keyspace, hash), &keyspace->store->env, has_deadline)
               ? BRD_OK
               : BRD_OUT_OF_MEMORY;
}

bool
brd_guard_put(struct brd_guard *guard, uint64_t hash, struct brd_entry *entry, uint64_t version,
              uint64_t deadline_ms, uint64_t now_ms)
{
    struct brd_keyspace *keyspace = guard->keyspace;
    struct brd_entry *old;
    bool was_live;

    BRD_CHECK(guard->mode == BRD_GUARD_WRITE);
    BRD_DCHECK(guard_holds(guard, stripe_of(keyspace, hash)));
    BRD_DCHECK(brd_hash(&keyspace->store->env.secret, entry_key(entry)) == hash);
    old = shard_put(shard_of(keyspace, hash), &keyspace->store->env, hash, entry, version,
                    deadline_ms, now_ms, &was_live);
    if (atomic_load_explicit(&keyspace->evict.kind, memory_order_relaxed) != EVICT_KIND_NONE)
        evict_put_slowly(keyspace, hash, entry, old);
    if (old != NULL)
        entry_chain(old, &guard->buried);
    return was_live;
}

struct brd_entry *
brd_guard_find_room(struct brd_guard *guard, uint64_t hash, struct brd_bytes key, size_t value_size)
{
    struct brd_entry *entry;
    struct table_spot spot;

    BRD_CHECK(guard->mode == BRD_GUARD_WRITE);
    BRD_DCHECK(guard_holds(guard, stripe_of(guard->keyspace, hash)));
    entry = table_find(&shard_of(guard->keyspace, hash)->table, hash, key, &spot);
    return entry != NULL && entry_has_room(entry, value_size) ? entry : NULL;
}

void
brd_guard_overwrite(struct brd_guard *guard, uint64_t hash, struct brd_entry *entry,
                    struct brd_bytes value, uint64_t version)
{
    struct brd_keyspace *keyspace = guard->keyspace;

    BRD_CHECK(guard->mode == BRD_GUARD_WRITE);
    BRD_DCHECK(guard_holds(guard, stripe_of(keyspace, hash)));
    BRD_DCHECK(brd_hash(&keyspace->store->env.secret, entry_key(entry)) == hash);
    BRD_DCHECK(entry_has_room(entry, value.size));
    shard_overwrite(shard_of(keyspace, hash), entry, value, version);
    if (atomic_load_explicit(&keyspace->evict.kind, memory_order_relaxed) != EVICT_KIND_NONE)
        evict_put_slowly(keyspace, hash, entry, entry);
}

bool
brd_guard_remove(struct brd_guard *guard, uint64_t hash, struct brd_bytes key, uint64_t version,
                 uint64_t now_ms)
{
    struct brd_keyspace *keyspace = guard->keyspace;
    struct brd_entry *old;
    bool was_live;

    BRD_CHECK(guard->mode == BRD_GUARD_WRITE);
    BRD_DCHECK(guard_holds(guard, stripe_of(keyspace, hash)));
    old = shard_remove(shard_of(keyspace, hash), &keyspace->store->env, hash, key, version, now_ms,
                       &was_live);
    if (old != NULL)
        entry_chain(old, &guard->buried);
    return was_live;
}

uint64_t
brd_guard_clear(struct brd_guard *guard, uint64_t version)
{
    struct brd_keyspace *keyspace = guard->keyspace;
    struct brd_store *store = keyspace->store;
    uint64_t entries = 0;
    struct grave *grave;
    uint32_t i;

    BRD_CHECK(guard->mode == BRD_GUARD_WRITE && guard->bitmap != NULL);
    grave = grave_create(keyspace->shard_mask + 1);
    for (i = 0; i <= keyspace->shard_mask; i++) {
        struct shard *shard = &keyspace->shards[i];

        BRD_CHECK(guard_holds(guard, stripe_of(keyspace, i)));
        entries += brd_counter_get(&shard->entries);
        if (BRD_LIKELY(grave != NULL))
            grave_add(grave, shard, &store->env, version);
        else
            shard_empty(shard, &store->env, version);
    }
    evict_cleared(keyspace);
    if (grave != NULL)
        graveyard_take_grave(&store->graveyard, grave);
    return entries;
}

/* ---- expiry ---- */

uint64_t
brd_shard_next_deadline_ms(const struct brd_keyspace *keyspace, uint32_t shard)
{
    BRD_CHECK(shard <= keyspace->shard_mask);
    return brd_counter_get(&keyspace->shards[shard].next_deadline);
}

uint32_t
brd_shard_reap(struct brd_keyspace *keyspace, uint32_t shard, uint64_t now_ms, uint32_t max)
{
    struct brd_store *store = keyspace->store;
    uint32_t stripe = stripe_of(keyspace, shard);
    uint32_t reaped = 0;
    bool done = false;

    BRD_CHECK(shard <= keyspace->shard_mask);
    while (!done && reaped < max) {
        uint32_t slice = max - reaped < REAP_SLICE ? max - reaped : REAP_SLICE;
        struct brd_entry *chain = NULL;

        stripe_lock(&store->stripes, stripe, BRD_GUARD_WRITE);
        reaped += shard_reap(&keyspace->shards[shard], &store->env, now_ms, slice, &chain, &done);
        stripe_unlock(&store->stripes, stripe, BRD_GUARD_WRITE);
        graveyard_take_entries(&store->graveyard, &chain);
    }
    return reaped;
}

/* ---- looking at everything ---- */

struct walk {
    void (*visit)(void *arg, const struct brd_walk_item *item);
    void *arg;
};

static void
walk_entry(void *arg, const struct brd_entry *entry)
{
    const struct walk *walk = arg;
    struct brd_walk_item item;

    item.key = entry_key(entry);
    entry_view(entry, &item.view);
    walk->visit(walk->arg, &item);
}

void
brd_shard_walk(struct brd_keyspace *keyspace, uint32_t shard, uint64_t *cursor, uint32_t max,
               void (*visit)(void *arg, const struct brd_walk_item *item), void *arg)
{
    const uint64_t end = UINT64_C(1) << 32;
    struct stripes *stripes = &keyspace->store->stripes;
    uint32_t stripe = stripe_of(keyspace, shard);
    struct walk walk = { visit, arg };
    uint32_t steps = 0;
    uint32_t visited = 0;

    BRD_CHECK(shard <= keyspace->shard_mask && *cursor < end);
    stripe_lock(stripes, stripe, BRD_GUARD_READ);
    do {
        visited += table_visit(&keyspace->shards[shard].table, cursor, walk_entry, &walk);
        steps++;
    } while (*cursor < end && visited < max && steps / 2 < max);
    stripe_unlock(stripes, stripe, BRD_GUARD_READ);
    if (*cursor == end)
        *cursor = 0;
}

uint64_t
brd_keyspace_count(const struct brd_keyspace *keyspace)
{
    uint64_t count = 0;
    uint32_t i;

    for (i = 0; i <= keyspace->shard_mask; i++)
        count += brd_counter_get(&keyspace->shards[i].entries);
    return count;
}

uint64_t
brd_keyspace_newest_removal(const struct brd_keyspace *keyspace)
{
    uint64_t newest = 0;
    uint32_t i;

    for (i = 0; i <= keyspace->shard_mask; i++) {
        uint64_t removal = brd_counter_get(&keyspace->shards[i].newest_removal);
        uint64_t change = brd_counter_get(&keyspace->shards[i].newest_change);

        newest = removal > newest ? removal : newest;
        newest = change > newest ? change : newest;
    }
    return newest;
}

void
brd_store_get_memory(const struct brd_store *store, struct brd_store_memory *out_memory)
{
    struct brd_mutex *lock = (struct brd_mutex *)(uintptr_t)&store->lock;
    const struct brd_keyspace *keyspace;
    struct brd_store_memory sum = { 0 };
    uint64_t blob_bytes;
    uint32_t i;

    sum.fixed_bytes = heap_size(store) + heap_size(store->stripes.locks);
    brd_mutex_lock(lock);
    for (keyspace = store->keyspaces; keyspace != NULL; keyspace = keyspace->next) {
        sum.fixed_bytes += keyspace->fixed_bytes;
        sum.eviction_bytes += brd_counter_get(&keyspace->evict.bytes);
        for (i = 0; i <= keyspace->shard_mask; i++) {
            const struct shard *shard = &keyspace->shards[i];

            sum.entries += brd_counter_get(&shard->entries);
            sum.with_deadline += brd_counter_get(&shard->with_deadline);
            sum.data_bytes += brd_counter_get(&shard->data_bytes);
            sum.entry_bytes += brd_counter_get(&shard->entry_bytes);
            sum.blob_bytes += brd_counter_get(&shard->blob_bytes);
            sum.table_bytes += brd_counter_get(&shard->table.bytes);
            sum.deadline_bytes += brd_counter_get(&shard->expiry_bytes);
        }
    }
    brd_mutex_unlock(lock);
    blob_bytes = atomic_load_explicit(&store->env.blob_bytes, memory_order_relaxed);
    sum.held_bytes = blob_bytes > sum.blob_bytes ? blob_bytes - sum.blob_bytes : 0;
    sum.chunk_bytes = atomic_load_explicit(&store->env.arena.used_bytes, memory_order_relaxed);
    sum.graveyard_bytes = atomic_load_explicit(&store->graveyard.bytes, memory_order_relaxed);
    *out_memory = sum;
}

uint64_t
brd_store_used_bytes(const struct brd_store *store)
{
    return atomic_load_explicit(&store->env.used_bytes, memory_order_relaxed) +
           atomic_load_explicit(&store->env.blob_bytes, memory_order_relaxed) +
           atomic_load_explicit(&store->graveyard.bytes, memory_order_relaxed);
}

uint64_t
brd_store_idle_bytes(const struct brd_store *store)
{
    return atomic_load_explicit(&store->env.arena.idle_bytes, memory_order_relaxed);
}

uint64_t
brd_store_live_bytes(const struct brd_store *store)
{
    return atomic_load_explicit(&store->env.used_bytes, memory_order_relaxed) +
           atomic_load_explicit(&store->env.live_blob_bytes, memory_order_relaxed);
}

uint64_t
brd_store_held_bytes(const struct brd_store *store)
{
    uint64_t live = atomic_load_explicit(&store->env.live_blob_bytes, memory_order_relaxed);
    uint64_t all = atomic_load_explicit(&store->env.blob_bytes, memory_order_relaxed);

    return all > live ? all - live : 0;
}

void
brd_store_set_limit(struct brd_store *store, uint64_t bytes)
{
    uint64_t most = bytes / ((uint64_t)REPORT_PART * store->stripes.count);

    if (bytes == 0 || most > REPORT_BYTES_MOST)
        most = REPORT_BYTES_MOST;
    if (most == 0)
        most = 1;
    atomic_store_explicit(&store->env.report_bytes, (int64_t)most, memory_order_relaxed);
    /* Release: who acts on the limit (tell_all) finds what shards may gather under it. */
    atomic_store_explicit(&store->limit, bytes, memory_order_release);
}

/* ---- behind the caller ---- */

uint32_t
brd_store_free_large(struct brd_store *store, uint32_t max)
{
    return graveyard_free_entries(&store->graveyard, max);
}

bool
brd_store_has_graves(const struct brd_store *store)
{
    return graveyard_is_busy(&store->graveyard);
}

uint32_t
brd_store_free_some(struct brd_store *store, uint32_t max)
{
    uint32_t freed = graveyard_free_some(&store->graveyard, &store->env.arena, max);

    if (freed < max)
        (void)arena_trim(&store->env.arena, TRIM_BYTES);
    return freed;
}
