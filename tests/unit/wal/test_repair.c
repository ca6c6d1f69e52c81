/* Surveys of damaged logs, and mending, with failures and power cuts at every step. */
#include "wal_test.h"

#include <errno.h>

static struct log_test test;

static void
setup(void)
{
    test_init(&test);
    test_up(&test);
    test_append_groups(&test, 400, BRD_DURABILITY_FULL);
    test_down(&test);
    /* Three segments and more, all synced. */
    test_up(&test);
    test_append_groups(&test, 400, BRD_DURABILITY_FULL);
    test_down(&test);
}

static void
teardown(void)
{
    test_fini(&test);
}

static enum brd_status
survey_log(struct brd_wal_survey *survey)
{
    return brd_wal_survey(faulty_io(test.disk), TEST_DIR, test.options.keys, survey, &test.error);
}

/* Remove what is not in the first stretch, newest first, and mend. */
static enum brd_status
mend(const struct brd_wal_survey *survey)
{
    const struct brd_io *io = faulty_io(test.disk);
    const struct brd_wal_stretch *stretch = &survey->stretches[0];
    size_t i;

    for (i = survey->number_count; i > 0; i--) {
        uint64_t number = survey->numbers[i - 1];
        int result;

        if (number >= stretch->first_segment && number <= stretch->last_segment)
            continue;
        result = io->unlink(io->ctx, test_segment(number));
        if (result == 0)
            result = brd_file_sync_dir(io, TEST_DIR "/wal");
        if (result != 0)
            return brd_file_status(result);
    }
    return brd_wal_mend(io, TEST_DIR, test.options.keys, survey,
                        stretch->last_segment != 0 ? stretch : NULL, 0, &test.error);
}

/* It opens, and holds so many records; and then it starts, too. */
static void
holds(uint64_t records)
{
    enum brd_status status = test_read(&test);

    ck_assert_msg(status == BRD_OK, "%s: %s", brd_status_name(status), test.error.text);
    ck_assert_uint_eq(test.replayed, records);
    ck_assert(!test.report.torn);
    brd_wal_close(&test.wal);
    test_up(&test);
    test_append_groups(&test, 3, BRD_DURABILITY_FULL);
    test_down(&test);
    ck_assert_int_eq(test_read(&test), BRD_OK);
    ck_assert_uint_eq(test.replayed, records + 3);
    brd_wal_close(&test.wal);
}

START_TEST(a_log_that_is_whole_is_one_stretch)
{
    uint64_t before = faulty_fingerprint(test.disk);
    struct brd_wal_survey survey;

    ck_assert_int_eq(survey_log(&survey), BRD_OK);
    ck_assert_uint_eq(survey.count, 1);
    ck_assert(!survey.stretches[0].damaged && !survey.meta_damaged);
    ck_assert_uint_eq(survey.stretches[0].records, 800);
    ck_assert_uint_eq(survey.stretches[0].base_version, 0);
    ck_assert_uint_ge(survey.number_count, 2);
    brd_wal_survey_fini(&survey);
    ck_assert(faulty_fingerprint(test.disk) == before);
}
END_TEST

START_TEST(after_a_flip_anywhere_the_prefix_is_kept)
{
    uint64_t state = test_seed() + (uint64_t)_i;
    struct brd_wal_survey survey;
    struct brd_wal_lost lost;
    uint64_t number;
    uint64_t bits;
    uint64_t kept;

    ck_assert_int_eq(survey_log(&survey), BRD_OK);
    number = survey.numbers[test_random(&state) % survey.number_count];
    brd_wal_survey_fini(&survey);
    bits = faulty_content(test.disk, test_segment(number)).size * 8;
    if (_i % 4 == 0)
        bits = 1024;
    faulty_flip(test.disk, test_segment(number), test_random(&state) % bits);
    if (test_read(&test) == BRD_OK) {
        brd_wal_close(&test.wal); /* padding behind the end */
        return;
    }
    ck_assert_int_eq(survey_log(&survey), BRD_OK);
    ck_assert(survey.stretches[0].damaged);
    kept = survey.stretches[0].records;
    ck_assert_int_eq(brd_wal_count_lost(faulty_io(test.disk), TEST_DIR, &survey,
                                        survey.stretches[0].last_segment != 0 ? survey.stretches
                                                                              : NULL,
                                        0, &lost, &test.error),
                     BRD_OK);
    ck_assert_uint_lt(kept + lost.records, 800);
    ck_assert_uint_gt(lost.damaged_bytes, 0);
    ck_assert_int_eq(mend(&survey), BRD_OK);
    brd_wal_survey_fini(&survey);
    holds(kept);
}
END_TEST

/* A flip in the middle of the first segment, and what is before it. */
static uint64_t
damage(void)
{
    struct brd_wal_survey survey;
    uint64_t kept;

    faulty_flip(test.disk, test_segment(1), 8 * 20000);
    ck_assert_int_eq(survey_log(&survey), BRD_OK);
    ck_assert(survey.stretches[0].damaged);
    kept = survey.stretches[0].records;
    ck_assert_uint_gt(kept, 0);
    ck_assert_uint_ge(survey.count, 2); /* another one behind */
    ck_assert_uint_gt(survey.stretches[1].base_version, survey.stretches[0].last_version);
    brd_wal_survey_fini(&survey);
    return kept;
}

START_TEST(power_may_fail_at_every_step_of_a_mend)
{
    uint64_t seed = test_seed();
    uint64_t kept = damage();
    struct faulty *model = faulty_clone(test.disk);
    bool was_cut = true;
    long nth;

    for (nth = 1; was_cut; nth++) {
        struct brd_wal_survey survey;

        faulty_destroy(&test.disk);
        test.disk = faulty_clone(model);
        test.options.io = faulty_io(test.disk);
        ck_assert_int_eq(survey_log(&survey), BRD_OK);
        faulty_cut_at(test.disk, nth);
        (void)!mend(&survey);
        was_cut = faulty_is_cut(test.disk);
        brd_wal_survey_fini(&survey);
        faulty_reboot(test.disk, FAULTY_KEEP_SOME, seed + (uint64_t)nth);
        /* Either it is whole now, or it is still damaged, and can be mended. */
        if (test_read(&test) == BRD_OK) {
            brd_wal_close(&test.wal);
        } else {
            ck_assert(was_cut);
            ck_assert_int_eq(survey_log(&survey), BRD_OK);
            ck_assert_int_eq(mend(&survey), BRD_OK);
            brd_wal_survey_fini(&survey);
        }
        holds(kept);
    }
    ck_assert_int_ge(nth, 6);
    faulty_destroy(&model);
}
END_TEST

START_TEST(a_failed_call_is_told_and_can_be_done_again)
{
    static const enum faulty_kind kinds[] = { FAULTY_OPEN,      FAULTY_READ,  FAULTY_WRITE,
                                              FAULTY_FDATASYNC, FAULTY_LIST,  FAULTY_UNLINK,
                                              FAULTY_FTRUNCATE, FAULTY_FSYNC, FAULTY_SIZE };
    enum faulty_kind kind = kinds[_i % (int)(sizeof(kinds) / sizeof(kinds[0]))];
    uint64_t kept = damage();
    bool hit = true;
    int failures = 0;
    long nth;

    for (nth = 1; hit; nth++) {
        struct brd_wal_survey survey;
        enum brd_status status;

        faulty_fail(test.disk, kind, nth, 1, EIO);
        status = survey_log(&survey);
        if (status == BRD_OK) {
            status = mend(&survey);
            brd_wal_survey_fini(&survey);
        }
        hit = faulty_hit(test.disk);
        faulty_clear(test.disk);
        /* The second look at what is damaged (is_whole_now) may fail: it stays damaged. */
        ck_assert_msg(status == BRD_OK || (hit && status == BRD_IO_ERROR), "%s, number %ld: %s",
                      faulty_kind_name(kind), nth, brd_status_name(status));
        failures += status == BRD_IO_ERROR;
    }
    ck_assert_int_ge(failures, 1);
    holds(kept);
}
END_TEST

START_TEST(a_new_log_is_there_or_not)
{
    struct brd_wal_origin origin = { .base_version = 100,
                                     .ceiling = TEST_NOW_NS + BRD_NS_PER_S,
                                     .time_ns = TEST_NOW_NS,
                                     .epoch = 7,
                                     .uuid = { 1, 2, 3 } };
    uint64_t seed = test_seed();
    bool was_cut = true;
    uint64_t version;
    long nth;

    for (nth = 1; was_cut; nth++) {
        enum brd_status status;

        faulty_destroy(&test.disk);
        test.disk = faulty_create();
        test.options.io = faulty_io(test.disk);
        ck_assert_int_eq(brd_file_make_dir(faulty_io(test.disk), TEST_DIR), 0);
        faulty_cut_at(test.disk, nth);
        status = brd_wal_create(faulty_io(test.disk), TEST_DIR, &origin, &test.error);
        was_cut = faulty_is_cut(test.disk);
        ck_assert_int_eq(status, was_cut ? BRD_IO_ERROR : BRD_OK);
        faulty_reboot(test.disk, FAULTY_KEEP_SOME, seed + (uint64_t)nth);
        test.options.read_only = true;
        status = test_open(&test);
        test.options.read_only = false;
        if (status == BRD_OK)
            ck_assert_uint_eq(brd_wal_base_version(test.wal), 100);
        else
            ck_assert(was_cut && (status == BRD_NOT_FOUND || status == BRD_CORRUPT));
        brd_wal_close(&test.wal);
    }
    test.next = 0;
    test_up(&test);
    ck_assert_uint_eq(brd_wal_epoch(test.wal), 8);
    version = test_append_groups(&test, 1, BRD_DURABILITY_FULL);
    ck_assert_uint_ge(version, origin.ceiling);
    test_down(&test);
}
END_TEST

static Suite *
suite(void)
{
    Suite *s = suite_create("wal repair");
    TCase *tcase = tcase_create("repair");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, a_log_that_is_whole_is_one_stretch);
    tcase_add_loop_test(tcase, after_a_flip_anywhere_the_prefix_is_kept, 0, 40);
    tcase_add_test(tcase, power_may_fail_at_every_step_of_a_mend);
    tcase_add_loop_test(tcase, a_failed_call_is_told_and_can_be_done_again, 0, 9);
    tcase_add_test(tcase, a_new_log_is_there_or_not);
    suite_add_tcase(s, tcase);
    return s;
}

int
main(void)
{
    return test_main(suite());
}
