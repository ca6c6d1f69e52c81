/* A copy of one reply that outlives the connection's buffer. */
#ifndef BRINDLE_CLIENT_RESULT_H
#define BRINDLE_CLIENT_RESULT_H

#include <brindle.h>

/* Copy and decode a reply that a brd_conn has already accepted. result may be
 * NULL. Returns BRD_OK, BRD_OUT_OF_MEMORY. */
enum brd_status result_store(struct brd_result *result, struct brd_bytes frame);

/* Empty but for a status. result may be NULL. */
void result_set(struct brd_result *result, enum brd_status status);

#endif
