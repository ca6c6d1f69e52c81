#include "support/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define HELLO_TIMEOUT_MS 300000

static bool
parse_address(const char *address, struct sockaddr_in *out)
{
    const char *colon = strrchr(address, ':');
    char host[64] = "";
    char *end;
    long port;

    if (colon == NULL || (size_t)(colon - address) >= sizeof(host))
        return false;
    memcpy(host, address, (size_t)(colon - address));
    port = strtol(colon + 1, &end, 10);
    if (*end != '\0' || port < 1 || port > 65535)
        return false;
    *out = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    return inet_pton(AF_INET, host, &out->sin_addr) == 1;
}

bool
link_open(struct link *link, const char *address)
{
    struct sockaddr_in to;
    const struct brd_reply *reply;
    int one = 1;

    *link = (struct link){ .fd = -1 };
    if (!parse_address(address, &to) || brd_conn_create(NULL, &link->conn) != BRD_OK)
        return false;
    link->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->fd < 0 || connect(link->fd, (struct sockaddr *)&to, sizeof(to)) != 0 ||
        fcntl(link->fd, F_SETFL, O_NONBLOCK) != 0)
        goto failed;
    (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (brd_conn_hello(link->conn, brd_bytes_of("crash test"), NULL) != BRD_OK)
        goto failed;
    reply = link_wait_reply(link, HELLO_TIMEOUT_MS);
    if (reply == NULL || reply->status != BRD_OK)
        goto failed;
    return true;
failed:
    link_close(link);
    return false;
}

void
link_close(struct link *link)
{
    brd_conn_destroy(&link->conn);
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
}

/* False: the peer is gone. What it sent before may still be received. */
static bool
send_some(struct link *link, bool *out_all)
{
    struct brd_bytes output;
    ssize_t n;

    for (;;) {
        brd_conn_output(link->conn, &output);
        *out_all = output.size == 0;
        if (*out_all)
            return true;
        n = send(link->fd, output.data, output.size, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        brd_conn_output_consume(link->conn, (size_t)n);
    }
}

static bool
receive_some(struct link *link)
{
    void *space;
    size_t room;
    ssize_t n;

    if (brd_conn_input_space(link->conn, 0, &space, &room) != BRD_OK)
        return false;
    n = recv(link->fd, space, room, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return false;
    brd_conn_input_commit(link->conn, (size_t)n);
    return true;
}

enum link_event
link_exchange(struct link *link, int timeout_ms)
{
    struct pollfd wait = { .fd = link->fd, .events = POLLIN };
    bool sent_all = true;
    bool sendable = send_some(link, &sent_all);
    int ready;

    if (!sent_all && sendable)
        wait.events |= POLLOUT;
    ready = poll(&wait, 1, timeout_ms);
    if (ready < 0 && errno == EINTR)
        return LINK_MOVED; /* to be called again: the time has not passed */
    if (ready <= 0)
        return LINK_SILENT;
    if ((wait.revents & (POLLIN | POLLHUP | POLLERR)) != 0)
        return receive_some(link) ? LINK_MOVED : LINK_ENDED;
    return sendable ? LINK_MOVED : LINK_ENDED;
}

const struct brd_reply *
link_wait_reply(struct link *link, int timeout_ms)
{
    const struct brd_reply *reply = NULL;

    for (;;) {
        switch (brd_conn_next_reply(link->conn, &reply)) {
        case BRD_CONN_REPLY:
            return reply;
        case BRD_CONN_BROKEN:
            return NULL;
        case BRD_CONN_MORE:
            if (link_exchange(link, timeout_ms) != LINK_MOVED)
                return NULL;
        }
    }
}
