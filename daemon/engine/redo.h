/* Changes of the log and of snapshots put into the store, before anybody is served. */
#ifndef BRD_ENGINE_REDO_H
#define BRD_ENGINE_REDO_H

#include "engine/core.h"
#include "engine/mutation.h"

/* One for each thread. */
struct redo {
    struct brd_engine *engine;      /* borrowed */
    struct brd_engine_error *error; /* borrowed: what went wrong */
    uint64_t fuzzy_end;             /* where the loaded snapshot ends; 0: there is none */
    uint64_t changes;               /* so far */
};

/* Put the sentence into redo->error; returns status. */
enum brd_status redo_give_up(struct redo *redo, enum brd_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Take the next change from the front of a record's payload, if it is one that can be applied
 * here; the result points into it. Returns BRD_OK, BRD_NOT_FOUND (that was all), BRD_CORRUPT or
 * BRD_UNSUPPORTED, these with a sentence. */
enum brd_status redo_next(struct redo *redo, uint64_t version, struct brd_bytes *payload,
                          struct mutation *out_mutation);

/* Apply a change that redo_next gave (its namespace is not looked at again). hash: of its key.
 * Several threads may do so at once, if those of one key are applied in their order, one
 * after the other, and a clear is alone. Returns BRD_OK, BRD_CORRUPT or BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status
redo_apply(struct redo *redo, uint64_t version, uint64_t hash, const struct mutation *mutation);

/* Apply all changes of a record. Several threads may do so at once for records that
 * hold nothing but a PUT. Returns BRD_OK, BRD_CORRUPT, BRD_UNSUPPORTED or
 * BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status
redo_payload(struct redo *redo, uint64_t version, struct brd_bytes payload);

#endif
