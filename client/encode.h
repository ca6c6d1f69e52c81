/* Requests as framed protobuf bytes. Pure but for growing the output. */
#ifndef BRINDLE_CLIENT_ENCODE_H
#define BRINDLE_CLIENT_ENCODE_H

#include <brindle.h>

#include "buffer.h"

/* The numbers of Request.op in proto/brindle.proto. */
enum request_kind {
    REQUEST_GET = 2,
    REQUEST_PUT = 3,
    REQUEST_DELETE = 4,
    REQUEST_GET_MANY = 5,
    REQUEST_PUT_MANY = 6,
    REQUEST_INCR = 7,
    REQUEST_EXISTS = 8,
    REQUEST_TTL = 9,
    REQUEST_EXPIRE = 10,
    REQUEST_PERSIST = 11,
    REQUEST_APPEND = 12,
    REQUEST_COUNT = 13,
    REQUEST_HELLO = 16,
    REQUEST_PING = 17,
    REQUEST_CLEAR = 18,
    REQUEST_PURGE = 19,
    REQUEST_SYNC = 20,
    REQUEST_STATS = 21,
    REQUEST_RESET_STATS = 22,
    REQUEST_CHECKPOINT = 32,
};

/* One scalar member of an operation. A zero number and empty bytes are left out,
 * as proto3 does. */
struct field {
    enum { FIELD_VARINT, FIELD_FIXED64, FIELD_BYTES } type;
    unsigned number; /* 1 to 15 */
    uint64_t value;
    struct brd_bytes bytes;
};

#define FIELD_MAX 9 /* members of the longest operation, Put */

/* One member of Request.op. Repeated keys or pairs are its field 1 and come
 * first; at most one of the two is used. All borrowed. */
struct operation {
    enum request_kind kind;
    const struct brd_bytes *keys;
    size_t key_count;
    const struct brd_pair *pairs;
    size_t pair_count;
    const struct field *fields;
    size_t field_count;
};

/* What is the same for many requests of a connection. */
struct envelope {
    uint64_t id;
    struct brd_bytes name_space;
    uint64_t frame_bytes_max;  /* at most BRD_FRAME_BYTES_MAX */
    uint64_t output_bytes_max; /* of the whole output */
};

/* Append one framed Request to the output.
 * Returns BRD_OK, or with nothing appended BRD_TOO_LARGE, BRD_LIMIT_EXCEEDED,
 * BRD_OUT_OF_MEMORY. */
enum brd_status encode_request(struct buffer *output, const struct envelope *envelope,
                               const struct operation *operation);

/* The same bytes as encode_request writes, for the two most frequent shapes. */
enum brd_status
encode_get(struct buffer *output, const struct envelope *envelope, struct brd_bytes key);
enum brd_status encode_put(struct buffer *output, const struct envelope *envelope,
                           struct brd_bytes key, struct brd_bytes value);

/* For sint64 members: small negative numbers become small numbers. */
static inline uint64_t
encode_zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0);
}

#endif
