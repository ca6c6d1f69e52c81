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
 * Both stand in one place only, so that the linker puts them into the loop that decodes: a
 * get takes 40 instructions more where they are called. A message whose value
 * lies apart (apart.c) therefore passes here too.
 *
 * That both ways come to the same is proven by tests/fuzz/fuzz_wire_differential.c.
 * A get takes some 210 instructions by hand and some 1,880 by the other way; the
 * measurement is in docs/protocol.md. */
#include "base/check.h"
#include "wire/apart.h"
#include "wire/general.h"
#include "wire/hot.h"

enum brd_status
brd_wire_decode(struct brd_wire_arena *arena, const struct brd_wire_limits *limits,
                struct brd_bytes message, const struct brd_wire_apart *apart,
                struct brd_request *out_request)
{
    struct brd_bytes text = message;

    if (BRD_UNLIKELY(apart != NULL) && !apart_shorten(arena, message, apart, &text))
        return apart_fail(arena, message, out_request);
    if (hot_decode(arena, limits, text, out_request)) {
        if (BRD_UNLIKELY(apart != NULL))
            apart_attach(apart, out_request);
        return BRD_OK;
    }
    if (apart != NULL && !apart_join(arena, message, apart, &text))
        return apart_fail(arena, message, out_request);
    return general_decode(arena, limits, text, out_request);
}
