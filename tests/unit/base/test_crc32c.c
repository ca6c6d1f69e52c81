/* CRC-32C: the vectors of RFC 3720, B.4, a bitwise implementation, and parts. */
#include "base/crc32c.h"
#include "base_test.h"

#include <stdlib.h>
#include <string.h>

static uint32_t
bit_by_bit(const uint8_t *data, size_t size)
{
    uint32_t crc = 0xffffffff;
    size_t i;
    int bit;

    for (i = 0; i < size; i++) {
        crc ^= data[i];
        for (bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

START_TEST(the_vectors_of_the_rfc_hold)
{
    uint8_t data[32];
    uint8_t i;

    ck_assert_uint_eq(brd_crc32c(0, "123456789", 9), 0xe3069283);
    memset(data, 0, sizeof(data));
    ck_assert_uint_eq(brd_crc32c(0, data, sizeof(data)), 0x8a9136aa);
    memset(data, 0xff, sizeof(data));
    ck_assert_uint_eq(brd_crc32c(0, data, sizeof(data)), 0x62a8ab43);
    for (i = 0; i < sizeof(data); i++)
        data[i] = i;
    ck_assert_uint_eq(brd_crc32c(0, data, sizeof(data)), 0x46dd794e);
    for (i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(31 - i);
    ck_assert_uint_eq(brd_crc32c(0, data, sizeof(data)), 0x113fdb5c);
    ck_assert_uint_eq(brd_crc32c(0, NULL, 0), 0);
}
END_TEST

START_TEST(any_two_parts_give_the_sum_of_the_whole)
{
    uint8_t data[700];
    size_t i;

    for (i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 31 + i / 7);
    for (i = 0; i <= sizeof(data); i++) {
        uint32_t first = brd_crc32c(0, data, i);

        ck_assert_uint_eq(first, bit_by_bit(data, i));
        ck_assert_uint_eq(brd_crc32c(first, data + i, sizeof(data) - i),
                          bit_by_bit(data, sizeof(data)));
    }
}
END_TEST

START_TEST(a_difference_before_a_stretch_is_shifted_behind_it)
{
    static const uint32_t sizes[] = { 0,   1,   2,     7,     8,       9,       255,           256,
                                      257, 300, 65535, 65536, 1000003, 1 << 24, (1 << 24) + 77 };
    const size_t most = (1 << 24) + 77;
    struct brd_crc32c_shifts shifts;
    uint8_t *data = malloc(most);
    uint32_t a = 0x12345678;
    uint32_t b = 0;
    size_t i;

    ck_assert_ptr_nonnull(data);
    for (i = 0; i < most; i++)
        data[i] = (uint8_t)(i * 13 + i / 251);
    brd_crc32c_shifts_init(&shifts);
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t behind = brd_crc32c(a, data, sizes[i]);

        ck_assert_uint_eq(brd_crc32c_shift(&shifts, a ^ b, sizes[i]) ^
                              brd_crc32c(b, data, sizes[i]),
                          behind);
        b = a;
        a = behind * 0x9e3779b9;
    }
    ck_assert_uint_eq(brd_crc32c_shift(&shifts, 0, UINT32_MAX), 0);
    free(data);
}
END_TEST

RUN_TESTS("crc32c", { the_vectors_of_the_rfc_hold, 0 },
          { any_two_parts_give_the_sum_of_the_whole, 0 },
          { a_difference_before_a_stretch_is_shifted_behind_it, 0 })
