/* Addresses and connecting. */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static bool
is_loopback(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_UNIX)
        return true;
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)sa;
        return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
    }
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)sa;
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
            return v6->sin6_addr.s6_addr[12] == 127;
        return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    }
    return false;
}

static bool
resolve_unix(struct address *address, const char *path, struct bench_error *error)
{
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)&address->storage;
    size_t len = strlen(path);
    if (path[0] == '@') /* elsewhere the abstract namespace; here it would be a file */
        return bench_error_set(error,
                               "abstract sockets are not supported; write unix:./%.107s for a "
                               "file of that name",
                               path);
    if (len == 0 || len >= sizeof(un->sun_path))
        return bench_error_set(error, "the path after unix: must have 1 to %zu bytes",
                               sizeof(un->sun_path) - 1);
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, len + 1);
    address->len = (socklen_t)sizeof(*un);
    address->local = true;
    return true;
}

bool
address_resolve(struct address *address, const char *text, struct bench_error *error)
{
    char host[256];
    struct addrinfo *list = NULL;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };

    memset(address, 0, sizeof(*address));
    if (strncmp(text, "unix:", 5) == 0)
        return resolve_unix(address, text + 5, error);

    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || colon[1] == '\0')
        return bench_error_set(error,
                               "'%.80s' is no address: use HOST:PORT, [v6]:PORT or "
                               "unix:PATH",
                               text);
    const char *start = text;
    size_t len = (size_t)(colon - text);
    if (text[0] == '[' && colon[-1] == ']') {
        start++;
        len -= 2;
    } else if (memchr(text, ':', len) != NULL) {
        return bench_error_set(error, "'%.80s': write an IPv6 address as [v6]:PORT", text);
    }
    if (len == 0 || len >= sizeof(host))
        return bench_error_set(error, "'%.80s': the host has no or too many characters", text);
    memcpy(host, start, len);
    host[len] = '\0';

    int rc = getaddrinfo(host, colon + 1, &hints, &list);
    if (rc != 0)
        return bench_error_set(error, "%.80s: %s", text, gai_strerror(rc));
    memcpy(&address->storage, list->ai_addr, list->ai_addrlen);
    address->len = list->ai_addrlen;
    address->local = is_loopback(list->ai_addr);
    freeaddrinfo(list);
    return true;
}

/* 0, or the errno of why not. */
static int
finish_connect(int fd, unsigned timeout_ms)
{
    struct pollfd poller = { .fd = fd, .events = POLLOUT };
    int error = 0;
    socklen_t len = sizeof(error);

    int n;
    do {
        n = poll(&poller, 1, (int)timeout_ms);
    } while (n < 0 && errno == EINTR);
    if (n == 0)
        return ETIMEDOUT;
    if (n < 0)
        return errno;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        return errno;
    return error;
}

int
address_connect(const struct address *address, unsigned timeout_ms, struct bench_error *error)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        bench_error_set(error, "no socket: %s", strerror(errno));
        return -1;
    }
    int rc = connect(fd, (const struct sockaddr *)&address->storage, address->len) == 0 ? 0 : errno;
    if (rc == EINPROGRESS || rc == EINTR)
        rc = finish_connect(fd, timeout_ms);
    if (rc != 0) {
        bench_error_set(error, "cannot connect: %s", strerror(rc));
        close(fd);
        return -1;
    }
    if (address->storage.ss_family != AF_UNIX) {
        int one = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    return fd;
}
