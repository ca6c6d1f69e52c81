/* The changes of a log -> store, by several threads. */
#ifndef BRD_ENGINE_REPLAY_H
#define BRD_ENGINE_REPLAY_H

#include "engine/redo.h"

#define REPLAY_THREADS_MAX 16

struct replay_crew;

/* Begin.
 *
 * redo        borrowed until the end: the store, and where the snapshot ends.
 * threads     that apply changes beside the caller; 0: one for each core. With 1, or where the
 *             system has no threads to give, the caller applies all by itself.
 * Returns     BRD_OK or BRD_OUT_OF_MEMORY, with a sentence in redo->error.
 * Threads     one, also for what follows. */
BRD_MUST_CHECK enum brd_status
replay_begin(struct redo *redo, unsigned threads, struct replay_crew **out_crew);

/* The changes of a record, which follows the one before: they are applied now or soon, those of
 * one key in their order. payload is borrowed for the call.
 * Returns BRD_OK; BRD_CLOSED: an earlier change has failed, replay_end says how; or
 * as redo_next and redo_apply, with a sentence in redo->error. */
BRD_MUST_CHECK enum brd_status
replay_record(struct replay_crew *crew, uint64_t version, struct brd_bytes payload);

/* Wait until everything is applied, or a change has failed, and free the crew. NULL inside
 * is fine. Returns BRD_OK, or what the first change that failed came to (the first in the
 * log, so also before what replay_record may have returned), with its sentence in redo->error. */
BRD_MUST_CHECK enum brd_status replay_end(struct replay_crew **crew);

#endif
