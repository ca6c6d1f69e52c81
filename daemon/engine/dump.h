/* The entries of a keyspace into a snapshot, slice by slice, while others use it. */
#ifndef BRD_ENGINE_DUMP_H
#define BRD_ENGINE_DUMP_H

#include "engine/snapshot.h"
#include "store/store.h"

struct dump {
    struct snapshot_writer writer; /* the caller begins and ends it */
    uint64_t ns;                   /* id of the namespace */
    uint64_t now_ms;               /* what has expired by then is left out; 0: nothing is */
    struct brd_buf larges;         /* of the slice: values taken by reference */
    struct brd_buf keys;           /* likewise: their keys */
    /* Asked after each large value whether to go on, nothing held; may wait. NULL: always. */
    bool (*go_on)(void *arg);
    void *arg;
};

/* But for the writer and go_on, which is NULL. */
void dump_init(struct dump *dump, uint64_t ns, uint64_t now_ms);
void dump_fini(struct dump *dump);

/* Write the next entries of a shard. Each is looked at under its stripe, shared: small values
 * are copied into the block in memory, large ones taken by reference, and written when
 * nothing is held. *cursor as in brd_shard_walk. 0 or -errno; -ECANCELED: go_on said no. */
BRD_MUST_CHECK int
dump_slice(struct dump *dump, struct brd_keyspace *keyspace, uint32_t shard, uint64_t *cursor);

#endif
