/* TSAN */
/* Files of released segments that become segments again: nothing of an earlier life is ever
 * read, whatever is cut and whenever power fails, and nothing that was promised is lost. */
#include "wal_test.h"

#include "wal/group.h"
#include "wal/segment.h"
#include "wal/spare.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>

#define SEGMENT_BYTES (UINT64_C(8) << 10)

static struct log_test test;

static void
setup(void)
{
    test_init(&test);
    test.options.segment_bytes = SEGMENT_BYTES;
    test.filler = 1; /* all records are of one size, so the groups of all lives lie alike */
}

static void
teardown(void)
{
    test_fini(&test);
}

/* "/data/wal/0000000000000005.wal", which prepare_one_again makes. */
#define AGAIN TEST_DIR "/wal/0000000000000005.wal"

static const char *
spare_name(uint64_t number)
{
    static char path[64];

    snprintf(path, sizeof(path), TEST_DIR "/wal/%016llx.spare", (unsigned long long)number);
    return path;
}

static bool
is_there(const char *path)
{
    return faulty_content(test.disk, path).data != NULL;
}

static void
wait_until_gone(const char *path)
{
    while (is_there(path))
        sched_yield();
}

/* Until it has its size and the preparer is done with it, as far as can be seen. */
static void
wait_until_there(const char *path)
{
    while (faulty_content(test.disk, path).size != SEGMENT_BYTES)
        sched_yield();
}

static struct brd_bytes
copy_of(const char *path)
{
    struct brd_bytes content = faulty_content(test.disk, path);
    uint8_t *copy = malloc(content.size);

    ck_assert_ptr_nonnull(content.data);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, content.data, content.size);
    return brd_bytes(copy, content.size);
}

static void
free_copy(struct brd_bytes copy)
{
    free((void *)(uintptr_t)copy.data);
}

static bool
is_zero(struct brd_bytes bytes)
{
    size_t i;

    for (i = 0; i < bytes.size; i++)
        if (bytes.data[i] != 0)
            return false;
    return true;
}

static struct brd_bytes
part(struct brd_bytes bytes, size_t from, size_t size)
{
    ck_assert_uint_ge(bytes.size, from + size);
    return brd_bytes(bytes.data + from, size);
}

static uint32_t
flags_of(const char *path)
{
    struct brd_bytes content = faulty_content(test.disk, path);
    struct segment_header header;

    ck_assert_int_eq(segment_parse(content.data, SEGMENT_HEADER_BYTES, &header), SEGMENT_VALID);
    return header.flags;
}

static uint64_t
rotate(void)
{
    struct brd_wal_position position;

    ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
    return position.version;
}

static uint64_t
spares(void)
{
    struct brd_wal_stats stats;

    brd_wal_get_stats(test.wal, &stats);
    ck_assert_uint_eq(stats.spare_bytes, stats.spares * SEGMENT_BYTES);
    return stats.spares;
}

/* Records that follow each other, from any number on. */
struct seen {
    uint64_t first, next, last_version;
};

static enum brd_status
note(void *arg, uint64_t version, struct brd_bytes payload, uint64_t done, uint64_t total)
{
    struct seen *seen = arg;
    uint8_t expected[TEST_SIZE_MAX];
    uint64_t number;

    (void)done;
    (void)total;
    BRD_CHECK(payload.size >= 8);
    number = brd_load_le64(payload.data);
    BRD_CHECK(seen->next == UINT64_MAX || number == seen->next);
    BRD_CHECK(
        brd_bytes_equal(payload, brd_bytes(expected, test_content(number, test.filler, expected))));
    if (seen->next == UINT64_MAX)
        seen->first = number;
    seen->next = number + 1;
    seen->last_version = version;
    return BRD_OK;
}

/* Read it without changing anything; nothing is open afterwards. */
static enum brd_status
look(struct seen *seen)
{
    enum brd_status status;

    *seen = (struct seen){ .next = UINT64_MAX };
    memset(&test.error, 0, sizeof(test.error));
    test.options.read_only = true;
    status = brd_wal_open(&test.options, &test.wal, &test.error);
    if (status == BRD_OK)
        status = brd_wal_replay(test.wal, note, seen, &test.report, &test.error);
    brd_wal_close(&test.wal);
    test.options.read_only = false;
    return status;
}

/* Open, replay and start what begins somewhere in the middle. */
static struct seen
up_again(void)
{
    struct seen seen = { .next = UINT64_MAX };
    enum brd_status status;

    ck_assert_msg(test_open(&test) == BRD_OK, "%s", test.error.text);
    status = brd_wal_replay(test.wal, note, &seen, &test.report, &test.error);
    ck_assert_msg(status == BRD_OK, "%s", test.error.text);
    ck_assert_msg(brd_wal_start(test.wal, &test.error) == BRD_OK, "%s", test.error.text);
    if (seen.next != UINT64_MAX)
        test.next = seen.next;
    return seen;
}

#define FIRST_AGAIN 18 /* the first record in the segment that is made of segment 2 */

/* Records 0 in segment 1 and 1 to 12 in 2, which are released; 13 to 16 in 3; segment 4 is new
 * and in use; 5 is made of the file of 2. Nothing is in 4 yet. (The very first group has a larger
 * frame, so what follows it lies elsewhere.) */
static void
prepare_one_again(void)
{
    uint64_t version;

    test_up(&test);
    test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
    rotate();
    version = test_append_groups(&test, 12, BRD_DURABILITY_NORMAL);
    ck_assert_uint_eq(rotate(), version);
    wait_until_there(test_segment(4));
    ck_assert_int_eq(brd_wal_release(test.wal, version), BRD_OK);
    ck_assert(!is_there(test_segment(1)));
    ck_assert(!is_there(test_segment(2)));
    test_append_groups(&test, 4, BRD_DURABILITY_NORMAL);
    rotate();
    wait_until_there(test_segment(5));
}

/* And begin it: 17 in segment 4, from 18 on in 5. */
static void
begin_one_again(uint64_t records)
{
    test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    rotate();
    test_append_groups(&test, records, BRD_DURABILITY_NORMAL);
}

START_TEST(a_released_segment_becomes_one_again)
{
    const char *path = AGAIN;
    struct brd_bytes before;
    struct brd_bytes now;
    struct seen seen;

    test_up(&test);
    test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
    rotate();
    test_append_groups(&test, 12, BRD_DURABILITY_NORMAL);
    test_kill(&test);
    before = copy_of(test_segment(2));
    teardown();
    setup();

    prepare_one_again();
    ck_assert(!is_there(spare_name(2)));
    ck_assert(is_there(spare_name(1)));
    ck_assert_uint_eq(spares(), 1);
    /* The header is gone; the groups of the earlier life (salted otherwise than in the life
     * that was copied) are there. */
    now = faulty_content(test.disk, path);
    ck_assert(is_zero(part(now, 0, SEGMENT_HEADER_BYTES)));
    ck_assert_mem_eq(now.data + SEGMENT_HEADER_BYTES + 8, before.data + SEGMENT_HEADER_BYTES + 8,
                     24);
    free_copy(before);
    begin_one_again(5);
    ck_assert_uint_eq(flags_of(path), SEGMENT_RECYCLED);
    ck_assert_uint_eq(flags_of(test_segment(4)), 0);
    test_kill(&test);
    seen = up_again();
    ck_assert(!test.report.torn);
    ck_assert_uint_eq(seen.first, 13);
    ck_assert_uint_eq(seen.next, FIRST_AGAIN + 5);
    test_append_groups(&test, 3, BRD_DURABILITY_FULL);
    test_down(&test);
    ck_assert_int_eq(look(&seen), BRD_OK);
    ck_assert_uint_eq(seen.next, FIRST_AGAIN + 8);
}
END_TEST

START_TEST(a_new_segment_behind_a_recycled_one_is_not_marked)
{
    prepare_one_again();
    begin_one_again(3);
    rotate();
    test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    rotate();
    test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    ck_assert_uint_eq(flags_of(test_segment(5)), SEGMENT_RECYCLED);
    ck_assert_uint_eq(flags_of(test_segment(6)), SEGMENT_RECYCLED);
    ck_assert_uint_eq(flags_of(test_segment(7)), 0);
    test_down(&test);
}
END_TEST

/* ---- Cuts ---- */

START_TEST(every_cut_in_a_recycled_segment_leaves_a_prefix)
{
    const char *path = AGAIN;
    const size_t group = (size_t)group_bytes(10); /* a frame of two bytes, and a number */
    struct seen seen;
    size_t size;

    prepare_one_again();
    begin_one_again(6);
    test_kill(&test);
    faulty_remove(test.disk, test_segment(6));
    ck_assert_int_eq(look(&seen), BRD_OK);
    ck_assert_uint_eq(seen.next, FIRST_AGAIN + 6);
    ck_assert(!test.report.torn);
    for (size = SEGMENT_BYTES; size-- > SEGMENT_HEADER_BYTES;) {
        size_t whole = (size - SEGMENT_HEADER_BYTES) / group;

        faulty_cut_file(test.disk, path, size);
        ck_assert_msg(look(&seen) == BRD_OK, "%s", test.error.text);
        ck_assert_uint_eq(seen.next, FIRST_AGAIN + (whole < 6 ? whole : 6));
        ck_assert(!test.report.torn || (whole < 6 && test.report.torn_bytes < group));
    }
}
END_TEST

/* A write that was cut short leaves its beginning, and behind it the group of the earlier life,
 * which lies at the very same place. */
START_TEST(a_write_cut_at_every_byte_over_an_earlier_life_is_no_group)
{
    const char *path = AGAIN;
    const size_t group = (size_t)group_bytes(10);
    struct brd_bytes after;
    struct brd_bytes before;
    struct seen seen;
    size_t torn = 0;
    size_t k;
    size_t i;

    prepare_one_again();
    before = copy_of(path);
    begin_one_again(6);
    test_kill(&test);
    after = copy_of(path);
    faulty_remove(test.disk, test_segment(6));
    for (k = 0; k < 6; k++)
        for (i = 0; i < group; i++) {
            size_t at = SEGMENT_HEADER_BYTES + k * group + i;
            uint8_t *file;

            faulty_set_content(test.disk, path, before);
            file = (uint8_t *)(uintptr_t)faulty_content(test.disk, path).data;
            memcpy(file, after.data, at);
            if (memcmp(file + at, after.data + at, group - i) == 0)
                continue; /* the rest was the same before: the group is whole */
            ck_assert_msg(look(&seen) == BRD_OK, "%s", test.error.text);
            ck_assert_uint_eq(seen.next, FIRST_AGAIN + k);
            ck_assert(i > 0 || !test.report.torn);
            ck_assert(i < 32 || test.report.torn);
            ck_assert(!test.report.torn || test.report.torn_bytes == group);
            torn += test.report.torn;
        }
    ck_assert_uint_ge(torn, 6 * (group - 48));
    free_copy(before);
    free_copy(after);
}
END_TEST

/* Each sector of the file is new or as it was, whatever was not synced. */
START_TEST(lost_sectors_in_a_recycled_segment_leave_a_prefix)
{
    const char *path = AGAIN;
    struct brd_bytes after;
    struct brd_bytes before;
    struct seen seen;
    unsigned lost;

    prepare_one_again();
    before = copy_of(path);
    begin_one_again(12); /* two sectors of groups */
    test_kill(&test);
    after = copy_of(path);
    faulty_remove(test.disk, test_segment(6));
    for (lost = 0; lost < 8; lost++) {
        uint8_t *file;

        faulty_set_content(test.disk, path, after);
        file = (uint8_t *)(uintptr_t)faulty_content(test.disk, path).data;
        if ((lost & 1) != 0)
            memcpy(file, before.data, 512);
        if ((lost & 2) != 0)
            memcpy(file + 4096, before.data + 4096, 512);
        if ((lost & 4) != 0)
            memcpy(file + 4608, before.data + 4608, 512);
        ck_assert_msg(look(&seen) == BRD_OK, "%s", test.error.text);
        if ((lost & 1) != 0)
            ck_assert_uint_eq(seen.next, FIRST_AGAIN);
        else if ((lost & 2) != 0)
            ck_assert_uint_eq(seen.next, FIRST_AGAIN);
        else if ((lost & 4) != 0)
            ck_assert_uint_lt(seen.next, FIRST_AGAIN + 12);
        else
            ck_assert_uint_eq(seen.next, FIRST_AGAIN + 12);
        if (lost == 0 || lost == 1 || lost == 7)
            ck_assert(!test.report.torn);
        if (lost == 2) /* whole groups of this life behind the hole */
            ck_assert(test.report.torn);
    }
    free_copy(before);
    free_copy(after);
}
END_TEST

START_TEST(half_a_header_over_an_earlier_life_is_a_segment_that_never_began)
{
    const char *path = AGAIN;
    struct brd_bytes after;
    struct brd_bytes before;
    struct seen seen;
    uint8_t *file;
    size_t i;

    prepare_one_again();
    before = copy_of(path);
    begin_one_again(0);
    test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
    test_kill(&test);
    after = copy_of(path);
    faulty_remove(test.disk, test_segment(6));
    faulty_set_content(test.disk, path, before);
    file = (uint8_t *)(uintptr_t)faulty_content(test.disk, path).data;
    for (i = 0; i < offsetof(struct segment_header, key_id); i++) {
        memcpy(file, after.data, i);
        ck_assert_msg(look(&seen) == BRD_OK, "%zu bytes: %s", i, test.error.text);
        ck_assert_uint_eq(seen.next, FIRST_AGAIN);
    }
    memcpy(file, after.data, i); /* now it is whole, and no group is */
    ck_assert_int_eq(look(&seen), BRD_OK);
    ck_assert_uint_eq(seen.next, FIRST_AGAIN);
    ck_assert_uint_eq(test.report.segments, 3);

    /* What belongs to nothing is damage as ever. */
    for (i = 0; i < 56; i++) {
        bool free_field = (i >= 12 && i < 16) || (i >= 32 && i < 48); /* checksum and salt */

        memcpy(file, before.data, SEGMENT_HEADER_BYTES);
        memcpy(file, after.data, 100);
        file[i] ^= 0x40;
        ck_assert_int_eq(look(&seen), free_field ? BRD_OK : BRD_CORRUPT);
    }
    memcpy(file, before.data, SEGMENT_HEADER_BYTES);
    memcpy(file, after.data, 100);
    file[2000] = 1;
    ck_assert_int_eq(look(&seen), BRD_CORRUPT);
    ck_assert_str_eq(test.error.path, path);
    free_copy(before);
    free_copy(after);
}
END_TEST

START_TEST(what_an_earlier_life_has_left_is_not_counted_as_lost)
{
    const struct brd_io *io = faulty_io(test.disk);
    const uint64_t group = group_bytes(10);
    struct brd_wal_survey survey;
    struct brd_wal_lost lost;

    prepare_one_again();
    begin_one_again(3);
    test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
    rotate(); /* takes the one that is made of segment 1, which stays empty */
    test_kill(&test);
    ck_assert_uint_eq(flags_of(test_segment(6)), SEGMENT_RECYCLED);
    ck_assert_int_eq(brd_wal_survey(io, TEST_DIR, NULL, &survey, &test.error), BRD_OK);
    ck_assert_uint_eq(survey.count, 1);
    ck_assert(!survey.stretches[0].damaged);
    ck_assert_int_eq(brd_wal_count_lost(io, TEST_DIR, &survey, &survey.stretches[0], 0, &lost,
                                        &test.error),
                     BRD_OK);
    ck_assert_uint_eq(lost.records, 0);
    ck_assert_uint_eq(lost.damaged_bytes, 0);
    brd_wal_survey_fini(&survey);

    /* The first of four groups is torn, three are behind it. */
    faulty_flip(test.disk, AGAIN, (SEGMENT_HEADER_BYTES + group - 10) * 8);
    ck_assert_int_eq(brd_wal_survey(io, TEST_DIR, NULL, &survey, &test.error), BRD_OK);
    ck_assert_int_eq(brd_wal_count_lost(io, TEST_DIR, &survey, &survey.stretches[0], 0, &lost,
                                        &test.error),
                     BRD_OK);
    ck_assert_uint_eq(lost.records, 3);
    ck_assert_uint_eq(lost.bytes, 3 * group);
    ck_assert_uint_eq(lost.damaged_bytes, group);
    brd_wal_survey_fini(&survey);
}
END_TEST

START_TEST(a_prepared_file_of_an_earlier_life_is_nothing_lost)
{
    const struct brd_io *io = faulty_io(test.disk);
    struct brd_wal_survey survey;
    struct brd_wal_lost lost;

    prepare_one_again();
    test_kill(&test);
    ck_assert(is_there(AGAIN));
    ck_assert_int_eq(brd_wal_survey(io, TEST_DIR, NULL, &survey, &test.error), BRD_OK);
    ck_assert_int_eq(brd_wal_count_lost(io, TEST_DIR, &survey, &survey.stretches[0], 0, &lost,
                                        &test.error),
                     BRD_OK);
    ck_assert_uint_eq(lost.records, 0);
    ck_assert_uint_eq(lost.damaged_bytes, 0);
    brd_wal_survey_fini(&survey);
}
END_TEST

/* ---- Power, and calls that fail ---- */

/* What a life was promised. */
struct promise {
    uint64_t full, normal; /* records acknowledged */
    uint64_t released;     /* records that need not be there */
    bool stopped;
};

/* Writes, rotates and releases in rounds, so that files are used again and again. */
static struct promise
live(struct promise promise)
{
    struct seen seen = { .next = UINT64_MAX };
    int round;

    promise.stopped = false;
    if (test_open(&test) != BRD_OK)
        return promise;
    if (brd_wal_replay(test.wal, note, &seen, &test.report, &test.error) != BRD_OK ||
        brd_wal_start(test.wal, &test.error) != BRD_OK)
        goto out;
    if (seen.next != UINT64_MAX)
        test.next = seen.next;
    promise.full = promise.normal = test.next;
    for (round = 0; round < 5; round++) {
        struct brd_wal_position position;
        uint64_t before = test.next;
        uint64_t version = 0;
        int i;

        for (i = 0; i < 3; i++) {
            version = test_append(&test, i == 2);
            if (version == 0)
                goto out;
            brd_wal_kick(test.wal);
            if (!test_wait(&test, BRD_DURABILITY_NORMAL, version))
                goto out;
            promise.normal = test.next;
        }
        if (!test_wait(&test, BRD_DURABILITY_FULL, version))
            goto out;
        promise.full = test.next;
        if (brd_wal_rotate(test.wal, &position) == BRD_READ_ONLY)
            goto out;
        promise.released = before; /* all but this round's; the clock stands still */
        if (brd_wal_release(test.wal, version - 3) != BRD_OK)
            goto out;
    }
    promise.stopped = brd_wal_stop(test.wal) == BRD_OK;
out:
    brd_wal_close(&test.wal);
    return promise;
}

/* A first life, of which something is left to be used again. */
static struct promise
live_before(void)
{
    struct promise promise = live((struct promise){ .full = 0 });

    ck_assert(promise.stopped);
    return promise;
}

/* The next life finds what it must, and goes on. */
static void
check_recovery(const struct promise *promise, uint64_t least)
{
    struct seen seen = up_again();

    if (least > promise->released) {
        ck_assert_uint_ne(seen.next, UINT64_MAX);
        ck_assert_msg(seen.next >= least, "up to %llu, not to %llu", (unsigned long long)seen.next,
                      (unsigned long long)least);
        ck_assert_uint_le(seen.first, promise->released);
    }
    test_append_groups(&test, 2, BRD_DURABILITY_FULL);
    rotate();
    test_append_groups(&test, 2, BRD_DURABILITY_FULL);
    test_down(&test);
    ck_assert_msg(look(&seen) == BRD_OK, "%s", test.error.text);
    ck_assert_uint_eq(seen.next, test.next);
}

START_TEST(power_may_fail_at_every_step)
{
    uint64_t random = test_seed();
    long nth;

    for (nth = 1;; nth++) {
        bool was_cut = false;
        int keep;

        for (keep = 0; keep < 4; keep++) {
            struct promise promise;

            teardown();
            setup();
            promise = live_before();
            faulty_cut_at(test.disk, nth);
            promise = live(promise);
            was_cut = faulty_is_cut(test.disk);
            faulty_reboot(test.disk, keep < 3 ? (enum faulty_keep)keep : FAULTY_KEEP_SOME,
                          test_random(&random));
            check_recovery(&promise, promise.full);
        }
        if (!was_cut)
            break;
    }
    printf("%ld steps\n", nth - 1);
    ck_assert_int_gt(nth, 60);
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
        promise = live_before();
        faulty_cut_at(test.disk, nth);
        promise = live(promise);
        was_cut = faulty_is_cut(test.disk);
        faulty_kill(test.disk);
        faulty_clear(test.disk);
        check_recovery(&promise, promise.normal);
        if (!was_cut)
            break;
    }
    ck_assert_int_gt(nth, 60);
}
END_TEST

static const struct {
    enum faulty_kind kind;
    int error;
    const char *path;
} failing[] = {
    { FAULTY_RENAME, EIO, NULL },        { FAULTY_LOCK, ENOLCK, NULL },
    { FAULTY_OPEN, EMFILE, ".spare" },   { FAULTY_WRITE, EIO, ".spare" },
    { FAULTY_FDATASYNC, EIO, ".spare" }, { FAULTY_FSYNC, EIO, "/wal" },
    { FAULTY_UNLINK, EPERM, "/wal" },    { FAULTY_SIZE, EIO, NULL },
    { FAULTY_LIST, EIO, "/wal" },        { FAULTY_FALLOCATE, ENOSPC, NULL },
};

/* Whatever fails of it, the log itself is fine: there are other files. */
START_TEST(a_call_that_fails_costs_a_spare_at_most)
{
    long times;
    long nth;

    for (times = 0; times < 2; times++)
        for (nth = 1;; nth++) {
            struct promise promise;
            bool hit;

            teardown();
            setup();
            promise = live_before();
            faulty_fail_path(test.disk, failing[_i].path);
            faulty_fail(test.disk, failing[_i].kind, nth, times, failing[_i].error);
            promise = live(promise);
            hit = faulty_hit(test.disk);
            faulty_clear(test.disk);
            faulty_fail_path(test.disk, NULL);
            if (failing[_i].kind == FAULTY_OPEN || failing[_i].kind == FAULTY_LOCK)
                ck_assert(promise.stopped || failing[_i].path == NULL);
            faulty_reboot(test.disk, FAULTY_KEEP_NONE, 0);
            check_recovery(&promise, promise.full);
            if (!hit)
                break;
        }
}
END_TEST

/* ---- Who reads, what must go, and what is left by others ---- */

START_TEST(a_file_that_somebody_reads_is_not_used_again)
{
    const struct brd_io *io = faulty_io(test.disk);
    struct brd_bytes before;
    uint8_t now[SEGMENT_BYTES];
    uint64_t version;
    size_t size = 0;
    int fd;

    test_up(&test);
    version = test_append_groups(&test, 12, BRD_DURABILITY_NORMAL);
    rotate();
    wait_until_there(test_segment(3));
    fd = io->open(io->ctx, test_segment(1), O_RDWR);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(io->lock(io->ctx, fd), 0);
    before = copy_of(test_segment(1));
    ck_assert_int_eq(brd_wal_release(test.wal, version), BRD_OK);
    test_append_groups(&test, 4, BRD_DURABILITY_NORMAL);
    rotate();
    wait_until_there(test_segment(4));
    wait_until_gone(spare_name(1));
    test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
    rotate();
    test_append_groups(&test, 9, BRD_DURABILITY_FULL);
    ck_assert_uint_eq(flags_of(test_segment(4)), 0);
    ck_assert_int_eq(brd_file_read(io, fd, now, sizeof(now), 0, &size), 0);
    ck_assert_uint_eq(size, before.size);
    ck_assert_mem_eq(now, before.data, size);
    io->close(io->ctx, fd);
    free_copy(before);
    test_down(&test);
}
END_TEST

/* Several segments of one record each, released. before_it: nothing is released before the
 * segment of this number is being prepared; 0: does not matter. */
static void
release_many(uint64_t segments, uint64_t before_it)
{
    uint64_t version = 0;
    uint64_t i;

    for (i = 0; i < segments; i++) {
        version = test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
        rotate();
    }
    if (before_it != 0)
        wait_until_there(test_segment(before_it));
    ck_assert_int_eq(brd_wal_release(test.wal, version), BRD_OK);
}

START_TEST(only_a_few_are_kept)
{
    uint64_t kept = 0;
    uint64_t i;

    test_up(&test);
    release_many(SPARES_MAX + 3, SPARES_MAX + 5);
    ck_assert_uint_eq(spares(), SPARES_MAX);
    for (i = 1; i <= SPARES_MAX + 3; i++) {
        ck_assert(!is_there(test_segment(i)));
        kept += is_there(spare_name(i));
    }
    ck_assert_uint_eq(kept, SPARES_MAX);
    test_down(&test);
}
END_TEST

/* A disk on which so many bytes are free. */
static void
leave_free(uint64_t bytes)
{
    const uint64_t capacity = UINT64_C(64) << 20;
    uint64_t own;

    faulty_set_space(test.disk, capacity, 0);
    own = capacity - faulty_free(test.disk);
    faulty_set_space(test.disk, capacity, capacity - own - bytes);
}

START_TEST(where_the_disk_is_short_there_are_none)
{
    const uint64_t reserve = UINT64_C(1) << 20;
    struct brd_wal_disk seen;
    uint64_t i;

    test.options.disk_reserve_bytes = reserve;
    test_up(&test);
    leave_free(4 * reserve);
    release_many(3, 5);
    ck_assert_uint_eq(spares(), 3);

    /* More than the reserve, so nothing is refused; but checkpoints are made for what there is. */
    leave_free(2 * reserve - 8 * SEGMENT_BYTES);
    for (i = 1; i <= 3; i++)
        wait_until_gone(spare_name(i));
    brd_wal_get_disk(test.wal, &seen);
    ck_assert(!seen.low);
    release_many(3, 8);
    ck_assert_uint_eq(spares(), 0);
    for (i = 4; i <= 6; i++)
        ck_assert(!is_there(test_segment(i)) && !is_there(spare_name(i)));

    leave_free(4 * reserve);
    do {
        brd_wal_get_disk(test.wal, &seen);
        sched_yield();
    } while (seen.free_bytes < 3 * reserve);
    release_many(3, 11);
    ck_assert_uint_eq(spares(), 3);
    test_down(&test);
}
END_TEST

START_TEST(what_must_go_goes)
{
    uint64_t version;
    uint64_t i;

    prepare_one_again(); /* the next one has bytes of an earlier life */
    ck_assert_uint_eq(spares(), 1);
    ck_assert_int_eq(brd_wal_drop_spares(test.wal), BRD_OK);
    version = test_append_groups(&test, 2, BRD_DURABILITY_NORMAL);
    rotate();
    ck_assert(is_zero(part(faulty_content(test.disk, test_segment(5)), SEGMENT_HEADER_BYTES,
                           SEGMENT_BYTES - SEGMENT_HEADER_BYTES)));
    ck_assert_uint_eq(flags_of(test_segment(5)), 0);
    ck_assert_int_eq(brd_wal_release(test.wal, version), BRD_OK);
    ck_assert_uint_eq(spares(), 0);
    for (i = 1; i <= 4; i++) {
        ck_assert(!is_there(spare_name(i)));
        ck_assert(!is_there(test_segment(i)));
    }
    test_down(&test);
    teardown();
    setup();

    test_up(&test);
    release_many(SPARES_MAX, SPARES_MAX + 2);
    ck_assert_uint_eq(spares(), SPARES_MAX);
    ck_assert_int_eq(brd_wal_drop_spares(test.wal), BRD_OK);
    ck_assert_uint_eq(spares(), 0);
    test_cut(&test, FAULTY_KEEP_NONE, 0); /* durably */
    for (i = 1; i <= SPARES_MAX; i++) {
        ck_assert(!is_there(spare_name(i)));
        ck_assert(!is_there(test_segment(i)));
    }
}
END_TEST

START_TEST(what_cannot_go_is_told)
{
    test_up(&test);
    release_many(2, 4);
    faulty_fail_path(test.disk, ".spare");
    faulty_fail(test.disk, FAULTY_UNLINK, 1, 1, EPERM);
    ck_assert_int_eq(brd_wal_drop_spares(test.wal), BRD_IO_ERROR);
    test_down(&test);
}
END_TEST

struct listing {
    const uint8_t *key_id;
    uint64_t under, others;
};

static int
note_key(void *arg, const char *path, const uint8_t *key_id)
{
    struct listing *listing = arg;
    bool same = key_id != NULL && memcmp(key_id, listing->key_id, BRD_SEAL_ID_BYTES) == 0;

    (void)path;
    listing->under += same;
    listing->others += !same;
    return 0;
}

/* Files of the log that are not under the current key. */
static uint64_t
files_under_others(const struct brd_keyring *keys)
{
    struct listing listing = { .key_id = brd_keyring_current(keys) };

    ck_assert_int_eq(brd_wal_list_keys(faulty_io(test.disk), TEST_DIR, note_key, &listing), 0);
    return listing.others;
}

/* The plain bytes of an earlier life must not outlast the turning on of encryption. */
START_TEST(keys_leave_no_earlier_life)
{
    const struct brd_keyring *keys = test_keys();
    uint64_t version;
    int unlinks;

    for (unlinks = 0; unlinks < 2; unlinks++) {
        prepare_one_again();
        ck_assert_uint_eq(spares(), 1);
        if (unlinks == 1) {
            faulty_fail_path(test.disk, ".spare");
            faulty_fail(test.disk, FAULTY_UNLINK, 1, 1, EPERM);
        }
        ck_assert_int_eq(brd_wal_set_keys(test.wal, keys), BRD_OK);
        faulty_clear(test.disk);
        ck_assert_uint_eq(spares(), 0);
        version = test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
        rotate();
        ck_assert_int_eq(brd_wal_release(test.wal, version), BRD_OK);
        ck_assert_uint_eq(spares(), 0);
        ck_assert_uint_eq(flags_of(test_segment(5)), SEGMENT_SEALED);
        ck_assert(is_zero(part(faulty_content(test.disk, test_segment(5)), SEGMENT_HEADER_BYTES,
                               SEGMENT_BYTES - SEGMENT_HEADER_BYTES)));
        /* A spare that could not go is still a plain file. */
        ck_assert_uint_eq(files_under_others(keys), (unsigned)unlinks);
        test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
        test_down(&test);
        /* The next start gets rid of it. */
        test.options.keys = keys;
        (void)up_again();
        ck_assert_uint_eq(files_under_others(keys), 0);
        test_down(&test);
        teardown();
        setup();
    }
}
END_TEST

/* Nor the start with a key, after a life without. */
START_TEST(a_start_with_keys_removes_all_spares)
{
    const struct brd_keyring *keys = test_keys();

    test_up(&test);
    release_many(2, 4);
    ck_assert_uint_eq(spares(), 2);
    test_down(&test);
    test.options.keys = keys;
    (void)up_again();
    ck_assert_uint_eq(spares(), 0);
    ck_assert(!is_there(spare_name(1)));
    ck_assert(!is_there(spare_name(2)));
    release_many(2, 0);
    ck_assert_uint_eq(spares(), 0);
    ck_assert_uint_eq(files_under_others(keys), 0);
    test_down(&test);
}
END_TEST

static uint64_t
count_spare_files(void)
{
    uint64_t count = 0;
    uint64_t i;

    for (i = 1; i < 32; i++)
        count += is_there(spare_name(i));
    return count;
}

/* A log that was stopped, with so many spares. */
static void
leave_spares(uint64_t count)
{
    test_up(&test);
    release_many(count, count + 2);
    ck_assert_uint_eq(spares(), count);
    test_kill(&test);
    ck_assert_uint_eq(count_spare_files(), count);
}

START_TEST(spares_are_used_by_the_next_process)
{
    struct seen seen;

    leave_spares(2);
    seen = up_again();
    ck_assert_uint_eq(seen.next, UINT64_MAX);
    while (count_spare_files() > 1)
        sched_yield(); /* the next segment is made of one */
    test_append_groups(&test, 1, BRD_DURABILITY_NORMAL);
    rotate();
    test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    while (count_spare_files() > 0)
        sched_yield();
    ck_assert_uint_eq(spares(), 0);
    test_down(&test);
}
END_TEST

START_TEST(spares_of_another_size_or_number_are_removed_and_so_are_all_when_told)
{
    struct brd_bytes file;
    uint64_t i;

    leave_spares(2);
    test.options.segment_bytes = 2 * SEGMENT_BYTES;
    up_again();
    ck_assert_uint_eq(count_spare_files(), 0);
    test_down(&test);
    teardown();
    setup();

    leave_spares(1);
    file = copy_of(spare_name(1));
    for (i = 10; i < 20; i++)
        faulty_set_content(test.disk, spare_name(i), file);
    free_copy(file);
    faulty_set_content(test.disk, TEST_DIR "/wal/notes.spare", brd_bytes_of("x"));
    up_again();
    ck_assert_uint_le(count_spare_files(), SPARES_MAX);
    ck_assert_uint_ge(count_spare_files(), SPARES_MAX - 1);
    ck_assert(is_there(TEST_DIR "/wal/notes.spare"));
    test_kill(&test);
    test.options.no_spares = true;
    up_again();
    ck_assert_uint_eq(count_spare_files(), 0);
    release_many(1, 0);
    ck_assert_uint_eq(count_spare_files(), 0);
    test_down(&test);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wal spare");
    TCase *tcase = tcase_create("spare");

    tcase_set_timeout(tcase, 600);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_released_segment_becomes_one_again);
    tcase_add_test(tcase, a_new_segment_behind_a_recycled_one_is_not_marked);
    tcase_add_test(tcase, every_cut_in_a_recycled_segment_leaves_a_prefix);
    tcase_add_test(tcase, a_write_cut_at_every_byte_over_an_earlier_life_is_no_group);
    tcase_add_test(tcase, lost_sectors_in_a_recycled_segment_leave_a_prefix);
    tcase_add_test(tcase, half_a_header_over_an_earlier_life_is_a_segment_that_never_began);
    tcase_add_test(tcase, what_an_earlier_life_has_left_is_not_counted_as_lost);
    tcase_add_test(tcase, a_prepared_file_of_an_earlier_life_is_nothing_lost);
    tcase_add_test(tcase, power_may_fail_at_every_step);
    tcase_add_test(tcase, a_kill_at_every_step_loses_nothing_that_was_written);
    tcase_add_loop_test(tcase, a_call_that_fails_costs_a_spare_at_most, 0,
                        (int)(sizeof(failing) / sizeof(failing[0])));
    tcase_add_test(tcase, a_file_that_somebody_reads_is_not_used_again);
    tcase_add_test(tcase, only_a_few_are_kept);
    tcase_add_test(tcase, where_the_disk_is_short_there_are_none);
    tcase_add_test(tcase, what_must_go_goes);
    tcase_add_test(tcase, what_cannot_go_is_told);
    tcase_add_test(tcase, keys_leave_no_earlier_life);
    tcase_add_test(tcase, a_start_with_keys_removes_all_spares);
    tcase_add_test(tcase, spares_are_used_by_the_next_process);
    tcase_add_test(tcase, spares_of_another_size_or_number_are_removed_and_so_are_all_when_told);
    suite_add_tcase(suite, tcase);
    return test_main_of(suite, false); /* a log with keys keeps no spares: below */
}
