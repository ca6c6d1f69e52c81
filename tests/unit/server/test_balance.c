/* Who gives connections to whom. (That they arrive is tested in test_server.c.) */
#include "server/balance.h"

#include <check.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)

static const struct brd_server_balance rules = { .interval_ns = 250 * MS,
                                                 .busy_permille = 700,
                                                 .gap_permille = 400 };

/* What worker 0 of three does, by busy ms of 1,000. */
static uint32_t
choose(uint64_t a, uint64_t b, uint64_t c, uint32_t *out_share)
{
    const uint64_t busy_ns[] = { a * MS, b * MS, c * MS };

    return balance_choose(busy_ns, 3, 0, 1000 * MS, &rules, out_share);
}

START_TEST(half_of_the_difference_goes_to_the_idlest)
{
    uint32_t share;

    ck_assert_uint_eq(choose(1000, 500, 0, &share), 2);
    ck_assert_uint_eq(share, 500);
    ck_assert_uint_eq(choose(800, 200, 400, &share), 1);
    ck_assert_uint_eq(share, 375); /* both have 500 then */
}
END_TEST

START_TEST(a_worker_that_is_not_busy_gives_nothing)
{
    uint32_t share;

    ck_assert_uint_eq(choose(699, 0, 0, &share), 0);
    ck_assert_uint_eq(share, 0);
    ck_assert_uint_eq(choose(0, 0, 0, &share), 0);
}
END_TEST

START_TEST(small_differences_are_left_alone)
{
    uint32_t share;

    ck_assert_uint_eq(choose(1000, 601, 900, &share), 0);
    ck_assert_uint_eq(choose(1000, 600, 900, &share), 1);
    ck_assert_uint_eq(share, 200);
}
END_TEST

START_TEST(after_a_move_nothing_moves_back)
{
    uint64_t own;

    for (own = 700; own <= 1000; own++) {
        uint64_t other;

        for (other = 0; other <= 1000; other++) {
            uint32_t share;
            uint32_t ignored;

            if (choose(own, other, 1000, &share) != 1)
                continue;
            ck_assert_uint_eq(choose(own - own * share / 1000, other + own * share / 1000, 1000,
                                     &ignored),
                              0);
            ck_assert_uint_eq(choose(other + own * share / 1000, own - own * share / 1000, 1000,
                                     &ignored),
                              0);
        }
    }
}
END_TEST

START_TEST(a_worker_whose_time_is_not_known_gets_nothing)
{
    const uint64_t busy_ns[] = { 1000 * MS, UINT64_MAX };
    uint32_t share;

    ck_assert_uint_eq(balance_choose(busy_ns, 2, 0, 1000 * MS, &rules, &share), 0);
    ck_assert_uint_eq(balance_choose(busy_ns, 1, 0, 1000 * MS, &rules, &share), 0);
}
END_TEST

static Suite *
make_suite(void)
{
    Suite *suite = suite_create("balance");
    TCase *tcase = tcase_create("balance");

    tcase_add_test(tcase, half_of_the_difference_goes_to_the_idlest);
    tcase_add_test(tcase, a_worker_that_is_not_busy_gives_nothing);
    tcase_add_test(tcase, small_differences_are_left_alone);
    tcase_add_test(tcase, after_a_move_nothing_moves_back);
    tcase_add_test(tcase, a_worker_whose_time_is_not_known_gets_nothing);
    suite_add_tcase(suite, tcase);
    return suite;
}

int
main(void)
{
    SRunner *runner = srunner_create(make_suite());
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
