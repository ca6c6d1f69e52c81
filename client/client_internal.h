/* The fields of a brd_client, for client.c and client_requests.c. */
#ifndef BRINDLE_CLIENT_CLIENT_INTERNAL_H
#define BRINDLE_CLIENT_CLIENT_INTERNAL_H

#include <stdatomic.h>

#include "client.h"
#include "net.h"

#define SERVER_VERSION_BYTES_MAX 128

struct brd_client {
    _Atomic uint64_t socket;   /* process id << 32 | descriptor; release/acquire */
    struct brd_conn *requests; /* owned; encodes calls, has no connection */
    struct brd_conn *wire;     /* owned; the conversation on the socket */

    uint32_t timeout_ms;
    uint32_t connect_timeout_ms;
    bool no_reconnect;
    uint64_t connects;
    enum brd_status hello_status;
    struct brd_server_info info; /* zero until the first Hello is answered */
    char server_version[SERVER_VERSION_BYTES_MAX];
    char name[BRD_CLIENT_NAME_BYTES_MAX + 1];
    char error[BRD_ERROR_BYTES_MAX];
    struct address address;
};

/* The error sentence from a reply that is not BRD_OK. */
void client_explain_reply(struct brd_client *client, const struct brd_reply *reply);

#endif
