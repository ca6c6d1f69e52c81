/* TSAN */
/* Locks: exclusion, time limits, and, in debug builds, the order of ranks. */
#include "base/clock.h"
#include "base/lock.h"
#include "base/thread.h"
#include "base_test.h"

#include <signal.h>

static struct brd_mutex mutex;
static struct brd_cond cond;
static struct brd_rwlock rwlock;
static uint64_t guarded;

/* For tests that do what the compiler's own analysis would refuse. */
static void
hold_mutex(struct brd_mutex *lock) BRD_NO_ANALYSIS
{
    brd_mutex_lock(lock);
}

static void
hold_read(struct brd_rwlock *lock) BRD_NO_ANALYSIS
{
    brd_rwlock_read(lock);
}

static void
hold_write(struct brd_rwlock *lock) BRD_NO_ANALYSIS
{
    brd_rwlock_write(lock);
}

static void
drop_read(struct brd_rwlock *lock) BRD_NO_ANALYSIS
{
    brd_rwlock_read_done(lock);
}

static void
drop_write(struct brd_rwlock *lock) BRD_NO_ANALYSIS
{
    brd_rwlock_write_done(lock);
}

static void *
add_under_mutex(void *arg)
{
    int i;

    (void)arg;
    for (i = 0; i < 20000; i++) {
        brd_mutex_lock(&mutex);
        guarded++;
        brd_mutex_unlock(&mutex);
    }
    return NULL;
}

static void *
add_under_rwlock(void *arg)
{
    uint64_t seen;
    int i;

    for (i = 0; i < 20000; i++) {
        brd_rwlock_write(&rwlock);
        guarded++;
        brd_rwlock_write_done(&rwlock);
        brd_rwlock_read(&rwlock);
        seen = guarded;
        brd_rwlock_read_done(&rwlock);
        if (seen == 0)
            return arg;
    }
    return NULL;
}

static void
run_four(void *(*run)(void *arg))
{
    pthread_t threads[4];
    int i;

    guarded = 0;
    for (i = 0; i < 4; i++)
        ck_assert_int_eq(brd_thread_start(&threads[i], "adder", run, NULL), BRD_OK);
    for (i = 0; i < 4; i++)
        brd_thread_join(threads[i]);
    ck_assert_uint_eq(guarded, 80000);
}

START_TEST(a_mutex_excludes)
{
    brd_mutex_init(&mutex, BRD_RANK_FREER);
    run_four(add_under_mutex);
    brd_mutex_fini(&mutex);
}
END_TEST

START_TEST(a_writer_excludes_everybody)
{
    brd_rwlock_init(&rwlock, BRD_RANK_STRIPE, 0);
    run_four(add_under_rwlock);
    brd_rwlock_fini(&rwlock);
}
END_TEST

START_TEST(waiting_ends_with_the_time)
{
    bool signalled;

    brd_mutex_init(&mutex, BRD_RANK_FREER);
    brd_cond_init(&cond);
    brd_mutex_lock(&mutex);
    do
        signalled = brd_cond_wait_for(&cond, &mutex, 1000);
    while (signalled);
    brd_mutex_unlock(&mutex);
    brd_cond_fini(&cond);
    brd_mutex_fini(&mutex);
}
END_TEST

static void *
set_and_signal(void *arg)
{
    (void)arg;
    brd_mutex_lock(&mutex);
    guarded = 1;
    brd_cond_signal(&cond);
    brd_mutex_unlock(&mutex);
    return NULL;
}

START_TEST(waiting_ends_with_a_signal)
{
    pthread_t thread;

    brd_mutex_init(&mutex, BRD_RANK_FREER);
    brd_cond_init(&cond);
    guarded = 0;
    brd_mutex_lock(&mutex);
    ck_assert_int_eq(brd_thread_start(&thread, "signaller", set_and_signal, NULL), BRD_OK);
    while (guarded == 0)
        brd_cond_wait(&cond, &mutex);
    brd_mutex_unlock(&mutex);
    brd_thread_join(thread);
    brd_cond_fini(&cond);
    brd_mutex_fini(&mutex);
}
END_TEST

START_TEST(ranks_rise_and_stripes_rise_within_theirs)
{
    struct brd_rwlock stripes[3];
    int i;

    for (i = 0; i < 3; i++)
        brd_rwlock_init(&stripes[i], BRD_RANK_STRIPE, (uint32_t)i);
    brd_mutex_init(&mutex, BRD_RANK_WAL_QUEUE);
    hold_write(&stripes[0]);
    hold_read(&stripes[2]);
    brd_mutex_lock(&mutex);
#ifdef BRD_DEBUG
    ck_assert_uint_eq(brd_lock_held(BRD_RANK_STRIPE), 2);
#endif
    brd_mutex_unlock(&mutex);
    drop_write(&stripes[0]);
    drop_read(&stripes[2]);
    hold_write(&stripes[1]); /* none is held: lower than the last is right */
    drop_write(&stripes[1]);
    ck_assert_uint_eq(brd_lock_held(BRD_RANK_STRIPE), 0);
    brd_mutex_fini(&mutex);
    for (i = 0; i < 3; i++)
        brd_rwlock_fini(&stripes[i]);
}
END_TEST

#ifdef BRD_DEBUG
START_TEST(a_lower_rank_after_a_higher_is_a_bug)
{
    brd_mutex_init(&mutex, BRD_RANK_WAL_QUEUE);
    brd_rwlock_init(&rwlock, BRD_RANK_STRIPE, 0);
    hold_mutex(&mutex);
    hold_read(&rwlock);
}
END_TEST

START_TEST(a_lower_stripe_after_a_higher_is_a_bug)
{
    struct brd_rwlock other;

    brd_rwlock_init(&rwlock, BRD_RANK_STRIPE, 5);
    brd_rwlock_init(&other, BRD_RANK_STRIPE, 4);
    hold_read(&rwlock);
    hold_read(&other);
}
END_TEST

START_TEST(two_mutexes_of_one_rank_are_a_bug)
{
    struct brd_mutex other;

    brd_mutex_init(&mutex, BRD_RANK_FREER);
    brd_mutex_init(&other, BRD_RANK_FREER);
    hold_mutex(&mutex);
    hold_mutex(&other);
}
END_TEST

START_TEST(giving_back_what_is_not_held_is_a_bug)
{
    brd_lock_note_give(BRD_RANK_MAILBOX);
}
END_TEST
#endif

#ifdef BRD_DEBUG
#define ORDER_TESTS                                          \
    { a_lower_rank_after_a_higher_is_a_bug, SIGABRT },       \
        { a_lower_stripe_after_a_higher_is_a_bug, SIGABRT }, \
        { two_mutexes_of_one_rank_are_a_bug, SIGABRT },      \
        { giving_back_what_is_not_held_is_a_bug, SIGABRT },
#else
#define ORDER_TESTS
#endif

RUN_TESTS("lock", ORDER_TESTS{ a_mutex_excludes, 0 }, { a_writer_excludes_everybody, 0 },
          { waiting_ends_with_the_time, 0 }, { waiting_ends_with_a_signal, 0 },
          { ranks_rise_and_stripes_rise_within_theirs, 0 })
