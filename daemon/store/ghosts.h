/* What was evicted lately: fingerprints without keys.
 *
 * A table of buckets of one cache line, twenty places each: 16 bits of the hash
 * and the moment of the eviction, on a clock that counts evictions. A new ghost
 * takes an empty place or that of the oldest in its bucket. With fifteen ghosts
 * a bucket one costs 4.3 bytes; about 9 in 100 leave before their time, all of
 * them old; a key that is no ghost is taken for one in 1 of 4,000 look-ups.
 *
 * The table follows the size of the cache: a new one takes what is evicted from
 * then on, and the one before is looked into until all in it is too old. So
 * nothing is ever copied.
 *
 * The idea of a table of fingerprints with times instead of a list is from the
 * paper on S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi, SOSP 2023).
 *
 * Never locks: the owner's lock. */
#ifndef BRD_STORE_GHOSTS_H
#define BRD_STORE_GHOSTS_H

#include "base/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GHOST_NEVER UINT64_MAX

struct ghost_table;

struct ghosts {
    struct ghost_table *table;  /* owned; or NULL */
    struct ghost_table *before; /* owned; or NULL */
    uint64_t clock;             /* evictions noted */
    uint64_t switched;          /* the clock when before was replaced */
};

/* A table for so many, or NULL where memory is out. */
struct ghost_table *ghost_table_create(uint64_t capacity);
void ghost_table_destroy(struct ghost_table **table);

/* What the allocator gave. NULL: 0. */
size_t ghost_table_bytes(const struct ghost_table *table);

/* About how many bytes a table for so many takes. */
uint64_t ghost_table_bytes_for(uint64_t capacity);

/* Whether there should be another table, to hold so many. */
bool ghosts_want(const struct ghosts *ghosts, uint64_t capacity);

/* Use this table from now on. Takes it over. Returns one that is no longer
 * needed, the caller's now, or NULL. */
struct ghost_table *ghosts_switch(struct ghosts *ghosts, struct ghost_table *table);

/* The table before, where all in it is too old, the caller's now; or NULL. */
struct ghost_table *ghosts_shed(struct ghosts *ghosts);

/* Note an eviction. Nothing happens where there is no table. */
void ghosts_note(struct ghosts *ghosts, uint64_t hash);

/* How many evictions ago this hash was noted, to within 1/64 of the capacity;
 * GHOST_NEVER: not among the last capacity. It is no ghost any more then. */
uint64_t ghosts_take(struct ghosts *ghosts, uint64_t hash);

/* How many there are at most. */
uint64_t ghosts_capacity(const struct ghosts *ghosts);

#endif
