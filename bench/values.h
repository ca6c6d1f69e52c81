/* What is stored under a key, so that a reader can tell whether it is right.
 *
 *   bytes 0..7    tag: a hash of the key's tag, the length and the nonce
 *   bytes 8..15   nonce, any number
 *   from 16       noise from the place that the nonce names
 *
 * Shorter values are the beginning of a hash of the key alone. So a value of
 * another key, a cut one and a mixture of two are all found. */
#ifndef BENCH_VALUES_H
#define BENCH_VALUES_H

#include "base.h"

#define VALUES_NOISE_BYTES 32768

/* Read-only after values_init; shared by threads. */
struct values {
    uint8_t noise[VALUES_NOISE_BYTES];
};

void values_init(struct values *values);
void values_fill(const struct values *values, uint8_t *out, size_t len, uint64_t key_tag,
                 uint64_t nonce);
bool values_check(const struct values *values, struct span value, uint64_t key_tag);

#endif
