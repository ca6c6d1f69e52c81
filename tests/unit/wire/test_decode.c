/* What decoding refuses, what it bounds, and that its two ways agree. The bytes
 * of each request kind are in test_golden.c. */
#include "build.h"
#include "tests/support/requests.h"
#include "wire/general.h"
#include "wire/hot.h"
#include "wire_test.h"

#include <check.h>

#define ARENA_BYTES ((size_t)1 << 20)

static struct brd_wire_arena *arena;
static const struct brd_wire_limits limits = { .batch_keys_max = 100 };

static void
setup(void)
{
    built_size = 0;
    arena = brd_wire_arena_create(ARENA_BYTES);
    ck_assert_ptr_nonnull(arena);
}

static void
teardown(void)
{
    brd_wire_arena_destroy(&arena);
}

static enum brd_status
decode(struct brd_request *request)
{
    /* of exactly this size, so that the address sanitizer sees a read behind it */
    uint8_t *exact = malloc(built_size == 0 ? 1 : built_size);
    struct brd_bytes message = brd_bytes(exact, built_size);
    struct brd_request by_hand;
    enum brd_status status;

    memcpy(exact, built, built_size);
    brd_wire_arena_clear(arena);
    status = general_decode(arena, &limits, message, request);
    if (hot_decode(arena, &limits, message, &by_hand)) {
        ck_assert_int_eq(status, BRD_OK);
        ck_assert_ptr_null(requests_differ(request, &by_hand));
    }
    ck_assert_int_eq(brd_wire_decode(arena, &limits, message, NULL, request), status);
    free(exact);
    return status;
}

START_TEST(a_batch_may_have_as_many_keys_as_the_limit_says)
{
    static const uint32_t kinds[] = { 4, 5, 8 }; /* delete, get_many, exists */
    struct brd_request request;

    for (size_t kind = 0; kind < 3; kind++)
        for (size_t count = 99; count <= 101; count++) {
            built_size = 0;
            for (size_t i = 0; i < count; i++)
                add_bytes(1, "k", 1);
            wrap(kinds[kind]);
            add_varint(1, 7);
            ck_assert_int_eq(decode(&request), count <= 100 ? BRD_OK : BRD_TOO_LARGE);
            ck_assert_uint_eq(request.id, 7);
            if (count <= 100)
                ck_assert_uint_eq(request.count, count);
        }
}
END_TEST

START_TEST(put_many_may_have_as_many_items_as_the_limit_says)
{
    struct brd_request request;

    for (size_t count = 100; count <= 101; count++) {
        built_size = 0;
        for (size_t i = 0; i < count; i++)
            add_bytes(1, "\x0a\x01k", 3);
        wrap(6);
        ck_assert_int_eq(decode(&request), count <= 100 ? BRD_OK : BRD_TOO_LARGE);
    }
}
END_TEST

START_TEST(keys_of_a_replaced_kind_count_too)
{
    struct brd_request request;

    for (size_t i = 0; i < 60; i++)
        add_bytes(1, "k", 1);
    wrap(5);
    memcpy(built + built_size, built, built_size);
    built_size *= 2;
    ck_assert_int_eq(decode(&request), BRD_TOO_LARGE);
}
END_TEST

START_TEST(a_field_that_stands_again_and_again_is_refused)
{
    struct brd_request request;

    for (size_t i = 0; i < 64; i++)
        add_bytes(1, "k", 1);
    wrap(2);
    ck_assert_int_eq(decode(&request), BRD_OK);
    built_size = 0;
    for (size_t i = 0; i < 65; i++)
        add_bytes(1, "k", 1);
    wrap(2);
    ck_assert_int_eq(decode(&request), BRD_TOO_LARGE);
}
END_TEST

START_TEST(unknown_fields_of_a_known_kind_are_bounded_in_number)
{
    struct brd_request request;

    add_bytes(1, "k", 1);
    wrap(2);
    for (size_t i = 0; i < 63; i++)
        add_varint(1000, i);
    ck_assert_int_eq(decode(&request), BRD_OK);
    add_varint(1000, 1);
    add_varint(1, 9);
    ck_assert_int_eq(decode(&request), BRD_TOO_LARGE);
    ck_assert_uint_eq(request.id, 9);
}
END_TEST

START_TEST(unknown_fields_of_a_known_kind_are_bounded_in_bytes)
{
    static uint8_t bytes[(1 << 20) + 1];
    struct brd_request request;
    struct brd_wire_arena *large = brd_wire_arena_create(16 << 20);

    add_bytes(1, "k", 1);
    wrap(2);
    add_bytes(1000, bytes, sizeof(bytes) - 1);
    ck_assert_int_eq(brd_wire_decode(large, &limits, brd_bytes(built, built_size), NULL, &request),
                     BRD_OK);
    add_bytes(1001, "x", 1);
    ck_assert_int_eq(brd_wire_decode(large, &limits, brd_bytes(built, built_size), NULL, &request),
                     BRD_TOO_LARGE);
    brd_wire_arena_destroy(&large);
}
END_TEST

START_TEST(an_unknown_kind_of_any_size_is_just_unknown)
{
    static uint8_t bytes[2 << 20];
    struct brd_request request;

    for (size_t i = 0; i < 1000; i++)
        add_varint(1000, i);
    add_bytes(31, bytes, sizeof(bytes));
    add_varint(1, 12345);
    ck_assert_int_eq(decode(&request), BRD_UNKNOWN_REQUEST);
    ck_assert_uint_eq(request.id, 12345);
    ck_assert_int_eq(request.op, BRD_OP_UNKNOWN);
}
END_TEST

START_TEST(a_request_that_does_not_fit_into_the_arena_is_too_large)
{
    static uint8_t value[ARENA_BYTES];
    struct brd_request request;

    /* Padded, so that it is not decoded in place. */
    add_bytes(1, "k", 1);
    add_bytes(2, value, sizeof(value));
    add_varint(100, 1);
    wrap(3);
    add_varint(1, 7);
    ck_assert_int_eq(decode(&request), BRD_TOO_LARGE);
    ck_assert_uint_eq(request.id, 7);
    /* and the arena is as good as before */
    built_size = 0;
    add_bytes(1, "k", 1);
    add_bytes(2, value, 1000);
    add_varint(100, 1);
    wrap(3);
    ck_assert_int_eq(decode(&request), BRD_OK);
    ck_assert_uint_eq(request.value.size, 1000);
}
END_TEST

START_TEST(a_large_value_of_a_hot_shape_takes_no_memory)
{
    static uint8_t value[2 << 20];
    struct brd_wire_arena *small = brd_wire_arena_create(64);
    struct brd_request request;

    add_bytes(1, "k", 1);
    add_bytes(2, value, sizeof(value));
    wrap(3);
    ck_assert_int_eq(brd_wire_decode(small, &limits, brd_bytes(built, built_size), NULL, &request),
                     BRD_OK);
    ck_assert_uint_eq(request.value.size, sizeof(value));
    ck_assert_ptr_eq(request.value.data, built + built_size - sizeof(value));
    brd_wire_arena_destroy(&small);
}
END_TEST

START_TEST(a_batch_of_requests_shares_an_arena)
{
    struct brd_request requests[50];

    for (size_t n = 0; n < 50; n++) {
        built_size = 0;
        for (size_t i = 0; i < n; i++)
            add_bytes(1, "key", 3);
        wrap(5);
        ck_assert_int_eq(brd_wire_decode(arena, &limits, brd_bytes(built, built_size), NULL,
                                         &requests[n]),
                         BRD_OK);
    }
    for (size_t n = 0; n < 50; n++) {
        ck_assert_uint_eq(requests[n].count, n);
        for (size_t i = 0; i < n; i++)
            ck_assert_uint_eq(requests[n].keys[i].size, 3);
    }
}
END_TEST

START_TEST(every_truncation_of_a_request_is_an_error_or_another_request)
{
    struct brd_request request;
    size_t whole;

    add_bytes(1, "\x0a\x03key\x12\x05value", 12);
    add_varint(2, 300);
    add_varint(4, 3);
    wrap(6);
    add_varint(1, 7);
    add_bytes(15, "name", 4);
    whole = built_size;
    for (built_size = 0; built_size < whole; built_size++) {
        enum brd_status status = decode(&request);

        ck_assert(status == BRD_OK || status == BRD_PROTOCOL_ERROR ||
                  status == BRD_UNKNOWN_REQUEST);
    }
    ck_assert_int_eq(decode(&request), BRD_OK);
}
END_TEST

START_TEST(every_byte_changed_to_every_other_is_decoded_alike_by_hand)
{
    static uint8_t before[64];
    struct brd_request request;

    add_bytes(1, "key", 3);
    add_bytes(2, "value", 5);
    add_varint(5, 3);
    built[built_size++] = 6 << 3 | 1;
    memcpy(built + built_size, "12345678", 8);
    built_size += 8;
    add_varint(8, 2);
    wrap(3);
    add_varint(1, 200);
    memcpy(before, built, built_size);
    for (size_t at = 0; at < built_size; at++)
        for (unsigned byte = 0; byte < 256; byte++) {
            memcpy(built, before, built_size);
            built[at] = (uint8_t)byte;
            (void)decode(&request); /* which compares the two ways */
        }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("decode");
    TCase *tcase = tcase_create("decode");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_batch_may_have_as_many_keys_as_the_limit_says);
    tcase_add_test(tcase, put_many_may_have_as_many_items_as_the_limit_says);
    tcase_add_test(tcase, keys_of_a_replaced_kind_count_too);
    tcase_add_test(tcase, a_field_that_stands_again_and_again_is_refused);
    tcase_add_test(tcase, unknown_fields_of_a_known_kind_are_bounded_in_number);
    tcase_add_test(tcase, unknown_fields_of_a_known_kind_are_bounded_in_bytes);
    tcase_add_test(tcase, an_unknown_kind_of_any_size_is_just_unknown);
    tcase_add_test(tcase, a_request_that_does_not_fit_into_the_arena_is_too_large);
    tcase_add_test(tcase, a_large_value_of_a_hot_shape_takes_no_memory);
    tcase_add_test(tcase, a_batch_of_requests_shares_an_arena);
    tcase_add_test(tcase, every_truncation_of_a_request_is_an_error_or_another_request);
    tcase_add_test(tcase, every_byte_changed_to_every_other_is_decoded_alike_by_hand);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
