/* Replies of the Redis protocol, RESP2 and RESP3, into an output queue. Forms: the RESP
 * specification; what RESP2 has in place of RESP3's types is what redis 7.0 sends, but for a push,
 * which it does not send there.
 *
 * Each function appends one element; an aggregate is its head, and as many elements after it as it
 * says, which the caller appends. Borrowed bytes are copied before a function returns. Memory
 * errors are sticky in the queue, so that nothing need be checked before the end. Pure; one thread
 * at a time: the queue's. */
#ifndef BRD_WIRE_RESP_WRITE_H
#define BRD_WIRE_RESP_WRITE_H

#include "base/blob.h"
#include "base/bytes.h"
#include "base/outq.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a connection speaks: 2 until it says HELLO 3. */
enum brd_resp_protocol {
    BRD_RESP2 = 2,
    BRD_RESP3 = 3,
};

/* ---- The same in both ---- */

/* "+OK". Text of any size; CR and LF in it become spaces, as in an error. */
void brd_resp_write_simple(struct brd_outq *out, struct brd_bytes text);

/* "-ERR sentence". code: a word in capitals. */
void brd_resp_write_error(struct brd_outq *out, const char *code, struct brd_bytes text);

void brd_resp_write_integer(struct brd_outq *out, int64_t value);

/* A string of any bytes. */
void brd_resp_write_bulk(struct brd_outq *out, struct brd_bytes value);

/* The same of a blob's bytes, by reference: the queue takes one of its own. */
void brd_resp_write_blob(struct brd_outq *out, struct brd_blob *blob);

void brd_resp_write_array(struct brd_outq *out, size_t count);

/* ---- RESP3's types, and their places in RESP2 ---- */

/* No value: in RESP2 a bulk that is none. */
void brd_resp_write_null(struct brd_outq *out, enum brd_resp_protocol protocol);

/* No array: in RESP2 one that is none, in RESP3 the same null as above. */
void brd_resp_write_null_array(struct brd_outq *out, enum brd_resp_protocol protocol);

/* pairs   keys with their values; so 2 * pairs elements follow, which are all of an array in RESP2.
 *         At most SIZE_MAX / 2. */
void brd_resp_write_map(struct brd_outq *out, enum brd_resp_protocol protocol, size_t pairs);

/* In RESP2 arrays. */
void brd_resp_write_set(struct brd_outq *out, enum brd_resp_protocol protocol, size_t count);
void brd_resp_write_push(struct brd_outq *out, enum brd_resp_protocol protocol, size_t count);

/* With 17 significant digits, so that it reads back as the same number; or inf, -inf, nan. In
 * RESP2 a bulk. */
void brd_resp_write_double(struct brd_outq *out, enum brd_resp_protocol protocol, double value);

/* In RESP2 the integers 1 and 0. */
void brd_resp_write_boolean(struct brd_outq *out, enum brd_resp_protocol protocol, bool value);

/* Text for people. format: three characters, "txt" or "mkd", which RESP2, where it is a bulk, does
 * not have. */
void brd_resp_write_verbatim(struct brd_outq *out, enum brd_resp_protocol protocol,
                             const char *format, struct brd_bytes text);

/* An integer of any size. digits: decimal, perhaps with a sign. In RESP2 a bulk. */
void brd_resp_write_big_number(struct brd_outq *out, enum brd_resp_protocol protocol,
                               struct brd_bytes digits);

#endif
