/* How many bytes keys and values have: one number or a distribution. */
#ifndef BENCH_SIZES_H
#define BENCH_SIZES_H

#include "base.h"

#define SIZES_WEIGHTS_MAX 64
#define SIZES_BYTES_MAX   (UINT64_C(64) << 20)

enum sizes_kind {
    SIZES_FIXED,
    SIZES_UNIFORM,
    SIZES_LOGNORMAL,
    SIZES_WEIGHTED,
};

struct sizes {
    enum sizes_kind kind;
    uint32_t min; /* smallest and largest size that can come out */
    uint32_t max;
    double median; /* lognormal */
    double sigma;
    unsigned weight_count; /* weighted */
    uint32_t weight_size[SIZES_WEIGHTS_MAX];
    uint64_t weight_sum[SIZES_WEIGHTS_MAX]; /* running sums */
};

/* Understand `text`:
 *
 *   100                       always
 *   64-1024                   uniform, both ends included
 *   64:50,1024:40,16384:10    sizes with weights
 *   lognormal:MEDIAN:SIGMA[:MAX]
 *
 * A size may end in k or m (1024 and 1024^2). false and a sentence if it is
 * none of them, or above SIZES_BYTES_MAX. */
BENCH_MUST_CHECK bool sizes_parse(struct sizes *sizes, const char *text, struct bench_error *error);

/* The size that belongs to a random 64-bit number: the same number gives the
 * same size, so that a key's size can hang on the key. */
uint32_t sizes_at(const struct sizes *sizes, uint64_t random);

/* The mean of the sizes that come out; of a log-normal without the rounding to bytes. */
double sizes_mean(const struct sizes *sizes);

/* A number of bytes with an optional suffix. Moves *text behind it. */
BENCH_MUST_CHECK bool sizes_parse_bytes(const char **text, uint64_t *out_bytes);

#endif
