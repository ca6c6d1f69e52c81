#include "base/lock.h"

#include "base/clock.h"

#include <errno.h>
#include <time.h>

#ifdef BRD_DEBUG
/* Per rank: how many this thread holds, and the highest order taken since it
 * last held none. That is enough to see any wrong order, because locks of one
 * rank are taken rising and given back together. */
static _Thread_local unsigned held[BRD_RANK_COUNT];
static _Thread_local uint32_t highest[BRD_RANK_COUNT];

void
brd_lock_note_take(uint16_t rank, uint32_t order)
{
    unsigned i;

    BRD_CHECK(rank < BRD_RANK_COUNT);
    for (i = rank + 1u; i < BRD_RANK_COUNT; i++)
        BRD_CHECK(held[i] == 0);
    if (held[rank] > 0) {
        BRD_CHECK(order != UINT32_MAX);
        BRD_CHECK(order > highest[rank]);
    }
    held[rank]++;
    highest[rank] = order;
}

void
brd_lock_note_give(uint16_t rank)
{
    BRD_CHECK(held[rank] > 0);
    held[rank]--;
}
#endif

unsigned
brd_lock_held(enum brd_lock_rank rank)
{
#ifdef BRD_DEBUG
    return held[rank];
#else
    (void)rank;
    return 0;
#endif
}

void
brd_mutex_init(struct brd_mutex *mutex, enum brd_lock_rank rank)
{
    int failed = pthread_mutex_init(&mutex->raw, NULL);

    BRD_CHECK(failed == 0);
    mutex->rank = (uint16_t)rank;
}

void
brd_mutex_fini(struct brd_mutex *mutex)
{
    int failed = pthread_mutex_destroy(&mutex->raw);

    BRD_CHECK(failed == 0);
}

void
brd_mutex_lock(struct brd_mutex *mutex) BRD_NO_ANALYSIS
{
    int failed;

    brd_lock_note_take(mutex->rank, UINT32_MAX);
    failed = pthread_mutex_lock(&mutex->raw);
    BRD_CHECK(failed == 0);
}

void
brd_mutex_unlock(struct brd_mutex *mutex) BRD_NO_ANALYSIS
{
    int failed = pthread_mutex_unlock(&mutex->raw);

    BRD_CHECK(failed == 0);
    brd_lock_note_give(mutex->rank);
}

void
brd_cond_init(struct brd_cond *cond)
{
    pthread_condattr_t attr;
    int failed = pthread_condattr_init(&attr);

    BRD_CHECK(failed == 0);
    failed = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    BRD_CHECK(failed == 0);
    failed = pthread_cond_init(&cond->raw, &attr);
    BRD_CHECK(failed == 0);
    pthread_condattr_destroy(&attr);
}

void
brd_cond_fini(struct brd_cond *cond)
{
    int failed = pthread_cond_destroy(&cond->raw);

    BRD_CHECK(failed == 0);
}

void
brd_cond_wait(struct brd_cond *cond, struct brd_mutex *mutex)
{
    int failed = pthread_cond_wait(&cond->raw, &mutex->raw);

    BRD_CHECK(failed == 0);
}

bool
brd_cond_wait_for(struct brd_cond *cond, struct brd_mutex *mutex, uint64_t timeout_ns)
{
    struct timespec until;
    uint64_t ns;
    int failed = clock_gettime(CLOCK_MONOTONIC, &until);

    BRD_CHECK(failed == 0);
    ns = (uint64_t)until.tv_nsec + timeout_ns % BRD_NS_PER_S;
    until.tv_sec += (time_t)(timeout_ns / BRD_NS_PER_S + ns / BRD_NS_PER_S);
    until.tv_nsec = (long)(ns % BRD_NS_PER_S);
    failed = pthread_cond_timedwait(&cond->raw, &mutex->raw, &until);
    BRD_CHECK(failed == 0 || failed == ETIMEDOUT);
    return failed == 0;
}

void
brd_cond_signal(struct brd_cond *cond)
{
    int failed = pthread_cond_signal(&cond->raw);

    BRD_CHECK(failed == 0);
}

void
brd_cond_broadcast(struct brd_cond *cond)
{
    int failed = pthread_cond_broadcast(&cond->raw);

    BRD_CHECK(failed == 0);
}
