/* Syncs that wait for company: when, for how long, and what a log makes of it. */
/* TSAN */
#include "wal/gather.h"
#include "wal_test.h"

#define MS BRD_NS_PER_MS

/* ---- The decision ---- */

/* After a sync of 2 ms that ended at 10 ms and had 100 records, during which as many came. */
static struct gather
after_a_sync(void)
{
    struct gather gather = { 0 };

    gather_note_sync(&gather, 100, 200, 8 * MS, 10 * MS);
    return gather;
}

START_TEST(those_who_were_answered_are_waited_for)
{
    struct gather gather = after_a_sync();

    ck_assert_uint_eq(gather.target, 300);
    ck_assert_uint_eq(gather_until(&gather, 200, 10 * MS), 12 * MS); /* as long as a sync takes */
    ck_assert_uint_eq(gather_until(&gather, 299, 12 * MS - 1), 12 * MS);
    ck_assert_uint_eq(gather_until(&gather, 300, 10 * MS), 0); /* all are back */
    ck_assert_uint_eq(gather_until(&gather, 200, 12 * MS), 0); /* too late */
}
END_TEST

START_TEST(who_writes_alone_waits_for_nobody)
{
    struct gather gather = { 0 };
    uint64_t now_ns = 10 * MS;
    uint64_t i;

    for (i = 1; i <= 100; i++) {
        ck_assert_uint_eq(gather_until(&gather, i, now_ns), 0);
        gather_note_sync(&gather, i, i, now_ns, now_ns + 2 * MS);
        now_ns += 2 * MS + 50000;
    }
}
END_TEST

START_TEST(where_syncs_are_fast_nobody_is_waited_for)
{
    struct gather gather = { 0 };

    gather_note_sync(&gather, 100, 200, 10 * MS, 10 * MS + 399999);
    ck_assert_uint_eq(gather_until(&gather, 200, 10 * MS + 399999), 0);
    /* And where they are very slow, not long. */
    gather_note_sync(&gather, 200, 300, 10 * MS, 10000 * MS);
    ck_assert_uint_eq(gather_until(&gather, 300, 10000 * MS), 10010 * MS);
}
END_TEST

/* How many of n syncs wait where each wait brings so many of 100. */
static unsigned
count_waits(int n, uint64_t brought)
{
    struct gather gather = after_a_sync();
    unsigned waits = 0;

    for (; n > 0; n--)
        if (gather_until(&gather, 200, 10 * MS) != 0) {
            waits++;
            gather_note_wait(&gather, 200, 200 + brought);
        }
    return waits;
}

START_TEST(what_brings_few_is_tried_less_and_less)
{
    ck_assert_uint_eq(count_waits(100, 90), 100);
    ck_assert_uint_eq(count_waits(16, 89), 1);
    ck_assert_uint_eq(count_waits(17, 89), 2);
    ck_assert_uint_eq(count_waits(16 + 32, 0), 2);
    ck_assert_uint_eq(count_waits(16 + 32 + 1, 0), 3);
    /* 16 + 32 + ... + 2,048, and 2,048 each from then on */
    ck_assert_uint_eq(count_waits(4080, 0), 8);
    ck_assert_uint_eq(count_waits(4080 + 10 * 2048, 0), 18);
}
END_TEST

/* One that was worth it, and all is forgotten. */
START_TEST(what_brings_everybody_is_tried_again)
{
    struct gather gather = after_a_sync();
    int i;

    for (i = 0; i < 5; i++)
        gather_note_wait(&gather, 200, 200);
    ck_assert_uint_eq(gather.skip, 16 * 16 - 1);
    gather_note_wait(&gather, 200, 300);
    gather_note_wait(&gather, 200, 200);
    ck_assert_uint_eq(gather.skip, 15);
}
END_TEST

/* ---- Of the log ---- */

static struct log_test test;

static void
take_time(void *arg, enum faulty_kind kind)
{
    (void)arg;
    if (kind == FAULTY_FDATASYNC)
        brd_clock_advance(test.clock, 20 * MS);
}

/* Two who write in turn, and then both at once. However long a thread is kept from running, what
 * is waited for comes; that it was waited for is seen in the end. */
START_TEST(a_log_waits_for_company_on_a_slow_disk_and_loses_nothing)
{
    struct brd_wal_stats stats;
    uint64_t version;

    test_init(&test);
    test_up(&test);
    faulty_set_hook(test.disk, take_time, NULL);
    do {
        version = test_append_many(&test, 2, true);
        ck_assert(test_wait(&test, BRD_DURABILITY_FULL, version)); /* two were answered */
        version = test_append_many(&test, 1, true);
        ck_assert(test_wait(&test, BRD_DURABILITY_FULL, version)); /* and one comes back */
        brd_wal_get_stats(test.wal, &stats);
    } while (stats.sync_gathers < 3);
    faulty_set_hook(test.disk, NULL, NULL);
    test_down(&test);
    ck_assert_int_eq(test_read(&test), BRD_OK);
    ck_assert_uint_eq(test.replayed, test.next);
    brd_wal_close(&test.wal);
    test_fini(&test);
}
END_TEST

/* What nobody waits for is no company: who alone asks for syncs, beside a stream of others'
 * writes, is not held up. */
START_TEST(a_stream_of_weaker_writes_is_no_company)
{
    struct brd_wal_stats stats;
    int i;

    test_init(&test);
    test_up(&test);
    faulty_set_hook(test.disk, take_time, NULL);
    for (i = 0; i < 50; i++) {
        (void)test_append_many(&test, 9, false);
        ck_assert(test_wait(&test, BRD_DURABILITY_FULL, test_append_many(&test, 1, true)));
    }
    brd_wal_get_stats(test.wal, &stats);
    ck_assert_uint_ge(stats.syncs, 50);
    ck_assert_uint_eq(stats.sync_gathers, 0);
    faulty_set_hook(test.disk, NULL, NULL);
    test_down(&test);
    test_fini(&test);
}
END_TEST

/* A stop does not wait for who will not come. */
START_TEST(stopping_ends_the_wait)
{
    int i;

    test_init(&test);
    for (i = 0; i < 20; i++) {
        test_up(&test);
        faulty_set_hook(test.disk, take_time, NULL);
        ck_assert(test_wait(&test, BRD_DURABILITY_FULL, test_append_many(&test, 2, true)));
        (void)test_append_many(&test, 1, true);
        test_down(&test);
        faulty_set_hook(test.disk, NULL, NULL);
    }
    ck_assert_int_eq(test_read(&test), BRD_OK);
    ck_assert_uint_eq(test.replayed, 60);
    brd_wal_close(&test.wal);
    test_fini(&test);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wal gather");
    TCase *tcase = tcase_create("gather");

    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, those_who_were_answered_are_waited_for);
    tcase_add_test(tcase, who_writes_alone_waits_for_nobody);
    tcase_add_test(tcase, where_syncs_are_fast_nobody_is_waited_for);
    tcase_add_test(tcase, what_brings_few_is_tried_less_and_less);
    tcase_add_test(tcase, what_brings_everybody_is_tried_again);
    tcase_add_test(tcase, a_log_waits_for_company_on_a_slow_disk_and_loses_nothing);
    tcase_add_test(tcase, a_stream_of_weaker_writes_is_no_company);
    tcase_add_test(tcase, stopping_ends_the_wait);
    suite_add_tcase(suite, tcase);
    return test_main(suite);
}
