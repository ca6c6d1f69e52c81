/* The helpers over a table of disk calls, and the real calls. */
#include "base/file.h"
#include "support/faulty_io.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct faulty *disk;
static const struct brd_io *io;

static void
setup(void)
{
    disk = faulty_create();
    io = faulty_io(disk);
}

static void
teardown(void)
{
    faulty_destroy(&disk);
}

START_TEST(a_short_write_is_continued)
{
    uint8_t text[300];
    struct iovec parts[4] = {
        { .iov_base = text, .iov_len = 100 },
        { .iov_base = NULL, .iov_len = 0 },
        { .iov_base = text + 100, .iov_len = 1 },
        { .iov_base = text + 101, .iov_len = 199 },
    };
    struct brd_bytes content;
    int fd = io->open(io->ctx, "file", O_RDWR | O_CREAT);
    size_t i;

    for (i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)i;
    faulty_short(disk, 1, (size_t)_i);
    if (_i == 0) { /* nothing at all, for ever, would be no progress */
        ck_assert_int_eq(brd_file_writev(io, fd, parts, 4, 10), -EIO);
    } else {
        ck_assert_int_eq(brd_file_writev(io, fd, parts, 4, 10), 0);
        content = faulty_content(disk, "file");
        ck_assert_uint_eq(content.size, 310);
        ck_assert_mem_eq(content.data + 10, text, sizeof(text));
    }
    brd_file_close(io, &fd);
    ck_assert_int_eq(fd, -1);
}
END_TEST

START_TEST(more_parts_than_one_call_takes_are_written)
{
    static struct iovec parts[BRD_IO_PARTS_MAX + 500];
    const size_t count = sizeof(parts) / sizeof(parts[0]);
    char byte = 'b';
    int fd = io->open(io->ctx, "file", O_RDWR | O_CREAT);
    size_t i;

    for (i = 0; i < count; i++)
        parts[i] = (struct iovec){ .iov_base = &byte, .iov_len = 1 };
    ck_assert_int_eq(brd_file_writev(io, fd, parts, (int)count, 0), 0);
    ck_assert_uint_eq(faulty_content(disk, "file").size, count);
    brd_file_close(io, &fd);
}
END_TEST

START_TEST(a_read_ends_early_only_at_the_end_of_the_file)
{
    uint8_t out[100];
    size_t n = 0;
    int fd;

    faulty_set_content(disk, "file", brd_bytes_of("0123456789"));
    fd = io->open(io->ctx, "file", O_RDONLY);
    ck_assert_int_eq(brd_file_read(io, fd, out, 4, 3, &n), 0);
    ck_assert_uint_eq(n, 4);
    ck_assert_mem_eq(out, "3456", 4);
    ck_assert_int_eq(brd_file_read(io, fd, out, sizeof(out), 3, &n), 0);
    ck_assert_uint_eq(n, 7);
    faulty_fail(disk, FAULTY_READ, 1, 1, EIO);
    ck_assert_int_eq(brd_file_read(io, fd, out, sizeof(out), 0, &n), -EIO);
    brd_file_close(io, &fd);
}
END_TEST

/* Old or new, never a mixture and never nothing, whenever power fails. */
START_TEST(replacing_a_file_is_one_step)
{
    long nth;
    uint64_t seed;

    for (nth = 1;; nth++) {
        bool was_cut = false;

        for (seed = 0; seed < 20; seed++) {
            struct brd_bytes content;
            int result;

            teardown();
            setup();
            ck_assert_int_eq(brd_file_make_dir(io, "/dir"), 0);
            ck_assert_int_eq(brd_file_replace(io, "/dir/file", "old content", 11), 0);
            faulty_cut_at(disk, nth);
            result = brd_file_replace(io, "/dir/file", "new", 3);
            was_cut = faulty_is_cut(disk);
            faulty_reboot(disk, FAULTY_KEEP_SOME, seed);
            content = faulty_content(disk, "/dir/file");
            ck_assert(brd_bytes_equal(content, brd_bytes_of("new")) ||
                      (result != 0 && brd_bytes_equal(content, brd_bytes_of("old content"))));
        }
        if (!was_cut)
            break;
    }
    ck_assert_int_ge(nth, 5);
}
END_TEST

START_TEST(making_a_directory_twice_is_fine)
{
    ck_assert_int_eq(brd_file_make_dir(io, "/dir"), 0);
    ck_assert_int_eq(brd_file_make_dir(io, "/dir"), 0);
    faulty_reboot(disk, FAULTY_KEEP_NONE, 0);
    ck_assert_int_eq(brd_file_make_dir(io, "/dir/below"), 0);
    ck_assert_int_eq(brd_file_make_dir(io, "/nowhere/below"), -ENOENT);
    /* The parent may be none of our business, if all is there. */
    faulty_fail(disk, FAULTY_OPEN, 1, 1, EACCES);
    ck_assert_int_eq(brd_file_make_dir(io, "/dir"), 0);
    faulty_fail(disk, FAULTY_OPEN, 1, 1, EACCES);
    ck_assert_int_eq(brd_file_make_dir(io, "/other"), -EACCES);
}
END_TEST

START_TEST(errors_become_statuses_and_text)
{
    ck_assert_int_eq(brd_file_status(0), BRD_OK);
    ck_assert_int_eq(brd_file_status(5), BRD_OK);
    ck_assert_int_eq(brd_file_status(-ENOSPC), BRD_DISK_FULL);
    ck_assert_int_eq(brd_file_status(-EFBIG), BRD_DISK_FULL);
    ck_assert_int_eq(brd_file_status(-ENOMEM), BRD_OUT_OF_MEMORY);
    ck_assert_int_eq(brd_file_status(-EIO), BRD_IO_ERROR);
    ck_assert_str_eq(brd_file_error(-ENOSPC), "No space left on device");
    ck_assert_str_eq(brd_file_error(-100000), "unknown error");
}
END_TEST

static int
count_name(void *arg, const char *name)
{
    ck_assert_str_eq(name, "file");
    ++*(int *)arg;
    return 0;
}

START_TEST(the_real_calls_do_what_they_say)
{
    const struct brd_io *real = brd_io_real();
    char dir[] = "/tmp/brindle-file-XXXXXX";
    char path[64];
    char sub[64];
    uint64_t size = 0;
    uint8_t out[16];
    size_t n = 0;
    int names = 0;
    int other;
    int fd;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/file", dir);
    snprintf(sub, sizeof(sub), "%s/sub", dir);
    ck_assert_int_eq(brd_file_replace(real, path, "content", 7), 0);
    ck_assert_int_eq(real->list(real->ctx, dir, count_name, &names), 0);
    ck_assert_int_eq(names, 1);
    fd = real->open(real->ctx, path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(real->lock(real->ctx, fd), 0);
    other = real->open(real->ctx, path, O_RDWR);
    ck_assert_int_eq(real->lock(real->ctx, other), -EWOULDBLOCK);
    brd_file_close(real, &other);
    ck_assert_int_eq(real->fallocate(real->ctx, fd, 8192), 0);
    ck_assert_int_eq(real->size(real->ctx, fd, &size), 0);
    ck_assert_uint_eq(size, 8192);
    ck_assert_int_eq(real->ftruncate(real->ctx, fd, 7), 0);
    ck_assert_int_eq(brd_file_write(real, fd, "C", 1, 0), 0);
    ck_assert_int_eq(real->fdatasync(real->ctx, fd), 0);
    ck_assert_int_eq(brd_file_read(real, fd, out, sizeof(out), 0, &n), 0);
    ck_assert_uint_eq(n, 7);
    ck_assert_mem_eq(out, "Content", 7);
    brd_file_close(real, &fd);
    ck_assert_int_eq(brd_file_make_dir(real, sub), 0);
    ck_assert_int_eq(real->mkdir(real->ctx, sub), -EEXIST);
    ck_assert_int_eq(real->open(real->ctx, sub, O_RDWR), -EISDIR);
    ck_assert_int_eq(real->unlink(real->ctx, path), 0);
    ck_assert_int_eq(real->unlink(real->ctx, path), -ENOENT);
    ck_assert_int_eq(rmdir(sub), 0);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("file");
    TCase *tcase = tcase_create("file");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_short_write_is_continued, 0, 302);
    tcase_add_test(tcase, more_parts_than_one_call_takes_are_written);
    tcase_add_test(tcase, a_read_ends_early_only_at_the_end_of_the_file);
    tcase_add_test(tcase, replacing_a_file_is_one_step);
    tcase_add_test(tcase, making_a_directory_twice_is_fine);
    tcase_add_test(tcase, errors_become_statuses_and_text);
    tcase_add_test(tcase, the_real_calls_do_what_they_say);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
