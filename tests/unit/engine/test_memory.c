/* What is counted against the memory limit beside the store's own sum. */
#include "engine/memory.h"

#include <check.h>
#include <stdlib.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

START_TEST(a_small_limit_is_exact)
{
    uint64_t i;

    for (i = 0; i < 1000; i++)
        ck_assert_uint_eq(memory_count(2 * MIB, i * 4000, i * 8000, 0), 0);
    ck_assert_uint_eq(memory_count(16 * MIB, 5 * MIB - 1, 9 * MIB, 0), 0);
    ck_assert_uint_eq(memory_count(16 * MIB, 5 * MIB, 9 * MIB, 0), MIB);
}
END_TEST

START_TEST(huge_pages_are_for_memory_that_is_in_use)
{
    ck_assert(!memory_is_sparse(GIB, 0, false));
    ck_assert(!memory_is_sparse(GIB, GIB / 2, false));
    ck_assert(memory_is_sparse(GIB, GIB / 2 + 1, false));
    ck_assert(memory_is_sparse(GIB, GIB / 4 + 1, true)); /* not again at once */
    ck_assert(!memory_is_sparse(GIB, GIB / 4, true));
    ck_assert(!memory_is_sparse(0, 64 * MIB - 1, true)); /* a small daemon never */
    ck_assert(memory_is_sparse(0, 64 * MIB, false));
}
END_TEST

START_TEST(holes_count_beyond_a_sixteenth)
{
    const uint64_t allowance = GIB / 16 + 8 * MIB;

    ck_assert_uint_eq(memory_count(GIB, 0, allowance, 0), 0);
    ck_assert_uint_eq(memory_count(GIB, 0, allowance + 16 * MIB, 0), 16 * MIB);
    ck_assert_uint_eq(memory_count(GIB, 36 * MIB, GIB / 2 + 8 * MIB, 0),
                      GIB / 2 - GIB / 16 + 32 * MIB);
    ck_assert_uint_eq(memory_count(0, 7 * MIB, 9 * MIB, 0), 4 * MIB);
}
END_TEST

START_TEST(what_is_counted_does_not_tremble)
{
    static const uint64_t books_and_counted[][2] = { { 16, 16 }, { 31, 16 }, { 9, 16 },
                                                     { 32, 32 }, { 23, 16 }, { 7, 0 } };
    uint64_t counted = 0;
    size_t i;

    for (i = 0; i < sizeof(books_and_counted) / sizeof(books_and_counted[0]); i++) {
        counted = memory_count(GIB, (books_and_counted[i][0] + 4) * MIB, 0, counted);
        ck_assert_uint_eq(counted, books_and_counted[i][1] * MIB);
    }
}
END_TEST

START_TEST(the_allocators_books_leave_half_of_the_limit)
{
    ck_assert_uint_eq(memory_count(100 * MIB, 10 * GIB, 0, 0) / MIB, 50);
}
END_TEST

/* Deleting at random leaves holes for as many bytes as it freed: they must take
 * new values again, a part at a time. */
START_TEST(holes_can_always_be_filled)
{
    const uint64_t limit = GIB;
    uint64_t pages = limit;
    uint64_t data = limit / 5;
    uint64_t counted = 0;
    unsigned rounds;

    for (rounds = 0; rounds < 100 && data < limit - limit / 32; rounds++) {
        counted = memory_count(limit, 0, pages - data, counted);
        ck_assert_uint_lt(data + counted, limit);
        data += limit - data - counted;
    }
    ck_assert_uint_lt(rounds, 100);
}
END_TEST

START_TEST(free_pages_go_at_once_when_they_are_many_and_above_the_limit)
{
    ck_assert(!memory_is_dirty(GIB, GIB, 64 * MIB));
    ck_assert(memory_is_dirty(GIB, GIB, 65 * MIB));
    ck_assert(!memory_is_dirty(GIB, GIB / 2, 65 * MIB));
    ck_assert(!memory_is_dirty(64 * MIB, 64 * MIB, 16 * MIB));
    ck_assert(memory_is_dirty(64 * MIB, 64 * MIB, 17 * MIB));
    ck_assert(!memory_is_dirty(0, GIB, GIB));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("memory");
    TCase *tcase = tcase_create("memory");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, a_small_limit_is_exact);
    tcase_add_test(tcase, huge_pages_are_for_memory_that_is_in_use);
    tcase_add_test(tcase, holes_count_beyond_a_sixteenth);
    tcase_add_test(tcase, what_is_counted_does_not_tremble);
    tcase_add_test(tcase, the_allocators_books_leave_half_of_the_limit);
    tcase_add_test(tcase, holes_can_always_be_filled);
    tcase_add_test(tcase, free_pages_go_at_once_when_they_are_many_and_above_the_limit);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
