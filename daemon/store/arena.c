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
 * A slab is unmapped only with the arena. The pages of free chunks are given back
 * to the system (they read as zeros then), their addresses stay. That happens to
 * chunks that have been free for a while (TRIM_CALLS to twice as many calls of
 * arena_trim), so that a table that shrinks and grows again keeps its pages; and
 * to single chunks too, because tables shrink shard by shard, and what 1,024 of
 * them give back lies scattered over all slabs. Chunks are taken from the lowest
 * slab that has one.
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

#define SLAB_WORDS (SLAB_CHUNKS / 64)

#define TRIM_CALLS 8

/* A bit for each chunk. */
struct slab {
    uint8_t *base;
    uint32_t free_count;
    uint64_t free[SLAB_WORDS];
    uint64_t paged[SLAB_WORDS];  /* was in use: has pages */
    uint64_t rested[SLAB_WORDS]; /* free and paged when arena_trim last looked around */
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
    /* A wish, which the process may forbid for all its memory (main.c). */
    (void)madvise(at + lead, SLAB_BYTES, MADV_HUGEPAGE);
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
    memset(slab, 0, sizeof(*slab));
    slab->base = base;
    slab->free_count = SLAB_CHUNKS;
    memset(slab->free, 0xff, sizeof(slab->free));
    return slab;
}

static void
count_idle(struct arena *arena, size_t more, size_t less)
{
    atomic_fetch_add_explicit(&arena->idle_bytes, (uint64_t)more - (uint64_t)less,
                              memory_order_relaxed);
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
        uint64_t bit;

        for (i = 0; slab->free[i] == 0; i++)
            ;
        chunk = slab->base + (i * 64 + (size_t)__builtin_ctzll(slab->free[i])) * ARENA_CHUNK_BYTES;
        bit = slab->free[i] & -slab->free[i];
        slab->free[i] &= ~bit;
        slab->free_count--;
        atomic_fetch_add_explicit(&arena->used_bytes, ARENA_CHUNK_BYTES, memory_order_relaxed);
        if ((slab->paged[i] & bit) != 0)
            count_idle(arena, 0, ARENA_CHUNK_BYTES);
        slab->paged[i] |= bit;
        slab->rested[i] &= ~bit;
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
    atomic_fetch_sub_explicit(&arena->used_bytes, ARENA_CHUNK_BYTES, memory_order_relaxed);
    count_idle(arena, ARENA_CHUNK_BYTES, 0);
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
        count_idle(arena, 0, dir_bytes(dir));
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
    count_idle(arena, dir_bytes(dir), 0);
    dir->next = arena->dirs[level][dir->rank];
    arena->dirs[level][dir->rank] = dir;
    brd_mutex_unlock(&arena->lock);
}

/* Chunks of the slab whose pages may go now; those that it gives stay out of
 * free meanwhile, so that nobody takes them. The lock is held. */
static size_t
take_rested(struct slab *slab, size_t max, uint64_t out_taken[SLAB_WORDS])
{
    size_t taken = 0;
    size_t i;

    for (i = 0; i < SLAB_WORDS; i++) {
        out_taken[i] = taken < max ? slab->free[i] & slab->paged[i] & slab->rested[i] : 0;
        slab->free[i] &= ~out_taken[i];
        taken += (size_t)__builtin_popcountll(out_taken[i]);
    }
    slab->free_count -= (uint32_t)taken;
    return taken;
}

/* Give the pages of the chunks back, run by run. */
static void
drop_pages(uint8_t *base, const uint64_t taken[SLAB_WORDS])
{
    size_t from = 0;
    size_t to;

    for (; from < SLAB_CHUNKS; from = to + 1) {
        for (to = from; to < SLAB_CHUNKS && (taken[to / 64] >> to % 64 & 1) != 0; to++)
            ;
        if (to > from)
            madvise(base + from * ARENA_CHUNK_BYTES, (to - from) * ARENA_CHUNK_BYTES,
                    MADV_DONTNEED);
    }
}

static void
look_around(struct arena *arena)
{
    size_t i;
    size_t j;

    for (i = 0; i < arena->slabs_used; i++)
        for (j = 0; j < SLAB_WORDS; j++)
            arena->slabs[i].rested[j] = arena->slabs[i].free[j] & arena->slabs[i].paged[j];
}

size_t
arena_trim(struct arena *arena, size_t max_bytes)
{
    size_t left = max_bytes / ARENA_CHUNK_BYTES;
    size_t done = 0;
    size_t i;
    size_t j;

    brd_mutex_lock(&arena->lock);
    for (i = 0; i < arena->slabs_used && done < left; i++) {
        uint8_t *base = arena->slabs[i].base;
        uint64_t taken[SLAB_WORDS];
        size_t count = take_rested(&arena->slabs[i], left - done, taken);

        if (count == 0)
            continue;
        /* Nobody waits for the system. */
        brd_mutex_unlock(&arena->lock);
        drop_pages(base, taken);
        brd_mutex_lock(&arena->lock);
        i = slab_at(arena, base);
        for (j = 0; j < SLAB_WORDS; j++) {
            arena->slabs[i].free[j] |= taken[j];
            arena->slabs[i].paged[j] &= ~taken[j];
        }
        arena->slabs[i].free_count += (uint32_t)count;
        if (i < arena->lowest)
            arena->lowest = i;
        count_idle(arena, 0, count * ARENA_CHUNK_BYTES);
        done += count;
    }
    if (done == 0 && ++arena->trims % TRIM_CALLS == 0)
        look_around(arena);
    brd_mutex_unlock(&arena->lock);
    return done * ARENA_CHUNK_BYTES;
}
