/* SipHash-1-3 against a plain implementation of the paper's text, which is
 * checked with the paper's own vector first. */
#include "base/hash.h"
#include "base_test.h"

static uint64_t
rotated(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static void
sip_rounds(uint64_t v[4], int rounds)
{
    while (rounds-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotated(v[1], 13) ^ v[0];
        v[3] = rotated(v[3], 16) ^ v[2];
        v[0] = rotated(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotated(v[1], 17) ^ v[2];
        v[3] = rotated(v[3], 21) ^ v[0];
        v[2] = rotated(v[2], 32);
    }
}

static uint64_t
siphash(int c, int d, const struct brd_hash_key *key, const uint8_t *data, size_t size)
{
    uint64_t v[4] = {
        key->k0 ^ UINT64_C(0x736f6d6570736575),
        key->k1 ^ UINT64_C(0x646f72616e646f6d),
        key->k0 ^ UINT64_C(0x6c7967656e657261),
        key->k1 ^ UINT64_C(0x7465646279746573),
    };
    size_t word;

    for (word = 0; word <= size / 8; word++) {
        uint64_t m = 0;
        size_t i;

        for (i = 0; i < 8 && word * 8 + i < size; i++)
            m |= (uint64_t)data[word * 8 + i] << 8 * i;
        if (word == size / 8)
            m |= (uint64_t)size << 56;
        v[3] ^= m;
        sip_rounds(v, c);
        v[0] ^= m;
    }
    v[2] ^= 0xff;
    sip_rounds(v, d);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static const struct brd_hash_key paper_key = { UINT64_C(0x0706050403020100),
                                               UINT64_C(0x0f0e0d0c0b0a0908) };

START_TEST(the_plain_implementation_gives_the_papers_vector)
{
    uint8_t data[15];
    uint8_t i;

    for (i = 0; i < sizeof(data); i++)
        data[i] = i;
    ck_assert_uint_eq(siphash(2, 4, &paper_key, data, sizeof(data)), UINT64_C(0xa129ca6149be45e5));
}
END_TEST

START_TEST(every_length_hashes_as_siphash_1_3)
{
    uint8_t data[601];
    size_t size;

    for (size = 0; size < sizeof(data); size++)
        data[size] = (uint8_t)(size * 167 + 13);
    /* From an odd address too, right up to the end of the array. */
    for (size = 0; size <= 600; size++) {
        const uint8_t *at = data + sizeof(data) - size;

        ck_assert_uint_eq(brd_hash(&paper_key, brd_bytes(data, size)),
                          siphash(1, 3, &paper_key, data, size));
        ck_assert_uint_eq(brd_hash(&paper_key, brd_bytes(at, size)),
                          siphash(1, 3, &paper_key, at, size));
    }
    ck_assert_uint_eq(brd_hash(&paper_key, brd_bytes(NULL, 0)), siphash(1, 3, &paper_key, data, 0));
}
END_TEST

START_TEST(two_random_keys_differ_and_so_do_their_hashes)
{
    struct brd_hash_key a = brd_hash_key_random();
    struct brd_hash_key b = brd_hash_key_random();

    ck_assert(a.k0 != b.k0 && a.k1 != b.k1);
    ck_assert_uint_ne(brd_hash(&a, brd_bytes_of("key")), brd_hash(&b, brd_bytes_of("key")));
}
END_TEST

RUN_TESTS("hash", { the_plain_implementation_gives_the_papers_vector, 0 },
          { every_length_hashes_as_siphash_1_3, 0 },
          { two_random_keys_differ_and_so_do_their_hashes, 0 })
