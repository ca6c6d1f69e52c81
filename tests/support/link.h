/* A connection to a daemon for tests that drive it hard: brd_conn with a socket.
 *
 * Unlike brd_client it never connects again and never repeats anything, and it
 * tells exactly which requests have been answered when the daemon dies. */
#ifndef TESTS_SUPPORT_LINK_H
#define TESTS_SUPPORT_LINK_H

#include <brindle.h>

struct link {
    struct brd_conn *conn; /* owned; encode requests with it */
    int fd;                /* owned; non-blocking; -1: closed */
};

/* Connect to "HOST:PORT" (numbers) and say hello. False: no connection. */
bool link_open(struct link *link, const char *address);

/* Close the socket and free the conversation. A closed link is fine. */
void link_close(struct link *link);

enum link_event {
    LINK_MOVED,
    LINK_SILENT, /* nothing within the time */
    LINK_ENDED   /* replies that came before can still be taken out of conn */
};

/* Send what is encoded, as far as the socket takes it; wait at most timeout_ms
 * until there is something to receive, and receive it. */
enum link_event link_exchange(struct link *link, int timeout_ms);

/* The next reply, waiting for it. NULL: the connection has ended, or timeout_ms
 * passed without a byte. Valid as that of brd_conn_next_reply. */
const struct brd_reply *link_wait_reply(struct link *link, int timeout_ms);

#endif
