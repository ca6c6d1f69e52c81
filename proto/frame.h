/* Framing: a message's length as a base-128 varint, then the message.
 *
 * The same bytes that Java's writeDelimitedTo and Go's protodelim write. Shared
 * by the daemon and the client library; knows nothing of messages. Pure
 * functions: any thread. */
#ifndef BRINDLE_PROTO_FRAME_H
#define BRINDLE_PROTO_FRAME_H

#include <stddef.h>
#include <stdint.h>

/* The longest length prefix that is read or written, in bytes: 35 bits. */
#define BRD_FRAME_PREFIX_MAX 5

enum brd_frame_result {
    BRD_FRAME_OK,       /* a whole frame is there */
    BRD_FRAME_MORE,     /* more bytes are needed */
    BRD_FRAME_TOO_LONG, /* the announced length is above the limit */
    BRD_FRAME_BAD,      /* no length: five bytes and the last one continues */
};

/* Look for one frame at the start of data.
 *
 * data, size    what has been received; borrowed.
 * limit         the largest message accepted, in bytes.
 * out_head      bytes of the length prefix; written on OK, on TOO_LONG, and on
 *               MORE once the prefix is whole (else 0 is written).
 * out_body      bytes of the message; written together with out_head (0 while
 *               the prefix is not whole). On MORE the frame needs
 *               *out_head + *out_body bytes in all. */
enum brd_frame_result brd_frame_parse(const uint8_t *data, size_t size, uint64_t limit,
                                      size_t *out_head, uint64_t *out_body);

/* Bytes that the prefix of a message of this length takes: 1 to 5.
 * body  below 2^35. */
size_t brd_frame_prefix_size(uint64_t body);

/* Write the prefix for a message of body bytes (below 2^35) and return its
 * size. out must have room for BRD_FRAME_PREFIX_MAX bytes. */
size_t brd_frame_prefix_write(uint8_t *out, uint64_t body);

#endif
