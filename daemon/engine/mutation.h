/* A change as log payload: encode beside decode.
 *
 * Layout (docs/formats.md has the table). A payload is one or more changes, one
 * behind the other; all of them carry the record's version and apply whole or
 * not at all:
 *
 *   kind      1 byte
 *   ns        varint   id of the namespace
 *   PUT       key, deadline_ms varint, value          a full value
 *   TOUCH     key, base varint, deadline_ms varint    a new deadline, 0: none
 *   DELETE    key
 *   APPEND    key, base varint, value                 these bytes behind the value
 *   CLEAR                                             everything in the namespace
 *
 * key and value are a varint length and the bytes. base is the version that the
 * change was applied to. Changes are physical: final values and absolute
 * deadlines, nothing that asks a clock or a random source. */
#ifndef BRD_ENGINE_MUTATION_H
#define BRD_ENGINE_MUTATION_H

#include "base/buf.h"
#include "base/bytes.h"

enum mutation_kind {
    MUTATION_PUT = 1,
    MUTATION_TOUCH = 2,
    MUTATION_DELETE = 3,
    MUTATION_APPEND = 4,
    MUTATION_CLEAR = 5,
};

struct mutation {
    enum mutation_kind kind;
    uint64_t ns;
    struct brd_bytes key;
    struct brd_bytes value;
    uint64_t base;
    uint64_t deadline_ms;
};

/* An upper bound of what a change with this key and value takes. */
static inline uint64_t
mutation_bytes_max(uint64_t key_bytes, uint64_t value_bytes)
{
    return 1 + 5 * BRD_VARINT_MAX + key_bytes + value_bytes;
}

/* Append a change. With value_apart the value's bytes are left out: the caller
 * sends them behind the head by reference. Errors are sticky in buf. */
void mutation_encode(struct brd_buf *buf, const struct mutation *mutation, bool value_apart);

/* Take the next change from the front of *payload. The result points into it.
 * BRD_OK; BRD_NOT_FOUND at the end; BRD_CORRUPT where the bytes are no change. */
enum brd_status mutation_decode(struct brd_bytes *payload, struct mutation *out);

/* "put", "touch", ... Static. */
const char *mutation_kind_name(enum mutation_kind kind);

#endif
