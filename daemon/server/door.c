/* Options of TCP connections are set on the listening socket, from which Linux
 * copies them to every connection: accepting costs one call.
 *
 * A unix socket leaves a file behind when its owner is killed. Such a file is
 * removed only if it is a socket and nobody accepts connections on it; and ours
 * is removed at the end only if it is still the one we made. Sockets that the
 * service manager passed in are used as they are, and left in place. */
#include "server/door.h"

#include "base/check.h"
#include "base/diag.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define HOST_BYTES_MAX 256

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_storage storage;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    };
    socklen_t size;
};

struct addresses {
    struct address address[8];
    size_t count;
};

static enum brd_status __attribute__((format(printf, 3, 4)))
fail(struct brd_server_error *error, enum brd_status status, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return status;
}

/* ---- from text to addresses ---- */

static enum brd_status
parse_unix(const char *text, struct address *out, struct brd_server_error *error)
{
    const char *path = text + strlen("unix:");

    if (*path == '\0')
        return fail(error, BRD_INVALID_ARGUMENT, "\"%s\": the path of the socket is missing", text);
    if (*path == '@') /* elsewhere the abstract namespace; here it would become a file */
        return fail(error, BRD_INVALID_ARGUMENT,
                    "\"%s\": abstract sockets are not supported; write unix:./%s for a file of "
                    "that name",
                    text, path);
    if (strlen(path) >= sizeof(out->un.sun_path))
        return fail(error, BRD_INVALID_ARGUMENT,
                    "\"%s\": the path of a unix socket has at most %zu bytes", text,
                    sizeof(out->un.sun_path) - 1);
    *out = (struct address){ .size = sizeof(out->un) };
    out->un.sun_family = AF_UNIX;
    memcpy(out->un.sun_path, path, strlen(path) + 1);
    return BRD_OK;
}

/* Take HOST:PORT or [V6]:PORT apart. */
static bool
split_host(const char *text, char host[HOST_BYTES_MAX], const char **out_port)
{
    const char *begin = text;
    const char *end;

    if (*text == '[') {
        begin = text + 1;
        end = strchr(begin, ']');
        if (end == NULL || end[1] != ':')
            return false;
        *out_port = end + 2;
    } else {
        end = strchr(text, ':');
        if (end == NULL || strchr(end + 1, ':') != NULL)
            return false;
        *out_port = end + 1;
    }
    if (end == begin || (size_t)(end - begin) >= HOST_BYTES_MAX)
        return false;
    memcpy(host, begin, (size_t)(end - begin));
    host[end - begin] = '\0';
    return true;
}

static bool
is_port(const char *text)
{
    size_t length = strspn(text, "0123456789");

    return length > 0 && length <= 5 && text[length] == '\0' && strtoul(text, NULL, 10) <= 65535;
}

static enum brd_status
parse_tcp(const char *text, struct addresses *out, struct brd_server_error *error)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    struct addrinfo *it;
    char host[HOST_BYTES_MAX];
    const char *port;
    int failed;

    if (!split_host(text, host, &port))
        return fail(error, BRD_INVALID_ARGUMENT,
                    "\"%s\" is not HOST:PORT, [V6]:PORT, unix:PATH or none", text);
    if (strcmp(host, "*") == 0) /* getaddrinfo would take it for loopback */
        return fail(error, BRD_INVALID_ARGUMENT,
                    "\"%s\": write 0.0.0.0:%s for all IPv4 addresses of this machine, [::]:%s for "
                    "all of IPv6",
                    text, port, port);
    if (!is_port(port))
        return fail(error, BRD_INVALID_ARGUMENT,
                    "\"%s\": the port is a number from 0 to 65535 (0 picks one)", text);
    failed = getaddrinfo(host, port, &hints, &found);
    if (failed != 0)
        return fail(error, BRD_INVALID_ARGUMENT, "\"%s\": the host is not known: %s", text,
                    gai_strerror(failed));
    for (it = found; it != NULL; it = it->ai_next) {
        if (it->ai_addrlen > sizeof(out->address[0].storage) ||
            out->count == sizeof(out->address) / sizeof(out->address[0]))
            continue;
        out->address[out->count] = (struct address){ .size = it->ai_addrlen };
        memcpy(&out->address[out->count].storage, it->ai_addr, it->ai_addrlen);
        out->count++;
    }
    freeaddrinfo(found);
    return BRD_OK;
}

static bool
is_local(const struct address *address)
{
    switch (address->any.sa_family) {
    case AF_UNIX:
        return true;
    case AF_INET:
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    case AF_INET6:
        return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
    default:
        return false;
    }
}

static enum brd_status
parse(const char *text, bool allow_insecure, struct addresses *out, struct brd_server_error *error)
{
    enum brd_status status;
    size_t i;

    out->count = 0;
    if (strcmp(text, "none") == 0)
        return BRD_OK;
    if (strncmp(text, "unix:", strlen("unix:")) == 0) {
        out->count = 1;
        return parse_unix(text, &out->address[0], error);
    }
    status = parse_tcp(text, out, error);
    if (status != BRD_OK)
        return status;
    for (i = 0; i < out->count; i++)
        if (!is_local(&out->address[i]) && !allow_insecure)
            return fail(error, BRD_INVALID_ARGUMENT,
                        "\"%s\" can be reached from other machines, and clients need no password "
                        "yet; listen on a loopback address or a unix socket, or say "
                        "allow-insecure",
                        text);
    return BRD_OK;
}

enum brd_status
brd_server_check_address(const char *address, bool allow_insecure,
                         struct brd_server_error *out_error)
{
    struct addresses addresses;

    return parse(address, allow_insecure, &addresses, out_error);
}

static void
describe(const struct address *address, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";

    switch (address->any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof(host));
        snprintf(text, size, "%s:%u", host, ntohs(address->v4.sin_port));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof(host));
        snprintf(text, size, "[%s]:%u", host, ntohs(address->v6.sin6_port));
        break;
    default:
        /* An abstract name begins with a zero byte; shown as is customary. */
        snprintf(text, size, "unix:%s%.*s", address->un.sun_path[0] == '\0' ? "@" : "",
                 (int)(sizeof(address->un.sun_path) - 1),
                 address->un.sun_path + (address->un.sun_path[0] == '\0'));
        break;
    }
}

/* ---- sockets ---- */

static void
set_option(int fd, int level, int name, uint32_t value)
{
    int number = (int)value;

    /* A connection without it works too. */
    if (value != 0)
        (void)setsockopt(fd, level, name, &number, sizeof(number));
}

static void
set_tcp_options(int fd, const struct brd_server_options *options)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, options->keepalive_idle_s);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, options->keepalive_interval_s);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, options->keepalive_count);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options->user_timeout_ms);
}

static enum brd_status
bind_failed(const char *text, struct brd_server_error *error)
{
    if (errno == EADDRINUSE)
        return fail(error, BRD_BUSY, "cannot listen on %s: something else does already", text);
    return fail(error, BRD_IO_ERROR, "cannot listen on %s: %s", text, strerror(errno));
}

static enum brd_status
bind_tcp(struct door *door, struct address *address, const struct brd_server_options *options,
         struct brd_server_error *error)
{
    door->fd = socket(door->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (door->fd < 0)
        return bind_failed(door->text, error);
    set_option(door->fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (door->family == AF_INET6)
        set_option(door->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    set_tcp_options(door->fd, options);
    if (bind(door->fd, &address->any, address->size) != 0)
        return bind_failed(door->text, error);
    address->size = sizeof(address->storage);
    if (getsockname(door->fd, &address->any, &address->size) != 0)
        return bind_failed(door->text, error);
    describe(address, door->text, sizeof(door->text));
    return BRD_OK;
}

/* Is somebody accepting connections on this unix socket? errno says why not. */
static bool
answers(const struct address *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool connected = fd >= 0 && connect(fd, &address->any, address->size) == 0;
    int why = errno;

    if (fd >= 0)
        close(fd);
    errno = why;
    return connected || why == EAGAIN; /* its queue is full: very much alive */
}

/* The file of a socket that nobody listens on any more, or no file, at path. */
static enum brd_status
check_path(const struct address *address, const char *text, bool *out_stale,
           struct brd_server_error *error)
{
    struct stat st;

    *out_stale = false;
    if (lstat(address->un.sun_path, &st) != 0)
        return BRD_OK; /* bind says what else may be wrong */
    if (!S_ISSOCK(st.st_mode))
        return fail(error, BRD_IO_ERROR, "cannot listen on %s: the file exists and is no socket",
                    text);
    if (answers(address))
        return fail(error, BRD_BUSY, "cannot listen on %s: something else does already", text);
    if (errno != ECONNREFUSED)
        return bind_failed(text, error);
    *out_stale = true;
    return BRD_OK;
}

static enum brd_status
bind_unix(struct door *door, const struct brd_server_options *options,
          struct brd_server_error *error)
{
    struct address address = { .size = 0 };
    enum brd_status status = parse_unix(door->text, &address, error);
    struct stat st;
    bool stale;

    if (status == BRD_OK)
        status = check_path(&address, door->text, &stale, error);
    if (status != BRD_OK)
        return status;
    if (stale && unlink(address.un.sun_path) != 0 && errno != ENOENT)
        return bind_failed(door->text, error);
    door->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (door->fd < 0)
        return bind_failed(door->text, error);
    /* The mode of the socket is what bind gives to the file, so it is never
     * open wider than it should be; chmod adds what the umask took away. */
    if (fchmod(door->fd, options->socket_mode) != 0 ||
        bind(door->fd, &address.any, address.size) != 0)
        return bind_failed(door->text, error);
    if (chmod(address.un.sun_path, options->socket_mode) != 0 ||
        lstat(address.un.sun_path, &st) != 0)
        return bind_failed(door->text, error);
    door->bound_path = true;
    door->device = st.st_dev;
    door->inode = st.st_ino;
    return BRD_OK;
}

/* ---- inherited sockets ---- */

static enum brd_status
adopt(struct doors *doors, int fd, const struct brd_server_options *options,
      struct brd_server_error *error)
{
    struct address address = { .size = sizeof(address.storage) };
    struct door *door = &doors->door[doors->count];
    int flags = fcntl(fd, F_GETFL);

    if (doors->count == DOORS_MAX || sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0 ||
        getsockname(fd, &address.any, &address.size) != 0 ||
        (address.any.sa_family != AF_INET && address.any.sa_family != AF_INET6 &&
         address.any.sa_family != AF_UNIX)) {
        brd_diag_warning("inherited descriptor %d is no listening stream socket and is not used",
                         fd);
        close(fd);
        return BRD_OK;
    }
    *door = (struct door){ .fd = fd, .family = address.any.sa_family, .inherited = true };
    doors->count++;
    describe(&address, door->text, sizeof(door->text));
    if (!is_local(&address) && !options->allow_insecure)
        return fail(error, BRD_INVALID_ARGUMENT,
                    "the inherited socket %s can be reached from other machines, and clients need "
                    "no password yet; use a loopback address or a unix socket, or say "
                    "allow-insecure",
                    door->text);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return fail(error, BRD_IO_ERROR, "inherited socket %s: %s", door->text, strerror(errno));
    if (door->family != AF_UNIX)
        set_tcp_options(fd, options);
    return BRD_OK;
}

/* Sockets named resp or http are for doors that are not built yet. */
static enum brd_status
adopt_all(struct doors *doors, const struct brd_server_options *options,
          struct brd_server_error *error)
{
    enum brd_status status = BRD_OK;
    char **names = NULL;
    int count = sd_listen_fds_with_names(1, &names);
    int i;

    if (count < 0)
        return fail(error, BRD_IO_ERROR, "inherited sockets: %s", strerror(-count));
    for (i = 0; i < count; i++) {
        int fd = SD_LISTEN_FDS_START + i;

        if (names != NULL && (strcmp(names[i], "resp") == 0 || strcmp(names[i], "http") == 0)) {
            brd_diag_warning("the inherited socket named %s is not used: this version does not "
                             "speak that protocol yet",
                             names[i]);
            close(fd);
        } else if (status == BRD_OK) {
            status = adopt(doors, fd, options, error);
        }
    }
    for (i = 0; names != NULL && i < count; i++)
        free(names[i]);
    free(names);
    return status;
}

/* ---- all of them ---- */

static bool
is_open(const struct doors *doors, const char *text)
{
    size_t i;

    for (i = 0; i < doors->count; i++)
        if (strcmp(doors->door[i].text, text) == 0)
            return true;
    return false;
}

static enum brd_status
open_one(struct doors *doors, struct address *address, const struct brd_server_options *options,
         struct brd_server_error *error)
{
    struct door *door = &doors->door[doors->count];
    bool stale;

    *door = (struct door){ .fd = -1, .family = address->any.sa_family };
    describe(address, door->text, sizeof(door->text));
    if (is_open(doors, door->text))
        return BRD_OK; /* named twice, or inherited */
    if (doors->count == DOORS_MAX)
        return fail(error, BRD_INVALID_ARGUMENT, "more than %d addresses to listen on", DOORS_MAX);
    doors->count++;
    if (door->family == AF_UNIX)
        return check_path(address, door->text, &stale, error);
    return bind_tcp(door, address, options, error);
}

enum brd_status
doors_open(struct doors *doors, const struct brd_server_options *options,
           struct brd_server_error *out_error)
{
    enum brd_status status = BRD_OK;
    struct addresses addresses;
    size_t i;
    size_t k;

    doors->count = 0;
    if (options->inherit)
        status = adopt_all(doors, options, out_error);
    if (status == BRD_OK && doors->count > 0 && options->listen_is_default)
        return BRD_OK;
    for (i = 0; i < options->listen_count && status == BRD_OK; i++) {
        status = parse(options->listen[i], options->allow_insecure, &addresses, out_error);
        for (k = 0; k < addresses.count && status == BRD_OK; k++)
            status = open_one(doors, &addresses.address[k], options, out_error);
    }
    return status;
}

enum brd_status
doors_listen(struct doors *doors, const struct brd_server_options *options,
             struct brd_server_error *out_error)
{
    size_t i;

    for (i = 0; i < doors->count; i++) {
        struct door *door = &doors->door[i];
        enum brd_status status;

        if (door->inherited)
            continue;
        if (door->family == AF_UNIX) {
            status = bind_unix(door, options, out_error);
            if (status != BRD_OK)
                return status;
        }
        if (listen(door->fd, options->backlog) != 0)
            return bind_failed(door->text, out_error);
    }
    return BRD_OK;
}

void
doors_close(struct doors *doors)
{
    size_t i;

    for (i = 0; i < doors->count; i++) {
        struct door *door = &doors->door[i];
        const char *path = door->text + strlen("unix:");
        struct stat st;

        if (door->bound_path && lstat(path, &st) == 0 && st.st_dev == door->device &&
            st.st_ino == door->inode)
            (void)unlink(path);
        if (door->fd >= 0)
            close(door->fd);
        door->fd = -1;
        door->bound_path = false;
    }
}
