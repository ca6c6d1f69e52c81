/* Decoding of any request, by protobuf-c. */
#ifndef BRD_WIRE_GENERAL_H
#define BRD_WIRE_GENERAL_H

#include "wire/wire.h"

/* The contract of brd_wire_decode. */
BRD_MUST_CHECK enum brd_status
general_decode(struct brd_wire_arena *arena, const struct brd_wire_limits *limits,
               struct brd_bytes message, struct brd_request *out_request);

#endif
