/* Log-linear histogram, after the idea of HdrHistogram (Gil Tene; public domain
 * and BSD): every power of two is cut into equally wide ranges, so that the
 * relative width is bounded.
 *
 *   value            width of a range   index
 *   0    .. 2047     1                  value
 *   2048 .. 4095     2                  1024 + value / 2
 *   4096 .. 8191     4                  2 * 1024 + value / 4
 *   ...
 *
 * 1024 ranges for each power of two above the first: the width is below 1/1024
 * of the value, which is three significant digits. 33 such groups reach 1 h.
 * Minimum, maximum and sum are kept exactly. */
#include "histogram.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HALF_BITS 10
#define HALF      (UINT64_C(1) << HALF_BITS)
#define GROUPS    33
#define RANGES    ((GROUPS + 1) * HALF)

struct histogram {
    uint64_t count;
    uint64_t min;
    uint64_t max;
    double sum;
    uint64_t counts[RANGES];
};

static inline size_t
range_of(uint64_t value)
{
    if (value < 2 * HALF)
        return (size_t)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HALF_BITS;
    return (size_t)(shift * HALF + (value >> shift));
}

/* The largest value of a range. */
static uint64_t
range_end(size_t range)
{
    if (range < 2 * HALF)
        return range;
    unsigned shift = (unsigned)(range >> HALF_BITS) - 1;
    uint64_t top = range - shift * HALF;
    return ((top + 1) << shift) - 1;
}

struct histogram *
histogram_create(void)
{
    struct histogram *histogram = calloc(1, sizeof(*histogram));
    if (histogram != NULL)
        histogram->min = UINT64_MAX;
    return histogram;
}

void
histogram_destroy(struct histogram **histogram)
{
    free(*histogram);
    *histogram = NULL;
}

void
histogram_reset(struct histogram *histogram)
{
    memset(histogram, 0, sizeof(*histogram));
    histogram->min = UINT64_MAX;
}

void
histogram_record(struct histogram *histogram, uint64_t value)
{
    if (value > HISTOGRAM_VALUE_MAX)
        value = HISTOGRAM_VALUE_MAX;
    histogram->count++;
    histogram->sum += (double)value;
    if (value < histogram->min)
        histogram->min = value;
    if (value > histogram->max)
        histogram->max = value;
    histogram->counts[range_of(value)]++;
}

void
histogram_merge(struct histogram *into, const struct histogram *from)
{
    into->count += from->count;
    into->sum += from->sum;
    if (from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
    for (size_t i = 0; i < RANGES; i++)
        into->counts[i] += from->counts[i];
}

uint64_t
histogram_count(const struct histogram *histogram)
{
    return histogram->count;
}

uint64_t
histogram_min(const struct histogram *histogram)
{
    return histogram->count == 0 ? 0 : histogram->min;
}

uint64_t
histogram_max(const struct histogram *histogram)
{
    return histogram->max;
}

double
histogram_mean(const struct histogram *histogram)
{
    return histogram->count == 0 ? 0.0 : histogram->sum / (double)histogram->count;
}

uint64_t
histogram_percentile(const struct histogram *histogram, double percent)
{
    if (histogram->count == 0)
        return 0;
    BENCH_CHECK(percent >= 0.0 && percent <= 100.0);

    /* The rank of the wanted value, from 1; rounded up, as in "at least", but not
     * for the sake of a rounding error: 99.9 % of 2000 is 1998. */
    double exact = percent / 100.0 * (double)histogram->count * (1.0 - 1e-12);
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact)
        rank++;
    if (rank == 0)
        rank = 1;
    if (rank > histogram->count)
        rank = histogram->count;

    uint64_t seen = 0;
    for (size_t i = 0; i < RANGES; i++) {
        seen += histogram->counts[i];
        if (seen >= rank) {
            uint64_t end = range_end(i);
            return end < histogram->max ? end : histogram->max;
        }
    }
    return histogram->max;
}

bool
histogram_dump(const struct histogram *histogram, const char *title, FILE *file)
{
    fprintf(file, "# %s: latency_ns count\n", title);
    for (size_t i = 0; i < RANGES; i++) {
        if (histogram->counts[i] != 0)
            fprintf(file, "%" PRIu64 " %" PRIu64 "\n", range_end(i), histogram->counts[i]);
    }
    return ferror(file) == 0;
}
