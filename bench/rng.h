/* Random numbers: xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64.
 *
 * One generator per thread, never shared. Not for secrets. The same seed gives
 * the same run as far as the network allows. */
#ifndef BENCH_RNG_H
#define BENCH_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

/* A bijection of 64-bit numbers that leaves no visible pattern: the finalizer
 * of splitmix64. */
static inline uint64_t
rng_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline void
rng_init(struct rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        rng->s[i] = rng_mix(seed);
        seed += UINT64_C(0x9e3779b97f4a7c15);
    }
}

static inline uint64_t
rng_next(struct rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t product = s[1] * 5;
    uint64_t result = ((product << 7) | (product >> 57)) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return result;
}

/* Scale a random 64-bit number to [0, n): the high half of a product. The bias
 * is below n / 2^64. */
static inline uint64_t
rng_scale(uint64_t random, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)random * n) >> 64);
}

static inline uint64_t
rng_below(struct rng *rng, uint64_t n)
{
    return rng_scale(rng_next(rng), n);
}

/* In [0, 1), 53 bits. */
static inline double
rng_unit(struct rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1.0p-53;
}

#endif
