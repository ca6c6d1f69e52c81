/* Keyed hashing: SipHash-1-3, 64 bits.
 *
 * Source: J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF",
 * 2012, with one compression and three finalisation rounds, as Rust and Python
 * use it for their tables. The key is random per process and never logged, so
 * that nobody outside can choose keys that collide. */
#ifndef BRD_BASE_HASH_H
#define BRD_BASE_HASH_H

#include "base/bytes.h"

struct brd_hash_key {
    uint64_t k0;
    uint64_t k1;
};

/* A fresh secret from the kernel. */
struct brd_hash_key brd_hash_key_random(void);

/* The hash of the bytes. Pure; any thread. */
uint64_t brd_hash(const struct brd_hash_key *key, struct brd_bytes bytes);

#endif
