/* Seeded randomness for the client's tests: the seed comes from $SEED and is
 * printed, so that a failure can be had again. */
#ifndef BRINDLE_TESTS_CLIENT_RANDOM_H
#define BRINDLE_TESTS_CLIENT_RANDOM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t random_state;

static inline void
random_start(void)
{
    const char *seed = getenv("SEED");

    random_state = seed == NULL ? 1 : strtoull(seed, NULL, 10);
    printf("SEED=%llu\n", (unsigned long long)random_state);
    random_state += 0x9e3779b97f4a7c15; /* never 0 */
}

static inline uint64_t
random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static inline size_t
random_below(size_t limit)
{
    return (size_t)(random_next() % limit);
}

/* Numbers of every length, the extremes among them. */
static inline uint64_t
random_number(void)
{
    switch (random_below(8)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return (uint64_t)1 << 63;
    default:
        return random_next() >> random_below(64);
    }
}

#endif
