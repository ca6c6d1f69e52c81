/* Sockets with deadlines: see net.h.
 *
 * Sockets are non-blocking and every wait is a poll that ends with the deadline,
 * so a call never lasts longer than it may, whatever the peer does. Interrupted
 * system calls are repeated with what is left of the time. A host name may have
 * several addresses: they are tried in the resolver's order, each with an equal
 * share of the time that remains, so that a silent first one cannot eat it all. */
#include "net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS_MAX (60 * 60 * 1000) /* longer waits are several polls */

uint64_t
net_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct deadline
deadline_in(uint32_t timeout_ms)
{
    if (timeout_ms == BRD_TIMEOUT_NONE)
        return (struct deadline){ UINT64_MAX };
    return (struct deadline){ net_now_ms() + timeout_ms };
}

struct deadline
deadline_earlier(struct deadline a, struct deadline b)
{
    return a.at_ms < b.at_ms ? a : b;
}

bool
deadline_passed(struct deadline deadline)
{
    return deadline.at_ms != UINT64_MAX && net_now_ms() >= deadline.at_ms;
}

uint32_t
deadline_left_ms(struct deadline deadline)
{
    uint64_t now;

    if (deadline.at_ms == UINT64_MAX)
        return BRD_TIMEOUT_NONE;
    now = net_now_ms();
    return now >= deadline.at_ms ? 0 : (uint32_t)(deadline.at_ms - now);
}

/* ---- Waiting and moving bytes ------------------------------------------- */

static enum brd_status
wait_for(int fd, short events, struct deadline deadline)
{
    for (;;) {
        struct pollfd poll_fd = { .fd = fd, .events = events };
        uint32_t left = deadline_left_ms(deadline);
        int ready = poll(&poll_fd, 1, left > POLL_MS_MAX ? POLL_MS_MAX : (int)left);

        if (ready > 0)
            return BRD_OK;
        if (ready < 0 && errno != EINTR)
            return BRD_CONNECTION_FAILED;
        if (deadline_passed(deadline))
            return BRD_TIMEOUT;
    }
}

enum brd_status
net_wait(int fd, bool writing, struct deadline deadline)
{
    return wait_for(fd, writing ? POLLIN | POLLOUT : POLLIN, deadline);
}

static enum net_result
moved(ssize_t n, size_t *out_n)
{
    if (n < 0)
        return errno == EAGAIN || errno == EWOULDBLOCK ? NET_AGAIN : NET_FAILED;
    if (n == 0)
        return NET_END;
    *out_n = (size_t)n;
    return NET_DONE;
}

enum net_result
net_send(int fd, const void *data, size_t size, size_t *out_n)
{
    ssize_t n;

    do {
        n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return moved(n, out_n);
}

enum net_result
net_receive(int fd, void *space, size_t size, size_t *out_n)
{
    ssize_t n;

    do {
        n = recv(fd, space, size, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return moved(n, out_n);
}

bool
net_idle_is_alive(int fd)
{
    char byte;
    ssize_t n;

    do {
        n = recv(fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

void
net_close(int fd)
{
    close(fd); /* after EINTR the descriptor is gone on Linux: never repeat */
}

/* ---- Connecting --------------------------------------------------------- */

/* Wait for the outcome of a connect that goes on in the background. */
static enum brd_status
finish_connect(int fd, struct deadline deadline)
{
    int failure = 0;
    socklen_t size = sizeof(failure);
    enum brd_status status = wait_for(fd, POLLOUT, deadline);

    if (status != BRD_OK)
        return status;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0)
        return BRD_CONNECTION_FAILED;
    errno = failure;
    return failure == 0 ? BRD_OK : BRD_CONNECTION_FAILED;
}

static enum brd_status
connect_to(int family, const struct sockaddr *peer, socklen_t peer_size, struct deadline deadline,
           int *out_fd)
{
    int one = 1;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    enum brd_status status = BRD_OK;
    int why;

    if (fd < 0)
        return BRD_CONNECTION_FAILED;
    /* A unix socket whose queue is full says EAGAIN at once and cannot be waited
     * for: it counts as refused. */
    if (connect(fd, peer, peer_size) != 0) {
        if (errno == EINPROGRESS || errno == EINTR)
            status = finish_connect(fd, deadline);
        else
            status = BRD_CONNECTION_FAILED;
    }
    if (status != BRD_OK) {
        why = errno;
        net_close(fd);
        errno = why;
        return status;
    }
    if (family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    *out_fd = fd;
    return BRD_OK;
}

static void
explain(const struct address *address, enum brd_status status, const char *why, char *error,
        size_t error_size)
{
    if (status == BRD_TIMEOUT)
        why = "no connection in time";
    snprintf(error, error_size, "%s: %s", address->text, why);
}

static enum brd_status
connect_unix(const struct address *address, struct deadline deadline, int *out_fd, char *error,
             size_t error_size)
{
    struct sockaddr_un peer = { .sun_family = AF_UNIX };
    enum brd_status status;

    memcpy(peer.sun_path, address->host, strlen(address->host)); /* address_parse checked it */
    status = connect_to(AF_UNIX, (const struct sockaddr *)&peer, sizeof(peer), deadline, out_fd);
    if (status != BRD_OK)
        explain(address, status, strerrordesc_np(errno), error, error_size);
    return status;
}

static struct deadline
share_of(struct deadline deadline, unsigned parts)
{
    uint32_t left = deadline_left_ms(deadline);

    return left == BRD_TIMEOUT_NONE ? deadline : deadline_in(left / parts);
}

enum brd_status
net_connect(const struct address *address, struct deadline deadline, int *out_fd, char *error,
            size_t error_size)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *all = NULL;
    struct addrinfo *one;
    enum brd_status status = BRD_CONNECTION_FAILED;
    unsigned left = 0;
    int failure;

    if (address->is_unix)
        return connect_unix(address, deadline, out_fd, error, error_size);
    failure = getaddrinfo(address->host, address->port, &hints, &all);
    if (failure != 0) {
        explain(address, status, gai_strerror(failure), error, error_size);
        return status;
    }
    for (one = all; one != NULL; one = one->ai_next)
        left++;
    errno = EADDRNOTAVAIL;
    for (one = all; one != NULL && status != BRD_OK; one = one->ai_next)
        status = connect_to(one->ai_family, one->ai_addr, one->ai_addrlen,
                            share_of(deadline, left--), out_fd);
    if (status != BRD_OK)
        explain(address, status, strerrordesc_np(errno), error, error_size);
    freeaddrinfo(all);
    return status;
}
