/* Which keys are asked for, and what they are called.
 *
 * A key is a number in [0, count). The pattern says how often each comes; the
 * name is `key:` and the number in decimal with leading zeros, as wide as the
 * key's size asks. Sizes hang on the number, so every run names a key alike. */
#ifndef BENCH_KEYS_H
#define BENCH_KEYS_H

#include "base.h"
#include "rng.h"
#include "sizes.h"
#include "zipf.h"

#define KEYS_COUNT_MAX UINT64_C(4294967295)

enum keys_pattern {
    KEYS_UNIFORM,
    KEYS_ZIPF,
    KEYS_SEQUENTIAL,
};

/* Read-only after keys_init; shared by threads. */
struct keys {
    enum keys_pattern pattern;
    uint64_t count;
    unsigned digits; /* that every name needs */
    struct sizes size;
    struct zipf zipf;
    uint64_t stride; /* coprime to count: rank -> key, a permutation */
};

/* Understand uniform, zipf, zipf:EXPONENT, seq. */
BENCH_MUST_CHECK bool keys_parse_pattern(const char *text, enum keys_pattern *out_pattern,
                                         double *out_exponent, struct bench_error *error);

/* A log-normal distribution has hardly any ends of its own: it is cut to what can
 * name `count` keys in at most bytes_max bytes. Others stay as they are: whoever
 * says 3-8 means it. */
void keys_cut_sizes(struct sizes *size, uint64_t count, size_t bytes_max);

/* false and a sentence if the sizes cannot name that many keys. */
BENCH_MUST_CHECK bool
keys_init(struct keys *keys, enum keys_pattern pattern, double exponent, uint64_t count,
          const struct sizes *size, struct bench_error *error);

/* The next key. *sequence is the caller's place in the sequential pattern. */
static inline uint64_t
keys_next(const struct keys *keys, struct rng *rng, uint64_t *sequence)
{
    switch (keys->pattern) {
    case KEYS_UNIFORM:
        break;
    case KEYS_ZIPF:
        /* Ranks are spread over the key numbers, so that hot keys are no
         * neighbours; the hottest is key `stride`. */
        return zipf_next(&keys->zipf, rng) * keys->stride % keys->count;
    case KEYS_SEQUENTIAL: {
        uint64_t key = *sequence;
        *sequence = key + 1 == keys->count ? 0 : key + 1;
        return key;
    }
    }
    return rng_below(rng, keys->count);
}

/* Write the name of a key; returns its length, at most size.max. */
size_t keys_name(const struct keys *keys, uint64_t key, uint8_t *out);

/* What a value of this key is tied to. */
static inline uint64_t
keys_tag(uint64_t key)
{
    return rng_mix(key ^ UINT64_C(0x6b65796b65796b65));
}

#endif
