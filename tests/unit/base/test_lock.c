/* TSAN */
/* Locks: exclusion, time limits, and, in debug builds, the order of ranks. */
#include "base/clock.h"
#include "base/lock.h"
#include "base/thread.h"
#include "base_test.h"

#include <sched.h>
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

/* ---- readers and writers in each other's way ---- */

#define CROWD  8 /* more threads than most machines that run this have cores */
#define ROUNDS 5000

static uint64_t pair[2]; /* the same, except under a writer */
static _Atomic uint32_t done;
static _Atomic bool torn;

static void *
write_the_pair(void *arg)
{
    int i;

    for (i = 0; i < ROUNDS; i++) {
        brd_rwlock_write(&rwlock);
        pair[0]++;
        pair[1]++;
        brd_rwlock_write_done(&rwlock);
    }
    atomic_fetch_add(&done, 1);
    return arg;
}

static void *
read_the_pair(void *arg)
{
    int i;

    for (i = 0; i < ROUNDS; i++) {
        brd_rwlock_read(&rwlock);
        if (pair[0] != pair[1])
            atomic_store(&torn, true);
        brd_rwlock_read_done(&rwlock);
    }
    atomic_fetch_add(&done, 1);
    return arg;
}

/* So many of each, at once; all of them get through. */
static void
run_crowd(unsigned writers)
{
    pthread_t threads[CROWD];
    unsigned i;

    brd_rwlock_init(&rwlock, BRD_RANK_STRIPE, 0);
    pair[0] = pair[1] = 0;
    atomic_store(&torn, false);
    for (i = 0; i < CROWD; i++)
        ck_assert_int_eq(brd_thread_start(&threads[i], "crowd",
                                          i < writers ? write_the_pair : read_the_pair, NULL),
                         BRD_OK);
    for (i = 0; i < CROWD; i++)
        brd_thread_join(threads[i]);
    ck_assert(!atomic_load(&torn));
    ck_assert_uint_eq(pair[0], (uint64_t)writers * ROUNDS);
    ck_assert_uint_eq(pair[1], pair[0]);
    brd_rwlock_fini(&rwlock);
}

START_TEST(a_crowd_gets_through_whatever_the_share_of_writers)
{
    unsigned writers;

    for (writers = 0; writers <= CROWD; writers++)
        run_crowd(writers);
}
END_TEST

/* A stream of one kind that ends only when the others are done. */
static void *
read_until_done(void *arg)
{
    while (atomic_load(&done) < 1) {
        brd_rwlock_read(&rwlock);
        brd_rwlock_read_done(&rwlock);
    }
    return arg;
}

static void *
write_until_done(void *arg)
{
    while (atomic_load(&done) < 1) {
        brd_rwlock_write(&rwlock);
        brd_rwlock_write_done(&rwlock);
    }
    return arg;
}

static void
run_stream(void *(*stream)(void *arg), void *(*other)(void *arg))
{
    pthread_t threads[CROWD];
    int i;

    brd_rwlock_init(&rwlock, BRD_RANK_STRIPE, 0);
    atomic_store(&done, 0);
    for (i = 0; i < CROWD; i++)
        ck_assert_int_eq(brd_thread_start(&threads[i], "stream", i < CROWD - 1 ? stream : other,
                                          NULL),
                         BRD_OK);
    for (i = 0; i < CROWD; i++)
        brd_thread_join(threads[i]);
    brd_rwlock_fini(&rwlock);
}

START_TEST(a_stream_of_readers_does_not_keep_a_writer_out)
{
    run_stream(read_until_done, write_the_pair);
}
END_TEST

START_TEST(a_stream_of_writers_does_not_keep_a_reader_out)
{
    run_stream(write_until_done, read_the_pair);
}
END_TEST

static _Atomic uint32_t order; /* the kinds that got in, a digit each */

static void *
enter_to_write(void *arg)
{
    brd_rwlock_write(&rwlock);
    atomic_store(&order, atomic_load(&order) * 10 + 2);
    brd_rwlock_write_done(&rwlock);
    return arg;
}

static void *
enter_to_read(void *arg)
{
    brd_rwlock_read(&rwlock);
    atomic_store(&order, atomic_load(&order) * 10 + 1);
    brd_rwlock_read_done(&rwlock);
    return arg;
}

static void
wait_for(uint32_t bit)
{
    while ((atomic_load(&rwlock.word) & bit) == 0)
        sched_yield();
}

START_TEST(a_writer_that_waits_goes_before_readers_that_come_later)
{
    pthread_t writer;
    pthread_t reader;

    brd_rwlock_init(&rwlock, BRD_RANK_STRIPE, 0);
    atomic_store(&order, 0);
    hold_read(&rwlock);
    ck_assert_int_eq(brd_thread_start(&writer, "writer", enter_to_write, NULL), BRD_OK);
    wait_for(BRD_RWLOCK_QUEUE);
    ck_assert_int_eq(brd_thread_start(&reader, "reader", enter_to_read, NULL), BRD_OK);
    wait_for(BRD_RWLOCK_PARKED);
    ck_assert_uint_eq(atomic_load(&order), 0);
    drop_read(&rwlock);
    brd_thread_join(writer);
    brd_thread_join(reader);
    ck_assert_uint_eq(atomic_load(&order), 21);
    brd_rwlock_fini(&rwlock);
}
END_TEST

START_TEST(those_who_sleep_behind_a_writer_are_woken_when_it_leaves)
{
    pthread_t threads[CROWD];
    uint32_t digits;
    int i;

    brd_rwlock_init(&rwlock, BRD_RANK_STRIPE, 0);
    atomic_store(&order, 0);
    hold_write(&rwlock);
    for (i = 0; i < CROWD; i++) {
        ck_assert_int_eq(brd_thread_start(&threads[i], "sleeper",
                                          i % 2 == 0 ? enter_to_write : enter_to_read, NULL),
                         BRD_OK);
        wait_for(BRD_RWLOCK_PARKED);
    }
    drop_write(&rwlock);
    for (i = 0; i < CROWD; i++)
        brd_thread_join(threads[i]);
    /* Readers beside each other may lose a digit; no writer does. */
    for (i = 0, digits = atomic_load(&order); digits > 0; digits /= 10)
        i += digits % 10 == 2;
    ck_assert_int_eq(i, CROWD / 2);
    brd_rwlock_fini(&rwlock);
}
END_TEST

START_TEST(leaving_a_lock_that_nobody_reads_is_a_bug)
{
    brd_rwlock_init(&rwlock, BRD_RANK_STRIPE, 0);
    drop_read(&rwlock);
}
END_TEST

START_TEST(leaving_a_lock_that_nobody_writes_is_a_bug)
{
    brd_rwlock_init(&rwlock, BRD_RANK_STRIPE, 0);
    drop_write(&rwlock);
}
END_TEST

START_TEST(a_lock_takes_one_cache_line)
{
#ifndef BRD_DEBUG
    ck_assert_uint_eq(sizeof(struct brd_rwlock), BRD_CACHE_LINE);
#endif
    ck_assert_uint_eq(sizeof(struct brd_rwlock) % BRD_CACHE_LINE, 0);
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
          { a_crowd_gets_through_whatever_the_share_of_writers, 0 },
          { a_stream_of_readers_does_not_keep_a_writer_out, 0 },
          { a_stream_of_writers_does_not_keep_a_reader_out, 0 },
          { a_writer_that_waits_goes_before_readers_that_come_later, 0 },
          { those_who_sleep_behind_a_writer_are_woken_when_it_leaves, 0 },
          { leaving_a_lock_that_nobody_reads_is_a_bug, SIGABRT },
          { leaving_a_lock_that_nobody_writes_is_a_bug, SIGABRT },
          { a_lock_takes_one_cache_line, 0 }, { waiting_ends_with_the_time, 0 },
          { waiting_ends_with_a_signal, 0 }, { ranks_rise_and_stripes_rise_within_theirs, 0 })
