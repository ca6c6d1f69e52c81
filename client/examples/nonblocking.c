/* The connection without I/O in a loop of one's own, here around poll.
 *
 *     nonblocking [ADDRESS]            HOST:PORT only
 *
 * Sends gets for a number of keys as fast as the socket takes them and counts the
 * answers as they come in. The library neither reads nor writes: this program
 * does. Returns 0 if every request was answered. */
#include <brindle.h>

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUESTS 10000
#define WAIT_MS  5000

/* A non-blocking socket connected to HOST:PORT, or -1. */
static int
connect_to(const char *address)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *found;
    char host[256];
    const char *colon = strrchr(address, ':');
    int fd = -1;

    if (colon == NULL || (size_t)(colon - address) >= sizeof(host))
        return -1;
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        return -1;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && (connect(fd, found->ai_addr, found->ai_addrlen) != 0 ||
                    fcntl(fd, F_SETFL, O_NONBLOCK) != 0)) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

/* Send what waits in the output. False: the connection has failed. */
static bool
send_some(struct brd_conn *conn, int fd)
{
    struct brd_bytes output;
    ssize_t n;

    brd_conn_output(conn, &output);
    if (output.size == 0)
        return true;
    n = send(fd, output.data, output.size, MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    brd_conn_output_consume(conn, (size_t)n);
    return true;
}

/* Receive what is there. False: the connection has ended or failed. */
static bool
receive_some(struct brd_conn *conn, int fd)
{
    void *space;
    size_t capacity;
    ssize_t n;

    if (brd_conn_input_space(conn, 0, &space, &capacity) != BRD_OK)
        return false;
    n = recv(fd, space, capacity, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    brd_conn_input_commit(conn, (size_t)n);
    return n != 0;
}

struct tally {
    int found;
    int missing;
    int other;
};

/* Look at the replies that have come in. False: they are none. */
static bool
take_replies(struct brd_conn *conn, struct tally *tally)
{
    const struct brd_reply *reply;
    enum brd_conn_event event;

    while ((event = brd_conn_next_reply(conn, &reply)) == BRD_CONN_REPLY) {
        if (reply->hello != NULL)
            printf("server version %.*s\n", (int)reply->hello->server_version.size,
                   (const char *)reply->hello->server_version.data);
        else if (reply->status == BRD_OK)
            tally->found++;
        else if (reply->status == BRD_NOT_FOUND)
            tally->missing++;
        else
            tally->other++;
    }
    if (event == BRD_CONN_BROKEN)
        fprintf(stderr, "nonblocking: %s\n", brd_conn_error(conn));
    return event == BRD_CONN_MORE;
}

static bool
add_requests(struct brd_conn *conn)
{
    int i;

    if (brd_conn_hello(conn, brd_bytes_of("example nonblocking"), NULL) != BRD_OK)
        return false;
    for (i = 0; i < REQUESTS; i++) {
        char key[64];

        snprintf(key, sizeof(key), "example:nonblocking:%d", i);
        if (brd_conn_get(conn, brd_bytes_of(key), NULL) != BRD_OK)
            return false;
    }
    return true;
}

static bool
run(struct brd_conn *conn, int fd, struct tally *tally)
{
    while (brd_conn_pending(conn) != 0) {
        struct pollfd ready = { .fd = fd, .events = POLLIN };
        struct brd_bytes output;

        brd_conn_output(conn, &output);
        if (output.size != 0)
            ready.events |= POLLOUT;
        if (poll(&ready, 1, WAIT_MS) <= 0)
            return false;
        if ((ready.revents & POLLOUT) != 0 && !send_some(conn, fd))
            return false;
        if ((ready.revents & ~POLLOUT) != 0 && !receive_some(conn, fd))
            return false;
        if (!take_replies(conn, tally))
            return false;
    }
    return true;
}

int
main(int argc, char **argv)
{
    const char *address = argc > 1 ? argv[1] : getenv(BRD_ADDRESS_VARIABLE);
    struct tally tally = { 0 };
    struct brd_conn *conn;
    bool good;
    int fd;

    fd = connect_to(address == NULL ? BRD_ADDRESS_DEFAULT : address);
    if (fd < 0) {
        fprintf(stderr, "nonblocking: no connection\n");
        return EXIT_FAILURE;
    }
    if (brd_conn_create(NULL, &conn) != BRD_OK) {
        close(fd);
        return EXIT_FAILURE;
    }
    good = add_requests(conn) && run(conn, fd, &tally);
    printf("%d found, %d missing, %d other\n", tally.found, tally.missing, tally.other);
    brd_conn_destroy(&conn);
    close(fd);
    return good && tally.found + tally.missing == REQUESTS ? EXIT_SUCCESS : EXIT_FAILURE;
}
