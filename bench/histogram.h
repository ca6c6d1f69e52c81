/* Latencies: counts per value range, three significant digits, 1 ns to 1 h.
 *
 * Not thread-safe: one per thread, merged at the end. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include "base.h"

#include <stdint.h>
#include <stdio.h>

#define HISTOGRAM_VALUE_MAX UINT64_C(3600000000000) /* larger values count as this */

struct histogram;

/* NULL if there is no memory. */
struct histogram *histogram_create(void);
void histogram_destroy(struct histogram **histogram);
void histogram_reset(struct histogram *histogram);

void histogram_record(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);

uint64_t histogram_count(const struct histogram *histogram);
/* Exact; 0 where nothing was recorded. */
uint64_t histogram_min(const struct histogram *histogram);
uint64_t histogram_max(const struct histogram *histogram);
double histogram_mean(const struct histogram *histogram);

/* The smallest recorded range below or at whose end at least `percent` of the
 * values lie; its end, but never more than the maximum. 0 where nothing was
 * recorded. percent in [0, 100]. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);

/* One line `value_ns count` for each range that is not empty, ascending, the
 * value being the end of the range. Returns false if writing failed. */
bool histogram_dump(const struct histogram *histogram, const char *title, FILE *file);

#endif
