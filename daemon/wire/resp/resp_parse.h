/* Requests of the Redis protocol (RESP2 and RESP3 ask alike) out of a stream of bytes: arrays of
 * bulk strings, and lines typed by hand. Grammar: the RESP specification; where that leaves
 * something open, and for the texts of errors, what redis 7.0 does.
 *
 * Pure: no sockets, no clock. One thread at a time for a parser and its arena. */
#ifndef BRD_WIRE_RESP_PARSE_H
#define BRD_WIRE_RESP_PARSE_H

#include "base/blob.h"
#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct brd_wire_apart; /* wire/wire.h */
struct brd_wire_arena;

/* What redis has unless told otherwise. */
#define BRD_RESP_INLINE_MAX        (UINT64_C(64) << 10)
#define BRD_RESP_BULK_MAX          (UINT64_C(512) << 20)
#define BRD_RESP_ARGS_STRANGER_MAX UINT64_C(10)
#define BRD_RESP_BULK_STRANGER_MAX UINT64_C(16384)

/* What a request may take. Who has not authenticated yet, a stranger, must keep to the smaller
 * ones as well. */
struct brd_resp_limits {
    uint64_t args_max;   /* of an array; a line has (inline_max + 1) / 2 at most. Below 2^31 */
    uint64_t bulk_max;   /* bytes of one argument of an array; below 2^62, like all bytes here */
    uint64_t inline_max; /* bytes of a line without its end; also of those with a length */
    uint64_t bytes_max;  /* of an array from its '*' on, with its large argument */
    uint64_t args_stranger_max;
    uint64_t bulk_stranger_max;
    uint64_t apart_min; /* bytes from which an argument is worth its own memory; at least 1 */
};

/* How far the request at the front of a connection's input has been read. All zero: nothing of it
 * yet. Owns no memory, so it may be forgotten at any time.
 *
 * Set `known` once the peer has authenticated, or need not; the rest is resp_parse.c's. It counts
 * for the next request: where some were received together, parse one and execute it before the
 * next, until it is set. */
struct brd_resp_parser {
    uint64_t at;        /* offset of the line or bulk that is being read */
    uint64_t seen;      /* offset up to which that line has no end; 0: nothing was read yet */
    uint64_t bulk;      /* size of that bulk */
    uint32_t args_left; /* 0: the first line is being read */
    bool in_bulk;       /* a bulk, else a line */
    bool apart;         /* an argument was received apart */
    bool known;
};

enum brd_resp_result {
    BRD_RESP_REQUEST, /* one is whole */
    BRD_RESP_MORE,    /* more bytes are needed */
    BRD_RESP_ERROR,   /* no request, or there is no room for it: answer, and close */
};

#define BRD_RESP_ERROR_TEXT_MAX 64
#define BRD_RESP_NO_ARG         SIZE_MAX

/* What brd_resp_parse has found; fields are written where it says so. */
struct brd_resp_request {
    const struct brd_bytes *args; /* into the input, the arena and the large argument's blob */
    size_t count;                 /* of args; at least 1 */
    size_t apart_arg;             /* the argument that is all of that blob, or BRD_RESP_NO_ARG */
    size_t used;                  /* bytes of the input that are done with */
    uint64_t needed;              /* bytes behind them that the request takes, as far as known */
    struct brd_span place;        /* of a large argument, in them; size 0: none */
    enum brd_status status;
    char error[BRD_RESP_ERROR_TEXT_MAX]; /* a sentence without its code, which is ERR */
};

/* Look for one request at the front of the input.
 *
 * input    all that was received and not used, from the first byte of a request on; borrowed. The
 *          same bytes again, wherever they lie now, and what came after them, until the result is
 *          no longer MORE. Offered again, no byte is looked at again but for the lengths, once,
 *          when all is there.
 * apart    NULL; or, once out->place was told and these bytes were received into a blob, what and
 *          where it is, with each call until the request is whole: the input lacks them then, and
 *          the blob has all of them. Borrowed. As a caller likes: a large argument in the input is
 *          as good. One for each request.
 * arena    for the array of arguments and for lines with quotes.
 * out      REQUEST: args, count, apart_arg, used. Valid until the input moves, the arena is
 *                   cleared or the blob is given up.
 *          MORE:    used (empty lines and arrays; drop them before the next call), needed (at least
 *                   one more than there is; without what lies apart), place (told from when its
 *                   length is known until the input has all of it).
 *          ERROR:   error; status: PROTOCOL_ERROR; TOO_LARGE (above bytes_max, or what the arena may
 *                   have); OUT_OF_MEMORY. The parser is as new.
 * Cost     a GET or SET with short arguments, whole, in a pipeline: see resp_parse.c. */
BRD_MUST_CHECK enum brd_resp_result
brd_resp_parse(struct brd_resp_parser *parser, const struct brd_resp_limits *limits,
               struct brd_wire_arena *arena, struct brd_bytes input,
               const struct brd_wire_apart *apart, struct brd_resp_request *out);

#endif
