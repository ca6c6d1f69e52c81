#include "base/hash.h"

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

/* The up to seven bytes behind the last whole word, lowest first. */
static inline uint64_t
load_tail(const uint8_t *at, size_t left)
{
    uint64_t word = 0;

    switch (left) {
    case 7:
        word |= (uint64_t)at[6] << 48;
        /* fall through */
    case 6:
        word |= (uint64_t)at[5] << 40;
        /* fall through */
    case 5:
        word |= (uint64_t)at[4] << 32;
        /* fall through */
    case 4:
        return word | brd_load_le32(at);
    case 3:
        word |= (uint64_t)at[2] << 16;
        /* fall through */
    case 2:
        return word | brd_load_le16(at);
    case 1:
        return at[0];
    default:
        return 0;
    }
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
    word = ((uint64_t)bytes.size << 56) | load_tail(at, left);
    v3 ^= word;
    SIPROUND;
    v0 ^= word;
    v2 ^= 0xff;
    SIPROUND;
    SIPROUND;
    SIPROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}
