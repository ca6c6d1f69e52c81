/* Sockets with deadlines. The only file of the library that makes system calls. */
#ifndef BRINDLE_CLIENT_NET_H
#define BRINDLE_CLIENT_NET_H

#include <brindle.h>

#include "address.h"

/* A moment of the monotonic clock. */
struct deadline {
    uint64_t at_ms; /* UINT64_MAX: never */
};

uint64_t net_now_ms(void);
struct deadline deadline_in(uint32_t timeout_ms); /* BRD_TIMEOUT_NONE: never */
struct deadline deadline_earlier(struct deadline a, struct deadline b);
bool deadline_passed(struct deadline deadline);
/* What is left, for calls that take a time-out; at least 1 while it has not passed. */
uint32_t deadline_left_ms(struct deadline deadline);

/* Connect a non-blocking stream socket.
 *
 * out_fd     written on BRD_OK.
 * error      where a sentence goes on failure; error_size above 0.
 * Returns    BRD_OK, BRD_CONNECTION_FAILED, BRD_TIMEOUT. */
enum brd_status net_connect(const struct address *address, struct deadline deadline, int *out_fd,
                            char *error, size_t error_size);

enum net_result {
    NET_DONE,  /* *out_n bytes, at least 1 */
    NET_AGAIN, /* nothing can be moved now */
    NET_END,   /* receiving: the peer has closed */
    NET_FAILED /* errno says why; nothing was moved */
};

enum net_result net_send(int fd, const void *data, size_t size, size_t *out_n);
enum net_result net_receive(int fd, void *space, size_t size, size_t *out_n);

/* Wait until fd can be read (or has failed or ended), or written if writing too.
 * Returns BRD_OK, BRD_TIMEOUT, BRD_CONNECTION_FAILED (errno says why). */
enum brd_status net_wait(int fd, bool writing, struct deadline deadline);

/* False: an idle connection has ended, failed or holds bytes that nobody asked
 * for; it is of no use any more. */
bool net_idle_is_alive(int fd);

void net_close(int fd);

#endif
