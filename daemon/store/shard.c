/* What a shard does to its table, its deadlines and its counters as one step.
 *
 * Counters have one writer at a time, whoever holds the stripe for writing, and
 * any reader. Bytes are gathered in the shard and added to the store's sum when
 * they pass a threshold, 4 KiB or less where the limit is small, so that the sum's
 * cache line does not move with every write.
 * Blobs are not among them: readers and the log may hold one for longer than its
 * entry lives, so each is counted in the store's sum of blobs from when it is
 * first put until its last reference goes.
 *
 * A shard without entries has no table and no wheel: an idle keyspace costs its
 * shards only. Not here: freeing. What is taken out goes back to the caller,
 * who frees it when the stripe is no longer held. */
#include "store/shard.h"

#include "store/heap.h"

#define REAP_AHEAD 8

void
shard_init(struct shard *shard, struct dir *small)
{
    memset(shard, 0, sizeof(*shard));
    table_init(&shard->table, small);
    atomic_init(&shard->next_deadline, UINT64_MAX);
}

static inline void
count_down(brd_counter *counter, uint64_t n)
{
    brd_counter_add(counter, (uint64_t)0 - n);
}

static inline void
raise_to(brd_counter *counter, uint64_t value)
{
    if (brd_counter_get(counter) < value)
        atomic_store_explicit(counter, value, memory_order_relaxed);
}

static inline void
gather(struct shard *shard, struct shard_env *env, uint64_t more, uint64_t less)
{
    int64_t most = atomic_load_explicit(&env->report_bytes, memory_order_relaxed);

    shard->unreported += (int64_t)(more - less);
    if (BRD_UNLIKELY(shard->unreported >= most || shard->unreported <= -most))
        shard_report(shard, env);
}

static void
drop_expiry(struct shard *shard)
{
    if (shard->expiry == NULL)
        return;
    expiry_destroy(&shard->expiry);
    atomic_store_explicit(&shard->expiry_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&shard->next_deadline, UINT64_MAX, memory_order_relaxed);
}

bool
shard_reserve(struct shard *shard, struct shard_env *env, bool has_deadline)
{
    uint64_t before = shard_table_bytes(shard);
    bool done = true;

    if (has_deadline && (shard->expiry == NULL || BRD_UNLIKELY(expiry_is_narrow(shard->expiry)))) {
        if (shard->expiry == NULL)
            shard->expiry = expiry_create();
        else
            expiry_widen(&shard->expiry);
        done = shard->expiry != NULL;
        atomic_store_explicit(&shard->expiry_bytes, heap_size(shard->expiry), memory_order_relaxed);
    }
    if (done)
        done = table_reserve(&shard->table, &env->arena, &env->secret,
                             brd_counter_get(&shard->entries));
    gather(shard, env, shard_table_bytes(shard), before);
    return done;
}

static void
count_blob(struct shard *shard, struct shard_env *env, struct brd_blob *blob)
{
    uint64_t bytes = brd_blob_footprint(blob);

    brd_blob_count(blob, &env->blob_bytes);
    brd_counter_add(&shard->blob_bytes, bytes);
    atomic_fetch_add_explicit(&env->live_blob_bytes, bytes, memory_order_relaxed);
}

static void
uncount_blobs(struct shard *shard, struct shard_env *env, uint64_t bytes)
{
    count_down(&shard->blob_bytes, bytes);
    atomic_fetch_sub_explicit(&env->live_blob_bytes, bytes, memory_order_relaxed);
}

/* Count a new entry and take up its deadline. Returns its bytes. */
static uint64_t
take_up(struct shard *shard, struct shard_env *env, struct brd_entry *entry, uint64_t now_ms)
{
    uint64_t bytes = entry_bytes(entry);
    uint64_t deadline_ms = entry_deadline(entry);
    struct brd_blob *blob = entry_blob(entry);

    if (BRD_UNLIKELY(blob != NULL))
        count_blob(shard, env, blob);
    brd_counter_add(&shard->entries, 1);
    brd_counter_add(&shard->data_bytes, entry_key(entry).size + entry_value_size(entry));
    brd_counter_add(&shard->entry_bytes, bytes);
    if (deadline_ms == 0)
        return bytes;
    brd_counter_add(&shard->with_deadline, 1);
    if (entry_is_timed(entry)) {
        BRD_CHECK(shard->expiry != NULL);
        expiry_add(shard->expiry, entry, now_ms);
        if (deadline_ms < brd_counter_get(&shard->next_deadline))
            atomic_store_explicit(&shard->next_deadline, deadline_ms, memory_order_relaxed);
    }
    return bytes;
}

/* The opposite; is_linked: the wheel still has it. */
static uint64_t
let_go(struct shard *shard, struct shard_env *env, struct brd_entry *entry, bool is_linked)
{
    uint64_t bytes = entry_bytes(entry);
    struct brd_blob *blob = entry_blob(entry);

    if (BRD_UNLIKELY(blob != NULL))
        uncount_blobs(shard, env, brd_blob_footprint(blob));
    count_down(&shard->entries, 1);
    count_down(&shard->data_bytes, entry_key(entry).size + entry_value_size(entry));
    count_down(&shard->entry_bytes, bytes);
    if (entry_deadline(entry) != 0) {
        count_down(&shard->with_deadline, 1);
        if (is_linked && entry_is_timed(entry)) {
            expiry_remove(shard->expiry, entry);
            if (shard->expiry->count == 0)
                atomic_store_explicit(&shard->next_deadline, UINT64_MAX, memory_order_relaxed);
        }
    }
    return bytes;
}

struct brd_entry *
shard_put(struct shard *shard, struct shard_env *env, uint64_t hash, struct brd_entry *entry,
          uint64_t version, uint64_t deadline_ms, uint64_t now_ms, bool *out_was_live)
{
    struct brd_entry *old;
    struct table_spot spot;
    uint64_t before = 0;
    uint64_t bytes;

    BRD_CHECK(shard->table.claims > 0);
    shard->table.claims--;
    entry->version = version;
    if (entry_has_room_for_deadline(entry) || BRD_UNLIKELY(deadline_ms != 0))
        entry_set_deadline(entry, deadline_ms);
    *out_was_live = false;
    old = table_find(&shard->table, hash, entry_key(entry), &spot);
    if (old != NULL) {
        *out_was_live = !entry_is_expired(old, now_ms);
        before = let_go(shard, env, old, true);
        bucket_set_pointer(spot.bucket, spot.place, entry);
    } else {
        table_insert(&shard->table, hash, entry);
    }
    /* Before it can be counted: those who count have no lock. */
    raise_to(&shard->newest_change, version);
    bytes = take_up(shard, env, entry, now_ms);
    gather(shard, env, bytes, before);
    return old;
}

void
shard_overwrite(struct shard *shard, struct brd_entry *entry, struct brd_bytes value,
                uint64_t version)
{
    uint64_t before = entry_value_size(entry);

    raise_to(&shard->newest_change, version);
    entry_overwrite(entry, value, version);
    if (value.size != before)
        brd_counter_add(&shard->data_bytes, (uint64_t)value.size - before);
}

/* Take the entry at the spot out of table and counters. */
static void
take_out(struct shard *shard, struct shard_env *env, uint64_t hash, struct table_spot spot,
         struct brd_entry *entry, bool is_linked)
{
    uint64_t before = shard_table_bytes(shard);

    before += let_go(shard, env, entry, is_linked);
    table_remove(&shard->table, &env->arena, hash, spot, brd_counter_get(&shard->entries));
    gather(shard, env, shard_table_bytes(shard), before);
}

/* An empty shard keeps neither wheel nor table. */
static void
tidy(struct shard *shard, struct shard_env *env)
{
    uint64_t before = shard_table_bytes(shard);

    if (brd_counter_get(&shard->entries) > 0 || shard->table.claims > 0)
        return;
    drop_expiry(shard);
    table_clear(&shard->table, &env->arena);
    gather(shard, env, shard_table_bytes(shard), before);
    shard_report(shard, env);
}

void
shard_release_slowly(struct shard *shard, struct shard_env *env)
{
    uint64_t before = shard_table_bytes(shard);

    table_drop_spares(&shard->table);
    gather(shard, env, shard_table_bytes(shard), before);
    tidy(shard, env);
}

struct brd_entry *
shard_remove(struct shard *shard, struct shard_env *env, uint64_t hash, struct brd_bytes key,
             uint64_t version, uint64_t now_ms, bool *out_was_live)
{
    struct table_spot spot;
    struct brd_entry *entry = table_find(&shard->table, hash, key, &spot);

    *out_was_live = false;
    if (entry == NULL)
        return NULL;
    raise_to(&shard->newest_removal, version);
    raise_to(&shard->newest_change, version);
    *out_was_live = !entry_is_expired(entry, now_ms);
    take_out(shard, env, hash, spot, entry, true);
    tidy(shard, env);
    return entry;
}

/* An entry that has left the wheel and not yet the table. */
struct doomed {
    struct brd_entry *entry;
    uint64_t hash;
};

/* Nothing of what is reaped is in the cache. So the wheel is some entries ahead
 * of the table: while one entry leaves the table, the next one's memory and the
 * buckets of those between are on their way. */
uint32_t
shard_reap(struct shard *shard, struct shard_env *env, uint64_t now_ms, uint32_t max,
           struct brd_entry **chain, bool *out_done)
{
    struct doomed doomed[REAP_AHEAD];
    uint32_t budget = max + 64;
    uint32_t popped = 0;
    uint32_t reaped = 0;
    uint64_t next_ms = UINT64_MAX;
    bool more = true;

    *out_done = true;
    if (shard->expiry == NULL || brd_counter_get(&shard->next_deadline) > now_ms)
        return 0;
    while (more || reaped < popped) {
        struct doomed *at = &doomed[popped % REAP_AHEAD];
        struct table_spot spot;

        at->entry =
            more && popped < max ? expiry_pop(shard->expiry, now_ms, &budget, &next_ms) : NULL;
        more = at->entry != NULL;
        if (more) {
            at->hash = brd_hash(&env->secret, entry_key(at->entry));
            table_hint_bucket(&shard->table, at->hash);
            if (++popped - reaped < REAP_AHEAD)
                continue;
        } else if (reaped == popped) {
            break;
        }
        at = &doomed[reaped++ % REAP_AHEAD];
        BRD_CHECK(table_find(&shard->table, at->hash, entry_key(at->entry), &spot) == at->entry);
        raise_to(&shard->newest_removal, at->entry->version);
        take_out(shard, env, at->hash, spot, at->entry, false);
        entry_chain(at->entry, chain);
    }
    expiry_settle(shard->expiry);
    *out_done = reaped < max && budget > 0;
    if (*out_done)
        atomic_store_explicit(&shard->next_deadline, next_ms, memory_order_relaxed);
    tidy(shard, env);
    return reaped;
}

struct brd_entry *
shard_nearest(struct shard *shard)
{
    struct brd_entry *entry;
    uint64_t bound_ms;

    if (shard->expiry == NULL)
        return NULL;
    entry = expiry_nearest(shard->expiry, &bound_ms);
    /* A reaper that stopped at its last entry has not looked whether there are more. */
    raise_to(&shard->next_deadline, entry != NULL ? bound_ms : UINT64_MAX);
    return entry;
}

/* Count nothing any more: all was removed at this version. The store is told at
 * once: whoever has cleared everything finds the sum that an empty one has. */
static void
forget(struct shard *shard, struct shard_env *env, uint64_t version)
{
    raise_to(&shard->newest_removal, version);
    raise_to(&shard->newest_change, version);
    atomic_store_explicit(&shard->entries, 0, memory_order_relaxed);
    atomic_store_explicit(&shard->with_deadline, 0, memory_order_relaxed);
    atomic_store_explicit(&shard->data_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&shard->entry_bytes, 0, memory_order_relaxed);
    uncount_blobs(shard, env, brd_counter_get(&shard->blob_bytes));
    shard_report(shard, env);
}

void
shard_detach(struct shard *shard, struct shard_env *env, uint64_t version,
             struct shard_rest *out_rest, struct dir *out_small)
{
    out_rest->entries = brd_counter_get(&shard->entries);
    out_rest->bytes = brd_counter_get(&shard->entry_bytes) + brd_counter_get(&shard->table.bytes);
    gather(shard, env, 0, out_rest->bytes + brd_counter_get(&shard->expiry_bytes));
    table_move(&shard->table, &out_rest->table, out_small);
    drop_expiry(shard);
    forget(shard, env, version);
}

/* Free all entries and the table; counters other than bytes stay. */
static void
free_content(struct shard *shard, struct shard_env *env)
{
    uint64_t before = shard_table_bytes(shard) + brd_counter_get(&shard->entry_bytes);
    struct brd_entry *entry;
    uint32_t i;

    shard->table.claims = 0;
    for (i = 0; i < table_buckets(&shard->table); i++)
        while ((entry = table_take(&shard->table, i)) != NULL)
            entry_free(entry);
    drop_expiry(shard);
    table_clear(&shard->table, &env->arena);
    gather(shard, env, 0, before);
}

void
shard_empty(struct shard *shard, struct shard_env *env, uint64_t version)
{
    free_content(shard, env);
    forget(shard, env, version);
}

void
shard_fini(struct shard *shard, struct shard_env *env)
{
    free_content(shard, env);
    shard_report(shard, env);
}
