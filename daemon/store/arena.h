/* Memory that hash tables are made of, and that hints may read at any time:
 * chunks of buckets, and the directories by which they are reached.
 *
 * Threads: any; one mutex (BRD_RANK_FREER) inside. */
#ifndef BRD_STORE_ARENA_H
#define BRD_STORE_ARENA_H

#include "base/lock.h"

#include <stdatomic.h>
#include <stddef.h>

#define ARENA_CHUNK_BYTES 4096
#define ARENA_DIR_MAX     512 /* pointers in the largest directory */

struct slab;
struct bucket;

/* A directory: pointers to chunks of this arena, or NULL; of the upper level:
 * pointers to directories. cap never changes while the arena lives, also when
 * the directory is given back and used again. */
struct dir {
    uint32_t cap;
    uint32_t rank;    /* which free list */
    struct dir *next; /* in the free list */
    _Atomic(void *) at[];
};

#define ARENA_DIR_RANKS 8

struct arena {
    struct brd_mutex lock; /* BRD_RANK_FREER */
    struct slab *slabs;    /* owned; by rising address */
    size_t slabs_used;
    size_t slabs_room;
    size_t lowest;                        /* no slab before it has a free chunk */
    struct dir *dirs[2][ARENA_DIR_RANKS]; /* free directories by level and size */
    struct dir *all_dirs;
    uint32_t trims;              /* calls that found nothing */
    _Atomic uint64_t used_bytes; /* of chunks in use; relaxed */
    _Atomic uint64_t idle_bytes; /* of free chunks with pages, and free directories; relaxed */
};

void arena_init(struct arena *arena);

/* Nobody uses or hints at anything in it any more. */
void arena_fini(struct arena *arena);

/* A chunk, 4096-aligned, its bytes undefined, or NULL. Stays readable after it
 * is given back, until the arena ends. */
void *arena_chunk(struct arena *arena);
void arena_chunk_done(struct arena *arena, void *chunk);

/* A directory of at least count places, all NULL, or NULL. level 0 holds
 * chunks, 1 directories: memory of one level never serves the other. */
struct dir *arena_dir(struct arena *arena, unsigned level, size_t count);

/* Give a directory back. */
void arena_dir_done(struct arena *arena, unsigned level, struct dir *dir);

/* Give the system back the pages of chunks that have been free since the last
 * call: at most max_bytes. One thread at a time. Returns bytes given back. */
size_t arena_trim(struct arena *arena, size_t max_bytes);

/* Bytes of a directory. */
static inline size_t
dir_bytes(const struct dir *dir)
{
    return sizeof(*dir) + dir->cap * sizeof(dir->at[0]);
}

#endif
