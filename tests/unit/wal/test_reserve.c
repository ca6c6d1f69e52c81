/* TSAN */
/* The disk reserve: what is decided from what is free, and a log that keeps it. */
#include "wal_test.h"

#include "wal/reserve.h"

#include <errno.h>
#include <sched.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* ---- Decisions ---- */

/* A file system of 10 GiB with half of it free, and a log in the middle of its segment. */
static struct reserve_view
ordinary(void)
{
    return (struct reserve_view){
        .free_bytes = 5 * GIB,
        .total_bytes = 10 * GIB,
        .wanted = 100 * MIB,
        .segment_bytes = 64 * MIB,
        .lsn = 7 * GIB,
        .rest_bytes = 20 * MIB,
        .next_bytes = 64 * MIB,
    };
}

static struct reserve_plan
decide(const struct reserve_view *view)
{
    struct reserve_plan plan;

    reserve_decide(view, &plan);
    return plan;
}

START_TEST(with_room_segments_have_their_size_and_records_none)
{
    struct reserve_view view = ordinary();
    struct reserve_plan plan = decide(&view);

    ck_assert(!plan.low);
    ck_assert_uint_eq(plan.reserve_bytes, 100 * MIB);
    ck_assert_uint_eq(plan.prepare_bytes, 0); /* there is one */
    ck_assert_uint_gt(plan.limit_lsn[RESERVE_ADD], view.lsn + GIB);
    view.next_bytes = 0;
    ck_assert_uint_eq(decide(&view).prepare_bytes, 64 * MIB);
}
END_TEST

START_TEST(without_a_reserve_nothing_is_refused)
{
    struct reserve_view view = ordinary();
    struct reserve_plan plan;

    view.wanted = 0;
    view.free_bytes = 0;
    view.next_bytes = 0;
    plan = decide(&view);
    ck_assert(!plan.low);
    ck_assert_uint_eq(plan.reserve_bytes, 0);
    ck_assert_uint_eq(plan.limit_lsn[RESERVE_ADD], UINT64_MAX);
    ck_assert_uint_eq(plan.record_max[RESERVE_ADD], UINT64_MAX);
    ck_assert_uint_eq(plan.prepare_bytes, 0); /* there is time to find room */
    view.asked = true;
    ck_assert_uint_eq(decide(&view).prepare_bytes, MIB);
}
END_TEST

START_TEST(what_nobody_knows_limits_nothing)
{
    struct reserve_view view = ordinary();
    struct reserve_plan plan;

    view.free_bytes = view.total_bytes = view.next_bytes = 0;
    view.wanted = BRD_WAL_RESERVE_AUTO;
    plan = decide(&view);
    ck_assert(!plan.low);
    ck_assert_uint_eq(plan.limit_lsn[RESERVE_ADD], UINT64_MAX);
    ck_assert_uint_eq(plan.prepare_bytes, 64 * MIB);
}
END_TEST

START_TEST(a_segment_is_no_larger_than_the_reserve_allows)
{
    struct reserve_view view = ordinary();
    uint64_t beyond;

    view.next_bytes = 0;
    for (beyond = 0; beyond < 100 * MIB; beyond += 300 * KIB) {
        struct reserve_plan plan;

        view.free_bytes = view.wanted + beyond;
        plan = decide(&view);
        ck_assert_uint_le(plan.prepare_bytes, beyond);
        ck_assert_uint_le(plan.prepare_bytes, 64 * MIB);
        ck_assert_uint_eq(plan.prepare_bytes % 4096, 0);
        ck_assert(plan.prepare_bytes == 0 || plan.prepare_bytes >= MIB);
        ck_assert_int_eq(plan.low, plan.prepare_bytes == 0);
        ck_assert_int_eq(plan.low, beyond < MIB + MIB / 7);
        /* What is asked for in spite of that is as small as may be. */
        view.asked = true;
        ck_assert_uint_eq(decide(&view).prepare_bytes, plan.low ? MIB : plan.prepare_bytes);
        view.asked = false;
    }
}
END_TEST

START_TEST(on_a_small_file_system_segments_are_small)
{
    struct reserve_view view = ordinary();
    struct reserve_plan plan;

    view.wanted = BRD_WAL_RESERVE_AUTO;
    view.next_bytes = 0;
    view.total_bytes = GIB;
    view.free_bytes = GIB;
    plan = decide(&view);
    ck_assert_uint_eq(plan.prepare_bytes, 16 * MIB);
    ck_assert_uint_eq(plan.reserve_bytes, 32 * MIB);
    view.total_bytes = view.free_bytes = 32 * MIB;
    plan = decide(&view);
    ck_assert_uint_eq(plan.prepare_bytes, MIB);
    ck_assert_uint_eq(plan.reserve_bytes, 2 * MIB);
    view.segment_bytes = 64 * KIB; /* as the option says */
    plan = decide(&view);
    ck_assert_uint_eq(plan.prepare_bytes, 64 * KIB);
    ck_assert_uint_eq(plan.least_bytes, 64 * KIB);
}
END_TEST

START_TEST(the_automatic_reserve_is_what_a_checkpoint_takes)
{
    struct reserve_view view = ordinary();

    view.wanted = BRD_WAL_RESERVE_AUTO;
    view.total_bytes = 100 * GIB;
    view.needed = 0;
    ck_assert_uint_eq(decide(&view).reserve_bytes, 128 * MIB);
    view.needed = 10 * GIB;
    ck_assert_uint_eq(decide(&view).reserve_bytes, 10 * GIB + 10 * GIB / 8 + 128 * MIB);
    view.needed = 70 * GIB; /* two of them do not fit */
    ck_assert_uint_eq(decide(&view).reserve_bytes, 50 * GIB);
    view.needed = UINT64_MAX;
    ck_assert_uint_eq(decide(&view).reserve_bytes, 50 * GIB);
}
END_TEST

START_TEST(writes_are_refused_at_the_reserve_and_resume_above_it)
{
    struct reserve_view view = ordinary();
    struct reserve_plan plan;

    /* Somebody else takes the space. */
    view.free_bytes = view.wanted;
    ck_assert(!decide(&view).low);
    view.free_bytes--;
    plan = decide(&view);
    ck_assert(plan.low);
    ck_assert_uint_eq(plan.limit_lsn[RESERVE_ADD], 0);
    ck_assert_uint_eq(plan.record_max[RESERVE_ADD], 0);

    /* As long as no new segment fits, it stays so, ... */
    view.low = true;
    view.free_bytes = view.wanted + MIB;
    ck_assert(decide(&view).low);
    view.free_bytes = view.wanted + MIB + MIB / 7 + 1;
    plan = decide(&view);
    ck_assert(!plan.low);
    ck_assert_uint_ge(plan.limit_lsn[RESERVE_ADD], view.lsn + view.rest_bytes + view.next_bytes);

    /* ... and to have prepared one does not lead back. */
    view.low = false;
    view.next_bytes = MIB;
    view.free_bytes -= MIB;
    ck_assert(!decide(&view).low);
}
END_TEST

START_TEST(removals_may_use_half_of_the_reserve)
{
    struct reserve_view view = ordinary();
    struct reserve_plan plan;

    view.low = true;
    view.next_bytes = 0;
    view.free_bytes = 90 * MIB;
    plan = decide(&view);
    ck_assert(plan.low);
    ck_assert_uint_eq(plan.limit_lsn[RESERVE_REMOVE], view.lsn + view.rest_bytes + 10 * MIB);
    ck_assert_uint_eq(plan.record_max[RESERVE_REMOVE], 20 * MIB); /* the segment's rest */
    view.free_bytes = 50 * MIB; /* then what segments have, and no more */
    plan = decide(&view);
    ck_assert_uint_eq(plan.limit_lsn[RESERVE_REMOVE], view.lsn + view.rest_bytes);
    view.rest_bytes = 0;
    plan = decide(&view);
    ck_assert_uint_eq(plan.limit_lsn[RESERVE_REMOVE], view.lsn);
    ck_assert_uint_eq(plan.record_max[RESERVE_REMOVE], 0);
}
END_TEST

START_TEST(a_large_record_must_fit_without_the_rest_of_the_segment)
{
    struct reserve_view view = ordinary();

    view.free_bytes = view.wanted + 40 * MIB;
    ck_assert_uint_eq(decide(&view).record_max[RESERVE_ADD], (64 + 10) * MIB);
    ck_assert_uint_eq(decide(&view).limit_lsn[RESERVE_ADD], view.lsn + (20 + 64 + 10) * MIB);
    view.next_bytes = MIB;
    view.free_bytes = view.wanted;
    ck_assert_uint_eq(decide(&view).record_max[RESERVE_ADD], 20 * MIB); /* or into it */
}
END_TEST

START_TEST(a_checkpoint_under_way_is_what_the_reserve_is_for)
{
    struct reserve_view view = ordinary();

    view.taken = 60 * MIB;
    view.free_bytes = 40 * MIB;
    ck_assert(!decide(&view).low);
    view.taken = 0; /* somebody else's bytes */
    ck_assert(decide(&view).low);

    /* Nor may a segment take what it has left of it. */
    view.taken = 60 * MIB;
    view.next_bytes = 0;
    view.free_bytes = 42 * MIB;
    ck_assert_uint_eq(decide(&view).prepare_bytes, 2 * MIB - 2 * MIB / 8);
    view.free_bytes = 41 * MIB;
    ck_assert_uint_eq(decide(&view).prepare_bytes, 0);
    ck_assert(decide(&view).low);
    view.taken = 200 * MIB;
    ck_assert(!decide(&view).low);
}
END_TEST

START_TEST(no_number_overflows)
{
    static const uint64_t odd[] = { 0, 1, 4095, MIB, 64 * MIB, UINT64_MAX / 2, UINT64_MAX };
    const size_t n = sizeof(odd) / sizeof(odd[0]);
    uint64_t state = test_seed();
    int i;

    for (i = 0; i < 20000; i++) {
        struct reserve_view view = {
            .free_bytes = odd[test_random(&state) % n],
            .total_bytes = odd[test_random(&state) % n],
            .wanted = odd[test_random(&state) % n],
            .needed = odd[test_random(&state) % n],
            .taken = odd[test_random(&state) % n],
            .segment_bytes = 64 * MIB,
            .lsn = odd[test_random(&state) % n],
            .rest_bytes = odd[test_random(&state) % n],
            .next_bytes = odd[test_random(&state) % n],
            .asked = test_random(&state) % 2,
            .low = test_random(&state) % 2,
        };
        struct reserve_plan plan = decide(&view);

        ck_assert_uint_le(plan.prepare_bytes, 64 * MIB);
        ck_assert(plan.prepare_bytes == 0 || view.next_bytes == 0);
        ck_assert(!plan.low || plan.reserve_bytes > 0);
        ck_assert(plan.low || plan.limit_lsn[RESERVE_ADD] >= view.lsn);
        ck_assert_uint_ge(plan.limit_lsn[RESERVE_REMOVE], view.lsn);
        ck_assert(!plan.low || plan.limit_lsn[RESERVE_ADD] == 0);
        /* Who waits for a segment gets one, at the worst to be told that there is no room. */
        ck_assert(!view.asked || view.next_bytes != 0 || plan.prepare_bytes != 0);
    }
}
END_TEST

/* ---- A log on a disk with an end ---- */

#define SEGMENT (64 * KIB)
#define DISK    (2 * MIB)
#define RESERVE (512 * KIB)

static struct log_test test;

static void
setup(void)
{
    test_init(&test);
    test.options.segment_bytes = SEGMENT;
    test.options.disk_reserve_bytes = RESERVE;
    test.filler = 2000;
    faulty_set_space(test.disk, DISK, 0);
}

static void
teardown(void)
{
    test_fini(&test);
}

/* Append one record. False: the disk is full. */
static bool
append(bool removal)
{
    uint8_t content[TEST_SIZE_MAX];
    size_t size = test_content(test.next, test.filler, content);
    struct brd_wal_payload payload = { .head = brd_bytes(content, size) };
    enum brd_status status;
    uint64_t version;
    uint64_t seen;

    do {
        seen = test_calls(&test);
        status =
            removal ? brd_wal_reserve_removal(test.wal, size) : brd_wal_reserve(test.wal, size);
        if (status == BRD_BUSY)
            test_wait_progress(&test, seen);
    } while (status == BRD_BUSY);
    if (status == BRD_DISK_FULL)
        return false;
    ck_assert_int_eq(status, BRD_OK);
    version = brd_wal_append(test.wal, size, brd_clock_now_ns(test.clock), &payload, false);
    brd_wal_kick(test.wal);
    test.next++;
    ck_assert(test_wait(&test, BRD_DURABILITY_NORMAL, version));
    return true;
}

/* The preparer looks five times a second: it has, when low is as wanted. */
static void
wait_until_low(bool low)
{
    while (brd_wal_disk_is_low(test.wal) != low)
        sched_yield();
}

/* Until only the reserve is left. Who is faster than the preparer may be refused before. */
static void
fill(void)
{
    while (append(false) || !brd_wal_disk_is_low(test.wal))
        ck_assert_uint_lt(test.next, 100000);
}

START_TEST(a_log_stops_at_the_reserve_and_goes_on_when_there_is_space)
{
    uint64_t at_first;
    int round;

    test_up(&test);
    for (round = 1; round <= 5; round++) {
        fill();
        ck_assert(!brd_wal_poisoned(test.wal));
        ck_assert_uint_ge(faulty_free(test.disk), RESERVE);
        ck_assert_uint_lt(faulty_free(test.disk), RESERVE + 2 * SEGMENT);
        at_first = test.next;
        ck_assert(!append(false));
        faulty_set_space(test.disk, DISK + (uint64_t)round * MIB, 0);
        wait_until_low(false);
        ck_assert(append(false));
        ck_assert_uint_eq(test.next, at_first + 1);
    }
    test_down(&test);
    test_up(&test);
    ck_assert_uint_eq(test.replayed, at_first + 1);
    test_down(&test);
}
END_TEST

START_TEST(somebody_elses_files_stop_it_too)
{
    struct brd_wal_stats stats;

    test_up(&test);
    ck_assert(append(false));
    faulty_set_space(test.disk, DISK, DISK);
    wait_until_low(true);
    ck_assert(!append(false));
    ck_assert(append(true)); /* a segment is there */
    brd_wal_get_stats(test.wal, &stats);
    ck_assert(stats.disk_low);
    ck_assert_uint_eq(stats.disk_free_bytes, 0);
    ck_assert_uint_eq(stats.disk_reserve_bytes, RESERVE);
    faulty_set_space(test.disk, DISK, 0);
    wait_until_low(false);
    ck_assert(append(false));
    test_down(&test);
}
END_TEST

START_TEST(removals_go_on_into_the_reserve_and_end_before_it_does)
{
    uint64_t writes;

    test_up(&test);
    fill();
    writes = test.next;
    while (append(true))
        ck_assert_uint_lt(test.next, 100000);
    ck_assert(!brd_wal_poisoned(test.wal));
    ck_assert_uint_gt(test.next, writes + 50);
    ck_assert_uint_lt(faulty_free(test.disk), RESERVE);
    ck_assert_uint_ge(faulty_free(test.disk), RESERVE / 2 - SEGMENT);
    test_down(&test);
    test_up(&test);
    ck_assert_uint_eq(test.replayed, test.next);
    test_down(&test);
}
END_TEST

START_TEST(a_full_log_can_begin_a_segment_and_give_up_the_rest)
{
    struct brd_wal_position position;

    test_up(&test);
    fill();
    while (append(true))
        ck_assert_uint_lt(test.next, 100000);
    ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
    ck_assert_int_eq(brd_wal_release(test.wal, position.version), BRD_OK);
    wait_until_low(false);
    ck_assert(append(false));
    test_down(&test);
}
END_TEST

START_TEST(without_any_space_a_rotation_fails_and_the_log_goes_on)
{
    struct brd_wal_position position;
    enum brd_status status;

    test_up(&test);
    ck_assert(append(false));
    faulty_set_space(test.disk, DISK, DISK);
    wait_until_low(true);
    /* There may be a segment that is prepared, and no second one. */
    while ((status = brd_wal_rotate(test.wal, &position)) == BRD_OK)
        ck_assert(append(true));
    ck_assert_int_eq(status, BRD_DISK_FULL);
    ck_assert_uint_le(test.next, 2);
    ck_assert(!brd_wal_poisoned(test.wal));
    faulty_set_space(test.disk, 2 * DISK, 0);
    wait_until_low(false);
    ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK);
    ck_assert(append(false));
    test_down(&test);
}
END_TEST

START_TEST(a_record_larger_than_what_is_left_is_refused_and_smaller_ones_are_not)
{
    struct brd_wal_position position;

    test_up(&test);
    ck_assert_int_eq(brd_wal_rotate(test.wal, &position), BRD_OK); /* a look has been had */
    ck_assert_int_eq(brd_wal_reserve(test.wal, DISK), BRD_DISK_FULL);
    ck_assert(!brd_wal_disk_is_low(test.wal));
    ck_assert(append(false));
    test_down(&test);
}
END_TEST

START_TEST(the_reserve_may_change_while_the_log_runs)
{
    test_up(&test);
    fill();
    brd_wal_set_disk_reserve(test.wal, RESERVE / 2);
    wait_until_low(false);
    fill();
    ck_assert_uint_lt(faulty_free(test.disk), RESERVE);
    brd_wal_set_disk_reserve(test.wal, 0);
    wait_until_low(false);
    ck_assert(append(false));
    test_down(&test);
}
END_TEST

START_TEST(a_start_on_a_full_disk_takes_as_little_as_may_be)
{
    test_up(&test);
    fill();
    test_down(&test);
    faulty_set_space(test.disk, DISK, 0);
    faulty_set_space(test.disk, DISK, faulty_free(test.disk) - SEGMENT);
    test_up(&test);
    ck_assert(brd_wal_disk_is_low(test.wal)); /* known before the first record */
    ck_assert(!append(false));
    ck_assert(append(true));
    test_down(&test);
}
END_TEST

START_TEST(a_disk_that_does_not_say_what_is_free_is_taken_as_it_was)
{
    test_up(&test);
    fill();
    faulty_fail(test.disk, FAULTY_SPACE, 1, 0, EIO);
    faulty_set_space(test.disk, 2 * DISK, 0);
    ck_assert(!append(false));
    faulty_clear(test.disk);
    wait_until_low(false);
    ck_assert(append(false));
    test_down(&test);

    faulty_fail(test.disk, FAULTY_SPACE, 1, 0, ENOSYS);
    faulty_set_space(test.disk, 0, 0);
    test_up(&test);
    ck_assert(append(false));
    test_down(&test);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wal reserve");
    TCase *pure = tcase_create("decisions");
    TCase *tcase = tcase_create("log");

    tcase_set_timeout(pure, 600);
    tcase_add_test(pure, with_room_segments_have_their_size_and_records_none);
    tcase_add_test(pure, without_a_reserve_nothing_is_refused);
    tcase_add_test(pure, what_nobody_knows_limits_nothing);
    tcase_add_test(pure, a_segment_is_no_larger_than_the_reserve_allows);
    tcase_add_test(pure, on_a_small_file_system_segments_are_small);
    tcase_add_test(pure, the_automatic_reserve_is_what_a_checkpoint_takes);
    tcase_add_test(pure, writes_are_refused_at_the_reserve_and_resume_above_it);
    tcase_add_test(pure, removals_may_use_half_of_the_reserve);
    tcase_add_test(pure, a_large_record_must_fit_without_the_rest_of_the_segment);
    tcase_add_test(pure, a_checkpoint_under_way_is_what_the_reserve_is_for);
    tcase_add_test(pure, no_number_overflows);
    suite_add_tcase(suite, pure);
    tcase_set_timeout(tcase, 600);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_log_stops_at_the_reserve_and_goes_on_when_there_is_space);
    tcase_add_test(tcase, somebody_elses_files_stop_it_too);
    tcase_add_test(tcase, removals_go_on_into_the_reserve_and_end_before_it_does);
    tcase_add_test(tcase, a_full_log_can_begin_a_segment_and_give_up_the_rest);
    tcase_add_test(tcase, without_any_space_a_rotation_fails_and_the_log_goes_on);
    tcase_add_test(tcase, a_record_larger_than_what_is_left_is_refused_and_smaller_ones_are_not);
    tcase_add_test(tcase, the_reserve_may_change_while_the_log_runs);
    tcase_add_test(tcase, a_start_on_a_full_disk_takes_as_little_as_may_be);
    tcase_add_test(tcase, a_disk_that_does_not_say_what_is_free_is_taken_as_it_was);
    suite_add_tcase(suite, tcase);
    return test_main(suite);
}
