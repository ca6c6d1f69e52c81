/* The entries of a snapshot into the store, by as many threads as there are cores, before
 * anybody is served. */
#ifndef BRD_ENGINE_LOAD_H
#define BRD_ENGINE_LOAD_H

#include "engine/core.h"
#include "engine/snapshot.h"

struct load {
    struct brd_engine *engine;     /* borrowed */
    struct snapshot_reader reader; /* the caller opens and closes it */
    /* Of a cache: what has expired, and what max-memory has no room for, is left out. */
    bool selective;
    /* Called by one of the threads after each of its blocks; anything but BRD_OK ends the load
     * with that status and sentence. */
    enum brd_status (*progress)(void *arg, uint64_t done, uint64_t total,
                                struct brd_engine_error *out_error);
    void *arg;

    _Atomic uint64_t done; /* bytes; relaxed */
    _Atomic bool failed;   /* the others may stop; relaxed */

    /* Results, of a selective load. */
    uint64_t entries;  /* put into the store */
    uint64_t bytes;    /* of their keys and values */
    uint64_t expired;  /* left out for that */
    uint64_t left_out; /* for want of room */
};

/* Blocks are independent, so their order does not matter. Returns BRD_OK, or what went wrong
 * first in some thread; the store then holds a part. */
BRD_MUST_CHECK enum brd_status load_run(struct load *load, struct brd_engine_error *out_error);

#endif
