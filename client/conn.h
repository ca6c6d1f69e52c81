/* What the blocking client needs of a brd_conn beyond brindle.h. */
#ifndef BRINDLE_CLIENT_CONN_H
#define BRINDLE_CLIENT_CONN_H

#include <brindle.h>

#include "encode.h"

/* Append one request; the common end of all brd_conn_ functions that do. */
enum brd_status
conn_append(struct brd_conn *conn, const struct operation *operation, uint64_t *out_id);

/* The same for the two most frequent requests, by straight code. */
enum brd_status conn_append_get(struct brd_conn *conn, struct brd_bytes key, uint64_t *out_id);
enum brd_status conn_append_put(struct brd_conn *conn, struct brd_bytes key, struct brd_bytes value,
                                uint64_t *out_id);

/* Take the last request back, none of whose bytes was consumed: the output is
 * output_size bytes long again. */
void conn_take_back(struct brd_conn *conn, size_t output_size);

/* From now on replies to requests first_id, first_id + 1 ... are expected, count
 * of them, and their requests have been encoded elsewhere. None is pending. */
void conn_expect(struct brd_conn *conn, uint64_t first_id, uint64_t count);

/* The id that the next encoded request gets. */
uint64_t conn_next_id(const struct brd_conn *conn);

/* The largest request that the server accepts; 0: not known. */
void conn_set_frame_max(struct brd_conn *conn, uint64_t frame_bytes_max);

/* The bytes of the reply that came out last, valid as long as it is. */
struct brd_bytes conn_last_frame(const struct brd_conn *conn);

#endif
