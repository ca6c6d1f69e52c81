#include "base/hash.h"

#include "base/check.h"
#include "base/random.h"

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

#define SIPROUND           \
    do {                   \
        v0 += v1;          \
        v1 = ROTL(v1, 13); \
        v1 ^= v0;          \
        v0 = ROTL(v0, 32); \
        v2 += v3;          \
        v3 = ROTL(v3, 16); \
        v3 ^= v2;          \
        v0 += v3;          \
        v3 = ROTL(v3, 21); \
        v3 ^= v0;          \
        v2 += v1;          \
        v1 = ROTL(v1, 17); \
        v1 ^= v2;          \
        v2 = ROTL(v2, 32); \
    } while (0)

struct brd_hash_key
brd_hash_key_random(void)
{
    struct brd_hash_key key;

    brd_random_fill(&key, sizeof(key));
    return key;
}

/* The left (0 to 7) last of size bytes, the first of them lowest. */
static inline uint64_t
load_tail(const uint8_t *at, size_t left, size_t size)
{
    uint64_t word = 0;

    if (left == 0)
        return 0;
    if (BRD_LIKELY(size >= 8))
        return brd_load_le64(at + left - 8) >> (64 - 8 * left);
    while (left > 0)
        word = word << 8 | at[--left];
    return word;
}

uint64_t
brd_hash(const struct brd_hash_key *key, struct brd_bytes bytes)
{
    uint64_t v0 = key->k0 ^ 0x736f6d6570736575ull;
    uint64_t v1 = key->k1 ^ 0x646f72616e646f6dull;
    uint64_t v2 = key->k0 ^ 0x6c7967656e657261ull;
    uint64_t v3 = key->k1 ^ 0x7465646279746573ull;
    const uint8_t *at = bytes.data;
    size_t left = bytes.size;
    uint64_t word;

    while (left >= 8) {
        word = brd_load_le64(at);
        v3 ^= word;
        SIPROUND;
        v0 ^= word;
        at += 8;
        left -= 8;
    }
    word = ((uint64_t)bytes.size << 56) | load_tail(at, left, bytes.size);
    v3 ^= word;
    SIPROUND;
    v0 ^= word;
    v2 ^= 0xff;
    SIPROUND;
    SIPROUND;
    SIPROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}
