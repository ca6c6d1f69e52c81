#include "histogram.h"
#include "rng.h"

#include <check.h>
#include <stdlib.h>

static struct histogram *histogram;

static void
setup(void)
{
    histogram = histogram_create();
    ck_assert_ptr_nonnull(histogram);
}

static void
teardown(void)
{
    histogram_destroy(&histogram);
    ck_assert_ptr_null(histogram);
}

START_TEST(an_empty_histogram_says_zero_everywhere)
{
    ck_assert_uint_eq(histogram_count(histogram), 0);
    ck_assert_uint_eq(histogram_min(histogram), 0);
    ck_assert_uint_eq(histogram_max(histogram), 0);
    ck_assert_uint_eq(histogram_percentile(histogram, 99.0), 0);
    ck_assert_double_eq(histogram_mean(histogram), 0.0);
}
END_TEST

START_TEST(one_value_is_every_percentile)
{
    histogram_record(histogram, 123456789);
    ck_assert_uint_eq(histogram_min(histogram), 123456789);
    ck_assert_uint_eq(histogram_max(histogram), 123456789);
    ck_assert_uint_eq(histogram_percentile(histogram, 0.0), 123456789);
    ck_assert_uint_eq(histogram_percentile(histogram, 50.0), 123456789);
    ck_assert_uint_eq(histogram_percentile(histogram, 100.0), 123456789);
    ck_assert_double_eq(histogram_mean(histogram), 123456789.0);
}
END_TEST

START_TEST(values_below_2048_are_exact)
{
    for (uint64_t value = 1; value <= 2000; value++)
        histogram_record(histogram, value);
    ck_assert_uint_eq(histogram_percentile(histogram, 50.0), 1000);
    ck_assert_uint_eq(histogram_percentile(histogram, 99.0), 1980);
    ck_assert_uint_eq(histogram_percentile(histogram, 99.9), 1998);
    ck_assert_uint_eq(histogram_percentile(histogram, 100.0), 2000);
}
END_TEST

START_TEST(every_value_keeps_three_significant_digits)
{
    for (uint64_t value = 1; value < HISTOGRAM_VALUE_MAX; value += value / 7 + 1) {
        histogram_reset(histogram);
        histogram_record(histogram, value);
        histogram_record(histogram, HISTOGRAM_VALUE_MAX);
        uint64_t said = histogram_percentile(histogram, 50.0);
        ck_assert_uint_ge(said, value);
        ck_assert_uint_le(said - value, value / 1000);
    }
}
END_TEST

START_TEST(a_value_above_an_hour_counts_as_an_hour)
{
    histogram_record(histogram, UINT64_MAX);
    ck_assert_uint_eq(histogram_max(histogram), HISTOGRAM_VALUE_MAX);
    ck_assert_uint_eq(histogram_percentile(histogram, 99.9), HISTOGRAM_VALUE_MAX);
}
END_TEST

static int
compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

START_TEST(percentiles_agree_with_sorted_values)
{
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    static const double percents[] = { 0.1, 10.0, 50.0, 90.0, 99.0, 99.9, 99.99 };
    struct rng rng;
    rng_init(&rng, 11);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = rng_next(&rng) >> (24 + rng_below(&rng, 30));
        histogram_record(histogram, values[i]);
    }
    qsort(values, COUNT, sizeof(values[0]), compare);
    for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++) {
        size_t rank = (size_t)(percents[i] / 100.0 * COUNT + 0.999999);
        uint64_t exact = values[rank - 1];
        uint64_t said = histogram_percentile(histogram, percents[i]);
        ck_assert_uint_ge(said, exact);
        ck_assert_uint_le(said - exact, exact / 1000);
    }
}
END_TEST

START_TEST(merging_is_recording_everything_in_one)
{
    struct histogram *other = histogram_create();
    struct histogram *all = histogram_create();
    struct rng rng;
    rng_init(&rng, 12);
    for (int i = 0; i < 10000; i++) {
        uint64_t value = rng_below(&rng, 1000000);
        histogram_record(i % 3 == 0 ? histogram : other, value);
        histogram_record(all, value);
    }
    histogram_merge(histogram, other);
    ck_assert_uint_eq(histogram_count(histogram), histogram_count(all));
    ck_assert_uint_eq(histogram_min(histogram), histogram_min(all));
    ck_assert_uint_eq(histogram_max(histogram), histogram_max(all));
    for (double percent = 0.0; percent <= 100.0; percent += 2.5)
        ck_assert_uint_eq(histogram_percentile(histogram, percent),
                          histogram_percentile(all, percent));
    histogram_destroy(&other);
    histogram_destroy(&all);
}
END_TEST

START_TEST(merging_an_empty_one_changes_nothing)
{
    struct histogram *empty = histogram_create();
    histogram_record(histogram, 5);
    histogram_merge(histogram, empty);
    ck_assert_uint_eq(histogram_count(histogram), 1);
    ck_assert_uint_eq(histogram_min(histogram), 5);
    histogram_merge(empty, histogram);
    ck_assert_uint_eq(histogram_min(empty), 5);
    histogram_destroy(&empty);
}
END_TEST

START_TEST(a_dump_has_a_line_for_each_range)
{
    char text[512] = { 0 };
    FILE *file = fmemopen(text, sizeof(text), "w");
    histogram_record(histogram, 7);
    histogram_record(histogram, 7);
    histogram_record(histogram, 5000);
    ck_assert(histogram_dump(histogram, "reads", file));
    fclose(file);
    ck_assert_str_eq(text, "# reads: latency_ns count\n7 2\n5003 1\n");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("histogram");
    TCase *tcase = tcase_create("histogram");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, an_empty_histogram_says_zero_everywhere);
    tcase_add_test(tcase, one_value_is_every_percentile);
    tcase_add_test(tcase, values_below_2048_are_exact);
    tcase_add_test(tcase, every_value_keeps_three_significant_digits);
    tcase_add_test(tcase, a_value_above_an_hour_counts_as_an_hour);
    tcase_add_test(tcase, percentiles_agree_with_sorted_values);
    tcase_add_test(tcase, merging_is_recording_everything_in_one);
    tcase_add_test(tcase, merging_an_empty_one_changes_nothing);
    tcase_add_test(tcase, a_dump_has_a_line_for_each_range);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
