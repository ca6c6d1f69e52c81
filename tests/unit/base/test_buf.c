/* Growable buffers. */
#include "base/buf.h"
#include "base_test.h"

#include <string.h>

START_TEST(what_is_appended_is_there_in_order)
{
    struct brd_buf buf;
    size_t i;

    brd_buf_init(&buf);
    for (i = 0; i < 5000; i++) {
        uint8_t byte = (uint8_t)(i * 7);

        brd_buf_append(&buf, &byte, 1);
    }
    ck_assert(!buf.failed);
    ck_assert_uint_eq(buf.size, 5000);
    ck_assert_uint_ge(buf.room, buf.size);
    for (i = 0; i < 5000; i++)
        ck_assert_uint_eq(buf.data[i], (uint8_t)(i * 7));
    brd_buf_fini(&buf);
    ck_assert_ptr_null(buf.data);
}
END_TEST

START_TEST(reserving_makes_room_and_changes_nothing)
{
    struct brd_buf buf;
    uint8_t *at;

    brd_buf_init(&buf);
    brd_buf_append(&buf, "abc", 3);
    at = brd_buf_reserve(&buf, 100000);
    ck_assert_ptr_eq(at, buf.data + 3);
    memset(at, 'x', 100000);
    ck_assert(brd_bytes_equal(brd_buf_bytes(&buf), brd_bytes_of("abc")));
    brd_buf_fini(&buf);
}
END_TEST

START_TEST(nothing_can_be_appended)
{
    struct brd_buf buf;

    brd_buf_init(&buf);
    brd_buf_append(&buf, NULL, 0);
    ck_assert(!buf.failed);
    ck_assert_uint_eq(buf.size, 0);
    brd_buf_fini(&buf);
}
END_TEST

START_TEST(a_varint_is_appended_as_such)
{
    struct brd_buf buf;

    brd_buf_init(&buf);
    brd_buf_append_varint(&buf, 300);
    ck_assert(brd_bytes_equal(brd_buf_bytes(&buf), brd_bytes("\xac\x02", 2)));
    brd_buf_fini(&buf);
}
END_TEST

START_TEST(an_error_stays_until_the_buffer_is_cleared)
{
    struct brd_buf buf;

    brd_buf_init(&buf);
    brd_buf_append(&buf, "abc", 3);
    ck_assert_ptr_null(brd_buf_reserve(&buf, SIZE_MAX / 2));
    ck_assert(buf.failed);
    brd_buf_append(&buf, "def", 3);
    brd_buf_append_varint(&buf, 1);
    ck_assert(buf.failed);
    ck_assert_uint_eq(buf.size, 3);
    brd_buf_clear(&buf);
    brd_buf_append(&buf, "ghi", 3);
    ck_assert(!buf.failed);
    ck_assert(brd_bytes_equal(brd_buf_bytes(&buf), brd_bytes_of("ghi")));
    brd_buf_fini(&buf);
}
END_TEST

RUN_TESTS("buf", { what_is_appended_is_there_in_order, 0 },
          { reserving_makes_room_and_changes_nothing, 0 }, { nothing_can_be_appended, 0 },
          { a_varint_is_appended_as_such, 0 }, { an_error_stays_until_the_buffer_is_cleared, 0 })
