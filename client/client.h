/* The blocking client, as pipelines and pools see it. */
#ifndef BRINDLE_CLIENT_CLIENT_H
#define BRINDLE_CLIENT_CLIENT_H

#include <brindle.h>

#include "net.h"

/* Where a request ends in the bytes of an exchange, and whether it changes
 * nothing, so that it may be sent twice. */
struct request_mark {
    size_t end;
    bool repeatable;
};

/* Encoded requests and how far they have come. */
struct exchange {
    struct brd_bytes frames;
    const struct request_mark *marks; /* borrowed; count of them */
    size_t count;
    uint64_t first_id; /* of the first request; the others follow */
    /* Called with each reply, in order; reply and frame live for the call. */
    void (*on_reply)(void *context, size_t index, const struct brd_reply *reply,
                     struct brd_bytes frame);
    void *context;

    size_t answered;
    size_t sent; /* bytes of frames handed to the operating system, on the last connection */
};

/* Begin a call: forget the last error, and an inherited socket after a fork. */
void client_begin(struct brd_client *client);

/* Run an exchange to its end, connecting where needed; answered and sent are
 * set. Returns BRD_OK when everything was answered, else the failure, with its
 * sentence in the client. */
enum brd_status
client_exchange(struct brd_client *client, struct exchange *exchange, uint32_t timeout_ms);

/* What became of unanswered request index after client_exchange failed so. */
enum brd_status
client_lost_status(const struct exchange *exchange, size_t index, enum brd_status failure);

/* Set the error sentence, unless it has one: "ADDRESS: sentence". */
void client_explain(struct brd_client *client, const char *sentence);

/* Complete the sentence about a request that got no answer. */
void client_explain_lost(struct brd_client *client, enum brd_status status);

/* After a fork, in the child: close the inherited socket without a word. Does
 * nothing in the process that made the connection. Any thread. */
void client_drop_inherited(struct brd_client *client);

/* brd_client_open and brd_client_reconnect with a deadline of the caller's, beside
 * the client's own connect_timeout_ms. opts has been read with options_read. */
enum brd_status client_open_by(const struct brd_client_options *opts, struct deadline deadline,
                               struct brd_client **out_client);
enum brd_status client_reconnect_by(struct brd_client *client, struct deadline deadline);

void client_disconnect(struct brd_client *client);
bool client_is_connected(const struct brd_client *client);

#endif
