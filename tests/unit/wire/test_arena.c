#include "wire/arena.h"
#include "wire_test.h"

#include <check.h>
#include <stdalign.h>

START_TEST(allocations_are_aligned_and_do_not_overlap)
{
    struct brd_wire_arena *arena = brd_wire_arena_create(1 << 20);
    uint8_t *pieces[200];

    for (size_t i = 0; i < 200; i++) {
        pieces[i] = wire_arena_alloc(arena, i * 7);
        ck_assert_ptr_nonnull(pieces[i]);
        ck_assert_uint_eq((uintptr_t)pieces[i] % alignof(max_align_t), 0);
        memset(pieces[i], (int)i, i * 7);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t j = 0; j < i * 7; j++)
            ck_assert_uint_eq(pieces[i][j], i);
    brd_wire_arena_destroy(&arena);
    ck_assert_ptr_null(arena);
}
END_TEST

START_TEST(the_limit_holds_and_clearing_gives_all_of_it_back)
{
    struct brd_wire_arena *arena = brd_wire_arena_create(100000);

    for (int round = 0; round < 3; round++) {
        size_t taken = 0;

        while (wire_arena_alloc(arena, 1000) != NULL)
            taken += 1000;
        ck_assert_int_eq(arena->failure, BRD_TOO_LARGE);
        ck_assert_uint_le(taken, 100000);
        ck_assert_uint_ge(taken, 80000);
        ck_assert_uint_le(arena->bytes, 100000);
        brd_wire_arena_clear(arena);
        ck_assert_int_eq(arena->failure, BRD_OK);
    }
    brd_wire_arena_destroy(&arena);
}
END_TEST

START_TEST(a_small_arena_serves_what_it_has)
{
    struct brd_wire_arena *arena = brd_wire_arena_create(100);

    ck_assert_ptr_nonnull(wire_arena_alloc(arena, 90));
    ck_assert_ptr_null(wire_arena_alloc(arena, 90));
    brd_wire_arena_destroy(&arena);
    arena = brd_wire_arena_create(0);
    ck_assert_ptr_null(wire_arena_alloc(arena, 1));
    ck_assert_ptr_nonnull(wire_arena_alloc(arena, 0));
    brd_wire_arena_destroy(&arena);
}
END_TEST

START_TEST(a_large_piece_leaves_the_rest_of_the_block)
{
    struct brd_wire_arena *arena = brd_wire_arena_create(1 << 20);
    uint8_t *before = wire_arena_alloc(arena, 16);
    uint8_t *large = wire_arena_alloc(arena, 100000);
    uint8_t *after = wire_arena_alloc(arena, 16);

    ck_assert_ptr_nonnull(large);
    ck_assert_ptr_eq(after, before + 16);
    brd_wire_arena_destroy(&arena);
}
END_TEST

START_TEST(sizes_that_overflow_are_too_large)
{
    struct brd_wire_arena *arena = brd_wire_arena_create(SIZE_MAX);

    ck_assert_ptr_null(wire_arena_alloc(arena, SIZE_MAX));
    ck_assert_int_eq(arena->failure, BRD_TOO_LARGE);
    ck_assert_ptr_null(wire_arena_alloc(arena, SIZE_MAX - 64));
    ck_assert_int_eq(arena->failure, BRD_TOO_LARGE);
    ck_assert_ptr_null(wire_arena_alloc_array(arena, SIZE_MAX / 2, 16));
    ck_assert_int_eq(arena->failure, BRD_TOO_LARGE);
    brd_wire_arena_destroy(&arena);
}
END_TEST

START_TEST(destroying_nothing_is_fine)
{
    struct brd_wire_arena *arena = NULL;

    brd_wire_arena_destroy(&arena);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("arena");
    TCase *tcase = tcase_create("arena");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, allocations_are_aligned_and_do_not_overlap);
    tcase_add_test(tcase, the_limit_holds_and_clearing_gives_all_of_it_back);
    tcase_add_test(tcase, a_small_arena_serves_what_it_has);
    tcase_add_test(tcase, a_large_piece_leaves_the_rest_of_the_block);
    tcase_add_test(tcase, sizes_that_overflow_are_too_large);
    tcase_add_test(tcase, destroying_nothing_is_fine);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
