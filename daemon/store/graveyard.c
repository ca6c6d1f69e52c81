/* Freeing behind the caller.
 *
 * Removing a key, replacing a value and clearing a keyspace take the same short
 * time whatever is removed: small entries are freed by the remover when it no
 * longer holds a stripe, the rest is handed over here and freed by one thread
 * in steps that it chooses.
 *
 * A grave is the content of the shards of one clear, tables detached as they
 * were. Entries are freed bucket by bucket; when the last is gone the table's
 * chunks go back to the arena.
 *
 * Threads: taking from any; freeing from one at a time. The lock is held for a
 * few instructions. Bytes are counted here from when they are taken until they
 * are freed; but for large values, which count until nobody sends them either
 * (base/blob.h). */
#include "store/graveyard.h"

#include "store/heap.h"

struct resting {
    struct shard_rest rest;
    struct dir *small; /* in the grave */
};

struct grave {
    struct grave *next;
    uint32_t used;
    uint32_t room;
    uint32_t at;     /* table being emptied */
    uint32_t bucket; /* and its bucket */
    uint64_t bytes;
    struct resting tables[];
};

#define SMALL_DIR_BYTES (sizeof(struct dir) + TABLE_SMALL_DIR * sizeof(_Atomic(void *)))

void
graveyard_init(struct graveyard *graveyard)
{
    memset(graveyard, 0, sizeof(*graveyard));
    brd_mutex_init(&graveyard->lock, BRD_RANK_FREER);
}

void
graveyard_fini(struct graveyard *graveyard, struct arena *arena)
{
    while (graveyard_free_some(graveyard, arena, UINT32_MAX) > 0)
        ;
    BRD_CHECK(atomic_load_explicit(&graveyard->bytes, memory_order_relaxed) == 0);
    brd_mutex_fini(&graveyard->lock);
}

static void
count_freed(struct graveyard *graveyard, uint64_t bytes)
{
    atomic_fetch_sub_explicit(&graveyard->bytes, bytes, memory_order_relaxed);
}

void
graveyard_take_entries(struct graveyard *graveyard, struct brd_entry **chain)
{
    while (*chain != NULL) {
        struct brd_entry *entry = entry_unchain(chain);
        struct brd_blob *blob = entry_blob(entry);

        if (blob == NULL || blob->size < GRAVEYARD_BLOB_MIN) {
            entry_free(entry);
            continue;
        }
        atomic_fetch_add_explicit(&graveyard->bytes, entry_bytes(entry), memory_order_relaxed);
        brd_mutex_lock(&graveyard->lock);
        entry_chain(entry, &graveyard->entries);
        brd_mutex_unlock(&graveyard->lock);
    }
}

struct grave *
grave_create(uint32_t shards)
{
    size_t table_bytes = sizeof(struct grave) + shards * sizeof(struct resting);
    struct grave *grave = heap_alloc_zeroed(table_bytes + shards * SMALL_DIR_BYTES);
    uint32_t i;

    if (grave == NULL)
        return NULL;
    grave->room = shards;
    for (i = 0; i < shards; i++) {
        grave->tables[i].small =
            (struct dir *)(void *)((char *)grave + table_bytes + i * SMALL_DIR_BYTES);
        grave->tables[i].small->cap = TABLE_SMALL_DIR;
    }
    return grave;
}

void
grave_add(struct grave *grave, struct shard *shard, struct shard_env *env, uint64_t version)
{
    struct resting *resting = &grave->tables[grave->used];

    BRD_CHECK(grave->used < grave->room);
    grave->used++;
    shard_detach(shard, env, version, &resting->rest, resting->small);
    grave->bytes += resting->rest.bytes;
}

void
graveyard_take_grave(struct graveyard *graveyard, struct grave *grave)
{
    grave->bytes += heap_size(grave);
    atomic_fetch_add_explicit(&graveyard->bytes, grave->bytes, memory_order_relaxed);
    brd_mutex_lock(&graveyard->lock);
    grave->next = graveyard->graves;
    graveyard->graves = grave;
    brd_mutex_unlock(&graveyard->lock);
}

/* Free up to max entries of the grave; *out_done: nothing is left in it. */
static uint32_t
empty_grave(struct graveyard *graveyard, struct arena *arena, struct grave *grave, uint32_t max,
            bool *out_done)
{
    uint32_t freed = 0;

    *out_done = false;
    for (; grave->at < grave->used; grave->at++, grave->bucket = 0) {
        struct table *table = &grave->tables[grave->at].rest.table;
        uint64_t before = brd_counter_get(&table->bytes);

        for (; grave->bucket < table_buckets(table); grave->bucket++) {
            struct brd_entry *entry;

            while (freed < max && (entry = table_take(table, grave->bucket)) != NULL) {
                count_freed(graveyard, entry_bytes(entry));
                entry_free(entry);
                freed++;
            }
            if (freed == max) {
                count_freed(graveyard, before - brd_counter_get(&table->bytes));
                return freed;
            }
        }
        table_clear(table, arena);
        count_freed(graveyard, before);
    }
    *out_done = true;
    return freed;
}

uint32_t
graveyard_free_entries(struct graveyard *graveyard, uint32_t max)
{
    uint32_t freed;

    for (freed = 0; freed < max; freed++) {
        struct brd_entry *entry = NULL;

        brd_mutex_lock(&graveyard->lock);
        if (graveyard->entries != NULL)
            entry = entry_unchain(&graveyard->entries);
        brd_mutex_unlock(&graveyard->lock);
        if (entry == NULL)
            break;
        count_freed(graveyard, entry_bytes(entry));
        entry_free(entry);
    }
    return freed;
}

uint32_t
graveyard_free_some(struct graveyard *graveyard, struct arena *arena, uint32_t max)
{
    uint32_t freed = 0;

    while (freed < max) {
        struct brd_entry *entry = NULL;
        bool done;

        brd_mutex_lock(&graveyard->lock);
        if (graveyard->entries != NULL) {
            entry = entry_unchain(&graveyard->entries);
        } else if (graveyard->current == NULL && graveyard->graves != NULL) {
            graveyard->current = graveyard->graves;
            graveyard->graves = graveyard->current->next;
        }
        brd_mutex_unlock(&graveyard->lock);
        if (entry != NULL) {
            count_freed(graveyard, entry_bytes(entry));
            entry_free(entry);
            freed++;
            continue;
        }
        if (graveyard->current == NULL)
            break;
        freed += empty_grave(graveyard, arena, graveyard->current, max - freed, &done);
        if (done) {
            count_freed(graveyard, heap_size(graveyard->current));
            free(graveyard->current);
            graveyard->current = NULL;
        }
    }
    return freed;
}
