/* Fingerprints of what was evicted; the layout is drawn in ghosts.h. */
#include "store/ghosts.h"

#include "store/heap.h"

#include <assert.h>
#include <string.h>

#define PLACES       20
#define GHOSTS_EACH  15 /* a bucket, on average */
#define CLOCK_STEPS  64 /* of the 8-bit clock, in one capacity: half of its range at most */
#define GROW_EIGHTHS 10 /* another table when the capacity is wrong by that much */

struct ghost_bucket {
    uint16_t prints[PLACES]; /* 0: empty */
    uint8_t stamps[PLACES];  /* the clock then, in units of the table */
    uint8_t unused[4];
};

static_assert(sizeof(struct ghost_bucket) == BRD_CACHE_LINE, "one line");

struct ghost_table {
    uint64_t capacity;
    uint64_t unit; /* of the stamps, in evictions */
    uint64_t buckets;
    uint8_t unused[BRD_CACHE_LINE - 24];
    struct ghost_bucket at[];
};

static uint64_t
buckets_for(uint64_t capacity)
{
    return capacity / GHOSTS_EACH + 1;
}

uint64_t
ghost_table_bytes_for(uint64_t capacity)
{
    return sizeof(struct ghost_table) + buckets_for(capacity) * sizeof(struct ghost_bucket);
}

struct ghost_table *
ghost_table_create(uint64_t capacity)
{
    size_t bytes = ghost_table_bytes_for(capacity);
    struct ghost_table *table = heap_alloc_aligned(BRD_CACHE_LINE, bytes);

    if (table == NULL)
        return NULL;
    memset(table, 0, bytes);
    table->capacity = capacity;
    table->unit = capacity < CLOCK_STEPS ? 1 : capacity / CLOCK_STEPS;
    table->buckets = buckets_for(capacity);
    return table;
}

void
ghost_table_destroy(struct ghost_table **table)
{
    free(*table);
    *table = NULL;
}

size_t
ghost_table_bytes(const struct ghost_table *table)
{
    return heap_size(table);
}

uint64_t
ghosts_capacity(const struct ghosts *ghosts)
{
    return ghosts->table == NULL ? 0 : ghosts->table->capacity;
}

bool
ghosts_want(const struct ghosts *ghosts, uint64_t capacity)
{
    uint64_t now = ghosts_capacity(ghosts);

    return capacity > now / 8 * GROW_EIGHTHS + GHOSTS_EACH || now > capacity * 2 + GHOSTS_EACH;
}

struct ghost_table *
ghosts_switch(struct ghosts *ghosts, struct ghost_table *table)
{
    struct ghost_table *shed = ghosts->before;

    ghosts->before = ghosts->table;
    ghosts->table = table;
    ghosts->switched = ghosts->clock;
    return shed;
}

struct ghost_table *
ghosts_shed(struct ghosts *ghosts)
{
    struct ghost_table *shed = ghosts->before;

    if (shed == NULL || ghosts->clock - ghosts->switched < shed->capacity)
        return NULL;
    ghosts->before = NULL;
    return shed;
}

static inline struct ghost_bucket *
bucket_of(struct ghost_table *table, uint64_t hash)
{
    return &table->at[(hash >> 32) * table->buckets >> 32];
}

/* Other bits than those that choose the bucket. */
static inline uint16_t
print_of(uint64_t hash)
{
    uint16_t print = (uint16_t)(hash >> 16);

    return print == 0 ? 1 : print;
}

static inline uint8_t
stamp_of(const struct ghost_table *table, uint64_t clock)
{
    return (uint8_t)(clock / table->unit);
}

void
ghosts_note(struct ghosts *ghosts, uint64_t hash)
{
    struct ghost_table *table = ghosts->table;
    struct ghost_bucket *bucket;
    uint8_t oldest_age = 0;
    unsigned oldest = 0;
    uint8_t stamp;
    unsigned i;

    if (table == NULL)
        return;
    ghosts->clock++;
    stamp = stamp_of(table, ghosts->clock);
    bucket = bucket_of(table, hash);
    for (i = 0; i < PLACES; i++) {
        uint8_t age = (uint8_t)(stamp - bucket->stamps[i]);

        if (bucket->prints[i] == 0) {
            oldest = i;
            break;
        }
        if (age >= oldest_age) {
            oldest_age = age;
            oldest = i;
        }
    }
    bucket->prints[oldest] = print_of(hash);
    bucket->stamps[oldest] = stamp;
}

static uint64_t
take_from(struct ghost_table *table, uint64_t clock, uint64_t capacity, uint64_t hash)
{
    struct ghost_bucket *bucket = bucket_of(table, hash);
    uint16_t print = print_of(hash);
    unsigned i;

    for (i = 0; i < PLACES; i++) {
        uint64_t age;

        if (bucket->prints[i] != print)
            continue;
        age = (uint8_t)(stamp_of(table, clock) - bucket->stamps[i]) * table->unit;
        bucket->prints[i] = 0;
        return age <= capacity ? age : GHOST_NEVER;
    }
    return GHOST_NEVER;
}

uint64_t
ghosts_take(struct ghosts *ghosts, uint64_t hash)
{
    uint64_t age;

    if (ghosts->table == NULL)
        return GHOST_NEVER;
    age = take_from(ghosts->table, ghosts->clock, ghosts->table->capacity, hash);
    if (age == GHOST_NEVER && ghosts->before != NULL)
        age = take_from(ghosts->before, ghosts->clock, ghosts->table->capacity, hash);
    return age;
}
