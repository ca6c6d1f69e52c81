/* An open log, for wal.c and claim.c. */
#ifndef BRD_WAL_CORE_H
#define BRD_WAL_CORE_H

#include "wal/commit.h"
#include "wal/reader.h"

struct brd_wal {
    uint32_t magic;
    const struct brd_io *io;
    char *dir;                      /* owned */
    const struct brd_keyring *keys; /* borrowed; NULL: none */
    bool read_only;
    bool replayed;
    bool started;
    bool stopped;
    int lock_fd;
    struct log_map map;
    struct log_end end; /* valid once replayed */
    struct meta found;  /* as it was when opened */
    struct queue queue;
    bool queue_ready;
    struct commit commit;
    struct brd_mutex reset_lock;           /* BRD_RANK_WAL_STATE: the baseline */
    struct brd_wal_stats baseline;         /* counters at the last reset */
    struct latency_counts sync_times_then; /* likewise */
};

/* Read what is in the directory and, unless read_only, take possession of it: lock, map and found
 * of wal. Returns as brd_wal_open. */
BRD_MUST_CHECK enum brd_status claim_files(struct brd_wal *wal, struct brd_wal_error *error);

#endif
