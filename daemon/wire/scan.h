/* The walk over a message that comes before protobuf-c: is it a Request, what
 * is in it, how much will it take to unpack? */
#ifndef BRD_WIRE_SCAN_H
#define BRD_WIRE_SCAN_H

#include "base/bytes.h"
#include "base/status.h"

struct scan_result {
    uint64_t id;       /* 0: none, or none that could be read */
    uint32_t op_field; /* field number of the last request kind that is known; 0: none */
};

/* Walk a whole message.
 *
 * elements_max  of repeated fields, over all of the message.
 * out           written on every result, as far as known.
 * Returns       BRD_OK: protobuf-c will unpack it, memory permitting;
 *               BRD_UNKNOWN_REQUEST: well-formed, without a known kind;
 *               BRD_PROTOCOL_ERROR: malformed;
 *               BRD_TOO_LARGE: too many elements or fields that are not known;
 *               BRD_INVALID_ARGUMENT: a string that is not UTF-8 or has a NUL. */
BRD_MUST_CHECK enum brd_status
scan_request(struct brd_bytes message, uint64_t elements_max, struct scan_result *out);

#endif
