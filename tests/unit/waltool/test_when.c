#include "when.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text;
    uint64_t version;
} good[] = {
    { "0", 0 },
    { "1700000000", UINT64_C(1700000000000000000) },
    { "1700000000.5", UINT64_C(1700000000500000000) },
    { "1700000000.1234567891", UINT64_C(1700000000123456789) },
    { "170000000000", UINT64_C(170000000000) },
    { "1700000000001000000", UINT64_C(1700000000001000000) },
    { "18446744073709551615", UINT64_MAX },
    { "1970-01-01T00:00:00Z", 0 },
    { "2023-11-14T22:13:20Z", UINT64_C(1700000000000000000) },
    { "2023-11-14t22:13:20.000000001z", UINT64_C(1700000000000000001) },
    { "2023-11-14 23:43:20.25+01:30", UINT64_C(1700000000250000000) },
    { "2023-11-14T17:13:20-05:00", UINT64_C(1700000000000000000) },
    { "2024-02-29T00:00:00Z", UINT64_C(1709164800000000000) },
};

static const char *const bad[] = {
    "",
    "yesterday",
    "-1",
    "12x",
    "1700000000.",
    "1700000000.x",
    "1700000000001000000.5",
    "18446744073709551616",
    "99999999999",
    "184467440737095516150",
    "2023-11-14",
    "2023-11-14T22:13:20",
    "2023-11-14T22:13Z",
    "2023-02-29T00:00:00Z",
    "2023-13-01T00:00:00Z",
    "2023-11-14T24:00:00Z",
    "2023-11-14T22:13:20+1:00",
    "2023-11-14T22:13:20Zx",
    "1969-12-31T23:59:59Z",
    "9999-01-01T00:00:00Z",
};

START_TEST(versions_and_times_are_understood)
{
    uint64_t version = 0;

    ck_assert_msg(when_parse(good[_i].text, &version), "%s", good[_i].text);
    ck_assert_msg(version == good[_i].version, "%s gives %llu", good[_i].text,
                  (unsigned long long)version);
}
END_TEST

START_TEST(anything_else_is_refused)
{
    uint64_t version = 0;

    ck_assert_msg(!when_parse(bad[_i], &version), "%s", bad[_i]);
}
END_TEST

START_TEST(a_version_as_a_time_comes_back)
{
    char text[WHEN_TEXT_BYTES];
    uint64_t version = 0;

    when_format(UINT64_C(1700000000001000009), text);
    ck_assert_str_eq(text, "2023-11-14T22:13:20.001000009Z");
    ck_assert(when_parse(text, &version));
    ck_assert_uint_eq(version, UINT64_C(1700000000001000009));
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("when");
    TCase *tcase = tcase_create("when");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tcase, versions_and_times_are_understood, 0,
                        (int)(sizeof(good) / sizeof(good[0])));
    tcase_add_loop_test(tcase, anything_else_is_refused, 0, (int)(sizeof(bad) / sizeof(bad[0])));
    tcase_add_test(tcase, a_version_as_a_time_comes_back);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
