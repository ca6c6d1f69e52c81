/* Chunks and directories: memory that never goes away under a reader.
 *
 * Before a worker executes a batch of requests it hints at their buckets and
 * entries without any lock. What such a hint finds may be out of date or torn,
 * which is harmless for a prefetch; but the memory it reads must be there.
 *
 *   slab: 2 MiB of the system's, 2 MiB aligned (so that huge pages can serve it)
 *   +--------+--------+--------+----- ... -----+--------+
 *   | chunk  | chunk  | chunk  |  512 of 4 KiB | chunk  |
 *   +--------+--------+--------+----- ... -----+--------+
 *
 * A slab is unmapped only with the arena. When it has no chunk in use its pages
 * are given back to the system (they read as zeros then), its addresses stay.
 * Chunks are taken from the lowest slab that has one: tables that shrink give
 * back their newest chunks, so whole slabs empty at the upper end.
 *
 * Directories are type-stable: one that was given back is used again as a
 * directory of the same level and size, so that a late reader finds in it
 * pointers to chunks (of whatever table), or NULL, and never anything else.
 *
 * Not malloc: it may unmap what is freed, and it spreads 4 KiB blocks among
 * everything else, where huge pages do not help. */
#include "store/arena.h"

#include "store/heap.h"

#include <string.h>
#include <sys/mman.h>

#define SLAB_BYTES  ((size_t)2 << 20)
#define SLAB_CHUNKS (SLAB_BYTES / ARENA_CHUNK_BYTES)

struct slab {
    uint8_t *base;
    uint32_t free_count;
    bool touched; /* the system may hold pages for it */
    uint64_t free[SLAB_CHUNKS / 64];
};

void
arena_init(struct arena *arena)
{
    memset(arena, 0, sizeof(*arena));
    brd_mutex_init(&arena->lock, BRD_RANK_FREER);
}

void
arena_fini(struct arena *arena)
{
    size_t i;

    for (i = 0; i < arena->slabs_used; i++) {
        BRD_CHECK(arena->slabs[i].free_count == SLAB_CHUNKS);
        munmap(arena->slabs[i].base, SLAB_BYTES);
    }
    free(arena->slabs);
    while (arena->all_dirs != NULL) {
        struct dir *dir = arena->all_dirs;

        arena->all_dirs = atomic_load_explicit(&dir->at[dir->cap], memory_order_relaxed);
        free(dir);
    }
    brd_mutex_fini(&arena->lock);
}

/* 2 MiB of addresses, aligned, or NULL. */
static uint8_t *
map_slab(void)
{
    uint8_t *at;
    size_t lead;

    if (heap_fails())
        return NULL;
    at = mmap(NULL, 2 * SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    lead = (SLAB_BYTES - (uintptr_t)at % SLAB_BYTES) % SLAB_BYTES;
    if (lead > 0)
        munmap(at, lead);
    munmap(at + lead + SLAB_BYTES, SLAB_BYTES - lead);
    return at + lead;
}

/* The first slab at or behind address. The lock is held. */
static size_t
slab_at(const struct arena *arena, const uint8_t *address)
{
    size_t low = 0;
    size_t high = arena->slabs_used;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (arena->slabs[middle].base < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* One more slab, or NULL. The lock is held. */
static struct slab *
add_slab(struct arena *arena)
{
    struct slab *slab;
    uint8_t *base;
    size_t i;

    if (arena->slabs_used == arena->slabs_room) {
        size_t room = arena->slabs_room == 0 ? 8 : 2 * arena->slabs_room;
        struct slab *slabs = heap_alloc(room * sizeof(*slabs));

        if (slabs == NULL)
            return NULL;
        if (arena->slabs_used > 0)
            memcpy(slabs, arena->slabs, arena->slabs_used * sizeof(*slabs));
        free(arena->slabs);
        arena->slabs = slabs;
        arena->slabs_room = room;
    }
    base = map_slab();
    if (base == NULL)
        return NULL;
    i = slab_at(arena, base);
    slab = &arena->slabs[i];
    memmove(slab + 1, slab, (arena->slabs_used - i) * sizeof(*slab));
    arena->slabs_used++;
    arena->lowest = i;
    *slab = (struct slab){ .base = base, .free_count = SLAB_CHUNKS };
    memset(slab->free, 0xff, sizeof(slab->free));
    return slab;
}

void *
arena_chunk(struct arena *arena)
{
    struct slab *slab = NULL;
    void *chunk = NULL;
    size_t i;

    brd_mutex_lock(&arena->lock);
    for (; arena->lowest < arena->slabs_used; arena->lowest++) {
        if (arena->slabs[arena->lowest].free_count > 0) {
            slab = &arena->slabs[arena->lowest];
            break;
        }
    }
    if (slab == NULL)
        slab = add_slab(arena);
    if (slab != NULL) {
        for (i = 0; slab->free[i] == 0; i++)
            ;
        chunk = slab->base + (i * 64 + (size_t)__builtin_ctzll(slab->free[i])) * ARENA_CHUNK_BYTES;
        slab->free[i] &= slab->free[i] - 1;
        slab->free_count--;
        slab->touched = true;
    }
    brd_mutex_unlock(&arena->lock);
    return chunk;
}

void
arena_chunk_done(struct arena *arena, void *chunk)
{
    const uint8_t *base = (const uint8_t *)((uintptr_t)chunk & ~(uintptr_t)(SLAB_BYTES - 1));
    size_t number = ((uintptr_t)chunk - (uintptr_t)base) / ARENA_CHUNK_BYTES;
    uint64_t bit = UINT64_C(1) << (number % 64);
    struct slab *slab;
    size_t i;

    brd_mutex_lock(&arena->lock);
    i = slab_at(arena, base);
    BRD_CHECK(i < arena->slabs_used);
    slab = &arena->slabs[i];
    BRD_CHECK(slab->base == base);
    BRD_CHECK((slab->free[number / 64] & bit) == 0);
    slab->free[number / 64] |= bit;
    slab->free_count++;
    if (i < arena->lowest)
        arena->lowest = i;
    brd_mutex_unlock(&arena->lock);
}

struct dir *
arena_dir(struct arena *arena, unsigned level, size_t count)
{
    struct dir *dir;
    uint32_t rank = 0;
    uint32_t cap = 4;
    uint32_t i;

    while (cap < count) {
        cap *= 4;
        rank++;
    }
    if (level == 0 && cap > ARENA_DIR_MAX)
        cap = ARENA_DIR_MAX;
    BRD_CHECK(rank < ARENA_DIR_RANKS && cap >= count);
    brd_mutex_lock(&arena->lock);
    dir = arena->dirs[level][rank];
    if (dir != NULL) {
        arena->dirs[level][rank] = dir->next;
    } else {
        /* One more place, behind the others: the list of all directories. */
        dir = heap_alloc_zeroed(sizeof(*dir) + (cap + 1) * sizeof(dir->at[0]));
        if (dir != NULL) {
            dir->cap = cap;
            dir->rank = rank;
            atomic_init(&dir->at[cap], arena->all_dirs);
            arena->all_dirs = dir;
        }
    }
    brd_mutex_unlock(&arena->lock);
    if (dir != NULL)
        for (i = 0; i < cap; i++)
            BRD_DCHECK(atomic_load_explicit(&dir->at[i], memory_order_relaxed) == NULL);
    return dir;
}

void
arena_dir_done(struct arena *arena, unsigned level, struct dir *dir)
{
    uint32_t i;

    for (i = 0; i < dir->cap; i++)
        atomic_store_explicit(&dir->at[i], NULL, memory_order_relaxed);
    brd_mutex_lock(&arena->lock);
    dir->next = arena->dirs[level][dir->rank];
    arena->dirs[level][dir->rank] = dir;
    brd_mutex_unlock(&arena->lock);
}

void
arena_trim(struct arena *arena)
{
    bool kept = false;
    size_t i;

    brd_mutex_lock(&arena->lock);
    for (i = 0; i < arena->slabs_used; i++) {
        struct slab *slab = &arena->slabs[i];
        uint8_t *base = slab->base;

        if (slab->free_count < SLAB_CHUNKS || !slab->touched)
            continue;
        if (!kept) {
            kept = true;
            continue;
        }
        /* Nobody waits for the system: the slab looks full meanwhile. */
        slab->free_count = 0;
        memset(slab->free, 0, sizeof(slab->free));
        brd_mutex_unlock(&arena->lock);
        madvise(base, SLAB_BYTES, MADV_DONTNEED);
        brd_mutex_lock(&arena->lock);
        i = slab_at(arena, base);
        slab = &arena->slabs[i];
        slab->free_count = SLAB_CHUNKS;
        memset(slab->free, 0xff, sizeof(slab->free));
        slab->touched = false;
        if (i < arena->lowest)
            arena->lowest = i;
    }
    brd_mutex_unlock(&arena->lock);
}
