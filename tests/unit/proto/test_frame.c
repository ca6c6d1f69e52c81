#include "proto/frame.h"

#include <check.h>
#include <string.h>

static const uint64_t lengths[] = {
    0,       1,       127,       128,       16383,      16384,
    2097151, 2097152, 268435455, 268435456, UINT32_MAX, (UINT64_C(1) << 35) - 1,
};
#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

START_TEST(a_written_prefix_reads_back)
{
    for (size_t i = 0; i < LENGTHS; i++) {
        uint8_t prefix[BRD_FRAME_PREFIX_MAX];
        size_t size = brd_frame_prefix_write(prefix, lengths[i]);
        size_t head;
        uint64_t body;

        ck_assert_uint_eq(brd_frame_prefix_size(lengths[i]), size);
        ck_assert_int_eq(brd_frame_parse(prefix, size, UINT64_MAX, &head, &body),
                         lengths[i] == 0 ? BRD_FRAME_OK : BRD_FRAME_MORE);
        ck_assert_uint_eq(head, size);
        ck_assert_uint_eq(body, lengths[i]);
    }
}
END_TEST

START_TEST(a_prefix_cut_short_needs_more)
{
    for (size_t i = 0; i < LENGTHS; i++) {
        uint8_t prefix[BRD_FRAME_PREFIX_MAX];
        size_t size = brd_frame_prefix_write(prefix, lengths[i]);

        for (size_t cut = 0; cut < size; cut++) {
            size_t head = 9;
            uint64_t body = 9;

            ck_assert_int_eq(brd_frame_parse(prefix, cut, 10, &head, &body), BRD_FRAME_MORE);
            ck_assert_uint_eq(head, 0);
            ck_assert_uint_eq(body, 0);
        }
    }
}
END_TEST

START_TEST(a_body_cut_short_needs_more_and_says_how_much)
{
    uint8_t frame[302];
    size_t head;
    uint64_t body;

    memset(frame, 'x', sizeof(frame));
    ck_assert_uint_eq(brd_frame_prefix_write(frame, 300), 2);
    for (size_t size = 2; size < 302; size++) {
        ck_assert_int_eq(brd_frame_parse(frame, size, 300, &head, &body), BRD_FRAME_MORE);
        ck_assert_uint_eq(head, 2);
        ck_assert_uint_eq(body, 300);
    }
    ck_assert_int_eq(brd_frame_parse(frame, 302, 300, &head, &body), BRD_FRAME_OK);
}
END_TEST

START_TEST(bytes_behind_a_frame_are_not_its_business)
{
    const uint8_t bytes[] = { 2, 'a', 'b', 0xff, 0xff, 0xff, 0xff, 0xff };
    size_t head;
    uint64_t body;

    ck_assert_int_eq(brd_frame_parse(bytes, sizeof(bytes), 10, &head, &body), BRD_FRAME_OK);
    ck_assert_uint_eq(head, 1);
    ck_assert_uint_eq(body, 2);
}
END_TEST

START_TEST(a_length_above_the_limit_is_known_at_once)
{
    uint8_t prefix[BRD_FRAME_PREFIX_MAX];
    size_t size = brd_frame_prefix_write(prefix, 1001);
    size_t head;
    uint64_t body;

    ck_assert_int_eq(brd_frame_parse(prefix, size, 1001, &head, &body), BRD_FRAME_MORE);
    ck_assert_int_eq(brd_frame_parse(prefix, size, 1000, &head, &body), BRD_FRAME_TOO_LONG);
    ck_assert_uint_eq(head, size);
    ck_assert_uint_eq(body, 1001);
}
END_TEST

START_TEST(five_bytes_that_all_continue_are_no_length)
{
    const uint8_t bytes[] = { 0x80, 0x80, 0x80, 0x80, 0x80, 0x01 };
    size_t head = 9;
    uint64_t body = 9;

    ck_assert_int_eq(brd_frame_parse(bytes, 4, 10, &head, &body), BRD_FRAME_MORE);
    ck_assert_int_eq(brd_frame_parse(bytes, 5, 10, &head, &body), BRD_FRAME_BAD);
    ck_assert_int_eq(brd_frame_parse(bytes, 6, 10, &head, &body), BRD_FRAME_BAD);
    ck_assert_uint_eq(head, 0);
    ck_assert_uint_eq(body, 0);
}
END_TEST

START_TEST(a_padded_prefix_is_a_length)
{
    const uint8_t bytes[] = { 0x82, 0x80, 0x80, 0x80, 0x00, 'a', 'b' };
    size_t head;
    uint64_t body;

    ck_assert_int_eq(brd_frame_parse(bytes, sizeof(bytes), 10, &head, &body), BRD_FRAME_OK);
    ck_assert_uint_eq(head, 5);
    ck_assert_uint_eq(body, 2);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("frame");
    TCase *tcase = tcase_create("frame");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, a_written_prefix_reads_back);
    tcase_add_test(tcase, a_prefix_cut_short_needs_more);
    tcase_add_test(tcase, a_body_cut_short_needs_more_and_says_how_much);
    tcase_add_test(tcase, bytes_behind_a_frame_are_not_its_business);
    tcase_add_test(tcase, a_length_above_the_limit_is_known_at_once);
    tcase_add_test(tcase, five_bytes_that_all_continue_are_no_length);
    tcase_add_test(tcase, a_padded_prefix_is_a_length);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
