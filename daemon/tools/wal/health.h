/* Is a data directory one that a daemon would start on? */
#ifndef BRD_TOOLS_WAL_HEALTH_H
#define BRD_TOOLS_WAL_HEALTH_H

#include "engine/engine.h"
#include "wal/wal.h"

struct health {
    struct brd_wal_identity identity;
    struct brd_wal_report report;
    uint64_t groups;
    uint64_t base_version;             /* of the log */
    uint64_t last_version;             /* of the log; base_version where it is empty */
    struct brd_snapshot_info snapshot; /* zeros: there is none, and none is needed */
};

/* What is to be checked. */
struct health_source {
    const struct brd_io *io;
    const char *dir;
    const struct brd_keyring *keys; /* NULL: none */
    bool whole;                     /* read the snapshot to its end, too */
    /* Called for each segment, in order; NULL: not. Anything but BRD_OK ends the check. */
    enum brd_status (*on_segment)(void *arg, const struct brd_wal_segment_view *segment);
    void *arg;
};

/* out_health->identity is valid once the log could be opened. Returns as brd_wal_visit and
 * brd_snapshot_check. */
BRD_MUST_CHECK enum brd_status
health_check(const struct health_source *source, struct health *out_health,
             struct brd_wal_error *out_error);

/* What an open log, whose newest version this is, tells of snapshots; borrowed from it. */
struct brd_snapshot_log health_log(const struct brd_wal *wal, uint64_t end_version);

/* The sentence of a snapshot, as one of the log. */
void health_take_error(struct brd_wal_error *error, const struct brd_snapshot_error *from);

#endif
