/* TSAN */
/* The log on a disk that fails, fills up, writes short and loses power. Whatever
 * happens and whenever: what was acknowledged is there again, the rest is a
 * prefix, and after a failure nothing more is acknowledged. */
#include "wal_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

static struct log_test test;

static void
setup(void)
{
    test_init(&test);
    test.options.segment_bytes = 8 << 10;
    test.options.group_bytes_max = 2 << 10;
}

static void
teardown(void)
{
    test_fini(&test);
}

/* What a run was promised. */
struct promise {
    uint64_t full;    /* records acknowledged as synced */
    uint64_t normal;  /* ... as written */
    uint64_t highest; /* version issued */
    bool started;
    bool stopped; /* in an orderly way */
};

/* A life of the log that goes as far as the disk lets it. */
static struct promise
live(void)
{
    struct promise promise = { 0 };
    int round;

    if (test_try_up(&test) != BRD_OK)
        return promise;
    promise.started = true;
    promise.full = promise.normal = test.next;
    for (round = 0; round < 12; round++) {
        bool sync = round % 3 == 0;
        uint64_t version = 0;
        int i;

        for (i = 0; i < 8; i++) {
            version = test_append(&test, sync && i == 7);
            if (version == 0)
                break;
            promise.highest = version;
        }
        brd_wal_kick(test.wal);
        if (version == 0 || !test_wait(&test, BRD_DURABILITY_NORMAL, version))
            break;
        promise.normal = test.next;
        if (sync) {
            if (!test_wait(&test, BRD_DURABILITY_FULL, version))
                break;
            promise.full = test.next;
        } else {
            brd_clock_advance(test.clock, 100 * BRD_NS_PER_MS);
        }
    }
    promise.stopped = brd_wal_stop(test.wal) == BRD_OK;
    if (promise.stopped)
        promise.full = promise.normal = test.next;
    brd_wal_close(&test.wal);
    return promise;
}

/* The next life finds at least so many records, and issues no version again. */
static void
check_recovery(const struct promise *promise, uint64_t least)
{
    uint64_t version;

    test_up(&test);
    ck_assert_msg(test.replayed >= least, "%llu records of at least %llu",
                  (unsigned long long)test.replayed, (unsigned long long)least);
    version = test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    ck_assert_uint_gt(version, promise->highest);
    test_down(&test);
    test_up(&test);
    ck_assert_uint_gt(test.replayed, least);
    test_down(&test);
}

/* ---- Power ---- */

START_TEST(power_may_fail_at_every_step)
{
    uint64_t random = test_seed();
    long steps = 0;
    long nth;

    for (nth = 1;; nth++) {
        int keep;
        bool was_cut = false;

        for (keep = 0; keep < 4; keep++) {
            struct promise promise;

            teardown();
            setup();
            live(); /* there is something to recover from before */
            faulty_cut_at(test.disk, nth);
            promise = live();
            was_cut = faulty_is_cut(test.disk);
            faulty_reboot(test.disk, keep < 3 ? (enum faulty_keep)keep : FAULTY_KEEP_SOME,
                          test_random(&random));
            check_recovery(&promise, promise.full);
        }
        if (!was_cut)
            break;
        steps = nth;
    }
    printf("%ld steps\n", steps);
    ck_assert_int_gt(steps, 40);
}
END_TEST

START_TEST(a_kill_at_every_step_loses_nothing_that_was_written)
{
    long nth;

    for (nth = 1;; nth++) {
        struct promise promise;
        bool was_cut;

        teardown();
        setup();
        live();
        faulty_cut_at(test.disk, nth);
        promise = live();
        was_cut = faulty_is_cut(test.disk);
        faulty_kill(test.disk);
        faulty_clear(test.disk);
        check_recovery(&promise, promise.normal);
        if (!was_cut)
            break;
    }
    ck_assert_int_gt(nth, 40);
}
END_TEST

/* ---- Failing calls ---- */

static void
fail_every_call(enum faulty_kind kind, int error, long times)
{
    long nth;

    for (nth = 1;; nth++) {
        struct promise promise;
        bool hit;

        teardown();
        setup();
        live();
        faulty_fail(test.disk, kind, nth, times, error);
        promise = live();
        hit = faulty_hit(test.disk);
        /* First as if only the process had ended, then without power. */
        faulty_clear(test.disk);
        {
            struct faulty *disk = test.disk;
            struct brd_wal_options options = test.options;

            test.disk = faulty_clone(disk);
            test.options.io = faulty_io(test.disk);
            check_recovery(&promise, promise.normal);
            faulty_destroy(&test.disk);
            test.disk = disk;
            test.options = options;
        }
        faulty_reboot(test.disk, FAULTY_KEEP_NONE, 0);
        check_recovery(&promise, promise.full);
        if (!hit)
            break;
    }
    printf("%s: %ld calls\n", faulty_kind_name(kind), nth - 1);
}

static const struct {
    enum faulty_kind kind;
    int error;
} failing[] = {
    { FAULTY_WRITE, EIO },     { FAULTY_WRITE, ENOSPC },     { FAULTY_FDATASYNC, EIO },
    { FAULTY_FSYNC, EIO },     { FAULTY_FALLOCATE, ENOSPC }, { FAULTY_OPEN, EMFILE },
    { FAULTY_FTRUNCATE, EIO }, { FAULTY_UNLINK, EIO },       { FAULTY_MKDIR, EACCES },
    { FAULTY_LIST, EIO },      { FAULTY_READ, EIO },         { FAULTY_LOCK, EIO },
};

START_TEST(one_failing_call_never_costs_what_was_acknowledged)
{
    fail_every_call(failing[_i].kind, failing[_i].error, 1);
}
END_TEST

START_TEST(a_call_that_fails_for_good_never_costs_what_was_acknowledged)
{
    fail_every_call(failing[_i].kind, failing[_i].error, 0);
}
END_TEST

START_TEST(a_first_start_survives_every_failing_call)
{
    const enum faulty_kind kinds[] = { FAULTY_WRITE, FAULTY_FSYNC,  FAULTY_FDATASYNC, FAULTY_OPEN,
                                       FAULTY_MKDIR, FAULTY_RENAME, FAULTY_FALLOCATE };
    size_t k;

    for (k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        long nth;
        bool hit;

        for (nth = 1;; nth++) {
            enum brd_status status;

            teardown();
            setup();
            faulty_fail(test.disk, kinds[k], nth, 1, EIO);
            status = test_try_up(&test);
            hit = faulty_hit(test.disk);
            if (hit && status != BRD_OK)
                ck_assert_uint_gt(strlen(test.error.text), 10);
            brd_wal_close(&test.wal);
            faulty_clear(test.disk);
            test_up(&test);
            ck_assert_uint_eq(test.replayed, 0);
            test_down(&test);
            if (!hit)
                break;
        }
    }
}
END_TEST

START_TEST(a_short_write_is_continued_or_poisons)
{
    long nth;

    for (nth = 1; nth < 60; nth++) {
        struct promise promise;

        teardown();
        setup();
        live();
        faulty_short(test.disk, nth, (size_t)(nth * 7 % 100));
        promise = live();
        ck_assert(promise.stopped); /* the rest went through */
        check_recovery(&promise, promise.full);

        teardown();
        setup();
        live();
        faulty_short(test.disk, nth, (size_t)(nth * 7 % 100) + 1);
        faulty_fail(test.disk, FAULTY_WRITE, nth + 1, 0, ENOSPC);
        promise = live();
        faulty_reboot(test.disk, FAULTY_KEEP_ALL, 0);
        check_recovery(&promise, promise.normal);
    }
}
END_TEST

/* ---- Poison ---- */

/* The file that the first records of a new log go to. What fails there is the log's: the
 * segment ahead of it is prepared meanwhile, sooner or later. */
static void
fail_first_segment(enum faulty_kind kind, int error)
{
    faulty_fail_path(test.disk, test_segment(1));
    faulty_fail(test.disk, kind, 1, 1, error);
}

/* A copy, to be freed. */
static struct brd_bytes
copy_first_segment(void)
{
    struct brd_bytes content = faulty_content(test.disk, test_segment(1));
    uint8_t *copy = malloc(content.size);

    ck_assert_ptr_nonnull(content.data);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, content.data, content.size);
    return brd_bytes(copy, content.size);
}

START_TEST(after_a_failed_write_nothing_more_is_written_or_acknowledged)
{
    struct brd_wal_stats stats;
    struct brd_bytes then;
    uint64_t before;
    uint64_t version;

    test_up(&test);
    before = test_append_groups(&test, 3, BRD_DURABILITY_NORMAL);
    fail_first_segment(FAULTY_WRITE, ENOSPC);
    version = test_append_many(&test, 1, true);
    ck_assert(!test_wait(&test, BRD_DURABILITY_NORMAL, version));
    ck_assert(brd_wal_poisoned(test.wal));
    ck_assert_int_eq(brd_wal_reserve(test.wal, 10), BRD_READ_ONLY);
    /* What was written before is not lost: it is synced. */
    {
        uint64_t seen = 0;

        while (brd_wal_committed(test.wal, BRD_DURABILITY_FULL) < before)
            seen = test_wait_progress(&test, seen);
    }
    then = copy_first_segment();
    ck_assert_uint_eq(brd_wal_committed(test.wal, BRD_DURABILITY_NORMAL), before);
    ck_assert_uint_eq(brd_wal_committed(test.wal, BRD_DURABILITY_ASYNC), before);
    brd_wal_get_stats(test.wal, &stats);
    ck_assert(stats.poisoned);
    ck_assert_uint_eq(stats.write_errors, 1);
    ck_assert_int_eq(brd_wal_stop(test.wal), BRD_IO_ERROR);
    ck_assert(brd_bytes_equal(faulty_content(test.disk, test_segment(1)), then));
    free((void *)(uintptr_t)then.data);
    brd_wal_close(&test.wal);
    faulty_clear(test.disk);
    faulty_fail_path(test.disk, NULL);
    test_up(&test);
    ck_assert_uint_eq(test.replayed, 3);
    test_down(&test);
}
END_TEST

/* Replaces stderr by a pipe that takes no more: whoever has a message waits. Returns the
 * pipe's other end, which lets it go on when it is closed. */
static int
block_stderr(int *out_kept)
{
    static const char filler[4096];
    int ends[2];

    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    ck_assert_int_eq(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    while (write(ends[1], filler, sizeof(filler)) > 0)
        ;
    ck_assert_int_eq(fcntl(ends[1], F_SETFL, 0), 0);
    *out_kept = dup(STDERR_FILENO);
    ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    close(ends[1]);
    return ends[0];
}

START_TEST(who_writes_after_the_failure_was_seen_is_refused_at_once)
{
    int kept;
    int other_end;

    signal(SIGPIPE, SIG_IGN);
    test_up(&test);
    test_append_groups(&test, 3, BRD_DURABILITY_NORMAL);
    other_end = block_stderr(&kept);
    brd_diag_set_level(BRD_DIAG_ERROR);
    fail_first_segment(FAULTY_WRITE, ENOSPC);
    test_append_many(&test, 1, true);
    while (!brd_wal_poisoned(test.wal))
        sched_yield();
    /* Its thread has not gone beyond the message. */
    ck_assert_int_eq(brd_wal_reserve(test.wal, 10), BRD_READ_ONLY);
    close(other_end);
    dup2(kept, STDERR_FILENO);
    close(kept);
    ck_assert_int_eq(brd_wal_stop(test.wal), BRD_IO_ERROR);
    brd_wal_close(&test.wal);
}
END_TEST

START_TEST(a_failed_sync_is_never_repeated)
{
    uint64_t before;
    uint64_t version;
    uint64_t syncs;

    test_up(&test);
    before = test_append_groups(&test, 3, BRD_DURABILITY_FULL);
    faulty_fail_path(test.disk, "/wal/");
    faulty_fail(test.disk, FAULTY_FDATASYNC, 1, 1, EIO);
    version = test_append_many(&test, 1, true);
    ck_assert(!test_wait(&test, BRD_DURABILITY_FULL, version));
    syncs = faulty_calls(test.disk, FAULTY_FDATASYNC);
    ck_assert_uint_eq(brd_wal_committed(test.wal, BRD_DURABILITY_FULL), before);
    ck_assert_uint_eq(brd_wal_committed(test.wal, BRD_DURABILITY_NORMAL), before);
    ck_assert_int_eq(brd_wal_reserve(test.wal, 10), BRD_READ_ONLY);
    brd_wal_want_sync(test.wal, version);
    ck_assert_int_eq(brd_wal_stop(test.wal), BRD_IO_ERROR);
    ck_assert_uint_eq(faulty_calls(test.disk, FAULTY_FDATASYNC), syncs);
    brd_wal_close(&test.wal);
}
END_TEST

START_TEST(a_segment_that_meta_could_not_name_is_never_acknowledged)
{
    struct brd_wal_stats stats;
    uint64_t version;
    uint64_t before;

    test_up(&test);
    before = test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    do {
        version = test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
        brd_wal_get_stats(test.wal, &stats);
    } while (stats.segments < 2);
    faulty_fail_path(test.disk, "meta");
    faulty_fail(test.disk, FAULTY_FDATASYNC, 1, 1, EIO);
    brd_wal_want_sync(test.wal, version);
    ck_assert(!test_wait(&test, BRD_DURABILITY_FULL, version));
    ck_assert_int_eq(brd_wal_stop(test.wal), BRD_IO_ERROR);
    ck_assert_uint_eq(brd_wal_committed(test.wal, BRD_DURABILITY_FULL), before);
    ck_assert_uint_eq(brd_wal_committed(test.wal, BRD_DURABILITY_NORMAL), before);
    brd_wal_close(&test.wal);
}
END_TEST

START_TEST(a_record_reserved_before_the_failure_is_dropped_after_it)
{
    uint8_t content[16] = { 0 };
    struct brd_wal_payload payload = { .head = brd_bytes(content, sizeof(content)) };
    struct brd_wal_stats stats;
    uint64_t version;

    test_up(&test);
    ck_assert_int_eq(brd_wal_reserve(test.wal, sizeof(content)), BRD_OK);
    faulty_fail(test.disk, FAULTY_WRITE, 1, 0, EIO);
    version = test_append_many(&test, 1, false);
    ck_assert(!test_wait(&test, BRD_DURABILITY_NORMAL, version));
    version = brd_wal_append(test.wal, sizeof(content), TEST_NOW_NS, &payload, false);
    ck_assert_uint_gt(version, brd_wal_last_version(test.wal));
    brd_wal_kick(test.wal);
    ck_assert_uint_lt(brd_wal_committed(test.wal, BRD_DURABILITY_ASYNC), version);
    ck_assert_int_eq(brd_wal_stop(test.wal), BRD_IO_ERROR);
    brd_wal_get_stats(test.wal, &stats);
    ck_assert_uint_eq(stats.queue_bytes, 0);
    ck_assert_uint_eq(stats.queue_records, 0);
}
END_TEST

/* Yields until the preparer has got there. */
static void
wait_until_allocated(uint64_t calls)
{
    while (faulty_calls(test.disk, FAULTY_FALLOCATE) < calls)
        sched_yield();
}

START_TEST(a_segment_that_cannot_be_prepared_ahead_is_tried_again_when_needed)
{
    struct brd_wal_stats stats;
    uint64_t version;

    test_up(&test);
    wait_until_allocated(2); /* the first, and the one ahead of it */
    faulty_fail(test.disk, FAULTY_FALLOCATE, 1, 1, ENOSPC);
    do {
        test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
        brd_wal_get_stats(test.wal, &stats);
    } while (stats.segments < 2);
    wait_until_allocated(3);
    ck_assert(faulty_hit(test.disk));
    version = test_append_many(&test, 300, true);
    ck_assert(test_wait(&test, BRD_DURABILITY_FULL, version));
    test_down(&test);
    test_up(&test);
    ck_assert_uint_eq(test.replayed, test.next);
    ck_assert_uint_gt(test.replayed, 300);
    test_down(&test);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wal faults");
    TCase *tcase = tcase_create("faults");
    const int count = sizeof(failing) / sizeof(failing[0]);

    tcase_set_timeout(tcase, 300);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, power_may_fail_at_every_step);
    tcase_add_test(tcase, a_kill_at_every_step_loses_nothing_that_was_written);
    tcase_add_loop_test(tcase, one_failing_call_never_costs_what_was_acknowledged, 0, count);
    tcase_add_loop_test(tcase, a_call_that_fails_for_good_never_costs_what_was_acknowledged, 0,
                        count);
    tcase_add_test(tcase, a_first_start_survives_every_failing_call);
    tcase_add_test(tcase, a_short_write_is_continued_or_poisons);
    tcase_add_test(tcase, after_a_failed_write_nothing_more_is_written_or_acknowledged);
    tcase_add_test(tcase, who_writes_after_the_failure_was_seen_is_refused_at_once);
    tcase_add_test(tcase, a_failed_sync_is_never_repeated);
    tcase_add_test(tcase, a_segment_that_meta_could_not_name_is_never_acknowledged);
    tcase_add_test(tcase, a_record_reserved_before_the_failure_is_dropped_after_it);
    tcase_add_test(tcase, a_segment_that_cannot_be_prepared_ahead_is_tried_again_when_needed);
    suite_add_tcase(suite, tcase);
    return test_main(suite);
}
