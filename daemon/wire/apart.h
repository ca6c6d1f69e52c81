/* Messages without their large value, for decode.c. */
#ifndef BRD_WIRE_APART_H
#define BRD_WIRE_APART_H

#include "wire/wire.h"

/* The message, with lengths as if its value were empty. In the arena. False where there is no
 * room. */
bool apart_shorten(struct brd_wire_arena *arena, struct brd_bytes message,
                   const struct brd_wire_apart *apart, struct brd_bytes *out);

/* A request that was decoded by hand from the shortened message gets its value. */
void apart_attach(const struct brd_wire_apart *apart, struct brd_request *request);

/* The whole message. In the arena. False where there is no room. */
bool apart_join(struct brd_wire_arena *arena, struct brd_bytes message,
                const struct brd_wire_apart *apart, struct brd_bytes *out);

/* There was no room: why. The request gets its id, if that can be read. */
enum brd_status apart_fail(const struct brd_wire_arena *arena, struct brd_bytes message,
                           struct brd_request *out_request);

#endif
