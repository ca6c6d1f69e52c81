/* Byte strings and varints. */
#include "base/bytes.h"
#include "base_test.h"

static const struct {
    uint64_t value;
    size_t size;
    uint8_t bytes[BRD_VARINT_MAX];
} known[] = {
    { 0, 1, { 0x00 } },
    { 1, 1, { 0x01 } },
    { 127, 1, { 0x7f } },
    { 128, 2, { 0x80, 0x01 } },
    { 300, 2, { 0xac, 0x02 } },
    { 16383, 2, { 0xff, 0x7f } },
    { 16384, 3, { 0x80, 0x80, 0x01 } },
    { UINT32_MAX, 5, { 0xff, 0xff, 0xff, 0xff, 0x0f } },
    { UINT64_C(1) << 63, 10, { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01 } },
    { UINT64_MAX, 10, { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01 } },
};

START_TEST(varints_have_protobufs_form)
{
    size_t i;

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        uint8_t bytes[BRD_VARINT_MAX];
        struct brd_bytes in = brd_bytes(known[i].bytes, known[i].size);
        uint64_t value = 0;

        ck_assert_uint_eq(brd_varint_put(bytes, known[i].value), known[i].size);
        ck_assert_mem_eq(bytes, known[i].bytes, known[i].size);
        ck_assert(brd_varint_get(&in, &value));
        ck_assert_uint_eq(value, known[i].value);
        ck_assert_uint_eq(in.size, 0);
    }
}
END_TEST

START_TEST(every_power_of_two_and_its_neighbours_survive)
{
    int bit;
    int off;

    for (bit = 0; bit < 64; bit++) {
        for (off = -1; off <= 1; off++) {
            uint64_t value = (UINT64_C(1) << bit) + (uint64_t)(int64_t)off;
            uint8_t bytes[BRD_VARINT_MAX];
            struct brd_bytes in = brd_bytes(bytes, brd_varint_put(bytes, value));
            uint64_t got = ~value;

            ck_assert(brd_varint_get(&in, &got));
            ck_assert_uint_eq(got, value);
        }
    }
}
END_TEST

START_TEST(a_varint_cut_short_or_too_large_is_refused_and_nothing_is_taken)
{
    static const uint8_t large[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02 };
    static const uint8_t endless[] = { 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
                                       0x80, 0x80, 0x80, 0x80, 0x00 };
    struct brd_bytes in = brd_bytes(large, sizeof(large));
    uint64_t value = 42;
    size_t size;

    ck_assert(!brd_varint_get(&in, &value));
    ck_assert(in.data == large && in.size == sizeof(large));
    in = brd_bytes(endless, sizeof(endless));
    ck_assert(!brd_varint_get(&in, &value));
    for (size = 0; size < 10; size++) {
        in = brd_bytes(endless, size);
        ck_assert(!brd_varint_get(&in, &value));
        ck_assert(in.data == endless && in.size == size);
    }
    ck_assert_uint_eq(value, 42);
}
END_TEST

START_TEST(bytes_are_taken_from_the_front_or_not_at_all)
{
    struct brd_bytes in = brd_bytes_of("abcdef");
    struct brd_bytes out = brd_bytes(NULL, 0);

    ck_assert(brd_bytes_take(&in, 2, &out));
    ck_assert(brd_bytes_equal(out, brd_bytes_of("ab")));
    ck_assert(!brd_bytes_take(&in, 5, &out));
    ck_assert(!brd_bytes_take(&in, UINT64_MAX, &out));
    ck_assert(brd_bytes_equal(in, brd_bytes_of("cdef")));
    ck_assert(brd_bytes_take(&in, 4, &out));
    ck_assert(brd_bytes_equal(out, brd_bytes_of("cdef")));
    ck_assert(brd_bytes_take(&in, 0, &out));
    ck_assert_uint_eq(out.size, 0);
}
END_TEST

START_TEST(equal_means_same_length_and_same_bytes)
{
    ck_assert(brd_bytes_equal(brd_bytes(NULL, 0), brd_bytes_of("")));
    ck_assert(!brd_bytes_equal(brd_bytes_of("a"), brd_bytes_of("ab")));
    ck_assert(!brd_bytes_equal(brd_bytes_of("a"), brd_bytes_of("b")));
    ck_assert(brd_bytes_equal(brd_bytes("a\0b", 3), brd_bytes("a\0b", 3)));
    ck_assert(!brd_bytes_equal(brd_bytes("a\0b", 3), brd_bytes("a\0c", 3)));
}
END_TEST

START_TEST(integers_are_little_endian)
{
    uint8_t bytes[8];

    brd_store_le64(bytes, UINT64_C(0x0102030405060708));
    ck_assert_mem_eq(bytes, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    ck_assert_uint_eq(brd_load_le64(bytes), UINT64_C(0x0102030405060708));
    ck_assert_uint_eq(brd_load_le32(bytes + 1), 0x04050607);
    ck_assert_uint_eq(brd_load_le16(bytes + 6), 0x0102);
}
END_TEST

RUN_TESTS("bytes", { varints_have_protobufs_form, 0 },
          { every_power_of_two_and_its_neighbours_survive, 0 },
          { a_varint_cut_short_or_too_large_is_refused_and_nothing_is_taken, 0 },
          { bytes_are_taken_from_the_front_or_not_at_all, 0 },
          { equal_means_same_length_and_same_bytes, 0 }, { integers_are_little_endian, 0 })
