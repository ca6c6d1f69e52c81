/* Ranks by Zipf's law: rank k of n comes with probability k^-s / sum of i^-s. */
#ifndef BENCH_ZIPF_H
#define BENCH_ZIPF_H

#include "rng.h"

#include <stdint.h>

/* Constants of one distribution; read-only after zipf_init, shared by threads. */
struct zipf {
    uint64_t n;
    double exponent;
    double h_integral_x1;
    double h_integral_n;
    double shortcut;
};

/* n >= 1, exponent >= 0; 0 is uniform. Takes constant time and memory. */
void zipf_init(struct zipf *zipf, uint64_t n, double exponent);

/* A rank in [1, n], 1 the most frequent. */
uint64_t zipf_next(const struct zipf *zipf, struct rng *rng);

#endif
