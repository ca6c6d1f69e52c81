/* The clock. The wall clock of the real one is the test's: clock_gettime below
 * takes the place of the C library's in this program. */
#include "base/clock.h"
#include "base_test.h"

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int64_t wall_step_s;

int
clock_gettime(clockid_t id, struct timespec *out)
{
    int failed = (int)syscall(SYS_clock_gettime, id, out);

    if (failed == 0 && id == CLOCK_REALTIME)
        out->tv_sec += wall_step_s;
    return failed;
}

#define HOUR_NS (3600 * BRD_NS_PER_S)

static struct brd_clock *brd_clock;

static void
check_step(enum brd_status expected, int64_t expected_s)
{
    int64_t step_ns = 0;

    ck_assert_int_eq(brd_clock_check(brd_clock, &step_ns), expected);
    ck_assert_int_ge(step_ns, (expected_s - 1) * (int64_t)BRD_NS_PER_S);
    ck_assert_int_le(step_ns, (expected_s + 1) * (int64_t)BRD_NS_PER_S);
}

static int64_t
true_wall_ns(void)
{
    struct timespec now;

    ck_assert_int_eq(syscall(SYS_clock_gettime, CLOCK_REALTIME, &now), 0);
    return (int64_t)now.tv_sec * (int64_t)BRD_NS_PER_S + now.tv_nsec;
}

/* Seconds by which the clock is ahead of the true wall, to the nearest. The wall is read
 * before and after, again if the thread was held up in between. */
static int64_t
ahead_s(void)
{
    int64_t before_ns;
    int64_t ahead_ns;

    do {
        before_ns = true_wall_ns();
        ahead_ns = (int64_t)brd_clock_now_ns(brd_clock) - before_ns;
    } while (true_wall_ns() - before_ns > (int64_t)BRD_NS_PER_S / 4);
    return (ahead_ns + (ahead_ns < 0 ? -1 : 1) * (int64_t)BRD_NS_PER_S / 2) / (int64_t)BRD_NS_PER_S;
}

START_TEST(a_fake_clock_stands_still_until_it_is_moved)
{
    uint64_t mono_ns;

    brd_clock = brd_clock_create_fake(1000 * BRD_NS_PER_S);
    mono_ns = brd_clock_mono_ns(brd_clock);
    ck_assert_uint_eq(brd_clock_now_ns(brd_clock), 1000 * BRD_NS_PER_S);
    ck_assert_uint_eq(brd_clock_now_ns(brd_clock), 1000 * BRD_NS_PER_S);
    brd_clock_advance(brd_clock, 5);
    ck_assert_uint_eq(brd_clock_now_ns(brd_clock), 1000 * BRD_NS_PER_S + 5);
    ck_assert_uint_eq(brd_clock_mono_ns(brd_clock), mono_ns + 5);
    check_step(BRD_OK, 0);
    brd_clock_destroy(&brd_clock);
    ck_assert_ptr_null(brd_clock);
}
END_TEST

START_TEST(a_step_of_a_fake_clock_moves_the_wall_alone)
{
    uint64_t mono_ns;

    brd_clock = brd_clock_create_fake(1000 * BRD_NS_PER_S);
    mono_ns = brd_clock_mono_ns(brd_clock);
    brd_clock_step(brd_clock, -(int64_t)BRD_NS_PER_S);
    ck_assert_uint_eq(brd_clock_now_ns(brd_clock), 999 * BRD_NS_PER_S);
    brd_clock_step(brd_clock, 3 * (int64_t)BRD_NS_PER_S);
    ck_assert_uint_eq(brd_clock_now_ns(brd_clock), 1002 * BRD_NS_PER_S);
    ck_assert_uint_eq(brd_clock_mono_ns(brd_clock), mono_ns);
    brd_clock_destroy(&brd_clock);
}
END_TEST

START_TEST(only_fake_clocks_can_be_moved)
{
    brd_clock = brd_clock_create_real(HOUR_NS);
    brd_clock_advance(brd_clock, 1);
}
END_TEST

START_TEST(the_real_clock_shows_the_wall_and_never_falls)
{
    uint64_t last_ns;
    int i;

    brd_clock = brd_clock_create_real(HOUR_NS);
    ck_assert_int_eq(ahead_s(), 0);
    last_ns = brd_clock_now_ns(brd_clock);
    for (i = 0; i < 1000; i++) {
        uint64_t now_ns = brd_clock_now_ns(brd_clock);

        ck_assert_uint_ge(now_ns, last_ns);
        last_ns = now_ns;
    }
    check_step(BRD_OK, 0);
    brd_clock_destroy(&brd_clock);
}
END_TEST

START_TEST(a_moderate_step_is_followed_when_it_is_seen)
{
    brd_clock = brd_clock_create_real(HOUR_NS);
    wall_step_s = 600;
    ck_assert_int_eq(ahead_s(), 0);
    check_step(BRD_OK, 600);
    ck_assert_int_eq(ahead_s(), 600);
    check_step(BRD_OK, 0);
    wall_step_s = 0;
    brd_clock_destroy(&brd_clock);
}
END_TEST

START_TEST(a_step_back_is_followed_however_far)
{
    brd_clock = brd_clock_create_real(HOUR_NS);
    wall_step_s = -100000;
    check_step(BRD_OK, -100000);
    ck_assert_int_lt(ahead_s(), -99990);
    wall_step_s = 0;
    brd_clock_destroy(&brd_clock);
}
END_TEST

START_TEST(a_wild_step_forward_is_refused_and_reported_once)
{
    brd_clock = brd_clock_create_real(HOUR_NS);
    wall_step_s = 86400;
    check_step(BRD_OUT_OF_RANGE, 86400);
    check_step(BRD_OK, 0);
    check_step(BRD_OK, 0);
    ck_assert_int_eq(ahead_s(), 0);
    wall_step_s = 2 * 86400;
    check_step(BRD_OUT_OF_RANGE, 2 * 86400);
    wall_step_s = 0;
    check_step(BRD_OK, 0);
    ck_assert_int_eq(ahead_s(), 0);
    wall_step_s = 86400;
    check_step(BRD_OUT_OF_RANGE, 86400);
    wall_step_s = 0;
    brd_clock_destroy(&brd_clock);
}
END_TEST

START_TEST(without_a_limit_every_step_is_followed)
{
    brd_clock = brd_clock_create_real(0);
    wall_step_s = 86400;
    check_step(BRD_OK, 86400);
    ck_assert_int_eq(ahead_s(), 86400);
    wall_step_s = 0;
    brd_clock_destroy(&brd_clock);
}
END_TEST

RUN_TESTS("clock", { a_fake_clock_stands_still_until_it_is_moved, 0 },
          { a_step_of_a_fake_clock_moves_the_wall_alone, 0 },
          { only_fake_clocks_can_be_moved, SIGABRT },
          { the_real_clock_shows_the_wall_and_never_falls, 0 },
          { a_moderate_step_is_followed_when_it_is_seen, 0 },
          { a_step_back_is_followed_however_far, 0 },
          { a_wild_step_forward_is_refused_and_reported_once, 0 },
          { without_a_limit_every_step_is_followed, 0 })
