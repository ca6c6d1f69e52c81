/* Whether a sync should wait a moment for company.
 *
 * Clients that wait for a sync come in two halves where syncs are slow: those that were
 * answered by the last one write again while the next one, for the others, is under way
 * already; so each waits for two syncs, and each sync serves half of them. If the next one
 * waits until those that were just answered are back, it serves all.
 *
 * Everybody is back when as many records that are waited for have been written as the last sync
 * had answered; records of weaker classes are no company. That is waited for no longer than a
 * sync takes (10 ms at most), counted from the end of the last one: beyond that two syncs for one half each would be as good. Who writes alone is
 * company enough and waits for nobody, who comes later than that is not held up, and where a
 * sync takes less than some tenths of a millisecond nothing is gained. Where waiting did not bring
 * nearly everybody, the next syncs do not wait, and twice as many each time: clients that do not
 * come back at once, or are more than the processor can serve meanwhile, lose nothing to speak of.
 *
 * (PostgreSQL's commit_delay and commit_siblings are the same by hand.)
 *
 * Plain state of one thread, the syncer. */
#ifndef BRD_WAL_GATHER_H
#define BRD_WAL_GATHER_H

#include <stdint.h>

struct gather {
    uint64_t covered;  /* such records that had been written when the last sync began */
    uint64_t ended_ns; /* when it ended */
    uint64_t limit_ns; /* how long after that the next one may wait */
    uint64_t target;   /* the same, when everybody is back */
    unsigned skip;     /* syncs that do not wait... */
    unsigned failures; /* ... because so many waits in a row were for nothing */
};

/* A sync is over. covered: records that are waited for and had been written when it began, since
 * the log was opened; written: those that have been now, before anybody is answered. Times are of one monotonic clock. */
void gather_note_sync(struct gather *gather, uint64_t covered, uint64_t written, uint64_t began_ns,
                      uint64_t ended_ns);

/* A sync is due. Until when it should wait for written to reach gather->target, or 0. */
uint64_t gather_until(struct gather *gather, uint64_t written, uint64_t now_ns);

/* It has waited, and before and after that so many records were written. */
void gather_note_wait(struct gather *gather, uint64_t before, uint64_t after);

#endif
