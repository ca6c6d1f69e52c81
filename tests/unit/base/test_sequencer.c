/* TSAN */
/* Versions: unique, rising, never above the ceiling. */
#include "base/clock.h"
#include "base/sequencer.h"
#include "base/thread.h"
#include "base_test.h"

#include <signal.h>

START_TEST(a_version_is_the_time_unless_that_was_used)
{
    struct brd_sequencer sequencer;

    brd_sequencer_init(&sequencer, 100);
    ck_assert_uint_eq(brd_sequencer_next(&sequencer, 5000), 5000);
    ck_assert_uint_eq(brd_sequencer_next(&sequencer, 5000), 5001);
    ck_assert_uint_eq(brd_sequencer_next(&sequencer, 9000), 9000);
    ck_assert_uint_eq(brd_sequencer_last(&sequencer), 9000);
}
END_TEST

START_TEST(a_clock_that_steps_back_is_not_followed)
{
    struct brd_sequencer sequencer;

    brd_sequencer_init(&sequencer, 100);
    ck_assert_uint_eq(brd_sequencer_next(&sequencer, 7), 101);
    ck_assert_uint_eq(brd_sequencer_next(&sequencer, 5000), 5000);
    ck_assert_uint_eq(brd_sequencer_next(&sequencer, 10), 5001);
}
END_TEST

START_TEST(raising_only_raises)
{
    struct brd_sequencer sequencer;

    brd_sequencer_init(&sequencer, 100);
    brd_sequencer_raise(&sequencer, 500);
    brd_sequencer_raise(&sequencer, 50);
    ck_assert_uint_eq(brd_sequencer_last(&sequencer), 500);
    ck_assert_uint_eq(brd_sequencer_next(&sequencer, 0), 501);
}
END_TEST

START_TEST(the_ceiling_keeps_its_distance)
{
    const uint64_t ceiling = 10 * BRD_SEQUENCER_GUARD;
    struct brd_sequencer sequencer;

    brd_sequencer_init(&sequencer, 100);
    brd_sequencer_set_ceiling(&sequencer, ceiling);
    ck_assert_uint_eq(brd_sequencer_next(&sequencer, 2 * ceiling), ceiling - BRD_SEQUENCER_GUARD);
    ck_assert_uint_eq(brd_sequencer_next(&sequencer, 2 * ceiling),
                      ceiling - BRD_SEQUENCER_GUARD + 1);
    brd_sequencer_set_ceiling(&sequencer, 3 * ceiling);
    ck_assert_uint_eq(brd_sequencer_next(&sequencer, 2 * ceiling), 2 * ceiling);
}
END_TEST

START_TEST(a_ceiling_that_falls_is_a_bug)
{
    struct brd_sequencer sequencer;

    brd_sequencer_init(&sequencer, 100);
    brd_sequencer_set_ceiling(&sequencer, 10 * BRD_SEQUENCER_GUARD);
    brd_sequencer_set_ceiling(&sequencer, 9 * BRD_SEQUENCER_GUARD);
}
END_TEST

#define THREADS 4
#define EACH    30000

static struct brd_sequencer shared;
static uint64_t taken[THREADS][EACH];

static void *
take(void *arg)
{
    uint64_t *mine = arg;
    uint64_t last = 0;
    int i;

    for (i = 0; i < EACH; i++) {
        mine[i] = brd_sequencer_next(&shared, 1000 + (uint64_t)i);
        if (mine[i] <= last)
            return arg;
        last = mine[i];
    }
    return NULL;
}

static int
compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

START_TEST(threads_never_get_the_same_version)
{
    pthread_t threads[THREADS];
    uint64_t *all = &taken[0][0];
    int i;

    brd_sequencer_init(&shared, 0);
    for (i = 0; i < THREADS; i++)
        ck_assert_int_eq(brd_thread_start(&threads[i], "taker", take, taken[i]), BRD_OK);
    for (i = 0; i < THREADS; i++) {
        void *failed;

        ck_assert_int_eq(pthread_join(threads[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
    qsort(all, (size_t)THREADS * EACH, sizeof(*all), compare);
    for (i = 1; i < THREADS * EACH; i++)
        ck_assert_uint_ne(all[i], all[i - 1]);
    ck_assert_uint_eq(all[THREADS * EACH - 1], brd_sequencer_last(&shared));
}
END_TEST

RUN_TESTS("sequencer", { a_version_is_the_time_unless_that_was_used, 0 },
          { a_clock_that_steps_back_is_not_followed, 0 }, { raising_only_raises, 0 },
          { the_ceiling_keeps_its_distance, 0 }, { a_ceiling_that_falls_is_a_bug, SIGABRT },
          { threads_never_get_the_same_version, 0 })
