/* Histograms of durations, against a sorted list. */
#include "wal_test.h"

#include "wal/latency.h"

static struct latency latency;

static int
compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static uint64_t
percentile(uint64_t of_100000)
{
    struct latency_counts counts;

    latency_read(&latency, &counts);
    return latency_percentile(&counts, of_100000);
}

START_TEST(nothing_has_no_percentiles)
{
    memset(&latency, 0, sizeof(latency));
    ck_assert_uint_eq(percentile(50000), 0);
    ck_assert_uint_eq(percentile(100000), 0);
}
END_TEST

START_TEST(one_duration_is_every_percentile)
{
    uint64_t us;

    for (us = 0; us < 100000; us += 1 + us / 50) {
        memset(&latency, 0, sizeof(latency));
        latency_add(&latency, us);
        ck_assert_uint_eq(percentile(0), percentile(100000));
        ck_assert_uint_ge(percentile(50000), us);
        ck_assert_uint_le(percentile(50000), us < 16 ? us : us + us / 8);
    }
}
END_TEST

START_TEST(the_longest_of_all_has_a_bucket)
{
    memset(&latency, 0, sizeof(latency));
    latency_add(&latency, LATENCY_MAX_US - 1);
    ck_assert_uint_eq(percentile(50000), LATENCY_MAX_US);
    latency_add(&latency, UINT64_MAX);
    latency_add(&latency, LATENCY_MAX_US);
    ck_assert_uint_eq(percentile(100000), LATENCY_MAX_US);
}
END_TEST

START_TEST(percentiles_are_those_of_the_list_or_an_eighth_more)
{
    static const uint64_t asked[] = { 1, 1000, 50000, 90000, 99000, 99900, 99999, 100000 };
    static uint64_t list[20000];
    const size_t n = sizeof(list) / sizeof(list[0]);
    uint64_t state = test_seed();
    size_t i;

    memset(&latency, 0, sizeof(latency));
    for (i = 0; i < n; i++) {
        list[i] = test_random(&state) >> (30 + test_random(&state) % 33);
        latency_add(&latency, list[i]);
    }
    qsort(list, n, sizeof(list[0]), compare);
    for (i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
        size_t rank = (size_t)((n * asked[i] + 99999) / 100000);
        uint64_t exact = list[rank > 0 ? rank - 1 : 0];

        ck_assert_uint_ge(percentile(asked[i]), exact);
        ck_assert_uint_le(percentile(asked[i]), exact < 16 ? exact : exact + exact / 8);
    }
}
END_TEST

START_TEST(a_difference_has_only_what_came_between)
{
    struct latency_counts before;
    struct latency_counts after;
    int i;

    memset(&latency, 0, sizeof(latency));
    for (i = 0; i < 1000; i++)
        latency_add(&latency, 1000000);
    latency_read(&latency, &before);
    latency_add(&latency, 3);
    latency_read(&latency, &after);
    latency_subtract(&after, &before);
    ck_assert_uint_eq(latency_percentile(&after, 50000), 3);
    ck_assert_uint_eq(latency_percentile(&after, 100000), 3);
}
END_TEST

/* ---- Of the log ---- */

static struct log_test test;
static uint64_t took_us;

static void
take_time(void *arg, enum faulty_kind kind)
{
    (void)arg;
    if (kind == FAULTY_FDATASYNC)
        brd_clock_advance(test.clock, took_us * BRD_NS_PER_US);
}

START_TEST(a_log_tells_how_long_its_syncs_take)
{
    struct brd_wal_stats stats;
    int i;

    test_init(&test);
    test_up(&test);
    brd_wal_reset_stats(test.wal);
    took_us = 10;
    faulty_set_hook(test.disk, take_time, NULL);
    test_append_groups(&test, 90, BRD_DURABILITY_FULL);
    took_us = 5000;
    test_append_groups(&test, 10, BRD_DURABILITY_FULL);
    brd_wal_get_stats(test.wal, &stats);
    /* A few syncs of meta may make the clock of one of a segment longer, never shorter. */
    ck_assert_uint_ge(stats.syncs, 100);
    ck_assert_uint_ge(stats.sync_p50_us, 10);
    ck_assert_uint_lt(stats.sync_p50_us, 5000);
    ck_assert_uint_ge(stats.sync_p99_us, 5000);
    ck_assert_uint_ge(stats.sync_p999_us, stats.sync_p99_us);
    ck_assert_uint_ge(stats.sync_max_us, 5000);

    brd_wal_reset_stats(test.wal);
    brd_wal_get_stats(test.wal, &stats);
    ck_assert_uint_eq(stats.sync_p999_us, 0);
    took_us = 7;
    for (i = 0; i < 20; i++)
        test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    brd_wal_get_stats(test.wal, &stats);
    ck_assert_uint_ge(stats.sync_p50_us, 7);
    ck_assert_uint_lt(stats.sync_p50_us, 5000);
    faulty_set_hook(test.disk, NULL, NULL);
    test_down(&test);
    test_fini(&test);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wal latency");
    TCase *tcase = tcase_create("latency");

    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, nothing_has_no_percentiles);
    tcase_add_test(tcase, one_duration_is_every_percentile);
    tcase_add_test(tcase, the_longest_of_all_has_a_bucket);
    tcase_add_test(tcase, percentiles_are_those_of_the_list_or_an_eighth_more);
    tcase_add_test(tcase, a_difference_has_only_what_came_between);
    tcase_add_test(tcase, a_log_tells_how_long_its_syncs_take);
    suite_add_tcase(suite, tcase);
    return test_main(suite);
}
