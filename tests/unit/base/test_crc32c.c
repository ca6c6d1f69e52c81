/* CRC-32C: the vectors of RFC 3720, B.4, a bitwise implementation, and parts. */
#include "base/crc32c.h"
#include "base_test.h"

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

RUN_TESTS("crc32c", { the_vectors_of_the_rfc_hold, 0 },
          { any_two_parts_give_the_sum_of_the_whole, 0 })
