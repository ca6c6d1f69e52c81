/* The frame of a test program of base/. */
#ifndef TESTS_UNIT_BASE_TEST_H
#define TESTS_UNIT_BASE_TEST_H

#include <check.h>
#include <stdlib.h>

struct test {
    const TTest *test;
    int signal; /* that ends it, or 0 */
};

static inline int
run_tests(const char *name, const struct test *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    SRunner *runner = srunner_create(suite);
    int failed;
    size_t i;

    for (i = 0; i < count; i++) {
        if (tests[i].signal == 0)
            tcase_add_test(tcase, tests[i].test);
        else if (srunner_fork_status(runner) == CK_FORK)
            tcase_add_test_raise_signal(tcase, tests[i].test, tests[i].signal);
    }
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

#define RUN_TESTS(name, ...)                                             \
    int main(void)                                                       \
    {                                                                    \
        const struct test tests[] = { __VA_ARGS__ };                     \
        return run_tests(name, tests, sizeof(tests) / sizeof(tests[0])); \
    }

#endif
