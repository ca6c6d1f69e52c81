/* The way of a message: by hand where it has a hot shape, else by protobuf-c.
 *
 *   message --> hot.c ----- yes ----------------------------> request
 *                 | no
 *                 v
 *              scan.c ----- refused ------------------------> status, id
 *                 | passes
 *                 v
 *              general.c: protobuf-c into the arena, mapped -> request
 *
 * That both ways come to the same is proven by tests/fuzz/fuzz_wire_differential.c.
 * A get takes some 210 instructions by hand and some 1,880 by the other way; the
 * measurement is in docs/protocol.md. */
#include "wire/general.h"
#include "wire/hot.h"

enum brd_status
brd_wire_decode(struct brd_wire_arena *arena, const struct brd_wire_limits *limits,
                struct brd_bytes message, struct brd_request *out_request)
{
    if (hot_decode(arena, limits, message, out_request))
        return BRD_OK;
    return general_decode(arena, limits, message, out_request);
}
