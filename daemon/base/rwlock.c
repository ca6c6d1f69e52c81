/* A reader-writer lock of one word, and what is behind it for those who wait.
 *
 *   word   | readers that hold it, 29 bits | PARKED | QUEUE | WRITER |
 *
 * Nobody in the way: a reader adds itself and is in, a writer exchanges 0 for
 * WRITER; leaving takes out what was put in. That is one atomic step each way,
 * and it is in lock.h. A reader that added itself and finds WRITER or QUEUE takes
 * itself out again, just as if it left.
 *
 * Somebody in the way:
 *
 *   spin --> park --> spin --> queue        a writer that readers keep out
 *             (sleep)           (turns)     goes from the first to the last
 *
 * 1. Spin for about as long as going to sleep and waking up would take: whoever
 *    holds a stripe is done in a fraction of that, unless it has lost its core.
 * 2. Park: sleep until invited, first come, first served. Whoever leaves while
 *    PARKED is set invites one; the next is invited when that one has got the
 *    lock. Meanwhile the lock is open to all. So it never stands idle for as long
 *    as a thread takes to wake up, which is what makes queues collapse where
 *    there are more threads than cores.
 * 3. Queue: while QUEUE is set nobody enters by the fast way, and who makes the
 *    lock free hands it over: after a writer to all queued readers, if there are
 *    any, else to the next writer; after readers to the next writer. Phases
 *    alternate, so nobody waits longer than one phase of the other kind and the
 *    writers before it (as in the phase-fair lock of B. Brandenburg, J. Anderson,
 *    "Reader-Writer Synchronization for Shared-Memory Multiprocessor Real-Time
 *    Systems", 2009). Only threads that run come here, so they are there when it
 *    is their turn; if not, they sleep here as well.
 *
 * So neither a stream of readers nor one of writers keeps anybody out for ever.
 *
 * Handed over means: the word already counts the new holder when it learns of it.
 * It learns from its turn: readers that the number of reader phases has moved on,
 * a writer that its ticket has come up.
 *
 * Invariants, outside `inner`: QUEUE is set exactly while somebody is queued. A
 * word with QUEUE and without holders is about to be handed over, by whoever made
 * it so. While somebody is parked, either PARKED is set and somebody holds the
 * lock or is about to, or one is invited, who will set it again. Everything but
 * the word and the turns is guarded by `inner`, a mutex of one word (U. Drepper,
 * "Futexes Are Tricky", 2011, its third version).
 *
 * Order: entering acquires, leaving releases. A holder that was handed the lock
 * acquires the turn, which the one before it released after acquiring the word.
 *
 * Why not pthread_rwlock_t, and the figures: docs/store.md. */
#include "base/lock.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINS 100 /* turns of a loop with one pause: some microseconds */

#define INNER_FREE   0u
#define INNER_HELD   1u
#define INNER_WANTED 2u /* held, and somebody sleeps */

static inline void
pause_a_little(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Sleep while *word is value; wakes may come for nothing. */
static void
sleep_on(_Atomic uint32_t *word, uint32_t value, uint32_t bits)
{
    /* Errors are EAGAIN and EINTR: the caller looks again. */
    (void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, NULL, NULL, bits);
}

static void
wake(_Atomic uint32_t *word, int count, uint32_t bits)
{
    long woken = syscall(SYS_futex, word, FUTEX_WAKE_BITSET_PRIVATE, count, NULL, NULL, bits);

    BRD_CHECK(woken >= 0);
}

/* ---- the mutex of the queue ---- */

static void
inner_lock(struct brd_rwlock *lock)
{
    uint32_t seen = INNER_FREE;
    int i;

    for (i = 0; i < SPINS; i++) {
        if (atomic_compare_exchange_weak_explicit(&lock->inner, &seen, INNER_HELD,
                                                  memory_order_acquire, memory_order_relaxed))
            return;
        seen = INNER_FREE;
        pause_a_little();
    }
    while (atomic_exchange_explicit(&lock->inner, INNER_WANTED, memory_order_acquire) != INNER_FREE)
        sleep_on(&lock->inner, INNER_WANTED, FUTEX_BITSET_MATCH_ANY);
}

static void
inner_unlock(struct brd_rwlock *lock)
{
    uint32_t was = atomic_exchange_explicit(&lock->inner, INNER_FREE, memory_order_release);

    BRD_CHECK(was != INNER_FREE);
    if (was == INNER_WANTED)
        wake(&lock->inner, 1, FUTEX_BITSET_MATCH_ANY);
}

/* ---- handing over ---- */

/* A writer's sleep is told apart from others' by a bit. */
static inline uint32_t
ticket_bit(uint32_t ticket)
{
    return UINT32_C(1) << ticket % 32;
}

/* Let in all queued readers. Inner held; the word has QUEUE and no WRITER. */
static void
admit_readers(struct brd_rwlock *lock)
{
    uint32_t add = lock->readers_queued * BRD_RWLOCK_READER;

    /* The last of the queue takes QUEUE away. */
    if (lock->writers_queued == 0)
        add -= BRD_RWLOCK_QUEUE;
    atomic_fetch_add_explicit(&lock->word, add, memory_order_acquire);
    lock->readers_queued = 0;
    lock->writer_was_last = false;
    atomic_fetch_add_explicit(&lock->reader_phase, 1, memory_order_release);
    if (lock->readers_asleep > 0)
        wake(&lock->reader_phase, INT32_MAX, FUTEX_BITSET_MATCH_ANY);
    lock->readers_asleep = 0;
}

/* Let in the writer whose ticket is next, unless a reader has just added itself
 * for a moment: then that one will come here when it takes itself out. Inner
 * held; the word has QUEUE. */
static void
admit_writer(struct brd_rwlock *lock)
{
    bool more = lock->readers_queued > 0 || lock->writers_queued > 1;
    uint32_t parked = atomic_load_explicit(&lock->word, memory_order_relaxed) & BRD_RWLOCK_PARKED;
    uint32_t word = BRD_RWLOCK_QUEUE | parked;
    uint32_t held = BRD_RWLOCK_WRITER | parked | (more ? BRD_RWLOCK_QUEUE : 0);
    uint32_t ticket;

    if (!atomic_compare_exchange_strong_explicit(&lock->word, &word, held, memory_order_acquire,
                                                 memory_order_relaxed))
        return;
    lock->writers_queued--;
    lock->writer_was_last = true;
    ticket = atomic_fetch_add_explicit(&lock->writer_turn, 1, memory_order_release);
    if (lock->writers_asleep > 0)
        wake(&lock->writer_turn, INT32_MAX, ticket_bit(ticket));
}

/* Wake the one that has been parked for longest. Inner held. */
static void
invite(struct brd_rwlock *lock)
{
    uint32_t ticket;

    BRD_CHECK(lock->parked > 0 && !lock->invited);
    lock->parked--;
    lock->invited = true;
    atomic_fetch_and_explicit(&lock->word, ~BRD_RWLOCK_PARKED, memory_order_relaxed);
    ticket = atomic_fetch_add_explicit(&lock->invitations, 1, memory_order_release);
    wake(&lock->invitations, INT32_MAX, ticket_bit(ticket));
}

void
brd_rwlock_hand_over(struct brd_rwlock *lock)
{
    uint32_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);

    /* A writer will come here when it leaves. */
    if ((word & BRD_RWLOCK_WRITER) != 0)
        return;
    inner_lock(lock);
    word = atomic_load_explicit(&lock->word, memory_order_relaxed);
    /* Somebody else may have been here first; then whoever holds it now will come. */
    if ((word & ~BRD_RWLOCK_PARKED) == BRD_RWLOCK_QUEUE) {
        BRD_CHECK(lock->readers_queued + lock->writers_queued > 0);
        if (lock->readers_queued > 0 && (lock->writer_was_last || lock->writers_queued == 0))
            admit_readers(lock);
        else
            admit_writer(lock);
    } else if ((word & (BRD_RWLOCK_PARKED | BRD_RWLOCK_WRITER)) == BRD_RWLOCK_PARKED) {
        invite(lock);
    }
    inner_unlock(lock);
}

/* ---- waiting ---- */

/* Try for a while. True: the lock is held. */
static bool
spin(struct brd_rwlock *lock, bool writer)
{
    const uint32_t closed = BRD_RWLOCK_WRITER | BRD_RWLOCK_QUEUE;
    int i;

    for (i = 0; i < SPINS; i++) {
        uint32_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);
        bool open = writer ? (word & ~BRD_RWLOCK_PARKED) == 0 : (word & closed) == 0;

        if (open && atomic_compare_exchange_weak_explicit(
                        &lock->word, &word, word + (writer ? BRD_RWLOCK_WRITER : BRD_RWLOCK_READER),
                        memory_order_acquire, memory_order_relaxed))
            return true;
        pause_a_little();
    }
    return false;
}

/* Sleep until invited. False where there was no need. A writer that readers alone
 * keep out does not park: there might always be some, each of which may enter. */
static bool
park(struct brd_rwlock *lock)
{
    uint32_t ticket;
    uint32_t turn;

    inner_lock(lock);
    if (!lock->invited) {
        uint32_t word =
            atomic_fetch_or_explicit(&lock->word, BRD_RWLOCK_PARKED, memory_order_relaxed);

        if ((word & (BRD_RWLOCK_WRITER | BRD_RWLOCK_QUEUE)) == 0) {
            if (lock->parked == 0)
                atomic_fetch_and_explicit(&lock->word, ~BRD_RWLOCK_PARKED, memory_order_relaxed);
            inner_unlock(lock);
            return false;
        }
    }
    lock->parked++;
    ticket = lock->next_parking++;
    inner_unlock(lock);
    for (;;) {
        turn = atomic_load_explicit(&lock->invitations, memory_order_acquire);
        if ((int32_t)(turn - ticket) > 0)
            return true;
        sleep_on(&lock->invitations, turn, ticket_bit(ticket));
    }
}

/* One that was invited holds the lock: see to it that the next will be. Readers
 * do not wait for each other. */
static void
pass_invitation(struct brd_rwlock *lock, bool writer)
{
    inner_lock(lock);
    BRD_CHECK(lock->invited);
    lock->invited = false;
    if (lock->parked > 0) {
        atomic_fetch_or_explicit(&lock->word, BRD_RWLOCK_PARKED, memory_order_relaxed);
        if (!writer)
            invite(lock);
    }
    inner_unlock(lock);
}

/* Wait until the readers queued in this phase have been admitted. */
static void
wait_for_phase(struct brd_rwlock *lock, uint32_t phase)
{
    int i;

    for (i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&lock->reader_phase, memory_order_acquire) != phase)
            return;
        pause_a_little();
    }
    inner_lock(lock);
    if (atomic_load_explicit(&lock->reader_phase, memory_order_relaxed) == phase)
        lock->readers_asleep++;
    inner_unlock(lock);
    while (atomic_load_explicit(&lock->reader_phase, memory_order_acquire) == phase)
        sleep_on(&lock->reader_phase, phase, FUTEX_BITSET_MATCH_ANY);
}

/* Wait until the ticket has come up: until writer_turn, which counts those that
 * did, is above it. */
static void
wait_for_turn(struct brd_rwlock *lock, uint32_t ticket)
{
    uint32_t turn;
    int i;

    for (i = 0; i < SPINS; i++) {
        turn = atomic_load_explicit(&lock->writer_turn, memory_order_acquire);
        if ((int32_t)(turn - ticket) > 0)
            return;
        pause_a_little();
    }
    inner_lock(lock);
    lock->writers_asleep++;
    inner_unlock(lock);
    for (;;) {
        turn = atomic_load_explicit(&lock->writer_turn, memory_order_acquire);
        if ((int32_t)(turn - ticket) > 0)
            break;
        sleep_on(&lock->writer_turn, turn, ticket_bit(ticket));
    }
    inner_lock(lock);
    BRD_CHECK(lock->writers_asleep > 0);
    lock->writers_asleep--;
    inner_unlock(lock);
}

static void
queue_reader(struct brd_rwlock *lock)
{
    uint32_t phase;
    uint32_t word;

    inner_lock(lock);
    word = atomic_fetch_or_explicit(&lock->word, BRD_RWLOCK_QUEUE, memory_order_acquire);
    if ((word & (BRD_RWLOCK_WRITER | BRD_RWLOCK_QUEUE)) == 0) {
        atomic_fetch_add_explicit(&lock->word, BRD_RWLOCK_READER - BRD_RWLOCK_QUEUE,
                                  memory_order_relaxed);
        inner_unlock(lock);
        return;
    }
    lock->readers_queued++;
    phase = atomic_load_explicit(&lock->reader_phase, memory_order_relaxed);
    inner_unlock(lock);
    wait_for_phase(lock, phase);
}

static void
queue_writer(struct brd_rwlock *lock)
{
    uint32_t ticket;
    uint32_t word;

    inner_lock(lock);
    word = atomic_fetch_or_explicit(&lock->word, BRD_RWLOCK_QUEUE, memory_order_acquire);
    lock->writers_queued++;
    ticket = lock->next_ticket++;
    /* Free, and nobody is about to hand it over: nobody else is queued. */
    if ((word & ~BRD_RWLOCK_PARKED) == 0)
        admit_writer(lock);
    inner_unlock(lock);
    wait_for_turn(lock, ticket);
}

void
brd_rwlock_read_slowly(struct brd_rwlock *lock)
{
    bool invited;

    brd_rwlock_take_out_reader(lock);
    if (spin(lock, false))
        return;
    invited = park(lock);
    if (!spin(lock, false))
        queue_reader(lock);
    if (invited)
        pass_invitation(lock, false);
}

void
brd_rwlock_write_slowly(struct brd_rwlock *lock)
{
    bool invited;

    if (spin(lock, true))
        return;
    invited = park(lock);
    if (!invited || !spin(lock, true))
        queue_writer(lock);
    if (invited)
        pass_invitation(lock, true);
}

/* ---- life ---- */

void
brd_rwlock_init(struct brd_rwlock *lock, enum brd_lock_rank rank, uint32_t order)
{
    *lock = (struct brd_rwlock){ .word = 0 };
#ifdef BRD_DEBUG
    lock->rank = (uint16_t)rank;
    lock->order = order;
#else
    (void)rank;
    (void)order;
#endif
}

void
brd_rwlock_fini(struct brd_rwlock *lock)
{
    BRD_CHECK(atomic_load_explicit(&lock->word, memory_order_relaxed) == 0);
    BRD_CHECK(lock->parked == 0 && !lock->invited);
}
