#include "filter.h"

#include <check.h>
#include <stdlib.h>

static struct brd_change
change_of(const char *kind, const char *key, size_t size, uint64_t ns)
{
    return (struct brd_change){ .kind = kind, .ns = ns, .key = brd_bytes(key, size) };
}

static bool
passes(struct filter *filter, const char *kind, const char *key, size_t size, uint64_t ns)
{
    struct brd_change change = change_of(kind, key, size, ns);

    return filter_passes(filter, &change);
}

START_TEST(without_a_filter_everything_passes)
{
    struct filter filter;

    filter_init(&filter);
    ck_assert(!filter_is_narrow(&filter));
    ck_assert(passes(&filter, "put", "", 0, 7));
    ck_assert_uint_eq(filter.from, 0);
    ck_assert_uint_eq(filter.to, UINT64_MAX);
    filter_fini(&filter);
}
END_TEST

START_TEST(a_key_is_taken_as_dump_prints_it)
{
    struct filter filter;

    filter_init(&filter);
    ck_assert(filter_set_key(&filter, "a\\x00\\\\\\\"\\xFf", false));
    ck_assert(filter_is_narrow(&filter));
    ck_assert(passes(&filter, "delete", "a\0\\\"\xff", 5, 1));
    ck_assert(!passes(&filter, "delete", "a\0\\\"\xfe", 5, 1));
    ck_assert(!passes(&filter, "delete", "a\0\\\"\xff!", 6, 1));
    ck_assert(filter_set_key(&filter, "", false));
    ck_assert(passes(&filter, "put", "", 0, 1));
    ck_assert(!passes(&filter, "put", "a", 1, 1));
    filter_fini(&filter);
}
END_TEST

START_TEST(an_escape_that_is_none_is_refused)
{
    static const char *const bad[] = { "\\", "\\x", "\\x0", "\\x0g", "a\\n", "\\xx0" };
    struct filter filter;
    size_t i;

    filter_init(&filter);
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(!filter_set_key(&filter, bad[i], false), "%s", bad[i]);
    filter_fini(&filter);
}
END_TEST

START_TEST(a_prefix_takes_what_begins_so)
{
    struct filter filter;

    filter_init(&filter);
    ck_assert(filter_set_key(&filter, "user:", true));
    ck_assert(passes(&filter, "put", "user:1", 6, 1));
    ck_assert(passes(&filter, "put", "user:", 5, 1));
    ck_assert(!passes(&filter, "put", "user", 4, 1));
    ck_assert(!passes(&filter, "put", "xuser:", 6, 1));
    filter_fini(&filter);
}
END_TEST

START_TEST(a_clear_is_a_change_of_every_key_of_its_namespace)
{
    struct filter filter;

    filter_init(&filter);
    ck_assert(filter_set_key(&filter, "a", false));
    ck_assert(filter_set_namespace(&filter, "default"));
    ck_assert(passes(&filter, "clear", NULL, 0, 1));
    ck_assert(!passes(&filter, "clear", NULL, 0, 2));
    filter_fini(&filter);
}
END_TEST

START_TEST(a_namespace_is_a_number_or_default)
{
    struct filter filter;

    filter_init(&filter);
    ck_assert(filter_set_namespace(&filter, "12"));
    ck_assert(passes(&filter, "put", "a", 1, 12));
    ck_assert(!passes(&filter, "put", "a", 1, 1));
    ck_assert(!filter_set_namespace(&filter, "other"));
    ck_assert(!filter_set_namespace(&filter, ""));
    ck_assert(!filter_set_namespace(&filter, "1x"));
    filter_fini(&filter);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("filter");
    TCase *tcase = tcase_create("filter");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, without_a_filter_everything_passes);
    tcase_add_test(tcase, a_key_is_taken_as_dump_prints_it);
    tcase_add_test(tcase, an_escape_that_is_none_is_refused);
    tcase_add_test(tcase, a_prefix_takes_what_begins_so);
    tcase_add_test(tcase, a_clear_is_a_change_of_every_key_of_its_namespace);
    tcase_add_test(tcase, a_namespace_is_a_number_or_default);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
