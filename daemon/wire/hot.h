/* Decoding by hand of the request kinds that matter most, in place. */
#ifndef BRD_WIRE_HOT_H
#define BRD_WIRE_HOT_H

#include "wire/wire.h"

/* Decode a message of a hot shape. True, with out_request whole, where it is
 * one; false, with out_request undefined, where general_decode has to look at
 * it: that is no verdict. Whatever is decoded here, general_decode would have
 * decoded to the same request. */
bool hot_decode(struct brd_wire_arena *arena, const struct brd_wire_limits *limits,
                struct brd_bytes message, struct brd_request *out_request);

#endif
