/* The acceptor: one thread that lets connections in and gives each to the
 * worker with the fewest.
 *
 * One too many is told so and closed. So is one that takes one of the last file
 * descriptors of the process, which the log needs for its next segment: clients
 * must not be able to stop it. When there is none left at all, accepting is only
 * possible by giving one up: a spare is kept for that, so that the queue of the
 * socket does not stay full, and the loop does not spin, while nobody can be let
 * in. */
#include "base/diag.h"
#include "server/core.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_MAX 128 /* of one socket before the others are looked at */
#define PAUSE_MS    50  /* after an error that may last */
#define FILES_KEPT  16  /* descriptors that are not for connections */

/* Tell it why, if it can be told at once, and close it. */
static void
refuse(struct brd_server *server, int fd, brd_counter *counter)
{
    struct brd_bytes words = brd_buf_bytes(&server->refusal);
    uint8_t ignored[4096];
    int tries = 16;

    brd_counter_add(counter, 1);
    (void)send(fd, words.data, words.size, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)shutdown(fd, SHUT_WR);
    /* Unread bytes would turn the close into a reset, and lose the reply. */
    while (tries-- > 0 && recv(fd, ignored, sizeof(ignored), MSG_DONTWAIT) > 0)
        ;
    close(fd);
}

static struct worker *
least_loaded(struct brd_server *server)
{
    struct worker *best = &server->workers[0];
    uint32_t best_load = atomic_load_explicit(&best->load, memory_order_relaxed);
    uint32_t i;

    for (i = 1; i < server->options.workers; i++) {
        struct worker *worker = &server->workers[i];
        uint32_t load = atomic_load_explicit(&worker->load, memory_order_relaxed);

        if (load < best_load) {
            best = worker;
            best_load = load;
        }
    }
    return best;
}

/* Descriptors are given out from the lowest, so a high one is one of the last. */
static bool
is_of_the_last(int fd)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)fd + FILES_KEPT >= limit.rlim_cur;
}

static void
let_in(struct brd_server *server, int fd, const struct sockaddr_storage *address)
{
    struct accept_counters *counters = &server->accept_counters;
    struct arrival arrival = { .fd = fd, .peer = peer_of(address) };
    struct worker *worker = least_loaded(server);
    enum brd_status status;

    if (atomic_load_explicit(&server->connections, memory_order_relaxed) >=
        atomic_load_explicit(&server->connections_max, memory_order_relaxed)) {
        refuse(server, fd, &counters->connections_refused_limit);
        return;
    }
    if (is_of_the_last(fd)) {
        refuse(server, fd, &counters->connections_refused_descriptors);
        return;
    }
    status = peers_add(server->peers, &arrival.peer,
                       atomic_load_explicit(&server->per_address_max, memory_order_relaxed));
    if (status != BRD_OK) {
        refuse(server, fd,
               status == BRD_LIMIT_EXCEEDED ? &counters->connections_refused_address
                                            : &counters->connections_refused_memory);
        return;
    }
    atomic_fetch_add_explicit(&server->connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&worker->load, 1, memory_order_relaxed);
    if (mailbox_post_arrival(&worker->mailbox, &arrival)) {
        brd_counter_add(&counters->connections_accepted, 1);
        return;
    }
    atomic_fetch_sub_explicit(&server->connections, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&worker->load, 1, memory_order_relaxed);
    peers_remove(server->peers, &arrival.peer);
    refuse(server, fd, &counters->connections_refused_memory);
}

static int
open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* No descriptor is left. False where nothing could be done about it. */
static bool
shed_one(struct brd_server *server, int door)
{
    int fd;

    if (server->spare_fd < 0) {
        server->spare_fd = open_spare();
        return false;
    }
    close(server->spare_fd);
    fd = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        refuse(server, fd, &server->accept_counters.connections_refused_descriptors);
    server->spare_fd = open_spare();
    return fd >= 0;
}

/* Errors of the connection that was being accepted; the next may be fine. */
static bool
is_of_connection(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EINTR:
    case ENETDOWN:
    case EPROTO:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
        return true;
    default:
        return false;
    }
}

/* Accept what waits at one door. False where something is wrong that may last. */
static bool
accept_some(struct brd_server *server, int door)
{
    int i;

    for (i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_storage address = { 0 };
        socklen_t size = sizeof(address);
        int fd = accept4(door, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            let_in(server, fd, &address);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return true;
        if (errno == EMFILE || errno == ENFILE) {
            if (!shed_one(server, door))
                return false;
            continue;
        }
        brd_counter_add(&server->accept_counters.accept_errors, 1);
        if (!is_of_connection(errno))
            return false;
    }
    return true;
}

/* Returns false at the end. */
static bool
read_notes(struct brd_server *server)
{
    struct mail mail;
    unsigned notes;

    mailbox_take(&server->accept_mailbox, &mail);
    BRD_CHECK(mail.count == 0);
    notes = mail.notes;
    mailbox_mail_fini(&mail);
    if ((notes & NOTE_PING) != 0)
        atomic_store_explicit(&server->accept_answered,
                              atomic_load_explicit(&server->ping, memory_order_relaxed),
                              memory_order_relaxed);
    return (notes & NOTE_STOP) == 0;
}

void *
accept_run(void *arg)
{
    struct brd_server *server = arg;
    struct epoll_event events[16];
    struct epoll_event event = { .events = EPOLLIN, .data.fd = -1 };
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    bool going = true;
    size_t i;

    BRD_CHECK(epoll_fd >= 0); /* a descriptor was left when the server started */
    server->spare_fd = open_spare();
    BRD_CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, server->accept_mailbox.event_fd, &event) == 0);
    for (i = 0; i < server->doors.count; i++) {
        event.data.fd = server->doors.door[i].fd;
        BRD_CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event.data.fd, &event) == 0);
    }
    while (going) {
        int n = epoll_wait(epoll_fd, events, sizeof(events) / sizeof(events[0]), -1);
        bool pause = false;
        int k;

        for (k = 0; k < n; k++) {
            if (events[k].data.fd == -1)
                going = read_notes(server);
            else if (going && !accept_some(server, events[k].data.fd))
                pause = true;
        }
        if (pause && going) {
            struct epoll_event ignored;
            /* Wait for time or a note: doors stay ready, so a wait on them would spin. */
            struct epoll_event none = { .events = 0 };

            for (i = 0; i < server->doors.count; i++) {
                none.data.fd = server->doors.door[i].fd;
                (void)epoll_ctl(epoll_fd, EPOLL_CTL_MOD, none.data.fd, &none);
            }
            (void)epoll_wait(epoll_fd, &ignored, 1, PAUSE_MS);
            for (i = 0; i < server->doors.count; i++) {
                event.data.fd = server->doors.door[i].fd;
                (void)epoll_ctl(epoll_fd, EPOLL_CTL_MOD, event.data.fd, &event);
            }
        }
    }
    close(epoll_fd);
    if (server->spare_fd >= 0)
        close(server->spare_fd);
    server->spare_fd = -1;
    return NULL;
}
