/* Bytes of a Reply -> struct brd_reply. Pure but for growing two arrays. */
#ifndef BRINDLE_CLIENT_DECODE_H
#define BRINDLE_CLIENT_DECODE_H

#include <brindle.h>

/* Memory of one decoded reply; reused from one to the next. All zero is empty. */
struct reply_store {
    struct brd_reply reply;
    struct brd_server_info hello;
    struct brd_checkpoint checkpoint;
    struct brd_item *items; /* owned */
    size_t item_capacity;
    struct brd_stat *stats; /* owned */
    size_t stat_capacity;
};

/* Decode one Reply, without its frame.
 *
 * data     borrowed; store->reply points into it afterwards.
 * Returns  NULL, or why these bytes are no Reply (static); store->reply is then
 *          without meaning. Out of memory is such a reason too. */
const char *decode_reply(const uint8_t *data, size_t size, struct reply_store *store);

/* Make it a reply with nothing but a status. */
void reply_store_set(struct reply_store *store, enum brd_status status);

/* Give the arrays back if they are large. The reply becomes empty then. */
void reply_store_trim(struct reply_store *store);

void reply_store_fini(struct reply_store *store);

#endif
