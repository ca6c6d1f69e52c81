/* Locks, their ranks, and clang's thread-safety attributes.
 *
 * Every lock has a rank from the one list below. A thread takes locks in
 * rising rank; of one rank (stripes) in rising order number. Debug builds stop
 * on a wrong order. Under a stripe there is queueing in memory, and no file or
 * socket call, no waiting and no callback. */
#ifndef BRD_BASE_LOCK_H
#define BRD_BASE_LOCK_H

#include "base/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __clang__
#define BRD_TS(x) __attribute__((x))
#else
#define BRD_TS(x)
#endif
#define BRD_CAPABILITY(name)     BRD_TS(capability(name))
#define BRD_ACQUIRE(...)         BRD_TS(acquire_capability(__VA_ARGS__))
#define BRD_ACQUIRE_SHARED(...)  BRD_TS(acquire_shared_capability(__VA_ARGS__))
#define BRD_RELEASE(...)         BRD_TS(release_capability(__VA_ARGS__))
#define BRD_RELEASE_SHARED(...)  BRD_TS(release_shared_capability(__VA_ARGS__))
#define BRD_REQUIRES(...)        BRD_TS(requires_capability(__VA_ARGS__))
#define BRD_REQUIRES_SHARED(...) BRD_TS(requires_shared_capability(__VA_ARGS__))
#define BRD_NO_ANALYSIS          BRD_TS(no_thread_safety_analysis)

enum brd_lock_rank {
    BRD_RANK_ENGINE,    /* engine: attach, start and stop */
    BRD_RANK_EVICTION,  /* store: changing a keyspace's eviction policy */
    BRD_RANK_STRIPE,    /* store: one stripe; several in rising index */
    BRD_RANK_QUEUES,    /* store: a keyspace's eviction queues */
    BRD_RANK_WAL_QUEUE, /* wal: records waiting to be written */
    BRD_RANK_WAL_STATE, /* wal: segments, positions, poison */
    BRD_RANK_FREER,     /* store: free memory, what waits to be freed, the list of keyspaces */
    BRD_RANK_REPLAY,    /* engine: changes of the log on their way to a thread */
    BRD_RANK_SERVER,    /* server: lists of connections and waiters */
    BRD_RANK_MAILBOX,   /* server: messages to a worker */
    BRD_RANK_DIAG,      /* diag: one line at a time */
    BRD_RANK_COUNT
};

struct BRD_CAPABILITY("mutex") brd_mutex {
    pthread_mutex_t raw;
    uint16_t rank;
};

struct brd_cond {
    pthread_cond_t raw; /* on CLOCK_MONOTONIC */
};

/* Of a word's bits; the rest counts readers. */
#define BRD_RWLOCK_WRITER 1u
#define BRD_RWLOCK_QUEUE  2u /* somebody is queued: enter by the queue */
#define BRD_RWLOCK_PARKED 4u /* somebody sleeps: whoever leaves invites one */
#define BRD_RWLOCK_READER 8u

/* Alone on its cache line: neighbours must not slow each other. One atomic step
 * to enter and one to leave where nobody is in the way. Neither a stream of
 * readers nor one of writers can keep anybody out for ever; hence a thread must
 * not take one shared twice. rwlock.c has the rest. */
struct BRD_CAPABILITY("rwlock") brd_rwlock {
    _Atomic uint32_t word;
    _Atomic uint32_t inner;        /* guards what follows, apart from loads of the turns */
    _Atomic uint32_t invitations;  /* to those parked, so far */
    _Atomic uint32_t reader_phase; /* rises when queued readers are admitted */
    _Atomic uint32_t writer_turn;  /* queued writers that were admitted, so far */
    uint32_t parked;               /* and not invited yet */
    uint32_t next_parking;
    uint32_t next_ticket;
    uint32_t readers_queued;
    uint32_t writers_queued;
    uint32_t readers_asleep; /* of those queued: sleep, or are about to */
    uint32_t writers_asleep; /* may count some that were admitted and have not noticed */
    bool invited;            /* somebody was, and has not got the lock yet */
    bool writer_was_last;    /* of those admitted from the queue */
#ifdef BRD_DEBUG
    uint32_t order;
    uint16_t rank;
#endif
} __attribute__((aligned(BRD_CACHE_LINE)));

void brd_mutex_init(struct brd_mutex *mutex, enum brd_lock_rank rank);
void brd_mutex_fini(struct brd_mutex *mutex);
void brd_mutex_lock(struct brd_mutex *mutex) BRD_ACQUIRE(mutex);
void brd_mutex_unlock(struct brd_mutex *mutex) BRD_RELEASE(mutex);

void brd_cond_init(struct brd_cond *cond);
void brd_cond_fini(struct brd_cond *cond);
void brd_cond_wait(struct brd_cond *cond, struct brd_mutex *mutex) BRD_REQUIRES(mutex);
/* False where timeout_ns passed first. Spurious wake-ups happen: loop. */
bool brd_cond_wait_for(struct brd_cond *cond, struct brd_mutex *mutex, uint64_t timeout_ns)
    BRD_REQUIRES(mutex);
void brd_cond_signal(struct brd_cond *cond);
void brd_cond_broadcast(struct brd_cond *cond);

/* order: the place among locks of the same rank (a stripe's index). */
void brd_rwlock_init(struct brd_rwlock *lock, enum brd_lock_rank rank, uint32_t order);
void brd_rwlock_fini(struct brd_rwlock *lock);

#ifdef BRD_DEBUG
/* Stop where taking or giving back would break the order. order is ignored for
 * mutexes (UINT32_MAX: at most one of the rank at a time). */
void brd_lock_note_take(uint16_t rank, uint32_t order);
void brd_lock_note_give(uint16_t rank);
#else
#define brd_lock_note_take(rank, order) ((void)0)
#define brd_lock_note_give(rank)        ((void)0)
#endif

/* How many locks of the rank this thread holds; debug builds only, else 0. */
unsigned brd_lock_held(enum brd_lock_rank rank);

/* What is in the way is dealt with in rwlock.c. */
void brd_rwlock_read_slowly(struct brd_rwlock *lock);
void brd_rwlock_write_slowly(struct brd_rwlock *lock);
void brd_rwlock_hand_over(struct brd_rwlock *lock);

static inline void
brd_rwlock_read(struct brd_rwlock *lock) BRD_ACQUIRE_SHARED(lock) BRD_NO_ANALYSIS
{
    uint32_t was;

    brd_lock_note_take(lock->rank, lock->order);
    was = atomic_fetch_add_explicit(&lock->word, BRD_RWLOCK_READER, memory_order_acquire);
    if (BRD_UNLIKELY((was & (BRD_RWLOCK_WRITER | BRD_RWLOCK_QUEUE)) != 0))
        brd_rwlock_read_slowly(lock);
}

static inline void
brd_rwlock_write(struct brd_rwlock *lock) BRD_ACQUIRE(lock) BRD_NO_ANALYSIS
{
    uint32_t word = 0;

    brd_lock_note_take(lock->rank, lock->order);
    if (BRD_UNLIKELY(!atomic_compare_exchange_strong_explicit(&lock->word, &word, BRD_RWLOCK_WRITER,
                                                              memory_order_acquire,
                                                              memory_order_relaxed)))
        brd_rwlock_write_slowly(lock);
}

/* A reader leaves, or finds that it must not enter. */
static inline uint32_t
brd_rwlock_take_out_reader(struct brd_rwlock *lock)
{
    uint32_t was = atomic_fetch_sub_explicit(&lock->word, BRD_RWLOCK_READER, memory_order_release);

    if (BRD_UNLIKELY((was & (BRD_RWLOCK_QUEUE | BRD_RWLOCK_PARKED)) != 0))
        brd_rwlock_hand_over(lock);
    return was;
}

static inline void
brd_rwlock_read_done(struct brd_rwlock *lock) BRD_RELEASE_SHARED(lock) BRD_NO_ANALYSIS
{
    uint32_t was = brd_rwlock_take_out_reader(lock);

    BRD_CHECK(was >= BRD_RWLOCK_READER && (was & BRD_RWLOCK_WRITER) == 0);
    brd_lock_note_give(lock->rank);
}

static inline void
brd_rwlock_write_done(struct brd_rwlock *lock) BRD_RELEASE(lock) BRD_NO_ANALYSIS
{
    uint32_t was = atomic_fetch_sub_explicit(&lock->word, BRD_RWLOCK_WRITER, memory_order_release);

    BRD_CHECK((was & BRD_RWLOCK_WRITER) != 0);
    if (BRD_UNLIKELY((was & (BRD_RWLOCK_QUEUE | BRD_RWLOCK_PARKED)) != 0))
        brd_rwlock_hand_over(lock);
    brd_lock_note_give(lock->rank);
}

#endif
