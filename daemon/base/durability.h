/* Durability classes: when a write is acknowledged. The numbers are those of
 * Durability in proto/brindle.proto. */
#ifndef BRD_BASE_DURABILITY_H
#define BRD_BASE_DURABILITY_H

enum brd_durability {
    BRD_DURABILITY_DEFAULT = 0, /* the namespace's own */
    BRD_DURABILITY_NONE = 1,    /* applied in memory; in no log (of a namespace only) */
    BRD_DURABILITY_ASYNC = 2,   /* queued: survives an orderly stop */
    BRD_DURABILITY_NORMAL = 3,  /* written to the operating system: survives kill -9 */
    BRD_DURABILITY_FULL = 4,    /* synced: survives power loss */
};

#endif
