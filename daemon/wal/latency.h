/* How long something took: a histogram that one thread fills and any thread reads.
 *
 * Durations in microseconds fall into buckets of an eighth of a power of two, so a
 * percentile is exact below 16 us and at most 1/8 too large above. What is longer than
 * LATENCY_MAX_US counts as that long. No lock: a reader sees each count at some moment. */
#ifndef BRD_WAL_LATENCY_H
#define BRD_WAL_LATENCY_H

#include "base/counter.h"

#define LATENCY_STEPS   8u /* of one power of two */
#define LATENCY_POWERS  32u
#define LATENCY_BUCKETS (LATENCY_STEPS * (LATENCY_POWERS + 1))
#define LATENCY_MAX_US  ((UINT64_C(1) << (LATENCY_POWERS + 3)) - 1) /* nine hours */

struct latency {
    brd_counter counts[LATENCY_BUCKETS];
};

/* The counts of a moment, for differences. */
struct latency_counts {
    uint64_t counts[LATENCY_BUCKETS];
};

/* The one writer. */
void latency_add(struct latency *latency, uint64_t us);

void latency_read(const struct latency *latency, struct latency_counts *out_counts);

/* counts -= earlier, of the same histogram. */
void latency_subtract(struct latency_counts *counts, const struct latency_counts *earlier);

/* The shortest duration, in us, that so many of 100,000 did not exceed: 99,900 for p99.9.
 * The upper bound of its bucket; 0 where nothing was counted. */
uint64_t latency_percentile(const struct latency_counts *counts, uint64_t of_100000);

#endif
