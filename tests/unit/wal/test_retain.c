/* TSAN */
/* Segments that something else keeps: rotation, release, and every place at which
 * power can fail or the disk can refuse on the way. */
#include "wal_test.h"

#include <errno.h>
#include <sched.h>

static struct log_test test;

static void
setup(void)
{
    test_init(&test);
}

static void
teardown(void)
{
    test_fini(&test);
}

static bool
has_segment(uint64_t number)
{
    return faulty_content(test.disk, test_segment(number)).data != NULL;
}

static struct brd_wal_position
rotate(void)
{
    struct brd_wal_position position;

    ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
    return position;
}

/* Replays without a look at the content, which begins somewhere in the middle. */
struct seen {
    uint64_t first, last, records;
};

static enum brd_status
note(void *arg, uint64_t version, struct brd_bytes payload, uint64_t done, uint64_t total)
{
    struct seen *seen = arg;

    (void)payload;
    (void)done;
    (void)total;
    if (seen->first == 0)
        seen->first = version;
    seen->last = version;
    seen->records++;
    return BRD_OK;
}

static struct seen
replay_rest(void)
{
    struct seen seen = { 0 };
    enum brd_status status;

    ck_assert_msg(test_open(&test) == BRD_OK, "%s", test.error.text);
    status = brd_wal_replay(test.wal, note, &seen, &test.report, &test.error);
    ck_assert_msg(status == BRD_OK, "%s", test.error.text);
    return seen;
}

START_TEST(a_rotation_parts_what_was_written_from_what_comes)
{
    struct brd_wal_position position;
    struct brd_wal_position again;
    uint64_t version;

    test_up(&test);
    position = rotate();
    ck_assert_uint_eq(position.version, 0);
    ck_assert_uint_eq(position.lsn, 0);
    ck_assert(!has_segment(3)); /* 1 is in use and empty, 2 is prepared */
    version = test_append_groups(&test, 10, BRD_DURABILITY_NORMAL);
    position = rotate();
    ck_assert_uint_eq(position.version, version);
    ck_assert_uint_eq(position.lsn, brd_wal_written(test.wal).lsn);
    ck_assert_uint_eq(position.records, 10);
    again = rotate();
    ck_assert_mem_eq(&again, &position, sizeof(position));
    test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    test_down(&test);
    test_up(&test);
    ck_assert_uint_eq(test.replayed, 15);
    test_down(&test);
}
END_TEST

START_TEST(what_is_released_is_gone_and_the_rest_is_replayed)
{
    struct brd_wal_stats before;
    struct brd_wal_stats stats;
    uint64_t version;
    struct seen seen;

    test_up(&test);
    version = test_append_groups(&test, 10, BRD_DURABILITY_NORMAL);
    ck_assert_uint_eq(rotate().version, version);
    test_append_groups(&test, 5, BRD_DURABILITY_NORMAL);
    brd_wal_get_stats(test.wal, &before);
    ck_assert_int_eq(brd_wal_release(test.wal, version - 1), BRD_OK);
    ck_assert(has_segment(1)); /* it holds a record above */
    ck_assert_int_eq(brd_wal_release(test.wal, version), BRD_OK);
    ck_assert(!has_segment(1));
    ck_assert(has_segment(2));
    brd_wal_get_stats(test.wal, &stats);
    ck_assert_uint_eq(stats.segments, before.segments - 1);
    ck_assert_uint_lt(stats.segment_bytes_total, before.segment_bytes_total);
    ck_assert_int_eq(brd_wal_release(test.wal, UINT64_MAX), BRD_OK);
    ck_assert(has_segment(2)); /* never the newest */
    test_kill(&test);

    seen = replay_rest();
    ck_assert_uint_eq(brd_wal_base_version(test.wal), version);
    ck_assert_uint_eq(seen.records, 5);
    ck_assert_uint_gt(seen.first, version);
    ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_OK);
    test_append_groups(&test, 3, BRD_DURABILITY_FULL);
    test_down(&test);
    ck_assert_uint_eq(replay_rest().records, 8);
}
END_TEST

START_TEST(a_log_that_was_released_to_its_end_keeps_its_versions)
{
    uint64_t version;
    struct seen seen;

    test_up(&test);
    version = test_append_groups(&test, 10, BRD_DURABILITY_NORMAL);
    (void)rotate();
    ck_assert_int_eq(brd_wal_release(test.wal, version), BRD_OK);
    test_cut(&test, FAULTY_KEEP_NONE, 1);

    seen = replay_rest();
    ck_assert_uint_eq(seen.records, 0);
    ck_assert_uint_eq(brd_wal_base_version(test.wal), version);
    ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_OK);
    ck_assert_uint_ge(test_append_groups(&test, 1, BRD_DURABILITY_FULL), version);
    test_down(&test);
}
END_TEST

START_TEST(either_slot_of_meta_names_a_segment_that_is_there)
{
    const char *path = TEST_DIR "/meta";
    uint64_t version;
    int slot;

    for (slot = 0; slot < 2; slot++) {
        struct faulty *whole = test.disk;

        if (slot == 0) {
            test_up(&test);
            version = test_append_groups(&test, 10, BRD_DURABILITY_NORMAL);
            (void)rotate();
            ck_assert_int_eq(brd_wal_release(test.wal, version), BRD_OK);
            test_kill(&test);
        }
        test.disk = faulty_clone(whole);
        test.options.io = faulty_io(test.disk);
        faulty_flip(test.disk, path, (uint64_t)slot * 4096 * 8 + 100);
        ck_assert_uint_eq(replay_rest().records, 0);
        brd_wal_close(&test.wal);
        faulty_destroy(&test.disk);
        test.disk = whole;
        test.options.io = faulty_io(test.disk);
    }
}
END_TEST

/* Ten records, a rotation, five more; then the release, cut at its nth change. */
static bool
cut_release(long nth, enum faulty_keep keep, uint64_t seed)
{
    uint64_t acked;
    uint64_t version;
    bool was_cut;
    struct seen seen;

    test_up(&test);
    version = test_append_groups(&test, 10, BRD_DURABILITY_NORMAL);
    (void)rotate();
    acked = test_append_groups(&test, 5, BRD_DURABILITY_FULL);
    faulty_cut_at(test.disk, nth);
    was_cut = brd_wal_release(test.wal, version) != BRD_OK;
    test_cut(&test, keep, seed);

    seen = replay_rest();
    ck_assert_uint_eq(seen.last, acked);
    ck_assert(seen.records == 5 || seen.records == 15);
    if (!was_cut)
        ck_assert_uint_eq(seen.records, 5);
    ck_assert_uint_eq(brd_wal_base_version(test.wal), seen.records == 15 ? 0 : version);
    ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_OK);
    if (seen.records == 5)
        ck_assert(!has_segment(1)); /* the start has done the rest */
    test_down(&test);
    return was_cut;
}

START_TEST(power_may_fail_at_every_step_of_a_release)
{
    static const enum faulty_keep keeps[] = { FAULTY_KEEP_NONE, FAULTY_KEEP_ALL, FAULTY_KEEP_SOME };
    size_t k;
    long nth;

    for (k = 0; k < 3; k++) {
        bool was_cut = true;
        long cuts = 0;

        for (nth = 1; was_cut; nth++) {
            was_cut = cut_release(nth, keeps[k], (uint64_t)nth);
            cuts += was_cut;
            teardown();
            setup();
        }
        ck_assert_int_ge(cuts, 5); /* a sync, meta written and synced twice */
    }
}
END_TEST

START_TEST(a_file_that_cannot_be_removed_goes_with_the_next_start)
{
    uint64_t version;

    test.options.no_spares = true;
    test_up(&test);
    version = test_append_groups(&test, 10, BRD_DURABILITY_NORMAL);
    (void)rotate();
    faulty_fail(test.disk, FAULTY_UNLINK, 1, 1, EPERM);
    ck_assert_int_eq(brd_wal_release(test.wal, version), BRD_OK);
    ck_assert(has_segment(1));
    test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    test_down(&test);
    ck_assert_uint_eq(replay_rest().records, 1);
    ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_OK);
    ck_assert(!has_segment(1));
    test_down(&test);
}
END_TEST

START_TEST(a_start_removes_nothing_before_meta_is_durable)
{
    uint64_t version;

    test.options.no_spares = true;
    test_up(&test);
    version = test_append_groups(&test, 10, BRD_DURABILITY_NORMAL);
    (void)rotate();
    faulty_fail(test.disk, FAULTY_UNLINK, 1, 1, EPERM);
    ck_assert_int_eq(brd_wal_release(test.wal, version), BRD_OK);
    test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    test_down(&test);
    /* What the start finds in meta may be in the page cache only. */
    ck_assert_uint_eq(replay_rest().records, 1);
    faulty_fail_path(test.disk, "meta");
    faulty_fail(test.disk, FAULTY_FDATASYNC, 1, 1, EIO);
    ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_IO_ERROR);
    ck_assert(has_segment(1));
    test_kill(&test);
    ck_assert_uint_eq(replay_rest().records, 1);
    ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_OK);
    ck_assert(!has_segment(1));
    test_down(&test);
}
END_TEST

START_TEST(a_failed_update_of_meta_removes_nothing)
{
    uint64_t version;

    test_up(&test);
    version = test_append_groups(&test, 10, BRD_DURABILITY_FULL);
    (void)rotate();
    faulty_fail_path(test.disk, "meta");
    faulty_fail(test.disk, FAULTY_FDATASYNC, 1, 0, EIO);
    ck_assert_int_eq(brd_wal_release(test.wal, version), BRD_READ_ONLY);
    ck_assert(brd_wal_poisoned(test.wal));
    ck_assert(has_segment(1));
    test_kill(&test);
    ck_assert_uint_eq(replay_rest().records, 10);
}
END_TEST

START_TEST(no_segment_for_a_rotation_is_no_failure_of_the_log)
{
    struct brd_wal_position position;
    uint64_t seen;

    test_up(&test);
    test_append_groups(&test, 10, BRD_DURABILITY_NORMAL);
    (void)rotate(); /* takes the prepared one; no other can be made from now on */
    test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
    faulty_fail(test.disk, FAULTY_FALLOCATE, 1, 0, ENOSPC);
    do {
        seen = test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
    } while (brd_wal_rotate(test.wal, &position) == BRD_OK);
    ck_assert(!brd_wal_poisoned(test.wal));
    seen = test_append_groups(&test, 3, BRD_DURABILITY_FULL);
    faulty_clear(test.disk);
    while (brd_wal_rotate(test.wal, &position) != BRD_OK)
        ;
    ck_assert_uint_eq(position.version, seen);
    test_down(&test);
}
END_TEST

static void *
rotate_for_ever(void *arg)
{
    enum brd_status *status = arg;
    struct brd_wal_position position;

    do {
        test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
        *status = brd_wal_rotate(test.wal, &position);
    } while (*status == BRD_OK);
    return NULL;
}

static void
hold_back_allocation(void *arg, enum faulty_kind kind)
{
    pthread_mutex_t *gate = arg;

    if (kind == FAULTY_FALLOCATE) {
        pthread_mutex_lock(gate);
        pthread_mutex_unlock(gate);
    }
}

START_TEST(whoever_waits_can_be_interrupted)
{
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    enum brd_status status = BRD_OK;
    pthread_t thread;

    test_up(&test);
    /* No segment gets ready any more: a rotation waits for ever, soon. */
    pthread_mutex_lock(&gate);
    faulty_set_hook(test.disk, hold_back_allocation, &gate);
    pthread_create(&thread, NULL, rotate_for_ever, &status);
    brd_wal_interrupt(test.wal);
    pthread_join(thread, NULL);
    ck_assert_int_eq(status, BRD_SHUTTING_DOWN);
    ck_assert_int_eq(brd_wal_release(test.wal, UINT64_MAX - 1), BRD_SHUTTING_DOWN);
    pthread_mutex_unlock(&gate);
    test_down(&test);
}
END_TEST

START_TEST(a_sync_can_be_waited_for)
{
    uint64_t version;

    test_up(&test);
    version = test_append_many(&test, 50, false);
    ck_assert_int_eq(brd_wal_wait_synced(test.wal, version), BRD_OK);
    ck_assert_uint_ge(brd_wal_committed(test.wal, BRD_DURABILITY_FULL), version);
    faulty_fail(test.disk, FAULTY_FDATASYNC, 1, 0, EIO);
    version = test_append_many(&test, 1, false);
    ck_assert_int_eq(brd_wal_wait_synced(test.wal, version), BRD_READ_ONLY);
    test_kill(&test);
}
END_TEST

START_TEST(nothing_counts_as_synced_once_records_may_be_dropped)
{
    uint8_t content[16] = { 0 };
    struct brd_wal_payload payload = { .head = brd_bytes(content, sizeof(content)) };
    uint64_t version;

    test_up(&test);
    version = test_append_many(&test, 1, false);
    ck_assert_int_eq(brd_wal_wait_synced(test.wal, version), BRD_OK);
    ck_assert_int_eq(brd_wal_reserve(test.wal, sizeof(content)), BRD_OK);
    /* An update of meta fails while nothing is unsynced: its ceiling has come near. */
    faulty_fail_path(test.disk, "meta");
    faulty_fail(test.disk, FAULTY_FDATASYNC, 1, 1, EIO);
    brd_clock_advance(test.clock, 3 * BRD_NS_PER_S);
    while (!brd_wal_poisoned(test.wal))
        sched_yield();
    ck_assert_uint_gt(brd_wal_append(test.wal, sizeof(content), TEST_NOW_NS, &payload, false),
                      version);
    ck_assert_uint_eq(brd_wal_last_version(test.wal), version);
    ck_assert_uint_eq(brd_wal_committed(test.wal, BRD_DURABILITY_FULL), version);
    ck_assert_int_eq(brd_wal_wait_synced(test.wal, version), BRD_READ_ONLY);
    test_kill(&test);
}
END_TEST

static Suite *
suite(void)
{
    Suite *s = suite_create("wal retain");
    TCase *tcase = tcase_create("retain");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, a_rotation_parts_what_was_written_from_what_comes);
    tcase_add_test(tcase, what_is_released_is_gone_and_the_rest_is_replayed);
    tcase_add_test(tcase, a_log_that_was_released_to_its_end_keeps_its_versions);
    tcase_add_test(tcase, either_slot_of_meta_names_a_segment_that_is_there);
    tcase_add_test(tcase, power_may_fail_at_every_step_of_a_release);
    tcase_add_test(tcase, a_file_that_cannot_be_removed_goes_with_the_next_start);
    tcase_add_test(tcase, a_start_removes_nothing_before_meta_is_durable);
    tcase_add_test(tcase, a_failed_update_of_meta_removes_nothing);
    tcase_add_test(tcase, no_segment_for_a_rotation_is_no_failure_of_the_log);
    tcase_add_test(tcase, whoever_waits_can_be_interrupted);
    tcase_add_test(tcase, a_sync_can_be_waited_for);
    tcase_add_test(tcase, nothing_counts_as_synced_once_records_may_be_dropped);
    suite_add_tcase(s, tcase);
    return s;
}

int
main(void)
{
    return test_main(suite());
}
