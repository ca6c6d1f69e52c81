#include "wal/latency.h"

/* Below two rounds of steps each microsecond has a bucket of its own; above, the highest bit
 * and the three behind it choose. */
static unsigned
bucket_of(uint64_t us)
{
    unsigned power;

    if (us > LATENCY_MAX_US)
        us = LATENCY_MAX_US;
    if (us < 2 * LATENCY_STEPS)
        return (unsigned)us;
    power = 63u - (unsigned)__builtin_clzll(us); /* 4 or more */
    return LATENCY_STEPS * (power - 2) + (unsigned)(us >> (power - 3)) % LATENCY_STEPS;
}

/* The longest duration of a bucket. */
static uint64_t
bucket_end_us(unsigned bucket)
{
    unsigned shift;

    if (bucket < 2 * LATENCY_STEPS)
        return bucket;
    shift = bucket / LATENCY_STEPS - 1;
    return ((uint64_t)(LATENCY_STEPS + bucket % LATENCY_STEPS + 1) << shift) - 1;
}

void
latency_add(struct latency *latency, uint64_t us)
{
    brd_counter_add(&latency->counts[bucket_of(us)], 1);
}

void
latency_read(const struct latency *latency, struct latency_counts *out_counts)
{
    unsigned i;

    for (i = 0; i < LATENCY_BUCKETS; i++)
        out_counts->counts[i] = brd_counter_get(&latency->counts[i]);
}

void
latency_subtract(struct latency_counts *counts, const struct latency_counts *earlier)
{
    unsigned i;

    for (i = 0; i < LATENCY_BUCKETS; i++)
        counts->counts[i] -= earlier->counts[i];
}

uint64_t
latency_percentile(const struct latency_counts *counts, uint64_t of_100000)
{
    uint64_t total = 0;
    uint64_t seen = 0;
    uint64_t rank;
    unsigned i;

    for (i = 0; i < LATENCY_BUCKETS; i++)
        total += counts->counts[i];
    if (total == 0)
        return 0;
    /* Rounded up, in two parts: the product would overflow after some years of syncs. */
    rank = total / 100000 * of_100000 + (total % 100000 * of_100000 + 99999) / 100000;
    if (rank == 0)
        rank = 1;
    for (i = 0; seen < rank && i < LATENCY_BUCKETS; i++)
        seen += counts->counts[i];
    return bucket_end_us(i - 1);
}
