/* The native protocol's codec: proto/brindle.proto <-> plain requests and
 * replies. Pure: no sockets, no clock, no state but the arena.
 *
 * That of the Redis protocol shares the arena and the way of large values; it
 * is in headers of its own, which this one shows to other folders. */
#ifndef BRD_WIRE_WIRE_H
#define BRD_WIRE_WIRE_H

#include "base/bytes.h"
#include "base/outq.h"
#include "base/request.h"
#include "base/status.h"
#include "wire/resp/resp_parse.h"
#include "wire/resp/resp_write.h"

/* Memory of the requests being decoded: a worker has one, and empties it when
 * a batch is done. */
struct brd_wire_arena;

/* bytes_max: the most that one batch may take; decoding answers BRD_TOO_LARGE
 * beyond it. A message of an unusual shape is copied into the arena, so it should
 * be well above the largest message. NULL where memory is out. */
struct brd_wire_arena *brd_wire_arena_create(size_t bytes_max);
void brd_wire_arena_destroy(struct brd_wire_arena **arena);
/* Requests decoded into it are gone. Keeps a first block for reuse. */
void brd_wire_arena_clear(struct brd_wire_arena *arena);

struct brd_wire_limits {
    uint64_t batch_keys_max; /* elements of one repeated field, counted before decoding */
};

/* Where the one large value of a put or an append lies, so that it can be received to
 * where it will stay.
 *
 * head           what is there of a message, from its first byte; borrowed.
 * message_bytes  how long the message will be.
 * value_min      the least that is worth it, in bytes; at least 1.
 * out_place      of the value in the message; written where the result is true.
 * Returns        true where the head reaches to the value's first byte, or over it, and
 *                such a value lies within the message. That is no verdict: the message may
 *                still be no request. */
bool brd_wire_find_value(struct brd_bytes head, uint64_t message_bytes, uint64_t value_min,
                         struct brd_span *out_place);

/* A value that was received apart. Where a request's value is this one, as is usual,
 * it is its value_blob; an unusual message is put together again in the arena. */
struct brd_wire_apart {
    struct brd_span place;  /* as brd_wire_find_value has found it in this message */
    struct brd_blob *value; /* of place.size bytes */
};

/* Decode one message (without its length prefix).
 *
 * message      borrowed; the request points into it and into the arena.
 * apart        NULL, or where the bytes of the value lie that the message lacks: the result
 *              is that of the whole message. Borrowed, as the value is.
 * out_request  written on BRD_OK, and on the other results as far as known: id
 *              always (0 where it could not be read).
 * Returns      BRD_OK; BRD_UNKNOWN_REQUEST (a well-formed message whose kind is
 *              not known: the connection lives); BRD_INVALID_ARGUMENT (an enum out
 *              of range, a string that is no UTF-8); BRD_TOO_LARGE (too many
 *              elements, or the arena is full); BRD_PROTOCOL_ERROR (not a Request:
 *              close); BRD_OUT_OF_MEMORY. */
BRD_MUST_CHECK enum brd_status
brd_wire_decode(struct brd_wire_arena *arena, const struct brd_wire_limits *limits,
                struct brd_bytes message, const struct brd_wire_apart *apart,
                struct brd_request *out_request);

/* Append one framed reply to a request with this id. Values that are blobs go by
 * reference. A status other than BRD_OK always gets a message. Memory errors are
 * sticky in the queue. */
void brd_wire_encode(struct brd_outq *out, uint64_t id, const struct brd_reply *reply);

#endif
