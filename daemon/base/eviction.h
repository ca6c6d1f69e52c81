/* Eviction policies: what happens at the memory limit. */
#ifndef BRD_BASE_EVICTION_H
#define BRD_BASE_EVICTION_H

enum brd_eviction {
    BRD_EVICTION_NONE,         /* nothing goes: writes are refused */
    BRD_EVICTION_S3FIFO,       /* three queues: what was used once goes first */
    BRD_EVICTION_LRU,          /* of a sample, what was not used for longest */
    BRD_EVICTION_VOLATILE_TTL, /* of a sample, what expires next; only keys with a deadline */
    BRD_EVICTION_RANDOM,       /* any */
};

#endif
