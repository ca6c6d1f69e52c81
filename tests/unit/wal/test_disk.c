/* The log on a real file system: locks, a full disk, and processes that end at a
 * crash point. */
#include "wal_test.h"

#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static struct log_test test;
static char dir[256];

static void
setup(void)
{
    const char *base = getenv("TMPDIR");
    char command[1024];

    test_init(&test);
    snprintf(dir, sizeof(dir), "%s/brindle-wal-test-%ld", base != NULL ? base : "/tmp",
             (long)getpid());
    snprintf(command, sizeof(command), "rm -rf '%s' && mkdir '%s'", dir, dir);
    ck_assert_int_eq(system(command), 0);
    test.options.io = NULL;
    test.options.dir = dir;
}

static void
teardown(void)
{
    char command[1024];

    test_fini(&test);
    snprintf(command, sizeof(command), "umount '%s' 2>/dev/null; rm -rf '%s'", dir, dir);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(a_log_on_a_real_disk_comes_back)
{
    test_up(&test);
    test_append_groups(&test, 100, BRD_DURABILITY_NORMAL);
    test_append_groups(&test, 20, BRD_DURABILITY_FULL);
    test_down(&test);
    test_up(&test);
    ck_assert_uint_eq(test.replayed, 120);
    test_down(&test);
}
END_TEST

START_TEST(another_process_is_told_who_holds_the_directory)
{
    struct brd_wal *other = NULL;
    char pid[32];

    test_up(&test);
    ck_assert_int_eq(brd_wal_open(&test.options, &other, &test.error), BRD_BUSY);
    snprintf(pid, sizeof(pid), "pid %ld", (long)getpid());
    ck_assert_msg(strstr(test.error.text, pid) != NULL, "%s", test.error.text);
    test_down(&test);
}
END_TEST

START_TEST(a_directory_that_cannot_be_made_is_named)
{
    test.options.dir = "/proc/nowhere/data";
    ck_assert_int_eq(test_open(&test), BRD_IO_ERROR);
    ck_assert_ptr_nonnull(strstr(test.error.text, "/proc/nowhere/data"));
}
END_TEST

START_TEST(a_full_disk_poisons_and_loses_nothing)
{
    uint64_t version;
    uint64_t acked = 0;

    if (geteuid() != 0 || mount("tmpfs", dir, "tmpfs", 0, "size=256k") != 0) {
        printf("SKIP: a full disk needs root and a tmpfs\n");
        return;
    }
    test.options.segment_bytes = 32 << 10;
    test_up(&test);
    for (;;) {
        version = test_append_many(&test, 1, true);
        if (version == 0 || !test_wait(&test, BRD_DURABILITY_FULL, version))
            break;
        acked = test.next;
        ck_assert_uint_lt(acked, 10000);
    }
    ck_assert(brd_wal_poisoned(test.wal));
    ck_assert_uint_gt(acked, 500);
    ck_assert_int_eq(brd_wal_stop(test.wal), BRD_IO_ERROR);
    brd_wal_close(&test.wal);
    /* Still full: it reads, and says why it cannot start. */
    ck_assert_int_eq(test_read(&test), BRD_OK);
    ck_assert_uint_ge(test.replayed, acked);
    ck_assert_int_eq(brd_wal_start(test.wal, &test.error), BRD_DISK_FULL);
    ck_assert_ptr_nonnull(strstr(test.error.text, "No space left"));
    brd_wal_close(&test.wal);
    ck_assert_int_eq(mount("tmpfs", dir, "tmpfs", MS_REMOUNT, "size=4m"), 0);
    test_up(&test);
    ck_assert_uint_ge(test.replayed, acked);
    test_append_groups(&test, 10, BRD_DURABILITY_FULL);
    test_down(&test);
}
END_TEST

/* ---- Crash points ---- */

static const char *const points[] = {
    "start_synced",  "start_dropped",       "meta_written",  "start_epoch",
    "start_segment", "segment_allocated",   "group_written", "segment_prepared",
    "segment_begun", "first_segment_begun", "synced",        "stop_cut",
};

/* The life of a process that may end anywhere; it reports what was synced. */
static void
child(const char *point, int nth, int report)
{
    char crash[64];
    int i;

    snprintf(crash, sizeof(crash), "%s:%d", point, nth);
    setenv("BRINDLE_CRASH", crash, 1);
    if (test_try_up(&test) != BRD_OK)
        _exit(1);
    for (i = 0; i < 40; i++) {
        uint64_t version = test_append_many(&test, 1, true);

        if (version == 0 || !test_wait(&test, BRD_DURABILITY_FULL, version))
            _exit(1);
        if (write(report, &test.next, sizeof(test.next)) != sizeof(test.next))
            _exit(1);
    }
    if (brd_wal_stop(test.wal) != BRD_OK)
        _exit(1);
    _exit(0);
}

START_TEST(a_process_may_end_at_every_crash_point)
{
#ifndef BRD_DEBUG
    printf("SKIP: crash points are in debug builds only\n");
#else
    int crashes = 0;
    int nth;

    test.options.segment_bytes = 8 << 10;
    test_up(&test);
    test_append_groups(&test, 30, BRD_DURABILITY_FULL);
    test_down(&test);
    for (nth = 1; nth <= 3; nth++) {
        uint64_t acked = 0;
        uint64_t last;
        int report[2];
        int status;
        pid_t pid;

        ck_assert_int_eq(pipe(report), 0);
        pid = fork();
        if (pid == 0)
            child(points[_i], nth, report[1]);
        close(report[1]);
        while (read(report[0], &last, sizeof(last)) == sizeof(last))
            acked = last;
        close(report[0]);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        ck_assert_msg(WEXITSTATUS(status) == 137 || WEXITSTATUS(status) == 0, "status %d",
                      WEXITSTATUS(status));
        crashes += WEXITSTATUS(status) == 137;
        test_up(&test);
        ck_assert_uint_ge(test.replayed, acked > 30 ? acked : 30);
        test_down(&test);
    }
    ck_assert_msg(crashes > 0 || strcmp(points[_i], "start_dropped") == 0, "%s is never passed",
                  points[_i]);
#endif
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wal disk");
    TCase *tcase = tcase_create("disk");

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_log_on_a_real_disk_comes_back);
    tcase_add_test(tcase, another_process_is_told_who_holds_the_directory);
    tcase_add_test(tcase, a_directory_that_cannot_be_made_is_named);
    tcase_add_test(tcase, a_full_disk_poisons_and_loses_nothing);
    tcase_add_loop_test(tcase, a_process_may_end_at_every_crash_point, 0,
                        sizeof(points) / sizeof(points[0]));
    suite_add_tcase(suite, tcase);
    return test_main(suite);
}
